/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: data: reads, writes, flushes and erasures of an image, and reads of chunks.
 *
 * The kernel caches none of it (FOPEN_DIRECT_IO), so what an initiator wrote is what is read here, and the
 * other way round, at once.  A file may be read and written at any byte, a volume in blocks only:
 *
 *   read    the blocks around the bytes are read, and the bytes are answered out of their pages.
 *   write   whole blocks are one WRITE.  A block that is written in part is read, changed and put
 *           back by COMPARE_WRITE; when somebody, an initiator for instance, changed it in between, again. So
 *           the neighbours in a block are never lost, and nobody is locked out.
 *   erase   as write; whole blocks are one UNMAP or ZERO.
 *
 * States of a write or erasure:  parked -> (pages) -> next -> body | part -> next ... -> answered
 *                                 part: read -> merge (-> waits for a page) -> put back -> next, or read
 * again `pos` says how far it has come; all of it is at most head, body, tail.
 *
 * Threads: begun on a reader, goes on and is answered on the volume's loop.
 * Failure: the first error answers the whole request; as with a disk, blocks before it may have been written.
 * A short arena is waited for, on the volume's loop, and holds up no other request.
 */
#include "fuse/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct image_io {
	struct vol_req v;
	struct mount *mount;
	fuse_req_t req;
	struct volume *vol; /* the handle's reference */
	enum vol_op op;     /* for whole blocks */
	uint32_t vol_flags;
	uint64_t offset, length; /* as asked */
	uint64_t pos, piece_end;
	uint8_t *parked; /* data that waits for pages */
	struct arena_waiter waiter;
	void (*resume)(struct image_io *io);
	struct page *pair[2]; /* of a part: the block as read, and as it shall be */
	unsigned npages;
	struct page *pages[]; /* data, laid out as the volume is */
};

static struct image_io *
io_new(struct mount *mount, fuse_req_t req, struct handle *handle, enum vol_op op, uint64_t offset,
       uint64_t length, unsigned npages)
{
	struct image_io *io = malloc(sizeof(*io) + npages * sizeof(io->pages[0]));

	if (!io) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	memset(io, 0, sizeof(*io));
	io->mount = mount;
	io->req = req;
	io->vol = handle->vol;
	io->op = op;
	io->offset = io->pos = offset;
	io->length = length;
	io->npages = npages;
	mount_enter(mount);
	return io;
}

/* Answered already. */
static void
io_end(struct image_io *io)
{
	struct mount *mount = io->mount;

	free(io);
	mount_leave(mount);
}

static void
io_submit(struct image_io *io, enum vol_op op, uint64_t offset, uint64_t length, struct page **pages,
	  void (*done)(struct vol_req *v))
{
	io->v = (struct vol_req){
		.vol = io->vol,
		.op = op,
		.flags = io->vol_flags,
		.offset = offset,
		.length = length,
		.pages = pages,
		.npages = pages ? volume_pages(offset, length) : 0,
		.done = done,
	};
	volume_submit(&io->v);
}

static void
wait_message(struct loop_msg *msg)
{
	struct image_io *io = container_of(msg, struct image_io, waiter.msg);

	io->resume(io);
}

/* On the volume's loop: resume when n pages may be there. */
static void
wait_pages(struct image_io *io, unsigned n, void (*resume)(struct image_io *io))
{
	io->resume = resume;
	io->waiter = (struct arena_waiter){.msg.fn = wait_message, .loop = io->vol->loop, .n = n};
	arena_wait(io->mount->arena, &io->waiter);
}

/* ---- read ------------------------------------------------------------------ */

