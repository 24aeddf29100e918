/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where ALUA states are kept that initiators have set.  A save replaces the whole file, so a crash leaves the old
 * text or the new one.  The names of targets have no '/' and begin with letters (iscsi_name_check).
 *
 * A target that was taken out of the configuration by hand is deleted like any other: what is left of it goes at the
 * next start, or one that gets its name much later would come up in states that nobody knows of.
 *
 * Threads: open and close while nothing runs; load, save and forget from any that may block.
 */
#include "gateway/alua_states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/vfs.h"
#include "gateway/scsi/scsi.h"

#define FILE_MAX (1u << 16)

static char *directory;

static char *
file_path(const char *target)
{
	char *path;

	return asprintf(&path, "%s/%s.json", directory, target) < 0 ? NULL : path;
}

static int
load(void *arg, const char *target, char **ret, size_t *ret_len)
{
	char *path = file_path(target);
	int r = path ? vfs_slurp(vfs_posix(), path, FILE_MAX, ret, ret_len) : -ENOMEM;

	(void)arg;
	free(path);
	return r;
}

/* Not there is as good as removed. */
static int
remove_file(const char *path)
{
	int r = vfs_remove(vfs_posix(), path);

	return r == -ENOENT ? 0 : r;
}

static int
save(void *arg, const char *target, const char *text, size_t len)
{
	char *path = file_path(target);
	int r = !path ? -ENOMEM : text ? vfs_replace(vfs_posix(), path, text, len, 0600) : remove_file(path);

	(void)arg;
	if (r)
		log_error("%s: %s", path ? path : target, err_text(r));
	free(path);
	return r;
}

int
alua_states_open(const char *state_dir, struct errinfo *info)
{
	static const struct scsi_access_store store = {.load = load, .save = save};
	int r;

	if (asprintf(&directory, "%s/alua", state_dir) < 0) {
		directory = NULL;
		return -ENOMEM;
	}
	r = vfs_mkdirs(vfs_posix(), directory, 0700);
	if (r) {
		(void)err_set(info, r, "cannot make %s: %s", directory, err_text(r));
		alua_states_close();
		return r;
	}
	scsi_set_access_store(&store);
	return 0;
}

void
alua_states_close(void)
{
	scsi_set_access_store(NULL);
	free(directory);
	directory = NULL;
}

void
alua_states_forget(const char *target)
{
	if (directory)
		(void)save(NULL, target, NULL, 0);
}

/* -- what is left of targets that are gone --------------------------------- */

struct prune {
	bool (*is_configured)(void *arg, const char *target);
	void *arg;
	char **names; /* of files that are to go */
	size_t n;
};

/* The target whose file this is, for free(); NULL: of none. */
static char *
target_of(const char *file)
{
	static const char suffix[] = ".json";
	size_t len = strlen(file);
	bool fits = len >= sizeof(suffix) && !strcmp(file + len - (sizeof(suffix) - 1), suffix);

	return fits ? strndup(file, len - (sizeof(suffix) - 1)) : NULL;
}

static int
look_at_file(void *arg, const char *file, bool is_dir)
{
	struct prune *prune = arg;
	char *target = target_of(file), **names;
	bool stays = is_dir || (target ? prune->is_configured(prune->arg, target) : !vfs_is_cut_off(file));

	free(target);
	if (stays)
		return 0;
	names = realloc(prune->names, (prune->n + 1) * sizeof(*names));
	if (!names)
		return -ENOMEM;
	prune->names = names;
	names[prune->n] = strdup(file);
	if (!names[prune->n])
		return -ENOMEM;
	prune->n++;
	return 0;
}

static void
prune_file(const char *file)
{
	char *path, *target = target_of(file);
	int r = asprintf(&path, "%s/%s", directory, file) < 0 ? -ENOMEM : 0;

	if (!r) {
		r = remove_file(path);
		free(path);
	}
	if (r)
		log_error("%s/%s: cannot be removed: %s", directory, file, err_text(r));
	else if (target)
		log_info(
			"target %s is not configured any more: the ALUA states that initiators had set are forgotten",
			target);
	free(target);
}

void
alua_states_prune(bool (*is_configured)(void *arg, const char *target), void *arg)
{
	struct prune prune = {.is_configured = is_configured, .arg = arg};
	int r = vfs_posix()->ops->readdir(vfs_posix(), directory, look_at_file, &prune);

	if (r)
		log_error("%s: %s", directory, err_text(r));
	for (size_t i = 0; i < prune.n; i++) {
		prune_file(prune.names[i]);
		free(prune.names[i]);
	}
	free(prune.names);
}
