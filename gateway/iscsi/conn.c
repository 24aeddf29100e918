/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a connection.
 *
 *   LOGIN    on the loop where it was accepted
 *     -> MOVING   the login is through, its target lives on another loop: the poll handle is closed, a
 *                 message carries the connection there
 *     -> WAITING  the session that it replaces ends first
 *     -> FULL     session, nexus, full feature phase
 *   FULL -> LOGOUT   a logout was accepted: tasks end, then DRAIN
 *   any  -> DRAIN    closes when its last words are sent and the initiator has closed too, or after DRAIN_MS
 *   FULL -> LOST     recovery level 2, the connection failed: tasks wait to be taken over (reassign.c); CLOSING after
 *                    DefaultTime2Wait and DefaultTime2Retain
 *   any  -> CLOSING  the socket is closed; tasks, nexus, messages are awaited
 *   CLOSING -> freed when pins == 0, the poll handle is closed and no turn is queued
 *
 * Invariants: in CLOSING fd is -1; a connection is in shard->conns but while it
 * moves; `pins` counts what will still call back with a pointer to it.
 *
 * Each iteration ends with at most one turn (deferred): what was read is answered with
 * one send.
 *
 * Failure: whatever is wrong with a connection ends that connection, with a counted reason and at most one
 * rate-limited line.
 */
#include "gateway/iscsi/conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define DRAIN_MS 1000
#define LOG_INTERVAL_MS 1000

/* -- lists, pins, memory ------------------------------------------------- */

static void
shard_add(struct conn *conn, struct shard *shard)
{
	conn->shard = shard;
	conn->loop = shard->loop;
	conn->next = shard->conns;
	conn->prev = &shard->conns;
	if (conn->next)
		conn->next->prev = &conn->next;
	shard->conns = conn;
}

static void
shard_remove(struct conn *conn)
{
	*conn->prev = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
}

static void
conn_free(struct conn *conn)
{
	struct iscsi_server *server = conn->server;

	assert(conn->magic == CONN_MAGIC && !conn->active);
	shard_remove(conn);
	if (conn->logout_by)
		logout_other_ended(conn);
	if (conn->session)
		session_leave(conn);
	if (conn->login) {
		login_fini(conn->login);
		free(conn->login);
	}
	if (conn->target)
		target_unref(server, conn->target);
	text_request_fini(conn);
	rx_fini(&conn->rx);
	command_pool_fini(conn);
	conn->magic = 0;
	pthread_mutex_lock(&server->lock);
	crowd_give_place(conn);
	atomic_fetch_sub(&server->nconns, 1);
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	free(conn);
}

static void
maybe_free(struct conn *conn)
{
	if (conn->state == CONN_CLOSING && !conn->pins && !conn->poll_open && !conn->turn_queued)
		conn_free(conn);
}

void
conn_pin(struct conn *conn)
{
	conn->pins++;
}

void
conn_unpin(struct conn *conn)
{
	assert(conn->magic == CONN_MAGIC && conn->pins > 0);
	conn->pins--;
	maybe_free(conn);
}

/* -- polling and turns --------------------------------------------------- */

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct conn *conn = container_of(poll, struct conn, poll);

	if (status < 0) {
		conn_close_detail(conn, CLOSE_SOCKET, "%s", uv_strerror(status));
		return;
	}
	if (events & UV_WRITABLE) {
		conn->tx.blocked = false;
		conn_queue_turn(conn);
	}
	if (events & UV_READABLE) {
		if (conn->state == CONN_DRAIN) {
			char rest[4096];
			ssize_t n = read(conn->fd, rest, sizeof(rest));

			if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
				conn_close(conn, conn->reason);
		} else {
			rx_readable(conn);
		}
	}
	if (conn->state != CONN_CLOSING)
		conn_update_poll(conn);
}

void
conn_update_poll(struct conn *conn)
{
	int events = 0;

	if (!conn->poll_open || uv_is_closing((uv_handle_t *)&conn->poll))
		return;
	if (conn->state == CONN_DRAIN ||
	    ((conn->state == CONN_LOGIN || conn->state == CONN_FULL) && !conn->rx.paused))
		events |= UV_READABLE;
	if (conn->tx.blocked)
		events |= UV_WRITABLE;
	if (events == conn->events)
		return;
	conn->events = events;
	if (events)
		(void)uv_poll_start(&conn->poll, events, on_poll); /* fails for closing handles alone */
	else
		(void)uv_poll_stop(&conn->poll);
}

static bool move_on(struct conn *conn);

