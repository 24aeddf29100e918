/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clones of chunks: what they cost and hold, who counts them, and what faults and crashes leave of them. */
#include <time.h>

#include "test/lib/enginetest.h"

#include "stores/chunked/bucket_fmt.h"

/** Bytes that were done; nothing else is expected of it. */
static uint64_t
clone(uint64_t source, uint64_t offset, uint64_t length)
{
	struct vol_req req = {
		.vol = rig.vol, .op = VOL_CLONE, .source = source, .offset = offset, .length = length};

	ck_ok(volume_call(&req));
	return req.ret_cloned;
}

static void
clone_all(unsigned source, unsigned chunk, unsigned n)
{
	ck_assert_uint_eq(clone(source * MIB, chunk * MIB, n * MIB), n * MIB);
}

static void
put_chunk(unsigned chunk, unsigned seed)
{
	uint8_t *buf = malloc(MIB);

	fill(buf, MIB, seed);
	ck_ok(io(VOL_WRITE, chunk * MIB, MIB, buf));
	free(buf);
}

static void
has(unsigned chunk, unsigned seed)
{
	uint8_t *buf = malloc(MIB);

	fill(buf, MIB, seed);
	expect(chunk * MIB, buf, MIB);
	free(buf);
}

static void
has_zeroes(unsigned chunk)
{
	uint8_t *buf = calloc(1, MIB);

	expect(chunk * MIB, buf, MIB);
	free(buf);
}

static void
trim(unsigned chunk, unsigned n)
{
	ck_ok(call(VOL_UNMAP, chunk * MIB, n * MIB));
}

/* ---- what the bucket says ---- */

static uint8_t *
get(const char *key, size_t *ret_len)
{
	struct object_req head = {.store = rig.inner, .op = OBJECT_HEAD, .key = key};

	ck_ok(object_call(rig.loop, &head));
	uint8_t *body = malloc(head.size);
	struct iovec iov = {body, head.size};
	struct object_req req = {.store = rig.inner,
				 .op = OBJECT_GET,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .length = head.size};
	ck_ok(object_call(rig.loop, &req));
	*ret_len = head.size;
	return body;
}

struct named {
	struct bucket_share *list;
	unsigned n;
};

static void
name(struct named *named, struct bucket_share base)
{
	for (unsigned i = 0; i < named->n; i++)
		if (bucket_share_order(&named->list[i], &base) == 0) {
			named->list[i].count++;
			return;
		}
	named->list = realloc(named->list, (named->n + 1) * sizeof(base));
	base.count = 1;
	named->list[named->n++] = base;
}

static void
walk_leaf(const struct bucket_leaf_ref *ref, struct named *named)
{
	struct bucket_entry *entries = calloc(BUCKET_LEAF_CHUNKS, sizeof(*entries));
	char key[OBJECT_KEY_MAX];
	size_t n;

	ck_assert_int_gt(bucket_key_leaf("v", ref, key, sizeof(key)), 0);
	uint8_t *body = get(key, &n);
	ck_ok(bucket_leaf_decode(body, n, rig.vol->uuid, ref, entries));
	for (unsigned i = 0; i < BUCKET_LEAF_CHUNKS; i++) {
		uint32_t chunk = ref->leaf << BUCKET_LEAF_SHIFT | i;

		if (bucket_entry_present(entries[i]))
			name(named,
			     (struct bucket_share){bucket_entry_origin(entries[i], chunk),
						   entries[i].generation, bucket_entry_seq(entries[i]), 0});
	}
	free(body);
	free(entries);
}

/** The table of the root counts just what its leaves name, and all of that is there.  How many bases. */
static unsigned
audit(void)
{
	struct named named = {.n = 0};
	struct bucket_root root;
	size_t n;
	uint32_t shared = 0;
	uint8_t *body = get("v/root", &n);

	ck_ok(bucket_root_decode(body, n, rig.vol->uuid, &root));
	for (uint32_t i = 0; i < root.nleaves; i++)
		walk_leaf(&root.leaves[i], &named);
	for (unsigned i = 0; i < named.n; i++) {
		const struct bucket_share *base = &named.list[i];
		char key[OBJECT_KEY_MAX];

		ck_assert_int_gt(
			bucket_key_base("v", base->origin, base->generation, base->seq, key, sizeof(key)), 0);
		struct object_req head = {.store = rig.inner, .op = OBJECT_HEAD, .key = key};
		ck_assert_msg(object_call(rig.loop, &head) == 0, "%s is gone", key);
		if (base->count < 2)
			continue;
		shared++;
		bool found = false;
		for (uint32_t s = 0; s < root.nshares && !found; s++)
			found = bucket_share_order(&root.shares[s], base) == 0 &&
				root.shares[s].count == base->count;
		ck_assert_msg(found, "%s is named %u times", key, base->count);
	}
	ck_assert_uint_eq(root.nshares, shared);
	free(named.list);
	free(body);
	bucket_root_fini(&root);
	return named.n;
}

