/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/lib/orrace.h"
#include "test/lib/rawrig.h"
#include "test/lib/volmodel.h"

#define CHUNK (1u << 20)

extern char **environ;

static char folder[64], path[96], store[112];

/* ---- fixture ---- */

static void
setup(void)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/check_raw-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/image", folder);
	(void)snprintf(store, sizeof(store), "file:%s", path);
	rawrig_start();
}

static void
close_volume(int rc)
{
	ck_assert_int_eq(volume_close(vol), rc);
	vol = NULL;
}

static void
teardown(void)
{
	if (vol)
		close_volume(0);
	rawrig_stop();
	(void)unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

static struct volume_spec
spec_of(uint64_t size, uint32_t block, bool write_cache)
{
	return (struct volume_spec){.name = "v",
				    .store = store,
				    .size = size,
				    .block_size = block,
				    .chunk_size = CHUNK,
				    .write_cache = write_cache};
}

/* the file is made, and opened as the only one */
static void
open_file(uint64_t size, uint32_t block, bool write_cache)
{
	struct volume_spec spec = spec_of(size, block, write_cache);
	struct errinfo info = {0};

	ck_assert_msg(!volume_create(&spec, loop, arena, &info), "%s", info.text);
	ck_assert_msg(!volume_open(&spec, loop, arena, &vol, &info), "%s", info.text);
}

static int
io(enum vol_op op, uint32_t flags, uint64_t offset, uint64_t length, void *buf)
{
	return volmodel_io(vol, op, flags, offset, length, buf);
}

static int
call(enum vol_op op, uint64_t offset, uint64_t length)
{
	return volume_call(&(struct vol_req){.vol = vol, .op = op, .offset = offset, .length = length});
}

static bool
described(const char *key)
{
	json_t *object = volume_describe(vol);
	bool yes;

	ck_assert_ptr_nonnull(object);
	yes = json_is_true(json_object_get(object, key));
	json_decref(object);
	return yes;
}

#define ck_model(m, rc) ck_assert_msg((rc) == 0, "%s", volmodel_error(m))

/* ---- against the model ---- */

static void
run_model(uint64_t size, uint32_t block, uint64_t seed)
{
	struct volmodel *m = volmodel_new(size, block, seed);
	struct volmodel_load load = {.nops = 700, .depth = 32},
			     dense = {.nops = 700, .depth = 8, .span = MIB / 4};

	ck_model(m, volmodel_run(m, vol, &load));
	ck_model(m, volmodel_run(m, vol, &dense));
	ck_model(m, volmodel_verify(m, vol));
	ck_model(m, volmodel_verify_map(m, vol));
	volmodel_free(m);
}

/* block size, write cache, io_uring or threads */
START_TEST(test_model)
{
	uint32_t block = _i & 1 ? 4096 : 512;

	if (_i & 4)
		setenv("LUNGATE_NO_URING", "1", 1);
	open_file(8 * MIB + block, block, _i & 2);
	run_model(8 * MIB + block, block, (uint64_t)_i);
	unsetenv("LUNGATE_NO_URING");
}
END_TEST

/* block sizes; io_uring or threads; a disk whose blocks are larger than the volume's */
START_TEST(test_or_write)
{
	char text[200] = "";

	if (_i == 4) {
		make_file(IMAGE, MIB, "");
		simfs_set_sector(fs, 4096);
		open_sim(512, true);
	} else {
		if (_i & 2)
			setenv("LUNGATE_NO_URING", "1", 1);
		open_file(MIB, _i & 1 ? 4096 : 512, true);
		unsetenv("LUNGATE_NO_URING");
	}
	ck_assert_msg(orrace_run(vol, 300, text, sizeof(text)) == 0, "%s", text);
}
END_TEST

START_TEST(test_model_sim)
{
	make_file(IMAGE, 4 * MIB, "");
	open_sim(_i & 1 ? 4096 : 512, _i & 2);
	ck_assert(described("direct"));
	run_model(4 * MIB, _i & 1 ? 4096 : 512, 100 + (uint64_t)_i);
}
END_TEST

static int
no_fallocate(struct vfs_file *file, int mode, uint64_t offset, uint64_t length)
{
	(void)file;
	(void)mode;
	(void)offset;
	(void)length;
	return -EOPNOTSUPP;
}

/* A disk with 4 KiB blocks under a volume with blocks of 512: neighbours in a block must not lose each other.
 * With and without hole punching: then zeroes are written, by the same path. */
START_TEST(test_large_blocks)
{
	static struct vfs_ops ops;
	struct volmodel *m = volmodel_new(MIB, 512, 9);
	struct volmodel_load load = {.nops = 1500, .depth = 48, .max_io = 16384, .max_unmap = 20000};

	ops = *simfs_vfs(fs)->ops;
	if (_i)
		ops.fallocate = no_fallocate;
	make_file(IMAGE, MIB, "");
	simfs_set_sector(fs, 4096);
	simfs_vfs(fs)->ops = &ops;
	open_sim(512, true);
	ck_assert(described("direct"));
	ck_assert_int_eq(vol->thin, !_i);
	ck_model(m, volmodel_run(m, vol, &load));
	ck_model(m, volmodel_verify(m, vol));
	volmodel_free(m);
}
END_TEST

/* a size that direct I/O cannot end at: the page cache serves */
START_TEST(test_odd_size)
{
	make_file(IMAGE, MIB + 512, "");
	simfs_set_sector(fs, 4096);
	open_sim(512, false);
	ck_assert(!described("direct"));
	run_model(MIB + 512, 512, 3);
}
END_TEST

START_TEST(test_short_of_memory)
{
	struct volmodel *m = volmodel_new(4 * MIB, 512, 4);
	struct volmodel_load load = {.nops = 400, .depth = 32, .max_io = 256 << 10};
	struct arena *large = arena;

	ck_assert_int_eq(arena_new(MIB, &arena), 0);
	make_file(IMAGE, 4 * MIB, "");
	open_sim(512, true);
	ck_model(m, volmodel_run(m, vol, &load));
	/* more than there is will never be there */
	{
		struct page **pages = calloc(512, sizeof(*pages));
		struct vol_req req = {
			.vol = vol, .op = VOL_READ, .length = 2 * MIB, .pages = pages, .npages = 512};

		ck_assert_int_eq(volume_call(&req), -ENOMEM);
		free(pages);
	}
	close_volume(0);
	arena_free(arena);
	arena = large;
	volmodel_free(m);
}
END_TEST

/* ---- durability ---- */

/* The power goes at some call; what was durable is there, and everything else is some version, whole. */
START_TEST(test_power_cut)
{
	bool write_cache = _i & 1;
	uint32_t block = _i & 2 ? 4096 : 512;
	struct volmodel *m = volmodel_new(2 * MIB, block, 11 + (uint64_t)_i);
	struct volmodel_load load = {.nops = 2000, .depth = 16, .max_io = 32768};

	make_file(IMAGE, 2 * MIB, "");
	/* a block is whole where the disk writes it as a whole */
	simfs_set_sector(fs, _i & 4 ? 4096 : block);
	for (unsigned round = 0; round < 12; round++) {
		int rc;

		open_sim(block, write_cache);
		ck_model(m, volmodel_verify(m, vol));
		simfs_cut_after(fs, 3 + round * 17);
		rc = volmodel_run(m, vol, &load);
		ck_assert_msg(rc == -EIO || rc == LG_EPOISONED, "%d: %s", rc, volmodel_error(m));
		ck_assert(simfs_is_off(fs));
		rc = volume_close(vol);
		ck_assert(rc == -EIO || rc == LG_EPOISONED);
		simfs_power_cut(fs, round * 31 + (unsigned)_i);
		open_sim(block, write_cache);
		ck_model(m, volmodel_verify_crash(m, vol));
		close_volume(0);
	}
	volmodel_free(m);
}
END_TEST

/* the same finds out a volume that does not sync */
START_TEST(test_power_cut_detects)
{
	static struct vfs_ops lie;
	struct volmodel_load load = {.nops = 200, .max_io = 32768};
	unsigned caught = 0;

	lie = *simfs_vfs(fs)->ops;
	lie.fsync = simfs_pretend_fsync;
	for (unsigned round = 0; round < 5; round++) {
		struct volmodel *m = volmodel_new(2 * MIB, 512, round);

		simfs_free(fs);
		fs = simfs_new();
		make_file(IMAGE, 2 * MIB, "");
		simfs_vfs(fs)->ops = &lie;
		open_sim(512, false);
		ck_model(m, volmodel_run(m, vol, &load));
		simfs_power_off(fs);
		close_volume(0);
		simfs_power_cut(fs, round);
		open_sim(512, false);
		caught += volmodel_verify_crash(m, vol) == -EBADMSG;
		close_volume(0);
		volmodel_free(m);
	}
	ck_assert_uint_eq(caught, 5);
}
END_TEST

START_TEST(test_poison)
{
	uint8_t buf[8192];

	make_file(IMAGE, MIB, "");
	open_sim(512, true);
	memset(buf, 5, sizeof(buf));
	ck_assert_int_eq(io(VOL_WRITE, 0, 0, 4096, buf), 0);
	simfs_fail_next(fs, SIMFS_FSYNC, -EIO, 0);
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), LG_EPOISONED);
	ck_assert_int_eq(atomic_load(&vol->health), LG_EPOISONED);
	/* the next fdatasync would succeed and prove nothing */
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), LG_EPOISONED);
	ck_assert_int_eq(io(VOL_WRITE, VOL_FUA, 0, 4096, buf), LG_EPOISONED);
	ck_assert_int_eq(io(VOL_WRITE, 0, 0, 4096, buf), LG_EPOISONED);
	ck_assert_int_eq(io(VOL_READ, 0, 0, 4096, buf), 0);
	ck_assert_uint_eq(buf[4095], 5);
	close_volume(LG_EPOISONED);
	/* a new look at the disk is a new start */
	open_sim(512, false);
	ck_assert_int_eq(io(VOL_WRITE, 0, 4096, 4096, buf), 0);
	simfs_fail_next(fs, SIMFS_FSYNC, -ENOSPC, 0);
	ck_assert_int_eq(io(VOL_WRITE, 0, 4096, 4096, buf), LG_EPOISONED);
	close_volume(LG_EPOISONED);
}
END_TEST

