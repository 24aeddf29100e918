/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each request means: where its payload goes, and what happens when it is
 * complete.  Command numbering (RFC 7143 4.2.2.1) is kept here: a
 * non-immediate request is delivered when its CmdSN is the next one, and waits in session->held
 * until then; outside of the window, or twice, it is ignored.
 *
 * A request that is rejected has used its CmdSN up, like any other.
 */
#include <assert.h>
#include <string.h>

#include "gateway/iscsi/conn.h"

static void
deliver(struct command *cmd)
{
	struct conn *conn = cmd->conn;

	cmd->delivered = true;
	/* its connection may have logged out meanwhile: nobody waits for an answer */
	if (cmd->skip || conn->state != CONN_FULL) {
		command_free(cmd);
		return;
	}
	switch (cmd->opcode) {
	case ISCSI_NOP_OUT:
		nop_out(conn, cmd);
		break;
	case ISCSI_SCSI_COMMAND:
		scsi_command_deliver(cmd);
		break;
	case ISCSI_TMF_REQUEST:
		tmf_request(conn, cmd);
		break;
	case ISCSI_TEXT_REQUEST:
		text_request(conn, cmd);
		break;
	case ISCSI_LOGOUT_REQUEST:
		logout_request(conn, cmd);
		break;
	default:
		assert(!"a request without a way to deliver it");
	}
}

static void
deliver_held(struct session *session)
{
	struct command *cmd;

	while ((cmd = session->held) && cmd->cmdsn == session->expcmdsn) {
		session->held = cmd->held_next;
		cmd->held = false;
		session->expcmdsn++;
		deliver(cmd);
	}
}

static void
hold(struct session *session, struct command *cmd)
{
	struct command **p = &session->held;

	while (*p && serial_cmp((*p)->cmdsn, cmd->cmdsn) < 0)
		p = &(*p)->held_next;
	cmd->held_next = *p;
	*p = cmd;
	cmd->held = true;
}

/* Deliver cmd now, or when the commands before it have come. */
static void
gate(struct conn *conn, struct command *cmd)
{
	struct session *session = conn->session;

	cmd->state = COMMAND_WAIT;
	if (cmd->immediate) {
		deliver(cmd);
	} else if (cmd->cmdsn == session->expcmdsn) {
		session->expcmdsn++;
		deliver(cmd);
		deliver_held(session);
	} else {
		hold(session, cmd);
	}
}

void
rx_skip(struct conn *conn, struct command *cmd)
{
	struct session *session = conn->session;

	cmd->skip = true;
	cmd->state = COMMAND_WAIT;
	if (session_cmdsn(session, cmd->cmdsn) == CMDSN_LATER) {
		hold(session, cmd);
		return;
	}
	if (session_cmdsn(session, cmd->cmdsn) == CMDSN_NOW)
		session->expcmdsn++;
	command_free(cmd);
	deliver_held(session);
}

/* A rejected request has had its turn. */
static void
use_up(struct conn *conn, uint32_t cmdsn)
{
	struct command *cmd = command_new(conn);

	if (!cmd) {
		conn_close(conn, CLOSE_NO_MEMORY);
		return;
	}
	cmd->cmdsn = cmdsn;
	rx_skip(conn, cmd);
}

struct command *
rx_take(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	const struct pdu *pdu = &rx->pdu;
	struct command *cmd;

	if (!pdu->immediate && session_cmdsn(conn->session, pdu->cmdsn) == CMDSN_IGNORE) {
		rx->ignore = true;
		return NULL;
	}
	if (pdu->immediate && conn->nimmediate >= IMMEDIATE_MAX)
		rx->reject = ISCSI_REJECT_TOO_MANY_IMMEDIATE;
	else if (pdu->itt == ISCSI_TAG_NONE)
		rx->reject = ISCSI_REJECT_INVALID_FIELD;
	else if (session_find_command(conn->session, pdu->itt))
		rx->reject = ISCSI_REJECT_TASK_IN_PROGRESS;
	if (rx->reject)
		return NULL;
	cmd = command_new(conn);
	if (!cmd) {
		rx->reject = ISCSI_REJECT_OUT_OF_RESOURCES;
		return NULL;
	}
	cmd->opcode = pdu->opcode;
	cmd->flags = pdu->flags;
	cmd->itt = pdu->itt;
	cmd->ttt = pdu->word20;
	cmd->cmdsn = pdu->cmdsn;
	memcpy(cmd->lun, pdu->lun, sizeof(cmd->lun));
	memcpy(cmd->bhs, rx->head, sizeof(cmd->bhs));
	cmd->immediate = pdu->immediate;
	if (cmd->immediate) {
		conn->nimmediate++;
	} else {
		cmd->windowed = true;
		conn->session->outstanding++;
	}
	command_hash(conn, cmd);
	rx->cmd = cmd;
	return cmd;
}

/* -- begin: the sink of the payload -------------------------------------- */

static enum rx_go
login_begin(struct conn *conn)
{
	struct rx *rx = &conn->rx;

	if (rx->pdu.opcode == ISCSI_LOGIN_REQUEST) {
		rx->sink = SINK_TEXT;
		return RX_GO;
	}
	/* 6.3: before a login has begun, nothing is owed to anybody */
	if (!conn->login->begun) {
		conn_close_detail(conn, CLOSE_NOT_ISCSI, "%s first", pdu_opcode_name(rx->pdu.opcode));
		return RX_PAUSE;
	}
	login_phase_fail(conn, ISCSI_LOGIN_INVALID_REQUEST);
	return RX_PAUSE;
}

