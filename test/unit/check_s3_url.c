/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The URL of a bucket: what is taken, what it means, and the words for what is not.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "stores/object/s3/url.h"

static struct s3_url url;

static int
parse(const char *text)
{
	struct errinfo info = {0};
	int rc = s3_url_parse(text, &url, &info);

	ck_assert_msg(!rc == !info.text[0], "%s: %d, \"%s\"", text, rc, info.text);
	return rc;
}

START_TEST(test_whole)
{
	ck_assert_int_eq(
		parse("s3://my.bucket/a/b?endpoint=https://s3.example.com:8443,http://[fd00::1]:7480&"
		      "region=eu-west-1&addressing=path&payload=unsigned&http=2&profile=prod&"
		      "credentials=%2Fetc%2Fkeys&ca=/ca.pem&cert=/c.pem&key=/k.pem&proxy=http://p:3128&"
		      "in_flight=8&connect=100&stall=200&retry=300&up=10M&down=1G&if_match=bare"),
		0);
	ck_assert_str_eq(url.bucket, "my.bucket");
	ck_assert_str_eq(url.prefix, "a/b");
	ck_assert_uint_eq(url.nendpoints, 2);
	ck_assert(url.endpoints[0].tls && !url.endpoints[0].literal6);
	ck_assert_str_eq(url.endpoints[0].host, "s3.example.com");
	ck_assert_uint_eq(url.endpoints[0].port, 8443);
	ck_assert(!url.endpoints[1].tls && url.endpoints[1].literal6);
	ck_assert_str_eq(url.endpoints[1].host, "fd00::1");
	ck_assert_uint_eq(url.endpoints[1].port, 7480);
	ck_assert_str_eq(url.region, "eu-west-1");
	ck_assert_int_eq(url.addressing, S3_ADDRESSING_PATH);
	ck_assert_int_eq(url.payload, S3_PAYLOAD_UNSIGNED);
	ck_assert(url.http2);
	ck_assert_str_eq(url.profile, "prod");
	ck_assert_str_eq(url.credentials, "/etc/keys");
	ck_assert_str_eq(url.ca, "/ca.pem");
	ck_assert_str_eq(url.cert, "/c.pem");
	ck_assert_str_eq(url.key, "/k.pem");
	ck_assert_str_eq(url.proxy, "http://p:3128");
	ck_assert_uint_eq(url.in_flight, 8);
	ck_assert_uint_eq(url.connect_ms, 100);
	ck_assert_uint_eq(url.stall_ms, 200);
	ck_assert_uint_eq(url.retry_ms, 300);
	ck_assert_uint_eq(url.up, 10u << 20);
	ck_assert_uint_eq(url.down, 1u << 30);
	ck_assert_int_eq(url.match_form, S3_MATCH_BARE);
}
END_TEST

START_TEST(test_defaults)
{
	ck_assert_int_eq(parse("s3://bucket"), 0);
	ck_assert_str_eq(url.prefix, "");
	ck_assert_uint_eq(url.nendpoints, 0);
	s3_url_complete(&url);
	ck_assert_str_eq(url.region, "us-east-1");
	ck_assert_str_eq(url.endpoints[0].host, "s3.us-east-1.amazonaws.com");
	ck_assert(url.endpoints[0].tls);
	ck_assert_uint_eq(url.endpoints[0].port, 443);
	ck_assert_int_eq(url.addressing, S3_ADDRESSING_VIRTUAL);
	ck_assert_int_eq(url.payload, S3_PAYLOAD_UNSIGNED);
	/* a dot in front of the name is beyond the certificate */
	ck_assert_int_eq(parse("a.bucket/?region=cn-north-1"), 0);
	s3_url_complete(&url);
	ck_assert_str_eq(url.endpoints[0].host, "s3.cn-north-1.amazonaws.com.cn");
	ck_assert_int_eq(url.addressing, S3_ADDRESSING_PATH);
	/* over http the payload is signed, at any one of them */
	ck_assert_int_eq(parse("s3://bucket//p/?endpoint=https://a,http://b"), 0);
	ck_assert_str_eq(url.prefix, "p");
	s3_url_complete(&url);
	ck_assert_int_eq(url.payload, S3_PAYLOAD_SIGNED);
	ck_assert_int_eq(url.addressing, S3_ADDRESSING_PATH);
	ck_assert_uint_eq(url.endpoints[0].port, 443);
	ck_assert_uint_eq(url.endpoints[1].port, 80);
}
END_TEST

START_TEST(test_wrong)
{
	static const char *const wrong[] = {
		"s3://",
		"s3:///prefix",
		"s3://ab",
		"s3://-bucket",
		"s3://b*cket",
		"s3://bucket/a//b",
		"s3://bucket/.hidden",
		"s3://bucket/a/../b",
		"s3://bucket/sp ace",
		"s3://bucket?endpoint",
		"s3://bucket?=x",
		"s3://bucket?unknown=1",
		"s3://bucket?endpoint=",
		"s3://bucket?endpoint=host:80",
		"s3://bucket?endpoint=ftp://host",
		"s3://bucket?endpoint=http://",
		"s3://bucket?endpoint=http://user@host",
		"s3://bucket?endpoint=http://host:0",
		"s3://bucket?endpoint=http://host:65536",
		"s3://bucket?endpoint=http://host:",
		"s3://bucket?endpoint=http://host/path",
		"s3://bucket?endpoint=http://[::1",
		"s3://bucket?endpoint=http://[::1]x",
		"s3://bucket?endpoint=http://a,,http://b",
		"s3://bucket?endpoint=http://a,http://a,http://a,http://a,http://a,http://a,http://a,http://a,http://a",
		"s3://bucket?region=a%0ab",
		"s3://bucket?region=a%00b",
		"s3://bucket?region=%",
		"s3://bucket?region=%4",
		"s3://bucket?region=%zz",
		"s3://bucket?region=",
		"s3://bucket?ca=relative.pem",
		"s3://bucket?cert=/c.pem",
		"s3://bucket?key=/k.pem",
		"s3://bucket?proxy=http://user:pw@proxy",
		"s3://bucket?in_flight=0",
		"s3://bucket?in_flight=257",
		"s3://bucket?in_flight=1x",
		"s3://bucket?connect=5",
		"s3://bucket?retry=3600001",
		"s3://bucket?up=fast",
		"s3://bucket?addressing=dns",
		"s3://bucket?http=3",
	};
	struct errinfo info;
	char *longer = calloc(1, 9000);

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_msg(parse(wrong[i]) == LG_ECONFIG, "%s", wrong[i]);
	memset(longer, 'a', 8999);
	ck_assert_int_eq(parse(longer), LG_ECONFIG);
	free(longer);
	/* secrets are refused, and not repeated */
	ck_assert_int_eq(s3_url_parse("s3://bucket?secret_access_key=hunter2", &url, &info), LG_ECONFIG);
	ck_assert_ptr_null(strstr(info.text, "hunter2"));
	ck_assert_int_eq(s3_url_parse("s3://bucket?endpoint=http://me:hunter2@h", &url, &info), LG_ECONFIG);
	ck_assert_ptr_null(strstr(info.text, "hunter2"));
	/* parameters behind one another */
	ck_assert_int_eq(parse("s3://bucket?&&region=a&"), 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("s3_url");
	TCase *tc = tcase_create("s3_url");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_test(tc, test_whole);
	tcase_add_test(tc, test_defaults);
	tcase_add_test(tc, test_wrong);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
