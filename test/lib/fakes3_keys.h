/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keys that the fake S3 server takes, and how often each was used.
 *
 * Threads: any; it has a lock of its own.
 */
#ifndef LUNGATE_TEST_LIB_FAKES3_KEYS_H
#define LUNGATE_TEST_LIB_FAKES3_KEYS_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#define FAKES3_KEYS_MAX 4

struct fakes3_key {
	char access[128], secret[128]; /* "" = none */
	uint64_t used;
};

struct fakes3_keys {
	pthread_mutex_t lock;
	struct fakes3_key keys[FAKES3_KEYS_MAX];
	uint64_t unsigned_bodies;
};

void fakes3_keys_init(struct fakes3_keys *keys, const char *access, const char *secret);
/** pair: "ACCESS:SECRET". */
void fakes3_keys_add(struct fakes3_keys *keys, const char *pair);
void fakes3_keys_drop(struct fakes3_keys *keys, const char *access);
/** The key that an Authorization header names, counted; an empty one when there is no such. */
void fakes3_keys_find(struct fakes3_keys *keys, const char *authorization, const char *hash, struct fakes3_key *ret);
/** "key:ACCESS=USED", a line each, and "unsigned=N", the bodies that were not hashed. */
void fakes3_keys_print(struct fakes3_keys *keys, FILE *out);

#endif
