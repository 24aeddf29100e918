/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sequential readers: larger fetches, and chunks fetched before they are asked for.  Sequential writers.
 *
 * The last few streams are remembered by the page that would continue them; a read that begins near it belongs to
 * the stream, since initiators with several queues reorder a little.  What it read in sequence decides:
 *
 *   below 256 KiB              fetches of FETCH_PAGES, or of what it asks for if that is more
 *   up to a quarter of a chunk as much as it has read so far
 *   from then on               whole chunks, and the chunks ahead of it: two, and one for each quarter of a chunk
 *                              that it has read, ahead_max at most (a quarter of the arena)
 *
 * No more than STREAM_FLIGHT_MAX are on their way at once.  They come in any order and are read in one, so the window is
 * larger than that: else the one that is late would leave the wire idle.
 *
 * What is fetched ahead goes into the clean cache.  A stream that flows does not mark its pages as used, so they leave
 * the cache in the order in which they came, behind the reader and not before it.  Where a volume is larger than half of
 * the arena, a stream that has read an eighth of the arena is a scan: from then on what lies CHUNKS_BEHIND it and was
 * used by nobody else is let go of at once.  So what comes next goes into pages that are warm, and a scan neither takes
 * memory from others nor makes the daemon grow.
 *
 * Writers are followed by the chunks that they fill.  By the same measure a writer is a scan as well: its chunks go
 * to the store as they fill (early.c), and once they are there their pages are let go of; the journal has them until the commit.
 *
 * Failure: there is none; what could not be fetched ahead is fetched when it is asked for.
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <stdlib.h>

#define NEAR_PAGES 64u
#define CHUNKS_BEHIND 2u /* a read that is on its way may begin a little behind */

static bool
continues(const struct stream *stream, uint64_t first, uint64_t near)
{
	return stream->used && first + near >= stream->next && first <= stream->next + near;
}

/** The stream that begins to be followed takes the place that was not used for longest: *oldest. */
static struct stream *
stream_find(struct stream streams[static STREAMS], uint64_t first, uint64_t near, struct stream **oldest)
{
	struct stream *found = NULL;

	*oldest = &streams[0];
	for (unsigned s = 0; s < STREAMS; s++) {
		/* not the one of a single access that happened to lie in its way */
		if (continues(&streams[s], first, near) && (!found || streams[s].run > found->run))
			found = &streams[s];
		if (streams[s].used < (*oldest)->used)
			*oldest = &streams[s];
	}
	return found;
}

static unsigned
stream_unit(const struct engine *eng, const struct stream *stream, unsigned n)
{
	uint64_t want = stream->run >= 64 ? max_of(stream->run, (uint64_t)n) : n;
	unsigned unit = FETCH_PAGES;

	if (stream_flows(eng, stream))
		return eng->chunk_pages;
	while (unit * 2 <= want && unit < eng->chunk_pages)
		unit *= 2;
	return min_of(unit, eng->chunk_pages);
}

struct stream *
stream_note(struct engine *eng, uint64_t first, unsigned n, unsigned *unit)
{
	struct stream *oldest, *found = stream_find(eng->streams, first, NEAR_PAGES, &oldest);

	if (found) {
		found->next = max_of(found->next, first + n);
		found->used = ++eng->stream_clock;
		*unit = stream_unit(eng, found, n); /* of what it read before */
		found->run += n;
		return found;
	}
	*oldest = (struct stream){
		.next = first + n, .run = n, .used = ++eng->stream_clock, .behind = first >> eng->page_shift};
	*unit = stream_unit(eng, &(struct stream){0}, n);
	return oldest;
}

bool
stream_flows(const struct engine *eng, const struct stream *stream)
{
	return stream->run >= eng->chunk_pages / 4 && stream->run >= 128;
}

/** Begin to fetch it, unless it is here or on its way; false: not now. */
static bool
chunk_ahead(struct engine *eng, uint64_t chunk)
{
	uint64_t first = chunk << eng->page_shift;
	struct bucket_entry entry;
	struct fetch *fetch;

	int pure = dirty_pure(eng, chunk, &entry);
	if (pure < 0 || eng->starved || eng->ahead_flight >= STREAM_FLIGHT_MAX)
		return false;
	if (!pure || !bucket_entry_present(entry) ||
	    cache_count(&eng->cache, first, eng->chunk_pages) > eng->chunk_pages / 2 ||
	    fetch_find(eng, chunk, entry, 0) || fetch_find(eng, chunk, entry, eng->chunk_pages - 1))
		return true;
	struct page **pages = malloc(eng->chunk_pages * sizeof(struct page *));
	if (!pages)
		return false;
	bool begun = arena_alloc(eng->vol.arena, pages, eng->chunk_pages) == 0;
	if (begun && fetch_start(eng, chunk, entry, 0, eng->chunk_pages, pages, FETCH_AHEAD, &fetch) < 0) {
		pages_unref(pages, eng->chunk_pages);
		begun = false;
	}
	if (begun) {
		counter_add(&eng->read_ahead, 1);
		eng->ahead_flight++;
	}
	free(pages);
	return begun;
}

static bool
stream_scans(const struct engine *eng, const struct stream *stream)
{
	size_t total = arena_total_pages(eng->vol.arena);

	return stream->run >= total / 8 && engine_chunks(eng) << eng->page_shift > total / 2;
}

bool
stream_wrote(struct engine *eng, uint64_t chunk)
{
	uint64_t first = chunk << eng->page_shift, end = first + eng->chunk_pages;
	struct stream *oldest, *found = stream_find(eng->writers, first, eng->chunk_pages, &oldest);

	if (!found) {
		*oldest = (struct stream){.next = first};
		found = oldest;
	}
	found->next = max_of(found->next, end);
	found->run += eng->chunk_pages;
	found->used = ++eng->stream_clock;
	return stream_scans(eng, found);
}

static void
stream_behind(struct engine *eng, struct stream *stream)
{
	uint64_t here = stream->next >> eng->page_shift;
	uint64_t end = here > CHUNKS_BEHIND ? here - CHUNKS_BEHIND : 0;

	if (!stream_scans(eng, stream))
		stream->behind = end; /* what it has read so far stays */
	for (; stream->behind < end; stream->behind++)
		cache_drop_idle(&eng->cache, stream->behind << eng->page_shift, eng->chunk_pages);
}

void
stream_ahead(struct engine *eng, struct stream *stream)
{
	uint64_t here, end;

	if (!stream_flows(eng, stream) || eng->phase != ENGINE_RUNNING || engine_health(eng) == LG_EFENCED)
		return;
	stream_behind(eng, stream);
	here = (stream->next - 1) >> eng->page_shift;
	end = min_of(here + 1 + min_of(stream->run / (eng->chunk_pages / 4) + 2, (uint64_t)eng->ahead_max),
		     engine_chunks(eng));
	stream->ahead = max_of(stream->ahead, here + 1);
	while (stream->ahead < end && chunk_ahead(eng, stream->ahead))
		stream->ahead++;
}

void
stream_fetched(struct engine *eng)
{
	eng->ahead_flight--;
	for (unsigned s = 0; s < STREAMS; s++)
		if (eng->streams[s].used)
			stream_ahead(eng, &eng->streams[s]);
}
