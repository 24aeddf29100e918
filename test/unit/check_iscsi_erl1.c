/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recovery within a connection: digests, missing PDUs, SNACK, acknowledgements, what is kept. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/iscsirig.h"

#define KEYS                                                                                                 \
	"ErrorRecoveryLevel=1\0DataDigest=CRC32C\0HeaderDigest=CRC32C\0InitialR2T=No\0ImmediateData=Yes\0"   \
	"MaxBurstLength=4096\0FirstBurstLength=4096\0MaxRecvDataSegmentLength=1024\0"
#define OPCODE(raw) ((raw)->bhs[0] & ISCSI_OPCODE_MASK)
#define LEN (16u << 10)
#define DEPTH 8

static struct iscsirig rig;
static struct raw raw;
static uint8_t out[LEN], in[LEN], old[LEN];

/* Pings come whenever an acknowledgement is late. */
static int
next_pdu(void)
{
	int rc;

	do
		rc = raw_recv(&raw);
	while (rc == 0 && OPCODE(&raw) == ISCSI_NOP_IN);
	return rc;
}

static void
start(unsigned nop_ms)
{
	struct iscsi_limits limits;

	iscsi_limits_default(&limits);
	limits.queue_depth = DEPTH;
	if (nop_ms) {
		limits.nop_interval_ms = nop_ms;
		limits.nop_timeout_ms = 20000;
	}
	iscsirig_init(&rig, &limits, 0);
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_login(&raw, RIG_INITIATOR, RIG_TARGET, KEYS, sizeof(KEYS) - 1), 0);
	raw.header_digest = raw.data_digest = true;
	raw.max_send = 1024;
	raw.first_burst = 4096;
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
}

static void
setup(void)
{
	for (unsigned i = 0; i < LEN; i++) {
		out[i] = (uint8_t)(i * 7 + i / 512);
		old[i] = (uint8_t)(i * 3 + 1);
	}
	start(0);
	raw.immediate = false;
	ck_assert_int_eq(raw_write(&raw, 0, 0, LEN / 512, 512, old), 0);
}

static void
teardown(void)
{
	raw_close(&raw);
	ck_assert(iscsirig_await_connections(&rig, 0));
	iscsirig_fini(&rig);
}

static uint32_t
begin_write(uint8_t flags, const void *data, uint32_t now)
{
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, true, 0, LEN / 512);
	return raw_command(&raw, 0, cdb, 16, flags, LEN, data, now);
}

/* Everything that is asked for; the status. */
static int
serve(uint32_t itt, uint32_t *ret_r2ts)
{
	uint32_t next = *ret_r2ts;

	for (;;) {
		uint32_t ttt, offset, len;

		ck_assert_int_eq(next_pdu(), 0);
		if (OPCODE(&raw) == ISCSI_NOP_IN)
			continue;
		if (OPCODE(&raw) != ISCSI_R2T)
			break;
		ck_assert_uint_eq(get_be32(raw.bhs + 36), next++);
		ttt = get_be32(raw.bhs + 20);
		offset = get_be32(raw.bhs + 40);
		len = get_be32(raw.bhs + 44);
		for (uint32_t at = 0, sn = 0; at < len; at += 1024, sn++)
			ck_assert_int_eq(raw_data_out(&raw, itt, ttt, sn, offset + at, at + 1024 >= len,
						      out + offset + at, min_of(1024u, len - at)),
					 0);
	}
	*ret_r2ts = next;
	ck_assert_int_eq(OPCODE(&raw), ISCSI_SCSI_RESPONSE);
	ck_assert_uint_eq(get_be32(raw.bhs + 16), itt);
	return raw.bhs[3];
}

static void
expect_reject(uint8_t reason)
{
	do
		ck_assert_int_eq(next_pdu(), 0);
	while (OPCODE(&raw) == ISCSI_NOP_IN);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_REJECT);
	ck_assert_int_eq(raw.bhs[2], reason);
}

static void
expect_written(void)
{
	ck_assert_int_eq(raw_read(&raw, 0, 0, LEN / 512, 512, in), 0);
	ck_assert_mem_eq(in, out, LEN);
}

