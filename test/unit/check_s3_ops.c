/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The S3 store against a server that obeys until it is told not to: lost answers, refusals without a reason,
 * answers that lie, silence, and what the client makes of them.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/util.h"
#include "test/unit/s3rig.h"

/* ---- faults ---- */

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

/* What came is told in order and without gaps, from 0 again at another attempt. */
static struct {
	uint64_t next;
	unsigned begun;
	char seen[64];
} told;

static void
on_arrived(struct object_req *req, uint64_t from, const void *data, size_t n)
{
	if (from == 0)
		told.begun++;
	else
		ck_assert_uint_eq(from, told.next);
	ck_assert(n && from + n <= sizeof(told.seen));
	ck_assert_mem_eq(data, (const char *)req->iov[0].iov_base + from, n);
	memcpy(told.seen + from, data, n);
	told.next = from + n;
}

static int
get_told(const char *key, uint64_t offset, uint64_t length, char *buf, size_t room)
{
	struct iovec iov = {buf, room};
	struct object_req req = {.store = store,
				 .op = OBJECT_GET,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .offset = offset,
				 .length = length,
				 .arrived = on_arrived};

	memset(&told, 0, sizeof(told));
	return object_call(loop, &req);
}

START_TEST(test_arrived)
{
	char buf[16];

	open_store("");
	ck_assert_int_eq(put("k", "0123456789", false, NULL, NULL), 0);
	ck_assert_int_eq(get_told("k", 0, 0, buf, 16), 0);
	ck_assert_uint_eq(told.begun, 1);
	ck_assert_uint_eq(told.next, 10);
	ck_assert(!memcmp(told.seen, "0123456789", 10));
	use_fault(cuts);
	ck_assert_int_eq(get_told("k", 2, 6, buf, 6), 0);
	ck_assert_uint_eq(seen(&s.gets), 2);
	ck_assert_uint_ge(told.begun, 1); /* it may have been cut before the first byte */
	ck_assert_uint_eq(told.next, 6);
	ck_assert(!memcmp(told.seen, "234567", 6));
	use_fault(missing_before);
	ck_assert_int_eq(get_told("k", 2, 6, buf, 6), -ENOENT);
	ck_assert_uint_eq(told.begun, 0); /* the words of an error are nobody's data */
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

/* Whoever waits is told when its time is up, not when the last attempt's is: an initiator has 30 s for a command. */
START_TEST(test_stall_late)
{
	char buf[4];
	uint64_t begun;

	open_store("&stall=9000&retry=2500");
	ck_assert_int_eq(put("k", "text", false, NULL, NULL), 0);
	use_fault(hangs);
	begun = clock_ns();
	ck_assert_int_eq(get("k", 0, 4, buf, 4), -ETIMEDOUT);
	ck_assert_uint_ge(clock_ns() - begun, 2000000000);
	ck_assert_uint_lt(clock_ns() - begun, 9000000000);
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
	/* asks its sources for another key once; they have none */
	ck_assert_uint_eq(seen(&s.gets), 2);
	ck_assert_int_eq(get("k", 0, 4, buf, 4), -EACCES);
	ck_assert_uint_eq(seen(&s.gets), 3);
	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=http://127.0.0.1:%u",
		       canned_port(server));
	s.calls = 1;
	ck_assert_int_eq(object_store_open(url, NULL, false, &other, &info), -EACCES);
	ck_assert_ptr_nonnull(strstr(info.text, "permission"));
	ck_assert_ptr_null(strstr(info.text, "SECRET"));
}
END_TEST

static enum verdict
only_the_second(const struct canned_request *req, struct canned_answer *a)
{
	char value[512];

	if (canned_header(req, "Authorization", value, sizeof(value)) && strstr(value, "Credential=SECOND/"))
		return PASS;
	say(a, 403, is(req, "HEAD") ? NULL : "AccessDenied");
	return ANSWER;
}

