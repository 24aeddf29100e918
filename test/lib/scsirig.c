/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/scsirig.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "gateway/scsi/scsi_impl.h"

/* -- the disk ------------------------------------------------------------ */

static struct disk *
disk_of(struct volume *vol)
{
	return container_of(vol, struct disk, vol);
}

/* n bytes between the pages of a request and memory. */
static void
copy_pages(struct page **pages, uint64_t offset, uint64_t length, uint8_t *to, const uint8_t *from)
{
	uint64_t first = offset >> PAGE_SHIFT;

	for (uint64_t pos = offset, end = offset + length; pos < end;) {
		size_t in_page = pos % PAGE_SIZE_BYTES, n = min_of(PAGE_SIZE_BYTES - in_page, end - pos);
		uint8_t *data = pages[(pos >> PAGE_SHIFT) - first]->data + in_page;

		if (to)
			memcpy(to + (pos - offset), data, n);
		else
			memcpy(data, from + (pos - offset), n);
		pos += n;
	}
}

static int
disk_read(struct disk *disk, struct vol_req *req)
{
	if (arena_alloc(disk->vol.arena, req->pages, req->npages))
		return -ENOMEM;
	for (unsigned i = 0; i < req->npages; i++)
		memset(req->pages[i]->data, 0xee, PAGE_SIZE_BYTES); /* outside the range: undefined */
	copy_pages(req->pages, req->offset, req->length, NULL, disk->bytes + req->offset);
	return 0;
}

static void
mark_present(struct disk *disk, const struct vol_req *req, bool present)
{
	uint32_t size = disk->vol.chunk_size;

	for (uint64_t c = req->offset / size; c * size < req->offset + req->length; c++)
		if (present || (c * size >= req->offset && (c + 1) * size <= req->offset + req->length))
			disk->present[c] = present;
}

static int
disk_compare_write(struct disk *disk, struct vol_req *req)
{
	uint8_t *data = malloc(req->length);
	const uint8_t *now = disk->bytes + req->offset;
	uint64_t i = 0;
	int rc = 0;

	assert(data);
	copy_pages(req->pages, req->offset, req->length, data, NULL);
	while (i < req->length && data[i] == now[i])
		i++;
	if (i < req->length) {
		req->err_offset = i;
		rc = LG_EMISCOMPARE;
	} else {
		copy_pages(req->pages + req->npages, req->offset, req->length, disk->bytes + req->offset,
			   NULL);
	}
	free(data);
	return rc;
}

static int
disk_or_write(struct disk *disk, struct vol_req *req)
{
	uint8_t *data = malloc(req->length);

	assert(data);
	copy_pages(req->pages, req->offset, req->length, data, NULL);
	bytes_or(disk->bytes + req->offset, data, req->length);
	free(data);
	return 0;
}

static int
disk_map(struct disk *disk, struct vol_req *req)
{
	uint64_t n = disk->vol.size / disk->vol.chunk_size, c;

	for (c = req->first_chunk; c < n && req->ret_infos < req->max_infos; c++)
		if (disk->present[c])
			req->infos[req->ret_infos++] = (struct chunk_info){.index = c, .state = CHUNK_CLEAN};
	req->ret_next_chunk = c < n ? c : UINT64_MAX;
	return 0;
}

static struct disk_attribute *
find_attribute(struct disk *disk, const char *key)
{
	for (unsigned i = 0; i < ARRAY_SIZE(disk->attributes); i++)
		if (disk->attributes[i].value && !strcmp(disk->attributes[i].key, key))
			return &disk->attributes[i];
	return NULL;
}

const char *
disk_attribute(struct disk *disk, const char *key)
{
	struct disk_attribute *attribute = find_attribute(disk, key);

	return attribute ? attribute->value : NULL;
}

static int
disk_get_attribute(struct disk *disk, struct vol_req *req)
{
	struct disk_attribute *attribute = find_attribute(disk, req->key);

	if (!attribute)
		return 0;
	req->value = malloc(attribute->len);
	assert(req->value);
	memcpy(req->value, attribute->value, attribute->len);
	req->value_len = attribute->len;
	return 0;
}

