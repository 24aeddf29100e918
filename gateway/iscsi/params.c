/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/iscsi/params.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/util.h"

#define SEGMENT_MAX ((1u << 24) - 1)

static const char *const digests[] = {"None", "CRC32C", NULL};
/* FastAbort is left out: it wants asynchronous messages to third-party sessions */
static const char *const reporting[] = {"RFC3720", "ResponseFence", NULL};

#define LO (PARAM_LEADING | PARAM_SESSION_WIDE)
#define LO_NORMAL (PARAM_LEADING | PARAM_SESSION_WIDE | PARAM_NO_DISCOVERY)

/* name, kind, where, min, max, default, choices: in the order in which offers are answered, so that a row may
 * depend on rows before it. */
const struct param_desc param_table[PARAM_COUNT] = {
	[PARAM_SESSION_TYPE] = {"SessionType", PARAM_KIND_NAMED, LO | PARAM_SECURITY_TOO, 0, 0, 0, NULL},
	[PARAM_INITIATOR_NAME] = {"InitiatorName", PARAM_KIND_NAMED, PARAM_LOGIN | PARAM_SECURITY_TOO, 0, 0,
				  0, NULL},
	[PARAM_INITIATOR_ALIAS] = {"InitiatorAlias", PARAM_KIND_NAMED, PARAM_ANYWHERE | PARAM_SECURITY_TOO, 0,
				   0, 0, NULL},
	[PARAM_TARGET_NAME] = {"TargetName", PARAM_KIND_NAMED, PARAM_LOGIN | PARAM_SECURITY_TOO, 0, 0, 0,
			       NULL},
	[PARAM_TARGET_ALIAS] = {"TargetAlias", PARAM_KIND_OURS, PARAM_ANYWHERE | PARAM_SECURITY_TOO, 0, 0, 0,
				NULL},
	[PARAM_TARGET_ADDRESS] = {"TargetAddress", PARAM_KIND_OURS, PARAM_ANYWHERE | PARAM_SECURITY_TOO, 0, 0,
				  0, NULL},
	[PARAM_TARGET_PORTAL_GROUP_TAG] = {"TargetPortalGroupTag", PARAM_KIND_OURS,
					   PARAM_LOGIN | PARAM_SECURITY_TOO, 0, 0, 0, NULL},
	[PARAM_AUTH_METHOD] = {"AuthMethod", PARAM_KIND_AUTH, PARAM_LOGIN | PARAM_SECURITY_TOO, 0, 0, 0,
			       NULL},
	[PARAM_HEADER_DIGEST] = {"HeaderDigest", PARAM_KIND_LIST, PARAM_LOGIN, 0, 0, 0, digests},
	[PARAM_DATA_DIGEST] = {"DataDigest", PARAM_KIND_LIST, PARAM_LOGIN, 0, 0, 0, digests},
	[PARAM_MAX_CONNECTIONS] = {"MaxConnections", PARAM_KIND_MIN, LO_NORMAL, 1, 65535, 1, NULL},
	[PARAM_INITIAL_R2T] = {"InitialR2T", PARAM_KIND_OR, LO_NORMAL, 0, 1, 1, NULL},
	[PARAM_IMMEDIATE_DATA] = {"ImmediateData", PARAM_KIND_AND, LO_NORMAL, 0, 1, 1, NULL},
	[PARAM_MAX_RECV_DATA_SEGMENT_LENGTH] = {"MaxRecvDataSegmentLength", PARAM_KIND_DECLARED,
						PARAM_ANYWHERE, 512, SEGMENT_MAX, 8192, NULL},
	[PARAM_MAX_BURST_LENGTH] = {"MaxBurstLength", PARAM_KIND_MIN, LO_NORMAL, 512, SEGMENT_MAX, 262144,
				    NULL},
	[PARAM_FIRST_BURST_LENGTH] = {"FirstBurstLength", PARAM_KIND_MIN, LO_NORMAL, 512, SEGMENT_MAX, 65536,
				      NULL},
	[PARAM_DEFAULT_TIME2WAIT] = {"DefaultTime2Wait", PARAM_KIND_MAX, LO, 0, 3600, 2, NULL},
	[PARAM_DEFAULT_TIME2RETAIN] = {"DefaultTime2Retain", PARAM_KIND_MIN, LO, 0, 3600, 20, NULL},
	[PARAM_MAX_OUTSTANDING_R2T] = {"MaxOutstandingR2T", PARAM_KIND_MIN, LO_NORMAL, 1, 65535, 1, NULL},
	[PARAM_DATA_PDU_IN_ORDER] = {"DataPDUInOrder", PARAM_KIND_OR, LO_NORMAL, 0, 1, 1, NULL},
	[PARAM_DATA_SEQUENCE_IN_ORDER] = {"DataSequenceInOrder", PARAM_KIND_OR, LO_NORMAL, 0, 1, 1, NULL},
	[PARAM_ERROR_RECOVERY_LEVEL] = {"ErrorRecoveryLevel", PARAM_KIND_MIN, LO, 0, 2, 0, NULL},
	[PARAM_TASK_REPORTING] = {"TaskReporting", PARAM_KIND_LIST, LO_NORMAL, 0, 0, 0, reporting},
	/* RFC 7144 3: 0 to 31, 1 where the key is not used */
	[PARAM_PROTOCOL_LEVEL] = {"iSCSIProtocolLevel", PARAM_KIND_MIN, LO_NORMAL, 0, 31, 1, NULL},
	[PARAM_SEND_TARGETS] = {"SendTargets", PARAM_KIND_TEXT, PARAM_FULL, 0, 0, 0, NULL},
	[PARAM_NODE_ARCHITECTURE] = {"X#NodeArchitecture", PARAM_KIND_NAMED, PARAM_LOGIN | PARAM_SECURITY_TOO,
				     0, 0, 0, NULL},
	[PARAM_IF_MARKER] = {"IFMarker", PARAM_KIND_SAY_NO, PARAM_LOGIN, 0, 0, 0, NULL},
	[PARAM_OF_MARKER] = {"OFMarker", PARAM_KIND_SAY_NO, PARAM_LOGIN, 0, 0, 0, NULL},
	[PARAM_IF_MARK_INT] = {"IFMarkInt", PARAM_KIND_REJECT, PARAM_LOGIN, 0, 0, 0, NULL},
	[PARAM_OF_MARK_INT] = {"OFMarkInt", PARAM_KIND_REJECT, PARAM_LOGIN, 0, 0, 0, NULL},
};

