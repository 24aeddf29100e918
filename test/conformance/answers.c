/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a logical unit says it can do, what the standards and doc/design.md want of it, and what it does: three
 * things that have to agree.
 *
 * The table below is kept apart from the daemon's own and was read against SPC-4 and SBC-3, so that neither changes
 * without the other.  REPORT SUPPORTED OPERATION CODES has
 * to list its rows and nothing else, with the CDB's length and its usage data for each; each row is then sent, and
 * sent again with each bit set that the usage data leaves out, which has to be refused with a pointer at that bit.
 * All other operation codes and service actions have to be refused as such.  The same is done for VPD pages,
 * mode pages, log pages and task management functions.
 *
 * usage: answers PORTAL TARGET LUN thin|raw|ram|4k BLOCK-SIZE CHUNK-SIZE	(0: the volume has no chunks)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/util.h"
#include "test/conformance/initiator.h"

#define NO_ACTION (-1)
#define ILLEGAL_REQUEST 5u
#define ASC_OPCODE 0x2000u
#define ASC_CDB 0x2400u

/*
 * SPC-4 annex D.3, SBC-3 table 13, and of each CDB the bits that are taken: no protection information, no NV cache,
 * nothing saved, no ANCHOR, no RARC, GROUP NUMBER and what belongs to power conditions without effect.
 */
