/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON for people: parse a text with jansson and read it by tables of known
 * keys, so that every error (syntax, unknown key, wrong type, value out of
 * range, duplicate key) names file, line, column and path.
 *
 * Threads: any (no shared state).
 */
#ifndef LUNGATE_COMMON_JSONCONF_H
#define LUNGATE_COMMON_JSONCONF_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/** What jansson frees is overwritten from now on: it may have been a secret.  Once, before anything of it is used. */
void json_wipe_freed(void);

struct json_doc {
	char *name;      /* file name, for messages */
	char *text;      /* as read, for positions */
	size_t len;
	json_t *root;
};

/** Parse text (copied); name is for messages.  0, or LG_ECONFIG with "name:line:col: ...". */
int json_doc_parse(const char *name, const char *text, size_t len, struct json_doc *ret, struct errinfo *info);
/** Read a file of at most 16 MiB and parse it. */
int json_doc_load(const char *path, struct json_doc *ret, struct errinfo *info);
void json_doc_fini(struct json_doc *doc);

/** Where the value (or with key_itself the key) at path stands; path as in "targets[0].luns[1].volume".
 *  Line and column count from 1; 0, 0 when it is not there. */
void json_locate(const struct json_doc *doc, const char *path, bool key_itself, unsigned *ret_line, unsigned *ret_col);

enum json_kind {
	JSON_KIND_STRING,   /* char *, malloc'd copy */
	JSON_KIND_SIZE,     /* uint64_t: a number of bytes or a string as "10G" */
	JSON_KIND_UINT,     /* uint64_t in [min, max] */
	JSON_KIND_BOOL,     /* bool */
	JSON_KIND_ENUM,     /* int: index into choices */
	JSON_KIND_ARRAY,    /* json_t *, borrowed */
	JSON_KIND_OBJECT,   /* json_t *, borrowed */
};

struct json_key {
	const char *key;
	enum json_kind kind;
	size_t offset;              /* of the member in the struct that is filled */
	bool required;
	uint64_t min, max;          /* for SIZE and UINT; max 0 = no bound */
	const char *const *choices; /* for ENUM, NULL-terminated */
	const char *help;           /* one line, for `config check --explain` and the man page's test */
};

/** A row of a table of keys: what is read goes to the member of that name. */
#define JSON_KEY(table, member, json_kind, ...)                                                              \
	{                                                                                                    \
		.key = #member, .kind = JSON_KIND_##json_kind, .offset = offsetof(struct table, member),     \
		__VA_ARGS__                                                                                  \
	}

/** Fill *out from object by keys[0..n).  Keys that are absent leave their member as it is.  path is where the object
 *  stands in doc ("" = root).  0, or LG_ECONFIG with file:line:col and what is expected. */
int json_read(const struct json_doc *doc, json_t *object, const char *path, const struct json_key *keys, size_t n,
	      void *out, struct errinfo *info);

/** "name:line:col: path: " in front of a message about the value at path; returns LG_ECONFIG. */
int json_complain(const struct json_doc *doc, const char *path, struct errinfo *info, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
