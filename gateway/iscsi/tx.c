/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes out.
 *
 * Commands with something to say stand in conn->sendq, first come first served,
 * so that a response never overtakes one that was given before it.  A flush
 * takes PDUs from the head of the queue into a ring of slots and sends all of
 * the ring with one sendmsg: headers from the slots, data from the pages of the
 * tasks.  One flush runs per iteration of the loop (conn's deferred turn).
 *
 * Bounds: the ring has TX_SLOTS slots; the queue has no more than the pool's
 * commands.  When the peer does not read, commands stay there, the pool runs
 * empty, and rx pauses.  With data digests no PDU is added to TX_DIGEST_BYTES or more: what was summed is then still
 * in the processor's cache when sendmsg copies it.
 *
 * Invariant: the command of a slot lives until the slot is sent.
 *
 * Failure: a send error closes the connection.
 */
#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "gateway/iscsi/conn.h"

#define TX_BATCHES 8 /* of one flush: others want the loop too */

struct pdu_numbers
tx_numbers(struct conn *conn, bool status)
{
	struct session *session = conn->session;
	struct pdu_numbers n = {.statsn = conn->statsn};

	if (status)
		conn->statsn++;
	if (session) {
		n.expcmdsn = session->expcmdsn;
		n.maxcmdsn =
			session_maxcmdsn(session, conn->start_blocked || conn->parkq.head ||
							  conn->collect_bytes > conn->server->budget / 2);
	} else if (conn->login) {
		n.expcmdsn = conn->login->cmdsn;
		n.maxcmdsn = n.expcmdsn + conn->server->limits.queue_depth - 1;
	}
	return n;
}

void
tx_queue(struct conn *conn, struct command *cmd, command_fill_fn *fill)
{
	cmd->fill = fill;
	command_enqueue(&conn->sendq, cmd);
	conn_queue_turn(conn);
}

struct tx_slot *
tx_slot(struct conn *conn)
{
	struct tx *tx = &conn->tx;
	struct tx_slot *slot;

	if (tx->n == TX_SLOTS || (conn->data_digest && tx->bytes >= TX_DIGEST_BYTES))
		return NULL;
	slot = &tx->slot[(tx->first + tx->n) % TX_SLOTS];
	slot->last = slot->again = false;
	slot->cmd = NULL;
	slot->linear = NULL;
	slot->data_off = slot->data_len = 0;
	return slot;
}

/* The next run of bytes at off that lies in one piece, at most len. */
static struct iovec
data_piece(const struct tx_slot *slot, uint32_t off, uint32_t len)
{
	const struct scsi_task *task;
	uint32_t at, run;
	unsigned i;

	if (slot->linear)
		return (struct iovec){(void *)(slot->linear + off), len};
	task = &slot->cmd->task;
	at = task->page_off + slot->data_off + off;
	i = at >> PAGE_SHIFT;
	at &= PAGE_SIZE_BYTES - 1;
	assert(i < task->npages);
	run = PAGE_SIZE_BYTES - at;
	/* pages that were allocated together lie together */
	for (unsigned j = i + 1; run < len && j < task->npages &&
				 task->pages[j]->data == task->pages[j - 1]->data + PAGE_SIZE_BYTES;
	     j++)
		run += PAGE_SIZE_BYTES;
	return (struct iovec){task->pages[i]->data + at, min_of(run, len)};
}

static uint32_t
data_digest(const struct tx_slot *slot, const uint8_t *pad, unsigned pad_len)
{
	uint32_t crc = 0;

	for (uint32_t off = 0; off < slot->data_len;) {
		struct iovec iov = data_piece(slot, off, slot->data_len - off);

		crc = crc32c(crc, iov.iov_base, iov.iov_len);
		off += (uint32_t)iov.iov_len;
	}
	return crc32c(crc, pad, pad_len);
}

static uint32_t
slot_bytes(const struct tx_slot *slot)
{
	return slot->head_len + slot->data_len + slot->tail_len;
}

void
tx_commit(struct conn *conn, struct tx_slot *slot)
{
	unsigned pad = -slot->data_len & 3;

	slot->head_len = ISCSI_BHS_LEN;
	if (conn->header_digest) {
		put_le32(slot->head + ISCSI_BHS_LEN, crc32c(0, slot->head, ISCSI_BHS_LEN));
		slot->head_len += ISCSI_DIGEST_LEN;
	}
	memset(slot->tail, 0, 3);
	slot->tail_len = (uint8_t)pad;
	if (conn->data_digest && slot->data_len) {
		put_le32(slot->tail + pad, data_digest(slot, slot->tail, pad));
		slot->tail_len = (uint8_t)(pad + ISCSI_DIGEST_LEN);
	}
	if (conn->recovery && slot->last)
		recover_remember(slot);
	if (slot->last && slot->cmd->fenced)
		fence_sent(conn, slot->cmd, get_be32(slot->head + 24));
	conn->tx.n++;
	conn->tx.bytes += slot_bytes(slot);
	counter_add(&conn->pdus_out, 1);
	counter_add(&conn->shard->stats.pdus_out, 1);
}

/* From the queue into slots. */
static void
fill_slots(struct conn *conn)
{
	struct command *cmd;

	while (conn->tx.n < TX_SLOTS && (cmd = conn->sendq.head)) {
		if (!cmd->fill(conn, cmd))
			break;
		/* fill may have ended the command's stay itself */
		if (cmd == conn->sendq.head)
			command_dequeue(cmd);
	}
}

/* Append the part of a slot behind its first `skip` bytes; false when the vector is full. */
static bool
gather(const struct tx_slot *slot, uint32_t skip, struct iovec *iov, unsigned *n)
{
	if (*n + 2 > TX_IOVS)
		return false;
	if (skip < slot->head_len)
		iov[(*n)++] = (struct iovec){(void *)(slot->head + skip), slot->head_len - skip};
	skip = skip > slot->head_len ? skip - slot->head_len : 0;
	while (skip < slot->data_len) {
		if (*n + 2 > TX_IOVS)
			return false;
		iov[*n] = data_piece(slot, skip, slot->data_len - skip);
		skip += (uint32_t)iov[(*n)++].iov_len;
	}
	skip -= slot->data_len;
	if (skip < slot->tail_len)
		iov[(*n)++] = (struct iovec){(void *)(slot->tail + skip), slot->tail_len - skip};
	return true;
}

static void
sent(struct conn *conn, struct command *cmd)
{
	if (cmd->keep)
		recover_keep(conn, cmd);
	else
		command_free(cmd);
}

/* n bytes are gone. */
static void
consume(struct conn *conn, size_t n)
{
	struct tx *tx = &conn->tx;

	n += tx->sent;
	while (tx->n) {
		struct tx_slot *slot = &tx->slot[tx->first];

		if (n < slot_bytes(slot))
			break;
		/* a whole PDU: who takes a byte now and then is as bad as who takes none */
		tx->progress_ms = loop_now_ms(conn->loop);
		n -= slot_bytes(slot);
		tx->bytes -= slot_bytes(slot);
		tx->first = (tx->first + 1) % TX_SLOTS;
		tx->n--;
		if (slot->again)
			recover_unref(slot->cmd);
		if (slot->last)
			sent(conn, slot->cmd);
	}
	tx->sent = (uint32_t)n;
}

/* One sendmsg; false when there is no point in another one now. */
static bool
send_batch(struct conn *conn)
{
	struct tx *tx = &conn->tx;
	struct iovec iov[TX_IOVS];
	struct msghdr msg = {.msg_iov = iov};
	unsigned n = 0;
	size_t want = 0;
	ssize_t rc;

	for (unsigned i = 0; i < tx->n; i++) {
		if (!gather(&tx->slot[(tx->first + i) % TX_SLOTS], i ? 0 : tx->sent, iov, &n))
			break;
	}
	for (unsigned i = 0; i < n; i++)
		want += iov[i].iov_len;
	msg.msg_iovlen = n;
	rc = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (rc < 0) {
		if (errno == EINTR)
			return true;
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			tx->blocked = true;
		else
			conn_close_detail(conn, CLOSE_SOCKET, "%s", strerror(errno));
		return false;
	}
	counter_add(&conn->bytes_out, (uint64_t)rc);
	counter_add(&conn->shard->stats.bytes_out, (uint64_t)rc);
	consume(conn, (size_t)rc);
	tx->blocked = (size_t)rc < want;
	return !tx->blocked;
}

void
tx_flush(struct conn *conn)
{
	for (unsigned batch = 0; conn->fd >= 0 && !conn->tx.blocked; batch++) {
		if (batch == TX_BATCHES) {
			/* the socket still takes more: let poll call again */
			conn->tx.blocked = true;
			break;
		}
		fill_slots(conn);
		if (!conn->tx.n || !send_batch(conn))
			break;
	}
}

void
tx_drop(struct conn *conn)
{
	struct tx *tx = &conn->tx;

	/* the commands are ended by who drops */
	tx->n = 0;
	tx->sent = tx->bytes = 0;
	tx->blocked = false;
}
