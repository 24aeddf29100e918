/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util.h"
#include "common/vfs.h"
#include "gateway/config.h"

static struct errinfo info;
static char dir[64];

static void
make_dir(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/lungate-config.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
remove_dir(void)
{
	char path[128];

	for (size_t i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, i ? "link.json" : "c.json");
		(void)unlink(path);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}

static int
parse(const char *text, struct config *config, struct config_report *report)
{
	struct json_doc doc;
	int r;

	memset(&info, 0, sizeof(info));
	r = json_doc_parse("c.json", text, strlen(text), &doc, &info);
	if (r)
		return r;
	r = config_parse(&doc, config, report, &info);
	json_doc_fini(&doc);
	return r;
}

START_TEST(an_empty_file_has_defaults)
{
	struct config config;

	ck_assert_msg(!parse("{}", &config, NULL), "%s", info.text);
	ck_assert_uint_eq(config.memory, 512ull << 20);
	ck_assert_uint_eq(config.threads, 0);
	ck_assert_uint_eq(config.limits.queue_depth, 128);
	ck_assert_uint_eq(config.nportals, 0);
	ck_assert_ptr_nonnull(config.control);
	ck_assert_ptr_nonnull(config.state_dir);
	ck_assert_ptr_null(config.mount.path);
	config_fini(&config);
}
END_TEST

static const char full[] =
	"{\n"
	"  \"listen\": [\"127.0.0.1:3260\", \"[::1]:0\"],\n"
	"  \"control\": \"/run/x.sock\", \"state_dir\": \"/var/x\",\n"
	"  \"mount\": {\"path\": \"/mnt/x\", \"allow_other\": true},\n"
	"  \"memory\": \"64M\", \"threads\": 3, \"log_level\": \"debug\", \"close_timeout\": 90,\n"
	"  \"limits\": {\"queue_depth\": 32, \"first_burst\": \"64K\"},\n"
	"  \"volumes\": [\n"
	"    {\"name\": \"a\", \"store\": \"dir:/s\", \"size\": \"10G\", \"chunk_size\": \"1M\", \"journal_size\": \"512M\",\n"
	"     \"commit_window\": \"256M\"},\n"
	"    {\"name\": \"b\", \"store\": \"ram:\", \"size\": 1048576, \"block_size\": 4096,\n"
	"     \"uuid\": \"2f1c8a52-6d0e-4b3a-9a44-0d5f3a7a9b10\"}],\n"
	"  \"targets\": [{\"name\": \"iqn.2026-11.net.example:x\",\n"
	"     \"luns\": [{\"lun\": 0, \"volume\": \"a\"}, {\"lun\": 5, \"volume\": \"b\"}]}]\n"
	"}\n";

START_TEST(a_full_file_is_read)
{
	struct config config;
	struct volume_spec spec;
	struct iscsi_limits limits;
	const uint8_t id[GATEWAY_ID_LEN] = {7};

	ck_assert_msg(!parse(full, &config, NULL), "%s", info.text);
	ck_assert_uint_eq(config.nportals, 2);
	ck_assert_str_eq(config.portals[1].address, "[::1]:0");
	ck_assert_str_eq(config.mount.path, "/mnt/x");
	ck_assert(config.mount.allow_other);
	ck_assert_int_eq(config.log_level, LOG_LEVEL_DEBUG);
	ck_assert_uint_eq(config.close_timeout, 90);
	config_iscsi_limits(&config.limits, &limits);
	ck_assert_uint_eq(limits.queue_depth, 32);
	ck_assert_uint_eq(limits.first_burst, 65536);
	ck_assert_uint_eq(config.nvolumes, 2);
	ck_assert_int_eq(config_volume_spec(&config.volumes[0], "/j", id, &spec), 0);
	ck_assert_uint_eq(spec.size, 10ull << 30);
	ck_assert_uint_eq(spec.chunk_size, 1u << 20);
	ck_assert_uint_eq(spec.commit_window, 256u << 20); /* the most: half of the journal */
	ck_assert_str_eq(spec.journal_dir, "/j");
	ck_assert_mem_eq(spec.gateway_id, id, sizeof(id));
	ck_assert_int_eq(config_volume_spec(&config.volumes[1], "/j", id, &spec), 0);
	ck_assert_uint_eq(spec.uuid[0], 0x2f);
	ck_assert_uint_eq(spec.block_size, 4096);
	ck_assert_uint_eq(config.targets[0].nluns, 2);
	ck_assert_str_eq(config.targets[0].luns[1].volume, "b");
	config_fini(&config);
}
END_TEST

/* Every row: a text, and how the complaint begins and what it says. */
static const struct {
	const char *text, *at, *words;
} bad[] = {
	{"{\n  \"listen\": [\n", "c.json:3:", "expected"},
	{"{\"lisen\": []}", "c.json:1:2:", "did you mean \"listen\""},
	{"{\n  \"memory\": \"1M\"}", "c.json:2:13:", "at least"},
	{"{\"memory\": \"lots\"}", "c.json:1:12:", "not a size"},
	{"{\"threads\": -1}", "c.json:1:13:", "negative"},
	{"{\"close_timeout\": 0}", "c.json:1:19: close_timeout:", "at least 1"},
	{"{\"log_level\": \"loud\"}", "c.json:1:15:", "\"debug\""},
	{"{\"listen\": [\"127.0.0.1:3260\",\n\"localhost:3260\"]}", "c.json:2:1: listen[1]:", "in numbers"},
	{"{\"listen\": [\"127.0.0.1:66000\"]}", "c.json:1:13:", "in numbers"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"dir:/x\", \"commit_window\": \"513M\"}]}",
	 "c.json:1:64: volumes[0].commit_window:", "513M is more than half of the journal, and never reached: journal_size is 1G,"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"dir:/x\", \"commit_window\": \"154M\", \"journal_size\": \"256M\"}]}",
	 "c.json:1:64: volumes[0].commit_window:", "154M is more than half of the journal, and never reached: journal_size is 256M,"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"dir:/x\", \"journal_size\": \"128M\"}]}",
	 "c.json:1:63: volumes[0].journal_size:", "at least 256M"},
	{"{\"listen\": [\"::1:3260\"]}", "c.json:1:13:", "in numbers"},
	{"{\"listen\": [\"127.0.0.1:1\", \"127.0.0.1:1\"]}", "c.json:1:28:", "there twice"},
	{"{\"portal_groups\": [{\"tag\": 1}]}",
	 "c.json:1:28: portal_groups[0].tag:", "2"},
	{"{\"portal_groups\": [{\"tag\": 2}, {\"tag\": 2}]}",
	 "c.json:1:40: portal_groups[1].tag:", "already"},
	{"{\"portal_groups\": [{\"tag\": 2, \"portals\": [\"x\"]}]}",
	 "c.json:1:43: portal_groups[0].portals[0]:", "in numbers"},
	{"{\"listen\": [\"127.0.0.1:1\"], \"portal_groups\": [{\"tag\": 2, \"portals\": [\"127.0.0.1:1\"]}]}",
	 "c.json:1:70: portal_groups[0].portals[0]:", "there twice"},
	{"{\"redirects\": [{\"portal\": \"127.0.0.1:1\", \"to\": \"b:2\"}]}",
	 "c.json:1:27: redirects[0].portal:", "no portal"},
	{"{\"listen\": [\"127.0.0.1:1\"], \"redirects\": [{\"portal\": \"127.0.0.1:1\", \"to\": \"b\"}]}",
	 "c.json:1:75: redirects[0].to:", "HOST:PORT"},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.net.example:x\", \"portal_groups\": [2]}]}",
	 "c.json:1:70: targets[0].portal_groups[0]:", "no portal group 2"},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.net.example:x\", \"portal_groups\": []}]}",
	 "c.json:1:69: targets[0].portal_groups:", "no portal would lead"},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.net.example:x\", \"portal_groups\": [1, 1]}]}",
	 "c.json:1:73: targets[0].portal_groups[1]:", "twice"},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.net.example:x\", \"redirect\": {\"to\": \":1\"}}]}",
	 "c.json:1:71: targets[0].redirect.to:", "HOST:PORT"},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.net.example:x\", \"alua\": [{\"group\": 1, \"state\": \"x\"}]}]}",
	 "c.json:1:83: targets[0].alua[0].state:", "standby"},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.net.example:x\", \"alua\": [{\"group\": 3, \"state\": \"standby\"}]}]}",
	 "c.json:1:71: targets[0].alua[0].group:", "no portal group 3"},
	{"{\"control\": \"x.sock\"}", "c.json:1:13:", "absolute"},
	{"{\"mount\": {\"allow_other\": true}}", "c.json:1:11:", "\"path\" is missing"},
	{"{\"mount\": {\"path\": \"/m\"}, \"state_dir\": \"/m/state\"}", "c.json:1:20:", "lies below it"},
	{"{\"mount\": {\"path\": \"/m/\"}, \"volumes\": [{\"name\": \"a\", \"store\": \"dir:/m/s\"}]}", "c.json:1:20:",
	 "lies below it"},
	{"{\"limits\": {\"first_burst\": 300000, \"max_burst\": 262144}}", "c.json:1:28:", "larger than max_burst"},
	{"{\"limits\": {\"queue_depth\": 0}}", "c.json:1:28:", "at least 1"},
	{"{\"volumes\": [{\"store\": \"ram:\"}]}", "c.json:1:14:", "\"name\" is missing"},
	{"{\"volumes\": [{\"name\": \"A b\", \"store\": \"ram:\"}]}", "c.json:1:23:", "use a-z"},
	{"{\"volumes\": [\n {\"name\": \"a\", \"store\": \"ram:\", \"size\": 1000}]}", "c.json:2:41: volumes[0].size:",
	 "multiple of the block size, 512"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"ram:\", \"size\": 512, \"block_size\": 4096}]}", "c.json:1:53:",
	 "multiple of the block size, 4096"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"ram:\"}]}", "c.json:1:14: volumes[0]:", "size: is missing"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"ram:\", \"size\": 512, \"block_size\": 513}]}", "c.json:1:72:",
	 "512 or 4096"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"dir:/s\", \"chunk_size\": \"3M\"}]}", "c.json:1:61:", "power of two"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"dir:s\"}]}", "c.json:1:37:", "absolute path"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"/s\"}]}", "c.json:1:37:", "dir:PATH"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"nfs:/s\"}]}", "c.json:1:37:", "must begin with"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"s3:/b\"}]}", "c.json:1:37:", "s3://BUCKET"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"dir:/s\", \"durability\": \"store\"}]}", "c.json:1:61:",
	 "not in this version"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"ram:\", \"size\": 512, \"uuid\": \"x\"}]}", "c.json:1:66:",
	 "not a UUID"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"dir:/s\"},\n{\"name\": \"a\", \"store\": \"dir:/t\"}]}", "c.json:2:10:",
	 "there already"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"file:/s\"},\n{\"name\": \"b\", \"store\": \"file:/s\"}]}",
	 "c.json:2:24:", "has the same file"},
	{"{\"targets\": [{\"name\": \"disk\"}]}", "c.json:1:23:", ""},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.a:b\", \"luns\": [{\"lun\": 0, \"volume\": \"no\"}]}]}", "c.json:1:72:",
	 "no volume \"no\""},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.a:b\", \"luns\": [{\"lun\": 256, \"volume\": \"no\"}]}]}",
	 "c.json:1:59:", "at most 255"},
	{"{\"targets\": [{\"name\": \"iqn.2026-11.a:b\"}, {\"name\": \"IQN.2026-11.A:B\"}]}", "c.json:1:52:",
	 "there already"},
	{"{\"volumes\": [{\"name\": \"a\", \"store\": \"dir:/s\"}], \"targets\": [{\"name\": \"iqn.2026-11.a:b\", \"luns\":\n"
	 "[{\"lun\": 0, \"volume\": \"a\"}, {\"lun\": 0, \"volume\": \"a\"}]}]}",
	 "c.json:2:37:", "LUN 0 is there already"},
};

