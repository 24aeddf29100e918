/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous messages (RFC 7143 11.9): what the target has to say unasked.
 *
 *   asked      event 1: log out, you have so long
 *   -> logged out        he did
 *   -> dropped           he did not: event 3, or 2 where only this connection goes, which he may read or not, then the end (DRAIN, CLOSING)
 *
 * That the list of LUNs has changed is a unit attention (SPC-4) at each LUN, and event 0 beside it: one who sends
 * no command would not hear of it.  open-iscsi scans for LUNs then, libiscsi reads over it.
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
	if (cmd->response == ISCSI_ASYNC_SENSE) {
		slot->linear = cmd->small;
		slot->data_len = cmd->small_len;
		pdu_async(slot->head, &n, ISCSI_ASYNC_SENSE, cmd->small_len, 0, 0, 0);
	} else {
		pdu_async(slot->head, &n, (uint8_t)cmd->response, 0, get_be16(cmd->small),
			  get_be16(cmd->small + 2), get_be16(cmd->small + 4));
	}
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	return true;
}

static struct command *
async_new(struct conn *conn, enum iscsi_async_event event)
{
	struct command *cmd = command_new(conn);

	/* a connection that has used up all its commands does not read what we say */
	if (!cmd)
		return NULL;
	cmd->state = COMMAND_SEND;
	cmd->response = (uint16_t)event;
	return cmd;
}

void
async_send(struct conn *conn, enum iscsi_async_event event, uint16_t p1, uint16_t p2, uint16_t p3)
{
	struct command *cmd = async_new(conn, event);

	if (!cmd)
		return;
	put_be16(cmd->small, p1);
	put_be16(cmd->small + 2, p2);
	put_be16(cmd->small + 4, p3);
	tx_queue(conn, cmd, async_fill);
}

/* -- LUNs come and go ---------------------------------------------------- */

void
async_luns_changed(struct conn *conn)
{
	struct command *cmd;

	/* once a session, by the first of its connections that can */
	for (const struct conn *c = conn->session->conns; c != conn; c = c->session_next)
		if (c->state == CONN_FULL)
			return;
	cmd = conn->state == CONN_FULL ? async_new(conn, ISCSI_ASYNC_SENSE) : NULL;
	if (!cmd)
		return;
	cmd->small_len = (uint16_t)scsi_luns_changed_sense(cmd->small + 2);
	put_be16(cmd->small, cmd->small_len); /* 11.9.4 */
	cmd->small_len += 2;
	tx_queue(conn, cmd, async_fill);
}

struct luns_visit {
	struct shard *shard;
	const char *target;
};

static int
tell_shard(void *arg)
{
	const struct luns_visit *visit = arg;

	for (struct conn *conn = visit->shard->conns; conn; conn = conn->next)
		if (conn->session && conn->session->target &&
		    !strcmp(conn->session->target->name, visit->target))
			async_luns_changed(conn);
	return 0;
}

void
iscsi_target_luns_changed(struct iscsi_server *server, const char *name)
{
	struct luns_visit visit = {.target = name};

	for (unsigned i = 0; i < server->nshards; i++) {
		visit.shard = &server->shards[i];
		(void)loop_call(visit.shard->loop, tell_shard, &visit); /* returns 0 */
	}
}

/* -- the end of a session ------------------------------------------------ */

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
