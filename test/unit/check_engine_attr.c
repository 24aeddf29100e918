/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attributes of a chunked volume: kept over restarts, crashes, a lost journal, a power cut and a move. */
#include "test/lib/enginetest.h"

static int
put(const char *key, const void *value, size_t len)
{
	return volume_put_attribute(rig.vol, key, value, len);
}

static int
put_text(const char *key, const char *text)
{
	return put(key, text, strlen(text));
}

/** What is there under this key; NULL: nothing may be. */
static void
has(const char *key, const void *want, size_t len)
{
	void *value;
	size_t got;

	ck_ok(volume_get_attribute(rig.vol, key, &value, &got));
	ck_assert_uint_eq(got, len);
	ck_assert(!value == !len);
	if (len)
		ck_assert_mem_eq(value, want, len);
	free(value);
}

static void
has_text(const char *key, const char *text)
{
	has(key, text, text ? strlen(text) : 0);
}

START_TEST(test_life)
{
	create_and_open();
	ck_assert(rig.vol->attributes);
	has_text("a", NULL);
	ck_ok(put_text("a", "one"));
	ck_ok(put_text("c", "three"));
	ck_ok(put_text("b", "two"));
	has_text("a", "one");
	has_text("b", "two");
	has_text("c", "three");
	ck_ok(put_text("b", "another"));
	ck_ok(put("a", NULL, 0));
	ck_ok(put("nothing", NULL, 0));
	for (unsigned i = 0; i < 4; i++) {
		has_text("a", NULL);
		has_text("b", "another");
		has_text("c", "three");
		has_text("nothing", NULL);
		if (i % 2)
			restart();
		else
			crash();
	}
	json_t *desc = volume_describe(rig.vol), *list = json_object_get(desc, "attributes");
	ck_assert_uint_eq(json_array_size(list), 2);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(list, 0), "key")), "b");
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(list, 1), "bytes")), 5);
	json_decref(desc);
	/* no longer in the root, nor in the journal */
	ck_ok(put("b", NULL, 0));
	ck_ok(put("c", NULL, 0));
	restart();
	has_text("b", NULL);
	crash();
	has_text("c", NULL);
}
END_TEST

/* Every length around a page, and the longest; read back from memory, journal and root. */
START_TEST(test_lengths)
{
	static const size_t lengths[] = {1, 4063, 4064, 4065, 8160, 8161, 100000, VOLUME_VALUE_MAX};
	uint8_t *value = malloc(VOLUME_VALUE_MAX);

	create_and_open();
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		fill(value, lengths[i], i);
		ck_ok(put("key", value, lengths[i]));
		has("key", value, lengths[i]);
		crash();
		has("key", value, lengths[i]);
		ck_ok(enginerig_commit(&rig));
		crash();
		has("key", value, lengths[i]);
	}
	free(value);
}
END_TEST

START_TEST(test_bounds)
{
	uint8_t *value = calloc(1, VOLUME_VALUE_MAX + 1);
	char key[8];

	create_and_open();
	ck_assert_int_eq(put("key", value, VOLUME_VALUE_MAX + 1), -EINVAL);
	ck_assert_int_eq(put("", value, 1), -EINVAL);
	ck_assert_int_eq(put(".key", value, 1), -EINVAL);
	ck_assert_int_eq(put("Key", value, 1), -EINVAL);
	ck_assert_int_eq(put("a key of 24 characters..", value, 1), -EINVAL);
	ck_assert_int_eq(put("012345678901234567890123", value, 1), -EINVAL);
	ck_ok(put("01234567890123456789012", value, 1));
	ck_ok(put("01234567890123456789012", NULL, 0));
	for (unsigned i = 0; i < VOLUME_ATTRIBUTES; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		ck_ok(put(key, value, 100));
	}
	ck_assert_int_eq(put("more", value, 1), -ENOSPC);
	ck_ok(put("k3", value, VOLUME_VALUE_MAX));
	/* all of them are not more than a megabyte */
	ck_assert_int_eq(put("k4", value, VOLUME_VALUE_MAX), -ENOSPC);
	ck_ok(put("k4", value, VOLUME_VALUE_MAX - 16 * 32 - 14 * 100));
	ck_assert_int_eq(put("k5", value, 101), -ENOSPC);
	has("k5", value, 100);
	ck_ok(put("k3", NULL, 0));
	ck_ok(put("more", value, VOLUME_VALUE_MAX));
	for (unsigned i = 0; i < 2; i++) {
		has("k3", NULL, 0);
		has("k5", value, 100);
		has("k15", value, 100);
		has("more", value, VOLUME_VALUE_MAX);
		if (i)
			restart();
		else
			crash();
	}
	free(value);
}
END_TEST

