/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directory that the mount covers: made ready before, given back after.
 *
 * Threads: any that may block, but never one that answers requests of the
 * mount in question.
 */
#ifndef LUNGATE_FUSE_MOUNTPOINT_H
#define LUNGATE_FUSE_MOUNTPOINT_H

#include <stdbool.h>

#include "common/err.h"

#define MOUNTPOINT_TYPE "fuse.lungate"

/** What /proc/self/mountinfo says lies on top at a path. */
struct mountpoint_entry {
	unsigned major, minor;
	char type[64];
};

/** Read mountinfo text from `file` (NULL: /proc/self/mountinfo): 0, -ENOENT when nothing is mounted there, or an error. */
int mountpoint_find(const char *file, const char *path, struct mountpoint_entry *ret);

/** Make path a directory that can be covered: created when missing, a dead mount of ours taken off.
 *  *ret is the absolute path, the caller's to free. */
int mountpoint_prepare(const char *path, char **ret, struct errinfo *info);

/** Take off what lies at path if it is `entry` still: 0 (also when it is gone already), -EBUSY, or an error. */
int mountpoint_unmount(const char *path, const struct mountpoint_entry *entry, bool lazy);

#endif
