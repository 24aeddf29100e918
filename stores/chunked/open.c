/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening: own the volume, fence whoever had it, replay the journal, serve.
 *
 *   1  volume.json, owner, root are read
 *   2  owner decides: may we?  must there be a journal, and which?
 *   3  journal opened (and replayed into the dirty table) or made, for the next generation
 *   4  owner swapped: ours, the new generation, journal open
 *   5  root swapped to the new generation: from here every swap of an earlier owner fails
 *   6  handed to the loop
 *
 * The order: nothing is acknowledged before 6, so a journal that was made in 3 holds nothing when 4 or 5
 * fails; and 3 comes before 4 so that a volume whose journal is missing is not taken.  A swap that loses a
 * race starts all over from 1: the other one may have committed once more, and then what was replayed is not
 * what is needed.
 *
 * Failure: everything is put back in memory; what was swapped stays. After 4 without 6 the owner says "held
 * by us, journal open", which the next opening by this gateway takes up.
 *
 * Thread: the caller's, may block; the loop does not know the volume until 6.
 */
#include "stores/chunked/engine.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "stores/chunked/owner.h"

#define ATTEMPTS 5u

/* The largest write fits the smallest journal, also when one of its segments cannot be written (the active one may
 * be full, and each page may need a record of its own); and with it an attribute. */
_Static_assert((VOLUME_JOURNAL_MIN / JOURNAL_SEGMENT_BYTES - 2) *
			       (JOURNAL_SEGMENT_BYTES / PAGE_SIZE_BYTES - 1 - JOURNAL_APPEND_MAX) / 2 *
			       PAGE_SIZE_BYTES >=
		       VOLUME_MAX_IO + VOLUME_VALUE_MAX + 2 * PAGE_SIZE_BYTES,
	       "the smallest journal holds the largest write");

struct opening {
	const struct volume_spec *spec;
	const struct chunked_params *params;
	struct engine *eng;
	struct bucket bucket;
	struct bucket_owner owner;
	bool owned_before; /* there is an owner record */
	struct bucket_root root;
	bool have_root;
	struct errinfo *info;
};

/* ---- the engine before it runs ------------------------------------------------------ */

static uint64_t
or_default(uint64_t value, uint64_t fallback)
{
	return value ? value : fallback;
}

static void
fill_params(struct engine *eng, const struct volume_spec *spec, const struct chunked_params *given)
{
	struct chunked_params *p = &eng->params;

	if (given)
		*p = *given;
	p->destages = (unsigned)or_default(p->destages, 16);
	p->leaf_cache = (unsigned)or_default(p->leaf_cache, 64);
	p->shared_bases = (unsigned)or_default(p->shared_bases, BUCKET_SHARES_MAX);
	p->crc_tables = (unsigned)or_default(p->crc_tables, 4096);
	p->delete_horizon_ms = (unsigned)or_default(p->delete_horizon_ms, 60000);
	p->retry_ms = (unsigned)or_default(p->retry_ms, 100);
	p->retry_max_ms = (unsigned)or_default(p->retry_max_ms, 5000);
	p->close_timeout_ms = (unsigned)or_default(
		p->close_timeout_ms, or_default(spec->close_timeout_s, VOLUME_CLOSE_TIMEOUT_DEFAULT) * 1000);
	p->journal_segment_bytes = (uint32_t)or_default(p->journal_segment_bytes, JOURNAL_SEGMENT_BYTES);
	eng->vfs = p->vfs ? p->vfs : vfs_posix();
}

static void
fill_geometry(struct engine *eng, const struct bucket_volume *bv)
{
	struct volume *vol = &eng->vol;

	memcpy(vol->uuid, bv->uuid, UUID_LEN);
	memcpy(vol->naa, bv->naa, sizeof(vol->naa));
	snprintf(vol->serial, sizeof(vol->serial), "%s", bv->serial);
	vol->block_size = bv->block_size;
	vol->chunk_size = bv->chunk_size;
	eng->chunk_pages = bv->chunk_size / PAGE_SIZE_BYTES;
	eng->page_shift = (unsigned)__builtin_ctz(eng->chunk_pages);
}

