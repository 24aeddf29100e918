/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of portals and of the ways to targets in the configuration file.
 *
 * Threads: as config_edit().
 */
#include <string.h>

#include "common/util.h"
#include "gateway/config_impl.h"

struct edit {
	const char *address, *bound, *target;
	uint16_t group;
	bool found;
	int state;
	const uint16_t *tags;
	size_t ntags;
	const struct iscsi_redirect *redirect;
};

/* A key of nothing is left out. */
static void
drop_empty(json_t *object, const char *key)
{
	if (!json_array_size(json_object_get(object, key)))
		json_object_del(object, key);
}

/* -- portals --------------------------------------------------------------------------------------------- */

static json_t *
find_group(json_t *root, uint16_t tag, size_t *ret_idx)
{
	json_t *object;
	size_t i;

	json_array_foreach(json_object_get(root, "portal_groups"), i, object)
	{
		if (json_integer_value(json_object_get(object, "tag")) == tag) {
			*ret_idx = i;
			return object;
		}
	}
	return NULL;
}

static bool
remove_text(json_t *array, const char *text)
{
	json_t *value;
	size_t i;

	json_array_foreach(array, i, value)
	{
		if (json_is_string(value) && !strcmp(json_string_value(value), text)) {
			json_array_remove(array, i);
			return true;
		}
	}
	return false;
}

static bool
names_group(const json_t *target, uint16_t tag)
{
	const json_t *value;
	size_t i;

	json_array_foreach(json_object_get(target, "portal_groups"), i, value)
	{
		if (json_integer_value(value) == tag)
			return true;
	}
	json_array_foreach(json_object_get(target, "alua"), i, value)
	{
		if (json_integer_value(json_object_get(value, "group")) == tag)
			return true;
	}
	return false;
}

static bool
is_group_named(const json_t *root, uint16_t tag)
{
	const json_t *target;
	size_t i;

	json_array_foreach(json_object_get(root, "targets"), i, target)
	{
		if (names_group(target, tag))
			return true;
	}
	return false;
}

static bool
has_text(const json_t *array, const char *text)
{
	const json_t *value;
	size_t i;

	json_array_foreach(array, i, value)
	{
		if (json_is_string(value) && !strcmp(json_string_value(value), text))
			return true;
	}
	return false;
}

static json_t *
portals_of(json_t *root, uint16_t group)
{
	size_t i;

	return group == ISCSI_PORTAL_GROUP_DEFAULT ? json_object_get(root, "listen")
						   : json_object_get(find_group(root, group, &i), "portals");
}

static void
remove_redirect(json_t *root, const char *address, uint16_t group)
{
	json_t *array = json_object_get(root, "redirects"), *object;
	size_t i = 0;

	while ((object = json_array_get(array, i))) {
		const char *portal = json_string_value(json_object_get(object, "portal"));
		const json_t *tag = json_object_get(object, "group");

		if (portal && !strcmp(portal, address) && (!tag || json_integer_value(tag) == group))
			json_array_remove(array, i);
		else
			i++;
	}
	drop_empty(root, "redirects");
}

static bool
any_port(const char *address)
{
	return !strcmp(strrchr(address, ':'), ":0");
}

/* Where it stands in the file, 0 = nowhere: there are 16 bits of groups. */
static uint16_t
group_of(json_t *root, const char *address)
{
	const json_t *object;
	size_t i;

	if (has_text(json_object_get(root, "listen"), address))
		return ISCSI_PORTAL_GROUP_DEFAULT;
	json_array_foreach(json_object_get(root, "portal_groups"), i, object)
	{
		if (has_text(json_object_get(object, "portals"), address))
			return (uint16_t)json_integer_value(json_object_get(object, "tag"));
	}
	return 0;
}

/* Somebody may have written it there by hand already. */
static int
do_add_portal(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	uint16_t there = any_port(edit->address) ? 0 : group_of(root, edit->address);
	json_t *group, *array;
	size_t i;

	if (there == edit->group)
		return 0;
	if (there)
		return err_set(
			info, -EEXIST,
			"the configuration file has %s in portal group %u: take it out there, or add it with "
			"--group %u",
			edit->address, there, there);
	if (edit->group == ISCSI_PORTAL_GROUP_DEFAULT) {
		array = config_edit_list(root, "listen");
	} else {
		group = find_group(root, edit->group, &i);
		if (!group) {
			group = json_pack("{s:i, s:[]}", "tag", (int)edit->group, "portals");
			json_array_append_new(config_edit_list(root, "portal_groups"), group);
		}
		array = config_edit_list(group, "portals");
	}
	return json_array_append_new(array, json_string(edit->address)) ? -ENOMEM : 0;
}

static bool
remove_from(json_t *root, const char *address, uint16_t tag)
{
	json_t *group;
	size_t i;

	if (!tag || !remove_text(portals_of(root, tag), address))
		return false;
	group = tag == ISCSI_PORTAL_GROUP_DEFAULT ? NULL : find_group(root, tag, &i);
	if (group && !json_array_size(json_object_get(group, "portals")) && !is_group_named(root, tag)) {
		json_array_remove(json_object_get(root, "portal_groups"), i);
		drop_empty(root, "portal_groups");
	}
	/* the same may be there twice, when any port will do */
	if (!has_text(portals_of(root, tag), address))
		remove_redirect(root, address, tag);
	return true;
}

