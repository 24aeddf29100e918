/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Load on an object store, as the engine makes it: s3_load URL put|get|range SIZE DEPTH OBJECTS [SECONDS]
 *
 * One loop, DEPTH requests of SIZE bytes in flight, on so many objects.  put and get take each object once, in order: servers
 * have caches, and a second GET of an object is not what a cold volume asks for.  range reads SIZE bytes at
 * random places of the 4 MiB objects that put left under the same prefix, for so many seconds.  Prints requests a
 * second, MB/s, and the median and 99th percentile of a request.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/stats.h"
#include "common/util.h"
#include "stores/object/object.h"

#define DEPTH_MAX 256
#define CHUNK (4u << 20)

struct slot {
	struct object_req req;
	struct iovec iov;
	char key[32];
};

static struct {
	struct object_store *store;
	struct slot slots[DEPTH_MAX];
	enum { MODE_PUT, MODE_GET, MODE_RANGE } mode;
	size_t size;
	unsigned depth, running;
	uint64_t objects, end_ns, issued, requests, failures, seed;
	struct histogram latency;
	struct loop_msg msg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool over;
} b;

static uint64_t
next_random(void)
{
	b.seed = b.seed * 6364136223846793005u + 1442695040888963407u;
	return b.seed >> 33;
}

static void
issue(struct slot *slot)
{
	struct object_req *req = &slot->req;

	(void)snprintf(slot->key, sizeof(slot->key), "bench/%llu",
		       (unsigned long long)((b.mode == MODE_RANGE ? next_random() : b.issued) % b.objects));
	b.issued++;
	req->length = b.mode == MODE_PUT ? 0 : b.size;
	req->offset = b.mode == MODE_RANGE ? next_random() % (CHUNK / b.size) * b.size : 0;
	object_submit(req);
}

static void
on_done(struct object_req *req)
{
	struct slot *slot = container_of(req, struct slot, req);

	b.requests++;
	b.failures += req->status != 0;
	histogram_record(&b.latency, clock_ns() - req->start_ns);
	if (b.mode == MODE_RANGE ? clock_ns() < b.end_ns : b.issued < b.objects) {
		issue(slot);
		return;
	}
	if (--b.running)
		return;
	pthread_mutex_lock(&b.lock);
	b.over = true;
	pthread_cond_signal(&b.cond);
	pthread_mutex_unlock(&b.lock);
}

static void
start(struct loop_msg *msg)
{
	(void)msg;
	b.running = b.depth; /* no more than there are objects */
	for (unsigned i = 0; i < b.depth; i++) {
		struct slot *slot = &b.slots[i];

		slot->iov = (struct iovec){malloc(b.size), b.size};
		memset(slot->iov.iov_base, (int)i + 1, b.size);
		slot->req = (struct object_req){.store = b.store,
						.op = b.mode == MODE_PUT ? OBJECT_PUT : OBJECT_GET,
						.key = slot->key,
						.iov = &slot->iov,
						.niov = 1,
						.done = on_done};
		issue(slot);
	}
}

static void
run(struct loop *loop, unsigned seconds)
{
	uint64_t begun = clock_ns();
	double s;

	b.end_ns = begun + seconds * 1000000000ull;
	b.msg.fn = start;
	pthread_mutex_init(&b.lock, NULL);
	pthread_cond_init(&b.cond, NULL);
	loop_post(loop, &b.msg);
	pthread_mutex_lock(&b.lock);
	while (!b.over)
		pthread_cond_wait(&b.cond, &b.lock);
	pthread_mutex_unlock(&b.lock);
	s = (double)(clock_ns() - begun) / 1e9;
	(void)printf("%8.0f req/s %8.1f MB/s  p50 %7.2f ms  p99 %7.2f ms  %llu requests, %llu failed\n",
		     (double)b.requests / s, (double)b.requests * (double)b.size / s / 1e6,
		     (double)histogram_quantile_us(&b.latency, 0.5) / 1e3,
		     (double)histogram_quantile_us(&b.latency, 0.99) / 1e3, (unsigned long long)b.requests,
		     (unsigned long long)b.failures);
	for (unsigned i = 0; i < b.depth; i++)
		free(b.slots[i].iov.iov_base);
}

int
main(int argc, char **argv)
{
	struct errinfo info = {0};
	struct loop *loop;
	uint64_t size;

	if (argc < 6 || argc > 7 || size_parse(argv[3], &size) || !size || size > 64u << 20) {
		(void)fprintf(stderr, "usage: s3_load URL put|get|range SIZE DEPTH OBJECTS [SECONDS]\n");
		return 2;
	}
	b.mode = !strcmp(argv[2], "put") ? MODE_PUT : !strcmp(argv[2], "get") ? MODE_GET : MODE_RANGE;
	b.size = size;
	b.depth = (unsigned)strtoul(argv[4], NULL, 10);
	b.objects = strtoull(argv[5], NULL, 10);
	b.seed = clock_ns();
	if (!b.depth || b.objects < b.depth || b.depth > DEPTH_MAX || loop_pool_init(0) ||
	    loop_new("bench", 0, &loop) || loop_start(loop))
		return 2;
	if (object_store_open(argv[1], NULL, true, &b.store, &info)) {
		(void)fprintf(stderr, "s3_load: %s\n", info.text);
		return 1;
	}
	run(loop, argc == 7 ? (unsigned)strtoul(argv[6], NULL, 10) : 0);
	object_store_free(b.store);
	loop_free(loop);
	loop_pool_fini();
	return b.failures ? 1 : 0;
}
