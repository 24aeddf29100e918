/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers for things that have only names: volumes, targets, sessions.
 *
 * Volumes and targets keep their number for the life of the mount, so that
 * their inode numbers are stable; there are as many as the administrator
 * made.  Sessions come and go: they are counted as the kernel looks them up,
 * and forgotten with the kernel.
 *
 * Threads: any; a mutex guards each table.
 */
#ifndef LUNGATE_FUSE_NAMES_H
#define LUNGATE_FUSE_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/util.h"

struct names;

int names_new(uint32_t max, struct names **ret);
void names_free(struct names *names);

/** The number of (parent, name, uuid), which is made when it is new: 0, or -ENOSPC, -ENOMEM.
 *  uuid may be NULL.  With look the entry is held until it is forgotten as often. */
int names_intern(struct names *names, uint32_t parent, const char *name, const uint8_t *uuid, bool look,
		 uint32_t *ret);
/** A copy of the name (caller frees), or NULL when there is none; uuid may be NULL. */
char *names_get(struct names *names, uint32_t number, uint8_t uuid[UUID_LEN]);
/** Take back n looks; the last takes the entry away. */
void names_forget(struct names *names, uint32_t number, uint64_t n);
/** Entries there are. */
uint32_t names_count(struct names *names);

#endif
