/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names and inodes of the simulated disk.  Every directory has two tables of names, `now` and `disk`; the changes
 * between them are one list for the whole tree, in order, since a rename concerns two directories.
 *
 * Invariants: now = disk + all changes in order.  An inode is referenced by names in either table, by changes, and by
 * open files, and goes with the last of them.
 *
 * Threads: none of its own; under the mutex of simfs.
 */
#ifndef LUNGATE_TEST_LIB_SIMTREE_H
#define LUNGATE_TEST_LIB_SIMTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "test/lib/simimage.h"

struct simfile;

struct simname {
	char *text;
	struct siminode *inode;
};

struct simtable {
	struct simname *names; /* sorted */
	size_t n, room;
};

struct siminode {
	struct siminode *prev, *next;
	uint64_t number;
	unsigned refs, opens, links;
	bool is_dir;
	/* a file */
	struct simimage now, disk;
	struct simchange *changes, **tail;
	uint64_t mtime, mtime_disk;
	struct simfile *exclusive; /* flock */
	unsigned shared;
	/* a directory */
	struct simtable names_now, names_disk;
};

/* a change of names that is not durable yet: dir/name becomes target (NULL = is gone); a rename removes
 * from_dir/from_name at the same time */
struct simrename {
	struct simrename *next;
	struct siminode *dir, *target, *from_dir;
	char *name, *from_name;
};

struct simtree {
	struct siminode *inodes, *root; /* by number */
	struct simrename *name_changes, **name_tail;
};

#define SIM_NAME_BUF 256

void simtree_init(struct simtree *tree);
void simtree_fini(struct simtree *tree);

/** The directory that holds path's last part, and that part (in buf, "" for the root). */
int simtree_walk(struct simtree *tree, const char *path, struct siminode **ret_dir, char *buf, size_t len);
int simtree_lookup(struct simtree *tree, const char *path, struct siminode **ret);

struct siminode *simtree_inode_new(struct simtree *tree, bool is_dir);
struct siminode *simtree_inode_ref(struct siminode *ino);
void simtree_inode_unref(struct simtree *tree, struct siminode *ino);
struct siminode *simtable_get(const struct simtable *t, const char *text);

/** Do it now, and remember that it is not durable; from_dir NULL = no removal with it, target NULL = a removal. */
void simtree_change(struct simtree *tree, struct siminode *dir, const char *name, struct siminode *target,
		    struct siminode *from_dir, const char *from_name);
void simtree_sync_dir(struct simtree *tree, struct siminode *dir);
/** Each unsynced name is kept or dropped; what is kept is `now` and `disk`. */
void simtree_power_cut(struct simtree *tree, uint64_t *seed);

void siminode_forget_changes(struct siminode *ino);
uint64_t sim_tick(void);

#endif
