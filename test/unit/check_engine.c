/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunked engine: single cases over mem and dir stores, and the model. */
#include "test/lib/enginetest.h"
#include "test/lib/orrace.h"

/* ---- single cases ---- */

START_TEST(test_life)
{
	uint8_t buf[8192], zero[8192] = {0};
	struct volume_spec other = rig.spec;

	fill(buf, sizeof(buf), 1);
	create_and_open();
	ck_assert_int_eq(chunked_create_with(&other, &rig.params, rig.loop, rig.arena, &rig.info), -EEXIST);
	ck_assert_uint_eq(rig.vol->size, 64 * MIB);
	ck_assert_uint_eq(rig.vol->allocated, 0);
	ck_assert_uint_eq(strlen(rig.vol->serial), 32);
	expect(5 * MIB, zero, sizeof(zero));
	ck_ok(io(VOL_WRITE, 5 * MIB, sizeof(buf), buf));
	expect(5 * MIB, buf, sizeof(buf));
	ck_assert_uint_eq(rig.vol->allocated, MIB);
	ck_ok(call(VOL_FLUSH, 0, 0));
	ck_ok(enginerig_close(&rig));
	ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), 1);
	ck_ok(enginerig_open(&rig));
	ck_assert_int_eq(enginerig_stat(&rig, "replayed_entries"), 0);
	ck_assert_int_eq(enginerig_stat(&rig, "generation"), 3);
	ck_assert_uint_eq(rig.vol->allocated, MIB);
	expect(5 * MIB, buf, sizeof(buf));
	expect(6 * MIB, zero, sizeof(zero));
}
END_TEST

START_TEST(test_unaligned)
{
	uint8_t whole[16384], part[4096], zero[4096] = {0};

	create_and_open();
	fill(whole, sizeof(whole), 3);
	ck_ok(io(VOL_WRITE, 0, sizeof(whole), whole));
	/* over what is dirty, over what is committed and cached, over what is in the store alone */
	for (unsigned round = 0; round < 3; round++) {
		fill(part, sizeof(part), 50 + round);
		ck_ok(io(VOL_WRITE, 512, 512, part));
		memcpy(whole + 512, part, 512);
		ck_ok(io(VOL_WRITE, 4096 + 1024, 4096, part));
		memcpy(whole + 4096 + 1024, part, 4096);
		expect(0, whole, sizeof(whole));
		ck_ok(enginerig_commit(&rig));
		expect(0, whole, sizeof(whole));
		if (round == 1)
			restart();
	}
	/* zeroes in parts of pages */
	ck_ok(call(VOL_UNMAP, 1024, 512));
	memset(whole + 1024, 0, 512);
	ck_ok(call(VOL_ZERO, 4096 + 512, 8192));
	memset(whole + 4096 + 512, 0, 8192);
	expect(0, whole, sizeof(whole));
	restart();
	expect(0, whole, sizeof(whole));
	/* zeroes into absent space stay absent */
	ck_ok(call(VOL_ZERO, 20 * MIB + 512, 1024));
	expect(20 * MIB, zero, sizeof(zero));
	ck_assert_uint_eq(rig.vol->allocated, MIB);
}
END_TEST

START_TEST(test_compare_write)
{
	uint8_t buf[2048], now[1024];

	create_and_open();
	fill(now, sizeof(now), 9);
	ck_ok(io(VOL_WRITE, 3584, 1024, now));
	memcpy(buf, now, 1024);
	fill(buf + 1024, 1024, 77);
	ck_ok(io(VOL_COMPARE_WRITE, 3584, 1024, buf));
	expect(3584, buf + 1024, 1024);
	ck_assert_int_eq(io(VOL_COMPARE_WRITE, 3584, 1024, buf), LG_EMISCOMPARE);
	expect(3584, buf + 1024, 1024);
}
END_TEST

START_TEST(test_trim)
{
	uint8_t *buf = malloc(4 * MIB), *zero = calloc(1, 4 * MIB);

	create_and_open();
	fill(buf, 4 * MIB, 5);
	ck_ok(io(VOL_WRITE, 8 * MIB, 4 * MIB, buf));
	ck_ok(enginerig_commit(&rig));
	ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), 4);
	ck_ok(call(VOL_UNMAP, 9 * MIB, 2 * MIB));
	ck_assert_uint_eq(rig.vol->allocated, 2 * MIB);
	expect(8 * MIB, buf, MIB);
	expect(9 * MIB, zero, 2 * MIB);
	ck_ok(io(VOL_WRITE, 9 * MIB + 8192, 4096, buf));
	ck_assert_uint_eq(rig.vol->allocated, 3 * MIB);
	ck_ok(enginerig_commit(&rig));
	ck_assert_uint_eq(rig.vol->allocated, 3 * MIB);
	expect(9 * MIB + 4096, zero, 4096);
	expect(9 * MIB + 8192, buf, 4096);
	ck_ok(call(VOL_UNMAP, 0, 64 * MIB));
	ck_assert_uint_eq(rig.vol->allocated, 0);
	restart();
	ck_assert_uint_eq(rig.vol->allocated, 0);
	expect(8 * MIB, zero, 4 * MIB);
	free(buf);
	free(zero);
}
END_TEST

