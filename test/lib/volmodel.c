/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The model of volmodel.h.
 *
 * Per block three numbers of mutations (0 = the zeroes it began with): `durable`, the last one proven
 * durable; `now`, the last one completed, which reads must show; `last`, the last one submitted.  A mutation
 * in flight owns its range until done; reads share.
 *
 * Threads: run() and verify() are driven by completions on the volume's loop; the calling thread sleeps.  The
 * model is touched by one of the two at a time.
 */
#include "test/lib/volmodel.h"

#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "test/lib/simimage.h"

#define DEPTH_MAX 256
#define HELD_MAX 16
#define VERIFY_IO (1u << 20)

/* what a mutation does; numbered by its place in the log */
struct mutation {
	uint64_t start, end; /* blocks */
	bool zeroes;
	uint64_t *from;     /* of a clone: what each block is */
	uint64_t completed; /* the how-maniest completion; 0 = not */
};

/* a READ's pages that are kept for a while: they must not change under their holder */
struct held {
	struct page **pages;
	unsigned npages;
	uint64_t offset, length;
	uint32_t crc;
};

struct job {
	struct vol_req req;
	struct volmodel *m;
	uint32_t number;       /* of the mutation; 0 = none */
	uint64_t flush_covers; /* completions before it was submitted */
	uint64_t differs_at;   /* COMPARE_WRITE: made to differ there; UINT64_MAX = not */
	uint32_t crc;          /* of the pages submitted */
	unsigned npages;
	bool busy;
	struct page *pages[2 * (VOLUME_MAX_IO / PAGE_SIZE_BYTES + 1)];
};

enum mode { MODE_LOAD, MODE_EXACT, MODE_CRASH };

struct volmodel {
	uint32_t block_size;
	uint64_t blocks;
	uint32_t *durable, *now, *last;
	struct mutation *log;
	uint32_t mutations, log_room;
	uint32_t epoch; /* mutations before the last crash: what did not survive it must not come back */
	uint32_t *undurable;
	uint32_t nundurable, undurable_room;
	uint64_t completions, cloned;
	uint64_t seed;
	char error[512];

	/* a run */
	struct volume *vol;
	struct volmodel_load load;
	enum mode mode;
	int status;
	unsigned left, inflight;
	uint64_t verify_next;
	bool pumping, again;
	struct job *jobs[DEPTH_MAX];
	struct held held[HELD_MAX];
	struct loop_msg start;
	struct arena_waiter waiter;
	bool waiting;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool finished;
};

static uint64_t
rnd(struct volmodel *m, uint64_t below)
{
	return below ? sim_random(&m->seed) % below : 0;
}

__attribute__((format(printf, 3, 4))) static void
fail(struct volmodel *m, int status, const char *fmt, ...)
{
	va_list ap;

	if (m->status)
		return;
	m->status = status;
	va_start(ap, fmt);
	(void)vsnprintf(m->error, sizeof(m->error), fmt, ap);
	va_end(ap);
}

/* ---- patterns ---- */

/* what a block holds: place and number of the mutation that wrote it there; 0 for zeroes */
static uint64_t
content_of(uint32_t number, uint64_t block)
{
	return block << 32 | number;
}

static uint64_t
word_of(uint32_t number, uint64_t block, unsigned i)
{
	uint64_t z = (block + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)number << 20 ^ i;

	z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9u;
	return z ^ (z >> 32);
}

/* a block: number and place in clear, then words that depend on both */
static void
pattern(uint8_t *p, uint32_t block_size, uint64_t content)
{
	uint32_t number = (uint32_t)content;
	uint64_t block = content >> 32, head[2] = {number, block};

	memcpy(p, head, sizeof(head));
	for (unsigned i = 2; i < block_size / 8; i++) {
		uint64_t w = word_of(number, block, i);

		memcpy(p + (size_t)i * 8, &w, 8);
	}
}

