/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/conformance/initiator.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"

static unsigned checks, wrong;

void
check(bool ok, const char *fmt, ...)
{
	va_list ap;

	checks++;
	if (ok)
		return;
	wrong++;
	printf("WRONG: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

int
check_result(const char *what)
{
	printf("%s: %u of %u as they should be\n", what, checks - wrong, checks);
	return wrong != 0 || checks == 0;
}

struct iscsi_context *
initiator_login(const char *portal, const char *target, const char *name, uint32_t qualifier)
{
	struct iscsi_context *iscsi = iscsi_create_context(name);

	if (!iscsi)
		exit(1);
	iscsi_set_isid_en(iscsi, 0x4c47, qualifier);
	iscsi_set_targetname(iscsi, target);
	iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_noautoreconnect(iscsi, 1);
	iscsi_set_timeout(iscsi, 120);
	if (iscsi_connect_sync(iscsi, portal) || iscsi_login_sync(iscsi)) {
		printf("%s cannot log in: %s\n", name, iscsi_get_error(iscsi));
		exit(1);
	}
	return iscsi;
}

void
initiator_logout(struct iscsi_context *iscsi)
{
	(void)iscsi_logout_sync(iscsi);
	iscsi_destroy_context(iscsi);
}

int
initiator_run(struct iscsi_context *iscsi, int lun, const uint8_t *cdb, unsigned cdb_len, unsigned in,
	      unsigned out, struct answer *ret)
{
	static uint8_t zeroes[65536];
	struct scsi_task *task = scsi_create_task((int)cdb_len, (unsigned char *)cdb,
						  in    ? SCSI_XFER_READ
						  : out ? SCSI_XFER_WRITE
							: SCSI_XFER_NONE,
						  (int)(in ? in : out));
	struct iscsi_data data = {.size = min_of((size_t)out, sizeof(zeroes)), .data = zeroes};

	if (!task || !iscsi_scsi_command_sync(iscsi, lun, task, out ? &data : NULL)) {
		printf("command %02xh got no answer: %s\n", cdb[0], iscsi_get_error(iscsi));
		exit(1);
	}
	memset(ret, 0, offsetof(struct answer, data));
	ret->len = 0;
	ret->status = task->status;
	if (task->status == CHECK) {
		ret->key = task->sense.key;
		ret->asc = (unsigned)task->sense.ascq;
		ret->has_field = task->sense.sense_specific && task->sense.ill_param_in_cdb;
		ret->field = task->sense.field_pointer;
		ret->bit = task->sense.bit_pointer_valid ? task->sense.bit_pointer : -1;
	} else if (task->status == GOOD && task->datain.size > 0) {
		ret->len = min_of((size_t)task->datain.size, sizeof(ret->data));
		memcpy(ret->data, task->datain.data, ret->len);
	}
	scsi_free_scsi_task(task);
	return ret->status;
}

void
initiator_settle(struct iscsi_context *iscsi, int lun)
{
	struct answer answer;

	for (unsigned i = 0; i < 8; i++)
		if (initiator_run(iscsi, lun, (uint8_t[6]){0}, 6, 0, 0, &answer) == GOOD)
			break;
}
