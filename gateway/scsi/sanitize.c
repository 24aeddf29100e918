/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SANITIZE (SBC-3 4.11, 5.23): OVERWRITE and BLOCK ERASE of the whole medium, and EXIT FAILURE MODE.
 *
 * The work is a job of the unit and not of its task, for resets and aborts do
 * not stop it:
 *   quieting -> keeping | refused        the volume is barred; what came by other doors has ended
 *   keeping -> writing | refused         the record says that a SANITIZE has begun; IMMED is answered
 *   writing -> writing ... -> flushing   pieces, one after another
 *   flushing -> writing | forgetting     a pass is over, the last pass is over
 *   forgetting -> done                   the record is gone; the task, if it is still there, is told
 *   writing, flushing, forgetting -> failed
 * While a job is there all but a few commands end with NOT READY and a progress indication (lu.c).  The
 * command itself is exclusive: what other commands had in flight has ended before; the mount and whoever
 * else uses the volume is kept out by volume_bar().
 *
 * The record is a text kept with the volume (keep.c), JSON: "format" 1, "ause".  It is durable before the first
 * piece is written and goes after the last flush, so a volume that has one is not sanitized, whatever stopped
 * the job: its unit comes up in failure mode.  A text that does not fit counts as one without AUSE.
 *
 * Invariants: a job holds its slot; job->task is a parked task of the set, or NULL.  Outside of a job
 * lu->sanitize_failed, the volume's bar and the record say the same.
 *
 * Threads: the unit's home, but for scsi_sanitize_recall() (whoever opens volumes and maps LUNs).
 *
 * Failure: a record that cannot be written refuses the command, and nothing is touched.  After that, of a request,
 * or broken off by unmapping the LUN: the unit is in failure mode (31/03) until another SANITIZE succeeds or,
 * where AUSE allowed it, EXIT FAILURE MODE.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "gateway/scsi/keep.h"
#include "gateway/scsi/scsi_impl.h"

enum { ACTION_OVERWRITE = 1, ACTION_BLOCK_ERASE = 2, ACTION_EXIT_FAILURE = 0x1f };
enum { TASK_NEW, TASK_GOOD, TASK_FAILED, TASK_REFUSED, TASK_EXITING };

#define RECORD "sanitize"
#define LIST_HEADER 4u

struct scsi_sanitize {
	struct scsi_lu *lu;
	struct scsi_slot *slot;
	struct scsi_task *task;
	bool immediate, ause, invert, cancelled, flushing;
	unsigned pass, passes;
	uint64_t at, total, piece;
	struct page *page; /* a page of the pattern; NULL: BLOCK ERASE */
	struct page *inverted;
	struct page *list[SCSI_PIECE_PAGES];
	struct vol_req req;
	struct loop_msg msg;
	struct scsi_keeping keeping;
};