static enum rx_go
nop_begin(struct conn *conn)
{
	struct rx *rx = &conn->rx;

	if (rx->pdu.itt == ISCSI_TAG_NONE) {
		/* 11.18.1: no answer is wanted; only an immediate one may be like this */
		if (!rx->pdu.immediate)
			rx->reject = ISCSI_REJECT_PROTOCOL;
		return RX_GO;
	}
	if (rx_take(conn))
		rx->sink = SINK_TEXT;
	return RX_GO;
}

static enum rx_go
text_begin(struct conn *conn)
{
	if (rx_take(conn))
		conn->rx.sink = SINK_TEXT;
	return RX_GO;
}

static enum rx_go
plain_begin(struct conn *conn)
{
	(void)rx_take(conn);
	return RX_GO;
}

/* The login is over; at level 0 there is nothing to ask for again (11.16). */
static enum rx_go
refuse_begin(struct conn *conn)
{
	conn->rx.reject = ISCSI_REJECT_PROTOCOL;
	return RX_GO;
}

static enum rx_go
snack_begin(struct conn *conn)
{
	return conn->recovery ? RX_GO : refuse_begin(conn);
}

/* -- end: it is complete ------------------------------------------------- */

static void
login_end(struct conn *conn)
{
	login_phase_request(conn);
}

static void
request_end(struct conn *conn)
{
	gate(conn, conn->rx.cmd);
}

static void
text_end(struct conn *conn)
{
	struct command *cmd = conn->rx.cmd;
	struct textbuf *text = &conn->rx.text;

	/* the buffer becomes the command's */
	cmd->blob = (uint8_t *)text->data;
	cmd->blob_len = (uint32_t)text->len;
	conn->blob_bytes += cmd->blob_len;
	textbuf_init(text, text->max);
	gate(conn, cmd);
}

static void
nop_end(struct conn *conn)
{
	if (conn->rx.cmd)
		text_end(conn);
	else
		nop_answered(conn, conn->rx.pdu.word20);
}

static const struct {
	enum rx_go (*begin)(struct conn *conn);
	void (*end)(struct conn *conn);
	bool sequenced; /* has a CmdSN */
	bool discovery; /* also in a discovery session, 4.3 */
} ops[ISCSI_OPCODE_MASK + 1] = {
	[ISCSI_NOP_OUT] = {nop_begin, nop_end, true, true},
	[ISCSI_SCSI_COMMAND] = {scsi_command_begin, request_end, true, false},
	[ISCSI_TMF_REQUEST] = {plain_begin, request_end, true, false},
	[ISCSI_LOGIN_REQUEST] = {refuse_begin, NULL, false, true},
	[ISCSI_TEXT_REQUEST] = {text_begin, text_end, true, true},
	[ISCSI_DATA_OUT] = {data_out_begin, data_out_end, false, false},
	[ISCSI_LOGOUT_REQUEST] = {plain_begin, request_end, true, true},
	[ISCSI_SNACK_REQUEST] = {snack_begin, recover_snack, false, false},
};

enum rx_go
rx_begin(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	const struct pdu *pdu = &rx->pdu;

	if (conn->start_blocked)
		return scsi_command_begin(conn);
	rx->sink = SINK_DISCARD;
	rx->reject = 0;
	rx->ignore = false;
	rx->cmd = NULL;
	rx->seq = NULL;
	textbuf_reset(&rx->text);
	if (!command_room(conn) || conn->blob_bytes > BLOB_BUDGET)
		return RX_PAUSE;
	if (conn->state == CONN_LOGIN)
		return login_begin(conn);
	rx->ahs = (struct pdu_ahs){0};
	if (!ops[pdu->opcode].begin)
		rx->reject = ISCSI_REJECT_NOT_SUPPORTED;
	else if (!conn->session->target && !ops[pdu->opcode].discovery)
		rx->reject = ISCSI_REJECT_PROTOCOL;
	else if (pdu->ahs_len && (pdu->opcode != ISCSI_SCSI_COMMAND ||
				  pdu_ahs_parse(rx->ahs_bytes, pdu->ahs_len, &rx->ahs) < 0))
		rx->reject = ISCSI_REJECT_INVALID_FIELD;
	if (rx->reject)
		return RX_GO;
	return ops[pdu->opcode].begin(conn);
}

void
rx_end(struct conn *conn)
{
	struct rx *rx = &conn->rx;

	if (conn->state == CONN_LOGIN) {
		login_end(conn);
	} else if (rx->reject) {
		/* the header may be gone once the turn of another one has come */
		conn_reject(conn, rx->reject, rx->head);
		if (conn->state == CONN_FULL && !rx->pdu.immediate &&
		    (ops[rx->pdu.opcode].sequenced || !ops[rx->pdu.opcode].begin))
			use_up(conn, rx->pdu.cmdsn);
	} else if (rx->ignore) {
		counter_add(&conn->shard->stats.ignored_pdus, 1);
	} else {
		ops[rx->pdu.opcode].end(conn);
	}
}

void
rx_digest_error(struct conn *conn)
{
	struct rx *rx = &conn->rx;

	conn_reject(conn, ISCSI_REJECT_DATA_DIGEST, rx->head);
	/* 7.8: a Data-Out can be answered with a status; at level 0 the rest cannot be asked for again */
	if (rx->pdu.opcode == ISCSI_DATA_OUT && rx->cmd) {
		data_out_bad(conn);
	} else if (conn->recovery) {
		/* it counts as not received: the initiator sends it again (7.2.1) */
		if (rx->cmd && rx->pdu.opcode != ISCSI_DATA_OUT)
			command_free(rx->cmd);
	} else if (rx->pdu.opcode != ISCSI_DATA_OUT) {
		conn_drain(conn, CLOSE_DATA_DIGEST);
	}
}
