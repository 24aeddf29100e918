/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A consistent look at a range of pages.
 *
 * A reader looks at all its pages in one go.  When all are in memory it takes its references there and then,
 * so that what it returns is the state of one instant: no write, and no COMPARE AND WRITE, is seen in part.
 * Otherwise it sends for what is missing (from the journal, from bases), keeps what came in `have`, labelled
 * with where it came from, and looks again: what has been overwritten or replaced meanwhile no longer fits
 * its label.
 *
 *   look -> done
 *   look -> leaf missing: load it -> look
 *   look -> pages missing: send -> all back -> look
 *   look -> pages missing, no memory: drop everything, wait -> look
 *
 * Memory: what one round needs is allocated at once or not at all, and who
 * waits for memory holds none: no two readers can wait for each other.
 *
 * Failure: a page that stays wrong is LG_ECORRUPT with its place; a base that the map names and the store
 * does not have is LG_ECORRUPT as well; errors of the store and of the disk are handed on.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>

/** One round's walk: the chunk that page i lies in. */
struct spot {
	uint64_t chunk;
	unsigned i, end; /* pages of the reader in this chunk */
	unsigned base;   /* page of the chunk that page i is */
	const struct dchunk *active, *frozen;
	struct bucket_entry entry;
	bool known; /* entry is: of the base below all slots */
};

static bool
spot_next(const struct reader *r, struct spot *spot)
{
	const struct engine *eng = r->eng;
	unsigned i = spot->end;

	if (i >= r->n)
		return false;
	uint64_t v = r->first + i;
	*spot = (struct spot){
		.chunk = v >> eng->page_shift, .i = i, .base = (unsigned)(v & (eng->chunk_pages - 1))};
	spot->end = min_of(r->n, i + eng->chunk_pages - spot->base);
	spot->active = dirty_find(eng->active, spot->chunk);
	spot->frozen = dirty_find(eng->frozen, spot->chunk);
	const struct dchunk *top = spot->active && spot->active->wiped ? spot->active : spot->frozen;
	if (top && top->wiped) {
		spot->entry = top->base;
		spot->known = true;
	}
	return true;
}

static enum dirty_hit
spot_dirty(const struct spot *spot, unsigned i, struct dslot **slot)
{
	unsigned page = spot->base + (i - spot->i);
	enum dirty_hit hit = spot->active ? dchunk_lookup(spot->active, page, slot) : DIRTY_MISS;

	if (hit == DIRTY_MISS && spot->frozen)
		hit = dchunk_lookup(spot->frozen, page, slot);
	return hit;
}

/** What is known of page i: its page (borrowed), or NULL: missing.  -EAGAIN: the leaf is. */
static int
look_page(struct reader *r, struct spot *spot, unsigned i, struct page **ret)
{
	struct engine *eng = r->eng;
	struct rpage *have = r->have ? &r->have[i] : NULL;
	struct dslot *slot = NULL;

	*ret = NULL;
	switch (spot_dirty(spot, i, &slot)) {
	case DIRTY_PAGE:
		*ret = slot->page;
		return 0;
	case DIRTY_ZERO:
		*ret = arena_zero_page(eng->vol.arena);
		return 0;
	case DIRTY_JOURNAL:
		if (have && have->page && have->pos == slot->pos)
			*ret = have->page;
		return 0;
	case DIRTY_MISS:
	case DIRTY_BASE:
		break;
	}
	if (!spot->known) {
		int e = map_entry(eng, spot->chunk, &spot->entry);
		if (e < 0)
			return e;
		spot->known = true;
	}
	if (!bucket_entry_present(spot->entry)) {
		*ret = arena_zero_page(eng->vol.arena);
		return 0;
	}
	if (have && have->page && !have->pos && entry_same(have->entry, spot->entry)) {
		*ret = have->page;
		return have->bad ? LG_ECORRUPT : 0;
	}
	*ret = cache_get(&eng->cache, r->first + i, !(r->flags & (READER_NO_READAHEAD | READER_STREAM)));
	return 0;
}

