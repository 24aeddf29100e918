/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A real mount: data of image and chunks, against what the volume holds. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "test/lib/mountrig.h"

#define MIB (1u << 20)
#define SIZE (9 * MIB + 512 * 1024u) /* the last chunk is half of one */
#define CHUNK MIB

static struct rig rig;
static struct fakevol *a, *b;
static uint8_t *buf, *want;

static void
setup(void)
{
	struct errinfo info = {""};

	rig_start(&rig, 64 * MIB);
	a = rig_volume(&rig, "vol-a", SIZE, 512, CHUNK);
	b = rig_volume(&rig, "vol-b", SIZE, 4096, CHUNK);
	ck_assert_msg(!rig_mount(&rig, rig_path, &info), "%s", info.text);
	/* at page boundaries, so that the kernel has no reason to cut requests within blocks */
	ck_assert_int_eq(posix_memalign((void **)&buf, 4096, SIZE + MIB), 0);
	ck_assert_int_eq(posix_memalign((void **)&want, 4096, SIZE + MIB), 0);
	memset(want, 0, SIZE + MIB);
}

static void
teardown(void)
{
	free(buf);
	free(want);
	mount_stop(rig.mount);
	rig.mount = NULL;
	rig_drop(&rig, a);
	rig_drop(&rig, b);
	rig_stop(&rig);
}

static int
open_image(const char *name, int flags)
{
	int fd = open(rig_file("volumes/%s/image", name), flags);

	ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
	return fd;
}

static void
fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1103515245 + 12345;
		p[i] = (uint8_t)(seed >> 16);
	}
}

static off_t
blocks(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_blocks;
}

START_TEST(both_doors_show_the_same)
{
	int fd = open_image("vol-a", O_RDWR), other = open_image("vol-a", O_RDONLY);

	fill(want, 3 * MIB, 1);
	ck_assert_int_eq(pwrite(fd, want, 3 * MIB, 4096), 3 * MIB);
	ck_assert_int_eq(rig_io(a, VOL_READ, 4096, 3 * MIB, buf), 0);
	ck_assert(!memcmp(buf, want, 3 * MIB));
	ck_assert_int_eq(pread(other, buf, 3 * MIB, 4096), 3 * MIB);
	ck_assert(!memcmp(buf, want, 3 * MIB));
	/* and again, over what was read a moment ago */
	for (unsigned i = 0; i < 20; i++) {
		fill(want, 8192, 100 + i);
		ck_assert_int_eq(rig_io(a, VOL_WRITE, 512 * i, 8192, want), 0);
		ck_assert_int_eq(pread(other, buf, 8192, 512 * i), 8192);
		ck_assert(!memcmp(buf, want, 8192));
	}
	close(fd);
	close(other);
}
END_TEST

/* Random places and lengths against a model; every byte of the volume is compared at the end, from beside the
 * mount. */
static void
random_io(struct fakevol *fake, unsigned seed)
{
	int fd = open_image(fake->vol.name, O_RDWR);

	for (unsigned i = 0; i < 400; i++) {
		size_t n, at;

		seed = seed * 1103515245 + 12345;
		n = (seed >> 8) % (i % 10 ? 9000 : 3 * MIB) + 1;
		seed = seed * 1103515245 + 12345;
		at = (seed >> 4) % (SIZE - n);
		if (i % 3 == 2)
			at -= at % 512;
		if (i % 2) {
			fill(want + at, n, seed);
			ck_assert_int_eq(pwrite(fd, want + at, n, (off_t)at), (ssize_t)n);
		} else if (i % 16 == 0) {
			memset(want + at, 0, n);
			ck_assert_int_eq(fallocate(fd,
						   i % 32 ? FALLOC_FL_ZERO_RANGE
							  : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
						   (off_t)at, (off_t)n),
					 0);
		} else {
			ck_assert_int_eq(pread(fd, buf, n, (off_t)at), (ssize_t)n);
			ck_assert(!memcmp(buf, want + at, n));
		}
	}
	ck_assert_int_eq(rig_io(fake, VOL_READ, 0, SIZE, buf), 0);
	ck_assert(!memcmp(buf, want, SIZE));
	close(fd);
}

START_TEST(any_byte_may_be_written_512)
{
	random_io(a, 7);
}
END_TEST

START_TEST(any_byte_may_be_written_4096)
{
	random_io(b, 8);
}
END_TEST

static void
write_next_door(struct fakevol *fake)
{
	fakevol_poke(fake, 4096 + 300, 'n');
}

