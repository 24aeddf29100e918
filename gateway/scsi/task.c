/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of a task:
 *
 *   start   on the transport's loop: unit, command, CDB, lengths; pages for Data-Out
 *   run     on the transport's loop; from here the task counts as a user of its slot
 *   ------  message to the unit's home when that is another loop
 *   enter   task set; begin when its turn comes (lu.c)
 *   pump    step function, volume request, step function ... until the last step
 *   finish  status and sense; the slot is let go
 *   ------  message back
 *   done    on the transport's loop
 *
 * Between start and run nothing is held: run looks whether the same unit is still there.
 * A task for a LUN that is not there never leaves the transport's loop.
 *
 * Pages: pages[0 .. held) carry references of the task, pages[held .. slots) are
 * room for the pieces that long commands read.  Few come in the task itself, many from the
 * thread's own store of arrays; release gives them back on the thread of start.
 *
 * Threads: as above.  The store of arrays is thread-local.
 *
 * Failure: a short arena makes start say -EAGAIN with nothing held; no memory for an
 * array ends the task with BUSY.
 */
#include <pthread.h>
#include <stdlib.h>

#include "gateway/scsi/scsi_impl.h"

/* -- arrays of page pointers --------------------------------------------- */

/* Up to 256 KiB; up to 2 MiB; the largest: two of VOLUME_MAX_IO's worth never happen. */
#define ARRAY_CLASSES 3
static const unsigned array_slots[ARRAY_CLASSES] = {80, 800,
						    VOLUME_MAX_IO / PAGE_SIZE_BYTES + SCSI_PIECE_PAGES + 2};
static const unsigned array_keep[ARRAY_CLASSES] = {256, 32, 4};

struct array {
	struct array *next;
	struct page *pages[];
};

struct array_store {
	struct array *free[ARRAY_CLASSES];
	unsigned n[ARRAY_CLASSES];
};
static _Thread_local struct array_store store;
static pthread_once_t store_once = PTHREAD_ONCE_INIT;
static pthread_key_t store_key;

/* A thread that ends takes its store along. */
static void
store_free(void *arg)
{
	struct array_store *mine = arg;

	for (unsigned class = 0; class < ARRAY_CLASSES; class ++) {
		struct array *array;

		while ((array = mine->free[class])) {
			mine->free[class] = array->next;
			free(array);
		}
		mine->n[class] = 0;
	}
}

static void
store_key_make(void)
{
	int rc = pthread_key_create(&store_key, store_free);

	assert(rc == 0);
	(void)rc;
}

static unsigned
array_class(unsigned slots)
{
	unsigned class = 0;

	while (array_slots[class] < slots)
		class ++;
	assert(class < ARRAY_CLASSES);
	return class;
}

static struct page **
array_take(unsigned slots)
{
	unsigned class = array_class(slots);
	struct array *array = store.free[class];

	if (array) {
		store.free[class] = array->next;
		store.n[class]--;
	} else {
		(void)pthread_once(&store_once, store_key_make);
		(void)pthread_setspecific(store_key, &store);
		array = malloc(sizeof(*array) + array_slots[class] * sizeof(array->pages[0]));
	}
	return array ? array->pages : NULL;
}

static void
array_give(struct page **pages, unsigned slots)
{
	unsigned class = array_class(slots);
	struct array *array = container_of(pages, struct array, pages);

	if (store.n[class] >= array_keep[class]) {
		free(array);
		return;
	}
	array->next = store.free[class];
	store.free[class] = array;
	store.n[class]++;
}

/* 0, -EAGAIN, or -1 with task->fail set. */
static int
take_pages(struct scsi_task *task, struct arena *arena, const struct scsi_needs *needs)
{
	if (needs->slots == 0)
		return 0;
	assert(needs->alloc <= needs->slots);
	task->pages =
		needs->slots <= ARRAY_SIZE(task->few_pages) ? task->few_pages : array_take(needs->slots);
	if (!task->pages) {
		task_fail(task, SE_BUSY);
		return -1;
	}
	task->slots = needs->slots;
	if (needs->alloc && arena_alloc(arena, task->pages, needs->alloc) < 0) {
		scsi_task_release(task);
		return -EAGAIN;
	}
	task->held = needs->alloc;
	return 0;
}

void
scsi_task_release(struct scsi_task *task)
{
	if (task->held)
		pages_unref(task->pages, task->held);
	task->held = 0;
	if (task->pages && task->pages != task->few_pages)
		array_give(task->pages, task->slots);
	task->pages = NULL;
	task->npages = 0;
	task->slots = 0;
	free(task->priv);
	task->priv = NULL;
}

/* -- start --------------------------------------------------------------- */

