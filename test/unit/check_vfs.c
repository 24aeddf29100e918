/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vfs: the real file system through the table, and the helpers. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/util.h"
#include "common/vfs.h"

static char dir[] = "/tmp/check_vfs.XXXXXX";
static char path_buf[4][PATH_MAX];
static const struct vfs_ops *ops;
static struct vfs *vfs;

/** A name in the test's folder; valid for four calls. */
static const char *
in_dir(const char *name)
{
	static unsigned turn;
	char *p = path_buf[turn++ % 4];

	snprintf(p, PATH_MAX, "%s/%s", dir, name);
	return p;
}

static void
setup(void)
{
	memcpy(dir, "/tmp/check_vfs.XXXXXX", sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	vfs = vfs_posix();
	ops = vfs->ops;
}

static int
remove_entry(void *arg, const char *name, bool is_dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
	if (!is_dir)
		return ops->unlink(vfs, path);
	ops->readdir(vfs, path, remove_entry, path);
	return ops->rmdir(vfs, path);
}

static void
teardown(void)
{
	ck_assert_int_eq(ops->readdir(vfs, dir, remove_entry, dir), 0);
	ck_assert_int_eq(ops->rmdir(vfs, dir), 0);
}

static struct vfs_file *
opened(const char *name, int flags)
{
	struct vfs_file *file;

	ck_assert_int_eq(ops->open(vfs, in_dir(name), flags, 0600, &file), 0);
	ck_assert_int_ge(file->fd, 0);
	return file;
}

START_TEST(files_read_what_was_written)
{
	struct vfs_file *file = opened("f", O_RDWR | O_CREAT | O_EXCL), *none = NULL;
	char a[3] = "abc", b[5] = "defgh", all[16] = "";
	struct iovec out[2] = {{a, 3}, {b, 5}}, in[2] = {{all, 1}, {all + 1, 15}};
	struct vfs_stat st;

	ck_assert_int_eq(ops->open(vfs, in_dir("f"), O_RDWR | O_CREAT | O_EXCL, 0600, &none), -EEXIST);
	ck_assert_int_eq(ops->open(vfs, in_dir("g"), O_RDONLY, 0, &none), -ENOENT);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(ops->pwritev(file, out, 2, 4), 8);
	ck_assert_int_eq(ops->preadv(file, in, 2, 0), 12); /* short at the end */
	ck_assert_mem_eq(all, "\0\0\0\0abcdefgh", 12);
	ck_assert_int_eq(ops->preadv(file, in, 2, 12), 0);
	ck_assert_int_eq(ops->fsync(file, true), 0);
	ck_assert_int_eq(ops->fsync(file, false), 0);
	ck_assert_int_eq(ops->fstat(file, &st), 0);
	ck_assert_uint_eq(st.size, 12);
	ck_assert(!st.is_dir);
	ck_assert_int_eq(ops->truncate(file, 5), 0);
	ck_assert_int_eq(ops->stat(vfs, in_dir("f"), &st), 0);
	ck_assert_uint_eq(st.size, 5);
	ck_assert_int_eq(vfs_read_full(file, all, 5, 0), 0);
	ck_assert_int_eq(vfs_read_full(file, all, 6, 0), -EIO);
	ck_assert_int_eq(ops->set_mtime(file, 1234567890123456789u), 0);
	ck_assert_int_eq(ops->fstat(file, &st), 0);
	ck_assert_uint_eq(st.mtime_ns, 1234567890123456789u);
	ops->close(file);
	file = opened("f", O_RDONLY);
	ck_assert_int_eq(ops->pwritev(file, out, 2, 0), -EBADF);
	ck_assert_int_eq(vfs_write_full(file, "x", 1, 0), -EBADF);
	ops->close(file);
}
END_TEST

START_TEST(more_iovecs_than_one_call_takes)
{
	enum { N = IOV_MAX * 2 + 7 };
	struct vfs_file *file = opened("many", O_RDWR | O_CREAT);
	struct iovec *iov = calloc(N, sizeof(*iov));
	unsigned char *bytes = malloc(3 * N), *back = malloc(3 * N);

	random_bytes(bytes, 3 * N);
	for (size_t i = 0; i < N; i++)
		iov[i] = (struct iovec){bytes + 3 * i, 3};
	iov[5].iov_len = 0; /* and an empty one among them */
	ck_assert_int_eq(ops->pwritev(file, iov, N, 10), 3 * (N - 1));
	for (size_t i = 0; i < N; i++)
		iov[i].iov_base = back + 3 * i;
	ck_assert_int_eq(ops->preadv(file, iov, N, 10), 3 * (N - 1));
	memcpy(back + 15, bytes + 15, 3);
	ck_assert_mem_eq(back, bytes, 3 * N);
	ops->close(file);
	free(iov);
	free(bytes);
	free(back);
}
END_TEST

START_TEST(direct_files_work_or_fall_back)
{
	struct vfs_file *file = opened("direct", O_RDWR | O_CREAT | O_DIRECT);
	uint8_t *block = aligned_alloc(4096, 8192);
	struct iovec iov = {block, 8192};

	memset(block, 0x5a, 8192);
	ck_assert_int_eq(ops->pwritev(file, &iov, 1, 0), 8192);
	ck_assert_int_eq(ops->truncate(file, 5000), 0);
	memset(block, 0, 8192);
	ck_assert_int_eq(ops->preadv(file, &iov, 1, 0), 5000); /* the odd end is short, not an error */
	ck_assert_uint_eq(block[4999], 0x5a);
	ops->close(file);
	free(block);
}
END_TEST

START_TEST(holes_are_punched_and_found)
{
	struct vfs_file *file = opened("holes", O_RDWR | O_CREAT);
	uint8_t *bytes = malloc(65536);
	int r;

	memset(bytes, 1, 65536);
	ck_assert_int_eq(vfs_write_full(file, bytes, 65536, 0), 0);
	r = ops->fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16384, 16384);
	if (r != -EOPNOTSUPP) {
		ck_assert_int_eq(r, 0);
		ck_assert_int_eq(vfs_read_full(file, bytes, 65536, 0), 0);
		ck_assert_uint_eq(bytes[16383], 1);
		ck_assert_uint_eq(bytes[16384], 0);
		ck_assert_uint_eq(bytes[32767], 0);
		ck_assert_uint_eq(bytes[32768], 1);
		ck_assert_int_eq(ops->seek(file, 0, SEEK_HOLE), 16384);
		ck_assert_int_eq(ops->seek(file, 16384, SEEK_DATA), 32768);
	}
	ck_assert_int_eq(ops->seek(file, 70000, SEEK_DATA), -ENXIO);
	ops->close(file);
	free(bytes);
}
END_TEST

