/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous disk I/O: one io_uring a loop, or the pool.
 *
 * A request on the ring:
 *
 *   waiting -> issued -> (short? waiting again) -> done
 *
 * Waiting requests are issued together by a deferred message, as far as the
 * ring has room: at most RING_ENTRIES operations are with the kernel, so its
 * completion queue never overflows; the rest waits its turn.  WRITE_SYNC is a
 * write linked to an fdatasync; a short write breaks the link, the rest is
 * written and synced again.  The request is done when the kernel has
 * answered every operation issued for it (`phase` says which are out).
 *
 * Files without a descriptor, and all files where there is no io_uring, go
 * through their vfs on a thread of the pool.
 *
 * Invariants: iov, and the copy in scratch, stay until the kernel has answered; a request is
 * in one list or with the kernel, never both; done runs once.
 *
 * Thread: the ring is its loop's alone.
 *
 * Failure: errors are the request's own.  A submission that the kernel puts
 * off (EAGAIN, EBUSY) is tried again after the next completion, or soon.
 */
#include "common/diskio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "common/err.h"
#include "common/log.h"
#include "common/util.h"

#define RING_ENTRIES 256u
#define RETRY_MS 10u

/* disk_req.phase */
#define OUT_MAIN 1 /* the transfer or the only operation is with the kernel */
#define OUT_SYNC 2 /* the fdatasync of a WRITE_SYNC is */
#define SYNCED 4   /* it succeeded after the last write */

#define TAG_SYNC 1u /* in user_data, beside the request's address */

struct ring {
	struct loop *loop;
	struct io_uring uring;
	bool usable;       /* false: this loop uses the pool */
	bool flush_queued; /* flush is deferred */
	bool unsent;       /* the kernel has yet to take some of the submission queue */
	int efd;
	unsigned inflight; /* operations with the kernel or in the submission queue */
	uv_poll_t poll;
	struct loop_msg flush;
	struct loop_timer retry;
	struct disk_req *head, **tail; /* waiting */
};

static const bool op_transfers[] = {
	[DISK_READ] = true,
	[DISK_WRITE] = true,
	[DISK_WRITE_SYNC] = true,
	[DISK_ZERO] = false,
};

