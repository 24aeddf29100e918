/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the journal: what journal.c (appending), journal_slots.c (files) and
 * journal_replay.c (opening) share.  Nothing else includes this.
 */
#ifndef LUNGATE_STORES_CHUNKED_JOURNAL_IMPL_H
#define LUNGATE_STORES_CHUNKED_JOURNAL_IMPL_H

#include <limits.h>

#include "common/diskio.h"
#include "stores/chunked/journal.h"
#include "stores/chunked/journal_fmt.h"

#define BATCH_RECORDS 32u
#define BATCH_PAGES 960u                 /* payload of one write; with headers below IOV_MAX */
#define BATCH_IOV (BATCH_PAGES + BATCH_RECORDS + 1)
#define ZERO_BYTES (64u << 10)
#define SLOTS_MIN 4u

enum slot_state {
	SLOT_RESERVED,    /* has its size on disk, must be written through before use */
	SLOT_PREPARING,   /* a pool thread does that */
	SLOT_READY,
	SLOT_LIVE,        /* part of the history */
	SLOT_BROKEN,      /* could not be written through: not used again before the next opening */
};

/** One segment file. */
struct journal_slot {
	struct vfs_file *file;
	unsigned index;              /* its name */
	enum slot_state state;
	/* LIVE */
	uint64_t number;
	uint64_t last_seq;           /* last sequence up to and with this segment */
	uint32_t end;                /* first page not used */
	uint64_t incarnation;        /* of this use; what a recovery goes on with may have an older one than the journal */
	bool released;
	unsigned pins;               /* reads in flight */
	/* while opening */
	bool header_ok;              /* page 0 is a whole header */
	bool known;                  /* number .. prev_pos are known, from the header or the first record */
	bool wipe;                   /* holds something that never happened */
	uint32_t file_pages;         /* of the file as found, at most the segment's */
	uint64_t epoch;
	uint64_t prev_seq;
	journal_pos_t prev_pos;
};

struct journal {
	struct vfs *vfs;
	struct loop *loop;
	char *dir;
	struct vfs_file *lock;
	uint8_t volume_uuid[UUID_LEN];
	uint8_t uuid[UUID_LEN];
	uint32_t segment_bytes;
	uint32_t segment_pages;
	uint64_t generation;

	struct journal_slot *slots;
	unsigned nslots;
	struct journal_slot *active;  /* LIVE, gets the next record; NULL = none yet */
	uint64_t next_number;
	uint64_t incarnation;         /* last one given out */
	uint64_t epoch;

	uint64_t last_seq;            /* assigned */
	uint64_t durable_seq;
	uint64_t released_seq;
	/* tip of the chain, as built (not: as durable) */
	uint64_t chain_seq;
	journal_pos_t tip_pos;
	uint32_t tip_crc;
	bool tip_is_mark;
	/* what the next record may claim */
	uint64_t proven_seq;
	journal_pos_t proven_pos;

	int health;
	struct journal_append *head, **tail;   /* not in a batch yet */
	uint64_t pending_pages;       /* what they cost at most */
	struct loop_msg run_msg;
	bool scheduled;

	/* the one write in flight */
	bool inflight;
	struct journal_append *batch;
	uint64_t batch_seq;           /* chain_seq after it */
	int batch_fault;              /* failpoint: fail although the disk did not */
	struct disk_req req;
	struct loop_msg batch_msg;
	struct iovec iov[BATCH_IOV];
	int niov;
	uint8_t *headers;             /* BATCH_RECORDS + 1 pages; the last one is the segment header's */
	uint8_t *zeroes;              /* ZERO_BYTES, for writing slots through */

	struct loop_work prep;
	struct journal_slot *preparing;
	bool starved;                 /* a batch waits for a READY slot */

	struct loop_timer mark_timer;
	bool mark_wanted;

	unsigned reads;
	bool quiescing, quiesced;
	struct loop_msg quiesce_msg;
	void (*quiesce_done)(void *arg);
	void *quiesce_arg;
};

/* ---- journal_slots.c: all block, none on the loop ------------------------- */

#define JOURNAL_MANIFEST_NAME "manifest"

/** "DIR/INDEX16.journal", "DIR/name"; the caller frees; NULL = no memory. */
char *journal_slot_path(const struct journal *j, unsigned index);
char *journal_path(const char *dir, const char *name);

int journal_lock(struct journal *j, struct errinfo *info) MUST_CHECK;
/** Open every segment file there is, sorted by index; none of them is read. */
int journal_slots_list(struct journal *j, struct errinfo *info) MUST_CHECK;
/** Make segment files until there are n and none is missing between, drop unused ones while there are more; then
 *  the manifest says so (in any case if it is lost). */
int journal_slots_resize(struct journal *j, unsigned n, bool lost, struct errinfo *info) MUST_CHECK;
/** Remove all of them, and the manifest. */
int journal_slots_remove(struct journal *j) MUST_CHECK;
/** 0, -ENOENT, LG_ECORRUPT, LG_EFORMAT or an errno. */
int journal_manifest_read(struct journal *j, struct journal_segment *ret) MUST_CHECK;
int journal_manifest_write(struct journal *j, unsigned n) MUST_CHECK;
/** Page 0 of a slot that holds nothing. Not synced. */
int journal_slot_header(struct journal *j, struct journal_slot *slot, enum journal_segment_state state) MUST_CHECK;
/** Write it from end to end, so that later syncs have no metadata to write. Synced. Any thread. */
int journal_slot_fill(struct journal *j, struct journal_slot *slot) MUST_CHECK;
void journal_close_files(struct journal *j);
/** The name `dir` itself is made durable. */
int journal_sync_parent(struct vfs *vfs, const char *dir) MUST_CHECK;
int journal_read_pages(struct journal_slot *slot, uint32_t page, uint32_t n, void *buf) MUST_CHECK;

/* ---- journal_aside.c ------------------------------------------------------- */

/** A used journal lies in j->dir, which is locked, its files listed: it is renamed, and an empty folder is there, locked;
 *  or -EEXIST with words, where it may be needed. */
int journal_set_aside(struct journal *j, const struct journal_params *params, struct errinfo *info) MUST_CHECK;

/* ---- journal_replay.c ------------------------------------------------------ */

int journal_replay(struct journal *j, const struct journal_params *params, const uint8_t *expect_uuid,
		   journal_replay_fn *fn, void *arg, struct journal_recovery *recovery, bool *ret_lost,
		   struct errinfo *info) MUST_CHECK;

#endif
