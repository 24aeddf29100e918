/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Codec of the local journal's pages.  Pure functions over byte arrays: no state, no I/O.
 *
 * The CRC of a page covers all 4,096 bytes but its own four; unused bytes
 * are zero and checked, so every byte of a header page means something or is refused.
 */
#include "stores/chunked/journal_fmt.h"

#include <assert.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"

#define SEGMENT_MAGIC "LUNGJSEG"
#define RECORD_MAGIC "LJR1"
#define SEGMENT_BYTES_MIN (64u * JOURNAL_PAGE)

enum {
	SEG_MAGIC = 0,
	SEG_VERSION = 8,
	SEG_FLAGS = 12,
	SEG_VOLUME = 16,
	SEG_JOURNAL = 32,
	SEG_NUMBER = 48,
	SEG_INCARNATION = 56,
	SEG_EPOCH = 64,
	SEG_GENERATION = 72,
	SEG_FIRST_SEQ = 80,
	SEG_PREV_SEQ = 88,
	SEG_PREV_POS = 96,
	SEG_BYTES = 104,
	SEG_STATE = 108,
	SEG_RESERVED = 112,
	SEG_CRC = JOURNAL_PAGE - 4,
};

enum {
	REC_MAGIC = 0,
	REC_HEADER_BYTES = 4,
	REC_TOTAL_BYTES = 8,
	REC_TYPE = 12,
	REC_ENTRIES = 14,
	REC_FLAGS = 16,
	REC_CRC = 20,
	REC_FIRST_SEQ = 24,
	REC_DURABLE_SEQ = 32,
	REC_GENERATION = 40,
	REC_INCARNATION = 48,
	REC_PREV_POS = 56,
	REC_PREV_CRC = 64,
	REC_RESERVED = 68,
	REC_POS = 72,
	REC_DURABLE_POS = 80,
	REC_PREV_SEQ = 88,
	REC_RELEASED_SEQ = 96,
	REC_EPOCH = 104,
	REC_JOURNAL = 112,
};
_Static_assert(REC_JOURNAL + UUID_LEN == JOURNAL_RECORD_HEADER, "the record header's fields fill it");

/* WRITE, ATTR: the CRC in the low half of ARG; ZERO, TRIM: pages; RESIZE: bytes; BASE: generation; CLONE: sequence. */
enum { ENTRY_PAGE = 0, ENTRY_PIECES = 2, ENTRY_ZERO = 4, ENTRY_TYPE = 6, ENTRY_FLAGS = 7, ENTRY_ARG = 8 };

static bool
all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* ---- segments ------------------------------------------------------------ */

static bool
segment_valid(const struct journal_segment *s)
{
	if (s->segment_bytes < SEGMENT_BYTES_MIN || s->segment_bytes % JOURNAL_PAGE ||
	    s->segment_bytes / JOURNAL_PAGE > 65536)
		return false;
	if (s->state != JOURNAL_SEGMENT_USED)
		return !s->number == (s->state != JOURNAL_MANIFEST) && s->number <= 65536 &&
		       !s->incarnation && !s->epoch && !s->generation && !s->first_seq && !s->prev_seq &&
		       !s->prev_pos;
	return s->number >= 1 && s->number <= JOURNAL_NUMBER_MAX && s->first_seq <= JOURNAL_SEQ_MAX + 1 &&
	       s->prev_seq < s->first_seq && journal_pos_number(s->prev_pos) < s->number;
}

void
journal_segment_encode(const struct journal_segment *seg, uint8_t page[JOURNAL_PAGE])
{
	assert(segment_valid(seg));
	memset(page, 0, JOURNAL_PAGE);
	memcpy(page + SEG_MAGIC, SEGMENT_MAGIC, 8);
	put_le32(page + SEG_VERSION, JOURNAL_VERSION);
	memcpy(page + SEG_VOLUME, seg->volume_uuid, UUID_LEN);
	memcpy(page + SEG_JOURNAL, seg->journal_uuid, UUID_LEN);
	put_le64(page + SEG_NUMBER, seg->number);
	put_le64(page + SEG_INCARNATION, seg->incarnation);
	put_le64(page + SEG_EPOCH, seg->epoch);
	put_le64(page + SEG_GENERATION, seg->generation);
	put_le64(page + SEG_FIRST_SEQ, seg->first_seq);
	put_le64(page + SEG_PREV_SEQ, seg->prev_seq);
	put_le64(page + SEG_PREV_POS, seg->prev_pos);
	put_le32(page + SEG_BYTES, seg->segment_bytes);
	put_le32(page + SEG_STATE, seg->state);
	put_le32(page + SEG_CRC, crc32c(0, page, SEG_CRC));
}

