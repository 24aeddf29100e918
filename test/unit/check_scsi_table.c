/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of commands is in order in itself. */
#include <check.h>
#include <stdlib.h>

#include "gateway/scsi/scsi_impl.h"

/* SPC-4 4.2.5: the group of the operation code says how long the CDB is. */
static unsigned
group_len(uint8_t opcode)
{
	static const unsigned len[8] = {6, 10, 10, 0, 16, 12, 0, 0};

	return len[opcode >> 5];
}

START_TEST(rows_are_unique_and_together)
{
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *a = &scsi_commands[i];
		bool gap = false;

		for (unsigned k = i + 1; k < scsi_ncommands; k++) {
			const struct scsi_command *b = &scsi_commands[k];

			if (a->opcode != b->opcode) {
				gap = true;
				continue;
			}
			ck_assert_msg(!gap, "%s: rows of one operation code are apart", b->name);
			ck_assert_msg(a->has_action && b->has_action && a->action != b->action,
				      "%s and %s are one", a->name, b->name);
		}
	}
}
END_TEST

START_TEST(usage_matches_row)
{
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *c = &scsi_commands[i];

		ck_assert_msg(c->name && c->step && c->timeout_s, "row %u lacks something", i);
		ck_assert_msg(c->usage[0] == c->opcode, "%s", c->name);
		ck_assert_msg(c->cdb_len == group_len(c->opcode), "%s", c->name);
		for (unsigned k = c->cdb_len; k < 16; k++)
			ck_assert_msg(c->usage[k] == 0, "%s: usage beyond the CDB", c->name);
		ck_assert_msg(c->usage[c->cdb_len - 1] == 0, "%s: CONTROL", c->name);
		if (c->has_action)
			ck_assert_msg((c->usage[1] & 0x1f) == c->action, "%s", c->name);
	}
}
END_TEST

START_TEST(lengths_are_in_usage)
{
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *c = &scsi_commands[i];

		ck_assert_msg(c->len_bytes == 0 || c->len_bytes == 1 || c->len_bytes == 2 ||
				      c->len_bytes == 4,
			      "%s", c->name);
		for (unsigned k = 0; k < c->len_bytes; k++)
			ck_assert_msg(c->usage[c->len_at + k] == 0xff,
				      "%s: its length field is not in its usage", c->name);
	}
}
END_TEST

START_TEST(flags_make_sense)
{
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *c = &scsi_commands[i];

		if (c->flags & F_WRITES) {
			ck_assert_msg((c->flags & F_RES_ALL) == F_RES_ALL, "%s writes past reservations",
				      c->name);
			ck_assert_msg(!(c->flags & (F_UA | F_STOPPED | F_NO_LUN)), "%s", c->name);
			ck_assert_msg(c->direction == SCSI_DIR_OUT, "%s", c->name);
		}
		if (c->flags & F_READS)
			ck_assert_msg(c->direction == SCSI_DIR_IN, "%s", c->name);
		if (c->direction != SCSI_DIR_NONE)
			ck_assert_msg(c->decode != NULL, "%s: no lengths", c->name);
	}
}
END_TEST

START_TEST(find_finds_rows)
{
	uint8_t cdb[16] = {0};

	for (unsigned i = 0; i < scsi_ncommands; i++) {
		cdb[0] = scsi_commands[i].opcode;
		cdb[1] = scsi_commands[i].has_action ? scsi_commands[i].action | 0xe0 : 0xff;
		ck_assert_ptr_eq(scsi_command_find(NULL, cdb), &scsi_commands[i]);
	}
	for (unsigned op = 0; op < 256; op++) {
		bool known = false;

		for (unsigned i = 0; i < scsi_ncommands; i++)
			known |= scsi_commands[i].opcode == op;
		cdb[0] = (uint8_t)op;
		cdb[1] = 0x1f; /* no row has this action */
		if (!known)
			ck_assert_ptr_null(scsi_command_find(NULL, cdb));
	}
	cdb[0] = 0x9e;
	cdb[1] = 0x1f;
	ck_assert_ptr_null(scsi_command_find(NULL, cdb));
}
END_TEST

START_TEST(luns_decode)
{
	static const struct {
		uint8_t lun[8];
		int is;
	} cases[] = {
		{{0, 0}, 0},        {{0, 7}, 7},        {{0, 255}, 255},       {{0x40, 3}, 3},
		{{0x40, 255}, 255}, {{0x41, 0}, -1},    {{1, 0}, -1},          {{0x80, 1}, -1},
		{{0xc1, 1}, -1},    {{0, 1, 0, 1}, -1}, {{0, 1, [7] = 1}, -1},
	};
	uint8_t back[8];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_int_eq(scsi_lun_decode(cases[i].lun), cases[i].is);
	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++) {
		scsi_lun_encode(i, back);
		ck_assert_int_eq(scsi_lun_decode(back), (int)i);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("scsi_table");
	TCase *tcase = tcase_create("table");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, rows_are_unique_and_together);
	tcase_add_test(tcase, usage_matches_row);
	tcase_add_test(tcase, lengths_are_in_usage);
	tcase_add_test(tcase, flags_make_sense);
	tcase_add_test(tcase, find_finds_rows);
	tcase_add_test(tcase, luns_decode);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
