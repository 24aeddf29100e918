/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local journal on an honest disk: append, replay, release, full, failure, whose it is. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/failpoint.h"
#include "common/util.h"
#include "stores/chunked/journal_fmt.h"
#include "test/lib/journalrig.h"
#include "test/lib/simfs.h"

static struct simfs *fs;
static struct rig rig;
static uint64_t seed;

static void
setup(void)
{
	fs = simfs_new();
	seed = 42;
	rig_init(&rig, simfs_vfs(fs), "/j/vol");
	ck_assert_int_eq(rig_open(&rig, true, NULL), 0);
}

static void
teardown(void)
{
	if (rig.j)
		rig_close(&rig, false);
	rig_fini(&rig);
	simfs_free(fs);
}

static void
reopen(void)
{
	if (rig.j)
		rig_close(&rig, false);
	int rc = rig_open(&rig, false, rig.uuid);
	ck_assert_msg(rc == 0, "%d: %s", rc, rig.info.text);
	const char *wrong = rig_check(&rig);
	ck_assert_msg(!wrong, "%s", wrong);
	wrong = rig_read_all(&rig, false);
	ck_assert_msg(!wrong, "%s", wrong);
}

static void
expect_refusal(int err, const uint8_t *expect, const char *words)
{
	ck_assert(!rig.j);
	uint64_t mutations = simfs_mutations(fs);
	ck_assert_int_eq(rig_open(&rig, false, expect), err);
	ck_assert_msg(strstr(rig.info.text, words) != NULL, "\"%s\" is not in \"%s\"", words, rig.info.text);
	/* a refusal changes nothing */
	ck_assert_uint_eq(simfs_mutations(fs), mutations);
}

/** Change one byte of a file. */
static void
flip(const char *name, uint64_t offset)
{
	char path[128];
	struct vfs_file *file;
	uint8_t byte;
	struct vfs *vfs = simfs_vfs(fs);

	(void)snprintf(path, sizeof(path), "/j/vol/%s", name);
	ck_assert_int_eq(vfs->ops->open(vfs, path, O_RDWR, 0, &file), 0);
	ck_assert_int_eq(vfs_read_full(file, &byte, 1, offset), 0);
	byte ^= 0x10;
	ck_assert_int_eq(vfs_write_full(file, &byte, 1, offset), 0);
	ck_assert_int_eq(vfs->ops->fsync(file, false), 0);
	vfs->ops->close(file);
}

#define SEGMENT0 "0000000000000000.journal"
#define SEGMENT1 "0000000000000001.journal"

START_TEST(what_is_appended_is_replayed)
{
	for (unsigned i = 0; i < 40; i++) {
		rig_append(&rig, &seed, i % 7 == 0 ? JOURNAL_APPEND_MAX / 4 : 6);
		if (i % 5 == 0)
			rig_wait(&rig);
	}
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 40);
	reopen();
	ck_assert_uint_gt(rig.ngot, 40);
	ck_assert_uint_eq(rig.recovery.torn_bytes, 0);
	ck_assert_uint_eq(rig.recovery.replayed, rig.ngot);
	/* and once more, with more behind it */
	rig_append(&rig, &seed, 8);
	rig_wait(&rig);
	reopen();
}
END_TEST

START_TEST(an_empty_journal_opens)
{
	rig.covered_seq = 77;
	reopen();
	ck_assert_uint_eq(rig.ngot, 0);
	ck_assert_uint_eq(rig.recovery.last_seq, 77);
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.last_acked_seq, 78);
	reopen();
	ck_assert_uint_eq(rig.ngot, 1);
}
END_TEST

START_TEST(covered_entries_are_skipped)
{
	for (unsigned i = 0; i < 10; i++)
		rig_write(&rig, i, &seed);
	rig_wait(&rig);
	rig_release(&rig, 6);
	reopen();
	ck_assert_uint_eq(rig.ngot, 4);
	ck_assert_uint_eq(rig.got[0].seq, 7);
	/* a root that is ahead of the journal */
	rig_close(&rig, false);
	rig.covered_seq = 1000;
	reopen();
	ck_assert_uint_eq(rig.ngot, 0);
	rig_write(&rig, 3, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.last_acked_seq, 1001);
	reopen();
	ck_assert_uint_eq(rig.ngot, 1);
}
END_TEST