static bool
all_zero(const uint8_t *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

/* what the bytes are: a content, or UINT64_MAX for none (torn, garbage) */
static uint64_t
identify(const uint8_t *p, uint32_t block_size)
{
	uint64_t head[2];
	uint8_t want[4096];

	if (all_zero(p, block_size))
		return 0;
	memcpy(head, p, sizeof(head));
	if (!head[0] || head[0] >= UINT32_MAX || head[1] >= UINT32_MAX)
		return UINT64_MAX;
	pattern(want, block_size, content_of((uint32_t)head[0], head[1]));
	return memcmp(p, want, block_size) ? UINT64_MAX : content_of((uint32_t)head[0], head[1]);
}

/* what a reader sees of it: all zeroing mutations look alike */
static uint64_t
seen_as(const struct volmodel *m, uint32_t number, uint64_t block)
{
	const struct mutation *mu = &m->log[number];

	if (!number || mu->zeroes)
		return 0;
	return mu->from ? mu->from[block - mu->start] : content_of(number, block);
}

static uint8_t *
at_offset(struct page **pages, uint64_t offset, uint64_t at)
{
	return pages[((offset + at) >> PAGE_SHIFT) - (offset >> PAGE_SHIFT)]->data +
	       ((offset + at) & (PAGE_SIZE_BYTES - 1));
}

static void
describe_block(struct volmodel *m, char *buf, size_t len, const uint8_t *p)
{
	uint64_t found = identify(p, m->block_size);
	uint64_t head[2];

	memcpy(head, p, sizeof(head));
	if (found != UINT64_MAX)
		(void)snprintf(buf, len, "%s %u of block %llu", found ? "mutation" : "zeroes",
			       (uint32_t)found, (unsigned long long)(found >> 32));
	else
		(void)snprintf(buf, len, "bytes of no mutation (head %#llx, %#llx: torn)",
			       (unsigned long long)head[0], (unsigned long long)head[1]);
}

/* may this block look like that after a crash?  By which mutation; UINT32_MAX: it may not */
static uint32_t
crash_allows(const struct volmodel *m, uint64_t block, uint64_t found)
{
	uint32_t from = m->durable[block];

	if (seen_as(m, from, block) == found)
		return from;
	for (uint32_t n = max_of(from, m->epoch) + 1; n <= m->last[block]; n++) {
		const struct mutation *mu = &m->log[n];

		if (block >= mu->start && block < mu->end && seen_as(m, n, block) == found)
			return n;
	}
	return UINT32_MAX;
}

static void
check_block(struct volmodel *m, uint64_t block, const uint8_t *p)
{
	uint64_t found;
	uint32_t by;
	char text[160];

	if (m->mode != MODE_CRASH) {
		uint64_t want = seen_as(m, m->now[block], block);
		uint8_t bytes[4096];

		if (want)
			pattern(bytes, m->block_size, want);
		if (want ? !memcmp(p, bytes, m->block_size) : all_zero(p, m->block_size))
			return;
		describe_block(m, text, sizeof(text), p);
		fail(m, -EBADMSG, "block %llu: expected %s %u of block %llu (mutation %u), found %s",
		     (unsigned long long)block, want ? "mutation" : "zeroes", (uint32_t)want,
		     (unsigned long long)(want >> 32), m->now[block], text);
		return;
	}
	found = identify(p, m->block_size);
	by = found == UINT64_MAX ? UINT32_MAX : crash_allows(m, block, found);
	if (by != UINT32_MAX) {
		m->durable[block] = m->now[block] = m->last[block] = by;
		return;
	}
	describe_block(m, text, sizeof(text), p);
	fail(m, -EBADMSG, "block %llu after the crash: durable was mutation %u, last submitted %u, found %s",
	     (unsigned long long)block, m->durable[block], m->last[block], text);
}

static void
check_read(struct volmodel *m, struct page **pages, uint64_t offset, uint64_t length)
{
	for (uint64_t at = 0; at < length && !m->status; at += m->block_size)
		check_block(m, (offset + at) / m->block_size, at_offset(pages, offset, at));
}

static uint32_t
pages_crc(struct page **pages, uint64_t offset, uint64_t length, uint32_t crc)
{
	while (length) {
		uint64_t k = min_of(length, PAGE_SIZE_BYTES - (offset & (PAGE_SIZE_BYTES - 1)));

		crc = crc32c(crc, (*pages++)->data + (offset & (PAGE_SIZE_BYTES - 1)), k);
		offset += k;
		length -= k;
	}
	return crc;
}

/* ---- pages held ---- */

static void
held_release(struct volmodel *m, struct held *h)
{
	if (!h->pages)
		return;
	if (pages_crc(h->pages, h->offset, h->length, 0) != h->crc)
		fail(m, -EBADMSG, "pages of a READ at %llu changed while they were held",
		     (unsigned long long)h->offset);
	pages_unref(h->pages, h->npages);
	free(h->pages);
	h->pages = NULL;
}

/* takes over the references */
static void
held_add(struct volmodel *m, struct page **pages, unsigned npages, uint64_t offset, uint64_t length)
{
	struct held *h = &m->held[rnd(m, HELD_MAX)];

	held_release(m, h);
	if (npages > 16 || rnd(m, 4) == 0) {
		pages_unref(pages, npages);
		return;
	}
	h->pages = sim_must(calloc(npages, sizeof(*pages)));
	memcpy(h->pages, pages, npages * sizeof(*pages));
	h->npages = npages;
	h->offset = offset;
	h->length = length;
	h->crc = pages_crc(pages, offset, length, 0);
}

/* ---- bookkeeping of mutations ---- */

static uint32_t
mutation_new(struct volmodel *m, uint64_t offset, uint64_t length, bool zeroes)
{
	if (m->mutations + 1 >= m->log_room) {
		m->log_room = m->log_room ? m->log_room * 2 : 1024;
		m->log = sim_must(realloc(m->log, m->log_room * sizeof(*m->log)));
	}
	m->mutations++;
	m->log[m->mutations] = (struct mutation){
		.start = offset / m->block_size,
		.end = (offset + length) / m->block_size,
		.zeroes = zeroes,
	};
	for (uint64_t b = m->log[m->mutations].start; b < m->log[m->mutations].end; b++)
		m->last[b] = m->mutations;
	return m->mutations;
}

static void
mutation_durable(struct volmodel *m, uint32_t number)
{
	const struct mutation *mu = &m->log[number];

	for (uint64_t b = mu->start; b < mu->end; b++)
		m->durable[b] = max_of(m->durable[b], number);
}

static void
mutation_done(struct volmodel *m, uint32_t number, bool durable)
{
	struct mutation *mu = &m->log[number];

	mu->completed = ++m->completions;
	for (uint64_t b = mu->start; b < mu->end; b++)
		m->now[b] = number;
	if (durable) {
		mutation_durable(m, number);
		return;
	}
	if (m->nundurable == m->undurable_room) {
		m->undurable_room = m->undurable_room ? m->undurable_room * 2 : 256;
		m->undurable = sim_must(realloc(m->undurable, m->undurable_room * sizeof(*m->undurable)));
	}
	m->undurable[m->nundurable++] = number;
}

static void
flush_done(struct volmodel *m, uint64_t covers)
{
	uint32_t keep = 0;

	for (uint32_t i = 0; i < m->nundurable; i++) {
		if (m->log[m->undurable[i]].completed <= covers)
			mutation_durable(m, m->undurable[i]);
		else
			m->undurable[keep++] = m->undurable[i];
	}
	m->nundurable = keep;
}

/* ---- the run ---- */

static void pump(struct volmodel *m);

static bool
is_mutation(enum vol_op op)
{
	return op == VOL_WRITE || op == VOL_UNMAP || op == VOL_ZERO || op == VOL_COMPARE_WRITE ||
	       op == VOL_CLONE;
}

static bool
conflicts(const struct volmodel *m, enum vol_op op, uint64_t offset, uint64_t length)
{
	for (unsigned i = 0; i < DEPTH_MAX; i++) {
		const struct job *j = m->jobs[i];

		if (!j || !j->busy || j->req.op == VOL_FLUSH)
			continue;
		if ((is_mutation(op) || is_mutation(j->req.op)) && offset < j->req.offset + j->req.length &&
		    j->req.offset < offset + length)
			return true;
		/* the source is read */
		if (j->req.op == VOL_CLONE && is_mutation(op) && offset < j->req.source + j->req.length &&
		    j->req.source < offset + length)
			return true;
	}
	return false;
}

static void
finish_if_done(struct volmodel *m)
{
	if (m->inflight || m->waiting)
		return;
	for (unsigned i = 0; i < HELD_MAX; i++)
		held_release(m, &m->held[i]);
	pthread_mutex_lock(&m->lock);
	m->finished = true;
	pthread_cond_signal(&m->cond);
	pthread_mutex_unlock(&m->lock);
}

static void
compare_done(struct job *j)
{
	struct volmodel *m = j->m;
	struct vol_req *req = &j->req;

	if (j->differs_at == UINT64_MAX) {
		if (req->status == LG_EMISCOMPARE)
			fail(m, -EBADMSG, "COMPARE_WRITE at %llu: miscompare at %llu of what is there",
			     (unsigned long long)req->offset, (unsigned long long)req->err_offset);
		return;
	}
	if (!req->status)
		fail(m, -EBADMSG, "COMPARE_WRITE at %llu: success although byte %llu differs",
		     (unsigned long long)req->offset, (unsigned long long)j->differs_at);
	else if (req->status == LG_EMISCOMPARE && req->err_offset != j->differs_at)
		fail(m, -EBADMSG, "COMPARE_WRITE at %llu: miscompare at %llu, not %llu",
		     (unsigned long long)req->offset, (unsigned long long)req->err_offset,
		     (unsigned long long)j->differs_at);
	if (req->status == LG_EMISCOMPARE)
		req->status = 0;
	j->number = 0;
}

/* some of it, from its start on, or nothing */
static void
clone_done(struct job *j)
{
	struct volmodel *m = j->m;
	struct vol_req *req = &j->req;

	if (req->ret_cloned > req->length || req->ret_cloned % m->vol->chunk_size)
		fail(m, -EBADMSG, "CLONE of %llu bytes: %llu of them are done",
		     (unsigned long long)req->length, (unsigned long long)req->ret_cloned);
	m->log[j->number].end = m->log[j->number].start + req->ret_cloned / m->block_size;
	m->cloned += req->ret_cloned;
}

static void
job_done(struct vol_req *req)
{
	struct job *j = container_of(req, struct job, req);
	struct volmodel *m = j->m;
	bool through = !m->vol->write_cache && req->op != VOL_UNMAP;

	if (req->op == VOL_COMPARE_WRITE)
		compare_done(j);
	if (req->op == VOL_CLONE && !req->status)
		clone_done(j);
	if (req->status)
		fail(m, req->status, "%s of %llu bytes at %llu: %s", vol_op_name(req->op),
		     (unsigned long long)req->length, (unsigned long long)req->offset, err_text(req->status));
	else if (req->op == VOL_READ)
		check_read(m, j->pages, req->offset, req->length);
	else if (req->op == VOL_FLUSH)
		flush_done(m, j->flush_covers);
	else if (j->number)
		mutation_done(m, j->number, through || req->flags & VOL_FUA);
	if (req->op == VOL_READ && !req->status) {
		held_add(m, j->pages, req->npages, req->offset, req->length);
	} else if (j->npages) {
		unsigned half = volume_pages(req->offset, req->length);
		uint32_t crc = pages_crc(j->pages, req->offset, req->length, 0);

		if (req->op == VOL_COMPARE_WRITE)
			crc = pages_crc(j->pages + half, req->offset, req->length, crc);
		if (crc != j->crc)
			fail(m, -EBADMSG, "the volume changed the pages of a %s", vol_op_name(req->op));
		pages_unref(j->pages, j->npages);
	}
	j->npages = 0;
	j->busy = false;
	m->inflight--;
	pump(m);
}

static enum vol_op
choose_op(struct volmodel *m, uint32_t *flags)
{
	const struct volmodel_load *l = &m->load;
	const struct {
		unsigned share;
		enum vol_op op;
		uint32_t flags;
	} table[] = {
		{l->reads, VOL_READ, 0},
		{l->writes, VOL_WRITE, 0},
		{l->fua_writes, VOL_WRITE, VOL_FUA},
		{l->unmaps, VOL_UNMAP, 0},
		{l->zeroes, VOL_ZERO, 0},
		{l->compares, VOL_COMPARE_WRITE, 0},
		{l->flushes, VOL_FLUSH, 0},
		{m->vol->clones ? l->clones : 0, VOL_CLONE, 0},
	};
	uint64_t total = 0, at;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		total += table[i].share;
	at = rnd(m, total);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (at < table[i].share) {
			*flags = table[i].flags;
			return table[i].op;
		}
		at -= table[i].share;
	}
	return VOL_FLUSH;
}

