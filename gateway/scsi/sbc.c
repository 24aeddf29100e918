/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SBC-3: capacity, reading, writing, verifying.
 *
 * Bytes that are neither transferred nor written: when the initiator offers
 * less Data-Out than a WRITE asks for, whole blocks that arrived are written
 * and the rest is the transport's residual; a part of a block is refused
 * before anything is written (0E/03).  Commands that compare take all or nothing.
 *
 * Long commands go through their range in pieces of SCSI_PIECE; task->at says how far.
 *
 * Threads: the unit's home.
 */
#include "gateway/scsi/scsi_impl.h"
#include "gateway/scsi/sbc.h"

/* -- capacity ------------------------------------------------------------ */

enum scsi_step
sbc_read_capacity10(struct scsi_task *task)
{
	uint64_t blocks = lu_blocks(task->lu);
	struct datain in;

	datain_begin(task, &in);
	datain_be32(&in, blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)(blocks - 1));
	datain_be32(&in, task->lu->vol->block_size);
	return datain_end(task, &in);
}

enum scsi_step
sbc_read_capacity16(struct scsi_task *task)
{
	const struct volume *vol = task->lu->vol;
	struct datain in;

	datain_begin(task, &in);
	datain_be64(&in, lu_blocks(task->lu) - 1);
	datain_be32(&in, vol->block_size);
	datain_u8(&in, 0);
	datain_u8(&in, (unsigned)__builtin_ctz(PAGE_SIZE_BYTES /
					       vol->block_size)); /* pages are the physical blocks */
	datain_be16(&in, vol->thin ? 0xc000 : 0);                 /* LBPME, LBPRZ */
	datain_zero(&in, 16);
	return datain_end(task, &in);
}

/* -- pieces -------------------------------------------------------------- */

uint64_t
sbc_piece(const struct scsi_task *task, uint64_t total)
{
	uint64_t offset = task_offset(task) + task->at;

	return min_of(total - task->at, SCSI_PIECE - offset % PAGE_SIZE_BYTES);
}

/* Ask for it, into the room behind the pages that the task holds. */
static void
sbc_piece_read(struct scsi_task *task, uint64_t length)
{
	uint64_t offset = task_offset(task) + task->at;

	task_io(task, VOL_READ, offset, length, task->pages + task->held, volume_pages(offset, length));
}

/* Let go what was read. */
static void
sbc_piece_drop(struct scsi_task *task)
{
	pages_unref(task->req.pages, task->req.npages);
}

void
sbc_fill_page(struct scsi_task *task)
{
	uint8_t *data = task->pages[0]->data;
	uint32_t bs = task->lu->vol->block_size;

	for (uint32_t at = bs; at < PAGE_SIZE_BYTES; at += bs)
		memcpy(data + at, data, bs);
}

/* -- READ ---------------------------------------------------------------- */

static bool
has_fua(const struct scsi_task *task)
{
	return task->cdb[0] >> 5 != 0 && (task->cdb[1] & 0x08);
}

enum scsi_step
sbc_read(struct scsi_task *task)
{
	enum { START, FLUSHED, READ_DONE };
	uint64_t bytes = task_bytes(task);

	if (task->state == START) {
		if (bytes == 0)
			return STEP_GOOD;
		task->state = FLUSHED;
		/* FUA: what the medium holds, so newer data must be there first (SBC-3 5.7) */
		if (has_fua(task) && task->lu->vol->write_cache) {
			task_io(task, VOL_FLUSH, 0, 0, NULL, 0);
			return STEP_IO;
		}
		task->req.status = 0;
	}
	if (task->req.status < 0)
		return task_fail_io(task);
	if (task->state == FLUSHED) {
		task->state = READ_DONE;
		task_io(task, VOL_READ, task_offset(task), bytes, task->pages, task->slots);
		return STEP_IO;
	}
	task->held = task->npages = task->slots;
	task->in_len = (uint32_t)bytes;
	return STEP_GOOD;
}

/* -- WRITE --------------------------------------------------------------- */

uint32_t
sbc_write_flags(const struct scsi_task *task)
{
	return has_fua(task) || !task->lu->wce ? VOL_FUA : 0;
}

/* The write itself; STEP_GOOD when there is nothing to write. */
static enum scsi_step
submit_write(struct scsi_task *task, uint32_t flags)
{
	uint32_t bytes = min_of(task->out_len, task->out_room);

	if (bytes % task->lu->vol->block_size)
		return task_fail(task, SE_FIELD_IN_IU);
	if (bytes == 0)
		return STEP_GOOD;
	task_io(task, VOL_WRITE, task_offset(task), bytes, task->pages,
		volume_pages(task_offset(task), bytes));
	task->req.flags = flags;
	return STEP_IO;
}

