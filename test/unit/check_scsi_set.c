/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit attentions, task attributes, reservations, task management, LUNs that
 * come and go; each on one loop and across two.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/scsi/scsi_impl.h"
#include "test/lib/scsirig.h"

static struct rig rig;
static struct cmd cmd;
static uint8_t out_buf[1 << 16], in_buf[1 << 16];

/* loop tests: 0 is one loop, 1 is two */
static void
start(int two_loops)
{
	rig_init(&rig, &(struct rig_options){.two_loops = two_loops});
}

static void
start_ready(int two_loops)
{
	start(two_loops);
	rig_clear_attentions(&rig);
}

#define CDB(...) ((const uint8_t[16]){__VA_ARGS__})
#define TUR CDB(0x00)
#define WRITE1(lba) CDB(0x2a, [5] = (lba), [8] = 1)
#define READ1(lba) CDB(0x28, [5] = (lba), [8] = 1)

static enum scsi_status
run_at(unsigned nexus, unsigned lun, const uint8_t *cdb)
{
	cmd_init(&cmd, &rig, nexus, cdb, 16);
	cmd.task.lun[1] = (uint8_t)lun;
	cmd.task.in_room = 4096;
	cmd.task.out_room = 4096;
	cmd.out = out_buf;
	cmd.in = in_buf;
	return cmd_do(&cmd);
}

static void
expect_good(unsigned nexus, const uint8_t *cdb)
{
	enum scsi_status status = run_at(nexus, 0, cdb);

	ck_assert_msg(status == SCSI_GOOD, "%02x: status %02x sense %06x", cdb[0], status, cmd_sense(&cmd));
}

static void
expect_sense(unsigned nexus, const uint8_t *cdb, uint32_t sense)
{
	ck_assert_int_eq(run_at(nexus, 0, cdb), SCSI_CHECK_CONDITION);
	ck_assert_msg(cmd_sense(&cmd) == sense, "%02x: sense %06x, not %06x", cdb[0], cmd_sense(&cmd), sense);
}

static struct cmd *
begin(struct cmd *c, unsigned nexus, const uint8_t *cdb, enum scsi_attr attr)
{
	cmd_init(c, &rig, nexus, cdb, 16);
	c->task.in_room = 512;
	c->task.out_room = 512;
	c->task.attr = attr;
	c->out = out_buf;
	c->in = NULL;
	cmd_begin(c);
	return c;
}

/* -- unit attentions ----------------------------------------------------- */

START_TEST(power_on_first)
{
	start(_i);
	expect_good(0, CDB(0x12, 0, 0, 0, 96)); /* INQUIRY neither reports nor clears */
	expect_good(0, CDB(0xa0, [9] = 16));
	expect_sense(0, TUR, 0x062900);
	expect_good(0, TUR);
	expect_sense(1, CDB(0xff), 0x062900); /* before anything else is looked at */
	expect_good(1, TUR);
	rig_fini(&rig);
}
END_TEST

START_TEST(request_sense_takes_it)
{
	start(_i);
	expect_good(0, CDB(0x03, 0, 0, 0, 18));
	ck_assert_uint_eq(in_buf[2], 6);
	ck_assert_uint_eq(get_be16(in_buf + 12), 0x2900);
	expect_good(0, CDB(0x03, 0, 0, 0, 18));
	ck_assert_uint_eq(in_buf[2], 0);
	expect_good(0, TUR);
	rig_fini(&rig);
}
END_TEST

START_TEST(capacity_changes)
{
	start_ready(_i);
	atomic_store(&rig.disk->vol.size, 4u << 20);
	expect_sense(0, TUR, 0x062a09);
	expect_good(0, TUR);
	expect_sense(1, CDB(0x25), 0x062a09);
	expect_good(1, CDB(0x25));
	ck_assert_uint_eq(get_be32(in_buf), 8191);
	rig_fini(&rig);
}
END_TEST

