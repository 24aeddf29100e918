/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/simtree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/util.h"

#define MTIME_STEP_NS 4000000u

static size_t
simtable_find(const struct simtable *t, const char *text, bool *found)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(t->names[mid].text, text);

		if (!c) {
			*found = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*found = false;
	return lo;
}

struct siminode *
simtable_get(const struct simtable *t, const char *text)
{
	bool found;
	size_t i = simtable_find(t, text, &found);

	return found ? t->names[i].inode : NULL;
}

struct siminode *
simtree_inode_ref(struct siminode *ino)
{
	if (ino)
		ino->refs++;
	return ino;
}

/* target NULL removes */
static void
simtable_set(struct simtree *tree, struct simtable *t, const char *text, struct siminode *target)
{
	bool found;
	size_t i = simtable_find(t, text, &found);
	struct siminode *old = found ? t->names[i].inode : NULL;

	simtree_inode_ref(target);
	if (found && target) {
		t->names[i].inode = target;
	} else if (found) {
		free(t->names[i].text);
		memmove(t->names + i, t->names + i + 1, (t->n - i - 1) * sizeof(*t->names));
		t->n--;
	} else if (target) {
		if (t->n == t->room) {
			t->room = t->room ? t->room * 2 : 8;
			t->names = sim_must(realloc(t->names, t->room * sizeof(*t->names)));
		}
		memmove(t->names + i + 1, t->names + i, (t->n - i) * sizeof(*t->names));
		t->names[i] = (struct simname){sim_must(strdup(text)), target};
		t->n++;
	}
	simtree_inode_unref(tree, old);
}

static void
simtable_clear(struct simtree *tree, struct simtable *t)
{
	while (t->n) {
		struct simname last = t->names[--t->n];

		free(last.text);
		simtree_inode_unref(tree, last.inode);
	}
	free(t->names);
	*t = (struct simtable){0};
}

static void
simtable_copy(struct simtree *tree, struct simtable *to, const struct simtable *from)
{
	struct simtable old = *to;

	*to = (struct simtable){0};
	for (size_t i = 0; i < from->n; i++)
		simtable_set(tree, to, from->names[i].text, from->names[i].inode);
	simtable_clear(tree, &old);
}

/* the lowest free number, as ext4 does: what was deleted comes back at once */
static uint64_t
inode_number(struct simtree *tree, struct siminode **place)
{
	uint64_t number = 2;
	struct siminode *prev = NULL;

	for (struct siminode *ino = tree->inodes; ino && ino->number == number; ino = ino->next) {
		prev = ino;
		number++;
	}
	*place = prev;
	return number;
}

uint64_t
sim_tick(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec) / MTIME_STEP_NS * MTIME_STEP_NS;
}

struct siminode *
simtree_inode_new(struct simtree *tree, bool is_dir)
{
	struct siminode *ino = sim_must(calloc(1, sizeof(*ino))), *place;

	ino->number = inode_number(tree, &place);
	ino->is_dir = is_dir;
	ino->tail = &ino->changes;
	ino->mtime = ino->mtime_disk = sim_tick();
	ino->refs = 1;
	ino->prev = place;
	ino->next = place ? place->next : tree->inodes;
	if (ino->next)
		ino->next->prev = ino;
	*(place ? &place->next : &tree->inodes) = ino;
	return ino;
}

void
siminode_forget_changes(struct siminode *ino)
{
	struct simchange *c;

	while ((c = ino->changes)) {
		ino->changes = c->next;
		free(c);
	}
	ino->tail = &ino->changes;
}

void
simtree_inode_unref(struct simtree *tree, struct siminode *ino)
{
	if (!ino || --ino->refs)
		return;
	assert(!ino->opens);
	simtable_clear(tree, &ino->names_now);
	simtable_clear(tree, &ino->names_disk);
	siminode_forget_changes(ino);
	simimage_clear(&ino->now);
	simimage_clear(&ino->disk);
	*(ino->prev ? &ino->prev->next : &tree->inodes) = ino->next;
	if (ino->next)
		ino->next->prev = ino->prev;
	free(ino);
}

static void
simrename_free(struct simtree *tree, struct simrename *c)
{
	simtree_inode_unref(tree, c->dir);
	simtree_inode_unref(tree, c->target);
	simtree_inode_unref(tree, c->from_dir);
	free(c->name);
	free(c->from_name);
	free(c);
}

/* does it now, and remembers that it is not durable; from_dir NULL = no removal with it */
void
simtree_change(struct simtree *tree, struct siminode *dir, const char *name, struct siminode *target,
	       struct siminode *from_dir, const char *from_name)
{
	struct simrename *c = sim_must(calloc(1, sizeof(*c)));
	struct siminode *old = simtable_get(&dir->names_now, name);

	if (old)
		old->links--;
	if (target && !from_dir)
		target->links++;
	c->dir = simtree_inode_ref(dir);
	c->target = simtree_inode_ref(target);
	c->name = sim_must(strdup(name));
	if (from_dir) {
		c->from_dir = simtree_inode_ref(from_dir);
		c->from_name = sim_must(strdup(from_name));
	}
	*tree->name_tail = c;
	tree->name_tail = &c->next;
	simtable_set(tree, &dir->names_now, name, target);
	if (from_dir)
		simtable_set(tree, &from_dir->names_now, from_name, NULL);
}

static void
simrename_apply(struct simtree *tree, const struct simrename *c)
{
	simtable_set(tree, &c->dir->names_disk, c->name, c->target);
	if (c->from_dir)
		simtable_set(tree, &c->from_dir->names_disk, c->from_name, NULL);
}

