/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunked engine: single cases over mem and dir stores, the model, faults of store and journal,
 * ownership. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "stores/chunked/journal.h"
#include "test/lib/enginerig.h"

#define MIB RIG_MIB

static struct enginerig rig;

static void
setup(void)
{
	enginerig_init(&rig, "mem", 32 * MIB);
}

static void
setup_dir(void)
{
	enginerig_init(&rig, "dir", 32 * MIB);
}

static void
teardown(void)
{
	if (rig.vol)
		ck_assert_int_eq(enginerig_close(&rig), 0);
	enginerig_fini(&rig);
}

#define ck_ok(expr)                                                                                          \
	do {                                                                                                 \
		int ok_ = (expr);                                                                            \
		ck_assert_msg(ok_ == 0, "%s: %s: %s", #expr, err_name(ok_), rig.info.text);                  \
	} while (0)
#define ck_model(m, rc) ck_assert_msg((rc) == 0, "%s", volmodel_error(m))

static void
create_and_open(void)
{
	ck_ok(enginerig_create(&rig));
	ck_ok(enginerig_open(&rig));
}

static int
io(enum vol_op op, uint64_t offset, uint64_t length, void *buf)
{
	return volmodel_io(rig.vol, op, 0, offset, length, buf);
}

static int
call(enum vol_op op, uint64_t offset, uint64_t length)
{
	return volmodel_call(&(struct vol_req){.vol = rig.vol, .op = op, .offset = offset, .length = length});
}

static void
fill(uint8_t *buf, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(i * 31 + (i >> 8) * 17 + seed);
}

static void
expect(uint64_t offset, const uint8_t *want, size_t n)
{
	uint8_t *got = malloc(n);

	ck_ok(io(VOL_READ, offset, n, got));
	size_t i = 0;
	while (i < n && got[i] == want[i])
		i++;
	ck_assert_msg(i == n, "byte %zu at %llu", i, (unsigned long long)offset);
	free(got);
}

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
		if (round == 1) {
			ck_ok(enginerig_close(&rig));
			ck_ok(enginerig_open(&rig));
		}
	}
	/* zeroes in parts of pages */
	ck_ok(call(VOL_UNMAP, 1024, 512));
	memset(whole + 1024, 0, 512);
	ck_ok(call(VOL_ZERO, 4096 + 512, 8192));
	memset(whole + 4096 + 512, 0, 8192);
	expect(0, whole, sizeof(whole));
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
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
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
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
	ck_ok(volmodel_call(&req));
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
	ck_ok(volmodel_call(&req));
	ck_assert_uint_eq(req.ret_infos, 1);
	ck_assert_uint_eq(infos[0].index, (rig.spec.size >> 22) - 1);
	ck_ok(call(VOL_UNMAP, 0, rig.spec.size));
	ck_assert_uint_eq(rig.vol->allocated, 0);
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
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
			enginerig_abandon(&rig);
		else
			ck_ok(enginerig_close(&rig));
		ck_ok(enginerig_open(&rig));
		unsigned present = 0;
		for (unsigned i = 0; i < CHUNKS; i++) {
			fill(buf, sizeof(buf), seed[i]);
			expect(at[i] + 8192, seed[i] ? buf : zero, sizeof(buf));
			expect(at[i] + 16384, zero, sizeof(zero));
			present += seed[i] != 0;
		}
		struct chunk_info infos[CHUNKS];
		struct vol_req req = {.vol = rig.vol, .op = VOL_MAP, .infos = infos, .max_infos = CHUNKS};
		ck_ok(volmodel_call(&req));
		ck_assert_uint_eq(req.ret_infos, present);
		ck_assert_uint_eq(rig.vol->allocated, present * MIB);
		ck_assert_int_le(enginerig_stat(&rig, "leaves_loaded"), 2);
	}
	ck_ok(call(VOL_UNMAP, 0, rig.spec.size));
	ck_assert_uint_eq(rig.vol->allocated, 0);
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
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
	ck_ok(volmodel_call(&req));
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
	ck_ok(volmodel_call(&req));
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
	enginerig_abandon(&rig);
	ck_ok(enginerig_open(&rig));
	ck_assert_uint_eq(rig.vol->size, 100 * MIB + 512);
	expect(100 * MIB - 4096, buf, 4096 + 512);
	/* shrink into the middle of a block of data, grow again: the tail is zeroes */
	ck_ok(call(VOL_RESIZE, 0, 64 * MIB - 4096 - 512));
	ck_assert_int_eq(io(VOL_READ, 64 * MIB - 4096, 512, zero), LG_ERANGE);
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
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
	enginerig_abandon(&rig);
	ck_ok(enginerig_open(&rig));
	ck_assert_int_ge(enginerig_stat(&rig, "replayed_entries"), 3);
	expect(3 * MIB, buf, MIB);
	expect(4 * MIB, zero, MIB);
	expect(60 * MIB, buf, MIB);
	ck_assert_uint_eq(rig.vol->allocated, 2 * MIB);
	/* once more, without anything new: the journal is replayed again */
	enginerig_abandon(&rig);
	ck_ok(enginerig_open(&rig));
	expect(60 * MIB, buf, MIB);
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
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

