/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An HTTP/1.1 server on loopback whose answers a test makes: for what no real server says on demand.
 *
 * Threads: one a connection; answer() is called by one of them at a time.
 */
#ifndef LUNGATE_TEST_LIB_CANNED_H
#define LUNGATE_TEST_LIB_CANNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct canned;

struct canned_request {
	unsigned number;            /* counts from 1 */
	unsigned connection;
	char method[8];
	char target[4096];
	char *headers;              /* all lines */
	char *body;
	size_t nbody;
};

struct canned_answer {
	int status;
	char headers[1024];         /* whole lines with CRLF; Content-Length is added unless it is here */
	char *body;                 /* malloc'd or NULL; freed by the server */
	size_t nbody;
	bool drop;                  /* no answer: close */
	bool hang;                  /* no answer: wait until the client goes away */
	bool cut;                   /* close after half of the body */
	bool close;                 /* close afterwards */
};

typedef void canned_fn(void *arg, const struct canned_request *req, struct canned_answer *ret);

struct canned *canned_new(canned_fn *answer, void *arg);
unsigned canned_port(const struct canned *server);
unsigned canned_requests(struct canned *server);
/** Between them answer() does not run: to change or read what it uses. */
void canned_lock(struct canned *server);
void canned_unlock(struct canned *server);
/** Answers that are ready wait until hold is false again. */
void canned_hold(struct canned *server, bool hold);
/** Wait until n answers wait. */
void canned_wait_held(struct canned *server, unsigned n);
/** How many waited at most at the same time. */
unsigned canned_held_max(struct canned *server);
void canned_free(struct canned *server);

/** The value of a header, or NULL; buf holds it. */
const char *canned_header(const struct canned_request *req, const char *name, char *buf, size_t room);

#endif
