/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The login phase on a connection: login.c (the machine) is fed with what comes
 * in and its answers go out.  The last answer is held back until the
 * connection lives on its target's loop and its session stands.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "gateway/iscsi/conn.h"

static int
find_target(void *arg, struct login *login)
{
	struct conn *conn = arg;
	int rc = target_find(conn->server, login->target, &conn->target);

	if (rc == 0)
		rc = access_for_target(conn, login);
	return rc < 0 ? rc : portal_admit(conn, login);
}

static const struct login_ops login_ops = {
	.find_target = find_target,
	.find_discovery = access_for_discovery,
	.find_session = session_find_for_login,
};

int
login_phase_init(struct conn *conn)
{
	const struct iscsi_limits *l = &conn->server->limits;
	struct param_limits limits = {
		.max_recv_segment = l->max_recv_segment,
		.max_burst = l->max_burst,
		.first_burst = l->first_burst,
		.max_outstanding_r2t = min_of(l->max_outstanding_r2t, R2T_MAX),
		.max_connections = l->session_connections,
		.error_recovery_level = l->error_recovery_level,
		.task_retain_s = l->task_retain_s,
	};

	conn->login = malloc(sizeof(*conn->login));
	if (!conn->login)
		return -ENOMEM;
	login_init(conn->login, &login_ops, conn, &limits);
	conn->login->portal_group = conn->portal_group;
	return 0;
}

static bool
login_fill(struct conn *conn, struct command *cmd)
{
	struct tx_slot *slot = tx_slot(conn);
	struct pdu_numbers n;
	uint16_t tsih = cmd->last_login ? conn->session->tsih : (uint16_t)(cmd->lun[6] << 8 | cmd->lun[7]);

	if (!slot)
		return false;
	n = tx_numbers(conn, true);
	slot->linear = cmd->blob;
	slot->data_len = cmd->blob_len;
	pdu_login_response(slot->head, &n, cmd->flags, cmd->lun, tsih, cmd->itt, cmd->response,
			   cmd->blob_len);
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	if (cmd->last_login) {
		/* no answer was given before it */
		conn->acked = conn->statsn;
		/* 13.1: digests from the first PDU of the full feature phase on */
		conn->header_digest = conn->params.active[PARAM_HEADER_DIGEST];
		conn->data_digest = conn->params.active[PARAM_DATA_DIGEST];
	}
	return true;
}

/* A Login Response, not queued yet; NULL: the connection is closed. */
static struct command *
make_answer(struct conn *conn, const uint8_t bhs[ISCSI_BHS_LEN], const struct login_reply *reply)
{
	struct command *cmd = command_new(conn);

	if (cmd && reply->text_len) {
		cmd->blob = malloc(reply->text_len);
		if (!cmd->blob) {
			cmd->state = COMMAND_WAIT;
			command_free(cmd);
			cmd = NULL;
		} else {
			memcpy(cmd->blob, reply->text, reply->text_len);
			cmd->blob_len = reply->text_len;
			conn->blob_bytes += reply->text_len;
		}
	}
	if (!cmd) {
		conn_close(conn, CLOSE_NO_MEMORY);
		return NULL;
	}
	memcpy(cmd->lun, bhs + 8, sizeof(cmd->lun));
	memcpy(&cmd->bhs, bhs, ISCSI_BHS_LEN);
	cmd->itt = conn->login->itt;
	cmd->flags = reply->flags;
	cmd->response = reply->status;
	cmd->state = COMMAND_SEND;
	return cmd;
}

static void
refuse(struct conn *conn, const uint8_t bhs[ISCSI_BHS_LEN], const struct login_reply *reply,
       enum close_reason reason)
{
	const struct login *login = conn->login;
	struct command *cmd = make_answer(conn, bhs, reply);
	uint16_t status = reply->status;

	if (!cmd)
		return;
	if (status >> 8 == 1) {
		counter_add(&conn->shard->stats.redirects, 1);
		tx_queue(conn, cmd, login_fill);
		conn_drain(conn, CLOSE_REDIRECTED);
		return;
	}
	counter_add(&conn->shard->stats.login_failures, 1);
	(void)snprintf(conn->detail, sizeof(conn->detail), "%s (0x%04x)%s%.80s%s%s",
		       login_status_text(status), status, *login->target ? ", " : "", login->target,
		       login->why ? ": " : "", login->why ? login->why : "");
	tx_queue(conn, cmd, login_fill);
	conn_drain(conn, reason);
}

void
login_phase_fail(struct conn *conn, uint16_t status)
{
	const struct login_reply reply = {.status = status};
	struct command *held = conn->login_answer;
	uint8_t bhs[ISCSI_BHS_LEN];

	memcpy(bhs, held ? held->bhs : conn->rx.head, sizeof(bhs));
	if (held) {
		conn->login_answer = NULL;
		command_free(held);
	}
	refuse(conn, bhs, &reply, CLOSE_LOGIN_FAILED);
}

void
login_phase_moved(struct conn *conn)
{
	if (atomic_load(&conn->server->stopping)) {
		conn_login_failed(conn, LG_ESTOPPING);
		return;
	}
	session_admit(conn);
}

void
login_phase_request(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	struct login_reply reply;
	struct command *cmd;
	struct loop *home;
	struct shard *shard;

	login_request(conn->login, rx->head, rx->text.data, (uint32_t)rx->text.len, &reply);
	if (reply.status != ISCSI_LOGIN_OK) {
		refuse(conn, rx->head, &reply, CLOSE_LOGIN_FAILED);
		return;
	}
	if (reply.full && crowd_take_place(conn) < 0) {
		reply = (struct login_reply){.status = ISCSI_LOGIN_OUT_OF_RESOURCES};
		refuse(conn, rx->head, &reply, CLOSE_LIMIT);
		return;
	}
	cmd = make_answer(conn, rx->head, &reply);
	if (!cmd)
		return;
	if (!reply.full) {
		tx_queue(conn, cmd, login_fill);
		return;
	}
	cmd->last_login = true;
	conn->login_answer = cmd;
	textbuf_fini(&rx->text);
	/* all connections of a session live on its loop, wherever the target's others go by now */
	shard = conn->join_shard;
	if (!shard) {
		home = conn->target ? scsi_target_home(conn->target->scsi) : NULL;
		shard = home ? server_shard(conn->server, home) : NULL;
	}
	if (shard && shard != conn->shard)
		conn_move(conn, shard);
	else
		login_phase_moved(conn);
}

void
login_phase_finish(struct conn *conn)
{
	struct command *cmd = conn->login_answer;

	conn->login_answer = NULL;
	tx_queue(conn, cmd, login_fill);
	login_fini(conn->login);
	free(conn->login);
	conn->login = NULL;
}
