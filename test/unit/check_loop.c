/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop: messages, deferred work, timers, calls, the pool, life and death. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "common/loop.h"
#include "common/util.h"

#define POSTERS 4
#define MESSAGES 20000

static struct loop *
loop_started(const char *name, unsigned index)
{
	struct loop *loop;

	ck_assert_int_eq(loop_new(name, index, &loop), 0);
	ck_assert_int_eq(loop_start(loop), 0);
	return loop;
}

static int
call_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* ---- messages ---------------------------------------------------------- */

struct numbered {
	struct loop_msg msg;
	unsigned poster, number;
};

struct poster {
	pthread_t thread;
	struct loop *loop;
	struct numbered *messages;
};

static struct {
	unsigned next[POSTERS];
	unsigned disordered, total;
	struct loop *loop;
	sem_t all;
} order;

static void
numbered_run(struct loop_msg *msg)
{
	struct numbered *m = container_of(msg, struct numbered, msg);

	if (m->number != order.next[m->poster]++ || loop_current() != order.loop)
		order.disordered++;
	if (++order.total == POSTERS * MESSAGES)
		sem_post(&order.all);
}

static void *
poster_main(void *arg)
{
	struct poster *poster = arg;

	for (unsigned i = 0; i < MESSAGES; i++) {
		loop_post(poster->loop, &poster->messages[i].msg);
		if (i % 1000 == 0)
			sched_yield(); /* let the loop fall asleep now and then */
	}
	return NULL;
}

START_TEST(messages_keep_their_order)
{
	struct poster posters[POSTERS];

	memset(&order, 0, sizeof(order));
	sem_init(&order.all, 0, 0);
	order.loop = loop_started("order", 0);
	for (unsigned p = 0; p < POSTERS; p++) {
		posters[p].loop = order.loop;
		posters[p].messages = calloc(MESSAGES, sizeof(struct numbered));
		for (unsigned i = 0; i < MESSAGES; i++)
			posters[p].messages[i] = (struct numbered){{.fn = numbered_run}, p, i};
		ck_assert_int_eq(pthread_create(&posters[p].thread, NULL, poster_main, &posters[p]), 0);
	}
	sem_wait(&order.all);
	for (unsigned p = 0; p < POSTERS; p++) {
		pthread_join(posters[p].thread, NULL);
		free(posters[p].messages);
	}
	loop_free(order.loop);
	ck_assert_uint_eq(order.disordered, 0);
	ck_assert_uint_eq(order.total, POSTERS * MESSAGES);
	sem_destroy(&order.all);
}
END_TEST

/* Two loops throw one message to and fro: every post meets a loop that sleeps, or is about to. */
struct ball {
	struct loop_msg msg;
	struct loop *loops[2];
	unsigned throws;
	sem_t landed;
};

static void
ball_run(struct loop_msg *msg)
{
	struct ball *ball = container_of(msg, struct ball, msg);

	if (++ball->throws == MESSAGES)
		sem_post(&ball->landed);
	else
		loop_post(ball->loops[ball->throws % 2], msg);
}

START_TEST(no_wakeup_is_lost)
{
	struct ball ball = {.msg.fn = ball_run};

	sem_init(&ball.landed, 0, 0);
	ball.loops[0] = loop_started("ping", 0);
	ball.loops[1] = loop_started("pong", 1);
	loop_post(ball.loops[0], &ball.msg);
	sem_wait(&ball.landed);
	loop_free(ball.loops[0]);
	loop_free(ball.loops[1]);
	ck_assert_uint_eq(ball.throws, MESSAGES);
	sem_destroy(&ball.landed);
}
END_TEST

/* ---- deferred work ----------------------------------------------------- */

#define TRACE_MAX 32

static struct {
	struct loop *loop;
	char text[TRACE_MAX];
	unsigned n;
	struct loop_msg a, b, c, post, self;
} trace;

static void
mark(char c)
{
	if (trace.n < TRACE_MAX - 1)
		trace.text[trace.n++] = c;
}

static void
run_c(struct loop_msg *msg)
{
	(void)msg;
	mark('c');
}

static void
run_self(struct loop_msg *msg)
{
	(void)msg;
	mark('s');
	loop_stop(trace.loop);
}

static void
run_a(struct loop_msg *msg)
{
	(void)msg;
	mark('a');
	loop_post(trace.loop, &trace.self); /* next iteration, without waiting */
	loop_defer(trace.loop, &trace.c);   /* this pass */
}

static void
run_b(struct loop_msg *msg)
{
	(void)msg;
	mark('b');
}