/* a block-aligned range; small ones and page-aligned ones more often than not */
static void
choose_range(struct volmodel *m, enum vol_op op, uint64_t *offset, uint64_t *length)
{
	uint64_t bs = m->block_size, span = min_of(m->load.span, m->blocks * bs);
	uint64_t max = op == VOL_READ || op == VOL_WRITE ? m->load.max_io
		       : op == VOL_COMPARE_WRITE         ? min_of(m->load.max_io, VOLUME_MAX_COMPARE)
							 : m->load.max_unmap;

	max = max_of(min_of(max, span), bs);
	*length = bs * (1 + rnd(m, rnd(m, 3) ? min_of(max / bs, 16) : max / bs));
	*offset = bs * rnd(m, (span - *length) / bs + 1);
	if (rnd(m, 2)) {
		*offset = align_down(*offset, PAGE_SIZE_BYTES);
		if (*offset + align_up(*length, PAGE_SIZE_BYTES) <= span && *length + PAGE_SIZE_BYTES <= max)
			*length = align_up(*length, PAGE_SIZE_BYTES);
	}
}

/* whole chunks, from elsewhere to elsewhere; false: there is no such place */
static bool
choose_clone(struct volmodel *m, struct vol_req *req)
{
	uint64_t size = m->vol->chunk_size, chunks = min_of(m->load.span, m->blocks * m->block_size) / size;
	uint64_t n = 1 + rnd(m, rnd(m, 3) ? 1 : min_of(chunks / 2 + 1, 8));

	if (chunks < 2 * n)
		return false;
	req->length = n * size;
	req->offset = rnd(m, chunks - n + 1) * size;
	req->source = rnd(m, chunks - n + 1) * size;
	return (req->offset >= req->source + req->length || req->source >= req->offset + req->length) &&
	       !conflicts(m, VOL_READ, req->source, req->length);
}

