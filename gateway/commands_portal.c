/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's commands for portals, for the ways to targets, and for sessions.
 *
 * Ending sessions takes as long as their initiators are given: not with `change` held.
 */
#include <stdio.h>
#include <string.h>

#include "common/util.h"
#include "gateway/commands_impl.h"
#include "gateway/daemon.h"
#include "gateway/inspect.h"

/* A stop waits for commands that run, so there is an end to it. */
#define GRACE_DEFAULT_S 5
#define GRACE_MAX_S 60

const struct json_key portal_keys[] = {
	JSON_KEY(portal_args, address, STRING, .required = true),
	JSON_KEY(portal_args, group, UINT, .min = 1, .max = 65535),
	JSON_KEY(portal_args, keep_sessions, BOOL),
	JSON_KEY(portal_args, grace, UINT, .max = GRACE_MAX_S),
};

const struct json_key portal_redirect_keys[] = {
	JSON_KEY(redirect_args, address, STRING, .required = true),
	JSON_KEY(redirect_args, to, STRING),
	JSON_KEY(redirect_args, permanent, BOOL),
};

const struct json_key target_redirect_keys[] = {
	JSON_KEY(redirect_args, target, STRING, .required = true),
	JSON_KEY(redirect_args, to, STRING),
	JSON_KEY(redirect_args, permanent, BOOL),
};

const struct json_key target_groups_keys[] = {
	JSON_KEY(groups_args, target, STRING, .required = true),
	JSON_KEY(groups_args, groups, ARRAY),
};

const struct json_key target_alua_keys[] = {
	JSON_KEY(alua_args, target, STRING, .required = true),
	JSON_KEY(alua_args, group, UINT, .required = true, .min = 1, .max = 65535),
	JSON_KEY(alua_args, state, ENUM, .required = true, .choices = config_alua_states),
};

const struct json_key session_list_keys[] = {
	JSON_KEY(session_args, target, STRING),
};

const struct json_key session_kick_keys[] = {
	JSON_KEY(session_args, id, STRING),
	JSON_KEY(session_args, initiator, STRING),
	JSON_KEY(session_args, target, STRING),
	JSON_KEY(session_args, grace, UINT, .max = GRACE_MAX_S),
};

static unsigned
grace_ms(const struct admin_call *call, uint64_t grace)
{
	return 1000 * (command_said(call, "grace") ? (unsigned)grace : GRACE_DEFAULT_S);
}

/* -- portals --------------------------------------------------------------------------------------------- */

int
portal_run_list(struct admin_call *call)
{
	struct daemon *daemon = call->context;
	int r = command_check_running(call);

	if (!r)
		call->result = iscsi_portals(daemon->iscsi);
	return r;
}

int
portal_run_add(struct admin_call *call)
{
	const struct portal_args *args = call->args;
	uint16_t group = args->group ? (uint16_t)args->group : ISCSI_PORTAL_GROUP_DEFAULT;
	char bound[64];
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call,
			       daemon_portal_add(call->context, args->address, group, bound, &call->info));
	if (!r)
		call->result = json_pack("{s:s, s:i}", "bound", bound, "group", (int)group);
	return r;
}

int
portal_run_remove(struct admin_call *call)
{
	const struct portal_args *args = call->args;
	struct daemon *daemon = call->context;
	struct iscsi_who who = {0};
	char bound[64];
	bool in_file;
	size_t n = 0;
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call,
			       daemon_portal_remove(daemon, args->address, bound, &in_file, &call->info));
	if (r)
		return r;
	who.portal = bound;
	if (!args->keep_sessions)
		n = iscsi_sessions_end(daemon->iscsi, &who, grace_ms(call, args->grace));
	call->result =
		json_pack("{s:s, s:I, s:b}", "bound", bound, "ended", (json_int_t)n, "in_file", (int)in_file);
	return 0;
}

