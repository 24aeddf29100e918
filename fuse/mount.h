/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mount: every volume of the registry as files (DESIGN of the tree in doc/design.md).
 *
 * Threads: mount_start/mount_stop from a thread that may block and is none of the mount's.  The mount has threads of
 * its own: two that read requests and never block, and one, the clerk, that may block on the provider's callbacks.  Data is
 * answered from the volume's loop.  No thread of the daemon may ever touch a path below its own mount point.
 *
 * An open image or chunk holds a reference of its volume: registry_remove() says -EBUSY until the
 * kernel has sent the release, which may be a moment after close(2).
 */
#ifndef LUNGATE_FUSE_MOUNT_H
#define LUNGATE_FUSE_MOUNT_H

#include <jansson.h>

#include "common/arena.h"
#include "common/err.h"
#include "common/registry.h"

struct mount;

/** What the daemon shows beside the volumes: called on the clerk; members may be NULL; each returns a new object the caller frees. */
struct mount_provider {
	void *arg;
	json_t *(*status)(void *arg);                       /* status.json */
	char *(*metrics)(void *arg);                        /* Prometheus text, malloc'd */
	json_t *(*targets)(void *arg);                      /* array of names */
	/** {"target": {...}, "luns": [{"lun": 0, "volume": "name"}], "sessions": [{"id": "...", ...}]}; NULL when there is none */
	json_t *(*target)(void *arg, const char *name);
	/** fd of /dev/fuse died or fusermount -u from outside: the mount is gone, iSCSI goes on.  Once, on a thread of the
	 *  mount: mount_stop() is still due, from another thread, after this has returned. */
	void (*lost)(void *arg, int err);
};

/** Mount at path (an existing directory, or created; a stale mount of a dead daemon of ours is unmounted first;
 *  another live mount or a non-empty directory is refused with words). */
int mount_start(const char *path, bool allow_other, struct registry *registry, struct arena *arena,
		const struct mount_provider *provider, struct mount **ret, struct errinfo *info);
/** Unmount (lazily where it is busy, with a warning: open files then fail with ENOTCONN), wait for the requests in
 *  flight, free.  The volumes must still answer. */
void mount_stop(struct mount *mount);

#endif