enum scsi_step
sbc_write(struct scsi_task *task)
{
	uint32_t atomic = task->command->flags & F_ATOMIC ? VOL_ATOMIC : 0;

	if (task->state++ == 0)
		return submit_write(task, sbc_write_flags(task) | atomic);
	return task->req.status < 0 ? task_fail_io(task) : STEP_GOOD;
}

/* -- VERIFY -------------------------------------------------------------- */

/* The piece just read against Data-Out; `same` is one page that stands for all.
 * UINT64_MAX, or the offset of the first difference in the range. */
static uint64_t
compare_piece(const struct scsi_task *task, bool same)
{
	uint64_t start = task_offset(task), offset = task->req.offset, end = offset + task->req.length;
	const struct page *const *read = (const struct page *const *)task->req.pages;

	while (offset < end) {
		size_t in_page = offset % PAGE_SIZE_BYTES;
		size_t n = min_of(PAGE_SIZE_BYTES - in_page, end - offset);
		size_t want = same ? 0 : (offset >> PAGE_SHIFT) - (start >> PAGE_SHIFT);
		size_t at = bytes_differ_at((*read)->data + in_page, task->pages[want]->data + in_page, n);

		if (at < n)
			return offset + at - start;
		offset += n;
		read++;
	}
	return UINT64_MAX;
}

enum { COMPARE_NOTHING, COMPARE_ALL, COMPARE_SAME };

/* Reads [lba, lba + total) in pieces and compares; task->state is 1 when there is nothing read yet, then 2.
 */
static enum scsi_step
verify_pieces(struct scsi_task *task, uint64_t total, unsigned compare)
{
	uint64_t length;

	if (task->state == 2) {
		uint64_t differs = UINT64_MAX;

		if (task->req.status < 0)
			return task_fail_io(task);
		if (compare != COMPARE_NOTHING)
			differs = compare_piece(task, compare == COMPARE_SAME);
		task->at += task->req.length;
		sbc_piece_drop(task);
		if (differs != UINT64_MAX)
			return task_fail_info(task, SE_MISCOMPARE, differs);
	}
	task->state = 2;
	length = sbc_piece(task, total);
	if (length == 0)
		return STEP_GOOD;
	sbc_piece_read(task, length);
	return STEP_IO;
}

enum scsi_step
sbc_verify(struct scsi_task *task)
{
	unsigned check = task->cdb[1] >> 1 & 3;
	unsigned compare = check == 0 ? COMPARE_NOTHING : check == 1 ? COMPARE_ALL : COMPARE_SAME;

	if (task->state == 0) {
		if (task->out_room < task->out_len)
			return task_fail(task, SE_FIELD_IN_IU);
		if (compare == COMPARE_SAME && task->out_len)
			sbc_fill_page(task);
		task->state = 1;
	}
	return verify_pieces(task, task_bytes(task), compare);
}

/* Written to stable storage first, then read back. */
enum scsi_step
sbc_write_verify(struct scsi_task *task)
{
	unsigned compare = task->cdb[1] & 0x02 ? COMPARE_ALL : COMPARE_NOTHING;
	enum { START, WRITTEN = 10 };
	enum scsi_step step;

	if (task->state == START) {
		step = submit_write(task, VOL_FUA);
		task->state = WRITTEN;
		return step;
	}
	if (task->state == WRITTEN) {
		if (task->req.status < 0)
			return task_fail_io(task);
		task->state = 1;
	}
	return verify_pieces(task, min_of(task->out_len, task->out_room), compare);
}

/* -- caches -------------------------------------------------------------- */

/* The whole volume whatever the range, and status when it is done whatever IMMED says: both promise more than
 * was asked for (SBC-3 5.21). */
enum scsi_step
sbc_sync_cache(struct scsi_task *task)
{
	if (task->state++ == 0) {
		task_io(task, VOL_FLUSH, 0, 0, NULL, 0);
		return STEP_IO;
	}
	return task->req.status < 0 ? task_fail_io(task) : STEP_GOOD;
}

/* CONDITION MET says that all of it fitted (SBC-3 5.10); more than MAXIMUM PREFETCH LENGTH never does. */
enum scsi_step
sbc_prefetch(struct scsi_task *task)
{
	uint64_t total = min_of(task_bytes(task), (uint64_t)SCSI_MAX_TRANSFER);

	if (task->state == 1) {
		if (task->req.status < 0)
			return task_fail_io(task);
		task->at += task->req.length;
		sbc_piece_drop(task);
	}
	task->state = 1;
	if (task->at == total)
		return total == task_bytes(task) ? STEP_MET : STEP_GOOD;
	sbc_piece_read(task, sbc_piece(task, total));
	return STEP_IO;
}