START_TEST(capacity_is_news_to_who_was_there)
{
	start(_i);
	expect_sense(0, TUR, 0x062900);
	expect_good(0, TUR);
	atomic_store(&rig.disk->vol.size, 4u << 20);
	expect_sense(1, TUR, 0x062900);
	expect_good(1, TUR);
	expect_sense(0, TUR, 0x062a09);
	rig_fini(&rig);
}
END_TEST

START_TEST(luns_change)
{
	struct disk *second;

	start_ready(_i);
	second = disk_new("second", &(struct rig_options){0}, rig.home, rig.arena);
	ck_assert_int_eq(scsi_target_map(rig.target, 3, &second->vol, NULL), 0);
	ck_assert_int_eq(scsi_target_map(rig.target, 3, &second->vol, NULL), -EEXIST);
	ck_assert_int_eq(scsi_target_map(rig.target, 256, &second->vol, NULL), -EINVAL);
	expect_sense(0, TUR, 0x063f0e);
	expect_good(0, TUR);
	/* REPORT LUNS clears it */
	expect_good(1, CDB(0xa0, [9] = 64));
	ck_assert_uint_eq(get_be32(in_buf), 16);
	ck_assert_uint_eq(in_buf[17], 3);
	expect_good(1, TUR);
	/* the new one has its own power on, and does its work */
	ck_assert_int_eq(run_at(0, 3, TUR), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x062900);
	ck_assert_int_eq(run_at(0, 3, WRITE1(1)), SCSI_GOOD);
	ck_assert_uint_eq(second->seen[VOL_WRITE], 1);
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 0);
	ck_assert_int_eq(scsi_target_unmap(rig.target, 3), 0);
	ck_assert_int_eq(scsi_target_unmap(rig.target, 3), -ENOENT);
	disk_free(second);
	ck_assert_int_eq(run_at(0, 3, TUR), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x052500);
	expect_sense(1, TUR, 0x063f0e);
	rig_fini(&rig);
}
END_TEST

START_TEST(no_such_lun)
{
	start_ready(_i);
	ck_assert_int_eq(run_at(0, 9, TUR), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x052500);
	ck_assert_int_eq(run_at(0, 9, WRITE1(0)), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd.task.out_len, 0);
	ck_assert_int_eq(run_at(0, 9, CDB(0x12, 0, 0, 0, 96)), SCSI_GOOD);
	ck_assert_uint_eq(in_buf[0], 0x7f);
	ck_assert_int_eq(run_at(0, 9, CDB(0x03, 0, 0, 0, 18)), SCSI_GOOD);
	ck_assert_uint_eq(get_be16(in_buf + 12), 0x2500);
	ck_assert_int_eq(run_at(0, 9, CDB(0xa0, [9] = 64)), SCSI_GOOD);
	ck_assert_uint_eq(get_be32(in_buf), 8);
	ck_assert_ptr_eq(scsi_target_home(rig.target), rig.home);
	/* without LUN 0, and without any */
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	ck_assert_ptr_null(scsi_target_home(rig.target));
	expect_good(0, CDB(0xa0, [8] = 8));
	ck_assert_uint_eq(get_be32(in_buf), 8);
	expect_good(0, CDB(0x12, 0, 0, 0, 96));
	ck_assert_uint_eq(in_buf[0], 0x7f);
	for (unsigned lun = 1; lun < SCSI_LUNS_MAX; lun++)
		ck_assert_int_eq(scsi_target_map(rig.target, lun, &rig.disk->vol, NULL), 0);
	expect_good(0, CDB(0xa0, [8] = 8));
	ck_assert_uint_eq(get_be32(in_buf), 8 * 255);
	ck_assert_uint_eq(cmd.task.in_len, 8 + 8 * 255);
	rig_fini(&rig);
}
END_TEST

/* -- attributes ---------------------------------------------------------- */