/** What depends on the size of the arena and of the journal. */
static void
fill_limits(struct engine *eng, const struct volume_spec *spec)
{
	uint64_t arena = (uint64_t)arena_total_pages(eng->vol.arena) * PAGE_SIZE_BYTES;
	uint64_t chunk = eng->vol.chunk_size;

	eng->meta_max = max_of(arena / 8, UINT64_C(1) << 20);
	eng->store_max = max_of(arena / 8 * 3, 2 * chunk);
	eng->destages_max =
		(unsigned)max_of(min_of((uint64_t)eng->params.destages, arena / 8 / chunk), UINT64_C(1));
	eng->ahead_max = (unsigned)min_of(arena / 4 / chunk, (uint64_t)STREAM_AHEAD_MAX);
	eng->commit_interval_ms = (spec->commit_interval_s ? spec->commit_interval_s : 1800) * UINT64_C(1000);
	eng->commit_window = spec->commit_window ? spec->commit_window
			     : eng->journal      ? journal_capacity(eng->journal) / 4
						 : eng->store_max / 2;
}

static int
engine_new(struct opening *o, struct loop *loop, struct arena *arena)
{
	const struct volume_spec *spec = o->spec;
	struct engine *eng = calloc(1, sizeof(*eng));

	if (!eng)
		return -ENOMEM;
	o->eng = eng;
	eng->vol.ops = &engine_ops;
	eng->vol.loop = loop;
	eng->vol.arena = arena;
	eng->vol.read_only = spec->read_only;
	eng->vol.write_cache = spec->write_cache;
	eng->vol.durability = spec->durability;
	eng->vol.thin = true;
	eng->vol.attributes = true;
	eng->vol.clones = true;
	/* one journal record, whatever part of its first and last page a write covers */
	eng->vol.atomic_max_bytes = (JOURNAL_APPEND_MAX - 1) * PAGE_SIZE_BYTES;
	eng->phase = ENGINE_OPENING;
	snprintf(eng->vol.name, sizeof(eng->vol.name), "%s", spec->name);
	snprintf(eng->prefix, sizeof(eng->prefix), "%s", spec->name);
	snprintf(eng->vol.store, sizeof(eng->vol.store), "%s", spec->store);
	memcpy(eng->gateway_id, spec->gateway_id, UUID_LEN);
	fill_params(eng, spec, o->params);
	eng->store = eng->params.store;
	if (!eng->store) {
		int r = object_store_open(spec->store, eng->vfs, false, &eng->store, o->info);
		if (r < 0)
			return r;
		eng->own_store = true;
	}
	o->bucket = (struct bucket){eng->store, loop, eng->prefix};
	if (spec->durability == VOL_DURABILITY_JOURNAL) {
		if (!spec->journal_dir)
			return err_set(o->info, LG_ECONFIG,
				       "a volume with durability \"journal\" needs a journal directory");
		if (asprintf(&eng->journal_path, "%s/%s", spec->journal_dir, spec->name) < 0) {
			eng->journal_path = NULL;
			return -ENOMEM;
		}
	}
	int r = cache_init(&eng->cache);
	return r < 0 ? r : crctab_init(eng);
}

/* ---- putting back --------------------------------------------------------------------- */

struct quieting {
	struct journal *journal;
	struct loop_msg msg;
	void (*done)(void *arg);
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool quiet;
};

static void
quiet(void *arg)
{
	struct quieting *q = arg;

	pthread_mutex_lock(&q->lock);
	q->quiet = true;
	pthread_cond_signal(&q->cond);
	pthread_mutex_unlock(&q->lock);
}

static void
quiesce(struct loop_msg *msg)
{
	struct quieting *q = container_of(msg, struct quieting, msg);

	journal_quiesce(q->journal, quiet, q);
}

