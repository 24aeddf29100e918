/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UNMAP, ZERO and resize.
 *
 * First the pages that the range covers in part are merged with zeroes, like any write.  Then the whole pages
 * are done in steps that stay within one leaf and a bounded number of chunks, so that a range of 64 TiB
 * neither holds the loop nor fills the memory:
 *
 *   next -> (nothing there: skip) | gate -> range -> leaf in memory -> accept -> next ... -> answer
 *
 * A leaf that the root says is all absent, and that nothing dirty lies in, is skipped without I/O and without
 * memory. Of a step only the part between the first and the last chunk with something in it is journaled, as
 * one entry.
 *
 * Shrinking is zeroing the tail, then one RESIZE entry; it holds the range from the new end on all the time,
 * and what waited for it finds the new size.  Growing is the entry alone.
 *
 * Failure: steps that were accepted stay; the request answers with the error.
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <string.h>

#include "common/crc32c.h"

#define STEP_CHUNKS 8192u

static void zero_next(struct wop *wop);
static void zero_step(struct wop *wop);
static void resize_accept(struct wop *wop);

static uint64_t
chunk_first(const struct engine *eng, uint64_t chunk)
{
	return chunk << eng->page_shift;
}

/** The part of [at, step_end) that lies in this chunk. */
static uint64_t
part_of(const struct wop *wop, uint64_t chunk, uint64_t *ret_n)
{
	uint64_t first = max_of(wop->at, chunk_first(wop->eng, chunk));

	*ret_n = min_of(wop->step_end, chunk_first(wop->eng, chunk + 1)) - first;
	return first;
}

static bool
chunk_blank(struct engine *eng, uint64_t chunk, bool *ret_absent)
{
	struct bucket_entry entry;
	int r = map_entry(eng, chunk, &entry);

	assert(r == 0);
	*ret_absent = !bucket_entry_present(entry);
	return dirty_chunk_blank(eng, chunk, *ret_absent);
}

static void
step_done(struct wop *wop)
{
	wop->at = wop->step_end;
	gate_leave(wop->eng, wop->reserved);
	wop->reserved = 0;
	/* by message: other requests get their turn, and the stack does not grow */
	loop_post(wop->eng->vol.loop, &wop->msg);
}

static int
step_prepare(struct wop *wop, uint64_t *ret_first, uint64_t *ret_end)
{
	struct engine *eng = wop->eng;
	uint64_t first = UINT64_MAX, end = 0;

	for (uint64_t c = wop->at >> eng->page_shift; c <= (wop->step_end - 1) >> eng->page_shift; c++) {
		uint64_t n, from = part_of(wop, c, &n);
		bool absent;

		if (chunk_blank(eng, c, &absent))
			continue;
		int r = dirty_prepare_zero(eng, from, n, absent);
		if (r < 0)
			return r;
		first = min_of(first, from);
		end = from + n;
	}
	*ret_first = first;
	*ret_end = end;
	return 0;
}

static void
step_accept(struct wop *wop)
{
	struct engine *eng = wop->eng;
	uint64_t first, end;
	int r = step_prepare(wop, &first, &end);
	struct wappend *wa = NULL;

	if (r == 0 && first < end) {
		wa = wappend_new(wop, 1);
		if (!wa)
			r = -ENOMEM;
	}
	if (r < 0) {
		wop_fail(wop, r);
		return;
	}
	if (!wa) {
		wop->relied = true;
		step_done(wop);
		return;
	}
	wa->entries[0] =
		(struct journal_entry){.type = wop->req->op == VOL_ZERO ? JOURNAL_ZERO : JOURNAL_TRIM,
				       .page = first,
				       .count = end - first};
	for (uint64_t c = first >> eng->page_shift; c <= (end - 1) >> eng->page_shift; c++) {
		uint64_t n, from = part_of(wop, c, &n);
		bool absent;

		if (chunk_blank(eng, c, &absent))
			wop->relied = true;
		else
			dirty_zero(eng, from, n, absent);
	}
	wop_append(wop, wa, 1);
	step_done(wop);
	engine_update_allocated(eng);
}

