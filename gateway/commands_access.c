/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's commands for accounts and lists of initiators.  Secrets do not pass here: where they are does. */
#include "gateway/commands_impl.h"
#include "gateway/daemon.h"

/* Of the change that the args hold. */
#define CHANGE(args, member, json_kind, ...)                                                                 \
	{                                                                                                    \
		.key = #member, .kind = JSON_KIND_##json_kind,                                               \
		.offset = offsetof(struct args, change.member), __VA_ARGS__                                  \
	}

const struct json_key access_acl_keys[] = {
	JSON_KEY(access_acl_args, target, STRING, .required = true),
	CHANGE(access_acl_args, name, STRING, .required = true),
	CHANGE(access_acl_args, network, STRING),
	CHANGE(access_acl_args, account, STRING),
	CHANGE(access_acl_args, luns, ARRAY),
	CHANGE(access_acl_args, replace, BOOL),
	CHANGE(access_acl_args, open, BOOL),
};

const struct json_key access_account_keys[] = {
	JSON_KEY(access_account_args, target, STRING, .required = true),
	CHANGE(access_account_args, user, STRING, .required = true),
	CHANGE(access_account_args, secret_file, STRING),
	CHANGE(access_account_args, secret_env, STRING),
	CHANGE(access_account_args, mutual, BOOL),
	CHANGE(access_account_args, replace, BOOL),
	CHANGE(access_account_args, open, BOOL),
};

const struct json_key access_list_keys[] = {
	JSON_KEY(access_list_args, target, STRING, .required = true),
};

/* r is what became of the change; what is there then is shown. */
static int
end(struct admin_call *call, int r, const char *target, bool accounts)
{
	r = command_end_change(call, r);
	return r ? r : daemon_access_show(call->context, target, accounts, &call->result, &call->info);
}

static int
change_acl(struct admin_call *call, int (*run)(struct daemon *daemon, const char *name,
					       const struct acl_change *change, struct errinfo *info))
{
	const struct access_acl_args *args = call->args;
	int r = command_begin_change(call);

	return r ? r
		 : end(call, run(call->context, args->target, &args->change, &call->info), args->target,
		       false);
}

static int
change_account(struct admin_call *call, int (*run)(struct daemon *daemon, const char *name,
						   const struct account_change *change, struct errinfo *info))
{
	const struct access_account_args *args = call->args;
	int r = command_begin_change(call);

	return r ? r
		 : end(call, run(call->context, args->target, &args->change, &call->info), args->target,
		       true);
}

int
access_run_acl_add(struct admin_call *call)
{
	return change_acl(call, daemon_acl_add);
}

int
access_run_acl_remove(struct admin_call *call)
{
	return change_acl(call, daemon_acl_remove);
}

int
access_run_account_add(struct admin_call *call)
{
	return change_account(call, daemon_account_add);
}

int
access_run_account_remove(struct admin_call *call)
{
	return change_account(call, daemon_account_remove);
}

static int
show(struct admin_call *call, bool accounts)
{
	const struct access_list_args *args = call->args;
	int r = command_check_running(call);

	return r ? r : daemon_access_show(call->context, args->target, accounts, &call->result, &call->info);
}

int
access_run_acl_list(struct admin_call *call)
{
	return show(call, false);
}

int
access_run_account_list(struct admin_call *call)
{
	return show(call, true);
}
