/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chunked volume engine: a volume whose chunks are objects of an object
 * store and whose acknowledged changes lie in a local journal until a map
 * commit has carried them there.  doc/engine.md tells states and invariants.
 *
 * Errors of open: LG_EOWNED (a gateway holds it), LG_ENOJOURNAL (the journal
 * that holds acknowledged changes is missing or of another history),
 * LG_EDAMAGED, LG_EFORMAT, -ENOENT (no such volume), LG_ECONFLICT (lost a race), or the store's.
 *
 * Threads: everything here blocks on disks and stores: not on a loop.
 */
#ifndef LUNGATE_STORES_CHUNKED_CHUNKED_H
#define LUNGATE_STORES_CHUNKED_CHUNKED_H

#include "stores/object/object.h"
#include "stores/stores.h"

/** Write volume.json and the first root; -EEXIST when the store holds this volume already.
 *  Fills spec->uuid. */
int chunked_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info);

/** Own it, fence it, replay its journal, serve it. */
int chunked_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
		 struct errinfo *info);

/** Delete its journal and every object of it; LG_EOWNED while another gateway has it open. */
int chunked_delete(const struct volume_spec *spec, struct loop *loop,
		   void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info);

/** What tests and benchmarks may turn; 0 or NULL is the default everywhere. */
struct chunked_params {
	struct vfs *vfs;               /* under the journal (and the store that the spec names) */
	struct object_store *store;    /* already open, the caller's; then spec->store is for people alone */
	uint64_t journal_bytes;        /* instead of spec->journal_size; may be below its minimum */
	uint32_t journal_segment_bytes; /* default JOURNAL_SEGMENT_BYTES */
	unsigned destages;             /* chunks in flight at once; default 16, fewer when the arena is small */
	unsigned leaf_cache;           /* leaves kept in memory; default 64 */
	unsigned shared_bases;         /* entries of that table; default and at most BUCKET_SHARES_MAX */
	unsigned crc_tables;           /* CRC tables kept in memory; default 4096 */
	unsigned delete_horizon_ms;    /* replaced objects live this long; default 60,000 */
	unsigned retry_ms;             /* first back-off of a failed PUT; default 100 */
	unsigned retry_max_ms;         /* last one; default 5,000 */
	unsigned close_timeout_ms;     /* instead of spec->close_timeout_s */
};

int chunked_create_with(struct volume_spec *spec, const struct chunked_params *params, struct loop *loop,
			struct arena *arena, struct errinfo *info);
int chunked_open_with(const struct volume_spec *spec, const struct chunked_params *params, struct loop *loop,
		      struct arena *arena, struct volume **ret, struct errinfo *info);
int chunked_delete_with(const struct volume_spec *spec, const struct chunked_params *params, struct loop *loop,
			void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info);

/** On the volume's loop, for tests and admin: commit what is dirty now; done(arg, status) once the root is swapped. */
void chunked_commit(struct volume *vol, void (*done)(void *arg, int status), void *arg);
/** On the loop, for tests: forget it as a crash would - no commit, no journal mark, nothing awaited but
 *  requests at the store and disk that use its memory.  done, then ops->destroy. */
void chunked_abandon(struct volume *vol, void (*done)(void *arg), void *arg);

#endif
