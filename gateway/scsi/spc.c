/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of SPC-4, but for INQUIRY (inquiry.c) and mode parameters (mode.c).
 *
 * Threads: the unit's home; without a unit the transport's loop.
 */
#include "gateway/scsi/scsi_impl.h"

enum scsi_step
spc_test_unit_ready(struct scsi_task *task)
{
	int health = atomic_load_explicit(&task->lu->vol->health, memory_order_relaxed);

	return health ? task_fail(task, scsi_error_of(health, VOL_READ)) : STEP_GOOD;
}

/* SPC-4 6.39: the pending attention, or the state of the unit, as data. */
enum scsi_step
spc_request_sense(struct scsi_task *task)
{
	struct scsi_fail fail = {.code = SE_NOTHING};
	uint8_t sense[SCSI_SENSE_MAX];
	enum scsi_error error = SE_NONE;
	struct datain in;

	if (task->lu)
		error = scsi_lu_take_attention(task->lu, task_itl(task));
	if (error)
		fail.code = (uint16_t)error;
	else if (!task->lu)
		fail.code = SE_LUN_UNSUPPORTED;
	else if (task->lu->sanitize)
		fail = (struct scsi_fail){.code = SE_SANITIZING,
					  .info = scsi_sanitize_progress(task->lu->sanitize),
					  .flags = FAIL_PROGRESS};
	else if (scsi_lu_state(task->lu, 0))
		fail.code = (uint16_t)scsi_lu_state(task->lu, 0);
	datain_begin(task, &in);
	datain_put(&in, sense, scsi_sense_build(&fail, task->cdb[1] & 1, sense));
	return datain_end(task, &in);
}

enum scsi_step
spc_report_luns(struct scsi_task *task)
{
	uint64_t inventory = scsi_inventory(task->nexus);
	unsigned select = task->cdb[2], n = 0;
	uint8_t header[8] = {0}, lun[8];
	struct datain in;
	bool read_only;

	if (select > 2)
		return task_fail_cdb(task, 2);
	datain_begin(task, &in);
	datain_put(&in, header, sizeof(header));
	/* there are no well known units: 01h selects nothing */
	for (unsigned i = 0; i < SCSI_LUNS_MAX && select != 1; i++) {
		struct scsi_slot *slot = scsi_nexus_slot(task->nexus, (int)i, &read_only);

		if (!slot || !atomic_load(&slot->lu))
			continue;
		scsi_lun_encode(i, lun);
		datain_put(&in, lun, sizeof(lun));
		n++;
	}
	if (n == 0 && select != 1) { /* LUN 0 answers even where nothing is mapped */
		scsi_lun_encode(0, lun);
		datain_put(&in, lun, sizeof(lun));
		n++;
	}
	put_be32(header, 8 * n);
	datain_set(&in, 0, header, 4);
	atomic_store_explicit(&task->nexus->luns_reported, inventory, memory_order_release);
	return datain_end(task, &in);
}

/* -- REPORT SUPPORTED OPERATION CODES, SPC-4 6.35 ------------------------ */

#define TIMEOUTS_LEN 12

static void
put_timeouts(struct datain *in, const struct scsi_command *command)
{
	datain_be16(in, TIMEOUTS_LEN - 2);
	datain_be16(in, 0);
	datain_be32(in, 1); /* nominal, s */
	datain_be32(in, command->timeout_s);
}

static enum scsi_step
report_all(struct scsi_task *task, bool timeouts)
{
	uint8_t length[4];
	struct datain in;

	datain_begin(task, &in);
	datain_be32(&in, 0);
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *command = &scsi_commands[i];

		if (!scsi_command_exists(task->lu, command))
			continue;
		datain_u8(&in, command->opcode);
		datain_u8(&in, 0);
		datain_be16(&in, command->has_action ? command->action : 0);
		datain_u8(&in, 0);
		datain_u8(&in, (timeouts ? 0x02u : 0) | (command->has_action ? 0x01u : 0));
		datain_be16(&in, command->cdb_len);
		if (timeouts)
			put_timeouts(&in, command);
	}
	put_be32(length, in.len - 4);
	datain_set(&in, 0, length, 4);
	return datain_end(task, &in);
}