_Static_assert(PARAM_COUNT <= 32, "one bit a key in params.seen");

static uint32_t
in_range(enum param param, uint32_t v)
{
	return max_of(param_table[param].min, min_of(param_table[param].max, v));
}

void
params_init(struct params *params, const struct param_limits *limits)
{
	memset(params, 0, sizeof(*params));
	params->leading = true;
	for (int i = 0; i < PARAM_COUNT; i++)
		params->mine[i] = params->his[i] = params->active[i] = param_table[i].fallback;
	params->mine[PARAM_MAX_CONNECTIONS] = in_range(PARAM_MAX_CONNECTIONS, limits->max_connections);
	params->mine[PARAM_INITIAL_R2T] = 0;
	params->mine[PARAM_IMMEDIATE_DATA] = 1;
	params->mine[PARAM_MAX_RECV_DATA_SEGMENT_LENGTH] =
		in_range(PARAM_MAX_RECV_DATA_SEGMENT_LENGTH, limits->max_recv_segment);
	params->mine[PARAM_MAX_BURST_LENGTH] = in_range(PARAM_MAX_BURST_LENGTH, limits->max_burst);
	params->mine[PARAM_FIRST_BURST_LENGTH] = in_range(PARAM_FIRST_BURST_LENGTH, limits->first_burst);
	params->mine[PARAM_DEFAULT_TIME2WAIT] = 2;
	params->mine[PARAM_DEFAULT_TIME2RETAIN] = in_range(PARAM_DEFAULT_TIME2RETAIN, limits->task_retain_s);
	params->mine[PARAM_MAX_OUTSTANDING_R2T] =
		in_range(PARAM_MAX_OUTSTANDING_R2T, limits->max_outstanding_r2t);
	params->mine[PARAM_DATA_PDU_IN_ORDER] = 1;
	params->mine[PARAM_DATA_SEQUENCE_IN_ORDER] = 1;
	params->mine[PARAM_ERROR_RECOVERY_LEVEL] =
		in_range(PARAM_ERROR_RECOVERY_LEVEL, limits->error_recovery_level);
	params->mine[PARAM_PROTOCOL_LEVEL] = 1;
}