/* ---- the model ---- */

static void
small(void)
{
	rig.spec.size = 24 * MIB + 512;
	rig.spec.commit_window = 2 * MIB;
	rig.params.leaf_cache = 1;
	rig.params.crc_tables = 4;
	rig.params.delete_horizon_ms = 20;
}

START_TEST(test_model)
{
	struct volmodel_load load = {.nops = 1500, .depth = 24, .max_io = 128 << 10};
	uint32_t block = _i & 1 ? 4096 : 512;

	small();
	rig.spec.block_size = block;
	rig.spec.size = 24 * MIB + block;
	rig.spec.write_cache = _i & 2;
	struct volmodel *m = volmodel_new(rig.spec.size, block, 1000 + (uint64_t)_i);
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

/* An arena so small that pages are evicted, shed into the journal and read back all the time. */
START_TEST(test_model_tiny)
{
	struct volmodel_load load = {.nops = 1500, .depth = 16, .max_io = 64 << 10};

	enginerig_fini(&rig);
	enginerig_init(&rig, "mem", 4 * MIB);
	small();
	rig.spec.commit_window = 4 * MIB;
	struct volmodel *m = volmodel_new(rig.spec.size, 512, 4711);
	create_and_open();
	for (unsigned round = 0; round < 3; round++) {
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_verify(m, rig.vol));
	}
	ck_assert_int_gt(enginerig_stat(&rig, "journal_page_reads"), 0);
	ck_assert_int_gt(enginerig_stat(&rig, "cache_evicted_pages"), 0);
	ck_assert_int_gt(enginerig_stat(&rig, "commits"), 1);
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
	struct volmodel *m = volmodel_new(rig.spec.size, 512, 99);
	create_and_open();
	for (unsigned round = 0; round < 3; round++) {
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_verify(m, rig.vol));
		/* without a flush: some older or newer block, and the next model expects what was found */
		enginerig_abandon(&rig);
		ck_ok(enginerig_open(&rig));
		ck_model(m, volmodel_verify_crash(m, rig.vol));
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_flush(m, rig.vol));
		enginerig_abandon(&rig);
		ck_ok(enginerig_open(&rig));
		ck_model(m, volmodel_verify(m, rig.vol));
	}
	volmodel_free(m);
}
END_TEST

/* ---- faults of the store ---- */

static void
fault(enum fault_kind kind, enum object_op op, const char *match, int err, unsigned times)
{
	faultstore_set(rig.store, &(struct fault){kind, op, match, err, times});
}

