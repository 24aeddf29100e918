/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How hard a server is pressed: pauses between attempts, requests at once, a circuit per endpoint, bandwidth.
 * Arithmetic alone; time is the caller's (milliseconds of any monotonic clock).
 *
 * Threads: an object is its owner's.
 */
#ifndef LUNGATE_STORES_OBJECT_S3_RETRY_H
#define LUNGATE_STORES_OBJECT_S3_RETRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/** Full jitter: uniform in [0, min(5 s, 100 ms * 2^attempt)], made from 32 random bits. */
unsigned s3_backoff_ms(unsigned attempt, uint32_t random);

/** Retry-After: seconds or a date.  0 when it is neither; at most 30 s. */
unsigned s3_retry_after_ms(const char *value, time_t now);

/* ---- requests at once: additive increase, multiplicative decrease ---- */

struct s3_window {
	unsigned max;
	unsigned limit16;     /* sixteenths of a request */
	unsigned in_flight;
	uint64_t cut_ms;      /* when it was halved */
};

void s3_window_init(struct s3_window *w, unsigned max);
unsigned s3_window_limit(const struct s3_window *w);
void s3_window_success(struct s3_window *w);
/** Halve, once for all that were in flight at the same time: those begun before the last cut do not count. */
void s3_window_slow(struct s3_window *w, uint64_t begun_ms, uint64_t now_ms);

/* ---- the circuit of an endpoint ---- */

/*  closed -> (3 failures in a row) -> open for hold_ms -> one trial -> closed, or open for twice as long */
struct s3_circuit {
	unsigned failures;
	unsigned hold_ms;
	uint64_t open_until_ms;  /* 0 = closed */
	bool trial;              /* one request is out to see */
};

/** May a request go there now? */
bool s3_circuit_allows(const struct s3_circuit *c, uint64_t now_ms);
/** A request goes there. */
void s3_circuit_begin(struct s3_circuit *c, uint64_t now_ms);
/** It answered (whatever it said), or did not. */
void s3_circuit_end(struct s3_circuit *c, bool answered, uint64_t now_ms);
/** The next of n in turn that allows a request, or -1, with *ret_wait_ms until one may (at least 1). */
int s3_circuit_pick(const struct s3_circuit *c, unsigned n, unsigned *turn, uint64_t now_ms,
		    unsigned *ret_wait_ms);

/* ---- bandwidth ---- */

/** A bucket that may go into debt: whole requests are let through, the next one waits. */
struct s3_rate {
	uint64_t per_s;       /* 0 = no cap */
	int64_t tokens;
	uint64_t at_ms;
};

void s3_rate_init(struct s3_rate *r, uint64_t per_s, uint64_t now_ms);
/** 0 = go on, else wait that long and ask again. */
unsigned s3_rate_wait_ms(struct s3_rate *r, uint64_t now_ms);
void s3_rate_take(struct s3_rate *r, uint64_t bytes);

/** The same for takers on several threads, without a lock: when the debt of what was let through is paid. */
struct s3_shared_rate {
	_Atomic uint64_t per_s;      /* 0 = no cap */
	_Atomic uint64_t paid_ns;
};

unsigned s3_shared_rate_wait_ms(struct s3_shared_rate *r, uint64_t now_ns);
void s3_shared_rate_take(struct s3_shared_rate *r, uint64_t bytes, uint64_t now_ns);

#endif
