/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files that read lungate.json share: the reader, its complaints, and
 * the tables of keys.
 *
 * Threads: any (a reader is its caller's).
 */
#ifndef LUNGATE_GATEWAY_CONFIG_IMPL_H
#define LUNGATE_GATEWAY_CONFIG_IMPL_H

#include "gateway/config.h"

#define CONFIG_PATH_TEXT 128

struct config_reader {
	const struct json_doc *doc;
	struct config *config;
	struct config_report report;
	size_t complaints;
};

/** One more complaint. */
void config_note(struct config_reader *reader, const struct errinfo *info);
void config_complain(struct config_reader *reader, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** Paths of keys: a cut one is still a hint. */
void config_place(char out[CONFIG_PATH_TEXT], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** NULL when no volume that was read so far has this name. */
const struct config_volume *config_find_volume(const struct config *config, const char *name);

/* -- config_edit.c: the file as it will be -- */
/** The array at key, made when it is missing; what is returned stays object's. */
json_t *config_edit_list(json_t *object, const char *key);
/** NULL, with words (-ENOENT): somebody has taken it out by hand. */
json_t *config_edit_target(json_t *root, const char *name, struct errinfo *info);

/* -- config_target.c -- */
#define CONFIG_TARGET_KEYS 8
#define CONFIG_LUN_KEYS 3
extern const struct json_key config_target_keys[CONFIG_TARGET_KEYS];
extern const struct json_key config_lun_keys[CONFIG_LUN_KEYS];
void config_read_targets(struct config_reader *reader, json_t *array);
void config_target_fini(struct config_target *target);

/* -- config_portal.c -- */
#define CONFIG_GROUP_KEYS 2
#define CONFIG_PORTAL_REDIRECT_KEYS 4
#define CONFIG_REDIRECT_KEYS 2
#define CONFIG_ALUA_KEYS 2
extern const struct json_key config_group_keys[CONFIG_GROUP_KEYS];
extern const struct json_key config_portal_redirect_keys[CONFIG_PORTAL_REDIRECT_KEYS];
extern const struct json_key config_redirect_keys[CONFIG_REDIRECT_KEYS];
extern const struct json_key config_alua_keys[CONFIG_ALUA_KEYS];
/** "listen", "portal_groups", "redirects"; each NULL when it is not there. */
void config_read_portals(struct config_reader *reader, json_t *listen, json_t *groups, json_t *redirects);
/** "portal_groups", "redirect" and "alua" of the target at path, after the portals. */
void config_read_paths(struct config_reader *reader, json_t *groups, json_t *redirect, json_t *alua, const char *path,
		       struct config_paths *ret);

/* -- config_access.c -- */
#define CONFIG_ACCOUNT_KEYS 4
#define CONFIG_INITIATOR_KEYS 4
#define CONFIG_MASK_KEYS 3
#define CONFIG_DISCOVERY_KEYS 2
extern const struct json_key config_account_keys[CONFIG_ACCOUNT_KEYS];
extern const struct json_key config_initiator_keys[CONFIG_INITIATOR_KEYS];
extern const struct json_key config_mask_keys[CONFIG_MASK_KEYS];
extern const struct json_key config_discovery_keys[CONFIG_DISCOVERY_KEYS];
/** chap, mutual and initiators of the object at path, each NULL when it is not there; target: whose LUNs initiators see. */
void config_read_access(struct config_reader *reader, json_t *chap, json_t *mutual, json_t *initiators, const char *path,
			const struct config_target *target, struct config_access *ret);
void config_read_discovery(struct config_reader *reader, json_t *object);
void config_read_algorithms(struct config_reader *reader, json_t *array);

#endif
