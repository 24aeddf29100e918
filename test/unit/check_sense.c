/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sense data against bytes written down from SPC-4 4.5. */
#include <check.h>
#include <stdlib.h>

#include "gateway/scsi/scsi_impl.h"

static void
expect(const struct scsi_fail *fail, bool descriptor, const uint8_t *want, unsigned n)
{
	uint8_t buf[SCSI_SENSE_MAX];
	unsigned len;

	memset(buf, 0xaa, sizeof(buf));
	len = scsi_sense_build(fail, descriptor, buf);
	ck_assert_uint_eq(len, n);
	ck_assert_mem_eq(buf, want, n);
}

START_TEST(field_pointer)
{
	struct scsi_fail fail = {
		.code = SE_INVALID_FIELD_CDB, .byte = 0x0103, .bit = 5, .flags = FAIL_CDB | FAIL_BIT};
	static const uint8_t fixed[18] = {0x70, 0, 5, [7] = 10, [12] = 0x24, 0x00, [15] = 0xcd, 0x01, 0x03};
	static const uint8_t descriptor[16] = {0x72, 5,    0x24,        0,    [7] = 8,
					       0x02, 0x06, [12] = 0xcd, 0x01, 0x03};

	expect(&fail, false, fixed, sizeof(fixed));
	expect(&fail, true, descriptor, sizeof(descriptor));
}
END_TEST

START_TEST(parameter_pointer)
{
	struct scsi_fail fail = {.code = SE_INVALID_FIELD_PARAM, .byte = 2, .flags = FAIL_PARAM};
	static const uint8_t fixed[18] = {0x70, 0, 5, [7] = 10, [12] = 0x26, 0x00, [15] = 0x80, 0x00, 0x02};

	expect(&fail, false, fixed, sizeof(fixed));
}
END_TEST

START_TEST(information)
{
	struct scsi_fail fail = {.code = SE_READ_ERROR, .info = 0x12345678, .flags = FAIL_INFO};
	static const uint8_t fixed[18] = {0xf0, 0, 3, 0x12, 0x34, 0x56, 0x78, 10, [12] = 0x11, 0x00};
	static const uint8_t small[20] = {0x72, 3, 0x11, 0, [7] = 12, 0x00, 0x0a, 0x80, 0,
					  0,    0, 0,    0, 0x12,     0x34, 0x56, 0x78};
	static const uint8_t big[20] = {0x72, 3, 0x11, 0, [7] = 12, 0x00, 0x0a, 0x80, 0,
					0,    0, 0,    1, 0,        0,    0,    0};
	static const uint8_t untold[18] = {0x70, 0, 3, [7] = 10, [12] = 0x11, 0x00};

	expect(&fail, false, fixed, sizeof(fixed));
	expect(&fail, true, small, sizeof(small));
	fail.info = 1ull << 32;
	expect(&fail, false, untold, sizeof(untold));
	expect(&fail, true, big, sizeof(big));
}
END_TEST

START_TEST(plain)
{
	struct scsi_fail fail = {.code = SE_NOTHING};
	static const uint8_t fixed[18] = {0x70, [7] = 10};
	static const uint8_t descriptor[8] = {0x72};

	expect(&fail, false, fixed, sizeof(fixed));
	expect(&fail, true, descriptor, sizeof(descriptor));
}
END_TEST

START_TEST(rows)
{
	for (unsigned i = SE_NONE + 1; i < SE_COUNT; i++) {
		const struct scsi_sense_row *row = scsi_sense_row(i);

		ck_assert_ptr_nonnull(row->name);
		/* only CHECK CONDITION has a sense key to tell, and always has one */
		if (i != SE_NOTHING)
			ck_assert_int_eq(row->status == SCSI_CHECK_CONDITION, row->key != KEY_NO_SENSE);
		/* reports and log lines tell errors apart by these */
		for (unsigned k = i + 1; k < SE_COUNT; k++) {
			const struct scsi_sense_row *other = scsi_sense_row(k);

			ck_assert_msg(row->status != other->status || row->key != other->key ||
					      row->code != other->code,
				      "%s and %s look the same", row->name, other->name);
		}
	}
}
END_TEST

START_TEST(volume_errors)
{
	static const struct {
		int status;
		enum vol_op op;
		enum scsi_error error;
	} cases[] = {
		{LG_ECORRUPT, VOL_READ, SE_READ_ERROR},
		{LG_ECORRUPT, VOL_WRITE, SE_READ_ERROR},
		{-EIO, VOL_READ, SE_READ_ERROR},
		{-EIO, VOL_WRITE, SE_WRITE_ERROR},
		{LG_EPOISONED, VOL_FLUSH, SE_INTERNAL_FAILURE},
		{LG_EFENCED, VOL_READ, SE_UNAVAILABLE},
		{-ENOSPC, VOL_WRITE, SE_SPACE_FAILED},
		{-EROFS, VOL_ZERO, SE_WRITE_PROTECTED},
		{LG_EMISCOMPARE, VOL_COMPARE_WRITE, SE_MISCOMPARE},
		{LG_ERANGE, VOL_UNMAP, SE_LBA_RANGE},
		{LG_ESTOPPING, VOL_WRITE, SE_BUSY},
		/* the store is away, or does not let us in: the initiator tries again */
		{-ETIMEDOUT, VOL_READ, SE_BECOMING_READY},
		{-ECONNREFUSED, VOL_READ, SE_BECOMING_READY},
		{-ECONNRESET, VOL_READ, SE_BECOMING_READY},
		{-EACCES, VOL_READ, SE_BECOMING_READY},
		{-EKEYREJECTED, VOL_READ, SE_BECOMING_READY},
		{-EPERM, VOL_WRITE, SE_INTERNAL_FAILURE}, /* whatever it was, not success */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_int_eq(scsi_error_of(cases[i].status, cases[i].op), cases[i].error);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sense");
	TCase *tcase = tcase_create("sense");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, field_pointer);
	tcase_add_test(tcase, parameter_pointer);
	tcase_add_test(tcase, information);
	tcase_add_test(tcase, plain);
	tcase_add_test(tcase, rows);
	tcase_add_test(tcase, volume_errors);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