static void
have_drop(struct reader *r)
{
	for (unsigned i = 0; r->have && i < r->n; i++) {
		if (r->have[i].page)
			page_unref(r->have[i].page);
		r->have[i] = (struct rpage){0};
	}
}

static void
reader_finish(struct reader *r, int status)
{
	r->status = status;
	if (status < 0)
		for (unsigned i = 0; i < r->n; i++)
			r->pages[i] = NULL;
	have_drop(r);
	free(r->have);
	r->have = NULL;
	r->done(r);
}

static void reader_look(struct reader *r);
static void reader_send(struct reader *r);

static void
leaf_loaded(struct leaf_wait *wait, int status)
{
	struct reader *r = container_of(wait, struct reader, leaf_wait);

	if (status < 0) {
		r->err_page = r->first;
		reader_finish(r, status);
		return;
	}
	reader_look(r);
}

/** 1: all pages are there, referenced; 0: some are missing; -EAGAIN: a leaf is (*ret_leaf); or LG_ECORRUPT.
 */
static int
reader_gather(struct reader *r, uint32_t *ret_leaf)
{
	struct spot spot = {.end = 0};
	unsigned missing = 0;

	while (spot_next(r, &spot)) {
		for (unsigned i = spot.i; i < spot.end; i++) {
			int e = look_page(r, &spot, i, &r->pages[i]);

			if (e == -EAGAIN) {
				*ret_leaf = (uint32_t)(spot.chunk >> BUCKET_LEAF_SHIFT);
				return e;
			}
			if (e < 0) {
				r->err_page = r->first + i;
				return e;
			}
			missing += !r->pages[i];
		}
	}
	if (missing)
		return 0;
	for (unsigned i = 0; i < r->n; i++)
		page_ref(r->pages[i]);
	return 1;
}

static void
reader_look(struct reader *r)
{
	uint32_t leaf = 0;
	int e = reader_gather(r, &leaf);

	if (e == 1) {
		reader_finish(r, 0);
	} else if (e == 0) {
		reader_send(r);
	} else if (e == -EAGAIN) {
		r->leaf_wait.fn = leaf_loaded;
		map_load(r->eng, leaf, &r->leaf_wait);
	} else {
		reader_finish(r, e);
	}
}

/* ---- sending for what is missing ------------------------------------------- */

struct rfetch {
	struct fetch_wait wait;
	struct reader *reader;
};

struct rjournal {
	struct journal_read read;
	struct reader *reader;
	unsigned i;
};

static void
reader_back(struct reader *r)
{
	if (--r->pending > 0)
		return;
	if (r->status < 0)
		reader_finish(r, r->status);
	else
		reader_look(r);
}

static void
reader_error(struct reader *r, int status, uint64_t vpage)
{
	if (r->status == 0 || vpage < r->err_page) {
		r->status = status;
		r->err_page = vpage;
	}
}

static void
have_set(struct reader *r, unsigned i, struct page *page, bool bad, journal_pos_t pos,
	 struct bucket_entry entry)
{
	struct rpage *have = &r->have[i];

	page_ref(page);
	if (have->page)
		page_unref(have->page);
	*have = (struct rpage){.page = page, .bad = bad, .pos = pos, .entry = entry};
}

