/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tasks that outlive their connection, ErrorRecoveryLevel 2 (RFC 7143 7.2.2, 11.5, 11.6).
 *
 *   FULL -> LOST   the connection failed, was reinstated (6.3.4) or logged out for recovery: the socket is closed; SCSI
 *                  commands whose turn had come stay as they are, and run on; the others go, their CmdSN is not used up
 *   LOST           TASK REASSIGN by another connection takes a command over, with all that is accounted for it:
 *                    waits for data      what is missing is asked for with new R2Ts; R2TSN counts on
 *                    runs                nothing to do
 *                    has its answer      that is sent from the first DataSN on that is not acknowledged, in the segments
 *                                        of the new connection; the status with a StatSN of it
 *   -> CLOSING     after DefaultTime2Wait and DefaultTime2Retain: what was not taken over ends without an answer
 *
 * Invariants: a command that was taken over is still of the pool of its home, which is pinned for each; the session,
 * its nexus and its numbering are untouched.
 *
 * Threads: the session's loop.
 */
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/conn.h"

static bool
stays(const struct command *cmd)
{
	if (cmd->state == COMMAND_RUN)
		return true;
	return cmd->opcode == ISCSI_SCSI_COMMAND && cmd->state != COMMAND_RECEIVE && cmd->delivered &&
	       !cmd->acked;
}

bool
conn_lose(struct conn *conn, enum close_reason reason)
{
	const uint32_t *v = conn->session->params.active;
	struct command *next;

	if (v[PARAM_ERROR_RECOVERY_LEVEL] < 2 || !v[PARAM_DEFAULT_TIME2RETAIN])
		return false;
	conn->state = CONN_LOST;
	conn->lost_until_ms = loop_now_ms(conn->loop) +
			      1000u * (uint64_t)(v[PARAM_DEFAULT_TIME2WAIT] + v[PARAM_DEFAULT_TIME2RETAIN]);
	conn_shut(conn, reason);
	fence_leave(conn, false);
	session_unhold(conn);
	conn->start_blocked = false;
	conn->rx.cmd = NULL;
	conn->rx.paused = false;
	for (struct command *cmd = conn->active; cmd; cmd = cmd->next) {
		cmd->again = NULL;
		cmd->refs = 0;
	}
	for (struct command *cmd = conn->active; cmd; cmd = next) {
		next = cmd->next;
		if (!stays(cmd)) {
			if (cmd->state == COMMAND_KEPT && !cmd->acked)
				recover_take_out(cmd);
			command_free(cmd);
		} else if (cmd->state != COMMAND_KEPT) {
			command_dequeue(cmd);
		}
	}
	return true;
}

/* -- taking over --------------------------------------------------------- */

/* Everything that is counted for it. */
static void
move(struct command *cmd, struct conn *to)
{
	struct conn *from = cmd->conn;

	command_unhash(cmd);
	if (cmd->state == COMMAND_KEPT) {
		cmd->answer_bytes = cmd->kept_bytes;
		from->answer_bytes += cmd->answer_bytes;
		recover_take_out(cmd);
	}
	*cmd->prev = cmd->next;
	if (cmd->next)
		cmd->next->prev = cmd->prev;
	cmd->next = to->active;
	cmd->prev = &to->active;
	if (cmd->next)
		cmd->next->prev = &cmd->next;
	to->active = cmd;
	from->answer_bytes -= cmd->answer_bytes;
	to->answer_bytes += cmd->answer_bytes;
	from->nimmediate -= cmd->immediate;
	to->nimmediate += cmd->immediate;
	if (cmd->collecting) {
		from->ncollect--;
		from->collect_bytes -= cmd->need;
		to->ncollect++;
		to->collect_bytes += cmd->need;
	}
	if (cmd->state == COMMAND_RUN) {
		from->nrunning--;
		to->nrunning++;
		conn_pin(to);
	}
	cmd->conn = to;
	if (from == cmd->home)
		conn_pin(from);
	if (to == cmd->home)
		conn_unpin(to);
	if (cmd->state == COMMAND_RUN)
		conn_unpin(from);
	/* its tag is taken until its answer has a place in the ring */
	command_hash(to, cmd);
}

static void
go_on(struct conn *conn, struct command *cmd)
{
	switch (cmd->state) {
	case COMMAND_WAIT:
		data_out_restart(cmd);
		if (cmd->started || cmd->condition) {
			scsi_command_progress(cmd);
			break;
		}
		cmd->got = cmd->asked = 0;
		cmd->resolicit = true;
		command_enqueue(&conn->parkq, cmd);
		conn_queue_turn(conn);
		break;
	case COMMAND_SEND:
		data_in_restart(conn, cmd);
		break;
	default:
		break;
	}
}

/* ISCSI_TMF_COMPLETE, or why not. */
static enum iscsi_tmf_response
look(struct conn *conn, uint32_t itt, uint32_t datasn, struct command **ret)
{
	struct command *cmd = NULL;

	if (conn->recovery < 2)
		return ISCSI_TMF_NO_REASSIGN;
	for (struct conn *c = conn->session->conns; c && !cmd; c = c->session_next)
		cmd = c->state == CONN_LOST ? recover_find(c, itt) : command_find(c, itt);
	if (!cmd || cmd->opcode != ISCSI_SCSI_COMMAND || cmd->conn->state == CONN_CLOSING)
		return ISCSI_TMF_NO_TASK;
	if (cmd->conn->state != CONN_LOST)
		return ISCSI_TMF_STILL_ALLEGIANT;
	*ret = cmd;
	/* 11.5.6: an acknowledgement; any other value is ignored */
	if (datasn > cmd->data_acked && datasn <= cmd->datasn)
		cmd->data_acked = datasn;
	/* its data had to go */
	if ((cmd->state == COMMAND_SEND || cmd->state == COMMAND_KEPT) && !cmd->started && !cmd->write &&
	    data_in_left(cmd, cmd->data_acked))
		return ISCSI_TMF_NO_REASSIGN;
	return ISCSI_TMF_COMPLETE;
}

void
tmf_reassign(struct conn *conn, struct command *tmf)
{
	struct command *cmd = NULL;
	enum iscsi_tmf_response response = look(conn, tmf->ttt, get_be32(tmf->bhs + 36), &cmd);

	tmf_respond(tmf, response);
	if (response != ISCSI_TMF_COMPLETE)
		return;
	move(cmd, conn);
	if (cmd->state == COMMAND_KEPT)
		cmd->state = COMMAND_SEND;
	/* 11.4.10: of SNACKs by the same connection */
	cmd->snack_tag = 0;
	go_on(conn, cmd);
	counter_add(&conn->shard->stats.reassigned, 1);
}
