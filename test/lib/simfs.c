/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated disk of simfs.h.
 *
 * Every file has two images, `now` (what calls see) and `disk` (what is durable), and a list of the changes
 * between them; every directory has two such tables of names, and the changes between them are one list for
 * the whole file system, in order, since a rename concerns two directories.  A sync applies changes to `disk`
 * and forgets them; a power cut applies some of them and makes `now` a copy of `disk`.
 *
 * Invariants: now = disk + all changes in order.  An inode is referenced by names in either table, by
 * changes of names, and by open files, and goes with the last of them.
 *
 * Threads: any, under the one mutex; readdir calls back without it.
 */
#include "test/lib/simfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/util.h"

#define BLOCK 4096u
#define SECTOR 512u
#define FILE_MAX (64ull << 30)
#define MTIME_STEP_NS 4000000u

struct block {
	unsigned refs;
	uint8_t data[BLOCK];
};

/* allocated but never written: costs space, reads as zeroes, is a hole to SEEK_DATA; never counted or freed
 */
static struct block unwritten;

struct image {
	uint64_t size;
	struct block **tab;
	uint64_t ntab;
	uint64_t allocated; /* blocks */
};

enum change_kind { CHANGE_WRITE, CHANGE_TRUNCATE, CHANGE_FALLOCATE };

/* a change of a file that is not durable yet */
struct change {
	struct change *next;
	enum change_kind kind;
	bool doomed; /* a failed fsync passed over it: no later one covers it */
	int mode;
	uint64_t offset, length;
	uint8_t data[];
};

struct name {
	char *text;
	struct inode *inode;
};

struct table {
	struct name *names; /* sorted */
	size_t n, room;
};

struct inode {
	struct inode *prev, *next;
	uint64_t number;
	unsigned refs, opens, links;
	bool is_dir;
	/* a file */
	struct image now, disk;
	struct change *changes, **tail;
	uint64_t mtime, mtime_disk;
	struct simfile *exclusive;
	unsigned shared;
	/* a directory */
	struct table names_now, names_disk;
};

/* a change of names that is not durable yet: dir/name becomes target (NULL = is gone); a rename removes
 * from_dir/from_name at the same time */
struct name_change {
	struct name_change *next;
	struct inode *dir, *target, *from_dir;
	char *name, *from_name;
};

struct simfs {
	struct vfs vfs;
	pthread_mutex_t lock;
	pthread_cond_t unlocked; /* a flock was given back, or the power went */
	struct inode *inodes, *root;
	struct name_change *name_changes, **name_tail;
	uint64_t generation; /* bumped by a power cut: older files are stale */
	uint64_t files_open;
	uint64_t space;
	bool off;
	uint64_t mutations, cut_at;
	uint64_t counts[SIMFS_OP_COUNT];
	struct {
		int err;
		unsigned after;
	} fault[SIMFS_OP_COUNT];
};

struct simfile {
	struct vfs_file file;
	struct simfs *fs;
	struct inode *inode;
	uint64_t generation;
	int flags;
	int locked; /* LOCK_SH, LOCK_EX or 0 */
};

static void *
must(void *p)
{
	assert(p);
	return p;
}

