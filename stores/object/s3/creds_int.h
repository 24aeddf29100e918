/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the files of the credentials: creds.c has the order and the freshness, creds_remote.c the sources
 * that are asked over HTTP.
 *
 * Threads: any that may block.
 */
#ifndef LUNGATE_STORES_OBJECT_S3_CREDS_INT_H
#define LUNGATE_STORES_OBJECT_S3_CREDS_INT_H

#include "stores/object/s3/creds.h"

/** The value, or NULL when it is not set or empty. */
const char *s3_outside_env(const struct s3_outside *outside, const char *name);
time_t s3_outside_now(const struct s3_outside *outside);

/** Zeroed, one reference. */
struct s3_key *s3_key_new(const char *source);
bool s3_key_valid(const struct s3_key *key);
/** Copy; false when it does not fit. */
bool s3_key_set(char *out, size_t room, const char *value);

/** A small file; free with s3_text_free(), which wipes it. */
int s3_file_text(const char *path, char **ret, struct errinfo *info);
void s3_text_free(char *text);

/** 1 = here they are, 0 = this source does not apply, negative = it does and failed. */
int s3_remote_web_identity(const struct s3_outside *outside, struct s3_key **ret, struct errinfo *info);
int s3_remote_container(const struct s3_outside *outside, struct s3_key **ret, struct errinfo *info);
int s3_remote_instance(const struct s3_outside *outside, struct s3_key **ret, struct errinfo *info);

/** 1 = the section has keys, 0 = it has none, negative = they cannot be used. */
int s3_key_from_ini(const char *text, const char *section, struct s3_key *key, struct errinfo *info);
/** "ACCESS:SECRET" in one line. */
bool s3_key_from_line(const char *text, struct s3_key *key);
/** {"AccessKeyId": ..., "SecretAccessKey": ..., "Token": ..., "Expiration": ...}: 1, or negative. */
int s3_key_from_json(const char *text, size_t n, const char *source, struct s3_key **ret, struct errinfo *info);

/** "2026-11-22T10:00:00Z"; 0 when it is not a time. */
time_t s3_time_parse(const char *text);

#endif
