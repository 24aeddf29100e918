/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real file system behind struct vfs_ops, and helpers over any vfs.
 *
 * Threads: any that may block; no state but the file's descriptor.
 * Failure: negative errno; a file that could not be opened leaves nothing behind.
 */
#include "common/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util.h"

#define IOV_WINDOW 64
#define DIRECT_ALIGN 512u

/* ---- files ------------------------------------------------------------- */

static int
open_retry(const char *path, int flags, mode_t mode)
{
	int fd;

	do {
		fd = open(path, flags | O_CLOEXEC, mode);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static int
file_open(struct vfs *vfs, const char *path, int flags, mode_t mode, struct vfs_file **ret)
{
	struct vfs_file *file = malloc(sizeof(*file));
	int fd;

	if (!file)
		return -ENOMEM;
	fd = open_retry(path, flags, mode);
	if (fd == -EINVAL && flags & O_DIRECT) {
		flags &= ~O_DIRECT;
		/* some file systems refuse after they made the name */
		fd = open_retry(path, flags & ~O_EXCL, mode);
	}
	if (fd < 0) {
		free(file);
		return fd;
	}
	*file = (struct vfs_file){.vfs = vfs, .fd = fd, .direct = flags & O_DIRECT};
	*ret = file;
	return 0;
}

static void
file_close(struct vfs_file *file)
{
	(void)close(file->fd); /* what must be durable was synced, with its errors seen */
	free(file);
}

/* iov without its first `skip` bytes, at most max entries of it: how many. */
static int
iov_window(const struct iovec *iov, int niov, uint64_t skip, struct iovec *window, int max)
{
	int n = 0;

	for (int i = 0; i < niov && n < max; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		window[n].iov_base = (char *)iov[i].iov_base + skip;
		window[n].iov_len = iov[i].iov_len - skip;
		skip = 0;
		n++;
	}
	return n;
}

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int niov, off_t offset);

/* Goes on after short transfers; less than all means end of file. */
static int64_t
transfer(struct vfs_file *file, transfer_fn *fn, const struct iovec *iov, int niov, uint64_t offset)
{
	struct iovec window[IOV_WINDOW];
	uint64_t moved = 0;

	if (offset > INT64_MAX)
		return -EINVAL;
	for (;;) {
		const struct iovec *part = iov;
		int npart = niov;
		ssize_t r;

		if (moved || niov > IOV_MAX) {
			part = window;
			npart = iov_window(iov, niov, moved, window, IOV_WINDOW);
		}
		if (!npart)
			return (int64_t)moved;
		r = fn(file->fd, part, npart, (off_t)(offset + moved));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		moved += (uint64_t)r;
		/* O_DIRECT cannot go on from an odd place, which is the end of the file anyway */
		if (!r || (file->direct && moved % DIRECT_ALIGN))
			return (int64_t)moved;
	}
}

static int64_t
file_preadv(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	return transfer(file, preadv, iov, niov, offset);
}

static int64_t
file_pwritev(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	return transfer(file, pwritev, iov, niov, offset);
}

static int
file_fsync(struct vfs_file *file, bool data_only)
{
	int r;

	/* EINTR is the one error after which the pages are still dirty */
	do {
		r = data_only ? fdatasync(file->fd) : fsync(file->fd);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static void
stat_convert(const struct stat *st, struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){
		.size = (uint64_t)st->st_size,
		.inode = (uint64_t)st->st_ino,
		.mtime_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
		.blocks = (uint64_t)st->st_blocks,
		.is_dir = S_ISDIR(st->st_mode),
	};
}

static int
file_fstat(struct vfs_file *file, struct vfs_stat *ret)
{
	struct stat st;

	if (fstat(file->fd, &st))
		return -errno;
	stat_convert(&st, ret);
	return 0;
}

static int
file_truncate(struct vfs_file *file, uint64_t size)
{
	int r;

	do {
		r = ftruncate(file->fd, (off_t)size);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int
file_fallocate(struct vfs_file *file, int mode, uint64_t offset, uint64_t length)
{
	int r;

	do {
		r = fallocate(file->fd, mode, (off_t)offset, (off_t)length);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int64_t
file_seek(struct vfs_file *file, uint64_t offset, int whence)
{
	off_t r = lseek(file->fd, (off_t)offset, whence);

	return r < 0 ? -errno : r;
}

static int
file_flock(struct vfs_file *file, int op)
{
	int r;

	do {
		r = flock(file->fd, op);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int
file_set_mtime(struct vfs_file *file, uint64_t mtime_ns)
{
	struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = (time_t)(mtime_ns / 1000000000u), .tv_nsec = (long)(mtime_ns % 1000000000u)},
	};

	return futimens(file->fd, times) ? -errno : 0;
}

/* ---- names ------------------------------------------------------------- */

static int
file_stat(struct vfs *vfs, const char *path, struct vfs_stat *ret)
{
	struct stat st;

	(void)vfs;
	if (stat(path, &st))
		return -errno;
	stat_convert(&st, ret);
	return 0;
}

static int
file_mkdir(struct vfs *vfs, const char *path, mode_t mode)
{
	(void)vfs;
	return mkdir(path, mode) ? -errno : 0;
}

static int
file_rename(struct vfs *vfs, const char *from, const char *to)
{
	(void)vfs;
	return rename(from, to) ? -errno : 0;
}

static int
file_link(struct vfs *vfs, const char *from, const char *to)
{
	(void)vfs;
	return link(from, to) ? -errno : 0;
}

static int
file_unlink(struct vfs *vfs, const char *path)
{
	(void)vfs;
	return unlink(path) ? -errno : 0;
}

static int
file_rmdir(struct vfs *vfs, const char *path)
{
	(void)vfs;
	return rmdir(path) ? -errno : 0;
}

static bool
entry_is_dir(DIR *dir, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return !fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
}

static int
file_readdir(struct vfs *vfs, const char *path, vfs_dirent_fn *fn, void *arg)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int r = 0;

	(void)vfs;
	if (!dir)
		return -errno;
	while (!r) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			r = -errno;
			break;
		}
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		r = fn(arg, entry->d_name, entry_is_dir(dir, entry));
	}
	closedir(dir);
	return r;
}

static int
file_fsync_dir(struct vfs *vfs, const char *path)
{
	int fd = open_retry(path, O_RDONLY | O_DIRECTORY, 0);
	int r;

	(void)vfs;
	if (fd < 0)
		return fd;
	do {
		r = fsync(fd);
	} while (r < 0 && errno == EINTR);
	r = r < 0 ? -errno : 0;
	close(fd);
	return r;
}

static const struct vfs_ops file_ops = {
	.open = file_open,
	.close = file_close,
	.preadv = file_preadv,
	.pwritev = file_pwritev,
	.fsync = file_fsync,
	.fstat = file_fstat,
	.truncate = file_truncate,
	.fallocate = file_fallocate,
	.seek = file_seek,
	.flock = file_flock,
	.set_mtime = file_set_mtime,
	.stat = file_stat,
	.mkdir = file_mkdir,
	.rename = file_rename,
	.link = file_link,
	.unlink = file_unlink,
	.rmdir = file_rmdir,
	.readdir = file_readdir,
	.fsync_dir = file_fsync_dir,
};

struct vfs *
vfs_posix(void)
{
	static struct vfs posix = {.ops = &file_ops};

	return &posix;
}

/* ---- helpers ----------------------------------------------------------- */

int
vfs_read_full(struct vfs_file *file, void *p, size_t n, uint64_t offset)
{
	struct iovec iov = {.iov_base = p, .iov_len = n};
	int64_t r = file->vfs->ops->preadv(file, &iov, 1, offset);

	if (r < 0)
		return (int)r;
	return (uint64_t)r == n ? 0 : -EIO;
}

int
vfs_write_full(struct vfs_file *file, const void *p, size_t n, uint64_t offset)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = n}; /* pwritev only reads it */
	int64_t r = file->vfs->ops->pwritev(file, &iov, 1, offset);

	if (r < 0)
		return (int)r;
	return (uint64_t)r == n ? 0 : -EIO;
}

/* The folder that holds path: malloc'd. */
static char *
parent_of(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len && path[len - 1] != '/')
		len--;
	if (!len)
		return strdup(".");
	while (len > 1 && path[len - 1] == '/')
		len--;
	return strndup(path, len);
}

