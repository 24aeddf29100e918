/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all changes have in common: a change (wop) on its way from the front
 * door to its answer.
 *
 *   gate -> range -> [old contents -> merge] -> accept -> durable -> gone
 *
 * The order is the argument against deadlock: who waits at the gate holds
 * nothing; who waits for a range has passed the gate; who holds a range waits for the store, the disk and
 * two pages of the arena's reserve, never for the gate (a shrinking resize does, and nothing
 * that makes room needs a range).
 *
 * Ranges: changes that must see what was there before (partial pages,
 * COMPARE AND WRITE) hold the pages that they touch until they are accepted; every other change of these
 * pages waits, in order of arrival.  So merges of one page are serialised, and what is journaled is whole
 * pages.
 *
 * Acceptance is one step without a pause: sequence, journal, dirty table.  Journal order is therefore the
 * order of the dirty table, however the requests overlap.
 *
 * Answer: with write_cache and without FUA at acceptance (an attribute never), else when all of it is durable.
 *
 * Failure: before acceptance a change is answered with its error and leaves nothing behind; a failed append
 * poisons the volume.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

#define SPARE_ENTRIES 32u
#define FREE_WOPS 256u

struct wop *
wop_new(struct vol_req *req)
{
	struct engine *eng = engine_of(req->vol);
	struct wop *wop = eng->free_wops;
	struct wappend *spare = NULL;

	if (wop) {
		eng->free_wops = wop->next;
		eng->nfree_wops--;
		spare = wop->spare;
	} else {
		wop = malloc(sizeof(*wop));
		if (!wop)
			return NULL;
	}
	*wop = (struct wop){.eng = eng, .req = req, .spare = spare};
	engine_hold(eng);
	return wop;
}

static void
results_free(struct wop *wop)
{
	pages_unref(wop->result, wop->nresult);
	free(wop->result);
	wop->result = NULL;
	wop->nresult = 0;
}

void
wop_free(struct wop *wop)
{
	struct engine *eng = wop->eng;

	assert(!wop->holding && !wop->reserved && !wop->appends);
	for (unsigned i = 0; i < 2; i++) {
		if (wop->old[i])
			page_unref(wop->old[i]);
		if (wop->merged[i])
			page_unref(wop->merged[i]);
	}
	if (wop->result)
		results_free(wop);
	attr_put_free(wop->put);
	if (eng->nfree_wops < FREE_WOPS) {
		wop->next = eng->free_wops;
		eng->free_wops = wop;
		eng->nfree_wops++;
	} else {
		free(wop->spare);
		free(wop);
	}
	engine_release(eng);
}

void
wops_fini(struct engine *eng)
{
	while (eng->free_wops) {
		struct wop *wop = eng->free_wops;

		eng->free_wops = wop->next;
		free(wop->spare);
		free(wop);
	}
}

int
wop_check(struct wop *wop)
{
	struct engine *eng = wop->eng;
	int health = engine_health(eng);

	if (health < 0)
		return health;
	if (eng->abandon)
		return LG_EABORTED;
	/* it may have waited for a resize */
	if (!wop->new_size && wop->req->offset + wop->req->length > engine_size(eng))
		return LG_ERANGE;
	return 0;
}

/* ---- gate and ranges ------------------------------------------------------------- */

static void
gated(struct gate_wait *wait, int status)
{
	struct wop *wop = container_of(wait, struct wop, gate);

	if (status == 0)
		wop->reserved += wait->bytes;
	if (status == 0)
		wop->step(wop);
	else
		wop_fail(wop, status);
}

void
wop_gate(struct wop *wop, uint64_t bytes, void (*step)(struct wop *wop))
{
	wop->step = step;
	wop->gate.fn = gated;
	gate_enter(wop->eng, &wop->gate, bytes);
}

static bool
overlaps(const struct wop *a, const struct wop *b)
{
	return a->first <= b->last && b->first <= a->last;
}

static bool
range_free(const struct wop *wop)
{
	for (const struct wop *h = wop->eng->holders; h; h = h->next)
		if (overlaps(h, wop))
			return false;
	for (const struct wop *w = wop->eng->range_head; w && w != wop; w = w->next)
		if (overlaps(w, wop))
			return false;
	return true;
}

static void
holders_add(struct wop *wop)
{
	struct engine *eng = wop->eng;

	wop->holding = true;
	wop->prev = NULL;
	wop->next = eng->holders;
	if (wop->next)
		wop->next->prev = wop;
	eng->holders = wop;
}

