/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small S3 server in memory, on loopback: correct, until it is told to misbehave.
 *
 * It checks signatures, body hashes, MD5 and clock, holds conditions atomically, and answers as AWS does; path style only.
 * Each fault has a share of the requests it fits, in thousandths; which request it hits comes from the seed
 * and the order of arrival.
 *
 * Threads: any.  The server has threads of its own.
 */
#ifndef LUNGATE_TEST_LIB_FAKES3_H
#define LUNGATE_TEST_LIB_FAKES3_H

#include <stdbool.h>
#include <stdint.h>

enum fakes3_fault {
	FAKES3_SLOW,              /* answers after 20 ms */
	FAKES3_ERROR_BEFORE,      /* 500, nothing done */
	FAKES3_ERROR_AFTER,       /* 500, done all the same */
	FAKES3_RESET_BEFORE,      /* the connection is reset, nothing done */
	FAKES3_RESET_AFTER,       /* ... done */
	FAKES3_BUSY,              /* 503 SlowDown */
	FAKES3_BUSY_RETRY_AFTER,  /* ... with Retry-After: 1 */
	FAKES3_DENY,              /* 403 AccessDenied */
	FAKES3_NOT_FOUND,         /* 404 NoSuchKey to a PUT, as RGW says when a connection broke */
	FAKES3_TRUNCATE,          /* half of the body of a GET, then the end of the connection */
	FAKES3_WRONG_LENGTH,      /* a range that is not the one asked for */
	FAKES3_LIE_ETAG,          /* an ETag of nothing */
	FAKES3_ERROR_IN_OK,       /* 200 with an error document; a PUT is not done */
	FAKES3_WRONG_XML,         /* an answer to LIST or DELETE that is not well-formed */
	FAKES3_IGNORE_CONDITIONS, /* PUT as if it had none */
	FAKES3_QUOTA,             /* 403 QuotaExceeded to a PUT */
	FAKES3_UNKNOWN_KEY,       /* 403 InvalidAccessKeyId */
	FAKES3_LATE,              /* a PUT without an answer, done a second after the connection broke */
	FAKES3_FAULTS
};

struct fakes3_conf {
	uint16_t port;           /* 0 = any */
	const char *bucket, *access_key, *secret_key;
	uint64_t seed;
	bool bare_if_match;      /* as RGW 16: compares If-Match without taking quotes off */
	unsigned page_max;       /* keys on a page of LIST; 0 = 1000 */
	uint16_t tls_port;       /* with cert: https on that port too */
	const char *cert, *cert_key;   /* files, PEM; NULL = no https */
};

struct fakes3;

/** 0 or negative. */
int fakes3_start(const struct fakes3_conf *conf, struct fakes3 **ret);
void fakes3_stop(struct fakes3 *fake);
uint16_t fakes3_port(const struct fakes3 *fake);

void fakes3_set(struct fakes3 *fake, enum fakes3_fault fault, unsigned per_mille);
/** How often it was done. */
uint64_t fakes3_count(struct fakes3 *fake, enum fakes3_fault fault);
const char *fakes3_fault_name(enum fakes3_fault fault);
/** More requests than this at once are answered 503 SlowDown; 0 = any number is fine.  Returns how many were. */
uint64_t fakes3_set_crowd(struct fakes3 *fake, unsigned max);
/** Its clock is ahead of this machine's. */
void fakes3_set_clock(struct fakes3 *fake, int seconds);
/** Read the certificate anew, and break all connections that have the old one.  0 or negative. */
int fakes3_reload_tls(struct fakes3 *fake);
/** -1 when there is none of this name. */
int fakes3_fault_by_name(const char *name);

#endif
