/* SPDX-License-Identifier: GPL-2.0-or-later */
/* arena: exhaustion and the reserve, references, magazines, waiters, reclaimers, many threads. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/loop.h"
#include "common/util.h"

#define SMALL_PAGES 256u
#define SMALL_RESERVE 16u
#define SMALL_USABLE (SMALL_PAGES - SMALL_RESERVE)

static struct arena *arena;

static void
small_arena(void)
{
	ck_assert_int_eq(arena_new(1, &arena), 0);
	ck_assert_uint_eq(arena_total_pages(arena), SMALL_PAGES);
}

static struct loop *
loop_started(unsigned index)
{
	struct loop *loop;

	ck_assert_int_eq(loop_new("arena", index, &loop), 0);
	ck_assert_int_eq(loop_start(loop), 0);
	return loop;
}

/* ---- one thread -------------------------------------------------------- */

/* Whatever thread asks: all of the usable pages, no more, the reserve for those who ask for it. */
static int
exhaust(void *arg)
{
	struct page *pages[SMALL_PAGES], *more[SMALL_RESERVE + 1];
	unsigned n = 0;

	(void)arg;
	while (n + 3 <= SMALL_USABLE && !arena_alloc(arena, pages + n, 3))
		n += 3;
	while (!arena_alloc(arena, pages + n, 1))
		n++;
	if (n != SMALL_USABLE || arena_free_pages(arena) != SMALL_RESERVE || arena_pressure(arena) != 100)
		return -1;
	if (arena_alloc_reserved(arena, more, SMALL_RESERVE + 1) != -ENOMEM)
		return -2;
	if (arena_free_pages(arena) != SMALL_RESERVE) /* all or nothing */
		return -3;
	if (arena_alloc_reserved(arena, more, SMALL_RESERVE) || arena_free_pages(arena))
		return -4;
	page_unref(pages[--n]); /* the reserve comes first: nothing for an ordinary caller */
	if (!arena_alloc(arena, pages + n, 1))
		return -5;
	pages_unref(more, SMALL_RESERVE);
	pages_unref(pages, n);
	return arena_free_pages(arena) == SMALL_PAGES && arena_pressure(arena) == 0 ? 0 : -6;
}

START_TEST(exhaustion_is_exact)
{
	struct loop *loop = loop_started(7);

	small_arena();
	ck_assert_int_eq(exhaust(NULL), 0);
	ck_assert_int_eq(loop_call(loop, exhaust, NULL), 0);
	ck_assert_int_eq(loop_call(loop, exhaust, NULL), 0);
	ck_assert_int_eq(exhaust(NULL), 0);
	arena_free(arena);
	loop_free(loop);
}
END_TEST

START_TEST(pages_are_distinct_aligned_and_writable)
{
	struct page *pages[SMALL_USABLE];

	small_arena();
	ck_assert_int_eq(arena_alloc(arena, pages, SMALL_USABLE), 0);
	for (unsigned i = 0; i < SMALL_USABLE; i++) {
		ck_assert_uint_eq((uintptr_t)pages[i]->data % PAGE_SIZE_BYTES, 0);
		ck_assert_ptr_eq(pages[i]->arena, arena);
		memset(pages[i]->data, (int)i, PAGE_SIZE_BYTES);
	}
	for (unsigned i = 0; i < SMALL_USABLE; i++)
		for (unsigned j = 0; j < PAGE_SIZE_BYTES; j += 64)
			ck_assert_uint_eq(pages[i]->data[j], i);
	pages_unref(pages, SMALL_USABLE);
	arena_free(arena);
}
END_TEST

static bool
adjacent(struct page **pages, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		if (pages[i]->data != pages[i - 1]->data + PAGE_SIZE_BYTES)
			return false;
	return true;
}

static int
runs_are_adjacent(void *arg)
{
	struct page *pages[64];

	(void)arg;
	for (unsigned round = 0; round < 20; round++) {
		if (arena_alloc(arena, pages, 64) || !adjacent(pages, 64))
			return -1;
		pages_unref(pages, 64);
	}
	return 0;
}