static int
disk_put_attribute(struct disk *disk, const struct vol_req *req)
{
	struct disk_attribute *attribute = find_attribute(disk, req->key);

	if (attribute) {
		free(attribute->value);
		attribute->value = NULL;
	}
	if (!req->value_len)
		return 0;
	attribute = disk->attributes;
	while (attribute->value)
		attribute++;
	assert(attribute < disk->attributes + ARRAY_SIZE(disk->attributes));
	(void)snprintf(attribute->key, sizeof(attribute->key), "%s", req->key);
	attribute->value = calloc(1, req->value_len + 1); /* a text */
	assert(attribute->value);
	memcpy(attribute->value, req->value, req->value_len);
	attribute->len = req->value_len;
	return 0;
}

static int
disk_clone(struct disk *disk, struct vol_req *req)
{
	uint32_t size = disk->vol.chunk_size;

	while (req->ret_cloned < req->length) {
		uint64_t from = req->source + req->ret_cloned, to = req->offset + req->ret_cloned;

		if ((from | to | req->length) % size || !disk->present[from / size] ||
		    disk->unclonable >> from / size & 1)
			break;
		memcpy(disk->bytes + to, disk->bytes + from, size);
		disk->present[to / size] = true;
		req->ret_cloned += size;
	}
	return 0;
}

static int
disk_execute(struct disk *disk, struct vol_req *req)
{
	switch (req->op) {
	case VOL_READ:
		return disk_read(disk, req);
	case VOL_WRITE:
		copy_pages(req->pages, req->offset, req->length, disk->bytes + req->offset, NULL);
		mark_present(disk, req, true);
		return 0;
	case VOL_UNMAP:
	case VOL_ZERO:
		memset(disk->bytes + req->offset, 0, req->length);
		mark_present(disk, req, false);
		return 0;
	case VOL_COMPARE_WRITE:
		mark_present(disk, req, true);
		return disk_compare_write(disk, req);
	case VOL_OR_WRITE:
		mark_present(disk, req, true);
		return disk_or_write(disk, req);
	case VOL_CLONE:
		return disk_clone(disk, req);
	case VOL_MAP:
		return disk_map(disk, req);
	case VOL_FLUSH:
		return 0;
	case VOL_GET_ATTRIBUTE:
		return disk_get_attribute(disk, req);
	case VOL_PUT_ATTRIBUTE:
		return disk_put_attribute(disk, req);
	default:
		return -ENOTSUP;
	}
}

static void
disk_finish(struct disk *disk, struct vol_req *req)
{
	int fail = disk->fail;

	disk->seen[req->op]++;
	disk->fua[req->op] += !!(req->flags & VOL_FUA);
	disk->atomic += !!(req->flags & VOL_ATOMIC);
	if (fail && disk->fail_op == (int)req->op) {
		req->err_offset = disk->fail_offset;
		volume_done(req, fail);
		return;
	}
	volume_done(req, disk_execute(disk, req));
}

static void
finish_later(struct loop_msg *msg)
{
	struct vol_req *req = container_of(msg, struct vol_req, msg);

	disk_finish(disk_of(req->vol), req);
}

static void
disk_submit(struct vol_req *req)
{
	struct disk *disk = disk_of(req->vol);

	if (disk->hold && disk->hold_op == (int)req->op) {
		req->next = disk->queue;
		disk->queue = req;
		pthread_mutex_lock(&disk->lock);
		disk->held++;
		pthread_cond_broadcast(&disk->cond);
		pthread_mutex_unlock(&disk->lock);
	} else if (disk->later) {
		req->msg.fn = finish_later;
		loop_post(disk->vol.loop, &req->msg);
	} else {
		disk_finish(disk, req);
	}
}

static int
disk_let_go(void *arg)
{
	struct disk *disk = arg;

	while (disk->queue) {
		struct vol_req *req = disk->queue;

		disk->queue = req->next;
		disk->held--;
		disk_finish(disk, req);
	}
	return 0;
}

void
disk_hold(struct disk *disk, enum vol_op op)
{
	disk->hold_op = (int)op;
	disk->hold = true;
}

void
disk_wait_held(struct disk *disk, unsigned n)
{
	pthread_mutex_lock(&disk->lock);
	while (disk->held < n)
		pthread_cond_wait(&disk->cond, &disk->lock);
	pthread_mutex_unlock(&disk->lock);
}

struct let_go {
	struct disk *disk;
	enum vol_op op;
};

