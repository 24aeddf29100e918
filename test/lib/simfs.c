/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated disk of simfs.h.
 *
 * Every file has two images, `now` (what calls see) and `disk` (what is durable), and a list of the changes
 * between them; names have the same (simtree.h).  A sync applies changes to `disk` and forgets them; a power
 * cut applies some of them and makes `now` a copy of `disk`.
 *
 * Invariant: now = disk + all changes in order.
 *
 * Threads: any, under the one mutex; readdir calls back without it.
 */
#include "test/lib/simfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/util.h"
#include "test/lib/simtree.h"

#define FILE_MAX (64ull << 30)

struct simfs {
	struct vfs vfs;
	pthread_mutex_t lock;
	pthread_cond_t unlocked; /* a flock was given back, or the power went */
	struct simtree tree;
	uint64_t generation; /* bumped by a power cut: older files are stale */
	uint64_t files_open;
	uint64_t space;
	uint32_t sector;
	bool off;
	uint64_t mutations, cut_at;
	uint64_t counts[SIMFS_OP_COUNT];
	struct {
		int err;
		unsigned after;
	} fault[SIMFS_OP_COUNT];
};

struct simfile {
	struct vfs_file file;
	struct simfs *fs;
	struct siminode *inode;
	uint64_t generation;
	int flags;
	int locked; /* LOCK_SH, LOCK_EX or 0 */
};

/* ---- the gate that every call passes ---- */

static struct simfs *
fs_of(struct vfs *vfs)
{
	return container_of(vfs, struct simfs, vfs);
}

static int
enter(struct simfs *fs, enum simfs_op op)
{
	int err;

	pthread_mutex_lock(&fs->lock);
	fs->counts[op]++;
	if (fs->off)
		return -EIO;
	err = fs->fault[op].err;
	if (err && !fs->fault[op].after--) {
		fs->fault[op].err = 0;
		return err;
	}
	return 0;
}

static int
enter_file(struct vfs_file *file, enum simfs_op op, struct simfile **ret)
{
	struct simfile *f = container_of(file, struct simfile, file);
	int rc = enter(f->fs, op);

	*ret = f;
	return rc ? rc : f->generation != f->fs->generation ? -EIO : 0;
}

/* this call changes something: true = the power goes now, its effect will not be synced */
static bool
mutate(struct simfs *fs)
{
	fs->mutations++;
	if (fs->mutations == fs->cut_at) {
		fs->off = true;
		pthread_cond_broadcast(&fs->unlocked);
	}
	return fs->off;
}

static int64_t
leave(struct simfs *fs, int64_t rc)
{
	if (fs->off)
		rc = -EIO;
	pthread_mutex_unlock(&fs->lock);
	return rc;
}

/* ---- files ---- */

static uint64_t
used_blocks(const struct simfs *fs)
{
	uint64_t n = 0;

	for (const struct siminode *ino = fs->tree.inodes; ino; ino = ino->next)
		if (ino->links || ino->opens)
			n += ino->now.allocated;
	return n;
}

/* room for what [offset, end) lacks? */
static int
reserve(const struct simfs *fs, const struct siminode *ino, uint64_t offset, uint64_t end)
{
	uint64_t need = 0;

	if (end > FILE_MAX)
		return -EFBIG;
	if (fs->space == UINT64_MAX)
		return 0;
	for (uint64_t i = offset / SIM_BLOCK; i * SIM_BLOCK < end; i++)
		need += !simimage_allocated(&ino->now, i);
	return need && used_blocks(fs) + need > fs->space / SIM_BLOCK ? -ENOSPC : 0;
}

static struct simchange *
change_add(struct siminode *ino, enum simchange_kind kind, int mode, uint64_t offset, uint64_t length,
	   size_t data)
{
	struct simchange *c = sim_must(malloc(sizeof(*c) + data));

	*c = (struct simchange){.kind = kind, .mode = mode, .offset = offset, .length = length};
	*ino->tail = c;
	ino->tail = &c->next;
	ino->mtime = sim_tick();
	return c;
}

static void
file_sync(struct siminode *ino, bool data_only)
{
	struct simchange *c, *next;
	bool behind_doomed = false;

	ino->tail = &ino->changes;
	for (c = ino->changes; c; c = next) {
		next = c->next;
		behind_doomed |= c->doomed;
		if (!behind_doomed) {
			simimage_apply(&ino->disk, c);
			free(c);
			continue;
		}
		c->synced = !c->doomed;
		*ino->tail = c;
		ino->tail = &c->next;
	}
	*ino->tail = NULL;
	if (!data_only)
		ino->mtime_disk = ino->mtime;
}

