/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast is a store?  Threads that each write and read whole chunks, one after the other.
 *
 * Threads: any that may block.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "stores/object/object.h"

#define STREAMS 8u
#define EACH 2u                 /* objects a stream */
#define OBJECT_BYTES (4u << 20) /* a chunk */

struct stream {
	struct object_store *store;
	struct loop *loop;
	enum object_op op;
	unsigned id;
	char (*keys)[64];
	uint8_t *buf;
	const _Atomic bool *stop;
	pthread_t thread;
	int rc;
};

static void *
run_stream(void *arg)
{
	struct stream *s = arg;
	struct iovec iov = {s->buf, OBJECT_BYTES};

	for (unsigned i = 0; i < EACH && !s->rc; i++) {
		if (s->stop && atomic_load(s->stop)) {
			s->rc = -EINTR;
			break;
		}
		struct object_req req = {.store = s->store,
					 .op = s->op,
					 .key = s->keys[s->id * EACH + i],
					 .iov = &iov,
					 .niov = 1};

		s->rc = object_call(s->loop, &req);
	}
	return NULL;
}

/* Bytes a second of all streams at once. */
static int
run_streams(struct stream *streams, enum object_op op, uint64_t *ret)
{
	uint64_t start = clock_ns();
	unsigned started = 0;
	int rc = 0;

	for (; started < STREAMS && !rc; started += !rc) {
		streams[started].op = op;
		rc = -pthread_create(&streams[started].thread, NULL, run_stream, &streams[started]);
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(streams[i].thread, NULL);
		rc = rc ? rc : streams[i].rc;
	}
	*ret = (uint64_t)((double)STREAMS * EACH * OBJECT_BYTES * 1e9 / (double)(clock_ns() - start));
	return rc;
}

int
object_store_measure(struct object_store *store, struct loop *loop, const _Atomic bool *stop,
		     uint64_t *ret_put, uint64_t *ret_get, struct errinfo *info)
{
	struct stream streams[STREAMS];
	char names[STREAMS * EACH][64];
	const char *keys[STREAMS * EACH];
	struct object_req remove = {
		.store = store, .op = OBJECT_DELETE, .keys = keys, .nkeys = STREAMS * EACH};
	uint8_t nonce[8];
	int rc = 0, removed;

	random_bytes(nonce, sizeof(nonce));
	for (unsigned i = 0; i < STREAMS * EACH; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "lungate-probe/speed-%02x%02x%02x%02x-%u",
			       nonce[0], nonce[1], nonce[2], nonce[3], i);
		keys[i] = names[i];
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		streams[i] =
			(struct stream){.store = store, .loop = loop, .id = i, .keys = names, .stop = stop};
		streams[i].buf = malloc(OBJECT_BYTES);
		if (!streams[i].buf)
			rc = -ENOMEM;
		else
			random_bytes(streams[i].buf, OBJECT_BYTES);
	}
	if (!rc)
		rc = run_streams(streams, OBJECT_PUT, ret_put);
	if (!rc)
		rc = run_streams(streams, OBJECT_GET, ret_get);
	removed = object_call(loop, &remove);
	rc = rc ? rc : removed;
	if (rc)
		(void)err_set(info, rc, "objects of %u MiB: %s", OBJECT_BYTES >> 20, err_text(rc));
	for (unsigned i = 0; i < STREAMS; i++)
		free(streams[i].buf);
	return rc;
}
