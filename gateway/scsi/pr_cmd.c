/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16).
 *
 * OUT:
 *   new -> busy          the change is made on a copy; it has to be kept: saving (keep.c)
 *   new -> in place      nothing to keep
 *   busy -> in place     saved
 *   busy -> failed       not saved: nothing has changed
 *   in place -> parked   PREEMPT AND ABORT: until the tasks that it aborted have ended, and copies by other units'
 *                        tasks have left
 *
 * While one is busy the others of the unit wait in the task set (lu.c).
 *
 * Invariant: lu->pr.busy exactly while a task is between new and in place or failed.
 *
 * Threads: the unit's home.
 *
 * Failure: without memory BUSY; a save that fails HARDWARE ERROR.
 */
#include <stdlib.h>

#include "gateway/scsi/keep.h"
#include "gateway/scsi/pr.h"
#include "gateway/scsi/scsi_impl.h"

enum {
	OUT_REGISTER,
	OUT_RESERVE,
	OUT_RELEASE,
	OUT_CLEAR,
	OUT_PREEMPT,
	OUT_PREEMPT_ABORT,
	OUT_REGISTER_IGNORE,
	OUT_MOVE
};
enum { STATE_NEW, STATE_SAVED, STATE_ABORTED };

#define LIST_LEN 24u
#define AT_KEY 0u
#define AT_ACTION_KEY 8u
#define AT_FLAGS 20u
#define AT_IDS 24u
#define FLAG_SPEC_I_PT 0x08u
#define FLAG_ALL_TG_PT 0x04u
#define FLAG_APTPL 0x01u
#define MOVE_AT_FLAGS 17u
#define MOVE_AT_PORT 18u
#define MOVE_AT_ID_LEN 20u
#define MOVE_AT_ID 24u

/* Of a task, in task->priv. */
struct pr_out {
	struct pr_change change;
	struct scsi_keeping keeping;
	struct scsi_task *task;
};

/* -- nexuses and registrations ------------------------------------------- */

static void
port_of(const struct scsi_nexus *nexus, struct pr_port *ret)
{
	*ret = (struct pr_port){.port = scsi_port_id(nexus)};
	memcpy(ret->initiator, nexus->initiator, sizeof(ret->initiator));
	memcpy(ret->isid, nexus->isid, sizeof(ret->isid));
	memcpy(ret->target, nexus->target->name, sizeof(ret->target));
}

void
scsi_pr_link(struct scsi_lu *lu, struct scsi_itl *itl)
{
	struct pr_port who;
	struct pr_reg *reg;

	itl->registered = itl->holder = false;
	if (!lu->pr.state.regs)
		return;
	port_of(itl->nexus, &who);
	reg = pr_find(&lu->pr.state, &who);
	itl->registered = reg != NULL;
	itl->holder = pr_holds(&lu->pr.state, reg);
}

/* -- putting a change in place ------------------------------------------- */

static void
abort_tasks(struct scsi_lu *lu, struct scsi_task *killer, struct scsi_itl *victim)
{
	/* those whose Data-Out is still on the way, too: they end when they are run */
	victim->preempted_epoch = scsi_epoch_next();
	for (struct scsi_task *t = lu->tasks_head; t; t = t->lu_next) {
		if (t == killer || task_itl(t) != victim || t->aborted)
			continue;
		t->aborted = true;
		t->killer = killer;
		t->no_answer = !lu->tas;
	}
}

/* What the victims have running at another unit, and reads or writes here. */
static void
stop_guests(struct scsi_lu *lu, struct scsi_task *killer, const struct pr_state *removed)
{
	for (struct scsi_guest *guest = lu->guests; guest; guest = guest->next) {
		struct pr_port who;

		port_of(guest->nexus, &who);
		if (guest->nexus == killer->nexus || guest->killer || !pr_find(removed, &who))
			continue;
		guest->killer = killer;
		scsi_guest_stop(guest, SE_COPY_ABORTED);
	}
}

