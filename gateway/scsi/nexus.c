/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I_T nexuses: one for each session.
 *
 * Freeing one is the loss of the nexus: tmf.c visits every unit of the target, aborts
 * and waits; then the owner's reference goes.  The memory goes with the last reference, since a unit
 * that is being unmapped may still have this nexus in its list.
 *
 * Threads: refs, luns_reported are shared; itls[] belong each to the unit's home;
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
	nexus->group = scsi_group_get(target, scsi_port_id(nexus));
	if (!nexus->group) {
		free(nexus);
		return -ENOSPC;
	}
	atomic_store(&nexus->access_told, atomic_load(&target->access_changes));
	atomic_store(&nexus->refs, 1);
	atomic_store(&nexus->functions, 1);
	atomic_store(&nexus->luns_reported, atomic_load(&target->inventory));
	atomic_fetch_add(&target->nexuses, 1);
	*ret = nexus;
	return 0;
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