START_TEST(an_initiator_writes_beside_a_part)
{
	int fd = open_image("vol-b", O_RDWR);

	/* between the read and the write of a part of a block, another byte of it changes */
	b->hook_op = VOL_COMPARE_WRITE;
	b->hook = write_next_door;
	ck_assert_int_eq(pwrite(fd, "part", 4, 4096 + 100), 4);
	ck_assert_ptr_null(b->hook);
	ck_assert_uint_eq(b->seen[VOL_COMPARE_WRITE], 2);
	ck_assert_int_eq(rig_io(b, VOL_READ, 4096, 4096, buf), 0);
	ck_assert(!memcmp(buf + 100, "part", 4));
	ck_assert_int_eq(buf[300], 'n');
	ck_assert_int_eq(buf[104], 0);
	close(fd);
}
END_TEST

#define WRITERS 4

struct writer {
	pthread_t thread;
	unsigned index;
};

static void *
write_every_fourth(void *arg)
{
	struct writer *w = arg;
	int fd = open(rig_file("volumes/vol-b/image"), O_RDWR);
	char c = (char)('A' + w->index);

	for (unsigned i = w->index; i < 2048; i += WRITERS)
		if (pwrite(fd, &c, 1, 8192 - 1024 + i) != 1)
			return (void *)1;
	close(fd);
	return NULL;
}

START_TEST(neighbours_in_a_block_are_not_lost)
{
	struct writer writers[WRITERS];
	void *failed;

	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i].index = i;
		ck_assert_int_eq(pthread_create(&writers[i].thread, NULL, write_every_fourth, &writers[i]),
				 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(writers[i].thread, &failed);
		ck_assert_ptr_null(failed);
	}
	ck_assert_int_eq(rig_io(b, VOL_READ, 4096, 8192, buf), 0);
	for (unsigned i = 0; i < 2048; i++)
		ck_assert_int_eq(buf[4096 - 1024 + i], 'A' + i % WRITERS);
}
END_TEST

START_TEST(sync_writes_are_fua)
{
	static const int flags[] = {O_SYNC, O_DSYNC, O_DSYNC | O_DIRECT};
	struct iovec iov = {want, 4096};
	int fd = open_image("vol-a", O_RDWR);
	uint64_t fua = 0;

	ck_assert_int_eq(pwrite(fd, want, 4096, 0), 4096);
	ck_assert_uint_eq(a->fua, 0);
	ck_assert_int_eq(pwritev2(fd, &iov, 1, 0, RWF_DSYNC), 4096);
	ck_assert_uint_gt(a->fua, fua);
	close(fd);
	fd = open_image("vol-a", O_RDWR | O_DIRECT);
	fua = a->fua;
	ck_assert_int_eq(pwrite(fd, want, 4096, 0), 4096);
	ck_assert_uint_eq(a->fua, fua);
	close(fd);
	for (unsigned i = 0; i < 3; i++) {
		void *aligned;

		ck_assert_int_eq(posix_memalign(&aligned, 4096, 4096), 0);
		memset(aligned, 1, 4096);
		fd = open_image("vol-a", O_RDWR | flags[i]);
		fua = a->fua;
		ck_assert_int_eq(pwrite(fd, aligned, 4096, 4096), 4096);
		ck_assert_uint_gt(a->fua, fua);
		fua = a->fua;
		ck_assert_int_eq(pwrite(fd, aligned, 512, 512), 512);
		ck_assert_uint_gt(a->fua, fua);
		close(fd);
		free(aligned);
	}
}
END_TEST

START_TEST(fsync_is_flush)
{
	int fd = open_image("vol-a", O_RDWR);

	ck_assert_uint_eq(a->seen[VOL_FLUSH], 0);
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_uint_eq(a->seen[VOL_FLUSH], 1);
	ck_assert_int_eq(fdatasync(fd), 0);
	ck_assert_uint_eq(a->seen[VOL_FLUSH], 2);
	a->fail_op = VOL_FLUSH;
	a->fail = LG_EPOISONED;
	ck_assert_int_eq(fsync(fd), -1);
	ck_assert_int_eq(errno, EIO);
	close(fd);
}
END_TEST

