/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is particular to the dir store: races of processes, power cuts, errors in words.
 * Called as "check_dirstore --race URL ID N" it is the other process of the races.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/util.h"
#include "test/unit/objectrig.h"

extern char **environ;

/* ---- races of processes ---- */

static int
count_up(int id)
{
	char buf[32], text[32];
	struct object_req req;
	int rc;

	for (;;) {
		rc = rig_get("counter", 0, 0, buf, sizeof(buf) - 1, &req);
		if (rc)
			return rc;
		buf[req.size] = '\0';
		(void)snprintf(text, sizeof(text), "%04ld", strtol(buf, NULL, 10) + 1);
		rc = rig_put_on(rig_loops[id % RIG_LOOPS], "counter", text, strlen(text), false, req.etag,
				NULL);
		if (rc != LG_ECONFLICT)
			return rc;
	}
}

/* create-if-absent of n keys: how many were ours; and count up n times */
static int
race_process(int id, int n, int *ret_won)
{
	*ret_won = 0;
	for (int i = 0; i < n; i++) {
		char key[32];
		int rc;

		(void)snprintf(key, sizeof(key), "p/%d/%d", i % 5, i);
		rc = rig_put_on(rig_loops[id % RIG_LOOPS], key, "x", 1, true, NULL, NULL);
		if (rc && rc != -EEXIST)
			return rc;
		*ret_won += !rc;
		rc = count_up(id);
		if (rc)
			return rc;
	}
	return 0;
}

/* the other process: prints how many it won */
static int
race_main(char **argv)
{
	int won, rc;

	rc = rig_start_loops();
	if (!rc)
		rc = object_store_open(argv[2], NULL, false, &rig_store, NULL);
	if (!rc)
		rc = race_process((int)strtol(argv[3], NULL, 10), (int)strtol(argv[4], NULL, 10), &won);
	object_store_free(rig_store);
	rig_stop_loops();
	loop_pool_fini();
	if (rc) {
		(void)fprintf(stderr, "racing process: %s\n", err_text(rc));
		return 1;
	}
	(void)printf("%d\n", won);
	return 0;
}