static void
snack(uint8_t type, uint32_t itt, uint32_t ttt, uint32_t from, uint32_t n)
{
	uint8_t bhs[RAW_BHS] = {ISCSI_SNACK_REQUEST, (uint8_t)(0x80 | type)};

	put_be32(bhs + 16, itt);
	put_be32(bhs + 20, ttt);
	put_be32(bhs + 28, raw.expstatsn);
	put_be32(bhs + 40, from);
	put_be32(bhs + 44, n);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
}

START_TEST(a_level_is_agreed)
{
	static const struct {
		const char *key, *level;
	} offers[] = {
		{"ErrorRecoveryLevel=0", "0"}, {"ErrorRecoveryLevel=1", "1"}, {"ErrorRecoveryLevel=2", "2"}};

	for (unsigned i = 0; i < 3; i++) {
		struct raw other;
		json_t *list;
		const json_t *params;

		raw_close(&raw);
		ck_assert(iscsirig_await_connections(&rig, 0));
		iscsirig_login(&rig, &other, 1, offers[i].key, strlen(offers[i].key) + 1);
		list = iscsi_sessions(rig.server, NULL);
		params = json_object_get(
			json_array_get(json_object_get(json_array_get(list, 0), "connections"), 0), "params");
		ck_assert_str_eq(json_string_value(json_object_get(params, "ErrorRecoveryLevel")),
				 offers[i].level);
		json_decref(list);
		ck_assert_int_eq(raw_logout(&other), 0);
		raw_close(&other);
	}
}
END_TEST

/* _i: which PDU of the burst is spoilt; with one more, which is left out. */
START_TEST(solicited_data_is_asked_for_again)
{
	uint32_t itt = begin_write(0xa1, NULL, 0), ttt, r2ts = 1;
	bool lose = _i >= 4;
	uint32_t which = (uint32_t)_i % 4;

	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_R2T);
	ttt = get_be32(raw.bhs + 20);
	ck_assert_uint_eq(get_be32(raw.bhs + 44), 4096);
	for (uint32_t i = 0; i < 4; i++) {
		if (i == which && lose)
			continue;
		raw.spoil_data = i == which;
		ck_assert_int_eq(raw_data_out(&raw, itt, ttt, i, i * 1024, i == 3,
					      i == which ? old : out + i * 1024, 1024),
				 0);
	}
	if (!lose)
		expect_reject(ISCSI_REJECT_DATA_DIGEST);
	/* the rest of the sequence, by a new R2T */
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_R2T);
	ck_assert_uint_ne(get_be32(raw.bhs + 20), ttt);
	ck_assert_uint_eq(get_be32(raw.bhs + 36), r2ts);
	ck_assert_uint_eq(get_be32(raw.bhs + 40), which * 1024);
	ck_assert_uint_eq(get_be32(raw.bhs + 44), 4096 - which * 1024);
	/* the old tag has had its time */
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0, true, old, 1024), 0);
	ttt = get_be32(raw.bhs + 20);
	for (uint32_t at = which * 1024, sn = 0; at < 4096; at += 1024, sn++)
		ck_assert_int_eq(raw_data_out(&raw, itt, ttt, sn, at, at == 3072, out + at, 1024), 0);
	r2ts++;
	ck_assert_int_eq(serve(itt, &r2ts), 0);
	/* four bursts, and one more */
	ck_assert_uint_eq(r2ts, 5);
	ck_assert_uint_eq(get_be32(raw.bhs + 36), 5);
	expect_written();
}
END_TEST

START_TEST(unsolicited_data_is_asked_for)
{
	uint32_t itt = begin_write(0x21, out, 1024), r2ts = 0;

	for (uint32_t i = 1; i < 4; i++) {
		raw.spoil_data = i == (uint32_t)_i;
		ck_assert_int_eq(raw_data_out(&raw, itt, UINT32_MAX, i - 1, i * 1024, i == 3,
					      i == (uint32_t)_i ? old : out + i * 1024, 1024),
				 0);
	}
	expect_reject(ISCSI_REJECT_DATA_DIGEST);
	ck_assert_int_eq(serve(itt, &r2ts), 0);
	expect_written();
}
END_TEST

