/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event-loop threads on libuv, the messages between them, and the pool for
 * calls that block.
 *
 * One iteration of a loop: timers, deferred work (uv_prepare), poll and its
 * callbacks, messages (uv_check).  The inbox is one word:
 *
 *   NULL       empty, the loop is awake and will look at it before it sleeps
 *   INBOX_IDLE empty, the loop polls: whoever posts first must wake it
 *   a chain    messages, newest first; the loop takes all at once and reverses them
 *
 * NULL -> INBOX_IDLE by the loop before it polls, fails when something came
 * in; then the idle handle makes the poll return at once.  So a busy loop is
 * never woken by a system call, and a sleeping one once a batch.
 *
 * Invariants: only the poster that replaced INBOX_IDLE touches the loop after
 * its push, and it announced itself in `wakers` before; loop_free() waits for these.
 * What a loop posts to itself goes through a plain list.
 *
 * Timers: a hashed wheel of WHEEL_SLOTS lists, a slot per tick of 10 ms.  One
 * uv_timer stands at or before the earliest slot in use; a stop leaves it
 * standing, so start and stop cost no search.
 *
 * Threads: inbox, wakers and stop are shared, all else is the loop's alone.
 * The pool has its own mutex, never taken by messages.
 *
 * Failure: only making loops and threads can fail; posting cannot.
 */
#include "common/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "common/util.h"

#define TICK_MS 10u
#define WHEEL_SLOTS 512u
#define WHEEL_WORDS (WHEEL_SLOTS / 64u)
#define DRAIN_PASSES_MAX 1000u
#define POOL_DEFAULT 8u
#define POOL_MAX 256u

struct msg_list {
	struct loop_msg *head;
	struct loop_msg **tail;
};

struct wheel {
	uv_timer_t uv;
	struct loop_timer slot[WHEEL_SLOTS]; /* list heads */
	uint64_t used[WHEEL_WORDS];          /* slots that may hold timers */
	uint64_t tick;                       /* all slots up to and with this one have run */
	uint64_t armed_ms;                   /* when uv fires; 0 = it does not */
	unsigned count;
};

struct loop {
	_Alignas(64) _Atomic(struct loop_msg *) inbox;
	_Atomic unsigned wakers;
	_Atomic bool stop;
	_Alignas(64) uv_loop_t uv;
	uv_async_t async;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	bool idle_active;
	bool started;
	struct msg_list deferred;
	struct msg_list self;
	struct wheel wheel;
	struct {
		void *p;
		void (*destroy)(void *p);
	} slots[LOOP_SLOT_COUNT];
	pthread_t thread;
	unsigned index;
	char name[32];
};

static struct loop_msg inbox_idle;
#define INBOX_IDLE (&inbox_idle)

static _Thread_local struct loop *current;
static _Atomic uint64_t indexes_in_use;

/* ---- messages ---------------------------------------------------------- */

