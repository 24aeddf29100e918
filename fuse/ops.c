/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the operations of the protocol: which node, may it be done, and
 * who does it.  All run on a reader and must not block.
 */
#include "fuse/internal.h"

#include <linux/fuse.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/log.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

#define IMAGE_OPEN_FLAGS (FOPEN_DIRECT_IO | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES)
/* Not O_DIRECT: as on a disk, it goes around the page cache and promises nothing; fsync does. */
#define SYNC_FLAGS (O_SYNC | O_DSYNC)
#define MAX_BACKGROUND 256

static struct mount *
mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* The node, or the request is answered. */
static bool
find_node(fuse_req_t req, fuse_ino_t ino, struct node *ret)
{
	if (!tree_node(ino, ret))
		return true;
	fuse_reply_err(req, ENOENT);
	return false;
}

static bool
below_volume(enum node_kind kind)
{
	return kind == NODE_VOLUME || tree_types[kind].parent == NODE_VOLUME || kind == NODE_CHUNK_GROUP ||
	       kind == NODE_CHUNK;
}

static void
op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *mount = userdata;

	/* we have a way of our own to move data without copies (reader.c) */
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->max_write = min_of(conn->max_write, mount->max_io);
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
}

/* ---- names and attributes --------------------------------------------------- */

/* For nodes with no volume above them, vol is NULL and stays it. */
static void
entry_of_volume(struct mount *mount, fuse_req_t req, struct node node, struct volume *vol)
{
	if (!vol && below_volume(node.kind)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	reply_entry(mount, req, node, vol, NULL, 0);
	if (vol)
		volume_unref(vol);
}

static void
lookup_volume(struct mount *mount, fuse_req_t req, const char *name)
{
	struct volume *vol = registry_get(mount->registry, name);
	struct node node = {NODE_VOLUME, 0, 0};
	int rc = vol ? names_intern(mount->volumes, 0, name, vol->uuid, true, &node.number) : -ENOENT;

	if (!rc) {
		entry_of_volume(mount, req, node, vol);
		return;
	}
	if (vol)
		volume_unref(vol);
	fuse_reply_err(req, err_errno(rc));
}

static void
op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *mount = mount_of(req);
	struct node dir, node;

	if (!find_node(req, parent, &dir))
		return;
	node = (struct node){tree_fixed_child(dir.kind, name), dir.number, 0};
	if (node.kind != NODE_KINDS) {
		entry_of_volume(mount, req, node, below_volume(node.kind) ? node_volume(mount, node) : NULL);
		return;
	}
	switch (dir.kind) {
	case NODE_VOLUMES:
		lookup_volume(mount, req, name);
		break;
	case NODE_TARGETS:
	case NODE_TARGET:
	case NODE_SESSIONS:
		target_lookup(mount, req, dir, name);
		break;
	case NODE_CHUNKS:
	case NODE_CHUNK_GROUP:
		chunk_lookup(mount, req, dir, name);
		break;
	default:
		fuse_reply_err(req, ENOENT);
	}
}

static void
forget(struct mount *mount, fuse_ino_t ino, uint64_t n)
{
	struct node node;

	/* every other number is computed, or stays for the life of the mount */
	if (!tree_node(ino, &node) && node.kind == NODE_SESSION)
		names_forget(mount->sessions, node.index, n);
}

static void
op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget(mount_of(req), ino, n);
	fuse_reply_none(req);
}

static void
op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(mount_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void
getattr(struct mount *mount, fuse_req_t req, struct node node)
{
	struct volume *vol = below_volume(node.kind) ? node_volume(mount, node) : NULL;

	if (!vol && below_volume(node.kind))
		fuse_reply_err(req, ENOENT);
	else
		reply_attr(mount, req, node, vol, NULL, 0);
	if (vol)
		volume_unref(vol);
}

static void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *mount = mount_of(req);
	struct node node;

	(void)fi;
	if (!find_node(req, ino, &node))
		return;
	if (node.kind == NODE_CHUNK)
		chunk_getattr(mount, req, node);
	else if (node.kind == NODE_LUN)
		target_getattr(mount, req, node);
	else
		getattr(mount, req, node);
}