START_TEST(a_spoilt_command_is_retried)
{
	uint32_t itt, r2ts = 0, sn = raw.cmdsn;

	raw.spoil_data = true;
	itt = begin_write(0xa1, old, 1024);
	expect_reject(ISCSI_REJECT_DATA_DIGEST);
	ck_assert_uint_eq(raw.expcmdsn, sn);
	raw.cmdsn = sn;
	raw.itt = itt;
	ck_assert_uint_eq(begin_write(0xa1, out, 1024), itt);
	ck_assert_int_eq(serve(itt, &r2ts), 0);
	ck_assert_uint_eq(raw.expcmdsn, sn + 1);
	expect_written();
	/* twice is once */
	itt = begin_write(0xa1, out, 1024);
	raw.cmdsn--;
	raw.itt = itt;
	begin_write(0xa1, out, 1024);
	r2ts = 0;
	ck_assert_int_eq(serve(itt, &r2ts), 0);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
}
END_TEST

START_TEST(a_spoilt_header_ends_the_connection)
{
	static const uint8_t tur[6];

	raw.spoil_header = true;
	raw_command(&raw, 0, tur, 6, 0x81, 0, NULL, 0);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	ck_assert(iscsirig_await(&rig, "closed_header_digest", 1));
}
END_TEST

START_TEST(a_status_comes_again)
{
	static const uint8_t tur[6];
	uint32_t before = raw.expstatsn, itt[3];
	uint8_t bhs[RAW_BHS];

	for (unsigned i = 0; i < 3; i++) {
		raw.expstatsn = before;
		/* the second fails, and has sense data */
		itt[i] = raw_command(&raw, i == 1 ? 5 : 0, tur, 6, 0x81, 0, NULL, 0);
		ck_assert_int_eq(raw_finish(&raw, itt[i], NULL, 0, NULL), i == 1 ? 2 : 0);
		if (i == 1)
			memcpy(bhs, raw.bhs, sizeof(bhs));
	}
	raw.expstatsn = before;
	snack(1, UINT32_MAX, UINT32_MAX, before + 1, 1);
	ck_assert_int_eq(next_pdu(), 0);
	/* but for the window it is the same */
	ck_assert_mem_eq(raw.bhs, bhs, 28);
	ck_assert_mem_eq(raw.bhs + 36, bhs + 36, 12);
	ck_assert_uint_ne(raw_sense(&raw), 0);
	raw.expstatsn = before;
	snack(1, UINT32_MAX, UINT32_MAX, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(next_pdu(), 0);
		ck_assert_uint_eq(get_be32(raw.bhs + 16), itt[i]);
		ck_assert_uint_eq(get_be32(raw.bhs + 24), before + i);
	}
	/* acknowledged; never given */
	raw.expstatsn = before + 2;
	snack(1, UINT32_MAX, UINT32_MAX, before, 1);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	snack(1, UINT32_MAX, UINT32_MAX, before + 2, 77);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
}
END_TEST

