/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/fakevol.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fakevol *
fake_of(struct volume *vol)
{
	return container_of(vol, struct fakevol, vol);
}

static void
put_page(struct fakevol *fake, uint64_t index, struct page *page)
{
	if (fake->pages[index]) {
		page_unref(fake->pages[index]);
		fake->vol.allocated -= PAGE_SIZE_BYTES;
	}
	fake->pages[index] = page;
	if (page)
		fake->vol.allocated += PAGE_SIZE_BYTES;
}

/* Part of a page: into a new one, because a page with other references is immutable. */
static int
change_part(struct fakevol *fake, uint64_t index, size_t at, size_t n, const uint8_t *from)
{
	struct page *page;

	if (!fake->pages[index] && !from)
		return 0;
	if (arena_alloc(fake->vol.arena, &page, 1))
		return -ENOMEM;
	if (fake->pages[index])
		memcpy(page->data, fake->pages[index]->data, PAGE_SIZE_BYTES);
	else
		memset(page->data, 0, PAGE_SIZE_BYTES);
	if (from)
		memcpy(page->data + at, from, n);
	else
		memset(page->data + at, 0, n);
	put_page(fake, index, page);
	return 0;
}

/* pages NULL: zeroes */
static int
change(struct fakevol *fake, uint64_t offset, uint64_t length, struct page **pages)
{
	uint64_t first = offset >> PAGE_SHIFT;
	int rc = 0;

	if (fake->every)
		return 0;
	for (uint64_t pos = offset, end = offset + length; pos < end && !rc;) {
		uint64_t index = pos >> PAGE_SHIFT;
		size_t at = pos % PAGE_SIZE_BYTES, n = min_of(PAGE_SIZE_BYTES - at, end - pos);

		if (n < PAGE_SIZE_BYTES)
			rc = change_part(fake, index, at, n, pages ? pages[index - first]->data + at : NULL);
		else
			put_page(fake, index, pages ? page_ref(pages[index - first]) : NULL);
		pos += n;
	}
	return rc;
}

static int
read_pages(struct fakevol *fake, struct vol_req *req)
{
	uint64_t first = req->offset >> PAGE_SHIFT;

	for (unsigned i = 0; i < req->npages; i++) {
		struct page *page = fake->every ? NULL : fake->pages[first + i];

		req->pages[i] = page_ref(page ? page : arena_zero_page(fake->vol.arena));
	}
	return 0;
}

static int
compare_write(struct fakevol *fake, struct vol_req *req)
{
	assert(req->npages == 1);
	struct page *page = fake->pages[req->offset >> PAGE_SHIFT];
	const uint8_t *now = (page ? page : arena_zero_page(fake->vol.arena))->data;
	size_t at = req->offset % PAGE_SIZE_BYTES;

	if (memcmp(now + at, req->pages[0]->data + at, req->length) != 0)
		return LG_EMISCOMPARE;
	return change(fake, req->offset, req->length, req->pages + 1);
}

static bool
chunk_present(struct fakevol *fake, uint64_t index)
{
	uint64_t n = fake->vol.chunk_size >> PAGE_SHIFT, end = fake->vol.size >> PAGE_SHIFT;

	if (fake->every)
		return index % fake->every == 0;
	for (uint64_t p = index * n; p < min_of(index * n + n, end); p++)
		if (fake->pages[p])
			return true;
	return false;
}

static void
describe_chunk(struct fakevol *fake, uint64_t index, struct chunk_info *info)
{
	*info = (struct chunk_info){.index = index, .state = CHUNK_CLEAN, .generation = 7, .seq = index + 1};
	info->allocated_bytes = fake->vol.chunk_size;
	info->has_crc = true;
	info->crc32c = 0x1234abcd;
	snprintf(info->key, sizeof(info->key), "c/%08llx", (unsigned long long)index);
}

/* One query looks at so many chunks at most: a real map may also answer with nothing yet. */
#define LOOKS 100000u

