/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contract of stores/object/object.h against every store.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/util.h"
#include "test/unit/objectrig.h"

#define RACERS 16
#define ROUNDS 20

/* ---- the contract ---- */

START_TEST(test_put_get_head)
{
	struct object_req a, b;
	char etag[OBJECT_ETAG_MAX], buf[64];

	rig_open(_i);
	ck_assert_int_eq(rig_get("x/y", 0, 0, buf, sizeof(buf), &a), -ENOENT);
	ck_assert_int_eq(rig_head("x/y", &a), -ENOENT);
	ck_assert_int_eq(rig_put_on(rig_loops[0], "x/y", "hello", 5, false, NULL, etag), 0);
	ck_assert_int_eq(rig_head("x/y", &a), 0);
	ck_assert_uint_eq(a.size, 5);
	ck_assert_str_eq(a.etag, etag);
	ck_assert_int_eq(rig_get("x/y", 0, 0, buf, sizeof(buf), &b), 0);
	ck_assert_str_eq(b.etag, etag);
	rig_expect("x/y", "hello");
	ck_assert_int_eq(rig_put("x/y", "good bye"), 0);
	rig_expect("x/y", "good bye");
	ck_assert_int_eq(rig_head("x/y", &b), 0);
	ck_assert_str_ne(a.etag, b.etag);
	/* the directory of an object is no object, and neither is what would lie below one */
	ck_assert_int_eq(rig_head("x", &a), -ENOENT);
	ck_assert_int_eq(rig_get("x", 0, 0, buf, sizeof(buf), &a), -ENOENT);
	ck_assert_int_eq(rig_head("x/y/z", &a), -ENOENT);
	ck_assert_uint_eq(atomic_load(&rig_store->stats.ops[OBJECT_PUT]), 2);
	ck_assert_uint_eq(atomic_load(&rig_store->stats.bytes_put), 13);
	ck_assert_uint_eq(atomic_load(&rig_store->stats.errors[OBJECT_HEAD]), 3);
}
END_TEST

