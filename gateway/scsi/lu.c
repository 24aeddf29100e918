/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logical units: one for each mapped volume, whatever targets and LUNs lead to
 * it, so that task set, mode parameters and reservation are the unit's.
 *
 * The task set (SAM-5 clause 8) is a list, oldest first.  A task waits there
 * (PLACE_WAITING) or runs (PLACE_RUNNING):
 *   SIMPLE         runs unless an older ORDERED or any HEAD OF QUEUE one has not ended
 *   ORDERED        runs when every older one has ended
 *   HEAD OF QUEUE  runs at once
 *   an exclusive command (F_EXCLUSIVE) is ORDERED, and nothing at all runs beside it.
 * While there is no such task (nbarriers == 0) nobody waits and nothing is searched.
 *
 * Invariants: nbarriers counts the tasks of the set that are not plain SIMPLE; a
 * linked itl has a nexus that lives (it holds a reference).
 *
 * Threads: home alone, but for scsi_lu_get and scsi_lu_put (configuration).  A unit
 * is not freed while home is inside one of these functions: unmap's last step passes through home.
 *
 * Failure: nothing here can fail but making a unit.
 */
#include <pthread.h>
#include <stdlib.h>

#include "common/registry.h"
#include "gateway/scsi/scsi_impl.h"

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct scsi_lu *table; /* all units; under table_lock */
static uint64_t last_id;      /* under table_lock */

static int
lu_new(struct volume *vol, const struct scsi_map_options *options, struct scsi_lu **ret)
{
	struct scsi_lu *lu = calloc(1, sizeof(*lu));
	int rc;

	if (!lu)
		return -ENOMEM;
	rc = scsi_sanitize_recall(vol, &lu->sanitize_failed, &lu->sanitize_ause);
	if (rc == 0)
		rc = scsi_pr_load(vol, &lu->pr);
	if (rc < 0) {
		free(lu);
		return rc;
	}
	lu->removable = options->removable;
	lu->vol = volume_ref(vol);
	lu->home = vol->loop;
	lu->id = ++last_id;
	lu->size_seen = atomic_load(&vol->size);
	lu->wce = vol->write_cache;
	lu->all_next = table;
	table = lu;
	*ret = lu;
	return 0;
}

int
scsi_lu_get(struct volume *vol, const struct scsi_map_options *options, struct scsi_lu **ret)
{
	struct scsi_lu *lu;
	int rc = 0;

	pthread_mutex_lock(&table_lock);
	for (lu = table; lu && lu->vol != vol; lu = lu->all_next)
		;
	if (!lu)
		rc = lu_new(vol, options, &lu);
	else if (lu->removable != options->removable)
		rc = -EINVAL;
	if (rc == 0)
		lu->mappings++;
	pthread_mutex_unlock(&table_lock);
	if (rc == 0)
		*ret = lu;
	return rc;
}

void
scsi_lu_put(struct scsi_lu *lu)
{
	struct scsi_lu **p;

	pthread_mutex_lock(&table_lock);
	if (--lu->mappings == 0) {
		for (p = &table; *p != lu; p = &(*p)->all_next)
			;
		*p = lu->all_next;
	} else {
		lu = NULL;
	}
	pthread_mutex_unlock(&table_lock);
	if (!lu)
		return;
	assert(!lu->tasks_head && !lu->itls && !lu->waiters && !lu->sanitize);
	pr_state_fini(&lu->pr.state);
	volume_unref(lu->vol);
	free(lu);
}

/* -- nexuses and unit attentions ----------------------------------------- */

static const enum scsi_error attention_error[UA_COUNT] = {
	[UA_POWER_ON] = SE_UA_POWER_ON,         [UA_TARGET_RESET] = SE_UA_TARGET_RESET,
	[UA_LU_RESET] = SE_UA_LU_RESET,         [UA_CAPACITY_CHANGED] = SE_UA_CAPACITY,
	[UA_MODE_CHANGED] = SE_UA_MODE,         [UA_CLEARED_BY_OTHER] = SE_UA_CLEARED,
	[UA_MEDIUM_CHANGED] = SE_UA_MEDIUM,     [UA_RES_PREEMPTED] = SE_UA_RES_PREEMPTED,
	[UA_RES_RELEASED] = SE_UA_RES_RELEASED, [UA_REG_PREEMPTED] = SE_UA_REG_PREEMPTED,
};

/* Before a nexus is made known, too: who reads the size for the first time was not told of another one. */
static void
notice_size(struct scsi_lu *lu)
{
	uint64_t size = atomic_load_explicit(&lu->vol->size, memory_order_relaxed);

	if (size == lu->size_seen)
		return;
	lu->size_seen = size;
	scsi_lu_attention(lu, UA_CAPACITY_CHANGED, NULL);
}