START_TEST(the_end)
{
	int fd = open_image("vol-a", O_RDWR);
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, SIZE);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), SIZE);
	ck_assert_int_eq(pread(fd, buf, 100, SIZE), 0);
	ck_assert_int_eq(pread(fd, buf, 100, (off_t)SIZE + 12345), 0);
	ck_assert_int_eq(pread(fd, buf, 100, SIZE - 7), 7);
	ck_assert_int_eq(pwrite(fd, "0123456789", 10, SIZE - 7), 7);
	ck_assert_int_eq(pwrite(fd, "0123456789", 10, SIZE), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(pread(fd, buf, 100, SIZE - 7), 7);
	ck_assert(!memcmp(buf, "0123456", 7));
	ck_assert_int_eq(pread(fd, buf, 0, 0), 0);
	ck_assert_int_eq(pwrite(fd, "", 0, 0), 0);

	/* the size is the volume's */
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	ck_assert_int_eq(ftruncate(fd, 4096), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(truncate(rig_file("volumes/vol-a/image"), 0), -1);
	close(fd);
	fd = open_image("vol-a", O_RDWR | O_TRUNC);
	ck_assert_int_eq(pread(fd, buf, 100, SIZE - 7), 7);
	ck_assert(!memcmp(buf, "0123456", 7));
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, SIZE);

	/* and shows at once when it changes */
	a->vol.size = SIZE - MIB;
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, SIZE - MIB);
	ck_assert_int_eq(pread(fd, buf, 100, SIZE - MIB), 0);
	a->vol.size = SIZE;
	close(fd);
}
END_TEST

START_TEST(holes)
{
	int fd = open_image("vol-a", O_RDWR);
	off_t last = SIZE - 512;

	/* all of it is a hole */
	ck_assert_int_eq(lseek(fd, 0, SEEK_HOLE), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_DATA), -1);
	ck_assert_int_eq(errno, ENXIO);
	ck_assert_int_eq(blocks(fd), 0);

	/* chunks 2, 3 and the last, which is half a chunk */
	ck_assert_int_eq(pwrite(fd, want, 8192, 3 * CHUNK - 4096), 8192);
	ck_assert_int_eq(pwrite(fd, want, 512, last), 512);
	ck_assert_int_eq(blocks(fd), 3 * 8);
	ck_assert_int_eq(lseek(fd, 0, SEEK_DATA), 2 * CHUNK);
	ck_assert_int_eq(lseek(fd, 2 * CHUNK + 5, SEEK_DATA), 2 * CHUNK + 5);
	ck_assert_int_eq(lseek(fd, 2 * CHUNK + 5, SEEK_HOLE), 4 * CHUNK);
	ck_assert_int_eq(lseek(fd, 4 * CHUNK - 1, SEEK_HOLE), 4 * CHUNK);
	ck_assert_int_eq(lseek(fd, 4 * CHUNK, SEEK_HOLE), 4 * CHUNK);
	ck_assert_int_eq(lseek(fd, 4 * CHUNK + 1, SEEK_HOLE), 4 * CHUNK + 1);
	ck_assert_int_eq(lseek(fd, 4 * CHUNK, SEEK_DATA), 9 * CHUNK);
	ck_assert_int_eq(lseek(fd, 9 * CHUNK, SEEK_HOLE), SIZE);
	ck_assert_int_eq(lseek(fd, SIZE - 1, SEEK_HOLE), SIZE);
	ck_assert_int_eq(lseek(fd, SIZE - 1, SEEK_DATA), SIZE - 1);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(lseek(fd, SIZE + i, SEEK_DATA), -1);
		ck_assert_int_eq(errno, ENXIO);
		ck_assert_int_eq(lseek(fd, SIZE + i, SEEK_HOLE), -1);
		ck_assert_int_eq(errno, ENXIO);
	}

	/* punched chunks go, parts of blocks are zeroed */
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * CHUNK, CHUNK), 0);
	ck_assert_uint_ge(a->seen[VOL_UNMAP], 1);
	ck_assert_int_eq(lseek(fd, 0, SEEK_DATA), 3 * CHUNK);
	ck_assert_int_eq(blocks(fd), 2 * 8);
	memset(buf, 'x', 8192);
	ck_assert_int_eq(pwrite(fd, buf, 8192, 0), 8192);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 5000), 0);
	ck_assert_int_eq(pread(fd, buf, 8192, 0), 8192);
	for (unsigned i = 0; i < 8192; i++)
		ck_assert_int_eq(buf[i], i >= 100 && i < 5100 ? 0 : 'x');
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 5100, 12), 0);
	ck_assert_int_eq(pread(fd, buf, 8192, 0), 8192);
	for (unsigned i = 0; i < 8192; i++)
		ck_assert_int_eq(buf[i], i >= 100 && i < 5112 ? 0 : 'x');
	/* past the end there is nothing to punch, and nothing grows */
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, SIZE - 4096, MIB), 0);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, SIZE, MIB), 0);
	ck_assert_int_eq(lseek(fd, 4 * CHUNK, SEEK_DATA), -1);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_ZERO_RANGE, SIZE - 512, MIB), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(fallocate(fd, 0, 0, 4096), -1);
	ck_assert_int_eq(errno, EOPNOTSUPP);
	close(fd);
}
END_TEST

