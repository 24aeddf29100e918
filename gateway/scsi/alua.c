/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asymmetric access (SPC-4 5.15): each portal group is a target port group of
 * one target port, whose numbers are the portal group's tag.  A state is the
 * group's, for every LUN of the target.  What an initiator sets is in force once
 * it is kept (alua_keep.c).
 *
 * A target has places for a few groups.  A group that leads here no more keeps its place, unavailable, until another one
 * needs it and no nexus that came by it is left.
 *
 * Threads: any; places are given under groups_lock, what they hold is atomic.  States change with kept_lock
 * held: on the pool where they are kept, for that blocks.  kept_lock is taken first.
 *
 * Failure: a state that cannot be kept is not set (SET TARGET PORT GROUPS COMMAND FAILED).
 */
#include <pthread.h>
#include <stdlib.h>

#include "gateway/scsi/scsi_impl.h"

/* SPC-4 table 307 and 5.15.2: a state on the wire, and what it does to commands. */
static const struct {
	uint8_t code;
	uint8_t supported; /* REPORT TARGET PORT GROUPS, byte 1 */
	uint32_t passes;   /* with one of these flags; 0: all do */
	enum scsi_error error;
} states[SCSI_ACCESS_COUNT] = {
	[SCSI_ACCESS_OPTIMIZED] = {0x0, 0x01, 0, SE_NONE},
	[SCSI_ACCESS_NON_OPTIMIZED] = {0x1, 0x02, 0, SE_NONE},
	[SCSI_ACCESS_STANDBY] = {0x2, 0x04, F_STANDBY, SE_STANDBY},
	[SCSI_ACCESS_UNAVAILABLE] = {0x3, 0x08, F_UNAVAILABLE, SE_UNAVAILABLE},
	[SCSI_ACCESS_OFFLINE] = {0xe, 0x40, F_NO_ACCESS, SE_OFFLINE},
	[SCSI_ACCESS_TRANSITIONING] = {0xf, 0x80, F_NO_ACCESS, SE_TRANSITION},
};

enum scsi_error
scsi_access_refuses(enum scsi_access access, unsigned flags)
{
	return states[access].passes && !(flags & states[access].passes) ? states[access].error : SE_NONE;
}

static uint8_t
all_supported(void)
{
	uint8_t bits = 0;

	for (unsigned i = 0; i < SCSI_ACCESS_COUNT; i++)
		bits |= states[i].supported;
	return bits;
}

static struct scsi_group *
find_group(struct scsi_target *target, uint16_t tpgt)
{
	for (unsigned i = 0; i < SCSI_GROUPS_MAX; i++)
		if (tpgt && atomic_load(&target->groups[i].tpgt) == tpgt)
			return &target->groups[i];
	return NULL;
}

/* With groups_lock held: the group's own place, or one that is nobody's. */
static struct scsi_group *
place(struct scsi_target *target, uint16_t tpgt)
{
	struct scsi_group *group = find_group(target, tpgt), *spare = NULL;

	if (group || !tpgt)
		return group;
	for (unsigned i = 0; i < SCSI_GROUPS_MAX; i++) {
		group = &target->groups[i];
		if (!atomic_load(&group->tpgt))
			break;
		if (!spare && group->spare && !group->nexuses)
			spare = group;
		group = NULL;
	}
	group = group ? group : spare;
	if (group) {
		group->spare = false;
		atomic_store(&group->explicitly, false);
		atomic_store(&group->access, SCSI_ACCESS_OPTIMIZED);
		if (atomic_exchange(&group->tpgt, tpgt))
			atomic_fetch_add(&target->access_changes, 1);
	}
	return group;
}

struct scsi_group *
scsi_group_join(struct scsi_target *target, uint16_t tpgt)
{
	struct scsi_group *group;

	(void)pthread_mutex_lock(&target->groups_lock);
	group = place(target, tpgt);
	if (group)
		group->nexuses++;
	(void)pthread_mutex_unlock(&target->groups_lock);
	return group;
}

void
scsi_group_leave(struct scsi_target *target, struct scsi_group *group)
{
	(void)pthread_mutex_lock(&target->groups_lock);
	group->nexuses--;
	(void)pthread_mutex_unlock(&target->groups_lock);
}

bool
scsi_target_has_port(const struct scsi_target *target, uint16_t port)
{
	for (unsigned i = 0; i < SCSI_GROUPS_MAX; i++)
		if (port && atomic_load(&target->groups[i].tpgt) == port)
			return true;
	return false;
}