START_TEST(largest_append_fits_a_record)
{
	/* a seed's first draw decides the size: look for the largest */
	uint64_t s;

	for (s = 0;; s++) {
		uint64_t probe = s;

		if (rig_random(&probe) % JOURNAL_APPEND_MAX == JOURNAL_APPEND_MAX - 1)
			break;
	}
	rig_append(&rig, &s, JOURNAL_APPEND_MAX);
	rig_wait(&rig);
	reopen();
	ck_assert_uint_eq(rig.ngot, JOURNAL_APPEND_MAX);
}
END_TEST

/** Write until less than `keep` bytes of room are left. */
static unsigned
fill_up(uint64_t keep)
{
	unsigned n = 0;

	while (rig_room(&rig) >= keep + 20 * PAGE_SIZE_BYTES) {
		rig_append(&rig, &seed, 20);
		n++;
		if (n % 8 == 0)
			rig_wait(&rig);
	}
	rig_wait(&rig);
	return n;
}

START_TEST(segments_are_recycled)
{
	uint64_t total = 0;

	/* many times round a journal of four segments */
	for (unsigned lap = 0; lap < 12; lap++) {
		total += fill_up(0);
		uint64_t used = rig_used(&rig);
		ck_assert_uint_gt(used, rig.capacity / 2);
		rig_release(&rig, rig.last_acked_seq - lap % 3);
		ck_assert_uint_lt(rig_used(&rig), used);
		if (lap % 3 == 2)
			reopen();
	}
	ck_assert_uint_gt(total, 12 * 20);
	ck_assert_int_eq(rig_health(&rig), 0);
	reopen();
}
END_TEST

START_TEST(a_segment_is_kept_until_all_of_it_is_released)
{
	fill_up(0);
	uint64_t used = rig_used(&rig), last = rig.last_acked_seq;
	unsigned freed = 0;

	for (uint64_t seq = 1; seq < last && freed < 2; seq++) {
		rig_release(&rig, seq);
		if (rig_used(&rig) == used)
			continue;
		/* write over what was freed: nothing past seq may be among it */
		freed++;
		fill_up(0);
		reopen();
		used = rig_used(&rig);
	}
	ck_assert_uint_eq(freed, 2);
}
END_TEST

START_TEST(room_is_a_promise)
{
	/* the dearest appends there are, one by one, as long as there is room */
	while (rig_room(&rig) >= PAGE_SIZE_BYTES) {
		rig_write(&rig, 5, &seed);
		rig_wait(&rig);
	}
	uint64_t acked = rig.acked;
	ck_assert_uint_gt(acked, 100);
	rig_release(&rig, rig.last_acked_seq);
	ck_assert_uint_gt(rig_room(&rig), RIG_SEGMENT / 4);
	/* and without waiting: what is pending counts */
	while (rig_room(&rig) >= PAGE_SIZE_BYTES)
		rig_write(&rig, 6, &seed);
	rig_wait(&rig);
	ck_assert_uint_gt(rig.acked, acked + 100);
	ck_assert_int_eq(rig_health(&rig), 0);
	reopen();
}
END_TEST

START_TEST(failed_write_is_final)
{
	rig_write(&rig, 1, &seed);
	rig_wait_quiet(&rig);
	simfs_fail_next(fs, SIMFS_WRITE, -EIO, 0);
	rig_write(&rig, 2, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 1);
	ck_assert_int_eq(rig_health(&rig), -EIO);
	/* the disk would work again; the journal does not try */
	for (unsigned i = 0; i < 5; i++)
		rig_write(&rig, 3, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 1);
	reopen();
	ck_assert_int_eq(rig_health(&rig), 0);
	rig_write(&rig, 4, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 2);
}
END_TEST

START_TEST(failed_sync_is_final_and_what_it_left_is_never_trusted)
{
	/* the cache of the kernel keeps what a failed fsync did not bring to the disk, and no later one does
	 */
	rig_write(&rig, 1, &seed);
	rig_wait_quiet(&rig);
	simfs_fail_next(fs, SIMFS_FSYNC, -EIO, 0);
	rig_write(&rig, 2, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 1);
	ck_assert_int_eq(rig_health(&rig), -EIO);
	reopen();
	ck_assert_uint_eq(rig.ngot, 2);
	rig_write(&rig, 3, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 2);
	rig_close(&rig, false);
	simfs_power_cut(fs, 7);
	reopen();
	ck_assert_uint_eq(rig.ngot, 3);
}
END_TEST

