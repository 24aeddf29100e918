/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening a journal that is there: find the history in the files, hand it out,
 * cut off what was never acknowledged, refuse what was acknowledged and is gone.
 *
 *   classify  read page 0 and 1 of each file: which segment is it
 *   choose    the first segment that holds anything past the root's covered_seq
 *   walk      follow the chain of records from there, header pages alone
 *   scan      look at all that lies beyond the chain's end for proof that more was durable
 *   settle    check the payload of records that nothing proves durable; the first bad one ends the chain
 *   judge     proof of more than the chain gave: damage.  Otherwise the rest is a torn tail
 *   wipe      make what was cut off unable to be taken for records, and sync
 *
 * Proof: a record says how far (place and sequence) everything was durable
 * when it was built; a segment header says it of the segments before.  A record is handed out as
 * soon as something proves it, so that at most the last batch waits for `settle`.
 *
 * Why a cut-off tail cannot come back: its header pages are wiped before the
 * journal is used; records of this opening carry a larger epoch, which may never
 * fall along the chain; and each names its predecessor's CRC.
 *
 * Threads: the opener's, blocking.
 * Failure: nothing on the disk has been changed unless `judge` was content.
 */
#include "stores/chunked/journal_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "common/log.h"
#include "common/util.h"

#define WINDOW_PAGES 64u /* records smaller than this are read in one go with their neighbours */
#define SCAN_PAGES 256u

/** A record of the chain that nothing proves durable yet. */
struct unproven {
	struct unproven *next;
	struct journal_slot *slot;
	struct journal_record rec;
	uint8_t page[JOURNAL_PAGE];
};

struct replay {
	struct journal *j;
	const struct journal_params *params;
	journal_replay_fn *fn;
	void *arg;
	struct errinfo *info;
	struct journal_recovery *recovery;
	uint8_t *buf; /* SCAN_PAGES; also a record's payload */
	/* window over one slot */
	uint8_t *window;
	struct journal_slot *window_slot;
	uint32_t window_page, window_pages;

	struct journal_slot **order; /* known slots by number */
	unsigned norder;
	unsigned start; /* in order; norder = no history */
	/* the chain so far */
	bool linked; /* there is a record before */
	journal_pos_t tip_pos;
	uint32_t tip_crc;
	bool tip_is_mark;
	uint64_t chain_seq;
	uint64_t epoch;
	struct journal_slot *cut_slot; /* where it ends */
	uint32_t cut_page;
	struct unproven *head, **tail;
	/* the furthest proof, wherever it was found */
	uint64_t durable_seq;
	journal_pos_t durable_pos;
	/* the highest ever seen */
	uint64_t max_seq, max_epoch, max_incarnation, max_number;
	bool missing; /* a file or the manifest is gone */
};

_Static_assert(SCAN_PAGES >= JOURNAL_RECORD_ENTRIES, "buf holds a record's payload");

static void
prove(struct replay *r, journal_pos_t pos, uint64_t seq)
{
	r->durable_pos = max_of(r->durable_pos, pos);
	r->durable_seq = max_of(r->durable_seq, seq);
}

static void
note_record(struct replay *r, const struct journal_record *rec)
{
	r->max_seq = max_of(r->max_seq, journal_record_last(rec));
	r->max_epoch = max_of(r->max_epoch, rec->epoch);
	r->max_incarnation = max_of(r->max_incarnation, rec->incarnation);
	r->max_number = max_of(r->max_number, journal_pos_number(rec->pos));
	prove(r, rec->durable_pos, rec->durable_seq);
}

static int
io_error(struct replay *r, const struct journal_slot *slot, int rc)
{
	return err_set(r->info, rc, "journal %s: cannot read segment file %u: %s", r->j->dir, slot->index,
		       err_text(rc));
}

/** A whole page that says what this version does not know. */
static int
unknown_format(struct replay *r, const struct journal_slot *slot, uint32_t page)
{
	return err_set(r->info, LG_EFORMAT,
		       "journal %s: segment file %u, offset %" PRIu64
		       ": a version, type or flag that this lungate does not know",
		       r->j->dir, slot->index, (uint64_t)page * JOURNAL_PAGE);
}

