/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tasks outlive their connection: cut at every step, taken over, finished; or not, and ended in time. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/iscsirig.h"

#define KEYS                                                                                                 \
	"ErrorRecoveryLevel=2\0MaxConnections=2\0InitialR2T=No\0ImmediateData=Yes\0MaxOutstandingR2T=2\0"    \
	"MaxBurstLength=4096\0FirstBurstLength=4096\0MaxRecvDataSegmentLength=1024\0"
#define OPCODE(raw) ((raw)->bhs[0] & ISCSI_OPCODE_MASK)
#define LEN (16u << 10)
#define PDUS (LEN / 1024)

static struct iscsirig rig;
static struct raw a, b;
static uint8_t out[LEN], in[LEN], old[LEN];

/* Pings come whenever an acknowledgement is late. */
static int
next_pdu(struct raw *raw)
{
	int rc;

	do
		rc = raw_recv(raw);
	while (rc == 0 && OPCODE(raw) == ISCSI_NOP_IN);
	return rc;
}

static void
lead(const char *more, size_t len)
{
	char keys[512];

	memcpy(keys, KEYS, sizeof(KEYS) - 1);
	memcpy(keys + sizeof(KEYS) - 1, more, len);
	ck_assert_int_eq(raw_connect(&a, rig.address), 0);
	ck_assert_int_eq(raw_login(&a, RIG_INITIATOR, RIG_TARGET, keys, sizeof(KEYS) - 1 + len), 0);
	a.max_send = 1024;
	a.immediate = false;
	ck_assert_int_eq(raw_ready(&a, 0), 0);
	ck_assert_int_eq(raw_write(&a, 0, 0, LEN / 512, 512, old), 0);
}

static void
setup(void)
{
	for (unsigned i = 0; i < LEN; i++) {
		out[i] = (uint8_t)(i * 7 + i / 512);
		old[i] = (uint8_t)(i * 3 + 1);
	}
	iscsirig_init(&rig, NULL, 0);
	lead("", 0);
}

static void
teardown(void)
{
	raw_close(&a);
	raw_close(&b);
	iscsirig_fini(&rig);
}

/* b joins the session of a; the login status. */
static int
join(uint16_t cid, const char *keys, size_t len)
{
	int rc;

	ck_assert_int_eq(raw_connect(&b, rig.address), 0);
	memcpy(b.isid, a.isid, sizeof(b.isid));
	b.tsih = a.tsih;
	b.cid = cid;
	b.cmdsn = a.cmdsn;
	b.itt = a.itt + 1000;
	b.immediate = false;
	rc = raw_login(&b, RIG_INITIATOR, RIG_TARGET, keys, len);
	b.max_send = 1024;
	return rc;
}

static void
cut(void)
{
	long n = iscsirig_counter(&rig, "closed_peer") + iscsirig_counter(&rig, "closed_socket_error");

	raw_close(&a);
	while (iscsirig_counter(&rig, "closed_peer") + iscsirig_counter(&rig, "closed_socket_error") == n)
		;
}

#define SEGMENT "MaxRecvDataSegmentLength=1024\0"

/* The other one goes on; how, changes: the same CID, another one after a logout, another one. */
static void
take_place(int how)
{
	uint8_t bhs[RAW_BHS];

	if (how == 2)
		cut();
	ck_assert_int_eq(join(how == 0 ? 0 : 1, SEGMENT, sizeof(SEGMENT) - 1), 0);
	if (how != 1)
		return;
	raw_request(&b, bhs, ISCSI_LOGOUT_REQUEST, 0x80 | ISCSI_LOGOUT_RECOVERY, true);
	put_be16(bhs + 20, 0);
	ck_assert_int_eq(raw_send(&b, bhs, NULL, 0), 0);
	ck_assert_int_eq(next_pdu(&b), 0);
	ck_assert_int_eq(OPCODE(&b), ISCSI_LOGOUT_RESPONSE);
	ck_assert_int_eq(b.bhs[2], ISCSI_LOGOUT_OK);
}

