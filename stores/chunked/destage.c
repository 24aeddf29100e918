/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One chunk of the frozen set becomes a base.
 *
 *   LEAF    what does the map say?  (loaded when it is not in memory)
 *   PLAN    which page comes from where; all the memory for what is not in memory, at once
 *   READ    journal read-backs, then the old base's table and pages
 *   PUT     raw bytes, CRC table, footer under a new key
 *
 * The CRC of a changed page is the one that was made when it was written, the CRC of an old page the one in
 * the old table: none is made anew here, so damage on the way shows when the page is read.
 *
 * All zeroes after the merge: the chunk becomes absent and nothing is PUT.
 *
 * Memory: what a chunk needs is allocated from the arena's reserve at once or not at all, while nothing is
 * held.  If that fails and no other destage of the volume has memory to give back, a block of one chunk is
 * taken from the heap: so a commit always goes on, whatever fills the arena.
 *
 * Failure: requests are repeated with back-off for ever (the volume is "degraded" meanwhile); with the
 * volume poisoned, fenced or given up the destage ends with that error.
 * A page of the old base (or of the journal) that stays wrong is carried forward with a CRC that it does not
 * match: readers of this page go on getting LG_ECORRUPT, and the rest of the volume can be committed.
 *
 * An early one (early.c) takes a chunk of the active set of which every page is in memory.  It looks at the chunk once, in
 * PLAN, and goes on with the pages that it found there; it does not repeat what failed, and may lose its chunk on the way.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"

#define READBACKS 64u    /* journal reads of one chunk at once */
#define LOST_ATTEMPTS 6u /* before old pages that cannot be had are carried forward as bad */

enum source { FROM_MEMORY, FROM_JOURNAL, FROM_BASE };

struct readback {
	struct journal_read read;
	struct destage *d;
	unsigned page;
};

struct destage {
	struct engine *eng;
	struct dchunk *dc; /* NULL: an early one whose chunk is gone */
	uint32_t index, version;
	bool early;
	struct destage *next; /* hungry */
	struct destage *all_prev, *all_next;
	struct bucket_entry old;   /* as the map says */
	struct bucket_entry below; /* what its pages are merged with */
	struct loop_timer timer;
	void (*step)(struct destage *d); /* what the timer repeats */
	unsigned attempts, lost;
	bool fed;
	struct leaf_wait leaf;
	struct crctab_wait tab;
	/* a page each */
	uint8_t **data;
	struct page **held; /* references behind data; NULL: of the heap block, or the zero page */
	uint32_t *crcs;     /* as they go into the table */
	uint8_t *source, *bad;
	unsigned nbad;
	uint8_t *heap;
	struct page *heap_pages; /* stand-ins for journal_read() */
	/* reading */
	unsigned next_readback, readbacks;
	int read_error;
	uint32_t old_length;
	unsigned run, run_end;
	bool read_twice;
	struct object_req req;
	struct iovec *iov;
	int niov;
	/* writing */
	uint32_t length, data_crc;
	struct bucket_entry entry;
	uint8_t *tail;
	char key[OBJECT_KEY_MAX + 1];
	struct readback back[READBACKS];
};

static void destage_plan(struct destage *d);
static void destage_read(struct destage *d);
static void destage_base(struct destage *d);
static void destage_put(struct destage *d);

/* ---- life ------------------------------------------------------------------------- */

static void
let_go(struct destage *d)
{
	unsigned n = d->eng->chunk_pages;

	for (unsigned p = 0; p < n; p++) {
		if (d->held[p])
			page_unref(d->held[p]);
		d->held[p] = NULL;
		d->data[p] = NULL;
	}
	free(d->heap);
	free(d->heap_pages);
	d->heap = NULL;
	d->heap_pages = NULL;
	if (d->fed) {
		d->fed = false;
		d->eng->destages_fed--;
	}
}

static void
destage_free(struct destage *d)
{
	free(d->data);
	free(d->held);
	free(d->crcs);
	free(d->source);
	free(d->bad);
	free(d->iov);
	free(d->tail);
	free(d);
}