static const int op_fallocate[] = {
	[DISK_PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	[DISK_ZERO] = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
};

static void
complete(struct disk_req *req, int status)
{
	free(req->scratch);
	req->scratch = NULL;
	req->status = status;
	req->done(req);
}

/* ---- the pool ---------------------------------------------------------- */

static int
run_transfer(struct disk_req *req)
{
	const struct vfs_ops *ops = req->file->vfs->ops;
	int64_t r;

	if (req->op == DISK_READ)
		r = ops->preadv(req->file, req->iov, req->niov, req->offset);
	else
		r = ops->pwritev(req->file, req->iov, req->niov, req->offset);
	if (r < 0)
		return (int)r;
	if ((uint64_t)r != req->length)
		return req->op == DISK_READ ? -ENODATA : -EIO;
	return 0;
}

static void
work_run(struct loop_work *work)
{
	struct disk_req *req = container_of(work, struct disk_req, work);
	const struct vfs_ops *ops = req->file->vfs->ops;
	int r = 0;

	if (op_transfers[req->op])
		r = run_transfer(req);
	else if (req->op != DISK_FDATASYNC)
		r = ops->fallocate(req->file, op_fallocate[req->op], req->offset, req->length);
	if (!r && (req->op == DISK_FDATASYNC || req->op == DISK_WRITE_SYNC))
		r = ops->fsync(req->file, true);
	req->status = r;
}

static void
work_done(struct loop_work *work)
{
	struct disk_req *req = container_of(work, struct disk_req, work);

	complete(req, req->status);
}

static void
offload(struct disk_req *req)
{
	req->work.run = work_run;
	req->work.done = work_done;
	loop_offload(req->loop, &req->work);
}

/* ---- issuing ----------------------------------------------------------- */

static void
enqueue(struct ring *ring, struct disk_req *req)
{
	req->next = NULL;
	*ring->tail = req;
	ring->tail = &req->next;
	if (!ring->flush_queued) {
		ring->flush_queued = true;
		loop_defer(ring->loop, &ring->flush);
	}
}

/* The iovec of what is still to be moved, at most IOV_MAX entries: 0 or -ENOMEM. */
static int
rest_of(struct disk_req *req, const struct iovec **ret_iov, unsigned *ret_n, bool *ret_last)
{
	struct iovec *rest;
	uint64_t skip = req->moved;
	int first = 0, n;

	if (!skip && req->niov <= IOV_MAX) {
		*ret_iov = req->iov;
		*ret_n = (unsigned)req->niov;
		*ret_last = true;
		return 0;
	}
	while (skip >= req->iov[first].iov_len)
		skip -= req->iov[first++].iov_len;
	n = min_of(req->niov - first, IOV_MAX);
	rest = realloc(req->scratch, (size_t)n * sizeof(*rest));
	if (!rest)
		return -ENOMEM;
	req->scratch = rest;
	memcpy(rest, req->iov + first, (size_t)n * sizeof(*rest));
	rest[0].iov_base = (char *)rest[0].iov_base + skip;
	rest[0].iov_len -= skip;
	*ret_iov = rest;
	*ret_n = (unsigned)n;
	*ret_last = first + n == req->niov;
	return 0;
}

static struct io_uring_sqe *
get_sqe(struct ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	assert(sqe); /* inflight is bounded by the size of the queue */
	ring->inflight++;
	return sqe;
}

static void
issue_sync(struct ring *ring, struct disk_req *req, uintptr_t tag)
{
	struct io_uring_sqe *sqe = get_sqe(ring);

	io_uring_prep_fsync(sqe, req->file->fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data64(sqe, (uintptr_t)req | tag);
	req->phase |= tag ? OUT_SYNC : OUT_MAIN;
}

static int
issue_transfer(struct ring *ring, struct disk_req *req)
{
	const struct iovec *iov;
	struct io_uring_sqe *sqe;
	unsigned n;
	bool last;
	int r = rest_of(req, &iov, &n, &last);

	if (r)
		return r;
	sqe = get_sqe(ring);
	if (req->op == DISK_READ)
		io_uring_prep_readv(sqe, req->file->fd, iov, n, req->offset + req->moved);
	else
		io_uring_prep_writev(sqe, req->file->fd, iov, n, req->offset + req->moved);
	io_uring_sqe_set_data64(sqe, (uintptr_t)req);
	req->phase |= OUT_MAIN;
	if (req->op == DISK_WRITE_SYNC && last) {
		io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
		issue_sync(ring, req, TAG_SYNC);
	}
	return 0;
}

static int
issue(struct ring *ring, struct disk_req *req)
{
	struct io_uring_sqe *sqe;

	req->phase = 0;
	if (op_transfers[req->op] && req->moved < req->length)
		return issue_transfer(ring, req);
	if (req->op == DISK_WRITE_SYNC) {
		issue_sync(ring, req, TAG_SYNC);
		return 0;
	}
	if (req->op == DISK_FDATASYNC) {
		issue_sync(ring, req, 0);
		return 0;
	}
	if (op_transfers[req->op])
		return 0; /* nothing to move */
	sqe = get_sqe(ring);
	io_uring_prep_fallocate(sqe, req->file->fd, op_fallocate[req->op], (off_t)req->offset,
				(off_t)req->length);
	io_uring_sqe_set_data64(sqe, (uintptr_t)req);
	req->phase = OUT_MAIN;
	return 0;
}

static void
send_queue(struct ring *ring)
{
	int r;

	do {
		r = io_uring_submit(&ring->uring);
	} while (r == -EINTR);
	ring->unsent = io_uring_sq_ready(&ring->uring);
	if (!ring->unsent)
		return;
	if (r < 0 && r != -EAGAIN && r != -EBUSY)
		log_error("io_uring_submit: %s; trying again", err_text(r));
	loop_timer_start(&ring->retry, RETRY_MS);
}

static void
flush(struct ring *ring)
{
	struct disk_req *done = NULL, **done_tail = &done, *req;

	/* a WRITE_SYNC takes two entries */
	while ((req = ring->head) && ring->inflight + 2 <= RING_ENTRIES) {
		int r;

		ring->head = req->next;
		if (!ring->head)
			ring->tail = &ring->head;
		r = issue(ring, req);
		if (r || !req->phase) {
			req->status = r;
			req->next = NULL;
			*done_tail = req;
			done_tail = &req->next;
		}
	}
	if (io_uring_sq_ready(&ring->uring))
		send_queue(ring);
	while ((req = done)) {
		done = req->next;
		complete(req, req->status);
	}
}

static void
on_flush(struct loop_msg *msg)
{
	struct ring *ring = container_of(msg, struct ring, flush);

	ring->flush_queued = false;
	if (ring->usable) /* it is not when the ring has just been destroyed */
		flush(ring);
}

static void
on_retry(struct loop_timer *timer)
{
	flush(container_of(timer, struct ring, retry));
}

/* ---- completing -------------------------------------------------------- */

static void
took_sync(struct disk_req *req, int res)
{
	req->phase &= ~OUT_SYNC;
	if (!res)
		req->phase |= SYNCED;
	else if (res != -ECANCELED && !req->status) /* cancelled: the write before it was short or failed */
		req->status = res;
}

static void
took_main(struct disk_req *req, int res)
{
	req->phase &= ~OUT_MAIN;
	if (res == -EINTR && op_transfers[req->op])
		return; /* nothing moved: it is issued again */
	if (res < 0) {
		req->status = res;
		return;
	}
	if (!op_transfers[req->op])
		return;
	req->moved += (uint64_t)res;
	if (req->moved < req->length) {
		/* a direct read that ends at an odd place has met the end of the file */
		if (req->op == DISK_READ && (!res || (req->file->direct && req->moved % 512)))
			req->status = -ENODATA;
		else if (!res)
			req->status = -EIO;
	}
}

static void
took(struct ring *ring, uint64_t data, int res)
{
	struct disk_req *req = (struct disk_req *)(uintptr_t)(data & ~(uint64_t)TAG_SYNC);

	ring->inflight--;
	if (data & TAG_SYNC)
		took_sync(req, res);
	else
		took_main(req, res);
	if (req->phase & (OUT_MAIN | OUT_SYNC))
		return;
	if (req->status == -EAGAIN) {
		/* the kernel could not do it without blocking; a thread can */
		req->status = 0;
		offload(req);
	} else if (req->status) {
		complete(req, req->status);
	} else if (op_transfers[req->op] && req->moved < req->length) {
		enqueue(ring, req);
	} else if (req->op == DISK_WRITE_SYNC && !(req->phase & SYNCED)) {
		enqueue(ring, req);
	} else {
		complete(req, 0);
	}
}

static void
drain(struct ring *ring)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&ring->uring, &cqe)) {
		uint64_t data = cqe->user_data;
		int res = cqe->res;

		io_uring_cqe_seen(&ring->uring, cqe);
		took(ring, data, res);
	}
	if ((ring->head || ring->unsent) && !ring->flush_queued) {
		ring->flush_queued = true;
		loop_defer(ring->loop, &ring->flush);
	}
}

