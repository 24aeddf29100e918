/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small things that every room needs: arithmetic on powers of two, container
 * lookup, sizes with units, UUIDs, hex.
 *
 * Threads: any.
 */
#ifndef LUNGATE_COMMON_UTIL_H
#define LUNGATE_COMMON_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member)                                        \
	((type *)((char *)(ptr) - offsetof(type, member)))
#define min_of(a, b) ((a) < (b) ? (a) : (b))
#define max_of(a, b) ((a) > (b) ? (a) : (b))

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/** a must be a power of two. */
static inline uint64_t align_down(uint64_t v, uint64_t a)
{
	return v & ~(a - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t a)
{
	return align_down(v + a - 1, a);
}

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t clock_ns(void);

#define UUID_LEN 16
#define UUID_TEXT 37 /* with the NUL */

/** Random (version 4) UUID from getrandom(2). */
void uuid_make(uint8_t uuid[UUID_LEN]);
void uuid_format(const uint8_t uuid[UUID_LEN], char text[UUID_TEXT]);
/** 0 or -EINVAL; accepts the canonical form alone, either case. */
int uuid_parse(const char *text, uint8_t uuid[UUID_LEN]);

#define UTC_TEXT 32 /* with the NUL */

/** Unix time as "2026-11-28T14:39:19Z". */
void utc_format(int64_t unix_s, char text[UTC_TEXT]);

void random_bytes(void *p, size_t n);

/** 2 * n lower-case digits and a NUL; returns where the NUL is. */
char *hex_format(const void *p, size_t n, char *text);
/** Value of a hexadecimal digit, either case; -1: it is none. */
int hex_digit(char c);

/** "10G", "512M", "4KiB", "1.5T", plain bytes; units are powers of 1024.
 *  0, or -EINVAL (not a size) or -ERANGE (over 2^63 - 1). */
int size_parse(const char *text, uint64_t *ret_bytes);
/** "10G", "1536" where no unit goes in: size_parse() reads it back. */
#define SIZE_EXACT 24
const char *size_exact(uint64_t bytes, char buf[SIZE_EXACT]);
/** "10.0 GiB"; buf of at least 16. */
const char *size_format(uint64_t bytes, char *buf, size_t len);

#endif
