/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several connections a session: joining, numbering, allegiance, logout, task management, ends. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/iscsirig.h"

#define KEYS "MaxConnections=3\0InitialR2T=Yes\0ImmediateData=No\0MaxBurstLength=4096\0"
#define OPCODE(raw) ((raw)->bhs[0] & ISCSI_OPCODE_MASK)
#define LEN (32u << 10)

static struct iscsirig rig;
static uint8_t out[LEN], in[LEN];

static void
setup(void)
{
	iscsirig_init(&rig, NULL, 0);
	for (unsigned i = 0; i < LEN; i++)
		out[i] = (uint8_t)(i * 13 + i / 512);
}

static void
teardown(void)
{
	iscsirig_fini(&rig);
}

static void
lead(struct raw *raw)
{
	iscsirig_login(&rig, raw, 1, KEYS, sizeof(KEYS) - 1);
	raw->immediate = false;
}

/* Log in to the session of `to`; the login status. */
static int
join(struct raw *raw, const struct raw *to, uint16_t cid)
{
	int rc;

	ck_assert_int_eq(raw_connect(raw, rig.address), 0);
	memcpy(raw->isid, to->isid, sizeof(raw->isid));
	raw->tsih = to->tsih;
	raw->cid = cid;
	raw->cmdsn = to->cmdsn;
	raw->itt = 1000u * (cid + 1u);
	raw->immediate = false;
	rc = raw_login(raw, RIG_INITIATOR, RIG_TARGET, "", 0);
	raw->max_send = 262144;
	return rc;
}

/* The numbering is the session's. */
static struct raw *
turn(struct raw *raw, struct raw *before)
{
	raw->cmdsn = before->cmdsn;
	return raw;
}

static int
ready(struct raw *raw, struct raw *before)
{
	return raw_ready(turn(raw, before), 0);
}

static uint32_t
send_tur(struct raw *raw, uint32_t cmdsn)
{
	static const uint8_t tur[6];

	raw->cmdsn = cmdsn;
	return raw_command(raw, 0, tur, 6, 0x81, 0, NULL, 0);
}

static void
ask_logout(struct raw *raw, uint8_t reason, uint16_t cid)
{
	uint8_t bhs[RAW_BHS];

	raw_request(raw, bhs, ISCSI_LOGOUT_REQUEST, 0x80 | reason, true);
	put_be16(bhs + 20, cid);
	ck_assert_int_eq(raw_send(raw, bhs, NULL, 0), 0);
}

static int
logout(struct raw *raw, uint8_t reason, uint16_t cid)
{
	ask_logout(raw, reason, cid);
	do
		ck_assert_int_eq(raw_recv(raw), 0);
	while (OPCODE(raw) != ISCSI_LOGOUT_RESPONSE);
	return raw->bhs[2];
}

/* Two connections; a write by the second one is with the unit, and stays there. */
static void
pair_with_write(struct raw *a, struct raw *b)
{
	uint8_t cdb[16];

	iscsirig_login(&rig, a, 1, "MaxConnections=2\0", 17);
	ck_assert_int_eq(join(b, a, 1), 0);
	disk_hold(rig.disk, VOL_WRITE);
	raw_cdb_rw16(cdb, true, 0, 8);
	raw_command(turn(b, a), 0, cdb, 16, 0xa1, 4096, out, 4096);
	disk_wait_held(rig.disk, 1);
	turn(a, b);
}

static void
expect_written(struct raw *raw)
{
	ck_assert_int_eq(raw_read(raw, 0, 0, 8, 512, in), 0);
	ck_assert_mem_eq(in, out, 4096);
}

