/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A volume for tests of what stands in front of volumes: it keeps pages in
 * memory, counts what it is asked, and fails or holds requests when told to.
 *
 * Threads: as its contract says; the knobs from any thread.
 */
#ifndef LUNGATE_TEST_LIB_FAKEVOL_H
#define LUNGATE_TEST_LIB_FAKEVOL_H

#include <pthread.h>

#include "common/volume.h"

struct fakevol {
	struct volume vol;
	struct page **pages;              /* NULL: no data; zeroes */
	/** Not 0: no data is kept, and the map says that every chunk whose index is a multiple of this is there. */
	_Atomic uint64_t every;
	_Atomic int fail;                 /* status of the requests to come that are of fail_op */
	_Atomic int fail_op;
	_Atomic bool hold;                /* requests of hold_op wait for fakevol_release() */
	_Atomic int hold_op;
	_Atomic uint64_t held;
	_Atomic uint64_t fua;             /* requests that carried it */
	_Atomic uint64_t seen[VOL_OP_COUNT];
	/** When set, called on the loop before each request of op hook_op, once. */
	void (*_Atomic hook)(struct fakevol *fake);
	_Atomic int hook_op;
	struct vol_req *queue;
	struct vol_req **queue_end;
	struct loop_msg release;
};

struct fakevol *fakevol_new(const char *name, uint64_t size, uint32_t block_size, uint32_t chunk_size,
			    struct loop *loop, struct arena *arena);
/** All requests are done and nobody holds a reference. */
void fakevol_free(struct fakevol *fake);
/** Let go what is held, and hold no more. */
void fakevol_release(struct fakevol *fake);
/** Straight at the data, on the loop: what another front door would write. */
void fakevol_poke(struct fakevol *fake, uint64_t offset, uint8_t byte);

#endif
