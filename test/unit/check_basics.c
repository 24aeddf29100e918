/* SPDX-License-Identifier: GPL-2.0-or-later */
/* err, util, bytes, copy, crc32c, stats, log: the pure parts of common/. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/copy.h"
#include "common/crc32c.h"
#include "common/err.h"
#include "common/log.h"
#include "common/stats.h"
#include "common/util.h"

START_TEST(err_tables_cover_every_code)
{
	static const int codes[] = {
#define ERROR(name, code, class, sys, text) name,
#include "common/errors.def"
#undef ERROR
	};

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		ck_assert_int_le(codes[i], -1000);
		ck_assert_int_gt(err_errno(codes[i]), 0);
		ck_assert_str_ne(err_name(codes[i]), "EUNKNOWN");
		ck_assert_int_ne(err_class(codes[i]), ERR_CLASS_NONE);
		for (size_t j = 0; j < i; j++)
			ck_assert_int_ne(codes[i], codes[j]);
	}
	ck_assert_str_eq(err_name(-ENOSPC), "ENOSPC");
	ck_assert_str_eq(err_name(0), "ok");
	ck_assert_str_eq(err_name(-999999), "EUNKNOWN");
	ck_assert_int_eq(err_errno(-999999), EIO);
	ck_assert_int_eq(err_errno(-EPERM), EPERM);
	ck_assert_int_eq(err_class(-EAGAIN), ERR_CLASS_RETRY);
	ck_assert_int_eq(err_class(-EACCES), ERR_CLASS_PERMANENT);
}
END_TEST

START_TEST(errinfo_keeps_words_and_prefix)
{
	struct errinfo info;

	ck_assert_int_eq(err_set(&info, -EIO, "disk %d", 7), -EIO);
	err_prefix(&info, "volume %s: ", "vm1");
	ck_assert_str_eq(info.text, "volume vm1: disk 7");
	ck_assert_int_eq(err_set(NULL, -EIO, "nobody listens"), -EIO);
	err_prefix(NULL, "nobody listens");
}
END_TEST

static const struct {
	const char *text;
	int rc;
	uint64_t bytes;
} sizes[] = {
	{"0", 0, 0},
	{"4096", 0, 4096},
	{"512M", 0, 512ull << 20},
	{"10G", 0, 10ull << 30},
	{"10GiB", 0, 10ull << 30},
	{"10 gb", 0, 10ull << 30},
	{"1.5T", 0, 3ull << 39},
	{"0.5K", 0, 512},
	{"64T", 0, 64ull << 40},
	{"12b", 0, 12},
	{"", -EINVAL, 0},
	{"G", -EINVAL, 0},
	{"-1", -EINVAL, 0},
	{"1.5", -EINVAL, 0},
	{"1.", -EINVAL, 0},
	{"10X", -EINVAL, 0},
	{"10Gx", -EINVAL, 0},
	{"8E", -ERANGE, 0},
	{"9223372036854775807", 0, INT64_MAX},
	{"9223372036854775808", -ERANGE, 0},
	{"99999999999999999999999", -ERANGE, 0},
};

START_TEST(size_parse_row)
{
	uint64_t bytes = 77;

	ck_assert_int_eq(size_parse(sizes[_i].text, &bytes), sizes[_i].rc);
	ck_assert_uint_eq(bytes, sizes[_i].rc ? 77 : sizes[_i].bytes);
}
END_TEST

START_TEST(size_format_rounds)
{
	char buf[16];

	ck_assert_str_eq(size_format(0, buf, sizeof(buf)), "0 B");
	ck_assert_str_eq(size_format(1023, buf, sizeof(buf)), "1023 B");
	ck_assert_str_eq(size_format(10ull << 30, buf, sizeof(buf)), "10.0 GiB");
	ck_assert_str_eq(size_format(UINT64_MAX, buf, sizeof(buf)), "16.0 EiB");
}
END_TEST

START_TEST(uuid_round_trip)
{
	uint8_t a[UUID_LEN], b[UUID_LEN];
	char text[UUID_TEXT];

	uuid_make(a);
	uuid_format(a, text);
	ck_assert_uint_eq(strlen(text), UUID_TEXT - 1);
	ck_assert_int_eq(text[14], '4');
	ck_assert_int_eq(uuid_parse(text, b), 0);
	ck_assert_mem_eq(a, b, UUID_LEN);
	for (size_t cut = 0; cut < UUID_TEXT - 1; cut++) {
		char part[UUID_TEXT];

		memcpy(part, text, cut);
		part[cut] = '\0';
		ck_assert_int_eq(uuid_parse(part, b), -EINVAL);
	}
	text[3] = 'g';
	ck_assert_int_eq(uuid_parse(text, b), -EINVAL);
}
END_TEST

START_TEST(bytes_orders)
{
	uint8_t b[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	ck_assert_uint_eq(get_be16(b), 0x0102);
	ck_assert_uint_eq(get_le16(b), 0x0201);
	ck_assert_uint_eq(get_be24(b), 0x010203);
	ck_assert_uint_eq(get_be32(b + 1), 0x02030405);
	ck_assert_uint_eq(get_le48(b), 0x060504030201ull);
	ck_assert_uint_eq(get_be64(b), 0x0102030405060708ull);
	put_be24(b, 0xa1b2c3);
	ck_assert_uint_eq(get_be32(b), 0xa1b2c304);
	put_le48(b, 0xffeeddccbbaaull);
	ck_assert_uint_eq(get_le48(b), 0xffeeddccbbaaull);
	ck_assert_uint_eq(b[6], 7);
}
END_TEST

/* RFC 3720 B.4. */
static const struct {
	const char *name;
	uint32_t crc;
} vectors[] = {{"zeroes", 0x8a9136aa}, {"ones", 0x62a8ab43}, {"up", 0x46dd794e}, {"down", 0x113fdb5c}};

