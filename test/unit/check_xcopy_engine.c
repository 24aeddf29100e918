/* SPDX-License-Identifier: GPL-2.0-or-later */
/* EXTENDED COPY on a chunked volume: what it costs in journal, store and memory, and what a restart finds. */
#include "test/lib/enginetest.h"

#include "test/lib/scsirig.h"
#include "test/unit/copy_list.h"

static struct rig scsi;
static struct copy_list list;

static void
open_with_target(void)
{
	create_and_open();
	rig_init_around(&scsi, rig.vol);
	rig_clear_attentions(&scsi);
}

static void
teardown_target(void)
{
	rig_fini_around(&scsi);
	teardown();
}

static void
begin_list(void)
{
	const struct volume *vols[] = {rig.vol};

	copy_list_begin(&list, 1, vols, 1);
}

static void
copy_list(void)
{
	struct cmd cmd;
	enum scsi_status status;

	cmd_init(&cmd, &scsi, 0, list.cdb, 16);
	cmd.out = list.bytes;
	cmd.task.out_room = list.len;
	status = cmd_do(&cmd);
	ck_assert_msg(status == SCSI_GOOD, "status %02x sense %06x", status, cmd_sense(&cmd));
}

static void
copy(uint64_t from, uint64_t to, uint64_t bytes)
{
	begin_list();
	copy_list_segment(&list, 0, 0, (uint32_t)(bytes / 512), from / 512, to / 512);
	copy_list();
}

/* 1 GiB of nothing, in 64 segments, over what was committed, and what was not. */
START_TEST(test_hole)
{
	uint8_t *buf = malloc(3 * MIB), *zero = calloc(1, 3 * MIB);
	long long before;
	uint64_t read;

	rig.spec.size = 4096 * MIB;
	open_with_target();
	fill(buf, 3 * MIB, 1);
	ck_ok(io(VOL_WRITE, 2048 * MIB, 3 * MIB, buf));
	ck_ok(enginerig_commit(&rig));
	ck_ok(io(VOL_WRITE, 3000 * MIB, 3 * MIB, buf));
	ck_assert_uint_eq(rig.vol->allocated, 6 * MIB);
	before = enginerig_stat(&rig, "journal_written_bytes");
	read = counter_read(&rig.vol->stats.bytes[VOL_READ]);
	begin_list();
	for (unsigned i = 0; i < 64; i++)
		copy_list_segment(&list, 0, 0, 32768, 32768 * i, 32768 * (128 + i));
	copy_list();
	ck_assert_uint_eq(rig.vol->allocated, 0);
	ck_assert_int_le(enginerig_stat(&rig, "journal_written_bytes") - before, 4 * 8192);
	ck_assert_uint_eq(counter_read(&rig.vol->stats.bytes[VOL_READ]), read);
	expect(2048 * MIB, zero, 3 * MIB);
	expect(3000 * MIB, zero, 3 * MIB);
	ck_ok(enginerig_commit(&rig));
	free(buf);
	free(zero);
}
END_TEST

/* Pages that are zeroes by the page, within chunks that are there, cost nothing either. */
START_TEST(test_sparse_chunks)
{
	uint8_t page[4096], zero[8192] = {0};
	long long before;

	open_with_target();
	fill(page, sizeof(page), 7);
	for (unsigned i = 0; i < 8; i++)
		ck_ok(io(VOL_WRITE, i * MIB + 512 * 1024, 4096, page));
	before = enginerig_stat(&rig, "journal_written_bytes");
	copy(0, 32 * MIB, 8 * MIB);
	ck_assert_int_le(enginerig_stat(&rig, "journal_written_bytes") - before, 8 * 8 * 4096);
	for (unsigned i = 0; i < 8; i++) {
		expect((32 + i) * MIB + 512 * 1024, page, 4096);
		expect((32 + i) * MIB + 512 * 1024 - 8192, zero, 8192);
		expect((32 + i) * MIB + 512 * 1024 + 4096, zero, 8192);
	}
}
END_TEST

/* Both places have the same pages: no byte was copied. */
START_TEST(test_by_reference)
{
	uint8_t *buf = malloc(8 * MIB);
	size_t pages;

	open_with_target();
	fill(buf, 8 * MIB, 3);
	for (unsigned i = 0; i < 8; i++)
		ck_ok(io(VOL_WRITE, i * MIB, MIB - 4096,
			 buf + i * MIB)); /* no chunk is complete: none is destaged */
	pages = arena_free_pages(rig.arena);
	copy(0, 32 * MIB, 8 * MIB);
	ck_assert_uint_ge(arena_free_pages(rig.arena) + 256, pages);
	for (unsigned i = 0; i < 8; i++)
		expect((32 + i) * MIB, buf + i * MIB, MIB - 4096);
	free(buf);
}
END_TEST

