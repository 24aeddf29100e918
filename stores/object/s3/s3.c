/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The object store that is a bucket of an S3 server: "s3://BUCKET/PREFIX?endpoint=...", see url.h.
 *
 * ETags are the server's and mostly made from the content: the same bytes put twice may have the same ETag.
 * Whoever compares and swaps puts a nonce into the body, as the engine does.
 *
 * Opening reads the credentials and probes the server (probe.c), so what is wrong is said there, in words.
 *
 * Threads: shared by loops; see lane.c for what each has of its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"
#include "stores/object/s3/s3_int.h"

#define OPEN_RETRY_MS 5000u
#define SMALL_PUT (64u << 10)

/* ---- requests ---- */

static void
no_memory(struct loop_msg *msg)
{
	object_done(container_of(msg, struct object_req, work.msg), -ENOMEM);
}

static void
nothing_to_do(struct loop_msg *msg)
{
	object_done(container_of(msg, struct object_req, work.msg), 0);
}

static void
later(struct object_req *req, void (*fn)(struct loop_msg *msg))
{
	req->work.msg.fn = fn;
	loop_post(req->loop, &req->work.msg);
}

static const struct {
	const struct s3_step *step;
	enum s3_class class;
} firsts[OBJECT_OP_COUNT] = {
	[OBJECT_PUT] = {&s3_step_put, S3_CLASS_BULK},       [OBJECT_GET] = {&s3_step_get, S3_CLASS_FIRST},
	[OBJECT_HEAD] = {&s3_step_head, S3_CLASS_FIRST},    [OBJECT_LIST] = {&s3_step_list, S3_CLASS_LATE},
	[OBJECT_DELETE] = {&s3_step_delete, S3_CLASS_LATE},
};

static void
s3_submit(struct object_req *req)
{
	const struct s3_step *step = firsts[req->op].step;
	enum s3_class class = firsts[req->op].class;
	struct s3_call *call;

	if (req->op == OBJECT_DELETE && !req->nkeys) {
		later(req, nothing_to_do);
		return;
	}
	if (req->op == OBJECT_DELETE && req->nkeys == 1)
		step = &s3_step_delete_one;
	if (req->op == OBJECT_PUT && (req->if_match || req->if_absent) &&
	    object_iov_bytes(req->iov, req->niov) <= SMALL_PUT)
		class = S3_CLASS_FIRST;
	call = s3_call_new(req, step, class);
	if (!call || s3_lane_submit(call)) {
		free(call);
		later(req, no_memory);
	}
}

static void
s3_free(struct object_store *store)
{
	struct s3_store *s3 = container_of(store, struct s3_store, store);

	s3_lanes_free(s3);
	s3_creds_free(s3->creds);
	pthread_mutex_destroy(&s3->last_lock);
	free(s3);
}

static void
s3_describe(struct object_store *store, struct object_description *ret)
{
	struct s3_store *s3 = container_of(store, struct s3_store, store);
	bool due;
	struct s3_key *key = s3_creds_key(s3->creds, &due);

	if (key)
		(void)snprintf(ret->credentials, sizeof(ret->credentials), "%s", key->source);
	s3_key_unref(key);
	ret->nendpoints = s3->url.nendpoints;
	for (unsigned i = 0; i < s3->url.nendpoints; i++) {
		const struct s3_endpoint *e = &s3->url.endpoints[i];

		ret->endpoints[i].out = atomic_load_explicit(&s3->out[i], memory_order_relaxed);
		ret->out += ret->endpoints[i].out;
		(void)snprintf(ret->endpoints[i].url, sizeof(ret->endpoints[i].url), "%s://%s%s%s:%u",
			       e->tls ? "https" : "http", e->literal6 ? "[" : "", e->host,
			       e->literal6 ? "]" : "", e->port);
	}
	ret->clock_offset_s = atomic_load_explicit(&s3->clock_offset_s, memory_order_relaxed);
	ret->if_match = atomic_load(&s3->match_form) == S3_MATCH_BARE ? "bare" : "quoted";
	ret->retries = atomic_load_explicit(&s3->retries, memory_order_relaxed);
	ret->slow_downs = atomic_load_explicit(&s3->slow_downs, memory_order_relaxed);
	s3_lanes_describe(s3, ret);
	pthread_mutex_lock(&s3->last_lock);
	(void)snprintf(ret->last_error, sizeof(ret->last_error), "%s", s3->last.text);
	pthread_mutex_unlock(&s3->last_lock);
}

