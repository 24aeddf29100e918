/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fixtures and short names of the engine's unit tests; for test programs
 * alone, each has its own rig.
 */
#ifndef LUNGATE_TEST_LIB_ENGINETEST_H
#define LUNGATE_TEST_LIB_ENGINETEST_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "stores/chunked/journal.h"
#include "test/lib/enginerig.h"

#define MIB RIG_MIB

static struct enginerig rig;

static inline void
setup(void)
{
	enginerig_init(&rig, "mem", 32 * MIB);
}

static inline void
setup_dir(void)
{
	enginerig_init(&rig, "dir", 32 * MIB);
}

static inline void
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

static inline void
create_and_open(void)
{
	ck_ok(enginerig_create(&rig));
	ck_ok(enginerig_open(&rig));
}

static inline void
restart(void)
{
	ck_ok(enginerig_close(&rig));
	ck_ok(enginerig_open(&rig));
}

static inline void
crash(void)
{
	enginerig_abandon(&rig);
	ck_ok(enginerig_open(&rig));
}

static inline void
as_gateway(uint8_t id, const char *journal_dir)
{
	memset(rig.spec.gateway_id, id, GATEWAY_ID_LEN);
	rig.spec.journal_dir = journal_dir;
}

static inline void
lose_journal(void)
{
	ck_assert_int_eq(journal_delete(rig.params.vfs, "/journal/v"), 0);
}

static inline void
fault(enum fault_kind kind, enum object_op op, const char *match, int err, unsigned times)
{
	faultstore_set(rig.store, &(struct fault){kind, op, match, err, times});
}

static inline int
io(enum vol_op op, uint64_t offset, uint64_t length, void *buf)
{
	return volmodel_io(rig.vol, op, 0, offset, length, buf);
}

static inline int
call(enum vol_op op, uint64_t offset, uint64_t length)
{
	return volume_call(&(struct vol_req){.vol = rig.vol, .op = op, .offset = offset, .length = length});
}

static inline void
fill(uint8_t *buf, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(i * 31 + (i >> 8) * 17 + seed);
}

static inline void
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

/** Many requests at once; done counts those that were answered. */
struct flood {
	struct vol_req req;
	struct page *pages[64];
	_Atomic unsigned *done;
};

static inline void
flood_done(struct vol_req *req)
{
	struct flood *f = container_of(req, struct flood, req);

	ck_assert_int_eq(req->status, 0);
	atomic_fetch_add(f->done, 1);
}

/** One write of 256 KiB each, side by side; the i-th is full of i + 1. */
static inline void
flood_writes(struct flood *floods, unsigned n, _Atomic unsigned *done)
{
	for (unsigned i = 0; i < n; i++) {
		struct flood *f = &floods[i];

		ck_assert_int_eq(arena_alloc(rig.arena, f->pages, 64), 0);
		for (unsigned p = 0; p < 64; p++)
			memset(f->pages[p]->data, (int)(i + 1), PAGE_SIZE_BYTES);
		f->done = done;
		f->req = (struct vol_req){.vol = rig.vol,
					  .op = VOL_WRITE,
					  .offset = i * (MIB / 4),
					  .length = MIB / 4,
					  .pages = f->pages,
					  .npages = 64,
					  .done = flood_done};
		volume_submit(&f->req);
	}
}

/** A volume and caches so small that everything that can happen does. */
static inline void
small(void)
{
	rig.spec.size = 24 * MIB + 512;
	rig.spec.commit_window = 2 * MIB;
	rig.params.leaf_cache = 1;
	rig.params.crc_tables = 4;
	rig.params.delete_horizon_ms = 20;
}

/** LUNGATE_MODEL_SEED=n in the environment: other loads than the usual ones. */
static inline uint64_t
model_seed(uint64_t usual)
{
	const char *text = getenv("LUNGATE_MODEL_SEED");

	return usual + (text ? strtoull(text, NULL, 10) : 0);
}

struct engine_case {
	const char *name;
	const TTest *test;
	int times;
	bool dir;
};

static inline int
engine_main(const char *name, const struct engine_case *cases, size_t n)
{
	Suite *s = suite_create(name);

	for (size_t i = 0; i < n; i++) {
		TCase *tc = tcase_create(cases[i].name);

		tcase_add_checked_fixture(tc, cases[i].dir ? setup_dir : setup, teardown);
		tcase_add_loop_test(tc, cases[i].test, 0, cases[i].times);
		tcase_set_timeout(tc, 120);
		suite_add_tcase(s, tc);
	}
	SRunner *r = srunner_create(s);
	log_threshold = LOG_LEVEL_ERROR - 1;
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
