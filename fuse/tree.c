/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuse/tree.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const struct node_type tree_types[NODE_KINDS] = {
	[NODE_ROOT] = {NULL, NODE_ROOT, FORM_DIR, false},
	[NODE_README] = {"README", NODE_ROOT, FORM_TEXT, false},
	[NODE_STATUS] = {"status.json", NODE_ROOT, FORM_TEXT, false},
	[NODE_METRICS] = {"metrics", NODE_ROOT, FORM_TEXT, false},
	[NODE_TARGETS] = {"targets", NODE_ROOT, FORM_DIR, false},
	[NODE_TARGET] = {NULL, NODE_TARGETS, FORM_DIR, false},
	[NODE_TARGET_JSON] = {"target.json", NODE_TARGET, FORM_TEXT, false},
	[NODE_LUN] = {NULL, NODE_TARGET, FORM_LINK, false},
	[NODE_SESSIONS] = {"sessions", NODE_TARGET, FORM_DIR, false},
	[NODE_SESSION] = {NULL, NODE_SESSIONS, FORM_TEXT, false},
	[NODE_VOLUMES] = {"volumes", NODE_ROOT, FORM_DIR, false},
	[NODE_VOLUME] = {NULL, NODE_VOLUMES, FORM_DIR, false},
	[NODE_IMAGE] = {"image", NODE_VOLUME, FORM_DATA, true},
	[NODE_VOLUME_JSON] = {"volume.json", NODE_VOLUME, FORM_TEXT, false},
	[NODE_MAP] = {"map", NODE_VOLUME, FORM_TEXT, false},
	[NODE_STATS] = {"stats.json", NODE_VOLUME, FORM_TEXT, false},
	[NODE_CHUNKS] = {"chunks", NODE_VOLUME, FORM_DIR, false},
	[NODE_CHUNK_GROUP] = {NULL, NODE_CHUNKS, FORM_DIR, false},
	[NODE_CHUNK] = {NULL, NODE_CHUNK_GROUP, FORM_DATA, false},
};

uint64_t
tree_ino(struct node node)
{
	if (node.kind == NODE_ROOT)
		return TREE_ROOT_INO;
	return (uint64_t)node.number << 40 | (uint64_t)node.kind << 32 | node.index;
}

int
tree_node(uint64_t ino, struct node *ret)
{
	unsigned kind = ino >> 32 & 0xff;

	*ret = (struct node){NODE_ROOT, 0, 0};
	if (ino == TREE_ROOT_INO)
		return 0;
	if (kind == NODE_ROOT || kind >= NODE_KINDS)
		return -ENOENT;
	ret->kind = kind;
	ret->number = (uint32_t)(ino >> 40);
	ret->index = (uint32_t)ino;
	return 0;
}

mode_t
tree_mode(enum node_kind kind, bool shared, bool read_only)
{
	switch (tree_types[kind].form) {
	case FORM_DIR:
		return S_IFDIR | (shared ? 0755 : 0700);
	case FORM_LINK:
		return S_IFLNK | 0777;
	case FORM_TEXT:
		return S_IFREG | (shared ? 0444 : 0400);
	case FORM_DATA:
		break;
	}
	return S_IFREG | (tree_types[kind].writable && !read_only ? 0600 : 0400);
}

enum node_kind
tree_next_fixed(enum node_kind parent, enum node_kind after)
{
	for (unsigned k = (unsigned)after + 1; k < NODE_KINDS; k++)
		if (tree_types[k].name && tree_types[k].parent == parent)
			return k;
	return NODE_KINDS;
}

enum node_kind
tree_fixed_child(enum node_kind parent, const char *name)
{
	enum node_kind k = NODE_ROOT;

	while ((k = tree_next_fixed(parent, k)) != NODE_KINDS)
		if (!strcmp(tree_types[k].name, name))
			break;
	return k;
}

struct node
tree_parent(struct node node)
{
	struct node up = {tree_types[node.kind].parent, node.number, 0};

	if (node.kind == NODE_CHUNK)
		up.index = node.index / TREE_GROUP_CHUNKS;
	if (up.kind == NODE_ROOT || up.kind == NODE_TARGETS || up.kind == NODE_VOLUMES)
		up.number = 0;
	return up;
}

void
tree_name(struct node node, char name[TREE_NAME_MAX])
{
	if (node.kind == NODE_LUN)
		snprintf(name, TREE_NAME_MAX, "lun%" PRIu32, node.index);
	else if (node.kind == NODE_CHUNK_GROUP)
		snprintf(name, TREE_NAME_MAX, "%04" PRIx32, node.index);
	else
		snprintf(name, TREE_NAME_MAX, "%08" PRIx32, node.index);
}

int
tree_parse(enum node_kind kind, const char *name, uint32_t *ret_index)
{
	const char *digits = name;
	unsigned base = 16;
	uint64_t v = 0;
	char canonical[TREE_NAME_MAX];

	if (kind == NODE_LUN) {
		if (strncmp(name, "lun", 3))
			return -ENOENT;
		digits = name + 3;
		base = 10;
	}
	if (!*digits)
		return -ENOENT;
	for (const char *p = digits; *p; p++) {
		const char *all = "0123456789abcdef", *at = strchr(all, *p);

		if (!at || (unsigned)(at - all) >= base)
			return -ENOENT;
		v = v * base + (unsigned)(at - all);
		if (v > UINT32_MAX)
			return -ENOENT;
	}
	tree_name((struct node){kind, 0, (uint32_t)v}, canonical);
	if (strcmp(canonical, name) != 0)
		return -ENOENT;
	*ret_index = (uint32_t)v;
	return 0;
}

size_t
tree_session_id(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && !strcmp(name + n - 5, ".json") ? n - 5 : 0;
}

bool
tree_name_ok(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n <= NAME_MAX - 5 && name[0] != '.' && !strchr(name, '/');
}