/* EXIT FAILURE MODE, in task->priv. */
struct leaving {
	struct scsi_keeping keeping; /* first */
	struct scsi_task *task;
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
tell(struct scsi_sanitize *job, unsigned state)
{
	struct scsi_task *task = job->task;

	job->task = NULL;
	if (!task)
		return;
	task->place = PLACE_RUNNING;
	task->state = (uint8_t)state;
	scsi_task_pump(task);
}

static void
job_free(struct scsi_sanitize *job)
{
	if (job->page)
		pages_unref(&job->page, 1);
	if (job->inverted)
		pages_unref(&job->inverted, 1);
	free(job->keeping.text);
	free(job);
}

/* The unit as it is now: in failure mode, or as if nothing had been. */
static void
end_job(struct scsi_sanitize *job, bool failed, unsigned state)
{
	struct scsi_lu *lu = job->lu;
	struct scsi_slot *slot = job->slot;

	lu->sanitize = NULL;
	lu->sanitize_failed = failed;
	volume_bar(lu->vol, failed ? LG_ESANITIZE : 0, NULL);
	tell(job, state);
	job_free(job);
	scsi_slot_release(slot);
}

static void
fail_job(struct scsi_sanitize *job, int status)
{
	log_error("volume %s: its SANITIZE did not succeed: %s", job->lu->vol->name, err_text(status));
	end_job(job, true, TASK_FAILED);
}

static void
msg_next(struct loop_msg *msg)
{
	next_piece(container_of(msg, struct scsi_sanitize, msg));
}

static void
piece_done(struct vol_req *req)
{
	struct scsi_sanitize *job = container_of(req, struct scsi_sanitize, req);

	if (req->status < 0) {
		fail_job(job, req->status);
		return;
	}
	if (job->flushing) {
		job->pass++;
		job->at = 0;
	} else {
		job->at += req->length;
	}
	loop_post(job->lu->home, &job->msg);
}

static void
submit(struct scsi_sanitize *job, enum vol_op op, uint64_t length)
{
	struct page *page = job->invert && job->pass % 2 ? job->inverted : job->page;

	int fault = op == VOL_FLUSH ? 0 : failpoint_hit(FP_SANITIZE_PIECE);

	job->req = (struct vol_req){.vol = job->lu->vol,
				    .op = op,
				    .flags = VOL_INSIDER,
				    .offset = job->at,
				    .length = length,
				    .done = piece_done};
	if (op == VOL_WRITE) {
		job->req.pages = job->list;
		job->req.npages = volume_pages(job->at, length);
		for (unsigned i = 0; i < job->req.npages; i++)
			job->list[i] = page;
	} else if (op == VOL_FLUSH) {
		job->req.offset = 0;
	}
	if (!fault) {
		volume_submit(&job->req);
		return;
	}
	job->req.status = fault < 0 ? fault : 0;
	piece_done(&job->req);
}

static void
forgotten(struct scsi_keeping *keeping)
{
	struct scsi_sanitize *job = container_of(keeping, struct scsi_sanitize, keeping);

	if (keeping->status < 0)
		fail_job(job, keeping->status);
	else
		end_job(job, false, TASK_GOOD);
}

static void
forget(struct scsi_sanitize *job)
{
	free(job->keeping.text);
	job->keeping = (struct scsi_keeping){.vol = job->lu->vol, .name = RECORD, .done = forgotten};
	scsi_keep(&job->keeping);
}

static void
next_piece(struct scsi_sanitize *job)
{
	bool pass_over = job->at == job->total;

	if (job->cancelled) {
		fail_job(job, LG_EABORTED);
		return;
	}
	if (job->pass == job->passes) {
		forget(job);
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

	if (job && job->slot == slot)
		job->cancelled = true;
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
	if (arena_alloc(arena, &job->inverted, 1) < 0)
		return task_fail(task, SE_BUSY);
	fill_pattern(task, job->inverted, len, 0xff);
	return STEP_GOOD;
}

static void
refuse(struct scsi_sanitize *job)
{
	end_job(job, job->lu->sanitize_failed, TASK_REFUSED);
}

static void
msg_kept(struct scsi_keeping *keeping)
{
	struct scsi_sanitize *job = container_of(keeping, struct scsi_sanitize, keeping);

	if (keeping->status < 0) {
		log_error("volume %s: a SANITIZE is refused: that it has begun cannot be kept: %s",
			  job->lu->vol->name, err_text(keeping->status));
		refuse(job);
		return;
	}
	job->lu->sanitize_ause = job->ause;
	if (job->immediate)
		tell(job, TASK_GOOD);
	next_piece(job);
}

/* Nobody uses the volume any more. */
static void
msg_quiet(struct loop_msg *msg)
{
	struct scsi_sanitize *job = container_of(msg, struct scsi_sanitize, msg);
	json_t *record = json_pack("{s:i, s:b}", "format", 1, "ause", (int)job->ause);

	job->msg.fn = msg_next;
	job->keeping = (struct scsi_keeping){.vol = job->lu->vol, .name = RECORD, .done = msg_kept};
	if (record)
		job->keeping.text = json_dumps(record, JSON_INDENT(1) | JSON_SORT_KEYS);
	json_decref(record);
	if (!job->keeping.text || job->cancelled) {
		refuse(job);
		return;
	}
	job->keeping.len = strlen(job->keeping.text);
	scsi_keep(&job->keeping);
}

static enum scsi_step
start_job(struct scsi_task *task, struct scsi_sanitize *job)
{
	struct scsi_lu *lu = task->lu;

	job->lu = lu;
	job->slot = task->slot;
	job->task = task;
	job->immediate = task->cdb[1] & 0x80;
	job->ause = task->cdb[1] & 0x20;
	job->total = lu_blocks(lu) * lu->vol->block_size;
	job->piece = align_up(max_of(job->total / 64, (uint64_t)PAGE_SIZE_BYTES), PAGE_SIZE_BYTES);
	if (job->page)
		job->piece = min_of(job->piece, (uint64_t)SCSI_PIECE);
	job->msg.fn = msg_quiet;
	lu->sanitize = job;
	volume_bar(lu->vol, LG_ESANITIZING, &job->msg);
	return STEP_PARK;
}

static void
exited(struct scsi_keeping *keeping)
{
	scsi_task_pump(((struct leaving *)keeping)->task);
}

/* SBC-3 4.11.4: out of failure mode, with what is there. */
static enum scsi_step
exit_failure(struct scsi_task *task)
{
	struct scsi_lu *lu = task->lu;
	struct leaving *leaving;

	if (!lu->sanitize_failed)
		return STEP_GOOD;
	if (!lu->sanitize_ause)
		return task_fail(task, SE_SANITIZE_FAILED);
	leaving = task->priv = calloc(1, sizeof(*leaving));
	if (!leaving)
		return task_fail(task, SE_BUSY);
	leaving->keeping = (struct scsi_keeping){.vol = lu->vol, .name = RECORD, .done = exited};
	leaving->task = task;
	task->state = TASK_EXITING;
	scsi_keep(&leaving->keeping); /* the task may be gone already */
	return STEP_WAIT;
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
	if (action == ACTION_EXIT_FAILURE)
		return exit_failure(task);
	/* who failed without AUSE does not get out of it by asking again with AUSE (SBC-3 5.23.1) */
	if (lu->sanitize_failed && !lu->sanitize_ause && (task->cdb[1] & 0x20)) {
		(void)task_fail_cdb(task, 1);
		task->fail.flags |= FAIL_BIT;
		task->fail.bit = 5;
		return STEP_FAIL;
	}
	job = calloc(1, sizeof(*job));
	if (!job)
		return task_fail(task, SE_BUSY);
	job->passes = 1;
	step = action == ACTION_OVERWRITE ? take_pattern(task, job) : STEP_GOOD;
	/* unmapping of this LUN has begun: the job would only hold it up */
	if (step == STEP_GOOD && !scsi_slot_acquire(task->slot))
		step = task_fail(task, SE_LUN_UNSUPPORTED);
	if (step != STEP_GOOD) {
		job_free(job);
		return step;
	}
	return start_job(task, job);
}

static enum scsi_step
exit_end(struct scsi_task *task)
{
	const struct leaving *leaving = task->priv;
	struct scsi_lu *lu = task->lu;

	if (leaving->keeping.status < 0) {
		log_error("volume %s: EXIT FAILURE MODE is refused: %s", lu->vol->name,
			  err_text(leaving->keeping.status));
		return task_fail(task, SE_INTERNAL_FAILURE);
	}
	lu->sanitize_failed = false;
	volume_bar(lu->vol, 0, NULL);
	return STEP_GOOD;
}

enum scsi_step
sbc_sanitize(struct scsi_task *task)
{
	switch (task->state) {
	case TASK_NEW:
		return begin(task);
	case TASK_EXITING:
		return exit_end(task);
	case TASK_GOOD:
		return STEP_GOOD;
	case TASK_REFUSED:
		return task_fail(task, SE_INTERNAL_FAILURE);
	default:
		return task_fail(task, SE_SANITIZE_FAILED);
	}
}

/* -- after a restart ----------------------------------------------------- */

int
scsi_sanitize_recall(struct volume *vol, bool *ret_failed, bool *ret_ause)
{
	size_t len = 0;
	char *text = NULL;
	json_t *record;
	int format, ause = 0, rc;

	*ret_failed = *ret_ause = false;
	rc = scsi_kept(vol, RECORD, NULL, &text, &len);
	if (rc < 0 || !text)
		return rc;
	record = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	*ret_failed = true;
	*ret_ause = json_unpack(record, "{s:i, s:b}", "format", &format, "ause", &ause) == 0 && format == 1 &&
		    ause;
	json_decref(record);
	free(text);
	volume_bar(vol, LG_ESANITIZE, NULL);
	return 0;
}

int
scsi_recall(struct volume *vol)
{
	bool failed, ause;

	return scsi_sanitize_recall(vol, &failed, &ause);
}
