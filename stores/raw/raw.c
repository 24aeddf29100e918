/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A raw volume: a file or a block device, byte for byte.  Here: making, opening, closing, deleting.
 *
 * Beside a file lies the slot of its atomic writes while it is open: raw_atomic.c.
 *
 * States: open -> (raw_close) closing: waits until nothing is under way -> fdatasync, close on the pool ->
 * closed.
 *
 * I/O is O_DIRECT where the file system has it and the sizes fit, so that memory stays bounded and a flush is
 * a flush of the disk alone; else it goes through the page cache.  An exclusive flock (shared for a read-only
 * volume), and O_EXCL for devices, keep a second daemon, and a mount, off.
 *
 * Threads: create, open, delete block; the rest as raw_int.h.
 * Failure: a volume whose fdatasync failed stays poisoned until it is opened anew.
 */
#include "stores/raw/raw.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "stores/raw/raw_int.h"

#define FILE_MODE 0600

/* ---- the URL ---- */

/* The path behind the prefix; *ret_device when it must be a block device. */
static int
parse_store(const struct volume_spec *spec, const char **ret_path, bool *ret_device, struct errinfo *info)
{
	static const struct {
		const char *prefix;
		bool keep, device;
	} forms[] = {{"file:", false, false}, {"block:", false, true}, {"/dev/", true, true}};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		size_t n = strlen(forms[i].prefix);

		if (strncmp(spec->store, forms[i].prefix, n) != 0)
			continue;
		*ret_path = forms[i].keep ? spec->store : spec->store + n;
		*ret_device = forms[i].device;
		if ((*ret_path)[0] == '/')
			return 0;
	}
	return err_set(info, LG_ECONFIG, "volume %s: store \"%s\": use an absolute path", spec->name,
		       spec->store);
}

static int
explain(struct errinfo *info, int rc, const char *name, const char *what, const char *path)
{
	static const struct {
		int err;
		const char *advice;
	} table[] = {
		{-ENOENT, "check the path, or create the volume, as 'lungate serve --create-missing' does"},
		{-EACCES, "give the user of lungate read and write permission on it"},
		{-EPERM, "give the user of lungate read and write permission on it"},
		{-EROFS, "remount its file system read-write, or make the volume read-only"},
		{-EBUSY, "somebody else uses it: unmount it, or stop the other program"},
		{-ENOSPC, "free space on its file system"},
		{-EFBIG, "its file system cannot hold a file that large"},
		{-ENODEV, "the device is not there any more"},
		{-ENXIO, "the device is not there any more"},
	};
	const char *advice = "check the disk and the kernel's log";

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].err == rc)
			advice = table[i].advice;
	return err_set(info, rc, "volume %s: %s %s: %s; %s", name, what, path, err_text(rc), advice);
}

/* ---- create, delete ---- */

static int
make_file(struct vfs *vfs, const char *path, uint64_t size)
{
	struct vfs_file *file;
	int rc;

	raw_slot_remove(vfs, path); /* a write to a file that is not there any more */
	rc = vfs->ops->open(vfs, path, O_RDWR | O_CREAT | O_EXCL, FILE_MODE, &file);
	if (rc)
		return rc;
	rc = vfs->ops->truncate(file, size);
	if (!rc)
		rc = vfs->ops->fsync(file, false);
	vfs->ops->close(file);
	if (!rc)
		rc = vfs_sync_parent(vfs, path);
	if (rc)
		(void)vfs->ops->unlink(vfs, path); /* the first error is the one to report */
	return rc;
}