/* only the removal that came with the rename is left */
static void
simrename_halve(struct simtree *tree, struct simrename *c)
{
	simtree_inode_unref(tree, c->dir);
	simtree_inode_unref(tree, c->target);
	free(c->name);
	c->dir = c->from_dir;
	c->name = c->from_name;
	c->target = NULL;
	c->from_dir = NULL;
	c->from_name = NULL;
}

static bool
simrename_concerns(const struct simrename *c, const struct siminode *dir)
{
	return c->dir == dir || c->from_dir == dir;
}

/* dir/name is durable as some later change made it: earlier changes of it must not come back at a power cut
 */
static void
simrename_overtake(struct simtree *tree, const struct simrename *by, const struct siminode *dir,
		   const char *name)
{
	for (struct simrename **at = &tree->name_changes, *c; (c = *at) && c != by;) {
		if (c->from_dir == dir && !strcmp(c->from_name, name)) {
			simtree_inode_unref(tree, c->from_dir);
			free(c->from_name);
			c->from_dir = NULL;
			c->from_name = NULL;
		}
		if (c->dir != dir || strcmp(c->name, name)) {
			at = &c->next;
		} else if (c->from_dir) {
			simrename_halve(tree, c);
			at = &c->next;
		} else {
			*at = c->next;
			simrename_free(tree, c);
		}
	}
}

void
simtree_sync_dir(struct simtree *tree, struct siminode *dir)
{
	struct simrename *c, *next;

	for (c = tree->name_changes; c; c = c->next) {
		if (!simrename_concerns(c, dir))
			continue;
		simrename_overtake(tree, c, c->dir, c->name);
		if (c->from_dir == dir)
			simrename_overtake(tree, c, c->from_dir, c->from_name);
	}
	tree->name_tail = &tree->name_changes;
	for (c = tree->name_changes; c; c = next) {
		next = c->next;
		if (c->dir == dir && c->from_dir && c->from_dir != dir) {
			/* the new name is durable; the old one may yet come back */
			simtable_set(tree, &c->dir->names_disk, c->name, c->target);
			simrename_halve(tree, c);
		} else if (simrename_concerns(c, dir)) {
			simrename_apply(tree, c);
			simrename_free(tree, c);
			continue;
		}
		*tree->name_tail = c;
		tree->name_tail = &c->next;
	}
	*tree->name_tail = NULL;
}

/* The directory that holds path's last part, and that part (in buf).  -ENOENT, -ENOTDIR, -EINVAL. */
int
simtree_walk(struct simtree *tree, const char *path, struct siminode **ret_dir, char *buf, size_t len)
{
	struct siminode *dir = tree->root;

	buf[0] = '\0';
	for (;;) {
		size_t n;

		path += strspn(path, "/");
		if (!*path)
			break;
		if (buf[0]) {
			dir = simtable_get(&dir->names_now, buf);
			if (!dir)
				return -ENOENT;
		}
		if (!dir->is_dir)
			return -ENOTDIR;
		n = strcspn(path, "/");
		if (n >= len)
			return -ENAMETOOLONG;
		memcpy(buf, path, n);
		buf[n] = '\0';
		if (!strcmp(buf, "."))
			buf[0] = '\0';
		if (!strcmp(buf, ".."))
			return -EINVAL;
		path += n;
	}
	*ret_dir = dir;
	return 0;
}

int
simtree_lookup(struct simtree *tree, const char *path, struct siminode **ret)
{
	char name[SIM_NAME_BUF];
	struct siminode *dir;
	int rc = simtree_walk(tree, path, &dir, name, sizeof(name));

	if (rc)
		return rc;
	*ret = name[0] ? simtable_get(&dir->names_now, name) : dir;
	return *ret ? 0 : -ENOENT;
}

static void
siminode_count_links(struct siminode *dir)
{
	for (size_t i = 0; i < dir->names_now.n; i++) {
		struct siminode *ino = dir->names_now.names[i].inode;

		ino->links++;
		if (ino->is_dir)
			siminode_count_links(ino);
	}
}

void
simtree_power_cut(struct simtree *tree, uint64_t *seed)
{
	struct siminode **all, *ino;
	struct simrename *c;
	size_t n = 0;

	while ((c = tree->name_changes)) {
		tree->name_changes = c->next;
		if (sim_random(seed) & 1)
			simrename_apply(tree, c);
		simrename_free(tree, c);
	}
	tree->name_tail = &tree->name_changes;
	for (ino = tree->inodes; ino; ino = ino->next)
		n++;
	all = sim_must(calloc(n, sizeof(struct siminode *)));
	n = 0;
	for (ino = tree->inodes; ino; ino = ino->next) {
		ino->links = 0;
		all[n++] = simtree_inode_ref(ino);
	}
	for (size_t i = 0; i < n; i++)
		simtable_copy(tree, &all[i]->names_now, &all[i]->names_disk);
	for (size_t i = 0; i < n; i++)
		simtree_inode_unref(tree, all[i]);
	free(all);
	tree->root->links = 1;
	siminode_count_links(tree->root);
}

void
simtree_init(struct simtree *tree)
{
	*tree = (struct simtree){0};
	tree->name_tail = &tree->name_changes;
	tree->root = simtree_inode_new(tree, true);
	tree->root->links = 1;
}

void
simtree_fini(struct simtree *tree)
{
	struct simrename *c;

	while ((c = tree->name_changes)) {
		tree->name_changes = c->next;
		simrename_free(tree, c);
	}
	simtree_inode_unref(tree, tree->root);
	assert(!tree->inodes);
}