START_TEST(ordered_waits_and_holds)
{
	struct cmd before, ordered, after, head;

	start_ready(_i);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&before, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 1);
	begin(&ordered, 0, READ1(2), SCSI_ATTR_ORDERED);
	begin(&after, 1, READ1(3), SCSI_ATTR_SIMPLE);
	begin(&head, 0, READ1(4), SCSI_ATTR_HEAD);
	cmd_wait(&head);
	rig_settle(&rig);
	ck_assert(!cmd_is_done(&before) && !cmd_is_done(&ordered) && !cmd_is_done(&after));
	ck_assert_uint_eq(rig.disk->seen[VOL_READ], 1);
	disk_release(rig.disk);
	cmd_wait(&before);
	cmd_wait(&ordered);
	cmd_wait(&after);
	ck_assert_int_eq(after.task.status, SCSI_GOOD);
	rig_fini(&rig);
}
END_TEST

START_TEST(ordered_runs_alone)
{
	struct cmd ordered, after;

	start_ready(_i);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&ordered, 0, WRITE1(2), SCSI_ATTR_ORDERED);
	disk_wait_held(rig.disk, 1);
	begin(&after, 1, READ1(3), SCSI_ATTR_SIMPLE);
	rig_settle(&rig);
	ck_assert(!cmd_is_done(&after));
	disk_release(rig.disk);
	cmd_wait(&ordered);
	cmd_wait(&after);
	rig_fini(&rig);
}
END_TEST

START_TEST(orwrite_is_alone)
{
	struct cmd simple, or, head;

	start_ready(_i);
	memset(out_buf, 0x0f, 512);
	disk_hold(rig.disk, VOL_OR_WRITE);
	begin(& or, 0, CDB(0x8b, [13] = 1), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 1);
	begin(&simple, 1, WRITE1(0), SCSI_ATTR_SIMPLE);
	begin(&head, 1, WRITE1(0), SCSI_ATTR_HEAD);
	rig_settle(&rig);
	ck_assert(!cmd_is_done(&simple) && !cmd_is_done(&head));
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 0);
	disk_release(rig.disk);
	cmd_wait(& or);
	cmd_wait(&simple);
	cmd_wait(&head);
	rig_fini(&rig);
}
END_TEST

START_TEST(orwrite_waits_for_heads)
{
	struct cmd before, or, head;

	start_ready(_i);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&before, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 1);
	begin(& or, 0, CDB(0x8b, [13] = 1), SCSI_ATTR_SIMPLE);
	rig_settle(&rig);
	disk_hold(rig.disk, VOL_FLUSH);
	begin(&head, 1, CDB(0x35), SCSI_ATTR_HEAD);
	disk_wait_held(rig.disk, 2);
	disk_release_op(rig.disk, VOL_WRITE);
	cmd_wait(&before);
	rig_settle(&rig);
	/* the oldest now, but not alone */
	ck_assert(!cmd_is_done(& or));
	ck_assert_uint_eq(rig.disk->seen[VOL_OR_WRITE], 0);
	disk_release(rig.disk);
	cmd_wait(&head);
	cmd_wait(& or);
	rig_fini(&rig);
}
END_TEST

/* -- reservations -------------------------------------------------------- */

