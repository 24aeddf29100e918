/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A session that does whatever it likes: PDUs that are nearly right, in any order, to a server with a unit
 * behind it.
 *
 * First byte: what is negotiated (index into `offers`).  Then steps of 12 bytes:
 *   0  opcode and I bit
 *   1  flags
 *   2  ITT (small numbers, so that they meet)
 *   3  what the transfer tag is, see ttt_of()
 *   4  CmdSN relative to the right one, signed
 *   5  expected length, units of 256
 *   6  DataSN
 *   7  buffer offset, units of 256
 *   8  data length, units of 64; 0xff: one that is not sent
 *   9  LUN
 *   10, 11  two bytes of the CDB
 *
 * What must hold: the server stays, the connection ends when we close it, and no page and no connection is
 * left behind.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/bytes.h"
#include "common/log.h"
#include "gateway/iscsi/iscsi.h"
#include "test/fuzz/fuzz.h"
#include "test/lib/rawiscsi.h"
#include "test/lib/scsirig.h"

#define TARGET "iqn.2024-01.org.lungate:fuzz"
#define STEP 12u
#define STEPS_MAX 200u

static struct loop *loop;
static struct arena *arena;
static struct iscsi_server *server;
static char address[64];
static uint8_t block[16384];

#define OFFER(text)                                                                                          \
	{                                                                                                    \
		text, sizeof(text) - 1                                                                       \
	}
static const struct {
	const char *keys;
	size_t len;
} offers[] = {
	OFFER("InitialR2T=Yes\0ImmediateData=Yes\0"),
	OFFER("InitialR2T=No\0ImmediateData=Yes\0FirstBurstLength=4096\0MaxBurstLength=8192\0MaxOutstandingR2T=3\0"),
	OFFER("InitialR2T=No\0ImmediateData=No\0MaxRecvDataSegmentLength=512\0"),
	OFFER("MaxBurstLength=512\0MaxOutstandingR2T=16\0MaxRecvDataSegmentLength=65536\0"),
	OFFER("ErrorRecoveryLevel=1\0MaxConnections=4\0InitialR2T=No\0MaxBurstLength=1024\0MaxRecvDataSegmentLength=512\0"),
};

static void
start(void)
{
	struct rig_options options = {.size = 1u << 20};
	struct iscsi_limits limits;
	struct scsi_target *scsi;
	struct disk *disk;
	struct errinfo info;
	int rc;

	log_threshold = LOG_LEVEL_ERROR;
	iscsi_limits_default(&limits);
	limits.queue_depth = 16;
	rc = arena_new(8u << 20, &arena);
	rc |= loop_new("fuzz", 0, &loop);
	rc |= loop_start(loop);
	disk = disk_new("fuzz", &options, loop, arena);
	disk->later = true;
	rc |= scsi_target_new(TARGET, &scsi);
	rc |= scsi_target_map(scsi, 0, &disk->vol, &info);
	rc |= iscsi_server_new(&loop, 1, arena, &limits, &server);
	rc |= iscsi_target_add(server, TARGET, scsi, NULL, &info);
	rc |= iscsi_portal_add(server, "127.0.0.1:0", address, &info);
	assert(rc == 0);
}

/* What is there to read; the tag of the last R2T is remembered. */
static bool
read_some(struct raw *raw, uint32_t *last_ttt)
{
	struct pollfd pfd = {.fd = raw->fd, .events = POLLIN};

	while (poll(&pfd, 1, 0) > 0) {
		if (raw_recv(raw) < 0)
			return false;
		if ((raw->bhs[0] & 0x3f) == 0x31)
			*last_ttt = get_be32(raw->bhs + 20);
	}
	return true;
}

static uint32_t
ttt_of(uint8_t kind, uint32_t last)
{
	switch (kind & 3) {
	case 0:
		return UINT32_MAX;
	case 1:
		return last;
	case 2:
		return last ^ (1u << (kind >> 3));
	default:
		return kind;
	}
}

static bool
step(struct raw *raw, const uint8_t *p, uint32_t *last_ttt)
{
	uint8_t bhs[RAW_BHS] = {p[0] & 0x7f, p[1]}, opcode = p[0] & 0x3f;
	uint32_t len = p[8] == 0xff ? 100 : p[8] * 64u;
	int rc;

	bhs[9] = p[9] & 1;
	put_be32(bhs + 16, p[2] & 0x1f);
	put_be32(bhs + 20, opcode == 1 ? p[5] * 256u : ttt_of(p[3], *last_ttt));
	put_be32(bhs + 24, raw->cmdsn + (uint32_t)(int8_t)p[4]);
	if (!(p[0] & 0x40) && p[4] == 0 && opcode != 5)
		raw->cmdsn++;
	if (opcode == 1) {
		bhs[32] = p[10];
		bhs[37] = p[11];
		bhs[40] = p[5] / 2;
	} else {
		put_be32(bhs + 32, raw->cmdsn - 1);
		put_be32(bhs + 36, p[6]);
		put_be32(bhs + 40, p[7] * 256u);
		/* SNACK: BegRun, RunLength, and an ExpStatSN that may lag */
		if (opcode == 0x10) {
			put_be32(bhs + 28, raw->expstatsn - p[10]);
			put_be32(bhs + 40, p[7] + ((p[1] & 0xf) == 1 ? raw->expstatsn - p[10] : 0));
			put_be32(bhs + 44, p[6]);
		}
	}
	if (p[8] == 0xff) {
		put_be24(bhs + 5, len);
		rc = raw_bytes(raw, bhs, sizeof(bhs));
	} else {
		rc = raw_send(raw, bhs, block, min_of(len, (uint32_t)sizeof(block)));
	}
	return rc == 0 && read_some(raw, last_ttt);
}

static long
connections(void)
{
	json_t *counters = iscsi_counters(server);
	long n = (long)json_integer_value(json_object_get(counters, "connections"));

	json_decref(counters);
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static size_t at_rest;
	uint32_t last_ttt = 0;
	unsigned offer;
	struct raw raw;

	if (!server)
		start();
	if (!size)
		return 0;
	offer = data[0] % ARRAY_SIZE(offers);
	data++;
	size--;
	if (raw_connect(&raw, address) < 0 || raw_login(&raw, "iqn.2024-01.com.example:fuzz", TARGET,
							offers[offer].keys, offers[offer].len) != 0)
		abort();
	for (unsigned n = 0; size >= STEP && n < STEPS_MAX; n++, data += STEP, size -= STEP) {
		if (!step(&raw, data, &last_ttt))
			break;
	}
	raw_close(&raw);
	while (connections())
		sched_yield();
	/* the first runs fill the loop's magazine of pages */
	if (arena_free_pages(arena) < at_rest)
		assert(at_rest - arena_free_pages(arena) <= 256);
	at_rest = max_of(at_rest, arena_free_pages(arena));
	return 0;
}
