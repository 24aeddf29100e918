/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of accounts and lists of initiators in the configuration file.
 *
 * An empty list is a list: nobody may log in.  Only who says so (`open`) has the list go with its last row, and lets
 * everybody in.
 *
 * Threads: as config_edit().
 */
#include <string.h>

#include "common/util.h"
#include "gateway/config_impl.h"

struct edit {
	const char *target; /* NULL: discovery */
	const struct acl_change *acl;
	const struct account_change *account;
};

static int
find_object(json_t *root, const struct edit *edit, json_t **ret, struct errinfo *info)
{
	if (edit->target) {
		*ret = config_edit_target(root, edit->target, info);
		return *ret ? 0 : -ENOENT;
	}
	*ret = json_object_get(root, "discovery");
	if (!*ret) {
		*ret = json_object();
		json_object_set_new(root, "discovery", *ret);
	}
	return 0;
}

static bool
has_text(const json_t *object, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value && text ? !strcasecmp(value, text) : !value && !text;
}

static bool
is_row(const json_t *row, const struct edit *edit)
{
	const char *user = json_string_value(json_object_get(row, "user"));

	if (edit->acl)
		return has_text(row, "name", edit->acl->name) && has_text(row, "network", edit->acl->network);
	return user && !strcmp(user, edit->account->user);
}

/* Into the list at key, in the place of the row that it replaces. */
static int
put_row(json_t *object, const char *key, json_t *made, const struct edit *edit)
{
	json_t *list = config_edit_list(object, key), *row;
	size_t i;

	json_array_foreach(list, i, row)
	{
		if (is_row(row, edit))
			return json_array_set_new(list, i, made) ? -ENOMEM : 0;
	}
	return json_array_append_new(list, made) ? -ENOMEM : 0;
}

/* Gone from the file already is as good as removed. */
static void
drop_row(json_t *object, const char *key, const struct edit *edit, bool open)
{
	json_t *list = json_object_get(object, key), *row;
	size_t i;

	json_array_foreach(list, i, row)
	{
		if (is_row(row, edit)) {
			json_array_remove(list, i);
			break;
		}
	}
	if (open && !json_array_size(list))
		json_object_del(object, key);
}

static int
put_initiator(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	const struct acl_change *acl = edit->acl;
	json_t *object, *row;
	int r = find_object(root, edit, &object, info);

	if (r)
		return r;
	row = json_pack("{s:s, s:s*, s:s*, s:O*}", "name", acl->name, "network", acl->network, "account",
			acl->account, "luns", acl->luns);
	return row ? put_row(object, "initiators", row, edit) : -ENOMEM;
}

static int
drop_initiator(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	json_t *object;
	int r = find_object(root, edit, &object, info);

	if (!r)
		drop_row(object, "initiators", edit, edit->acl->open);
	return r;
}

static int
put_account(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	const struct account_change *account = edit->account;
	json_t *object, *row;
	int r = find_object(root, edit, &object, info);

	if (r)
		return r;
	row = json_pack("{s:s, s:s*, s:s*}", "user", account->user, "secret_file", account->secret_file,
			"secret_env", account->secret_env);
	if (!row)
		return -ENOMEM;
	if (account->mutual)
		return json_object_set_new(object, "mutual", row) ? -ENOMEM : 0;
	return put_row(object, "chap", row, edit);
}

static int
drop_account(void *arg, json_t *root, struct errinfo *info)
{
	const struct edit *edit = arg;
	json_t *object;
	int r = find_object(root, edit, &object, info);

	if (r)
		return r;
	if (edit->account->mutual)
		json_object_del(object, "mutual");
	else
		drop_row(object, "chap", edit, edit->account->open);
	/* initiators could not ask for it any more */
	if (!json_object_get(object, "chap"))
		json_object_del(object, "mutual");
	if (!edit->target && !json_object_size(object))
		json_object_del(root, "discovery");
	return 0;
}

int
config_put_initiator(const char *path, const char *target, const struct acl_change *change,
		     struct errinfo *info)
{
	return config_edit(path, put_initiator, &(struct edit){.target = target, .acl = change}, info);
}

int
config_drop_initiator(const char *path, const char *target, const struct acl_change *change,
		      struct errinfo *info)
{
	return config_edit(path, drop_initiator, &(struct edit){.target = target, .acl = change}, info);
}

int
config_put_account(const char *path, const char *target, const struct account_change *change,
		   struct errinfo *info)
{
	return config_edit(path, put_account, &(struct edit){.target = target, .account = change}, info);
}

int
config_drop_account(const char *path, const char *target, const struct account_change *change,
		    struct errinfo *info)
{
	return config_edit(path, drop_account, &(struct edit){.target = target, .account = change}, info);
}