START_TEST(copy_past_cache_copies)
{
	static uint8_t from[600], to[600], want[600];

	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t at = 0; at < 70; at++)
		for (size_t n = 0; n < 400; n += n < 140 ? 1 : 37) {
			memset(to, 0xee, sizeof(to));
			memset(want, 0xee, sizeof(want));
			memcpy(want + at, from + at / 3, n);
			copy_past_cache(to + at, from + at / 3, n);
			ck_assert_mem_eq(to, want, sizeof(to));
		}
}
END_TEST

START_TEST(crc32c_rfc_vectors)
{
	uint8_t v[4][32];

	for (unsigned i = 0; i < 32; i++) {
		v[0][i] = 0;
		v[1][i] = 0xff;
		v[2][i] = (uint8_t)i;
		v[3][i] = (uint8_t)(31 - i);
	}
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(crc32c(0, v[i], 32), vectors[i].crc);
		for (unsigned k = 0; k < crc32c_variants(); k++)
			ck_assert_uint_eq(crc32c_by(k, 0, v[i], 32), vectors[i].crc);
	}
	ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
	ck_assert_str_eq(crc32c_variant_name(0), "portable");
	ck_assert_str_eq(crc32c_implementation(), crc32c_variant_name(crc32c_variants() - 1));
}
END_TEST

START_TEST(crc32c_variants_agree)
{
	static uint8_t data[20000];
	static const uint8_t page[4096];
	uint32_t seed = 12345;

	for (size_t i = 0; i < sizeof(data); i++) {
		seed = seed * 1103515245 + 12345;
		data[i] = (uint8_t)(seed >> 16);
	}
	for (unsigned k = 0; k < crc32c_variants(); k++) {
		for (size_t off = 0; off < 67; off += off < 9 ? 1 : 29)
			for (size_t n = 0; n + off <= sizeof(data); n += 1 + n / 7)
				ck_assert_msg(crc32c_by(k, 0x1234, data + off, n) ==
						      crc32c_by(0, 0x1234, data + off, n),
					      "%s: %zu bytes at %zu", crc32c_variant_name(k), n, off);
		for (size_t n = 0; n <= 1100; n++) /* every length near where the ways part */
			ck_assert_msg(crc32c_by(k, ~0u, data, n) == crc32c_by(0, ~0u, data, n),
				      "%s: %zu bytes", crc32c_variant_name(k), n);
		for (size_t cut = 0; cut <= 5000; cut += 37)
			ck_assert_uint_eq(crc32c_by(k, crc32c_by(k, 0, data, cut), data + cut, 5000 - cut),
					  crc32c_by(0, 0, data, 5000));
		ck_assert_uint_eq(crc32c_by(k, 0, page, sizeof(page)), CRC32C_ZERO_PAGE);
	}
	ck_assert_uint_eq(crc32c(0x1234, data, sizeof(data)), crc32c_by(0, 0x1234, data, sizeof(data)));
}
END_TEST

START_TEST(histogram_quantiles_bound_the_truth)
{
	struct histogram *h = calloc(1, sizeof(*h));

	ck_assert_uint_eq(histogram_quantile_us(h, 0.5), 0);
	for (uint64_t us = 1; us <= 10000; us++)
		histogram_record(h, us * 1000);
	for (int p = 10; p < 100; p += 10) {
		uint64_t truth = (uint64_t)p * 100, got = histogram_quantile_us(h, p / 100.0);

		ck_assert_uint_ge(got, truth);
		ck_assert_uint_le(got, truth + truth / 8 + 2);
	}
	histogram_record(h, UINT64_MAX);
	ck_assert_uint_gt(histogram_quantile_us(h, 1), 1u << 25);
	free(h);
}
END_TEST

START_TEST(log_is_one_escaped_line)
{
	char path[] = "/tmp/lungate-log-XXXXXX", text[512];
	int fd = mkstemp(path), saved = dup(STDERR_FILENO);
	_Atomic unsigned long long state = 0;
	ssize_t n;

	ck_assert_int_ge(fd, 0);
	unlink(path);
	dup2(fd, STDERR_FILENO);
	log_info("peer %s", "evil\nname\x1b[31m");
	log_debug("not shown");
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert_ptr_eq(strchr(text, '\n'), text + n - 1);
	ck_assert_ptr_nonnull(strstr(text, "peer evil\\x0aname\\x1b[31m"));
	ck_assert_ptr_null(strstr(text, "not shown"));
	ck_assert(log_ratelimit(&state, 60000));
	ck_assert(!log_ratelimit(&state, 60000));
	ck_assert_int_eq(log_set_level("loud"), -EINVAL);
	ck_assert_int_eq(log_set_level("info"), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("basics");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, err_tables_cover_every_code);
	tcase_add_test(tc, errinfo_keeps_words_and_prefix);
	tcase_add_loop_test(tc, size_parse_row, 0, (int)ARRAY_SIZE(sizes));
	tcase_add_test(tc, size_format_rounds);
	tcase_add_test(tc, uuid_round_trip);
	tcase_add_test(tc, bytes_orders);
	tcase_add_test(tc, copy_past_cache_copies);
	tcase_add_test(tc, crc32c_rfc_vectors);
	tcase_add_test(tc, crc32c_variants_agree);
	tcase_add_test(tc, histogram_quantiles_bound_the_truth);
	tcase_add_test(tc, log_is_one_escaped_line);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
