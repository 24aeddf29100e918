/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The volume in memory: a table of pages, absent ones read as zeroes.
 *
 * Its pages come from an arena of its own, so that it takes nothing from the daemon's.  Reads hand out
 * references; a write copies into the page when nobody else holds it, else into a fresh page that replaces
 * it.  Readers that hold replaced pages use up the slack of the arena; when it is gone, requests wait
 * (`waiting`) until pages come back.
 *
 * A request: submit -> (reserve: the fresh pages it will need; short -> waiting -> submit again) -> done.
 * Everything that may fail comes before the first change, so writes and compare-and-writes are atomic.  Long
 * clears go on in slices by messages.
 *
 * Invariants: counts[c] = pages present in chunk c; allocated = the sum of them.
 * Thread: its loop.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/log.h"
#include "common/util.h"
#include "stores/raw/raw.h"

#define SLACK_MIN_PAGES (64u << 20 >> PAGE_SHIFT)
#define CLEAR_SLICE 16384u /* pages */
#define CLOSE_RETRY_MS 10u
#define FRESH_MAX (VOLUME_MAX_IO / PAGE_SIZE_BYTES + 2)

/* the newest arena serves; older ones, from before a resize, only take their pages back */
struct ram_arena {
	struct ram_arena *older;
	struct arena *arena;
};

struct ram {
	struct volume vol;
	struct ram_arena *arenas;
	struct page **table;
	uint32_t *counts; /* by chunk */
	uint64_t npages;
	struct vol_req *waiting, **waiting_tail; /* for pages */
	struct arena_waiter waiter;
	struct page *fresh[FRESH_MAX]; /* reserved for the request at hand */
	unsigned nfresh;
	/* closing */
	struct loop_timer retry;
	unsigned tries;
	void (*closed)(void *arg, int status);
	void *closed_arg;
};

static struct ram *
ram_of(struct volume *vol)
{
	return container_of(vol, struct ram, vol);
}

static uint64_t
page_chunk(const struct ram *r, uint64_t i)
{
	return (i << PAGE_SHIFT) / r->vol.chunk_size;
}

static void
set_page(struct ram *r, uint64_t i, struct page *page)
{
	struct page *old = r->table[i];
	int64_t delta = !!page - !!old;

	r->table[i] = page;
	r->counts[page_chunk(r, i)] += (uint32_t)delta;
	atomic_store(&r->vol.allocated, atomic_load(&r->vol.allocated) + (uint64_t)(delta * PAGE_SIZE_BYTES));
	if (old)
		page_unref(old);
}

/* ---- pages that a change needs ---- */

static bool
writable(struct ram *r, uint64_t i)
{
	return r->table[i] && page_exclusive(r->table[i]);
}

/* True with n fresh pages at hand; else the request waits and is submitted again. */
static bool
reserve(struct ram *r, struct vol_req *req, unsigned n)
{
	assert(!r->nfresh);
	if (!n)
		return true;
	if (!arena_alloc(r->arenas->arena, r->fresh, n)) {
		r->nfresh = n;
		return true;
	}
	req->next = NULL;
	*r->waiting_tail = req;
	r->waiting_tail = &req->next;
	if (!r->waiter.queued) {
		r->waiter.n = n;
		arena_wait(r->arenas->arena, &r->waiter);
	}
	return false;
}

/* A page that a reader dropped meanwhile was written in place after all. */
static void
reserve_release(struct ram *r)
{
	pages_unref(r->fresh, r->nfresh);
	r->nfresh = 0;
}

/* Page i, ours alone, its bytes as they were. */
static uint8_t *
own_page(struct ram *r, uint64_t i)
{
	struct page *page;

	if (writable(r, i))
		return r->table[i]->data;
	assert(r->nfresh);
	page = r->fresh[--r->nfresh];
	if (r->table[i])
		memcpy(page->data, r->table[i]->data, PAGE_SIZE_BYTES);
	else
		memset(page->data, 0, PAGE_SIZE_BYTES);
	set_page(r, i, page);
	return page->data;
}

/* The same, when all of it is about to be written. */
static uint8_t *
replace_page(struct ram *r, uint64_t i)
{
	struct page *page;

	if (writable(r, i))
		return r->table[i]->data;
	assert(r->nfresh);
	page = r->fresh[--r->nfresh];
	set_page(r, i, page);
	return page->data;
}

static void ram_submit(struct vol_req *req);

static void
on_pages(struct loop_msg *msg)
{
	struct ram *r = container_of(msg, struct ram, waiter.msg);
	struct vol_req *req = r->waiting, *next;

	r->waiting = NULL;
	r->waiting_tail = &r->waiting;
	for (; req; req = next) {
		next = req->next;
		/* the volume may have shrunk meanwhile */
		if (req->op != VOL_RESIZE && req->offset + req->length > atomic_load(&r->vol.size))
			volume_done(req, LG_ERANGE);
		else
			ram_submit(req);
	}
}

