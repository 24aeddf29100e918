/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of the configuration file.
 *
 * The file is read anew for every change, so what was edited by hand since the daemon started is kept; the
 * result is checked as a whole before it replaces the file (write, fsync, rename, fsync of the directory).  A
 * symbolic link stays a link: its target is replaced.  The caller serialises changes.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/vfs.h"
#include "gateway/config_impl.h"

static int
check(const struct json_doc *doc, struct errinfo *info)
{
	struct config config;
	int r = config_parse(doc, &config, NULL, info);

	if (!r)
		config_fini(&config);
	return r;
}

/* Lines of a file that will never be are of no use to anybody. */
static void
drop_place(struct errinfo *info, const char *path)
{
	size_t len = strlen(path);
	char *at = info->text + len;

	if (strncmp(info->text, path, len) != 0 || *at != ':')
		return;
	at += strspn(at, ":0123456789");
	at += strspn(at, " ");
	memmove(info->text, at, strlen(at) + 1);
}

/* The file as it would be.  Where that is wrong, and the file was before, its own mistake is the one to tell. */
static int
check_text(const char *path, const char *text, struct errinfo *info)
{
	struct json_doc doc;
	struct errinfo before;
	int r = json_doc_parse(path, text, strlen(text), &doc, info);

	if (r)
		return r;
	r = check(&doc, info);
	json_doc_fini(&doc);
	if (!r)
		return 0;
	if (!json_doc_load(path, &doc, &before)) {
		bool wrong = check(&doc, &before) != 0;

		json_doc_fini(&doc);
		if (wrong) {
			*info = before;
			err_prefix(info, "the change was not made, for the file is wrong already: ");
			return r;
		}
	}
	drop_place(info, path);
	err_prefix(info, "the change was not made, the configuration does not allow it: ");
	return r;
}

/* The umask, and who we are, are not to decide who may read it from now on.  Until it is done fewer can. */
static void
keep_access(const char *path, const struct stat *was)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	if ((st.st_uid != was->st_uid || st.st_gid != was->st_gid) &&
	    chown(path, was->st_uid, was->st_gid) < 0)
		log_warn("the configuration %s has another owner now: %s", path, err_text(-errno));
	if (chmod(path, was->st_mode & 07777) < 0)
		log_warn("the configuration %s has another mode now: %s", path, err_text(-errno));
}

static int
write_file(const char *path, const char *text, struct errinfo *info)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return err_set(info, -errno, "%s: %s", path, err_text(-errno));
	r = vfs_replace(vfs_posix(), path, text, strlen(text), st.st_mode & 0700);
	if (r)
		return err_set(info, r, "the configuration %s cannot be written: %s", path, err_text(r));
	keep_access(path, &st);
	return 0;
}

/* As the file will be; with no copy left behind, for it may hold secrets. */
static char *
to_text(const json_t *root)
{
	size_t len = json_dumpb(root, NULL, 0, JSON_INDENT(2));
	char *text = len ? malloc(len + 2) : NULL;

	if (!text)
		return NULL;
	(void)json_dumpb(root, text, len, JSON_INDENT(2)); /* as long as it was */
	memcpy(text + len, "\n", 2);
	return text;
}

int
config_edit(const char *path, int (*edit)(void *arg, json_t *root, struct errinfo *info), void *arg,
	    struct errinfo *info)
{
	struct json_doc doc;
	char *real, *text = NULL;
	int r;

	real = realpath(path, NULL);
	if (!real)
		return err_set(info, -errno, "%s: %s", path, err_text(-errno));
	r = json_doc_load(real, &doc, info);
	if (r)
		goto out;
	r = edit(arg, doc.root, info);
	if (!r) {
		text = to_text(doc.root);
		r = text ? 0 : -ENOMEM;
	}
	json_doc_fini(&doc);
	if (!r)
		r = check_text(real, text, info);
	if (!r)
		r = write_file(real, text, info);
	if (text)
		secret_wipe(text, strlen(text));
	free(text);
out:
	free(real);
	return r;
}

/* -- the changes ----------------------------------------------------------------------------------------- */

struct change {
	const char *volume, *target, *key;
	unsigned lun;
	bool removable;
	json_t *value;
};

json_t *
config_edit_list(json_t *object, const char *key)
{
	json_t *array = json_object_get(object, key);

	if (!array) {
		array = json_array();
		json_object_set_new(object, key, array);
	}
	return array;
}

static json_t *
find(json_t *array, const char *name, size_t *ret_idx)
{
	json_t *object;
	size_t i;

	json_array_foreach(array, i, object)
	{
		const char *other = json_string_value(json_object_get(object, "name"));

		if (other && !strcmp(other, name)) {
			*ret_idx = i;
			return object;
		}
	}
	return NULL;
}