START_TEST(connections_share_a_session)
{
	struct raw a, b, c, d;

	lead(&a);
	ck_assert_int_eq(join(&b, &a, 1), 0);
	ck_assert_uint_eq(b.tsih, a.tsih);
	ck_assert_int_eq(join(&c, &a, 7), 0);
	/* MaxConnections=3 */
	ck_assert_int_eq(join(&d, &a, 8), ISCSI_LOGIN_TOO_MANY_CONNECTIONS);
	raw_close(&d);
	ck_assert_uint_eq(iscsi_session_count(rig.server, NULL), 1);
	/* no unit attention: the nexus is the same */
	ck_assert_int_eq(raw_write(turn(&b, &a), 0, 0, LEN / 512, 512, out), 0);
	ck_assert_int_eq(raw_read(turn(&c, &b), 0, 0, LEN / 512, 512, in), 0);
	ck_assert_mem_eq(in, out, LEN);
	ck_assert_int_eq(ready(&a, &c), 0);
	ck_assert_int_eq(logout(&a, ISCSI_LOGOUT_SESSION, 0), ISCSI_LOGOUT_OK);
	ck_assert_int_eq(raw_wait_closed(&a), 0);
	ck_assert_int_eq(raw_wait_closed(&b), 0);
	ck_assert_int_eq(raw_wait_closed(&c), 0);
	ck_assert(iscsirig_await_sessions(&rig, 0));
	raw_close(&a);
	raw_close(&b);
	raw_close(&c);
}
END_TEST

START_TEST(who_may_not_join)
{
	struct raw a, b;

	/* MaxConnections is not asked for: it is 1 */
	iscsirig_login(&rig, &a, 1, "", 0);
	ck_assert_int_eq(join(&b, &a, 1), ISCSI_LOGIN_TOO_MANY_CONNECTIONS);
	raw_close(&b);
	raw_close(&a);
	ck_assert(iscsirig_await_connections(&rig, 0));
	lead(&a);
	a.tsih++;
	ck_assert_int_eq(join(&b, &a, 1), ISCSI_LOGIN_NO_SESSION);
	raw_close(&b);
	a.tsih--;
	a.isid[5]++;
	ck_assert_int_eq(join(&b, &a, 1), ISCSI_LOGIN_NO_SESSION);
	raw_close(&b);
	a.isid[5]--;
	ck_assert_int_eq(ready(&a, &a), 0);
	raw_close(&a);
}
END_TEST