static int
truncate_now(struct simfs *fs, struct siminode *ino, uint64_t size)
{
	if (size > FILE_MAX)
		return -EFBIG;
	mutate(fs);
	simimage_apply(&ino->now, change_add(ino, SIMCHANGE_TRUNCATE, 0, size, 0, 0));
	return 0;
}

static int
open_inode(struct simfs *fs, const char *path, int flags, struct siminode **ret)
{
	char name[SIM_NAME_BUF];
	struct siminode *dir, *ino;
	int rc = simtree_walk(&fs->tree, path, &dir, name, sizeof(name));

	if (rc)
		return rc;
	if (flags & O_APPEND || (flags & O_TMPFILE) == O_TMPFILE)
		return -EINVAL;
	if (!dir->is_dir)
		return -ENOTDIR;
	ino = name[0] ? simtable_get(&dir->names_now, name) : dir;
	if (!ino && !(flags & O_CREAT))
		return -ENOENT;
	if (ino && flags & O_CREAT && flags & O_EXCL)
		return -EEXIST;
	if (ino && ino->is_dir && ((flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT))
		return -EISDIR;
	if (flags & O_DIRECTORY && !(ino && ino->is_dir))
		return -ENOTDIR;
	if (!ino) {
		mutate(fs);
		ino = simtree_inode_new(&fs->tree, false);
		simtree_change(&fs->tree, dir, name, ino, NULL, NULL);
		*ret = ino;
		return 0;
	}
	*ret = simtree_inode_ref(ino);
	return flags & O_TRUNC && !ino->is_dir ? truncate_now(fs, ino, 0) : 0;
}

static int
sim_open(struct vfs *vfs, const char *path, int flags, mode_t mode, struct vfs_file **ret)
{
	struct simfs *fs = fs_of(vfs);
	struct siminode *ino = NULL;
	struct simfile *f;
	int rc = enter(fs, SIMFS_OPEN);

	(void)mode;
	if (!rc)
		rc = open_inode(fs, path, flags, &ino);
	if (rc || fs->off) {
		simtree_inode_unref(&fs->tree, ino);
		return (int)leave(fs, rc);
	}
	f = sim_must(calloc(1, sizeof(*f)));
	f->file = (struct vfs_file){.vfs = vfs, .fd = -1, .direct = flags & O_DIRECT};
	f->fs = fs;
	f->inode = ino;
	f->generation = fs->generation;
	f->flags = flags;
	ino->opens++;
	fs->files_open++;
	*ret = &f->file;
	return (int)leave(fs, 0);
}

static void
lock_drop(struct simfile *f)
{
	if (f->generation != f->fs->generation)
		return;
	if (f->locked == LOCK_EX)
		f->inode->exclusive = NULL;
	if (f->locked == LOCK_SH)
		f->inode->shared--;
	f->locked = 0;
	pthread_cond_broadcast(&f->fs->unlocked);
}

static void
sim_close(struct vfs_file *file)
{
	struct simfile *f = container_of(file, struct simfile, file);
	struct simfs *fs = f->fs;

	pthread_mutex_lock(&fs->lock);
	lock_drop(f);
	f->inode->opens--;
	fs->files_open--;
	simtree_inode_unref(&fs->tree, f->inode);
	pthread_mutex_unlock(&fs->lock);
	free(f);
}

static int
check_io(const struct simfile *f, const struct iovec *iov, int niov, uint64_t offset, uint64_t *ret_n)
{
	uint64_t n = 0, low = offset;

	if (niov < 0)
		return -EINVAL;
	if (f->inode->is_dir)
		return -EISDIR;
	for (int i = 0; i < niov; i++) {
		n += iov[i].iov_len;
		low |= iov[i].iov_len | (uintptr_t)iov[i].iov_base;
	}
	*ret_n = n;
	return f->file.direct && low % f->fs->sector ? -EINVAL : 0;
}

static int64_t
sim_preadv(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	struct simfile *f;
	const struct simimage *im;
	int rc = enter_file(file, SIMFS_READ, &f);
	uint64_t n, left;

	if (!rc)
		rc = (f->flags & O_ACCMODE) == O_WRONLY ? -EBADF : check_io(f, iov, niov, offset, &n);
	if (rc)
		return leave(f->fs, rc);
	im = &f->inode->now;
	n = offset < im->size ? min_of(n, im->size - offset) : 0;
	left = n;
	for (int i = 0; left; i++) {
		uint64_t k = min_of(left, iov[i].iov_len);

		simimage_read(im, iov[i].iov_base, k, offset);
		offset += k;
		left -= k;
	}
	return leave(f->fs, (int64_t)n);
}

static int64_t
sim_pwritev(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	struct simfile *f;
	struct simchange *c;
	int rc = enter_file(file, SIMFS_WRITE, &f);
	uint64_t n, at = 0;

	if (!rc)
		rc = (f->flags & O_ACCMODE) == O_RDONLY ? -EBADF : check_io(f, iov, niov, offset, &n);
	if (!rc)
		rc = reserve(f->fs, f->inode, offset, offset + n);
	if (rc)
		return leave(f->fs, rc);
	mutate(f->fs);
	c = change_add(f->inode, SIMCHANGE_WRITE, 0, offset, n, n);
	for (int i = 0; i < niov; i++) {
		if (iov[i].iov_len)
			memcpy(c->data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	simimage_apply(&f->inode->now, c);
	if (f->flags & O_DSYNC && !f->fs->off)
		file_sync(f->inode, true);
	return leave(f->fs, (int64_t)n);
}

static int
sim_fsync(struct vfs_file *file, bool data_only)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_FSYNC, &f);

	if (!rc && !mutate(f->fs))
		file_sync(f->inode, data_only);
	else if (rc && f->generation == f->fs->generation)
		for (struct simchange *c = f->inode->changes; c; c = c->next)
			c->doomed = !c->synced;
	return (int)leave(f->fs, rc);
}

static void
fill_stat(const struct siminode *ino, struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){
		.size = ino->now.size,
		.inode = ino->number,
		.mtime_ns = ino->mtime,
		.blocks = ino->now.allocated * (SIM_BLOCK / 512),
		.is_dir = ino->is_dir,
	};
}

