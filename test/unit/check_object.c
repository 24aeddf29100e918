/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contract of stores/object/object.h against every store, and what is particular to the dir store.
 * Called as "check_object --race URL ID N" it is the other process of the race tests.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/util.h"
#include "stores/object/object.h"
#include "test/lib/simfs.h"

#define LOOPS 4
#define RACERS 16
#define ROUNDS 20

extern char **environ;

enum kind { KIND_MEM, KIND_DIR, KIND_SIM, KIND_COUNT };

static struct loop *loops[LOOPS];
static struct object_store *store;
static struct simfs *fs;
static char folder[64];
static char url[128];

/* ---- fixture ---- */

static int
start_loops(void)
{
	int rc = loop_pool_init(0);

	for (unsigned i = 0; i < LOOPS && !rc; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "test%u", i);
		rc = loop_new(name, i, &loops[i]);
		if (!rc)
			rc = loop_start(loops[i]);
	}
	return rc;
}

static void
stop_loops(void)
{
	for (unsigned i = 0; i < LOOPS; i++)
		loop_free(loops[i]);
}

static void
open_kind(int kind)
{
	static unsigned count;
	struct errinfo info = {0};

	if (kind == KIND_MEM)
		(void)snprintf(url, sizeof(url), "mem:%u", count++);
	else if (kind == KIND_DIR)
		(void)snprintf(url, sizeof(url), "dir:%s/store", folder);
	else
		(void)snprintf(url, sizeof(url), "dir:/a/store");
	ck_assert_msg(!object_store_open(url, kind == KIND_SIM ? simfs_vfs(fs) : NULL, true, &store, &info),
		      "%s", info.text);
}

static void
setup(void)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/check_object-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	fs = simfs_new();
	ck_assert_int_eq(start_loops(), 0);
}