START_TEST(every_chunk_is_there)
{
	int fd = open_image("vol-a", O_RDWR);

	memset(buf, 1, SIZE);
	for (size_t at = 0; at < SIZE; at += CHUNK)
		ck_assert_int_eq(pwrite(fd, buf, 4096, (off_t)at), 4096);
	ck_assert_int_eq(lseek(fd, 0, SEEK_HOLE), SIZE);
	ck_assert_int_eq(lseek(fd, 5, SEEK_DATA), 5);
	close(fd);
}
END_TEST

START_TEST(chunks_are_files)
{
	int fd = open_image("vol-a", O_RDWR), chunk;
	struct stat st;

	fill(want, 2 * CHUNK, 3);
	ck_assert_int_eq(pwrite(fd, want, 2 * CHUNK, 2 * CHUNK), 2 * CHUNK);
	ck_assert_int_eq(pwrite(fd, want, 512, SIZE - 512), 512);

	chunk = open(rig_file("volumes/vol-a/chunks/0000/00000003"), O_RDONLY);
	ck_assert_int_ge(chunk, 0);
	ck_assert_int_eq(fstat(chunk, &st), 0);
	ck_assert_int_eq(st.st_size, CHUNK);
	ck_assert_int_eq(st.st_blocks, CHUNK / 512);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0400);
	ck_assert_int_eq(read(chunk, buf, 2 * CHUNK), CHUNK);
	ck_assert(!memcmp(buf, want + CHUNK, CHUNK));
	ck_assert_int_eq(pread(chunk, buf, 1000, 777), 1000);
	ck_assert(!memcmp(buf, want + CHUNK + 777, 1000));
	ck_assert_int_eq(pread(chunk, buf, 1000, CHUNK - 1), 1);
	ck_assert_int_eq(pread(chunk, buf, 1000, CHUNK), 0);
	ck_assert_int_eq(lseek(chunk, 0, SEEK_HOLE), CHUNK);
	/* as it is now */
	ck_assert_int_eq(pwrite(fd, "now", 3, 3 * CHUNK), 3);
	ck_assert_int_eq(pread(chunk, buf, 3, 0), 3);
	ck_assert(!memcmp(buf, "now", 3));
	close(chunk);

	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0000/00000009"), &st), 0);
	ck_assert_int_eq(st.st_size, CHUNK / 2);
	chunk = open(rig_file("volumes/vol-a/chunks/0000/00000009"), O_RDONLY);
	ck_assert_int_eq(read(chunk, buf, CHUNK), CHUNK / 2);
	ck_assert(!memcmp(buf + CHUNK / 2 - 512, want, 512));
	close(chunk);

	ck_assert_int_eq(open(rig_file("volumes/vol-a/chunks/0000/00000003"), O_RDWR), -1);
	ck_assert_int_eq(errno, EACCES);
	/* absent, past the end, in the wrong directory, spelt otherwise */
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0000/00000000"), &st), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0000/0000000a"), &st), -1);
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0001"), &st), -1);
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0000/3"), &st), -1);
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0"), &st), -1);

	/* trimmed: gone at once */
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0000/00000002"), &st), 0);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * CHUNK, CHUNK), 0);
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0000/00000002"), &st), -1);
	ck_assert_int_eq(errno, ENOENT);
	close(fd);
}
END_TEST

