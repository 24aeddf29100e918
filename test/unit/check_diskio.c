/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskio: every operation on both engines, odd transfers, more requests than the ring holds, several loops.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/diskio.h"
#include "common/util.h"

/* How a test's file and engine are chosen: the loop test's index. */
enum variant { RING, THREADS, NO_DESCRIPTOR, VARIANTS };

static char path[] = "/tmp/check_diskio.XXXXXX";
static struct loop *loop;
static struct vfs_file *file;
static const char *engine;

/* ---- a file without a descriptor, that counts what reaches its vfs ----- */

static struct {
	_Atomic unsigned reads, writes, syncs, fallocates;
} seen;

struct hidden_file {
	struct vfs_file file;
	int fd;
};

static int
hidden_fd(struct vfs_file *f)
{
	return container_of(f, struct hidden_file, file)->fd;
}

static int64_t
hidden_preadv(struct vfs_file *f, const struct iovec *iov, int niov, uint64_t offset)
{
	atomic_fetch_add(&seen.reads, 1);
	return preadv(hidden_fd(f), iov, niov, (off_t)offset);
}

static int64_t
hidden_pwritev(struct vfs_file *f, const struct iovec *iov, int niov, uint64_t offset)
{
	atomic_fetch_add(&seen.writes, 1);
	return pwritev(hidden_fd(f), iov, niov, (off_t)offset);
}

static int
hidden_fsync(struct vfs_file *f, bool data_only)
{
	atomic_fetch_add(&seen.syncs, data_only);
	return fdatasync(hidden_fd(f)) ? -errno : 0;
}

static int
hidden_fallocate(struct vfs_file *f, int mode, uint64_t offset, uint64_t length)
{
	atomic_fetch_add(&seen.fallocates, 1);
	return fallocate(hidden_fd(f), mode, (off_t)offset, (off_t)length) ? -errno : 0;
}

static const struct vfs_ops hidden_ops = {
	.preadv = hidden_preadv,
	.pwritev = hidden_pwritev,
	.fsync = hidden_fsync,
	.fallocate = hidden_fallocate,
};
static struct vfs hidden = {.ops = &hidden_ops};

/* ---- the stage --------------------------------------------------------- */

static int
call_engine(void *arg)
{
	(void)arg;
	engine = disk_engine(loop);
	return 0;
}

static void
stage(int variant)
{
	int fd;

	memcpy(path, "/tmp/check_diskio.XXXXXX", sizeof(path));
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	if (variant == THREADS)
		setenv("LUNGATE_NO_URING", "1", 1);
	else
		unsetenv("LUNGATE_NO_URING");
	memset(&seen, 0, sizeof(seen));
	if (variant == NO_DESCRIPTOR) {
		struct hidden_file *h = malloc(sizeof(*h));

		*h = (struct hidden_file){.file = {.vfs = &hidden, .fd = -1}, .fd = fd};
		file = &h->file;
	} else {
		close(fd);
		ck_assert_int_eq(vfs_posix()->ops->open(vfs_posix(), path, O_RDWR, 0, &file), 0);
	}
	ck_assert_int_eq(loop_pool_init(2), 0);
	ck_assert_int_eq(loop_new("disk", 0, &loop), 0);
	ck_assert_int_eq(loop_start(loop), 0);
	loop_call(loop, call_engine, NULL);
	if (variant == THREADS)
		ck_assert_str_eq(engine, "threads");
}

static void
unstage(void)
{
	loop_free(loop);
	loop_pool_fini();
	if (file->fd >= 0) {
		vfs_posix()->ops->close(file);
	} else {
		close(hidden_fd(file));
		free(container_of(file, struct hidden_file, file));
	}
	unlink(path);
}

struct waited {
	struct disk_req req;
	sem_t done;
	bool misplaced;
};

static void
waited_done(struct disk_req *req)
{
	struct waited *w = container_of(req, struct waited, req);

	w->misplaced = loop_current() != req->loop;
	sem_post(&w->done);
}

static int
call_submit(void *arg)
{
	disk_submit(arg);
	return 0;
}

static int
disk_wait(enum disk_op op, uint64_t offset, uint64_t length, const struct iovec *iov, int niov)
{
	struct waited w = {.req = {.loop = loop,
				   .file = file,
				   .op = op,
				   .offset = offset,
				   .length = length,
				   .iov = iov,
				   .niov = niov,
				   .status = 1,
				   .done = waited_done}};

	sem_init(&w.done, 0, 0);
	loop_call(loop, call_submit, &w.req);
	sem_wait(&w.done);
	sem_destroy(&w.done);
	ck_assert(!w.misplaced);
	return w.req.status;
}