/** After a commit: what is dead goes, and nothing else; leaks: what was dead when the daemon died stays. */
static void
commit_and_collect(bool leaks)
{
	ck_ok(enginerig_commit(&rig));
	unsigned bases = audit();
	const struct timespec ms = {0, 2000000};
	for (unsigned i = 0; i < 5000 && enginerig_stat(&rig, "dead_objects") > 0; i++)
		nanosleep(&ms, NULL);
	ck_assert_int_eq(enginerig_stat(&rig, "dead_objects"), 0);
	if (!leaks)
		ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), bases);
}

static void
collecting(void)
{
	rig.params.delete_horizon_ms = 1;
	create_and_open();
}

/* ---- single cases ---- */

/* Three chunks for a record of the journal; either side goes its own way afterwards. */
START_TEST(test_life)
{
	uint8_t part[4096], *zero = calloc(1, MIB);

	create_and_open();
	for (unsigned i = 0; i < 3; i++)
		put_chunk(3 + i, i);
	ck_ok(enginerig_commit(&rig));
	long long journal = enginerig_stat(&rig, "journal_written_bytes");
	long long puts = enginerig_stat(&rig, "store_base_puts");
	clone_all(3, 20, 3);
	ck_assert_int_le(enginerig_stat(&rig, "journal_written_bytes") - journal, 8192);
	ck_assert_uint_eq(rig.vol->allocated, 6 * MIB);
	for (unsigned i = 0; i < 3; i++)
		has(20 + i, i);
	if (_i == 1)
		crash();
	if (_i == 2)
		restart();
	/* before its commit, after it, with the leaf in memory or not */
	put_chunk(3, 77);
	fill(part, sizeof(part), 5);
	ck_ok(io(VOL_WRITE, 21 * MIB + 512, 4096, part));
	ck_ok(call(VOL_ZERO, 22 * MIB + 4096, MIB / 2));
	for (unsigned round = 0; round < 4; round++) {
		uint8_t *buf = malloc(MIB);

		has(3, 77);
		has(4, 1);
		has(5, 2);
		has(20, 0);
		fill(buf, MIB, 1);
		memcpy(buf + 512, part, 4096);
		expect(21 * MIB, buf, MIB);
		fill(buf, MIB, 2);
		memset(buf + 4096, 0, MIB / 2);
		expect(22 * MIB, buf, MIB);
		free(buf);
		if (round == 0)
			crash();
		if (round == 1)
			ck_ok(enginerig_commit(&rig));
		if (round == 2)
			restart();
		if (round)
			(void)audit();
	}
	/* 4 and 5, the old 3 as 20, the new one, and two that were merged; the clones alone cost no PUT */
	ck_assert_uint_eq(audit(), 6);
	ck_assert_int_ge(puts, 3);
	free(zero);
}
END_TEST

START_TEST(test_no_puts)
{
	create_and_open();
	put_chunk(0, 1);
	ck_ok(enginerig_commit(&rig));
	long long puts = enginerig_stat(&rig, "store_base_puts"),
		  gets = enginerig_stat(&rig, "store_base_gets");
	for (unsigned i = 1; i < 64; i *= 2)
		clone_all(0, i, i);
	ck_ok(enginerig_commit(&rig));
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_puts"), puts);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_gets"), gets);
	ck_assert_int_eq(enginerig_stat(&rig, "shared_bases"), 1);
	ck_assert_int_eq(enginerig_stat(&rig, "cloned_chunks"), 63);
	ck_assert_uint_eq(audit(), 1);
	ck_assert_uint_eq(rig.vol->allocated, 64 * MIB);
	has(63, 1);
	/* one table for all of them */
	ck_assert_int_eq(enginerig_stat(&rig, "crc_tables_loaded"), 1);
	restart();
	has(0, 1);
	has(33, 1);
	ck_assert_int_eq(enginerig_stat(&rig, "crc_tables_loaded"), 1);
}
END_TEST