static uint64_t
rnd(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* ---- images ---- */

static void
block_put(struct block *b)
{
	if (b && b != &unwritten && !--b->refs)
		free(b);
}

static void
image_set(struct image *im, uint64_t i, struct block *b)
{
	if (i >= im->ntab) {
		uint64_t n = max_of(i + 1, im->ntab * 2);

		if (!b)
			return;
		im->tab = must(realloc(im->tab, n * sizeof(*im->tab)));
		memset(im->tab + im->ntab, 0, (n - im->ntab) * sizeof(*im->tab));
		im->ntab = n;
	}
	im->allocated += !!b;
	im->allocated -= !!im->tab[i];
	block_put(im->tab[i]);
	im->tab[i] = b;
}

static struct block *
image_get(const struct image *im, uint64_t i)
{
	return i < im->ntab ? im->tab[i] : NULL;
}

/* the block as one that may be written */
static struct block *
image_own(struct image *im, uint64_t i)
{
	struct block *b = image_get(im, i), *copy;

	if (b && b != &unwritten && b->refs == 1)
		return b;
	copy = must(calloc(1, sizeof(*copy)));
	copy->refs = 1;
	if (b && b != &unwritten)
		memcpy(copy->data, b->data, BLOCK);
	image_set(im, i, copy);
	return copy;
}

static void
image_write(struct image *im, const uint8_t *p, uint64_t n, uint64_t offset)
{
	im->size = max_of(im->size, offset + n);
	while (n) {
		uint64_t in = offset % BLOCK, k = min_of(n, BLOCK - in);

		memcpy(image_own(im, offset / BLOCK)->data + in, p, k);
		p += k;
		offset += k;
		n -= k;
	}
}

static void
image_read(const struct image *im, uint8_t *p, uint64_t n, uint64_t offset)
{
	while (n) {
		uint64_t in = offset % BLOCK, k = min_of(n, BLOCK - in);
		const struct block *b = image_get(im, offset / BLOCK);

		if (b)
			memcpy(p, b->data + in, k);
		else
			memset(p, 0, k);
		p += k;
		offset += k;
		n -= k;
	}
}

/* whole blocks become `whole` (NULL or &unwritten), parts of blocks are zeroed */
static void
image_zero(struct image *im, uint64_t offset, uint64_t end, struct block *whole)
{
	if (!whole)
		end = min_of(end, im->ntab * BLOCK);
	while (offset < end) {
		uint64_t in = offset % BLOCK, k = min_of(end - offset, BLOCK - in), i = offset / BLOCK;
		struct block *b = image_get(im, i);

		if (k == BLOCK)
			image_set(im, i, whole);
		else if (b && b != &unwritten)
			memset(image_own(im, i)->data + in, 0, k);
		else if (!b && whole)
			image_set(im, i, whole);
		offset += k;
	}
}

static void
image_truncate(struct image *im, uint64_t size)
{
	/* what lies behind the end is zero at all times, so growing shows zeroes */
	if (size < im->size)
		image_zero(im, size, align_up(im->size, BLOCK), NULL);
	image_zero(im, align_up(size, BLOCK), UINT64_MAX, NULL);
	im->size = size;
}

static void
image_fallocate(struct image *im, int mode, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;

	if (mode & FALLOC_FL_PUNCH_HOLE)
		image_zero(im, offset, end, NULL);
	else if (mode & FALLOC_FL_ZERO_RANGE)
		image_zero(im, offset, end, &unwritten);
	else
		for (uint64_t i = offset / BLOCK; i * BLOCK < end; i++)
			if (!image_get(im, i))
				image_set(im, i, &unwritten);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		im->size = max_of(im->size, end);
}

static void
image_copy(struct image *to, const struct image *from)
{
	for (uint64_t i = 0; i < max_of(to->ntab, from->ntab); i++) {
		struct block *b = image_get(from, i);

		if (b && b != &unwritten)
			b->refs++;
		image_set(to, i, b);
	}
	to->size = from->size;
}

static void
image_clear(struct image *im)
{
	for (uint64_t i = 0; i < im->ntab; i++)
		block_put(im->tab[i]);
	free(im->tab);
	*im = (struct image){0};
}

static void
change_apply(struct image *im, const struct change *c)
{
	switch (c->kind) {
	case CHANGE_WRITE:
		image_write(im, c->data, c->length, c->offset);
		break;
	case CHANGE_TRUNCATE:
		image_truncate(im, c->offset);
		break;
	case CHANGE_FALLOCATE:
		image_fallocate(im, c->mode, c->offset, c->length);
		break;
	}
}

static void
change_tear(struct image *im, const struct change *c, uint64_t *seed)
{
	uint64_t end = c->offset + c->length;

	for (uint64_t at = c->offset; at < end;) {
		uint64_t stop = min_of(align_down(at, SECTOR) + SECTOR, end);

		if (rnd(seed) & 1)
			image_write(im, c->data + (at - c->offset), stop - at, at);
		at = stop;
	}
}

/* ---- names ---- */

static size_t
table_find(const struct table *t, const char *text, bool *found)
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

static struct inode *
table_get(const struct table *t, const char *text)
{
	bool found;
	size_t i = table_find(t, text, &found);

	return found ? t->names[i].inode : NULL;
}

static void inode_unref(struct simfs *fs, struct inode *ino);

static struct inode *
inode_ref(struct inode *ino)
{
	if (ino)
		ino->refs++;
	return ino;
}

/* target NULL removes */
static void
table_set(struct simfs *fs, struct table *t, const char *text, struct inode *target)
{
	bool found;
	size_t i = table_find(t, text, &found);
	struct inode *old = found ? t->names[i].inode : NULL;

	inode_ref(target);
	if (found && target) {
		t->names[i].inode = target;
	} else if (found) {
		free(t->names[i].text);
		memmove(t->names + i, t->names + i + 1, (t->n - i - 1) * sizeof(*t->names));
		t->n--;
	} else if (target) {
		if (t->n == t->room) {
			t->room = t->room ? t->room * 2 : 8;
			t->names = must(realloc(t->names, t->room * sizeof(*t->names)));
		}
		memmove(t->names + i + 1, t->names + i, (t->n - i) * sizeof(*t->names));
		t->names[i] = (struct name){must(strdup(text)), target};
		t->n++;
	}
	inode_unref(fs, old);
}

static void
table_clear(struct simfs *fs, struct table *t)
{
	while (t->n) {
		struct name last = t->names[--t->n];

		free(last.text);
		inode_unref(fs, last.inode);
	}
	free(t->names);
	*t = (struct table){0};
}

static void
table_copy(struct simfs *fs, struct table *to, const struct table *from)
{
	struct table old = *to;

	*to = (struct table){0};
	for (size_t i = 0; i < from->n; i++)
		table_set(fs, to, from->names[i].text, from->names[i].inode);
	table_clear(fs, &old);
}

/* the lowest free number, as ext4 does: what was deleted comes back at once */
static uint64_t
inode_number(struct simfs *fs, struct inode **place)
{
	uint64_t number = 2;
	struct inode *prev = NULL;

	for (struct inode *ino = fs->inodes; ino && ino->number == number; ino = ino->next) {
		prev = ino;
		number++;
	}
	*place = prev;
	return number;
}

static uint64_t
tick(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec) / MTIME_STEP_NS * MTIME_STEP_NS;
}

