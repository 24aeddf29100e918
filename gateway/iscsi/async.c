/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous messages (RFC 7143 11.9): what the target has to say unasked.
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
conn_ask_logout(struct conn *conn, enum close_reason reason)
{
	switch (conn->state) {
	case CONN_FULL:
		if (conn->logout_asked)
			break;
		conn->logout_asked = true;
		/* Parameter3: how long he has, in seconds */
		async_send(conn, ISCSI_ASYNC_LOGOUT, conn->session->cid, 0, (STOP_GRACE_MS + 999) / 1000);
		break;
	case CONN_LOGIN:
	case CONN_WAITING:
		conn_close(conn, reason);
		break;
	default:
		break;
	}
}