/* Clones are cached and read ahead as other chunks are, whether a commit has seen them or not. */
START_TEST(test_reads)
{
	create_and_open();
	for (unsigned i = 0; i < 16; i++)
		put_chunk(i, i);
	ck_ok(enginerig_commit(&rig));
	clone_all(0, 40, 16);
	if (_i)
		ck_ok(enginerig_commit(&rig));
	crash(); /* nothing is in memory */
	uint8_t *buf = malloc(MIB);
	fill(buf, MIB, 0);
	expect(40 * MIB + 8192, buf + 8192, 4096);
	long long gets = enginerig_stat(&rig, "store_base_gets");
	expect(40 * MIB + 8192, buf + 8192, 4096);
	expect(40 * MIB, buf, 16384);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_gets"), gets);
	for (unsigned i = 0; i < 16; i++) {
		fill(buf, MIB, i);
		for (unsigned at = 0; at < MIB; at += 65536)
			expect((40 + i) * MIB + at, buf + at, 65536);
	}
	ck_assert_int_ge(enginerig_stat(&rig, "chunks_read_ahead"), 8);
	ck_assert_int_le(enginerig_stat(&rig, "store_base_gets"), 16 + 8);
	ck_assert_int_le(enginerig_stat(&rig, "store_tail_gets"), 4);
	free(buf);
}
END_TEST

/* What cannot be cloned is left alone, and that is no error. */
START_TEST(test_not)
{
	uint8_t page[4096] = {1};

	rig.spec.size = 64 * MIB + 512;
	create_and_open();
	for (unsigned i = 0; i < 4; i++)
		put_chunk(3 + i, i);
	ck_assert_uint_eq(clone(3 * MIB, 20 * MIB, 4 * MIB), 0); /* in the journal */
	ck_ok(enginerig_commit(&rig));
	ck_assert_uint_eq(clone(3 * MIB + 4096, 20 * MIB + 4096, MIB), 0);
	ck_assert_uint_eq(clone(3 * MIB, 20 * MIB + 4096, MIB), 0);
	ck_assert_uint_eq(clone(3 * MIB, 20 * MIB, MIB / 2), 0);
	ck_assert_uint_eq(clone(3 * MIB, 4 * MIB, 2 * MIB), 0); /* overlap */
	ck_assert_uint_eq(clone(4 * MIB, 3 * MIB, 2 * MIB), 0);
	ck_assert_uint_eq(clone(3 * MIB, 3 * MIB, MIB), 0);
	ck_assert_uint_eq(clone(40 * MIB, 20 * MIB, MIB), 0); /* absent */
	ck_assert_uint_eq(clone(3 * MIB, 64 * MIB, 512), 0);
	struct vol_req req = {.vol = rig.vol,
			      .op = VOL_CLONE,
			      .source = 63 * MIB + 1024,
			      .offset = 20 * MIB,
			      .length = MIB};
	ck_assert_int_eq(volume_call(&req), LG_ERANGE);
	req.source = 3 * MIB;
	req.offset = 63 * MIB + 1024;
	ck_assert_int_eq(volume_call(&req), LG_ERANGE);
	ck_assert_uint_eq(rig.vol->allocated, 4 * MIB);
	ck_assert_uint_eq(counter_read(&rig.vol->stats.bytes[VOL_CLONE]), 0);
	/* up to the first one that has changed, be it by zeroes */
	ck_ok(io(VOL_WRITE, 5 * MIB + 8192, sizeof(page), page));
	ck_assert_uint_eq(clone(3 * MIB, 20 * MIB, 4 * MIB), 2 * MIB);
	has(20, 0);
	has(21, 1);
	has_zeroes(22);
	ck_ok(call(VOL_ZERO, 4 * MIB + 4096, 4096));
	ck_assert_uint_eq(clone(3 * MIB, 30 * MIB, 4 * MIB), MIB);
	trim(3, 1);
	ck_assert_uint_eq(clone(3 * MIB, 40 * MIB, 4 * MIB), 0);
	ck_ok(enginerig_commit(&rig));
	(void)audit();
	has(30, 0);
	ck_ok(enginerig_close(&rig));
	rig.spec.read_only = true;
	ck_ok(enginerig_open(&rig));
	req = (struct vol_req){
		.vol = rig.vol, .op = VOL_CLONE, .source = 20 * MIB, .offset = 50 * MIB, .length = MIB};
	ck_assert_int_eq(volume_call(&req), -EROFS);
}
END_TEST

