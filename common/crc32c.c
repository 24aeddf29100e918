/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reflected polynomial 0x82f63b78.  The portable code slices by 8; the
 * hardware code runs three streams of the crc instruction at once (its
 * latency is 3 cycles, its throughput 1) and joins them with tables that shift a
 * checksum over a block of zeroes.  Where carry-less multiplication is 512 bits wide, messages from WIDE_MIN
 * bytes on are folded instead: what was read is replaced by something as long as one block that has the
 * same remainder, moved onto the next block.
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

typedef uint32_t update_fn(uint32_t crc, const uint8_t *p, size_t n);

static uint32_t slice[8][256];
static struct {
	update_fn *update;
	const char *name;
} variants[3]; /* that run here, slowest first */
static unsigned nvariants;
static update_fn *chosen;

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

/* ---- folding, 64 bytes a register ----------------------------------------- */

#if defined(__x86_64__)
#define WIDE __attribute__((target("sse4.2,pclmul,avx512f,avx512dq,vpclmulqdq")))
#define WIDE_STEP 256u /* four registers: the multiplication's latency is several times its throughput */
#define WIDE_MIN 512u
/* Each page that comes next may lie anywhere in memory, and prefetchers in hardware stop at its end. */
#define WIDE_AHEAD 1024u

/* What moves 16 bytes on by so many: [0] for the half that comes first, [1] for the other. */
static uint64_t move_16[2], move_64[2], move_256[2];

/* x^n modulo the polynomial, reflected. */
static uint32_t
power(unsigned n)
{
	uint32_t v = 0x80000000u;

	while (n--)
		v = v & 1 ? v >> 1 ^ POLY : v >> 1;
	return v;
}

/*
 * A reflected product of 64 by 64 bits has 127, so it stands one bit from where 128 would; a constant of 32 bits
 * in the low half of a word is x^32 too large: 33 powers to make up for.
 */
static void
make_move(uint64_t move[2], unsigned bytes)
{
	move[0] = power(bytes * 8 + 64 - 33);
	move[1] = power(bytes * 8 - 33);
}

static int
have_wide(void)
{
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul") &&
	       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("vpclmulqdq");
}

WIDE static inline __m512i
moved(__m512i v, __m512i move, __m512i onto)
{
	/* 0x96: the three together, exclusive */
	return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(v, move, 0x00),
					 _mm512_clmulepi64_epi128(v, move, 0x11), onto, 0x96);
}

WIDE static inline __m128i
moved_16(__m128i v, __m128i move, __m128i onto)
{
	return _mm_xor_si128(
		_mm_xor_si128(_mm_clmulepi64_si128(v, move, 0x00), _mm_clmulepi64_si128(v, move, 0x11)),
		onto);
}

WIDE static inline __m512i
each_lane(const uint64_t move[2])
{
	return _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)move));
}

/* The remainder of four times 64 bytes. */
WIDE static uint32_t
remainder_of(const __m512i v[4])
{
	__m512i move = each_lane(move_64), sum = moved(v[0], move, v[1]);
	__m128i by = _mm_loadu_si128((const void *)move_16), last;

	sum = moved(sum, move, v[2]);
	sum = moved(sum, move, v[3]);
	last = moved_16(_mm512_extracti32x4_epi32(sum, 0), by, _mm512_extracti32x4_epi32(sum, 1));
	last = moved_16(last, by, _mm512_extracti32x4_epi32(sum, 2));
	last = moved_16(last, by, _mm512_extracti32x4_epi32(sum, 3));
	return CRC_WORD(CRC_WORD(0, (uint64_t)_mm_cvtsi128_si64(last)), (uint64_t)_mm_extract_epi64(last, 1));
}

WIDE static uint32_t
update_wide(uint32_t crc, const uint8_t *p, size_t n)
{
	__m512i v[4], move;

	if (n < WIDE_MIN)
		return update_hardware(crc, p, n);
	for (unsigned i = 0; i < 4; i++)
		v[i] = _mm512_loadu_si512(p + (size_t)64 * i);
	v[0] = _mm512_xor_si512(v[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
	move = each_lane(move_256);
	for (p += WIDE_STEP, n -= WIDE_STEP; n >= WIDE_STEP; p += WIDE_STEP, n -= WIDE_STEP) {
		for (unsigned i = 0; i < 4; i++) {
			/* an address only: it may lie behind the message */
			_mm_prefetch((const char *)((uintptr_t)p + WIDE_AHEAD + (size_t)64 * i), _MM_HINT_T0);
			v[i] = moved(v[i], move, _mm512_loadu_si512(p + (size_t)64 * i));
		}
	}
	return update_hardware(remainder_of(v), p, n);
}
#endif

/* ---- choice ----------------------------------------------------------------- */

static void
add(update_fn *update, const char *name)
{
	variants[nvariants].update = update;
	variants[nvariants++].name = name;
	chosen = update;
}

__attribute__((constructor)) static void
choose(void)
{
	make_slices();
	add(update_portable, "portable");
#if defined(__x86_64__) || defined(__aarch64__)
	if (have_hardware()) {
		make_shift(shift_long, STREAM_LONG);
		make_shift(shift_short, STREAM_SHORT);
		add(update_hardware, HARDWARE_NAME);
	}
#endif
#if defined(__x86_64__)
	if (have_wide()) {
		make_move(move_16, 16);
		make_move(move_64, 64);
		make_move(move_256, WIDE_STEP);
		add(update_wide, "vpclmulqdq");
	}
#endif
}

uint32_t
crc32c(uint32_t crc, const void *p, size_t n)
{
	return ~chosen(~crc, p, n);
}

unsigned
crc32c_variants(void)
{
	return nvariants;
}

uint32_t
crc32c_by(unsigned variant, uint32_t crc, const void *p, size_t n)
{
	return ~variants[variant].update(~crc, p, n);
}

const char *
crc32c_variant_name(unsigned variant)
{
	return variants[variant].name;
}

const char *
crc32c_implementation(void)
{
	return variants[nvariants - 1].name;
}
