/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many requests are out at once, in which order they go, and where to: counted at the server.
 */
#include <arpa/inet.h>
#include <check.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/util.h"
#include "test/unit/s3rig.h"

#define BATCH_MAX 48u

/* Requests that are submitted in one go, from the loop. */
struct batch {
	struct object_req reqs[BATCH_MAX];
	char bufs[BATCH_MAX][8];
	struct iovec iovs[BATCH_MAX];
	unsigned n;
	sem_t done;
};

static struct batch *current;

static void
one_done(struct object_req *req)
{
	ck_assert_int_eq(req->status, 0);
	(void)sem_post(&current->done);
}

static void
add(struct batch *b, struct object_store *to, enum object_op op, const char *key)
{
	struct object_req *req = &b->reqs[b->n];

	b->iovs[b->n] = (struct iovec){b->bufs[b->n], 4};
	*req = (struct object_req){
		.store = to, .op = op, .key = key, .iov = &b->iovs[b->n], .niov = 1, .done = one_done};
	b->n++;
}

static int
submit_all(void *arg)
{
	struct batch *b = arg;

	for (unsigned i = 0; i < b->n; i++)
		object_submit(&b->reqs[i]);
	return 0;
}

static void
go(struct batch *b)
{
	(void)sem_init(&b->done, 0, 0);
	current = b;
	ck_assert_int_eq(loop_call(loop, submit_all, b), 0);
}

static void
finish(struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++)
		while (sem_wait(&b->done))
			;
	(void)sem_destroy(&b->done);
}

static json_int_t
number(struct object_store *of, const char *key)
{
	json_t *object = object_store_json(of);
	json_int_t n = json_integer_value(json_object_get(object, key));

	json_decref(object);
	return n;
}

START_TEST(test_in_flight)
{
	static struct batch b;

	open_store("&in_flight=5");
	ck_assert_int_eq(put("k", "data", false, NULL, NULL), 0);
	for (unsigned i = 0; i < 40; i++)
		add(&b, store, OBJECT_GET, "k");
	use_fault(NULL);
	canned_hold(server, true);
	go(&b);
	canned_wait_held(server, 5);
	ck_assert_int_eq(number(store, "in_flight"), 5);
	ck_assert_int_eq(number(store, "queued"), 35);
	ck_assert_int_eq(number(store, "in_flight_max"), 5);
	ck_assert_uint_eq(seen(&s.gets), 5);
	canned_hold(server, false);
	finish(&b);
	ck_assert_uint_eq(canned_held_max(server), 5);
	ck_assert_uint_eq(seen(&s.gets), 40);
	ck_assert_int_eq(number(store, "in_flight"), 0);
	ck_assert_int_eq(number(store, "queued"), 0);
}
END_TEST

/* two stores of one process share what is left */
START_TEST(test_all_in_flight)
{
	static struct batch b;
	const struct object_limits three = {.in_flight = 3}, usual_limits = {0};
	struct object_store *other;

	open_store("&in_flight=8");
	ck_assert_int_eq(put("k", "data", false, NULL, NULL), 0);
	other = store;
	open_store("&in_flight=8");
	for (unsigned i = 0; i < 10; i++) {
		add(&b, store, OBJECT_GET, "k");
		add(&b, other, OBJECT_GET, "k");
	}
	object_limits_set(&three);
	canned_hold(server, true);
	go(&b);
	canned_wait_held(server, 3);
	ck_assert_int_eq(number(store, "in_flight") + number(other, "in_flight"), 3);
	canned_hold(server, false);
	finish(&b);
	ck_assert_uint_eq(canned_held_max(server), 3);
	object_limits_set(&usual_limits);
	object_store_free(other);
}
END_TEST

static char order[BATCH_MAX + 1];

static enum verdict
note_order(const struct canned_request *req, struct canned_answer *a)
{
	(void)a;
	ck_assert_uint_le(s.calls, BATCH_MAX);
	order[s.calls - 1] = is(req, "GET") ? 'g' : 'p';
	return PASS;
}

START_TEST(test_reads_first)
{
	static struct batch b;
	static const char *const keys[] = {"a", "b", "c", "d"};

	open_store("&in_flight=1");
	ck_assert_int_eq(put("k", "data", false, NULL, NULL), 0);
	use_fault(note_order);
	memset(order, 0, sizeof(order));
	for (unsigned i = 0; i < 4; i++)
		add(&b, store, OBJECT_PUT, keys[i]);
	for (unsigned i = 0; i < 12; i++)
		add(&b, store, OBJECT_GET, "k");
	go(&b);
	finish(&b);
	/* who wrote first is not forgotten: one after eight */
	canned_lock(server);
	ck_assert_str_eq(order, "ggggggggpggggppp");
	canned_unlock(server);
}
END_TEST

