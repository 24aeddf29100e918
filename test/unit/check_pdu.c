/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/util.h"
#include "gateway/iscsi/pdu.h"

static const struct pdu_limits plain = {.max_data = 8192, .max_ahs = ISCSI_AHS_MAX};

START_TEST(decodes_every_field)
{
	uint8_t bhs[ISCSI_BHS_LEN];
	struct pdu pdu;

	for (unsigned i = 0; i < sizeof(bhs); i++)
		bhs[i] = (uint8_t)i;
	bhs[0] = ISCSI_IMMEDIATE | ISCSI_SCSI_COMMAND;
	bhs[1] = ISCSI_FINAL | ISCSI_CMD_WRITE;
	bhs[4] = 3;
	put_be24(bhs + 5, 4093);
	ck_assert_int_eq(pdu_decode(bhs, &plain, &pdu), 0);
	ck_assert_uint_eq(pdu.opcode, ISCSI_SCSI_COMMAND);
	ck_assert(pdu.immediate && pdu.final);
	ck_assert_uint_eq(pdu.flags, 0xa0);
	ck_assert_uint_eq(pdu.ahs_len, 12);
	ck_assert_uint_eq(pdu.data_len, 4093);
	ck_assert_uint_eq(pdu.pad_len, 3);
	ck_assert_mem_eq(pdu.lun, bhs + 8, 8);
	ck_assert_uint_eq(pdu.itt, 0x10111213);
	ck_assert_uint_eq(pdu.word20, 0x14151617);
	ck_assert_uint_eq(pdu.cmdsn, 0x18191a1b);
	ck_assert_uint_eq(pdu.expstatsn, 0x1c1d1e1f);
	ck_assert_uint_eq(pdu.word32, 0x20212223);
	ck_assert_uint_eq(pdu.word36, 0x24252627);
	ck_assert_uint_eq(pdu.word40, 0x28292a2b);
}
END_TEST

START_TEST(lengths_are_limited_before_anything_else)
{
	struct pdu_limits limits = {.max_data = 8192, .max_ahs = 0};
	uint8_t bhs[ISCSI_BHS_LEN] = {0};
	struct pdu pdu;

	put_be24(bhs + 5, 8192);
	ck_assert_int_eq(pdu_decode(bhs, &limits, &pdu), 0);
	put_be24(bhs + 5, 8193);
	ck_assert_int_eq(pdu_decode(bhs, &limits, &pdu), -EMSGSIZE);
	put_be24(bhs + 5, 0xffffff);
	ck_assert_int_eq(pdu_decode(bhs, &limits, &pdu), -EMSGSIZE);
	put_be24(bhs + 5, 0);
	bhs[4] = 1;
	ck_assert_int_eq(pdu_decode(bhs, &limits, &pdu), -EMSGSIZE);
	limits.max_ahs = 4;
	ck_assert_int_eq(pdu_decode(bhs, &limits, &pdu), 0);
	bhs[4] = 255;
	limits.max_ahs = ISCSI_AHS_MAX;
	ck_assert_int_eq(pdu_decode(bhs, &limits, &pdu), 0);
	ck_assert_uint_eq(pdu.ahs_len, 1020);
}
END_TEST

START_TEST(padding_and_digests_find_their_places)
{
	static const struct {
		uint32_t data, pad, tail, tail_digest;
	} rows[] = {{0, 0, 0, 0}, {1, 3, 3, 7}, {2, 2, 2, 6}, {3, 1, 1, 5}, {4, 0, 0, 4}, {8189, 3, 3, 7}};
	struct pdu_limits digests = {
		.max_data = 8192, .max_ahs = 8, .header_digest = true, .data_digest = true};
	uint8_t bhs[ISCSI_BHS_LEN] = {0};
	struct pdu pdu;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bhs[4] = (uint8_t)(i % 3);
		put_be24(bhs + 5, rows[i].data);
		ck_assert_int_eq(pdu_decode(bhs, &digests, &pdu), 0);
		ck_assert_uint_eq(pdu.pad_len, rows[i].pad);
		ck_assert_uint_eq(pdu_head_len(&pdu, &plain), 48 + 4 * (i % 3));
		ck_assert_uint_eq(pdu_head_len(&pdu, &digests), 52 + 4 * (i % 3));
		ck_assert_uint_eq(pdu_tail_len(&pdu, &plain), rows[i].tail);
		ck_assert_uint_eq(pdu_tail_len(&pdu, &digests), rows[i].tail_digest);
	}
}
END_TEST

