/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counters and latency histograms.  Written by one thread, read by any:
 * relaxed atomics, so a reader sees a recent value of each, not a snapshot of all.
 *
 * Histograms are log-linear: 8 steps an octave from 1 us to 2^26 us (about 67 s), error at most 12.5%.
 */
#ifndef LUNGATE_COMMON_STATS_H
#define LUNGATE_COMMON_STATS_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t counter_t;

static inline void counter_add(counter_t *c, uint64_t n)
{
	/* one writer: a plain load and store, no locked instruction */
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t counter_read(const counter_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

#define HISTOGRAM_BUCKETS (27 * 8)
struct histogram {
	counter_t bucket[HISTOGRAM_BUCKETS];
	counter_t count;
	counter_t sum_us;
};

void histogram_record(struct histogram *h, uint64_t ns);
/** Upper bound of the bucket that holds quantile q (0..1), in microseconds; 0 when empty. */
uint64_t histogram_quantile_us(const struct histogram *h, double q);

#endif
