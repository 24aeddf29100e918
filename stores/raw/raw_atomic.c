/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Atomic writes to a file, by writing twice: first into a file of its own beside it, the slot, then where they
 * belong.
 *
 *   WRITE, atomic   its range, alone -> the slot, one at a time -> data and entry into the slot, fdatasync ->
 *                   write -> fdatasync -> take the entry out, fdatasync -> done
 *   FLUSH of a SANITIZE: zeroes over what the slot has, then as others
 *   open            an entry whose data is whole is written where it belongs, fdatasync, and taken out
 *
 * The slot: page 0 a magic, page 1 the entry (zeroes: none), from page 2 on the data.  The entry and its data have
 * checksums: a slot that was torn is no entry, and its write had not touched the file.
 *
 * Invariants: the file is not touched before the entry is durable, and the entry is out, durably, before anybody
 * else gets the range: so what open() writes once more is never older than what lies there.  A clean close
 * removes the slot; a file without one has no entry.
 *
 * Failure: up to the entry nothing has happened, and the request has the error to itself.  From there on any failure
 * poisons the volume, for what lies in the file is not known: the next open() finishes it.
 *
 * Not for block devices: there is no place beside them.
 *
 * Threads: *_run on the pool, raw_slot_open(), _close() and _remove() where they may block, the rest on the
 * volume's loop.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "stores/raw/raw_int.h"

#define SLOT_MODE 0600
#define SLOT_SUFFIX ".atomic"
#define ENTRY_AT PAGE_SIZE_BYTES
#define DATA_AT (2 * PAGE_SIZE_BYTES)
#define ATOMIC_MAX (1u << 20)

static const char slot_magic[] = "lungate atomic write, version 1\n";
static const char entry_magic[8] = "LGATOMIC";

/* magic 8, inode 8, offset 8, length 4, crc32c of the data 4, crc32c of what is before 4 */
enum { E_INODE = 8, E_OFFSET = 16, E_LENGTH = 24, E_DATA_CRC = 28, E_CRC = 32 };

struct entry {
	uint64_t inode, offset;
	uint32_t length, crc;
};

static void
entry_put(uint8_t *page, const struct entry *e)
{
	memset(page, 0, PAGE_SIZE_BYTES);
	memcpy(page, entry_magic, sizeof(entry_magic));
	put_le64(page + E_INODE, e->inode);
	put_le64(page + E_OFFSET, e->offset);
	put_le32(page + E_LENGTH, e->length);
	put_le32(page + E_DATA_CRC, e->crc);
	put_le32(page + E_CRC, crc32c(0, page, E_CRC));
}

static bool
entry_get(const uint8_t *page, struct entry *e)
{
	if (memcmp(page, entry_magic, sizeof(entry_magic)) ||
	    get_le32(page + E_CRC) != crc32c(0, page, E_CRC))
		return false;
	e->inode = get_le64(page + E_INODE);
	e->offset = get_le64(page + E_OFFSET);
	e->length = get_le32(page + E_LENGTH);
	e->crc = get_le32(page + E_DATA_CRC);
	return e->length && e->length <= ATOMIC_MAX;
}

/* ---- the slot as a file ---- */

/* Beside the file itself, whatever links lead to it. */
static char *
slot_path(struct vfs *vfs, const char *path)
{
	char *real = vfs == vfs_posix() ? realpath(path, NULL) : NULL, *ret = NULL;

	if (asprintf(&ret, "%s" SLOT_SUFFIX, real ? real : path) < 0)
		ret = NULL;
	free(real);
	return ret;
}

/* 1: a slot, or what a crash left of a new one.  0: somebody else's file. */
static int
is_slot(struct vfs_file *file)
{
	static const uint64_t sizes[] = {0, ENTRY_AT, DATA_AT, DATA_AT + ATOMIC_MAX}; /* of a new one */
	static const char zero[sizeof(slot_magic)];
	char is[sizeof(slot_magic)] = "";
	struct iovec iov = {is, sizeof(is)};
	struct vfs_stat st;
	int64_t n = file->vfs->ops->preadv(file, &iov, 1, 0);
	int rc = file->vfs->ops->fstat(file, &st);

	if (n == -EISDIR)
		return 0;
	if (n < 0 || rc)
		return n < 0 ? (int)n : rc;
	if (!memcmp(is, slot_magic, sizeof(is)))
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		if (st.size == sizes[i])
			return !memcmp(is, zero, sizeof(is));
	return 0;
}