static void
fill(struct volmodel *m, struct page **pages, uint64_t offset, uint64_t length, uint32_t number)
{
	for (uint64_t at = 0; at < length; at += m->block_size) {
		uint64_t block = (offset + at) / m->block_size;
		uint64_t content = number ? content_of(number, block) : seen_as(m, m->now[block], block);

		if (content)
			pattern(at_offset(pages, offset, at), m->block_size, content);
		else
			memset(at_offset(pages, offset, at), 0, m->block_size);
	}
}

/* what the clone will be: nothing changes its source meanwhile */
static void
note_source(struct volmodel *m, struct job *j)
{
	struct mutation *mu = &m->log[j->number];
	uint64_t source = j->req.source / m->block_size;

	mu->from = sim_must(calloc(mu->end - mu->start, sizeof(*mu->from)));
	for (uint64_t b = 0; b < mu->end - mu->start; b++)
		mu->from[b] = seen_as(m, m->now[source + b], source + b);
}

/* false when the arena is short */
static bool
job_prepare(struct volmodel *m, struct job *j)
{
	struct vol_req *req = &j->req;
	unsigned n = volume_pages(req->offset, req->length);
	bool two = req->op == VOL_COMPARE_WRITE;

	j->differs_at = UINT64_MAX;
	if (req->op == VOL_WRITE || two) {
		j->npages = two ? 2 * n : n;
		if (arena_alloc(m->vol->arena, j->pages, j->npages)) {
			j->npages = 0;
			return false;
		}
	}
	if (two) {
		fill(m, j->pages, req->offset, req->length, 0);
		if (rnd(m, 3) == 0) {
			j->differs_at = rnd(m, req->length);
			*at_offset(j->pages, req->offset, j->differs_at) ^= (uint8_t)(1u << rnd(m, 8));
		}
	}
	if (is_mutation(req->op) && j->differs_at == UINT64_MAX)
		j->number = mutation_new(m, req->offset, req->length,
					 req->op == VOL_UNMAP || req->op == VOL_ZERO);
	if (req->op == VOL_CLONE)
		note_source(m, j);
	if (j->npages)
		fill(m, j->pages + (two ? n : 0), req->offset, req->length,
		     j->number ? j->number : UINT32_MAX - 1);
	if (j->npages) {
		j->crc = pages_crc(j->pages, req->offset, req->length, 0);
		if (two)
			j->crc = pages_crc(j->pages + n, req->offset, req->length, j->crc);
	}
	return true;
}