/* A page of zeroes is data until the commit sees that nothing but zeroes is left. */
START_TEST(test_zero_merge)
{
	uint8_t buf[4096], zero[4096] = {0};

	create_and_open();
	fill(buf, sizeof(buf), 1);
	ck_ok(io(VOL_WRITE, MIB, sizeof(buf), buf));
	ck_ok(enginerig_commit(&rig));
	ck_assert_uint_eq(rig.vol->allocated, MIB);
	ck_ok(io(VOL_WRITE, MIB, sizeof(zero), zero));
	ck_ok(enginerig_commit(&rig));
	ck_assert_uint_eq(rig.vol->allocated, 0);
	expect(MIB, zero, sizeof(zero));
}
END_TEST

/* 64 TiB: neither a trim nor a walk over absent space asks the store or makes memory. */
START_TEST(test_huge_absent)
{
	rig.spec.size = UINT64_C(64) << 40;
	rig.spec.chunk_size = 4 << 20;
	create_and_open();
	uint64_t gets = faultstore_seen(rig.store, OBJECT_GET), puts = faultstore_seen(rig.store, OBJECT_PUT);
	ck_ok(call(VOL_UNMAP, 0, rig.spec.size));
	struct chunk_info infos[4];
	struct vol_req req = {.vol = rig.vol, .op = VOL_MAP, .infos = infos, .max_infos = 4};
	ck_ok(volume_call(&req));
	ck_assert_uint_eq(req.ret_infos, 0);
	ck_assert_uint_eq(req.ret_next_chunk, UINT64_MAX);
	ck_assert_uint_eq(faultstore_seen(rig.store, OBJECT_GET), gets);
	ck_assert_uint_eq(faultstore_seen(rig.store, OBJECT_PUT), puts);
	ck_assert_int_eq(enginerig_stat(&rig, "dirty_table_bytes"), 0);
	ck_assert_int_eq(enginerig_stat(&rig, "accepted_seq"), 0);
	/* one page at the far end */
	uint8_t buf[4096];
	fill(buf, sizeof(buf), 4);
	ck_ok(io(VOL_WRITE, rig.spec.size - 4096, 4096, buf));
	ck_ok(enginerig_commit(&rig));
	req = (struct vol_req){.vol = rig.vol, .op = VOL_MAP, .infos = infos, .max_infos = 4};
	ck_ok(volume_call(&req));
	ck_assert_uint_eq(req.ret_infos, 1);
	ck_assert_uint_eq(infos[0].index, (rig.spec.size >> 22) - 1);
	ck_ok(call(VOL_UNMAP, 0, rig.spec.size));
	ck_assert_uint_eq(rig.vol->allocated, 0);
	restart();
	ck_assert_uint_eq(rig.vol->allocated, 0);
}
END_TEST