static int
reassign(uint32_t itt, uint32_t datasn)
{
	uint8_t bhs[RAW_BHS];

	raw_request(&b, bhs, ISCSI_TMF_REQUEST, 0x80 | ISCSI_TMF_TASK_REASSIGN, true);
	put_be32(bhs + 20, itt);
	put_be32(bhs + 36, datasn);
	ck_assert_int_eq(raw_send(&b, bhs, NULL, 0), 0);
	do
		ck_assert_int_eq(next_pdu(&b), 0);
	while (OPCODE(&b) != ISCSI_TMF_RESPONSE);
	return b.bhs[2];
}

static uint32_t
begin_write(uint8_t flags, uint32_t now)
{
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, true, 0, LEN / 512);
	return raw_command(&a, 0, cdb, 16, flags, LEN, out, now);
}

/* Answers R2Ts, at most `most` PDUs; the status, or -1 when there were more. */
static int
serve(struct raw *raw, uint32_t itt, unsigned most)
{
	for (;;) {
		uint32_t ttt, offset, len;

		ck_assert_int_eq(next_pdu(raw), 0);
		if (OPCODE(raw) == ISCSI_NOP_IN)
			continue;
		if (OPCODE(raw) != ISCSI_R2T)
			break;
		ttt = get_be32(raw->bhs + 20);
		offset = get_be32(raw->bhs + 40);
		len = get_be32(raw->bhs + 44);
		for (uint32_t at = 0, sn = 0; at < len; at += 1024, sn++) {
			if (!most--)
				return -1;
			ck_assert_int_eq(raw_data_out(raw, itt, ttt, sn, offset + at, at + 1024 >= len,
						      out + offset + at, min_of(1024u, len - at)),
					 0);
		}
	}
	ck_assert_int_eq(OPCODE(raw), ISCSI_SCSI_RESPONSE);
	ck_assert_uint_eq(get_be32(raw->bhs + 16), itt);
	return raw->bhs[3];
}

static void
expect(const uint8_t *what)
{
	ck_assert_int_eq(raw_read(&b, 0, 0, LEN / 512, 512, in), 0);
	ck_assert_mem_eq(in, what, LEN);
}

/* _i: after how many PDUs, and how the place is taken. */
START_TEST(a_write_is_cut_anywhere)
{
	uint32_t itt = begin_write(0xa1, 0);

	ck_assert_int_eq(serve(&a, itt, (unsigned)_i % PDUS), -1);
	take_place(_i / (int)PDUS % 3);
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(serve(&b, itt, 1000), 0);
	expect(out);
	ck_assert_int_eq(iscsirig_counter(&rig, "reassigned"), 1);
}
END_TEST

START_TEST(unsolicited_data_is_cut)
{
	uint32_t itt = begin_write(0x21, 1024);

	for (uint32_t i = 0; i < (uint32_t)_i; i++)
		ck_assert_int_eq(raw_data_out(&a, itt, UINT32_MAX, i, (i + 1) * 1024, false,
					      out + (i + 1) * 1024, 1024),
				 0);
	ck_assert_int_eq(raw_tmf(&a, ISCSI_TMF_ABORT_TASK, 0, 4711, a.cmdsn - 9), ISCSI_TMF_NO_TASK);
	take_place(_i);
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(serve(&b, itt, 1000), 0);
	expect(out);
}
END_TEST

/* In the middle of a PDU. */
START_TEST(a_pdu_is_cut)
{
	uint8_t bhs[RAW_BHS] = {ISCSI_DATA_OUT, 0};
	uint32_t itt = begin_write(0xa1, 0);

	ck_assert_int_eq(next_pdu(&a), 0);
	memcpy(bhs + 16, a.bhs + 16, 8);
	put_be24(bhs + 5, 1024);
	ck_assert_int_eq(raw_bytes(&a, bhs, sizeof(bhs)), 0);
	ck_assert_int_eq(raw_bytes(&a, old, 700), 0);
	take_place(_i);
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(serve(&b, itt, 1000), 0);
	expect(out);
}
END_TEST

