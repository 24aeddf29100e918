/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clean pages in memory: copies of what the bases hold, never the only copy.
 *
 * Kept in groups of 64 neighbouring pages (one allocation, one hash entry),
 * evicted by SIEVE: a group enters at the head; the hand walks from the tail to the head, lets go of
 * pages that nobody asked for since it last passed, and clears the marks of the others.  A scan is
 * gone after one round and takes nothing of the working set with it.
 *
 * Invariants: a cached page has the bytes that the map names now, so whoever changes the map or makes a page
 * dirty drops or replaces it here; `pages` counts the references held.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>

struct cgroup {
	uint64_t number; /* first page / 64 */
	uint64_t present, visited;
	struct cgroup *hash_next;
	struct cgroup *prev, *next; /* prev: newer */
	struct page *pages[GROUP_PAGES];
};

int
cache_init(struct cache *cache)
{
	*cache = (struct cache){.nbuckets = 1024};
	cache->buckets = calloc(cache->nbuckets, sizeof(*cache->buckets));
	return cache->buckets ? 0 : -ENOMEM;
}

static struct cgroup **
bucket_of(const struct cache *cache, uint64_t number)
{
	size_t h = (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 24) & (cache->nbuckets - 1);

	return &cache->buckets[h];
}

static struct cgroup *
group_find(const struct cache *cache, uint64_t number)
{
	struct cgroup *group = *bucket_of(cache, number);

	while (group && group->number != number)
		group = group->hash_next;
	return group;
}

static void
group_remove(struct cache *cache, struct cgroup *group)
{
	struct cgroup **p = bucket_of(cache, group->number);

	assert(!group->present);
	while (*p != group)
		p = &(*p)->hash_next;
	*p = group->hash_next;
	if (cache->hand == group)
		cache->hand = group->prev;
	if (group->prev)
		group->prev->next = group->next;
	else
		cache->head = group->next;
	if (group->next)
		group->next->prev = group->prev;
	else
		cache->tail = group->prev;
	cache->ngroups--;
	free(group);
}

static void
group_drop(struct cache *cache, struct cgroup *group, uint64_t mask)
{
	uint64_t drop = group->present & mask;

	group->present &= ~drop;
	group->visited &= ~drop;
	while (drop) {
		unsigned i = (unsigned)__builtin_ctzll(drop);

		drop &= drop - 1;
		page_unref(group->pages[i]);
		cache->pages--;
	}
	if (!group->present)
		group_remove(cache, group);
}

void
cache_fini(struct cache *cache)
{
	while (cache->head)
		group_drop(cache, cache->head, UINT64_MAX);
	free(cache->buckets);
	cache->buckets = NULL;
}

static void
grow_buckets(struct cache *cache)
{
	struct cache bigger = {.nbuckets = cache->nbuckets * 2};

	bigger.buckets = calloc(bigger.nbuckets, sizeof(*bigger.buckets));
	if (!bigger.buckets)
		return;
	for (struct cgroup *group = cache->head; group; group = group->next) {
		struct cgroup **p = bucket_of(&bigger, group->number);

		group->hash_next = *p;
		*p = group;
	}
	free(cache->buckets);
	cache->buckets = bigger.buckets;
	cache->nbuckets = bigger.nbuckets;
}

static struct cgroup *
group_make(struct cache *cache, uint64_t number)
{
	struct cgroup *group = group_find(cache, number);

	if (group)
		return group;
	group = malloc(sizeof(*group));
	if (!group)
		return NULL;
	if (cache->ngroups >= cache->nbuckets)
		grow_buckets(cache);
	struct cgroup **p = bucket_of(cache, number);
	group->number = number;
	group->present = group->visited = 0;
	group->hash_next = *p;
	*p = group;
	group->prev = NULL;
	group->next = cache->head;
	if (cache->head)
		cache->head->prev = group;
	else
		cache->tail = group;
	cache->head = group;
	cache->ngroups++;
	return group;
}