/* What the others are told, and whose tasks go. */
static void
tell(struct scsi_lu *lu, struct scsi_task *task, const struct pr_change *change)
{
	struct pr_state removed = {.regs = change->removed};

	for (struct scsi_itl *itl = lu->itls; itl; itl = itl->next) {
		struct pr_port who;

		if (itl == task_itl(task))
			continue;
		port_of(itl->nexus, &who);
		if (pr_find(&removed, &who)) {
			itl->ua |= 1u << change->removed_ua;
			if (change->abort)
				abort_tasks(lu, task, itl);
		} else if (change->released && pr_find(&change->next, &who)) {
			itl->ua |= 1u << UA_RES_RELEASED;
		}
	}
	if (change->abort)
		stop_guests(lu, task, &removed);
}

static bool
has_victims(const struct scsi_lu *lu, const struct scsi_task *killer)
{
	for (const struct scsi_task *t = lu->tasks_head; t; t = t->lu_next)
		if (t->killer == killer)
			return true;
	for (const struct scsi_guest *guest = lu->guests; guest; guest = guest->next)
		if (guest->killer == killer)
			return true;
	return false;
}

/* The change has happened. */
static enum scsi_step
put_in_place(struct scsi_task *task, struct pr_change *change)
{
	struct scsi_lu *lu = task->lu;

	tell(lu, task, change);
	pr_state_fini(&lu->pr.state);
	lu->pr.state = change->next;
	change->next = (struct pr_state){0};
	lu->pr.generation += change->bump;
	for (struct scsi_itl *itl = lu->itls; itl; itl = itl->next)
		scsi_pr_link(lu, itl);
	scsi_guests_check(lu);
	if (!change->abort)
		return STEP_GOOD;
	task->state = STATE_ABORTED;
	scsi_lu_drop_aborted(lu);
	return has_victims(lu, task) ? STEP_PARK : STEP_GOOD;
}

void
scsi_pr_recheck(struct scsi_lu *lu)
{
	struct scsi_task *t = lu->tasks_head;

	while (t) {
		if (t->place == PLACE_PARKED && t->state == STATE_ABORTED && t->command->step == spc_pr_out &&
		    !has_victims(lu, t)) {
			t->place = PLACE_RUNNING;
			scsi_task_pump(t);
			t = lu->tasks_head; /* it is gone, and others may be */
			continue;
		}
		t = t->lu_next;
	}
}

/* -- saving -------------------------------------------------------------- */

static void
save_done(struct scsi_keeping *keeping)
{
	struct pr_out *out = container_of(keeping, struct pr_out, keeping);

	out->task->lu->pr.busy = false;
	scsi_task_pump(out->task);
}

static void
out_free(struct scsi_task *task, struct pr_out *out)
{
	pr_change_fini(&out->change);
	free(out->keeping.text);
	free(out);
	task->priv = NULL;
}

static enum scsi_step
keep(struct scsi_task *task, struct pr_out *out)
{
	out->keeping = (struct scsi_keeping){.vol = task->lu->vol, .name = PR_KEPT, .done = save_done};
	if (out->change.next.aptpl) {
		out->keeping.text = pr_text(&out->change.next, &out->keeping.len);
		if (!out->keeping.text) {
			out_free(task, out);
			return task_fail(task, SE_BUSY);
		}
	}
	task->state = STATE_SAVED;
	task->lu->pr.busy = true;
	out->task = task;
	scsi_keep(&out->keeping); /* the task may be gone already */
	return STEP_WAIT;
}

/* -- REGISTER and REGISTER AND MOVE -------------------------------------- */

static enum scsi_step
fail_add(struct scsi_task *task, int rc)
{
	return task_fail(task, rc == -ENOSPC ? SE_NO_REGISTRATIONS : SE_BUSY);
}

/* Every nexus that is there with this initiator name: it stands for a TransportID without an ISID. */
static enum scsi_step
register_name(struct scsi_task *task, struct pr_change *change, struct pr_port who, uint64_t key, unsigned at)
{
	bool found = false;

	for (const struct scsi_itl *itl = task->lu->itls; itl; itl = itl->next) {
		int rc;

		if (itl->nexus->target != task->nexus->target ||
		    strcmp(itl->nexus->initiator, who.initiator) != 0)
			continue;
		found = true;
		memcpy(who.isid, itl->nexus->isid, sizeof(who.isid));
		rc = pr_find(&change->next, &who) ? 0 : pr_add(&change->next, &who, key, NULL);
		if (rc < 0)
			return fail_add(task, rc);
	}
	return found ? STEP_GOOD : task_fail_param(task, at);
}

