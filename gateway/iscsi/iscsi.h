/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The iSCSI target: portals, targets, sessions.  What the daemon's
 * configuration and its inspection need of it.
 *
 * Threads: all calls from the main loop's thread or another thread that may block, never from
 * an I/O loop; they are serialised by the caller (gateway/admin.c), but for iscsi_sessions_end().
 */
#ifndef LUNGATE_GATEWAY_ISCSI_H
#define LUNGATE_GATEWAY_ISCSI_H

#include <jansson.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/err.h"
#include "common/loop.h"
#include "gateway/scsi/scsi.h"

struct iscsi_access;
struct iscsi_server;
struct iscsi_target;
struct secret;

/** Limits and times; iscsi_limits_default() fills in sensible ones. */
struct iscsi_limits {
	unsigned max_connections;        /* 1024 that have logged in */
	unsigned max_connections_per_address; /* 512 of these from one address */
	unsigned max_logins;             /* 256 that have not: of more the oldest is closed */
	unsigned login_timeout_ms;       /* 15000: from accept to full feature phase */
	unsigned idle_timeout_ms;        /* 0 = never close idle ones; pings below */
	unsigned nop_interval_ms;        /* 30000: NOP-In after silence */
	unsigned nop_timeout_ms;         /* 15000: no answer to it: the connection is dropped */
	unsigned queue_depth;            /* command window, 128 */
	uint32_t max_recv_segment;       /* MaxRecvDataSegmentLength declared: 262144 */
	uint32_t max_burst;              /* 1 MiB at most offered */
	uint32_t first_burst;            /* 262144 */
	unsigned max_outstanding_r2t;    /* 16 */
	unsigned error_recovery_level;   /* offered at most: 2 */
	unsigned task_retain_s;          /* DefaultTime2Retain at most, 20: at level 2 */
	unsigned session_connections;    /* MaxConnections offered at most: 4 */
};
void iscsi_limits_default(struct iscsi_limits *limits);

/** loops[0..n): where connections may live. */
int iscsi_server_new(struct loop *const *loops, unsigned nloops, struct arena *arena,
		     const struct iscsi_limits *limits, struct iscsi_server **ret);

/* -- portals -- */

#define ISCSI_PORTAL_GROUP_DEFAULT 1
#define ISCSI_GROUPS_MAX SCSI_GROUPS_MAX
#define ISCSI_REDIRECT_MAX 264 /* "[...]:65535", or a host name and a port */

/** Bind exactly this: "127.0.0.1:3260", "[::1]:3260", "0.0.0.0:3260"; port 0 = any free.  Words on failure
 *  ("port 3260 of 127.0.0.1 is in use ..."). ret_bound (may be NULL, 64 bytes) gets the address as bound.
 *  In the default group. */
int iscsi_portal_add(struct iscsi_server *server, const char *address, char *ret_bound, struct errinfo *info);
/** The same, in the portal group of this tag (1 to 65535). */
int iscsi_portal_add_to(struct iscsi_server *server, uint16_t group, const char *address, char *ret_bound,
			struct errinfo *info);
/** Stops listening; sessions stay.  By the address as configured or as bound. */
int iscsi_portal_remove(struct iscsi_server *server, const char *address);
/** [{address, bound, group, connections, redirect: {to, permanent} or null}] */
json_t *iscsi_portals(struct iscsi_server *server);

/** Where logins are sent instead (RFC 7143 11.13.5: status class 1): "ADDRESS:PORT" or "HOST:PORT". */
struct iscsi_redirect {
	char to[ISCSI_REDIRECT_MAX]; /* "": nowhere, they are served */
	bool permanent;
};
int iscsi_redirect_check(const char *to, struct errinfo *info);
/** From now on, for logins to targets (not for discovery).  NULL: none.  -ENOENT. */
int iscsi_portal_set_redirect(struct iscsi_server *server, const char *address,
			      const struct iscsi_redirect *redirect);
/** The same for one target, whatever the portal; one who comes by the address that it names is served. */
int iscsi_target_set_redirect(struct iscsi_server *server, const char *name,
			      const struct iscsi_redirect *redirect);
