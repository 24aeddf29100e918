/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File contents of the simulated disk: sparse images of 4 KiB blocks that share blocks with one another, and
 * changes of them that can be applied whole or torn.
 *
 * Threads: none of its own; under the mutex of simfs.
 */
#ifndef LUNGATE_TEST_LIB_SIMIMAGE_H
#define LUNGATE_TEST_LIB_SIMIMAGE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define SIM_BLOCK 4096u

struct simblock;

/* what lies behind size is zero at all times */
struct simimage {
	uint64_t size;
	struct simblock **tab;
	uint64_t ntab;
	uint64_t allocated; /* blocks */
};

enum simchange_kind { SIMCHANGE_WRITE, SIMCHANGE_TRUNCATE, SIMCHANGE_FALLOCATE };

/* a change of a file that is not durable yet; truncate: offset is the new size */
struct simchange {
	struct simchange *next;
	enum simchange_kind kind;
	bool doomed; /* a failed fsync passed over it: no later one covers it */
	bool synced; /* durable, but still listed: one before it is doomed, and must not be laid over it at a power cut */
	int mode;    /* of fallocate */
	uint64_t offset, length;
	uint8_t data[];
};

void simimage_read(const struct simimage *im, uint8_t *p, uint64_t n, uint64_t offset);
/** Is the block allocated (data or preallocated)?  Does it hold data? */
bool simimage_allocated(const struct simimage *im, uint64_t block);
bool simimage_has_data(const struct simimage *im, uint64_t block);
void simimage_apply(struct simimage *im, const struct simchange *change);
/** Of a write: any subset of its sectors of that size. */
void simimage_tear(struct simimage *im, const struct simchange *change, uint32_t sector, uint64_t *seed);
void simimage_copy(struct simimage *to, const struct simimage *from);
void simimage_clear(struct simimage *im);

uint64_t sim_random(uint64_t *state);

/** A test that is out of memory ends. */
static inline void *
sim_must(void *p)
{
	assert(p);
	return p;
}

#endif