static int
missing(const char *what, const char *name, struct errinfo *info)
{
	return err_set(info, -ENOENT, "the configuration file has no %s \"%s\" (any more)", what, name);
}

json_t *
config_edit_target(json_t *root, const char *name, struct errinfo *info)
{
	size_t i;
	json_t *object = find(json_object_get(root, "targets"), name, &i);

	if (!object)
		(void)missing("target", name, info);
	return object;
}

static int
do_add_volume(void *arg, json_t *root, struct errinfo *info)
{
	struct change *change = arg;

	(void)info;
	return json_array_append(config_edit_list(root, "volumes"), change->value) ? -ENOMEM : 0;
}

/* Gone from the file already is as good as removed. */
static int
do_remove_volume(void *arg, json_t *root, struct errinfo *info)
{
	struct change *change = arg;
	json_t *array = config_edit_list(root, "volumes");
	size_t i;

	(void)info;
	if (find(array, change->volume, &i))
		json_array_remove(array, i);
	return 0;
}

static int
do_set_volume(void *arg, json_t *root, struct errinfo *info)
{
	struct change *change = arg;
	size_t i;
	json_t *object = find(config_edit_list(root, "volumes"), change->volume, &i);

	if (!object)
		return missing("volume", change->volume, info);
	return json_object_set(object, change->key, change->value) ? -ENOMEM : 0;
}

static int
do_add_target(void *arg, json_t *root, struct errinfo *info)
{
	struct change *change = arg;

	(void)info;
	return json_array_append_new(config_edit_list(root, "targets"),
				     json_pack("{s:s, s:[]}", "name", change->target, "luns"))
		       ? -ENOMEM
		       : 0;
}

static int
do_remove_target(void *arg, json_t *root, struct errinfo *info)
{
	struct change *change = arg;
	json_t *array = config_edit_list(root, "targets");
	size_t i;

	(void)info;
	if (find(array, change->target, &i))
		json_array_remove(array, i);
	return 0;
}

static int
do_add_lun(void *arg, json_t *root, struct errinfo *info)
{
	struct change *change = arg;
	json_t *object = config_edit_target(root, change->target, info), *lun;

	if (!object)
		return -ENOENT;
	lun = json_pack("{s:i, s:s}", "lun", (int)change->lun, "volume", change->volume);
	if (lun && change->removable)
		(void)json_object_set_new(lun, "removable", json_true());
	return json_array_append_new(config_edit_list(object, "luns"), lun) ? -ENOMEM : 0;
}

static int
do_remove_lun(void *arg, json_t *root, struct errinfo *info)
{
	struct change *change = arg;
	size_t i;
	json_t *object = config_edit_target(root, change->target, info), *luns, *lun;

	if (!object)
		return -ENOENT;
	luns = config_edit_list(object, "luns");
	json_array_foreach(luns, i, lun)
	{
		if (json_integer_value(json_object_get(lun, "lun")) == (json_int_t)change->lun) {
			json_array_remove(luns, i);
			break;
		}
	}
	return 0;
}

int
config_add_volume(const char *path, const struct config_volume *volume, struct errinfo *info)
{
	struct change change = {.value = config_volume_json(volume)};
	int r = config_edit(path, do_add_volume, &change, info);

	json_decref(change.value);
	return r;
}

int
config_remove_volume(const char *path, const char *name, struct errinfo *info)
{
	struct change change = {.volume = name};

	return config_edit(path, do_remove_volume, &change, info);
}

int
config_set_volume(const char *path, const char *name, const char *key, json_t *value, struct errinfo *info)
{
	struct change change = {.volume = name, .key = key, .value = value};
	int r = config_edit(path, do_set_volume, &change, info);

	json_decref(value);
	return r;
}

int
config_add_target(const char *path, const char *name, struct errinfo *info)
{
	struct change change = {.target = name};

	return config_edit(path, do_add_target, &change, info);
}

int
config_remove_target(const char *path, const char *name, struct errinfo *info)
{
	struct change change = {.target = name};

	return config_edit(path, do_remove_target, &change, info);
}

int
config_add_lun(const char *path, const char *target, const struct config_lun *lun, struct errinfo *info)
{
	struct change change = {.target = target,
				.lun = (unsigned)lun->lun,
				.volume = lun->volume,
				.removable = lun->removable};

	return config_edit(path, do_add_lun, &change, info);
}

int
config_remove_lun(const char *path, const char *target, unsigned lun, struct errinfo *info)
{
	struct change change = {.target = target, .lun = lun};

	return config_edit(path, do_remove_lun, &change, info);
}