static void
step_leaf(struct leaf_wait *wait, int status)
{
	struct wop *wop = container_of(wait, struct wop, leaf);

	if (status < 0)
		wop_fail(wop, status);
	else if (wop->holding)
		zero_step(wop);
	else
		wop_lock(wop, wop->at, wop->step_end - 1, false, zero_step);
}

static void
zero_step(struct wop *wop)
{
	struct engine *eng = wop->eng;
	struct bucket_entry entry;
	int r = wop_check(wop);

	if (r < 0) {
		wop_fail(wop, r);
	} else if (map_entry(eng, wop->at >> eng->page_shift, &entry) < 0) {
		wop->leaf.fn = step_leaf;
		map_load(eng, (uint32_t)(wop->at >> eng->page_shift >> BUCKET_LEAF_SHIFT), &wop->leaf);
	} else {
		step_accept(wop);
	}
}

static void
zero_gated(struct wop *wop)
{
	if (wop->holding)
		zero_step(wop);
	else
		wop_lock(wop, wop->at, wop->step_end - 1, false, zero_step);
}

static void
zero_posted(struct loop_msg *msg)
{
	zero_next(container_of(msg, struct wop, msg));
}

static void
zero_next(struct wop *wop)
{
	struct engine *eng = wop->eng;

	while (wop->at < wop->end) {
		uint64_t chunk = wop->at >> eng->page_shift;
		uint32_t leaf = (uint32_t)(chunk >> BUCKET_LEAF_SHIFT);
		uint64_t leaf_end = chunk_first(eng, (uint64_t)(leaf + 1) << BUCKET_LEAF_SHIFT);

		if (leaf < eng->map.nleaves && eng->map.refs[leaf].present == 0 &&
		    dirty_leaf_chunks(eng, leaf) == 0) {
			wop->at = min_of(wop->end, leaf_end);
			wop->relied = true;
			continue;
		}
		wop->step_end = min_of(min_of(wop->end, leaf_end), chunk_first(eng, chunk + STEP_CHUNKS));
		/* a record's header, and the page that it may share with nobody */
		wop_gate(wop, 2 * PAGE_SIZE_BYTES, zero_gated);
		return;
	}
	if (wop->new_size)
		wop_gate(wop, 2 * PAGE_SIZE_BYTES, resize_accept);
	else
		wop_accepted(wop);
}

/* ---- edges ---------------------------------------------------------------------------- */

static bool
is_zero(const struct page *page)
{
	return page->data[0] == 0 && !memcmp(page->data, page->data + 1, PAGE_SIZE_BYTES - 1);
}

static void
edges_accept(struct wop *wop)
{
	struct engine *eng = wop->eng;
	struct wappend *wa = NULL;
	unsigned n = 0;
	int r = wop_check(wop);

	for (unsigned e = 0; r == 0 && e < wop->nedges; e++)
		r = dirty_prepare(eng, wop->edge_page[e], 1);
	if (r == 0) {
		wa = wappend_new(wop, 2);
		if (!wa)
			r = -ENOMEM;
	}
	if (r < 0) {
		wop_fail(wop, r);
		return;
	}
	for (unsigned e = 0; e < wop->nedges; e++) {
		/* zeroes into zeroes: absent space stays absent */
		if (is_zero(wop->old[e])) {
			wop->relied = true;
			continue;
		}
		uint32_t crc = crc32c(0, wop->merged[e]->data, PAGE_SIZE_BYTES);
		wa->entries[n++] = (struct journal_entry){.type = JOURNAL_WRITE,
							  .page = wop->edge_page[e],
							  .count = 1,
							  .data = wop->merged[e],
							  .crc = crc};
		dirty_put(eng, wop->edge_page[e], wop->merged[e], 0, crc);
	}
	if (n)
		wop_append(wop, wa, n);
	else
		wappend_drop(wop, wa);
	gate_leave(eng, wop->reserved);
	wop->reserved = 0;
	if (!wop->new_size)
		wop_unlock(wop);
	loop_post(eng->vol.loop, &wop->msg);
}

