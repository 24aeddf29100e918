/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signatures against AWS's published vectors: the Signature Version 4 test suite, and the examples of the S3
 * documentation.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "stores/object/s3/sigv4.h"

#define SUITE_KEY "AKIDEXAMPLE"
#define SUITE_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define SUITE_DATE "20150830T123600Z"
#define S3_KEY "AKIAIOSFODNN7EXAMPLE"
#define S3_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define S3_DATE "20130524T000000Z"
#define HOST                                                                                                 \
	{"Host", "example.amazonaws.com"},                                                                   \
	{                                                                                                    \
		"X-Amz-Date", SUITE_DATE                                                                     \
	}

static const struct vector {
	const char *name, *method, *path; /* the path not yet escaped */
	struct sigv4_pair query[4];
	struct sigv4_pair headers[6];
	const char *payload;
	const char *signature;
} suite[] = {
	{"get-vanilla",
	 "GET",
	 "/",
	 {{NULL}},
	 {HOST},
	 "",
	 "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-vanilla-query-order-key-case",
	 "GET",
	 "/",
	 {{"Param2", "value2"}, {"Param1", "value1"}},
	 {HOST},
	 "",
	 "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{"get-vanilla-empty-query-key",
	 "GET",
	 "/",
	 {{"Param1", "value1"}},
	 {HOST},
	 "",
	 "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
	{"get-vanilla-utf8-query",
	 "GET",
	 "/",
	 {{"\xe1\x88\xb4", "bar"}},
	 {HOST},
	 "",
	 "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
	{"get-utf8",
	 "GET",
	 "/\xe1\x88\xb4",
	 {{NULL}},
	 {HOST},
	 "",
	 "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
	{"get-space",
	 "GET",
	 "/example space/",
	 {{NULL}},
	 {HOST},
	 "",
	 "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
	{"get-unreserved",
	 "GET",
	 "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	 {{NULL}},
	 {HOST},
	 "",
	 "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
	{"get-header-value-trim",
	 "GET",
	 "/",
	 {{NULL}},
	 {{"Host", "example.amazonaws.com"},
	  {"My-Header1", " value1"},
	  {"My-Header2", " \"a   b   c\""},
	  {"X-Amz-Date", SUITE_DATE}},
	 "",
	 "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	{"get-header-key-duplicate",
	 "GET",
	 "/",
	 {{NULL}},
	 {{"Host", "example.amazonaws.com"},
	  {"My-Header1", "value2"},
	  {"My-Header1", "value2"},
	  {"My-Header1", "value1"},
	  {"X-Amz-Date", SUITE_DATE}},
	 "",
	 "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
	{"post-vanilla",
	 "POST",
	 "/",
	 {{NULL}},
	 {HOST},
	 "",
	 "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"post-header-key-sort",
	 "POST",
	 "/",
	 {{NULL}},
	 {{"My-Header1", "value1"}, HOST},
	 "",
	 "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
	{"post-header-value-case",
	 "POST",
	 "/",
	 {{NULL}},
	 {{"My-Header1", "VALUE1"}, HOST},
	 "",
	 "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
	{"post-x-www-form-urlencoded",
	 "POST",
	 "/",
	 {{NULL}},
	 {{"Content-Type", "application/x-www-form-urlencoded"}, HOST},
	 "Param1=value1",
	 "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
};

#define S3_HEADERS(hash)                                                                                     \
	{"Host", "examplebucket.s3.amazonaws.com"}, {"x-amz-date", S3_DATE},                                 \
	{                                                                                                    \
		"x-amz-content-sha256", hash                                                                 \
	}
#define WELCOME "Welcome to Amazon S3."
#define WELCOME_HASH "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

static const struct vector s3[] = {
	{"GET object with range",
	 "GET",
	 "/test.txt",
	 {{NULL}},
	 {{"Range", "bytes=0-9"}, S3_HEADERS(SIGV4_EMPTY_HASH)},
	 "",
	 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
	{"PUT object",
	 "PUT",
	 "/test$file.text",
	 {{NULL}},
	 {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
	  {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
	  S3_HEADERS(WELCOME_HASH)},
	 WELCOME,
	 "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
	{"GET bucket lifecycle",
	 "GET",
	 "/",
	 {{"lifecycle", ""}},
	 {S3_HEADERS(SIGV4_EMPTY_HASH)},
	 "",
	 "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
	{"list objects",
	 "GET",
	 "/",
	 {{"prefix", "J"}, {"max-keys", "2"}},
	 {S3_HEADERS(SIGV4_EMPTY_HASH)},
	 "",
	 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static size_t
pairs(const struct sigv4_pair *p, size_t max)
{
	size_t n = 0;

	while (n < max && p[n].name)
		n++;
	return n;
}

static void
check_vector(const struct vector *v, const char *key, const char *secret, const char *date,
	     const char *service)
{
	char path[512], query[512], hash[SIGV4_HASH_TEXT], out[SIGV4_AUTHORIZATION_MAX], scope[128];
	struct iovec iov = {(void *)(uintptr_t)v->payload, strlen(v->payload)};
	struct sigv4_request req = {.method = v->method,
				    .path = path,
				    .query = query,
				    .headers = v->headers,
				    .nheaders = pairs(v->headers, 6),
				    .payload_hash = hash,
				    .date = date,
				    .region = "us-east-1",
				    .service = service};
	const char *signature;

	ck_assert_uint_gt(sigv4_escape(v->path, true, path, sizeof(path)), 0);
	ck_assert_int_eq(sigv4_query(v->query, pairs(v->query, 4), query, sizeof(query)), 0);
	sigv4_hash(&iov, 1, hash);
	ck_assert_int_eq(sigv4_sign(&req, key, secret, out, sizeof(out)), 0);
	(void)snprintf(scope, sizeof(scope),
		       "AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/%s/aws4_request, ", key, date, service);
	ck_assert_msg(!strncmp(out, scope, strlen(scope)), "%s: %s", v->name, out);
	signature = strstr(out, ", Signature=");
	ck_assert_ptr_nonnull(signature);
	ck_assert_msg(!strcmp(signature + 12, v->signature), "%s: %s", v->name, out);
}

START_TEST(test_suite)
{
	for (size_t i = 0; i < ARRAY_SIZE(suite); i++)
		check_vector(&suite[i], SUITE_KEY, SUITE_SECRET, SUITE_DATE, "service");
}
END_TEST

START_TEST(test_s3_examples)
{
	for (size_t i = 0; i < ARRAY_SIZE(s3); i++)
		check_vector(&s3[i], S3_KEY, S3_SECRET, S3_DATE, "s3");
}
END_TEST

START_TEST(test_canonical)
{
	char out[1024];
	struct sigv4_pair headers[] = {{"X-Amz-Date", SUITE_DATE}, {"Host", "example.amazonaws.com"}};
	struct sigv4_request req = {.method = "GET",
				    .path = "/",
				    .query = "Param1=value1&Param2=value2",
				    .headers = headers,
				    .nheaders = 2,
				    .payload_hash = SIGV4_EMPTY_HASH,
				    .date = SUITE_DATE,
				    .region = "us-east-1",
				    .service = "service"};
	static const char want[] = "GET\n/\nParam1=value1&Param2=value2\nhost:example.amazonaws.com\n"
				   "x-amz-date:20150830T123600Z\n\nhost;x-amz-date\n" SIGV4_EMPTY_HASH;

	ck_assert_int_eq(sigv4_canonical(&req, out, sizeof(out)), (int)strlen(want));
	ck_assert_str_eq(out, want);
	for (size_t room = 1; room <= strlen(want); room++)
		ck_assert_int_eq(sigv4_canonical(&req, out, room), -ENOSPC);
	ck_assert_int_gt(sigv4_canonical(&req, out, strlen(want) + 1), 0);
	ck_assert_int_eq(sigv4_sign(&req, SUITE_KEY, SUITE_SECRET, out, 64), -ENOSPC);
}
END_TEST

START_TEST(test_escape)
{
	char out[64];

	ck_assert_uint_eq(sigv4_escape("a/b c+d%~", true, out, sizeof(out)), 15);
	ck_assert_str_eq(out, "a/b%20c%2Bd%25~");
	ck_assert_uint_gt(sigv4_escape("a/b\xff\n", false, out, sizeof(out)), 0);
	ck_assert_str_eq(out, "a%2Fb%FF%0A");
	ck_assert_uint_eq(sigv4_escape("abc", true, out, 4), 3);
	ck_assert_uint_eq(sigv4_escape("abc", true, out, 3), 0);
	ck_assert_uint_eq(sigv4_escape("a b", true, out, 5), 0);
	ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(test_query)
{
	static const struct sigv4_pair params[] = {{"start-after", "a/b"},
						   {"prefix", "x y"},
						   {"list-type", "2"},
						   {"a", "2"},
						   {"a", "1"},
						   {"A", ""}};
	char out[128];

	ck_assert_int_eq(sigv4_query(params, 6, out, sizeof(out)), 0);
	ck_assert_str_eq(out, "A=&a=1&a=2&list-type=2&prefix=x%20y&start-after=a%2Fb");
	ck_assert_int_eq(sigv4_query(params, 6, out, 20), -ENOSPC);
	ck_assert_int_eq(sigv4_query(params, 0, out, sizeof(out)), 0);
	ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(test_hash_and_date)
{
	char hash[SIGV4_HASH_TEXT], date[SIGV4_DATE_TEXT];
	char text[] = WELCOME;
	struct iovec parts[] = {{text, 3}, {text, 0}, {text + 3, strlen(text) - 3}};

	sigv4_hash(parts, 3, hash);
	ck_assert_str_eq(hash, WELCOME_HASH);
	sigv4_hash(NULL, 0, hash);
	ck_assert_str_eq(hash, SIGV4_EMPTY_HASH);
	sigv4_date(1440938160, date);
	ck_assert_str_eq(date, SUITE_DATE);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("s3_sigv4");
	TCase *tc = tcase_create("s3_sigv4");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_test(tc, test_suite);
	tcase_add_test(tc, test_s3_examples);
	tcase_add_test(tc, test_canonical);
	tcase_add_test(tc, test_escape);
	tcase_add_test(tc, test_query);
	tcase_add_test(tc, test_hash_and_date);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
