/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUN masking: nexus 0 sees the target's LUNs 0 and 3, nexus 1 what its view says. */
#include <stdlib.h>

#include "gateway/scsi/scsi_impl.h"
#include "test/unit/scsi_run.h"

enum { S_LUNS_CHANGED = 0x063f0e, S_UNREACHABLE = 0x0a0d02 };

static struct disk *other;
static struct scsi_view view;
static _Atomic unsigned looks;

/* Each of them goes through all LUNs of the nexus: the linker has it called in place of the real one (scsi.mk). */
bool __wrap_scsi_nexus_sees(const struct scsi_nexus *nexus, const struct scsi_slot *slot,
			    bool *ret_read_only);
bool __real_scsi_nexus_sees(const struct scsi_nexus *nexus, const struct scsi_slot *slot,
			    bool *ret_read_only);

bool
__wrap_scsi_nexus_sees(const struct scsi_nexus *nexus, const struct scsi_slot *slot, bool *ret_read_only)
{
	looks++;
	return __real_scsi_nexus_sees(nexus, slot, ret_read_only);
}

static void
set_view(unsigned nexus)
{
	ck_assert(scsi_nexus_set_view(rig.nexus[nexus], &view));
	ck_assert(!scsi_nexus_set_view(rig.nexus[nexus], &view));
}

static uint32_t
sense_at(unsigned nexus, unsigned lun, const uint8_t *cdb, uint32_t out_room)
{
	cmd_init(&cmd, &rig, nexus, cdb, 16);
	cmd.task.lun[1] = (uint8_t)lun;
	cmd.out = out_buf;
	cmd.in = in_buf;
	cmd.task.out_room = out_room;
	cmd.task.in_room = 4096;
	return cmd_do(&cmd) == SCSI_CHECK_CONDITION ? cmd_sense(&cmd) : 0;
}

/* Takes what is pending. */
static void
settle_attentions(unsigned nexus, unsigned lun)
{
	for (unsigned i = 0; i < 8; i++)
		if (!sense_at(nexus, lun, CDB(0x00), 0))
			return;
	ck_abort_msg("there is no end of unit attentions");
}

static void
view_setup(void)
{
	setup();
	other = disk_new("other", &(struct rig_options){.size = 4u << 20}, rig.home, rig.arena);
	memset(other->vol.naa, 0x42, sizeof(other->vol.naa));
	memset(other->vol.uuid, 0x42, sizeof(other->vol.uuid));
	ck_assert_int_eq(scsi_target_map(rig.target, 3, &other->vol, NULL), 0);
	rig_clear_attentions(&rig);
	settle_attentions(0, 3);
	scsi_view_none(&view);
}

static void
view_teardown(void)
{
	ck_assert_int_eq(scsi_target_unmap(rig.target, 3), 0);
	disk_free(other);
	teardown();
}

START_TEST(other_numbers)
{
	view.lun[5] = 3;
	set_view(1);
	settle_attentions(1, 5);
	ck_assert_uint_eq(sense_at(1, 5, CDB(0xa0, [8] = 1), 0), 0);
	ck_assert_uint_eq(get_be32(in_buf), 8);
	ck_assert_uint_eq(in_buf[9], 5);
	expect_good(CDB(0xa0, [8] = 1), 0, 4096);
	ck_assert_uint_eq(get_be32(in_buf), 16);
	ck_assert_uint_eq(in_buf[17], 3);
	/* the unit that stands there is the other one */
	ck_assert_uint_eq(sense_at(1, 5, CDB(0x25), 0), 0);
	ck_assert_uint_eq(get_be32(in_buf), (4u << 20) / 512 - 1);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x25), 0), S_LUN);
	ck_assert_uint_eq(sense_at(1, 3, CDB(0x25), 0), S_LUN);
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_LU_RESET, 0, 0), SCSI_TMF_NO_LUN);
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_LU_RESET, 3, 0), SCSI_TMF_NO_LUN);
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_LU_RESET, 5, 0), SCSI_TMF_COMPLETE);
	/* it is the unit that was reset, whatever its number */
	ck_assert_uint_eq(sense_at(0, 3, CDB(0x00), 0) >> 16, 6);
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x00), 0), 0);
}
END_TEST

