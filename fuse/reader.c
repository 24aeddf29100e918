/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: take requests from /dev/fuse and hand them to libfuse's decoder.
 *
 * Data of a write shall be copied once, from the writer's memory into the
 * pages that the volume will keep.  So a reader lays out for the kernel, in
 * this order: room for the two headers of a write; a tray of arena pages; plain
 * memory.  When a write comes and its data begins at a page boundary, the pages of the tray that it filled
 * are given to the volume as they are (reader_take) and replaced in the tray.  Any other request is small;
 * what of it lies in the tray is copied to its place behind the headers, so that libfuse sees one piece.
 * libfuse hands a write on by address (write_buf) and does not look at the data.
 *
 *     plain   [ headers | ....................... 1 MiB ......................... ]
 *     iov       headers   (the tray stands in for this part)   the rest of plain
 *
 * When the arena is short the tray stays small or empty and data goes through plain memory, to be put aside
 * by image.c until there are pages.  A reader takes no more requests while more than MOUNT_PARKED_MAX bytes
 * are put aside.
 *
 * States of a reader: waiting for a request or the end (epoll); handling.  The device does not block, so that
 * a reader that finds no request can wait for both. Failure: an error of the device that is not about one
 * request means that the mount is gone.
 */
#include "fuse/internal.h"

#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define HEADERS (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define PLAIN_SIZE (HEADERS + MOUNT_MAX_IO + 4096)

struct reader {
	struct mount *mount;
	pthread_t thread;
	int epoll;
	uint8_t *plain;
	unsigned ntray, tray_max;
	struct page *tray[MOUNT_IO_PAGES];
	int niov;
	struct iovec iov[MOUNT_IO_PAGES + 2];
};

static __thread struct reader *self;

static void
lay_out(struct reader *r)
{
	size_t covered = HEADERS + (size_t)r->ntray * PAGE_SIZE_BYTES;
	struct iovec *last = r->iov;

	*last = (struct iovec){r->plain, HEADERS};
	for (unsigned i = 0; i < r->ntray; i++) {
		if ((uint8_t *)last->iov_base + last->iov_len == r->tray[i]->data)
			last->iov_len += PAGE_SIZE_BYTES;
		else
			*++last = (struct iovec){r->tray[i]->data, PAGE_SIZE_BYTES};
	}
	*++last = (struct iovec){r->plain + covered, PLAIN_SIZE - covered};
	r->niov = (int)(last - r->iov) + 1;
}

static void
fill_tray(struct reader *r)
{
	unsigned missing = r->tray_max - r->ntray;

	if (!missing || arena_alloc(r->mount->arena, r->tray + r->ntray, missing))
		return;
	r->ntray += missing;
	r->niov = 0;
}

bool
reader_take(unsigned n, struct page **pages)
{
	struct reader *r = self;

	if (n > r->ntray)
		return false;
	memcpy(pages, r->tray, n * sizeof(*pages));
	r->ntray -= n;
	memmove(r->tray, r->tray + n, r->ntray * sizeof(*pages));
	r->niov = 0;
	return true;
}

void
reader_copy(uint8_t *to, size_t offset, size_t n)
{
	struct reader *r = self;

	while (n) {
		size_t page = offset / PAGE_SIZE_BYTES, at = offset % PAGE_SIZE_BYTES, part = n;

		if (page < r->ntray) {
			part = min_of(part, PAGE_SIZE_BYTES - at);
			memcpy(to, r->tray[page]->data + at, part);
		} else {
			memcpy(to, r->plain + HEADERS + offset, part);
		}
		to += part;
		offset += part;
		n -= part;
	}
}