static const struct row {
	const char *name;
	uint8_t opcode;
	int action;
	const char *usage;
} rows[] = {
	{"TEST UNIT READY", 0x00, NO_ACTION, "00 00 00 00 00 00"},
	{"REQUEST SENSE", 0x03, NO_ACTION, "03 01 00 00 ff 00"},
	{"READ(6)", 0x08, NO_ACTION, "08 1f ff ff ff 00"},
	{"WRITE(6)", 0x0a, NO_ACTION, "0a 1f ff ff ff 00"},
	{"INQUIRY", 0x12, NO_ACTION, "12 01 ff ff ff 00"},
	{"MODE SELECT(6)", 0x15, NO_ACTION, "15 10 00 00 ff 00"},
	{"RESERVE(6)", 0x16, NO_ACTION, "16 00 00 00 00 00"},
	{"RELEASE(6)", 0x17, NO_ACTION, "17 00 00 00 00 00"},
	{"MODE SENSE(6)", 0x1a, NO_ACTION, "1a 08 ff ff ff 00"},
	{"START STOP UNIT", 0x1b, NO_ACTION, "1b 01 00 0f f7 00"},
	{"SEND DIAGNOSTIC", 0x1d, NO_ACTION, "1d 14 00 00 00 00"},
	{"PREVENT ALLOW MEDIUM REMOVAL", 0x1e, NO_ACTION, "1e 00 00 00 01 00"},
	{"READ CAPACITY(10)", 0x25, NO_ACTION, "25 00 00 00 00 00 00 00 00 00"},
	{"READ(10)", 0x28, NO_ACTION, "28 18 ff ff ff ff 1f ff ff 00"},
	{"WRITE(10)", 0x2a, NO_ACTION, "2a 18 ff ff ff ff 1f ff ff 00"},
	{"WRITE AND VERIFY(10)", 0x2e, NO_ACTION, "2e 12 ff ff ff ff 1f ff ff 00"},
	{"VERIFY(10)", 0x2f, NO_ACTION, "2f 16 ff ff ff ff 1f ff ff 00"},
	{"PRE-FETCH(10)", 0x34, NO_ACTION, "34 02 ff ff ff ff 1f ff ff 00"},
	{"SYNCHRONIZE CACHE(10)", 0x35, NO_ACTION, "35 06 ff ff ff ff 1f ff ff 00"},
	{"READ DEFECT DATA(10)", 0x37, NO_ACTION, "37 00 1f 00 00 00 00 ff ff 00"},
	{"WRITE SAME(10)", 0x41, NO_ACTION, "41 08 ff ff ff ff 1f ff ff 00"},
	{"UNMAP", 0x42, NO_ACTION, "42 00 00 00 00 00 1f ff ff 00"},
	{"SANITIZE, OVERWRITE", 0x48, 0x01, "48 a1 00 00 00 00 00 ff ff 00"},
	{"SANITIZE, BLOCK ERASE", 0x48, 0x02, "48 a2 00 00 00 00 00 ff ff 00"},
	{"SANITIZE, EXIT FAILURE MODE", 0x48, 0x1f, "48 bf 00 00 00 00 00 ff ff 00"},
	{"LOG SENSE", 0x4d, NO_ACTION, "4d 01 ff ff 00 ff ff ff ff 00"},
	{"MODE SELECT(10)", 0x55, NO_ACTION, "55 10 00 00 00 00 00 ff ff 00"},
	{"MODE SENSE(10)", 0x5a, NO_ACTION, "5a 18 ff ff 00 00 00 ff ff 00"},
	{"PERSISTENT RESERVE IN, READ KEYS", 0x5e, 0x00, "5e 00 00 00 00 00 00 ff ff 00"},
	{"PERSISTENT RESERVE IN, READ RESERVATION", 0x5e, 0x01, "5e 01 00 00 00 00 00 ff ff 00"},
	{"PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x5e, 0x02, "5e 02 00 00 00 00 00 ff ff 00"},
	{"PERSISTENT RESERVE IN, READ FULL STATUS", 0x5e, 0x03, "5e 03 00 00 00 00 00 ff ff 00"},
	{"PERSISTENT RESERVE OUT, REGISTER", 0x5f, 0x00, "5f 00 ff 00 00 ff ff ff ff 00"},
	{"PERSISTENT RESERVE OUT, RESERVE", 0x5f, 0x01, "5f 01 ff 00 00 ff ff ff ff 00"},
	{"PERSISTENT RESERVE OUT, RELEASE", 0x5f, 0x02, "5f 02 ff 00 00 ff ff ff ff 00"},
	{"PERSISTENT RESERVE OUT, CLEAR", 0x5f, 0x03, "5f 03 ff 00 00 ff ff ff ff 00"},
	{"PERSISTENT RESERVE OUT, PREEMPT", 0x5f, 0x04, "5f 04 ff 00 00 ff ff ff ff 00"},
	{"PERSISTENT RESERVE OUT, PREEMPT AND ABORT", 0x5f, 0x05, "5f 05 ff 00 00 ff ff ff ff 00"},
	{"PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 0x5f, 0x06,
	 "5f 06 ff 00 00 ff ff ff ff 00"},
	{"PERSISTENT RESERVE OUT, REGISTER AND MOVE", 0x5f, 0x07, "5f 07 ff 00 00 ff ff ff ff 00"},
	{"EXTENDED COPY(LID1)", 0x83, 0x00, "83 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00"},
	{"EXTENDED COPY(LID4)", 0x83, 0x01, "83 01 00 00 00 00 00 00 00 00 ff ff ff ff 00 00"},
	{"RECEIVE COPY STATUS(LID1)", 0x84, 0x00, "84 00 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00"},
	{"RECEIVE COPY OPERATING PARAMETERS", 0x84, 0x03, "84 03 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00"},
	{"RECEIVE COPY STATUS(LID4)", 0x84, 0x05, "84 05 ff ff ff ff 00 00 00 00 ff ff ff ff 00 00"},
	{"READ(16)", 0x88, NO_ACTION, "88 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"},
	{"COMPARE AND WRITE", 0x89, NO_ACTION, "89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 1f 00"},
	{"WRITE(16)", 0x8a, NO_ACTION, "8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"},
	{"ORWRITE(16)", 0x8b, NO_ACTION, "8b 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"},
	{"WRITE AND VERIFY(16)", 0x8e, NO_ACTION, "8e 12 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"},
	{"VERIFY(16)", 0x8f, NO_ACTION, "8f 16 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"},
	{"PRE-FETCH(16)", 0x90, NO_ACTION, "90 02 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"},
	{"SYNCHRONIZE CACHE(16)", 0x91, NO_ACTION, "91 06 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"},
	{"WRITE SAME(16)", 0x93, NO_ACTION, "93 09 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"},
	{"WRITE ATOMIC(16)", 0x9c, NO_ACTION, "9c 18 ff ff ff ff ff ff ff ff 00 00 ff ff 1f 00"},
	{"READ CAPACITY(16)", 0x9e, 0x10, "9e 10 00 00 00 00 00 00 00 00 ff ff ff ff 00 00"},
	{"GET LBA STATUS", 0x9e, 0x12, "9e 12 ff ff ff ff ff ff ff ff ff ff ff ff 00 00"},
	{"REPORT LUNS", 0xa0, NO_ACTION, "a0 00 ff 00 00 00 ff ff ff ff 00 00"},
	{"REPORT TARGET PORT GROUPS", 0xa3, 0x0a, "a3 2a 00 00 00 00 ff ff ff ff 00 00"},
	{"REPORT SUPPORTED OPERATION CODES", 0xa3, 0x0c, "a3 0c 87 ff ff ff ff ff ff ff 00 00"},
	{"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xa3, 0x0d, "a3 0d 80 00 00 00 ff ff ff ff 00 00"},
	{"SET TARGET PORT GROUPS", 0xa4, 0x0a, "a4 0a 00 00 00 00 ff ff ff ff 00 00"},
	{"READ(12)", 0xa8, NO_ACTION, "a8 18 ff ff ff ff ff ff ff ff 1f 00"},
	{"WRITE(12)", 0xaa, NO_ACTION, "aa 18 ff ff ff ff ff ff ff ff 1f 00"},
	{"WRITE AND VERIFY(12)", 0xae, NO_ACTION, "ae 12 ff ff ff ff ff ff ff ff 1f 00"},
	{"VERIFY(12)", 0xaf, NO_ACTION, "af 16 ff ff ff ff ff ff ff ff 1f 00"},
	{"READ DEFECT DATA(12)", 0xb7, NO_ACTION, "b7 1f ff ff ff ff ff ff ff ff 00 00"},
};

static const uint8_t vpd_pages[] = {0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2};
/* page << 8 | subpage, in the order of MODE SENSE */
static const uint16_t mode_pages[] = {0x0100, 0x0800, 0x0a00, 0x0a01, 0x1c00};
static const uint16_t log_pages[] = {0x0000, 0x00ff, 0x0c00, 0x0d00, 0x2f00};

static struct iscsi_context *iscsi;
static int lun;
static const char *kind;
static uint32_t block_size, chunk_size;
static struct answer answer;

static const struct row *
row_of(unsigned opcode, int action)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].opcode == opcode && (rows[i].action == NO_ACTION || rows[i].action == action))
			return &rows[i];
	return NULL;
}