static void
fetched(struct fetch_wait *wait, struct fetch *f)
{
	struct rfetch *rf = container_of(wait, struct rfetch, wait);
	struct reader *r = rf->reader;
	struct engine *eng = r->eng;
	uint64_t start = (f->chunk << eng->page_shift) + f->first;
	uint64_t from = max_of(start, r->first), to = min_of(start + f->n, r->first + r->n);

	free(rf);
	if (f->status == 0) {
		for (uint64_t v = from; v < to; v++)
			have_set(r, (unsigned)(v - r->first), f->pages[v - start], f->bad[v - start], 0,
				 f->entry);
	} else {
		struct bucket_entry now;
		/* replaced by a commit and deleted meanwhile: the next look finds the new base */
		bool stale = dirty_below(eng, f->chunk, &now) < 0 || !entry_same(now, f->entry);

		if (!stale)
			reader_error(r, f->status == -ENOENT ? LG_ECORRUPT : f->status, from);
		if (!stale && f->status == -ENOENT)
			counter_add(&eng->crc_errors, 1);
	}
	reader_back(r);
}

static void
journal_read_done(struct journal_read *read)
{
	struct rjournal *rj = container_of(read, struct rjournal, read);
	struct reader *r = rj->reader;
	struct engine *eng = r->eng;
	uint64_t v = r->first + rj->i;

	if (read->status == 0) {
		have_set(r, rj->i, read->page, false, read->pos, (struct bucket_entry){0});
		if (!(r->flags & READER_NO_READAHEAD) && arena_pressure(eng->vol.arena) < 90)
			dirty_attach(eng, v, read->pos, read->page);
	} else {
		struct dslot *slot;
		/* settled by a commit and recycled meanwhile: the next look finds it elsewhere */
		bool same = dirty_lookup(eng, v, &slot) == DIRTY_JOURNAL && slot->pos == read->pos;

		if (same)
			reader_error(r, read->status, v);
		if (same && read->status == LG_ECORRUPT)
			counter_add(&eng->crc_errors, 1);
	}
	page_unref(read->page);
	free(rj);
	engine_release(eng);
	reader_back(r);
}

static void
send_journal(struct reader *r, unsigned i, const struct dslot *slot, struct page *page)
{
	struct rjournal *rj = calloc(1, sizeof(*rj));

	if (!rj) {
		page_unref(page);
		reader_error(r, -ENOMEM, r->first + i);
		return;
	}
	rj->reader = r;
	rj->i = i;
	rj->read = (struct journal_read){
		.pos = slot->pos, .crc = slot->crc, .page = page, .done = journal_read_done};
	r->pending++;
	engine_hold(r->eng);
	counter_add(&r->eng->journal_reads, 1);
	journal_read(r->eng->journal, &rj->read);
}

static void
send_join(struct reader *r, struct fetch *fetch)
{
	struct rfetch *rf = malloc(sizeof(*rf));

	if (!rf) {
		reader_error(r, -ENOMEM, r->first);
		return;
	}
	*rf = (struct rfetch){.wait = {.fn = fetched}, .reader = r};
	r->pending++;
	fetch_join(fetch, &rf->wait);
}

/** Pages [*first, return) of the chunk to fetch for page i of the reader, which is missing. */
static unsigned
unit_range(const struct reader *r, const struct spot *spot, unsigned i, unsigned *first)
{
	unsigned page = spot->base + (i - spot->i);

	if (r->unit) {
		*first = page & ~(r->unit - 1);
		return min_of(*first + r->unit, r->eng->chunk_pages);
	}
	*first = page;
	unsigned j = i + 1;
	struct dslot *slot;
	while (j < spot->end && !r->pages[j] && below_slots(spot_dirty(spot, j, &slot)))
		j++;
	return page + (j - i);
}

/**
 * Walk over the missing pages.  With pages == NULL only count what is needed; else send, taking pages from
 * there. Nothing can change between the two walks.
 */
