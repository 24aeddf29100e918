/* SPDX-License-Identifier: GPL-2.0-or-later */
/* volume: the front door's checks, journeys between loops, counting and JSON, over a tiny implementation. */
#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/registry.h"
#include "common/volume.h"

#define SIZE (1u << 20)
#define BLOCK 512u

/* An implementation that remembers what reached it and completes as it is told to. */
static struct fake {
	struct volume vol;
	unsigned submitted, misplaced;
	int answer;
	bool hold; /* keep requests until the next message */
	struct loop_msg release;
	struct vol_req *held;
	unsigned place; /* READ: how many pages to put in */
	_Atomic unsigned described;
} fake;

static struct loop *home, *away;
static struct arena *arena;

static void
fake_complete(struct vol_req *req)
{
	if (req->op == VOL_READ)
		for (unsigned i = 0; i < req->npages && i < fake.place; i++)
			ck_assert_int_eq(arena_alloc(arena, &req->pages[i], 1), 0);
	volume_done(req, fake.answer);
}

static void
fake_release(struct loop_msg *msg)
{
	struct vol_req *req = fake.held;

	(void)msg;
	fake.held = NULL;
	fake_complete(req);
}

static void
fake_submit(struct vol_req *req)
{
	fake.submitted++;
	if (loop_current() != fake.vol.loop)
		fake.misplaced++;
	if (!fake.hold) {
		fake_complete(req);
		return;
	}
	fake.held = req;
	fake.release.fn = fake_release;
	loop_post(fake.vol.loop, &fake.release);
}

static void
fake_describe(struct volume *vol, json_t *object)
{
	if (loop_current() == vol->loop)
		atomic_fetch_add(&fake.described, 1);
	json_object_set_new(object, "generation", json_integer(7));
}

static void
fake_describe_stats(struct volume *vol, json_t *object)
{
	if (loop_current() == vol->loop)
		atomic_fetch_add(&fake.described, 1);
	json_object_set_new(object, "commits", json_integer(3));
}

static const struct vol_ops fake_ops = {
	.kind = "fake",
	.submit = fake_submit,
	.describe = fake_describe,
	.describe_stats = fake_describe_stats,
};

static void
setup(void)
{
	memset(&fake, 0, sizeof(fake));
	ck_assert_int_eq(arena_new(1u << 20, &arena), 0);
	ck_assert_int_eq(loop_new("home", 0, &home), 0);
	ck_assert_int_eq(loop_new("away", 1, &away), 0);
	ck_assert_int_eq(loop_start(home), 0);
	ck_assert_int_eq(loop_start(away), 0);
	fake.vol.ops = &fake_ops;
	fake.vol.loop = home;
	fake.vol.arena = arena;
	fake.vol.block_size = BLOCK;
	fake.vol.chunk_size = 4u << 20;
	fake.vol.size = SIZE;
	fake.place = UINT32_MAX;
	memcpy(fake.vol.name, "vm1", 4);
	memcpy(fake.vol.serial, "0123", 5);
	memcpy(fake.vol.store, "nowhere:", 9);
	memset(fake.vol.naa, 0x6a, sizeof(fake.vol.naa));
}

static void
teardown(void)
{
	ck_assert_uint_eq(fake.vol.inflight, 0);
	ck_assert_uint_eq(fake.misplaced, 0);
	loop_free(home);
	loop_free(away);
	arena_free(arena); /* asserts that no page was left behind */
}

/* ---- submitting -------------------------------------------------------- */

struct waited {
	struct vol_req req;
	struct page *pages[64];
	sem_t done;
	struct loop *done_on;
	struct loop_msg start;
};

static void
waited_done(struct vol_req *req)
{
	struct waited *w = container_of(req, struct waited, req);

	w->done_on = loop_current();
	sem_post(&w->done);
}

static void
waited_start(struct loop_msg *msg)
{
	volume_submit(&container_of(msg, struct waited, start)->req);
}

/* Submit on `from` (NULL: this thread) and wait. */
static int
submit_from(struct waited *w, struct loop *from, struct loop *origin)
{
	w->req.vol = &fake.vol;
	w->req.done = waited_done;
	w->req.origin = origin;
	w->req.status = 1;
	sem_init(&w->done, 0, 0);
	w->start.fn = waited_start;
	if (from)
		loop_post(from, &w->start);
	else
		volume_submit(&w->req);
	sem_wait(&w->done);
	sem_destroy(&w->done);
	ck_assert_ptr_eq(w->done_on, origin ? origin : home);
	return w->req.status;
}

