/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of a raw volume, shared by its files: raw.c (life), raw_lock.c (ranges), raw_io.c (data), raw_atomic.c
 * (atomic writes), raw_admin.c (chunk map, resize, what the file occupies).
 *
 * Thread: the volume's loop, but for what runs on the pool (said there).
 */
#ifndef LUNGATE_STORES_RAW_RAW_INT_H
#define LUNGATE_STORES_RAW_RAW_INT_H

#include "common/diskio.h"
#include "stores/raw/raw.h"

#define RAW_COMPARE_PAGES (VOLUME_MAX_COMPARE / PAGE_SIZE_BYTES + 1)

struct raw;
struct raw_op;

struct raw_disk {
	struct disk_req req;
	struct raw_op *op;
};

/* a request under way: in exactly one list of the volume but for the time that its disk requests are out */
struct raw_op {
	struct raw_op *prev, *next;
	struct raw *raw;
	struct vol_req *req;
	void (*go)(struct raw_op *op);    /* once what it waits for is there */
	void (*after)(struct raw_op *op); /* once the write at hand is done */
	int status;                       /* of the disk requests since the last go */
	unsigned out;                     /* disk requests */

	/* the range it has locked, in whole pages */
	bool locked, exclusive;
	uint64_t lock_from, lock_end;
	struct raw_op *ready;

	/* waiting for a fdatasync, or the slot of atomic writes */
	struct raw_op *queue_next;
	void (*synced)(struct raw_op *op, int status); /* instead of its end; it keeps its range */

	/* waiting for memory */
	struct raw_op *short_next;

	/* the write at hand: bytes [from, end) out of pages (laid out as the request's; NULL = zeroes) */
	uint64_t from, end;
	struct page **pages;
	struct page *edges[2]; /* blocks of the disk that it covers in part */
	unsigned nedges;
	bool untouched; /* nothing of it was given to the disk yet */
	struct page *own[RAW_COMPARE_PAGES]; /* what COMPARE_WRITE and OR_WRITE read */
	unsigned nown;

	bool entered; /* an atomic write: its entry may be in the slot */
	int verdict;  /* what it ends with when the entry is out */

	uint64_t cursor;   /* of a clear, or of the search for a bad block */
	unsigned method;   /* of the clear that is out */
	struct raw_disk disk[2];
	struct iovec edge_iov[2];
	struct iovec *iov;
	int niov, iov_room;
	struct loop_work work;
};

struct raw_list {
	struct raw_op *first, *last;
};

/* first come, first served; by queue_next, beside the lists */
struct raw_queue {
	struct raw_op *first, *last;
};

/* the file beside a file that atomic writes go through: raw_atomic.c */
struct raw_slot {
	struct vfs_file *file; /* NULL: there are no atomic writes */
	char *path;
	bool ready, busy;
	struct raw_queue waiting;
};

struct raw {
	struct volume vol;
	struct vfs_file *file;
	char *path;
	bool device;
	uint32_t align;       /* of I/O; 1 where the page cache is in between */
	uint32_t clear_align; /* of fallocate */
	bool no_punch, no_zero_range; /* learned from the file system's refusal */

	struct raw_op *free_ops;
	unsigned nops;                   /* under way */
	struct raw_list active, blocked; /* of the range lock */
	unsigned exclusives;             /* in both */
	struct raw_op *short_first, **short_tail;
	struct arena_waiter waiter;

	/* one fdatasync at a time, for all that wait for it */
	struct raw_queue sync_waiting, syncing;
	struct disk_req sync;
	struct loop_msg sync_msg;
	bool sync_out, sync_deferred;
	bool dirty; /* something completed since the last fdatasync was begun */

	struct raw_slot slot;

	/* what the file occupies, looked at now and then */
	struct loop_timer stat_timer;
	struct loop_work stat_work;
	struct vfs_stat stat;
	bool stat_out, stat_again;

	bool closing;
	void (*closed)(void *arg, int status);
	void *closed_arg;
	struct loop_work close_work;
	int close_status;
};

static inline struct raw *
raw_of(struct volume *vol)
{
	return container_of(vol, struct raw, vol);
}

void raw_list_add(struct raw_list *list, struct raw_op *op);
void raw_list_remove(struct raw_list *list, struct raw_op *op);

/** op->go(op) runs, now or later, when [lock_from, lock_end) is op's: shared with other shared ones, or alone. */
void raw_lock(struct raw_op *op);
void raw_unlock(struct raw_op *op);

void raw_submit(struct vol_req *req);
/** Completes the request; op is gone. */
void raw_finish(struct raw_op *op, int status);
/** Complete op once everything written before is on stable storage. */
void raw_sync_join(struct raw_op *op);
void raw_queue_add(struct raw_queue *queue, struct raw_op *op);
/** NULL: empty. */
struct raw_op *raw_queue_pop(struct raw_queue *queue);
/** Write [from, end) out of pages; op->after(op) when done, with op->status.  Beyond whole blocks of the disk op must be alone. */
void raw_write_range(struct raw_op *op, struct page **pages, uint64_t from, uint64_t end,
		     void (*after)(struct raw_op *op));
/** op->iov: the request's data.  0 or -ENOMEM. */
int raw_gather(struct raw_op *op) MUST_CHECK;
/** No promise holds any more: what was tried with path ended with status. */
void raw_poison(struct raw *raw, const char *what, const char *path, int status);
void raw_io_init(struct raw *raw);
/** Nothing is under way any more? */
bool raw_idle(const struct raw *raw);
void raw_try_close(struct raw *raw);

/** A WRITE with VOL_ATOMIC, which has its range alone; a FLUSH that is to leave nothing in the slot either. */
void raw_slot_queue(struct raw_op *op);
/** Finishes what a crash cut off, and offers atomic writes where the slot can be had. */
int raw_slot_open(struct raw *raw, uint64_t bytes, struct errinfo *info) MUST_CHECK;
/** clean: nothing is in it.  With the volume's file still open. */
void raw_slot_close(struct raw *raw, bool clean);
/** That of a file which is to be made or gone. */
void raw_slot_remove(struct vfs *vfs, const char *path);

void raw_map(struct raw_op *op);
void raw_resize(struct raw_op *op);
/** Look at the file again soon: what it occupies may have changed. */
void raw_stat_soon(struct raw *raw);
void raw_admin_init(struct raw *raw);
int raw_device_size(const struct raw *raw, uint64_t *ret);

#endif
