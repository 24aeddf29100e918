/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recovery within a connection, ErrorRecoveryLevel 1 (RFC 7143 7.2, 11.16).
 *
 *   KEPT      a response is sent; the command stays, with its header and its data, until ExpStatSN says that the
 *             initiator has it
 *   SNACK     a request of the initiator to send again: a command of its own stands in conn->sendq for it, and
 *             refers to the one whose data it sends
 *
 * What is sent again is what was sent before: the pages of a read stay with the command, nothing is read twice.  An
 * R-Data SNACK, which an initiator has to use once its MaxRecvDataSegmentLength is another one, has the same bytes cut
 * anew from the first DataSN on that is not acknowledged, and the response once more, with its StatSN and the SNACK's tag.
 *
 * Bounds: no more commands are kept than the window has places, and no more data than KEPT_SHARE of what a connection may
 * hold; the oldest goes first, and memory that is short takes all of it.  A SNACK for what has gone is rejected (reason 3),
 * and the initiator recovers in another way.
 *
 * Invariants: conn->keptq is in the order of StatSN; a command with refs is not freed while its connection lives.
 */
#include <assert.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/conn.h"

#define KEPT_SHARE 4 /* of conn's budget: one part in so many */

enum snack_type { SNACK_DATA_R2T, SNACK_STATUS, SNACK_DATA_ACK, SNACK_RDATA };

/* -- what is kept -------------------------------------------------------- */

void
recover_remember(struct tx_slot *slot)
{
	struct command *cmd = slot->cmd;
	uint8_t opcode = slot->head[0] & ISCSI_OPCODE_MASK;

	/* pings have no number; the login is over */
	if (opcode == ISCSI_LOGIN_RESPONSE || (opcode == ISCSI_NOP_IN && cmd->itt == ISCSI_TAG_NONE))
		return;
	memcpy(cmd->bhs, slot->head, ISCSI_BHS_LEN);
	cmd->statsn = get_be32(slot->head + 24);
	cmd->kept_data = slot->linear;
	cmd->kept_len = slot->data_len;
	cmd->keep = true;
}

static void
drop_data(struct command *cmd)
{
	cmd->conn->kept_bytes -= cmd->kept_bytes;
	cmd->kept_bytes = 0;
	if (cmd->started && !cmd->refs) {
		cmd->started = false;
		scsi_task_release(&cmd->task);
	}
}

void
recover_take_out(struct command *cmd)
{
	command_dequeue(cmd);
	cmd->conn->nkept--;
	cmd->conn->kept_bytes -= cmd->kept_bytes;
	cmd->kept_bytes = 0;
}

static void
let_go(struct command *cmd)
{
	recover_take_out(cmd);
	cmd->acked = true;
	if (!cmd->refs)
		command_free(cmd);
}

bool
recover_drop_data(struct conn *conn)
{
	bool any = conn->kept_bytes != 0;

	for (struct command *cmd = conn->keptq.head; cmd && conn->kept_bytes; cmd = cmd->queue_next)
		drop_data(cmd);
	return any;
}

void
recover_keep(struct conn *conn, struct command *cmd)
{
	uint64_t most = conn->server->budget / KEPT_SHARE;

	assert(cmd->state == COMMAND_SEND);
	cmd->state = COMMAND_KEPT;
	if (cmd->immediate) {
		cmd->immediate = false;
		conn->nimmediate--;
	}
	conn->answer_bytes -= cmd->answer_bytes;
	cmd->kept_bytes = cmd->started ? cmd->answer_bytes : 0;
	cmd->answer_bytes = 0;
	conn->kept_bytes += cmd->kept_bytes;
	if (conn->runq.head)
		conn_queue_turn(conn);
	/* a write is never sent again */
	if (cmd->started && cmd->write)
		drop_data(cmd);
	command_enqueue(&conn->keptq, cmd);
	if (++conn->nkept > conn->server->limits.queue_depth)
		let_go(conn->keptq.head);
	for (struct command *old = conn->keptq.head; conn->kept_bytes > most; old = old->queue_next)
		drop_data(old);
}

void
recover_ack(struct conn *conn, uint32_t expstatsn)
{
	struct command *cmd;

	while ((cmd = conn->keptq.head) && serial_cmp(cmd->statsn, expstatsn) < 0)
		let_go(cmd);
}

void
recover_unref(struct command *cmd)
{
	assert(cmd->refs > 0);
	if (--cmd->refs)
		return;
	if (cmd->acked)
		command_free(cmd);
	else if (cmd->state == COMMAND_KEPT && cmd->started && !cmd->kept_bytes && cmd->send_len)
		drop_data(cmd);
}

void
recover_end(struct conn *conn)
{
	for (struct command *cmd = conn->active; cmd; cmd = cmd->next) {
		cmd->again = NULL;
		cmd->refs = 0;
	}
	conn->nkept = 0;
	conn->kept_bytes = 0;
}

