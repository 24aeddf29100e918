/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of one segment of EXTENDED COPY.
 *
 *   look   what the source's chunk map calls absent is never read: the destination is told zeroes
 *   clone  whole chunks that lie alike in both places of one volume: the volume is asked to make them what the others
 *          hold, a run at a time.  What it does not do goes on as everything else
 *   cut    the segment becomes pieces: a hole is one, the rest is cut where the destination has a multiple of
 *          SCSI_PIECE; COPY_PIECES of them are under way at a time
 *
 * A piece:  unread -> reading -> read -> writing -> free.  A hole begins as read.
 *
 * The pages that the source gives are handed on to the destination when they lie in both alike; else the bytes
 * are laid out anew.  Runs of the arena's page of zeroes are not written either.
 *
 * Invariants:
 *  - Pieces are cut from the side where source and destination overlap last, and a piece is written when
 *    all before it are read: so no byte is overwritten before it was read, whatever overlaps.
 *  - Whoever waits for memory has none: its piece is unread.  All copies together hold 1/8 of the arena, or one
 *    piece each (and for a moment two, where bytes are laid out anew).
 *  - No request is in flight when xcopy_move() says that the segment has ended, well or not.
 *
 * Threads: the home of the unit that received the command; the volumes' requests come back there.
 *
 * Failure: the first one stops the segment; what is in flight is waited for.
 */
#include <stdatomic.h>

#include "gateway/scsi/xcopy.h"

#define ZERO_RUN 16u      /* pages: shorter ones are written with what is around them */
#define BREATH (8u << 20) /* bytes, then the other tasks of the loop get their turn */
#define TRIES_MAX 1000u   /* a machine without memory is not waited for for ever */

static _Atomic uint32_t claimed; /* pages, by all copies */

/* A failure, ABORT TASK and its like, or what happened at another unit of the copy. */
static bool
must_stop(struct xcopy *copy)
{
	if (!copy->failed)
		copy->failed = (enum scsi_error)atomic_load_explicit(&copy->stopped, memory_order_relaxed);
	return copy->failed || copy->task->aborted;
}

/* -- how the segment is cut ---------------------------------------------- */

static uint64_t
chunk_of(const struct xcopy *copy, uint64_t at)
{
	uint64_t size = copy->from->lu->vol->chunk_size;

	return (copy->from_offset + at) / size - copy->from_offset / size;
}

static bool
is_present(const struct xcopy *copy, uint64_t chunk)
{
	return !copy->mapped || (copy->present[chunk / 8] >> chunk % 8 & 1);
}

static bool
is_cloned(const struct xcopy *copy, uint64_t chunk)
{
	return copy->any_cloned && copy->cloned[chunk / 8] >> chunk % 8 & 1;
}

/* Where chunk i of the source begins, as a place of the segment. */
static uint64_t
chunk_start(const struct xcopy *copy, uint64_t i)
{
	uint64_t size = copy->from->lu->vol->chunk_size;
	uint64_t start = (copy->from_offset / size + i) * size;

	return start > copy->from_offset ? min_of(start - copy->from_offset, copy->total) : 0;
}

/* [cut, ...) from the front. */
static void
cut_forwards(const struct xcopy *copy, struct copy_piece *piece)
{
	uint64_t chunk = chunk_of(copy, copy->cut), end, place = copy->to_offset + copy->cut;

	piece->hole = !is_present(copy, chunk);
	do
		end = chunk_start(copy, ++chunk);
	while (end < copy->total && is_present(copy, chunk) != piece->hole && !is_cloned(copy, chunk));
	if (!piece->hole)
		end = min_of(end, copy->cut + SCSI_PIECE - place % SCSI_PIECE);
	piece->at = copy->cut;
	piece->length = end - copy->cut;
}

/* [..., total - cut) from the back. */
static void
cut_backwards(const struct xcopy *copy, struct copy_piece *piece)
{
	uint64_t end = copy->total - copy->cut, chunk = chunk_of(copy, end - 1), start;
	uint64_t place = copy->to_offset + end;

	piece->hole = !is_present(copy, chunk);
	do
		start = chunk_start(copy, chunk);
	while (start > 0 && is_present(copy, --chunk) != piece->hole);
	if (!piece->hole)
		start = max_of(start, end - min_of(end, (place - 1) % SCSI_PIECE + 1));
	piece->at = start;
	piece->length = end - start;
}