static void
destage_leave(struct destage *d)
{
	loop_timer_stop(&d->timer);
	let_go(d);
	if (d->all_prev)
		d->all_prev->all_next = d->all_next;
	else
		d->eng->destages = d->all_next;
	if (d->all_next)
		d->all_next->all_prev = d->all_prev;
	destage_free(d);
}

static void
early_finish(struct destage *d, int status)
{
	struct engine *eng = d->eng;
	struct dchunk *dc = d->dc;
	struct bucket_entry entry = d->entry;
	uint32_t index = d->index, version = d->version;

	destage_leave(d);
	early_ended(eng, dc, index, version, entry, status);
	destage_retry_memory(eng);
	engine_release(eng);
}

static void
destage_end(struct destage *d, int status)
{
	struct engine *eng = d->eng;
	struct dchunk *dc = d->dc;

	if (d->early) {
		early_finish(d, status);
		return;
	}
	if (status == 0 && d->nbad)
		log_error("volume %s: %u pages of chunk %llu cannot be had any more and stay unreadable",
			  eng->vol.name, d->nbad, (unsigned long long)dc->index);
	if (status == 0) {
		dc->entry = d->entry;
		dc->old = d->old;
		dc->staged = true;
	}
	destage_leave(d);
	commit_staged(eng, dc, status);
	early_pump(eng);
	destage_retry_memory(eng);
	engine_release(eng);
}

static int
stop_reason(const struct engine *eng)
{
	return engine_health(eng) < 0 ? engine_health(eng) : LG_ESTOPPING;
}

static void
timer_fired(struct loop_timer *timer)
{
	struct destage *d = container_of(timer, struct destage, timer);

	if (engine_stopped(d->eng))
		destage_end(d, stop_reason(d->eng));
	else
		d->step(d);
}

/** Do step again after a while. */
static void
again_later(struct destage *d, int err, const char *what, void (*step)(struct destage *d))
{
	if (engine_stopped(d->eng) || d->early) {
		destage_end(d, err);
		return;
	}
	engine_degrade(d->eng, err, what);
	d->step = step;
	loop_timer_start(&d->timer, engine_backoff(d->eng, ++d->attempts));
}

static struct destage *
destage_new(struct engine *eng)
{
	unsigned n = eng->chunk_pages;
	struct destage *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->eng = eng;
	d->data = calloc(n, sizeof(*d->data));
	d->held = calloc(n, sizeof(struct page *));
	d->crcs = calloc(n, sizeof(*d->crcs));
	d->source = calloc(n, 1);
	d->bad = calloc(n, 1);
	d->iov = calloc(n + 1, sizeof(*d->iov));
	d->tail = malloc(bucket_base_tail_bytes(eng->vol.chunk_size));
	if (d->data && d->held && d->crcs && d->source && d->bad && d->iov && d->tail)
		return d;
	destage_free(d);
	return NULL;
}

/* ---- LEAF --------------------------------------------------------------------------- */

static void destage_leaf(struct destage *d);

static void
leaf_loaded(struct leaf_wait *wait, int status)
{
	struct destage *d = container_of(wait, struct destage, leaf);

	if (status < 0)
		again_later(d, status, "a leaf of the map cannot be read", destage_leaf);
	else
		destage_leaf(d);
}

static void
destage_leaf(struct destage *d)
{
	struct engine *eng = d->eng;
	struct dchunk *dc = d->dc;

	if (map_entry(eng, d->index, &d->old) < 0) {
		d->leaf.fn = leaf_loaded;
		map_load(eng, d->index >> BUCKET_LEAF_SHIFT, &d->leaf);
		return;
	}
	d->below = dc && dc->wiped ? dc->base : d->old;
	if (d->early) {
		/* the commit will want the leaf, so it may as well come now */
		if (dc && dc->resident == eng->chunk_pages && !engine_stopped(eng))
			destage_plan(d);
		else
			destage_end(d, -ECANCELED);
		return;
	}
	if (bucket_entry_present(dc->early_entry)) {
		d->entry = dc->early_entry;
		dc->early_entry = (struct bucket_entry){0};
		destage_end(d, 0);
	} else if (!dc->pages && !dc->zeroes && !dc->wiped) {
		d->entry = d->old; /* nothing is said of it after all */
		destage_end(d, 0);
	} else if (!dc->pages && (!dc->zeroes || !bucket_entry_present(d->below))) {
		d->entry = d->below; /* a clone, or nothing */
		destage_end(d, 0);
	} else {
		destage_plan(d);
	}
}

