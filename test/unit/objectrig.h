/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests of object stores share: loops, a store of each kind, and calls that wait.
 *
 * Threads: calls from threads that are no loops.
 */
#ifndef LUNGATE_TEST_UNIT_OBJECTRIG_H
#define LUNGATE_TEST_UNIT_OBJECTRIG_H

#include "stores/object/object.h"
#include "test/lib/simfs.h"

#define RIG_LOOPS 4

/** mem; dir in a folder below /tmp; dir on the simulated disk; the bucket that LUNGATE_S3_BUCKET and
 *  LUNGATE_S3_ENDPOINT name, with the usual AWS_ variables. */
enum rig_kind { RIG_MEM, RIG_DIR, RIG_SIM, RIG_S3, RIG_KINDS };

extern struct loop *rig_loops[RIG_LOOPS];
extern struct object_store *rig_store;
extern struct simfs *rig_fs;
extern char rig_folder[64];
extern char rig_url[512];

/** Kinds that are there to be tested: without RIG_S3 when no bucket is named. */
int rig_kinds(void);
void rig_setup(void);
void rig_teardown(void);
int rig_start_loops(void);
void rig_stop_loops(void);
/** Sets rig_store (and rig_url); made when it is missing. */
void rig_open(int kind);

int rig_put_on(struct loop *loop, const char *key, const void *p, size_t n, bool if_absent, const char *if_match,
	       char *etag);
int rig_put(const char *key, const char *text);
int rig_get(const char *key, uint64_t offset, uint64_t length, void *buf, size_t room, struct object_req *ret);
int rig_head(const char *key, struct object_req *ret);
int rig_delete(const char *const *keys, size_t n);
int rig_list(const char *prefix, size_t max, struct object_req *ret);
/** The page behind a truncated one; frees the entries of that one. */
int rig_list_next(struct object_req *req);
/** The whole object is this text; asserted. */
void rig_expect(const char *key, const char *text);

#endif