/* What overlaps is not cloned, so it is always cut from the front. */
static void
skip_cloned(struct xcopy *copy)
{
	uint64_t chunk;

	while (!copy->backwards && copy->cut < copy->total &&
	       is_cloned(copy, chunk = chunk_of(copy, copy->cut)))
		copy->cut = chunk_start(copy, chunk + 1);
}

static void
cut_piece(struct xcopy *copy, struct copy_piece *piece)
{
	piece->copy = copy;
	piece->written = 0;
	piece->n = 0;
	piece->order = copy->next_order++;
	if (copy->backwards)
		cut_backwards(copy, piece);
	else
		cut_forwards(copy, piece);
	copy->cut += piece->length;
	skip_cloned(copy);
	piece->state = piece->hole ? PIECE_READ : PIECE_UNREAD;
}

/* -- memory -------------------------------------------------------------- */

static void
drop_pages(struct copy_piece *piece)
{
	if (piece->n)
		pages_unref(piece->pages, piece->n);
	piece->n = 0;
	atomic_fetch_sub(&claimed, piece->claimed);
	piece->claimed = 0;
}

/* A share for this piece. */
static bool
claim(struct xcopy *copy, struct copy_piece *piece, unsigned n)
{
	uint32_t most = (uint32_t)(arena_total_pages(copy->to->lu->vol->arena) / 8);
	bool alone = true;

	for (unsigned i = 0; i < COPY_PIECES; i++)
		alone &= copy->pieces[i].claimed == 0;
	/* the others wait for the first one */
	if (atomic_fetch_add(&claimed, n) + n > most && !alone && piece->order != copy->next_write) {
		atomic_fetch_sub(&claimed, n);
		return false;
	}
	piece->claimed = n;
	return true;
}

static void
memory_is_back(struct loop_msg *msg)
{
	struct xcopy *copy = container_of(msg, struct xcopy, memory.msg);

	copy->starved = false;
	scsi_task_pump(copy->task);
}

/* The piece has nothing and is read (again) when n pages may be there. */
static void
wait_for_memory(struct xcopy *copy, struct copy_piece *piece, unsigned n)
{
	struct arena *arena = copy->to->lu->vol->arena;

	drop_pages(piece);
	piece->state = PIECE_UNREAD;
	if (++copy->tries > TRIES_MAX || n > arena_total_pages(arena) / 2) {
		copy->failed = SE_BUSY;
		return;
	}
	if (copy->starved)
		return;
	copy->starved = true;
	copy->memory =
		(struct arena_waiter){.msg = {.fn = memory_is_back}, .loop = copy->task->lu->home, .n = n};
	arena_wait(arena, &copy->memory);
}

/* -- requests ------------------------------------------------------------ */

static void
note_failure(struct xcopy *copy, const struct vol_req *req)
{
	enum scsi_error error = scsi_error_of(req->status, req->op);

	if (!copy->failed)
		copy->failed = error == SE_BUSY || error == SE_SPACE_FAILED ? error : SE_COPY_ABORTED;
}

static void
free_piece(struct copy_piece *piece)
{
	drop_pages(piece);
	piece->state = PIECE_FREE;
}

static void
piece_done(struct vol_req *req)
{
	struct copy_piece *piece = container_of(req, struct copy_piece, req);
	struct xcopy *copy = piece->copy;

	copy->flying--;
	piece->busy = false;
	if (piece->state == PIECE_READING) {
		piece->n = req->status == 0 ? req->npages : 0;
		piece->state = PIECE_READ;
		if (req->status == -ENOMEM)
			wait_for_memory(copy, piece, req->npages);
		else if (req->status < 0)
			note_failure(copy, req);
	} else if (req->status < 0) {
		note_failure(copy, req);
	} else {
		piece->written += req->length;
		if (copy->record)
			copy->record->bytes += req->length;
		if (piece->written == piece->length)
			free_piece(piece);
	}
	copy->again = true;
	if (!copy->inside && !copy->resting)
		scsi_task_pump(copy->task);
}

static void
submit(struct copy_piece *piece, const struct cscd *cscd, enum vol_op op, uint64_t offset, uint64_t length,
       struct page **pages)
{
	struct xcopy *copy = piece->copy;