static int
destage_begin(struct engine *eng, struct dchunk *dc, bool early)
{
	struct destage *d = destage_new(eng);

	if (!d)
		return -ENOMEM;
	d->dc = dc;
	d->index = (uint32_t)dc->index;
	d->early = early;
	if (early) {
		eng->early_flight++;
		dc->early = d;
	}
	loop_timer_init(&d->timer, eng->vol.loop, timer_fired);
	d->all_next = eng->destages;
	if (d->all_next)
		d->all_next->all_prev = d;
	eng->destages = d;
	engine_hold(eng);
	destage_leaf(d);
	return 0;
}

int
destage_start(struct engine *eng, struct dchunk *dc)
{
	return destage_begin(eng, dc, false);
}

int
destage_early(struct engine *eng, struct dchunk *dc)
{
	return destage_begin(eng, dc, true);
}

void
destage_orphan(struct destage *d)
{
	d->dc = NULL;
}

/* ---- PLAN ----------------------------------------------------------------------------- */

/** A chunk that was wiped or cloned over after it was frozen. */
static bool
newer_below(const struct destage *d)
{
	const struct dchunk *active = dirty_find(d->eng->active, d->index);

	return active && active != d->dc && active->wiped;
}

static void
plan_page(struct destage *d, unsigned p)
{
	struct engine *eng = d->eng;
	struct dslot *slot = NULL;
	struct page *page = NULL;

	d->source[p] = FROM_MEMORY;
	switch (dchunk_lookup(d->dc, p, &slot)) {
	case DIRTY_PAGE:
		page = slot->page;
		d->crcs[p] = slot->crc;
		break;
	case DIRTY_JOURNAL:
		d->source[p] = FROM_JOURNAL;
		d->crcs[p] = slot->crc;
		return;
	case DIRTY_ZERO:
		break;
	case DIRTY_MISS:
	case DIRTY_BASE:
		if (!bucket_entry_present(d->below))
			break;
		/* the cache is that of what lies below the active set, too */
		if (!newer_below(d))
			page = cache_get(&eng->cache, (d->dc->index << eng->page_shift) + p, false);
		if (!page) {
			d->source[p] = FROM_BASE;
			return;
		}
		d->crcs[p] = crc32c(0, page->data, PAGE_SIZE_BYTES);
		break;
	}
	if (page) {
		d->held[p] = page_ref(page);
		d->data[p] = page->data;
	} else {
		d->data[p] = arena_zero_page(eng->vol.arena)->data;
		d->crcs[p] = CRC32C_ZERO_PAGE;
	}
}

static int
feed_heap(struct destage *d, unsigned n)
{
	d->heap = aligned_alloc(PAGE_SIZE_BYTES, (size_t)n * PAGE_SIZE_BYTES);
	d->heap_pages = calloc(n, sizeof(*d->heap_pages));
	if (!d->heap || !d->heap_pages)
		return -ENOMEM;
	return 0;
}

/** Memory for n pages that are to be read, and their places in data[]. */
static int
feed(struct destage *d, unsigned n)
{
	struct engine *eng = d->eng;
	struct page **own = malloc((n ? n : 1) * sizeof(struct page *));
	unsigned k = 0;

	if (!own)
		return -ENOMEM;
	bool heap = n && arena_alloc_reserved(eng->vol.arena, own, n) < 0;
	if (heap && (eng->destages_fed > 0 || feed_heap(d, n) < 0)) {
		free(own);
		return -ENOMEM;
	}
	d->fed = true;
	eng->destages_fed++;
	for (unsigned p = 0; p < eng->chunk_pages; p++) {
		if (d->source[p] == FROM_MEMORY)
			continue;
		d->held[p] = heap ? NULL : own[k];
		d->data[p] = heap ? d->heap + (size_t)k * PAGE_SIZE_BYTES : own[k]->data;
		k++;
	}
	assert(k == n);
	free(own);
	return 0;
}