static struct job *
job_get(struct volmodel *m)
{
	for (unsigned i = 0; i < min_of(m->load.depth, DEPTH_MAX); i++) {
		if (!m->jobs[i])
			m->jobs[i] = sim_must(calloc(1, sizeof(struct job)));
		if (!m->jobs[i]->busy)
			return m->jobs[i];
	}
	return NULL;
}

static void
on_room(struct loop_msg *msg)
{
	struct volmodel *m = container_of(msg, struct volmodel, waiter.msg);

	m->waiting = false;
	pump(m);
}

/* the next request of the run in req; false = none now */
static bool
next_request(struct volmodel *m, struct vol_req *req)
{
	if (m->mode != MODE_LOAD) {
		uint64_t size = m->blocks * m->block_size;

		req->op = VOL_READ;
		req->offset = m->verify_next;
		req->length = min_of(VERIFY_IO, size - m->verify_next);
		m->verify_next += req->length;
		m->left = m->verify_next < size;
		return true;
	}
	req->op = choose_op(m, &req->flags);
	if (req->op == VOL_FLUSH) {
		m->left--;
		return true;
	}
	for (unsigned tries = 0; tries < 20; tries++) {
		if (req->op == VOL_CLONE && !choose_clone(m, req))
			continue;
		if (req->op != VOL_CLONE)
			choose_range(m, req->op, &req->offset, &req->length);
		if (!conflicts(m, req->op, req->offset, req->length)) {
			m->left--;
			return true;
		}
	}
	return false;
}

