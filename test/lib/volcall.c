/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single requests of volmodel.h: one at a time, waited for.  Threads: the calling one sleeps. */
#include "test/lib/volmodel.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "test/lib/simimage.h"

struct call {
	struct vol_req req;
	struct loop_msg msg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool finished;
};

static void
call_done(struct vol_req *req)
{
	struct call *c = container_of(req, struct call, req);

	pthread_mutex_lock(&c->lock);
	c->finished = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static void
call_start(struct loop_msg *msg)
{
	volume_submit(&container_of(msg, struct call, msg)->req);
}

int
volmodel_call(struct vol_req *req)
{
	struct call c = {.req = *req, .msg.fn = call_start};

	assert(!loop_current());
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.cond, NULL);
	c.req.done = call_done;
	c.req.origin = NULL;
	loop_post(req->vol->loop, &c.msg);
	pthread_mutex_lock(&c.lock);
	while (!c.finished)
		pthread_cond_wait(&c.cond, &c.lock);
	pthread_mutex_unlock(&c.lock);
	pthread_cond_destroy(&c.cond);
	pthread_mutex_destroy(&c.lock);
	req->status = c.req.status;
	req->err_offset = c.req.err_offset;
	req->ret_infos = c.req.ret_infos;
	req->ret_next_chunk = c.req.ret_next_chunk;
	req->ret_cloned = c.req.ret_cloned;
	return req->status;
}

static void
copy_pages(struct page **pages, uint64_t offset, uint64_t length, uint8_t *buf, bool to_pages)
{
	while (length) {
		uint64_t in = offset & (PAGE_SIZE_BYTES - 1), k = min_of(length, PAGE_SIZE_BYTES - in);

		if (to_pages)
			memcpy((*pages)->data + in, buf, k);
		else
			memcpy(buf, (*pages)->data + in, k);
		pages++;
		buf += k;
		offset += k;
		length -= k;
	}
}

int
volmodel_io(struct volume *vol, enum vol_op op, uint32_t flags, uint64_t offset, uint64_t length, void *buf)
{
	unsigned n = volume_pages(offset, length), all = op == VOL_COMPARE_WRITE ? 2 * n : n;
	struct page **pages = sim_must(calloc(all + 1, sizeof(*pages)));
	struct vol_req req = {.vol = vol,
			      .op = op,
			      .flags = flags,
			      .offset = offset,
			      .length = length,
			      .pages = pages,
			      .npages = n};
	int rc = 0;

	if (op != VOL_READ) {
		rc = arena_alloc(vol->arena, pages, all);
		assert(!rc);
		copy_pages(pages, offset, length, buf, true);
		if (all > n)
			copy_pages(pages + n, offset, length, (uint8_t *)buf + length, true);
	}
	rc = volmodel_call(&req);
	if (op == VOL_READ && !rc)
		copy_pages(pages, offset, length, buf, false);
	if (op != VOL_READ || !rc)
		pages_unref(pages, all);
	free(pages);
	return rc;
}