struct page *
cache_get(struct cache *cache, uint64_t vpage, bool touch)
{
	struct cgroup *group = group_find(cache, vpage >> GROUP_SHIFT);
	uint64_t bit = UINT64_C(1) << (vpage & (GROUP_PAGES - 1));

	if (!group || !(group->present & bit))
		return NULL;
	if (touch)
		group->visited |= bit;
	return group->pages[vpage & (GROUP_PAGES - 1)];
}

void
cache_put(struct cache *cache, uint64_t vpage, struct page *page)
{
	struct cgroup *group = group_make(cache, vpage >> GROUP_SHIFT);
	unsigned i = (unsigned)(vpage & (GROUP_PAGES - 1));
	uint64_t bit = UINT64_C(1) << i;

	if (!group)
		return;
	if (group->present & bit) {
		page_unref(group->pages[i]);
		cache->pages--;
	}
	group->pages[i] = page_ref(page);
	group->present |= bit;
	cache->pages++;
}

void
cache_drop(struct cache *cache, uint64_t vpage)
{
	struct cgroup *group = group_find(cache, vpage >> GROUP_SHIFT);

	if (group)
		group_drop(cache, group, UINT64_C(1) << (vpage & (GROUP_PAGES - 1)));
}

static uint64_t
group_mask(uint64_t number, uint64_t first, uint64_t end)
{
	uint64_t start = number << GROUP_SHIFT;
	unsigned from = first > start ? (unsigned)(first - start) : 0;
	unsigned to = end - start < GROUP_PAGES ? (unsigned)(end - start) : GROUP_PAGES;
	uint64_t mask = to == GROUP_PAGES ? UINT64_MAX : (UINT64_C(1) << to) - 1;

	return mask & (UINT64_MAX << from);
}

static void
drop(struct cache *cache, uint64_t first, uint64_t n, bool used)
{
	if (!n || !cache->pages)
		return;
	for (uint64_t g = first >> GROUP_SHIFT; g <= (first + n - 1) >> GROUP_SHIFT; g++) {
		struct cgroup *group = group_find(cache, g);

		if (group)
			group_drop(cache, group,
				   group_mask(g, first, first + n) & (used ? UINT64_MAX : ~group->visited));
	}
}

void
cache_drop_range(struct cache *cache, uint64_t first, uint64_t n)
{
	drop(cache, first, n, true);
}

void
cache_drop_idle(struct cache *cache, uint64_t first, uint64_t n)
{
	drop(cache, first, n, false);
}

uint32_t
cache_count(const struct cache *cache, uint64_t first, uint64_t n)
{
	uint32_t count = 0;

	if (!n || !cache->pages)
		return 0;
	for (uint64_t g = first >> GROUP_SHIFT; g <= (first + n - 1) >> GROUP_SHIFT; g++) {
		const struct cgroup *group = group_find(cache, g);

		if (group)
			count += (uint32_t)__builtin_popcountll(group->present &
								group_mask(g, first, first + n));
	}
	return count;
}

/** Those of the pages in mask that nobody else holds: letting go of others frees nothing now. */
static uint64_t
group_free_able(const struct cgroup *group, uint64_t mask)
{
	uint64_t able = 0, rest = group->present & mask;

	while (rest) {
		unsigned i = (unsigned)__builtin_ctzll(rest);

		rest &= rest - 1;
		if (page_exclusive(group->pages[i]))
			able |= UINT64_C(1) << i;
	}
	return able;
}

size_t
cache_evict(struct cache *cache, size_t n)
{
	uint64_t before = cache->pages;
	/* twice around: the first time clears the marks */
	size_t steps = 2 * cache->ngroups;

	while (cache->tail && steps-- > 0 && before - cache->pages < n) {
		struct cgroup *group = cache->hand ? cache->hand : cache->tail;
		uint64_t idle = group_free_able(group, ~group->visited);

		/* the hand moves on first: dropping the last page frees the group */
		cache->hand = group->prev;
		group->visited = 0;
		if (idle)
			group_drop(cache, group, idle);
	}
	counter_add(&cache->evicted, before - cache->pages);
	return (size_t)(before - cache->pages);
}
