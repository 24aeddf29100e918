/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The XML of S3: what real servers send, and what nobody should be able to do to us.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/util.h"
#include "stores/object/s3/xml.h"

#define NS "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define DECL "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"

static char keys[8][64];
static uint64_t sizes[8];
static size_t nkeys;
static int key_result;

static int
on_key(void *arg, const char *key, uint64_t size)
{
	ck_assert_ptr_eq(arg, keys);
	if (key_result)
		return key_result;
	ck_assert_uint_lt(nkeys, ARRAY_SIZE(keys));
	(void)snprintf(keys[nkeys], sizeof(keys[0]), "%s", key);
	sizes[nkeys++] = size;
	return 0;
}

static struct s3_list_doc doc;
static struct s3_error_doc err;

static int
list(const char *text)
{
	nkeys = 0;
	doc = (struct s3_list_doc){.on_key = on_key, .arg = keys};
	return s3_xml_list(text, strlen(text), &doc, &err);
}

START_TEST(test_list)
{
	/* RGW: the encoding in front of the keys, '/' encoded too */
	ck_assert_int_eq(
		list(DECL "<ListBucketResult " NS "><Name>b</Name><Prefix>v%2F</Prefix><MaxKeys>2</MaxKeys>"
			  "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
			  "<Contents><Key>v%2Fa</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified>"
			  "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>0</Size>"
			  "<Owner><ID>test</ID></Owner></Contents>"
			  "<Contents><Key>v%2Fb%20+c</Key><Size>4194304</Size></Contents>"
			  "<NextContinuationToken>v/b &amp; c</NextContinuationToken></ListBucketResult>"),
		0);
	ck_assert_uint_eq(nkeys, 2);
	ck_assert_str_eq(keys[0], "v/a");
	ck_assert_uint_eq(sizes[0], 0);
	ck_assert_str_eq(keys[1], "v/b  c");
	ck_assert_uint_eq(sizes[1], 4194304);
	ck_assert(doc.truncated);
	ck_assert_str_eq(doc.token, "v/b & c");
	/* MinIO: the encoding behind the keys */
	ck_assert_int_eq(list(DECL "\n<ListBucketResult " NS
				   "><Contents><Key>a%2Fb</Key><Size>1</Size></Contents>"
				   "<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>"
				   "</ListBucketResult>\n"),
			 0);
	ck_assert_str_eq(keys[0], "a/b");
	ck_assert(!doc.truncated);
	/* not encoded: '%' and '+' are themselves; a CDATA section is text */
	ck_assert_int_eq(
		list("<ListBucketResult><Contents><Size>7</Size><Key>a%2Fb+<![CDATA[<c>]]></Key></Contents>"
		     "<IsTruncated>false</IsTruncated></ListBucketResult>"),
		0);
	ck_assert_str_eq(keys[0], "a%2Fb+<c>");
	ck_assert_int_eq(list("<ListBucketResult/>"), 0);
	ck_assert_uint_eq(nkeys, 0);
	/* the callback's failure is the result */
	key_result = -ENOMEM;
	ck_assert_int_eq(
		list("<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>"),
		-ENOMEM);
	key_result = 0;
}
END_TEST

