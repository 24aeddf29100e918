/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One TCP connection: its life (conn.c), what comes in (rx.c), what goes out
 * (tx.c).
 *
 * Threads: all of a connection is the loop's on which it lives; while it moves nobody touches it.
 */
#ifndef LUNGATE_GATEWAY_ISCSI_CONN_H
#define LUNGATE_GATEWAY_ISCSI_CONN_H

#include <uv.h>

#include "gateway/iscsi/command.h"
#include "gateway/iscsi/pdu.h"
#include "gateway/iscsi/session.h"

#define CONN_MAGIC 0x636f6e6eu
#define RX_LOGIN_BUFFER 8192u
#define RX_BUFFER (128u << 10)
#define RX_BULK 16384u /* payloads from here on are worth reading past the buffer */
#define RX_BULK_TAIL 1024u
#define TX_SLOTS 128u /* a power of two */
#define TX_IOVS 256u
#define TX_DIGEST_BYTES (256u << 10)
#define BLOB_BUDGET (64u << 10) /* of answers in memory: over it nothing is read */
#define ITT_BUCKETS 256u
#define COMMANDS_SPARE 48u /* beside the window: immediate ones, answers on their way out */
#define IMMEDIATE_MAX 16u

enum conn_state {
	CONN_LOGIN,
	CONN_MOVING,  /* between two loops */
	CONN_WAITING, /* its session waits for the end of another */
	CONN_FULL,
	CONN_LOGOUT,  /* accepted: tasks end, the answer goes out, then it closes */
	CONN_LOST,    /* recovery level 2: the socket is closed, its tasks wait for another connection */
	CONN_DRAIN,   /* closes when its last words are sent */
	CONN_CLOSING, /* the socket is closed; what runs is awaited */
};

/* Has it acknowledged what was given before the fenced response? */
enum conn_fence {
	FENCE_PASSED,
	FENCE_TO_ASK, /* a ping is to be queued */
	FENCE_ASKED,
	FENCE_MARKED, /* fence_statsn is what it has to reach */
};

enum rx_step { RX_HEAD, RX_BEGIN, RX_PAYLOAD, RX_TAIL };
enum rx_go { RX_GO, RX_PAUSE };
enum rx_sink { SINK_DISCARD, SINK_TASK, SINK_TEXT };

struct rx {
	uint8_t *buf;
	uint32_t room, pos, end;
	enum rx_step step;
	struct pdu pdu;
	struct pdu_ahs ahs;
	uint8_t head[ISCSI_BHS_LEN];
	uint8_t ahs_bytes[ISCSI_AHS_MAX];
	struct pdu_limits limits;

	/* of the PDU that comes in */
	enum rx_sink sink;
	uint32_t left; /* payload still to come */
	uint32_t crc;
	struct command *cmd;  /* whose payload it is */
	struct data_seq *seq; /* the sequence of a Data-Out */
	uint32_t task_off;    /* SINK_TASK: where the next byte goes */
	uint8_t reject;       /* answer it with this reason at its end */
	bool ignore;
	struct textbuf text; /* SINK_TEXT */

	bool paused;  /* at RX_BEGIN: something must be freed first */
	bool resume;  /* it may have been */
	uint8_t bulk; /* PDUs until large payloads count as over */
};

struct tx_slot {
	uint8_t head[ISCSI_BHS_LEN + ISCSI_DIGEST_LEN];
	uint8_t head_len;
	uint8_t tail_len;
	uint8_t tail[3 + ISCSI_DIGEST_LEN];
	bool last;             /* the command is over when this is sent */
	bool again;            /* what a SNACK asked for: one of the command's refs */
	struct command *cmd;   /* whose data it is; may be NULL when there is none */
	const uint8_t *linear; /* data in one piece, or NULL: in the task's pages */
	uint32_t data_off, data_len;
};

struct tx {
	struct tx_slot slot[TX_SLOTS];
	unsigned first, n;
	uint32_t sent;  /* bytes of the first slot that are gone */
	uint32_t bytes; /* of all slots, those among them */
	bool blocked;  /* the socket takes nothing now */
	uint64_t progress_ms;
};

struct conn {
	uint32_t magic;
	enum conn_state state;
	struct iscsi_server *server;
	struct shard *shard;
	struct loop *loop;
	struct conn *next, **prev; /* shard->conns */
	int fd;
	uv_poll_t poll;
	int events;
	bool poll_open;           /* between uv_poll_init and the end of uv_close */
	unsigned pins;            /* messages and callbacks that will still come */
	struct loop_msg turn_msg; /* deferred: resume reading, send */
	bool turn_queued;
	struct loop_msg move_msg, wait_msg;
	struct shard *move_to;
	struct session *waiting_for; /* under server->lock */
	bool wait_lost;              /* under server->lock: another one took the place */
	struct loop_timer timer;
	enum close_reason reason; /* once it closes, or of CONN_DRAIN */
	char detail[224];         /* for the log line */
	char peer[ADDRESS_MAX], local[ADDRESS_MAX];
	char portal[ADDRESS_MAX]; /* as bound; it may be gone */
	uint16_t portal_group;
	uint64_t since_ms;
	int64_t since_unix;