/* Nothing can be set.  That the image has the size that it has is no change. */
static void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	struct mount *mount = mount_of(req);
	struct volume *vol;
	struct node node;
	bool same;

	(void)fi;
	if (!find_node(req, ino, &node))
		return;
	vol = node.kind == NODE_IMAGE ? node_volume(mount, node) : NULL;
	same = vol && to_set == FUSE_SET_ATTR_SIZE && st->st_size >= 0 && (uint64_t)st->st_size == vol->size;
	if (vol)
		volume_unref(vol);
	if (same)
		getattr(mount, req, node);
	else
		fuse_reply_err(req, EPERM);
}

static void
op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct node node;

	if (!find_node(req, ino, &node))
		return;
	if (node.kind == NODE_LUN)
		target_readlink(mount_of(req), req, node);
	else
		fuse_reply_err(req, EINVAL);
}

static void
op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct node node;

	if (!find_node(req, ino, &node))
		return;
	if (node.kind == NODE_CHUNK)
		chunk_getxattr(mount_of(req), req, node, name, size);
	else
		fuse_reply_err(req, ENODATA);
}

static void
op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct node node;

	if (!find_node(req, ino, &node))
		return;
	if (node.kind == NODE_CHUNK)
		chunk_listxattr(mount_of(req), req, node, size);
	else if (size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_xattr(req, 0);
}

static void
op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *mount = mount_of(req);
	struct statvfs st = {.f_bsize = PAGE_SIZE_BYTES, .f_frsize = PAGE_SIZE_BYTES, .f_namemax = NAME_MAX};
	struct volume **vols;
	uint64_t size = 0, used = 0;
	size_t n;
	int rc = registry_list(mount->registry, &vols, &n);

	(void)ino;
	if (rc) {
		fuse_reply_err(req, err_errno(rc));
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t s = vols[i]->size, a = vols[i]->allocated;

		size += s;
		used += min_of(a, s);
		volume_unref(vols[i]);
	}
	free(vols);
	st.f_blocks = size / PAGE_SIZE_BYTES;
	st.f_bfree = st.f_bavail = (size - used) / PAGE_SIZE_BYTES;
	fuse_reply_statfs(req, &st);
}

/* ---- files ------------------------------------------------------------------ */

static void
open_data(struct mount *mount, fuse_req_t req, struct node node, const struct fuse_file_info *fi)
{
	bool write = (fi->flags & O_ACCMODE) != O_RDONLY;
	struct volume *vol = node_volume(mount, node);
	struct handle *handle;

	if (!vol || (write && vol->read_only)) {
		fuse_reply_err(req, vol ? EROFS : ENOENT);
		if (vol)
			volume_unref(vol);
		return;
	}
	handle = handle_new(mount, node, vol);
	if (!handle) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	handle->sync = fi->flags & SYNC_FLAGS;
	reply_open(handle, req, IMAGE_OPEN_FLAGS);
}

static void
op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *mount = mount_of(req);
	struct node node;

	if (!find_node(req, ino, &node))
		return;
	if (!tree_types[node.kind].writable && ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC))
		fuse_reply_err(req, EACCES);
	else if (tree_types[node.kind].form == FORM_DATA)
		open_data(mount, req, node, fi);
	else if (tree_types[node.kind].form == FORM_TEXT)
		text_open(mount, req, node);
	else
		fuse_reply_err(req, EISDIR);
}

static void
op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *mount = mount_of(req);
	struct handle *handle = handle_of(fi);
	uint64_t chunk;

	(void)ino;
	if (off < 0) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	switch (handle->node.kind) {
	case NODE_IMAGE:
		image_read(mount, req, handle, 0, UINT64_MAX, size, (uint64_t)off, 0);
		break;
	case NODE_CHUNK:
		chunk = handle->vol->chunk_size;
		image_read(mount, req, handle, handle->node.index * chunk,
			   (handle->node.index + UINT64_C(1)) * chunk, size, (uint64_t)off, VOL_NO_READAHEAD);
		break;
	default:
		text_read(mount, req, handle, size, (uint64_t)off);
	}
}

