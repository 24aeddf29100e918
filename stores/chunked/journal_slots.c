/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of a journal: DIR/INDEX16.journal, a fixed number of them, all
 * with their full size on disk from the beginning, used in turn and never renamed:
 * a change of segment touches no metadata.  Beside them `manifest`, which says
 * how many there are and whose (so that a lost file is noticed), and `lock`.
 *
 * A file that was never written through (RESERVED) is filled with zeroes and synced before its first
 * use (READY), so that the sync after a record has no block map to write.
 *
 * Order of creation: every file, synced; the directory; the manifest last.  A
 * journal without a manifest was never finished and holds nothing.
 *
 * Threads: blocking calls, never on a loop; journal_slot_fill() on a pool thread while the loop appends
 * elsewhere. Failure: an error with words; what was made stays and is found by the next attempt.
 */
#include "stores/chunked/journal_impl.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "common/failpoint.h"
#include "common/util.h"

#define SUFFIX ".journal"
#define NAME_LEN (16 + sizeof(SUFFIX) - 1)
#define SLOTS_MAX 65536u

char *
journal_path(const char *dir, const char *name)
{
	size_t n = strlen(dir) + strlen(name) + 2;
	char *path = malloc(n);

	if (path)
		(void)snprintf(path, n, "%s/%s", dir, name);
	return path;
}

char *
journal_slot_path(const struct journal *j, unsigned index)
{
	char name[NAME_LEN + 1];

	(void)snprintf(name, sizeof(name), "%016x" SUFFIX, index);
	return journal_path(j->dir, name);
}

/** The index in a segment file's name; false: another file. */
static bool
parse_name(const char *name, unsigned *ret)
{
	uint64_t v = 0;

	if (strlen(name) != NAME_LEN || strcmp(name + 16, SUFFIX) != 0)
		return false;
	for (unsigned i = 0; i < 16; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *d = strchr(digits, name[i]);

		if (!d)
			return false;
		v = v << 4 | (uint64_t)(d - digits);
	}
	*ret = (unsigned)v;
	return v < SLOTS_MAX;
}

int
journal_lock(struct journal *j, struct errinfo *info)
{
	char *path = journal_path(j->dir, "lock");

	if (!path)
		return err_set(info, -ENOMEM, "no memory");
	int rc = j->vfs->ops->open(j->vfs, path, O_RDWR | O_CREAT, 0600, &j->lock);
	if (rc) {
		j->lock = NULL;
		err_set(info, rc, "%s: %s", path, err_text(rc));
	} else {
		rc = j->vfs->ops->flock(j->lock, LOCK_EX | LOCK_NB);
		if (rc == -EWOULDBLOCK || rc == -EBUSY)
			rc = err_set(info, -EBUSY, "journal %s: another process has it open", j->dir);
		else if (rc)
			err_set(info, rc, "%s: %s", path, err_text(rc));
	}
	free(path);
	return rc;
}

/* ---- listing ---------------------------------------------------------------- */

