/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page arena: one mapping of fixed size, cut into 4 KiB pages with atomic
 * reference counts.  All data in flight and all cached data lives in it; its
 * size is the daemon's `memory`.  It never grows: when it is short, callers
 * wait (arena_wait) and the pressure reaches the initiators as fewer R2Ts, a
 * narrower command window and unread sockets.
 *
 * Rules: a page with more than one reference is immutable.  Who holds the
 * only reference may write it.  References cross threads; nothing else does.
 *
 * Threads: alloc/ref/unref from any thread.  Loop threads go through a
 * magazine of their own (an uncontended flag); others take the depot's lock.
 */
#ifndef LUNGATE_COMMON_ARENA_H
#define LUNGATE_COMMON_ARENA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"

#define PAGE_SIZE_BYTES 4096u
#define PAGE_SHIFT 12

struct arena;

struct page {
	_Atomic uint32_t refs;
	uint32_t spare;
	uint8_t *data;       /* PAGE_SIZE_BYTES, page-aligned */
	struct arena *arena;
	struct page *next;   /* free list; free for the sole owner's use otherwise */
};

/** bytes is rounded up to pages; at least 1 MiB.  Memory is reserved, and touched on use. */
int arena_new(size_t bytes, struct arena **ret);
/** From now on a thread has the kernel clear pages before they are first used: `bytes` at once, and
 *  then an eighth of the arena ahead of the most that was ever in use, 64 MiB at most.  Clearing costs who uses a page first
 *  more than copying.  Where that cannot be had pages are cleared at their first use.  Once; before the arena is shared. */
void arena_warm(struct arena *arena, size_t bytes);
/** All pages must be back; asserts it. */
void arena_free(struct arena *arena);

/** n pages with one reference each, contents undefined; all or nothing:
 *  0 or -ENOMEM ("short": wait, do not fail).  Low-index consecutive allocations
 *  tend to be adjacent in memory, so that iovecs coalesce. */
int arena_alloc(struct arena *arena, struct page **pages, unsigned n);

/** As above, but leaves `reserve` pages free for those who make room
 *  (destage, journal read-back): ordinary callers pass through arena_alloc, which keeps the reserve (1/16). */
int arena_alloc_reserved(struct arena *arena, struct page **pages, unsigned n);

static inline struct page *page_ref(struct page *page)
{
	atomic_fetch_add_explicit(&page->refs, 1, memory_order_relaxed);
	return page;
}
void page_unref(struct page *page);
void pages_unref(struct page **pages, unsigned n);

/** True while the caller holds the only reference, i.e. may write. */
static inline bool page_exclusive(struct page *page)
{
	return atomic_load_explicit(&page->refs, memory_order_acquire) == 1;
}

/** The shared, immutable page of zeroes of this arena; take references freely. */
struct page *arena_zero_page(struct arena *arena);

size_t arena_total_pages(const struct arena *arena);
size_t arena_free_pages(const struct arena *arena);   /* a snapshot */
/** 0..100: how much of what arena_alloc may give is in use. */
unsigned arena_pressure(const struct arena *arena);

/** Post waiter->msg to waiter->loop once at least n pages may be free again; one-shot.  Whoever waits tries again: no
 *  promise is made.  On waiter->loop.  n at most total less the reserve (15/16): more would never come. */
struct arena_waiter {
	struct loop_msg msg;
	struct loop *loop;
	unsigned n;
	struct arena_waiter *prev, *next;
	bool queued;
};
void arena_wait(struct arena *arena, struct arena_waiter *waiter);
/** Take it back; false when the message is already on its way (it will still run). */
bool arena_unwait(struct arena *arena, struct arena_waiter *waiter);

/** fn must not allocate from the arena, and must not remove a reclaimer.
 *  Called, from any thread and seldom, when an allocation found the arena short: the place where
 *  caches are asked to shrink.  At most 64 may be registered. */
struct arena_reclaimer {
	void (*fn)(struct arena_reclaimer *reclaimer, unsigned pages_wanted);
};
int arena_add_reclaimer(struct arena *arena, struct arena_reclaimer *reclaimer);
void arena_remove_reclaimer(struct arena *arena, struct arena_reclaimer *reclaimer);

#endif
