/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AWS Signature Version 4 of one HTTP request ("Authenticating Requests (AWS Signature Version 4)",
 * header form, the payload as a whole).
 *
 * The path is signed as it is sent: escaped once (the rule of S3).
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_STORES_OBJECT_S3_SIGV4_H
#define LUNGATE_STORES_OBJECT_S3_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>
#include <time.h>

#define SIGV4_HASH_TEXT 65            /* SHA-256 in hex, with the NUL */
#define SIGV4_DATE_TEXT 17            /* "20150830T123600Z" */
#define SIGV4_AUTHORIZATION_MAX 1024
#define SIGV4_HEADERS_MAX 16
#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
#define SIGV4_EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct sigv4_pair {
	const char *name;
	const char *value;
};

struct sigv4_request {
	const char *method;
	const char *path;                 /* escaped */
	const char *query;                /* from sigv4_query(); "" = none */
	const struct sigv4_pair *headers; /* any order and case; host and x-amz-date among them */
	size_t nheaders;                  /* at most SIGV4_HEADERS_MAX */
	const char *payload_hash;         /* hex, or SIGV4_UNSIGNED */
	const char *date;                 /* SIGV4_DATE_TEXT */
	const char *region, *service;
};

/** RFC 3986 unreserved characters stay, all else becomes %XX, '/' too unless keep_slash.
 *  The length without the NUL, or 0 with an empty out when it does not fit. */
size_t sigv4_escape(const char *in, bool keep_slash, char *out, size_t room);

/** The query, escaped and sorted, to be signed and sent.  0 or -ENOSPC. */
int sigv4_query(const struct sigv4_pair *params, size_t n, char *out, size_t room);

void sigv4_date(time_t t, char out[SIGV4_DATE_TEXT]);
void sigv4_hash(const struct iovec *iov, int niov, char out[SIGV4_HASH_TEXT]);

/** For tests and for words about a signature that was refused: the canonical request.  Length or -ENOSPC. */
int sigv4_canonical(const struct sigv4_request *req, char *out, size_t room);

/** The value of Authorization.  0 or -ENOSPC. */
int sigv4_sign(const struct sigv4_request *req, const char *access_key, const char *secret_key, char *out,
	       size_t room);

#endif
