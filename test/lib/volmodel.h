/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model that any kind of volume is checked against: random requests, many in
 * flight, every read compared with what must be there, and after a crash every block compared with what may be
 * there.
 *
 * Every mutation has a number; a block written by it is a pattern made of that number and the block's place, so that a
 * stale, misplaced or torn block is told by its own bytes.  A clone leaves what its source held, by the pattern of there.  Mutations in flight do not overlap with anything else
 * in flight, so that the order of the numbers is the order of their effects.
 *
 * Threads: the calls block; not on a loop.  Requests run on the volume's loop.
 * Errors: 0, or a negative number with words in volmodel_error(): -EBADMSG when the data is wrong (or a request succeeded that
 * had to fail), else the status of the request that failed.
 */
#ifndef LUNGATE_TEST_LIB_VOLMODEL_H
#define LUNGATE_TEST_LIB_VOLMODEL_H

#include "common/volume.h"

struct volmodel;

/** The volume must be all zeroes when the model is new.  block_size 512 or 4096. */
struct volmodel *volmodel_new(uint64_t size, uint32_t block_size, uint64_t seed);
void volmodel_free(struct volmodel *m);
const char *volmodel_error(const struct volmodel *m);

struct volmodel_load {
	unsigned nops;        /* requests to submit */
	unsigned depth;       /* in flight at most; 0 = 16 */
	uint32_t max_io;      /* bytes of a READ or WRITE at most; 0 = 256 KiB */
	uint64_t max_unmap;   /* bytes of an UNMAP or ZERO at most; 0 = 1/8 of the volume */
	uint64_t span;        /* confine it to the first bytes of the volume, for more overwrites; 0 = all */
	/* share of each operation, in any unit; all 0 = a mix of everything */
	unsigned reads, writes, fua_writes, unmaps, zeroes, compares, flushes;
	unsigned clones;      /* of whole chunks, where the volume has that */
};

/** Bytes that clones have done so far. */
uint64_t volmodel_cloned(const struct volmodel *m);


/** Stops at the first failure, when everything in flight has completed.  Mutations that failed may or may not have taken effect:
 *  go on with volmodel_verify_crash(). */
int volmodel_run(struct volmodel *m, struct volume *vol, const struct volmodel_load *load);

/** Submit one FLUSH and wait. */
int volmodel_flush(struct volmodel *m, struct volume *vol);

/** Everything is exactly as the model says. */
int volmodel_verify(struct volmodel *m, struct volume *vol);

/** Every block is as it was when last proven durable (by FUA, FLUSH, or write_cache off), or as some later mutation of
 *  it left it (completed or not), whole.  What is found is what the model expects from then on, and counts as durable. */
int volmodel_verify_crash(struct volmodel *m, struct volume *vol);

/** What the chunk map calls absent reads as zeroes, what it lists is in order, and the walk ends. */
int volmodel_verify_map(struct volmodel *m, struct volume *vol);

/** After VOL_RESIZE: what was added is zeroes. */
void volmodel_resize(struct volmodel *m, uint64_t size);

/** volume_call() with a flat buffer; for READ, WRITE, COMPARE_WRITE (buf: compare data, then write data). */
int volmodel_io(struct volume *vol, enum vol_op op, uint32_t flags, uint64_t offset, uint64_t length, void *buf);

#endif
