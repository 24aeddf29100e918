/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INQUIRY: standard data and the table of VPD pages (SPC-4 6.4, 7.8; SBC-3 6.6).
 *
 * Threads: the unit's home; without a unit the transport's loop.
 */
#include <stdio.h>

#include "gateway/scsi/scsi_impl.h"

#define VENDOR "LUNGATE"
#define PRODUCT "VIRTUAL-DISK"
#define STANDARD_LEN 96

static const uint16_t version_descriptors[] = {
	0x00a0, /* SAM-5 */
	0x0960, /* iSCSI */
	0x0460, /* SPC-4 */
	0x04c0, /* SBC-3 */
};

/* SPC-4 6.4.2: a LUN where no unit can be. */
#define NO_UNIT 0x7f

/* Peripheral qualifier and type of a unit.  In the unavailable state SPC-4 5.15.2.4 wants the qualifier 001b (not connected); it
 * is 000b in all states here, on purpose: Linux binds no disk to a path that it has found with 001b, nor later when the
 * state is another one, without being told to by hand.  What holds is told by the sense data and by REPORT TARGET PORT GROUPS. */
#define UNIT 0x00

static enum scsi_step
standard(struct scsi_task *task)
{
	struct datain in;

	datain_begin(task, &in);
	datain_u8(&in, task->lu ? UNIT : NO_UNIT);
	datain_u8(&in, task->lu && task->lu->removable ? 0x80 : 0x00); /* RMB */
	datain_u8(&in, 0x06);                                          /* SPC-4 */
	datain_u8(&in, 0x12);                                          /* HISUP, response data format 2 */
	datain_u8(&in, STANDARD_LEN - 5);
	datain_u8(&in, 0x38); /* TPGS: implicit and explicit; 3PC */
	datain_u8(&in, 0x00);
	datain_u8(&in, 0x02); /* CMDQUE */
	datain_text(&in, VENDOR, 8);
	datain_text(&in, PRODUCT, 16);
	datain_text(&in, PACKAGE_VERSION, 4);
	datain_zero(&in, 58 - 36);
	for (size_t i = 0; i < ARRAY_SIZE(version_descriptors); i++)
		datain_be16(&in, version_descriptors[i]);
	datain_zero(&in, STANDARD_LEN - in.len);
	return datain_end(task, &in);
}

/* -- the pages, each after its header of 4 bytes ------------------------- */

static void page_supported(struct scsi_task *task, struct datain *in);

static void
page_serial(struct scsi_task *task, struct datain *in)
{
	const char *serial = task->lu->vol->serial;

	datain_put(in, serial, strnlen(serial, sizeof(task->lu->vol->serial)));
}

/* SPC-4 7.8.6: code set, PIV and protocol, association, type */
enum { CODE_BINARY = 1, CODE_ASCII = 2, CODE_UTF8 = 3 };
enum { OF_UNIT = 0, OF_PORT = 1, OF_TARGET = 2 };
enum { TYPE_T10 = 1, TYPE_NAA = 3, TYPE_PORT = 4, TYPE_PORT_GROUP = 5, TYPE_NAME = 8, TYPE_UUID = 10 };
#define PROTOCOL_ISCSI 5

static void
put_designator(struct datain *in, unsigned code, unsigned of, unsigned type, unsigned len)
{
	datain_u8(in, of == OF_UNIT ? code : PROTOCOL_ISCSI << 4 | code);
	datain_u8(in, (of == OF_UNIT ? 0 : 0x80u) | of << 4 | type);
	datain_u8(in, 0);
	datain_u8(in, len);
}

/* A SCSI name string ends in NUL and fills a multiple of 4. */
static void
put_name(struct datain *in, unsigned of, const char *name)
{
	size_t n = strlen(name), len = align_up(n + 1, 4);

	put_designator(in, CODE_UTF8, of, TYPE_NAME, (unsigned)len);
	datain_put(in, name, n);
	datain_zero(in, len - n);
}

static void
page_identification(struct scsi_task *task, struct datain *in)
{
	const struct volume *vol = task->lu->vol;
	const struct scsi_nexus *nexus = task->nexus;
	size_t serial = strnlen(vol->serial, sizeof(vol->serial));
	char name[SCSI_NAME_MAX + 16];

	put_designator(in, CODE_BINARY, OF_UNIT, TYPE_NAA, sizeof(vol->naa));
	datain_put(in, vol->naa, sizeof(vol->naa));
	put_designator(in, CODE_ASCII, OF_UNIT, TYPE_T10, (unsigned)(8 + serial));
	datain_text(in, VENDOR, 8);
	datain_put(in, vol->serial, serial);
	put_designator(in, CODE_BINARY, OF_UNIT, TYPE_UUID, 2 + UUID_LEN);
	datain_be16(in, 0x1000);
	datain_put(in, vol->uuid, UUID_LEN);
	put_designator(in, CODE_BINARY, OF_PORT, TYPE_PORT, 4);
	datain_be32(in, scsi_port_id(nexus));
	put_designator(in, CODE_BINARY, OF_PORT, TYPE_PORT_GROUP, 4);
	datain_be32(in, scsi_port_id(nexus));
	(void)snprintf(name, sizeof(name), "%s,t,0x%04x", nexus->target->name, nexus->tpgt);
	put_name(in, OF_PORT, name);
	put_name(in, OF_TARGET, nexus->target->name);
}

