/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a unit says of itself, and what can be set. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/scsi/scsi_impl.h"
#include "test/unit/scsi_run.h"

START_TEST(inquiry)
{
	static const uint8_t pages[] = {0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2};

	expect_good(CDB(0x12, 0, 0, 0, 96), 0, 96);
	ck_assert_uint_eq(in_buf[0], 0);
	ck_assert_uint_eq(in_buf[2], 6);
	ck_assert_uint_eq(in_buf[3] & 0xf, 2);
	ck_assert_uint_eq(in_buf[4], 91);
	ck_assert_mem_eq(in_buf + 8, "LUNGATE VIRTUAL-DISK    ", 24);
	expect_sense(CDB(0x12, 0, 0x80, 0, 96), 0, S_CDB);
	expect_sense(CDB(0x12, 1, 0x42, 0, 96), 0, S_CDB);
	expect_good(CDB(0x12, 1, 0, 0, 96), 0, 96);
	ck_assert_uint_eq(cmd.task.in_len, 4 + sizeof(pages));
	ck_assert_mem_eq(in_buf + 4, pages, sizeof(pages));
	for (size_t i = 0; i < sizeof(pages); i++) {
		expect_good(CDB(0x12, 1, pages[i], 4, 0), 0, 1024);
		ck_assert_uint_eq(in_buf[1], pages[i]);
		ck_assert_uint_eq(get_be16(in_buf + 2) + 4, cmd.task.in_len);
	}
	expect_good(CDB(0x12, 1, 0x80, 0, 96), 0, 96);
	ck_assert_mem_eq(in_buf + 4, "0123456789abcdef", 16);
}
END_TEST

START_TEST(identification)
{
	unsigned seen = 0, at = 4;

	expect_good(CDB(0x12, 1, 0x83, 4, 0), 0, 1024);
	while (at < cmd.task.in_len) {
		const uint8_t *d = in_buf + at;

		seen |= 1u << (d[1] & 0xf);
		switch (d[1] & 0x3f) {
		case 0x03: /* NAA of the unit */
			ck_assert_uint_eq(d[3], 16);
			ck_assert_mem_eq(d + 4, rig.disk->vol.naa, 16);
			ck_assert_uint_eq(d[4] >> 4, 6);
			break;
		case 0x01:
			ck_assert_mem_eq(d + 4, "LUNGATE 0123456789abcdef", 24);
			break;
		case 0x0a:
			ck_assert_mem_eq(d + 6, rig.disk->vol.uuid, 16);
			break;
		case 0x18: /* the port's name */
			ck_assert_uint_eq(d[3] % 4, 0);
			ck_assert_str_eq((const char *)d + 4, "iqn.2026-01.test:target,t,0x0001");
			break;
		case 0x28:
			ck_assert_str_eq((const char *)d + 4, "iqn.2026-01.test:target");
			break;
		default:
			break;
		}
		at += 4u + d[3];
	}
	ck_assert_uint_eq(at, cmd.task.in_len);
	ck_assert_uint_eq(seen, 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 8 | 1u << 10);
}
END_TEST

