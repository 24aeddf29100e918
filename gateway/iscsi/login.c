/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * States (the stage of the connection) and transitions, RFC 7143 6.3:
 *
 *   SECURITY     T, NSG 1  -> OPERATIONAL      when authenticated, or nobody asked for it
 *                T, NSG 3  -> FULL             the same
 *   OPERATIONAL  T, NSG 3  -> FULL
 *
 * The first request chooses SECURITY or OPERATIONAL.  A request with C gathers
 * text and is answered with nothing; an answer that is longer than one PDU goes
 * out in pieces with C, each asked for by an empty request, and transit is
 * granted with the last piece.  Everything else is a failed login: status, and
 * the end of the connection.
 *
 * Invariants: stage only grows; ISID, TSIH, CID, ITT and CmdSN are those of the
 * first request; no operational key is believed before the names are; the stage grows beyond SECURITY, or
 * begins there, only when must_prove() is false.
 */
#include "gateway/iscsi/login.h"

#include <string.h>

#include "common/bytes.h"
#include "common/util.h"

struct auth_method {
	const char *name;
	/** One exchange of the method's own keys. 1 = authenticated, 0 = go on, negative = failed; NULL =
	 * nothing to exchange. */
	int (*step)(struct login *login, const struct keys *keys);
};

static const struct auth_method auth_methods[] = {
	{"None", NULL},
	{"CHAP", chap_step},
};

