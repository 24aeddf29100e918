/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EXTENDED COPY and RECEIVE COPY RESULTS (SPC-4 6.3, 6.17 - 6.20): block to block, between
 * units of the target that the command came to.
 *
 *   parse    the whole list is looked at before anything is copied
 *   ask      each unit says on its own home whether this nexus may read or write there: all of them
 *            before anything is copied, and the two of each later segment again, for a reservation may have
 *            come meanwhile
 *   move     one segment after another (xcopy_move.c), for a segment may read what an earlier one wrote
 *   leave    each unit that has said yes knows of the copy as its guest; it is told that nothing is in flight any more
 *
 * At its own unit a copy is a task like others.  At the others it is a guest, and what it reads and writes
 * there are commands of that unit's task set, by the copy manager.  It begins nothing more when there comes
 *   LOGICAL UNIT RESET, CLEAR TASK SET or a target's reset: COPY ABORTED, and the response waits until the
 *       guest has left.  So does PREEMPT AND ABORT of the registration of the copy's nexus.  Then nothing comes
 *       any more, whatever unit the copy had been sent to.
 *   PREEMPT, or another change of reservations that keeps the nexus out: the unit is not reachable.  Nobody
 *       waits: what was begun before may end, as with any command (SPC-4 5.13.11.2.4).
 * A copy whose command came before a reset, and that asks after it, is turned away as well.
 *
 * Invariants: while the task has its struct xcopy, every unit in cscds[] is held by its slot.  A guest is linked from
 * ask to leave, and nothing is in flight before or after.
 *
 * Threads: the home of the unit that received the command, but for ask_there (the home of the unit it is
 * about), and leave_there.
 *
 * Failure: COPY ABORTED, with what was copied before left as it is; BUSY where the arena stays short.
 * An aborted task begins nothing more and ends when what it has in flight has ended.
 */
#include <stdlib.h>

#include "gateway/scsi/xcopy.h"

#define CSCD_LEN 32u
#define CSCD_IDENTIFICATION 0xe4
#define SEGMENT_LEN 28u
#define SEGMENT_BLOCK_TO_BLOCK 0x02
#define LIST_MAX (CSCDS_MAX * CSCD_LEN + SEGMENTS_MAX * SEGMENT_LEN)
#define HEADER_LID1 16u
#define HEADER_LID4 48u

enum { USAGE_HOLD = 0, USAGE_DISCARD = 2, USAGE_NO_ID = 3 };
enum { COPY_RUNNING = 0, COPY_DONE = 1, COPY_FAILED = 2 };
enum { STATE_NEW, STATE_ASK, STATE_SEGMENT, STATE_MOVE, STATE_LEAVE };

/* -- units --------------------------------------------------------------- */

/* SPC-4 7.8.6: one of the designators that VPD 83h shows. */
static bool
is_designated(const struct scsi_lu *lu, const uint8_t *p)
{
	unsigned association = p[5] >> 4 & 3, type = p[5] & 0x0f, len = p[7];
	const struct volume *vol = lu->vol;
	size_t serial = strnlen(vol->serial, sizeof(vol->serial));

	if (association != 0 || len > 20)
		return false;
	switch (type) {
	case 1: /* T10: vendor and serial; what does not fit is cut off */
		return len >= 8 && !memcmp(p + 8, "LUNGATE ", 8) && len - 8 <= serial &&
		       !memcmp(p + 16, vol->serial, len - 8) && (len == 20 || len - 8 == serial);
	case 3:
		return len == sizeof(vol->naa) && !memcmp(p + 8, vol->naa, len);
	case 10:
		return len == 2 + UUID_LEN && !memcmp(p + 10, vol->uuid, UUID_LEN);
	default:
		return false;
	}
}

