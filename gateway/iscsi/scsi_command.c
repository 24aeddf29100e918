/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SCSI command, from its PDU to its answer.
 *
 *   RECEIVE  the PDU comes in; scsi_task_start() has given pages for Data-Out, and immediate data goes into
 *            them
 *   WAIT     until all of these hold: its CmdSN is reached (delivered), its task is started (else it stands
 * in conn->parkq), the unsolicited data that was announced has ended, all data that it takes is there; then,
 * in conn->runq, until Data-In of commands before it is sent and holds no memory any more RUN
 * scsi_task_run(); ends in task_done() SEND     data_in_fill() puts Data-In and status into slots; freed when
 * the last is sent
 *
 * A transfer that goes wrong sets a condition (11.4.7.2): no more is asked for, and once every open sequence
 * has had its F bit the command is answered with CHECK CONDITION without being run (7.8).
 *
 * Memory.  When the arena is short, or this connection's unfinished writes hold their share of it already, a
 * command is parked, later ones behind it, and the window stops growing.  If its data is in the stream,
 * reading stops until there is memory - unless other commands of this connection wait for Data-Out from the
 * same stream: they hold pages and would never end.  Then the data is let go and asked for again with an R2T
 * when the command starts.
 *
 * Invariant: collect_bytes is the sum of `need` over commands with `collecting`.
 */
#include <assert.h>
#include <string.h>

#include "gateway/iscsi/conn.h"

static void
task_done(struct scsi_task *task)
{
	struct command *cmd = container_of(task, struct command, task);
	struct conn *conn = cmd->conn;

	assert(cmd->state == COMMAND_RUN);
	conn->nrunning--;
	cmd->state = COMMAND_SEND;
	if (task->silent || conn->state == CONN_CLOSING) {
		command_free(cmd);
	} else {
		cmd->send_len = min_of(task->in_len, task->in_room);
		conn->answer_bytes -= cmd->answer_bytes;
		cmd->answer_bytes = cmd->send_len;
		conn->answer_bytes += cmd->answer_bytes;
		/* otherwise it waits to be taken over */
		if (conn->state != CONN_LOST)
			fence_queue(cmd, data_in_fill);
	}
	if (conn->state == CONN_LOGOUT)
		logout_progress(conn);
	conn_unpin(conn);
}

static void
stop_collecting(struct command *cmd)
{
	struct conn *conn = cmd->conn;

	if (!cmd->collecting)
		return;
	cmd->collecting = false;
	conn->ncollect--;
	conn->collect_bytes -= cmd->need;
	if (conn->parkq.head)
		conn_queue_turn(conn);
}

static void
run_now(struct command *cmd)
{
	struct conn *conn = cmd->conn;

	cmd->answer_bytes = min_of(cmd->task.in_room, VOLUME_MAX_IO);
	conn->answer_bytes += cmd->answer_bytes;
	cmd->state = COMMAND_RUN;
	conn->nrunning++;
	conn_pin(conn);
	scsi_task_run(&cmd->task);
}

/* Has it room for the answer within the connection's share? */
static bool
has_room(const struct conn *conn, const struct command *cmd)
{
	uint32_t bytes = min_of(cmd->task.in_room, VOLUME_MAX_IO);

	return !bytes || !conn->answer_bytes || conn->answer_bytes + bytes <= conn->server->budget;
}

static void
run(struct command *cmd)
{
	struct conn *conn = cmd->conn;

	stop_collecting(cmd);
	/* behind others that wait, so that their order stays; HEAD OF QUEUE waits for nobody */
	if ((conn->runq.head && cmd->task.attr != SCSI_ATTR_HEAD) || !has_room(conn, cmd))
		command_enqueue(&conn->runq, cmd);
	else
		run_now(cmd);
}

void
scsi_command_run_queued(struct conn *conn)
{
	struct command *cmd;

	while ((cmd = conn->runq.head) && has_room(conn, cmd)) {
		command_dequeue(cmd);
		run_now(cmd);
	}
}

/* Answer with the condition; the task never runs. */
static void
fail(struct command *cmd)
{
	stop_collecting(cmd);
	command_dequeue(cmd);
	if (cmd->started) {
		cmd->started = false;
		scsi_task_release(&cmd->task);
	}
	counter_add(&cmd->conn->shard->stats.failed_transfers, 1);
	cmd->task.in_len = cmd->task.out_len = 0;
	cmd->send_len = 0;
	if (cmd->condition == ISCSI_COND_TOO_LARGE) {
		cmd->task.status = SCSI_BUSY;
		cmd->task.sense_len = 0;
	} else {
		cmd->task.status = SCSI_CHECK_CONDITION;
		iscsi_condition_sense(cmd->condition, cmd->task.sense);
		cmd->task.sense_len = ISCSI_CONDITION_SENSE_LEN;
	}
	cmd->state = COMMAND_SEND;
	fence_queue(cmd, data_in_fill);
}

