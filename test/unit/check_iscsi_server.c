/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server as its peers see it: logins, sessions, numbering, time-outs, rudeness. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/iscsirig.h"

static struct iscsirig rig;

static void
setup(void)
{
	iscsirig_init(&rig, NULL, 0);
}

static void
teardown(void)
{
	iscsirig_fini(&rig);
}

#define LOGIN(raw, who, keys) iscsirig_login(&rig, raw, who, keys, sizeof(keys) - 1)
#define OPCODE(raw) ((raw)->bhs[0] & ISCSI_OPCODE_MASK)

static int
try_login(struct raw *raw, const char *initiator, const char *target)
{
	ck_assert_int_eq(raw_connect(raw, rig.address), 0);
	return raw_login(raw, initiator, target, "", 0);
}

/* ---- logins ---- */

START_TEST(login_and_logout)
{
	uint64_t before;
	struct raw raw;
	json_t *sessions, *conn;

	ck_assert_int_eq(try_login(&raw, RIG_INITIATOR, RIG_TARGET), 0);
	ck_assert_uint_ne(raw.tsih, 0);
	ck_assert_uint_eq(raw.expcmdsn, 100);
	ck_assert_uint_eq(raw.maxcmdsn, 100 + 127);
	ck_assert_uint_eq(iscsi_session_count(rig.server, NULL), 1);
	ck_assert_uint_eq(iscsi_session_count(rig.server, RIG_TARGET), 1);
	ck_assert_uint_eq(iscsi_session_count(rig.server, "iqn.2024-01.org.lungate:other"), 0);
	sessions = iscsi_sessions(rig.server, RIG_TARGET);
	ck_assert_uint_eq(json_array_size(sessions), 1);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(sessions, 0), "initiator")),
			 RIG_INITIATOR);
	conn = json_array_get(json_object_get(json_array_get(sessions, 0), "connections"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(conn, "portal")), rig.address);
	const char *since = json_string_value(json_object_get(conn, "since"));
	ck_assert(since && strlen(since) == 20 && since[10] == 'T' && since[19] == 'Z');
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(conn, "params"), "InitialR2T")),
			 "Yes");
	json_decref(sessions);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	before = clock_ns();
	ck_assert_int_eq(raw_logout(&raw), 0);
	/* the end of the stream comes with the answer, though we have not closed */
	ck_assert_uint_lt(clock_ns() - before, 700000000);
	raw_close(&raw);
	ck_assert(iscsirig_await_sessions(&rig, 0));
	ck_assert_int_eq(iscsirig_counter(&rig, "logins"), 1);
	ck_assert_int_eq(iscsirig_counter(&rig, "logouts"), 1);
}
END_TEST

START_TEST(refused_logins_say_why)
{
	static const struct {
		const char *initiator, *target;
		int status;
	} rows[] = {
		{RIG_INITIATOR, "iqn.2024-01.org.lungate:none", ISCSI_LOGIN_NOT_FOUND},
		{"", RIG_TARGET, ISCSI_LOGIN_INITIATOR_ERROR},
	};
	struct raw raw;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ck_assert_int_eq(try_login(&raw, rows[i].initiator, rows[i].target), rows[i].status);
		ck_assert_int_eq(raw_wait_closed(&raw), 0);
		raw_close(&raw);
	}
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(
		raw_login_step(&raw, 0x87, "TargetName=" RIG_TARGET, sizeof("TargetName=" RIG_TARGET)),
		ISCSI_LOGIN_MISSING_PARAMETER);
	raw_close(&raw);
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	raw.tsih = 99;
	ck_assert_int_eq(raw_login(&raw, RIG_INITIATOR, RIG_TARGET, "", 0), ISCSI_LOGIN_NO_SESSION);
	raw_close(&raw);
	ck_assert(iscsirig_await(&rig, "login_failures", 4));
	ck_assert(iscsirig_await(&rig, "closed_login_failed", 4));
}
END_TEST

