/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Data both ways under all that may be negotiated, transfers that go wrong, task management, memory. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/iscsirig.h"

#define DISK_BYTES (8u << 20)

static struct iscsirig rig;
static uint8_t out[4u << 20], in[4u << 20];

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

/* ---- the matrix ---- */

struct mode {
	const char *keys;
	size_t len;
	bool immediate, unsolicited, header_digest, data_digest;
	uint32_t first_burst, max_send;
};
#define MODE(keys, ...)                                                                                      \
	{                                                                                                    \
		keys, sizeof(keys) - 1, __VA_ARGS__                                                          \
	}

static const struct mode modes[] = {
	MODE("InitialR2T=Yes\0ImmediateData=No\0", false, false, false, false, 65536, 262144),
	MODE("InitialR2T=Yes\0ImmediateData=Yes\0MaxOutstandingR2T=4\0MaxBurstLength=16384\0FirstBurstLength=8192\0",
	     true, false, false, false, 8192, 8192),
	MODE("InitialR2T=No\0ImmediateData=Yes\0FirstBurstLength=262144\0MaxBurstLength=1048576\0", true,
	     true, false, false, 262144, 65536),
	MODE("InitialR2T=No\0ImmediateData=No\0FirstBurstLength=4096\0MaxBurstLength=65536\0MaxRecvDataSegmentLength="
	     "4096\0",
	     false, true, false, false, 4096, 1024),
	MODE("InitialR2T=No\0ImmediateData=Yes\0HeaderDigest=CRC32C\0DataDigest=CRC32C\0", true, true, true,
	     true, 65536, 65536),
	MODE("InitialR2T=Yes\0ImmediateData=Yes\0HeaderDigest=CRC32C\0MaxRecvDataSegmentLength=512\0", true,
	     false, true, false, 65536, 262144),
	MODE("DataDigest=CRC32C\0MaxOutstandingR2T=16\0MaxBurstLength=8192\0FirstBurstLength=512\0", true,
	     false, false, true, 512, 262144),
};

