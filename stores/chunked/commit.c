/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The map commit: what gathered in the active set goes into the store, and one
 * swap of the root makes all of it count.
 *
 *   IDLE -> STAGING -> LEAVES -> SYNC -> ROOT -> SETTLE -> IDLE
 *   any of them -> HALTED
 *
 *   STAGING  the active set is frozen (sequence N); its chunks are PUT as bases, several at a time
 *   LEAVES   the leaves that name them, one after the other, under keys of the new commit
 *   SYNC     journal mode: N must be durable in the journal, so that the root
 *            never names what the journal does not have
 *   ROOT     PUT root, If-Match the last one; only after this anything is released
 *   SETTLE   chunk by chunk, a bounded number a turn: pages move to the clean
 *            cache; then replaced keys to the dead list, journal_release(N), and writers go on
 *
 * Invariants: there is at most one frozen set and one commit; a key is PUT with
 * one content only; readers look into the frozen set until its chunk is settled.
 *
 * Failure: PUTs are repeated for ever with back-off.  A swap of the root whose outcome is not known, or that
 * was refused, is settled by reading the root back: our nonce - it happened; the last one's nonce - it did
 * not, again; anything else - the volume has another owner, we are fenced.  HALTED: the volume is poisoned,
 * fenced or closed without success; the frozen set stays where readers find it, the journal keeps what it
 * has.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/failpoint.h"
#include "common/log.h"

#define STAGE_BATCH 1024u /* chunks looked at in one turn */
#define SETTLE_BATCH 64u

static void commit_finish(struct engine *eng);

const char *
commit_state_name(enum commit_state state)
{
	static const char *const names[] = {
		[COMMIT_IDLE] = "idle",     [COMMIT_STAGING] = "staging", [COMMIT_LEAVES] = "leaves",
		[COMMIT_SYNC] = "sync",     [COMMIT_ROOT] = "root",       [COMMIT_SETTLE] = "settle",
		[COMMIT_HALTED] = "halted",
	};

	return names[state];
}

size_t
commit_chunks_left(const struct engine *eng)
{
	const struct commit *c = &eng->commit;

	if (eng->frozen && c->state == COMMIT_STAGING)
		return eng->active->nchunks + c->norder - c->next + c->inflight;
	return eng->active->nchunks;
}

/* ---- when -------------------------------------------------------------------------- */

static bool
commit_due(const struct engine *eng)
{
	const struct commit *c = &eng->commit;

	if (eng->last_seq == eng->covered_seq)
		return false;
	if (c->waiters || c->elapsed || eng->gate.head)
		return true;
	if (eng->active->pages * PAGE_SIZE_BYTES >= eng->commit_window ||
	    eng->active->meta_bytes >= eng->meta_max / 2)
		return true;
	if (eng->journal)
		return journal_used(eng->journal) >= journal_capacity(eng->journal) / 2;
	return eng->flush_head || eng->active->pages * PAGE_SIZE_BYTES >= eng->store_max / 2 ||
	       (arena_pressure(eng->vol.arena) >= 90 && eng->active->pages);
}

