/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Broken, hostile and stalled peers harm themselves alone; portals and names as configured. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/iscsirig.h"

static struct iscsirig rig;

static void
setup(void)
{
	struct iscsi_limits limits;

	iscsi_limits_default(&limits);
	limits.max_connections = 4;
	iscsirig_init(&rig, &limits, 0);
}

static void
teardown(void)
{
	iscsirig_fini(&rig);
}

/* For tests that wait for time-outs; the others must not meet them on a slow machine. */
static void
be_impatient(void)
{
	struct iscsi_limits limits;

	teardown();
	iscsi_limits_default(&limits);
	limits.login_timeout_ms = 400;
	limits.nop_interval_ms = 300;
	limits.nop_timeout_ms = 300;
	iscsirig_init(&rig, &limits, 0);
}

#define LOGIN(raw, who, keys) iscsirig_login(&rig, raw, who, keys, sizeof(keys) - 1)
#define OPCODE(raw) ((raw)->bhs[0] & ISCSI_OPCODE_MASK)

/* A well-behaved neighbour finds everything as it should be. */
static void
others_are_well(void)
{
	static uint8_t block[512], back[512];
	struct raw raw;

	memset(block, 0x77, sizeof(block));
	LOGIN(&raw, 99, "");
	ck_assert_int_eq(raw_write(&raw, 0, 7, 1, 512, block), 0);
	ck_assert_int_eq(raw_read(&raw, 0, 7, 1, 512, back), 0);
	ck_assert_mem_eq(back, block, 512);
	ck_assert_int_eq(raw_logout(&raw), 0);
	raw_close(&raw);
}

/* ---- before the login ---- */

START_TEST(garbage_is_not_answered)
{
	static const char *const texts[] = {
		"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a browser that is lost\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client hello, more or less, and so on and on",
	};
	uint8_t noise[4096];
	struct raw raw;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
		ck_assert_int_eq(raw_bytes(&raw, texts[i], 48), 0);
		ck_assert_int_eq(raw_recv(&raw), -EPIPE);
		raw_close(&raw);
	}
	for (int i = 0; i < 200; i++) {
		random_bytes(noise, sizeof(noise));
		ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
		(void)raw_bytes(&raw, noise, sizeof(noise)); /* it may be cut off in the middle */
		ck_assert_int_eq(raw_wait_closed(&raw), 0);
		raw_close(&raw);
	}
	ck_assert_int_ge(iscsirig_counter(&rig, "closed_not_iscsi"), 2);
	others_are_well();
}
END_TEST

START_TEST(a_huge_login_is_closed_at_its_header)
{
	uint8_t bhs[RAW_BHS] = {0x43, 0x87};
	struct raw raw;

	put_be24(bhs + 5, 0xffffff);
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_bytes(&raw, bhs, sizeof(bhs)), 0);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	/* one byte over the 8192 of the login phase, and additional headers, are too much as well */
	put_be24(bhs + 5, 8193);
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_bytes(&raw, bhs, sizeof(bhs)), 0);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	put_be24(bhs + 5, 0);
	bhs[4] = 1;
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_bytes(&raw, bhs, sizeof(bhs)), 0);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_oversize"), 3);
	others_are_well();
}
END_TEST

START_TEST(a_login_has_its_time)
{
	struct raw silent, half;

	be_impatient();
	ck_assert_int_eq(raw_connect(&silent, rig.address), 0);
	ck_assert_int_eq(raw_connect(&half, rig.address), 0);
	ck_assert_int_eq(raw_bytes(&half, "\x43\x87\0\0\0\0\x40", 7), 0);
	ck_assert_int_eq(raw_wait_closed(&silent), 0);
	ck_assert_int_eq(raw_wait_closed(&half), 0);
	raw_close(&silent);
	raw_close(&half);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_login_timeout"), 2);
	others_are_well();
}
END_TEST

