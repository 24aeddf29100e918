/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/iscsi/pdu.h"

#include <errno.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/util.h"

int
pdu_decode(const uint8_t bhs[ISCSI_BHS_LEN], const struct pdu_limits *limits, struct pdu *ret)
{
	uint32_t ahs_len = (uint32_t)bhs[4] * 4;
	uint32_t data_len = get_be24(bhs + 5);

	if (ahs_len > limits->max_ahs || data_len > limits->max_data)
		return -EMSGSIZE;
	ret->opcode = bhs[0] & ISCSI_OPCODE_MASK;
	ret->immediate = (bhs[0] & ISCSI_IMMEDIATE) != 0;
	ret->flags = bhs[1];
	ret->final = (bhs[1] & ISCSI_FINAL) != 0;
	ret->ahs_len = ahs_len;
	ret->data_len = data_len;
	ret->pad_len = -data_len & 3;
	memcpy(ret->lun, bhs + 8, sizeof(ret->lun));
	ret->itt = get_be32(bhs + 16);
	ret->word20 = get_be32(bhs + 20);
	ret->cmdsn = get_be32(bhs + 24);
	ret->expstatsn = get_be32(bhs + 28);
	ret->word32 = get_be32(bhs + 32);
	ret->word36 = get_be32(bhs + 36);
	ret->word40 = get_be32(bhs + 40);
	return 0;
}

bool
pdu_head_digest_ok(const uint8_t *head, uint32_t ahs_len)
{
	return crc32c(0, head, ISCSI_BHS_LEN + ahs_len) == get_le32(head + ISCSI_BHS_LEN + ahs_len);
}

bool
pdu_data_digest_ok(const struct pdu *pdu, uint32_t crc, const uint8_t *tail)
{
	return crc32c(crc, tail, pdu->pad_len) == get_le32(tail + pdu->pad_len);
}

int
pdu_ahs_parse(const uint8_t *ahs, uint32_t len, struct pdu_ahs *ret)
{
	struct pdu_ahs found = {0};

	while (len) {
		uint32_t body, whole;

		/* AHSLength counts what follows AHSType; the segment is padded to words (11.2.2.1) */
		if (len < 4)
			return -EINVAL;
		body = get_be16(ahs);
		whole = (uint32_t)align_up(body + 3, 4);
		if (whole > len || !body)
			return -EINVAL;
		switch (ahs[2] & 0x3f) {
		case ISCSI_AHS_CDB:
			/* the first byte of the body is reserved */
			if (found.cdb || body < 2)
				return -EINVAL;
			found.cdb = ahs + 4;
			found.cdb_len = body - 1;
			break;
		case ISCSI_AHS_BIDI:
			if (found.has_bidi || body != 5)
				return -EINVAL;
			found.has_bidi = true;
			found.bidi_len = get_be32(ahs + 4);
			break;
		default:
			return -EINVAL;
		}
		ahs += whole;
		len -= whole;
	}
	*ret = found;
	return 0;
}

static void
residual(uint32_t expected, uint64_t actual, uint8_t over, uint8_t under, uint8_t *flags, uint32_t *count)
{
	uint64_t diff = actual > expected ? actual - expected : expected - actual;

	*count = diff > UINT32_MAX ? UINT32_MAX : (uint32_t)diff;
	if (actual > expected)
		*flags |= over;
	else if (actual < expected)
		*flags |= under;
}

void
pdu_residual_set(struct pdu_residual *r, uint32_t expected, uint64_t actual)
{
	residual(expected, actual, ISCSI_RESIDUAL_OVERFLOW, ISCSI_RESIDUAL_UNDERFLOW, &r->flags, &r->count);
}

void
pdu_residual_set_bidi(struct pdu_residual *r, uint32_t expected, uint64_t actual)
{
	residual(expected, actual, ISCSI_BIDI_OVERFLOW, ISCSI_BIDI_UNDERFLOW, &r->flags, &r->bidi_count);
}

static void
start(uint8_t *bhs, uint8_t opcode, uint8_t flags, uint32_t itt, const struct pdu_numbers *n,
      uint32_t data_len)
{
	memset(bhs, 0, ISCSI_BHS_LEN);
	bhs[0] = opcode;
	bhs[1] = flags;
	put_be24(bhs + 5, data_len);
	put_be32(bhs + 16, itt);
	put_be32(bhs + 24, n->statsn);
	put_be32(bhs + 28, n->expcmdsn);
	put_be32(bhs + 32, n->maxcmdsn);
}

void
pdu_scsi_response(uint8_t *bhs, const struct pdu_numbers *n, uint32_t itt, uint8_t response, uint8_t status,
		  const struct pdu_residual *r, uint32_t expdatasn, uint32_t data_len)
{
	start(bhs, ISCSI_SCSI_RESPONSE, (uint8_t)(ISCSI_FINAL | r->flags), itt, n, data_len);
	bhs[2] = response;
	bhs[3] = status;
	put_be32(bhs + 36, expdatasn);
	put_be32(bhs + 40, r->bidi_count);
	put_be32(bhs + 44, r->count);
}

