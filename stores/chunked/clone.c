/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VOL_CLONE: chunks that become what the bases of other chunks hold.
 *
 *   gate -> range of the destination -> leaf of the source in memory -> look -> accept -> durable -> answered
 *
 * A chunk can be cloned when it is just what its base holds: nothing newer hides a page of it, or all that is newer is a
 * clone itself.  The look and the acceptance are one step, so nothing comes between them.  What is accepted names the
 * base, not the source: two entries of one journal record for each chunk, and a dchunk with that base and no slots.
 *
 * Invariant: a base that an accepted clone names is named by the map, too, of every root that the clone's record may be
 * replayed on, and so it is not deleted.  For while the source was not changed the map names it there, and a change of
 * the source that comes after the clone is under a root no earlier than the clone is: there is one order, and a
 * commit takes all of it up to its sequence.  From then on the table of shared bases counts (share.c).
 *
 * Failure: before acceptance nothing was changed.
 * Thread: the volume's loop; clone_replay() on open's.
 */
#include "stores/chunked/engine.h"

#define CLONE_CHUNKS (JOURNAL_APPEND_MAX / 2u) /* two entries a chunk, one record */

static void clone_step(struct wop *wop);

static uint64_t
chunk_at(const struct engine *eng, uint64_t offset)
{
	return offset / eng->vol.chunk_size;
}

/** How many chunks from the source's first one on can be cloned now; -EAGAIN: not even that is known. */
static int
clone_look(struct engine *eng, const struct vol_req *req, struct bucket_share *names)
{
	uint64_t source = chunk_at(eng, req->source), room = chunk_at(eng, req->length);
	unsigned n = 0;

	while (n < room && n < CLONE_CHUNKS) {
		struct bucket_entry entry;
		int r = dirty_pure(eng, source + n, &entry);

		if (r < 0)
			return n ? (int)n : r;
		if (r == 0 || !bucket_entry_present(entry))
			break;
		names[n] = base_name(source + n, entry);
		if (!shares_room(eng, &names[n], n + 1))
			break;
		n++;
	}
	return (int)n;
}

static void
clone_accept(struct wop *wop, const struct bucket_share *names, unsigned n)
{
	struct engine *eng = wop->eng;
	uint64_t to = chunk_at(eng, wop->req->offset);
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n; i++)
		r = dirty_prepare_clone(eng, to + i);
	struct wappend *wa = r == 0 ? wappend_new(wop, 2 * n) : NULL;
	if (!wa) {
		wop_fail(wop, -ENOMEM);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		const struct bucket_share *name = &names[i];

		wa->entries[2 * i] = (struct journal_entry){
			.type = JOURNAL_BASE, .page = name->origin, .count = name->generation};
		wa->entries[2 * i + 1] =
			(struct journal_entry){.type = JOURNAL_CLONE, .page = to + i, .count = name->seq};
		dirty_clone(eng, to + i, bucket_entry_of(to + i, name->origin, name->generation, name->seq));
	}
	counter_add(&eng->clones, n);
	wop->req->ret_cloned = (uint64_t)n * eng->vol.chunk_size;
	wop_append(wop, wa, 2 * n);
	wop_accepted(wop);
}

static void
clone_lock(struct wop *wop)
{
	const struct vol_req *req = wop->req;

	wop_lock(wop, req->offset >> PAGE_SHIFT, (req->offset + req->length - 1) >> PAGE_SHIFT, false,
		 clone_step);
}

static void
clone_leaf(struct leaf_wait *wait, int status)
{
	struct wop *wop = container_of(wait, struct wop, leaf);

	if (status < 0)
		wop_fail(wop, status);
	else
		clone_lock(wop);
}

static bool
within(const struct engine *eng, const struct vol_req *req)
{
	uint64_t size = engine_size(eng);

	return req->source <= size && req->length <= size - req->source;
}

static void
clone_step(struct wop *wop)
{
	struct engine *eng = wop->eng;
	struct bucket_share names[CLONE_CHUNKS];
	int r = wop_check(wop);

	if (r == 0 && !within(eng, wop->req))
		r = LG_ERANGE;
	if (r == 0)
		r = clone_look(eng, wop->req, names);
	if (r > 0) {
		clone_accept(wop, names, (unsigned)r);
	} else if (r == -EAGAIN) {
		wop->leaf.fn = clone_leaf;
		map_load(eng, (uint32_t)(chunk_at(eng, wop->req->source) >> BUCKET_LEAF_SHIFT), &wop->leaf);
	} else {
		wop_fail(wop, r); /* 0: nothing is done, and that is no error */
	}
}

void
clone_submit(struct vol_req *req)
{
	struct engine *eng = engine_of(req->vol);
	uint64_t size = eng->vol.chunk_size;
	bool overlap = req->offset < req->source + req->length && req->source < req->offset + req->length;
	struct wop *wop;

	if (!within(eng, req)) {
		engine_request_done(eng, req, LG_ERANGE);
		return;
	}
	if ((req->offset | req->source | req->length) % size || overlap) {
		engine_request_done(eng, req, 0);
		return;
	}
	wop = wop_new(req);
	if (!wop)
		engine_request_done(eng, req, -ENOMEM);
	else
		wop_gate(wop, 2 * PAGE_SIZE_BYTES, clone_lock);
}

/* ---- replay ----------------------------------------------------------------------------- */

int
clone_replay(struct engine *eng, const struct journal_entry *e)
{
	struct bucket_share *base = &eng->replay_base;

	if (e->type == JOURNAL_BASE) {
		*base = (struct bucket_share){
			.origin = (uint32_t)e->page, .generation = (uint32_t)e->count, .count = 1};
		return 0;
	}
	if (!base->count || base->generation > eng->generation ||
	    e->page >> BUCKET_LEAF_SHIFT >= eng->map.nleaves)
		return LG_EDAMAGED;
	base->seq = e->count;
	base->count = 0;
	if (!shares_room(eng, base, 1))
		return LG_EDAMAGED;
	int r = dirty_prepare_clone(eng, e->page);
	if (r == 0)
		dirty_clone(eng, e->page,
			    bucket_entry_of(e->page, base->origin, base->generation, base->seq));
	return r;
}