/* false = nothing more to submit now */
static bool
submit_one(struct volmodel *m)
{
	struct job *j = job_get(m);

	if (!j || m->status || !m->left || m->waiting)
		return false;
	j->req = (struct vol_req){.vol = m->vol, .done = job_done, .pages = j->pages};
	j->m = m;
	j->number = 0;
	if (!next_request(m, &j->req))
		return m->inflight == 0;
	if (!job_prepare(m, j)) {
		m->left++;
		if (!m->inflight) {
			m->waiting = true;
			m->waiter = (struct arena_waiter){.msg.fn = on_room, .loop = m->vol->loop, .n = 1};
			for (unsigned i = 0; i < HELD_MAX; i++)
				held_release(m, &m->held[i]);
			arena_wait(m->vol->arena, &m->waiter);
		}
		return false;
	}
	j->req.npages = j->req.op == VOL_FLUSH || j->req.op == VOL_UNMAP || j->req.op == VOL_ZERO ||
					j->req.op == VOL_CLONE
				? 0
				: volume_pages(j->req.offset, j->req.length);
	j->flush_covers = m->completions;
	j->busy = true;
	m->inflight++;
	volume_submit(&j->req);
	return true;
}

/* Completions may run inside volume_submit(): one pump at a time, flat. */
static void
pump(struct volmodel *m)
{
	m->again = true;
	if (m->pumping)
		return;
	m->pumping = true;
	while (m->again) {
		m->again = false;
		while (submit_one(m))
			;
	}
	m->pumping = false;
	if (m->status || !m->left)
		finish_if_done(m);
}