static void
on_event(uv_poll_t *poll, int status, int events)
{
	struct ring *ring = poll->data;
	eventfd_t n;

	(void)status;
	(void)events;
	(void)eventfd_read(ring->efd, &n); /* only a bell: the queue says what there is */
	drain(ring);
}

/* ---- life -------------------------------------------------------------- */

static void
on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* The kernel writes into buffers of requests in flight: wait for them. */
static void
ring_destroy(void *p)
{
	struct ring *ring = p;
	struct io_uring_cqe *cqe;

	if (!ring->usable) {
		free(ring);
		return;
	}
	while (ring->head || ring->inflight) {
		flush(ring);
		if (ring->inflight && io_uring_wait_cqe(&ring->uring, &cqe) == 0)
			drain(ring);
	}
	ring->usable = false;
	loop_timer_stop(&ring->retry);
	io_uring_queue_exit(&ring->uring);
	close(ring->efd);
	uv_close((uv_handle_t *)&ring->poll, on_closed);
}

static bool
ring_supports(struct io_uring *uring)
{
	static const int needed[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
	struct io_uring_probe *probe = io_uring_get_probe_ring(uring);
	bool all = probe;

	for (size_t i = 0; all && i < ARRAY_SIZE(needed); i++)
		all = io_uring_opcode_supported(probe, needed[i]);
	if (probe)
		io_uring_free_probe(probe);
	return all;
}

static int
ring_open(struct ring *ring)
{
	int r = io_uring_queue_init(RING_ENTRIES, &ring->uring, 0);

	if (r)
		return r;
	r = -ENOSYS;
	if (!ring_supports(&ring->uring))
		goto exit_ring;
	ring->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ring->efd < 0) {
		r = -errno;
		goto exit_ring;
	}
	r = io_uring_register_eventfd(&ring->uring, ring->efd);
	if (r)
		goto close_event;
	r = uv_poll_init(loop_uv(ring->loop), &ring->poll, ring->efd);
	if (r)
		goto close_event;
	ring->poll.data = ring;
	uv_poll_start(&ring->poll, UV_READABLE, on_event);
	return 0;
close_event:
	close(ring->efd);
exit_ring:
	io_uring_queue_exit(&ring->uring);
	return r;
}

static bool
ring_wanted(void)
{
	const char *no = getenv("LUNGATE_NO_URING");

	return !no || !*no || !strcmp(no, "0");
}

/* NULL without memory: then the pool serves. */
static struct ring *
ring_of(struct loop *loop)
{
	struct ring *ring = loop_slot_get(loop, LOOP_SLOT_DISKIO);
	int r;

	if (ring)
		return ring;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return NULL;
	ring->loop = loop;
	ring->tail = &ring->head;
	ring->flush.fn = on_flush;
	loop_timer_init(&ring->retry, loop, on_retry);
	if (ring_wanted()) {
		r = ring_open(ring);
		ring->usable = !r;
		if (r)
			log_info("loop %s: no io_uring (%s), disk I/O uses threads", loop_name(loop),
				 err_text(r));
	}
	loop_slot_set(loop, LOOP_SLOT_DISKIO, ring, ring_destroy);
	return ring;
}

const char *
disk_engine(struct loop *loop)
{
	struct ring *ring = ring_of(loop);

	return ring && ring->usable ? "io_uring" : "threads";
}

void
disk_submit(struct disk_req *req)
{
	struct ring *ring;

	assert(loop_current() == req->loop);
	req->status = 0;
	req->moved = 0;
	req->phase = 0;
	req->scratch = NULL;
	if (op_transfers[req->op]) {
		req->length = 0;
		for (int i = 0; i < req->niov; i++)
			req->length += req->iov[i].iov_len;
	}
	ring = req->file->fd >= 0 ? ring_of(req->loop) : NULL;
	if (ring && ring->usable)
		enqueue(ring, req);
	else
		offload(req);
}
