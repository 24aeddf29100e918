/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations, as steps: what each asks, and what its answers mean.
 *
 *   PUT     put -> done
 *           with a condition, when the answer is a refusal, an error, or none at all: put <-> settle -> done
 *   GET, HEAD, LIST (as many pages as it takes), DELETE (one document; one by one where that is not known)
 *
 * A conditional PUT and its answer.  412 to the only attempt is a refusal, nothing else is certain: the
 * answer to a PUT that succeeded may be lost, and the next attempt is then refused because of the first one;
 * RGW says 500 to one of two racers, and 404 when a connection broke.  So settle reads the object and
 * compares: it holds our body (which has a nonce in it) - we won; it holds what we expected to replace - once
 * more; anything else - we lost. Retrying is safe because every attempt carries the same condition and the
 * same body.
 *
 * An unconditional PUT that timed out may still take effect later: attempts have the same body, so that
 * changes nothing, and the caller does not use the key again.
 *
 * Threads: the call's loop.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "common/util.h"
#include "stores/object/s3/s3_int.h"
#include "stores/object/s3/xml.h"

#define FALSE_REFUSALS_MAX 3u
#define COMPARE_WHOLE_MAX (64u << 10)
#define LIST_TEXT_MAX S3_XML_MAX

static const struct s3_step step_settle;

static enum s3_outcome
done(struct s3_call *call, int status)
{
	call->status = status;
	return S3_OUT_DONE;
}

/* A retry, or the end, as the table says. */
static enum s3_outcome
by_table(struct s3_call *call)
{
	switch (call->meaning.action) {
	case S3_RETRY:
	case S3_SLOW:
		return S3_OUT_AGAIN;
	case S3_OK:
		return done(call, 0);
	default:
		return done(call, call->meaning.err);
	}
}

static void
extra(struct s3_call *call, const char *name, const char *value)
{
	call->extra[call->nextra++] = (struct sigv4_pair){name, value};
}

static void
query(struct s3_call *call, const char *name, const char *value)
{
	call->query[call->nquery++] = (struct sigv4_pair){name, value};
}

/* The answer's ETag to the request; false: there is none that can be used. */
static bool
take_etag(struct s3_call *call)
{
	size_t n = strlen(call->http.response.etag);

	if (!n || n >= OBJECT_ETAG_MAX)
		return false;
	memcpy(call->req->etag, call->http.response.etag, n + 1);
	return true;
}

static enum s3_outcome
lie(struct s3_call *call, const char *text)
{
	call->meaning = (struct s3_meaning){S3_RETRY, LG_EPROTO, S3_SUBJECT_SERVER, text};
	if (++call->lies >= S3_LIES_MAX)
		return done(call, LG_EPROTO);
	return S3_OUT_AGAIN;
}

static int
head_text(struct s3_call *call)
{
	call->http.sink = HTTP_SINK_TEXT;
	return 0;
}

/* ---- PUT ---- */

static bool
conditional(const struct object_req *req)
{
	return req->if_absent || req->if_match;
}

static int
put_build(struct s3_call *call)
{
	const struct object_req *req = call->req;
	char *etag = call->scratch[0];

	if (req->if_absent) {
		extra(call, "if-none-match", "*");
	} else if (req->if_match) {
		/* RGW up to 16 compares the header as it is with the ETag without quotes; others need the
		 * quotes */
		bool bare =
			atomic_load_explicit(&call->s3->match_form, memory_order_relaxed) == S3_MATCH_BARE ||
			!strncmp(req->if_match, "W/", 2);

		(void)snprintf(etag, sizeof(call->scratch[0]), bare ? "%s" : "\"%s\"", req->if_match);
		extra(call, "if-match", etag);
	}
	if (req->copy_from) {
		if (!sigv4_escape(req->copy_from, true, call->scratch[1], sizeof(call->scratch[1])))
			return -ENAMETOOLONG;
		extra(call, "x-amz-copy-source", call->scratch[1]);
		return 0;
	}
	call->body = req->iov;
	call->nbody = req->niov;
	return 0;
}

static enum s3_outcome
settle(struct s3_call *call)
{
	call->step = &step_settle;
	return S3_OUT_NEXT;
}

