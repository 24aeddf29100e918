/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One thread a connection (libmicrohttpd), one lock around the objects: a request takes effect whole under it.
 *
 * A request: uri (as it was sent, for the signature) -> body, in pieces -> checks -> the fault it drew ->
 * its effect -> the answer.  Bodies are counted references, so that an answer may outlive its object.
 *
 * POST /_control?NAME=PER_MILLE&... sets faults, add_key=ACCESS:SECRET and drop_key=ACCESS its keys, clock=SECONDS its clock, crowd=N what it bears, tls=1 reads the certificate anew; GET
 * /_control tells how often each fault was done and each key was used; unsigned, over http.
 */
#include "test/lib/fakes3.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include <microhttpd.h>
#include <openssl/evp.h>

#include "common/util.h"
#include "stores/object/s3/sigv4.h"
#include "test/lib/fakes3_auth.h"
#include "test/lib/fakes3_keys.h"

#define BODY_MAX (64u << 20)
#define KEY_ROOM 1100
#define PARAMS_MAX 16
#define SLOW_NS 20000000
#define LATE_S 1

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
	char path[KEY_ROOM]; /* unescaped */
	const char *key;     /* within path; NULL = the bucket */
	char *params;        /* unescaped in place */
	struct {
		const char *name, *value;
	} param[PARAMS_MAX];
	unsigned nparams;
	struct blob *body;
	size_t room;
	int fault; /* -1 = none */
	bool begun;
	bool too_large;
};

/* ---- bytes ---- */

static void
blob_put(struct blob *blob)
{
	if (blob && atomic_fetch_sub(&blob->refs, 1) == 1)
		free(blob);
}

static struct blob *
blob_get(struct blob *blob)
{
	atomic_fetch_add(&blob->refs, 1);
	return blob;
}

static struct blob *
blob_grow(struct blob *blob, size_t room)
{
	struct blob *grown = realloc(blob, sizeof(*blob) + room);

	if (grown && !blob) {
		atomic_init(&grown->refs, 1);
		grown->n = 0;
	}
	return grown;
}

static void
md5(const struct blob *blob, unsigned char out[16])
{
	unsigned n;

	if (!EVP_Digest(blob->data, blob->n, out, &n, EVP_md5(), NULL))
		memset(out, 0, 16);
}

