/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data path of raw volumes.
 *
 *   READ           lock -> memory -> read -> done; on a medium error once more page by page, to tell where it
 * is WRITE          lock -> (edges: memory, read them, merge) -> write -> (durable: fdatasync) -> done
 *   WRITE, atomic  raw_atomic.c
 *   COMPARE_WRITE  lock, alone -> memory -> read -> compare -> merge -> write -> (fdatasync) -> done
 *   OR_WRITE       the same without comparing, and the merge is an OR
 *   UNMAP, ZERO    lock -> one fallocate, or writes of zeroes slice by slice -> (fdatasync) -> done
 *   FLUSH          fdatasync -> done
 *
 * Edges: with O_DIRECT on a disk whose blocks are larger than the volume's, a write reads the rest of its
 * first and last disk block first; its lock is exclusive then, so neighbours in the same block cannot get
 * lost.
 *
 * Durability: all requests that wait for it share one fdatasync; those that come while one is under way wait
 * for the next.  It covers every write that completed before it was begun.
 *
 * Failure: a failed fdatasync poisons the volume for good: nobody knows which of the written pages the kernel
 * has given up, and the next fdatasync would not say (the error is reported once).  Other errors are the
 * request's own.
 *
 * Thread: the volume's loop.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/log.h"
#include "stores/raw/raw_int.h"

#define FREE_OPS_MAX 256u
#define ZERO_SLICE (1u << 20)
#define NO_MEMORY_SHARE                                                                                      \
	16u /* what arena_alloc() keeps back: a request that needs more can never be served                  \
	     */

/* ---- requests under way ---- */

void
raw_queue_add(struct raw_queue *queue, struct raw_op *op)
{
	op->queue_next = NULL;
	*(queue->last ? &queue->last->queue_next : &queue->first) = op;
	queue->last = op;
}

struct raw_op *
raw_queue_pop(struct raw_queue *queue)
{
	struct raw_op *op = queue->first;

	if (op) {
		queue->first = op->queue_next;
		if (!queue->first)
			queue->last = NULL;
	}
	return op;
}

static void
clear_op(struct raw_op *op, struct raw *raw, struct vol_req *req)
{
	struct iovec *iov = op->iov;
	int room = op->iov_room;

	*op = (struct raw_op){.raw = raw, .req = req, .iov = iov, .iov_room = room};
	op->disk[0].op = op->disk[1].op = op;
}

static struct raw_op *
op_get(struct raw *raw, struct vol_req *req)
{
	struct raw_op *op = raw->free_ops;

	if (op)
		raw->free_ops = op->next;
	else
		op = calloc(1, sizeof(*op));
	if (!op)
		return NULL;
	clear_op(op, raw, req);
	raw->nops++;
	return op;
}

static void
op_put(struct raw *raw, struct raw_op *op)
{
	if (raw->nops > FREE_OPS_MAX) {
		free(op->iov);
		free(op);
	} else {
		op->next = raw->free_ops;
		raw->free_ops = op;
	}
	raw->nops--;
}

static void
drop_edges(struct raw_op *op)
{
	pages_unref(op->edges, op->nedges);
	op->nedges = 0;
}

void
raw_finish(struct raw_op *op, int status)
{
	struct raw *raw = op->raw;
	struct vol_req *req = op->req;

	drop_edges(op);
	pages_unref(op->own, op->nown);
	op->nown = 0;
	if (op->locked)
		raw_unlock(op);
	op_put(raw, op);
	volume_done(req, status);
	if (raw->closing)
		raw_try_close(raw);
}

bool
raw_idle(const struct raw *raw)
{
	return !raw->nops && !raw->sync_out && !raw->sync_deferred && !raw->stat_out;
}

/* ---- memory ---- */

static void
on_memory(struct loop_msg *msg)
{
	struct raw *raw = container_of(msg, struct raw, waiter.msg);
	struct raw_op *op = raw->short_first, *next;

	raw->short_first = NULL;
	raw->short_tail = &raw->short_first;
	for (; op; op = next) {
		next = op->short_next;
		op->go(op);
	}
}

