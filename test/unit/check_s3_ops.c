/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The S3 store against a server that obeys until it is told not to: lost answers, refusals without a reason,
 * answers that lie, and what the client makes of them.
 *
 * The server is a table of objects with conditional PUTs; `fault` sees every request first and may answer in
 * its stead, or after it took effect.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/util.h"
#include "stores/object/object.h"
#include "test/lib/canned.h"

#define OBJECTS_MAX 64

struct object {
	char key[128];
	char *body;
	size_t n;
	unsigned version;
};

enum quirk { QUIRK_NONE, QUIRK_BARE, QUIRK_IGNORES, QUIRK_NO_IF_MATCH };

enum verdict { PASS, ANSWER, AFTER };

static struct {
	struct object objects[OBJECTS_MAX];
	unsigned version;
	enum quirk quirk;
	/** PASS: as usual; ANSWER: *a is the answer, nothing happens; AFTER: it happens, then *a is the
	 * answer */
	enum verdict (*fault)(const struct canned_request *req, struct canned_answer *a);
	unsigned calls; /* of fault */
	unsigned puts, gets, others;
} s;

static struct canned *server;
static struct object_store *store;
static struct loop *loop;

/* ---- the server ---- */

static struct object *
find(const char *key, bool make)
{
	for (int i = 0; i < OBJECTS_MAX; i++)
		if (!strcmp(s.objects[i].key, key))
			return &s.objects[i];
	for (int i = 0; make && i < OBJECTS_MAX; i++)
		if (!s.objects[i].key[0]) {
			(void)snprintf(s.objects[i].key, sizeof(s.objects[i].key), "%s", key);
			return &s.objects[i];
		}
	ck_assert(!make);
	return NULL;
}

static void
say(struct canned_answer *a, int status, const char *code)
{
	free(a->body);
	memset(a, 0, sizeof(*a));
	a->status = status;
	if (!code)
		return;
	ck_assert_int_gt(asprintf(&a->body, "<?xml version=\"1.0\"?><Error><Code>%s</Code></Error>", code),
			 0);
	a->nbody = strlen(a->body);
}

static bool
condition_holds(const struct canned_request *req, const struct object *o)
{
	char value[128], etag[64];

	if (s.quirk == QUIRK_IGNORES)
		return true;
	if (canned_header(req, "If-None-Match", value, sizeof(value)))
		return !o;
	if (!canned_header(req, "If-Match", value, sizeof(value)))
		return true;
	if (s.quirk == QUIRK_NO_IF_MATCH || !o)
		return false;
	(void)snprintf(etag, sizeof(etag), s.quirk == QUIRK_BARE ? "v%u" : "\"v%u\"", o->version);
	return !strcmp(value, etag);
}

static void
do_put(const struct canned_request *req, const char *key, struct canned_answer *a)
{
	struct object *o = find(key, false);

	if (!condition_holds(req, o)) {
		say(a, 412, "PreconditionFailed");
		return;
	}
	o = find(key, true);
	free(o->body);
	o->body = malloc(req->nbody + 1);
	memcpy(o->body, req->body, req->nbody);
	o->n = req->nbody;
	o->version = ++s.version;
	say(a, 200, NULL);
	(void)snprintf(a->headers, sizeof(a->headers), "ETag: \"v%u\"\r\n", o->version);
}

static void
do_get(const struct canned_request *req, const char *key, struct canned_answer *a)
{
	struct object *o = find(key, false);
	char range[64];
	unsigned long first = 0, last;

	if (!o) {
		say(a, 404, "NoSuchKey");
		return;
	}
	say(a, 200, NULL);
	last = o->n - 1;
	if (canned_header(req, "Range", range, sizeof(range))) {
		if (sscanf(range, "bytes=%lu-%lu", &first, &last) != 2 || first >= o->n) {
			say(a, 416, "InvalidRange");
			return;
		}
		last = min_of(last, o->n - 1);
		a->status = 206;
		(void)snprintf(a->headers, sizeof(a->headers), "Content-Range: bytes %lu-%lu/%zu\r\n", first,
			       last, o->n);
	}
	(void)snprintf(a->headers + strlen(a->headers), 64, "ETag: \"v%u\"\r\n", o->version);
	a->nbody = last + 1 - first;
	a->body = malloc(a->nbody + 1);
	memcpy(a->body, o->body + first, a->nbody);
}

static void
do_delete(const char *key, struct canned_answer *a)
{
	struct object *o = find(key, false);

	if (o) {
		free(o->body);
		memset(o, 0, sizeof(*o));
	}
	say(a, 204, NULL);
}