/* Both kinds of redirection: a portal's (args->address) and a target's. */
static int
change_redirect(struct admin_call *call, char ret_bound[64])
{
	const struct redirect_args *args = call->args;
	struct iscsi_redirect redirect = {.permanent = args->permanent}, *to = args->to ? &redirect : NULL;
	int r = 0;

	if (to && strlen(args->to) >= sizeof(redirect.to))
		return err_set(&call->info, -EINVAL, "to: the address is too long");
	if (to)
		(void)snprintf(redirect.to, sizeof(redirect.to), "%s", args->to);
	r = command_begin_change(call);
	if (r)
		return r;
	return command_end_change(
		call, args->address ? daemon_portal_redirect(call->context, args->address, to, ret_bound,
							     &call->info)
				    : daemon_target_redirect(call->context, args->target, to, &call->info));
}

int
portal_run_redirect(struct admin_call *call)
{
	const struct redirect_args *args = call->args;
	char bound[64];
	int r = change_redirect(call, bound);

	if (!r && args->to)
		call->result = json_pack("{s:s, s:{s:s, s:b}}", "bound", bound, "redirect", "to", args->to,
					 "permanent", (int)args->permanent);
	else if (!r)
		call->result = json_pack("{s:s, s:n}", "bound", bound, "redirect");
	return r;
}

/* -- ways to targets ------------------------------------------------------------------------------------- */

int
target_run_redirect(struct admin_call *call)
{
	const struct redirect_args *args = call->args;
	int r = change_redirect(call, NULL);

	if (!r)
		call->result = inspect_target(call->context, args->target);
	return r;
}

int
target_run_groups(struct admin_call *call)
{
	const struct groups_args *args = call->args;
	uint16_t tags[ISCSI_GROUPS_MAX];
	size_t n = json_array_size(args->groups);
	int r;

	if (n > ISCSI_GROUPS_MAX)
		return err_set(&call->info, -EINVAL, "there are %d portal groups at most", ISCSI_GROUPS_MAX);
	for (size_t i = 0; i < n; i++) {
		json_int_t tag = json_integer_value(json_array_get(args->groups, i));

		if (tag < 1 || tag > 65535)
			return err_set(&call->info, -EINVAL, "a portal group has a number from 1 to 65535");
		tags[i] = (uint16_t)tag;
	}
	r = command_begin_change(call);
	if (r)
		return r;
	r = command_end_change(call, daemon_target_groups(call->context, args->target, tags, n, &call->info));
	if (!r)
		call->result = inspect_target(call->context, args->target);
	return r;
}

int
target_run_alua(struct admin_call *call)
{
	const struct alua_args *args = call->args;
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call, daemon_target_alua(call->context, args->target, (uint16_t)args->group,
							args->state, &call->info));
	if (!r)
		call->result = inspect_target(call->context, args->target);
	return r;
}

/* -- sessions -------------------------------------------------------------------------------------------- */

static int
check_target(struct admin_call *call, const char *name)
{
	struct daemon *daemon = call->context;
	int r = 0;

	if (!name)
		return 0;
	(void)pthread_mutex_lock(&daemon->lock);
	if (!daemon_target_find(daemon, name))
		r = daemon_no_target(daemon, name, &call->info);
	(void)pthread_mutex_unlock(&daemon->lock);
	return r;
}

int
session_run_list(struct admin_call *call)
{
	const struct session_args *args = call->args;
	struct daemon *daemon = call->context;
	int r = command_check_running(call);

	if (!r)
		r = check_target(call, args->target);
	if (!r)
		call->result = iscsi_sessions(daemon->iscsi, args->target);
	return r;
}

int
session_run_kick(struct admin_call *call)
{
	const struct session_args *args = call->args;
	const struct iscsi_who who = {.id = args->id, .initiator = args->initiator, .target = args->target};
	struct daemon *daemon = call->context;
	size_t n;
	int r = command_check_running(call);

	if (r)
		return r;
	if (!args->id && !args->initiator)
		return err_set(
			&call->info, -EINVAL,
			"say which session: its ID, or an initiator; 'lungate session list' shows them");
	r = check_target(call, args->target);
	if (r)
		return r;
	n = iscsi_sessions_end(daemon->iscsi, &who, grace_ms(call, args->grace));
	if (!n)
		return err_set(&call->info, -ENOENT,
			       "there is no such session; 'lungate session list' shows them");
	call->result = json_pack("{s:I}", "ended", (json_int_t)n);
	return 0;
}
