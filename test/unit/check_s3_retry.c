/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pauses, windows, circuits, bandwidth; what errors mean; what headers say: the arithmetic and the tables.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "common/err.h"
#include "common/util.h"
#include "stores/object/s3/errors.h"
#include "stores/object/s3/response.h"
#include "stores/object/s3/retry.h"

START_TEST(test_backoff)
{
	ck_assert_uint_eq(s3_backoff_ms(0, 0), 0);
	ck_assert_uint_eq(s3_backoff_ms(0, UINT32_MAX), 100);
	ck_assert_uint_eq(s3_backoff_ms(3, UINT32_MAX), 800);
	ck_assert_uint_eq(s3_backoff_ms(3, UINT32_MAX / 2), 400);
	ck_assert_uint_eq(s3_backoff_ms(6, UINT32_MAX), 5000);
	ck_assert_uint_eq(s3_backoff_ms(1000, UINT32_MAX), 5000);
}
END_TEST

START_TEST(test_retry_after)
{
	ck_assert_uint_eq(s3_retry_after_ms("", 0), 0);
	ck_assert_uint_eq(s3_retry_after_ms("3", 0), 3000);
	ck_assert_uint_eq(s3_retry_after_ms("999999999999999999999", 0), 30000);
	ck_assert_uint_eq(s3_retry_after_ms("3x", 0), 0);
	ck_assert_uint_eq(s3_retry_after_ms("-3", 0), 0);
	ck_assert_uint_eq(s3_retry_after_ms("soon", 0), 0);
	ck_assert_uint_eq(s3_retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 - 7), 7000);
	ck_assert_uint_eq(s3_retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 + 7), 0);
	ck_assert_uint_eq(s3_retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", 0), 30000);
}
END_TEST

START_TEST(test_window)
{
	struct s3_window w;

	s3_window_init(&w, 32);
	ck_assert_uint_eq(s3_window_limit(&w), 32);
	s3_window_slow(&w, 90, 100);
	ck_assert_uint_eq(s3_window_limit(&w), 16);
	/* the others of the same moment say nothing new */
	s3_window_slow(&w, 95, 101);
	s3_window_slow(&w, 100, 101);
	ck_assert_uint_eq(s3_window_limit(&w), 16);
	s3_window_slow(&w, 101, 200);
	ck_assert_uint_eq(s3_window_limit(&w), 8);
	for (int i = 0; i < 8; i++)
		s3_window_success(&w);
	ck_assert_uint_eq(s3_window_limit(&w), 9);
	for (uint64_t t = 300; t < 2000; t += 100)
		s3_window_slow(&w, t, t + 50);
	ck_assert_uint_eq(s3_window_limit(&w), 1);
	for (int i = 0; i < 10000; i++)
		s3_window_success(&w);
	ck_assert_uint_eq(s3_window_limit(&w), 32);
}
END_TEST

START_TEST(test_circuit)
{
	struct s3_circuit c[2] = {{0}};
	unsigned turn = 0, wait = 0;

	/* in turn */
	ck_assert_int_eq(s3_circuit_pick(c, 2, &turn, 1000, &wait), 0);
	ck_assert_int_eq(s3_circuit_pick(c, 2, &turn, 1000, &wait), 1);
	ck_assert_int_eq(s3_circuit_pick(c, 2, &turn, 1000, &wait), 0);
	/* three failures open it; one success in between forgets them */
	s3_circuit_end(&c[1], false, 1000);
	s3_circuit_end(&c[1], false, 1000);
	s3_circuit_end(&c[1], true, 1000);
	s3_circuit_end(&c[1], false, 1000);
	s3_circuit_end(&c[1], false, 1000);
	ck_assert(s3_circuit_allows(&c[1], 1000));
	s3_circuit_end(&c[1], false, 1000);
	ck_assert(!s3_circuit_allows(&c[1], 1499));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(s3_circuit_pick(c, 2, &turn, 1100, &wait), 0);
	/* the late ones of those that were out do not make it longer */
	s3_circuit_end(&c[1], false, 1200);
	ck_assert(s3_circuit_allows(&c[1], 1500));
	/* one trial */
	s3_circuit_begin(&c[1], 1500);
	ck_assert(!s3_circuit_allows(&c[1], 1500));
	s3_circuit_end(&c[1], false, 1600);
	ck_assert(!s3_circuit_allows(&c[1], 2599));
	ck_assert(s3_circuit_allows(&c[1], 2600));
	s3_circuit_begin(&c[1], 2600);
	s3_circuit_end(&c[1], true, 2700);
	ck_assert(s3_circuit_allows(&c[1], 2700));
	/* none allows: how long */
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < 3; i++)
			s3_circuit_end(&c[k], false, 3000 + (uint64_t)k * 100);
	ck_assert_int_eq(s3_circuit_pick(c, 2, &turn, 3400, &wait), -1);
	ck_assert_uint_eq(wait, 100);
}
END_TEST