START_TEST(chunks_have_attributes)
{
	int fd = open_image("vol-a", O_RDWR);
	const char *path;
	char value[256];
	ssize_t n, need;

	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	path = rig_file("volumes/vol-a/chunks/0000/00000000");
	n = getxattr(path, "user.lungate.key", value, sizeof(value));
	ck_assert_int_eq(n, 10);
	ck_assert(!memcmp(value, "c/00000000", 10));
	ck_assert_int_eq(getxattr(path, "user.lungate.key", NULL, 0), 10);
	ck_assert_int_eq(getxattr(path, "user.lungate.key", value, 9), -1);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(getxattr(path, "user.lungate.crc32c", value, sizeof(value)), 8);
	ck_assert(!memcmp(value, "1234abcd", 8));
	ck_assert_int_eq(getxattr(path, "user.lungate.state", value, sizeof(value)), 5);
	ck_assert_int_eq(getxattr(path, "user.lungate.etag", value, sizeof(value)), -1);
	ck_assert_int_eq(errno, ENODATA);
	ck_assert_int_eq(getxattr(path, "user.other", value, sizeof(value)), -1);
	ck_assert_int_eq(errno, ENODATA);
	need = listxattr(path, NULL, 0);
	ck_assert_int_gt(need, 100);
	ck_assert_int_eq(listxattr(path, value, sizeof(value)), need);
	ck_assert_str_eq(value, "user.lungate.state");
	ck_assert_int_eq(listxattr(path, value, 10), -1);
	ck_assert_int_eq(errno, ERANGE);
	path = rig_file("volumes/vol-a/image");
	ck_assert_int_eq(listxattr(path, value, sizeof(value)), 0);
	ck_assert_int_eq(getxattr(path, "user.lungate.key", value, sizeof(value)), -1);
	ck_assert_int_eq(errno, ENODATA);
	ck_assert_int_eq(setxattr(path, "user.x", "1", 1, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	close(fd);
}
END_TEST

static const struct {
	enum vol_op op;
	int status, want;
} failures[] = {
	{VOL_READ, LG_ECORRUPT, EIO},
	{VOL_READ, -EIO, EIO},
	{VOL_WRITE, LG_EFENCED, ESTALE},
	{VOL_WRITE, -ENOSPC, ENOSPC},
	{VOL_COMPARE_WRITE, LG_EPOISONED, EIO},
	{VOL_UNMAP, -ENOSPC, ENOSPC},
	{VOL_MAP, LG_ECORRUPT, EIO},
};

START_TEST(failures_are_told)
{
	int fd = open_image("vol-a", O_RDWR), rc = 0;
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		a->fail_op = (int)failures[i].op;
		a->fail = failures[i].status;
		switch (failures[i].op) {
		case VOL_READ:
			rc = (int)pread(fd, buf, 8192, 0);
			break;
		case VOL_WRITE:
			rc = (int)pwrite(fd, buf, 8192, 0);
			break;
		case VOL_COMPARE_WRITE:
			rc = (int)pwrite(fd, buf, 3, 5);
			break;
		case VOL_UNMAP:
			rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
			break;
		default:
			rc = stat(rig_file("volumes/vol-a/chunks/0000"), &st);
		}
		ck_assert_int_eq(rc, -1);
		ck_assert_int_eq(errno, failures[i].want);
		/* the other volume does not care, and the next request is a new one */
		a->fail = 0;
		ck_assert_int_eq(pread(fd, buf, 8192, 0), 8192);
	}
	/* a part whose read fails is not written */
	a->fail_op = VOL_READ;
	a->fail = LG_ECORRUPT;
	ck_assert_int_eq(pwrite(fd, buf, 3, 5), -1);
	ck_assert_int_eq(errno, EIO);
	close(fd);
}
END_TEST

static void *
read_image(void *arg)
{
	int fd = open(rig_file("volumes/vol-a/image"), O_RDONLY);

	uint8_t *mine = malloc(MIB);

	*(ssize_t *)arg = pread(fd, mine, MIB, 0);
	free(mine);
	close(fd);
	return NULL;
}

START_TEST(a_slow_volume_holds_nobody_else)
{
	int fd = open_image("vol-b", O_RDWR), text;
	ssize_t got[8];
	pthread_t threads[8];
	struct stat st;

	a->hold_op = VOL_READ;
	a->hold = true;
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, read_image, &got[i]), 0);
	while (a->held < 8)
		usleep(100);
	/* the other volume, this volume's other operations, texts and listings all go on */
	ck_assert_int_eq(pwrite(fd, want, MIB, 0), MIB);
	ck_assert_int_eq(pread(fd, buf + MIB, MIB, 0), MIB);
	close(fd);
	fd = open_image("vol-a", O_RDWR);
	ck_assert_int_eq(pwrite(fd, want, MIB, MIB), MIB);
	close(fd);
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/chunks/0000/00000001"), &st), 0);
	text = open(rig_file("volumes/vol-a/volume.json"), O_RDONLY);
	ck_assert_int_gt(read(text, buf + MIB, 1000), 10);
	close(text);
	ck_assert_uint_eq(a->held, 8);
	fakevol_release(a);
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(got[i], MIB);
	}
}
END_TEST

