/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Responses that order all others of a session, over several connections: what was given before them, and after. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/iscsirig.h"

#define KEYS "MaxConnections=3\0TaskReporting=ResponseFence\0InitialR2T=Yes\0ImmediateData=No\0"
#define OPCODE(raw) ((raw)->bhs[0] & ISCSI_OPCODE_MASK)
#define ITT(raw) get_be32((raw)->bhs + 16)
#define QUIET_MS 30 /* long enough to see a response that should not come; on a slow machine it is missed */

static struct iscsirig rig;
static struct raw a, b, c;
static uint32_t cmdsn; /* the session's */

static void
begin(const char *keys, size_t len)
{
	iscsirig_login(&rig, &a, 1, keys, len);
	a.immediate = false;
	cmdsn = a.cmdsn;
}

/* Log in to the session of a, with this CID. */
static void
join(struct raw *raw, uint16_t cid)
{
	ck_assert_int_eq(raw_connect(raw, rig.address), 0);
	memcpy(raw->isid, a.isid, sizeof(raw->isid));
	raw->tsih = a.tsih;
	raw->cid = cid;
	raw->cmdsn = cmdsn;
	raw->itt = 1000u * (cid + 1u);
	ck_assert_int_eq(raw_login(raw, RIG_INITIATOR, RIG_TARGET, "", 0), 0);
}

static void
setup(void)
{
	b.fd = c.fd = -1;
	iscsirig_init(&rig, NULL, 0);
	begin(KEYS, sizeof(KEYS) - 1);
	join(&b, 1);
}

static void
teardown(void)
{
	raw_close(&a);
	raw_close(&b);
	raw_close(&c);
	iscsirig_fini(&rig);
}

/* -- requests ------------------------------------------------------------ */

static uint32_t
tur(struct raw *raw)
{
	static const uint8_t cdb[6];

	raw->cmdsn = cmdsn++;
	return raw_command(raw, 0, cdb, 6, 0x81, 0, NULL, 0);
}

static uint32_t
tmf(struct raw *raw, uint8_t function)
{
	uint8_t bhs[RAW_BHS];
	uint32_t itt;

	raw->cmdsn = cmdsn;
	itt = raw_request(raw, bhs, ISCSI_TMF_REQUEST, 0x80 | function, true);
	ck_assert_int_eq(raw_send(raw, bhs, NULL, 0), 0);
	return itt;
}

/* -- what comes ---------------------------------------------------------- */

static bool
is_ping(const struct raw *raw)
{
	return OPCODE(raw) == ISCSI_NOP_IN && ITT(raw) == UINT32_MAX;
}

static void
expect(struct raw *raw, uint8_t opcode, uint32_t itt)
{
	do
		ck_assert_int_eq(raw_recv(raw), 0);
	while (is_ping(raw));
	ck_assert_int_eq(OPCODE(raw), opcode);
	ck_assert_uint_eq(ITT(raw), itt);
}

static void
expect_status(struct raw *raw, uint32_t itt, unsigned sense)
{
	expect(raw, ISCSI_SCSI_RESPONSE, itt);
	ck_assert_int_eq(raw->bhs[3], sense ? 2 : 0);
	ck_assert_uint_eq(raw_sense(raw) >> 8, sense);
}

static void
expect_done(struct raw *raw, uint32_t itt)
{
	expect(raw, ISCSI_TMF_RESPONSE, itt);
	ck_assert_int_eq(raw->bhs[2], ISCSI_TMF_COMPLETE);
}

static void
expect_ping(struct raw *raw)
{
	ck_assert_int_eq(raw_recv(raw), 0);
	ck_assert(is_ping(raw));
	ck_assert_uint_eq(get_be32(raw->bhs + 24), raw->expstatsn);
}

/* Nothing but pings. */
static void
expect_nothing(struct raw *raw)
{
	int rc;

	do
		rc = raw_recv_within(raw, QUIET_MS);
	while (rc == 0 && is_ping(raw));
	ck_assert_int_eq(rc, -ETIMEDOUT);
}

/* b has had an answer, and has not said so. */
static void
owe(void)
{
	expect_status(&b, tur(&b), 0);
}

