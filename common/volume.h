/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The volume interface: what a LUN and the mount's `image` are made of.
 *
 * A volume lives on one loop and is touched by that loop alone.  Everything is
 * a request object with a completion.  volume_submit() is the one front door
 * for every implementation: it checks range and alignment, counts, times, and
 * carries the request to the volume's loop when the caller is elsewhere.
 *
 * Data of READ, WRITE, COMPARE_WRITE and OR_WRITE travels in arena pages laid out as the
 * volume is: pages[i] holds volume page (offset >> 12) + i, so the first byte
 * of the data is at pages[0]->data + (offset & 4095).  Bytes of the first and
 * last page outside [offset, offset + length) are undefined.
 *
 *   WRITE          pages are the caller's until done; the volume takes references of its own to what it
 *                  keeps.  The caller must not change them after submitting.
 *   READ           pages[] comes empty; the volume puts referenced pages in, and
 *                  on success the caller owns these references (on failure there are none).  They are immutable.
 *   COMPARE_WRITE  pages[0 .. npages) hold the compare data, pages[npages .. 2*npages) the write data, both laid
 *                  out as above.  Atomic against every other request.
 *
 *   OR_WRITE       pages hold bits, laid out as above: those that are set there are set afterwards, the others as they
 *                  were.  Atomic against every other request, as COMPARE_WRITE.
 *
 * Alignment: offset and length are multiples of block_size.  COMPARE_WRITE and OR_WRITE: at most 128 KiB.
 * READ and WRITE: at most VOLUME_MAX_IO.  UNMAP and ZERO: any length.
 *
 * Attributes are values by key, of whoever stands in front of volumes, that travel with the volume and mean
 * nothing to it: where vol->attributes says so it keeps them over restarts, crashes and a move to another machine.
 *   PUT_ATTRIBUTE  the value is durable when it completes with 0, whatever write_cache says, and replaces the old one
 *                  as a whole; a length of 0 removes it.  One at a time for a key.  read_only is no obstacle:
 *                  no byte of the data changes.  -ENOSPC: VOLUME_ATTRIBUTES values, or a megabyte of them, are there
 *   GET_ATTRIBUTE  the last one that was durable; a length of 0 where there is none
 *
 * CLONE makes [offset, offset + length) what [source, source + length) holds, without a byte that moves.  It is offered
 * where vol->clones says so, for whole chunks that do not overlap, and does as many from the front as can be done that way
 * just now (ret_cloned, maybe 0): chunks with changes that are not in the store yet cannot, and one request has a limit.
 * Who asks copies the rest.  Atomic, and durable, as a WRITE.
 *
 * Ordering: requests in flight are not ordered; a request submitted after
 * another completed sees its effect.  FLUSH covers every request that completed before FLUSH was submitted.
 */
#ifndef LUNGATE_COMMON_VOLUME_H
#define LUNGATE_COMMON_VOLUME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/stats.h"
#include "common/util.h"

#define VOLUME_NAME_MAX 64               /* [a-z0-9][a-z0-9._-]*, without the NUL */
#define VOLUME_MAX_IO (16u << 20)        /* bytes of one READ or WRITE */
#define VOLUME_MAX_COMPARE (128u << 10)
#define VOLUME_KEY_MAX 23                /* of an attribute: [a-z0-9._-]+, not beginning with '.', without the NUL */
#define VOLUME_VALUE_MAX (512u << 10)    /* bytes of an attribute */
#define VOLUME_ATTRIBUTES 16             /* of a volume */

struct volume;
struct vol_req;

enum vol_op {
	VOL_READ,
	VOL_WRITE,
	VOL_FLUSH,
	VOL_UNMAP,         /* reads as zeroes afterwards; gives space back where it can */
	VOL_ZERO,          /* zeroes; may be kept as a hole */
	VOL_COMPARE_WRITE,
	VOL_OR_WRITE,
	VOL_MAP,           /* chunk map query */
	VOL_RESIZE,        /* length = new size in bytes */
	VOL_GET_ATTRIBUTE,
	VOL_PUT_ATTRIBUTE,
	VOL_CLONE,         /* whole chunks become what others hold, and no byte moves */
	VOL_OP_COUNT
};