START_TEST(data_comes_again_as_it_was)
{
	uint32_t before = raw.expstatsn, itt, ttt = 0, acks = 0, status;
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, false, 0, LEN / 512);
	itt = raw_command(&raw, 0, cdb, 16, 0xc1, LEN, NULL, 0);
	for (uint32_t i = 0; i < LEN / 1024; i++) {
		ck_assert_int_eq(next_pdu(), 0);
		ck_assert_int_eq(OPCODE(&raw), ISCSI_DATA_IN);
		ck_assert_uint_eq(get_be32(raw.bhs + 36), i);
		ck_assert_uint_eq(get_be32(raw.bhs + 40), i * 1024);
		ck_assert_int_eq(!!(raw.bhs[1] & ISCSI_FINAL), i % 4 == 3);
		ck_assert_int_eq(raw.bhs[1] & ISCSI_DATA_STATUS, 0);
		if (raw.bhs[1] & ISCSI_DATA_ACK) {
			ttt = get_be32(raw.bhs + 20);
			ck_assert_uint_ne(ttt, UINT32_MAX);
			acks++;
		}
	}
	ck_assert_uint_eq(acks, 3);
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_SCSI_RESPONSE);
	ck_assert_uint_eq(get_be32(raw.bhs + 36), LEN / 1024);
	status = raw.expstatsn;
	/* what is written meanwhile is not what was read */
	raw.expstatsn = before;
	ck_assert_int_eq(raw_write(&raw, 0, 0, 8, 512, out), 0);
	raw.expstatsn = before;
	snack(0, itt, UINT32_MAX, 2, 5);
	for (uint32_t i = 2; i < 7; i++) {
		ck_assert_int_eq(next_pdu(), 0);
		ck_assert_int_eq(OPCODE(&raw), ISCSI_DATA_IN);
		ck_assert_uint_eq(get_be32(raw.bhs + 36), i);
		ck_assert_uint_eq(get_be32(raw.bhs + 40), i * 1024);
		ck_assert_int_eq(!!(raw.bhs[1] & ISCSI_DATA_ACK), i == 3);
		ck_assert_mem_eq(raw.data, old + i * 1024, 1024);
	}
	/* all of it; a part that never was; one that he has; other segments */
	snack(0, itt, UINT32_MAX, 0, 0);
	for (uint32_t i = 0; i < LEN / 1024; i++) {
		ck_assert_int_eq(next_pdu(), 0);
		ck_assert_mem_eq(raw.data, old + i * 1024, 1024);
	}
	snack(0, itt, UINT32_MAX, 10, 7);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	raw.expstatsn = before;
	snack(2, UINT32_MAX, ttt, 8, 0);
	snack(0, itt, UINT32_MAX, 7, 2);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	raw.expstatsn = before;
	snack(2, UINT32_MAX, ttt, 99, 0);
	expect_reject(ISCSI_REJECT_INVALID_DATA_ACK);
	raw.expstatsn = before;
	snack(2, UINT32_MAX, ttt ^ 16, 8, 0);
	expect_reject(ISCSI_REJECT_INVALID_DATA_ACK);
	raw.expstatsn = before;
	/* R-Data has neither a BegRun nor a RunLength, but a tag */
	snack(3, itt, 1, 8, 0);
	expect_reject(ISCSI_REJECT_INVALID_FIELD);
	raw.expstatsn = before;
	snack(3, itt, 1, 0, 1);
	expect_reject(ISCSI_REJECT_INVALID_FIELD);
	raw.expstatsn = before;
	snack(3, itt, 0, 0, 0);
	expect_reject(ISCSI_REJECT_INVALID_FIELD);
	raw.expstatsn = before;
	snack(3, itt, UINT32_MAX, 0, 0);
	expect_reject(ISCSI_REJECT_INVALID_FIELD);
	raw.expstatsn = before;
	snack(3, itt + 9, 1, 0, 0);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	raw.expstatsn = before;
	snack(4, itt, 1, 0, 0);
	expect_reject(ISCSI_REJECT_INVALID_FIELD);
	raw.expstatsn = before;
	snack(0, itt + 9, UINT32_MAX, 0, 1);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	/* with its status acknowledged the task is over */
	raw.expstatsn = status;
	snack(0, itt, UINT32_MAX, 9, 1);
	expect_reject(ISCSI_REJECT_PROTOCOL);
}
END_TEST

/* From now on, by a Text negotiation. */
static void
change_segment(const char *length)
{
	uint8_t bhs[RAW_BHS];
	char text[64];
	int len = snprintf(text, sizeof(text), "MaxRecvDataSegmentLength=%s", length) + 1;

	raw_request(&raw, bhs, ISCSI_TEXT_REQUEST, 0x80, true);
	put_be32(bhs + 20, UINT32_MAX);
	ck_assert_int_eq(raw_send(&raw, bhs, text, (uint32_t)len), 0);
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_TEXT_RESPONSE);
	ck_assert_int_eq(raw.bhs[1], ISCSI_FINAL);
}

static uint32_t
begin_read(void)
{
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, false, 0, LEN / 512);
	return raw_command(&raw, 0, cdb, 16, 0xc1, LEN, NULL, 0);
}