/* Several leaves, one of them in memory at most; a shadow of one page a chunk. */
START_TEST(test_leaves)
{
	enum { CHUNKS = 60 };
	uint64_t at[CHUNKS];
	unsigned seed[CHUNKS];
	uint8_t buf[4096], zero[4096] = {0};

	rig.spec.size = UINT64_C(5) << 36; /* 5 leaves of 64 GiB */
	rig.params.leaf_cache = 1;
	create_and_open();
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < CHUNKS; i++) {
			if (round && (i + round) % 3)
				continue;
			/* the first and the last chunk of a leaf are among them */
			at[i] = (i % 5) * (UINT64_C(1) << 36) + (i < 5    ? 0
								 : i < 10 ? (UINT64_C(1) << 36) - MIB
									  : i * 77 * MIB);
			seed[i] = 1 + round * 100 + i;
			fill(buf, sizeof(buf), seed[i]);
			ck_ok(io(VOL_WRITE, at[i] + 8192, sizeof(buf), buf));
		}
		if (round == 1) {
			/* across the border of two leaves */
			ck_ok(call(VOL_UNMAP, (UINT64_C(2) << 36) - 2 * MIB, 4 * MIB));
			for (unsigned i = 0; i < CHUNKS; i++)
				if (at[i] >= (UINT64_C(2) << 36) - 2 * MIB &&
				    at[i] < (UINT64_C(2) << 36) + 2 * MIB)
					seed[i] = 0;
		}
		if (round & 1)
			crash();
		else
			restart();
		unsigned present = 0;
		for (unsigned i = 0; i < CHUNKS; i++) {
			fill(buf, sizeof(buf), seed[i]);
			expect(at[i] + 8192, seed[i] ? buf : zero, sizeof(buf));
			expect(at[i] + 16384, zero, sizeof(zero));
			present += seed[i] != 0;
		}
		struct chunk_info infos[CHUNKS];
		struct vol_req req = {.vol = rig.vol, .op = VOL_MAP, .infos = infos, .max_infos = CHUNKS};
		ck_ok(volume_call(&req));
		ck_assert_uint_eq(req.ret_infos, present);
		ck_assert_uint_eq(rig.vol->allocated, present * MIB);
		ck_assert_int_le(enginerig_stat(&rig, "leaves_loaded"), 2);
	}
	ck_ok(call(VOL_UNMAP, 0, rig.spec.size));
	ck_assert_uint_eq(rig.vol->allocated, 0);
	restart();
	ck_assert_uint_eq(rig.vol->allocated, 0);
	expect(at[11] + 8192, zero, sizeof(zero));
}
END_TEST

START_TEST(test_map)
{
	uint8_t buf[4096];
	struct chunk_info infos[3];
	struct vol_req req = {.vol = rig.vol, .op = VOL_MAP, .infos = infos, .max_infos = 3};

	create_and_open();
	fill(buf, sizeof(buf), 4);
	for (unsigned i = 0; i < 5; i++)
		ck_ok(io(VOL_WRITE, (2 + 3 * i) * MIB, sizeof(buf), buf));
	ck_ok(enginerig_commit(&rig));
	ck_ok(io(VOL_WRITE, 5 * MIB, sizeof(buf), buf));
	req.vol = rig.vol;
	ck_ok(volume_call(&req));
	ck_assert_uint_eq(req.ret_infos, 3);
	ck_assert_uint_eq(infos[0].index, 2);
	ck_assert_int_eq(infos[0].state, CHUNK_CLEAN);
	ck_assert_str_eq(infos[0].key, "v/c/02/00000002.00000002.0000000000000001");
	ck_assert(infos[0].has_crc);
	ck_assert_uint_eq(infos[0].cached_bytes, 4096);
	ck_assert_uint_eq(infos[0].dirty_bytes, 0);
	ck_assert_int_eq(infos[1].state, CHUNK_DIRTY);
	ck_assert_uint_eq(infos[1].dirty_bytes, 4096);
	ck_assert_uint_eq(req.ret_next_chunk, 9);
	req = (struct vol_req){
		.vol = rig.vol, .op = VOL_MAP, .first_chunk = 9, .infos = infos, .max_infos = 3};
	ck_ok(volume_call(&req));
	ck_assert_uint_eq(req.ret_infos, 2);
	ck_assert_uint_eq(infos[1].index, 14);
	ck_assert_uint_eq(req.ret_next_chunk, UINT64_MAX);
}
END_TEST

START_TEST(test_resize)
{
	uint8_t buf[8192], zero[8192] = {0};

	create_and_open();
	fill(buf, sizeof(buf), 1);
	ck_ok(io(VOL_WRITE, 64 * MIB - sizeof(buf), sizeof(buf), buf));
	ck_assert_int_eq(io(VOL_WRITE, 64 * MIB, sizeof(buf), buf), LG_ERANGE);
	ck_ok(call(VOL_RESIZE, 0, 100 * MIB + 512));
	ck_assert_uint_eq(rig.vol->size, 100 * MIB + 512);
	expect(64 * MIB, zero, sizeof(zero));
	ck_ok(io(VOL_WRITE, 100 * MIB - 4096, 4096 + 512, buf));
	crash();
	ck_assert_uint_eq(rig.vol->size, 100 * MIB + 512);
	expect(100 * MIB - 4096, buf, 4096 + 512);
	/* shrink into the middle of a block of data, grow again: the tail is zeroes */
	ck_ok(call(VOL_RESIZE, 0, 64 * MIB - 4096 - 512));
	ck_assert_int_eq(io(VOL_READ, 64 * MIB - 4096, 512, zero), LG_ERANGE);
	restart();
	ck_ok(call(VOL_RESIZE, 0, 128 * MIB));
	expect(64 * MIB - 8192, buf, 8192 - 4096 - 512);
	expect(64 * MIB - 4096 - 512, zero, 512);
	expect(64 * MIB - 4096, zero, 4096);
	expect(100 * MIB - 4096, zero, 8192);
	ck_assert_int_eq(call(VOL_RESIZE, 0, 1000), -EINVAL);
}
END_TEST