START_TEST(reserve6)
{
	start_ready(_i);
	expect_good(0, CDB(0x16));
	expect_good(0, CDB(0x16));
	ck_assert_int_eq(run_at(1, 0, CDB(0x16)), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(run_at(1, 0, CDB(0x1a, 0, 0x3f, 0, 255)), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(run_at(1, 0, WRITE1(0)), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(run_at(1, 0, READ1(0)), SCSI_RESERVATION_CONFLICT);
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE] + rig.disk->seen[VOL_READ], 0);
	expect_good(1, CDB(0x12, 0, 0, 0, 96));
	expect_good(1, CDB(0x17)); /* of no effect */
	ck_assert_int_eq(run_at(1, 0, READ1(0)), SCSI_RESERVATION_CONFLICT);
	expect_good(0, READ1(0));
	expect_good(0, CDB(0x17));
	expect_good(1, READ1(0));
	/* gone with a reset, and with the nexus */
	expect_good(0, CDB(0x16));
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_LU_RESET, 0, 0), SCSI_TMF_COMPLETE);
	rig_clear_attentions(&rig);
	expect_good(1, READ1(0));
	expect_good(0, CDB(0x16));
	ck_assert_int_eq(run_at(1, 0, READ1(0)), SCSI_RESERVATION_CONFLICT);
	rig_nexus_free(&rig, 0);
	expect_good(1, READ1(0));
	rig_fini(&rig);
}
END_TEST

/* -- task management ----------------------------------------------------- */

START_TEST(abort_task)
{
	struct cmd running, waiting, other;
	struct tmf tmf;

	start_ready(_i);
	disk_hold(rig.disk, VOL_WRITE);
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_ABORT_TASK, 0, 77), SCSI_TMF_NO_TASK);
	cmd_init(&running, &rig, 0, WRITE1(1), 16);
	running.task.out_room = 512;
	running.task.tag = 1;
	cmd_begin(&running);
	disk_wait_held(rig.disk, 1);
	cmd_init(&waiting, &rig, 0, WRITE1(2), 16);
	waiting.task.out_room = 512;
	waiting.task.tag = 2;
	waiting.task.attr = SCSI_ATTR_ORDERED;
	cmd_begin(&waiting);
	rig_settle(&rig);
	/* the same tag of another nexus is another task */
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_ABORT_TASK, 0, 1), SCSI_TMF_NO_TASK);
	/* one that waits ends at once and never touches the volume */
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_ABORT_TASK, 0, 2), SCSI_TMF_COMPLETE);
	ck_assert(cmd_is_done(&waiting));
	ck_assert(waiting.task.silent);
	/* one that runs: the response waits for the volume */
	tmf_begin(&tmf, &rig, 0, SCSI_TMF_ABORT_TASK, 0, 1);
	begin(&other, 0, READ1(4), SCSI_ATTR_SIMPLE);
	cmd_wait(&other);
	rig_settle(&rig);
	ck_assert(!tmf_is_done(&tmf) && !cmd_is_done(&running));
	disk_release(rig.disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	ck_assert(cmd_is_done(&running));
	ck_assert(running.task.silent);
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 1);
	expect_good(0, TUR);
	rig_fini(&rig);
}
END_TEST

START_TEST(aborted_commands_go_no_further)
{
	struct cmd same;
	struct tmf tmf;

	start_ready(_i);
	memset(out_buf, 'p', 512);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&same, 0, CDB(0x93, [12] = 0x40), SCSI_ATTR_SIMPLE); /* 8 MiB, in pieces */
	disk_wait_held(rig.disk, 1);
	tmf_begin(&tmf, &rig, 0, SCSI_TMF_ABORT_TASK_SET, 0, 0);
	rig_settle(&rig);
	ck_assert(!tmf_is_done(&tmf));
	disk_release(rig.disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	ck_assert(cmd_is_done(&same));
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 1);
	ck_assert_uint_eq(rig.disk->bytes[0], 'p');
	ck_assert_uint_eq(rig.disk->bytes[1 << 20], 0);
	rig_fini(&rig);
}
END_TEST

