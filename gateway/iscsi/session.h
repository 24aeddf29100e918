/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions: who is logged in to what, and the command numbering.
 *
 * Threads: next, successor, end_* and the identity are under server->lock; the
 * rest is the loop's on which all its connections live.
 */
#ifndef LUNGATE_GATEWAY_ISCSI_SESSION_H
#define LUNGATE_GATEWAY_ISCSI_SESSION_H

#include "gateway/iscsi/command.h"
#include "gateway/iscsi/server.h"

enum fence_state { FENCE_NONE, FENCE_BEFORE, FENCE_QUEUED, FENCE_AFTER };

/* fence.c */
struct fence {
	enum fence_state state;
	struct command *cmd; /* BEFORE, QUEUED: the fenced response */
	struct conn *conn;   /* AFTER: where it went, with this StatSN */
	uint32_t statsn;
	uint32_t serial;
	uint64_t since_ms;
	struct command_queue held; /* responses that wait, in their order */
};

struct session {
	struct iscsi_server *server;
	struct shard *shard;
	struct iscsi_target *target; /* NULL: discovery; the reference is the connection's */
	struct scsi_nexus *nexus;
	struct conn *conns; /* by session_next; changes on its loop, under the lock */
	char initiator[ISCSI_NAME_MAX + 1];
	char alias[LOGIN_ALIAS_MAX + 1];
	char user[CHAP_NAME_MAX + 1]; /* CHAP account, or "" */
	uint8_t isid[6];
	uint16_t tsih;
	uint16_t cid; /* of the leading connection */
	uint16_t portal_group;
	struct params params;

	/* 4.2.2.1: the window is [expcmdsn, maxcmdsn] as last told */
	uint32_t expcmdsn, maxcmdsn;
	uint32_t last_ttt;
	unsigned outstanding; /* non-immediate commands without an answer */
	struct command *held; /* came before their turn, by CmdSN */
	struct fence fence;

	/* under server->lock */
	struct session *next, **prev;
	struct conn *successor; /* waits at its login for the end of this one */
	struct loop_msg end_msg;
	enum close_reason end_reason;
	bool end_posted, end_ran, zombie;
};

/** The login of conn is through and it lives on its final loop: make its session, or first wait for the
 *  session that it replaces (6.3.5).  Goes on in conn_enter_full() or conn_login_failed(). */
void session_admit(struct conn *conn);
/** conn closes while it waits in session_admit(). */
void session_cancel_wait(struct conn *conn);
/** All tasks of conn have ended, and it goes.  With the last one the session is out of the table, its successor goes
 *  on, and it is freed. */
void session_leave(struct conn *conn);
/** Has it a connection that is not closed? */
bool session_lives(const struct session *session);
/** Forget the commands of conn that wait for their turn. */
void session_unhold(struct conn *conn);
/** The command of this tag, on any connection. */
struct command *session_find_command(const struct session *session, uint32_t itt);
/** Any thread: end all sessions of a target. */
void session_end_all(struct iscsi_server *server, const struct iscsi_target *target,
		     enum close_reason reason);

/** login_ops.find_session */
int session_find_for_login(void *arg, struct login *login);

#define SESSION_ID_MAX 24
/** "TSIH-ISID" in hex: what administrators call it by. */
void session_id(const struct session *session, char ret[SESSION_ID_MAX]);

enum cmdsn_verdict { CMDSN_NOW, CMDSN_LATER, CMDSN_IGNORE };
/** What to do with a non-immediate command of this number, 4.2.2.1. */
enum cmdsn_verdict session_cmdsn(const struct session *session, uint32_t cmdsn);
/** MaxCmdSN to tell now; never goes back. */
uint32_t session_maxcmdsn(struct session *session, bool narrow);

/** A Target Transfer Tag with this number in its lowest four bits; used again after 2^28 others alone. */
static inline uint32_t
session_new_ttt(struct session *session, unsigned low)
{
	session->last_ttt = (session->last_ttt + 1) % 0x0fffffff;
	return session->last_ttt << 4 | low;
}

/** Serial number arithmetic of RFC 1982. */
static inline int32_t
serial_cmp(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

#endif