static int
sim_fstat(struct vfs_file *file, struct vfs_stat *ret)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_STAT, &f);

	if (!rc)
		fill_stat(f->inode, ret);
	return (int)leave(f->fs, rc);
}

static int
sim_truncate(struct vfs_file *file, uint64_t size)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_TRUNCATE, &f);

	if (!rc)
		rc = (f->flags & O_ACCMODE) == O_RDONLY || f->inode->is_dir
			     ? -EINVAL
			     : truncate_now(f->fs, f->inode, size);
	return (int)leave(f->fs, rc);
}

static int
sim_fallocate(struct vfs_file *file, int mode, uint64_t offset, uint64_t length)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_FALLOCATE, &f);
	int what = mode & ~FALLOC_FL_KEEP_SIZE;

	if (!rc && ((f->flags & O_ACCMODE) == O_RDONLY || f->inode->is_dir))
		rc = -EBADF;
	if (!rc && (!length || offset + length < offset))
		rc = -EINVAL;
	if (!rc && what && what != FALLOC_FL_ZERO_RANGE &&
	    mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		rc = -EOPNOTSUPP;
	if (!rc && what != FALLOC_FL_PUNCH_HOLE)
		rc = reserve(f->fs, f->inode, offset, offset + length);
	if (!rc) {
		mutate(f->fs);
		simimage_apply(&f->inode->now,
			       change_add(f->inode, SIMCHANGE_FALLOCATE, mode, offset, length, 0));
	}
	return (int)leave(f->fs, rc);
}

static int64_t
sim_seek(struct vfs_file *file, uint64_t offset, int whence)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_STAT, &f);
	const struct simimage *im = &f->inode->now;
	uint64_t at = offset;

	if (!rc && whence != SEEK_DATA && whence != SEEK_HOLE)
		rc = -EINVAL;
	if (!rc && offset >= im->size)
		rc = -ENXIO;
	if (rc)
		return leave(f->fs, rc);
	while (at < im->size) {
		if (simimage_has_data(im, at / SIM_BLOCK) == (whence == SEEK_DATA))
			break;
		at = align_down(at, SIM_BLOCK) + SIM_BLOCK;
	}
	if (at >= im->size)
		return leave(f->fs, whence == SEEK_DATA ? -ENXIO : (int64_t)im->size);
	return leave(f->fs, (int64_t)at);
}

static bool
lock_free(const struct simfile *f, int op)
{
	return !f->inode->exclusive && (op == LOCK_SH || !f->inode->shared);
}