START_TEST(task_sets)
{
	struct cmd mine, theirs;
	struct tmf tmf;

	start_ready(_i);
	/* ABORT TASK SET is about one nexus */
	disk_hold(rig.disk, VOL_WRITE);
	begin(&mine, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	begin(&theirs, 1, WRITE1(2), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 2);
	tmf_begin(&tmf, &rig, 0, SCSI_TMF_ABORT_TASK_SET, 0, 0);
	rig_settle(&rig);
	disk_release(rig.disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	cmd_wait(&mine);
	cmd_wait(&theirs);
	ck_assert(mine.task.silent && !theirs.task.silent);
	ck_assert_int_eq(theirs.task.status, SCSI_GOOD);
	expect_good(1, TUR);
	/* CLEAR TASK SET is about all, and the others are told by a unit attention */
	disk_hold(rig.disk, VOL_WRITE);
	begin(&mine, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	begin(&theirs, 1, WRITE1(2), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 2);
	tmf_begin(&tmf, &rig, 0, SCSI_TMF_CLEAR_TASK_SET, 0, 0);
	rig_settle(&rig);
	disk_release(rig.disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	cmd_wait(&theirs);
	ck_assert(mine.task.silent && theirs.task.silent);
	expect_good(0, TUR);
	expect_sense(1, TUR, 0x062f00);
	rig_fini(&rig);
}
END_TEST

START_TEST(task_aborted_status)
{
	struct cmd mine, theirs;
	struct tmf tmf;

	start_ready(_i);
	expect_good(0, CDB(0x1a, 0x08, 0x0a, 0, 255));
	memcpy(out_buf, in_buf, 16);
	out_buf[0] = 0;
	out_buf[9] |= 0x40; /* TAS */
	expect_good(0, CDB(0x15, 0x10, 0, 0, 16));
	expect_sense(1, TUR, 0x062a01);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&mine, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	begin(&theirs, 1, WRITE1(2), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 2);
	tmf_begin(&tmf, &rig, 0, SCSI_TMF_CLEAR_TASK_SET, 0, 0);
	rig_settle(&rig);
	disk_release(rig.disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	cmd_wait(&theirs);
	ck_assert(mine.task.silent && !theirs.task.silent);
	ck_assert_int_eq(theirs.task.status, SCSI_TASK_ABORTED);
	expect_good(1, TUR);
	rig_fini(&rig);
}
END_TEST

/* Data-Out still on the way when the set is cleared: without effect when it comes. */
START_TEST(started_is_not_forgotten)
{
	static const struct {
		enum scsi_tmf function;
		unsigned by;
		bool reached;
		uint32_t attention; /* of nexus 0 afterwards */
	} cases[] = {
		{SCSI_TMF_ABORT_TASK_SET, 0, true, 0},
		{SCSI_TMF_ABORT_TASK_SET, 1, false, 0},
		{SCSI_TMF_CLEAR_TASK_SET, 0, true, 0},
		{SCSI_TMF_CLEAR_TASK_SET, 1, true, 0x062f00},
		{SCSI_TMF_LU_RESET, 0, true, 0x062903},
		{SCSI_TMF_LU_RESET, 1, true, 0x062903},
		{SCSI_TMF_TARGET_WARM_RESET, 1, true, 0x062902},
		{SCSI_TMF_TARGET_COLD_RESET, 1, true, 0x062900},
	};
	struct cmd old, new;

	start_ready(_i);
	memset(out_buf, 'w', 512);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(rig.disk->bytes, 0, 4096);
		cmd_init(&old, &rig, 0, WRITE1(1), 16);
		old.task.out_room = 512;
		old.out = out_buf;
		old.stop_after_start = true;
		cmd_begin(&old);
		ck_assert_int_eq(rig_tmf(&rig, cases[i].by, cases[i].function, 0, 0), SCSI_TMF_COMPLETE);
		cmd_run(&old);
		cmd_wait(&old);
		ck_assert_int_eq(old.task.silent, cases[i].reached);
		ck_assert_uint_eq(rig.disk->bytes[512], cases[i].reached ? 0 : 'w');
		if (cases[i].attention)
			expect_sense(0, TUR, cases[i].attention);
		rig_clear_attentions(&rig);
		/* what starts after the function is none of its business */
		begin(&new, 0, WRITE1(2), SCSI_ATTR_SIMPLE);
		cmd_wait(&new);
		ck_assert(!new.task.silent);
		ck_assert_uint_eq(rig.disk->bytes[1024], 'w');
	}
	rig_fini(&rig);
}
END_TEST

START_TEST(resets)
{
	struct cmd mine, theirs, waiting;
	struct tmf tmf;

	start_ready(_i);
	expect_good(0, CDB(0x1b)); /* stopped */
	disk_hold(rig.disk, VOL_WRITE);
	expect_good(0, CDB(0x1b, 0, 0, 0, 1));
	begin(&mine, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	begin(&theirs, 1, WRITE1(2), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 2);
	begin(&waiting, 1, WRITE1(3), SCSI_ATTR_ORDERED);
	rig_settle(&rig);
	tmf_begin(&tmf, &rig, 0, SCSI_TMF_TARGET_WARM_RESET, 0, 0);
	cmd_wait(&waiting);
	rig_settle(&rig);
	ck_assert(!tmf_is_done(&tmf));
	disk_release(rig.disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	ck_assert(cmd_is_done(&mine) && cmd_is_done(&theirs));
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 2);
	expect_sense(0, TUR, 0x062902);
	expect_sense(1, TUR, 0x062902);
	expect_good(0, TUR);
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_LU_RESET, 0, 0), SCSI_TMF_COMPLETE);
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_LU_RESET, 5, 0), SCSI_TMF_NO_LUN);
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_CLEAR_ACA, 0, 0), SCSI_TMF_NOT_SUPPORTED);
	expect_sense(1, TUR, 0x062903);
	rig_fini(&rig);
}
END_TEST