/* ---- classify ----------------------------------------------------------------- */

static int
adopt_header(struct replay *r, struct journal_slot *slot, const struct journal_segment *seg)
{
	struct journal *j = r->j;

	if (memcmp(seg->volume_uuid, j->volume_uuid, UUID_LEN) != 0)
		return err_set(r->info, LG_ENOJOURNAL,
			       "journal %s: segment file %u belongs to another volume", j->dir, slot->index);
	if (memcmp(seg->journal_uuid, j->uuid, UUID_LEN) != 0)
		return err_set(r->info, LG_ENOJOURNAL,
			       "journal %s: segment file %u belongs to another journal", j->dir, slot->index);
	if (seg->segment_bytes != j->segment_bytes || seg->state == JOURNAL_MANIFEST)
		return err_set(r->info, LG_EDAMAGED,
			       "journal %s: segment file %u has another size than the journal", j->dir,
			       slot->index);
	slot->header_ok = true;
	slot->state = seg->state == JOURNAL_SEGMENT_RESERVED ? SLOT_RESERVED : SLOT_READY;
	if (seg->state != JOURNAL_SEGMENT_USED)
		return 0;
	slot->known = true;
	slot->number = seg->number;
	slot->incarnation = seg->incarnation;
	slot->epoch = seg->epoch;
	slot->prev_seq = seg->prev_seq;
	slot->prev_pos = seg->prev_pos;
	r->max_epoch = max_of(r->max_epoch, seg->epoch);
	r->max_incarnation = max_of(r->max_incarnation, seg->incarnation);
	r->max_number = max_of(r->max_number, seg->number);
	prove(r, seg->prev_pos, seg->prev_seq);
	return 0;
}

/** Page 0 is no header: its first record may still tell which segment it is. */
static void
adopt_record(struct replay *r, struct journal_slot *slot, const uint8_t *page)
{
	struct journal_record rec;

	if (!journal_record_likely(page, r->j->uuid, 1) || journal_record_decode(page, &rec) != 0)
		return;
	slot->known = true;
	slot->number = journal_pos_number(rec.pos);
	slot->incarnation = rec.incarnation;
	slot->epoch = rec.epoch;
	slot->prev_seq = rec.prev_seq;
	slot->prev_pos = rec.prev_pos;
	note_record(r, &rec);
}

static int
classify(struct replay *r, struct journal_slot *slot)
{
	struct journal *j = r->j;
	struct journal_segment seg;
	struct vfs_stat st;

	slot->state = SLOT_RESERVED;
	int rc = j->vfs->ops->fstat(slot->file, &st);
	if (!rc) {
		slot->file_pages = (uint32_t)min_of(st.size / JOURNAL_PAGE, (uint64_t)j->segment_pages);
		if (slot->file_pages < 2)
			return 0;
		rc = journal_read_pages(slot, 0, 2, r->buf);
	}
	if (rc)
		return io_error(r, slot, rc);
	rc = journal_segment_decode(r->buf, &seg);
	if (rc == LG_EFORMAT)
		return unknown_format(r, slot, 0);
	if (!rc)
		return adopt_header(r, slot, &seg);
	adopt_record(r, slot, r->buf + JOURNAL_PAGE);
	if (slot->known)
		log_warn(
			"journal %s: the header of segment file %u is damaged; its records tell that it is segment "
			"%" PRIu64,
			j->dir, slot->index, slot->number);
	return 0;
}

