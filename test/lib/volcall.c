/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single requests of volmodel.h, with a flat buffer: one at a time, waited for.  Threads: the calling one sleeps. */
#include "test/lib/volmodel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "test/lib/simimage.h"

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
	rc = volume_call(&req);
	if (op == VOL_READ && !rc)
		copy_pages(pages, offset, length, buf, false);
	if (op != VOL_READ || !rc)
		pages_unref(pages, all);
	free(pages);
	return rc;
}
