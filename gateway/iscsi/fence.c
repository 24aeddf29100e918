/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The response fence (RFC 7143 4.2.2.3, 4.2.3.3).  A response that tells of more than its own task, as that of a LOGICAL
 * UNIT RESET does, must find the initiator with all responses that were given before it, and all that are given after it
 * must find him with it.  On one connection TCP sees to that; over several of a session it is done here, whether
 * TaskReporting was negotiated or not.
 *
 *   NONE    responses go straight to their connection's send queue
 *   BEFORE  a fenced one waits until each connection has acknowledged (ExpStatSN) what was given before it
 *   QUEUED  it stands in the send queue of its connection
 *   AFTER   it is sent, and waits to be acknowledged itself; then NONE, and the next one
 *
 * In all but NONE later responses, with their data, wait in fence->held in their order; other fenced ones may be among
 * them.  What is no answer of SCSI (pings, R2Ts, text, rejects) passes.
 *
 * How far a connection has to acknowledge is known when all that stands in its send queue has its StatSN: a NOP-In
 * behind it takes note, and asks for the acknowledgement as well.
 *
 * Failure: a connection that closes, is lost or logs out is awaited no more, and what it holds goes with it; nor is the
 * last one that stays.  One of several that does not acknowledge within nop_timeout is closed, since an order that was
 * promised cannot be had with it; unless it is we who do not read from it, for want of memory: then the fence passes it.
 *
 * Invariants: fence->cmd is in fence->held in BEFORE, at its head, and in its connection's sendq in QUEUED; only
 * commands of connections in FULL are in held.
 *
 * Threads: the session's loop.
 */
#include <assert.h>

#include "gateway/iscsi/conn.h"

/* Does the sense data tell that commands were aborted, or why they were? */
static bool
tells_of_aborts(const struct scsi_task *task)
{
	bool descriptors = task->sense_len >= 4 && (task->sense[0] & 0x7e) == 0x72;
	uint8_t key, asc, ascq;

	if (!descriptors && task->sense_len < 14)
		return false;
	key = task->sense[descriptors ? 1 : 2] & 0x0f;
	asc = task->sense[descriptors ? 2 : 12];
	ascq = task->sense[descriptors ? 3 : 13];
	/* UNIT ATTENTION: a reset; commands cleared; reservations or registrations released or preempted */
	return key == 0x06 && (asc == 0x29 || asc == 0x2f || (asc == 0x2a && ascq >= 0x03 && ascq <= 0x05));
}

/* 4.2.2.3.3.  The other cases are of ACA, which there is not. */
static bool
wants_fence(const struct command *cmd)
{
	const struct scsi_task *task = &cmd->task;

	if (cmd->opcode == ISCSI_TMF_REQUEST) {
		unsigned function = cmd->flags & 0x7f;

		return cmd->response == ISCSI_TMF_COMPLETE && function != ISCSI_TMF_ABORT_TASK &&
		       function != ISCSI_TMF_TASK_REASSIGN;
	}
	if (task->status == SCSI_CHECK_CONDITION)
		return tells_of_aborts(task);
	/* PERSISTENT RESERVE OUT, PREEMPT AND ABORT */
	return cmd->write && task->cdb[0] == 0x5f && (task->cdb[1] & 0x1f) == 0x05;
}

/* Answers of a lost one may come by another yet. */
static bool
has_several(const struct session *session)
{
	unsigned n = 0;

	for (const struct conn *conn = session->conns; conn; conn = conn->session_next)
		n += conn->state == CONN_FULL || conn->state == CONN_LOST;
	return n > 1;
}

/* -- before -------------------------------------------------------------- */

static void
ask(struct conn *conn)
{
	if (nop_ask(conn, conn->session->fence.serial) && conn->fence == FENCE_TO_ASK)
		conn->fence = FENCE_ASKED;
}

static void
begin(struct session *session, struct command *cmd)
{
	struct fence *fence = &session->fence;

	fence->state = FENCE_BEFORE;
	fence->cmd = cmd;
	fence->since_ms = loop_now_ms(cmd->conn->loop);
	/* 0 is no number */
	if (!++fence->serial)
		fence->serial = 1;
	counter_add(&cmd->conn->shard->stats.fences, 1);
	for (struct conn *conn = session->conns; conn; conn = conn->session_next) {
		conn->fence = FENCE_PASSED;
		if (conn->state != CONN_FULL || (!conn->sendq.head && conn->acked == conn->statsn))
			continue;
		conn->fence = FENCE_TO_ASK;
		if (!conn->sendq.head) {
			conn->fence = FENCE_MARKED;
			conn->fence_statsn = conn->statsn;
		}
		ask(conn);
	}
}

void
fence_mark(struct conn *conn, uint32_t serial)
{
	if (conn->fence != FENCE_ASKED || serial != conn->session->fence.serial)
		return;
	conn->fence = FENCE_MARKED;
	conn->fence_statsn = conn->statsn;
}

