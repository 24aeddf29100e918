/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ALUA states that initiators have set (SET TARGET PORT GROUPS); one file a target, where one has set any:
 *   STATE_DIR/alua/<iSCSI name>.json   (gateway/scsi/alua_keep.c says what is in it)
 *
 * Threads: any that may block.
 */
#ifndef LUNGATE_GATEWAY_ALUA_STATES_H
#define LUNGATE_GATEWAY_ALUA_STATES_H

#include <stdbool.h>

#include "common/err.h"

/** Keep them there from now on; before the first target is made. */
int alua_states_open(const char *state_dir, struct errinfo *info);
/** After the last target is gone. */
void alua_states_close(void);
/** The target is deleted. */
void alua_states_forget(const char *target);
/** Forget targets that are configured no more, and saves that were cut off; before anything can be set. */
void alua_states_prune(bool (*is_configured)(void *arg, const char *target), void *arg);

#endif
