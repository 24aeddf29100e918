/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading a foreign volume into one of ours.
 *
 * A few threads take chunks one after the other; each reads a chunk whole, and writes its pages that are not
 * zero in runs.  So the new volume is as thin as its contents allow, whatever the old one stored, and the
 * volume's own back-pressure (journal, arena) paces the reading.
 *
 * Invariant: the first failure stops all threads; what was written by then is the caller's to throw away.
 * Threads: the caller's and WORKERS - 1 more; `lock` is around what they share.
 */
#include "stores/stores.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/bytes.h"
#include "common/util.h"
#include "stores/object/object.h"

#define WORKERS 4u
#define RUN_PAGES 256u /* 1 MiB a write */
#define SHORT_PAUSE_NS 5000000L

struct import {
	struct object_store *store;
	struct loop *loop;
	struct gotgt gotgt;
	char words[128];
};

struct job {
	const struct import *import;
	struct volume *vol;
	bool (*go_on)(void *arg, uint64_t done, uint64_t total);
	void *arg;
	uint64_t *chunks;
	size_t nchunks;
	pthread_mutex_t lock; /* all below */
	size_t next, done;
	int rc;
	struct errinfo *info;
};

int
import_open(const char *store, struct loop *loop, struct import **ret, struct errinfo *info)
{
	struct import *import = calloc(1, sizeof(*import));
	int r;

	if (!import)
		return -ENOMEM;
	import->loop = loop;
	r = object_store_open(store, NULL, false, &import->store, info);
	if (!r) {
		r = gotgt_look(import->store, loop, &import->gotgt, info);
		if (r)
			err_prefix(info, "%s: ", import->store->url);
	}
	if (r) {
		import_close(import);
		return r;
	}
	gotgt_words(&import->gotgt, import->words, sizeof(import->words));
	*ret = import;
	return 0;
}

void
import_close(struct import *import)
{
	if (!import)
		return;
	object_store_free(import->store);
	free(import);
}

uint64_t
import_size(const struct import *import)
{
	return import->gotgt.size;
}

const char *
import_words(const struct import *import)
{
	return import->words;
}

/* ---- writing ---- */

/* [offset, offset + length) of the volume, within one run of pages; offset and length are in blocks */
static int
write_run(struct volume *vol, uint64_t offset, const uint8_t *data, uint64_t length)
{
	const struct timespec pause = {.tv_nsec = SHORT_PAUSE_NS};
	struct page *pages[RUN_PAGES + 1];
	unsigned n = volume_pages(offset, length);
	uint64_t at = 0;
	int r;

	while ((r = arena_alloc(vol->arena, pages, n)) == -ENOMEM)
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	if (r)
		return r;
	for (unsigned i = 0; i < n; i++) {
		uint64_t from = i ? 0 : offset & (PAGE_SIZE_BYTES - 1);
		uint64_t k = min_of(length - at, PAGE_SIZE_BYTES - from);

		memcpy(pages[i]->data + from, data + at, k);
		at += k;
	}
	r = volume_call(&(struct vol_req){.vol = vol,
					  .op = VOL_WRITE,
					  .offset = offset,
					  .length = length,
					  .pages = pages,
					  .npages = n});
	pages_unref(pages, n);
	return r;
}

/* The end of the page of the volume that offset lies in, at most end. */
static uint64_t
page_end(uint64_t offset, uint64_t end)
{
	return min_of((offset | (PAGE_SIZE_BYTES - 1)) + 1, end);
}

/* What is not zero of [first, end), which buf holds. */
static int
write_chunk(struct volume *vol, uint64_t first, uint64_t end, const uint8_t *buf)
{
	uint64_t at = first;

	while (at < end) {
		uint64_t from = at, n = page_end(at, end) - at;
		int r;

		if (bytes_zero(buf + (at - first), n)) {
			at += n;
			continue;
		}
		while (at < end && at - from < (uint64_t)(RUN_PAGES - 1) * PAGE_SIZE_BYTES) {
			n = page_end(at, end) - at;
			if (bytes_zero(buf + (at - first), n))
				break;
			at += n;
		}
		r = write_run(vol, from, buf + (from - first), at - from);
		if (r)
			return r;
	}
	return 0;
}

/* ---- the chunks ---- */

static int
move_chunk(struct job *job, uint64_t index, uint8_t *buf, struct errinfo *info)
{
	const struct gotgt *gotgt = &job->import->gotgt;
	uint64_t first = index * gotgt->chunk_size, end = min_of(first + gotgt->chunk_size, gotgt->size);
	uint64_t block = job->vol->block_size, stop;
	int r = gotgt_read(job->import->store, job->import->loop, gotgt, index, buf, info);

	if (r)
		return r;
	/* the device may end within a block, whose rest is zero; chunks are whole blocks, see import_run() */
	stop = (end + block - 1) / block * block;
	memset(buf + (end - first), 0, stop - end);
	r = write_chunk(job->vol, first, stop, buf);
	return r ? err_set(info, r, "writing at byte %llu: %s", (unsigned long long)first, err_text(r)) : 0;
}

/* The next chunk, or false: there is none, or somebody failed. */
static bool
take(struct job *job, uint64_t *ret)
{
	bool more;

	pthread_mutex_lock(&job->lock);
	more = !job->rc && job->next < job->nchunks;
	if (more && !job->go_on(job->arg, job->done * job->import->gotgt.chunk_size,
				job->nchunks * job->import->gotgt.chunk_size)) {
		job->rc = err_set(job->info, -ECANCELED, "stopped");
		more = false;
	}
	if (more)
		*ret = job->chunks[job->next++];
	pthread_mutex_unlock(&job->lock);
	return more;
}

static void *
work(void *arg)
{
	struct job *job = arg;
	/* a last chunk may be rounded up to a block */
	uint8_t *buf = malloc(job->import->gotgt.chunk_size + job->vol->block_size);
	uint64_t index;

	while (take(job, &index)) {
		struct errinfo info = {{0}};
		int r = buf ? move_chunk(job, index, buf, &info) : -ENOMEM;

		pthread_mutex_lock(&job->lock);
		job->done += !r;
		if (r && !job->rc)
			job->rc = err_set(job->info, r, "%s", err_words(&info, r));
		pthread_mutex_unlock(&job->lock);
	}
	free(buf);
	return NULL;
}

int
import_run(struct import *import, struct volume *vol, bool (*go_on)(void *arg, uint64_t done, uint64_t total),
	   void *arg, struct errinfo *info)
{
	struct job job = {.import = import, .vol = vol, .go_on = go_on, .arg = arg, .info = info};
	pthread_t threads[WORKERS];
	unsigned n = 0;
	int r;

	if (import->gotgt.chunk_size % vol->block_size)
		return err_set(info, -EINVAL, "its chunks of %llu bytes are not whole blocks of %u",
			       (unsigned long long)import->gotgt.chunk_size, vol->block_size);
	r = gotgt_chunks(import->store, import->loop, &import->gotgt, &job.chunks, &job.nchunks, info);
	if (r)
		return r;
	pthread_mutex_init(&job.lock, NULL);
	while (n + 1 < WORKERS && !pthread_create(&threads[n], NULL, work, &job))
		n++;
	(void)work(&job);
	while (n)
		pthread_join(threads[--n], NULL);
	pthread_mutex_destroy(&job.lock);
	free(job.chunks);
	if (job.rc)
		return job.rc;
	r = volume_call(&(struct vol_req){.vol = vol, .op = VOL_FLUSH});
	return r ? err_set(info, r, "flush: %s", err_text(r)) : 0;
}
