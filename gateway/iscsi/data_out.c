/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data-Out: R2Ts that ask for it, and the sequences in which it comes (RFC 7143
 * 11.7, 11.8).
 *
 * A sequence is open from its R2T (or from the command, for unsolicited data)
 * until its F bit.  DataPDUInOrder and DataSequenceInOrder are always Yes here, so
 * each PDU must have the DataSN and the offset that follow its predecessor's; anything else
 * means that a PDU is missing (7.9), and the command ends with a condition.  At recovery level 1, and after a wrong data
 * digest too, the sequence is broken instead: what follows of it is let go, and with its F bit, or when nothing comes for a while,
 * the rest is asked for with another R2T.
 *
 * A Data-Out for a command that is gone (aborted, answered) is let go: the
 * initiator may have sent it before it knew.
 */
#include <string.h>

#include "gateway/iscsi/conn.h"

#define TTT_SLOT_MASK 0xfu
#define AGAIN_MS 5000u /* without Data-Out that was asked for */

_Static_assert(R2T_MAX <= TTT_SLOT_MASK + 1, "the sequence fits in a transfer tag");

/* -- asking -------------------------------------------------------------- */

static struct data_seq *
next_queued(struct command *cmd, unsigned *slot)
{
	struct data_seq *first = NULL;

	for (unsigned i = 0; i < R2T_MAX; i++) {
		struct data_seq *seq = &cmd->seq[i];

		if (!seq->open || !(seq->queued || seq->again) || (first && first->offset < seq->offset))
			continue;
		first = seq;
		*slot = i;
	}
	return first;
}

static bool
r2t_fill(struct conn *conn, struct command *cmd)
{
	struct data_seq *seq;
	unsigned i;

	while ((seq = next_queued(cmd, &i))) {
		struct tx_slot *slot = tx_slot(conn);
		struct pdu_numbers n;

		if (!slot)
			return false;
		if (seq->queued) {
			seq->ttt = session_new_ttt(conn->session, i);
			seq->r2tsn = cmd->r2tsn++;
		}
		n = tx_numbers(conn, false);
		pdu_r2t(slot->head, &n, cmd->lun, cmd->itt, seq->ttt, seq->r2tsn, seq->offset, seq->length);
		tx_commit(conn, slot);
		seq->queued = seq->again = false;
		counter_add(&conn->shard->stats.r2ts, 1);
	}
	return true;
}

void
data_out_solicit(struct command *cmd)
{
	struct conn *conn = cmd->conn;

	for (unsigned i = 0; i < R2T_MAX && cmd->nseq < conn->max_r2t && cmd->asked < cmd->need; i++) {
		if (cmd->seq[i].open)
			continue;
		cmd->seq[i] = (struct data_seq){
			.open = true,
			.queued = true,
			.offset = cmd->asked,
			.length = min_of(conn->max_burst, cmd->need - cmd->asked),
		};
		cmd->asked += cmd->seq[i].length;
		cmd->nseq++;
		if (!cmd->queue)
			tx_queue(conn, cmd, r2t_fill);
	}
}

void
data_out_cancel(struct command *cmd)
{
	for (unsigned i = 0; i < R2T_MAX; i++) {
		if (!cmd->seq[i].open || !cmd->seq[i].queued)
			continue;
		cmd->seq[i].open = cmd->seq[i].queued = false;
		cmd->nseq--;
	}
}

/* -- receiving ----------------------------------------------------------- */

/* The command and the sequence that a Data-Out names; NULL when there is none. */
static struct command *
find(struct conn *conn, struct data_seq **ret_seq)
{
	const struct pdu *pdu = &conn->rx.pdu;
	struct command *cmd;
	uint32_t ttt = pdu->word20;

	cmd = command_find(conn, pdu->itt);
	if (!cmd || cmd->opcode != ISCSI_SCSI_COMMAND || cmd->state != COMMAND_WAIT || !cmd->write)
		return NULL;
	/* the rest of it is asked for already */
	if (ttt == ISCSI_TAG_NONE && cmd->unsolicited.broken && !cmd->unsolicited.open)
		return NULL;
	if (ttt == ISCSI_TAG_NONE) {
		*ret_seq = &cmd->unsolicited;
		return cmd;
	}
	*ret_seq = &cmd->seq[ttt & TTT_SLOT_MASK];
	return (*ret_seq)->open && !(*ret_seq)->queued && (*ret_seq)->ttt == ttt ? cmd : NULL;
}

static enum iscsi_condition
check(const struct conn *conn, const struct command *cmd, const struct data_seq *seq)
{
	const struct pdu *pdu = &conn->rx.pdu;

	if (!seq->open)
		return ISCSI_COND_UNEXPECTED_DATA;
	if (pdu->word36 != seq->datasn)
		return ISCSI_COND_CRC_ERROR;
	if (pdu->word40 != seq->offset + seq->got)
		return ISCSI_COND_INCORRECT_AMOUNT;
	if (pdu->data_len > seq->length - min_of(seq->got, seq->length))
		return seq == &cmd->unsolicited ? ISCSI_COND_UNEXPECTED_DATA : ISCSI_COND_INCORRECT_AMOUNT;
	return ISCSI_COND_NONE;
}

