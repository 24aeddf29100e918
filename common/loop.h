/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event-loop threads: libuv, one queue of messages, one io_uring for disk
 * files.  Nothing is shared between loops but messages and reference-counted
 * pages (common/arena.h).
 *
 * Threads: every function says which.  "On the loop" means: called by the
 * thread that runs it (loop_current() == loop), asserted.
 * Nothing that blocks runs on a loop: use loop_offload().
 */
#ifndef LUNGATE_COMMON_LOOP_H
#define LUNGATE_COMMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct uv_loop_s;

/** A message: embedded in whatever travels, so posting allocates nothing.
 *  It may be posted again only after fn has begun to run. */
struct loop_msg {
	struct loop_msg *next;
	void (*fn)(struct loop_msg *msg);
};

/** A blocking piece of work: run() on a pool thread, done() back on the loop that offloaded it. */
struct loop_work {
	struct loop_msg msg;
	struct loop *loop;
	void (*run)(struct loop_work *work);
	void (*done)(struct loop_work *work);
	struct loop_work *next;
};

#define LOOPS_MAX 64

/** What other modules keep per loop (an io_uring, a curl multi), made on first use. */
enum loop_slot { LOOP_SLOT_DISKIO, LOOP_SLOT_HTTP, LOOP_SLOT_COUNT };

/** Make a loop; its thread starts with loop_start(), or the calling thread
 *  becomes it with loop_run().  index < LOOPS_MAX and unique (-EEXIST otherwise): it selects the arena's
 *  magazine.  name is copied (at most 15 bytes reach the kernel).
 *  0 or a negative errno. */
int loop_new(const char *name, unsigned index, struct loop **ret);
int loop_start(struct loop *loop);
/** Run on this thread until loop_stop().  A drain follows: messages already posted still run. */
void loop_run(struct loop *loop);
/** Any thread.  Ends loop_run() after the current iteration. */
void loop_stop(struct loop *loop);
/** Stop if still running, join the thread, free.  Not from the loop itself. */
void loop_free(struct loop *loop);

/** The loop this thread runs, or NULL (pool, FUSE and foreign threads). */
struct loop *loop_current(void);
struct uv_loop_s *loop_uv(struct loop *loop);
unsigned loop_index(const struct loop *loop);
/** On the loop.  destroy(p) runs in loop_free() with loop_current() == loop; there it may uv_close() its
 *  handles: the uv loop still runs until they are closed, so memory is freed in the close callback. */
void loop_slot_set(struct loop *loop, enum loop_slot slot, void *p, void (*destroy)(void *p));
void *loop_slot_get(const struct loop *loop, enum loop_slot slot);
const char *loop_name(const struct loop *loop);

/** Any thread.  fn runs on loop, in posting order per poster.  Never blocks, never allocates.
 *  Wakes the loop at most once per batch. */
void loop_post(struct loop *loop, struct loop_msg *msg);

/** On the loop.  fn runs when this iteration has handled its events, before it
 *  polls again: the place where a batch is sent (group commit, socket output,
 *  SQE submission).  Deferring from within a deferred fn runs in the same pass. */
void loop_defer(struct loop *loop, struct loop_msg *msg);

/** Any thread that is not a loop (or is this loop: then a plain call): run fn(arg) on the loop, wait, and
 *  return its result.  A loop that owns no volumes (main's) may call another; two loops that call each
 *  other would never return. */
int loop_call(struct loop *loop, int (*fn)(void *arg), void *arg);

/** On the loop.  The pool is shared by all loops and has a fixed number of
 *  threads (loop_pool_init); queued work waits in FIFO order. */
void loop_offload(struct loop *loop, struct loop_work *work);

/** Once, before the first offload.  0 = default (8). */
int loop_pool_init(unsigned threads);
/** Waits for running work; queued work is still run. */
void loop_pool_fini(void);

/** A one-shot timer embedded by its user; on the loop alone. */
struct loop_timer {
	struct loop *loop;
	void (*fn)(struct loop_timer *timer);
	uint64_t due_ms;       /* loop time; 0 = not armed */
	struct loop_timer *prev, *next;
};
void loop_timer_init(struct loop_timer *timer, struct loop *loop, void (*fn)(struct loop_timer *timer));
/** (Re)arm: fn after at least ms.  Cheap (a wheel or list of coarse timers): may be called per command. */
void loop_timer_start(struct loop_timer *timer, uint64_t ms);
void loop_timer_stop(struct loop_timer *timer);
/** Milliseconds, monotonic, cached per iteration. */
uint64_t loop_now_ms(struct loop *loop);

#endif