	piece->req = (struct vol_req){
		.vol = cscd->lu->vol,
		.op = op,
		.flags = op != VOL_READ && cscd->fua ? VOL_FUA : 0,
		.offset = offset,
		.length = length,
		.pages = pages,
		.npages = pages ? volume_pages(offset, length) : 0,
		.done = piece_done,
		.origin = copy->task->lu->home,
	};
	copy->breath -= min_of(copy->breath, pages ? length : PAGE_SIZE_BYTES);
	copy->flying++;
	piece->busy = true;
	volume_submit(&piece->req);
}

static bool
read_piece(struct xcopy *copy, struct copy_piece *piece)
{
	uint64_t from = copy->from_offset + piece->at;

	if (!claim(copy, piece, volume_pages(from, piece->length)))
		return false;
	piece->state = PIECE_READING;
	submit(piece, copy->from, VOL_READ, from, piece->length, piece->pages);
	return true;
}

static bool
is_zero_page(const struct page *page)
{
	return page == arena_zero_page(page->arena);
}

/* How many of the n pages from here on are the page of zeroes. */
static unsigned
zero_run(struct page **pages, unsigned n)
{
	unsigned i = 0;

	while (i < n && is_zero_page(pages[i]))
		i++;
	return i;
}

/* As the destination has them; false: no memory. */
static bool
lay_out(struct xcopy *copy, struct copy_piece *piece)
{
	uint64_t src = (copy->from_offset + piece->at) % PAGE_SIZE_BYTES;
	uint64_t dst = (copy->to_offset + piece->at) % PAGE_SIZE_BYTES;
	unsigned n = volume_pages(dst, piece->length);
	struct arena *arena = copy->to->lu->vol->arena;
	struct page *out[SCSI_PIECE_PAGES];

	if (zero_run(piece->pages, piece->n) == piece->n) {
		piece->hole = true;
		return true;
	}
	if (src == dst && arena == copy->from->lu->vol->arena)
		return true;
	if (arena_alloc(arena, out, n) < 0) {
		wait_for_memory(copy, piece, n + piece->n);
		return false;
	}
	for (uint64_t left = piece->length, len; left; left -= len) {
		uint64_t src_in = src % PAGE_SIZE_BYTES, dst_in = dst % PAGE_SIZE_BYTES;

		len = min_of(left, PAGE_SIZE_BYTES - max_of(src_in, dst_in));
		memcpy(out[dst >> PAGE_SHIFT]->data + dst_in, piece->pages[src >> PAGE_SHIFT]->data + src_in,
		       len);
		src += len;
		dst += len;
	}
	pages_unref(piece->pages, piece->n);
	memcpy(piece->pages, out, n * sizeof(out[0]));
	piece->n = n;
	return true;
}

static void
write_zeroes(struct xcopy *copy, struct copy_piece *piece, uint64_t length)
{
	const struct cscd *to = copy->to;

	submit(piece, to, to->lu->vol->thin ? VOL_UNMAP : VOL_ZERO,
	       copy->to_offset + piece->at + piece->written, length, NULL);
}

/* Bytes from `start` to the end of page i, counted from the piece's first one; not beyond the piece. */
static uint64_t
bytes_to(const struct copy_piece *piece, uint64_t start, uint64_t first, unsigned i)
{
	return min_of((first + i) * PAGE_SIZE_BYTES - start, piece->length - piece->written);
}

/* The next run of zeroes, or of what is none. */
static void
write_run(struct xcopy *copy, struct copy_piece *piece)
{
	uint64_t start = copy->to_offset + piece->at + piece->written;
	uint64_t first = (copy->to_offset + piece->at) >> PAGE_SHIFT;
	unsigned at = (unsigned)((start >> PAGE_SHIFT) - first), i = at, zeroes;

	piece->state = PIECE_WRITING;
	if (piece->hole) {
		write_zeroes(copy, piece, piece->length - piece->written);
		return;
	}
	zeroes = zero_run(piece->pages + at, piece->n - at);
	if (zeroes >= ZERO_RUN) {
		write_zeroes(copy, piece, bytes_to(piece, start, first, at + zeroes));
		return;
	}
	for (; i < piece->n; i += max_of(zeroes, 1u)) {
		zeroes = zero_run(piece->pages + i, piece->n - i);
		if (zeroes >= ZERO_RUN)
			break;
	}
	submit(piece, copy->to, VOL_WRITE, start, bytes_to(piece, start, first, i), piece->pages + at);
}