static const char *
header(const struct request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

static const char *
param(const struct request *r, const char *name)
{
	for (unsigned i = 0; i < r->nparams; i++)
		if (!strcmp(r->param[i].name, name))
			return r->param[i].value;
	return NULL;
}

/* ---- answers ---- */

static enum MHD_Result send_error(struct request *r, unsigned status, const char *code);

static enum MHD_Result
reset(struct request *r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct linger linger = {1, 0};

	if (info)
		(void)setsockopt(info->connect_fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return MHD_NO;
}

static void
add_date(const struct request *r, struct MHD_Response *response)
{
	time_t now = time(NULL) + atomic_load(&r->fake->clock);
	char text[64];
	struct tm tm;

	(void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	(void)MHD_add_response_header(response, "Date", text);
}

/* What was done may stay untold. */
static enum MHD_Result
send_response(struct request *r, unsigned status, struct MHD_Response *response)
{
	int fault = r->fault;
	enum MHD_Result rc;

	if (fault == FAKES3_ERROR_AFTER || fault == FAKES3_RESET_AFTER) {
		MHD_destroy_response(response);
		r->fault = -1;
		return fault == FAKES3_RESET_AFTER ? reset(r) : send_error(r, 500, "InternalError");
	}
	add_date(r, response);
	rc = MHD_queue_response(r->connection, status, response);
	MHD_destroy_response(response);
	return rc;
}

static enum MHD_Result
send_text(struct request *r, unsigned status, const char *text, const char *etag)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	char quoted[40];

	if (etag) {
		(void)snprintf(quoted, sizeof(quoted), "\"%s\"", etag);
		(void)MHD_add_response_header(response, "ETag", quoted);
	}
	if (r->fault == FAKES3_BUSY_RETRY_AFTER && status == 503)
		(void)MHD_add_response_header(response, "Retry-After", "1");
	return send_response(r, status, response);
}

static enum MHD_Result
send_error(struct request *r, unsigned status, const char *code)
{
	char text[256];

	(void)snprintf(
		text, sizeof(text),
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>as told</Message>"
		"<RequestId>1</RequestId></Error>",
		code);
	return send_text(r, status, text, NULL);
}

/* ---- the objects; under the lock ---- */

static bool
find(struct fakes3 *fake, const char *key, size_t *ret)
{
	size_t lo = 0, hi = fake->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int cmp = strcmp(fake->objects[mid].key, key);

		if (!cmp) {
			*ret = mid;
			return true;
		}
		if (cmp < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret = lo;
	return false;
}

static void
store(struct fakes3 *fake, const char *key, struct blob *blob, const char *etag)
{
	size_t at;

	if (find(fake, key, &at)) {
		blob_put(fake->objects[at].blob);
	} else {
		if (fake->n == fake->room) {
			fake->room = fake->room ? fake->room * 2 : 64;
			fake->objects = realloc(fake->objects, fake->room * sizeof(*fake->objects));
			if (!fake->objects)
				abort();
		}
		memmove(fake->objects + at + 1, fake->objects + at, (fake->n - at) * sizeof(*fake->objects));
		fake->n++;
		fake->objects[at].key = strdup(key);
	}
	fake->objects[at].blob = blob_get(blob);
	(void)snprintf(fake->objects[at].etag, sizeof(fake->objects[at].etag), "%s", etag);
}

static void
forget(struct fakes3 *fake, const char *key)
{
	size_t at;

	if (!find(fake, key, &at))
		return;
	free(fake->objects[at].key);
	blob_put(fake->objects[at].blob);
	fake->n--;
	memmove(fake->objects + at, fake->objects + at + 1, (fake->n - at) * sizeof(*fake->objects));
}

/* ---- faults ---- */

/* Under the lock: the fault of this request, of those that fit it. */
static int
draw(struct request *r)
{
	struct fakes3 *fake = r->fake;
	unsigned at;

	fake->rng ^= fake->rng << 13;
	fake->rng ^= fake->rng >> 7;
	fake->rng ^= fake->rng << 17;
	at = (unsigned)((fake->rng >> 11) % 1000);
	for (int i = 0; i < FAKES3_FAULTS; i++) {
		if (at < fake->per_mille[i] &&
		    fakes3_fault_fits(i, r->method, r->key != NULL, header(r, "Range") != NULL)) {
			fake->counts[i]++;
			return i;
		}
		if (at < fake->per_mille[i])
			return -1;
		at -= fake->per_mille[i];
	}
	return -1;
}

/* ---- operations; each answers ---- */

static const char *
etag_said(const struct request *r, const char *etag)
{
	return r->fault == FAKES3_LIE_ETAG ? "00000000000000000000000000000bad" : etag;
}

static bool
matches(const struct fakes3 *fake, const char *condition, const char *etag)
{
	char quoted[40];

	if (!strcmp(condition, etag))
		return true;
	(void)snprintf(quoted, sizeof(quoted), "\"%s\"", etag);
	return !fake->bare_if_match && !strcmp(condition, quoted);
}

/* Under the lock: HTTP status and code of a PUT's refusal, 0 = go. */
static unsigned
refusal(struct request *r, const char **ret_code)
{
	const char *match = header(r, "If-Match"), *none = header(r, "If-None-Match");
	size_t at;
	bool there = find(r->fake, r->key, &at);

	*ret_code = "PreconditionFailed";
	if (r->fault == FAKES3_IGNORE_CONDITIONS)
		return 0;
	if (none && !strcmp(none, "*") && there)
		return 412;
	if (match && !there) {
		if (!r->fake->bare_if_match)
			*ret_code = "NoSuchKey";
		return r->fake->bare_if_match ? 412 : 404;
	}
	return match && !matches(r->fake, match, r->fake->objects[at].etag) ? 412 : 0;
}

/* Under the lock: the body, or a copy of what x-amz-copy-source names. */
static struct blob *
source(struct request *r)
{
	const char *from = header(r, "x-amz-copy-source");
	char path[KEY_ROOM];
	size_t at, n = strlen(r->fake->bucket);
	char *key;

	if (!from)
		return r->body;
	(void)snprintf(path, sizeof(path), "%s", from);
	fakes3_unescape(path);
	key = path + (path[0] == '/');
	if (strncmp(key, r->fake->bucket, n) != 0 || key[n] != '/' || !find(r->fake, key + n + 1, &at))
		return NULL;
	return r->fake->objects[at].blob;
}

static enum MHD_Result
do_put(struct request *r)
{
	struct fakes3 *fake = r->fake;
	bool copy = header(r, "x-amz-copy-source") != NULL;
	const char *code;
	char etag[33] = "";
	unsigned char md[16];
	unsigned status;
	struct blob *blob;

	pthread_mutex_lock(&fake->lock);
	status = refusal(r, &code);
	blob = source(r);
	if (!status && !blob) {
		status = 404;
		code = "NoSuchKey";
	}
	if (!status) {
		md5(blob, md);
		for (int i = 0; i < 16; i++)
			(void)snprintf(etag + 2 * i, 3, "%02x", md[i]);
		store(fake, r->key, blob, etag);
	}
	pthread_mutex_unlock(&fake->lock);
	if (status)
		return send_error(r, status, code);
	if (!copy)
		return send_text(r, 200, "", etag_said(r, etag));
	return send_text(r, 200, "<CopyObjectResult><ETag>x</ETag></CopyObjectResult>", NULL);
}

struct reading {
	struct blob *blob;
	size_t offset, end; /* end: where the connection breaks */
};

static ssize_t
read_some(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct reading *reading = cls;
	size_t at = reading->offset + pos, n;

	if (at >= reading->end)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = min_of(max, reading->end - at);
	memcpy(buf, reading->blob->data + at, n);
	return (ssize_t)n;
}

static void
read_end(void *cls)
{
	struct reading *reading = cls;

	blob_put(reading->blob);
	free(reading);
}

/* 0 = the whole, 206, or 416 */
static unsigned
range_of(const struct request *r, size_t size, size_t *first, size_t *n)
{
	const char *range = header(r, "Range");
	unsigned long long a, b;

	*first = 0;
	*n = size;
	if (!range)
		return 200;
	if (sscanf(range, "bytes=-%llu", &b) == 1) {
		if (!b || !size)
			return 416;
		*n = min_of(size, (size_t)b);
		*first = size - *n;
		return 206;
	}
	if (sscanf(range, "bytes=%llu-%llu", &a, &b) != 2 || b < a)
		return 200;
	if (a >= size)
		return 416;
	*first = (size_t)a;
	*n = min_of(size - 1, (size_t)b) - *first + 1;
	return 206;
}

static enum MHD_Result
send_range(struct request *r, struct blob *blob, const char *etag)
{
	size_t first, n;
	unsigned status = range_of(r, blob->n, &first, &n);
	struct reading *reading;
	struct MHD_Response *response;
	char text[96];

	if (status == 416) {
		blob_put(blob);
		return send_error(r, 416, "InvalidRange");
	}
	if (r->fault == FAKES3_WRONG_LENGTH && n > 1)
		n--;
	reading = malloc(sizeof(*reading));
	*reading = (struct reading){blob, first, first + n};
	if (r->fault == FAKES3_TRUNCATE)
		reading->end = first + n / 2;
	response = MHD_create_response_from_callback(n, 65536, read_some, reading, read_end);
	(void)snprintf(text, sizeof(text), "\"%s\"", etag_said(r, etag));
	(void)MHD_add_response_header(response, "ETag", text);
	if (status == 206) {
		(void)snprintf(text, sizeof(text), "bytes %zu-%zu/%zu", first, first + n - 1, blob->n);
		(void)MHD_add_response_header(response, "Content-Range", text);
	}
	return send_response(r, status, response);
}

static enum MHD_Result
do_get(struct request *r)
{
	struct fakes3 *fake = r->fake;
	struct blob *blob = NULL;
	char etag[33];
	size_t at;

	pthread_mutex_lock(&fake->lock);
	if (find(fake, r->key, &at)) {
		blob = blob_get(fake->objects[at].blob);
		memcpy(etag, fake->objects[at].etag, sizeof(etag));
	}
	pthread_mutex_unlock(&fake->lock);
	return blob ? send_range(r, blob, etag) : send_error(r, 404, "NoSuchKey");
}

static enum MHD_Result
do_delete(struct request *r)
{
	pthread_mutex_lock(&r->fake->lock);
	forget(r->fake, r->key);
	pthread_mutex_unlock(&r->fake->lock);
	return send_text(r, 204, "", NULL);
}

static enum MHD_Result
do_delete_many(struct request *r)
{
	unsigned n = 0;
	char *at, *end;

	if (!header(r, "Content-MD5"))
		return send_error(r, 400, "InvalidRequest");
	r->body->data[r->body->n] = '\0'; /* there is room, see take() */
	for (at = strstr(r->body->data, "<Key>"); at; at = strstr(at + 5, "<Key>"))
		n++;
	if (!n || n > 1000)
		return send_error(r, 400, "MalformedXML");
	pthread_mutex_lock(&r->fake->lock);
	for (at = strstr(r->body->data, "<Key>"); at; at = strstr(end + 1, "<Key>")) {
		at += 5;
		end = strstr(at, "</Key>");
		if (!end)
			break;
		*end = '\0';
		forget(r->fake, at);
	}
	pthread_mutex_unlock(&r->fake->lock);
	if (r->fault == FAKES3_WRONG_XML)
		return send_text(r, 200, "<DeleteResult><Deleted>", NULL);
	return send_text(
		r, 200,
		"<?xml version=\"1.0\"?><DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>",
		NULL);
}

static enum MHD_Result
do_list(struct request *r)
{
	struct fakes3 *fake = r->fake;
	const char *prefix = param(r, "prefix"), *after = param(r, "start-after"),
		   *max_text = param(r, "max-keys");
	const char *token = param(r, "continuation-token");
	unsigned long max = max_text ? strtoul(max_text, NULL, 10) : 1000;
	char escaped[3 * KEY_ROOM], *text = NULL;
	size_t size, at = 0, n = 0;
	bool truncated = false;
	FILE *out = open_memstream(&text, &size);
	enum MHD_Result rc;

	prefix = prefix ? prefix : "";
	after = token ? token : after ? after : "";
	max = min_of(max, (unsigned long)fake->page_max);
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	      "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url</EncodingType>",
	      out);
	pthread_mutex_lock(&fake->lock);
	at += find(fake, after, &at);
	for (; at < fake->n; at++) {
		const char *key = fake->objects[at].key;

		if (strncmp(key, prefix, strlen(prefix)) != 0)
			continue;
		truncated = n == max;
		if (truncated)
			break;
		n++;
		(void)sigv4_escape(key, false, escaped, sizeof(escaped));
		fprintf(out, "<Contents><Key>%s</Key><Size>%zu</Size></Contents>", escaped,
			fake->objects[at].blob->n);
		token = key;
	}
	if (truncated && n)
		fprintf(out, "<NextContinuationToken>%s</NextContinuationToken>", token);
	pthread_mutex_unlock(&fake->lock);
	fprintf(out, "<KeyCount>%zu</KeyCount><IsTruncated>%s</IsTruncated>", n,
		truncated ? "true" : "false");
	if (r->fault != FAKES3_WRONG_XML)
		fputs("</ListBucketResult>", out);
	(void)fclose(out);
	rc = send_text(r, 200, text, NULL);
	free(text);
	return rc;
}

static const struct {
	const char *method, *param;
	bool on_key;
	enum MHD_Result (*fn)(struct request *r);
} operations[] = {
	{"PUT", NULL, true, do_put},
	{"GET", NULL, true, do_get},
	{"HEAD", NULL, true, do_get},
	{"DELETE", NULL, true, do_delete},
	{"POST", "delete", false, do_delete_many},
	{"GET", "list-type", false, do_list},
};

static enum MHD_Result
operate(struct request *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (!strcmp(r->method, operations[i].method) && (r->key != NULL) == operations[i].on_key &&
		    (!operations[i].param || param(r, operations[i].param)))
			return operations[i].fn(r);
	return send_error(r, 501, "NotImplemented");
}

/* ---- a request ---- */

static void
control(struct request *r, FILE *out)
{
	struct fakes3 *fake = r->fake;

	for (unsigned i = 0; i < r->nparams; i++) {
		int fault = fakes3_fault_by_name(r->param[i].name);

		if (fault >= 0)
			fakes3_set(fake, (enum fakes3_fault)fault,
				   (unsigned)strtoul(r->param[i].value, NULL, 10));
		else if (!strcmp(r->param[i].name, "crowd"))
			(void)fakes3_set_crowd(fake, (unsigned)strtoul(r->param[i].value, NULL, 10));
		else if (!strcmp(r->param[i].name, "add_key"))
			fakes3_keys_add(&fake->keys, r->param[i].value);
		else if (!strcmp(r->param[i].name, "drop_key"))
			fakes3_keys_drop(&fake->keys, r->param[i].value);
		else if (!strcmp(r->param[i].name, "clock"))
			fakes3_set_clock(fake, (int)strtol(r->param[i].value, NULL, 10));
		else if (!strcmp(r->param[i].name, "tls") && fakes3_reload_tls(fake))
			fprintf(out, "the certificate cannot be used\n");
	}
	for (int i = 0; i < FAKES3_FAULTS; i++)
		fprintf(out, "%s=%llu\n", fakes3_fault_name((enum fakes3_fault)i),
			(unsigned long long)fakes3_count(fake, (enum fakes3_fault)i));
	fakes3_keys_print(&fake->keys, out);
}

static enum MHD_Result
answer_control(struct request *r)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	enum MHD_Result rc;

	control(r, out);
	(void)fclose(out);
	rc = send_text(r, 200, text, NULL);
	free(text);
	return rc;
}

/* The connection breaks at once, the effect comes when nobody waits for it any more. */
static enum MHD_Result
do_late(struct request *r)
{
	static const struct timespec late = {LATE_S, 0};
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (info)
		(void)shutdown(info->connect_fd, SHUT_RDWR);
	(void)nanosleep(&late, NULL);
	(void)operate(r);
	return MHD_NO;
}

static enum MHD_Result
answer_misbehaving(struct request *r)
{
	static const struct timespec slow = {0, SLOW_NS};

	switch (r->fault) {
	case FAKES3_SLOW:
		(void)nanosleep(&slow, NULL);
		return operate(r);
	case FAKES3_ERROR_BEFORE:
		return send_error(r, 500, "InternalError");
	case FAKES3_RESET_BEFORE:
		return reset(r);
	case FAKES3_BUSY:
	case FAKES3_BUSY_RETRY_AFTER:
		return send_error(r, 503, "SlowDown");
	case FAKES3_DENY:
		return send_error(r, 403, "AccessDenied");
	case FAKES3_NOT_FOUND:
		return send_error(r, 404, "NoSuchKey");
	case FAKES3_ERROR_IN_OK:
		return send_error(r, 200, "InternalError");
	case FAKES3_QUOTA:
		return send_error(r, 403, "QuotaExceeded");
	case FAKES3_UNKNOWN_KEY:
		return send_error(r, 403, "InvalidAccessKeyId");
	case FAKES3_LATE:
		return do_late(r);
	default:
		return operate(r);
	}
}

static enum MHD_Result
answer_in_a_crowd(struct request *r)
{
	struct fakes3 *fake = r->fake;
	unsigned busy = atomic_fetch_add(&fake->busy, 1) + 1, crowd = atomic_load(&fake->crowd);
	enum MHD_Result rc;

	if (crowd && busy > crowd) {
		atomic_fetch_add(&fake->turned_away, 1);
		rc = send_error(r, 503, "SlowDown");
	} else {
		rc = answer_misbehaving(r);
	}
	atomic_fetch_sub(&fake->busy, 1);
	return rc;
}

static bool
parse_uri(struct request *r)
{
	size_t n = strcspn(r->uri, "?"), bucket = strlen(r->fake->bucket);
	const char *host = header(r, "Host");
	bool virtual = host && !strncmp(host, r->fake->bucket, bucket) && host[bucket] == '.';
	char *save = NULL;

	if (n + bucket + 1 >= sizeof(r->path))
		return false;
	/* the bucket stands in the path, or before the host's name */
	(void)snprintf(r->path, sizeof(r->path), "%s%s%.*s", virtual ? "/" : "",
		       virtual ? r->fake->bucket : "", (int)n, r->uri);
	fakes3_unescape(r->path);
	r->params = strdup(r->uri[n] ? r->uri + n + 1 : "");
	for (char *p = strtok_r(r->params, "&", &save); p && r->nparams < PARAMS_MAX;
	     p = strtok_r(NULL, "&", &save)) {
		char *value = strchr(p, '=');

		if (value)
			*value++ = '\0';
		else
			value = p + strlen(p);
		fakes3_unescape(p);
		fakes3_unescape(value);
		r->param[r->nparams].name = p;
		r->param[r->nparams++].value = value;
	}
	if (r->path[0] != '/' || strncmp(r->path + 1, r->fake->bucket, bucket) != 0 ||
	    (r->path[1 + bucket] && r->path[1 + bucket] != '/'))
		return false;
	if (r->path[1 + bucket] && r->path[2 + bucket])
		r->key = r->path + 2 + bucket;
	return true;
}

static enum MHD_Result
finish(struct request *r)
{
	bool known = parse_uri(r);
	struct fakes3_key key;
	struct fakes3_signed sign = {.connection = r->connection,
				     .method = r->method,
				     .uri = r->uri,
				     .access_key = key.access,
				     .secret_key = key.secret,
				     .body = r->body->data,
				     .nbody = r->body->n,
				     .clock = atomic_load(&r->fake->clock)};
	const char *code;
	unsigned status;

	if (!strcmp(r->path, "/_control"))
		return answer_control(r);
	fakes3_keys_find(&r->fake->keys, header(r, "Authorization"), header(r, "x-amz-content-sha256"), &key);
	code = fakes3_check(&sign, &status);
	if (!code && r->too_large) {
		status = 400;
		code = "EntityTooLarge";
	}
	if (code)
		return send_error(r, status, code);
	if (!known)
		return send_error(r, 404, "NoSuchBucket");
	if (!r->key && !strcmp(r->method, "PUT"))
		return send_text(r, 200, "", NULL);
	pthread_mutex_lock(&r->fake->lock);
	r->fault = draw(r);
	pthread_mutex_unlock(&r->fake->lock);
	return answer_in_a_crowd(r);
}

static void
take(struct request *r, const char *data, size_t n)
{
	if (r->body->n + n > BODY_MAX) {
		r->too_large = true;
		return;
	}
	if (r->body->n + n + 1 > r->room) {
		r->room = max_of(2 * r->room, r->body->n + n + 1);
		r->body = blob_grow(r->body, r->room);
		if (!r->body)
			abort();
	}
	memcpy(r->body->data + r->body->n, data, n);
	r->body->n += n;
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	   const char *version, const char *data, size_t *n, void **con_cls)
{
	struct request *r = *con_cls;

	(void)cls;
	(void)url;
	(void)version;
	if (!r->begun) {
		r->begun = true;
		r->connection = connection;
		r->method = method;
		return MHD_YES;
	}
	if (*n) {
		take(r, data, *n);
		*n = 0;
		return MHD_YES;
	}
	return finish(r);
}

static void *
on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct request *r = calloc(1, sizeof(*r));

	(void)connection;
	if (!r)
		abort();
	r->fake = cls;
	r->uri = strdup(uri);
	r->fault = -1;
	r->room = 4096;
	r->body = blob_grow(NULL, r->room);
	if (!r->body || !r->uri)
		abort();
	return r;
}

