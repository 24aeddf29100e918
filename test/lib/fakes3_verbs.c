/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fake S3 server: its objects, and what GET, PUT, DELETE and LIST do with them.
 *
 * Under the lock a verb takes effect whole; bodies are counted references, so that an answer may outlive its object.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "common/util.h"
#include "stores/object/s3/sigv4.h"
#include "test/lib/fakes3_auth.h"
#include "test/lib/fakes3_impl.h"

/* ---- bytes ---- */

void
fakes3_blob_put(struct blob *blob)
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

struct blob *
fakes3_blob_grow(struct blob *blob, size_t room)
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
		fakes3_blob_put(fake->objects[at].blob);
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
	fakes3_blob_put(fake->objects[at].blob);
	fake->n--;
	memmove(fake->objects + at, fake->objects + at + 1, (fake->n - at) * sizeof(*fake->objects));
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
	const char *match = fakes3_header(r, "If-Match"), *none = fakes3_header(r, "If-None-Match");
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
	const char *from = fakes3_header(r, "x-amz-copy-source");
	char path[FAKES3_KEY_ROOM];
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
	bool copy = fakes3_header(r, "x-amz-copy-source") != NULL;
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
		return fakes3_send_error(r, status, code);
	if (!copy)
		return fakes3_send_text(r, 200, "", etag_said(r, etag));
	return fakes3_send_text(r, 200, "<CopyObjectResult><ETag>x</ETag></CopyObjectResult>", NULL);
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

	fakes3_blob_put(reading->blob);
	free(reading);
}

/* 0 = the whole, 206, or 416 */
static unsigned
range_of(const struct request *r, size_t size, size_t *first, size_t *n)
{
	const char *range = fakes3_header(r, "Range");
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
		fakes3_blob_put(blob);
		return fakes3_send_error(r, 416, "InvalidRange");
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
	return fakes3_send_response(r, status, response);
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
	return blob ? send_range(r, blob, etag) : fakes3_send_error(r, 404, "NoSuchKey");
}

static enum MHD_Result
do_delete(struct request *r)
{
	pthread_mutex_lock(&r->fake->lock);
	forget(r->fake, r->key);
	pthread_mutex_unlock(&r->fake->lock);
	return fakes3_send_text(r, 204, "", NULL);
}

static enum MHD_Result
do_delete_many(struct request *r)
{
	unsigned n = 0;
	char *at, *end;

	if (!fakes3_header(r, "Content-MD5"))
		return fakes3_send_error(r, 400, "InvalidRequest");
	r->body->data[r->body->n] = '\0'; /* there is room, see take() */
	for (at = strstr(r->body->data, "<Key>"); at; at = strstr(at + 5, "<Key>"))
		n++;
	if (!n || n > 1000)
		return fakes3_send_error(r, 400, "MalformedXML");
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
		return fakes3_send_text(r, 200, "<DeleteResult><Deleted>", NULL);
	return fakes3_send_text(
		r, 200,
		"<?xml version=\"1.0\"?><DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>",
		NULL);
}

static enum MHD_Result
do_list(struct request *r)
{
	struct fakes3 *fake = r->fake;
	const char *prefix = fakes3_param(r, "prefix"), *after = fakes3_param(r, "start-after"),
		   *max_text = fakes3_param(r, "max-keys");
	const char *token = fakes3_param(r, "continuation-token");
	unsigned long max = max_text ? strtoul(max_text, NULL, 10) : 1000;
	char escaped[3 * FAKES3_KEY_ROOM], *text = NULL;
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
	rc = fakes3_send_text(r, 200, text, NULL);
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

enum MHD_Result
fakes3_operate(struct request *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (!strcmp(r->method, operations[i].method) && (r->key != NULL) == operations[i].on_key &&
		    (!operations[i].param || fakes3_param(r, operations[i].param)))
			return operations[i].fn(r);
	return fakes3_send_error(r, 501, "NotImplemented");
}
