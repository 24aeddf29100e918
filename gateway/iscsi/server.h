/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server as the files of gateway/iscsi/ see it: its loops, and the tables
 * of portals, targets and sessions.
 *
 * Threads: the tables are under `lock`, which is taken at login, at the end of a connection, for SendTargets
 * and by configuration, and never with another lock or a callback inside.  A shard is its loop's alone; its
 * counters are read by any thread.
 */
#ifndef LUNGATE_GATEWAY_ISCSI_SERVER_H
#define LUNGATE_GATEWAY_ISCSI_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/stats.h"
#include "gateway/iscsi/iscsi.h"
#include "gateway/iscsi/login.h"
#include "gateway/iscsi/status.h"

#define ADDRESS_MAX 64     /* "[...]:65535" */
#define CROWD_BUCKETS 256u
#define STOP_GRACE_MS 2000 /* from a request to log out to the end of a connection */

struct conn;
struct crowd_peer;
struct portal;
struct session;

/* Counters of one loop.  STAT(name) */
#define ISCSI_STATS(STAT)                                                                                    \
	STAT(accepted)                                                                                       \
	STAT(logins)                                                                                         \
	STAT(login_failures)                                                                                 \
	STAT(redirects)                                                                                      \
	STAT(logouts)                                                                                        \
	STAT(rejects)                                                                                        \
	STAT(pdus_in)                                                                                        \
	STAT(pdus_out)                                                                                       \
	STAT(bytes_in)                                                                                       \
	STAT(bytes_out)                                                                                      \
	STAT(commands)                                                                                       \
	STAT(data_out_pdus)                                                                                  \
	STAT(data_in_pdus)                                                                                   \
	STAT(r2ts)                                                                                           \
	STAT(task_management)                                                                                \
	STAT(nop_ins_sent)                                                                                   \
	STAT(ignored_pdus)     /* outside of the command window, or for a task that is gone */               \
	STAT(fences)           /* responses that all others of their session had to wait for */              \
	STAT(snacks)                                                                                         \
	STAT(reassigned)       /* tasks that another connection took over */                                 \
	STAT(sent_again)       /* what SNACKs asked for, and R2Ts for data that was lost */           \
	STAT(parked)           /* commands that waited for memory */                                         \
	STAT(asked_again)      /* of those, whose data was let go and asked for again */                     \
	STAT(failed_transfers) /* commands that ended with a condition of RFC 7143 11.4.7.2 */

struct iscsi_stats {
#define STAT(name) counter_t name;
	ISCSI_STATS(STAT)
#undef STAT
	counter_t closed[CLOSE_COUNT];
};

struct shard {
	struct iscsi_server *server;
	struct loop *loop;
	struct conn *conns;
	struct conn *half_first, *half_last; /* those that have not logged in, the oldest first */
	unsigned nhalf;
	struct iscsi_stats stats;
};

struct iscsi_target {
	char name[ISCSI_NAME_MAX + 1];
	struct scsi_target *scsi;
	struct iscsi_access *access; /* a reference, under the lock; NULL: no rules */
	struct iscsi_redirect redirect;    /* under the lock */
	uint16_t groups[ISCSI_GROUPS_MAX]; /* under the lock: the portal groups that lead to it */
	unsigned ngroups;                  /* 0: all of them do */
	struct iscsi_target *next;
	unsigned refs; /* the table's, and one for each connection that found it */
	bool removed;
};

struct iscsi_server {
	struct shard *shards;
	unsigned nshards;
	struct arena *arena;
	struct iscsi_limits limits;
	/** Bytes of the arena that one connection may hold for writes whose data has not come, and again
	 *  for reads whose data is not sent. */
	uint64_t budget;
	_Atomic unsigned nconns;
	_Atomic unsigned next_shard; /* round robin of accept */
	_Atomic bool stopping;
	_Atomic unsigned long long logged[CLOSE_COUNT]; /* log_ratelimit */
	_Atomic unsigned long long logged_reject, logged_login;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a connection is gone */
	struct portal *portals;
	struct iscsi_target *targets;
	struct iscsi_access *discovery; /* as of a target */
	struct session *sessions;
	uint16_t last_tsih;
	struct crowd_peer *peers[CROWD_BUCKETS]; /* crowd.c: who has how many places */
	unsigned nplaces;
	_Atomic unsigned last_drop_id; /* kick.c */
};

/** The shard of a loop, or NULL when connections may not live there. */
struct shard *server_shard(struct iscsi_server *server, const struct loop *loop);
/** Not on a loop: wait at most ms until *value (under the lock; NULL: the number of connections) is at most
 * `most`. */
bool server_await(struct iscsi_server *server, const unsigned *value, unsigned most, unsigned ms);

/* -- target.c -- */
/** With a reference; -ENOENT, LG_ESTOPPING. */
int target_find(struct iscsi_server *server, const char *name, struct iscsi_target **ret);
void target_unref(struct iscsi_server *server, struct iscsi_target *target);

/* -- access_live.c -- */
/** login_ops.find_target for the target that the connection has found, and find_discovery. */
int access_for_target(struct conn *conn, struct login *login);
int access_for_discovery(void *arg, struct login *login);
/** What the session sees, or -EPERM: the rules changed since the login.  After its nexus is made, before its first command. */
int access_admit(struct conn *conn);
/** Under the lock: may an initiator that came from peer know of the target? */
bool access_shows(const struct iscsi_target *target, const char *initiator, const char *peer);

/* -- portal.c -- */
void portals_free(struct iscsi_server *server);
/** Append the TargetAddress keys by which an initiator that came in at `local` can reach the target.  Under the
 * lock. */
void portals_addresses(struct iscsi_server *server, const struct iscsi_target *target, const char *local,
		       struct textbuf *out);
/** Under the lock: does a portal group lead to the target? */
bool portal_group_leads(const struct iscsi_target *target, uint16_t group);
/** The last word of login_ops.find_target: 0, -ENOENT, or where to go instead, as -EREMOTE and -EREMCHG. */
int portal_admit(struct conn *conn, struct login *login);

/* -- kick.c -- */
/** Ask the connections that match() to log out, see that they do; how many there were.  Not on a loop. */
size_t kick_all(struct iscsi_server *server, bool (*match)(const struct conn *conn, const void *arg),
		const void *arg, enum close_reason reason, unsigned grace_ms);
/** "192.0.2.1:3260", "[2001:db8::1]:3260" */
struct sockaddr;
void address_format(const struct sockaddr *sa, char ret[ADDRESS_MAX]);

#endif