START_TEST(test_put_fails)
{
	static const struct {
		const char *match;
		int err;
		enum fault_kind kind;
	} cases[] = {
		{"v/c/", -ENOSPC, FAULT_ERROR},   {"v/c/", -EIO, FAULT_LOST_ANSWER},
		{"v/m/", -EIO, FAULT_ERROR},      {"v/m/", -EIO, FAULT_LOST_ANSWER},
		{"v/root", -ENOSPC, FAULT_ERROR}, {"v/root", -EIO, FAULT_LOST_ANSWER},
	};
	struct volmodel_load load = {.nops = 400, .depth = 16, .max_io = 64 << 10};

	small();
	struct volmodel *m = volmodel_new(rig.spec.size, 512, 5 + (uint64_t)_i);
	create_and_open();
	ck_model(m, volmodel_run(m, rig.vol, &load));
	fault(cases[_i].kind, OBJECT_PUT, cases[_i].match, cases[_i].err, 5);
	ck_model(m, volmodel_run(m, rig.vol, &load));
	ck_ok(enginerig_commit(&rig));
	/* a swap whose answer was lost is settled by reading back: it happened, once */
	ck_assert_uint_ge(faultstore_hits(rig.store), cases[_i].kind == FAULT_ERROR ? 5 : 1);
	ck_assert_int_eq(enginerig_stat(&rig, "degraded"), 0);
	ck_model(m, volmodel_verify(m, rig.vol));
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
	ck_model(m, volmodel_verify(m, rig.vol));
	volmodel_free(m);
}
END_TEST

/* The store is full for as long as the journal lasts: writers are held, nothing is lost, and they go on. */
START_TEST(test_store_full)
{
	uint8_t *buf = malloc(MIB);
	unsigned n = 0;

	rig.params.journal_bytes = 16 * MIB;
	create_and_open();
	fault(FAULT_ERROR, OBJECT_PUT, "v/c/", -ENOSPC, 0);
	for (; n < 8; n++) {
		fill(buf, MIB, n);
		ck_ok(io(VOL_WRITE, n * MIB, MIB, buf));
	}
	ck_assert(enginerig_wait(&rig, "degraded", 1));
	json_t *desc = volume_describe(rig.vol);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(desc, "degraded"), "error")),
			 "ENOSPC");
	json_decref(desc);
	ck_assert_int_eq(enginerig_stat(&rig, "commits"), 0);
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	for (; n < 32; n++) {
		fill(buf, MIB, n);
		ck_ok(io(VOL_WRITE, n * MIB, MIB, buf));
	}
	ck_assert_int_eq(enginerig_stat(&rig, "degraded"), 0);
	ck_assert_int_gt(enginerig_stat(&rig, "commits"), 0);
	for (n = 0; n < 32; n++) {
		fill(buf, MIB, n);
		expect(n * MIB, buf, MIB);
	}
	free(buf);
}
END_TEST

struct flood {
	struct vol_req req;
	struct page *pages[64];
	_Atomic unsigned *done;
};

static void
flood_done(struct vol_req *req)
{
	struct flood *f = container_of(req, struct flood, req);

	ck_assert_int_eq(req->status, 0);
	atomic_fetch_add(f->done, 1);
}

/* More than the journal holds, with a store that takes nothing: held, seen in the statistics, and let go. */
START_TEST(test_held)
{
	enum { N = 80 };
	struct flood *floods = calloc(N, sizeof(*floods));
	_Atomic unsigned done = 0;

	rig.params.journal_bytes = 16 * MIB;
	create_and_open();
	fault(FAULT_ERROR, OBJECT_PUT, "v/c/", -ENOSPC, 0);
	for (unsigned i = 0; i < N; i++) {
		struct flood *f = &floods[i];

		ck_assert_int_eq(arena_alloc(rig.arena, f->pages, 64), 0);
		for (unsigned p = 0; p < 64; p++)
			memset(f->pages[p]->data, (int)(i + 1), 4096);
		f->done = &done;
		f->req = (struct vol_req){.vol = rig.vol,
					  .op = VOL_WRITE,
					  .offset = i * (MIB / 4),
					  .length = MIB / 4,
					  .pages = f->pages,
					  .npages = 64,
					  .done = flood_done};
		volume_submit(&f->req);
	}
	ck_assert(enginerig_wait(&rig, "writers_held", 1));
	ck_assert_int_gt(enginerig_stat(&rig, "writers_delayed"), 0);
	ck_assert_int_gt(enginerig_stat(&rig, "writers_waiting"), 0);
	ck_assert_uint_lt(atomic_load(&done), N);
	/* reads and flushes go on */
	uint8_t page[4096];
	ck_ok(io(VOL_READ, 0, sizeof(page), page));
	ck_ok(call(VOL_FLUSH, 0, 0));
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	while (atomic_load(&done) < N)
		ck_ok(call(VOL_FLUSH, 0, 0));
	for (unsigned i = 0; i < N; i++) {
		ck_ok(io(VOL_READ, i * (MIB / 4) + 4096, sizeof(page), page));
		ck_assert_uint_eq(page[17], i + 1);
		pages_unref(floods[i].pages, 64);
	}
	free(floods);
}
END_TEST