static void
find_unit(const struct scsi_task *task, const uint8_t *descriptor, struct cscd *cscd)
{
	struct scsi_slot *slots = task->nexus->target->slots;

	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++) {
		/* an empty slot needs no look at all that the nexus sees */
		struct scsi_lu *lu =
			atomic_load(&slots[i].lu) && scsi_nexus_sees(task->nexus, &slots[i], &cscd->read_only)
				? scsi_slot_acquire(&slots[i])
				: NULL;

		if (!lu)
			continue;
		if (is_designated(lu, descriptor)) {
			cscd->slot = &slots[i];
			cscd->lu = lu;
			return;
		}
		scsi_slot_release(&slots[i]);
	}
}

static enum scsi_step
end_copy(struct scsi_task *task, enum scsi_step step)
{
	struct xcopy *copy = task->priv;

	for (unsigned i = 0; i < copy->ncscds; i++)
		if (copy->cscds[i].lu)
			scsi_slot_release(copy->cscds[i].slot);
	if (copy->record && copy->record->nexus == task->nexus) {
		copy->record->state = step == STEP_GOOD ? COPY_DONE : COPY_FAILED;
		if (copy->discard && step == STEP_GOOD)
			copy->record->nexus = NULL;
	}
	free(copy);
	task->priv = NULL;
	return step;
}

/* -- parsing ------------------------------------------------------------- */

struct list {
	const uint8_t *p;
	uint32_t header, cscds_len, segments_len, inline_len, id;
	unsigned usage;
};

static enum scsi_step
parse_header(struct scsi_task *task, struct list *list)
{
	bool four = (task->cdb[1] & 0x1f) == 1;
	const uint8_t *p = list->p = task->pages[0]->data;

	list->header = four ? HEADER_LID4 : HEADER_LID1;
	if (task->out_len < list->header || task->out_room < task->out_len)
		return task_fail(task, SE_PARAM_LENGTH);
	list->usage = p[1] >> 3 & 3;
	if (four) {
		if (p[0] != 0x01)
			return task_fail_param(task, 0);
		if (p[15] & 0x02) /* IMMED */
			return task_fail_param(task, 15);
		list->id = get_be32(p + 20);
		list->cscds_len = get_be16(p + 42);
		list->segments_len = get_be16(p + 44);
		list->inline_len = get_be16(p + 46);
	} else {
		list->id = p[0];
		list->cscds_len = get_be16(p + 2);
		list->segments_len = get_be32(p + 8);
		list->inline_len = get_be32(p + 12);
	}
	if (list->usage == 1 || (list->usage == USAGE_NO_ID && list->id != 0))
		return task_fail_param(task, 1);
	if (list->inline_len)
		return task_fail_param(task, four ? 46 : 12);
	return STEP_GOOD;
}

/* SPC-4 6.3.1: a list that does not fit, then one with too many, then what is in it. */
static enum scsi_step
check_descriptors(struct scsi_task *task, const struct list *list)
{
	const uint8_t *cscds = list->p + list->header, *segments = cscds + list->cscds_len;

	if (list->segments_len > LIST_MAX || list->cscds_len + list->segments_len > LIST_MAX ||
	    list->cscds_len + list->segments_len > task->out_len - list->header)
		return task_fail(task, SE_PARAM_LENGTH);
	if (list->cscds_len % CSCD_LEN)
		return task_fail_param(task, list->header == HEADER_LID4 ? 42 : 2);
	if (list->cscds_len / CSCD_LEN > CSCDS_MAX)
		return task_fail(task, SE_TOO_MANY_TARGETS);
	for (uint32_t at = 0; at < list->cscds_len; at += CSCD_LEN)
		if (cscds[at] != CSCD_IDENTIFICATION)
			return task_fail(task, SE_TARGET_TYPE);
	if (list->segments_len / SEGMENT_LEN > SEGMENTS_MAX)
		return task_fail(task, SE_TOO_MANY_SEGMENTS);
	for (uint32_t at = 0; at < list->segments_len; at += SEGMENT_LEN) {
		if (segments[at] != SEGMENT_BLOCK_TO_BLOCK)
			return task_fail(task, SE_SEGMENT_TYPE);
		if (list->segments_len - at < SEGMENT_LEN || get_be16(segments + at + 2) != SEGMENT_LEN - 4)
			return task_fail_param(task, list->header + list->cscds_len + at + 2);
	}
	return STEP_GOOD;
}

