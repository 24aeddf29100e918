/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iSCSI TransportIDs (SPC-4 7.6.4.6): the name of an initiator port as PERSISTENT RESERVE has it.
 *
 *   format 00b   the initiator's name: whichever of its ports are there
 *   format 01b   name ",i,0x" ISID
 *
 * Threads: any (pure).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "common/util.h"
#include "gateway/scsi/pr.h"

#define ID_HEADER 4u
#define ID_TEXT_MIN 20u
#define PROTOCOL_ISCSI 5
static const char separator[] = ",i,0x";

size_t
pr_id_put(const struct pr_port *who, uint8_t *buf)
{
	char *text = (char *)buf + ID_HEADER;
	int n;
	size_t len;

	memset(buf, 0, PR_ID_MAX);
	n = snprintf(text, PR_ID_MAX - ID_HEADER, "%s%s", who->initiator, separator);
	len = (size_t)(hex_format(who->isid, sizeof(who->isid), text + n) - text);
	len = max_of((size_t)ID_TEXT_MIN, (size_t)align_up(len + 1, 4));
	buf[0] = 0x40 | PROTOCOL_ISCSI;
	put_be16(buf + 2, (uint16_t)len);
	return ID_HEADER + len;
}

/* Twelve digits; leading zeroes may be missing. */
static int
get_isid(const char *text, size_t n, uint8_t isid[6])
{
	uint64_t v = 0;

	if (n == 0 || n > 12)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		int digit = hex_digit(text[i]);

		if (digit < 0)
			return -EINVAL;
		v = v << 4 | (unsigned)digit;
	}
	for (unsigned i = 6; i-- > 0; v >>= 8)
		isid[i] = (uint8_t)v;
	return 0;
}

int
pr_id_get(const uint8_t *p, size_t n, struct pr_port *ret, bool *ret_has_isid, size_t *ret_len)
{
	const char *text = (const char *)p + ID_HEADER, *sep;
	size_t len, name;

	if (n < ID_HEADER)
		return -EINVAL;
	len = get_be16(p + 2);
	if ((p[0] & 0x0f) != PROTOCOL_ISCSI || p[0] >> 6 > 1 || len < ID_TEXT_MIN || len % 4 ||
	    len > n - ID_HEADER)
		return -EINVAL;
	*ret_len = ID_HEADER + len;
	len = strnlen(text, len);
	*ret_has_isid = p[0] >> 6 == 1;
	name = len;
	if (*ret_has_isid) {
		sep = memmem(text, len, separator, sizeof(separator) - 1);
		if (!sep)
			return -EINVAL;
		name = (size_t)(sep - text);
		sep += sizeof(separator) - 1;
		if (get_isid(sep, len - (size_t)(sep - text), ret->isid) < 0)
			return -EINVAL;
	}
	if (name == 0 || name >= sizeof(ret->initiator))
		return -EINVAL;
	memcpy(ret->initiator, text, name);
	ret->initiator[name] = '\0';
	for (char *c = ret->initiator; *c; c++) /* RFC 7143 4.2.7.2: compared in lower case */
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + 'a' - 'A');
	return 0;
}
