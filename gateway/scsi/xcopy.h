/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EXTENDED COPY: what its lists (xcopy.c) and the copying (xcopy_move.c) share.
 *
 * Threads: the home of the unit that received the command.
 */
#ifndef LUNGATE_GATEWAY_SCSI_XCOPY_H
#define LUNGATE_GATEWAY_SCSI_XCOPY_H

#include "gateway/scsi/scsi_impl.h"

#define CSCDS_MAX 8u
#define SEGMENTS_MAX 64u
#define SEGMENT_BYTES_MAX (256u << 20)

#define COPY_PIECES 8u /* in flight */
#define COPY_INFOS 16u /* of one look at the map */
#define COPY_CHUNKS_MAX (SEGMENT_BYTES_MAX / (1u << 20) + 1) /* no chunk is smaller */

/* A unit that the list names. */
struct cscd {
	struct scsi_slot *slot;
	struct scsi_lu *lu; /* NULL: not reachable */
	bool reads, writes;
	bool read_only; /* for this nexus */
	bool fua;       /* its writes, since it was last asked */
	struct scsi_guest guest; /* where it is not the copy's own unit */
};

enum piece_state {
	PIECE_FREE,
	PIECE_UNREAD,  /* it has its place, and no memory */
	PIECE_READING,
	PIECE_READ,    /* waits until the pieces before it are read */
	PIECE_WRITING,
};

/* A part of a segment. */
struct copy_piece {
	struct xcopy *copy;
	enum piece_state state;
	uint64_t order;      /* among the pieces of its segment */
	uint64_t at, length; /* in the segment */
	uint64_t written;
	bool hole;           /* zeroes: nothing to be read */
	bool busy;           /* req is in flight */
	unsigned claimed;    /* pages of the share of all copies */
	unsigned n;          /* references in pages[] */
	struct page *pages[SCSI_PIECE_PAGES];
	struct vol_req req;
};

struct xcopy {
	struct scsi_task *task;
	struct cscd cscds[CSCDS_MAX];
	unsigned ncscds, nsegments, at_segment;
	const uint8_t *segments; /* in the Data-Out */
	struct copy_record *record; /* NULL: nothing is kept */
	bool discard;
	uint32_t to_ask; /* cscds[] that were not asked yet, by bit */
	unsigned asked; /* which one is */
	enum scsi_error refused;
	_Atomic unsigned stopped; /* enum scsi_error, by what happened at one of the other units */
	enum scsi_step ended;   /* what is answered when all units are left */
	struct loop_msg msg; /* asking, leaving, or taking breath */

	/* the segment */
	const struct cscd *from, *to;
	uint64_t from_offset, to_offset, total;
	bool backwards, mapped;
	uint8_t present[COPY_CHUNKS_MAX / 8 + 1]; /* chunks of the source, from from_offset on */
	uint8_t cloned[COPY_CHUNKS_MAX / 8 + 1];  /* ... that are done already */
	struct vol_req look;  /* at the map, then what clones */
	struct chunk_info infos[COPY_INFOS];

	/* xcopy_move.c */
	uint64_t cut;        /* how much of the segment has been made into pieces */
	uint64_t next_order; /* of the next piece to be cut */
	uint64_t next_write; /* of the piece that may be written next */
	unsigned flying;     /* requests of the volumes */
	unsigned tries;      /* memory was short this often */
	uint64_t breath;     /* bytes until others get their turn */
	uint64_t clone_at;   /* chunk of the source, from from_offset on, that is to be tried next */
	bool looking, inside, again, resting, starved; /* looking: until what can be cloned is */
	bool cloning, any_cloned;
	struct arena_waiter memory;
	enum scsi_error failed;
	struct copy_piece pieces[COPY_PIECES];
};

/** A segment is in from .. backwards: xcopy_move() follows, at each step of the task until it is through. */
void xcopy_move_begin(struct xcopy *copy);
/** STEP_GOOD: the segment is copied.  STEP_FAIL: copy->failed, and nothing is in flight any more.  STEP_WAIT. */
enum scsi_step xcopy_move(struct xcopy *copy);

#endif