static struct inode *
inode_new(struct simfs *fs, bool is_dir)
{
	struct inode *ino = must(calloc(1, sizeof(*ino))), *place;

	ino->number = inode_number(fs, &place);
	ino->is_dir = is_dir;
	ino->tail = &ino->changes;
	ino->mtime = ino->mtime_disk = tick();
	ino->refs = 1;
	ino->prev = place;
	ino->next = place ? place->next : fs->inodes;
	if (ino->next)
		ino->next->prev = ino;
	*(place ? &place->next : &fs->inodes) = ino;
	return ino;
}

static void
changes_clear(struct inode *ino)
{
	struct change *c;

	while ((c = ino->changes)) {
		ino->changes = c->next;
		free(c);
	}
	ino->tail = &ino->changes;
}

static void
inode_unref(struct simfs *fs, struct inode *ino)
{
	if (!ino || --ino->refs)
		return;
	assert(!ino->opens);
	table_clear(fs, &ino->names_now);
	table_clear(fs, &ino->names_disk);
	changes_clear(ino);
	image_clear(&ino->now);
	image_clear(&ino->disk);
	*(ino->prev ? &ino->prev->next : &fs->inodes) = ino->next;
	if (ino->next)
		ino->next->prev = ino->prev;
	free(ino);
}

static void
name_change_free(struct simfs *fs, struct name_change *c)
{
	inode_unref(fs, c->dir);
	inode_unref(fs, c->target);
	inode_unref(fs, c->from_dir);
	free(c->name);
	free(c->from_name);
	free(c);
}

/* does it now, and remembers that it is not durable; from_dir NULL = no removal with it */
static void
name_change(struct simfs *fs, struct inode *dir, const char *name, struct inode *target,
	    struct inode *from_dir, const char *from_name)
{
	struct name_change *c = must(calloc(1, sizeof(*c)));
	struct inode *old = table_get(&dir->names_now, name);

	if (old)
		old->links--;
	if (target && !from_dir)
		target->links++;
	c->dir = inode_ref(dir);
	c->target = inode_ref(target);
	c->name = must(strdup(name));
	if (from_dir) {
		c->from_dir = inode_ref(from_dir);
		c->from_name = must(strdup(from_name));
	}
	*fs->name_tail = c;
	fs->name_tail = &c->next;
	table_set(fs, &dir->names_now, name, target);
	if (from_dir)
		table_set(fs, &from_dir->names_now, from_name, NULL);
}

static void
name_change_apply(struct simfs *fs, const struct name_change *c)
{
	table_set(fs, &c->dir->names_disk, c->name, c->target);
	if (c->from_dir)
		table_set(fs, &c->from_dir->names_disk, c->from_name, NULL);
}

/* only the removal that came with the rename is left */
static void
name_change_halve(struct simfs *fs, struct name_change *c)
{
	inode_unref(fs, c->dir);
	inode_unref(fs, c->target);
	free(c->name);
	c->dir = c->from_dir;
	c->name = c->from_name;
	c->target = NULL;
	c->from_dir = NULL;
	c->from_name = NULL;
}

static bool
name_change_concerns(const struct name_change *c, const struct inode *dir)
{
	return c->dir == dir || c->from_dir == dir;
}

/* dir/name is durable as some later change made it: earlier changes of it must not come back at a power cut
 */
static void
name_changes_overtake(struct simfs *fs, const struct name_change *by, const struct inode *dir,
		      const char *name)
{
	for (struct name_change **at = &fs->name_changes, *c; (c = *at) && c != by;) {
		if (c->from_dir == dir && !strcmp(c->from_name, name)) {
			inode_unref(fs, c->from_dir);
			free(c->from_name);
			c->from_dir = NULL;
			c->from_name = NULL;
		}
		if (c->dir != dir || strcmp(c->name, name)) {
			at = &c->next;
		} else if (c->from_dir) {
			name_change_halve(fs, c);
			at = &c->next;
		} else {
			*at = c->next;
			name_change_free(fs, c);
		}
	}
}

static void
names_sync(struct simfs *fs, struct inode *dir)
{
	struct name_change *c, *next;

	for (c = fs->name_changes; c; c = c->next) {
		if (!name_change_concerns(c, dir))
			continue;
		name_changes_overtake(fs, c, c->dir, c->name);
		if (c->from_dir == dir)
			name_changes_overtake(fs, c, c->from_dir, c->from_name);
	}
	fs->name_tail = &fs->name_changes;
	for (c = fs->name_changes; c; c = next) {
		next = c->next;
		if (c->dir == dir && c->from_dir && c->from_dir != dir) {
			/* the new name is durable; the old one may yet come back */
			table_set(fs, &c->dir->names_disk, c->name, c->target);
			name_change_halve(fs, c);
		} else if (name_change_concerns(c, dir)) {
			name_change_apply(fs, c);
			name_change_free(fs, c);
			continue;
		}
		*fs->name_tail = c;
		fs->name_tail = &c->next;
	}
	*fs->name_tail = NULL;
}