/* Whatever the place in the page; in memory, in the journal, in the store, after a restart. */
START_TEST(test_data)
{
	static const struct {
		uint64_t from, to, bytes;
	} copies[] = {{0, 20 * MIB, 5 * MIB},
		      {512, 30 * MIB, 3 * MIB},
		      {4096 * 3, 30 * MIB + 512, 4 * MIB - 512},
		      {20 * MIB, 20 * MIB + 4096, 5 * MIB},
		      {20 * MIB + 1024, 20 * MIB, 4 * MIB}};
	uint8_t *model = calloc(1, 64 * MIB);

	open_with_target();
	fill(model, 3 * MIB + 4096, 9);
	ck_ok(io(VOL_WRITE, 0, 3 * MIB + 4096, model));
	for (size_t i = 0; i < ARRAY_SIZE(copies); i++) {
		if (i % 2)
			ck_ok(enginerig_commit(&rig));
		copy(copies[i].from, copies[i].to, copies[i].bytes);
		memmove(model + copies[i].to, model + copies[i].from, copies[i].bytes);
		expect(copies[i].to - MIB, model + copies[i].to - MIB, copies[i].bytes + 2 * MIB);
	}
	rig_fini_around(&scsi);
	crash();
	rig_init_around(&scsi, rig.vol);
	for (uint64_t at = 0; at < 64 * MIB; at += 8 * MIB)
		expect(at, model + at, 8 * MIB);
	free(model);
}
END_TEST

/* Aligned chunks that a commit has seen: a record of the journal, and nothing is read; what is not of that kind comes along. */
START_TEST(test_clone)
{
	uint8_t *buf = malloc(8 * MIB);
	long long before;
	uint64_t read;

	open_with_target();
	fill(buf, 8 * MIB, 3);
	ck_ok(io(VOL_WRITE, 0, 8 * MIB, buf));
	ck_ok(enginerig_commit(&rig));
	before = enginerig_stat(&rig, "journal_written_bytes");
	read = counter_read(&rig.vol->stats.bytes[VOL_READ]);
	copy(0, 16 * MIB, 8 * MIB);
	ck_assert_int_le(enginerig_stat(&rig, "journal_written_bytes") - before, 8192);
	ck_assert_uint_eq(counter_read(&rig.vol->stats.bytes[VOL_READ]), read);
	ck_assert_int_eq(enginerig_stat(&rig, "cloned_chunks"), 8);
	expect(16 * MIB, buf, 8 * MIB);
	/* head and tail are copied; of a chunk that was changed since, all of it */
	copy(MIB - 4096, 32 * MIB - 4096, 3 * MIB + 8192);
	ck_assert_int_eq(enginerig_stat(&rig, "cloned_chunks"), 11);
	memset(buf + 2 * MIB + 512, 0xee, 1024);
	ck_ok(io(VOL_WRITE, 2 * MIB + 512, 1024, buf + 2 * MIB + 512));
	copy(0, 40 * MIB, 8 * MIB);
	ck_assert_int_eq(enginerig_stat(&rig, "cloned_chunks"), 18);
	copy(16 * MIB, 50 * MIB, 8 * MIB); /* a clone of clones */
	ck_assert_int_eq(enginerig_stat(&rig, "cloned_chunks"), 26);
	for (unsigned round = 0; round < 3; round++) {
		expect(40 * MIB, buf, 8 * MIB);
		expect(50 * MIB, buf, 2 * MIB);
		expect(53 * MIB, buf + 3 * MIB, 5 * MIB);
		expect(32 * MIB - 4096, buf + MIB - 4096, MIB + 4096);
		expect(34 * MIB, buf + 3 * MIB, MIB + 4096);
		rig_fini_around(&scsi);
		if (round == 0)
			crash();
		else
			restart();
		rig_init_around(&scsi, rig.vol);
	}
	free(buf);
}
END_TEST

int
main(void)
{
	static const struct {
		const char *name;
		void (*setup)(void);
	} stores[] = {{"mem", setup}, {"dir", setup_dir}};
	const TTest *const tests[] = {test_hole, test_sparse_chunks, test_by_reference, test_data,
				      test_clone};
	Suite *suite = suite_create("xcopy engine");
	SRunner *runner = srunner_create(suite);
	int failed;

	(void)engine_main;
	log_threshold = LOG_LEVEL_ERROR - 1;
	for (size_t s = 0; s < ARRAY_SIZE(stores); s++) {
		TCase *tcase = tcase_create(stores[s].name);

		tcase_set_timeout(tcase, 120);
		tcase_add_checked_fixture(tcase, stores[s].setup, teardown_target);
		for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
			tcase_add_test(tcase, tests[i]);
		suite_add_tcase(suite, tcase);
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