START_TEST(connections_are_limited)
{
	struct raw raw[4], more;

	for (unsigned i = 0; i < 4; i++)
		LOGIN(&raw[i], (uint8_t)i, "");
	ck_assert_int_eq(raw_connect(&more, rig.address), 0);
	ck_assert_int_eq(raw_login(&more, RIG_INITIATOR, RIG_TARGET, "", 0), ISCSI_LOGIN_OUT_OF_RESOURCES);
	ck_assert_int_eq(raw_wait_closed(&more), 0);
	raw_close(&more);
	ck_assert(iscsirig_await(&rig, "closed_connection_limit", 1));
	ck_assert_int_eq(raw_ready(&raw[3], 0), 0);
	ck_assert_int_eq(raw_logout(&raw[0]), 0);
	ck_assert(iscsirig_await_connections(&rig, 3));
	others_are_well();
	for (unsigned i = 0; i < 4; i++)
		raw_close(&raw[i]);
}
END_TEST

START_TEST(one_address_does_not_take_all_places)
{
	struct iscsi_limits limits;
	struct raw raw[2], more;

	teardown();
	iscsi_limits_default(&limits);
	limits.max_connections_per_address = 2;
	iscsirig_init(&rig, &limits, 0);
	for (unsigned i = 0; i < 2; i++)
		LOGIN(&raw[i], (uint8_t)i, "");
	ck_assert_int_eq(raw_connect(&more, rig.address), 0);
	ck_assert_int_eq(raw_login(&more, RIG_INITIATOR, RIG_TARGET, "", 0), ISCSI_LOGIN_OUT_OF_RESOURCES);
	raw_close(&more);
	/* all of 127/8 is ours, and 127.0.0.2 is somebody else */
	ck_assert_int_eq(raw_connect_from(&more, rig.address, "127.0.0.2"), 0);
	ck_assert_int_eq(raw_login(&more, RIG_INITIATOR, RIG_TARGET, "", 0), 0);
	raw_close(&more);
	ck_assert_int_eq(raw_logout(&raw[0]), 0);
	raw_close(&raw[0]);
	ck_assert(iscsirig_await_connections(&rig, 1));
	others_are_well();
	raw_close(&raw[1]);
}
END_TEST

/* Connects and says nothing more, n times; the sockets stay open. */
static void
flood(struct raw *raw, unsigned n, const char *from)
{
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(raw_connect_from(&raw[i], rig.address, from), 0);
		/* a buffer each would be gigabytes */
		if (i) {
			free(raw[i].data);
			raw[i].data = NULL;
		}
	}
}

static unsigned
files_to_spare(unsigned want)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	}
	/* ours, and those of the server while they come and go */
	return (unsigned)min_of((rlim_t)want, limit.rlim_cur / 2 - 100);
}

START_TEST(logins_that_are_never_finished_make_way)
{
	static struct raw crowd[4000];
	unsigned n = files_to_spare(ARRAY_SIZE(crowd)), done = 0;
	struct iscsi_limits limits;
	uint64_t until = clock_ns() + UINT64_C(15000000000);
	struct raw served, patient;
	long open;

	teardown();
	iscsi_limits_default(&limits);
	limits.max_connections = 4;
	limits.max_logins = 64;
	limits.login_timeout_ms = 600000; /* nobody goes for that reason, however slow the machine is */
	iscsirig_init(&rig, &limits, 0);
	LOGIN(&served, 1, "");
	ck_assert_int_eq(raw_connect_from(&patient, rig.address, "127.0.0.2"), 0);
	/* a slow machine has seen enough of it some time */
	while (done < n && (done < 500 || clock_ns() < until)) {
		unsigned some = min_of(n - done, 250u);

		flood(crowd + done, some, "127.0.0.3");
		done += some;
		/* who is logged in notices nothing, and who is quick still gets in */
		ck_assert_int_eq(raw_ready(&served, 0), 0);
		open = iscsirig_counter(&rig, "connections");
		ck_assert_msg(open <= 4 + 2 * 64, "%ld connections", open);
	}
	others_are_well();
	ck_assert_int_eq(raw_ready(&served, 0), 0);
	/* the oldest of the crowd went, not the lone one that was there before it */
	ck_assert_int_eq(raw_login(&patient, RIG_INITIATOR, RIG_TARGET, "", 0), 0);
	ck_assert_int_eq(raw_wait_closed(&crowd[0]), 0);
	ck_assert(iscsirig_await(&rig, "closed_login_crowded", (long)done - 64));
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_connection_limit"), 0);
	for (unsigned i = 0; i < done; i++)
		raw_close(&crowd[i]);
	ck_assert(iscsirig_await_connections(&rig, 2));
	raw_close(&patient);
	raw_close(&served);
}
END_TEST