/* The directory that holds path's last part, and that part (in buf).  -ENOENT, -ENOTDIR, -EINVAL. */
static int
walk(struct simfs *fs, const char *path, struct inode **ret_dir, char *buf, size_t len)
{
	struct inode *dir = fs->root;

	buf[0] = '\0';
	for (;;) {
		size_t n;

		path += strspn(path, "/");
		if (!*path)
			break;
		if (buf[0]) {
			dir = table_get(&dir->names_now, buf);
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

#define NAME_BUF 256

static int
lookup(struct simfs *fs, const char *path, struct inode **ret)
{
	char name[NAME_BUF];
	struct inode *dir;
	int rc = walk(fs, path, &dir, name, sizeof(name));

	if (rc)
		return rc;
	*ret = name[0] ? table_get(&dir->names_now, name) : dir;
	return *ret ? 0 : -ENOENT;
}

/* ---- the gate that every call passes ---- */

static struct simfs *
fs_of(struct vfs *vfs)
{
	return container_of(vfs, struct simfs, vfs);
}

static int
enter(struct simfs *fs, enum simfs_op op)
{
	int err;

	pthread_mutex_lock(&fs->lock);
	fs->counts[op]++;
	if (fs->off)
		return -EIO;
	err = fs->fault[op].err;
	if (err && !fs->fault[op].after--) {
		fs->fault[op].err = 0;
		return err;
	}
	return 0;
}

static int
enter_file(struct vfs_file *file, enum simfs_op op, struct simfile **ret)
{
	struct simfile *f = container_of(file, struct simfile, file);
	int rc = enter(f->fs, op);

	*ret = f;
	return rc ? rc : f->generation != f->fs->generation ? -EIO : 0;
}

/* this call changes something: true = the power goes now, its effect will not be synced */
static bool
mutate(struct simfs *fs)
{
	fs->mutations++;
	if (fs->mutations == fs->cut_at) {
		fs->off = true;
		pthread_cond_broadcast(&fs->unlocked);
	}
	return fs->off;
}

static int64_t
leave(struct simfs *fs, int64_t rc)
{
	if (fs->off)
		rc = -EIO;
	pthread_mutex_unlock(&fs->lock);
	return rc;
}

/* ---- files ---- */

static uint64_t
used_blocks(const struct simfs *fs)
{
	uint64_t n = 0;

	for (const struct inode *ino = fs->inodes; ino; ino = ino->next)
		if (ino->links || ino->opens)
			n += ino->now.allocated;
	return n;
}

/* room for what [offset, end) lacks? */
static int
reserve(const struct simfs *fs, const struct inode *ino, uint64_t offset, uint64_t end)
{
	uint64_t need = 0;

	if (end > FILE_MAX)
		return -EFBIG;
	if (fs->space == UINT64_MAX)
		return 0;
	for (uint64_t i = offset / BLOCK; i * BLOCK < end; i++)
		need += !image_get(&ino->now, i);
	return need && used_blocks(fs) + need > fs->space / BLOCK ? -ENOSPC : 0;
}

static struct change *
change_add(struct inode *ino, enum change_kind kind, int mode, uint64_t offset, uint64_t length, size_t data)
{
	struct change *c = must(malloc(sizeof(*c) + data));

	*c = (struct change){.kind = kind, .mode = mode, .offset = offset, .length = length};
	*ino->tail = c;
	ino->tail = &c->next;
	ino->mtime = tick();
	return c;
}

static void
file_sync(struct inode *ino, bool data_only)
{
	struct change *c, *next;

	ino->tail = &ino->changes;
	for (c = ino->changes; c; c = next) {
		next = c->next;
		if (!c->doomed) {
			change_apply(&ino->disk, c);
			free(c);
			continue;
		}
		*ino->tail = c;
		ino->tail = &c->next;
	}
	*ino->tail = NULL;
	if (!data_only)
		ino->mtime_disk = ino->mtime;
}

static int
truncate_now(struct simfs *fs, struct inode *ino, uint64_t size)
{
	if (size > FILE_MAX)
		return -EFBIG;
	mutate(fs);
	change_apply(&ino->now, change_add(ino, CHANGE_TRUNCATE, 0, size, 0, 0));
	return 0;
}

static int
open_inode(struct simfs *fs, const char *path, int flags, struct inode **ret)
{
	char name[NAME_BUF];
	struct inode *dir, *ino;
	int rc = walk(fs, path, &dir, name, sizeof(name));

	if (rc)
		return rc;
	if (flags & O_APPEND || (flags & O_TMPFILE) == O_TMPFILE)
		return -EINVAL;
	if (!dir->is_dir)
		return -ENOTDIR;
	ino = name[0] ? table_get(&dir->names_now, name) : dir;
	if (!ino && !(flags & O_CREAT))
		return -ENOENT;
	if (ino && flags & O_CREAT && flags & O_EXCL)
		return -EEXIST;
	if (ino && ino->is_dir && ((flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT))
		return -EISDIR;
	if (flags & O_DIRECTORY && !(ino && ino->is_dir))
		return -ENOTDIR;
	if (!ino) {
		mutate(fs);
		ino = inode_new(fs, false);
		name_change(fs, dir, name, ino, NULL, NULL);
		*ret = ino;
		return 0;
	}
	*ret = inode_ref(ino);
	return flags & O_TRUNC && !ino->is_dir ? truncate_now(fs, ino, 0) : 0;
}

static int
sim_open(struct vfs *vfs, const char *path, int flags, mode_t mode, struct vfs_file **ret)
{
	struct simfs *fs = fs_of(vfs);
	struct inode *ino = NULL;
	struct simfile *f;
	int rc = enter(fs, SIMFS_OPEN);

	(void)mode;
	if (!rc)
		rc = open_inode(fs, path, flags, &ino);
	if (rc || fs->off) {
		inode_unref(fs, ino);
		return (int)leave(fs, rc);
	}
	f = must(calloc(1, sizeof(*f)));
	f->file = (struct vfs_file){.vfs = vfs, .fd = -1, .direct = flags & O_DIRECT};
	f->fs = fs;
	f->inode = ino;
	f->generation = fs->generation;
	f->flags = flags;
	ino->opens++;
	fs->files_open++;
	*ret = &f->file;
	return (int)leave(fs, 0);
}

static void
lock_drop(struct simfile *f)
{
	if (f->generation != f->fs->generation)
		return;
	if (f->locked == LOCK_EX)
		f->inode->exclusive = NULL;
	if (f->locked == LOCK_SH)
		f->inode->shared--;
	f->locked = 0;
	pthread_cond_broadcast(&f->fs->unlocked);
}

static void
sim_close(struct vfs_file *file)
{
	struct simfile *f = container_of(file, struct simfile, file);
	struct simfs *fs = f->fs;

	pthread_mutex_lock(&fs->lock);
	lock_drop(f);
	f->inode->opens--;
	fs->files_open--;
	inode_unref(fs, f->inode);
	pthread_mutex_unlock(&fs->lock);
	free(f);
}

static int
check_io(const struct simfile *f, const struct iovec *iov, int niov, uint64_t offset, uint64_t *ret_n)
{
	uint64_t n = 0, low = offset;

	if (niov < 0 || niov > 1024)
		return -EINVAL;
	if (f->inode->is_dir)
		return -EISDIR;
	for (int i = 0; i < niov; i++) {
		n += iov[i].iov_len;
		low |= iov[i].iov_len | (uintptr_t)iov[i].iov_base;
	}
	*ret_n = n;
	return f->file.direct && low % SECTOR ? -EINVAL : 0;
}

static int64_t
sim_preadv(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	struct simfile *f;
	const struct image *im;
	int rc = enter_file(file, SIMFS_READ, &f);
	uint64_t n, left;

	if (!rc)
		rc = (f->flags & O_ACCMODE) == O_WRONLY ? -EBADF : check_io(f, iov, niov, offset, &n);
	if (rc)
		return leave(f->fs, rc);
	im = &f->inode->now;
	n = offset < im->size ? min_of(n, im->size - offset) : 0;
	left = n;
	for (int i = 0; left; i++) {
		uint64_t k = min_of(left, iov[i].iov_len);

		image_read(im, iov[i].iov_base, k, offset);
		offset += k;
		left -= k;
	}
	return leave(f->fs, (int64_t)n);
}

static int64_t
sim_pwritev(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	struct simfile *f;
	struct change *c;
	int rc = enter_file(file, SIMFS_WRITE, &f);
	uint64_t n, at = 0;

	if (!rc)
		rc = (f->flags & O_ACCMODE) == O_RDONLY ? -EBADF : check_io(f, iov, niov, offset, &n);
	if (!rc)
		rc = reserve(f->fs, f->inode, offset, offset + n);
	if (rc)
		return leave(f->fs, rc);
	mutate(f->fs);
	c = change_add(f->inode, CHANGE_WRITE, 0, offset, n, n);
	for (int i = 0; i < niov; i++) {
		if (iov[i].iov_len)
			memcpy(c->data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	change_apply(&f->inode->now, c);
	if (f->flags & O_DSYNC && !f->fs->off)
		file_sync(f->inode, true);
	return leave(f->fs, (int64_t)n);
}

static int
sim_fsync(struct vfs_file *file, bool data_only)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_FSYNC, &f);

	if (!rc && !mutate(f->fs))
		file_sync(f->inode, data_only);
	else if (rc && f->generation == f->fs->generation)
		for (struct change *c = f->inode->changes; c; c = c->next)
			c->doomed = true;
	return (int)leave(f->fs, rc);
}

static void
fill_stat(const struct inode *ino, struct vfs_stat *ret)
{
	*ret = (struct vfs_stat){
		.size = ino->now.size,
		.inode = ino->number,
		.mtime_ns = ino->mtime,
		.blocks = ino->now.allocated * (BLOCK / 512),
		.is_dir = ino->is_dir,
	};
}

static int
sim_fstat(struct vfs_file *file, struct vfs_stat *ret)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_STAT, &f);

	if (!rc)
		fill_stat(f->inode, ret);
	return (int)leave(f->fs, rc);
}

static int
sim_truncate(struct vfs_file *file, uint64_t size)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_TRUNCATE, &f);

	if (!rc)
		rc = (f->flags & O_ACCMODE) == O_RDONLY || f->inode->is_dir
			     ? -EINVAL
			     : truncate_now(f->fs, f->inode, size);
	return (int)leave(f->fs, rc);
}

