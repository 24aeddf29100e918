/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands: every request with an Initiator Task Tag, and everything that waits
 * to be sent.  From a pool of its connection; in the steady state
 * nothing is allocated.
 *
 * Threads: the connection's loop.
 */
#ifndef LUNGATE_GATEWAY_ISCSI_COMMAND_H
#define LUNGATE_GATEWAY_ISCSI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/iscsi/iscsi_fmt.h"
#include "gateway/iscsi/status.h"
#include "gateway/scsi/scsi.h"

struct conn;
struct command;

#define R2T_MAX 16u
#define COMMAND_SLAB 8u
#define COMMAND_SLABS_MAX 1088u /* the window, twice with recovery, and some */
#define COMMAND_SMALL (2 + SCSI_SENSE_MAX)

enum command_state {
	COMMAND_FREE,
	COMMAND_RECEIVE, /* its PDU comes in */
	COMMAND_WAIT,    /* for its CmdSN (held), for memory (in parkq), for Data-Out */
	COMMAND_RUN,     /* with scsi */
	COMMAND_SEND,    /* its answer is queued or on its way */
	COMMAND_KEPT,    /* its answer is sent, and not acknowledged (recover.c) */
};

/** One sequence of Data-Out PDUs: the unsolicited one, or what an R2T asked for. */
struct data_seq {
	bool open;   /* its F bit has not come */
	bool queued; /* the R2T is not sent yet */
	bool again;  /* it is to be sent once more */
	bool broken; /* something is missing: the rest is let go, and asked for again */
	uint32_t ttt, r2tsn;
	uint32_t offset, length;
	uint32_t got;
	uint32_t datasn; /* the next one */
};

struct command_queue {
	struct command *head, *tail;
};

/** Put PDUs of the command into slots; true when there is no more to put. */
typedef bool command_fill_fn(struct conn *conn, struct command *cmd);

struct command {
	struct conn *conn; /* its allegiance */
	struct conn *home; /* whose pool it is from; kept alive while it is another's */
	struct command *next, **prev; /* conn->active; next: the free list */
	struct command *hash_next, *held_next;
	struct command *queue_next, *queue_prev;
	struct command_queue *queue; /* which one it is in */
	command_fill_fn *fill;
	enum command_state state;
	uint8_t opcode;
	uint8_t flags;
	bool immediate;
	bool hashed;
	bool windowed;  /* counts in session->outstanding */
	bool held;      /* in session->held */
	bool delivered; /* its turn by CmdSN has come */
	bool skip;      /* aborted before it came: nothing to do when its turn comes */
	bool fenced;    /* its response is one that others wait for (fence.c) */
	uint32_t fence_serial; /* a ping of fence.c's, or 0 */
	uint32_t itt, cmdsn, ttt;
	struct conn *awaits; /* a logout: the other connection whose end it waits for */
	uint8_t lun[8];
	uint8_t bhs[ISCSI_BHS_LEN];
	uint8_t *blob; /* data of NOP, text: malloc'd */
	uint32_t blob_len;
	uint8_t small[COMMAND_SMALL]; /* sense, rejected header */
	uint16_t small_len;
	uint16_t response; /* login, TMF, logout, reject, async: the code */
	bool cold_reset;   /* it is done: the target's sessions end when this is answered, or never will be */
	bool last_login;   /* this Login Response opens the full feature phase */

	/* recover.c */
	bool keep;  /* its last PDU has a StatSN: COMMAND_KEPT comes next */
	bool acked; /* freed when nothing refers to it */
	uint16_t refs;
	uint32_t statsn, kept_len, kept_bytes;
	const uint8_t *kept_data;
	struct command *again; /* a SNACK: the command that it refers to, or NULL */
	uint32_t again_from, again_to;
	bool again_rewind; /* R-Data: the numbers are made when its turn to send comes */
	bool again_status; /* the response follows the data */

	/* SCSI */
	bool started;    /* scsi_task_start has succeeded: release it */
	bool collecting; /* counts in conn->ncollect */
	bool write, read;
	bool resolicit; /* what came before there was memory was let go: ask for all of it */
	enum iscsi_condition condition;
	uint32_t edtl;
	uint32_t need;  /* Data-Out bytes that the task takes */
	uint32_t got;   /* of them, received */
	uint32_t asked; /* up to here: received, unsolicited or asked for */
	uint32_t r2tsn, datasn;
	uint32_t segment;    /* at recovery level 1: the length of its Data-In PDUs, from base_sn on */
	uint32_t base_sn, base_off; /* this DataSN begins at this byte */
	uint32_t data_ttt;   /* by which its Data-In is acknowledged */
	uint32_t data_acked; /* DataSN */
	uint32_t snack_tag;  /* 11.16.5: of the last R-Data SNACK, or 0 */
	struct data_seq unsolicited;
	struct data_seq seq[R2T_MAX];
	unsigned nseq;         /* open ones */
	uint32_t answer_bytes; /* its part of conn->answer_bytes */
	uint32_t sent;         /* Data-In in slots */
	uint32_t send_len;
	union {
		struct scsi_task task;
		struct scsi_tmf_req tmf;
	};
};

/* The pool: slabs, made when first needed. */
struct command_pool {
	struct command *slab[COMMAND_SLABS_MAX];
	unsigned nslabs, max; /* commands */
	struct command *free;
	unsigned nfree; /* in the list */
	unsigned used;
};
void command_pool_init(struct conn *conn, unsigned max);
void command_pool_fini(struct conn *conn);

/** NULL when max are in use or memory is short. */
struct command *command_new(struct conn *conn);
/** May the next PDU be begun: are there commands for it and its answer? */
bool command_room(struct conn *conn);
/** Out of every list; memory and pages go back. */
void command_free(struct command *cmd);

struct command *command_find(struct conn *conn, uint32_t itt);
void command_hash(struct conn *conn, struct command *cmd);
void command_unhash(struct command *cmd);
void command_dequeue(struct command *cmd);
void command_enqueue(struct command_queue *queue, struct command *cmd);
/** Give the data up that it carries for its answer. */
void command_drop_blob(struct command *cmd);
/** No answer will come, or it is in the slots: the place in the window is free again. */
void command_leave_window(struct command *cmd);

/* -- scsi_command.c, data_out.c, data_in.c: see conn.h -- */

#endif