START_TEST(data_goes_both_ways)
{
	static const struct {
		uint64_t lba;
		uint32_t blocks;
	} ranges[] = {{0, 1}, {3, 7}, {8, 8}, {5, 16}, {100, 129}, {7, 513}, {0, 2048}};
	const struct mode *mode = &modes[_i];
	struct raw raw;

	/* digests begin with the first PDU after the login */
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_login(&raw, RIG_INITIATOR, RIG_TARGET, mode->keys, mode->len), 0);
	raw.header_digest = mode->header_digest;
	raw.data_digest = mode->data_digest;
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw.immediate = mode->immediate;
	raw.unsolicited = mode->unsolicited;
	raw.first_burst = mode->first_burst;
	raw.max_send = mode->max_send;
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		size_t n = ranges[i].blocks * 512, at = ranges[i].lba * 512;
		uint8_t before = rig.disk->bytes[at + n];

		random_bytes(out, n);
		ck_assert_int_eq(raw_write(&raw, 0, ranges[i].lba, ranges[i].blocks, 512, out), 0);
		ck_assert_mem_eq(rig.disk->bytes + at, out, n);
		ck_assert_uint_eq(rig.disk->bytes[at + n], before);
		memset(in, 0, n);
		ck_assert_int_eq(raw_read(&raw, 0, ranges[i].lba, ranges[i].blocks, 512, in), 0);
		ck_assert_mem_eq(in, out, n);
	}
	ck_assert_int_eq(raw_logout(&raw), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(r2ts_are_as_many_as_agreed)
{
	struct raw raw;

	LOGIN(&raw, 1, "InitialR2T=Yes\0ImmediateData=No\0MaxOutstandingR2T=4\0MaxBurstLength=8192\0");
	raw.immediate = false;
	ck_assert_int_eq(raw_write(&raw, 0, 0, 256, 512, out), 0);
	ck_assert_uint_eq(raw.r2ts, 16);
	ck_assert_uint_eq(raw.r2ts_at_once, 4);
	/* the response counts them: ExpDataSN */
	ck_assert_uint_eq(get_be32(raw.bhs + 36), 16);
	raw_close(&raw);
	LOGIN(&raw, 1, "InitialR2T=Yes\0ImmediateData=No\0MaxBurstLength=8192\0");
	raw.immediate = false;
	ck_assert_int_eq(raw_write(&raw, 0, 0, 256, 512, out), 0);
	ck_assert_uint_eq(raw.r2ts_at_once, 1);
	raw_close(&raw);
}
END_TEST

START_TEST(data_in_is_cut_as_agreed)
{
	uint32_t itt, offset = 0, datasn = 0;
	struct raw raw;
	uint8_t cdb[16];

	LOGIN(&raw, 1, "MaxRecvDataSegmentLength=3072\0MaxBurstLength=8192\0");
	raw_cdb_rw16(cdb, false, 0, 40);
	itt = raw_command(&raw, 0, cdb, 16, 0xc1, 20480, NULL, 0);
	while (offset < 20480) {
		bool last = offset + raw.len == 20480, burst_end;

		ck_assert_int_eq(raw_recv(&raw), 0);
		ck_assert_int_eq(OPCODE(&raw), ISCSI_DATA_IN);
		ck_assert_uint_eq(get_be32(raw.bhs + 16), itt);
		ck_assert_uint_eq(get_be32(raw.bhs + 36), datasn++);
		ck_assert_uint_eq(get_be32(raw.bhs + 40), offset);
		ck_assert_uint_le(raw.len, 3072);
		offset += raw.len;
		last = offset == 20480;
		burst_end = last || offset % 8192 == 0;
		ck_assert_int_eq(!!(raw.bhs[1] & 0x80), burst_end);
		ck_assert_int_eq(!!(raw.bhs[1] & 1), last);
	}
	raw_close(&raw);
}
END_TEST

START_TEST(commands_complete_out_of_order)
{
	uint32_t held, itt;
	struct raw raw;
	uint8_t cdb[16];

	LOGIN(&raw, 1, "");
	disk_hold(rig.disk, VOL_READ);
	raw_cdb_rw16(cdb, false, 0, 1);
	held = raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	disk_wait_held(rig.disk, 1);
	raw_cdb_rw16(cdb, true, 9, 1);
	itt = raw_command(&raw, 0, cdb, 16, 0xa1, 512, out, 512);
	ck_assert_int_eq(raw_finish(&raw, itt, NULL, 0, NULL), 0);
	disk_release(rig.disk);
	ck_assert_int_eq(raw_finish(&raw, held, in, 512, NULL), 0);
	raw_close(&raw);
}
END_TEST

/* ---- residuals ---- */

START_TEST(residuals_are_told)
{
	static const struct {
		bool write;
		uint32_t edtl, blocks;
		uint8_t flags;
		uint32_t residual, moved;
	} rows[] = {
		{false, 0, 1, ISCSI_RESIDUAL_OVERFLOW, 512, 0},
		{false, 10000, 1, ISCSI_RESIDUAL_UNDERFLOW, 9488, 512},
		{false, 200, 1, ISCSI_RESIDUAL_OVERFLOW, 312, 200},
		{false, 512, 2, ISCSI_RESIDUAL_OVERFLOW, 512, 512},
		{true, 0, 1, ISCSI_RESIDUAL_OVERFLOW, 512, 0},
		{true, 1024, 1, ISCSI_RESIDUAL_UNDERFLOW, 512, 512},
		{true, 512, 2, ISCSI_RESIDUAL_OVERFLOW, 512, 512},
	};
	struct raw raw;
	uint8_t cdb[16];

	LOGIN(&raw, 1, "");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t itt, got = 0;

		raw_cdb_rw16(cdb, rows[i].write, 0, rows[i].blocks);
		itt = raw_command(&raw, 0, cdb, 16, rows[i].write ? 0xa1 : 0xc1, rows[i].edtl, out,
				  rows[i].write ? rows[i].edtl : 0);
		ck_assert_int_eq(raw_finish(&raw, itt, in, sizeof(in), &got), 0);
		ck_assert_msg((raw.bhs[1] & 6) == rows[i].flags, "row %zu", i);
		ck_assert_msg(get_be32(raw.bhs + 44) == rows[i].residual, "row %zu", i);
		if (!rows[i].write)
			ck_assert_uint_eq(got, rows[i].moved);
	}
	raw_close(&raw);
}
END_TEST

