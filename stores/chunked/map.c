/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chunk map in memory: which base holds a chunk.
 *
 * The root names the leaves; a leaf without present chunks is not named and costs nothing.  Leaves are
 * loaded when first asked for, at most once at a time, and kept under a cap, least recently used
 * ones going first; a pinned one stays (a commit copies from it).
 *
 * States of a leaf: not in memory -> loading -> in memory -> not in memory.
 * A commit may replace a leaf in any of them: what is on its way then is of
 * no use and is fetched anew.
 *
 * Failure: a leaf that does not match its reference is fetched once more, then everybody who waits gets
 * LG_ECORRUPT; so does who waits for a leaf that is missing.  Nothing is remembered of a failure: the next
 * one who asks tries again.
 *
 * Thread: the volume's loop; map_init() and map_load_now() on open's thread.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>

static uint32_t
leaves_for(const struct engine *eng, uint64_t size)
{
	uint64_t chunks = (size + eng->vol.chunk_size - 1) / eng->vol.chunk_size;
	uint64_t n = (chunks + BUCKET_LEAF_CHUNKS - 1) >> BUCKET_LEAF_SHIFT;

	return n ? (uint32_t)n : 1;
}

int
map_init(struct engine *eng, const struct bucket_root *root)
{
	struct map *map = &eng->map;

	*map = (struct map){.nleaves = leaves_for(eng, root->size)};
	map->refs = calloc(map->nleaves, sizeof(*map->refs));
	map->leaves = calloc(map->nleaves, sizeof(struct leaf *));
	if (!map->refs || !map->leaves)
		return -ENOMEM;
	for (uint32_t i = 0; i < root->nleaves; i++) {
		assert(root->leaves[i].leaf < map->nleaves); /* the codec refuses others */
		map->refs[root->leaves[i].leaf] = root->leaves[i];
		map->present += root->leaves[i].present;
	}
	return 0;
}

static void
lru_remove(struct map *map, struct leaf *leaf)
{
	if (leaf->prev)
		leaf->prev->next = leaf->next;
	else
		map->head = leaf->next;
	if (leaf->next)
		leaf->next->prev = leaf->prev;
	else
		map->tail = leaf->prev;
}

static void
lru_push(struct map *map, struct leaf *leaf)
{
	leaf->prev = NULL;
	leaf->next = map->head;
	if (map->head)
		map->head->prev = leaf;
	else
		map->tail = leaf;
	map->head = leaf;
}

static void
leaf_free(struct map *map, struct leaf *leaf)
{
	assert(!leaf->waiters && !leaf->loading && !leaf->pins);
	lru_remove(map, leaf);
	map->leaves[leaf->no] = NULL;
	map->loaded--;
	free(leaf->entries);
	free(leaf->buf);
	free(leaf);
}

void
map_fini(struct engine *eng)
{
	while (eng->map.head) {
		eng->map.head->pins = 0;
		leaf_free(&eng->map, eng->map.head);
	}
	free(eng->map.refs);
	free(eng->map.leaves);
	eng->map.refs = NULL;
	eng->map.leaves = NULL;
}

int
map_resize(struct engine *eng, uint64_t size)
{
	struct map *map = &eng->map;
	uint32_t n = leaves_for(eng, size), old = map->nleaves;

	if (n <= old)
		return 0;
	int r = dirty_set_resize(eng->active, old, n);
	if (r == 0 && eng->frozen)
		r = dirty_set_resize(eng->frozen, old, n);
	if (r < 0)
		return r;
	struct bucket_leaf_ref *refs = realloc(map->refs, n * sizeof(*refs));
	if (!refs)
		return -ENOMEM;
	map->refs = refs;
	struct leaf **leaves = realloc(map->leaves, n * sizeof(struct leaf *));
	if (!leaves)
		return -ENOMEM;
	map->leaves = leaves;
	for (uint32_t i = old; i < n; i++) {
		refs[i] = (struct bucket_leaf_ref){.leaf = i};
		leaves[i] = NULL;
	}
	map->nleaves = n;
	return 0;
}

struct leaf *
map_leaf(struct engine *eng, uint32_t no)
{
	struct leaf *leaf = no < eng->map.nleaves ? eng->map.leaves[no] : NULL;

	if (!leaf || !leaf->entries)
		return NULL;
	if (eng->map.head != leaf) {
		lru_remove(&eng->map, leaf);
		lru_push(&eng->map, leaf);
	}
	return leaf;
}

int
map_entry(struct engine *eng, uint64_t chunk, struct bucket_entry *ret)
{
	uint32_t no = (uint32_t)(chunk >> BUCKET_LEAF_SHIFT);

	if (no >= eng->map.nleaves || eng->map.refs[no].present == 0) {
		*ret = (struct bucket_entry){0};
		return 0;
	}
	struct leaf *leaf = map_leaf(eng, no);
	if (!leaf)
		return -EAGAIN;
	*ret = leaf->entries[chunk & (BUCKET_LEAF_CHUNKS - 1)];
	return 0;
}

void
map_trim(struct engine *eng)
{
	struct leaf *leaf = eng->map.tail;

	while (leaf && eng->map.loaded > eng->params.leaf_cache) {
		struct leaf *prev = leaf->prev;

		if (!leaf->pins && !leaf->loading && !leaf->waiters)
			leaf_free(&eng->map, leaf);
		leaf = prev;
	}
}

/* ---- loading --------------------------------------------------------------- */

static struct leaf *
leaf_make(struct engine *eng, uint32_t no)
{
	struct leaf *leaf = calloc(1, sizeof(*leaf));

	if (!leaf)
		return NULL;
	leaf->no = no;
	leaf->eng = eng;
	eng->map.leaves[no] = leaf;
	eng->map.loaded++;
	lru_push(&eng->map, leaf);
	return leaf;
}