static void
on_start(struct loop_msg *msg)
{
	pump(container_of(msg, struct volmodel, start));
}

static int
run(struct volmodel *m, struct volume *vol, enum mode mode, unsigned left)
{
	assert(!loop_current());
	m->vol = vol;
	m->mode = mode;
	m->left = left;
	m->status = 0;
	m->finished = false;
	m->verify_next = 0;
	m->error[0] = '\0';
	m->start.fn = on_start;
	if (atomic_load(&vol->size) != m->blocks * m->block_size) {
		fail(m, -EBADMSG, "the volume has %llu bytes, not %llu",
		     (unsigned long long)atomic_load(&vol->size),
		     (unsigned long long)m->blocks * m->block_size);
		return m->status;
	}
	loop_post(vol->loop, &m->start);
	pthread_mutex_lock(&m->lock);
	while (!m->finished)
		pthread_cond_wait(&m->cond, &m->lock);
	pthread_mutex_unlock(&m->lock);
	return m->status;
}

int
volmodel_run(struct volmodel *m, struct volume *vol, const struct volmodel_load *load)
{
	struct volmodel_load l = *load;
	uint64_t size = m->blocks * m->block_size;

	if (!l.reads && !l.writes && !l.fua_writes && !l.unmaps && !l.zeroes && !l.compares && !l.flushes &&
	    !l.clones) {
		l.reads = 30;
		l.writes = 30;
		l.fua_writes = 10;
		l.unmaps = l.zeroes = l.compares = l.clones = 8;
		l.flushes = 4;
	}
	l.depth = l.depth ? min_of(l.depth, DEPTH_MAX) : 16;
	l.max_io = l.max_io ? min_of(l.max_io, VOLUME_MAX_IO) : 256u << 10;
	l.max_unmap = l.max_unmap ? l.max_unmap : size / 8;
	l.span = l.span ? min_of(l.span, size) : size;
	m->load = l;
	return run(m, vol, MODE_LOAD, l.nops);
}

int
volmodel_verify(struct volmodel *m, struct volume *vol)
{
	m->load = (struct volmodel_load){.depth = 4};
	return run(m, vol, MODE_EXACT, 1);
}

int
volmodel_verify_crash(struct volmodel *m, struct volume *vol)
{
	int rc;

	m->load = (struct volmodel_load){.depth = 4};
	m->nundurable = 0;
	rc = run(m, vol, MODE_CRASH, 1);
	m->epoch = m->mutations;
	return rc;
}

int
volmodel_flush(struct volmodel *m, struct volume *vol)
{
	return volmodel_run(m, vol, &(struct volmodel_load){.nops = 1, .flushes = 1});
}

/* ---- the chunk map ---- */

#define MAP_BATCH 7