/** Whose journal this is and how many files it must have. */
static int
identify(struct replay *r, const uint8_t *expect_uuid)
{
	struct journal *j = r->j;
	struct journal_segment seg;
	int rc = journal_manifest_read(j, &seg);

	if (rc == LG_EFORMAT)
		return err_set(r->info, rc, "journal %s: its version is not known to this lungate", j->dir);
	if (rc && rc != -ENOENT && rc != LG_ECORRUPT)
		return err_set(r->info, rc, "journal %s: %s", j->dir, err_text(rc));
	bool have = rc == 0;
	for (unsigned i = 0; i < j->nslots && rc; i++) {
		/* any whole header will do */
		if (journal_read_pages(&j->slots[i], 0, 1, r->buf) == 0)
			rc = journal_segment_decode(r->buf, &seg);
		if (!rc && !have && seg.state != JOURNAL_SEGMENT_USED)
			rc = LG_ECORRUPT;
	}
	if (rc)
		return err_set(r->info, LG_ENOJOURNAL, "journal %s: there is none", j->dir);
	if (memcmp(seg.volume_uuid, j->volume_uuid, UUID_LEN) != 0)
		return err_set(r->info, LG_ENOJOURNAL, "journal %s belongs to another volume", j->dir);
	if (expect_uuid && memcmp(seg.journal_uuid, expect_uuid, UUID_LEN) != 0)
		return err_set(r->info, LG_ENOJOURNAL,
			       "journal %s is not the one that the volume's owner record names", j->dir);
	memcpy(j->uuid, seg.journal_uuid, UUID_LEN);
	j->segment_bytes = seg.segment_bytes;
	j->segment_pages = seg.segment_bytes / JOURNAL_PAGE;
	r->missing = !have || j->nslots < seg.number;
	for (unsigned i = 0; i < j->nslots; i++)
		r->missing |= j->slots[i].index != i;
	if (!r->missing)
		return 0;
	if (r->params->accept_loss) {
		log_warn("journal %s: a segment file or the manifest is missing; going on as told", j->dir);
		return 0;
	}
	return err_set(
		r->info, LG_EDAMAGED,
		"journal %s: %s; nothing was changed. Bring the files back, or open with --accept-loss",
		j->dir, have ? "a segment file is missing" : "its manifest is missing or damaged");
}

/* ---- choose ------------------------------------------------------------------------ */

