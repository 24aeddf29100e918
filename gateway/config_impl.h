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

/** A row of a table of keys. */
#define CONFIG_KEY(table, member, json_kind, ...)                                                                   \
	{                                                                                                    \
		.key = #member, .kind = JSON_KIND_##json_kind, .offset = offsetof(struct table, member),     \
		__VA_ARGS__                                                                                  \
	}

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

/* -- config_target.c -- */
#define CONFIG_TARGET_KEYS 2
#define CONFIG_LUN_KEYS 3
extern const struct json_key config_target_keys[CONFIG_TARGET_KEYS];
extern const struct json_key config_lun_keys[CONFIG_LUN_KEYS];
void config_read_targets(struct config_reader *reader, json_t *array);
void config_target_fini(struct config_target *target);

#endif
