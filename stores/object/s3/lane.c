/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which request of a store goes next on a loop, to which endpoint, and when again.
 *
 * A call: queued -> (a slot, an endpoint, bandwidth, a key) in flight -> done
 *                                                                     -> pausing -> queued, in front
 *                -> parked until keys were read -> queued, in front
 *
 * Classes: FIRST before BULK before LATE, but one of the next after STREAK; BULK and LATE leave a quarter of
 * the slots to FIRST, so that a read does not wait behind megabytes of destage.
 *
 * Invariants: run() is called by its message alone, and that is posted only while something is queued; the
 * wake timer runs only then.  So a store without calls has nothing under way on any loop, and may be freed by
 * any thread.
 *
 * Threads: a lane belongs to its loop; a store's lanes are freed when no loop uses them.
 */
#include <assert.h>
#include <stdlib.h>

#include "common/bytes.h"
#include "common/log.h"
#include "common/util.h"
#include "stores/object/s3/s3_int.h"

#define ALL_MAX 256u /* requests of this process in flight, unless it is told otherwise */
#define ALL_WAIT_MS 10u
#define STREAK 8u

struct queue {
	struct s3_call *head, *tail;
};

struct s3_lane {
	struct s3_store *s3;
	struct loop *loop;
	struct queue queues[S3_CLASS_COUNT];
	unsigned nqueued;
	unsigned streak;      /* calls of FIRST that passed others */
	unsigned late_streak; /* calls of BULK that passed LATE */
	struct s3_window window;
	unsigned patient; /* in flight of BULK and LATE */
	struct s3_circuit circuits[S3_ENDPOINTS_MAX];
	unsigned turn;
	struct s3_meaning away; /* why the latest attempt had no answer */
	struct s3_rate up, down;
	struct loop_timer wake;
	struct loop_msg run;
	bool posted;
	/* ---- reading keys; on behalf of the first of `parked` */
	struct loop_work refresh;
	bool refreshing;
	int refresh_rc;
	struct errinfo refresh_info;
	struct queue parked;
	/* ---- for onlookers */
	_Atomic unsigned seen_in_flight, seen_queued, seen_limit;
};

/* What all lanes of all stores share.  A limit may be passed by as many requests as loops look at it at once. */
static _Atomic unsigned all_in_flight, all_max = ALL_MAX;
static struct s3_shared_rate all_up, all_down;

void
s3_limits_set(const struct object_limits *limits)
{
	atomic_store(&all_max, limits->in_flight ? limits->in_flight : ALL_MAX);
	atomic_store(&all_up.per_s, limits->up);
	atomic_store(&all_down.per_s, limits->down);
}

static void
show(struct s3_lane *lane)
{
	atomic_store_explicit(&lane->seen_in_flight, lane->window.in_flight, memory_order_relaxed);
	atomic_store_explicit(&lane->seen_queued, lane->nqueued, memory_order_relaxed);
	atomic_store_explicit(&lane->seen_limit, s3_window_limit(&lane->window), memory_order_relaxed);
}

static void
push(struct queue *q, struct s3_call *call)
{
	call->next = NULL;
	if (q->head)
		q->tail->next = call;
	else
		q->head = call;
	q->tail = call;
}

static void
push_front(struct queue *q, struct s3_call *call)
{
	call->next = q->head;
	if (!q->head)
		q->tail = call;
	q->head = call;
}

static struct s3_call *
pop(struct queue *q)
{
	struct s3_call *call = q->head;

	q->head = call->next;
	return call;
}

static void
kick(struct s3_lane *lane)
{
	if (lane->posted || !lane->nqueued)
		return;
	lane->posted = true;
	loop_post(lane->loop, &lane->run);
}

static void
enqueue(struct s3_lane *lane, struct s3_call *call, bool front)
{
	(front ? push_front : push)(&lane->queues[call->class], call);
	lane->nqueued++;
	kick(lane);
}

/* ---- choosing ---- */

static uint64_t
bytes_up(const struct s3_call *call)
{
	return call->req->op == OBJECT_PUT ? object_iov_bytes(call->req->iov, call->req->niov) : 0;
}

static uint64_t
bytes_down(const struct s3_call *call)
{
	return call->req->op != OBJECT_GET ? 0
	       : call->req->length         ? call->req->length
					   : object_iov_bytes(call->req->iov, call->req->niov);
}

