/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One attempt of a call: the body's hash, URL, headers, a fresh signature, and what the answer means.
 *
 *   s3_call_attempt -> build -> [hash on the pool] -> sign -> http_start -> on_head -> on_done ->
 * step->on_answer
 *                                                                        -> s3_lane_finish
 *
 * Every attempt is built anew: date and signature age, the key may be another one, and the body is read from
 * the caller's frozen iov from its beginning.
 *
 * Threads: the call's loop; hashing a large body runs on the pool.
 * Failure: what cannot even be built ends by a message, like an answer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"
#include "stores/object/s3/s3_int.h"
#include "stores/object/s3/xml.h"

#define HASH_INLINE_MAX (64u << 10)
#define TEXT_MAX_ERROR (64u << 10)
#define SKEW_S 240
#define LOG_PAUSE_MS 5000u
#define HEADER_ROOM 4400u

struct s3_call *
s3_call_new(struct object_req *req, const struct s3_step *step, enum s3_class class)
{
	struct s3_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->s3 = container_of(req->store, struct s3_store, store);
	call->req = req;
	call->step = step;
	call->class = class;
	call->endpoint = call->avoid = -1;
	return call;
}

void
s3_call_free(struct s3_call *call)
{
	http_request_clear(&call->http);
	free(call->url);
	free(call->text);
	free(call);
}

void
s3_full_key(const struct s3_store *s3, const char *key, char *out, size_t room)
{
	(void)snprintf(out, room, "%s%s%s", s3->url.prefix, s3->url.prefix[0] ? "/" : "", key);
}

/* ---- words ---- */

static const char *
op_name(enum object_op op)
{
	static const char *const names[OBJECT_OP_COUNT] = {[OBJECT_PUT] = "PUT",
							   [OBJECT_GET] = "GET",
							   [OBJECT_HEAD] = "HEAD",
							   [OBJECT_DELETE] = "DELETE",
							   [OBJECT_LIST] = "LIST"};

	return names[op];
}

void
s3_call_complain(struct s3_call *call)
{
	struct s3_store *s3 = call->s3;
	const char *key = call->req->key ? call->req->key : call->req->keys ? call->req->keys[0] : "";
	const char *detail = call->http.curl && !call->http.error ? call->http.words : call->code;
	struct errinfo info;

	if (call->meaning.action == S3_MISSING || call->meaning.action == S3_CONDITION ||
	    call->meaning.action == S3_SHORT)
		return; /* answers, not failures */
	(void)err_set(&info, call->status, "%s%s%s \"%s\": %s: %s%s%s%s (status %ld, %u attempts)",
		      s3->probing ? "" : s3->store.url, s3->probing ? "" : ": ", op_name(call->req->op), key,
		      s3_subject_name(call->meaning.subject), call->meaning.text, detail[0] ? " (" : "",
		      detail, detail[0] ? ")" : "", call->http.response.status, call->attempt + 1);
	pthread_mutex_lock(&s3->last_lock);
	s3->last = info;
	pthread_mutex_unlock(&s3->last_lock);
	if (!s3->probing && log_ratelimit(&s3->log_state, LOG_PAUSE_MS))
		log_warn("%s", info.text);
}

/* ---- the question ---- */

static bool
header_add(struct s3_call *call, const char *name, const char *value)
{
	char line[HEADER_ROOM];
	struct curl_slist *list;
	int n = snprintf(line, sizeof(line), "%s%s%s", name, value ? ": " : ":", value ? value : "");

	if (n < 0 || (size_t)n >= sizeof(line))
		return false;
	list = curl_slist_append(call->http.headers, line);
	if (!list)
		return false;
	call->http.headers = list;
	return true;
}

struct address {
	char host[S3_HOST_MAX + S3_BUCKET_MAX + 16]; /* with the port unless it is the usual one */
	char path[4096];
	char query[8192];
};