/* how many fdatasyncs: none for a clean volume, one for all that wait */
START_TEST(test_syncs)
{
	uint8_t buf[512] = {1};
	uint64_t n;

	make_file(IMAGE, MIB, "");
	open_sim(512, true);
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), 0);
	n = simfs_count(fs, SIMFS_FSYNC);
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), 0);
	ck_assert_uint_eq(simfs_count(fs, SIMFS_FSYNC), n);
	ck_assert_int_eq(io(VOL_WRITE, 0, 0, 512, buf), 0);
	ck_assert_uint_eq(simfs_count(fs, SIMFS_FSYNC), n);
	ck_assert_int_eq(io(VOL_WRITE, VOL_FUA, 512, 512, buf), 0);
	ck_assert_uint_eq(simfs_count(fs, SIMFS_FSYNC), n + 1);
	ck_assert_int_eq(io(VOL_READ, 0, 512, 512, buf), 0);
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), 0);
	ck_assert_uint_eq(simfs_count(fs, SIMFS_FSYNC), n + 1);
	close_volume(0);
	ck_assert_uint_eq(simfs_count(fs, SIMFS_FSYNC), n + 1);
}
END_TEST

/* ---- errors ---- */

static const struct vfs_ops *sim_ops;
static uint64_t bad_block;