START_TEST(a_failed_sync_of_the_first_batch)
{
	/* the segment's header went out with it */
	simfs_fail_next(fs, SIMFS_FSYNC, -EIO, 0);
	rig_write(&rig, 2, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 0);
	reopen();
	rig_write(&rig, 3, &seed);
	rig_wait(&rig);
	rig_close(&rig, false);
	for (uint64_t s = 0; s < 4; s++) {
		simfs_power_cut(fs, s);
		reopen();
		rig_close(&rig, false);
	}
}
END_TEST

START_TEST(a_cut_tail_never_comes_back)
{
	/* two records in one write that failed: the first is torn, the second whole */
	rig_write(&rig, 1, &seed);
	rig_wait_quiet(&rig);
	simfs_fail_next(fs, SIMFS_FSYNC, -EIO, 0);
	rig_hold(&rig);
	rig_writes(&rig, 130, &seed);
	rig_writes(&rig, 130, &seed);
	rig_go(&rig);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 1);
	rig_close(&rig, false);
	flip(SEGMENT0, 50 * 4096);
	reopen();
	ck_assert_uint_eq(rig.ngot, 1);
	ck_assert_uint_ge(rig.recovery.torn_bytes, 262 * 4096);
	/* one that is as long, in its place: the second stands behind it as if it followed */
	rig_writes(&rig, 130, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 2);
	simfs_power_off(fs); /* no closing mark, which would stand just there */
	rig_close(&rig, false);
	simfs_power_cut(fs, 3);
	ck_assert_int_eq(rig_open(&rig, false, rig.uuid), 0);
	ck_assert_uint_eq(rig.ngot, 131);
}
END_TEST

START_TEST(what_follows_a_cut_segment_is_kept)
{
	/* a batch that began a segment is torn, so the one before it goes on, with records that belong to it */
	rig_writes(&rig, 240, &seed);
	rig_writes(&rig, 240, &seed);
	rig_wait_quiet(&rig);
	simfs_fail_next(fs, SIMFS_FSYNC, -EIO, 0);
	rig_writes(&rig, 100, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 2);
	rig_close(&rig, false);
	flip(SEGMENT1, 50 * 4096);
	reopen();
	ck_assert_uint_eq(rig.ngot, 480);
	ck_assert_uint_ge(rig.recovery.torn_bytes, 101 * 4096);
	rig_writes(&rig, 10, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 3);
	simfs_power_off(fs); /* before a mark proves it */
	rig_close(&rig, false);
	simfs_power_cut(fs, 3);
	ck_assert_int_eq(rig_open(&rig, false, rig.uuid), 0);
	ck_assert_uint_eq(rig.ngot, 490);
}
END_TEST

/* That of a torn segment which a recovery cut off: acknowledged all the same. */
START_TEST(a_larger_incarnation_is_read)
{
	struct vfs *vfs = simfs_vfs(fs);
	struct journal_record rec;
	struct vfs_file *file;
	uint8_t page[4096];

	rig_write(&rig, 1, &seed);
	rig_wait_quiet(&rig);
	simfs_power_off(fs);
	rig_close(&rig, false);
	simfs_power_cut(fs, 3);
	ck_assert_int_eq(vfs->ops->open(vfs, "/j/vol/" SEGMENT0, O_RDWR, 0, &file), 0);
	ck_assert_int_eq(vfs_read_full(file, page, sizeof(page), 4096), 0);
	ck_assert_int_eq(journal_record_decode(page, &rec), 0);
	rec.incarnation++;
	journal_record_encode(&rec, page);
	ck_assert_int_eq(vfs_write_full(file, page, sizeof(page), 4096), 0);
	ck_assert_int_eq(vfs->ops->fsync(file, false), 0);
	vfs->ops->close(file);
	reopen();
	ck_assert_uint_eq(rig.ngot, 1);
}
END_TEST

