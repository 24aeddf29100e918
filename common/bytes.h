/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fixed-width integers in byte arrays: little-endian for our formats,
 * big-endian for SCSI and iSCSI.  The only way bytes of the wire or of a disk
 * become numbers: no packed structs, no casts.  And what is done with bytes as such.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_COMMON_BYTES_H
#define LUNGATE_COMMON_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BYTES_ACCESSOR(order, bits, conv)                                      \
	static inline uint##bits##_t get_##order##bits(const void *p)          \
	{                                                                      \
		uint##bits##_t v;                                              \
		memcpy(&v, p, sizeof(v));                                      \
		return conv(v);                                                \
	}                                                                      \
	static inline void put_##order##bits(void *p, uint##bits##_t v)        \
	{                                                                      \
		v = conv(v);                                                   \
		memcpy(p, &v, sizeof(v));                                      \
	}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTES_SAME(v) (v)
BYTES_ACCESSOR(le, 16, BYTES_SAME)
BYTES_ACCESSOR(le, 32, BYTES_SAME)
BYTES_ACCESSOR(le, 64, BYTES_SAME)
BYTES_ACCESSOR(be, 16, __builtin_bswap16)
BYTES_ACCESSOR(be, 32, __builtin_bswap32)
BYTES_ACCESSOR(be, 64, __builtin_bswap64)
#else
#define BYTES_SAME(v) (v)
BYTES_ACCESSOR(be, 16, BYTES_SAME)
BYTES_ACCESSOR(be, 32, BYTES_SAME)
BYTES_ACCESSOR(be, 64, BYTES_SAME)
BYTES_ACCESSOR(le, 16, __builtin_bswap16)
BYTES_ACCESSOR(le, 32, __builtin_bswap32)
BYTES_ACCESSOR(le, 64, __builtin_bswap64)
#endif
#undef BYTES_SAME
#undef BYTES_ACCESSOR

static inline uint32_t get_be24(const void *p)
{
	const uint8_t *b = p;
	return (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
}

static inline void put_be24(void *p, uint32_t v)
{
	uint8_t *b = p;
	b[0] = (uint8_t)(v >> 16);
	b[1] = (uint8_t)(v >> 8);
	b[2] = (uint8_t)v;
}

static inline uint64_t get_le48(const void *p)
{
	return (uint64_t)get_le32(p) | (uint64_t)get_le16((const uint8_t *)p + 4) << 32;
}

static inline void put_le48(void *p, uint64_t v)
{
	put_le32(p, (uint32_t)v);
	put_le16((uint8_t *)p + 4, (uint16_t)(v >> 32));
}

/** Nothing but zeroes; of no bytes, too. */
static inline bool bytes_zero(const void *p, size_t n)
{
	const uint8_t *b = p;

	return !n || (!b[0] && !memcmp(b, b + 1, n - 1));
}

/** Where a and b differ first; n when they do not. */
static inline size_t bytes_differ_at(const uint8_t *a, const uint8_t *b, size_t n)
{
	size_t i = 0;

	if (!memcmp(a, b, n))
		return n;
	while (a[i] == b[i])
		i++;
	return i;
}

/** to |= from */
static inline void bytes_or(uint8_t *to, const uint8_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] |= from[i];
}

#endif
