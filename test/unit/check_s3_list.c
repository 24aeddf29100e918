/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The S3 store's lists and deletions, copies, addresses, and many requests at once.
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
#include "test/unit/s3rig.h"

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
	ck_assert_str_eq(d.endpoints[0].url, host);
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
list(struct object_req *ret, const char *prefix, size_t max)
{
	*ret = (struct object_req){.store = store, .op = OBJECT_LIST, .key = prefix, .max_keys = max};
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
	static const char *const full[] = {PAGE_MORE("t+3", ENTRY("p/a/1")), PAGE(ENTRY("p/a/2")), NULL};
	static const char *const wrong[][2] = {
		{PAGE(ENTRY("p/a/2") ENTRY("p/a/1")), NULL}, /* not in order */
		{PAGE(ENTRY("p/a/1") ENTRY("p/a/1")), NULL},
		{PAGE(ENTRY("p/b/1")), NULL}, /* not what was asked for */
		{PAGE(ENTRY("q/a/1")), NULL},
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
	ck_assert_int_eq(list(&req, "a/", 3), 0);
	ck_assert_uint_eq(req.nentries, 2);
	ck_assert(!req.truncated);
	ck_assert_str_eq(req.entries[0].key, "a/1");
	ck_assert_uint_eq(req.entries[0].size, 5);
	ck_assert_str_eq(req.entries[1].key, "a/2");
	object_entries_free(req.entries, req.nentries);
	ck_assert_str_eq(asked[0], "/test-bucket/?encoding-type=url&list-type=2&max-keys=3&prefix=p%2Fa%2F");
	ck_assert_str_eq(asked[1],
			 "/test-bucket/?continuation-token=t%2F1&encoding-type=url&list-type=2&max-keys=2&"
			 "prefix=p%2Fa%2F");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		pages = wrong[i];
		use_fault(lists);
		ck_assert_msg(list(&req, "a/", 3) == LG_EPROTO, "%s", pages[0]);
		ck_assert_ptr_null(req.entries);
	}
	/* a page that is full, and the next one asked for in the server's words */
	pages = full;
	use_fault(lists);
	ck_assert_int_eq(list(&req, "a/", 1), 0);
	ck_assert(req.truncated);
	ck_assert_str_eq(req.token, "t+3");
	object_entries_free(req.entries, req.nentries);
	ck_assert_int_eq(object_call(loop, &req), 0);
	ck_assert_str_eq(req.entries[0].key, "a/2");
	ck_assert_ptr_null(req.token);
	object_entries_free(req.entries, req.nentries);
	ck_assert_str_eq(asked[1],
			 "/test-bucket/?continuation-token=t%2B3&encoding-type=url&list-type=2&max-keys=1&"
			 "prefix=p%2Fa%2F");
	/* 200, and an error all the same */
	pages = failing;
	use_fault(lists);
	ck_assert_int_eq(list(&req, "a/", 3), 0);
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
	Suite *suite = suite_create("s3_list");
	TCase *tc = tcase_create("s3_list");
	SRunner *sr = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_endpoints);
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