START_TEST(test_ranges)
{
	char buf[16] = "";
	struct object_req req;

	rig_open(_i);
	ck_assert_int_eq(rig_put("k", "0123456789"), 0);
	ck_assert_int_eq(rig_get("k", 3, 4, buf, sizeof(buf), &req), 0);
	ck_assert(!memcmp(buf, "3456\0", 5));
	ck_assert_uint_eq(req.size, 10);
	ck_assert_int_eq(rig_get("k", GET_SUFFIX, 3, buf, sizeof(buf), NULL), 0);
	ck_assert(!memcmp(buf, "7896", 4));
	ck_assert_int_eq(rig_get("k", 0, 10, buf, 10, NULL), 0);
	ck_assert_int_eq(rig_get("k", 0, 0, buf, 10, NULL), 0);
	ck_assert_int_eq(rig_get("k", 0, 0, buf, 9, NULL), -EFBIG);
	ck_assert_int_eq(rig_get("k", 0, 11, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(rig_get("k", 10, 1, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(rig_get("k", UINT64_MAX - 1, 1, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(rig_get("k", GET_SUFFIX, 11, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(rig_get("k", 0, 11, buf, 10, NULL), -EINVAL);
	ck_assert_int_eq(rig_get("k", 1, 0, buf, sizeof(buf), NULL), -EINVAL);
	ck_assert_int_eq(rig_get("k", GET_SUFFIX - 1, 3, buf, sizeof(buf), NULL), -EINVAL);
	/* nothing at all */
	ck_assert_int_eq(rig_put("empty", ""), 0);
	ck_assert_int_eq(rig_head("empty", &req), 0);
	ck_assert_uint_eq(req.size, 0);
	ck_assert_int_eq(rig_get("empty", 0, 0, buf, sizeof(buf), &req), 0);
	ck_assert_uint_eq(req.size, 0);
	ck_assert_int_eq(rig_get("empty", 0, 1, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(rig_get("empty", 0, 0, NULL, 0, NULL), 0);
}
END_TEST

START_TEST(test_big)
{
	size_t n = (9u << 20) + 12345;
	uint8_t *data = malloc(n), *got = malloc(n);
	struct iovec *iov = calloc(n / 1000 + 1, sizeof(*iov));
	struct object_req req = {.op = OBJECT_PUT, .key = "big/one", .iov = iov};

	rig_open(_i);
	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 12));
	for (size_t at = 0; at < n; at += 1000)
		iov[req.niov++] = (struct iovec){data + at, min_of((size_t)1000, n - at)};
	ck_assert_int_gt(req.niov, 2048);
	req.store = rig_store;
	ck_assert_int_eq(object_call(rig_loops[0], &req), 0);
	for (int i = 0; i < req.niov; i++)
		iov[i].iov_base = got + (size_t)i * 1000;
	req.op = OBJECT_GET;
	req.length = n;
	ck_assert_int_eq(object_call(rig_loops[1], &req), 0);
	ck_assert(!memcmp(data, got, n));
	memset(got, 0, n);
	req.offset = 4096 * 7 + 1;
	req.length = 3u << 20;
	ck_assert_int_eq(object_call(rig_loops[1], &req), 0);
	ck_assert(!memcmp(got, data + 4096 * 7 + 1, 3u << 20));
	ck_assert(!got[3u << 20]);
	free(data);
	free(got);
	free(iov);
}
END_TEST

START_TEST(test_keys)
{
	char key[OBJECT_KEY_MAX + 2];
	struct object_req req;
	static const char *const bad[] = {"",     "/",        "/a",    "a/",     "a//b",  ".",    "..",
					  "a/..", "../a",     "a/./b", ".tmp/x", ".lock", "a/.b", "a b",
					  "a\n",  "\xc3\xa4", "a\\b",  "a:b",    "*"};
	static const char *const good[] = {"a", "Z", "0",           "a.b", "a..b",
					   "-", "_", "a/b/c.d-e_f", "a.",  "A0/9z"};

	rig_open(_i);
	ck_assert(!object_key_valid(NULL));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_msg(!object_key_valid(bad[i]), "%s", bad[i]);
		ck_assert_int_eq(rig_put(bad[i], "x"), -EINVAL);
		ck_assert_int_eq(rig_head(bad[i], &req), -EINVAL);
		ck_assert_int_eq(rig_get(bad[i], 0, 0, key, 1, NULL), -EINVAL);
		ck_assert_int_eq(rig_delete(&bad[i], 1), -EINVAL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(object_key_valid(good[i]), "%s", good[i]);
	memset(key, 'k', sizeof(key));
	for (size_t i = 100; i < OBJECT_KEY_MAX; i += 100)
		key[i] = '/';
	key[OBJECT_KEY_MAX] = '\0';
	ck_assert_int_eq(rig_put(key, "long"), 0);
	rig_expect(key, "long");
	key[OBJECT_KEY_MAX] = 'k';
	key[OBJECT_KEY_MAX + 1] = '\0';
	ck_assert_int_eq(rig_put(key, "longer"), -EINVAL);
	/* arguments */
	ck_assert_int_eq(rig_list("", 0, &req), -EINVAL);
	ck_assert_int_eq(rig_list("", 1001, &req), -EINVAL);
	ck_assert_int_eq(rig_list("a//", 1, &req), -EINVAL);
	ck_assert_int_eq(rig_list("../", 1, &req), -EINVAL);
	ck_assert_int_eq(rig_put_on(rig_loops[0], "a", "x", 1, true, "etag", NULL), -EINVAL);
	ck_assert_int_eq(rig_put_on(rig_loops[0], "a", "x", 1, false, "", NULL), -EINVAL);
}
END_TEST

START_TEST(test_conditions)
{
	char first[OBJECT_ETAG_MAX], second[OBJECT_ETAG_MAX];
	const char *key = "d/c";

	rig_open(_i);
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "1", 1, false, "nonsense", NULL), -ENOENT);
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "1", 1, true, NULL, first), 0);
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "2", 1, true, NULL, NULL), -EEXIST);
	rig_expect(key, "1");
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "2", 1, false, "nonsense", NULL), LG_ECONFLICT);
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "2", 1, false, first, second), 0);
	ck_assert_str_ne(first, second);
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "3", 1, false, first, NULL), LG_ECONFLICT);
	rig_expect(key, "2");
	ck_assert_int_eq(rig_delete(&key, 1), 0);
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "3", 1, false, second, NULL), -ENOENT);
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "4", 1, true, NULL, second), 0);
	ck_assert_int_eq(rig_put_on(rig_loops[0], key, "5", 1, false, first, NULL), LG_ECONFLICT);
	rig_expect(key, "4");
}
END_TEST

