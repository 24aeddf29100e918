/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's commands for accounts and lists of initiators.  Secrets do not pass here: where they are does. */
#include "gateway/commands_impl.h"
#include "gateway/daemon.h"

#define KEY(args, member, json_kind, ...)                                                                    \
	{                                                                                                    \
		.key = #member, .kind = JSON_KIND_##json_kind, .offset = offsetof(struct args, member),      \
		__VA_ARGS__                                                                                  \
	}

const struct json_key access_acl_keys[] = {
	KEY(access_acl_args, target, STRING, .required = true),
	KEY(access_acl_args, name, STRING, .required = true),
	KEY(access_acl_args, network, STRING),
	KEY(access_acl_args, account, STRING),
	KEY(access_acl_args, luns, ARRAY),
	KEY(access_acl_args, replace, BOOL),
	KEY(access_acl_args, open, BOOL),
};

const struct json_key access_account_keys[] = {
	KEY(access_account_args, target, STRING, .required = true),
	KEY(access_account_args, user, STRING, .required = true),
	KEY(access_account_args, secret_file, STRING),
	KEY(access_account_args, secret_env, STRING),
	KEY(access_account_args, mutual, BOOL),
	KEY(access_account_args, replace, BOOL),
	KEY(access_account_args, open, BOOL),
};

const struct json_key access_list_keys[] = {
	KEY(access_list_args, target, STRING, .required = true),
};

static int
change_acl(struct admin_call *call, int (*run)(struct daemon *daemon, const char *name,
					       const struct acl_change *change, struct errinfo *info))
{
	const struct access_acl_args *args = call->args;
	const struct acl_change change = {.name = args->name,
					  .network = args->network,
					  .account = args->account,
					  .luns = args->luns,
					  .replace = args->replace,
					  .open = args->open};
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call, run(call->context, args->target, &change, &call->info));
	if (!r)
		r = daemon_access_show(call->context, args->target, false, &call->result, &call->info);
	return r;
}

static int
change_account(struct admin_call *call, int (*run)(struct daemon *daemon, const char *name,
						   const struct account_change *change, struct errinfo *info))
{
	const struct access_account_args *args = call->args;
	const struct account_change change = {.user = args->user,
					      .secret_file = args->secret_file,
					      .secret_env = args->secret_env,
					      .mutual = args->mutual,
					      .replace = args->replace,
					      .open = args->open};
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call, run(call->context, args->target, &change, &call->info));
	if (!r)
		r = daemon_access_show(call->context, args->target, true, &call->result, &call->info);
	return r;
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