/* Which units are read and written; they must be there. */
static enum scsi_step
mark_units(struct scsi_task *task, struct xcopy *copy)
{
	for (unsigned i = 0; i < copy->nsegments; i++) {
		const uint8_t *p = copy->segments + i * SEGMENT_LEN;
		unsigned from = get_be16(p + 4), to = get_be16(p + 6);

		if (from >= copy->ncscds || to >= copy->ncscds)
			return task_fail(task, SE_COPY_ABORTED);
		if (!copy->cscds[from].lu || !copy->cscds[to].lu)
			return task_fail(task, SE_COPY_UNREACHABLE);
		copy->cscds[from].reads = true;
		copy->cscds[to].writes = true;
		copy->to_ask |= 1u << from | 1u << to;
	}
	return STEP_GOOD;
}

/* The record of this list identifier; it takes the place of an older one. */
static enum scsi_step
open_record(struct scsi_task *task, struct xcopy *copy, const struct list *list)
{
	struct scsi_lu *lu = task->lu;
	bool four = list->header == HEADER_LID4;
	struct copy_record *record = NULL;

	for (unsigned i = 0; i < SCSI_COPIES_KEPT; i++) {
		struct copy_record *r = &lu->copies[i];

		if (r->nexus != task->nexus || r->four != four || r->list_id != list->id)
			continue;
		if (r->state == COPY_RUNNING)
			return task_fail(task, SE_IN_PROGRESS);
		record = r;
	}
	for (unsigned i = 0; i < SCSI_COPIES_KEPT && !record; i++) {
		struct copy_record *r = &lu->copies[lu->last_copy++ % SCSI_COPIES_KEPT];

		if (!r->nexus || r->state != COPY_RUNNING)
			record = r;
	}
	if (!record)
		return task_fail(task, SE_BUSY);
	*record = (struct copy_record){.nexus = task->nexus, .list_id = list->id, .four = four};
	copy->record = record;
	copy->discard = list->usage == USAGE_DISCARD;
	return STEP_GOOD;
}

static enum scsi_step
parse(struct scsi_task *task)
{
	struct list list;
	struct xcopy *copy;

	if (task->out_len == 0)
		return STEP_GOOD;
	if (parse_header(task, &list) != STEP_GOOD || check_descriptors(task, &list) != STEP_GOOD)
		return STEP_FAIL;
	copy = calloc(1, sizeof(*copy));
	if (!copy)
		return task_fail(task, SE_BUSY);
	task->priv = copy;
	copy->task = task;
	copy->segments = list.p + list.header + list.cscds_len;
	copy->nsegments = list.segments_len / SEGMENT_LEN;
	if (list.usage != USAGE_NO_ID && open_record(task, copy, &list) != STEP_GOOD)
		return end_copy(task, STEP_FAIL);
	for (; copy->ncscds < list.cscds_len / CSCD_LEN; copy->ncscds++)
		find_unit(task, list.p + list.header + copy->ncscds * CSCD_LEN, &copy->cscds[copy->ncscds]);
	if (mark_units(task, copy) != STEP_GOOD)
		return end_copy(task, STEP_FAIL);
	task->state = STATE_ASK;
	return STEP_WAIT;
}

/* -- asking -------------------------------------------------------------- */

static void
msg_back(struct loop_msg *msg)
{
	struct xcopy *copy = container_of(msg, struct xcopy, msg);

	copy->to_ask &= ~(1u << copy->asked);
	scsi_task_pump(copy->task);
}