static int
by_number(const void *a, const void *b)
{
	const struct journal_slot *x = *(struct journal_slot *const *)a,
				  *y = *(struct journal_slot *const *)b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static int
choose(struct replay *r)
{
	struct journal *j = r->j;

	r->order = calloc(j->nslots + 1, sizeof(*r->order));
	if (!r->order)
		return err_set(r->info, -ENOMEM, "no memory");
	for (unsigned i = 0; i < j->nslots; i++)
		if (j->slots[i].known)
			r->order[r->norder++] = &j->slots[i];
	qsort(r->order, r->norder, sizeof(*r->order), by_number);
	for (unsigned i = 1; i < r->norder; i++)
		if (r->order[i]->number == r->order[i - 1]->number)
			return err_set(r->info, LG_EDAMAGED, "journal %s: segment %" PRIu64 " is there twice",
				       j->dir, r->order[i]->number);
	r->start = r->norder;
	for (unsigned i = 0; i < r->norder; i++)
		if (r->order[i]->prev_seq <= r->params->covered_seq)
			r->start = i;
	r->chain_seq = r->params->covered_seq;
	if (r->norder == 0 || r->start < r->norder)
		return 0;
	if (r->params->accept_loss) {
		log_warn(
			"journal %s: nothing in it continues the volume's root; all of it is dropped as told",
			j->dir);
		return 0;
	}
	return err_set(r->info, LG_ENOJOURNAL,
		       "journal %s continues sequence %" PRIu64 ", but the volume's root covers %" PRIu64
		       " alone: what lies between is gone, or the root is an old one",
		       j->dir, r->order[0]->prev_seq, r->params->covered_seq);
}

/* ---- walk ---------------------------------------------------------------------------- */

/** One page through the window. */
static int
look(struct replay *r, struct journal_slot *slot, uint32_t page, const uint8_t **ret)
{
	if (slot != r->window_slot || page < r->window_page || page >= r->window_page + r->window_pages) {
		uint32_t n = min_of(WINDOW_PAGES, slot->file_pages - page);
		int rc = journal_read_pages(slot, page, n, r->window);

		r->window_slot = NULL;
		if (rc)
			return io_error(r, slot, rc);
		r->window_slot = slot;
		r->window_page = page;
		r->window_pages = n;
	}
	*ret = r->window + (size_t)(page - r->window_page) * JOURNAL_PAGE;
	return 0;
}

/** What is read at once: nobody could ask for it later.  It lies within the file, follows() has seen that. */
static int
attr_read(struct replay *r, const struct unproven *u, uint64_t seq, struct journal_entry *e)
{
	int rc = journal_read_pages(u->slot, journal_pos_page(e->pos), 1, r->buf);

	if (rc)
		return io_error(r, u->slot, rc);
	if (crc32c(0, r->buf, JOURNAL_PAGE) == e->crc) {
		e->bytes = r->buf;
		return 0;
	}
	if (r->params->accept_loss) {
		log_warn("journal %s: an attribute at sequence %" PRIu64 " is damaged; it is dropped as told",
			 r->j->dir, seq);
		return 0;
	}
	return err_set(
		r->info, LG_EDAMAGED,
		"journal %s: segment file %u is damaged at offset %" PRIu64
		": an attribute (persistent reservations, for one) that was acknowledged at sequence %" PRIu64
		". Nothing was changed. Restore the file, or open with --accept-loss to go on with what it "
		"was before",
		r->j->dir, u->slot->index, (uint64_t)journal_pos_page(e->pos) * JOURNAL_PAGE, seq);
}

static int
hand_out(struct replay *r, const struct unproven *u)
{
	const struct journal_record *rec = &u->rec;
	uint32_t at = 1;

	for (unsigned i = 0; i < rec->entries; i++) {
		struct journal_entry e;
		uint64_t seq = rec->first_seq + i;
		int rc = 0;

		journal_entry_decode(u->page, i, &e);
		if (journal_has_page(e.type))
			e.pos = rec->pos + at++;
		if (seq <= r->params->covered_seq)
			continue;
		r->recovery->replayed++;
		if (e.type == JOURNAL_ATTR)
			rc = attr_read(r, u, seq, &e);
		if (!rc && r->fn)
			rc = r->fn(r->arg, seq, &e);
		if (rc)
			return rc;
	}
	return 0;
}

static int
hand_out_proven(struct replay *r)
{
	while (r->head && r->head->rec.pos <= r->durable_pos) {
		struct unproven *u = r->head;
		int rc = hand_out(r, u);

		r->head = u->next;
		free(u);
		if (rc)
			return rc;
	}
	if (!r->head)
		r->tail = &r->head;
	return 0;
}

/** Does this record follow the tip, as the page-th page of slot? */
static bool
follows(const struct replay *r, const struct journal_slot *slot, uint32_t page,
	const struct journal_record *rec)
{
	/* the place names the segment, so a larger incarnation is of no other use of the file (formats.md 12) */
	if (rec->pos != journal_pos(slot->number, page) || rec->incarnation < slot->incarnation ||
	    memcmp(rec->journal_uuid, r->j->uuid, UUID_LEN) != 0)
		return false;
	if (page + 1 + rec->payload > slot->file_pages)
		return false;
	if (!r->linked) /* the first that is left: what it names is gone */
		return rec->prev_seq == slot->prev_seq && rec->prev_pos == slot->prev_pos;
	return rec->prev_pos == r->tip_pos && rec->prev_crc == r->tip_crc && rec->prev_seq == r->chain_seq &&
	       journal_epoch_follows(rec->epoch, r->epoch) &&
	       (rec->epoch != r->epoch || rec->first_seq == rec->prev_seq + 1);
}

static int
extend(struct replay *r, struct journal_slot *slot, const struct journal_record *rec, const uint8_t *page)
{
	struct unproven *u = malloc(sizeof(*u));

	if (!u)
		return err_set(r->info, -ENOMEM, "no memory");
	*u = (struct unproven){.slot = slot, .rec = *rec};
	memcpy(u->page, page, JOURNAL_PAGE);
	*r->tail = u;
	r->tail = &u->next;
	r->linked = true;
	r->tip_pos = rec->pos;
	r->tip_crc = rec->crc;
	r->tip_is_mark = rec->type == JOURNAL_RECORD_MARK;
	r->chain_seq = journal_record_last(rec);
	r->epoch = rec->epoch;
	note_record(r, rec);
	return hand_out_proven(r);
}

/** Follow the chain through one segment; *ret_any: at least one record of it belongs to it. */
static int
walk_segment(struct replay *r, struct journal_slot *slot, bool *ret_any)
{
	uint32_t page = 1;

	*ret_any = false;
	while (page < slot->file_pages) {
		struct journal_record rec;
		const uint8_t *p = NULL;
		int rc = look(r, slot, page, &p);

		if (rc)
			return rc;
		rc = journal_record_likely(p, r->j->uuid, page) ? journal_record_decode(p, &rec)
								: LG_ECORRUPT;
		if (rc == LG_EFORMAT)
			return unknown_format(r, slot, page);
		if (rc || !follows(r, slot, page, &rec))
			break;
		rc = extend(r, slot, &rec, p);
		if (rc)
			return rc;
		page += 1 + rec.payload;
		*ret_any = true;
		slot->state = SLOT_LIVE;
		slot->end = page;
		slot->last_seq = r->chain_seq;
		r->cut_slot = slot;
		r->cut_page = page;
	}
	return 0;
}

static int
walk(struct replay *r)
{
	bool any = true;

	if (r->start == r->norder)
		return 0;
	r->chain_seq = r->order[r->start]->prev_seq;
	r->cut_slot = r->order[r->start];
	r->cut_page = 1;
	for (unsigned i = r->start; i < r->norder && any; i++) {
		int rc = walk_segment(r, r->order[i], &any);

		if (rc)
			return rc;
	}
	return 0;
}

/* ---- scan ---------------------------------------------------------------------------- */

/** The first place that the chain does not reach. */
static journal_pos_t
chain_end(const struct replay *r)
{
	return r->cut_slot ? journal_pos(r->cut_slot->number, r->cut_page) : 1;
}

/** Every page of slot from `page` on that is the header of a record of this journal; wipe: overwrite them. */
static int
sweep(struct replay *r, struct journal_slot *slot, uint32_t page, bool wipe)
{
	struct journal *j = r->j;
	journal_pos_t end = chain_end(r);

	for (uint32_t n; page < slot->file_pages; page += n) {
		n = min_of(SCAN_PAGES, slot->file_pages - page);
		int rc = journal_read_pages(slot, page, n, r->buf);
		for (uint32_t i = 0; i < n && !rc; i++) {
			const uint8_t *p = r->buf + (size_t)i * JOURNAL_PAGE;
			struct journal_record rec;

			if (!journal_record_likely(p, j->uuid, page + i) ||
			    journal_record_decode(p, &rec) != 0)
				continue;
			if (rec.pos < end)
				continue; /* of an earlier use of the file, released long ago */
			if (!wipe) {
				note_record(r, &rec);
				r->recovery->torn_bytes += (uint64_t)(1 + rec.payload) * JOURNAL_PAGE;
				slot->wipe = true;
				continue;
			}
			rc = vfs_write_full(slot->file, j->zeroes, JOURNAL_PAGE,
					    (uint64_t)(page + i) * JOURNAL_PAGE);
		}
		if (rc)
			return io_error(r, slot, rc);
	}
	return 0;
}

/** Might this file hold a piece of the history that the walk did not reach?  *ret_page: from where. */
static bool
beyond(const struct replay *r, const struct journal_slot *slot, uint32_t *ret_page)
{
	*ret_page = 1;
	if (slot == r->cut_slot) {
		*ret_page = r->cut_page;
		return true;
	}
	if (slot->state == SLOT_LIVE)
		return false;
	if (!slot->header_ok)
		return true;
	return slot->known && (!r->cut_slot || slot->number > r->cut_slot->number);
}

static int
scan(struct replay *r)
{
	for (unsigned i = 0; i < r->j->nslots; i++) {
		uint32_t page;
		int rc = 0;

		if (beyond(r, &r->j->slots[i], &page))
			rc = sweep(r, &r->j->slots[i], page, false);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- settle, judge ----------------------------------------------------------------------- */

static int
payload_whole(struct replay *r, const struct unproven *u, bool *ret)
{
	uint32_t at = 0;

	*ret = true;
	if (!u->rec.payload)
		return 0;
	/* follows() has seen that all of it lies within the file */
	int rc = journal_read_pages(u->slot, journal_pos_page(u->rec.pos) + 1, u->rec.payload, r->buf);
	if (rc)
		return io_error(r, u->slot, rc);
	for (unsigned i = 0; i < u->rec.entries && *ret; i++) {
		struct journal_entry e;

		journal_entry_decode(u->page, i, &e);
		if (!journal_has_page(e.type))
			continue;
		*ret = crc32c(0, r->buf + (size_t)at * JOURNAL_PAGE, JOURNAL_PAGE) == e.crc;
		at++;
	}
	return 0;
}

/** The chain ends before u: forget it and what follows. */
static void
cut_before(struct replay *r, struct unproven *u, const struct unproven *last)
{
	struct journal *j = r->j;

	r->cut_slot = u->slot;
	r->cut_page = journal_pos_page(u->rec.pos);
	r->chain_seq = u->rec.prev_seq;
	r->tip_pos = u->rec.prev_pos;
	r->tip_crc = u->rec.prev_crc;
	r->tip_is_mark = last && last->rec.type == JOURNAL_RECORD_MARK;
	for (unsigned i = 0; i < j->nslots; i++) {
		struct journal_slot *slot = &j->slots[i];

		if (slot->state == SLOT_LIVE && slot->number > u->slot->number) {
			slot->state = SLOT_READY;
			slot->wipe = true;
		}
	}
	u->slot->end = r->cut_page;
	u->slot->last_seq = r->chain_seq;
	u->slot->wipe = true;
}

static int
settle(struct replay *r)
{
	int rc = hand_out_proven(r); /* the scan may have found more proof */
	struct unproven *last = NULL;

	for (struct unproven *u = r->head; u && !rc; u = u->next) {
		bool whole;

		rc = payload_whole(r, u, &whole);
		if (rc)
			return rc;
		if (!whole) {
			for (const struct unproven *v = u; v; v = v->next)
				r->recovery->torn_bytes += (uint64_t)(1 + v->rec.payload) * JOURNAL_PAGE;
			cut_before(r, u, last);
			break;
		}
		rc = hand_out(r, u);
		last = u;
	}
	return rc;
}

static int
judge(struct replay *r)
{
	uint64_t number = r->cut_slot ? r->cut_slot->number : 0;
	bool more = r->durable_pos >= chain_end(r) || r->durable_seq > r->chain_seq;

	if (r->start == r->norder && r->norder)
		more = false; /* all of it is dropped: choose() has said so */
	if (!more)
		return 0;
	if (max_of(r->durable_seq, r->max_seq) <= r->params->covered_seq) {
		log_warn("journal %s: damaged after sequence %" PRIu64
			 ", but the volume's root covers all that it ever held",
			 r->j->dir, r->chain_seq);
		return 0;
	}
	if (r->params->accept_loss) {
		log_warn("journal %s: damaged after sequence %" PRIu64 "; what followed, up to %" PRIu64
			 " at least, is dropped as told",
			 r->j->dir, r->chain_seq, max_of(r->durable_seq, r->max_seq));
		return 0;
	}
	return err_set(r->info, LG_EDAMAGED,
		       "journal %s: segment %" PRIu64 " (file %u) is damaged at offset %" PRIu64
		       ": no whole record follows sequence %" PRIu64 ", but everything up to %" PRIu64
		       " was acknowledged as durable. Nothing was changed. Restore the files, or open with "
		       "--accept-loss to keep what precedes the damage",
		       r->j->dir, number, r->cut_slot ? r->cut_slot->index : 0,
		       (uint64_t)r->cut_page * JOURNAL_PAGE, r->chain_seq,
		       max_of(r->durable_seq, r->chain_seq + 1));
}

/* ---- wipe ---------------------------------------------------------------------------------- */

/** The making of the file was cut off, or somebody cut it short. */
static int
mend_size(struct journal *j, struct journal_slot *slot)
{
	uint64_t at = (uint64_t)slot->file_pages * JOURNAL_PAGE;
	int rc = j->vfs->ops->fallocate(slot->file, 0, at, j->segment_bytes - at);

	if (rc != -EOPNOTSUPP && rc != -ENOSYS)
		return rc;
	for (rc = 0; !rc && at < j->segment_bytes; at += JOURNAL_PAGE)
		rc = vfs_write_full(slot->file, j->zeroes, JOURNAL_PAGE, at);
	return rc;
}

/**
 * What nothing proves durable is written once more before its sync: a sync that failed in
 * the process before us may have left pages in the kernel's cache that no later sync
 * carries to the disk.
 */
static int
rewrite_unproven(struct replay *r)
{
	struct journal *j = r->j;

	for (struct unproven *u = r->head; u && u->rec.pos < chain_end(r); u = u->next) {
		uint32_t page = journal_pos_page(u->rec.pos);
		bool whole;
		int rc = payload_whole(r, u, &whole);

		if (!rc && u->rec.payload)
			rc = vfs_write_full(u->slot->file, r->buf, (size_t)u->rec.payload * JOURNAL_PAGE,
					    (uint64_t)(page + 1) * JOURNAL_PAGE);
		memcpy(r->buf, u->page, JOURNAL_PAGE);
		if (!rc)
			rc = vfs_write_full(u->slot->file, r->buf, JOURNAL_PAGE,
					    (uint64_t)page * JOURNAL_PAGE);
		if (rc)
			return err_set(r->info, rc, "journal %s: cannot write segment file %u: %s", j->dir,
				       u->slot->index, err_text(rc));
		if (page == 1)
			u->slot->header_ok = false; /* went out with it: mend_headers() writes it again */
	}
	return 0;
}

/** A file that is no part of the history loses its header and its records. */
static int
blank(struct replay *r, struct journal_slot *slot)
{
	struct journal *j = r->j;
	bool written = slot->header_ok && slot->state == SLOT_READY;
	int rc = 0;

	if (slot->file_pages < j->segment_pages) {
		written = false;
		rc = mend_size(j, slot);
	}
	if (!rc)
		rc = sweep(r, slot, 1, true);
	if (!rc)
		rc = journal_slot_header(j, slot, written ? JOURNAL_SEGMENT_READY : JOURNAL_SEGMENT_RESERVED);
	slot->state = written ? SLOT_READY : SLOT_RESERVED;
	return rc;
}

static int
wipe(struct replay *r)
{
	struct journal *j = r->j;
	struct journal_slot *cut = r->cut_slot;

	for (unsigned i = 0; i < j->nslots; i++) {
		struct journal_slot *slot = &j->slots[i];
		bool later = slot->known && (!cut || slot->number > cut->number);
		int rc = 0;

		if (slot->state == SLOT_LIVE && slot->end > 1) {
			rc = slot == cut ? sweep(r, slot, r->cut_page, true) : 0;
			if (!rc && slot->file_pages < j->segment_pages)
				rc = mend_size(j, slot);
		} else if (!slot->header_ok || later || slot == cut || slot->wipe) {
			slot->state = slot->header_ok ? SLOT_READY : SLOT_RESERVED;
			rc = blank(r, slot);
		} else {
			continue;
		}
		/* also what was not changed: it may have been read from a cache that a dead process left */
		if (!rc)
			rc = j->vfs->ops->fsync(slot->file, false);
		if (rc)
			return err_set(r->info, rc, "journal %s: cannot write segment file %u: %s", j->dir,
				       slot->index, err_text(rc));
	}
	return 0;
}

/** A chain that survived the header of its segment gets one again; one that went out with a batch that is
 * written once more is written again, too. */
static int
mend_headers(struct replay *r)
{
	struct journal *j = r->j;

	for (unsigned i = 0; i < j->nslots; i++) {
		struct journal_slot *slot = &j->slots[i];
		struct journal_segment seg;

		if (slot->state != SLOT_LIVE || slot->end <= 1 || slot->header_ok)
			continue;
		int rc = journal_read_pages(slot, 0, 1, r->buf);
		if (rc)
			return io_error(r, slot, rc);
		if (journal_segment_decode(r->buf, &seg) != 0) {
			seg = (struct journal_segment){
				.state = JOURNAL_SEGMENT_USED,
				.segment_bytes = j->segment_bytes,
				.number = slot->number,
				.incarnation = slot->incarnation,
				.epoch = slot->epoch,
				.generation = j->generation,
				.first_seq = slot->prev_seq + 1,
				.prev_seq = slot->prev_seq,
				.prev_pos = slot->prev_pos,
			};
			memcpy(seg.volume_uuid, j->volume_uuid, UUID_LEN);
			memcpy(seg.journal_uuid, j->uuid, UUID_LEN);
			journal_segment_encode(&seg, r->buf);
		}
		rc = vfs_write_full(slot->file, r->buf, JOURNAL_PAGE, 0);
		if (rc)
			return err_set(r->info, rc, "journal %s: cannot write segment file %u: %s", j->dir,
				       slot->index, err_text(rc));
	}
	return 0;
}

static void
set_state(struct replay *r)
{
	struct journal *j = r->j;
	uint32_t salt;

	random_bytes(&salt, sizeof(salt));
	j->epoch = ((r->max_epoch >> 32) + 1) << 32 | salt;
	j->incarnation = r->max_incarnation;
	j->next_number = r->max_number + 1;
	j->last_seq = max_of(max_of(r->max_seq, r->durable_seq), r->params->covered_seq);
	j->chain_seq = r->chain_seq;
	j->tip_pos = r->tip_pos;
	j->tip_crc = r->tip_crc;
	j->tip_is_mark = r->tip_is_mark;
	/* all that was handed out has been synced by now */
	j->proven_seq = j->tip_pos ? j->chain_seq : 0;
	j->proven_pos = j->tip_pos;
	r->recovery->last_seq = j->last_seq;
}

static int
replay_run(struct replay *r, const uint8_t *expect_uuid)
{
	struct journal *j = r->j;
	int rc = identify(r, expect_uuid);

	for (unsigned i = 0; i < j->nslots && !rc; i++)
		rc = classify(r, &j->slots[i]);
	rc = rc ? rc : choose(r);
	rc = rc ? rc : walk(r);
	rc = rc ? rc : scan(r);
	rc = rc ? rc : settle(r);
	rc = rc ? rc : judge(r);
	rc = rc ? rc : rewrite_unproven(r);
	rc = rc ? rc : mend_headers(r);
	rc = rc ? rc : wipe(r);
	if (!rc)
		set_state(r);
	return rc;
}

int
journal_replay(struct journal *j, const struct journal_params *params, const uint8_t *expect_uuid,
	       journal_replay_fn *fn, void *arg, struct journal_recovery *recovery, bool *ret_lost,
	       struct errinfo *info)
{
	struct replay r = {.j = j,
			   .params = params,
			   .fn = fn,
			   .arg = arg,
			   .info = info,
			   .recovery = recovery,
			   .tail = &r.head};

	uint8_t expect[UUID_LEN];

	if (expect_uuid) /* it may well be recovery->uuid */
		memcpy(expect, expect_uuid, UUID_LEN);
	*recovery = (struct journal_recovery){0};
	*ret_lost = false;
	int rc = journal_slots_list(j, info);
	if (!rc &&
	    (posix_memalign((void **)&r.buf, JOURNAL_PAGE, (size_t)SCAN_PAGES * JOURNAL_PAGE) != 0 ||
	     posix_memalign((void **)&r.window, JOURNAL_PAGE, (size_t)WINDOW_PAGES * JOURNAL_PAGE) != 0))
		rc = err_set(info, -ENOMEM, "no memory");
	if (!rc)
		rc = replay_run(&r, expect_uuid ? expect : NULL);
	*ret_lost = r.missing;
	while (r.head) {
		struct unproven *next = r.head->next;

		free(r.head);
		r.head = next;
	}
	free(r.order);
	free(r.window);
	free(r.buf);
	return rc;
}