START_TEST(runs_come_out_in_order)
{
	struct loop *loop = loop_started(0);

	ck_assert_int_eq(arena_new(64u << 20, &arena), 0);
	ck_assert_int_eq(runs_are_adjacent(NULL), 0);
	ck_assert_int_eq(loop_call(loop, runs_are_adjacent, NULL), 0);
	arena_free(arena);
	loop_free(loop);
}
END_TEST

START_TEST(references_share_and_exclude)
{
	struct page *page, *zero;

	small_arena();
	ck_assert_int_eq(arena_alloc(arena, &page, 1), 0);
	ck_assert(page_exclusive(page));
	ck_assert_ptr_eq(page_ref(page), page);
	ck_assert(!page_exclusive(page));
	page_unref(page);
	ck_assert(page_exclusive(page));
	ck_assert_uint_eq(arena_free_pages(arena), SMALL_PAGES - 1);
	page_unref(page);
	ck_assert_uint_eq(arena_free_pages(arena), SMALL_PAGES);

	zero = page_ref(arena_zero_page(arena));
	for (unsigned i = 0; i < PAGE_SIZE_BYTES; i++)
		ck_assert_uint_eq(zero->data[i], 0);
	ck_assert(!page_exclusive(zero));
	page_unref(zero);
	ck_assert_uint_eq(arena_free_pages(arena), SMALL_PAGES); /* it never counts */
	arena_free(arena);
}
END_TEST

START_TEST(arenas_do_not_mix)
{
	struct arena *other;
	struct page *pages[4];

	small_arena();
	ck_assert_int_eq(arena_new(3u << 20, &other), 0);
	ck_assert_uint_eq(arena_total_pages(other), 768);
	ck_assert_int_eq(arena_alloc(arena, pages, 2), 0);
	ck_assert_int_eq(arena_alloc(other, pages + 2, 2), 0);
	pages_unref(pages, 4);
	ck_assert_uint_eq(arena_free_pages(arena), SMALL_PAGES);
	ck_assert_uint_eq(arena_free_pages(other), 768);
	arena_free(arena);
	arena_free(other);
}
END_TEST

/* ---- waiters ----------------------------------------------------------- */

struct queue_state {
	struct arena_waiter waiters[4];
	unsigned order[4], n;
	struct page *pages[SMALL_USABLE];
};

static struct queue_state *queue;

static void
woken(struct loop_msg *msg)
{
	struct arena_waiter *waiter = container_of(msg, struct arena_waiter, msg);

	queue->order[queue->n++] = (unsigned)(waiter - queue->waiters);
}

static int
queue_up(void *arg)
{
	static const unsigned wants[] = {10, 1, 20, 2};

	if (arena_alloc(arena, queue->pages, SMALL_USABLE))
		return -1;
	for (unsigned i = 0; i < 4; i++) {
		queue->waiters[i] = (struct arena_waiter){.msg.fn = woken, .loop = arg, .n = wants[i]};
		arena_wait(arena, &queue->waiters[i]);
	}
	/* nobody is served out of turn, nobody too early */
	pages_unref(queue->pages, 9);
	return 0;
}

static int
count_woken(void *arg)
{
	(void)arg;
	return (int)queue->n;
}

static int
give_more(void *arg)
{
	unsigned *range = arg;

	pages_unref(queue->pages + range[0], range[1] - range[0]);
	return 0;
}

static int
take_back(void *arg)
{
	(void)arg;
	return arena_unwait(arena, &queue->waiters[2]);
}

