/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A journal under test: its loop, an oracle of what was promised, and the
 * check of a replay against it.
 *
 * The oracle knows three kinds of appends: acknowledged (must be replayed, whole and with
 * the right bytes), refused or still on their way (all or none), and what an
 * earlier replay already handed out (as good as acknowledged).
 *
 * Threads: the test's; the loop runs in its own.
 */
#ifndef LUNGATE_TEST_LIB_JOURNALRIG_H
#define LUNGATE_TEST_LIB_JOURNALRIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/loop.h"
#include "common/vfs.h"
#include "stores/chunked/journal.h"

#define RIG_SEGMENT (2u << 20)

struct rig_append;

/** One entry that a replay handed out. */
struct rig_entry {
	uint64_t seq;
	struct journal_entry entry;
};

struct rig {
	struct vfs *vfs;
	const char *dir;
	struct loop *loop;
	struct arena *arena;
	struct journal *j;
	struct errinfo info;
	struct journal_recovery recovery;
	uint8_t volume_uuid[UUID_LEN];
	uint8_t uuid[UUID_LEN];  /* of the journal that was opened last */
	uint64_t generation;
	uint64_t covered_seq;
	uint64_t capacity;
	bool accept_loss;
	/* what must be there, ascending */
	struct rig_entry *must;
	size_t nmust, room_must;
	/* this life's appends */
	struct rig_append *appends, **tail;
	struct rig_append *held; /* the first that is not handed over yet */
	bool hold;
	/* what the last open handed out */
	struct rig_entry *got;
	size_t ngot, room_got;
	size_t nlost;            /* of them, damaged pages of attributes; with accept_loss alone */
	/* completions */
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned outstanding;
	bool quiesced;
	uint64_t acked;          /* appends */
	uint64_t last_acked_seq;
};

void rig_init(struct rig *rig, struct vfs *vfs, const char *dir);
/** Journal must be closed. */
void rig_fini(struct rig *rig);

/** journal_open(); what is replayed lies in got[]. */
int rig_open(struct rig *rig, bool create, const uint8_t *expect);
/** Compare got[] with the oracle; what was got must be there from now on.  NULL, or what is wrong (static). */
const char *rig_check(struct rig *rig);
/** Read every page of got[] back: NULL, or what is wrong.  corrupt_ok: LG_ECORRUPT is an honest answer; else not. */
const char *rig_read_all(struct rig *rig, bool corrupt_ok);

/** Forget the oracle of this history. */
void rig_forget(struct rig *rig);

/** Append n entries from a random program drawn from *seed; completes later. */
void rig_append(struct rig *rig, uint64_t *seed, unsigned max_entries);
/** One WRITE of `page`. */
void rig_write(struct rig *rig, uint64_t page, uint64_t *seed);
/** An attribute of n pages. */
void rig_attr(struct rig *rig, unsigned n, uint64_t *seed);
/** n WRITEs as one append. */
void rig_writes(struct rig *rig, unsigned n, uint64_t *seed);
/** Appends between these two are handed over in one turn of the loop: one batch, as far as it holds them. */
void rig_hold(struct rig *rig);
void rig_go(struct rig *rig);
/** Until every append of this life has completed. */
void rig_wait(struct rig *rig);
/** ... and no spare segment is being written through either: the disk is quiet but for marks. */
void rig_wait_quiet(struct rig *rig);
uint64_t rig_room(struct rig *rig);
uint64_t rig_used(struct rig *rig);
int rig_health(struct rig *rig);
/** Release up to seq; covered_seq follows. */
void rig_release(struct rig *rig, uint64_t seq);
/** Quiesce and destroy. */
void rig_close(struct rig *rig, bool remove);

uint64_t rig_random(uint64_t *seed);

#endif
