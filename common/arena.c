/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page arena: one mapping, an array of page headers, free pages in a
 * depot (mutex) and in magazines, one a loop.
 *
 * A free page is in exactly one of: the depot's stack, a magazine.  Magazines
 * are refilled from and flushed to the depot half a magazine at a time.  A magazine has
 * a flag that its loop takes for a few instructions; nobody else does,
 * except when the depot runs short: then its pages are taken away, so that no
 * page is out of reach in the magazine of a loop that sleeps.
 *
 * Invariants:
 *   - ordinary allocations leave `reserve` pages in the depot;
 *   - while `hungry` (somebody waits, or the depot is below its reserve) pages that come
 *     back go to the depot, never to a magazine;
 *   - a waiter is queued only after all magazines were emptied under the
 *     depot's lock with hungry set, so no page that could serve it is overlooked.
 *
 * Lock order: depot, then a magazine's flag.  Messages are posted under the
 * depot's lock (posting never blocks); reclaimers are called with neither.
 *
 * Order in memory: the depot starts with low addresses on top, and pages_unref() pushes last pages first,
 * so that what was adjacent comes out adjacent and ascending.
 *
 * Never used: the lowest pages of the stack, as many as it held when it was lowest; they have the highest addresses.
 * The warmer's thread follows that mark.
 *
 * Failure: -ENOMEM means short; after it reclaimers were told.
 */
#include "common/arena.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/util.h"

#define MAGAZINE_MAX 256u
#define MAGAZINE_SHARE 64u /* at most 1/64 of the arena in one magazine */
#define ARENA_MIN_PAGES 256u
#define RESERVE_SHARE 16u
#define RECLAIMERS_MAX 64u
#define UNREF_BATCH 64u
#define WARM_STEP 512u /* pages: one of 2 MiB, where there are such */
#define WARM_AHEAD ((64u << 20) / PAGE_SIZE_BYTES)

struct magazine {
	_Alignas(64) atomic_flag busy;
	_Atomic unsigned n; /* written under busy */
	struct page *items[MAGAZINE_MAX];
};

struct arena {
	/* constant */
	uint8_t *data;
	struct page *pages; /* total, and the page of zeroes behind them */
	size_t total;
	size_t reserve;
	unsigned magazine_size;
	/* ---- */
	_Alignas(64) _Atomic bool hungry;                /* written under lock */
	_Atomic(struct magazine *) magazines[LOOPS_MAX]; /* made by their loops */
	pthread_mutex_t lock;
	struct page **stack;   /* the depot */
	_Atomic size_t nstack; /* written under lock */
	size_t lowest;         /* that it ever was */
	struct arena_waiter *first_waiter, *last_waiter;
	/* ---- the warmer; under lock */
	pthread_t warmer;
	pthread_cond_t warmer_cond;
	bool warmer_runs, warmer_stop, warmer_waits;
	size_t warm_first, warm; /* pages from the lowest address on */
	/* ---- */
	pthread_mutex_t reclaim_lock; /* held while reclaimers run */
	struct arena_reclaimer *reclaimers[RECLAIMERS_MAX];
	_Atomic unsigned nreclaimers;
	_Atomic unsigned wanted;
};

static _Thread_local bool reclaiming;

/* ---- magazines --------------------------------------------------------- */

static void
magazine_take(struct magazine *mag)
{
	while (atomic_flag_test_and_set_explicit(&mag->busy, memory_order_acquire))
		sched_yield(); /* only while the arena is short */
}

static void
magazine_release(struct magazine *mag)
{
	atomic_flag_clear_explicit(&mag->busy, memory_order_release);
}

static unsigned
magazine_count(const struct magazine *mag)
{
	return atomic_load_explicit(&mag->n, memory_order_relaxed);
}

static void
magazine_set_count(struct magazine *mag, unsigned n)
{
	atomic_store_explicit(&mag->n, n, memory_order_relaxed);
}

/* The caller's magazine; NULL for threads that are no loops, or when there is no memory for one. */
static struct magazine *
magazine_own(struct arena *arena)
{
	struct loop *loop = loop_current();
	struct magazine *mag;
	unsigned index;

	if (!loop)
		return NULL;
	index = loop_index(loop);
	mag = atomic_load_explicit(&arena->magazines[index], memory_order_relaxed);
	if (mag)
		return mag;
	mag = aligned_alloc(64, align_up(sizeof(*mag), 64));
	if (!mag)
		return NULL;
	memset(mag, 0, sizeof(*mag));
	atomic_flag_clear(&mag->busy);
	atomic_store_explicit(&arena->magazines[index], mag, memory_order_release);
	return mag;
}