START_TEST(waiters_are_served_in_order)
{
	struct loop *loop = loop_started(2);

	small_arena();
	queue = calloc(1, sizeof(*queue));
	ck_assert_int_eq(loop_call(loop, queue_up, loop), 0);
	ck_assert_int_eq(loop_call(loop, count_woken, NULL), 0);
	/* 11 free pages: the first two */
	ck_assert_int_eq(loop_call(loop, give_more, (unsigned[]){9, 11}), 0);
	ck_assert_int_eq(loop_call(loop, count_woken, NULL), 2);
	/* from here, no loop at all: 19 free pages are not 20 */
	give_more((unsigned[]){11, 19});
	ck_assert_int_eq(loop_call(loop, count_woken, NULL), 2);
	/* the one in front gives up: who stood behind it is served */
	ck_assert_int_eq(loop_call(loop, take_back, NULL), true);
	ck_assert_int_eq(loop_call(loop, count_woken, NULL), 3);
	ck_assert_int_eq(loop_call(loop, take_back, NULL), false);
	ck_assert_uint_eq(queue->order[0], 0);
	ck_assert_uint_eq(queue->order[1], 1);
	ck_assert_uint_eq(queue->order[2], 3);
	give_more((unsigned[]){19, SMALL_USABLE});
	loop_free(loop);
	arena_free(arena);
	free(queue);
}
END_TEST

static int
wait_with_room(void *arg)
{
	queue->waiters[0] = (struct arena_waiter){.msg.fn = woken, .loop = arg, .n = SMALL_USABLE};
	arena_wait(arena, &queue->waiters[0]);
	return queue->waiters[0].queued;
}

static int
fill_magazine(void *arg)
{
	struct page *pages[2];

	(void)arg;
	if (arena_alloc(arena, pages, 2))
		return -1;
	pages_unref(pages, 2);
	return 0;
}

/* Free pages that lie in the magazine of a loop that sleeps are not lost for others. */
START_TEST(magazines_hide_nothing)
{
	struct loop *loop = loop_started(0), *sleeper = loop_started(1);

	small_arena();
	queue = calloc(1, sizeof(*queue));
	ck_assert_int_eq(loop_call(sleeper, fill_magazine, NULL), 0);
	ck_assert_int_eq(loop_call(loop, fill_magazine, NULL), 0);
	ck_assert_int_eq(loop_call(loop, wait_with_room, loop), false);
	ck_assert_int_eq(loop_call(loop, count_woken, NULL), 1);
	ck_assert_int_eq(loop_call(sleeper, fill_magazine, NULL), 0);
	ck_assert_int_eq(loop_call(loop, exhaust, NULL), 0);
	loop_free(loop);
	loop_free(sleeper);
	arena_free(arena);
	free(queue);
}
END_TEST

/* ---- reclaimers -------------------------------------------------------- */

struct cache {
	struct arena_reclaimer reclaimer;
	struct page *pages[SMALL_USABLE];
	unsigned n, calls, wanted;
};

static void
shrink(struct arena_reclaimer *reclaimer, unsigned wanted)
{
	struct cache *cache = container_of(reclaimer, struct cache, reclaimer);

	cache->calls++;
	cache->wanted += wanted;
	while (wanted-- && cache->n)
		page_unref(cache->pages[--cache->n]);
}

START_TEST(reclaimers_make_room)
{
	struct cache cache = {.reclaimer.fn = shrink, .n = SMALL_USABLE};
	struct arena_reclaimer spare[64] = {0};
	struct page *pages[8];

	small_arena();
	ck_assert_int_eq(arena_add_reclaimer(arena, &cache.reclaimer), 0);
	ck_assert_int_eq(arena_alloc(arena, cache.pages, SMALL_USABLE), 0);
	ck_assert_uint_eq(cache.calls, 0);
	ck_assert_int_eq(arena_alloc(arena, pages, 8), 0);
	ck_assert_uint_eq(cache.calls, 1);
	ck_assert_uint_eq(cache.wanted, 8);
	ck_assert_uint_eq(cache.n, SMALL_USABLE - 8);
	arena_remove_reclaimer(arena, &cache.reclaimer);
	ck_assert_int_eq(arena_alloc(arena, pages, 1), -ENOMEM);
	ck_assert_uint_eq(cache.calls, 1);
	pages_unref(pages, 8);
	pages_unref(cache.pages, cache.n);
	for (unsigned i = 0; i < 64; i++) {
		spare[i].fn = shrink;
		ck_assert_int_eq(arena_add_reclaimer(arena, &spare[i]), 0);
	}
	ck_assert_int_eq(arena_add_reclaimer(arena, &cache.reclaimer), -ENOSPC);
	arena_free(arena);
}
END_TEST

