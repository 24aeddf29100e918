/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw volumes, beside the data: the chunk map out of SEEK_DATA and SEEK_HOLE, resize, and what the file
 * occupies.
 *
 * Threads: *_run on the pool, the rest on the volume's loop.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "stores/raw/raw_int.h"

#define STAT_DELAY_MS 500u

int
raw_device_size(const struct raw *raw, uint64_t *ret)
{
	return ioctl(raw->file->fd, BLKGETSIZE64, ret) ? -errno : 0;
}

/* ---- chunk map ---- */

/* As lseek, but where holes are unknown everything is data.  -ENXIO: no more data. */
static int64_t
seek(const struct raw *raw, uint64_t offset, int whence, uint64_t size)
{
	int64_t rc = raw->file->vfs->ops->seek(raw->file, offset, whence);

	if (rc == -EINVAL || rc == -EOPNOTSUPP)
		return whence == SEEK_DATA ? (int64_t)offset : (int64_t)size;
	return rc;
}

/* Bytes of data in [from, end), which begins with data. */
static int64_t
data_bytes(const struct raw *raw, uint64_t from, uint64_t end, uint64_t size)
{
	int64_t sum = 0;

	while (from < end) {
		int64_t hole = seek(raw, from, SEEK_HOLE, size), data;

		if (hole < 0)
			return hole == -ENXIO ? sum : hole;
		sum += (int64_t)(min_of((uint64_t)hole, end) - from);
		if ((uint64_t)hole >= end)
			break;
		data = seek(raw, (uint64_t)hole, SEEK_DATA, size);
		if (data < 0)
			return data == -ENXIO ? sum : data;
		from = (uint64_t)data;
	}
	return sum;
}

static void
map_add(struct raw_op *op, uint64_t index, uint64_t bytes)
{
	struct chunk_info *info = &op->req->infos[op->req->ret_infos++];

	*info = (struct chunk_info){.index = index, .state = CHUNK_CLEAN, .allocated_bytes = bytes};
	(void)snprintf(info->key, sizeof(info->key), "%.160s@%llu", op->raw->path,
		       (unsigned long long)(index * op->raw->vol.chunk_size));
}

static int
map_walk(struct raw_op *op)
{
	struct raw *raw = op->raw;
	struct vol_req *req = op->req;
	uint64_t size = atomic_load(&raw->vol.size), chunk = raw->vol.chunk_size;
	uint64_t chunks = (size + chunk - 1) / chunk, c = req->first_chunk;
	uint64_t end = req->end_chunk ? min_of(req->end_chunk, chunks) : chunks;

	while (c < end && req->ret_infos < req->max_infos) {
		int64_t at = seek(raw, c * chunk, SEEK_DATA, size), bytes;

		if (at < 0 && at != -ENXIO)
			return (int)at;
		if (at < 0 || (uint64_t)at / chunk >= end) {
			c = end;
			break;
		}
		c = (uint64_t)at / chunk;
		bytes = data_bytes(raw, (uint64_t)at, min_of((c + 1) * chunk, size), size);
		if (bytes < 0)
			return (int)bytes;
		map_add(op, c++, (uint64_t)bytes);
	}
	req->ret_next_chunk = c < end ? c : UINT64_MAX;
	return 0;
}

static void
map_run(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);

	op->status = map_walk(op);
}

static void
work_done(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);

	raw_finish(op, op->status);
}

void
raw_map(struct raw_op *op)
{
	op->req->ret_infos = 0;
	op->work.run = map_run;
	op->work.done = work_done;
	loop_offload(op->raw->vol.loop, &op->work);
}

/* ---- resize ---- */

/* A file becomes that size; a device must have it by now. */
static int
resize_file(struct raw *raw, uint64_t from, uint64_t to)
{
	const struct vfs_ops *ops = raw->file->vfs->ops;
	uint64_t bytes;
	int rc = 0;

	if (to % raw->align)
		return -EINVAL;
	if (raw->device) {
		rc = raw_device_size(raw, &bytes);
		return rc ? rc : to > bytes ? -ENOSPC : 0;
	}
	/* what lies behind the end of a volume smaller than its file must not come to light */
	if (to > from)
		rc = ops->truncate(raw->file, from);
	if (!rc)
		rc = ops->truncate(raw->file, to);
	return rc ? rc : ops->fsync(raw->file, false);
}

static void
resize_run(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);

	op->status = resize_file(op->raw, atomic_load(&op->raw->vol.size), op->req->length);
}

static void
resize_done(struct loop_work *work)
{
	struct raw_op *op = container_of(work, struct raw_op, work);

	if (!op->status)
		atomic_store(&op->raw->vol.size, op->req->length);
	raw_stat_soon(op->raw);
	raw_finish(op, op->status);
}

void
raw_resize(struct raw_op *op)
{
	op->work.run = resize_run;
	op->work.done = resize_done;
	loop_offload(op->raw->vol.loop, &op->work);
}

/* ---- what it occupies ---- */

static void
stat_run(struct loop_work *work)
{
	struct raw *raw = container_of(work, struct raw, stat_work);

	/* a look that fails leaves the figure of the last one */
	(void)raw->file->vfs->ops->fstat(raw->file, &raw->stat);
}

static void
stat_done(struct loop_work *work)
{
	struct raw *raw = container_of(work, struct raw, stat_work);

	raw->stat_out = false;
	if (raw->stat_again)
		raw_stat_soon(raw);
	atomic_store(&raw->vol.allocated, raw->stat.blocks * 512);
	if (raw->closing)
		raw_try_close(raw);
}

static void
on_stat_timer(struct loop_timer *timer)
{
	struct raw *raw = container_of(timer, struct raw, stat_timer);

	raw->stat_out = true;
	raw->stat_again = false;
	loop_offload(raw->vol.loop, &raw->stat_work);
}

void
raw_stat_soon(struct raw *raw)
{
	raw->stat_again = true;
	if (!raw->device && !raw->stat_out && !raw->stat_timer.due_ms && !raw->closing)
		loop_timer_start(&raw->stat_timer, STAT_DELAY_MS);
}

void
raw_admin_init(struct raw *raw)
{
	loop_timer_init(&raw->stat_timer, raw->vol.loop, on_stat_timer);
	raw->stat_work.run = stat_run;
	raw->stat_work.done = stat_done;
}
