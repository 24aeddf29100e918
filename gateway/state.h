/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state directory: one daemon at a time, and who this gateway is.
 *
 *   STATE_DIR/lock         held (flock) for the life of the daemon; holds its pid, for people
 *   STATE_DIR/gateway-id   random UUID, made once and kept
 *   STATE_DIR/journal/     journals of volumes that name no directory of their own
 *
 * Threads: any that may block.
 */
#ifndef LUNGATE_GATEWAY_STATE_H
#define LUNGATE_GATEWAY_STATE_H

#include <stdint.h>

#include "common/err.h"
#include "stores/stores.h"

struct state {
	int lock_fd;
	char *journal_dir;
	uint8_t gateway_id[GATEWAY_ID_LEN];
};

/** Make the directory where it is missing, lock it, read or make the identity. -EBUSY: another daemon has it. */
int state_open(const char *dir, struct state *ret, struct errinfo *info);
void state_close(struct state *state);

#endif
