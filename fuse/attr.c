/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: what stat(2) says, and the answers that carry it.
 *
 * Names that may appear and vanish, and sizes that may change, are not cached
 * by the kernel at all (time-outs of 0): a volume made or dropped at run
 * time, a trimmed chunk or a grown image show at once, and there is nothing to invalidate.
 */
#include "fuse/internal.h"

#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuse/render.h"

struct volume *
node_volume(struct mount *mount, struct node node)
{
	uint8_t uuid[UUID_LEN];
	char *name = names_get(mount->volumes, node.number, uuid);
	struct volume *vol = name ? registry_get(mount->registry, name) : NULL;

	free(name);
	/* another volume may have come to that name since */
	if (vol && memcmp(vol->uuid, uuid, UUID_LEN) != 0) {
		volume_unref(vol);
		vol = NULL;
	}
	return vol;
}

static uint64_t
volume_size(const struct volume *vol)
{
	return atomic_load_explicit(&vol->size, memory_order_relaxed);
}

uint64_t
chunk_count(const struct volume *vol)
{
	return (volume_size(vol) + vol->chunk_size - 1) / vol->chunk_size;
}

uint64_t
chunk_bytes(const struct volume *vol, uint64_t index)
{
	uint64_t size = volume_size(vol), start = index * vol->chunk_size;

	return start < size ? min_of(size - start, (uint64_t)vol->chunk_size) : 0;
}

/* vol for what lies below a volume; info for a chunk (NULL: absent); size for texts and links. */
static void
attr_fill(struct mount *mount, struct node node, const struct volume *vol, const struct chunk_info *info,
	  size_t size, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = tree_ino(node);
	st->st_mode = tree_mode(node.kind, mount->shared, vol && vol->read_only);
	st->st_nlink = S_ISDIR(st->st_mode) ? 2 : 1;
	st->st_uid = mount->uid;
	st->st_gid = mount->gid;
	st->st_blksize = 128 * 1024; /* what cp, cmp and cat read at a time */
	st->st_size = (off_t)size;
	if (node.kind == NODE_README)
		st->st_size = (off_t)strlen(render_readme);
	if (node.kind == NODE_IMAGE && vol) {
		st->st_size = (off_t)volume_size(vol);
		st->st_blocks = (blkcnt_t)(atomic_load_explicit(&vol->allocated, memory_order_relaxed) / 512);
	}
	if (node.kind == NODE_CHUNK && vol) {
		st->st_size = (off_t)chunk_bytes(vol, node.index);
		st->st_blocks = info ? (blkcnt_t)((info->allocated_bytes + 511) / 512) : 0;
	}
	/* always now: a backup that compares times must never take an image for unchanged */
	clock_gettime(CLOCK_REALTIME, &st->st_mtim);
	st->st_atim = st->st_ctim = st->st_mtim;
}

static double
attr_ttl(struct node node)
{
	return tree_types[node.kind].parent == NODE_ROOT ? 1.0 : 0.0;
}

void
reply_entry(struct mount *mount, fuse_req_t req, struct node node, const struct volume *vol,
	    const struct chunk_info *info, size_t size)
{
	struct fuse_entry_param e = {
		.ino = tree_ino(node),
		.generation = 1,
		.attr_timeout = attr_ttl(node),
		.entry_timeout = attr_ttl(node),
	};

	attr_fill(mount, node, vol, info, size, &e.attr);
	/* an interrupted lookup is none: the kernel will not forget what it did not get */
	if (fuse_reply_entry(req, &e) && node.kind == NODE_SESSION)
		names_forget(mount->sessions, node.index, 1);
}

void
reply_attr(struct mount *mount, fuse_req_t req, struct node node, const struct volume *vol,
	   const struct chunk_info *info, size_t size)
{
	struct stat st;

	attr_fill(mount, node, vol, info, size, &st);
	fuse_reply_attr(req, &st, attr_ttl(node));
}

void
reply_open(struct handle *handle, fuse_req_t req, unsigned open_flags)
{
	/* libfuse before 3.15 cannot say FOPEN_PARALLEL_DIRECT_WRITES, so the answer is written in the
	 * protocol's own terms.  Unknown flags are ignored by older kernels. */
	struct fuse_open_out out = {.fh = (uintptr_t)handle, .open_flags = open_flags};

	if (fuse_reply_buf(req, (const char *)&out, sizeof(out)))
		handle_put(handle);
}