START_TEST(mistakes_are_found_where_they_stand)
{
	struct config config;

	ck_assert_msg(parse(bad[_i].text, &config, NULL) == LG_ECONFIG, "accepted: %s", bad[_i].text);
	ck_assert_msg(!strncmp(info.text, bad[_i].at, strlen(bad[_i].at)), "%s\nbut: %s", bad[_i].text, info.text);
	ck_assert_msg(strstr(info.text, bad[_i].words), "%s\nbut: %s", bad[_i].text, info.text);
}
END_TEST

START_TEST(all_mistakes_are_reported)
{
	struct config config;
	struct config_report report;

	ck_assert_int_eq(parse("{\"listen\": [\"x\"], \"volumes\": [{\"name\": \"a\"}, {\"name\": \"b\", \"store\": \"ram:\"}],"
			       " \"targets\": [{\"name\": \"iqn.2026-11.a:b\", \"luns\": [{\"lun\": 0, \"volume\": \"b\"}]}]}",
			       &config, &report),
			 LG_ECONFIG);
	/* who maps a broken volume is not to blame */
	ck_assert_uint_eq(report.n, 3);
	ck_assert_ptr_nonnull(strstr(info.text, "and 2 more"));
	config_report_fini(&report);
}
END_TEST

static void
write_text(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

START_TEST(changes_keep_order_mode_and_links)
{
	struct config_volume volume = {.name = (char *)(uintptr_t)"c",
				       .store = (char *)(uintptr_t)"null:",
				       .size = 3ull << 30,
				       .block_size = 512,
				       .chunk_size = 4 << 20};
	char path[128], link[128], *text;
	struct config config;
	struct stat st;
	size_t len;

	make_dir();
	(void)snprintf(path, sizeof(path), "%s/c.json", dir);
	(void)snprintf(link, sizeof(link), "%s/link.json", dir);
	write_text(path, full, 0640);
	ck_assert_int_eq(symlink("c.json", link), 0);
	umask(077);

	ck_assert_msg(!config_add_volume(link, &volume, &info), "%s", info.text);
	ck_assert_int_eq(config_add_lun(link, "iqn.2026-11.net.example:x",
					&(struct config_lun){.lun = 1, .volume = (char[]){"c"}, .removable = true},
					&info),
			 0);
	ck_assert_int_eq(config_add_target(link, "iqn.2026-11.net.example:y", &info), 0);
	ck_assert_int_eq(config_set_volume(link, "a", "size", json_integer(20ll << 30), &info), 0);
	ck_assert_int_eq(config_remove_lun(link, "iqn.2026-11.net.example:x", 5, &info), 0);
	ck_assert_int_eq(config_remove_volume(link, "b", &info), 0);
	umask(022);

	ck_assert_int_eq(lstat(link, &st), 0);
	ck_assert(S_ISLNK(st.st_mode));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	ck_assert_int_eq(config_load(path, &config, NULL, &info), 0);
	ck_assert_uint_eq(config.nvolumes, 2);
	ck_assert_uint_eq(config.volumes[0].size, 20ull << 30);
	ck_assert_str_eq(config.volumes[1].name, "c");
	ck_assert_uint_eq(config.volumes[1].size, 3ull << 30);
	ck_assert_uint_eq(config.ntargets, 2);
	ck_assert_uint_eq(config.targets[0].nluns, 2);
	config_fini(&config);
	ck_assert_int_eq(vfs_slurp(vfs_posix(), path, 1 << 20, &text, &len), 0);
	ck_assert(strstr(text, "\"listen\"") < strstr(text, "\"control\""));
	ck_assert(strstr(text, "\"limits\"") < strstr(text, "\"volumes\""));
	ck_assert_ptr_nonnull(strstr(text, "\"3G\""));
	free(text);
	remove_dir();
}
END_TEST

START_TEST(a_change_that_would_break_the_file_is_refused)
{
	char path[128], *text;
	size_t len;

	make_dir();
	(void)snprintf(path, sizeof(path), "%s/c.json", dir);
	write_text(path, full, 0600);
	ck_assert_int_eq(config_remove_volume(path, "a", &info), LG_ECONFIG); /* it is mapped */
	ck_assert_ptr_nonnull(strstr(info.text, "the change was not made"));
	ck_assert_int_eq(config_add_lun(path, "iqn.2026-11.net.example:none",
					&(struct config_lun){.lun = 1, .volume = (char[]){"a"}}, &info),
			 -ENOENT);
	ck_assert_int_eq(vfs_slurp(vfs_posix(), path, 1 << 20, &text, &len), 0);
	ck_assert_str_eq(text, full);
	free(text);
	write_text(path, "{ broken", 0600);
	ck_assert_int_eq(config_add_target(path, "iqn.2026-11.net.example:y", &info), LG_ECONFIG);
	remove_dir();
}
END_TEST

START_TEST(volumes_survive_being_written)
{
	struct config config, again;
	json_t *root = json_object(), *array = json_array();
	char *text;

	ck_assert_int_eq(parse(full, &config, NULL), 0);
	for (size_t i = 0; i < config.nvolumes; i++)
		json_array_append_new(array, config_volume_json(&config.volumes[i]));
	json_object_set_new(root, "volumes", array);
	text = json_dumps(root, 0);
	ck_assert_msg(!parse(text, &again, NULL), "%s: %s", text, info.text);
	ck_assert_uint_eq(again.volumes[0].size, config.volumes[0].size);
	ck_assert_uint_eq(again.volumes[0].journal_size, config.volumes[0].journal_size);
	ck_assert_str_eq(again.volumes[1].uuid, config.volumes[1].uuid);
	ck_assert_uint_eq(again.volumes[1].block_size, 4096);
	free(text);
	json_decref(root);
	config_fini(&config);
	config_fini(&again);
}
END_TEST

START_TEST(manual_page_has_every_key)
{
	const char *srcdir = getenv("srcdir");
	char path[1024], words[128], *text;
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/doc/lungate.json.5", srcdir ? srcdir : ".");
	ck_assert_msg(!vfs_slurp(vfs_posix(), path, 1 << 20, &text, &len), "%s is missing", path);
	for (size_t t = 0; t < config_ntables; t++) {
		for (size_t i = 0; i < config_tables[t].n; i++) {
			(void)snprintf(words, sizeof(words), "\n.B %s\n", config_tables[t].keys[i].key);
			ck_assert_msg(strstr(text, words), "lungate.json.5 has no key \"%s\"", config_tables[t].keys[i].key);
			ck_assert_ptr_nonnull(config_tables[t].keys[i].help);
		}
	}
	free(text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, an_empty_file_has_defaults);
	tcase_add_test(tc, a_full_file_is_read);
	tcase_add_loop_test(tc, mistakes_are_found_where_they_stand, 0, (int)ARRAY_SIZE(bad));
	tcase_add_test(tc, all_mistakes_are_reported);
	tcase_add_test(tc, changes_keep_order_mode_and_links);
	tcase_add_test(tc, a_change_that_would_break_the_file_is_refused);
	tcase_add_test(tc, volumes_survive_being_written);
	tcase_add_test(tc, manual_page_has_every_key);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
