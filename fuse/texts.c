/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: files that are made when they are opened and stay as they are
 * while open.
 */
#include "fuse/internal.h"

#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/render.h"

static void
finish(struct task *task, int rc)
{
	int err = text_finish(&task->fresh->text);

	if (rc || err) {
		task_err(task, rc ? rc : err);
		return;
	}
	reply_open(task->fresh, task->req, FOPEN_DIRECT_IO | FOPEN_NOFLUSH);
	task->fresh = NULL;
	task_end(task);
}

static void
finish_json(struct task *task, json_t *value)
{
	if (value)
		render_json(&task->fresh->text, value);
	finish(task, value ? 0 : -ENOENT);
	json_decref(value);
}

static void
readme(struct task *task)
{
	text_append(&task->fresh->text, render_readme, strlen(render_readme));
	finish(task, 0);
}

static void
status(struct task *task)
{
	struct mount_provider *p = &task->mount->provider;

	finish_json(task, p->status ? p->status(p->arg) : NULL);
}

static void
metrics(struct task *task)
{
	struct mount_provider *p = &task->mount->provider;
	char *s = p->metrics ? p->metrics(p->arg) : NULL;

	if (s)
		text_append(&task->fresh->text, s, strlen(s));
	finish(task, s ? 0 : -ENOENT);
	free(s);
}

static void
target_json(struct task *task)
{
	json_t *answer = target_answer(task->mount, task->node.number);

	if (answer)
		render_target(&task->fresh->text, answer);
	finish(task, answer ? 0 : -ENOENT);
	json_decref(answer);
}

static void
session(struct task *task)
{
	json_t *answer = target_answer(task->mount, task->node.number);
	char *id = names_get(task->mount->sessions, task->node.index, NULL);

	finish_json(task, id ? json_incref(render_session(answer, id, strlen(id))) : NULL);
	free(id);
	json_decref(answer);
}

static void
volume_json(struct task *task)
{
	finish_json(task, volume_describe(task->vol));
}

static void
stats(struct task *task)
{
	finish_json(task, volume_stats(task->vol));
}

static void
map_step(struct task *task)
{
	uint64_t next = task->query.ret_next_chunk;
	struct text *text = &task->fresh->text;

	for (unsigned i = 0; i < task->query.ret_infos; i++)
		render_map_line(text, &task->infos[i]);
	if (next == UINT64_MAX || text->err)
		finish(task, 0);
	else
		task_query(task, next, 0, TASK_INFOS, map_step);
}

static void
map(struct task *task)
{
	render_map_header(&task->fresh->text);
	task_query(task, 0, 0, TASK_INFOS, map_step);
}

static void (*const renderers[NODE_KINDS])(struct task *task) = {
	[NODE_README] = readme,   [NODE_STATUS] = status,
	[NODE_METRICS] = metrics, [NODE_TARGET_JSON] = target_json,
	[NODE_SESSION] = session, [NODE_VOLUME_JSON] = volume_json,
	[NODE_STATS] = stats,     [NODE_MAP] = map,
};

void
text_open(struct mount *mount, fuse_req_t req, struct node node)
{
	struct volume *vol = NULL;
	struct task *task;

	if (tree_types[node.kind].parent == NODE_VOLUME) {
		vol = node_volume(mount, node);
		if (!vol) {
			fuse_reply_err(req, ENOENT);
			return;
		}
	}
	task = task_new(mount, req, node, vol, NULL);
	if (!task)
		return;
	task->fresh = handle_new(mount, node, NULL);
	if (task->fresh)
		task_run(task, renderers[node.kind]);
	else
		task_err(task, -ENOMEM);
}

static void
read_file(struct task *task)
{
	struct fuse_bufvec bufv = FUSE_BUFVEC_INIT(task->size);

	bufv.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	bufv.buf[0].fd = task->handle->text.fd;
	bufv.buf[0].pos = (off_t)task->offset;
	fuse_reply_data(task->req, &bufv, 0);
	task_end(task);
}

void
text_read(struct mount *mount, fuse_req_t req, struct handle *handle, size_t size, uint64_t offset)
{
	struct text *text = &handle->text;
	struct task *task;

	if (offset >= text->size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	size = min_of(size, text->size - offset);
	if (text->fd < 0) {
		/* once the reader has its bytes it may close, and another thread may handle that before we
		 * are back */
		atomic_fetch_add_explicit(&handle->refs, 1, memory_order_relaxed);
		fuse_reply_buf(req, text->mem + offset, size);
		handle_put(handle);
		return;
	}
	task = task_new(mount, req, handle->node, NULL, NULL);
	if (!task)
		return;
	task->handle = handle;
	task->size = size;
	task->offset = offset;
	task_run(task, read_file);
}
