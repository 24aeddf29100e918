/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an answer of the server, or no answer, means: one table for all of them.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_STORES_OBJECT_S3_ERRORS_H
#define LUNGATE_STORES_OBJECT_S3_ERRORS_H

#include <stdbool.h>

enum s3_action {
	S3_OK,
	S3_FAIL,       /* report err */
	S3_RETRY,      /* again after a pause; err when time is up */
	S3_SLOW,       /* the same, with half as many requests at once */
	S3_CLOCK,      /* learn the server's clock, then again, once */
	S3_RENEW,      /* read the credentials anew, then again, once */
	S3_MISSING,    /* there is no such object: of a PUT that proves nothing */
	S3_CONDITION,  /* the condition of a PUT does not hold, or no longer: settle it by reading back */
	S3_SHORT,      /* the object is shorter than the range */
};

/** What somebody has to look at. */
enum s3_subject {
	S3_SUBJECT_NONE,
	S3_SUBJECT_ENDPOINT,
	S3_SUBJECT_TLS,
	S3_SUBJECT_CLOCK,
	S3_SUBJECT_PERMISSION,
	S3_SUBJECT_BUCKET,
	S3_SUBJECT_KEY,
	S3_SUBJECT_SPACE,
	S3_SUBJECT_SERVER,
	S3_SUBJECT_REQUEST,
};

struct s3_meaning {
	enum s3_action action;
	int err;
	enum s3_subject subject;
	const char *text;   /* static; a clause without a full stop */
};

/** status: of HTTP.  code: <Code> of the error document, "" when there is none. */
struct s3_meaning s3_meaning_of(long status, const char *code);

/** curl: a CURLcode other than CURLE_OK; os_error: positive errno of the connect, or 0. */
struct s3_meaning s3_meaning_of_curl(int curl, long os_error);

const char *s3_subject_name(enum s3_subject subject);

#endif
