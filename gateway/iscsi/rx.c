/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What comes in: bytes of the socket to PDUs, many with one read.
 *
 *   HEAD     BHS, AHS and header digest, all in the buffer; lengths are checked here, before anything is kept
 *   BEGIN    rx_begin() chooses the sink of the payload; RX_PAUSE stops here until something is freed
 *   PAYLOAD  from the buffer into the sink; what is not there yet is read straight into the pages of the
 *            task, and what follows it into the buffer, with one readv
 *   TAIL     padding and data digest, in the buffer; then rx_end()
 *
 * Invariants: outside of PAYLOAD everything of a PDU that was read is in the buffer;
 * while bytes go straight to a task the buffer is empty; a paused connection is not polled for reading.
 *
 * Failure: a length over the limit, a wrong header digest, the end of the stream:
 * the connection closes.  Nothing is allocated for what a header claims.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "gateway/iscsi/conn.h"

#define RX_READS 4 /* of one readable event: others want the loop too */
#define RX_IOVS 64

int
rx_init(struct rx *rx, uint32_t max_data)
{
	rx->buf = malloc(RX_LOGIN_BUFFER);
	if (!rx->buf)
		return -ENOMEM;
	rx->room = RX_LOGIN_BUFFER;
	rx->limits = (struct pdu_limits){.max_data = max_data};
	textbuf_init(&rx->text, max_data);
	return 0;
}

void
rx_fini(struct rx *rx)
{
	free(rx->buf);
	rx->buf = NULL;
	textbuf_fini(&rx->text);
}

int
rx_grow(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	uint8_t *buf = realloc(rx->buf, RX_BUFFER);

	if (!buf)
		return -ENOMEM;
	rx->buf = buf;
	rx->room = RX_BUFFER;
	return 0;
}

static bool
may_read(const struct conn *conn)
{
	return (conn->state == CONN_LOGIN || conn->state == CONN_FULL) && !conn->rx.paused;
}

void
rx_resume(struct conn *conn)
{
	conn->rx.resume = true;
	conn_queue_turn(conn);
}

/* -- parsing ------------------------------------------------------------- */

static void
acknowledge(struct conn *conn, uint32_t expstatsn)
{
	/* 4.2.2.2: what was not given cannot be acknowledged, and nothing is taken back */
	if (serial_cmp(expstatsn, conn->statsn) > 0)
		return;
	if (serial_cmp(expstatsn, conn->acked) > 0)
		conn->acked = expstatsn;
	if (conn->recovery)
		recover_ack(conn, expstatsn);
	if (conn->session->fence.state)
		fence_check(conn->session);
}

static bool
parse_head(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	const uint8_t *head = rx->buf + rx->pos;
	uint32_t len;

	if (rx->end - rx->pos < ISCSI_BHS_LEN)
		return false;
	if (pdu_decode(head, &rx->limits, &rx->pdu) < 0) {
		bool login = (head[0] & ISCSI_OPCODE_MASK) == ISCSI_LOGIN_REQUEST;

		if (conn->state == CONN_LOGIN && !conn->login->begun && !login)
			conn_close_detail(conn, CLOSE_NOT_ISCSI, "first byte 0x%02x", head[0]);
		else
			conn_close_detail(conn, CLOSE_OVERSIZE, "%s of %u bytes, at most %u were agreed",
					  pdu_opcode_name(head[0]), get_be24(head + 5), rx->limits.max_data);
		return false;
	}
	len = pdu_head_len(&rx->pdu, &rx->limits);
	if (rx->end - rx->pos < len)
		return false;
	if (rx->limits.header_digest && !pdu_head_digest_ok(head, rx->pdu.ahs_len)) {
		/* 7.7: nothing in the header can be believed, its length neither */
		conn_close(conn, CLOSE_HEADER_DIGEST);
		return false;
	}
	if (conn->state == CONN_FULL)
		acknowledge(conn, rx->pdu.expstatsn);
	memcpy(rx->head, head, ISCSI_BHS_LEN);
	if (rx->pdu.ahs_len)
		memcpy(rx->ahs_bytes, head + ISCSI_BHS_LEN, rx->pdu.ahs_len);
	rx->pos += len;
	rx->step = RX_BEGIN;
	return true;
}

static bool
begin(struct conn *conn)
{
	struct rx *rx = &conn->rx;

	if (rx_begin(conn) == RX_PAUSE) {
		rx->paused = true;
		return false;
	}
	rx->left = rx->pdu.data_len;
	rx->crc = 0;
	rx->step = RX_PAYLOAD;
	if (rx->left >= RX_BULK && rx->sink == SINK_TASK)
		rx->bulk = 2;
	else if (rx->bulk)
		rx->bulk--;
	return true;
}

/* The piece of the task's pages at rx->task_off; how much of n bytes fits there, 0 when the task takes no
 * more. */
static uint32_t
task_piece(const struct rx *rx, uint32_t off, uint32_t n, uint8_t **ret)
{
	const struct scsi_task *task = &rx->cmd->task;
	uint32_t at = task->page_off + off;
	uint32_t run;

	if (off >= rx->cmd->need)
		return 0;
	n = min_of(n, rx->cmd->need - off);
	*ret = task->pages[at >> PAGE_SHIFT]->data + (at & (PAGE_SIZE_BYTES - 1));
	run = PAGE_SIZE_BYTES - (at & (PAGE_SIZE_BYTES - 1));
	return min_of(run, n);
}

