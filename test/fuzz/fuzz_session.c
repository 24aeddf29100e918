/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A session that does whatever it likes: PDUs that are nearly right, in any order, over up to four connections that
 * come and go, to a server with a unit behind it.
 *
 * First byte: what is negotiated (index into `offers`; bit 6: how it ends).  Then steps of 12 bytes:
 *   0  opcode and I bit; bit 7: no PDU but one of `actions`, by byte 1
 *   1  flags
 *   2  ITT (small numbers, so that they meet)
 *   3  what the transfer tag is, see ttt_of(); ITT of the task that task management means; CID that a logout means
 *   4  CmdSN relative to the right one, signed
 *   5  expected length, units of 256
 *   6  DataSN
 *   7  buffer offset, units of 256; second byte of the CDB
 *   8  data length, units of 64; 0xff: one that is not sent
 *   9  LUN; bits 1 and 2: the connection, where it stands, else the next that does; bit 3: acknowledge what came
 *   10, 11  the first and the sixth byte of the CDB
 *
 * What must hold: the server stays, the connections end when we close them, and no page and no connection is
 * left behind.
 *
 * Thread: one.  The loop runs on it whenever the client would wait, until it has nothing to do; the connections are
 * pairs of local sockets, on which what is sent is there at once.  So there is one order of events, and an input
 * means the same wherever it stands: unit and disk are new for each.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "common/registry.h"
#include "gateway/iscsi/conn.h"
#include "gateway/scsi/scsi_impl.h"
#include "test/fuzz/fuzz.h"
#include "test/lib/rawiscsi.h"
#include "test/lib/scsirig.h"

#define TARGET "iqn.2024-01.org.lungate:fuzz"
#define INITIATOR "iqn.2024-01.com.example:fuzz"
#define STEP 12u
#define STEPS_MAX 200u
#define CONNS 4u

static struct loop *loop;
static struct arena *arena;
static struct iscsi_server *server;
static struct scsi_target *scsi;
static struct disk *disk;
static uint8_t block[16384];
static uint32_t outcome;

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
	OFFER("ErrorRecoveryLevel=2\0MaxConnections=4\0InitialR2T=No\0MaxBurstLength=2048\0MaxRecvDataSegmentLength=512\0MaxOutstandingR2T=2\0"),
	OFFER("ErrorRecoveryLevel=2\0MaxConnections=1\0InitialR2T=Yes\0MaxBurstLength=4096\0MaxRecvDataSegmentLength=1024\0"),
	OFFER("MaxConnections=3\0TaskReporting=ResponseFence\0InitialR2T=No\0FirstBurstLength=1024\0"),
	OFFER("HeaderDigest=CRC32C\0DataDigest=CRC32C\0ErrorRecoveryLevel=2\0MaxConnections=4\0InitialR2T=No\0MaxBurstLength=2048\0MaxRecvDataSegmentLength=512\0"),
	OFFER("HeaderDigest=None\0DataDigest=CRC32C\0InitialR2T=No\0"),
};
#define OFFER_DIGESTS 8 /* the first of two with digests */

/* What a connection that joins declares. */
static const char *const segments[] = {"512", "1000", "4096", "65536"};

struct fuzz {
	struct raw conn[CONNS];
	bool open[CONNS];
	uint16_t tsih;
	uint32_t cmdsn; /* the session's */
	bool header_digest, data_digest;
	uint32_t last_ttt; /* of an R2T, or of Data-In that wants to be acknowledged */
};

uint32_t
fuzz_outcome(void)
{
	return outcome;
}

/* -- the loop, on this thread ---------------------------------------------- */

struct turn {
	struct loop_msg msg;
	bool polled;
};

/* Once round: first before the loop polls, then after. */
static void
on_turn(struct loop_msg *msg)
{
	struct turn *turn = container_of(msg, struct turn, msg);

	if (turn->polled)
		uv_stop(loop_uv(loop));
	else
		loop_post(loop, msg);
	turn->polled = true;
}

static bool
turn_loop(void)
{
	struct turn turn = {.msg.fn = on_turn};
	struct pollfd pfd = {.fd = uv_backend_fd(loop_uv(loop)), .events = POLLIN};

	loop_post(loop, &turn.msg);
	loop_run(loop);
	return poll(&pfd, 1, 0) > 0;
}

/* What is asked of the kernel and what is closed takes a turn each to be seen. */
static void
run_server(void)
{
	for (unsigned quiet = 0; quiet < 3; quiet++)
		if (turn_loop())
			quiet = 0;
}

struct call {
	struct loop_msg msg;
	void (*fn)(void *arg);
	void *arg;
};