START_TEST(whose_journal_it_is)
{
	uint8_t uuid[UUID_LEN];

	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	memcpy(uuid, rig.uuid, UUID_LEN);
	rig_close(&rig, false);
	uuid[3] ^= 1;
	expect_refusal(LG_ENOJOURNAL, uuid, "owner record");
	rig.volume_uuid[0] ^= 1;
	expect_refusal(LG_ENOJOURNAL, NULL, "another volume");
	rig.volume_uuid[0] ^= 1;
	rig.dir = "/j/other";
	expect_refusal(LG_ENOJOURNAL, NULL, "there is none");
	rig.dir = "/j/vol";
	reopen();
	ck_assert_uint_eq(rig.ngot, 1);
}
END_TEST

START_TEST(an_old_root_is_refused)
{
	fill_up(0);
	uint64_t seq = rig.last_acked_seq;
	rig_release(&rig, seq);
	fill_up(0); /* over what was released */
	rig_close(&rig, false);
	uint64_t covered = rig.covered_seq;
	rig.covered_seq = 3;
	expect_refusal(LG_ENOJOURNAL, NULL, "the volume's root covers 3");
	rig.covered_seq = covered;
	reopen();
}
END_TEST

START_TEST(create_spares_a_used_journal)
{
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	rig_close(&rig, false);
	ck_assert_int_eq(rig_open(&rig, true, NULL), -EEXIST);
	ck_assert_msg(strstr(rig.info.text, "sequences 1 to 1 may never"), "%s", rig.info.text);
	rig.volume_uuid[0] ^= 1;
	ck_assert_int_eq(rig_open(&rig, true, NULL), -EEXIST);
	ck_assert_msg(strstr(rig.info.text, "of another volume"), "%s", rig.info.text);
	rig.volume_uuid[0] ^= 1;
	reopen();
	ck_assert_uint_eq(rig.ngot, 1);
}
END_TEST

/** What lies at /j/vol is of no use to anybody: it is renamed, and whole where it is then. */
static void
expect_set_aside(const uint8_t volume_uuid[UUID_LEN], size_t entries)
{
	char old[UUID_TEXT], path[80];

	uuid_format(rig.uuid, old);
	(void)snprintf(path, sizeof(path), "/j/vol.old-%s", old);
	int rc = rig_open(&rig, true, NULL);
	ck_assert_msg(rc == 0, "%d: %s", rc, rig.info.text);
	rig_close(&rig, false);
	memcpy(rig.volume_uuid, volume_uuid, UUID_LEN);
	rig.dir = path;
	rig.covered_seq = 0;
	ck_assert_int_eq(rig_open(&rig, false, NULL), 0);
	ck_assert_uint_eq(rig.ngot, entries);
}

/* 0: its last owner has put all into the store.  1: somebody opened the volume since.  2: as told */
START_TEST(create_sets_an_old_journal_aside)
{
	rig_write(&rig, 1, &seed);
	rig_write(&rig, 2, &seed);
	rig_wait(&rig);
	rig_close(&rig, false);
	if (_i == 0)
		rig.covered_seq = 2;
	if (_i == 1)
		rig.generation++;
	rig.accept_loss = _i == 2;
	expect_set_aside(rig.volume_uuid, 2);
}
END_TEST

/* Of another volume, whose store has all of it: the last mark says so.  1: in the second segment, the first is over */
START_TEST(create_sets_another_volumes_journal_aside)
{
	uint8_t uuid[UUID_LEN];

	if (_i)
		fill_up(RIG_SEGMENT / 4);
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	rig_release(&rig, rig.last_acked_seq);
	rig_close(&rig, false);
	rig.covered_seq = 0;
	memcpy(uuid, rig.volume_uuid, UUID_LEN);
	rig.volume_uuid[0] ^= 1;
	expect_set_aside(uuid, rig.last_acked_seq);
}
END_TEST

/* The store is an older one than the journal: a copy of yesterday. */
START_TEST(create_spares_what_an_older_store_lacks)
{
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	rig_release(&rig, 1);
	rig_close(&rig, false);
	rig.covered_seq = 0;
	rig.generation -= 1;
	ck_assert_int_eq(rig_open(&rig, true, NULL), -EEXIST);
	ck_assert_msg(strstr(rig.info.text, "the store is at generation 0, sequence 0"), "%s", rig.info.text);
	ck_assert_msg(strstr(rig.info.text, "mv /j/vol /j/vol.old-"), "%s", rig.info.text);
}
END_TEST

