/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a volume promised about each of its blocks, to hold it against what is found there.
 *
 * A block knows the operations sent to it since its floor, oldest first; the floor is the newest promised one.
 * It has at most one operation in flight, so its operations are ordered.  After a crash it must hold exactly
 * what one of floor .. newest left: a whole stamp of that version, or zeroes.
 *
 * Threads: the caller's.
 */
#ifndef LUNGATE_TEST_LIB_PROMISES_H
#define LUNGATE_TEST_LIB_PROMISES_H

#include <stdbool.h>
#include <stdint.h>

#define PROMISE_BLOCK 4096u
#define PROMISE_HISTORY 64

enum promise_kind { PROMISE_ZERO, PROMISE_STAMP };

struct promise_version {
	uint32_t number; /* counts the operations of this block */
	enum promise_kind kind;
	bool copied;     /* a stamp of elsewhere: of version `as` of block `lba` */
	uint32_t lba, as;
};

struct promise {
	struct promise_version since[PROMISE_HISTORY]; /* [0] is the floor */
	unsigned n;
	bool busy;
	bool unsure; /* an operation failed: it may have happened or not */
};

/** Every 64 bytes name the block and its version. */
void promise_stamp(unsigned char *p, unsigned lun, uint32_t lba, uint32_t number);
bool promise_holds(const unsigned char *p, unsigned lun, uint32_t lba, const struct promise_version *v);

/** count new blocks of zeroes. */
void promise_init(struct promise *blocks, uint32_t count);
/** None of them has an operation in flight, or no room for another. */
bool promise_usable(const struct promise *blocks, uint32_t count);
void promise_send(struct promise *block, enum promise_kind kind);
/** What block `lba` has now, which has nothing in flight and gets nothing before this has ended. */
void promise_copy(struct promise *block, const struct promise *from, uint32_t lba);
/** since[at] is promised. */
void promise_raise(struct promise *block, unsigned at);
static inline const struct promise_version *
promise_newest(const struct promise *block)
{
	return &block->since[block->n - 1];
}

/** What was read while nothing was in flight: true = it may be.  The newest alone, unless one failed. */
bool promise_read(const struct promise *block, unsigned lun, uint32_t lba, const unsigned char *p);
/** What was found after a crash, or a failure: true = it may be, and is the floor now. */
bool promise_settle(struct promise *block, unsigned lun, uint32_t lba, const unsigned char *p);
/** Words for the first ten, on stdout. */
void promise_complain(const struct promise *block, unsigned lun, uint32_t lba, const unsigned char *p);

#endif