/* Is there a connection that has not acknowledged what it has to? */
static bool
waits(struct session *session)
{
	bool any = false;

	for (struct conn *conn = session->conns; conn; conn = conn->session_next) {
		if (conn->state != CONN_FULL ||
		    (conn->fence == FENCE_MARKED && serial_cmp(conn->acked, conn->fence_statsn) >= 0))
			conn->fence = FENCE_PASSED;
		/* there was no command for a ping */
		if (conn->fence == FENCE_TO_ASK)
			ask(conn);
		any |= conn->fence != FENCE_PASSED;
	}
	return any;
}

/* -- after --------------------------------------------------------------- */

void
fence_sent(struct conn *conn, struct command *cmd, uint32_t statsn)
{
	struct fence *fence = &conn->session->fence;

	assert(fence->state == FENCE_QUEUED && fence->cmd == cmd);
	cmd->fenced = false;
	fence->state = FENCE_AFTER;
	fence->cmd = NULL;
	fence->conn = conn;
	fence->statsn = statsn;
	fence->since_ms = loop_now_ms(conn->loop);
	if (has_several(conn->session))
		(void)nop_ask(conn, 0); /* without a command for it there is traffic enough */
}

static void
pass_on(struct command *cmd)
{
	command_dequeue(cmd);
	tx_queue(cmd->conn, cmd, cmd->fill);
}

/* The fence is open: true when there is more to do. */
static bool
release(struct session *session)
{
	struct command *cmd = session->fence.held.head;

	if (!cmd)
		return false;
	if (cmd->fenced && has_several(session)) {
		begin(session, cmd);
	} else {
		cmd->fenced = false;
		pass_on(cmd);
	}
	return true;
}

void
fence_check(struct session *session)
{
	struct fence *fence = &session->fence;

	for (;;) {
		switch (fence->state) {
		case FENCE_NONE:
			if (!release(session))
				return;
			break;
		case FENCE_BEFORE:
			if (has_several(session) && waits(session))
				return;
			fence->state = FENCE_QUEUED;
			pass_on(fence->cmd);
			return;
		case FENCE_QUEUED:
			return;
		case FENCE_AFTER:
			if (has_several(session) && fence->conn->state == CONN_FULL &&
			    serial_cmp(fence->conn->acked, fence->statsn) <= 0)
				return;
			fence->state = FENCE_NONE;
			fence->conn = NULL;
			break;
		}
	}
}

/* -- in and out ---------------------------------------------------------- */

void
fence_queue(struct command *cmd, command_fill_fn *fill)
{
	struct conn *conn = cmd->conn;
	struct fence *fence = &conn->session->fence;

	cmd->fill = fill;
	cmd->fenced = conn->state == CONN_FULL && wants_fence(cmd) && has_several(conn->session);
	if (conn->state != CONN_FULL || (fence->state == FENCE_NONE && !cmd->fenced)) {
		tx_queue(conn, cmd, fill);
		return;
	}
	command_enqueue(&fence->held, cmd);
	fence_check(conn->session);
}

void
fence_forget(struct command *cmd)
{
	struct fence *fence = &cmd->conn->session->fence;

	cmd->fenced = false;
	if (fence->cmd != cmd)
		return;
	command_dequeue(cmd);
	fence->cmd = NULL;
	fence->state = FENCE_NONE;
	fence_check(cmd->conn->session);
}

void
fence_leave(struct conn *conn, bool send)
{
	struct session *session = conn->session;
	struct command *cmd, *next;

	if (!session)
		return;
	assert(conn->state != CONN_FULL);
	for (cmd = session->fence.held.head; cmd; cmd = next) {
		next = cmd->queue_next;
		if (cmd->conn != conn)
			continue;
		if (cmd == session->fence.cmd) {
			session->fence.cmd = NULL;
			session->fence.state = FENCE_NONE;
		}
		cmd->fenced = false;
		command_dequeue(cmd);
		if (send)
			tx_queue(conn, cmd, cmd->fill);
	}
	cmd = session->fence.cmd;
	if (cmd && cmd->conn == conn && !send)
		fence_forget(cmd);
	fence_check(session);
}

void
fence_tick(struct conn *conn, uint64_t now)
{
	struct fence *fence = &conn->session->fence;
	bool owes;

	fence_check(conn->session);
	owes = fence->state == FENCE_BEFORE ? conn->fence != FENCE_PASSED
					    : fence->state == FENCE_AFTER && fence->conn == conn;
	if (!owes || now < fence->since_ms + conn->server->limits.nop_timeout_ms)
		return;
	if (!conn->rx.paused) {
		conn_close(conn, CLOSE_UNACKNOWLEDGED);
		return;
	}
	conn->fence = FENCE_PASSED;
	if (fence->state == FENCE_AFTER)
		fence->state = FENCE_NONE;
	fence_check(conn->session);
}