static void
destage_plan(struct destage *d)
{
	struct engine *eng = d->eng;
	unsigned need = 0;

	d->version = d->dc->version;
	for (unsigned p = 0; p < eng->chunk_pages; p++) {
		plan_page(d, p);
		need += d->source[p] != FROM_MEMORY;
	}
	if (feed(d, need) == 0) {
		d->next_readback = 0;
		destage_read(d);
		return;
	}
	let_go(d);
	if (eng->destages_fed == 0 || d->early) {
		again_later(d, -ENOMEM, "no memory for a chunk", destage_plan);
		return;
	}
	d->next = eng->destages_hungry;
	eng->destages_hungry = d;
}

void
destage_retry_memory(struct engine *eng)
{
	struct destage *list = eng->destages_hungry;

	eng->destages_hungry = NULL;
	while (list) {
		struct destage *d = list;

		list = d->next;
		if (engine_stopped(eng))
			destage_end(d, stop_reason(eng));
		else
			destage_plan(d);
	}
}

void
destage_poke(struct engine *eng)
{
	for (struct destage *d = eng->destages; d; d = d->all_next)
		if (d->timer.due_ms)
			loop_timer_start(&d->timer, 0);
	if (eng->destages_hungry)
		destage_retry_memory(eng);
}

/* ---- READ: the journal ------------------------------------------------------------------ */

static void
mark_bad(struct destage *d, unsigned p)
{
	uint32_t actual = crc32c(0, d->data[p], PAGE_SIZE_BYTES);

	if (d->crcs[p] == actual)
		d->crcs[p] = ~actual;
	d->bad[p] = 1;
	counter_add(&d->eng->carried_bad, 1);
	d->nbad++;
}

/** The page to read into. */
static struct page *
page_behind(struct destage *d, unsigned p)
{
	if (d->held[p])
		return d->held[p];
	/* a page of no arena, for this one call: nobody may keep it */
	struct page *page = &d->heap_pages[(d->data[p] - d->heap) / PAGE_SIZE_BYTES];
	atomic_store(&page->refs, 1);
	page->data = d->data[p];
	return page;
}

static void
readback_done(struct journal_read *read)
{
	struct readback *back = container_of(read, struct readback, read);
	struct destage *d = back->d;

	if (read->status == LG_ECORRUPT || (read->status < 0 && d->lost >= LOST_ATTEMPTS)) {
		if (!engine_stopped(d->eng))
			mark_bad(d, back->page);
		counter_add(&d->eng->crc_errors, 1);
	} else if (read->status < 0) {
		d->read_error = read->status;
	}
	if (--d->readbacks == 0)
		destage_read(d);
}

/** A batch of read-backs; when none is left: the base. */
static void
destage_read(struct destage *d)
{
	struct engine *eng = d->eng;
	unsigned p = d->next_readback, n = 0;

	if (engine_stopped(eng)) {
		destage_end(d, stop_reason(eng));
		return;
	}
	if (d->read_error < 0) {
		int err = d->read_error;

		d->read_error = 0;
		d->next_readback = 0;
		d->lost++;
		again_later(d, err, "the journal cannot be read", destage_read);
		return;
	}
	d->readbacks = 1; /* keeps readback_done() from going on before the batch is complete */
	for (; p < eng->chunk_pages && n < READBACKS; p++) {
		struct dslot *slot = NULL;

		if (d->source[p] != FROM_JOURNAL)
			continue;
		struct readback *back = &d->back[n++];
		(void)dchunk_lookup(d->dc, p, &slot);
		*back = (struct readback){.d = d,
					  .page = p,
					  .read = {.pos = slot->pos,
						   .crc = slot->crc,
						   .page = page_behind(d, p),
						   .done = readback_done}};
		d->readbacks++;
		counter_add(&eng->journal_reads, 1);
		journal_read(eng->journal, &back->read);
	}
	d->next_readback = p;
	if (--d->readbacks > 0)
		return;
	if (n)
		destage_read(d);
	else
		destage_base(d);
}