static int
disk_let_go_op(void *arg)
{
	struct let_go *let_go = arg;
	struct disk *disk = let_go->disk;

	for (struct vol_req **p = &disk->queue; *p;) {
		struct vol_req *req = *p;

		if (req->op != let_go->op) {
			p = &req->next;
			continue;
		}
		*p = req->next;
		disk->held--;
		disk_finish(disk, req);
		p = &disk->queue;
	}
	return 0;
}

void
disk_release_op(struct disk *disk, enum vol_op op)
{
	struct let_go let_go = {disk, op};

	(void)loop_call(disk->vol.loop, disk_let_go_op, &let_go);
}

void
disk_release(struct disk *disk)
{
	disk->hold = false;
	(void)loop_call(disk->vol.loop, disk_let_go, disk);
}

static const struct vol_ops disk_ops = {.kind = "ram", .submit = disk_submit};

struct disk *
disk_new(const char *name, const struct rig_options *options, struct loop *loop, struct arena *arena)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	uint64_t size = options->size ? options->size : 8u << 20;

	assert(disk);
	disk->vol.ops = &disk_ops;
	(void)snprintf(disk->vol.name, sizeof(disk->vol.name), "%s", name);
	for (unsigned i = 0; i < UUID_LEN; i++)
		disk->vol.uuid[i] = disk->vol.naa[i] = (uint8_t)(0x60 + i);
	(void)snprintf(disk->vol.serial, sizeof(disk->vol.serial), "0123456789abcdef");
	disk->vol.block_size = options->block_size ? options->block_size : 512;
	disk->vol.chunk_size = 1u << 20;
	disk->vol.atomic_max_bytes = 64u << 10;
	disk->vol.read_only = options->read_only;
	disk->vol.write_cache = options->write_cache;
	disk->vol.thin = !options->thick;
	disk->vol.loop = loop;
	disk->vol.arena = arena;
	disk->vol.size = size;
	disk->bytes = calloc(1, size);
	disk->present = calloc(size / disk->vol.chunk_size + 1, sizeof(bool));
	assert(disk->bytes && disk->present);
	pthread_mutex_init(&disk->lock, NULL);
	pthread_cond_init(&disk->cond, NULL);
	return disk;
}

void
disk_free(struct disk *disk)
{
	assert(disk->vol.refs == 0);
	pthread_mutex_destroy(&disk->lock);
	pthread_cond_destroy(&disk->cond);
	for (unsigned i = 0; i < ARRAY_SIZE(disk->attributes); i++)
		free(disk->attributes[i].value);
	free(disk->present);
	free(disk->bytes);
	free(disk);
}

/* -- the rig ------------------------------------------------------------- */

static int
nexus_new(void *arg)
{
	static const uint8_t isid[6] = {0x80, 1, 2, 3, 4, 5};
	struct rig *rig = arg;
	int rc = 0;

	for (unsigned i = 0; i < 2 && !rc; i++)
		rc = scsi_nexus_new(rig->target, i ? "iqn.2026-01.test:b" : "iqn.2026-01.test:a", isid, 1,
				    &rig->nexus[i]);
	return rc;
}

static void
target_init(struct rig *rig, struct volume *vol)
{
	int rc = scsi_target_new("iqn.2026-01.test:target", &rig->target);

	if (!rc && vol)
		rc = scsi_target_map(rig->target, 0, vol, NULL);
	if (!rc)
		rc = loop_call(rig->front, nexus_new, rig);
	assert(!rc);
}

void
rig_init(struct rig *rig, const struct rig_options *options)
{
	int rc;

	*rig = (struct rig){0};
	rc = loop_new("home", 0, &rig->home);
	rc |= loop_start(rig->home);
	rig->front = rig->home;
	if (options->two_loops) {
		rc |= loop_new("front", 1, &rig->front);
		rc |= loop_start(rig->front);
	}
	rc |= arena_new(options->arena ? options->arena : 64u << 20, &rig->arena);
	assert(!rc);
	assert(!rc);
	rig->disk = disk_new("disk", options, rig->home, rig->arena);
	target_init(rig, options->no_lun ? NULL : &rig->disk->vol);
}

void
rig_init_around(struct rig *rig, struct volume *vol)
{
	*rig = (struct rig){.home = vol->loop, .front = vol->loop, .arena = vol->arena};
	target_init(rig, vol);
}

