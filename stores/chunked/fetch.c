/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges of bases on their way into memory: one fetch per range, and whoever
 * else wants a page of it waits for the same one.
 *
 * The data and, at the first touch of a base, its CRC table are fetched at the same time.  A base may store
 * fewer bytes than a chunk (the rest is zeroes), which only the table tells: a GET that asked for too many
 * comes back with -ENODATA and is asked again.  Every page is checked against the table; if one does not
 * match, the range is fetched once more, then the page is marked bad: it goes to nobody as data.
 *
 * A page is summed as it comes (fetch_arrived), where the processor's cache has it: at the end of a chunk
 * the first ones are not there any more.  What a store did not tell about is summed at the end.
 *
 * A fetch of a whole chunk whose table is not here asks for the whole object, table and all: one GET.  If that fails or its
 * table is not what it should be, the fetch starts over the usual way.
 *
 * States: [whole object asked ->] asked (data and table pending) -> both here -> [asked again] -> done.
 *
 * A commit, or a clone, may give the chunk another base meanwhile: what comes in is right for the old one, so each waiter
 * compares `entry` with what it wants, and nothing stale goes into the cache.
 *
 * Failure: -ENOENT and errors of the store are handed to the waiters.
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"

struct fetch *
fetch_find(struct engine *eng, uint64_t chunk, struct bucket_entry entry, unsigned page)
{
	for (struct fetch *f = eng->fetches; f; f = f->next)
		if (f->chunk == chunk && page >= f->first && page < f->first + f->n &&
		    entry_same(f->entry, entry))
			return f;
	return NULL;
}

void
fetch_join(struct fetch *fetch, struct fetch_wait *wait)
{
	wait->next = fetch->waiters;
	fetch->waiters = wait;
}

static void
fetch_free(struct fetch *f)
{
	pages_unref(f->pages, f->n);
	free(f->pages);
	free(f->bad);
	free(f->crcs);
	free(f->sums);
	free(f->iov);
	free(f->tail);
	free(f);
}

/** Into the cache: what still lies below, and nothing newer hides. */
static void
fetch_keep(struct fetch *f)
{
	struct engine *eng = f->eng;
	struct bucket_entry now;
	struct dslot *slot;

	if ((f->flags & FETCH_NO_CACHE) || dirty_below(eng, f->chunk, &now) < 0 || !entry_same(now, f->entry))
		return;
	uint64_t first = (f->chunk << eng->page_shift) + f->first;
	for (unsigned i = 0; i < f->n; i++)
		if (!f->bad[i] && below_slots(dirty_lookup(eng, first + i, &slot)))
			cache_put(&eng->cache, first + i, f->pages[i]);
}

static void
fetch_finish(struct fetch *f, int status)
{
	struct engine *eng = f->eng;

	f->status = status;
	if (f->prev)
		f->prev->next = f->next;
	else
		eng->fetches = f->next;
	if (f->next)
		f->next->prev = f->prev;
	if (status == 0)
		fetch_keep(f);
	while (f->waiters) {
		struct fetch_wait *wait = f->waiters;

		f->waiters = wait->next;
		wait->fn(wait, f);
	}
	unsigned n = f->n;
	bool ahead = f->flags & FETCH_AHEAD;
	fetch_free(f);
	engine_balance(eng, n);
	if (ahead)
		stream_fetched(eng);
	engine_release(eng);
}

static void
fetch_arrived(struct object_req *req, uint64_t from, const void *data, size_t n)
{
	struct fetch *f = container_of(req, struct fetch, req);
	const uint8_t *p = data;
	uint64_t end = min_of(from + n, (uint64_t)f->n * PAGE_SIZE_BYTES);

	for (uint64_t at = from; at < end;) {
		unsigned i = (unsigned)(at / PAGE_SIZE_BYTES), done = (unsigned)(at % PAGE_SIZE_BYTES);
		size_t k = min_of(end - at, (uint64_t)(PAGE_SIZE_BYTES - done));

		f->sums[i] = crc32c(done ? f->sums[i] : 0, p, k);
		at += k;
		p += k;
		f->summed = (unsigned)(at / PAGE_SIZE_BYTES);
	}
}

static void fetch_data_done(struct object_req *req);