/* The map shows whose base it is, before the commit and after it. */
START_TEST(test_map)
{
	struct chunk_info infos[4];
	struct vol_req req = {.vol = rig.vol, .op = VOL_MAP, .infos = infos, .max_infos = 4};

	create_and_open();
	req.vol = rig.vol;
	put_chunk(3, 1);
	ck_ok(enginerig_commit(&rig));
	clone_all(3, 9, 1);
	for (unsigned round = 0; round < 3; round++) {
		ck_ok(volume_call(&req));
		ck_assert_uint_eq(req.ret_infos, 2);
		for (unsigned i = 0; i < 2; i++)
			ck_assert_str_eq(infos[i].key, "v/c/03/00000003.00000002.0000000000000001");
		ck_assert_uint_eq(infos[1].index, 9);
		ck_assert_int_eq(infos[1].state, round ? CHUNK_CLEAN : CHUNK_DIRTY);
		ck_assert_uint_eq(infos[1].dirty_bytes, 0);
		if (round == 0)
			ck_ok(enginerig_commit(&rig));
		if (round == 1) {
			restart();
			req.vol = rig.vol;
		}
	}
}
END_TEST

/* ---- who counts them ---- */

/* A base is there until the last one that names it is gone, and not longer; 1: a restart between any two steps. */
START_TEST(test_references)
{
	collecting();
	put_chunk(3, 1);
	commit_and_collect(false);
	clone_all(3, 10, 1);
	clone_all(10, 11, 1); /* of a clone that no root has */
	commit_and_collect(false);
	clone_all(11, 12, 1); /* and of one that a root has */
	for (unsigned step = 0; step < 6; step++) {
		if (_i)
			restart();
		if (step == 0)
			put_chunk(3, 2);
		else if (step == 1)
			trim(10, 1);
		else if (step == 2)
			ck_ok(call(VOL_ZERO, 11 * MIB, MIB));
		else if (step == 3)
			put_chunk(12, 3);
		else if (step == 4)
			trim(3, 1);
		else
			trim(0, 64);
		commit_and_collect(false);
		ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), step < 3    ? 2
								 : step == 3 ? 2
								 : step == 4 ? 1
									     : 0);
		if (step < 3)
			has(12, 1);
	}
}
END_TEST

/* All of it in one commit: what counts is the sum. */
START_TEST(test_one_commit)
{
	collecting();
	put_chunk(3, 1);
	put_chunk(4, 2);
	commit_and_collect(false);
	clone_all(3, 10, 2);
	put_chunk(3, 5);
	clone_all(10, 12, 2);
	trim(10, 1);
	clone_all(11, 10, 1);
	put_chunk(13, 6);
	/* 10: 4's, 11: 4's, 12: the old 3's, 13: new */
	if (_i)
		crash();
	commit_and_collect(_i);
	has(3, 5);
	has(4, 2);
	has(10, 2);
	has(11, 2);
	has(12, 1);
	has(13, 6);
	ck_assert_int_eq(enginerig_stat(&rig, "shared_bases"), 1);
	trim(4, 1);
	trim(10, 4);
	clone_all(3, 4, 1);
	trim(3, 1);
	commit_and_collect(_i);
	ck_assert_uint_eq(audit(), 1);
	has(4, 5);
}
END_TEST

/* Back to where it came from: its own base again. */
START_TEST(test_back)
{
	collecting();
	put_chunk(3, 1);
	commit_and_collect(false);
	clone_all(3, 10, 1);
	put_chunk(3, 2);
	commit_and_collect(false);
	clone_all(10, 3, 1);
	if (_i)
		crash();
	has(3, 1);
	commit_and_collect(false);
	ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), 1);
	/* onto what it is already */
	clone_all(3, 10, 1);
	commit_and_collect(false);
	ck_assert_int_eq(enginerig_stat(&rig, "shared_bases"), 1);
	trim(10, 1);
	commit_and_collect(false);
	has(3, 1);
	trim(3, 1);
	commit_and_collect(false);
	ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), 0);
}
END_TEST

/* The chunk that it was written for is past the end now. */
START_TEST(test_shrink)
{
	collecting();
	put_chunk(40, 1);
	commit_and_collect(false);
	clone_all(40, 2, 1);
	ck_ok(call(VOL_RESIZE, 0, 10 * MIB));
	commit_and_collect(false);
	restart();
	has(2, 1);
	ck_ok(call(VOL_RESIZE, 0, 64 * MIB));
	has_zeroes(40);
	clone_all(2, 40, 1);
	trim(2, 1);
	commit_and_collect(false);
	restart();
	has(40, 1);
	/* cut through a clone */
	clone_all(40, 50, 1);
	ck_ok(call(VOL_RESIZE, 0, 50 * MIB + 8192));
	crash();
	ck_ok(call(VOL_RESIZE, 0, 64 * MIB));
	uint8_t *buf = calloc(1, MIB);
	fill(buf, 8192, 1);
	expect(50 * MIB, buf, MIB);
	commit_and_collect(false);
	expect(50 * MIB, buf, MIB);
	free(buf);
}
END_TEST