START_TEST(several_wait_for_one)
{
	struct cmd running;
	struct tmf tmf[4];

	start_ready(_i);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&running, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 1);
	tmf_begin(&tmf[0], &rig, 0, SCSI_TMF_ABORT_TASK, 0, 0);
	tmf_begin(&tmf[1], &rig, 1, SCSI_TMF_LU_RESET, 0, 0);
	tmf_begin(&tmf[2], &rig, 0, SCSI_TMF_ABORT_TASK_SET, 0, 0);
	tmf_begin(&tmf[3], &rig, 0, SCSI_TMF_TARGET_COLD_RESET, 0, 0);
	rig_settle(&rig);
	for (unsigned i = 0; i < 4; i++)
		ck_assert(!tmf_is_done(&tmf[i]));
	disk_release(rig.disk);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(tmf_wait(&tmf[i]), SCSI_TMF_COMPLETE);
	rig_fini(&rig);
}
END_TEST

/* -- leaving ------------------------------------------------------------- */

struct background {
	pthread_t thread;
	_Atomic bool done;
	int rc;
};

static void *
unmap_thread(void *arg)
{
	struct background *b = arg;

	b->rc = scsi_target_unmap(rig.target, 0);
	b->done = true;
	return NULL;
}

START_TEST(unmap_waits_for_tasks)
{
	struct background b = {.rc = -1};
	struct cmd running, started;

	start_ready(_i);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&running, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 1);
	cmd_init(&started, &rig, 0, WRITE1(2), 16);
	started.task.out_room = 512;
	started.out = out_buf;
	started.stop_after_start = true;
	cmd_begin(&started);
	ck_assert_int_eq(pthread_create(&b.thread, NULL, unmap_thread, &b), 0);
	/* at some moment the LUN is gone for new commands while the old one still runs */
	while (run_at(1, 0, TUR) == SCSI_GOOD)
		;
	ck_assert(!b.done && !cmd_is_done(&running));
	/* one whose data had not come ends without effect */
	cmd_run(&started);
	cmd_wait(&started);
	ck_assert_uint_eq(cmd_sense(&started), 0x052500);
	disk_release(rig.disk);
	cmd_wait(&running);
	ck_assert_int_eq(running.task.status, SCSI_GOOD);
	pthread_join(b.thread, NULL);
	ck_assert_int_eq(b.rc, 0);
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 1);
	rig_fini(&rig);
}
END_TEST

