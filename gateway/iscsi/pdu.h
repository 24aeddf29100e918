/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PDUs: bytes to checked values and back.  Holds no session, does no I/O,
 * allocates nothing: what it is given are the bytes of one header, what it
 * says is where everything else lies and whether that may be believed.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_GATEWAY_ISCSI_PDU_H
#define LUNGATE_GATEWAY_ISCSI_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/iscsi/iscsi_fmt.h"

/** What this side accepts at the moment; the digests are those negotiated. */
struct pdu_limits {
	uint32_t max_data; /* our MaxRecvDataSegmentLength */
	uint32_t max_ahs;  /* bytes */
	bool header_digest;
	bool data_digest;
};

/** A basic header segment, decoded: the fields that all requests share, and those that differ by opcode under
 * one name each (clauses 11.3 to 11.19). */
struct pdu {
	uint8_t opcode;
	uint8_t flags; /* byte 1 */
	bool immediate;
	bool final;
	uint32_t ahs_len; /* bytes */
	uint32_t data_len;
	uint32_t pad_len; /* 0..3 after the data */
	uint8_t lun[8];   /* login: ISID (6 bytes) and TSIH */
	uint32_t itt;
	uint32_t word20; /* TTT; expected data transfer length; referenced task tag */
	uint32_t cmdsn;  /* reserved in Data-Out */
	uint32_t expstatsn;
	uint32_t word32; /* RefCmdSN */
	uint32_t word36; /* DataSN; ExpDataSN of a task management request */
	uint32_t word40; /* buffer offset */
};

/** Bytes before the data segment. */
static inline uint32_t
pdu_head_len(const struct pdu *pdu, const struct pdu_limits *limits)
{
	return ISCSI_BHS_LEN + pdu->ahs_len + (limits->header_digest ? ISCSI_DIGEST_LEN : 0);
}

/** Bytes after the data: padding, and the digest when there is data. */
static inline uint32_t
pdu_tail_len(const struct pdu *pdu, const struct pdu_limits *limits)
{
	return pdu->pad_len + (limits->data_digest && pdu->data_len ? ISCSI_DIGEST_LEN : 0);
}

/** Decode a request's BHS.  0; -EMSGSIZE when a length is over its limit (nothing after it can be found or
 * believed). */
int pdu_decode(const uint8_t bhs[ISCSI_BHS_LEN], const struct pdu_limits *limits, struct pdu *ret);

/** Header digest of BHS and AHS against the four bytes that follow them. */
bool pdu_head_digest_ok(const uint8_t *head, uint32_t ahs_len);

/** Data digest: crc is that of the data, tail the padding and the four bytes that follow it. */
bool pdu_data_digest_ok(const struct pdu *pdu, uint32_t crc, const uint8_t *tail);

/** What the additional header segments say.  Absent: cdb_len 0, has_bidi false. */
struct pdu_ahs {
	const uint8_t *cdb; /* bytes 16 and on of the CDB, in the caller's buffer */
	uint32_t cdb_len;
	bool has_bidi;
	uint32_t bidi_len; /* expected Data-In of a bidirectional command */
};
/** 0 or -EINVAL: a segment that is cut off, of a wrong length, or there twice. */
int pdu_ahs_parse(const uint8_t *ahs, uint32_t len, struct pdu_ahs *ret);

/* -- responses: each fills a whole BHS; the numbers that every response carries are in struct pdu_numbers --
 */

struct pdu_numbers {
	uint32_t statsn, expcmdsn, maxcmdsn;
};

struct pdu_residual {
	uint8_t flags; /* ISCSI_RESIDUAL_*, ISCSI_BIDI_* */
	uint32_t count;
	uint32_t bidi_count;
};

/** of expected bytes, `actual` were there: the overflow or underflow of 11.4.5. */
void pdu_residual_set(struct pdu_residual *residual, uint32_t expected, uint64_t actual);
/** The same for the Data-In of a bidirectional command. */
void pdu_residual_set_bidi(struct pdu_residual *residual, uint32_t expected, uint64_t actual);

void pdu_scsi_response(uint8_t *bhs, const struct pdu_numbers *n, uint32_t itt, uint8_t response,
		       uint8_t status, const struct pdu_residual *residual, uint32_t expdatasn,
		       uint32_t data_len);

struct pdu_data_in {
	uint32_t itt;
	uint32_t datasn;
	uint32_t offset;
	uint32_t len;
	bool final;      /* ends a sequence */
	bool has_status; /* 11.7.3: phase collapse */
	uint8_t status;
	struct pdu_residual residual;
};
void pdu_data_in(uint8_t *bhs, const struct pdu_numbers *n, const struct pdu_data_in *data);

void pdu_r2t(uint8_t *bhs, const struct pdu_numbers *n, const uint8_t lun[8], uint32_t itt, uint32_t ttt,
	     uint32_t r2tsn, uint32_t offset, uint32_t length);
void pdu_tmf_response(uint8_t *bhs, const struct pdu_numbers *n, uint32_t itt, uint8_t response);
void pdu_nop_in(uint8_t *bhs, const struct pdu_numbers *n, const uint8_t lun[8], uint32_t itt, uint32_t ttt,
		uint32_t data_len);
void pdu_text_response(uint8_t *bhs, const struct pdu_numbers *n, uint8_t flags, uint32_t itt, uint32_t ttt,
		       uint32_t data_len);
void pdu_logout_response(uint8_t *bhs, const struct pdu_numbers *n, uint32_t itt, uint8_t response,
			 uint16_t time2wait, uint16_t time2retain);
void pdu_reject(uint8_t *bhs, const struct pdu_numbers *n, uint8_t reason, uint32_t data_len);
void pdu_async(uint8_t *bhs, const struct pdu_numbers *n, uint8_t event, uint32_t data_len, uint16_t p1, uint16_t p2,
	       uint16_t p3);
void pdu_login_response(uint8_t *bhs, const struct pdu_numbers *n, uint8_t flags, const uint8_t isid[6],
			uint16_t tsih, uint32_t itt, uint16_t status, uint32_t data_len);

const char *pdu_opcode_name(uint8_t opcode);

#endif