static int
simple(enum vol_op op, uint64_t offset, uint64_t length)
{
	struct waited w = {.req = {.op = op, .offset = offset, .length = length}};
	unsigned n = volume_pages(offset, length);
	int r;

	w.req.pages = w.pages;
	w.req.npages = n;
	if ((op == VOL_WRITE || op == VOL_COMPARE_WRITE) && n <= 16)
		ck_assert_int_eq(arena_alloc(arena, w.pages, 2 * n), 0);
	r = submit_from(&w, home, home);
	if ((op == VOL_WRITE || op == VOL_COMPARE_WRITE) && n <= 16)
		pages_unref(w.pages, 2 * n);
	if (op == VOL_READ && !r)
		pages_unref(w.pages, n);
	return r;
}

/* ---- checks ------------------------------------------------------------ */

static const struct {
	enum vol_op op;
	uint64_t offset, length;
	int want;
	bool reaches;
} rules[] = {
	{VOL_READ, 0, BLOCK, 0, true},
	{VOL_READ, SIZE - BLOCK, BLOCK, 0, true},
	{VOL_READ, SIZE - BLOCK, 2 * BLOCK, LG_ERANGE, false},
	{VOL_READ, SIZE, BLOCK, LG_ERANGE, false},
	{VOL_READ, UINT64_MAX - BLOCK + 1, BLOCK, LG_ERANGE, false},
	{VOL_READ, BLOCK, UINT64_MAX - BLOCK + 1, LG_ERANGE, false},
	{VOL_READ, 1, BLOCK, -EINVAL, false},
	{VOL_READ, 0, BLOCK - 1, -EINVAL, false},
	{VOL_READ, SIZE, 0, 0, false},
	{VOL_READ, SIZE + BLOCK, 0, LG_ERANGE, false},
	{VOL_WRITE, BLOCK, 3 * BLOCK, 0, true},
	{VOL_WRITE, 0, 0, 0, false},
	{VOL_WRITE, SIZE, 4096, LG_ERANGE, false},
	{VOL_FLUSH, 0, 0, 0, true},
	{VOL_FLUSH, 7, 13, 0, true}, /* whatever they hold */
	{VOL_UNMAP, 0, SIZE, 0, true},
	{VOL_UNMAP, 0, 0, 0, false},
	{VOL_UNMAP, BLOCK, SIZE, LG_ERANGE, false},
	{VOL_ZERO, 0, SIZE, 0, true},
	{VOL_ZERO, 8, 8, -EINVAL, false},
	{VOL_COMPARE_WRITE, 4096, BLOCK, 0, true},
	{VOL_COMPARE_WRITE, 0, VOLUME_MAX_COMPARE + BLOCK, -EINVAL, false},
	{VOL_OR_WRITE, 4096, BLOCK, 0, true},
	{VOL_OR_WRITE, 0, 0, 0, false},
	{VOL_OR_WRITE, SIZE, BLOCK, LG_ERANGE, false},
	{VOL_OR_WRITE, 0, VOLUME_MAX_COMPARE + BLOCK, -EINVAL, false},
	{VOL_RESIZE, 0, 2 * SIZE, 0, true},
	{VOL_RESIZE, 0, 0, -EINVAL, false},
	{VOL_RESIZE, 0, SIZE + 1, -EINVAL, false},
	{VOL_MAP, 0, 0, -EINVAL, false}, /* no room for an answer */
};

START_TEST(rules_are_enforced)
{
	ck_assert_int_eq(simple(rules[_i].op, rules[_i].offset, rules[_i].length), rules[_i].want);
	ck_assert_uint_eq(fake.submitted, rules[_i].reaches);
	ck_assert_uint_eq(fake.vol.stats.ops[rules[_i].op], 1);
	ck_assert_uint_eq(fake.vol.stats.errors[rules[_i].op], rules[_i].want != 0);
}
END_TEST

