/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stores/object/s3/retry.h"

#include <stdlib.h>

#include <curl/curl.h>

#include "common/util.h"

#define BACKOFF_BASE_MS 100u
#define BACKOFF_CAP_MS 5000u
#define RETRY_AFTER_MAX_MS 30000u
#define CIRCUIT_FAILURES 3u
#define CIRCUIT_HOLD_MS 500u
#define CIRCUIT_HOLD_MAX_MS 2000u
#define RATE_WAIT_MAX_MS 1000u
#define BURST_NS 100000000ull

unsigned
s3_backoff_ms(unsigned attempt, uint32_t random)
{
	uint64_t span =
		attempt < 16 ? min_of((uint64_t)BACKOFF_BASE_MS << attempt, BACKOFF_CAP_MS) : BACKOFF_CAP_MS;

	return (unsigned)((span + 1) * random >> 32);
}

unsigned
s3_retry_after_ms(const char *value, time_t now)
{
	char *end;
	unsigned long s = strtoul(value, &end, 10);
	time_t t;

	if (value[0] >= '0' && value[0] <= '9' && !*end)
		return s < RETRY_AFTER_MAX_MS / 1000 ? (unsigned)s * 1000 : RETRY_AFTER_MAX_MS;
	t = value[0] ? curl_getdate(value, NULL) : -1;
	if (t < 0 || t <= now)
		return 0;
	return t - now < (time_t)(RETRY_AFTER_MAX_MS / 1000) ? (unsigned)(t - now) * 1000
							     : RETRY_AFTER_MAX_MS;
}

void
s3_window_init(struct s3_window *w, unsigned max)
{
	*w = (struct s3_window){.max = max, .limit16 = max * 16};
}

unsigned
s3_window_limit(const struct s3_window *w)
{
	return w->limit16 / 16;
}

/* about one more for each window's worth of successes */
void
s3_window_success(struct s3_window *w)
{
	unsigned limit = s3_window_limit(w);

	w->limit16 = min_of(w->limit16 + max_of(16 / limit, 1u), w->max * 16);
}

void
s3_window_slow(struct s3_window *w, uint64_t begun_ms, uint64_t now_ms)
{
	if (w->cut_ms && begun_ms <= w->cut_ms)
		return;
	w->limit16 = max_of(w->limit16 / 2, 16u);
	w->cut_ms = now_ms;
}

bool
s3_circuit_allows(const struct s3_circuit *c, uint64_t now_ms)
{
	return !c->open_until_ms || (now_ms >= c->open_until_ms && !c->trial);
}

void
s3_circuit_begin(struct s3_circuit *c, uint64_t now_ms)
{
	if (c->open_until_ms && now_ms >= c->open_until_ms)
		c->trial = true;
}

void
s3_circuit_end(struct s3_circuit *c, bool answered, uint64_t now_ms)
{
	if (answered) {
		*c = (struct s3_circuit){0};
		return;
	}
	c->failures++;
	if (c->open_until_ms && !c->trial)
		return; /* one of those that were out already when it opened */
	if (c->failures < CIRCUIT_FAILURES)
		return;
	c->hold_ms = c->hold_ms ? min_of(c->hold_ms * 2, CIRCUIT_HOLD_MAX_MS) : CIRCUIT_HOLD_MS;
	c->open_until_ms = now_ms + c->hold_ms;
	c->trial = false;
}

int
s3_circuit_pick(const struct s3_circuit *c, unsigned n, unsigned *turn, uint64_t now_ms,
		unsigned *ret_wait_ms)
{
	uint64_t wait = CIRCUIT_HOLD_MAX_MS;

	for (unsigned i = 0; i < n; i++) {
		unsigned k = (*turn + i) % n;

		if (s3_circuit_allows(&c[k], now_ms)) {
			*turn = (k + 1) % n;
			return (int)k;
		}
		/* while a trial is out its end will wake whoever waits; look again anyway */
		if (c[k].open_until_ms > now_ms)
			wait = min_of(wait, c[k].open_until_ms - now_ms);
	}
	*ret_wait_ms = (unsigned)max_of(wait, 1u);
	return -1;
}

void
s3_rate_init(struct s3_rate *r, uint64_t per_s, uint64_t now_ms)
{
	*r = (struct s3_rate){.per_s = min_of(per_s, (uint64_t)1 << 40), .at_ms = now_ms};
}

unsigned
s3_rate_wait_ms(struct s3_rate *r, uint64_t now_ms)
{
	uint64_t passed = min_of(now_ms - r->at_ms, 3600000u);

	if (!r->per_s)
		return 0;
	/* what is not used within a tenth of a second is lost: no bursts after a pause */
	r->tokens = min_of(r->tokens + (int64_t)(r->per_s * passed / 1000), (int64_t)(r->per_s / 10));
	r->at_ms = now_ms;
	if (r->tokens >= 0)
		return 0;
	return (unsigned)min_of((uint64_t)-r->tokens * 1000 / r->per_s + 1, RATE_WAIT_MAX_MS);
}

void
s3_rate_take(struct s3_rate *r, uint64_t bytes)
{
	if (r->per_s)
		r->tokens -= (int64_t)bytes;
}

unsigned
s3_shared_rate_wait_ms(struct s3_shared_rate *r, uint64_t now_ns)
{
	uint64_t paid = atomic_load_explicit(&r->paid_ns, memory_order_relaxed);

	if (!atomic_load_explicit(&r->per_s, memory_order_relaxed) || paid <= now_ns)
		return 0;
	return (unsigned)min_of((paid - now_ns) / 1000000 + 1, RATE_WAIT_MAX_MS);
}

void
s3_shared_rate_take(struct s3_shared_rate *r, uint64_t bytes, uint64_t now_ns)
{
	uint64_t per_s = atomic_load_explicit(&r->per_s, memory_order_relaxed), was, paid;

	if (!per_s || !bytes)
		return;
	was = atomic_load_explicit(&r->paid_ns, memory_order_relaxed);
	do {
		/* a tenth of a second that nobody used may be made up for, no more: no bursts after a pause */
		paid = max_of(was, now_ns - min_of(now_ns, BURST_NS)) +
		       (uint64_t)((double)bytes * 1e9 / (double)per_s);
	} while (!atomic_compare_exchange_weak_explicit(&r->paid_ns, &was, paid, memory_order_relaxed,
							memory_order_relaxed));
}
