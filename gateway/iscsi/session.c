/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions.  A session has connections, up to the MaxConnections that was agreed, and lives and dies with them,
 * on one loop: so commands of all of them share one numbering without a lock.
 *
 * Reinstatement (RFC 7143 6.3.5): a login with the initiator name, ISID,
 * target and portal group of a session that is there first ends that session.  The connection
 * waits (CONN_WAITING) as the old session's successor; when the last task of
 * the old one has ended and it is out of the table, the successor goes on.  So no write of
 * the old session takes effect after the new one's login response.
 *
 * A login with the TSIH of a session joins it.  When its CID is there already (6.3.4), that connection ends first; the
 * new one is of the session from then on, and waits (CONN_WAITING) as its heir.  Where MaxConnections is 1 nothing is
 * left that it could join, so the session is replaced, as above, but keeps its TSIH and the negotiated values.
 *
 * Invariants: under the lock, at most one session a (initiator, ISID, target, portal group);
 * waiting_for and successor point at each other or are both NULL.
 *
 * Failure: no memory or no nexus fails the login.
 */
#include "gateway/iscsi/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/iscsi/conn.h"

/* -- command numbers ----------------------------------------------------- */

enum cmdsn_verdict
session_cmdsn(const struct session *session, uint32_t cmdsn)
{
	if (cmdsn == session->expcmdsn && serial_cmp(cmdsn, session->maxcmdsn) <= 0)
		return CMDSN_NOW;
	if (serial_cmp(cmdsn, session->expcmdsn) < 0 || serial_cmp(cmdsn, session->maxcmdsn) > 0)
		return CMDSN_IGNORE;
	for (const struct command *held = session->held; held; held = held->held_next) {
		if (held->cmdsn == cmdsn)
			return CMDSN_IGNORE;
	}
	return CMDSN_LATER;
}

uint32_t
session_maxcmdsn(struct session *session, bool narrow)
{
	unsigned depth = session->server->limits.queue_depth;
	uint32_t max;

	if (narrow)
		return session->maxcmdsn;
	max = session->expcmdsn + (depth > session->outstanding ? depth - session->outstanding : 0) - 1;
	if (serial_cmp(max, session->maxcmdsn) > 0)
		session->maxcmdsn = max;
	return session->maxcmdsn;
}

void
session_unhold(struct conn *conn)
{
	struct command **p = &conn->session->held, *cmd;

	while ((cmd = *p)) {
		if (cmd->conn != conn) {
			p = &cmd->held_next;
			continue;
		}
		*p = cmd->held_next;
		cmd->held = false;
	}
}

struct command *
session_find_command(const struct session *session, uint32_t itt)
{
	for (struct conn *conn = session->conns; conn; conn = conn->session_next) {
		struct command *cmd = command_find(conn, itt);

		if (cmd)
			return cmd;
	}
	return NULL;
}

/* -- the table ----------------------------------------------------------- */

static bool
same_nexus(const struct session *session, const struct login *login, const struct iscsi_target *target)
{
	return session->target == target && session->portal_group == login->portal_group &&
	       !memcmp(session->isid, login->isid, sizeof(session->isid)) &&
	       !strcmp(session->initiator, login->initiator);
}

static struct session *
find_same(struct iscsi_server *server, const struct login *login, const struct iscsi_target *target)
{
	for (struct session *s = server->sessions; s; s = s->next) {
		/* discovery sessions stand beside each other */
		if (target && same_nexus(s, login, target))
			return s;
	}
	return NULL;
}

static struct session *
find_tsih(struct iscsi_server *server, uint16_t tsih)
{
	for (struct session *s = server->sessions; s; s = s->next) {
		if (s->tsih == tsih)
			return s;
	}
	return NULL;
}

/* Can there be connections beside the first, or after it? */
static bool
may_join(const struct session *session)
{
	return session->params.active[PARAM_MAX_CONNECTIONS] > 1 ||
	       session->params.active[PARAM_ERROR_RECOVERY_LEVEL] == 2;
}

int
session_find_for_login(void *arg, struct login *login)
{
	struct conn *conn = arg;
	struct iscsi_server *server = conn->server;
	struct session *session;
	int rc = 0;

	pthread_mutex_lock(&server->lock);
	session = find_tsih(server, login->tsih);
	if (!session || !session->target || !same_nexus(session, login, conn->target)) {
		rc = -ESRCH;
	} else if (!may_join(session) && session->cid != login->cid) {
		rc = -EUSERS;
	} else {
		conn->join_shard = may_join(session) ? session->shard : NULL;
		for (int i = 0; i < PARAM_COUNT; i++) {
			if (param_table[i].where & PARAM_SESSION_WIDE)
				login->params.active[i] = session->params.active[i];
		}
	}
	pthread_mutex_unlock(&server->lock);
	return rc;
}

