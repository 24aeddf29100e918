/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the keys of a store come from, and that they are fresh.
 *
 * With credentials=FILE that file alone (0600; the INI form of ~/.aws/credentials, or one line "ACCESS:SECRET");
 * with profile=NAME that profile of the shared files alone; else the first that has any:
 *
 *   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN (STS)
 *   the shared files: AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, AWS_CONFIG_FILE or ~/.aws/config, with
 *     profile AWS_PROFILE or "default"
 *   AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI
 *   the instance's metadata service, version 2 (unless AWS_EC2_METADATA_DISABLED=true)
 *
 * Keys live in pages of their own that no core dump contains, and are wiped.
 *
 * Threads: any; s3_creds_refresh() may block (files, metadata services): not on a loop.
 */
#ifndef LUNGATE_STORES_OBJECT_S3_CREDS_H
#define LUNGATE_STORES_OBJECT_S3_CREDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "common/err.h"

struct s3_creds;

/** Immutable once it is handed out. */
struct s3_key {
	_Atomic unsigned refs;
	uint64_t number;           /* counts refreshes of its s3_creds */
	time_t expires;            /* 0 = never */
	char source[64];           /* "environment", "profile default": for people */
	char access[128];
	char secret[256];
	char token[4096];          /* "" = none */
};

/** The outside, replaceable by tests; NULL functions = the real ones. */
struct s3_outside {
	const char *(*env)(void *arg, const char *name);
	time_t (*now)(void *arg);
	void *arg;
};

int s3_creds_new(const char *file, const char *profile, const struct s3_outside *outside, struct s3_creds **ret);
void s3_creds_free(struct s3_creds *creds);

/** The key, with a reference, or NULL when there is none yet, or it expired.  *ret_due: time for a refresh. */
struct s3_key *s3_creds_key(struct s3_creds *creds, bool *ret_due);
void s3_key_unref(struct s3_key *key);
/** The server refused key `number`: the next s3_creds_key() says due.  False when a newer one is there already,
 *  or that one was blamed before and came back the same: then asking again is of no use. */
bool s3_creds_blame(struct s3_creds *creds, uint64_t number);

/** Read them anew.  On failure the old ones stay until they expire. */
int s3_creds_refresh(struct s3_creds *creds, struct errinfo *info);

/** Every store asks its sources again before its next request (SIGHUP). */
void s3_creds_reload_all(void);

/** The region that environment or profile name; "" when they do not.  May block. */
void s3_creds_region(const char *profile, const struct s3_outside *outside, char *out, size_t room);

#endif