START_TEST(test_not_a_list)
{
	static const char *const wrong[] = {
		"",
		"   ",
		"not xml",
		"<ListBucketResult>",
		"<ListBucketResult></Other>",
		"<ListBucketResult/><ListBucketResult/>",
		"<Other/>",
		"<DeleteResult/>",
		"<html><body>proxy</body></html>",
		"<ListBucketResult xmlns=\"http://example.com/\"/>",
		"<ListBucketResult " NS "><x:Contents xmlns:x=\"urn:evil\"/></ListBucketResult>",
		"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key>a</Key><Size>99999999999999999999</Size></Contents></ListBucketResult>",
		"<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a%</Key><Size>1</Size></Contents>"
		"</ListBucketResult>",
		"<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a%00</Key><Size>1</Size></Contents>"
		"</ListBucketResult>",
		"<ListBucketResult><a><a><a><a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a></a></a></a></a>"
		"</ListBucketResult>",
		/* documents with a DTD, whatever is in it */
		"<!DOCTYPE ListBucketResult><ListBucketResult/>",
		"<!DOCTYPE r [<!ENTITY e \"x\">]><ListBucketResult><Name>&e;</Name></ListBucketResult>",
		"<!DOCTYPE r [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><ListBucketResult>&e;</ListBucketResult>",
		"<!DOCTYPE r SYSTEM \"http://127.0.0.1:1/x.dtd\"><ListBucketResult/>",
		"<!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">"
		"<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]><ListBucketResult>&c;</ListBucketResult>",
		"<ListBucketResult><Name>&undeclared;</Name></ListBucketResult>",
		"<ListBucketResult><Name>\xff\xfe</Name></ListBucketResult>",
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_msg(list(wrong[i]) == LG_EPROTO, "%s", wrong[i]);
}
END_TEST

START_TEST(test_bounds)
{
	size_t n = S3_XML_MAX + 1;
	char *text = malloc(n + 1);

	/* a text without end */
	memset(text, 'a', n);
	memcpy(text, "<ListBucketResult><Name>", 24);
	ck_assert_int_eq(s3_xml_list(text, 100000, &doc, &err), LG_EPROTO);
	/* a document that is too long */
	ck_assert_int_eq(s3_xml_list(text, n, &doc, &err), LG_EPROTO);
	/* names without end */
	memset(text, 'b', n);
	text[0] = '<';
	ck_assert_int_eq(s3_xml_list(text, n - 1, &doc, &err), LG_EPROTO);
	free(text);
}
END_TEST

/* What a server sends does not get to our stderr by way of the parser. */
START_TEST(test_quiet)
{
	static const char *const texts[] = {
		"<?xml version=\"1.0\" encoding=\"EUC-JP\"?><ListBucketResult>\xff\xff\x8f</ListBucketResult>",
		"<?xml version=\"1.0\" encoding=\"nonesuch\"?><ListBucketResult/>",
		"<ListBucketResult><IsTruncated>&nonesuch;</IsTruncated",
	};
	char said[256];
	int fds[2], was = dup(STDERR_FILENO);

	ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		(void)list(texts[i]);
	dup2(was, STDERR_FILENO);
	ck_assert_int_eq(read(fds[0], said, sizeof(said)), -1);
	close(fds[0]);
	close(fds[1]);
	close(was);
}
END_TEST

START_TEST(test_error)
{
	static const char rgw[] =
		DECL "<Error><Code>NoSuchKey</Code><Message></Message><BucketName>b</BucketName>"
		     "<RequestId>tx0001</RequestId><HostId>1-default</HostId></Error>";
	static const char aws[] =
		"<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong; expecting "
		"'eu-west-1'</Message><Region>eu-west-1</Region></Error>";

	ck_assert_int_eq(s3_xml_error(rgw, strlen(rgw), &err), 0);
	ck_assert_str_eq(err.code, "NoSuchKey");
	ck_assert_str_eq(err.request_id, "tx0001");
	ck_assert_int_eq(s3_xml_error(aws, strlen(aws), &err), 0);
	ck_assert_str_eq(err.region, "eu-west-1");
	ck_assert_int_eq(s3_xml_error("<ListBucketResult/>", 19, &err), LG_EPROTO);
	ck_assert_int_eq(s3_xml_error("", 0, &err), LG_EPROTO);
	/* 200 with an error inside */
	ck_assert_int_eq(list("<Error><Code>InternalError</Code></Error>"), 1);
	ck_assert_str_eq(err.code, "InternalError");
	ck_assert_int_eq(s3_xml_copy("<Error><Code>SlowDown</Code></Error>", 36, &err), 1);
	ck_assert_str_eq(err.code, "SlowDown");
	ck_assert_int_eq(s3_xml_copy("<CopyObjectResult><ETag>\"x\"</ETag></CopyObjectResult>", 52, &err),
			 LG_EPROTO);
	ck_assert_int_eq(s3_xml_copy("<CopyObjectResult><ETag>\"x\"</ETag></CopyObjectResult>", 53, &err), 0);
	/* a code that is too long is cut */
	{
		char text[400];
		int n = snprintf(text, sizeof(text), "<Error><Code>%0300d</Code></Error>", 7);

		ck_assert_int_eq(s3_xml_error(text, (size_t)n, &err), 0);
		ck_assert_uint_eq(strlen(err.code), sizeof(err.code) - 1);
	}
}
END_TEST

static char deleted[4][128];
static size_t ndeleted;

static int
on_delete(void *arg, const char *key, const char *code, const char *message)
{
	ck_assert_ptr_null(arg);
	(void)snprintf(deleted[ndeleted++], sizeof(deleted[0]), "%.40s:%.40s:%.40s", key, code, message);
	return 0;
}

START_TEST(test_delete)
{
	struct s3_delete_doc d = {.on_error = on_delete};
	static const char text[] = "<DeleteResult " NS "><Deleted><Key>fine</Key></Deleted>"
				   "<Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
				   "<Error><Key>b</Key><Code>InternalError</Code></Error></DeleteResult>";

	ck_assert_int_eq(s3_xml_delete(text, strlen(text), &d, &err), 0);
	ck_assert_uint_eq(ndeleted, 2);
	ck_assert_str_eq(deleted[0], "a:AccessDenied:no");
	ck_assert_str_eq(deleted[1], "b:InternalError:");
	ck_assert_int_eq(s3_xml_delete("<DeleteResult/>", 15, &d, &err), 0);
	ck_assert_uint_eq(ndeleted, 2);
	ck_assert_int_eq(s3_xml_delete("", 0, &d, &err), LG_EPROTO);
}
END_TEST

START_TEST(test_sts)
{
	static const char text[] =
		"<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
		"<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>TOKEN</SessionToken>"
		"<SecretAccessKey>SECRET</SecretAccessKey><Expiration>2026-11-22T10:00:00Z</Expiration>"
		"<AccessKeyId>ACCESS</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>"
		"</AssumeRoleWithWebIdentityResponse>";
	static const char refused[] =
		"<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>"
		"<Type>Sender</Type><Code>AccessDenied</Code></Error></ErrorResponse>";
	struct s3_sts_doc sts;

	ck_assert_int_eq(s3_xml_sts(text, strlen(text), &sts, &err), 0);
	ck_assert_str_eq(sts.access_key, "ACCESS");
	ck_assert_str_eq(sts.secret_key, "SECRET");
	ck_assert_str_eq(sts.token, "TOKEN");
	ck_assert_str_eq(sts.expiration, "2026-11-22T10:00:00Z");
	ck_assert_int_eq(s3_xml_sts(refused, strlen(refused), &sts, &err), 1);
	ck_assert_str_eq(err.code, "AccessDenied");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("s3_xml");
	TCase *tc = tcase_create("s3_xml");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, test_list);
	tcase_add_test(tc, test_not_a_list);
	tcase_add_test(tc, test_bounds);
	tcase_add_test(tc, test_quiet);
	tcase_add_test(tc, test_error);
	tcase_add_test(tc, test_delete);
	tcase_add_test(tc, test_sts);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