static void
put_away_journal(struct engine *eng)
{
	if (!eng->journal)
		return;
	struct quieting q = {.journal = eng->journal, .msg = {.fn = quiesce}};
	pthread_mutex_init(&q.lock, NULL);
	pthread_cond_init(&q.cond, NULL);
	loop_post(eng->vol.loop, &q.msg);
	pthread_mutex_lock(&q.lock);
	while (!q.quiet)
		pthread_cond_wait(&q.cond, &q.lock);
	pthread_mutex_unlock(&q.lock);
	pthread_cond_destroy(&q.cond);
	pthread_mutex_destroy(&q.lock);
	journal_destroy(eng->journal, false);
	eng->journal = NULL;
}

static void
attempt_undo(struct opening *o)
{
	struct engine *eng = o->eng;

	put_away_journal(eng);
	dirty_set_free(eng, eng->active);
	eng->active = NULL;
	map_fini(eng);
	if (o->have_root)
		bucket_root_fini(&o->root);
	o->have_root = false;
}

/* ---- 2: may we? ------------------------------------------------------------------------- */

static void
time_text(uint64_t ms, char *buf, size_t len)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buf, len, "%Y-%m-%d %H:%M:%S UTC", &tm);
}

static int
refuse_owned(struct opening *o)
{
	char gateway[UUID_TEXT], when[40];

	uuid_format(o->owner.gateway_id, gateway);
	time_text(o->owner.time_ms, when, sizeof(when));
	return err_set(
		o->info, LG_EOWNED,
		"it is held by gateway %s%s%s since %s (generation %" PRIu64
		"); stop it there first, or open with accept-loss when that gateway is gone for good: what only "
		"its journal holds is lost then",
		gateway, o->owner.portal[0] ? " at " : "", o->owner.portal, when, o->owner.generation);
}

static int
refuse_no_journal(struct opening *o, const char *why)
{
	char uuid[UUID_TEXT], when[40];

	uuid_format(o->owner.journal_uuid, uuid);
	time_text(o->root.time_ms, when, sizeof(when));
	return err_set(
		o->info, LG_ENOJOURNAL,
		"%s; the last gateway left journal %s open, which holds acknowledged changes after sequence %" PRIu64
		"; open with accept-loss to fall back to the commit of %s (number %" PRIu64
		", sequence %" PRIu64 ")",
		why, uuid, o->root.covered_seq, when, o->root.commit, o->root.covered_seq);
}

static bool
owner_is_us(const struct opening *o)
{
	return !memcmp(o->owner.gateway_id, o->eng->gateway_id, UUID_LEN);
}

/** Must there be a journal with changes?  1, 0, or why the volume must not be opened. */
static int
owner_verdict(struct opening *o)
{
	if (!o->owned_before)
		return 0;
	if (o->owner.state == BUCKET_OWNER_TOMBSTONE)
		return err_set(o->info, -ENOENT, "the volume was deleted");
	if (o->owner.state == BUCKET_OWNER_HELD && !owner_is_us(o)) {
		if (!o->spec->accept_loss)
			return refuse_owned(o);
		log_warn(
			"volume %s: taken over from a gateway that held it: what only its journal holds is lost",
			o->spec->name);
		return 0;
	}
	return o->owner.journal_state == BUCKET_JOURNAL_OPEN ||
	       o->owner.journal_state == BUCKET_JOURNAL_SEALED;
}

/* ---- 3: the journal ----------------------------------------------------------------------- */

static int
replay_write(struct engine *eng, const struct journal_entry *e)
{
	if (e->page >> eng->page_shift >> BUCKET_LEAF_SHIFT >= eng->map.nleaves)
		return LG_EDAMAGED;
	int r = dirty_prepare(eng, e->page, 1);
	if (r < 0)
		return r;
	dirty_put(eng, e->page, NULL, e->pos, e->crc);
	return 0;
}