static void
edges_merge(struct wop *wop)
{
	wop_merge(wop, edges_accept);
}

static void
edges_gated(struct wop *wop)
{
	if (wop->holding)
		edges_merge(wop);
	else
		wop_lock(wop, wop->edge_page[0], wop->edge_page[wop->nedges - 1], true, edges_merge);
}

/** Which whole pages, which edges: of the request's range. A page that the end of the volume cuts counts as
 * whole. */
static void
zero_plan(struct wop *wop)
{
	struct engine *eng = wop->eng;
	const struct vol_req *req = wop->req;
	uint64_t end = req->offset + req->length;

	wop->msg.fn = zero_posted;
	wop->fill_zero = true;
	wop_find_edges(wop);
	wop->at = (req->offset + PAGE_SIZE_BYTES - 1) >> PAGE_SHIFT;
	wop->end = end >> PAGE_SHIFT;
	if (end == engine_size(eng) && (end & (PAGE_SIZE_BYTES - 1)) &&
	    !(req->offset & (PAGE_SIZE_BYTES - 1) && req->offset >> PAGE_SHIFT == wop->end)) {
		wop->nedges--; /* the last edge is the volume's last page */
		wop->end++;
	}
}

static void
zero_start(struct wop *wop)
{
	zero_plan(wop);
	if (wop->nedges)
		wop_gate(wop, 3 * PAGE_SIZE_BYTES, edges_gated);
	else
		zero_next(wop);
}

void
zero_submit(struct vol_req *req)
{
	struct wop *wop = wop_new(req);

	if (!wop)
		engine_request_done(engine_of(req->vol), req, -ENOMEM);
	else if (req->length == 0)
		wop_accepted(wop);
	else
		zero_start(wop);
}

/* ---- resize --------------------------------------------------------------------------- */

static void
resize_accept(struct wop *wop)
{
	struct engine *eng = wop->eng;
	struct wappend *wa = NULL;
	int r = wop_check(wop);

	if (r == 0)
		r = map_resize(eng, wop->new_size);
	if (r == 0) {
		wa = wappend_new(wop, 1);
		if (!wa)
			r = -ENOMEM;
	}
	if (r < 0) {
		wop_fail(wop, r);
		return;
	}
	wa->entries[0] = (struct journal_entry){.type = JOURNAL_RESIZE, .page = wop->new_size};
	atomic_store_explicit(&eng->vol.size, wop->new_size, memory_order_relaxed);
	wop_append(wop, wa, 1);
	wop_accepted(wop);
}

static void
shrink_start(struct wop *wop)
{
	struct vol_req *req = wop->req;
	uint64_t old = engine_size(wop->eng);

	/* while it waited the volume may have become smaller still */
	if (wop->new_size >= old) {
		resize_accept(wop);
		return;
	}
	req->offset = wop->new_size;
	req->length = old - wop->new_size;
	zero_start(wop);
}

void
resize_submit(struct vol_req *req)
{
	struct engine *eng = engine_of(req->vol);
	uint64_t size = req->length;
	struct wop *wop;

	if (size == 0 || size % eng->vol.block_size ||
	    (size + eng->vol.chunk_size - 1) / eng->vol.chunk_size > BUCKET_CHUNKS_MAX) {
		engine_request_done(eng, req, -EINVAL);
		return;
	}
	wop = wop_new(req);
	if (!wop) {
		engine_request_done(eng, req, -ENOMEM);
		return;
	}
	wop->new_size = size;
	wop->given_offset = req->offset;
	if (size < engine_size(eng))
		wop_lock(wop, size >> PAGE_SHIFT, UINT64_MAX, true, shrink_start);
	else
		wop_gate(wop, 2 * PAGE_SIZE_BYTES, resize_accept);
}
