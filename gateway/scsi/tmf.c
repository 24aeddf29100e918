/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Task management (SAM-5 clause 7) and the loss of a nexus.
 *
 * Which tasks came before a function is decided by epochs: submit counts one
 * global counter up, a task notes at its start how far that was.  A task of a lower epoch is
 * affected wherever it is:
 *   in the task set, waiting   ends at once
 *   in the task set, running   ends when the volume request that it has in flight ends; no other follows
 *   still with the transport   lu->cleared_epoch, itl->aborted_epoch make it end when it is run
 * ABORT TASK finds tasks of the set alone; one that was not run yet is the transport's to release.
 *
 * A request visits units one after another, each on its home, in two passes:
 * the first aborts, the second waits until no aborted task is left.  So every
 * unit of a target is told before the slowest is waited for.
 *
 *   submit -> next unit -> [home] mark -> next unit ... -> [home] wait -> next unit ... -> done
 *
 * Invariant: while a request is on a unit, or in its list of waiters, it holds the slot.
 *
 * Threads: as above; a request is on one loop at a time.
 *
 * Failure: none of its own; it takes as long as the volume takes.
 */
#include "gateway/scsi/scsi_impl.h"

enum { PASS_MARK, PASS_WAIT };

static _Atomic uint64_t last_epoch = 1;

static void go_on(struct scsi_tmf_req *req);

uint64_t
scsi_epoch(void)
{
	return atomic_load(&last_epoch);
}

uint64_t
scsi_epoch_next(void)
{
	return atomic_fetch_add(&last_epoch, 1) + 1;
}

static bool
is_target_wide(enum scsi_tmf function)
{
	return function == SCSI_TMF_TARGET_WARM_RESET || function == SCSI_TMF_TARGET_COLD_RESET ||
	       function == SCSI_TMF_NEXUS_LOSS;
}

static bool
affects(const struct scsi_tmf_req *req, const struct scsi_task *task)
{
	if (task->epoch >= req->epoch)
		return false;
	switch (req->function) {
	case SCSI_TMF_ABORT_TASK:
		return task->nexus == req->nexus && task->slot == req->slot && task->tag == req->tag;
	case SCSI_TMF_ABORT_TASK_SET:
	case SCSI_TMF_NEXUS_LOSS:
		return task->nexus == req->nexus && task->slot == req->slot;
	default: /* one task set for all nexuses (TST = 0) */
		return true;
	}
}

/* What a copy of another unit's task reads and writes here are tasks of this one, of a nexus of their own:
 * the function has to be one that is for all nexuses. */
static bool
affects_guest(const struct scsi_tmf_req *req, const struct scsi_guest *guest)
{
	switch (req->function) {
	case SCSI_TMF_ABORT_TASK:
	case SCSI_TMF_ABORT_TASK_SET:
	case SCSI_TMF_NEXUS_LOSS: /* it ends the copy where its task is */
		return false;
	default:
		return guest->epoch < req->epoch;
	}
}

static bool
is_pending(const struct scsi_lu *lu, const struct scsi_tmf_req *req)
{
	for (const struct scsi_guest *guest = lu->guests; guest; guest = guest->next)
		if (affects_guest(req, guest))
			return true;
	for (const struct scsi_task *t = lu->tasks_head; t; t = t->lu_next)
		if (t->aborted && affects(req, t))
			return true;
	return false;
}

/* The nexus outlives what was asked in its name: the loss of a nexus is told last. */
static void
answer(struct scsi_tmf_req *req)
{
	struct scsi_nexus *nexus = req->nexus;

	if (req->function != SCSI_TMF_NEXUS_LOSS)
		req->done(req);
	if (atomic_fetch_sub(&nexus->functions, 1) == 1)
		nexus->loss.done(&nexus->loss);
}

static void
msg_done(struct loop_msg *msg)
{
	answer(container_of(msg, struct scsi_tmf_req, msg));
}

static void
finish(struct scsi_tmf_req *req)
{
	if (req->loop == loop_current()) {
		answer(req);
		return;
	}
	req->msg.fn = msg_done;
	loop_post(req->loop, &req->msg);
}

/* -- on home ------------------------------------------------------------- */

/* Marks what is affected; how many there are. */
static unsigned
mark(struct scsi_lu *lu, struct scsi_tmf_req *req)
{
	unsigned n = 0;

	for (struct scsi_task *t = lu->tasks_head; t; t = t->lu_next) {
		if (!affects(req, t))
			continue;
		n++;
		if (t->nexus == req->nexus)
			t->no_answer = true; /* the function's response speaks for it */
		if (t->aborted)
			continue;
		t->aborted = true;
		if (t->nexus == req->nexus)
			continue;
		/* SPC-4 7.5.8, TAS: either the task's own status tells, or a unit attention */
		t->no_answer = !lu->tas;
		if (t->no_answer && req->function == SCSI_TMF_CLEAR_TASK_SET)
			task_itl(t)->ua |= 1u << UA_CLEARED_BY_OTHER;
	}
	for (struct scsi_guest *guest = lu->guests; guest; guest = guest->next)
		if (affects_guest(req, guest))
			scsi_guest_stop(guest, SE_COPY_ABORTED);
	return n;
}