START_TEST(of_many_addresses_the_oldest_goes)
{
	struct iscsi_limits limits;
	struct raw first, crowd[8];
	char from[32];

	teardown();
	iscsi_limits_default(&limits);
	limits.max_logins = 8; /* 4 a loop */
	iscsirig_init(&rig, &limits, 0);
	ck_assert_int_eq(raw_connect(&first, rig.address), 0);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(from, sizeof(from), "127.0.1.%u", i + 1);
		ck_assert_int_eq(raw_connect_from(&crowd[i], rig.address, from), 0);
	}
	ck_assert_int_eq(raw_wait_closed(&first), 0);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_login_crowded"), 1);
	ck_assert_int_eq(raw_login(&crowd[0], RIG_INITIATOR, RIG_TARGET, "", 0), 0);
	raw_close(&first);
	for (unsigned i = 0; i < 8; i++)
		raw_close(&crowd[i]);
}
END_TEST

/* ---- after it ---- */

START_TEST(oversize_in_the_full_feature_phase)
{
	uint8_t bhs[RAW_BHS];
	struct raw raw;

	LOGIN(&raw, 1, "");
	raw_request(&raw, bhs, ISCSI_NOP_OUT, 0x80, true);
	put_be24(bhs + 5, 262145);
	ck_assert_int_eq(raw_bytes(&raw, bhs, sizeof(bhs)), 0);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_oversize"), 1);
	others_are_well();
}
END_TEST

START_TEST(noise_after_the_login)
{
	uint8_t noise[65536];

	for (int i = 0; i < 100; i++) {
		struct raw raw;

		LOGIN(&raw, 1, "");
		random_bytes(noise, sizeof(noise));
		/* small lengths, so that many PDUs are seen */
		for (size_t at = 0; at + 48 <= sizeof(noise); at += 48) {
			noise[at] &= 0x1f;
			noise[at + 4] = 0;
			noise[at + 5] = noise[at + 6] = noise[at + 7] = 0;
		}
		(void)raw_bytes(&raw, noise, 4800); /* it may be cut off in the middle */
		shutdown(raw.fd, SHUT_WR);
		ck_assert_int_eq(raw_wait_closed(&raw), 0);
		raw_close(&raw);
	}
	others_are_well();
	ck_assert(iscsirig_await_sessions(&rig, 0));
}
END_TEST

START_TEST(silence_is_asked_for_a_sign_of_life)
{
	uint8_t bhs[RAW_BHS];
	struct raw raw;

	be_impatient();
	LOGIN(&raw, 1, "");
	for (int i = 0; i < 2; i++) {
		uint32_t ttt;

		ck_assert_int_eq(raw_recv(&raw), 0);
		ck_assert_int_eq(OPCODE(&raw), ISCSI_NOP_IN);
		ck_assert_uint_eq(get_be32(raw.bhs + 16), ISCSI_TAG_NONE);
		ttt = get_be32(raw.bhs + 20);
		ck_assert_uint_ne(ttt, ISCSI_TAG_NONE);
		ck_assert_uint_eq(get_be32(raw.bhs + 24), raw.expstatsn);
		raw_request(&raw, bhs, ISCSI_NOP_OUT, 0x80, true);
		put_be32(bhs + 16, ISCSI_TAG_NONE);
		put_be32(bhs + 20, ttt);
		ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	}
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	/* and now no answer */
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_nop_timeout"), 1);
	ck_assert_int_ge(iscsirig_counter(&rig, "nop_ins_sent"), 3);
	others_are_well();
}
END_TEST