START_TEST(nothing_at_all)
{
	set_view(1);
	/* LUN 0 answers for the target, and says that no unit is there */
	ck_assert_uint_eq(sense_at(1, 0, CDB(0xa0, [8] = 1), 0), 0);
	ck_assert_uint_eq(get_be32(in_buf), 8);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x12, [4] = 36), 0), 0);
	ck_assert_uint_eq(in_buf[0], 0x7f);
	for (unsigned lun = 0; lun < SCSI_LUNS_MAX; lun++)
		ck_assert_uint_eq(sense_at(1, lun, CDB(0x00), 0), S_LUN);
}
END_TEST

START_TEST(read_only_for_one)
{
	view.lun[0] = 0 | SCSI_VIEW_READ_ONLY;
	view.lun[1] = 3;
	set_view(1);
	settle_attentions(1, 0);
	settle_attentions(1, 1);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x2a, [8] = 1), 512), S_PROTECT);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x42, [8] = 24), 24), S_PROTECT);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x28, [8] = 1), 0), 0);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x1a, 0, 0x3f, 0, 255), 0), 0);
	ck_assert_uint_eq(in_buf[2] & 0x80, 0x80);
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE] + rig.disk->seen[VOL_UNMAP], 0);
	ck_assert_uint_eq(sense_at(1, 1, CDB(0x2a, [8] = 1), 512), 0);
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x2a, [8] = 1), 512), 0);
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x1a, 0, 0x3f, 0, 255), 0), 0);
	ck_assert_uint_eq(in_buf[2] & 0x80, 0);
}
END_TEST

START_TEST(a_change_is_told_to_whom_it_concerns)
{
	view.lun[0] = 0;
	set_view(1);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x00), 0), S_LUNS_CHANGED);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x00), 0), 0);
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x00), 0), 0);
	ck_assert_uint_eq(sense_at(0, 3, CDB(0x00), 0), 0);
	/* REPORT LUNS says it as well */
	view.lun[1] = 3;
	set_view(1);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0xa0, [8] = 1), 0), 0);
	ck_assert_uint_eq(get_be32(in_buf), 16);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x00), 0), 0);
	/* and the target's own changes are told still */
	ck_assert_int_eq(scsi_target_unmap(rig.target, 3), 0);
	ck_assert_int_eq(scsi_target_map(rig.target, 3, &other->vol, NULL), 0);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x00), 0), S_LUNS_CHANGED);
	expect_sense(CDB(0x00), 0, S_LUNS_CHANGED);
}
END_TEST

/* A write whose data is still awaited when its unit is taken away. */
START_TEST(what_waits_for_data_does_not_outlive_a_change)
{
	cmd_init(&cmd, &rig, 1, CDB(0x2a, [8] = 1), 16);
	cmd.out = out_buf;
	cmd.task.out_room = 512;
	cmd.stop_after_start = true;
	cmd_begin(&cmd);
	set_view(1);
	cmd_run(&cmd);
	cmd_wait(&cmd);
	ck_assert_int_eq(cmd.task.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), S_LUN);
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 0);
}
END_TEST

START_TEST(what_became_read_only_meanwhile)
{
	cmd_init(&cmd, &rig, 1, CDB(0x2a, [8] = 1), 16);
	cmd.out = out_buf;
	cmd.task.out_room = 512;
	cmd.stop_after_start = true;
	cmd_begin(&cmd);
	view.lun[0] = 0 | SCSI_VIEW_READ_ONLY;
	set_view(1);
	cmd_run(&cmd);
	cmd_wait(&cmd);
	/* first what has changed */
	ck_assert_uint_eq(cmd_sense(&cmd), S_LUNS_CHANGED);
	ck_assert_uint_eq(sense_at(1, 0, CDB(0x2a, [8] = 1), 512), S_PROTECT);
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 0);
}
END_TEST

