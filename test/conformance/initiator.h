/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A session by libiscsi, and commands on it one after another.
 *
 * Threads: one.  Failure of the session itself ends the program with exit code 1.
 */
#ifndef LUNGATE_TEST_CONFORMANCE_INITIATOR_H
#define LUNGATE_TEST_CONFORMANCE_INITIATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

enum { GOOD = 0, CHECK = 2 };

/** What the last command brought. */
struct answer {
	int status;
	unsigned key, asc; /* ASC << 8 | ASCQ */
	bool has_field;    /* sense key specific: a field of the CDB */
	int field, bit;    /* bit -1: no bit */
	uint8_t data[8192];
	size_t len;
};

struct iscsi_context *initiator_login(const char *portal, const char *target, const char *name,
				      uint32_t qualifier);
void initiator_logout(struct iscsi_context *iscsi);
/** One command; in: room for Data-In, out: zeroes sent. */
int initiator_run(struct iscsi_context *iscsi, int lun, const uint8_t *cdb, unsigned cdb_len, unsigned in,
		  unsigned out, struct answer *ret);
/** Takes what unit attentions there are. */
void initiator_settle(struct iscsi_context *iscsi, int lun);

/** Counts, and says what is not so. */
__attribute__((format(printf, 2, 3))) void check(bool ok, const char *fmt, ...);
/** The last line, and the exit code. */
int check_result(const char *what);

#endif