static void
write_key(const char *path, const char *text)
{
	char tmp[64];
	FILE *f;

	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "w");
	ck_assert(f && fputs(text, f) > 0 && !fchmod(fileno(f), 0600) && !fclose(f));
	ck_assert_int_eq(rename(tmp, path), 0);
}

/* A key is taken away, and the file gets another one: that is found without anybody's help.  (RGW says AccessDenied of
 * a key that its user no longer has.) */
START_TEST(test_key_replaced)
{
	char path[] = "/tmp/check_s3_ops-XXXXXX", more[96], buf[4];
	int fd = mkstemp(path), rc = -EACCES;
	uint64_t begun = clock_ns();

	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	write_key(path, "FIRST:one\n");
	(void)snprintf(more, sizeof(more), "&credentials=%s", path);
	open_store(more);
	ck_assert_int_eq(put("k", "text", false, NULL, NULL), 0);
	use_fault(only_the_second);
	ck_assert_int_eq(get("k", 0, 4, buf, 4), -EACCES);
	ck_assert_int_eq(put("k", "more", false, NULL, NULL), -EACCES);
	write_key(path, "SECOND:two\n");
	while (rc == -EACCES && clock_ns() - begun < 20000000000u) {
		rc = get("k", 0, 4, buf, 4);
		(void)usleep(20000);
	}
	ck_assert_int_eq(rc, 0);
	ck_assert(!memcmp(buf, "text", 4));
	ck_assert_int_eq(put("k", "more", false, NULL, NULL), 0);
	(void)unlink(path);
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

static int said_status;
static const char *said_code;

static enum verdict
says_always(const struct canned_request *req, struct canned_answer *a)
{
	(void)req;
	say(a, said_status, said_code);
	return ANSWER;
}

/* whatever keeps a bucket from being opened is named: what it is about, and in words */
START_TEST(test_words_of_refusals)
{
	static const struct {
		int status;
		const char *code;
		int err;
		const char *words;
	} rows[] = {
		{403, "RequestTimeTooSkewed", -EACCES, "clock: "},
		{403, "InvalidAccessKeyId", -EACCES, "permission: the server does not know the access key"},
		{403, "SignatureDoesNotMatch", -EACCES, "permission: the secret key"},
		{403, "AccessDenied", -EACCES, "permission: the access key has no permission"},
		{404, "NoSuchBucket", -ENODEV, "bucket: there is no such bucket"},
		{301, "PermanentRedirect", -EREMCHG, "bucket: the bucket is in another region"},
		{403, "QuotaExceeded", -EDQUOT, "space: the quota"},
		{507, "XMinioStorageFull", -ENOSPC, "space: the server's disks are full"},
		{500, "InternalError", -EAGAIN, "server: "},
		{503, "SlowDown", -EBUSY, "server: "},
	};
	struct errinfo info = {0};
	char url[256];

	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=http://127.0.0.1:%u&retry=300",
		       canned_port(server));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		said_status = rows[i].status;
		said_code = rows[i].code;
		use_fault(says_always);
		ck_assert_msg(object_store_open(url, NULL, false, &store, &info) == rows[i].err, "%s: %s",
			      rows[i].code, info.text);
		ck_assert_msg(strstr(info.text, rows[i].words), "%s: %s", rows[i].code, info.text);
		ck_assert_ptr_null(strstr(info.text, "SECRET"));
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
	tcase_add_test(tc, test_arrived);
	tcase_add_test(tc, test_no_ranges);
	tcase_add_test(tc, test_slow_down);
	tcase_add_test(tc, test_stall);
	tcase_add_test(tc, test_stall_late);
	tcase_add_test(tc, test_clock);
	tcase_add_test(tc, test_denied);
	tcase_add_test(tc, test_key_replaced);
	tcase_add_test(tc, test_open_words);
	tcase_add_test(tc, test_words_of_refusals);
	tcase_add_test(tc, test_never_lands);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