/* What was sent before has come. */
static void
echo(struct raw *raw)
{
	uint8_t bhs[RAW_BHS];
	uint32_t itt;

	raw->cmdsn = cmdsn;
	itt = raw_request(raw, bhs, ISCSI_NOP_OUT, 0x80, true);
	put_be32(bhs + 20, UINT32_MAX);
	ck_assert_int_eq(raw_send(raw, bhs, NULL, 0), 0);
	expect(raw, ISCSI_NOP_IN, itt);
}

/* -- before -------------------------------------------------------------- */

START_TEST(a_reset_waits_for_what_was_given)
{
	static const uint8_t functions[] = {ISCSI_TMF_ABORT_TASK_SET, ISCSI_TMF_CLEAR_TASK_SET,
					    ISCSI_TMF_LU_RESET, ISCSI_TMF_TARGET_WARM_RESET,
					    ISCSI_TMF_TARGET_COLD_RESET};
	uint32_t itt;

	owe();
	itt = tmf(&a, functions[_i]);
	/* it is asked for */
	expect_ping(&b);
	expect_nothing(&a);
	ck_assert_int_eq(raw_ack(&b), 0);
	expect_done(&a, itt);
	if (functions[_i] != ISCSI_TMF_TARGET_COLD_RESET) {
		ck_assert_int_eq(iscsirig_counter(&rig, "fences"), 1);
		return;
	}
	ck_assert_int_eq(raw_wait_closed(&a), 0);
	ck_assert_int_eq(raw_wait_closed(&b), 0);
}
END_TEST

/* These are about one task. */
START_TEST(an_abort_waits_for_nobody)
{
	owe();
	expect(&a, ISCSI_TMF_RESPONSE, tmf(&a, ISCSI_TMF_ABORT_TASK));
	expect(&a, ISCSI_TMF_RESPONSE, tmf(&a, ISCSI_TMF_TASK_REASSIGN));
	expect_status(&b, tur(&b), 0);
	ck_assert_int_eq(iscsirig_counter(&rig, "fences"), 0);
}
END_TEST

START_TEST(one_connection_needs_no_fence)
{
	uint32_t itt;

	raw_close(&b);
	ck_assert(iscsirig_await_connections(&rig, 1));
	expect_status(&a, tur(&a), 0);
	itt = tmf(&a, ISCSI_TMF_LU_RESET);
	ck_assert_int_eq(raw_recv(&a), 0);
	ck_assert_int_eq(OPCODE(&a), ISCSI_TMF_RESPONSE);
	ck_assert_uint_eq(ITT(&a), itt);
	itt = tur(&a);
	ck_assert_int_eq(raw_recv(&a), 0);
	ck_assert_int_eq(OPCODE(&a), ISCSI_SCSI_RESPONSE);
	ck_assert_uint_eq(ITT(&a), itt);
	ck_assert_int_eq(iscsirig_counter(&rig, "fences"), 0);
}
END_TEST

/* Answers that the socket does not take yet have no StatSN either. */
START_TEST(a_reset_waits_for_what_is_queued)
{
	enum { READS = 40, BYTES = 256u << 10 };
	uint32_t itt, answers = 0;
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, false, 0, BYTES / 512);
	for (unsigned i = 0; i < READS; i++) {
		b.cmdsn = cmdsn++;
		raw_command(&b, 0, cdb, 16, 0xc1, BYTES, NULL, 0);
	}
	/* it waits for them by its CmdSN; those that have not run are aborted */
	a.cmdsn = cmdsn++;
	{
		uint8_t bhs[RAW_BHS];

		itt = raw_request(&a, bhs, ISCSI_TMF_REQUEST, 0x80 | ISCSI_TMF_LU_RESET, false);
		ck_assert_int_eq(raw_send(&a, bhs, NULL, 0), 0);
	}
	expect_nothing(&a);
	do {
		ck_assert_int_eq(raw_recv(&b), 0);
		answers += OPCODE(&b) == ISCSI_SCSI_RESPONSE || (b.bhs[1] & ISCSI_DATA_STATUS);
	} while (!is_ping(&b));
	expect_nothing(&a);
	ck_assert_int_eq(raw_ack(&b), 0);
	expect_done(&a, itt);
	ck_assert_int_eq(raw_ack(&a), 0);
	ck_assert_uint_le(answers, READS);
	/* and none comes behind it */
	expect_nothing(&b);
}
END_TEST

