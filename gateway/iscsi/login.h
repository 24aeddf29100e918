/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The login phase of one connection, RFC 7143 clause 6.3, as a machine that is
 * fed with Login Requests and says what to answer.  Knows no socket and no
 * session: what it must know of targets and sessions it asks through
 * struct login_ops.
 *
 * Threads: any (pure but for the calls of its ops).
 */
#ifndef LUNGATE_GATEWAY_ISCSI_LOGIN_H
#define LUNGATE_GATEWAY_ISCSI_LOGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/iscsi/access.h"
#include "gateway/iscsi/chap.h"
#include "gateway/iscsi/keys.h"
#include "gateway/iscsi/params.h"
#include "gateway/iscsi/pdu.h"
#include "gateway/iscsi/status.h"

#define LOGIN_TEXT_MAX 16384 /* key=value text of one request sequence; 6.1 asks for at least 8192 */
#define LOGIN_ALIAS_MAX 255
#define LOGIN_REQUESTS_MAX 64

struct auth_method;
struct login;

struct login_ops {
	/** May this initiator log in to the target of this (normalised) name? 0, -ENOENT, -EPERM,
	 * LG_ESTOPPING, or -EREMOTE and -EREMCHG with redirect set.  Sets access (a reference), entry and, when it refuses, why. */
	int (*find_target)(void *arg, struct login *login);
	/** The same for discovery; NULL: anybody. */
	int (*find_discovery)(void *arg, struct login *login);
	/** TSIH is not 0: the session that the connection wants to join or take over. 0, -ESRCH, -EUSERS;
	 * fills in the session-wide part of params. */
	int (*find_session)(void *arg, struct login *login);
};

struct login {
	const struct login_ops *ops;
	void *arg;
	struct params params;

	/* from the first request on */
	bool begun;
	uint8_t isid[6];
	uint16_t tsih, cid;
	uint32_t itt, cmdsn;
	enum iscsi_stage stage;

	/* from the first complete text on */
	bool named;
	bool has_session_type;
	bool discovery;
	char initiator[ISCSI_NAME_MAX + 1];
	char alias[LOGIN_ALIAS_MAX + 1];
	char target[ISCSI_NAME_MAX + 1];
	uint16_t portal_group;             /* by which it came */
	char redirect[ISCSI_REDIRECT_MAX]; /* with status class 1: where to go */

	/* authentication */
	struct iscsi_access *access;      /* a reference; NULL: there are no rules */
	const struct access_entry *entry; /* of access */
	const struct auth_method *method; /* chosen */
	struct chap chap;
	bool authenticated;
	char user[CHAP_NAME_MAX + 1]; /* the account that it logged in with, or "" */
	const char *why;              /* it failed: words for our log, not for the initiator */

	bool declared; /* our MaxRecvDataSegmentLength is said */
	unsigned requests;
	struct textbuf in, out;
};

/** What to answer to one request. */
struct login_reply {
	uint16_t status; /* not ISCSI_LOGIN_OK: the login has failed; answer, then close */
	uint8_t flags;   /* byte 1 */
	bool full;       /* this answer ends the login phase */
	const char *text;
	uint32_t text_len;
};

void login_init(struct login *login, const struct login_ops *ops, void *arg,
		const struct param_limits *limits);
void login_fini(struct login *login);

/** One Login Request.  The text of the reply stays valid until the next call. */
void login_request(struct login *login, const uint8_t bhs[ISCSI_BHS_LEN], const void *text, uint32_t len,
		   struct login_reply *ret);

/** Lower case of an iSCSI name; 0, or -EINVAL: empty, too long, or with blanks or control characters. */
MUST_CHECK int login_name(const char *name, char ret[ISCSI_NAME_MAX + 1]);

#endif