static int64_t
preadv_bad(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	uint64_t n = 0;

	for (int i = 0; i < niov; i++)
		n += iov[i].iov_len;
	if (offset <= bad_block && bad_block < offset + n)
		return -EIO;
	return sim_ops->preadv(file, iov, niov, offset);
}

START_TEST(test_media_error)
{
	static struct vfs_ops ops;
	struct page *pages[16];
	struct vol_req req = {
		.op = VOL_READ, .offset = 512, .length = 60000 / 512 * 512, .pages = pages, .npages = 15};
	uint8_t buf[4096];

	sim_ops = simfs_vfs(fs)->ops;
	ops = *sim_ops;
	ops.preadv = preadv_bad;
	bad_block = 5 * 4096 + 1024;
	make_file(IMAGE, MIB, "");
	simfs_vfs(fs)->ops = &ops;
	open_sim(512, true);
	req.vol = vol;
	ck_assert_int_eq(volume_call(&req), -EIO);
	ck_assert_uint_eq(req.err_offset, 5 * 4096);
	bad_block = 600;
	ck_assert_int_eq(volume_call(&req), -EIO);
	ck_assert_uint_eq(req.err_offset, 512);
	ck_assert_int_eq(io(VOL_READ, 0, 4096, 4096, buf), 0);
	ck_assert_int_eq(io(VOL_COMPARE_WRITE, 0, 0, 2048, buf), -EIO);
	/* an error that does not come back is none */
	bad_block = UINT64_MAX;
	simfs_fail_next(fs, SIMFS_READ, -EIO, 0);
	ck_assert_int_eq(volume_call(&req), 0);
	pages_unref(pages, req.npages);
}
END_TEST