START_TEST(locks_exclude)
{
	struct vfs_file *one = opened("lock", O_RDWR | O_CREAT), *two = opened("lock", O_RDWR);

	ck_assert_int_eq(ops->flock(one, LOCK_EX | LOCK_NB), 0);
	ck_assert_int_eq(ops->flock(two, LOCK_EX | LOCK_NB), -EWOULDBLOCK);
	ck_assert_int_eq(ops->flock(one, LOCK_UN), 0);
	ck_assert_int_eq(ops->flock(two, LOCK_SH | LOCK_NB), 0);
	ops->close(one);
	ops->close(two);
}
END_TEST

static int
count_entry(void *arg, const char *name, bool is_dir)
{
	unsigned *counts = arg;

	counts[is_dir]++;
	return strcmp(name, "stop") ? 0 : -ECANCELED;
}

START_TEST(names_come_and_go)
{
	unsigned counts[2] = {0, 0};
	struct vfs_stat st;

	ops->close(opened("a", O_RDWR | O_CREAT));
	ck_assert_int_eq(ops->mkdir(vfs, in_dir("d"), 0700), 0);
	ck_assert_int_eq(ops->mkdir(vfs, in_dir("d"), 0700), -EEXIST);
	ck_assert_int_eq(ops->link(vfs, in_dir("a"), in_dir("b")), 0);
	ck_assert_int_eq(ops->link(vfs, in_dir("a"), in_dir("b")), -EEXIST);
	ck_assert_int_eq(ops->rename(vfs, in_dir("a"), in_dir("c")), 0);
	ck_assert_int_eq(ops->rename(vfs, in_dir("a"), in_dir("c")), -ENOENT);
	ck_assert_int_eq(ops->fsync_dir(vfs, dir), 0);
	ck_assert_int_eq(ops->fsync_dir(vfs, in_dir("c")), -ENOTDIR);
	ck_assert_int_eq(ops->readdir(vfs, dir, count_entry, counts), 0);
	ck_assert_uint_eq(counts[false], 2);
	ck_assert_uint_eq(counts[true], 1);
	ck_assert_int_eq(ops->stat(vfs, in_dir("d"), &st), 0);
	ck_assert(st.is_dir);
	ck_assert_int_eq(ops->rename(vfs, in_dir("c"), in_dir("stop")), 0);
	ck_assert_int_eq(ops->readdir(vfs, dir, count_entry, counts), -ECANCELED);
	ck_assert_int_eq(ops->readdir(vfs, in_dir("nowhere"), count_entry, counts), -ENOENT);
	ck_assert_int_eq(ops->unlink(vfs, in_dir("b")), 0);
	ck_assert_int_eq(ops->unlink(vfs, in_dir("b")), -ENOENT);
	ck_assert_int_eq(ops->rmdir(vfs, in_dir("d")), 0);
}
END_TEST