int
raw_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info)
{
	struct vfs *vfs = vfs_posix();
	struct vfs_stat st;
	const char *path;
	bool device;
	int rc = plain_spec_check(spec, info);

	(void)loop;
	(void)arena;
	if (!rc)
		rc = parse_store(spec, &path, &device, info);
	if (rc)
		return rc;
	rc = vfs->ops->stat(vfs, path, &st);
	if (rc && rc != -ENOENT)
		return explain(info, rc, spec->name, "look at", path);
	if (rc && device)
		return err_set(info, rc, "volume %s: there is no device %s; check the path", spec->name,
			       path);
	if (rc && !spec->size)
		return err_set(info, LG_ECONFIG, "volume %s: %s does not exist; give a size to create it",
			       spec->name, path);
	if (rc) {
		rc = make_file(vfs, path, spec->size);
		if (rc == -ENOENT)
			return err_set(
				info, rc,
				"volume %s: there is no directory for %s; make it first: mkdir -p, or mount "
				"what belongs there",
				spec->name, path);
		return rc ? explain(info, rc, spec->name, "create", path) : 0;
	}
	if (!device && st.is_dir)
		return err_set(info, -EISDIR,
			       "volume %s: %s is a directory; name a file in it, or use dir:%s", spec->name,
			       path, path);
	if (!device && spec->size && spec->size != st.size)
		return err_set(
			info, -EEXIST,
			"volume %s: %s exists and has %llu bytes, not %llu; give no size to use it as it is",
			spec->name, path, (unsigned long long)st.size, (unsigned long long)spec->size);
	spec->found = true;
	return 0;
}

int
raw_delete(const struct volume_spec *spec, bool files, struct errinfo *info)
{
	struct vfs *vfs = vfs_posix();
	const char *path;
	bool device;
	int rc = parse_store(spec, &path, &device, info);

	if (rc || device || !files)
		return rc;
	raw_slot_remove(vfs, path);
	rc = vfs_remove(vfs, path);
	return rc && rc != -ENOENT ? explain(info, rc, spec->name, "delete", path) : 0;
}

/* ---- close ---- */

static void
close_run(struct loop_work *work)
{
	struct raw *raw = container_of(work, struct raw, close_work);
	const struct vfs_ops *ops = raw->file->vfs->ops;

	raw->close_status = atomic_load(&raw->vol.health);
	if (!raw->close_status && raw->dirty && !raw->vol.read_only)
		raw->close_status = ops->fsync(raw->file, true);
	raw_slot_close(raw, !raw->close_status);
	ops->close(raw->file);
	raw->file = NULL;
}

static void
close_done(struct loop_work *work)
{
	struct raw *raw = container_of(work, struct raw, close_work);

	raw->closed(raw->closed_arg, raw->close_status);
}

void
raw_try_close(struct raw *raw)
{
	if (!raw->closing || !raw_idle(raw))
		return;
	raw->closing = false;
	loop_timer_stop(&raw->stat_timer);
	raw->close_work.run = close_run;
	raw->close_work.done = close_done;
	loop_offload(raw->vol.loop, &raw->close_work);
}

static void
raw_close(struct volume *vol, void (*done)(void *arg, int status), void *arg)
{
	struct raw *raw = raw_of(vol);

	raw->closing = true;
	raw->closed = done;
	raw->closed_arg = arg;
	raw_try_close(raw);
}

static void
raw_destroy(struct volume *vol)
{
	struct raw *raw = raw_of(vol);
	struct raw_op *op;

	while ((op = raw->free_ops)) {
		raw->free_ops = op->next;
		free(op->iov);
		free(op);
	}
	if (raw->file) {
		raw_slot_close(raw, false);
		raw->file->vfs->ops->close(raw->file);
	}
	free(raw->slot.path);
	free(raw->path);
	free(raw);
}

static void
raw_describe(struct volume *vol, json_t *object)
{
	struct raw *raw = raw_of(vol);

	(void)json_object_set_new(object, "direct", json_boolean(raw->file->direct));
	(void)json_object_set_new(object, "disk_engine", json_string(disk_engine(vol->loop)));
}

static const struct vol_ops raw_ops = {
	.kind = "raw",
	.submit = raw_submit,
	.describe = raw_describe,
	.close = raw_close,
	.destroy = raw_destroy,
};