/* SPC-4 4.2.5 */
static unsigned
cdb_length(unsigned opcode)
{
	static const unsigned length[8] = {6, 10, 10, 0, 16, 12, 0, 0};

	return length[opcode >> 5];
}

static int
run(const uint8_t *cdb, unsigned cdb_len, unsigned in)
{
	return initiator_run(iscsi, lun, cdb, cdb_len, in, 0, &answer);
}

static bool
refused(unsigned asc)
{
	return answer.status == CHECK && answer.key == ILLEGAL_REQUEST && answer.asc == asc;
}

/* -- REPORT SUPPORTED OPERATION CODES, SPC-4 6.35 --------------------------- */

static int
report(unsigned options, unsigned opcode, int action)
{
	uint8_t cdb[12] = {0xa3, 0x0c, (uint8_t)options, (uint8_t)opcode};

	put_be16(cdb + 4, (uint16_t)(action == NO_ACTION ? 0 : action));
	put_be32(cdb + 6, sizeof(answer.data));
	return run(cdb, 12, sizeof(answer.data));
}

static void
whole_list(bool timeouts)
{
	unsigned n = 0, step = timeouts ? 20 : 8;

	check(report(timeouts ? 0x80 : 0, 0, 0) == GOOD && answer.len >= 4 &&
		      get_be32(answer.data) + 4 == answer.len && (answer.len - 4) % step == 0,
	      "REPORT SUPPORTED OPERATION CODES of all");
	for (const uint8_t *p = answer.data + 4; p + step <= answer.data + answer.len; p += step, n++) {
		bool has_action = p[5] & 0x01;
		const struct row *row = row_of(p[0], has_action ? get_be16(p + 2) : NO_ACTION);

		check(row && (row->action != NO_ACTION) == has_action, "%02xh/%02xh is listed", p[0], p[3]);
		check(get_be16(p + 6) == cdb_length(p[0]), "%02xh: a CDB of %u bytes", p[0], get_be16(p + 6));
		check((p[5] & 0x02) == (timeouts ? 0x02 : 0), "%02xh: CTDP", p[0]);
		if (timeouts)
			check(get_be16(p + 8) == 0x0a && get_be32(p + 16) > 0, "%02xh: its time-outs", p[0]);
	}
	check(n == ARRAY_SIZE(rows), "%u commands are listed, not %zu", n, ARRAY_SIZE(rows));
}

