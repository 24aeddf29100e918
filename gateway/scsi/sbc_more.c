/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SBC-3: unmapping, writing the same block over and over, compare and write,
 * OR, the map of what is allocated, the medium that can be taken out, defects.
 *
 * Threads: the unit's home.
 */
#include <stdlib.h>

#include "gateway/scsi/sbc.h"
#include "gateway/scsi/scsi_impl.h"

/* -- UNMAP, SBC-3 5.28 --------------------------------------------------- */

#define UNMAP_HEADER 8u
#define UNMAP_DESCRIPTOR 16u

/* Nothing is unmapped unless all of it may be. */
static enum scsi_step
check_unmap(struct scsi_task *task, const uint8_t *list, unsigned count)
{
	uint64_t blocks = lu_blocks(task->lu);

	if (count > SCSI_MAX_UNMAP_DESCRIPTORS)
		return task_fail_param(task, 2);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *p = list + UNMAP_HEADER + i * UNMAP_DESCRIPTOR;
		uint64_t lba = get_be64(p);
		uint32_t n = get_be32(p + 8);

		if (n && (lba > blocks || n > blocks - lba))
			return task_fail_info(task, SE_LBA_RANGE, lba < blocks ? blocks : lba);
	}
	return STEP_GOOD;
}

/*
 * The next descriptors that go on where the one before ends, as one range: blocks that are taken singly cost
 * a file a cleared part of a page each, and what is a whole page together is given back.  0 blocks: none left.
 */
static uint64_t
next_run(struct scsi_task *task, const uint8_t *list, unsigned count, uint64_t *ret_lba)
{
	uint64_t blocks = 0;

	for (; task->state < count; task->state++) {
		const uint8_t *p = list + UNMAP_HEADER + task->state * UNMAP_DESCRIPTOR;

		if (blocks == 0)
			*ret_lba = get_be64(p);
		else if (get_be32(p + 8) != 0 && get_be64(p) != *ret_lba + blocks)
			break;
		blocks += get_be32(p + 8);
	}
	return blocks;
}

enum scsi_step
sbc_unmap(struct scsi_task *task)
{
	uint32_t bs = task->lu->vol->block_size;
	uint64_t lba = 0, blocks;
	const uint8_t *list;
	unsigned count;

	if (task->out_len == 0)
		return STEP_GOOD;
	if (task->out_len < UNMAP_HEADER || task->out_room < task->out_len)
		return task_fail(task, SE_PARAM_LENGTH);
	list = task->pages[0]->data;
	/* a last descriptor that is not whole is not looked at */
	count = (unsigned)min_of((uint32_t)get_be16(list + 2), task->out_len - UNMAP_HEADER) /
		UNMAP_DESCRIPTOR;
	if (task->state == 0 && check_unmap(task, list, count) != STEP_GOOD)
		return STEP_FAIL;
	if (task->state > 0 && task->req.status < 0)
		return task_fail_io(task);
	blocks = next_run(task, list, count, &lba);
	if (blocks == 0)
		return STEP_GOOD;
	task_io(task, VOL_UNMAP, lba * bs, blocks * bs, NULL, 0);
	task->req.flags = task->lu->wce ? 0 : VOL_FUA;
	return STEP_IO;
}

/* -- WRITE SAME, SBC-3 5.42 ---------------------------------------------- */

/*
 * Zeroes go as one request of any length.  So does UNMAP, where unmapped
 * blocks read as what was to be written.  UNMAP "to the end of the medium"
 * (no number of blocks) is taken by its word whatever the block holds, as
 * libiscsi's suite wants it and other targets do.
 */
static enum scsi_step
write_same_at_once(struct scsi_task *task, bool zeroes)
{
	bool unmap = task->cdb[1] & 0x08;
	uint64_t lba, count;

	(void)scsi_cdb_range(task->cdb, &lba, &count);
	if (unmap && (zeroes || count == 0))
		task_io(task, VOL_UNMAP, task_offset(task), task_bytes(task), NULL, 0);
	else if (zeroes)
		task_io(task, VOL_ZERO, task_offset(task), task_bytes(task), NULL, 0);
	else
		return STEP_GOOD;
	task->req.flags = task->lu->wce ? 0 : VOL_FUA;
	task->at = task_bytes(task);
	return STEP_IO;
}