void
scsi_command_condition(struct command *cmd, enum iscsi_condition condition)
{
	if (!cmd->condition)
		cmd->condition = condition;
	data_out_cancel(cmd);
}

void
scsi_command_progress(struct command *cmd)
{
	assert(cmd->state == COMMAND_WAIT);
	if (!cmd->delivered || cmd->unsolicited.open)
		return;
	if (cmd->condition) {
		if (!cmd->nseq)
			fail(cmd);
		return;
	}
	if (!cmd->started)
		return;
	if (cmd->got >= cmd->need)
		run(cmd);
	else
		data_out_solicit(cmd);
}

void
scsi_command_deliver(struct command *cmd)
{
	counter_add(&cmd->conn->commands, 1);
	counter_add(&cmd->conn->shard->stats.commands, 1);
	scsi_command_progress(cmd);
}

void
scsi_command_drop(struct command *cmd)
{
	assert(cmd->state == COMMAND_WAIT);
	stop_collecting(cmd);
	if (!cmd->held) {
		command_free(cmd);
		return;
	}
	/* its CmdSN must still pass */
	cmd->skip = true;
	command_dequeue(cmd);
	command_unhash(cmd);
	if (cmd->started) {
		cmd->started = false;
		scsi_task_release(&cmd->task);
	}
}

/* -- memory -------------------------------------------------------------- */

static void
memory_came(struct loop_msg *msg)
{
	struct conn *conn = container_of(msg, struct conn, arena_waiter.msg);

	conn->arena_waiting = false;
	if (conn->rx.paused)
		rx_resume(conn);
	conn_queue_turn(conn);
	conn_unpin(conn);
}

static void
await_memory(struct conn *conn, const struct command *cmd)
{
	if (conn->arena_waiting)
		return;
	conn->arena_waiting = true;
	conn_pin(conn);
	conn->arena_waiter.loop = conn->loop;
	conn->arena_waiter.msg.fn = memory_came;
	conn->arena_waiter.n = cmd->edtl / PAGE_SIZE_BYTES + 1;
	arena_wait(conn->server->arena, &conn->arena_waiter);
}

/* Waiting would not help: the arena could never give as much. */
static bool
too_large(const struct conn *conn, const struct command *cmd)
{
	size_t total = arena_total_pages(conn->server->arena);

	return cmd->task.out_len / PAGE_SIZE_BYTES + 2 > total - total / 16;
}

/* 0 or -EAGAIN; over its budget the connection need not wait for the arena, its own commands give way. */
static int
start(struct conn *conn, struct command *cmd)
{
	int rc;

	if (cmd->write && conn->ncollect && conn->collect_bytes + cmd->edtl > conn->server->budget)
		return -EAGAIN;
	rc = scsi_task_start(&cmd->task);
	if (rc == -EAGAIN && recover_drop_data(conn))
		rc = scsi_task_start(&cmd->task);
	if (rc == -EAGAIN) {
		if (too_large(conn, cmd)) {
			scsi_command_condition(cmd, ISCSI_COND_TOO_LARGE);
			return 0;
		}
		await_memory(conn, cmd);
		return -EAGAIN;
	}
	cmd->started = true;
	cmd->need = min_of(cmd->task.out_len, cmd->task.out_room);
	if (cmd->need) {
		if (!conn->ncollect)
			conn->last_data_ms = loop_now_ms(conn->loop);
		cmd->collecting = true;
		conn->ncollect++;
		conn->collect_bytes += cmd->need;
	}
	return 0;
}

void
scsi_command_unpark(struct conn *conn)
{
	struct command *cmd;

	while ((cmd = conn->parkq.head) && !conn->arena_waiting && conn->state == CONN_FULL) {
		if (start(conn, cmd) < 0)
			break;
		command_dequeue(cmd);
		scsi_command_progress(cmd);
	}
	/* a Data-Out may wait for just this */
	if (conn->rx.paused)
		conn->rx.resume = true;
}

/* -- the PDU ------------------------------------------------------------- */