static int
address_make(struct s3_call *call, const struct s3_endpoint *e, struct address *a)
{
	const struct s3_url *url = &call->s3->url;
	bool virtual = url->addressing == S3_ADDRESSING_VIRTUAL;
	char plain[S3_BUCKET_MAX + S3_KEY_ROOM + 8], full[S3_KEY_ROOM] = "", port[8] = "";
	int n;

	if (!call->on_bucket)
		s3_full_key(call->s3,
			    call->req->op == OBJECT_DELETE ? call->req->keys[call->index] : call->req->key,
			    full, sizeof(full));
	n = virtual ? snprintf(plain, sizeof(plain), "/%s", full)
		    : snprintf(plain, sizeof(plain), "/%s/%s", url->bucket, full);
	if (n < 0 || (size_t)n >= sizeof(plain) || !sigv4_escape(plain, true, a->path, sizeof(a->path)))
		return -ENAMETOOLONG;
	if (e->port != (e->tls ? 443 : 80))
		(void)snprintf(port, sizeof(port), ":%u", e->port);
	(void)snprintf(a->host, sizeof(a->host), "%s%s%s%s%s%s", virtual ? url->bucket : "",
		       virtual ? "." : "", e->literal6 ? "[" : "", e->host, e->literal6 ? "]" : "", port);
	return sigv4_query(call->query, call->nquery, a->query, sizeof(a->query));
}

static int
url_make(struct s3_call *call, const struct s3_endpoint *e, const struct address *a)
{
	int n;

	if (!call->url)
		call->url = malloc(S3_URL_ROOM);
	if (!call->url)
		return -ENOMEM;
	n = snprintf(call->url, S3_URL_ROOM, "%s://%s%s%s%s", e->tls ? "https" : "http", a->host, a->path,
		     a->query[0] ? "?" : "", a->query);
	return n < 0 || (size_t)n >= S3_URL_ROOM ? -ENAMETOOLONG : 0;
}

static const char *const method_names[] = {[HTTP_GET] = "GET",
					   [HTTP_HEAD] = "HEAD",
					   [HTTP_PUT] = "PUT",
					   [HTTP_POST] = "POST",
					   [HTTP_DELETE] = "DELETE"};

static int
headers_make(struct s3_call *call, const struct address *a, const struct s3_key *key)
{
	struct sigv4_pair headers[SIGV4_HEADERS_MAX];
	char date[SIGV4_DATE_TEXT], authorization[SIGV4_AUTHORIZATION_MAX];
	time_t now;
	struct sigv4_request sign = {.method = method_names[call->step->method],
				     .path = a->path,
				     .query = a->query,
				     .headers = headers,
				     .payload_hash = call->payload,
				     .date = date,
				     .region = call->s3->url.region,
				     .service = "s3"};
	bool ok = true;
	size_t n = 0;
	int rc;

	call->clock_offset_s = atomic_load_explicit(&call->s3->clock_offset_s, memory_order_relaxed);
	now = time(NULL) + (time_t)call->clock_offset_s;
	sigv4_date(now, date);
	headers[n++] = (struct sigv4_pair){"host", a->host};
	headers[n++] = (struct sigv4_pair){"x-amz-content-sha256", call->payload};
	headers[n++] = (struct sigv4_pair){"x-amz-date", date};
	if (key->token[0])
		headers[n++] = (struct sigv4_pair){"x-amz-security-token", key->token};
	for (size_t i = 0; i < call->nextra; i++)
		headers[n++] = call->extra[i];
	sign.nheaders = n;
	rc = sigv4_sign(&sign, key->access, key->secret, authorization, sizeof(authorization));
	if (rc)
		return rc;
	for (size_t i = 1; ok && i < n; i++) /* curl adds Host itself, the same */
		ok = header_add(call, headers[i].name, headers[i].value);
	ok = ok && header_add(call, "Authorization", authorization) && header_add(call, "Expect", NULL) &&
	     header_add(call, "Content-Type",
			call->step->method == HTTP_PUT ? "application/octet-stream" : NULL);
	return ok ? 0 : -ENOMEM;
}

/* ---- the answer ---- */