START_TEST(read_only)
{
	struct fakevol *ro = fakevol_new("ro", SIZE, 512, CHUNK, rig.loop, rig.arena);
	struct stat st;
	int fd;

	ro->vol.read_only = true;
	ck_assert_int_eq(registry_add(rig.registry, &ro->vol), 0);
	ck_assert_int_eq(stat(rig_file("volumes/ro/image"), &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0400);
	ck_assert_int_eq(open(rig_file("volumes/ro/image"), O_RDWR), -1);
	ck_assert_int_eq(errno, geteuid() ? EACCES : EROFS);
	fd = open(rig_file("volumes/ro/image"), O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, buf, 100), 100);
	close(fd);
	rig_drop(&rig, ro);
}
END_TEST

/* A small arena that is full: writes wait for pages and the rest goes on. */
static void *
write_parked(void *arg)
{
	int fd = open(rig_file("volumes/small/image"), O_RDWR);

	*(_Atomic ssize_t *)arg = pwrite(fd, want, 256 * 1024, 4096 + 100);
	close(fd);
	return NULL;
}

START_TEST(a_full_arena_is_waited_for)
{
	struct rig small;
	struct errinfo info = {""};
	struct fakevol *fake;
	struct page **pages;
	unsigned n = 0, max;
	pthread_t thread;
	_Atomic ssize_t got = 0;
	int fd;

	mount_stop(rig.mount);
	rig.mount = NULL;
	rig_start(&small, 4 * MIB);
	fake = rig_volume(&small, "small", 2 * MIB, 512, CHUNK);
	ck_assert_msg(!rig_mount(&small, rig_path, &info), "%s", info.text);
	fill(want, 256 * 1024, 5);

	max = (unsigned)arena_total_pages(small.arena);
	pages = calloc(max, sizeof(*pages));
	fd = open(rig_file("README"), O_RDONLY); /* the mount has its pages by now */
	while (n < max && !arena_alloc(small.arena, pages + n, 1))
		n++;
	ck_assert_int_eq(pthread_create(&thread, NULL, write_parked, (void *)&got), 0);
	for (unsigned i = 0; i < 50; i++) {
		int text = open(rig_file("volumes/small/stats.json"), O_RDONLY);

		ck_assert_int_gt(read(text, buf, 1000), 10);
		close(text);
	}
	close(fd);
	ck_assert_int_eq(got, 0);
	pages_unref(pages, n);
	pthread_join(thread, NULL);
	ck_assert_int_eq(got, 256 * 1024);
	ck_assert_int_eq(rig_io(fake, VOL_READ, 4096, 256 * 1024 + 512, buf), 0);
	ck_assert(!memcmp(buf + 100, want, 256 * 1024));

	/* and a load that is larger than the arena runs through */
	fd = open(rig_file("volumes/small/image"), O_RDWR);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(pwrite(fd, want, 256 * 1024, 0), 256 * 1024);
	close(fd);
	free(pages);
	mount_stop(small.mount);
	small.mount = NULL;
	rig_drop(&small, fake);
	rig_stop(&small);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("image");
	TCase *tc = tcase_create("data");
	SRunner *runner;
	int failed;

	rig_require();
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, both_doors_show_the_same);
	tcase_add_test(tc, any_byte_may_be_written_512);
	tcase_add_test(tc, any_byte_may_be_written_4096);
	tcase_add_test(tc, an_initiator_writes_beside_a_part);
	tcase_add_test(tc, neighbours_in_a_block_are_not_lost);
	tcase_add_test(tc, sync_writes_are_fua);
	tcase_add_test(tc, fsync_is_flush);
	tcase_add_test(tc, the_end);
	tcase_add_test(tc, holes);
	tcase_add_test(tc, every_chunk_is_there);
	tcase_add_test(tc, chunks_are_files);
	tcase_add_test(tc, chunks_have_attributes);
	tcase_add_test(tc, failures_are_told);
	tcase_add_test(tc, a_slow_volume_holds_nobody_else);
	tcase_add_test(tc, read_only);
	tcase_add_test(tc, a_full_arena_is_waited_for);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_cleanup();
	return failed ? 1 : 0;
}
