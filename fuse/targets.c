/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: targets/, which the provider knows.  Everything here that asks the
 * provider runs on the clerk, because the provider may have to wait for a loop.
 */
#include "fuse/internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/render.h"

#define LINK_PREFIX "../../volumes/"

json_t *
target_answer(struct mount *mount, uint32_t number)
{
	char *name = names_get(mount->targets, number, NULL);
	json_t *answer = NULL;

	if (name && mount->provider.target)
		answer = mount->provider.target(mount->provider.arg, name);
	free(name);
	return answer;
}

static json_t *
all_targets(struct mount *mount)
{
	return mount->provider.targets ? mount->provider.targets(mount->provider.arg) : NULL;
}

static int
list_targets(struct mount *mount, struct listing *listing)
{
	json_t *all = all_targets(mount), *value;
	struct node node = {NODE_TARGET, 0, 0};
	size_t i;
	int rc = 0;

	json_array_foreach(all, i, value)
	{
		const char *name = json_string_value(value);

		if (!name || !tree_name_ok(name))
			continue;
		rc = names_intern(mount->targets, 0, name, NULL, true, &node.number);
		if (!rc)
			rc = listing_add(listing, name, tree_ino(node), S_IFDIR);
		if (rc)
			break;
	}
	json_decref(all);
	return rc;
}

static int
list_luns(struct mount *mount, struct node dir, struct listing *listing)
{
	json_t *answer = target_answer(mount, dir.number), *entry;
	char name[TREE_NAME_MAX];
	size_t i;
	int rc = answer ? 0 : -ENOENT;

	json_array_foreach(json_object_get(answer, "luns"), i, entry)
	{
		json_int_t lun = json_integer_value(json_object_get(entry, "lun"));
		struct node node = {NODE_LUN, dir.number, (uint32_t)lun};

		if (lun < 0 || lun > UINT32_MAX)
			continue;
		tree_name(node, name);
		rc = listing_add(listing, name, tree_ino(node), S_IFLNK);
		if (rc)
			break;
	}
	json_decref(answer);
	return rc;
}

static int
list_sessions(struct mount *mount, struct node dir, struct listing *listing)
{
	json_t *answer = target_answer(mount, dir.number), *entry;
	char name[NAME_MAX + 1];
	size_t i;
	int rc = answer ? 0 : -ENOENT;

	json_array_foreach(json_object_get(answer, "sessions"), i, entry)
	{
		const char *id = json_string_value(json_object_get(entry, "id"));

		if (!id || !tree_name_ok(id))
			continue;
		snprintf(name, sizeof(name), "%s.json", id);
		/* sessions have a number only while the kernel knows them */
		rc = listing_add(listing, name, UINT32_MAX, S_IFREG);
		if (rc)
			break;
	}
	json_decref(answer);
	return rc;
}

int
target_list(struct mount *mount, struct node dir, struct listing *listing)
{
	switch (dir.kind) {
	case NODE_TARGETS:
		return list_targets(mount, listing);
	case NODE_TARGET:
		return list_luns(mount, dir, listing);
	case NODE_SESSIONS:
		return list_sessions(mount, dir, listing);
	default:
		return 0;
	}
}

static int
find_target(struct task *task, struct node *ret)
{
	json_t *all = all_targets(task->mount), *value;
	size_t i;
	int rc = -ENOENT;

	*ret = (struct node){NODE_TARGET, 0, 0};
	json_array_foreach(all, i, value)
	{
		const char *name = json_string_value(value);

		if (name && !strcmp(name, task->name) && tree_name_ok(name)) {
			rc = names_intern(task->mount->targets, 0, name, NULL, true, &ret->number);
			break;
		}
	}
	json_decref(all);
	return rc;
}

/* The length of what the link says, or 0 when there is no such LUN. */
static size_t
link_size(struct mount *mount, struct node node)
{
	json_t *answer = target_answer(mount, node.number);
	const char *volume = render_lun(answer, node.index);
	size_t n = volume ? strlen(LINK_PREFIX) + strlen(volume) : 0;

	json_decref(answer);
	return n;
}

static int
find_lun(struct task *task, struct node *ret, size_t *ret_size)
{
	int rc;

	*ret = (struct node){NODE_LUN, task->node.number, 0};
	rc = tree_parse(NODE_LUN, task->name, &ret->index);
	if (rc)
		return rc;
	*ret_size = link_size(task->mount, *ret);
	return *ret_size ? 0 : -ENOENT;
}

static int
find_session(struct task *task, struct node *ret)
{
	size_t n = tree_session_id(task->name);
	json_t *answer = n ? target_answer(task->mount, task->node.number) : NULL;
	json_t *session = n ? render_session(answer, task->name, n) : NULL;
	int rc = -ENOENT;

	*ret = (struct node){NODE_SESSION, task->node.number, 0};
	if (session)
		rc = names_intern(task->mount->sessions, task->node.number,
				  json_string_value(json_object_get(session, "id")), NULL, true, &ret->index);
	json_decref(answer);
	return rc;
}

static void
lookup_step(struct task *task)
{
	struct node node = {NODE_ROOT, 0, 0};
	size_t size = 0;
	int rc;

	if (task->node.kind == NODE_TARGETS)
		rc = find_target(task, &node);
	else if (task->node.kind == NODE_TARGET)
		rc = find_lun(task, &node, &size);
	else
		rc = find_session(task, &node);
	if (rc) {
		task_err(task, rc);
		return;
	}
	reply_entry(task->mount, task->req, node, NULL, NULL, size);
	task_end(task);
}

void
target_lookup(struct mount *mount, fuse_req_t req, struct node parent, const char *name)
{
	struct task *task = task_new(mount, req, parent, NULL, name);

	if (task)
		task_run(task, lookup_step);
}

static void
getattr_step(struct task *task)
{
	reply_attr(task->mount, task->req, task->node, NULL, NULL, link_size(task->mount, task->node));
	task_end(task);
}

void
target_getattr(struct mount *mount, fuse_req_t req, struct node node)
{
	struct task *task = task_new(mount, req, node, NULL, NULL);

	if (task)
		task_run(task, getattr_step);
}

static void
readlink_step(struct task *task)
{
	json_t *answer = target_answer(task->mount, task->node.number);
	const char *volume = render_lun(answer, task->node.index);
	char *to = NULL;

	if (!volume)
		fuse_reply_err(task->req, ENOENT);
	else if (asprintf(&to, LINK_PREFIX "%s", volume) < 0)
		fuse_reply_err(task->req, ENOMEM);
	else
		fuse_reply_readlink(task->req, to);
	if (volume)
		free(to);
	json_decref(answer);
	task_end(task);
}

void
target_readlink(struct mount *mount, fuse_req_t req, struct node node)
{
	struct task *task = task_new(mount, req, node, NULL, NULL);

	if (task)
		task_run(task, readlink_step);
}