/* The server's clock may be the reason, though a HEAD's answer has no words for it. */
static bool
clock_is_off(const struct s3_call *call)
{
	int64_t off;

	if (!call->http.response.date)
		return false;
	off = (int64_t)call->http.response.date - ((int64_t)time(NULL) + call->clock_offset_s);
	return off > SKEW_S || off < -SKEW_S;
}

static void
read_error_text(struct s3_call *call)
{
	struct s3_error_doc doc;

	call->code[0] = '\0';
	if (!call->http.text || call->http.sink != HTTP_SINK_TEXT ||
	    (call->http.response.status >= 200 && call->http.response.status < 300 &&
	     call->http.ntext > TEXT_MAX_ERROR))
		return;
	if (!s3_xml_error(call->http.text, call->http.ntext, &doc))
		memcpy(call->code, doc.code[0] ? doc.code : "InternalError",
		       doc.code[0] ? sizeof(doc.code) : sizeof("InternalError"));
}

static bool
lies(const struct s3_call *call)
{
	return call->http.curl == CURLE_OK && !call->http.error &&
	       (call->http.response.broken || call->http.response.encoded);
}

static struct s3_meaning
understand(struct s3_call *call)
{
	const struct http_request *http = &call->http;
	struct s3_meaning m;

	call->code[0] = '\0';
	if (http->error == -ENODATA || http->error == -EFBIG)
		return (struct s3_meaning){S3_SHORT, http->error, S3_SUBJECT_KEY,
					   "the object has another size"};
	if (http->error || lies(call))
		return (struct s3_meaning){S3_RETRY, http->error ? http->error : LG_EPROTO, S3_SUBJECT_SERVER,
					   "the answer contradicts itself or the question"};
	if (http->curl != CURLE_OK)
		return s3_meaning_of_curl(http->curl, http->os_error);
	read_error_text(call);
	m = s3_meaning_of(http->response.status, call->code);
	if (http->response.status == 403 && m.action != S3_CLOCK && clock_is_off(call))
		m = s3_meaning_of(403, "RequestTimeTooSkewed");
	return m;
}

/* What is the same for all steps; true = the attempt's outcome is *ret. */
static bool
common_outcome(struct s3_call *call, enum s3_outcome *ret)
{
	struct s3_store *s3 = call->s3;

	*ret = S3_OUT_NEXT;
	if (call->meaning.action == S3_CLOCK && !call->tried_clock && call->http.response.date) {
		int64_t offset = (int64_t)call->http.response.date - (int64_t)time(NULL);
		int64_t before = atomic_exchange_explicit(&s3->clock_offset_s, offset, memory_order_relaxed);

		call->tried_clock = true;
		if (offset - before < SKEW_S && before - offset < SKEW_S)
			; /* another request has learnt it and said so */
		else if (offset > SKEW_S || offset < -SKEW_S)
			log_warn("%s: this machine's clock differs from the server's by %" PRId64
				 " s: requests are signed with the server's",
				 s3->store.url, offset);
		else
			log_info("%s: this machine's clock and the server's agree again", s3->store.url);
		return true;
	}
	if (call->meaning.action == S3_RENEW && !call->tried_key &&
	    s3_creds_blame(s3->creds, call->key_number)) {
		call->tried_key = true;
		call->volunteered = false;
		return true;
	}
	if (call->meaning.err == LG_EPROTO && call->meaning.action == S3_RETRY &&
	    ++call->lies >= S3_LIES_MAX) {
		call->status = LG_EPROTO;
		*ret = S3_OUT_DONE;
		return true;
	}
	return false;
}

static void
on_done(struct http_request *http)
{
	struct s3_call *call = container_of(http, struct s3_call, http);
	bool answered = http->curl == CURLE_OK || http->error;
	enum s3_outcome outcome;

	call->meaning = understand(call);
	if (!common_outcome(call, &outcome))
		outcome = call->step->on_answer(call);
	s3_lane_finish(call, outcome, answered);
}