int
journal_segment_decode(const uint8_t page[JOURNAL_PAGE], struct journal_segment *ret)
{
	struct journal_segment s = {0};

	if (memcmp(page + SEG_MAGIC, SEGMENT_MAGIC, 8) != 0 ||
	    get_le32(page + SEG_CRC) != crc32c(0, page, SEG_CRC))
		return LG_ECORRUPT;
	uint32_t state = get_le32(page + SEG_STATE);
	if (get_le32(page + SEG_VERSION) != JOURNAL_VERSION || get_le32(page + SEG_FLAGS) != 0 ||
	    state < JOURNAL_SEGMENT_RESERVED || state > JOURNAL_MANIFEST ||
	    !all_zero(page + SEG_RESERVED, SEG_CRC - SEG_RESERVED))
		return LG_EFORMAT;

	memcpy(s.volume_uuid, page + SEG_VOLUME, UUID_LEN);
	memcpy(s.journal_uuid, page + SEG_JOURNAL, UUID_LEN);
	s.state = (enum journal_segment_state)state;
	s.segment_bytes = get_le32(page + SEG_BYTES);
	s.number = get_le64(page + SEG_NUMBER);
	s.incarnation = get_le64(page + SEG_INCARNATION);
	s.epoch = get_le64(page + SEG_EPOCH);
	s.generation = get_le64(page + SEG_GENERATION);
	s.first_seq = get_le64(page + SEG_FIRST_SEQ);
	s.prev_seq = get_le64(page + SEG_PREV_SEQ);
	s.prev_pos = get_le64(page + SEG_PREV_POS);
	if (!segment_valid(&s))
		return LG_ECORRUPT;
	*ret = s;
	return 0;
}

/* ---- entries --------------------------------------------------------------- */

static bool
entry_valid(const struct journal_entry *e)
{
	switch (e->type) {
	case JOURNAL_WRITE:
		return e->page < JOURNAL_VPAGE_MAX && e->count == 1;
	case JOURNAL_ZERO:
	case JOURNAL_TRIM:
		return e->page < JOURNAL_VPAGE_MAX && e->count >= 1 &&
		       e->count <= JOURNAL_VPAGE_MAX - e->page;
	case JOURNAL_RESIZE:
		return e->page >= 1 && e->page <= INT64_MAX;
	case JOURNAL_ATTR:
		return e->count >= 1 && e->count <= JOURNAL_RECORD_ENTRIES && e->page < e->count;
	case JOURNAL_BASE:
		return e->page <= UINT32_MAX && e->count <= UINT32_MAX;
	case JOURNAL_CLONE:
		return e->page <= UINT32_MAX && e->count <= JOURNAL_SEQ_MAX;
	}
	return false;
}

void
journal_entry_encode(uint8_t page[JOURNAL_PAGE], unsigned slot, const struct journal_entry *entry)
{
	uint8_t *p = page + JOURNAL_RECORD_HEADER + (size_t)slot * JOURNAL_ENTRY_BYTES;

	assert(slot < JOURNAL_RECORD_ENTRIES && entry_valid(entry));
	p[ENTRY_TYPE] = (uint8_t)entry->type;
	switch (entry->type) {
	case JOURNAL_WRITE:
		put_le48(p + ENTRY_PAGE, entry->page);
		put_le32(p + ENTRY_ARG, entry->crc);
		break;
	case JOURNAL_ZERO:
	case JOURNAL_TRIM:
	case JOURNAL_BASE:
	case JOURNAL_CLONE:
		put_le48(p + ENTRY_PAGE, entry->page);
		put_le64(p + ENTRY_ARG, entry->count);
		break;
	case JOURNAL_RESIZE:
		put_le64(p + ENTRY_ARG, entry->page);
		break;
	case JOURNAL_ATTR:
		put_le16(p + ENTRY_PAGE, (uint16_t)entry->page);
		put_le16(p + ENTRY_PIECES, (uint16_t)entry->count);
		put_le32(p + ENTRY_ARG, entry->crc);
		break;
	}
}

