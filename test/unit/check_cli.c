/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/exitcode.h"

#define ARGC_MAX 16

static struct errinfo info;

/* Parse a line, cut at blanks; the words live as long as the program. */
static int
parse(const char *line, struct cli *cli)
{
	static char text[512];
	char *argv[ARGC_MAX + 1] = {NULL}, *save = NULL;
	int argc = 0;
	size_t n;
	const struct cli_command *commands = cli_all_commands(&n);

	(void)snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok_r(text, " ", &save); word && argc < ARGC_MAX;
	     word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	memset(&info, 0, sizeof(info));
	return cli_parse(commands, n, argc, argv, cli, &info);
}

START_TEST(good_lines_become_requests)
{
	static const struct {
		const char *line, *json;
	} rows[] = {
		{"lungate volume create disk0 --size 10G --store dir:/s",
		 "{\"volume\":{\"name\":\"disk0\",\"size\":\"10G\",\"store\":\"dir:/s\"}}"},
		{"lungate volume create --size=10G disk0 --existing",
		 "{\"volume\":{\"name\":\"disk0\",\"size\":\"10G\"},\"existing\":true}"},
		{"lungate volume create disk0 -s 1M --commit-interval 60 --write-cache",
		 "{\"volume\":{\"name\":\"disk0\",\"size\":\"1M\",\"commit_interval\":60,\"write_cache\":true}}"},
		{"lungate target map iqn.2026-11.a:b disk0 --lun 7",
		 "{\"target\":\"iqn.2026-11.a:b\",\"volume\":\"disk0\",\"lun\":7}"},
		{"lungate target unmap iqn.2026-11.a:b 7", "{\"target\":\"iqn.2026-11.a:b\",\"lun\":7}"},
		{"lungate target acl remove iqn.2026-11.a:b iqn.2026-11.a:* --network 10.0.0.0/8",
		 "{\"target\":\"iqn.2026-11.a:b\",\"name\":\"iqn.2026-11.a:*\",\"network\":\"10.0.0.0/8\"}"},
		{"lungate target account add discovery alice --secret-env X --mutual",
		 "{\"target\":\"discovery\",\"user\":\"alice\",\"secret_env\":\"X\",\"mutual\":true}"},
		{"lungate volume show -- -odd", "{\"name\":\"-odd\"}"},
		{"lungate status --json", "{}"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *want = json_loads(rows[i].json, 0, NULL), *got;
		struct cli cli;

		ck_assert_msg(!parse(rows[i].line, &cli), "%s: %s", rows[i].line, info.text);
		got = cli_request_args(&cli);
		if (!json_equal(want, got))
			ck_abort_msg("%s: %s", rows[i].line, json_dumps(got, 0));
		json_decref(want);
		json_decref(got);
	}
}
END_TEST

START_TEST(bad_lines_are_explained)
{
	static const struct {
		const char *line, *words;
	} rows[] = {
		{"lungate", "a command is missing"},
		{"lungate serv", "did you mean 'serve'"},
		{"lungate volme create x", "did you mean 'volume'"},
		{"lungate volume", "'volume' needs one more word"},
		{"lungate target acl", "'target acl' needs one more word"},
		{"lungate target acl ad", "did you mean 'target acl add'"},
		{"lungate target acount list", "did you mean 'target account'"},
		{"lungate volume crate x", "did you mean 'volume create'"},
		{"lungate volume lits", "did you mean 'volume list'"},
		{"lungate xyzzy", "'lungate --help' lists them"},
		{"lungate volume create disk0 --sise 10G", "did you mean --size"},
		{"lungate volume create disk0 --size ten", "'ten' is not a size"},
		{"lungate volume create disk0 --size", "needs a value"},
		{"lungate volume create disk0 --size 1G --size 2G", "given twice"},
		{"lungate volume create disk0 --existing=yes", "takes no value"},
		{"lungate volume create disk0 --block-size 513", "not one of the choices"},
		{"lungate volume create", "NAME is missing"},
		{"lungate volume create a b", "one word too many"},
		{"lungate target unmap iqn.2026-11.a:b one", "not a whole number"},
		{"lungate target map iqn.2026-11.a:b v --lun -1", "not a whole number"},
		{"lungate volume list -x", "unknown option -x; see 'lungate volume list --help'"},
		{"lungate volume create disk0 --size 9999999T", "larger than any size can be"},
		{"lungate help volume crate", "did you mean 'volume create'"},
		{"lungate volume list -jx", "short options stand alone"},
		{"lungate --json extra", "the command comes first"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cli cli;

		ck_assert_msg(parse(rows[i].line, &cli) == -EINVAL, "%s was accepted", rows[i].line);
		ck_assert_msg(strstr(info.text, rows[i].words), "%s: %s", rows[i].line, info.text);
	}
}
END_TEST

START_TEST(help_and_version_need_nothing_else)
{
	struct cli cli;

	ck_assert_int_eq(parse("lungate --help", &cli), 0);
	ck_assert(cli.help && !cli.command);
	ck_assert_int_eq(parse("lungate volume --help", &cli), 0);
	ck_assert(cli.help && !cli.command);
	ck_assert_str_eq(cli.group, "volume");
	ck_assert_int_eq(parse("lungate volume create -h", &cli), 0);
	ck_assert(cli.help);
	ck_assert_str_eq(cli.command->name, "volume create");
	ck_assert_int_eq(parse("lungate help", &cli), 0);
	ck_assert(cli.help && !cli.command);
	ck_assert_int_eq(parse("lungate help target acl", &cli), 0);
	ck_assert(cli.help);
	ck_assert_str_eq(cli.group, "target acl");
	ck_assert_int_eq(parse("lungate help volume create", &cli), 0);
	ck_assert(cli.help);
	ck_assert_str_eq(cli.command->name, "volume create");
	ck_assert_int_eq(parse("lungate -V", &cli), 0);
	ck_assert(cli.version);
}
END_TEST

START_TEST(repeated_options_keep_their_order)
{
	struct cli cli;

	ck_assert_int_eq(parse("lungate serve --listen a:1 --strict --listen b:2", &cli), 0);
	ck_assert_str_eq(cli_value_at(&cli, "listen", 0), "a:1");
	ck_assert_str_eq(cli_value_at(&cli, "listen", 1), "b:2");
	ck_assert_ptr_null(cli_value_at(&cli, "listen", 2));
	ck_assert(cli_has(&cli, "strict"));
}
END_TEST

/* The whole of a manual page, with troff's \- read as a dash. */
static char *
read_page(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char path[1024], *text = calloc(1, 1 << 20), *to;
	FILE *file;
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/doc/%s", srcdir ? srcdir : ".", name);
	file = fopen(path, "r");
	ck_assert_msg(file != NULL, "%s is missing", path);
	len = fread(text, 1, (1 << 20) - 1, file);
	fclose(file);
	to = text;
	for (size_t i = 0; i < len; i++)
		if (text[i] != '\\' || text[i + 1] != '-')
			*to++ = text[i];
	*to = 0;
	return text;
}

START_TEST(manual_page_has_every_command_and_option)
{
	char *page = read_page("lungate.1"), words[128];
	size_t n;
	const struct cli_command *commands = cli_all_commands(&n);

	for (size_t i = 0; i < n; i++) {
		const char *section;

		(void)snprintf(words, sizeof(words), ".SS %s", commands[i].name);
		section = strstr(page, words);
		ck_assert_msg(section != NULL, "lungate.1 has no section \"%s\"", commands[i].name);
		for (size_t k = 0; k < commands[i].noptions; k++) {
			const char *end = strstr(section + 1, "\n.S"), *at;

			(void)snprintf(words, sizeof(words), "--%s", commands[i].options[k].name);
			at = strstr(section, words);
			ck_assert_msg(at && (!end || at < end), "lungate.1: %s has no %s", commands[i].name,
				      words);
		}
	}
	for (size_t k = 0; k < cli_ncommon; k++) {
		(void)snprintf(words, sizeof(words), "--%s", cli_common[k].name);
		ck_assert_msg(strstr(page, words) != NULL, "lungate.1 has no %s", words);
	}
	for (const struct exit_code_row *row = exit_code_rows; row->name; row++)
		ck_assert_msg(strstr(page, row->meaning) != NULL, "lungate.1 has no exit code \"%s\"",
			      row->meaning);
	free(page);
}
END_TEST

/* And the other way round: no page describes an option that is gone. */
START_TEST(manual_page_has_no_other_options)
{
	char *page = read_page("lungate.1");
	size_t n;
	const struct cli_command *commands = cli_all_commands(&n);

	for (const char *at = page; (at = strstr(at, "--")); at++) {
		size_t len = strspn(at + 2, "abcdefghijklmnopqrstuvwxyz-");
		bool known = len == 0;

		for (size_t i = 0; i < n && !known; i++)
			for (size_t k = 0; k < commands[i].noptions && !known; k++)
				known = strlen(commands[i].options[k].name) == len &&
					!memcmp(commands[i].options[k].name, at + 2, len);
		for (size_t k = 0; k < cli_ncommon && !known; k++)
			known = strlen(cli_common[k].name) == len && !memcmp(cli_common[k].name, at + 2, len);
		/* other programs' options stand in examples, marked by the program on the line */
		if (!known) {
			const char *line = at;

			while (line > page && line[-1] != '\n')
				line--;
			known = strncmp(line, "iscsiadm", 8) == 0;
		}
		ck_assert_msg(known, "lungate.1 describes %.*s, which no command has", (int)len + 2, at);
	}
	free(page);
}
END_TEST

START_TEST(every_command_teaches)
{
	size_t n;
	const struct cli_command *commands = cli_all_commands(&n);

	for (size_t i = 0; i < n; i++) {
		ck_assert_msg(commands[i].summary && commands[i].about && commands[i].example &&
				      commands[i].next,
			      "%s", commands[i].name);
		ck_assert_msg(strstr(commands[i].example, "lungate ") != NULL, "%s", commands[i].name);
		ck_assert_ptr_nonnull(commands[i].run);
	}
}
END_TEST

START_TEST(exit_codes_follow_the_table)
{
	ck_assert_int_eq(exit_code_of(0), EXIT_OK);
	ck_assert_int_eq(exit_code_of(-ENOENT), EXIT_NOT_FOUND);
	ck_assert_int_eq(exit_code_of(-EADDRINUSE), EXIT_CONFLICT);
	ck_assert_int_eq(exit_code_of(LG_EFENCED), EXIT_FENCED);
	ck_assert_int_eq(exit_code_of(-ECHILD), EXIT_FAILED);
	ck_assert_int_eq(exit_error_by_name("LG_EFENCED"), LG_EFENCED);
	ck_assert_int_eq(exit_error_by_name("ENOENT"), -ENOENT);
	ck_assert_int_eq(exit_error_by_name("nonsense"), -EIO);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("cli");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, good_lines_become_requests);
	tcase_add_test(tc, bad_lines_are_explained);
	tcase_add_test(tc, help_and_version_need_nothing_else);
	tcase_add_test(tc, repeated_options_keep_their_order);
	tcase_add_test(tc, manual_page_has_every_command_and_option);
	tcase_add_test(tc, manual_page_has_no_other_options);
	tcase_add_test(tc, every_command_teaches);
	tcase_add_test(tc, exit_codes_follow_the_table);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