static void
on_call(struct loop_msg *msg)
{
	struct call *call = container_of(msg, struct call, msg);

	call->fn(call->arg);
}

static void
call_loop(void (*fn)(void *arg), void *arg)
{
	struct call call = {.msg.fn = on_call, .fn = fn, .arg = arg};

	loop_post(loop, &call.msg);
	(void)turn_loop();
}

static void
unmap(void *arg)
{
	(void)arg;
	(void)scsi_target_unmap(scsi, 0);
}

static void
stop(void)
{
	call_loop(unmap, NULL);
	scsi_target_free(scsi);
	volume_unref(&disk->vol);
	loop_free(loop);
	disk_free(disk);
	arena_free(arena); /* asserts that all pages are back */
}

static void
start(void)
{
	struct rig_options options = {.size = 1u << 20};
	struct iscsi_limits limits;
	struct errinfo info;
	int rc;

	log_threshold = LOG_LEVEL_ERROR;
	raw_instead_of_waiting = run_server;
	iscsi_limits_default(&limits);
	limits.queue_depth = 16;
	/* by the clock nothing is to happen */
	limits.login_timeout_ms = limits.nop_interval_ms = limits.nop_timeout_ms = 1u << 30;
	rc = arena_new(8u << 20, &arena);
	rc |= loop_new("fuzz", 0, &loop);
	disk = disk_new("fuzz", &options, loop, arena);
	disk->later = true;
	(void)volume_ref(&disk->vol);
	rc |= scsi_target_new(TARGET, &scsi);
	rc |= iscsi_server_new(&loop, 1, arena, &limits, &server);
	rc |= iscsi_target_add(server, TARGET, scsi, NULL, &info);
	assert(rc == 0);
}

/* As a portal does with what it has accepted. */
static void
take(void *arg)
{
	int fd = *(int *)arg, rc;

	atomic_fetch_add(&server->nconns, 1);
	rc = conn_new(server->shards, fd, "peer", "portal", ISCSI_PORTAL_GROUP_DEFAULT);
	assert(rc == 0);
}

static void
connect_raw(struct raw *raw)
{
	int fd[2], rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd);

	assert(rc == 0);
	rc = raw_attach(raw, fd[0]);
	assert(rc == 0);
	call_loop(take, &fd[1]);
}

/* -- what comes ------------------------------------------------------------- */

static void
note(const struct raw *raw)
{
	outcome = crc32c(outcome, raw->bhs, RAW_BHS);
	outcome = crc32c(outcome, raw->data, raw->len);
}

static bool
read_some(struct fuzz *f, struct raw *raw)
{
	struct pollfd pfd = {.fd = raw->fd, .events = POLLIN};

	while (poll(&pfd, 1, 0) > 0) {
		uint8_t opcode;
		int rc;

		rc = raw_recv(raw);
		/* what is begun is sent */
		assert(rc != -ETIMEDOUT);
		if (rc < 0)
			return false;
		note(raw);
		opcode = raw->bhs[0] & 0x3f;
		if (opcode == 0x31 || (opcode == 0x25 && raw->bhs[1] & 0x40))
			f->last_ttt = get_be32(raw->bhs + 20);
	}
	return true;
}

static void
close_conn(struct fuzz *f, unsigned i)
{
	if (f->open[i])
		raw_close(&f->conn[i]);
	f->open[i] = false;
}

static void
read_all(struct fuzz *f)
{
	run_server();
	for (unsigned i = 0; i < CONNS; i++) {
		if (f->open[i] && !read_some(f, &f->conn[i]))
			close_conn(f, i);
	}
}

