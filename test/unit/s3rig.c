/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/s3rig.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/util.h"

struct s3_server s;
struct canned *server;
struct object_store *store;
struct loop *loop;

/* ---- the server ---- */

struct object *
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

void
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

void
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

void
open_store(const char *more)
{
	struct errinfo info = {0};
	char url[256];

	(void)snprintf(url, sizeof(url), "s3://test-bucket/p?endpoint=http://127.0.0.1:%u%s%s",
		       canned_port(server), strstr(more, "&retry=") ? "" : "&retry=8000", more);
	ck_assert_msg(!object_store_open(url, NULL, false, &store, &info), "%s", info.text);
}

int
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

int
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

void
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

void
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

void
use_fault(fault_fn *fault)
{
	canned_lock(server);
	s.calls = 0;
	s.fault = fault;
	s.puts = s.gets = s.others = 0;
	canned_unlock(server);
}

unsigned
seen(const unsigned *count)
{
	unsigned n;

	canned_lock(server);
	n = *count;
	canned_unlock(server);
	return n;
}

bool
is(const struct canned_request *req, const char *method)
{
	return !strcmp(req->method, method);
}