/* ---- READ: the old base ------------------------------------------------------------------- */

static void destage_run(struct destage *d);

/** The old base is gone, or its table is. */
static void
base_lost(struct destage *d)
{
	for (unsigned p = 0; p < d->eng->chunk_pages; p++) {
		if (d->source[p] != FROM_BASE)
			continue;
		memset(d->data[p], 0, PAGE_SIZE_BYTES);
		d->crcs[p] = CRC32C_ZERO_PAGE;
		mark_bad(d, p);
	}
	destage_put(d);
}

/** Old pages cannot be had: try for a while, then go on without. */
static void
base_trouble(struct destage *d, int err)
{
	bool lost = err == LG_ECORRUPT || err == -ENOENT || err == -ENODATA;

	if (lost && ++d->lost >= LOST_ATTEMPTS && !engine_stopped(d->eng))
		base_lost(d);
	else
		again_later(d, err, "an old base cannot be read", destage_base);
}

static void
tab_loaded(struct crctab_wait *wait, const struct crctab *tab, int status)
{
	struct destage *d = container_of(wait, struct destage, tab);

	if (status < 0) {
		base_trouble(d, status);
		return;
	}
	for (unsigned p = 0; p < d->eng->chunk_pages; p++)
		if (d->source[p] == FROM_BASE)
			d->crcs[p] = tab->crcs[p];
	d->old_length = tab->length;
	d->run_end = 0;
	destage_run(d);
}

static void
destage_base(struct destage *d)
{
	unsigned n = 0;

	for (unsigned p = 0; p < d->eng->chunk_pages; p++)
		n += d->source[p] == FROM_BASE;
	if (!n) {
		destage_put(d);
		return;
	}
	d->tab.fn = tab_loaded;
	crctab_load(d->eng, d->dc->index, d->below, &d->tab);
}

static void
base_verify(struct destage *d)
{
	unsigned wrong = 0;

	for (unsigned p = 0; p < d->eng->chunk_pages; p++) {
		if (d->source[p] != FROM_BASE || crc32c(0, d->data[p], PAGE_SIZE_BYTES) == d->crcs[p])
			continue;
		wrong++;
		if (d->read_twice)
			mark_bad(d, p);
	}
	if (wrong && !d->read_twice) {
		d->read_twice = true;
		d->run_end = 0;
		destage_run(d);
		return;
	}
	counter_add(&d->eng->crc_errors, wrong);
	destage_put(d);
}

static void
run_done(struct object_req *req)
{
	struct destage *d = container_of(req, struct destage, req);

	engine_object_done(d->eng, req, TRAFFIC_BASE);
	if (req->status < 0)
		base_trouble(d, req->status);
	else
		destage_run(d);
}

/** The next stretch of pages to be fetched, one GET; past the end of the old base there are zeroes. */
static void
destage_run(struct destage *d)
{
	struct engine *eng = d->eng;
	unsigned stored = d->old_length / PAGE_SIZE_BYTES, p = d->run_end;

	if (engine_stopped(eng)) {
		destage_end(d, stop_reason(eng));
		return;
	}
	while (p < stored && d->source[p] != FROM_BASE)
		p++;
	if (p >= stored) {
		for (p = stored; p < eng->chunk_pages; p++)
			if (d->source[p] == FROM_BASE)
				memset(d->data[p], 0, PAGE_SIZE_BYTES);
		base_verify(d);
		return;
	}
	d->run = p;
	d->niov = 0;
	for (; p < stored && d->source[p] == FROM_BASE; p++)
		d->iov[d->niov++] = (struct iovec){d->data[p], PAGE_SIZE_BYTES};
	d->run_end = p;
	int r = bucket_key_entry(eng->prefix, d->index, d->below, d->key, sizeof(d->key));
	assert(r > 0);
	d->req = (struct object_req){.store = eng->store,
				     .op = OBJECT_GET,
				     .key = d->key,
				     .iov = d->iov,
				     .niov = d->niov,
				     .offset = (uint64_t)d->run * PAGE_SIZE_BYTES,
				     .length = (uint64_t)(d->run_end - d->run) * PAGE_SIZE_BYTES,
				     .done = run_done};
	engine_object(eng, &d->req, TRAFFIC_BASE);
}