static void leaf_fetch(struct leaf *leaf);

static void
leaf_finish(struct leaf *leaf, int status)
{
	struct engine *eng = leaf->eng;
	struct leaf_wait *waiters = leaf->waiters;

	leaf->waiters = NULL;
	leaf->loading = false;
	leaf->pins++; /* while the waiters look at it */
	if (status == 0)
		dirty_recount_leaf(eng, leaf->no);
	while (waiters) {
		struct leaf_wait *wait = waiters;

		waiters = wait->next;
		wait->fn(wait, status);
	}
	leaf->pins--;
	if (!leaf->waiters && !leaf->loading && !leaf->entries && !leaf->pins)
		leaf_free(&eng->map, leaf);
	map_trim(eng);
	engine_release(eng);
}

/** Bytes and reference to entries. */
static int
leaf_decode(struct engine *eng, struct leaf *leaf)
{
	struct bucket_entry *entries = malloc(BUCKET_LEAF_CHUNKS * sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	int r = bucket_leaf_decode(leaf->buf, leaf->ref.length, eng->vol.uuid, &leaf->ref, entries);
	if (r < 0) {
		free(entries);
		return r;
	}
	leaf->entries = entries;
	return 0;
}

static int
leaf_request(struct engine *eng, struct leaf *leaf)
{
	leaf->ref = eng->map.refs[leaf->no];
	int r = bucket_key_leaf(eng->prefix, &leaf->ref, leaf->key, sizeof(leaf->key));
	if (r < 0)
		return r;
	free(leaf->buf);
	leaf->buf = malloc(leaf->ref.length);
	if (!leaf->buf)
		return -ENOMEM;
	leaf->iov = (struct iovec){leaf->buf, leaf->ref.length};
	leaf->req = (struct object_req){.store = eng->store,
					.op = OBJECT_GET,
					.key = leaf->key,
					.iov = &leaf->iov,
					.niov = 1,
					.offset = 0,
					.length = leaf->ref.length};
	return 0;
}

static int
leaf_verdict(int status)
{
	/* the root says that it is there and how long it is */
	return status == -ENOENT || status == -ENODATA ? LG_ECORRUPT : status;
}

static void
leaf_fetched(struct object_req *req)
{
	struct leaf *leaf = container_of(req, struct leaf, req);
	struct engine *eng = leaf->eng;

	engine_object_done(eng, req, TRAFFIC_LEAF);
	if (leaf->entries || eng->map.refs[leaf->no].present == 0) {
		leaf_finish(leaf, 0); /* a commit brought a newer one */
		return;
	}
	const struct bucket_leaf_ref *now = &eng->map.refs[leaf->no];
	if (now->generation != leaf->ref.generation || now->commit != leaf->ref.commit) {
		leaf->attempts = 0;
		leaf_fetch(leaf);
		return;
	}
	int r = leaf_verdict(req->status);
	if (r == 0)
		r = leaf_decode(eng, leaf);
	free(leaf->buf);
	leaf->buf = NULL;
	if (r < 0 && engine_worth_repeating(r) && leaf->attempts++ == 0 && !engine_stopped(eng)) {
		leaf_fetch(leaf);
		return;
	}
	if (r == LG_ECORRUPT)
		counter_add(&eng->crc_errors, 1);
	leaf_finish(leaf, r);
}

static void
leaf_fetch(struct leaf *leaf)
{
	int r = leaf_request(leaf->eng, leaf);

	if (r < 0) {
		leaf_finish(leaf, r);
		return;
	}
	leaf->req.done = leaf_fetched;
	engine_object(leaf->eng, &leaf->req, TRAFFIC_LEAF);
}

void
map_load(struct engine *eng, uint32_t no, struct leaf_wait *wait)
{
	struct leaf *leaf = eng->map.leaves[no];

	if (!leaf)
		leaf = leaf_make(eng, no);
	if (!leaf) {
		wait->fn(wait, -ENOMEM);
		return;
	}
	assert(!leaf->entries);
	wait->next = leaf->waiters;
	leaf->waiters = wait;
	if (leaf->loading)
		return;
	leaf->loading = true;
	leaf->attempts = 0;
	engine_hold(eng);
	leaf_fetch(leaf);
}

int
map_load_now(struct engine *eng, uint32_t no)
{
	struct leaf *leaf = eng->map.leaves[no];

	if (leaf && leaf->entries)
		return 0;
	leaf = leaf_make(eng, no);
	if (!leaf)
		return -ENOMEM;
	int r = leaf_request(eng, leaf);
	if (r == 0)
		r = leaf_verdict(object_call(eng->vol.loop, &leaf->req));
	if (r == 0)
		r = leaf_decode(eng, leaf);
	free(leaf->buf);
	leaf->buf = NULL;
	if (r < 0)
		leaf_free(&eng->map, leaf);
	else
		map_trim(eng);
	return r;
}

void
map_replace(struct engine *eng, uint32_t no, const struct bucket_leaf_ref *ref, struct bucket_entry *entries)
{
	struct leaf *leaf = eng->map.leaves[no];

	eng->map.present += ref->present;
	eng->map.present -= eng->map.refs[no].present;
	eng->map.refs[no] = *ref;
	if (!leaf && entries)
		leaf = leaf_make(eng, no);
	if (!leaf) {
		free(entries);
		return;
	}
	free(leaf->entries);
	leaf->entries = entries;
	leaf->ref = *ref;
	if (!entries && !leaf->loading && !leaf->waiters && !leaf->pins)
		leaf_free(&eng->map, leaf);
	map_trim(eng);
}
