/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local journal at work: appending, releasing, reading back.  Opening and
 * replay are in journal_replay.c, the files in journal_slots.c, the bytes in journal_fmt.c.
 *
 *   idle -> scheduled (loop_defer) -> one write in flight -> idle or scheduled ...
 *                                          `-> failed, for good
 *
 * A batch is what was appended while the loop handled its events and while
 * the write before it was on its way: up to 32 records, back to back in one
 * segment, in one write followed by one fdatasync.  Appends share records; one is never split
 * over two.  The segment's header is page 0 of the first batch in it.
 *
 * Invariants
 *   - One write in flight.  So whatever stands before a batch was durable when the batch was built,
 *     and each record in it says so (durable_pos, durable_seq).
 *   - pending_pages is what the waiting appends cost if none of them shares a record: journal_room()
 *     keeps it back, so an accepted append always finds its place.
 *   - A slot becomes free (READY) once it is released and no read is in flight in it.
 *   - Nothing here allocates memory after opening.
 *
 * A short while after the last batch a MARK is written: until then nothing on the
 * disk proves that this batch was durable, and damage to it could not be told from a torn tail.
 *
 * Failure: the first error of a write or sync is kept in health; everything in
 * flight, waiting and later completes with LG_EPOISONED, in order.  Nothing is written any more.
 *
 * Threads: the volume's loop, but for journal_open() and journal_destroy().
 */
#include "stores/chunked/journal_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"

#define MARK_DELAY_MS 200
#define WASTE_PAGES                                                                                          \
	JOURNAL_APPEND_MAX /* what the end of a segment can leave unused: one record less a page */

static void check_quiesced(struct journal *j);

/* ---- room ------------------------------------------------------------------ */

static unsigned
free_slots(const struct journal *j)
{
	unsigned n = 0;

	for (unsigned i = 0; i < j->nslots; i++)
		n += j->slots[i].state == SLOT_READY || j->slots[i].state == SLOT_RESERVED ||
		     j->slots[i].state == SLOT_PREPARING;
	return n;
}

/** Pages that appends, of whatever sizes, are sure to find. */
static uint64_t
sure_pages(const struct journal *j)
{
	uint64_t active = j->active ? j->segment_pages - j->active->end : 0;
	uint64_t pages = (uint64_t)free_slots(j) * (j->segment_pages - 1 - WASTE_PAGES);

	if (active > WASTE_PAGES)
		pages += active - WASTE_PAGES;
	return pages > j->pending_pages ? pages - j->pending_pages : 0;
}

uint64_t
journal_room(const struct journal *j)
{
	/* the dearest append has a header page for each page of payload */
	return sure_pages(j) / 2 * JOURNAL_PAGE;
}

uint64_t
journal_room_most(const struct journal *j)
{
	unsigned n = 0;

	/* the active segment may be full */
	for (unsigned i = 0; i < j->nslots; i++)
		n += j->slots[i].state != SLOT_BROKEN && &j->slots[i] != j->active;
	n = min_of(n, j->nslots - 1);
	return (uint64_t)n * (j->segment_pages - 1 - WASTE_PAGES) / 2 * JOURNAL_PAGE;
}

uint64_t
journal_used(const struct journal *j)
{
	uint64_t pages = j->pending_pages;

	for (unsigned i = 0; i < j->nslots; i++)
		if (j->slots[i].state == SLOT_LIVE)
			pages += &j->slots[i] == j->active ? j->slots[i].end : j->segment_pages;
		else if (j->slots[i].state == SLOT_BROKEN)
			pages += j->segment_pages;
	return min_of(pages * JOURNAL_PAGE, journal_capacity(j));
}

uint64_t
journal_capacity(const struct journal *j)
{
	return (uint64_t)j->nslots * j->segment_bytes;
}

uint64_t
journal_last_seq(const struct journal *j)
{
	return j->last_seq;
}

uint64_t
journal_durable_seq(const struct journal *j)
{
	return j->durable_seq;
}

int
journal_health(const struct journal *j)
{
	return j->health;
}

/* ---- slots ------------------------------------------------------------------- */

static void schedule(struct journal *j);

static void
prep_run(struct loop_work *work)
{
	struct journal *j = container_of(work, struct journal, prep);

	/* the result travels in the slot: BROKEN until it is whole */
	int rc = journal_slot_fill(j, j->preparing);

	j->preparing->last_seq = (uint64_t)(int64_t)rc;
}

static void fail(struct journal *j, int status);
static void prep_kick(struct journal *j);

static void
prep_done(struct loop_work *work)
{
	struct journal *j = container_of(work, struct journal, prep);
	struct journal_slot *slot = j->preparing;
	int rc = (int)(int64_t)slot->last_seq;

	slot->last_seq = 0;
	slot->state = rc ? SLOT_BROKEN : SLOT_READY;
	j->preparing = NULL;
	if (rc)
		log_error("journal %s: cannot write segment file %u through: %s; it is left out", j->dir,
			  slot->index, err_text(rc));
	prep_kick(j);
	if (j->starved && !j->preparing) {
		j->starved = false;
		if (rc)
			fail(j, rc); /* appends wait for a segment, and no other can be made */
		schedule(j);
	}
	check_quiesced(j);
}

/** See to it that one READY slot is there before it is needed. */
static void
prep_kick(struct journal *j)
{
	struct journal_slot *reserved = NULL;

	if (j->preparing || j->quiescing)
		return;
	for (unsigned i = 0; i < j->nslots; i++) {
		if (j->slots[i].state == SLOT_READY)
			return;
		if (j->slots[i].state == SLOT_RESERVED && !reserved)
			reserved = &j->slots[i];
	}
	if (!reserved)
		return;
	reserved->state = SLOT_PREPARING;
	j->preparing = reserved;
	j->prep.run = prep_run;
	j->prep.done = prep_done;
	loop_offload(j->loop, &j->prep);
}

static struct journal_slot *
ready_slot(struct journal *j)
{
	for (unsigned i = 0; i < j->nslots; i++)
		if (j->slots[i].state == SLOT_READY)
			return &j->slots[i];
	return NULL;
}

static void
free_if_unused(struct journal_slot *slot)
{
	if (slot->state == SLOT_LIVE && slot->released && slot->pins == 0)
		slot->state = SLOT_READY;
}

void
journal_release(struct journal *j, uint64_t seq)
{
	if (seq <= j->released_seq)
		return;
	assert(seq <= j->last_seq);
	j->released_seq = seq;
	for (unsigned i = 0; i < j->nslots; i++) {
		struct journal_slot *slot = &j->slots[i];

		if (slot->state != SLOT_LIVE || slot == j->active || slot->last_seq > seq)
			continue;
		slot->released = true;
		free_if_unused(slot);
	}
	if (j->starved && ready_slot(j)) {
		j->starved = false;
		schedule(j);
	}
}

/* ---- building a batch ----------------------------------------------------------- */

struct builder {
	struct journal *j;
	struct journal_slot *slot;
	uint32_t page;  /* next one of the segment */
	uint64_t start; /* byte offset of the write */
	unsigned records;
	unsigned payload; /* pages, all records */
	struct journal_append *tail;
	/* the record that is open */
	uint8_t *header;
	struct journal_record rec;
};

static void
push_iov(struct journal *j, void *p, size_t n)
{
	struct iovec *last = j->niov ? &j->iov[j->niov - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == p) {
		last->iov_len += n;
		return;
	}
	assert(j->niov < (int)BATCH_IOV);
	j->iov[j->niov++] = (struct iovec){p, n};
}

static void
open_record(struct builder *b, enum journal_record_type type)
{
	struct journal *j = b->j;

	assert(b->records < BATCH_RECORDS);
	b->header = j->headers + (size_t)b->records * JOURNAL_PAGE;
	b->records++;
	journal_record_begin(b->header);
	b->rec = (struct journal_record){
		.type = type,
		.first_seq = j->chain_seq + 1,
		.prev_seq = j->chain_seq,
		.durable_seq = j->proven_seq,
		.durable_pos = j->proven_pos,
		.released_seq = j->released_seq,
		.generation = j->generation,
		.incarnation = b->slot->incarnation,
		.epoch = j->epoch,
		.pos = journal_pos(b->slot->number, b->page),
		.prev_pos = j->tip_pos,
		.prev_crc = j->tip_crc,
	};
	memcpy(b->rec.journal_uuid, j->uuid, UUID_LEN);
	push_iov(j, b->header, JOURNAL_PAGE);
	b->page++;
}

static void
close_record(struct builder *b)
{
	struct journal *j = b->j;

	if (!b->header)
		return;
	journal_record_encode(&b->rec, b->header);
	j->tip_pos = b->rec.pos;
	j->tip_crc = b->rec.crc;
	j->tip_is_mark = b->rec.type == JOURNAL_RECORD_MARK;
	j->chain_seq = journal_record_last(&b->rec);
	b->header = NULL;
}

static unsigned
payload_of(const struct journal_append *a)
{
	unsigned n = 0;

	for (unsigned i = 0; i < a->n; i++)
		n += journal_has_page(a->entries[i].type);
	return n;
}

static void
add_append(struct builder *b, struct journal_append *a)
{
	struct journal *j = b->j;

	if (!b->rec.entries)
		b->rec.first_seq = a->first_seq;
	assert(b->rec.first_seq + b->rec.entries == a->first_seq);
	for (unsigned i = 0; i < a->n; i++) {
		struct journal_entry *e = &a->entries[i];

		journal_entry_encode(b->header, b->rec.entries++, e);
		if (!journal_has_page(e->type))
			continue;
		e->pos = journal_pos(b->slot->number, b->page++);
		b->rec.payload++;
		b->payload++;
		push_iov(j, e->data->data, JOURNAL_PAGE);
	}
}

/** Begin a segment: its header goes out with the batch. */
static void
begin_segment(struct builder *b, struct journal_slot *slot, uint64_t first_seq)
{
	struct journal *j = b->j;
	uint8_t *page = j->headers + (size_t)BATCH_RECORDS * JOURNAL_PAGE;
	struct journal_segment seg = {
		.state = JOURNAL_SEGMENT_USED,
		.segment_bytes = j->segment_bytes,
		.number = j->next_number,
		.incarnation = j->incarnation + 1,
		.epoch = j->epoch,
		.generation = j->generation,
		.first_seq = first_seq,
		.prev_seq = j->chain_seq,
		.prev_pos = j->tip_pos,
	};

	memcpy(seg.volume_uuid, j->volume_uuid, UUID_LEN);
	memcpy(seg.journal_uuid, j->uuid, UUID_LEN);
	journal_segment_encode(&seg, page);
	j->next_number++;
	j->incarnation++;
	if (j->active && j->active->last_seq <= j->released_seq) {
		j->active->released = true;
		free_if_unused(j->active);
	}
	*slot = (struct journal_slot){.file = slot->file,
				      .index = slot->index,
				      .state = SLOT_LIVE,
				      .number = seg.number,
				      .incarnation = seg.incarnation,
				      .end = 1};
	j->active = slot;
	b->slot = slot;
	b->page = 1;
	b->start = 0;
	push_iov(j, page, JOURNAL_PAGE);
}

/** Take appends from the queue as long as they fit; false: none did, for want of a segment. */
static bool
take_appends(struct builder *b)
{
	struct journal *j = b->j;

	while (j->head) {
		struct journal_append *a = j->head;
		unsigned w = payload_of(a);
		bool fresh = !b->header || b->rec.entries + a->n > JOURNAL_RECORD_ENTRIES;

		if ((fresh && b->records == BATCH_RECORDS) || b->payload + w > BATCH_PAGES)
			break;
		if (!b->slot || b->page + fresh + w > j->segment_pages) {
			if (b->records)
				break;
			struct journal_slot *slot = ready_slot(j);
			if (!slot)
				return false;
			begin_segment(b, slot, a->first_seq);
		}
		if (fresh) {
			close_record(b);
			open_record(b, JOURNAL_RECORD_CHANGES);
		}
		add_append(b, a);
		j->pending_pages -= 1 + w;
		j->head = a->next;
		a->next = NULL;
		if (b->tail)
			b->tail->next = a;
		else
			j->batch = a;
		b->tail = a;
	}
	if (!j->head)
		j->tail = &j->head;
	close_record(b);
	return true;
}

static void
take_mark(struct builder *b)
{
	struct journal *j = b->j;

	j->mark_wanted = false;
	if (!b->slot || b->page + 1 > j->segment_pages)
		return; /* a mark alone is not worth a segment */
	open_record(b, JOURNAL_RECORD_MARK);
	close_record(b);
}

/* ---- writing it -------------------------------------------------------------------- */

static void batch_done(struct journal *j, int status);

static void
disk_done(struct disk_req *req)
{
	struct journal *j = container_of(req, struct journal, req);

	batch_done(j, req->status ? req->status : j->batch_fault);
}

static void
skipped_done(struct loop_msg *msg)
{
	struct journal *j = container_of(msg, struct journal, batch_msg);

	batch_done(j, j->batch_fault);
}

static void
submit(struct journal *j, const struct builder *b)
{
	uint64_t length = 0;
	int write_fault = failpoint_hit(FP_JOURNAL_WRITE);
	int sync_fault = failpoint_hit(FP_JOURNAL_FSYNC);

	for (int i = 0; i < j->niov; i++)
		length += j->iov[i].iov_len;
	b->slot->end = b->page;
	b->slot->last_seq = j->chain_seq;
	j->batch_seq = j->chain_seq;
	j->inflight = true;
	j->batch_fault = write_fault < 0 ? write_fault : sync_fault < 0 ? sync_fault : 0;
	if (write_fault) {
		j->batch_msg.fn = skipped_done;
		loop_post(j->loop, &j->batch_msg);
		return;
	}
	j->req = (struct disk_req){
		.loop = j->loop,
		.file = b->slot->file,
		.op = sync_fault ? DISK_WRITE : DISK_WRITE_SYNC,
		.offset = b->start,
		.length = length,
		.iov = j->iov,
		.niov = j->niov,
		.done = disk_done,
	};
	disk_submit(&j->req);
}

static void
complete(struct journal_append *list, int status)
{
	while (list) {
		struct journal_append *next = list->next;

		list->status = status;
		list->done(list);
		list = next;
	}
}

/** The first failure decides; what waits is completed from run(). */
static void
fail(struct journal *j, int status)
{
	if (j->health)
		return;
	j->health = status;
	log_error("journal %s: failed for good after sequence %" PRIu64 ": %s (%s)", j->dir, j->durable_seq,
		  err_name(status), err_text(status));
}

static void
fail_pending(struct journal *j)
{
	struct journal_append *list = j->head;

	j->head = NULL;
	j->tail = &j->head;
	j->pending_pages = 0;
	complete(list, LG_EPOISONED);
}

static void
batch_done(struct journal *j, int status)
{
	struct journal_append *list = j->batch;

	j->inflight = false;
	j->batch = NULL;
	if (status) {
		fail(j, status);
		complete(list, LG_EPOISONED);
		fail_pending(j);
	} else {
		if (list)
			j->durable_seq = j->batch_seq;
		j->proven_seq = j->batch_seq;
		j->proven_pos = j->tip_pos;
		complete(list, 0);
		prep_kick(j);
	}
	if (j->head || j->mark_wanted)
		schedule(j);
	else if (!j->health && !j->tip_is_mark && !j->quiescing)
		loop_timer_start(&j->mark_timer, MARK_DELAY_MS);
	check_quiesced(j);
}

static void
run(struct loop_msg *msg)
{
	struct journal *j = container_of(msg, struct journal, run_msg);
	struct builder b = {.j = j};

	j->scheduled = false;
	if (j->inflight)
		return; /* batch_done() schedules again */
	if (j->health) {
		j->mark_wanted = false;
		fail_pending(j);
		check_quiesced(j);
		return;
	}
	if (j->active) {
		b.slot = j->active;
		b.page = j->active->end;
		b.start = (uint64_t)b.page * JOURNAL_PAGE;
	}
	j->niov = 0;
	if (j->head && !take_appends(&b)) {
		j->starved = true;
		prep_kick(j);
		if (!j->preparing) {
			/* journal_room() promised a segment; the last one that could be had is broken */
			fail(j, -ENOSPC);
			fail_pending(j);
			check_quiesced(j);
		}
		return;
	}
	if (!b.records && j->mark_wanted)
		take_mark(&b);
	if (b.records)
		submit(j, &b);
	else
		check_quiesced(j);
}

static void
schedule(struct journal *j)
{
	if (j->scheduled || j->inflight || j->starved)
		return;
	j->scheduled = true;
	j->run_msg.fn = run;
	loop_defer(j->loop, &j->run_msg);
}

static void
mark_due(struct loop_timer *timer)
{
	struct journal *j = container_of(timer, struct journal, mark_timer);

	if (j->inflight || j->head || j->health || j->tip_is_mark || j->quiescing)
		return;
	j->mark_wanted = true;
	schedule(j);
}

void
journal_append(struct journal *j, struct journal_append *a)
{
	unsigned w = payload_of(a);

	assert(loop_current() == j->loop && !j->quiescing);
	assert(a->n >= 1 && a->n <= JOURNAL_APPEND_MAX);
	assert(j->last_seq + a->n <= JOURNAL_SEQ_MAX);
	assert(j->health || 1 + w <= sure_pages(j));
	a->first_seq = j->last_seq + 1;
	a->next = NULL;
	a->status = 0;
	j->last_seq += a->n;
	j->pending_pages += 1 + w;
	*j->tail = a;
	j->tail = &a->next;
	if (j->mark_timer.due_ms)
		loop_timer_stop(&j->mark_timer);
	schedule(j);
}

/* ---- reading back ------------------------------------------------------------------- */

struct read_priv {
	struct disk_req req;
	struct iovec iov;
	struct journal_read *read;
	struct journal_slot *slot;
	struct loop_msg msg;
};
_Static_assert(sizeof(struct read_priv) <= sizeof(((struct journal_read *)0)->priv), "room in journal_read");

static struct read_priv *
priv_of(struct journal_read *read)
{
	return (struct read_priv *)(void *)read->priv;
}

static void
read_finish(struct journal_read *read)
{
	struct journal *j = read->journal;

	j->reads--;
	read->done(read);
	check_quiesced(j);
}

static void
read_disk_done(struct disk_req *req)
{
	struct read_priv *priv = container_of(req, struct read_priv, req);
	struct journal_read *read = priv->read;
	struct journal *j = read->journal;

	priv->slot->pins--;
	free_if_unused(priv->slot);
	if (priv->slot->state == SLOT_READY && j->starved) {
		j->starved = false;
		schedule(j);
	}
	read->status = req->status;
	if (!read->status && crc32c(0, read->page->data, JOURNAL_PAGE) != read->crc)
		read->status = LG_ECORRUPT;
	read_finish(read);
}

static void
read_refused(struct loop_msg *msg)
{
	struct read_priv *priv = container_of(msg, struct read_priv, msg);

	read_finish(priv->read);
}

void
journal_read(struct journal *j, struct journal_read *read)
{
	struct read_priv *priv = priv_of(read);
	uint64_t number = journal_pos_number(read->pos);
	uint32_t page = journal_pos_page(read->pos);
	struct journal_slot *slot = NULL;

	assert(loop_current() == j->loop && !j->quiesced);
	for (unsigned i = 0; i < j->nslots && !slot; i++)
		if (j->slots[i].state == SLOT_LIVE && j->slots[i].number == number)
			slot = &j->slots[i];
	read->journal = j;
	j->reads++;
	*priv = (struct read_priv){.read = read, .slot = slot};
	if (!slot || page == 0 || page >= slot->end) {
		read->status = -ENOENT;
		priv->msg.fn = read_refused;
		loop_post(j->loop, &priv->msg);
		return;
	}
	slot->pins++;
	priv->iov = (struct iovec){read->page->data, JOURNAL_PAGE};
	priv->req = (struct disk_req){
		.loop = j->loop,
		.file = slot->file,
		.op = DISK_READ,
		.offset = (uint64_t)page * JOURNAL_PAGE,
		.length = JOURNAL_PAGE,
		.iov = &priv->iov,
		.niov = 1,
		.done = read_disk_done,
	};
	disk_submit(&priv->req);
}

/* ---- end ------------------------------------------------------------------------------- */

static void
quiesced(struct loop_msg *msg)
{
	struct journal *j = container_of(msg, struct journal, quiesce_msg);

	j->quiesce_done(j->quiesce_arg);
}

static void
check_quiesced(struct journal *j)
{
	if (!j->quiescing || j->quiesced || j->inflight || j->scheduled || j->head || j->mark_wanted ||
	    j->preparing || j->reads)
		return;
	j->quiesced = true;
	j->quiesce_msg.fn = quiesced;
	loop_post(j->loop, &j->quiesce_msg);
}

void
journal_quiesce(struct journal *j, void (*done)(void *arg), void *arg)
{
	assert(loop_current() == j->loop && !j->quiescing);
	loop_timer_stop(&j->mark_timer);
	j->quiescing = true;
	j->quiesce_done = done;
	j->quiesce_arg = arg;
	/* the closing mark: it proves what lies before it and tells how much of that is released */
	j->mark_wanted = !j->health && j->active;
	if (j->mark_wanted)
		schedule(j);
	check_quiesced(j);
}

static void
journal_free(struct journal *j)
{
	journal_close_files(j);
	free(j->headers);
	free(j->zeroes);
	free(j->dir);
	free(j);
}

void
journal_destroy(struct journal *j, bool remove)
{
	struct vfs *vfs = j->vfs;
	char *dir = remove ? strdup(j->dir) : NULL;

	assert(j->quiesced && !j->inflight && !j->head);
	journal_free(j);
	if (!dir)
		return;
	int rc = journal_delete(vfs, dir);
	if (rc)
		log_warn("journal %s: cannot remove it: %s", dir, err_text(rc));
	free(dir);
}

/* ---- opening ------------------------------------------------------------------------------- */

static int
journal_new(const struct journal_params *params, struct journal **ret)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->vfs = params->vfs;
	j->loop = params->loop;
	j->generation = params->generation;
	memcpy(j->volume_uuid, params->volume_uuid, UUID_LEN);
	j->segment_bytes = params->segment_bytes ? params->segment_bytes : JOURNAL_SEGMENT_BYTES;
	j->segment_pages = j->segment_bytes / JOURNAL_PAGE;
	j->tail = &j->head;
	j->dir = strdup(params->dir);
	loop_timer_init(&j->mark_timer, params->loop, mark_due);
	if (!j->dir ||
	    posix_memalign((void **)&j->headers, JOURNAL_PAGE, (size_t)(BATCH_RECORDS + 1) * JOURNAL_PAGE) !=
		    0 ||
	    posix_memalign((void **)&j->zeroes, JOURNAL_PAGE, ZERO_BYTES) != 0) {
		journal_free(j);
		return -ENOMEM;
	}
	memset(j->zeroes, 0, ZERO_BYTES);
	*ret = j;
	return 0;
}

/** Slots that capacity asks for. */
static unsigned
wanted_slots(const struct journal *j, uint64_t capacity)
{
	uint64_t n = capacity / j->segment_bytes;

	return (unsigned)max_of(min_of(n, (uint64_t)65536), (uint64_t)SLOTS_MIN);
}

/** What a creation that was cut off, or a journal that was never used, left behind goes; anything else is set
 * aside, or stays. */
static int
clear_leftovers(struct journal *j, const struct journal_params *params, struct errinfo *info)
{
	uint8_t *page;
	int rc = journal_slots_list(j, info);

	if (rc)
		return rc;
	if (posix_memalign((void **)&page, JOURNAL_PAGE, JOURNAL_PAGE) != 0)
		return err_set(info, -ENOMEM, "no memory");
	for (unsigned i = 0; i < j->nslots && !rc; i++) {
		struct journal_segment seg;
		struct vfs_stat st;

		rc = j->vfs->ops->fstat(j->slots[i].file, &st);
		if (!rc && st.size >= JOURNAL_PAGE)
			rc = journal_read_pages(&j->slots[i], 0, 1, page);
		if (!rc && st.size >= JOURNAL_PAGE && journal_segment_decode(page, &seg) == 0 &&
		    seg.state == JOURNAL_SEGMENT_USED)
			rc = -EEXIST;
	}
	free(page);
	if (rc == -EEXIST)
		return journal_set_aside(j, params, info);
	if (!rc)
		rc = journal_slots_remove(j);
	return rc ? err_set(info, rc, "journal %s: %s", j->dir, err_text(rc)) : 0;
}

static int
create(struct journal *j, const struct journal_params *params, struct journal_recovery *recovery,
       struct errinfo *info)
{
	int rc = clear_leftovers(j, params, info);

	if (rc)
		return rc;
	uuid_make(j->uuid);
	rc = journal_slots_resize(j, wanted_slots(j, params->capacity), true, info);
	if (!rc && j->slots[0].state == SLOT_RESERVED) {
		rc = journal_slot_fill(j, &j->slots[0]);
		if (rc)
			return err_set(info, rc, "journal %s: cannot write a segment through: %s", j->dir,
				       err_text(rc));
		j->slots[0].state = SLOT_READY;
	}
	if (rc)
		return rc;
	uint32_t salt;
	random_bytes(&salt, sizeof(salt));
	j->epoch = UINT64_C(1) << 32 | salt;
	j->next_number = 1;
	j->last_seq = params->covered_seq;
	j->chain_seq = params->covered_seq;
	*recovery = (struct journal_recovery){.last_seq = j->last_seq};
	return 0;
}

int
journal_open(const struct journal_params *params, bool do_create, const uint8_t *expect_uuid,
	     journal_replay_fn *fn, void *arg, struct journal_recovery *recovery, struct journal **ret,
	     struct errinfo *info)
{
	struct journal *j;
	struct vfs_stat st;
	bool lost = false;

	assert(!loop_current() && params->covered_seq <= JOURNAL_SEQ_MAX);
	if (params->segment_bytes % ZERO_BYTES ||
	    (params->segment_bytes && params->segment_bytes < 2u << 20) ||
	    params->segment_bytes > JOURNAL_SEGMENT_BYTES)
		return err_set(info, -EINVAL, "journal: segments of %" PRIu32 " bytes are not possible",
			       params->segment_bytes);
	int rc = journal_new(params, &j);
	if (rc)
		return err_set(info, rc, "no memory");
	if (do_create)
		rc = vfs_mkdirs(j->vfs, j->dir, 0700);
	else if (j->vfs->ops->stat(j->vfs, j->dir, &st) != 0 || !st.is_dir)
		rc = LG_ENOJOURNAL;
	if (rc == LG_ENOJOURNAL)
		err_set(info, rc, "journal %s: there is none", j->dir);
	else if (rc)
		err_set(info, rc, "%s: %s", j->dir, err_text(rc));
	if (!rc)
		rc = journal_lock(j, info);
	if (!rc)
		rc = do_create ? create(j, params, recovery, info)
			       : journal_replay(j, params, expect_uuid, fn, arg, recovery, &lost, info);
	if (!rc && !do_create)
		rc = journal_slots_resize(j, wanted_slots(j, params->capacity), lost, info);
	if (rc) {
		journal_free(j);
		return rc;
	}
	for (unsigned i = 0; i < j->nslots; i++)
		if (j->slots[i].state == SLOT_LIVE && (!j->active || j->slots[i].number > j->active->number))
			j->active = &j->slots[i];
	j->durable_seq = j->last_seq;
	j->released_seq = params->covered_seq;
	memcpy(recovery->uuid, j->uuid, UUID_LEN);
	*ret = j;
	return 0;
}