static void
waiters_remove(struct wop *wop)
{
	struct engine *eng = wop->eng;

	if (wop->prev)
		wop->prev->next = wop->next;
	else
		eng->range_head = wop->next;
	if (wop->next)
		wop->next->prev = wop->prev;
	else
		eng->range_tail = wop->prev;
}

void
wop_lock(struct wop *wop, uint64_t first, uint64_t last, bool hold, void (*step)(struct wop *wop))
{
	struct engine *eng = wop->eng;

	wop->first = first;
	wop->last = last;
	wop->hold = hold;
	wop->step = step;
	if ((!eng->holders && !eng->range_head) || range_free(wop)) {
		if (hold)
			holders_add(wop);
		step(wop);
		return;
	}
	wop->next = NULL;
	wop->prev = eng->range_tail;
	if (eng->range_tail)
		eng->range_tail->next = wop;
	else
		eng->range_head = wop;
	eng->range_tail = wop;
}

static void
ranges_wake(struct engine *eng)
{
	eng->range_again = true;
	if (eng->range_waking)
		return;
	eng->range_waking = true;
	while (eng->range_again) {
		eng->range_again = false;
		for (struct wop *wop = eng->range_head; wop; wop = wop->next) {
			if (!range_free(wop))
				continue;
			waiters_remove(wop);
			if (wop->hold)
				holders_add(wop);
			eng->range_again = true; /* the list may be another one after the step */
			wop->step(wop);
			break;
		}
	}
	eng->range_waking = false;
}

void
wop_unlock(struct wop *wop)
{
	struct engine *eng = wop->eng;

	if (!wop->holding)
		return;
	wop->holding = false;
	if (wop->prev)
		wop->prev->next = wop->next;
	else
		eng->holders = wop->next;
	if (wop->next)
		wop->next->prev = wop->prev;
	if (eng->range_head)
		ranges_wake(eng);
}

/* ---- edges ------------------------------------------------------------------------- */

void
wop_find_edges(struct wop *wop)
{
	const struct vol_req *req = wop->req;
	uint64_t end = req->offset + req->length;

	wop->nedges = 0;
	if (req->offset & (PAGE_SIZE_BYTES - 1))
		wop->edge_page[wop->nedges++] = req->offset >> PAGE_SHIFT;
	if (end & (PAGE_SIZE_BYTES - 1) && (wop->nedges == 0 || wop->edge_page[0] != end >> PAGE_SHIFT))
		wop->edge_page[wop->nedges++] = end >> PAGE_SHIFT;
}

/** The page to be stored at vpage: merged, or the caller's own. */
struct page *
wop_page(struct wop *wop, uint64_t vpage)
{
	const struct vol_req *req = wop->req;
	unsigned i = (unsigned)(vpage - (req->offset >> PAGE_SHIFT));

	if (wop->result)
		return wop->result[i];
	for (unsigned e = 0; e < wop->nedges; e++)
		if (wop->edge_page[e] == vpage)
			return wop->merged[e];
	return req->pages[req->op == VOL_COMPARE_WRITE ? req->npages + i : i];
}

static void
merge_edge(struct wop *wop, unsigned e)
{
	const struct vol_req *req = wop->req;
	uint64_t start = wop->edge_page[e] << PAGE_SHIFT;
	uint64_t from = max_of(start, req->offset);
	uint64_t to = min_of(start + PAGE_SIZE_BYTES, req->offset + req->length);
	uint8_t *p = wop->merged[e]->data;
	unsigned i = (unsigned)(wop->edge_page[e] - (req->offset >> PAGE_SHIFT));

	memcpy(p, wop->old[e]->data, PAGE_SIZE_BYTES);
	if (wop->fill_zero) {
		memset(p + (from - start), 0, (size_t)(to - from));
		return;
	}
	if (req->op == VOL_COMPARE_WRITE)
		i += req->npages;
	memcpy(p + (from - start), req->pages[i]->data + (from - start), (size_t)(to - from));
}

static void merge_try(struct wop *wop);

static void
merge_wake(struct loop_msg *msg)
{
	merge_try(container_of(msg, struct wop, mem.msg));
}

static void
merge_try(struct wop *wop)
{
	struct arena *arena = wop->eng->vol.arena;

	if (wop->nedges && arena_alloc_reserved(arena, wop->merged, wop->nedges) < 0) {
		wop->merged[0] = wop->merged[1] = NULL;
		commit_kick(wop->eng);
		wop->mem = (struct arena_waiter){
			.msg = {.fn = merge_wake}, .loop = wop->eng->vol.loop, .n = wop->nedges};
		arena_wait(arena, &wop->mem);
		return;
	}
	for (unsigned e = 0; e < wop->nedges; e++)
		merge_edge(wop, e);
	wop->step(wop);
}