static int
sim_fallocate(struct vfs_file *file, int mode, uint64_t offset, uint64_t length)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_FALLOCATE, &f);
	int what = mode & ~FALLOC_FL_KEEP_SIZE;

	if (!rc && ((f->flags & O_ACCMODE) == O_RDONLY || f->inode->is_dir))
		rc = -EBADF;
	if (!rc && (!length || offset + length < offset))
		rc = -EINVAL;
	if (!rc && what && what != FALLOC_FL_ZERO_RANGE &&
	    mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		rc = -EOPNOTSUPP;
	if (!rc && what != FALLOC_FL_PUNCH_HOLE)
		rc = reserve(f->fs, f->inode, offset, offset + length);
	if (!rc) {
		mutate(f->fs);
		change_apply(&f->inode->now, change_add(f->inode, CHANGE_FALLOCATE, mode, offset, length, 0));
	}
	return (int)leave(f->fs, rc);
}

static int64_t
sim_seek(struct vfs_file *file, uint64_t offset, int whence)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_STAT, &f);
	const struct image *im = &f->inode->now;
	uint64_t at = offset;

	if (!rc && whence != SEEK_DATA && whence != SEEK_HOLE)
		rc = -EINVAL;
	if (!rc && offset >= im->size)
		rc = -ENXIO;
	if (rc)
		return leave(f->fs, rc);
	while (at < im->size) {
		const struct block *b = image_get(im, at / BLOCK);

		if ((b && b != &unwritten) == (whence == SEEK_DATA))
			break;
		at = align_down(at, BLOCK) + BLOCK;
	}
	if (at >= im->size)
		return leave(f->fs, whence == SEEK_DATA ? -ENXIO : (int64_t)im->size);
	return leave(f->fs, (int64_t)at);
}