START_TEST(test_recover)
{
	uint8_t *buf = malloc(MIB), *zero = calloc(1, MIB);

	create_and_open();
	fill(buf, MIB, 1);
	ck_ok(io(VOL_WRITE, 3 * MIB, MIB, buf));
	ck_ok(io(VOL_WRITE, 4 * MIB, MIB, buf));
	ck_ok(enginerig_commit(&rig));
	ck_ok(io(VOL_WRITE, 3 * MIB + 512, 1024, buf));
	ck_ok(call(VOL_UNMAP, 4 * MIB, MIB));
	uint8_t part[1024];
	memcpy(part, buf, 1024);
	memcpy(buf + 512, part, 1024);
	ck_ok(io(VOL_WRITE, 60 * MIB, MIB, buf));
	crash();
	ck_assert_int_ge(enginerig_stat(&rig, "replayed_entries"), 3);
	expect(3 * MIB, buf, MIB);
	expect(4 * MIB, zero, MIB);
	expect(60 * MIB, buf, MIB);
	ck_assert_uint_eq(rig.vol->allocated, 2 * MIB);
	/* once more, without anything new: the journal is replayed again */
	crash();
	expect(60 * MIB, buf, MIB);
	restart();
	ck_assert_int_eq(enginerig_stat(&rig, "replayed_entries"), 0);
	expect(3 * MIB, buf, MIB);
	free(buf);
	free(zero);
}
END_TEST

START_TEST(test_delete)
{
	uint8_t buf[4096];

	create_and_open();
	fill(buf, sizeof(buf), 1);
	ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(buf), buf));
	ck_ok(enginerig_close(&rig));
	ck_ok(chunked_delete_with(&rig.spec, &rig.params, rig.loop, NULL, NULL, &rig.info));
	ck_assert_int_eq(enginerig_open(&rig), -ENOENT);
	ck_assert_uint_eq(enginerig_count(&rig, "v/"), 1); /* the tombstone */
	/* the same name again: generations go on */
	memset(rig.spec.uuid, 0, UUID_LEN);
	create_and_open();
	ck_assert_int_gt(enginerig_stat(&rig, "generation"), 4);
	uint8_t zero[4096] = {0};
	expect(3 * MIB, zero, sizeof(zero));
}
END_TEST

/* A look from the mount leaves the caches as they are. */
START_TEST(test_no_readahead)
{
	uint8_t buf[8192], got[8192];

	create_and_open();
	fill(buf, sizeof(buf), 1);
	ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(buf), buf));
	restart();
	ck_ok(volmodel_io(rig.vol, VOL_READ, VOL_NO_READAHEAD, 3 * MIB, sizeof(got), got));
	ck_assert_mem_eq(got, buf, sizeof(buf));
	ck_assert_int_eq(enginerig_stat(&rig, "cached_bytes"), 0);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_get_bytes"), 8192);
	expect(3 * MIB, buf, sizeof(buf));
	/* the base stores two pages, and the GET of 64 KiB is cut to them; the rest is known to be zeroes */
	ck_assert_int_gt(enginerig_stat(&rig, "cached_bytes"), 0);
}
END_TEST

/* A scan of a volume that memory could not hold leaves its beginning there, and what somebody else uses; one that fits
 * stays. */
START_TEST(test_scan)
{
	uint64_t data = _i ? 15 * MIB : 24 * MIB;
	uint8_t *buf = malloc(data);
	long long gets;

	rig.spec.size = _i ? 16 * MIB : 64 * MIB; /* the arena has 32 */
	create_and_open();
	fill(buf, data, 3);
	for (uint64_t at = 0; at < data; at += MIB)
		ck_ok(io(VOL_WRITE, at, MIB, buf + at));
	restart();
	for (unsigned again = 0; again < 2; again++) /* used is what is asked for when it is here */
		expect(13 * MIB + 8192, buf + 13 * MIB + 8192, 4096);
	for (uint64_t at = 0; at < data; at += 65536)
		expect(at, buf + at, 65536);
	gets = enginerig_stat(&rig, "store_base_gets");
	if (_i) {
		ck_assert_int_ge(enginerig_stat(&rig, "cached_bytes"), (long long)data);
	} else {
		ck_assert_int_le(enginerig_stat(&rig, "cached_bytes"), 10 * (long long)MIB);
		expect(65536, buf + 65536, 65536);
	}
	expect(13 * MIB + 8192, buf + 13 * MIB + 8192, 4096);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_gets"), gets);
	if (!_i)
		expect(16 * MIB, buf + 16 * MIB, 65536);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_gets"), gets + !_i);
	free(buf);
}
END_TEST

