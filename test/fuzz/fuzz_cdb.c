/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any CDBs with any parameter lists, one after another, from two nexuses, with task management in between.
 *
 * An input is a row of steps: flags, CDB (16), rooms (4), length of Data-Out (1), Data-Out.
 *   flags: 1 the other nexus, 2 LUN 1 (is not there), 4 release after start, 0x10 .. 0x70 attribute; 0x80
 * task management by the first byte of the CDB instead What must hold: every command ends exactly once, with
 * a status there is; no more Data-In than it says; sense data where there is CHECK CONDITION; every page
 * comes back.
 *
 * Target, unit and nexuses are new for each input, the disk is cleared where it was written, so that an input
 * means the same wherever it stands.  Thread: one; the loop runs on it, without ever polling.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/registry.h"
#include "gateway/scsi/scsi_impl.h"
#include "test/fuzz/fuzz.h"
#include "test/lib/scsirig.h"

#define STEP 22u
#define MAX_STEPS 64u

#define DISK_SIZE (2u << 20)
#define DISK_PAGES (DISK_SIZE / PAGE_SIZE_BYTES)

/* Of it: home, arena, disk, target, nexus. */
static struct rig rig;
static const struct vol_ops *plain_ops;
static bool written[DISK_PAGES];

struct input {
	struct loop_msg msg;
	const uint8_t *data;
	size_t size, at;
	unsigned steps, nexuses;
	bool over;
};

static unsigned begun, ended;
static uint32_t outcome;

uint32_t
fuzz_outcome(void)
{
	return outcome;
}

static void
note(const void *p, size_t n)
{
	outcome = crc32c(outcome, p, n);
}

static void
note_answer(const struct scsi_task *task)
{
	uint32_t in = min_of(task->in_len, task->in_room);
	uint8_t head[6] = {(uint8_t)task->silent, (uint8_t)task->status};

	put_be32(head + 2, task->in_len);
	note(head, sizeof(head));
	if (task->silent)
		return;
	note(task->sense, task->sense_len);
	if (task->inline_in)
		note(task->inline_buf, in);
	for (uint32_t at = 0, n; !task->inline_in && at < in; at += n) {
		uint32_t from = task->page_off + at;

		n = min_of(in - at, PAGE_SIZE_BYTES - from % PAGE_SIZE_BYTES);
		note(task->pages[from / PAGE_SIZE_BYTES]->data + from % PAGE_SIZE_BYTES, n);
	}
}

static void
task_done(struct scsi_task *task)
{
	ended++;
	assert(task->silent || task->status != SCSI_CHECK_CONDITION || task->sense_len >= 8);
	assert(task->sense_len <= SCSI_SENSE_MAX);
	assert(!task->inline_in || task->in_len <= SCSI_INLINE_MAX);
	if (!task->inline_in && task->in_len)
		assert(task->npages >= volume_pages(task->page_off, task->in_len));
	note_answer(task);
	scsi_task_release(task);
}

static void
tmf_done(struct scsi_tmf_req *req)
{
	ended++;
	note(&(uint8_t){(uint8_t)req->result}, 1);
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

/* 0: a step was begun, 1: there is none left. */
static int
run_step(struct input *input)
{
	const uint8_t *step = input->data + input->at;

	if (input->steps++ == MAX_STEPS || input->at + STEP > input->size)
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

static bool
is_busy(void)
{
	const struct scsi_lu *lu = atomic_load(&rig.target->slots[0].lu);

	assert(ended <= begun);
	return ended < begun || lu->sanitize;
}

/* -- between inputs -------------------------------------------------------- */

/* What the disk has to forget afterwards. */
static void
submit(struct vol_req *req)
{
	if (req->op == VOL_WRITE || req->op == VOL_COMPARE_WRITE || req->op == VOL_OR_WRITE)
		memset(written + req->offset / PAGE_SIZE_BYTES, true, volume_pages(req->offset, req->length));
	plain_ops->submit(req);
}

static void
clear_disk(void)
{
	struct disk *disk = rig.disk;

	for (unsigned i = 0; i < DISK_PAGES; i++)
		if (written[i])
			memset(disk->bytes + (size_t)i * PAGE_SIZE_BYTES, 0, PAGE_SIZE_BYTES);
	memset(written, 0, sizeof(written));
	memset(disk->present, 0, disk->vol.size / disk->vol.chunk_size);
	for (unsigned i = 0; i < ARRAY_SIZE(disk->attributes); i++) {
		free(disk->attributes[i].value);
		disk->attributes[i] = (struct disk_attribute){.value = NULL};
	}
	volume_bar(&disk->vol, 0, NULL);
}

static void
nexus_freed(void *arg)
{
	struct input *input = arg;

	if (--input->nexuses)
		return;
	scsi_target_free(rig.target);
	clear_disk();
	assert(arena_free_pages(rig.arena) == arena_total_pages(rig.arena));
	input->over = true;
}

static void
go_on(struct loop_msg *msg)
{
	struct input *input = container_of(msg, struct input, msg);

	while (!is_busy()) {
		if (run_step(input) == 0)
			continue;
		for (unsigned i = 0; i < 2; i++)
			scsi_nexus_free(rig.nexus[i], nexus_freed, input);
		return;
	}
	loop_post(rig.home, msg); /* behind what commands have left to the loop */
}

static void
begin(struct loop_msg *msg)
{
	static const uint8_t isid[6] = {0x80, 1, 2, 3, 4, 5};
	static const char *const names[2] = {"iqn.2026-01.test:a", "iqn.2026-01.test:b"};
	struct input *input = container_of(msg, struct input, msg);
	int rc;

	/* a map would wait for what is kept in attributes: there is nothing yet */
	rig.disk->vol.attributes = false;
	rc = scsi_target_new("iqn.2026-01.test:target", &rig.target);
	rc |= scsi_target_map(rig.target, 0, &rig.disk->vol, NULL);
	for (unsigned i = 0; i < 2 && !rc; i++)
		rc = scsi_nexus_new(rig.target, names[i], isid, 1, &rig.nexus[i]);
	assert(rc == 0);
	rig.disk->vol.attributes = true;
	input->nexuses = 2;
	begun = ended = 0;
	outcome = 0;
	msg->fn = go_on;
	go_on(msg);
}

static void
start(void)
{
	static struct vol_ops ops;
	int rc = loop_new("home", 0, &rig.home);

	rc |= arena_new(64u << 20, &rig.arena);
	assert(rc == 0);
	rig.disk = disk_new("disk", &(struct rig_options){.size = DISK_SIZE, .write_cache = true}, rig.home,
			    rig.arena);
	plain_ops = rig.disk->vol.ops;
	ops = *plain_ops;
	ops.submit = submit;
	rig.disk->vol.ops = &ops;
	(void)volume_ref(&rig.disk->vol);
}

static void
stop(void)
{
	volume_unref(&rig.disk->vol);
	loop_free(rig.home);
	disk_free(rig.disk);
	arena_free(rig.arena); /* asserts that all pages are back */
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.msg.fn = begin, .data = data, .size = size};

	if (!rig.home) {
		start();
		(void)atexit(stop);
	}
	loop_post(rig.home, &input.msg);
	while (!input.over) {
		/* a loop that was told to stop runs its messages and does not poll */
		loop_stop(rig.home);
		loop_run(rig.home);
	}
	return 0;
}