static int
compare_etags(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* same size, inodes reused, far more PUTs than the clock ticks: every etag is new nevertheless */
START_TEST(test_etags)
{
	enum { N = 150 };
	char(*etags)[OBJECT_ETAG_MAX] = calloc(N, OBJECT_ETAG_MAX);

	rig_open(_i);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(rig_put_on(rig_loops[0], i % 3 ? "root" : "other", i & 1 ? "A" : "B", 1,
					    false, NULL, etags[i]),
				 0);
	qsort(etags, N, OBJECT_ETAG_MAX, compare_etags);
	for (int i = 1; i < N; i++)
		ck_assert_str_ne(etags[i - 1], etags[i]);
	free(etags);
}
END_TEST

START_TEST(test_delete)
{
	char names[OBJECT_DELETE_MAX][24];
	const char *keys[OBJECT_DELETE_MAX + 1];
	struct object_req req;

	rig_open(_i);
	for (unsigned i = 0; i < OBJECT_DELETE_MAX; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "v/c/%02x/%u", i & 7, i);
		keys[i] = names[i];
	}
	keys[OBJECT_DELETE_MAX] = "x";
	for (unsigned i = 0; i < 60; i++)
		ck_assert_int_eq(rig_put(keys[i], "x"), 0);
	ck_assert_int_eq(rig_put("v/keep", "x"), 0);
	ck_assert_int_eq(rig_delete(keys, OBJECT_DELETE_MAX + 1), -EINVAL);
	ck_assert_int_eq(rig_delete(keys, 0), 0);
	/* most of them are not there: no error */
	ck_assert_int_eq(rig_delete(keys, OBJECT_DELETE_MAX), 0);
	ck_assert_int_eq(rig_list("", 10, &req), 0);
	ck_assert_uint_eq(req.nentries, 1);
	ck_assert_str_eq(req.entries[0].key, "v/keep");
	object_entries_free(req.entries, req.nentries);
	/* and it can all be made again */
	ck_assert_int_eq(rig_put_on(rig_loops[0], keys[0], "y", 1, true, NULL, NULL), 0);
	rig_expect(keys[0], "y");
	keys[0] = "v";
	keys[1] = "v/keep/below";
	ck_assert_int_eq(rig_delete(keys, 2), 0);
	rig_expect("v/keep", "x");
}
END_TEST

/* ---- LIST ---- */

static int
compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* directories and objects whose names sort around '/' */
static size_t
make_keys(char **keys, size_t n)
{
	static const char *const parts[] = {"a", "a-", "a.b", "a0", "b", "B", "_", "ab"};
	uint64_t seed = 12345;
	size_t unique = 0;

	for (size_t i = 0; i < n; i++) {
		char key[128] = "";
		size_t len = 0;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		for (uint64_t depth = seed >> 60 & 3, s = seed >> 8; depth; depth--, s >>= 3)
			len += (size_t)snprintf(key + len, sizeof(key) - len, "%s/", parts[s & 7]);
		(void)snprintf(key + len, sizeof(key) - len, "%sf%u", parts[seed >> 40 & 7],
			       (unsigned)(seed >> 50 & 7));
		keys[i] = strdup(key);
	}
	qsort(keys, n, sizeof(*keys), compare_strings);
	for (size_t i = 0; i < n; i++)
		if (unique && !strcmp(keys[unique - 1], keys[i]))
			free(keys[i]);
		else
			keys[unique++] = keys[i];
	return unique;
}