struct freeing {
	struct loop_msg msg;
	struct scsi_nexus *nexus;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void
nexus_freed(void *arg)
{
	struct freeing *freeing = arg;

	pthread_mutex_lock(&freeing->lock);
	freeing->done = true;
	pthread_cond_signal(&freeing->cond);
	pthread_mutex_unlock(&freeing->lock);
}

static void
nexus_free(struct loop_msg *msg)
{
	struct freeing *freeing = container_of(msg, struct freeing, msg);

	scsi_nexus_free(freeing->nexus, nexus_freed, freeing);
}

void
rig_nexus_free(struct rig *rig, unsigned nexus)
{
	struct freeing freeing = {.msg.fn = nexus_free,
				  .nexus = rig->nexus[nexus],
				  .lock = PTHREAD_MUTEX_INITIALIZER,
				  .cond = PTHREAD_COND_INITIALIZER};

	loop_post(rig->front, &freeing.msg);
	pthread_mutex_lock(&freeing.lock);
	while (!freeing.done)
		pthread_cond_wait(&freeing.cond, &freeing.lock);
	pthread_mutex_unlock(&freeing.lock);
	rig->nexus[nexus] = NULL;
}

void
rig_fini_around(struct rig *rig)
{
	for (unsigned i = 0; i < 2; i++)
		if (rig->nexus[i])
			rig_nexus_free(rig, i);
	scsi_target_free(rig->target);
}

void
rig_fini(struct rig *rig)
{
	rig_fini_around(rig);
	if (rig->front != rig->home)
		loop_free(rig->front);
	loop_free(rig->home);
	disk_free(rig->disk);
	arena_free(rig->arena);
}

void
rig_clear_attentions(struct rig *rig)
{
	static const uint8_t ready[6];
	struct cmd cmd;

	for (unsigned i = 0; i < 2; i++) {
		unsigned tries = 0;

		do {
			cmd_init(&cmd, rig, i, ready, sizeof(ready));
			assert(tries++ < 10);
		} while (cmd_do(&cmd) == SCSI_CHECK_CONDITION && cmd_sense(&cmd) >> 16 == 6);
	}
}

static int
nothing(void *arg)
{
	(void)arg;
	return 0;
}

void
rig_settle(struct rig *rig)
{
	for (unsigned i = 0; i < 4; i++) {
		(void)loop_call(rig->front, nothing, NULL);
		(void)loop_call(rig->home, nothing, NULL);
	}
}

/* -- commands ------------------------------------------------------------ */

static void
cmd_signal(struct cmd *cmd, bool *flag)
{
	pthread_mutex_lock(&cmd->lock);
	*flag = true;
	pthread_cond_broadcast(&cmd->cond);
	pthread_mutex_unlock(&cmd->lock);
}

static void
cmd_await(struct cmd *cmd, const bool *flag)
{
	pthread_mutex_lock(&cmd->lock);
	while (!*flag)
		pthread_cond_wait(&cmd->cond, &cmd->lock);
	pthread_mutex_unlock(&cmd->lock);
}

static void
cmd_done(struct scsi_task *task)
{
	struct cmd *cmd = container_of(task, struct cmd, task);
	uint32_t n = min_of(task->in_len, task->in_room);

	assert(loop_current() == task->loop);
	if (task->inline_in) {
		assert(task->in_len <= SCSI_INLINE_MAX);
		if (cmd->in)
			memcpy(cmd->in, task->inline_buf, n);
	} else if (n && cmd->in) {
		copy_pages(task->pages, task->page_off, n, cmd->in, NULL);
	}
	scsi_task_release(task);
	cmd_signal(cmd, &cmd->done);
}

static void
cmd_begin_msg(struct loop_msg *msg)
{
	struct cmd *cmd = container_of(msg, struct cmd, msg);
	struct scsi_task *task = &cmd->task;
	bool stop = cmd->stop_after_start;
	uint32_t n;

	cmd->start_rc = scsi_task_start(task);
	if (cmd->start_rc < 0) {
		cmd_signal(cmd, &cmd->began);
		return;
	}
	n = min_of(task->out_len, task->out_room);
	if (n && cmd->out)
		copy_pages(task->pages, task->page_off, n, NULL, cmd->out);
	if (stop)
		cmd_signal(cmd, &cmd->began);
	else
		scsi_task_run(task);
}

static void
cmd_run_msg(struct loop_msg *msg)
{
	struct cmd *cmd = container_of(msg, struct cmd, msg);

	scsi_task_run(&cmd->task);
}

void
cmd_init(struct cmd *cmd, struct rig *rig, unsigned nexus, const uint8_t *cdb, unsigned len)
{
	memset(cmd, 0, sizeof(*cmd));
	/* what the transport does not set may be anything */
	memset(&cmd->task, 0xa5, sizeof(cmd->task));
	memset(cmd->task.lun, 0, sizeof(cmd->task.lun));
	memset(cmd->task.cdb, 0, sizeof(cmd->task.cdb));
	cmd->rig = rig;
	cmd->task.nexus = rig->nexus[nexus];
	memcpy(cmd->task.cdb, cdb, len);
	cmd->task.cdb_len = max_of(len, 16u);
	cmd->task.attr = SCSI_ATTR_SIMPLE;
	cmd->task.in_room = cmd->task.out_room = 0;
	cmd->task.tag = 0;
	cmd->task.done = cmd_done;
	pthread_mutex_init(&cmd->lock, NULL);
	pthread_cond_init(&cmd->cond, NULL);
}

void
cmd_begin(struct cmd *cmd)
{
	cmd->msg.fn = cmd_begin_msg;
	loop_post(cmd->rig->front, &cmd->msg);
	if (cmd->stop_after_start)
		cmd_await(cmd, &cmd->began);
}

void
cmd_run(struct cmd *cmd)
{
	cmd->msg.fn = cmd_run_msg;
	loop_post(cmd->rig->front, &cmd->msg);
}

void
cmd_wait(struct cmd *cmd)
{
	cmd_await(cmd, &cmd->done);
}

bool
cmd_is_done(struct cmd *cmd)
{
	bool done;

	pthread_mutex_lock(&cmd->lock);
	done = cmd->done;
	pthread_mutex_unlock(&cmd->lock);
	return done;
}

enum scsi_status
cmd_do(struct cmd *cmd)
{
	cmd_begin(cmd);
	cmd_wait(cmd);
	return cmd->task.status;
}

uint32_t
cmd_sense(const struct cmd *cmd)
{
	const uint8_t *s = cmd->task.sense;

	if (cmd->task.sense_len < 8)
		return 0;
	if ((s[0] & 0x7f) == 0x72)
		return (uint32_t)(s[1] & 0xf) << 16 | get_be16(s + 2);
	return (uint32_t)(s[2] & 0xf) << 16 | get_be16(s + 12);
}

/* -- task management ----------------------------------------------------- */

static void
tmf_done(struct scsi_tmf_req *req)
{
	struct tmf *tmf = container_of(req, struct tmf, req);

	assert(loop_current() == req->loop);
	pthread_mutex_lock(&tmf->lock);
	tmf->done = true;
	pthread_cond_signal(&tmf->cond);
	pthread_mutex_unlock(&tmf->lock);
}

static void
tmf_submit(struct loop_msg *msg)
{
	struct tmf *tmf = container_of(msg, struct tmf, msg);

	scsi_tmf_submit(&tmf->req);
}

void
tmf_begin(struct tmf *tmf, struct rig *rig, unsigned nexus, enum scsi_tmf function, unsigned lun,
	  uint64_t tag)
{
	memset(tmf, 0, sizeof(*tmf));
	pthread_mutex_init(&tmf->lock, NULL);
	pthread_cond_init(&tmf->cond, NULL);
	tmf->req.nexus = rig->nexus[nexus];
	tmf->req.function = function;
	tmf->req.lun[1] = (uint8_t)lun;
	tmf->req.tag = tag;
	tmf->req.done = tmf_done;
	tmf->msg.fn = tmf_submit;
	loop_post(rig->front, &tmf->msg);
}

bool
tmf_is_done(struct tmf *tmf)
{
	bool done;

	pthread_mutex_lock(&tmf->lock);
	done = tmf->done;
	pthread_mutex_unlock(&tmf->lock);
	return done;
}

enum scsi_tmf_result
tmf_wait(struct tmf *tmf)
{
	pthread_mutex_lock(&tmf->lock);
	while (!tmf->done)
		pthread_cond_wait(&tmf->cond, &tmf->lock);
	pthread_mutex_unlock(&tmf->lock);
	return tmf->req.result;
}

enum scsi_tmf_result
rig_tmf(struct rig *rig, unsigned nexus, enum scsi_tmf function, unsigned lun, uint64_t tag)
{
	struct tmf tmf;

	tmf_begin(&tmf, rig, nexus, function, lun, tag);
	return tmf_wait(&tmf);
}
