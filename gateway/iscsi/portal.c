/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Portals: where the target listens, exactly as configured, in which portal
 * group, and where logins are sent that come there.
 *
 * A portal is polled on the first loop; what it accepts goes round the loops by message.
 *   no descriptor is left (EMFILE, ENFILE)   it rests for a moment: the backlog waits
 *   more than the loops keep up with         the same: they close the oldest that have not logged in (crowd.c),
 *                                            while the others wait in the backlog
 *
 * Threads: the list is under server->lock; poll, timer and descriptor belong to
 * the loop from portal_start() to portal_stop().
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "gateway/iscsi/conn.h"

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */
#define REST_MS 100
#define CROWD_REST_MS 5 /* the loops close half-open ones faster than that */
#define ACCEPTS_MAX 64  /* of one readable event */

struct portal {
	struct iscsi_server *server;
	struct shard *shard;
	struct portal *next;
	int fd;
	uv_poll_t poll;
	struct loop_timer rest;
	char address[ADDRESS_MAX]; /* as configured */
	char bound[ADDRESS_MAX];
	char port[8];
	bool wildcard, ipv6;
	uint16_t group;
	struct iscsi_redirect redirect; /* under server->lock */
	/* removal */
	pthread_mutex_t lock;
	pthread_cond_t closed_cond;
	bool closed;
};

void
address_format(const struct sockaddr *sa, char ret[ADDRESS_MAX])
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)); /* "?" stays when it fails */
		(void)snprintf(ret, ADDRESS_MAX, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		(void)snprintf(ret, ADDRESS_MAX, "%s:%u", host, ntohs(in->sin_port));
	} else {
		(void)snprintf(ret, ADDRESS_MAX, "?");
	}
}

/* -- accepting ----------------------------------------------------------- */

struct arrival {
	struct loop_msg msg;
	struct shard *shard;
	int fd;
	uint16_t group;
	char peer[ADDRESS_MAX], portal[ADDRESS_MAX];
};