static void
on_end(void *cls, struct MHD_Connection *connection, void **con_cls, enum MHD_RequestTerminationCode toe)
{
	struct request *r = *con_cls;

	(void)cls;
	(void)connection;
	(void)toe;
	if (!r)
		return;
	blob_put(r->body);
	free(r->params);
	free(r->uri);
	free(r);
	*con_cls = NULL;
}

/* The signature is of the path as it was sent. */
static size_t
keep_escapes(void *cls, struct MHD_Connection *connection, char *s)
{
	(void)cls;
	(void)connection;
	return strlen(s);
}

#define CLOCK_OF_ITS_OWN MHD_USE_SUPPRESS_DATE_NO_CLOCK
#define MODE                                                                                                 \
	(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | CLOCK_OF_ITS_OWN)

static struct MHD_Daemon *
listen_on(struct fakes3 *fake, uint16_t port, const char *cert, const char *key)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
	struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert},
				       {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
				       {MHD_OPTION_END, 0, NULL}};

	return MHD_start_daemon(MODE | (cert ? MHD_USE_TLS : 0), port, NULL, NULL, on_request, fake,
				MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&sin,
				MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
				fake, MHD_OPTION_NOTIFY_COMPLETED, on_end, fake, MHD_OPTION_UNESCAPE_CALLBACK,
				keep_escapes, fake, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)262144,
				MHD_OPTION_ARRAY, cert ? tls : tls + 2, MHD_OPTION_END);
}

