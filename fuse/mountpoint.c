/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuse/mountpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"

extern char **environ;

/* Blanks and backslashes of a path are written as \ooo in mountinfo (proc(5)). */
static void
unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
		    s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

/* "36 35 98:0 /root /mount/point options [optional ...] - type source options" */
static bool
parse_line(char *line, const char *path, struct mountpoint_entry *ret)
{
	char *save = NULL, *field, *point = NULL;
	unsigned n = 0, major = 0, minor = 0;

	for (field = strtok_r(line, " \n", &save); field; field = strtok_r(NULL, " \n", &save), n++) {
		if (n == 2 && sscanf(field, "%u:%u", &major, &minor) != 2)
			return false;
		if (n == 4)
			point = field;
		if (n > 5 && !strcmp(field, "-"))
			break;
	}
	field = field ? strtok_r(NULL, " \n", &save) : NULL;
	if (!field || !point)
		return false;
	unescape(point);
	if (strcmp(point, path) != 0)
		return false;
	ret->major = major;
	ret->minor = minor;
	snprintf(ret->type, sizeof(ret->type), "%s", field);
	return true;
}

int
mountpoint_find(const char *file, const char *path, struct mountpoint_entry *ret)
{
	FILE *f = fopen(file ? file : "/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	int rc = -ENOENT;

	if (!f)
		return -errno;
	/* mounts of one path are listed in the order they were stacked: the last is on top */
	while (getline(&line, &cap, f) > 0)
		if (parse_line(line, path, ret))
			rc = 0;
	free(line);
	fclose(f);
	return rc;
}

/* An ordinary user has no umount(2); fusermount3 is setuid for that.  What it did is read from mountinfo. */
static void
run_fusermount(const char *path, bool lazy)
{
	char *const argv[] = {(char *)"fusermount3", (char *)"-u", (char *)"-q", (char *)(lazy ? "-z" : "-q"),
			      (char *)"--",          (char *)path, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	posix_spawn_file_actions_destroy(&actions);
}

static bool
still_there(const char *path, const struct mountpoint_entry *entry)
{
	struct mountpoint_entry now;

	return !mountpoint_find(NULL, path, &now) && now.major == entry->major && now.minor == entry->minor;
}

int
mountpoint_unmount(const char *path, const struct mountpoint_entry *entry, bool lazy)
{
	if (!still_there(path, entry))
		return 0;
	if (!umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		return 0;
	if (errno != EPERM)
		return errno == EINVAL && !still_there(path, entry) ? 0 : -errno;
	run_fusermount(path, lazy);
	return still_there(path, entry) ? -EBUSY : 0;
}

/* realpath(3) that does not need the last component to answer. */
static int
resolve(const char *path, char **ret)
{
	char *copy = strdup(path), *copy2 = strdup(path), *dir = NULL;
	int rc = -ENOMEM;

	if (copy && copy2) {
		dir = realpath(dirname(copy), NULL);
		rc = dir ? 0 : -errno;
	}
	if (!rc && asprintf(ret, "%s/%s", !strcmp(dir, "/") ? "" : dir, basename(copy2)) < 0)
		rc = -ENOMEM;
	free(dir);
	free(copy);
	free(copy2);
	return rc;
}

static bool
is_dead(int err)
{
	return err == ENOTCONN || err == ECONNABORTED || err == ECONNREFUSED;
}

/* stat the path; a mount of ours whose daemon is gone is taken off first.  statfs(2) comes first because
 * it always asks the daemon: stat(2) may still be answered from what the kernel remembers of a dead one. */
static int
clear_stale(const char *path, struct stat *st, struct errinfo *info)
{
	struct mountpoint_entry entry;
	struct statfs fs;
	int rc;

	for (unsigned tries = 0; statfs(path, &fs) || stat(path, st); tries++) {
		if (!is_dead(errno) || tries == 8)
			return err_set(info, -errno, "%s: %s", path, err_text(-errno));
		rc = mountpoint_find(NULL, path, &entry);
		if (!rc && strcmp(entry.type, MOUNTPOINT_TYPE) != 0)
			return err_set(info, -EBUSY, "%s is a dead mount of type %s: unmount it first", path,
				       entry.type);
		if (!rc)
			rc = mountpoint_unmount(path, &entry, true);
		if (rc)
			return err_set(info, rc,
				       "%s is the mount of a daemon that died, and cannot be unmounted (%s): "
				       "try `fusermount3 -uz %s`",
				       path, err_text(rc), path);
		log_info("mount: took off the mount that a dead daemon left at %s", path);
	}
	return 0;
}

static int
check_empty(const char *path, struct errinfo *info)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int rc = 0;

	if (!dir)
		return err_set(info, -errno, "%s: %s", path, err_text(-errno));
	while (!rc && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = err_set(info, -ENOTEMPTY,
				     "%s is not empty (it holds %s): a mount there would hide it; "
				     "choose an empty directory",
				     path, entry->d_name);
	closedir(dir);
	return rc;
}

static int
prepare(const char *path, struct errinfo *info)
{
	struct mountpoint_entry entry;
	struct stat st;
	int rc;

	if (mkdir(path, 0700) && errno != EEXIST && !is_dead(errno))
		return err_set(info, -errno, "cannot create the mount point %s: %s", path, err_text(-errno));
	rc = clear_stale(path, &st, info);
	if (rc)
		return rc;
	if (!mountpoint_find(NULL, path, &entry))
		return err_set(info, -EBUSY, "%s is a mount point already (type %s)%s", path, entry.type,
			       strcmp(entry.type, MOUNTPOINT_TYPE)
				       ? ": choose another directory"
				       : ": another lungate shows its volumes there");
	if (!S_ISDIR(st.st_mode))
		return err_set(info, -ENOTDIR, "the mount point %s is not a directory", path);
	return check_empty(path, info);
}

int
mountpoint_prepare(const char *path, char **ret, struct errinfo *info)
{
	int rc = resolve(path, ret);
	char *real;

	if (rc)
		return err_set(info, rc, "the directory that should hold the mount point %s: %s", path,
			       err_text(rc));
	/* a symbolic link is followed where it answers */
	real = realpath(*ret, NULL);
	if (real) {
		free(*ret);
		*ret = real;
	}
	rc = prepare(*ret, info);
	if (rc) {
		free(*ret);
		*ret = NULL;
	}
	return rc;
}