/* ---- many threads ------------------------------------------------------ */

/*
 * Actors on three loops take runs of pages from an arena too small for them all, write a pattern, hand the
 * pages to the next loop by message, which checks and drops them.  Who finds no room waits.  Meanwhile two
 * plain threads do the same. Ends only if no wakeup is ever lost; the patterns only hold if no page is ever
 * in two hands.
 */
#define LOOPS 3
#define ACTORS 8
#define ROUNDS 400
#define RUN_MAX 48

struct actor {
	struct arena_waiter waiter;
	struct loop_msg handover;
	struct loop *loops[LOOPS];
	unsigned at, rounds, n, seed;
	struct page *pages[RUN_MAX];
	sem_t *finished;
};

static _Atomic unsigned damaged;

static void
fill(struct page **pages, unsigned n, unsigned seed)
{
	for (unsigned i = 0; i < n; i++) {
		if (!page_exclusive(pages[i]))
			atomic_fetch_add(&damaged, 1);
		memset(pages[i]->data, (int)(seed + i), 256);
	}
}

static void
verify(struct page **pages, unsigned n, unsigned seed)
{
	for (unsigned i = 0; i < n; i++)
		if (pages[i]->data[0] != (uint8_t)(seed + i) || pages[i]->data[255] != (uint8_t)(seed + i))
			atomic_fetch_add(&damaged, 1);
}

static void
actor_try(struct loop_msg *msg)
{
	struct actor *actor = container_of(container_of(msg, struct arena_waiter, msg), struct actor, waiter);

	actor->waiter.loop = actor->loops[actor->at];
	if (arena_alloc(arena, actor->pages, actor->n)) {
		actor->waiter.n = actor->n;
		arena_wait(arena, &actor->waiter);
		return;
	}
	fill(actor->pages, actor->n, actor->seed);
	actor->at = (actor->at + 1) % LOOPS;
	loop_post(actor->loops[actor->at], &actor->handover);
}

static void
actor_handover(struct loop_msg *msg)
{
	struct actor *actor = container_of(msg, struct actor, handover);

	verify(actor->pages, actor->n, actor->seed);
	pages_unref(actor->pages, actor->n);
	actor->seed = actor->seed * 1103515245u + 12345u;
	actor->n = 1 + actor->seed / 65536 % RUN_MAX;
	if (++actor->rounds == ROUNDS)
		sem_post(actor->finished);
	else
		actor_try(&actor->waiter.msg);
}

static void *
outsider_main(void *arg)
{
	struct page *pages[RUN_MAX];
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned n = 1 + (seed + i) % RUN_MAX;

		if (arena_alloc(arena, pages, n)) {
			sched_yield();
			continue;
		}
		fill(pages, n, seed);
		for (unsigned j = 0; j < n; j++)
			page_ref(pages[j]);
		pages_unref(pages, n);
		verify(pages, n, seed);
		pages_unref(pages, n);
	}
	return NULL;
}

START_TEST(pages_cross_threads_under_shortage)
{
	struct actor *actors = calloc(ACTORS, sizeof(*actors));
	struct loop *loops[LOOPS];
	pthread_t outsiders[2];
	sem_t finished;

	damaged = 0;
	small_arena();
	sem_init(&finished, 0, 0);
	for (unsigned i = 0; i < LOOPS; i++)
		loops[i] = loop_started(i);
	for (unsigned i = 0; i < ACTORS; i++) {
		struct actor *actor = &actors[i];

		*actor = (struct actor){.n = RUN_MAX, .seed = i, .at = i % LOOPS, .finished = &finished};
		memcpy(actor->loops, loops, sizeof(loops));
		actor->waiter.msg.fn = actor_try;
		actor->handover.fn = actor_handover;
		loop_post(loops[actor->at], &actor->waiter.msg);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&outsiders[i], NULL, outsider_main, (void *)(uintptr_t)(i + 1));
	for (unsigned i = 0; i < ACTORS; i++)
		sem_wait(&finished);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(outsiders[i], NULL);
	for (unsigned i = 0; i < LOOPS; i++)
		loop_free(loops[i]);
	ck_assert_uint_eq(damaged, 0);
	arena_free(arena); /* asserts that every page came back */
	free(actors);
	sem_destroy(&finished);
}
END_TEST