/* ---- reads and writes ---- */

static const uint8_t *
bytes_of(struct ram *r, uint64_t i)
{
	return (r->table[i] ? r->table[i] : arena_zero_page(r->vol.arena))->data;
}

static void
ram_read(struct ram *r, struct vol_req *req)
{
	uint64_t first = req->offset >> PAGE_SHIFT;

	for (unsigned i = 0; i < req->npages; i++)
		req->pages[i] =
			page_ref(r->table[first + i] ? r->table[first + i] : arena_zero_page(r->vol.arena));
	volume_done(req, 0);
}

static unsigned
fresh_needed(struct ram *r, uint64_t first, unsigned n)
{
	unsigned need = 0;

	for (unsigned i = 0; i < n; i++)
		need += !writable(r, first + i);
	return need;
}

/* With the pages reserved. */
static void
copy_in(struct ram *r, struct page **pages, uint64_t offset, uint64_t length)
{
	while (length) {
		uint64_t in = offset & (PAGE_SIZE_BYTES - 1), k = min_of(length, PAGE_SIZE_BYTES - in);
		uint64_t i = offset >> PAGE_SHIFT;
		uint8_t *to = k == PAGE_SIZE_BYTES ? replace_page(r, i) : own_page(r, i);

		memcpy(to + in, (*pages++)->data + in, k);
		offset += k;
		length -= k;
	}
}

static void
ram_write(struct ram *r, struct vol_req *req)
{
	if (!reserve(r, req, fresh_needed(r, req->offset >> PAGE_SHIFT, req->npages)))
		return;
	copy_in(r, req->pages, req->offset, req->length);
	reserve_release(r);
	volume_done(req, 0);
}

/* Where the volume differs from the pages, relative to offset; length when it does not. */
static uint64_t
first_difference(struct ram *r, struct page **pages, uint64_t offset, uint64_t length)
{
	uint64_t at = 0;

	while (at < length) {
		uint64_t in = (offset + at) & (PAGE_SIZE_BYTES - 1),
			 k = min_of(length - at, PAGE_SIZE_BYTES - in);
		size_t n = bytes_differ_at(bytes_of(r, (offset + at) >> PAGE_SHIFT) + in,
					   (*pages++)->data + in, k);

		at += n;
		if (n < k)
			break;
	}
	return at;
}

/* With the pages reserved. */
static void
or_in(struct ram *r, struct page **pages, uint64_t offset, uint64_t length)
{
	while (length) {
		uint64_t in = offset & (PAGE_SIZE_BYTES - 1), k = min_of(length, PAGE_SIZE_BYTES - in);

		bytes_or(own_page(r, offset >> PAGE_SHIFT) + in, (*pages++)->data + in, k);
		offset += k;
		length -= k;
	}
}

/* COMPARE_WRITE, OR_WRITE: one step of the loop, so nothing comes in between. */
static void
ram_read_write(struct ram *r, struct vol_req *req)
{
	bool compares = req->op == VOL_COMPARE_WRITE;
	uint64_t at = compares ? first_difference(r, req->pages, req->offset, req->length) : req->length;

	if (at < req->length) {
		req->err_offset = at;
		volume_done(req, LG_EMISCOMPARE);
		return;
	}
	if (!reserve(r, req, fresh_needed(r, req->offset >> PAGE_SHIFT, req->npages)))
		return;
	if (compares)
		copy_in(r, req->pages + req->npages, req->offset, req->length);
	else
		or_in(r, req->pages, req->offset, req->length);
	reserve_release(r);
	volume_done(req, 0);
}

/* ---- clearing ---- */

static void
zero_part(struct ram *r, uint64_t offset, uint64_t length)
{
	if (length && r->table[offset >> PAGE_SHIFT])
		memset(own_page(r, offset >> PAGE_SHIFT) + (offset & (PAGE_SIZE_BYTES - 1)), 0, length);
}

/* Parts of pages, at the ends, are zeroed; whole pages [*ret_first, *ret_end) are for the caller to drop.
 * False: the request waits. */