START_TEST(test_full_disk)
{
	static uint8_t buf[64 << 10];

	make_file(IMAGE, MIB, "");
	open_sim(512, true);
	memset(buf, 1, sizeof(buf));
	ck_assert_int_eq(io(VOL_WRITE, 0, 0, sizeof(buf), buf), 0);
	simfs_set_space(fs, simfs_used(fs) + 8192);
	ck_assert_int_eq(io(VOL_WRITE, 0, 65536, sizeof(buf), buf), -ENOSPC);
	ck_assert_int_eq(io(VOL_WRITE, 0, 65536, 8192, buf), 0);
	ck_assert_int_eq(io(VOL_WRITE, 0, 0, sizeof(buf), buf), 0);
	ck_assert_int_eq(call(VOL_ZERO, 512 << 10, 65536), -ENOSPC);
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), 0);
	ck_assert_int_eq(call(VOL_UNMAP, 0, 65536), 0);
	ck_assert_int_eq(io(VOL_WRITE, 0, 256 << 10, 32768, buf), 0);
}
END_TEST

static void
expect_open(const char *s, uint64_t size, int rc, const char *word)
{
	struct volume_spec spec = {.name = "v", .store = s, .size = size};
	struct errinfo info = {0};

	ck_assert_int_eq(volume_open(&spec, loop, arena, &vol, &info), rc);
	ck_assert_msg(strstr(info.text, word), "\"%s\" does not say \"%s\"", info.text, word);
	vol = NULL;
}

static void
expect_create(const char *s, uint64_t size, int rc, const char *word)
{
	struct volume_spec spec = {.name = "v", .store = s, .size = size};
	struct errinfo info = {0};

	ck_assert_int_eq(volume_create(&spec, loop, arena, &info), rc);
	ck_assert_msg(!rc || strstr(info.text, word), "\"%s\" does not say \"%s\"", info.text, word);
}

START_TEST(test_words)
{
	char dir_store[80], block_store[112];
	struct volume_spec spec;
	struct errinfo info;
	struct stat st;

	(void)snprintf(dir_store, sizeof(dir_store), "file:%s", folder);
	(void)snprintf(block_store, sizeof(block_store), "block:%s", path);
	expect_open(store, 0, -ENOENT, "create the volume");
	expect_open("file:relative", 0, LG_ECONFIG, "absolute");
	expect_open("file:/dev/null", 0, LG_ECONFIG, "not a file");
	expect_create(store, 0, LG_ECONFIG, "size");
	expect_create("/dev/there-is-no-such-disk", 0, -ENOENT, "check the path");
	expect_create(store, MIB, 0, "");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, MIB);
	ck_assert_int_eq(st.st_blocks, 0);
	ck_assert_uint_eq(st.st_mode & 077, 0);
	/* again: it is there, as it should be, or not */
	expect_create(store, MIB, 0, "");
	expect_create(store, 0, 0, "");
	expect_create(store, 2 * MIB, -EEXIST, "exists");
	expect_open(store, 2 * MIB, -EINVAL, "fewer");
	expect_open(block_store, 0, -ENOTBLK, "not a block device");
	expect_open(dir_store, 0, -EISDIR, folder);
	ck_assert_int_eq(truncate(path, 0), 0);
	expect_open(store, 0, -EINVAL, "empty");
	/* reading from it would wait for a writer */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	spec = spec_of(0, 512, false);
	spec.read_only = true;
	ck_assert_int_eq(volume_open(&spec, loop, arena, &vol, &info), LG_ECONFIG);
	ck_assert_ptr_nonnull(strstr(info.text, "not a file"));
}
END_TEST

START_TEST(test_exclusive)
{
	struct volume_spec spec = spec_of(0, 512, false);
	struct volume *second = NULL, *first;

	open_file(MIB, 512, false);
	expect_create(store, MIB, 0, "");
	first = vol;
	expect_open(store, 0, -EBUSY, "in use");
	spec.read_only = true;
	ck_assert_int_eq(volume_open(&spec, loop, arena, &second, NULL), -EBUSY);
	vol = first;
	close_volume(0);
	/* readers may share */
	ck_assert_int_eq(volume_open(&spec, loop, arena, &vol, NULL), 0);
	ck_assert_int_eq(volume_open(&spec, loop, arena, &second, NULL), 0);
	ck_assert_int_eq(volmodel_io(second, VOL_WRITE, 0, 0, 512, (uint8_t[512]){0}), -EROFS);
	ck_assert_int_eq(volmodel_io(second, VOL_READ, 0, 0, 512, (uint8_t[512]){0}), 0);
	ck_assert_int_eq(volume_call(&(struct vol_req){.vol = second, .op = VOL_FLUSH}), 0);
	ck_assert_int_eq(volume_close(second), 0);
}
END_TEST