static enum scsi_step
report_one(struct scsi_task *task, const struct scsi_command *command, bool timeouts)
{
	struct datain in;

	datain_begin(task, &in);
	datain_u8(&in, 0);
	if (!command) {
		datain_u8(&in, 0x01); /* SUPPORT: not */
		datain_be16(&in, 0);
		return datain_end(task, &in);
	}
	datain_u8(&in, (timeouts ? 0x80u : 0) | 0x03u);
	datain_be16(&in, command->cdb_len);
	datain_put(&in, command->usage, command->cdb_len);
	if (timeouts)
		put_timeouts(&in, command);
	return datain_end(task, &in);
}

enum scsi_step
spc_report_opcodes(struct scsi_task *task)
{
	unsigned action = get_be16(task->cdb + 4);
	bool timeouts = task->cdb[2] & 0x80, exists = false, has_action = false;
	const struct scsi_command *found = NULL;

	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *command = &scsi_commands[i];

		if (command->opcode != task->cdb[3] || !scsi_command_exists(task->lu, command))
			continue;
		exists = true;
		has_action = command->has_action;
		if (!has_action || command->action == action)
			found = command;
	}
	switch (task->cdb[2] & 7) { /* REPORTING OPTIONS */
	case 0:
		return report_all(task, timeouts);
	case 1:
		return has_action ? task_fail_cdb(task, 2) : report_one(task, found, timeouts);
	case 2:
		return exists && !has_action ? task_fail_cdb(task, 2) : report_one(task, found, timeouts);
	case 3:
		if (found && !has_action && action != 0)
			found = NULL;
		return report_one(task, found, timeouts);
	default:
		return task_fail_cdb(task, 2);
	}
}

enum scsi_step
spc_report_tmfs(struct scsi_task *task)
{
	bool extended = task->cdb[2] & 0x80;
	struct datain in;

	if (task->alloc_len < 4)
		return task_fail_cdb(task, 6);
	datain_begin(task, &in);
	datain_u8(&in, 0xda); /* ATS, ATSS, CTSS, LURS, TRS */
	datain_u8(&in, 0);
	datain_u8(&in, 0);
	datain_u8(&in, extended ? 12 : 0);
	if (extended)
		datain_zero(&in, 12); /* no time-outs are known */
	return datain_end(task, &in);
}

/* SPC-4 6.42, the default self-test: does the volume still stand, and can its first block be read. */
enum scsi_step
spc_send_diagnostic(struct scsi_task *task)
{
	int health = atomic_load_explicit(&task->lu->vol->health, memory_order_relaxed);

	if (task->state == 0) {
		if (!(task->cdb[1] & 0x04))
			return STEP_GOOD;
		if (health)
			return task_fail(task, scsi_error_of(health, VOL_READ));
		if (lu_blocks(task->lu) == 0)
			return STEP_GOOD;
		task->state = 1;
		task_io(task, VOL_READ, 0, task->lu->vol->block_size, task->few_pages, 1);
		return STEP_IO;
	}
	if (task->req.status < 0)
		return task_fail_io(task);
	pages_unref(task->few_pages, 1);
	return STEP_GOOD;
}

/* -- RESERVE(6), RELEASE(6): SPC-2 7.21, 7.16 ---------------------------- */

/* SPC-4 5.13.3, CRH: who has access by a persistent reservation has it already; nobody else gets it this way.
 */
static enum scsi_step
beside_registrations(struct scsi_task *task)
{
	const struct scsi_itl *itl = task_itl(task);
	enum pr_type type = task->lu->pr.state.type;

	if (itl->holder || (itl->registered && pr_registrants_only(type)))
		return STEP_GOOD;
	return task_fail(task, SE_CONFLICT);
}

enum scsi_step
spc_reserve6(struct scsi_task *task)
{
	if (task->lu->pr.state.regs)
		return beside_registrations(task);
	task->lu->reserved_by = task_itl(task); /* who may not do this was told so before */
	scsi_guests_check(task->lu);
	return STEP_GOOD;
}

enum scsi_step
spc_release6(struct scsi_task *task)
{
	if (task->lu->pr.state.regs)
		return beside_registrations(task);
	if (task->lu->reserved_by == task_itl(task))
		task->lu->reserved_by = NULL;
	return STEP_GOOD;
}
