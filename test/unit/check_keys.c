/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/iscsi/keys.h"

static struct keys keys;
static char text[16384];

static int
parse(const char *s, size_t len)
{
	memcpy(text, s, len);
	return keys_parse(text, len, &keys);
}

#define PARSE(literal) parse(literal, sizeof(literal) - 1)

START_TEST(pairs_are_found)
{
	ck_assert_int_eq(PARSE("A=1\0Key.With-All+chars@_/#9=a=b,c\0Empty=\0"), 0);
	ck_assert_uint_eq(keys.n, 3);
	ck_assert_str_eq(keys_find(&keys, "A"), "1");
	ck_assert_str_eq(keys_find(&keys, "Key.With-All+chars@_/#9"), "a=b,c");
	ck_assert_str_eq(keys_find(&keys, "Empty"), "");
	ck_assert_ptr_null(keys_find(&keys, "a"));
	ck_assert_int_eq(parse("", 0), 0);
	ck_assert_uint_eq(keys.n, 0);
	/* counted padding */
	ck_assert_int_eq(PARSE("A=1\0\0\0B=2\0\0"), 0);
	ck_assert_uint_eq(keys.n, 2);
}
END_TEST

START_TEST(broken_text_is_refused)
{
	char many[(KEYS_PAIRS_MAX + 1) * 4], longkey[KEYS_NAME_MAX + 4];

	ck_assert_int_eq(PARSE("A=1"), LG_EPROTO);
	ck_assert_int_eq(PARSE("A=1\0B=2"), LG_EPROTO);
	ck_assert_int_eq(PARSE("no equals sign\0"), LG_EPROTO);
	ck_assert_int_eq(PARSE("=value\0"), LG_EPROTO);
	ck_assert_int_eq(PARSE("sp ace=1\0"), LG_EPROTO);
	ck_assert_int_eq(PARSE("A\x80=1\0"), LG_EPROTO);
	memset(longkey, 'k', KEYS_NAME_MAX);
	memcpy(longkey + KEYS_NAME_MAX, "=1", 3);
	ck_assert_int_eq(parse(longkey, KEYS_NAME_MAX + 3), 0);
	memset(longkey, 'k', KEYS_NAME_MAX + 1);
	memcpy(longkey + KEYS_NAME_MAX + 1, "=", 2);
	ck_assert_int_eq(parse(longkey, KEYS_NAME_MAX + 3), LG_EPROTO);
	for (unsigned i = 0; i <= KEYS_PAIRS_MAX; i++)
		memcpy(many + i * 4, "A=1", 4);
	ck_assert_int_eq(parse(many, sizeof(many) - 4), 0);
	ck_assert_int_eq(parse(many, sizeof(many)), LG_EPROTO);
	memset(text, 'v', sizeof(text));
	memcpy(text, "A=", 2);
	text[2 + KEYS_VALUE_MAX] = 0;
	ck_assert_int_eq(keys_parse(text, 3 + KEYS_VALUE_MAX, &keys), LG_EPROTO);
}
END_TEST

START_TEST(numbers_are_decimal_or_hexadecimal)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t value;
	} rows[] = {
		{"0", 0, 0},
		{"262144", 0, 262144},
		{"0x40000", 0, 262144},
		{"0XfF", 0, 255},
		{"", -EINVAL, 0},
		{"0x", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"12a", -EINVAL, 0},
		{"0xg", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t v = 0;

		ck_assert_msg(keys_number(rows[i].text, &v) == rows[i].rc, "%s", rows[i].text);
		ck_assert_uint_eq(v, rows[i].value);
	}
}
END_TEST

START_TEST(booleans_are_exact)
{
	bool v = false;

	ck_assert_int_eq(keys_bool("Yes", &v), 0);
	ck_assert(v);
	ck_assert_int_eq(keys_bool("No", &v), 0);
	ck_assert(!v);
	ck_assert_int_eq(keys_bool("yes", &v), -EINVAL);
	ck_assert_int_eq(keys_bool("1", &v), -EINVAL);
	ck_assert_int_eq(keys_bool("", &v), -EINVAL);
}
END_TEST

START_TEST(lists_are_taken_apart)
{
	char word[8];

	ck_assert(keys_list_at("a,bc,", 1, word, sizeof(word)));
	ck_assert_str_eq(word, "bc");
	ck_assert(keys_list_at("a,bc,", 2, word, sizeof(word)));
	ck_assert_str_eq(word, "");
	ck_assert(!keys_list_at("a,bc,", 3, word, sizeof(word)));
	ck_assert(!keys_list_at("12345678", 0, word, sizeof(word)));
}
END_TEST

START_TEST(a_text_never_outgrows_its_maximum)
{
	struct textbuf buf;

	textbuf_init(&buf, 12);
	keys_add(&buf, "A", "1");
	ck_assert_uint_eq(buf.len, 4);
	keys_addf(&buf, "B", "%d", 22);
	ck_assert_uint_eq(buf.len, 9);
	ck_assert_mem_eq(buf.data, "A=1\0B=22\0", 9);
	ck_assert(!buf.full);
	keys_add(&buf, "CC", "33");
	ck_assert(buf.full);
	ck_assert_uint_le(buf.len, 12);
	ck_assert_int_eq(textbuf_add(&buf, "123456789abcd", 13), -EMSGSIZE);
	textbuf_reset(&buf);
	ck_assert_int_eq(textbuf_add(&buf, "abcdef", 6), 0);
	textbuf_drop(&buf, 2);
	ck_assert_uint_eq(buf.len, 4);
	ck_assert_mem_eq(buf.data, "cdef", 4);
	textbuf_drop(&buf, 100);
	ck_assert_uint_eq(buf.len, 0);
	textbuf_fini(&buf);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("keys");
	TCase *tc = tcase_create("keys");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_test(tc, pairs_are_found);
	tcase_add_test(tc, broken_text_is_refused);
	tcase_add_test(tc, numbers_are_decimal_or_hexadecimal);
	tcase_add_test(tc, booleans_are_exact);
	tcase_add_test(tc, lists_are_taken_apart);
	tcase_add_test(tc, a_text_never_outgrows_its_maximum);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