static void
do_delete_many(const struct canned_request *req, struct canned_answer *a)
{
	struct canned_answer dummy = {0};
	char key[128];

	for (const char *p = req->body; (p = strstr(p, "<Key>p/")); p++) {
		(void)snprintf(key, sizeof(key), "%.*s", (int)strcspn(p + 7, "<"), p + 7);
		do_delete(key, &dummy);
	}
	say(a, 200, NULL);
	a->body = strdup("<DeleteResult></DeleteResult>");
	a->nbody = strlen(a->body);
}

static void
usual(const struct canned_request *req, struct canned_answer *a)
{
	/* behind the prefix, wherever the bucket is named */
	const char *key = strstr(req->target, "/p/");

	key = key ? key + 3 : "";

	if (!strcmp(req->method, "POST"))
		do_delete_many(req, a);
	else if (!strcmp(req->method, "PUT"))
		do_put(req, key, a);
	else if (!strcmp(req->method, "DELETE"))
		do_delete(key, a);
	else
		do_get(req, key, a);
}

static void
answer(void *arg, const struct canned_request *req, struct canned_answer *a)
{
	struct canned_answer other = {0};
	enum verdict v = PASS;

	(void)arg;
	if (!strcmp(req->method, "PUT"))
		s.puts++;
	else if (!strcmp(req->method, "GET"))
		s.gets++;
	else
		s.others++;
	if (s.fault) {
		s.calls++;
		v = s.fault(req, &other);
	}
	if (v == ANSWER) {
		*a = other;
		return;
	}
	usual(req, a);
	if (v == AFTER) {
		free(a->body);
		*a = other;
	}
}

/* ---- calls ---- */

static void
open_store(const char *more)
{
	struct errinfo info = {0};
	char url[256];

	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=http://127.0.0.1:%u&retry=8000%s",
		       canned_port(server), more);
	ck_assert_msg(!object_store_open(url, NULL, false, &store, &info), "%s", info.text);
}

static int
put(const char *key, const char *text, bool if_absent, const char *if_match, char *etag)
{
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	struct object_req req = {.store = store,
				 .op = OBJECT_PUT,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .if_absent = if_absent,
				 .if_match = if_match};
	int rc = object_call(loop, &req);

	if (etag)
		memcpy(etag, req.etag, sizeof(req.etag));
	return rc;
}

static int
get(const char *key, uint64_t offset, uint64_t length, char *buf, size_t room)
{
	struct iovec iov = {buf, room};
	struct object_req req = {.store = store,
				 .op = OBJECT_GET,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .offset = offset,
				 .length = length};

	memset(buf, 0, room);
	return object_call(loop, &req);
}

static void
setup(void)
{
	memset(&s, 0, sizeof(s));
	setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "SECRET", 1);
	unsetenv("AWS_SESSION_TOKEN");
	unsetenv("AWS_ENDPOINT_URL");
	ck_assert_int_eq(loop_pool_init(2), 0);
	ck_assert_int_eq(loop_new("test", 0, &loop), 0);
	ck_assert_int_eq(loop_start(loop), 0);
	server = canned_new(answer, NULL);
}

static void
teardown(void)
{
	object_store_free(store);
	store = NULL;
	loop_free(loop);
	loop_pool_fini();
	canned_free(server);
	for (int i = 0; i < OBJECTS_MAX; i++)
		free(s.objects[i].body);
}

static void use_fault(enum verdict (*fault)(const struct canned_request *req, struct canned_answer *a))
{
	canned_lock(server);
	s.calls = 0;
	s.fault = fault;
	s.puts = s.gets = s.others = 0;
	canned_unlock(server);
}

static unsigned
seen(const unsigned *count)
{
	unsigned n;

	canned_lock(server);
	n = *count;
	canned_unlock(server);
	return n;
}

/* ---- faults ---- */

static bool
is(const struct canned_request *req, const char *method)
{
	return !strcmp(req->method, method);
}

/* the first one takes effect, and nobody hears of it */
static enum verdict
lost_after(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	a->drop = true;
	return s.calls == 1 ? AFTER : PASS;
}

static enum verdict
error_after(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	if (s.calls > 1)
		return PASS;
	say(a, 500, "InternalError");
	return AFTER;
}

static enum verdict
error_before(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	if (s.calls > 2)
		return PASS;
	say(a, 500, s.calls == 1 ? "UnknownError" : NULL);
	return ANSWER;
}

static enum verdict
missing_before(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	if (s.calls > 1)
		return PASS;
	say(a, 404, "NoSuchKey");
	return ANSWER;
}

/* lost, and another gateway was faster than our reading back */
static enum verdict
lost_and_replaced(const struct canned_request *req, struct canned_answer *a)
{
	if (s.calls == 1) {
		a->drop = true;
		return AFTER;
	}
	if (is(req, "GET")) {
		struct object *o = find("k", true);

		memcpy(o->body, "theirs", o->n);
		o->version = ++s.version;
	}
	return PASS;
}

