/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A loop, an arena, a simulated disk and a raw volume on it, with short names; for test programs alone, each has
 * its own rig.
 *
 * Threads: the test's own.
 */
#ifndef LUNGATE_TEST_LIB_RAWRIG_H
#define LUNGATE_TEST_LIB_RAWRIG_H

#include <check.h>
#include <fcntl.h>
#include <string.h>

#include "stores/raw/raw.h"
#include "test/lib/simfs.h"

#define MIB (1ull << 20)
#define IMAGE "/image" /* on the simulated disk */

static struct loop *loop;
static struct arena *arena;
static struct volume *vol;
static struct simfs *fs;

static inline void
rawrig_start(void)
{
	fs = simfs_new();
	ck_assert_int_eq(loop_pool_init(6), 0);
	ck_assert_int_eq(loop_new("test", 0, &loop), 0);
	ck_assert_int_eq(loop_start(loop), 0);
	ck_assert_int_eq(arena_new(32 * MIB, &arena), 0);
}

/* The volume is closed. */
static inline void
rawrig_stop(void)
{
	ck_assert_ptr_null(vol);
	loop_free(loop);
	loop_pool_fini();
	arena_free(arena);
	simfs_free(fs);
}

/* Durable, with the text at its beginning. */
static inline void
make_file(const char *path, uint64_t size, const char *text)
{
	struct vfs *vfs = simfs_vfs(fs);
	struct vfs_file *f;

	ck_assert_int_eq(vfs->ops->open(vfs, path, O_RDWR | O_CREAT, 0600, &f), 0);
	ck_assert_int_eq(vfs->ops->truncate(f, size), 0);
	ck_assert_int_eq(vfs_write_full(f, text, strlen(text), 0), 0);
	ck_assert_int_eq(vfs->ops->fsync(f, false), 0);
	ck_assert_int_eq(vfs->ops->fsync_dir(vfs, "/"), 0);
	vfs->ops->close(f);
}

/* IMAGE as a volume. */
static inline int
try_open(uint32_t block, bool write_cache, bool read_only, struct errinfo *info)
{
	struct volume_spec spec = {.name = "v",
				   .store = "file:" IMAGE,
				   .block_size = block,
				   .chunk_size = MIB,
				   .read_only = read_only,
				   .write_cache = write_cache};

	return raw_open_on(&spec, simfs_vfs(fs), loop, arena, &vol, info);
}

static inline void
open_sim(uint32_t block, bool write_cache)
{
	struct errinfo info = {0};

	ck_assert_msg(!try_open(block, write_cache, false, &info), "%s", info.text);
}

#endif