/* A long writer gives its pages back once the store has their chunks; in a volume that fits they stay. */
START_TEST(test_scan_write)
{
	uint64_t data = _i == 1 ? 15 * MIB : 24 * MIB;
	uint8_t *buf = malloc(data), page[4096];

	rig.spec.size = _i == 1 ? 16 * MIB : 64 * MIB; /* the arena has 32 */
	rig.params.journal_bytes = 128 * MIB;          /* no commit before it is asked for */
	rig.spec.commit_window = 48 * MIB;
	create_and_open();
	fill(buf, data, 3);
	fill(page, sizeof(page), 4);
	for (uint64_t at = 0; at < data; at += MIB / 4)
		ck_ok(io(VOL_WRITE, at, MIB / 4, buf + at));
	ck_assert(enginerig_wait(&rig, "early_bases", (long long)(data / MIB)));
	ck_ok(io(VOL_FLUSH, 0, 0, NULL)); /* and the journal has them */
	ck_assert_int_eq(enginerig_stat(&rig, "commits"), 0);
	long long held = enginerig_stat(&rig, "dirty_resident_bytes") + enginerig_stat(&rig, "cached_bytes");
	if (_i == 1)
		ck_assert_int_eq(held, (long long)data);
	else
		ck_assert_int_le(held, 5 * (long long)MIB);
	/* what is gone from memory is there all the same, and can be changed */
	ck_ok(io(VOL_WRITE, 10 * MIB + 8192, sizeof(page), page));
	memcpy(buf + 10 * MIB + 8192, page, sizeof(page));
	expect(6 * MIB, buf + 6 * MIB, 8 * MIB);
	if (_i == 2)
		crash();
	ck_ok(enginerig_commit(&rig));
	for (unsigned half = 0; half < 2; half++)
		expect(half * data / 2, buf + half * data / 2, data / 2);
	restart();
	for (unsigned half = 0; half < 2; half++)
		expect(half * data / 2, buf + half * data / 2, data / 2);
	free(buf);
}
END_TEST

/* Single pages all over a large volume: the table of what is dirty stays within its share of the arena. */
START_TEST(test_table_bound)
{
	uint8_t buf[4096];
	long long most = 0;

	enginerig_fini(&rig);
	enginerig_init(&rig, "mem", 8 * MIB);
	rig.spec.size = UINT64_C(8) << 30;
	create_and_open();
	for (unsigned i = 0; i < 2500; i++) {
		fill(buf, sizeof(buf), i);
		ck_ok(io(VOL_WRITE, (uint64_t)(i * 2657 % 8192) * MIB, sizeof(buf), buf));
		if (i % 16 == 0)
			most = max_of(most, enginerig_stat(&rig, "dirty_table_bytes"));
	}
	ck_assert_int_le(most, (long long)MIB);
	ck_assert_int_gt(enginerig_stat(&rig, "commits"), 1);
	for (unsigned i = 0; i < 2500; i += 97) {
		fill(buf, sizeof(buf), i);
		expect((uint64_t)(i * 2657 % 8192) * MIB, buf, sizeof(buf));
	}
	ck_assert_uint_eq(rig.vol->allocated, 2500 * MIB);
}
END_TEST

/* ---- the model ---- */

START_TEST(test_or_write)
{
	char text[200] = "";
	uint8_t buf[8192];

	small();
	rig.spec.size = 24 * MIB;
	rig.spec.block_size = _i & 1 ? 4096 : 512;
	rig.spec.write_cache = _i & 2;
	create_and_open();
	ck_assert_msg(orrace_run(rig.vol, 400, text, sizeof(text)) == 0, "%s", text);
	ck_ok(call(VOL_UNMAP, 0, MIB));
	/* bits over bits, over a hole, of pages in part; in the journal alone, then in the store */
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 8; i++) {
			memset(buf, 1 << i, sizeof(buf));
			if (rig.spec.block_size == 512)
				ck_ok(volmodel_io(rig.vol, VOL_OR_WRITE, VOL_FUA, 3584, 4608, buf));
			else
				ck_ok(volmodel_io(rig.vol, VOL_OR_WRITE, VOL_FUA, 4096, 4096, buf));
			if (i != 3)
				continue;
			if (round)
				restart();
			else
				crash();
		}
		ck_ok(volmodel_io(rig.vol, VOL_READ, 0, 4096, 4096, buf));
		for (unsigned i = 0; i < 4096; i++)
			ck_assert_uint_eq(buf[i], 0xff);
		ck_ok(volmodel_io(rig.vol, VOL_READ, 0, 0, 4096, buf));
		for (unsigned i = 0; i < 4096; i++)
			ck_assert_uint_eq(buf[i], rig.spec.block_size == 512 && i >= 3584 ? 0xff : 0);
		ck_ok(call(VOL_ZERO, 0, MIB));
	}
}
END_TEST