static void
on_turn(struct loop_msg *msg)
{
	struct conn *conn = container_of(msg, struct conn, turn_msg);

	conn->turn_queued = false;
	if (conn->state == CONN_MOVING) {
		/* what is queued goes out from there */
		(void)move_on(conn); /* either way it is not ours any more */
		return;
	}
	if (conn->state == CONN_FULL && conn->parkq.head)
		scsi_command_unpark(conn);
	if (conn->state == CONN_FULL && conn->runq.head)
		scsi_command_run_queued(conn);
	if (conn->rx.resume) {
		conn->rx.resume = conn->rx.paused = false;
		rx_parse(conn);
	}
	tx_flush(conn);
	if (conn->state == CONN_DRAIN && tx_empty(conn) && !conn->lingering) {
		/* his unread bytes would turn our close into a reset that eats our last words */
		conn->lingering = true;
		(void)shutdown(conn->fd, SHUT_WR); /* if it fails, the read that follows says why */
	}
	conn_update_poll(conn);
	maybe_free(conn);
}

void
conn_queue_turn(struct conn *conn)
{
	if (conn->turn_queued)
		return;
	conn->turn_queued = true;
	loop_defer(conn->loop, &conn->turn_msg);
}

/* -- beginning ----------------------------------------------------------- */

unsigned
conn_tick_ms(const struct iscsi_server *server)
{
	const struct iscsi_limits *l = &server->limits;
	unsigned ms = min_of(l->login_timeout_ms, min_of(l->nop_interval_ms, l->nop_timeout_ms));

	if (l->idle_timeout_ms)
		ms = min_of(ms, l->idle_timeout_ms);
	return max_of(10u, min_of(1000u, ms / 4));
}

static void
on_timer(struct loop_timer *timer)
{
	struct conn *conn = container_of(timer, struct conn, timer);

	if (conn->state == CONN_DRAIN) {
		conn_close(conn, conn->reason);
		return;
	}
	loop_timer_start(timer, conn_tick_ms(conn->server));
	conn_tick(conn);
}

/* Poll and timer on the loop where the connection now is. */
static int
settle(struct conn *conn)
{
	int rc = uv_poll_init(loop_uv(conn->loop), &conn->poll, conn->fd);

	if (rc < 0)
		return rc;
	conn->poll_open = true;
	conn->events = 0;
	loop_timer_init(&conn->timer, conn->loop, on_timer);
	loop_timer_start(&conn->timer, conn_tick_ms(conn->server));
	conn_update_poll(conn);
	return 0;
}

static void
local_address(struct conn *conn)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);

	if (getsockname(conn->fd, (struct sockaddr *)&sa, &len) == 0)
		address_format((struct sockaddr *)&sa, conn->local);
}

int
conn_new(struct shard *shard, int fd, const char *peer, const char *portal, uint16_t portal_group)
{
	struct iscsi_server *server = shard->server;
	struct conn *conn = calloc(1, sizeof(*conn));
	int one = 1, rc;

	if (!conn)
		return -ENOMEM;
	conn->magic = CONN_MAGIC;
	conn->state = CONN_LOGIN;
	conn->server = server;
	conn->fd = fd;
	conn->turn_msg.fn = on_turn;
	conn->max_send = ISCSI_DEFAULT_SEGMENT;
	(void)snprintf(conn->peer, sizeof(conn->peer), "%s", peer);
	(void)snprintf(conn->portal, sizeof(conn->portal), "%s", portal);
	conn->portal_group = portal_group;
	shard_add(conn, shard);
	conn->since_ms = conn->last_rx_ms = loop_now_ms(conn->loop);
	conn->since_unix = time(NULL);
	local_address(conn);
	/* latency is lost without it, nothing else */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	command_pool_init(conn, server->limits.queue_depth + COMMANDS_SPARE);
	rc = rx_init(&conn->rx, ISCSI_DEFAULT_SEGMENT);
	if (rc == 0)
		rc = login_phase_init(conn);
	if (rc == 0)
		rc = settle(conn);
	if (rc < 0) {
		shard_remove(conn);
		rx_fini(&conn->rx);
		if (conn->login)
			login_fini(conn->login);
		free(conn->login);
		free(conn);
		return rc;
	}
	counter_add(&shard->stats.accepted, 1);
	crowd_add(conn);
	return 0;
}

/* -- moving -------------------------------------------------------------- */

static void
on_arrival(struct loop_msg *msg)
{
	struct conn *conn = container_of(msg, struct conn, move_msg);

	shard_add(conn, conn->move_to);
	conn->state = CONN_LOGIN;
	if (settle(conn) < 0) {
		conn_close(conn, CLOSE_NO_MEMORY);
		maybe_free(conn);
		return;
	}
	conn_queue_turn(conn);
	login_phase_moved(conn);
}

