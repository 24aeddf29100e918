/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunked engine when others fail: faults of store and journal, ownership, collection, idleness. */
#include <time.h>

#include "common/failpoint.h"
#include "test/lib/enginetest.h"

/* ---- faults of the store ---- */

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
	struct volmodel *m = volmodel_new(rig.spec.size, 512, model_seed(5 + (uint64_t)_i));
	create_and_open();
	ck_model(m, volmodel_run(m, rig.vol, &load));
	fault(cases[_i].kind, OBJECT_PUT, cases[_i].match, cases[_i].err, 5);
	ck_model(m, volmodel_run(m, rig.vol, &load));
	ck_ok(enginerig_commit(&rig));
	/* a swap whose answer was lost is settled by reading back: it happened, once */
	ck_assert_uint_ge(faultstore_hits(rig.store), cases[_i].kind == FAULT_ERROR ? 5 : 1);
	ck_assert_int_eq(enginerig_stat(&rig, "degraded"), 0);
	ck_model(m, volmodel_verify(m, rig.vol));
	restart();
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
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(desc, "store_error"), "error")),
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

/* A journal so small that a large write never fits: that is told, and whoever waits behind it goes on. */
START_TEST(test_never_fits)
{
	uint8_t *buf = malloc(4 * MIB);

	fill(buf, 4 * MIB, 1);
	rig.params.journal_segment_bytes = 2 * MIB;
	rig.params.journal_bytes = 8 * MIB;
	create_and_open();
	for (unsigned i = 0; i < 8; i++) {
		ck_ok(io(VOL_WRITE, i * MIB, MIB, buf));
		ck_assert_int_eq(io(VOL_WRITE, 16 * MIB, 4 * MIB, buf), -ENOSPC);
	}
	expect(7 * MIB, buf, MIB);
	ck_assert_int_eq(enginerig_stat(&rig, "writers_waiting"), 0);
	free(buf);
}
END_TEST

/* The disk under the dir store is full for a while: nothing is lost, and commits go on when there is room. */
START_TEST(test_disk_full)
{
	uint8_t *buf = malloc(MIB);

	create_and_open();
	ck_ok(io(VOL_WRITE, 0, MIB, memset(buf, 1, MIB)));
	ck_ok(enginerig_commit(&rig));
	simfs_set_space(rig.fs, simfs_used(rig.fs) + MIB / 2);
	for (unsigned i = 1; i < 6; i++)
		ck_ok(io(VOL_WRITE, i * MIB, MIB, memset(buf, (int)i + 1, MIB)));
	rig.params.close_timeout_ms = 50;
	ck_assert_int_eq(call(VOL_FLUSH, 0, 0), 0);
	/* the journal keeps what the store cannot take */
	crash();
	enginerig_commit_begin(&rig);
	ck_assert(enginerig_wait(&rig, "degraded", 1));
	ck_assert_int_eq(enginerig_close(&rig), -ENOSPC);
	ck_ok(enginerig_open(&rig));
	simfs_set_space(rig.fs, UINT64_MAX);
	ck_ok(enginerig_commit(&rig));
	for (unsigned i = 0; i < 6; i++)
		expect(i * MIB, memset(buf, (int)i + 1, MIB), MIB);
	rig.params.close_timeout_ms = 0;
	restart();
	for (unsigned i = 0; i < 6; i++)
		expect(i * MIB, memset(buf, (int)i + 1, MIB), MIB);
	free(buf);
}
END_TEST

/* More than the journal holds, with a store that takes nothing: held, seen in the statistics, and let go. */
START_TEST(test_held)
{
	enum { N = 80 };
	struct flood *floods = calloc(N, sizeof(*floods));
	_Atomic unsigned done = 0;

	rig.params.journal_bytes = 16 * MIB;
	create_and_open();
	fault(FAULT_ERROR, OBJECT_PUT, "v/c/", -ENOSPC, 0);
	flood_writes(floods, N, &done);
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
	int r = volume_call(&req);

	*ret_at = req.err_offset;
	if (r == 0)
		pages_unref(pages, req.npages);
	return r;
}