static void
write_file(uint64_t offset, const void *p, size_t n)
{
	FILE *f = fopen(path, "r+");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fseek(f, (long)offset, SEEK_SET), 0);
	ck_assert_uint_eq(fwrite(p, 1, n, f), n);
	ck_assert_int_eq(fclose(f), 0);
}

static void
read_file(uint64_t offset, void *p, size_t n)
{
	FILE *f = fopen(path, "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fseek(f, (long)offset, SEEK_SET), 0);
	ck_assert_uint_eq(fread(p, 1, n, f), n);
	fclose(f);
}

/* ---- tests ------------------------------------------------------------- */

START_TEST(bytes_go_out_and_come_back)
{
	char a[5] = "12345", b[3] = "678", back[8];
	struct iovec out[2] = {{a, 5}, {b, 3}}, in[3] = {{back, 2}, {back + 2, 0}, {back + 2, 6}};

	stage(_i);
	ck_assert_int_eq(disk_wait(DISK_WRITE, 1000, 8, out, 2), 0);
	read_file(1000, back, 8);
	ck_assert_mem_eq(back, "12345678", 8);
	memset(back, 0, 8);
	ck_assert_int_eq(disk_wait(DISK_READ, 1000, 8, in, 3), 0);
	ck_assert_mem_eq(back, "12345678", 8);
	ck_assert_int_eq(disk_wait(DISK_FDATASYNC, 0, 0, NULL, 0), 0);
	ck_assert_int_eq(disk_wait(DISK_WRITE_SYNC, 500, 8, out, 2), 0);
	read_file(500, back, 8);
	ck_assert_mem_eq(back, "12345678", 8);
	/* nothing to move is done all the same; a sync is still a sync */
	ck_assert_int_eq(disk_wait(DISK_READ, 0, 0, in, 0), 0);
	ck_assert_int_eq(disk_wait(DISK_WRITE_SYNC, 0, 0, out, 0), 0);
	if (_i == NO_DESCRIPTOR) {
		ck_assert_uint_eq(seen.syncs, 3);
		ck_assert_uint_ge(seen.writes, 2);
	} else {
		ck_assert_uint_eq(seen.writes, 0);
	}
	unstage();
}
END_TEST

START_TEST(reading_past_the_end_is_an_error)
{
	char text[10] = "0123456789", back[20];
	struct iovec in[2] = {{back, 7}, {back + 7, 13}};

	stage(_i);
	write_file(0, text, 10);
	ck_assert_int_eq(disk_wait(DISK_READ, 0, 20, in, 2), -ENODATA);
	ck_assert_int_eq(disk_wait(DISK_READ, 10, 7, in, 1), -ENODATA);
	ck_assert_int_eq(disk_wait(DISK_READ, 3, 7, in, 1), 0);
	ck_assert_mem_eq(back, "3456789", 7);
	unstage();
}
END_TEST

START_TEST(holes_and_zeroes)
{
	static uint8_t bytes[65536];
	int r;

	stage(_i);
	memset(bytes, 7, sizeof(bytes));
	write_file(0, bytes, sizeof(bytes));
	r = disk_wait(DISK_PUNCH, 8192, 4096, NULL, 0);
	if (r != -EOPNOTSUPP) {
		ck_assert_int_eq(r, 0);
		read_file(0, bytes, sizeof(bytes));
		ck_assert_uint_eq(bytes[8191], 7);
		ck_assert_uint_eq(bytes[8192], 0);
		ck_assert_uint_eq(bytes[12287], 0);
		ck_assert_uint_eq(bytes[12288], 7);
	}
	r = disk_wait(DISK_ZERO, 16384, 8192, NULL, 0);
	if (r != -EOPNOTSUPP) {
		ck_assert_int_eq(r, 0);
		read_file(0, bytes, sizeof(bytes));
		ck_assert_uint_eq(bytes[16383], 7);
		ck_assert_uint_eq(bytes[16384], 0);
		ck_assert_uint_eq(bytes[24575], 0);
		ck_assert_uint_eq(bytes[24576], 7);
	}
	unstage();
}
END_TEST

START_TEST(more_iovecs_than_the_kernel_takes)
{
	enum { N = IOV_MAX + 100 };
	struct iovec *iov = calloc(N, sizeof(*iov));
	uint8_t *bytes = malloc(2 * N), *back = malloc(2 * N);

	stage(_i == NO_DESCRIPTOR ? RING : _i); /* that vfs of ours is too simple for it */
	random_bytes(bytes, 2 * N);
	for (size_t i = 0; i < N; i++)
		iov[i] = (struct iovec){bytes + 2 * i, 2};
	ck_assert_int_eq(disk_wait(DISK_WRITE_SYNC, 64, 2 * N, iov, N), 0);
	read_file(64, back, 2 * N);
	ck_assert_mem_eq(bytes, back, 2 * N);
	memset(back, 0, 2 * N);
	for (size_t i = 0; i < N; i++)
		iov[i].iov_base = back + 2 * i;
	ck_assert_int_eq(disk_wait(DISK_READ, 64, 2 * N, iov, N), 0);
	ck_assert_mem_eq(bytes, back, 2 * N);
	unstage();
	free(iov);
	free(bytes);
	free(back);
}
END_TEST

START_TEST(errors_come_back)
{
	char c = 'x';
	struct iovec iov = {&c, 1};
	struct vfs_file *good;

	stage(_i == NO_DESCRIPTOR ? RING : _i);
	good = file;
	ck_assert_int_eq(vfs_posix()->ops->open(vfs_posix(), path, O_RDONLY, 0, &file), 0);
	ck_assert_int_eq(disk_wait(DISK_WRITE, 0, 1, &iov, 1), -EBADF);
	ck_assert_int_eq(disk_wait(DISK_WRITE_SYNC, 0, 1, &iov, 1), -EBADF); /* never hidden by the sync */
	ck_assert_int_eq(disk_wait(DISK_PUNCH, 0, 4096, NULL, 0), -EBADF);
	vfs_posix()->ops->close(file);
	file = good;
	unstage();
}
END_TEST

/* A pipe as the file: the kernel moves what is there, and the rest later - a short read that is not the end.
 */
START_TEST(short_transfers_are_continued)
{
	struct vfs_file *good, pipe_file = {.vfs = vfs_posix()};
	struct waited w = {.req = {.op = DISK_READ, .niov = 2, .status = 1, .done = waited_done}};
	char back[8];
	struct iovec in[2] = {{back, 5}, {back + 5, 3}};
	int fds[2];

	stage(RING);
	good = file;
	if (!strcmp(engine, "io_uring")) {
		ck_assert_int_eq(pipe(fds), 0);
		pipe_file.fd = fds[0];
		w.req.loop = loop;
		w.req.file = &pipe_file;
		w.req.iov = in;
		sem_init(&w.done, 0, 0);
		ck_assert_int_eq(write(fds[1], "abc", 3), 3);
		loop_call(loop, call_submit, &w.req);
		ck_assert_int_eq(write(fds[1], "defg", 4), 4);
		ck_assert_int_eq(write(fds[1], "h", 1), 1);
		sem_wait(&w.done);
		ck_assert_int_eq(w.req.status, 0);
		ck_assert_mem_eq(back, "abcdefgh", 8);
		close(fds[0]);
		close(fds[1]);
		sem_destroy(&w.done);
	}
	file = good;
	unstage();
}
END_TEST

/* A pipe takes bytes but cannot be synced: a write whose sync fails has failed. */
START_TEST(failed_syncs_fail_the_write)
{
	struct vfs_file *good, pipe_file = {.vfs = vfs_posix()};
	char text[3] = "abc";
	struct iovec out = {text, 3};
	int fds[2];

	stage(RING);
	good = file;
	if (!strcmp(engine, "io_uring")) {
		ck_assert_int_eq(pipe(fds), 0);
		pipe_file.fd = fds[1];
		file = &pipe_file;
		ck_assert_int_eq(disk_wait(DISK_WRITE, 0, 3, &out, 1), 0);
		ck_assert_int_eq(disk_wait(DISK_WRITE_SYNC, 0, 3, &out, 1), -EINVAL);
		ck_assert_int_eq(disk_wait(DISK_FDATASYNC, 0, 0, NULL, 0), -EINVAL);
		close(fds[0]);
		close(fds[1]);
	}
	file = good;
	unstage();
}
END_TEST

/* ---- many -------------------------------------------------------------- */

#define MANY 1500 /* several times the ring */
#define BLOCK 512

struct many {
	struct disk_req req;
	struct iovec iov;
	uint8_t block[BLOCK];
	bool read_back;
};

static struct {
	struct many *reqs;
	unsigned left, failed;
	sem_t all;
} many;

static void
many_done(struct disk_req *req)
{
	struct many *m = container_of(req, struct many, req);

	if (req->status)
		many.failed++;
	if (!m->read_back) {
		/* from within done: straight on */
		m->read_back = true;
		memset(m->block, 0, BLOCK);
		req->op = DISK_READ;
		disk_submit(req);
		return;
	}
	if (!--many.left)
		sem_post(&many.all);
}

static int
call_many(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < MANY; i++) {
		struct many *m = &many.reqs[i];

		memset(m->block, (int)i, BLOCK);
		m->iov = (struct iovec){m->block, BLOCK};
		m->req = (struct disk_req){.loop = loop,
					   .file = file,
					   .op = i % 3 ? DISK_WRITE : DISK_WRITE_SYNC,
					   .offset = (uint64_t)i * BLOCK,
					   .length = BLOCK,
					   .iov = &m->iov,
					   .niov = 1,
					   .done = many_done};
		disk_submit(&m->req);
	}
	return 0;
}