/* Answers pings for as long as the connection lives. */
static void
live_until_closed(struct raw *raw)
{
	int rc;

	while ((rc = raw_recv(raw)) == 0) {
		uint8_t bhs[RAW_BHS];

		if (OPCODE(raw) != ISCSI_NOP_IN)
			continue;
		raw_request(raw, bhs, ISCSI_NOP_OUT, 0x80, true);
		put_be32(bhs + 16, ISCSI_TAG_NONE);
		memcpy(bhs + 20, raw->bhs + 20, 4);
		(void)raw_send(raw, bhs, NULL, 0); /* closed at the same moment */
	}
	ck_assert_int_eq(rc, -EPIPE);
}

START_TEST(data_that_was_asked_for_must_come)
{
	size_t before;
	struct raw raw;
	uint8_t cdb[16];

	be_impatient();
	before = arena_free_pages(rig.arena);
	LOGIN(&raw, 1, "");
	raw_cdb_rw16(cdb, true, 0, 2048);
	raw_command(&raw, 0, cdb, 16, 0xa1, 1u << 20, NULL, 0);
	live_until_closed(&raw);
	raw_close(&raw);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_stalled"), 1);
	others_are_well();
	ck_assert(iscsirig_await_sessions(&rig, 0));
	ck_assert_uint_ge(arena_free_pages(rig.arena) + 64, before);
}
END_TEST

START_TEST(a_reset_forgets_what_was_asked_for)
{
	uint64_t until;
	struct raw raw;
	uint8_t cdb[16];

	be_impatient();
	/* an initiator with FastAbort sends no more data for it: nobody may wait for that */
	LOGIN(&raw, 1, "");
	raw_cdb_rw16(cdb, true, 0, 128);
	raw_command(&raw, 0, cdb, 16, 0xa1, 65536, NULL, 0);
	until = clock_ns() + 1000000000;
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_LU_RESET, 0, 0, 0), ISCSI_TMF_COMPLETE);
	while (clock_ns() < until)
		ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_stalled"), 0);
}
END_TEST

START_TEST(a_data_out_that_stops_in_the_middle)
{
	uint8_t bhs[RAW_BHS], cdb[16];
	struct raw raw;

	be_impatient();
	LOGIN(&raw, 1, "");
	raw_cdb_rw16(cdb, true, 0, 128);
	raw_command(&raw, 0, cdb, 16, 0xa1, 65536, NULL, 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_R2T);
	memset(bhs, 0, sizeof(bhs));
	bhs[0] = ISCSI_DATA_OUT;
	bhs[1] = 0x80;
	put_be24(bhs + 5, 65536);
	memcpy(bhs + 16, raw.bhs + 16, 8);
	ck_assert_int_eq(raw_bytes(&raw, bhs, sizeof(bhs)), 0);
	ck_assert_int_eq(raw_bytes(&raw, raw.data, 10000), 0);
	others_are_well();
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	ck_assert_uint_eq(rig.disk->bytes[0], 0);
	others_are_well();
}
END_TEST

START_TEST(many_that_owe_their_data_hold_no_more_than_their_part)
{
	size_t before = arena_free_pages(rig.arena), held;
	uint8_t cdb[16];
	struct raw raw;

	/* a window full of writes of 1 MiB, none of which ever gets its data: 128 MiB for an arena of 64 */
	LOGIN(&raw, 1, "");
	raw_cdb_rw16(cdb, true, 0, 2048);
	for (int i = 0; i < 100; i++)
		raw_command(&raw, 0, cdb, 16, 0xa1, 1u << 20, NULL, 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_R2T);
	for (int i = 0; i < 5; i++)
		others_are_well();
	held = before - min_of(before, (size_t)arena_free_pages(rig.arena));
	ck_assert_msg(held <= ((8u << 20) + (2u << 20)) / PAGE_SIZE_BYTES, "%zu pages are held", held);
	raw_close(&raw);
	ck_assert(iscsirig_await_sessions(&rig, 0));
	ck_assert(iscsirig_await_connections(&rig, 0));
	ck_assert_uint_ge(arena_free_pages(rig.arena) + 64, before);
}
END_TEST