/* ---- open ---- */

/* The smallest unit that direct I/O of this file takes, tried out; 0 when there is none up to a page. */
static uint32_t
probe_align(struct vfs_file *file)
{
	uint8_t *buf = aligned_alloc(PAGE_SIZE_BYTES, 2 * PAGE_SIZE_BYTES);
	uint32_t found = 0;

	for (uint32_t unit = 512; buf && !found && unit <= PAGE_SIZE_BYTES; unit *= 2) {
		struct iovec iov = {buf + unit, unit};

		if (file->vfs->ops->preadv(file, &iov, 1, unit) == unit)
			found = unit;
	}
	free(buf);
	return found;
}

static int
reopen_buffered(struct raw *raw, int flags)
{
	struct vfs *vfs = raw->file->vfs;

	vfs->ops->close(raw->file);
	raw->file = NULL;
	return vfs->ops->open(vfs, raw->path, flags & ~O_DIRECT, 0, &raw->file);
}

static int
file_size(struct raw *raw, uint64_t *ret)
{
	struct vfs_stat st;
	int rc;

	if (raw->device)
		return raw_device_size(raw, ret);
	rc = raw->file->vfs->ops->fstat(raw->file, &st);
	*ret = st.size;
	return rc;
}

static int
check_kind(const struct raw *raw, const struct volume_spec *spec, mode_t mode, struct errinfo *info)
{
	if (raw->device ? S_ISBLK(mode) : S_ISREG(mode))
		return 0;
	return err_set(info, raw->device ? -ENOTBLK : LG_ECONFIG, "volume %s: %s is not a %s; use %s:%s",
		       spec->name, raw->path, raw->device ? "block device" : "file",
		       S_ISBLK(mode) ? "block" : "file", raw->path);
}

/* open(2) of a FIFO would wait for somebody at its other end. */
static int
check_path(const struct raw *raw, const struct vfs *vfs, const struct volume_spec *spec, struct errinfo *info)
{
	struct stat st;

	if (vfs != vfs_posix() || stat(raw->path, &st) || !S_ISFIFO(st.st_mode))
		return 0;
	return check_kind(raw, spec, st.st_mode, info);
}

static int
check_file(const struct raw *raw, const struct volume_spec *spec, struct errinfo *info)
{
	struct stat st;

	if (raw->file->fd < 0) /* a simulated file */
		return 0;
	if (fstat(raw->file->fd, &st))
		return explain(info, -errno, spec->name, "look at", raw->path);
	return check_kind(raw, spec, st.st_mode, info);
}

static int
open_file(struct raw *raw, struct vfs *vfs, const struct volume_spec *spec, uint64_t *ret_bytes,
	  struct errinfo *info)
{
	int flags = (spec->read_only ? O_RDONLY : O_RDWR) | O_DIRECT |
		    (raw->device && !spec->read_only ? O_EXCL : 0);
	int rc = check_path(raw, vfs, spec, info);

	if (rc)
		return rc;
	rc = vfs->ops->open(vfs, raw->path, flags, 0, &raw->file);
	if (rc)
		return explain(info, rc, spec->name, "open", raw->path);
	rc = check_file(raw, spec, info);
	if (rc)
		return rc;
	rc = file_size(raw, ret_bytes);
	raw->align = 1;
	if (!rc && raw->file->direct) {
		uint32_t unit = probe_align(raw->file);

		if (unit && *ret_bytes % unit == 0)
			raw->align = unit;
		else
			rc = reopen_buffered(raw, flags);
	}
	if (rc)
		return explain(info, rc, spec->name, "open", raw->path);
	rc = vfs->ops->flock(raw->file, (spec->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB);
	if (rc == -EWOULDBLOCK)
		return err_set(
			info, -EBUSY,
			"volume %s: %s is in use (flock), by another volume or another process; stop it, or use another file",
			spec->name, raw->path);
	return rc ? explain(info, rc, spec->name, "lock", raw->path) : 0;
}

/* From sysfs; partitions have it one level up. */
static bool
device_discards(const struct raw *raw)
{
	static const char *const levels[] = {"", "../"};
	struct stat st;
	bool yes = false;

	if (fstat(raw->file->fd, &st))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(levels) && !yes; i++) {
		char path[96], *text;

		(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/discard_max_bytes",
			       major(st.st_rdev), minor(st.st_rdev), levels[i]);
		/* files of sysfs claim a page and hold a number */
		if (vfs_slurp(vfs_posix(), path, 8192, &text, NULL))
			continue;
		yes = strtoull(text, NULL, 10) > 0;
		free(text);
	}
	return yes;
}