static bool
clear_ends(struct ram *r, struct vol_req *req, uint64_t offset, uint64_t end, uint64_t *ret_first,
	   uint64_t *ret_end)
{
	uint64_t first = align_up(offset, PAGE_SIZE_BYTES), last = align_down(end, PAGE_SIZE_BYTES);
	bool head = offset % PAGE_SIZE_BYTES != 0;
	bool tail = end % PAGE_SIZE_BYTES != 0 && last >= first;
	unsigned need = 0;

	if (head)
		need += r->table[offset >> PAGE_SHIFT] && !writable(r, offset >> PAGE_SHIFT);
	if (tail)
		need += r->table[last >> PAGE_SHIFT] && !writable(r, last >> PAGE_SHIFT);
	if (!reserve(r, req, need))
		return false;
	if (head)
		zero_part(r, offset, min_of(first, end) - offset);
	if (tail)
		zero_part(r, last, end - last);
	reserve_release(r);
	*ret_first = first >> PAGE_SHIFT;
	*ret_end = max_of(last >> PAGE_SHIFT, first >> PAGE_SHIFT);
	return true;
}

/* engine_word: the pages still to be dropped */
static void
clear_slice(struct loop_msg *msg)
{
	struct vol_req *req = container_of(msg, struct vol_req, msg);
	struct ram *r = ram_of(req->vol);
	uint64_t i = req->engine_word[0];
	uint64_t end = min_of(min_of(req->engine_word[1], i + CLEAR_SLICE), r->npages);

	for (; i < end; i++)
		if (r->table[i])
			set_page(r, i, NULL);
	req->engine_word[0] = i;
	if (i >= min_of(req->engine_word[1], r->npages)) {
		volume_done(req, 0);
		return;
	}
	req->msg.fn = clear_slice;
	loop_post(r->vol.loop, &req->msg);
}

static void
ram_clear(struct ram *r, struct vol_req *req)
{
	if (clear_ends(r, req, req->offset, req->offset + req->length, &req->engine_word[0],
		       &req->engine_word[1]))
		clear_slice(&req->msg);
}

/* ---- the rest ---- */

static void
ram_flush(struct ram *r, struct vol_req *req)
{
	(void)r;
	volume_done(req, 0);
}

static void
ram_map(struct ram *r, struct vol_req *req)
{
	uint64_t chunks = (atomic_load(&r->vol.size) + r->vol.chunk_size - 1) / r->vol.chunk_size;
	uint64_t end = req->end_chunk ? min_of(req->end_chunk, chunks) : chunks, c;

	req->ret_infos = 0;
	for (c = req->first_chunk; c < end && req->ret_infos < req->max_infos; c++)
		if (r->counts[c])
			req->infos[req->ret_infos++] = (struct chunk_info){
				.index = c,
				.state = CHUNK_CLEAN,
				.allocated_bytes = (uint64_t)r->counts[c] * PAGE_SIZE_BYTES,
			};
	req->ret_next_chunk = c < end ? c : UINT64_MAX;
	volume_done(req, 0);
}

static int
arena_add(struct ram *r, uint64_t npages)
{
	/* the arena keeps a 16th of itself back from ordinary callers, which we are */
	uint64_t usable = npages + npages / 16 + SLACK_MIN_PAGES;
	struct ram_arena *ra = calloc(1, sizeof(*ra));
	int rc;

	if (!ra)
		return -ENOMEM;
	rc = arena_new((usable + usable / 15 + 16) << PAGE_SHIFT, &ra->arena);
	if (rc) {
		free(ra);
		return rc;
	}
	ra->older = r->arenas;
	r->arenas = ra;
	return 0;
}

static uint64_t
chunks_of(const struct ram *r, uint64_t npages)
{
	return ((npages << PAGE_SHIFT) + r->vol.chunk_size - 1) / r->vol.chunk_size;
}

static uint64_t
machine_pages(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);

	return pages > 0 && bytes > 0 ? ((uint64_t)pages * (uint64_t)bytes) >> PAGE_SHIFT : UINT64_MAX;
}

static int
grow(struct ram *r, uint64_t npages)
{
	uint64_t had = chunks_of(r, r->npages), chunks = chunks_of(r, npages);
	struct page **table;
	uint32_t *counts;
	int rc;

	/* its tables alone, which are in use at once, could end the daemon */
	if (npages > machine_pages())
		return -ENOMEM;
	table = calloc(npages, sizeof(*table));
	counts = calloc(chunks, sizeof(*counts));
	rc = table && counts ? arena_add(r, npages) : -ENOMEM;

	if (rc) {
		free(table);
		free(counts);
		return rc;
	}
	if (r->npages) {
		memcpy(table, r->table, r->npages * sizeof(*table));
		memcpy(counts, r->counts, had * sizeof(*counts));
	}
	free(r->table);
	free(r->counts);
	r->table = table;
	r->counts = counts;
	r->npages = npages;
	return 0;
}