/* of four slots destage may have three, so that a read that comes now goes out now */
START_TEST(test_room_for_reads)
{
	static struct batch writes, read;
	static char names[8][8];

	open_store("&in_flight=4");
	ck_assert_int_eq(put("k", "data", false, NULL, NULL), 0);
	use_fault(note_order);
	memset(order, 0, sizeof(order));
	for (unsigned i = 0; i < 8; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "w%u", i);
		add(&writes, store, OBJECT_PUT, names[i]);
	}
	canned_hold(server, true);
	go(&writes);
	canned_wait_held(server, 3);
	ck_assert_int_eq(number(store, "in_flight"), 3);
	add(&read, store, OBJECT_GET, "k");
	/* its end counts in the same semaphore */
	ck_assert_int_eq(loop_call(loop, submit_all, &read), 0);
	canned_wait_held(server, 4);
	ck_assert_str_eq(order, "pppg");
	canned_hold(server, false);
	writes.n++;
	finish(&writes);
}
END_TEST

/* Our ends of connections to the server: how many, and which of them send small segments and acknowledge at
 * once. */
static unsigned
connections(unsigned *ret_nodelay, unsigned *ret_quickack)
{
	struct sockaddr_in sin;
	unsigned found = 0;

	*ret_nodelay = *ret_quickack = 0;
	for (int fd = 3; fd < 1024; fd++) {
		int nodelay = 0, quickack = 0;
		socklen_t n = sizeof(sin), k = sizeof(int);

		if (getpeername(fd, (struct sockaddr *)&sin, &n) || sin.sin_family != AF_INET ||
		    ntohs(sin.sin_port) != canned_port(server))
			continue;
		found++;
		ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &k), 0);
		ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &quickack, &k), 0);
		*ret_nodelay += nodelay != 0;
		*ret_quickack += quickack != 0;
	}
	return found;
}

/* Without these a server that sends header and body apart takes 40 ms for each small GET. */
START_TEST(test_socket_options)
{
	static struct batch b;
	unsigned n, nodelay, quickack;

	open_store("&in_flight=4");
	ck_assert_int_eq(put("k", "data", false, NULL, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		add(&b, store, OBJECT_GET, "k");
	canned_hold(server, true);
	go(&b);
	canned_wait_held(server, 4);
	n = connections(&nodelay, &quickack);
	ck_assert_uint_ge(n, 4);
	ck_assert_uint_eq(nodelay, n);
	ck_assert_uint_ge(quickack, 4);
	canned_hold(server, false);
	finish(&b);
}
END_TEST

/* ---- two endpoints ---- */

static struct canned *second;
static unsigned second_asked;
static bool second_dead;

static void
second_answer(void *arg, const struct canned_request *req, struct canned_answer *a)
{
	(void)arg;
	second_asked++;
	a->drop = second_dead;
	if (second_dead)
		return;
	canned_lock(server);
	usual(req, a);
	canned_unlock(server);
}

static void
set_dead(bool dead)
{
	canned_lock(second);
	second_dead = dead;
	second_asked = 0;
	canned_unlock(second);
}

static unsigned
asked(void)
{
	unsigned n;

	canned_lock(second);
	n = second_asked;
	canned_unlock(second);
	return n;
}

START_TEST(test_endpoints)
{
	struct object_description d;
	struct errinfo info = {0};
	char url[256], buf[4];

	second = canned_new(second_answer, NULL);
	(void)snprintf(url, sizeof(url),
		       "s3://test-bucket/p?endpoint=http://127.0.0.1:%u,http://127.0.0.1:%u&retry=20000",
		       canned_port(server), canned_port(second));
	ck_assert_msg(!object_store_open(url, NULL, false, &store, &info), "%s", info.text);
	ck_assert_int_eq(put("k", "data", false, NULL, NULL), 0);
	use_fault(NULL);
	set_dead(false);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(get("k", 0, 4, buf, 4), 0);
	ck_assert_uint_eq(seen(&s.gets), 5);
	ck_assert_uint_eq(asked(), 5);
	/* one dies: each request still succeeds, and after three of its failures it is left out */
	set_dead(true);
	do {
		ck_assert_int_eq(get("k", 0, 4, buf, 4), 0);
		object_store_describe(store, &d);
	} while (!d.out);
	ck_assert_uint_ge(asked(), 3);
	ck_assert_uint_eq(d.out, 1);
	ck_assert(!d.endpoints[0].out && d.endpoints[1].out);
	ck_assert_uint_ge(d.retries, 3);
	/* it comes back, and one request that tries it finds out */
	set_dead(false);
	do {
		ck_assert_int_eq(get("k", 0, 4, buf, 4), 0);
		object_store_describe(store, &d);
	} while (d.out);
	ck_assert_uint_ge(asked(), 1);
	object_store_free(store);
	store = NULL;
	canned_free(second);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("s3_limits");
	TCase *tc = tcase_create("s3_limits");
	SRunner *sr = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, test_in_flight);
	tcase_add_test(tc, test_all_in_flight);
	tcase_add_test(tc, test_reads_first);
	tcase_add_test(tc, test_room_for_reads);
	tcase_add_test(tc, test_socket_options);
	tcase_add_test(tc, test_endpoints);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