int
login_name(const char *name, char ret[ISCSI_NAME_MAX + 1])
{
	size_t n = strlen(name);

	if (!n || n > ISCSI_NAME_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c <= ' ' || c == 0x7f)
			return -EINVAL;
		ret[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	ret[n] = 0;
	return 0;
}

void
login_init(struct login *login, const struct login_ops *ops, void *arg, const struct param_limits *limits)
{
	memset(login, 0, sizeof(*login));
	login->ops = ops;
	login->arg = arg;
	login->portal_group = ISCSI_PORTAL_GROUP_DEFAULT;
	params_init(&login->params, limits);
	textbuf_init(&login->in, LOGIN_TEXT_MAX);
	/* an unknown key of two bytes is answered with sixteen */
	textbuf_init(&login->out, 4 * LOGIN_TEXT_MAX);
}

void
login_fini(struct login *login)
{
	textbuf_fini(&login->in);
	textbuf_fini(&login->out);
	iscsi_access_unref(login->access);
	login->access = NULL;
	login->entry = NULL;
}

/* Does the login depend on an authentication that is not there yet? */
static bool
must_prove(const struct login *login)
{
	return login->access && login->access->chap && !login->authenticated;
}

static int
check_header(struct login *login, const uint8_t *bhs)
{
	uint8_t flags = bhs[1];
	unsigned csg = flags >> 2 & 3, nsg = flags & 3;
	bool transit = flags & ISCSI_LOGIN_TRANSIT;

	if (++login->requests > LOGIN_REQUESTS_MAX)
		return LG_EPROTO;
	/* 11.12.4: version 0 is the only one there is */
	if (bhs[3] != 0)
		return -EPROTONOSUPPORT;
	if (csg != ISCSI_STAGE_SECURITY && csg != ISCSI_STAGE_OPERATIONAL)
		return LG_EPROTO;
	if (transit && (flags & ISCSI_LOGIN_CONTINUE))
		return LG_EPROTO;
	if (transit && (nsg <= csg || nsg == 2))
		return LG_EPROTO;
	if (!login->begun) {
		login->begun = true;
		memcpy(login->isid, bhs + 8, sizeof(login->isid));
		login->tsih = get_be16(bhs + 14);
		login->itt = get_be32(bhs + 16);
		login->cid = get_be16(bhs + 20);
		login->cmdsn = get_be32(bhs + 24);
		login->stage = (enum iscsi_stage)csg;
		return 0;
	}
	if (memcmp(login->isid, bhs + 8, sizeof(login->isid)) != 0 || login->tsih != get_be16(bhs + 14) ||
	    login->itt != get_be32(bhs + 16) || login->cid != get_be16(bhs + 20) ||
	    login->cmdsn != get_be32(bhs + 24) || (unsigned)login->stage != csg)
		return LG_EPROTO;
	return 0;
}

/* A name may come again in a later stage, but not another one. */
static int
set_name(const char *value, char ret[ISCSI_NAME_MAX + 1])
{
	char name[ISCSI_NAME_MAX + 1];

	if (login_name(value, name) < 0)
		return LG_EPROTO;
	if (*ret && strcmp(ret, name) != 0)
		return LG_EPROTO;
	memcpy(ret, name, sizeof(name));
	return 0;
}

static int
set_session_type(struct login *login, const char *value)
{
	bool discovery = !strcmp(value, "Discovery");

	if (!discovery && strcmp(value, "Normal") != 0)
		return -EOPNOTSUPP;
	if ((login->named || login->has_session_type) && discovery != login->discovery)
		return LG_EPROTO;
	login->has_session_type = true;
	login->discovery = discovery;
	login->params.discovery = discovery;
	return 0;
}

static int
read_names(struct login *login, const struct keys *keys)
{
	for (unsigned i = 0; i < keys->n; i++) {
		const char *value = keys->pair[i].value;
		int rc = 0;

		switch (param_find(keys->pair[i].key)) {
		case PARAM_SESSION_TYPE:
			rc = set_session_type(login, value);
			break;
		case PARAM_INITIATOR_NAME:
			rc = set_name(value, login->initiator);
			break;
		case PARAM_TARGET_NAME:
			rc = set_name(value, login->target);
			break;
		case PARAM_INITIATOR_ALIAS:
			if (strlen(value) > LOGIN_ALIAS_MAX)
				rc = LG_EPROTO;
			else
				memcpy(login->alias, value, strlen(value) + 1);
			break;
		default:
			break;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* What the first complete text must say, 6.3 and 13.4 to 13.21. */
static int
check_names(struct login *login)
{
	int rc;

	if (!*login->initiator)
		return -ENODATA;
	if (!login->discovery) {
		if (!*login->target)
			return -ENODATA;
		rc = login->ops->find_target(login->arg, login);
		if (rc < 0)
			return rc;
		keys_addf(&login->out, "TargetPortalGroupTag", "%u", login->portal_group);
	} else if (login->ops->find_discovery) {
		rc = login->ops->find_discovery(login->arg, login);
		if (rc < 0)
			return rc;
	}
	if (login->tsih) {
		rc = login->ops->find_session(login->arg, login);
		if (rc < 0)
			return rc;
		login->params.leading = false;
	}
	login->named = true;
	return 0;
}

/* 12: the first of his list that will do: None where nothing is to be proved, otherwise anything else. */
static int
choose_method(struct login *login, const char *offer)
{
	bool wanted = login->access && login->access->chap;
	char word[KEYS_NAME_MAX + 1];
	unsigned n = 0;

	for (const char *at = offer; at; at = strchr(at, ','), at = at ? at + 1 : NULL, n++) {
		if (!keys_list_at(offer, n, word, sizeof(word)))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(auth_methods); i++) {
			const struct auth_method *method = &auth_methods[i];

			if (strcmp(method->name, word) != 0 || wanted != (method->step != NULL))
				continue;
			keys_add(&login->out, "AuthMethod", word);
			login->method = method;
			login->authenticated = !method->step;
			return 0;
		}
	}
	login->why = wanted ? "CHAP is wanted, and is not offered"
			    : "None is not offered, and there is no account";
	return -EACCES;
}

/* The keys of a method are its own: nobody else is to answer them. */
static void
drop_method_keys(struct keys *keys)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < keys->n; i++)
		if (strncmp(keys->pair[i].key, "CHAP_", 5) != 0)
			keys->pair[kept++] = keys->pair[i];
	keys->n = kept;
}

static int
authenticate(struct login *login, struct keys *keys)
{
	const char *offer = keys_find(keys, "AuthMethod");
	int rc = 0;

	if (login->stage != ISCSI_STAGE_SECURITY) {
		if (must_prove(login))
			login->why = "CHAP is wanted, and its stage was left out";
		return must_prove(login) ? -EACCES : 0;
	}
	if (offer && login->method)
		return LG_EPROTO;
	if (offer)
		return choose_method(login, offer);
	if (!login->method || !login->method->step)
		return 0;
	if (!login->authenticated)
		rc = login->method->step(login, keys);
	if (rc == 1)
		login->authenticated = true;
	drop_method_keys(keys);
	return min_of(rc, 0);
}

static int
read_text(struct login *login, const uint8_t *bhs)
{
	struct keys keys;
	int rc = keys_parse(login->in.data, login->in.len, &keys);

	if (rc < 0)
		return rc;
	rc = read_names(login, &keys);
	if (rc < 0)
		return rc;
	if (!login->named) {
		rc = check_names(login);
		if (rc < 0)
			return rc;
	}
	rc = authenticate(login, &keys);
	if (rc < 0)
		return rc;
	if (bhs[1] & ISCSI_LOGIN_TRANSIT && must_prove(login) && !login->method) {
		login->why = "CHAP is wanted, and no method was asked for";
		return -EACCES;
	}
	rc = params_offer_all(&login->params,
			      login->stage == ISCSI_STAGE_SECURITY ? PARAM_PHASE_SECURITY
								   : PARAM_PHASE_OPERATIONAL,
			      &keys, &login->out);
	if (rc < 0)
		return rc;
	if (login->stage == ISCSI_STAGE_OPERATIONAL && !login->declared) {
		login->declared = true;
		keys_addf(&login->out, "MaxRecvDataSegmentLength", "%u",
			  login->params.mine[PARAM_MAX_RECV_DATA_SEGMENT_LENGTH]);
	}
	return login->out.full ? -EMSGSIZE : 0;
}

/* The next piece of the answer, and transit with the last. */
static void
answer(struct login *login, const uint8_t *bhs, struct login_reply *ret)
{
	unsigned nsg = bhs[1] & 3;

	ret->flags = (uint8_t)(login->stage << 2);
	ret->text = login->out.data;
	if (login->out.len > ISCSI_DEFAULT_SEGMENT) {
		ret->text_len = ISCSI_DEFAULT_SEGMENT;
		ret->flags |= ISCSI_LOGIN_CONTINUE;
		return;
	}
	ret->text_len = (uint32_t)login->out.len;
	/* 6.3: who asks for the next stage too early is not refused, but stays */
	if (!(bhs[1] & ISCSI_LOGIN_TRANSIT) || must_prove(login))
		return;
	ret->flags |= (uint8_t)(ISCSI_LOGIN_TRANSIT | nsg);
	login->stage = (enum iscsi_stage)nsg;
	ret->full = nsg == ISCSI_STAGE_FULL;
}

static int
request(struct login *login, const uint8_t *bhs, const void *text, uint32_t len, struct login_reply *ret)
{
	int rc = check_header(login, bhs);

	if (rc < 0)
		return rc;
	if (login->out.len) {
		/* the rest of an answer is being fetched: 6.2 wants empty requests */
		if (len || bhs[1] & ISCSI_LOGIN_CONTINUE)
			return LG_EPROTO;
		answer(login, bhs, ret);
		return 0;
	}
	rc = textbuf_add(&login->in, text, len);
	if (rc < 0)
		return rc;
	if (bhs[1] & ISCSI_LOGIN_CONTINUE) {
		ret->flags = (uint8_t)(login->stage << 2);
		return 0;
	}
	rc = read_text(login, bhs);
	textbuf_reset(&login->in);
	if (rc < 0)
		return rc;
	answer(login, bhs, ret);
	return 0;
}

void
login_request(struct login *login, const uint8_t bhs[ISCSI_BHS_LEN], const void *text, uint32_t len,
	      struct login_reply *ret)
{
	int rc;

	*ret = (struct login_reply){0};
	/* what the last reply carried is sent */
	textbuf_drop(&login->out, min_of(login->out.len, (size_t)ISCSI_DEFAULT_SEGMENT));
	rc = request(login, bhs, text, len, ret);
	if (rc < 0) {
		*ret = (struct login_reply){.status = login_status_of(rc)};
		textbuf_reset(&login->out);
		if (rc == -EREMOTE || rc == -EREMCHG) {
			keys_add(&login->out, "TargetAddress", login->redirect);
			ret->text = login->out.data;
			ret->text_len = (uint32_t)login->out.len;
		}
	}
}