/* ---- conditional PUTs ---- */

START_TEST(test_settle_absent)
{
	open_store("");
	use_fault(lost_after);
	ck_assert_int_eq(put("k", "one nonce", true, NULL, NULL), 0);
	ck_assert_uint_eq(seen(&s.puts), 1);
	ck_assert_uint_eq(seen(&s.gets), 1);
	use_fault(error_after);
	ck_assert_int_eq(put("k2", "two nonce", true, NULL, NULL), 0);
	ck_assert_uint_eq(seen(&s.puts), 1);
	use_fault(error_before);
	ck_assert_int_eq(put("k3", "three", true, NULL, NULL), 0);
	/* refused at the first attempt: nothing to settle */
	use_fault(NULL);
	ck_assert_int_eq(put("k3", "three", true, NULL, NULL), -EEXIST);
	ck_assert_uint_eq(seen(&s.puts), 1);
	ck_assert_uint_eq(seen(&s.gets), 0);
	/* lost, and it was not there to be made */
	use_fault(lost_after);
	ck_assert_int_eq(put("k3", "other", true, NULL, NULL), -EEXIST);
}
END_TEST

START_TEST(test_settle_match)
{
	char first[OBJECT_ETAG_MAX], etag[OBJECT_ETAG_MAX], was[OBJECT_ETAG_MAX];

	open_store("");
	ck_assert_int_eq(put("k", "000000", true, NULL, first), 0);
	use_fault(lost_after);
	ck_assert_int_eq(put("k", "111111", false, first, etag), 0);
	ck_assert_str_ne(first, etag);
	use_fault(error_before);
	memcpy(was, etag, sizeof(was));
	ck_assert_int_eq(put("k", "222222", false, was, etag), 0);
	use_fault(lost_after);
	ck_assert_int_eq(put("k", "333333", false, first, NULL), LG_ECONFLICT);
	use_fault(lost_and_replaced);
	ck_assert_int_eq(put("k", "444444", false, etag, NULL), LG_ECONFLICT);
	use_fault(NULL);
	ck_assert_int_eq(put("k", "555555", false, etag, NULL), LG_ECONFLICT);
	ck_assert_int_eq(put("other", "666666", false, etag, NULL), -ENOENT);
	/* the same body as what is there, but another's: a clean refusal stays one */
	ck_assert_int_eq(put("k", "theirs", false, etag, NULL), LG_ECONFLICT);
}
END_TEST

START_TEST(test_put_missing)
{
	open_store("");
	use_fault(missing_before);
	ck_assert_int_eq(put("k", "text", false, NULL, NULL), 0);
	ck_assert_uint_eq(seen(&s.puts), 2);
}
END_TEST

static enum verdict
refuses_always(const struct canned_request *req, struct canned_answer *a)
{
	if (!is(req, "PUT"))
		return PASS;
	say(a, 412, "PreconditionFailed");
	return ANSWER;
}

static enum verdict
conflict_once(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	if (s.calls > 1)
		return PASS;
	say(a, 409, "ConditionalRequestConflict");
	return ANSWER;
}

static enum verdict
no_etag(const struct canned_request *req, struct canned_answer *a)
{
	if (!is(req, "PUT"))
		return PASS;
	say(a, 200, NULL);
	return AFTER;
}

START_TEST(test_odd_refusals)
{
	char etag[OBJECT_ETAG_MAX], got[OBJECT_ETAG_MAX] = "";

	open_store("");
	ck_assert_int_eq(put("k", "0", true, NULL, etag), 0);
	use_fault(refuses_always);
	ck_assert_int_eq(put("k", "1", false, etag, NULL), LG_EPROTO);
	use_fault(conflict_once);
	ck_assert_int_eq(put("k", "2", false, etag, got), 0);
	use_fault(conflict_once);
	ck_assert_int_eq(put("k2", "2", true, NULL, NULL), 0);
	/* an answer without an ETag: the object has one */
	use_fault(no_etag);
	memcpy(etag, got, sizeof(etag));
	ck_assert_int_eq(put("k", "3", false, etag, got), 0);
	ck_assert(got[0]);
	ck_assert_str_ne(got, etag);
}
END_TEST