static unsigned
reader_walk(struct reader *r, struct page **pages)
{
	struct engine *eng = r->eng;
	struct spot spot = {.end = 0};
	unsigned used = 0;

	while (spot_next(r, &spot)) {
		unsigned covered = 0; /* pages of the chunk below this one are on their way */

		for (unsigned i = spot.i; i < spot.end; i++) {
			unsigned page = spot.base + (i - spot.i), first;
			struct dslot *slot;

			if (r->pages[i] || page < covered)
				continue;
			if (spot_dirty(&spot, i, &slot) == DIRTY_JOURNAL) {
				if (pages)
					send_journal(r, i, slot, pages[used]);
				used++;
				continue;
			}
			if (!spot.known && map_entry(eng, spot.chunk, &spot.entry) == 0)
				spot.known = true;
			assert(spot.known);
			struct fetch *fetch = fetch_find(eng, spot.chunk, spot.entry, page);
			if (fetch) {
				covered = fetch->first + fetch->n;
				if (pages)
					send_join(r, fetch);
				continue;
			}
			unsigned end = unit_range(r, &spot, i, &first);
			if (pages &&
			    fetch_start(eng, spot.chunk, spot.entry, first, end - first, pages + used,
					r->flags & READER_NO_READAHEAD ? FETCH_NO_CACHE : 0, &fetch) == 0) {
				send_join(r, fetch);
			} else if (pages) {
				pages_unref(pages + used, end - first);
				reader_error(r, -ENOMEM, r->first + i);
			}
			used += end - first;
			covered = end;
		}
	}
	return used;
}

/** Hold on to what is in memory now, so that it does not have to be fetched while the rest comes. */
static int
reader_hold(struct reader *r)
{
	struct spot spot = {.end = 0};

	if (!r->have)
		r->have = calloc(r->n, sizeof(*r->have));
	if (!r->have)
		return -ENOMEM;
	while (spot_next(r, &spot)) {
		for (unsigned i = spot.i; i < spot.end; i++) {
			struct dslot *slot = NULL;

			if (!r->pages[i] || r->pages[i] == r->have[i].page)
				continue;
			enum dirty_hit hit = spot_dirty(&spot, i, &slot);
			if (hit == DIRTY_PAGE && slot->pos)
				have_set(r, i, slot->page, false, slot->pos, (struct bucket_entry){0});
			if (!below_slots(hit))
				continue;
			if (!spot.known && map_entry(r->eng, spot.chunk, &spot.entry) == 0)
				spot.known = true;
			if (spot.known && bucket_entry_present(spot.entry))
				have_set(r, i, r->pages[i], false, 0, spot.entry);
		}
	}
	return 0;
}

/* ---- waiting for memory ------------------------------------------------------- */

static void starved_pump(struct engine *eng);

static void
starved_wake(struct loop_msg *msg)
{
	struct reader *r = container_of(msg, struct reader, mem.msg);
	struct engine *eng = r->eng;

	engine_release(eng);
	if (r->flags & READER_RESERVED) {
		reader_look(r);
		return;
	}
	assert(eng->starved == r);
	eng->starved = r->next;
	if (!eng->starved)
		eng->starved_tail = &eng->starved;
	eng->starved_waits = false;
	r->turn = true;
	reader_look(r);
	starved_pump(eng);
}

static void
mem_wait(struct reader *r, unsigned n)
{
	struct engine *eng = r->eng;

	r->mem = (struct arena_waiter){.msg = {.fn = starved_wake}, .loop = eng->vol.loop, .n = n};
	engine_hold(eng);
	arena_wait(eng->vol.arena, &r->mem);
}

static void
starved_pump(struct engine *eng)
{
	if (!eng->starved || eng->starved_waits)
		return;
	eng->starved_waits = true;
	mem_wait(eng->starved, eng->starved->n);
}

static void
reader_starve(struct reader *r, unsigned need)
{
	struct engine *eng = r->eng;
	size_t total = arena_total_pages(eng->vol.arena);

	if (need > total - total / 8) {
		r->err_page = r->first;
		reader_finish(r, -ENOMEM); /* it can never be had: the arena is smaller than the request */
		return;
	}
	have_drop(r);
	commit_kick(eng);
	if (r->flags & READER_RESERVED) {
		mem_wait(r, need);
		return;
	}
	if (r->turn && !eng->starved_waits) {
		r->next = eng->starved; /* it was the first and stays it */
		eng->starved = r;
		if (!r->next)
			eng->starved_tail = &r->next;
	} else {
		r->next = NULL;
		*eng->starved_tail = r;
		eng->starved_tail = &r->next;
	}
	r->turn = false;
	starved_pump(eng);
}

