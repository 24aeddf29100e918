/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * WRITE, COMPARE AND WRITE, and OR.
 *
 * Whole pages are taken by reference from the request: no byte is copied. Pages that the
 * request covers in part are merged with what is there while their range is held, and only whole pages are
 * journaled.
 *
 *   WRITE          gate -> range (held when there are edges) -> merge -> accept
 *   COMPARE_WRITE  gate -> range (held) -> read -> compare -> merge -> accept
 *   OR_WRITE       gate -> range (held) -> read -> OR into pages of its own -> accept
 *
 * A write of more than JOURNAL_APPEND_MAX pages is several journal records: a crash may keep a part of it,
 * whole blocks always.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "common/crc32c.h"

static uint64_t
first_page(const struct vol_req *req)
{
	return req->offset >> PAGE_SHIFT;
}

static void
put_pages(struct wop *wop, struct wappend *wa, uint64_t vpage, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct page *page = wop_page(wop, vpage + i);
		uint32_t crc = crc32c(0, page->data, PAGE_SIZE_BYTES);

		wa->entries[i] = (struct journal_entry){
			.type = JOURNAL_WRITE, .page = vpage + i, .count = 1, .data = page, .crc = crc};
		dirty_put(wop->eng, vpage + i, page, 0, crc);
	}
}

/** The appends are made first: when memory for one is missing nothing was accepted. */
static void
write_accept(struct wop *wop)
{
	struct engine *eng = wop->eng;
	const struct vol_req *req = wop->req;
	unsigned npages = req->npages, nappends = (npages + JOURNAL_APPEND_MAX - 1) / JOURNAL_APPEND_MAX;
	struct wappend *appends[VOLUME_MAX_IO / PAGE_SIZE_BYTES / JOURNAL_APPEND_MAX + 2];
	int r = wop_check(wop);

	assert(nappends <= ARRAY_SIZE(appends));
	if (r == 0)
		r = dirty_prepare(eng, first_page(req), npages);
	unsigned made = 0;
	for (; r == 0 && made < nappends; made++) {
		appends[made] = wappend_new(
			wop, min_of(npages - made * JOURNAL_APPEND_MAX, (unsigned)JOURNAL_APPEND_MAX));
		if (!appends[made]) {
			r = -ENOMEM;
			break;
		}
	}
	if (r < 0) {
		while (made > 0)
			wappend_drop(wop, appends[--made]);
		wop_fail(wop, r);
		return;
	}
	uint64_t vpage = first_page(req);
	for (unsigned a = 0; a < nappends; a++) {
		unsigned n = min_of(npages - a * JOURNAL_APPEND_MAX, (unsigned)JOURNAL_APPEND_MAX);

		put_pages(wop, appends[a], vpage, n);
		wop_append(wop, appends[a], n);
		vpage += n;
	}
	wop_accepted(wop);
}

static void
write_merge(struct wop *wop)
{
	wop_merge(wop, write_accept);
}

/* ---- COMPARE AND WRITE, OR: what is there counts ------------------------------------ */

static bool
compare(struct wop *wop)
{
	struct vol_req *req = wop->req;

	for (uint64_t at = req->offset; at < req->offset + req->length;) {
		uint64_t end = min_of((at & ~(uint64_t)(PAGE_SIZE_BYTES - 1)) + PAGE_SIZE_BYTES,
				      req->offset + req->length);
		unsigned i = (unsigned)((at >> PAGE_SHIFT) - first_page(req));
		const uint8_t *have = wop->compare[i]->data, *want = req->pages[i]->data;

		for (; at < end; at++) {
			unsigned b = (unsigned)(at & (PAGE_SIZE_BYTES - 1));

			if (have[b] != want[b]) {
				req->err_offset = at - req->offset;
				return false;
			}
		}
	}
	return true;
}

static void
old_read(struct reader *r)
{
	struct wop *wop = r->arg;
	struct vol_req *req = wop->req;

	if (r->status < 0) {
		req->err_offset = max_of(r->err_page << PAGE_SHIFT, req->offset);
		wop_fail(wop, r->status);
		return;
	}
	if (req->op == VOL_OR_WRITE) {
		wop_or(wop, write_accept);
		return;
	}
	if (!compare(wop)) {
		wop_fail(wop, LG_EMISCOMPARE);
		return;
	}
	for (unsigned i = 0; i < req->npages; i++) {
		struct page *page = wop->compare[i];

		wop->compare[i] = NULL;
		for (unsigned e = 0; e < wop->nedges; e++)
			if (page && wop->edge_page[e] == first_page(req) + i) {
				wop->old[e] = page;
				page = NULL;
			}
		if (page)
			page_unref(page);
	}
	wop_merge_old(wop, write_accept);
}

static void
old_start(struct wop *wop)
{
	struct vol_req *req = wop->req;

	wop->compare = calloc(req->npages, sizeof(struct page *));
	if (!wop->compare) {
		wop_fail(wop, -ENOMEM);
		return;
	}
	wop->reader = (struct reader){.eng = wop->eng,
				      .first = first_page(req),
				      .n = req->npages,
				      .flags = READER_RESERVED,
				      .unit = FETCH_PAGES,
				      .pages = wop->compare,
				      .done = old_read,
				      .arg = wop};
	reader_begin(&wop->reader);
}

/* ---- the front door ---------------------------------------------------------------- */

static void
write_gated(struct wop *wop)
{
	const struct vol_req *req = wop->req;
	uint64_t first = first_page(req), last = first + req->npages - 1;

	wop_find_edges(wop);
	if (req->op == VOL_COMPARE_WRITE || req->op == VOL_OR_WRITE)
		wop_lock(wop, first, last, true, old_start);
	else if (wop->nedges)
		wop_lock(wop, first, last, true, write_merge);
	else
		wop_lock(wop, first, last, false, write_accept);
}

void
write_submit(struct vol_req *req)
{
	struct wop *wop = wop_new(req);

	if (!wop) {
		engine_request_done(engine_of(req->vol), req, -ENOMEM);
		return;
	}
	/* COMPARE_WRITE: volume.h has npages count one of the two sets */
	req->npages = volume_pages(req->offset, req->length);
	wop_gate(wop, (uint64_t)(req->npages + 1) * PAGE_SIZE_BYTES, write_gated);
}
