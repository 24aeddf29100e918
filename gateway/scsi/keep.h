/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What units keep over restarts, as texts by name: persistent reservations with APTPL, that a SANITIZE has begun.
 *
 * Threads: as each says.
 */
#ifndef LUNGATE_GATEWAY_SCSI_KEEP_H
#define LUNGATE_GATEWAY_SCSI_KEEP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/loop.h"
#include "common/volume.h"
#include "gateway/scsi/scsi.h"

bool scsi_can_keep(const struct volume *vol);

/** A text on its way to where it is kept. */
struct scsi_keeping {
	struct volume *vol;
	const char *name; /* one at a time for a name */
	char *text; /* the caller's until done; NULL: what is kept goes */
	size_t len;
	int status; /* 0: durable.  -EOPNOTSUPP: there is no place */
	void (*done)(struct scsi_keeping *keeping);
	/* private */
	struct vol_req req;
	struct loop_work work;
};
/** On the volume's loop; done runs there, maybe before this returns. */
void scsi_keep(struct scsi_keeping *keeping);

/** What is kept under this name: malloc()ed, the caller's; NULL: nothing.  check: what makes a text one that may be moved to
 *  the volume, 0 or its error; NULL: anything.  Blocks: not on a loop. */
int scsi_kept(struct volume *vol, const char *name, int (*check)(const char *text, size_t len), char **ret,
	      size_t *ret_len);

#endif