static void
run_post(struct loop_msg *msg)
{
	(void)msg;
	mark('p');
	loop_defer(trace.loop, &trace.a);
	loop_defer(trace.loop, &trace.b);
	mark('q');
}

START_TEST(deferred_work_runs_after_events_before_messages)
{
	memset(&trace, 0, sizeof(trace));
	trace.a.fn = run_a;
	trace.b.fn = run_b;
	trace.c.fn = run_c;
	trace.post.fn = run_post;
	trace.self.fn = run_self;
	ck_assert_int_eq(loop_new("defer", 0, &trace.loop), 0);
	loop_post(trace.loop, &trace.post);
	ck_assert_ptr_null(loop_current());
	loop_run(trace.loop); /* hangs when deferred work or an own post waits in poll */
	ck_assert_ptr_null(loop_current());
	loop_free(trace.loop);
	ck_assert_str_eq(trace.text, "pqabcs");
}
END_TEST

/* ---- stop and drain ---------------------------------------------------- */

static unsigned drained;

static void
run_count(struct loop_msg *msg)
{
	(void)msg;
	drained++;
}

START_TEST(stop_drains_what_was_posted)
{
	struct loop_msg first = {.fn = run_count}, second = {.fn = run_count};
	struct loop *loop;

	drained = 0;
	ck_assert_int_eq(loop_new("drain", 0, &loop), 0);
	loop_post(loop, &first);
	loop_post(loop, &second);
	loop_stop(loop); /* before it runs: it ends at once */
	loop_run(loop);
	ck_assert_uint_eq(drained, 2);
	loop_post(loop, &first); /* to a loop that has stopped: not lost either */
	loop_free(loop);
	ck_assert_uint_eq(drained, 3);
}
END_TEST

START_TEST(indexes_are_unique)
{
	struct loop *loop, *other = NULL;

	ck_assert_int_eq(loop_new("one", 5, &loop), 0);
	ck_assert_int_eq(loop_new("two", 5, &other), -EEXIST);
	ck_assert_ptr_null(other);
	ck_assert_uint_eq(loop_index(loop), 5);
	ck_assert_str_eq(loop_name(loop), "one");
	loop_free(loop);
	ck_assert_int_eq(loop_new("two", 5, &other), 0);
	loop_free(other); /* never run */
}
END_TEST

/* ---- calls ------------------------------------------------------------- */

struct adder {
	struct loop *loop;
	int sum;
	bool misplaced;
};

static int
call_add(void *arg)
{
	struct adder *adder = arg;

	adder->misplaced |= loop_current() != adder->loop;
	return ++adder->sum;
}

static int
call_nested(void *arg)
{
	struct adder *adder = arg;

	return loop_call(adder->loop, call_add, adder); /* on the loop: a plain call */
}

static void *
caller_main(void *arg)
{
	struct adder *adder = arg;

	for (int i = 0; i < 500; i++)
		loop_call(adder->loop, call_add, adder);
	return NULL;
}

START_TEST(call_returns_the_result)
{
	struct adder adder = {.loop = loop_started("call", 3)};
	pthread_t threads[3];

	ck_assert_int_eq(loop_call(adder.loop, call_add, &adder), 1);
	ck_assert_int_eq(loop_call(adder.loop, call_nested, &adder), 2);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, caller_main, &adder);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(loop_call(adder.loop, call_add, &adder), 1503);
	ck_assert(!adder.misplaced);
	loop_free(adder.loop);
}
END_TEST

static int
call_thread_facts(void *arg)
{
	char *name = arg;
	sigset_t set;

	pthread_getname_np(pthread_self(), name, 16);
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	return sigismember(&set, SIGPIPE) == 1 && sigismember(&set, SIGTERM) == 1 &&
	       sigismember(&set, SIGSEGV) == 0;
}

START_TEST(threads_have_names_and_no_signals)
{
	struct loop *loop = loop_started("a-rather-long-name", 0);
	char name[16] = "";
	sigset_t set;

	ck_assert_int_eq(loop_call(loop, call_thread_facts, name), 1);
	ck_assert_str_eq(name, "a-rather-long-n");
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	ck_assert_int_eq(sigismember(&set, SIGTERM), 0);
	loop_free(loop);
}
END_TEST

/* ---- timers ------------------------------------------------------------ */

#define TIMERS 6

static struct {
	struct loop *loop;
	struct loop_timer timers[TIMERS], last;
	uint64_t start_ms, fired_ms[TIMERS];
	unsigned order[TIMERS], n;
	unsigned restarts;
	struct loop_msg begin;
} clockwork;

