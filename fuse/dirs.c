/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: listings.  A directory of few entries is listed as a whole when
 * it is read from its beginning, and that list is read on from, so that
 * nothing shows twice or not at all while the volumes and targets change.  Those of
 * chunks/ may have millions: chunks.c.
 */
#include "fuse/internal.h"

#include <stdlib.h>

static int
list_volumes(struct mount *mount, struct listing *listing)
{
	struct volume **vols;
	struct node node = {NODE_VOLUME, 0, 0};
	size_t n;
	int rc = registry_list(mount->registry, &vols, &n);

	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++) {
		if (!rc)
			rc = names_intern(mount->volumes, 0, vols[i]->name, vols[i]->uuid, true,
					  &node.number);
		if (!rc)
			rc = listing_add(listing, vols[i]->name, tree_ino(node), S_IFDIR);
		volume_unref(vols[i]);
	}
	free(vols);
	return rc;
}

static int
list(struct mount *mount, struct node dir, struct listing *listing)
{
	enum node_kind kind = NODE_ROOT;
	int rc;

	listing_clear(listing);
	rc = listing_add(listing, ".", tree_ino(dir), S_IFDIR);
	if (!rc)
		rc = listing_add(listing, "..", tree_ino(tree_parent(dir)), S_IFDIR);
	while (!rc && (kind = tree_next_fixed(dir.kind, kind)) != NODE_KINDS)
		rc = listing_add(listing, tree_types[kind].name, tree_ino((struct node){kind, dir.number, 0}),
				 tree_mode(kind, mount->shared, false));
	if (!rc)
		rc = dir.kind == NODE_VOLUMES ? list_volumes(mount, listing)
					      : target_list(mount, dir, listing);
	listing->valid = !rc;
	return rc;
}

static void
read_step(struct task *task)
{
	struct listing *listing = &task->handle->listing;
	int rc = 0;

	if (!task->offset || !listing->valid)
		rc = list(task->mount, task->node, listing);
	if (!rc && !(task->buf = malloc(task->size)))
		rc = -ENOMEM;
	if (rc) {
		task_err(task, rc);
		return;
	}
	for (uint64_t i = task->offset; i < listing->n; i++) {
		struct listing_entry *entry = &listing->entries[i];
		struct stat st = {.st_ino = entry->ino, .st_mode = entry->mode};
		size_t n = fuse_add_direntry(task->req, task->buf + task->used, task->size - task->used,
					     entry->name, &st, (off_t)(i + 1));

		if (n > task->size - task->used)
			break;
		task->used += n;
	}
	fuse_reply_buf(task->req, task->buf, task->used);
	task_end(task);
}

void
dir_read(struct mount *mount, fuse_req_t req, struct handle *handle, size_t size, uint64_t offset)
{
	struct task *task = task_new(mount, req, handle->node, NULL, NULL);

	if (!task)
		return;
	task->handle = handle;
	task->size = min_of(size, (size_t)MOUNT_MAX_IO);
	task->offset = offset;
	task_run(task, read_step);
}