/* On the home of the unit in question. */
static void
ask_there(struct loop_msg *msg)
{
	struct xcopy *copy = container_of(msg, struct xcopy, msg);
	struct cscd *cscd = &copy->cscds[copy->asked];
	struct scsi_guest *guest = &cscd->guest;
	bool own = cscd->lu == copy->task->lu; /* where the task itself is aborted */

	if (!guest->linked)
		*guest = (struct scsi_guest){.nexus = copy->task->nexus,
					     .slot = cscd->slot,
					     .epoch = copy->task->epoch,
					     .stop = &copy->stopped,
					     .writes = cscd->writes};
	if (!own && guest->epoch < cscd->lu->cleared_epoch)
		scsi_guest_stop(guest, SE_COPY_ABORTED); /* it came before the reset */
	if (scsi_guest_conflicts(cscd->lu, guest))
		copy->refused = SE_CONFLICT;
	else
		copy->refused = scsi_lu_state(cscd->lu, cscd->writes ? F_WRITES : 0);
	if (!copy->refused && cscd->writes && cscd->read_only)
		copy->refused = SE_WRITE_PROTECTED;
	cscd->fua = !cscd->lu->wce;
	if (!copy->refused && !guest->linked && !own && atomic_load(&copy->stopped) == SE_NONE)
		scsi_guest_enter(cscd->lu, guest);
	copy->msg.fn = msg_back;
	loop_post(copy->task->lu->home, &copy->msg);
}

/* The next unit that is to be asked; STEP_GOOD when all said yes. */
static enum scsi_step
ask_next(struct scsi_task *task, struct xcopy *copy)
{
	if (copy->refused) {
		/* of its own unit the initiator hears what any command would, unless it is too late for that */
		if (copy->cscds[copy->asked].lu == task->lu && copy->at_segment == 0)
			return task_fail(task, copy->refused);
		return task_fail(task, SE_COPY_UNREACHABLE);
	}
	if (copy->to_ask == 0)
		return STEP_GOOD;
	for (copy->asked = 0; !(copy->to_ask & 1u << copy->asked); copy->asked++)
		;
	copy->msg.fn = ask_there;
	loop_post(copy->cscds[copy->asked].lu->home, &copy->msg);
	return STEP_WAIT;
}

/* -- segments ------------------------------------------------------------ */

static enum scsi_step
open_segment(struct scsi_task *task, struct xcopy *copy)
{
	const uint8_t *p = copy->segments + copy->at_segment * SEGMENT_LEN;
	const struct cscd *from = &copy->cscds[get_be16(p + 4)], *to = &copy->cscds[get_be16(p + 6)];
	uint32_t from_bs = from->lu->vol->block_size, to_bs = to->lu->vol->block_size;
	uint64_t from_lba = get_be64(p + 12), to_lba = get_be64(p + 20);
	uint64_t bytes = (uint64_t)get_be16(p + 10) * (p[1] & 0x02 ? to_bs : from_bs); /* DC */

	if (bytes % from_bs || bytes % to_bs || bytes > SEGMENT_BYTES_MAX)
		return task_fail(task, SE_COPY_ABORTED);
	if (from_lba > lu_blocks(from->lu) || bytes / from_bs > lu_blocks(from->lu) - from_lba ||
	    to_lba > lu_blocks(to->lu) || bytes / to_bs > lu_blocks(to->lu) - to_lba)
		return task_fail(task, SE_COPY_ABORTED);
	copy->from = from;
	copy->to = to;
	copy->from_offset = from_lba * from_bs;
	copy->to_offset = to_lba * to_bs;
	copy->total = bytes;
	/* a range that overlaps a later one is copied from its end on */
	copy->backwards = from->lu == to->lu && copy->to_offset > copy->from_offset &&
			  copy->to_offset < copy->from_offset + bytes;
	if (copy->record)
		copy->record->segments = (uint16_t)copy->at_segment;
	return STEP_GOOD;
}