START_TEST(a_target_reset_stays_with_what_one_sees)
{
	static struct cmd mine;

	view.lun[0] = 3;
	set_view(1);
	cmd_init(&mine, &rig, 0, CDB(0x28, [8] = 1), 16);
	mine.in = in_buf;
	mine.task.in_room = 512;
	disk_hold(rig.disk, VOL_READ);
	cmd_begin(&mine);
	disk_wait_held(rig.disk, 1);
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_TARGET_WARM_RESET, 0, 0), SCSI_TMF_COMPLETE);
	disk_release(rig.disk);
	cmd_wait(&mine);
	ck_assert_int_eq(mine.task.status, SCSI_GOOD);
	ck_assert(!mine.task.silent);
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x00), 0), 0);
	ck_assert_uint_eq(sense_at(0, 3, CDB(0x00), 0) >> 16, 6);
}
END_TEST

static uint8_t
put_copy(const struct volume *from, const struct volume *to)
{
	const struct volume *vols[] = {from, to};

	memset(out_buf, 0, 512);
	out_buf[1] = 0x18; /* no list identifier */
	put_be16(out_buf + 2, 64);
	put_be32(out_buf + 8, 28);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *d = out_buf + 16 + 32 * i;

		d[0] = 0xe4;
		d[4] = 1;
		d[5] = 3;
		d[7] = 16;
		memcpy(d + 8, vols[i]->naa, 16);
		put_be24(d + 29, 512);
	}
	out_buf[80] = 0x02;
	put_be16(out_buf + 82, 24);
	put_be16(out_buf + 86, 1);
	put_be16(out_buf + 90, 1);
	return 16 + 64 + 28;
}

START_TEST(copies_reach_what_one_sees)
{
	uint8_t n = put_copy(&rig.disk->vol, &other->vol);

	memset(rig.disk->bytes, 0x5a, 512);
	rig.disk->present[0] = true;
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x83, [13] = n), n), 0);
	ck_assert_uint_eq(other->bytes[511], 0x5a);
	view.lun[0] = 0;
	set_view(0);
	settle_attentions(0, 0);
	n = put_copy(&rig.disk->vol, &other->vol);
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x83, [13] = n), n), S_UNREACHABLE);
	view.lun[1] = 3 | SCSI_VIEW_READ_ONLY;
	set_view(0);
	settle_attentions(0, 0);
	memset(rig.disk->bytes, 0xa5, 512);
	n = put_copy(&rig.disk->vol, &other->vol);
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x83, [13] = n), n), S_UNREACHABLE);
	ck_assert_uint_eq(other->bytes[511], 0x5a);
	n = put_copy(&other->vol, &rig.disk->vol);
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x83, [13] = n), n), 0);
	ck_assert_uint_eq(rig.disk->bytes[511], 0x5a);
}
END_TEST

/* Which units one sees is asked of those that there are, not of every number that one could have. */
START_TEST(empty_slots_are_not_looked_for)
{
	enum { UNITS = 2, PASSES = 2, DESCRIPTORS = 2 };
	uint8_t n = put_copy(&rig.disk->vol, &other->vol);

	looks = 0;
	ck_assert_uint_eq(sense_at(0, 0, CDB(0x83, [13] = n), n), 0);
	ck_assert_uint_ge(looks, UNITS);
	ck_assert_uint_le(looks, UNITS * DESCRIPTORS);
	for (enum scsi_tmf function = SCSI_TMF_TARGET_WARM_RESET; function <= SCSI_TMF_TARGET_COLD_RESET;
	     function++) {
		looks = 0;
		ck_assert_int_eq(rig_tmf(&rig, 0, function, 0, 0), SCSI_TMF_COMPLETE);
		ck_assert_uint_ge(looks, UNITS);
		ck_assert_uint_le(looks, UNITS * PASSES);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		other_numbers,
		nothing_at_all,
		read_only_for_one,
		a_change_is_told_to_whom_it_concerns,
		what_waits_for_data_does_not_outlive_a_change,
		what_became_read_only_meanwhile,
		a_target_reset_stays_with_what_one_sees,
		copies_reach_what_one_sees,
		empty_slots_are_not_looked_for,
	};
	Suite *suite = suite_create("scsi view");
	TCase *tcase = tcase_create("view");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, view_setup, view_teardown);
	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
