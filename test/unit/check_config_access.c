/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Accounts and lists of initiators in lungate.json. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util.h"
#include "common/vfs.h"
#include "gateway/config.h"
#include "gateway/iscsi/access.h"
#include "gateway/iscsi/chap.h"

#define IQN "iqn.2026-11.net.example:x"

static char dir[64], config_path[96], secret_path[96];
static struct errinfo info;
static struct config config;

static void
put_file(const char *path, const char *text, mode_t mode)
{
	int fd;

	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void
setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/lungate-access.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(config_path, sizeof(config_path), "%s/c.json", dir);
	(void)snprintf(secret_path, sizeof(secret_path), "%s/secret", dir);
	put_file(secret_path, "the-secret-in-a-file\n", 0600);
	ck_assert_int_eq(setenv("LUNGATE_TEST_SECRET", "the-secret-of-the-env", 1), 0);
	ck_assert_int_eq(setenv("LUNGATE_TEST_SHORT", "eleven-byte", 1), 0);
}

static void
teardown(void)
{
	(void)unlink(config_path);
	(void)unlink(secret_path);
	(void)rmdir(dir);
}

/* '@' stands for the path of the file with the secret, ' for ". */
static void
write_config(const char *text, mode_t mode)
{
	static char out[8192];
	size_t n = 0;

	for (; *text; text++) {
		if (*text == '@')
			n += (size_t)snprintf(out + n, sizeof(out) - n, "%s", secret_path);
		else
			out[n++] = *text == '\'' ? '"' : *text;
	}
	out[n] = 0;
	put_file(config_path, out, mode);
}

static int
load(const char *text, mode_t mode)
{
	write_config(text, mode);
	memset(&info, 0, sizeof(info));
	return config_load(config_path, &config, NULL, &info);
}

#define VOLUMES                                                                                              \
	"'volumes': [{'name': 'a', 'store': 'ram:', 'size': '1M'}, {'name': 'b', 'store': 'ram:', 'size': '1M'}],\n"
#define LUNS "'luns': [{'lun': 0, 'volume': 'a'}, {'lun': 3, 'volume': 'b'}]"
#define TARGET(more) "{" VOLUMES "'targets': [{'name': '" IQN "', " LUNS ",\n" more "}]}"

START_TEST(everything_at_once)
{
	const struct config_access *access;

	ck_assert_msg(
		!load("{'chap_algorithms': ['sha256', 'md5'], 'discovery': {'chap': [{'user': 'd', 'secret': 'inline-secret'}]},\n" VOLUMES
		      "'targets': [{'name': '" IQN "', " LUNS ",\n"
		      "'chap': [{'user': 'f', 'secret_file': '@'}, {'user': 'e', 'secret_env': 'LUNGATE_TEST_SECRET'}],\n"
		      "'mutual': {'user': 'us', 'secret': 'another-secret'},\n"
		      "'initiators': [{'name': 'iqn.a:*', 'network': '10.0.0.0/8', 'account': 'f',\n"
		      "                'luns': [{'lun': 7, 'volume': 'b', 'read_only': true}]},\n"
		      "               {'name': 'iqn.b'}, {'name': 'iqn.c', 'luns': []}]}]}",
		      0600),
		"%s", info.text);
	ck_assert_uint_eq(config.chap_algorithms, 1u << CHAP_SHA256 | 1u << CHAP_MD5);
	ck_assert(config.discovery.chap && !config.discovery.listed);
	ck_assert_uint_eq(config.discovery.naccounts, 1);
	ck_assert_uint_eq(secret_len(config.discovery.accounts[0].secret), strlen("inline-secret"));
	ck_assert_mem_eq(secret_bytes(config.discovery.accounts[0].secret), "inline-secret", 13);
	access = &config.targets[0].access;
	ck_assert(access->chap && access->listed);
	ck_assert_uint_eq(access->naccounts, 2);
	ck_assert_str_eq(access->accounts[0].secret_file, secret_path);
	ck_assert_mem_eq(secret_bytes(access->accounts[0].secret), "the-secret-in-a-file", 20);
	ck_assert_uint_eq(secret_len(access->accounts[0].secret), 20);
	ck_assert_mem_eq(secret_bytes(access->accounts[1].secret), "the-secret-of-the-env", 21);
	ck_assert_str_eq(access->mutual->user, "us");
	ck_assert_uint_eq(access->ninitiators, 3);
	ck_assert(access->initiators[0].masked && !access->initiators[1].masked &&
		  access->initiators[2].masked);
	ck_assert_uint_eq(access->initiators[0].luns[0].lun, 7);
	ck_assert(access->initiators[0].luns[0].read_only);
	config_fini(&config);
}
END_TEST

