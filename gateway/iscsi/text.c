/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text requests of the full feature phase (RFC 7143 11.10, 6.4): SendTargets
 * and the few keys that may be negotiated there.
 *
 * One negotiation at a time: a request with the reserved Target Transfer Tag begins it and forgets
 * what was before, further requests carry the tag of our last answer.
 *   gathering   requests with C: each is answered with nothing
 *   answering   text_out is longer than one PDU: pieces with C, each asked for by an empty request
 *
 * Failure: a text that breaks the rules is rejected, and the negotiation with it.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/iscsi/conn.h"

#define TEXT_OUT_MAX (4u << 20) /* all targets with all portals: bounded by the configuration */

void
text_request_fini(struct conn *conn)
{
	textbuf_fini(&conn->text_in);
	textbuf_fini(&conn->text_out);
}

static bool
text_fill(struct conn *conn, struct command *cmd)
{
	struct tx_slot *slot = tx_slot(conn);
	struct pdu_numbers n;

	if (!slot)
		return false;
	command_unhash(cmd);
	command_leave_window(cmd);
	n = tx_numbers(conn, true);
	slot->linear = cmd->blob;
	slot->data_len = cmd->blob_len;
	pdu_text_response(slot->head, &n, (uint8_t)cmd->response, cmd->itt, cmd->ttt, cmd->blob_len);
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	/* 13.12: the PDUs before this one are of the length that was agreed then */
	if (cmd->segment)
		conn->max_send = cmd->segment;
	return true;
}

static void
reject(struct conn *conn, struct command *cmd)
{
	uint8_t bhs[ISCSI_BHS_LEN];

	memcpy(bhs, cmd->bhs, sizeof(bhs));
	conn->text_open = false;
	textbuf_reset(&conn->text_in);
	textbuf_fini(&conn->text_out);
	command_free(cmd);
	conn_reject(conn, ISCSI_REJECT_PROTOCOL, bhs);
}

/* The next piece of text_out, which may be all or nothing. */
static void
answer(struct conn *conn, struct command *cmd)
{
	struct textbuf *out = &conn->text_out;
	uint32_t len = (uint32_t)min_of(out->len, (size_t)conn->max_send);
	bool more = out->len > len;
	bool final = !more && (cmd->flags & ISCSI_FINAL);

	command_drop_blob(cmd);
	if (len) {
		cmd->blob = malloc(len);
		if (!cmd->blob) {
			conn_close(conn, CLOSE_NO_MEMORY);
			return;
		}
		memcpy(cmd->blob, out->data, len);
		cmd->blob_len = len;
		conn->blob_bytes += len;
		textbuf_drop(out, len);
	}
	cmd->response = more ? ISCSI_TEXT_CONTINUE : final ? ISCSI_FINAL : 0;
	/* the reserved tag says that nothing follows */
	if (final) {
		cmd->ttt = ISCSI_TAG_NONE;
		conn->text_open = false;
		textbuf_fini(out);
		cmd->segment = conn->params.active[PARAM_MAX_RECV_DATA_SEGMENT_LENGTH];
	} else {
		cmd->ttt = conn->text_ttt;
	}
	cmd->state = COMMAND_SEND;
	tx_queue(conn, cmd, text_fill);
}

static void
add_target(struct conn *conn, const struct iscsi_target *target)
{
	keys_add(&conn->text_out, "TargetName", target->name);
	portals_addresses(conn->server, target, conn->local, &conn->text_out);
}

/* Appendix C: in a normal session only its own target. */
static void
send_targets(struct conn *conn, const char *value)
{
	struct iscsi_server *server = conn->server;
	const struct iscsi_target *own = conn->session->target;
	bool all = !strcmp(value, "All");
	char name[ISCSI_NAME_MAX + 1];

	if ((own && all) || (!own && !*value)) {
		keys_add(&conn->text_out, "SendTargets", "Reject");
		return;
	}
	if (!all && *value && login_name(value, name) < 0)
		return;
	pthread_mutex_lock(&server->lock);
	for (const struct iscsi_target *t = server->targets; t; t = t->next) {
		if (own ? t != own : !access_shows(t, conn->session->initiator, conn->peer))
			continue;
		if (all || !*value || !strcmp(t->name, name))
			add_target(conn, t);
	}
	pthread_mutex_unlock(&server->lock);
}

static int
negotiate(struct conn *conn)
{
	struct keys keys;
	const char *value;
	int rc = keys_parse(conn->text_in.data, conn->text_in.len, &keys);

	if (rc < 0)
		return rc;
	value = keys_find(&keys, "SendTargets");
	if (value)
		send_targets(conn, value);
	rc = params_offer_all(&conn->params, PARAM_PHASE_FULL, &keys, &conn->text_out);
	if (rc < 0)
		return rc;
	return conn->text_out.full ? -EMSGSIZE : 0;
}

/* Is this the request that is due? */
static bool
expected(struct conn *conn, const struct command *cmd)
{
	if (cmd->ttt == ISCSI_TAG_NONE) {
		textbuf_reset(&conn->text_in);
		textbuf_fini(&conn->text_out);
		textbuf_init(&conn->text_out, TEXT_OUT_MAX);
		params_restart(&conn->params);
		conn->text_open = true;
		conn->text_itt = cmd->itt;
		conn->text_ttt = (conn->text_ttt + 1) & 0x7fffffff;
		return true;
	}
	if (!conn->text_open || cmd->itt != conn->text_itt || cmd->ttt != conn->text_ttt)
		return false;
	/* while our answer goes out in pieces he only asks for the next one */
	return !conn->text_out.len || !cmd->blob_len;
}

void
text_request(struct conn *conn, struct command *cmd)
{
	bool more = cmd->flags & ISCSI_TEXT_CONTINUE;

	if (!expected(conn, cmd) || (more && (cmd->flags & ISCSI_FINAL)) ||
	    textbuf_add(&conn->text_in, cmd->blob, cmd->blob_len) < 0) {
		reject(conn, cmd);
		return;
	}
	if (!more && !conn->text_out.len) {
		int rc = negotiate(conn);

		textbuf_reset(&conn->text_in);
		if (rc < 0) {
			reject(conn, cmd);
			return;
		}
	}
	answer(conn, cmd);
}
