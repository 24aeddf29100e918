/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Task management (RFC 7143 11.5, 11.6, SAM-5 clause 7).
 *
 * Tasks of the session's connections that are not with scsi yet are ended here: they hold
 * nothing but pages, and Data-Out that still comes for them is let go, so nothing is waited for (an
 * initiator with FastAbort sends none).  The others are scsi's; its done runs when the last
 * affected task has ended, and only then the response is queued, behind every response given before (fence.c).
 *
 * Failure: a connection that closes takes the response with it, not what was asked for.
 */
#include <assert.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/conn.h"

static bool
tmf_fill(struct conn *conn, struct command *cmd)
{
	struct tx_slot *slot = tx_slot(conn);
	struct pdu_numbers n;

	if (!slot)
		return false;
	command_unhash(cmd);
	command_leave_window(cmd);
	n = tx_numbers(conn, true);
	pdu_tmf_response(slot->head, &n, cmd->itt, (uint8_t)cmd->response);
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	tmf_end_sessions(cmd);
	return true;
}

/* 11.5.1: a cold reset ends all connections of the target, by a message that is behind the flush of its response */
void
tmf_end_sessions(struct command *cmd)
{
	if (!cmd->cold_reset)
		return;
	cmd->cold_reset = false;
	session_end_all(cmd->conn->server, cmd->conn->target, CLOSE_TARGET_RESET);
}

void
tmf_respond(struct command *cmd, enum iscsi_tmf_response response)
{
	cmd->state = COMMAND_SEND;
	cmd->response = (uint16_t)response;
	fence_queue(cmd, tmf_fill);
}

static enum iscsi_tmf_response
response_of(enum scsi_tmf_result result)
{
	switch (result) {
	case SCSI_TMF_COMPLETE:
		return ISCSI_TMF_COMPLETE;
	case SCSI_TMF_NO_TASK:
		return ISCSI_TMF_NO_TASK;
	case SCSI_TMF_NO_LUN:
		return ISCSI_TMF_NO_LUN;
	case SCSI_TMF_NOT_SUPPORTED:
		return ISCSI_TMF_NOT_SUPPORTED;
	case SCSI_TMF_REJECTED:
		break;
	}
	return ISCSI_TMF_REJECTED;
}

static void
tmf_done(struct scsi_tmf_req *req)
{
	struct command *cmd = container_of(req, struct command, tmf);
	struct conn *conn = cmd->conn;

	assert(cmd->state == COMMAND_RUN);
	conn->nrunning--;
	cmd->state = COMMAND_SEND;
	cmd->cold_reset = req->function == SCSI_TMF_TARGET_COLD_RESET && req->result == SCSI_TMF_COMPLETE;
	if (conn->fd < 0)
		command_free(cmd);
	else
		tmf_respond(cmd, response_of(req->result));
	if (conn->state == CONN_LOGOUT)
		logout_progress(conn);
	conn_unpin(conn);
}

static void
submit(struct command *cmd, enum scsi_tmf function, uint64_t tag)
{
	struct conn *conn = cmd->conn;

	cmd->tmf = (struct scsi_tmf_req){
		.nexus = conn->session->nexus,
		.function = function,
		.tag = tag,
		.done = tmf_done,
		.loop = conn->loop,
	};
	memcpy(cmd->tmf.lun, cmd->lun, sizeof(cmd->tmf.lun));
	cmd->state = COMMAND_RUN;
	conn->nrunning++;
	conn_pin(conn);
	scsi_tmf_submit(&cmd->tmf);
}