START_TEST(test_rate)
{
	struct s3_rate r;
	uint64_t now = 5000, sent = 0;

	s3_rate_init(&r, 0, now);
	s3_rate_take(&r, 1u << 30);
	ck_assert_uint_eq(s3_rate_wait_ms(&r, now), 0);
	/* a request may go into debt, the next one pays */
	s3_rate_init(&r, 1000000, now);
	ck_assert_uint_eq(s3_rate_wait_ms(&r, now), 0);
	s3_rate_take(&r, 500000);
	ck_assert_uint_eq(s3_rate_wait_ms(&r, now), 501);
	ck_assert_uint_eq(s3_rate_wait_ms(&r, now + 500), 0);
	/* over a while it is the rate */
	for (; now < 105000; now += 7)
		while (!s3_rate_wait_ms(&r, now)) {
			s3_rate_take(&r, 40000);
			sent += 40000;
		}
	ck_assert_uint_gt(sent, 98000000);
	ck_assert_uint_lt(sent, 102000000);
}
END_TEST

START_TEST(test_shared_rate)
{
	struct s3_shared_rate rate = {.per_s = 0};
	uint64_t now = 5000000000, passed = 0;

	/* no cap */
	s3_shared_rate_take(&rate, 1u << 30, now);
	ck_assert_uint_eq(s3_shared_rate_wait_ms(&rate, now), 0);
	/* 1 MB/s: after a pause a tenth of a second's worth is free, then each request waits for the one before */
	atomic_store(&rate.per_s, 1000000);
	s3_shared_rate_take(&rate, 100000, now);
	ck_assert_uint_eq(s3_shared_rate_wait_ms(&rate, now), 0);
	s3_shared_rate_take(&rate, 50000, now);
	ck_assert_uint_eq(s3_shared_rate_wait_ms(&rate, now), 51);
	ck_assert_uint_eq(s3_shared_rate_wait_ms(&rate, now + 49000000), 2);
	ck_assert_uint_eq(s3_shared_rate_wait_ms(&rate, now + 50000000), 0);
	/* two takers for ten seconds get what one would */
	now += 50000000;
	for (uint64_t t = now; t < now + 10000000000; t += 1000000)
		for (int taker = 0; taker < 2; taker++)
			if (!s3_shared_rate_wait_ms(&rate, t)) {
				s3_shared_rate_take(&rate, 40000, t);
				passed += 40000;
			}
	ck_assert_uint_ge(passed, 9900000);
	ck_assert_uint_le(passed, 10150000);
}
END_TEST

