/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "stores/stores.h"
#include "test/lib/orrace.h"
#include "test/lib/volmodel.h"

#define MIB (1ull << 20)
#define CHUNK (1u << 20)

static struct loop *loop;
static struct arena *arena;
static struct volume *vol;

static void
setup(void)
{
	ck_assert_int_eq(loop_pool_init(2), 0);
	ck_assert_int_eq(loop_new("test", 0, &loop), 0);
	ck_assert_int_eq(loop_start(loop), 0);
	ck_assert_int_eq(arena_new(64 * MIB, &arena), 0);
}

static void
teardown(void)
{
	if (vol)
		ck_assert_int_eq(volume_close(vol), 0);
	vol = NULL;
	loop_free(loop);
	loop_pool_fini();
	arena_free(arena);
}

static void
open_store(const char *store, uint64_t size, uint32_t block)
{
	struct volume_spec spec = {.name = "v",
				   .store = store,
				   .size = size,
				   .block_size = block,
				   .chunk_size = CHUNK,
				   .write_cache = true};
	struct errinfo info = {0};

	ck_assert_msg(!volume_create(&spec, loop, arena, &info), "%s", info.text);
	ck_assert_msg(!volume_open(&spec, loop, arena, &vol, &info), "%s", info.text);
}

static void
io(enum vol_op op, uint64_t offset, uint64_t length, void *buf)
{
	ck_assert_int_eq(volmodel_io(vol, op, 0, offset, length, buf), 0);
}

static int
call(enum vol_op op, uint64_t offset, uint64_t length)
{
	return volume_call(&(struct vol_req){.vol = vol, .op = op, .offset = offset, .length = length});
}

#define ck_model(m, rc) ck_assert_msg((rc) == 0, "%s", volmodel_error(m))

START_TEST(test_model)
{
	uint32_t block = _i ? 4096 : 512;
	/* an odd number of blocks: the last page is not whole */
	uint64_t size = 12 * MIB + block;
	struct volmodel *m = volmodel_new(size, block, 77 + (uint64_t)_i);
	struct volmodel_load load = {.nops = 3000, .depth = 32},
			     dense = {.nops = 3000, .depth = 8, .span = MIB};

	open_store("ram:", size, block);
	ck_assert_uint_eq(vol->block_size, block);
	ck_assert(vol->thin);
	ck_model(m, volmodel_run(m, vol, &load));
	ck_model(m, volmodel_run(m, vol, &dense));
	ck_model(m, volmodel_verify(m, vol));
	ck_model(m, volmodel_verify_map(m, vol));
	volmodel_free(m);
}
END_TEST

/* 0: ram, which keeps it; 1: null, which keeps nothing and says yes */
START_TEST(test_or_write)
{
	char text[200] = "";
	uint8_t a[1024];

	open_store(_i ? "null:" : "ram:", 4 * MIB, 512);
	memset(a, 0x0f, sizeof(a));
	io(VOL_OR_WRITE, 3584, 1024, a);
	memset(a, 0x31, sizeof(a));
	io(VOL_OR_WRITE, 4096, 512, a);
	io(VOL_READ, 3584, 1024, a);
	ck_assert_uint_eq(a[0], _i ? 0 : 0x0f);
	ck_assert_uint_eq(a[511], _i ? 0 : 0x0f);
	ck_assert_uint_eq(a[512], _i ? 0 : 0x3f);
	ck_assert_uint_eq(a[1023], _i ? 0 : 0x3f);
	if (_i)
		return;
	ck_assert_int_eq(call(VOL_UNMAP, 0, MIB), 0);
	ck_assert_msg(orrace_run(vol, 1500, text, sizeof(text)) == 0, "%s", text);
}
END_TEST

START_TEST(test_resize)
{
	struct volmodel *m = volmodel_new(4 * MIB, 512, 5);
	struct volmodel_load load = {.nops = 500};
	static const uint64_t sizes[] = {9 * MIB + 512, 3 * MIB + 1536, 3 * MIB + 512, 40 * MIB,
					 512,           8 * MIB};

	open_store("ram:", 4 * MIB, 512);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ck_model(m, volmodel_run(m, vol, &load));
		ck_assert_int_eq(call(VOL_RESIZE, 0, sizes[i]), 0);
		volmodel_resize(m, sizes[i]);
		ck_model(m, volmodel_verify(m, vol));
		ck_model(m, volmodel_verify_map(m, vol));
	}
	volmodel_free(m);
}
END_TEST