#define PAIRS 64u

/* An OR and a write of the same page, one right behind the other. */
struct or_pair {
	struct vol_req req[2];
	struct page *pages[2];
};

static void
pair_done(struct vol_req *req)
{
	(void)req;
}

static int
submit_pairs(void *arg)
{
	struct or_pair *pairs = arg;

	for (unsigned i = 0; i < 2 * PAIRS; i++)
		volume_submit(&pairs[i / 2].req[i & 1]);
	return 0;
}

/* What is there has to be fetched first: time enough for a write to come in between. */
START_TEST(test_or_write_fetches)
{
	struct or_pair *pairs = calloc(PAIRS, sizeof(*pairs));
	uint8_t *buf = malloc(PAIRS * 65536);

	memset(buf, 0x01, PAIRS * 65536);
	create_and_open();
	ck_ok(io(VOL_WRITE, 0, PAIRS * 65536, buf));
	restart();
	for (unsigned i = 0; i < PAIRS; i++) {
		ck_ok(arena_alloc(rig.arena, pairs[i].pages, 2));
		memset(pairs[i].pages[0]->data, 0x80, PAGE_SIZE_BYTES);
		memset(pairs[i].pages[1]->data, 0x02, PAGE_SIZE_BYTES);
		for (unsigned k = 0; k < 2; k++)
			pairs[i].req[k] = (struct vol_req){.vol = rig.vol,
							   .op = k ? VOL_WRITE : VOL_OR_WRITE,
							   .offset = i * 65536ull,
							   .length = PAGE_SIZE_BYTES,
							   .pages = &pairs[i].pages[k],
							   .npages = 1,
							   .done = pair_done};
	}
	ck_ok(loop_call(rig.loop, submit_pairs, pairs));
	/* the write is the younger one, and whole: what was below it is gone, OR or not */
	for (unsigned i = 0; i < PAIRS; i++) {
		while (atomic_load(&rig.vol->inflight))
			ck_ok(call(VOL_FLUSH, 0, 0));
		ck_ok(io(VOL_READ, i * 65536ull, PAGE_SIZE_BYTES, buf));
		ck_assert_msg(buf[0] == 0x02 || buf[0] == 0x82, "page %u is %02x", i, buf[0]);
		for (unsigned k = 0; k < 2; k++)
			ck_ok(pairs[i].req[k].status);
		pages_unref(pairs[i].pages, 2);
	}
	free(pairs);
	free(buf);
}
END_TEST

/* An OR of two pages that has to wait for memory, and something of the second one right behind it. */
struct or_held {
	struct vol_req req[2];
	struct page *pages[4]; /* of the OR; of the other one */
	bool waited;
	struct page **hoard; /* all memory there is */
	unsigned nhoard;
};

static int held_done; /* on the loop */

static void
held_end(struct vol_req *req)
{
	(void)req;
	held_done++;
}

/* On the loop, so that nothing is given back between the two. */
static int
submit_held(void *arg)
{
	struct or_held *held = arg;

	while (arena_alloc_reserved(rig.arena, &held->hoard[held->nhoard], 1) == 0)
		held->nhoard++;
	volume_submit(&held->req[0]);
	held->waited = held_done == 0;
	volume_submit(&held->req[1]);
	return 0;
}

static int
count_held(void *arg)
{
	(void)arg;
	return held_done;
}

/* Reading, ORing and accepting is one step, but for want of memory: whoever changes the pages meanwhile has to wait, or it
 * gets lost. */
