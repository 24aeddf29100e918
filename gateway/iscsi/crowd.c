/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many connections there may be.
 *
 *   half open   from accept until the login is through.  Each loop has its part of max_logins; when one more
 *               comes, an old one goes: of the newcomer's own address where that has more than half of all, else
 *               the oldest of any.  So a flood pushes out its own, and never a session.
 *   placed      from the last Login Request on: max_connections in all, max_connections_per_address of them from
 *               one address; who finds no place is told so (status 0302)
 *
 * Invariants: a connection is in one of both at a time; half-open ones are in their shard's list, by age; the
 * places of all addresses add up to server->nplaces.
 *
 * Threads: the list is its loop's; places are under server->lock.
 *
 * Failure: without memory to count with there is no place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/iscsi/conn.h"

struct crowd_peer {
	struct crowd_peer *next;
	struct access_address address;
	unsigned n;
};

/* -- half open ----------------------------------------------------------- */

/* The text of an address, without the port. */
static size_t
host_len(const char *peer)
{
	const char *colon = strrchr(peer, ':');

	return colon ? (size_t)(colon - peer) : strlen(peer);
}

static bool
same_host(const struct conn *a, const struct conn *b)
{
	size_t len = host_len(a->peer);

	return len == host_len(b->peer) && !memcmp(a->peer, b->peer, len);
}

static struct conn *
who_goes(const struct shard *shard, const struct conn *newcomer)
{
	struct conn *own = NULL;
	unsigned n = 0;

	for (struct conn *conn = shard->half_first; conn; conn = conn->half_next) {
		if (conn == newcomer || !same_host(conn, newcomer))
			continue;
		if (!own)
			own = conn;
		n++;
	}
	return own && n > shard->nhalf / 2 ? own : shard->half_first;
}

void
crowd_add(struct conn *conn)
{
	struct iscsi_server *server = conn->server;
	struct shard *shard = conn->shard;
	unsigned most = max_of(1u, server->limits.max_logins / server->nshards);

	conn->half_open = true;
	conn->half_next = NULL;
	conn->half_prev = shard->half_last;
	if (conn->half_prev)
		conn->half_prev->half_next = conn;
	else
		shard->half_first = conn;
	shard->half_last = conn;
	if (++shard->nhalf > most)
		conn_close(who_goes(shard, conn), CLOSE_CROWDED);
}

void
crowd_remove(struct conn *conn)
{
	struct shard *shard = conn->shard;

	if (!conn->half_open)
		return;
	conn->half_open = false;
	if (conn->half_prev)
		conn->half_prev->half_next = conn->half_next;
	else
		shard->half_first = conn->half_next;
	if (conn->half_next)
		conn->half_next->half_prev = conn->half_prev;
	else
		shard->half_last = conn->half_prev;
	shard->nhalf--;
}

/* -- places -------------------------------------------------------------- */

static struct crowd_peer **
find_peer(struct iscsi_server *server, const char *peer, struct access_address *ret)
{
	struct crowd_peer **p;
	unsigned hash = 0;

	if (access_parse_address(peer, ret) < 0)
		memset(ret, 0, sizeof(*ret)); /* all that are nowhere are in one place */
	for (size_t i = 0; i < sizeof(ret->bytes); i++)
		hash = hash * 31 + ret->bytes[i];
	for (p = &server->peers[hash % CROWD_BUCKETS]; *p; p = &(*p)->next)
		if (!memcmp(&(*p)->address, ret, sizeof(*ret)))
			break;
	return p;
}

/* Under the lock. */
static int
take(struct conn *conn)
{
	struct iscsi_server *server = conn->server;
	const struct iscsi_limits *limits = &server->limits;
	struct access_address address;
	struct crowd_peer **p = find_peer(server, conn->peer, &address), *peer = *p;

	if (server->nplaces >= limits->max_connections ||
	    (peer && peer->n >= limits->max_connections_per_address))
		return -EUSERS;
	if (!peer) {
		peer = calloc(1, sizeof(*peer));
		if (!peer)
			return -ENOMEM;
		peer->address = address;
		*p = peer;
	}
	peer->n++;
	server->nplaces++;
	conn->placed = true;
	return 0;
}

int
crowd_take_place(struct conn *conn)
{
	int rc;

	if (conn->placed)
		return 0;
	pthread_mutex_lock(&conn->server->lock);
	rc = take(conn);
	pthread_mutex_unlock(&conn->server->lock);
	if (rc == 0)
		crowd_remove(conn);
	return rc;
}

void
crowd_give_place(struct conn *conn)
{
	struct access_address address;
	struct crowd_peer **p, *peer;

	if (!conn->placed)
		return;
	conn->placed = false;
	conn->server->nplaces--;
	p = find_peer(conn->server, conn->peer, &address);
	peer = *p;
	if (!peer || --peer->n)
		return;
	*p = peer->next;
	free(peer);
}