START_TEST(capacity_and_limits)
{
	expect_good(CDB(0x25), 0, 8);
	ck_assert_uint_eq(get_be32(in_buf), BLOCKS - 1);
	ck_assert_uint_eq(get_be32(in_buf + 4), 512);
	expect_good(CDB(0x9e, 0x10, [13] = 32), 0, 32);
	ck_assert_uint_eq(get_be64(in_buf), BLOCKS - 1);
	ck_assert_uint_eq(get_be32(in_buf + 8), 512);
	ck_assert_uint_eq(in_buf[13], 3);
	ck_assert_uint_eq(get_be16(in_buf + 14), 0xc000);
	expect_good(CDB(0x12, 1, 0xb0, 0, 64), 0, 64);
	ck_assert_uint_eq(get_be16(in_buf + 2), 60);
	ck_assert_uint_eq(in_buf[5], 255);
	ck_assert_uint_eq(get_be32(in_buf + 8), (16u << 20) / 512);
	ck_assert_uint_eq(get_be32(in_buf + 24), 255);
	ck_assert_uint_eq(get_be32(in_buf + 28), (1u << 20) / 512);
	ck_assert_uint_eq(get_be64(in_buf + 36), (16u << 20) / 512);
	expect_good(CDB(0x12, 1, 0xb1, 0, 64), 0, 64);
	ck_assert_uint_eq(get_be16(in_buf + 4), 1);
	expect_good(CDB(0x12, 1, 0xb2, 0, 64), 0, 64);
	ck_assert_uint_eq(in_buf[5], 0xe4);
	ck_assert_uint_eq(in_buf[6], 2);
	expect_good(CDB(0xa3, 0x0a, [9] = 64), 0, 64);
	ck_assert_uint_eq(get_be32(in_buf), 12);
	ck_assert_uint_eq(in_buf[4], 0);
	ck_assert_uint_eq(get_be16(in_buf + 14), 1);
	expect_good(CDB(0xa3, 0x2a, [9] = 64), 0, 64);
	ck_assert_uint_eq(get_be32(in_buf), 16);
	ck_assert_uint_eq(in_buf[4], 0x10);
}
END_TEST

START_TEST(mode_sense)
{
	/* WP, DPOFUA and the block descriptor */
	expect_good(CDB(0x1a, 0, 0x0a, 0, 255), 0, 255);
	ck_assert_uint_eq(in_buf[0] + 1u, cmd.task.in_len);
	ck_assert_uint_eq(in_buf[2], 0x10);
	ck_assert_uint_eq(in_buf[3], 8);
	ck_assert_uint_eq(get_be32(in_buf + 4), BLOCKS);
	ck_assert_uint_eq(get_be24(in_buf + 9), 512);
	ck_assert_uint_eq(in_buf[12], 0x0a);
	/* without, with changeable values */
	expect_good(CDB(0x1a, 0x08, 0x4a, 0, 255), 0, 255);
	ck_assert_uint_eq(in_buf[3], 0);
	ck_assert_uint_eq(in_buf[4], 0x0a);
	ck_assert_uint_eq(in_buf[6], 0x04); /* D_SENSE */
	ck_assert_uint_eq(in_buf[8], 0x08); /* SWP */
	ck_assert_uint_eq(in_buf[9], 0x40); /* TAS */
	/* no cache, and none to turn on */
	expect_good(CDB(0x1a, 0x08, 0x48, 0, 255), 0, 255);
	ck_assert_uint_eq(in_buf[6], 0);
	expect_sense(CDB(0x1a, 0, 0xca, 0, 255), 0, 0x053900);
	expect_sense(CDB(0x1a, 0, 0x2a, 0, 255), 0, S_CDB);
	expect_sense(CDB(0x1a, 0, 0x0a, 2, 255), 0, S_CDB);
	expect_sense(CDB(0x1a, 0, 0x3f, 1, 255), 0, S_CDB);
	/* one page with its subpages, all with theirs */
	expect_good(CDB(0x1a, 0x08, 0x0a, 0xff, 255), 0, 255);
	ck_assert_uint_eq(cmd.task.in_len, 4 + 12 + 32);
	expect_good(CDB(0x1a, 0x08, 0x0a, 0x01, 255), 0, 255);
	ck_assert_uint_eq(in_buf[4], 0x4a);
	ck_assert_uint_eq(get_be16(in_buf + 6), 28);
	expect_good(CDB(0x5a, 0x10, 0x3f, 0xff, [7] = 1), 0, 256);
	ck_assert_uint_eq(get_be16(in_buf) + 2u, cmd.task.in_len);
	ck_assert_uint_eq(in_buf[4], 1);
	ck_assert_uint_eq(get_be16(in_buf + 6), 16);
	ck_assert_uint_eq(get_be64(in_buf + 8), BLOCKS);
	ck_assert_uint_eq(get_be32(in_buf + 20), 512);
}
END_TEST