START_TEST(a_preemption_waits)
{
	static const uint8_t cdb[10] = {[0] = 0x5f, [1] = 0x05, [8] = 24};
	static const uint8_t keys[24] = {[7] = 1, [15] = 2};
	uint32_t itt;

	owe();
	a.cmdsn = cmdsn++;
	itt = raw_command(&a, 0, cdb, 10, 0xa1, 24, NULL, 0);
	do
		ck_assert_int_eq(raw_recv(&a), 0);
	while (is_ping(&a));
	ck_assert_int_eq(OPCODE(&a), ISCSI_R2T);
	ck_assert_int_eq(raw_data_out(&a, itt, get_be32(a.bhs + 20), 0, 0, true, keys, 24), 0);
	expect_nothing(&a);
	ck_assert_int_eq(raw_ack(&b), 0);
	/* nobody is registered; the answer is that to a PREEMPT AND ABORT all the same */
	expect(&a, ISCSI_SCSI_RESPONSE, itt);
	ck_assert_int_eq(a.bhs[3], 0x18);
}
END_TEST

/* -- after --------------------------------------------------------------- */

START_TEST(what_comes_after_a_reset_waits_for_it)
{
	uint32_t itt, after;

	itt = tmf(&a, ISCSI_TMF_LU_RESET);
	expect_done(&a, itt);
	expect_ping(&a);
	after = tur(&b);
	expect_nothing(&b);
	/* this is no answer of the unit */
	echo(&b);
	ck_assert_int_eq(raw_ack(&a), 0);
	/* the unit attention of the reset is one that others wait for, too; and it for the NOP-In */
	expect_nothing(&b);
	ck_assert_int_eq(raw_ack(&b), 0);
	expect_status(&b, after, 0x29);
	expect_ping(&b);
	after = tur(&a);
	expect_nothing(&a);
	ck_assert_int_eq(raw_ack(&b), 0);
	expect_status(&a, after, 0);
	expect_status(&b, tur(&b), 0);
	ck_assert_int_eq(iscsirig_counter(&rig, "fences"), 2);
}
END_TEST

/* The order in which they were given is that in which they come, over three connections. */
START_TEST(fences_wait_for_one_another)
{
	uint32_t reset[2], after[3];

	join(&c, 2);
	owe();
	reset[0] = tmf(&a, ISCSI_TMF_LU_RESET);
	expect_ping(&b);
	reset[1] = tmf(&c, ISCSI_TMF_LU_RESET);
	echo(&c);
	ck_assert_int_eq(raw_ack(&c), 0);
	after[0] = tur(&a);
	after[2] = tur(&c);
	expect_nothing(&a);
	expect_nothing(&c);
	ck_assert_int_eq(raw_ack(&b), 0);
	expect_done(&a, reset[0]);
	expect_nothing(&c);
	ck_assert_int_eq(raw_ack(&a), 0);
	expect_done(&c, reset[1]);
	expect_nothing(&a);
	ck_assert_int_eq(raw_ack(&c), 0);
	expect_status(&a, after[0], 0x29);
	expect_nothing(&c);
	ck_assert_int_eq(raw_ack(&a), 0);
	expect_status(&c, after[2], 0);
	after[1] = tur(&b);
	expect_status(&b, after[1], 0);
}
END_TEST

/* -- ends ---------------------------------------------------------------- */

/* _i: the one that is waited for: closes; logs out; is logged out. */
START_TEST(who_leaves_is_not_waited_for)
{
	uint32_t itt;

	owe();
	itt = tmf(&a, ISCSI_TMF_LU_RESET);
	expect_ping(&b);
	if (_i == 0) {
		raw_close(&b);
	} else {
		struct raw *by = _i == 1 ? &b : &a;
		uint8_t bhs[RAW_BHS];

		by->cmdsn = cmdsn;
		if (_i == 1)
			by->expstatsn--;
		raw_request(by, bhs, ISCSI_LOGOUT_REQUEST, 0x80 | ISCSI_LOGOUT_CONNECTION, true);
		put_be16(bhs + 20, 1);
		ck_assert_int_eq(raw_send(by, bhs, NULL, 0), 0);
	}
	expect_done(&a, itt);
	if (_i == 2)
		expect(&a, ISCSI_LOGOUT_RESPONSE, itt + 1);
	expect_status(&a, tur(&a), 0x29);
}
END_TEST