static void
check_listing(char *const *keys, size_t n, const char *prefix, size_t max)
{
	size_t i = 0, len = strlen(prefix);
	struct object_req req;

	ck_assert_int_eq(rig_list(prefix, max, &req), 0);
	for (;;) {
		ck_assert_uint_le(req.nentries, max);
		ck_assert(!req.truncated || req.nentries == max);
		ck_assert(req.truncated == (req.token != NULL));
		for (size_t k = 0; k < req.nentries; k++, i++) {
			while (i < n && strncmp(keys[i], prefix, len))
				i++;
			ck_assert_msg(i < n, "prefix %s: %s too many", prefix, req.entries[k].key);
			ck_assert_str_eq(req.entries[k].key, keys[i]);
			ck_assert_uint_eq(req.entries[k].size, strlen(keys[i]));
		}
		if (!req.truncated)
			break;
		ck_assert_int_eq(rig_list_next(&req), 0);
	}
	object_entries_free(req.entries, req.nentries);
	for (; i < n; i++)
		ck_assert_msg(strncmp(keys[i], prefix, len), "prefix %s: %s is missing", prefix, keys[i]);
}

/* Page by page, each deleted before the next one is asked for: nothing is passed over. */
static void
delete_by_pages(size_t n, size_t max)
{
	const char *keys[OBJECT_DELETE_MAX];
	size_t seen = 0;
	struct object_req req;
	int rc = rig_list("", max, &req);

	for (;;) {
		ck_assert_int_eq(rc, 0);
		seen += req.nentries;
		for (size_t k = 0; k < req.nentries; k++)
			keys[k] = req.entries[k].key;
		ck_assert_int_eq(rig_delete(keys, req.nentries), 0);
		if (!req.truncated)
			break;
		rc = rig_list_next(&req);
	}
	object_entries_free(req.entries, req.nentries);
	ck_assert_uint_eq(seen, n);
	check_listing(NULL, 0, "", 1);
}

START_TEST(test_list)
{
	static const char *const prefixes[] = {"",     "a",      "a/", "a-",      "a.b/a",
					       "b/B/", "B/B/B/", "z",  "a/a/af1", "_"};
	static const size_t maxes[] = {1, 3, 7, 1000};
	enum { N = 150 };
	char *keys[N];
	size_t n = make_keys(keys, N);

	rig_open(_i);
	check_listing(keys, 0, "", 1);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(rig_put(keys[(i * 97) % n], keys[(i * 97) % n]), 0);
	for (size_t m = 0; m < ARRAY_SIZE(maxes); m++)
		for (size_t p = 0; p < ARRAY_SIZE(prefixes); p++)
			check_listing(keys, n, prefixes[p], maxes[m]);
	/* truncated means that there is more: not after exactly the last one */
	check_listing(keys, n, "", n);
	check_listing(keys, n, "", n - 1);
	delete_by_pages(n, 11);
	for (size_t i = 0; i < n; i++)
		free(keys[i]);
}
END_TEST

/* ---- races of threads ---- */

struct race {
	pthread_barrier_t barrier;
	atomic_int won, lost, other;
	char etag[OBJECT_ETAG_MAX];
	char key[32];
	int winner;
	bool match;
};

struct racer {
	struct race *race;
	pthread_t thread;
	int id;
};

static void *
race_once(void *arg)
{
	struct racer *r = arg;
	struct race *race = r->race;
	char text[16];
	int rc;

	/* another text in each race: etags may be made from the content */
	(void)snprintf(text, sizeof(text), "%c%d", race->match ? 'm' : 'a', r->id);
	pthread_barrier_wait(&race->barrier);
	rc = rig_put_on(rig_loops[r->id % RIG_LOOPS], race->key, text, strlen(text), !race->match,
			race->match ? race->etag : NULL, NULL);
	if (!rc) {
		race->won++;
		race->winner = r->id;
	} else if (rc == (race->match ? LG_ECONFLICT : -EEXIST)) {
		race->lost++;
	} else {
		race->other++;
	}
	return NULL;
}

static void
race_round(struct race *race)
{
	struct racer racers[RACERS];
	char text[16];

	race->won = race->lost = race->other = 0;
	ck_assert_int_eq(pthread_barrier_init(&race->barrier, NULL, RACERS), 0);
	for (int i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){.race = race, .id = i};
		ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race_once, &racers[i]), 0);
	}
	for (int i = 0; i < RACERS; i++)
		pthread_join(racers[i].thread, NULL);
	pthread_barrier_destroy(&race->barrier);
	ck_assert_int_eq(race->won, 1);
	ck_assert_int_eq(race->lost, RACERS - 1);
	ck_assert_int_eq(race->other, 0);
	(void)snprintf(text, sizeof(text), "%c%d", race->match ? 'm' : 'a', race->winner);
	rig_expect(race->key, text);
}