/* A vfs that writes down the order of what must be durable. */
static char journal[1024];

static int
noted_mkdir(struct vfs *v, const char *path, mode_t mode)
{
	int r = vfs_posix()->ops->mkdir(v, path, mode);

	if (!r)
		snprintf(journal + strlen(journal), sizeof(journal) - strlen(journal), "mkdir %s;",
			 path + strlen(dir));
	return r;
}

static int
noted_fsync_dir(struct vfs *v, const char *path)
{
	snprintf(journal + strlen(journal), sizeof(journal) - strlen(journal), "sync %s;",
		 path + strlen(dir));
	return vfs_posix()->ops->fsync_dir(v, path);
}

static int
noted_rename(struct vfs *v, const char *from, const char *to)
{
	snprintf(journal + strlen(journal), sizeof(journal) - strlen(journal), "rename;");
	return vfs_posix()->ops->rename(v, from, to);
}

static int
noted_fsync(struct vfs_file *file, bool data_only)
{
	snprintf(journal + strlen(journal), sizeof(journal) - strlen(journal), "fsync;");
	return vfs_posix()->ops->fsync(file, data_only);
}

START_TEST(helpers_make_names_durable)
{
	struct vfs_ops noted_ops = *ops;
	struct vfs noted = {.ops = &noted_ops};
	char *text;
	size_t len;

	noted_ops.mkdir = noted_mkdir;
	noted_ops.fsync_dir = noted_fsync_dir;
	noted_ops.rename = noted_rename;
	noted_ops.fsync = noted_fsync;
	journal[0] = '\0';
	ck_assert_int_eq(vfs_mkdirs(&noted, in_dir("x/y//z/"), 0700), 0);
	ck_assert_str_eq(journal, "mkdir /x;sync ;mkdir /x/y;sync /x;mkdir /x/y//z;sync /x/y;");
	journal[0] = '\0';
	ck_assert_int_eq(vfs_mkdirs(&noted, in_dir("x/y"), 0700), 0);
	ck_assert_str_eq(journal, "");
	ck_assert_int_eq(vfs_replace(&noted, in_dir("x/file"), "old", 3, 0600), 0);
	ck_assert_str_eq(journal, "fsync;rename;sync /x;");
	ck_assert_int_eq(vfs_replace(&noted, in_dir("x/file"), "newer", 5, 0600), 0);
	ck_assert_int_eq(vfs_slurp(vfs, in_dir("x/file"), 5, &text, &len), 0);
	ck_assert_uint_eq(len, 5);
	ck_assert_str_eq(text, "newer");
	free(text);
	ck_assert_int_eq(vfs_slurp(vfs, in_dir("x/file"), 4, &text, &len), -EFBIG);
	ck_assert_int_eq(vfs_slurp(vfs, in_dir("x/none"), 4, &text, &len), -ENOENT);
	ck_assert_int_eq(vfs_mkdirs(vfs, in_dir("x/file"), 0700), -ENOTDIR);
	ck_assert_int_eq(vfs_mkdirs(vfs, in_dir("x/file/below"), 0700), -ENOTDIR);
	ck_assert_int_eq(vfs_replace(vfs, in_dir("none/file"), "x", 1, 0600), -ENOENT);
	ck_assert_int_eq(vfs_replace(vfs, in_dir("x/y"), "x", 1, 0600), -EISDIR);
	ck_assert(vfs_is_cut_off("file.tmp-0123abcd"));
	ck_assert(!vfs_is_cut_off("file"));
	ck_assert(!vfs_is_cut_off(".tmp-0123abcd"));
	ck_assert(!vfs_is_cut_off("file.tmp-0123abcd.json"));
	ck_assert(!vfs_is_cut_off("file.tmp-0123abcg"));
	/* no temporary names stay */
	unsigned counts[2] = {0, 0};
	ck_assert_int_eq(ops->readdir(vfs, in_dir("x"), count_entry, counts), 0);
	ck_assert_uint_eq(counts[false], 1);
	ck_assert_uint_eq(counts[true], 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("vfs");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, files_read_what_was_written);
	tcase_add_test(tc, more_iovecs_than_one_call_takes);
	tcase_add_test(tc, direct_files_work_or_fall_back);
	tcase_add_test(tc, holes_are_punched_and_found);
	tcase_add_test(tc, locks_exclude);
	tcase_add_test(tc, names_come_and_go);
	tcase_add_test(tc, helpers_make_names_durable);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