/* blocks of the chunks [from, to), which the map calls absent */
static int
check_absent(struct volmodel *m, uint64_t from, uint64_t to, uint32_t chunk_size)
{
	uint64_t per = chunk_size / m->block_size;

	for (uint64_t b = from * per; b < min_of(to * per, m->blocks); b++)
		if (seen_as(m, m->now[b], b)) {
			(void)snprintf(m->error, sizeof(m->error),
				       "chunk %llu is absent in the map, but block %llu holds mutation %u",
				       (unsigned long long)(b / per), (unsigned long long)b, m->now[b]);
			return -EBADMSG;
		}
	return 0;
}

int
volmodel_verify_map(struct volmodel *m, struct volume *vol)
{
	struct chunk_info infos[MAP_BATCH];
	struct vol_req req = {.vol = vol, .op = VOL_MAP, .infos = infos, .max_infos = MAP_BATCH};
	uint64_t chunks = (m->blocks * m->block_size + vol->chunk_size - 1) / vol->chunk_size, next = 0;
	int rc;

	m->error[0] = '\0';
	for (;;) {
		rc = volume_call(&req);
		if (rc)
			return rc;
		for (unsigned i = 0; i < req.ret_infos; i++) {
			if (infos[i].index < next || infos[i].index >= chunks ||
			    infos[i].state == CHUNK_ABSENT) {
				(void)snprintf(m->error, sizeof(m->error),
					       "the map lists chunk %llu (%s) after %llu",
					       (unsigned long long)infos[i].index,
					       chunk_state_name(infos[i].state), (unsigned long long)next);
				return -EBADMSG;
			}
			rc = check_absent(m, next, infos[i].index, vol->chunk_size);
			if (rc)
				return rc;
			next = infos[i].index + 1;
		}
		if (req.ret_next_chunk == UINT64_MAX)
			return check_absent(m, next, chunks, vol->chunk_size);
		if (req.ret_next_chunk < next || req.ret_next_chunk <= req.first_chunk) {
			(void)snprintf(m->error, sizeof(m->error), "the walk of the map goes back to %llu",
				       (unsigned long long)req.ret_next_chunk);
			return -EBADMSG;
		}
		req.first_chunk = req.ret_next_chunk;
	}
}

/* ---- life ---- */

void
volmodel_resize(struct volmodel *m, uint64_t size)
{
	uint64_t blocks = size / m->block_size;

	m->durable = sim_must(realloc(m->durable, blocks * sizeof(uint32_t)));
	m->now = sim_must(realloc(m->now, blocks * sizeof(uint32_t)));
	m->last = sim_must(realloc(m->last, blocks * sizeof(uint32_t)));
	for (uint64_t b = m->blocks; b < blocks; b++)
		m->durable[b] = m->now[b] = m->last[b] = 0;
	/* what was cut off is no longer anybody's business */
	for (uint32_t i = 1; i <= m->mutations; i++)
		m->log[i].end = min_of(m->log[i].end, blocks);
	m->blocks = blocks;
}

struct volmodel *
volmodel_new(uint64_t size, uint32_t block_size, uint64_t seed)
{
	struct volmodel *m = sim_must(calloc(1, sizeof(*m)));

	assert(block_size == 512 || block_size == 4096);
	m->block_size = block_size;
	m->seed = seed;
	m->log_room = 1024;
	m->log = sim_must(calloc(m->log_room, sizeof(*m->log)));
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, NULL);
	volmodel_resize(m, size);
	return m;
}

void
volmodel_free(struct volmodel *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		free(m->jobs[i]);
	for (uint32_t i = 1; i <= m->mutations; i++)
		free(m->log[i].from);
	free(m->durable);
	free(m->now);
	free(m->last);
	free(m->log);
	free(m->undurable);
	pthread_cond_destroy(&m->cond);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

uint64_t
volmodel_cloned(const struct volmodel *m)
{
	return m->cloned;
}

const char *
volmodel_error(const struct volmodel *m)
{
	return m->error;
}