void
raw_slot_remove(struct vfs *vfs, const char *path)
{
	char *slot = slot_path(vfs, path);
	struct vfs_file *file;

	if (slot && !vfs->ops->open(vfs, slot, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &file)) {
		int ours = is_slot(file);

		vfs->ops->close(file);
		if (ours == 1)
			(void)vfs->ops->unlink(vfs, slot); /* what stays is found when it is opened */
	}
	free(slot);
}

static int
entry_clear(struct vfs_file *slot)
{
	uint8_t page[PAGE_SIZE_BYTES] = {0};
	int rc = vfs_write_full(slot, page, sizeof(page), ENTRY_AT);

	return rc ? rc : slot->vfs->ops->fsync(slot, true);
}

/* ---- open: finish what was cut off ---- */

static int
slot_error(const struct raw *raw, int rc, const char *what, struct errinfo *info)
{
	return err_set(info, rc,
		       "volume %s: %s: %s: %s; check the disk, or remove it to give up the write in it",
		       raw->vol.name, raw->slot.path, what, err_text(rc));
}

/* The entry's data, with what else is in its blocks of the disk, where it belongs. */
static int
write_again(struct raw *raw, const struct entry *e, const uint8_t *data)
{
	uint64_t from = align_down(e->offset, raw->align), end = align_up(e->offset + e->length, raw->align);
	uint8_t *buf = aligned_alloc(PAGE_SIZE_BYTES, align_up(end - from, PAGE_SIZE_BYTES));
	int rc = buf ? 0 : -ENOMEM;

	if (!rc && end - from != e->length)
		rc = vfs_read_full(raw->file, buf, end - from, from);
	if (!rc) {
		memcpy(buf + (e->offset - from), data, e->length);
		rc = vfs_write_full(raw->file, buf, end - from, from);
	}
	if (!rc)
		rc = raw->file->vfs->ops->fsync(raw->file, true);
	free(buf);
	return rc;
}

static int
finish_write(struct raw *raw, const struct entry *e, const uint8_t *data, uint64_t bytes,
	     struct errinfo *info)
{
	struct vfs_stat st;
	int rc = raw->file->vfs->ops->fstat(raw->file, &st);

	if (rc)
		return slot_error(raw, rc, "look at the file of the volume", info);
	if (st.inode != e->inode || e->offset > bytes || e->length > bytes - e->offset)
		return err_set(
			info, -EBADMSG,
			"volume %s: %s: a write that was cut off waits there, of another file than %s is now; "
			"put that one back, or remove %s to give up the write",
			raw->vol.name, raw->slot.path, raw->path, raw->slot.path);
	if (raw->vol.read_only)
		return err_set(
			info, -EROFS,
			"volume %s: %s: a write that was cut off waits there to be finished; open the volume "
			"once for writing, or remove %s to give up the write",
			raw->vol.name, raw->slot.path, raw->slot.path);
	rc = write_again(raw, e, data);
	if (!rc)
		rc = entry_clear(raw->slot.file);
	if (rc)
		return slot_error(raw, rc, "finish the write in it", info);
	log_info("volume %s: an atomic write of %u bytes at %llu that was cut off is whole again",
		 raw->vol.name, (unsigned)e->length, (unsigned long long)e->offset);
	return 0;
}

/* The entry, if there is one, and its data in *ret (the caller's); NULL: none, or a torn one. */
static int
read_slot(struct vfs_file *slot, struct entry *e, uint8_t **ret)
{
	uint8_t page[PAGE_SIZE_BYTES] = {0}, *data;
	struct iovec iov = {page, sizeof(page)};
	int64_t n = slot->vfs->ops->preadv(slot, &iov, 1, ENTRY_AT);

	*ret = NULL;
	if (n < 0 || !entry_get(page, e))
		return n < 0 ? (int)n : 0;
	data = malloc(e->length);
	iov = (struct iovec){data, e->length};
	n = data ? slot->vfs->ops->preadv(slot, &iov, 1, DATA_AT) : -ENOMEM;
	if (n == e->length && crc32c(0, data, e->length) == e->crc)
		*ret = data;
	else
		free(data);
	return n < 0 ? (int)n : 0;
}

static int
recover(struct raw *raw, uint64_t bytes, struct errinfo *info)
{
	struct entry e;
	uint8_t *data;
	int rc = read_slot(raw->slot.file, &e, &data);

	if (rc)
		return slot_error(raw, rc, "read it", info);
	if (data)
		rc = finish_write(raw, &e, data, bytes, info);
	free(data);
	return rc;
}