/* The flags of 11.3.1; a reject reason. */
static uint8_t
check_flags(const struct pdu *pdu)
{
	if ((pdu->flags & ISCSI_CMD_ATTR_MASK) > SCSI_ATTR_ACA)
		return ISCSI_REJECT_INVALID_FIELD;
	if (!pdu->final && !(pdu->flags & ISCSI_CMD_WRITE))
		return ISCSI_REJECT_INVALID_FIELD;
	return ISCSI_REJECT_NONE;
}

static void
fill_task(struct conn *conn, struct command *cmd)
{
	const struct rx *rx = &conn->rx;
	struct scsi_task *task = &cmd->task;
	uint32_t extra = min_of(rx->ahs.cdb_len, (uint32_t)(SCSI_CDB_MAX - 16));

	cmd->write = cmd->flags & ISCSI_CMD_WRITE;
	cmd->read = cmd->flags & ISCSI_CMD_READ;
	cmd->edtl = rx->pdu.word20;
	task->nexus = conn->session->nexus;
	memcpy(task->lun, cmd->lun, sizeof(task->lun));
	memcpy(task->cdb, rx->head + 32, 16);
	if (extra)
		memcpy(task->cdb + 16, rx->ahs.cdb, extra);
	task->cdb_len = 16 + extra;
	task->attr = (enum scsi_attr)(cmd->flags & ISCSI_CMD_ATTR_MASK);
	task->out_room = cmd->write ? cmd->edtl : 0;
	/* 11.2.2.4: of a bidirectional command the field in the BHS is that of Data-Out */
	task->in_room = !cmd->read ? 0 : cmd->write ? rx->ahs.bidi_len : cmd->edtl;
	task->tag = cmd->itt;
	task->done = task_done;
}

/* What may come without being asked for: 13.10, 13.11, 13.14. */
static void
check_unsolicited(struct conn *conn, struct command *cmd)
{
	uint32_t len = conn->rx.pdu.data_len;
	uint32_t most = min_of(conn->first_burst, cmd->write ? cmd->edtl : 0);

	cmd->unsolicited = (struct data_seq){
		.open = !conn->rx.pdu.final,
		.length = most,
		.got = len,
	};
	if ((len && (!conn->immediate_data || !cmd->write)) || (cmd->unsolicited.open && conn->initial_r2t))
		scsi_command_condition(cmd, ISCSI_COND_UNEXPECTED_DATA);
	else if (len > most)
		scsi_command_condition(cmd, len > cmd->edtl ? ISCSI_COND_INCORRECT_AMOUNT
							    : ISCSI_COND_UNEXPECTED_DATA);
}

/* The task of the command that comes in is started: immediate data goes into its pages. */
static void
take_immediate(struct conn *conn, struct command *cmd)
{
	uint32_t len = conn->rx.pdu.data_len;

	conn->rx.cmd = cmd;
	if (!len || cmd->condition)
		return;
	conn->rx.sink = SINK_TASK;
	conn->rx.task_off = 0;
	cmd->got = min_of(len, cmd->need);
	cmd->asked = cmd->got;
}

static enum rx_go
no_memory(struct conn *conn, struct command *cmd)
{
	bool has_data = conn->rx.pdu.data_len != 0;

	counter_add(&conn->shard->stats.parked, 1);
	if (has_data && !conn->ncollect) {
		conn->start_blocked = true;
		return RX_PAUSE;
	}
	if (has_data)
		counter_add(&conn->shard->stats.asked_again, 1);
	cmd->resolicit = has_data;
	command_enqueue(&conn->parkq, cmd);
	return RX_GO;
}

enum rx_go
scsi_command_begin(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	struct command *cmd;
	int rc;

	if (conn->start_blocked) {
		cmd = rx->cmd;
		if (start(conn, cmd) < 0)
			return RX_PAUSE;
		conn->start_blocked = false;
		take_immediate(conn, cmd);
		return RX_GO;
	}
	rx->reject = check_flags(&rx->pdu);
	if (rx->reject)
		return RX_GO;
	cmd = rx_take(conn);
	if (!cmd)
		return RX_GO;
	conn->last_command_ms = loop_now_ms(conn->loop);
	fill_task(conn, cmd);
	check_unsolicited(conn, cmd);
	if (cmd->condition)
		return RX_GO;
	rc = cmd->write && conn->parkq.head ? -EAGAIN : start(conn, cmd);
	if (rc < 0)
		return no_memory(conn, cmd);
	take_immediate(conn, cmd);
	return RX_GO;
}