/* What a commit holds is what had been accepted when it was frozen; the journal has the rest. */
START_TEST(test_during_a_commit)
{
	create_and_open();
	ck_ok(put_text("key", "old"));
	ck_ok(put_text("other", "old"));
	fault(FAULT_HOLD, OBJECT_PUT, "v/root", 0, 0);
	enginerig_commit_begin(&rig);
	while (faultstore_hits(rig.store) == 0)
		ck_ok(call(VOL_FLUSH, 0, 0));
	ck_ok(put_text("key", "new"));
	ck_ok(put("other", NULL, 0));
	has_text("key", "new");
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	ck_assert(enginerig_wait(&rig, "commits", 1));
	crash();
	has_text("key", "new");
	has_text("other", NULL);
	/* and with that commit alone */
	ck_ok(put_text("key", "newer"));
	ck_ok(enginerig_commit(&rig));
	ck_ok(put_text("key", "lost"));
	enginerig_abandon(&rig);
	lose_journal();
	ck_assert_int_eq(enginerig_open(&rig), LG_ENOJOURNAL);
	rig.spec.accept_loss = true;
	ck_ok(enginerig_open(&rig));
	has_text("key", "newer");
	has_text("other", NULL);
}
END_TEST

struct both {
	struct vol_req req;
	_Atomic bool put, committed;
};

static void
both_put(struct vol_req *req)
{
	ck_assert_int_eq(req->status, 0);
	atomic_store(&container_of(req, struct both, req)->put, true);
}

static void
both_committed(void *arg, int status)
{
	ck_assert_int_eq(status, 0);
	atomic_store(&((struct both *)arg)->committed, true);
}

static int
both_begin(void *arg)
{
	struct both *both = arg;

	volume_submit(&both->req);
	chunked_commit(rig.vol, both_committed, both);
	return 0;
}

/* Accepted but not durable when the commit is frozen: it is in the root, which waits for the journal. */
START_TEST(test_accepted_and_frozen)
{
	struct both both = {.put = false};

	create_and_open();
	ck_ok(put_text("key", "old"));
	both.req = (struct vol_req){.vol = rig.vol,
				    .op = VOL_PUT_ATTRIBUTE,
				    .key = "key",
				    .value = (char[]){'n', 'e', 'w'},
				    .value_len = 3,
				    .done = both_put};
	(void)loop_call(rig.loop, both_begin, &both);
	while (!atomic_load(&both.put) || !atomic_load(&both.committed))
		ck_ok(call(VOL_FLUSH, 0, 0));
	enginerig_abandon(&rig);
	lose_journal();
	rig.spec.accept_loss = true;
	ck_ok(enginerig_open(&rig));
	has_text("key", "new");
}
END_TEST

/* The root is refused for a while, the answer of a swap is lost: it is in the root all the same. */
START_TEST(test_swap_fails)
{
	create_and_open();
	ck_ok(put_text("key", "value"));
	fault(FAULT_ERROR, OBJECT_PUT, "v/root", -EIO, 2);
	ck_ok(enginerig_commit(&rig));
	ck_ok(put_text("key", "another"));
	fault(FAULT_LOST_ANSWER, OBJECT_PUT, "v/root", -EIO, 1);
	ck_ok(enginerig_close(&rig));
	lose_journal();
	ck_ok(enginerig_open(&rig));
	has_text("key", "another");
}
END_TEST

