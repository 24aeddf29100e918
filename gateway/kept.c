/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A save replaces the whole file, so a crash leaves the old text or the new one.
 *
 * Threads: open and close while nothing runs; load, save and forget from any that may block.
 */
#include "gateway/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/vfs.h"
#include "gateway/scsi/scsi.h"

#define FILE_MAX (1u << 20)

static const char *const names[] = {"reservations", "sanitize"};
static char *directory; /* the state directory */

static int
file_path(const char *name, const uint8_t uuid[UUID_LEN], char **ret)
{
	char text[UUID_TEXT];

	uuid_format(uuid, text);
	return asprintf(ret, "%s/%s/%s.json", directory, name, text) < 0 ? -ENOMEM : 0;
}

static int
load(void *arg, const char *name, const uint8_t uuid[UUID_LEN], char **ret, size_t *ret_len)
{
	char *path;
	int r = file_path(name, uuid, &path);

	(void)arg;
	if (r)
		return r;
	r = vfs_slurp(vfs_posix(), path, FILE_MAX, ret, ret_len);
	if (r && r != -ENOENT)
		log_error("%s: %s", path, err_text(r));
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
save(void *arg, const char *name, const uint8_t uuid[UUID_LEN], const char *text, size_t len)
{
	char *path;
	int r = file_path(name, uuid, &path);

	(void)arg;
	if (r)
		return r;
	r = text ? vfs_replace(vfs_posix(), path, text, len, 0600) : remove_file(path);
	if (r)
		log_error("%s: %s", path, err_text(r));
	free(path);
	return r;
}

static int
make_folders(struct errinfo *info)
{
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(names); i++) {
		char *folder;

		if (asprintf(&folder, "%s/%s", directory, names[i]) < 0)
			return -ENOMEM;
		r = vfs_mkdirs(vfs_posix(), folder, 0700);
		if (r)
			(void)err_set(info, r, "cannot make %s: %s", folder, err_text(r));
		free(folder);
	}
	return r;
}

int
kept_open(const char *state_dir, struct errinfo *info)
{
	static const struct scsi_store store = {.load = load, .save = save};
	int r;

	directory = strdup(state_dir);
	if (!directory)
		return -ENOMEM;
	r = make_folders(info);
	if (r) {
		kept_close();
		return r;
	}
	scsi_set_store(&store);
	return 0;
}

void
kept_close(void)
{
	scsi_set_store(NULL);
	free(directory);
	directory = NULL;
}

void
kept_forget(const uint8_t uuid[UUID_LEN])
{
	for (size_t i = 0; directory && i < ARRAY_SIZE(names); i++)
		(void)save(NULL, names[i], uuid, NULL, 0);
}