static void
on_last(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(clockwork.loop);
}

static void
on_timer(struct loop_timer *timer)
{
	unsigned i = (unsigned)(timer - clockwork.timers);

	ck_assert_uint_eq(timer->due_ms, 0);
	clockwork.fired_ms[i] = loop_now_ms(clockwork.loop);
	if (clockwork.n < TIMERS)
		clockwork.order[clockwork.n] = i;
	clockwork.n++;
	if (i == 0 && clockwork.restarts++ < 3)
		loop_timer_start(timer, 0); /* again from its own fn: never in the same tick for ever */
	if (i == 1)
		loop_timer_stop(&clockwork.timers[2]); /* same tick, behind us in the list */
}

static void
begin_timers(struct loop_msg *msg)
{
	(void)msg;
	clockwork.start_ms = loop_now_ms(clockwork.loop);
	for (unsigned i = 0; i < TIMERS; i++)
		loop_timer_init(&clockwork.timers[i], clockwork.loop, on_timer);
	loop_timer_init(&clockwork.last, clockwork.loop, on_last);
	loop_timer_start(&clockwork.last, 150);
	loop_timer_start(&clockwork.timers[5],
			 60 + 5120); /* in the slot of timer 3, one round of the wheel later */
	loop_timer_start(&clockwork.timers[4], 90);
	loop_timer_start(&clockwork.timers[3], 20);
	loop_timer_start(&clockwork.timers[3], 60); /* re-armed */
	loop_timer_start(&clockwork.timers[1], 40);
	loop_timer_start(&clockwork.timers[2], 40);
	loop_timer_start(&clockwork.timers[0], 0);
	loop_timer_stop(&clockwork.timers[4]);
	loop_timer_stop(&clockwork.timers[4]);
}

START_TEST(timers_fire_in_order_and_not_early)
{
	memset(&clockwork, 0, sizeof(clockwork));
	clockwork.begin.fn = begin_timers;
	ck_assert_int_eq(loop_new("timers", 0, &clockwork.loop), 0);
	loop_post(clockwork.loop, &clockwork.begin);
	loop_run(clockwork.loop);
	loop_free(clockwork.loop);
	/* timer 0 four times, then 1, then 3; 2 and 4 were stopped, 5 is far away */
	ck_assert_uint_eq(clockwork.n, 6);
	ck_assert_uint_eq(clockwork.order[0], 0);
	ck_assert_uint_ge(clockwork.fired_ms[1], clockwork.start_ms + 40);
	ck_assert_uint_ge(clockwork.fired_ms[3], clockwork.start_ms + 60);
	ck_assert_uint_eq(clockwork.fired_ms[2], 0);
	ck_assert_uint_eq(clockwork.fired_ms[4], 0);
	ck_assert_uint_eq(clockwork.fired_ms[5], 0);
	ck_assert_uint_ne(clockwork.timers[5].due_ms, 0);
}
END_TEST

static int
call_many_timers(void *arg)
{
	static struct loop_timer many[2000];
	struct loop *loop = arg;

	/* start and stop all over the wheel, several rounds deep: lists stay whole */
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		loop_timer_init(&many[i], loop, on_timer);
		loop_timer_start(&many[i], 1000 + i * 37 % 60000);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		loop_timer_start(&many[i * 7 % ARRAY_SIZE(many)], 2000 + i);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		loop_timer_stop(&many[i * 13 % ARRAY_SIZE(many)]);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		if (many[i].due_ms || many[i].next)
			return -1;
	return 0;
}

START_TEST(timers_start_and_stop_in_any_order)
{
	struct loop *loop = loop_started("many", 0);

	ck_assert_int_eq(loop_call(loop, call_many_timers, loop), 0);
	loop_free(loop);
}
END_TEST

/* ---- the pool ---------------------------------------------------------- */

#define WORKS 200

static struct {
	struct loop *loop;
	struct loop_work works[WORKS];
	_Atomic unsigned started;
	unsigned first_pick[WORKS];
	_Atomic unsigned on_a_loop;
	unsigned done, misplaced;
	sem_t all;
} batch;

static void
batch_run(struct loop_work *work)
{
	unsigned turn = atomic_fetch_add(&batch.started, 1);

	batch.first_pick[turn] = (unsigned)(work - batch.works);
	if (loop_current())
		atomic_fetch_add(&batch.on_a_loop, 1);
}