START_TEST(header_digest_covers_header_and_ahs)
{
	uint8_t head[ISCSI_BHS_LEN + 8 + 4];

	for (unsigned i = 0; i < sizeof(head); i++)
		head[i] = (uint8_t)(i * 7);
	put_le32(head + ISCSI_BHS_LEN + 8, crc32c(0, head, ISCSI_BHS_LEN + 8));
	ck_assert(pdu_head_digest_ok(head, 8));
	for (unsigned i = 0; i < sizeof(head); i++) {
		head[i] ^= 0x10;
		ck_assert(!pdu_head_digest_ok(head, 8));
		head[i] ^= 0x10;
	}
}
END_TEST

START_TEST(extended_cdb_and_bidirectional_length)
{
	/* 16 more CDB bytes (AHSLength 17), then the bidirectional length (AHSLength 5) */
	uint8_t ahs[20 + 8] = {0, 17, ISCSI_AHS_CDB};
	struct pdu_ahs got;

	for (unsigned i = 0; i < 16; i++)
		ahs[4 + i] = (uint8_t)(0xa0 + i);
	put_be16(ahs + 20, 5);
	ahs[22] = ISCSI_AHS_BIDI;
	put_be32(ahs + 24, 123456);
	ck_assert_int_eq(pdu_ahs_parse(ahs, sizeof(ahs), &got), 0);
	ck_assert_uint_eq(got.cdb_len, 16);
	ck_assert_ptr_eq(got.cdb, ahs + 4);
	ck_assert(got.has_bidi);
	ck_assert_uint_eq(got.bidi_len, 123456);
	ck_assert_int_eq(pdu_ahs_parse(ahs, 0, &got), 0);
	ck_assert_uint_eq(got.cdb_len, 0);
	ck_assert(!got.has_bidi);
}
END_TEST

START_TEST(broken_additional_headers_are_refused)
{
	static const struct {
		uint8_t bytes[16];
		uint32_t len;
	} rows[] = {
		{{0, 5, 2}, 4},                          /* cut off */
		{{0, 5, 2, 0, 0, 0}, 6},                 /* cut off within a word */
		{{0, 4, 2, 0, 0, 0, 0, 1}, 8},           /* bidirectional of a wrong length */
		{{0, 0, 1, 0}, 4},                       /* empty */
		{{0, 1, 1, 0}, 4},                       /* a CDB of nothing */
		{{0xff, 0xff, 1, 0}, 4},                 /* longer than there is */
		{{0, 5, 3, 0, 0, 0, 0, 0}, 8},           /* an unknown type */
		{{0, 5, 2, 0, 0, 0, 0, 1, 0, 5, 2}, 16}, /* twice */
	};
	struct pdu_ahs got;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ck_assert_msg(pdu_ahs_parse(rows[i].bytes, rows[i].len, &got) == -EINVAL, "row %zu", i);
}
END_TEST

START_TEST(residuals_say_over_under_and_by_how_much)
{
	static const struct {
		uint32_t expected;
		uint64_t actual;
		uint8_t flags;
		uint32_t count;
	} rows[] = {
		{512, 512, 0, 0},
		{0, 512, ISCSI_RESIDUAL_OVERFLOW, 512},
		{10000, 512, ISCSI_RESIDUAL_UNDERFLOW, 9488},
		{200, 512, ISCSI_RESIDUAL_OVERFLOW, 312},
		{0, 1ull << 40, ISCSI_RESIDUAL_OVERFLOW, UINT32_MAX},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pdu_residual r = {0};

		pdu_residual_set(&r, rows[i].expected, rows[i].actual);
		ck_assert_uint_eq(r.flags, rows[i].flags);
		ck_assert_uint_eq(r.count, rows[i].count);
	}
}
END_TEST