/* SPEC_I_PT: the ports listed, each through the target port that the command came by, or all. */
static enum scsi_step
register_listed(struct scsi_task *task, struct pr_change *change, const struct pr_port *own, uint64_t key)
{
	const uint8_t *list = task->pages[0]->data;
	uint32_t at = AT_IDS + 4, end;

	if (task->out_len < at)
		return task_fail(task, SE_PARAM_LENGTH);
	if (get_be32(list + AT_IDS) != task->out_len - at)
		return task_fail(task, SE_PARAM_LENGTH);
	for (end = task->out_len; at < end;) {
		struct pr_port who = *own;
		bool has_isid;
		size_t len;
		int rc;

		if (pr_id_get(list + at, end - at, &who, &has_isid, &len) < 0)
			return task_fail_param(task, at);
		if (!has_isid) {
			if (register_name(task, change, who, key, at) != STEP_GOOD)
				return STEP_FAIL;
		} else if (!pr_find(&change->next, &who)) {
			rc = pr_add(&change->next, &who, key, NULL);
			if (rc < 0)
				return fail_add(task, rc);
		}
		at += (uint32_t)len;
	}
	return STEP_GOOD;
}

static enum scsi_step
do_register(struct scsi_task *task, struct pr_change *change, struct pr_port who, bool ignore)
{
	const uint8_t *list = task->pages[0]->data;
	uint64_t key = get_be64(list + AT_KEY), action_key = get_be64(list + AT_ACTION_KEY);
	unsigned flags = list[AT_FLAGS];
	struct pr_reg *own = pr_find(&change->next, &who);
	int rc;

	if ((flags & FLAG_APTPL) && !scsi_can_keep(task->lu->vol))
		return task_fail_param(task, AT_FLAGS);
	if ((flags & FLAG_SPEC_I_PT) && (own || ignore || action_key == 0))
		return task_fail_param(task, AT_FLAGS);
	if (!ignore && key != (own ? own->key : 0))
		return task_fail(task, SE_CONFLICT);
	change->bump = true;
	change->next.aptpl = flags & FLAG_APTPL;
	if (action_key == 0) {
		if (own)
			(void)pr_unregister(change, own);
		else
			change->bump = false;
		return STEP_GOOD;
	}
	if (own) {
		own->key = action_key;
		own->who.all_ports |= !!(flags & FLAG_ALL_TG_PT);
		return STEP_GOOD;
	}
	who.all_ports = flags & FLAG_ALL_TG_PT;
	rc = pr_add(&change->next, &who, action_key, NULL);
	if (rc < 0)
		return fail_add(task, rc);
	return flags & FLAG_SPEC_I_PT ? register_listed(task, change, &who, action_key) : STEP_GOOD;
}

/* The one port that a TransportID means; without an ISID it must be the only one of its name. */
static enum scsi_step
find_destination(struct scsi_task *task, struct pr_port *who)
{
	const uint8_t *list = task->pages[0]->data;
	bool has_isid;
	size_t len;
	unsigned n = 0;

	if (task->out_len < MOVE_AT_ID || get_be32(list + MOVE_AT_ID_LEN) != task->out_len - MOVE_AT_ID)
		return task_fail(task, SE_PARAM_LENGTH);
	if (pr_id_get(list + MOVE_AT_ID, task->out_len - MOVE_AT_ID, who, &has_isid, &len) < 0 ||
	    len != task->out_len - MOVE_AT_ID)
		return task_fail_param(task, MOVE_AT_ID);
	for (const struct scsi_itl *itl = task->lu->itls; itl && !has_isid; itl = itl->next) {
		if (itl->nexus->target == task->nexus->target &&
		    !strcmp(itl->nexus->initiator, who->initiator)) {
			memcpy(who->isid, itl->nexus->isid, sizeof(who->isid));
			n++;
		}
	}
	return has_isid || n == 1 ? STEP_GOOD : task_fail_param(task, MOVE_AT_ID);
}

