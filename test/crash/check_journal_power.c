/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal when the power goes: at every call that changes the disk, with
 * several ways for the disk to keep, drop or tear what was not synced, and again
 * while recovering from that.  What was acknowledged is there with the right
 * bytes; what was not is there whole or not at all.
 *
 * And the checker itself: where a sync is left out it must find losses.
 *
 * LUNGATE_POWER_SEEDS=n in the environment: n disks a cut instead of the default.
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "common/util.h"
#include "stores/chunked/journal_fmt.h"
#include "test/lib/journalrig.h"
#include "test/lib/simfs.h"

static struct simfs *fs;
static struct rig rig;
/* a verdict of rig_check() on a run; NULL = kept every promise */
static const char *verdict;
static uint64_t acked;

static unsigned
seeds(void)
{
	const char *text = getenv("LUNGATE_POWER_SEEDS");

	return text ? (unsigned)strtoul(text, NULL, 10) : 2;
}

/** Appends of all sizes, alone and in crowds, through more than one segment, with releases between. */
static void
work(uint64_t seed, unsigned rounds)
{
	for (unsigned i = 0; i < rounds && rig_health(&rig) == 0; i++) {
		unsigned crowd = i % 4 == 3 ? 6 : 1, size = i % 5 == 4 ? 60 : 4;

		for (unsigned k = 0; k < crowd; k++) {
			if (rig_room(&rig) < (uint64_t)size * PAGE_SIZE_BYTES)
				break;
			rig_append(&rig, &seed, size);
		}
		rig_wait(&rig);
		if (i % 6 == 5 && rig.last_acked_seq > rig.covered_seq + 20)
			rig_release(&rig, rig.last_acked_seq - 20);
	}
}

/** Open after a cut; false: there is no journal, or a verdict. */
static bool
recover(void)
{
	int rc = rig_open(&rig, false, rig.acked || rig.nmust ? rig.uuid : NULL);

	if (rc == LG_ENOJOURNAL && !rig.acked && !rig.nmust)
		return false; /* cut while it was being made */
	if (rc) {
		static char words[1100];

		(void)snprintf(words, sizeof(words), "recovery failed: %s", rig.info.text);
		verdict = words;
		return false;
	}
	verdict = rig_check(&rig);
	if (!verdict)
		verdict = rig_read_all(&rig, false);
	if (verdict)
		rig_close(&rig, false);
	return !verdict;
}

static void
begin(void)
{
	fs = simfs_new();
	rig.vfs = simfs_vfs(fs);
	rig.covered_seq = 0;
	rig.generation = 0;
	rig.nmust = rig.ngot = 0;
	rig.acked = rig.last_acked_seq = 0;
	verdict = NULL;
}

static void
end(void)
{
	acked += rig.acked;
	if (rig.j)
		rig_close(&rig, false);
	rig_forget(&rig);
	simfs_free(fs);
}

/** One history: a life cut at the n-th change of the disk, a recovery cut as well, a short life, a last look.
 */
static bool
one_run(uint64_t n, uint64_t seed)
{
	uint64_t dice = seed * 1000003 + n;
	bool cut;

	begin();
	simfs_cut_after(fs, n);
	if (rig_open(&rig, true, NULL) == 0) {
		work(seed, 18);
		rig_close(&rig, false);
	}
	cut = simfs_is_off(fs);
	simfs_power_cut(fs, dice);
	/* the power goes again, somewhere in the recovery or what follows */
	for (unsigned life = 0; life < 2 && !verdict; life++) {
		simfs_cut_after(fs, 1 + rig_random(&dice) % (life ? 30 : 12));
		bool open = recover();

		if (!open && simfs_is_off(fs))
			verdict = NULL;
		if (open) {
			work(rig_random(&dice), 5);
			rig_close(&rig, false);
		}
		simfs_power_cut(fs, rig_random(&dice));
	}
	simfs_cut_after(fs, 0);
	if (!verdict && recover()) {
		work(rig_random(&dice), 2);
		rig_close(&rig, false);
		(void)recover();
	}
	end();
	return cut;
}

static void
setup(void)
{
	rig_init(&rig, NULL, "/j/vol");
	acked = 0;
}

static void
teardown(void)
{
	rig_fini(&rig);
}

START_TEST(every_cut_keeps_the_promise)
{
	uint64_t n;

	for (n = 1;; n++) {
		bool cut = false;

		for (uint64_t seed = 0; seed < seeds(); seed++) {
			cut |= one_run(n, seed);
			ck_assert_msg(!verdict, "cut %llu, seed %llu: %s", (unsigned long long)n,
				      (unsigned long long)seed, verdict);
		}
		if (!cut)
			break;
	}
	ck_assert_uint_gt(n, 60);
	ck_assert_uint_gt(acked, 1000);
}
END_TEST

/* ---- an old journal in the way -------------------------------------------------- */