START_TEST(test_quirks)
{
	struct object_probe report;
	struct errinfo info = {0};
	char etag[OBJECT_ETAG_MAX];

	s.quirk = QUIRK_BARE;
	open_store("");
	ck_assert_int_eq(atomic_load(&store->fence), OBJECT_FENCED);
	ck_assert_int_eq(put("k", "0", true, NULL, etag), 0);
	ck_assert_int_eq(put("k", "1", false, etag, NULL), 0);
	ck_assert_int_eq(put("k", "2", false, etag, NULL), LG_ECONFLICT);
	ck_assert_int_eq(object_store_probe(store, loop, 3, &report, &info), 0);
	ck_assert_int_eq(report.fence, OBJECT_FENCED);
	ck_assert_uint_eq(report.races, 6);
	ck_assert(report.reads_ranges && report.put_ns && report.get_ns);
	object_store_free(store);
	s.quirk = QUIRK_IGNORES;
	open_store("");
	ck_assert_int_eq(atomic_load(&store->fence), OBJECT_UNFENCED);
	ck_assert_int_eq(object_store_probe(store, loop, 3, &report, &info), 0);
	ck_assert(report.creates && !report.refuses_existing && report.updates && !report.refuses_stale &&
		  !report.refuses_missing);
	ck_assert_uint_ge(report.bad_races, 1);
	object_store_free(store);
	s.quirk = QUIRK_NO_IF_MATCH;
	open_store("");
	ck_assert_int_eq(atomic_load(&store->fence), OBJECT_UNFENCED);
	object_store_free(store);
	store = NULL;
	/* nothing stays behind */
	for (int i = 0; i < OBJECTS_MAX; i++)
		ck_assert_msg(strncmp(s.objects[i].key, "lungate-probe/", 14), "%s", s.objects[i].key);
}
END_TEST

/* ---- GET ---- */

static const char *lie;
static bool lie_once;

static enum verdict
lies(const struct canned_request *req, struct canned_answer *a)
{
	if (!is(req, "GET") || (lie_once && s.calls > 1))
		return PASS;
	a->status = strstr(lie, "Content-Range") ? 206 : 200;
	(void)snprintf(a->headers, sizeof(a->headers), "%s", lie);
	a->body = strdup("0123456789abcdef");
	a->nbody = 4;
	return ANSWER;
}

static enum verdict
cuts(const struct canned_request *req, struct canned_answer *a)
{
	if (s.calls > 1)
		return PASS;
	usual(req, a);
	a->cut = true;
	return ANSWER;
}

