/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The open volumes of this daemon by name.
 *
 * Threads: any.  A mutex guards the table; it is taken when a volume is
 * opened, closed, looked up or listed, never for I/O.  A volume stays usable
 * while somebody holds a reference; registry_remove() succeeds only when nobody but the registry does, and
 * from then on the volume is its caller's alone, to be closed.
 */
#ifndef LUNGATE_COMMON_REGISTRY_H
#define LUNGATE_COMMON_REGISTRY_H

#include "common/volume.h"

struct registry;

int registry_new(struct registry **ret);
/** Every volume must have been removed; asserts it. */
void registry_free(struct registry *reg);

/** -EEXIST when the name is taken. The registry takes one reference (refs is 0 after volume_open()). */
int registry_add(struct registry *reg, struct volume *vol);
/** Hide it; 0, -ENOENT, or -EBUSY while others than the registry hold references (then it stays). */
int registry_remove(struct registry *reg, const char *name);

/** With a reference, or NULL. */
struct volume *registry_get(struct registry *reg, const char *name);
struct volume *volume_ref(struct volume *vol);
void volume_unref(struct volume *vol);

/** All of them, sorted by name, each with a reference; caller frees the array and the references. */
int registry_list(struct registry *reg, struct volume ***ret, size_t *ret_n);

#endif