START_TEST(what_runs_runs_on)
{
	uint32_t itt;

	disk_hold(rig.disk, VOL_WRITE);
	itt = begin_write(0xa1, 0);
	for (unsigned n = 0; n < 4; n++) {
		ck_assert_int_eq(next_pdu(&a), 0);
		ck_assert_int_eq(OPCODE(&a), ISCSI_R2T);
		ck_assert_int_eq(
			raw_data_out(&a, itt, get_be32(a.bhs + 20), 0, n * 4096, true, out + n * 4096, 4096),
			0);
	}
	disk_wait_held(rig.disk, 1);
	take_place(_i % 3);
	if (_i < 3) {
		/* it ends while it is nobody's */
		disk_release(rig.disk);
		ck_assert_int_eq(raw_ready(&b, 0), 0);
	}
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_COMPLETE);
	disk_release(rig.disk);
	ck_assert_int_eq(serve(&b, itt, 0), 0);
	expect(out);
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_NO_TASK);
}
END_TEST

/* _i: the DataSN from which on it is wanted; all was sent, nothing acknowledged. */
START_TEST(a_read_goes_on)
{
	uint32_t before = a.expstatsn, itt;
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, false, 0, LEN / 512);
	itt = raw_command(&a, 0, cdb, 16, 0xc1, LEN, NULL, 0);
	ck_assert_int_eq(raw_finish(&a, itt, in, LEN, NULL), 0);
	a.expstatsn = before;
	take_place(_i % 3);
	/* what is written now is not what was read then */
	ck_assert_int_eq(raw_write(&b, 0, 0, LEN / 512, 512, out), 0);
	ck_assert_int_eq(reassign(itt, (uint32_t)_i), ISCSI_TMF_COMPLETE);
	for (uint32_t i = (uint32_t)_i; i < PDUS; i++) {
		ck_assert_int_eq(next_pdu(&b), 0);
		ck_assert_int_eq(OPCODE(&b), ISCSI_DATA_IN);
		ck_assert_uint_eq(get_be32(b.bhs + 36), i);
		ck_assert_mem_eq(b.data, old + i * 1024, 1024);
	}
	ck_assert_int_eq(next_pdu(&b), 0);
	ck_assert_int_eq(OPCODE(&b), ISCSI_SCSI_RESPONSE);
	ck_assert_uint_eq(get_be32(b.bhs + 36), PDUS);
	expect(out);
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_NO_TASK);
}
END_TEST

/* A read whose Data-In came as far as this; acknowledged, by a DataACK, what _i says. */
static uint32_t
cut_read(uint32_t pdus, uint32_t acked)
{
	uint32_t itt, ttt = 0;
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, false, 0, LEN / 512);
	itt = raw_command(&a, 0, cdb, 16, 0xc1, LEN, NULL, 0);
	for (uint32_t i = 0; i < pdus; i++) {
		ck_assert_int_eq(next_pdu(&a), 0);
		ck_assert_int_eq(OPCODE(&a), ISCSI_DATA_IN);
		if (a.bhs[1] & ISCSI_DATA_ACK)
			ttt = get_be32(a.bhs + 20);
	}
	if (acked) {
		uint8_t bhs[RAW_BHS] = {ISCSI_SNACK_REQUEST, 0x82};

		put_be32(bhs + 16, UINT32_MAX);
		put_be32(bhs + 20, ttt);
		put_be32(bhs + 28, a.expstatsn);
		put_be32(bhs + 40, acked);
		ck_assert_int_eq(raw_send(&a, bhs, NULL, 0), 0);
		/* that it has come */
		ck_assert_int_eq(raw_tmf(&a, ISCSI_TMF_ABORT_TASK, 0, 4711, a.cmdsn - 9), ISCSI_TMF_NO_TASK);
	}
	cut();
	return itt;
}