/* Data-In from this DataSN and byte on, then the response with this tag; its ExpDataSN.  The end of each burst. */
static uint32_t
expect_read(uint32_t itt, uint32_t datasn, uint32_t at, uint32_t segment, uint32_t tag)
{
	while (at < LEN) {
		uint32_t burst_left = 4096 - at % 4096, len = min_of(segment, burst_left);

		ck_assert_int_eq(next_pdu(), 0);
		ck_assert_int_eq(OPCODE(&raw), ISCSI_DATA_IN);
		ck_assert_uint_eq(get_be32(raw.bhs + 16), itt);
		ck_assert_uint_eq(get_be32(raw.bhs + 36), datasn++);
		ck_assert_uint_eq(get_be32(raw.bhs + 40), at);
		ck_assert_uint_eq(raw.len, len);
		ck_assert_int_eq(!!(raw.bhs[1] & ISCSI_FINAL), len == burst_left);
		ck_assert_int_eq(!!(raw.bhs[1] & ISCSI_DATA_ACK), len == burst_left && at + len < LEN);
		ck_assert_mem_eq(raw.data, old + at, len);
		at += len;
	}
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_SCSI_RESPONSE);
	ck_assert_uint_eq(get_be32(raw.bhs + 16), itt);
	ck_assert_uint_eq(get_be32(raw.bhs + 20), tag);
	ck_assert_uint_eq(get_be32(raw.bhs + 36), datasn);
	return get_be32(raw.bhs + 24);
}

START_TEST(data_is_cut_anew)
{
	uint32_t before = raw.expstatsn, itt = begin_read(), statsn, ttt;

	statsn = expect_read(itt, 0, 0, 1024, 0);
	raw.expstatsn = before;
	ck_assert_int_eq(raw_write(&raw, 0, 0, LEN / 512, 512, out), 0);
	raw.expstatsn = before;
	change_segment("512");
	/* what it got before would be too long: it has to be R-Data */
	raw.expstatsn = before;
	snack(0, itt, UINT32_MAX, 0, 0);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	raw.expstatsn = before;
	snack(3, itt, 77, 0, 0);
	ck_assert_uint_eq(expect_read(itt, 0, 0, 512, 77), statsn);
	/* these can be had again one by one; a tag serves once */
	raw.expstatsn = before;
	snack(0, itt, UINT32_MAX, 31, 1);
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_uint_eq(get_be32(raw.bhs + 40), 31 * 512);
	ck_assert_mem_eq(raw.data, old + 31 * 512, 512);
	snack(0, itt, UINT32_MAX, 32, 1);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	raw.expstatsn = before;
	snack(3, itt, 77, 0, 0);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	/* longer ones, when 8 PDUs, two bursts, are acknowledged; and shorter ones in the middle of a burst */
	raw.expstatsn = before;
	change_segment("1536");
	raw.expstatsn = before;
	snack(0, itt, UINT32_MAX, 7, 1);
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_uint_eq(raw.len, 512);
	ck_assert_int_eq(raw.bhs[1] & ISCSI_DATA_ACK, ISCSI_DATA_ACK);
	ttt = get_be32(raw.bhs + 20);
	snack(2, UINT32_MAX, ttt, 8, 0);
	snack(3, itt, 78, 0, 0);
	ck_assert_uint_eq(expect_read(itt, 8, 4096, 1536, 78), statsn);
	raw.expstatsn = before;
	snack(2, UINT32_MAX, ttt, 12, 0);
	change_segment("700");
	raw.expstatsn = before;
	snack(3, itt, 79, 0, 0);
	ck_assert_uint_eq(expect_read(itt, 12, 8192 + 1536, 700, 79), statsn);
	/* without a run: all that is not acknowledged */
	raw.expstatsn = before;
	snack(0, itt, UINT32_MAX, 0, 0);
	for (uint32_t at = 8192 + 1536, i = 12; at < LEN; at += raw.len, i++) {
		ck_assert_int_eq(next_pdu(), 0);
		ck_assert_uint_eq(get_be32(raw.bhs + 36), i);
		ck_assert_uint_eq(get_be32(raw.bhs + 40), at);
	}
	/* a response that is asked for has the last tag */
	snack(1, UINT32_MAX, UINT32_MAX, statsn, 1);
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_uint_eq(get_be32(raw.bhs + 16), itt);
	ck_assert_uint_eq(get_be32(raw.bhs + 20), 79);
	/* with its status acknowledged it is over */
	raw.expstatsn = statsn + 1;
	snack(3, itt, 80, 0, 0);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	ck_assert_int_eq(raw_read(&raw, 0, 0, LEN / 512, 512, in), 0);
	ck_assert_mem_eq(in, out, LEN);
}
END_TEST