static const char base_key[] = "v/c/03/00000003.00000002.0000000000000001";

static void
one_base(uint8_t *buf)
{
	create_and_open();
	fill(buf, MIB, 6);
	ck_ok(io(VOL_WRITE, 3 * MIB, MIB, buf));
	ck_ok(enginerig_close(&rig));
	ck_assert_uint_eq(enginerig_count(&rig, base_key), 1);
	ck_ok(enginerig_open(&rig));
}

static int
read_error(uint64_t offset, uint64_t length, uint64_t *ret_at)
{
	struct page *pages[512] = {NULL};
	struct vol_req req = {.vol = rig.vol,
			      .op = VOL_READ,
			      .offset = offset,
			      .length = length,
			      .pages = pages,
			      .npages = volume_pages(offset, length)};
	int r = volmodel_call(&req);

	*ret_at = req.err_offset;
	if (r == 0)
		pages_unref(pages, req.npages);
	return r;
}

START_TEST(test_wrong_bytes)
{
	uint8_t *buf = malloc(MIB), zero[4096] = {0};
	uint64_t at;

	one_base(buf);
	/* once: fetched again */
	fault(FAULT_FLIP, OBJECT_GET, "v/c/", 0, 1);
	expect(3 * MIB, buf, 4096);
	fault(FAULT_NONE, OBJECT_GET, "", 0, 0);
	ck_assert_int_eq(enginerig_stat(&rig, "crc_errors"), 0);
	/* for good: no data, and the place */
	ck_ok(enginerig_corrupt(&rig, base_key, MIB / 2 + 5 * 4096 + 9));
	ck_assert_int_eq(read_error(3 * MIB + MIB / 2, MIB / 4, &at), LG_ECORRUPT);
	ck_assert_uint_eq(at, 3 * MIB + MIB / 2 + 5 * 4096);
	ck_assert_int_ge(enginerig_stat(&rig, "crc_errors"), 1);
	expect(3 * MIB + MIB / 2, buf + MIB / 2, 5 * 4096);
	expect(3 * MIB + MIB / 2 + 6 * 4096, buf + MIB / 2 + 6 * 4096, 4096);
	/* a commit of the chunk carries the damage as damage, not as data */
	ck_ok(io(VOL_WRITE, 3 * MIB, 4096, zero));
	memset(buf, 0, 4096);
	ck_ok(enginerig_commit(&rig));
	ck_assert_int_eq(enginerig_stat(&rig, "unreadable_pages_carried"), 1);
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
	expect(3 * MIB, buf, 4096 * 20);
	ck_assert_int_eq(read_error(3 * MIB + MIB / 2 + 5 * 4096, 4096, &at), LG_ECORRUPT);
	/* and a write of the page heals it */
	ck_ok(io(VOL_WRITE, 3 * MIB + MIB / 2 + 5 * 4096, 4096, zero));
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
	expect(3 * MIB + MIB / 2 + 5 * 4096, zero, 4096);
	free(buf);
}
END_TEST

START_TEST(test_wrong_table)
{
	uint8_t *buf = malloc(MIB);
	uint64_t at;

	one_base(buf);
	ck_ok(enginerig_corrupt(&rig, base_key, MIB + 40));
	ck_assert_int_eq(read_error(3 * MIB, 4096, &at), LG_ECORRUPT);
	ck_assert_uint_eq(at, 3 * MIB);
	free(buf);
}
END_TEST