/* 0: pages are there.  -EAGAIN: op->go runs again when there may be some.  -ENOMEM: there can never be so
 * many. */
static int
get_pages(struct raw_op *op, struct page **pages, unsigned n)
{
	struct raw *raw = op->raw;
	size_t total = arena_total_pages(raw->vol.arena);

	if (!arena_alloc(raw->vol.arena, pages, n))
		return 0;
	if (n > total - total / NO_MEMORY_SHARE)
		return -ENOMEM;
	op->short_next = NULL;
	*raw->short_tail = op;
	raw->short_tail = &op->short_next;
	if (raw->short_first == op) {
		raw->waiter.n = n;
		arena_wait(raw->vol.arena, &raw->waiter);
	}
	return -EAGAIN;
}

/* ---- disk requests ---- */

static void
on_disk(struct disk_req *req)
{
	struct raw_op *op = container_of(req, struct raw_disk, req)->op;

	if (req->status && !op->status)
		/* a file that somebody cut short under us */
		op->status = req->status == -ENODATA ? -EIO : req->status;
	if (!--op->out)
		op->go(op);
}

static void
disk(struct raw_op *op, unsigned i, enum disk_op what, uint64_t offset, uint64_t length,
     const struct iovec *iov, int niov)
{
	struct disk_req *req = &op->disk[i].req;

	req->loop = op->raw->vol.loop;
	req->file = op->raw->file;
	req->op = what;
	req->offset = offset;
	req->length = length;
	req->iov = iov;
	req->niov = niov;
	req->done = on_disk;
	op->out++;
	disk_submit(req);
}

static bool
iov_begin(struct raw_op *op, uint64_t from, uint64_t end)
{
	int want = (int)volume_pages(from, end - from) + 2;

	op->niov = 0;
	if (want > op->iov_room) {
		struct iovec *iov = realloc(op->iov, (size_t)want * sizeof(*iov));

		if (!iov)
			return false;
		op->iov = iov;
		op->iov_room = want;
	}
	return true;
}

static void
iov_add(struct raw_op *op, uint8_t *p, uint64_t n)
{
	struct iovec *last = op->niov ? &op->iov[op->niov - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == p)
		last->iov_len += n;
	else if (n)
		op->iov[op->niov++] = (struct iovec){p, n};
}

/* Byte `at` of the volume in pages laid out as the request's. */
static uint8_t *
byte_at(const struct raw_op *op, struct page **pages, uint64_t at)
{
	struct page *page = pages ? pages[(at >> PAGE_SHIFT) - (op->req->offset >> PAGE_SHIFT)]
				  : arena_zero_page(op->raw->vol.arena);

	return page->data + (at & (PAGE_SIZE_BYTES - 1));
}

static void
iov_add_range(struct raw_op *op, struct page **pages, uint64_t from, uint64_t end)
{
	while (from < end) {
		uint64_t k = min_of(end - from, PAGE_SIZE_BYTES - (from & (PAGE_SIZE_BYTES - 1)));

		iov_add(op, byte_at(op, pages, from), k);
		from += k;
	}
}

int
raw_gather(struct raw_op *op)
{
	uint64_t from = op->req->offset, end = from + op->req->length;

	if (!iov_begin(op, from, end))
		return -ENOMEM;
	iov_add_range(op, op->req->pages, from, end);
	return 0;
}

/* ---- READ ---- */

static void
bad_next(struct raw_op *op)
{
	uint64_t end = align_up(op->req->offset + op->req->length, op->raw->align), k;

	if (op->status) {
		op->req->err_offset = max_of(op->cursor, op->req->offset);
		raw_finish(op, op->status);
		return;
	}
	if (op->niov) /* one went well */
		op->cursor += op->iov[0].iov_len;
	if (op->cursor >= end) {
		raw_finish(op, 0);
		return;
	}
	k = min_of(end - op->cursor, PAGE_SIZE_BYTES - (op->cursor & (PAGE_SIZE_BYTES - 1)));
	op->niov = 0;
	iov_add(op, byte_at(op, op->req->pages, op->cursor), k);
	disk(op, 0, DISK_READ, op->cursor, k, op->iov, op->niov);
}