/* A nexus is made known to a unit by its first command there: what happened
 * before is covered by the power-on attention. */
static struct scsi_itl *
scsi_lu_itl(struct scsi_task *task)
{
	struct scsi_itl *itl = task_itl(task);
	struct scsi_lu *lu = task->lu;

	if (itl->linked)
		return itl;
	notice_size(lu);
	*itl = (struct scsi_itl){
		.nexus = task->nexus,
		.lun = (uint16_t)(task->slot - task->nexus->target->slots),
		.ua = 1u << UA_POWER_ON,
		.luns_seen = scsi_inventory(task->nexus),
		.access_seen = atomic_load(&task->nexus->target->access_changes),
		.linked = true,
		.next = lu->itls,
	};
	if (lu->itls)
		lu->itls->prev = itl;
	lu->itls = itl;
	scsi_pr_link(lu, itl);
	atomic_fetch_add(&task->nexus->refs, 1);
	return itl;
}

void
scsi_lu_unlink_itl(struct scsi_lu *lu, struct scsi_itl *itl)
{
	struct scsi_nexus *nexus = itl->nexus;

	assert(itl->linked);
	for (unsigned i = 0; i < SCSI_COPIES_KEPT; i++)
		if (lu->copies[i].nexus == nexus)
			lu->copies[i].nexus = NULL;
	if (lu->reserved_by == itl)
		lu->reserved_by = NULL;
	if (itl->prev)
		itl->prev->next = itl->next;
	else
		lu->itls = itl->next;
	if (itl->next)
		itl->next->prev = itl->prev;
	itl->linked = false;
	scsi_nexus_unref(nexus);
}

void
scsi_lu_attention(struct scsi_lu *lu, enum scsi_ua ua, const struct scsi_itl *except)
{
	const uint32_t power_on = 1u << UA_POWER_ON;

	for (struct scsi_itl *itl = lu->itls; itl; itl = itl->next) {
		if (itl == except)
			continue;
		/* a reset covers what came before it, power on covers a reset (SAM-5 5.14) */
		if (ua > UA_LU_RESET)
			itl->ua |= 1u << ua;
		else
			itl->ua = itl->ua & power_on ? power_on : 1u << ua;
	}
}

enum scsi_error
scsi_lu_take_attention(struct scsi_lu *lu, struct scsi_itl *itl)
{
	uint64_t inventory = scsi_inventory(itl->nexus);
	uint64_t accesses = atomic_load_explicit(&itl->nexus->target->access_changes, memory_order_acquire);

	notice_size(lu);
	for (unsigned ua = 0; itl->ua && ua < UA_COUNT; ua++) {
		if (!(itl->ua & 1u << ua))
			continue;
		itl->ua &= ~(1u << ua);
		return attention_error[ua];
	}
	if (itl->access_seen < accesses) {
		itl->access_seen = accesses;
		/* who changed the state itself knows (SPC-4 6.45) */
		if (atomic_load_explicit(&itl->nexus->access_told, memory_order_acquire) < accesses)
			return SE_UA_ACCESS;
	}
	if (itl->luns_seen < inventory) {
		itl->luns_seen = inventory;
		/* REPORT LUNS clears it on every unit of the target (SPC-4 6.33) */
		if (atomic_load_explicit(&itl->nexus->luns_reported, memory_order_acquire) < inventory)
			return SE_UA_LUNS;
	}
	return SE_NONE;
}

void
scsi_lu_reset_state(struct scsi_lu *lu)
{
	lu->stopped = false;
	lu->reserved_by = NULL;
	for (struct scsi_itl *itl = lu->itls; itl; itl = itl->next)
		itl->prevents = false;
	lu->d_sense = false;
	lu->swp = false;
	lu->tas = false;
	lu->wce = lu->vol->write_cache;
}

/* -- the task set -------------------------------------------------------- */

static bool
is_exclusive(const struct scsi_task *task)
{
	return task->command && (task->command->flags & F_EXCLUSIVE);
}

/* One change of the reservations at a time. */
static bool
is_pr_out(const struct scsi_task *task)
{
	return task->command && task->command->step == spc_pr_out;
}

static bool
is_head(const struct scsi_task *task)
{
	return task->attr == SCSI_ATTR_HEAD && !is_exclusive(task);
}

static bool
is_barrier(const struct scsi_task *task)
{
	return task->attr == SCSI_ATTR_ORDERED || task->attr == SCSI_ATTR_HEAD || is_exclusive(task);
}

static void
set_add(struct scsi_lu *lu, struct scsi_task *task)
{
	task->place = PLACE_WAITING;
	task->lu_next = NULL;
	task->lu_prev = lu->tasks_tail;
	if (lu->tasks_tail)
		lu->tasks_tail->lu_next = task;
	else
		lu->tasks_head = task;
	lu->tasks_tail = task;
	lu->ntasks++;
	if (is_barrier(task))
		lu->nbarriers++;
}