/* -- the segment --------------------------------------------------------- */

static void
look_is_over(struct xcopy *copy)
{
	copy->looking = false;
	skip_cloned(copy);
	if (!copy->inside)
		scsi_task_pump(copy->task);
}

/* The first whole chunk from clone_at on that is worth a try, and how many behind it; 0: there is none. */
static uint64_t
next_clones(struct xcopy *copy)
{
	uint64_t size = copy->from->lu->vol->chunk_size, n = 0;

	for (;; copy->clone_at++) {
		uint64_t start = chunk_start(copy, copy->clone_at);

		if (start + size > copy->total)
			return 0;
		if ((copy->from_offset + start) % size == 0 && is_present(copy, copy->clone_at))
			break;
	}
	while (chunk_start(copy, copy->clone_at + n) + size <= copy->total &&
	       is_present(copy, copy->clone_at + n))
		n++;
	return n;
}

static void cloned(struct vol_req *req);

static void
clone_run(struct xcopy *copy, uint64_t n)
{
	struct volume *vol = copy->to->lu->vol;
	uint64_t start = chunk_start(copy, copy->clone_at);
	copy->look = (struct vol_req){
		.vol = vol,
		.op = VOL_CLONE,
		.flags = copy->to->fua ? VOL_FUA : 0,
		.offset = copy->to_offset + start,
		.source = copy->from_offset + start,
		.length = n * vol->chunk_size,
		.done = cloned,
		.origin = copy->task->lu->home,
	};
	copy->flying++;
	volume_submit(&copy->look);
}

/* Run after run; when none is left, or may begin, the copying goes on.  What is answered at once comes back in here. */
static void
clone_next(struct xcopy *copy)
{
	uint64_t n;

	copy->again = true;
	if (copy->cloning)
		return;
	copy->cloning = true;
	do {
		copy->again = false;
		n = must_stop(copy) ? 0 : next_clones(copy);
		if (n)
			clone_run(copy, n);
	} while (copy->again);
	copy->cloning = false;
	if (n == 0)
		look_is_over(copy);
}

static void
cloned(struct vol_req *req)
{
	struct xcopy *copy = container_of(req, struct xcopy, look);
	uint64_t n = req->status == 0 ? req->ret_cloned / req->vol->chunk_size : 0;

	copy->flying--;
	/* without memory for it, it is copied */
	if (req->status < 0 && req->status != -ENOMEM)
		note_failure(copy, req);
	for (uint64_t end = copy->clone_at + n; copy->clone_at < end; copy->clone_at++)
		copy->cloned[copy->clone_at / 8] |= (uint8_t)(1u << copy->clone_at % 8);
	copy->any_cloned |= n > 0;
	if (copy->record)
		copy->record->bytes += n * req->vol->chunk_size;
	if (n == 0)
		copy->clone_at++;
	clone_next(copy);
}

static bool
may_clone(const struct xcopy *copy)
{
	const struct volume *vol = copy->to->lu->vol;
	uint64_t from = copy->from_offset, to = copy->to_offset;

	return copy->from->lu == copy->to->lu && vol->clones &&
	       from % vol->chunk_size == to % vol->chunk_size &&
	       (from + copy->total <= to || to + copy->total <= from);
}

static void
take_look(struct xcopy *copy, uint64_t chunk)
{
	const struct volume *vol = copy->from->lu->vol;

	copy->look.first_chunk = chunk;
	copy->look.end_chunk = (copy->from_offset + copy->total - 1) / vol->chunk_size + 1;
	copy->look.max_infos = COPY_INFOS;
	copy->flying++;
	volume_submit(&copy->look);
}

/* A map that cannot be read says nothing: all of it is read, and says what is wrong. */
static void
looked(struct vol_req *req)
{
	struct xcopy *copy = container_of(req, struct xcopy, look);
	uint64_t first = copy->from_offset / copy->from->lu->vol->chunk_size;
	uint64_t end = req->end_chunk;

	copy->flying--;
	for (unsigned i = 0; i < req->ret_infos; i++) {
		uint64_t chunk = req->infos[i].index;

		if (chunk >= first && chunk < end)
			copy->present[(chunk - first) / 8] |= (uint8_t)(1u << (chunk - first) % 8);
	}
	if (req->status == 0 && req->ret_next_chunk < end && !must_stop(copy)) {
		take_look(copy, req->ret_next_chunk);
		return;
	}
	copy->mapped = req->status == 0;
	if (may_clone(copy))
		clone_next(copy);
	else
		look_is_over(copy);
}