static int
map(struct fakevol *fake, struct vol_req *req)
{
	uint64_t count = (fake->vol.size + fake->vol.chunk_size - 1) / fake->vol.chunk_size;
	uint64_t end = req->end_chunk ? min_of(req->end_chunk, count) : count, i;
	unsigned looks = 0;

	for (i = req->first_chunk; i < end && req->ret_infos < req->max_infos && looks < LOOKS; i++, looks++)
		if (chunk_present(fake, i))
			describe_chunk(fake, i, &req->infos[req->ret_infos++]);
	req->ret_next_chunk = i < end ? i : UINT64_MAX;
	return 0;
}

static int
execute(struct fakevol *fake, struct vol_req *req)
{
	switch (req->op) {
	case VOL_READ:
		return read_pages(fake, req);
	case VOL_WRITE:
		return change(fake, req->offset, req->length, req->pages);
	case VOL_UNMAP:
	case VOL_ZERO:
		return change(fake, req->offset, req->length, NULL);
	case VOL_COMPARE_WRITE:
		return compare_write(fake, req);
	case VOL_MAP:
		return map(fake, req);
	case VOL_FLUSH:
		return 0;
	default:
		return -ENOTSUP;
	}
}

static void
submit(struct vol_req *req)
{
	struct fakevol *fake = fake_of(req->vol);
	void (*hook)(struct fakevol *) = fake->hook;

	if (fake->hold && fake->hold_op == (int)req->op) {
		req->next = NULL;
		*fake->queue_end = req;
		fake->queue_end = &req->next;
		fake->held++;
		return;
	}
	fake->seen[req->op]++;
	if (req->flags & VOL_FUA)
		fake->fua++;
	if (hook && fake->hook_op == (int)req->op) {
		fake->hook = NULL;
		hook(fake);
	}
	if (fake->fail && fake->fail_op == (int)req->op)
		volume_done(req, fake->fail);
	else
		volume_done(req, execute(fake, req));
}

static void
release(struct loop_msg *msg)
{
	struct fakevol *fake = container_of(msg, struct fakevol, release);
	struct vol_req *req = fake->queue;

	fake->queue = NULL;
	fake->queue_end = &fake->queue;
	fake->held = 0;
	while (req) {
		struct vol_req *next = req->next;

		submit(req);
		req = next;
	}
}

void
fakevol_release(struct fakevol *fake)
{
	fake->hold = false;
	loop_post(fake->vol.loop, &fake->release);
}

void
fakevol_poke(struct fakevol *fake, uint64_t offset, uint8_t byte)
{
	int rc = change_part(fake, offset >> PAGE_SHIFT, offset % PAGE_SIZE_BYTES, 1, &byte);

	assert(!rc);
	(void)rc;
}

static const struct vol_ops fake_ops = {.kind = "fake", .submit = submit};

struct fakevol *
fakevol_new(const char *name, uint64_t size, uint32_t block_size, uint32_t chunk_size, struct loop *loop,
	    struct arena *arena)
{
	struct fakevol *fake = calloc(1, sizeof(*fake));

	assert(fake);
	fake->vol.ops = &fake_ops;
	snprintf(fake->vol.name, sizeof(fake->vol.name), "%s", name);
	uuid_make(fake->vol.uuid);
	snprintf(fake->vol.store, sizeof(fake->vol.store), "fake:");
	fake->vol.block_size = block_size;
	fake->vol.chunk_size = chunk_size;
	fake->vol.write_cache = true;
	fake->vol.thin = true;
	fake->vol.loop = loop;
	fake->vol.arena = arena;
	fake->vol.size = size;
	fake->queue_end = &fake->queue;
	fake->release.fn = release;
	/* a huge one is for its map alone */
	fake->every = size > UINT64_C(1) << 40;
	if (!fake->every) {
		fake->pages = calloc(size >> PAGE_SHIFT, sizeof(struct page *));
		assert(fake->pages);
	}
	return fake;
}

void
fakevol_free(struct fakevol *fake)
{
	for (uint64_t i = 0; fake->pages && i < fake->vol.size >> PAGE_SHIFT; i++)
		put_page(fake, i, NULL);
	free(fake->pages);
	free(fake);
}
