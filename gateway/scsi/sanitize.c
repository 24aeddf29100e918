/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SANITIZE (SBC-3 4.11, 5.23): OVERWRITE and BLOCK ERASE of the whole medium, and EXIT FAILURE MODE.
 *
 * The work is a job of the unit and not of its task, for resets and aborts do
 * not stop it:
 *   writing -> pausing -> writing ...  pieces, one after another, paced by scsi_sanitize_floor_ms
 *   writing -> flushing -> writing     a pass of OVERWRITE is over
 *   flushing -> done | failed          the task, if it is still there, is told
 * While a job is there all but a few commands end with NOT READY and a progress indication (lu.c).
 * The command itself is exclusive: what was in flight has ended before the first piece.
 *
 * Invariants: a job holds its slot; job->task is a parked task of the set, or NULL.
 *
 * Threads: the unit's home.
 *
 * Failure: of a request, or broken off by unmapping the LUN: the unit is in failure mode
 * (31/03) until another SANITIZE succeeds or, where AUSE allowed it, EXIT FAILURE MODE.
 * A daemon that stops forgets the job.
 */
#include <stdlib.h>

#include "gateway/scsi/scsi_impl.h"

enum { ACTION_OVERWRITE = 1, ACTION_BLOCK_ERASE = 2, ACTION_EXIT_FAILURE = 0x1f };
enum { TASK_NEW, TASK_DONE };

#define LIST_HEADER 4u

unsigned scsi_sanitize_floor_ms = 6400;

struct scsi_sanitize {
	struct scsi_lu *lu;
	struct scsi_slot *slot;
	struct scsi_task *task;
	bool ause, invert, cancelled, flushing;
	unsigned pass, passes;
	uint64_t at, total, piece;
	struct page *page; /* a page of the pattern; NULL: BLOCK ERASE */
	struct page *inverted;
	struct page *list[SCSI_PIECE_PAGES];
	uint64_t start_ms;
	struct vol_req req;
	struct loop_timer timer;
	struct loop_msg msg;
};

static void next_piece(struct scsi_sanitize *job);

static double
share(const struct scsi_sanitize *job)
{
	return ((double)job->pass + (double)job->at / (double)job->total) / (double)job->passes;
}

unsigned
scsi_sanitize_progress(const struct scsi_sanitize *job)
{
	return (unsigned)min_of(share(job) * 65536.0, 65535.0);
}

void
scsi_sanitize_forget(struct scsi_lu *lu, const struct scsi_task *task)
{
	if (lu->sanitize->task == task)
		lu->sanitize->task = NULL;
}

static void
end_job(struct scsi_sanitize *job, int status)
{
	struct scsi_lu *lu = job->lu;
	struct scsi_slot *slot = job->slot;
	struct scsi_task *task = job->task;

	lu->sanitize = NULL;
	lu->sanitize_failed = status < 0;
	lu->sanitize_ause = job->ause;
	if (job->page)
		pages_unref(&job->page, 1);
	if (job->inverted)
		pages_unref(&job->inverted, 1);
	free(job);
	if (task) {
		task->place = PLACE_RUNNING;
		task->state = TASK_DONE;
		scsi_task_pump(task);
	}
	scsi_slot_release(slot);
}

static void
msg_next(struct loop_msg *msg)
{
	next_piece(container_of(msg, struct scsi_sanitize, msg));
}

static void
timer_next(struct loop_timer *timer)
{
	next_piece(container_of(timer, struct scsi_sanitize, timer));
}

static void
piece_done(struct vol_req *req)
{
	struct scsi_sanitize *job = container_of(req, struct scsi_sanitize, req);
	uint64_t now = loop_now_ms(job->lu->home), due;

	if (req->status < 0) {
		end_job(job, req->status);
		return;
	}
	if (job->flushing) {
		job->pass++;
		job->at = 0;
	} else {
		job->at += req->length;
	}
	due = job->start_ms + (uint64_t)(share(job) * scsi_sanitize_floor_ms);
	if (due > now && !job->cancelled)
		loop_timer_start(&job->timer, due - now);
	else
		loop_post(job->lu->home, &job->msg);
}

static void
submit(struct scsi_sanitize *job, enum vol_op op, uint64_t length)
{
	struct page *page = job->invert && job->pass % 2 ? job->inverted : job->page;

	job->req = (struct vol_req){
		.vol = job->lu->vol, .op = op, .offset = job->at, .length = length, .done = piece_done};
	if (op == VOL_WRITE) {
		job->req.pages = job->list;
		job->req.npages = volume_pages(job->at, length);
		for (unsigned i = 0; i < job->req.npages; i++)
			job->list[i] = page;
	} else if (op == VOL_FLUSH) {
		job->req.offset = 0;
	}
	volume_submit(&job->req);
}

static void
next_piece(struct scsi_sanitize *job)
{
	bool pass_over = job->at == job->total;

	if (job->cancelled) {
		end_job(job, LG_EABORTED);
		return;
	}
	if (job->pass == job->passes) {
		end_job(job, 0);
		return;
	}
	job->flushing = pass_over;
	if (pass_over)
		submit(job, VOL_FLUSH, 0);
	else
		submit(job, job->page ? VOL_WRITE : VOL_UNMAP, min_of(job->piece, job->total - job->at));
}

