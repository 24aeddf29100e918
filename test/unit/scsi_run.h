/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One command after another on a rig, for the programs that check commands.
 *
 * Threads: the test's own.
 */
#ifndef LUNGATE_TEST_UNIT_SCSI_RUN_H
#define LUNGATE_TEST_UNIT_SCSI_RUN_H

#include <check.h>
#include <string.h>

#include "common/bytes.h"
#include "test/lib/scsirig.h"

#define BLOCKS 16384u /* of 512 */

enum { S_LBA = 0x052100, S_CDB = 0x052400, S_OPCODE = 0x052000, S_LUN = 0x052500, S_PARAM = 0x052600 };
enum { S_LENGTH = 0x051a00, S_IU = 0x050e03, S_PROTECT = 0x072700, S_MISCOMPARE = 0x0e1d00 };

static struct rig rig;
static uint8_t out_buf[1 << 20], in_buf[1 << 20];

static void
start_rig(const struct rig_options *options)
{
	rig_init(&rig, options);
	rig_clear_attentions(&rig);
}

static void
setup(void)
{
	start_rig(&(struct rig_options){0});
}

static void
teardown(void)
{
	rig_fini(&rig);
}

/* One command with Data-Out from out_buf, Data-In to in_buf; its result in *cmd. */
static struct cmd cmd;

static enum scsi_status
run_on(unsigned nexus, const uint8_t *cdb, uint32_t out_room, uint32_t in_room)
{
	cmd_init(&cmd, &rig, nexus, cdb, 16);
	cmd.out = out_buf;
	cmd.in = in_buf;
	cmd.task.out_room = out_room;
	cmd.task.in_room = in_room;
	return cmd_do(&cmd);
}

static enum scsi_status
run(const uint8_t *cdb, uint32_t out_room, uint32_t in_room)
{
	return run_on(0, cdb, out_room, in_room);
}

#define CDB(...) ((const uint8_t[16]){__VA_ARGS__})

static void
expect_good(const uint8_t *cdb, uint32_t out_room, uint32_t in_room)
{
	enum scsi_status status = run(cdb, out_room, in_room);

	ck_assert_msg(status == SCSI_GOOD, "%02x: status %02x sense %06x", cdb[0], status, cmd_sense(&cmd));
}

static void
expect_sense(const uint8_t *cdb, uint32_t out_room, uint32_t sense)
{
	enum scsi_status status = run(cdb, out_room, 4096);

	ck_assert_msg(status == SCSI_CHECK_CONDITION && cmd_sense(&cmd) == sense,
		      "%02x: status %02x sense %06x, not %06x", cdb[0], status, cmd_sense(&cmd), sense);
	ck_assert_uint_eq(cmd.task.in_len, 0);
}

#endif
