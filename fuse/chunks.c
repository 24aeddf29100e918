/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: what the chunk map answers: chunks/ and the holes of the image.
 *
 * Every answer here is made of VOL_MAP queries by a task, so that neither a loop nor
 * the clerk is held by a volume of millions of chunks.  Positions in a
 * directory are made of chunk numbers and stay good whatever happens to the map
 * in between.
 */
#include "fuse/internal.h"

#include <stdlib.h>

#include "fuse/render.h"

#define DOTS 2u           /* "." and ".." come first */
#define GROUPS_A_READ 64u /* groups are found by a query each: so many, and the rest with the next read */

/* ---- lookup and attributes ------------------------------------------------ */

static void
lookup_step(struct task *task)
{
	struct node node = {NODE_CHUNK_GROUP, task->node.number, task->node.index};

	if (!task->query.ret_infos) {
		task_err(task, -ENOENT);
		return;
	}
	if (task->node.kind == NODE_CHUNK_GROUP)
		node = (struct node){NODE_CHUNK, task->node.number, (uint32_t)task->infos[0].index};
	else
		node.index = (uint32_t)(task->infos[0].index / TREE_GROUP_CHUNKS);
	reply_entry(task->mount, task->req, node, task->vol, task->infos, 0);
	task_end(task);
}

void
chunk_lookup(struct mount *mount, fuse_req_t req, struct node parent, const char *name)
{
	enum node_kind kind = parent.kind == NODE_CHUNKS ? NODE_CHUNK_GROUP : NODE_CHUNK;
	struct volume *vol = node_volume(mount, parent);
	uint64_t first, end;
	struct task *task;
	uint32_t index;

	if (!vol || tree_parse(kind, name, &index) ||
	    (kind == NODE_CHUNK && index / TREE_GROUP_CHUNKS != parent.index)) {
		if (vol)
			volume_unref(vol);
		fuse_reply_err(req, ENOENT);
		return;
	}
	first = kind == NODE_CHUNK ? index : (uint64_t)index * TREE_GROUP_CHUNKS;
	end = kind == NODE_CHUNK ? first + 1 : first + TREE_GROUP_CHUNKS;
	task = task_new(mount, req, parent, vol, NULL);
	if (task && first >= chunk_count(vol))
		task_err(task, -ENOENT);
	else if (task)
		task_query(task, first, end, 1, lookup_step);
}

/* What the map says of the chunk; an absent one has the zeroes of task->infos. */
static void
query_chunk(struct mount *mount, fuse_req_t req, struct node node, const char *name, size_t size,
	    void (*fn)(struct task *task))
{
	struct volume *vol = node_volume(mount, node);
	struct task *task;

	if (!vol) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	task = task_new(mount, req, node, vol, name);
	if (!task)
		return;
	task->size = size;
	task_query(task, node.index, (uint64_t)node.index + 1, 1, fn);
}

static void
getattr_step(struct task *task)
{
	reply_attr(task->mount, task->req, task->node, task->vol, task->query.ret_infos ? task->infos : NULL,
		   0);
	task_end(task);
}

void
chunk_getattr(struct mount *mount, fuse_req_t req, struct node node)
{
	query_chunk(mount, req, node, NULL, 0, getattr_step);
}

static void
reply_xattr(struct task *task, const char *value, size_t n)
{
	if (!task->size)
		fuse_reply_xattr(task->req, n);
	else if (n > task->size)
		fuse_reply_err(task->req, ERANGE);
	else
		fuse_reply_buf(task->req, value, n);
	task_end(task);
}

static void
getxattr_step(struct task *task)
{
	char value[RENDER_XATTR_MAX];
	ssize_t n = render_xattr(task->infos, task->name, value);

	if (n < 0)
		task_err(task, (int)n);
	else
		reply_xattr(task, value, (size_t)n);
}

void
chunk_getxattr(struct mount *mount, fuse_req_t req, struct node node, const char *name, size_t size)
{
	query_chunk(mount, req, node, name, size, getxattr_step);
}

static void
listxattr_step(struct task *task)
{
	char names[1024];

	reply_xattr(task, names, render_xattr_names(task->infos, names, sizeof(names)));
}

void
chunk_listxattr(struct mount *mount, fuse_req_t req, struct node node, size_t size)
{
	query_chunk(mount, req, node, NULL, size, listxattr_step);
}

/* ---- directories ---------------------------------------------------------- */

/* False when it does not fit any more. */
static bool
add_entry(struct task *task, const char *name, struct node node, uint64_t next)
{
	struct stat st = {.st_ino = tree_ino(node), .st_mode = tree_mode(node.kind, false, false)};
	size_t n = fuse_add_direntry(task->req, task->buf + task->used, task->size - task->used, name, &st,
				     (off_t)next);

	if (n > task->size - task->used)
		return false;
	task->used += n;
	task->offset = next;
	return true;
}

static void
reply_dir(struct task *task)
{
	fuse_reply_buf(task->req, task->buf, task->used);
	task_end(task);
}

