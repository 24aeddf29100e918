/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VOL_MAP: which chunks are there, and what is known of them.
 *
 * Walks leaf by leaf: a leaf that the root says is all absent and that has nothing dirty is skipped in one
 * step, others are loaded when they are not in memory.  Works in slices and lets the loop go on in between;
 * what changes meanwhile is seen or not, but every chunk once and in order.
 *
 * A chunk whose contents were trimmed is absent for its readers although its base is deleted only after the
 * next commit.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_CHUNKS 4096u
#define SLICE_INFOS 128u

struct query {
	struct engine *eng;
	struct vol_req *req;
	uint64_t at, end;
	struct leaf_wait leaf;
	struct loop_msg msg;
};

static void query_run(struct query *q);

static void
query_end(struct query *q, int status)
{
	struct vol_req *req = q->req;
	struct engine *eng = q->eng;

	req->ret_next_chunk = q->at >= engine_chunks(eng) ? UINT64_MAX : q->at;
	free(q);
	engine_request_done(eng, req, status);
}

static void
query_leaf(struct leaf_wait *wait, int status)
{
	struct query *q = container_of(wait, struct query, leaf);

	if (status < 0)
		query_end(q, status);
	else
		query_run(q);
}

static void
query_posted(struct loop_msg *msg)
{
	query_run(container_of(msg, struct query, msg));
}

static void
fill_base(struct engine *eng, struct chunk_info *info, struct bucket_entry entry)
{
	if (!bucket_entry_present(entry))
		return;
	const struct crctab *tab = crctab_get(eng, info->index, entry);
	info->generation = entry.generation;
	info->seq = bucket_entry_seq(entry);
	info->allocated_bytes = tab ? tab->length : eng->vol.chunk_size;
	info->crc32c = tab ? tab->data_crc : 0;
	info->has_crc = tab;
	if (bucket_key_entry(eng->prefix, info->index, entry, info->key, sizeof(info->key)) < 0)
		info->key[0] = '\0';
}

static void
fill_info(struct engine *eng, struct chunk_info *info, uint64_t index, struct bucket_entry entry)
{
	const struct dchunk *active = dirty_find(eng->active, index);
	const struct dchunk *frozen = dirty_find(eng->frozen, index);
	uint64_t pages = 0, resident = 0;
	struct bucket_entry below;

	if (dirty_below(eng, index, &below) == 0 && bucket_entry_present(below))
		entry = below; /* a clone that no commit has seen */
	*info = (struct chunk_info){.index = index, .state = active || frozen ? CHUNK_DIRTY : CHUNK_CLEAN};
	if (active) {
		pages += active->pages + active->zeroes;
		resident += active->resident;
	}
	if (frozen) {
		pages += frozen->pages + frozen->zeroes;
		resident += frozen->resident;
	}
	/* a page may be in both sets */
	info->dirty_bytes = (uint32_t)(min_of(pages, eng->chunk_pages) * PAGE_SIZE_BYTES);
	resident += cache_count(&eng->cache, index << eng->page_shift, eng->chunk_pages);
	info->cached_bytes = (uint32_t)(min_of(resident, eng->chunk_pages) * PAGE_SIZE_BYTES);
	fill_base(eng, info, entry);
}

/** false: the leaf has to be loaded. */
static bool
query_slice(struct query *q)
{
	struct engine *eng = q->eng;
	struct vol_req *req = q->req;
	unsigned chunks = 0, infos = 0;

	while (q->at < q->end && req->ret_infos < req->max_infos && chunks < SLICE_CHUNKS &&
	       infos < SLICE_INFOS) {
		uint32_t leaf = (uint32_t)(q->at >> BUCKET_LEAF_SHIFT);
		struct bucket_entry entry;

		if (leaf < eng->map.nleaves && eng->map.refs[leaf].present == 0 &&
		    dirty_leaf_chunks(eng, leaf) == 0) {
			q->at = min_of(q->end, (uint64_t)(leaf + 1) << BUCKET_LEAF_SHIFT);
			chunks++;
			continue;
		}
		if (map_entry(eng, q->at, &entry) < 0)
			return false;
		chunks++;
		if (dirty_presence(eng, q->at, bucket_entry_present(entry))) {
			fill_info(eng, &req->infos[req->ret_infos++], q->at, entry);
			infos++;
		}
		q->at++;
	}
	return true;
}

static void
query_run(struct query *q)
{
	struct engine *eng = q->eng;

	q->end = min_of(q->end, engine_chunks(eng));
	if (!query_slice(q)) {
		q->leaf.fn = query_leaf;
		map_load(eng, (uint32_t)(q->at >> BUCKET_LEAF_SHIFT), &q->leaf);
		return;
	}
	if (q->at < q->end && q->req->ret_infos < q->req->max_infos) {
		q->msg.fn = query_posted;
		loop_post(eng->vol.loop, &q->msg);
		return;
	}
	query_end(q, 0);
}

void
mapquery_submit(struct vol_req *req)
{
	struct engine *eng = engine_of(req->vol);
	struct query *q = malloc(sizeof(*q));

	req->ret_infos = 0;
	if (!q) {
		engine_request_done(eng, req, -ENOMEM);
		return;
	}
	*q = (struct query){.eng = eng,
			    .req = req,
			    .at = req->first_chunk,
			    .end = req->end_chunk ? req->end_chunk : UINT64_MAX};
	query_run(q);
}