START_TEST(who_does_not_read_is_not_read_from)
{
	uint8_t cdb[16];
	struct raw raw;

	be_impatient();
	/* answers far beyond what sockets hold */
	LOGIN(&raw, 1, "MaxRecvDataSegmentLength=262144\0");
	raw_cdb_rw16(cdb, false, 0, 2048);
	for (int i = 0; i < 40; i++)
		raw_command(&raw, 0, cdb, 16, 0xc1, 1u << 20, NULL, 0);
	others_are_well();
	/* whichever is noticed first: answers make no way, or the ping among them is not answered */
	ck_assert(iscsirig_await_connections(&rig, 0));
	ck_assert_int_eq(
		iscsirig_counter(&rig, "closed_stalled") + iscsirig_counter(&rig, "closed_nop_timeout"), 1);
	raw_close(&raw);
}
END_TEST

START_TEST(who_reads_a_byte_now_and_then_does_not_read)
{
	uint64_t until = clock_ns() + UINT64_C(8000000000);
	uint8_t cdb[16], byte;
	struct raw raw;

	be_impatient();
	LOGIN(&raw, 1, "MaxRecvDataSegmentLength=262144\0");
	raw_cdb_rw16(cdb, false, 0, 2048);
	for (int i = 0; i < 40; i++)
		raw_command(&raw, 0, cdb, 16, 0xc1, 1u << 20, NULL, 0);
	while (iscsirig_counter(&rig, "connections") > 0 && clock_ns() < until) {
		ck_assert_int_ge(recv(raw.fd, &byte, 1, MSG_DONTWAIT), -1);
		usleep(1000);
	}
	ck_assert(iscsirig_await_connections(&rig, 0));
	raw_close(&raw);
	others_are_well();
}
END_TEST

START_TEST(an_idle_session_may_be_closed)
{
	struct iscsi_limits limits;
	struct raw raw;

	teardown();
	iscsi_limits_default(&limits);
	limits.idle_timeout_ms = 150;
	iscsirig_init(&rig, &limits, 0);
	LOGIN(&raw, 1, "");
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_ASYNC_MESSAGE);
	ck_assert_uint_eq(raw.bhs[36], ISCSI_ASYNC_DROP_CONNECTION);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	ck_assert(iscsirig_await(&rig, "closed_idle", 1));
}
END_TEST

/* ---- portals, names ---- */

START_TEST(portals_say_what_is_wrong)
{
	static const struct {
		const char *address;
		int rc;
		const char *words;
	} rows[] = {
		{"localhost:3260", -EINVAL, "no portal address"},
		{"127.0.0.1", -EINVAL, "no portal address"},
		{"127.0.0.1:", -EINVAL, "no portal address"},
		{"127.0.0.1:70000", -EINVAL, "no portal address"},
		{"127.0.0.1:3260x", -EINVAL, "no portal address"},
		{":3260", -EINVAL, "no portal address"},
		{"::1:3260", -EINVAL, "no portal address"},
		{"[::1:3260", -EINVAL, "no portal address"},
		{"[]:3260", -EINVAL, "no portal address"},
		{"192.0.2.1:0", -EADDRNOTAVAIL, "no such address"},
	};
	struct errinfo info;
	char bound[64];
	struct raw raw;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ck_assert_int_eq(iscsi_portal_add(rig.server, rows[i].address, NULL, &info), rows[i].rc);
		ck_assert_msg(strstr(info.text, rows[i].words) != NULL, "%s: %s", rows[i].address, info.text);
	}
	ck_assert_int_eq(iscsi_portal_add(rig.server, rig.address, NULL, &info), -EADDRINUSE);
	ck_assert_msg(strstr(info.text, "in use") != NULL, "%s", info.text);
	/* IPv6, where the machine has it */
	if (iscsi_portal_add(rig.server, "[::1]:0", bound, &info) == 0) {
		ck_assert_int_eq(strncmp(bound, "[::1]:", 6), 0);
		ck_assert_int_eq(raw_connect(&raw, bound), 0);
		ck_assert_int_eq(raw_login(&raw, RIG_INITIATOR, RIG_TARGET, "", 0), 0);
		raw_close(&raw);
		ck_assert_int_eq(iscsi_portal_remove(rig.server, "[::1]:0"), 0);
	}
	/* a removed portal is free again; sessions stay */
	LOGIN(&raw, 1, "");
	ck_assert_int_eq(iscsi_portal_remove(rig.server, rig.address), 0);
	ck_assert_int_eq(iscsi_portal_remove(rig.server, rig.address), -ENOENT);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	ck_assert_int_eq(iscsi_portal_add(rig.server, rig.address, bound, &info), 0);
	ck_assert_str_eq(bound, rig.address);
	raw_close(&raw);
}
END_TEST

