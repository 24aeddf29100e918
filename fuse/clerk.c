/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: one thread with a queue, for what may block (internal.h).
 * Invariant: a job is in the queue at most once; it is its own again when run() is called.
 */
#include "fuse/internal.h"

static void *
clerk_main(void *arg)
{
	struct clerk *clerk = arg;

	pthread_mutex_lock(&clerk->lock);
	for (;;) {
		struct job *job = clerk->head;

		if (job) {
			clerk->head = job->next;
			if (!clerk->head)
				clerk->tail = &clerk->head;
			pthread_mutex_unlock(&clerk->lock);
			job->run(job);
			pthread_mutex_lock(&clerk->lock);
		} else if (clerk->stop) {
			break;
		} else {
			pthread_cond_wait(&clerk->wake, &clerk->lock);
		}
	}
	pthread_mutex_unlock(&clerk->lock);
	return NULL;
}

int
clerk_start(struct clerk *clerk)
{
	int rc;

	pthread_mutex_init(&clerk->lock, NULL);
	pthread_cond_init(&clerk->wake, NULL);
	clerk->head = NULL;
	clerk->tail = &clerk->head;
	clerk->stop = false;
	rc = mount_thread(&clerk->thread, clerk_main, clerk, "fuse-clerk");
	if (rc) {
		pthread_cond_destroy(&clerk->wake);
		pthread_mutex_destroy(&clerk->lock);
	}
	return rc;
}

void
clerk_stop(struct clerk *clerk)
{
	pthread_mutex_lock(&clerk->lock);
	clerk->stop = true;
	pthread_cond_signal(&clerk->wake);
	pthread_mutex_unlock(&clerk->lock);
	pthread_join(clerk->thread, NULL);
	pthread_cond_destroy(&clerk->wake);
	pthread_mutex_destroy(&clerk->lock);
}

void
clerk_push(struct clerk *clerk, struct job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&clerk->lock);
	*clerk->tail = job;
	clerk->tail = &job->next;
	pthread_cond_signal(&clerk->wake);
	pthread_mutex_unlock(&clerk->lock);
}