static void
read_done(struct vol_req *v)
{
	struct image_io *io = container_of(v, struct image_io, v);
	struct iovec iov[MOUNT_IO_PAGES + 2];
	uint64_t pos = io->offset, end = io->offset + io->length;
	int n = 0;

	if (v->status) {
		fuse_reply_err(io->req, err_errno(v->status));
		io_end(io);
		return;
	}
	for (unsigned i = 0; i < io->npages; i++) {
		uint64_t stop = min_of(align_down(pos, PAGE_SIZE_BYTES) + PAGE_SIZE_BYTES, end);
		uint8_t *p = io->pages[i]->data + pos % PAGE_SIZE_BYTES;

		if (n && (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == p)
			iov[n - 1].iov_len += stop - pos;
		else
			iov[n++] = (struct iovec){p, stop - pos};
		pos = stop;
	}
	fuse_reply_iov(io->req, iov, n);
	pages_unref(io->pages, io->npages);
	io_end(io);
}

void
image_read(struct mount *mount, fuse_req_t req, struct handle *handle, uint64_t base, uint64_t limit,
	   size_t size, uint64_t offset, uint32_t vol_flags)
{
	uint64_t start, end, block = handle->vol->block_size;
	struct image_io *io;

	limit = min_of(limit, atomic_load_explicit(&handle->vol->size, memory_order_relaxed));
	if (base > limit || offset >= limit - base || !size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	offset += base;
	size = min_of(size, min_of(limit - offset, (uint64_t)MOUNT_MAX_IO));
	start = align_down(offset, block);
	end = align_up(offset + size, block);
	io = io_new(mount, req, handle, VOL_READ, offset, size, volume_pages(start, end - start));
	if (!io)
		return;
	io->vol_flags = vol_flags;
	io_submit(io, VOL_READ, start, end - start, io->pages, read_done);
}

/* ---- write and erase ------------------------------------------------------- */

static void change_next(struct image_io *io);

static void
change_finish(struct image_io *io, int status)
{
	if (io->op == VOL_WRITE)
		pages_unref(io->pages, io->npages);
	if (status || io->op != VOL_WRITE)
		fuse_reply_err(io->req, err_errno(status));
	else
		fuse_reply_write(io->req, io->length);
	io_end(io);
}

static void
body_done(struct vol_req *v)
{
	struct image_io *io = container_of(v, struct image_io, v);

	if (v->status) {
		change_finish(io, v->status);
		return;
	}
	io->pos = io->piece_end;
	change_next(io);
}

static void
part_put(struct vol_req *v)
{
	struct image_io *io = container_of(v, struct image_io, v);

	pages_unref(io->pair, 2);
	if (v->status && v->status != LG_EMISCOMPARE) {
		change_finish(io, v->status);
		return;
	}
	if (!v->status)
		io->pos = io->piece_end;
	change_next(io);
}

static void
part_merge(struct image_io *io)
{
	uint64_t block = align_down(io->pos, io->vol->block_size);
	size_t at = block % PAGE_SIZE_BYTES, from = io->pos % PAGE_SIZE_BYTES, n = io->piece_end - io->pos;
	uint8_t *to;

	if (arena_alloc(io->mount->arena, &io->pair[1], 1)) {
		wait_pages(io, 1, part_merge);
		return;
	}
	to = io->pair[1]->data;
	memcpy(to + at, io->pair[0]->data + at, io->vol->block_size);
	if (io->op == VOL_WRITE)
		memcpy(to + from,
		       io->pages[(io->pos >> PAGE_SHIFT) - (io->offset >> PAGE_SHIFT)]->data + from, n);
	else
		memset(to + from, 0, n);
	io_submit(io, VOL_COMPARE_WRITE, block, io->vol->block_size, io->pair, part_put);
}

static void
part_read(struct vol_req *v)
{
	struct image_io *io = container_of(v, struct image_io, v);

	if (v->status)
		change_finish(io, v->status);
	else
		part_merge(io);
}

/* The next piece at pos: whole blocks as far as they go, or the rest of one block. */
static void
change_next(struct image_io *io)
{
	uint64_t block = io->vol->block_size, end = io->offset + io->length;
	uint64_t start = align_down(io->pos, block);

	if (io->pos == end) {
		change_finish(io, 0);
		return;
	}
	if (start == io->pos && end - start >= block) {
		io->piece_end = align_down(end, block);
		io_submit(io, io->op, start, io->piece_end - start,
			  io->op == VOL_WRITE
				  ? io->pages + ((start >> PAGE_SHIFT) - (io->offset >> PAGE_SHIFT))
				  : NULL,
			  body_done);
	} else {
		io->piece_end = min_of(start + block, end);
		io_submit(io, VOL_READ, start, block, io->pair, part_read);
	}
}

/* From the reader's request, or from where the data was parked. */
static void
fill_pages(struct image_io *io)
{
	size_t done = 0;

	for (unsigned i = 0; i < io->npages; i++) {
		size_t at = i ? 0 : io->offset % PAGE_SIZE_BYTES;
		size_t n = min_of(PAGE_SIZE_BYTES - at, io->length - done);

		if (io->parked)
			memcpy(io->pages[i]->data + at, io->parked + done, n);
		else
			reader_copy(io->pages[i]->data + at, done, n);
		done += n;
	}
}

static void
unpark(struct image_io *io)
{
	if (arena_alloc(io->mount->arena, io->pages, io->npages)) {
		wait_pages(io, io->npages, unpark);
		return;
	}
	fill_pages(io);
	free(io->parked);
	io->parked = NULL;
	atomic_fetch_sub_explicit(&io->mount->parked, io->length, memory_order_relaxed);
	change_next(io);
}

/* The reader's buffer is needed for the next request: the data is put aside.  How much of that there is
 * is bounded by the readers (reader.c). */
static void
park(struct image_io *io)
{
	io->parked = malloc(io->length);
	if (!io->parked) {
		fuse_reply_err(io->req, ENOMEM);
		io_end(io);
		return;
	}
	reader_copy(io->parked, 0, io->length);
	atomic_fetch_add_explicit(&io->mount->parked, io->length, memory_order_relaxed);
	io->resume = unpark;
	io->waiter.msg.fn = wait_message;
	loop_post(io->vol->loop, &io->waiter.msg);
}

void
image_write(struct mount *mount, fuse_req_t req, struct handle *handle, size_t size, uint64_t offset,
	    bool sync)
{
	uint64_t limit = atomic_load_explicit(&handle->vol->size, memory_order_relaxed);
	struct image_io *io;

	if (!size || offset >= limit) {
		if (size)
			fuse_reply_err(req, ENOSPC);
		else
			fuse_reply_write(req, 0);
		return;
	}
	size = min_of(size, limit - offset);
	io = io_new(mount, req, handle, VOL_WRITE, offset, size, volume_pages(offset, size));
	if (!io)
		return;
	io->vol_flags = sync || handle->sync ? VOL_FUA : 0;
	if (offset % PAGE_SIZE_BYTES == 0 && reader_take(io->npages, io->pages)) {
		change_next(io);
	} else if (!arena_alloc(mount->arena, io->pages, io->npages)) {
		fill_pages(io);
		change_next(io);
	} else {
		park(io);
	}
}

void
image_erase(struct mount *mount, fuse_req_t req, struct handle *handle, enum vol_op op, uint64_t offset,
	    uint64_t length)
{
	uint64_t limit = atomic_load_explicit(&handle->vol->size, memory_order_relaxed);
	struct image_io *io;

	assert(op == VOL_UNMAP || op == VOL_ZERO);
	if (offset >= limit) {
		fuse_reply_err(req, 0);
		return;
	}
	io = io_new(mount, req, handle, op, offset, min_of(length, limit - offset), 0);
	if (!io)
		return;
	io->vol_flags = handle->sync ? VOL_FUA : 0;
	change_next(io);
}

static void
flush_done(struct vol_req *v)
{
	struct image_io *io = container_of(v, struct image_io, v);

	fuse_reply_err(io->req, err_errno(v->status));
	io_end(io);
}

void
image_flush(struct mount *mount, fuse_req_t req, struct handle *handle)
{
	struct image_io *io = io_new(mount, req, handle, VOL_FLUSH, 0, 0, 0);

	if (io)
		io_submit(io, VOL_FLUSH, 0, 0, NULL, flush_done);
}
