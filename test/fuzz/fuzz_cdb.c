/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any CDBs with any parameter lists, one after another, from two nexuses, with task management in between.
 *
 * An input is a row of steps: flags, CDB (16), rooms (4), length of Data-Out (1), Data-Out.
 *   flags: 1 the other nexus, 2 LUN 1 (is not there), 4 release after start, 0x10 .. 0x70 attribute; 0x80
 * task management by the first byte of the CDB instead What must hold: every command ends exactly once, with
 * a status there is; no more Data-In than it says; sense data where there is CHECK CONDITION; every page
 * comes back.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/scsi/scsi_impl.h"
#include "test/fuzz/fuzz.h"
#include "test/lib/scsirig.h"

#define STEP 22u
#define MAX_STEPS 64u

static struct rig rig;

struct input {
	const uint8_t *data;
	size_t size, at;
};

static unsigned begun, ended;

static void
task_done(struct scsi_task *task)
{
	ended++;
	assert(task->silent || task->status != SCSI_CHECK_CONDITION || task->sense_len >= 8);
	assert(task->sense_len <= SCSI_SENSE_MAX);
	assert(!task->inline_in || task->in_len <= SCSI_INLINE_MAX);
	if (!task->inline_in && task->in_len)
		assert(task->npages >= volume_pages(task->page_off, task->in_len));
	scsi_task_release(task);
}

static void
tmf_done(struct scsi_tmf_req *req)
{
	(void)req;
	ended++;
}

static void
manage(const uint8_t *step)
{
	struct scsi_tmf_req req = {
		.nexus = rig.nexus[step[0] & 1], .function = (enum scsi_tmf)(step[1] % 9), .done = tmf_done};

	if (req.function == SCSI_TMF_NEXUS_LOSS)
		return;
	begun++;
	memcpy(req.lun, step + 2, sizeof(req.lun));
	scsi_tmf_submit(&req);
	assert(ended == 1);
}

static void
put_data(struct scsi_task *task, const uint8_t *data, size_t n)
{
	uint32_t want = min_of(task->out_len, task->out_room);

	for (uint32_t i = 0; i < want; i++) {
		uint32_t at = task->page_off + i;

		assert(at / PAGE_SIZE_BYTES < task->npages);
		task->pages[at / PAGE_SIZE_BYTES]->data[at % PAGE_SIZE_BYTES] = i < n ? data[i] : 0;
	}
}

static size_t
command(const uint8_t *step, size_t left)
{
	static struct scsi_task task;
	size_t n = min_of((size_t)step[21], left - STEP);

	memset(&task, 0xa5, sizeof(task));
	task.nexus = rig.nexus[step[0] & 1];
	memset(task.lun, 0, sizeof(task.lun));
	task.lun[1] = step[0] >> 1 & 1;
	memset(task.cdb, 0, sizeof(task.cdb));
	memcpy(task.cdb, step + 1, 16);
	task.cdb_len = 16;
	task.attr = (enum scsi_attr)((step[0] >> 4 & 7) % 5);
	task.in_room = get_le16(step + 17);
	task.out_room = get_le16(step + 19);
	task.done = task_done;
	if (scsi_task_start(&task) < 0)
		return STEP + n;
	put_data(&task, step + STEP, n);
	if (step[0] & 4) {
		scsi_task_release(&task);
		return STEP + n;
	}
	begun++;
	scsi_task_run(&task);
	return STEP + n;
}

/* What a reset leaves, so that an input means the same wherever it stands. */
static int
begin_input(void *arg)
{
	static struct scsi_tmf_req reset;
	struct scsi_lu *lu = atomic_load(&rig.target->slots[0].lu);

	(void)arg;
	memset(rig.disk->bytes, 0, rig.disk->vol.size);
	memset(rig.disk->present, 0, rig.disk->vol.size / rig.disk->vol.chunk_size);
	reset = (struct scsi_tmf_req){.nexus = rig.nexus[0], .function = SCSI_TMF_LU_RESET, .done = tmf_done};
	pr_state_fini(&lu->pr.state);
	for (struct scsi_itl *itl = lu->itls; itl; itl = itl->next)
		scsi_pr_link(lu, itl);
	lu->sanitize_failed = false;
	volume_bar(&rig.disk->vol, 0, NULL);
	(void)scsi_target_set_access(rig.target, 1, SCSI_ACCESS_OPTIMIZED);
	begun = 1;
	ended = 0;
	scsi_tmf_submit(&reset);
	return 0;
}

/* 0: a step was begun, 1: there is none left. */
static int
run_step(void *arg)
{
	struct input *input = arg;
	const uint8_t *step = input->data + input->at;

	if (input->at + STEP > input->size)
		return 1;
	begun = ended = 0;
	if (step[0] & 0x80) {
		manage(step);
		input->at += STEP;
	} else {
		input->at += command(step, input->size - input->at);
	}
	return 0;
}

static int
is_busy(void *arg)
{
	const struct scsi_lu *lu = atomic_load(&rig.target->slots[0].lu);

	(void)arg;
	assert(ended <= begun);
	return ended < begun || lu->sanitize;
}

/* Each look lets the loop carry on what commands have left to it. */
static void
settle(void)
{
	while (loop_call(rig.home, is_busy, NULL))
		;
}

static void
stop(void)
{
	rig_fini(&rig); /* asserts that all pages are back */
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size, 0};

	if (!rig.home) {
		rig_init(&rig, &(struct rig_options){.size = 2u << 20, .write_cache = true});
		rig.disk->vol.attributes = true;
		(void)atexit(stop);
	}
	(void)loop_call(rig.home, begin_input, NULL);
	settle();
	for (unsigned i = 0; i < MAX_STEPS && loop_call(rig.home, run_step, &input) == 0; i++)
		settle();
	return 0;
}