static int
sim_flock(struct vfs_file *file, int op)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_FLOCK, &f), what = op & ~LOCK_NB;

	if (!rc && what != LOCK_SH && what != LOCK_EX && what != LOCK_UN)
		rc = -EINVAL;
	if (rc)
		return (int)leave(f->fs, rc);
	lock_drop(f);
	if (what == LOCK_UN)
		return (int)leave(f->fs, 0);
	while (!lock_free(f, what)) {
		if (op & LOCK_NB)
			return (int)leave(f->fs, -EWOULDBLOCK);
		pthread_cond_wait(&f->fs->unlocked, &f->fs->lock);
		if (f->fs->off || f->generation != f->fs->generation)
			return (int)leave(f->fs, -EIO);
	}
	f->locked = what;
	if (what == LOCK_EX)
		f->inode->exclusive = f;
	else
		f->inode->shared++;
	return (int)leave(f->fs, 0);
}

static int
sim_set_mtime(struct vfs_file *file, uint64_t mtime_ns)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_SET_MTIME, &f);

	if (!rc)
		f->inode->mtime = mtime_ns;
	return (int)leave(f->fs, rc);
}

/* ---- names from outside ---- */

static int
sim_stat(struct vfs *vfs, const char *path, struct vfs_stat *ret)
{
	struct simfs *fs = fs_of(vfs);
	struct siminode *ino;
	int rc = enter(fs, SIMFS_STAT);

	if (!rc)
		rc = simtree_lookup(&fs->tree, path, &ino);
	if (!rc)
		fill_stat(ino, ret);
	return (int)leave(fs, rc);
}

static int
mkdir_locked(struct simfs *fs, const char *path)
{
	char name[SIM_NAME_BUF];
	struct siminode *dir, *ino;
	int rc = simtree_walk(&fs->tree, path, &dir, name, sizeof(name));

	if (rc)
		return rc;
	if (!dir->is_dir)
		return -ENOTDIR;
	if (!name[0] || simtable_get(&dir->names_now, name))
		return -EEXIST;
	mutate(fs);
	ino = simtree_inode_new(&fs->tree, true);
	simtree_change(&fs->tree, dir, name, ino, NULL, NULL);
	simtree_inode_unref(&fs->tree, ino);
	return 0;
}

static int
sim_mkdir(struct vfs *vfs, const char *path, mode_t mode)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_MKDIR);

	(void)mode;
	return (int)leave(fs, rc ? rc : mkdir_locked(fs, path));
}

static int
move_locked(struct simfs *fs, const char *from, const char *to, bool link)
{
	char from_name[SIM_NAME_BUF], to_name[SIM_NAME_BUF];
	struct siminode *from_dir, *to_dir, *ino, *old;
	int rc = simtree_walk(&fs->tree, from, &from_dir, from_name, sizeof(from_name));

	if (!rc)
		rc = simtree_walk(&fs->tree, to, &to_dir, to_name, sizeof(to_name));
	if (rc)
		return rc;
	if (!from_dir->is_dir || !to_dir->is_dir)
		return -ENOTDIR;
	ino = from_name[0] ? simtable_get(&from_dir->names_now, from_name) : NULL;
	old = to_name[0] ? simtable_get(&to_dir->names_now, to_name) : to_dir;
	if (!ino)
		return -ENOENT;
	if (link && old)
		return -EEXIST;
	if (ino->is_dir && link)
		return -EPERM;
	if (old == ino)
		return 0;
	if (ino->is_dir && (old || from_dir != to_dir))
		return old ? -EEXIST : -ENOTSUP;
	if (old && old->is_dir)
		return -EISDIR;
	mutate(fs);
	simtree_change(&fs->tree, to_dir, to_name, ino, link ? NULL : from_dir, from_name);
	return 0;
}

static int
sim_rename(struct vfs *vfs, const char *from, const char *to)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_RENAME);

	return (int)leave(fs, rc ? rc : move_locked(fs, from, to, false));
}

static int
sim_link(struct vfs *vfs, const char *from, const char *to)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_LINK);

	return (int)leave(fs, rc ? rc : move_locked(fs, from, to, true));
}

static int
remove_locked(struct simfs *fs, const char *path, bool dir_wanted)
{
	char name[SIM_NAME_BUF];
	struct siminode *dir, *ino;
	int rc = simtree_walk(&fs->tree, path, &dir, name, sizeof(name));

	if (rc)
		return rc;
	if (!dir->is_dir)
		return -ENOTDIR;
	ino = name[0] ? simtable_get(&dir->names_now, name) : NULL;
	if (!ino)
		return name[0] ? -ENOENT : -EBUSY;
	if (ino->is_dir != dir_wanted)
		return dir_wanted ? -ENOTDIR : -EISDIR;
	if (dir_wanted && ino->names_now.n)
		return -ENOTEMPTY;
	mutate(fs);
	simtree_change(&fs->tree, dir, name, NULL, NULL, NULL);
	return 0;
}