START_TEST(requests_have_a_largest_size)
{
	atomic_store(&fake.vol.size, UINT64_C(1) << 40);
	ck_assert_int_eq(simple(VOL_READ, 0, VOLUME_MAX_IO + BLOCK), -EINVAL);
	ck_assert_int_eq(simple(VOL_WRITE, 0, VOLUME_MAX_IO + BLOCK), -EINVAL);
	ck_assert_int_eq(simple(VOL_ZERO, 0, UINT64_C(1) << 40), 0);
	ck_assert_int_eq(simple(VOL_UNMAP, 0, UINT64_C(1) << 40), 0);
}
END_TEST

START_TEST(page_arrays_must_fit)
{
	struct waited w = {.req = {.op = VOL_READ, .offset = 4096 - BLOCK, .length = 2 * BLOCK, .npages = 1}};

	w.req.pages = w.pages;
	ck_assert_int_eq(submit_from(&w, home, home), -EINVAL);
	w.req.npages = 2;
	ck_assert_int_eq(submit_from(&w, home, home), 0);
	pages_unref(w.pages, 2);
}
END_TEST

START_TEST(read_only_volumes_do_not_change)
{
	fake.vol.read_only = true;
	ck_assert_int_eq(simple(VOL_READ, 0, BLOCK), 0);
	ck_assert_int_eq(simple(VOL_FLUSH, 0, 0), 0);
	ck_assert_uint_eq(fake.submitted, 2);
	ck_assert_int_eq(simple(VOL_WRITE, 0, BLOCK), -EROFS);
	ck_assert_int_eq(simple(VOL_UNMAP, 0, BLOCK), -EROFS);
	ck_assert_int_eq(simple(VOL_ZERO, 0, BLOCK), -EROFS);
	ck_assert_int_eq(simple(VOL_COMPARE_WRITE, 0, BLOCK), -EROFS);
	ck_assert_int_eq(simple(VOL_OR_WRITE, 0, BLOCK), -EROFS);
	ck_assert_int_eq(simple(VOL_RESIZE, 0, BLOCK), -EROFS);
	ck_assert_int_eq(simple(VOL_WRITE, SIZE, BLOCK), LG_ERANGE); /* the more precise word first */
	ck_assert_uint_eq(fake.submitted, 2);
}
END_TEST

START_TEST(health_ends_promises)
{
	static const enum vol_op promises[] = {VOL_WRITE,         VOL_FLUSH,    VOL_UNMAP, VOL_ZERO,
					       VOL_COMPARE_WRITE, VOL_OR_WRITE, VOL_RESIZE};

	for (unsigned i = 0; i < ARRAY_SIZE(promises); i++) {
		uint64_t length = promises[i] == VOL_FLUSH ? 0 : BLOCK;

		fake.vol.health = LG_EPOISONED;
		ck_assert_int_eq(simple(promises[i], 0, length), LG_EPOISONED);
		fake.vol.health = LG_EFENCED;
		ck_assert_int_eq(simple(promises[i], 0, length), LG_EFENCED);
	}
	ck_assert_uint_eq(fake.submitted, 0);
	ck_assert_int_eq(simple(VOL_READ, 0, BLOCK), LG_EFENCED); /* somebody else may have newer bytes */
	fake.vol.health = LG_EPOISONED;
	ck_assert_int_eq(simple(VOL_READ, 0, BLOCK), 0);
	fake.vol.health = 0;
	ck_assert_int_eq(simple(VOL_WRITE, 0, BLOCK), 0);
}
END_TEST

/* ---- attributes --------------------------------------------------------- */

static int
attribute(enum vol_op op, const char *key, size_t len)
{
	struct waited w = {.req = {.op = op, .key = key, .value = w.pages, .value_len = len}};

	return submit_from(&w, away, away);
}