/* Who wants what is on its way already waits for it. */
START_TEST(test_one_fetch)
{
	enum { N = 6 };
	uint8_t *buf = malloc(MIB);
	struct flood *floods = calloc(N, sizeof(*floods));
	_Atomic unsigned done = 0;

	one_base(buf);
	uint64_t seen = faultstore_seen(rig.store, OBJECT_GET);
	/* the leaf comes first, then table and data at once */
	fault(FAULT_HOLD, OBJECT_GET, "v/c/", 0, 0);
	for (unsigned i = 0; i < N; i++) {
		struct flood *f = &floods[i];

		f->done = &done;
		f->req = (struct vol_req){.vol = rig.vol,
					  .op = VOL_READ,
					  .offset = 3 * MIB + i * 8192,
					  .length = 16384,
					  .pages = f->pages,
					  .npages = 4,
					  .done = flood_done};
		volume_submit(&f->req);
	}
	while (faultstore_hits(rig.store) < 2)
		(void)enginerig_stat(&rig, "commit");
	for (unsigned i = 0; i < 20; i++)
		(void)enginerig_stat(&rig, "commit"); /* turns of the loop */
	ck_assert_uint_eq(faultstore_hits(rig.store), 2);
	ck_assert_uint_eq(faultstore_seen(rig.store, OBJECT_GET), seen + 3);
	fault(FAULT_NONE, OBJECT_GET, "", 0, 0);
	while (atomic_load(&done) < N)
		(void)enginerig_stat(&rig, "commit");
	for (unsigned i = 0; i < N; i++) {
		ck_assert_mem_eq(floods[i].pages[1]->data, buf + i * 8192 + 4096, 4096);
		pages_unref(floods[i].pages, 4);
	}
	free(floods);
	free(buf);
}
END_TEST

/* A store that is away has tried for as long as it may: asking it again would double the wait. */
START_TEST(test_away)
{
	static const int reasons[] = {-ETIMEDOUT, -ECONNREFUSED, -EACCES, -EKEYREJECTED};
	uint8_t *buf = malloc(MIB), page[4096];

	one_base(buf);
	fault(FAULT_ERROR, OBJECT_GET, "", -ETIMEDOUT, 0);
	ck_assert_int_eq(io(VOL_READ, 3 * MIB, sizeof(page), page), -ETIMEDOUT);
	ck_assert_uint_eq(faultstore_hits(rig.store), 1); /* the leaf */
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		fault(FAULT_ERROR, OBJECT_GET, "v/c/", reasons[i], 0);
		ck_assert_int_eq(io(VOL_READ, 3 * MIB, sizeof(page), page), reasons[i]);
		ck_assert_uint_eq(faultstore_hits(rig.store), 2); /* data and table */
	}
	fault(FAULT_ERROR, OBJECT_GET, "v/c/", -EIO, 2);
	expect(3 * MIB, buf, sizeof(page));
	free(buf);
}
END_TEST

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
	restart();
	expect(3 * MIB, buf, 4096 * 20);
	ck_assert_int_eq(read_error(3 * MIB + MIB / 2 + 5 * 4096, 4096, &at), LG_ECORRUPT);
	/* and a write of the page heals it */
	ck_ok(io(VOL_WRITE, 3 * MIB + MIB / 2 + 5 * 4096, 4096, zero));
	restart();
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

/* ---- a journal of another time in the place of ours ---- */

static int
count_aside(void *arg, const char *name, bool is_dir)
{
	unsigned *n = arg;

	*n += is_dir && !strncmp(name, "v.old-", 6);
	return 0;
}

static unsigned
set_aside(void)
{
	unsigned n = 0;

	ck_ok(rig.params.vfs->ops->readdir(rig.params.vfs, "/journal", count_aside, &n));
	return n;
}

/** Deleted by a gateway that knows nothing of our journal. */
static void
delete_elsewhere(void)
{
	struct volume_spec spec = rig.spec;

	memset(spec.gateway_id, 9, GATEWAY_ID_LEN);
	spec.journal_dir = NULL;
	spec.accept_loss = true;
	ck_ok(chunked_delete_with(&spec, &rig.params, rig.loop, NULL, NULL, &rig.info));
	memset(rig.spec.uuid, 0, UUID_LEN);
}

