/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answer to a SCSI command: Data-In from the pages of the task, and its
 * status, in the last Data-In where it can be (RFC 7143 11.7.3), else in a
 * SCSI Response with the sense data.
 *
 * At recovery level 1 the status is always in a PDU of its own, so that it can be sent again when the data is kept no
 * more; all Data-In PDUs of a command from base_sn on have one length, so that a DataSN says which bytes they are;
 * and the end of each burst but the last asks for an acknowledgement (11.7.2).  An R-Data SNACK and another connection
 * move the base to the first DataSN that is not acknowledged, and change the length (11.16.3, 7.2.2); bursts stay where
 * they were.  So base_sn is never behind data_acked.
 *
 * Called again when slots are free; cmd->sent says how far it has come.
 */
#include <assert.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/iscsi/conn.h"

static void
residuals(const struct command *cmd, struct pdu_residual *ret)
{
	const struct scsi_task *task = &cmd->task;

	*ret = (struct pdu_residual){0};
	if (cmd->write)
		pdu_residual_set(ret, task->out_room, task->out_len);
	else if (task->out_len)
		pdu_residual_set(ret, task->in_room, task->out_len);
	else
		pdu_residual_set(ret, task->in_room, task->in_len);
	if (cmd->write && cmd->read)
		pdu_residual_set_bidi(ret, task->in_room, task->in_len);
}

/* Only a status without sense data and bidirectional residuals fits. */
static bool
collapses(const struct command *cmd)
{
	const struct scsi_task *task = &cmd->task;

	return !cmd->conn->recovery && cmd->send_len && !cmd->write && !task->sense_len &&
	       (task->status == SCSI_GOOD || task->status == SCSI_CONDITION_MET);
}

/* The initiator may use the tag again as soon as it has seen the PDU that follows. */
static struct pdu_numbers
last_numbers(struct conn *conn, struct command *cmd)
{
	command_unhash(cmd);
	command_leave_window(cmd);
	return tx_numbers(conn, true);
}

/* The bytes that the Data-In PDU of a DataSN carries. */
struct place {
	uint32_t offset, end;
	uint32_t burst_end;
};

static struct place
place_of(const struct command *cmd, uint32_t datasn)
{
	uint32_t burst = cmd->conn->max_burst, segment = cmd->segment;
	uint32_t n = datasn - cmd->base_sn, in_first;
	struct place at = {.offset = cmd->base_off};

	at.burst_end = at.offset - at.offset % burst + burst;
	in_first = (at.burst_end - at.offset + segment - 1) / segment;
	if (n >= in_first) {
		uint32_t a_burst = (burst + segment - 1) / segment;

		n -= in_first;
		at.offset = at.burst_end + n / a_burst * burst;
		at.burst_end = at.offset + burst;
		n %= a_burst;
	}
	at.offset = min_of(at.offset + n * segment, cmd->send_len);
	at.burst_end = min_of(at.burst_end, cmd->send_len);
	at.end = min_of(at.offset + segment, at.burst_end);
	return at;
}

void
data_in_rewind(struct conn *conn, struct command *cmd, uint32_t datasn)
{
	/* data_acked is never behind the base, and nothing goes out from before it */
	assert(datasn >= cmd->base_sn);
	if (cmd->segment) {
		cmd->base_off = place_of(cmd, datasn).offset;
		cmd->base_sn = datasn;
	} else {
		cmd->data_ttt = session_new_ttt(conn->session, 0);
	}
	cmd->segment = conn->max_send;
	cmd->datasn = cmd->base_sn;
	cmd->sent = cmd->base_off;
}

uint32_t
data_in_pdus(const struct command *cmd)
{
	uint32_t burst = cmd->conn->max_burst, segment = cmd->segment;
	uint32_t left = cmd->send_len - cmd->base_off;
	uint32_t first = min_of(left, burst - cmd->base_off % burst);

	left -= first;
	return cmd->base_sn + (first + segment - 1) / segment +
	       left / burst * ((burst + segment - 1) / segment) + (left % burst + segment - 1) / segment;
}

bool
data_in_left(const struct command *cmd, uint32_t datasn)
{
	return (cmd->segment ? place_of(cmd, datasn).offset : 0) < cmd->send_len;
}