static int
compare_index(const void *a, const void *b)
{
	const struct dchunk *x = *(struct dchunk *const *)a, *y = *(struct dchunk *const *)b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static int
commit_freeze(struct engine *eng)
{
	struct commit *c = &eng->commit;
	struct dirty_set *fresh;
	size_t n = eng->active->nchunks;

	c->order = malloc((n ? n : 1) * sizeof(struct dchunk *));
	if (!c->order)
		return -ENOMEM;
	int r = dirty_set_new(eng, &fresh);
	if (r < 0) {
		free(c->order);
		c->order = NULL;
		return r;
	}
	n = 0;
	for (struct dchunk *dc = eng->active->first; dc; dc = dc->next)
		c->order[n++] = dc;
	qsort(c->order, n, sizeof(struct dchunk *), compare_index);
	early_freeze(eng);
	eng->frozen = eng->active;
	eng->active = fresh;
	c->norder = n;
	c->next = 0;
	c->seq = eng->last_seq;
	c->size = engine_size(eng);
	attrs_copy(&c->attrs, &eng->attrs);
	c->elapsed = false;
	c->attempts = 0;
	c->state = COMMIT_STAGING;
	engine_hold(eng); /* until it is idle or halted */
	loop_timer_stop(&c->interval);
	return 0;
}

void
commit_kick(struct engine *eng)
{
	struct commit *c = &eng->commit;

	engine_update_allocated(eng);
	if (c->state != COMMIT_IDLE || eng->phase == ENGINE_OPENING || eng->phase == ENGINE_DEAD ||
	    engine_stopped(eng))
		return;
	if (eng->last_seq != eng->covered_seq && !c->interval.due_ms && !c->elapsed)
		loop_timer_start(&c->interval, eng->commit_interval_ms);
	if (!commit_due(eng) || c->posted)
		return;
	/* by message: the one who asks is in the middle of something */
	c->posted = true;
	engine_hold(eng);
	loop_post(eng->vol.loop, &c->msg);
}

static void
commit_posted(struct loop_msg *msg)
{
	struct engine *eng = container_of(msg, struct engine, commit.msg);
	struct commit *c = &eng->commit;

	c->posted = false;
	if (c->state == COMMIT_IDLE && !engine_stopped(eng) && commit_due(eng)) {
		if (commit_freeze(eng) < 0) {
			c->elapsed = true;
			loop_timer_start(&c->retry, engine_backoff(eng, ++c->attempts));
		}
	}
	commit_step(eng);
	engine_release(eng);
}

static void
interval_over(struct loop_timer *timer)
{
	struct engine *eng = container_of(timer, struct engine, commit.interval);

	eng->commit.elapsed = true;
	commit_kick(eng);
}

static void
retry_over(struct loop_timer *timer)
{
	struct engine *eng = container_of(timer, struct engine, commit.retry);

	if (eng->commit.state == COMMIT_IDLE)
		commit_kick(eng);
	else
		commit_step(eng);
}

void
commit_init(struct engine *eng)
{
	struct commit *c = &eng->commit;

	loop_timer_init(&c->interval, eng->vol.loop, interval_over);
	loop_timer_init(&c->retry, eng->vol.loop, retry_over);
	c->msg.fn = commit_posted;
}

static void
commit_drop(struct commit *c)
{
	for (size_t i = 0; i < c->nleaves + c->making; i++)
		free(c->leaves[i].entries);
	free(c->leaves);
	free(c->order);
	free(c->buf);
	free(c->root.leaves);
	free(c->root.attrs);
	attrs_drop(&c->attrs);
	shares_drop(c);
	c->leaves = NULL;
	c->nleaves = c->leaves_room = 0;
	c->making = false;
	c->order = NULL;
	c->buf = NULL;
	c->root.leaves = NULL;
	c->root.attrs = NULL;
}

void
commit_fini(struct engine *eng)
{
	commit_drop(&eng->commit);
}

/* ---- who waits for it ----------------------------------------------------------------- */

static void
answer_waiters(struct engine *eng, int status)
{
	struct commit_wait **p = &eng->commit.waiters;

	while (*p) {
		struct commit_wait *wait = *p;

		if (status == 0 && wait->seq > eng->covered_seq) {
			p = &wait->next;
			continue;
		}
		*p = wait->next;
		wait->fn(wait, status);
		p = &eng->commit.waiters; /* fn may have changed the list */
	}
}

void
commit_request(struct engine *eng, struct commit_wait *wait)
{
	int health = engine_health(eng);

	if (health < 0 || (wait->seq <= eng->covered_seq && eng->commit.state == COMMIT_IDLE)) {
		wait->fn(wait, health);
		return;
	}
	if (eng->commit.state == COMMIT_HALTED) {
		wait->fn(wait, eng->commit.failed);
		return;
	}
	wait->next = eng->commit.waiters;
	eng->commit.waiters = wait;
	commit_kick(eng);
}

/* ---- giving up --------------------------------------------------------------------------- */

static void
halt_now(struct engine *eng)
{
	struct commit *c = &eng->commit;

	/* a settle goes on to its end: the root is swapped */
	if (c->state == COMMIT_HALTED || c->state == COMMIT_SETTLE || c->inflight || c->busy)
		return;
	loop_timer_stop(&c->interval);
	loop_timer_stop(&c->retry);
	bool ran = c->state != COMMIT_IDLE;
	commit_drop(c);
	c->state = COMMIT_HALTED;
	answer_waiters(eng, c->failed);
	flush_check(eng);
	if (ran)
		engine_release(eng);
}

void
commit_halt(struct engine *eng, int status)
{
	if (eng->commit.failed == 0)
		eng->commit.failed = status;
	destage_poke(eng);
	halt_now(eng);
}

static void
retry_later(struct engine *eng, int err, const char *what)
{
	struct commit *c = &eng->commit;

	counter_add(&eng->put_errors, 1);
	if (engine_stopped(eng)) {
		commit_halt(eng, err);
		return;
	}
	engine_degrade(eng, err, what);
	loop_timer_start(&c->retry, engine_backoff(eng, ++c->attempts));
}

/* ---- STAGING ------------------------------------------------------------------------------- */

/** No PUT and no old bytes are needed to say what becomes of it. */
static bool
stage_at_once(struct engine *eng, struct dchunk *dc)
{
	struct bucket_entry old;

	if (map_entry(eng, dc->index, &old) < 0)
		return false;
	if (bucket_entry_present(dc->early_entry)) {
		dc->old = old;
		dc->entry = dc->early_entry;
		dc->early_entry = (struct bucket_entry){0};
		dc->staged = true;
		return true;
	}
	if (dc->pages)
		return false;
	if (dc->wiped ? bucket_entry_present(dc->base) && dc->zeroes : bucket_entry_present(old))
		return false;
	dc->old = old;
	dc->entry = dc->base; /* a clone, or nothing */
	dc->staged = true;
	return true;
}

static void
step_staging(struct engine *eng)
{
	struct commit *c = &eng->commit;
	unsigned looked = 0;

	while (c->next < c->norder && c->inflight + eng->early_flight < eng->destages_max &&
	       !c->retry.due_ms) {
		struct dchunk *dc = c->order[c->next];

		if (dc->early)
			break; /* its end comes back here */

		if (++looked > STAGE_BATCH) {
			if (!c->posted) {
				c->posted = true;
				engine_hold(eng);
				loop_post(eng->vol.loop, &c->msg);
			}
			return;
		}
		if (dc->staged || stage_at_once(eng, dc)) {
			c->next++;
			continue;
		}
		c->inflight++;
		c->next++;
		if (destage_start(eng, dc) < 0) {
			c->inflight--;
			c->next--;
			retry_later(eng, -ENOMEM, "no memory for a chunk");
			return;
		}
	}
	if (c->next < c->norder || c->inflight)
		return;
	c->state = COMMIT_LEAVES;
	c->leaf_to = 0;
	c->attempts = 0;
	c->again = true;
}

void
commit_staged(struct engine *eng, struct dchunk *dc, int status)
{
	(void)dc;
	eng->commit.inflight--;
	if (status < 0)
		commit_halt(eng, status);
	else
		commit_step(eng);
}

/* ---- LEAVES ----------------------------------------------------------------------------------- */

static void
leaf_here(struct leaf_wait *wait, int status)
{
	struct engine *eng = container_of(wait, struct engine, commit.leaf_wait);

	eng->commit.busy = false;
	if (status < 0)
		retry_later(eng, status, "a leaf of the map cannot be read");
	else
		commit_step(eng);
}

static struct new_leaf *
new_leaf(struct commit *c)
{
	if (c->nleaves == c->leaves_room) {
		size_t room = c->leaves_room ? c->leaves_room * 2 : 16;
		struct new_leaf *leaves = realloc(c->leaves, room * sizeof(*leaves));

		if (!leaves)
			return NULL;
		c->leaves = leaves;
		c->leaves_room = room;
	}
	struct new_leaf *nl = &c->leaves[c->nleaves];
	*nl = (struct new_leaf){0};
	return nl;
}

static void
leaf_put_done(struct object_req *req)
{
	struct engine *eng = container_of(req, struct engine, commit.req);
	struct commit *c = &eng->commit;

	c->busy = false;
	engine_object_done(eng, req, TRAFFIC_LEAF);
	if (req->status < 0) {
		retry_later(eng, req->status, "a leaf of the map cannot be written");
		return;
	}
	engine_recovered(eng);
	free(c->buf);
	c->buf = NULL;
	c->making = false;
	c->nleaves++;
	c->attempts = 0;
	commit_step(eng);
}

static void
put_buf(struct engine *eng, const char *if_match, enum traffic kind, void (*done)(struct object_req *req))
{
	struct commit *c = &eng->commit;

	c->iov = (struct iovec){c->buf, c->len};
	c->req = (struct object_req){.store = eng->store,
				     .op = OBJECT_PUT,
				     .key = c->key,
				     .iov = &c->iov,
				     .niov = 1,
				     .if_match = if_match,
				     .done = done};
	c->busy = true;
	engine_object(eng, &c->req, kind);
}

static void
leaf_put(struct engine *eng)
{
	struct commit *c = &eng->commit;
	struct new_leaf *nl = &c->leaves[c->nleaves];
	int fp = failpoint_hit(FP_COMMIT_LEAF);

	if (fp < 0) {
		retry_later(eng, fp, "a leaf of the map cannot be written");
		return;
	}
	int r = bucket_key_leaf(eng->prefix, &nl->ref, c->key, sizeof(c->key));
	assert(r > 0);
	if (fp == FAILPOINT_SKIP) {
		free(c->buf);
		c->buf = NULL;
		c->making = false;
		c->nleaves++;
		c->again = true;
		return;
	}
	put_buf(eng, NULL, TRAFFIC_LEAF, leaf_put_done);
}

static bool
leaf_changes(const struct commit *c)
{
	for (size_t i = c->leaf_from; i < c->leaf_to; i++)
		if (!entry_same(c->order[i]->old, c->order[i]->entry))
			return true;
	return false;
}

/** Copy, change, encode.  0, 1 when there is nothing to PUT, or an error. */
static int
leaf_make(struct engine *eng, uint32_t no)
{
	struct commit *c = &eng->commit;
	struct leaf *leaf = map_leaf(eng, no);
	struct new_leaf *nl = new_leaf(c);
	struct bucket_entry *entries = calloc(BUCKET_LEAF_CHUNKS, sizeof(*entries));
	uint32_t present;

	if (!nl || !entries) {
		free(entries);
		return -ENOMEM;
	}
	if (leaf)
		memcpy(entries, leaf->entries, BUCKET_LEAF_CHUNKS * sizeof(*entries));
	for (size_t i = c->leaf_from; i < c->leaf_to; i++)
		entries[c->order[i]->index & (BUCKET_LEAF_CHUNKS - 1)] = c->order[i]->entry;
	nl->no = no;
	nl->ref.leaf = no;
	c->len = bucket_leaf_bytes(entries, &present);
	if (!present) {
		free(entries);
		c->nleaves++;
		return 1;
	}
	c->buf = malloc(c->len);
	if (!c->buf) {
		free(entries);
		return -ENOMEM;
	}
	struct bucket_leaf head = {
		.leaf = no, .generation = (uint32_t)eng->generation, .commit = eng->root.commit + 1};
	memcpy(head.uuid, eng->vol.uuid, UUID_LEN);
	bucket_leaf_encode(&head, entries, c->buf, &nl->ref);
	if (c->nleaves < eng->params.leaf_cache / 2 + 1)
		nl->entries = entries;
	else
		free(entries);
	c->making = true;
	return 0;
}

static void
step_leaves(struct engine *eng)
{
	struct commit *c = &eng->commit;
	struct bucket_entry entry;

	if (c->busy || c->retry.due_ms)
		return;
	if (c->buf) {
		leaf_put(eng); /* again */
		return;
	}
	c->leaf_from = c->leaf_to;
	if (c->leaf_from == c->norder) {
		c->state = COMMIT_SYNC;
		c->again = true;
		return;
	}
	uint32_t no = (uint32_t)(c->order[c->leaf_from]->index >> BUCKET_LEAF_SHIFT);
	if (map_entry(eng, c->order[c->leaf_from]->index, &entry) < 0) {
		c->busy = true;
		c->leaf_wait.fn = leaf_here;
		map_load(eng, no, &c->leaf_wait);
		return;
	}
	while (c->leaf_to < c->norder && c->order[c->leaf_to]->index >> BUCKET_LEAF_SHIFT == no)
		c->leaf_to++;
	c->again = true;
	if (!leaf_changes(c))
		return;
	int r = leaf_make(eng, no);
	if (r < 0) {
		c->leaf_to = c->leaf_from;
		c->again = false;
		retry_later(eng, r, "no memory for a leaf of the map");
	} else if (r == 0) {
		c->again = false;
		leaf_put(eng);
	}
}

/* ---- ROOT --------------------------------------------------------------------------------------- */

static uint64_t
unix_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/** The next root's leaf references: the map's with the new ones in their places. */
static int
root_leaves(struct engine *eng, struct bucket_root *root)
{
	struct commit *c = &eng->commit;
	size_t at = 0;

	root->leaves = malloc((eng->map.nleaves + 1) * sizeof(*root->leaves));
	if (!root->leaves)
		return -ENOMEM;
	for (uint32_t no = 0; no < eng->map.nleaves; no++) {
		const struct bucket_leaf_ref *ref = &eng->map.refs[no];

		if (at < c->nleaves && c->leaves[at].no == no)
			ref = &c->leaves[at++].ref;
		if (ref->present)
			root->leaves[root->nleaves++] = *ref;
	}
	assert(at == c->nleaves);
	return 0;
}

static int
root_make(struct engine *eng)
{
	struct commit *c = &eng->commit;
	struct bucket_root root = {.generation = eng->generation,
				   .commit = eng->root.commit + 1,
				   .size = c->size,
				   .covered_seq = c->seq,
				   .chunk_size = eng->vol.chunk_size,
				   .block_size = eng->vol.block_size,
				   .time_ms = unix_ms()};

	memcpy(root.uuid, eng->vol.uuid, UUID_LEN);
	memcpy(root.journal_uuid, eng->journal_uuid, UUID_LEN);
	random_bytes(root.nonce, sizeof(root.nonce));
	int r = c->counted ? 0 : shares_count(eng);
	if (r == 0)
		r = root_leaves(eng, &root);
	root.shares = c->shares.list; /* borrowed */
	root.nshares = c->shares.n;
	if (r == 0)
		r = attrs_root(&c->attrs, &root);
	c->len = r == 0 ? bucket_root_bytes(&root) : 0;
	c->buf = r == 0 ? malloc(c->len) : NULL;
	if (!c->buf) {
		free(root.leaves);
		free(root.attrs);
		return -ENOMEM;
	}
	bucket_root_encode(&root, c->buf);
	c->root = root;
	return 0;
}

static void
root_swapped(struct engine *eng, const char *etag)
{
	struct commit *c = &eng->commit;

	memcpy(eng->root_etag, etag, sizeof(eng->root_etag));
	engine_recovered(eng);
	free(c->root.leaves);
	free(c->root.attrs);
	free(c->buf);
	c->root.leaves = NULL;
	c->root.nleaves = 0;
	c->root.attrs = NULL;
	c->root.nattrs = 0;
	c->root.shares = NULL;
	c->root.nshares = 0;
	c->buf = NULL;
	eng->root = c->root;
	eng->covered_seq = c->seq;
	for (size_t i = 0; i < c->nleaves; i++) {
		struct new_leaf *nl = &c->leaves[i];
		const struct bucket_leaf_ref *old = &eng->map.refs[nl->no];

		if (old->present)
			dead_add(eng, BUCKET_KEY_LEAF, old->leaf, old->generation, old->commit);
		map_replace(eng, nl->no, &nl->ref, nl->entries);
		nl->entries = NULL;
	}
	shares_swapped(eng);
	counter_add(&eng->commits, 1);
	eng->last_commit_ms = loop_now_ms(eng->vol.loop);
	c->state = COMMIT_SETTLE;
	c->next = 0;
	flush_check(eng);
	commit_step(eng);
}

static void
root_read_back(struct object_req *req)
{
	struct engine *eng = container_of(req, struct engine, commit.req);
	struct commit *c = &eng->commit;
	uint8_t *body = c->iov.iov_base;
	struct bucket_root found;
	int r = req->status;

	c->busy = false;
	engine_object_done(eng, req, TRAFFIC_ROOT);
	if (r == 0)
		r = bucket_root_decode(body, req->size, eng->vol.uuid, &found);
	free(body);
	if (r < 0) {
		c->read_back = true; /* still not known */
		retry_later(eng, r, "the root cannot be read back");
		return;
	}
	bool ours = !memcmp(found.nonce, c->root.nonce, BUCKET_NONCE_LEN);
	bool last = !memcmp(found.nonce, eng->root.nonce, BUCKET_NONCE_LEN);
	bucket_root_fini(&found);
	c->read_back = false;
	if (ours) {
		root_swapped(eng, req->etag);
	} else if (last) {
		memcpy(eng->root_etag, req->etag, sizeof(eng->root_etag));
		retry_later(eng, c->root_error, "the root cannot be written");
	} else {
		engine_fence(eng);
	}
}

static void
root_ask(struct engine *eng)
{
	struct commit *c = &eng->commit;
	uint8_t *body = malloc(BUCKET_ROOT_MAX);

	if (!body) {
		c->read_back = true;
		retry_later(eng, -ENOMEM, "no memory for the root");
		return;
	}
	c->iov = (struct iovec){body, BUCKET_ROOT_MAX};
	c->req = (struct object_req){.store = eng->store,
				     .op = OBJECT_GET,
				     .key = c->key,
				     .iov = &c->iov,
				     .niov = 1,
				     .done = root_read_back};
	c->busy = true;
	engine_object(eng, &c->req, TRAFFIC_ROOT);
}

static void
root_put_done(struct object_req *req)
{
	struct engine *eng = container_of(req, struct engine, commit.req);
	struct commit *c = &eng->commit;

	c->busy = false;
	engine_object_done(eng, req, TRAFFIC_ROOT);
	if (req->status == 0) {
		root_swapped(eng, req->etag);
		return;
	}
	/* refused, failed or not known: only the root itself can tell */
	c->root_error = req->status;
	c->read_back = true;
	if (engine_stopped(eng))
		commit_halt(eng, req->status);
	else
		root_ask(eng);
}

static void
step_root(struct engine *eng)
{
	struct commit *c = &eng->commit;

	if (c->busy || c->retry.due_ms)
		return;
	int r = c->buf ? 0 : root_make(eng);
	if (r < 0) {
		retry_later(eng, r, "no memory for the root");
		return;
	}
	struct bucket_key key = {.kind = BUCKET_KEY_ROOT};
	r = bucket_key_format(&key, eng->prefix, c->key, sizeof(c->key));
	assert(r > 0);
	if (c->read_back) {
		root_ask(eng);
		return;
	}
	int fp = failpoint_hit(FP_COMMIT_ROOT);
	if (fp < 0)
		retry_later(eng, fp, "the root cannot be written");
	else
		put_buf(eng, eng->root_etag, TRAFFIC_ROOT, root_put_done);
}

/* ---- SETTLE ----------------------------------------------------------------------------------------- */

static void
settle_pages(struct engine *eng, struct dchunk *dc)
{
	uint64_t first = dc->index << eng->page_shift;
	struct dchunk *active = dirty_find(eng->active, dc->index);
	struct dslot *slot, *newer;

	if (!dc->resident || dc->passing)
		return;
	for (unsigned p = 0; p < eng->chunk_pages; p++)
		if (dchunk_lookup(dc, p, &slot) == DIRTY_PAGE &&
		    (!active || dchunk_lookup(active, p, &newer) == DIRTY_MISS))
			cache_put(&eng->cache, first + p, slot->page);
}

static void
settle_chunk(struct engine *eng, struct dchunk *dc)
{
	uint64_t index = dc->index;

	settle_pages(eng, dc);
	struct dchunk *active = dirty_find(eng->active, index);
	if (active) {
		active->base_known = true;
		active->base_present = bucket_entry_present(dc->entry);
	}
	dirty_remove(eng, eng->frozen, dc);
	dirty_recount(eng, index);
}

static void
step_settle(struct engine *eng)
{
	struct commit *c = &eng->commit;

	for (unsigned n = 0; c->next < c->norder; n++) {
		if (n == SETTLE_BATCH) {
			if (!c->posted) {
				c->posted = true;
				engine_hold(eng);
				loop_post(eng->vol.loop, &c->msg);
			}
			return;
		}
		settle_chunk(eng, c->order[c->next++]);
	}
	commit_finish(eng);
}

static void
commit_finish(struct engine *eng)
{
	struct commit *c = &eng->commit;

	dirty_set_free(eng, eng->frozen);
	eng->frozen = NULL;
	shares_bury(eng);
	commit_drop(c);
	c->state = COMMIT_IDLE;
	c->attempts = 0;
	if (engine_health(eng) == 0 && failpoint_hit(FP_COMMIT_RELEASE) == 0 && eng->journal)
		journal_release(eng->journal, c->seq);
	log_debug("volume %s: commit %llu covers sequence %llu", eng->vol.name,
		  (unsigned long long)eng->root.commit, (unsigned long long)eng->covered_seq);
	dead_arm(eng);
	engine_update_allocated(eng);
	engine_balance(eng, 0);
	answer_waiters(eng, 0);
	if (engine_stopped(eng)) {
		commit_halt(eng, engine_health(eng) < 0 ? engine_health(eng) : LG_ESTOPPING);
	} else {
		gate_pump(eng);
		flush_check(eng);
		commit_kick(eng);
	}
	engine_release(eng);
}

/* ---- the machine --------------------------------------------------------------------------------------- */

void
commit_step(struct engine *eng)
{
	struct commit *c = &eng->commit;

	if (c->stepping) {
		c->again = true;
		return;
	}
	c->stepping = true;
	engine_hold(eng);
	do {
		c->again = false;
		if (engine_stopped(eng) && c->state != COMMIT_IDLE && c->state != COMMIT_SETTLE) {
			commit_halt(eng, engine_health(eng) < 0 ? engine_health(eng) : LG_ESTOPPING);
			break;
		}
		switch (c->state) {
		case COMMIT_IDLE:
		case COMMIT_HALTED:
			break;
		case COMMIT_STAGING:
			step_staging(eng);
			break;
		case COMMIT_LEAVES:
			step_leaves(eng);
			break;
		case COMMIT_SYNC:
			if (engine_durable_seq(eng) >= c->seq || !eng->journal) {
				c->state = COMMIT_ROOT;
				c->attempts = 0;
				c->again = true;
			}
			break;
		case COMMIT_ROOT:
			step_root(eng);
			break;
		case COMMIT_SETTLE:
			step_settle(eng);
			break;
		}
	} while (c->again);
	c->stepping = false;
	engine_release(eng);
}