static void
handle_request(struct reader *r, size_t len)
{
	const struct fuse_in_header *in = (const struct fuse_in_header *)(const void *)r->plain;
	struct fuse_buf buf = {.mem = r->plain, .size = len};
	size_t in_tray;

	if (len > HEADERS && in->opcode != FUSE_WRITE) {
		in_tray = min_of(len - HEADERS, (size_t)r->ntray * PAGE_SIZE_BYTES);
		reader_copy(r->plain + HEADERS, 0, in_tray);
	}
	fuse_session_process_buf(r->mount->se, &buf);
}

static void
mount_lost(struct mount *mount, int err)
{
	if (atomic_load(&mount->stopping) || atomic_exchange(&mount->lost, true))
		return;
	fuse_session_exit(mount->se);
	log_warn("mount: %s is gone (%s); volumes and targets go on without it", mount->path, err_text(err));
	if (mount->provider.lost)
		mount->provider.lost(mount->provider.arg, err);
}

static void
hold_back(struct mount *mount)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	while (atomic_load_explicit(&mount->parked, memory_order_relaxed) > MOUNT_PARKED_MAX &&
	       !atomic_load(&mount->stopping))
		nanosleep(&ms, NULL);
}

/* One request, or 0 when there is none. */
static ssize_t
receive(struct reader *r)
{
	ssize_t n;

	fill_tray(r);
	if (!r->niov)
		lay_out(r);
	n = readv(fuse_session_fd(r->mount->se), r->iov, r->niov);
	if (n >= (ssize_t)sizeof(struct fuse_in_header))
		return n;
	if (n >= 0)
		return LG_EPROTO;
	/* ENOENT: the request was interrupted before we had it */
	return errno == EINTR || errno == EAGAIN || errno == ENOENT ? 0 : -errno;
}

static void *
reader_main(void *arg)
{
	struct reader *r = arg;
	struct mount *mount = r->mount;
	struct epoll_event event;
	ssize_t n;

	self = r;
	while (!atomic_load(&mount->stopping) && !fuse_session_exited(mount->se)) {
		hold_back(mount);
		n = receive(r);
		if (n > 0) {
			handle_request(r, (size_t)n);
		} else if (n < 0) {
			mount_lost(mount, (int)n);
			break;
		} else if (epoll_wait(r->epoll, &event, 1, -1) < 0 && errno != EINTR) {
			mount_lost(mount, -errno);
			break;
		}
	}
	if (fuse_session_exited(mount->se))
		mount_lost(mount, LG_EPROTO);
	return NULL;
}

/* EPOLLEXCLUSIVE: a request wakes one reader. */
static int
watch(struct reader *r)
{
	struct epoll_event request = {.events = EPOLLIN | EPOLLEXCLUSIVE}, stop = {.events = EPOLLIN};

	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll < 0 || epoll_ctl(r->epoll, EPOLL_CTL_ADD, fuse_session_fd(r->mount->se), &request) ||
	    epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->mount->stop_event, &stop))
		return -errno;
	return 0;
}

static void
reader_free(struct reader *r)
{
	pages_unref(r->tray, r->ntray);
	if (r->epoll >= 0)
		close(r->epoll);
	free(r->plain);
	free(r);
}

int
mount_reader_start(struct mount *mount, unsigned index)
{
	struct reader *r = calloc(1, sizeof(*r));
	int rc = -ENOMEM;
	char name[16];

	if (!r)
		return rc;
	r->mount = mount;
	r->epoll = -1;
	r->tray_max = mount->max_io / PAGE_SIZE_BYTES;
	r->plain = malloc(PLAIN_SIZE);
	snprintf(name, sizeof(name), "fuse-%u", index);
	if (r->plain)
		rc = watch(r);
	if (!rc)
		rc = mount_thread(&r->thread, reader_main, r, name);
	if (rc)
		reader_free(r);
	else
		mount->readers[index] = r;
	return rc;
}

void
reader_stop(struct mount *mount, unsigned index)
{
	struct reader *r = mount->readers[index];

	if (!r)
		return;
	pthread_join(r->thread, NULL);
	reader_free(r);
	mount->readers[index] = NULL;
}