static int
on_head(struct http_request *http)
{
	struct s3_call *call = container_of(http, struct s3_call, http);

	if (http->response.status >= 200 && http->response.status < 300 && !http->response.broken &&
	    !http->response.encoded)
		return call->step->on_head(call);
	http->sink = HTTP_SINK_TEXT;
	http->text_max = TEXT_MAX_ERROR;
	return 0;
}

/* ---- the attempt ---- */

static void
on_stillborn(struct loop_msg *msg)
{
	struct s3_call *call = container_of(msg, struct s3_call, http.msg);

	call->meaning =
		(struct s3_meaning){S3_FAIL, call->status, S3_SUBJECT_REQUEST, "the request cannot be made"};
	s3_lane_finish(call, S3_OUT_DONE, true);
}

static void
stillborn(struct s3_call *call, int rc)
{
	call->status = rc;
	call->http.msg.fn = on_stillborn;
	loop_post(loop_current(), &call->http.msg);
}

static void
go(struct s3_call *call, const struct s3_endpoint *endpoint, const struct s3_key *key)
{
	struct address a;
	int rc = address_make(call, endpoint, &a);

	if (!rc)
		rc = url_make(call, endpoint, &a);
	if (!rc)
		rc = headers_make(call, &a, key);
	if (rc) {
		stillborn(call, rc);
		return;
	}
	call->http.url = call->url;
	http_start(&call->http);
}

static void
hash_run(struct loop_work *work)
{
	struct object_req *req = container_of(work, struct object_req, work);
	struct s3_call *call = req->priv;

	sigv4_hash(call->body, call->nbody, call->hash);
}

static void
hash_done(struct loop_work *work)
{
	struct object_req *req = container_of(work, struct object_req, work);
	struct s3_call *call = req->priv;
	struct s3_key *key;
	bool due;

	call->hashed = true;
	key = s3_creds_key(call->s3->creds, &due);
	if (!key) { /* it expired meanwhile */
		call->status = -EACCES;
		stillborn(call, -EACCES);
		return;
	}
	go(call, &call->s3->url.endpoints[call->endpoint], key);
	s3_key_unref(key);
}

/* Nothing to sign, UNSIGNED-PAYLOAD, or a hash; true = that comes later. */
static bool
hash(struct s3_call *call)
{
	uint64_t n = object_iov_bytes(call->body, call->nbody);

	if (!n)
		call->payload = SIGV4_EMPTY_HASH;
	else if (call->s3->url.payload == S3_PAYLOAD_UNSIGNED)
		call->payload = SIGV4_UNSIGNED;
	else
		call->payload = call->hash;
	if (call->payload != call->hash || call->hashed)
		return false;
	if (n <= HASH_INLINE_MAX) {
		sigv4_hash(call->body, call->nbody, call->hash);
		call->hashed = true;
		return false;
	}
	call->req->priv = call;
	call->req->work.run = hash_run;
	call->req->work.done = hash_done;
	loop_offload(loop_current(), &call->req->work);
	return true;
}

void
s3_call_attempt(struct s3_call *call, const struct s3_endpoint *endpoint, struct s3_key *key)
{
	int rc;

	http_request_clear(&call->http);
	memset(&call->http, 0, sizeof(call->http));
	call->http.method = call->step->method;
	call->http.settings = &call->s3->http;
	call->http.text_max = TEXT_MAX_ERROR;
	call->http.hurry_ms = call->begun_ms + call->s3->retry_ms;
	call->http.on_head = on_head;
	call->http.done = on_done;
	call->nquery = call->nextra = 0;
	call->body = NULL;
	call->nbody = 0;
	call->on_bucket = false;
	call->key_number = key->number;
	rc = call->step->build(call);
	call->http.body = call->body;
	call->http.nbody = call->nbody;
	call->http.body_bytes = object_iov_bytes(call->body, call->nbody);
	if (rc)
		stillborn(call, rc);
	else if (!hash(call))
		go(call, endpoint, key);
	s3_key_unref(key);
}