static int
replay_zero_chunk(struct engine *eng, uint64_t chunk, uint64_t first, uint64_t n)
{
	struct bucket_entry entry;
	int r = map_entry(eng, chunk, &entry);

	if (r == -EAGAIN) {
		r = map_load_now(eng, (uint32_t)(chunk >> BUCKET_LEAF_SHIFT));
		if (r == 0)
			r = map_entry(eng, chunk, &entry);
	}
	if (r < 0)
		return r;
	bool absent = !bucket_entry_present(entry);
	if (dirty_chunk_blank(eng, chunk, absent))
		return 0;
	r = dirty_prepare_zero(eng, first, n, absent);
	if (r == 0)
		dirty_zero(eng, first, n, absent);
	return r;
}

static int
replay_zero(struct engine *eng, const struct journal_entry *e)
{
	uint64_t at = e->page, end = e->page + e->count;

	if (!e->count || (end - 1) >> eng->page_shift >> BUCKET_LEAF_SHIFT >= eng->map.nleaves)
		return LG_EDAMAGED;
	while (at < end) {
		uint64_t chunk = at >> eng->page_shift;
		uint32_t leaf = (uint32_t)(chunk >> BUCKET_LEAF_SHIFT);
		uint64_t stop = min_of(end, (chunk + 1) << eng->page_shift);

		if (eng->map.refs[leaf].present == 0 && dirty_leaf_chunks(eng, leaf) == 0) {
			at = min_of(end, (uint64_t)(leaf + 1) << BUCKET_LEAF_SHIFT << eng->page_shift);
			continue;
		}
		int r = replay_zero_chunk(eng, chunk, at, stop - at);
		if (r < 0)
			return r;
		at = stop;
	}
	return 0;
}

static int
replay(void *arg, uint64_t seq, const struct journal_entry *e)
{
	struct engine *eng = arg;
	int r;

	(void)seq;
	switch (e->type) {
	case JOURNAL_WRITE:
		return replay_write(eng, e);
	case JOURNAL_ZERO:
	case JOURNAL_TRIM:
		return replay_zero(eng, e);
	case JOURNAL_RESIZE:
		if (e->page == 0 || e->page % eng->vol.block_size ||
		    e->page > BUCKET_CHUNKS_MAX * eng->vol.chunk_size)
			return LG_EDAMAGED;
		r = map_resize(eng, e->page);
		if (r == 0)
			atomic_store(&eng->vol.size, e->page);
		return r;
	case JOURNAL_ATTR:
		return attrs_replay(eng, e);
	case JOURNAL_BASE:
	case JOURNAL_CLONE:
		return clone_replay(eng, e);
	}
	return LG_EFORMAT;
}

static uint64_t
journal_bytes(const struct opening *o)
{
	uint64_t segment = o->eng->params.journal_segment_bytes;
	uint64_t bytes = o->eng->params.journal_bytes
				 ? o->eng->params.journal_bytes
				 : max_of(or_default(o->spec->journal_size, VOLUME_JOURNAL_DEFAULT),
					  VOLUME_JOURNAL_MIN);

	return max_of(bytes / segment, UINT64_C(4)) * segment;
}

/** An open of the existing journal; the dirty table is filled. */
static int
journal_take(struct opening *o, struct journal_params *jp, const uint8_t *uuid, struct journal_recovery *rec)
{
	struct engine *eng = o->eng;
	int r = journal_open(jp, false, uuid, replay, eng, rec, &eng->journal, o->info);

	if (r == 0)
		return 0;
	/* a replay that was broken off has left its part in the table */
	dirty_set_free(eng, eng->active);
	eng->active = NULL;
	atomic_store(&eng->vol.size, o->root.size);
	attrs_replay_end(eng);
	eng->replay_base = (struct bucket_share){0};
	int r2 = dirty_set_new(eng, &eng->active);
	if (r2 == 0)
		r2 = attrs_load(eng, &o->root);
	return r2 < 0 ? r2 : r;
}

