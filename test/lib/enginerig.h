/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the engine's tests share: a loop, an arena, a store with faults around
 * it, a disk for the journal, and a volume that is opened, closed, or dropped as a crash would.
 *
 * Threads: called by the test's thread, blocks.
 */
#ifndef LUNGATE_TEST_LIB_ENGINERIG_H
#define LUNGATE_TEST_LIB_ENGINERIG_H

#include "stores/chunked/chunked.h"
#include "test/lib/faultstore.h"
#include "test/lib/simfs.h"
#include "test/lib/volmodel.h"

#define RIG_MIB (UINT64_C(1) << 20)

struct enginerig {
	struct loop *loop;
	struct arena *arena;
	struct simfs *fs;                /* the journal's disk, and the store's when it is a dir store */
	struct object_store *inner, *store;
	struct chunked_params params;
	struct volume_spec spec;
	struct volume *vol;              /* NULL while it is closed */
	struct errinfo info;
};

/** kind: "mem" or "dir" (on the simulated disk).  Nothing is created yet. */
void enginerig_init(struct enginerig *rig, const char *kind, uint64_t arena_bytes);
/** Everything must be closed; asserts that nothing leaked in the arena. */
void enginerig_fini(struct enginerig *rig);
/** The power goes and comes back; the volume must be gone. */
void enginerig_power_cut(struct enginerig *rig, uint64_t seed);
/** Another disk, empty, for another history; the volume must be gone. */
void enginerig_new_disk(struct enginerig *rig);

int enginerig_create(struct enginerig *rig);
int enginerig_open(struct enginerig *rig);
int enginerig_close(struct enginerig *rig);
/** As kill -9 would leave it. */
void enginerig_abandon(struct enginerig *rig);
/** The two halves of it: a request that still comes in between is answered with an error. */
void enginerig_stop(struct enginerig *rig);
void enginerig_destroy(struct enginerig *rig);
int enginerig_commit(struct enginerig *rig);
/** Asks for it and does not wait. */
void enginerig_commit_begin(struct enginerig *rig);
/** A number of stats.json; -1 when there is no such member. */
long long enginerig_stat(struct enginerig *rig, const char *name);
/** Wait until a number of stats.json is at least this much; false after 10 s. */
bool enginerig_wait(struct enginerig *rig, const char *name, long long at_least);

/** Put and get of objects behind the volume's back; 0 or the store's error. */
int enginerig_corrupt(struct enginerig *rig, const char *key, uint64_t offset);
int enginerig_delete(struct enginerig *rig, const char *key);
/** Keys of the store with this prefix. */
unsigned enginerig_count(struct enginerig *rig, const char *prefix);

#endif
