/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon shows of the server: sessions, counters.  Built on the loops
 * that own the connections, one after the other.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/iscsi/conn.h"

struct collect {
	struct shard *shard;
	const char *target;
	json_t *sessions; /* NULL: only count */
	size_t n;
};

static json_t *
describe_params(const struct conn *conn)
{
	json_t *object = json_object();

	for (int i = 0; i < PARAM_COUNT; i++) {
		char buf[16];
		const char *text = params_text(&conn->params, (enum param)i, buf, sizeof(buf));

		if (*text)
			json_object_set_new(object, param_table[i].name, json_string(text));
	}
	json_object_set_new(object, "TargetMaxRecvDataSegmentLength", json_integer(conn->rx.limits.max_data));
	return object;
}

static json_t *
describe_conn(const struct conn *conn)
{
	char since[UTC_TEXT];

	utc_format(conn->since_unix, since);
	return json_pack(
		"{s:i, s:s, s:s, s:s, s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}}", "cid", conn->cid,
		"address", conn->peer, "portal", conn->local, "since", since, "params", describe_params(conn),
		"counters", "commands", (json_int_t)counter_read(&conn->commands), "errors",
		(json_int_t)counter_read(&conn->errors), "pdus_in", (json_int_t)counter_read(&conn->pdus_in),
		"pdus_out", (json_int_t)counter_read(&conn->pdus_out), "bytes_in",
		(json_int_t)counter_read(&conn->bytes_in), "bytes_out",
		(json_int_t)counter_read(&conn->bytes_out), "in_flight",
		(json_int_t)conn->session->outstanding);
}

void
session_id(const struct session *session, char ret[SESSION_ID_MAX])
{
	const uint8_t *isid = session->isid;

	(void)snprintf(ret, SESSION_ID_MAX, "%04x-%02x%02x%02x%02x%02x%02x", session->tsih, isid[0], isid[1],
		       isid[2], isid[3], isid[4], isid[5]);
}

static bool
is_up(const struct conn *conn)
{
	return conn->session && (conn->state == CONN_FULL || conn->state == CONN_LOGOUT);
}

static json_t *
describe_conns(const struct session *session)
{
	json_t *array = json_array();

	for (const struct conn *conn = session->conns; conn; conn = conn->session_next)
		if (is_up(conn))
			json_array_append_new(array, describe_conn(conn));
	return array;
}

/* A session is met once for each of its connections, and counts with the first. */
static bool
is_first(const struct conn *conn)
{
	const struct conn *first = conn->session->conns;

	while (!is_up(first))
		first = first->session_next;
	return first == conn;
}

static json_t *
describe_session(const struct session *session)
{
	char id[SESSION_ID_MAX];

	session_id(session, id);
	/* names and aliases are the peer's: what is no UTF-8 is left out */
	return json_pack("{s:s, s:s?, s:s*, s:s*, s:s*, s:s, s:i, s:i, s:o}", "id", id, "target",
			 session->target ? session->target->name : NULL, "initiator", session->initiator,
			 "alias", session->alias, "user", *session->user ? session->user : NULL, "isid",
			 strchr(id, '-') + 1, "tsih", session->tsih, "portal_group", session->portal_group,
			 "connections", describe_conns(session));
}

static int
collect_shard(void *arg)
{
	struct collect *collect = arg;

	for (const struct conn *conn = collect->shard->conns; conn; conn = conn->next) {
		const struct session *session = conn->session;
		json_t *object;

		if (!is_up(conn) || !is_first(conn))
			continue;
		if (collect->target &&
		    (!session->target || strcmp(session->target->name, collect->target) != 0))
			continue;
		collect->n++;
		if (!collect->sessions)
			continue;
		object = describe_session(session);
		if (object)
			json_array_append_new(collect->sessions, object);
	}
	return 0;
}

static size_t
collect_all(struct iscsi_server *server, const char *target, json_t *sessions)
{
	struct collect collect = {.target = target, .sessions = sessions};

	for (unsigned i = 0; i < server->nshards; i++) {
		collect.shard = &server->shards[i];
		(void)loop_call(collect.shard->loop, collect_shard, &collect); /* returns 0 */
	}
	return collect.n;
}

json_t *
iscsi_sessions(struct iscsi_server *server, const char *target)
{
	json_t *sessions = json_array();
	char lower[ISCSI_NAME_MAX + 1];

	if (target && login_name(target, lower) < 0)
		return sessions;
	collect_all(server, target ? lower : NULL, sessions);
	return sessions;
}

size_t
iscsi_session_count(struct iscsi_server *server, const char *target)
{
	char lower[ISCSI_NAME_MAX + 1];

	if (target && login_name(target, lower) < 0)
		return 0;
	return collect_all(server, target ? lower : NULL, NULL);
}

static const struct {
	const char *name;
	size_t offset;
} stat_table[] = {
#define STAT(name) {#name, offsetof(struct iscsi_stats, name)},
	ISCSI_STATS(STAT)
#undef STAT
};

static json_int_t
sum(const struct iscsi_server *server, size_t offset)
{
	json_int_t n = 0;

	for (unsigned i = 0; i < server->nshards; i++) {
		const char *stats = (const char *)&server->shards[i].stats;

		n += (json_int_t)counter_read((const counter_t *)(const void *)(stats + offset));
	}
	return n;
}

json_t *
iscsi_counters(struct iscsi_server *server)
{
	json_t *object = json_object();

	json_object_set_new(object, "connections", json_integer(atomic_load(&server->nconns)));
	json_object_set_new(object, "sessions", json_integer((json_int_t)iscsi_session_count(server, NULL)));
	for (size_t i = 0; i < ARRAY_SIZE(stat_table); i++)
		json_object_set_new(object, stat_table[i].name,
				    json_integer(sum(server, stat_table[i].offset)));
	for (int i = 0; i < CLOSE_COUNT; i++) {
		char name[48];

		(void)snprintf(name, sizeof(name), "closed_%s", close_reason_name((enum close_reason)i));
		json_object_set_new(object, name,
				    json_integer(sum(server, offsetof(struct iscsi_stats, closed) +
								     (size_t)i * sizeof(counter_t))));
	}
	return object;
}