/* what the others may have at once */
static unsigned
patient_limit(const struct s3_lane *lane)
{
	unsigned limit = s3_window_limit(&lane->window);

	return limit - limit / 4;
}

/* The class whose turn it is, or -1. */
static int
next_class(struct s3_lane *lane)
{
	bool others = (lane->queues[S3_CLASS_BULK].head || lane->queues[S3_CLASS_LATE].head) &&
		      lane->patient < patient_limit(lane);
	bool first = lane->queues[S3_CLASS_FIRST].head;

	if (first && !(others && lane->streak >= STREAK)) {
		lane->streak = others ? lane->streak + 1 : 0;
		return S3_CLASS_FIRST;
	}
	lane->streak = 0;
	if (!others)
		return -1;
	if (lane->queues[S3_CLASS_BULK].head &&
	    (!lane->queues[S3_CLASS_LATE].head || lane->late_streak++ < STREAK))
		return S3_CLASS_BULK;
	lane->late_streak = 0;
	return S3_CLASS_LATE;
}

static void
start(struct s3_lane *lane, struct s3_call *call, int endpoint, struct s3_key *key, uint64_t now)
{
	call->endpoint = endpoint;
	call->attempt_ms = now;
	s3_circuit_begin(&lane->circuits[endpoint], now);
	s3_rate_take(&lane->up, bytes_up(call));
	s3_rate_take(&lane->down, bytes_down(call));
	s3_shared_rate_take(&all_up, bytes_up(call), now * 1000000);
	s3_shared_rate_take(&all_down, bytes_down(call), now * 1000000);
	lane->window.in_flight++;
	lane->patient += call->class != S3_CLASS_FIRST;
	atomic_fetch_add_explicit(&all_in_flight, 1, memory_order_relaxed);
	s3_call_attempt(call, &lane->s3->url.endpoints[endpoint], key);
}

/* What our own limits say: 0 = go on, else milliseconds until it is worth another look. */
static unsigned
limits_wait(struct s3_lane *lane, uint64_t now)
{
	unsigned up = max_of(s3_rate_wait_ms(&lane->up, now), s3_shared_rate_wait_ms(&all_up, now * 1000000));
	unsigned down =
		max_of(s3_rate_wait_ms(&lane->down, now), s3_shared_rate_wait_ms(&all_down, now * 1000000));

	if (up || down)
		return max_of(up, down);
	return atomic_load_explicit(&all_in_flight, memory_order_relaxed) >=
			       atomic_load_explicit(&all_max, memory_order_relaxed)
		       ? ALL_WAIT_MS
		       : 0;
}

/* The next endpoint in turn, another one than failed this call if there is one.  Without this, a call whose
 * steps alternate could meet the dead one of two at every PUT. */
static int
choose_endpoint(struct s3_lane *lane, const struct s3_call *call, uint64_t now, unsigned *ret_wait)
{
	unsigned n = lane->s3->url.nendpoints, wait;
	int first = s3_circuit_pick(lane->circuits, n, &lane->turn, now, ret_wait), other;

	if (first < 0 || first != call->avoid)
		return first;
	other = s3_circuit_pick(lane->circuits, n, &lane->turn, now, &wait);
	return other >= 0 ? other : first;
}

/* Its time is up while no endpoint answers. */
static bool
expired(struct s3_call *call, uint64_t now)
{
	if (now <= call->begun_ms + call->s3->retry_ms)
		return false;
	if (!call->meaning.err && call->lane->away.err)
		call->meaning = call->lane->away;
	if (!call->meaning.err)
		call->meaning =
			(struct s3_meaning){S3_RETRY, -ETIMEDOUT, S3_SUBJECT_ENDPOINT, "no endpoint answers"};
	call->status = call->meaning.err;
	return true;
}