START_TEST(names_are_checked)
{
	static const struct {
		const char *name;
		bool good;
	} rows[] = {
		{"iqn.2024-01.org.lungate:disk1", true},
		{"iqn.2024-01.org.lungate", true},
		{"IQN.2024-12.Org.Lungate:A.b-c", true},
		{"eui.0123456789abcDEF", true},
		{"naa.0123456789abcdef", true},
		{"naa.0123456789abcdef0123456789abcdef", true},
		{"", false},
		{"disk1", false},
		{"iqn.", false},
		{"iqn.2024-1.org:a", false},
		{"iqn.2024-13.org:a", false},
		{"iqn.2024-00.org:a", false},
		{"iqn.2024-01.", false},
		{"iqn.2024-01.:a", false},
		{"iqn.2024-01.org:a b", false},
		{"iqn.2024-01.org:a_b", false},
		{"eui.0123", false},
		{"eui.0123456789abcdeg", false},
		{"naa.012", false},
	};
	struct errinfo info;
	char big[300];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ck_assert_msg((iscsi_name_check(rows[i].name, &info) == 0) == rows[i].good, "%s: %s",
			      rows[i].name, info.text);
	memset(big, 'a', sizeof(big));
	memcpy(big, "iqn.2024-01.org:", 16);
	big[224] = 0;
	ck_assert_int_eq(iscsi_name_check(big, &info), -EINVAL);
	big[223] = 0;
	ck_assert_int_eq(iscsi_name_check(big, &info), 0);
	ck_assert_int_eq(iscsi_target_add(rig.server, RIG_TARGET, rig.scsi, NULL, &info), -EEXIST);
	ck_assert_int_eq(iscsi_target_add(rig.server, "nonsense", rig.scsi, NULL, &info), -EINVAL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi_rude");
	TCase *tc = tcase_create("rude");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, garbage_is_not_answered);
	tcase_add_test(tc, a_huge_login_is_closed_at_its_header);
	tcase_add_test(tc, a_login_has_its_time);
	tcase_add_test(tc, connections_are_limited);
	tcase_add_test(tc, one_address_does_not_take_all_places);
	tcase_add_test(tc, logins_that_are_never_finished_make_way);
	tcase_add_test(tc, of_many_addresses_the_oldest_goes);
	tcase_add_test(tc, many_that_owe_their_data_hold_no_more_than_their_part);
	tcase_add_test(tc, who_reads_a_byte_now_and_then_does_not_read);
	tcase_add_test(tc, oversize_in_the_full_feature_phase);
	tcase_add_test(tc, noise_after_the_login);
	tcase_add_test(tc, silence_is_asked_for_a_sign_of_life);
	tcase_add_test(tc, data_that_was_asked_for_must_come);
	tcase_add_test(tc, a_reset_forgets_what_was_asked_for);
	tcase_add_test(tc, a_data_out_that_stops_in_the_middle);
	tcase_add_test(tc, who_does_not_read_is_not_read_from);
	tcase_add_test(tc, an_idle_session_may_be_closed);
	tcase_add_test(tc, portals_say_what_is_wrong);
	tcase_add_test(tc, names_are_checked);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