START_TEST(test_missing_base)
{
	uint8_t *buf = malloc(MIB);
	uint64_t at;

	one_base(buf);
	ck_ok(enginerig_delete(&rig, base_key));
	ck_assert_int_eq(read_error(3 * MIB + 8192, 4096, &at), LG_ECORRUPT);
	ck_assert_uint_eq(at, 3 * MIB + 8192);
	/* the rest of the volume goes on, commits included */
	ck_ok(io(VOL_WRITE, 3 * MIB, 4096, buf));
	ck_ok(io(VOL_WRITE, 9 * MIB, 4096, buf));
	ck_ok(enginerig_commit(&rig));
	expect(3 * MIB, buf, 4096);
	ck_assert_int_eq(read_error(3 * MIB + 8192, 4096, &at), LG_ECORRUPT);
	free(buf);
}
END_TEST

START_TEST(test_damaged_meta)
{
	uint8_t *buf = malloc(MIB);
	uint64_t at;

	one_base(buf);
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_corrupt(&rig, "v/m/00000002.0000000000000003.l00000000", 200));
	ck_ok(enginerig_open(&rig));
	ck_assert_int_eq(read_error(3 * MIB, 4096, &at), LG_ECORRUPT);
	/* put it right again: the next one who asks sees it */
	ck_ok(enginerig_corrupt(&rig, "v/m/00000002.0000000000000003.l00000000", 200));
	expect(3 * MIB, buf, 4096);
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_corrupt(&rig, "v/root", 60));
	ck_assert_int_eq(enginerig_open(&rig), LG_ECORRUPT);
	ck_ok(enginerig_corrupt(&rig, "v/root", 60));
	ck_ok(enginerig_open(&rig));
	expect(3 * MIB, buf, MIB);
	free(buf);
}
END_TEST

/* ---- the journal ---- */

START_TEST(test_poisoned)
{
	uint8_t buf[4096], old[4096];

	create_and_open();
	fill(old, sizeof(old), 1);
	fill(buf, sizeof(buf), 2);
	ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(old), old));
	/* a fault may strike a segment that is being prepared instead: that is survived */
	int r = 0;
	for (unsigned i = 0; r == 0 && i < 50; i++) {
		simfs_fail_next(rig.fs, SIMFS_FSYNC, -EIO, 0);
		r = io(VOL_WRITE, 4 * MIB, sizeof(buf), buf);
	}
	simfs_fail_next(rig.fs, SIMFS_FSYNC, 0, 0);
	ck_assert_int_eq(r, LG_EPOISONED);
	ck_assert_int_eq(rig.vol->health, LG_EPOISONED);
	ck_assert_int_eq(io(VOL_WRITE, 5 * MIB, sizeof(buf), buf), LG_EPOISONED);
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), LG_EPOISONED);
	expect(3 * MIB, old, sizeof(old));
	ck_assert_int_eq(enginerig_close(&rig), LG_EPOISONED);
	ck_ok(enginerig_open(&rig));
	expect(3 * MIB, old, sizeof(old));
	ck_ok(io(VOL_WRITE, 4 * MIB, sizeof(buf), buf));
}
END_TEST

static void
lose_journal(void)
{
	ck_assert_int_eq(journal_delete(rig.params.vfs, "/journal/v"), 0);
}