START_TEST(test_lies)
{
	static const char *const texts[] = {
		"ETag: \"x\"\r\nContent-Range: bytes 0-3/10\r\n", /* another place */
		"ETag: \"x\"\r\nContent-Range: bytes 4-7/10\r\nContent-Length: 16\r\n",
		"ETag: \"x\"\r\nContent-Range: bytes 4-8/10\r\n", /* another length */
		"ETag: \"x\"\r\nContent-Range: bytes 4-7/*\r\n",  /* of what? */
		"Content-Range: bytes 4-7/10\r\n",                /* no ETag */
		"ETag: \"x\"\r\nContent-Range: bytes 4-7/10\r\nContent-Encoding: gzip\r\n",
		"ETag: \"x\"\r\nContent-Range: what\r\n",
		"ETag: \"x\"\r\n", /* 200: not the range */
	};
	char buf[16];

	open_store("");
	ck_assert_int_eq(put("k", "0123456789", false, NULL, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		lie = texts[i];
		lie_once = false;
		use_fault(lies);
		/* the last one says that the object has 4 bytes: too short for the range */
		ck_assert_msg(get("k", 4, 4, buf, 4) == (i == 7 ? -ENODATA : LG_EPROTO), "%s", lie);
		ck_assert_uint_eq(seen(&s.gets), i == 7 ? 1 : 3);
		if (i == 7)
			continue;
		lie_once = true;
		use_fault(lies);
		ck_assert_msg(get("k", 4, 4, buf, 4) == 0, "%s", lie);
		ck_assert(!memcmp(buf, "4567", 4));
	}
	use_fault(cuts);
	ck_assert_int_eq(get("k", 2, 6, buf, 6), 0);
	ck_assert(!memcmp(buf, "234567", 6));
	ck_assert_uint_eq(seen(&s.gets), 2);
	use_fault(cuts);
	ck_assert_int_eq(get("k", 0, 0, buf, 16), 0);
	ck_assert(!memcmp(buf, "0123456789\0", 11));
	use_fault(NULL);
	ck_assert_int_eq(get("k", 0, 0, buf, 9), -EFBIG);
	ck_assert_int_eq(get("k", 8, 3, buf, 9), -ENODATA);
	ck_assert_int_eq(get("k", 10, 3, buf, 9), -ENODATA);
	ck_assert_int_eq(get("none", 0, 3, buf, 9), -ENOENT);
}
END_TEST

/* a server that knows no ranges */
static enum verdict
whole(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	a->status = 200;
	(void)snprintf(a->headers, sizeof(a->headers), "ETag: \"x\"\r\n");
	a->body = strdup("0123456789");
	a->nbody = 10;
	return ANSWER;
}

START_TEST(test_no_ranges)
{
	char buf[16];

	open_store("");
	use_fault(whole);
	ck_assert_int_eq(get("k", 0, 10, buf, 16), 0);
	ck_assert(!memcmp(buf, "0123456789\0", 11));
	ck_assert_int_eq(get("k", 0, 9, buf, 16), LG_EPROTO);
}
END_TEST

/* ---- pressure, time, clocks, permissions ---- */

static enum verdict
slow_down(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	if (s.calls > 2)
		return PASS;
	say(a, 503, "SlowDown");
	if (s.calls == 1)
		(void)snprintf(a->headers, sizeof(a->headers), "Retry-After: 1\r\n");
	return ANSWER;
}

START_TEST(test_slow_down)
{
	uint64_t begun;

	open_store("");
	use_fault(slow_down);
	begun = clock_ns();
	ck_assert_int_eq(put("k", "text", false, NULL, NULL), 0);
	ck_assert_uint_ge(clock_ns() - begun, 990000000);
	ck_assert_uint_eq(seen(&s.puts), 3);
}
END_TEST

static enum verdict
hangs(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	a->hang = true;
	return ANSWER;
}

START_TEST(test_stall)
{
	char buf[4];
	uint64_t begun;

	open_store("&stall=200&retry=600");
	ck_assert_int_eq(put("k", "text", false, NULL, NULL), 0);
	use_fault(hangs);
	begun = clock_ns();
	ck_assert_int_eq(get("k", 0, 4, buf, 4), -ETIMEDOUT);
	ck_assert_uint_lt(clock_ns() - begun, 5000000000);
	ck_assert_int_eq(put("k", "text", true, NULL, NULL), -ETIMEDOUT);
	use_fault(NULL);
	ck_assert_int_eq(get("k", 0, 4, buf, 4), 0);
}
END_TEST

#define SKEW 1200

static enum verdict
skewed(const struct canned_request *req, struct canned_answer *a)
{
	char value[64], date[64];
	struct tm tm = {0};
	time_t server_time = time(NULL) + SKEW;
	long off;

	ck_assert_ptr_nonnull(canned_header(req, "x-amz-date", value, sizeof(value)));
	ck_assert_ptr_nonnull(strptime(value, "%Y%m%dT%H%M%SZ", &tm));
	off = (long)(timegm(&tm) - server_time);
	if (off > -900 && off < 900)
		return PASS;
	say(a, 403, is(req, "HEAD") ? NULL : "RequestTimeTooSkewed");
	gmtime_r(&server_time, &tm);
	(void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	(void)snprintf(a->headers, sizeof(a->headers), "Date: %s\r\n", date);
	return ANSWER;
}

START_TEST(test_clock)
{
	struct object_req head = {.op = OBJECT_HEAD, .key = "k"};

	/* learnt while opening */
	s.fault = skewed;
	open_store("");
	use_fault(skewed);
	ck_assert_int_eq(put("k", "text", false, NULL, NULL), 0);
	ck_assert_uint_eq(seen(&s.puts), 1);
	object_store_free(store);
	/* learnt from a HEAD, whose answer has no words */
	use_fault(NULL);
	open_store("");
	use_fault(skewed);
	head.store = store;
	ck_assert_int_eq(object_call(loop, &head), 0);
	ck_assert_uint_eq(head.size, 4);
	ck_assert_uint_eq(seen(&s.others), 2);
}
END_TEST

static enum verdict
denied(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	say(a, 403, s.calls & 1 ? "AccessDenied" : "InvalidAccessKeyId");
	return ANSWER;
}

START_TEST(test_denied)
{
	char buf[4], url[256];
	struct errinfo info = {0};
	struct object_store *other;

	open_store("");
	use_fault(denied);
	ck_assert_int_eq(get("k", 0, 4, buf, 4), -EACCES);
	ck_assert_uint_eq(seen(&s.gets), 1);
	/* asks its sources for another key once; they have none */
	ck_assert_int_eq(get("k", 0, 4, buf, 4), -EACCES);
	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=http://127.0.0.1:%u",
		       canned_port(server));
	s.calls = 1;
	ck_assert_int_eq(object_store_open(url, NULL, false, &other, &info), -EACCES);
	ck_assert_ptr_nonnull(strstr(info.text, "permission"));
	ck_assert_ptr_null(strstr(info.text, "SECRET"));
}
END_TEST

static enum verdict
no_bucket(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	say(a, 404, "NoSuchBucket");
	return ANSWER;
}

START_TEST(test_open_words)
{
	char url[256];
	struct errinfo info = {0};

	use_fault(no_bucket);
	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=http://127.0.0.1:%u",
		       canned_port(server));
	ck_assert_int_eq(object_store_open(url, NULL, false, &store, &info), -ENODEV);
	ck_assert_ptr_nonnull(strstr(info.text, "no such bucket"));
	ck_assert_ptr_nonnull(strstr(info.text, "s3://test-bucket/p"));
	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=http://127.0.0.1:1&retry=100");
	ck_assert_int_eq(object_store_open(url, NULL, false, &store, &info), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(info.text, "endpoint"));
	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=https://127.0.0.1:%u&retry=100",
		       canned_port(server));
	ck_assert_int_lt(object_store_open(url, NULL, false, &store, &info), 0);
	ck_assert_ptr_nonnull(strstr(info.text, "TLS"));
	unsetenv("AWS_ACCESS_KEY_ID");
	setenv("HOME", "/nonexistent", 1);
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	ck_assert_int_eq(object_store_open(url, NULL, false, &store, &info), -EACCES);
	ck_assert_ptr_nonnull(strstr(info.text, "credentials"));
}
END_TEST