static void
list_init(struct msg_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static void
list_add(struct msg_list *list, struct loop_msg *msg)
{
	msg->next = NULL;
	*list->tail = msg;
	list->tail = &msg->next;
}

static struct loop_msg *
list_take(struct msg_list *list)
{
	struct loop_msg *head = list->head;

	list_init(list);
	return head;
}

static void
run_chain(struct loop_msg *msg)
{
	struct loop_msg *next;

	for (; msg; msg = next) {
		next = msg->next; /* fn may post or free msg */
		msg->fn(msg);
	}
}

static struct loop_msg *
inbox_take(struct loop *loop)
{
	struct loop_msg *msg = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
	struct loop_msg *ordered = NULL, *next;

	if (msg == INBOX_IDLE)
		return NULL;
	for (; msg; msg = next) {
		next = msg->next;
		msg->next = ordered;
		ordered = msg;
	}
	return ordered;
}

/* What was posted up to now; what these post in turn waits for the next pass. */
static bool
run_messages(struct loop *loop)
{
	struct loop_msg *foreign = inbox_take(loop);
	struct loop_msg *own = list_take(&loop->self);

	/* own ones first: a foreign one may be the answer to what this loop did after it posted */
	run_chain(own);
	run_chain(foreign);
	return own || foreign;
}

static bool
run_deferred(struct loop *loop)
{
	struct loop_msg *msg;
	bool any = false;

	while ((msg = list_take(&loop->deferred))) {
		run_chain(msg);
		any = true;
	}
	return any;
}

void
loop_post(struct loop *loop, struct loop_msg *msg)
{
	struct loop_msg *old;
	bool wake;

	if (current == loop) {
		list_add(&loop->self, msg);
		return;
	}
	old = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
	for (;;) {
		wake = old == INBOX_IDLE;
		if (wake)
			atomic_fetch_add_explicit(&loop->wakers, 1, memory_order_relaxed);
		msg->next = wake ? NULL : old;
		if (atomic_compare_exchange_weak_explicit(&loop->inbox, &old, msg, memory_order_acq_rel,
							  memory_order_relaxed))
			break;
		if (wake)
			atomic_fetch_sub_explicit(&loop->wakers, 1, memory_order_release);
	}
	if (!wake)
		return;
	uv_async_send(&loop->async);
	atomic_fetch_sub_explicit(&loop->wakers, 1, memory_order_release);
}

void
loop_defer(struct loop *loop, struct loop_msg *msg)
{
	assert(current == loop);
	list_add(&loop->deferred, msg);
}

/* ---- calls ------------------------------------------------------------- */

struct call {
	struct loop_msg msg;
	int (*fn)(void *arg);
	void *arg;
	int result;
	bool finished;
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

static void
call_run(struct loop_msg *msg)
{
	struct call *call = container_of(msg, struct call, msg);
	int result = call->fn(call->arg);

	pthread_mutex_lock(&call->lock);
	call->result = result;
	call->finished = true;
	pthread_cond_signal(&call->cond);
	pthread_mutex_unlock(&call->lock);
}

int
loop_call(struct loop *loop, int (*fn)(void *arg), void *arg)
{
	struct call call = {
		.msg.fn = call_run,
		.fn = fn,
		.arg = arg,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER,
	};

	if (current == loop)
		return fn(arg);
	loop_post(loop, &call.msg);
	pthread_mutex_lock(&call.lock);
	while (!call.finished)
		pthread_cond_wait(&call.cond, &call.lock);
	pthread_mutex_unlock(&call.lock);
	pthread_mutex_destroy(&call.lock);
	pthread_cond_destroy(&call.cond);
	return call.result;
}

/* ---- timers ------------------------------------------------------------ */

static void on_tick(uv_timer_t *uv);

static void
timer_list_init(struct loop_timer *head)
{
	head->prev = head->next = head;
}

static void
timer_link(struct loop_timer *head, struct loop_timer *timer)
{
	timer->prev = head->prev;
	timer->next = head;
	head->prev->next = timer;
	head->prev = timer;
}

static void
timer_unlink(struct loop_timer *timer)
{
	timer->prev->next = timer->next;
	timer->next->prev = timer->prev;
	timer->prev = timer->next = NULL;
}

static void
wheel_arm(struct loop *loop, uint64_t due_ms)
{
	uint64_t now = uv_now(&loop->uv);

	loop->wheel.armed_ms = due_ms;
	uv_timer_start(&loop->wheel.uv, on_tick, due_ms > now ? due_ms - now : 0, 0);
}

/* The next tick whose slot may hold a timer; it may belong to a later round. */
static uint64_t
wheel_next_tick(const struct wheel *wheel)
{
	uint64_t tick = wheel->tick + 1;
	uint64_t end = tick + WHEEL_SLOTS;

	while (tick < end) {
		unsigned slot = tick % WHEEL_SLOTS;
		uint64_t word = wheel->used[slot / 64] >> slot % 64;

		if (word)
			return tick + (unsigned)__builtin_ctzll(word);
		tick += 64 - slot % 64;
	}
	return end;
}

/* Moves what is due in one slot to `due`; a timer of a later round stays. */
static void
wheel_collect(struct wheel *wheel, unsigned slot, uint64_t now_tick, struct loop_timer *due)
{
	struct loop_timer *head = &wheel->slot[slot], *timer, *next;

	for (timer = head->next; timer != head; timer = next) {
		next = timer->next;
		if (timer->due_ms / TICK_MS > now_tick)
			continue;
		timer_unlink(timer);
		timer_link(due, timer);
	}
	if (head->next == head)
		wheel->used[slot / 64] &= ~(1ull << slot % 64);
}

static void
on_tick(uv_timer_t *uv)
{
	struct loop *loop = uv->data;
	struct wheel *wheel = &loop->wheel;
	uint64_t now_tick = uv_now(&loop->uv) / TICK_MS;
	struct loop_timer due;

	wheel->armed_ms = 0;
	timer_list_init(&due);
	if (now_tick > wheel->tick + WHEEL_SLOTS)
		wheel->tick = now_tick - WHEEL_SLOTS; /* once round is all of it */
	while (wheel->tick < now_tick) {
		unsigned slot = ++wheel->tick % WHEEL_SLOTS;

		if (wheel->used[slot / 64] >> slot % 64 & 1)
			wheel_collect(wheel, slot, now_tick, &due);
	}
	/* fn may stop others of this list, or start any */
	while (due.next != &due) {
		struct loop_timer *timer = due.next;

		timer_unlink(timer);
		timer->due_ms = 0;
		wheel->count--;
		timer->fn(timer);
	}
	if (wheel->count) {
		uint64_t next_ms = wheel_next_tick(wheel) * TICK_MS;

		if (!wheel->armed_ms || next_ms < wheel->armed_ms)
			wheel_arm(loop, next_ms);
	}
}

void
loop_timer_init(struct loop_timer *timer, struct loop *loop, void (*fn)(struct loop_timer *timer))
{
	*timer = (struct loop_timer){.loop = loop, .fn = fn};
}

void
loop_timer_start(struct loop_timer *timer, uint64_t ms)
{
	struct loop *loop = timer->loop;
	struct wheel *wheel = &loop->wheel;
	uint64_t now = uv_now(&loop->uv), tick;
	unsigned slot;

	assert(current == loop);
	loop_timer_stop(timer);
	if (!wheel->count)
		wheel->tick = now / TICK_MS;
	if (ms > UINT64_MAX / 4)
		ms = UINT64_MAX / 4;
	tick = (now + ms + TICK_MS - 1) / TICK_MS;
	if (tick <= wheel->tick)
		tick = wheel->tick + 1;
	slot = tick % WHEEL_SLOTS;
	timer->due_ms = tick * TICK_MS;
	timer_link(&wheel->slot[slot], timer);
	wheel->used[slot / 64] |= 1ull << slot % 64;
	wheel->count++;
	if (!wheel->armed_ms || timer->due_ms < wheel->armed_ms)
		wheel_arm(loop, timer->due_ms);
}

void
loop_timer_stop(struct loop_timer *timer)
{
	assert(current == timer->loop);
	if (!timer->due_ms)
		return;
	timer_unlink(timer);
	timer->due_ms = 0;
	timer->loop->wheel.count--;
}

uint64_t
loop_now_ms(struct loop *loop)
{
	assert(current == loop);
	return uv_now(&loop->uv);
}

/* ---- the loop ---------------------------------------------------------- */

static void
on_async(uv_async_t *async)
{
	struct loop *loop = async->data;

	/* messages run in on_check, after all of this poll's events */
	if (atomic_load_explicit(&loop->stop, memory_order_acquire))
		uv_stop(&loop->uv);
}

static void
on_idle(uv_idle_t *idle)
{
	(void)idle; /* it only keeps the poll from sleeping */
}

static void
on_prepare(uv_prepare_t *prepare)
{
	struct loop *loop = prepare->data;
	struct loop_msg *expected = NULL;
	bool awake;

	run_deferred(loop);
	awake = loop->self.head ||
		!atomic_compare_exchange_strong_explicit(&loop->inbox, &expected, INBOX_IDLE,
							 memory_order_acq_rel, memory_order_relaxed);
	if (awake == loop->idle_active)
		return;
	loop->idle_active = awake;
	if (awake)
		uv_idle_start(&loop->idle, on_idle);
	else
		uv_idle_stop(&loop->idle);
}

static void
on_check(uv_check_t *check)
{
	struct loop *loop = check->data;

	run_messages(loop);
	if (atomic_load_explicit(&loop->stop, memory_order_acquire))
		uv_stop(&loop->uv);
}

static void
wheel_init(struct loop *loop)
{
	struct wheel *wheel = &loop->wheel;

	for (unsigned i = 0; i < WHEEL_SLOTS; i++)
		timer_list_init(&wheel->slot[i]);
	uv_timer_init(&loop->uv, &wheel->uv);
	wheel->uv.data = loop;
}

static int
index_claim(unsigned index)
{
	uint64_t bit = 1ull << index;

	return atomic_fetch_or(&indexes_in_use, bit) & bit ? -EEXIST : 0;
}

int
loop_new(const char *name, unsigned index, struct loop **ret)
{
	struct loop *loop;
	int r;

	_Static_assert(LOOPS_MAX <= 64, "indexes_in_use has a bit per loop");
	assert(index < LOOPS_MAX);
	r = index_claim(index);
	if (r)
		return r;
	loop = aligned_alloc(64, align_up(sizeof(*loop), 64));
	if (!loop) {
		r = -ENOMEM;
		goto unclaim;
	}
	memset(loop, 0, sizeof(*loop));
	loop->index = index;
	memcpy(loop->name, name, strnlen(name, sizeof(loop->name) - 1));
	list_init(&loop->deferred);
	list_init(&loop->self);
	r = uv_loop_init(&loop->uv);
	if (r)
		goto free;
	loop->uv.data = loop;
	r = uv_async_init(&loop->uv, &loop->async, on_async);
	if (r)
		goto close;
	uv_prepare_init(&loop->uv, &loop->prepare);
	uv_check_init(&loop->uv, &loop->check);
	uv_idle_init(&loop->uv, &loop->idle);
	loop->async.data = loop->prepare.data = loop->check.data = loop->idle.data = loop;
	uv_prepare_start(&loop->prepare, on_prepare);
	uv_check_start(&loop->check, on_check);
	wheel_init(loop);
	*ret = loop;
	return 0;
close:
	uv_loop_close(&loop->uv);
free:
	free(loop);
unclaim:
	atomic_fetch_and(&indexes_in_use, ~(1ull << index));
	return r;
}

/* Every signal but those that report a fault of the thread itself. */
static void
signals_of_loops(sigset_t *set)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPROF};

	sigfillset(set);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(set, faults[i]);
}

