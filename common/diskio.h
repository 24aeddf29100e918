/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous I/O on vfs files: the loop's io_uring where the file has a
 * descriptor and the kernel allows it, else the pool.  Requests of one
 * iteration are submitted together (loop_defer).
 *
 * Threads: on one loop; done runs there, never before disk_submit() returns.  Requests are not ordered among
 * each other.  Needs loop_pool_init().
 */
#ifndef LUNGATE_COMMON_DISKIO_H
#define LUNGATE_COMMON_DISKIO_H

#include "common/loop.h"
#include "common/vfs.h"

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_WRITE_SYNC,   /* write, then fdatasync; done when both are */
	DISK_FDATASYNC,
	DISK_PUNCH,        /* hole of length bytes at offset; zeroes are read after */
	DISK_ZERO,         /* zeroes, allocated or not */
};

struct disk_req {
	struct loop *loop;
	struct vfs_file *file;
	enum disk_op op;
	uint64_t offset;
	uint64_t length;             /* of PUNCH and ZERO; of transfers disk_submit() sets it to the sum of iov */
	const struct iovec *iov;     /* stays valid until done */
	int niov;
	/** Whole transfer done: 0, or a negative errno; a short read at the end of file is -ENODATA, never a success.
	 *  Short transfers are continued. */
	int status;
	void (*done)(struct disk_req *req);
	/* private to diskio */
	struct loop_work work;
	uint64_t moved;
	int phase;
	void *scratch;
	struct disk_req *next;
};

void disk_submit(struct disk_req *req);

/** "io_uring" or "threads": what this loop uses. LUNGATE_NO_URING=1 in the environment forces the latter. */
const char *disk_engine(struct loop *loop);

#endif