START_TEST(login_in_two_stages)
{
	static const char names[] =
		"InitiatorName=" RIG_INITIATOR "\0TargetName=" RIG_TARGET "\0AuthMethod=None";
	struct raw raw;

	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_login_step(&raw, 0x81, names, sizeof(names)), 0);
	ck_assert_uint_eq(raw.bhs[1], 0x81);
	ck_assert_int_eq(raw_login_step(&raw, 0x04, "InitialR2T=No", 14), 0);
	ck_assert_uint_eq(raw.bhs[1], 0x04);
	ck_assert_int_eq(raw_login_step(&raw, 0x87, "", 0), 0);
	ck_assert_uint_eq(raw.bhs[1], 0x87);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(other_requests_during_login_end_it)
{
	uint8_t bhs[RAW_BHS];
	struct raw raw;

	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_login_step(&raw, 0x04, "InitiatorName=" RIG_INITIATOR "\0TargetName=" RIG_TARGET,
					sizeof("InitiatorName=" RIG_INITIATOR "\0TargetName=" RIG_TARGET)),
			 0);
	raw_request(&raw, bhs, ISCSI_NOP_OUT, 0x80, true);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_LOGIN_RESPONSE);
	ck_assert_uint_eq(get_be16(raw.bhs + 36), ISCSI_LOGIN_INVALID_REQUEST);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
}
END_TEST

/* ---- discovery ---- */