/* ---- depot (under its lock) -------------------------------------------- */

static size_t
depot_count(const struct arena *arena)
{
	return atomic_load_explicit(&arena->nstack, memory_order_relaxed);
}

/* How many pages should be warm now. */
static size_t
warm_goal(const struct arena *arena)
{
	size_t ahead = min_of(arena->total / 8, (size_t)WARM_AHEAD);

	return min_of(max_of(arena->warm_first, arena->total - arena->lowest + ahead), arena->total);
}

static void
depot_set_count(struct arena *arena, size_t n)
{
	if (n < arena->lowest) {
		arena->lowest = n;
		/* not for each page */
		if (arena->warmer_waits &&
		    warm_goal(arena) >= min_of(arena->warm + WARM_STEP, arena->total)) {
			arena->warmer_waits = false;
			pthread_cond_signal(&arena->warmer_cond);
		}
	}
	atomic_store_explicit(&arena->nstack, n, memory_order_relaxed);
	atomic_store_explicit(&arena->hungry, arena->first_waiter || n < arena->reserve,
			      memory_order_relaxed);
}

static void
depot_push(struct arena *arena, struct page **pages, unsigned n)
{
	size_t count = depot_count(arena);

	memcpy(arena->stack + count, pages, n * sizeof(*pages));
	depot_set_count(arena, count + n);
}

/* Topmost first. */
static void
depot_pop(struct arena *arena, struct page **pages, unsigned n)
{
	size_t count = depot_count(arena);

	for (unsigned i = 0; i < n; i++)
		pages[i] = arena->stack[--count];
	depot_set_count(arena, count);
}

static size_t
depot_available(const struct arena *arena, size_t keep)
{
	size_t count = depot_count(arena);

	return count > keep ? count - keep : 0;
}

/* Take every magazine's pages away. */
static void
depot_gather(struct arena *arena)
{
	for (unsigned i = 0; i < LOOPS_MAX; i++) {
		struct magazine *mag = atomic_load_explicit(&arena->magazines[i], memory_order_acquire);

		if (!mag)
			continue;
		magazine_take(mag);
		depot_push(arena, mag->items, magazine_count(mag));
		magazine_set_count(mag, 0);
		magazine_release(mag);
	}
}

static void
waiter_unlink(struct arena *arena, struct arena_waiter *waiter)
{
	*(waiter->prev ? &waiter->prev->next : &arena->first_waiter) = waiter->next;
	*(waiter->next ? &waiter->next->prev : &arena->last_waiter) = waiter->prev;
	waiter->prev = waiter->next = NULL;
	waiter->queued = false;
}

/* First come, first served: a large request is not passed by small ones behind it. */
static void
depot_wake(struct arena *arena)
{
	size_t available = depot_available(arena, arena->reserve);
	struct arena_waiter *waiter;

	while ((waiter = arena->first_waiter) && waiter->n <= available) {
		available -= waiter->n;
		waiter_unlink(arena, waiter);
		loop_post(waiter->loop, &waiter->msg);
	}
	depot_set_count(arena, depot_count(arena));
}

/* ---- reclaim ----------------------------------------------------------- */

/* One thread at a time calls the reclaimers; others leave their wish with it. */
static void
reclaim(struct arena *arena, unsigned n)
{
	unsigned wanted;

	if (reclaiming || !atomic_load_explicit(&arena->nreclaimers, memory_order_relaxed))
		return;
	atomic_fetch_add(&arena->wanted, n);
	while (atomic_load(&arena->wanted)) {
		if (pthread_mutex_trylock(&arena->reclaim_lock))
			return;
		reclaiming = true;
		wanted = atomic_exchange(&arena->wanted, 0);
		for (unsigned i = 0; wanted && i < RECLAIMERS_MAX; i++)
			if (arena->reclaimers[i])
				arena->reclaimers[i]->fn(arena->reclaimers[i], wanted);
		reclaiming = false;
		pthread_mutex_unlock(&arena->reclaim_lock);
	}
}

int
arena_add_reclaimer(struct arena *arena, struct arena_reclaimer *reclaimer)
{
	int r = -ENOSPC;

	pthread_mutex_lock(&arena->reclaim_lock);
	for (unsigned i = 0; i < RECLAIMERS_MAX; i++) {
		if (arena->reclaimers[i])
			continue;
		arena->reclaimers[i] = reclaimer;
		atomic_fetch_add_explicit(&arena->nreclaimers, 1, memory_order_relaxed);
		r = 0;
		break;
	}
	pthread_mutex_unlock(&arena->reclaim_lock);
	return r;
}