static int
journal_get(struct opening *o, bool needed)
{
	struct engine *eng = o->eng;
	struct journal_params jp = {.dir = eng->journal_path,
				    .vfs = eng->vfs,
				    .loop = eng->vol.loop,
				    .arena = eng->vol.arena,
				    .capacity = journal_bytes(o),
				    .generation = eng->generation,
				    .covered_seq = o->root.covered_seq,
				    .accept_loss = o->spec->accept_loss,
				    .segment_bytes = eng->params.journal_segment_bytes};
	struct journal_recovery rec = {0};
	bool reuse = o->owned_before && owner_is_us(o) && o->owner.journal_state == BUCKET_JOURNAL_CLEAN;
	int r = LG_ENOJOURNAL;

	memcpy(jp.volume_uuid, eng->vol.uuid, UUID_LEN);
	if (needed || reuse)
		r = journal_take(o, &jp, o->owner.journal_uuid, &rec);
	if (needed && r == LG_ENOJOURNAL && !o->spec->accept_loss) {
		struct errinfo why = *o->info; /* it is written anew */

		return refuse_no_journal(o, why.text);
	}
	if (needed && r == LG_ENOJOURNAL)
		log_warn("volume %s: opened without its journal, as of commit %" PRIu64 " (sequence %" PRIu64
			 ")",
			 eng->vol.name, o->root.commit, o->root.covered_seq);
	/* a clean one holds nothing that could be lost */
	if (r == LG_ENOJOURNAL || (!needed && (r == LG_EDAMAGED || r == LG_EFORMAT || r == LG_ECORRUPT)))
		r = journal_open(&jp, true, NULL, NULL, NULL, &rec, &eng->journal, o->info);
	if (r < 0)
		return r;
	memcpy(eng->journal_uuid, rec.uuid, UUID_LEN);
	eng->last_seq = rec.last_seq;
	eng->replayed = rec.replayed;
	if (rec.replayed || rec.torn_bytes)
		log_info("volume %s: %" PRIu64 " changes replayed from the journal up to sequence %" PRIu64
			 ", %" PRIu64 " bytes of a torn tail cut off",
			 eng->vol.name, rec.replayed, rec.last_seq, rec.torn_bytes);
	return 0;
}

static int
journal_step(struct opening *o, bool needed)
{
	struct engine *eng = o->eng;

	eng->last_seq = eng->covered_seq = o->root.covered_seq;
	if (eng->vol.durability == VOL_DURABILITY_JOURNAL)
		return journal_get(o, needed);
	memset(eng->journal_uuid, 0, UUID_LEN);
	if (needed && !o->spec->accept_loss)
		return refuse_no_journal(
			o, "a volume with durability \"store\" reads no journal: open it once with "
			   "durability \"journal\" and stop it cleanly");
	return 0;
}

/* ---- 4 and 5: the swaps --------------------------------------------------------------------- */

static int
own(struct opening *o, char *etag)
{
	struct engine *eng = o->eng;
	struct bucket_owner owner = {.generation = eng->generation,
				     .counter = o->owned_before ? o->owner.counter : 0,
				     .state = BUCKET_OWNER_HELD,
				     .journal_state =
					     eng->journal ? BUCKET_JOURNAL_OPEN : BUCKET_JOURNAL_NONE,
				     .committed_seq = o->root.covered_seq};

	memcpy(owner.uuid, eng->vol.uuid, UUID_LEN);
	memcpy(owner.gateway_id, eng->gateway_id, UUID_LEN);
	memcpy(owner.journal_uuid, eng->journal_uuid, UUID_LEN);
	int r = owner_swap(&o->bucket, &owner, etag, !o->owned_before);
	if (r < 0)
		return err_set(o->info, r, "cannot take ownership: %s", err_text(r));
	eng->owner = owner;
	memcpy(eng->owner_etag, etag, OBJECT_ETAG_MAX);
	return 0;
}

static int
fence(struct opening *o, char *etag)
{
	struct engine *eng = o->eng;

	o->root.generation = eng->generation;
	o->root.commit++;
	memcpy(o->root.journal_uuid, eng->journal_uuid, UUID_LEN);
	int r = root_swap(&o->bucket, &o->root, etag, false);
	if (r < 0)
		return err_set(o->info, r, "cannot fence the root: %s", err_text(r));
	memcpy(eng->root_etag, etag, OBJECT_ETAG_MAX);
	eng->root = o->root;
	eng->root.leaves = NULL;
	eng->root.nleaves = 0;
	eng->root.attrs = NULL;
	eng->root.nattrs = 0;
	eng->root.attr_bytes = NULL;
	eng->root.shares = NULL;
	eng->root.nshares = 0;
	return 0;
}

