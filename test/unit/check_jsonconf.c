/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/jsonconf.h"
#include "common/util.h"

struct thing {
	char *name;
	uint64_t size;
	uint64_t count;
	bool on;
	int mode;
	json_t *list;
};

static const char *const modes[] = {"fast", "safe", NULL};
static const struct json_key keys[] = {
	{"name", JSON_KIND_STRING, offsetof(struct thing, name), .required = true},
	{"size", JSON_KIND_SIZE, offsetof(struct thing, size), .min = 512, .max = 1ull << 40},
	{"count", JSON_KIND_UINT, offsetof(struct thing, count), .max = 10},
	{"on", JSON_KIND_BOOL, offsetof(struct thing, on)},
	{"mode", JSON_KIND_ENUM, offsetof(struct thing, mode), .choices = modes},
	{"list", JSON_KIND_ARRAY, offsetof(struct thing, list)},
};

static int
read_thing(const char *text, struct thing *thing, struct errinfo *info)
{
	struct json_doc doc = {0};
	int rc = json_doc_parse("t.json", text, strlen(text), &doc, info);

	memset(thing, 0, sizeof(*thing));
	if (rc == 0)
		rc = json_read(&doc, doc.root, "", keys, ARRAY_SIZE(keys), thing, info);
	json_doc_fini(&doc);
	return rc;
}

START_TEST(good_document_fills_the_struct)
{
	struct errinfo info = {""};
	struct thing thing;

	ck_assert_int_eq(
		read_thing(
			"{\"name\":\"a\",\"size\":\"2K\",\"count\":3,\"on\":true,\"mode\":\"safe\",\"list\":[]}",
			&thing, &info),
		0);
	ck_assert_str_eq(thing.name, "a");
	ck_assert_uint_eq(thing.size, 2048);
	ck_assert_uint_eq(thing.count, 3);
	ck_assert(thing.on);
	ck_assert_int_eq(thing.mode, 1);
	free(thing.name);
}
END_TEST

static const struct {
	const char *text;
	const char *words;
} bad[] = {
	{"{\n  \"name\": \"a\",\n  \"size\": }", "t.json:3:"},
	{"{\n  \"name\": \"a\",\n  \"siez\": 4096\n}",
	 "t.json:3:3: siez: unknown key; did you mean \"size\"?"},
	{"{\n  \"name\": \"a\",\n  \"zzzzzzzzzz\": 4096\n}", "known here: name, size, count"},
	{"{\n  \"name\": \"a\",\n  \"some.thing\": 1\n}", "t.json:1:1: some.thing: unknown key"},
	{"{\n  \"name\": \"a\",\n  \"na\\u006de2\": 1\n}", "t.json:1:1: name2: unknown key"},
	{"{\"name\": 5}", "t.json:1:10: name: must be a string"},
	{"{\"size\": 4096}", "t.json:1:1: \"name\" is missing"},
	{"{\"name\":\"a\",\n \"size\": \"12Q\"}", "t.json:2:10: size: \"12Q\" is not a size"},
	{"{\"name\":\"a\",\n \"size\": 12}", "t.json:2:10: size: must be at least 512"},
	{"{\"name\":\"a\",\n \"count\": 11}", "count: must be at most 10"},
	{"{\"name\":\"a\", \"count\": -1}", "count: must not be negative"},
	{"{\"name\":\"a\", \"count\": 1.5}", "count: must be a whole number"},
	{"{\"name\":\"a\", \"on\": \"yes\"}", "on: must be true or false"},
	{"{\"name\":\"a\", \"mode\": \"slow\"}", "mode: must be one of \"fast\", \"safe\""},
	{"{\"name\":\"a\", \"list\": {}}", "list: must be an array"},
	{"{\"name\":\"a\", \"name\": \"b\"}", "duplicate"},
	{"{\"name\":\"a\\u0000b\"}", "t.json:1:"},
	{"[]", "t.json:1:1: must be an object"},
	{"", "t.json:1:1: "},
	{"{\"name\":\"a\"} trailing", "t.json:1:"},
};

START_TEST(bad_document_is_placed)
{
	struct errinfo info = {""};
	struct thing thing;

	ck_assert_int_eq(read_thing(bad[_i].text, &thing, &info), LG_ECONFIG);
	ck_assert_msg(strstr(info.text, bad[_i].words), "\"%s\" lacks \"%s\"", info.text, bad[_i].words);
	free(thing.name);
}
END_TEST

START_TEST(locate_walks_nested_paths)
{
	static const char text[] =
		"{\"a\": {\"x\": \"],}\\\"\", \"b\": [1, {\"c\": [true, [2, 3]]},\n  \"\u00fc\", {\"d\": null}]}}";
	struct json_doc doc = {0};
	unsigned line, col;

	ck_assert_int_eq(json_doc_parse("t.json", text, strlen(text), &doc, NULL), 0);
	json_locate(&doc, "a.b[1].c[1][1]", false, &line, &col);
	ck_assert_uint_eq(line, 1);
	ck_assert_int_eq(text[col - 1], '3');
	json_locate(&doc, "a.b[3].d", false, &line, &col);
	ck_assert_uint_eq(line, 2);
	ck_assert_uint_eq(col, 14);
	json_locate(&doc, "a.b[3].d", true, &line, &col);
	ck_assert_uint_eq(col, 9);
	json_locate(&doc, "a.b[9].d", false, &line, &col);
	ck_assert_uint_eq(line, 0);
	json_locate(&doc, "nothing", false, &line, &col);
	ck_assert_uint_eq(line, 0);
	json_doc_fini(&doc);
}
END_TEST

START_TEST(load_explains_files)
{
	struct errinfo info = {""};
	struct json_doc doc = {0};
	char path[32];
	int fds[2];

	ck_assert_int_eq(json_doc_load("/nonexistent/lungate.json", &doc, &info), -ENOENT);
	ck_assert_ptr_nonnull(strstr(info.text, "/nonexistent/lungate.json"));
	ck_assert_int_eq(json_doc_load("/dev/zero", &doc, &info), -EFBIG);
	ck_assert_int_eq(json_doc_load("/", &doc, &info), -EISDIR);
	/* a pipe does not know how much comes */
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], "{\"a\": 7}\n", 9), 9);
	close(fds[1]);
	(void)snprintf(path, sizeof(path), "/dev/fd/%d", fds[0]);
	ck_assert_msg(!json_doc_load(path, &doc, &info), "%s", info.text);
	ck_assert_int_eq(json_integer_value(json_object_get(doc.root, "a")), 7);
	json_doc_fini(&doc);
	close(fds[0]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("jsonconf");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, good_document_fills_the_struct);
	tcase_add_loop_test(tc, bad_document_is_placed, 0, (int)ARRAY_SIZE(bad));
	tcase_add_test(tc, locate_walks_nested_paths);
	tcase_add_test(tc, load_explains_files);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