static bool
read_text(const char *path, char *out, size_t room)
{
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(out, 1, room - 1, f) : 0;

	out[n] = '\0';
	return f && !fclose(f) && n;
}

int
fakes3_reload_tls(struct fakes3 *fake)
{
	static char cert[16384], key[16384];

	if (fake->tls)
		MHD_stop_daemon(fake->tls);
	fake->tls = NULL;
	if (read_text(fake->cert, cert, sizeof(cert)) && read_text(fake->cert_key, key, sizeof(key)))
		fake->tls = listen_on(fake, fake->tls_port, cert, key);
	return fake->tls ? 0 : -EINVAL;
}

uint64_t
fakes3_set_crowd(struct fakes3 *fake, unsigned max)
{
	atomic_store(&fake->crowd, max);
	return atomic_exchange(&fake->turned_away, 0);
}

void
fakes3_set_clock(struct fakes3 *fake, int seconds)
{
	atomic_store(&fake->clock, seconds);
}

int
fakes3_start(const struct fakes3_conf *conf, struct fakes3 **ret)
{
	struct fakes3 *fake = calloc(1, sizeof(*fake));
	int rc = 0;

	if (!fake)
		return -ENOMEM;
	(void)snprintf(fake->bucket, sizeof(fake->bucket), "%s", conf->bucket);
	fakes3_keys_init(&fake->keys, conf->access_key, conf->secret_key);
	(void)snprintf(fake->cert, sizeof(fake->cert), "%s", conf->cert ? conf->cert : "");
	(void)snprintf(fake->cert_key, sizeof(fake->cert_key), "%s", conf->cert_key ? conf->cert_key : "");
	fake->tls_port = conf->tls_port;
	fake->bare_if_match = conf->bare_if_match;
	fake->page_max = conf->page_max ? conf->page_max : 1000;
	fake->rng = conf->seed ? conf->seed : 1;
	pthread_mutex_init(&fake->lock, NULL);
	fake->daemon = listen_on(fake, conf->port, NULL, NULL);
	if (fake->daemon && conf->cert)
		rc = fakes3_reload_tls(fake);
	if (!fake->daemon || rc) {
		fakes3_stop(fake);
		return rc ? rc : -EADDRINUSE;
	}
	*ret = fake;
	return 0;
}

void
fakes3_stop(struct fakes3 *fake)
{
	if (!fake)
		return;
	if (fake->tls)
		MHD_stop_daemon(fake->tls);
	if (fake->daemon)
		MHD_stop_daemon(fake->daemon);
	for (size_t i = 0; i < fake->n; i++) {
		free(fake->objects[i].key);
		blob_put(fake->objects[i].blob);
	}
	free(fake->objects);
	pthread_mutex_destroy(&fake->lock);
	free(fake);
}

uint16_t
fakes3_port(const struct fakes3 *fake)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(fake->daemon, MHD_DAEMON_INFO_BIND_PORT);

	return info ? info->port : 0;
}

void
fakes3_set(struct fakes3 *fake, enum fakes3_fault fault, unsigned per_mille)
{
	pthread_mutex_lock(&fake->lock);
	fake->per_mille[fault] = per_mille;
	pthread_mutex_unlock(&fake->lock);
}

uint64_t
fakes3_count(struct fakes3 *fake, enum fakes3_fault fault)
{
	uint64_t n;

	pthread_mutex_lock(&fake->lock);
	n = fake->counts[fault];
	pthread_mutex_unlock(&fake->lock);
	return n;
}