#define VOL_FUA 1u         /* durable before it completes */
#define VOL_NO_READAHEAD 2u /* a look (mount's chunks/): leave the caches as they are */
#define VOL_ATOMIC 8u       /* WRITE: seen whole or not at all, after a crash too; at most atomic_max_bytes */
#define VOL_INSIDER 4u      /* of whoever barred the volume: passes */

enum chunk_state {
	CHUNK_ABSENT,      /* reads as zeroes, costs nothing */
	CHUNK_CLEAN,       /* all of it in the store */
	CHUNK_DIRTY,       /* newer bytes in journal or memory than in the store */
};

#define CHUNK_KEY_MAX 192

/** What the chunk map says of one chunk. */
struct chunk_info {
	uint64_t index;
	enum chunk_state state;
	uint32_t overlays;
	uint32_t dirty_bytes;
	uint32_t cached_bytes;     /* in the arena */
	uint64_t allocated_bytes;  /* what the chunk costs in the store; 0 when absent */
	uint64_t generation, seq;  /* of the base; 0 when there is none */
	uint32_t crc32c;           /* of the base's whole data as stored */
	bool has_crc;
	char key[CHUNK_KEY_MAX];   /* object key, or path and offset for raw volumes; "" when none */
	char etag[72];             /* "" when not known */
};

struct vol_req {
	struct volume *vol;
	enum vol_op op;
	uint32_t flags;
	uint64_t offset, length;      /* bytes */
	struct page **pages;          /* caller's array, see above */
	unsigned npages;

	/* VOL_MAP: present chunks (not absent) from index first_chunk on, in order, at most max_infos */
	uint64_t first_chunk;
	uint64_t end_chunk;           /* exclusive; 0 = to the end */
	struct chunk_info *infos;
	unsigned max_infos;
	unsigned ret_infos;
	uint64_t ret_next_chunk;      /* where to go on; UINT64_MAX at the end */

	/* VOL_GET_ATTRIBUTE, VOL_PUT_ATTRIBUTE */
	const char *key;              /* the caller's until done */
	void *value;                  /* PUT: the caller's until done.  GET: malloc()ed, the caller's; NULL unless there is one */
	size_t value_len;

	/* VOL_CLONE */
	uint64_t source;
	uint64_t ret_cloned;          /* bytes from offset on that are done; the rest is as it was */

	/** 0 or negative.  With LG_ECORRUPT and -EIO err_offset is the first failing byte; with LG_EMISCOMPARE
	 *  the first differing byte, relative to offset. */
	int status;
	uint64_t err_offset;

	/** Runs on `origin`, or on the volume's loop when origin is NULL.
	 *  May run before volume_submit() returns. */
	void (*done)(struct vol_req *req);
	struct loop *origin;

	/* private to volume.c and the implementation until done */
	struct loop_msg msg;
	uint64_t start_ns;
	struct vol_req *next, *prev;
	void *engine;
	uint64_t engine_word[4];
};

/** Durability as in DESIGN 4.3; raw volumes are always `journal` in effect (fdatasync). */
enum vol_durability { VOL_DURABILITY_JOURNAL, VOL_DURABILITY_STORE };

struct vol_stats {
	counter_t ops[VOL_OP_COUNT];
	counter_t bytes[VOL_OP_COUNT];
	counter_t errors[VOL_OP_COUNT];
	struct histogram latency[VOL_OP_COUNT];
};

/** What one implementation offers.  All run on the volume's loop. */
struct vol_ops {
	const char *kind;    /* "chunked", "raw", "ram", "null" */
	/** Begin req; complete it with volume_done(), now or later. */
	void (*submit)(struct vol_req *req);
	/** Members of volume.json, stats.json that only the implementation knows are added to *object. */
	void (*describe)(struct volume *vol, json_t *object);
	void (*describe_stats)(struct volume *vol, json_t *object);
	/** Prometheus lines of its own are built from describe_stats: every integer member there becomes lungate_volume_<name>. */
	/** Flush what is to be flushed, close, then call done(arg, status); the volume is not used after. */
	void (*close)(struct volume *vol, void (*done)(void *arg, int status), void *arg);
	/** Free the memory; after close. */
	void (*destroy)(struct volume *vol);
};