/* Edits by hand may have moved it to another group, or given it the port that it has; gone from the file already is as good
 * as removed. */
static int
do_remove_portal(void *arg, json_t *root, struct errinfo *info)
{
	struct edit *edit = arg;

	(void)info;
	edit->found = remove_from(root, edit->address, edit->group) ||
		      remove_from(root, edit->bound, edit->group) ||
		      (!any_port(edit->address) &&
		       remove_from(root, edit->address, group_of(root, edit->address))) ||
		      remove_from(root, edit->bound, group_of(root, edit->bound));
	return 0;
}

static json_t *
redirect_json(const struct iscsi_redirect *redirect, const char *portal)
{
	json_t *object = json_object();

	if (portal)
		json_object_set_new(object, "portal", json_string(portal));
	json_object_set_new(object, "to", json_string(redirect->to));
	if (redirect->permanent)
		json_object_set_new(object, "permanent", json_true());
	return object;
}

static int
do_redirect_portal(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	json_t *object;

	(void)info;
	remove_redirect(root, edit->address, edit->group);
	if (!edit->redirect)
		return 0;
	object = redirect_json(edit->redirect, edit->address);
	if (any_port(edit->address))
		json_object_set_new(object, "group", json_integer(edit->group));
	return json_array_append_new(config_edit_list(root, "redirects"), object) ? -ENOMEM : 0;
}

/* -- targets --------------------------------------------------------------------------------------------- */

static int
do_redirect_target(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	json_t *target = config_edit_target(root, edit->target, info);

	if (!target)
		return -ENOENT;
	if (!edit->redirect) {
		(void)json_object_del(target, "redirect"); /* not there is as good */
		return 0;
	}
	return json_object_set_new(target, "redirect", redirect_json(edit->redirect, NULL)) ? -ENOMEM : 0;
}

static int
do_set_groups(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	json_t *target = config_edit_target(root, edit->target, info), *array;

	if (!target)
		return -ENOENT;
	array = json_array();
	for (size_t i = 0; i < edit->ntags; i++)
		json_array_append_new(array, json_integer(edit->tags[i]));
	if (json_object_set_new(target, "portal_groups", array))
		return -ENOMEM;
	drop_empty(target, "portal_groups");
	return 0;
}

/* In its place; what is the default is left out. */
static int
do_set_alua(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	json_t *target = config_edit_target(root, edit->target, info), *array, *object, *made;
	size_t i;

	if (!target)
		return -ENOENT;
	array = config_edit_list(target, "alua");
	json_array_foreach(array, i, object)
	{
		if (json_integer_value(json_object_get(object, "group")) == edit->group)
			break;
	}
	if (edit->state == SCSI_ACCESS_OPTIMIZED) {
		(void)json_array_remove(array, i); /* not there is as good */
		drop_empty(target, "alua");
		return 0;
	}
	made = json_pack("{s:i, s:s}", "group", (int)edit->group, "state", config_alua_states[edit->state]);
	if (i < json_array_size(array))
		return json_array_set_new(array, i, made) ? -ENOMEM : 0;
	return json_array_append_new(array, made) ? -ENOMEM : 0;
}

/* -- entrances ------------------------------------------------------------------------------------------- */

int
config_add_portal(const char *path, const char *address, uint16_t group, struct errinfo *info)
{
	struct edit edit = {.address = address, .group = group};

	return config_edit(path, do_add_portal, &edit, info);
}

int
config_remove_portal(const char *path, const char *address, const char *bound, uint16_t group,
		     bool *ret_found, struct errinfo *info)
{
	struct edit edit = {.address = address, .bound = bound, .group = group};
	int r = config_edit(path, do_remove_portal, &edit, info);

	*ret_found = edit.found;
	return r;
}

int
config_set_portal_redirect(const char *path, const char *address, uint16_t group,
			   const struct iscsi_redirect *redirect, struct errinfo *info)
{
	struct edit edit = {.address = address, .group = group, .redirect = redirect};

	return config_edit(path, do_redirect_portal, &edit, info);
}

int
config_set_target_redirect(const char *path, const char *target, const struct iscsi_redirect *redirect,
			   struct errinfo *info)
{
	struct edit edit = {.target = target, .redirect = redirect};

	return config_edit(path, do_redirect_target, &edit, info);
}

int
config_set_target_groups(const char *path, const char *target, const uint16_t *tags, size_t n,
			 struct errinfo *info)
{
	struct edit edit = {.target = target, .tags = tags, .ntags = n};

	return config_edit(path, do_set_groups, &edit, info);
}

int
config_set_target_alua(const char *path, const char *target, uint16_t group, int state, struct errinfo *info)
{
	struct edit edit = {.target = target, .group = group, .state = state};

	return config_edit(path, do_set_alua, &edit, info);
}