START_TEST(test_processes)
{
	enum { N = 40 };
	char self[] = "/proc/self/exe", text[32] = "", n[8];
	char *argv[] = {self, (char[]){"--race"}, rig_url, (char[]){"1"}, n, NULL};
	posix_spawn_file_actions_t actions;
	int fds[2], won, status;
	pid_t pid;

	rig_open(RIG_DIR);
	ck_assert_int_eq(rig_put("counter", "0000"), 0);
	(void)snprintf(n, sizeof(n), "%d", N);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	ck_assert_int_eq(posix_spawn(&pid, self, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	ck_assert_int_eq(race_process(0, N, &won), 0);
	ck_assert_int_gt(read(fds[0], text, sizeof(text) - 1), 0);
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_eq(won + strtol(text, NULL, 10), N);
	(void)snprintf(text, sizeof(text), "%04d", 2 * N);
	rig_expect("counter", text);
}
END_TEST

/* ---- the dir store: power cuts ---- */

static int
no_sync_dir(struct vfs *vfs, const char *path)
{
	(void)vfs;
	(void)path;
	return 0;
}

struct crash_case {
	const char *key;
	bool old;    /* there is an object before */
	bool absent; /* PUT with if_absent */
	bool remove; /* not a PUT but a DELETE */
};

static uint8_t old_body[5000], new_body[20000];

/* 'o' or 'n' when it is whole, '-' when there is none, '?' else */
static char
what_is_there(const char *key)
{
	static uint8_t buf[32768];
	struct object_req req;
	int rc = rig_get(key, 0, 0, buf, sizeof(buf), &req);

	if (rc == -ENOENT)
		return '-';
	if (!rc && req.size == sizeof(old_body) && !memcmp(buf, old_body, sizeof(old_body)))
		return 'o';
	return !rc && req.size == sizeof(new_body) && !memcmp(buf, new_body, sizeof(new_body)) ? 'n' : '?';
}

static int
crash_change(const struct crash_case *c)
{
	if (c->remove)
		return rig_delete(&c->key, 1);
	return rig_put_on(rig_loops[0], c->key, new_body, sizeof(new_body), c->absent, NULL, NULL);
}

/* The power goes at the n-th mutating call of the change (0: right after done).  True when what is there then
 * is what the contract allows; *ret_done when the change was done before. */
static bool
crash_once(const struct crash_case *c, uint64_t n, uint64_t seed, const struct vfs_ops *lie, bool *ret_done)
{
	struct vfs *vfs;
	char found, was = c->old ? 'o' : '-', will = c->remove ? '-' : 'n';

	rig_fs = simfs_new();
	vfs = simfs_vfs(rig_fs);
	rig_open(RIG_SIM);
	if (c->old)
		ck_assert_int_eq(
			rig_put_on(rig_loops[0], c->key, old_body, sizeof(old_body), false, NULL, NULL), 0);
	if (lie) {
		object_store_free(rig_store);
		vfs->ops = lie;
		rig_open(RIG_SIM);
	}
	simfs_cut_after(rig_fs, n);
	*ret_done = crash_change(c) == 0;
	simfs_power_off(rig_fs);
	object_store_free(rig_store);
	simfs_power_cut(rig_fs, seed);
	rig_open(RIG_SIM);
	found = what_is_there(c->key);
	object_store_free(rig_store);
	rig_store = NULL;
	simfs_free(rig_fs);
	rig_fs = NULL;
	return found == will || (!*ret_done && found == was);
}

/* how many of all the crashes broke the contract */
static unsigned
crash_everywhere(const struct crash_case *c, const struct vfs_ops *lie)
{
	unsigned broken = 0;
	bool done = false;

	for (uint64_t n = 1; !done; n++)
		for (uint64_t seed = 0; seed < 4; seed++)
			broken += !crash_once(c, n, seed * 1000 + n, lie, &done);
	for (uint64_t seed = 0; seed < 16; seed++)
		broken += !crash_once(c, 0, seed, lie, &done);
	return broken;
}

static const struct crash_case crash_cases[] = {
	{"a/b/c", true, false, false}, {"a/b/c", false, false, false}, {"a/b/c", false, true, false},
	{"k", true, false, false},     {"k", false, true, false},      {"a/b/c", true, false, true},
	{"k", true, false, true},
};

START_TEST(test_power_cut)
{
	simfs_free(rig_fs);
	memset(old_body, 'o', sizeof(old_body));
	memset(new_body, 'n', sizeof(new_body));
	ck_assert_uint_eq(crash_everywhere(&crash_cases[_i], NULL), 0);
}
END_TEST

/* the test above can fail: a disk that only pretends to sync is found out */
START_TEST(test_power_cut_detects)
{
	struct vfs_ops lie = *simfs_vfs(rig_fs)->ops;

	simfs_free(rig_fs);
	memset(old_body, 'o', sizeof(old_body));
	memset(new_body, 'n', sizeof(new_body));
	lie.fsync = simfs_pretend_fsync;
	ck_assert_uint_gt(crash_everywhere(&crash_cases[0], &lie), 0);
	rig_fs = simfs_new();
	lie.fsync = simfs_vfs(rig_fs)->ops->fsync;
	simfs_free(rig_fs);
	lie.fsync_dir = no_sync_dir;
	ck_assert_uint_gt(crash_everywhere(&crash_cases[1], &lie), 0);
	rig_fs = NULL;
}
END_TEST

/* a directory that another process removed and made anew is not taken for durable */
START_TEST(test_directory_made_anew)
{
	struct object_store *other, *mine;
	const char *first = "d/e/1", *second = "d/e/2";

	for (uint64_t seed = 0; seed < 20; seed++) {
		simfs_free(rig_fs);
		rig_fs = simfs_new();
		rig_open(RIG_SIM);
		mine = rig_store;
		ck_assert_int_eq(rig_put(first, "1"), 0);
		rig_open(RIG_SIM);
		other = rig_store;
		ck_assert_int_eq(rig_delete(&first, 1), 0);
		/* it makes the directory and dies */
		ck_assert_int_eq(simfs_vfs(rig_fs)->ops->mkdir(simfs_vfs(rig_fs), "/a/store/d", 0700), 0);
		ck_assert_int_eq(simfs_vfs(rig_fs)->ops->mkdir(simfs_vfs(rig_fs), "/a/store/d/e", 0700), 0);
		rig_store = mine;
		ck_assert_int_eq(rig_put(second, "2"), 0);
		simfs_power_off(rig_fs);
		simfs_power_cut(rig_fs, seed);
		rig_expect(second, "2");
		object_store_free(mine);
		object_store_free(other);
		rig_store = NULL;
	}
}
END_TEST

/* ---- the dir store: errors ---- */

static int
count_entry(void *arg, const char *name, bool is_dir)
{
	(void)name;
	(void)is_dir;
	++*(unsigned *)arg;
	return 0;
}

static unsigned
count_tmp(void)
{
	unsigned n = 0;

	ck_assert_int_eq(simfs_vfs(rig_fs)->ops->readdir(simfs_vfs(rig_fs), "/a/store/.tmp", count_entry, &n),
			 0);
	return n;
}

START_TEST(test_errors)
{
	static uint8_t body[100000];
	static const struct {
		enum simfs_op op;
		int err;
	} faults[] = {{SIMFS_WRITE, -ENOSPC}, {SIMFS_WRITE, -EDQUOT},   {SIMFS_FSYNC, -EIO},
		      {SIMFS_OPEN, -EROFS},   {SIMFS_OPEN, -EACCES},    {SIMFS_RENAME, -EIO},
		      {SIMFS_FLOCK, -ENOLCK}, {SIMFS_SET_MTIME, -EPERM}};
	char got[8];

	rig_open(RIG_SIM);
	ck_assert_int_eq(rig_put("d/k", "old"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		simfs_fail_next(rig_fs, faults[i].op, faults[i].err, 0);
		ck_assert_int_eq(rig_put_on(rig_loops[0], "d/k", body, sizeof(body), false, NULL, NULL),
				 faults[i].err);
		rig_expect("d/k", "old");
		ck_assert_uint_eq(count_tmp(), 0);
	}
	simfs_fail_next(rig_fs, SIMFS_FSYNC_DIR, -EIO, 0);
	ck_assert_int_eq(rig_put_on(rig_loops[0], "d/k", body, sizeof(body), false, NULL, NULL), -EIO);
	ck_assert_int_eq(rig_put("d/k", "old"), 0);
	simfs_fail_next(rig_fs, SIMFS_READ, -EIO, 0);
	ck_assert_int_eq(rig_get("d/k", 0, 0, got, sizeof(got), NULL), -EIO);
	simfs_set_space(rig_fs, simfs_used(rig_fs) + 8192);
	ck_assert_int_eq(rig_put_on(rig_loops[0], "d/k", body, sizeof(body), false, NULL, NULL), -ENOSPC);
	rig_expect("d/k", "old");
	ck_assert_uint_eq(count_tmp(), 0);
	/* a key in the way */
	simfs_set_space(rig_fs, UINT64_MAX);
	ck_assert_int_eq(rig_put("d/k/x", "1"), -ENOTDIR);
	ck_assert_int_eq(rig_put("d", "1"), -EISDIR);
	ck_assert_int_eq(rig_put_on(rig_loops[0], "d", "1", 1, true, NULL, NULL), -EISDIR);
	rig_expect("d/k", "old");
	ck_assert_uint_eq(count_tmp(), 0);
}
END_TEST

static void
expect_words(const char *u, bool create, int rc, const char *word)
{
	struct errinfo info = {0};

	rig_store = NULL;
	ck_assert_int_eq(object_store_open(u, simfs_vfs(rig_fs), create, &rig_store, &info), rc);
	ck_assert_msg(strstr(info.text, word), "\"%s\" does not say \"%s\"", info.text, word);
	ck_assert_msg(!strncmp(u, "dir:/", 5) ? strstr(info.text, u) != NULL : true,
		      "\"%s\" does not name it", info.text);
}

START_TEST(test_open)
{
	struct vfs *vfs = simfs_vfs(rig_fs);
	struct vfs_file *f;

	expect_words("dir:/none/here", false, -ENOENT, "create the directory");
	expect_words("dir:relative", true, LG_ECONFIG, "absolute");
	expect_words("ftp://x", true, LG_ECONFIG, "dir:/path");
	ck_assert_int_eq(vfs->ops->open(vfs, "/file", O_RDWR | O_CREAT, 0600, &f), 0);
	vfs->ops->close(f);
	expect_words("dir:/file", false, -ENOTDIR, "not a file");
	simfs_fail_next(rig_fs, SIMFS_MKDIR, -EROFS, 0);
	expect_words("dir:/x", true, -EROFS, "read-write");
	ck_assert_int_eq(vfs_mkdirs(vfs, "/y", 0700), 0);
	simfs_fail_next(rig_fs, SIMFS_MKDIR, -EACCES, 0);
	expect_words("dir:/y", false, -EACCES, "permission");
	simfs_fail_next(rig_fs, SIMFS_OPEN, -ENOSPC, 1);
	expect_words("dir:/y", false, -ENOSPC, "free space");
	ck_assert_int_eq(object_store_open("/y", vfs, false, &rig_store, NULL), 0);
	ck_assert_str_eq(rig_store->url, "dir:/y");
	ck_assert_str_eq(rig_store->ops->kind, "dir");
}
END_TEST

/* whole seconds are too coarse to tell objects apart */
static int
coarse_fstat(struct vfs_file *file, struct vfs_stat *ret)
{
	struct simfs *other = simfs_new();
	int rc = simfs_vfs(other)->ops->fstat(file, ret);

	simfs_free(other);
	ret->mtime_ns = ret->mtime_ns / 1000000000u * 1000000000u;
	return rc;
}

START_TEST(test_coarse_times)
{
	static struct vfs_ops coarse;

	coarse = *simfs_vfs(rig_fs)->ops;
	coarse.fstat = coarse_fstat;
	simfs_vfs(rig_fs)->ops = &coarse;
	expect_words("dir:/x", true, -ENOTSUP, "too coarsely");
}
END_TEST

/* what a crash left in .tmp goes when it is a day old; what is no object is not listed */
START_TEST(test_leftovers)
{
	static const char *const names[] = {"store/.tmp/old", "store/.tmp/new", "store/.hidden", "store/a b"};
	char path[128];
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct object_req req;

	rig_open(RIG_DIR);
	ck_assert_int_eq(rig_put("a", "1"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int fd;

		(void)snprintf(path, sizeof(path), "%s/%s", rig_folder, names[i]);
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		ck_assert_int_ge(fd, 0);
		if (!i)
			ck_assert_int_eq(futimens(fd, times), 0);
		close(fd);
	}
	object_store_free(rig_store);
	rig_open(RIG_DIR);
	(void)snprintf(path, sizeof(path), "%s/%s", rig_folder, names[0]);
	ck_assert_int_eq(access(path, F_OK), -1);
	(void)snprintf(path, sizeof(path), "%s/%s", rig_folder, names[1]);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(rig_list("", 10, &req), 0);
	ck_assert_uint_eq(req.nentries, 1);
	ck_assert_str_eq(req.entries[0].key, "a");
	object_entries_free(req.entries, req.nentries);
}
END_TEST

/* the object's file is the object; the last object of a directory takes it along */
START_TEST(test_files)
{
	char path[128], text[8] = "";
	const char *keys[] = {"v/c/00/x"};
	int fd;

	rig_open(RIG_DIR);
	ck_assert_int_eq(rig_put("v/c/00/x", "hello"), 0);
	ck_assert_int_eq(rig_put("v/y", "hello"), 0);
	(void)snprintf(path, sizeof(path), "%s/store/v/c/00/x", rig_folder);
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 5);
	ck_assert_str_eq(text, "hello");
	close(fd);
	ck_assert_int_eq(rig_delete(keys, 1), 0);
	(void)snprintf(path, sizeof(path), "%s/store/v/c", rig_folder);
	ck_assert_int_eq(access(path, F_OK), -1);
	rig_expect("v/y", "hello");
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;
	SRunner *sr;
	int failed;

	if (argc == 5 && !strcmp(argv[1], "--race"))
		return race_main(argv);
	s = suite_create("dirstore");
	tc = tcase_create("dir");
	sr = srunner_create(s);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, rig_setup, rig_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_processes);
	tcase_add_loop_test(tc, test_power_cut, 0, ARRAY_SIZE(crash_cases));
	tcase_add_test(tc, test_power_cut_detects);
	tcase_add_test(tc, test_directory_made_anew);
	tcase_add_test(tc, test_errors);
	tcase_add_test(tc, test_open);
	tcase_add_test(tc, test_coarse_times);
	tcase_add_test(tc, test_leftovers);
	tcase_add_test(tc, test_files);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