/* Under the lock.  0 when all are taken. */
static uint16_t
new_tsih(struct iscsi_server *server)
{
	for (unsigned i = 0; i < UINT16_MAX; i++) {
		uint16_t tsih = ++server->last_tsih;

		if (tsih && !find_tsih(server, tsih))
			return tsih;
	}
	return 0;
}

static void
on_end(struct loop_msg *msg)
{
	struct session *session = container_of(msg, struct session, end_msg);
	struct iscsi_server *server = session->server;
	bool zombie;

	pthread_mutex_lock(&server->lock);
	session->end_ran = true;
	zombie = session->zombie;
	pthread_mutex_unlock(&server->lock);
	if (zombie) {
		free(session);
		return;
	}
	for (struct conn *conn = session->conns; conn; conn = conn->session_next)
		conn_close(conn, session->end_reason);
}

/* Under server->lock, any thread: have it closed. */
static void
session_end(struct session *session, enum close_reason reason)
{
	if (session->end_posted)
		return;
	session->end_posted = true;
	session->end_reason = reason;
	session->end_msg.fn = on_end;
	loop_post(session->shard->loop, &session->end_msg);
}

void
session_end_all(struct iscsi_server *server, const struct iscsi_target *target, enum close_reason reason)
{
	pthread_mutex_lock(&server->lock);
	for (struct session *s = server->sessions; s; s = s->next) {
		if (s->target == target)
			session_end(s, reason);
	}
	pthread_mutex_unlock(&server->lock);
}

/* Under the lock. */
static void
attach(struct session *session, struct conn *conn)
{
	conn->session = session;
	conn->cid = conn->login->cid;
	conn->session_next = session->conns;
	session->conns = conn;
}

static void
detach(struct session *session, struct conn *conn)
{
	struct conn **p = &session->conns;

	while (*p != conn)
		p = &(*p)->session_next;
	*p = conn->session_next;
	if (conn->heir) {
		conn->heir->heir_of = NULL;
		loop_post(conn->loop, &conn->heir->wait_msg);
	}
}

void
session_leave(struct conn *conn)
{
	struct session *session = conn->session;
	struct iscsi_server *server = session->server;
	struct conn *successor;
	bool last;

	pthread_mutex_lock(&server->lock);
	detach(session, conn);
	if (session->conns) {
		pthread_mutex_unlock(&server->lock);
		return;
	}
	assert(!session->nexus && !session->held && !session->fence.held.head);
	*session->prev = session->next;
	if (session->next)
		session->next->prev = session->prev;
	successor = session->successor;
	if (successor) {
		successor->waiting_for = NULL;
		loop_post(successor->loop, &successor->wait_msg);
	}
	/* a message that is on its way frees it then */
	session->zombie = session->end_posted && !session->end_ran;
	last = !session->zombie;
	pthread_mutex_unlock(&server->lock);
	if (last)
		free(session);
}

/* -- admission ----------------------------------------------------------- */

/* Under the lock: conn takes its place behind `old`; whoever stood there has lost it. */
static void
wait_for(struct conn *conn, struct session *old)
{
	struct conn *other = old->successor;

	if (other) {
		other->waiting_for = NULL;
		other->wait_lost = true;
		loop_post(other->loop, &other->wait_msg);
	}
	old->successor = conn;
	conn->waiting_for = old;
	conn->state = CONN_WAITING;
	conn_pin(conn);
	session_end(old, CLOSE_REINSTATED);
}

static void
on_wait_over(struct loop_msg *msg)
{
	struct conn *conn = container_of(msg, struct conn, wait_msg);

	if (conn->state == CONN_WAITING) {
		conn->state = CONN_LOGIN;
		if (conn->session)
			conn_enter_full(conn, conn->session);
		else if (conn->wait_lost)
			conn_login_failed(conn, -EAGAIN);
		else
			session_admit(conn);
	}
	conn_unpin(conn);
}

void
session_cancel_wait(struct conn *conn)
{
	struct iscsi_server *server = conn->server;
	bool cancelled = false;

	pthread_mutex_lock(&server->lock);
	if (conn->waiting_for) {
		conn->waiting_for->successor = NULL;
		conn->waiting_for = NULL;
		cancelled = true;
	} else if (conn->heir_of) {
		conn->heir_of->heir = NULL;
		conn->heir_of = NULL;
		cancelled = true;
	}
	pthread_mutex_unlock(&server->lock);
	/* otherwise the message is on its way, and unpins */
	if (cancelled)
		conn_unpin(conn);
}

static struct session *
session_new(struct conn *conn)
{
	const struct login *login = conn->login;
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->server = conn->server;
	session->shard = conn->shard;
	session->target = conn->target;
	memcpy(session->initiator, login->initiator, sizeof(session->initiator));
	memcpy(session->alias, login->alias, sizeof(session->alias));
	memcpy(session->user, login->user, sizeof(session->user));
	memcpy(session->isid, login->isid, sizeof(session->isid));
	session->cid = login->cid;
	session->portal_group = login->portal_group;
	session->params = login->params;
	/* logins are immediate: their CmdSN is that of the first command */
	session->expcmdsn = login->cmdsn;
	session->maxcmdsn = login->cmdsn + conn->server->limits.queue_depth - 1;
	return session;
}