static bool
lock_free(const struct simfile *f, int op)
{
	return !f->inode->exclusive && (op == LOCK_SH || !f->inode->shared);
}

static int
sim_flock(struct vfs_file *file, int op)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_FLOCK, &f), what = op & ~LOCK_NB;

	if (!rc && what != LOCK_SH && what != LOCK_EX && what != LOCK_UN)
		rc = -EINVAL;
	if (rc)
		return (int)leave(f->fs, rc);
	lock_drop(f);
	if (what == LOCK_UN)
		return (int)leave(f->fs, 0);
	while (!lock_free(f, what)) {
		if (op & LOCK_NB)
			return (int)leave(f->fs, -EWOULDBLOCK);
		pthread_cond_wait(&f->fs->unlocked, &f->fs->lock);
		if (f->fs->off || f->generation != f->fs->generation)
			return (int)leave(f->fs, -EIO);
	}
	f->locked = what;
	if (what == LOCK_EX)
		f->inode->exclusive = f;
	else
		f->inode->shared++;
	return (int)leave(f->fs, 0);
}

static int
sim_set_mtime(struct vfs_file *file, uint64_t mtime_ns)
{
	struct simfile *f;
	int rc = enter_file(file, SIMFS_SET_MTIME, &f);

	if (!rc)
		f->inode->mtime = mtime_ns;
	return (int)leave(f->fs, rc);
}

/* ---- names from outside ---- */

static int
sim_stat(struct vfs *vfs, const char *path, struct vfs_stat *ret)
{
	struct simfs *fs = fs_of(vfs);
	struct inode *ino;
	int rc = enter(fs, SIMFS_STAT);

	if (!rc)
		rc = lookup(fs, path, &ino);
	if (!rc)
		fill_stat(ino, ret);
	return (int)leave(fs, rc);
}

static int
mkdir_locked(struct simfs *fs, const char *path)
{
	char name[NAME_BUF];
	struct inode *dir, *ino;
	int rc = walk(fs, path, &dir, name, sizeof(name));

	if (rc)
		return rc;
	if (!dir->is_dir)
		return -ENOTDIR;
	if (!name[0] || table_get(&dir->names_now, name))
		return -EEXIST;
	mutate(fs);
	ino = inode_new(fs, true);
	name_change(fs, dir, name, ino, NULL, NULL);
	inode_unref(fs, ino);
	return 0;
}

static int
sim_mkdir(struct vfs *vfs, const char *path, mode_t mode)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_MKDIR);

	(void)mode;
	return (int)leave(fs, rc ? rc : mkdir_locked(fs, path));
}