/* Signals are for the thread that runs main(). */
static int
thread_create(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	sigset_t blocked, old;
	int r;

	signals_of_loops(&blocked);
	pthread_sigmask(SIG_BLOCK, &blocked, &old);
	r = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static void
thread_name(const char *name)
{
	char kernel_name[16] = "";

	memcpy(kernel_name, name, strnlen(name, sizeof(kernel_name) - 1));
	pthread_setname_np(pthread_self(), kernel_name);
}

static void *
loop_main(void *arg)
{
	struct loop *loop = arg;

	thread_name(loop->name);
	loop_run(loop);
	return NULL;
}

int
loop_start(struct loop *loop)
{
	int r;

	assert(!loop->started);
	loop->started = true; /* before the thread is there: it is not written again while it runs */
	r = thread_create(&loop->thread, loop_main, loop);
	if (r)
		loop->started = false;
	return r;
}

/* Until nobody has anything to say, but not for ever with those who post to themselves. */
static void
drain(struct loop *loop)
{
	for (unsigned i = 0; i < DRAIN_PASSES_MAX; i++) {
		bool any = run_messages(loop);

		any |= run_deferred(loop);
		if (!any)
			return;
	}
}

void
loop_run(struct loop *loop)
{
	sigset_t pipe_signal;

	assert(!current);
	current = loop;
	/* a peer that went away is an error of a write, not a signal */
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
	uv_update_time(&loop->uv);
	run_messages(loop); /* this thread may have posted as a foreigner: that comes before what it posts
			       from now on */
	if (!atomic_load_explicit(&loop->stop, memory_order_acquire))
		uv_run(&loop->uv, UV_RUN_DEFAULT);
	drain(loop);
	atomic_store_explicit(&loop->stop, false, memory_order_release);
	current = NULL;
}

void
loop_stop(struct loop *loop)
{
	atomic_fetch_add_explicit(&loop->wakers, 1, memory_order_relaxed);
	atomic_store_explicit(&loop->stop, true, memory_order_release);
	uv_async_send(&loop->async);
	atomic_fetch_sub_explicit(&loop->wakers, 1, memory_order_release);
}

static void
close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

void
loop_free(struct loop *loop)
{
	struct loop *outer = current;

	if (!loop)
		return;
	assert(outer != loop);
	if (loop->started) {
		loop_stop(loop);
		pthread_join(loop->thread, NULL);
	}
	while (atomic_load_explicit(&loop->wakers, memory_order_acquire))
		sched_yield();
	current = loop;
	drain(loop);
	for (unsigned i = 0; i < LOOP_SLOT_COUNT; i++)
		if (loop->slots[i].p)
			loop->slots[i].destroy(loop->slots[i].p);
	drain(loop);
	/* on_prepare and on_check must not run any more: what closes does not post */
	uv_walk(&loop->uv, close_handle, NULL);
	while (uv_run(&loop->uv, UV_RUN_DEFAULT))
		;
	drain(loop);
	current = outer;
	if (uv_loop_close(&loop->uv))
		assert(!"a handle of this loop is still open");
	atomic_fetch_and(&indexes_in_use, ~(1ull << loop->index));
	free(loop);
}

struct loop *
loop_current(void)
{
	return current;
}

struct uv_loop_s *
loop_uv(struct loop *loop)
{
	return &loop->uv;
}

unsigned
loop_index(const struct loop *loop)
{
	return loop->index;
}

const char *
loop_name(const struct loop *loop)
{
	return loop->name;
}

void
loop_slot_set(struct loop *loop, enum loop_slot slot, void *p, void (*destroy)(void *p))
{
	assert(current == loop && !loop->slots[slot].p);
	loop->slots[slot].p = p;
	loop->slots[slot].destroy = destroy;
}

void *
loop_slot_get(const struct loop *loop, enum loop_slot slot)
{
	assert(current == loop);
	return loop->slots[slot].p;
}

/* ---- the pool ---------------------------------------------------------- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct loop_work *head, **tail;
	bool stopping;
	unsigned n;
	pthread_t threads[POOL_MAX];
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static void
work_done(struct loop_msg *msg)
{
	struct loop_work *work = container_of(msg, struct loop_work, msg);

	work->done(work);
}

static void *
pool_main(void *arg)
{
	(void)arg;
	thread_name("lg-pool");
	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct loop_work *work = pool.head;

		if (!work) {
			if (pool.stopping)
				break;
			pthread_cond_wait(&pool.cond, &pool.lock);
			continue;
		}
		pool.head = work->next;
		if (!pool.head)
			pool.tail = &pool.head;
		pthread_mutex_unlock(&pool.lock);
		work->run(work);
		loop_post(work->loop, &work->msg);
		pthread_mutex_lock(&pool.lock);
	}
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

void
loop_offload(struct loop *loop, struct loop_work *work)
{
	assert(current == loop);
	work->loop = loop;
	work->msg.fn = work_done;
	work->next = NULL;
	pthread_mutex_lock(&pool.lock);
	assert(pool.n && !pool.stopping);
	*pool.tail = work;
	pool.tail = &work->next;
	pthread_cond_signal(&pool.cond);
	pthread_mutex_unlock(&pool.lock);
}

int
loop_pool_init(unsigned threads)
{
	int r = 0;

	if (!threads)
		threads = POOL_DEFAULT;
	threads = min_of(threads, POOL_MAX);
	pthread_mutex_lock(&pool.lock);
	assert(!pool.n);
	pool.head = NULL;
	pool.tail = &pool.head;
	pool.stopping = false;
	while (pool.n < threads) {
		r = thread_create(&pool.threads[pool.n], pool_main, NULL);
		if (r)
			break;
		pool.n++;
	}
	pthread_mutex_unlock(&pool.lock);
	if (r)
		loop_pool_fini();
	return r;
}

void
loop_pool_fini(void)
{
	pthread_mutex_lock(&pool.lock);
	pool.stopping = true;
	pthread_cond_broadcast(&pool.cond);
	pthread_mutex_unlock(&pool.lock);
	for (unsigned i = 0; i < pool.n; i++)
		pthread_join(pool.threads[i], NULL);
	pool.n = 0;
}