void
s3_stores_reload(void)
{
	s3_creds_reload_all();
}

static const struct object_ops s3_ops = {
	.kind = "s3", .submit = s3_submit, .free = s3_free, .describe = s3_describe, .copies = true};

/* ---- opening ---- */

/* Without parameters: they may name files, and are long. */
static void
url_format(struct s3_store *s3)
{
	(void)snprintf(s3->store.url, sizeof(s3->store.url), "s3://%s%s%s", s3->url.bucket,
		       s3->url.prefix[0] ? "/" : "", s3->url.prefix);
}

/* What the URL leaves open and the environment says. */
static int
from_environment(struct s3_url *url, struct errinfo *info)
{
	const char *endpoint = secure_getenv("AWS_ENDPOINT_URL_S3"), *ca = secure_getenv("AWS_CA_BUNDLE");

	if (!endpoint || !endpoint[0])
		endpoint = secure_getenv("AWS_ENDPOINT_URL");
	if (!url->nendpoints && endpoint && endpoint[0]) {
		if (s3_endpoint_parse(endpoint, &url->endpoints[0]))
			return err_set(info, LG_ECONFIG, "AWS_ENDPOINT_URL is not http(s)://HOST:PORT");
		url->nendpoints = 1;
	}
	if (!url->ca[0] && ca && ca[0])
		(void)snprintf(url->ca, sizeof(url->ca), "%s", ca);
	if (!url->region[0])
		s3_creds_region(url->profile, NULL, url->region, sizeof(url->region));
	s3_url_complete(url);
	return 0;
}

/* The probe asks on a loop of its own: the caller's may not run yet. */
static int
probe_on_a_loop(struct s3_store *s3, struct errinfo *info)
{
	struct loop *loop = NULL;
	int rc = -EEXIST;

	for (unsigned i = LOOPS_MAX; rc == -EEXIST && i-- > 0;)
		rc = loop_new("s3-open", i, &loop);
	if (!rc)
		rc = loop_start(loop);
	if (rc) {
		loop_free(loop);
		return err_set(info, rc, "no loop for the probe: %s", err_text(rc));
	}
	rc = s3_probe(s3, loop, info);
	loop_free(loop);
	return rc;
}

int
s3_store_open(const char *rest, struct vfs *vfs, bool create, struct object_store **ret, struct errinfo *info)
{
	struct s3_store *s3 = calloc(1, sizeof(*s3));
	int rc;

	(void)vfs;
	(void)create; /* the bucket must be there: making one is the administrator's decision */
	if (!s3)
		return err_set(info, -ENOMEM, "object store \"s3://...\": no memory");
	http_global_init();
	pthread_mutex_init(&s3->last_lock, NULL);
	s3->store.ops = &s3_ops;
	rc = s3_url_parse(rest, &s3->url, info);
	if (rc) {
		s3_free(&s3->store);
		return rc;
	}
	url_format(s3);
	rc = from_environment(&s3->url, info);
	s3->http = (struct http_settings){.ca = s3->url.ca,
					  .cert = s3->url.cert,
					  .key = s3->url.key,
					  .proxy = s3->url.proxy,
					  .connect_ms = s3->url.connect_ms,
					  .stall_ms = s3->url.stall_ms,
					  .http2 = s3->url.http2,
					  .no_quickack = s3->url.no_quickack};
	atomic_store(&s3->match_form, s3->url.match_form);
	if (!rc)
		rc = s3_creds_new(s3->url.credentials, s3->url.profile, NULL, &s3->creds);
	if (!rc)
		rc = s3_creds_refresh(s3->creds, info);
	s3->retry_ms = min_of(s3->url.retry_ms, OPEN_RETRY_MS);
	s3->probing = true;
	if (!rc)
		rc = probe_on_a_loop(s3, info);
	s3->probing = false;
	s3->retry_ms = s3->url.retry_ms;
	if (rc) {
		err_prefix(info, "object store \"%s\": ", s3->store.url);
		s3_free(&s3->store);
		return rc;
	}
	s3->last.text[0] = '\0';
	memset(&s3->store.stats, 0, sizeof(s3->store.stats)); /* the probe is none of the caller's requests */
	*ret = &s3->store;
	return 0;
}