START_TEST(bars_keep_data_in)
{
	static const enum vol_op data[] = {VOL_READ,          VOL_WRITE,    VOL_UNMAP, VOL_ZERO,
					   VOL_COMPARE_WRITE, VOL_OR_WRITE, VOL_RESIZE};
	struct waited w = {.req = {.op = VOL_UNMAP, .flags = VOL_INSIDER, .length = BLOCK}};

	volume_bar(&fake.vol, LG_ESANITIZE, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		ck_assert_int_eq(simple(data[i], 0, BLOCK), LG_ESANITIZE);
	ck_assert_uint_eq(fake.submitted, 0);
	ck_assert_int_eq(simple(VOL_FLUSH, 0, 0), 0);
	ck_assert_int_eq(submit_from(&w, NULL, NULL), 0);
	ck_assert_uint_eq(fake.submitted, 2);
	volume_bar(&fake.vol, 0, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		ck_assert_int_eq(simple(data[i], 0, BLOCK), 0);
}
END_TEST

START_TEST(attributes_have_rules)
{
	static const char *const bad[] = {"", ".a", "A", "a/b", "a b", "a\n", "0123456789012345678901234"};
	static const char *const good[] = {"a", "-", "a.b_c-9", "01234567890123456789012"};
	void *value = &fake;
	size_t len = 1;

	ck_assert_int_eq(attribute(VOL_PUT_ATTRIBUTE, "a", 1), -EOPNOTSUPP);
	ck_assert_int_eq(attribute(VOL_GET_ATTRIBUTE, "a", 0), -EOPNOTSUPP);
	fake.vol.attributes = true;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(attribute(VOL_PUT_ATTRIBUTE, bad[i], 1), -EINVAL);
	ck_assert_int_eq(attribute(VOL_GET_ATTRIBUTE, NULL, 0), -EINVAL);
	ck_assert_int_eq(attribute(VOL_PUT_ATTRIBUTE, "a", VOLUME_VALUE_MAX + 1), -EINVAL);
	ck_assert_uint_eq(fake.submitted, 0);
	fake.vol.read_only = true; /* no byte of the data changes */
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_int_eq(attribute(VOL_PUT_ATTRIBUTE, good[i], VOLUME_VALUE_MAX), 0);
	ck_assert_int_eq(volume_put_attribute(&fake.vol, "a", "x", 1), 0);
	ck_assert_int_eq(volume_get_attribute(&fake.vol, "a", &value, &len), 0);
	ck_assert_ptr_null(value); /* nothing came */
	ck_assert_uint_eq(len, 0);
	ck_assert_uint_eq(fake.submitted, ARRAY_SIZE(good) + 2);
	fake.answer = -ENOSPC;
	ck_assert_int_eq(volume_put_attribute(&fake.vol, "a", "x", 1), -ENOSPC);
	fake.answer = 0;
	fake.vol.health = LG_EPOISONED;
	ck_assert_int_eq(volume_put_attribute(&fake.vol, "a", "x", 1), LG_EPOISONED);
	ck_assert_int_eq(volume_get_attribute(&fake.vol, "a", &value, &len), 0);
	fake.vol.health = LG_EFENCED;
	ck_assert_int_eq(volume_get_attribute(&fake.vol, "a", &value, &len), LG_EFENCED);
}
END_TEST

/* ---- reads ------------------------------------------------------------- */

START_TEST(failed_reads_leave_no_pages)
{
	struct waited w = {.req = {.op = VOL_READ, .length = 32 * 4096, .npages = 32}};

	w.req.pages = w.pages;
	memset(w.pages, 0xee, sizeof(w.pages)); /* what the caller's array held before means nothing */
	fake.answer = LG_ECORRUPT;
	fake.place = 10;
	ck_assert_int_eq(submit_from(&w, away, away), LG_ECORRUPT);
	for (unsigned i = 0; i < 32; i++)
		ck_assert_ptr_null(w.pages[i]);
	ck_assert_uint_eq(arena_free_pages(arena), arena_total_pages(arena));
	ck_assert_uint_eq(fake.vol.stats.errors[VOL_READ], 1);
	ck_assert_uint_eq(fake.vol.stats.bytes[VOL_READ], 0);
}
END_TEST

/* ---- journeys ---------------------------------------------------------- */

static const struct {
	int from, origin; /* 0 nowhere, 1 home, 2 away */
} journeys[] = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {2, 0}, {2, 1}, {2, 2}};

START_TEST(done_runs_where_it_belongs)
{
	struct loop *const places[] = {NULL, home, away};
	struct waited w = {.req = {.op = VOL_ZERO, .length = BLOCK}};

	for (unsigned hold = 0; hold < 2; hold++) {
		fake.hold = hold;
		ck_assert_int_eq(submit_from(&w, places[journeys[_i].from], places[journeys[_i].origin]), 0);
		fake.answer = -EIO;
		ck_assert_int_eq(submit_from(&w, places[journeys[_i].from], places[journeys[_i].origin]),
				 -EIO);
		fake.answer = 0;
	}
	/* refused ones travel the same way */
	w.req.length = 1;
	ck_assert_int_eq(submit_from(&w, places[journeys[_i].from], places[journeys[_i].origin]), -EINVAL);
	ck_assert_uint_eq(fake.submitted, 4);
}
END_TEST

static int
call_is_direct(void *arg)
{
	struct waited *w = arg;

	volume_submit(&w->req);
	return w->req.status;
}

START_TEST(on_its_loop_it_is_a_plain_call)
{
	struct waited w = {.req = {.op = VOL_ZERO, .length = BLOCK, .vol = &fake.vol, .done = waited_done}};

	w.req.origin = home;
	sem_init(&w.done, 0, 0);
	ck_assert_int_eq(loop_call(home, call_is_direct, &w), 0); /* done before submit returned */
	sem_wait(&w.done);
	sem_destroy(&w.done);
}
END_TEST

#define CROWD 3000

static struct {
	struct vol_req reqs[CROWD];
	unsigned left, misplaced;
	sem_t all;
} crowd;

static void
crowd_done(struct vol_req *req)
{
	(void)req;
	crowd.misplaced += loop_current() != away;
	if (!--crowd.left)
		sem_post(&crowd.all);
}

static int
call_crowd(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < CROWD; i++) {
		crowd.reqs[i] = (struct vol_req){.vol = &fake.vol,
						 .op = i % 2 ? VOL_ZERO : VOL_UNMAP,
						 .length = BLOCK,
						 .done = crowd_done,
						 .origin = away};
		volume_submit(&crowd.reqs[i]);
	}
	return 0;
}

