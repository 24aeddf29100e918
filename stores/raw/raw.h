/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Volumes without an object store: raw (a file or a block device), ram, null.
 *
 * Threads: as stores.h: these block, not on a loop.
 */
#ifndef LUNGATE_STORES_RAW_RAW_H
#define LUNGATE_STORES_RAW_RAW_H

#include "common/vfs.h"
#include "stores/stores.h"

int raw_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info);
int raw_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
	     struct errinfo *info);
/** The file, if that is wanted; a block device is left alone. */
int raw_delete(const struct volume_spec *spec, bool files, struct errinfo *info);
/** raw_open() on another vfs than the real one, for tests. */
int raw_open_on(const struct volume_spec *spec, struct vfs *vfs, struct loop *loop, struct arena *arena,
		struct volume **ret, struct errinfo *info);

int ram_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info);
int ram_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
	     struct errinfo *info);

int null_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info);
int null_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
	      struct errinfo *info);

/** The constant part of any of them; checks name and geometry.  size is the volume's. */
int plain_volume_init(struct volume *vol, const struct vol_ops *ops, const struct volume_spec *spec, uint64_t size,
		      struct loop *loop, struct arena *arena, struct errinfo *info);
/** Block size (0 = default), chunk size, name, and a uuid when it has none: what create checks. */
int plain_spec_check(struct volume_spec *spec, struct errinfo *info);

#endif