enum rx_go
data_out_begin(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	struct command *cmd = find(conn, &rx->seq);
	enum iscsi_condition condition;

	if (!cmd) {
		rx->ignore = true;
		return RX_GO;
	}
	/* announced data of a parked command: wait with it, unless others need what follows in the stream */
	if (!cmd->started && !cmd->condition && !cmd->resolicit) {
		if (!conn->ncollect)
			return RX_PAUSE;
		cmd->resolicit = true;
		counter_add(&conn->shard->stats.asked_again, 1);
	}
	rx->cmd = cmd;
	if (conn->recovery && rx->seq->open && rx->pdu.word36 != rx->seq->datasn)
		rx->seq->broken = true;
	condition = rx->seq->broken ? ISCSI_COND_NONE : check(conn, cmd, rx->seq);
	if (condition)
		scsi_command_condition(cmd, condition);
	conn->last_data_ms = loop_now_ms(conn->loop);
	counter_add(&conn->shard->stats.data_out_pdus, 1);
	if (!cmd->condition && !rx->seq->broken && !(cmd->resolicit && rx->seq == &cmd->unsolicited)) {
		rx->sink = SINK_TASK;
		rx->task_off = rx->pdu.word40;
	}
	return RX_GO;
}

/* 7.9: a recovery R2T for what is missing at the end of a sequence. */
static void
ask_for_rest(struct command *cmd, struct data_seq *seq)
{
	*seq = (struct data_seq){
		.open = true,
		.queued = true,
		.offset = seq->offset + seq->got,
		.length = seq->length - seq->got,
	};
	if (!cmd->queue)
		tx_queue(cmd->conn, cmd, r2t_fill);
	counter_add(&cmd->conn->shard->stats.sent_again, 1);
}

/* Its F bit has come, or is awaited no more. */
static void
close_sequence(struct command *cmd, struct data_seq *seq)
{
	if (seq != &cmd->unsolicited && seq->broken && seq->got < seq->length && !cmd->condition) {
		ask_for_rest(cmd, seq);
		return;
	}
	seq->open = false;
	if (seq == &cmd->unsolicited) {
		cmd->asked = cmd->got;
		return;
	}
	cmd->nseq--;
	if (seq->got != seq->length)
		scsi_command_condition(cmd, ISCSI_COND_INCORRECT_AMOUNT);
}

void
data_out_end(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	struct command *cmd = rx->cmd;
	struct data_seq *seq = rx->seq;

	if (!seq->broken) {
		seq->datasn = rx->pdu.word36 + 1;
		seq->got += rx->pdu.data_len;
	}
	if (rx->sink == SINK_TASK && !seq->broken && rx->pdu.word40 < cmd->need)
		cmd->got += min_of(rx->pdu.data_len, cmd->need - rx->pdu.word40);
	if (rx->pdu.final && seq->open)
		close_sequence(cmd, seq);
	scsi_command_progress(cmd);
}

void
data_out_bad(struct conn *conn)
{
	struct rx *rx = &conn->rx;

	if (conn->recovery)
		rx->seq->broken = true;
	else
		scsi_command_condition(rx->cmd, ISCSI_COND_CRC_ERROR);
	data_out_end(conn);
}

bool
data_out_ask_again(struct command *cmd, uint32_t from, uint32_t n)
{
	uint32_t to = n ? from + n : cmd->r2tsn, found = 0;

	if (cmd->state != COMMAND_WAIT || from >= to || to > cmd->r2tsn || cmd->condition)
		return false;
	for (unsigned i = 0; i < R2T_MAX; i++) {
		struct data_seq *seq = &cmd->seq[i];

		if (!seq->open || seq->queued || seq->r2tsn < from || seq->r2tsn >= to)
			continue;
		seq->again = true;
		found++;
	}
	/* one that is not open has been answered, so it had come: only the others of a whole run count */
	if (!found || (n && found != n))
		return false;
	if (!cmd->queue)
		tx_queue(cmd->conn, cmd, r2t_fill);
	counter_add(&cmd->conn->shard->stats.sent_again, 1);
	return true;
}

void
data_out_restart(struct command *cmd)
{
	for (unsigned i = 0; i < R2T_MAX; i++) {
		struct data_seq *seq = &cmd->seq[i];

		if (!seq->open)
			continue;
		seq->broken = true;
		if (seq->got < seq->length && !cmd->condition) {
			ask_for_rest(cmd, seq);
		} else {
			seq->open = false;
			cmd->nseq--;
		}
	}
	if (cmd->unsolicited.open) {
		cmd->unsolicited.open = false;
		cmd->asked = cmd->got;
	}
}

void
data_out_tick(struct conn *conn, uint64_t now)
{
	struct command *next;

	if (!conn->ncollect || now - max_of(conn->last_data_ms, conn->asked_again_ms) <
				       min_of(conn->server->limits.nop_interval_ms, AGAIN_MS))
		return;
	conn->asked_again_ms = now;
	for (struct command *cmd = conn->active; cmd; cmd = next) {
		next = cmd->next;
		if (cmd->opcode != ISCSI_SCSI_COMMAND || cmd->state != COMMAND_WAIT || !cmd->write ||
		    !cmd->started || cmd->held || cmd->skip || cmd->condition)
			continue;
		for (unsigned i = 0; i < R2T_MAX; i++) {
			if (!cmd->seq[i].open || cmd->seq[i].queued)
				continue;
			cmd->seq[i].broken = true;
			close_sequence(cmd, &cmd->seq[i]);
		}
		if (cmd->unsolicited.open) {
			cmd->unsolicited.broken = true;
			close_sequence(cmd, &cmd->unsolicited);
		}
		scsi_command_progress(cmd);
	}
}
