/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/mapdraw.h"
#include "gateway/textout.h"

START_TEST(marks_say_what_is_there)
{
	static const struct {
		struct map_cell cell;
		enum map_mark mark;
	} rows[] = {
		{{0, 10, 0, 0}, MAP_EMPTY}, {{0, 10, 1, 0}, MAP_FEW},	{{0, 10, 4, 0}, MAP_FEW},
		{{0, 10, 5, 0}, MAP_MANY},  {{0, 10, 9, 0}, MAP_MANY},	{{0, 10, 10, 0}, MAP_FULL},
		{{0, 10, 9, 1}, MAP_DIRTY}, {{0, 10, 10, 1}, MAP_DIRTY}, {{0, 1, 1, 0}, MAP_FULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ck_assert_int_eq(mapdraw_mark(&rows[i].cell), rows[i].mark);
}
END_TEST

static char *
drawn(const struct map_cell *cells, size_t n, const struct map_style *style)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	mapdraw_print(out, cells, n, style);
	fclose(out);
	return text;
}

START_TEST(lines_carry_their_offset)
{
	struct map_style style = {.width = 28, .chunk_size = 4 << 20};
	struct map_cell cells[18];
	char *text;

	ck_assert_uint_eq(mapdraw_cells(28), 16);
	for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
		cells[i] = (struct map_cell){.first = i * 64, .chunks = 64, .clean = i == 3 ? 64 : i == 4 ? 8 : 0};
	cells[17].dirty = 1;
	text = drawn(cells, ARRAY_SIZE(cells), &style);
	ck_assert_msg(strstr(text, "  ...#-...........\n") != NULL, "%s", text);
	ck_assert_msg(strstr(text, "4.0 GiB  .*\n\n") != NULL, "%s", text);
	ck_assert_msg(strstr(text, " 15 cells\n") != NULL, "%s", text);
	ck_assert_msg(!strchr(text, '\033'), "%s", text);
	free(text);
}
END_TEST

START_TEST(colours_and_characters_are_asked_for)
{
	struct map_style style = {.width = 80, .chunk_size = 4 << 20, .color = true, .utf8 = true};
	struct map_cell cell = {.chunks = 1, .clean = 1};
	char *text = drawn(&cell, 1, &style);

	ck_assert_ptr_nonnull(strstr(text, "\033[32m\u2588\033[0m\n"));
	free(text);
}
END_TEST

START_TEST(narrow_and_wide_screens_work)
{
	ck_assert_uint_eq(mapdraw_cells(0), 8);
	ck_assert_uint_eq(mapdraw_cells(20), 8);
	ck_assert_uint_eq(mapdraw_cells(80), 64);
	ck_assert_uint_eq(mapdraw_cells(10000), 128);
}
END_TEST

START_TEST(tables_line_up)
{
	static const char *const headings[] = {"NAME", "SIZE", "WHERE", NULL};
	struct table table;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	table_init(&table, headings, 1u << 1);
	table_row(&table, "a", "10.0 GiB", "x");
	table_row(&table, "l\u00e4nger", "1", "yy");
	table_print(&table, out);
	table_fini(&table);
	fclose(out);
	ck_assert_str_eq(text, "NAME        SIZE  WHERE\n"
			       "a       10.0 GiB  x\n"
			       "l\u00e4nger         1  yy\n");
	free(text);
}
END_TEST

START_TEST(colour_follows_the_wish_then_the_terminal)
{
	FILE *out = tmpfile();

	ck_assert(color_wanted("always", out));
	ck_assert(!color_wanted("never", out));
	ck_assert(!color_wanted("auto", out));
	ck_assert(!color_wanted(NULL, out));
	fclose(out);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("mapdraw");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, marks_say_what_is_there);
	tcase_add_test(tc, lines_carry_their_offset);
	tcase_add_test(tc, colours_and_characters_are_asked_for);
	tcase_add_test(tc, narrow_and_wide_screens_work);
	tcase_add_test(tc, tables_line_up);
	tcase_add_test(tc, colour_follows_the_wish_then_the_terminal);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
