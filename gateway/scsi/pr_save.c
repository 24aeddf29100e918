/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent reservations as text, for those that survive power loss (APTPL).
 *
 * JSON, one object: "format" 1; "type" as in SPC-4, 0 for none; "registrations": a list of "initiator",
 * "isid", "target", "port", "all_ports", "key" and, at the one that holds the reservation, "holder". Numbers
 * of 64 bits are hexadecimal strings.
 *
 * What is read was on a disk: nothing of it is trusted.  A text that does not fit
 * is an error, not an empty state: whoever was shut out must stay so.
 *
 * Threads: any; loading blocks its caller.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/util.h"
#include "gateway/scsi/keep.h"
#include "gateway/scsi/pr.h"

static int
check_text(const char *text, size_t len)
{
	struct pr_state state;
	int rc = pr_parse(text, len, &state);

	if (rc == 0)
		pr_state_fini(&state);
	return rc;
}

int
scsi_pr_load(struct volume *vol, struct scsi_pr *pr)
{
	char *text = NULL;
	size_t len = 0;
	int rc = scsi_kept(vol, PR_KEPT, check_text, &text, &len);

	if (rc == 0 && text)
		rc = pr_parse(text, len, &pr->state);
	free(text);
	return rc;
}

/* -- writing ------------------------------------------------------------- */

static json_t *
reg_json(const struct pr_state *state, const struct pr_reg *reg)
{
	char isid_text[13], key[17];
	json_t *object;

	(void)hex_format(reg->who.isid, sizeof(reg->who.isid), isid_text);
	(void)snprintf(key, sizeof(key), "%016" PRIx64, reg->key);
	object = json_pack("{s:s, s:s, s:s, s:i, s:b, s:s}", "initiator", reg->who.initiator, "isid",
			   isid_text, "target", reg->who.target, "port", (int)reg->who.port, "all_ports",
			   (int)reg->who.all_ports, "key", key);
	if (object && state->holder == reg)
		(void)json_object_set_new(object, "holder", json_true());
	return object;
}

char *
pr_text(const struct pr_state *state, size_t *ret_len)
{
	json_t *list = json_array(), *root = NULL;
	char *text = NULL;

	for (const struct pr_reg *reg = state->regs; list && reg; reg = reg->next) {
		if (json_array_append_new(list, reg_json(state, reg)) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	if (list)
		root = json_pack("{s:i, s:i, s:o}", "format", 1, "type", (int)state->type, "registrations",
				 list);
	if (root)
		text = json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS);
	json_decref(root);
	if (text)
		*ret_len = strlen(text);
	return text;
}

/* -- reading ------------------------------------------------------------- */

static bool
get_hex(const char *text, size_t digits, uint64_t *ret)
{
	char *end;

	if (strlen(text) != digits || strspn(text, "0123456789abcdef") != digits)
		return false;
	*ret = strtoull(text, &end, 16);
	return *end == '\0';
}

static bool
get_name(const char *text, char *ret)
{
	size_t n = strlen(text);

	if (n == 0 || n >= PR_NAME_MAX)
		return false;
	memcpy(ret, text, n + 1);
	return true;
}

static int
parse_reg(json_t *object, struct pr_state *state)
{
	const char *initiator, *isid_text, *target, *key_text;
	struct pr_port who = {.port = 0};
	int port, all_ports, holder = 0;
	struct pr_reg *reg;
	uint64_t key, isid;

	if (json_unpack(object, "{s:s, s:s, s:s, s:i, s:b, s:s, s?b}", "initiator", &initiator, "isid",
			&isid_text, "target", &target, "port", &port, "all_ports", &all_ports, "key",
			&key_text, "holder", &holder) < 0)
		return LG_EDAMAGED;
	if (!get_name(initiator, who.initiator) || !get_name(target, who.target) ||
	    !get_hex(isid_text, 12, &isid) || !get_hex(key_text, 16, &key) || port < 0 || port > UINT16_MAX ||
	    key == 0)
		return LG_EDAMAGED;
	for (unsigned i = 6; i-- > 0; isid >>= 8)
		who.isid[i] = (uint8_t)isid;
	who.port = (uint16_t)port;
	who.all_ports = all_ports;
	if (pr_find(state, &who) || (holder && state->holder))
		return LG_EDAMAGED;
	if (state->n == PR_REGS_MAX)
		return LG_EDAMAGED;
	if (pr_add(state, &who, key, &reg) < 0)
		return -ENOMEM;
	if (holder)
		state->holder = reg;
	return 0;
}

static int
parse_root(json_t *root, struct pr_state *state)
{
	json_t *list, *object;
	int format, type, rc;
	bool one;
	size_t i;

	if (json_unpack(root, "{s:i, s:i, s:o}", "format", &format, "type", &type, "registrations", &list) <
	    0)
		return LG_EDAMAGED;
	if (format != 1 || !json_is_array(list) ||
	    (type != PR_NONE && (type < 0 || !pr_type_valid((unsigned)type))))
		return LG_EDAMAGED;
	json_array_foreach(list, i, object)
	{
		rc = parse_reg(object, state);
		if (rc < 0)
			return rc;
	}
	state->type = (enum pr_type)type;
	state->aptpl = true;
	one = type != PR_NONE && !pr_all_registrants(state->type);
	if (one != (state->holder != NULL) || (type != PR_NONE && state->n == 0))
		return LG_EDAMAGED;
	return 0;
}

int
pr_parse(const char *text, size_t len, struct pr_state *ret)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	int rc;

	*ret = (struct pr_state){0};
	rc = root ? parse_root(root, ret) : LG_EDAMAGED;
	json_decref(root);
	if (rc < 0)
		pr_state_fini(ret);
	return rc;
}