/* Onto itself nothing has to be copied; STEP_GOOD: this was the last one. */
static enum scsi_step
next_segment(struct scsi_task *task, struct xcopy *copy)
{
	for (; copy->at_segment < copy->nsegments; copy->at_segment++) {
		if (open_segment(task, copy) != STEP_GOOD)
			return STEP_FAIL;
		if (copy->total == 0)
			continue;
		if (copy->from->lu != copy->to->lu || copy->from_offset != copy->to_offset) {
			xcopy_move_begin(copy);
			task->state = STATE_MOVE;
			return STEP_WAIT;
		}
		if (copy->record)
			copy->record->bytes += copy->total;
	}
	if (copy->record)
		copy->record->segments = (uint16_t)copy->nsegments;
	return STEP_GOOD;
}

/* The units of the segment that comes: they were asked before the first one. */
static void
ask_again(struct xcopy *copy)
{
	const uint8_t *p = copy->segments + ++copy->at_segment * SEGMENT_LEN;

	if (copy->at_segment < copy->nsegments)
		copy->to_ask = 1u << get_be16(p + 4) | 1u << get_be16(p + 6);
}

/* As far as it goes. */
static enum scsi_step
go_on(struct scsi_task *task, struct xcopy *copy)
{
	enum scsi_step step;

	for (;;) {
		switch (task->state) {
		case STATE_ASK:
			if (task->aborted)
				step = STEP_FAIL;
			else if (atomic_load(&copy->stopped))
				step = task_fail(task, (enum scsi_error)atomic_load(&copy->stopped));
			else
				step = ask_next(task, copy);
			if (step != STEP_GOOD)
				return step;
			task->state = STATE_SEGMENT;
			break;
		case STATE_SEGMENT:
			step = next_segment(task, copy);
			if (step != STEP_WAIT)
				return step;
			break;
		default:
			step = xcopy_move(copy);
			if (step == STEP_FAIL && copy->failed)
				return task_fail(task, copy->failed);
			if (step != STEP_GOOD)
				return step;
			ask_again(copy);
			task->state = STATE_ASK;
			break;
		}
	}
}

/* -- leaving ------------------------------------------------------------- */

static void
msg_left(struct loop_msg *msg)
{
	scsi_task_pump(container_of(msg, struct xcopy, msg)->task);
}

/* On the home of the unit in question. */
static void
leave_there(struct loop_msg *msg)
{
	struct xcopy *copy = container_of(msg, struct xcopy, msg);
	struct cscd *cscd = &copy->cscds[copy->asked];

	scsi_guest_leave(cscd->lu, &cscd->guest);
	copy->msg.fn = msg_left;
	loop_post(copy->task->lu->home, &copy->msg);
}

/* One unit after another; then the answer. */
static enum scsi_step
leave_next(struct scsi_task *task, struct xcopy *copy)
{
	for (copy->asked = 0; copy->asked < copy->ncscds; copy->asked++) {
		const struct cscd *cscd = &copy->cscds[copy->asked];

		if (!cscd->guest.linked)
			continue;
		copy->msg.fn = leave_there;
		loop_post(cscd->lu->home, &copy->msg);
		return STEP_WAIT;
	}
	return end_copy(task, task->aborted ? task_fail(task, SE_COMMAND_ABORTED) : copy->ended);
}

enum scsi_step
spc_extended_copy(struct scsi_task *task)
{
	struct xcopy *copy;
	enum scsi_step step = STEP_GOOD;

	if (task->state == STATE_NEW) {
		step = parse(task);
		if (step != STEP_WAIT)
			return step;
	}
	copy = task->priv;
	if (task->state != STATE_LEAVE) {
		step = go_on(task, copy);
		if (step == STEP_WAIT)
			return step;
		copy->ended = step;
		task->state = STATE_LEAVE;
	}
	return leave_next(task, copy);
}

/* -- RECEIVE COPY RESULTS ------------------------------------------------ */