void
scsi_sanitize_cancel(struct scsi_lu *lu, const struct scsi_slot *slot)
{
	struct scsi_sanitize *job = lu->sanitize;

	if (!job || job->slot != slot)
		return;
	job->cancelled = true;
	if (job->timer.due_ms) {
		loop_timer_stop(&job->timer);
		loop_post(lu->home, &job->msg);
	}
}

/* -- beginning ----------------------------------------------------------- */

static uint8_t
data_out_byte(const struct scsi_task *task, uint32_t at)
{
	return task->pages[at >> PAGE_SHIFT]->data[at % PAGE_SIZE_BYTES];
}

/* The pattern, from the start of each block on (SBC-3 5.23.2.2). */
static void
fill_pattern(const struct scsi_task *task, struct page *page, unsigned len, uint8_t mask)
{
	uint32_t bs = task->lu->vol->block_size;

	for (uint32_t i = 0; i < PAGE_SIZE_BYTES; i++)
		page->data[i] = data_out_byte(task, LIST_HEADER + i % bs % len) ^ mask;
}

static enum scsi_step
take_pattern(struct scsi_task *task, struct scsi_sanitize *job)
{
	struct arena *arena = task->lu->vol->arena;
	const uint8_t *list;
	unsigned len;

	if (task->out_room < task->out_len)
		return task_fail(task, SE_PARAM_LENGTH);
	list = task->pages[0]->data;
	len = get_be16(list + 2);
	if ((list[0] & 0x60) != 0 || (list[0] & 0x1f) == 0) /* TEST, OVERWRITE COUNT */
		return task_fail_param(task, 0);
	if (len == 0 || len > task->lu->vol->block_size || len != task->out_len - LIST_HEADER)
		return task_fail_param(task, 2);
	job->passes = list[0] & 0x1f;
	job->invert = list[0] & 0x80;
	if (arena_alloc(arena, &job->page, 1) < 0)
		return task_fail(task, SE_BUSY);
	fill_pattern(task, job->page, len, 0);
	if (!job->invert)
		return STEP_GOOD;
	if (arena_alloc(arena, &job->inverted, 1) < 0) {
		pages_unref(&job->page, 1);
		return task_fail(task, SE_BUSY);
	}
	fill_pattern(task, job->inverted, len, 0xff);
	return STEP_GOOD;
}

static enum scsi_step
start_job(struct scsi_task *task, struct scsi_sanitize *job)
{
	struct scsi_lu *lu = task->lu;
	bool immediate = task->cdb[1] & 0x80;

	job->lu = lu;
	job->slot = task->slot;
	job->ause = task->cdb[1] & 0x20;
	job->total = lu_blocks(lu) * lu->vol->block_size;
	job->piece = align_up(max_of(job->total / 64, (uint64_t)PAGE_SIZE_BYTES), PAGE_SIZE_BYTES);
	if (job->page)
		job->piece = min_of(job->piece, (uint64_t)SCSI_PIECE);
	job->start_ms = loop_now_ms(lu->home);
	job->msg.fn = msg_next;
	loop_timer_init(&job->timer, lu->home, timer_next);
	lu->sanitize = job;
	loop_post(lu->home, &job->msg);
	if (immediate)
		return STEP_GOOD;
	job->task = task;
	return STEP_PARK;
}

static enum scsi_step
begin(struct scsi_task *task)
{
	struct scsi_lu *lu = task->lu;
	unsigned action = task->cdb[1] & 0x1f;
	struct scsi_sanitize *job;
	enum scsi_step step;

	if (lu->sanitize) {
		(void)task_fail_info(task, SE_SANITIZING, scsi_sanitize_progress(lu->sanitize));
		task->fail.flags = FAIL_PROGRESS;
		return STEP_FAIL;
	}
	if (action == ACTION_EXIT_FAILURE) {
		if (lu->sanitize_failed && !lu->sanitize_ause)
			return task_fail(task, SE_SANITIZE_FAILED);
		lu->sanitize_failed = false;
		return STEP_GOOD;
	}
	job = calloc(1, sizeof(*job));
	if (!job)
		return task_fail(task, SE_BUSY);
	job->passes = 1;
	step = action == ACTION_OVERWRITE ? take_pattern(task, job) : STEP_GOOD;
	/* unmapping of this LUN has begun: the job would only hold it up */
	if (step == STEP_GOOD && !scsi_slot_acquire(task->slot)) {
		if (job->page)
			pages_unref(&job->page, 1);
		if (job->inverted)
			pages_unref(&job->inverted, 1);
		step = task_fail(task, SE_LUN_UNSUPPORTED);
	}
	if (step != STEP_GOOD) {
		free(job);
		return step;
	}
	return start_job(task, job);
}

enum scsi_step
sbc_sanitize(struct scsi_task *task)
{
	if (task->state == TASK_NEW)
		return begin(task);
	return task->lu->sanitize_failed ? task_fail(task, SE_SANITIZE_FAILED) : STEP_GOOD;
}