/* Behind the reset, or with it: of one connection nothing is out of order. */
START_TEST(the_last_one_is_not_waited_for)
{
	uint32_t itt;

	expect_done(&a, tmf(&a, ISCSI_TMF_LU_RESET));
	raw_close(&b);
	ck_assert(iscsirig_await_connections(&rig, 1));
	a.expstatsn--;
	itt = tur(&a);
	expect_status(&a, itt, 0x29);
	a.expstatsn -= 2;
	itt = tur(&a);
	expect_status(&a, itt, 0);
}
END_TEST

/* _i: the reset's connection closes before its response is given, or when it is not acknowledged. */
START_TEST(who_asked_leaves)
{
	uint32_t itt, after;

	owe();
	itt = tmf(&a, ISCSI_TMF_LU_RESET);
	expect_ping(&b);
	if (_i) {
		ck_assert_int_eq(raw_ack(&b), 0);
		expect_done(&a, itt);
		b.expstatsn--;
	}
	after = tur(&b);
	b.expstatsn += (uint32_t)_i;
	if (_i)
		expect_nothing(&b);
	raw_close(&a);
	expect_status(&b, after, 0x29);
	expect_status(&b, tur(&b), 0);
}
END_TEST

/* _i: at recovery level 2.  A cold reset ends all sessions of the target, his own, too, whether he hears of it or not. */
START_TEST(who_asked_for_a_cold_reset_leaves)
{
	static const char keys[] = "ErrorRecoveryLevel=2\0MaxConnections=3\0";

	if (_i) {
		teardown();
		iscsirig_init(&rig, NULL, 0);
		begin(keys, sizeof(keys) - 1);
		join(&b, 1);
	}
	iscsirig_login(&rig, &c, 2, "", 0);
	owe();
	(void)tmf(&a, ISCSI_TMF_TARGET_COLD_RESET);
	expect_ping(&b); /* it is done, and its response waits for b */
	raw_close(&a);
	ck_assert_int_eq(raw_wait_closed(&b), 0);
	ck_assert_int_eq(raw_wait_closed(&c), 0);
	ck_assert(iscsirig_await_sessions(&rig, 0));
}
END_TEST

/* He leaves when the reset still waits for a task that it has aborted.  _i: at recovery level 2. */
START_TEST(who_asked_for_a_cold_reset_does_not_wait)
{
	static const char keys[] = "ErrorRecoveryLevel=2\0";
	static const char none[] = "";
	uint8_t cdb[16];

	teardown();
	b.fd = -1;
	iscsirig_init(&rig, NULL, 0);
	begin(_i ? keys : none, _i ? sizeof(keys) - 1 : 0);
	iscsirig_login(&rig, &c, 2, "", 0);
	disk_hold(rig.disk, VOL_READ);
	raw_cdb_rw16(cdb, false, 0, 8);
	(void)raw_command(&c, 0, cdb, 16, 0xc1, 8 * 512, NULL, 0);
	disk_wait_held(rig.disk, 1);
	(void)tmf(&a, ISCSI_TMF_TARGET_COLD_RESET);
	ck_assert(iscsirig_await(&rig, "task_management", 1));
	raw_close(&a);
	while (!iscsirig_counter(&rig, "closed_peer") && !iscsirig_counter(&rig, "closed_socket_error"))
		;
	disk_release(rig.disk);
	ck_assert_int_eq(raw_wait_closed(&c), 0);
	ck_assert(iscsirig_await_sessions(&rig, 0));
}
END_TEST

/* What it holds back goes out before it says good-bye. */
START_TEST(a_logout_takes_held_answers_along)
{
	uint8_t bhs[RAW_BHS];
	uint32_t first, second, logout;

	expect_done(&a, tmf(&a, ISCSI_TMF_LU_RESET));
	first = tur(&b);
	second = tur(&b);
	expect_nothing(&b);
	b.cmdsn = cmdsn;
	logout = raw_request(&b, bhs, ISCSI_LOGOUT_REQUEST, 0x80 | ISCSI_LOGOUT_CONNECTION, true);
	put_be16(bhs + 20, 1);
	ck_assert_int_eq(raw_send(&b, bhs, NULL, 0), 0);
	expect_status(&b, first, 0x29);
	expect_status(&b, second, 0);
	expect(&b, ISCSI_LOGOUT_RESPONSE, logout);
	ck_assert_int_eq(raw_wait_closed(&b), 0);
	expect_status(&a, tur(&a), 0);
}
END_TEST

