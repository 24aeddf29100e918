/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The blocking file layer under the journal and the `dir` object store: the
 * few calls that they need, as a table, so that tests can put a disk under
 * them which loses or tears whatever was not synced (test/lib/simfs.h).
 *
 * Sync rules that users of this layer rely on, and the simulated disk enforces:
 * file data and size are durable after fsync/fdatasync of the file; a name (create,
 * link, rename, unlink, mkdir) is durable after fsync_dir of the directory that holds it.
 *
 * Errors: 0 or a negative errno.  Threads: any that may block.
 */
#ifndef LUNGATE_COMMON_VFS_H
#define LUNGATE_COMMON_VFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct vfs;
struct vfs_file;

struct vfs_stat {
	uint64_t size;
	uint64_t inode;
	uint64_t mtime_ns;
	uint64_t blocks;     /* of 512 bytes */
	bool is_dir;
};

/** Returns 0 to go on; anything else ends the walk and is returned by readdir. */
typedef int vfs_dirent_fn(void *arg, const char *name, bool is_dir);

struct vfs_ops {
	/** flags and mode as open(2); O_DIRECT is dropped where the file system refuses it. */
	int (*open)(struct vfs *vfs, const char *path, int flags, mode_t mode, struct vfs_file **ret);
	void (*close)(struct vfs_file *file);
	/** Bytes moved (short only at the end of file), or negative. */
	int64_t (*preadv)(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset);
	int64_t (*pwritev)(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset);
	int (*fsync)(struct vfs_file *file, bool data_only);
	int (*fstat)(struct vfs_file *file, struct vfs_stat *ret);
	int (*truncate)(struct vfs_file *file, uint64_t size);
	/** mode as fallocate(2): 0, or FALLOC_FL_* combinations. */
	int (*fallocate)(struct vfs_file *file, int mode, uint64_t offset, uint64_t length);
	/** Whence SEEK_DATA or SEEK_HOLE: offset, or negative (-ENXIO past the last data). */
	int64_t (*seek)(struct vfs_file *file, uint64_t offset, int whence);
	/** Advisory lock of the whole file as flock(2): LOCK_SH, LOCK_EX, LOCK_UN, | LOCK_NB. */
	int (*flock)(struct vfs_file *file, int op);
	/** Modification time, ns since 1970 (the dir store keeps a nonce in it); durable with a full fsync. */
	int (*set_mtime)(struct vfs_file *file, uint64_t mtime_ns);
	int (*stat)(struct vfs *vfs, const char *path, struct vfs_stat *ret);
	int (*mkdir)(struct vfs *vfs, const char *path, mode_t mode);
	int (*rename)(struct vfs *vfs, const char *from, const char *to);
	int (*link)(struct vfs *vfs, const char *from, const char *to);   /* -EEXIST when `to` is there */
	int (*unlink)(struct vfs *vfs, const char *path);
	int (*rmdir)(struct vfs *vfs, const char *path);
	int (*readdir)(struct vfs *vfs, const char *path, vfs_dirent_fn *fn, void *arg);
	int (*fsync_dir)(struct vfs *vfs, const char *path);
};

struct vfs {
	const struct vfs_ops *ops;
};

struct vfs_file {
	struct vfs *vfs;
	int fd;              /* -1 where there is none: then asynchronous I/O goes through the pool */
	bool direct;         /* O_DIRECT is in effect: 4 KiB aligned addresses, offsets, lengths */
};

/** The real thing. */
struct vfs *vfs_posix(void);

/** Helpers over any vfs: all of it, or an error (-EIO on a short read or write). */
int vfs_read_full(struct vfs_file *file, void *p, size_t n, uint64_t offset);
int vfs_write_full(struct vfs_file *file, const void *p, size_t n, uint64_t offset);
/** fsync of the directory that holds path: its name is there, or gone, for good. */
int vfs_sync_parent(struct vfs *vfs, const char *path);
/** Unlink for good. */
int vfs_remove(struct vfs *vfs, const char *path);
/** mkdir -p, each new name made durable. */
int vfs_mkdirs(struct vfs *vfs, const char *path, mode_t mode);
/** Whole small file (at most max bytes, NUL added, caller frees). */
int vfs_slurp(struct vfs *vfs, const char *path, size_t max, char **ret, size_t *ret_len);
/** Write, fsync, rename over path, fsync of the directory.  A crash may leave a file beside it: vfs_is_cut_off(). */
int vfs_replace(struct vfs *vfs, const char *path, const void *p, size_t n, mode_t mode);
/** Is this a name that vfs_replace() gives to what is not in place yet? */
bool vfs_is_cut_off(const char *name);

#endif
