/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent reservations that survive power loss, of volumes that keep no attributes (raw, ram, null); one file a volume:
 *   STATE_DIR/reservations/<uuid>.json   (gateway/scsi/pr_save.c says what is in it)
 *
 * Threads: any that may block.
 */
#ifndef LUNGATE_GATEWAY_RESERVATIONS_H
#define LUNGATE_GATEWAY_RESERVATIONS_H

#include "common/err.h"
#include "common/util.h"

/** Keep them there from now on; before the first LUN is mapped. */
int reservations_open(const char *state_dir, struct errinfo *info);
/** After the last LUN is gone. */
void reservations_close(void);
/** The volume is deleted. */
void reservations_forget(const uint8_t uuid[UUID_LEN]);

#endif