/* ---- PUT -------------------------------------------------------------------------------------- */

static bool
is_zero(const struct destage *d, unsigned p)
{
	const uint8_t *data = d->data[p];

	if (d->bad[p] || d->crcs[p] != CRC32C_ZERO_PAGE)
		return false;
	return data == arena_zero_page(d->eng->vol.arena)->data ||
	       (data[0] == 0 && !memcmp(data, data + 1, PAGE_SIZE_BYTES - 1));
}

static void
put_done(struct object_req *req)
{
	struct destage *d = container_of(req, struct destage, req);
	struct engine *eng = d->eng;

	engine_object_done(eng, req, TRAFFIC_BASE);
	if (req->status < 0) {
		counter_add(&eng->put_errors, 1);
		again_later(d, req->status, "a base cannot be written", destage_put);
		return;
	}
	engine_recovered(eng);
	crctab_add(eng, d->index, d->entry, d->length, d->data_crc, d->crcs);
	destage_end(d, 0);
}

static void
put_send(struct destage *d)
{
	struct engine *eng = d->eng;
	int fp = failpoint_hit(FP_DESTAGE_PUT);

	if (engine_stopped(eng)) {
		destage_end(d, stop_reason(eng));
		return;
	}
	int r = bucket_key_entry(eng->prefix, d->index, d->entry, d->key, sizeof(d->key));
	assert(r > 0);
	if (fp < 0) {
		again_later(d, fp, "a base cannot be written", put_send);
		return;
	}
	if (fp == FAILPOINT_SKIP) {
		destage_end(d, 0);
		return;
	}
	d->niov = 0;
	for (unsigned p = 0; p < d->length / PAGE_SIZE_BYTES; p++) {
		struct iovec *last = d->niov ? &d->iov[d->niov - 1] : NULL;

		if (last && (uint8_t *)last->iov_base + last->iov_len == d->data[p])
			last->iov_len += PAGE_SIZE_BYTES;
		else
			d->iov[d->niov++] = (struct iovec){d->data[p], PAGE_SIZE_BYTES};
	}
	d->iov[d->niov++] = (struct iovec){d->tail, bucket_base_tail_bytes(eng->vol.chunk_size)};
	d->req = (struct object_req){.store = eng->store,
				     .op = OBJECT_PUT,
				     .key = d->key,
				     .iov = d->iov,
				     .niov = d->niov,
				     .done = put_done};
	engine_object(eng, &d->req, TRAFFIC_BASE);
}

/** All pages are there.  The first time: give the base its name and its tail; a repetition keeps both. */
static void
destage_put(struct destage *d)
{
	struct engine *eng = d->eng;
	unsigned end = eng->chunk_pages;
	uint32_t crc = 0;

	if (bucket_entry_present(d->entry)) {
		put_send(d);
		return;
	}
	while (end > 0 && is_zero(d, end - 1))
		end--;
	if (end == 0) {
		destage_end(d, 0);
		return;
	}
	for (unsigned p = 0; p < eng->chunk_pages; p++) {
		if (p >= end)
			d->crcs[p] = CRC32C_ZERO_PAGE;
		else
			crc = crc32c_append_page(crc, d->bad[p] ? crc32c(0, d->data[p], PAGE_SIZE_BYTES)
								: d->crcs[p]);
	}
	d->length = end * PAGE_SIZE_BYTES;
	d->data_crc = crc;
	d->entry = bucket_entry_base((uint32_t)eng->generation, ++eng->object_seq);
	struct bucket_base base = {.index = d->index,
				   .generation = eng->generation,
				   .seq = eng->object_seq,
				   .chunk_size = eng->vol.chunk_size,
				   .length = d->length,
				   .data_crc = crc};
	memcpy(base.uuid, eng->vol.uuid, UUID_LEN);
	bucket_base_tail_encode(&base, d->crcs, d->tail);
	d->attempts = 0;
	put_send(d);
}