START_TEST(more_requests_than_the_ring_holds)
{
	stage(_i);
	many.reqs = calloc(MANY, sizeof(*many.reqs));
	many.left = MANY;
	many.failed = 0;
	sem_init(&many.all, 0, 0);
	loop_call(loop, call_many, NULL);
	sem_wait(&many.all);
	ck_assert_uint_eq(many.failed, 0);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_uint_eq(many.reqs[i].block[0], (uint8_t)i);
		ck_assert_uint_eq(many.reqs[i].block[BLOCK - 1], (uint8_t)i);
	}
	unstage();
	free(many.reqs);
	sem_destroy(&many.all);
}
END_TEST

/* A loop that is freed with requests under way finishes them first. */
START_TEST(freeing_a_loop_waits_for_its_disk)
{
	if (_i != RING)
		return; /* what the pool has is waited for by loop_pool_fini() */
	stage(_i);
	many.reqs = calloc(MANY, sizeof(*many.reqs));
	many.left = MANY;
	many.failed = 0;
	sem_init(&many.all, 0, 0);
	if (!strcmp(engine, "io_uring")) {
		loop_call(loop, call_many, NULL);
		loop_free(loop);
		ck_assert_uint_eq(many.left, 0);
		ck_assert_uint_eq(many.failed, 0);
		ck_assert_int_eq(loop_new("again", 0, &loop), 0);
	}
	unstage();
	free(many.reqs);
	sem_destroy(&many.all);
}
END_TEST

