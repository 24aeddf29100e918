/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/util.h"
#include "test/lib/simfs.h"

#define SEEDS 200

static struct simfs *fs;
static struct vfs *vfs;
static const struct vfs_ops *ops;

static void
setup(void)
{
	fs = simfs_new();
	vfs = simfs_vfs(fs);
	ops = vfs->ops;
}

static void
teardown(void)
{
	simfs_free(fs);
}

static struct vfs_file *
must_open(const char *path, int flags)
{
	struct vfs_file *f;

	ck_assert_int_eq(ops->open(vfs, path, flags, 0600, &f), 0);
	return f;
}

static void
must_write(struct vfs_file *f, const void *p, size_t n, uint64_t offset)
{
	struct iovec iov = {(void *)(uintptr_t)p, n};

	ck_assert_int_eq(ops->pwritev(f, &iov, 1, offset), (int64_t)n);
}

static int64_t
read_at(struct vfs_file *f, void *p, size_t n, uint64_t offset)
{
	struct iovec iov = {p, n};

	return ops->preadv(f, &iov, 1, offset);
}

static bool
exists(const char *path)
{
	struct vfs_stat st;
	int rc = ops->stat(vfs, path, &st);

	ck_assert(rc == 0 || rc == -ENOENT);
	return rc == 0;
}

static uint64_t
size_of(const char *path)
{
	struct vfs_stat st;

	ck_assert_int_eq(ops->stat(vfs, path, &st), 0);
	return st.size;
}

START_TEST(test_files)
{
	struct vfs_file *f = must_open("/a", O_RDWR | O_CREAT | O_EXCL), *g;
	char buf[32];

	must_write(f, "hello", 5, 10);
	ck_assert_int_eq(read_at(f, buf, sizeof(buf), 0), 15);
	ck_assert(!memcmp(buf, "\0\0\0\0\0\0\0\0\0\0hello", 15));
	ck_assert_int_eq(read_at(f, buf, 5, 15), 0);
	ck_assert_int_eq(ops->open(vfs, "/a", O_RDWR | O_CREAT | O_EXCL, 0600, &g), -EEXIST);
	ck_assert_int_eq(ops->open(vfs, "/b/c", O_RDWR | O_CREAT, 0600, &g), -ENOENT);
	ck_assert_int_eq(ops->open(vfs, "/a/c", O_RDWR | O_CREAT, 0600, &g), -ENOTDIR);
	ck_assert_int_eq(ops->mkdir(vfs, "/b", 0700), 0);
	ck_assert_int_eq(ops->mkdir(vfs, "b", 0700), -EEXIST);
	ck_assert_int_eq(ops->rename(vfs, "/a", "/b/c"), 0);
	ck_assert(!exists("/a"));
	ck_assert_int_eq(ops->link(vfs, "/b/c", "/a"), 0);
	ck_assert_int_eq(ops->link(vfs, "/b/c", "/a"), -EEXIST);
	ck_assert_int_eq(ops->rmdir(vfs, "/b"), -ENOTEMPTY);
	ck_assert_int_eq(ops->unlink(vfs, "/b/c"), 0);
	ck_assert_int_eq(ops->rmdir(vfs, "/b"), 0);
	ck_assert_uint_eq(size_of("/a"), 15);
	ck_assert_int_eq(ops->truncate(f, 12), 0);
	ck_assert_int_eq(ops->truncate(f, 15), 0);
	ck_assert_int_eq(read_at(f, buf, 5, 10), 5);
	ck_assert(!memcmp(buf, "he\0\0\0", 5));
	ops->close(f);
	g = must_open("/a", O_RDONLY);
	ck_assert_int_eq(ops->pwritev(g, &(struct iovec){buf, 1}, 1, 0), -EBADF);
	ops->close(g);
}
END_TEST