/* One of two gateways is gone: nobody notices. */
START_TEST(test_endpoints)
{
	char url[256], buf[4];
	struct errinfo info = {0};

	(void)snprintf(url, sizeof(url),
		       "s3://test-bucket/p?endpoint=http://127.0.0.1:1,http://127.0.0.1:%u&retry=8000",
		       canned_port(server));
	ck_assert_msg(!object_store_open(url, NULL, false, &store, &info), "%s", info.text);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(put("k", "text", false, NULL, NULL), 0);
		ck_assert_int_eq(get("k", 0, 4, buf, 4), 0);
	}
}
END_TEST

/* an attempt that is lost each time, after which the object is as before: time runs out, and that is no
 * success */
static enum verdict
never_lands(const struct canned_request *req, struct canned_answer *a)
{
	if (!is(req, "PUT"))
		return PASS;
	say(a, 500, "InternalError");
	return ANSWER;
}

START_TEST(test_never_lands)
{
	char etag[OBJECT_ETAG_MAX];

	open_store("&retry=300");
	ck_assert_int_eq(put("k", "0", true, NULL, etag), 0);
	use_fault(never_lands);
	ck_assert_int_eq(put("k", "1", false, etag, NULL), -EAGAIN);
	ck_assert_int_eq(put("k2", "1", true, NULL, NULL), -EAGAIN);
	ck_assert_int_eq(put("k3", "1", false, NULL, NULL), -EAGAIN);
}
END_TEST

static char seen_host[128], seen_target[128], seen_copy[128];

static enum verdict
looks(const struct canned_request *req, struct canned_answer *a)
{
	char value[128];

	ck_assert_ptr_nonnull(canned_header(req, "Host", seen_host, sizeof(seen_host)));
	(void)snprintf(seen_target, sizeof(seen_target), "%.120s", req->target);
	if (!canned_header(req, "x-amz-copy-source", value, sizeof(value)))
		return PASS;
	(void)snprintf(seen_copy, sizeof(seen_copy), "%.120s", value);
	say(a, 200, NULL);
	a->body = strdup(strstr(value, "bad") ? "<Error><Code>NoSuchBucket</Code></Error>"
					      : "<CopyObjectResult><ETag>x</ETag></CopyObjectResult>");
	a->nbody = strlen(a->body);
	return ANSWER;
}

START_TEST(test_copy)
{
	struct object_req req = {.op = OBJECT_PUT, .key = "copied", .copy_from = "/other/chunk_0 1"};

	open_store("");
	req.store = store;
	use_fault(looks);
	ck_assert_int_eq(object_call(loop, &req), 0);
	ck_assert_str_eq(seen_copy, "/other/chunk_0%201");
	ck_assert_str_eq(seen_target, "/test-bucket/p/copied");
	/* 200, and an error inside */
	req.copy_from = "/bad/x";
	ck_assert_int_eq(object_call(loop, &req), -ENODEV);
}
END_TEST

/* the bucket in the name of the host; every name below localhost is this machine */
START_TEST(test_virtual_host)
{
	struct errinfo info = {0};
	char url[256], host[64];
	struct object_description d;

	s.fault = looks;
	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=http://localhost:%u&addressing=virtual",
		       canned_port(server));
	ck_assert_msg(!object_store_open(url, NULL, false, &store, &info), "%s", info.text);
	(void)snprintf(host, sizeof(host), "test-bucket.localhost:%u", canned_port(server));
	ck_assert_str_eq(seen_host, host);
	ck_assert_msg(!strncmp(seen_target, "/p/lungate-probe/", 17) || !strcmp(seen_target, "/?delete="),
		      "%s", seen_target);
	object_store_describe(store, &d);
	(void)snprintf(host, sizeof(host), "http://localhost:%u", canned_port(server));
	ck_assert_str_eq(d.endpoints, host);
	ck_assert_str_eq(d.credentials, "environment");
	ck_assert_str_eq(d.if_match, "quoted");
	ck_assert_uint_eq(d.out, 0);
}
END_TEST

