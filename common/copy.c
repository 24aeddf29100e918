/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/copy.h"

#include <stdint.h>
#include <string.h>

#include "common/util.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LINE 64u

void
copy_past_cache(void *to, const void *from, size_t n)
{
	uint8_t *d = to;
	const uint8_t *s = from;
	size_t head = min_of(n, (size_t)(-(uintptr_t)d & (LINE - 1)));

	memcpy(d, s, head);
	for (d += head, s += head, n -= head; n >= LINE; d += LINE, s += LINE, n -= LINE)
		for (unsigned i = 0; i < LINE; i += sizeof(__m128i))
			_mm_stream_si128((__m128i *)(void *)(d + i),
					 _mm_loadu_si128((const __m128i *)(const void *)(s + i)));
	memcpy(d, s, n);
	_mm_sfence(); /* such stores are not ordered by the release that hands the bytes on */
}

#else

void
copy_past_cache(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
}

#endif