static void
task_init(struct scsi_task *task)
{
	task->loop = loop_current();
	task->out_len = 0;
	task->pages = NULL;
	task->npages = 0;
	task->page_off = 0;
	task->status = SCSI_GOOD;
	task->sense_len = 0;
	task->in_len = 0;
	task->inline_in = false;
	task->silent = false;
	task->slot = NULL;
	task->lu = NULL;
	task->lu_id = 0;
	task->epoch = 0;
	task->command = NULL;
	task->fail = (struct scsi_fail){0};
	task->held = task->slots = 0;
	task->place = PLACE_STARTED;
	task->pump = PUMP_IDLE;
	task->aborted = task->no_answer = task->read_only = false;
	task->lba = task->blocks = task->at = 0;
	task->alloc_len = 0;
	task->state = 0;
	task->priv = NULL;
	task->killer = NULL;
}

/* Checks and lengths; 0, or -1 with task->fail set. */
static int
decode(struct scsi_task *task, const struct scsi_lu *lu)
{
	const struct scsi_command *command = scsi_command_find(lu, task->cdb);

	task->command = command;
	if (!command) {
		/* a service action that is not there, of an operation code that is (SPC-4 4.2.5.2) */
		if (scsi_opcode_exists(lu, task->cdb[0]))
			task_fail_cdb(task, 1);
		else
			task_fail(task, SE_INVALID_OPCODE);
		return -1;
	}
	if (task->attr == SCSI_ATTR_ACA) { /* there is no ACA condition here, ever (SAM-5 8.6.5) */
		task_fail(task, SE_INVALID_MESSAGE);
		return -1;
	}
	if (scsi_command_check(task, command) < 0)
		return -1;
	return command->decode ? command->decode(task, lu) : 0;
}

static int
start_on(struct scsi_task *task, struct scsi_lu *lu)
{
	struct scsi_needs needs = {0};
	int rc;

	task->lu_id = lu->id;
	task->epoch = scsi_epoch();
	if (decode(task, lu) < 0) {
		task->out_len = 0;
		return 0;
	}
	scsi_decode_pages(task, lu, &needs);
	rc = take_pages(task, lu->vol->arena, &needs);
	if (rc == -EAGAIN)
		return rc;
	if (rc < 0)
		task->out_len = 0;
	else if (task->out_len)
		task->npages = volume_pages(task->page_off, task->out_len);
	return 0;
}

/* Where no unit is, INQUIRY, REPORT LUNS and REQUEST SENSE are answered (SPC-4 6.4.1, 6.33, 6.39). */
static int
start_off(struct scsi_task *task)
{
	const struct scsi_command *command = scsi_command_find(NULL, task->cdb);
	int rc;

	task->slot = NULL;
	if (!command || !(command->flags & F_NO_LUN)) {
		task_fail(task, SE_LUN_UNSUPPORTED);
		return 0;
	}
	if (decode(task, NULL) < 0 || task->alloc_len <= SCSI_INLINE_MAX)
		return 0;
	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++) {
		struct scsi_slot *slot = &task->nexus->target->slots[i];
		struct scsi_lu *lu = scsi_slot_acquire(slot);

		if (!lu)
			continue;
		rc = take_pages(task, lu->vol->arena, &(struct scsi_needs){.alloc = 1, .slots = 1});
		scsi_slot_release(slot);
		return rc == -EAGAIN ? rc : 0;
	}
	task->alloc_len = SCSI_INLINE_MAX; /* no unit, no arena: what there is to say is short */
	return 0;
}

int
scsi_task_start(struct scsi_task *task)
{
	int lun = scsi_lun_decode(task->lun);
	struct scsi_lu *lu = NULL;
	int rc;

	task_init(task);
	task->slot = scsi_nexus_slot(task->nexus, lun, &task->read_only);
	if (task->slot)
		lu = scsi_slot_acquire(task->slot);
	if (!lu)
		return start_off(task);
	rc = start_on(task, lu);
	scsi_slot_release(task->slot);
	return rc;
}

/* -- run ----------------------------------------------------------------- */

static void
msg_done(struct loop_msg *msg)
{
	struct scsi_task *task = container_of(msg, struct scsi_task, msg);

	task->done(task);
}

void
scsi_task_return(struct scsi_task *task)
{
	if (task->lu) {
		task->lu = NULL;
		scsi_slot_release(task->slot);
	}
	if (task->loop == loop_current()) {
		task->done(task);
		return;
	}
	task->msg.fn = msg_done;
	loop_post(task->loop, &task->msg);
}

static void
msg_enter(struct loop_msg *msg)
{
	scsi_lu_enter(container_of(msg, struct scsi_task, msg));
}

/* No unit: at once, here. */
static void
run_off(struct scsi_task *task)
{
	enum scsi_step step = task->fail.code ? STEP_FAIL : task->command->step(task);

	task->status = SCSI_GOOD;
	if (step == STEP_FAIL) {
		task->in_len = 0;
		task->status = scsi_sense_row((enum scsi_error)task->fail.code)->status;
		if (task->status == SCSI_CHECK_CONDITION)
			task->sense_len = scsi_sense_build(&task->fail, false, task->sense);
	}
	scsi_task_return(task);
}