static void
batch_done(struct loop_work *work)
{
	(void)work;
	if (loop_current() != batch.loop)
		batch.misplaced++;
	if (++batch.done == WORKS)
		sem_post(&batch.all);
}

static int
call_offload(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < WORKS; i++) {
		batch.works[i].run = batch_run;
		batch.works[i].done = batch_done;
		loop_offload(batch.loop, &batch.works[i]);
	}
	return 0;
}

static void
run_batch(unsigned threads)
{
	memset(&batch, 0, sizeof(batch));
	sem_init(&batch.all, 0, 0);
	ck_assert_int_eq(loop_pool_init(threads), 0);
	batch.loop = loop_started("pool", 0);
	loop_call(batch.loop, call_offload, NULL);
	sem_wait(&batch.all);
	loop_pool_fini();
	loop_free(batch.loop);
	ck_assert_uint_eq(batch.done, WORKS);
	ck_assert_uint_eq(batch.misplaced, 0);
	ck_assert_uint_eq(batch.on_a_loop, 0);
	sem_destroy(&batch.all);
}

START_TEST(offload_comes_back_to_its_loop)
{
	run_batch(0);
	run_batch(1); /* one thread: strictly first in, first out; and the pool can be made again */
	for (unsigned i = 0; i < WORKS; i++)
		ck_assert_uint_eq(batch.first_pick[i], i);
}
END_TEST

START_TEST(pool_fini_runs_what_is_queued)
{
	memset(&batch, 0, sizeof(batch));
	sem_init(&batch.all, 0, 0);
	ck_assert_int_eq(loop_pool_init(2), 0);
	batch.loop = loop_started("pool", 0);
	loop_call(batch.loop, call_offload, NULL);
	loop_pool_fini();
	ck_assert_uint_eq(atomic_load(&batch.started), WORKS);
	loop_free(batch.loop); /* its drain delivers what is left */
	ck_assert_uint_eq(batch.done, WORKS);
	sem_destroy(&batch.all);
}
END_TEST

/* ---- slots and handles of others --------------------------------------- */

struct companion {
	uv_idle_t idle;
	struct loop *loop;
};

static unsigned companions_closed;

static void
companion_closed(uv_handle_t *handle)
{
	companions_closed++;
	free(handle->data);
}

static void
companion_destroy(void *p)
{
	struct companion *c = p;

	if (loop_current() == c->loop)
		uv_close((uv_handle_t *)&c->idle, companion_closed);
}

static int
call_companion(void *arg)
{
	struct companion *c = calloc(1, sizeof(*c));

	c->loop = arg;
	c->idle.data = c;
	uv_idle_init(loop_uv(c->loop), &c->idle);
	if (loop_slot_get(c->loop, LOOP_SLOT_HTTP))
		return -EEXIST;
	loop_slot_set(c->loop, LOOP_SLOT_HTTP, c, companion_destroy);
	return loop_slot_get(c->loop, LOOP_SLOT_HTTP) == c ? 0 : -ENOENT;
}

START_TEST(slots_are_destroyed_with_the_loop)
{
	struct loop *loop = loop_started("slots", 0);

	companions_closed = 0;
	ck_assert_int_eq(loop_call(loop, call_companion, loop), 0);
	loop_free(loop);
	ck_assert_uint_eq(companions_closed, 1);
}
END_TEST

START_TEST(an_idle_loop_sleeps)
{
	struct loop *loop = loop_started("idle", 0);
	uint64_t cpu_ns;
	struct timespec ts;

	/* the idle handle must not stay active: else the loop would burn a processor */
	loop_call(loop, call_nothing, NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	cpu_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	poll(NULL, 0, 100);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	cpu_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec - cpu_ns;
	ck_assert_uint_lt(cpu_ns, 50000000);
	loop_free(loop);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, messages_keep_their_order);
	tcase_add_test(tc, no_wakeup_is_lost);
	tcase_add_test(tc, deferred_work_runs_after_events_before_messages);
	tcase_add_test(tc, stop_drains_what_was_posted);
	tcase_add_test(tc, indexes_are_unique);
	tcase_add_test(tc, call_returns_the_result);
	tcase_add_test(tc, threads_have_names_and_no_signals);
	tcase_add_test(tc, timers_fire_in_order_and_not_early);
	tcase_add_test(tc, timers_start_and_stop_in_any_order);
	tcase_add_test(tc, offload_comes_back_to_its_loop);
	tcase_add_test(tc, pool_fini_runs_what_is_queued);
	tcase_add_test(tc, slots_are_destroyed_with_the_loop);
	tcase_add_test(tc, an_idle_loop_sleeps);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