void
wop_merge_old(struct wop *wop, void (*step)(struct wop *wop))
{
	wop->step = step;
	counter_add(&wop->eng->rmw, wop->nedges);
	merge_try(wop);
}

/* ---- OR ---------------------------------------------------------------------------- */

static void
or_page(struct wop *wop, unsigned i)
{
	const struct vol_req *req = wop->req;
	uint64_t start = ((req->offset >> PAGE_SHIFT) + i) << PAGE_SHIFT;
	uint64_t from = max_of(start, req->offset);
	uint64_t to = min_of(start + PAGE_SIZE_BYTES, req->offset + req->length);
	uint8_t *p = wop->result[i]->data;

	memcpy(p, wop->compare[i]->data, PAGE_SIZE_BYTES);
	bytes_or(p + (from - start), req->pages[i]->data + (from - start), (size_t)(to - from));
	page_unref(wop->compare[i]);
	wop->compare[i] = NULL;
}

static void or_try(struct wop *wop);

static void
or_wake(struct loop_msg *msg)
{
	or_try(container_of(msg, struct wop, mem.msg));
}

static void
or_try(struct wop *wop)
{
	struct arena *arena = wop->eng->vol.arena;
	unsigned n = wop->req->npages;

	if (arena_alloc_reserved(arena, wop->result, n) < 0) {
		commit_kick(wop->eng);
		wop->mem = (struct arena_waiter){.msg = {.fn = or_wake}, .loop = wop->eng->vol.loop, .n = n};
		arena_wait(arena, &wop->mem);
		return;
	}
	wop->nresult = n;
	for (unsigned i = 0; i < n; i++)
		or_page(wop, i);
	wop->step(wop);
}

void
wop_or(struct wop *wop, void (*step)(struct wop *wop))
{
	wop->step = step;
	wop->result = calloc(wop->req->npages, sizeof(struct page *));
	if (!wop->result) {
		wop_fail(wop, -ENOMEM);
		return;
	}
	counter_add(&wop->eng->rmw, wop->req->npages);
	or_try(wop);
}

/* ---- edges, read ------------------------------------------------------------------- */

static void edge_read(struct wop *wop);

static void
edge_done(struct reader *r)
{
	struct wop *wop = r->arg;

	if (r->status < 0) {
		wop->req->err_offset = max_of(r->err_page << PAGE_SHIFT, wop->req->offset);
		wop_fail(wop, r->status);
		return;
	}
	wop->edge++;
	edge_read(wop);
}

static void
edge_read(struct wop *wop)
{
	if (wop->edge == wop->nedges) {
		wop_merge_old(wop, wop->step);
		return;
	}
	wop->reader = (struct reader){.eng = wop->eng,
				      .first = wop->edge_page[wop->edge],
				      .n = 1,
				      .flags = READER_RESERVED,
				      .unit = FETCH_PAGES,
				      .pages = &wop->old[wop->edge],
				      .done = edge_done,
				      .arg = wop};
	reader_begin(&wop->reader);
}

void
wop_merge(struct wop *wop, void (*step)(struct wop *wop))
{
	wop->step = step;
	wop->edge = 0;
	edge_read(wop);
}

/* ---- acceptance ----------------------------------------------------------------------- */

struct wappend *
wappend_new(struct wop *wop, unsigned n)
{
	struct wappend *wa = wop->spare;

	if (wa && n <= wa->room) {
		wop->spare = NULL;
		wa->wop = wop;
		return wa;
	}
	unsigned room = max_of(n, SPARE_ENTRIES);
	wa = malloc(sizeof(*wa) + room * sizeof(wa->entries[0]));
	if (!wa)
		return NULL;
	wa->wop = wop;
	wa->room = room;
	return wa;
}

void
wappend_drop(struct wop *wop, struct wappend *wa)
{
	if (!wop->spare && wa->room == SPARE_ENTRIES)
		wop->spare = wa;
	else
		free(wa);
}

/** A shrinking resize has used the range to say what it zeroes. */
static void
give_back(const struct wop *wop, struct vol_req *req)
{
	if (!wop->new_size)
		return;
	req->offset = wop->given_offset;
	req->length = wop->new_size;
}

static void
reply(struct wop *wop, int status)
{
	struct vol_req *req = wop->req;

	if (wop->replied)
		return;
	wop->replied = true;
	wop->req = NULL;
	give_back(wop, req);
	engine_request_done(wop->eng, req, status);
}