static int
attempt(struct opening *o)
{
	struct engine *eng = o->eng;
	char owner_etag[OBJECT_ETAG_MAX], root_etag[OBJECT_ETAG_MAX];
	int r = owner_get(&o->bucket, eng->vol.uuid, &o->owner, owner_etag);

	if (r < 0 && r != -ENOENT)
		return err_set(o->info, r, "owner: %s", err_text(r));
	o->owned_before = r == 0;
	int needed = owner_verdict(o);
	if (needed < 0)
		return needed;
	r = root_get(&o->bucket, eng->vol.uuid, &o->root, root_etag);
	if (r == -ENOENT)
		return err_set(o->info, r,
			       "it has no root: its creation was cut off, delete it and create it again");
	if (r < 0)
		return err_set(o->info, r, "root: %s", err_text(r));
	o->have_root = true;
	if (o->root.chunk_size != eng->vol.chunk_size || o->root.block_size != eng->vol.block_size)
		return err_set(o->info, LG_ECORRUPT, "root and volume.json disagree about the geometry");
	atomic_store(&eng->vol.size, o->root.size);
	eng->generation = max_of(o->owned_before ? o->owner.generation : 0, o->root.generation) + 1;
	if (eng->generation > BUCKET_GENERATION_MAX)
		return err_set(o->info, -EOVERFLOW, "no generation is left");
	r = map_init(eng, &o->root);
	if (r == 0)
		r = dirty_set_new(eng, &eng->active);
	if (r == 0)
		r = attrs_load(eng, &o->root);
	if (r == 0)
		r = shares_load(eng, &o->root);
	if (r == 0)
		r = journal_step(o, needed);
	if (r == 0)
		attrs_copy(&eng->attrs_durable, &eng->attrs);
	if (r == 0)
		r = own(o, owner_etag);
	if (r == 0)
		r = fence(o, root_etag);
	return r;
}

static int
start(void *arg)
{
	engine_start(arg);
	return 0;
}

static int
open_engine(struct opening *o)
{
	struct bucket_volume bv;
	struct engine *eng = o->eng;
	int r = volume_json_get(&o->bucket, &bv, o->info);

	if (r == -ENOENT)
		return err_set(
			o->info, r,
			"the store holds no such volume; check its name and the store, or make it: 'lungate "
			"volume create', or 'lungate serve --create-missing' once");
	if (r < 0)
		return r;
	fill_geometry(eng, &bv);
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		r = attempt(o);
		if (r == 0)
			break;
		attempt_undo(o);
		if (r != LG_ECONFLICT)
			return r;
	}
	if (r < 0)
		return r;
	bucket_root_fini(&o->root);
	fill_limits(eng, o->spec);
	return loop_call(eng->vol.loop, start, eng);
}

int
chunked_open_with(const struct volume_spec *spec, const struct chunked_params *params, struct loop *loop,
		  struct arena *arena, struct volume **ret, struct errinfo *info)
{
	struct errinfo local = {{0}};
	struct opening o = {.spec = spec, .params = params, .info = info ? info : &local};
	int r = engine_new(&o, loop, arena);

	if (r == 0)
		r = open_engine(&o);
	if (r < 0) {
		if (o.eng) {
			if (o.eng->own_store)
				object_store_free(o.eng->store);
			engine_free(o.eng);
		}
		if (!o.info->text[0])
			err_set(o.info, r, "%s", err_text(r));
		err_prefix(o.info, "volume %s in %s: ", spec->name, spec->store ? spec->store : "its store");
		return r;
	}
	*ret = &o.eng->vol;
	return 0;
}

int
chunked_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
	     struct errinfo *info)
{
	return chunked_open_with(spec, NULL, loop, arena, ret, info);
}
