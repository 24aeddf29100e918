/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Replaced objects, until they are deleted.
 *
 * A commit adds the keys that its root no longer names.  They are deleted in batches, not before the horizon
 * (60 s) has passed - a reader may be in the middle of one, a lagging look at the old root may lead to one -
 * and only after the root was read again and shows our generation.
 *
 * The list lives in memory alone: what is on it when the volume closes or the daemon dies stays in the bucket
 * as a leak that `lungate check` finds.  A leak costs space; an early delete costs data.
 *
 * States: empty -> waiting (timer) -> looking at the root -> deleting -> waiting or empty.
 * Failure: the batch is tried again until it succeeds: three times soon, then once a horizon.  A store that is away,
 * or refuses for a while, must not turn into a leak; that the list is bounded keeps memory so.
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define DEAD_MAX (1u << 20) /* more are leaked: bounded memory */
#define DEAD_ATTEMPTS 3u

struct dead_batch {
	struct engine *eng;
	size_t n;
	struct object_req req;
	struct iovec iov;
	uint8_t *root;
	char root_key[OBJECT_KEY_MAX + 1];
	const char *keys[OBJECT_DELETE_MAX];
	char text[]; /* n keys of dead_key_room() */
};

static size_t
dead_key_room(const struct engine *eng)
{
	return strlen(eng->prefix) + 1 + BUCKET_KEY_MAX;
}

void
dead_add(struct engine *eng, enum bucket_key_kind kind, uint32_t index, uint32_t generation, uint64_t number)
{
	struct dead_list *dead = &eng->dead;

	if (dead->n == dead->room) {
		size_t room = dead->room ? dead->room * 2 : 64;
		void *keys = room <= DEAD_MAX ? realloc(dead->keys, room * sizeof(dead->keys[0])) : NULL;

		if (!keys) {
			counter_add(&dead->leaked, 1);
			return;
		}
		dead->keys = keys;
		dead->room = room;
	}
	dead->keys[dead->n].due_ms = loop_now_ms(eng->vol.loop) + eng->params.delete_horizon_ms;
	dead->keys[dead->n].kind = kind;
	dead->keys[dead->n].index = index;
	dead->keys[dead->n].generation = generation;
	dead->keys[dead->n].number = number;
	dead->n++;
}

void
dead_arm(struct engine *eng)
{
	struct dead_list *dead = &eng->dead;
	uint64_t now = loop_now_ms(eng->vol.loop);

	if (dead->at == dead->n || dead->busy || dead->timer.due_ms || engine_stopped(eng) ||
	    eng->phase != ENGINE_RUNNING)
		return;
	uint64_t due = dead->keys[dead->at].due_ms;
	loop_timer_start(&dead->timer, due > now ? due - now : 0);
}

static void
batch_free(struct dead_batch *batch)
{
	free(batch->root);
	free(batch);
}

/** The first n are gone, or given up. */
static void
dead_forget(struct dead_list *dead, size_t n)
{
	dead->at += n;
	if (dead->at == dead->n) {
		dead->at = dead->n = 0;
	} else if (dead->at > dead->n / 2) {
		dead->n -= dead->at;
		memmove(dead->keys, dead->keys + dead->at, dead->n * sizeof(dead->keys[0]));
		dead->at = 0;
	}
}

static void
batch_end(struct dead_batch *batch, int status)
{
	struct engine *eng = batch->eng;
	struct dead_list *dead = &eng->dead;

	dead->busy = false;
	if (status == 0) {
		if (dead->attempts >= DEAD_ATTEMPTS)
			log_info("volume %s: replaced objects are deleted again", eng->vol.name);
		counter_add(&dead->deleted, batch->n);
		dead_forget(dead, batch->n);
		dead->attempts = 0;
		dead_arm(eng);
	} else if (!engine_stopped(eng) && eng->phase == ENGINE_RUNNING) {
		/* closing stops the timer once, and the engine goes without looking at it again */
		uint64_t pause = engine_backoff(eng, ++dead->attempts);

		if (dead->attempts == DEAD_ATTEMPTS)
			log_warn(
				"volume %s: replaced objects cannot be deleted: %s; they take up space until it succeeds",
				eng->vol.name, err_text(status));
		if (dead->attempts >= DEAD_ATTEMPTS)
			pause = max_of(pause, (uint64_t)eng->params.delete_horizon_ms);
		loop_timer_start(&dead->timer, pause);
	}
	batch_free(batch);
	engine_release(eng);
}