/* Any other block fills one page, and a piece is that page many times. */
static void
write_same_piece(struct scsi_task *task)
{
	uint64_t offset = task_offset(task) + task->at, length = sbc_piece(task, task_bytes(task));

	task_io(task, VOL_WRITE, offset, length, task->pages + task->held, volume_pages(offset, length));
	task->req.flags = task->lu->wce ? 0 : VOL_FUA;
	task->at += length;
}

enum scsi_step
sbc_write_same(struct scsi_task *task)
{
	uint32_t bs = task->lu->vol->block_size;

	if (task->state == 0) {
		task->state = 1;
		if (task->out_len && task->out_room != task->out_len)
			return task_fail(task, SE_FIELD_IN_IU);
		if (task->blocks == 0)
			return STEP_GOOD;
		if (write_same_at_once(task, task->out_len == 0 || bytes_zero(task->pages[0]->data, bs)) ==
		    STEP_IO)
			return STEP_IO;
		sbc_fill_page(task);
		for (unsigned i = task->held; i < task->slots; i++)
			task->pages[i] = task->pages[0];
	} else if (task->req.status < 0) {
		return task_fail_io(task);
	}
	if (task->at == task_bytes(task))
		return STEP_GOOD;
	write_same_piece(task);
	return STEP_IO;
}

/* -- COMPARE AND WRITE, SBC-3 5.2 ---------------------------------------- */

/* n bytes of Data-Out from byte `from` on, laid out anew in pages. */
static void
lay_out(const struct scsi_task *task, uint64_t from, uint64_t n, struct page **pages)
{
	uint64_t src = task->page_off + from, dst = task->page_off;

	while (n) {
		uint64_t src_in = src % PAGE_SIZE_BYTES, dst_in = dst % PAGE_SIZE_BYTES;
		uint64_t len = min_of(n, PAGE_SIZE_BYTES - max_of(src_in, dst_in));

		memcpy(pages[dst >> PAGE_SHIFT]->data + dst_in, task->pages[src >> PAGE_SHIFT]->data + src_in,
		       len);
		src += len;
		dst += len;
		n -= len;
	}
}

enum scsi_step
sbc_compare_write(struct scsi_task *task)
{
	uint64_t offset = task_offset(task), bytes = task_bytes(task);
	unsigned n = volume_pages(offset, bytes), wire = task->npages;
	struct page **second, **list;

	if (task->state++ > 0)
		return task->req.status < 0 ? task_fail_io(task) : STEP_GOOD;
	/* 256 blocks look like none in the CDB: the Data-Out gives them away */
	if (task->out_room != task->out_len)
		return task_fail_cdb(task, 13);
	if (bytes == 0)
		return STEP_GOOD;
	second = task->pages + wire;
	list = second + n;
	lay_out(task, bytes, bytes, second);
	for (unsigned i = 0; i < n; i++) {
		list[i] = task->pages[i];
		list[n + i] = second[i];
	}
	task_io(task, VOL_COMPARE_WRITE, offset, bytes, list, n);
	task->req.flags = sbc_write_flags(task);
	return STEP_IO;
}

/* -- ORWRITE, SBC-3 5.8 -------------------------------------------------- */