static int
send_targets(struct raw *raw, const char *value)
{
	uint8_t bhs[RAW_BHS];
	char text[256];
	int n = snprintf(text, sizeof(text), "SendTargets=%s", value);

	raw_request(raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	ck_assert_int_eq(raw_send(raw, bhs, text, (uint32_t)n + 1), 0);
	return raw_recv(raw);
}

static bool
has_text(const struct raw *raw, const char *want)
{
	for (size_t i = 0; i < raw->len; i += strlen((const char *)raw->data + i) + 1) {
		if (!strcmp((const char *)raw->data + i, want))
			return true;
	}
	return false;
}

START_TEST(discovery_names_targets_and_portals)
{
	char address[128], extra[64];
	struct errinfo info;
	struct raw raw;
	json_t *sessions;

	ck_assert_int_eq(
		iscsi_target_add(rig.server, "iqn.2024-01.org.lungate:Second", rig.scsi, NULL, &info), 0);
	ck_assert_int_eq(iscsi_portal_add(rig.server, "0.0.0.0:0", extra, &info), 0);
	ck_assert_int_eq(try_login(&raw, RIG_INITIATOR, NULL), 0);
	sessions = iscsi_sessions(rig.server, NULL);
	ck_assert_uint_eq(json_array_size(sessions), 1);
	ck_assert(json_is_null(json_object_get(json_array_get(sessions, 0), "target")));
	json_decref(sessions);
	ck_assert_int_eq(send_targets(&raw, "All"), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_TEXT_RESPONSE);
	ck_assert_uint_eq(raw.bhs[1], 0x80);
	ck_assert(has_text(&raw, "TargetName=" RIG_TARGET));
	ck_assert(has_text(&raw, "TargetName=iqn.2024-01.org.lungate:second"));
	snprintf(address, sizeof(address), "TargetAddress=%s,1", rig.address);
	ck_assert(has_text(&raw, address));
	/* of a wildcard: the address by which he came */
	snprintf(address, sizeof(address), "TargetAddress=127.0.0.1%s,1", strrchr(extra, ':'));
	ck_assert(has_text(&raw, address));
	ck_assert_int_eq(send_targets(&raw, "iqn.2024-01.org.lungate:SECOND"), 0);
	ck_assert(!has_text(&raw, "TargetName=" RIG_TARGET));
	ck_assert(has_text(&raw, "TargetName=iqn.2024-01.org.lungate:second"));
	ck_assert_int_eq(send_targets(&raw, "iqn.2024-01.org.lungate:third"), 0);
	ck_assert_uint_eq(raw.len, 0);
	/* a discovery session has no LUNs */
	raw_command(&raw, 0, (const uint8_t[16]){0}, 6, 0x81, 0, NULL, 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_REJECT);
	ck_assert_int_eq(raw_logout(&raw), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(long_discovery_goes_out_in_pieces)
{
	uint8_t bhs[RAW_BHS];
	static char all[65536];
	size_t got = 0, found = 0;
	uint32_t itt, pieces = 0;
	struct raw raw;

	for (int i = 0; i < 100; i++) {
		struct errinfo info;
		char name[128];

		snprintf(name, sizeof(name), "iqn.2024-01.org.lungate:a-target-with-a-rather-long-name.%03d",
			 i);
		ck_assert_int_eq(iscsi_target_add(rig.server, name, rig.scsi, NULL, &info), 0);
	}
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_login(&raw, RIG_INITIATOR, NULL, "MaxRecvDataSegmentLength=1024", 30), 0);
	itt = raw_request(&raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	ck_assert_int_eq(raw_send(&raw, bhs, "SendTargets=All", 16), 0);
	for (;;) {
		uint32_t ttt;

		ck_assert_int_eq(raw_recv(&raw), 0);
		ck_assert_int_eq(OPCODE(&raw), ISCSI_TEXT_RESPONSE);
		ck_assert_uint_eq(get_be32(raw.bhs + 16), itt);
		ck_assert_uint_le(raw.len, 1024);
		memcpy(all + got, raw.data, raw.len);
		got += raw.len;
		pieces++;
		if (!(raw.bhs[1] & 0x40))
			break;
		ttt = get_be32(raw.bhs + 20);
		ck_assert_uint_ne(ttt, ISCSI_TAG_NONE);
		raw_request(&raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
		put_be32(bhs + 16, itt);
		put_be32(bhs + 20, ttt);
		ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	}
	ck_assert_uint_eq(raw.bhs[1], 0x80);
	ck_assert_uint_gt(pieces, 5);
	for (size_t i = 0; i < got; i += strlen(all + i) + 1)
		found += !strncmp(all + i, "TargetName=", 11);
	ck_assert_uint_eq(found, 101);
	raw_close(&raw);
}
END_TEST

START_TEST(a_session_may_ask_for_its_own_target_alone)
{
	struct errinfo info;
	struct raw raw;

	ck_assert_int_eq(
		iscsi_target_add(rig.server, "iqn.2024-01.org.lungate:second", rig.scsi, NULL, &info), 0);
	LOGIN(&raw, 1, "");
	ck_assert_int_eq(send_targets(&raw, ""), 0);
	ck_assert(has_text(&raw, "TargetName=" RIG_TARGET));
	ck_assert(!has_text(&raw, "TargetName=iqn.2024-01.org.lungate:second"));
	ck_assert_int_eq(send_targets(&raw, "All"), 0);
	ck_assert(has_text(&raw, "SendTargets=Reject"));
	ck_assert_int_eq(send_targets(&raw, "iqn.2024-01.org.lungate:second"), 0);
	ck_assert_uint_eq(raw.len, 0);
	raw_close(&raw);
}
END_TEST

/* ---- sessions ---- */

START_TEST(reinstatement_waits_for_the_old_tasks)
{
	static uint8_t block[512];
	struct raw old, new;
	uint8_t cdb[16];

	memset(block, 0xaa, sizeof(block));
	LOGIN(&old, 1, "");
	disk_hold(rig.disk, VOL_WRITE);
	raw_cdb_rw16(cdb, true, 0, 1);
	raw_command(&old, 0, cdb, 16, 0xa1, 512, block, 512);
	disk_wait_held(rig.disk, 1);

	ck_assert_int_eq(raw_connect(&new, rig.address), 0);
	new.isid[5] = 1;
	/* the login takes as long as the write: no answer before */
	{
		static const char text[] = "InitiatorName=" RIG_INITIATOR "\0TargetName=" RIG_TARGET;
		uint8_t bhs[RAW_BHS] = {0x43, 0x87};

		memcpy(bhs + 8, new.isid, 6);
		put_be32(bhs + 24, new.cmdsn);
		ck_assert_int_eq(raw_send(&new, bhs, text, sizeof(text)), 0);
	}
	ck_assert_int_eq(raw_wait_closed(&old), 0);
	ck_assert_int_eq(raw_recv_within(&new, 50), -ETIMEDOUT);
	ck_assert_uint_eq(rig.disk->bytes[0], 0);
	disk_release(rig.disk);
	ck_assert_int_eq(raw_recv(&new), 0);
	ck_assert_int_eq(OPCODE(&new), ISCSI_LOGIN_RESPONSE);
	ck_assert_uint_eq(get_be16(new.bhs + 36), 0);
	ck_assert_int_eq(raw_ready(&new, 0), 0);
	ck_assert_uint_eq(iscsi_session_count(rig.server, NULL), 1);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_reinstated"), 1);
	raw_close(&old);
	raw_close(&new);
}
END_TEST

START_TEST(who_waits_for_a_session_may_give_up)
{
	struct raw old, waits[3];
	uint8_t cdb[16];
	static uint8_t block[512];

	LOGIN(&old, 1, "");
	disk_hold(rig.disk, VOL_WRITE);
	raw_cdb_rw16(cdb, true, 0, 1);
	raw_command(&old, 0, cdb, 16, 0xa1, 512, block, 512);
	disk_wait_held(rig.disk, 1);
	for (int i = 0; i < 3; i++) {
		static const char text[] = "InitiatorName=" RIG_INITIATOR "\0TargetName=" RIG_TARGET;
		uint8_t bhs[RAW_BHS] = {0x43, 0x87};

		ck_assert_int_eq(raw_connect(&waits[i], rig.address), 0);
		waits[i].isid[5] = 1;
		memcpy(bhs + 8, waits[i].isid, 6);
		ck_assert_int_eq(raw_send(&waits[i], bhs, text, sizeof(text)), 0);
		if (i == 0)
			ck_assert_int_eq(raw_wait_closed(&old), 0);
		else if (i == 2)
			break;
		/* the later one takes the place: the one before is told to come again */
		if (i == 1) {
			ck_assert_int_eq(raw_recv(&waits[0]), 0);
			ck_assert_uint_eq(get_be16(waits[0].bhs + 36), ISCSI_LOGIN_UNAVAILABLE);
		}
	}
	ck_assert_int_eq(raw_recv(&waits[1]), 0);
	raw_close(&waits[1]);
	disk_release(rig.disk);
	ck_assert_int_eq(raw_recv(&waits[2]), 0);
	ck_assert_uint_eq(get_be16(waits[2].bhs + 36), 0);
	raw_close(&old);
	raw_close(&waits[0]);
	raw_close(&waits[2]);
}
END_TEST

START_TEST(isids_tell_sessions_apart)
{
	struct raw a, b;

	LOGIN(&a, 1, "");
	LOGIN(&b, 2, "");
	ck_assert_uint_ne(a.tsih, b.tsih);
	ck_assert_uint_eq(iscsi_session_count(rig.server, NULL), 2);
	ck_assert_int_eq(raw_ready(&a, 0), 0);
	raw_close(&a);
	raw_close(&b);
}
END_TEST

START_TEST(a_connection_is_reinstated_by_its_cid)
{
	struct raw old, other, new;

	LOGIN(&old, 1, "MaxBurstLength=4096\0");
	/* another CID would be a second connection */
	ck_assert_int_eq(raw_connect(&other, rig.address), 0);
	other.tsih = old.tsih;
	other.cid = 9;
	ck_assert_int_eq(raw_login(&other, RIG_INITIATOR, RIG_TARGET, "", 0),
			 ISCSI_LOGIN_TOO_MANY_CONNECTIONS);
	raw_close(&other);
	ck_assert_int_eq(raw_connect(&new, rig.address), 0);
	new.tsih = old.tsih;
	ck_assert_int_eq(raw_login(&new, RIG_INITIATOR, RIG_TARGET, "", 0), 0);
	ck_assert_uint_eq(new.tsih, old.tsih);
	ck_assert_int_eq(raw_wait_closed(&old), 0);
	ck_assert_int_eq(raw_ready(&new, 0), 0);
	/* what the session had negotiated still holds */
	{
		json_t *sessions = iscsi_sessions(rig.server, NULL);
		json_t *conn = json_array_get(json_object_get(json_array_get(sessions, 0), "connections"), 0);

		ck_assert_str_eq(
			json_string_value(json_object_get(json_object_get(conn, "params"), "MaxBurstLength")),
			"4096");
		json_decref(sessions);
	}
	raw_close(&old);
	raw_close(&new);
}
END_TEST

static void *
log_out_when_asked(void *arg)
{
	struct raw *raw = arg;
	int rc = raw_recv(raw);

	if (rc == 0 && (OPCODE(raw) != ISCSI_ASYNC_MESSAGE || raw->bhs[36] != ISCSI_ASYNC_LOGOUT))
		rc = -EPROTO;
	return (void *)(intptr_t)(rc ? rc : raw_logout(raw));
}

START_TEST(a_removed_target_asks_for_logout)
{
	struct raw raw, silent;
	pthread_t thread;
	void *rc;

	LOGIN(&raw, 1, "");
	LOGIN(&silent, 2, "");
	/* one logs out when asked; the other is closed after its time */
	ck_assert_int_eq(pthread_create(&thread, NULL, log_out_when_asked, &raw), 0);
	ck_assert_int_eq(iscsi_target_remove(rig.server, RIG_TARGET), 0);
	ck_assert_int_eq(pthread_join(thread, &rc), 0);
	ck_assert_int_eq((int)(intptr_t)rc, 0);
	ck_assert_int_eq(raw_wait_closed(&silent), 0);
	raw_close(&raw);
	raw_close(&silent);
	ck_assert_int_eq(iscsirig_counter(&rig, "logouts"), 1);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_target_removed"), 1);
	ck_assert_int_eq(try_login(&raw, RIG_INITIATOR, RIG_TARGET), ISCSI_LOGIN_NOT_FOUND);
	raw_close(&raw);
	ck_assert_int_eq(iscsi_target_remove(rig.server, RIG_TARGET), -ENOENT);
}
END_TEST

/* ---- numbering ---- */

START_TEST(numbers_outside_of_the_window_are_ignored)
{
	static const uint8_t tur[6];
	struct raw raw;
	uint32_t cmdsn;

	LOGIN(&raw, 1, "");
	cmdsn = raw.cmdsn;
	raw.cmdsn = raw.maxcmdsn + 1;
	raw_command(&raw, 0, tur, 6, 0x81, 0, NULL, 0);
	raw.cmdsn = cmdsn - 1;
	raw_command(&raw, 0, tur, 6, 0x81, 0, NULL, 0);
	/* with immediate data that must be skipped */
	raw.cmdsn = cmdsn - 1;
	raw_command(&raw, 0, (const uint8_t[16]){0x2a}, 10, 0xa1, 1000, raw.data, 1000);
	ck_assert_int_eq(raw_recv_within(&raw, 50), -ETIMEDOUT);
	raw.cmdsn = cmdsn;
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	ck_assert_int_eq(iscsirig_counter(&rig, "ignored_pdus"), 3);
	raw_close(&raw);
}
END_TEST

START_TEST(commands_wait_for_their_turn)
{
	static uint8_t block[512], back[512];
	uint32_t first, itt[3];
	struct raw raw;
	uint8_t cdb[16];

	memset(block, 0x5a, sizeof(block));
	LOGIN(&raw, 1, "");
	first = raw.cmdsn;
	/* read, write with its data, then what they wait for, and a duplicate on the way */
	raw.cmdsn = first + 2;
	raw_cdb_rw16(cdb, false, 0, 1);
	itt[2] = raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	raw.cmdsn = first + 1;
	raw_cdb_rw16(cdb, true, 0, 1);
	itt[1] = raw_command(&raw, 0, cdb, 16, 0xa1, 512, block, 512);
	raw.cmdsn = first + 1;
	raw_command(&raw, 0, cdb, 16, 0xa1, 512, block, 512);
	ck_assert_int_eq(raw_recv_within(&raw, 50), -ETIMEDOUT);
	raw.cmdsn = first;
	itt[0] = raw_command(&raw, 0, (const uint8_t[16]){0}, 6, 0x81, 0, NULL, 0);
	ck_assert_int_eq(raw_finish(&raw, itt[0], NULL, 0, NULL), 0);
	ck_assert_int_eq(raw_finish(&raw, itt[1], NULL, 0, NULL), 0);
	ck_assert_int_eq(raw_finish(&raw, itt[2], back, 512, NULL), 0);
	ck_assert_mem_eq(back, block, 512);
	ck_assert_uint_eq(raw.expcmdsn, first + 3);
	raw_close(&raw);
}
END_TEST

START_TEST(rejected_requests_use_their_number_up)
{
	uint8_t bhs[RAW_BHS];
	struct raw raw;

	LOGIN(&raw, 1, "");
	raw_request(&raw, bhs, 0x1c, 0x80, false);
	ck_assert_int_eq(raw_send(&raw, bhs, "12345", 5), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_REJECT);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_REJECT_NOT_SUPPORTED);
	ck_assert_uint_eq(raw.len, 48);
	ck_assert_mem_eq(raw.data, bhs, 48);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);

	/* a login, and a request to send again, are out of place */
	raw_request(&raw, bhs, ISCSI_LOGIN_REQUEST, 0x87, true);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_REJECT_PROTOCOL);
	raw_request(&raw, bhs, ISCSI_SNACK_REQUEST, 0x80, true);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_REJECT_PROTOCOL);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	ck_assert_int_eq(iscsirig_counter(&rig, "rejects"), 3);
	raw_close(&raw);
}
END_TEST

