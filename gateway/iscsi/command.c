/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pool of commands of a connection, and the lists that they are in.
 *
 * A command that is not free is in conn->active, at most in one queue, and in
 * the table of tags while its Initiator Task Tag is taken: until its last PDU
 * has a place in the send ring, since the initiator may use the tag again
 * from then on.
 *
 * Failure: no memory for another slab reads as a pool that is empty for now.
 */
#include "gateway/iscsi/command.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/iscsi/conn.h"

void
command_pool_init(struct conn *conn, unsigned max)
{
	conn->pool.max = min_of(max, COMMAND_SLABS_MAX * COMMAND_SLAB);
}

void
command_pool_fini(struct conn *conn)
{
	assert(!conn->active);
	for (unsigned i = 0; i < conn->pool.nslabs; i++)
		free(conn->pool.slab[i]);
	conn->pool.nslabs = 0;
	conn->pool.free = NULL;
	conn->pool.nfree = 0;
}

static bool
pool_grow(struct conn *conn)
{
	struct command_pool *pool = &conn->pool;
	struct command *slab;

	if (pool->nslabs * COMMAND_SLAB >= pool->max)
		return false;
	slab = calloc(COMMAND_SLAB, sizeof(*slab));
	if (!slab)
		return false;
	for (unsigned i = COMMAND_SLAB; i-- > 0;) {
		slab[i].home = conn;
		slab[i].next = pool->free;
		pool->free = &slab[i];
	}
	pool->nfree += COMMAND_SLAB;
	pool->slab[pool->nslabs++] = slab;
	return true;
}

bool
command_room(struct conn *conn)
{
	/* one for the request, one for a reject */
	return conn->pool.nfree >= 2 || pool_grow(conn);
}

/* What must be zero in a command's next life; tags, data and task are set by their users. */
static void
command_clear(struct command *cmd)
{
	cmd->hash_next = cmd->held_next = cmd->queue_next = cmd->queue_prev = NULL;
	cmd->queue = NULL;
	cmd->fill = NULL;
	cmd->opcode = cmd->flags = 0;
	cmd->immediate = cmd->hashed = cmd->windowed = cmd->held = cmd->delivered = cmd->skip =
		cmd->cold_reset = cmd->last_login = false;
	cmd->itt = cmd->ttt = ISCSI_TAG_NONE;
	cmd->cmdsn = cmd->fence_serial = 0;
	cmd->fenced = false;
	cmd->awaits = NULL;
	memset(cmd->lun, 0, sizeof(cmd->lun));
	cmd->blob = NULL;
	cmd->blob_len = 0;
	cmd->small_len = 0;
	cmd->response = 0;
	cmd->started = cmd->collecting = cmd->write = cmd->read = cmd->resolicit = false;
	cmd->condition = ISCSI_COND_NONE;
	cmd->edtl = cmd->need = cmd->got = cmd->asked = 0;
	cmd->r2tsn = cmd->datasn = 0;
	cmd->segment = cmd->data_ttt = cmd->data_acked = 0;
	cmd->base_sn = cmd->base_off = cmd->snack_tag = 0;
	cmd->keep = cmd->acked = false;
	cmd->refs = 0;
	cmd->kept_bytes = 0;
	cmd->again = NULL;
	cmd->again_rewind = cmd->again_status = false;
	cmd->unsolicited.open = false;
	cmd->sent = cmd->send_len = cmd->answer_bytes = 0;
}

struct command *
command_new(struct conn *conn)
{
	struct command_pool *pool = &conn->pool;
	struct command *cmd;

	if (!pool->free && !pool_grow(conn))
		return NULL;
	cmd = pool->free;
	pool->free = cmd->next;
	pool->nfree--;
	pool->used++;
	command_clear(cmd);
	cmd->conn = conn;
	cmd->state = COMMAND_RECEIVE;
	cmd->next = conn->active;
	cmd->prev = &conn->active;
	if (cmd->next)
		cmd->next->prev = &cmd->next;
	conn->active = cmd;
	return cmd;
}

