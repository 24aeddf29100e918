/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asymmetric access (SPC-4 5.15): each portal group is a target port group of
 * one target port, whose numbers are the portal group's tag.  A state is the
 * group's, for every LUN of the target.
 *
 * A target has places for a few groups.  A group that leads here no more keeps its place, unavailable, until another one
 * needs it and no nexus that came by it is left.
 *
 * Threads: any; places are given under groups_lock, what they hold is atomic.
 */
#include <pthread.h>

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

int
scsi_target_set_access(struct scsi_target *target, uint16_t tpgt, enum scsi_access access)
{
	struct scsi_group *group = find_group(target, tpgt);

	if (!group)
		return -ENOENT;
	atomic_store(&group->explicitly, false);
	if (atomic_exchange(&group->access, access) != (uint32_t)access)
		atomic_fetch_add(&target->access_changes, 1);
	return 0;
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

/* SPC-4 6.45.  All of the list is looked at before anything changes. */
enum scsi_step
spc_set_port_groups(struct scsi_task *task)
{
	struct scsi_target *target = task->nexus->target;
	const uint8_t *list;
	uint64_t changes = 0;

	if (task->out_len == 0)
		return STEP_GOOD;
	if (task->out_room < task->out_len || task->out_len < SET_HEADER || task->out_len % SET_DESCRIPTOR)
		return task_fail(task, SE_PARAM_LENGTH);
	list = task->pages[0]->data;
	for (uint32_t at = SET_HEADER; at < task->out_len; at += SET_DESCRIPTOR) {
		const struct scsi_group *group;
		uint32_t now;

		if ((list[at] & 0x0f) > SCSI_ACCESS_UNAVAILABLE)
			return task_fail_param(task, at);
		group = find_group(target, get_be16(list + at + 2));
		if (!group)
			return task_fail_param(task, at + 2);
		now = atomic_load(&group->access);
		if (now == SCSI_ACCESS_TRANSITIONING)
			return task_fail(task, SE_TRANSITION);
		if (now == SCSI_ACCESS_OFFLINE)
			return task_fail(task, SE_SET_GROUPS_FAILED);
	}
	for (uint32_t at = SET_HEADER; at < task->out_len; at += SET_DESCRIPTOR) {
		struct scsi_group *group = find_group(target, get_be16(list + at + 2));
		uint32_t access = list[at] & 0x0f;

		atomic_store(&group->explicitly, true);
		changes += atomic_exchange(&group->access, access) != access;
	}
	if (changes)
		atomic_store(&task->nexus->access_told,
			     atomic_fetch_add(&target->access_changes, changes) + changes);
	return STEP_GOOD;
}
