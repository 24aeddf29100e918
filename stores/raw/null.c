/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The volume that reads as zeroes and swallows what is written: measures everything in front of a store.
 *
 * Thread: its loop.
 */
#include <stdlib.h>

#include "stores/raw/raw.h"

#define NULL_SIZE (1ull << 40)

static void
null_read(struct vol_req *req)
{
	for (unsigned i = 0; i < req->npages; i++)
		req->pages[i] = page_ref(arena_zero_page(req->vol->arena));
	volume_done(req, 0);
}

static void
null_nothing(struct vol_req *req)
{
	volume_done(req, 0);
}

static void
null_compare(struct vol_req *req)
{
	uint64_t low = req->offset & (PAGE_SIZE_BYTES - 1);

	for (uint64_t at = low; at < low + req->length; at++)
		if (req->pages[at >> PAGE_SHIFT]->data[at & (PAGE_SIZE_BYTES - 1)]) {
			req->err_offset = at - low;
			volume_done(req, LG_EMISCOMPARE);
			return;
		}
	volume_done(req, 0);
}

static void
null_map(struct vol_req *req)
{
	req->ret_infos = 0;
	req->ret_next_chunk = UINT64_MAX;
	volume_done(req, 0);
}

static void
null_resize(struct vol_req *req)
{
	atomic_store(&req->vol->size, req->length);
	volume_done(req, 0);
}

static void (*const calls[VOL_OP_COUNT])(struct vol_req *req) = {
	[VOL_READ] = null_read,        [VOL_WRITE] = null_nothing, [VOL_FLUSH] = null_nothing,
	[VOL_UNMAP] = null_nothing,    [VOL_ZERO] = null_nothing,  [VOL_COMPARE_WRITE] = null_compare,
	[VOL_OR_WRITE] = null_nothing, [VOL_MAP] = null_map,       [VOL_RESIZE] = null_resize,
};

static void
null_submit(struct vol_req *req)
{
	calls[req->op](req);
}

static void
null_close(struct volume *vol, void (*done)(void *arg, int status), void *arg)
{
	(void)vol;
	done(arg, 0);
}

static void
null_destroy(struct volume *vol)
{
	free(vol);
}

static const struct vol_ops null_ops = {
	.kind = "null",
	.submit = null_submit,
	.close = null_close,
	.destroy = null_destroy,
};

int
null_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info)
{
	(void)loop;
	(void)arena;
	return plain_spec_check(spec, info);
}

int
null_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
	  struct errinfo *info)
{
	struct volume *vol = calloc(1, sizeof(*vol));
	int rc;

	if (!vol)
		return err_set(info, -ENOMEM, "volume %s: no memory", spec->name);
	rc = plain_volume_init(vol, &null_ops, spec, spec->size ? spec->size : NULL_SIZE, loop, arena, info);
	if (rc) {
		free(vol);
		return rc;
	}
	vol->thin = true;
	*ret = vol;
	return 0;
}