static void
run(struct loop_msg *msg)
{
	struct s3_lane *lane = container_of(msg, struct s3_lane, run);
	uint64_t now = loop_now_ms(lane->loop);
	struct s3_call *gone = NULL;

	lane->posted = false;
	loop_timer_stop(&lane->wake);
	while (lane->window.in_flight < s3_window_limit(&lane->window)) {
		int class = next_class(lane), endpoint = -1;
		struct s3_call *call;
		struct s3_key *key;
		unsigned limited, wait = 0;
		bool due;

		if (class < 0)
			break;
		call = lane->queues[class].head;
		limited = limits_wait(lane, now);
		if (!limited)
			endpoint = choose_endpoint(lane, call, now, &wait);
		if (limited || (endpoint < 0 && !expired(call, now))) {
			loop_timer_start(&lane->wake, max_of(limited, wait));
			break;
		}
		(void)pop(&lane->queues[class]);
		lane->nqueued--;
		if (endpoint < 0) {
			call->next = gone;
			gone = call;
			continue;
		}
		key = s3_creds_key(lane->s3->creds, &due);
		if (!key || (due && !lane->refreshing && !call->volunteered)) {
			s3_key_unref(key);
			s3_lane_park(call);
			continue;
		}
		start(lane, call, endpoint, key, now);
	}
	show(lane);
	/* last: their ends may free the store */
	while (gone) {
		struct s3_call *call = gone;

		gone = call->next;
		s3_lane_finish(call, S3_OUT_DONE, false);
	}
}

static void
on_wake(struct loop_timer *timer)
{
	kick(container_of(timer, struct s3_lane, wake));
}

/* ---- ends of attempts ---- */

static void
on_pause(struct loop_timer *timer)
{
	struct s3_call *call = container_of(timer, struct s3_call, pause);

	enqueue(call->lane, call, true);
}

static void
note_circuit(struct s3_lane *lane, struct s3_call *call, bool answered, uint64_t now)
{
	struct s3_circuit *c = &lane->circuits[call->endpoint];
	const struct s3_endpoint *e = &lane->s3->url.endpoints[call->endpoint];
	bool was = c->open_until_ms;

	s3_circuit_end(c, answered, now);
	atomic_store_explicit(&lane->s3->out[call->endpoint], c->open_until_ms != 0, memory_order_relaxed);
	if (!was && c->open_until_ms)
		log_warn("%s: endpoint %s:%u does not answer; it is left out for now", lane->s3->store.url,
			 e->host, e->port);
	else if (was && !c->open_until_ms)
		log_info("%s: endpoint %s:%u answers again", lane->s3->store.url, e->host, e->port);
}

static void
complete(struct s3_call *call)
{
	struct object_req *req = call->req;
	int status = call->status;

	if (status < 0 && call->meaning.action != S3_OK)
		s3_call_complain(call);
	s3_call_free(call);
	object_done(req, status);
}

void
s3_lane_finish(struct s3_call *call, enum s3_outcome outcome, bool answered)
{
	struct s3_lane *lane = call->lane;
	uint64_t now = loop_now_ms(lane->loop);
	unsigned delay = 0;
	uint8_t random[4];

	if (call->endpoint >= 0) {
		note_circuit(lane, call, answered, now);
		if (!answered) {
			call->avoid = call->endpoint;
			lane->away = call->meaning;
		}
		lane->window.in_flight--;
		lane->patient -= call->class != S3_CLASS_FIRST;
		atomic_fetch_sub_explicit(&all_in_flight, 1, memory_order_relaxed);
		call->endpoint = -1;
		if (call->meaning.action == S3_SLOW) {
			s3_window_slow(&lane->window, call->attempt_ms, now);
			atomic_fetch_add_explicit(&lane->s3->slow_downs, 1, memory_order_relaxed);
		}
		if (call->meaning.action == S3_OK)
			s3_window_success(&lane->window);
		show(lane);
	}
	if (outcome == S3_OUT_AGAIN) {
		random_bytes(random, sizeof(random));
		delay = s3_backoff_ms(call->attempt, get_le32(random));
		delay = max_of(delay, s3_retry_after_ms(call->http.response.retry_after, time(NULL)));
		call->attempt++;
		atomic_fetch_add_explicit(&lane->s3->retries, 1, memory_order_relaxed);
		if (now + delay > call->begun_ms + call->s3->retry_ms) {
			assert(call->meaning.err < 0);
			outcome = S3_OUT_DONE;
			call->status = call->meaning.err;
		}
	}
	if (outcome == S3_OUT_DONE) {
		kick(lane);
		complete(call);
		return;
	}
	if (delay) {
		loop_timer_start(&call->pause, delay);
		kick(lane);
	} else {
		enqueue(lane, call, true);
	}
}

/* ---- keys ---- */