static struct copy_record *
find_record(const struct scsi_task *task, uint32_t id, bool four)
{
	for (unsigned i = 0; i < SCSI_COPIES_KEPT; i++) {
		struct copy_record *r = &task->lu->copies[i];

		if (r->nexus == task->nexus && r->four == four && r->list_id == id)
			return r;
	}
	return NULL;
}

/* SPC-4 6.18; told once, unless it still goes on */
static enum scsi_step
status_lid1(struct scsi_task *task)
{
	struct copy_record *r = find_record(task, task->cdb[2], false);
	struct datain in;

	if (!r)
		return task_fail_cdb(task, 2);
	datain_begin(task, &in);
	datain_be32(&in, 8);
	datain_u8(&in, r->state);
	datain_be16(&in, r->segments);
	datain_u8(&in, r->bytes > UINT32_MAX ? 1 : 0); /* KiB, bytes */
	datain_be32(&in, (uint32_t)(r->bytes > UINT32_MAX ? r->bytes >> 10 : r->bytes));
	if (r->state != COPY_RUNNING)
		r->nexus = NULL;
	return datain_end(task, &in);
}

/* SPC-4 6.19 */
static enum scsi_step
status_lid4(struct scsi_task *task)
{
	static const uint8_t states[] = {[COPY_RUNNING] = 0x10, [COPY_DONE] = 0x01, [COPY_FAILED] = 0x02};
	struct copy_record *r = find_record(task, get_be32(task->cdb + 2), true);
	struct datain in;

	if (!r)
		return task_fail_cdb(task, 2);
	datain_begin(task, &in);
	datain_be32(&in, 28);
	datain_u8(&in, 0x01); /* response to EXTENDED COPY(LID4) */
	datain_u8(&in, states[r->state]);
	datain_be16(&in, 1);
	datain_be32(&in, r->state == COPY_RUNNING ? 100 : UINT32_MAX);
	datain_u8(&in, r->state == COPY_FAILED ? SCSI_CHECK_CONDITION : SCSI_GOOD);
	datain_be16(&in, 0); /* no sense data */
	datain_u8(&in, 0);   /* bytes */
	datain_be64(&in, r->bytes);
	datain_be16(&in, r->segments);
	datain_zero(&in, 6);
	if (r->state != COPY_RUNNING)
		r->nexus = NULL;
	return datain_end(task, &in);
}

/* SPC-4 6.17 */
static enum scsi_step
operating_parameters(struct scsi_task *task)
{
	struct datain in;

	datain_begin(task, &in);
	datain_be32(&in, 42);
	datain_u8(&in, 0x01); /* SNLID */
	datain_zero(&in, 3);
	datain_be16(&in, CSCDS_MAX);
	datain_be16(&in, SEGMENTS_MAX);
	datain_be32(&in, LIST_MAX);
	datain_be32(&in, SEGMENT_BYTES_MAX);
	datain_be32(&in, 0); /* inline data */
	datain_be32(&in, 0); /* held data */
	datain_be32(&in, 0); /* stream transfers */
	datain_be16(&in, 0);
	datain_be16(&in, SCSI_COPIES_KEPT);
	datain_u8(&in, SCSI_COPIES_KEPT);
	datain_u8(&in, 9); /* granularities: 512 bytes */
	datain_u8(&in, 0);
	datain_u8(&in, 0);
	datain_zero(&in, 3);
	datain_u8(&in, 2);
	datain_u8(&in, SEGMENT_BLOCK_TO_BLOCK);
	datain_u8(&in, CSCD_IDENTIFICATION);
	return datain_end(task, &in);
}

enum scsi_step
spc_copy_results(struct scsi_task *task)
{
	switch (task->cdb[1] & 0x1f) {
	case 0:
		return status_lid1(task);
	case 3:
		return operating_parameters(task);
	default:
		return status_lid4(task);
	}
}
