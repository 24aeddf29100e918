/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tree of the mount as a table of node kinds, and the inode numbers that
 * name its nodes.
 *
 * An inode number is computed, never allocated, for everything of which there may be millions:
 *
 *     63..40 number     which volume or target (fuse/names.h); 0 where there is none
 *     39..32 kind
 *     31..0  index      chunk, group of chunks, LUN or session; 0 where there is none
 *
 * The one exception is the root, which the protocol calls 1.  A node of a
 * kind has the same number for as long as the mount lives.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_FUSE_TREE_H
#define LUNGATE_FUSE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum node_kind {
	NODE_ROOT,
	NODE_README,
	NODE_STATUS,
	NODE_METRICS,
	NODE_TARGETS,
	NODE_TARGET,
	NODE_TARGET_JSON,
	NODE_LUN,
	NODE_SESSIONS,
	NODE_SESSION,
	NODE_VOLUMES,
	NODE_VOLUME,
	NODE_IMAGE,
	NODE_VOLUME_JSON,
	NODE_MAP,
	NODE_STATS,
	NODE_CHUNKS,
	NODE_CHUNK_GROUP,
	NODE_CHUNK,
	NODE_KINDS
};

enum node_form { FORM_DIR, FORM_TEXT, FORM_DATA, FORM_LINK };

struct node_type {
	const char *name;         /* in its parent; NULL: the parent has many of them, with names of their own */
	enum node_kind parent;
	enum node_form form;
	bool writable;
};

extern const struct node_type tree_types[NODE_KINDS];

struct node {
	enum node_kind kind;
	uint32_t number;
	uint32_t index;
};

#define TREE_ROOT_INO 1u
#define TREE_NUMBER_MAX ((1u << 24) - 1)
#define TREE_GROUP_CHUNKS 4096u   /* files in one directory of chunks/ */
#define TREE_NAME_MAX 32          /* names that this file makes, with the NUL */

uint64_t tree_ino(struct node node);
/** 0, or -ENOENT for a number that no node can have. */
int tree_node(uint64_t ino, struct node *ret);

/** File type and permission bits.  shared: others than the owner may look at texts and directories, never at data. */
mode_t tree_mode(enum node_kind kind, bool shared, bool read_only);

/** The child of a fixed name, or NODE_KINDS. */
enum node_kind tree_fixed_child(enum node_kind parent, const char *name);
/** The first kind after `after` with a fixed name in parent, or NODE_KINDS; begin with NODE_ROOT. */
enum node_kind tree_next_fixed(enum node_kind parent, enum node_kind after);

/** The node above, for "..". */
struct node tree_parent(struct node node);

/** The name of a LUN, a group of chunks or a chunk. */
void tree_name(struct node node, char name[TREE_NAME_MAX]);
/** The index that such a name means; only the spelling that tree_name() gives is known.  0 or -ENOENT. */
int tree_parse(enum node_kind kind, const char *name, uint32_t *ret_index);
/** Length of the ID in "ID.json", or 0 when it is not of that form. */
size_t tree_session_id(const char *name);
/** Names of others (targets, sessions) that can be file names here. */
bool tree_name_ok(const char *name);

#endif