/* Another gateway, with another journal disk: after a clean stop all of it is in the bucket. */
START_TEST(test_moves)
{
	create_and_open();
	ck_ok(put_text("key", "value"));
	ck_ok(enginerig_close(&rig));
	as_gateway(9, "/elsewhere");
	ck_ok(enginerig_open(&rig));
	ck_assert_int_eq(enginerig_stat(&rig, "replayed_entries"), 0);
	has_text("key", "value");
	ck_ok(put("key", NULL, 0));
	ck_ok(enginerig_close(&rig));
	as_gateway(8, "/third");
	ck_ok(enginerig_open(&rig));
	has_text("key", NULL);
}
END_TEST

/* A write cache is no excuse. */
START_TEST(test_power)
{
	uint8_t buf[4096];

	rig.spec.write_cache = true;
	create_and_open();
	for (unsigned i = 0; i < 20; i++) {
		char text[16];

		(void)snprintf(text, sizeof(text), "value %u", i);
		ck_ok(io(VOL_WRITE, i * MIB, sizeof(buf), memset(buf, (int)i, sizeof(buf))));
		ck_ok(put_text("key", text));
		enginerig_abandon(&rig);
		enginerig_power_cut(&rig, i);
		ck_ok(enginerig_open(&rig));
		has_text("key", text);
	}
}
END_TEST

START_TEST(test_read_only)
{
	uint8_t buf[4096] = {1};

	create_and_open();
	ck_ok(put_text("key", "value"));
	ck_ok(enginerig_close(&rig));
	rig.spec.read_only = true;
	ck_ok(enginerig_open(&rig));
	has_text("key", "value");
	ck_assert_int_eq(io(VOL_WRITE, 0, sizeof(buf), buf), -EROFS);
	ck_ok(put_text("key", "another"));
	crash();
	has_text("key", "another");
	restart();
	has_text("key", "another");
}
END_TEST

START_TEST(test_store)
{
	rig.spec.durability = VOL_DURABILITY_STORE;
	rig.spec.journal_dir = NULL;
	rig.spec.write_cache = true;
	create_and_open();
	ck_ok(put_text("key", "value"));
	ck_assert_int_ge(enginerig_stat(&rig, "commits"), 1);
	crash();
	has_text("key", "value");
	ck_ok(put("key", NULL, 0));
	crash();
	has_text("key", NULL);
}
END_TEST

/* What the journal does not take is not answered with success and not shown; a restart finds the old or the new. */
START_TEST(test_poisoned)
{
	int r = 0;
	void *value;
	size_t len;

	create_and_open();
	ck_ok(put_text("key", "old"));
	for (unsigned i = 0; r == 0 && i < 50; i++) {
		simfs_fail_next(rig.fs, SIMFS_FSYNC, -EIO, 0);
		r = put_text("key", "new");
		if (r == 0)
			r = put_text("key", "old");
	}
	simfs_fail_next(rig.fs, SIMFS_FSYNC, 0, 0);
	ck_assert_int_eq(r, LG_EPOISONED);
	ck_assert_int_eq(put_text("key", "new"), LG_EPOISONED);
	/* shown is what was answered with success last */
	ck_ok(volume_get_attribute(rig.vol, "key", &value, &len));
	ck_assert_uint_eq(len, 3);
	free(value);
	ck_assert_int_eq(enginerig_close(&rig), LG_EPOISONED);
	ck_ok(enginerig_open(&rig));
	ck_ok(volume_get_attribute(rig.vol, "key", &value, &len));
	ck_assert(len == 3 && (!memcmp(value, "old", 3) || !memcmp(value, "new", 3)));
	free(value);
	ck_ok(put_text("key", "at last"));
	crash();
	has_text("key", "at last");
}
END_TEST