/* A full table: no clone, until there is room. */
START_TEST(test_full)
{
	rig.params.shared_bases = 3;
	collecting();
	for (unsigned i = 0; i < 5; i++)
		put_chunk(i, i);
	commit_and_collect(false);
	ck_assert_uint_eq(clone(0, 10 * MIB, 5 * MIB), 3 * MIB);
	ck_assert_uint_eq(clone(0, 20 * MIB, MIB), 0);
	crash();
	ck_assert_uint_eq(clone(0, 20 * MIB, MIB), 0);
	trim(10, 1);
	ck_assert_uint_eq(clone(4 * MIB, 20 * MIB, MIB), MIB);
	ck_assert_uint_eq(clone(0, 21 * MIB, MIB), 0);
	commit_and_collect(false);
	ck_assert_int_eq(enginerig_stat(&rig, "shared_bases"), 3);
	ck_assert_uint_eq(clone(4 * MIB, 21 * MIB, MIB), 0);
	trim(20, 1);
	commit_and_collect(false);
	ck_assert_uint_eq(clone(0, 21 * MIB, 2 * MIB), MIB);
	has(21, 0);
	has(11, 1);
	has(12, 2);
}
END_TEST

/* ---- beside a commit ---- */

/* The commit stands still where _i says; what is cloned, read and written meanwhile is right afterwards, and in the root. */
START_TEST(test_beside_commit)
{
	static const char *const where[] = {"v/c/", "v/m/", "v/root"};
	uint8_t part[4096], *old = malloc(MIB);

	collecting();
	put_chunk(3, 1);
	put_chunk(4, 2);
	put_chunk(5, 9);
	commit_and_collect(false);
	fill(part, sizeof(part), 200);
	clone_all(3, 10, 1); /* frozen, a clone and nothing else */
	clone_all(3, 11, 1); /* frozen, a clone with a page */
	ck_ok(io(VOL_WRITE, 11 * MIB + 8192, sizeof(part), part));
	ck_ok(io(VOL_WRITE, 5 * MIB + 8192, sizeof(part), part)); /* frozen, a page */
	fault(FAULT_HOLD, OBJECT_PUT, where[_i], 0, 0);
	enginerig_commit_begin(&rig);
	while (faultstore_hits(rig.store) < 1)
		(void)enginerig_stat(&rig, "commit");
	clone_all(10, 12, 1);
	ck_assert_uint_eq(clone(11 * MIB, 13 * MIB, MIB), 0);
	ck_assert_uint_eq(clone(5 * MIB, 13 * MIB, MIB), 0);
	clone_all(4, 5, 1); /* over what is frozen */
	clone_all(4, 11, 1);
	has(5, 2); /* and into the cache with it */
	has(11, 2);
	has(12, 1);
	put_chunk(3, 3);
	trim(10, 1);
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	for (unsigned round = 0; round < 3; round++) {
		has(3, 3);
		has(4, 2);
		has(5, 2);
		has_zeroes(10);
		has(11, 2);
		has(12, 1);
		if (round == 0)
			crash();
		if (round == 1)
			commit_and_collect(true);
	}
	ck_assert_int_eq(enginerig_stat(&rig, "shared_bases"), 1);
	free(old);
}
END_TEST

/* Without the journal the clone never was: chunk 5 is what was committed of it. */
static void
without_the_clone(const uint8_t part[4096])
{
	uint8_t *want = malloc(MIB);

	enginerig_abandon(&rig);
	lose_journal();
	rig.spec.accept_loss = true;
	ck_ok(enginerig_open(&rig));
	fill(want, MIB, 9);
	memcpy(want + 8192, part, 4096);
	expect(5 * MIB, want, MIB);
	(void)audit();
	free(want);
}

