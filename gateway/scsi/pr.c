/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent reservations: the rules (SPC-4 5.13).
 *
 * Invariants: type is PR_NONE exactly when nobody holds; holder is one of regs
 * where the type has one holder, else NULL; a reservation ends with its last holder.
 *
 * Threads: any; all state is the caller's.
 */
#include "gateway/scsi/pr.h"

#include <stdlib.h>

#include "gateway/scsi/scsi_impl.h"

/* -- types --------------------------------------------------------------- */

bool
pr_type_valid(unsigned type)
{
	return type == PR_WE || type == PR_EA || (type >= PR_WE_RO && type <= PR_EA_AR);
}

bool
pr_all_registrants(enum pr_type type)
{
	return type == PR_WE_AR || type == PR_EA_AR;
}

bool
pr_registrants_only(enum pr_type type)
{
	return type == PR_WE_RO || type == PR_EA_RO;
}

bool
pr_conflicts(enum pr_type type, bool holder, bool registered, unsigned flags)
{
	switch (type) {
	case PR_WE:
		return !holder && (flags & F_WE);
	case PR_EA:
		return !holder && (flags & F_EA);
	case PR_WE_RO:
	case PR_WE_AR:
		return !registered && (flags & F_WE);
	case PR_EA_RO:
	case PR_EA_AR:
		return !registered && (flags & F_EA);
	case PR_NONE:
		break;
	}
	return false;
}

bool
pr_holds(const struct pr_state *state, const struct pr_reg *reg)
{
	return reg && state->type && (pr_all_registrants(state->type) || state->holder == reg);
}

/* -- registrations ------------------------------------------------------- */

static bool
is_port(const struct pr_port *reg, const struct pr_port *who)
{
	return (reg->all_ports || who->all_ports || reg->port == who->port) &&
	       memcmp(reg->isid, who->isid, sizeof(reg->isid)) == 0 &&
	       !strcmp(reg->initiator, who->initiator) && !strcmp(reg->target, who->target);
}

struct pr_reg *
pr_find(const struct pr_state *state, const struct pr_port *who)
{
	for (struct pr_reg *reg = state->regs; reg; reg = reg->next)
		if (is_port(&reg->who, who))
			return reg;
	return NULL;
}

/* In the order in which they came. */
int
pr_add(struct pr_state *state, const struct pr_port *who, uint64_t key, struct pr_reg **ret)
{
	struct pr_reg *reg, **end = &state->regs;

	if (state->n == PR_REGS_MAX)
		return -ENOSPC;
	reg = calloc(1, sizeof(*reg));
	if (!reg)
		return -ENOMEM;
	reg->who = *who;
	reg->key = key;
	while (*end)
		end = &(*end)->next;
	*end = reg;
	state->n++;
	if (ret)
		*ret = reg;
	return 0;
}

static void
free_regs(struct pr_reg *regs)
{
	while (regs) {
		struct pr_reg *next = regs->next;

		free(regs);
		regs = next;
	}
}

void
pr_state_fini(struct pr_state *state)
{
	free_regs(state->regs);
	*state = (struct pr_state){0};
}

int
pr_copy(const struct pr_state *state, struct pr_state *ret)
{
	*ret = (struct pr_state){.type = state->type, .aptpl = state->aptpl};
	for (const struct pr_reg *reg = state->regs; reg; reg = reg->next) {
		struct pr_reg *made;

		if (pr_add(ret, &reg->who, reg->key, &made) < 0) {
			pr_state_fini(ret);
			return -ENOMEM;
		}
		if (state->holder == reg)
			ret->holder = made;
	}
	return 0;
}

void
pr_change_fini(struct pr_change *change)
{
	pr_state_fini(&change->next);
	free_regs(change->removed);
	change->removed = NULL;
}

/* -- changes ------------------------------------------------------------- */

static void
end_reservation(struct pr_state *state)
{
	state->type = PR_NONE;
	state->holder = NULL;
}

static void
drop_reg(struct pr_change *change, struct pr_reg *reg, bool tell)
{
	struct pr_state *state = &change->next;
	struct pr_reg **p = &state->regs;

	while (*p != reg)
		p = &(*p)->next;
	*p = reg->next;
	state->n--;
	if (state->holder == reg || (pr_all_registrants(state->type) && !state->regs))
		end_reservation(state);
	if (!tell) {
		free(reg);
		return;
	}
	reg->next = change->removed;
	change->removed = reg;
}

/* SPC-4 5.13.11.2.3: only registrants-only reservations leave others who care. */
unsigned
pr_unregister(struct pr_change *change, struct pr_reg *own)
{
	enum pr_type type = change->next.type;

	drop_reg(change, own, false);
	change->released = pr_registrants_only(type) && change->next.type == PR_NONE;
	return SE_NONE;
}

unsigned
pr_reserve(struct pr_change *change, struct pr_reg *own, enum pr_type type)
{
	struct pr_state *state = &change->next;

	if (state->type)
		return pr_holds(state, own) && state->type == type ? SE_NONE : SE_CONFLICT;
	state->type = type;
	state->holder = pr_all_registrants(type) ? NULL : own;
	return SE_NONE;
}

unsigned
pr_release(struct pr_change *change, const struct pr_reg *own, enum pr_type type)
{
	struct pr_state *state = &change->next;

	if (!pr_holds(state, own))
		return SE_NONE;
	if (state->type != type)
		return SE_INVALID_RELEASE;
	change->released = pr_registrants_only(type) || pr_all_registrants(type);
	end_reservation(state);
	return SE_NONE;
}

void
pr_clear(struct pr_change *change, struct pr_reg *own)
{
	change->removed_ua = UA_RES_PREEMPTED;
	while (change->next.regs)
		drop_reg(change, change->next.regs, change->next.regs != own);
}

/* Registrations of this key, but for `spare`; how many there were. */
static unsigned
drop_key(struct pr_change *change, const struct pr_reg *own, const struct pr_reg *spare, uint64_t key,
	 bool any)
{
	struct pr_reg *next;
	unsigned n = 0;

	for (struct pr_reg *reg = change->next.regs; reg; reg = next) {
		next = reg->next;
		if (reg == spare || (!any && reg->key != key))
			continue;
		drop_reg(change, reg, reg != own);
		n++;
	}
	return n;
}

/* SPC-4 5.13.11.2.4 - 5.13.11.2.6 */
unsigned
pr_preempt(struct pr_change *change, struct pr_reg *own, uint64_t key, enum pr_type type)
{
	struct pr_state *state = &change->next;
	enum pr_type old = state->type;
	bool all = pr_all_registrants(old);

	change->removed_ua = UA_REG_PREEMPTED;
	if (old && (all ? key == 0 : state->holder->key == key)) {
		/* the reservation itself: it goes to the one who asks */
		(void)drop_key(change, own, own, key, all);
		end_reservation(state);
		state->type = type;
		state->holder = pr_all_registrants(type) ? NULL : own;
		change->released = type != old;
		return SE_NONE;
	}
	if (key == 0)
		return SE_INVALID_FIELD_PARAM;
	return drop_key(change, own, NULL, key, false) ? SE_NONE : SE_CONFLICT;
}