START_TEST(crowds_are_counted_once)
{
	struct vol_stats *stats = &fake.vol.stats;

	crowd.left = CROWD;
	crowd.misplaced = 0;
	sem_init(&crowd.all, 0, 0);
	loop_call(away, call_crowd, NULL);
	sem_wait(&crowd.all);
	sem_destroy(&crowd.all);
	ck_assert_uint_eq(crowd.misplaced, 0);
	ck_assert_uint_eq(counter_read(&stats->ops[VOL_ZERO]), CROWD / 2);
	ck_assert_uint_eq(counter_read(&stats->ops[VOL_UNMAP]), CROWD / 2);
	ck_assert_uint_eq(counter_read(&stats->bytes[VOL_ZERO]), CROWD / 2 * BLOCK);
	ck_assert_uint_eq(counter_read(&stats->latency[VOL_ZERO].count), CROWD / 2);
	ck_assert_uint_eq(counter_read(&stats->errors[VOL_ZERO]), 0);
}
END_TEST

/* ---- names and JSON ---------------------------------------------------- */

static const struct {
	const char *name;
	int want;
} names[] = {
	{"a", 0},
	{"0", 0},
	{"vm-1.disk_0", 0},
	{"0123456789012345678901234567890123456789012345678901234567890123", 0},
	{"01234567890123456789012345678901234567890123456789012345678901234", -EINVAL},
	{"", -EINVAL},
	{".", -EINVAL},
	{"..", -EINVAL},
	{"-a", -EINVAL},
	{"_a", -EINVAL},
	{"A", -EINVAL},
	{"a/b", -EINVAL},
	{"a b", -EINVAL},
	{"a\n", -EINVAL},
	{"\303\244", -EINVAL},
};

START_TEST(names_are_checked)
{
	struct errinfo info = {""};

	ck_assert_int_eq(volume_name_check(names[_i].name, &info), names[_i].want);
	ck_assert_int_eq(info.text[0] != '\0', names[_i].want != 0);
	ck_assert_int_eq(volume_name_check(names[_i].name, NULL), names[_i].want);
}
END_TEST

static const char *
text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "(none)";
}

static int
call_describe(void *arg)
{
	json_t **ret = arg;

	*ret = volume_describe(&fake.vol);
	return 0;
}