int
vfs_sync_parent(struct vfs *vfs, const char *path)
{
	char *parent = parent_of(path);
	int r;

	if (!parent)
		return -ENOMEM;
	r = vfs->ops->fsync_dir(vfs, parent);
	free(parent);
	return r;
}

int
vfs_remove(struct vfs *vfs, const char *path)
{
	int r = vfs->ops->unlink(vfs, path);

	return r ? r : vfs_sync_parent(vfs, path);
}

static int
make_one(struct vfs *vfs, const char *path, mode_t mode)
{
	struct vfs_stat st;
	int r = vfs->ops->mkdir(vfs, path, mode);

	if (!r)
		return vfs_sync_parent(vfs, path);
	if (r != -EEXIST)
		return r;
	r = vfs->ops->stat(vfs, path, &st);
	if (!r && !st.is_dir)
		r = -ENOTDIR;
	return r;
}

int
vfs_mkdirs(struct vfs *vfs, const char *path, mode_t mode)
{
	char *copy = strdup(path);
	struct vfs_stat st;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	/* what is there already may lie in folders where we may not write: only look */
	if (!vfs->ops->stat(vfs, path, &st)) {
		free(copy);
		return st.is_dir ? 0 : -ENOTDIR;
	}
	for (char *p = copy + (*copy == '/'); *p && !r; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (vfs->ops->stat(vfs, copy, &st) || !st.is_dir)
			r = make_one(vfs, copy, mode);
		*p = '/';
	}
	if (!r)
		r = make_one(vfs, copy, mode);
	free(copy);
	return r;
}

