/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I_T nexuses: one for each session.
 *
 * Freeing one is the loss of the nexus: tmf.c visits every unit of the target, aborts
 * and waits; then the owner's reference goes.  The memory goes with the last reference, since a unit
 * that is being unmapped may still have this nexus in its list.
 *
 * A view says which unit stands at which LUN for this nexus.  A command is let in by the view twice, at its
 * start and when it is run, so one that waits for its data does not outlive a change.
 *
 * Threads: refs, luns_reported, view are shared; itls[] belong each to the unit's home;
 * the rest is constant.
 */
#include <stdlib.h>

#include "gateway/scsi/scsi_impl.h"

int
scsi_nexus_new(struct scsi_target *target, const char *initiator, const uint8_t isid[6], uint16_t tpgt,
	       struct scsi_nexus **ret)
{
	struct scsi_nexus *nexus;
	size_t n = strlen(initiator);

	if (n >= sizeof(nexus->initiator))
		return -EINVAL;
	nexus = calloc(1, sizeof(*nexus));
	if (!nexus)
		return -ENOMEM;
	nexus->target = target;
	memcpy(nexus->initiator, initiator, n + 1);
	memcpy(nexus->isid, isid, sizeof(nexus->isid));
	nexus->tpgt = tpgt;
	nexus->group = scsi_group_join(target, scsi_port_id(nexus));
	if (!nexus->group) {
		free(nexus);
		return -ENOSPC;
	}
	atomic_store(&nexus->access_told, atomic_load(&target->access_changes));
	atomic_store(&nexus->refs, 1);
	atomic_store(&nexus->functions, 1);
	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++)
		atomic_init(&nexus->view[i], (uint16_t)i);
	atomic_store(&nexus->luns_reported, scsi_inventory(nexus));
	atomic_fetch_add(&target->nexuses, 1);
	*ret = nexus;
	return 0;
}

/* -- views --------------------------------------------------------------- */

void
scsi_view_all(struct scsi_view *view)
{
	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++)
		view->lun[i] = (uint16_t)i;
}

void
scsi_view_none(struct scsi_view *view)
{
	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++)
		view->lun[i] = SCSI_VIEW_NONE;
}

bool
scsi_nexus_set_view(struct scsi_nexus *nexus, const struct scsi_view *view)
{
	bool changed = false;

	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++)
		changed |= atomic_exchange(&nexus->view[i], view->lun[i]) != view->lun[i];
	if (changed)
		atomic_fetch_add(&nexus->view_changes, 1);
	return changed;
}

struct scsi_slot *
scsi_nexus_slot(const struct scsi_nexus *nexus, int lun, bool *ret_read_only)
{
	uint16_t entry;

	if (lun < 0 || lun >= SCSI_LUNS_MAX)
		return NULL;
	entry = atomic_load_explicit(&nexus->view[lun], memory_order_acquire);
	if (entry == SCSI_VIEW_NONE)
		return NULL;
	*ret_read_only = entry & SCSI_VIEW_READ_ONLY;
	entry &= (uint16_t)~SCSI_VIEW_READ_ONLY;
	return entry < SCSI_LUNS_MAX ? &nexus->target->slots[entry] : NULL;
}

bool
scsi_nexus_sees(const struct scsi_nexus *nexus, const struct scsi_slot *slot, bool *ret_read_only)
{
	for (int i = 0; i < SCSI_LUNS_MAX; i++)
		if (scsi_nexus_slot(nexus, i, ret_read_only) == slot)
			return true;
	return false;
}

void
scsi_nexus_unref(struct scsi_nexus *nexus)
{
	if (atomic_fetch_sub(&nexus->refs, 1) == 1)
		free(nexus);
}

static void
lost(struct scsi_tmf_req *req)
{
	struct scsi_nexus *nexus = req->nexus;
	void (*freed)(void *) = nexus->freed;
	void *arg = nexus->freed_arg;

	scsi_group_leave(nexus->target, nexus->group);
	atomic_fetch_sub(&nexus->target->nexuses, 1);
	scsi_nexus_unref(nexus);
	freed(arg);
}

void
scsi_nexus_free(struct scsi_nexus *nexus, void (*done)(void *arg), void *arg)
{
	nexus->freed = done;
	nexus->freed_arg = arg;
	nexus->loss = (struct scsi_tmf_req){.nexus = nexus, .function = SCSI_TMF_NEXUS_LOSS, .done = lost};
	scsi_tmf_submit(&nexus->loss);
}
