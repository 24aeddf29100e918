/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NOPs both ways (RFC 7143 11.18, 11.19), and what the passing of time means
 * for a connection: one coarse tick each, no timer a command.
 *
 *   no login in time                                    closed
 *   silence for nop_interval: a NOP-In; no complete PDU for nop_timeout after it   closed
 *   data that was asked for, or answers that are not read, make no progress for both together   closed
 *   no command for idle_timeout (when there is one)     closed, with an asynchronous message before
 *   asked to log out, and the grace is over             dropped
 *   others wait for its acknowledgement for nop_timeout closed (fence.c)
 *
 * While it is we who do not read (memory is short) the initiator's time does not run.
 */
#include <string.h>

#include "gateway/iscsi/conn.h"

static bool
nop_fill(struct conn *conn, struct command *cmd)
{
	struct tx_slot *slot = tx_slot(conn);
	bool answer = cmd->itt != ISCSI_TAG_NONE;
	struct pdu_numbers n;
	uint32_t len = min_of(cmd->blob_len, conn->max_send);

	if (!slot)
		return false;
	command_unhash(cmd);
	command_leave_window(cmd);
	/* 11.19.2: only an answer takes a StatSN */
	n = tx_numbers(conn, answer);
	slot->linear = cmd->blob;
	slot->data_len = len;
	pdu_nop_in(slot->head, &n, cmd->lun, cmd->itt, answer ? ISCSI_TAG_NONE : cmd->ttt, len);
	if (cmd->fence_serial)
		fence_mark(conn, cmd->fence_serial);
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	return true;
}

void
nop_out(struct conn *conn, struct command *cmd)
{
	cmd->state = COMMAND_SEND;
	tx_queue(conn, cmd, nop_fill);
}

void
nop_answered(struct conn *conn, uint32_t ttt)
{
	if (ttt != ISCSI_TAG_NONE && ttt == conn->nop_ttt)
		conn->nop_sent_ms = 0;
}

bool
nop_ask(struct conn *conn, uint32_t fence_serial)
{
	struct command *cmd = command_new(conn);

	if (!cmd)
		return false;
	cmd->fence_serial = fence_serial;
	cmd->state = COMMAND_SEND;
	conn->nop_ttt = (conn->nop_ttt + 1) & 0x7fffffff;
	conn->nop_sent_ms = max_of((uint64_t)1, loop_now_ms(conn->loop));
	cmd->ttt = conn->nop_ttt;
	counter_add(&conn->shard->stats.nop_ins_sent, 1);
	tx_queue(conn, cmd, nop_fill);
	return true;
}

void
nop_ping(struct conn *conn)
{
	(void)nop_ask(conn, 0); /* with all commands in use there is traffic enough */
}

static void
tick_nop(struct conn *conn, uint64_t now)
{
	const struct iscsi_limits *limits = &conn->server->limits;

	if (conn->nop_sent_ms) {
		/* whatever has come since then is a sign of life as good as the answer */
		if (conn->last_rx_ms > conn->nop_sent_ms)
			conn->nop_sent_ms = 0;
		else if (now - conn->nop_sent_ms >= limits->nop_timeout_ms)
			conn_close(conn, CLOSE_NOP_TIMEOUT);
	} else if (now - conn->last_rx_ms >= limits->nop_interval_ms) {
		nop_ping(conn);
	}
}

static void
tick_full(struct conn *conn, uint64_t now)
{
	const struct iscsi_limits *limits = &conn->server->limits;
	uint64_t patience = (uint64_t)limits->nop_interval_ms + limits->nop_timeout_ms;

	if (conn->rx.paused && (conn->start_blocked || conn->parkq.head))
		conn->last_rx_ms = conn->last_data_ms = now;
	if (tx_empty(conn))
		conn->tx.progress_ms = now;
	if (!conn->ncollect)
		conn->last_data_ms = now;
	if (now - conn->tx.progress_ms >= patience || now - conn->last_data_ms >= patience) {
		conn_close(conn, CLOSE_STALLED);
		return;
	}
	if (limits->idle_timeout_ms && !conn->nrunning && !conn->ncollect &&
	    now - conn->last_command_ms >= limits->idle_timeout_ms) {
		async_send(conn, ISCSI_ASYNC_DROP_CONNECTION, conn->cid, 0, 0);
		conn_drain(conn, CLOSE_IDLE);
		return;
	}
	if (conn->session->fence.state) {
		fence_tick(conn, now);
		if (conn->state != CONN_FULL)
			return;
	}
	if (conn->recovery) {
		data_out_tick(conn, now);
		recover_tick(conn);
	}
	tick_nop(conn, now);
}

void
conn_tick(struct conn *conn)
{
	uint64_t now = loop_now_ms(conn->loop);

	switch (conn->state) {
	case CONN_LOGIN:
	case CONN_WAITING:
		if (now - conn->since_ms >= conn->server->limits.login_timeout_ms)
			conn_close(conn, CLOSE_LOGIN_TIMEOUT);
		break;
	case CONN_FULL:
		if (conn->logout_asked && now >= conn->drop_at_ms)
			conn_drop(conn, conn->drop_reason);
		else
			tick_full(conn, now);
		break;
	case CONN_LOST:
		if (now >= conn->lost_until_ms)
			conn_close(conn, CLOSE_UNRECOVERED);
		break;
	case CONN_LOGOUT:
		if (conn->logout_asked && now >= conn->drop_at_ms)
			conn_drop(conn, conn->drop_reason);
		break;
	default:
		break;
	}
}
