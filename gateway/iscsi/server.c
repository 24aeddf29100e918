/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server: made, stopped.
 *
 * Stop: no more connections; initiators are asked to log out and have
 * STOP_GRACE_MS for it; then what is left is told that it is dropped, closed and awaited, however long its tasks
 * take.
 */
#include "gateway/iscsi/server.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/iscsi/conn.h"

void
iscsi_limits_default(struct iscsi_limits *limits)
{
	*limits = (struct iscsi_limits){
		.max_connections = 1024,
		.max_connections_per_address = 512,
		.max_logins = 256,
		.login_timeout_ms = 15000,
		.idle_timeout_ms = 0,
		.nop_interval_ms = 30000,
		.nop_timeout_ms = 15000,
		.queue_depth = 128,
		.max_recv_segment = 262144,
		.max_burst = 1u << 20,
		.first_burst = 262144,
		.max_outstanding_r2t = 16,
		.error_recovery_level = 2,
		.task_retain_s = 20,
		.session_connections = 4,
	};
}

struct shard *
server_shard(struct iscsi_server *server, const struct loop *loop)
{
	for (unsigned i = 0; i < server->nshards; i++) {
		if (server->shards[i].loop == loop)
			return &server->shards[i];
	}
	return NULL;
}

int
iscsi_server_new(struct loop *const *loops, unsigned nloops, struct arena *arena,
		 const struct iscsi_limits *limits, struct iscsi_server **ret)
{
	struct iscsi_server *server;
	pthread_condattr_t attr;
	uint64_t bytes = (uint64_t)arena_total_pages(arena) * PAGE_SIZE_BYTES;

	if (!nloops || !limits->queue_depth ||
	    limits->queue_depth > COMMAND_SLAB * COMMAND_SLABS_MAX - COMMANDS_SPARE)
		return -EINVAL;
	server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;
	server->shards = calloc(nloops, sizeof(*server->shards));
	if (!server->shards) {
		free(server);
		return -ENOMEM;
	}
	server->nshards = nloops;
	for (unsigned i = 0; i < nloops; i++) {
		server->shards[i].server = server;
		server->shards[i].loop = loops[i];
	}
	server->arena = arena;
	server->limits = *limits;
	/* one that never sends what it announced, or never reads, takes no more than this from the others */
	server->budget = max_of(bytes / 8, (uint64_t)4 << 20);
	pthread_mutex_init(&server->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&server->changed, &attr);
	pthread_condattr_destroy(&attr);
	*ret = server;
	return 0;
}

bool
server_await(struct iscsi_server *server, const unsigned *value, unsigned most, unsigned ms)
{
	struct timespec until;
	int rc = 0;
	bool reached;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&server->lock);
	while (!(reached = (value ? *value : atomic_load(&server->nconns)) <= most) && rc == 0)
		rc = pthread_cond_timedwait(&server->changed, &server->lock, &until);
	pthread_mutex_unlock(&server->lock);
	return reached;
}

static int
ask_shard(void *arg)
{
	struct shard *shard = arg;
	struct conn *next;

	for (struct conn *conn = shard->conns; conn; conn = next) {
		next = conn->next;
		conn_ask_logout(conn, CLOSE_STOPPING, STOP_GRACE_MS);
	}
	return 0;
}

static int
drop_shard(void *arg)
{
	struct shard *shard = arg;
	struct conn *next;

	for (struct conn *conn = shard->conns; conn; conn = next) {
		next = conn->next;
		conn_drop(conn, CLOSE_STOPPING);
	}
	return 0;
}

static void
each_shard(struct iscsi_server *server, int (*fn)(void *shard))
{
	for (unsigned i = 0; i < server->nshards; i++)
		(void)loop_call(server->shards[i].loop, fn, &server->shards[i]); /* returns 0 */
}

void
iscsi_server_free(struct iscsi_server *server)
{
	if (!server)
		return;
	atomic_store(&server->stopping, true);
	portals_free(server);
	each_shard(server, ask_shard);
	if (!server_await(server, NULL, 0, STOP_GRACE_MS)) {
		/* one that moves between loops is met on a later visit */
		do {
			each_shard(server, drop_shard);
		} while (!server_await(server, NULL, 0, 50));
	}
	while (server->targets) {
		struct iscsi_target *target = server->targets;

		server->targets = target->next;
		target_unref(server, target);
	}
	iscsi_access_unref(server->discovery);
	assert(!server->sessions);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server->shards);
	free(server);
}