/* Each piece is atomic by the volume, against writes from elsewhere too; all of it is alone in the unit's task set. */
enum scsi_step
sbc_orwrite(struct scsi_task *task)
{
	uint64_t first = task_offset(task) >> PAGE_SHIFT, offset, length;

	if (task->state++ == 0) {
		if (task->out_room < task->out_len)
			return task_fail(task, SE_FIELD_IN_IU);
	} else if (task->req.status < 0) {
		return task_fail_io(task);
	}
	offset = task_offset(task) + task->at;
	length = min_of(task_bytes(task) - task->at, VOLUME_MAX_COMPARE - offset % PAGE_SIZE_BYTES);
	if (length == 0)
		return STEP_GOOD;
	task_io(task, VOL_OR_WRITE, offset, length, task->pages + ((offset >> PAGE_SHIFT) - first),
		volume_pages(offset, length));
	task->req.flags = sbc_write_flags(task);
	task->at += length;
	return STEP_IO;
}

/* -- GET LBA STATUS, SBC-3 5.5 ------------------------------------------- */

#define MAP_INFOS 32u
#define MAP_ROUNDS 16u /* a list may end early: bounds what one command costs */
#define LBA_DESCRIPTOR 16u

enum { PROVISIONING_MAPPED = 0, PROVISIONING_DEALLOCATED = 1 };

struct lba_status {
	struct chunk_info infos[MAP_INFOS];
	uint64_t lba;  /* everything below is in descriptors */
	unsigned room; /* for descriptors */
	unsigned n;    /* of them */
	unsigned rounds;
	struct {
		uint64_t lba, blocks;
		unsigned state;
	} extents[PAGE_SIZE_BYTES / LBA_DESCRIPTOR];
};

/* [s->lba, end) is in this state; false when there is no room left. */
static bool
add_extent(struct lba_status *s, uint64_t end, unsigned state)
{
	uint64_t blocks = end - s->lba;

	if (blocks == 0)
		return true;
	if (s->n && s->extents[s->n - 1].state == state) {
		blocks = min_of(blocks, UINT32_MAX - s->extents[s->n - 1].blocks);
		s->extents[s->n - 1].blocks += blocks;
		s->lba += blocks;
	}
	while (s->lba < end) {
		if (s->n == s->room)
			return false;
		blocks = min_of(end - s->lba, (uint64_t)UINT32_MAX);
		s->extents[s->n].lba = s->lba;
		s->extents[s->n].blocks = blocks;
		s->extents[s->n++].state = state;
		s->lba += blocks;
	}
	return true;
}

/* What the map said; false when the list is complete. */
static bool
add_chunks(struct scsi_task *task, struct lba_status *s)
{
	uint64_t per_chunk = task->lu->vol->chunk_size / task->lu->vol->block_size;
	uint64_t blocks = lu_blocks(task->lu), known;

	for (unsigned i = 0; i < task->req.ret_infos; i++) {
		uint64_t first = s->infos[i].index * per_chunk;

		if (first >= blocks)
			break;
		if (first > s->lba && !add_extent(s, first, PROVISIONING_DEALLOCATED))
			return false;
		if (first + per_chunk > s->lba &&
		    !add_extent(s, min_of(first + per_chunk, blocks), PROVISIONING_MAPPED))
			return false;
	}
	/* what the map passed over without a word is absent */
	known = task->req.ret_next_chunk >= blocks / per_chunk + 1 ? blocks
								   : task->req.ret_next_chunk * per_chunk;
	if (known > s->lba && !add_extent(s, min_of(known, blocks), PROVISIONING_DEALLOCATED))
		return false;
	return s->lba < blocks && ++s->rounds < MAP_ROUNDS;
}

static enum scsi_step
put_status(struct scsi_task *task, const struct lba_status *s)
{
	struct datain in;

	datain_begin(task, &in);
	datain_be32(&in, 4 + LBA_DESCRIPTOR * s->n);
	datain_be32(&in, 0);
	for (unsigned i = 0; i < s->n; i++) {
		datain_be64(&in, s->extents[i].lba);
		datain_be32(&in, (uint32_t)s->extents[i].blocks);
		datain_be32(&in, s->extents[i].state << 24);
	}
	return datain_end(task, &in);
}