void
recover_tick(struct conn *conn)
{
	/* who has nothing to say does not acknowledge: a ping makes him, and shows him our StatSN */
	if (conn->keptq.head && conn->keptq.head->statsn == conn->unacked && !conn->nop_sent_ms)
		nop_ping(conn);
	if (conn->keptq.head)
		conn->unacked = conn->keptq.head->statsn;
}

/* -- SNACK --------------------------------------------------------------- */

struct command *
recover_find(struct conn *conn, uint32_t itt)
{
	struct command *cmd = command_find(conn, itt);

	if (cmd)
		return cmd;
	for (cmd = conn->keptq.head; cmd && cmd->itt != itt; cmd = cmd->queue_next)
		;
	return cmd;
}

static uint8_t
again(struct conn *conn, struct command *cmd, uint32_t from, uint32_t to, bool rdata, command_fill_fn *fill)
{
	struct command *snack = command_new(conn);

	if (!snack)
		return ISCSI_REJECT_OUT_OF_RESOURCES;
	snack->opcode = ISCSI_SNACK_REQUEST;
	snack->state = COMMAND_SEND;
	snack->again = cmd;
	snack->again_from = from;
	snack->again_to = to;
	if (cmd)
		cmd->refs++;
	snack->again_rewind = snack->again_status = rdata;
	counter_add(&conn->shard->stats.sent_again, 1);
	tx_queue(conn, snack, fill);
	return ISCSI_REJECT_NONE;
}

/* The response of cmd, as it was or with a newer tag. */
static void
put_status(struct conn *conn, struct command *cmd, struct tx_slot *slot)
{
	struct pdu_numbers n = tx_numbers(conn, false);

	memcpy(slot->head, cmd->bhs, ISCSI_BHS_LEN);
	put_be32(slot->head + 28, n.expcmdsn);
	put_be32(slot->head + 32, n.maxcmdsn);
	slot->cmd = cmd;
	slot->linear = cmd->kept_data;
	slot->data_len = cmd->kept_len;
}

static void
commit_again(struct conn *conn, struct tx_slot *slot)
{
	slot->again = true;
	slot->cmd->refs++;
	tx_commit(conn, slot);
}

/* 11.16.3: from what is acknowledged on everything is made anew, the numbers too; so the response says them. */
static void
rewind_snack(struct conn *conn, struct command *snack)
{
	struct command *cmd = snack->again;

	snack->again_rewind = false;
	data_in_rewind(conn, cmd, cmd->data_acked);
	cmd->datasn = data_in_pdus(cmd);
	cmd->sent = cmd->send_len;
	put_be32(cmd->bhs + 20, cmd->snack_tag);
	put_be32(cmd->bhs + 36, cmd->datasn + cmd->r2tsn);
	snack->again_from = cmd->base_sn;
	snack->again_to = cmd->datasn;
}

static bool
data_fill(struct conn *conn, struct command *snack)
{
	struct command *cmd = snack->again;

	if (snack->again_rewind)
		rewind_snack(conn, snack);
	/* the numbers mean other bytes since it was asked for */
	if (snack->again_from < cmd->base_sn || cmd->segment > conn->max_send)
		snack->again_from = snack->again_to;
	while (snack->again_from != snack->again_to) {
		struct tx_slot *slot = tx_slot(conn);

		if (!slot)
			return false;
		data_in_put(conn, cmd, snack->again_from++, slot);
		commit_again(conn, slot);
	}
	if (snack->again_status) {
		struct tx_slot *slot = tx_slot(conn);

		if (!slot)
			return false;
		put_status(conn, cmd, slot);
		commit_again(conn, slot);
	}
	command_free(snack);
	return true;
}

static uint8_t
snack_data(struct conn *conn, struct command *cmd, uint32_t from, uint32_t n)
{
	uint32_t to = n ? from + n : cmd->datasn;

	/* 11.16.6: all that is not acknowledged */
	if (!from && !n)
		from = cmd->data_acked;
	if ((cmd->state != COMMAND_SEND && cmd->state != COMMAND_KEPT) || from < cmd->data_acked ||
	    from >= to || to > cmd->datasn || (n && to < from))
		return ISCSI_REJECT_PROTOCOL;
	/* 11.16.3: it has to be an R-Data SNACK */
	if (cmd->segment > conn->max_send)
		return ISCSI_REJECT_PROTOCOL;
	if (!cmd->started)
		return ISCSI_REJECT_SNACK;
	return again(conn, cmd, from, to, false, data_fill);
}

/* What earlier SNACKs for it wanted has no meaning any more. */
static void
forget_snacks(struct conn *conn, const struct command *cmd)
{
	for (struct command *snack = conn->sendq.head; snack; snack = snack->queue_next) {
		if (snack->again != cmd)
			continue;
		snack->again_from = snack->again_to;
		snack->again_rewind = snack->again_status = false;
	}
}