START_TEST(volumes_describe_themselves)
{
	json_t *object = volume_describe(&fake.vol), *again;

	ck_assert_ptr_nonnull(object);
	ck_assert_str_eq(text_of(object, "name"), "vm1");
	ck_assert_str_eq(text_of(object, "uuid"), "00000000-0000-0000-0000-000000000000");
	ck_assert_str_eq(text_of(object, "kind"), "fake");
	ck_assert_str_eq(text_of(object, "store"), "nowhere:");
	ck_assert_str_eq(text_of(object, "durability"), "journal");
	ck_assert_str_eq(text_of(object, "naa"), "6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a");
	ck_assert_str_eq(text_of(object, "serial"), "0123");
	ck_assert_str_eq(text_of(object, "health"), "ok");
	ck_assert_int_eq(json_integer_value(json_object_get(object, "size")), SIZE);
	ck_assert_int_eq(json_integer_value(json_object_get(object, "block_size")), BLOCK);
	ck_assert_int_eq(json_integer_value(json_object_get(object, "chunk_size")), 4 << 20);
	ck_assert(json_is_false(json_object_get(object, "write_cache")));
	ck_assert(json_is_false(json_object_get(object, "read_only")));
	ck_assert(json_is_false(json_object_get(object, "thin")));
	ck_assert_int_eq(json_integer_value(json_object_get(object, "generation")), 7);
	/* from its own loop, and from another one */
	loop_call(home, call_describe, &again);
	ck_assert(json_equal(object, again));
	json_decref(again);
	loop_call(away, call_describe, &again);
	ck_assert(json_equal(object, again));
	json_decref(again);
	json_decref(object);
	ck_assert_uint_eq(fake.described, 3); /* always at home */

	fake.vol.health = LG_EPOISONED;
	fake.vol.durability = VOL_DURABILITY_STORE;
	object = volume_describe(&fake.vol);
	ck_assert_str_eq(text_of(object, "health"), "LG_EPOISONED");
	ck_assert_str_eq(text_of(object, "durability"), "store");
	json_decref(object);
}
END_TEST

START_TEST(volumes_count_in_json)
{
	json_t *object, *row, *latency;

	ck_assert_int_eq(simple(VOL_WRITE, 0, 4096), 0);
	ck_assert_int_eq(simple(VOL_WRITE, 0, 1), -EINVAL);
	object = volume_stats(&fake.vol);
	ck_assert_ptr_nonnull(object);
	for (unsigned op = 0; op < VOL_OP_COUNT; op++)
		ck_assert_ptr_nonnull(json_object_get(object, vol_op_name(op)));
	row = json_object_get(object, "write");
	ck_assert_int_eq(json_integer_value(json_object_get(row, "ops")), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "errors")), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "bytes")), 4096);
	latency = json_object_get(row, "latency_us");
	ck_assert_uint_eq(json_object_size(latency), 5);
	ck_assert(json_is_integer(json_object_get(latency, "p50")));
	ck_assert(json_is_integer(json_object_get(latency, "p90")));
	ck_assert(json_is_integer(json_object_get(latency, "p99")));
	ck_assert(json_is_integer(json_object_get(latency, "p999")));
	ck_assert(json_is_integer(json_object_get(latency, "mean")));
	ck_assert_int_eq(json_integer_value(json_object_get(object, "commits")), 3);
	json_decref(object);
	ck_assert_str_eq(vol_op_name(VOL_COMPARE_WRITE), "compare_write");
	ck_assert_str_eq(vol_op_name(VOL_OP_COUNT), "unknown");
	ck_assert_str_eq(chunk_state_name(CHUNK_DIRTY), "dirty");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("volume");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, rules_are_enforced, 0, (int)ARRAY_SIZE(rules));
	tcase_add_test(tc, requests_have_a_largest_size);
	tcase_add_test(tc, page_arrays_must_fit);
	tcase_add_test(tc, read_only_volumes_do_not_change);
	tcase_add_test(tc, health_ends_promises);
	tcase_add_test(tc, bars_keep_data_in);
	tcase_add_test(tc, attributes_have_rules);
	tcase_add_test(tc, failed_reads_leave_no_pages);
	tcase_add_loop_test(tc, done_runs_where_it_belongs, 0, (int)ARRAY_SIZE(journeys));
	tcase_add_test(tc, on_its_loop_it_is_a_plain_call);
	tcase_add_test(tc, crowds_are_counted_once);
	tcase_add_loop_test(tc, names_are_checked, 0, (int)ARRAY_SIZE(names));
	tcase_add_test(tc, volumes_describe_themselves);
	tcase_add_test(tc, volumes_count_in_json);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
