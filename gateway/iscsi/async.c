/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous messages (RFC 7143 11.9): what the target has to say unasked.
 *
 *   asked      event 1: log out, you have so long
 *   -> logged out        he did
 *   -> dropped           he did not: event 3, or 2 where only this connection goes, which he may read or not, then the end (DRAIN, CLOSING)
 *
 * Changes of LUNs are unit attentions (SPC-4), not events: asynchronous event reporting, which event 0 carries,
 * left SCSI with SPC-3, and nobody negotiates it.
 *
 * Threads: the connection's loop.
 */
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/conn.h"

static bool
async_fill(struct conn *conn, struct command *cmd)
{
	struct tx_slot *slot = tx_slot(conn);
	struct pdu_numbers n;

	if (!slot)
		return false;
	n = tx_numbers(conn, true);
	pdu_async(slot->head, &n, (uint8_t)cmd->response, get_be16(cmd->small), get_be16(cmd->small + 2),
		  get_be16(cmd->small + 4));
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	return true;
}

void
async_send(struct conn *conn, enum iscsi_async_event event, uint16_t p1, uint16_t p2, uint16_t p3)
{
	struct command *cmd = command_new(conn);

	/* a connection that has used up all its commands does not read what we say */
	if (!cmd)
		return;
	cmd->state = COMMAND_SEND;
	cmd->response = (uint16_t)event;
	put_be16(cmd->small, p1);
	put_be16(cmd->small + 2, p2);
	put_be16(cmd->small + 4, p3);
	tx_queue(conn, cmd, async_fill);
}

void
conn_ask_logout(struct conn *conn, enum close_reason reason, unsigned grace_ms)
{
	uint64_t now = loop_now_ms(conn->loop);

	switch (conn->state) {
	case CONN_FULL:
		if (conn->logout_asked) {
			conn->drop_at_ms = min_of(conn->drop_at_ms, now + grace_ms);
			break;
		}
		conn->logout_asked = true;
		conn->drop_at_ms = now + grace_ms;
		conn->drop_reason = reason;
		/* Parameter3: how long he has, in seconds */
		async_send(conn, ISCSI_ASYNC_LOGOUT, conn->cid, 0, (uint16_t)((grace_ms + 999) / 1000));
		break;
	case CONN_LOGIN:
	case CONN_WAITING:
	case CONN_LOST:
		conn_close(conn, reason);
		return;
	case CONN_LOGOUT:
		/* what he asked for himself has the same time */
		conn->logout_asked = true;
		conn->drop_at_ms = now + grace_ms;
		conn->drop_reason = reason;
		break;
	default:
		return;
	}
	loop_timer_start(&conn->timer, min_of(grace_ms, conn_tick_ms(conn->server)));
}

/* Other connections of the session, which stay when only this one goes. */
static bool
has_company(const struct conn *conn)
{
	return conn->session->conns != conn || conn->session_next;
}

void
conn_drop(struct conn *conn, enum close_reason reason)
{
	switch (conn->state) {
	case CONN_FULL:
		/* Parameter2 and 3: he may come again at once, and nothing is kept for him */
		if (reason == CLOSE_PORTAL_REMOVED && has_company(conn))
			async_send(conn, ISCSI_ASYNC_DROP_CONNECTION, conn->cid, 0, 0);
		else
			async_send(conn, ISCSI_ASYNC_DROP_SESSION, 0, 0, 0);
		conn_drain(conn, reason);
		break;
	case CONN_MOVING:
	case CONN_DRAIN:
		break;
	default:
		conn_close(conn, reason);
	}
}
