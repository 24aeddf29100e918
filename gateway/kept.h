/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What has to outlive the daemon of volumes that keep no attributes (raw, ram, null); one file a volume:
 *   STATE_DIR/reservations/<uuid>.json   (gateway/scsi/pr_save.c says what is in it)
 *   STATE_DIR/sanitize/<uuid>.json       (gateway/scsi/sanitize.c)
 *
 * Threads: any that may block.
 */
#ifndef LUNGATE_GATEWAY_KEPT_H
#define LUNGATE_GATEWAY_KEPT_H

#include "common/err.h"
#include "common/util.h"

/** Keep it there from now on; before the first volume is opened. */
int kept_open(const char *state_dir, struct errinfo *info);
/** After the last volume is closed. */
void kept_close(void);
/** The volume is deleted. */
void kept_forget(const uint8_t uuid[UUID_LEN]);

#endif
