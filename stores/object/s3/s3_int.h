/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the files of the S3 store:
 *
 *   s3.c     opens and frees, names a request's steps
 *   lane.c   which request goes next, where to, and when again
 *   call.c   one attempt: URL, headers, signature, the answer's meaning
 *   ops.c    what each operation asks, and what its answers mean for it
 *   probe.c  finds out at opening what the server can do
 *
 * Threads: a store is shared by loops, a lane and its calls belong to one.
 */
#ifndef LUNGATE_STORES_OBJECT_S3_INT_H
#define LUNGATE_STORES_OBJECT_S3_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "stores/object/s3/creds.h"
#include "stores/object/s3/errors.h"
#include "stores/object/s3/http.h"
#include "stores/object/s3/retry.h"
#include "stores/object/s3/sigv4.h"
#include "stores/object/s3/url.h"
#include "stores/object/store.h"

#define S3_KEY_ROOM (S3_PREFIX_MAX + 1 + OBJECT_KEY_MAX + 1)
#define S3_PARAMS_MAX 8
#define S3_EXTRA_MAX 6
#define S3_URL_ROOM 8192u
#define S3_LIES_MAX 3u         /* then it is no accident */

struct s3_lane;

struct s3_store {
	struct object_store store;
	struct s3_url url;
	struct http_settings http;
	struct s3_creds *creds;
	unsigned retry_ms;
	bool probing;                        /* while it is opened */
	_Atomic int match_form;              /* enum s3_match_form */
	_Atomic int64_t clock_offset_s;      /* the server's clock less ours */
	struct s3_lane *_Atomic lanes[LOOPS_MAX];
	_Atomic unsigned long long log_state;
	_Atomic uint64_t retries, slow_downs;
	_Atomic bool out[S3_ENDPOINTS_MAX];  /* left out, as some lane sees it */
	pthread_mutex_t last_lock;
	struct errinfo last;                 /* words about the latest failure */
};

/** Who goes first. */
enum s3_class {
	S3_CLASS_FIRST,    /* somebody waits: GET, HEAD, small conditional PUTs (leases, roots) */
	S3_CLASS_BULK,     /* PUT */
	S3_CLASS_LATE,     /* LIST, DELETE */
	S3_CLASS_COUNT,
};

enum s3_outcome {
	S3_OUT_DONE,       /* call->status */
	S3_OUT_AGAIN,      /* call->step, after a pause when call->meaning asks for one */
	S3_OUT_NEXT,       /* call->step, at once: it is another question */
};

struct s3_call;

/** One question to the server. */
struct s3_step {
	enum http_method method;
	/** Fill in call->query, extra, body, sink.  0 or negative. */
	int (*build)(struct s3_call *call);
	/** The headers of a good answer are there: say where its body goes.  Negative ends the attempt. */
	int (*on_head)(struct s3_call *call);
	enum s3_outcome (*on_answer)(struct s3_call *call);
};

/** A request of an object store, until it is done. */
struct s3_call {
	struct s3_store *s3;
	struct s3_lane *lane;
	struct object_req *req;
	struct s3_call *next;
	const struct s3_step *step;
	enum s3_class class;
	int status;
	/* ---- attempts */
	unsigned attempt;
	unsigned lies;                /* answers that contradict themselves */
	uint64_t begun_ms, attempt_ms;
	int endpoint;                 /* -1 = not in flight */
	int avoid;                    /* the endpoint that failed it; -1 = none did */
	struct loop_timer pause;
	bool tried_clock, tried_key, volunteered;
	uint64_t key_number;
	int64_t clock_offset_s;       /* what it was signed with */
	struct s3_meaning meaning;    /* of the latest answer */
	char code[64];
	/* ---- the question */
	struct sigv4_pair query[S3_PARAMS_MAX];
	size_t nquery;
	struct sigv4_pair extra[S3_EXTRA_MAX];   /* headers that are signed */
	size_t nextra;
	const struct iovec *body;
	int nbody;
	bool on_bucket;               /* not on req->key */
	const char *payload;          /* what is signed of the body */
	bool hashed;
	char hash[SIGV4_HASH_TEXT];   /* of req's body, or of the document */
	struct http_request http;
	char *url;                    /* and the text of headers, for the length of an attempt */
	/* ---- per operation */
	bool ambiguous;               /* PUT: an attempt may have taken effect */
	int ambiguous_err;
	bool clean;                   /* PUT: the refusal at hand is the answer to the only attempt */
	unsigned false_refusals;
	char *text;                   /* DELETE: the document; LIST: the continuation token */
	struct iovec text_iov;
	size_t index;                 /* DELETE one by one */
	char scratch[3][S3_KEY_ROOM + 64];
};

/* ---- lane.c ---- */
/** 0, or -ENOMEM: then the call is still the caller's. */
int s3_lane_submit(struct s3_call *call);
void s3_lanes_free(struct s3_store *s3);
/** How many are in flight, waiting, and may be.  Any thread. */
void s3_lanes_describe(struct s3_store *s3, struct object_description *ret);
/** The attempt is over.  outcome as decided by the step. */
void s3_lane_finish(struct s3_call *call, enum s3_outcome outcome, bool answered);
/** It must wait until the keys are read. */
void s3_lane_park(struct s3_call *call);

/* ---- call.c ---- */
struct s3_call *s3_call_new(struct object_req *req, const struct s3_step *step, enum s3_class class);
void s3_call_free(struct s3_call *call);
/** Start the attempt; its end arrives at s3_lane_finish(), later. */
void s3_call_attempt(struct s3_call *call, const struct s3_endpoint *endpoint, struct s3_key *key);
/** "3 attempts; 503 SlowDown: the server ..." into the store's `last`, and the log now and then. */
void s3_call_complain(struct s3_call *call);
/** PREFIX/key, or the prefix with its slash for key "". */
void s3_full_key(const struct s3_store *s3, const char *key, char *out, size_t room);

/* ---- ops.c ---- */
extern const struct s3_step s3_step_put, s3_step_get, s3_step_head, s3_step_list, s3_step_delete,
	s3_step_delete_one;

/* ---- probe.c ---- */
/** Find the form of If-Match; then the probe that all stores have.  Blocks. */
int s3_probe(struct s3_store *s3, struct loop *loop, struct errinfo *info);

#endif