/** The portal groups that lead to the target; n 0: all.  Sessions that came by another are asked to log out and
 *  are gone when this returns.  -ENOENT, -EINVAL. */
int iscsi_target_set_groups(struct iscsi_server *server, const char *name, const uint16_t *tags, size_t n);

/** name: an iqn., eui. or naa. name (RFC 7143 4.2.7), checked and normalised (lower case). */
int iscsi_name_check(const char *name, struct errinfo *info);
int iscsi_target_add(struct iscsi_server *server, const char *name, struct scsi_target *scsi,
		     struct iscsi_target **ret, struct errinfo *info);
/** Ends its sessions (Async logout request, then closed), then removes it. */
int iscsi_target_remove(struct iscsi_server *server, const char *name);
/** A LUN was mapped or unmapped: its sessions are told now, and not with their next command alone.  From any
 *  non-loop thread.  name: as normalised. */
void iscsi_target_luns_changed(struct iscsi_server *server, const char *name);

/* -- access -- */

/** A CHAP account. */
struct iscsi_account {
	const char *user;
	struct secret *secret;
};

/** A row of a list of initiators. */
struct iscsi_initiator {
	const char *name;    /* an initiator's name; with '*' at its end, all that begin so */
	const char *network; /* "10.0.0.0/8", "2001:db8::1"; NULL: from anywhere */
	const char *user;    /* the account that it has to use; NULL: any of the list */
	const struct scsi_view *view; /* what it sees; NULL: every LUN */
};

struct iscsi_access_spec {
	bool chap;             /* initiators have to authenticate; with no account nobody can */
	const struct iscsi_account *accounts;
	size_t naccounts;
	const struct iscsi_account *mutual; /* what the target proves itself with; NULL: it cannot */
	unsigned algorithms;   /* 1 << number of CHAP_A; 0 = all there are */
	bool listed;           /* only initiators of the list; with none nobody */
	const struct iscsi_initiator *initiators;
	size_t ninitiators;
};

/** Takes references and copies.  Words on what cannot be. */
int iscsi_access_new(const struct iscsi_access_spec *spec, struct iscsi_access **ret, struct errinfo *info);
void iscsi_access_unref(struct iscsi_access *access);
int iscsi_initiator_check(const char *name, const char *network, struct errinfo *info);

/** From now on; the reference is taken over, NULL = everybody.  Sessions that would not be let in any more are ended, views
 *  of the others change.  -ENOENT. */
int iscsi_target_set_access(struct iscsi_server *server, const char *name, struct iscsi_access *access);
/** For discovery sessions that begin from now on; access->listed does not count. */
void iscsi_discovery_set_access(struct iscsi_server *server, struct iscsi_access *access);

/** The sessions as JSON array of objects {id, target, initiator, alias, isid, tsih, connections: [{cid, address, portal,
 *  since, params: {...}, counters}] }; target NULL = all.  From any non-loop thread. */
json_t *iscsi_sessions(struct iscsi_server *server, const char *target);
/** Counters for metrics: {connections, sessions, logins, login_failures, rejects, pdus_in, pdus_out, bytes_in, bytes_out, ...}. */
json_t *iscsi_counters(struct iscsi_server *server);
size_t iscsi_session_count(struct iscsi_server *server, const char *target);

/** Which sessions: NULL = whatever it is. */
struct iscsi_who {
	const char *id;        /* as in iscsi_sessions() */
	const char *initiator, *target;
	const char *portal;    /* as bound */
};
/** Ask their initiators to log out (RFC 7143 11.9, event 1); who has not after grace_ms is told that the session is dropped (event
 *  3), and it is.  Returns how many there were, when all are gone.  Who logs in meanwhile is not meant. */
size_t iscsi_sessions_end(struct iscsi_server *server, const struct iscsi_who *who, unsigned grace_ms);

/** Stop accepting, ask initiators to log out, close everything, free. */
void iscsi_server_free(struct iscsi_server *server);

#endif