/* ---- transfers that go wrong ---- */

#define CRC_ERROR 0x4705
#define UNEXPECTED 0x0c0c
#define INCORRECT 0x0c0d

/* A write of 8 blocks that asks for all of its data; the R2T's tag. */
static uint32_t
begin_write(struct raw *raw, uint32_t *ret_ttt)
{
	uint32_t itt;
	uint8_t cdb[16];

	raw_cdb_rw16(cdb, true, 0, 8);
	itt = raw_command(raw, 0, cdb, 16, 0xa1, 4096, NULL, 0);
	ck_assert_int_eq(raw_recv(raw), 0);
	ck_assert_int_eq(OPCODE(raw), ISCSI_R2T);
	*ret_ttt = get_be32(raw->bhs + 20);
	return itt;
}

static void
fails_with(struct raw *raw, uint32_t itt, unsigned sense)
{
	ck_assert_int_eq(raw_finish(raw, itt, NULL, 0, NULL), 2);
	ck_assert_uint_eq(raw_sense(raw), sense);
	/* not a byte of it was written, and the session goes on */
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_uint_eq(rig.disk->bytes[i], 0);
	ck_assert_int_eq(raw_ready(raw, 0), 0);
}

START_TEST(data_sn_must_follow)
{
	static const struct {
		uint32_t first, second;
	} rows[] = {{0, 0}, {27, 1}, {1, 0}, {UINT32_MAX, 0}, {0, 2}};
	struct raw raw;

	memset(out, 0xff, 4096);
	LOGIN(&raw, 1, "");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t ttt, itt = begin_write(&raw, &ttt);

		ck_assert_int_eq(raw_data_out(&raw, itt, ttt, rows[i].first, 0, false, out, 2048), 0);
		ck_assert_int_eq(raw_data_out(&raw, itt, ttt, rows[i].second, 2048, true, out, 2048), 0);
		fails_with(&raw, itt, CRC_ERROR);
	}
	ck_assert_int_eq(iscsirig_counter(&rig, "failed_transfers"), (int)ARRAY_SIZE(rows));
	raw_close(&raw);
}
END_TEST

START_TEST(offsets_and_amounts_must_fit)
{
	uint32_t ttt, itt;
	struct raw raw;
	uint8_t cdb[16];

	memset(out, 0xff, 16384);
	LOGIN(&raw, 1, "");
	/* a gap */
	itt = begin_write(&raw, &ttt);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 512, true, out, 3584), 0);
	fails_with(&raw, itt, INCORRECT);
	/* too little */
	itt = begin_write(&raw, &ttt);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0, true, out, 1024), 0);
	fails_with(&raw, itt, INCORRECT);
	/* too much */
	itt = begin_write(&raw, &ttt);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0, true, out, 8192), 0);
	fails_with(&raw, itt, INCORRECT);
	/* an offset that wraps */
	itt = begin_write(&raw, &ttt);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0xfffffe00, true, out, 4096), 0);
	fails_with(&raw, itt, INCORRECT);
	/* nobody asked: unsolicited while InitialR2T=Yes */
	raw_cdb_rw16(cdb, true, 0, 8);
	itt = raw_command(&raw, 0, cdb, 16, 0x21, 4096, NULL, 0);
	ck_assert_int_eq(raw_data_out(&raw, itt, UINT32_MAX, 0, 0, true, out, 4096), 0);
	fails_with(&raw, itt, UNEXPECTED);
	/* more immediate data than the command says it has */
	itt = raw_command(&raw, 0, cdb, 16, 0xa1, 4096, out, 8192);
	fails_with(&raw, itt, INCORRECT);
	/* data with a command that has none */
	itt = raw_command(&raw, 0, (const uint8_t[16]){0}, 6, 0x81, 0, out, 100);
	fails_with(&raw, itt, UNEXPECTED);
	raw_close(&raw);
	/* more than the first burst */
	LOGIN(&raw, 1, "InitialR2T=No\0FirstBurstLength=1024\0");
	itt = raw_command(&raw, 0, cdb, 16, 0x21, 4096, out, 1024);
	ck_assert_int_eq(raw_data_out(&raw, itt, UINT32_MAX, 0, 1024, true, out, 512), 0);
	fails_with(&raw, itt, UNEXPECTED);
	itt = raw_command(&raw, 0, cdb, 16, 0xa1, 4096, out, 2048);
	fails_with(&raw, itt, UNEXPECTED);
	raw_close(&raw);
	/* immediate data that was not agreed */
	LOGIN(&raw, 1, "ImmediateData=No\0");
	itt = raw_command(&raw, 0, cdb, 16, 0xa1, 4096, out, 512);
	fails_with(&raw, itt, UNEXPECTED);
	raw_close(&raw);
}
END_TEST

