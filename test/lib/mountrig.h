/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mount with fake volumes in a temporary directory, for tests.
 */
#ifndef LUNGATE_TEST_LIB_MOUNTRIG_H
#define LUNGATE_TEST_LIB_MOUNTRIG_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "common/registry.h"
#include "fuse/mount.h"
#include "test/lib/fakevol.h"

#define RIG_TARGET "iqn.2024-01.example:t1"

struct rig {
	struct loop *loop;
	struct arena *arena;
	struct registry *registry;
	struct mount *mount;
	_Atomic int lost;             /* what provider.lost was told */
	_Atomic int serial;           /* grows with each status.json */
	_Atomic bool session;         /* a session "s1" is logged in */
	int undertaker_pipe;
	pid_t undertaker;
};

extern char rig_base[];               /* the temporary directory */
extern char rig_path[];               /* the mount point, in it */

/** Where mounts cannot be made: says why and exits with 77.  Else makes the directory. */
void rig_require(void);
/** Take away what a failed test left, and the directory. */
void rig_cleanup(void);

/** Everything but the mount. */
void rig_start(struct rig *rig, size_t memory);
int rig_mount(struct rig *rig, const char *path, struct errinfo *info);
/** All of it; volumes are the caller's to free before (rig_drop). */
void rig_stop(struct rig *rig);
struct fakevol *rig_volume(struct rig *rig, const char *name, uint64_t size, uint32_t block, uint32_t chunk);
/** Out of the registry (waits for the kernel's last release of open files), and freed. */
void rig_drop(struct rig *rig, struct fakevol *fake);
/** The path of something below the mount point; static, for a few calls. */
const char *rig_file(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** A request of VOL_READ or VOL_WRITE from beside the mount: its status. */
int rig_io(struct fakevol *fake, enum vol_op op, uint64_t offset, uint64_t length, void *buf);

#endif