static void
set_remove(struct scsi_lu *lu, struct scsi_task *task)
{
	if (task->lu_prev)
		task->lu_prev->lu_next = task->lu_next;
	else
		lu->tasks_head = task->lu_next;
	if (task->lu_next)
		task->lu_next->lu_prev = task->lu_prev;
	else
		lu->tasks_tail = task->lu_prev;
	lu->ntasks--;
	if (is_barrier(task))
		lu->nbarriers--;
}

/* SPC-2 5.5.1, SPC-4 5.13.3: while RESERVE(6) holds, PERSISTENT RESERVE is for nobody. */
static bool
scsi_lu_conflicts(const struct scsi_lu *lu, const struct scsi_itl *itl, const struct scsi_command *command,
		  const uint8_t *cdb)
{
	unsigned flags = command->flags;

	if (command->passes && command->passes(cdb))
		return false;
	if (lu->reserved_by) {
		if (command->step == spc_pr_in || command->step == spc_pr_out)
			return true;
		if (lu->reserved_by != itl && (flags & F_RES6))
			return true;
	}
	if (lu->pr.state.type == PR_NONE)
		return false;
	return pr_conflicts(lu->pr.state.type, itl->holder, itl->registered, flags);
}

enum scsi_error
scsi_lu_state(const struct scsi_lu *lu, unsigned flags)
{
	if (lu->sanitize && !(flags & F_SANITIZE))
		return SE_SANITIZING;
	if (lu->sanitize_failed && !(flags & F_SANITIZE))
		return SE_SANITIZE_FAILED;
	if (lu->ejected && !(flags & F_STOPPED))
		return SE_NO_MEDIUM;
	if (lu->stopped && !(flags & F_STOPPED))
		return SE_STOPPED;
	if ((flags & F_WRITES) && (lu->vol->read_only || lu->swp))
		return SE_WRITE_PROTECTED;
	return SE_NONE;
}

/* -- copies by tasks of other units --------------------------------------- */

void
scsi_guest_enter(struct scsi_lu *lu, struct scsi_guest *guest)
{
	guest->linked = true;
	guest->next = lu->guests;
	lu->guests = guest;
}

void
scsi_guest_leave(struct scsi_lu *lu, struct scsi_guest *guest)
{
	struct scsi_guest **p = &lu->guests;

	while (*p != guest)
		p = &(*p)->next;
	*p = guest->next;
	guest->linked = false;
	if (lu->waiters)
		scsi_tmf_recheck(lu);
	if (guest->killer)
		scsi_pr_recheck(lu);
}

void
scsi_guest_stop(struct scsi_guest *guest, enum scsi_error why)
{
	unsigned none = SE_NONE;

	(void)atomic_compare_exchange_strong(guest->stop, &none, (unsigned)why);
}

bool
scsi_guest_conflicts(struct scsi_lu *lu, const struct scsi_guest *guest)
{
	const struct scsi_itl *itl = &guest->nexus->itls[guest->slot - guest->nexus->target->slots];
	struct scsi_itl stranger = {.nexus = guest->nexus};
	struct scsi_command as = {.flags = guest->writes ? F_RES_ALL | F_WRITES : F_RES6 | F_EA};

	if (!itl->linked) { /* nothing was ever sent there */
		scsi_pr_link(lu, &stranger);
		itl = &stranger;
	}
	return scsi_lu_conflicts(lu, itl, &as, NULL);
}

void
scsi_guests_check(struct scsi_lu *lu)
{
	for (struct scsi_guest *guest = lu->guests; guest; guest = guest->next)
		if (scsi_guest_conflicts(lu, guest))
			scsi_guest_stop(guest, SE_COPY_UNREACHABLE);
}

/* What decides before the command itself: SE_NONE to go on. */
static enum scsi_error
admit(struct scsi_lu *lu, struct scsi_itl *itl, struct scsi_task *task)
{
	const struct scsi_command *command = task->command;
	unsigned flags = command ? command->flags : 0;
	enum scsi_error error = SE_NONE;

	if (!(flags & F_UA))
		error = scsi_lu_take_attention(lu, itl);
	if (error)
		return error;
	if (task->fail.code)
		return (enum scsi_error)task->fail.code;
	if (scsi_lu_conflicts(lu, itl, command, task->cdb))
		return SE_CONFLICT;
	error = scsi_access_refuses(
		(enum scsi_access)atomic_load_explicit(&task->nexus->group->access, memory_order_relaxed),
		flags);
	if (error)
		return error;
	error = scsi_lu_state(lu, flags);
	if (!error && (flags & F_WRITES) && task->read_only)
		error = SE_WRITE_PROTECTED;
	if (error == SE_SANITIZING)
		task->fail = (struct scsi_fail){.code = SE_SANITIZING,
						.info = scsi_sanitize_progress(lu->sanitize),
						.flags = FAIL_PROGRESS};
	return error;
}