static void
read_done(struct raw_op *op)
{
	if (op->status != -EIO) {
		raw_finish(op, op->status);
		return;
	}
	op->status = 0;
	op->niov = 0;
	op->cursor = align_down(op->req->offset, op->raw->align);
	op->go = bad_next;
	bad_next(op);
}

static void
read_begin(struct raw_op *op)
{
	struct vol_req *req = op->req;
	uint64_t from = align_down(req->offset, op->raw->align);
	uint64_t end = align_up(req->offset + req->length, op->raw->align);
	int rc = get_pages(op, req->pages, req->npages);

	if (rc == -EAGAIN)
		return;
	if (!rc && !iov_begin(op, from, end))
		rc = -ENOMEM;
	if (rc) {
		raw_finish(op, rc);
		return;
	}
	iov_add_range(op, req->pages, from, end);
	op->go = read_done;
	disk(op, 0, DISK_READ, from, end - from, op->iov, op->niov);
}

/* ---- fdatasync ---- */

void
raw_poison(struct raw *raw, const char *what, const char *path, int status)
{
	if (atomic_exchange(&raw->vol.health, LG_EPOISONED))
		return;
	log_error("volume %s: %s %s: %s; what was written since the last flush may be lost, and no "
		  "further promise is made: check the disk, then close and open the volume",
		  raw->vol.name, what, path, err_text(status));
}

static void
sync_start(struct raw *raw)
{
	raw->syncing = raw->sync_waiting;
	raw->sync_waiting = (struct raw_queue){0};
	raw->dirty = false;
	raw->sync_out = true;
	disk_submit(&raw->sync);
}

static void
synced(struct raw_op *op, int status)
{
	if (op->synced)
		op->synced(op, status);
	else
		raw_finish(op, status);
}

static void
sync_answer(struct raw_queue *queue, int status)
{
	struct raw_op *op;

	while ((op = raw_queue_pop(queue)))
		synced(op, status);
}

static void
sync_done(struct disk_req *req)
{
	struct raw *raw = container_of(req, struct raw, sync);
	struct raw_queue answered = raw->syncing;
	int status = req->status;

	raw->syncing = (struct raw_queue){0};
	if (status)
		raw_poison(raw, "fdatasync of", raw->path, status);
	raw->sync_out = false;
	/* those that came meanwhile need the next one */
	if (raw->sync_waiting.first && !status)
		sync_start(raw);
	sync_answer(&answered, atomic_load(&raw->vol.health));
	if (status)
		sync_answer(&raw->sync_waiting, LG_EPOISONED);
	if (raw->closing)
		raw_try_close(raw);
}

static void
on_sync_deferred(struct loop_msg *msg)
{
	struct raw *raw = container_of(msg, struct raw, sync_msg);

	raw->sync_deferred = false;
	if (raw->sync_waiting.first && !raw->sync_out)
		sync_start(raw);
	else if (raw->closing)
		raw_try_close(raw);
}

void
raw_sync_join(struct raw_op *op)
{
	struct raw *raw = op->raw;

	if (atomic_load(&raw->vol.health)) {
		synced(op, atomic_load(&raw->vol.health));
		return;
	}
	if (op->locked && !op->synced) /* what it changed is there for everybody to see */
		raw_unlock(op);
	raw_queue_add(&raw->sync_waiting, op);
	if (raw->sync_out || raw->sync_deferred)
		return;
	raw->sync_deferred = true;
	loop_defer(raw->vol.loop, &raw->sync_msg);
}