static void
op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off, struct fuse_file_info *fi)
{
	struct handle *handle = handle_of(fi);

	(void)ino;
	if (off < 0 || handle->node.kind != NODE_IMAGE)
		fuse_reply_err(req, off < 0 ? EINVAL : EBADF);
	else
		image_write(mount_of(req), req, handle, bufv->buf[0].size, (uint64_t)off,
			    fi->flags & SYNC_FLAGS);
}

static void
op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct handle *handle = handle_of(fi);

	(void)ino;
	(void)datasync;
	if (handle->node.kind == NODE_IMAGE)
		image_flush(mount_of(req), req, handle);
	else
		fuse_reply_err(req, 0);
}

static void
op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct mount *mount = mount_of(req);
	struct handle *handle = handle_of(fi);
	uint64_t end = (uint64_t)off + (uint64_t)len;

	(void)ino;
	if (off < 0 || len <= 0)
		fuse_reply_err(req, EINVAL);
	else if (handle->node.kind != NODE_IMAGE)
		fuse_reply_err(req, EBADF);
	else if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		image_erase(mount, req, handle, VOL_UNMAP, (uint64_t)off, (uint64_t)len);
	else if (mode == FALLOC_FL_ZERO_RANGE && end > handle->vol->size)
		fuse_reply_err(req, ENOSPC);
	else if ((mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE)
		image_erase(mount, req, handle, VOL_ZERO, (uint64_t)off, (uint64_t)len);
	else
		fuse_reply_err(req, EOPNOTSUPP);
}

static void
op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct handle *handle = handle_of(fi);
	uint64_t size;

	(void)ino;
	if (off < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(req, off < 0 ? ENXIO : EINVAL);
		return;
	}
	if (handle->node.kind == NODE_IMAGE) {
		image_seek(mount_of(req), req, handle, (uint64_t)off, whence);
		return;
	}
	size = handle->vol ? chunk_bytes(handle->vol, handle->node.index) : handle->text.size;
	if ((uint64_t)off >= size)
		fuse_reply_err(req, ENXIO);
	else
		fuse_reply_lseek(req, whence == SEEK_DATA ? off : (off_t)size);
}

static void
op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	handle_put(handle_of(fi));
	fuse_reply_err(req, 0);
}

/* ---- directories --------------------------------------------------------------- */

static void
op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *handle;
	struct node node;

	(void)fi;
	if (!find_node(req, ino, &node))
		return;
	if (tree_types[node.kind].form != FORM_DIR) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	handle = handle_new(mount_of(req), node, NULL);
	if (handle)
		reply_open(handle, req, 0);
	else
		fuse_reply_err(req, ENOMEM);
}

static void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *mount = mount_of(req);
	struct handle *handle = handle_of(fi);

	(void)ino;
	if (off < 0)
		fuse_reply_err(req, EINVAL);
	else if (handle->node.kind == NODE_CHUNKS || handle->node.kind == NODE_CHUNK_GROUP)
		chunk_dir_read(mount, req, handle, size, (uint64_t)off);
	else
		dir_read(mount, req, handle, size, (uint64_t)off);
}

/* ---- what cannot be done ---------------------------------------------------------- */

static void
op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)dev;
	fuse_reply_err(req, EPERM);
}

static void
op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	op_mknod(req, parent, name, mode, 0);
}

static void
op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	(void)fi;
	op_mknod(req, parent, name, mode, 0);
}

static void
op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link;
	op_mknod(req, parent, name, 0, 0);
}

static void
op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	op_mknod(req, parent, name, 0, 0);
}

static void
op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to, const char *to_name,
	  unsigned flags)
{
	(void)to;
	(void)to_name;
	(void)flags;
	op_mknod(req, parent, name, 0, 0);
}

static void
op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	op_mknod(req, parent, name, 0, 0);
}

static void
op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	(void)value;
	(void)size;
	(void)flags;
	op_mknod(req, ino, name, 0, 0);
}

static void
op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	op_mknod(req, ino, name, 0, 0);
}

/* Left out on purpose: flush (ENOSYS once, then the kernel does without it), access (default_permissions),
 * locks (the kernel keeps them), ioctl, poll, copy_file_range (the kernel falls back to reads and writes). */
const struct fuse_lowlevel_ops mount_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_unlink,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write_buf = op_write_buf,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_release,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.create = op_create,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
};