static enum scsi_step
do_move(struct scsi_task *task, struct pr_change *change, const struct pr_port *own_port, struct pr_reg *own)
{
	const uint8_t *list = task->pages[0]->data;
	uint64_t action_key = get_be64(list + AT_ACTION_KEY);
	struct pr_state *state = &change->next;
	struct pr_port who = *own_port;
	struct pr_reg *to;
	int rc;

	if ((list[MOVE_AT_FLAGS] & FLAG_APTPL) && !scsi_can_keep(task->lu->vol))
		return task_fail_param(task, MOVE_AT_FLAGS);
	if (state->holder != own || !state->type)
		return task_fail(task, SE_CONFLICT);
	if (action_key == 0)
		return task_fail_param(task, AT_ACTION_KEY);
	who.port = get_be16(list + MOVE_AT_PORT);
	if (!scsi_target_has_port(task->nexus->target, who.port))
		return task_fail_param(task, MOVE_AT_PORT);
	if (find_destination(task, &who) != STEP_GOOD)
		return STEP_FAIL;
	to = pr_find(state, &who);
	if (to == own)
		return task_fail_param(task, MOVE_AT_ID);
	if (!to) {
		rc = pr_add(state, &who, action_key, &to);
		if (rc < 0)
			return fail_add(task, rc);
	}
	to->key = action_key;
	state->holder = to;
	state->aptpl = list[MOVE_AT_FLAGS] & FLAG_APTPL;
	change->bump = true;
	if (list[MOVE_AT_FLAGS] & 0x02) /* UNREG */
		(void)pr_unregister(change, own);
	return STEP_GOOD;
}

/* -- PERSISTENT RESERVE OUT ---------------------------------------------- */

static enum scsi_step
do_action(struct scsi_task *task, struct pr_change *change)
{
	const uint8_t *list = task->pages[0]->data;
	unsigned action = task->cdb[1] & 0x1f, scope = task->cdb[2] >> 4, type = task->cdb[2] & 0x0f,
		 error = 0;
	uint64_t action_key = get_be64(list + AT_ACTION_KEY);
	struct pr_port who;
	struct pr_reg *own;

	port_of(task->nexus, &who);
	if (action == OUT_REGISTER || action == OUT_REGISTER_IGNORE)
		return do_register(task, change, who, action == OUT_REGISTER_IGNORE);
	own = pr_find(&change->next, &who);
	if (!own || own->key != get_be64(list + AT_KEY))
		return task_fail(task, SE_CONFLICT);
	if (action == OUT_MOVE)
		return do_move(task, change, &who, own);
	if (action != OUT_CLEAR && (scope != 0 || !pr_type_valid(type)))
		return task_fail_cdb(task, 2);
	switch (action) {
	case OUT_RESERVE:
		error = pr_reserve(change, own, (enum pr_type)type);
		break;
	case OUT_RELEASE:
		error = pr_release(change, own, (enum pr_type)type);
		break;
	case OUT_CLEAR:
		change->bump = true;
		pr_clear(change, own);
		break;
	default:
		change->bump = true;
		change->abort = action == OUT_PREEMPT_ABORT;
		error = pr_preempt(change, own, action_key, (enum pr_type)type);
		break;
	}
	if (error == SE_INVALID_FIELD_PARAM)
		return task_fail_param(task, AT_ACTION_KEY);
	return error ? task_fail(task, (enum scsi_error)error) : STEP_GOOD;
}

static enum scsi_step
check_list(struct scsi_task *task)
{
	const uint8_t *list;
	bool longer;

	if (task->out_len < LIST_LEN || task->out_room < task->out_len)
		return task_fail(task, SE_PARAM_LENGTH);
	list = task->pages[0]->data;
	longer = (task->cdb[1] & 0x1f) == OUT_MOVE ||
		 ((task->cdb[1] & 0x1f) == OUT_REGISTER && (list[AT_FLAGS] & FLAG_SPEC_I_PT));
	return longer || task->out_len == LIST_LEN ? STEP_GOOD : task_fail(task, SE_PARAM_LENGTH);
}