START_TEST(test_holes_and_space)
{
	struct vfs_file *f = must_open("/a", O_RDWR | O_CREAT);
	static uint8_t buf[16384];
	struct vfs_stat st;

	memset(buf, 7, sizeof(buf));
	must_write(f, buf, sizeof(buf), 65536);
	ck_assert_int_eq(ops->seek(f, 0, SEEK_DATA), 65536);
	ck_assert_int_eq(ops->seek(f, 65537, SEEK_HOLE), 65536 + 16384);
	ck_assert_int_eq(ops->fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536 + 2048, 8192),
			 0);
	ck_assert_int_eq(ops->seek(f, 65536, SEEK_HOLE), 65536 + 4096);
	ck_assert_int_eq(read_at(f, buf, 16384, 65536), 16384);
	for (unsigned i = 0; i < 16384; i++)
		ck_assert_uint_eq(buf[i], i >= 2048 && i < 2048 + 8192 ? 0 : 7);
	ck_assert_uint_eq(simfs_used(fs), 3 * 4096);
	simfs_set_space(fs, 5 * 4096);
	ck_assert_int_eq(ops->fallocate(f, 0, 0, 3 * 4096), -ENOSPC);
	ck_assert_int_eq(ops->fallocate(f, 0, 0, 2 * 4096), 0);
	ck_assert_int_eq(ops->pwritev(f, &(struct iovec){buf, 1}, 1, 8192), -ENOSPC);
	must_write(f, buf, 8192, 0);
	ck_assert_int_eq(ops->fstat(f, &st), 0);
	ck_assert_uint_eq(st.blocks, 5 * 8);
	ops->close(f);
	ck_assert_int_eq(ops->unlink(vfs, "/a"), 0);
	ck_assert_uint_eq(simfs_used(fs), 0);
}
END_TEST

/* what was synced is there under every seed; what was not is all, nothing, torn by sectors, or zeroes */
START_TEST(test_cut_data)
{
	static uint8_t old[8192], new[8192], got[8192];
	unsigned torn = 0, kept = 0, lost = 0, grew = 0;

	memset(old, 1, sizeof(old));
	memset(new, 2, sizeof(new));
	teardown();
	for (unsigned seed = 0; seed < SEEDS; seed++) {
		struct vfs_file *f;
		unsigned n = 0;

		setup();
		f = must_open("/a", O_RDWR | O_CREAT);
		must_write(f, old, sizeof(old), 0);
		ck_assert_int_eq(ops->fsync(f, true), 0);
		ck_assert_int_eq(ops->fsync_dir(vfs, "/"), 0);
		must_write(f, new, 4096, 2048);
		must_write(f, new, 4096, 65536);
		simfs_power_cut(fs, seed);
		ck_assert_int_eq(read_at(f, got, 1, 0), -EIO);
		ops->close(f);
		f = must_open("/a", O_RDWR);
		ck_assert_int_eq(read_at(f, got, sizeof(got), 0), sizeof(got));
		for (unsigned s = 0; s < 16; s++) {
			ck_assert(got[s * 512] == 1 || (got[s * 512] == 2 && s >= 4 && s < 12));
			ck_assert(!memcmp(got + s * 512, got[s * 512] == 1 ? old : new, 512));
			n += got[s * 512] == 2;
		}
		lost += n == 0;
		kept += n == 8;
		torn += n > 0 && n < 8;
		if (size_of("/a") == 65536 + 4096) {
			ck_assert_int_eq(read_at(f, got, 4096, 65536), 4096);
			grew += !got[0] && !memcmp(got, got + 1, 4095);
		}
		ops->close(f);
		teardown();
	}
	ck_assert(lost > SEEDS / 10 && kept > SEEDS / 10 && torn > SEEDS / 10 && grew > SEEDS / 10);
	setup();
}
END_TEST

START_TEST(test_cut_names)
{
	unsigned created = 0, moved = 0, gone = 0;

	teardown();
	for (unsigned seed = 0; seed < SEEDS; seed++) {
		setup();
		ck_assert_int_eq(ops->mkdir(vfs, "/d", 0700), 0);
		ops->close(must_open("/keep", O_RDWR | O_CREAT));
		ops->close(must_open("/victim", O_RDWR | O_CREAT));
		ops->close(must_open("/d/from", O_RDWR | O_CREAT));
		ck_assert_int_eq(ops->fsync_dir(vfs, "/d"), 0);
		ck_assert_int_eq(ops->fsync_dir(vfs, "/"), 0);
		ops->close(must_open("/new", O_RDWR | O_CREAT));
		ck_assert_int_eq(ops->unlink(vfs, "/victim"), 0);
		ck_assert_int_eq(ops->rename(vfs, "/d/from", "/d/to"), 0);
		simfs_power_cut(fs, seed);
		ck_assert(exists("/keep"));
		ck_assert(exists("/d/from") != exists("/d/to"));
		created += exists("/new");
		gone += !exists("/victim");
		moved += exists("/d/to");
		teardown();
	}
	ck_assert(created > SEEDS / 4 && created < SEEDS * 3 / 4);
	ck_assert(gone > SEEDS / 4 && gone < SEEDS * 3 / 4);
	ck_assert(moved > SEEDS / 4 && moved < SEEDS * 3 / 4);
	setup();
}
END_TEST