void
pdu_data_in(uint8_t *bhs, const struct pdu_numbers *n, const struct pdu_data_in *data)
{
	uint8_t flags = data->final ? ISCSI_FINAL : 0;

	if (data->has_status)
		flags |= ISCSI_DATA_STATUS |
			 (data->residual.flags & (ISCSI_RESIDUAL_OVERFLOW | ISCSI_RESIDUAL_UNDERFLOW));
	start(bhs, ISCSI_DATA_IN, flags, data->itt, n, data->len);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	put_be32(bhs + 36, data->datasn);
	put_be32(bhs + 40, data->offset);
	if (data->has_status) {
		bhs[3] = data->status;
		put_be32(bhs + 44, data->residual.count);
	} else {
		put_be32(bhs + 24, 0);
	}
}

void
pdu_r2t(uint8_t *bhs, const struct pdu_numbers *n, const uint8_t lun[8], uint32_t itt, uint32_t ttt,
	uint32_t r2tsn, uint32_t offset, uint32_t length)
{
	start(bhs, ISCSI_R2T, ISCSI_FINAL, itt, n, 0);
	memcpy(bhs + 8, lun, 8);
	put_be32(bhs + 20, ttt);
	put_be32(bhs + 36, r2tsn);
	put_be32(bhs + 40, offset);
	put_be32(bhs + 44, length);
}

void
pdu_tmf_response(uint8_t *bhs, const struct pdu_numbers *n, uint32_t itt, uint8_t response)
{
	start(bhs, ISCSI_TMF_RESPONSE, ISCSI_FINAL, itt, n, 0);
	bhs[2] = response;
}

void
pdu_nop_in(uint8_t *bhs, const struct pdu_numbers *n, const uint8_t lun[8], uint32_t itt, uint32_t ttt,
	   uint32_t data_len)
{
	start(bhs, ISCSI_NOP_IN, ISCSI_FINAL, itt, n, data_len);
	memcpy(bhs + 8, lun, 8);
	put_be32(bhs + 20, ttt);
}

void
pdu_text_response(uint8_t *bhs, const struct pdu_numbers *n, uint8_t flags, uint32_t itt, uint32_t ttt,
		  uint32_t data_len)
{
	start(bhs, ISCSI_TEXT_RESPONSE, flags, itt, n, data_len);
	put_be32(bhs + 20, ttt);
}

void
pdu_logout_response(uint8_t *bhs, const struct pdu_numbers *n, uint32_t itt, uint8_t response,
		    uint16_t time2wait, uint16_t time2retain)
{
	start(bhs, ISCSI_LOGOUT_RESPONSE, ISCSI_FINAL, itt, n, 0);
	bhs[2] = response;
	put_be16(bhs + 40, time2wait);
	put_be16(bhs + 42, time2retain);
}

void
pdu_reject(uint8_t *bhs, const struct pdu_numbers *n, uint8_t reason, uint32_t data_len)
{
	start(bhs, ISCSI_REJECT, ISCSI_FINAL, ISCSI_TAG_NONE, n, data_len);
	bhs[2] = reason;
}

void
pdu_async(uint8_t *bhs, const struct pdu_numbers *n, uint8_t event, uint32_t data_len, uint16_t p1,
	  uint16_t p2, uint16_t p3)
{
	start(bhs, ISCSI_ASYNC_MESSAGE, ISCSI_FINAL, ISCSI_TAG_NONE, n, data_len);
	bhs[36] = event;
	put_be16(bhs + 38, p1);
	put_be16(bhs + 40, p2);
	put_be16(bhs + 42, p3);
}

void
pdu_login_response(uint8_t *bhs, const struct pdu_numbers *n, uint8_t flags, const uint8_t isid[6],
		   uint16_t tsih, uint32_t itt, uint16_t status, uint32_t data_len)
{
	start(bhs, ISCSI_LOGIN_RESPONSE, flags, itt, n, data_len);
	memcpy(bhs + 8, isid, 6);
	put_be16(bhs + 14, tsih);
	put_be16(bhs + 36, status);
}

const char *
pdu_opcode_name(uint8_t opcode)
{
	static const char *const names[ISCSI_OPCODE_MASK + 1] = {
		[ISCSI_NOP_OUT] = "NOP-Out",
		[ISCSI_SCSI_COMMAND] = "SCSI Command",
		[ISCSI_TMF_REQUEST] = "Task Management Function Request",
		[ISCSI_LOGIN_REQUEST] = "Login Request",
		[ISCSI_TEXT_REQUEST] = "Text Request",
		[ISCSI_DATA_OUT] = "SCSI Data-Out",
		[ISCSI_LOGOUT_REQUEST] = "Logout Request",
		[ISCSI_SNACK_REQUEST] = "SNACK Request",
		[ISCSI_NOP_IN] = "NOP-In",
		[ISCSI_SCSI_RESPONSE] = "SCSI Response",
		[ISCSI_TMF_RESPONSE] = "Task Management Function Response",
		[ISCSI_LOGIN_RESPONSE] = "Login Response",
		[ISCSI_TEXT_RESPONSE] = "Text Response",
		[ISCSI_DATA_IN] = "SCSI Data-In",
		[ISCSI_LOGOUT_RESPONSE] = "Logout Response",
		[ISCSI_R2T] = "R2T",
		[ISCSI_ASYNC_MESSAGE] = "Asynchronous Message",
		[ISCSI_REJECT] = "Reject",
	};
	const char *name = names[opcode & ISCSI_OPCODE_MASK];

	return name ? name : "unknown opcode";
}