void
arena_remove_reclaimer(struct arena *arena, struct arena_reclaimer *reclaimer)
{
	pthread_mutex_lock(&arena->reclaim_lock);
	for (unsigned i = 0; i < RECLAIMERS_MAX; i++) {
		if (arena->reclaimers[i] != reclaimer)
			continue;
		arena->reclaimers[i] = NULL;
		atomic_fetch_sub_explicit(&arena->nreclaimers, 1, memory_order_relaxed);
		break;
	}
	pthread_mutex_unlock(&arena->reclaim_lock);
}

/* ---- alloc ------------------------------------------------------------- */

static bool
magazine_alloc(struct magazine *mag, struct page **pages, unsigned n)
{
	unsigned count;
	bool enough;

	if (n > MAGAZINE_MAX)
		return false;
	magazine_take(mag);
	count = magazine_count(mag);
	enough = count >= n;
	if (enough) {
		for (unsigned i = 0; i < n; i++)
			pages[i] = mag->items[--count];
		magazine_set_count(mag, count);
	}
	magazine_release(mag);
	return enough;
}

/* Half a magazine from a depot that is not short of it.  Keeps the depot's order: what was on top stays on
 * top. */
static void
magazine_refill(struct arena *arena, struct magazine *mag)
{
	unsigned half = arena->magazine_size / 2, count;
	size_t depot = depot_count(arena);

	if (depot_available(arena, arena->reserve) < (size_t)half * 4)
		return;
	magazine_take(mag);
	count = magazine_count(mag);
	if (count + half <= arena->magazine_size) {
		memcpy(mag->items + count, arena->stack + depot - half, half * sizeof(*mag->items));
		magazine_set_count(mag, count + half);
		depot_set_count(arena, depot - half);
	}
	magazine_release(mag);
}

static int
depot_alloc(struct arena *arena, struct magazine *mag, struct page **pages, unsigned n, size_t keep,
	    bool *ret_passed)
{
	int r = 0;

	pthread_mutex_lock(&arena->lock);
	if (depot_available(arena, keep) < n)
		depot_gather(arena);
	if (depot_available(arena, keep) >= n) {
		depot_pop(arena, pages, n);
		if (mag)
			magazine_refill(arena, mag);
	} else {
		r = -ENOMEM;
	}
	*ret_passed = arena->first_waiter;
	pthread_mutex_unlock(&arena->lock);
	return r;
}

static int
try_alloc(struct arena *arena, struct page **pages, unsigned n, size_t keep, bool *ret_passed)
{
	struct magazine *mag = magazine_own(arena);
	int r = 0;

	*ret_passed = false;
	if (!mag || !magazine_alloc(mag, pages, n))
		r = depot_alloc(arena, mag, pages, n, keep, ret_passed);
	if (r)
		return r;
	for (unsigned i = 0; i < n; i++)
		atomic_store_explicit(&pages[i]->refs, 1, memory_order_relaxed);
	return 0;
}

static int
alloc(struct arena *arena, struct page **pages, unsigned n, size_t keep)
{
	bool passed;
	int r = try_alloc(arena, pages, n, keep, &passed);

	/* who passes those that wait has the caches make up for it */
	if (r || passed)
		reclaim(arena, n);
	if (r)
		r = try_alloc(arena, pages, n, keep, &passed);
	return r;
}

int
arena_alloc(struct arena *arena, struct page **pages, unsigned n)
{
	return alloc(arena, pages, n, arena->reserve);
}

int
arena_alloc_reserved(struct arena *arena, struct page **pages, unsigned n)
{
	return alloc(arena, pages, n, 0);
}

/* ---- free -------------------------------------------------------------- */

/* The older half of a full magazine, which is colder. */
static void
magazine_flush(struct arena *arena, struct page **cold, unsigned n)
{
	pthread_mutex_lock(&arena->lock);
	depot_push(arena, cold, n);
	if (arena->first_waiter)
		depot_wake(arena);
	pthread_mutex_unlock(&arena->lock);
}

