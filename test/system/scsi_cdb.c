/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One command to one LUN, for scripts.
 *
 * usage: scsi_cdb PORTAL TARGET LUN CDB [in BYTES | out HEX]
 *
 * CDB: hexadecimal.  Unit attentions are taken first.  Prints "good", the Data-In after it in hexadecimal; or
 * "sense K/ASC/ASCQ"; or "status NN".  Exit: 0 = one of these, 1 = no answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "common/util.h"

#define DATA_MAX 65536u

static uint8_t cdb[16], out[DATA_MAX];

static unsigned
parse_hex(const char *text, uint8_t *ret, unsigned max)
{
	unsigned n = 0;

	for (; text[0] && text[1] && n < max; text += 2) {
		const char pair[3] = {text[0], text[1], 0};

		ret[n++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return n;
}

static void
no_answer(struct iscsi_context *iscsi, const char *what)
{
	printf("%s: %s\n", what, iscsi_get_error(iscsi));
	exit(1);
}

static struct scsi_task *
run(struct iscsi_context *iscsi, int lun, unsigned cdb_len, unsigned in, unsigned out_len)
{
	struct scsi_task *task = scsi_create_task((int)cdb_len, cdb,
						  in        ? SCSI_XFER_READ
						  : out_len ? SCSI_XFER_WRITE
							    : SCSI_XFER_NONE,
						  (int)(in ? in : out_len));
	struct iscsi_data data = {.size = out_len, .data = out};

	if (!task || !iscsi_scsi_command_sync(iscsi, lun, task, out_len ? &data : NULL))
		no_answer(iscsi, "no answer");
	return task;
}

static void
take_attentions(struct iscsi_context *iscsi, int lun)
{
	for (unsigned i = 0; i < 10; i++) {
		struct scsi_task *task = iscsi_testunitready_sync(iscsi, lun);
		bool attention;

		if (!task)
			no_answer(iscsi, "no answer to TEST UNIT READY");
		attention = task->status == SCSI_STATUS_CHECK_CONDITION &&
			    task->sense.key == SCSI_SENSE_UNIT_ATTENTION;
		scsi_free_scsi_task(task);
		if (!attention)
			return;
	}
}

static void
print(const struct scsi_task *task)
{
	if (task->status == SCSI_STATUS_CHECK_CONDITION) {
		printf("sense %x/%02x/%02x\n", (unsigned)task->sense.key, (unsigned)task->sense.ascq >> 8,
		       (unsigned)task->sense.ascq & 0xff);
	} else if (task->status != SCSI_STATUS_GOOD) {
		printf("status %02x\n", (unsigned)task->status);
	} else {
		printf("good%s", task->datain.size > 0 ? " " : "");
		for (int i = 0; i < task->datain.size; i++)
			printf("%02x", task->datain.data[i]);
		printf("\n");
	}
}

int
main(int argc, char **argv)
{
	struct iscsi_context *iscsi = iscsi_create_context("iqn.2026-11.net.lungate:cdb");
	unsigned in = 0, out_len = 0, cdb_len;
	struct scsi_task *task;
	int lun;

	if (argc < 5 || !iscsi) {
		printf("usage: scsi_cdb PORTAL TARGET LUN CDB [in BYTES | out HEX]\n");
		return 2;
	}
	lun = (int)strtol(argv[3], NULL, 10);
	iscsi_set_targetname(iscsi, argv[2]);
	iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_noautoreconnect(iscsi, 1);
	iscsi_set_timeout(iscsi, 60);
	if (iscsi_connect_sync(iscsi, argv[1]) || iscsi_login_sync(iscsi))
		no_answer(iscsi, "no login");
	take_attentions(iscsi, lun);
	cdb_len = parse_hex(argv[4], cdb, sizeof(cdb));
	if (argc > 6 && !strcmp(argv[5], "in"))
		in = (unsigned)strtoul(argv[6], NULL, 10);
	else if (argc > 6)
		out_len = parse_hex(argv[6], out, sizeof(out));
	task = run(iscsi, lun, cdb_len, in, out_len);
	print(task);
	scsi_free_scsi_task(task);
	(void)iscsi_logout_sync(iscsi);
	iscsi_destroy_context(iscsi);
	return 0;
}