static void
expect_rest(uint32_t itt, uint32_t datasn, uint32_t at, uint32_t segment)
{
	while (at < LEN) {
		uint32_t len = min_of(segment, 4096 - at % 4096);

		ck_assert_int_eq(next_pdu(&b), 0);
		ck_assert_int_eq(OPCODE(&b), ISCSI_DATA_IN);
		ck_assert_uint_eq(get_be32(b.bhs + 36), datasn++);
		ck_assert_uint_eq(get_be32(b.bhs + 40), at);
		ck_assert_uint_eq(b.len, len);
		ck_assert_mem_eq(b.data, old + at, len);
		at += len;
	}
	ck_assert_int_eq(next_pdu(&b), 0);
	ck_assert_int_eq(OPCODE(&b), ISCSI_SCSI_RESPONSE);
	ck_assert_uint_eq(get_be32(b.bhs + 16), itt);
	ck_assert_uint_eq(get_be32(b.bhs + 36), datasn);
}

/* _i: ExpDataSN; a value that cannot be is ignored (11.5.6). */
START_TEST(other_segments_begin_where_he_is)
{
	static const uint32_t expdatasn[] = {0, 1, 6, 16, 17, 99};
	uint32_t itt = cut_read(PDUS, 0), want = expdatasn[_i] > PDUS ? 0 : expdatasn[_i];

	ck_assert_int_eq(join(1, "MaxRecvDataSegmentLength=768\0", 29), 0);
	ck_assert_int_eq(reassign(itt, expdatasn[_i]), ISCSI_TMF_COMPLETE);
	expect_rest(itt, want, want * 1024, 768);
}
END_TEST

/* 0: as was acknowledged by then; and a value before that is none. */
START_TEST(what_was_acknowledged_stays_so)
{
	uint32_t itt = cut_read(PDUS, 8);

	ck_assert_int_eq(join(1, _i < 3 ? "MaxRecvDataSegmentLength=768\0" : SEGMENT, _i < 3 ? 29 : 30), 0);
	ck_assert_int_eq(reassign(itt, _i % 3 == 0 ? 0 : _i % 3 == 1 ? 3 : 9), ISCSI_TMF_COMPLETE);
	if (_i % 3 < 2)
		expect_rest(itt, 8, 8192, _i < 3 ? 768 : 1024);
	else
		expect_rest(itt, 9, 9 * 1024, _i < 3 ? 768 : 1024);
}
END_TEST

START_TEST(who_cannot_take_over)
{
	uint32_t itt = begin_write(0xa1, 0);
	uint8_t bhs[RAW_BHS];

	ck_assert_int_eq(next_pdu(&a), 0);
	ck_assert_int_eq(join(1, SEGMENT, sizeof(SEGMENT) - 1), 0);
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_STILL_ALLEGIANT);
	ck_assert_int_eq(reassign(itt + 1, 0), ISCSI_TMF_NO_TASK);
	for (unsigned i = 0; i < 2; i++) {
		/* one that is not there, and itself */
		raw_request(&b, bhs, ISCSI_LOGOUT_REQUEST, 0x80 | ISCSI_LOGOUT_RECOVERY, true);
		put_be16(bhs + 20, i ? 1 : 9);
		ck_assert_int_eq(raw_send(&b, bhs, NULL, 0), 0);
		ck_assert_int_eq(next_pdu(&b), 0);
		ck_assert_int_eq(OPCODE(&b), ISCSI_LOGOUT_RESPONSE);
		ck_assert_int_eq(b.bhs[2], i ? ISCSI_LOGOUT_NO_RECOVERY : ISCSI_LOGOUT_NO_CID);
	}
	ck_assert_int_eq(serve(&a, itt, 0), -1);
}
END_TEST