/* When nothing on this loop refers to it any more, off it goes: true, and the pointer is another loop's. */
static bool
move_on(struct conn *conn)
{
	if (conn->state != CONN_MOVING || conn->poll_open || conn->turn_queued)
		return false;
	conn->move_msg.fn = on_arrival;
	loop_post(conn->move_to->loop, &conn->move_msg);
	return true;
}

static void
on_poll_closed(uv_handle_t *handle)
{
	struct conn *conn = container_of(handle, struct conn, poll);

	conn->poll_open = false;
	if (!move_on(conn))
		maybe_free(conn);
}

void
conn_move(struct conn *conn, struct shard *shard)
{
	assert(!conn->pins);
	conn->state = CONN_MOVING;
	conn->move_to = shard;
	loop_timer_stop(&conn->timer);
	shard_remove(conn);
	uv_close((uv_handle_t *)&conn->poll, on_poll_closed);
}

/* -- full feature phase -------------------------------------------------- */

/* Take over declared and negotiated values. */
static void
conn_apply_params(struct conn *conn, const struct params *params)
{
	const uint32_t *v = params->active;

	conn->max_send = v[PARAM_MAX_RECV_DATA_SEGMENT_LENGTH];
	conn->max_burst = v[PARAM_MAX_BURST_LENGTH];
	conn->first_burst = v[PARAM_FIRST_BURST_LENGTH];
	conn->max_r2t = min_of(v[PARAM_MAX_OUTSTANDING_R2T], R2T_MAX);
	conn->initial_r2t = v[PARAM_INITIAL_R2T];
	conn->immediate_data = v[PARAM_IMMEDIATE_DATA];
}

void
conn_enter_full(struct conn *conn, struct session *session)
{
	const struct params *params = &conn->params;
	uint64_t now = loop_now_ms(conn->loop);
	struct rx *rx = &conn->rx;

	if (rx_grow(conn) < 0) {
		conn_login_failed(conn, -ENOMEM);
		return;
	}
	conn->params = conn->login->params;
	conn_apply_params(conn, params);
	conn->recovery = (uint8_t)session->params.active[PARAM_ERROR_RECOVERY_LEVEL];
	/* beside the window, as many as may wait to be acknowledged */
	if (conn->recovery)
		command_pool_init(conn, 2 * conn->server->limits.queue_depth + COMMANDS_SPARE);
	/* what we declared in the login, or the default where it left us no place to */
	rx->limits = (struct pdu_limits){
		.max_data = conn->login->declared ? params->mine[PARAM_MAX_RECV_DATA_SEGMENT_LENGTH]
						  : ISCSI_DEFAULT_SEGMENT,
		.max_ahs = ISCSI_AHS_MAX,
		.header_digest = params->active[PARAM_HEADER_DIGEST],
		.data_digest = params->active[PARAM_DATA_DIGEST],
	};
	rx->text.max = rx->limits.max_data;
	textbuf_init(&conn->text_in, LOGIN_TEXT_MAX);
	conn->state = CONN_FULL;
	conn->last_rx_ms = conn->last_data_ms = conn->last_command_ms = conn->tx.progress_ms = now;
	counter_add(&conn->shard->stats.logins, 1);
	if (log_ratelimit(&conn->server->logged_login, LOG_INTERVAL_MS))
		log_info("iscsi: %s: %s logged in to %s (session %u)", conn->peer, session->initiator,
			 session->target ? session->target->name : "discovery", session->tsih);
	login_phase_finish(conn);
	/* what came behind the last request */
	rx_resume(conn);
}

void
conn_login_failed(struct conn *conn, int err)
{
	login_phase_fail(conn, login_status_of(err));
}

/* -- ending -------------------------------------------------------------- */

static void
say_why(struct conn *conn, enum close_reason reason)
{
	const char *who = conn->session ? conn->session->initiator
			  : conn->login ? conn->login->initiator
					: "";
	const char *colon = *conn->detail ? ": " : "", *from = *who ? " from " : "";

	counter_add(&conn->shard->stats.closed[reason], 1);
	if (!log_ratelimit(&conn->server->logged[reason], LOG_INTERVAL_MS))
		return;
	if (close_reason_is_error(reason))
		log_warn("iscsi: %s%s%s: connection closed, %s%s%s", conn->peer, from, who,
			 close_reason_text(reason), colon, conn->detail);
	else
		log_debug("iscsi: %s%s%s: connection closed, %s%s%s", conn->peer, from, who,
			  close_reason_text(reason), colon, conn->detail);
}

static void
end_commands(struct conn *conn)
{
	struct command *next;

	/* the numbers of those that wait for their turn are not used up: they may come again elsewhere */
	if (conn->session)
		session_unhold(conn);
	recover_end(conn);
	for (struct command *cmd = conn->active; cmd; cmd = next) {
		next = cmd->next;
		/* what scsi has comes back in its done */
		if (cmd->state != COMMAND_RUN)
			command_free(cmd);
	}
}