START_TEST(test_cut_short)
{
	uint8_t buf[4096];

	open_file(MIB, 512, false);
	ck_assert_int_eq(truncate(path, MIB / 2), 0);
	ck_assert_int_eq(io(VOL_READ, 0, MIB / 2, 4096, buf), -EIO);
	ck_assert_int_eq(io(VOL_READ, 0, 0, 4096, buf), 0);
}
END_TEST

/* ---- holes, map, size ---- */

static uint64_t
blocks_of_file(void)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void
wait_allocated(uint64_t bytes)
{
	/* looked at twice a second; the test's own time limit ends it */
	while (atomic_load(&vol->allocated) != bytes)
		usleep(10000);
}

START_TEST(test_holes)
{
	static uint8_t buf[300000];
	struct chunk_info infos[8];
	struct vol_req map = {.op = VOL_MAP, .infos = infos, .max_infos = 8};
	char key[128];

	open_file(64 * MIB, 512, true);
	map.vol = vol;
	ck_assert_uint_eq(atomic_load(&vol->allocated), 0);
	memset(buf, 1, sizeof(buf));
	ck_assert_int_eq(io(VOL_WRITE, VOL_FUA, 3 * MIB + 4096, 128 << 10, buf), 0);
	ck_assert_int_eq(io(VOL_WRITE, VOL_FUA, 63 * MIB, 4096, buf), 0);
	ck_assert_int_eq(volume_call(&map), 0);
	ck_assert_uint_eq(map.ret_infos, 2);
	ck_assert_uint_eq(infos[0].index, 3);
	ck_assert_int_eq(infos[0].state, CHUNK_CLEAN);
	ck_assert_uint_eq(infos[0].allocated_bytes, 128 << 10);
	(void)snprintf(key, sizeof(key), "%s@%llu", path, 3 * MIB);
	ck_assert_str_eq(infos[0].key, key);
	ck_assert_uint_eq(infos[1].index, 63);
	ck_assert_uint_eq(map.ret_next_chunk, UINT64_MAX);
	map.max_infos = 1;
	ck_assert_int_eq(volume_call(&map), 0);
	ck_assert_uint_eq(map.ret_infos, 1);
	ck_assert_uint_eq(map.ret_next_chunk, 4);
	map.first_chunk = 4;
	map.end_chunk = 63;
	ck_assert_int_eq(volume_call(&map), 0);
	ck_assert_uint_eq(map.ret_infos, 0);
	wait_allocated(blocks_of_file());
	ck_assert_uint_ge(atomic_load(&vol->allocated), 132 << 10);
	ck_assert_int_eq(call(VOL_UNMAP, 0, 62 * MIB), 0);
	wait_allocated(blocks_of_file());
	ck_assert_uint_lt(atomic_load(&vol->allocated), 128 << 10);
	ck_assert_int_eq(io(VOL_READ, 0, 3 * MIB, 256 << 10, buf), 0);
	ck_assert(!buf[0] && !memcmp(buf, buf + 1, (256 << 10) - 1));
}
END_TEST

START_TEST(test_resize)
{
	struct volmodel *m = volmodel_new(4 * MIB, 512, 5);
	struct volmodel_load load = {.nops = 200};
	static const uint64_t sizes[] = {9 * MIB + 512, 3 * MIB + 1536, 5 * MIB};
	struct stat st;

	open_file(4 * MIB, 512, true);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ck_model(m, volmodel_run(m, vol, &load));
		ck_assert_int_eq(call(VOL_RESIZE, 0, sizes[i]), 0);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq((uint64_t)st.st_size, sizes[i]);
		volmodel_resize(m, sizes[i]);
		ck_model(m, volmodel_verify(m, vol));
	}
	volmodel_free(m);
}
END_TEST