/* write-fsync-rename-fsync_dir is the recipe; each step left out must be seen to hurt under some seed */
START_TEST(test_cut_replace)
{
	unsigned without_fsync = 0, without_dir = 0;

	teardown();
	for (unsigned seed = 0; seed < SEEDS; seed++)
		for (unsigned skip = 0; skip < 3; skip++) {
			static uint8_t data[4096], got[4096];
			struct vfs_file *f;
			bool good;

			setup();
			ck_assert_int_eq(ops->mkdir(vfs, "/tmp", 0700), 0);
			ck_assert_int_eq(ops->fsync_dir(vfs, "/"), 0);
			memset(data, 9, sizeof(data));
			f = must_open("/tmp/x", O_RDWR | O_CREAT);
			must_write(f, data, sizeof(data), 0);
			if (skip != 1)
				ck_assert_int_eq(ops->fsync(f, false), 0);
			ops->close(f);
			ck_assert_int_eq(ops->rename(vfs, "/tmp/x", "/x"), 0);
			if (skip != 2)
				ck_assert_int_eq(ops->fsync_dir(vfs, "/"), 0);
			simfs_power_cut(fs, seed);
			good = exists("/x");
			if (good) {
				f = must_open("/x", O_RDONLY);
				good = read_at(f, got, sizeof(got), 0) == 4096 && !memcmp(got, data, 4096);
				ops->close(f);
			}
			ck_assert(good || skip);
			without_fsync += skip == 1 && !good;
			without_dir += skip == 2 && !good;
			teardown();
		}
	ck_assert(without_fsync > SEEDS / 4 && without_dir > SEEDS / 4);
	setup();
}
END_TEST

START_TEST(test_cut_after)
{
	struct vfs_file *f, *g;

	simfs_cut_after(fs, 3);
	f = must_open("/a", O_RDWR | O_CREAT);
	must_write(f, "x", 1, 0);
	ck_assert(!simfs_is_off(fs));
	ck_assert_int_eq(ops->fsync(f, true), -EIO);
	ck_assert(simfs_is_off(fs));
	ck_assert_int_eq(ops->open(vfs, "/a", O_RDWR, 0, &g), -EIO);
	ck_assert_uint_eq(simfs_mutations(fs), 3);
	simfs_power_cut(fs, 1);
	ops->close(f);
	ck_assert(!simfs_is_off(fs));
	ck_assert_int_eq(ops->mkdir(vfs, "/d", 0700), 0);
	simfs_power_off(fs);
	ck_assert_int_eq(ops->mkdir(vfs, "/e", 0700), -EIO);
	simfs_power_cut(fs, 1);
	ck_assert(!exists("/e"));
}
END_TEST

/* after a failed fsync, a later one that succeeds covers new writes alone */
START_TEST(test_fsync_failure)
{
	unsigned lost = 0;

	teardown();
	for (unsigned seed = 0; seed < SEEDS; seed++) {
		struct vfs_file *f;
		char got[2];

		setup();
		f = must_open("/a", O_RDWR | O_CREAT);
		ck_assert_int_eq(ops->truncate(f, 8192), 0);
		ck_assert_int_eq(ops->fsync(f, true), 0);
		ck_assert_int_eq(ops->fsync_dir(vfs, "/"), 0);
		must_write(f, "a", 1, 0);
		simfs_fail_next(fs, SIMFS_FSYNC, -EIO, 0);
		ck_assert_int_eq(ops->fsync(f, true), -EIO);
		must_write(f, "b", 1, 4096);
		ck_assert_int_eq(ops->fsync(f, true), 0);
		simfs_power_cut(fs, seed);
		ops->close(f);
		f = must_open("/a", O_RDWR);
		ck_assert_int_eq(read_at(f, got, 1, 0), 1);
		ck_assert_int_eq(read_at(f, got + 1, 1, 4096), 1);
		ck_assert_int_eq(got[1], 'b');
		lost += got[0] != 'a';
		ops->close(f);
		teardown();
	}
	ck_assert(lost > SEEDS / 10);
	setup();
}
END_TEST