void
params_restart(struct params *params)
{
	params->seen = 0;
}

enum param
param_find(const char *name)
{
	for (int i = 0; i < PARAM_COUNT; i++) {
		if (!strcmp(param_table[i].name, name))
			return (enum param)i;
	}
	return PARAM_COUNT;
}

/* 13.14: says nothing when no unsolicited data can flow. */
static bool
irrelevant(const struct params *params, enum param param)
{
	if ((param_table[param].where & PARAM_NO_DISCOVERY) && params->discovery)
		return true;
	return param == PARAM_FIRST_BURST_LENGTH && params->active[PARAM_INITIAL_R2T] &&
	       !params->active[PARAM_IMMEDIATE_DATA];
}

static bool
allowed(const struct params *params, enum param_phase phase, enum param param)
{
	unsigned where = param_table[param].where;

	switch (phase) {
	case PARAM_PHASE_SECURITY:
		if (!(where & PARAM_SECURITY_TOO))
			return false;
		break;
	case PARAM_PHASE_OPERATIONAL:
		/* the security keys belong to their stage */
		if (param == PARAM_AUTH_METHOD)
			return false;
		break;
	case PARAM_PHASE_FULL:
		return (where & PARAM_FULL) != 0;
	}
	if (where & PARAM_LEADING)
		return params->leading;
	return (where & PARAM_LOGIN) != 0;
}

static void
offer_bool(struct params *params, enum param param, const char *value, struct textbuf *out)
{
	bool his, result;

	if (keys_bool(value, &his) < 0) {
		keys_add(out, param_table[param].name, "Reject");
		return;
	}
	params->his[param] = his;
	result = param_table[param].kind == PARAM_KIND_AND ? his && params->mine[param]
							   : his || params->mine[param];
	params->active[param] = result;
	keys_add(out, param_table[param].name, result ? "Yes" : "No");
}

static void
offer_number(struct params *params, enum param param, const char *value, struct textbuf *out)
{
	const struct param_desc *desc = &param_table[param];
	uint32_t mine = params->mine[param];
	uint64_t his;

	if (keys_number(value, &his) < 0 || his < desc->min || his > desc->max) {
		keys_add(out, desc->name, "Reject");
		return;
	}
	params->his[param] = (uint32_t)his;
	if (desc->kind == PARAM_KIND_DECLARED) {
		params->active[param] = (uint32_t)his;
		return;
	}
	/* 13.14: FirstBurstLength must not exceed MaxBurstLength */
	/* below recovery level 2 nothing of a lost session is kept */
	if (param == PARAM_DEFAULT_TIME2RETAIN && params->active[PARAM_ERROR_RECOVERY_LEVEL] < 2)
		mine = 0;
	if (param == PARAM_ERROR_RECOVERY_LEVEL && params->discovery)
		mine = 0;
	if (param == PARAM_FIRST_BURST_LENGTH)
		mine = min_of(mine, params->active[PARAM_MAX_BURST_LENGTH]);
	params->active[param] =
		desc->kind == PARAM_KIND_MAX ? max_of(mine, (uint32_t)his) : min_of(mine, (uint32_t)his);
	keys_addf(out, desc->name, "%" PRIu32, params->active[param]);
}