START_TEST(stray_data_is_let_go)
{
	uint32_t ttt, itt;
	struct raw raw;

	LOGIN(&raw, 1, "");
	ck_assert_int_eq(raw_data_out(&raw, 4711, UINT32_MAX, 0, 0, true, out, 512), 0);
	ck_assert_int_eq(raw_data_out(&raw, 4711, 0x12345678, 0, 0, true, out, 512), 0);
	ck_assert_int_eq(raw_data_out(&raw, 4711, 0, 0, 0, true, out, 512), 0);
	/* the right task, another transfer tag */
	itt = begin_write(&raw, &ttt);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt ^ 0x10000, 0, 0, true, out, 4096), 0);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt ^ 0x1000, 0, 0, true, out, 4096), 0);
	ck_assert_int_eq(raw_recv_within(&raw, 30), -ETIMEDOUT);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0, true, out, 4096), 0);
	ck_assert_int_eq(raw_finish(&raw, itt, NULL, 0, NULL), 0);
	ck_assert_int_eq(iscsirig_counter(&rig, "ignored_pdus"), 5);
	raw_close(&raw);
}
END_TEST

START_TEST(wrong_digests)
{
	uint8_t bhs[RAW_BHS] = {ISCSI_DATA_OUT, 0x80}, pdu[52 + 512 + 4];
	uint32_t ttt, itt;
	struct raw raw;

	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(
		raw_login(&raw, RIG_INITIATOR, RIG_TARGET, "HeaderDigest=CRC32C\0DataDigest=CRC32C", 38), 0);
	raw.header_digest = raw.data_digest = true;
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	/* of data: rejected, the command fails, the session goes on */
	itt = begin_write(&raw, &ttt);
	memset(out, 0xff, 4096);
	put_be32(bhs + 16, itt);
	put_be32(bhs + 20, ttt);
	raw.data_digest = false;
	{
		/* no digest is sent: the next four bytes, of our choice, are taken for it */
		ck_assert_int_eq(raw_send(&raw, bhs, out, 4096), 0);
		ck_assert_int_eq(raw_bytes(&raw, "bad!", 4), 0);
	}
	raw.data_digest = true;
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_REJECT);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_REJECT_DATA_DIGEST);
	fails_with(&raw, itt, CRC_ERROR);
	/* of a header: nothing after it can be found */
	memset(pdu, 0, sizeof(pdu));
	ck_assert_int_eq(raw_bytes(&raw, pdu, 52), 0);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_header_digest"), 1);
}
END_TEST

/* ---- task management ---- */