static void
give_up(struct shard *shard, int fd, const char *peer, enum close_reason reason)
{
	struct iscsi_server *server = shard->server;

	close(fd);
	counter_add(&shard->stats.closed[reason], 1);
	if (log_ratelimit(&server->logged[reason], 1000))
		log_warn("iscsi: %s: connection closed, %s", peer, close_reason_text(reason));
	pthread_mutex_lock(&server->lock);
	atomic_fetch_sub(&server->nconns, 1);
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void
on_arrival(struct loop_msg *msg)
{
	struct arrival *arrival = container_of(msg, struct arrival, msg);

	if (atomic_load(&arrival->shard->server->stopping))
		give_up(arrival->shard, arrival->fd, arrival->peer, CLOSE_STOPPING);
	else if (conn_new(arrival->shard, arrival->fd, arrival->peer, arrival->portal, arrival->group) < 0)
		give_up(arrival->shard, arrival->fd, arrival->peer, CLOSE_NO_MEMORY);
	free(arrival);
}

static void
arrive(struct portal *portal, int fd, const char *peer)
{
	struct iscsi_server *server = portal->server;
	unsigned turn = atomic_fetch_add(&server->next_shard, 1);
	struct arrival *arrival;

	atomic_fetch_add(&server->nconns, 1);
	arrival = malloc(sizeof(*arrival));
	if (!arrival) {
		give_up(portal->shard, fd, peer, CLOSE_NO_MEMORY);
		return;
	}
	arrival->msg.fn = on_arrival;
	arrival->shard = &server->shards[turn % server->nshards];
	arrival->fd = fd;
	arrival->group = portal->group;
	(void)snprintf(arrival->peer, sizeof(arrival->peer), "%s", peer);
	(void)snprintf(arrival->portal, sizeof(arrival->portal), "%s", portal->bound);
	loop_post(arrival->shard->loop, &arrival->msg);
}

static void
rest(struct portal *portal, unsigned ms)
{
	(void)uv_poll_stop(&portal->poll);
	loop_timer_start(&portal->rest, ms);
}

/* The twice is for those that are on their way to their loop, or closed and not freed yet. */
static bool
is_crowded(struct iscsi_server *server)
{
	return atomic_load(&server->nconns) >= server->limits.max_connections + 2 * server->limits.max_logins;
}

static void
on_readable(uv_poll_t *poll, int status, int events)
{
	struct portal *portal = container_of(poll, struct portal, poll);

	(void)events; /* only one was asked for */
	if (is_crowded(portal->server)) {
		rest(portal, CROWD_REST_MS);
		return;
	}
	for (int i = 0; status == 0 && i < ACCEPTS_MAX && !is_crowded(portal->server); i++) {
		struct sockaddr_storage sa = {0};
		socklen_t len = sizeof(sa);
		char peer[ADDRESS_MAX];
		int fd = accept4(portal->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			address_format((struct sockaddr *)&sa, peer);
			arrive(portal, fd, peer);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			if (log_ratelimit(&portal->server->logged[CLOSE_LIMIT], 1000))
				log_warn("iscsi: portal %s: %s; connections wait", portal->bound,
					 strerror(errno));
			rest(portal, REST_MS);
			return;
		}
		/* the rest are faults of the one connection, accept(2) */
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
	}
}

static void
on_rested(struct loop_timer *timer)
{
	struct portal *portal = container_of(timer, struct portal, rest);

	(void)uv_poll_start(&portal->poll, UV_READABLE, on_readable); /* fails for closing handles alone */
}

/* -- starting and stopping ----------------------------------------------- */

static int
portal_start(void *arg)
{
	struct portal *portal = arg;
	int rc = uv_poll_init(loop_uv(portal->shard->loop), &portal->poll, portal->fd);

	if (rc < 0)
		return rc;
	loop_timer_init(&portal->rest, portal->shard->loop, on_rested);
	return uv_poll_start(&portal->poll, UV_READABLE, on_readable);
}

static void
on_closed(uv_handle_t *handle)
{
	struct portal *portal = container_of((uv_poll_t *)handle, struct portal, poll);

	pthread_mutex_lock(&portal->lock);
	portal->closed = true;
	pthread_cond_signal(&portal->closed_cond);
	pthread_mutex_unlock(&portal->lock);
}

static int
portal_stop(void *arg)
{
	struct portal *portal = arg;

	loop_timer_stop(&portal->rest);
	uv_close((uv_handle_t *)&portal->poll, on_closed);
	close(portal->fd);
	return 0;
}

static void
portal_free(struct portal *portal)
{
	pthread_mutex_destroy(&portal->lock);
	pthread_cond_destroy(&portal->closed_cond);
	free(portal);
}

/* Out of the list already. */
static void
portal_end(struct portal *portal)
{
	(void)loop_call(portal->shard->loop, portal_stop, portal); /* returns 0 */
	pthread_mutex_lock(&portal->lock);
	while (!portal->closed)
		pthread_cond_wait(&portal->closed_cond, &portal->lock);
	pthread_mutex_unlock(&portal->lock);
	portal_free(portal);
}

/* -- configuration ------------------------------------------------------- */

/* "host:port" or "[host]:port", numbers only. */
static int
resolve(const char *address, struct addrinfo **ret, struct errinfo *info)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	const char *colon = strrchr(address, ':');
	char host[ADDRESS_MAX];
	struct in_addr in;
	size_t n;

	if (!colon || (n = (size_t)(colon - address)) == 0 || n >= sizeof(host))
		goto wrong;
	memcpy(host, address, n);
	host[n] = 0;
	hints.ai_family = AF_INET;
	if (host[0] == '[') {
		if (n < 3 || host[n - 1] != ']')
			goto wrong;
		host[n - 1] = 0;
		memmove(host, host + 1, n - 1);
		hints.ai_family = AF_INET6;
	}
	/* getaddrinfo() takes 127.1 as well, and what is bound is to be what is written */
	if (hints.ai_family == AF_INET && inet_pton(AF_INET, host, &in) != 1)
		goto wrong;
	if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || !colon[1] || strlen(colon + 1) > 5 ||
	    strtoul(colon + 1, NULL, 10) > 65535 || getaddrinfo(host, colon + 1, &hints, ret) != 0)
		goto wrong;
	return 0;