static void
ram_resize(struct ram *r, struct vol_req *req)
{
	uint64_t size = atomic_load(&r->vol.size), first, end;
	uint64_t npages = align_up(req->length, PAGE_SIZE_BYTES) >> PAGE_SHIFT;
	int rc = npages > r->npages ? grow(r, npages) : 0;

	if (rc) {
		volume_done(req, rc);
		return;
	}
	if (req->length < size) {
		if (!clear_ends(r, req, req->length, r->npages << PAGE_SHIFT, &first, &end))
			return;
		for (uint64_t i = first; i < end; i++)
			if (r->table[i])
				set_page(r, i, NULL);
	}
	atomic_store(&r->vol.size, req->length);
	volume_done(req, 0);
}

static void (*const calls[VOL_OP_COUNT])(struct ram *r, struct vol_req *req) = {
	[VOL_READ] = ram_read,           [VOL_WRITE] = ram_write, [VOL_FLUSH] = ram_flush,
	[VOL_UNMAP] = ram_clear,         [VOL_ZERO] = ram_clear,  [VOL_COMPARE_WRITE] = ram_read_write,
	[VOL_OR_WRITE] = ram_read_write, [VOL_MAP] = ram_map,     [VOL_RESIZE] = ram_resize,
};

static void
ram_submit(struct vol_req *req)
{
	struct ram *r = ram_of(req->vol);

	calls[req->op](r, req);
	assert(!r->nfresh);
}

static void
ram_describe_stats(struct volume *vol, json_t *object)
{
	json_int_t bytes = 0;

	for (struct ram_arena *ra = ram_of(vol)->arenas; ra; ra = ra->older)
		bytes += (json_int_t)((arena_total_pages(ra->arena) - arena_free_pages(ra->arena)) *
				      PAGE_SIZE_BYTES);
	(void)json_object_set_new(object, "memory_bytes", json_integer(bytes));
}

/* ---- life ---- */

static bool
all_pages_back(const struct ram *r)
{
	for (const struct ram_arena *ra = r->arenas; ra; ra = ra->older)
		if (arena_free_pages(ra->arena) != arena_total_pages(ra->arena))
			return false;
	return true;
}

/* Answers that are still on their way to a peer hold pages of ours. */
static void
try_close(struct loop_timer *timer)
{
	struct ram *r = container_of(timer, struct ram, retry);

	if (all_pages_back(r)) {
		r->closed(r->closed_arg, 0);
		return;
	}
	if (++r->tries == 1000)
		log_warn("volume %s: still waiting for pages that readers hold", r->vol.name);
	loop_timer_start(&r->retry, CLOSE_RETRY_MS);
}

static void
ram_close(struct volume *vol, void (*done)(void *arg, int status), void *arg)
{
	struct ram *r = ram_of(vol);

	for (uint64_t i = 0; i < r->npages; i++)
		if (r->table[i])
			set_page(r, i, NULL);
	r->closed = done;
	r->closed_arg = arg;
	try_close(&r->retry);
}

static void
ram_destroy(struct volume *vol)
{
	struct ram *r = ram_of(vol);
	struct ram_arena *ra;

	while ((ra = r->arenas)) {
		r->arenas = ra->older;
		arena_free(ra->arena);
		free(ra);
	}
	free(r->table);
	free(r->counts);
	free(r);
}

static const struct vol_ops ram_ops = {
	.kind = "ram",
	.submit = ram_submit,
	.describe_stats = ram_describe_stats,
	.close = ram_close,
	.destroy = ram_destroy,
};

int
ram_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info)
{
	(void)loop;
	(void)arena;
	if (!spec->size)
		return err_set(info, LG_ECONFIG, "volume %s: a ram volume needs a size", spec->name);
	return plain_spec_check(spec, info);
}

int
ram_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
	 struct errinfo *info)
{
	struct ram *r;
	char text[16];
	int rc;

	if (!spec->size)
		return err_set(info, LG_ECONFIG, "volume %s: a ram volume needs a size", spec->name);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(info, -ENOMEM, "volume %s: no memory", spec->name);
	rc = plain_volume_init(&r->vol, &ram_ops, spec, spec->size, loop, arena, info);
	if (!rc) {
		rc = grow(r, align_up(spec->size, PAGE_SIZE_BYTES) >> PAGE_SHIFT);
		if (rc)
			err_set(info, rc, "volume %s: this machine has no memory for %s", spec->name,
				size_format(spec->size, text, sizeof(text)));
	}
	if (rc) {
		ram_destroy(&r->vol);
		return rc;
	}
	r->vol.thin = true;
	r->vol.atomic_max_bytes = 1u << 20; /* a write is one step of its loop */
	r->waiting_tail = &r->waiting;
	r->waiter = (struct arena_waiter){.msg.fn = on_pages, .loop = loop};
	loop_timer_init(&r->retry, loop, try_close);
	*ret = &r->vol;
	return 0;
}
