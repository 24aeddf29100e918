/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of access on a running server.
 *
 * The rules that hold stand in the target, under server->lock.  A login takes a
 * reference to what it finds and is judged by that; when its session stands it is judged again by what holds then.
 * A change puts the new rules in place first and then visits the sessions, loop by loop: so one that was let in by
 * the old rules is either visited or judges itself by the new ones.
 *
 * Threads: set_* where it may block; the rest on the connection's loop.
 *
 * Failure: sessions that are not let in any more are dropped, and told so; their tasks end as at any loss of a
 * connection.
 */
#include "gateway/iscsi/conn.h"

static struct iscsi_access *
current(struct iscsi_server *server, struct iscsi_access **place)
{
	struct iscsi_access *access;

	pthread_mutex_lock(&server->lock);
	access = access_ref(*place);
	pthread_mutex_unlock(&server->lock);
	return access;
}

/* -- logins -------------------------------------------------------------- */

int
access_for_target(struct conn *conn, struct login *login)
{
	int rc;

	login->access = current(conn->server, &conn->target->access);
	rc = access_match(login->access, login->initiator, conn->peer, &login->entry);
	if (rc == -EPERM)
		login->why = "this initiator is not in the target's list from this address";
	else if (rc == -ENOENT)
		login->why = "this initiator is not in the target's list";
	return rc;
}

int
access_for_discovery(void *arg, struct login *login)
{
	struct conn *conn = arg;

	login->access = current(conn->server, &conn->server->discovery);
	return 0;
}

bool
access_shows(const struct iscsi_target *target, const char *initiator, const char *peer)
{
	const struct access_entry *entry;

	return access_match(target->access, initiator, peer, &entry) == 0;
}

/* -- sessions ------------------------------------------------------------ */

/* The view that the rules give to the session of conn; -EPERM when they give it none. */
static int
judge(const struct iscsi_access *access, const struct conn *conn, struct scsi_view *ret)
{
	const struct session *session = conn->session;
	const struct access_entry *entry;

	if (access_match(access, session->initiator, conn->peer, &entry) < 0)
		return -EPERM;
	/* who logged in without an account, when none was needed, stays; its account gone, one goes */
	if (*session->user && !access_account_holds(access, entry, session->user))
		return -EPERM;
	if (entry)
		*ret = entry->view;
	else
		scsi_view_all(ret);
	return 0;
}

int
access_admit(struct conn *conn)
{
	struct iscsi_access *access = current(conn->server, &conn->target->access);
	struct scsi_view view;
	int rc = judge(access, conn, &view);

	if (rc == 0)
		(void)scsi_nexus_set_view(conn->session->nexus, &view); /* nobody was told anything else */
	iscsi_access_unref(access);
	return rc;
}

/* -- changes ------------------------------------------------------------- */

struct visit {
	struct shard *shard;
	const struct iscsi_target *target;
	const struct iscsi_access *access;
};

/* Does one of the session's connections have access?  They may come from different networks. */
static bool
any_stays(const struct iscsi_access *access, const struct session *session)
{
	struct scsi_view view;

	for (const struct conn *conn = session->conns; conn; conn = conn->session_next)
		if (judge(access, conn, &view) == 0)
			return true;
	return false;
}

static void
enforce(const struct iscsi_access *access, struct conn *conn)
{
	struct scsi_view view;
	bool stays = judge(access, conn, &view) == 0;

	/* what has not begun yet finds nothing there any more */
	if (!stays)
		scsi_view_none(&view);
	if ((stays || !any_stays(access, conn->session)) &&
	    scsi_nexus_set_view(conn->session->nexus, &view) && stays)
		async_luns_changed(conn);
	if (!stays)
		conn_drop(conn, CLOSE_ACCESS);
}

static int
visit_shard(void *arg)
{
	const struct visit *visit = arg;
	struct conn *next;

	for (struct conn *conn = visit->shard->conns; conn; conn = next) {
		next = conn->next;
		if (conn->target == visit->target && conn->session && conn->session->nexus)
			enforce(visit->access, conn);
	}
	return 0;
}

static struct iscsi_access *
swap(struct iscsi_server *server, struct iscsi_access **place, struct iscsi_access *access)
{
	struct iscsi_access *old;

	pthread_mutex_lock(&server->lock);
	old = *place;
	*place = access;
	pthread_mutex_unlock(&server->lock);
	return old;
}

int
iscsi_target_set_access(struct iscsi_server *server, const char *name, struct iscsi_access *access)
{
	struct iscsi_target *target;
	char lower[ISCSI_NAME_MAX + 1];
	int rc = login_name(name, lower) < 0 ? -ENOENT : target_find(server, lower, &target);

	if (rc < 0) {
		iscsi_access_unref(access);
		return rc;
	}
	/* changes come one at a time: what was put there stays there meanwhile */
	iscsi_access_unref(swap(server, &target->access, access));
	for (unsigned i = 0; i < server->nshards; i++) {
		struct visit visit = {.shard = &server->shards[i], .target = target, .access = access};

		(void)loop_call(server->shards[i].loop, visit_shard, &visit); /* returns 0 */
	}
	target_unref(server, target);
	return 0;
}

void
iscsi_discovery_set_access(struct iscsi_server *server, struct iscsi_access *access)
{
	iscsi_access_unref(swap(server, &server->discovery, access));
}