/* The answer to a server-side copy may be 200 and an error all the same. */
static enum s3_outcome
copy_answer(struct s3_call *call)
{
	struct s3_error_doc err;
	int rc = s3_xml_copy(call->http.text ? call->http.text : "", call->http.ntext, &err);

	if (rc == 1) {
		call->meaning = s3_meaning_of(500, err.code);
		return by_table(call);
	}
	return rc ? lie(call, "the answer to a copy is not one") : done(call, 0);
}

/* No answer, or an error, after which the effect is not known. */
static enum s3_outcome
put_unknown(struct s3_call *call)
{
	call->ambiguous = true;
	call->clean = false;
	call->ambiguous_err = call->meaning.err == -ENOENT ? -EAGAIN : call->meaning.err;
	call->meaning.err = call->ambiguous_err;
	if (conditional(call->req))
		call->step = &step_settle; /* after the pause: it may take a while to land */
	return S3_OUT_AGAIN;
}

static enum s3_outcome
put_answer(struct s3_call *call)
{
	struct object_req *req = call->req;

	switch (call->meaning.action) {
	case S3_OK:
		if (req->copy_from)
			return copy_answer(call);
		if (take_etag(call))
			return done(call, 0);
		call->ambiguous = true;
		call->clean = false;
		call->ambiguous_err = LG_EPROTO;
		return settle(call);
	case S3_RETRY:
	case S3_SLOW:
		return put_unknown(call);
	case S3_MISSING:
		/* no such key, of a PUT: the condition failed, or RGW's word for a broken connection */
		if (!req->if_match)
			return put_unknown(call);
		call->clean = !call->ambiguous && !call->http.resent;
		return settle(call);
	case S3_CONDITION:
		if (!conditional(req))
			return call->http.response.status == 409 ? S3_OUT_AGAIN : done(call, LG_EPROTO);
		call->clean = call->http.response.status == 412 && !call->ambiguous && !call->http.resent &&
			      call->http.body_bytes;
		if (call->clean && req->if_absent)
			return done(call, -EEXIST);
		return settle(call);
	default:
		/* a later refusal says nothing about an earlier attempt */
		return done(call, call->ambiguous ? call->ambiguous_err : call->meaning.err);
	}
}

const struct s3_step s3_step_put = {HTTP_PUT, put_build, head_text, put_answer};

/* ---- settling a conditional PUT ---- */

static int
settle_build(struct s3_call *call)
{
	(void)call;
	return 0;
}

static int
settle_head(struct s3_call *call)
{
	struct http_request *http = &call->http;
	uint64_t ours = object_iov_bytes(call->req->iov, call->req->niov);

	http->iov = call->req->iov;
	http->niov = call->req->niov;
	http->sink = HTTP_SINK_COMPARE;
	if (http->response.length == HTTP_UNKNOWN)
		return LG_EPROTO;
	if (http->response.length != ours) {
		http->differs = true;
		http->sink = HTTP_SINK_DISCARD;
		/* reading a large one to its end would be dearer than another connection */
		if (http->response.length > COMPARE_WHOLE_MAX)
			return -ECANCELED;
	}
	return 0;
}

/* Should time be up before the next attempt, it is still not known whether the one before lands. */
static enum s3_outcome
put_again(struct s3_call *call)
{
	if (call->meaning.err >= 0)
		call->meaning = (struct s3_meaning){S3_RETRY, call->ambiguous ? call->ambiguous_err : -EAGAIN,
						    S3_SUBJECT_SERVER, "the PUT did not take effect"};
	call->step = &s3_step_put;
	return S3_OUT_AGAIN;
}

/* The server refuses although the ETag is the one we named. */
static enum s3_outcome
false_refusal(struct s3_call *call)
{
	call->meaning = (struct s3_meaning){S3_RETRY, LG_EPROTO, S3_SUBJECT_SERVER,
					    "the server refuses an If-Match that holds (see if_match=)"};
	if (++call->false_refusals >= (call->s3->probing ? 1 : FALSE_REFUSALS_MAX))
		return done(call, LG_EPROTO);
	return put_again(call);
}