/* Its CmdSN had not come: the command is not there, and may come again. */
START_TEST(one_that_waits_for_its_turn_is_forgotten)
{
	static const uint8_t tur[6];
	uint32_t sn = a.cmdsn, itt;

	a.cmdsn = sn + 1;
	itt = raw_command(&a, 0, tur, 6, 0x81, 0, NULL, 0);
	ck_assert_int_eq(raw_tmf(&a, ISCSI_TMF_ABORT_TASK, 0, 4711, sn - 9), ISCSI_TMF_NO_TASK);
	take_place(2);
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_NO_TASK);
	b.cmdsn = sn + 1;
	raw_command(&b, 0, tur, 6, 0x81, 0, NULL, 0);
	b.cmdsn = sn;
	raw_command(&b, 0, tur, 6, 0x81, 0, NULL, 0);
	ck_assert_int_eq(next_pdu(&b), 0);
	ck_assert_int_eq(next_pdu(&b), 0);
	ck_assert_uint_eq(b.expcmdsn, sn + 2);
}
END_TEST

START_TEST(task_management_reaches_what_was_lost)
{
	uint32_t itt = begin_write(0xa1, 0);

	ck_assert_int_eq(serve(&a, itt, 5), -1);
	take_place(_i);
	b.cmdsn++;
	ck_assert_int_eq(raw_tmf(&b, ISCSI_TMF_LU_RESET, 0, 0, 0), ISCSI_TMF_COMPLETE);
	b.cmdsn--;
	ck_assert_int_eq(reassign(itt, 0), ISCSI_TMF_NO_TASK);
	ck_assert_int_eq(raw_ready(&b, 0), 0);
	expect(old);
}
END_TEST

START_TEST(time_is_up)
{
	uint32_t itt;
	int rc;

	raw_close(&a);
	lead("DefaultTime2Wait=0\0DefaultTime2Retain=1\0", 40);
	itt = begin_write(0xa1, 0);
	ck_assert_int_eq(serve(&a, itt, 5), -1);
	cut();
	ck_assert(iscsirig_await(&rig, "closed_unrecovered", 1));
	rc = join(0, "", 0);
	ck_assert_int_eq(rc, ISCSI_LOGIN_NO_SESSION);
	ck_assert(iscsirig_await_sessions(&rig, 0));
}
END_TEST

/* The initiator comes with a new session: nothing of the old one takes effect after its login. */
START_TEST(a_new_session_ends_what_was_lost)
{
	uint32_t itt = begin_write(0xa1, 0);

	ck_assert_int_eq(serve(&a, itt, 9), -1);
	cut();
	lead("", 0);
	ck_assert(iscsirig_await_connections(&rig, 1));
	ck_assert_int_eq(raw_read(&a, 0, 0, LEN / 512, 512, in), 0);
	ck_assert_mem_eq(in, old, LEN);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi_erl2");
	TCase *tcase = tcase_create("recovery");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, a_write_is_cut_anywhere, 0, 3 * PDUS);
	tcase_add_loop_test(tcase, unsolicited_data_is_cut, 0, 3);
	tcase_add_loop_test(tcase, a_pdu_is_cut, 0, 3);
	tcase_add_loop_test(tcase, what_runs_runs_on, 0, 6);
	tcase_add_loop_test(tcase, a_read_goes_on, 0, PDUS);
	tcase_add_loop_test(tcase, other_segments_begin_where_he_is, 0, 6);
	tcase_add_loop_test(tcase, what_was_acknowledged_stays_so, 0, 6);
	tcase_add_test(tcase, who_cannot_take_over);
	tcase_add_test(tcase, one_that_waits_for_its_turn_is_forgotten);
	tcase_add_loop_test(tcase, task_management_reaches_what_was_lost, 0, 3);
	tcase_add_test(tcase, time_is_up);
	tcase_add_test(tcase, a_new_session_ends_what_was_lost);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