/* Positions by RFC 7143 clause 11. */
START_TEST(responses_are_laid_out_as_the_rfc_says)
{
	static const uint8_t lun[8] = {0, 5}, isid[6] = {0x80, 1, 2, 3, 4, 5};
	const struct pdu_numbers n = {.statsn = 0x01020304, .expcmdsn = 0x11121314, .maxcmdsn = 0x21222324};
	struct pdu_residual residual = {.flags = ISCSI_RESIDUAL_UNDERFLOW, .count = 77, .bidi_count = 88};
	struct pdu_data_in data = {.itt = 9, .datasn = 3, .offset = 4096, .len = 512, .final = true};
	uint8_t b[ISCSI_BHS_LEN];

	pdu_scsi_response(b, &n, 0xaabbccdd, 0, 2, &residual, 6, 20);
	ck_assert_uint_eq(b[0], 0x21);
	ck_assert_uint_eq(b[1], 0x82);
	ck_assert_uint_eq(b[3], 2);
	ck_assert_uint_eq(get_be24(b + 5), 20);
	ck_assert_uint_eq(get_be32(b + 16), 0xaabbccdd);
	ck_assert_uint_eq(get_be32(b + 24), n.statsn);
	ck_assert_uint_eq(get_be32(b + 28), n.expcmdsn);
	ck_assert_uint_eq(get_be32(b + 32), n.maxcmdsn);
	ck_assert_uint_eq(get_be32(b + 36), 6);
	ck_assert_uint_eq(get_be32(b + 40), 88);
	ck_assert_uint_eq(get_be32(b + 44), 77);

	pdu_data_in(b, &n, &data);
	ck_assert_uint_eq(b[0], 0x25);
	ck_assert_uint_eq(b[1], 0x80);
	ck_assert_uint_eq(get_be32(b + 20), ISCSI_TAG_NONE);
	/* 11.7.4: no StatSN without a status */
	ck_assert_uint_eq(get_be32(b + 24), 0);
	ck_assert_uint_eq(get_be32(b + 36), 3);
	ck_assert_uint_eq(get_be32(b + 40), 4096);
	data.has_status = true;
	data.residual = residual;
	pdu_data_in(b, &n, &data);
	ck_assert_uint_eq(b[1], 0x83);
	ck_assert_uint_eq(get_be32(b + 24), n.statsn);
	ck_assert_uint_eq(get_be32(b + 44), 77);

	pdu_r2t(b, &n, lun, 9, 0x1234, 2, 65536, 262144);
	ck_assert_uint_eq(b[0], 0x31);
	ck_assert_uint_eq(b[1], 0x80);
	ck_assert_mem_eq(b + 8, lun, 8);
	ck_assert_uint_eq(get_be32(b + 20), 0x1234);
	ck_assert_uint_eq(get_be32(b + 36), 2);
	ck_assert_uint_eq(get_be32(b + 40), 65536);
	ck_assert_uint_eq(get_be32(b + 44), 262144);

	pdu_login_response(b, &n, 0x87, isid, 0x0102, 7, 0x0203, 33);
	ck_assert_uint_eq(b[0], 0x23);
	ck_assert_uint_eq(b[1], 0x87);
	ck_assert_uint_eq(get_be24(b + 5), 33);
	ck_assert_mem_eq(b + 8, isid, 6);
	ck_assert_uint_eq(get_be16(b + 14), 0x0102);
	ck_assert_uint_eq(get_be16(b + 36), 0x0203);

	pdu_reject(b, &n, ISCSI_REJECT_PROTOCOL, 48);
	ck_assert_uint_eq(b[0], 0x3f);
	ck_assert_uint_eq(b[2], ISCSI_REJECT_PROTOCOL);
	ck_assert_uint_eq(get_be32(b + 16), ISCSI_TAG_NONE);

	pdu_async(b, &n, ISCSI_ASYNC_LOGOUT, 20, 1, 2, 3);
	ck_assert_uint_eq(get_be24(b + 5), 20);
	ck_assert_uint_eq(b[36], 1);
	ck_assert_uint_eq(get_be16(b + 38), 1);
	ck_assert_uint_eq(get_be16(b + 40), 2);
	ck_assert_uint_eq(get_be16(b + 42), 3);

	pdu_logout_response(b, &n, 5, 1, 2, 20);
	ck_assert_uint_eq(b[2], 1);
	ck_assert_uint_eq(get_be16(b + 40), 2);
	ck_assert_uint_eq(get_be16(b + 42), 20);

	pdu_nop_in(b, &n, lun, ISCSI_TAG_NONE, 0x77, 0);
	ck_assert_uint_eq(b[0], 0x20);
	ck_assert_uint_eq(get_be32(b + 20), 0x77);
	pdu_text_response(b, &n, ISCSI_FINAL, 5, ISCSI_TAG_NONE, 10);
	ck_assert_uint_eq(b[0], 0x24);
	pdu_tmf_response(b, &n, 5, ISCSI_TMF_NO_REASSIGN);
	ck_assert_uint_eq(b[0], 0x22);
	ck_assert_uint_eq(b[2], 4);
}
END_TEST

START_TEST(every_opcode_has_a_name)
{
	ck_assert_str_eq(pdu_opcode_name(ISCSI_LOGIN_REQUEST | ISCSI_IMMEDIATE), "Login Request");
	for (unsigned i = 0; i < 256; i++)
		ck_assert_ptr_nonnull(pdu_opcode_name((uint8_t)i));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pdu");
	TCase *tc = tcase_create("pdu");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_test(tc, decodes_every_field);
	tcase_add_test(tc, lengths_are_limited_before_anything_else);
	tcase_add_test(tc, padding_and_digests_find_their_places);
	tcase_add_test(tc, header_digest_covers_header_and_ahs);
	tcase_add_test(tc, extended_cdb_and_bidirectional_length);
	tcase_add_test(tc, broken_additional_headers_are_refused);
	tcase_add_test(tc, residuals_say_over_under_and_by_how_much);
	tcase_add_test(tc, responses_are_laid_out_as_the_rfc_says);
	tcase_add_test(tc, every_opcode_has_a_name);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