static void
fetch_ask(struct fetch *f, unsigned n)
{
	f->asked = n;
	f->summed = 0;
	f->pending++;
	f->req = (struct object_req){.store = f->eng->store,
				     .op = OBJECT_GET,
				     .key = f->key,
				     .iov = f->iov,
				     .niov = (int)n,
				     .offset = (uint64_t)f->first * PAGE_SIZE_BYTES,
				     .length = (uint64_t)n * PAGE_SIZE_BYTES,
				     .done = fetch_data_done,
				     .arrived = fetch_arrived};
	engine_object(f->eng, &f->req, TRAFFIC_BASE);
}

/** Pages of the range that the base stores. */
static unsigned
fetch_stored(const struct fetch *f)
{
	unsigned end = f->length / PAGE_SIZE_BYTES;

	return end <= f->first ? 0 : min_of(end - f->first, f->n);
}

static unsigned
fetch_verify(struct fetch *f)
{
	unsigned stored = fetch_stored(f), wrong = 0;

	for (unsigned i = 0; i < stored; i++) {
		uint32_t sum = i < f->summed ? f->sums[i] : crc32c(0, f->pages[i]->data, PAGE_SIZE_BYTES);

		f->bad[i] = sum != f->crcs[i];
		wrong += f->bad[i];
	}
	for (unsigned i = stored; i < f->n; i++) {
		struct page *zero = page_ref(arena_zero_page(f->eng->vol.arena));

		page_unref(f->pages[i]);
		f->pages[i] = zero;
		f->bad[i] = 0;
	}
	return wrong;
}

/** Both answers are here. */
static void
fetch_look(struct fetch *f)
{
	unsigned stored = f->tab_status == 0 ? fetch_stored(f) : 0;
	int r = f->tab_status;

	if (r == 0 && stored && f->data_status == -ENODATA) {
		if (f->asked > stored) {
			fetch_ask(f, stored);
			return;
		}
		r = LG_ECORRUPT; /* shorter than its own footer says */
	}
	if (r == 0 && stored)
		r = f->data_status;
	if (r < 0) {
		bool again = engine_worth_repeating(r) && f->tab_status == 0 && f->attempts++ == 0;

		counter_add(&f->eng->get_errors, 1);
		if (again && !engine_stopped(f->eng))
			fetch_ask(f, stored);
		else
			fetch_finish(f, r);
		return;
	}
	unsigned wrong = fetch_verify(f);
	if (wrong && f->attempts++ == 0 && !engine_stopped(f->eng)) {
		fetch_ask(f, stored);
		return;
	}
	counter_add(&f->eng->crc_errors, wrong);
	fetch_finish(f, 0);
}

static void
fetch_data_done(struct object_req *req)
{
	struct fetch *f = container_of(req, struct fetch, req);

	engine_object_done(f->eng, req, TRAFFIC_BASE);
	f->data_status = req->status;
	if (--f->pending == 0)
		fetch_look(f);
}

static void
fetch_look_later(struct loop_msg *msg)
{
	struct fetch *f = container_of(msg, struct fetch, msg);

	if (--f->pending == 0)
		fetch_look(f);
}

static void
fetch_tab_done(struct crctab_wait *wait, const struct crctab *tab, int status)
{
	struct fetch *f = container_of(wait, struct fetch, tab_wait);

	f->tab_status = status;
	if (tab) {
		f->length = tab->length;
		memcpy(f->crcs, tab->crcs + f->first, f->n * sizeof(*f->crcs));
	}
	if (--f->pending == 0)
		fetch_look(f);
}

/* ---- the whole object ---- */

static void
fetch_parts(struct fetch *f)
{
	f->tab_wait.fn = fetch_tab_done;
	f->pending++; /* the table's */
	crctab_load(f->eng, f->chunk, f->entry, &f->tab_wait);
	unsigned ask = f->length ? fetch_stored(f) : f->n;
	if (ask && f->tab_status == 0)
		fetch_ask(f, ask);
}

