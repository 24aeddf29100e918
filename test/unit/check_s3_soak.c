/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A soak of the S3 client: random operations through a server that fails one request in ten in every way it
 * knows, held against a model.  LUNGATE_S3_SOAK operations (5,000), LUNGATE_S3_SEED.
 *
 * Each worker has keys of its own, and one operation at a time.  Of every key the model knows the bodies that
 * it may have: one after an operation that succeeded, more after one that failed.  An answer must be one of
 * them, and then it is the only one left.  An error is allowed at any time while faults are injected - but not
 * most of the time, and never wrong data.  In the end the faults stop and everything is read.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "stores/object/object.h"
#include "test/lib/fakes3.h"

#define WORKERS 8
#define KEYS 12
#define POSSIBLE_MAX 64
#define BODY_MAX 20000u

struct key_model {
	char key[32];
	uint32_t possible[POSSIBLE_MAX]; /* body numbers, 0 = absent */
	unsigned n;
	char etag[OBJECT_ETAG_MAX]; /* the last that was told */
};

struct worker {
	pthread_t thread;
	struct loop *loop;
	unsigned id, ops, failed;
	uint64_t rng;
	uint32_t bodies;
	struct key_model keys[KEYS];
	uint8_t out[BODY_MAX], in[BODY_MAX + 1];
};

static struct fakes3 *fake;
static struct object_store *store;
static struct loop *loops[2];
static atomic_bool faults_on;

static uint32_t
rnd(struct worker *w, uint32_t below)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return (uint32_t)(w->rng >> 20) % below;
}

/* ---- the model ---- */

static size_t
body_size(uint32_t number)
{
	return number % 5 == 0 ? 4 + number * 7919u % (BODY_MAX - 4) : 4 + number % 500;
}

static void
body_fill(const struct worker *w, uint32_t number, uint8_t *out)
{
	size_t n = body_size(number);

	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(number >> (i % 3 * 8)) ^ (uint8_t)(i * 13 + w->id + (i >> 8));
}

static bool
may_be(const struct key_model *k, uint32_t number)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->possible[i] == number)
			return true;
	return false;
}

static void
is_now(struct key_model *k, uint32_t number)
{
	k->possible[0] = number;
	k->n = 1;
}

static void
or_perhaps(struct key_model *k, uint32_t number)
{
	if (may_be(k, number))
		return;
	ck_assert_uint_lt(k->n, POSSIBLE_MAX);
	k->possible[k->n++] = number;
}

static void
is_not(struct key_model *k, uint32_t number)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < k->n; i++)
		if (k->possible[i] != number)
			k->possible[kept++] = k->possible[i];
	ck_assert_msg(kept, "%s: what the model holds was denied", k->key);
	k->n = kept;
}

static void
failed(struct worker *w, const struct key_model *k, const char *what, int rc)
{
	ck_assert_msg(atomic_load(&faults_on), "%s of %s without a fault: %s", what, k->key, err_text(rc));
	w->failed++;
}

/* ---- operations ---- */

static void
do_put(struct worker *w, struct key_model *k)
{
	uint32_t number = ++w->bodies;
	struct iovec iov[2];
	struct object_req req = {.store = store, .op = OBJECT_PUT, .key = k->key, .iov = iov, .niov = 2};
	size_t n = body_size(number);
	unsigned how = rnd(w, 3);
	int rc;

	if (k->n > POSSIBLE_MAX / 2)
		return;
	body_fill(w, number, w->out);
	iov[0] = (struct iovec){w->out, n / 3};
	iov[1] = (struct iovec){w->out + n / 3, n - n / 3};
	req.if_absent = how == 1;
	req.if_match = how == 2 && k->etag[0] ? k->etag : NULL;
	rc = object_call(w->loop, &req);
	if (!rc) {
		if (req.if_absent)
			ck_assert_msg(may_be(k, 0), "%s was there and has been made", k->key);
		is_now(k, number);
		memcpy(k->etag, req.etag, sizeof(k->etag));
	} else if (rc == -EEXIST && req.if_absent) {
		is_not(k, 0);
	} else if (rc == LG_ECONFLICT && req.if_match) {
		; /* the ETag may have been a lie */
	} else if (rc == -ENOENT && req.if_match) {
		ck_assert_msg(may_be(k, 0), "%s is missing", k->key);
		is_now(k, 0);
	} else {
		failed(w, k, "PUT", rc);
		or_perhaps(k, number);
	}
}