START_TEST(create_replaces_an_unused_one)
{
	uint8_t uuid[UUID_LEN];

	memcpy(uuid, rig.uuid, UUID_LEN);
	rig_close(&rig, false);
	ck_assert_int_eq(rig_open(&rig, true, NULL), 0);
	ck_assert_mem_ne(uuid, rig.uuid, UUID_LEN);
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	reopen();
}
END_TEST

START_TEST(one_opener_at_a_time)
{
	struct journal *first = rig.j;

	ck_assert_int_eq(rig_open(&rig, false, NULL), -EBUSY);
	rig.j = first;
}
END_TEST

START_TEST(remove_and_delete)
{
	struct vfs *vfs = simfs_vfs(fs);
	struct vfs_stat st;

	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	rig_close(&rig, true);
	ck_assert_int_eq(vfs->ops->stat(vfs, "/j/vol", &st), -ENOENT);
	ck_assert_int_eq(rig_open(&rig, true, NULL), 0);
	rig_close(&rig, false);
	ck_assert_int_eq(journal_delete(vfs, "/j/vol"), 0);
	ck_assert_int_eq(vfs->ops->stat(vfs, "/j/vol", &st), -ENOENT);
	ck_assert_int_eq(journal_delete(vfs, "/j/vol"), 0);
	simfs_power_cut(fs, 1);
	ck_assert_int_eq(vfs->ops->stat(vfs, "/j/vol", &st), -ENOENT);
}
END_TEST

START_TEST(capacity_may_change)
{
	fill_up(0);
	rig.capacity = 7ull * RIG_SEGMENT;
	reopen();
	ck_assert_uint_gt(rig_room(&rig), RIG_SEGMENT / 2);
	fill_up(0);
	rig.capacity = 4ull * RIG_SEGMENT;
	reopen(); /* all in use: it stays large */
	rig_release(&rig, rig.last_acked_seq);
	reopen();
	fill_up(0);
	reopen();
}
END_TEST

START_TEST(no_space_is_said_at_once)
{
	rig_close(&rig, true);
	simfs_set_space(fs, simfs_used(fs) + 3ull * RIG_SEGMENT);
	ck_assert_int_eq(rig_open(&rig, true, NULL), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(rig.info.text, "cannot reserve"));
	simfs_set_space(fs, UINT64_MAX);
	ck_assert_int_eq(rig_open(&rig, true, NULL), 0);
	/* and never later: everything was reserved */
	simfs_set_space(fs, simfs_used(fs));
	fill_up(0);
	ck_assert_int_eq(rig_health(&rig), 0);
}
END_TEST

START_TEST(damage_in_the_middle_is_refused)
{
	for (unsigned i = 0; i < 20; i++) {
		rig_write(&rig, i, &seed);
		rig_wait(&rig);
	}
	rig_close(&rig, false);
	/* records of two pages each from page 1: the header of the fifth */
	flip(SEGMENT0, 9 * 4096 + 40);
	expect_refusal(LG_EDAMAGED, NULL, "offset 36864: no whole record follows sequence 4");
	ck_assert_ptr_nonnull(strstr(rig.info.text, "up to 20 "));
	rig.accept_loss = true;
	ck_assert_int_eq(rig_open(&rig, false, NULL), 0);
	ck_assert_uint_eq(rig.ngot, 4);
	ck_assert_uint_ge(rig.recovery.last_seq, 20);
	/* what was lost stays lost, whatever comes after */
	rig_write(&rig, 99, &seed);
	rig_wait(&rig);
	rig_close(&rig, false);
	rig.accept_loss = false;
	ck_assert_int_eq(rig_open(&rig, false, NULL), 0);
	ck_assert_uint_eq(rig.ngot, 5);
	ck_assert_uint_eq(rig.got[4].entry.page, 99);
	ck_assert_uint_gt(rig.got[4].seq, 20);
}
END_TEST

