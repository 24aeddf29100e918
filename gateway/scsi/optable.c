/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of commands.  A row says everything that is known of a command
 * before it runs; REPORT SUPPORTED OPERATION CODES is printed from the same bytes that CDBs are
 * checked against.  An operation code without a row does not exist.
 *
 * Threads: any; the table is constant, decoders write to their task alone.
 */
#include "gateway/scsi/scsi_impl.h"

#define GROUP 0x1f /* GROUP NUMBER is accepted and means nothing */
#define X4 0xff, 0xff, 0xff, 0xff
#define X8 X4, X4

static int decode_alloc(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_param(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_read(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_write(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_verify(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_range(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_prefetch(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_write_same(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_compare(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_lba_status(struct scsi_task *task, const struct scsi_lu *lu);

static int decode_atomic(struct scsi_task *task, const struct scsi_lu *lu);
static int decode_sanitize(struct scsi_task *task, const struct scsi_lu *lu);
static bool starts(const uint8_t *cdb);
static bool allows(const uint8_t *cdb);

#define CMD(op, len, text) .opcode = (op), .cdb_len = (len), .name = (text)
#define ACTION(a) .has_action = true, .action = (a)
#define USAGE(...) .usage = {__VA_ARGS__}
#define IN(at, bytes) .direction = SCSI_DIR_IN, .decode = decode_alloc, .len_at = (at), .len_bytes = (bytes)
#define OUT(at, bytes) .direction = SCSI_DIR_OUT, .decode = decode_param, .len_at = (at), .len_bytes = (bytes)

/* clang-format off */
const struct scsi_command scsi_commands[] = {
	/* -- SPC-4 -- */
	{CMD(0x00, 6, "TEST UNIT READY"), USAGE(0x00),
	 .flags = F_RES6, .timeout_s = 10, .step = spc_test_unit_ready},
	{CMD(0x03, 6, "REQUEST SENSE"), USAGE(0x03, 0x01, 0, 0, 0xff), IN(4, 1),
	 .flags = F_UA | F_NO_LUN | F_STOPPED | F_SANITIZE | F_ANY_ACCESS, .timeout_s = 10, .step = spc_request_sense},
	{CMD(0x12, 6, "INQUIRY"), USAGE(0x12, 0x01, 0xff, 0xff, 0xff), IN(3, 2),
	 .flags = F_UA | F_NO_LUN | F_STOPPED | F_SANITIZE | F_ANY_ACCESS, .timeout_s = 10, .step = spc_inquiry},
	{CMD(0x15, 6, "MODE SELECT(6)"), USAGE(0x15, 0x10, 0, 0, 0xff), OUT(4, 1),
	 .flags = F_RES_ALL | F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_mode_select},
	{CMD(0x16, 6, "RESERVE(6)"), USAGE(0x16),
	 .flags = F_RES_ALL | F_STOPPED, .timeout_s = 10, .step = spc_reserve6},
	{CMD(0x17, 6, "RELEASE(6)"), USAGE(0x17),
	 .flags = F_WE | F_EA | F_STOPPED, .timeout_s = 10, .step = spc_release6},
	{CMD(0x1a, 6, "MODE SENSE(6)"), USAGE(0x1a, 0x08, 0xff, 0xff, 0xff), IN(4, 1),
	 .flags = F_RES_ALL | F_STOPPED | F_STANDBY, .timeout_s = 10, .step = spc_mode_sense},
	{CMD(0x1d, 6, "SEND DIAGNOSTIC"), USAGE(0x1d, 0x14),
	 .flags = F_RES_ALL | F_STANDBY, .timeout_s = 60, .step = spc_send_diagnostic},
	{CMD(0x4d, 10, "LOG SENSE"), USAGE(0x4d, 0x01, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff), IN(7, 2),
	 .flags = F_RES6 | F_STOPPED | F_STANDBY, .timeout_s = 10, .step = spc_log_sense},
	{CMD(0x5e, 10, "PERSISTENT RESERVE IN, READ KEYS"), ACTION(0), USAGE(0x5e, 0x00, 0, 0, 0, 0, 0, 0xff, 0xff), IN(7, 2),
	 .flags = F_STOPPED | F_STANDBY | F_LONG_IN, .timeout_s = 10, .step = spc_pr_in},
	{CMD(0x5e, 10, "PERSISTENT RESERVE IN, READ RESERVATION"), ACTION(1), USAGE(0x5e, 0x01, 0, 0, 0, 0, 0, 0xff, 0xff), IN(7, 2),
	 .flags = F_STOPPED | F_STANDBY | F_LONG_IN, .timeout_s = 10, .step = spc_pr_in},
	{CMD(0x5e, 10, "PERSISTENT RESERVE IN, REPORT CAPABILITIES"), ACTION(2), USAGE(0x5e, 0x02, 0, 0, 0, 0, 0, 0xff, 0xff), IN(7, 2),
	 .flags = F_STOPPED | F_STANDBY | F_LONG_IN, .timeout_s = 10, .step = spc_pr_in},
	{CMD(0x5e, 10, "PERSISTENT RESERVE IN, READ FULL STATUS"), ACTION(3), USAGE(0x5e, 0x03, 0, 0, 0, 0, 0, 0xff, 0xff), IN(7, 2),
	 .flags = F_STOPPED | F_STANDBY | F_LONG_IN, .timeout_s = 10, .step = spc_pr_in},
	{CMD(0x5f, 10, "PERSISTENT RESERVE OUT, REGISTER"), ACTION(0), USAGE(0x5f, 0x00, 0xff, 0, 0, X4), OUT(5, 4),
	 .flags = F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_pr_out},
	{CMD(0x5f, 10, "PERSISTENT RESERVE OUT, RESERVE"), ACTION(1), USAGE(0x5f, 0x01, 0xff, 0, 0, X4), OUT(5, 4),
	 .flags = F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_pr_out},
	{CMD(0x5f, 10, "PERSISTENT RESERVE OUT, RELEASE"), ACTION(2), USAGE(0x5f, 0x02, 0xff, 0, 0, X4), OUT(5, 4),
	 .flags = F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_pr_out},
	{CMD(0x5f, 10, "PERSISTENT RESERVE OUT, CLEAR"), ACTION(3), USAGE(0x5f, 0x03, 0xff, 0, 0, X4), OUT(5, 4),
	 .flags = F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_pr_out},
	{CMD(0x5f, 10, "PERSISTENT RESERVE OUT, PREEMPT"), ACTION(4), USAGE(0x5f, 0x04, 0xff, 0, 0, X4), OUT(5, 4),
	 .flags = F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_pr_out},
	{CMD(0x5f, 10, "PERSISTENT RESERVE OUT, PREEMPT AND ABORT"), ACTION(5), USAGE(0x5f, 0x05, 0xff, 0, 0, X4), OUT(5, 4),
	 .flags = F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_pr_out},
	{CMD(0x5f, 10, "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY"), ACTION(6), USAGE(0x5f, 0x06, 0xff, 0, 0, X4), OUT(5, 4),
	 .flags = F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_pr_out},
	{CMD(0x5f, 10, "PERSISTENT RESERVE OUT, REGISTER AND MOVE"), ACTION(7), USAGE(0x5f, 0x07, 0xff, 0, 0, X4), OUT(5, 4),
	 .flags = F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_pr_out},
	{CMD(0x83, 16, "EXTENDED COPY(LID1)"), ACTION(0x00), USAGE(0x83, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, X4), OUT(10, 4),
	 .flags = F_RES_ALL, .timeout_s = 300, .step = spc_extended_copy},
	{CMD(0x83, 16, "EXTENDED COPY(LID4)"), ACTION(0x01), USAGE(0x83, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, X4), OUT(10, 4),
	 .flags = F_RES_ALL, .timeout_s = 300, .step = spc_extended_copy},
	{CMD(0x84, 16, "RECEIVE COPY STATUS(LID1)"), ACTION(0x00), USAGE(0x84, 0x00, 0xff, 0, 0, 0, 0, 0, 0, 0, X4), IN(10, 4),
	 .flags = F_RES_ALL | F_STOPPED, .timeout_s = 10, .step = spc_copy_results},
	{CMD(0x84, 16, "RECEIVE COPY OPERATING PARAMETERS"), ACTION(0x03), USAGE(0x84, 0x03, 0xff, 0, 0, 0, 0, 0, 0, 0, X4),
	 IN(10, 4), .flags = F_RES_ALL | F_STOPPED, .timeout_s = 10, .step = spc_copy_results},
	{CMD(0x84, 16, "RECEIVE COPY STATUS(LID4)"), ACTION(0x05), USAGE(0x84, 0x05, X4, 0, 0, 0, 0, X4), IN(10, 4),
	 .flags = F_RES_ALL | F_STOPPED, .timeout_s = 10, .step = spc_copy_results},
	{CMD(0xa4, 12, "SET TARGET PORT GROUPS"), ACTION(0x0a), USAGE(0xa4, 0x0a, 0, 0, 0, 0, X4), OUT(6, 4),
	 .flags = F_RES_ALL | F_STOPPED | F_SANITIZE | F_STANDBY | F_UNAVAILABLE, .timeout_s = 10, .step = spc_set_port_groups},
	{CMD(0x55, 10, "MODE SELECT(10)"), USAGE(0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff), OUT(7, 2),
	 .flags = F_RES_ALL | F_STOPPED | F_STANDBY, .timeout_s = 60, .step = spc_mode_select},
	{CMD(0x5a, 10, "MODE SENSE(10)"), USAGE(0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff), IN(7, 2),
	 .flags = F_RES_ALL | F_STOPPED | F_STANDBY, .timeout_s = 10, .step = spc_mode_sense},
	{CMD(0xa0, 12, "REPORT LUNS"), USAGE(0xa0, 0, 0xff, 0, 0, 0, X4), IN(6, 4),
	 .flags = F_UA | F_NO_LUN | F_STOPPED | F_SANITIZE | F_ANY_ACCESS, .timeout_s = 10, .step = spc_report_luns},
	{CMD(0xa3, 12, "REPORT TARGET PORT GROUPS"), ACTION(0x0a), USAGE(0xa3, 0x2a, 0, 0, 0, 0, X4), IN(6, 4),
	 .flags = F_STOPPED | F_SANITIZE | F_ANY_ACCESS, .timeout_s = 10, .step = spc_report_port_groups},
	{CMD(0xa3, 12, "REPORT SUPPORTED OPERATION CODES"), ACTION(0x0c),
	 USAGE(0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, X4), IN(6, 4),
	 .flags = F_STOPPED | F_SANITIZE | F_STANDBY, .timeout_s = 10, .step = spc_report_opcodes},
	{CMD(0xa3, 12, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS"), ACTION(0x0d),
	 USAGE(0xa3, 0x0d, 0x80, 0, 0, 0, X4), IN(6, 4),
	 .flags = F_STOPPED | F_SANITIZE | F_STANDBY, .timeout_s = 10, .step = spc_report_tmfs},

	/* -- SBC-3: about the unit -- */
	{CMD(0x1b, 6, "START STOP UNIT"), USAGE(0x1b, 0x01, 0, 0x0f, 0xf7), .passes = starts,
	 .flags = F_RES_ALL | F_STOPPED, .timeout_s = 60, .step = sbc_start_stop},
	{CMD(0x1e, 6, "PREVENT ALLOW MEDIUM REMOVAL"), USAGE(0x1e, 0, 0, 0, 0x01), .passes = allows,
	 .flags = F_RES_ALL | F_STOPPED, .timeout_s = 10, .step = sbc_prevent_allow},
	{CMD(0x25, 10, "READ CAPACITY(10)"), USAGE(0x25), .direction = SCSI_DIR_IN, .decode = decode_alloc,
	 .flags = F_STANDBY, .timeout_s = 10, .step = sbc_read_capacity10},
	{CMD(0x9e, 16, "READ CAPACITY(16)"), ACTION(0x10), USAGE(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, X4), IN(10, 4),
	 .flags = F_STANDBY, .timeout_s = 10, .step = sbc_read_capacity16},
	{CMD(0x9e, 16, "GET LBA STATUS"), ACTION(0x12), USAGE(0x9e, 0x12, X8, X4),
	 .direction = SCSI_DIR_IN, .decode = decode_lba_status, .len_at = 10, .len_bytes = 4,
	 .flags = F_RES6 | F_EA, .timeout_s = 30, .step = sbc_lba_status},
	{CMD(0x37, 10, "READ DEFECT DATA(10)"), USAGE(0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff), IN(7, 2),
	 .flags = F_RES6 | F_EA, .timeout_s = 10, .step = sbc_read_defects},
	{CMD(0xb7, 12, "READ DEFECT DATA(12)"), USAGE(0xb7, 0x1f, X4, X4), IN(6, 4),
	 .flags = F_RES6 | F_EA, .timeout_s = 10, .step = sbc_read_defects},

	/* -- SBC-3: reading -- */
	{CMD(0x08, 6, "READ(6)"), USAGE(0x08, 0x1f, 0xff, 0xff, 0xff),
	 .direction = SCSI_DIR_IN, .decode = decode_read, .flags = F_RES6 | F_EA | F_READS, .timeout_s = 60, .step = sbc_read},
	{CMD(0x28, 10, "READ(10)"), USAGE(0x28, 0x18, X4, GROUP, 0xff, 0xff),
	 .direction = SCSI_DIR_IN, .decode = decode_read, .flags = F_RES6 | F_EA | F_READS, .timeout_s = 60, .step = sbc_read},
	{CMD(0xa8, 12, "READ(12)"), USAGE(0xa8, 0x18, X4, X4, GROUP),
	 .direction = SCSI_DIR_IN, .decode = decode_read, .flags = F_RES6 | F_EA | F_READS, .timeout_s = 60, .step = sbc_read},
	{CMD(0x88, 16, "READ(16)"), USAGE(0x88, 0x18, X8, X4, GROUP),
	 .direction = SCSI_DIR_IN, .decode = decode_read, .flags = F_RES6 | F_EA | F_READS, .timeout_s = 60, .step = sbc_read},
	{CMD(0x34, 10, "PRE-FETCH(10)"), USAGE(0x34, 0x02, X4, GROUP, 0xff, 0xff),
	 .decode = decode_prefetch, .flags = F_RES6 | F_EA | F_PIECES, .timeout_s = 60, .step = sbc_prefetch},
	{CMD(0x90, 16, "PRE-FETCH(16)"), USAGE(0x90, 0x02, X8, X4, GROUP),
	 .decode = decode_prefetch, .flags = F_RES6 | F_EA | F_PIECES, .timeout_s = 60, .step = sbc_prefetch},
	{CMD(0x2f, 10, "VERIFY(10)"), USAGE(0x2f, 0x16, X4, GROUP, 0xff, 0xff),
	 .direction = SCSI_DIR_OUT, .decode = decode_verify, .flags = F_RES6 | F_EA | F_PIECES, .timeout_s = 300,
	 .step = sbc_verify},
	{CMD(0xaf, 12, "VERIFY(12)"), USAGE(0xaf, 0x16, X4, X4, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_verify, .flags = F_RES6 | F_EA | F_PIECES, .timeout_s = 300,
	 .step = sbc_verify},
	{CMD(0x8f, 16, "VERIFY(16)"), USAGE(0x8f, 0x16, X8, X4, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_verify, .flags = F_RES6 | F_EA | F_PIECES, .timeout_s = 300,
	 .step = sbc_verify},

	/* -- SBC-3: writing -- */
	{CMD(0x0a, 6, "WRITE(6)"), USAGE(0x0a, 0x1f, 0xff, 0xff, 0xff),
	 .direction = SCSI_DIR_OUT, .decode = decode_write, .flags = F_RES_ALL | F_WRITES, .timeout_s = 60,
	 .step = sbc_write},
	{CMD(0x2a, 10, "WRITE(10)"), USAGE(0x2a, 0x18, X4, GROUP, 0xff, 0xff),
	 .direction = SCSI_DIR_OUT, .decode = decode_write, .flags = F_RES_ALL | F_WRITES, .timeout_s = 60,
	 .step = sbc_write},
	{CMD(0xaa, 12, "WRITE(12)"), USAGE(0xaa, 0x18, X4, X4, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_write, .flags = F_RES_ALL | F_WRITES, .timeout_s = 60,
	 .step = sbc_write},
	{CMD(0x8a, 16, "WRITE(16)"), USAGE(0x8a, 0x18, X8, X4, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_write, .flags = F_RES_ALL | F_WRITES, .timeout_s = 60,
	 .step = sbc_write},
	{CMD(0x2e, 10, "WRITE AND VERIFY(10)"), USAGE(0x2e, 0x12, X4, GROUP, 0xff, 0xff),
	 .direction = SCSI_DIR_OUT, .decode = decode_write, .flags = F_RES_ALL | F_WRITES | F_PIECES, .timeout_s = 60,
	 .step = sbc_write_verify},
	{CMD(0xae, 12, "WRITE AND VERIFY(12)"), USAGE(0xae, 0x12, X4, X4, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_write, .flags = F_RES_ALL | F_WRITES | F_PIECES, .timeout_s = 60,
	 .step = sbc_write_verify},
	{CMD(0x8e, 16, "WRITE AND VERIFY(16)"), USAGE(0x8e, 0x12, X8, X4, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_write, .flags = F_RES_ALL | F_WRITES | F_PIECES, .timeout_s = 60,
	 .step = sbc_write_verify},
	{CMD(0x8b, 16, "ORWRITE(16)"), USAGE(0x8b, 0x18, X8, X4, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_write, .flags = F_RES_ALL | F_WRITES | F_EXCLUSIVE,
	 .timeout_s = 60, .step = sbc_orwrite},
	{CMD(0x89, 16, "COMPARE AND WRITE"), USAGE(0x89, 0x18, X8, 0, 0, 0, 0xff, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_compare, .flags = F_RES_ALL | F_WRITES | F_HALVES, .timeout_s = 60,
	 .step = sbc_compare_write},
	{CMD(0x9c, 16, "WRITE ATOMIC(16)"), USAGE(0x9c, 0x18, X8, 0, 0, 0xff, 0xff, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_atomic, .flags = F_RES_ALL | F_WRITES | F_EXCLUSIVE | F_ATOMIC,
	 .timeout_s = 60, .step = sbc_write},
	{CMD(0x48, 10, "SANITIZE, OVERWRITE"), ACTION(0x01), USAGE(0x48, 0xa1, 0, 0, 0, 0, 0, 0xff, 0xff),
	 .direction = SCSI_DIR_OUT, .decode = decode_sanitize, .len_at = 7, .len_bytes = 2,
	 .flags = F_RES_ALL | F_WRITES | F_EXCLUSIVE | F_SANITIZE, .timeout_s = 36000, .step = sbc_sanitize},
	{CMD(0x48, 10, "SANITIZE, BLOCK ERASE"), ACTION(0x02), USAGE(0x48, 0xa2, 0, 0, 0, 0, 0, 0xff, 0xff),
	 .direction = SCSI_DIR_OUT, .decode = decode_sanitize, .len_at = 7, .len_bytes = 2,
	 .flags = F_RES_ALL | F_WRITES | F_EXCLUSIVE | F_SANITIZE | F_THIN, .timeout_s = 36000, .step = sbc_sanitize},
	{CMD(0x48, 10, "SANITIZE, EXIT FAILURE MODE"), ACTION(0x1f), USAGE(0x48, 0xbf, 0, 0, 0, 0, 0, 0xff, 0xff),
	 .direction = SCSI_DIR_OUT, .decode = decode_sanitize, .len_at = 7, .len_bytes = 2,
	 .flags = F_RES_ALL | F_WRITES | F_EXCLUSIVE | F_SANITIZE, .timeout_s = 10, .step = sbc_sanitize},
	{CMD(0x41, 10, "WRITE SAME(10)"), USAGE(0x41, 0x08, X4, GROUP, 0xff, 0xff),
	 .direction = SCSI_DIR_OUT, .decode = decode_write_same, .flags = F_RES_ALL | F_WRITES | F_PIECES, .timeout_s = 300,
	 .step = sbc_write_same},
	{CMD(0x93, 16, "WRITE SAME(16)"), USAGE(0x93, 0x09, X8, X4, GROUP),
	 .direction = SCSI_DIR_OUT, .decode = decode_write_same, .flags = F_RES_ALL | F_WRITES | F_PIECES, .timeout_s = 300,
	 .step = sbc_write_same},
	{CMD(0x42, 10, "UNMAP"), USAGE(0x42, 0, 0, 0, 0, 0, GROUP, 0xff, 0xff), OUT(7, 2),
	 .flags = F_RES_ALL | F_WRITES | F_THIN, .timeout_s = 300, .step = sbc_unmap},
	{CMD(0x35, 10, "SYNCHRONIZE CACHE(10)"), USAGE(0x35, 0x06, X4, GROUP, 0xff, 0xff),
	 .decode = decode_range, .flags = F_RES_ALL, .timeout_s = 300, .step = sbc_sync_cache},
	{CMD(0x91, 16, "SYNCHRONIZE CACHE(16)"), USAGE(0x91, 0x06, X8, X4, GROUP),
	 .decode = decode_range, .flags = F_RES_ALL, .timeout_s = 300, .step = sbc_sync_cache},
};
/* clang-format on */

const unsigned scsi_ncommands = ARRAY_SIZE(scsi_commands);

/* -- finding ------------------------------------------------------------- */

/* The first row of each operation code, + 1; rows of one code lie together. */
static uint8_t first_row[256];

__attribute__((constructor)) static void
index_rows(void)
{
	for (unsigned i = scsi_ncommands; i-- > 0;)
		first_row[scsi_commands[i].opcode] = (uint8_t)(i + 1);
}

bool
scsi_command_exists(const struct scsi_lu *lu, const struct scsi_command *command)
{
	if (!lu)
		return true;
	return (!(command->flags & F_THIN) || lu->vol->thin) &&
	       (!(command->flags & F_ATOMIC) || scsi_max_atomic(lu) != 0);
}

bool
scsi_opcode_exists(const struct scsi_lu *lu, uint8_t opcode)
{
	for (unsigned i = first_row[opcode];
	     i && i <= scsi_ncommands && scsi_commands[i - 1].opcode == opcode; i++)
		if (scsi_command_exists(lu, &scsi_commands[i - 1]))
			return true;
	return false;
}

const struct scsi_command *
scsi_command_find(const struct scsi_lu *lu, const uint8_t *cdb)
{
	unsigned i = first_row[cdb[0]];

	if (i == 0)
		return NULL;
	for (i--; i < scsi_ncommands && scsi_commands[i].opcode == cdb[0]; i++) {
		const struct scsi_command *command = &scsi_commands[i];

		if (command->has_action && command->action != (cdb[1] & 0x1f))
			continue;
		return scsi_command_exists(lu, command) ? command : NULL;
	}
	return NULL;
}

/* -- checking ------------------------------------------------------------ */

static int
fail_bits(struct scsi_task *task, unsigned byte, unsigned bits)
{
	unsigned bit = 7;

	while (!(bits & 1u << bit))
		bit--;
	task_fail_cdb(task, byte);
	task->fail.bit = (uint8_t)bit;
	task->fail.flags |= FAIL_BIT;
	return -1;
}

int
scsi_command_check(struct scsi_task *task, const struct scsi_command *command)
{
	if (task->cdb_len < command->cdb_len) {
		task_fail_cdb(task, task->cdb_len);
		return -1;
	}
	for (unsigned i = 1; i < command->cdb_len; i++) {
		unsigned usage = command->usage[i];
		unsigned extra;

		if (i == 1 && command->has_action)
			usage |= 0x1f; /* it was compared already */
		extra = task->cdb[i] & ~usage & 0xff;
		if (extra)
			return fail_bits(task, i, extra);
	}
	return 0;
}

/* -- decoding ------------------------------------------------------------ */

/* Where LBA and count stand follows from the group of the operation code (SPC-4 4.2.5). */
unsigned
scsi_cdb_range(const uint8_t *cdb, uint64_t *ret_lba, uint64_t *ret_blocks)
{
	switch (cdb[0] >> 5) {
	case 0:
		*ret_lba = get_be24(cdb + 1) & 0x1fffff;
		*ret_blocks = cdb[4] ? cdb[4] : 256;
		return 4;
	case 4:
		*ret_lba = get_be64(cdb + 2);
		*ret_blocks = get_be32(cdb + 10);
		return 10;
	case 5:
		*ret_lba = get_be32(cdb + 2);
		*ret_blocks = get_be32(cdb + 6);
		return 6;
	default:
		*ret_lba = get_be32(cdb + 2);
		*ret_blocks = get_be16(cdb + 7);
		return 7;
	}
}

/* No blocks at the very end are in range; SBC-3 leaves it open, Linux's target allows it. */
static int
check_range(struct scsi_task *task, const struct scsi_lu *lu)
{
	uint64_t blocks = lu_blocks(lu);

	if (task->lba <= blocks && task->blocks <= blocks - task->lba)
		return 0;
	task_fail_info(task, SE_LBA_RANGE, task->lba < blocks ? blocks : task->lba);
	return -1;
}

static int
decode_range(struct scsi_task *task, const struct scsi_lu *lu)
{
	(void)scsi_cdb_range(task->cdb, &task->lba, &task->blocks);
	return check_range(task, lu);
}

static int
decode_prefetch(struct scsi_task *task, const struct scsi_lu *lu)
{
	if (decode_range(task, lu) < 0)
		return -1;
	if (task->blocks == 0) /* to the end of the medium */
		task->blocks = lu_blocks(lu) - task->lba;
	return 0;
}

/* SBC-4 5.49 */
static int
decode_atomic(struct scsi_task *task, const struct scsi_lu *lu)
{
	task->lba = get_be64(task->cdb + 2);
	task->blocks = get_be16(task->cdb + 12);
	if (check_range(task, lu) < 0)
		return -1;
	if (task->blocks > scsi_max_atomic(lu)) {
		task_fail_cdb(task, 12);
		return -1;
	}
	task->out_len = (uint32_t)(task->blocks * lu->vol->block_size);
	task->page_off = (uint32_t)(task->lba * lu->vol->block_size % PAGE_SIZE_BYTES);
	return 0;
}

/* The parameter list of OVERWRITE is one block and a header at most; the others have none. */
static int
decode_sanitize(struct scsi_task *task, const struct scsi_lu *lu)
{
	uint32_t len = get_be16(task->cdb + 7);
	bool overwrite = task->command->action == 0x01;

	if (overwrite ? len < 5 || len > lu->vol->block_size + 4 : len != 0) {
		task_fail_cdb(task, 7);
		return -1;
	}
	task->out_len = len;
	return 0;
}

/* What passes persistent reservations (SBC-3 table 13): START without a power condition. */
static bool
starts(const uint8_t *cdb)
{
	return (cdb[4] & 0xf1) == 0x01;
}

/* SPC-4 table 65: PREVENT of 0. */
static bool
allows(const uint8_t *cdb)
{
	return (cdb[4] & 0x03) == 0;
}

/* A range whose data travels: MAXIMUM TRANSFER LENGTH holds. */
static int
decode_transfer(struct scsi_task *task, const struct scsi_lu *lu)
{
	unsigned count_at = scsi_cdb_range(task->cdb, &task->lba, &task->blocks);

	if (check_range(task, lu) < 0)
		return -1;
	if (task->blocks > SCSI_MAX_TRANSFER / lu->vol->block_size) {
		task_fail_cdb(task, count_at);
		return -1;
	}
	return 0;
}

static void
set_page_off(struct scsi_task *task, const struct scsi_lu *lu)
{
	task->page_off = (uint32_t)(task->lba * lu->vol->block_size % PAGE_SIZE_BYTES);
}

static int
decode_read(struct scsi_task *task, const struct scsi_lu *lu)
{
	if (decode_transfer(task, lu) < 0)
		return -1;
	set_page_off(task, lu);
	return 0;
}

static int
decode_write(struct scsi_task *task, const struct scsi_lu *lu)
{
	if (decode_transfer(task, lu) < 0)
		return -1;
	task->out_len = (uint32_t)(task->blocks * lu->vol->block_size);
	set_page_off(task, lu);
	return 0;
}

static int
decode_verify(struct scsi_task *task, const struct scsi_lu *lu)
{
	switch (task->cdb[1] >> 1 & 3) { /* BYTCHK */
	case 0:
		return decode_range(task, lu);
	case 1:
		return decode_write(task, lu);
	case 3:
		if (decode_range(task, lu) < 0)
			return -1;
		task->out_len = task->blocks ? lu->vol->block_size : 0;
		return 0;
	default:
		return fail_bits(task, 1, 0x04);
	}
}

static int
decode_write_same(struct scsi_task *task, const struct scsi_lu *lu)
{
	unsigned count_at = scsi_cdb_range(task->cdb, &task->lba, &task->blocks);
	bool unmap = task->cdb[1] & 0x08, no_data = task->cdb[0] == 0x93 && (task->cdb[1] & 0x01);

	if (unmap && !lu->vol->thin)
		return fail_bits(task, 1, 0x08);
	if (check_range(task, lu) < 0)
		return -1;
	if (task->blocks == 0) /* WSNZ = 0: to the end of the medium */
		task->blocks = lu_blocks(lu) - task->lba;
	if (task->blocks > SCSI_MAX_WRITE_SAME / lu->vol->block_size) {
		task_fail_cdb(task, count_at);
		return -1;
	}
	task->out_len = no_data ? 0 : lu->vol->block_size;
	return 0;
}

static int
decode_compare(struct scsi_task *task, const struct scsi_lu *lu)
{
	task->lba = get_be64(task->cdb + 2);
	task->blocks = task->cdb[13];
	if (check_range(task, lu) < 0)
		return -1;
	if (task->blocks > scsi_max_compare(lu)) {
		task_fail_cdb(task, 13);
		return -1;
	}
	task->out_len = (uint32_t)(2 * task->blocks * lu->vol->block_size);
	set_page_off(task, lu);
	return 0;
}

static uint32_t
length_field(const struct scsi_task *task)
{
	const uint8_t *p = task->cdb + task->command->len_at;

	switch (task->command->len_bytes) {
	case 1:
		return p[0];
	case 2:
		return get_be16(p);
	case 4:
		return get_be32(p);
	default:
		return 0;
	}
}

static int
decode_alloc(struct scsi_task *task, const struct scsi_lu *lu)
{
	(void)lu;
	task->alloc_len = task->command->len_bytes ? length_field(task) : 8; /* READ CAPACITY(10) has none */
	return 0;
}

static int
decode_lba_status(struct scsi_task *task, const struct scsi_lu *lu)
{
	task->lba = get_be64(task->cdb + 2);
	if (task->lba >= lu_blocks(lu)) {
		task_fail_info(task, SE_LBA_RANGE, task->lba);
		return -1;
	}
	return decode_alloc(task, lu);
}

/* Parameter lists fit in a page. */
static int
decode_param(struct scsi_task *task, const struct scsi_lu *lu)
{
	uint32_t len = length_field(task);

	(void)lu;
	if (len > PAGE_SIZE_BYTES) {
		task_fail(task, SE_PARAM_LENGTH);
		return -1;
	}
	task->out_len = len;
	return 0;
}

/* -- pages --------------------------------------------------------------- */

void
scsi_decode_pages(const struct scsi_task *task, const struct scsi_lu *lu, struct scsi_needs *ret)
{
	const struct scsi_command *command = task->command;
	uint64_t bytes = task->blocks * lu->vol->block_size;
	unsigned n;

	*ret = (struct scsi_needs){0};
	if (command->flags & F_READS) {
		ret->slots = volume_pages(task->page_off, bytes);
		return;
	}
	if (command->flags & F_LONG_IN)
		n = task->alloc_len > SCSI_INLINE_MAX
			    ? volume_pages(0, min_of(task->alloc_len, (uint32_t)SCSI_MAX_DATA_IN))
			    : 0;
	else if (command->direction == SCSI_DIR_IN)
		n = task->alloc_len > SCSI_INLINE_MAX;
	else
		n = volume_pages(task->page_off, task->out_len);
	ret->alloc = ret->slots = n;
	if (command->flags & F_PIECES)
		ret->slots += (unsigned)min_of(bytes / PAGE_SIZE_BYTES + 2, (uint64_t)SCSI_PIECE_PAGES);
	if (command->flags & F_HALVES) {
		n = volume_pages(task->page_off, bytes);
		ret->alloc += n;         /* the second half, laid out anew */
		ret->slots += n + 2 * n; /* and the list of both */
	}
}