wrong:
	return err_set(
		info, -EINVAL,
		"\"%.80s\" is no portal address: an IPv4 address and a port as in 127.0.0.1:3260, or an IPv6 "
		"address as in [::1]:3260",
		address);
}

static int
listen_words(int err, const char *address, struct errinfo *info)
{
	switch (err) {
	case EADDRINUSE:
		return err_set(info, -err,
			       "cannot listen on %s: the port is in use; stop the program that listens there "
			       "(ss -ltnp shows it) or choose another port",
			       address);
	case EADDRNOTAVAIL:
		return err_set(info, -err,
			       "cannot listen on %s: this machine has no such address (ip addr shows those "
			       "it has)",
			       address);
	case EACCES:
		return err_set(info, -err,
			       "cannot listen on %s: no permission; ports below 1024 need the capability "
			       "CAP_NET_BIND_SERVICE",
			       address);
	default:
		return err_set(info, -err, "cannot listen on %s: %s", address, strerror(err));
	}
}

static int
open_socket(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, err;

	if (fd < 0)
		return -errno;
	/* [::] must not take the IPv4 addresses: nobody asked for them */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    (ai->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0) ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
		err = errno;
		close(fd);
		return -err;
	}
	return fd;
}

static void
describe(struct portal *portal)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);

	if (getsockname(portal->fd, (struct sockaddr *)&sa, &len) < 0)
		return;
	address_format((struct sockaddr *)&sa, portal->bound);
	(void)snprintf(portal->port, sizeof(portal->port), "%.7s", strrchr(portal->bound, ':') + 1);
	portal->ipv6 = sa.ss_family == AF_INET6;
	portal->wildcard = !strncmp(portal->bound, "0.0.0.0:", 8) || !strncmp(portal->bound, "[::]:", 5);
}

int
iscsi_portal_add(struct iscsi_server *server, const char *address, char *ret_bound, struct errinfo *info)
{
	return iscsi_portal_add_to(server, ISCSI_PORTAL_GROUP_DEFAULT, address, ret_bound, info);
}

int
iscsi_portal_add_to(struct iscsi_server *server, uint16_t group, const char *address, char *ret_bound,
		    struct errinfo *info)
{
	struct addrinfo *ai;
	struct portal *portal;
	int rc;

	if (!group)
		return err_set(info, -EINVAL, "a portal group has a number from 1 to 65535");
	rc = resolve(address, &ai, info);
	if (rc < 0)
		return rc;
	rc = open_socket(ai);
	freeaddrinfo(ai);
	if (rc < 0)
		return listen_words(-rc, address, info);
	portal = calloc(1, sizeof(*portal));
	if (!portal) {
		close(rc);
		return err_set(info, -ENOMEM, "out of memory");
	}
	portal->server = server;
	portal->shard = &server->shards[0];
	portal->fd = rc;
	portal->group = group;
	(void)snprintf(portal->address, sizeof(portal->address), "%s", address);
	pthread_mutex_init(&portal->lock, NULL);
	pthread_cond_init(&portal->closed_cond, NULL);
	describe(portal);
	rc = loop_call(portal->shard->loop, portal_start, portal);
	if (rc < 0) {
		close(portal->fd);
		portal_free(portal);
		return err_set(info, rc, "cannot poll the socket of %s: %s", address, uv_strerror(rc));
	}
	pthread_mutex_lock(&server->lock);
	portal->next = server->portals;
	server->portals = portal;
	pthread_mutex_unlock(&server->lock);
	if (ret_bound)
		(void)snprintf(ret_bound, ADDRESS_MAX, "%s", portal->bound);
	log_info("iscsi: listening on %s, portal group %u", portal->bound, group);
	return 0;
}