static void
flush_begin(struct raw_op *op)
{
	if (op->req->flags & VOL_INSIDER && op->raw->slot.ready)
		raw_slot_queue(op);
	else if (op->raw->vol.read_only || (!op->raw->dirty && !op->raw->sync_out))
		raw_finish(op, 0);
	else
		raw_sync_join(op);
}

/* ---- writing ---- */

static void
change_done(struct raw_op *op)
{
	struct raw *raw = op->raw;

	raw->dirty = true;
	raw_stat_soon(raw);
	if (op->status == -EIO)
		op->req->err_offset = max_of(op->cursor, op->req->offset);
	if (op->status)
		raw_finish(op, op->status);
	else if (op->req->flags & VOL_FUA || !raw->vol.write_cache)
		raw_sync_join(op);
	else
		raw_finish(op, 0);
}

static void
edges_written(struct raw_op *op)
{
	drop_edges(op);
	op->after(op);
}

/* the part of [op->from, op->end) that lies in the disk block at `block` goes into its edge page */
static void
merge(struct raw_op *op, struct page *edge, uint64_t block)
{
	uint64_t a = max_of(op->from, block), b = min_of(op->end, block + op->raw->align);

	memcpy(edge->data + (a & (PAGE_SIZE_BYTES - 1)), byte_at(op, op->pages, a), b - a);
}

static void
edges_read(struct raw_op *op)
{
	uint32_t align = op->raw->align;
	uint64_t first = align_down(op->from, align), last = align_down(op->end - 1, align);
	uint64_t from = align_up(op->from, align), end = align_down(op->end, align);
	unsigned i = 0;

	op->go = edges_written;
	if (op->status) {
		edges_written(op);
		return;
	}
	op->niov = 0;
	if (op->from % align) {
		merge(op, op->edges[i], first);
		iov_add(op, op->edges[i++]->data + (first & (PAGE_SIZE_BYTES - 1)), align);
	}
	iov_add_range(op, op->pages, from, end);
	if (op->end % align && i < op->nedges) {
		merge(op, op->edges[i], last);
		iov_add(op, op->edges[i]->data + (last & (PAGE_SIZE_BYTES - 1)), align);
	}
	op->untouched = false;
	disk(op, 0, DISK_WRITE, first, last + align - first, op->iov, op->niov);
}

static void
read_edge(struct raw_op *op, unsigned i, uint64_t block)
{
	op->edge_iov[i] =
		(struct iovec){op->edges[i]->data + (block & (PAGE_SIZE_BYTES - 1)), op->raw->align};
	disk(op, i, DISK_READ, block, op->raw->align, &op->edge_iov[i], 1);
}

static void
edges_begin(struct raw_op *op)
{
	uint32_t align = op->raw->align;
	uint64_t first = align_down(op->from, align), last = align_down(op->end - 1, align);
	bool head = op->from % align, tail = op->end % align && !(head && first == last);
	unsigned i = 0;
	int rc = get_pages(op, op->edges, (unsigned)head + tail);

	assert(op->exclusive);
	if (rc == -EAGAIN)
		return;
	if (rc) {
		op->status = rc;
		op->after(op);
		return;
	}
	op->nedges = (unsigned)head + tail;
	op->go = edges_read;
	op->out++; /* until both are submitted */
	if (head)
		read_edge(op, i++, first);
	if (tail)
		read_edge(op, i, last);
	op->out--;
}

void
raw_write_range(struct raw_op *op, struct page **pages, uint64_t from, uint64_t end,
		void (*after)(struct raw_op *op))
{
	op->from = from;
	op->end = end;
	op->pages = pages;
	op->after = after;
	op->status = 0;
	op->untouched = true;
	if (!iov_begin(op, from, end)) {
		op->status = -ENOMEM;
		after(op);
		return;
	}
	if ((from | end) % op->raw->align) {
		op->go = edges_begin;
		edges_begin(op);
		return;
	}
	iov_add_range(op, pages, from, end);
	op->go = edges_written;
	op->untouched = false;
	disk(op, 0, DISK_WRITE, from, end - from, op->iov, op->niov);
}

