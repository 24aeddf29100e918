/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LOG SENSE (SPC-4 6.6, 7.3; SBC-3 6.4): one table of pages.
 *
 * Every parameter is what is now: threshold and default values are not kept, and nothing can be saved or
 * reset.
 *
 * Threads: the unit's home.
 */
#include "gateway/scsi/scsi_impl.h"

struct log_page {
	uint8_t code, subpage;
	void (*put)(const struct scsi_lu *lu, struct datain *in);
};

static void put_supported(const struct scsi_lu *lu, struct datain *in);
static void put_supported_subpages(const struct scsi_lu *lu, struct datain *in);

static void
put_parameter(struct datain *in, unsigned code, unsigned len)
{
	datain_be16(in, code);
	datain_u8(in, 0x03); /* binary, for display by nobody */
	datain_u8(in, len);
}

/* SBC-3 6.4.4.  How much the store could still take is not known; what is taken is. */
static void
put_provisioning(const struct scsi_lu *lu, struct datain *in)
{
	uint64_t used = atomic_load_explicit(&lu->vol->allocated, memory_order_relaxed);

	put_parameter(in, 0x0002, 8);
	datain_be32(in, (uint32_t)min_of((used + SCSI_THRESHOLD_SET - 1) / SCSI_THRESHOLD_SET,
					 (uint64_t)UINT32_MAX));
	datain_u8(in, 0x01); /* of this unit alone */
	datain_zero(in, 3);
}

/* SPC-4 7.3.21: FFh, there is no thermometer. */
static void
put_temperature(const struct scsi_lu *lu, struct datain *in)
{
	(void)lu;
	put_parameter(in, 0x0000, 2);
	datain_be16(in, 0x00ff);
	put_parameter(in, 0x0001, 2);
	datain_be16(in, 0x00ff);
}

/* SPC-4 7.3.8 */
static void
put_exceptions(const struct scsi_lu *lu, struct datain *in)
{
	int health = atomic_load_explicit(&lu->vol->health, memory_order_relaxed);

	put_parameter(in, 0x0000, 4);
	datain_be16(in, health ? 0x5d00 : 0); /* failure prediction threshold exceeded */
	datain_u8(in, 0xff);
	datain_u8(in, 0);
}

static const struct log_page log_pages[] = {
	{0x00, 0x00, put_supported},   {0x00, 0xff, put_supported_subpages}, {0x0c, 0x00, put_provisioning},
	{0x0d, 0x00, put_temperature}, {0x2f, 0x00, put_exceptions},
};

static bool
exists(const struct scsi_lu *lu, const struct log_page *page)
{
	return page->code != 0x0c || lu->vol->thin;
}

static void
put_supported(const struct scsi_lu *lu, struct datain *in)
{
	for (size_t i = 0; i < ARRAY_SIZE(log_pages); i++)
		if (exists(lu, &log_pages[i]) && log_pages[i].subpage == 0)
			datain_u8(in, log_pages[i].code);
}

static void
put_supported_subpages(const struct scsi_lu *lu, struct datain *in)
{
	for (size_t i = 0; i < ARRAY_SIZE(log_pages); i++) {
		if (!exists(lu, &log_pages[i]))
			continue;
		datain_u8(in, log_pages[i].code);
		datain_u8(in, log_pages[i].subpage);
	}
}

enum scsi_step
spc_log_sense(struct scsi_task *task)
{
	unsigned code = task->cdb[2] & 0x3f, subpage = task->cdb[3];
	const struct log_page *page = NULL;
	struct datain in;
	uint8_t len[2];

	if (task->cdb[1] & 0x01) { /* SP */
		(void)task_fail_cdb(task, 1);
		task->fail.flags |= FAIL_BIT;
		return STEP_FAIL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(log_pages); i++)
		if (log_pages[i].code == code && log_pages[i].subpage == subpage &&
		    exists(task->lu, &log_pages[i]))
			page = &log_pages[i];
	if (!page)
		return task_fail_cdb(task, subpage ? 3 : 2);
	if (task->cdb[2] >> 6 != 1) /* PC: cumulative values are all there are */
		return task_fail_cdb(task, 2);
	if (get_be16(task->cdb + 5) != 0) /* PARAMETER POINTER */
		return task_fail_cdb(task, 5);
	datain_begin(task, &in);
	datain_u8(&in, (subpage ? 0x40u : 0) | code);
	datain_u8(&in, subpage);
	datain_be16(&in, 0);
	page->put(task->lu, &in);
	put_be16(len, (uint16_t)(in.len - 4));
	datain_set(&in, 2, len, sizeof(len));
	return datain_end(task, &in);
}