static enum s3_outcome
settle_found(struct s3_call *call)
{
	struct object_req *req = call->req;
	const char *etag = call->http.response.etag;

	if (!etag[0] || strlen(etag) >= OBJECT_ETAG_MAX)
		return lie(call, "the answer has no ETag");
	if (!call->http.differs && !call->clean) {
		(void)take_etag(call);
		return done(call, 0);
	}
	if (req->if_absent)
		return done(call, -EEXIST);
	if (strcmp(etag, req->if_match) != 0)
		return done(call, LG_ECONFLICT);
	/* nothing has changed yet: not refused but lost, or refused without a reason */
	return call->clean ? false_refusal(call) : put_again(call);
}

static enum s3_outcome
settle_answer(struct s3_call *call)
{
	if (call->http.error == -ECANCELED) {
		call->meaning = (struct s3_meaning){S3_OK, 0, S3_SUBJECT_NONE, ""};
		return settle_found(call);
	}
	switch (call->meaning.action) {
	case S3_OK:
		return settle_found(call);
	case S3_MISSING:
		if (call->req->if_match)
			return done(call, -ENOENT);
		call->meaning.err = -EAGAIN; /* if time is up now: it is not known whether it will land */
		return put_again(call);
	case S3_RETRY:
	case S3_SLOW:
		return S3_OUT_AGAIN;
	default:
		return done(call, call->ambiguous ? call->ambiguous_err : call->meaning.err);
	}
}

static const struct s3_step step_settle = {HTTP_GET, settle_build, settle_head, settle_answer};

/* ---- GET ---- */

static void
get_arrived(struct http_request *http, uint64_t from, const void *data, size_t n)
{
	struct s3_call *call = container_of(http, struct s3_call, http);

	call->req->arrived(call->req, from, data, n);
}

static int
get_build(struct s3_call *call)
{
	const struct object_req *req = call->req;
	char *range = call->scratch[0];
	size_t room = sizeof(call->scratch[0]);

	call->http.iov = req->iov;
	call->http.niov = req->niov;
	call->http.arrived = req->arrived ? get_arrived : NULL;
	call->http.sink_bytes = req->length ? req->length : object_iov_bytes(req->iov, req->niov);
	if (!req->length)
		return 0;
	if (req->offset == GET_SUFFIX)
		(void)snprintf(range, room, "bytes=-%llu", (unsigned long long)req->length);
	else
		(void)snprintf(range, room, "bytes=%llu-%llu", (unsigned long long)req->offset,
			       (unsigned long long)(req->offset + req->length - 1));
	extra(call, "range", range);
	return 0;
}

/* 206: exactly what was asked for, or the object is too short for it */
static int
get_head_range(struct s3_call *call, uint64_t *ret_size)
{
	const struct http_response *r = &call->http.response;
	uint64_t offset, length;
	int rc;

	if (!r->has_range || r->range_first == HTTP_UNKNOWN || r->range_total == HTTP_UNKNOWN ||
	    r->length != r->range_last - r->range_first + 1)
		return LG_EPROTO;
	*ret_size = r->range_total;
	rc = object_get_range(call->req, r->range_total, &offset, &length);
	if (rc)
		return rc;
	return r->range_first == offset && r->length == length ? 0 : LG_EPROTO;
}

/* 200: the whole of it, which may be what was asked for */
static int
get_head_whole(struct s3_call *call, uint64_t *ret_size)
{
	const struct http_response *r = &call->http.response;
	uint64_t offset, length;
	int rc;

	if (r->length == HTTP_UNKNOWN)
		return LG_EPROTO;
	*ret_size = r->length;
	rc = object_get_range(call->req, r->length, &offset, &length);
	if (rc)
		return rc;
	/* a server that knows no ranges */
	return !offset && length == r->length ? 0 : LG_EPROTO;
}

static int
get_head(struct s3_call *call)
{
	struct http_request *http = &call->http;
	bool ranged = call->req->length;
	int rc = LG_EPROTO;
	uint64_t size = 0;

	if (ranged && http->response.status == 206)
		rc = get_head_range(call, &size);
	else if (http->response.status == 200)
		rc = get_head_whole(call, &size);
	if (!rc && !take_etag(call))
		rc = LG_EPROTO;
	call->req->size = size;
	http->sink = HTTP_SINK_IOV;
	http->sink_bytes = ranged ? call->req->length : size;
	return rc;
}