/* ---- LIST, DELETE ---- */

static const char *const *pages;
static char asked[8][512];

static enum verdict
lists(const struct canned_request *req, struct canned_answer *a)
{
	unsigned n;

	if (!strstr(req->target, "list-type=2"))
		return PASS;
	(void)snprintf(asked[(s.calls - 1) % 8], sizeof(asked[0]), "%.511s", req->target);
	a->status = 200;
	for (n = 0; pages[n + 1] && n + 1 < s.calls; n++)
		;
	a->body = strdup(pages[n]);
	a->nbody = strlen(a->body);
	return ANSWER;
}

static int
list(struct object_req *ret, const char *prefix, const char *after, size_t max)
{
	*ret = (struct object_req){
		.store = store, .op = OBJECT_LIST, .key = prefix, .start_after = after, .max_keys = max};
	return object_call(loop, ret);
}

#define ENTRY(key) "<Contents><Key>" key "</Key><Size>5</Size></Contents>"
#define PAGE(keys) "<ListBucketResult><IsTruncated>false</IsTruncated>" keys "</ListBucketResult>"
#define PAGE_MORE(token, keys)                                                                               \
	"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>" token                     \
	"</NextContinuationToken>" keys "</ListBucketResult>"

START_TEST(test_list)
{
	static const char *const three[] = {PAGE_MORE("t/1", ENTRY("p/a/1") ENTRY("p/a/dir/")),
					    PAGE_MORE("t2", ""), PAGE(ENTRY("p/a/2")), NULL};
	static const char *const wrong[][2] = {
		{PAGE(ENTRY("p/a/2") ENTRY("p/a/1")), NULL}, /* not in order */
		{PAGE(ENTRY("p/a/1") ENTRY("p/a/1")), NULL},
		{PAGE(ENTRY("p/b/1")), NULL}, /* not what was asked for */
		{PAGE(ENTRY("q/a/1")), NULL},
		{PAGE(ENTRY("p/a/0")), NULL}, /* in front of start-after */
		{PAGE(ENTRY("p/a/1") ENTRY("p/a/2") ENTRY("p/a/3") ENTRY("p/a/4")), NULL}, /* too many */
		{"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", NULL},
		{"<html/>", NULL},
		{"", NULL},
	};
	static const char *const failing[] = {"<Error><Code>InternalError</Code></Error>",
					      PAGE(ENTRY("p/a/1")), NULL};
	struct object_req req;

	open_store("&retry=4000");
	pages = three;
	use_fault(lists);
	ck_assert_int_eq(list(&req, "a/", "a/0", 3), 0);
	ck_assert_uint_eq(req.nentries, 2);
	ck_assert(!req.truncated);
	ck_assert_str_eq(req.entries[0].key, "a/1");
	ck_assert_uint_eq(req.entries[0].size, 5);
	ck_assert_str_eq(req.entries[1].key, "a/2");
	object_entries_free(req.entries, req.nentries);
	ck_assert_str_eq(asked[0], "/test-bucket/?encoding-type=url&list-type=2&max-keys=3&prefix=p%2Fa%2F&"
				   "start-after=p%2Fa%2F0");
	ck_assert_str_eq(asked[1],
			 "/test-bucket/?continuation-token=t%2F1&encoding-type=url&list-type=2&max-keys=2&"
			 "prefix=p%2Fa%2F");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		pages = wrong[i];
		use_fault(lists);
		ck_assert_msg(list(&req, "a/", "a/0", 3) == LG_EPROTO, "%s", pages[0]);
		ck_assert_ptr_null(req.entries);
	}
	/* 200, and an error all the same */
	pages = failing;
	use_fault(lists);
	ck_assert_int_eq(list(&req, "a/", NULL, 3), 0);
	ck_assert_uint_eq(req.nentries, 1);
	object_entries_free(req.entries, req.nentries);
}
END_TEST

static enum verdict
partly(const struct canned_request *req, struct canned_answer *a)
{
	char md5[64];

	if (!is(req, "POST"))
		return PASS;
	ck_assert_ptr_nonnull(canned_header(req, "Content-MD5", md5, sizeof(md5)));
	if (s.calls > 1)
		return PASS;
	say(a, 200, NULL);
	a->body = strdup(
		"<DeleteResult><Error><Key>p/a</Key><Code>InternalError</Code></Error></DeleteResult>");
	a->nbody = strlen(a->body);
	return ANSWER;
}

static enum verdict
partly_denied(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	say(a, 200, NULL);
	a->body = strdup(
		"<DeleteResult><Error><Key>p/a</Key><Code>InternalError</Code></Error><Error><Key>p/b</Key>"
		"<Code>AccessDenied</Code></Error></DeleteResult>");
	a->nbody = strlen(a->body);
	return ANSWER;
}