static void
drop_slot(struct raw *raw)
{
	if (raw->slot.file)
		raw->slot.file->vfs->ops->close(raw->slot.file);
	raw->slot.file = NULL;
}

/* No file (0) where there is none and none can be made, or another thing has its name. */
static int
open_slot(struct raw *raw, struct errinfo *info)
{
	struct vfs *vfs = raw->file->vfs;
	int flags = (raw->vol.read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_NOFOLLOW | O_NONBLOCK;
	struct vfs_stat st;
	int rc = vfs->ops->open(vfs, raw->slot.path, flags, SLOT_MODE, &raw->slot.file), ours;

	if (rc && rc != -EISDIR && rc != -ELOOP && !vfs->ops->stat(vfs, raw->slot.path, &st))
		return slot_error(raw, rc, "open it", info);
	if (rc && !raw->vol.read_only)
		log_info("volume %s: no atomic writes: make %s: %s", raw->vol.name, raw->slot.path,
			 err_text(rc));
	if (rc)
		return 0;
	ours = is_slot(raw->slot.file);
	if (ours < 0)
		return slot_error(raw, ours, "read it", info);
	if (!ours) {
		drop_slot(raw);
		log_warn("volume %s: no atomic writes: %s is something else; move it away", raw->vol.name,
			 raw->slot.path);
	}
	return 0;
}

int
raw_slot_open(struct raw *raw, uint64_t bytes, struct errinfo *info)
{
	int rc;

	if (raw->device)
		return 0;
	raw->slot.path = slot_path(raw->file->vfs, raw->path);
	if (!raw->slot.path)
		return err_set(info, -ENOMEM, "volume %s: no memory", raw->vol.name);
	rc = open_slot(raw, info);
	if (!rc && raw->slot.file)
		rc = recover(raw, bytes, info);
	if (rc || raw->vol.read_only)
		drop_slot(raw);
	if (raw->slot.file)
		raw->vol.atomic_max_bytes = ATOMIC_MAX;
	return rc;
}

void
raw_slot_close(struct raw *raw, bool clean)
{
	struct vfs *vfs = raw->file->vfs;

	if (!raw->slot.file)
		return;
	drop_slot(raw);
	if (clean)
		(void)vfs->ops->unlink(vfs, raw->slot.path); /* it holds nothing */
}

/* ---- a write ---- */

static void slot_next(struct raw *raw);

static void
release(struct raw *raw)
{
	raw->slot.busy = false;
	slot_next(raw);
}

static void
finish(struct raw_op *op, int status)
{
	release(op->raw); /* first: raw_finish() may end in the volume's close */
	raw_finish(op, status);
}

static void
clear_run(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);

	op->status = entry_clear(op->raw->slot.file);
}

static void
clear_done(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);

	if (op->status)
		raw_poison(op->raw, "atomic write through", op->raw->slot.path, op->status);
	finish(op, op->status ? LG_EPOISONED : op->verdict);
}

static void
take_out(struct raw_op *op, int verdict)
{
	op->verdict = verdict;
	op->work.run = clear_run;
	op->work.done = clear_done;
	loop_offload(op->raw->vol.loop, &op->work);
}

static void
place_synced(struct raw_op *op, int status)
{
	if (status) /* poisoned */
		finish(op, status);
	else
		take_out(op, 0);
}

static void
place_written(struct raw_op *op)
{
	struct raw *raw = op->raw;

	if (op->status && op->untouched) {
		op->req->err_offset = op->req->offset;
		take_out(op, op->status);
		return;
	}
	raw->dirty = true;
	raw_stat_soon(raw);
	if (op->status) {
		raw_poison(raw, "atomic write to", raw->path, op->status);
		finish(op, LG_EPOISONED);
		return;
	}
	op->synced = place_synced;
	raw_sync_join(op);
}

/* A new slot: its room, and its name. */
static int
make_room(struct raw *raw)
{
	struct vfs_file *slot = raw->slot.file;
	const struct vfs_ops *ops = slot->vfs->ops;
	uint8_t pages[DATA_AT] = {0};
	int rc = ops->fallocate(slot, 0, 0, DATA_AT + ATOMIC_MAX);

	if (rc == -ENOSPC || rc == -EDQUOT)
		return rc;
	memcpy(pages, slot_magic, sizeof(slot_magic));
	rc = vfs_write_full(slot, pages, sizeof(pages), 0);
	if (!rc)
		rc = ops->fsync(slot, false);
	if (!rc)
		rc = vfs_sync_parent(slot->vfs, raw->slot.path);
	raw->slot.ready = !rc;
	return rc;
}

