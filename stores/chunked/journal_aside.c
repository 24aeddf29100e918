/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A used journal lies where a new one is to be made: whose is it, and does anybody need it?
 *
 * It is never replayed here: open.c replays the one that the owner record names, and comes to make a new
 * one only where no journal is needed any more, or where its loss is accepted.  What lies there then is
 *
 *   of this volume, of an earlier generation       somebody opened the volume since: the bucket goes on from
 *                                                  what it held then, and what this one has is another history
 *   of this volume, of the last generation, with   its owner has put all of it under a root
 *   nothing past what the root covers
 *   of another volume, and its last mark says      so did that volume's owner
 *   that all of it is under a root
 *   anything else                                  it may be the only place of acknowledged changes
 *
 * The first three are set aside (renamed, never deleted) and the opening goes on; the last is refused, unless
 * loss is accepted.  A generation counts by records of changes alone: a mark can carry one that lost
 * the race for the owner record.
 *
 * Looked at are the last segment that has records, and each file whose header does not say what it is.  A
 * torn tail counts as acknowledged, damage as nothing: the first errs towards refusing, and what the second
 * may hide keeps lying under its new name.
 *
 * Threads: the opener's, blocking.  Failure: the journal stays where it is; a crash after the rename
 * leaves no journal at its place, as the opening wanted it.
 */
#include "stores/chunked/journal_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"

#define LOOK_PAGES 256u

struct relic {
	bool known; /* of one volume and one journal, and of a version that can be read */
	bool mixed;
	bool found; /* it has records */
	uint8_t volume_uuid[UUID_LEN], journal_uuid[UUID_LEN];
	uint64_t generation;
	uint64_t last_seq, released_seq;
};

/* ---- what is it? -------------------------------------------------------------------- */

static void
adopt(struct relic *relic, const struct journal_segment *seg)
{
	if (!relic->known) {
		memcpy(relic->volume_uuid, seg->volume_uuid, UUID_LEN);
		memcpy(relic->journal_uuid, seg->journal_uuid, UUID_LEN);
	}
	relic->known = true;
	relic->mixed |= memcmp(relic->volume_uuid, seg->volume_uuid, UUID_LEN) != 0 ||
			memcmp(relic->journal_uuid, seg->journal_uuid, UUID_LEN) != 0;
}

/** Which segment this file is; UINT64_MAX: nobody knows, 0: it was never used. */
static int
head(struct journal *j, struct journal_slot *slot, uint8_t *buf, struct relic *relic)
{
	struct journal_segment seg;
	struct vfs_stat st;
	int rc = j->vfs->ops->fstat(slot->file, &st);

	slot->number = 0;
	if (rc)
		return rc;
	slot->file_pages = (uint32_t)min_of(st.size / JOURNAL_PAGE, UINT64_C(1) << 16);
	if (!slot->file_pages)
		return 0;
	rc = journal_read_pages(slot, 0, 1, buf);
	if (rc)
		return rc;
	rc = journal_segment_decode(buf, &seg);
	slot->header_ok = rc == 0;
	slot->number = rc ? UINT64_MAX : seg.state == JOURNAL_SEGMENT_USED ? seg.number : 0;
	relic->mixed |= rc == LG_EFORMAT;
	if (!rc)
		adopt(relic, &seg);
	return 0;
}

static void
note(struct relic *relic, const struct journal_record *rec)
{
	relic->found = true;
	relic->last_seq = max_of(relic->last_seq, journal_record_last(rec));
	relic->released_seq = max_of(relic->released_seq, rec->released_seq);
	if (rec->type == JOURNAL_RECORD_CHANGES)
		relic->generation = max_of(relic->generation, rec->generation);
}

/** The records of one file. */
static int
look(struct journal_slot *slot, uint8_t *buf, struct relic *relic)
{
	for (uint32_t page = 1, n; page < slot->file_pages; page += n) {
		n = min_of(LOOK_PAGES, slot->file_pages - page);
		int rc = journal_read_pages(slot, page, n, buf);

		if (rc)
			return rc;
		for (uint32_t i = 0; i < n; i++) {
			const uint8_t *p = buf + (size_t)i * JOURNAL_PAGE;
			struct journal_record rec;

			if (!journal_record_likely(p, relic->journal_uuid, page + i))
				continue;
			rc = journal_record_decode(p, &rec);
			relic->mixed |= rc == LG_EFORMAT;
			/* what an earlier use of the file left is older than all that counts */
			if (rc == 0 && (!slot->header_ok || journal_pos_number(rec.pos) == slot->number))
				note(relic, &rec);
		}
	}
	return 0;
}

static int
newest_first(const void *a, const void *b)
{
	const struct journal_slot *x = a, *y = b;

	return x->number > y->number ? -1 : x->number < y->number;
}