/* The usage data of a row, or false. */
static bool
usage_of(const struct row *row, uint8_t usage[16])
{
	bool has_action = row->action != NO_ACTION;
	unsigned len = cdb_length(row->opcode);

	check(report(has_action ? 1 : 2, row->opcode, row->action) == CHECK && refused(ASC_CDB),
	      "%s: reporting option %u is refused", row->name, has_action ? 1u : 2u);
	check(report(3, row->opcode, row->action) == GOOD && (answer.data[1] & 7) == 3,
	      "%s: reporting option 3", row->name);
	check(report(0x80 | (has_action ? 2 : 1), row->opcode, row->action) == GOOD &&
		      (answer.data[1] & 0x87) == 0x83 && get_be16(answer.data + 2) == len &&
		      answer.len == 4 + len + 12,
	      "%s: supported, and its time-outs", row->name);
	if (answer.len != 4 + len + 12)
		return false;
	memcpy(usage, answer.data + 4, len);
	for (unsigned i = 0; i < len; i++) {
		unsigned want = (unsigned)strtoul(row->usage + 3 * (size_t)i, NULL, 16);

		check(usage[i] == want, "%s: usage data %02xh in byte %u, not %02xh", row->name, usage[i], i,
		      want);
	}
	return true;
}

static void
set_action(uint8_t *cdb, const struct row *row)
{
	cdb[0] = row->opcode;
	if (row->action != NO_ACTION)
		cdb[1] = (uint8_t)row->action;
	if (row->opcode == 0x1b)
		cdb[4] = 0x01; /* START: the rest is sent to a unit that is ready */
}

static void
row_answers(const struct row *row)
{
	unsigned len = cdb_length(row->opcode);
	uint8_t usage[16] = {0}, cdb[16] = {0};

	if (!usage_of(row, usage))
		return;
	set_action(cdb, row);
	(void)run(cdb, len, 0);
	check(!refused(ASC_OPCODE), "%s is listed and refused", row->name);
	for (unsigned byte = 1; byte < len; byte++) {
		for (int bit = 7; bit >= 0; bit--) {
			if (usage[byte] & 1 << bit || (byte == 1 && bit < 5 && row->action != NO_ACTION))
				continue;
			memset(cdb, 0, sizeof(cdb));
			set_action(cdb, row);
			cdb[byte] |= (uint8_t)(1 << bit);
			(void)run(cdb, len, 0);
			check(refused(ASC_CDB) && answer.has_field && answer.field == (int)byte &&
				      answer.bit == bit,
			      "%s: byte %u, bit %d is not in use: status %02xh, sense %x/%04x at byte %d, bit %d",
			      row->name, byte, bit, (unsigned)answer.status, answer.key, answer.asc,
			      answer.field, answer.bit);
		}
	}
}