START_TEST(test_race)
{
	struct race race = {.match = false};
	struct object_req req;

	rig_open(_i);
	for (int round = 0; round < ROUNDS; round++) {
		(void)snprintf(race.key, sizeof(race.key), "r%d/root", round);
		race.match = false;
		race_round(&race);
		ck_assert_int_eq(rig_head(race.key, &req), 0);
		memcpy(race.etag, req.etag, sizeof(race.etag));
		race.match = true;
		race_round(&race);
	}
}
END_TEST

static atomic_bool stop;

/* objects of one directory come and go: the directory with them */
static void *
churn(void *arg)
{
	int id = *(int *)arg;
	char key[32];
	const char *keys[] = {key};

	(void)snprintf(key, sizeof(key), "x/y/z/k%d", id);
	for (int i = 0; i < 40; i++) {
		ck_assert_int_eq(rig_put_on(rig_loops[id % RIG_LOOPS], key, "1", 1, i & 1, NULL, NULL), 0);
		rig_expect(key, "1");
		ck_assert_int_eq(rig_delete(keys, 1), 0);
	}
	return NULL;
}

/* a reader sees one whole object or another */
static void *
read_whole(void *arg)
{
	static _Thread_local uint8_t buf[65536];
	struct object_req req;

	(void)arg;
	while (!stop) {
		int rc = rig_get("whole", 0, 0, buf, sizeof(buf), &req);

		/* rename(2) leaves no moment without the name; somebody who cleans /tmp does */
		ck_assert_msg(!rc, "GET of an object that is being replaced: %s; its folder %s is %s",
			      err_name(rc), rig_folder, access(rig_folder, F_OK) ? "gone" : "there");
		ck_assert(req.size == 1000 || req.size == 65536);
		ck_assert(!memcmp(buf, buf + 1, req.size - 1));
		ck_assert_uint_eq(buf[0] & 1, req.size == 1000);
	}
	return NULL;
}

START_TEST(test_concurrent)
{
	pthread_t churners[4], reader;
	int ids[4];
	uint8_t *data = malloc(65536);

	rig_open(_i);
	stop = false;
	memset(data, 0, 65536);
	ck_assert_int_eq(rig_put_on(rig_loops[0], "whole", data, 65536, false, NULL, NULL), 0);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_whole, NULL), 0);
	for (int i = 0; i < 4; i++) {
		ids[i] = i;
		ck_assert_int_eq(pthread_create(&churners[i], NULL, churn, &ids[i]), 0);
	}
	for (unsigned i = 1; i < 100; i++) {
		memset(data, (int)i, 65536);
		ck_assert_int_eq(
			rig_put_on(rig_loops[0], "whole", data, i & 1 ? 1000 : 65536, false, NULL, NULL), 0);
	}
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(churners[i], NULL);
	pthread_join(reader, NULL);
	free(data);
}
END_TEST

START_TEST(test_mem_is_shared)
{
	struct object_store *first;

	rig_open(RIG_MEM);
	ck_assert_int_eq(rig_put("a", "1"), 0);
	first = rig_store;
	ck_assert_int_eq(object_store_open(rig_url, NULL, false, &rig_store, NULL), 0);
	rig_expect("a", "1");
	object_store_free(first);
	rig_expect("a", "1");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("object");
	TCase *tc = tcase_create("contract");
	SRunner *sr = srunner_create(s);
	int failed, kinds = rig_kinds();

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, rig_setup, rig_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_put_get_head, 0, kinds);
	tcase_add_loop_test(tc, test_ranges, 0, kinds);
	tcase_add_loop_test(tc, test_big, 0, kinds);
	tcase_add_loop_test(tc, test_keys, 0, kinds);
	tcase_add_loop_test(tc, test_conditions, 0, kinds);
	/* those of s3 come from the content */
	tcase_add_loop_test(tc, test_etags, 0, RIG_S3);
	tcase_add_loop_test(tc, test_delete, 0, kinds);
	tcase_add_loop_test(tc, test_list, 0, kinds);
	tcase_add_loop_test(tc, test_race, 0, kinds);
	tcase_add_loop_test(tc, test_concurrent, 0, kinds);
	tcase_add_test(tc, test_mem_is_shared);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