/* A page is frozen, its chunk cloned over, and read: the base that the commit makes is that of before the clone. */
START_TEST(test_frozen_base)
{
	uint8_t part[4096];

	create_and_open();
	put_chunk(3, 1);
	put_chunk(5, 9);
	restart(); /* nothing of it is in the cache */
	fill(part, sizeof(part), 200);
	ck_ok(io(VOL_WRITE, 5 * MIB + 8192, sizeof(part), part));
	/* the leaf is here; the table of the old base is waited for */
	fault(FAULT_HOLD, OBJECT_GET, "v/c/05", 0, 0);
	enginerig_commit_begin(&rig);
	while (faultstore_hits(rig.store) < 1)
		(void)enginerig_stat(&rig, "commit");
	fault(FAULT_NONE, OBJECT_GET, "", 0, 0);
	fault(FAULT_HOLD, OBJECT_PUT, "v/root", 0, 0);
	clone_all(3, 5, 1);
	has(5, 1);
	while (faultstore_hits(rig.store) < 1)
		(void)enginerig_stat(&rig, "commit");
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	ck_assert(enginerig_wait(&rig, "commits", 1));
	has(5, 1);
	without_the_clone(part);
}
END_TEST

/* The same, with the chunk cached as the clone has it before the commit looks for its pages. */
START_TEST(test_frozen_cache)
{
	uint8_t part[4096];

	rig.params.destages = 1;
	create_and_open();
	put_chunk(2, 8);
	put_chunk(3, 1);
	put_chunk(5, 9);
	restart();
	fill(part, sizeof(part), 200);
	ck_ok(io(VOL_WRITE, 2 * MIB + 8192, sizeof(part), part));
	ck_ok(io(VOL_WRITE, 5 * MIB + 8192, sizeof(part), part));
	/* chunk 5 waits for chunk 2 */
	fault(FAULT_HOLD, OBJECT_PUT, "v/c/02", 0, 0);
	enginerig_commit_begin(&rig);
	while (faultstore_hits(rig.store) < 1)
		(void)enginerig_stat(&rig, "commit");
	clone_all(3, 5, 1);
	has(5, 1);
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	ck_assert(enginerig_wait(&rig, "commits", 1));
	has(5, 1);
	without_the_clone(part);
}
END_TEST

/* A part of a page is on its way into the destination, or of the source: there is an order. */
START_TEST(test_beside_write)
{
	_Atomic unsigned done = 0;
	struct flood f = {.done = &done};
	uint8_t *want = malloc(MIB);

	create_and_open();
	put_chunk(3, 1);
	put_chunk(5, 9);
	restart();
	ck_assert_int_eq(arena_alloc(rig.arena, f.pages, 1), 0);
	memset(f.pages[0]->data, 0xee, PAGE_SIZE_BYTES);
	f.req = (struct vol_req){.vol = rig.vol,
				 .op = VOL_WRITE,
				 .offset = (_i ? 3 : 5) * MIB + 512,
				 .length = 512,
				 .pages = f.pages,
				 .npages = 1,
				 .done = flood_done};
	fault(FAULT_HOLD, OBJECT_GET, _i ? "v/c/03" : "v/c/05", 0, 0);
	volume_submit(&f.req);
	while (faultstore_hits(rig.store) < 1)
		(void)enginerig_stat(&rig, "commit");
	struct flood c = {.done = f.done};
	c.req = (struct vol_req){.vol = rig.vol,
				 .op = VOL_CLONE,
				 .source = 3 * MIB,
				 .offset = 5 * MIB,
				 .length = MIB,
				 .done = flood_done};
	volume_submit(&c.req);
	for (unsigned i = 0; i < 20; i++)
		(void)enginerig_stat(&rig, "commit"); /* turns of the loop */
	ck_assert_int_eq(enginerig_stat(&rig, "cloned_chunks"), _i);
	fault(FAULT_NONE, OBJECT_GET, "", 0, 0);
	while (atomic_load(f.done) < 2)
		(void)enginerig_stat(&rig, "commit");
	ck_assert_uint_eq(c.req.ret_cloned, MIB);
	has(5, 1);
	fill(want, MIB, 1);
	if (_i)
		memset(want + 512, 0xee, 512);
	expect(3 * MIB, want, MIB);
	crash();
	expect(3 * MIB, want, MIB);
	has(5, 1);
	pages_unref(f.pages, 1);
	free(want);
}
END_TEST

/* ---- faults ---- */

static const struct {
	const char *match;
	int err;
	enum fault_kind kind;
} faults[] = {
	{"v/c/", -ENOSPC, FAULT_ERROR},   {"v/c/", -EIO, FAULT_LOST_ANSWER},
	{"v/m/", -EIO, FAULT_ERROR},      {"v/m/", -EIO, FAULT_LOST_ANSWER},
	{"v/root", -ENOSPC, FAULT_ERROR}, {"v/root", -EIO, FAULT_LOST_ANSWER},
};