START_TEST(test_journal_missing)
{
	uint8_t buf[4096], zero[4096] = {0};

	create_and_open();
	fill(buf, sizeof(buf), 1);
	ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(buf), buf));
	ck_ok(enginerig_commit(&rig));
	ck_ok(io(VOL_WRITE, 4 * MIB, sizeof(buf), buf));
	enginerig_abandon(&rig);
	lose_journal();
	ck_assert_int_eq(enginerig_open(&rig), LG_ENOJOURNAL);
	ck_assert_msg(strstr(rig.info.text, "accept-loss"), "%s", rig.info.text);
	/* durability=store would not read it either */
	rig.spec.durability = VOL_DURABILITY_STORE;
	ck_assert_int_eq(enginerig_open(&rig), LG_ENOJOURNAL);
	rig.spec.durability = VOL_DURABILITY_JOURNAL;
	rig.spec.accept_loss = true;
	ck_ok(enginerig_open(&rig));
	expect(3 * MIB, buf, sizeof(buf));
	expect(4 * MIB, zero, sizeof(zero));
	/* after a clean stop nothing needs the old one */
	rig.spec.accept_loss = false;
	ck_ok(enginerig_close(&rig));
	lose_journal();
	ck_ok(enginerig_open(&rig));
	expect(3 * MIB, buf, sizeof(buf));
}
END_TEST

/* ---- ownership ---- */

START_TEST(test_owner)
{
	uint8_t buf[4096];

	create_and_open();
	fill(buf, sizeof(buf), 1);
	ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(buf), buf));
	struct enginerig other = rig;
	other.vol = NULL;
	other.spec.gateway_id[0] = 99;
	other.spec.journal_dir = "/other";
	ck_assert_int_eq(enginerig_open(&other), LG_EOWNED);
	ck_assert_msg(strstr(other.info.text, "07070707-0707"), "%s", other.info.text);
	/* the same gateway twice: the journal is locked */
	struct enginerig twin = rig;
	twin.vol = NULL;
	ck_assert_int_lt(enginerig_open(&twin), 0);
	/* taken by force: the first one is fenced at its next commit, whatever it does */
	other.spec.accept_loss = true;
	ck_ok(enginerig_open(&other));
	ck_ok(io(VOL_WRITE, 5 * MIB, sizeof(buf), buf));
	ck_assert_int_eq(enginerig_commit(&rig), LG_EFENCED);
	ck_assert_int_eq(rig.vol->health, LG_EFENCED);
	ck_assert_int_eq(io(VOL_WRITE, 6 * MIB, sizeof(buf), buf), LG_EFENCED);
	ck_assert_int_eq(io(VOL_READ, 3 * MIB, sizeof(buf), buf), LG_EFENCED);
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), LG_EFENCED);
	ck_assert_int_eq(volmodel_io(other.vol, VOL_WRITE, 0, 7 * MIB, sizeof(buf), buf), 0);
	ck_ok(enginerig_commit(&other));
	ck_assert_int_eq(enginerig_close(&rig), LG_EFENCED);
	ck_ok(enginerig_close(&other));
	ck_ok(enginerig_open(&other));
	ck_ok(enginerig_close(&other));
}
END_TEST

/* A swap whose answer is lost while opening is found to be ours. */
START_TEST(test_open_lost_answer)
{
	ck_ok(enginerig_create(&rig));
	fault(FAULT_LOST_ANSWER, OBJECT_PUT, "v/owner", -ETIMEDOUT, 1);
	ck_ok(enginerig_open(&rig));
	ck_ok(enginerig_close(&rig));
	fault(FAULT_LOST_ANSWER, OBJECT_PUT, "v/root", -ETIMEDOUT, 1);
	ck_ok(enginerig_open(&rig));
	ck_ok(enginerig_close(&rig));
	fault(FAULT_ERROR, OBJECT_PUT, "v/root", -EIO, 1);
	ck_assert_int_eq(enginerig_open(&rig), -EIO);
	ck_ok(enginerig_open(&rig));
}
END_TEST

/* ---- collection, idleness ---- */

START_TEST(test_dead)
{
	uint8_t buf[4096];

	rig.params.delete_horizon_ms = 30;
	create_and_open();
	for (unsigned i = 0; i < 5; i++) {
		fill(buf, sizeof(buf), i);
		ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(buf), buf));
		ck_ok(enginerig_commit(&rig));
	}
	ck_assert(enginerig_wait(&rig, "dead_deleted", 8));
	ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), 1);
	ck_assert_uint_eq(enginerig_count(&rig, "v/m/"), 1);
	expect(3 * MIB, buf, sizeof(buf));
}
END_TEST