/* MODE SENSE(6) of a page into out_buf, as MODE SELECT wants it; its length. */
static uint32_t
fetch_page(unsigned code)
{
	expect_good(CDB(0x1a, 0x08, code, 0, 255), 0, 255);
	memcpy(out_buf, in_buf, cmd.task.in_len);
	out_buf[0] = 0;
	return cmd.task.in_len;
}

START_TEST(mode_select)
{
	uint32_t n = fetch_page(0x0a);

	/* nothing changed, nobody is told */
	expect_good(CDB(0x15, 0x10, 0, 0, n), n, 0);
	ck_assert_int_eq(run_on(1, CDB(0x00), 0, 0), SCSI_GOOD);
	/* D_SENSE */
	out_buf[6] |= 0x04;
	expect_good(CDB(0x15, 0x10, 0, 0, n), n, 0);
	expect_sense(CDB(0x28, [2] = 0xff, [8] = 1), 0, S_LBA);
	ck_assert_uint_eq(cmd.task.sense[0], 0x72);
	ck_assert_int_eq(run_on(1, CDB(0x00), 0, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x062a01);
	ck_assert_int_eq(run_on(1, CDB(0x00), 0, 0), SCSI_GOOD);
	/* REQUEST SENSE goes by its own bit */
	expect_good(CDB(0x03, 0, 0, 0, 252), 0, 252);
	ck_assert_uint_eq(in_buf[0], 0x70);
	expect_good(CDB(0x03, 1, 0, 0, 252), 0, 252);
	ck_assert_uint_eq(in_buf[0], 0x72);
	/* SWP */
	out_buf[8] |= 0x08;
	expect_good(CDB(0x15, 0x10, 0, 0, n), n, 0);
	expect_sense(CDB(0x2a, [8] = 1), 512, S_PROTECT);
	expect_good(CDB(0x1a, 0x08, 0x0a, 0, 255), 0, 255);
	ck_assert_uint_eq(in_buf[2], 0x90);
	ck_assert_uint_eq(in_buf[8] & 0x08, 0x08);
	/* what may not change: nothing at all changes */
	fetch_page(0x0a);
	out_buf[8] &= 0xf7;
	out_buf[7] ^= 0x20;
	expect_sense(CDB(0x15, 0x10, 0, 0, n), n, S_PARAM);
	expect_sense(CDB(0x2a, [8] = 1), 512, S_PROTECT);
	out_buf[7] ^= 0x20;
	expect_good(CDB(0x15, 0x10, 0, 0, n), n, 0);
	expect_good(CDB(0x2a, [8] = 1), 512, 0);
	/* a cache that is not there */
	n = fetch_page(0x08);
	out_buf[6] |= 0x04;
	expect_sense(CDB(0x15, 0x10, 0, 0, n), n, S_PARAM);
	/* lists that are not lists */
	n = fetch_page(0x0a);
	expect_sense(CDB(0x15, 0x10, 0, 0, n), n - 1, S_LENGTH);
	expect_sense(CDB(0x15, 0x10, 0, 0, n - 1), n, S_LENGTH);
	expect_sense(CDB(0x15, 0x10, 0, 0, 3), 3, S_LENGTH);
	expect_sense(CDB(0x15, 0x00, 0, 0, n), n, S_CDB);
	out_buf[5] = 9;
	expect_sense(CDB(0x15, 0x10, 0, 0, n), n, S_PARAM);
	out_buf[4] = 0x2a;
	expect_sense(CDB(0x15, 0x10, 0, 0, n), n, S_PARAM);
	out_buf[3] = 8;
	expect_sense(CDB(0x15, 0x10, 0, 0, 11), 11, S_LENGTH);
	out_buf[3] = 5;
	expect_sense(CDB(0x15, 0x10, 0, 0, 12), 12, S_PARAM);
	/* block descriptors: as it is, and not */
	memset(out_buf, 0, 16);
	out_buf[3] = 8;
	put_be32(out_buf + 4, BLOCKS);
	put_be24(out_buf + 9, 512);
	expect_good(CDB(0x15, 0x10, 0, 0, 12), 12, 0);
	put_be24(out_buf + 9, 4096);
	expect_sense(CDB(0x15, 0x10, 0, 0, 12), 12, S_PARAM);
}
END_TEST

START_TEST(supported_opcodes)
{
	unsigned n = 0, size;

	expect_good(CDB(0xa3, 0x0c, 0x80, [8] = 0x10), 0, 4096);
	size = get_be32(in_buf) + 4;
	ck_assert_uint_eq(size, cmd.task.in_len);
	ck_assert_uint_eq(size, 4 + 20 * scsi_ncommands);
	for (unsigned at = 4; at < size; at += 20, n++) {
		ck_assert_uint_eq(in_buf[at], scsi_commands[n].opcode);
		ck_assert_uint_eq(in_buf[at + 5], 0x02 | scsi_commands[n].has_action);
		ck_assert_uint_eq(get_be16(in_buf + at + 6), scsi_commands[n].cdb_len);
		ck_assert_uint_eq(get_be16(in_buf + at + 8), 10);
	}
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *c = &scsi_commands[i];
		uint8_t one = c->has_action ? 2 : 1, other = c->has_action ? 1 : 2;

		expect_good(CDB(0xa3, 0x0c, one, c->opcode, 0, c->action, [9] = 64), 0, 64);
		ck_assert_uint_eq(in_buf[1], 3);
		ck_assert_uint_eq(get_be16(in_buf + 2), c->cdb_len);
		ck_assert_mem_eq(in_buf + 4, c->usage, c->cdb_len);
		expect_sense(CDB(0xa3, 0x0c, other, c->opcode, 0, c->action, [9] = 64), 0, S_CDB);
		expect_good(CDB(0xa3, 0x0c, 0x83, c->opcode, 0, c->action, [9] = 64), 0, 64);
		ck_assert_uint_eq(in_buf[1], 0x83);
		ck_assert_uint_eq(cmd.task.in_len, 4u + c->cdb_len + 12);
	}
	expect_good(CDB(0xa3, 0x0c, 0x01, 0xff, [9] = 64), 0, 64);
	ck_assert_uint_eq(in_buf[1], 1);
	expect_good(CDB(0xa3, 0x0c, 0x03, 0x28, 0, 7, [9] = 64), 0, 64);
	ck_assert_uint_eq(in_buf[1], 1);
	expect_sense(CDB(0xa3, 0x0c, 0x04, 0x28, [9] = 64), 0, S_CDB);
}
END_TEST

START_TEST(stop_and_start)
{
	expect_good(CDB(0x1b), 0, 0);
	ck_assert_uint_eq(rig.disk->seen[VOL_FLUSH], 1);
	expect_sense(CDB(0x00), 0, 0x020402);
	expect_sense(CDB(0x28, [8] = 1), 0, 0x020402);
	expect_good(CDB(0x12, 0, 0, 0, 96), 0, 96);
	expect_good(CDB(0x03, 0, 0, 0, 96), 0, 96);
	ck_assert_uint_eq(in_buf[2], 2);
	expect_good(CDB(0x1b, 0, 0, 0, 1), 0, 0);
	expect_good(CDB(0x00), 0, 0);
	expect_sense(CDB(0x1b, 0, 0, 0, 2), 0, S_CDB);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {inquiry,     identification,    capacity_and_limits, mode_sense,
				      mode_select, supported_opcodes, stop_and_start};
	Suite *suite = suite_create("scsi_unit");
	TCase *tcase = tcase_create("unit");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
