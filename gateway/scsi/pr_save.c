/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent reservations as text, for those that survive power loss (APTPL).
 *
 * JSON, one object: "format" 1; "type" as in SPC-4, 0 for none; "registrations": a list of "initiator",
 * "isid", "target", "port", "all_ports", "key" and, at the one that holds the reservation, "holder". Numbers
 * of 64 bits are hexadecimal strings.
 *
 * Where: with the volume, as its attribute "reservations", so that it is there wherever the volume is opened;
 * a volume that keeps no attributes has it in the store (the gateway's own directory).  What the store still has of a
 * volume that does keep attributes, from before it did, is moved there when the unit is made; what the
 * volume says itself counts more.
 *
 * What is read was on a disk: nothing of it is trusted.  A text that does not fit
 * is an error, not an empty state: whoever was shut out must stay so.
 *
 * Threads: the store is set before the first unit is made; loading blocks its caller, saving the pool or nobody.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/log.h"
#include "common/util.h"
#include "common/volume.h"
#include "gateway/scsi/pr.h"

#define ATTRIBUTE "reservations"

static struct scsi_pr_store kept;

void
scsi_set_pr_store(const struct scsi_pr_store *store)
{
	kept = store ? *store : (struct scsi_pr_store){0};
}

bool
scsi_pr_can_keep(const struct volume *vol)
{
	return vol->attributes || kept.save != NULL;
}

/* -- saving -------------------------------------------------------------- */

static void
put_done(struct vol_req *req)
{
	struct scsi_pr_saving *saving = container_of(req, struct scsi_pr_saving, req);

	saving->status = req->status;
	if (req->status < 0)
		log_error("volume %s: its persistent reservations cannot be kept: %s", saving->vol->name,
			  err_text(req->status));
	saving->done(saving);
}

static void
save_run(struct loop_work *work)
{
	struct scsi_pr_saving *saving = container_of(work, struct scsi_pr_saving, work);

	saving->status = kept.save(kept.arg, saving->vol->uuid, saving->text, saving->len);
}

static void
save_done(struct loop_work *work)
{
	struct scsi_pr_saving *saving = container_of(work, struct scsi_pr_saving, work);

	saving->done(saving);
}

void
scsi_pr_keep(struct scsi_pr_saving *saving)
{
	if (saving->vol->attributes) {
		saving->req = (struct vol_req){.vol = saving->vol,
					       .op = VOL_PUT_ATTRIBUTE,
					       .key = ATTRIBUTE,
					       .value = saving->text,
					       .value_len = saving->text ? saving->len : 0,
					       .done = put_done};
		volume_submit(&saving->req);
		return;
	}
	saving->work = (struct loop_work){.run = save_run, .done = save_done};
	loop_offload(saving->vol->loop, &saving->work);
}

/* -- loading ------------------------------------------------------------- */

/* What the store has of a volume that keeps it by itself; *text: what the volume has. */
static int
move_in(struct volume *vol, char **text, size_t *len)
{
	struct pr_state state;
	char *old = NULL;
	size_t old_len = 0;
	int rc = kept.load(kept.arg, vol->uuid, &old, &old_len);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (!*text) {
		rc = pr_parse(old, old_len, &state);
		if (rc == 0) {
			pr_state_fini(&state);
			rc = volume_put_attribute(vol, ATTRIBUTE, old, old_len);
		}
		if (rc < 0) {
			free(old);
			return rc;
		}
		log_info("volume %s: its persistent reservations are kept with the volume from now on",
			 vol->name);
		*text = old;
		*len = old_len;
	} else {
		free(old);
	}
	/* if this fails the store has told; the volume's own counts next time, too */
	(void)kept.save(kept.arg, vol->uuid, NULL, 0);
	return 0;
}

int
scsi_pr_load(struct volume *vol, struct scsi_pr *pr)
{
	char *text = NULL;
	size_t len = 0;
	int rc = 0;

	if (vol->attributes) {
		rc = volume_get_attribute(vol, ATTRIBUTE, (void **)&text, &len);
		if (rc == 0 && kept.load)
			rc = move_in(vol, &text, &len);
	} else if (kept.load) {
		rc = kept.load(kept.arg, vol->uuid, &text, &len);
	}
	if (rc == 0 && text)
		rc = pr_parse(text, len, &pr->state);
	free(text);
	return rc == -ENOENT ? 0 : rc;
}

/* -- writing ------------------------------------------------------------- */

static json_t *
reg_json(const struct pr_state *state, const struct pr_reg *reg)
{
	const uint8_t *isid = reg->who.isid;
	char isid_text[13], key[17];
	json_t *object;

	(void)snprintf(isid_text, sizeof(isid_text), "%02x%02x%02x%02x%02x%02x", isid[0], isid[1], isid[2],
		       isid[3], isid[4], isid[5]);
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