static void
copy_to_task(struct rx *rx, const uint8_t *p, uint32_t n)
{
	while (n) {
		uint8_t *to;
		uint32_t run = task_piece(rx, rx->task_off, n, &to);

		if (!run)
			break;
		memcpy(to, p, run);
		rx->task_off += run;
		p += run;
		n -= run;
	}
	/* past what the command takes: unwanted, but part of the PDU */
	rx->task_off += n;
}

static bool
payload(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	uint32_t n = min_of(rx->end - rx->pos, rx->left);
	const uint8_t *p = rx->buf + rx->pos;

	if (n && rx->limits.data_digest)
		rx->crc = crc32c(rx->crc, p, n);
	if (n && rx->sink == SINK_TASK)
		copy_to_task(rx, p, n);
	if (n && rx->sink == SINK_TEXT && textbuf_add(&rx->text, p, n) < 0) {
		conn_close(conn, CLOSE_NO_MEMORY);
		return false;
	}
	rx->pos += n;
	rx->left -= n;
	if (rx->left)
		return false;
	rx->step = RX_TAIL;
	return true;
}

static bool
tail(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	uint32_t len = pdu_tail_len(&rx->pdu, &rx->limits);
	const uint8_t *p = rx->buf + rx->pos;
	bool ok = true;

	if (rx->end - rx->pos < len)
		return false;
	if (rx->limits.data_digest && rx->pdu.data_len)
		ok = pdu_data_digest_ok(&rx->pdu, rx->crc, p);
	rx->pos += len;
	rx->step = RX_HEAD;
	counter_add(&conn->pdus_in, 1);
	counter_add(&conn->shard->stats.pdus_in, 1);
	if (ok)
		rx_end(conn);
	else
		rx_digest_error(conn);
	rx->cmd = NULL;
	return true;
}

void
rx_parse(struct conn *conn)
{
	static bool (*const steps[])(struct conn *) = {
		[RX_HEAD] = parse_head, [RX_BEGIN] = begin, [RX_PAYLOAD] = payload, [RX_TAIL] = tail};

	while (may_read(conn)) {
		if (!steps[conn->rx.step](conn))
			break;
	}
}

/* -- reading ------------------------------------------------------------- */

static void
compact(struct rx *rx)
{
	if (rx->pos && rx->end > rx->pos)
		memmove(rx->buf, rx->buf + rx->pos, rx->end - rx->pos);
	rx->end -= rx->pos;
	rx->pos = 0;
}

/* Vectors for what the task still takes of this payload; returns the bytes. */
static uint32_t
direct(const struct rx *rx, struct iovec *iov, int *n)
{
	uint32_t off = rx->task_off, total = 0;

	if (rx->step != RX_PAYLOAD || rx->sink != SINK_TASK || rx->end)
		return 0;
	while (*n < RX_IOVS && total < rx->left) {
		uint8_t *to;
		uint32_t run = task_piece(rx, off, rx->left - total, &to);

		if (!run)
			break;
		if (*n && (uint8_t *)iov[*n - 1].iov_base + iov[*n - 1].iov_len == to)
			iov[*n - 1].iov_len += run;
		else
			iov[(*n)++] = (struct iovec){to, run};
		off += run;
		total += run;
	}
	return total;
}

static void
direct_done(struct rx *rx, const struct iovec *iov, uint32_t n)
{
	rx->task_off += n;
	rx->left -= n;
	for (; rx->limits.data_digest && n; iov++) {
		uint32_t run = min_of(n, (uint32_t)iov->iov_len);

		rx->crc = crc32c(rx->crc, iov->iov_base, run);
		n -= run;
	}
}

/* One readv; false when there is no point in another one now. */
static bool
read_some(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	struct iovec iov[RX_IOVS + 1];
	uint32_t straight, buffer;
	int n = 0;
	ssize_t rc;

	compact(rx);
	straight = direct(rx, iov, &n);
	buffer = rx->room - rx->end;
	/* a large payload follows: leave most of it in the socket until its pages are known */
	if (rx->bulk)
		buffer = min_of(buffer, RX_BULK_TAIL);
	/* there is more for the pages than the vector could name */
	if (straight && straight < rx->left && rx->task_off + straight < rx->cmd->need)
		buffer = 0;
	if (buffer)
		iov[n++] = (struct iovec){rx->buf + rx->end, buffer};
	rc = readv(conn->fd, iov, n);
	if (rc < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			conn_close_detail(conn, CLOSE_SOCKET, "%s", strerror(errno));
		return false;
	}
	if (rc == 0) {
		conn_close(conn, CLOSE_PEER);
		return false;
	}
	counter_add(&conn->bytes_in, (uint64_t)rc);
	counter_add(&conn->shard->stats.bytes_in, (uint64_t)rc);
	direct_done(rx, iov, min_of((uint32_t)rc, straight));
	if ((uint32_t)rc > straight)
		rx->end += (uint32_t)rc - straight;
	rx_parse(conn);
	return (uint32_t)rc == straight + buffer;
}

void
rx_readable(struct conn *conn)
{
	conn->last_rx_ms = loop_now_ms(conn->loop);
	for (int i = 0; i < RX_READS && may_read(conn); i++) {
		if (!read_some(conn))
			break;
	}
}