static enum verdict
not_implemented(const struct canned_request *req, struct canned_answer *a)
{
	if (!is(req, "POST"))
		return PASS;
	say(a, 501, "NotImplemented");
	return ANSWER;
}

START_TEST(test_delete)
{
	static const char *const keys[] = {"a", "b", "none"};
	struct object_req req = {.op = OBJECT_DELETE, .keys = keys, .nkeys = 3};
	char buf[4];

	open_store("");
	req.store = store;
	ck_assert_int_eq(put("a", "x", false, NULL, NULL), 0);
	ck_assert_int_eq(put("b", "x", false, NULL, NULL), 0);
	use_fault(partly_denied);
	ck_assert_int_eq(object_call(loop, &req), -EACCES);
	use_fault(partly);
	ck_assert_int_eq(object_call(loop, &req), 0);
	ck_assert_uint_eq(seen(&s.others), 2);
	ck_assert_int_eq(get("a", 0, 0, buf, 4), -ENOENT);
	ck_assert_int_eq(put("b", "x", false, NULL, NULL), 0);
	use_fault(not_implemented);
	ck_assert_int_eq(object_call(loop, &req), 0);
	ck_assert_uint_eq(seen(&s.others), 4);
	ck_assert_int_eq(get("b", 0, 0, buf, 4), -ENOENT);
}
END_TEST

/* ---- many at once ---- */

struct many {
	struct object_req req;
	struct iovec iov;
	char key[16];
	char text[16];
	struct crowd *crowd;
};

#define MANY 200

struct crowd {
	struct loop_msg msg;
	struct many m[MANY];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned left, failed;
};

static void
many_done(struct object_req *req)
{
	struct crowd *c = container_of(req, struct many, req)->crowd;

	pthread_mutex_lock(&c->lock);
	c->failed += req->status != 0;
	if (!--c->left)
		pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static void
many_start(struct loop_msg *msg)
{
	struct crowd *c = container_of(msg, struct crowd, msg);

	for (int i = 0; i < MANY; i++)
		object_submit(&c->m[i].req);
}

static unsigned seed = 1;

static enum verdict
now_and_then(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	seed = seed * 1103515245u + 12345;
	switch (seed >> 16 & 15) {
	case 0:
		say(a, 500, "InternalError");
		return ANSWER;
	case 1:
		say(a, 503, "SlowDown");
		return ANSWER;
	case 2:
		a->drop = true;
		return AFTER;
	default:
		return PASS;
	}
}

START_TEST(test_many)
{
	struct crowd *c = calloc(1, sizeof(*c));

	open_store("&in_flight=16&retry=60000");
	use_fault(now_and_then);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->cond, NULL);
	c->msg.fn = many_start;
	c->left = MANY;
	for (int i = 0; i < MANY; i++) {
		struct many *m = &c->m[i];

		(void)snprintf(m->key, sizeof(m->key), "many/%d", i % 30);
		(void)snprintf(m->text, sizeof(m->text), "text");
		m->iov = (struct iovec){m->text, 4};
		m->crowd = c;
		m->req = (struct object_req){.store = store,
					     .op = i & 1 ? OBJECT_HEAD : OBJECT_PUT,
					     .key = i & 1 ? "lasting" : m->key,
					     .iov = &m->iov,
					     .niov = 1,
					     .done = many_done};
	}
	ck_assert_int_eq(put("lasting", "x", false, NULL, NULL), 0);
	loop_post(loop, &c->msg);
	pthread_mutex_lock(&c->lock);
	while (c->left)
		pthread_cond_wait(&c->cond, &c->lock);
	pthread_mutex_unlock(&c->lock);
	ck_assert_uint_eq(c->failed, 0);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->cond);
	free(c);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("s3_ops");
	TCase *tc = tcase_create("s3_ops");
	SRunner *sr = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_settle_absent);
	tcase_add_test(tc, test_settle_match);
	tcase_add_test(tc, test_put_missing);
	tcase_add_test(tc, test_odd_refusals);
	tcase_add_test(tc, test_quirks);
	tcase_add_test(tc, test_lies);
	tcase_add_test(tc, test_no_ranges);
	tcase_add_test(tc, test_slow_down);
	tcase_add_test(tc, test_stall);
	tcase_add_test(tc, test_clock);
	tcase_add_test(tc, test_denied);
	tcase_add_test(tc, test_open_words);
	tcase_add_test(tc, test_endpoints);
	tcase_add_test(tc, test_never_lands);
	tcase_add_test(tc, test_copy);
	tcase_add_test(tc, test_virtual_host);
	tcase_add_test(tc, test_list);
	tcase_add_test(tc, test_delete);
	tcase_add_test(tc, test_many);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