static bool
is_called(const struct portal *portal, const char *address)
{
	return !strcmp(portal->address, address) || !strcmp(portal->bound, address);
}

int
iscsi_portal_remove(struct iscsi_server *server, const char *address)
{
	struct portal *portal, **p;

	pthread_mutex_lock(&server->lock);
	for (p = &server->portals; (portal = *p); p = &portal->next) {
		if (is_called(portal, address))
			break;
	}
	if (portal)
		*p = portal->next;
	pthread_mutex_unlock(&server->lock);
	if (!portal)
		return -ENOENT;
	portal_end(portal);
	return 0;
}

void
portals_free(struct iscsi_server *server)
{
	for (;;) {
		struct portal *portal;

		pthread_mutex_lock(&server->lock);
		portal = server->portals;
		if (portal)
			server->portals = portal->next;
		pthread_mutex_unlock(&server->lock);
		if (!portal)
			break;
		portal_end(portal);
	}
}

/* -- groups and redirection ---------------------------------------------- */

bool
portal_group_leads(const struct iscsi_target *target, uint16_t group)
{
	for (unsigned i = 0; i < target->ngroups; i++)
		if (target->groups[i] == group)
			return true;
	return !target->ngroups;
}

void
portals_addresses(struct iscsi_server *server, const struct iscsi_target *target, const char *local,
		  struct textbuf *out)
{
	bool local_ipv6 = local[0] == '[';
	int host = (int)(strrchr(local, ':') - local);

	for (const struct portal *portal = server->portals; portal; portal = portal->next) {
		if (!portal_group_leads(target, portal->group))
			continue;
		if (!portal->wildcard)
			keys_addf(out, "TargetAddress", "%s,%u", portal->bound, portal->group);
		else if (portal->ipv6 == local_ipv6)
			/* any address will do: the one by which he came surely works for him */
			keys_addf(out, "TargetAddress", "%.*s:%s,%u", host, local, portal->port,
				  portal->group);
	}
}

int
iscsi_redirect_check(const char *to, struct errinfo *info)
{
	const char *colon = strrchr(to, ':');
	struct errinfo why;
	struct addrinfo *ai;
	size_t n;

	if (resolve(to, &ai, &why) == 0) {
		freeaddrinfo(ai);
		return 0;
	}
	/* 13.8: a domain name will do as well */
	n = colon ? (size_t)(colon - to) : 0;
	if (n && n < ISCSI_REDIRECT_MAX - 8 &&
	    strspn(to, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == n &&
	    strspn(to, "0123456789.") < n && colon[1] && strlen(colon + 1) <= 5 &&
	    strspn(colon + 1, "0123456789") == strlen(colon + 1) && strtoul(colon + 1, NULL, 10) <= 65535)
		return 0;
	return err_set(info, -EINVAL,
		       "\"%.80s\" is no address to send initiators to: ADDRESS:PORT or HOST:PORT, as in "
		       "192.0.2.1:3260",
		       to);
}

/* Under the lock; portal may be gone. */
static const struct iscsi_redirect *
redirect_of(const struct conn *conn)
{
	const struct iscsi_target *target = conn->target;

	if (*target->redirect.to && strcmp(target->redirect.to, conn->local) != 0)
		return &target->redirect;
	for (const struct portal *portal = conn->server->portals; portal; portal = portal->next)
		if (!strcmp(portal->bound, conn->portal) && *portal->redirect.to)
			return &portal->redirect;
	return NULL;
}

int
portal_admit(struct conn *conn, struct login *login)
{
	struct iscsi_server *server = conn->server;
	const struct iscsi_redirect *redirect;
	int rc = 0;

	pthread_mutex_lock(&server->lock);
	redirect = redirect_of(conn);
	if (redirect) {
		(void)snprintf(login->redirect, sizeof(login->redirect), "%s", redirect->to);
		rc = redirect->permanent ? -EREMCHG : -EREMOTE;
	} else if (!portal_group_leads(conn->target, conn->portal_group)) {
		login->why = "no portal of this group leads to the target";
		rc = -ENOENT;
	}
	pthread_mutex_unlock(&server->lock);
	return rc;
}

static void
set_redirect(struct iscsi_redirect *place, const struct iscsi_redirect *redirect)
{
	if (redirect)
		*place = *redirect;
	else
		*place->to = 0;
}

int
iscsi_portal_set_redirect(struct iscsi_server *server, const char *address,
			  const struct iscsi_redirect *redirect)
{
	struct portal *portal;

	pthread_mutex_lock(&server->lock);
	for (portal = server->portals; portal && !is_called(portal, address); portal = portal->next)
		;
	if (portal)
		set_redirect(&portal->redirect, redirect);
	pthread_mutex_unlock(&server->lock);
	return portal ? 0 : -ENOENT;
}

int
iscsi_target_set_redirect(struct iscsi_server *server, const char *name,
			  const struct iscsi_redirect *redirect)
{
	struct iscsi_target *target;
	char lower[ISCSI_NAME_MAX + 1];
	int rc = login_name(name, lower) < 0 ? -ENOENT : target_find(server, lower, &target);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&server->lock);
	set_redirect(&target->redirect, redirect);
	pthread_mutex_unlock(&server->lock);
	target_unref(server, target);
	return 0;
}