static void
page_extended(struct scsi_task *task, struct datain *in)
{
	uint8_t page[60] = {0};

	page[1] = 0x07;                                     /* HEADSUP, ORDSUP, SIMPSUP */
	page[2] = task->lu->vol->write_cache ? 0x01 : 0x00; /* V_SUP */
	page[3] = 0x01;                                     /* LUICLR */
	page[9] = SCSI_SENSE_MAX;
	datain_put(in, page, sizeof(page));
}

static void
page_block_limits(struct scsi_task *task, struct datain *in)
{
	const struct volume *vol = task->lu->vol;
	uint32_t bs = vol->block_size;
	uint8_t page[60] = {0};

	page[1] = (uint8_t)scsi_max_compare(task->lu); /* WSNZ is 0 */
	put_be16(page + 2, (uint16_t)(PAGE_SIZE_BYTES / bs));
	put_be32(page + 4, SCSI_MAX_TRANSFER / bs);
	put_be32(page + 8, SCSI_OPTIMAL_TRANSFER / bs);
	put_be32(page + 12, SCSI_MAX_TRANSFER / bs); /* pre-fetch */
	if (vol->thin) {
		put_be32(page + 16, UINT32_MAX); /* UNMAP: any number of blocks */
		put_be32(page + 20, SCSI_MAX_UNMAP_DESCRIPTORS);
		put_be32(page + 24, vol->chunk_size / bs);
		put_be32(page + 28, 0x80000000u); /* UGAVALID, alignment 0 */
	}
	put_be64(page + 32, SCSI_MAX_WRITE_SAME / bs);
	put_be32(page + 40, scsi_max_atomic(task->lu)); /* alignment and granularity: any */
	datain_put(in, page, sizeof(page));
}

static void
page_characteristics(struct scsi_task *task, struct datain *in)
{
	datain_be16(in, 1); /* does not rotate */
	datain_u8(in, 0);
	datain_u8(in, task->lu->vol->thin ? 0x40 : 0); /* WABEREQ: reads succeed after BLOCK ERASE */
	datain_zero(in, 56);
}

static void
page_provisioning(struct scsi_task *task, struct datain *in)
{
	bool thin = task->lu->vol->thin;

	/* THRESHOLD EXPONENT */
	datain_u8(in, thin ? (unsigned)__builtin_ctz(SCSI_THRESHOLD_SET / task->lu->vol->block_size) : 0);
	datain_u8(in, thin ? 0xe4 : 0); /* LBPU, LBPWS, LBPWS10, LBPRZ */
	datain_u8(in, thin ? 2 : 0);
	datain_u8(in, 0);
}

static const struct vpd_page {
	uint8_t code;
	void (*put)(struct scsi_task *task, struct datain *in);
} vpd_pages[] = {
	{0x00, page_supported},    {0x80, page_serial},       {0x83, page_identification},
	{0x86, page_extended},     {0xb0, page_block_limits}, {0xb1, page_characteristics},
	{0xb2, page_provisioning},
};

static void
page_supported(struct scsi_task *task, struct datain *in)
{
	for (size_t i = 0; i < (task->lu ? ARRAY_SIZE(vpd_pages) : 1); i++)
		datain_u8(in, vpd_pages[i].code);
}

static enum scsi_step
vital(struct scsi_task *task, const struct vpd_page *page)
{
	struct datain in;
	uint8_t len[2];

	datain_begin(task, &in);
	datain_u8(&in, task->lu ? UNIT : NO_UNIT);
	datain_u8(&in, page->code);
	datain_be16(&in, 0);
	page->put(task, &in);
	put_be16(len, (uint16_t)(in.len - 4));
	datain_set(&in, 2, len, 2);
	return datain_end(task, &in);
}

enum scsi_step
spc_inquiry(struct scsi_task *task)
{
	uint8_t code = task->cdb[2];

	if (!(task->cdb[1] & 0x01))
		return code ? task_fail_cdb(task, 2) : standard(task);
	for (size_t i = 0; i < (task->lu ? ARRAY_SIZE(vpd_pages) : 1); i++)
		if (vpd_pages[i].code == code)
			return vital(task, &vpd_pages[i]);
	return task_fail_cdb(task, 2);
}