START_TEST(another_unit_at_the_lun)
{
	struct disk *other;
	struct cmd started;

	start_ready(_i);
	other = disk_new("other", &(struct rig_options){.block_size = 4096}, rig.home, rig.arena);
	cmd_init(&started, &rig, 0, WRITE1(2), 16);
	started.task.out_room = 512;
	started.out = out_buf;
	started.stop_after_start = true;
	cmd_begin(&started);
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &other->vol, NULL), 0);
	cmd_run(&started);
	cmd_wait(&started);
	ck_assert_uint_eq(cmd_sense(&started), 0x052500);
	ck_assert_uint_eq(other->seen[VOL_WRITE], 0);
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	disk_free(other);
	rig_fini(&rig);
}
END_TEST

struct leaving {
	struct loop_msg msg;
	_Atomic bool done;
};

static void
left(void *arg)
{
	((struct leaving *)arg)->done = true;
}

static void
leave(struct loop_msg *msg)
{
	struct leaving *leaving = container_of(msg, struct leaving, msg);
	struct scsi_nexus *nexus = rig.nexus[0];

	rig.nexus[0] = NULL;
	scsi_nexus_free(nexus, left, leaving);
}

START_TEST(nexus_free_waits_for_its_tasks)
{
	struct cmd running, waiting, theirs;
	struct leaving leaving = {.msg.fn = leave};

	start_ready(_i);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&running, 0, WRITE1(1), SCSI_ATTR_SIMPLE);
	begin(&theirs, 1, WRITE1(2), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 2);
	begin(&waiting, 0, WRITE1(3), SCSI_ATTR_ORDERED);
	rig_settle(&rig);
	loop_post(rig.front, &leaving.msg);
	cmd_wait(&waiting);
	rig_settle(&rig);
	ck_assert(waiting.task.silent);
	ck_assert(!leaving.done);
	disk_release(rig.disk);
	rig_settle(&rig);
	ck_assert(leaving.done);
	ck_assert(cmd_is_done(&running) && running.task.silent);
	cmd_wait(&theirs);
	ck_assert(!theirs.task.silent);
	expect_good(1, TUR);
	rig_fini(&rig);
}
END_TEST

START_TEST(nexus_free_waits_for_its_functions)
{
	struct cmd theirs;
	struct tmf reset;
	struct leaving leaving = {.msg.fn = leave};

	start_ready(_i);
	disk_hold(rig.disk, VOL_WRITE);
	begin(&theirs, 1, WRITE1(1), SCSI_ATTR_SIMPLE);
	disk_wait_held(rig.disk, 1);
	/* the reset waits for the other nexus's task; its own nexus has none and could go at once */
	tmf_begin(&reset, &rig, 0, SCSI_TMF_LU_RESET, 0, 0);
	rig_settle(&rig);
	loop_post(rig.front, &leaving.msg);
	rig_settle(&rig);
	ck_assert(!tmf_is_done(&reset) && !leaving.done);
	disk_release(rig.disk);
	ck_assert_int_eq(tmf_wait(&reset), SCSI_TMF_COMPLETE);
	rig_settle(&rig);
	ck_assert(leaving.done && cmd_is_done(&theirs));
	rig_fini(&rig);
}
END_TEST