static bool
magazine_put(struct arena *arena, struct magazine *mag, struct page **pages, unsigned n)
{
	struct page *cold[MAGAZINE_MAX];
	unsigned count, ncold = 0;

	if (n > arena->magazine_size / 2)
		return false;
	magazine_take(mag);
	/* under the flag: see the invariants */
	if (atomic_load_explicit(&arena->hungry, memory_order_relaxed)) {
		magazine_release(mag);
		return false;
	}
	count = magazine_count(mag);
	if (count + n > arena->magazine_size) {
		ncold = min_of(count, max_of(n, arena->magazine_size / 2));
		memcpy(cold, mag->items, ncold * sizeof(*cold));
		count -= ncold;
		memmove(mag->items, mag->items + ncold, count * sizeof(*cold));
	}
	memcpy(mag->items + count, pages, n * sizeof(*pages));
	magazine_set_count(mag, count + n);
	magazine_release(mag);
	if (ncold)
		magazine_flush(arena, cold, ncold);
	return true;
}

static void
put(struct arena *arena, struct page **pages, unsigned n)
{
	struct magazine *mag = magazine_own(arena);

	if (mag && magazine_put(arena, mag, pages, n))
		return;
	magazine_flush(arena, pages, n);
}

/* True when that was the last reference. */
static bool
drop(struct page *page)
{
	uint32_t refs = atomic_load_explicit(&page->refs, memory_order_acquire);

	assert(refs);
	if (refs == 1) {
		/* nobody else can reach it: no locked instruction */
		atomic_store_explicit(&page->refs, 0, memory_order_relaxed);
		return true;
	}
	refs = atomic_fetch_sub_explicit(&page->refs, 1, memory_order_acq_rel);
	assert(refs);
	return refs == 1;
}

void
page_unref(struct page *page)
{
	if (drop(page))
		put(page->arena, &page, 1);
}

void
pages_unref(struct page **pages, unsigned n)
{
	struct page *batch[UNREF_BATCH];
	unsigned nbatch = 0;

	/* last first, so that they are handed out again in ascending order */
	while (n--) {
		if (!drop(pages[n]))
			continue;
		if (nbatch && (nbatch == UNREF_BATCH || batch[0]->arena != pages[n]->arena)) {
			put(batch[0]->arena, batch, nbatch);
			nbatch = 0;
		}
		batch[nbatch++] = pages[n];
	}
	if (nbatch)
		put(batch[0]->arena, batch, nbatch);
}

/* ---- waiting ----------------------------------------------------------- */

void
arena_wait(struct arena *arena, struct arena_waiter *waiter)
{
	bool queued;

	assert(!waiter->queued && waiter->n <= arena->total - arena->reserve);
	pthread_mutex_lock(&arena->lock);
	waiter->queued = true;
	waiter->next = NULL;
	waiter->prev = arena->last_waiter;
	*(waiter->prev ? &waiter->prev->next : &arena->first_waiter) = waiter;
	arena->last_waiter = waiter;
	depot_set_count(arena, depot_count(arena)); /* hungry, before the magazines are emptied */
	depot_gather(arena);
	depot_wake(arena);
	queued = arena->first_waiter;
	pthread_mutex_unlock(&arena->lock);
	if (queued)
		reclaim(arena, waiter->n);
}

bool
arena_unwait(struct arena *arena, struct arena_waiter *waiter)
{
	bool taken;

	pthread_mutex_lock(&arena->lock);
	taken = waiter->queued;
	if (taken) {
		waiter_unlink(arena, waiter);
		depot_wake(arena); /* the next one may be smaller */
	}
	pthread_mutex_unlock(&arena->lock);
	return taken;
}

/* ---- the warmer -------------------------------------------------------- */

/* Neither the contents of pages nor who has them matters to it. */
static bool
populate(struct arena *arena, size_t first, size_t n)
{
#ifdef MADV_POPULATE_WRITE
	return madvise(arena->data + first * PAGE_SIZE_BYTES, n * PAGE_SIZE_BYTES, MADV_POPULATE_WRITE) ==
		       0 ||
	       errno == EINTR || errno == EAGAIN;
#else
	(void)arena;
	(void)first;
	(void)n;
	return false;
#endif
}

static void *
warmer_main(void *arg)
{
	struct arena *arena = arg;
	bool able = true;

	pthread_mutex_lock(&arena->lock);
	while (able && !arena->warmer_stop && arena->warm < arena->total) {
		size_t first = arena->warm, goal = warm_goal(arena);

		if (first >= goal) {
			arena->warmer_waits = true;
			pthread_cond_wait(&arena->warmer_cond, &arena->lock);
			continue;
		}
		arena->warm += min_of(goal - first, (size_t)WARM_STEP);
		size_t n = arena->warm - first;
		pthread_mutex_unlock(&arena->lock);
		able = populate(arena, first, n);
		pthread_mutex_lock(&arena->lock);
	}
	arena->warmer_waits = false;
	pthread_mutex_unlock(&arena->lock);
	return NULL;
}