static void
refresh_run(struct loop_work *work)
{
	struct s3_lane *lane = container_of(work, struct s3_lane, refresh);

	lane->refresh_info.text[0] = '\0';
	lane->refresh_rc = s3_creds_refresh(lane->s3->creds, &lane->refresh_info);
}

static void
refresh_done(struct loop_work *work)
{
	struct s3_lane *lane = container_of(work, struct s3_lane, refresh);
	struct queue parked = lane->parked;
	struct s3_call *failed = NULL;

	lane->refreshing = false;
	lane->parked.head = NULL;
	if (lane->refresh_rc && log_ratelimit(&lane->s3->log_state, 10000))
		log_warn("%s: credentials: %s", lane->s3->store.url,
			 err_words(&lane->refresh_info, lane->refresh_rc));
	while (parked.head) {
		struct s3_call *call = pop(&parked);
		bool due;
		struct s3_key *key = s3_creds_key(lane->s3->creds, &due);

		call->volunteered = true;
		if (key) {
			enqueue(lane, call, true);
		} else {
			call->next = failed;
			failed = call;
		}
		s3_key_unref(key);
	}
	while (failed) {
		struct s3_call *call = failed;

		failed = call->next;
		call->meaning = (struct s3_meaning){S3_FAIL, -EACCES, S3_SUBJECT_PERMISSION,
						    "there are no credentials"};
		call->status = -EACCES;
		s3_lane_finish(call, S3_OUT_DONE, false);
	}
}

void
s3_lane_park(struct s3_call *call)
{
	struct s3_lane *lane = call->lane;

	push(&lane->parked, call);
	if (lane->refreshing)
		return;
	lane->refreshing = true;
	lane->refresh.run = refresh_run;
	lane->refresh.done = refresh_done;
	loop_offload(lane->loop, &lane->refresh);
}

/* ---- lanes ---- */

static struct s3_lane *
lane_get(struct s3_store *s3, struct loop *loop)
{
	unsigned i = loop_index(loop);
	struct s3_lane *lane = atomic_load_explicit(&s3->lanes[i], memory_order_acquire);

	if (!lane) {
		lane = calloc(1, sizeof(*lane));
		if (!lane)
			return NULL;
		lane->s3 = s3;
		lane->run.fn = run;
		s3_window_init(&lane->window, s3->url.in_flight);
		s3_rate_init(&lane->up, s3->url.up, loop_now_ms(loop));
		s3_rate_init(&lane->down, s3->url.down, loop_now_ms(loop));
		loop_timer_init(&lane->wake, loop, on_wake);
		lane->loop = loop;
		atomic_store_explicit(&s3->lanes[i], lane, memory_order_release);
	}
	if (lane->loop != loop) { /* the loop of that index is another one now */
		lane->loop = loop;
		loop_timer_init(&lane->wake, loop, on_wake);
	}
	return lane;
}

int
s3_lane_submit(struct s3_call *call)
{
	struct loop *loop = loop_current();

	call->lane = lane_get(call->s3, loop);
	if (!call->lane)
		return -ENOMEM;
	loop_timer_init(&call->pause, loop, on_pause);
	call->begun_ms = loop_now_ms(loop);
	enqueue(call->lane, call, false);
	return 0;
}

void
s3_lanes_describe(struct s3_store *s3, struct object_description *ret)
{
	unsigned limit;

	ret->limit = ret->limit_max = s3->url.in_flight;
	for (unsigned i = 0; i < LOOPS_MAX; i++) {
		struct s3_lane *lane = atomic_load_explicit(&s3->lanes[i], memory_order_acquire);

		if (!lane)
			continue;
		ret->in_flight += atomic_load_explicit(&lane->seen_in_flight, memory_order_relaxed);
		ret->queued += atomic_load_explicit(&lane->seen_queued, memory_order_relaxed);
		limit = atomic_load_explicit(&lane->seen_limit, memory_order_relaxed);
		if (limit) /* a volume has one loop; its opening had another one */
			ret->limit = min_of(ret->limit, limit);
	}
}

void
s3_lanes_free(struct s3_store *s3)
{
	for (unsigned i = 0; i < LOOPS_MAX; i++) {
		struct s3_lane *lane = atomic_load(&s3->lanes[i]);

		assert(!lane || (!lane->nqueued && !lane->window.in_flight && !lane->refreshing));
		free(lane);
	}
}