	struct login *login;          /* NULL in the full feature phase */
	struct command *login_answer; /* the last one, held back until the session stands */
	struct iscsi_target *target;  /* a reference */
	struct session *session;
	uint16_t cid;
	struct params params;         /* of this connection; the session-wide ones are its session's too */
	struct shard *join_shard;     /* where the session lives that the login wants to join */
	struct conn *session_next;    /* session->conns */
	struct conn *heir;            /* of the same CID: waits at its login for the end of this one (6.3.4) */
	struct conn *heir_of;
	struct command *logout_by;    /* on another connection: wants to know when this one has ended */
	bool replaced;                /* CONN_LOST: its CID may be another one's */
	uint64_t lost_until_ms;
	bool ends_session;            /* CONN_LOGOUT: and all of the session with it */

	/* in effect */
	uint32_t max_send, max_burst, first_burst;
	unsigned max_r2t;
	bool initial_r2t, immediate_data;
	bool header_digest, data_digest;
	uint8_t recovery; /* ErrorRecoveryLevel */
	uint32_t statsn;
	uint32_t acked; /* the ExpStatSN of the initiator */
	enum conn_fence fence;
	uint32_t fence_statsn;

	struct rx rx;
	struct tx tx;

	/* commands (command.c) */
	struct command_pool pool;
	struct command *active; /* all that are not free */
	struct command *by_itt[ITT_BUCKETS];
	struct command_queue sendq, parkq, runq;
	struct command_queue keptq; /* by StatSN: not acknowledged */
	unsigned nkept;
	uint64_t kept_bytes;
	uint32_t unacked; /* the oldest StatSN at the last tick */
	unsigned nrunning; /* with scsi */
	bool nexus_freeing;
	unsigned nimmediate;
	unsigned ncollect; /* wait for Data-Out that was asked for or announced */
	uint64_t collect_bytes;
	uint64_t answer_bytes; /* Data-In of commands that run or whose answer is not sent */
	uint64_t blob_bytes;
	struct arena_waiter arena_waiter;
	bool arena_waiting;
	bool start_blocked; /* the command at rx.cmd waits for memory, reading stops */

	/* text.c */
	struct textbuf text_in, text_out;
	uint32_t text_itt, text_ttt;
	bool text_open;

	/* nop.c and time-outs */
	uint64_t last_rx_ms, last_data_ms, last_command_ms;
	uint64_t asked_again_ms; /* for Data-Out that did not come */
	uint64_t nop_sent_ms; /* 0: none is out */
	uint32_t nop_ttt;
	bool logout_asked;
	uint64_t drop_at_ms; /* logout_asked: when the grace is over */
	enum close_reason drop_reason;
	unsigned drop_id; /* of the iscsi_sessions_end() that asked */
	bool lingering; /* CONN_DRAIN: our side is shut down, the end of his is awaited */
	struct command *logout_cmd;

	/* crowd.c */
	struct conn *half_next, *half_prev; /* shard->half_first, by age */
	bool half_open, placed;

	counter_t pdus_in, pdus_out, bytes_in, bytes_out, commands, errors;
};