static int
put_data(struct raw_op *op, uint32_t *ret_crc)
{
	struct vfs_file *slot = op->raw->slot.file;
	int64_t n = slot->vfs->ops->pwritev(slot, op->iov, op->niov, DATA_AT);

	*ret_crc = 0;
	for (int i = 0; i < op->niov; i++)
		*ret_crc = crc32c(*ret_crc, op->iov[i].iov_base, op->iov[i].iov_len);
	if (n < 0)
		return (int)n;
	return (uint64_t)n == op->req->length ? 0 : -ENOSPC;
}

/* Without room in the file there would be a part of it. */
static int
claim_place(struct raw_op *op)
{
	struct vfs_file *file = op->raw->file;
	int rc = file->vfs->ops->fallocate(file, FALLOC_FL_KEEP_SIZE, op->req->offset, op->req->length);

	return rc == -ENOSPC || rc == -EDQUOT ? rc : 0; /* the others: it cannot tell */
}

static void
keep_run(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);
	struct raw *raw = op->raw;
	struct entry e = {.offset = op->req->offset, .length = (uint32_t)op->req->length};
	uint8_t page[PAGE_SIZE_BYTES];
	struct vfs_stat st;

	op->entered = false;
	op->status = failpoint_hit(FP_RAW_ATOMIC_SLOT);
	if (op->status == FAILPOINT_SKIP) {
		op->status = 0;
		return;
	}
	if (!op->status && !raw->slot.ready)
		op->status = make_room(raw);
	if (!op->status)
		op->status = raw->file->vfs->ops->fstat(raw->file, &st);
	if (!op->status)
		op->status = put_data(op, &e.crc);
	if (!op->status)
		op->status = claim_place(op);
	if (op->status)
		return;
	op->entered = true;
	e.inode = st.inode;
	entry_put(page, &e);
	op->status = vfs_write_full(raw->slot.file, page, sizeof(page), ENTRY_AT);
	if (!op->status)
		op->status = raw->slot.file->vfs->ops->fsync(raw->slot.file, true);
}

/* Of a failpoint: it stays like this until the daemon is killed. */
static void
half_written(struct raw_op *op)
{
	log_warn("volume %s: half of an atomic write is there, and no more comes", op->raw->vol.name);
}

static void
keep_done(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);
	struct vol_req *req = op->req;
	uint64_t half = req->length / 2 / op->raw->align * op->raw->align;

	if (op->status && op->entered) {
		raw_poison(op->raw, "atomic write through", op->raw->slot.path, op->status);
		finish(op, LG_EPOISONED);
	} else if (op->status) {
		req->err_offset = req->offset;
		finish(op, op->status);
	} else if (half && failpoint_hit(FP_RAW_ATOMIC_HALF)) {
		raw_write_range(op, req->pages, req->offset, req->offset + half, half_written);
	} else {
		raw_write_range(op, req->pages, req->offset, req->offset + req->length, place_written);
	}
}

/* ---- SANITIZE: what the last write left in the slot is the volume's data, too ---- */

static void
wipe_run(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);
	struct vfs_file *slot = op->raw->slot.file;
	uint8_t *zeroes = calloc(1, ATOMIC_MAX);

	op->status = zeroes ? vfs_write_full(slot, zeroes, ATOMIC_MAX, DATA_AT) : -ENOMEM;
	if (!op->status)
		op->status = slot->vfs->ops->fsync(slot, true);
	free(zeroes);
}

static void
wipe_done(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);

	if (op->status) {
		finish(op, op->status);
		return;
	}
	release(op->raw);
	raw_sync_join(op);
}

static void
slot_next(struct raw *raw)
{
	struct raw_op *op = raw_queue_pop(&raw->slot.waiting);
	bool wipe = op && op->req->op == VOL_FLUSH;
	int rc;

	if (!op)
		return;
	raw->slot.busy = true;
	rc = atomic_load(&raw->vol.health);
	if (!rc && !wipe)
		rc = raw_gather(op);
	if (rc) {
		finish(op, rc);
		return;
	}
	op->work.run = wipe ? wipe_run : keep_run;
	op->work.done = wipe ? wipe_done : keep_done;
	loop_offload(raw->vol.loop, &op->work);
}

void
raw_slot_queue(struct raw_op *op)
{
	struct raw *raw = op->raw;

	raw_queue_add(&raw->slot.waiting, op);
	if (!raw->slot.busy)
		slot_next(raw);
}
