/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "targets" of lungate.json: their keys, and what is checked of them.
 *
 * Threads: any (no shared state).
 */
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/config_impl.h"

struct raw_target {
	char *name;
	json_t *luns, *chap, *mutual, *initiators, *portal_groups, *redirect, *alua;
};

const struct json_key config_target_keys[CONFIG_TARGET_KEYS] = {
	JSON_KEY(raw_target, name, STRING, .required = true,
		 .help = "iSCSI name: iqn.YYYY-MM.DOMAIN:NAME, eui. or naa."),
	JSON_KEY(raw_target, luns, ARRAY, .help = "the LUNs of the target"),
	JSON_KEY(raw_target, chap, ARRAY,
		 .help = "accounts: initiators must log in with one of them; default: no login needed"),
	JSON_KEY(raw_target, mutual, OBJECT,
		 .help = "what the target proves itself with when the initiator asks"),
	JSON_KEY(raw_target, initiators, ARRAY,
		 .help = "the initiators that may log in, and what they see; default: everybody, everything"),
	JSON_KEY(raw_target, portal_groups, ARRAY,
		 .help = "tags of the portal groups that lead to it; default: all"),
	JSON_KEY(raw_target, redirect, OBJECT, .help = "where logins are sent instead"),
	JSON_KEY(raw_target, alua, ARRAY,
		 .help = "access states of portal groups (ALUA); default: optimized"),
};

const struct json_key config_lun_keys[CONFIG_LUN_KEYS] = {
	JSON_KEY(config_lun, lun, UINT, .required = true, .max = SCSI_LUNS_MAX - 1,
		 .help = "number of the LUN"),
	JSON_KEY(config_lun, volume, STRING, .required = true, .help = "name of the volume it shows"),
	JSON_KEY(config_lun, removable, BOOL, .help = "a medium that initiators can eject and load"),
};

/* Volumes that were broken are not in the list: whoever maps them is not to blame. */
static bool
volume_named(const struct config_reader *reader, const char *name)
{
	const json_t *array = json_object_get(reader->doc->root, "volumes");
	const json_t *object;
	size_t i;

	json_array_foreach(array, i, object)
	{
		const char *other = json_string_value(json_object_get(object, "name"));

		if (other && !strcmp(other, name))
			return true;
	}
	return config_find_volume(reader->config, name) != NULL;
}

/* A volume may be a LUN of several targets, but two LUNs of one target are two paths of one disk that look
 * like two disks. */
static void
read_lun(struct config_reader *reader, json_t *object, struct config_target *target, const char *path)
{
	struct config_lun lun = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];

	if (json_read(reader->doc, object, path, config_lun_keys, CONFIG_LUN_KEYS, &lun, &info)) {
		config_note(reader, &info);
		free(lun.volume);
		return;
	}
	config_place(where, "%s.volume", path);
	if (!volume_named(reader, lun.volume))
		config_complain(reader, where, "there is no volume \"%s\" in \"volumes\"", lun.volume);
	for (size_t i = 0; i < target->nluns; i++) {
		if (target->luns[i].lun == lun.lun) {
			config_place(where, "%s.lun", path);
			config_complain(reader, where, "LUN %llu is there already",
					(unsigned long long)lun.lun);
		}
		if (!strcmp(target->luns[i].volume, lun.volume))
			config_complain(reader, where, "\"%s\" is LUN %llu of this target already",
					lun.volume, (unsigned long long)target->luns[i].lun);
	}
	target->luns[target->nluns++] = lun;
}

static void
read_target(struct config_reader *reader, json_t *object, const char *path)
{
	struct config *config = reader->config;
	struct config_target target = {0};
	struct raw_target raw = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];
	json_t *lun;
	size_t i;

	if (json_read(reader->doc, object, path, config_target_keys, CONFIG_TARGET_KEYS, &raw, &info)) {
		config_note(reader, &info);
		free(raw.name);
		return;
	}
	target.name = raw.name;
	config_place(where, "%s.name", path);
	if (iscsi_name_check(target.name, &info))
		config_complain(reader, where, "%s", info.text);
	for (i = 0; i < config->ntargets; i++)
		if (!strcasecmp(config->targets[i].name, target.name))
			config_complain(reader, where, "a target \"%s\" is there already", target.name);
	target.luns = calloc(json_array_size(raw.luns) + 1, sizeof(*target.luns));
	json_array_foreach(raw.luns, i, lun)
	{
		config_place(where, "%s.luns[%zu]", path, i);
		if (target.luns)
			read_lun(reader, lun, &target, where);
	}
	config_read_access(reader, raw.chap, raw.mutual, raw.initiators, path, &target, &target.access);
	config_read_paths(reader, raw.portal_groups, raw.redirect, raw.alua, path, &target.paths);
	config->targets[config->ntargets++] = target;
}

void
config_read_targets(struct config_reader *reader, json_t *array)
{
	struct config *config = reader->config;
	char path[CONFIG_PATH_TEXT];
	json_t *object;
	size_t i;

	config->targets = calloc(json_array_size(array) + 1, sizeof(*config->targets));
	if (!config->targets)
		return;
	json_array_foreach(array, i, object)
	{
		config_place(path, "targets[%zu]", i);
		read_target(reader, object, path);
	}
}

void
config_target_fini(struct config_target *target)
{
	for (size_t i = 0; i < target->nluns; i++)
		free(target->luns[i].volume);
	free(target->luns);
	free(target->name);
	config_access_fini(&target->access);
	memset(target, 0, sizeof(*target));
}