START_TEST(damage_under_the_root_does_not_matter)
{
	for (unsigned i = 0; i < 20; i++) {
		rig_write(&rig, i, &seed);
		rig_wait(&rig);
	}
	rig_release(&rig, 20);
	rig_close(&rig, false);
	flip(SEGMENT0, 9 * 4096 + 40);
	reopen();
	rig_write(&rig, 7, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.last_acked_seq, 21);
	reopen();
	ck_assert_uint_eq(rig.ngot, 1);
}
END_TEST

START_TEST(damaged_payload_is_seen_when_read)
{
	for (unsigned i = 0; i < 5; i++) {
		rig_write(&rig, i, &seed);
		rig_wait(&rig);
	}
	rig_close(&rig, false);
	flip(SEGMENT0, 4 * 4096 + 100); /* of the second */
	int rc = rig_open(&rig, false, NULL);
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(rig.ngot, 5);
	ck_assert_ptr_nonnull(rig_read_all(&rig, false));
	ck_assert_ptr_null(rig_read_all(&rig, true));
}
END_TEST

/* Its pages are read while it is opened: nobody could be told later. */
START_TEST(attributes_are_replayed_whole)
{
	rig_attr(&rig, 3, &seed);
	rig_wait(&rig);
	rig_attr(&rig, JOURNAL_APPEND_MAX, &seed);
	rig_hold(&rig);
	for (unsigned i = 0; i < 8; i++) {
		rig_write(&rig, i, &seed);
		rig_attr(&rig, 1 + i % 2, &seed);
	}
	rig_go(&rig);
	rig_wait(&rig);
	reopen();
	ck_assert_uint_eq(rig.ngot, 3 + JOURNAL_APPEND_MAX + 8 + 12);
}
END_TEST

START_TEST(a_damaged_attribute_is_refused)
{
	rig_write(&rig, 0, &seed);
	rig_wait(&rig);
	rig_attr(&rig, 2, &seed);
	rig_wait(&rig);
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	rig_close(&rig, false);
	flip(SEGMENT0, 5 * 4096 + 100); /* header, 1 + 1, 1: its second page */
	expect_refusal(LG_EDAMAGED, rig.uuid, "an attribute");
	/* what came before and after it stays */
	rig.accept_loss = true;
	ck_assert_int_eq(rig_open(&rig, false, rig.uuid), 0);
	ck_assert_uint_eq(rig.ngot, 4);
	ck_assert_uint_eq(rig.nlost, 1);
	/* under the root it does not matter */
	rig_release(&rig, 3);
	rig_close(&rig, false);
	rig.accept_loss = false;
	ck_assert_int_eq(rig_open(&rig, false, rig.uuid), 0);
	ck_assert_uint_eq(rig.ngot, 1);
}
END_TEST

START_TEST(a_damaged_segment_header_is_mended)
{
	fill_up(RIG_SEGMENT / 4);
	rig_close(&rig, false);
	flip(SEGMENT1, 50);
	reopen();
	reopen();
}
END_TEST

START_TEST(lost_files_are_noticed)
{
	struct vfs *vfs = simfs_vfs(fs);

	fill_up(RIG_SEGMENT / 4);
	rig_close(&rig, false);
	ck_assert_int_eq(vfs->ops->rename(vfs, "/j/vol/" SEGMENT1, "/j/vol/away"), 0);
	expect_refusal(LG_EDAMAGED, NULL, "file is missing");
	ck_assert_int_eq(vfs->ops->rename(vfs, "/j/vol/away", "/j/vol/" SEGMENT1), 0);
	reopen();
	rig_close(&rig, false);
	ck_assert_int_eq(vfs->ops->unlink(vfs, "/j/vol/manifest"), 0);
	expect_refusal(LG_EDAMAGED, NULL, "manifest");
	rig.accept_loss = true;
	reopen();
	rig.accept_loss = false;
	reopen();
}
END_TEST

START_TEST(a_file_cut_short_is_damage)
{
	struct vfs *vfs = simfs_vfs(fs);
	struct vfs_file *file;

	fill_up(RIG_SEGMENT / 4);
	rig_close(&rig, false);
	ck_assert_int_eq(vfs->ops->open(vfs, "/j/vol/" SEGMENT0, O_RDWR, 0, &file), 0);
	ck_assert_int_eq(vfs->ops->truncate(file, 1 << 20), 0);
	vfs->ops->close(file);
	expect_refusal(LG_EDAMAGED, NULL, "is damaged at offset");
	rig.accept_loss = true;
	ck_assert_int_eq(rig_open(&rig, false, NULL), 0);
	ck_assert_uint_gt(rig.ngot, 0);
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	ck_assert_uint_gt(rig.acked, 0);
	ck_assert_int_eq(rig_health(&rig), 0);
}
END_TEST