START_TEST(test_fail_next)
{
	struct vfs_file *f = must_open("/a", O_RDWR | O_CREAT);

	simfs_fail_next(fs, SIMFS_WRITE, -ENOSPC, 2);
	must_write(f, "a", 1, 0);
	must_write(f, "a", 1, 0);
	ck_assert_int_eq(ops->pwritev(f, &(struct iovec){(void *)(uintptr_t) "a", 1}, 1, 0), -ENOSPC);
	must_write(f, "a", 1, 0);
	ck_assert_uint_eq(simfs_count(fs, SIMFS_WRITE), 4);
	ops->close(f);
}
END_TEST

static atomic_int holders, worst;

static void *
locker(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		struct vfs_file *f = must_open("/lock", O_RDWR | O_CREAT);
		int n;

		ck_assert_int_eq(ops->flock(f, LOCK_EX), 0);
		n = ++holders;
		if (n > worst)
			worst = n;
		holders--;
		ops->close(f);
	}
	return NULL;
}

START_TEST(test_flock)
{
	struct vfs_file *a = must_open("/lock", O_RDWR | O_CREAT), *b = must_open("/lock", O_RDWR);
	pthread_t t[4];

	ck_assert_int_eq(ops->flock(a, LOCK_SH), 0);
	ck_assert_int_eq(ops->flock(b, LOCK_SH), 0);
	ck_assert_int_eq(ops->flock(b, LOCK_EX | LOCK_NB), -EWOULDBLOCK);
	/* a conversion that fails has lost the shared lock, as flock(2) warns */
	ck_assert_int_eq(ops->flock(a, LOCK_EX | LOCK_NB), 0);
	ck_assert_int_eq(ops->flock(b, LOCK_SH | LOCK_NB), -EWOULDBLOCK);
	ops->close(a);
	ck_assert_int_eq(ops->flock(b, LOCK_SH | LOCK_NB), 0);
	ops->close(b);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, locker, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	ck_assert_int_eq(worst, 1);
}
END_TEST

struct listing {
	unsigned n;
	uint64_t seen;
	bool sorted;
	char last[16];
};

static int
list_one(void *arg, const char *name, bool is_dir)
{
	struct listing *l = arg;

	ck_assert(!is_dir);
	l->sorted &= strcmp(l->last, name) < 0;
	(void)snprintf(l->last, sizeof(l->last), "%s", name);
	l->seen |= 1ull << strtoul(name + 1, NULL, 10);
	return ++l->n == 30 ? 77 : 0;
}

START_TEST(test_readdir)
{
	struct listing l = {.sorted = true};

	for (int i = 0; i < 20; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "/f%d", i);
		ops->close(must_open(name, O_RDWR | O_CREAT));
	}
	ck_assert_int_eq(ops->readdir(vfs, "/", list_one, &l), 0);
	ck_assert_uint_eq(l.n, 20);
	ck_assert_uint_eq(l.seen, 0xfffff);
	ck_assert(!l.sorted);
	ck_assert_int_eq(ops->readdir(vfs, "/", list_one, &l), 77);
	ck_assert_int_eq(ops->readdir(vfs, "/f1", list_one, &l), -ENOTDIR);
}
END_TEST

START_TEST(test_direct)
{
	struct vfs_file *f = must_open("/a", O_RDWR | O_CREAT | O_DIRECT);
	static _Alignas(512) uint8_t buf[1024];

	ck_assert(f->direct);
	must_write(f, buf, 512, 512);
	ck_assert_int_eq(ops->pwritev(f, &(struct iovec){buf + 1, 512}, 1, 0), -EINVAL);
	ck_assert_int_eq(ops->pwritev(f, &(struct iovec){buf, 100}, 1, 0), -EINVAL);
	ck_assert_int_eq(ops->pwritev(f, &(struct iovec){buf, 512}, 1, 100), -EINVAL);
	ops->close(f);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("simfs");
	TCase *tc = tcase_create("simfs");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_files);
	tcase_add_test(tc, test_holes_and_space);
	tcase_add_test(tc, test_cut_data);
	tcase_add_test(tc, test_cut_names);
	tcase_add_test(tc, test_cut_replace);
	tcase_add_test(tc, test_cut_after);
	tcase_add_test(tc, test_fsync_failure);
	tcase_add_test(tc, test_fail_next);
	tcase_add_test(tc, test_flock);
	tcase_add_test(tc, test_readdir);
	tcase_add_test(tc, test_direct);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