void
journal_entry_decode(const uint8_t page[JOURNAL_PAGE], unsigned slot, struct journal_entry *ret)
{
	const uint8_t *p = page + JOURNAL_RECORD_HEADER + (size_t)slot * JOURNAL_ENTRY_BYTES;
	uint64_t arg = get_le64(p + ENTRY_ARG);

	*ret = (struct journal_entry){
		.type = (enum journal_type)p[ENTRY_TYPE],
		.page = get_le48(p + ENTRY_PAGE),
		.count = 1,
	};
	switch (ret->type) {
	case JOURNAL_WRITE:
		ret->crc = (uint32_t)arg;
		break;
	case JOURNAL_ZERO:
	case JOURNAL_TRIM:
	case JOURNAL_BASE:
	case JOURNAL_CLONE:
		ret->count = arg;
		break;
	case JOURNAL_RESIZE:
		ret->page = arg;
		break;
	case JOURNAL_ATTR:
		ret->page = get_le16(p + ENTRY_PAGE);
		ret->count = get_le16(p + ENTRY_PIECES);
		ret->crc = (uint32_t)arg;
		break;
	}
}

static bool
type_known(unsigned type)
{
	return (type >= JOURNAL_WRITE && type <= JOURNAL_BASE) || type == JOURNAL_CLONE;
}

/** One slot as found on disk: the type and flags must be known, the rest possible and in its place. */
static int
entry_check(const uint8_t page[JOURNAL_PAGE], unsigned slot, struct journal_entry *ret)
{
	const uint8_t *p = page + JOURNAL_RECORD_HEADER + (size_t)slot * JOURNAL_ENTRY_BYTES;

	if (p[ENTRY_FLAGS] != 0 || !type_known(p[ENTRY_TYPE]))
		return LG_EFORMAT;
	journal_entry_decode(page, slot, ret);
	if (!entry_valid(ret))
		return LG_ECORRUPT;
	if (journal_has_page(ret->type) && get_le32(p + ENTRY_ARG + 4) != 0)
		return LG_EFORMAT;
	if (ret->type == JOURNAL_RESIZE && get_le48(p + ENTRY_PAGE) != 0)
		return LG_EFORMAT;
	if (ret->type == JOURNAL_ATTR && get_le16(p + ENTRY_ZERO) != 0)
		return LG_EFORMAT;
	return 0;
}

/* ---- records --------------------------------------------------------------- */

static uint32_t
record_crc(const uint8_t page[JOURNAL_PAGE])
{
	uint32_t crc = crc32c(0, page, REC_CRC);

	return crc32c(crc, page + REC_CRC + 4, JOURNAL_PAGE - REC_CRC - 4);
}

static bool
record_valid(const struct journal_record *r)
{
	if (r->type == JOURNAL_RECORD_MARK ? r->entries != 0
					   : r->entries < 1 || r->entries > JOURNAL_RECORD_ENTRIES)
		return false;
	return r->prev_seq < r->first_seq && r->first_seq <= JOURNAL_SEQ_MAX + 1 &&
	       journal_record_last(r) <= JOURNAL_SEQ_MAX && r->durable_seq <= r->prev_seq &&
	       r->durable_pos <= r->prev_pos && r->prev_pos < r->pos && journal_pos_page(r->pos) >= 1;
}

void
journal_record_begin(uint8_t page[JOURNAL_PAGE])
{
	memset(page, 0, JOURNAL_PAGE);
}

void
journal_record_encode(struct journal_record *rec, uint8_t page[JOURNAL_PAGE])
{
	assert(record_valid(rec) && rec->payload <= rec->entries);
	memcpy(page + REC_MAGIC, RECORD_MAGIC, 4);
	put_le32(page + REC_HEADER_BYTES, JOURNAL_PAGE);
	put_le32(page + REC_TOTAL_BYTES, (1 + rec->payload) * JOURNAL_PAGE);
	put_le16(page + REC_TYPE, (uint16_t)rec->type);
	put_le16(page + REC_ENTRIES, (uint16_t)rec->entries);
	put_le64(page + REC_FIRST_SEQ, rec->first_seq);
	put_le64(page + REC_DURABLE_SEQ, rec->durable_seq);
	put_le64(page + REC_GENERATION, rec->generation);
	put_le64(page + REC_INCARNATION, rec->incarnation);
	put_le64(page + REC_PREV_POS, rec->prev_pos);
	put_le32(page + REC_PREV_CRC, rec->prev_crc);
	put_le64(page + REC_POS, rec->pos);
	put_le64(page + REC_DURABLE_POS, rec->durable_pos);
	put_le64(page + REC_PREV_SEQ, rec->prev_seq);
	put_le64(page + REC_RELEASED_SEQ, rec->released_seq);
	put_le64(page + REC_EPOCH, rec->epoch);
	memcpy(page + REC_JOURNAL, rec->journal_uuid, UUID_LEN);
	rec->crc = record_crc(page);
	put_le32(page + REC_CRC, rec->crc);
}