static void
got(struct worker *w, struct key_model *k, const struct object_req *req)
{
	for (unsigned i = 0; i < k->n; i++) {
		uint32_t number = k->possible[i];

		if (!number || body_size(number) != req->size)
			continue;
		body_fill(w, number, w->out);
		if (memcmp(w->in, w->out + req->offset, req->length ? req->length : req->size) != 0)
			continue;
		is_now(k, number);
		memcpy(k->etag, req->etag, sizeof(k->etag));
		return;
	}
	ck_abort_msg("%s: %llu bytes that it never had", k->key, (unsigned long long)req->size);
}

static void
do_get(struct worker *w, struct key_model *k, bool ranged)
{
	struct iovec iov = {w->in, BODY_MAX};
	struct object_req req = {.store = store, .op = OBJECT_GET, .key = k->key, .iov = &iov, .niov = 1};
	int rc;

	if (ranged && k->n == 1 && k->possible[0]) {
		req.offset = rnd(w, (uint32_t)body_size(k->possible[0]));
		req.length = 1 + rnd(w, (uint32_t)(body_size(k->possible[0]) - req.offset));
	}
	rc = object_call(w->loop, &req);
	if (!rc) {
		got(w, k, &req);
	} else if (rc == -ENOENT) {
		ck_assert_msg(may_be(k, 0), "%s is missing", k->key);
		is_now(k, 0);
	} else {
		failed(w, k, "GET", rc);
	}
}

static void
do_head(struct worker *w, struct key_model *k)
{
	struct object_req req = {.store = store, .op = OBJECT_HEAD, .key = k->key};
	int rc = object_call(w->loop, &req);
	bool found = false;

	if (rc == -ENOENT) {
		ck_assert_msg(may_be(k, 0), "%s is missing", k->key);
		is_now(k, 0);
	} else if (rc) {
		failed(w, k, "HEAD", rc);
	} else {
		for (unsigned i = 0; i < k->n; i++)
			found = found || (k->possible[i] && body_size(k->possible[i]) == req.size);
		ck_assert_msg(found, "%s: %llu bytes", k->key, (unsigned long long)req.size);
	}
}

static void
do_delete(struct worker *w)
{
	const char *keys[KEYS];
	struct key_model *models[KEYS];
	struct object_req req = {.store = store, .op = OBJECT_DELETE, .keys = keys};
	int rc;

	for (unsigned i = 0; i < KEYS; i++)
		if (!rnd(w, 4)) {
			models[req.nkeys] = &w->keys[i];
			keys[req.nkeys++] = w->keys[i].key;
		}
	rc = object_call(w->loop, &req);
	for (size_t i = 0; i < req.nkeys; i++) {
		if (!rc)
			is_now(models[i], 0);
		else
			or_perhaps(models[i], 0);
	}
	if (rc)
		failed(w, models[0], "DELETE", rc);
}

static void
do_list(struct worker *w)
{
	char prefix[16];
	struct object_req req = {.store = store, .op = OBJECT_LIST, .key = prefix, .max_keys = 1000};
	size_t at = 0;
	int rc;

	(void)snprintf(prefix, sizeof(prefix), "w%u/", w->id);
	rc = object_call(w->loop, &req);
	if (rc) {
		failed(w, &w->keys[0], "LIST", rc);
		return;
	}
	ck_assert(!req.truncated);
	for (unsigned i = 0; i < KEYS; i++) {
		struct key_model *k = &w->keys[i];
		bool there = at < req.nentries && !strcmp(req.entries[at].key, k->key);

		at += there;
		if (there) {
			is_not(k, 0);
			continue;
		}
		ck_assert_msg(may_be(k, 0), "%s is not in the list", k->key);
		is_now(k, 0);
	}
	ck_assert_uint_eq(at, req.nentries);
	object_entries_free(req.entries, req.nentries);
}

static void *
work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->ops; i++) {
		struct key_model *k = &w->keys[rnd(w, KEYS)];
		unsigned what = rnd(w, 100);

		if (what < 45)
			do_put(w, k);
		else if (what < 80)
			do_get(w, k, what < 60);
		else if (what < 90)
			do_head(w, k);
		else if (what < 94)
			do_delete(w);
		else
			do_list(w);
	}
	return NULL;
}

/* ---- the run ---- */

