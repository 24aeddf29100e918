/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keys of RFC 7143 clause 13: one row each in params.c, with default,
 * range, rule and the places where it may be used; and the negotiation that
 * turns offers into answers and values.
 *
 * Threads: any (pure; a struct params is its owner's).
 */
#ifndef LUNGATE_GATEWAY_ISCSI_PARAMS_H
#define LUNGATE_GATEWAY_ISCSI_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/iscsi/keys.h"

enum param {
	PARAM_SESSION_TYPE,
	PARAM_INITIATOR_NAME,
	PARAM_INITIATOR_ALIAS,
	PARAM_TARGET_NAME,
	PARAM_TARGET_ALIAS,
	PARAM_TARGET_ADDRESS,
	PARAM_TARGET_PORTAL_GROUP_TAG,
	PARAM_AUTH_METHOD,
	PARAM_HEADER_DIGEST,
	PARAM_DATA_DIGEST,
	PARAM_MAX_CONNECTIONS,
	PARAM_INITIAL_R2T,
	PARAM_IMMEDIATE_DATA,
	PARAM_MAX_RECV_DATA_SEGMENT_LENGTH,
	PARAM_MAX_BURST_LENGTH,
	PARAM_FIRST_BURST_LENGTH,
	PARAM_ERROR_RECOVERY_LEVEL,
	PARAM_DEFAULT_TIME2WAIT,
	PARAM_DEFAULT_TIME2RETAIN,
	PARAM_MAX_OUTSTANDING_R2T,
	PARAM_DATA_PDU_IN_ORDER,
	PARAM_DATA_SEQUENCE_IN_ORDER,
	PARAM_TASK_REPORTING,
	PARAM_PROTOCOL_LEVEL,
	PARAM_SEND_TARGETS,
	PARAM_NODE_ARCHITECTURE,
	PARAM_IF_MARKER,
	PARAM_OF_MARKER,
	PARAM_IF_MARK_INT,
	PARAM_OF_MARK_INT,
	PARAM_COUNT
};

enum param_kind {
	PARAM_KIND_AND, /* boolean, Yes when both say so */
	PARAM_KIND_OR,
	PARAM_KIND_MIN, /* number, the smaller one */
	PARAM_KIND_MAX,
	PARAM_KIND_LIST,     /* the first of his list that we have */
	PARAM_KIND_DECLARED, /* number that each side states for itself: no answer */
	PARAM_KIND_NAMED,    /* text that the login itself reads: no answer */
	PARAM_KIND_OURS,     /* only the target sends it */
	PARAM_KIND_AUTH,     /* the login answers it */
	PARAM_KIND_TEXT,     /* a request for text of the full feature phase: text.c answers it */
	PARAM_KIND_SAY_NO,   /* obsolete (13.25): "No" */
	PARAM_KIND_REJECT,   /* obsolete (13.25): "Reject" */
};

/* Where a key may be used. */
#define PARAM_LEADING 0x01u /* LO: the first connection of a session alone */
#define PARAM_LOGIN 0x02u   /* IO: in the login of each connection */
#define PARAM_FULL 0x04u    /* in the full feature phase */
#define PARAM_ANYWHERE (PARAM_LOGIN | PARAM_FULL)
#define PARAM_SECURITY_TOO 0x08u /* also in the security stage of the login */
#define PARAM_NO_DISCOVERY 0x10u /* Irrelevant in a discovery session */
#define PARAM_SESSION_WIDE 0x20u /* a session's, not a connection's, value */

struct param_desc {
	const char *name;
	enum param_kind kind;
	unsigned where;
	uint32_t min, max;          /* numbers */
	uint32_t fallback;          /* the RFC's default; index into choices for lists, 0/1 for booleans */
	const char *const *choices; /* LIST: what we have, NULL-terminated */
};
extern const struct param_desc param_table[PARAM_COUNT];

enum param_phase { PARAM_PHASE_SECURITY, PARAM_PHASE_OPERATIONAL, PARAM_PHASE_FULL };

struct params {
	uint32_t mine[PARAM_COUNT];   /* what we would like; for declared ones what we state */
	uint32_t his[PARAM_COUNT];    /* what he offered or stated; default until then */
	uint32_t active[PARAM_COUNT]; /* what holds */
	uint32_t seen;                /* bit per key: offered in this negotiation */
	bool discovery;
	bool leading; /* first connection of its session */
};

/** RFC defaults active; `mine` from the limits, cut to what the RFC allows. */
struct param_limits {
	uint32_t max_recv_segment, max_burst, first_burst, max_outstanding_r2t;
	uint32_t max_connections; /* of a session */
	uint32_t error_recovery_level, task_retain_s;
};
void params_init(struct params *params, const struct param_limits *limits);

/** The key of that name, or PARAM_COUNT. */
enum param param_find(const char *name);

/**
 * Answer one offered pair into out.  Kinds NAMED, AUTH and TEXT are the caller's: nothing is done for them
 * here. 0; LG_EPROTO when the offer itself breaks the protocol (a key twice in one negotiation, 6.3): the
 * negotiation fails then.
 */
MUST_CHECK int params_offer(struct params *params, enum param_phase phase, const char *key, const char *value,
			    struct textbuf *out);
/** All pairs of a text, in the order in which they depend on one another. */
MUST_CHECK int params_offer_all(struct params *params, enum param_phase phase, const struct keys *keys,
				struct textbuf *out);
/** Begin another negotiation: keys may be offered again. */
void params_restart(struct params *params);

/** "CRC32C", "Yes", "262144": the active value for people and JSON; buf of at least 16. */
const char *params_text(const struct params *params, enum param param, char *buf, size_t room);

#endif
