/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/canned.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define HEAD_MAX 16384

struct connection {
	struct canned *server;
	pthread_t thread;
	int fd;
	unsigned number;
};

struct canned {
	canned_fn *answer;
	void *arg;
	int fd;
	unsigned port;
	atomic_bool stop;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned requests;
	bool hold;
	unsigned held, held_max;
	struct connection connections[CONNECTIONS_MAX];
	unsigned nconnections;
};

const char *
canned_header(const struct canned_request *req, const char *name, char *buf, size_t room)
{
	size_t n = strlen(name);

	for (const char *p = req->headers; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		const char *end;

		if (strncasecmp(p, name, n) || p[n] != ':')
			continue;
		p += n + 1;
		p += strspn(p, " ");
		end = p + strcspn(p, "\r\n");
		assert((size_t)(end - p) < room);
		memcpy(buf, p, (size_t)(end - p));
		buf[end - p] = '\0';
		return buf;
	}
	return NULL;
}

static bool
write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static bool
read_some(int fd, char *p, size_t room, size_t *n)
{
	ssize_t k = recv(fd, p + *n, room - *n, 0);

	if (k <= 0)
		return false;
	*n += (size_t)k;
	return true;
}

/* A request's head is in buf, and maybe the beginning of its body behind it. */
static bool
read_body(int fd, const char *buf, size_t have, struct canned_request *req)
{
	char value[32];

	req->nbody =
		canned_header(req, "Content-Length", value, sizeof(value)) ? strtoul(value, NULL, 10) : 0;
	req->body = malloc(req->nbody + 1);
	assert(req->body && have <= req->nbody);
	memcpy(req->body, buf, have);
	while (have < req->nbody)
		if (!read_some(fd, req->body, req->nbody, &have))
			return false;
	req->body[req->nbody] = '\0';
	return true;
}

/* false: the connection ends */
static bool
reply(int fd, const struct canned_request *req, const struct canned_answer *a)
{
	char head[2048];
	size_t nbody = strcmp(req->method, "HEAD") ? a->nbody : 0;
	int n;

	if (a->hang) {
		char c;

		while (recv(fd, &c, 1, 0) > 0)
			;
		return false;
	}
	if (a->drop)
		return false;
	n = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\n%s", a->status, a->headers);
	if (!strcasestr(a->headers, "Content-Length:") && a->status != 204)
		n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: %zu\r\n", a->nbody);
	n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
	if (!write_all(fd, head, (size_t)n) || !write_all(fd, a->body, a->cut ? nbody / 2 : nbody))
		return false;
	return !a->cut && !a->close;
}

/* Under the lock. */
static void
wait_if_held(struct canned *server)
{
	if (!server->hold)
		return;
	server->held++;
	server->held_max = server->held > server->held_max ? server->held : server->held_max;
	pthread_cond_broadcast(&server->changed);
	while (server->hold)
		pthread_cond_wait(&server->changed, &server->lock);
	server->held--;
	pthread_cond_broadcast(&server->changed);
}

void
canned_hold(struct canned *server, bool hold)
{
	pthread_mutex_lock(&server->lock);
	server->hold = hold;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

void
canned_wait_held(struct canned *server, unsigned n)
{
	pthread_mutex_lock(&server->lock);
	while (server->held < n)
		pthread_cond_wait(&server->changed, &server->lock);
	pthread_mutex_unlock(&server->lock);
}

unsigned
canned_held_max(struct canned *server)
{
	unsigned n;

	pthread_mutex_lock(&server->lock);
	n = server->held_max;
	pthread_mutex_unlock(&server->lock);
	return n;
}

static bool
serve_one(struct connection *c)
{
	struct canned_request req = {.connection = c->number};
	struct canned_answer a = {0};
	char *buf = calloc(1, HEAD_MAX + 1), *end;
	size_t n = 0;
	bool go_on = false;

	while (!(end = strstr(buf, "\r\n\r\n")))
		if (n == HEAD_MAX || !read_some(c->fd, buf, HEAD_MAX, &n) || buf[0] < 'A')
			goto out; /* a TLS handshake begins with 22 */
	end[2] = '\0';
	if (sscanf(buf, "%7s %4095s", req.method, req.target) != 2)
		goto out;
	req.headers = strchr(buf, '\n') + 1;
	if (!read_body(c->fd, end + 4, n - (size_t)(end + 4 - buf), &req))
		goto out;
	pthread_mutex_lock(&c->server->lock);
	req.number = ++c->server->requests;
	c->server->answer(c->server->arg, &req, &a);
	wait_if_held(c->server);
	pthread_mutex_unlock(&c->server->lock);
	go_on = reply(c->fd, &req, &a);
out:
	free(a.body);
	free(req.body);
	free(buf);
	return go_on;
}

static void *
serve(void *arg)
{
	struct connection *c = arg;
	int on = 1;

	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while (!c->server->stop && serve_one(c))
		;
	shutdown(c->fd, SHUT_RDWR);
	return NULL;
}

static void *
accept_all(void *arg)
{
	struct canned *server = arg;

	for (;;) {
		struct connection *c = &server->connections[server->nconnections];
		int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return NULL;
		assert(server->nconnections < CONNECTIONS_MAX);
		*c = (struct connection){.server = server, .fd = fd, .number = ++server->nconnections};
		if (pthread_create(&c->thread, NULL, serve, c))
			assert(!"no thread");
	}
}

struct canned *
canned_new(canned_fn *answer, void *arg)
{
	struct canned *server = calloc(1, sizeof(*server));
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(sin);

	assert(server);
	server->answer = answer;
	server->arg = arg;
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server->fd < 0 || bind(server->fd, (struct sockaddr *)&sin, n) || listen(server->fd, 64) ||
	    getsockname(server->fd, (struct sockaddr *)&sin, &n) ||
	    pthread_create(&server->thread, NULL, accept_all, server))
		assert(!"no server");
	server->port = ntohs(sin.sin_port);
	return server;
}

unsigned
canned_port(const struct canned *server)
{
	return server->port;
}

unsigned
canned_requests(struct canned *server)
{
	unsigned n;

	pthread_mutex_lock(&server->lock);
	n = server->requests;
	pthread_mutex_unlock(&server->lock);
	return n;
}

void
canned_lock(struct canned *server)
{
	pthread_mutex_lock(&server->lock);
}

void
canned_unlock(struct canned *server)
{
	pthread_mutex_unlock(&server->lock);
}

void
canned_free(struct canned *server)
{
	if (!server)
		return;
	server->stop = true;
	canned_hold(server, false);
	shutdown(server->fd, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->fd);
	for (unsigned i = 0; i < server->nconnections; i++) {
		shutdown(server->connections[i].fd, SHUT_RDWR);
		pthread_join(server->connections[i].thread, NULL);
		close(server->connections[i].fd);
	}
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
