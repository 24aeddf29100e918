/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local journal of one chunked volume: every acknowledged change, in
 * sequence order, on fast stable disk.  The bytes are described in
 * stores/chunked/journal_fmt.h and doc/formats.md.
 *
 * Sequences: every entry gets the next 48-bit number, in the order of
 * journal_append() calls.  A sequence never wraps and never repeats in the life of a volume.
 *
 * Group commit: what is appended in one loop iteration, and while the
 * previous write is on its way, goes out as one write and one fdatasync.  done() of appends runs in
 * sequence order, only once the bytes are on stable storage.
 *
 * Failure: a failed write or fdatasync is final.  The journal is failed from
 * then on: everything pending and everything later completes with LG_EPOISONED; nothing is retried into success.
 *
 * Threads: journal_open() and journal_destroy() block, not on a loop; all else on the volume's loop.
 */
#ifndef LUNGATE_STORES_CHUNKED_JOURNAL_H
#define LUNGATE_STORES_CHUNKED_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/util.h"
#include "common/vfs.h"

struct journal;

enum journal_type {
	JOURNAL_WRITE = 1,    /* one page with its bytes */
	JOURNAL_ZERO = 2,     /* a range of pages reads as zeroes */
	JOURNAL_TRIM = 3,     /* as ZERO, and its space is given back */
	JOURNAL_RESIZE = 4,   /* page = new size of the volume in bytes */
	JOURNAL_ATTR = 5,     /* one page of an attribute (bucket_fmt.h), all of them side by side in one append */
	JOURNAL_BASE = 6,     /* names a base, for the CLONE behind it: page = the chunk that it was written for, count = its
	                         generation */
	/* 7: log object boundary - later formats */
	JOURNAL_CLONE = 8,    /* a chunk is what that base holds: page = the chunk, count = sequence of the base */
};

/** Has it a page of bytes? */
static inline bool
journal_has_page(enum journal_type type)
{
	return type == JOURNAL_WRITE || type == JOURNAL_ATTR;
}

/** Where a page's bytes lie: segment number << 16 | page of the segment. 0 = nowhere. */
typedef uint64_t journal_pos_t;

struct journal_entry {
	enum journal_type type;
	uint64_t page;           /* first volume page; RESIZE: bytes; ATTR: which of its pages, from 0; BASE, CLONE: see there */
	uint64_t count;          /* pages; 1 for WRITE; ATTR: how many it has; BASE, CLONE: see there */
	struct page *data;       /* WRITE, ATTR: the caller holds a reference until done */
	uint32_t crc;            /* WRITE, ATTR: CRC32C of the page, set by the caller */
	journal_pos_t pos;       /* WRITE, ATTR: set when done runs */
	const uint8_t *bytes;    /* ATTR, at replay: the page, for the call; NULL: it is damaged, and that is accepted */
};

struct journal_append {
	struct journal_entry *entries;   /* the caller's until done */
	unsigned n;                      /* at most JOURNAL_APPEND_MAX; they become one record: replayed all or none */
	uint64_t first_seq;              /* set by journal_append(): sequences first_seq .. first_seq + n - 1 */
	int status;
	void (*done)(struct journal_append *append);
	/* private */
	struct journal_append *next;
};

#define JOURNAL_APPEND_MAX 248
#define JOURNAL_SEGMENT_BYTES (64u << 20)

struct journal_params {
	const char *dir;                 /* this volume's own folder; made when `create` */
	struct vfs *vfs;
	struct loop *loop;
	struct arena *arena;
	uint8_t volume_uuid[UUID_LEN];
	uint64_t capacity;               /* bytes on disk, a multiple of the segment size, at least 4 segments */
	uint64_t generation;             /* of this activation: goes into new records; create: larger than any that
	                                    the volume had before */
	uint64_t covered_seq;            /* the root covers all up to here: replay skips it; the next sequence is at least covered_seq + 1 */
	bool accept_loss;                /* damage: keep what is whole before it */
	uint32_t segment_bytes;          /* create: 0 = JOURNAL_SEGMENT_BYTES; at least 2 MiB; smaller ones are for tests */
};

/** One replayed entry, in sequence order.  ATTR: a damaged page is a refusal (accept_loss: see bytes).  WRITE: its bytes are at pos (checked by CRC only past what the journal proves durable; every
 *  journal_read() checks).  Non-zero ends the replay and is returned. */
typedef int journal_replay_fn(void *arg, uint64_t seq, const struct journal_entry *entry);

struct journal_recovery {
	uint64_t last_seq;               /* the next append gets last_seq + 1 */
	uint64_t replayed;               /* entries handed to fn */
	uint64_t torn_bytes;             /* unacknowledged tail that was cut off */
	uint8_t uuid[UUID_LEN];
};

/** Make an empty journal (create; its uuid in *recovery; -EEXIST where a used one lies there that may be needed, see
 *  journal_aside.c), or find one and replay it.  expect_uuid (may be NULL): the journal that
 *  the owner record names.  Errors: LG_ENOJOURNAL (missing, of another volume or history), LG_EDAMAGED (damage below
 *  what is proved durable; words say where), or an errno. */
int journal_open(const struct journal_params *params, bool create, const uint8_t *expect_uuid,
		 journal_replay_fn *fn, void *arg, struct journal_recovery *recovery, struct journal **ret,
		 struct errinfo *info);

/** The caller has checked journal_room(): appending past the capacity is a bug and asserted.  done never runs before this returns. */
void journal_append(struct journal *journal, struct journal_append *append);

/** Bytes that may still be appended now (payload, after all overhead), keeping back what segments in use need.  An append
 *  takes 4096 bytes of it for each of its entries with a page, and 4096 when it has none. */
uint64_t journal_room(const struct journal *journal);
/** What journal_room() comes to at least when all is released: an append that is larger may wait for ever. */
uint64_t journal_room_most(const struct journal *journal);
uint64_t journal_used(const struct journal *journal);
uint64_t journal_capacity(const struct journal *journal);
uint64_t journal_last_seq(const struct journal *journal);     /* assigned */
uint64_t journal_durable_seq(const struct journal *journal);
/** 0, or the error that made it fail. */
int journal_health(const struct journal *journal);

/** Everything up to and with seq is in the store under a swapped root: segments that hold nothing newer are recycled. */
void journal_release(struct journal *journal, uint64_t seq);

/** Read a page back into page (caller's, exclusive), checked against crc: 0, LG_ECORRUPT, or an errno. */
struct journal_read {
	journal_pos_t pos;
	uint32_t crc;
	struct page *page;
	int status;
	void (*done)(struct journal_read *read);
	/* private */
	struct journal *journal;
	void *priv[24];
};
void journal_read(struct journal *journal, struct journal_read *read);

/** Wait (by message) for what is on its way, then done(arg); no appends after this. */
void journal_quiesce(struct journal *journal, void (*done)(void *arg), void *arg);
/** Close files, free. After quiesce. remove = delete the files as well (clean stop leaves them, marked empty up to last_seq). */
void journal_destroy(struct journal *journal, bool remove);

/** Delete a journal's folder without opening it (volume delete). */
int journal_delete(struct vfs *vfs, const char *dir);

#endif
