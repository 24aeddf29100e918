/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges of a raw volume.  Plain requests share them; exclusive ones (compare-and-write, and writes that must
 * read the rest of a disk block first) overlap with nothing.
 *
 * A request is `active` (has its range) or `blocked` (waits); first come, first served among those that
 * overlap.  While there is no exclusive request nothing is compared.
 *
 * Thread: the volume's loop.
 */
#include "stores/raw/raw_int.h"

void
raw_list_add(struct raw_list *list, struct raw_op *op)
{
	op->next = NULL;
	op->prev = list->last;
	*(list->last ? &list->last->next : &list->first) = op;
	list->last = op;
}

void
raw_list_remove(struct raw_list *list, struct raw_op *op)
{
	*(op->prev ? &op->prev->next : &list->first) = op->next;
	*(op->next ? &op->next->prev : &list->last) = op->prev;
	op->prev = op->next = NULL;
}

static bool
conflict(const struct raw_op *a, const struct raw_op *b)
{
	return (a->exclusive || b->exclusive) && a->lock_from < b->lock_end && b->lock_from < a->lock_end;
}

/* by one that has its range, or one that waits and was here before */
static bool
must_wait(const struct raw *raw, const struct raw_op *op)
{
	for (const struct raw_op *other = raw->active.first; other; other = other->next)
		if (conflict(op, other))
			return true;
	for (const struct raw_op *other = raw->blocked.first; other && other != op; other = other->next)
		if (conflict(op, other))
			return true;
	return false;
}

void
raw_lock(struct raw_op *op)
{
	struct raw *raw = op->raw;
	bool waits = (op->exclusive || raw->exclusives) && must_wait(raw, op);

	op->locked = true;
	raw->exclusives += op->exclusive;
	raw_list_add(waits ? &raw->blocked : &raw->active, op);
	if (!waits)
		op->go(op);
}

void
raw_unlock(struct raw_op *op)
{
	struct raw *raw = op->raw;
	struct raw_op *ready = NULL, **tail = &ready, *b, *next;

	raw_list_remove(&raw->active, op);
	raw->exclusives -= op->exclusive;
	op->locked = false;
	for (b = raw->blocked.first; b; b = next) {
		next = b->next;
		if (must_wait(raw, b))
			continue;
		raw_list_remove(&raw->blocked, b);
		raw_list_add(&raw->active, b);
		b->ready = NULL;
		*tail = b;
		tail = &b->ready;
	}
	/* they run when all of them are active: one that completes at once unlocks again in here */
	while ((b = ready)) {
		ready = b->ready;
		b->go(b);
	}
}