/* Does it give space back?  A hole behind the end of the file changes nothing. */
static bool
is_thin(const struct raw *raw, uint64_t bytes)
{
	if (raw->device)
		return device_discards(raw);
	return raw->vol.read_only ||
	       !raw->file->vfs->ops->fallocate(raw->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					       align_up(bytes, PAGE_SIZE_BYTES), PAGE_SIZE_BYTES);
}

static int
volume_size(const struct volume_spec *spec, const struct raw *raw, uint64_t bytes, uint64_t *ret,
	    struct errinfo *info)
{
	uint32_t block = spec->block_size ? spec->block_size : 512;

	*ret = spec->size ? spec->size : align_down(bytes, block);
	if (!*ret)
		return err_set(info, -EINVAL, "volume %s: %s is empty; give it a size with truncate(1)",
			       spec->name, raw->path);
	if (*ret > bytes)
		return err_set(
			info, -EINVAL,
			"volume %s: %s has %llu bytes, fewer than the %llu of the volume; it was cut short, or is "
			"not the right one",
			spec->name, raw->path, (unsigned long long)bytes, (unsigned long long)*ret);
	return 0;
}

static int
set_up(struct raw *raw, struct vfs *vfs, const struct volume_spec *spec, struct loop *loop,
       struct arena *arena, struct errinfo *info)
{
	uint64_t bytes, size;
	uint32_t unit;
	struct vfs_stat st;
	int rc = open_file(raw, vfs, spec, &bytes, info);

	if (!rc)
		rc = volume_size(spec, raw, bytes, &size, info);
	if (!rc)
		rc = plain_volume_init(&raw->vol, &raw_ops, spec, size, loop, arena, info);
	if (!rc)
		rc = raw_slot_open(raw, bytes, info);
	if (rc)
		return rc;
	raw->clear_align = 1;
	if (raw->device && !ioctl(raw->file->fd, BLKSSZGET, &unit))
		raw->clear_align = unit;
	raw->vol.thin = is_thin(raw, bytes);
	raw_io_init(raw);
	raw_admin_init(raw);
	if (raw->device)
		atomic_store(&raw->vol.allocated, size);
	else if (!vfs->ops->fstat(raw->file, &st))
		atomic_store(&raw->vol.allocated, st.blocks * 512);
	return 0;
}

int
raw_open_on(const struct volume_spec *spec, struct vfs *vfs, struct loop *loop, struct arena *arena,
	    struct volume **ret, struct errinfo *info)
{
	struct raw *raw = calloc(1, sizeof(*raw));
	const char *path;
	int rc = raw ? parse_store(spec, &path, &raw->device, info)
		     : err_set(info, -ENOMEM, "volume %s: no memory", spec->name);

	if (!rc) {
		raw->path = strdup(path);
		rc = raw->path ? set_up(raw, vfs, spec, loop, arena, info)
			       : err_set(info, -ENOMEM, "volume %s: no memory", spec->name);
	}
	if (rc) {
		if (raw)
			raw_destroy(&raw->vol);
		return rc;
	}
	*ret = &raw->vol;
	return 0;
}

int
raw_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
	 struct errinfo *info)
{
	return raw_open_on(spec, vfs_posix(), loop, arena, ret, info);
}