START_TEST(every_loop_has_its_own)
{
	struct loop *loops[3], *first;
	uint8_t block[BLOCK], back[BLOCK];
	struct iovec out = {block, BLOCK}, in = {back, BLOCK};

	stage(_i);
	first = loop;
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(loop_new("more", i + 1, &loops[i]), 0);
		ck_assert_int_eq(loop_start(loops[i]), 0);
		loop = loops[i];
		memset(block, (int)i + 1, BLOCK);
		ck_assert_int_eq(disk_wait(DISK_WRITE, i * BLOCK, BLOCK, &out, 1), 0);
	}
	loop = first;
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(disk_wait(DISK_READ, i * BLOCK, BLOCK, &in, 1), 0);
		ck_assert_uint_eq(back[BLOCK / 2], i + 1);
		loop_free(loops[i]);
	}
	unstage();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("diskio");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, bytes_go_out_and_come_back, 0, VARIANTS);
	tcase_add_loop_test(tc, reading_past_the_end_is_an_error, 0, VARIANTS);
	tcase_add_loop_test(tc, holes_and_zeroes, 0, VARIANTS);
	tcase_add_loop_test(tc, more_iovecs_than_the_kernel_takes, 0, VARIANTS);
	tcase_add_loop_test(tc, errors_come_back, 0, VARIANTS);
	tcase_add_test(tc, short_transfers_are_continued);
	tcase_add_test(tc, failed_syncs_fail_the_write);
	tcase_add_loop_test(tc, more_requests_than_the_ring_holds, 0, VARIANTS);
	tcase_add_loop_test(tc, freeing_a_loop_waits_for_its_disk, 0, VARIANTS);
	tcase_add_loop_test(tc, every_loop_has_its_own, 0, VARIANTS);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