static void
remove_folder(void)
{
	char *argv[] = {(char[]){"rm"}, (char[]){"-rf"}, folder, NULL};
	pid_t pid;
	int status;

	ck_assert_int_eq(posix_spawnp(&pid, "rm", NULL, NULL, argv, environ), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

static void
teardown(void)
{
	object_store_free(store);
	store = NULL;
	stop_loops();
	loop_pool_fini();
	simfs_free(fs);
	remove_folder();
}

/* ---- calls ---- */

static int
put_on(struct loop *loop, const char *key, const void *p, size_t n, bool if_absent, const char *if_match,
       char *etag)
{
	struct iovec iov = {(void *)(uintptr_t)p, n};
	struct object_req req = {.store = store,
				 .op = OBJECT_PUT,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .if_absent = if_absent,
				 .if_match = if_match};
	int rc = object_call(loop, &req);

	/* no assertions here: the other process calls it too */
	if (!rc && !req.etag[0])
		rc = -EBADMSG;
	if (!rc && etag)
		memcpy(etag, req.etag, OBJECT_ETAG_MAX);
	return rc;
}

static int
put(const char *key, const char *text)
{
	return put_on(loops[0], key, text, strlen(text), false, NULL, NULL);
}

static int
get(const char *key, uint64_t offset, uint64_t length, void *buf, size_t room, struct object_req *ret)
{
	struct iovec iov = {buf, room};
	struct object_req req = {.store = store,
				 .op = OBJECT_GET,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .offset = offset,
				 .length = length};
	int rc = object_call(loops[1], &req);

	if (ret)
		*ret = req;
	return rc;
}

static int
head(const char *key, struct object_req *ret)
{
	struct object_req req = {.store = store, .op = OBJECT_HEAD, .key = key};
	int rc = object_call(loops[2], &req);

	*ret = req;
	return rc;
}

static int
delete_keys(const char *const *keys, size_t n)
{
	struct object_req req = {.store = store, .op = OBJECT_DELETE, .keys = keys, .nkeys = n};

	return object_call(loops[3], &req);
}

static int
list(const char *prefix, const char *after, size_t max, struct object_req *ret)
{
	*ret = (struct object_req){
		.store = store, .op = OBJECT_LIST, .key = prefix, .start_after = after, .max_keys = max};
	return object_call(loops[0], ret);
}

static void
expect(const char *key, const char *text)
{
	char buf[256];
	struct object_req req;

	ck_assert_int_eq(get(key, 0, 0, buf, sizeof(buf), &req), 0);
	ck_assert_uint_eq(req.size, strlen(text));
	ck_assert(!memcmp(buf, text, strlen(text)));
}

/* ---- the contract ---- */

START_TEST(test_put_get_head)
{
	struct object_req a, b;
	char etag[OBJECT_ETAG_MAX], buf[64];

	open_kind(_i);
	ck_assert_int_eq(get("x/y", 0, 0, buf, sizeof(buf), &a), -ENOENT);
	ck_assert_int_eq(head("x/y", &a), -ENOENT);
	ck_assert_int_eq(put_on(loops[0], "x/y", "hello", 5, false, NULL, etag), 0);
	ck_assert_int_eq(head("x/y", &a), 0);
	ck_assert_uint_eq(a.size, 5);
	ck_assert_str_eq(a.etag, etag);
	ck_assert_int_eq(get("x/y", 0, 0, buf, sizeof(buf), &b), 0);
	ck_assert_str_eq(b.etag, etag);
	expect("x/y", "hello");
	ck_assert_int_eq(put("x/y", "good bye"), 0);
	expect("x/y", "good bye");
	ck_assert_int_eq(head("x/y", &b), 0);
	ck_assert_str_ne(a.etag, b.etag);
	/* the directory of an object is no object, and neither is what would lie below one */
	ck_assert_int_eq(head("x", &a), -ENOENT);
	ck_assert_int_eq(get("x", 0, 0, buf, sizeof(buf), &a), -ENOENT);
	ck_assert_int_eq(head("x/y/z", &a), -ENOENT);
	ck_assert_uint_eq(atomic_load(&store->stats.ops[OBJECT_PUT]), 2);
	ck_assert_uint_eq(atomic_load(&store->stats.bytes_put), 13);
	ck_assert_uint_eq(atomic_load(&store->stats.errors[OBJECT_HEAD]), 3);
}
END_TEST

START_TEST(test_ranges)
{
	char buf[16] = "";
	struct object_req req;

	open_kind(_i);
	ck_assert_int_eq(put("k", "0123456789"), 0);
	ck_assert_int_eq(get("k", 3, 4, buf, sizeof(buf), &req), 0);
	ck_assert(!memcmp(buf, "3456\0", 5));
	ck_assert_uint_eq(req.size, 10);
	ck_assert_int_eq(get("k", GET_SUFFIX, 3, buf, sizeof(buf), NULL), 0);
	ck_assert(!memcmp(buf, "7896", 4));
	ck_assert_int_eq(get("k", 0, 10, buf, 10, NULL), 0);
	ck_assert_int_eq(get("k", 0, 0, buf, 10, NULL), 0);
	ck_assert_int_eq(get("k", 0, 0, buf, 9, NULL), -EFBIG);
	ck_assert_int_eq(get("k", 0, 11, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(get("k", 10, 1, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(get("k", UINT64_MAX - 1, 1, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(get("k", GET_SUFFIX, 11, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(get("k", 0, 11, buf, 10, NULL), -EINVAL);
	ck_assert_int_eq(get("k", 1, 0, buf, sizeof(buf), NULL), -EINVAL);
	ck_assert_int_eq(get("k", GET_SUFFIX - 1, 3, buf, sizeof(buf), NULL), -EINVAL);
	/* nothing at all */
	ck_assert_int_eq(put("empty", ""), 0);
	ck_assert_int_eq(head("empty", &req), 0);
	ck_assert_uint_eq(req.size, 0);
	ck_assert_int_eq(get("empty", 0, 0, buf, sizeof(buf), &req), 0);
	ck_assert_uint_eq(req.size, 0);
	ck_assert_int_eq(get("empty", 0, 1, buf, sizeof(buf), NULL), -ENODATA);
	ck_assert_int_eq(get("empty", 0, 0, NULL, 0, NULL), 0);
}
END_TEST

START_TEST(test_big)
{
	size_t n = (9u << 20) + 12345;
	uint8_t *data = malloc(n), *got = malloc(n);
	struct iovec *iov = calloc(n / 1000 + 1, sizeof(*iov));
	struct object_req req = {.op = OBJECT_PUT, .key = "big/one", .iov = iov};

	open_kind(_i);
	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 12));
	for (size_t at = 0; at < n; at += 1000)
		iov[req.niov++] = (struct iovec){data + at, min_of((size_t)1000, n - at)};
	ck_assert_int_gt(req.niov, 2048);
	req.store = store;
	ck_assert_int_eq(object_call(loops[0], &req), 0);
	for (int i = 0; i < req.niov; i++)
		iov[i].iov_base = got + (size_t)i * 1000;
	req.op = OBJECT_GET;
	req.length = n;
	ck_assert_int_eq(object_call(loops[1], &req), 0);
	ck_assert(!memcmp(data, got, n));
	memset(got, 0, n);
	req.offset = 4096 * 7 + 1;
	req.length = 3u << 20;
	ck_assert_int_eq(object_call(loops[1], &req), 0);
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

	open_kind(_i);
	ck_assert(!object_key_valid(NULL));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_msg(!object_key_valid(bad[i]), "%s", bad[i]);
		ck_assert_int_eq(put(bad[i], "x"), -EINVAL);
		ck_assert_int_eq(head(bad[i], &req), -EINVAL);
		ck_assert_int_eq(get(bad[i], 0, 0, key, 1, NULL), -EINVAL);
		ck_assert_int_eq(delete_keys(&bad[i], 1), -EINVAL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(object_key_valid(good[i]), "%s", good[i]);
	memset(key, 'k', sizeof(key));
	for (size_t i = 100; i < OBJECT_KEY_MAX; i += 100)
		key[i] = '/';
	key[OBJECT_KEY_MAX] = '\0';
	ck_assert_int_eq(put(key, "long"), 0);
	expect(key, "long");
	key[OBJECT_KEY_MAX] = 'k';
	key[OBJECT_KEY_MAX + 1] = '\0';
	ck_assert_int_eq(put(key, "longer"), -EINVAL);
	/* arguments */
	ck_assert_int_eq(list("", NULL, 0, &req), -EINVAL);
	ck_assert_int_eq(list("", NULL, 1001, &req), -EINVAL);
	ck_assert_int_eq(list("a//", NULL, 1, &req), -EINVAL);
	ck_assert_int_eq(list("../", NULL, 1, &req), -EINVAL);
	ck_assert_int_eq(put_on(loops[0], "a", "x", 1, true, "etag", NULL), -EINVAL);
	ck_assert_int_eq(put_on(loops[0], "a", "x", 1, false, "", NULL), -EINVAL);
}
END_TEST

START_TEST(test_conditions)
{
	char first[OBJECT_ETAG_MAX], second[OBJECT_ETAG_MAX];
	const char *key = "d/c";

	open_kind(_i);
	ck_assert_int_eq(put_on(loops[0], key, "1", 1, false, "nonsense", NULL), -ENOENT);
	ck_assert_int_eq(put_on(loops[0], key, "1", 1, true, NULL, first), 0);
	ck_assert_int_eq(put_on(loops[0], key, "2", 1, true, NULL, NULL), -EEXIST);
	expect(key, "1");
	ck_assert_int_eq(put_on(loops[0], key, "2", 1, false, "nonsense", NULL), LG_ECONFLICT);
	ck_assert_int_eq(put_on(loops[0], key, "2", 1, false, first, second), 0);
	ck_assert_str_ne(first, second);
	ck_assert_int_eq(put_on(loops[0], key, "3", 1, false, first, NULL), LG_ECONFLICT);
	expect(key, "2");
	ck_assert_int_eq(delete_keys(&key, 1), 0);
	ck_assert_int_eq(put_on(loops[0], key, "3", 1, false, second, NULL), -ENOENT);
	ck_assert_int_eq(put_on(loops[0], key, "4", 1, true, NULL, second), 0);
	ck_assert_int_eq(put_on(loops[0], key, "5", 1, false, first, NULL), LG_ECONFLICT);
	expect(key, "4");
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

	open_kind(_i);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(put_on(loops[0], i % 3 ? "root" : "other", i & 1 ? "A" : "B", 1, false, NULL,
					etags[i]),
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

	open_kind(_i);
	for (unsigned i = 0; i < OBJECT_DELETE_MAX; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "v/c/%02x/%u", i & 7, i);
		keys[i] = names[i];
	}
	keys[OBJECT_DELETE_MAX] = "x";
	for (unsigned i = 0; i < 60; i++)
		ck_assert_int_eq(put(keys[i], "x"), 0);
	ck_assert_int_eq(put("v/keep", "x"), 0);
	ck_assert_int_eq(delete_keys(keys, OBJECT_DELETE_MAX + 1), -EINVAL);
	ck_assert_int_eq(delete_keys(keys, 0), 0);
	/* most of them are not there: no error */
	ck_assert_int_eq(delete_keys(keys, OBJECT_DELETE_MAX), 0);
	ck_assert_int_eq(list("", NULL, 10, &req), 0);
	ck_assert_uint_eq(req.nentries, 1);
	ck_assert_str_eq(req.entries[0].key, "v/keep");
	object_entries_free(req.entries, req.nentries);
	/* and it can all be made again */
	ck_assert_int_eq(put_on(loops[0], keys[0], "y", 1, true, NULL, NULL), 0);
	expect(keys[0], "y");
	keys[0] = "v";
	keys[1] = "v/keep/below";
	ck_assert_int_eq(delete_keys(keys, 2), 0);
	expect("v/keep", "x");
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
check_listing(char *const *keys, size_t n, const char *prefix, const char *after, size_t max)
{
	char last[OBJECT_KEY_MAX + 1];
	const char *at = after;
	size_t i = 0;
	struct object_req req;

	do {
		ck_assert_int_eq(list(prefix, at, max, &req), 0);
		ck_assert_uint_le(req.nentries, max);
		ck_assert(!req.truncated || req.nentries == max);
		for (size_t k = 0; k < req.nentries; k++, i++) {
			while (i < n && (strncmp(keys[i], prefix, strlen(prefix)) ||
					 (after && strcmp(keys[i], after) <= 0)))
				i++;
			ck_assert_msg(i < n, "prefix %s after %s: %s too many", prefix, after,
				      req.entries[k].key);
			ck_assert_str_eq(req.entries[k].key, keys[i]);
			ck_assert_uint_eq(req.entries[k].size, strlen(keys[i]));
			(void)snprintf(last, sizeof(last), "%s", keys[i]);
			at = last;
		}
		object_entries_free(req.entries, req.nentries);
	} while (req.truncated);
	for (; i < n; i++)
		ck_assert_msg(strncmp(keys[i], prefix, strlen(prefix)) ||
				      (after && strcmp(keys[i], after) <= 0),
			      "prefix %s after %s: %s is missing", prefix, after ? after : "-", keys[i]);
}

START_TEST(test_list)
{
	static const char *const prefixes[] = {"",     "a",      "a/", "a-",      "a.b/a",
					       "b/B/", "B/B/B/", "z",  "a/a/af1", "_"};
	static const char *const afters[] = {NULL,   "",      "a",      "a/",  "a0",
					     "a/a/", "a/zzz", "b/B/_f", "zzz", "A"};
	static const size_t maxes[] = {1, 3, 7, 1000};
	enum { N = 150 };
	char *keys[N];
	size_t n = make_keys(keys, N);

	open_kind(_i);
	check_listing(keys, 0, "", NULL, 1);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(put(keys[(i * 97) % n], keys[(i * 97) % n]), 0);
	for (size_t m = 0; m < ARRAY_SIZE(maxes); m++)
		for (size_t p = 0; p < ARRAY_SIZE(prefixes); p++)
			for (size_t a = 0; a < ARRAY_SIZE(afters); a++)
				if (maxes[m] > 3 || (p + a) % 3 == 0)
					check_listing(keys, n, prefixes[p], afters[a], maxes[m]);
	/* truncated means that there is more: not after exactly the last one */
	check_listing(keys, n, "", NULL, n);
	check_listing(keys, n, "", NULL, n - 1);
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

	(void)snprintf(text, sizeof(text), "%d", r->id);
	pthread_barrier_wait(&race->barrier);
	rc = put_on(loops[r->id % LOOPS], race->key, text, strlen(text), !race->match,
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
	(void)snprintf(text, sizeof(text), "%d", race->winner);
	expect(race->key, text);
}

START_TEST(test_race)
{
	struct race race = {.match = false};
	struct object_req req;

	open_kind(_i);
	for (int round = 0; round < ROUNDS; round++) {
		(void)snprintf(race.key, sizeof(race.key), "r%d/root", round);
		race.match = false;
		race_round(&race);
		ck_assert_int_eq(head(race.key, &req), 0);
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
		ck_assert_int_eq(put_on(loops[id % LOOPS], key, "1", 1, i & 1, NULL, NULL), 0);
		expect(key, "1");
		ck_assert_int_eq(delete_keys(keys, 1), 0);
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
		ck_assert_int_eq(get("whole", 0, 0, buf, sizeof(buf), &req), 0);
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

	open_kind(_i);
	stop = false;
	memset(data, 0, 65536);
	ck_assert_int_eq(put_on(loops[0], "whole", data, 65536, false, NULL, NULL), 0);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_whole, NULL), 0);
	for (int i = 0; i < 4; i++) {
		ids[i] = i;
		ck_assert_int_eq(pthread_create(&churners[i], NULL, churn, &ids[i]), 0);
	}
	for (unsigned i = 1; i < 100; i++) {
		memset(data, (int)i, 65536);
		ck_assert_int_eq(put_on(loops[0], "whole", data, i & 1 ? 1000 : 65536, false, NULL, NULL), 0);
	}
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(churners[i], NULL);
	pthread_join(reader, NULL);
	free(data);
}
END_TEST

/* ---- races of processes ---- */

static int
count_up(int id)
{
	char buf[32], text[32];
	struct object_req req;
	int rc;

	for (;;) {
		rc = get("counter", 0, 0, buf, sizeof(buf) - 1, &req);
		if (rc)
			return rc;
		buf[req.size] = '\0';
		(void)snprintf(text, sizeof(text), "%04ld", strtol(buf, NULL, 10) + 1);
		rc = put_on(loops[id % LOOPS], "counter", text, strlen(text), false, req.etag, NULL);
		if (rc != LG_ECONFLICT)
			return rc;
	}
}

/* create-if-absent of n keys: how many were ours; and count up n times */
static int
race_process(int id, int n, int *ret_won)
{
	*ret_won = 0;
	for (int i = 0; i < n; i++) {
		char key[32];
		int rc;

		(void)snprintf(key, sizeof(key), "p/%d/%d", i % 5, i);
		rc = put_on(loops[id % LOOPS], key, "x", 1, true, NULL, NULL);
		if (rc && rc != -EEXIST)
			return rc;
		*ret_won += !rc;
		rc = count_up(id);
		if (rc)
			return rc;
	}
	return 0;
}

/* the other process: prints how many it won */
static int
race_main(char **argv)
{
	int won, rc;

	rc = start_loops();
	if (!rc)
		rc = object_store_open(argv[2], NULL, false, &store, NULL);
	if (!rc)
		rc = race_process((int)strtol(argv[3], NULL, 10), (int)strtol(argv[4], NULL, 10), &won);
	object_store_free(store);
	stop_loops();
	loop_pool_fini();
	if (rc) {
		(void)fprintf(stderr, "racing process: %s\n", err_text(rc));
		return 1;
	}
	(void)printf("%d\n", won);
	return 0;
}

START_TEST(test_processes)
{
	enum { N = 40 };
	char self[] = "/proc/self/exe", text[32] = "", n[8];
	char *argv[] = {self, (char[]){"--race"}, url, (char[]){"1"}, n, NULL};
	posix_spawn_file_actions_t actions;
	int fds[2], won, status;
	pid_t pid;

	open_kind(KIND_DIR);
	ck_assert_int_eq(put("counter", "0000"), 0);
	(void)snprintf(n, sizeof(n), "%d", N);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	ck_assert_int_eq(posix_spawn(&pid, self, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	ck_assert_int_eq(race_process(0, N, &won), 0);
	ck_assert_int_gt(read(fds[0], text, sizeof(text) - 1), 0);
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_eq(won + strtol(text, NULL, 10), N);
	(void)snprintf(text, sizeof(text), "%04d", 2 * N);
	expect("counter", text);
}
END_TEST

/* ---- the dir store: power cuts ---- */

static int
no_sync(struct vfs_file *file, bool data_only)
{
	(void)file;
	(void)data_only;
	return 0;
}

static int
no_sync_dir(struct vfs *vfs, const char *path)
{
	(void)vfs;
	(void)path;
	return 0;
}

struct crash_case {
	const char *key;
	bool old;    /* there is an object before */
	bool absent; /* PUT with if_absent */
	bool remove; /* not a PUT but a DELETE */
};

static uint8_t old_body[5000], new_body[20000];

/* 'o' or 'n' when it is whole, '-' when there is none, '?' else */
static char
what_is_there(const char *key)
{
	static uint8_t buf[32768];
	struct object_req req;
	int rc = get(key, 0, 0, buf, sizeof(buf), &req);

	if (rc == -ENOENT)
		return '-';
	if (!rc && req.size == sizeof(old_body) && !memcmp(buf, old_body, sizeof(old_body)))
		return 'o';
	return !rc && req.size == sizeof(new_body) && !memcmp(buf, new_body, sizeof(new_body)) ? 'n' : '?';
}

static int
crash_change(const struct crash_case *c)
{
	if (c->remove)
		return delete_keys(&c->key, 1);
	return put_on(loops[0], c->key, new_body, sizeof(new_body), c->absent, NULL, NULL);
}

/* The power goes at the n-th mutating call of the change (0: right after done).  True when what is there then
 * is what the contract allows; *ret_done when the change was done before. */
static bool
crash_once(const struct crash_case *c, uint64_t n, uint64_t seed, const struct vfs_ops *lie, bool *ret_done)
{
	struct vfs *vfs;
	char found, was = c->old ? 'o' : '-', will = c->remove ? '-' : 'n';

	fs = simfs_new();
	vfs = simfs_vfs(fs);
	open_kind(KIND_SIM);
	if (c->old)
		ck_assert_int_eq(put_on(loops[0], c->key, old_body, sizeof(old_body), false, NULL, NULL), 0);
	if (lie) {
		object_store_free(store);
		vfs->ops = lie;
		open_kind(KIND_SIM);
	}
	simfs_cut_after(fs, n);
	*ret_done = crash_change(c) == 0;
	simfs_power_off(fs);
	object_store_free(store);
	simfs_power_cut(fs, seed);
	open_kind(KIND_SIM);
	found = what_is_there(c->key);
	object_store_free(store);
	store = NULL;
	simfs_free(fs);
	fs = NULL;
	return found == will || (!*ret_done && found == was);
}

/* how many of all the crashes broke the contract */
static unsigned
crash_everywhere(const struct crash_case *c, const struct vfs_ops *lie)
{
	unsigned broken = 0;
	bool done = false;

	for (uint64_t n = 1; !done; n++)
		for (uint64_t seed = 0; seed < 4; seed++)
			broken += !crash_once(c, n, seed * 1000 + n, lie, &done);
	for (uint64_t seed = 0; seed < 16; seed++)
		broken += !crash_once(c, 0, seed, lie, &done);
	return broken;
}

static const struct crash_case crash_cases[] = {
	{"a/b/c", true, false, false}, {"a/b/c", false, false, false}, {"a/b/c", false, true, false},
	{"k", true, false, false},     {"k", false, true, false},      {"a/b/c", true, false, true},
	{"k", true, false, true},
};

START_TEST(test_power_cut)
{
	simfs_free(fs);
	memset(old_body, 'o', sizeof(old_body));
	memset(new_body, 'n', sizeof(new_body));
	ck_assert_uint_eq(crash_everywhere(&crash_cases[_i], NULL), 0);
}
END_TEST

/* the test above can fail: a disk that only pretends to sync is found out */
START_TEST(test_power_cut_detects)
{
	struct vfs_ops lie = *simfs_vfs(fs)->ops;

	simfs_free(fs);
	memset(old_body, 'o', sizeof(old_body));
	memset(new_body, 'n', sizeof(new_body));
	lie.fsync = no_sync;
	ck_assert_uint_gt(crash_everywhere(&crash_cases[0], &lie), 0);
	fs = simfs_new();
	lie.fsync = simfs_vfs(fs)->ops->fsync;
	simfs_free(fs);
	lie.fsync_dir = no_sync_dir;
	ck_assert_uint_gt(crash_everywhere(&crash_cases[1], &lie), 0);
	fs = NULL;
}
END_TEST

/* a directory that another process removed and made anew is not taken for durable */
START_TEST(test_directory_made_anew)
{
	struct object_store *other, *mine;
	const char *first = "d/e/1", *second = "d/e/2";

	for (uint64_t seed = 0; seed < 20; seed++) {
		simfs_free(fs);
		fs = simfs_new();
		open_kind(KIND_SIM);
		mine = store;
		ck_assert_int_eq(put(first, "1"), 0);
		open_kind(KIND_SIM);
		other = store;
		ck_assert_int_eq(delete_keys(&first, 1), 0);
		/* it makes the directory and dies */
		ck_assert_int_eq(simfs_vfs(fs)->ops->mkdir(simfs_vfs(fs), "/a/store/d", 0700), 0);
		ck_assert_int_eq(simfs_vfs(fs)->ops->mkdir(simfs_vfs(fs), "/a/store/d/e", 0700), 0);
		store = mine;
		ck_assert_int_eq(put(second, "2"), 0);
		simfs_power_off(fs);
		simfs_power_cut(fs, seed);
		expect(second, "2");
		object_store_free(mine);
		object_store_free(other);
		store = NULL;
	}
}
END_TEST

/* ---- the dir store: errors ---- */

static int
count_entry(void *arg, const char *name, bool is_dir)
{
	(void)name;
	(void)is_dir;
	++*(unsigned *)arg;
	return 0;
}

static unsigned
count_tmp(void)
{
	unsigned n = 0;

	ck_assert_int_eq(simfs_vfs(fs)->ops->readdir(simfs_vfs(fs), "/a/store/.tmp", count_entry, &n), 0);
	return n;
}

START_TEST(test_errors)
{
	static uint8_t body[100000];
	static const struct {
		enum simfs_op op;
		int err;
	} faults[] = {{SIMFS_WRITE, -ENOSPC}, {SIMFS_WRITE, -EDQUOT},   {SIMFS_FSYNC, -EIO},
		      {SIMFS_OPEN, -EROFS},   {SIMFS_OPEN, -EACCES},    {SIMFS_RENAME, -EIO},
		      {SIMFS_FLOCK, -ENOLCK}, {SIMFS_SET_MTIME, -EPERM}};
	char got[8];

	open_kind(KIND_SIM);
	ck_assert_int_eq(put("d/k", "old"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		simfs_fail_next(fs, faults[i].op, faults[i].err, 0);
		ck_assert_int_eq(put_on(loops[0], "d/k", body, sizeof(body), false, NULL, NULL),
				 faults[i].err);
		expect("d/k", "old");
		ck_assert_uint_eq(count_tmp(), 0);
	}
	simfs_fail_next(fs, SIMFS_FSYNC_DIR, -EIO, 0);
	ck_assert_int_eq(put_on(loops[0], "d/k", body, sizeof(body), false, NULL, NULL), -EIO);
	ck_assert_int_eq(put("d/k", "old"), 0);
	simfs_fail_next(fs, SIMFS_READ, -EIO, 0);
	ck_assert_int_eq(get("d/k", 0, 0, got, sizeof(got), NULL), -EIO);
	simfs_set_space(fs, simfs_used(fs) + 8192);
	ck_assert_int_eq(put_on(loops[0], "d/k", body, sizeof(body), false, NULL, NULL), -ENOSPC);
	expect("d/k", "old");
	ck_assert_uint_eq(count_tmp(), 0);
	/* a key in the way */
	simfs_set_space(fs, UINT64_MAX);
	ck_assert_int_eq(put("d/k/x", "1"), -ENOTDIR);
	ck_assert_int_eq(put("d", "1"), -EISDIR);
	ck_assert_int_eq(put_on(loops[0], "d", "1", 1, true, NULL, NULL), -EISDIR);
	expect("d/k", "old");
	ck_assert_uint_eq(count_tmp(), 0);
}
END_TEST

static void
expect_words(const char *u, bool create, int rc, const char *word)
{
	struct errinfo info = {0};

	store = NULL;
	ck_assert_int_eq(object_store_open(u, simfs_vfs(fs), create, &store, &info), rc);
	ck_assert_msg(strstr(info.text, word), "\"%s\" does not say \"%s\"", info.text, word);
	ck_assert_msg(!strncmp(u, "dir:/", 5) ? strstr(info.text, u) != NULL : true,
		      "\"%s\" does not name it", info.text);
}

START_TEST(test_open)
{
	struct vfs *vfs = simfs_vfs(fs);
	struct vfs_file *f;

	expect_words("dir:/none/here", false, -ENOENT, "create the directory");
	expect_words("dir:relative", true, LG_ECONFIG, "absolute");
	expect_words("ftp://x", true, LG_ECONFIG, "dir:/path");
	ck_assert_int_eq(vfs->ops->open(vfs, "/file", O_RDWR | O_CREAT, 0600, &f), 0);
	vfs->ops->close(f);
	expect_words("dir:/file", false, -ENOTDIR, "not a file");
	simfs_fail_next(fs, SIMFS_MKDIR, -EROFS, 0);
	expect_words("dir:/x", true, -EROFS, "read-write");
	ck_assert_int_eq(vfs_mkdirs(vfs, "/y", 0700), 0);
	simfs_fail_next(fs, SIMFS_MKDIR, -EACCES, 0);
	expect_words("dir:/y", false, -EACCES, "permission");
	simfs_fail_next(fs, SIMFS_OPEN, -ENOSPC, 1);
	expect_words("dir:/y", false, -ENOSPC, "free space");
	ck_assert_int_eq(object_store_open("/y", vfs, false, &store, NULL), 0);
	ck_assert_str_eq(store->url, "dir:/y");
	ck_assert_str_eq(store->ops->kind, "dir");
}
END_TEST

/* whole seconds are too coarse to tell objects apart */
static int
coarse_fstat(struct vfs_file *file, struct vfs_stat *ret)
{
	struct simfs *other = simfs_new();
	int rc = simfs_vfs(other)->ops->fstat(file, ret);

	simfs_free(other);
	ret->mtime_ns = ret->mtime_ns / 1000000000u * 1000000000u;
	return rc;
}

START_TEST(test_coarse_times)
{
	static struct vfs_ops coarse;

	coarse = *simfs_vfs(fs)->ops;
	coarse.fstat = coarse_fstat;
	simfs_vfs(fs)->ops = &coarse;
	expect_words("dir:/x", true, -ENOTSUP, "too coarsely");
}
END_TEST

/* what a crash left in .tmp goes when it is a day old; what is no object is not listed */
START_TEST(test_leftovers)
{
	static const char *const names[] = {"store/.tmp/old", "store/.tmp/new", "store/.hidden", "store/a b"};
	char path[128];
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct object_req req;

	open_kind(KIND_DIR);
	ck_assert_int_eq(put("a", "1"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int fd;

		(void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		ck_assert_int_ge(fd, 0);
		if (!i)
			ck_assert_int_eq(futimens(fd, times), 0);
		close(fd);
	}
	object_store_free(store);
	open_kind(KIND_DIR);
	(void)snprintf(path, sizeof(path), "%s/%s", folder, names[0]);
	ck_assert_int_eq(access(path, F_OK), -1);
	(void)snprintf(path, sizeof(path), "%s/%s", folder, names[1]);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(list("", NULL, 10, &req), 0);
	ck_assert_uint_eq(req.nentries, 1);
	ck_assert_str_eq(req.entries[0].key, "a");
	object_entries_free(req.entries, req.nentries);
}
END_TEST

/* the object's file is the object; the last object of a directory takes it along */
START_TEST(test_files)
{
	char path[128], text[8] = "";
	const char *keys[] = {"v/c/00/x"};
	int fd;

	open_kind(KIND_DIR);
	ck_assert_int_eq(put("v/c/00/x", "hello"), 0);
	ck_assert_int_eq(put("v/y", "hello"), 0);
	(void)snprintf(path, sizeof(path), "%s/store/v/c/00/x", folder);
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 5);
	ck_assert_str_eq(text, "hello");
	close(fd);
	ck_assert_int_eq(delete_keys(keys, 1), 0);
	(void)snprintf(path, sizeof(path), "%s/store/v/c", folder);
	ck_assert_int_eq(access(path, F_OK), -1);
	expect("v/y", "hello");
}
END_TEST

START_TEST(test_mem_is_shared)
{
	struct object_store *first;

	open_kind(KIND_MEM);
	ck_assert_int_eq(put("a", "1"), 0);
	first = store;
	ck_assert_int_eq(object_store_open(url, NULL, false, &store, NULL), 0);
	expect("a", "1");
	object_store_free(first);
	expect("a", "1");
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *s;
	TCase *tc, *dir;
	SRunner *sr;
	int failed;

	if (argc == 5 && !strcmp(argv[1], "--race"))
		return race_main(argv);
	s = suite_create("object");
	tc = tcase_create("contract");
	dir = tcase_create("dir");
	sr = srunner_create(s);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, dir);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_checked_fixture(dir, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_set_timeout(dir, 60);
	tcase_add_loop_test(tc, test_put_get_head, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_ranges, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_big, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_keys, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_conditions, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_etags, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_delete, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_list, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_race, 0, KIND_COUNT);
	tcase_add_loop_test(tc, test_concurrent, 0, KIND_COUNT);
	tcase_add_test(tc, test_mem_is_shared);
	tcase_add_test(dir, test_processes);
	tcase_add_loop_test(dir, test_power_cut, 0, ARRAY_SIZE(crash_cases));
	tcase_add_test(dir, test_power_cut_detects);
	tcase_add_test(dir, test_directory_made_anew);
	tcase_add_test(dir, test_errors);
	tcase_add_test(dir, test_open);
	tcase_add_test(dir, test_coarse_times);
	tcase_add_test(dir, test_leftovers);
	tcase_add_test(dir, test_files);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