START_TEST(test_or_write_holds)
{
	static const struct {
		enum vol_op op;
		uint32_t length;
		uint8_t data, first, last; /* bytes of the page in the end */
	} cases[] = {{VOL_OR_WRITE, 4096, 0x40, 0xc1, 0xc1},
		     {VOL_OR_WRITE, 512, 0x40, 0xc1, 0x81},
		     {VOL_WRITE, 4096, 0x02, 0x02, 0x02},
		     {VOL_WRITE, 512, 0x02, 0x02, 0x81},
		     {VOL_COMPARE_WRITE, 512, 0x10, 0x10, 0x81},
		     {VOL_ZERO, 4096, 0, 0, 0},
		     {VOL_UNMAP, 4096, 0, 0, 0}};
	struct or_held held = {.hoard = calloc(32 * MIB / PAGE_SIZE_BYTES, sizeof(struct page *))};
	bool compares = cases[_i].op == VOL_COMPARE_WRITE;
	uint8_t buf[2 * PAGE_SIZE_BYTES];

	held_done = 0;
	create_and_open();
	memset(buf, 0x01, sizeof(buf));
	ck_ok(io(VOL_WRITE, 0, sizeof(buf), buf));
	ck_ok(arena_alloc(rig.arena, held.pages, 4));
	memset(held.pages[0]->data, 0x80, PAGE_SIZE_BYTES);
	memset(held.pages[1]->data, 0x80, PAGE_SIZE_BYTES);
	memset(held.pages[2]->data, compares ? 0x81 : cases[_i].data, PAGE_SIZE_BYTES);
	memset(held.pages[3]->data, cases[_i].data, PAGE_SIZE_BYTES);
	held.req[0] = (struct vol_req){.op = VOL_OR_WRITE, .length = sizeof(buf), .npages = 2};
	held.req[1] = (struct vol_req){
		.op = cases[_i].op, .offset = PAGE_SIZE_BYTES, .length = cases[_i].length, .npages = 1};
	for (unsigned i = 0; i < 2; i++) {
		held.req[i].vol = rig.vol;
		held.req[i].pages = held.pages + 2 * (size_t)i;
		held.req[i].done = held_end;
	}
	ck_ok(loop_call(rig.loop, submit_held, &held));
	ck_assert_msg(held.waited, "there was memory for it");
	pages_unref(held.hoard, held.nhoard);
	while (loop_call(rig.loop, count_held, NULL) < 2)
		ck_ok(call(VOL_FLUSH, 0, 0));
	ck_ok(held.req[0].status);
	ck_ok(held.req[1].status);
	ck_ok(io(VOL_READ, 0, sizeof(buf), buf));
	ck_assert_uint_eq(buf[0], 0x81);
	ck_assert_uint_eq(buf[PAGE_SIZE_BYTES], cases[_i].first);
	ck_assert_uint_eq(buf[2 * PAGE_SIZE_BYTES - 1], cases[_i].last);
	pages_unref(held.pages, 4);
	free(held.hoard);
}
END_TEST

START_TEST(test_model)
{
	struct volmodel_load load = {.nops = 1500, .depth = 24, .max_io = 128 << 10};
	uint32_t block = _i & 1 ? 4096 : 512;

	small();
	rig.spec.block_size = block;
	rig.spec.size = 24 * MIB + block;
	rig.spec.write_cache = _i & 2;
	struct volmodel *m = volmodel_new(rig.spec.size, block, model_seed(1000 + (uint64_t)_i));
	create_and_open();
	for (unsigned round = 0; round < 4; round++) {
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_verify(m, rig.vol));
		ck_model(m, volmodel_verify_map(m, rig.vol));
		if (round & 1) {
			ck_ok(enginerig_close(&rig));
		} else {
			ck_model(m, volmodel_flush(m, rig.vol));
			enginerig_abandon(&rig);
		}
		ck_ok(enginerig_open(&rig));
		ck_model(m, round & 1 ? volmodel_verify(m, rig.vol) : volmodel_verify_crash(m, rig.vol));
	}
	ck_assert_int_ge(enginerig_stat(&rig, "commit"), 5);
	volmodel_free(m);
}
END_TEST

/* Whole chunks, most of them: they are PUT before their commit, and change again. */
START_TEST(test_model_chunks)
{
	struct volmodel_load load = {.nops = 120, .depth = 6, .max_io = 3 * MIB, .max_unmap = 2 * MIB};

	rig.spec.size = 24 * MIB;
	rig.params.journal_bytes = 32 * MIB;
	struct volmodel *m = volmodel_new(rig.spec.size, 512, model_seed(815));
	create_and_open();
	for (unsigned round = 0; round < 4; round++) {
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_verify(m, rig.vol));
		if (round & 1) {
			ck_ok(enginerig_close(&rig));
		} else {
			ck_assert_int_gt(enginerig_stat(&rig, "early_bases"), 0);
			ck_model(m, volmodel_flush(m, rig.vol));
			enginerig_abandon(&rig);
		}
		ck_ok(enginerig_open(&rig));
		ck_model(m, volmodel_verify(m, rig.vol));
	}
	volmodel_free(m);
}
END_TEST