START_TEST(test_idle)
{
	uint8_t buf[4096];
	const struct timespec ms = {0, 100000000};

	create_and_open();
	fill(buf, sizeof(buf), 1);
	ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(buf), buf));
	ck_ok(enginerig_commit(&rig));
	uint64_t seen = 0, now = 0;
	for (unsigned op = 0; op < OBJECT_OP_COUNT; op++)
		seen += faultstore_seen(rig.store, op);
	nanosleep(&ms, NULL); /* nothing may happen: there is no event to wait for */
	for (unsigned op = 0; op < OBJECT_OP_COUNT; op++)
		now += faultstore_seen(rig.store, op);
	ck_assert_uint_eq(now, seen);
}
END_TEST

START_TEST(test_sequential_fetches)
{
	uint8_t *buf = malloc(8 * MIB);

	create_and_open();
	fill(buf, 8 * MIB, 2);
	ck_ok(io(VOL_WRITE, 8 * MIB, 8 * MIB, buf));
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
	/* a random page: one data GET of 128 KiB */
	long long before = enginerig_stat(&rig, "store_base_gets");
	long long bytes = enginerig_stat(&rig, "store_base_get_bytes");
	expect(8 * MIB + 600 * 1024, buf + 600 * 1024, 4096);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_gets"), before + 1);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_get_bytes"), bytes + 131072);
	/* in a row: fewer and larger ones */
	before = enginerig_stat(&rig, "store_base_gets");
	for (unsigned i = 0; i < 7 * 16; i++)
		expect(9 * MIB + i * 65536, buf + MIB + i * 65536, 65536);
	ck_assert_int_le(enginerig_stat(&rig, "store_base_gets"), before + 20);
	free(buf);
}
END_TEST

START_TEST(test_failpoints)
{
	static const char *const points[] = {"destage.put=err:EIO*3", "commit.leaf=err:EIO*3",
					     "commit.root=err:EIO*3", "commit.release=err:EIO*1"};
	uint8_t buf[4096];

	if (failpoint_arm("", &rig.info) == -ENOTSUP)
		return;
	create_and_open();
	ck_ok(failpoint_arm(points[_i], &rig.info));
	fill(buf, sizeof(buf), 1);
	ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(buf), buf));
	ck_ok(enginerig_commit(&rig));
	expect(3 * MIB, buf, sizeof(buf));
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
	expect(3 * MIB, buf, sizeof(buf));
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("engine");
	const struct {
		const char *name;
		const TTest *test;
		int times;
		bool dir;
	} tests[] = {
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
		{"model", test_model, 4, false},
		{"model, dir", test_model, 1, true},
		{"model, tiny arena", test_model_tiny, 1, false},
		{"model, durability store", test_model_store, 1, false},
		{"put fails", test_put_fails, 6, false},
		{"store full", test_store_full, 1, false},
		{"held", test_held, 1, false},
		{"wrong bytes", test_wrong_bytes, 1, false},
		{"wrong table", test_wrong_table, 1, false},
		{"missing base", test_missing_base, 1, false},
		{"damaged meta", test_damaged_meta, 1, false},
		{"poisoned", test_poisoned, 1, false},
		{"journal missing", test_journal_missing, 1, false},
		{"owner", test_owner, 1, false},
		{"open, lost answer", test_open_lost_answer, 1, false},
		{"dead", test_dead, 1, false},
		{"idle", test_idle, 1, false},
		{"sequential", test_sequential_fetches, 1, false},
		{"failpoints", test_failpoints, 4, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
		TCase *tc = tcase_create(tests[i].name);

		tcase_add_checked_fixture(tc, tests[i].dir ? setup_dir : setup, teardown);
		tcase_add_loop_test(tc, tests[i].test, 0, tests[i].times);
		tcase_set_timeout(tc, 120);
		suite_add_tcase(s, tc);
	}
	return s;
}

int
main(void)
{
	SRunner *r = srunner_create(suite());

	log_threshold = LOG_LEVEL_ERROR;
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