/* To another gateway and back, cleanly or (1) by force: what is at home is never replayed over what was done there. */
START_TEST(test_back_home)
{
	uint8_t first[4096], second[4096], third[4096];

	fill(first, sizeof(first), 1);
	fill(second, sizeof(second), 2);
	fill(third, sizeof(third), 3);
	create_and_open();
	ck_ok(io(VOL_WRITE, 0, sizeof(first), first));
	ck_ok(enginerig_commit(&rig));
	ck_ok(io(VOL_WRITE, MIB, sizeof(first), first));
	if (_i)
		enginerig_abandon(&rig);
	else
		ck_ok(enginerig_close(&rig));
	as_gateway(9, "/elsewhere");
	rig.spec.accept_loss = _i;
	ck_ok(enginerig_open(&rig));
	ck_ok(io(VOL_WRITE, MIB, sizeof(second), second));
	ck_ok(enginerig_close(&rig));
	as_gateway(7, "/journal");
	rig.spec.accept_loss = false;
	for (unsigned i = 0; i < 3; i++) {
		ck_ok(enginerig_open(&rig));
		ck_assert_int_eq(enginerig_stat(&rig, "replayed_entries"), i == 2);
		ck_assert_uint_eq(set_aside(), 1);
		expect(0, first, sizeof(first));
		expect(MIB, i == 2 ? third : second, sizeof(second));
		if (i == 0)
			ck_ok(enginerig_close(&rig));
		if (i == 1) {
			ck_ok(io(VOL_WRITE, MIB, sizeof(third), third));
			enginerig_abandon(&rig);
		}
	}
}
END_TEST

/* The same name, another volume; the old one's journal is clean. */
START_TEST(test_made_anew)
{
	uint8_t buf[4096], zero[4096] = {0};

	fill(buf, sizeof(buf), 1);
	create_and_open();
	ck_ok(io(VOL_WRITE, MIB, sizeof(buf), buf));
	ck_ok(enginerig_close(&rig));
	delete_elsewhere();
	create_and_open();
	ck_assert_int_eq(enginerig_stat(&rig, "replayed_entries"), 0);
	ck_assert_uint_eq(set_aside(), 1);
	expect(MIB, zero, sizeof(zero));
}
END_TEST

/* Nothing says that what the journal of another volume holds is anywhere else. */
START_TEST(test_anothers_changes)
{
	uint8_t buf[4096], zero[4096] = {0};

	fill(buf, sizeof(buf), 1);
	create_and_open();
	ck_ok(io(VOL_WRITE, MIB, sizeof(buf), buf));
	enginerig_abandon(&rig);
	delete_elsewhere();
	ck_ok(enginerig_create(&rig));
	ck_assert_int_eq(enginerig_open(&rig), -EEXIST);
	ck_assert_msg(strstr(rig.info.text, "of another volume"), "%s", rig.info.text);
	ck_assert_msg(strstr(rig.info.text, "sequences 1 to 1 may never"), "%s", rig.info.text);
	ck_assert_msg(strstr(rig.info.text, "mv /journal/v /journal/v.old-"), "%s", rig.info.text);
	ck_assert_uint_eq(set_aside(), 0);
	rig.spec.accept_loss = true;
	ck_ok(enginerig_open(&rig));
	ck_assert_uint_eq(set_aside(), 1);
	expect(MIB, zero, sizeof(zero));
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

/* A store that refuses deletions, for longer than anybody would try: nothing is leaked, and reads go on. */
START_TEST(test_dead_refused)
{
	uint8_t buf[4096];

	rig.params.delete_horizon_ms = 10;
	create_and_open();
	fault(FAULT_ERROR, OBJECT_DELETE, "", -EACCES, 9);
	for (unsigned i = 0; i < 5; i++) {
		fill(buf, sizeof(buf), i);
		ck_ok(io(VOL_WRITE, 3 * MIB, sizeof(buf), buf));
		ck_ok(enginerig_commit(&rig));
	}
	ck_assert(enginerig_wait(&rig, "dead_deleted", 8));
	ck_assert_uint_eq(faultstore_hits(rig.store), 9);
	ck_assert_int_eq(enginerig_stat(&rig, "dead_leaked"), 0);
	ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), 1);
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
	restart();
	/* a random page: one data GET of 64 KiB */
	long long before = enginerig_stat(&rig, "store_base_gets");
	long long bytes = enginerig_stat(&rig, "store_base_get_bytes");
	expect(8 * MIB + 600 * 1024, buf + 600 * 1024, 4096);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_gets"), before + 1);
	ck_assert_int_eq(enginerig_stat(&rig, "store_base_get_bytes"), bytes + 65536);
	/* in a row: fewer and larger ones */
	before = enginerig_stat(&rig, "store_base_gets");
	for (unsigned i = 0; i < 7 * 16; i++)
		expect(9 * MIB + i * 65536, buf + MIB + i * 65536, 65536);
	ck_assert_int_le(enginerig_stat(&rig, "store_base_gets"), before + 20);
	free(buf);
}
END_TEST