START_TEST(abort_what_waits_and_what_runs)
{
	uint32_t ttt, itt, held, next, new_ttt;
	struct raw raw;
	uint8_t cdb[16];

	memset(out, 0xff, 4096);
	LOGIN(&raw, 1, "");
	/* while it collects data: what still comes for it is let go */
	itt = begin_write(&raw, &ttt);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0, false, out, 2048), 0);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, itt, raw.cmdsn - 1), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 1, 2048, true, out, 2048), 0);
	ck_assert_int_eq(raw_recv_within(&raw, 30), -ETIMEDOUT);
	ck_assert_uint_eq(rig.disk->bytes[0], 0);
	/* nor does it reach a later command that has the same tag, and its sequence in the same place */
	disk_hold(rig.disk, VOL_READ);
	raw_cdb_rw16(cdb, false, 0, 1);
	held = raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	disk_wait_held(rig.disk, 1);
	next = raw.itt;
	raw.itt = itt;
	ck_assert_uint_eq(begin_write(&raw, &new_ttt), itt);
	raw.itt = next;
	ck_assert_uint_eq(new_ttt & 0xf, ttt & 0xf);
	ck_assert_uint_ne(new_ttt, ttt);
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0, true, out, 4096), 0);
	ck_assert_int_eq(raw_recv_within(&raw, 30), -ETIMEDOUT);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, itt, raw.cmdsn - 1), ISCSI_TMF_COMPLETE);
	disk_release(rig.disk);
	ck_assert_int_eq(raw_finish(&raw, held, NULL, 0, NULL), 0);
	/* while it runs: the response waits for its end, and speaks for it */
	disk_hold(rig.disk, VOL_READ);
	raw_cdb_rw16(cdb, false, 0, 1);
	itt = raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	disk_wait_held(rig.disk, 1);
	{
		uint8_t bhs[RAW_BHS];

		raw_request(&raw, bhs, ISCSI_TMF_REQUEST, 0x80 | ISCSI_TMF_ABORT_TASK, true);
		put_be32(bhs + 20, itt);
		put_be32(bhs + 32, raw.cmdsn - 1);
		ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	}
	ck_assert_int_eq(raw_recv_within(&raw, 50), -ETIMEDOUT);
	disk_release(rig.disk);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_TMF_RESPONSE);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_recv_within(&raw, 30), -ETIMEDOUT);
	/* what is over, what never was, what is of another unit */
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, itt, raw.cmdsn - 1), ISCSI_TMF_NO_TASK);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, 4711, raw.cmdsn + 50), ISCSI_TMF_NO_TASK);
	itt = begin_write(&raw, &ttt);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 1, itt, raw.cmdsn - 1), ISCSI_TMF_NO_TASK);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, itt, raw.cmdsn - 1), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(abort_what_has_not_come)
{
	struct raw raw;
	uint32_t missing;

	LOGIN(&raw, 1, "");
	/* RFC 7143 11.5.1: its CmdSN counts as received, so that the next one is not held back for ever */
	missing = raw.cmdsn++;
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, 4711, missing), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	/* the same with one in between that is held */
	missing = raw.cmdsn++;
	raw_command(&raw, 0, (const uint8_t[16]){0}, 6, 0x81, 0, NULL, 0);
	ck_assert_int_eq(raw_recv_within(&raw, 30), -ETIMEDOUT);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, 4711, missing), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	/* and a held one that is aborted itself */
	missing = raw.cmdsn++;
	{
		uint32_t itt = raw_command(&raw, 0, (const uint8_t[16]){0}, 6, 0x81, 0, NULL, 0);

		ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, itt, raw.cmdsn - 1),
				 ISCSI_TMF_COMPLETE);
		ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, 4711, missing), ISCSI_TMF_COMPLETE);
	}
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(functions_that_are_not_there)
{
	struct raw raw;

	LOGIN(&raw, 1, "");
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_TASK_REASSIGN, 0, 1, 1), ISCSI_TMF_NO_REASSIGN);
	ck_assert_int_eq(raw_tmf(&raw, 0x55, 0, 1, 1), ISCSI_TMF_NOT_SUPPORTED);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_LU_RESET, 77, 0, 0), ISCSI_TMF_NO_LUN);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(a_reset_reaches_writes_that_wait_for_data)
{
	uint32_t ttt, other_ttt, itt, other_itt;
	struct raw raw, other;

	memset(out, 0xff, 4096);
	LOGIN(&raw, 1, "");
	LOGIN(&other, 2, "");
	itt = begin_write(&raw, &ttt);
	other_itt = begin_write(&other, &other_ttt);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_LU_RESET, 0, 0, 0), ISCSI_TMF_COMPLETE);
	/* neither takes effect after the response */
	ck_assert_int_eq(raw_data_out(&raw, itt, ttt, 0, 0, true, out, 4096), 0);
	ck_assert_int_eq(raw_data_out(&other, other_itt, other_ttt, 0, 0, true, out, 4096), 0);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	ck_assert_int_eq(raw_ready(&other, 0), 0);
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_uint_eq(rig.disk->bytes[i], 0);
	raw_close(&raw);
	raw_close(&other);
}
END_TEST