/** The tail of an object of so many bytes: it stands behind the pages that are stored, in the places of others perhaps. */
static int
whole_decode(struct fetch *f, uint64_t bytes)
{
	size_t n = bucket_base_tail_bytes(f->eng->vol.chunk_size);
	uint64_t data = bytes - n;
	struct bucket_base base;
	uint8_t *tail = f->tail;

	if (bytes < n || data % PAGE_SIZE_BYTES || data > f->eng->vol.chunk_size)
		return LG_ECORRUPT;
	if (data < f->eng->vol.chunk_size) {
		size_t at = 0;

		tail = malloc(n);
		if (!tail)
			return -ENOMEM;
		for (unsigned i = (unsigned)(data / PAGE_SIZE_BYTES); at < n; i++) {
			size_t k = min_of(f->iov[i].iov_len, n - at);

			memcpy(tail + at, f->iov[i].iov_base, k);
			at += k;
		}
	}
	int r = crctab_decode(f->eng, f->chunk, f->entry, tail, &base, f->crcs);
	if (tail != f->tail)
		free(tail);
	if (r == 0 && base.length != data)
		r = LG_ECORRUPT;
	if (r < 0)
		return r;
	f->length = base.length;
	crctab_add(f->eng, f->chunk, f->entry, base.length, base.data_crc, f->crcs);
	return 0;
}

static void
whole_done(struct object_req *req)
{
	struct fetch *f = container_of(req, struct fetch, req);

	engine_object_done(f->eng, req, TRAFFIC_BASE);
	if (req->status == -ENOENT) {
		f->tab_status = req->status;
	} else if (req->status < 0 || whole_decode(f, req->size) < 0) {
		counter_add(&f->eng->get_errors, 1);
		if (engine_stopped(f->eng))
			f->tab_status = req->status < 0 ? req->status : LG_ECORRUPT;
		else
			fetch_parts(f);
	}
	if (--f->pending == 0)
		fetch_look(f);
}

static bool
fetch_whole(struct fetch *f)
{
	struct engine *eng = f->eng;
	size_t tail = bucket_base_tail_bytes(eng->vol.chunk_size);

	if (f->n != eng->chunk_pages || crctab_get(eng, f->chunk, f->entry))
		return false;
	f->tail = malloc(tail);
	if (!f->tail)
		return false;
	f->iov[f->n] = (struct iovec){f->tail, tail};
	f->pending++;
	f->req = (struct object_req){.store = eng->store,
				     .op = OBJECT_GET,
				     .key = f->key,
				     .iov = f->iov,
				     .niov = (int)f->n + 1,
				     .done = whole_done,
				     .arrived = fetch_arrived};
	engine_object(eng, &f->req, TRAFFIC_BASE);
	return true;
}

static struct fetch *
fetch_new(struct engine *eng, unsigned n)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->eng = eng;
	f->pages = calloc(n, sizeof(struct page *));
	f->bad = calloc(n, 1);
	f->crcs = calloc(n, sizeof(*f->crcs));
	f->sums = calloc(n, sizeof(*f->sums));
	f->iov = calloc(n + 1, sizeof(*f->iov));
	if (f->pages && f->bad && f->crcs && f->sums && f->iov)
		return f;
	free(f->pages);
	free(f->bad);
	free(f->crcs);
	free(f->sums);
	free(f->iov);
	free(f);
	return NULL;
}

int
fetch_start(struct engine *eng, uint64_t chunk, struct bucket_entry entry, unsigned first, unsigned n,
	    struct page **pages, unsigned flags, struct fetch **ret)
{
	struct fetch *f = fetch_new(eng, n);

	if (!f)
		return -ENOMEM;
	int r = bucket_key_entry(eng->prefix, chunk, entry, f->key, sizeof(f->key));
	assert(r > 0);
	f->chunk = chunk;
	f->entry = entry;
	f->first = first;
	f->n = n;
	f->flags = flags;
	for (unsigned i = 0; i < n; i++) {
		f->pages[i] = pages[i];
		f->iov[i] = (struct iovec){pages[i]->data, PAGE_SIZE_BYTES};
	}
	f->next = eng->fetches;
	if (f->next)
		f->next->prev = f;
	eng->fetches = f;
	engine_hold(eng);

	/* the count of this function's own keeps fetch_look() out until the caller has joined */
	f->pending = 1;
	f->msg.fn = fetch_look_later;
	if (!fetch_whole(f))
		fetch_parts(f);
	loop_post(eng->vol.loop, &f->msg);
	*ret = f;
	return 0;
}