int
scsi_target_add_group(struct scsi_target *target, uint16_t tpgt)
{
	struct scsi_group *group;

	(void)pthread_mutex_lock(&target->groups_lock);
	group = place(target, tpgt);
	if (group)
		group->spare = false;
	(void)pthread_mutex_unlock(&target->groups_lock);
	return group ? 0 : -ENOSPC;
}

void
scsi_target_drop_group(struct scsi_target *target, uint16_t tpgt)
{
	struct scsi_group *group;

	(void)pthread_mutex_lock(&target->groups_lock);
	group = find_group(target, tpgt);
	if (group)
		group->spare = true;
	(void)pthread_mutex_unlock(&target->groups_lock);
	(void)scsi_target_set_access(target, tpgt, SCSI_ACCESS_UNAVAILABLE);
}

/* How many states it changed: 0 or 1. */
static unsigned
change(struct scsi_group *group, enum scsi_access access, bool explicitly)
{
	atomic_store(&group->explicitly, explicitly);
	return atomic_exchange(&group->access, access) != (uint32_t)access;
}

static int
set_access(struct scsi_target *target, uint16_t tpgt, enum scsi_access access, bool resume)
{
	struct scsi_group *group = find_group(target, tpgt);
	int at;

	if (!group)
		return -ENOENT;
	pthread_mutex_lock(&target->kept_lock);
	at = resume ? scsi_kept_find(&target->kept, tpgt) : -1;
	if (at >= 0)
		access = (enum scsi_access)target->kept.groups[at].access;
	atomic_fetch_add(&target->access_changes, change(group, access, at >= 0));
	pthread_mutex_unlock(&target->kept_lock);
	return 0;
}

int
scsi_target_set_access(struct scsi_target *target, uint16_t tpgt, enum scsi_access access)
{
	return set_access(target, tpgt, access, false);
}

int
scsi_target_resume_access(struct scsi_target *target, uint16_t tpgt, enum scsi_access access)
{
	return set_access(target, tpgt, access, true);
}

int
scsi_target_forget_access(struct scsi_target *target, uint16_t tpgt)
{
	struct kept_access next;
	int at, rc = 0;

	pthread_mutex_lock(&target->kept_lock);
	next = target->kept;
	at = scsi_kept_find(&next, tpgt);
	if (at >= 0) {
		next.groups[at] = next.groups[--next.n];
		rc = scsi_kept_save(target, &next);
	}
	pthread_mutex_unlock(&target->kept_lock);
	return rc;
}

int
scsi_target_get_access(struct scsi_target *target, uint16_t tpgt, enum scsi_access *ret)
{
	struct scsi_group *group = find_group(target, tpgt);

	if (!group)
		return -ENOENT;
	*ret = (enum scsi_access)atomic_load(&group->access);
	return 0;
}

/* SPC-4 6.37 */
enum scsi_step
spc_report_port_groups(struct scsi_task *task)
{
	bool extended = task->cdb[1] & 0x20;
	struct scsi_target *target = task->nexus->target;
	struct datain in;
	uint8_t len[4];

	datain_begin(task, &in);
	datain_be32(&in, 0);
	if (extended) {
		datain_u8(&in, 0x10);
		datain_zero(&in, 3);
	}
	for (unsigned i = 0; i < SCSI_GROUPS_MAX; i++) {
		struct scsi_group *group = &target->groups[i];
		uint32_t tpgt = atomic_load(&group->tpgt);

		if (tpgt == 0)
			continue;
		datain_u8(&in, states[atomic_load(&group->access)].code);
		datain_u8(&in, all_supported());
		datain_be16(&in, tpgt);
		datain_u8(&in, 0);
		datain_u8(&in, atomic_load(&group->explicitly) ? 1 : 2); /* status: changed by which way */
		datain_u8(&in, 0);
		datain_u8(&in, 1);
		datain_be16(&in, 0);
		datain_be16(&in, tpgt);
	}
	put_be32(len, in.len - 4);
	datain_set(&in, 0, len, sizeof(len));
	return datain_end(task, &in);
}

#define SET_HEADER 4u
#define SET_DESCRIPTOR 4u

/* SET TARGET PORT GROUPS on its way to the disk and back. */
struct set_groups {
	struct loop_work work;
	struct scsi_task *task;
	struct kept_access asked;
	int rc;
};

enum { STATE_NEW, STATE_KEPT };

/* May initiators set this group? */
static enum scsi_error
is_fixed(const struct scsi_group *group)
{
	switch (atomic_load(&group->access)) {
	case SCSI_ACCESS_TRANSITIONING:
		return SE_TRANSITION;
	case SCSI_ACCESS_OFFLINE:
		return SE_SET_GROUPS_FAILED;
	default:
		return SE_NONE;
	}
}

