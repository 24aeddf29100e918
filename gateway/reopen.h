/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Volumes that could not be opened are tried again: the store of a gateway may be up later than the gateway. */
#ifndef LUNGATE_GATEWAY_REOPEN_H
#define LUNGATE_GATEWAY_REOPEN_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/err.h"

struct daemon;

struct reopener {
	struct daemon *daemon;
	pthread_t thread;
	sem_t wake;
	bool runs;
	_Atomic bool stop, now;
};

void reopener_init(struct reopener *reopener, struct daemon *daemon);
/** After the targets are there. */
int reopener_start(struct reopener *reopener);
/** Do not wait for the next turn: something changed, such as keys.  From any thread, at any time. */
void reopener_hurry(struct reopener *reopener);
/** Waits for the attempt that runs, if one does. */
void reopener_fini(struct reopener *reopener);

#endif