static int
move_locked(struct simfs *fs, const char *from, const char *to, bool link)
{
	char from_name[NAME_BUF], to_name[NAME_BUF];
	struct inode *from_dir, *to_dir, *ino, *old;
	int rc = walk(fs, from, &from_dir, from_name, sizeof(from_name));

	if (!rc)
		rc = walk(fs, to, &to_dir, to_name, sizeof(to_name));
	if (rc)
		return rc;
	if (!from_dir->is_dir || !to_dir->is_dir)
		return -ENOTDIR;
	ino = from_name[0] ? table_get(&from_dir->names_now, from_name) : NULL;
	old = to_name[0] ? table_get(&to_dir->names_now, to_name) : to_dir;
	if (!ino)
		return -ENOENT;
	if (link && old)
		return -EEXIST;
	if (ino->is_dir)
		return link ? -EPERM : -ENOTSUP;
	if (old && old->is_dir)
		return -EISDIR;
	if (old == ino)
		return 0;
	mutate(fs);
	name_change(fs, to_dir, to_name, ino, link ? NULL : from_dir, from_name);
	return 0;
}

static int
sim_rename(struct vfs *vfs, const char *from, const char *to)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_RENAME);

	return (int)leave(fs, rc ? rc : move_locked(fs, from, to, false));
}

static int
sim_link(struct vfs *vfs, const char *from, const char *to)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_LINK);

	return (int)leave(fs, rc ? rc : move_locked(fs, from, to, true));
}

static int
remove_locked(struct simfs *fs, const char *path, bool dir_wanted)
{
	char name[NAME_BUF];
	struct inode *dir, *ino;
	int rc = walk(fs, path, &dir, name, sizeof(name));

	if (rc)
		return rc;
	if (!dir->is_dir)
		return -ENOTDIR;
	ino = name[0] ? table_get(&dir->names_now, name) : NULL;
	if (!ino)
		return name[0] ? -ENOENT : -EBUSY;
	if (ino->is_dir != dir_wanted)
		return dir_wanted ? -ENOTDIR : -EISDIR;
	if (dir_wanted && ino->names_now.n)
		return -ENOTEMPTY;
	mutate(fs);
	name_change(fs, dir, name, NULL, NULL, NULL);
	return 0;
}

static int
sim_unlink(struct vfs *vfs, const char *path)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_UNLINK);

	return (int)leave(fs, rc ? rc : remove_locked(fs, path, false));
}

static int
sim_rmdir(struct vfs *vfs, const char *path)
{
	struct simfs *fs = fs_of(vfs);
	int rc = enter(fs, SIMFS_RMDIR);

	return (int)leave(fs, rc ? rc : remove_locked(fs, path, true));
}

static int
sim_readdir(struct vfs *vfs, const char *path, vfs_dirent_fn *fn, void *arg)
{
	struct simfs *fs = fs_of(vfs);
	struct inode *dir;
	struct {
		char *text;
		bool is_dir;
	} *list = NULL;
	size_t n = 0, step = 1;
	int rc = enter(fs, SIMFS_READDIR);

	if (!rc)
		rc = lookup(fs, path, &dir);
	if (!rc && !dir->is_dir)
		rc = -ENOTDIR;
	if (!rc) {
		n = dir->names_now.n;
		list = must(calloc(n + 1, sizeof(*list)));
		/* any order but the sorted one: every second, then the others */
		step = n > 2 ? (n | 1) / 2 : 1;
		for (size_t i = 0; i < n; i++) {
			const struct name *name = &dir->names_now.names[n - 1 - i];

			list[i].text = must(strdup(name->text));
			list[i].is_dir = name->inode->is_dir;
		}
	}
	rc = (int)leave(fs, rc);
	for (size_t start = 0; start < step; start++)
		for (size_t i = start; i < n; i += step)
			if (!rc)
				rc = fn(arg, list[i].text, list[i].is_dir);
	for (size_t i = 0; i < n; i++)
		free(list[i].text);
	free(list);
	return rc;
}

static int
sim_fsync_dir(struct vfs *vfs, const char *path)
{
	struct simfs *fs = fs_of(vfs);
	struct inode *dir;
	int rc = enter(fs, SIMFS_FSYNC_DIR);

	if (!rc)
		rc = lookup(fs, path, &dir);
	if (!rc && !dir->is_dir)
		rc = -ENOTDIR;
	if (!rc && !mutate(fs))
		names_sync(fs, dir);
	return (int)leave(fs, rc);
}

static const struct vfs_ops sim_ops = {
	.open = sim_open,
	.close = sim_close,
	.preadv = sim_preadv,
	.pwritev = sim_pwritev,
	.fsync = sim_fsync,
	.fstat = sim_fstat,
	.truncate = sim_truncate,
	.fallocate = sim_fallocate,
	.seek = sim_seek,
	.flock = sim_flock,
	.set_mtime = sim_set_mtime,
	.stat = sim_stat,
	.mkdir = sim_mkdir,
	.rename = sim_rename,
	.link = sim_link,
	.unlink = sim_unlink,
	.rmdir = sim_rmdir,
	.readdir = sim_readdir,
	.fsync_dir = sim_fsync_dir,
};

/* ---- the power ---- */