/** Chunks 0 to 7 are there, 8 to 15 clones of them; then everything that a commit can have to do with them. */
static void
busy_commit(void)
{
	uint8_t part[4096];

	collecting();
	for (unsigned i = 0; i < 8; i++)
		put_chunk(i, i);
	ck_ok(enginerig_commit(&rig));
	clone_all(0, 8, 8);
	ck_ok(enginerig_commit(&rig));
	fill(part, sizeof(part), 200);
	put_chunk(0, 100); /* 8 alone */
	trim(9, 1);        /* 1 alone */
	put_chunk(2, 101); /* nobody names it any more */
	trim(10, 1);
	clone_all(3, 16, 1);  /* a third one */
	clone_all(12, 17, 1); /* the same number */
	trim(4, 1);
	clone_all(5, 6, 1); /* over a shared one */
	ck_ok(io(VOL_WRITE, 15 * MIB, 4096, part));
}

static void
busy_holds(void)
{
	uint8_t *want = malloc(MIB);

	has(0, 100);
	has(1, 1);
	has(2, 101);
	has(3, 3);
	has_zeroes(4);
	has(5, 5);
	has(6, 5);
	has(7, 7);
	has(8, 0);
	has_zeroes(9);
	has_zeroes(10);
	has(11, 3);
	has(12, 4);
	has(13, 5);
	has(14, 6);
	fill(want, MIB, 7);
	fill(want, 4096, 200);
	expect(15 * MIB, want, MIB);
	has(16, 3);
	has(17, 4);
	free(want);
}

/* Repeated, told twice: counted once. */
START_TEST(test_commit_fails)
{
	busy_commit();
	fault(faults[_i].kind, OBJECT_PUT, faults[_i].match, faults[_i].err, 5);
	commit_and_collect(false);
	busy_holds();
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	restart();
	busy_holds();
	trim(0, 64);
	commit_and_collect(false);
	ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), 0);
}
END_TEST

/* The end in the middle of a commit, with or without what was PUT last; then the same commit again, and all goes. */
START_TEST(test_commit_cut)
{
	busy_commit();
	fault(faults[_i].kind, OBJECT_PUT, faults[_i].match, faults[_i].err, 0);
	enginerig_commit_begin(&rig);
	while (faultstore_hits(rig.store) < 1)
		(void)enginerig_stat(&rig, "commit");
	enginerig_abandon(&rig);
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	ck_ok(enginerig_open(&rig));
	busy_holds();
	ck_ok(enginerig_commit(&rig));
	(void)audit();
	busy_holds();
	restart();
	busy_holds();
	trim(0, 64);
	ck_ok(enginerig_commit(&rig));
	ck_assert_uint_eq(audit(), 0);
}
END_TEST

/* Another gateway takes the volume in the middle: what it finds is whole, and the first one deletes nothing of it. */
START_TEST(test_fenced)
{
	busy_commit();
	struct enginerig first = rig;
	ck_ok(enginerig_commit(&rig));
	clone_all(8, 20, 1);
	trim(8, 1);
	rig.vol = NULL;
	as_gateway(9, "/elsewhere");
	rig.spec.accept_loss = true;
	ck_ok(enginerig_open(&rig));
	ck_assert_int_eq(enginerig_commit(&first), LG_EFENCED);
	busy_holds();
	clone_all(16, 30, 1);
	ck_ok(enginerig_commit(&rig));
	(void)audit();
	busy_holds();
	ck_assert_int_eq(enginerig_close(&first), LG_EFENCED);
	(void)audit();
	restart();
	busy_holds();
	has(30, 3);
}
END_TEST

/* A damaged base is damaged wherever it is named, and where it was not changed; the place is told by the one who reads. */
START_TEST(test_damage)
{
	uint8_t page[4096] = {0}, *buf = malloc(MIB);

	create_and_open();
	put_chunk(3, 1);
	ck_ok(enginerig_commit(&rig));
	clone_all(3, 9, 1);
	restart();
	ck_ok(enginerig_corrupt(&rig, "v/c/03/00000003.00000002.0000000000000001", 5 * 4096 + 7));
	ck_assert_int_eq(io(VOL_READ, 9 * MIB + 5 * 4096, 4096, page), LG_ECORRUPT);
	ck_assert_int_eq(io(VOL_READ, 3 * MIB + 5 * 4096, 4096, page), LG_ECORRUPT);
	ck_ok(io(VOL_WRITE, 9 * MIB, 4096, page));
	ck_ok(enginerig_commit(&rig));
	ck_assert_int_eq(enginerig_stat(&rig, "unreadable_pages_carried"), 1);
	ck_assert_int_eq(io(VOL_READ, 9 * MIB + 5 * 4096, 4096, page), LG_ECORRUPT);
	fill(buf, MIB, 1);
	memset(buf, 0, 4096);
	expect(9 * MIB, buf, 5 * 4096);
	expect(9 * MIB + 6 * 4096, buf + 6 * 4096, MIB - 6 * 4096);
	free(buf);
}
END_TEST