#ifdef ENABLE_FAILPOINTS
START_TEST(failpoints_fail)
{
	ck_assert_int_eq(failpoint_arm("journal.write=err:EIO*1", NULL), 0);
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 0);
	ck_assert_int_eq(rig_health(&rig), -EIO);
	reopen();
	ck_assert_uint_eq(rig.ngot, 0);
	ck_assert_int_eq(failpoint_arm("journal.fsync=err:EIO*1", NULL), 0);
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	ck_assert_uint_eq(rig.acked, 0);
	reopen();
	ck_assert_int_eq(failpoint_arm("journal.fsync=off;journal.write=off", NULL), 0);
	/* a segment that cannot be made fails what needs it, nothing else */
	ck_assert_int_eq(failpoint_arm("journal.segment=err:ENOSPC", NULL), 0);
	unsigned n = 0;
	for (uint64_t before = UINT64_MAX; rig.acked != before && n < 2000; n++) {
		before = rig.acked;
		if (rig_room(&rig) < PAGE_SIZE_BYTES)
			break;
		rig_write(&rig, n, &seed);
		rig_wait(&rig);
	}
	ck_assert_int_eq(failpoint_arm("journal.segment=off", NULL), 0);
	reopen();
	rig_write(&rig, 1, &seed);
	rig_wait(&rig);
	ck_assert_int_eq(rig_health(&rig), 0);
}
END_TEST
#endif

int
main(void)
{
	Suite *suite = suite_create("journal");
	TCase *tc = tcase_create("journal");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_appended_is_replayed);
	tcase_add_test(tc, an_empty_journal_opens);
	tcase_add_test(tc, covered_entries_are_skipped);
	tcase_add_test(tc, largest_append_fits_a_record);
	tcase_add_test(tc, segments_are_recycled);
	tcase_add_test(tc, a_segment_is_kept_until_all_of_it_is_released);
	tcase_add_test(tc, room_is_a_promise);
	tcase_add_test(tc, failed_write_is_final);
	tcase_add_test(tc, failed_sync_is_final_and_what_it_left_is_never_trusted);
	tcase_add_test(tc, a_failed_sync_of_the_first_batch);
	tcase_add_test(tc, a_cut_tail_never_comes_back);
	tcase_add_test(tc, what_follows_a_cut_segment_is_kept);
	tcase_add_test(tc, a_larger_incarnation_is_read);
	tcase_add_test(tc, whose_journal_it_is);
	tcase_add_test(tc, an_old_root_is_refused);
	tcase_add_test(tc, create_spares_a_used_journal);
	tcase_add_loop_test(tc, create_sets_an_old_journal_aside, 0, 3);
	tcase_add_loop_test(tc, create_sets_another_volumes_journal_aside, 0, 2);
	tcase_add_test(tc, create_spares_what_an_older_store_lacks);
	tcase_add_test(tc, create_replaces_an_unused_one);
	tcase_add_test(tc, one_opener_at_a_time);
	tcase_add_test(tc, remove_and_delete);
	tcase_add_test(tc, capacity_may_change);
	tcase_add_test(tc, no_space_is_said_at_once);
	tcase_add_test(tc, damage_in_the_middle_is_refused);
	tcase_add_test(tc, damage_under_the_root_does_not_matter);
	tcase_add_test(tc, damaged_payload_is_seen_when_read);
	tcase_add_test(tc, attributes_are_replayed_whole);
	tcase_add_test(tc, a_damaged_attribute_is_refused);
	tcase_add_test(tc, a_damaged_segment_header_is_mended);
	tcase_add_test(tc, lost_files_are_noticed);
	tcase_add_test(tc, a_file_cut_short_is_damage);
#ifdef ENABLE_FAILPOINTS
	tcase_add_test(tc, failpoints_fail);
#endif
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