/* Nothing of the answer is there yet: it will have the tag, and the length of segments that holds then. */
START_TEST(data_is_cut_anew_before_it_is_there)
{
	uint32_t itt;

	disk_hold(rig.disk, VOL_READ);
	itt = begin_read();
	disk_wait_held(rig.disk, 1);
	change_segment("512");
	snack(3, itt, 5, 0, 0);
	snack(3, itt, 6, 0, 0);
	/* that they have come */
	change_segment("2048");
	disk_release(rig.disk);
	expect_read(itt, 0, 0, 2048, 6);
	/* a write has no Data-In */
	itt = begin_write(0xa1, NULL, 0);
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_R2T);
	snack(3, itt, 1, 0, 0);
	expect_reject(ISCSI_REJECT_PROTOCOL);
}
END_TEST

/* More than the socket takes: some catch an answer in the middle, or one another.  What counts is what follows the last. */
START_TEST(data_is_cut_anew_on_its_way)
{
	uint32_t before = raw.expstatsn, itt = begin_read(), tag = 0, statsn = 0;

	for (uint32_t i = 1; i <= 600; i++) {
		raw.expstatsn = before;
		snack(3, itt, i, 0, 0);
		if (i % 7 == 0)
			snack(0, itt, UINT32_MAX, 0, 0);
	}
	while (tag < 600) {
		ck_assert_int_eq(next_pdu(), 0);
		ck_assert_uint_le(raw.len, 1024);
		if (OPCODE(&raw) == ISCSI_DATA_IN) {
			ck_assert_uint_le(get_be32(raw.bhs + 40) + raw.len, LEN);
			ck_assert_mem_eq(raw.data, old + get_be32(raw.bhs + 40), raw.len);
			continue;
		}
		/* when so many wait, some are refused */
		if (OPCODE(&raw) == ISCSI_REJECT) {
			if (raw.data[1] == (0x80 | 3) && get_be32(raw.data + 20) == 600)
				break;
			continue;
		}
		ck_assert_int_eq(OPCODE(&raw), ISCSI_SCSI_RESPONSE);
		ck_assert_uint_ge(get_be32(raw.bhs + 20), tag);
		tag = get_be32(raw.bhs + 20);
		ck_assert(!statsn || get_be32(raw.bhs + 24) == statsn);
		statsn = get_be32(raw.bhs + 24);
	}
	raw.expstatsn = before;
	snack(3, itt, 601, 0, 0);
	ck_assert_uint_eq(expect_read(itt, 0, 0, 1024, 601), statsn);
}
END_TEST

START_TEST(an_r2t_comes_again)
{
	uint32_t itt = begin_write(0xa1, NULL, 0), r2ts = 0;
	uint8_t bhs[RAW_BHS];

	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_R2T);
	memcpy(bhs, raw.bhs, sizeof(bhs));
	snack(0, itt, UINT32_MAX, 1, 1);
	expect_reject(ISCSI_REJECT_PROTOCOL);
	snack(0, itt, UINT32_MAX, 0, 1);
	/* serve() takes it: the same number, the same tag */
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_mem_eq(raw.bhs, bhs, 24);
	ck_assert_mem_eq(raw.bhs + 36, bhs + 36, 12);
	snack(0, itt, UINT32_MAX, 0, 0);
	ck_assert_int_eq(serve(itt, &r2ts), 0);
	ck_assert_uint_eq(r2ts, 4);
	expect_written();
	snack(0, itt, UINT32_MAX, 0, 1);
	expect_reject(ISCSI_REJECT_PROTOCOL);
}
END_TEST