/** Common part; implementations embed it first.  Fields above the line are constant while it is open. */
struct volume {
	const struct vol_ops *ops;
	char name[VOLUME_NAME_MAX + 1];
	uint8_t uuid[UUID_LEN];
	uint8_t naa[16];             /* NAA 6h designator, made at creation and kept */
	char serial[33];             /* VPD 80h, made at creation and kept */
	uint32_t block_size;         /* 512 or 4096 */
	uint32_t chunk_size;
	uint32_t atomic_max_bytes;   /* of a write with VOL_ATOMIC, at any offset; 0 = there is none */
	bool read_only;
	bool write_cache;            /* WCE: plain writes answer before they are durable */
	bool thin;                   /* UNMAP gives space back */
	bool attributes;             /* it keeps attributes; else -EOPNOTSUPP */
	bool clones;                 /* it has VOL_CLONE; else -EOPNOTSUPP */
	enum vol_durability durability;
	char store[512];             /* where it lies, for people; no secrets */
	struct loop *loop;
	struct arena *arena;
	/* ---- */
	_Atomic uint64_t size;       /* bytes; changes by VOL_RESIZE alone */
	_Atomic int health;          /* 0, or why it makes no promises (LG_EPOISONED, LG_EFENCED ...) */
	_Atomic int barred;          /* 0, or what is told whoever asks for its data: volume_bar() */
	_Atomic uint64_t allocated;  /* bytes that it occupies in its store: st_blocks of the image */
	_Atomic int refs;            /* registry and users; 0 after volume_open() */
	_Atomic uint64_t inflight;
	struct vol_stats stats;
	/* on its loop: requests that the implementation has, and who waits for there to be none */
	uint64_t begun;
	struct loop_msg *quiet;
};

/** Any thread. */
void volume_submit(struct vol_req *req);

/** For implementations, on the volume's loop: complete req with status. */
void volume_done(struct vol_req *req, int status);

/** From now on requests that read or change data, or the size, end with this status, but for those with VOL_INSIDER; 0: all pass
 *  again.  quiet: posted to the volume's loop when what was begun before has ended; on that loop, one at a time.
 *  NULL: any thread, and nobody waits. */
void volume_bar(struct volume *vol, int status, struct loop_msg *quiet);

/** Submit, and wait for its end: the status.  done and origin are not the caller's.  Blocks: not on a loop. */
int volume_call(struct vol_req *req);

/** VOL_GET_ATTRIBUTE and VOL_PUT_ATTRIBUTE, and wait.  Block: not on a loop. */
int volume_get_attribute(struct volume *vol, const char *key, void **ret, size_t *ret_len) MUST_CHECK;
int volume_put_attribute(struct volume *vol, const char *key, const void *value, size_t len) MUST_CHECK;

/** Pages that a request of this offset and length spans. */
static inline unsigned volume_pages(uint64_t offset, uint64_t length)
{
	return length ? (unsigned)(((offset + length - 1) >> PAGE_SHIFT) - (offset >> PAGE_SHIFT) + 1) : 0;
}

/** 0, or -EINVAL with words: the naming rule above. */
int volume_name_check(const char *name, struct errinfo *info);
/** May an attribute be called so? */
bool volume_key_valid(const char *key);

/** Any thread (see loop_call() for loops other than the volume's): a new object, the caller's reference;
 *  NULL without memory. */
json_t *volume_describe(struct volume *vol);   /* volume.json */
json_t *volume_stats(struct volume *vol);      /* stats.json */

const char *vol_op_name(enum vol_op op);
const char *chunk_state_name(enum chunk_state state);

#endif