START_TEST(rules_for_the_server)
{
	struct iscsi_access *rules;
	const struct access_entry *entry;

	ck_assert_int_eq(
		load(TARGET("'initiators': [{'name': 'iqn.a', 'luns': [{'lun': 1, 'volume': 'b', 'read_only': true},"
			    "{'lun': 0, 'volume': 'a'}]}, {'name': '*'}]"),
		     0644),
		0);
	ck_assert_int_eq(config_make_access(&config.targets[0].access, config.targets[0].luns,
					    config.targets[0].nluns, 0, &rules, &info),
			 0);
	ck_assert_int_eq(access_match(rules, "iqn.a", "10.0.0.1:1", &entry), 0);
	ck_assert_uint_eq(entry->view.lun[0], 0);
	ck_assert_uint_eq(entry->view.lun[1], 3 | SCSI_VIEW_READ_ONLY);
	ck_assert_uint_eq(entry->view.lun[3], SCSI_VIEW_NONE);
	ck_assert_int_eq(access_match(rules, "iqn.b", "10.0.0.1:1", &entry), 0);
	ck_assert_uint_eq(entry->view.lun[3], 3);
	iscsi_access_unref(rules);
	ck_assert_int_eq(config_make_access(&config.discovery, NULL, 0, 0, &rules, &info), 0);
	ck_assert_ptr_null(rules);
	config_fini(&config);
}
END_TEST

/* Every row: what a target has beside its LUNs, the line of the complaint, where, and words. */
static const struct {
	const char *text, *at, *words;
} bad[] = {
	{TARGET("'chap': [{'secret_file': '@'}]"), ":3:10:", "\"user\" is missing"},
	{TARGET("'chap': [{'user': 'x'}]"), "targets[0].chap[0]:", "needs one of"},
	{TARGET("'chap': [{'user': 'x', 'secret_file': '@', 'secret_env': 'HOME'}]"),
	 "targets[0].chap[0]:", "needs one of"},
	{TARGET("'chap': [{'user': '', 'secret_file': '@'}]"), "targets[0].chap[0].user:", "1 to 255"},
	{TARGET("'chap': [{'user': 'x', 'secret_file': 'secret'}]"), "secret_file:", "absolute"},
	{TARGET("'chap': [{'user': 'x', 'secret_file': '/nonexistent/secret'}]"),
	 "secret_file:", "/nonexistent/secret: "},
	{TARGET("'chap': [{'user': 'x', 'secret_file': '/tmp'}]"), "secret_file:", "not a plain file"},
	{TARGET("'chap': [{'user': 'x', 'secret_env': 'LUNGATE_TEST_NONE'}]"),
	 "secret_env:", "no environment variable"},
	{TARGET("'chap': [{'user': 'x', 'secret_env': 'LUNGATE_TEST_SHORT'}]"), "secret_env:", "12 bytes"},
	{TARGET("'chap': [{'user': 'x', 'secret': 'long-enough-a-secret'}]"), "chap[0].secret:", "chmod 600"},
	{TARGET("'chap': [{'user': 'x', 'secret_file': '@'}, {'user': 'x', 'secret_env': 'LUNGATE_TEST_SECRET'}]"),
	 "chap[1]:", "there already"},
	{TARGET("'chap': [{'user': 'x', 'secret_file': '@'}], 'mutual': {'user': 'y', 'secret_file': '@'}"),
	 "mutual:", "of its own"},
	{TARGET("'mutual': {'user': 'y', 'secret_file': '@'}"), "mutual:", "without use"},
	{TARGET("'initiators': [{'network': '10.0.0.0/8'}]"), "initiators[0]:", "\"name\" is missing"},
	{TARGET("'initiators': [{'name': 'a*b'}]"), "initiators[0].name:", "last character"},
	{TARGET("'initiators': [{'name': 'a b'}]"), "initiators[0].name:", "no initiator name"},
	{TARGET("'initiators': [{'name': 'a'}, {'name': 'A'}]"), "initiators[1].name:", "there already"},
	{TARGET("'initiators': [{'name': 'a', 'network': '10.0.0.1/8'}]"),
	 "initiators[0].network:", "first address"},
	{TARGET("'initiators': [{'name': 'a', 'network': 'lan'}]"), "initiators[0].network:", "no network"},
	{TARGET("'initiators': [{'name': 'a', 'account': 'x'}]"),
	 "initiators[0].account:", "no account \"x\""},
	{TARGET("'initiators': [{'name': 'a', 'luns': [{'lun': 0, 'volume': 'c'}]}]"),
	 "luns[0].volume:", "no LUN of this"},
	{TARGET("'initiators': [{'name': 'a', 'luns': [{'lun': 0, 'volume': 'a'}, {'lun': 0, 'volume': 'b'}]}]"),
	 "luns[1].lun:", "LUN 0 is there"},
	{TARGET("'initiators': [{'name': 'a', 'luns': [{'lun': 0, 'volume': 'a'}, {'lun': 1, 'volume': 'a'}]}]"),
	 "luns[1].volume:", "LUN 0 of this initiator"},
	{TARGET("'initiators': [{'name': 'a', 'luns': [{'lun': 256, 'volume': 'a'}]}]"),
	 "luns[0].lun:", "at most 255"},
	{"{'chap_algorithms': ['sha512']}", "chap_algorithms[0]:", "sha3-256"},
	{"{'chap_algorithms': []}", "chap_algorithms:", "one at least"},
	{"{'discovery': {'initiators': []}}", ":1:16:", "unknown"},
};