static void
delete_done(struct object_req *req)
{
	struct dead_batch *batch = container_of(req, struct dead_batch, req);

	engine_object_done(batch->eng, req, TRAFFIC_OTHER);
	batch_end(batch, req->status);
}

static void
root_seen(struct object_req *req)
{
	struct dead_batch *batch = container_of(req, struct dead_batch, req);
	struct engine *eng = batch->eng;
	struct bucket_root root;
	int r = req->status;

	engine_object_done(eng, req, TRAFFIC_ROOT);
	if (r == 0)
		r = bucket_root_decode(batch->root, req->size, eng->vol.uuid, &root);
	if (r < 0) {
		batch_end(batch, r);
		return;
	}
	uint64_t generation = root.generation;
	bucket_root_fini(&root);
	if (generation != eng->generation) {
		engine_fence(eng);
		batch_end(batch, LG_EFENCED);
		return;
	}
	if (engine_stopped(eng)) {
		batch_end(batch, LG_ESTOPPING);
		return;
	}
	batch->req = (struct object_req){.store = eng->store,
					 .op = OBJECT_DELETE,
					 .keys = batch->keys,
					 .nkeys = batch->n,
					 .done = delete_done};
	engine_object(eng, &batch->req, TRAFFIC_OTHER);
}

static struct dead_batch *
batch_new(struct engine *eng, size_t n)
{
	size_t room = dead_key_room(eng);
	struct dead_batch *batch = malloc(sizeof(*batch) + n * room);

	if (!batch)
		return NULL;
	*batch = (struct dead_batch){.eng = eng, .n = n, .root = malloc(BUCKET_ROOT_MAX)};
	if (!batch->root) {
		free(batch);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		size_t k = eng->dead.at + i;
		struct bucket_key key = {.kind = eng->dead.keys[k].kind,
					 .index = eng->dead.keys[k].index,
					 .generation = eng->dead.keys[k].generation,
					 .number = eng->dead.keys[k].number};
		int r = bucket_key_format(&key, eng->prefix, batch->text + i * room, room);

		assert(r > 0);
		batch->keys[i] = batch->text + i * room;
	}
	return batch;
}

static void
dead_due(struct loop_timer *timer)
{
	struct engine *eng = container_of(timer, struct engine, dead.timer);
	struct dead_list *dead = &eng->dead;
	uint64_t now = loop_now_ms(eng->vol.loop);
	size_t n = 0;

	if (engine_stopped(eng) || eng->phase != ENGINE_RUNNING)
		return;
	while (dead->at + n < dead->n && n < OBJECT_DELETE_MAX && dead->keys[dead->at + n].due_ms <= now)
		n++;
	struct dead_batch *batch = n ? batch_new(eng, n) : NULL;
	if (!batch) {
		loop_timer_start(timer, 1000);
		return;
	}
	struct bucket_key key = {.kind = BUCKET_KEY_ROOT};
	int r = bucket_key_format(&key, eng->prefix, batch->root_key, sizeof(batch->root_key));
	assert(r > 0);
	batch->iov = (struct iovec){batch->root, BUCKET_ROOT_MAX};
	batch->req = (struct object_req){.store = eng->store,
					 .op = OBJECT_GET,
					 .key = batch->root_key,
					 .iov = &batch->iov,
					 .niov = 1,
					 .done = root_seen};
	dead->busy = true;
	engine_hold(eng);
	engine_object(eng, &batch->req, TRAFFIC_ROOT);
}

void
dead_init(struct engine *eng)
{
	loop_timer_init(&eng->dead.timer, eng->vol.loop, dead_due);
}

void
dead_fini(struct engine *eng)
{
	free(eng->dead.keys);
	eng->dead.keys = NULL;
}