static void
begin(struct scsi_task *task)
{
	enum scsi_error error;

	task->place = PLACE_RUNNING;
	error = admit(task->lu, task_itl(task), task);
	if (!error) {
		scsi_task_pump(task);
		return;
	}
	if (task->fail.code != error)
		task->fail = (struct scsi_fail){.code = (uint16_t)error};
	scsi_lu_finish(task, scsi_sense_row(error)->status);
}

/* The next task that may begin, or NULL. */
static struct scsi_task *
next_ready(const struct scsi_lu *lu)
{
	bool running = false, exclusive = false, heads = false, older_barrier = false, older = false;

	for (struct scsi_task *t = lu->tasks_head; t; t = t->lu_next) {
		running |= t->place == PLACE_RUNNING;
		exclusive |= t->place == PLACE_RUNNING && is_exclusive(t);
		heads |= is_head(t) && t->place != PLACE_PARKED;
	}
	if (exclusive)
		return NULL;
	for (struct scsi_task *t = lu->tasks_head; t; t = t->lu_next) {
		bool ready;

		if (t->place == PLACE_PARKED) /* it keeps nobody waiting */
			continue;
		if (t->place != PLACE_WAITING || (is_pr_out(t) && lu->pr.busy))
			ready = false;
		else if (is_head(t))
			ready = true;
		else if (is_exclusive(t))
			ready = !older && !running;
		else if (is_barrier(t))
			ready = !older;
		else
			ready = !heads && !older_barrier;
		if (ready)
			return t;
		older = true;
		older_barrier |= is_barrier(t) && !is_head(t);
	}
	return NULL;
}

void
scsi_lu_kick(struct scsi_lu *lu)
{
	struct scsi_task *task;

	/* tasks that end at once come back here: the outermost call carries on for them */
	if (lu->kicking)
		return;
	lu->kicking = true;
	while ((task = next_ready(lu)))
		begin(task);
	lu->kicking = false;
}

void
scsi_lu_enter(struct scsi_task *task)
{
	struct scsi_lu *lu = task->lu;
	struct scsi_itl *itl = scsi_lu_itl(task);
	bool free_way = lu->nbarriers == 0 && !is_barrier(task) && !(is_pr_out(task) && lu->pr.busy);
	bool mine = task->epoch < itl->aborted_epoch, preempted = task->epoch < itl->preempted_epoch;

	set_add(lu, task);
	/* task management or PREEMPT AND ABORT came while its Data-Out was on the way (SAM-5 7.2 and on) */
	if (mine || preempted || task->epoch < lu->cleared_epoch) {
		bool other = !mine && (preempted || lu->cleared_by != task->nexus);

		task->aborted = true;
		task->no_answer = !other || !lu->tas;
		if (other && !preempted && !lu->tas) /* of a preemption it was told already */
			itl->ua |= 1u << UA_CLEARED_BY_OTHER;
		scsi_lu_drop(task);
	} else if (free_way) {
		begin(task);
	} else {
		scsi_lu_kick(lu);
	}
}

void
scsi_lu_finish(struct scsi_task *task, enum scsi_status status)
{
	struct scsi_lu *lu = task->lu;
	bool barriers = lu->nbarriers != 0 || is_pr_out(task), killed = task->killer != NULL;

	set_remove(lu, task);
	if (lu->sanitize)
		scsi_sanitize_forget(lu, task);
	if (task->aborted) {
		task->silent = task->no_answer;
		status = SCSI_TASK_ABORTED;
	}
	task->status = status;
	task->sense_len = 0;
	if (status == SCSI_CHECK_CONDITION)
		task->sense_len = scsi_sense_build(&task->fail, lu->d_sense, task->sense);
	if (status != SCSI_GOOD && status != SCSI_CONDITION_MET)
		task->in_len = 0;
	scsi_task_return(task);
	if (lu->waiters)
		scsi_tmf_recheck(lu);
	if (killed)
		scsi_pr_recheck(lu);
	if (barriers)
		scsi_lu_kick(lu);
}

void
scsi_lu_drop(struct scsi_task *task)
{
	assert(task->aborted && (task->place == PLACE_WAITING || task->place == PLACE_PARKED));
	scsi_lu_finish(task, SCSI_TASK_ABORTED);
}

/* Each end calls back into the transport, which may change the set: look anew each time. */
void
scsi_lu_drop_aborted(struct scsi_lu *lu)
{
	struct scsi_task *t;

	do {
		for (t = lu->tasks_head; t; t = t->lu_next)
			if (t->aborted && (t->place == PLACE_WAITING || t->place == PLACE_PARKED))
				break;
		if (t)
			scsi_lu_drop(t);
	} while (t);
}