static int
add_slot(struct journal *j, unsigned index, struct journal_slot **ret)
{
	struct journal_slot *slots = realloc(j->slots, (j->nslots + 1) * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	j->slots = slots;
	slots[j->nslots] = (struct journal_slot){.index = index};
	*ret = &slots[j->nslots++];
	return 0;
}

static int
list_one(void *arg, const char *name, bool is_dir)
{
	struct journal_slot *slot;
	unsigned index;

	if (is_dir || !parse_name(name, &index))
		return 0;
	return add_slot(arg, index, &slot);
}

static int
by_index(const void *a, const void *b)
{
	const struct journal_slot *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static int
open_slot(struct journal *j, struct journal_slot *slot, int flags, struct errinfo *info)
{
	char *path = journal_slot_path(j, slot->index);

	if (!path)
		return err_set(info, -ENOMEM, "no memory");
	int rc = j->vfs->ops->open(j->vfs, path, O_RDWR | O_DIRECT | flags, 0600, &slot->file);
	if (rc) {
		slot->file = NULL;
		err_set(info, rc, "%s: %s", path, err_text(rc));
	}
	free(path);
	return rc;
}

int
journal_slots_list(struct journal *j, struct errinfo *info)
{
	int rc = j->vfs->ops->readdir(j->vfs, j->dir, list_one, j);

	if (rc)
		return err_set(info, rc, "journal %s: %s", j->dir, err_text(rc));
	if (j->nslots)
		qsort(j->slots, j->nslots, sizeof(*j->slots), by_index);
	for (unsigned i = 0; i < j->nslots && !rc; i++)
		rc = open_slot(j, &j->slots[i], 0, info);
	return rc;
}

void
journal_close_files(struct journal *j)
{
	for (unsigned i = 0; i < j->nslots; i++)
		if (j->slots[i].file)
			j->vfs->ops->close(j->slots[i].file);
	free(j->slots);
	j->slots = NULL;
	j->nslots = 0;
	if (j->lock)
		j->vfs->ops->close(j->lock);
	j->lock = NULL;
}

int
journal_read_pages(struct journal_slot *slot, uint32_t page, uint32_t n, void *buf)
{
	return vfs_read_full(slot->file, buf, (size_t)n * JOURNAL_PAGE, (uint64_t)page * JOURNAL_PAGE);
}

/* ---- writing ------------------------------------------------------------------ */

int
journal_slot_header(struct journal *j, struct journal_slot *slot, enum journal_segment_state state)
{
	struct journal_segment seg = {.state = state, .segment_bytes = j->segment_bytes};
	uint8_t *page;

	if (posix_memalign((void **)&page, JOURNAL_PAGE, JOURNAL_PAGE) != 0)
		return -ENOMEM;
	memcpy(seg.volume_uuid, j->volume_uuid, UUID_LEN);
	memcpy(seg.journal_uuid, j->uuid, UUID_LEN);
	journal_segment_encode(&seg, page);
	int rc = vfs_write_full(slot->file, page, JOURNAL_PAGE, 0);
	free(page);
	return rc;
}

int
journal_slot_fill(struct journal *j, struct journal_slot *slot)
{
	struct iovec iov[16];
	int fault = failpoint_hit(FP_JOURNAL_SEGMENT);

	if (fault < 0)
		return fault;
	for (unsigned i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i] = (struct iovec){j->zeroes, ZERO_BYTES};
	for (uint64_t at = 0; at < j->segment_bytes;) {
		uint64_t left = (j->segment_bytes - at) / ZERO_BYTES;
		int n = (int)min_of(left, (uint64_t)ARRAY_SIZE(iov));
		int64_t rc = slot->file->vfs->ops->pwritev(slot->file, iov, n, at);

		if (rc < 0)
			return (int)rc;
		if (rc != (int64_t)n * ZERO_BYTES)
			return -EIO;
		at += (uint64_t)rc;
	}
	int rc = journal_slot_header(j, slot, JOURNAL_SEGMENT_READY);
	return rc ? rc : slot->file->vfs->ops->fsync(slot->file, false);
}

/** Size and space first, so that no append ever meets ENOSPC. */
static int
make_slot(struct journal *j, unsigned index, struct errinfo *info)
{
	struct journal_slot *slot;
	int rc = failpoint_hit(FP_JOURNAL_SEGMENT);

	if (rc < 0)
		return err_set(info, rc, "journal %s: cannot make a segment: %s", j->dir, err_text(rc));
	rc = add_slot(j, index, &slot);
	if (rc)
		return err_set(info, rc, "no memory");
	rc = open_slot(j, slot, O_CREAT, info);
	if (rc)
		return rc;
	rc = j->vfs->ops->fallocate(slot->file, 0, 0, j->segment_bytes);
	if (rc == -EOPNOTSUPP || rc == -ENOSYS) {
		rc = journal_slot_fill(j, slot);
		slot->state = SLOT_READY;
	} else if (!rc) {
		rc = journal_slot_header(j, slot, JOURNAL_SEGMENT_RESERVED);
		if (!rc)
			rc = j->vfs->ops->fsync(slot->file, false);
		slot->state = SLOT_RESERVED;
	}
	if (rc)
		err_set(info, rc, "journal %s: cannot reserve a segment of %" PRIu32 " bytes: %s", j->dir,
			j->segment_bytes, err_text(rc));
	return rc;
}

static int
drop_slot(struct journal *j, struct journal_slot *slot)
{
	char *path = journal_slot_path(j, slot->index);

	if (!path)
		return -ENOMEM;
	j->vfs->ops->close(slot->file);
	int rc = j->vfs->ops->unlink(j->vfs, path);
	free(path);
	memmove(slot, slot + 1, (size_t)(j->slots + j->nslots - slot - 1) * sizeof(*slot));
	j->nslots--;
	return rc;
}

/** Indices are dense from 0: files are dropped from the end, as far as those there are free. */
static int
shrink(struct journal *j, unsigned n, struct errinfo *info)
{
	unsigned keep = j->nslots;

	while (keep > n && j->slots[keep - 1].state != SLOT_LIVE)
		keep--;
	if (keep == j->nslots)
		return 0;
	int rc = journal_manifest_write(j, keep);
	while (!rc && j->nslots > keep)
		rc = drop_slot(j, &j->slots[j->nslots - 1]);
	if (rc)
		err_set(info, rc, "journal %s: cannot drop a segment: %s", j->dir, err_text(rc));
	return rc;
}

/** The lowest index without a file. */
static unsigned
first_gap(const struct journal *j)
{
	unsigned i = 0;

	while (i < j->nslots && j->slots[i].index == i)
		i++;
	return i;
}

int
journal_slots_resize(struct journal *j, unsigned n, bool lost, struct errinfo *info)
{
	int rc = 0;
	bool changed = lost;

	assert(n >= SLOTS_MIN && n <= SLOTS_MAX);
	for (unsigned gap; !rc && ((gap = first_gap(j)) < j->nslots || gap < n); changed = true) {
		rc = make_slot(j, gap, info);
		qsort(j->slots, j->nslots, sizeof(*j->slots), by_index);
	}
	if (rc || !changed)
		return rc ? rc : shrink(j, n, info);
	rc = j->vfs->ops->fsync_dir(j->vfs, j->dir);
	if (!rc)
		rc = journal_manifest_write(j, j->nslots);
	if (rc)
		return err_set(info, rc, "journal %s: %s", j->dir, err_text(rc));
	return shrink(j, n, info);
}

int
journal_slots_remove(struct journal *j)
{
	char *path = journal_path(j->dir, JOURNAL_MANIFEST_NAME);

	if (!path)
		return -ENOMEM;
	/* the manifest goes first, durably: without it there is no journal, with it every file must be there
	 */
	int rc = j->vfs->ops->unlink(j->vfs, path);
	free(path);
	if (rc == -ENOENT)
		rc = 0;
	if (!rc)
		rc = j->vfs->ops->fsync_dir(j->vfs, j->dir);
	while (!rc && j->nslots)
		rc = drop_slot(j, &j->slots[j->nslots - 1]);
	return rc;
}

/* ---- manifest -------------------------------------------------------------------- */

int
journal_manifest_read(struct journal *j, struct journal_segment *ret)
{
	char *path = journal_path(j->dir, JOURNAL_MANIFEST_NAME), *text;
	size_t n;

	if (!path)
		return -ENOMEM;
	int rc = vfs_slurp(j->vfs, path, JOURNAL_PAGE, &text, &n);
	free(path);
	if (rc)
		return rc == -EFBIG ? LG_ECORRUPT : rc;
	rc = n == JOURNAL_PAGE ? journal_segment_decode((const uint8_t *)text, ret) : LG_ECORRUPT;
	if (!rc && ret->state != JOURNAL_MANIFEST)
		rc = LG_ECORRUPT;
	free(text);
	return rc;
}

int
journal_manifest_write(struct journal *j, unsigned n)
{
	struct journal_segment seg = {
		.state = JOURNAL_MANIFEST, .segment_bytes = j->segment_bytes, .number = n};
	char *path = journal_path(j->dir, JOURNAL_MANIFEST_NAME);
	uint8_t *page = malloc(JOURNAL_PAGE);
	int rc = -ENOMEM;

	if (path && page) {
		memcpy(seg.volume_uuid, j->volume_uuid, UUID_LEN);
		memcpy(seg.journal_uuid, j->uuid, UUID_LEN);
		journal_segment_encode(&seg, page);
		rc = vfs_replace(j->vfs, path, page, JOURNAL_PAGE, 0600);
	}
	free(page);
	free(path);
	return rc;
}

/* ---- volume delete ------------------------------------------------------------------ */

struct delete_state {
	struct vfs *vfs;
	const char *dir;
	char *victim;
};

static int
pick_ours(void *arg, const char *name, bool is_dir)
{
	struct delete_state *d = arg;
	unsigned index;

	if (is_dir || (!parse_name(name, &index) && strcmp(name, "lock") != 0 &&
		       strncmp(name, JOURNAL_MANIFEST_NAME, sizeof(JOURNAL_MANIFEST_NAME) - 1) != 0))
		return 0;
	d->victim = journal_path(d->dir, name);
	return d->victim ? 1 : -ENOMEM;
}

int
journal_sync_parent(struct vfs *vfs, const char *dir)
{
	char *parent = strdup(dir);

	if (!parent)
		return -ENOMEM;
	size_t n = strlen(parent);
	while (n > 1 && parent[n - 1] == '/')
		parent[--n] = 0;
	char *slash = strrchr(parent, '/');
	const char *name = parent;
	if (!slash)
		name = ".";
	else if (slash == parent)
		parent[1] = 0;
	else
		*slash = 0;
	int rc = vfs->ops->fsync_dir(vfs, name);
	free(parent);
	return rc;
}

int
journal_delete(struct vfs *vfs, const char *dir)
{
	char *manifest = journal_path(dir, JOURNAL_MANIFEST_NAME);

	if (!manifest)
		return -ENOMEM;
	int rc = vfs->ops->unlink(vfs, manifest);
	free(manifest);
	if (rc == -ENOENT || rc == -ENOTDIR)
		rc = 0;
	while (!rc) {
		struct delete_state d = {.vfs = vfs, .dir = dir};

		rc = vfs->ops->readdir(vfs, dir, pick_ours, &d);
		if (rc == -ENOENT)
			return 0;
		if (rc != 1)
			break;
		rc = vfs->ops->unlink(vfs, d.victim);
		free(d.victim);
	}
	if (rc)
		return rc;
	rc = vfs->ops->rmdir(vfs, dir);
	if (rc == -ENOTEMPTY || rc == -EEXIST)
		return 0; /* somebody keeps other files there: not ours to delete */
	return rc ? rc : journal_sync_parent(vfs, dir);
}
