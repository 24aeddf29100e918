/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parameter lists of EXTENDED COPY(LID1), for the programs that check copies.
 *
 * Threads: the test's own.
 */
#ifndef LUNGATE_TEST_UNIT_COPY_LIST_H
#define LUNGATE_TEST_UNIT_COPY_LIST_H

#include <string.h>

#include "common/bytes.h"
#include "common/volume.h"

struct copy_list {
	uint8_t bytes[16 + 8 * 32 + 64 * 28];
	unsigned len;
	uint8_t cdb[16];
};

/** The units, as segments count them. */
static inline void
copy_list_begin(struct copy_list *list, uint8_t id, const struct volume *const *vols, unsigned n)
{
	memset(list, 0, sizeof(*list));
	list->bytes[0] = id;
	put_be16(list->bytes + 2, (uint16_t)(n * 32));
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = list->bytes + 16 + i * 32;

		p[0] = 0xe4;
		p[4] = 1;
		p[5] = 3;
		p[7] = 16;
		memcpy(p + 8, vols[i]->naa, 16);
	}
	list->len = 16 + n * 32;
	list->cdb[0] = 0x83;
}

static inline void
copy_list_segment(struct copy_list *list, unsigned from, unsigned to, uint32_t blocks, uint64_t from_lba,
		  uint64_t to_lba)
{
	uint8_t *p = list->bytes + list->len;

	p[0] = 0x02;
	p[3] = 24;
	put_be16(p + 4, (uint16_t)from);
	put_be16(p + 6, (uint16_t)to);
	put_be16(p + 10, (uint16_t)blocks);
	put_be64(p + 12, from_lba);
	put_be64(p + 20, to_lba);
	list->len += 28;
	put_be32(list->bytes + 8, get_be32(list->bytes + 8) + 28);
	put_be32(list->cdb + 10, list->len);
}

#endif