/** Cut at the n-th change while it is set aside; false: nothing was cut. */
static bool
one_move(uint64_t n, uint64_t seed)
{
	uint64_t dice = seed;
	char uuid[UUID_TEXT], path[80];

	begin();
	ck_assert_int_eq(rig_open(&rig, true, NULL), 0);
	uuid_format(rig.uuid, uuid);
	(void)snprintf(path, sizeof(path), "%s.old-%s", rig.dir, uuid);
	rig_writes(&rig, 5, &dice);
	rig_wait(&rig);
	rig_close(&rig, false);
	rig.generation++; /* somebody else's in between */
	simfs_cut_after(fs, n);
	(void)rig_open(&rig, true, NULL);
	bool cut = simfs_is_off(fs);
	if (rig.j)
		rig_close(&rig, false);
	simfs_power_cut(fs, seed);
	simfs_cut_after(fs, 0);
	int rc = rig_open(&rig, true, NULL);
	ck_assert_msg(rc == 0, "cut at %u: %s", (unsigned)n, rig.info.text);
	ck_assert_uint_eq(rig.ngot, 0);
	rig_close(&rig, false);
	const char *dir = rig.dir;
	rig.dir = path;
	rc = rig_open(&rig, false, NULL);
	ck_assert_msg(rc == 0, "cut at %u: %s", (unsigned)n, rig.info.text);
	ck_assert_uint_eq(rig.ngot, 5);
	rig.dir = dir;
	end();
	return cut;
}

/* Wherever the power goes: the next opening gets its new journal, and the old one is whole under its other name. */
START_TEST(power_cuts_while_one_is_set_aside)
{
	for (uint64_t seed = 0; seed < 3; seed++) {
		uint64_t n = 1;

		while (one_move(n, seed))
			n++;
		ck_assert_uint_gt(n, 10);
	}
}
END_TEST

/* ---- a journal that lies ----------------------------------------------------- */

static const struct vfs_ops *honest;
static struct vfs_ops lying;

static unsigned
losses(bool with_vfs)
{
	unsigned lost = 0;

	for (uint64_t n = 12; n < 60; n += 3) {
		begin();
		if (with_vfs) {
			honest = rig.vfs->ops;
			lying = *honest;
			lying.fsync = simfs_pretend_fsync;
			rig.vfs->ops = &lying;
		}
		ck_assert_int_eq(rig_open(&rig, true, NULL), 0);
		simfs_cut_after(fs, n);
		work(n, 18);
		rig_close(&rig, false);
		if (with_vfs)
			rig.vfs->ops = honest;
		simfs_power_cut(fs, n);
		simfs_cut_after(fs, 0);
		(void)recover();
		lost += verdict != NULL;
		end();
	}
	return lost;
}

START_TEST(a_missing_sync_is_found_out)
{
	ck_assert_uint_eq(losses(false), 0);
	ck_assert_uint_gt(losses(true), 8);
}
END_TEST

#ifdef ENABLE_FAILPOINTS
START_TEST(the_failpoint_that_skips_the_sync_is_found_out)
{
	ck_assert_int_eq(failpoint_arm("journal.fsync=skip", NULL), 0);
	ck_assert_uint_gt(losses(false), 8);
	ck_assert_int_eq(failpoint_arm("journal.fsync=off", NULL), 0);
	ck_assert_uint_eq(losses(false), 0);
}
END_TEST

START_TEST(the_failpoint_that_skips_the_write_is_found_out)
{
	ck_assert_int_eq(failpoint_arm("journal.write=skip@5", NULL), 0);
	ck_assert_uint_gt(losses(false), 0);
	ck_assert_int_eq(failpoint_arm("journal.write=off", NULL), 0);
}
END_TEST
#endif

#define MANIFEST "manifest"

/* ---- bit rot -------------------------------------------------------------------- */

/** Change one byte of a file for good; gives it back with the same call. */
static void
flip(const char *name, uint64_t offset, uint8_t mask)
{
	char path[128];
	struct vfs_file *file;
	uint8_t byte;

	(void)snprintf(path, sizeof(path), "/j/vol/%s", name);
	ck_assert_int_eq(rig.vfs->ops->open(rig.vfs, path, O_RDWR, 0, &file), 0);
	ck_assert_int_eq(vfs_read_full(file, &byte, 1, offset), 0);
	byte ^= mask;
	ck_assert_int_eq(vfs_write_full(file, &byte, 1, offset), 0);
	ck_assert_int_eq(rig.vfs->ops->fsync(file, false), 0);
	rig.vfs->ops->close(file);
}