static void
write_begin(struct raw_op *op)
{
	struct vol_req *req = op->req;

	raw_write_range(op, req->pages, req->offset, req->offset + req->length, change_done);
}

/* ---- COMPARE_WRITE, OR_WRITE: read, change, write ---- */

/* Where the two differ, relative to the request's offset; its length when they do not. */
static uint64_t
first_difference(struct raw_op *op)
{
	struct vol_req *req = op->req;
	uint64_t at = 0;

	while (at < req->length) {
		uint64_t in = (req->offset + at) & (PAGE_SIZE_BYTES - 1);
		uint64_t k = min_of(req->length - at, PAGE_SIZE_BYTES - in);
		size_t n = bytes_differ_at(byte_at(op, op->own, req->offset + at),
					   byte_at(op, req->pages, req->offset + at), k);

		at += n;
		if (n < k)
			break;
	}
	return at;
}

static void
change_read(struct raw_op *op)
{
	struct vol_req *req = op->req;
	bool compares = req->op == VOL_COMPARE_WRITE;
	uint64_t at, end = req->offset + req->length;

	if (op->status) {
		req->err_offset = req->offset;
		raw_finish(op, op->status);
		return;
	}
	at = compares ? first_difference(op) : req->length;
	if (at < req->length) {
		req->err_offset = at;
		raw_finish(op, LG_EMISCOMPARE);
		return;
	}
	/* what was read has the rest of the disk blocks: no edges needed */
	for (uint64_t to = req->offset; to < end;) {
		uint64_t k = min_of(end - to, PAGE_SIZE_BYTES - (to & (PAGE_SIZE_BYTES - 1)));

		if (compares)
			memcpy(byte_at(op, op->own, to), byte_at(op, req->pages + req->npages, to), k);
		else
			bytes_or(byte_at(op, op->own, to), byte_at(op, req->pages, to), k);
		to += k;
	}
	raw_write_range(op, op->own, align_down(req->offset, op->raw->align), align_up(end, op->raw->align),
			change_done);
}

static void
read_change_begin(struct raw_op *op)
{
	struct vol_req *req = op->req;
	uint64_t from = align_down(req->offset, op->raw->align);
	uint64_t end = align_up(req->offset + req->length, op->raw->align);
	int rc = get_pages(op, op->own, req->npages);

	if (rc == -EAGAIN)
		return;
	if (!rc)
		op->nown = req->npages;
	if (!rc && !iov_begin(op, from, end))
		rc = -ENOMEM;
	if (rc) {
		raw_finish(op, rc);
		return;
	}
	iov_add_range(op, op->own, from, end);
	op->go = change_read;
	disk(op, 0, DISK_READ, from, end - from, op->iov, op->niov);
}

/* ---- UNMAP, ZERO ---- */

enum clear_method { CLEAR_PUNCH, CLEAR_ZERO_RANGE, CLEAR_WRITE };

/* what to try in turn */
static const enum clear_method clear_methods[VOL_OP_COUNT][3] = {
	[VOL_UNMAP] = {CLEAR_PUNCH, CLEAR_ZERO_RANGE, CLEAR_WRITE},
	[VOL_ZERO] = {CLEAR_ZERO_RANGE, CLEAR_PUNCH, CLEAR_WRITE},
};

/* the first that was not refused yet */
static enum clear_method
clear_method(const struct raw_op *op)
{
	const enum clear_method *m = clear_methods[op->req->op];

	while ((*m == CLEAR_PUNCH && op->raw->no_punch) || (*m == CLEAR_ZERO_RANGE && op->raw->no_zero_range))
		m++;
	return *m;
}

static void clear_next(struct raw_op *op);

static void
clear_written(struct raw_op *op)
{
	if (op->status) {
		change_done(op);
		return;
	}
	op->cursor = op->end;
	clear_next(op);
}