static int
reader_alloc(struct reader *r, struct page **pages, unsigned n)
{
	struct arena *arena = r->eng->vol.arena;

	if (r->flags & READER_RESERVED)
		return arena_alloc_reserved(arena, pages, n);
	if (r->eng->starved && !r->turn)
		return -ENOMEM; /* others came first */
	return arena_alloc(arena, pages, n);
}

static void
reader_send(struct reader *r)
{
	if (reader_hold(r) < 0) {
		r->err_page = r->first;
		reader_finish(r, -ENOMEM);
		return;
	}
	unsigned n = reader_walk(r, NULL);
	struct page **pages = malloc((n ? n : 1) * sizeof(struct page *));
	int e = pages ? reader_alloc(r, pages, n) : -ENOMEM;
	if (e < 0 && pages && r->unit) {
		r->unit = 0; /* no room for more than was asked for */
		unsigned exact = reader_walk(r, NULL);
		if (exact <= n) {
			n = exact;
			e = reader_alloc(r, pages, n);
		}
	}
	if (e < 0) {
		free(pages);
		reader_starve(r, n);
		return;
	}
	r->pending = 1;
	r->status = 0;
	reader_walk(r, pages);
	free(pages);
	for (unsigned i = 0; i < r->n; i++)
		r->pages[i] = NULL;
	reader_back(r);
}

void
reader_begin(struct reader *r)
{
	r->status = 0;
	r->pending = 0;
	r->have = NULL;
	reader_look(r);
}

/* ---- VOL_READ -------------------------------------------------------------------- */

static void
read_done(struct reader *r)
{
	struct vol_req *req = r->arg;
	struct engine *eng = r->eng;
	int status = r->status;

	if (status < 0)
		req->err_offset = max_of(r->err_page << PAGE_SHIFT, req->offset);
	if (status == 0 && engine_health(eng) == LG_EFENCED) {
		pages_unref(req->pages, req->npages);
		for (unsigned i = 0; i < req->npages; i++)
			req->pages[i] = NULL;
		status = LG_EFENCED;
	}
	free(r);
	engine_request_done(eng, req, status);
}

static void
read_begin(struct engine *eng, struct vol_req *req, struct reader *look)
{
	uint32_t leaf;

	if (reader_gather(look, &leaf) == 1) {
		counter_add(&eng->cache.hits, look->n);
		engine_request_done(eng, req, 0);
		return;
	}
	counter_add(&eng->cache.misses, look->n);
	struct reader *r = malloc(sizeof(*r));
	if (!r) {
		req->err_offset = req->offset;
		engine_request_done(eng, req, -ENOMEM);
		return;
	}
	*r = *look;
	reader_begin(r);
}

void
read_submit(struct vol_req *req)
{
	struct engine *eng = engine_of(req->vol);
	bool quiet = req->flags & VOL_NO_READAHEAD;
	struct reader look = {.eng = eng,
			      .first = req->offset >> PAGE_SHIFT,
			      .n = volume_pages(req->offset, req->length),
			      .pages = req->pages,
			      .flags = quiet ? READER_NO_READAHEAD : 0,
			      .done = read_done,
			      .arg = req};
	struct stream *stream = quiet ? NULL : stream_note(eng, look.first, look.n, &look.unit);

	if (stream && stream_flows(eng, stream))
		look.flags |= READER_STREAM;
	engine_hold(eng); /* whoever is answered may close the volume */
	read_begin(eng, req, &look);
	if (stream)
		stream_ahead(eng, stream);
	engine_release(eng);
}