/* per mille; one request in ten in all */
static const unsigned shares[FAKES3_FAULTS] = {
	[FAKES3_SLOW] = 8,
	[FAKES3_ERROR_BEFORE] = 10,
	[FAKES3_ERROR_AFTER] = 14,
	[FAKES3_RESET_BEFORE] = 8,
	[FAKES3_RESET_AFTER] = 14,
	[FAKES3_BUSY] = 4,
	[FAKES3_BUSY_RETRY_AFTER] = 1,
	[FAKES3_DENY] = 4,
	[FAKES3_NOT_FOUND] = 6,
	[FAKES3_TRUNCATE] = 8,
	[FAKES3_WRONG_LENGTH] = 5,
	[FAKES3_LIE_ETAG] = 5,
	[FAKES3_ERROR_IN_OK] = 6,
	[FAKES3_WRONG_XML] = 7,
};

static void
set_faults(bool on)
{
	atomic_store(&faults_on, on);
	for (int i = 0; i < FAKES3_FAULTS; i++)
		fakes3_set(fake, (enum fakes3_fault)i, on ? shares[i] : 0);
}

static unsigned long long
number_of(const char *name, unsigned long long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void
open_all(uint64_t seed)
{
	struct fakes3_conf conf = {.bucket = "soak",
				   .access_key = "SOAKACCESSKEY",
				   .secret_key = "soak/secret+key",
				   .seed = seed,
				   .page_max = 5};
	struct errinfo info = {0};
	char url[128];

	setenv("AWS_ACCESS_KEY_ID", conf.access_key, 1);
	setenv("AWS_SECRET_ACCESS_KEY", conf.secret_key, 1);
	unsetenv("AWS_SESSION_TOKEN");
	setenv("no_proxy", "*", 1);
	ck_assert_int_eq(fakes3_start(&conf, &fake), 0);
	ck_assert_int_eq(loop_pool_init(0), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(loops); i++) {
		ck_assert_int_eq(loop_new("soak", i, &loops[i]), 0);
		ck_assert_int_eq(loop_start(loops[i]), 0);
	}
	(void)snprintf(url, sizeof(url), "s3://soak/it?endpoint=http://127.0.0.1:%u", fakes3_port(fake));
	ck_assert_msg(!object_store_open(url, NULL, true, &store, &info), "%s", info.text);
	ck_assert_int_eq(atomic_load(&store->fence), OBJECT_FENCED);
}

static void
close_all(void)
{
	object_store_free(store);
	for (unsigned i = 0; i < ARRAY_SIZE(loops); i++)
		loop_free(loops[i]);
	loop_pool_fini();
	fakes3_stop(fake);
}

START_TEST(test_soak)
{
	uint64_t seed = number_of("LUNGATE_S3_SEED", clock_ns() | 1), injected = 0;
	unsigned total = (unsigned)number_of("LUNGATE_S3_SOAK", 5000), errors = 0;
	struct worker *workers = calloc(WORKERS, sizeof(*workers));

	printf("seed 0x%llx, %u operations\n", (unsigned long long)seed, total);
	fflush(stdout);
	open_all(seed);
	set_faults(true);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		*w = (struct worker){.id = i, .loop = loops[i % 2], .ops = total / WORKERS};
		w->rng = seed * (2 * i + 3) | 1;
		for (unsigned k = 0; k < KEYS; k++) {
			(void)snprintf(w->keys[k].key, sizeof(w->keys[k].key), "w%u/k%02u", i, k);
			is_now(&w->keys[k], 0);
		}
		ck_assert_int_eq(pthread_create(&w->thread, NULL, work, w), 0);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	set_faults(false);
	for (unsigned i = 0; i < WORKERS; i++) {
		for (unsigned k = 0; k < KEYS; k++)
			do_get(&workers[i], &workers[i].keys[k], false);
		do_list(&workers[i]);
		errors += workers[i].failed;
	}
	for (int i = 0; i < FAKES3_FAULTS; i++) {
		printf("%s %llu, ", fakes3_fault_name((enum fakes3_fault)i),
		       (unsigned long long)fakes3_count(fake, (enum fakes3_fault)i));
		injected += fakes3_count(fake, (enum fakes3_fault)i);
		if (total >= 50000 && shares[i])
			ck_assert_msg(fakes3_count(fake, (enum fakes3_fault)i), "%s was never done",
				      fakes3_fault_name((enum fakes3_fault)i));
	}
	printf("\n%llu faults, %u operations reported an error\n", (unsigned long long)injected, errors);
	ck_assert_uint_gt(injected, total / 20);
	ck_assert_uint_lt(errors, total / 20);
	close_all();
	free(workers);
}
END_TEST

struct crowd_put {
	struct object_req req;
	struct loop_msg msg;
	struct iovec iov;
	char key[32];
	struct crowd *crowd;
};

#define CROWD 400u

struct crowd {
	struct crowd_put puts[CROWD];
	unsigned left, failed;
	pthread_mutex_t lock;
	pthread_cond_t end;
};

static void
crowd_done(struct object_req *req)
{
	struct crowd_put *put = container_of(req, struct crowd_put, req);
	struct crowd *crowd = put->crowd;

	pthread_mutex_lock(&crowd->lock);
	crowd->failed += req->status != 0;
	if (!--crowd->left)
		pthread_cond_signal(&crowd->end);
	pthread_mutex_unlock(&crowd->lock);
}

static void
crowd_submit(struct loop_msg *msg)
{
	struct crowd_put *put = container_of(msg, struct crowd_put, msg);

	object_submit(&put->req);
}

/* A server that bears four requests at once is found out: the number in flight comes down to about that, and
 * hardly a request is refused from then on. */
START_TEST(test_crowd)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	struct object_description description = {0};
	uint64_t turned_away;

	open_all(1);
	crowd->left = CROWD;
	pthread_mutex_init(&crowd->lock, NULL);
	pthread_cond_init(&crowd->end, NULL);
	fakes3_set(fake, FAKES3_SLOW, 1000); /* so that they meet */
	(void)fakes3_set_crowd(fake, 4);
	for (unsigned i = 0; i < CROWD; i++) {
		struct crowd_put *put = &crowd->puts[i];

		(void)snprintf(put->key, sizeof(put->key), "crowd/%u", i);
		put->crowd = crowd;
		put->iov = (struct iovec){put->key, strlen(put->key)};
		put->req = (struct object_req){.store = store,
					       .op = OBJECT_PUT,
					       .key = put->key,
					       .iov = &put->iov,
					       .niov = 1,
					       .done = crowd_done};
		put->msg.fn = crowd_submit;
		loop_post(loops[0], &put->msg);
	}
	pthread_mutex_lock(&crowd->lock);
	while (crowd->left)
		pthread_cond_wait(&crowd->end, &crowd->lock);
	pthread_mutex_unlock(&crowd->lock);
	turned_away = fakes3_set_crowd(fake, 0);
	printf("%llu turned away\n", (unsigned long long)turned_away);
	ck_assert_uint_eq(crowd->failed, 0);
	object_store_describe(store, &description);
	ck_assert_uint_ge(turned_away, 4);
	ck_assert_uint_eq(description.slow_downs, turned_away);
	/* without the window nearly each attempt would be: 16 in flight for 4 places */
	ck_assert_uint_lt(turned_away, CROWD / 2);
	close_all();
	free(crowd);
}
END_TEST