START_TEST(test_errors)
{
	static const struct {
		long status;
		const char *code;
		enum s3_action action;
		int err;
		enum s3_subject subject;
	} rows[] = {
		{200, "", S3_OK, 0, S3_SUBJECT_NONE},
		{204, "", S3_OK, 0, S3_SUBJECT_NONE},
		{200, "InternalError", S3_RETRY, -EAGAIN, S3_SUBJECT_SERVER},
		{503, "SlowDown", S3_SLOW, -EBUSY, S3_SUBJECT_SERVER},
		{503, "", S3_SLOW, -EBUSY, S3_SUBJECT_SERVER},
		{429, "", S3_SLOW, -EBUSY, S3_SUBJECT_SERVER},
		{500, "UnknownError", S3_RETRY, -EAGAIN, S3_SUBJECT_SERVER},
		{502, "", S3_RETRY, -EAGAIN, S3_SUBJECT_SERVER},
		{504, "", S3_RETRY, -ETIMEDOUT, S3_SUBJECT_SERVER},
		{400, "RequestTimeout", S3_RETRY, -ETIMEDOUT, S3_SUBJECT_SERVER},
		{400, "BadDigest", S3_RETRY, -EAGAIN, S3_SUBJECT_REQUEST},
		{403, "RequestTimeTooSkewed", S3_CLOCK, -EACCES, S3_SUBJECT_CLOCK},
		{400, "ExpiredToken", S3_RENEW, -EACCES, S3_SUBJECT_PERMISSION},
		{403, "InvalidAccessKeyId", S3_RENEW, -EACCES, S3_SUBJECT_PERMISSION},
		{403, "SignatureDoesNotMatch", S3_RENEW, -EACCES, S3_SUBJECT_PERMISSION},
		{403, "AccessDenied", S3_RENEW, -EACCES, S3_SUBJECT_PERMISSION},
		{403, "", S3_RENEW, -EACCES, S3_SUBJECT_PERMISSION},
		{404, "NoSuchBucket", S3_FAIL, -ENODEV, S3_SUBJECT_BUCKET},
		{404, "NoSuchKey", S3_MISSING, -ENOENT, S3_SUBJECT_KEY},
		{404, "", S3_MISSING, -ENOENT, S3_SUBJECT_KEY},
		{409, "ConditionalRequestConflict", S3_CONDITION, -EAGAIN, S3_SUBJECT_KEY},
		{409, "OperationAborted", S3_RETRY, -EAGAIN, S3_SUBJECT_SERVER},
		{412, "PreconditionFailed", S3_CONDITION, LG_ECONFLICT, S3_SUBJECT_KEY},
		{416, "InvalidRange", S3_SHORT, -ENODATA, S3_SUBJECT_KEY},
		{403, "QuotaExceeded", S3_FAIL, -EDQUOT, S3_SUBJECT_SPACE},
		{507, "XMinioStorageFull", S3_FAIL, -ENOSPC, S3_SUBJECT_SPACE},
		{301, "PermanentRedirect", S3_FAIL, -EREMCHG, S3_SUBJECT_BUCKET},
		{501, "NotImplemented", S3_FAIL, -EOPNOTSUPP, S3_SUBJECT_REQUEST},
		{418, "Teapot", S3_FAIL, LG_EPROTO, S3_SUBJECT_REQUEST},
		{999, "", S3_RETRY, -EAGAIN, S3_SUBJECT_SERVER},
		{0, "", S3_RETRY, LG_EPROTO, S3_SUBJECT_SERVER},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct s3_meaning m = s3_meaning_of(rows[i].status, rows[i].code);

		ck_assert_msg(m.action == rows[i].action && m.err == rows[i].err &&
				      m.subject == rows[i].subject,
			      "%ld %s: %d %d %d", rows[i].status, rows[i].code, m.action, m.err, m.subject);
		ck_assert(m.text[0]);
	}
	/* what is reported after retries is worth a retry for those above as well */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if ((rows[i].action == S3_RETRY || rows[i].action == S3_SLOW) && rows[i].err != LG_EPROTO)
			ck_assert_int_eq(err_class(rows[i].err), ERR_CLASS_RETRY);
	ck_assert_int_eq(s3_meaning_of_curl(CURLE_COULDNT_CONNECT, ECONNREFUSED).err, -ECONNREFUSED);
	ck_assert_int_eq(s3_meaning_of_curl(CURLE_COULDNT_CONNECT, ENETUNREACH).err, -EHOSTUNREACH);
	ck_assert_int_eq(s3_meaning_of_curl(CURLE_PEER_FAILED_VERIFICATION, 0).subject, S3_SUBJECT_TLS);
	ck_assert_int_eq(s3_meaning_of_curl(CURLE_OPERATION_TIMEDOUT, 0).err, -ETIMEDOUT);
	ck_assert_int_eq(s3_meaning_of_curl(CURLE_READ_ERROR, 0).action, S3_RETRY);
}
END_TEST

static struct http_response r;

static void
feed(const char *const *lines, size_t n)
{
	http_response_init(&r);
	for (size_t i = 0; i < n; i++)
		http_response_line(&r, lines[i], strlen(lines[i]));
}