static int
survey(struct journal *j, uint8_t *buf, struct relic *relic)
{
	struct journal_segment seg;
	int rc = journal_manifest_read(j, &seg);

	*relic = (struct relic){.mixed = rc == LG_EFORMAT};
	if (rc == 0)
		adopt(relic, &seg);
	rc = 0;
	for (unsigned i = 0; i < j->nslots && !rc; i++)
		rc = head(j, &j->slots[i], buf, relic);
	qsort(j->slots, j->nslots, sizeof(*j->slots), newest_first);
	for (unsigned i = 0; i < j->nslots && !rc; i++) {
		if (relic->found && j->slots[i].header_ok)
			break; /* only older ones are left */
		if (j->slots[i].number)
			rc = look(&j->slots[i], buf, relic);
	}
	relic->known &= !relic->mixed;
	return rc;
}

/* ---- who needs it? ------------------------------------------------------------------ */

static bool
of_this_volume(const struct journal *j, const struct relic *relic)
{
	return !memcmp(relic->volume_uuid, j->volume_uuid, UUID_LEN);
}

static bool
all_released(const struct relic *relic)
{
	return relic->found && relic->released_seq >= relic->last_seq;
}

static bool
obsolete(const struct journal *j, const struct journal_params *params, const struct relic *relic)
{
	if (!relic->known)
		return false;
	if (!of_this_volume(j, relic))
		return all_released(relic);
	/* params->generation is ours, + 1 with every opening */
	if (!relic->found || relic->generation >= params->generation)
		return false;
	return relic->generation < params->generation - 1 || relic->last_seq <= params->covered_seq;
}

/** "journal U of ..., up to ...": what to tell of it. */
static void
describe(const struct journal *j, const struct journal_params *params, const struct relic *relic, char *buf,
	 size_t len)
{
	char volume[UUID_TEXT], uuid[UUID_TEXT], whose[80] = "this volume";

	uuid_format(relic->volume_uuid, volume);
	uuid_format(relic->journal_uuid, uuid);
	if (!relic->known) {
		(void)snprintf(buf, len, "a journal that this lungate cannot read, or pieces of several");
		return;
	}
	if (!of_this_volume(j, relic))
		(void)snprintf(whose, sizeof(whose), "another volume (%s)", volume);
	if (all_released(relic) || (of_this_volume(j, relic) && relic->generation == params->generation - 1 &&
				    relic->last_seq <= params->covered_seq))
		(void)snprintf(buf, len,
			       "journal %s of %s, generation %" PRIu64 ", changes up to sequence %" PRIu64
			       ", all of which had reached its store",
			       uuid, whose, relic->generation, relic->last_seq);
	else if (relic->found)
		(void)snprintf(buf, len,
			       "journal %s of %s, generation %" PRIu64
			       ", where changes of the sequences %" PRIu64 " to %" PRIu64
			       " may never have reached a store",
			       uuid, whose, relic->generation, relic->released_seq + 1, relic->last_seq);
	else
		(void)snprintf(buf, len, "journal %s of %s, without a record that can be read", uuid, whose);
	if (relic->known && of_this_volume(j, relic)) {
		size_t at = strlen(buf);

		(void)snprintf(buf + at, len - at,
			       "; the store is at generation %" PRIu64 ", sequence %" PRIu64,
			       params->generation - 1, params->covered_seq);
	}
}

/* ---- out of the way ------------------------------------------------------------------ */

static int
move_away(struct journal *j, const char *to, struct errinfo *info)
{
	int rc = j->vfs->ops->rename(j->vfs, j->dir, to);

	if (!rc)
		rc = journal_sync_parent(j->vfs, j->dir);
	if (rc)
		return err_set(info, rc, "journal %s: cannot be renamed to %s: %s", j->dir, to, err_text(rc));
	journal_close_files(j); /* its lock as well */
	rc = vfs_mkdirs(j->vfs, j->dir, 0700);
	return rc ? err_set(info, rc, "%s: %s", j->dir, err_text(rc)) : journal_lock(j, info);
}

int
journal_set_aside(struct journal *j, const struct journal_params *params, struct errinfo *info)
{
	char what[400], uuid[UUID_TEXT], *to = NULL;
	struct relic relic;
	uint8_t *buf;

	if (posix_memalign((void **)&buf, JOURNAL_PAGE, (size_t)LOOK_PAGES * JOURNAL_PAGE) != 0)
		return err_set(info, -ENOMEM, "no memory");
	int rc = survey(j, buf, &relic);
	free(buf);
	if (rc)
		return err_set(info, rc, "journal %s: %s", j->dir, err_text(rc));
	uuid_format(relic.journal_uuid, uuid);
	if (asprintf(&to, "%s.old-%s", j->dir, uuid) < 0)
		return err_set(info, -ENOMEM, "no memory");
	describe(j, params, &relic, what, sizeof(what));
	if (!params->accept_loss && !obsolete(j, params, &relic)) {
		rc = err_set(
			info, -EEXIST,
			"in %s lies %s. Nothing was changed. If nobody needs it, go on without it: mv %s %s",
			j->dir, what, j->dir, to);
	} else {
		rc = move_away(j, to, info);
		if (!rc)
			log_warn("journal %s: set aside as %s%s: %s. Delete it when nobody needs it", j->dir,
				 to, params->accept_loss ? ", as told" : "", what);
	}
	free(to);
	return rc;
}