/* What a server that ignores conditions is called, and one that wants them bare. */
START_TEST(test_verdicts)
{
	struct fakes3_conf conf = {.bucket = "soak",
				   .access_key = "SOAKACCESSKEY",
				   .secret_key = "soak/secret+key",
				   .bare_if_match = true};
	struct errinfo info = {0};
	char url[128];

	open_all(1);
	object_store_free(store);
	fakes3_set(fake, FAKES3_IGNORE_CONDITIONS, 1000);
	(void)snprintf(url, sizeof(url), "s3://soak/it?endpoint=http://127.0.0.1:%u", fakes3_port(fake));
	ck_assert_msg(!object_store_open(url, NULL, true, &store, &info), "%s", info.text);
	ck_assert_int_eq(atomic_load(&store->fence), OBJECT_UNFENCED);
	object_store_free(store);
	fakes3_stop(fake);
	ck_assert_int_eq(fakes3_start(&conf, &fake), 0);
	(void)snprintf(url, sizeof(url), "s3://soak/it?endpoint=http://127.0.0.1:%u", fakes3_port(fake));
	ck_assert_msg(!object_store_open(url, NULL, true, &store, &info), "%s", info.text);
	ck_assert_int_eq(atomic_load(&store->fence), OBJECT_FENCED);
	close_all();
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("s3 soak");
	TCase *tc = tcase_create("faults");
	SRunner *sr = srunner_create(s);
	int bad;

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 1200);
	tcase_add_test(tc, test_verdicts);
	tcase_add_test(tc, test_crowd);
	tcase_add_test(tc, test_soak);
	srunner_run_all(sr, CK_ENV);
	bad = srunner_ntests_failed(sr);
	srunner_free(sr);
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