static enum s3_outcome
get_answer(struct s3_call *call)
{
	const struct http_response *r = &call->http.response;

	/* a range of an empty object, or one that begins behind its end */
	if (call->meaning.action == S3_SHORT && r->status == 416 && r->has_range &&
	    r->range_total != HTTP_UNKNOWN)
		call->req->size = r->range_total;
	return by_table(call);
}

const struct s3_step s3_step_get = {HTTP_GET, get_build, get_head, get_answer};

/* ---- HEAD ---- */

static int
head_build(struct s3_call *call)
{
	(void)call;
	return 0;
}

static enum s3_outcome
head_answer(struct s3_call *call)
{
	if (call->meaning.action != S3_OK)
		return by_table(call);
	if (call->http.response.length == HTTP_UNKNOWN || !take_etag(call))
		return lie(call, "the answer has no length or no ETag");
	call->req->size = call->http.response.length;
	return done(call, 0);
}

const struct s3_step s3_step_head = {HTTP_HEAD, head_build, head_text, head_answer};

/* ---- LIST ---- */

static int
list_build(struct s3_call *call)
{
	const struct object_req *req = call->req;
	char *prefix = call->scratch[0], *max = call->scratch[1];

	call->on_bucket = true;
	call->http.text_max = LIST_TEXT_MAX;
	s3_full_key(call->s3, req->key, prefix, sizeof(call->scratch[0]));
	(void)snprintf(max, sizeof(call->scratch[1]), "%zu", req->max_keys - req->nentries);
	query(call, "list-type", "2");
	query(call, "encoding-type", "url");
	query(call, "max-keys", max);
	if (prefix[0])
		query(call, "prefix", prefix);
	if (call->text) {
		query(call, "continuation-token", call->text);
	} else if (req->token) {
		query(call, "continuation-token", req->token);
	}
	return 0;
}

/* A key of the page: ours, behind the one before it; what others have put there with keys of another form is
 * passed over. */
static int
list_key(void *arg, const char *full, uint64_t size)
{
	struct s3_call *call = arg;
	struct object_req *req = call->req;
	const char *prefix = call->s3->url.prefix, *key = full, *before;
	size_t n = strlen(prefix);

	if (n) {
		if (strncmp(key, prefix, n) != 0 || key[n] != '/')
			return LG_EPROTO;
		key += n + 1;
	}
	if (strncmp(key, req->key, strlen(req->key)) != 0)
		return LG_EPROTO;
	before = req->nentries ? req->entries[req->nentries - 1].key : NULL;
	if (before && strcmp(key, before) <= 0)
		return LG_EPROTO;
	if (!object_key_valid(key))
		return 0;
	if (req->nentries == req->max_keys)
		return LG_EPROTO;
	return object_list_add(req, key, size);
}

static enum s3_outcome
list_done(struct s3_call *call, const char *token)
{
	struct object_req *req = call->req;

	free(req->token);
	req->token = req->truncated ? strdup(token) : NULL;
	return done(call, req->truncated && !req->token ? -ENOMEM : 0);
}

static enum s3_outcome
list_answer(struct s3_call *call)
{
	struct object_req *req = call->req;
	size_t had = req->nentries;
	struct s3_list_doc doc = {.on_key = list_key, .arg = call};
	struct s3_error_doc err;
	int rc;

	if (call->meaning.action != S3_OK)
		return by_table(call);
	rc = s3_xml_list(call->http.text ? call->http.text : "", call->http.ntext, &doc, &err);
	if (rc == -ENOMEM)
		return done(call, rc);
	if (rc || (doc.truncated && !doc.token[0])) {
		while (req->nentries > had)
			free(req->entries[--req->nentries].key);
		return lie(call, "the answer is not a list, or not the one that was asked for");
	}
	req->truncated = doc.truncated;
	free(call->text);
	call->text = NULL;
	if (!doc.truncated || req->nentries == req->max_keys)
		return list_done(call, doc.token);
	/* a short page: of keys that were passed over, or the server's own limit */
	call->text = strdup(doc.token);
	return call->text ? S3_OUT_NEXT : done(call, -ENOMEM);
}