void
xcopy_move_begin(struct xcopy *copy)
{
	uint64_t size = copy->from->lu->vol->chunk_size;

	copy->cut = copy->next_order = copy->next_write = 0;
	copy->tries = 0;
	copy->mapped = false;
	copy->clone_at = 0;
	copy->any_cloned = false;
	copy->breath = BREATH;
	memset(copy->present, 0, sizeof(copy->present));
	memset(copy->cloned, 0, sizeof(copy->cloned));
	if (copy->total == 0 || chunk_of(copy, copy->total - 1) >= COPY_CHUNKS_MAX)
		return;
	copy->look = (struct vol_req){
		.vol = copy->from->lu->vol,
		.op = VOL_MAP,
		.infos = copy->infos,
		.done = looked,
		.origin = copy->task->lu->home,
	};
	copy->looking = copy->inside = true;
	take_look(copy, copy->from_offset / size);
	copy->inside = false;
}

/* In the order of the pieces; a piece is written run by run, and others beside it. */
static void
start_writes(struct xcopy *copy)
{
	for (unsigned i = 0; i < COPY_PIECES && copy->breath; i++) {
		struct copy_piece *piece = &copy->pieces[i];

		if (piece->state == PIECE_WRITING && !piece->busy) {
			write_run(copy, piece);
		} else if (piece->state == PIECE_READ && piece->order == copy->next_write) {
			if (!piece->hole && !lay_out(copy, piece))
				return;
			copy->next_write++;
			copy->again = true; /* the next one may lie before it in the array */
			write_run(copy, piece);
		}
		if (copy->failed)
			return;
	}
}

static struct copy_piece *
next_unread(struct xcopy *copy)
{
	struct copy_piece *first = NULL, *unused = NULL;

	for (unsigned i = 0; i < COPY_PIECES; i++) {
		struct copy_piece *piece = &copy->pieces[i];

		if (piece->state == PIECE_UNREAD && (!first || piece->order < first->order))
			first = piece;
		else if (piece->state == PIECE_FREE)
			unused = piece;
	}
	if (!first && unused && copy->cut < copy->total) {
		cut_piece(copy, unused);
		first = unused;
	}
	return first;
}

static void
start_reads(struct xcopy *copy)
{
	while (copy->breath && !copy->starved && !copy->failed) {
		struct copy_piece *piece = next_unread(copy);

		if (!piece)
			return;
		if (piece->state == PIECE_READ) { /* a hole */
			copy->again = true;
			continue;
		}
		if (!read_piece(copy, piece))
			return;
	}
}

static void
breathed(struct loop_msg *msg)
{
	struct xcopy *copy = container_of(msg, struct xcopy, msg);

	copy->resting = false;
	copy->breath = BREATH;
	scsi_task_pump(copy->task);
}

static bool
all_free(const struct xcopy *copy)
{
	for (unsigned i = 0; i < COPY_PIECES; i++)
		if (copy->pieces[i].state != PIECE_FREE)
			return false;
	return true;
}

/* Nothing more is begun; what is in flight, or on its way to us, comes back first. */
static enum scsi_step
wind_up(struct xcopy *copy)
{
	if (copy->starved && arena_unwait(copy->to->lu->vol->arena, &copy->memory))
		copy->starved = false;
	if (copy->flying || copy->resting || copy->starved)
		return STEP_WAIT;
	for (unsigned i = 0; i < COPY_PIECES; i++)
		free_piece(&copy->pieces[i]);
	return STEP_FAIL;
}

enum scsi_step
xcopy_move(struct xcopy *copy)
{
	if (copy->looking)
		return STEP_WAIT;
	copy->inside = true;
	do {
		copy->again = false;
		if (must_stop(copy))
			break;
		start_writes(copy);
		start_reads(copy);
	} while (copy->again && copy->breath);
	copy->inside = false;
	if (must_stop(copy))
		return wind_up(copy);
	if (copy->cut == copy->total && all_free(copy) && !copy->resting)
		return STEP_GOOD;
	if (copy->breath == 0 && !copy->resting) {
		copy->resting = true;
		copy->msg.fn = breathed;
		loop_post(copy->task->lu->home, &copy->msg);
	}
	return STEP_WAIT;
}
