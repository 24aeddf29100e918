/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ending sessions from outside.
 *
 * One visit to every loop asks the connections that are meant to log out and marks them; the rest is the
 * connections' own affair (async.c, conn_tick()).  Then the loops are asked again until no marked one has its
 * socket any more.  So this ends: a connection that was asked is dropped after the grace, drained or not.
 *
 * Threads: the caller's, who may block; match() runs on the loops.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/iscsi/conn.h"

#define LOOK_AGAIN_MS 20

struct kick {
	struct shard *shard;
	bool (*match)(const struct conn *conn, const void *arg);
	const void *arg;
	enum close_reason reason;
	unsigned grace_ms, id;
	size_t n;
};

/* Sessions count once, whatever the number of their connections; of a portal it is the connections that count. */
static bool
is_counted(const struct conn *conn, const struct kick *kick)
{
	if (kick->reason == CLOSE_PORTAL_REMOVED || !conn->session)
		return false;
	for (const struct conn *c = conn->session->conns; c; c = c->session_next)
		if (c->drop_id == kick->id)
			return true;
	return false;
}

static int
ask_shard(void *arg)
{
	struct kick *kick = arg;
	struct conn *next;

	for (struct conn *conn = kick->shard->conns; conn; conn = next) {
		next = conn->next;
		if (conn->state == CONN_CLOSING || conn->state == CONN_DRAIN || !kick->match(conn, kick->arg))
			continue;
		kick->n += !is_counted(conn, kick);
		conn->drop_id = kick->id;
		conn_ask_logout(conn, kick->reason, kick->grace_ms);
	}
	return 0;
}

static int
count_shard(void *arg)
{
	struct kick *kick = arg;

	for (const struct conn *conn = kick->shard->conns; conn; conn = conn->next)
		kick->n += conn->drop_id == kick->id && conn->state != CONN_CLOSING;
	return 0;
}

static size_t
each_shard(struct iscsi_server *server, int (*fn)(void *arg), struct kick *kick)
{
	kick->n = 0;
	for (unsigned i = 0; i < server->nshards; i++) {
		kick->shard = &server->shards[i];
		(void)loop_call(kick->shard->loop, fn, kick); /* returns 0 */
	}
	return kick->n;
}

size_t
kick_all(struct iscsi_server *server, bool (*match)(const struct conn *conn, const void *arg),
	 const void *arg, enum close_reason reason, unsigned grace_ms)
{
	struct kick kick = {.match = match, .arg = arg, .reason = reason, .grace_ms = grace_ms};
	size_t n;

	do {
		kick.id = atomic_fetch_add(&server->last_drop_id, 1) + 1;
	} while (!kick.id); /* 0 is nobody's */
	n = each_shard(server, ask_shard, &kick);
	while (each_shard(server, count_shard, &kick))
		(void)server_await(server, NULL, 0,
				   LOOK_AGAIN_MS); /* no connection left at all, or some time */
	return n;
}

/* -- by what an administrator sees --------------------------------------- */

static bool
is_meant(const struct conn *conn, const void *arg)
{
	const struct iscsi_who *who = arg;
	const struct session *session = conn->session;
	char id[SESSION_ID_MAX];

	/* what has no session yet can be meant by its portal alone */
	if (!session)
		return who->portal && !who->id && !who->initiator && !who->target &&
		       !strcmp(conn->portal, who->portal);
	session_id(session, id);
	return (!who->id || !strcasecmp(who->id, id)) &&
	       (!who->initiator || !strcmp(who->initiator, session->initiator)) &&
	       (!who->target || (session->target && !strcmp(who->target, session->target->name))) &&
	       (!who->portal || !strcmp(who->portal, conn->portal));
}

size_t
iscsi_sessions_end(struct iscsi_server *server, const struct iscsi_who *who, unsigned grace_ms)
{
	char initiator[ISCSI_NAME_MAX + 1], target[ISCSI_NAME_MAX + 1];
	struct iscsi_who lower = *who;

	if (who->initiator) {
		if (login_name(who->initiator, initiator) < 0)
			return 0;
		lower.initiator = initiator;
	}
	if (who->target) {
		if (login_name(who->target, target) < 0)
			return 0;
		lower.target = target;
	}
	return kick_all(server, is_meant, &lower, who->portal ? CLOSE_PORTAL_REMOVED : CLOSE_KICKED,
			grace_ms);
}