/* A reader in sequence finds its chunks fetched ahead, one GET each, table and all; what is wrong in them is seen. */
START_TEST(test_read_ahead)
{
	uint8_t *buf = malloc(16 * MIB);
	uint64_t at;

	create_and_open();
	fill(buf, 16 * MIB, 3);
	memset(buf + 9 * MIB + 8192, 0, MIB - 8192); /* a base that stores two pages */
	for (unsigned i = 0; i < 16; i++)
		ck_ok(io(VOL_WRITE, (8 + i) * MIB, MIB, buf + i * MIB));
	restart();
	/* once wrong: fetched again */
	fault(FAULT_FLIP, OBJECT_GET, "v/c/0b/", 0, 1);
	for (unsigned i = 0; i < 16 * 16; i++)
		expect(8 * MIB + i * 65536, buf + i * 65536, 65536);
	ck_assert_uint_eq(faultstore_hits(rig.store), 1);
	fault(FAULT_NONE, OBJECT_GET, "", 0, 0);
	ck_assert_int_ge(enginerig_stat(&rig, "chunks_read_ahead"), 8);
	ck_assert_int_le(enginerig_stat(&rig, "store_base_gets"), 16 + 8);
	ck_assert_int_le(enginerig_stat(&rig, "store_tail_gets"), 4);
	ck_assert_int_eq(enginerig_stat(&rig, "crc_errors"), 0);
	ck_ok(enginerig_close(&rig));
	/* for good: a page of one, the table of another, all of a third */
	ck_ok(enginerig_corrupt(&rig, "v/c/0c/0000000c.00000002.0000000000000005", 77 * 4096 + 1));
	ck_ok(enginerig_corrupt(&rig, "v/c/0e/0000000e.00000002.0000000000000007", MIB + 40));
	ck_ok(enginerig_delete(&rig, "v/c/10/00000010.00000002.0000000000000009"));
	ck_ok(enginerig_open(&rig));
	for (unsigned i = 0; i < 16 * 16; i++) {
		uint64_t offset = 8 * MIB + i * 65536;
		bool bad = offset == 12 * MIB + 64 * 4096 || offset / MIB == 14 || offset / MIB == 16;

		if (!bad) {
			expect(offset, buf + i * 65536, 65536);
			continue;
		}
		ck_assert_int_eq(read_error(offset, 65536, &at), LG_ECORRUPT);
		ck_assert_uint_eq(at, offset / MIB == 12 ? 12 * MIB + 77 * 4096 : offset);
	}
	free(buf);
}
END_TEST