void
command_drop_blob(struct command *cmd)
{
	if (!cmd->blob)
		return;
	cmd->conn->blob_bytes -= cmd->blob_len;
	free(cmd->blob);
	cmd->blob = NULL;
	cmd->blob_len = 0;
}

void
command_leave_window(struct command *cmd)
{
	struct session *session = cmd->conn->session;

	if (!cmd->windowed)
		return;
	cmd->windowed = false;
	assert(session && session->outstanding > 0);
	session->outstanding--;
}

void
command_free(struct command *cmd)
{
	struct conn *conn = cmd->conn, *home = cmd->home;

	assert(cmd->state != COMMAND_FREE && cmd->state != COMMAND_RUN && !cmd->held);
	command_dequeue(cmd);
	if (cmd->fenced)
		fence_forget(cmd);
	tmf_end_sessions(cmd);
	command_unhash(cmd);
	command_leave_window(cmd);
	command_drop_blob(cmd);
	if (cmd->started) {
		cmd->started = false;
		scsi_task_release(&cmd->task);
	}
	if (cmd->collecting) {
		cmd->collecting = false;
		conn->ncollect--;
		conn->collect_bytes -= cmd->need;
	}
	if (cmd->again) {
		struct command *again = cmd->again;

		cmd->again = NULL;
		recover_unref(again);
	}
	if (cmd->awaits)
		cmd->awaits->logout_by = NULL;
	conn->answer_bytes -= cmd->answer_bytes;
	if (conn->runq.head)
		conn_queue_turn(conn);
	if (cmd->immediate)
		conn->nimmediate--;
	/* all sequences are closed in the pool */
	for (unsigned i = 0; cmd->nseq; i++) {
		cmd->nseq -= cmd->seq[i].open;
		cmd->seq[i].open = false;
	}
	cmd->state = COMMAND_FREE;
	*cmd->prev = cmd->next;
	if (cmd->next)
		cmd->next->prev = cmd->prev;
	cmd->next = home->pool.free;
	home->pool.free = cmd;
	home->pool.nfree++;
	home->pool.used--;
	if (conn->rx.paused)
		rx_resume(conn);
	if (home != conn)
		conn_unpin(home);
}

/* -- tags ---------------------------------------------------------------- */

static unsigned
bucket(uint32_t itt)
{
	return (itt * 0x9e3779b1u) >> 24;
}

_Static_assert(ITT_BUCKETS == 256, "bucket() yields eight bits");

struct command *
command_find(struct conn *conn, uint32_t itt)
{
	struct command *cmd = conn->by_itt[bucket(itt)];

	while (cmd && cmd->itt != itt)
		cmd = cmd->hash_next;
	return cmd;
}

void
command_hash(struct conn *conn, struct command *cmd)
{
	struct command **head = &conn->by_itt[bucket(cmd->itt)];

	assert(!cmd->hashed);
	cmd->hash_next = *head;
	*head = cmd;
	cmd->hashed = true;
}

void
command_unhash(struct command *cmd)
{
	struct command **p;

	if (!cmd->hashed)
		return;
	for (p = &cmd->conn->by_itt[bucket(cmd->itt)]; *p != cmd; p = &(*p)->hash_next)
		;
	*p = cmd->hash_next;
	cmd->hashed = false;
}

/* -- queues -------------------------------------------------------------- */

void
command_enqueue(struct command_queue *queue, struct command *cmd)
{
	assert(!cmd->queue);
	cmd->queue = queue;
	cmd->queue_next = NULL;
	cmd->queue_prev = queue->tail;
	if (queue->tail)
		queue->tail->queue_next = cmd;
	else
		queue->head = cmd;
	queue->tail = cmd;
}

void
command_dequeue(struct command *cmd)
{
	struct command_queue *queue = cmd->queue;

	if (!queue)
		return;
	if (cmd->queue_prev)
		cmd->queue_prev->queue_next = cmd->queue_next;
	else
		queue->head = cmd->queue_next;
	if (cmd->queue_next)
		cmd->queue_next->queue_prev = cmd->queue_prev;
	else
		queue->tail = cmd->queue_prev;
	cmd->queue = NULL;
}