/* End what has not reached scsi; lun NULL = on every one. */
static void
drop_waiting(struct conn *conn, const struct command *tmf, const uint8_t *lun)
{
	struct command *next;

	for (struct command *cmd = conn->active; cmd; cmd = next) {
		next = cmd->next;
		if (cmd->opcode != ISCSI_SCSI_COMMAND || cmd->state != COMMAND_WAIT || cmd->skip)
			continue;
		if (lun && memcmp(cmd->lun, lun, sizeof(cmd->lun)) != 0)
			continue;
		/* what was numbered behind the function is not its business (4.2.2.3.4) */
		if (!cmd->immediate && serial_cmp(cmd->cmdsn, tmf->cmdsn) >= 0)
			continue;
		scsi_command_drop(cmd);
	}
}

/* 11.5.1: the task may be one that never came; then its CmdSN counts as received. */
static enum iscsi_tmf_response
abort_missing(struct conn *conn, const struct command *tmf)
{
	struct session *session = conn->session;
	uint32_t ref = get_be32(tmf->bhs + 32);
	struct command *placeholder;

	if (serial_cmp(ref, tmf->cmdsn) >= 0 || session_cmdsn(session, ref) == CMDSN_IGNORE)
		return ISCSI_TMF_NO_TASK;
	placeholder = command_new(conn);
	if (!placeholder)
		return ISCSI_TMF_REJECTED;
	placeholder->cmdsn = ref;
	rx_skip(conn, placeholder);
	return ISCSI_TMF_COMPLETE;
}

static void
abort_task(struct conn *conn, struct command *tmf)
{
	/* the referenced task tag lies where others have the transfer tag */
	struct command *cmd = session_find_command(conn->session, tmf->ttt);

	if (!cmd) {
		tmf_respond(tmf, abort_missing(conn, tmf));
	} else if (cmd->opcode != ISCSI_SCSI_COMMAND || memcmp(cmd->lun, tmf->lun, sizeof(cmd->lun)) != 0 ||
		   cmd->state == COMMAND_SEND) {
		/* its answer goes out before ours */
		tmf_respond(tmf, ISCSI_TMF_NO_TASK);
	} else if (cmd->state == COMMAND_WAIT) {
		scsi_command_drop(cmd);
		tmf_respond(tmf, ISCSI_TMF_COMPLETE);
	} else {
		submit(tmf, SCSI_TMF_ABORT_TASK, tmf->ttt);
	}
}

static const struct {
	enum scsi_tmf function;
	bool known, ends_waiting, all_luns;
} functions[] = {
	[ISCSI_TMF_ABORT_TASK_SET] = {SCSI_TMF_ABORT_TASK_SET, true, true, false},
	[ISCSI_TMF_CLEAR_ACA] = {SCSI_TMF_CLEAR_ACA, true, false, false},
	[ISCSI_TMF_CLEAR_TASK_SET] = {SCSI_TMF_CLEAR_TASK_SET, true, true, false},
	[ISCSI_TMF_LU_RESET] = {SCSI_TMF_LU_RESET, true, true, false},
	[ISCSI_TMF_TARGET_WARM_RESET] = {SCSI_TMF_TARGET_WARM_RESET, true, true, true},
	[ISCSI_TMF_TARGET_COLD_RESET] = {SCSI_TMF_TARGET_COLD_RESET, true, true, true},
};

void
tmf_request(struct conn *conn, struct command *cmd)
{
	unsigned function = cmd->flags & 0x7f;

	counter_add(&conn->shard->stats.task_management, 1);
	if (function == ISCSI_TMF_ABORT_TASK) {
		abort_task(conn, cmd);
		return;
	}
	if (function == ISCSI_TMF_TASK_REASSIGN) {
		tmf_reassign(conn, cmd);
		return;
	}
	if (function >= ARRAY_SIZE(functions) || !functions[function].known) {
		tmf_respond(cmd, ISCSI_TMF_NOT_SUPPORTED);
		return;
	}
	if (functions[function].ends_waiting)
		for (struct conn *c = conn->session->conns; c; c = c->session_next)
			drop_waiting(c, cmd, functions[function].all_luns ? NULL : cmd->lun);
	submit(cmd, functions[function].function, 0);
}