START_TEST(mistakes)
{
	ck_assert_msg(load(bad[_i].text, 0644) == LG_ECONFIG, "accepted: %s", bad[_i].text);
	ck_assert_msg(strstr(info.text, bad[_i].at), "%s\nbut: %s", bad[_i].text, info.text);
	ck_assert_msg(strstr(info.text, bad[_i].words), "%s\nbut: %s", bad[_i].text, info.text);
	ck_assert_ptr_null(strstr(info.text, "the-secret"));
	ck_assert_ptr_null(strstr(info.text, "long-enough"));
	ck_assert_ptr_null(strstr(info.text, "eleven"));
}
END_TEST

START_TEST(files_that_others_can_read)
{
	static const mode_t modes[] = {0640, 0604, 0660, 0622};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		put_file(secret_path, "the-secret-in-a-file", modes[i]);
		ck_assert_int_eq(load(TARGET("'chap': [{'user': 'x', 'secret_file': '@'}]"), 0600),
				 LG_ECONFIG);
		ck_assert_ptr_nonnull(strstr(info.text, "chmod 600"));
		ck_assert_int_eq(
			load(TARGET("'chap': [{'user': 'x', 'secret': 'long-enough-a-secret'}]"), modes[i]),
			LG_ECONFIG);
	}
}
END_TEST

/* A slip beside a secret must not show the secret. */
START_TEST(what_a_broken_file_says)
{
	static const char *const texts[] = {
		"{'secret' 'the-secret'}",
		"{'secret': 'x' 'the-secret'}",
		"{'secret': the-secret}",
		"{'secret': 'the-secret}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		ck_assert_int_eq(load(texts[i], 0600), LG_ECONFIG);
		ck_assert_msg(!strstr(info.text, "the-secret"), "%s", info.text);
	}
}
END_TEST

static json_t *root;

/* What stands at a key of the target, or discovery; good until the next call. */
static json_t *
edited(const char *key)
{
	json_t *target;

	json_decref(root);
	root = json_load_file(config_path, 0, NULL);
	ck_assert_ptr_nonnull(root);
	if (!strcmp(key, "discovery"))
		return json_object_get(root, "discovery");
	target = json_array_get(json_object_get(root, "targets"), 0);
	return json_object_get(target, key);
}