static void
nothing_else_answers(void)
{
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		bool some = false, actions = false;

		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			some = some || rows[i].opcode == opcode;
			actions = actions || (rows[i].opcode == opcode && rows[i].action != NO_ACTION);
		}
		if (some && !actions)
			continue;
		for (int action = 0; action < (actions ? 32 : 1); action++) {
			uint8_t cdb[16] = {(uint8_t)opcode, (uint8_t)action};

			if (row_of(opcode, action))
				continue;
			check(report(3, opcode, action) == GOOD && (answer.data[1] & 7) == 1,
			      "%02xh/%02xh is reported", opcode, (unsigned)action);
			(void)run(cdb, 16, 0);
			check(refused(some ? ASC_CDB : ASC_OPCODE),
			      "%02xh/%02xh: status %02xh, sense %x/%04x", opcode, (unsigned)action,
			      (unsigned)answer.status, answer.key, answer.asc);
		}
	}
}

static void
task_management(void)
{
	/* SPC-4 table 308: ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET; the targets' resets of
	 * RFC 7143 are TARGET RESET here */
	check(run((uint8_t[12]){0xa3, 0x0d, [9] = 16}, 12, 16) == GOOD && answer.len == 4 &&
		      answer.data[0] == 0xda,
	      "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: %02xh", answer.data[0]);
}

/* -- pages ---------------------------------------------------------------- */

static int
inquire(unsigned page)
{
	return run((uint8_t[6]){0x12, 0x01, (uint8_t)page, 0x02}, 6, 512);
}

static void
vital_product_data(void)
{
	check(inquire(0) == GOOD && answer.len == 4 + sizeof(vpd_pages) &&
		      !memcmp(answer.data + 4, vpd_pages, sizeof(vpd_pages)),
	      "the list of VPD pages");
	for (unsigned page = 0; page < 256; page++) {
		if (memchr(vpd_pages, (int)page, sizeof(vpd_pages)))
			check(inquire(page) == GOOD && answer.len >= 4 && answer.data[1] == page &&
				      get_be16(answer.data + 2) + 4u == answer.len,
			      "VPD page %02xh", page);
		else
			check(inquire(page) == CHECK && refused(ASC_CDB), "VPD page %02xh is there", page);
	}
	check(inquire(0xb0) == GOOD && answer.len == 64, "block limits");
	if (chunk_size)
		check(get_be32(answer.data + 28) == chunk_size / block_size && (answer.data[32] & 0x80) &&
			      get_be32(answer.data + 32) == 0x80000000u,
		      "the optimal unmap granularity is %u blocks", get_be32(answer.data + 28));
	check(get_be32(answer.data + 8) > 0 && answer.data[5] > 0 && get_be32(answer.data + 20) > 0 &&
		      get_be32(answer.data + 24) > 0 && get_be64(answer.data + 36) > 0,
	      "limits of transfers, COMPARE AND WRITE, UNMAP, WRITE SAME");
	check(get_be32(answer.data + 44) > 0, "limit of WRITE ATOMIC: %u", get_be32(answer.data + 44));
	check(inquire(0xb2) == GOOD && (answer.data[5] & 0xe0) == 0xe0 && (answer.data[6] & 7) == 2,
	      "thin provisioning: LBPU, LBPWS, LBPWS10");
}

/* PC: 0 current, 1 changeable, 2 default, 3 saved. */
static int
mode_sense(unsigned pc, unsigned page)
{
	uint8_t cdb[10] = {0x5a, 0x08, (uint8_t)(pc << 6 | page >> 8), (uint8_t)page, [7] = 0x10};

	return run(cdb, 10, 4096);
}