static void
inode_cut(struct inode *ino, uint64_t *seed)
{
	for (const struct change *c = ino->changes; c; c = c->next) {
		unsigned fate = rnd(seed) % 3;

		if (c->kind != CHANGE_WRITE) {
			if (fate)
				change_apply(&ino->disk, c);
			continue;
		}
		if (fate == 0)
			change_apply(&ino->disk, c);
		else if (fate == 1)
			change_tear(&ino->disk, c, seed);
		if (fate && rnd(seed) % 2)
			ino->disk.size = max_of(ino->disk.size, c->offset + c->length);
	}
	if (rnd(seed) & 1)
		ino->mtime_disk = ino->mtime;
	changes_clear(ino);
	image_copy(&ino->now, &ino->disk);
	ino->mtime = ino->mtime_disk;
	ino->links = 0;
	ino->shared = 0;
	ino->exclusive = NULL;
}

static void
count_links(struct inode *dir)
{
	for (size_t i = 0; i < dir->names_now.n; i++) {
		dir->names_now.names[i].inode->links++;
		if (dir->names_now.names[i].inode->is_dir)
			count_links(dir->names_now.names[i].inode);
	}
}

void
simfs_power_cut(struct simfs *fs, uint64_t seed)
{
	struct inode **all, *ino;
	struct name_change *c;
	size_t n = 0;

	pthread_mutex_lock(&fs->lock);
	while ((c = fs->name_changes)) {
		fs->name_changes = c->next;
		if (rnd(&seed) & 1)
			name_change_apply(fs, c);
		name_change_free(fs, c);
	}
	fs->name_tail = &fs->name_changes;
	for (ino = fs->inodes; ino; ino = ino->next, n++)
		inode_cut(ino, &seed);
	all = must(calloc(n, sizeof(struct inode *)));
	n = 0;
	for (ino = fs->inodes; ino; ino = ino->next)
		all[n++] = inode_ref(ino);
	for (size_t i = 0; i < n; i++)
		table_copy(fs, &all[i]->names_now, &all[i]->names_disk);
	for (size_t i = 0; i < n; i++)
		inode_unref(fs, all[i]);
	free(all);
	fs->root->links = 1;
	count_links(fs->root);
	fs->generation++;
	fs->off = false;
	fs->cut_at = 0;
	pthread_cond_broadcast(&fs->unlocked);
	pthread_mutex_unlock(&fs->lock);
}

void
simfs_cut_after(struct simfs *fs, uint64_t n)
{
	pthread_mutex_lock(&fs->lock);
	fs->cut_at = n ? fs->mutations + n : 0;
	pthread_mutex_unlock(&fs->lock);
}

void
simfs_power_off(struct simfs *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->off = true;
	pthread_cond_broadcast(&fs->unlocked);
	pthread_mutex_unlock(&fs->lock);
}

bool
simfs_is_off(struct simfs *fs)
{
	bool off;

	pthread_mutex_lock(&fs->lock);
	off = fs->off;
	pthread_mutex_unlock(&fs->lock);
	return off;
}

uint64_t
simfs_count(struct simfs *fs, enum simfs_op op)
{
	uint64_t n;

	pthread_mutex_lock(&fs->lock);
	n = fs->counts[op];
	pthread_mutex_unlock(&fs->lock);
	return n;
}

uint64_t
simfs_mutations(struct simfs *fs)
{
	uint64_t n;

	pthread_mutex_lock(&fs->lock);
	n = fs->mutations;
	pthread_mutex_unlock(&fs->lock);
	return n;
}

void
simfs_set_space(struct simfs *fs, uint64_t bytes)
{
	pthread_mutex_lock(&fs->lock);
	fs->space = bytes;
	pthread_mutex_unlock(&fs->lock);
}

uint64_t
simfs_used(struct simfs *fs)
{
	uint64_t n;

	pthread_mutex_lock(&fs->lock);
	n = used_blocks(fs) * BLOCK;
	pthread_mutex_unlock(&fs->lock);
	return n;
}

void
simfs_fail_next(struct simfs *fs, enum simfs_op op, int err, unsigned after)
{
	pthread_mutex_lock(&fs->lock);
	fs->fault[op].err = err;
	fs->fault[op].after = after;
	pthread_mutex_unlock(&fs->lock);
}

struct simfs *
simfs_new(void)
{
	struct simfs *fs = must(calloc(1, sizeof(*fs)));

	fs->vfs.ops = &sim_ops;
	pthread_mutex_init(&fs->lock, NULL);
	pthread_cond_init(&fs->unlocked, NULL);
	fs->name_tail = &fs->name_changes;
	fs->space = UINT64_MAX;
	fs->root = inode_new(fs, true);
	fs->root->links = 1;
	return fs;
}

void
simfs_free(struct simfs *fs)
{
	struct name_change *c;

	if (!fs)
		return;
	assert(!fs->files_open);
	while ((c = fs->name_changes)) {
		fs->name_changes = c->next;
		name_change_free(fs, c);
	}
	inode_unref(fs, fs->root);
	assert(!fs->inodes);
	pthread_cond_destroy(&fs->unlocked);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}

struct vfs *
simfs_vfs(struct simfs *fs)
{
	return &fs->vfs;
}