#define FEED(...)                                                                                            \
	do {                                                                                                 \
		static const char *const lines[] = {__VA_ARGS__};                                            \
		feed(lines, ARRAY_SIZE(lines));                                                              \
	} while (0)

START_TEST(test_headers)
{
	FEED("HTTP/1.1 206 Partial Content\r\n", "Content-Length: 10\r\n",
	     "CONTENT-RANGE: bytes 20-29/100\r\n", "etag:\"abc-2\"\r\n",
	     "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "x-amz-request-id: tx1 \r\n",
	     "x-amz-bucket-region:\teu-west-1\r\n", "Retry-After: 7\r\n", "X-Other: y\r\n", "\r\n");
	ck_assert_int_eq(r.status, 206);
	ck_assert_uint_eq(r.length, 10);
	ck_assert(r.has_range);
	ck_assert_uint_eq(r.range_first, 20);
	ck_assert_uint_eq(r.range_last, 29);
	ck_assert_uint_eq(r.range_total, 100);
	ck_assert_str_eq(r.etag, "abc-2");
	ck_assert_int_eq(r.date, 784111777);
	ck_assert_str_eq(r.request_id, "tx1");
	ck_assert_str_eq(r.region, "eu-west-1");
	ck_assert_str_eq(r.retry_after, "7");
	ck_assert(!r.broken && !r.encoded);
	/* an interim answer is forgotten */
	FEED("HTTP/1.1 100 Continue\r\n", "Content-Length: 3\r\n", "\r\n", "HTTP/2 200\r\n",
	     "Content-Length: 4\r\n");
	ck_assert_int_eq(r.status, 200);
	ck_assert_uint_eq(r.length, 4);
	ck_assert(!r.broken);
	FEED("HTTP/1.1 416 x", "Content-Range: bytes */77");
	ck_assert(r.has_range && !r.broken);
	ck_assert_uint_eq(r.range_total, 77);
	ck_assert_uint_eq(r.range_first, HTTP_UNKNOWN);
	FEED("HTTP/1.1 200 OK", "ETag: W/\"weak\"", "Content-Encoding: gzip");
	ck_assert_str_eq(r.etag, "W/\"weak\"");
	ck_assert(r.encoded);
	FEED("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5");
	ck_assert(!r.broken);
}
END_TEST

START_TEST(test_broken_headers)
{
	static const char *const wrong[] = {
		"Content-Length: 5x",
		"Content-Length: -5",
		"Content-Length:",
		"Content-Length: 99999999999999999999999",
		"Content-Length: 9223372036854775808",
		"Content-Range: items 1-2/3",
		"Content-Range: bytes 5-4/10",
		"Content-Range: bytes 5-10/10",
		"Content-Range: bytes 5-/10",
		"Content-Range: bytes -5/10",
		"Content-Range: bytes 1-2",
		"Content-Range: bytes 1-2/3x",
		"Content-Range: bytes 1-2/",
		"ETag: \"\"",
		"ETag:",
	};
	char line[600];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		feed(&wrong[i], 1);
		ck_assert_msg(r.broken, "%s", wrong[i]);
	}
	FEED("Content-Length: 5", "Content-Length: 6");
	ck_assert(r.broken);
	FEED("ETag: \"a\"", "ETag: \"b\"");
	ck_assert(r.broken);
	FEED("Content-Range: bytes 0-1/2", "Content-Range: bytes 0-1/2");
	ck_assert(r.broken);
	memset(line, 'e', sizeof(line));
	memcpy(line, "ETag: ", 6);
	http_response_init(&r);
	http_response_line(&r, line, sizeof(line));
	ck_assert(r.broken);
	http_response_init(&r);
	http_response_line(&r, "ETag: a\0b", 9);
	ck_assert(r.broken);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("s3_retry");
	TCase *tc = tcase_create("s3_retry");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_test(tc, test_backoff);
	tcase_add_test(tc, test_retry_after);
	tcase_add_test(tc, test_window);
	tcase_add_test(tc, test_circuit);
	tcase_add_test(tc, test_rate);
	tcase_add_test(tc, test_shared_rate);
	tcase_add_test(tc, test_errors);
	tcase_add_test(tc, test_headers);
	tcase_add_test(tc, test_broken_headers);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