static void
mode_page_list(unsigned pc)
{
	size_t at = 8, n = 0;

	check(mode_sense(pc, 0x3fff) == GOOD && answer.len > 8 && get_be16(answer.data) + 2u == answer.len,
	      "all mode pages, PC %u", pc);
	for (; at + 4 <= answer.len; n++) {
		const uint8_t *p = answer.data + at;
		unsigned subpage = p[0] & 0x40 ? p[1] : 0;

		check(n < ARRAY_SIZE(mode_pages) && mode_pages[n] == ((p[0] & 0x3fu) << 8 | subpage),
		      "mode page %02xh/%02xh, PC %u", p[0] & 0x3fu, subpage, pc);
		at += subpage ? 4u + get_be16(p + 2) : 2u + p[1];
	}
	check(n == ARRAY_SIZE(mode_pages) && at == answer.len, "%zu mode pages, PC %u", n, pc);
}

static bool
is_mode_page(unsigned page)
{
	for (size_t i = 0; i < ARRAY_SIZE(mode_pages); i++)
		if (mode_pages[i] == page)
			return true;
	return false;
}

static void
mode(void)
{
	for (unsigned pc = 0; pc < 3; pc++)
		mode_page_list(pc);
	check(mode_sense(3, 0x3fff) == CHECK && refused(0x3900),
	      "saved mode pages"); /* SAVING NOT SUPPORTED */
	for (unsigned page = 0; page < 0x3f00; page += page & 0xff ? 0xff : 1) {
		bool there = is_mode_page(page);

		check((mode_sense(0, page) == GOOD) == there && (there || refused(ASC_CDB)),
		      "mode page %04xh", page);
	}
}

static int
log_sense(unsigned page)
{
	uint8_t cdb[10] = {0x4d, 0, (uint8_t)(0x40 | page >> 8), (uint8_t)page, [7] = 0x10};

	return run(cdb, 10, 4096);
}

static void
logs(void)
{
	check(log_sense(0x00ff) == GOOD && answer.len == 4 + 2 * ARRAY_SIZE(log_pages),
	      "the list of log pages");
	for (size_t i = 0; i < ARRAY_SIZE(log_pages) && 6 + 2 * i <= answer.len; i++)
		check(get_be16(answer.data + 4 + 2 * i) == log_pages[i], "log page %04xh is listed",
		      get_be16(answer.data + 4 + 2 * i));
	for (unsigned page = 0; page < 0x4000; page += 0x100) {
		bool there = false;

		for (size_t i = 0; i < ARRAY_SIZE(log_pages); i++)
			there = there || log_pages[i] == page;
		check((log_sense(page) == GOOD) == there && (there || refused(ASC_CDB)), "log page %04xh",
		      page);
		if (there)
			check((answer.data[0] & 0x3fu) == page >> 8 &&
				      get_be16(answer.data + 2) + 4u == answer.len,
			      "log page %04xh: its header", page);
	}
}

int
main(int argc, char **argv)
{
	if (argc != 7) {
		printf("usage: answers PORTAL TARGET LUN thin|raw|ram|4k BLOCK-SIZE CHUNK-SIZE\n");
		return 2;
	}
	lun = (int)strtol(argv[3], NULL, 10);
	kind = argv[4];
	block_size = (uint32_t)strtoul(argv[5], NULL, 10);
	chunk_size = (uint32_t)strtoul(argv[6], NULL, 10);
	iscsi = initiator_login(argv[1], argv[2], "iqn.2026-11.net.example:answers", 1);
	initiator_settle(iscsi, lun);
	whole_list(false);
	whole_list(true);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		row_answers(&rows[i]);
	nothing_else_answers();
	task_management();
	vital_product_data();
	mode();
	logs();
	initiator_logout(iscsi);
	return check_result(kind);
}
