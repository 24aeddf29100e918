/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rig of the journal's tests, see journalrig.h. */
#include "test/lib/journalrig.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "stores/chunked/journal_impl.h"

struct rig_append {
	struct rig *rig;
	struct rig_append *next;
	struct journal_append append;
	bool done;
	unsigned n;
	struct journal_entry entries[];
};

uint64_t
rig_random(uint64_t *seed)
{
	/* splitmix64 */
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void
rig_init(struct rig *rig, struct vfs *vfs, const char *dir)
{
	*rig = (struct rig){.vfs = vfs, .dir = dir, .capacity = 4ull * RIG_SEGMENT};
	rig->tail = &rig->appends;
	memset(rig->volume_uuid, 0x5a, UUID_LEN);
	pthread_mutex_init(&rig->mutex, NULL);
	pthread_cond_init(&rig->cond, NULL);
	int rc = loop_pool_init(2);
	assert(rc == 0);
	rc = loop_new("journal", 0, &rig->loop);
	assert(rc == 0);
	rc = arena_new(48u << 20, &rig->arena);
	assert(rc == 0);
	rc = loop_start(rig->loop);
	assert(rc == 0);
}

static void
drop_appends(struct rig *rig)
{
	while (rig->appends) {
		struct rig_append *a = rig->appends;

		rig->appends = a->next;
		free(a);
	}
	rig->tail = &rig->appends;
}

void
rig_forget(struct rig *rig)
{
	assert(!rig->j);
	drop_appends(rig);
	rig->nmust = rig->ngot = 0;
	rig->acked = rig->last_acked_seq = 0;
}

void
rig_fini(struct rig *rig)
{
	rig_forget(rig);
	loop_free(rig->loop);
	loop_pool_fini();
	arena_free(rig->arena);
	free(rig->must);
	free(rig->got);
	pthread_mutex_destroy(&rig->mutex);
	pthread_cond_destroy(&rig->cond);
}

static void
push(struct rig_entry **list, size_t *n, size_t *room, uint64_t seq, const struct journal_entry *e)
{
	if (*n == *room) {
		*room = *room ? *room * 2 : 256;
		*list = realloc(*list, *room * sizeof(**list));
		assert(*list);
	}
	(*list)[(*n)++] = (struct rig_entry){seq, *e};
}

static int
collect(void *arg, uint64_t seq, const struct journal_entry *entry)
{
	struct rig *rig = arg;

	if (entry->type == JOURNAL_ATTR) {
		assert(entry->bytes ? crc32c(0, entry->bytes, PAGE_SIZE_BYTES) == entry->crc
				    : rig->accept_loss);
		rig->nlost += !entry->bytes;
	}
	push(&rig->got, &rig->ngot, &rig->room_got, seq, entry);
	return 0;
}

int
rig_open(struct rig *rig, bool create, const uint8_t *expect)
{
	struct journal_params params = {
		.dir = rig->dir,
		.vfs = rig->vfs,
		.loop = rig->loop,
		.arena = rig->arena,
		.capacity = rig->capacity,
		.generation = ++rig->generation,
		.covered_seq = rig->covered_seq,
		.accept_loss = rig->accept_loss,
		.segment_bytes = RIG_SEGMENT,
	};

	memcpy(params.volume_uuid, rig->volume_uuid, UUID_LEN);
	rig->ngot = rig->nlost = 0;
	rig->info.text[0] = 0;
	int rc = journal_open(&params, create, expect, collect, rig, &rig->recovery, &rig->j, &rig->info);
	if (!rc)
		memcpy(rig->uuid, rig->recovery.uuid, UUID_LEN);
	return rc;
}

static bool
same(const struct journal_entry *a, const struct journal_entry *b)
{
	return a->type == b->type && a->page == b->page && a->count == b->count &&
	       (!journal_has_page(a->type) || a->crc == b->crc);
}

static const struct rig_entry *
find(const struct rig *rig, uint64_t seq)
{
	size_t lo = 0, hi = rig->ngot;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (rig->got[mid].seq < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < rig->ngot && rig->got[lo].seq == seq ? &rig->got[lo] : NULL;
}

static const char *
check_append(struct rig *rig, const struct rig_append *a, size_t *explained)
{
	unsigned there = 0, due = 0;

	for (unsigned i = 0; i < a->n; i++) {
		uint64_t seq = a->append.first_seq + i;
		const struct rig_entry *got = find(rig, seq);

		due += seq > rig->covered_seq;
		if (!got)
			continue;
		if (!same(&got->entry, &a->entries[i])) {
			/* the number of an append that failed unseen may have been given to a later one */
			if (a->append.status == 0)
				return "an acknowledged entry came back as another one";
			continue;
		}
		there++;
	}
	if (a->append.status == 0 && there != due)
		return "an acknowledged append is lost";
	if (there != 0 && there != due)
		return "an append was replayed in part";
	*explained += there;
	return NULL;
}

const char *
rig_check(struct rig *rig)
{
	size_t explained = 0;

	for (size_t i = 1; i < rig->ngot; i++)
		if (rig->got[i].seq <= rig->got[i - 1].seq)
			return "replay is out of order";
	if (rig->ngot && rig->got[0].seq <= rig->covered_seq)
		return "replay hands out what the root covers";
	for (size_t i = 0; i < rig->nmust; i++) {
		const struct rig_entry *m = &rig->must[i], *got = find(rig, m->seq);

		if (m->seq <= rig->covered_seq)
			continue;
		if (!got || !same(&got->entry, &m->entry))
			return "an entry that was replayed before is lost";
		explained++;
	}
	for (const struct rig_append *a = rig->appends; a; a = a->next) {
		const char *wrong = check_append(rig, a, &explained);

		if (wrong)
			return wrong;
	}
	if (explained != rig->ngot)
		return "replay hands out what was never appended";
	if (rig->ngot && rig->recovery.last_seq < rig->got[rig->ngot - 1].seq)
		return "the next sequence would repeat one";
	drop_appends(rig);
	rig->nmust = 0;
	for (size_t i = 0; i < rig->ngot; i++)
		push(&rig->must, &rig->nmust, &rig->room_must, rig->got[i].seq, &rig->got[i].entry);
	return NULL;
}

/* ---- on the loop ------------------------------------------------------------ */

static void
append_done(struct journal_append *append)
{
	struct rig_append *a = container_of(append, struct rig_append, append);
	struct rig *rig = a->rig;

	for (unsigned i = 0; i < a->n; i++)
		if (journal_has_page(a->entries[i].type))
			page_unref(a->entries[i].data);
	pthread_mutex_lock(&rig->mutex);
	assert(!a->done);
	a->done = true;
	if (append->status == 0) {
		/* in order, and durable by the journal's own account */
		assert(append->first_seq > rig->last_acked_seq);
		rig->last_acked_seq = append->first_seq + a->n - 1;
		assert(journal_durable_seq(rig->j) >= rig->last_acked_seq);
		rig->acked++;
	}
	rig->outstanding--;
	pthread_cond_broadcast(&rig->cond);
	pthread_mutex_unlock(&rig->mutex);
}

static int
append_call(void *arg)
{
	for (struct rig_append *a = arg; a; a = a->next)
		journal_append(a->rig->j, &a->append);
	return 0;
}

void
rig_hold(struct rig *rig)
{
	rig->hold = true;
	rig->held = NULL;
}

void
rig_go(struct rig *rig)
{
	rig->hold = false;
	if (rig->held)
		loop_call(rig->loop, append_call, rig->held);
	rig->held = NULL;
}

static void
fill(uint8_t *p, uint64_t *seed)
{
	uint64_t word = rig_random(seed);

	for (unsigned i = 0; i < PAGE_SIZE_BYTES; i += 8)
		put_le64(p + i, word + i);
}

static void
submit(struct rig *rig, struct rig_append *a)
{
	a->rig = rig;
	a->append =
		(struct journal_append){.entries = a->entries, .n = a->n, .status = 1, .done = append_done};
	*rig->tail = a;
	rig->tail = &a->next;
	pthread_mutex_lock(&rig->mutex);
	rig->outstanding++;
	pthread_mutex_unlock(&rig->mutex);
	if (!rig->hold)
		loop_call(rig->loop, append_call, a);
	else if (!rig->held)
		rig->held = a;
}

static void
make_write(struct rig *rig, struct journal_entry *e, uint64_t page, uint64_t *seed)
{
	*e = (struct journal_entry){.type = JOURNAL_WRITE, .page = page, .count = 1};
	int rc = arena_alloc(rig->arena, &e->data, 1);
	assert(rc == 0);
	fill(e->data->data, seed);
	e->crc = crc32c(0, e->data->data, PAGE_SIZE_BYTES);
}

/** An attribute of n pages; entries from e on. */
static void
make_attr(struct rig *rig, struct journal_entry *e, unsigned n, uint64_t *seed)
{
	for (unsigned i = 0; i < n; i++) {
		make_write(rig, &e[i], i, seed);
		e[i].type = JOURNAL_ATTR;
		e[i].count = n;
	}
}

void
rig_attr(struct rig *rig, unsigned n, uint64_t *seed)
{
	struct rig_append *a = calloc(1, sizeof(*a) + n * sizeof(a->entries[0]));

	assert(a);
	a->n = n;
	make_attr(rig, a->entries, n, seed);
	submit(rig, a);
}

void
rig_writes(struct rig *rig, unsigned n, uint64_t *seed)
{
	struct rig_append *a = calloc(1, sizeof(*a) + n * sizeof(a->entries[0]));

	assert(a);
	a->n = n;
	for (unsigned i = 0; i < n; i++)
		make_write(rig, &a->entries[i], i, seed);
	submit(rig, a);
}

void
rig_write(struct rig *rig, uint64_t page, uint64_t *seed)
{
	struct rig_append *a = calloc(1, sizeof(*a) + sizeof(a->entries[0]));

	assert(a);
	a->n = 1;
	make_write(rig, &a->entries[0], page, seed);
	submit(rig, a);
}

void
rig_append(struct rig *rig, uint64_t *seed, unsigned max_entries)
{
	unsigned n = 1 + (unsigned)(rig_random(seed) % max_entries);
	struct rig_append *a = calloc(1, sizeof(*a) + n * sizeof(a->entries[0]));

	assert(a);
	a->n = n;
	for (unsigned i = 0; i < n; i++) {
		uint64_t r = rig_random(seed), page = r >> 20 & 0xffff;
		struct journal_entry *e = &a->entries[i];

		if (r % 16 == 0) {
			*e = (struct journal_entry){
				.type = JOURNAL_ZERO, .page = page, .count = 1 + r % 1000};
		} else if (r % 16 == 1) {
			*e = (struct journal_entry){
				.type = JOURNAL_TRIM, .page = page, .count = (UINT64_C(1) << 47) + r % 9};
		} else if (r % 64 == 2) {
			*e = (struct journal_entry){.type = JOURNAL_RESIZE, .page = 1 + (r >> 3), .count = 1};
		} else if (r % 64 == 18 && i + 3 <= n) {
			unsigned pages = 1 + r / 64 % 3;

			make_attr(rig, e, pages, seed);
			i += pages - 1;
		} else if (r % 64 == 34 && i + 2 <= n) {
			e[0] = (struct journal_entry){.type = JOURNAL_BASE, .page = page, .count = r >> 40};
			e[1] = (struct journal_entry){
				.type = JOURNAL_CLONE, .page = r >> 32, .count = r >> 20};
			i++;
		} else {
			make_write(rig, e, page, seed);
		}
	}
	submit(rig, a);
}

void
rig_wait(struct rig *rig)
{
	pthread_mutex_lock(&rig->mutex);
	while (rig->outstanding)
		pthread_cond_wait(&rig->cond, &rig->mutex);
	pthread_mutex_unlock(&rig->mutex);
}

struct ask {
	struct rig *rig;
	uint64_t seq, answer;
};

static int
preparing_call(void *arg)
{
	struct ask *ask = arg;

	return ask->rig->j->preparing != NULL;
}

void
rig_wait_quiet(struct rig *rig)
{
	struct ask ask = {.rig = rig};

	rig_wait(rig);
	while (loop_call(rig->loop, preparing_call, &ask))
		sched_yield();
}

static int
room_call(void *arg)
{
	struct ask *ask = arg;

	ask->answer = journal_room(ask->rig->j);
	return 0;
}

uint64_t
rig_room(struct rig *rig)
{
	struct ask ask = {.rig = rig};

	loop_call(rig->loop, room_call, &ask);
	return ask.answer;
}

static int
used_call(void *arg)
{
	struct ask *ask = arg;

	ask->answer = journal_used(ask->rig->j);
	return 0;
}

uint64_t
rig_used(struct rig *rig)
{
	struct ask ask = {.rig = rig};

	loop_call(rig->loop, used_call, &ask);
	return ask.answer;
}

static int
health_call(void *arg)
{
	struct ask *ask = arg;

	return journal_health(ask->rig->j);
}

int
rig_health(struct rig *rig)
{
	struct ask ask = {.rig = rig};

	return loop_call(rig->loop, health_call, &ask);
}

static int
release_call(void *arg)
{
	struct ask *ask = arg;

	journal_release(ask->rig->j, ask->seq);
	return 0;
}

void
rig_release(struct rig *rig, uint64_t seq)
{
	struct ask ask = {.rig = rig, .seq = seq};

	rig->covered_seq = seq;
	loop_call(rig->loop, release_call, &ask);
}

static void
on_quiesced(void *arg)
{
	struct rig *rig = arg;

	pthread_mutex_lock(&rig->mutex);
	rig->quiesced = true;
	pthread_cond_broadcast(&rig->cond);
	pthread_mutex_unlock(&rig->mutex);
}

static int
quiesce_call(void *arg)
{
	struct rig *rig = arg;

	journal_quiesce(rig->j, on_quiesced, rig);
	return 0;
}

void
rig_close(struct rig *rig, bool remove)
{
	rig->quiesced = false;
	loop_call(rig->loop, quiesce_call, rig);
	pthread_mutex_lock(&rig->mutex);
	while (!rig->quiesced)
		pthread_cond_wait(&rig->cond, &rig->mutex);
	assert(rig->outstanding == 0);
	pthread_mutex_unlock(&rig->mutex);
	journal_destroy(rig->j, remove);
	rig->j = NULL;
}

/* ---- reading back --------------------------------------------------------------- */

struct reading {
	struct journal_read read;
	struct rig *rig;
};

static void
read_done(struct journal_read *read)
{
	struct reading *reading = container_of(read, struct reading, read);
	struct rig *rig = reading->rig;

	pthread_mutex_lock(&rig->mutex);
	rig->outstanding--;
	pthread_cond_broadcast(&rig->cond);
	pthread_mutex_unlock(&rig->mutex);
}

static int
read_call(void *arg)
{
	struct reading *reading = arg;

	journal_read(reading->rig->j, &reading->read);
	return 0;
}

const char *
rig_read_all(struct rig *rig, bool corrupt_ok)
{
	struct reading reading = {.rig = rig};
	const char *wrong = NULL;
	int rc = arena_alloc(rig->arena, &reading.read.page, 1);

	assert(rc == 0);
	for (size_t i = 0; i < rig->ngot && !wrong; i++) {
		const struct journal_entry *e = &rig->got[i].entry;

		if (!journal_has_page(e->type))
			continue;
		reading.read.pos = e->pos;
		reading.read.crc = e->crc;
		reading.read.done = read_done;
		pthread_mutex_lock(&rig->mutex);
		rig->outstanding++;
		pthread_mutex_unlock(&rig->mutex);
		loop_call(rig->loop, read_call, &reading);
		rig_wait(rig);
		if (reading.read.status == LG_ECORRUPT && corrupt_ok)
			continue;
		if (reading.read.status)
			wrong = "a replayed page cannot be read back";
		else if (crc32c(0, reading.read.page->data, PAGE_SIZE_BYTES) != e->crc)
			wrong = "a page was read back with other bytes";
	}
	page_unref(reading.read.page);
	return wrong;
}
