/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A simulated disk with a file system on it, behind struct vfs_ops and
 * wholly in memory, that keeps what was synced and nothing else for sure.
 *
 * What a power cut does (simfs_power_cut):
 *   - every unsynced data write of a file is kept, dropped or torn (any subset of its sectors), each
 *     independently; unsynced truncates and fallocates are kept or dropped; a file may have grown although its
 *     new bytes were lost (they read as zeroes);
 *   - every unsynced name (create, link, unlink, mkdir, rmdir) is kept or dropped, each independently;
 *     a rename is atomic: the old state or the new one.  After fsync_dir of the new name's directory alone the
 *     old name may still be there;
 *   - all open files are stale: -EIO; their locks are gone.
 * A failed fsync (simfs_fail_next) leaves what it should have synced unsynced for good, as Linux does: a later fsync
 * that succeeds does not cover it.
 *
 * It is as unkind as real ones: inode numbers are reused at once, mtimes tick in steps of 4 ms, readdir is unordered.
 * O_DIRECT is honoured: unaligned I/O is -EINVAL.  Directories are renamed within theirs, to a new name
 * (else -ENOTSUP, -EEXIST).  Paths: from the root, no
 * ".."; there is nothing but "/" in the beginning.
 *
 * Threads: any; one mutex.  flock() blocks as the real one does, among open files of this simfs.
 */
#ifndef LUNGATE_TEST_LIB_SIMFS_H
#define LUNGATE_TEST_LIB_SIMFS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/vfs.h"

struct simfs;

enum simfs_op {
	SIMFS_OPEN,
	SIMFS_READ,
	SIMFS_WRITE,
	SIMFS_FSYNC,      /* fsync and fdatasync */
	SIMFS_TRUNCATE,
	SIMFS_FALLOCATE,
	SIMFS_STAT,       /* stat and fstat */
	SIMFS_MKDIR,
	SIMFS_RENAME,
	SIMFS_LINK,
	SIMFS_UNLINK,
	SIMFS_RMDIR,
	SIMFS_READDIR,
	SIMFS_FSYNC_DIR,
	SIMFS_FLOCK,
	SIMFS_SET_MTIME,
	SIMFS_OP_COUNT,
};

struct simfs *simfs_new(void);
/** All files must be closed; asserts it. */
void simfs_free(struct simfs *fs);
/** Another disk with the files of this folder, all of it durable; blocks are shared until they are written.  While
 *  nobody uses either. */
struct simfs *simfs_copy(struct simfs *from, const char *dir);
struct vfs *simfs_vfs(struct simfs *fs);

/** The power goes and comes back: the state is now one of those that a disk may have kept.
 *  Same history and seed, same result. */
void simfs_power_cut(struct simfs *fs, uint64_t seed);

/** The n-th mutating call from now on (1 = the next) has its effect unsynced, and it and every later call fail with
 *  -EIO, until simfs_power_cut().  0 = never.  Mutating: write, fsync, truncate, fallocate, an open that
 *  creates or truncates, mkdir, rename, link, unlink, rmdir, fsync_dir. */
void simfs_cut_after(struct simfs *fs, uint64_t n);
/** From now on every call fails with -EIO, until simfs_power_cut(). */
void simfs_power_off(struct simfs *fs);
bool simfs_is_off(struct simfs *fs);

/** Calls seen so far: of one kind; mutating ones of all kinds. */
uint64_t simfs_count(struct simfs *fs, enum simfs_op op);
uint64_t simfs_mutations(struct simfs *fs);

/** Room for data in bytes, what is there included; 4 KiB granular.  UINT64_MAX = no limit, the default. */
void simfs_set_space(struct simfs *fs, uint64_t bytes);
/** What the disk writes as a whole: 512 (the default) or 4096 bytes.  Direct I/O must be aligned to it. */
void simfs_set_sector(struct simfs *fs, uint32_t bytes);
/** Bytes that files occupy. */
uint64_t simfs_used(struct simfs *fs);

/** Let `after` calls of this kind pass, then fail one with err (negative).  One fault a kind at a time; err 0 disarms. */
void simfs_fail_next(struct simfs *fs, enum simfs_op op, int err, unsigned after);

/** In the place of vfs_ops.fsync: a disk that only says that it syncs. */
int simfs_pretend_fsync(struct vfs_file *file, bool data_only);

#endif
