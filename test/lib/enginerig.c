/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See enginerig.h. */
#include "test/lib/enginerig.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEGMENT (4u << 20)

static void
store_open(struct enginerig *rig, bool create)
{
	static unsigned n;
	char url[64];

	if (!rig->fs) {
		snprintf(url, sizeof(url), "mem:rig%u", n++);
		int r = object_store_open(url, NULL, true, &rig->inner, &rig->info);
		assert(r == 0);
	} else {
		int r = object_store_open("dir:/store", simfs_vfs(rig->fs), create, &rig->inner, &rig->info);
		if (r < 0)
			fprintf(stderr, "%s\n", rig->info.text);
		assert(r == 0);
	}
	rig->store = faultstore_new(rig->inner);
	rig->params.store = rig->store;
}

static void
store_close(struct enginerig *rig)
{
	object_store_free(rig->store);
	object_store_free(rig->inner);
}

void
enginerig_init(struct enginerig *rig, const char *kind, uint64_t arena_bytes)
{
	*rig = (struct enginerig){.spec = {.name = "v",
					   .store = "test",
					   .size = 64 * RIG_MIB,
					   .block_size = 512,
					   .chunk_size = 1 << 20,
					   .journal_dir = "/journal"},
				  .params = {.journal_bytes = 8 * SEGMENT,
					     .journal_segment_bytes = SEGMENT,
					     .retry_ms = 2,
					     .retry_max_ms = 20}};
	memset(rig->spec.gateway_id, 7, GATEWAY_ID_LEN);
	int r = loop_pool_init(4);
	assert(r == 0);
	r = loop_new("engine", 0, &rig->loop);
	assert(r == 0);
	r = loop_start(rig->loop);
	assert(r == 0);
	r = arena_new(arena_bytes, &rig->arena);
	assert(r == 0);
	if (!strcmp(kind, "mem"))
		store_open(rig, true);
	rig->fs = simfs_new();
	assert(rig->fs);
	rig->params.vfs = simfs_vfs(rig->fs);
	if (strcmp(kind, "mem"))
		store_open(rig, true);
}

void
enginerig_power_cut(struct enginerig *rig, uint64_t seed)
{
	assert(!rig->vol);
	store_close(rig);
	simfs_power_cut(rig->fs, seed);
	store_open(rig, true);
}

void
enginerig_new_disk(struct enginerig *rig)
{
	assert(!rig->vol);
	store_close(rig);
	simfs_free(rig->fs);
	rig->fs = simfs_new();
	assert(rig->fs);
	rig->params.vfs = simfs_vfs(rig->fs);
	memset(rig->spec.uuid, 0, UUID_LEN);
	store_open(rig, true);
}

void
enginerig_fini(struct enginerig *rig)
{
	assert(!rig->vol);
	store_close(rig);
	loop_free(rig->loop);
	loop_pool_fini();
	arena_free(rig->arena);
	simfs_free(rig->fs);
}

int
enginerig_create(struct enginerig *rig)
{
	return chunked_create_with(&rig->spec, &rig->params, rig->loop, rig->arena, &rig->info);
}

int
enginerig_open(struct enginerig *rig)
{
	assert(!rig->vol);
	rig->info.text[0] = '\0';
	return chunked_open_with(&rig->spec, &rig->params, rig->loop, rig->arena, &rig->vol, &rig->info);
}

struct waiting {
	struct loop_msg msg;
	struct enginerig *rig;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool finished;
	int status;
};

static void
wake(void *arg, int status)
{
	struct waiting *w = arg;

	pthread_mutex_lock(&w->lock);
	w->finished = true;
	w->status = status;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static void
wake_void(void *arg)
{
	wake(arg, 0);
}

static int
on_loop(struct enginerig *rig, void (*fn)(struct loop_msg *msg))
{
	struct waiting w = {.msg = {.fn = fn}, .rig = rig};

	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.cond, NULL);
	loop_post(rig->loop, &w.msg);
	pthread_mutex_lock(&w.lock);
	while (!w.finished)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.lock);
	return w.status;
}

