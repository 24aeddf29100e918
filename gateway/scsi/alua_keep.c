/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access states that initiators have set (SET TARGET PORT GROUPS) outlive the daemon.
 *
 * The text of a target, JSON, one object: "format" 1; "target", its name; "groups": a list of "group", the tag,
 * and "state", one of optimized, non-optimized, standby, unavailable.  A group that no initiator has set is
 * not in it: the configuration says what it is.
 *
 * What is read was on a disk: nothing of it is trusted.  A text that does not fit is as none: the configured
 * states hold, which are the operator's, and it is logged.
 *
 * Threads: any that may block; the store is set before the first target is made.  target->kept is under
 * target->kept_lock, which is held while it is saved, so that the last save says what is in force.
 *
 * Failure: what could not be saved is not in force either.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "gateway/scsi/scsi_impl.h"

static const char *const names[] = {[SCSI_ACCESS_OPTIMIZED] = "optimized",
				    [SCSI_ACCESS_NON_OPTIMIZED] = "non-optimized",
				    [SCSI_ACCESS_STANDBY] = "standby",
				    [SCSI_ACCESS_UNAVAILABLE] = "unavailable"};

static struct scsi_access_store store;

void
scsi_set_access_store(const struct scsi_access_store *set)
{
	store = set ? *set : (struct scsi_access_store){0};
}

bool
scsi_access_can_keep(void)
{
	return store.save != NULL;
}

/* -- the text ------------------------------------------------------------ */

static bool
parse_group(json_t *object, struct kept_access *ret)
{
	unsigned access = 0;
	const char *name;
	int tag;

	if (ret->n == SCSI_GROUPS_MAX ||
	    json_unpack_ex(object, NULL, JSON_STRICT, "{s:i, s:s}", "group", &tag, "state", &name) < 0)
		return false;
	while (access < ARRAY_SIZE(names) && strcmp(names[access], name) != 0)
		access++;
	if (access == ARRAY_SIZE(names) || tag < 1 || tag > UINT16_MAX ||
	    scsi_kept_find(ret, (uint16_t)tag) >= 0)
		return false;
	ret->groups[ret->n].tpgt = (uint16_t)tag;
	ret->groups[ret->n++].access = (uint8_t)access;
	return true;
}

static bool
parse(const char *text, size_t len, const char *target, struct kept_access *ret)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *list, *object;
	const char *name;
	int format;
	size_t i;
	bool good = root &&
		    json_unpack_ex(root, NULL, JSON_STRICT, "{s:i, s:s, s:o}", "format", &format, "target",
				   &name, "groups", &list) == 0 &&
		    format == 1 && strcmp(name, target) == 0 && json_is_array(list);

	ret->n = 0;
	if (good)
		json_array_foreach(list, i, object) good = good && parse_group(object, ret);
	json_decref(root);
	if (!good)
		ret->n = 0;
	return good;
}

static char *
make_text(const struct kept_access *kept, const char *target)
{
	json_t *list = json_array(), *root;
	char *text = NULL;

	for (unsigned i = 0; i < kept->n; i++)
		(void)json_array_append_new(list, json_pack("{s:i, s:s}", "group", (int)kept->groups[i].tpgt,
							    "state", names[kept->groups[i].access]));
	if (json_array_size(list) == kept->n) { /* no memory was short */
		root = json_pack("{s:i, s:s, s:O}", "format", 1, "target", target, "groups", list);
		text = root ? json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
		json_decref(root);
	}
	json_decref(list);
	return text;
}

/* -- what is kept -------------------------------------------------------- */

int
scsi_kept_find(const struct kept_access *kept, uint16_t tpgt)
{
	for (unsigned i = 0; i < kept->n; i++)
		if (kept->groups[i].tpgt == tpgt)
			return (int)i;
	return -1;
}

void
scsi_kept_load(struct scsi_target *target)
{
	char *text = NULL;
	size_t len = 0;
	int rc;

	target->kept.n = 0;
	rc = store.load ? store.load(store.arg, target->name, &text, &len) : -ENOENT;
	if (rc == 0 && !parse(text, len, target->name, &target->kept))
		rc = LG_EDAMAGED;
	if (rc < 0 && rc != -ENOENT)
		log_error(
			"target %s: the ALUA states that initiators have set cannot be read (%s); those of the "
			"configuration hold",
			target->name, err_text(rc));
	free(text);
}

int
scsi_kept_save(struct scsi_target *target, const struct kept_access *next)
{
	char *text;
	int rc;

	if (!store.save || (next->n == target->kept.n &&
			    !memcmp(next->groups, target->kept.groups, next->n * sizeof(next->groups[0])))) {
		target->kept = *next;
		return 0;
	}
	text = next->n ? make_text(next, target->name) : NULL;
	if (next->n && !text)
		return -ENOMEM;
	rc = store.save(store.arg, target->name, text, text ? strlen(text) : 0);
	free(text);
	if (rc == 0)
		target->kept = *next;
	return rc;
}