static void
clear_punched(struct raw_op *op)
{
	if (op->status == -EOPNOTSUPP || op->status == -ENOSYS || op->status == -EINVAL ||
	    op->status == -ENODEV) {
		*(op->method == CLEAR_PUNCH ? &op->raw->no_punch : &op->raw->no_zero_range) = true;
		op->status = 0;
		clear_next(op);
		return;
	}
	clear_written(op);
}

static void
clear_next(struct raw_op *op)
{
	uint64_t end = op->req->offset + op->req->length, at = op->cursor;
	enum clear_method m = clear_method(op);
	uint32_t unit = op->raw->clear_align;

	if (at == end) {
		change_done(op);
	} else if (m == CLEAR_WRITE) {
		raw_write_range(op, NULL, at, min_of(end, align_down(at, ZERO_SLICE) + ZERO_SLICE),
				clear_written);
	} else if (at % unit || end - at < unit) {
		raw_write_range(op, NULL, at, min_of(end, align_down(at, unit) + unit), clear_written);
	} else {
		op->from = at;
		op->end = align_down(end, unit);
		op->method = m;
		op->go = clear_punched;
		disk(op, 0, m == CLEAR_PUNCH ? DISK_PUNCH : DISK_ZERO, at, op->end - at, NULL, 0);
	}
}

static void
clear_begin(struct raw_op *op)
{
	op->cursor = op->req->offset;
	clear_next(op);
}

/* ---- the way in ---- */

enum lock_kind { LOCK_NONE, LOCK_RANGE, LOCK_RANGE_ALONE, LOCK_ALL };

static const struct {
	enum lock_kind lock;
	bool changes;
	void (*begin)(struct raw_op *op);
} calls[VOL_OP_COUNT] = {
	[VOL_READ] = {LOCK_RANGE, false, read_begin},
	[VOL_WRITE] = {LOCK_RANGE, true, write_begin},
	[VOL_FLUSH] = {LOCK_NONE, false, flush_begin},
	[VOL_UNMAP] = {LOCK_RANGE, true, clear_begin},
	[VOL_ZERO] = {LOCK_RANGE, true, clear_begin},
	[VOL_COMPARE_WRITE] = {LOCK_RANGE_ALONE, true, read_change_begin},
	[VOL_OR_WRITE] = {LOCK_RANGE_ALONE, true, read_change_begin},
	[VOL_MAP] = {LOCK_NONE, false, raw_map},
	[VOL_RESIZE] = {LOCK_ALL, true, raw_resize},
};

void
raw_submit(struct vol_req *req)
{
	struct raw *raw = raw_of(req->vol);
	struct raw_op *op = op_get(raw, req);
	bool atomic = req->op == VOL_WRITE && req->flags & VOL_ATOMIC;
	enum lock_kind lock = atomic ? LOCK_RANGE_ALONE : calls[req->op].lock;
	uint64_t end = req->offset + req->length;

	if (!op) {
		volume_done(req, -ENOMEM);
		return;
	}
	op->go = atomic ? raw_slot_queue : calls[req->op].begin;
	op->lock_from = lock == LOCK_ALL ? 0 : align_down(req->offset, PAGE_SIZE_BYTES);
	op->lock_end = lock == LOCK_ALL ? UINT64_MAX : align_up(end, PAGE_SIZE_BYTES);
	op->exclusive = lock == LOCK_ALL || lock == LOCK_RANGE_ALONE ||
			(calls[req->op].changes && (req->offset | end) % raw->align);
	if (lock == LOCK_NONE)
		op->go(op);
	else
		raw_lock(op);
}

void
raw_io_init(struct raw *raw)
{
	raw->short_tail = &raw->short_first;
	raw->waiter = (struct arena_waiter){.msg.fn = on_memory, .loop = raw->vol.loop};
	raw->sync = (struct disk_req){
		.loop = raw->vol.loop, .file = raw->file, .op = DISK_FDATASYNC, .done = sync_done};
	raw->sync_msg.fn = on_sync_deferred;
	raw->dirty = true; /* whatever somebody left unsynced before us */
}
