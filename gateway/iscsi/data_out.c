/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data-Out: R2Ts that ask for it, and the sequences in which it comes (RFC 7143
 * 11.7, 11.8).
 *
 * A sequence is open from its R2T (or from the command, for unsolicited data)
 * until its F bit.  DataPDUInOrder and DataSequenceInOrder are always Yes here, so
 * each PDU must have the DataSN and the offset that follow its predecessor's; anything else
 * means that a PDU is missing (7.9), and the command ends with a condition.
 *
 * A Data-Out for a command that is gone (aborted, answered) is let go: the
 * initiator may have sent it before it knew.
 */
#include <string.h>

#include "gateway/iscsi/conn.h"

#define TTT_SLOT_SHIFT 12
#define TTT_GENERATION_SHIFT 16
#define TTT_INDEX_MASK 0xfffu
#define TTT_SLOT_MASK 0xfu

_Static_assert(COMMAND_SLAB *COMMAND_SLABS_MAX <= TTT_INDEX_MASK + 1, "the index fits in a transfer tag");
_Static_assert(R2T_MAX <= TTT_SLOT_MASK + 1, "the sequence fits in a transfer tag");

static uint32_t
make_ttt(const struct command *cmd, unsigned slot)
{
	return (uint32_t)cmd->generation << TTT_GENERATION_SHIFT | slot << TTT_SLOT_SHIFT | cmd->index;
}

/* -- asking -------------------------------------------------------------- */

static struct data_seq *
next_queued(struct command *cmd, unsigned *slot)
{
	struct data_seq *first = NULL;

	for (unsigned i = 0; i < R2T_MAX; i++) {
		struct data_seq *seq = &cmd->seq[i];

		if (!seq->open || !seq->queued || (first && first->offset < seq->offset))
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
		n = tx_numbers(conn, false);
		pdu_r2t(slot->head, &n, cmd->lun, cmd->itt, make_ttt(cmd, i), cmd->r2tsn++, seq->offset,
			seq->length);
		tx_commit(conn, slot);
		seq->queued = false;
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
	uint32_t ttt = pdu->word20, index = ttt & TTT_INDEX_MASK;

	if (ttt == ISCSI_TAG_NONE) {
		cmd = command_find(conn, pdu->itt);
		if (!cmd || cmd->opcode != ISCSI_SCSI_COMMAND || cmd->state != COMMAND_WAIT || !cmd->write)
			return NULL;
		*ret_seq = &cmd->unsolicited;
		return cmd;
	}
	if (index >= conn->pool.nslabs * COMMAND_SLAB)
		return NULL;
	cmd = &conn->pool.slab[index / COMMAND_SLAB][index % COMMAND_SLAB];
	if (cmd->state != COMMAND_WAIT || cmd->opcode != ISCSI_SCSI_COMMAND || cmd->itt != pdu->itt ||
	    ttt >> TTT_GENERATION_SHIFT != cmd->generation)
		return NULL;
	*ret_seq = &cmd->seq[ttt >> TTT_SLOT_SHIFT & TTT_SLOT_MASK];
	return (*ret_seq)->open && !(*ret_seq)->queued ? cmd : NULL;
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
	condition = check(conn, cmd, rx->seq);
	if (condition)
		scsi_command_condition(cmd, condition);
	conn->last_data_ms = loop_now_ms(conn->loop);
	counter_add(&conn->shard->stats.data_out_pdus, 1);
	if (!cmd->condition && !(cmd->resolicit && rx->seq == &cmd->unsolicited)) {
		rx->sink = SINK_TASK;
		rx->task_off = rx->pdu.word40;
	}
	return RX_GO;
}

void
data_out_end(struct conn *conn)
{
	struct rx *rx = &conn->rx;
	struct command *cmd = rx->cmd;
	struct data_seq *seq = rx->seq;
	bool unsolicited = seq == &cmd->unsolicited;

	seq->datasn = rx->pdu.word36 + 1;
	seq->got += rx->pdu.data_len;
	if (rx->sink == SINK_TASK && rx->pdu.word40 < cmd->need)
		cmd->got += min_of(rx->pdu.data_len, cmd->need - rx->pdu.word40);
	if (rx->pdu.final && seq->open) {
		seq->open = false;
		if (unsolicited)
			cmd->asked = cmd->got;
		else
			cmd->nseq--;
		if (!unsolicited && seq->got != seq->length)
			scsi_command_condition(cmd, ISCSI_COND_INCORRECT_AMOUNT);
	}
	scsi_command_progress(cmd);
}
