/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of the local journal: segment headers, record headers and the
 * entries in them.  doc/formats.md describes each byte and says why.
 *
 *   segment file   = header page, then records, back to back
 *   record         = header page (128 bytes, then a table of 16-byte entries),
 *                    then one page of payload for every WRITE and ATTR entry, in order
 *
 * Both headers are one page of 4 KiB covered by one CRC32C.  The payload is covered
 * through the CRC32C in each entry.  A record names the record before it
 * by place and CRC: the history is a chain, and what is not linked into it never happened.
 *
 * Decoders believe nothing: LG_ECORRUPT for what is not such a page, LG_EFORMAT
 * for a whole page with a version, type or flag that is not known; *ret is written on success alone.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_STORES_CHUNKED_JOURNAL_FMT_H
#define LUNGATE_STORES_CHUNKED_JOURNAL_FMT_H

#include <stdint.h>

#include "common/err.h"
#include "common/util.h"
#include "stores/chunked/journal.h"

#define JOURNAL_VERSION 1u
#define JOURNAL_PAGE 4096u
#define JOURNAL_SEQ_MAX ((UINT64_C(1) << 48) - 1)
#define JOURNAL_VPAGE_MAX (UINT64_C(1) << 48)      /* volume pages are below this */
#define JOURNAL_NUMBER_MAX ((UINT64_C(1) << 48) - 1)

/** Place of a page: segment number << 16 | page of the segment; later is larger. */
static inline journal_pos_t
journal_pos(uint64_t number, uint32_t page)
{
	return number << 16 | page;
}
static inline uint64_t
journal_pos_number(journal_pos_t pos)
{
	return pos >> 16;
}
static inline uint32_t
journal_pos_page(journal_pos_t pos)
{
	return (uint32_t)(pos & 0xffff);
}

enum journal_segment_state {
	JOURNAL_SEGMENT_RESERVED = 1,   /* the file has its size; its blocks were never written */
	JOURNAL_SEGMENT_READY = 2,      /* written once from end to end, holds nothing */
	JOURNAL_SEGMENT_USED = 3,       /* has a number */
	JOURNAL_MANIFEST = 4,           /* no segment: the file `manifest`; number = how many segment files there are */
};

struct journal_segment {
	uint8_t volume_uuid[UUID_LEN];
	uint8_t journal_uuid[UUID_LEN];
	enum journal_segment_state state;
	uint32_t segment_bytes;
	/* the rest is zero unless USED */
	uint64_t number;             /* from 1, never used twice in a journal */
	uint64_t incarnation;        /* larger with every use of any file; in each record of this one */
	uint64_t epoch;              /* which opening of the journal wrote it, see journal_epoch_follows() */
	uint64_t generation;
	uint64_t first_seq;          /* the next one when it was begun */
	uint64_t prev_seq;           /* last sequence in the segments before */
	journal_pos_t prev_pos;      /* last record of the segments before; it was durable; 0 = none */
};

enum journal_record_type {
	JOURNAL_RECORD_CHANGES = 1,
	JOURNAL_RECORD_MARK = 2,     /* no entries: proves that what lies before it is durable */
};

#define JOURNAL_RECORD_HEADER 128u
#define JOURNAL_ENTRY_BYTES 16u
#define JOURNAL_RECORD_ENTRIES ((JOURNAL_PAGE - JOURNAL_RECORD_HEADER) / JOURNAL_ENTRY_BYTES)
_Static_assert(JOURNAL_RECORD_ENTRIES == JOURNAL_APPEND_MAX, "an append fits a record");

struct journal_record {
	uint8_t journal_uuid[UUID_LEN];
	enum journal_record_type type;
	unsigned entries;            /* 1..248; MARK: 0 */
	unsigned payload;            /* pages that follow: WRITE and ATTR entries */
	uint64_t first_seq;          /* MARK: the next one */
	uint64_t prev_seq;           /* last sequence before this record */
	uint64_t durable_seq;        /* last sequence of the record at durable_pos; 0 = nothing yet */
	journal_pos_t durable_pos;   /* all records up to this one were durable when this one was built */
	uint64_t released_seq;       /* all up to here was under a root */
	uint64_t generation;
	uint64_t incarnation;        /* as in the segment's header */
	uint64_t epoch;
	journal_pos_t pos;           /* of its header page */
	journal_pos_t prev_pos;      /* of the record before it; 0 = the first of the journal */
	uint32_t prev_crc;           /* CRC of that record's header page */
	uint32_t crc;                /* of this one: set by both encode and decode */
};

/** An epoch is a counter in the upper half, + 1 with every opening, and a random lower half: what an opening that was
 *  cut off left behind is never taken for the work of the next one, even where that did not see it. */
static inline bool
journal_epoch_follows(uint64_t epoch, uint64_t before)
{
	return epoch == before || epoch >> 32 > before >> 32;
}

/** Last sequence after this record. */
static inline uint64_t
journal_record_last(const struct journal_record *rec)
{
	return rec->entries ? rec->first_seq + rec->entries - 1 : rec->prev_seq;
}

void journal_segment_encode(const struct journal_segment *seg, uint8_t page[JOURNAL_PAGE]);
int journal_segment_decode(const uint8_t page[JOURNAL_PAGE], struct journal_segment *ret) MUST_CHECK;

/** Entries go into the page first (slots from 0), then the header, which seals it. */
void journal_record_begin(uint8_t page[JOURNAL_PAGE]);
void journal_entry_encode(uint8_t page[JOURNAL_PAGE], unsigned slot, const struct journal_entry *entry);
void journal_record_encode(struct journal_record *rec, uint8_t page[JOURNAL_PAGE]);

/** All of it is checked: CRC, every entry, the sums. */
int journal_record_decode(const uint8_t page[JOURNAL_PAGE], struct journal_record *ret) MUST_CHECK;
/** Entry of a page that journal_record_decode() took; data and pos are not set. */
void journal_entry_decode(const uint8_t page[JOURNAL_PAGE], unsigned slot, struct journal_entry *ret);
/** Quick look, without the CRC: could this page begin a record of this journal at pos? */
bool journal_record_likely(const uint8_t page[JOURNAL_PAGE], const uint8_t journal_uuid[UUID_LEN], uint32_t at_page);

#endif