static void
on_nexus_freed(void *arg)
{
	struct conn *conn = arg;

	conn->nexus_freeing = false;
	if (conn->state == CONN_LOGOUT)
		logout_progress(conn);
	conn_unpin(conn);
}

void
conn_free_nexus(struct conn *conn)
{
	struct session *session = conn->session;
	struct scsi_nexus *nexus;

	if (!session || !session->nexus)
		return;
	nexus = session->nexus;
	session->nexus = NULL;
	conn->nexus_freeing = true;
	conn_pin(conn);
	scsi_nexus_free(nexus, on_nexus_freed, conn);
}

void
conn_shut(struct conn *conn, enum close_reason reason)
{
	say_why(conn, reason);
	conn->reason = reason;
	if (conn->poll_open && !uv_is_closing((uv_handle_t *)&conn->poll))
		uv_close((uv_handle_t *)&conn->poll, on_poll_closed);
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	tx_drop(conn);
	if (conn->arena_waiting && arena_unwait(conn->server->arena, &conn->arena_waiter)) {
		conn->arena_waiting = false;
		conn->pins--; /* our callers still hold the pointer */
	}
}

/* It failed: nobody wanted its end. */
static bool
may_lose(enum close_reason reason)
{
	return reason == CLOSE_PEER || reason == CLOSE_SOCKET || reason == CLOSE_NOP_TIMEOUT ||
	       reason == CLOSE_STALLED || reason == CLOSE_UNACKNOWLEDGED || reason == CLOSE_HEADER_DIGEST;
}

void
conn_close(struct conn *conn, enum close_reason reason)
{
	bool waiting = conn->state == CONN_WAITING;

	if (conn->state == CONN_CLOSING)
		return;
	assert(conn->state != CONN_MOVING);
	if (conn->state == CONN_FULL && !conn->logout_asked && may_lose(reason) && conn_lose(conn, reason))
		return;
	conn->state = CONN_CLOSING;
	crowd_remove(conn);
	loop_timer_stop(&conn->timer);
	conn_shut(conn, reason);
	/* a callback of what follows must not be the last one */
	conn_pin(conn);
	fence_leave(conn, false);
	if (waiting)
		session_cancel_wait(conn);
	end_commands(conn);
	/* tasks of a connection end with it; the nexus, with the last */
	if (conn->session && !session_lives(conn->session))
		conn_free_nexus(conn);
	conn->pins--;
	/* nothing may be pending at all: free from a place of its own, our callers still hold the pointer */
	conn_queue_turn(conn);
}

void
conn_close_detail(struct conn *conn, enum close_reason reason, const char *fmt, ...)
{
	va_list ap;

	if (conn->state == CONN_CLOSING)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(conn->detail, sizeof(conn->detail), fmt, ap);
	va_end(ap);
	conn_close(conn, reason);
}

void
conn_drain(struct conn *conn, enum close_reason reason)
{
	if (conn->state == CONN_CLOSING || conn->state == CONN_DRAIN)
		return;
	conn->reason = reason;
	conn->state = CONN_DRAIN;
	fence_leave(conn, true);
	loop_timer_start(&conn->timer, DRAIN_MS);
	conn_queue_turn(conn);
}

static bool
reject_fill(struct conn *conn, struct command *cmd)
{
	struct tx_slot *slot = tx_slot(conn);
	struct pdu_numbers n;

	if (!slot)
		return false;
	n = tx_numbers(conn, true);
	slot->linear = cmd->small;
	slot->data_len = cmd->small_len;
	pdu_reject(slot->head, &n, (uint8_t)cmd->response, cmd->small_len);
	slot->cmd = cmd;
	slot->last = true;
	tx_commit(conn, slot);
	return true;
}

void
conn_reject(struct conn *conn, uint8_t reason, const uint8_t head[ISCSI_BHS_LEN])
{
	struct command *cmd = command_new(conn);

	counter_add(&conn->shard->stats.rejects, 1);
	if (log_ratelimit(&conn->server->logged_reject, LOG_INTERVAL_MS))
		log_warn("iscsi: %s: %s rejected: %s", conn->peer, pdu_opcode_name(head[0]),
			 reject_reason_text(reason));
	if (!cmd) {
		conn_close(conn, CLOSE_NO_MEMORY);
		return;
	}
	memcpy(cmd->small, head, ISCSI_BHS_LEN);
	cmd->small_len = ISCSI_BHS_LEN;
	cmd->response = reason;
	cmd->state = COMMAND_SEND;
	tx_queue(conn, cmd, reject_fill);
}
