/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logout (RFC 7143 11.14, 11.15).
 *
 *   the session       its other connections close, what runs is aborted, and when the last task has ended the response
 *                     goes out, behind all others; then the connection closes
 *   this connection   the same for its own tasks, which are awaited; the session goes on with the others, or ends
 *                     when there is none
 *   for recovery      another one closes, or has been lost; its tasks stay (reassign.c)
 *   another one       it closes; the response goes out when its last task has ended
 */
#include <string.h>

#include "gateway/iscsi/conn.h"

static bool
logout_fill(struct conn *conn, struct command *cmd)
{
	struct tx_slot *slot = tx_slot(conn);
	struct pdu_numbers n;

	if (!slot)
		return false;
	command_unhash(cmd);
	command_leave_window(cmd);
	n = tx_numbers(conn, true);
	pdu_logout_response(slot->head, &n, cmd->itt, (uint8_t)cmd->response,
			    (uint16_t)conn->session->params.active[PARAM_DEFAULT_TIME2WAIT],
			    (uint16_t)conn->session->params.active[PARAM_DEFAULT_TIME2RETAIN]);
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	return true;
}

static void
respond(struct conn *conn, struct command *cmd, enum iscsi_logout_response response)
{
	cmd->state = COMMAND_SEND;
	cmd->response = (uint16_t)response;
	tx_queue(conn, cmd, logout_fill);
}

void
logout_progress(struct conn *conn)
{
	struct command *cmd = conn->logout_cmd;

	if (!cmd || conn->nrunning || conn->nexus_freeing || (conn->ends_session && conn->session->nexus))
		return;
	conn->logout_cmd = NULL;
	respond(conn, cmd, ISCSI_LOGOUT_OK);
	counter_add(&conn->shard->stats.logouts, 1);
	conn_drain(conn, CLOSE_LOGOUT);
}

static void
drop_waiting(struct conn *conn, const struct command *logout)
{
	struct command *next;

	for (struct command *cmd = conn->active; cmd; cmd = next) {
		next = cmd->next;
		if (cmd == logout || cmd->state != COMMAND_WAIT || cmd->skip)
			continue;
		if (cmd->opcode == ISCSI_SCSI_COMMAND)
			scsi_command_drop(cmd);
	}
}

void
logout_other_ended(struct conn *conn)
{
	struct command *cmd = conn->logout_by;

	conn->logout_by = NULL;
	cmd->awaits = NULL;
	respond(cmd->conn, cmd, ISCSI_LOGOUT_OK);
}

static void
logout_other(struct conn *conn, struct command *cmd, uint16_t cid)
{
	struct conn *other = conn->session->conns;

	while (other && other->cid != cid)
		other = other->session_next;
	if (!other || other->state == CONN_WAITING) {
		respond(conn, cmd, ISCSI_LOGOUT_NO_CID);
	} else if (other->logout_by) {
		respond(conn, cmd, ISCSI_LOGOUT_CLEANUP_FAILED);
	} else {
		cmd->awaits = other;
		other->logout_by = cmd;
		conn_close(other, CLOSE_LOGOUT);
	}
}

/* 11.14.1: its tasks wait to be taken over, by this connection or another. */
static void
logout_for_recovery(struct conn *conn, struct command *cmd, uint16_t cid)
{
	struct conn *other = conn->session->conns;

	while (other && (other->cid != cid || other->replaced))
		other = other->session_next;
	if (conn->recovery < 2 || other == conn) {
		respond(conn, cmd, ISCSI_LOGOUT_NO_RECOVERY);
	} else if (!other || (other->state != CONN_LOST && other->state != CONN_FULL)) {
		respond(conn, cmd, ISCSI_LOGOUT_NO_CID);
	} else if (other->state == CONN_FULL && !conn_lose(other, CLOSE_LOGOUT)) {
		respond(conn, cmd, ISCSI_LOGOUT_NO_RECOVERY);
	} else {
		other->replaced = true;
		respond(conn, cmd, ISCSI_LOGOUT_OK);
	}
}

static void
close_others(struct conn *conn)
{
	for (struct conn *other = conn->session->conns; other; other = other->session_next) {
		if (other != conn)
			conn_close(other, CLOSE_LOGOUT);
	}
}

static bool
is_last(const struct conn *conn)
{
	for (const struct conn *other = conn->session->conns; other; other = other->session_next) {
		if (other != conn && conn_lives(other))
			return false;
	}
	return true;
}

void
logout_request(struct conn *conn, struct command *cmd)
{
	unsigned reason = cmd->flags & 0x7f;
	uint16_t cid = (uint16_t)(cmd->ttt >> 16);

	if (reason > ISCSI_LOGOUT_RECOVERY) {
		uint8_t bhs[ISCSI_BHS_LEN];

		memcpy(bhs, cmd->bhs, sizeof(bhs));
		command_free(cmd);
		conn_reject(conn, ISCSI_REJECT_INVALID_FIELD, bhs);
		return;
	}
	if (reason == ISCSI_LOGOUT_RECOVERY) {
		logout_for_recovery(conn, cmd, cid);
		return;
	}
	if (reason == ISCSI_LOGOUT_CONNECTION && cid != conn->cid) {
		logout_other(conn, cmd, cid);
		return;
	}
	conn->state = CONN_LOGOUT;
	fence_leave(conn, true);
	conn->logout_cmd = cmd;
	drop_waiting(conn, cmd);
	if (reason == ISCSI_LOGOUT_SESSION)
		close_others(conn);
	if (is_last(conn)) {
		conn->ends_session = true;
		conn_free_nexus(conn);
	}
	logout_progress(conn);
}
