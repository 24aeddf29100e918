/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the fake S3 server share: fakes3.c takes requests and answers, fakes3_faults.c decides what goes wrong
 * with them, fakes3_verbs.c does what they ask for.
 *
 * Threads: one a connection.
 */
#ifndef LUNGATE_TEST_LIB_FAKES3_IMPL_H
#define LUNGATE_TEST_LIB_FAKES3_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include <microhttpd.h>

#include "test/lib/fakes3.h"
#include "test/lib/fakes3_keys.h"

#define FAKES3_KEY_ROOM 1100
#define FAKES3_PARAMS_MAX 16

/** Counted, so that an answer may outlive its object. */
struct blob {
	atomic_uint refs;
	size_t n;
	char data[];
};

struct object {
	char *key;
	char etag[33];
	struct blob *blob;
};

struct fakes3 {
	struct MHD_Daemon *daemon, *tls;
	uint16_t tls_port;
	char cert[256], cert_key[256]; /* files */
	atomic_int clock;
	atomic_uint busy, crowd; /* requests now, and how many are too many */
	_Atomic uint64_t turned_away;
	char bucket[64];
	struct fakes3_keys keys;
	bool bare_if_match;
	unsigned page_max;
	pthread_mutex_t lock;   /* all below */
	struct object *objects; /* sorted */
	size_t n, room;
	uint64_t rng;
	unsigned per_mille[FAKES3_FAULTS];
	uint64_t counts[FAKES3_FAULTS];
};

struct request {
	struct fakes3 *fake;
	struct MHD_Connection *connection;
	char *uri;
	const char *method;
	char path[FAKES3_KEY_ROOM]; /* unescaped */
	const char *key;     /* within path; NULL = the bucket */
	char *params;        /* unescaped in place */
	struct {
		const char *name, *value;
	} param[FAKES3_PARAMS_MAX];
	unsigned nparams;
	struct blob *body;
	size_t room;
	int fault; /* -1 = none */
	bool begun;
	bool too_large;
};

/* -- fakes3.c: answers -- */
const char *fakes3_header(const struct request *r, const char *name);
/** NULL: it is not in the query. */
const char *fakes3_param(const struct request *r, const char *name);
/** End the connection with a RST. */
enum MHD_Result fakes3_reset(struct request *r);
/** response is taken.  A fault may keep it untold. */
enum MHD_Result fakes3_send_response(struct request *r, unsigned status, struct MHD_Response *response);
enum MHD_Result fakes3_send_text(struct request *r, unsigned status, const char *text, const char *etag);
enum MHD_Result fakes3_send_error(struct request *r, unsigned status, const char *code);

/* -- fakes3_faults.c -- */
/** Under the lock: the fault of this request, of those that fit it; -1: none. */
int fakes3_draw(struct request *r);
/** Do what it asks for, or what its fault, or the crowd, makes of it. */
enum MHD_Result fakes3_answer(struct request *r);
/** POST and GET /_control. */
enum MHD_Result fakes3_answer_control(struct request *r);

/* -- fakes3_verbs.c -- */
struct blob *fakes3_blob_grow(struct blob *blob, size_t room);
void fakes3_blob_put(struct blob *blob);
enum MHD_Result fakes3_operate(struct request *r);

#endif