/* ---- the warmer -------------------------------------------------------- */

#ifdef MADV_POPULATE_WRITE
#define WARM_PAGES 16384u /* 64 MiB: several huge pages, wherever it begins */

static unsigned
resident(unsigned first, unsigned n)
{
	static unsigned char state[WARM_PAGES];
	uint8_t *data = arena_zero_page(arena)->data - (size_t)WARM_PAGES * PAGE_SIZE_BYTES;
	unsigned count = 0;

	ck_assert_int_eq(mincore(data + (size_t)first * PAGE_SIZE_BYTES, (size_t)n * PAGE_SIZE_BYTES, state),
			 0);
	for (unsigned i = 0; i < n; i++)
		count += state[i] & 1;
	return count;
}

/* The warmer tells nobody how far it is. */
static void
until_resident(unsigned first, unsigned n)
{
	while (resident(first, n) < n)
		(void)usleep(1000);
}

START_TEST(pages_are_warmed_ahead)
{
	static struct page *pages[WARM_PAGES];
	uint8_t *probe =
		mmap(NULL, PAGE_SIZE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool able;

	ck_assert_ptr_ne(probe, MAP_FAILED);
	able = madvise(probe, PAGE_SIZE_BYTES, MADV_POPULATE_WRITE) == 0; /* Linux 5.14 */
	munmap(probe, PAGE_SIZE_BYTES);
	ck_assert_int_eq(arena_new((size_t)WARM_PAGES * PAGE_SIZE_BYTES, &arena), 0);
	ck_assert_uint_eq(resident(0, WARM_PAGES), 0);
	arena_warm(arena, (size_t)WARM_PAGES / 2 * PAGE_SIZE_BYTES);
	if (able) {
		until_resident(0, WARM_PAGES / 2);
		ck_assert_uint_eq(resident(WARM_PAGES * 3 / 4, WARM_PAGES / 4), 0);
	}
	ck_assert_int_eq(arena_alloc(arena, pages, WARM_PAGES / 4), 0);
	for (unsigned i = 0; i < WARM_PAGES / 4; i++)
		memset(pages[i]->data, 0x5a, PAGE_SIZE_BYTES);
	ck_assert_int_eq(arena_alloc(arena, pages + WARM_PAGES / 4, WARM_PAGES / 4), 0);
	if (able) {
		until_resident(0, WARM_PAGES * 5 / 8);
		ck_assert_uint_eq(resident(WARM_PAGES * 7 / 8, WARM_PAGES / 8), 0);
	}
	for (unsigned i = 0; i < WARM_PAGES / 4; i++)
		ck_assert(pages[i]->data[0] == 0x5a && pages[i]->data[PAGE_SIZE_BYTES - 1] == 0x5a);
	pages_unref(pages, WARM_PAGES / 2);
	arena_free(arena);
}
END_TEST
#endif

/* An arena may go while its warmer works. */
START_TEST(a_warmer_ends_with_its_arena)
{
	for (unsigned i = 0; i < 20; i++) {
		ck_assert_int_eq(arena_new(i << 20, &arena), 0);
		arena_warm(arena, SIZE_MAX);
		arena_free(arena);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("arena");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, exhaustion_is_exact);
	tcase_add_test(tc, pages_are_distinct_aligned_and_writable);
	tcase_add_test(tc, runs_come_out_in_order);
	tcase_add_test(tc, references_share_and_exclude);
	tcase_add_test(tc, arenas_do_not_mix);
	tcase_add_test(tc, waiters_are_served_in_order);
	tcase_add_test(tc, magazines_hide_nothing);
	tcase_add_test(tc, reclaimers_make_room);
	tcase_add_test(tc, pages_cross_threads_under_shortage);
#ifdef MADV_POPULATE_WRITE
	tcase_add_test(tc, pages_are_warmed_ahead);
#endif
	tcase_add_test(tc, a_warmer_ends_with_its_arena);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
