/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Targets: names, and which logical units stand behind them.
 *
 * A target is in server->targets until it is removed; connections that found it hold references, so
 * the scsi_target is in use until the last of them is gone. Removal waits for that.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/iscsi/conn.h"

/* -- names, RFC 7143 4.2.7 ------------------------------------------------ */

static bool
all_of(const char *s, size_t n, const char *set)
{
	return strspn(s, set) >= n;
}

#define DIGITS "0123456789"
#define HEX DIGITS "abcdefABCDEF"
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS ".-:"

/* iqn.yyyy-mm.reversed.domain[:anything] */
static const char *
check_iqn(const char *name)
{
	const char *date = name + 4, *domain;
	unsigned month;

	if (strlen(date) < 8 || !all_of(date, 4, DIGITS) || date[4] != '-' || !all_of(date + 5, 2, DIGITS) ||
	    date[7] != '.')
		return "after \"iqn.\" comes a date and a reversed domain name, as in iqn.2024-01.com.example:disk1";
	month = (unsigned)(date[5] - '0') * 10 + (unsigned)(date[6] - '0');
	if (month < 1 || month > 12)
		return "the month of its date is not one of 01 to 12";
	domain = date + 8;
	if (!*domain || *domain == ':' || *domain == '.' || *domain == '-')
		return "after the date comes a reversed domain name, as in iqn.2024-01.com.example:disk1";
	return NULL;
}

static const char *
check_name(const char *name)
{
	size_t n = strlen(name);

	if (n > ISCSI_NAME_MAX)
		return "it is longer than 223 bytes";
	if (!all_of(name, n, NAME_CHARS))
		return "it may have letters, digits, '.', '-' and ':' only";
	if (!strncasecmp(name, "iqn.", 4))
		return check_iqn(name);
	if (!strncasecmp(name, "eui.", 4))
		return n == 20 && all_of(name + 4, 16, HEX) ? NULL
							    : "after \"eui.\" come 16 hexadecimal digits";
	if (!strncasecmp(name, "naa.", 4))
		return (n == 20 || n == 36) && all_of(name + 4, n - 4, HEX)
			       ? NULL
			       : "after \"naa.\" come 16 or 32 hexadecimal digits";
	return "it begins with none of \"iqn.\", \"eui.\" and \"naa.\"";
}

int
iscsi_name_check(const char *name, struct errinfo *info)
{
	const char *wrong = check_name(name);

	return wrong ? err_set(info, -EINVAL, "\"%.240s\" is no iSCSI name: %s", name, wrong) : 0;
}

/* -- the table ----------------------------------------------------------- */

int
target_find(struct iscsi_server *server, const char *name, struct iscsi_target **ret)
{
	struct iscsi_target *t;
	int rc = -ENOENT;

	if (atomic_load(&server->stopping))
		return LG_ESTOPPING;
	pthread_mutex_lock(&server->lock);
	for (t = server->targets; t && strcmp(t->name, name) != 0; t = t->next)
		;
	if (t) {
		t->refs++;
		*ret = t;
		rc = 0;
	}
	pthread_mutex_unlock(&server->lock);
	return rc;
}

void
target_unref(struct iscsi_server *server, struct iscsi_target *target)
{
	bool last;

	pthread_mutex_lock(&server->lock);
	last = --target->refs == 0;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	if (!last)
		return;
	iscsi_access_unref(target->access);
	free(target);
}

int
iscsi_target_add(struct iscsi_server *server, const char *name, struct scsi_target *scsi,
		 struct iscsi_target **ret, struct errinfo *info)
{
	struct iscsi_target *target, **p;
	int rc = iscsi_name_check(name, info);

	if (rc < 0)
		return rc;
	target = calloc(1, sizeof(*target));
	if (!target)
		return err_set(info, -ENOMEM, "out of memory");
	if (login_name(name, target->name) < 0) {
		free(target);
		return err_set(info, -EINVAL, "\"%.240s\" is no iSCSI name", name);
	}
	target->scsi = scsi;
	target->refs = 1;
	pthread_mutex_lock(&server->lock);
	for (p = &server->targets; *p && strcmp((*p)->name, target->name) != 0; p = &(*p)->next)
		;
	if (*p)
		rc = -EEXIST;
	else
		*p = target;
	pthread_mutex_unlock(&server->lock);
	if (rc < 0) {
		free(target);
		return err_set(info, rc, "there is a target \"%s\" already", name);
	}
	if (ret)
		*ret = target;
	return 0;
}

/* -- removal ------------------------------------------------------------- */

struct visit {
	struct shard *shard;
	const struct iscsi_target *target;
	bool ask;
};

static int
visit_shard(void *arg)
{
	const struct visit *visit = arg;
	struct conn *next;

	for (struct conn *conn = visit->shard->conns; conn; conn = next) {
		next = conn->next;
		if (conn->target != visit->target)
			continue;
		if (visit->ask)
			conn_ask_logout(conn, CLOSE_TARGET_REMOVED, STOP_GRACE_MS);
		else
			conn_drop(conn, CLOSE_TARGET_REMOVED);
	}
	return 0;
}

static void
visit_all(struct iscsi_server *server, const struct iscsi_target *target, bool ask)
{
	for (unsigned i = 0; i < server->nshards; i++) {
		struct visit visit = {.shard = &server->shards[i], .target = target, .ask = ask};

		(void)loop_call(server->shards[i].loop, visit_shard, &visit); /* returns 0 */
	}
}

int
iscsi_target_remove(struct iscsi_server *server, const char *name)
{
	struct iscsi_target *target, **p;
	char lower[ISCSI_NAME_MAX + 1];

	if (login_name(name, lower) < 0)
		return -ENOENT;
	pthread_mutex_lock(&server->lock);
	for (p = &server->targets; (target = *p) && strcmp(target->name, lower) != 0; p = &target->next)
		;
	if (target) {
		*p = target->next;
		target->removed = true;
	}
	pthread_mutex_unlock(&server->lock);
	if (!target)
		return -ENOENT;
	visit_all(server, target, true);
	server_await(server, &target->refs, 1, STOP_GRACE_MS);
	/* one that moves between loops is met on a later visit */
	do {
		visit_all(server, target, false);
	} while (!server_await(server, &target->refs, 1, 50));
	target_unref(server, target);
	return 0;
}