static void
append_done(struct journal_append *append)
{
	struct wappend *wa = container_of(append, struct wappend, append);
	struct wop *wop = wa->wop;
	struct engine *eng = wop->eng;

	engine_hold(eng);
	if (append->status < 0) {
		wop->status = LG_EPOISONED;
		engine_poison(eng);
	}
	for (unsigned i = 0; i < append->n; i++) {
		struct journal_entry *entry = &append->entries[i];

		if (!journal_has_page(entry->type))
			continue;
		if (append->status == 0 && entry->type == JOURNAL_WRITE)
			dirty_landed(eng, entry->page, entry->data, entry->pos);
		page_unref(entry->data);
	}
	unsigned n = append->n;
	if (wop->put && append->status == 0)
		attr_put_durable(eng, wop->put);
	wappend_drop(wop, wa);
	if (--wop->appends == 0 && !wop->accepting) {
		reply(wop, wop->status);
		wop_free(wop);
	}
	flush_check(eng);
	engine_balance(eng, n);
	if (eng->commit.state == COMMIT_SYNC)
		commit_step(eng);
	engine_release(eng);
}

void
wop_append(struct wop *wop, struct wappend *wa, unsigned n)
{
	struct engine *eng = wop->eng;

	wop->accepting = true;
	if (!eng->journal) {
		eng->last_seq += n;
		wappend_drop(wop, wa);
		return;
	}
	unsigned pages = 0;
	for (unsigned i = 0; i < n; i++) {
		if (!journal_has_page(wa->entries[i].type))
			continue;
		page_ref(wa->entries[i].data);
		pages++;
	}
	wa->append = (struct journal_append){.entries = wa->entries, .n = n, .done = append_done};
	wop->appends++;
	journal_append(eng->journal, &wa->append);
	assert(wa->append.first_seq == eng->last_seq + 1);
	eng->last_seq += n;
	counter_add(&eng->journal_bytes, (uint64_t)(pages + 1) * PAGE_SIZE_BYTES);
}

static void
wop_let_go(struct wop *wop)
{
	gate_leave(wop->eng, wop->reserved);
	wop->reserved = 0;
	wop_unlock(wop);
	free(wop->compare);
	wop->compare = NULL;
}

void
wop_fail(struct wop *wop, int status)
{
	struct engine *eng = wop->eng;

	if (wop->compare)
		for (unsigned i = 0; i < wop->req->npages; i++)
			if (wop->compare[i])
				page_unref(wop->compare[i]);
	wop->accepting = false;
	engine_hold(eng);
	/* what was accepted of it stays accepted; the request as a whole failed */
	reply(wop, status);
	wop_let_go(wop);
	if (wop->appends == 0)
		wop_free(wop);
	gate_pump(eng);
	engine_release(eng);
}

void
wop_accepted(struct wop *wop)
{
	struct engine *eng = wop->eng;
	bool lazy = eng->vol.write_cache && !wop->put && !(wop->req->flags & VOL_FUA);

	wop->accepting = false;
	engine_hold(eng);
	wop_let_go(wop);
	if (lazy) {
		reply(wop, 0);
	} else if (wop->appends == 0 || wop->relied) {
		/* nothing of its own to wait for, or not that alone */
		struct vol_req *req = wop->req;

		wop->replied = true;
		wop->req = NULL;
		give_back(wop, req);
		flush_wait(eng, req, eng->last_seq);
	}
	if (wop->appends == 0)
		wop_free(wop);
	commit_kick(eng);
	engine_release(eng);
}

/* ---- flush ------------------------------------------------------------------------------- */

void
flush_wait(struct engine *eng, struct vol_req *req, uint64_t seq)
{
	req->engine_word[0] = seq;
	req->next = NULL;
	if (eng->flush_tail)
		eng->flush_tail->next = req;
	else
		eng->flush_head = req;
	eng->flush_tail = req;
	flush_check(eng);
	if (eng->flush_head && !eng->journal)
		commit_kick(eng);
}

void
flush_check(struct engine *eng)
{
	/* targets ascend: each is the last sequence at its arrival */
	while (eng->flush_head) {
		struct vol_req *req = eng->flush_head;
		int status = engine_health(eng);

		if (status == 0 && (eng->give_up || eng->abandon))
			status = eng->commit.failed ? eng->commit.failed : LG_EABORTED;
		if (status == 0 && req->engine_word[0] > engine_durable_seq(eng))
			break;
		eng->flush_head = req->next;
		if (!eng->flush_head)
			eng->flush_tail = NULL;
		engine_request_done(eng, req, status);
	}
}

void
flush_submit(struct vol_req *req)
{
	struct engine *eng = engine_of(req->vol);

	flush_wait(eng, req, eng->last_seq);
}