enum scsi_step
sbc_lba_status(struct scsi_task *task)
{
	struct lba_status *s = task->priv;
	const struct volume *vol = task->lu->vol;
	uint32_t cap = min_of(task->alloc_len, task->held ? PAGE_SIZE_BYTES : (uint32_t)SCSI_INLINE_MAX);

	if (!s) {
		s = task->priv = calloc(1, sizeof(*s));
		if (!s)
			return task_fail(task, SE_BUSY);
		s->lba = task->lba;
		s->room = cap < 8 + 2 * LBA_DESCRIPTOR ? 1 : (cap - 8) / LBA_DESCRIPTOR;
	} else {
		if (task->req.status < 0)
			return task_fail_io(task);
		if (!add_chunks(task, s))
			return put_status(task, s);
	}
	task_io(task, VOL_MAP, 0, 0, NULL, 0);
	task->req.first_chunk = s->lba / (vol->chunk_size / vol->block_size);
	task->req.infos = s->infos;
	task->req.max_infos = MAP_INFOS;
	return STEP_IO;
}

/* -- the medium ---------------------------------------------------------- */

static bool
is_prevented(const struct scsi_lu *lu)
{
	for (const struct scsi_itl *itl = lu->itls; itl; itl = itl->next)
		if (itl->prevents)
			return true;
	return false;
}

/* What START STOP UNIT may not do now. */
static enum scsi_step
check_start_stop(struct scsi_task *task)
{
	const struct scsi_lu *lu = task->lu;
	bool start = task->cdb[4] & 0x01, load = task->cdb[4] & 0x02;

	if (load && !lu->removable) {
		(void)task_fail_cdb(task, 4);
		task->fail.flags |= FAIL_BIT;
		task->fail.bit = 1;
		return STEP_FAIL;
	}
	if (load && is_prevented(lu))
		return task_fail(task, SE_REMOVAL_PREVENTED);
	if (start && !load && lu->ejected)
		return task_fail(task, SE_NO_MEDIUM);
	return STEP_GOOD;
}

/*
 * SBC-3 5.25.  Stopping flushes first unless NO_FLUSH.  A power condition is taken note of, and there is none
 * to go to.  A removable unit has no spindle that stops: without LOEJ it stays ready.
 */
enum scsi_step
sbc_start_stop(struct scsi_task *task)
{
	struct scsi_lu *lu = task->lu;
	bool start = task->cdb[4] & 0x01, load = task->cdb[4] & 0x02, no_flush = task->cdb[4] & 0x04;

	if (task->cdb[4] & 0xf0)
		return STEP_GOOD;
	if (task->state++ == 0) {
		if (check_start_stop(task) != STEP_GOOD)
			return STEP_FAIL;
		if (!start && !no_flush && !lu->stopped && !lu->ejected) {
			task_io(task, VOL_FLUSH, 0, 0, NULL, 0);
			return STEP_IO;
		}
	} else if (task->req.status < 0) {
		return task_fail_io(task);
	}
	if (!lu->removable) {
		lu->stopped = !start;
	} else if (load) {
		if (start && lu->ejected)
			scsi_lu_attention(lu, UA_MEDIUM_CHANGED, task_itl(task));
		lu->ejected = !start;
	}
	return STEP_GOOD;
}

/* SBC-3 5.13.  Where the medium cannot be removed both are kept. */
enum scsi_step
sbc_prevent_allow(struct scsi_task *task)
{
	task_itl(task)->prevents = task->lu->removable && (task->cdb[4] & 0x01);
	return STEP_GOOD;
}

/* SBC-3 5.16, 5.17: there are no lists because there are no defects. */
enum scsi_step
sbc_read_defects(struct scsi_task *task)
{
	bool twelve = task->cdb[0] == 0xb7;
	struct datain in;

	datain_begin(task, &in);
	datain_u8(&in, 0);
	datain_u8(&in, task->cdb[twelve ? 1 : 2] & 0x1f); /* the lists and the format asked for */
	datain_be16(&in, 0);
	if (twelve)
		datain_be32(&in, 0);
	return datain_end(task, &in);
}
