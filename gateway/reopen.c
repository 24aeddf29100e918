/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One thread that opens failed volumes again.
 *
 * States of a failed volume, under `change`: waiting (retry_ns set) -> held (HOLD_OPENING, without `change`, for
 * a store that does not answer takes its time) -> online, its LUNs mapped, or waiting for longer.  What only an
 * administrator can mend (hopeless) waits for one to ask.
 *
 * Threads: its own, and reopener_hurry() from any.
 * Failure: a volume stays failed and is tried again; `why` says what it was the last time.
 */
#include "gateway/reopen.h"

#include <time.h>

#include "common/log.h"
#include "common/util.h"
#include "gateway/daemon.h"

#define SECOND_NS 1000000000ull
#define DUE_NOW 1ull /* an administrator asked: what had to be mended may have been */
#define PAUSE_FIRST_S 1u
#define PAUSE_MAX_S 30u

static bool
hopeless(int err)
{
	static const int errs[] = {LG_EFORMAT, LG_ENOJOURNAL, LG_EPOISONED, LG_ECONFIG, -EINVAL, -ENOTSUP};

	if (err_class(err) == ERR_CLASS_CORRUPT)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(errs); i++)
		if (errs[i] == err)
			return true;
	return false;
}

static uint64_t
pause_ns(unsigned retries)
{
	return SECOND_NS * (retries < 5 ? min_of(PAUSE_FIRST_S << retries, PAUSE_MAX_S) : PAUSE_MAX_S);
}

/* With change held: the failed volume whose turn it is, or NULL and when to look again (0: not by itself). */
static struct daemon_volume *
next_due(struct daemon *daemon, uint64_t *ret_ns)
{
	uint64_t t = clock_ns();

	*ret_ns = 0;
	for (size_t i = 0; i < daemon->nvolumes; i++) {
		struct daemon_volume *volume = daemon->volumes[i];

		if (volume->vol || volume->hold != HOLD_NONE ||
		    (hopeless(volume->err) && volume->retry_ns != DUE_NOW))
			continue;
		if (!volume->retry_ns)
			volume->retry_ns = t + pause_ns(volume->retries);
		if (volume->retry_ns <= t)
			return volume;
		if (!*ret_ns || volume->retry_ns < *ret_ns)
			*ret_ns = volume->retry_ns;
	}
	return NULL;
}

static void
all_due(struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->nvolumes; i++)
		daemon->volumes[i]->retry_ns = DUE_NOW;
}

static void
try_again(struct daemon *daemon, struct daemon_volume *volume)
{
	int r;

	volume->hold = HOLD_OPENING;
	daemon_end_change(daemon);
	r = daemon_volume_open(daemon, volume);
	daemon_doing(daemon, NULL, NULL);
	(void)pthread_mutex_lock(&daemon->change);
	volume->hold = HOLD_NONE;
	volume->retry_ns = 0;
	volume->retries = r ? volume->retries + 1 : 0;
	if (!r)
		daemon_targets_take(daemon, volume);
}

static void
wait_until(struct reopener *reopener, uint64_t ns)
{
	const struct timespec at = {.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};

	if (ns)
		(void)sem_clockwait(&reopener->wake, CLOCK_MONOTONIC, &at);
	else
		(void)sem_wait(&reopener->wake);
}

static void *
reopener_main(void *arg)
{
	struct reopener *reopener = arg;
	struct daemon *daemon = reopener->daemon;

	while (!atomic_load(&reopener->stop)) {
		struct daemon_volume *volume;
		uint64_t ns;

		(void)pthread_mutex_lock(&daemon->change);
		if (atomic_exchange(&reopener->now, false))
			all_due(daemon);
		while ((volume = next_due(daemon, &ns)) && !atomic_load(&reopener->stop))
			try_again(daemon, volume);
		daemon_end_change(daemon);
		if (!atomic_load(&reopener->stop))
			wait_until(reopener, ns);
	}
	return NULL;
}

void
reopener_init(struct reopener *reopener, struct daemon *daemon)
{
	*reopener = (struct reopener){.daemon = daemon};
	(void)sem_init(&reopener->wake, 0, 0);
}

int
reopener_start(struct reopener *reopener)
{
	int r = -pthread_create(&reopener->thread, NULL, reopener_main, reopener);

	reopener->runs = !r;
	return r;
}

void
reopener_hurry(struct reopener *reopener)
{
	atomic_store(&reopener->now, true);
	(void)sem_post(&reopener->wake);
}

void
reopener_fini(struct reopener *reopener)
{
	if (reopener->runs) {
		atomic_store(&reopener->stop, true);
		(void)sem_post(&reopener->wake);
		(void)pthread_join(reopener->thread, NULL);
	}
	(void)sem_destroy(&reopener->wake);
}