static void
offer_list(struct params *params, enum param param, const char *value, struct textbuf *out)
{
	const struct param_desc *desc = &param_table[param];
	char word[KEYS_NAME_MAX + 1];
	unsigned n = 0;

	/* 6.2.1: his order is his preference */
	for (const char *at = value; at; at = strchr(at, ','), at = at ? at + 1 : NULL, n++) {
		if (!keys_list_at(value, n, word, sizeof(word)))
			continue;
		for (uint32_t i = 0; desc->choices[i]; i++) {
			if (!strcmp(desc->choices[i], word)) {
				params->his[param] = params->active[param] = i;
				keys_add(out, desc->name, word);
				return;
			}
		}
	}
	keys_add(out, desc->name, "Reject");
}

static bool
is_answer(const char *value)
{
	return !strcmp(value, "NotUnderstood") || !strcmp(value, "Irrelevant") || !strcmp(value, "Reject");
}

int
params_offer(struct params *params, enum param_phase phase, const char *key, const char *value,
	     struct textbuf *out)
{
	enum param param = param_find(key);
	const struct param_desc *desc;

	if (param == PARAM_COUNT) {
		/* 6.2: an answer to something of ours is never answered */
		if (!is_answer(value))
			keys_add(out, key, "NotUnderstood");
		return 0;
	}
	desc = &param_table[param];
	if (is_answer(value))
		return 0;
	/* 6.3: no key twice in one negotiation.  Some initiators repeat the names in each stage: login.c
	 * compares them. */
	if (params->seen & 1u << param && desc->kind != PARAM_KIND_NAMED)
		return LG_EPROTO;
	params->seen |= 1u << param;
	if (!allowed(params, phase, param)) {
		keys_add(out, desc->name, "Reject");
		return 0;
	}
	if (irrelevant(params, param)) {
		keys_add(out, desc->name, "Irrelevant");
		return 0;
	}
	switch (desc->kind) {
	case PARAM_KIND_AND:
	case PARAM_KIND_OR:
		offer_bool(params, param, value, out);
		break;
	case PARAM_KIND_MIN:
	case PARAM_KIND_MAX:
	case PARAM_KIND_DECLARED:
		offer_number(params, param, value, out);
		break;
	case PARAM_KIND_LIST:
		offer_list(params, param, value, out);
		break;
	case PARAM_KIND_SAY_NO:
		keys_add(out, desc->name, "No");
		break;
	case PARAM_KIND_OURS:
	case PARAM_KIND_REJECT:
		keys_add(out, desc->name, "Reject");
		break;
	case PARAM_KIND_NAMED:
	case PARAM_KIND_AUTH:
	case PARAM_KIND_TEXT:
		break;
	}
	return 0;
}

int
params_offer_all(struct params *params, enum param_phase phase, const struct keys *keys, struct textbuf *out)
{
	/* known keys in the table's order: FirstBurstLength is answered knowing the keys that it depends on
	 */
	for (int row = 0; row < PARAM_COUNT; row++) {
		for (unsigned i = 0; i < keys->n; i++) {
			int rc;

			if (strcmp(keys->pair[i].key, param_table[row].name) != 0)
				continue;
			rc = params_offer(params, phase, keys->pair[i].key, keys->pair[i].value, out);
			if (rc < 0)
				return rc;
		}
	}
	for (unsigned i = 0; i < keys->n; i++) {
		int rc;

		if (param_find(keys->pair[i].key) != PARAM_COUNT)
			continue;
		rc = params_offer(params, phase, keys->pair[i].key, keys->pair[i].value, out);
		if (rc < 0)
			return rc;
	}
	return 0;
}

const char *
params_text(const struct params *params, enum param param, char *buf, size_t room)
{
	const struct param_desc *desc = &param_table[param];

	switch (desc->kind) {
	case PARAM_KIND_AND:
	case PARAM_KIND_OR:
		return params->active[param] ? "Yes" : "No";
	case PARAM_KIND_LIST:
		return desc->choices[params->active[param]];
	case PARAM_KIND_MIN:
	case PARAM_KIND_MAX:
	case PARAM_KIND_DECLARED:
		(void)snprintf(buf, room, "%" PRIu32, params->active[param]);
		return buf;
	default:
		return "";
	}
}