void
arena_warm(struct arena *arena, size_t bytes)
{
	sigset_t all, before;

	arena->warm_first = bytes / PAGE_SIZE_BYTES;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	arena->warmer_runs = !pthread_create(&arena->warmer, NULL, warmer_main, arena);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void
warmer_end(struct arena *arena)
{
	if (!arena->warmer_runs)
		return;
	pthread_mutex_lock(&arena->lock);
	arena->warmer_stop = true;
	pthread_cond_signal(&arena->warmer_cond);
	pthread_mutex_unlock(&arena->lock);
	(void)pthread_join(arena->warmer, NULL);
}

/* ---- life -------------------------------------------------------------- */

static void *
map(size_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void
unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

static void
release(struct arena *arena)
{
	unmap(arena->data, (arena->total + 1) * PAGE_SIZE_BYTES);
	unmap(arena->pages, (arena->total + 1) * sizeof(*arena->pages));
	unmap(arena->stack, arena->total * sizeof(*arena->stack));
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		free(atomic_load_explicit(&arena->magazines[i], memory_order_relaxed));
	pthread_cond_destroy(&arena->warmer_cond);
	pthread_mutex_destroy(&arena->lock);
	pthread_mutex_destroy(&arena->reclaim_lock);
	free(arena);
}

int
arena_new(size_t bytes, struct arena **ret)
{
	struct arena *arena = aligned_alloc(64, align_up(sizeof(*arena), 64));
	size_t total = max_of((bytes + PAGE_SIZE_BYTES - 1) / PAGE_SIZE_BYTES, ARENA_MIN_PAGES);

	if (!arena)
		return -ENOMEM;
	memset(arena, 0, sizeof(*arena));
	pthread_mutex_init(&arena->lock, NULL);
	pthread_cond_init(&arena->warmer_cond, NULL);
	pthread_mutex_init(&arena->reclaim_lock, NULL);
	arena->total = arena->lowest = total;
	arena->reserve = total / RESERVE_SHARE;
	arena->magazine_size = (unsigned)min_of(MAGAZINE_MAX, total / MAGAZINE_SHARE) & ~1u;
	arena->data = map((total + 1) * PAGE_SIZE_BYTES);
	arena->pages = map((total + 1) * sizeof(*arena->pages));
	arena->stack = map(total * sizeof(*arena->stack));
	if (!arena->data || !arena->pages || !arena->stack) {
		release(arena);
		return -ENOMEM;
	}
#ifdef MADV_HUGEPAGE
	(void)madvise(arena->data, total * PAGE_SIZE_BYTES, MADV_HUGEPAGE); /* a wish */
#endif
	for (size_t i = 0; i <= total; i++) {
		arena->pages[i].data = arena->data + i * PAGE_SIZE_BYTES;
		arena->pages[i].arena = arena;
	}
	for (size_t i = 0; i < total; i++)
		arena->stack[i] = &arena->pages[total - 1 - i];
	depot_set_count(arena, total);
	atomic_store(&arena->pages[total].refs, 1);
	*ret = arena;
	return 0;
}

void
arena_free(struct arena *arena)
{
	if (!arena)
		return;
	warmer_end(arena);
	/* whoever gave the last page back may still hold what it took to do so */
	pthread_mutex_lock(&arena->lock);
	depot_gather(arena);
	pthread_mutex_unlock(&arena->lock);
	assert(arena_free_pages(arena) == arena->total);
	assert(atomic_load(&arena->pages[arena->total].refs) == 1);
	assert(!arena->first_waiter);
	release(arena);
}

struct page *
arena_zero_page(struct arena *arena)
{
	return &arena->pages[arena->total];
}

size_t
arena_total_pages(const struct arena *arena)
{
	return arena->total;
}

size_t
arena_free_pages(const struct arena *arena)
{
	size_t n = depot_count(arena);

	for (unsigned i = 0; i < LOOPS_MAX; i++) {
		const struct magazine *mag = atomic_load_explicit(&arena->magazines[i], memory_order_acquire);

		if (mag)
			n += magazine_count(mag);
	}
	return min_of(n, arena->total);
}

unsigned
arena_pressure(const struct arena *arena)
{
	size_t usable = arena->total - arena->reserve;
	size_t used = arena->total - arena_free_pages(arena);

	return (unsigned)min_of(used * 100 / usable, (size_t)100);
}