/* A full chunk is PUT before its commit; what is changed meanwhile, or later, is what the commit keeps. */
START_TEST(test_early)
{
	uint8_t *buf = malloc(4 * MIB), page[4096];

	rig.params.delete_horizon_ms = 1;
	create_and_open();
	fill(buf, 4 * MIB, 5);
	fill(page, sizeof(page), 6);
	/* 3: as it was; 4: changed while it is on its way; 5: afterwards; 6: wiped */
	fault(FAULT_HOLD, OBJECT_PUT, "v/c/04", 0, 0);
	for (unsigned i = 0; i < 4; i++)
		ck_ok(io(VOL_WRITE, (3 + i) * MIB, MIB, buf + i * MIB));
	ck_assert(enginerig_wait(&rig, "early_bases", 3));
	ck_assert_uint_eq(faultstore_hits(rig.store), 1);
	ck_assert_int_eq(enginerig_stat(&rig, "commits"), 0);
	ck_ok(io(VOL_WRITE, 4 * MIB + 40960, sizeof(page), page));
	memcpy(buf + MIB + 40960, page, sizeof(page));
	if (_i == 1) {
		/* the commit waits for what is on its way */
		enginerig_commit_begin(&rig);
		ck_assert(enginerig_wait(&rig, "dirty_chunks", 4));
	}
	fault(FAULT_NONE, OBJECT_PUT, "", 0, 0);
	ck_ok(io(VOL_WRITE, 5 * MIB + 8192, sizeof(page), page));
	memcpy(buf + 2 * MIB + 8192, page, sizeof(page));
	ck_ok(volume_call(
		&(struct vol_req){.vol = rig.vol, .op = VOL_UNMAP, .offset = 6 * MIB, .length = MIB}));
	memset(buf + 3 * MIB, 0, MIB);
	expect(3 * MIB, buf, 4 * MIB);
	if (_i == 2)
		crash();
	ck_ok(enginerig_commit(&rig));
	expect(3 * MIB, buf, 4 * MIB);
	if (_i == 0) {
		ck_assert_int_eq(enginerig_stat(&rig, "early_bases_dropped"), 3);
		ck_assert(enginerig_wait(&rig, "dead_deleted", 3));
		ck_assert_uint_eq(enginerig_count(&rig, "v/c/"), 3);
	}
	restart();
	expect(3 * MIB, buf, 4 * MIB);
	free(buf);
}
END_TEST

/* What fails early is the commit's business: nothing is degraded by it, and nothing is lost. */
START_TEST(test_early_fails)
{
	uint8_t *buf = malloc(2 * MIB);

	create_and_open();
	fill(buf, 2 * MIB, 7);
	fault(FAULT_ERROR, OBJECT_PUT, "v/c/", -EIO, 2);
	for (unsigned i = 0; i < 2; i++)
		ck_ok(io(VOL_WRITE, (3 + i) * MIB, MIB, buf + i * MIB));
	ck_assert(enginerig_wait(&rig, "early_bases_dropped", 2));
	ck_assert_int_eq(enginerig_stat(&rig, "degraded"), 0);
	restart();
	expect(3 * MIB, buf, 2 * MIB);
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
	restart();
	expect(3 * MIB, buf, sizeof(buf));
}
END_TEST

int
main(void)
{
	const struct engine_case cases[] = {
		{"put fails", test_put_fails, 6, false},
		{"store full", test_store_full, 1, false},
		{"never fits", test_never_fits, 1, false},
		{"disk full", test_disk_full, 1, true},
		{"held", test_held, 1, false},
		{"one fetch", test_one_fetch, 1, false},
		{"away", test_away, 1, false},
		{"wrong bytes", test_wrong_bytes, 1, false},
		{"wrong table", test_wrong_table, 1, false},
		{"missing base", test_missing_base, 1, false},
		{"damaged meta", test_damaged_meta, 1, false},
		{"poisoned", test_poisoned, 1, false},
		{"journal missing", test_journal_missing, 1, false},
		{"owner", test_owner, 1, false},
		{"back home", test_back_home, 2, false},
		{"made anew", test_made_anew, 1, false},
		{"another's changes", test_anothers_changes, 1, false},
		{"open, lost answer", test_open_lost_answer, 1, false},
		{"dead", test_dead, 1, false},
		{"dead-refused", test_dead_refused, 1, false},
		{"idle", test_idle, 1, false},
		{"sequential", test_sequential_fetches, 1, false},
		{"read ahead", test_read_ahead, 1, false},
		{"early", test_early, 3, false},
		{"early fails", test_early_fails, 1, false},
		{"failpoints", test_failpoints, 4, false},
	};

	return engine_main("engine, faults", cases, ARRAY_SIZE(cases));
}