/* The store is away while a clone is read that no commit has seen: the reader is told, and so if the base is gone. */
START_TEST(test_away)
{
	uint8_t page[4096];

	create_and_open();
	put_chunk(3, 1);
	restart();
	clone_all(3, 9, 1);
	fault(FAULT_ERROR, OBJECT_GET, "v/c/", -ETIMEDOUT, 0);
	ck_assert_int_eq(io(VOL_READ, 9 * MIB, sizeof(page), page), -ETIMEDOUT);
	fault(FAULT_NONE, OBJECT_GET, "", 0, 0);
	ck_ok(enginerig_delete(&rig, "v/c/03/00000003.00000002.0000000000000001"));
	ck_assert_int_eq(io(VOL_READ, 9 * MIB, sizeof(page), page), LG_ECORRUPT);
}
END_TEST

/* ---- the model ---- */

/* Clones among everything else, and an end of each kind; 1: write cache, 2: durability "store". */
static void
model(int how, bool power)
{
	struct volmodel_load load = {.nops = 80,
				     .depth = 12,
				     .max_io = 64 << 10,
				     .max_unmap = 3 * MIB,
				     .reads = 20,
				     .writes = 10,
				     .fua_writes = 5,
				     .unmaps = 4,
				     .zeroes = 4,
				     .compares = 4,
				     .flushes = 4,
				     .clones = 40};

	small();
	rig.params.delete_horizon_ms = 1;
	rig.spec.write_cache = how & 1;
	if (how & 2) {
		rig.spec.durability = VOL_DURABILITY_STORE;
		rig.spec.journal_dir = NULL;
	}
	struct volmodel *m = volmodel_new(rig.spec.size, 512, model_seed(300 + (uint64_t)how));
	create_and_open();
	for (unsigned round = 0; round < 12; round++) {
		ck_model(m, volmodel_run(m, rig.vol, &load));
		ck_model(m, volmodel_verify(m, rig.vol));
		ck_model(m, volmodel_verify_map(m, rig.vol));
		switch (round % 6) {
		case 1:
			ck_ok(enginerig_commit(&rig));
			ck_model(m, volmodel_run(m, rig.vol, &load));
			enginerig_commit_begin(&rig);
			enginerig_abandon(&rig);
			break;
		case 3:
			enginerig_abandon(&rig);
			if (power)
				enginerig_power_cut(&rig, round);
			break;
		case 5:
			ck_ok(enginerig_close(&rig));
		}
		if (!rig.vol) {
			ck_ok(enginerig_open(&rig));
			ck_model(m, volmodel_verify_crash(m, rig.vol));
		}
		commit_and_collect(true);
		ck_model(m, volmodel_verify(m, rig.vol));
	}
	ck_assert_uint_gt(volmodel_cloned(m), 40 * MIB);
	volmodel_free(m);
}

START_TEST(test_model)
{
	model(_i, false);
}
END_TEST

START_TEST(test_model_power)
{
	model(_i, true);
}
END_TEST

int
main(void)
{
	const struct engine_case cases[] = {
		{"life", test_life, 3, false},
		{"life, dir", test_life, 3, true},
		{"no puts", test_no_puts, 1, false},
		{"reads", test_reads, 2, false},
		{"not", test_not, 1, false},
		{"map", test_map, 1, false},
		{"references", test_references, 2, false},
		{"one commit", test_one_commit, 2, false},
		{"back", test_back, 2, false},
		{"shrink", test_shrink, 1, false},
		{"full", test_full, 1, false},
		{"beside a commit", test_beside_commit, 3, false},
		{"frozen base", test_frozen_base, 1, false},
		{"frozen cache", test_frozen_cache, 1, false},
		{"beside a write", test_beside_write, 2, false},
		{"commit fails", test_commit_fails, 6, false},
		{"commit is cut", test_commit_cut, 6, false},
		{"fenced", test_fenced, 1, false},
		{"damage", test_damage, 1, false},
		{"away", test_away, 1, false},
		{"model", test_model, 4, false},
		{"model, power", test_model_power, 4, true},
	};

	return engine_main("engine, clones", cases, ARRAY_SIZE(cases));
}