bool
journal_record_likely(const uint8_t page[JOURNAL_PAGE], const uint8_t journal_uuid[UUID_LEN],
		      uint32_t at_page)
{
	return memcmp(page + REC_MAGIC, RECORD_MAGIC, 4) == 0 &&
	       memcmp(page + REC_JOURNAL, journal_uuid, UUID_LEN) == 0 &&
	       journal_pos_page(get_le64(page + REC_POS)) == at_page;
}

int
journal_record_decode(const uint8_t page[JOURNAL_PAGE], struct journal_record *ret)
{
	struct journal_record r = {0};

	if (memcmp(page + REC_MAGIC, RECORD_MAGIC, 4) != 0 || get_le32(page + REC_CRC) != record_crc(page))
		return LG_ECORRUPT;
	uint16_t type = get_le16(page + REC_TYPE);
	if (get_le32(page + REC_HEADER_BYTES) != JOURNAL_PAGE || get_le32(page + REC_FLAGS) != 0 ||
	    get_le32(page + REC_RESERVED) != 0 ||
	    (type != JOURNAL_RECORD_CHANGES && type != JOURNAL_RECORD_MARK))
		return LG_EFORMAT;

	r.type = (enum journal_record_type)type;
	r.entries = get_le16(page + REC_ENTRIES);
	r.first_seq = get_le64(page + REC_FIRST_SEQ);
	r.durable_seq = get_le64(page + REC_DURABLE_SEQ);
	r.generation = get_le64(page + REC_GENERATION);
	r.incarnation = get_le64(page + REC_INCARNATION);
	r.prev_pos = get_le64(page + REC_PREV_POS);
	r.prev_crc = get_le32(page + REC_PREV_CRC);
	r.pos = get_le64(page + REC_POS);
	r.durable_pos = get_le64(page + REC_DURABLE_POS);
	r.prev_seq = get_le64(page + REC_PREV_SEQ);
	r.released_seq = get_le64(page + REC_RELEASED_SEQ);
	r.epoch = get_le64(page + REC_EPOCH);
	memcpy(r.journal_uuid, page + REC_JOURNAL, UUID_LEN);
	r.crc = get_le32(page + REC_CRC);
	if (!record_valid(&r))
		return LG_ECORRUPT;

	uint64_t piece = 0, pieces = 0; /* the next one of an attribute that has begun; 0: none has */
	bool base = false;              /* a base was named, and what it is for is still to come */
	for (unsigned i = 0; i < r.entries; i++) {
		struct journal_entry e;
		int rc = entry_check(page, i, &e);

		if (rc)
			return rc;
		if (e.type == JOURNAL_ATTR ? e.page != piece || (piece && e.count != pieces) : piece > 0)
			return LG_ECORRUPT;
		if ((e.type == JOURNAL_CLONE) != base)
			return LG_ECORRUPT;
		base = e.type == JOURNAL_BASE;
		pieces = e.count;
		piece = e.type == JOURNAL_ATTR && e.page + 1 < e.count ? e.page + 1 : 0;
		r.payload += journal_has_page(e.type);
	}
	if (piece || base)
		return LG_ECORRUPT;
	size_t used = JOURNAL_RECORD_HEADER + (size_t)r.entries * JOURNAL_ENTRY_BYTES;
	if (!all_zero(page + used, JOURNAL_PAGE - used))
		return LG_EFORMAT;
	if (get_le32(page + REC_TOTAL_BYTES) != (1 + r.payload) * JOURNAL_PAGE)
		return LG_ECORRUPT;
	*ret = r;
	return 0;
}