static uint8_t
snack_rdata(struct conn *conn, struct command *cmd, uint32_t tag)
{
	bool sent = cmd->state == COMMAND_KEPT || (cmd->state == COMMAND_SEND && cmd->keep);

	if (!cmd->read || tag == cmd->snack_tag)
		return ISCSI_REJECT_PROTOCOL;
	if (sent && !cmd->started && data_in_left(cmd, cmd->data_acked))
		return ISCSI_REJECT_SNACK;
	if (sent) {
		uint8_t reject;

		forget_snacks(conn, cmd);
		reject = again(conn, cmd, 0, 0, true, data_fill);
		if (reject)
			return reject;
	} else if (cmd->segment) {
		forget_snacks(conn, cmd);
		data_in_rewind(conn, cmd, cmd->data_acked);
	}
	/* an answer that is not begun yet carries it all the same */
	cmd->snack_tag = tag;
	return ISCSI_REJECT_NONE;
}

static bool
status_fill(struct conn *conn, struct command *snack)
{
	for (struct command *cmd = conn->keptq.head; cmd; cmd = cmd->queue_next) {
		struct tx_slot *slot;

		if (serial_cmp(cmd->statsn, snack->again_from) < 0)
			continue;
		if (serial_cmp(cmd->statsn, snack->again_to) >= 0)
			break;
		slot = tx_slot(conn);
		if (!slot)
			return false;
		put_status(conn, cmd, slot);
		commit_again(conn, slot);
		snack->again_from = cmd->statsn + 1;
	}
	command_free(snack);
	return true;
}

static uint8_t
snack_status(struct conn *conn, uint32_t acked, uint32_t from, uint32_t n)
{
	uint32_t to = n ? from + n : conn->statsn;

	/* 11.16.3: all that is not acknowledged */
	if (!from && !n)
		from = acked;
	if (serial_cmp(from, acked) < 0 || serial_cmp(to, conn->statsn) > 0 || serial_cmp(from, to) >= 0)
		return ISCSI_REJECT_PROTOCOL;
	/* what is on its way still need not go twice */
	if (conn->keptq.head ? serial_cmp(from, conn->keptq.head->statsn) < 0 : !conn->tx.n)
		return ISCSI_REJECT_SNACK;
	return again(conn, NULL, from, to, false, status_fill);
}

static uint8_t
data_ack(struct conn *conn, uint32_t ttt, uint32_t upto, uint32_t n)
{
	for (struct command *cmd = conn->active; cmd; cmd = cmd->next) {
		if (cmd->opcode != ISCSI_SCSI_COMMAND || cmd->data_ttt != ttt || cmd->write ||
		    (cmd->state != COMMAND_SEND && cmd->state != COMMAND_KEPT))
			continue;
		if (n || upto > cmd->datasn)
			return ISCSI_REJECT_INVALID_DATA_ACK;
		cmd->data_acked = max_of(cmd->data_acked, upto);
		return ISCSI_REJECT_NONE;
	}
	return ISCSI_REJECT_INVALID_DATA_ACK;
}

void
recover_snack(struct conn *conn)
{
	const struct pdu *pdu = &conn->rx.pdu;
	uint32_t from = pdu->word40, n = get_be32(conn->rx.head + 44);
	struct command *cmd;
	uint8_t reject;

	counter_add(&conn->shard->stats.snacks, 1);
	switch (pdu->flags & 0x0f) {
	case SNACK_DATA_R2T:
		cmd = recover_find(conn, pdu->itt);
		if (!cmd || cmd->opcode != ISCSI_SCSI_COMMAND)
			reject = ISCSI_REJECT_PROTOCOL;
		else if (cmd->write)
			reject = data_out_ask_again(cmd, from, n) ? ISCSI_REJECT_NONE : ISCSI_REJECT_PROTOCOL;
		else
			reject = snack_data(conn, cmd, from, n);
		break;
	case SNACK_STATUS:
		reject = snack_status(conn, pdu->expstatsn, from, n);
		break;
	case SNACK_DATA_ACK:
		reject = data_ack(conn, pdu->word20, from, n);
		break;
	case SNACK_RDATA:
		cmd = recover_find(conn, pdu->itt);
		/* 11.16.5 to 11.16.7 */
		if (from || n || !pdu->word20 || pdu->word20 == ISCSI_TAG_NONE)
			reject = ISCSI_REJECT_INVALID_FIELD;
		else if (!cmd || cmd->opcode != ISCSI_SCSI_COMMAND)
			reject = ISCSI_REJECT_PROTOCOL;
		else
			reject = snack_rdata(conn, cmd, pdu->word20);
		break;
	default:
		reject = ISCSI_REJECT_INVALID_FIELD;
	}
	if (reject)
		conn_reject(conn, reject, conn->rx.head);
}