/* On the connection's loop. */
static bool
is_astray(const struct conn *conn, const void *arg)
{
	bool leads;

	if (conn->target != arg)
		return false;
	pthread_mutex_lock(&conn->server->lock);
	leads = portal_group_leads(conn->target, conn->portal_group);
	pthread_mutex_unlock(&conn->server->lock);
	return !leads;
}

int
iscsi_target_set_groups(struct iscsi_server *server, const char *name, const uint16_t *tags, size_t n)
{
	struct iscsi_target *target;
	char lower[ISCSI_NAME_MAX + 1];
	int rc;

	if (n > ISCSI_GROUPS_MAX)
		return -EINVAL;
	rc = login_name(name, lower) < 0 ? -ENOENT : target_find(server, lower, &target);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&server->lock);
	if (n)
		memcpy(target->groups, tags, n * sizeof(*tags));
	target->ngroups = (unsigned)n;
	pthread_mutex_unlock(&server->lock);
	(void)kick_all(server, is_astray, target, CLOSE_PORTAL_REMOVED, STOP_GRACE_MS);
	target_unref(server, target);
	return 0;
}

/* -- inspection ---------------------------------------------------------- */

struct census {
	struct shard *shard;
	const char *portal;
	size_t n;
};

static int
count_shard(void *arg)
{
	struct census *census = arg;

	for (const struct conn *conn = census->shard->conns; conn; conn = conn->next)
		census->n += conn->state != CONN_CLOSING && !strcmp(conn->portal, census->portal);
	return 0;
}

static size_t
count_connections(struct iscsi_server *server, const char *portal)
{
	struct census census = {.portal = portal};

	for (unsigned i = 0; i < server->nshards; i++) {
		census.shard = &server->shards[i];
		(void)loop_call(census.shard->loop, count_shard, &census); /* returns 0 */
	}
	return census.n;
}

json_t *
iscsi_portals(struct iscsi_server *server)
{
	json_t *array = json_array(), *object;
	size_t i;

	pthread_mutex_lock(&server->lock);
	for (const struct portal *p = server->portals; p; p = p->next) {
		const struct iscsi_redirect *r = &p->redirect;

		object = json_pack("{s:s, s:s, s:i, s:o}", "address", p->address, "bound", p->bound, "group",
				   (int)p->group, "redirect",
				   *r->to ? json_pack("{s:s, s:b}", "to", r->to, "permanent", r->permanent)
					  : json_null());
		if (object)
			json_array_insert_new(array, 0, object); /* the list has the newest first */
	}
	pthread_mutex_unlock(&server->lock);
	json_array_foreach(array, i, object)
	{
		const char *bound = json_string_value(json_object_get(object, "bound"));

		json_object_set_new(object, "connection_count",
				    json_integer((json_int_t)count_connections(server, bound)));
	}
	return array;
}
