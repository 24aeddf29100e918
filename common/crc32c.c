/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reflected polynomial 0x82f63b78.  The portable code slices by 8; the
 * hardware code runs three streams of the crc instruction at once (its
 * latency is 3 cycles, its throughput 1) and joins them with tables that shift a
 * checksum over a block of zeroes.
 */
#include "common/crc32c.h"

#include "common/bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define POLY 0x82f63b78u
#define STREAM_LONG 1024u /* three of these and some make a page */
#define STREAM_SHORT 128u

static uint32_t slice[8][256];
static uint32_t (*chosen)(uint32_t, const uint8_t *, size_t);
static const char *chosen_name;

static uint32_t
update_portable(uint32_t crc, const uint8_t *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t v = get_le64(p) ^ crc;

		crc = slice[7][v & 255] ^ slice[6][v >> 8 & 255] ^ slice[5][v >> 16 & 255] ^
		      slice[4][v >> 24 & 255] ^ slice[3][v >> 32 & 255] ^ slice[2][v >> 40 & 255] ^
		      slice[1][v >> 48 & 255] ^ slice[0][v >> 56];
	}
	for (; n; p++, n--)
		crc = slice[0][(crc ^ *p) & 255] ^ crc >> 8;
	return crc;
}

static void
make_slices(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ POLY : c >> 1;
		slice[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int s = 1; s < 8; s++)
			slice[s][i] = slice[0][slice[s - 1][i] & 255] ^ slice[s - 1][i] >> 8;
}

#if defined(__x86_64__) || defined(__aarch64__)

static uint32_t shift_long[4][256], shift_short[4][256];

/* The checksum of crc's message with n zero bytes behind it is linear in crc: a table a byte. */
static void
make_shift(uint32_t table[4][256], size_t n)
{
	static const uint8_t zeroes[STREAM_LONG];
	uint32_t column[32];

	for (int bit = 0; bit < 32; bit++)
		column[bit] = update_portable(1u << bit, zeroes, n);
	for (int byte = 0; byte < 4; byte++) {
		for (uint32_t v = 0; v < 256; v++) {
			uint32_t sum = 0;

			for (int bit = 0; bit < 8; bit++)
				if (v >> bit & 1)
					sum ^= column[byte * 8 + bit];
			table[byte][v] = sum;
		}
	}
}

static inline uint32_t
shifted(uint32_t table[4][256], uint32_t crc)
{
	return table[0][crc & 255] ^ table[1][crc >> 8 & 255] ^ table[2][crc >> 16 & 255] ^
	       table[3][crc >> 24];
}

#if defined(__x86_64__)
#define HARDWARE __attribute__((target("sse4.2")))
#define HARDWARE_NAME "sse4.2"
#define CRC_WORD(crc, v) ((uint32_t)_mm_crc32_u64((crc), (v)))
#define CRC_BYTE(crc, v) (_mm_crc32_u8((crc), (v)))

static int
have_hardware(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#else
#define HARDWARE __attribute__((target("+crc")))
#define HARDWARE_NAME "armv8"
#define CRC_WORD(crc, v) __crc32cd((crc), (v))
#define CRC_BYTE(crc, v) __crc32cb((crc), (v))

static int
have_hardware(void)
{
	return (getauxval(AT_HWCAP) & (1 << 7)) != 0; /* HWCAP_CRC32 */
}
#endif

HARDWARE static inline uint32_t
three_streams(uint32_t crc, const uint8_t *p, size_t stream, uint32_t table[4][256])
{
	uint32_t b = 0, c = 0;

	for (size_t i = 0; i < stream; i += 8) {
		crc = CRC_WORD(crc, get_le64(p + i));
		b = CRC_WORD(b, get_le64(p + stream + i));
		c = CRC_WORD(c, get_le64(p + 2 * stream + i));
	}
	crc = shifted(table, crc) ^ b;
	return shifted(table, crc) ^ c;
}

HARDWARE static uint32_t
update_hardware(uint32_t crc, const uint8_t *p, size_t n)
{
	for (; n >= 3 * STREAM_LONG; p += 3 * STREAM_LONG, n -= 3 * STREAM_LONG)
		crc = three_streams(crc, p, STREAM_LONG, shift_long);
	for (; n >= 3 * STREAM_SHORT; p += 3 * STREAM_SHORT, n -= 3 * STREAM_SHORT)
		crc = three_streams(crc, p, STREAM_SHORT, shift_short);
	for (; n >= 8; p += 8, n -= 8)
		crc = CRC_WORD(crc, get_le64(p));
	for (; n; p++, n--)
		crc = CRC_BYTE(crc, *p);
	return crc;
}
#endif

__attribute__((constructor)) static void
choose(void)
{
	make_slices();
	chosen = update_portable;
	chosen_name = "portable";
#if defined(__x86_64__) || defined(__aarch64__)
	if (have_hardware()) {
		make_shift(shift_long, STREAM_LONG);
		make_shift(shift_short, STREAM_SHORT);
		chosen = update_hardware;
		chosen_name = HARDWARE_NAME;
	}
#endif
}

uint32_t
crc32c(uint32_t crc, const void *p, size_t n)
{
	return ~chosen(~crc, p, n);
}

uint32_t
crc32c_portable(uint32_t crc, const void *p, size_t n)
{
	return ~update_portable(~crc, p, n);
}

const char *
crc32c_implementation(void)
{
	return chosen_name;
}