static enum scsi_step
begin_out(struct scsi_task *task)
{
	struct scsi_lu *lu = task->lu;
	bool kept = lu->pr.state.aptpl;
	struct pr_out *out;
	enum scsi_step step;

	if (check_list(task) != STEP_GOOD)
		return STEP_FAIL;
	out = calloc(1, sizeof(*out));
	if (!out)
		return task_fail(task, SE_BUSY);
	if (pr_copy(&lu->pr.state, &out->change.next) < 0) {
		free(out);
		return task_fail(task, SE_BUSY);
	}
	step = do_action(task, &out->change);
	if (step == STEP_GOOD) {
		task->priv = out;
		if (kept || out->change.next.aptpl)
			return keep(task, out);
		step = put_in_place(task, &out->change);
	}
	out_free(task, out);
	return step;
}

enum scsi_step
spc_pr_out(struct scsi_task *task)
{
	struct pr_out *out = task->priv;
	enum scsi_step step;

	if (task->state == STATE_NEW)
		return begin_out(task);
	if (task->state == STATE_ABORTED)
		return STEP_GOOD;
	if (out->keeping.status < 0)
		step = task_fail(task, SE_INTERNAL_FAILURE);
	else
		step = put_in_place(task, &out->change);
	out_free(task, out);
	return step;
}

/* -- PERSISTENT RESERVE IN ----------------------------------------------- */

static void
put_length(struct datain *in)
{
	uint8_t len[4];

	put_be32(len, in->len - 8);
	datain_set(in, 4, len, sizeof(len));
}

static void
put_keys(const struct scsi_lu *lu, struct datain *in)
{
	for (const struct pr_reg *reg = lu->pr.state.regs; reg; reg = reg->next)
		datain_be64(in, reg->key);
}

static void
put_reservation(const struct scsi_lu *lu, struct datain *in)
{
	const struct pr_state *state = &lu->pr.state;

	if (!state->type)
		return;
	datain_be64(in, state->holder ? state->holder->key : 0);
	datain_be32(in, 0);
	datain_u8(in, 0);
	datain_u8(in, state->type); /* scope: the unit */
	datain_be16(in, 0);
}

static void
put_full_status(const struct scsi_lu *lu, struct datain *in)
{
	const struct pr_state *state = &lu->pr.state;

	for (const struct pr_reg *reg = state->regs; reg; reg = reg->next) {
		bool holds = pr_holds(state, reg);
		uint8_t id[PR_ID_MAX];
		size_t len = pr_id_put(&reg->who, id);

		datain_be64(in, reg->key);
		datain_be32(in, 0);
		datain_u8(in, (reg->who.all_ports ? 0x02u : 0) | (holds ? 0x01u : 0));
		datain_u8(in, holds ? state->type : 0u);
		datain_be32(in, 0);
		datain_be16(in, reg->who.all_ports ? 0 : reg->who.port);
		datain_be32(in, (uint32_t)len);
		datain_put(in, id, len);
	}
}

static enum scsi_step
put_capabilities(struct scsi_task *task)
{
	bool keeps = scsi_can_keep(task->lu->vol);
	struct datain in;

	datain_begin(task, &in);
	datain_be16(&in, 8);
	datain_u8(&in, 0x1cu | keeps);                    /* CRH, SIP_C, ATP_C, PTPL_C */
	datain_u8(&in, 0x90u | task->lu->pr.state.aptpl); /* TMV; TEST UNIT READY always passes */
	datain_be16(&in, 0xea01);                         /* all six types */
	datain_be16(&in, 0);
	return datain_end(task, &in);
}

enum scsi_step
spc_pr_in(struct scsi_task *task)
{
	struct scsi_lu *lu = task->lu;
	unsigned action = task->cdb[1] & 0x1f;
	struct datain in;

	if (action == 2)
		return put_capabilities(task);
	datain_begin(task, &in);
	datain_be32(&in, lu->pr.generation);
	datain_be32(&in, 0);
	if (action == 0)
		put_keys(lu, &in);
	else if (action == 1)
		put_reservation(lu, &in);
	else
		put_full_status(lu, &in);
	put_length(&in);
	return datain_end(task, &in);
}