static void
apply(struct scsi_lu *lu, struct scsi_tmf_req *req)
{
	struct scsi_itl *itl = &req->nexus->itls[req->slot - req->nexus->target->slots];
	unsigned n = mark(lu, req);

	switch (req->function) {
	case SCSI_TMF_ABORT_TASK:
		if (n == 0)
			req->result = SCSI_TMF_NO_TASK;
		break;
	case SCSI_TMF_ABORT_TASK_SET:
		if (itl->linked)
			itl->aborted_epoch = req->epoch;
		break;
	case SCSI_TMF_NEXUS_LOSS:
		break;
	case SCSI_TMF_CLEAR_TASK_SET:
		lu->cleared_epoch = req->epoch;
		lu->cleared_by = req->nexus;
		break;
	default:
		lu->cleared_epoch = req->epoch;
		lu->cleared_by = req->nexus;
		scsi_lu_reset_state(lu);
		scsi_lu_attention(lu,
				  req->function == SCSI_TMF_LU_RESET            ? UA_LU_RESET
				  : req->function == SCSI_TMF_TARGET_WARM_RESET ? UA_TARGET_RESET
										: UA_POWER_ON,
				  NULL);
		break;
	}
	scsi_lu_drop_aborted(lu);
}

/* Nothing aborted is left on this unit. */
static void
leave(struct scsi_lu *lu, struct scsi_tmf_req *req)
{
	struct scsi_itl *itl = &req->nexus->itls[req->slot - req->nexus->target->slots];

	if (req->function == SCSI_TMF_NEXUS_LOSS && itl->linked)
		scsi_lu_unlink_itl(lu, itl);
	scsi_slot_release(req->slot);
	req->at_lun++;
	go_on(req);
}

static void
visit(struct scsi_tmf_req *req)
{
	struct scsi_lu *lu = req->lu;

	if (req->pass == PASS_MARK) {
		apply(lu, req);
		if (is_target_wide(req->function)) {
			scsi_slot_release(req->slot);
			req->at_lun++;
			go_on(req);
			return;
		}
		req->pass = PASS_WAIT;
	}
	if (is_pending(lu, req)) {
		req->next = lu->waiters;
		lu->waiters = req;
		return;
	}
	leave(lu, req);
}

void
scsi_tmf_recheck(struct scsi_lu *lu)
{
	struct scsi_tmf_req **p = &lu->waiters;

	while (*p) {
		struct scsi_tmf_req *req = *p;

		if (is_pending(lu, req)) {
			p = &req->next;
			continue;
		}
		*p = req->next;
		leave(lu, req);
		p = &lu->waiters; /* its done may have changed the list */
	}
}

static void
msg_visit(struct loop_msg *msg)
{
	visit(container_of(msg, struct scsi_tmf_req, msg));
}

/* -- from unit to unit --------------------------------------------------- */

static unsigned
last_lun(const struct scsi_tmf_req *req)
{
	return is_target_wide(req->function) ? SCSI_LUNS_MAX : req->first_lun + 1;
}

/* The slot of at_lun, which counts LUNs of the target, not of the nexus.  Where all are meant: a reset is for those that the nexus sees,
 * its loss for whatever it may have seen before. */
static bool
visited(struct scsi_tmf_req *req)
{
	bool read_only;

	req->slot = &req->nexus->target->slots[req->at_lun];
	if (!atomic_load(&req->slot->lu))
		return false; /* whom to show it is a question of as many steps as there are LUNs */
	return !is_target_wide(req->function) || req->function == SCSI_TMF_NEXUS_LOSS ||
	       scsi_nexus_sees(req->nexus, req->slot, &read_only);
}

/* The next unit of this pass is in req->lu with its slot held; false: there is none left. */
static bool
next_unit(struct scsi_tmf_req *req)
{
	for (;; req->at_lun++) {
		if (req->at_lun >= last_lun(req)) {
			if (req->pass == PASS_WAIT)
				return false;
			req->pass = PASS_WAIT;
			req->at_lun = req->first_lun;
		}
		if (!visited(req))
			continue;
		req->lu = scsi_slot_acquire(req->slot);
		if (req->lu)
			return true;
	}
}

static void
go_on(struct scsi_tmf_req *req)
{
	if (!next_unit(req)) {
		finish(req);
		return;
	}
	if (req->lu->home == loop_current()) {
		visit(req);
		return;
	}
	req->msg.fn = msg_visit;
	loop_post(req->lu->home, &req->msg);
}

void
scsi_tmf_submit(struct scsi_tmf_req *req)
{
	int lun = 0;
	bool read_only;

	req->loop = loop_current();
	req->result = SCSI_TMF_COMPLETE;
	req->pass = PASS_MARK;
	req->first_lun = 0;
	if (req->function == SCSI_TMF_CLEAR_ACA || req->function > SCSI_TMF_NEXUS_LOSS) {
		req->result = SCSI_TMF_NOT_SUPPORTED;
		req->done(req);
		return;
	}
	if (!is_target_wide(req->function)) {
		lun = scsi_lun_decode(req->lun);
		req->slot = scsi_nexus_slot(req->nexus, lun, &read_only);
		if (!req->slot || !atomic_load(&req->slot->lu)) {
			req->result = SCSI_TMF_NO_LUN;
			req->done(req);
			return;
		}
		req->first_lun = (unsigned)(req->slot - req->nexus->target->slots);
	}
	if (req->function != SCSI_TMF_NEXUS_LOSS)
		atomic_fetch_add(&req->nexus->functions, 1);
	req->at_lun = req->first_lun;
	req->epoch = scsi_epoch_next();
	go_on(req);
}
