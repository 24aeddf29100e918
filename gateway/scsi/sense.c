/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors to status and sense data (SPC-4 4.5).  sense.def says what each error
 * looks like on the wire; volume_errors[] says which error a failed volume
 * request is.
 *
 * Threads: any (pure).
 */
#include "gateway/scsi/scsi_impl.h"

static const struct scsi_sense_row rows[SE_COUNT] = {
#define SENSE(n, s, k, c, t)                                                                                 \
	[SE_##n] = {.name = #n, .status = SCSI_##s, .key = KEY_##k, .code = (c), .text = (t)},
#include "gateway/scsi/sense.def"
#undef SENSE
};

/*
 * What an initiator makes of it decides the choice: MEDIUM ERROR and HARDWARE
 * ERROR end the I/O at once, NOT READY "unavailable" makes multipath try
 * another path, BUSY is tried again later.  So is NOT READY "becoming ready", for as long as the initiator has
 * patience (Linux: retries times time-out of the disk), and it says which of the two sides to look at: the store
 * is away, or does not let us in.
 */
static const struct {
	int status;
	enum scsi_error reading, writing;
} volume_errors[] = {
	{LG_ECORRUPT, SE_READ_ERROR, SE_READ_ERROR},
	{-EIO, SE_READ_ERROR, SE_WRITE_ERROR},
	{LG_EDAMAGED, SE_INTERNAL_FAILURE, SE_INTERNAL_FAILURE},
	{LG_EPOISONED, SE_INTERNAL_FAILURE, SE_INTERNAL_FAILURE},
	{LG_ESANITIZING, SE_SANITIZING, SE_SANITIZING},
	{LG_ESANITIZE, SE_SANITIZE_FAILED, SE_SANITIZE_FAILED},
	{LG_EMISCOMPARE, SE_MISCOMPARE, SE_MISCOMPARE},
	{LG_ERANGE, SE_LBA_RANGE, SE_LBA_RANGE},
	{-ENOSPC, SE_SPACE_FAILED, SE_SPACE_FAILED},
	{-EDQUOT, SE_SPACE_FAILED, SE_SPACE_FAILED},
	{-EROFS, SE_WRITE_PROTECTED, SE_WRITE_PROTECTED},
	{LG_EFENCED, SE_UNAVAILABLE, SE_UNAVAILABLE},
	{LG_EOWNED, SE_UNAVAILABLE, SE_UNAVAILABLE},
	{LG_ECONFLICT, SE_UNAVAILABLE, SE_UNAVAILABLE},
	{LG_ESTOPPING, SE_BUSY, SE_BUSY},
	{-EAGAIN, SE_BUSY, SE_BUSY},
	{-ENOMEM, SE_BUSY, SE_BUSY},
	{-EBUSY, SE_BUSY, SE_BUSY},
	{-ETIMEDOUT, SE_BECOMING_READY, SE_BECOMING_READY},
	{-ECONNREFUSED, SE_BECOMING_READY, SE_BECOMING_READY},
	{-ECONNRESET, SE_BECOMING_READY, SE_BECOMING_READY},
	{-EHOSTUNREACH, SE_BECOMING_READY, SE_BECOMING_READY},
	{-EACCES, SE_BECOMING_READY, SE_BECOMING_READY},
	{-EKEYREJECTED, SE_BECOMING_READY, SE_BECOMING_READY},
	{-EPROTO, SE_BECOMING_READY, SE_BECOMING_READY},
	{-ENODEV, SE_NOT_READY, SE_NOT_READY},
	{-ENXIO, SE_NOT_READY, SE_NOT_READY},
	{LG_EABORTED, SE_COMMAND_ABORTED, SE_COMMAND_ABORTED},
	{-ECANCELED, SE_COMMAND_ABORTED, SE_COMMAND_ABORTED},
};

const struct scsi_sense_row *
scsi_sense_row(enum scsi_error error)
{
	assert(error > SE_NONE && error < SE_COUNT);
	return &rows[error];
}

enum scsi_error
scsi_error_of(int status, enum vol_op op)
{
	bool reading = op == VOL_READ || op == VOL_MAP;

	for (size_t i = 0; i < ARRAY_SIZE(volume_errors); i++)
		if (volume_errors[i].status == status)
			return reading ? volume_errors[i].reading : volume_errors[i].writing;
	return SE_INTERNAL_FAILURE;
}

/* SPC-4 4.5.2.4.2: the three bytes that are specific to the sense key; false when there is none to give. */
static bool
key_specific(const struct scsi_fail *fail, uint8_t sks[3])
{
	if (fail->flags & FAIL_PROGRESS) { /* SPC-4 4.5.2.4.4 */
		sks[0] = 0x80;
		put_be16(sks + 1, (uint16_t)fail->info);
		return true;
	}
	if (!(fail->flags & (FAIL_CDB | FAIL_PARAM)))
		return false;
	sks[0] = 0x80;
	if (fail->flags & FAIL_CDB)
		sks[0] |= 0x40;
	if (fail->flags & FAIL_BIT)
		sks[0] |= (uint8_t)(0x08 | (fail->bit & 7));
	put_be16(sks + 1, fail->byte);
	return true;
}

static unsigned
build_fixed(const struct scsi_fail *fail, const struct scsi_sense_row *row, uint8_t *buf)
{
	memset(buf, 0, 18);
	buf[0] = 0x70;
	/* a value over 32 bits cannot be told here (SPC-4 4.5.3) */
	if ((fail->flags & FAIL_INFO) && fail->info <= UINT32_MAX) {
		buf[0] |= 0x80;
		put_be32(buf + 3, (uint32_t)fail->info);
	}
	buf[2] = (uint8_t)row->key;
	buf[7] = 10;
	put_be16(buf + 12, row->code);
	(void)key_specific(fail, buf + 15);
	return 18;
}

static unsigned
build_descriptor(const struct scsi_fail *fail, const struct scsi_sense_row *row, uint8_t *buf)
{
	unsigned n = 8;

	memset(buf, 0, 8 + 12 + 8);
	buf[0] = 0x72;
	buf[1] = (uint8_t)row->key;
	put_be16(buf + 2, row->code);
	if (fail->flags & FAIL_INFO) {
		buf[n + 1] = 0x0a;
		buf[n + 2] = 0x80;
		put_be64(buf + n + 4, fail->info);
		n += 12;
	}
	if (key_specific(fail, buf + n + 4)) {
		buf[n] = 0x02;
		buf[n + 1] = 0x06;
		n += 8;
	}
	buf[7] = (uint8_t)(n - 8);
	return n;
}

unsigned
scsi_luns_changed_sense(uint8_t sense[SCSI_SENSE_MAX])
{
	return scsi_sense_build(&(struct scsi_fail){.code = SE_UA_LUNS}, false, sense);
}

unsigned
scsi_sense_build(const struct scsi_fail *fail, bool descriptor, uint8_t *buf)
{
	const struct scsi_sense_row *row = scsi_sense_row((enum scsi_error)fail->code);

	return descriptor ? build_descriptor(fail, row, buf) : build_fixed(fail, row, buf);
}