/* -- conn.c -- */
/** On the loop of shard; takes fd.  The place in server->nconns is the caller's until this succeeds. */
int conn_new(struct shard *shard, int fd, const char *peer, const char *portal, uint16_t portal_group);
/** From any state, any number of times; memory goes when nothing refers to it any more. */
void conn_close(struct conn *conn, enum close_reason reason);
/** With words for the log. */
void conn_close_detail(struct conn *conn, enum close_reason reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** Send what is queued, then close. */
void conn_drain(struct conn *conn, enum close_reason reason);
/** Go on with login_phase_moved() on another loop. */
void conn_move(struct conn *conn, struct shard *shard);
/** Let the nexus go: its tasks end; pinned until then. */
void conn_free_nexus(struct conn *conn);
/** It is in use, or will be: not closed. */
static inline bool
conn_lives(const struct conn *conn)
{
	return conn->state != CONN_CLOSING;
}
void conn_pin(struct conn *conn);
void conn_unpin(struct conn *conn);
/** Have the deferred turn run in this iteration. */
void conn_queue_turn(struct conn *conn);
void conn_update_poll(struct conn *conn);
/** The login phase is over: buffers, parameters, the held-back answer. */
void conn_enter_full(struct conn *conn, struct session *session);
void conn_login_failed(struct conn *conn, int err);
/** Reject the PDU whose header is given, 11.17. */
void conn_reject(struct conn *conn, uint8_t reason, const uint8_t head[ISCSI_BHS_LEN]);
/** Ask the initiator to log out (11.9.1 event 1), or close when there is nobody to ask.  After grace_ms it is
 * dropped. */
void conn_ask_logout(struct conn *conn, enum close_reason reason, unsigned grace_ms);
/** Say that the session ends (event 3), and end it. */
void conn_drop(struct conn *conn, enum close_reason reason);
/** How often conn_tick() runs. */
unsigned conn_tick_ms(const struct iscsi_server *server);

/* -- crowd.c: how many there may be -- */
/** A connection without a login; on its shard's loop.  May close the oldest such one. */
void crowd_add(struct conn *conn);
/** It counts as one no more: it takes a place, or closes. */
void crowd_remove(struct conn *conn);
/** Its login is through: 0, or -EUSERS when all places are taken. */
int crowd_take_place(struct conn *conn);
/** Under server->lock, at its end. */
void crowd_give_place(struct conn *conn);

/* -- rx.c -- */
int rx_init(struct rx *rx, uint32_t max_data);
void rx_fini(struct rx *rx);
/** Room for the full feature phase; what is in the buffer stays. */
int rx_grow(struct conn *conn);
void rx_readable(struct conn *conn);
/** Go on with what is in the buffer. */
void rx_parse(struct conn *conn);
/** Something was freed: look again in this iteration's turn. */
void rx_resume(struct conn *conn);

/* -- rx_ops.c: what each opcode means -- */
/** The header is complete and checked: choose the sink.  RX_PAUSE: call again later. */
enum rx_go rx_begin(struct conn *conn);
/** Payload and tail are in. */
void rx_end(struct conn *conn);
/** The data digest is wrong. */
void rx_digest_error(struct conn *conn);
/** A command for the request that comes in, with its tags; NULL: it is to be ignored or rejected, as rx now
 * says. */
struct command *rx_take(struct conn *conn);
/** cmd only stands for its CmdSN, which counts as received. */
void rx_skip(struct conn *conn, struct command *cmd);

/* -- scsi_command.c: a SCSI command up to its answer -- */
enum rx_go scsi_command_begin(struct conn *conn);
/** Its turn by CmdSN. */
void scsi_command_deliver(struct command *cmd);
/** Something it waited for has come. */
void scsi_command_progress(struct command *cmd);
/** It ends with a condition of 11.4.7.2, once the initiator has sent what it announced. */
void scsi_command_condition(struct command *cmd, enum iscsi_condition condition);
/** A task that is not with scsi ends without an answer. */
void scsi_command_drop(struct command *cmd);
/** Memory may be there: start what is parked. */
void scsi_command_unpark(struct conn *conn);
/** Answers were sent: run what waited for that. */
void scsi_command_run_queued(struct conn *conn);

/* -- data_out.c: R2Ts and what comes of them -- */
enum rx_go data_out_begin(struct conn *conn);
void data_out_end(struct conn *conn);
/** Its data digest is wrong. */
void data_out_bad(struct conn *conn);
/** Ask for as much as may be asked for. */
void data_out_solicit(struct command *cmd);
/** R2Ts that are not sent yet never will be. */
void data_out_cancel(struct command *cmd);

/** SNACK: R2Ts [from, from + n) once more, 0 = all; false when one of them is not open. */
bool data_out_ask_again(struct command *cmd, uint32_t from, uint32_t n);
/** What was asked for a while ago and did not come is asked for again. */
void data_out_tick(struct conn *conn, uint64_t now);

/* -- data_in.c: Data-In, status -- */
command_fill_fn data_in_fill;
/** Recovery level 1: its Data-In counts as sent up to this DataSN only; the rest goes in segments of the length that
 * holds now. */
void data_in_rewind(struct conn *conn, struct command *cmd, uint32_t datasn);
/** How many Data-In PDUs there will be, now that its segments have a length. */
uint32_t data_in_pdus(const struct command *cmd);
/** Has it data at this DataSN, or behind? */
bool data_in_left(const struct command *cmd, uint32_t datasn);
/** Recovery level 1: the Data-In PDU of this DataSN into a slot. */
void data_in_put(struct conn *conn, struct command *cmd, uint32_t datasn, struct tx_slot *slot);

/* -- reassign.c: tasks that outlive their connection -- */
/** Close the socket and keep the tasks; false where that was not agreed. */
bool conn_lose(struct conn *conn, enum close_reason reason);
void tmf_reassign(struct conn *conn, struct command *tmf);
/** For tmf.c and reassign.c. */
/** A cold reset that is done, once: the effect is the target's, and not bound to a response. */
void tmf_end_sessions(struct command *cmd);
void tmf_respond(struct command *cmd, enum iscsi_tmf_response response);
/** Where its Data-Out stands no R2T is out any more: ask for what is missing. */
void data_out_restart(struct command *cmd);
/** Send the answer from the first DataSN on that is not acknowledged. */
void data_in_restart(struct conn *conn, struct command *cmd);
/** The last step of the socket. */
void conn_shut(struct conn *conn, enum close_reason reason);

/* -- recover.c: recovery within the connection -- */
/** The last PDU of its command is to be sent. */
void recover_remember(struct tx_slot *slot);
/** And is sent. */
void recover_keep(struct conn *conn, struct command *cmd);
/** The initiator has all before this StatSN. */
void recover_ack(struct conn *conn, uint32_t expstatsn);
/** Memory is short: was there any to give? */
bool recover_drop_data(struct conn *conn);
void recover_unref(struct command *cmd);
void recover_snack(struct conn *conn);
void recover_tick(struct conn *conn);
/** The command of this tag whose answer is not acknowledged. */
struct command *recover_find(struct conn *conn, uint32_t itt);
/** It is kept no more, but not over. */
void recover_take_out(struct command *cmd);
/** The connection closes: its commands are about to be freed in any order. */
void recover_end(struct conn *conn);

/* -- fence.c: responses that order others -- */
/** Queue the answer to a SCSI command, or that of task management, when its turn among all of the session has come. */
void fence_queue(struct command *cmd, command_fill_fn *fill);
/** A fenced response has got its StatSN. */
void fence_sent(struct conn *conn, struct command *cmd, uint32_t statsn);
/** A ping with this number gets its place in the ring. */
void fence_mark(struct conn *conn, uint32_t serial);
/** A connection has acknowledged something: go on, if that was it. */
void fence_check(struct session *session);
/** A fenced response will not be given. */
void fence_forget(struct command *cmd);
/** conn is not in FULL any more: send what waits for others, or leave it unqueued. */
void fence_leave(struct conn *conn, bool send);
/** May close conn. */
void fence_tick(struct conn *conn, uint64_t now);

/* -- tx.c -- */
void tx_queue(struct conn *conn, struct command *cmd, command_fill_fn *fill);
/** NULL when all slots are taken. */
struct tx_slot *tx_slot(struct conn *conn);
/** The slot's header, data place and length are set: digests, padding, into the ring. */
void tx_commit(struct conn *conn, struct tx_slot *slot);
void tx_flush(struct conn *conn);
void tx_drop(struct conn *conn);
static inline bool
tx_empty(const struct conn *conn)
{
	return !conn->tx.n && !conn->sendq.head;
}
/** The numbers for a response; takes a StatSN when status. */
struct pdu_numbers tx_numbers(struct conn *conn, bool status);

/* -- login_phase.c -- */
int login_phase_init(struct conn *conn);
void login_phase_request(struct conn *conn);
/** Queue a Login Response with this status and close. */
void login_phase_fail(struct conn *conn, uint16_t status);
/** Queue the answer that was held back until the session stood, and forget the login. */
void login_phase_finish(struct conn *conn);
/** On the loop where the connection shall live. */
void login_phase_moved(struct conn *conn);

/* -- text.c, nop.c, tmf.c, logout.c, async.c -- */
void text_request(struct conn *conn, struct command *cmd);
void text_request_fini(struct conn *conn);
void nop_out(struct conn *conn, struct command *cmd);
/** Answer to a NOP-In of ours. */
void nop_answered(struct conn *conn, uint32_t ttt);
/** Ask for a sign of life. */
void nop_ping(struct conn *conn);
/** Ask for an acknowledgement, with the number of a fence or 0; false when there was no command for it. */
bool nop_ask(struct conn *conn, uint32_t fence_serial);
void tmf_request(struct conn *conn, struct command *cmd);
void logout_request(struct conn *conn, struct command *cmd);
/** Tasks may have ended: answer. */
void logout_progress(struct conn *conn);
/** conn, which another one has logged out, has ended. */
void logout_other_ended(struct conn *conn);
/** To the session, if this is the connection that it is told by. */
void async_luns_changed(struct conn *conn);
void async_send(struct conn *conn, enum iscsi_async_event event, uint16_t p1, uint16_t p2, uint16_t p3);
/** What time has brought: time-outs, pings. */
void conn_tick(struct conn *conn);

#endif