int
vfs_slurp(struct vfs *vfs, const char *path, size_t max, char **ret, size_t *ret_len)
{
	struct vfs_file *file;
	struct vfs_stat st;
	char *text = NULL;
	struct iovec iov;
	int64_t n;
	int r = vfs->ops->open(vfs, path, O_RDONLY, 0, &file);

	if (r)
		return r;
	r = vfs->ops->fstat(file, &st);
	if (!r && st.size > max)
		r = -EFBIG;
	if (!r) {
		text = malloc(st.size + 1);
		r = text ? 0 : -ENOMEM;
	}
	if (!r) {
		iov = (struct iovec){.iov_base = text, .iov_len = st.size};
		n = st.size ? vfs->ops->preadv(file, &iov, 1, 0) : 0;
		r = n < 0 ? (int)n : 0;
	}
	vfs->ops->close(file);
	if (r) {
		free(text);
		return r;
	}
	text[n] = '\0';
	*ret = text;
	if (ret_len)
		*ret_len = (size_t)n;
	return 0;
}

#define TMP_MARK ".tmp-"
#define TMP_NONCE 8 /* hex digits */

bool
vfs_is_cut_off(const char *name)
{
	size_t len = strlen(name), tail = strlen(TMP_MARK) + TMP_NONCE;

	if (len <= tail)
		return false;
	name += len - tail;
	return !strncmp(name, TMP_MARK, strlen(TMP_MARK)) &&
	       strspn(name + strlen(TMP_MARK), "0123456789abcdef") == TMP_NONCE;
}

int
vfs_replace(struct vfs *vfs, const char *path, const void *p, size_t n, mode_t mode)
{
	struct vfs_file *file;
	size_t room = strlen(path) + sizeof(TMP_MARK) + TMP_NONCE;
	char *tmp = malloc(room);
	uint8_t nonce[TMP_NONCE / 2];
	int r;

	if (!tmp)
		return -ENOMEM;
	random_bytes(nonce, sizeof(nonce));
	snprintf(tmp, room, "%s" TMP_MARK "%02x%02x%02x%02x", path, nonce[0], nonce[1], nonce[2], nonce[3]);
	r = vfs->ops->open(vfs, tmp, O_WRONLY | O_CREAT | O_EXCL, mode, &file);
	if (r)
		goto out;
	r = vfs_write_full(file, p, n, 0);
	if (!r)
		r = vfs->ops->fsync(file, false);
	vfs->ops->close(file);
	if (!r)
		r = vfs->ops->rename(vfs, tmp, path);
	if (r)
		(void)vfs->ops->unlink(vfs, tmp); /* the first error is the one to report */
	else
		r = vfs_sync_parent(vfs, path);
out:
	free(tmp);
	return r;
}