START_TEST(edits)
{
	struct acl_change acl = {.name = "iqn.a", .network = "10.0.0.0/8"};
	struct account_change account = {.user = "x", .secret_file = secret_path};

	write_config(TARGET(" 'initiators': [{'name': 'iqn.z', 'luns': [{'lun': 1, 'volume': 'a'}]}]"), 0640);
	ck_assert_msg(!config_put_initiator(config_path, IQN, &acl, &info), "%s", info.text);
	ck_assert_uint_eq(json_array_size(edited("initiators")), 2);
	acl.luns = json_pack("[{s:i, s:s}]", "lun", 4, "volume", "b");
	ck_assert_int_eq(config_put_initiator(config_path, IQN, &acl, &info), 0);
	ck_assert_uint_eq(json_array_size(edited("initiators")), 2);
	ck_assert(json_equal(json_object_get(json_array_get(edited("initiators"), 1), "luns"), acl.luns));
	json_decref(acl.luns);
	/* what would break the file is not made */
	acl.luns = json_pack("[{s:i, s:s}]", "lun", 4, "volume", "none");
	ck_assert_int_eq(config_put_initiator(config_path, IQN, &acl, &info), LG_ECONFIG);
	json_decref(acl.luns);
	acl = (struct acl_change){.name = "iqn.a"};
	ck_assert_int_eq(config_drop_initiator(config_path, IQN, &acl, &info), 0);
	ck_assert_uint_eq(json_array_size(edited("initiators")), 2);
	acl.network = "10.0.0.0/8";
	ck_assert_int_eq(config_drop_initiator(config_path, IQN, &acl, &info), 0);
	acl = (struct acl_change){.name = "iqn.z"};
	ck_assert_int_eq(config_drop_initiator(config_path, IQN, &acl, &info), 0);
	ck_assert(json_is_array(edited("initiators")));
	ck_assert_uint_eq(json_array_size(edited("initiators")), 0);
	acl.open = true;
	ck_assert_int_eq(config_drop_initiator(config_path, IQN, &acl, &info), 0);
	ck_assert_ptr_null(edited("initiators"));

	ck_assert_int_eq(config_put_account(config_path, IQN, &account, &info), 0);
	ck_assert_int_eq(config_put_account(config_path, IQN, &account, &info), 0);
	ck_assert_uint_eq(json_array_size(edited("chap")), 1);
	account.mutual = true;
	ck_assert_int_eq(config_put_account(config_path, IQN, &account, &info),
			 LG_ECONFIG); /* one secret for both */
	account = (struct account_change){.user = "us", .secret_env = "LUNGATE_TEST_SECRET", .mutual = true};
	ck_assert_int_eq(config_put_account(config_path, IQN, &account, &info), 0);
	ck_assert(json_is_object(edited("mutual")));
	account = (struct account_change){.user = "x", .open = true};
	ck_assert_int_eq(config_drop_account(config_path, IQN, &account, &info), 0);
	ck_assert_ptr_null(edited("chap"));
	ck_assert_ptr_null(edited("mutual"));

	account = (struct account_change){.user = "x", .secret_file = secret_path};
	ck_assert_int_eq(config_put_account(config_path, NULL, &account, &info), 0);
	ck_assert(json_is_object(edited("discovery")));
	account.open = true;
	ck_assert_int_eq(config_drop_account(config_path, NULL, &account, &info), 0);
	ck_assert_ptr_null(edited("discovery"));
	ck_assert_int_eq(config_drop_account(config_path, "iqn.2026-11.net.example:none", &account, &info),
			 -ENOENT);
	json_decref(root);
	root = NULL;
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("config access");
	TCase *tc = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	json_wipe_freed();
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, everything_at_once);
	tcase_add_test(tc, rules_for_the_server);
	tcase_add_loop_test(tc, mistakes, 0, (int)ARRAY_SIZE(bad));
	tcase_add_test(tc, files_that_others_can_read);
	tcase_add_test(tc, what_a_broken_file_says);
	tcase_add_test(tc, edits);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