/* All of the list is looked at before anything changes; the last word on a group counts. */
static enum scsi_step
parse_set(struct scsi_task *task, struct kept_access *ret)
{
	const uint8_t *list = task->pages[0]->data;

	for (uint32_t at = SET_HEADER; at < task->out_len; at += SET_DESCRIPTOR) {
		uint16_t tpgt = get_be16(list + at + 2);
		const struct scsi_group *group = find_group(task->nexus->target, tpgt);
		enum scsi_error fixed;
		int i;

		if ((list[at] & 0x0f) > SCSI_ACCESS_UNAVAILABLE)
			return task_fail_param(task, at);
		if (!group)
			return task_fail_param(task, at + 2);
		fixed = is_fixed(group);
		if (fixed)
			return task_fail(task, fixed);
		i = scsi_kept_find(ret, tpgt);
		if (i < 0 && ret->n == SCSI_GROUPS_MAX) /* places changed hands meanwhile */
			return task_fail(task, SE_SET_GROUPS_FAILED);
		if (i < 0)
			i = (int)ret->n++;
		ret->groups[i].tpgt = tpgt;
		ret->groups[i].access = list[at] & 0x0f;
	}
	return STEP_GOOD;
}

/* One more that is kept.  Where all places are taken, one of a group that is there no more is. */
static int
put_kept(struct scsi_target *target, struct kept_access *kept, uint16_t tpgt, uint8_t access)
{
	int at = scsi_kept_find(kept, tpgt);

	for (unsigned i = 0; at < 0 && kept->n == SCSI_GROUPS_MAX && i < kept->n; i++)
		if (!find_group(target, kept->groups[i].tpgt))
			at = (int)i;
	if (at < 0 && kept->n == SCSI_GROUPS_MAX)
		return -ENOSPC;
	if (at < 0)
		at = (int)kept->n++;
	kept->groups[at].tpgt = tpgt;
	kept->groups[at].access = access;
	return 0;
}

/* Kept first, then in force: a restart finds what initiators were told. */
static int
set_all(struct scsi_task *task, const struct kept_access *asked)
{
	struct scsi_target *target = task->nexus->target;
	struct scsi_group *groups[SCSI_GROUPS_MAX];
	struct kept_access next;
	uint64_t changes = 0;
	int rc = 0;

	pthread_mutex_lock(&target->kept_lock);
	next = target->kept;
	for (unsigned i = 0; rc == 0 && i < asked->n; i++) {
		/* the operator may have been quicker */
		groups[i] = find_group(target, asked->groups[i].tpgt);
		if (!groups[i] || is_fixed(groups[i]))
			rc = -ECANCELED;
		else
			rc = put_kept(target, &next, asked->groups[i].tpgt, asked->groups[i].access);
	}
	if (rc == 0)
		rc = scsi_kept_save(target, &next);
	for (unsigned i = 0; rc == 0 && i < asked->n; i++)
		changes += change(groups[i], (enum scsi_access)asked->groups[i].access, true);
	if (changes)
		atomic_store(&task->nexus->access_told,
			     atomic_fetch_add(&target->access_changes, changes) + changes);
	pthread_mutex_unlock(&target->kept_lock);
	return rc;
}

static void
set_run(struct loop_work *work)
{
	struct set_groups *set = container_of(work, struct set_groups, work);

	set->rc = set_all(set->task, &set->asked);
}

static void
set_back(struct loop_work *work)
{
	scsi_task_pump(container_of(work, struct set_groups, work)->task);
}

/* SPC-4 6.45 */
enum scsi_step
spc_set_port_groups(struct scsi_task *task)
{
	struct set_groups *set = task->priv;
	struct kept_access asked = {.n = 0};

	if (task->state == STATE_KEPT)
		return set->rc < 0 ? task_fail(task, SE_SET_GROUPS_FAILED) : STEP_GOOD;
	if (task->out_len == 0)
		return STEP_GOOD;
	if (task->out_room < task->out_len || task->out_len < SET_HEADER || task->out_len % SET_DESCRIPTOR)
		return task_fail(task, SE_PARAM_LENGTH);
	if (parse_set(task, &asked) != STEP_GOOD)
		return STEP_FAIL;
	if (!scsi_access_can_keep())
		return set_all(task, &asked) < 0 ? task_fail(task, SE_SET_GROUPS_FAILED) : STEP_GOOD;
	set = task->priv = malloc(sizeof(*set));
	if (!set)
		return task_fail(task, SE_BUSY);
	*set = (struct set_groups){.work = {.run = set_run, .done = set_back}, .task = task, .asked = asked};
	task->state = STATE_KEPT;
	loop_offload(task->lu->home, &set->work);
	return STEP_WAIT;
}