void
scsi_task_run(struct scsi_task *task)
{
	struct scsi_slot *seen;
	struct scsi_lu *lu;

	assert(task->loop == loop_current());
	if (!task->slot) {
		run_off(task);
		return;
	}
	/* data was waited for meanwhile */
	seen = scsi_nexus_slot(task->nexus, scsi_lun_decode(task->lun), &task->read_only);
	lu = seen == task->slot ? scsi_slot_acquire(task->slot) : NULL;
	if (!lu || lu->id != task->lu_id) {
		if (lu)
			scsi_slot_release(task->slot);
		task->slot = NULL;
		task_fail(task, SE_LUN_UNSUPPORTED);
		run_off(task);
		return;
	}
	task->lu = lu;
	if (lu->home == task->loop) {
		scsi_lu_enter(task);
		return;
	}
	task->msg.fn = msg_enter;
	loop_post(lu->home, &task->msg);
}

/* -- the pump ------------------------------------------------------------ */

static void
io_done(struct vol_req *req)
{
	struct scsi_task *task = container_of(req, struct scsi_task, req);

	if (task->pump == PUMP_SUBMITTING) /* within volume_submit(): the loop below goes on */
		task->pump = PUMP_DONE;
	else
		scsi_task_pump(task);
}

static void
end_step(struct scsi_task *task, enum scsi_step step)
{
	switch (step) {
	case STEP_GOOD:
		scsi_lu_finish(task, SCSI_GOOD);
		break;
	case STEP_MET:
		scsi_lu_finish(task, SCSI_CONDITION_MET);
		break;
	default:
		assert(task->fail.code);
		scsi_lu_finish(task, scsi_sense_row((enum scsi_error)task->fail.code)->status);
		break;
	}
}

void
scsi_task_pump(struct scsi_task *task)
{
	do {
		enum scsi_step step;

		task->pump = PUMP_IDLE;
		step = task->command->step(task);
		if (step == STEP_WAIT)
			return;
		if (step == STEP_PARK) {
			task->place = PLACE_PARKED;
			return;
		}
		if (step != STEP_IO) {
			end_step(task, step);
			return;
		}
		if (task->aborted) { /* what was not submitted never will be */
			scsi_lu_finish(task, SCSI_TASK_ABORTED);
			return;
		}
		task->pump = PUMP_SUBMITTING;
		volume_submit(&task->req);
	} while (task->pump == PUMP_DONE);
	task->pump = PUMP_IDLE;
}

void
task_io(struct scsi_task *task, enum vol_op op, uint64_t offset, uint64_t length, struct page **pages,
	unsigned npages)
{
	task->req = (struct vol_req){
		.vol = task->lu->vol,
		.op = op,
		.offset = offset,
		.length = length,
		.pages = pages,
		.npages = npages,
		.done = io_done,
	};
}

enum scsi_step
task_fail_io(struct scsi_task *task)
{
	const struct vol_req *req = &task->req;
	enum scsi_error error = scsi_error_of(req->status, req->op);

	switch (error) {
	case SE_READ_ERROR:
	case SE_WRITE_ERROR:
		return task_fail_info(task, error, req->err_offset / task->lu->vol->block_size);
	case SE_MISCOMPARE:
		return task_fail_info(task, error, req->err_offset);
	default:
		return task_fail(task, error);
	}
}

/* -- Data-In of parameters ----------------------------------------------- */

void
datain_begin(struct scsi_task *task, struct datain *in)
{
	task->inline_in = task->held == 0;
	*in = (struct datain){
		.p = task->inline_in ? task->inline_buf : NULL,
		.pages = task->pages,
		.cap = min_of(task->alloc_len, task->inline_in ? (uint32_t)SCSI_INLINE_MAX
							       : task->held * (uint32_t)PAGE_SIZE_BYTES),
	};
}

void
datain_put(struct datain *in, const void *p, size_t n)
{
	datain_set(in, in->len, p, n);
	in->len += (uint32_t)n;
}

void
datain_set(struct datain *in, size_t at, const void *p, size_t n)
{
	const uint8_t *from = p;

	n = at < in->cap ? min_of(n, in->cap - at) : 0;
	if (in->p) {
		memcpy(in->p + at, from, n);
		return;
	}
	while (n) {
		size_t in_page = at % PAGE_SIZE_BYTES, len = min_of(n, PAGE_SIZE_BYTES - in_page);

		memcpy(in->pages[at >> PAGE_SHIFT]->data + in_page, from, len);
		at += len;
		from += len;
		n -= len;
	}
}

void
datain_zero(struct datain *in, size_t n)
{
	static const uint8_t zeroes[64];

	for (size_t len; n; n -= len) {
		len = min_of(n, sizeof(zeroes));
		datain_put(in, zeroes, len);
	}
}

void
datain_text(struct datain *in, const char *text, size_t n)
{
	size_t len = strnlen(text, n);

	datain_put(in, text, len);
	for (; len < n; len++)
		datain_u8(in, ' ');
}

enum scsi_step
datain_end(struct scsi_task *task, const struct datain *in)
{
	task->in_len = min_of(in->len, in->cap);
	if (!task->inline_in)
		task->npages = volume_pages(0, task->in_len);
	return STEP_GOOD;
}