/* Whatever the window: why a larger one is refused by the configuration. */
START_TEST(test_half_a_journal)
{
	const long long half = 16 * MIB;
	uint8_t *buf = malloc(MIB / 4);
	uint64_t at = 0;

	rig.params.journal_segment_bytes = 2 * MIB;
	rig.params.journal_bytes = (uint64_t)half * 2;
	rig.spec.commit_window = (uint64_t)half * 2;
	create_and_open();
	fill(buf, MIB / 4, 1);
	while (enginerig_stat(&rig, "journal_used_bytes") < half - (long long)MIB) {
		ck_ok(io(VOL_WRITE, at, MIB / 4, buf));
		at += MIB / 4;
	}
	ck_assert_int_eq(enginerig_stat(&rig, "commits"), 0);
	ck_assert_int_ge(enginerig_stat(&rig, "dirty_bytes"), half / 4);
	for (unsigned i = 0; i < 8; i++)
		ck_ok(io(VOL_WRITE, at + i * MIB / 4, MIB / 4, buf));
	ck_assert(enginerig_wait(&rig, "commits", 1));
	ck_assert_int_eq(enginerig_stat(&rig, "writers_held"), 0);
	free(buf);
}
END_TEST

/* An arena so small that pages are evicted, shed into the journal and read back all the time. */
START_TEST(test_model_tiny)
{
	struct volmodel_load load = {.nops = 1500, .depth = 16, .max_io = 64 << 10};

	enginerig_fini(&rig);
	enginerig_init(&rig, "mem", 4 * MIB);
	small();
	rig.spec.commit_window = 4 * MIB;
	struct volmodel *m = volmodel_new(rig.spec.size, 512, model_seed(4711));
	create_and_open();
	for (unsigned round = 0; round < 3; round++) {
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_verify(m, rig.vol));
	}
	ck_assert_int_gt(enginerig_stat(&rig, "journal_page_reads"), 0);
	ck_assert_int_gt(enginerig_stat(&rig, "cache_evicted_pages"), 0);
	ck_assert_int_gt(enginerig_stat(&rig, "commits"), 0);
	volmodel_free(m);
}
END_TEST

START_TEST(test_model_store)
{
	struct volmodel_load load = {.nops = 800, .depth = 16, .max_io = 128 << 10};

	small();
	rig.spec.durability = VOL_DURABILITY_STORE;
	rig.spec.write_cache = true;
	rig.spec.journal_dir = NULL;
	struct volmodel *m = volmodel_new(rig.spec.size, 512, model_seed(99));
	create_and_open();
	for (unsigned round = 0; round < 3; round++) {
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_verify(m, rig.vol));
		/* without a flush: some older or newer block, and the next model expects what was found */
		crash();
		ck_model(m, volmodel_verify_crash(m, rig.vol));
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_flush(m, rig.vol));
		crash();
		ck_model(m, volmodel_verify(m, rig.vol));
	}
	volmodel_free(m);
}
END_TEST

int
main(void)
{
	const struct engine_case cases[] = {
		{"life", test_life, 1, false},
		{"life, dir", test_life, 1, true},
		{"unaligned", test_unaligned, 1, false},
		{"compare and write", test_compare_write, 1, false},
		{"trim", test_trim, 1, false},
		{"zero merge", test_zero_merge, 1, false},
		{"huge", test_huge_absent, 1, false},
		{"leaves", test_leaves, 1, false},
		{"map", test_map, 1, false},
		{"resize", test_resize, 1, false},
		{"recover", test_recover, 1, false},
		{"recover, dir", test_recover, 1, true},
		{"delete", test_delete, 1, false},
		{"delete, dir", test_delete, 1, true},
		{"no readahead", test_no_readahead, 1, false},
		{"scan", test_scan, 2, false},
		{"scan that writes", test_scan_write, 3, false},
		{"table bound", test_table_bound, 1, false},
		{"or", test_or_write, 4, false},
		{"or that fetches", test_or_write_fetches, 1, false},
		{"or that holds", test_or_write_holds, 7, false},
		{"model", test_model, 4, false},
		{"model, dir", test_model, 1, true},
		{"half a journal", test_half_a_journal, 1, false},
		{"model, tiny arena", test_model_tiny, 1, false},
		{"model, chunks", test_model_chunks, 1, false},
		{"model, durability store", test_model_store, 1, false},
	};

	return engine_main("engine", cases, ARRAY_SIZE(cases));
}
