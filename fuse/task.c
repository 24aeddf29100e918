/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: requests that the clerk answers, with or without the chunk map.
 *
 * A task: task_new() on a reader -> task_run() -> fn on the clerk, or task_query() ->
 * the volume's loop -> fn on the clerk; fn answers and ends it, or asks again.
 * Because every step begins on the clerk, a long walk over the map is cut
 * into single queries between which the loop and other tasks go on.
 *
 * Invariant: a task is in one place: the clerk's queue, its running fn, or
 * the volume.
 */
#include "fuse/internal.h"

#include <stdlib.h>
#include <string.h>

struct task *
task_new(struct mount *mount, fuse_req_t req, struct node node, struct volume *vol, const char *name)
{
	size_t n = name ? strlen(name) + 1 : 1;
	struct task *task = calloc(1, sizeof(*task) + n);

	if (!task) {
		if (vol)
			volume_unref(vol);
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	if (name)
		memcpy(task->name, name, n);
	task->mount = mount;
	task->req = req;
	task->node = node;
	task->vol = vol;
	mount_enter(mount);
	return task;
}

void
task_end(struct task *task)
{
	struct mount *mount = task->mount;

	if (task->vol)
		volume_unref(task->vol);
	if (task->fresh)
		handle_put(task->fresh);
	free(task->infos);
	free(task->buf);
	free(task);
	mount_leave(mount);
}

void
task_err(struct task *task, int err)
{
	fuse_reply_err(task->req, err_errno(err));
	task_end(task);
}

/* A volume may answer with nothing yet and a place to go on at. */
static bool
goes_on(const struct vol_req *query)
{
	uint64_t next = query->ret_next_chunk, end = query->end_chunk ? query->end_chunk : UINT64_MAX;

	return query->vol && !query->ret_infos && next > query->first_chunk && next < end;
}

static void
task_step(struct job *job)
{
	struct task *task = container_of(job, struct task, job);

	if (task->query.status)
		task_err(task, task->query.status);
	else if (goes_on(&task->query))
		task_query(task, task->query.ret_next_chunk, task->query.end_chunk, task->query.max_infos,
			   task->fn);
	else
		task->fn(task);
}

void
task_run(struct task *task, void (*fn)(struct task *task))
{
	task->fn = fn;
	task->query = (struct vol_req){0};
	task->job.run = task_step;
	clerk_push(&task->mount->clerk, &task->job);
}

static void
query_done(struct vol_req *query)
{
	struct task *task = container_of(query, struct task, query);

	clerk_push(&task->mount->clerk, &task->job);
}

void
task_query(struct task *task, uint64_t first, uint64_t end, unsigned max, void (*fn)(struct task *task))
{
	if (task->max_infos < max) {
		free(task->infos);
		task->infos = calloc(max, sizeof(*task->infos));
		task->max_infos = task->infos ? max : 0;
		if (!task->infos) {
			task_err(task, -ENOMEM);
			return;
		}
	}
	task->fn = fn;
	task->job.run = task_step;
	task->query = (struct vol_req){
		.vol = task->vol,
		.op = VOL_MAP,
		.first_chunk = first,
		.end_chunk = end,
		.infos = task->infos,
		.max_infos = max,
		.done = query_done,
	};
	volume_submit(&task->query);
}