/* Under the lock: 0 = in the table, 1 = waits, negative. */
static int
enter(struct conn *conn, struct session *session)
{
	struct iscsi_server *server = conn->server;
	struct session *old;

	if (atomic_load(&server->stopping))
		return LG_ESTOPPING;
	if (conn->target && conn->target->removed)
		return -ENODEV;
	/* it may have changed since the login found it */
	if (conn->target && !portal_group_leads(conn->target, conn->portal_group))
		return -ENOENT;
	old = find_same(server, conn->login, conn->target);
	if (old) {
		wait_for(conn, old);
		return 1;
	}
	/* a connection that was reinstated keeps its session's handle */
	session->tsih = conn->login->tsih && !find_tsih(server, conn->login->tsih) ? conn->login->tsih
										   : new_tsih(server);
	if (!session->tsih)
		return -ENOMEM;
	session->next = server->sessions;
	session->prev = &server->sessions;
	if (session->next)
		session->next->prev = &session->next;
	server->sessions = session;
	attach(session, conn);
	return 0;
}

/* -- further connections -------------------------------------------------- */

bool
session_lives(const struct session *session)
{
	for (const struct conn *conn = session->conns; conn; conn = conn->session_next) {
		if (conn_lives(conn))
			return true;
	}
	return false;
}

/* Under the lock: conn becomes one of the session.  0, 1 = once the connection of its CID has ended, negative. */
static int
join(struct conn *conn, struct session *session, struct conn **ret_lose)
{
	struct conn *same = NULL;
	unsigned n = 0;

	/* it may have changed since the login found it */
	if (session->shard != conn->shard || !session->nexus || !session_lives(session) ||
	    session->end_posted)
		return -ESRCH;
	if (strcmp(session->user, conn->login->user) != 0)
		return -EPERM;
	for (struct conn *other = session->conns; other; other = other->session_next) {
		if (other->cid == conn->login->cid && !other->replaced)
			same = other;
		else if (conn_lives(other) && other->state != CONN_LOST)
			n++;
	}
	if (same && (same->heir || same->state == CONN_WAITING))
		return -EAGAIN;
	if (n >= session->params.active[PARAM_MAX_CONNECTIONS])
		return -EUSERS;
	attach(session, conn);
	/* 6.3.4: at level 2 the tasks of the connection that is replaced wait to be taken over */
	if (same && session->params.active[PARAM_ERROR_RECOVERY_LEVEL] == 2 &&
	    (same->state == CONN_FULL || same->state == CONN_LOST)) {
		same->replaced = true;
		*ret_lose = same;
		return 0;
	}
	if (!same)
		return 0;
	same->heir = conn;
	conn->heir_of = same;
	conn->state = CONN_WAITING;
	conn_pin(conn);
	return 1;
}

/* False: there is no session to join. */
static bool
admit_further(struct conn *conn)
{
	struct iscsi_server *server = conn->server;
	struct session *session;
	struct conn *lose = NULL;
	int rc;

	if (!conn->login->tsih || !conn->join_shard)
		return false;
	pthread_mutex_lock(&server->lock);
	session = find_tsih(server, conn->login->tsih);
	if (atomic_load(&server->stopping))
		rc = LG_ESTOPPING;
	else if (!session || !session->target || !same_nexus(session, conn->login, conn->target))
		rc = -ESRCH;
	else
		rc = join(conn, session, &lose);
	pthread_mutex_unlock(&server->lock);
	if (lose && lose->state == CONN_FULL && !conn_lose(lose, CLOSE_REINSTATED))
		conn_close(lose, CLOSE_REINSTATED);
	if (rc >= 0 && access_admit(conn) < 0)
		rc = -EPERM;
	if (rc < 0)
		conn_login_failed(conn, rc);
	else if (rc)
		conn_close(conn->heir_of, CLOSE_REINSTATED);
	else
		conn_enter_full(conn, session);
	return true;
}

void
session_admit(struct conn *conn)
{
	struct iscsi_server *server = conn->server;
	struct session *session;
	int rc;

	conn->wait_msg.fn = on_wait_over;
	if (admit_further(conn))
		return;
	session = session_new(conn);
	if (!session) {
		conn_login_failed(conn, -ENOMEM);
		return;
	}
	pthread_mutex_lock(&server->lock);
	rc = enter(conn, session);
	pthread_mutex_unlock(&server->lock);
	if (rc != 0) {
		free(session);
		if (rc < 0)
			conn_login_failed(conn, rc);
		return;
	}
	if (conn->target) {
		rc = scsi_nexus_new(conn->target->scsi, session->initiator, session->isid, conn->portal_group,
				    &session->nexus);
		if (rc == 0)
			rc = access_admit(conn);
		if (rc < 0) {
			conn_login_failed(conn, rc);
			return;
		}
	}
	conn_enter_full(conn, session);
}