/* a volume smaller than its file: what lies behind its end does not come to light when it grows */
START_TEST(test_smaller_than_file)
{
	struct volume_spec spec = spec_of(MIB, 512, true);
	static uint8_t buf[4096];
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	memset(buf, 9, sizeof(buf));
	ck_assert_int_eq(pwrite(fd, buf, sizeof(buf), MIB), 4096);
	ck_assert_int_eq(ftruncate(fd, 3 * MIB), 0);
	close(fd);
	ck_assert_int_eq(volume_open(&spec, loop, arena, &vol, NULL), 0);
	ck_assert_uint_eq(atomic_load(&vol->size), MIB);
	ck_assert_int_eq(io(VOL_READ, 0, MIB, 512, buf), LG_ERANGE);
	ck_assert_int_eq(call(VOL_RESIZE, 0, 2 * MIB), 0);
	ck_assert_int_eq(io(VOL_READ, 0, MIB, 4096, buf), 0);
	ck_assert(!buf[0] && !memcmp(buf, buf + 1, 4095));
}
END_TEST

START_TEST(test_delete)
{
	struct volume_spec spec = spec_of(MIB, 512, true);

	ck_assert_int_eq(volume_create(&spec, loop, arena, NULL), 0);
	ck_assert_int_eq(volume_delete(&spec, loop, false, NULL, NULL, NULL), 0);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(volume_delete(&spec, loop, true, NULL, NULL, NULL), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(volume_delete(&spec, loop, true, NULL, NULL, NULL), 0);
}
END_TEST

/* ---- a block device ---- */

static int
run(char *const argv[], char *out, size_t len)
{
	posix_spawn_file_actions_t actions;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	status = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	n = status ? 0 : read(fds[0], out, len - 1);
	close(fds[0]);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (status || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char device[64];

static void
detach(void)
{
	char *argv[] = {(char[]){"losetup"}, (char[]){"-d"}, device, NULL}, none[8];

	if (device[0])
		(void)run(argv, none, sizeof(none));
	device[0] = '\0';
}

/* with blocks of 512 bytes, and of 4 KiB under a volume of smaller ones */
START_TEST(test_device)
{
	char sector[8];
	char *attach[] = {(char[]){"losetup"}, (char[]){"-b"}, sector, (char[]){"-f"},
			  (char[]){"--show"},  path,           NULL};
	struct volume_spec spec = {.name = "v", .store = device, .chunk_size = CHUNK, .write_cache = true};
	struct errinfo info = {0};
	struct volume *second;
	int fd = open(path, O_CREAT | O_RDWR, 0600), rc, rc2 = 0;

	ck_assert_int_eq(ftruncate(fd, 4 * MIB), 0);
	close(fd);
	(void)snprintf(sector, sizeof(sector), "%d", _i ? 4096 : 512);
	if (geteuid() || run(attach, device, sizeof(device))) {
		device[0] = '\0';
		(void)fprintf(stderr, "test_device: no loop devices here, skipped\n");
		return;
	}
	rc = volume_open(&spec, loop, arena, &vol, &info);
	if (!rc)
		rc2 = volume_open(&spec, loop, arena, &second, &info);
	/* it goes when the last user closes it, also when this test dies */
	detach();
	ck_assert_msg(!rc, "%s", info.text);
	ck_assert_int_eq(rc2, -EBUSY);
	ck_assert_uint_eq(atomic_load(&vol->size), 4 * MIB);
	ck_assert(described("direct"));
	ck_assert(vol->thin);
	run_model(4 * MIB, 512, 8);
	ck_assert_int_eq(call(VOL_RESIZE, 0, 5 * MIB), -ENOSPC);
	ck_assert_int_eq(call(VOL_RESIZE, 0, 3 * MIB), 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("raw");
	TCase *tc = tcase_create("raw");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, test_model, 0, 8);
	tcase_add_loop_test(tc, test_model_sim, 0, 4);
	tcase_add_loop_test(tc, test_or_write, 0, 5);
	tcase_add_loop_test(tc, test_large_blocks, 0, 2);
	tcase_add_test(tc, test_odd_size);
	tcase_add_test(tc, test_short_of_memory);
	tcase_add_loop_test(tc, test_power_cut, 0, 6);
	tcase_add_test(tc, test_power_cut_detects);
	tcase_add_test(tc, test_poison);
	tcase_add_test(tc, test_syncs);
	tcase_add_test(tc, test_media_error);
	tcase_add_test(tc, test_full_disk);
	tcase_add_test(tc, test_words);
	tcase_add_test(tc, test_exclusive);
	tcase_add_test(tc, test_cut_short);
	tcase_add_test(tc, test_holes);
	tcase_add_test(tc, test_resize);
	tcase_add_test(tc, test_smaller_than_file);
	tcase_add_test(tc, test_delete);
	tcase_add_loop_test(tc, test_device, 0, 2);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
