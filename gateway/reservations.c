/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where persistent reservations are kept of volumes that cannot keep them themselves.  A save replaces the whole file, so a
 * crash leaves the old text or the new one.
 *
 * Threads: open and close while nothing runs; load, save and forget from any that may block.
 */
#include "gateway/reservations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/vfs.h"
#include "gateway/scsi/scsi.h"

#define FILE_MAX (1u << 20)

static char *directory;

static int
file_path(const uint8_t uuid[UUID_LEN], char **ret)
{
	char text[UUID_TEXT];

	uuid_format(uuid, text);
	return asprintf(ret, "%s/%s.json", directory, text) < 0 ? -ENOMEM : 0;
}

static int
load(void *arg, const uint8_t uuid[UUID_LEN], char **ret, size_t *ret_len)
{
	char *path;
	int r = file_path(uuid, &path);

	(void)arg;
	if (r)
		return r;
	r = vfs_slurp(vfs_posix(), path, FILE_MAX, ret, ret_len);
	if (r && r != -ENOENT)
		log_error("%s: %s", path, err_text(r));
	free(path);
	return r;
}

static int
remove_file(const char *path)
{
	struct vfs *vfs = vfs_posix();
	int r = vfs->ops->unlink(vfs, path);

	return r == -ENOENT ? 0 : r ? r : vfs->ops->fsync_dir(vfs, directory);
}

static int
save(void *arg, const uint8_t uuid[UUID_LEN], const char *text, size_t len)
{
	char *path;
	int r = file_path(uuid, &path);

	(void)arg;
	if (r)
		return r;
	r = text ? vfs_replace(vfs_posix(), path, text, len, 0600) : remove_file(path);
	if (r)
		log_error("%s: %s", path, err_text(r));
	free(path);
	return r;
}

int
reservations_open(const char *state_dir, struct errinfo *info)
{
	static const struct scsi_pr_store store = {.load = load, .save = save};
	int r;

	if (asprintf(&directory, "%s/reservations", state_dir) < 0) {
		directory = NULL;
		return -ENOMEM;
	}
	r = vfs_mkdirs(vfs_posix(), directory, 0700);
	if (r) {
		(void)err_set(info, r, "cannot make %s: %s", directory, err_text(r));
		reservations_close();
		return r;
	}
	scsi_set_pr_store(&store);
	return 0;
}

void
reservations_close(void)
{
	scsi_set_pr_store(NULL);
	free(directory);
	directory = NULL;
}

void
reservations_forget(const uint8_t uuid[UUID_LEN])
{
	if (directory)
		(void)save(NULL, uuid, NULL, 0);
}