const struct s3_step s3_step_list = {HTTP_GET, list_build, head_text, list_answer};

/* ---- DELETE ---- */

/* The characters of keys need no escapes in XML. */
static char *
delete_document(struct s3_call *call, size_t *ret_n)
{
	static const char head[] =
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>";
	const struct object_req *req = call->req;
	size_t room = sizeof(head) + 64 + req->nkeys * (S3_KEY_ROOM + 40), n;
	char *text = malloc(room), key[S3_KEY_ROOM];

	if (!text)
		return NULL;
	n = (size_t)snprintf(text, room, "%s", head);
	for (size_t i = 0; i < req->nkeys; i++) {
		s3_full_key(call->s3, req->keys[i], key, sizeof(key));
		n += (size_t)snprintf(text + n, room - n, "<Object><Key>%s</Key></Object>", key);
	}
	n += (size_t)snprintf(text + n, room - n, "</Delete>");
	*ret_n = n;
	return text;
}

static bool
md5_base64(const char *p, size_t n, char out[32])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned k = 0;

	if (!EVP_Digest(p, n, md, &k, EVP_md5(), NULL))
		return false;
	(void)EVP_EncodeBlock((unsigned char *)out, md, (int)k);
	return true;
}

static int
delete_build(struct s3_call *call)
{
	size_t n = 0;

	call->on_bucket = true;
	call->http.text_max = S3_XML_MAX;
	if (!call->text) {
		call->text = delete_document(call, &n);
		if (!call->text)
			return -ENOMEM;
		call->text_iov = (struct iovec){call->text, n};
	}
	call->body = &call->text_iov;
	call->nbody = 1;
	query(call, "delete", "");
	/* where MD5 is switched off (FIPS), the signed SHA-256 has to do */
	if (md5_base64(call->text, call->text_iov.iov_len, call->scratch[0]))
		extra(call, "content-md5", call->scratch[0]);
	return 0;
}

static bool
again(enum s3_action action)
{
	return action == S3_RETRY || action == S3_SLOW;
}

/* The worst of the keys' errors decides; a key that is not there is none. */
static int
delete_error(void *arg, const char *key, const char *code, const char *message)
{
	struct s3_call *call = arg;
	struct s3_meaning m = s3_meaning_of(400, code);

	(void)key;
	(void)message;
	if (!strcmp(code, "NoSuchKey") || !strcmp(code, "NoSuchVersion"))
		return 0;
	if (call->meaning.action == S3_OK || (again(call->meaning.action) && !again(m.action))) {
		call->meaning = m;
		(void)snprintf(call->code, sizeof(call->code), "%s", code);
	}
	return 0;
}

static enum s3_outcome
delete_answer(struct s3_call *call)
{
	struct s3_delete_doc doc = {.on_error = delete_error, .arg = call};
	struct s3_error_doc err;
	long status = call->http.response.status;
	int rc;

	if (call->meaning.err == -EOPNOTSUPP && (status == 501 || status == 405)) {
		call->step = &s3_step_delete_one;
		return S3_OUT_NEXT;
	}
	if (call->meaning.action != S3_OK)
		return by_table(call);
	rc = s3_xml_delete(call->http.text ? call->http.text : "", call->http.ntext, &doc, &err);
	if (rc)
		return rc == -ENOMEM ? done(call, rc) : lie(call, "the answer to a deletion is not one");
	return by_table(call);
}

const struct s3_step s3_step_delete = {HTTP_POST, delete_build, head_text, delete_answer};

static int
delete_one_build(struct s3_call *call)
{
	(void)call; /* req->keys[call->index] */
	return 0;
}

static enum s3_outcome
delete_one_answer(struct s3_call *call)
{
	if (call->meaning.action != S3_OK && call->meaning.action != S3_MISSING)
		return by_table(call);
	call->meaning.action = S3_OK;
	if (++call->index == call->req->nkeys)
		return done(call, 0);
	return S3_OUT_NEXT;
}

const struct s3_step s3_step_delete_one = {HTTP_DELETE, delete_one_build, head_text, delete_one_answer};
