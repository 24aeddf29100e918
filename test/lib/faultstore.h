/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An object store around another one that fails, lies, or waits where a test
 * says so.
 *
 * Threads: faults may be set from any thread; requests as in stores/object/object.h.
 */
#ifndef LUNGATE_TEST_LIB_FAULTSTORE_H
#define LUNGATE_TEST_LIB_FAULTSTORE_H

#include "stores/object/object.h"

enum fault_kind {
	FAULT_NONE,
	FAULT_ERROR,        /* answer with err; the inner store never sees it */
	FAULT_LOST_ANSWER,  /* the inner store carries it out, the answer is err */
	FAULT_FLIP,         /* GET: one bit of the first byte is wrong */
	FAULT_HOLD,         /* keep it until the fault is cleared */
};

struct fault {
	enum fault_kind kind;
	enum object_op op;
	const char *match;   /* part of the key; "" = every key */
	int err;
	unsigned times;      /* 0 = until cleared */
};

/** Does not own inner. */
struct object_store *faultstore_new(struct object_store *inner);
/** One fault at a time; FAULT_NONE clears it and lets go what was held. */
void faultstore_set(struct object_store *store, const struct fault *fault);
/** How often the faults struck since the last faultstore_set(). */
unsigned faultstore_hits(struct object_store *store);
/** Requests that came in, of one operation. */
uint64_t faultstore_seen(struct object_store *store, enum object_op op);

#endif