static int
sim_unlink(struct vfs *vfs, const char *path)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_UNLINK);

	return (int)leave(fs, rc ? rc : remove_locked(fs, path, false));
}

static int
sim_rmdir(struct vfs *vfs, const char *path)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_RMDIR);

	return (int)leave(fs, rc ? rc : remove_locked(fs, path, true));
}

static int
sim_readdir(struct vfs *vfs, const char *path, vfs_dirent_fn *fn, void *arg)
{
	struct simfs *fs = fs_of(vfs);
	struct siminode *dir;
	struct {
		char *text;
		bool is_dir;
	} *list = NULL;
	size_t n = 0, step = 1;
	int rc = enter(fs, SIMFS_READDIR);

	if (!rc)
		rc = simtree_lookup(&fs->tree, path, &dir);
	if (!rc && !dir->is_dir)
		rc = -ENOTDIR;
	if (!rc) {
		n = dir->names_now.n;
		list = sim_must(calloc(n + 1, sizeof(*list)));
		/* any order but the sorted one: every second, then the others */
		step = n > 2 ? (n | 1) / 2 : 1;
		for (size_t i = 0; i < n; i++) {
			const struct simname *name = &dir->names_now.names[n - 1 - i];

			list[i].text = sim_must(strdup(name->text));
			list[i].is_dir = name->inode->is_dir;
		}
	}
	rc = (int)leave(fs, rc);
	for (size_t start = 0; start < step; start++)
		for (size_t i = start; i < n; i += step)
			if (!rc)
				rc = fn(arg, list[i].text, list[i].is_dir);
	for (size_t i = 0; i < n; i++)
		free(list[i].text);
	free(list);
	return rc;
}

static int
sim_fsync_dir(struct vfs *vfs, const char *path)
{
	struct simfs *fs = fs_of(vfs);
	struct siminode *dir;
	int rc = enter(fs, SIMFS_FSYNC_DIR);

	if (!rc)
		rc = simtree_lookup(&fs->tree, path, &dir);
	if (!rc && !dir->is_dir)
		rc = -ENOTDIR;
	if (!rc && !mutate(fs))
		simtree_sync_dir(&fs->tree, dir);
	return (int)leave(fs, rc);
}

static const struct vfs_ops sim_ops = {
	.open = sim_open,
	.close = sim_close,
	.preadv = sim_preadv,
	.pwritev = sim_pwritev,
	.fsync = sim_fsync,
	.fstat = sim_fstat,
	.truncate = sim_truncate,
	.fallocate = sim_fallocate,
	.seek = sim_seek,
	.flock = sim_flock,
	.set_mtime = sim_set_mtime,
	.stat = sim_stat,
	.mkdir = sim_mkdir,
	.rename = sim_rename,
	.link = sim_link,
	.unlink = sim_unlink,
	.rmdir = sim_rmdir,
	.readdir = sim_readdir,
	.fsync_dir = sim_fsync_dir,
};

/* ---- the power ---- */

static void
inode_cut(struct siminode *ino, uint32_t sector, uint64_t *seed)
{
	for (const struct simchange *c = ino->changes; c; c = c->next) {
		unsigned fate = sim_random(seed) % 3;

		if (c->synced) {
			simimage_apply(&ino->disk, c);
			continue;
		}
		if (c->kind != SIMCHANGE_WRITE) {
			if (fate)
				simimage_apply(&ino->disk, c);
			continue;
		}
		if (fate == 0)
			simimage_apply(&ino->disk, c);
		else if (fate == 1)
			simimage_tear(&ino->disk, c, sector, seed);
		if (fate && sim_random(seed) % 2)
			ino->disk.size = max_of(ino->disk.size, c->offset + c->length);
	}
	if (sim_random(seed) & 1)
		ino->mtime_disk = ino->mtime;
	siminode_forget_changes(ino);
	simimage_copy(&ino->now, &ino->disk);
	ino->mtime = ino->mtime_disk;
	ino->shared = 0;
	ino->exclusive = NULL;
}