START_TEST(test_allocated)
{
	static uint8_t buf[64 << 10];
	struct chunk_info infos[4];
	struct vol_req map = {.op = VOL_MAP, .infos = infos, .max_infos = 4};

	open_store("ram:", 16 * MIB, 512);
	map.vol = vol;
	ck_assert_uint_eq(atomic_load(&vol->allocated), 0);
	memset(buf, 1, sizeof(buf));
	io(VOL_WRITE, 2 * MIB + 512, sizeof(buf), buf);
	ck_assert_uint_eq(atomic_load(&vol->allocated), sizeof(buf) + 4096);
	io(VOL_WRITE, 9 * MIB, 512, buf);
	ck_assert_int_eq(volume_call(&map), 0);
	ck_assert_uint_eq(map.ret_infos, 2);
	ck_assert_uint_eq(infos[0].index, 2);
	ck_assert_uint_eq(infos[0].allocated_bytes, sizeof(buf) + 4096);
	ck_assert_uint_eq(infos[1].index, 9);
	ck_assert_uint_eq(map.ret_next_chunk, UINT64_MAX);
	map.max_infos = 1;
	map.first_chunk = 1;
	ck_assert_int_eq(volume_call(&map), 0);
	ck_assert_uint_eq(map.ret_infos, 1);
	ck_assert_uint_eq(map.ret_next_chunk, 3);
	map.first_chunk = 3;
	map.end_chunk = 9;
	ck_assert_int_eq(volume_call(&map), 0);
	ck_assert_uint_eq(map.ret_infos, 0);
	ck_assert_uint_eq(map.ret_next_chunk, UINT64_MAX);
	ck_assert_int_eq(call(VOL_UNMAP, 0, 16 * MIB), 0);
	ck_assert_uint_eq(atomic_load(&vol->allocated), 0);
	io(VOL_READ, 2 * MIB, sizeof(buf), buf);
	ck_assert(!buf[0] && !memcmp(buf, buf + 1, sizeof(buf) - 1));
}
END_TEST

START_TEST(test_compare_write)
{
	uint8_t buf[2 * 8192];
	struct page *pages[6];
	struct vol_req req = {
		.op = VOL_COMPARE_WRITE, .offset = 3584, .length = 4096, .pages = pages, .npages = 2};

	open_store("ram:", MIB, 512);
	memset(buf, 0, 4096);
	memset(buf + 4096, 7, 4096);
	io(VOL_COMPARE_WRITE, 3584, 4096, buf);
	io(VOL_READ, 3072, 5120, buf);
	ck_assert(!buf[511] && buf[512] == 7 && buf[512 + 4095] == 7 && !buf[512 + 4096]);
	/* one byte differs, in the second page */
	req.vol = vol;
	ck_assert_int_eq(arena_alloc(arena, pages, 4), 0);
	for (unsigned i = 0; i < 4; i++)
		memset(pages[i]->data, 7, PAGE_SIZE_BYTES);
	pages[1]->data[100] = 8;
	ck_assert_int_eq(volume_call(&req), LG_EMISCOMPARE);
	ck_assert_uint_eq(req.err_offset, 512 + 100);
	pages_unref(pages, 4);
}
END_TEST

/* ---- pages that readers hold ---- */

#define HOLD (8 * MIB)
#define HOLD_PAGES (HOLD / PAGE_SIZE_BYTES)
#define ROUNDS 12

static struct page *held[ROUNDS][HOLD_PAGES];
static struct page *source[HOLD_PAGES];

struct writer {
	pthread_t thread;
	_Atomic int status;
};

static void *
write_once(void *arg)
{
	struct writer *w = arg;
	struct vol_req req = {
		.vol = vol, .op = VOL_WRITE, .length = HOLD, .pages = source, .npages = HOLD_PAGES};

	w->status = volume_call(&req);
	return NULL;
}

/* Readers hold more old versions than there is slack: a write waits, and goes on when they let go. */
START_TEST(test_short)
{
	struct writer w;
	unsigned n = 0;

	open_store("ram:", HOLD, 512);
	ck_assert_int_eq(arena_alloc(arena, source, HOLD_PAGES), 0);
	for (; n < ROUNDS; n++) {
		struct vol_req read = {
			.vol = vol, .op = VOL_READ, .length = HOLD, .pages = held[n], .npages = HOLD_PAGES};

		for (unsigned i = 0; i < HOLD_PAGES; i++)
			memset(source[i]->data, (int)n, 64);
		w.status = 1;
		ck_assert_int_eq(pthread_create(&w.thread, NULL, write_once, &w), 0);
		/* 8 MiB of volume, 64.5 MiB of slack: nine versions fit */
		if (n >= 9)
			break;
		pthread_join(w.thread, NULL);
		ck_assert_int_eq(w.status, 0);
		ck_assert_int_eq(volume_call(&read), 0);
	}
	while (!atomic_load(&vol->inflight))
		sched_yield();
	/* a FLUSH behind it in the loop's queue: the write has had its try when that is done */
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), 0);
	ck_assert_int_eq(w.status, 1);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < HOLD_PAGES; k += 100)
			ck_assert_uint_eq(held[i][k]->data[63], i);
		pages_unref(held[i], HOLD_PAGES);
	}
	pthread_join(w.thread, NULL);
	ck_assert_int_eq(w.status, 0);
	pages_unref(source, HOLD_PAGES);
}
END_TEST

static void *
close_it(void *arg)
{
	(void)arg;
	ck_assert_int_eq(volume_close(vol), 0);
	return NULL;
}