/* The one that is meant, or another; CONNS: there is none. */
static unsigned
choose(const struct fuzz *f, unsigned i)
{
	for (unsigned n = 0; n < CONNS; n++) {
		if (f->open[(i + n) % CONNS])
			return (i + n) % CONNS;
	}
	return CONNS;
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

/* -- steps without a PDU of their own ------------------------------------- */

/* A connection of the session, perhaps instead of one that has its CID. */
static void
join(struct fuzz *f, unsigned i, const uint8_t *p)
{
	struct raw *raw = &f->conn[i];
	char keys[128];
	int rc, n = snprintf(keys, sizeof(keys),
			     "HeaderDigest=%s%cDataDigest=%s%cMaxRecvDataSegmentLength=%s",
			     f->header_digest ? "CRC32C" : "None", 0, f->data_digest ? "CRC32C" : "None", 0,
			     segments[p[3] % ARRAY_SIZE(segments)]);

	close_conn(f, i);
	connect_raw(raw);
	f->open[i] = true;
	raw->tsih = f->tsih;
	raw->cid = p[2] % CONNS;
	raw->cmdsn = f->cmdsn;
	rc = raw_login(raw, INITIATOR, TARGET, keys, (size_t)n + 1);
	/* it may be refused, but not forgotten */
	assert(rc != -ETIMEDOUT);
	raw->header_digest = f->header_digest;
	raw->data_digest = f->data_digest;
	if (rc != 0)
		close_conn(f, i);
}

static void
cut(struct fuzz *f, unsigned i, const uint8_t *p)
{
	(void)p;
	close_conn(f, i);
}

static void
half_close(struct fuzz *f, unsigned i, const uint8_t *p)
{
	(void)p;
	if (f->open[i])
		(void)shutdown(f->conn[i].fd, SHUT_WR); /* it may have ended */
}

/* All that came, or less. */
static void
acknowledge(struct fuzz *f, unsigned i, const uint8_t *p)
{
	struct raw *raw = &f->conn[i];
	uint32_t statsn = raw->expstatsn;

	if (!f->open[i])
		return;
	raw->expstatsn -= p[2];
	if (raw_ack(raw) < 0)
		close_conn(f, i);
	raw->expstatsn = statsn;
}

static void
change_segment(struct fuzz *f, unsigned i, const uint8_t *p)
{
	uint8_t bhs[RAW_BHS];
	char text[64];
	int n = snprintf(text, sizeof(text), "MaxRecvDataSegmentLength=%s",
			 segments[p[3] % ARRAY_SIZE(segments)]);

	if (!f->open[i])
		return;
	f->conn[i].itt = 0x100 + p[2];
	raw_request(&f->conn[i], bhs, 0x04, 0x80, true);
	put_be32(bhs + 20, UINT32_MAX);
	put_be32(bhs + 28, 0);
	if (raw_send(&f->conn[i], bhs, text, (uint32_t)n + 1) < 0)
		close_conn(f, i);
}

/* Until the server has come to this; it may wait for the rest of a PDU itself. */
static void
wait_here(struct fuzz *f, unsigned i, const uint8_t *p)
{
	struct raw *raw = &f->conn[i];
	struct pollfd pfd = {.fd = raw->fd, .events = POLLIN};
	uint8_t bhs[RAW_BHS];
	int rc;

	(void)p;
	if (!f->open[i])
		return;
	raw->itt = 0x4000;
	raw_request(raw, bhs, 0x00, 0x80, true);
	put_be32(bhs + 20, UINT32_MAX);
	put_be32(bhs + 28, 0);
	rc = raw_send(raw, bhs, NULL, 0);
	run_server();
	while (rc == 0 && poll(&pfd, 1, 0) > 0) {
		rc = raw_recv(raw);
		if (rc == 0)
			note(raw);
		if (rc == 0 && (raw->bhs[0] & 0x3f) == 0x20 && get_be32(raw->bhs + 16) == 0x4000)
			break;
	}
	assert(rc != -ETIMEDOUT);
	if (rc < 0)
		close_conn(f, i);
}

/* The digests of the next PDU. */
static void
spoil(struct fuzz *f, unsigned i, const uint8_t *p)
{
	f->conn[i].spoil_header = p[2] & 1;
	f->conn[i].spoil_data = p[2] & 2;
}

static void (*const actions[])(struct fuzz *f, unsigned i, const uint8_t *p) = {
	join, cut, half_close, acknowledge, change_segment, wait_here, spoil,
};

/* -- PDUs ------------------------------------------------------------------ */

static void
fill(const struct fuzz *f, const struct raw *raw, const uint8_t *p, uint8_t bhs[RAW_BHS])
{
	uint8_t opcode = p[0] & 0x3f, snack = p[1] & 0x0f;

	put_be32(bhs + 32, f->cmdsn - 1);
	put_be32(bhs + 36, p[6]);
	put_be32(bhs + 40, p[7] * 256u);
	switch (opcode) {
	case 0x01:
		put_be32(bhs + 20, p[5] * 256u);
		memset(bhs + 32, 0, 16);
		bhs[32] = p[10];
		bhs[33] = p[7];
		bhs[37] = p[11];
		bhs[40] = p[5] / 2;
		break;
	case 0x02:
		put_be32(bhs + 20, p[3] & 0x1f);
		break;
	case 0x06:
		put_be16(bhs + 20, p[3] % CONNS);
		break;
	case 0x10:
		/* BegRun, RunLength, and an ExpStatSN that may lag; R-Data has mostly none */
		put_be32(bhs + 28, raw->expstatsn - p[10]);
		put_be32(bhs + 40, p[7] + (snack == 1 ? raw->expstatsn - p[10] : 0));
		put_be32(bhs + 44, p[6]);
		if (snack == 3 && !(p[11] & 1))
			memset(bhs + 40, 0, 8);
		break;
	default:
		break;
	}
}

static int
send_pdu(struct fuzz *f, struct raw *raw, const uint8_t *p)
{
	uint8_t bhs[RAW_BHS] = {p[0] & 0x7f, p[1]}, opcode = p[0] & 0x3f;
	uint32_t len = p[8] == 0xff ? 100 : p[8] * 64u;

	bhs[9] = p[9] & 1;
	put_be32(bhs + 16, p[2] & 0x1f);
	put_be32(bhs + 20, ttt_of(p[3], f->last_ttt));
	put_be32(bhs + 24, f->cmdsn + (uint32_t)(int8_t)p[4]);
	put_be32(bhs + 28, p[9] & 8 ? raw->expstatsn : 0);
	if (!(p[0] & 0x40) && p[4] == 0 && opcode != 5 && opcode != 0x10)
		f->cmdsn++;
	fill(f, raw, p, bhs);
	if (p[8] != 0xff)
		return raw_send(raw, bhs, block, min_of(len, (uint32_t)sizeof(block)));
	put_be24(bhs + 5, len);
	return raw_bytes(raw, bhs, sizeof(bhs));
}

/* False: there is nobody any more to do anything. */
static bool
step(struct fuzz *f, const uint8_t *p)
{
	unsigned i = p[9] >> 1 & 3;

	if (p[0] & 0x80) {
		actions[p[1] % ARRAY_SIZE(actions)](f, i, p);
	} else {
		i = choose(f, i);
		if (i < CONNS && send_pdu(f, &f->conn[i], p) < 0)
			close_conn(f, i);
	}
	read_all(f);
	return choose(f, 0) < CONNS || p[0] & 0x80;
}

/* -- beginning and end ------------------------------------------------------ */

static void
drop_all(void *arg)
{
	struct conn *next;

	(void)arg;
	for (struct conn *conn = server->shards->conns; conn; conn = next) {
		next = conn->next;
		conn_drop(conn, CLOSE_KICKED);
	}
}

static void
renew_unit(void *arg)
{
	int rc;

	(void)arg;
	(void)scsi_target_unmap(scsi, 0);
	(void)scsi_target_set_access(scsi, 1, SCSI_ACCESS_OPTIMIZED);
	volume_bar(&disk->vol, 0, NULL);
	memset(disk->bytes, 0, disk->vol.size);
	memset(disk->present, 0, disk->vol.size / disk->vol.chunk_size);
	rc = scsi_target_map(scsi, 0, &disk->vol, NULL);
	assert(rc == 0);
	server->last_tsih = 0;
	outcome = 0;
}

static void
login(struct raw *raw, const char *keys, size_t len)
{
	connect_raw(raw);
	if (raw_login(raw, INITIATOR, TARGET, keys, len) != 0)
		abort();
	note(raw);
}

/* What was lost is not awaited: an administrator ends it, or a new session in its place. */
static void
end(struct fuzz *f, bool reinstate)
{
	struct raw raw;

	for (unsigned i = 0; i < CONNS; i++)
		close_conn(f, i);
	if (reinstate) {
		login(&raw, "", 0);
		raw_close(&raw);
	} else {
		run_server();
		call_loop(drop_all, NULL);
	}
	for (unsigned turns = 0; atomic_load(&server->nconns) || atomic_load(&scsi->slots[0].lu)->sanitize;
	     turns++) {
		assert(turns < 100000);
		(void)turn_loop();
	}
	assert(!server->sessions && arena_free_pages(arena) == arena_total_pages(arena));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {0};
	unsigned offer;
	bool reinstate;

	if (!server) {
		start();
		(void)atexit(stop);
	}
	if (!size)
		return 0;
	call_loop(renew_unit, NULL);
	offer = (data[0] & 0x3f) % ARRAY_SIZE(offers);
	reinstate = data[0] & 0x40;
	data++;
	size--;
	login(&f.conn[0], offers[offer].keys, offers[offer].len);
	f.open[0] = true;
	f.header_digest = f.conn[0].header_digest = offer == OFFER_DIGESTS;
	f.data_digest = f.conn[0].data_digest = offer >= OFFER_DIGESTS;
	f.tsih = f.conn[0].tsih;
	f.cmdsn = f.conn[0].cmdsn;
	for (unsigned n = 0; size >= STEP && n < STEPS_MAX; n++, data += STEP, size -= STEP) {
		if (!step(&f, data))
			break;
	}
	end(&f, reinstate);
	return 0;
}