START_TEST(a_cold_reset_ends_all_sessions_of_the_target)
{
	struct raw raw, other;
	int rc;

	LOGIN(&raw, 1, "");
	LOGIN(&other, 2, "");
	rc = raw_tmf(&raw, ISCSI_TMF_TARGET_COLD_RESET, 0, 0, 0);
	if (rc == ISCSI_TMF_COMPLETE) {
		ck_assert_int_eq(raw_wait_closed(&raw), 0);
		ck_assert_int_eq(raw_wait_closed(&other), 0);
		ck_assert_int_eq(iscsirig_counter(&rig, "closed_target_reset"), 2);
	} else {
		ck_assert_int_eq(rc, ISCSI_TMF_NOT_SUPPORTED);
	}
	raw_close(&raw);
	raw_close(&other);
}
END_TEST

START_TEST(logout_aborts_what_runs)
{
	struct raw raw;
	uint8_t cdb[16], bhs[RAW_BHS];
	uint32_t ttt;

	LOGIN(&raw, 1, "");
	begin_write(&raw, &ttt);
	disk_hold(rig.disk, VOL_READ);
	raw_cdb_rw16(cdb, false, 0, 1);
	raw_command(&raw, 0, cdb, 16, 0xc1, 512, NULL, 0);
	disk_wait_held(rig.disk, 1);
	raw_request(&raw, bhs, ISCSI_LOGOUT_REQUEST, 0x80, false);
	ck_assert_int_eq(raw_send(&raw, bhs, NULL, 0), 0);
	ck_assert_int_eq(raw_recv_within(&raw, 50), -ETIMEDOUT);
	disk_release(rig.disk);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_int_eq(OPCODE(&raw), ISCSI_LOGOUT_RESPONSE);
	ck_assert_uint_eq(raw.bhs[2], ISCSI_LOGOUT_OK);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(a_dropped_connection_gives_everything_back)
{
	size_t before;
	struct raw raw;
	uint8_t cdb[16];

	LOGIN(&raw, 1, "");
	before = arena_free_pages(rig.arena);
	for (unsigned i = 0; i < 5; i++) {
		uint32_t ttt;

		begin_write(&raw, &ttt);
	}
	disk_hold(rig.disk, VOL_WRITE);
	raw_cdb_rw16(cdb, true, 100, 16);
	for (unsigned i = 0; i < 5; i++)
		raw_command(&raw, 0, cdb, 16, 0xa1, 8192, out, 8192);
	disk_wait_held(rig.disk, 5);
	raw_close(&raw);
	ck_assert(iscsirig_await(&rig, "closed_peer", 1));
	disk_release(rig.disk);
	ck_assert(iscsirig_await_connections(&rig, 0));
	/* but for what the magazines of the loops keep */
	ck_assert_uint_ge(arena_free_pages(rig.arena) + 128, before);
}
END_TEST

/* ---- memory ---- */

struct burst {
	struct raw raw;
	unsigned n;
	uint32_t blocks;
};

/* n writes at once, each asked for piece by piece; all must end well. */
static void
run_burst(struct burst *b)
{
	struct raw *raw = &b->raw;
	unsigned done = 0;
	uint32_t first = raw->itt, now = raw->immediate ? min_of(raw->first_burst, b->blocks * 512) : 0;

	for (unsigned i = 0; i < b->n; i++) {
		uint8_t cdb[16];

		raw_cdb_rw16(cdb, true, (uint64_t)i * b->blocks % (DISK_BYTES / 512), b->blocks);
		raw_command(raw, 0, cdb, 16, 0xa1, b->blocks * 512, out, now);
	}
	while (done < b->n) {
		uint32_t itt;

		ck_assert_int_eq(raw_recv(raw), 0);
		itt = get_be32(raw->bhs + 16);
		if (OPCODE(raw) == ISCSI_NOP_IN)
			continue;
		ck_assert_uint_ge(itt, first);
		if (OPCODE(raw) == ISCSI_R2T) {
			uint32_t offset = get_be32(raw->bhs + 40), len = get_be32(raw->bhs + 44);

			ck_assert_int_eq(raw_data_out(raw, itt, get_be32(raw->bhs + 20), 0, offset, true,
						      out + offset, len),
					 0);
			continue;
		}
		ck_assert_int_eq(OPCODE(raw), ISCSI_SCSI_RESPONSE);
		ck_assert_uint_eq(raw->bhs[3], 0);
		done++;
	}
}

START_TEST(short_memory_slows_down_and_drops_nothing)
{
	struct iscsi_limits limits;
	struct burst b = {.n = 64, .blocks = 1024};

	/* 64 writes of 512 KiB meet 4 MiB */
	teardown();
	iscsi_limits_default(&limits);
	iscsirig_init(&rig, &limits, 4u << 20);
	random_bytes(out, 512 * 1024);
	LOGIN(&b.raw, 1, "ImmediateData=Yes\0FirstBurstLength=65536\0MaxBurstLength=262144\0");
	b.raw.first_burst = 65536;
	run_burst(&b);
	ck_assert_int_gt(iscsirig_counter(&rig, "parked"), 0);
	ck_assert_int_gt(iscsirig_counter(&rig, "asked_again"), 0);
	for (unsigned i = 0; i < 16; i++)
		ck_assert_mem_eq(rig.disk->bytes + i * 524288, out, 524288);
	/* and without immediate data */
	raw_close(&b.raw);
	LOGIN(&b.raw, 1, "ImmediateData=No\0MaxBurstLength=262144\0");
	b.raw.immediate = false;
	run_burst(&b);
	raw_close(&b.raw);
}
END_TEST

START_TEST(who_holds_the_memory_is_waited_for)
{
	static struct page *pages[1024];
	unsigned n = 0;
	struct raw raw;
	uint32_t itt;
	uint8_t cdb[16];

	/* somebody else has it all: the command with its data stays in the socket */
	teardown();
	iscsirig_init(&rig, NULL, 4u << 20);
	LOGIN(&raw, 1, "");
	while (n < ARRAY_SIZE(pages) && arena_alloc(rig.arena, pages + n, 1) == 0)
		n++;
	memset(out, 0x33, 8192);
	raw_cdb_rw16(cdb, true, 0, 16);
	itt = raw_command(&raw, 0, cdb, 16, 0xa1, 8192, out, 8192);
	ck_assert(iscsirig_await(&rig, "parked", 1));
	ck_assert_int_eq(raw_recv_within(&raw, 30), -ETIMEDOUT);
	pages_unref(pages, n);
	ck_assert_int_eq(raw_finish(&raw, itt, NULL, 0, NULL), 0);
	ck_assert_mem_eq(rig.disk->bytes, out, 8192);
	ck_assert_int_eq(iscsirig_counter(&rig, "asked_again"), 0);
	raw_close(&raw);
}
END_TEST

START_TEST(answers_that_are_not_read_hold_little_memory)
{
	static const uint8_t tur[6];
	struct raw raw, other;
	uint32_t itt[40], last;
	uint8_t cdb[16];

	/* 40 reads of 512 KiB meet 16 MiB */
	teardown();
	iscsirig_init(&rig, NULL, 16u << 20);
	LOGIN(&raw, 1, "MaxRecvDataSegmentLength=65536\0");
	LOGIN(&other, 2, "");
	random_bytes(rig.disk->bytes, 512 * 1024);
	raw_cdb_rw16(cdb, false, 0, 1024);
	for (unsigned i = 0; i < ARRAY_SIZE(itt); i++)
		itt[i] = raw_command(&raw, 0, cdb, 16, 0xc1, 512 * 1024, NULL, 0);
	last = raw_command(&raw, 0, tur, 6, 0x81, 0, NULL, 0);
	ck_assert(iscsirig_await(&rig, "commands", 40));
	/* others find memory at once */
	ck_assert_int_eq(raw_write(&other, 0, 2048, 2048, 512, out), 0);
	ck_assert_int_eq(raw_read(&other, 0, 2048, 2048, 512, in), 0);
	ck_assert_int_eq(raw_tmf(&other, ISCSI_TMF_TASK_REASSIGN, 0, 1, 1), ISCSI_TMF_NO_REASSIGN);
	/* and nothing is lost */
	for (unsigned i = 0; i < ARRAY_SIZE(itt); i++) {
		ck_assert_int_eq(raw_finish(&raw, itt[i], in, sizeof(in), NULL), 0);
		ck_assert_mem_eq(in, rig.disk->bytes, 512 * 1024);
	}
	ck_assert_int_eq(raw_finish(&raw, last, NULL, 0, NULL), 0);
	/* what waits can be aborted and logged out of */
	for (unsigned i = 0; i < ARRAY_SIZE(itt); i++)
		itt[i] = raw_command(&raw, 0, cdb, 16, 0xc1, 512 * 1024, NULL, 0);
	ck_assert_int_eq(raw_tmf(&raw, ISCSI_TMF_ABORT_TASK, 0, itt[39], raw.cmdsn - 1), ISCSI_TMF_COMPLETE);
	ck_assert_int_eq(raw_logout(&raw), 0);
	raw_close(&raw);
	raw_close(&other);
}
END_TEST

START_TEST(more_than_all_memory_is_refused)
{
	struct raw raw;
	uint32_t itt;
	uint8_t cdb[16];

	teardown();
	iscsirig_init(&rig, NULL, 1u << 20);
	LOGIN(&raw, 1, "");
	raw_cdb_rw16(cdb, true, 0, 4096);
	itt = raw_command(&raw, 0, cdb, 16, 0xa1, 2u << 20, out, 8192);
	ck_assert_int_eq(raw_finish(&raw, itt, NULL, 0, NULL), SCSI_BUSY);
	ck_assert_int_eq(raw_write(&raw, 0, 0, 16, 512, out), 0);
	raw_close(&raw);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi_io");
	TCase *tc = tcase_create("io");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, data_goes_both_ways, 0, ARRAY_SIZE(modes));
	tcase_add_test(tc, r2ts_are_as_many_as_agreed);
	tcase_add_test(tc, data_in_is_cut_as_agreed);
	tcase_add_test(tc, commands_complete_out_of_order);
	tcase_add_test(tc, residuals_are_told);
	tcase_add_test(tc, data_sn_must_follow);
	tcase_add_test(tc, offsets_and_amounts_must_fit);
	tcase_add_test(tc, stray_data_is_let_go);
	tcase_add_test(tc, wrong_digests);
	tcase_add_test(tc, abort_what_waits_and_what_runs);
	tcase_add_test(tc, abort_what_has_not_come);
	tcase_add_test(tc, functions_that_are_not_there);
	tcase_add_test(tc, a_reset_reaches_writes_that_wait_for_data);
	tcase_add_test(tc, a_cold_reset_ends_all_sessions_of_the_target);
	tcase_add_test(tc, logout_aborts_what_runs);
	tcase_add_test(tc, a_dropped_connection_gives_everything_back);
	tcase_add_test(tc, short_memory_slows_down_and_drops_nothing);
	tcase_add_test(tc, who_holds_the_memory_is_waited_for);
	tcase_add_test(tc, answers_that_are_not_read_hold_little_memory);
	tcase_add_test(tc, more_than_all_memory_is_refused);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
