/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as PDUs, one behind the other as a receiver finds them: a wrong header digest ends the stream, a PDU with
 * a wrong data digest is left out.  First byte: digests (1 header, 2 data), which limits hold (4: those of the login
 * phase), and which digests are made right first (8 header, 16 data), for chance never does.
 *
 * What must hold: no length is believed over its limit; all that the additional headers say lies within them;
 * a digest that was made right is right, and is not with any bit changed.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "gateway/iscsi/keys.h"
#include "gateway/iscsi/pdu.h"
#include "test/fuzz/fuzz.h"

#define MEND_HEADER 8
#define MEND_DATA 16

/* The header with its digest at head: is it to be believed? */
static bool
check_header(uint8_t *head, const struct pdu *pdu, bool mend)
{
	uint32_t len = ISCSI_BHS_LEN + pdu->ahs_len;
	uint8_t *byte = head + head[ISCSI_BHS_LEN - 1] % (len + ISCSI_DIGEST_LEN);

	if (!mend)
		return pdu_head_digest_ok(head, pdu->ahs_len);
	put_le32(head + len, crc32c(0, head, len));
	*byte ^= 0x10;
	assert(!pdu_head_digest_ok(head, pdu->ahs_len));
	*byte ^= 0x10;
	assert(pdu_head_digest_ok(head, pdu->ahs_len));
	return true;
}

/* The same for the data, and the padding and the digest behind it. */
static bool
check_data(uint8_t *data, const struct pdu *pdu, bool mend)
{
	uint8_t *tail = data + pdu->data_len, *byte = data + data[0] % (pdu->data_len + pdu->pad_len);

	if (!mend)
		return pdu_data_digest_ok(pdu, crc32c(0, data, pdu->data_len), tail);
	put_le32(tail + pdu->pad_len, crc32c(0, data, pdu->data_len + pdu->pad_len));
	*byte ^= 0x10;
	assert(!pdu_data_digest_ok(pdu, crc32c(0, data, pdu->data_len), tail));
	*byte ^= 0x10;
	assert(pdu_data_digest_ok(pdu, crc32c(0, data, pdu->data_len), tail));
	return true;
}

static void
check_ahs(const uint8_t *ahs, uint32_t len)
{
	struct pdu_ahs found;

	if (pdu_ahs_parse(ahs, len, &found) < 0 || !found.cdb_len)
		return;
	assert(found.cdb >= ahs);
	assert(found.cdb + found.cdb_len <= ahs + len);
}

/* One PDU; the bytes it takes, 0: there is no whole one, or the stream ends. */
static size_t
one_pdu(uint8_t *p, size_t size, const struct pdu_limits *limits, unsigned how)
{
	struct pdu pdu;
	size_t head, whole;

	if (size < ISCSI_BHS_LEN || pdu_decode(p, limits, &pdu) < 0)
		return 0;
	assert(pdu.data_len <= limits->max_data && pdu.ahs_len <= limits->max_ahs);
	assert((pdu.data_len + pdu.pad_len) % 4 == 0 && pdu.pad_len < 4);
	assert(pdu_opcode_name(pdu.opcode) != NULL);
	head = pdu_head_len(&pdu, limits);
	if (head > size || (limits->header_digest && !check_header(p, &pdu, how & MEND_HEADER)))
		return 0;
	check_ahs(p + ISCSI_BHS_LEN, pdu.ahs_len);
	whole = head + pdu.data_len + pdu_tail_len(&pdu, limits);
	if (whole > size)
		return 0;
	if (limits->data_digest && pdu.data_len)
		(void)check_data(p + head, &pdu, how & MEND_DATA);
	return whole;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pdu_limits limits = {.max_data = 262144, .max_ahs = ISCSI_AHS_MAX};
	uint8_t *copy;
	size_t n;

	if (!size)
		return 0;
	limits.header_digest = data[0] & 1;
	limits.data_digest = data[0] & 2;
	if (data[0] & 4) {
		limits.max_data = ISCSI_DEFAULT_SEGMENT;
		limits.max_ahs = 0;
	}
	copy = malloc(size); /* of just this size, so that a read past the end is seen */
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	for (size_t at = 1; (n = one_pdu(copy + at, size - at, &limits, data[0])); at += n)
		;
	free(copy);
	return 0;
}