START_TEST(one_unit_in_two_targets)
{
	struct scsi_target *second;
	struct scsi_target *first;

	start_ready(_i);
	first = rig.target;
	ck_assert_int_eq(scsi_target_new("iqn.2026-01.test:second", &second), 0);
	ck_assert_int_eq(scsi_target_map(second, 7, &rig.disk->vol, NULL), 0);
	/* it is one unit: what is reserved here is reserved there; here by a second LUN of the first */
	ck_assert_int_eq(scsi_target_map(first, 1, &rig.disk->vol, NULL), 0);
	rig_clear_attentions(&rig);
	expect_good(0, CDB(0x16));
	ck_assert_int_eq(run_at(1, 1, CDB(0x03, 0, 0, 0, 18)), SCSI_GOOD); /* takes power on */
	ck_assert_int_eq(run_at(1, 1, READ1(0)), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(scsi_target_unmap(first, 0), 0);
	ck_assert_int_eq(run_at(1, 1, CDB(0x03, 0, 0, 0, 18)), SCSI_GOOD);
	ck_assert_int_eq(run_at(1, 1, READ1(0)), SCSI_GOOD);
	scsi_target_free(second);
	rig_fini(&rig);
}
END_TEST

/* -- all of it at once --------------------------------------------------- */

#define STRESS_CMDS 24
#define STRESS_ROUNDS 400

START_TEST(stress)
{
	static const uint8_t cdbs[][16] = {
		{0x2a, [5] = 1, [8] = 1},
		{0x28, [5] = 1, [8] = 8},
		{0x00},
		{0x93, [13] = 9},
		{0x35},
		{0x8b, [13] = 1},
		{0x12, 0, 0, 0, 96},
		{0x8f, [13] = 200},
		{0x03, [4] = 18},
	};
	static const enum scsi_attr attrs[] = {SCSI_ATTR_SIMPLE, SCSI_ATTR_SIMPLE, SCSI_ATTR_SIMPLE,
					       SCSI_ATTR_ORDERED, SCSI_ATTR_HEAD};
	static struct cmd cmds[STRESS_CMDS];
	unsigned seed = 1;
	struct tmf tmf;
	bool busy = false;

	start(_i & 1);
	rig.disk->later = _i & 2;
	for (unsigned i = 0; i < STRESS_CMDS; i++)
		cmds[i].done = true;
	for (unsigned round = 0; round < STRESS_ROUNDS; round++) {
		for (unsigned i = 0; i < STRESS_CMDS; i++) {
			const uint8_t *cdb;

			seed = seed * 1103515245 + 12345;
			if (!cmd_is_done(&cmds[i]))
				continue;
			cdb = cdbs[(seed >> 16) % ARRAY_SIZE(cdbs)];
			begin(&cmds[i], seed >> 8 & 1, cdb, attrs[(seed >> 20) % ARRAY_SIZE(attrs)]);
		}
		if (busy && tmf_is_done(&tmf))
			busy = false;
		if (!busy && round % 4 == 0) {
			tmf_begin(&tmf, &rig, seed >> 9 & 1,
				  (enum scsi_tmf)((seed >> 12) % SCSI_TMF_CLEAR_ACA), 0, 0);
			busy = true;
		}
		if (round % 64 == 63) {
			ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
			ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), 0);
		}
	}
	for (unsigned i = 0; i < STRESS_CMDS; i++)
		cmd_wait(&cmds[i]);
	if (busy)
		(void)tmf_wait(&tmf);
	rig_fini(&rig);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		power_on_first,
		request_sense_takes_it,
		capacity_changes,
		capacity_is_news_to_who_was_there,
		luns_change,
		no_such_lun,
		ordered_waits_and_holds,
		ordered_runs_alone,
		orwrite_is_alone,
		orwrite_waits_for_heads,
		reserve6,
		abort_task,
		aborted_commands_go_no_further,
		task_sets,
		task_aborted_status,
		started_is_not_forgotten,
		resets,
		several_wait_for_one,
		unmap_waits_for_tasks,
		another_unit_at_the_lun,
		nexus_free_waits_for_its_tasks,
		nexus_free_waits_for_its_functions,
		one_unit_in_two_targets,
	};
	Suite *suite = suite_create("scsi_set");
	TCase *tcase = tcase_create("set");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_loop_test(tcase, tests[i], 0, 2);
	tcase_add_loop_test(tcase, stress, 0, 4);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