void
data_in_put(struct conn *conn, struct command *cmd, uint32_t datasn, struct tx_slot *slot)
{
	const struct scsi_task *task = &cmd->task;
	struct place at = place_of(cmd, datasn);
	struct pdu_data_in data = {
		.itt = cmd->itt,
		.datasn = datasn,
		.offset = at.offset,
		.len = at.end - at.offset,
		.final = at.end == at.burst_end,
	};
	struct pdu_numbers n = tx_numbers(conn, false);

	pdu_data_in(slot->head, &n, &data);
	if (data.final && at.end < cmd->send_len) {
		slot->head[1] |= ISCSI_DATA_ACK;
		memcpy(slot->head + 8, cmd->lun, sizeof(cmd->lun));
		put_be32(slot->head + 20, cmd->data_ttt);
	}
	slot->cmd = cmd;
	slot->linear = task->inline_in ? task->inline_buf + data.offset : NULL;
	slot->data_off = task->inline_in ? 0 : data.offset;
	slot->data_len = data.len;
}

void
data_in_restart(struct conn *conn, struct command *cmd)
{
	data_in_rewind(conn, cmd, cmd->data_acked);
	cmd->keep = false;
	cmd->state = COMMAND_SEND;
	fence_queue(cmd, data_in_fill);
}

static bool
fill_kept_data(struct conn *conn, struct command *cmd)
{
	if (!cmd->segment || cmd->segment > conn->max_send)
		data_in_rewind(conn, cmd, cmd->datasn);
	while (cmd->sent < cmd->send_len) {
		struct tx_slot *slot = tx_slot(conn);

		if (!slot)
			return false;
		data_in_put(conn, cmd, cmd->datasn++, slot);
		cmd->sent += slot->data_len;
		tx_commit(conn, slot);
		counter_add(&conn->shard->stats.data_in_pdus, 1);
	}
	return true;
}

static bool
fill_data(struct conn *conn, struct command *cmd)
{
	const struct scsi_task *task = &cmd->task;

	while (cmd->sent < cmd->send_len) {
		struct tx_slot *slot = tx_slot(conn);
		uint32_t burst_left = conn->max_burst - cmd->sent % conn->max_burst;
		struct pdu_data_in data = {.itt = cmd->itt, .datasn = cmd->datasn, .offset = cmd->sent};
		struct pdu_numbers n;
		bool end;

		if (!slot)
			return false;
		data.len = min_of(min_of(conn->max_send, burst_left), cmd->send_len - cmd->sent);
		end = cmd->sent + data.len == cmd->send_len;
		data.final = end || data.len == burst_left;
		if (end && collapses(cmd)) {
			data.has_status = true;
			data.status = (uint8_t)task->status;
			residuals(cmd, &data.residual);
			n = last_numbers(conn, cmd);
		} else {
			n = tx_numbers(conn, false);
		}
		pdu_data_in(slot->head, &n, &data);
		slot->cmd = cmd;
		slot->linear = task->inline_in ? task->inline_buf + cmd->sent : NULL;
		slot->data_off = task->inline_in ? 0 : cmd->sent;
		slot->data_len = data.len;
		slot->last = data.has_status;
		tx_commit(conn, slot);
		cmd->datasn++;
		cmd->sent += data.len;
		counter_add(&conn->shard->stats.data_in_pdus, 1);
	}
	return true;
}

bool
data_in_fill(struct conn *conn, struct command *cmd)
{
	const struct scsi_task *task = &cmd->task;
	struct pdu_residual residual;
	struct pdu_numbers n;
	struct tx_slot *slot;

	if (conn->recovery ? !fill_kept_data(conn, cmd) : !fill_data(conn, cmd))
		return false;
	if (collapses(cmd))
		return true;
	slot = tx_slot(conn);
	if (!slot)
		return false;
	residuals(cmd, &residual);
	if (task->status == SCSI_CHECK_CONDITION)
		counter_add(&conn->errors, 1);
	if (task->sense_len) {
		/* 11.4.7: SenseLength in front */
		put_be16(cmd->small, (uint16_t)task->sense_len);
		memcpy(cmd->small + 2, task->sense, task->sense_len);
		slot->linear = cmd->small;
		slot->data_len = 2 + task->sense_len;
	}
	n = last_numbers(conn, cmd);
	/* 11.4.8: how many R2T and Data-In PDUs went before */
	pdu_scsi_response(slot->head, &n, cmd->itt, 0, (uint8_t)task->status, &residual,
			  cmd->datasn + cmd->r2tsn, slot->data_len);
	put_be32(slot->head + 20, cmd->snack_tag);
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	return true;
}