START_TEST(data_that_never_comes_is_asked_for)
{
	uint32_t itt, ttt, r2ts = 1;

	teardown();
	start(300);
	itt = begin_write(0xa1, NULL, 0);
	ck_assert_int_eq(next_pdu(), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_R2T);
	ttt = get_be32(raw.bhs + 20);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0, false, out, 1024), 0);
	/* the last ones are lost */
	ck_assert_int_eq(serve(itt, &r2ts), 0);
	ck_assert_uint_ge(r2ts, 5);
	expect_written();
}
END_TEST

START_TEST(what_is_kept_is_bounded)
{
	static const uint8_t tur[6];
	uint32_t before = raw.expstatsn, n = 5 * DEPTH;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t itt;

		raw.expstatsn = before;
		itt = raw_command(&raw, 0, tur, 6, 0x81, 0, NULL, 0);
		ck_assert_int_eq(raw_finish(&raw, itt, NULL, 0, NULL), 0);
	}
	raw.expstatsn = before;
	snack(1, UINT32_MAX, UINT32_MAX, before + n - DEPTH, DEPTH);
	for (uint32_t i = 0; i < DEPTH; i++) {
		ck_assert_int_eq(next_pdu(), 0);
		ck_assert_uint_eq(get_be32(raw.bhs + 24), before + n - DEPTH + i);
	}
	raw.expstatsn = before;
	snack(1, UINT32_MAX, UINT32_MAX, before, 1);
	expect_reject(ISCSI_REJECT_SNACK);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
}
END_TEST

/* Who does not acknowledge is pinged, and answers with what he has. */
START_TEST(an_acknowledgement_is_asked_for)
{
	static const uint8_t tur[6];
	uint32_t itt;

	itt = raw_command(&raw, 0, tur, 6, 0x81, 0, NULL, 0);
	ck_assert_int_eq(raw_finish(&raw, itt, NULL, 0, NULL), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_NOP_IN);
	ck_assert_uint_ne(get_be32(raw.bhs + 20), UINT32_MAX);
	ck_assert_uint_eq(get_be32(raw.bhs + 24), raw.expstatsn);
}
END_TEST

/* SNACKs in numbers, and the end in the middle of them. */
START_TEST(a_connection_ends_under_snacks)
{
	uint32_t before = raw.expstatsn, itt;
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, false, 0, LEN / 512);
	itt = raw_command(&raw, 0, cdb, 16, 0xc1, LEN, NULL, 0);
	ck_assert_int_eq(raw_finish(&raw, itt, in, LEN, NULL), 0);
	for (unsigned i = 0; i < 500; i++) {
		raw.expstatsn = before;
		snack(0, itt, UINT32_MAX, 0, 0);
		snack(1, UINT32_MAX, UINT32_MAX, 0, 0);
	}
	if (_i) {
		raw.expstatsn = before + 1;
		snack(1, UINT32_MAX, UINT32_MAX, before + 1, 0);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi_erl1");
	TCase *tcase = tcase_create("recovery");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, a_level_is_agreed);
	tcase_add_loop_test(tcase, solicited_data_is_asked_for_again, 0, 7);
	tcase_add_loop_test(tcase, unsolicited_data_is_asked_for, 1, 4);
	tcase_add_test(tcase, a_spoilt_command_is_retried);
	tcase_add_test(tcase, a_spoilt_header_ends_the_connection);
	tcase_add_test(tcase, a_status_comes_again);
	tcase_add_test(tcase, data_comes_again_as_it_was);
	tcase_add_test(tcase, data_is_cut_anew);
	tcase_add_test(tcase, data_is_cut_anew_before_it_is_there);
	tcase_add_test(tcase, data_is_cut_anew_on_its_way);
	tcase_add_test(tcase, an_r2t_comes_again);
	tcase_add_test(tcase, data_that_never_comes_is_asked_for);
	tcase_add_test(tcase, what_is_kept_is_bounded);
	tcase_add_test(tcase, an_acknowledgement_is_asked_for);
	tcase_add_loop_test(tcase, a_connection_ends_under_snacks, 0, 2);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