/* close waits for answers that are still on their way */
START_TEST(test_close_waits)
{
	uint8_t buf[4096];
	struct page *page = NULL;
	struct vol_req read = {.op = VOL_READ, .length = 4096, .pages = &page, .npages = 1};
	pthread_t t;

	open_store("ram:", MIB, 512);
	read.vol = vol;
	memset(buf, 3, sizeof(buf));
	io(VOL_WRITE, 0, 4096, buf);
	ck_assert_int_eq(volume_call(&read), 0);
	ck_assert_int_eq(pthread_create(&t, NULL, close_it, NULL), 0);
	ck_assert_uint_eq(page->data[4095], 3);
	page_unref(page);
	pthread_join(t, NULL);
	vol = NULL;
}
END_TEST

START_TEST(test_null)
{
	static uint8_t buf[16384];
	struct chunk_info info;
	struct vol_req map = {.op = VOL_MAP, .infos = &info, .max_infos = 1};

	open_store("null:", 0, 512);
	map.vol = vol;
	ck_assert_uint_eq(atomic_load(&vol->size), 1ull << 40);
	memset(buf, 9, sizeof(buf));
	io(VOL_WRITE, 512, 8192, buf);
	io(VOL_READ, 512, 8192, buf);
	ck_assert(!buf[0] && !memcmp(buf, buf + 1, 8191));
	ck_assert_int_eq(volmodel_io(vol, VOL_COMPARE_WRITE, 0, 3584, 1024, buf), 0);
	buf[1000] = 1;
	ck_assert_int_eq(volmodel_io(vol, VOL_COMPARE_WRITE, 0, 3584, 1024, buf), LG_EMISCOMPARE);
	ck_assert_int_eq(volume_call(&map), 0);
	ck_assert_uint_eq(map.ret_infos, 0);
	ck_assert_uint_eq(map.ret_next_chunk, UINT64_MAX);
	ck_assert_int_eq(call(VOL_RESIZE, 0, MIB), 0);
	ck_assert_int_eq(call(VOL_UNMAP, 0, MIB), 0);
	ck_assert_int_eq(call(VOL_UNMAP, 0, MIB + 512), LG_ERANGE);
}
END_TEST

/* ---- the way in ---- */

START_TEST(test_identity)
{
	struct volume a = {.uuid = {1, 2, 3}}, b = {.uuid = {1, 2, 4}}, c = {.uuid = {1, 2, 3}};

	volume_identity(&a);
	volume_identity(&b);
	volume_identity(&c);
	ck_assert_str_eq(a.serial, "01020300000000000000000000000000");
	ck_assert_uint_eq(a.naa[0] >> 4, 6);
	/* the company: locally administered, individual (bits 1 and 0 of its first byte) */
	ck_assert_uint_eq(((a.naa[0] & 0xf) << 4 | a.naa[1] >> 4) & 3, 2);
	ck_assert(!memcmp(a.naa, c.naa, 16));
	ck_assert(memcmp(a.naa + 4, b.naa + 4, 12));
}
END_TEST

START_TEST(test_refusals)
{
	static const struct {
		struct volume_spec spec;
		int rc;
		const char *word;
	} cases[] = {
		{{.name = "v", .store = "/some/path"}, LG_ECONFIG, "dir:/path"},
		{{.name = "v", .store = "ftp:x"}, LG_ECONFIG, "ftp:x"},
		{{.name = "V", .store = "ram:", .size = MIB}, -EINVAL, "V"},
		{{.name = "v", .store = "ram:"}, LG_ECONFIG, "size"},
		{{.name = "v", .store = "ram:", .size = 1000}, LG_ECONFIG, "multiple"},
		{{.name = "v", .store = "ram:", .size = MIB, .block_size = 1024}, LG_ECONFIG, "512 or 4096"},
		{{.name = "v", .store = "null:", .chunk_size = 3 << 20}, LG_ECONFIG, "power of two"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct volume_spec spec = cases[i].spec;
		struct errinfo info = {0};

		ck_assert_int_eq(volume_create(&spec, loop, arena, &info), cases[i].rc);
		ck_assert_msg(strstr(info.text, cases[i].word), "%s", info.text);
		info.text[0] = '\0';
		ck_assert_int_eq(volume_open(&spec, loop, arena, &vol, &info), cases[i].rc);
		ck_assert_msg(strstr(info.text, cases[i].word), "%s", info.text);
	}
	vol = NULL;
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("ram");
	TCase *tc = tcase_create("ram");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_model, 0, 2);
	tcase_add_test(tc, test_resize);
	tcase_add_test(tc, test_allocated);
	tcase_add_test(tc, test_compare_write);
	tcase_add_loop_test(tc, test_or_write, 0, 2);
	tcase_add_test(tc, test_short);
	tcase_add_test(tc, test_close_waits);
	tcase_add_test(tc, test_null);
	tcase_add_test(tc, test_identity);
	tcase_add_test(tc, test_refusals);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