static void
close_msg(struct loop_msg *msg)
{
	struct waiting *w = container_of(msg, struct waiting, msg);

	w->rig->vol->ops->close(w->rig->vol, wake, w);
}

static void
abandon_msg(struct loop_msg *msg)
{
	struct waiting *w = container_of(msg, struct waiting, msg);

	chunked_abandon(w->rig->vol, wake_void, w);
}

static void
commit_msg(struct loop_msg *msg)
{
	struct waiting *w = container_of(msg, struct waiting, msg);

	chunked_commit(w->rig->vol, wake, w);
}

static void
commit_forgotten(void *arg, int status)
{
	(void)arg;
	(void)status;
}

static void
commit_begin_msg(struct loop_msg *msg)
{
	struct waiting *w = container_of(msg, struct waiting, msg);

	chunked_commit(w->rig->vol, commit_forgotten, NULL);
	wake(w, 0);
}

static int
destroy(void *arg)
{
	struct enginerig *rig = arg;

	rig->vol->ops->destroy(rig->vol);
	rig->vol = NULL;
	return 0;
}

int
enginerig_close(struct enginerig *rig)
{
	int r = on_loop(rig, close_msg);

	(void)loop_call(rig->loop, destroy, rig);
	return r;
}

void
enginerig_stop(struct enginerig *rig)
{
	(void)on_loop(rig, abandon_msg);
}

void
enginerig_destroy(struct enginerig *rig)
{
	(void)loop_call(rig->loop, destroy, rig);
}

void
enginerig_abandon(struct enginerig *rig)
{
	enginerig_stop(rig);
	enginerig_destroy(rig);
}

int
enginerig_commit(struct enginerig *rig)
{
	return on_loop(rig, commit_msg);
}

void
enginerig_commit_begin(struct enginerig *rig)
{
	(void)on_loop(rig, commit_begin_msg);
}

long long
enginerig_stat(struct enginerig *rig, const char *name)
{
	json_t *stats = volume_stats(rig->vol);
	json_t *member = json_object_get(stats, name);
	long long value = json_is_integer(member) ? json_integer_value(member) : -1;

	json_decref(stats);
	return value;
}

bool
enginerig_wait(struct enginerig *rig, const char *name, long long at_least)
{
	const struct timespec ms = {0, 2000000};

	for (unsigned i = 0; i < 5000; i++) {
		if (enginerig_stat(rig, name) >= at_least)
			return true;
		nanosleep(&ms, NULL);
	}
	return false;
}

int
enginerig_corrupt(struct enginerig *rig, const char *key, uint64_t offset)
{
	struct object_req head = {.store = rig->inner, .op = OBJECT_HEAD, .key = key};
	int r = object_call(rig->loop, &head);

	if (r < 0)
		return r;
	uint8_t *body = malloc(head.size);
	struct iovec iov = {body, head.size};
	struct object_req get = {.store = rig->inner,
				 .op = OBJECT_GET,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .length = head.size};
	struct object_req put = {.store = rig->inner, .op = OBJECT_PUT, .key = key, .iov = &iov, .niov = 1};
	assert(body);
	r = object_call(rig->loop, &get);
	if (r == 0) {
		body[offset < head.size ? offset : head.size - 1] ^= 0x40;
		r = object_call(rig->loop, &put);
	}
	free(body);
	return r;
}

int
enginerig_delete(struct enginerig *rig, const char *key)
{
	struct object_req req = {.store = rig->inner, .op = OBJECT_DELETE, .keys = &key, .nkeys = 1};

	return object_call(rig->loop, &req);
}

unsigned
enginerig_count(struct enginerig *rig, const char *prefix)
{
	struct object_req req = {.store = rig->inner, .op = OBJECT_LIST, .key = prefix, .max_keys = 1000};
	int r = object_call(rig->loop, &req);

	assert(r == 0 && !req.truncated);
	unsigned n = (unsigned)req.nentries;
	object_entries_free(req.entries, req.nentries);
	return n;
}