START_TEST(commands_are_numbered_across_connections)
{
	struct raw a, b;
	uint32_t sn, first, second, third;

	lead(&a);
	ck_assert_int_eq(join(&b, &a, 1), 0);
	sn = a.cmdsn;
	/* later ones wait for the first, whatever they came by */
	third = send_tur(&b, sn + 2);
	ck_assert_int_eq(raw_recv_within(&b, 50), -ETIMEDOUT);
	second = send_tur(&a, sn + 1);
	ck_assert_int_eq(raw_recv_within(&a, 50), -ETIMEDOUT);
	first = send_tur(&b, sn);
	ck_assert_int_eq(raw_recv(&b), 0);
	ck_assert_uint_eq(get_be32(b.bhs + 16), first);
	ck_assert_int_eq(raw_recv(&b), 0);
	ck_assert_uint_eq(get_be32(b.bhs + 16), third);
	ck_assert_int_eq(raw_finish(&a, second, NULL, 0, NULL), 0);
	ck_assert_uint_eq(a.expcmdsn, sn + 3);
	/* the same number again, by the other one: ignored; a tag that is in use is refused */
	send_tur(&a, sn + 2);
	ck_assert_int_eq(raw_recv_within(&a, 50), -ETIMEDOUT);
	a.cmdsn = b.cmdsn = sn + 3;
	disk_hold(rig.disk, VOL_READ);
	{
		uint8_t cdb[16];
		uint32_t itt;

		raw_cdb_rw16(cdb, false, 0, 1);
		itt = raw_command(&a, 0, cdb, 16, 0xc1, 512, NULL, 0);
		disk_wait_held(rig.disk, 1);
		b.itt = itt;
		send_tur(&b, sn + 4);
		ck_assert_int_eq(raw_recv(&b), 0);
		ck_assert_int_eq(OPCODE(&b), ISCSI_REJECT);
		ck_assert_int_eq(b.bhs[2], ISCSI_REJECT_TASK_IN_PROGRESS);
		disk_release(rig.disk);
		ck_assert_int_eq(raw_finish(&a, itt, in, 512, NULL), 0);
	}
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(the_command_of_a_lost_connection_may_come_again)
{
	struct raw a, b;
	uint32_t sn, held;

	lead(&a);
	ck_assert_int_eq(join(&b, &a, 1), 0);
	sn = a.cmdsn;
	send_tur(&b, sn + 1);
	ck_assert_int_eq(raw_tmf(&b, ISCSI_TMF_ABORT_TASK, 0, 4711, sn - 1), ISCSI_TMF_NO_TASK);
	raw_close(&b);
	ck_assert(iscsirig_await_connections(&rig, 1));
	held = send_tur(&a, sn + 1);
	send_tur(&a, sn);
	ck_assert_int_eq(raw_recv(&a), 0);
	ck_assert_int_eq(raw_finish(&a, held, NULL, 0, NULL), 0);
	a.cmdsn = sn + 2;
	ck_assert_int_eq(ready(&a, &a), 0);
	raw_close(&a);
}
END_TEST

/* Ended with good-byes: its end is seen, too. */
static void
say_goodbye(struct raw *by, uint16_t cid, struct raw *whose)
{
	ck_assert_int_eq(logout(by, ISCSI_LOGOUT_CONNECTION, cid), ISCSI_LOGOUT_OK);
	ck_assert_int_eq(raw_wait_closed(whose), 0);
	raw_close(whose);
}

START_TEST(logouts_of_one_connection)
{
	struct raw a, b, c;

	lead(&a);
	ck_assert_int_eq(join(&b, &a, 1), 0);
	ck_assert_int_eq(join(&c, &a, 2), 0);
	ck_assert_int_eq(logout(&a, ISCSI_LOGOUT_CONNECTION, 9), ISCSI_LOGOUT_NO_CID);
	/* another one */
	say_goodbye(&a, 1, &b);
	ck_assert_int_eq(logout(&a, ISCSI_LOGOUT_CONNECTION, 1), ISCSI_LOGOUT_NO_CID);
	/* one's own: the leading one may go, too */
	say_goodbye(&a, 0, &a);
	ck_assert_int_eq(ready(&c, &a), 0);
	/* its place is free again */
	ck_assert(iscsirig_await_connections(&rig, 1));
	ck_assert_int_eq(join(&a, &c, 0), 0);
	ck_assert_int_eq(ready(&a, &c), 0);
	say_goodbye(&a, 0, &a);
	/* the last one takes the session along */
	say_goodbye(&c, 2, &c);
	ck_assert(iscsirig_await_sessions(&rig, 0));
	ck_assert_int_eq(join(&a, &c, 0), ISCSI_LOGIN_NO_SESSION);
	raw_close(&a);
}
END_TEST

/* With a write that runs: the response comes after its end.  _i: to the other connection; to nobody, for the one who
 * asked has gone before that; to its own, which closes then. */
START_TEST(a_logout_waits_for_the_tasks_of_its_connection)
{
	struct raw a, b;

	pair_with_write(&a, &b);
	ask_logout(_i == 2 ? &b : &a, ISCSI_LOGOUT_CONNECTION, 1);
	if (_i < 2)
		ck_assert_int_eq(raw_wait_closed(&b), 0);
	if (_i == 1) {
		raw_close(&a);
		ck_assert(iscsirig_await_sessions(&rig, 0));
		disk_release(rig.disk);
		ck_assert(iscsirig_await_connections(&rig, 0));
	} else {
		struct raw *who = _i ? &b : &a;

		ck_assert_int_eq(raw_recv_within(who, 50), -ETIMEDOUT);
		/* others go on meanwhile */
		ck_assert_int_eq(ready(&a, &a), 0);
		disk_release(rig.disk);
		do
			ck_assert_int_eq(raw_recv(who), 0);
		while (OPCODE(who) == ISCSI_SCSI_RESPONSE);
		ck_assert_int_eq(OPCODE(who), ISCSI_LOGOUT_RESPONSE);
		ck_assert_int_eq(who->bhs[2], ISCSI_LOGOUT_OK);
		if (_i)
			ck_assert_int_eq(raw_wait_closed(&b), 0);
		expect_written(&a);
		raw_close(&a);
	}
	raw_close(&b);
}
END_TEST

START_TEST(a_connection_is_reinstated)
{
	struct raw a, b, again;
	uint8_t cdb[16];

	lead(&a);
	ck_assert_int_eq(join(&b, &a, 1), 0);
	raw_cdb_rw16(cdb, true, 0, LEN / 512);
	raw_command(turn(&b, &a), 0, cdb, 16, 0xa1, LEN, NULL, 0);
	ck_assert_int_eq(raw_recv(&b), 0);
	ck_assert_int_eq(OPCODE(&b), ISCSI_R2T);
	ck_assert_int_eq(join(&again, turn(&a, &b), 1), 0);
	ck_assert_int_eq(raw_wait_closed(&b), 0);
	/* in the same session: the other one noticed nothing, the numbering goes on */
	ck_assert_int_eq(ready(&again, &a), 0);
	ck_assert_int_eq(ready(&a, &again), 0);
	ck_assert_uint_eq(iscsi_session_count(rig.server, NULL), 1);
	raw_close(&b);
	/* the leading one as well, and it may be the only one */
	raw_close(&again);
	ck_assert(iscsirig_await_connections(&rig, 1));
	ck_assert_int_eq(join(&again, &a, 0), 0);
	ck_assert_int_eq(raw_wait_closed(&a), 0);
	ck_assert_int_eq(ready(&again, &a), 0);
	raw_close(&a);
	raw_close(&again);
	ck_assert(iscsirig_await_sessions(&rig, 0));
}
END_TEST

START_TEST(an_heir_waits_and_may_go)
{
	struct raw a, b, heir;

	pair_with_write(&a, &b);
	/* its login is not answered while the write runs */
	ck_assert_int_eq(raw_connect(&heir, rig.address), 0);
	{
		static const char text[] =
			"InitiatorName=" RIG_INITIATOR "\0SessionType=Normal\0TargetName=" RIG_TARGET;
		uint8_t bhs[RAW_BHS] = {0x43, 0x87};

		memcpy(bhs + 8, a.isid, 6);
		put_be16(bhs + 14, a.tsih);
		put_be16(bhs + 20, 1);
		put_be32(bhs + 24, b.cmdsn);
		ck_assert_int_eq(raw_send(&heir, bhs, text, sizeof(text)), 0);
	}
	ck_assert_int_eq(raw_wait_closed(&b), 0);
	ck_assert_int_eq(raw_recv_within(&heir, 50), -ETIMEDOUT);
	raw_close(&heir);
	ck_assert_int_eq(ready(&a, &b), 0);
	disk_release(rig.disk);
	ck_assert(iscsirig_await_connections(&rig, 1));
	ck_assert_int_eq(join(&heir, &a, 1), 0);
	ck_assert_int_eq(ready(&heir, &a), 0);
	raw_close(&heir);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(task_management_reaches_other_connections)
{
	struct raw a, b;
	uint8_t cdb[16];
	uint32_t itt, waiting;

	lead(&a);
	ck_assert_int_eq(join(&b, &a, 1), 0);
	/* one that runs, one that waits for data */
	disk_hold(rig.disk, VOL_READ);
	raw_cdb_rw16(cdb, false, 0, 8);
	itt = raw_command(turn(&b, &a), 0, cdb, 16, 0xc1, 4096, NULL, 0);
	raw_cdb_rw16(cdb, true, 0, 8);
	waiting = raw_command(&b, 0, cdb, 16, 0xa1, 4096, NULL, 0);
	ck_assert_int_eq(raw_recv(&b), 0);
	ck_assert_int_eq(OPCODE(&b), ISCSI_R2T);
	disk_wait_held(rig.disk, 1);
	turn(&a, &b);
	ck_assert_int_eq(raw_tmf(&a, ISCSI_TMF_ABORT_TASK, 0, waiting, b.cmdsn - 1), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_tmf(&a, ISCSI_TMF_ABORT_TASK, 0, waiting, b.cmdsn - 1), ISCSI_TMF_NO_TASK);
	/* its data is let go */
	ck_assert_int_eq(raw_data_out(&b, waiting, get_be32(b.bhs + 20), 0, 0, true, out, 4096), 0);
	disk_release(rig.disk);
	ck_assert_int_eq(raw_finish(&b, itt, in, 4096, NULL), 0);
	waiting = raw_command(&b, 0, cdb, 16, 0xa1, 4096, NULL, 0);
	ck_assert_int_eq(raw_recv(&b), 0);
	turn(&a, &b);
	ck_assert_int_eq(raw_tmf(&a, ISCSI_TMF_LU_RESET, 0, 0, 0), ISCSI_TMF_COMPLETE);
	/* others wait for that (check_iscsi_fence) */
	ck_assert_int_eq(raw_ack(&a), 0);
	ck_assert_int_eq(raw_data_out(&b, waiting, get_be32(b.bhs + 20), 0, 0, true, out, 4096), 0);
	ck_assert_int_eq(ready(&b, &a), 0);
	ck_assert_int_eq(raw_read(&b, 0, 0, 8, 512, in), 0);
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_uint_eq(in[i], 0);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(a_cold_reset_ends_all_connections)
{
	struct raw a, b;

	lead(&a);
	ck_assert_int_eq(join(&b, &a, 1), 0);
	ck_assert_int_eq(raw_tmf(&a, ISCSI_TMF_TARGET_COLD_RESET, 0, 0, 0), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_wait_closed(&a), 0);
	ck_assert_int_eq(raw_wait_closed(&b), 0);
	ck_assert(iscsirig_await_connections(&rig, 0));
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(session_reinstatement_ends_all_connections)
{
	struct raw a, b, new;

	lead(&a);
	ck_assert_int_eq(join(&b, &a, 1), 0);
	lead(&new);
	ck_assert_int_eq(raw_wait_closed(&a), 0);
	ck_assert_int_eq(raw_wait_closed(&b), 0);
	ck_assert_int_eq(ready(&new, &new), 0);
	ck_assert_uint_eq(iscsi_session_count(rig.server, NULL), 1);
	raw_close(&a);
	raw_close(&b);
	raw_close(&new);
}
END_TEST

START_TEST(keys_are_each_connections_own)
{
	struct raw a, b;
	json_t *list, *conns;

	lead(&a);
	ck_assert_int_eq(raw_connect(&b, rig.address), 0);
	memcpy(b.isid, a.isid, 6);
	b.tsih = a.tsih;
	b.cid = 1;
	b.cmdsn = a.cmdsn;
	ck_assert_int_eq(raw_login(&b, RIG_INITIATOR, RIG_TARGET,
				   "DataDigest=CRC32C\0MaxRecvDataSegmentLength=512\0", 47),
			 0);
	b.data_digest = true;
	b.max_send = 4096;
	b.immediate = false;
	ck_assert_int_eq(raw_write(&b, 0, 0, 16, 512, out), 0);
	ck_assert_int_eq(raw_read(&b, 0, 0, 16, 512, in), 0);
	ck_assert_uint_eq(b.len, 512);
	ck_assert_mem_eq(in, out, 8192);
	ck_assert_int_eq(raw_read(turn(&a, &b), 0, 0, 8, 512, in), 0);
	ck_assert_uint_eq(a.len, 4096);
	list = iscsi_sessions(rig.server, NULL);
	ck_assert_uint_eq(json_array_size(list), 1);
	conns = json_object_get(json_array_get(list, 0), "connections");
	ck_assert_uint_eq(json_array_size(conns), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(conns, 0), "cid")), 1);
	ck_assert_str_eq(json_string_value(json_object_get(
				 json_object_get(json_array_get(conns, 0), "params"), "DataDigest")),
			 "CRC32C");
	ck_assert_str_eq(json_string_value(json_object_get(
				 json_object_get(json_array_get(conns, 1), "params"), "DataDigest")),
			 "None");
	json_decref(list);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi_mcs");
	TCase *tcase = tcase_create("connections");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, connections_share_a_session);
	tcase_add_test(tcase, who_may_not_join);
	tcase_add_test(tcase, commands_are_numbered_across_connections);
	tcase_add_test(tcase, the_command_of_a_lost_connection_may_come_again);
	tcase_add_test(tcase, logouts_of_one_connection);
	tcase_add_loop_test(tcase, a_logout_waits_for_the_tasks_of_its_connection, 0, 3);
	tcase_add_test(tcase, a_connection_is_reinstated);
	tcase_add_test(tcase, an_heir_waits_and_may_go);
	tcase_add_test(tcase, task_management_reaches_other_connections);
	tcase_add_test(tcase, a_cold_reset_ends_all_connections);
	tcase_add_test(tcase, session_reinstatement_ends_all_connections);
	tcase_add_test(tcase, keys_are_each_connections_own);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