/* _i: the one that is silent is awaited before the response, or is the one that got it. */
START_TEST(who_never_acknowledges_is_closed)
{
	struct iscsi_limits limits;
	uint32_t itt;

	teardown();
	iscsi_limits_default(&limits);
	limits.nop_timeout_ms = 300;
	iscsirig_init(&rig, &limits, 0);
	begin(KEYS, sizeof(KEYS) - 1);
	join(&b, 1);
	if (_i == 0)
		owe();
	itt = tmf(&a, ISCSI_TMF_LU_RESET);
	if (_i == 0) {
		ck_assert_int_eq(raw_wait_closed(&b), 0);
		expect_done(&a, itt);
		expect_status(&a, tur(&a), 0x29);
	} else {
		expect_done(&a, itt);
		itt = tur(&b);
		ck_assert_int_eq(raw_wait_closed(&a), 0);
		expect_status(&b, itt, 0x29);
	}
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_unacknowledged"), 1);
}
END_TEST

/* Recovery level 2: an answer that is held back is lost with its connection, and taken over. */
START_TEST(a_held_answer_is_taken_over)
{
	static const char keys[] = "ErrorRecoveryLevel=2\0MaxConnections=3\0TaskReporting=ResponseFence\0";
	uint8_t bhs[RAW_BHS];
	uint32_t held, reassign;

	teardown();
	iscsirig_init(&rig, NULL, 0);
	begin(keys, sizeof(keys) - 1);
	join(&b, 1);
	expect_done(&a, tmf(&a, ISCSI_TMF_LU_RESET));
	held = tur(&b);
	expect_nothing(&b);
	raw_close(&b);
	while (!iscsirig_counter(&rig, "closed_peer") && !iscsirig_counter(&rig, "closed_socket_error"))
		;
	join(&c, 2);
	c.cmdsn = cmdsn;
	reassign = raw_request(&c, bhs, ISCSI_TMF_REQUEST, 0x80 | ISCSI_TMF_TASK_REASSIGN, true);
	put_be32(bhs + 20, held);
	ck_assert_int_eq(raw_send(&c, bhs, NULL, 0), 0);
	/* the fence is still there: nothing of the unit comes, on this connection neither */
	expect_nothing(&c);
	if (_i)
		ck_assert_int_eq(raw_ack(&a), 0);
	else
		raw_close(&a);
	expect(&c, ISCSI_TMF_RESPONSE, reassign);
	ck_assert_int_eq(c.bhs[2], ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_ack(&c), 0);
	expect_status(&c, held, 0x29);
	expect_status(&c, tur(&c), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi_fence");
	TCase *tcase = tcase_create("fence");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, a_reset_waits_for_what_was_given, 0, 5);
	tcase_add_test(tcase, an_abort_waits_for_nobody);
	tcase_add_test(tcase, one_connection_needs_no_fence);
	tcase_add_test(tcase, a_reset_waits_for_what_is_queued);
	tcase_add_test(tcase, a_preemption_waits);
	tcase_add_test(tcase, what_comes_after_a_reset_waits_for_it);
	tcase_add_test(tcase, fences_wait_for_one_another);
	tcase_add_loop_test(tcase, who_leaves_is_not_waited_for, 0, 3);
	tcase_add_test(tcase, the_last_one_is_not_waited_for);
	tcase_add_loop_test(tcase, who_asked_leaves, 0, 2);
	tcase_add_loop_test(tcase, who_asked_for_a_cold_reset_leaves, 0, 2);
	tcase_add_loop_test(tcase, who_asked_for_a_cold_reset_does_not_wait, 0, 2);
	tcase_add_test(tcase, a_logout_takes_held_answers_along);
	tcase_add_loop_test(tcase, who_never_acknowledges_is_closed, 0, 2);
	tcase_add_loop_test(tcase, a_held_answer_is_taken_over, 0, 2);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
