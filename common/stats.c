/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/stats.h"

/* Bucket b holds values below its bound: bounds 1..8 us in steps of 1, then 8 steps an octave. */
static unsigned
bucket_of(uint64_t us)
{
	unsigned octave, bucket;

	if (us < 8)
		return (unsigned)us;
	octave = 63u - (unsigned)__builtin_clzll(us);
	bucket = (octave - 2) * 8 + (unsigned)((us >> (octave - 3)) & 7);
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t
bucket_bound(unsigned bucket)
{
	unsigned octave;

	if (bucket < 8)
		return bucket + 1;
	octave = bucket / 8 + 2;
	return (uint64_t)(8 + bucket % 8 + 1) << (octave - 3);
}

void
histogram_record(struct histogram *h, uint64_t ns)
{
	uint64_t us = ns / 1000;

	counter_add(&h->bucket[bucket_of(us)], 1);
	counter_add(&h->count, 1);
	counter_add(&h->sum_us, us);
}

uint64_t
histogram_quantile_us(const struct histogram *h, double q)
{
	uint64_t total = 0, seen = 0, want;

	/* The buckets are the truth: count may be one ahead of them while a record is on its way. */
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		total += counter_read(&h->bucket[i]);
	if (!total)
		return 0;
	want = (uint64_t)((double)total * q + 0.999999);
	if (want < 1)
		want = 1;
	if (want > total)
		want = total;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += counter_read(&h->bucket[i]);
		if (seen >= want)
			return bucket_bound(i);
	}
	return bucket_bound(HISTOGRAM_BUCKETS - 1);
}