/** Open a journal with a flipped byte: refused, or whole.  NULL or what is wrong. */
static const char *
open_flipped(bool *ret_refused)
{
	int rc = rig_open(&rig, false, rig.uuid);

	*ret_refused = rc != 0;
	if (rc)
		return rc == LG_EDAMAGED || rc == LG_ENOJOURNAL || rc == LG_EFORMAT ? NULL : rig.info.text;
	const char *wrong = rig_check(&rig);
	if (!wrong)
		wrong = rig_read_all(&rig, true);
	rig_close(&rig, false);
	return wrong;
}

/** A random page of a file that is the header of a record; 0: there is none. */
static uint32_t
some_header(const char *name, uint64_t dice)
{
	static uint8_t pages[RIG_SEGMENT];
	uint32_t found[RIG_SEGMENT / JOURNAL_PAGE], n = 0;
	char path[128];
	struct vfs_file *file;
	struct journal_record rec;

	(void)snprintf(path, sizeof(path), "/j/vol/%s", name);
	ck_assert_int_eq(rig.vfs->ops->open(rig.vfs, path, O_RDONLY, 0, &file), 0);
	ck_assert_int_eq(vfs_read_full(file, pages, sizeof(pages), 0), 0);
	rig.vfs->ops->close(file);
	for (uint32_t i = 1; i < RIG_SEGMENT / JOURNAL_PAGE; i++)
		if (journal_record_decode(pages + (size_t)i * JOURNAL_PAGE, &rec) == 0)
			found[n++] = i;
	return n ? found[dice % n] : 0;
}

START_TEST(rot_is_never_silent)
{
	unsigned refused = 0, tried = 0;
	uint64_t dice = 99;

	for (unsigned i = 0; i < 120; i++) {
		char name[40];
		bool no;

		begin();
		ck_assert_int_eq(rig_open(&rig, true, NULL), 0);
		work(i % 4, 18);
		rig_close(&rig, false); /* leaves a mark: all of it is proven durable */
		uint64_t r = rig_random(&dice);
		(void)snprintf(name, sizeof(name), "%016x.journal", (unsigned)(r % 3));
		uint32_t page = (uint32_t)(r >> 40) % (RIG_SEGMENT / JOURNAL_PAGE);
		if (i % 4 == 0)
			page = 0;
		else if (i % 4 != 1)
			page = some_header(name, r >> 8);
		else if (i % 40 == 1)
			(void)snprintf(name, sizeof(name), MANIFEST);
		uint64_t offset = (uint64_t)page * JOURNAL_PAGE + (r >> 20) % JOURNAL_PAGE;
		if (strcmp(name, MANIFEST) == 0)
			offset %= JOURNAL_PAGE;
		flip(name, offset, (uint8_t)(1u << (r >> 4 & 7)));
		const char *wrong = open_flipped(&no);
		ck_assert_msg(!wrong, "%s at %llu: %s", name, (unsigned long long)offset, wrong);
		refused += no;
		tried++;
		end();
	}
	/* some hit nothing of value, some hit headers: 20 to 24, for how records are cut depends on the speed */
	ck_assert_uint_gt(refused, tried / 10);
	ck_assert_uint_lt(refused, tried);
}
END_TEST

START_TEST(rot_of_any_header_byte_is_refused)
{
	bool no;

	begin();
	ck_assert_int_eq(rig_open(&rig, true, NULL), 0);
	uint64_t seed = 5;
	for (unsigned i = 0; i < 6; i++) {
		rig_write(&rig, i, &seed);
		rig_wait(&rig);
	}
	rig_close(&rig, false);
	/* the third record's header page; nothing is changed by a refusal, so the byte can be put back */
	for (unsigned at = 0; at < JOURNAL_PAGE; at += at < 160 ? 1 : 61) {
		flip("0000000000000000.journal", 5 * JOURNAL_PAGE + at, 0x40);
		const char *wrong = open_flipped(&no);
		ck_assert_msg(!wrong && no, "byte %u: %s", at, wrong ? wrong : "not refused");
		flip("0000000000000000.journal", 5 * JOURNAL_PAGE + at, 0x40);
	}
	ck_assert(recover());
	ck_assert_uint_eq(rig.ngot, 6);
	end();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal_power");
	int null = open("/dev/null", O_WRONLY);

	/* every cut logs that the journal failed */
	if (null >= 0 && !getenv("LUNGATE_TEST_VERBOSE"))
		(void)dup2(null, STDERR_FILENO);
	TCase *tc = tcase_create("power");

	tcase_set_timeout(tc, 600);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_cut_keeps_the_promise);
	tcase_add_test(tc, power_cuts_while_one_is_set_aside);
	tcase_add_test(tc, a_missing_sync_is_found_out);
#ifdef ENABLE_FAILPOINTS
	tcase_add_test(tc, the_failpoint_that_skips_the_sync_is_found_out);
	tcase_add_test(tc, the_failpoint_that_skips_the_write_is_found_out);
#endif
	tcase_add_test(tc, rot_is_never_silent);
	tcase_add_test(tc, rot_of_any_header_byte_is_refused);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
