/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bases before their commit: a chunk of which every page was written is PUT at once, so that a stream goes to the
 * store while it comes in, and a commit finds its bases there.
 *
 *   full -> queued -> on its way (dc->early) -> there (dc->early_entry) -> named by the next commit
 *
 * A change of the chunk, at whatever point, makes what was PUT worthless: the base goes to the dead list, and the
 * chunk waits for the commit from then on (hot), so a chunk that is written again and again costs one PUT too many
 * between two commits.  Nothing else refers to an early base: until a root names it, it is an object that a crash
 * leaves behind, as any base of a commit that was cut off.
 *
 * A commit that freezes the set takes the early bases as its own; those on their way it waits for.
 *
 * Failure: an early PUT that fails is not repeated; the commit does that chunk.
 * Thread: the volume's loop; during replay (open's thread) nothing is queued.
 */
#include "stores/chunked/engine.h"

#include <assert.h>

static void
unqueue(struct engine *eng, struct dchunk *dc)
{
	if (!dc->early_queued)
		return;
	if (dc->early_prev)
		dc->early_prev->early_next = dc->early_next;
	else
		eng->early_first = dc->early_next;
	if (dc->early_next)
		dc->early_next->early_prev = dc->early_prev;
	else
		eng->early_last = dc->early_prev;
	dc->early_prev = dc->early_next = NULL;
	dc->early_queued = false;
}

static void
discard(struct engine *eng, uint32_t index, struct bucket_entry entry)
{
	dead_add(eng, BUCKET_KEY_BASE, index, entry.generation, bucket_entry_seq(entry));
	crctab_drop(eng, index, entry);
	counter_add(&eng->early_dropped, 1);
}

void
early_want(struct engine *eng, struct dchunk *dc)
{
	if (eng->phase != ENGINE_RUNNING || dc->hot || dc->early || dc->early_queued)
		return;
	dc->early_queued = true;
	dc->passing = stream_wrote(eng, dc->index);
	dc->early_prev = eng->early_last;
	if (eng->early_last)
		eng->early_last->early_next = dc;
	else
		eng->early_first = dc;
	eng->early_last = dc;
	if (eng->early_posted)
		return;
	/* by message: whoever changes the chunk is in the middle of it */
	eng->early_posted = true;
	engine_hold(eng);
	loop_post(eng->vol.loop, &eng->early_msg);
}

void
early_drop(struct engine *eng, struct dchunk *dc)
{
	dc->version++;
	dc->passing = false;
	unqueue(eng, dc);
	if (dc->early)
		dc->hot = true;
	if (!bucket_entry_present(dc->early_entry))
		return;
	discard(eng, (uint32_t)dc->index, dc->early_entry);
	dc->early_entry = (struct bucket_entry){0};
	dc->hot = true;
}

void
early_forget(struct engine *eng, struct dchunk *dc)
{
	unqueue(eng, dc);
	if (dc->early)
		destage_orphan(dc->early);
	dc->early = NULL;
}

void
early_freeze(struct engine *eng)
{
	while (eng->early_first)
		unqueue(eng, eng->early_first);
}

/** The chunks of a commit go first, and a store that does not take them is not asked for more. */
static bool
may_begin(const struct engine *eng)
{
	const struct commit *c = &eng->commit;

	return eng->phase == ENGINE_RUNNING && !engine_stopped(eng) && !eng->degraded &&
	       c->inflight + eng->early_flight < eng->destages_max &&
	       (c->state != COMMIT_STAGING || c->next == c->norder);
}

void
early_pump(struct engine *eng)
{
	while (eng->early_first && may_begin(eng)) {
		struct dchunk *dc = eng->early_first;

		unqueue(eng, dc);
		if (dc->resident == eng->chunk_pages && destage_early(eng, dc) < 0)
			return;
	}
}

void
early_ended(struct engine *eng, struct dchunk *dc, uint32_t index, uint32_t version,
	    struct bucket_entry entry, int status)
{
	eng->early_flight--;
	if (dc)
		dc->early = NULL;
	if (status == 0 && dc && dc->version == version && bucket_entry_present(entry)) {
		dc->early_entry = entry;
		counter_add(&eng->early_bases, 1);
		if (dc->passing)
			dirty_shed_chunk(eng, dc);
	} else {
		if (bucket_entry_present(entry))
			discard(eng, index, entry);
		if (dc)
			dc->hot = true;
	}
	if (eng->commit.state == COMMIT_STAGING)
		commit_step(eng);
	early_pump(eng);
}

static void
early_posted(struct loop_msg *msg)
{
	struct engine *eng = container_of(msg, struct engine, early_msg);

	eng->early_posted = false;
	early_pump(eng);
	engine_release(eng);
}

void
early_init(struct engine *eng)
{
	eng->early_msg.fn = early_posted;
}