void
simfs_power_cut(struct simfs *fs, uint64_t seed)
{

	pthread_mutex_lock(&fs->lock);
	simtree_power_cut(&fs->tree, &seed);
	for (struct siminode *ino = fs->tree.inodes; ino; ino = ino->next)
		inode_cut(ino, fs->sector, &seed);
	fs->generation++;
	fs->off = false;
	fs->cut_at = 0;
	pthread_cond_broadcast(&fs->unlocked);
	pthread_mutex_unlock(&fs->lock);
}

void
simfs_cut_after(struct simfs *fs, uint64_t n)
{
	pthread_mutex_lock(&fs->lock);
	fs->cut_at = n ? fs->mutations + n : 0;
	pthread_mutex_unlock(&fs->lock);
}

void
simfs_power_off(struct simfs *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->off = true;
	pthread_cond_broadcast(&fs->unlocked);
	pthread_mutex_unlock(&fs->lock);
}

bool
simfs_is_off(struct simfs *fs)
{
	bool off;

	pthread_mutex_lock(&fs->lock);
	off = fs->off;
	pthread_mutex_unlock(&fs->lock);
	return off;
}

uint64_t
simfs_count(struct simfs *fs, enum simfs_op op)
{
	uint64_t n;

	pthread_mutex_lock(&fs->lock);
	n = fs->counts[op];
	pthread_mutex_unlock(&fs->lock);
	return n;
}

uint64_t
simfs_mutations(struct simfs *fs)
{
	uint64_t n;

	pthread_mutex_lock(&fs->lock);
	n = fs->mutations;
	pthread_mutex_unlock(&fs->lock);
	return n;
}

void
simfs_set_space(struct simfs *fs, uint64_t bytes)
{
	pthread_mutex_lock(&fs->lock);
	fs->space = bytes;
	pthread_mutex_unlock(&fs->lock);
}

void
simfs_set_sector(struct simfs *fs, uint32_t bytes)
{
	pthread_mutex_lock(&fs->lock);
	fs->sector = bytes;
	pthread_mutex_unlock(&fs->lock);
}

uint64_t
simfs_used(struct simfs *fs)
{
	uint64_t n;

	pthread_mutex_lock(&fs->lock);
	n = used_blocks(fs) * SIM_BLOCK;
	pthread_mutex_unlock(&fs->lock);
	return n;
}

void
simfs_fail_next(struct simfs *fs, enum simfs_op op, int err, unsigned after)
{
	pthread_mutex_lock(&fs->lock);
	fs->fault[op].err = err;
	fs->fault[op].after = after;
	pthread_mutex_unlock(&fs->lock);
}

struct simfs *
simfs_new(void)
{
	struct simfs *fs = sim_must(calloc(1, sizeof(*fs)));

	fs->vfs.ops = &sim_ops;
	pthread_mutex_init(&fs->lock, NULL);
	pthread_cond_init(&fs->unlocked, NULL);
	fs->space = UINT64_MAX;
	fs->sector = 512;
	simtree_init(&fs->tree);
	return fs;
}

void
simfs_free(struct simfs *fs)
{
	if (!fs)
		return;
	assert(!fs->files_open);
	simtree_fini(&fs->tree);
	pthread_cond_destroy(&fs->unlocked);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}

struct simfs *
simfs_copy(struct simfs *from, const char *path)
{
	struct simfs *fs = simfs_new();
	struct siminode *dir, *to;
	int rc = simtree_lookup(&from->tree, path, &dir);

	if (!rc)
		rc = mkdir_locked(fs, path);
	if (!rc)
		rc = simtree_lookup(&fs->tree, path, &to);
	assert(!rc);
	for (size_t i = 0; i < dir->names_now.n; i++) {
		const struct simname *name = &dir->names_now.names[i];
		struct siminode *ino;

		if (name->inode->is_dir)
			continue;
		ino = simtree_inode_new(&fs->tree, false);
		simtree_change(&fs->tree, to, name->text, ino, NULL, NULL);
		simimage_copy(&ino->now, &name->inode->now);
		simimage_copy(&ino->disk, &name->inode->now);
		simtree_inode_unref(&fs->tree, ino);
	}
	simtree_sync_dir(&fs->tree, fs->tree.root);
	simtree_sync_dir(&fs->tree, to);
	return fs;
}

struct vfs *
simfs_vfs(struct simfs *fs)
{
	return &fs->vfs;
}

int
simfs_pretend_fsync(struct vfs_file *file, bool data_only)
{
	(void)file;
	(void)data_only;
	return 0;
}