/* Fenced: the new owner may have changed it. */
START_TEST(test_fenced)
{
	struct volume *first;
	void *value;
	size_t len;

	create_and_open();
	ck_ok(put_text("key", "old"));
	first = rig.vol;
	rig.vol = NULL;
	rig.spec.accept_loss = true;
	as_gateway(9, "/elsewhere");
	ck_ok(enginerig_open(&rig));
	has_text("key", NULL); /* only the first one's journal has it */
	struct volume *second = rig.vol;
	rig.vol = first;
	(void)enginerig_commit(&rig); /* it finds out */
	ck_assert_int_eq(first->health, LG_EFENCED);
	ck_assert_int_eq(volume_get_attribute(first, "key", &value, &len), LG_EFENCED);
	ck_assert_int_eq(put_text("key", "new"), LG_EFENCED);
	enginerig_abandon(&rig);
	rig.vol = second;
}
END_TEST

/* The store takes nothing and the journal is as full as writers may make it: they wait, an attribute does not. */
START_TEST(test_writers_held)
{
	enum { N = 80 };
	struct flood *floods = calloc(N, sizeof(*floods));
	_Atomic unsigned done = 0;
	char text[16];

	rig.params.journal_bytes = 16 * MIB;
	create_and_open();
	fault(FAULT_ERROR, OBJECT_PUT, "v/c/", -ENOSPC, 0);
	flood_writes(floods, N, &done);
	ck_assert(enginerig_wait(&rig, "writers_held", 1));
	for (unsigned i = 0; i < 10; i++) {
		(void)snprintf(text, sizeof(text), "fenced %u", i);
		ck_ok(put_text("key", text));
	}
	ck_assert_int_gt(enginerig_stat(&rig, "writers_waiting"), 0);
	has_text("key", text);
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	while (atomic_load(&done) < N)
		ck_ok(call(VOL_FLUSH, 0, 0));
	for (unsigned i = 0; i < N; i++)
		pages_unref(floods[i].pages, 64);
	free(floods);
	crash();
	has_text("key", text);
}
END_TEST

/* The arena is all in use: it waits, as writes do. */
START_TEST(test_small_arena)
{
	struct page *taken[8192];
	unsigned n = 0;
	uint8_t *value = malloc(VOLUME_VALUE_MAX);

	create_and_open();
	fill(value, VOLUME_VALUE_MAX, 1);
	while (n < ARRAY_SIZE(taken) && arena_alloc(rig.arena, &taken[n], 1) == 0)
		n++;
	ck_assert_uint_lt(n, ARRAY_SIZE(taken));
	ck_ok(put("key", value, 1000)); /* from the reserve */
	pages_unref(taken, n);
	ck_ok(put("key", value, VOLUME_VALUE_MAX));
	has("key", value, VOLUME_VALUE_MAX);
	free(value);
}
END_TEST

int
main(void)
{
	const struct engine_case cases[] = {
		{"life", test_life, 1, false},
		{"life, dir", test_life, 1, true},
		{"lengths", test_lengths, 1, false},
		{"bounds", test_bounds, 1, false},
		{"during a commit", test_during_a_commit, 1, false},
		{"accepted and frozen", test_accepted_and_frozen, 1, false},
		{"swap fails", test_swap_fails, 1, false},
		{"moves", test_moves, 1, false},
		{"power", test_power, 1, true},
		{"read-only", test_read_only, 1, false},
		{"durability store", test_store, 1, false},
		{"poisoned", test_poisoned, 1, false},
		{"fenced", test_fenced, 1, false},
		{"writers held", test_writers_held, 1, false},
		{"small arena", test_small_arena, 1, false},
	};

	return engine_main("engine, attributes", cases, ARRAY_SIZE(cases));
}