static void group_step(struct task *task);

/* Chunks of one group from task->offset on. */
static void
group_next(struct task *task)
{
	uint64_t base = (uint64_t)task->node.index * TREE_GROUP_CHUNKS;

	if (task->offset >= DOTS + TREE_GROUP_CHUNKS)
		reply_dir(task);
	else
		task_query(task, base + task->offset - DOTS, base + TREE_GROUP_CHUNKS, TASK_INFOS,
			   group_step);
}

static void
group_step(struct task *task)
{
	uint64_t base = (uint64_t)task->node.index * TREE_GROUP_CHUNKS;
	char name[TREE_NAME_MAX];

	for (unsigned i = 0; i < task->query.ret_infos; i++) {
		struct node node = {NODE_CHUNK, task->node.number, (uint32_t)task->infos[i].index};

		tree_name(node, name);
		if (!add_entry(task, name, node, task->infos[i].index - base + 1 + DOTS)) {
			reply_dir(task);
			return;
		}
	}
	if (task->query.ret_next_chunk == UINT64_MAX ||
	    task->query.ret_next_chunk >= base + TREE_GROUP_CHUNKS) {
		reply_dir(task);
		return;
	}
	task->offset = task->query.ret_next_chunk - base + DOTS;
	group_next(task);
}

/* Groups that have a chunk from task->offset on: a query finds the next chunk, and with it the next group. */
static void
groups_step(struct task *task)
{
	char name[TREE_NAME_MAX];
	struct node node = {NODE_CHUNK_GROUP, task->node.number, 0};

	if (!task->query.ret_infos) {
		reply_dir(task);
		return;
	}
	node.index = (uint32_t)(task->infos[0].index / TREE_GROUP_CHUNKS);
	tree_name(node, name);
	if (!add_entry(task, name, node, (uint64_t)node.index + 1 + DOTS) || ++task->steps == GROUPS_A_READ)
		reply_dir(task);
	else
		task_query(task, (task->offset - DOTS) * TREE_GROUP_CHUNKS, 0, 1, groups_step);
}

void
chunk_dir_read(struct mount *mount, fuse_req_t req, struct handle *handle, size_t size, uint64_t offset)
{
	struct volume *vol = node_volume(mount, handle->node);
	struct task *task;

	if (!vol) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	task = task_new(mount, req, handle->node, vol, NULL);
	if (!task)
		return;
	task->size = min_of(size, (size_t)MOUNT_MAX_IO);
	task->offset = offset;
	task->buf = malloc(task->size);
	if (!task->buf) {
		task_err(task, -ENOMEM);
		return;
	}
	if ((task->offset == 0 && !add_entry(task, ".", task->node, 1)) ||
	    (task->offset == 1 && !add_entry(task, "..", tree_parent(task->node), DOTS)))
		reply_dir(task);
	else if (task->node.kind == NODE_CHUNK_GROUP)
		group_next(task);
	else
		task_query(task, (task->offset - DOTS) * TREE_GROUP_CHUNKS, 0, 1, groups_step);
}

/* ---- holes of the image ---------------------------------------------------- */

static void
seek_answer(struct task *task, uint64_t at)
{
	fuse_reply_lseek(task->req, (off_t)at);
	task_end(task);
}

static void
data_step(struct task *task)
{
	if (!task->query.ret_infos)
		task_err(task, -ENXIO);
	else
		seek_answer(task, max_of(task->offset, task->infos[0].index * task->handle->vol->chunk_size));
}

/* The first chunk that is not in the row of present ones is the hole; task->row is where the row must go on.
 */
static void
hole_step(struct task *task)
{
	uint64_t expect = task->row, chunk = task->handle->vol->chunk_size;
	uint64_t end = chunk_count(task->handle->vol);
	unsigned i = 0;

	while (i < task->query.ret_infos && task->infos[i].index == expect) {
		i++;
		expect++;
	}
	task->row = expect;
	if (i == task->query.ret_infos && i > 0 && expect < end && task->query.ret_next_chunk != UINT64_MAX)
		task_query(task, expect, 0, TASK_INFOS, hole_step);
	else if (expect >= end)
		seek_answer(task, atomic_load_explicit(&task->handle->vol->size, memory_order_relaxed));
	else
		seek_answer(task, max_of(task->offset, expect * chunk));
}

void
image_seek(struct mount *mount, fuse_req_t req, struct handle *handle, uint64_t offset, int whence)
{
	struct volume *vol = handle->vol;
	struct task *task;

	if (offset >= atomic_load_explicit(&vol->size, memory_order_relaxed)) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	task = task_new(mount, req, handle->node, volume_ref(vol), NULL);
	if (!task)
		return;
	task->handle = handle;
	task->offset = offset;
	task->row = offset / vol->chunk_size;
	if (whence == SEEK_DATA)
		task_query(task, task->row, 0, 1, data_step);
	else
		task_query(task, task->row, 0, TASK_INFOS, hole_step);
}
