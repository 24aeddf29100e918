/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as PDU headers.  First byte: digests (1 header, 2 data) and which limits hold (4: those of the
 * login phase).  What must hold: no length is believed over its limit; all that the additional headers say
 * lies within them.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/iscsi/keys.h"
#include "gateway/iscsi/pdu.h"
#include "test/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pdu_limits limits = {.max_data = 262144, .max_ahs = ISCSI_AHS_MAX};

	if (!size)
		return 0;
	limits.header_digest = data[0] & 1;
	limits.data_digest = data[0] & 2;
	if (data[0] & 4) {
		limits.max_data = ISCSI_DEFAULT_SEGMENT;
		limits.max_ahs = 0;
	}
	data++;
	size--;
	while (size >= ISCSI_BHS_LEN) {
		struct pdu pdu;
		struct pdu_ahs ahs;
		size_t whole;

		if (pdu_decode(data, &limits, &pdu) < 0)
			break;
		assert(pdu.data_len <= limits.max_data && pdu.ahs_len <= limits.max_ahs);
		assert((pdu.data_len + pdu.pad_len) % 4 == 0 && pdu.pad_len < 4);
		assert(pdu_opcode_name(pdu.opcode) != NULL);
		whole = pdu_head_len(&pdu, &limits);
		if (whole > size)
			break;
		if (limits.header_digest)
			(void)pdu_head_digest_ok(data,
						 pdu.ahs_len); /* that it reads no further is what counts */
		if (pdu_ahs_parse(data + ISCSI_BHS_LEN, pdu.ahs_len, &ahs) == 0 && ahs.cdb_len) {
			assert(ahs.cdb >= data + ISCSI_BHS_LEN);
			assert(ahs.cdb + ahs.cdb_len <= data + ISCSI_BHS_LEN + pdu.ahs_len);
		}
		whole += pdu.data_len + pdu_tail_len(&pdu, &limits);
		if (whole > size)
			break;
		data += whole;
		size -= whole;
	}
	return 0;
}