START_TEST(a_tag_in_use_is_refused)
{
	struct raw raw;
	uint32_t itt;
	uint8_t cdb[16];

	LOGIN(&raw, 1, "");
	disk_hold(rig.disk, VOL_READ);
	raw_cdb_rw16(cdb, false, 0, 1);
	itt = raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	disk_wait_held(rig.disk, 1);
	raw.itt = itt;
	raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_REJECT);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_REJECT_TASK_IN_PROGRESS);
	disk_release(rig.disk);
	ck_assert_int_eq(raw_finish(&raw, itt, NULL, 0, NULL), 0);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(immediate_commands_have_a_limit)
{
	unsigned rejected = 0, good = 0;
	uint8_t bhs[RAW_BHS];
	struct raw raw;

	LOGIN(&raw, 1, "");
	disk_hold(rig.disk, VOL_READ);
	for (int i = 0; i < 20; i++) {
		raw_request(&raw, bhs, ISCSI_SCSI_COMMAND, 0xc1, true);
		put_be32(bhs + 20, 512);
		raw_cdb_rw16(bhs + 32, false, 0, 1);
		ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	}
	while (rejected < 4) {
		ck_assert_int_eq(raw_recv(&raw), 0);
		ck_assert_int_eq(OPCODE(&raw), ISCSI_REJECT);
		ck_assert_uint_eq(raw.bhs[2], ISCSI_REJECT_TOO_MANY_IMMEDIATE);
		rejected++;
	}
	disk_release(rig.disk);
	for (; good < 16; good++)
		ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(the_window_follows_the_commands)
{
	struct iscsi_limits limits;
	struct raw raw;
	uint8_t cdb[16];

	teardown();
	iscsi_limits_default(&limits);
	limits.queue_depth = 4;
	iscsirig_init(&rig, &limits, 0);
	LOGIN(&raw, 1, "");
	disk_hold(rig.disk, VOL_READ);
	raw_cdb_rw16(cdb, false, 0, 1);
	for (int i = 0; i < 3; i++)
		raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	disk_wait_held(rig.disk, 3);
	/* one place is left */
	ck_assert_int_eq(raw_finish(&raw, raw_command(&raw, 0, (const uint8_t[16]){0}, 6, 0x81, 0, NULL, 0),
				    NULL, 0, NULL),
			 0);
	ck_assert_uint_eq(raw.maxcmdsn - raw.expcmdsn + 1, 1);
	raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	disk_wait_held(rig.disk, 4);
	/* none: this one is ignored */
	raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	raw.cmdsn--;
	ck_assert(iscsirig_await(&rig, "ignored_pdus", 1));
	disk_release(rig.disk);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_eq(raw.maxcmdsn - raw.expcmdsn + 1, 4);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

/* ---- NOP and text ---- */

START_TEST(nop_out_is_echoed)
{
	static char ping[5000];
	uint8_t bhs[RAW_BHS];
	struct raw raw;
	uint32_t itt;

	memset(ping, 'p', sizeof(ping));
	LOGIN(&raw, 1, "MaxRecvDataSegmentLength=4096\0");
	for (unsigned immediate = 0; immediate < 2; immediate++) {
		itt = raw_request(&raw, bhs, ISCSI_NOP_OUT, 0x80, immediate);
		put_be32(bhs + 20, ISCSI_TAG_NONE);
		bhs[9] = 3;
		ck_assert_int_eq(raw_send(&raw, bhs, ping, 333), 0);
		ck_assert_int_eq(raw_recv(&raw), 0);
		ck_assert_int_eq(OPCODE(&raw), ISCSI_NOP_IN);
		ck_assert_uint_eq(get_be32(raw.bhs + 16), itt);
		ck_assert_uint_eq(get_be32(raw.bhs + 20), ISCSI_TAG_NONE);
		ck_assert_uint_eq(raw.bhs[9], 3);
		ck_assert_uint_eq(raw.len, 333);
		ck_assert_mem_eq(raw.data, ping, 333);
	}
	/* cut to what he takes */
	raw_request(&raw, bhs, ISCSI_NOP_OUT, 0x80, true);
	ck_assert_int_eq(raw_send(&raw, bhs, ping, sizeof(ping)), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_eq(raw.len, 4096);
	/* without a tag no answer is wanted */
	raw_request(&raw, bhs, ISCSI_NOP_OUT, 0x80, true);
	put_be32(bhs + 16, ISCSI_TAG_NONE);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

static char big_ping[200000];

static void *
send_pings(void *arg)
{
	struct raw *raw = arg;

	for (int i = 0; i < 50; i++) {
		uint8_t bhs[RAW_BHS];

		raw_request(raw, bhs, ISCSI_NOP_OUT, 0x80, true);
		if (raw_send(raw, bhs, big_ping, sizeof(big_ping)) < 0)
			break;
	}
	return NULL;
}

START_TEST(pings_are_echoed_however_many)
{
	pthread_t thread;
	struct raw raw, sender;

	/* far more than may be kept: reading pauses, nothing is lost */
	LOGIN(&raw, 1, "MaxRecvDataSegmentLength=262144\0");
	sender = raw;
	ck_assert_int_eq(pthread_create(&thread, NULL, send_pings, &sender), 0);
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(raw_recv(&raw), 0);
		ck_assert_uint_eq(raw.len, sizeof(big_ping));
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(keys_of_the_full_feature_phase)
{
	static uint8_t in[8192];
	static const char text[] = "MaxRecvDataSegmentLength=1024\0MaxBurstLength=512\0X-odd=1";
	uint8_t bhs[RAW_BHS], cdb[16];
	struct raw raw;

	LOGIN(&raw, 1, "");
	raw_request(&raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	ck_assert_int_eq(raw_send(&raw, bhs, text, sizeof(text)), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert(has_text(&raw, "MaxBurstLength=Reject"));
	ck_assert(has_text(&raw, "X-odd=NotUnderstood"));
	raw_cdb_rw16(cdb, false, 0, 16);
	raw_command(&raw, 0, cdb, 16, 0xc1, 8192, NULL, 0);
	for (unsigned got = 0; got < 8192; got += raw.len) {
		ck_assert_int_eq(raw_recv(&raw), 0);
		ck_assert_uint_eq(raw.len, 1024);
		memcpy(in + got, raw.data, raw.len);
	}
	/* broken text is rejected, not fatal */
	raw_request(&raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	ck_assert_int_eq(raw_send(&raw, bhs, "nonsense", 9), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_REJECT);
	/* so is a continuation of nothing */
	raw_request(&raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
	put_be32(bhs + 20, 5);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_REJECT);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(logout_knows_its_connection)
{
	uint8_t bhs[RAW_BHS];
	struct raw raw;

	LOGIN(&raw, 1, "");
	raw_request(&raw, bhs, ISCSI_LOGOUT_REQUEST, 0x80 | ISCSI_LOGOUT_CONNECTION, false);
	put_be16(bhs + 20, 77);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_LOGOUT_RESPONSE);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_LOGOUT_NO_CID);
	raw_request(&raw, bhs, ISCSI_LOGOUT_REQUEST, 0x80 | ISCSI_LOGOUT_RECOVERY, false);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_LOGOUT_NO_RECOVERY);
	raw_request(&raw, bhs, ISCSI_LOGOUT_REQUEST, 0x80 | ISCSI_LOGOUT_CONNECTION, false);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_LOGOUT_OK);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi_server");
	TCase *tc = tcase_create("server");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, login_and_logout);
	tcase_add_test(tc, refused_logins_say_why);
	tcase_add_test(tc, login_in_two_stages);
	tcase_add_test(tc, other_requests_during_login_end_it);
	tcase_add_test(tc, discovery_names_targets_and_portals);
	tcase_add_test(tc, long_discovery_goes_out_in_pieces);
	tcase_add_test(tc, a_session_may_ask_for_its_own_target_alone);
	tcase_add_test(tc, reinstatement_waits_for_the_old_tasks);
	tcase_add_test(tc, who_waits_for_a_session_may_give_up);
	tcase_add_test(tc, isids_tell_sessions_apart);
	tcase_add_test(tc, a_connection_is_reinstated_by_its_cid);
	tcase_add_test(tc, a_removed_target_asks_for_logout);
	tcase_add_test(tc, numbers_outside_of_the_window_are_ignored);
	tcase_add_test(tc, commands_wait_for_their_turn);
	tcase_add_test(tc, rejected_requests_use_their_number_up);
	tcase_add_test(tc, a_tag_in_use_is_refused);
	tcase_add_test(tc, immediate_commands_have_a_limit);
	tcase_add_test(tc, the_window_follows_the_commands);
	tcase_add_test(tc, nop_out_is_echoed);
	tcase_add_test(tc, pings_are_echoed_however_many);
	tcase_add_test(tc, keys_of_the_full_feature_phase);
	tcase_add_test(tc, logout_knows_its_connection);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
