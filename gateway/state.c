/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/state.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/util.h"
#include "common/vfs.h"

static int
take_lock(const char *dir, int *ret_fd, struct errinfo *info)
{
	char *path, text[32];
	int fd, r = 0;
	ssize_t n;

	if (asprintf(&path, "%s/lock", dir) < 0)
		return -ENOMEM;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		r = err_set(info, -errno, "state directory: cannot open %s: %s", path, err_text(-errno));
	} else if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = -errno == -EWOULDBLOCK ? -EBUSY : -errno;
		n = pread(fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = 0;
		text[strcspn(text, "\n")] = 0;
		r = r == -EBUSY
			    ? err_set(info, r,
				      "another daemon (pid %s) uses the state directory %s; stop it, or give this one "
				      "its own \"state_dir\"",
				      *text ? text : "?", dir)
			    : err_set(info, r, "cannot lock %s: %s", path, err_text(r));
	} else {
		n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
		/* for people alone: a disk too full for it is no reason to refuse */
		if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) < 0)
			r = 0;
	}
	if (r && fd >= 0)
		close(fd);
	else if (!r)
		*ret_fd = fd;
	free(path);
	return r;
}

static int
load_identity(const char *dir, uint8_t id[GATEWAY_ID_LEN], struct errinfo *info)
{
	char *path, *text = NULL, made[UUID_TEXT + 1];
	size_t len;
	int r;

	if (asprintf(&path, "%s/gateway-id", dir) < 0)
		return -ENOMEM;
	r = vfs_slurp(vfs_posix(), path, 4096, &text, &len);
	if (!r) {
		text[strcspn(text, "\r\n")] = 0;
		if (uuid_parse(text, id))
			r = err_set(info, -EINVAL,
				    "%s does not hold a UUID; restore it: journals and volumes know this "
				    "gateway by it",
				    path);
		goto out;
	}
	if (r != -ENOENT) {
		(void)err_set(info, r, "cannot read %s: %s", path, err_text(r));
		goto out;
	}
	uuid_make(id);
	uuid_format(id, made);
	made[UUID_TEXT - 1] = '\n';
	r = vfs_replace(vfs_posix(), path, made, UUID_TEXT, 0600);
	if (r)
		(void)err_set(info, r, "cannot write %s: %s", path, err_text(r));
out:
	free(text);
	free(path);
	return r;
}

int
state_open(const char *dir, struct state *ret, struct errinfo *info)
{
	struct state state = {.lock_fd = -1};
	int r;

	r = vfs_mkdirs(vfs_posix(), dir, 0700);
	if (r)
		return err_set(info, r, "cannot make the state directory %s: %s", dir, err_text(r));
	r = take_lock(dir, &state.lock_fd, info);
	if (r)
		return r;
	r = load_identity(dir, state.gateway_id, info);
	if (!r && asprintf(&state.journal_dir, "%s/journal", dir) < 0) {
		state.journal_dir = NULL;
		r = -ENOMEM;
	}
	if (!r) {
		r = vfs_mkdirs(vfs_posix(), state.journal_dir, 0700);
		if (r)
			(void)err_set(info, r, "cannot make %s: %s", state.journal_dir, err_text(r));
	}
	if (r)
		state_close(&state);
	else
		*ret = state;
	return r;
}

void
state_close(struct state *state)
{
	if (state->lock_fd >= 0)
		close(state->lock_fd); /* the file stays: unlinking it would let two daemons lock two files of
					  one name */
	state->lock_fd = -1;
	free(state->journal_dir);
	state->journal_dir = NULL;
}
