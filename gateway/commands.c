/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the control socket can ask of the daemon, a row a command.
 *
 * Looking takes `lock` only; changing takes `change` for the whole command, and is refused unless the daemon
 * is running.
 */
#include "gateway/commands.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"
#include "gateway/commands_impl.h"
#include "gateway/daemon.h"
#include "gateway/inspect.h"

struct named {
	char *name;
};

static const struct json_key named_keys[] = {
	JSON_KEY(named, name, STRING, .required = true),
};

struct volume_create_args {
	json_t *volume;
	bool existing;
};

static const struct json_key volume_create_keys[] = {
	JSON_KEY(volume_create_args, volume, OBJECT, .required = true),
	JSON_KEY(volume_create_args, existing, BOOL),
};

struct volume_import_args {
	json_t *volume;
	char *from;
};

static const struct json_key volume_import_keys[] = {
	JSON_KEY(volume_import_args, volume, OBJECT, .required = true),
	JSON_KEY(volume_import_args, from, STRING, .required = true),
};

struct volume_delete_args {
	char *name;
	bool keep_data, delete_file;
};

static const struct json_key volume_delete_keys[] = {
	JSON_KEY(volume_delete_args, name, STRING, .required = true),
	JSON_KEY(volume_delete_args, keep_data, BOOL),
	JSON_KEY(volume_delete_args, delete_file, BOOL),
};

struct volume_resize_args {
	char *name;
	uint64_t size;
	bool shrink;
};

static const struct json_key volume_resize_keys[] = {
	JSON_KEY(volume_resize_args, name, STRING, .required = true),
	JSON_KEY(volume_resize_args, size, SIZE, .min = 512, .required = true),
	JSON_KEY(volume_resize_args, shrink, BOOL),
};

struct target_delete_args {
	char *name;
	bool force;
};

static const struct json_key target_delete_keys[] = {
	JSON_KEY(target_delete_args, name, STRING, .required = true),
	JSON_KEY(target_delete_args, force, BOOL),
};

struct map_args {
	char *target, *volume;
	uint64_t lun;
	bool removable;
};

static const struct json_key target_map_keys[] = {
	JSON_KEY(map_args, target, STRING, .required = true),
	JSON_KEY(map_args, volume, STRING, .required = true),
	JSON_KEY(map_args, lun, UINT, .max = SCSI_LUNS_MAX - 1),
	JSON_KEY(map_args, removable, BOOL),
};

static const struct json_key target_unmap_keys[] = {
	JSON_KEY(map_args, target, STRING, .required = true),
	JSON_KEY(map_args, lun, UINT, .max = SCSI_LUNS_MAX - 1, .required = true),
};

struct chunk_map_args {
	char *name;
	uint64_t first, end, cells;
};

static const struct json_key chunk_map_keys[] = {
	JSON_KEY(chunk_map_args, name, STRING, .required = true),
	JSON_KEY(chunk_map_args, first, UINT),
	JSON_KEY(chunk_map_args, end, UINT),
	JSON_KEY(chunk_map_args, cells, UINT),
};

/* -- who may change what -----------------------------------------------------------------------------------
 */

/* Inspection of sessions needs the iSCSI server, which is there while the daemon runs. */
int
command_check_running(struct admin_call *call)
{
	const struct daemon *daemon = call->context;

	switch (atomic_load(&daemon->phase)) {
	case DAEMON_RUNNING:
		return 0;
	case DAEMON_STARTING:
		return err_set(&call->info, -EAGAIN, "the daemon is still starting; try again in a moment");
	default:
		return err_set(&call->info, LG_ESTOPPING, "the daemon is stopping");
	}
}

int
command_begin_change(struct admin_call *call)
{
	struct daemon *daemon = call->context;
	int r;

	(void)pthread_mutex_lock(&daemon->change);
	/* Ctrl-C while it waited for another change: it is not to be made */
	r = admin_gone(call) ? err_set(&call->info, LG_EABORTED, "whoever asked for it has gone")
			     : command_check_running(call);
	if (r)
		daemon_end_change(daemon);
	return r;
}

int
command_end_change(struct admin_call *call, int r)
{
	daemon_end_change(call->context);
	return r;
}

bool
command_said(const struct admin_call *call, const char *key)
{
	return json_object_get(json_object_get(call->doc->root, "args"), key) != NULL;
}

/* -- looking
 * ------------------------------------------------------------------------------------------------- */

static int
run_status(struct admin_call *call)
{
	call->result = inspect_status(call->context);
	return 0;
}

static int
run_metrics(struct admin_call *call)
{
	int r = command_check_running(call);
	char *text;

	if (r)
		return r;
	text = inspect_metrics(call->context);
	call->result = text ? json_string(text) : NULL;
	free(text);
	return call->result ? 0 : -ENOMEM;
}

static int
run_volume_list(struct admin_call *call)
{
	call->result = inspect_volumes(call->context);
	return 0;
}

static int
missing(struct admin_call *call, const char *name,
	int (*words)(struct daemon *daemon, const char *name, struct errinfo *info))
{
	struct daemon *daemon = call->context;
	int r;

	(void)pthread_mutex_lock(&daemon->lock);
	r = words(daemon, name, &call->info);
	(void)pthread_mutex_unlock(&daemon->lock);
	return r;
}

static int
run_volume_show(struct admin_call *call)
{
	const struct named *args = call->args;

	call->result = inspect_volume(call->context, args->name);
	return call->result ? 0 : missing(call, args->name, daemon_no_volume);
}

static int
run_target_list(struct admin_call *call)
{
	int r = command_check_running(call);

	if (!r)
		call->result = inspect_targets(call->context);
	return r;
}

static int
run_target_show(struct admin_call *call)
{
	const struct named *args = call->args;
	int r = command_check_running(call);

	if (r)
		return r;
	call->result = inspect_target(call->context, args->name);
	return call->result ? 0 : missing(call, args->name, daemon_no_target);
}

static int
run_map(struct admin_call *call)
{
	const struct chunk_map_args *args = call->args;
	int r = command_check_running(call);

	return r ? r
		 : inspect_map(call->context, args->name, args->first, args->end,
			       args->cells ? args->cells : 1024, &call->result, &call->info);
}

/* -- changing
 * ------------------------------------------------------------------------------------------------ */

static int
run_volume_create(struct admin_call *call)
{
	const struct volume_create_args *args = call->args;
	struct daemon *daemon = call->context;
	struct config_volume conf;
	char *name;
	int r = config_volume_parse(call->doc, args->volume, "args.volume", &conf, &call->info);

	if (r)
		return r;
	name = strdup(conf.name);
	r = name ? command_begin_change(call) : -ENOMEM;
	if (!r) {
		r = command_end_change(
			call, daemon_volume_create(daemon, &conf, args->existing, call, &call->info));
		if (!r)
			call->result = inspect_volume(daemon, name);
	}
	config_volume_fini(&conf);
	free(name);
	return r;
}

/* Without `change` for most of the time: it may take hours. */
static int
run_volume_import(struct admin_call *call)
{
	const struct volume_import_args *args = call->args;
	struct config_volume conf;
	char *name;
	int r = config_volume_parse(call->doc, args->volume, "args.volume", &conf, &call->info);

	if (r)
		return r;
	name = strdup(conf.name);
	r = name ? command_check_running(call) : -ENOMEM;
	if (!r)
		r = daemon_volume_import(call->context, &conf, args->from, call, &call->info);
	if (!r)
		call->result = inspect_volume(call->context, name);
	config_volume_fini(&conf);
	free(name);
	return r;
}

static int
run_volume_delete(struct admin_call *call)
{
	const struct volume_delete_args *args = call->args;
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call, daemon_volume_delete(call->context, args->name, args->keep_data,
							  args->delete_file, call, &call->info));
	if (!r)
		call->result = json_pack("{s:s, s:b}", "name", args->name, "data_kept", (int)args->keep_data);
	return r;
}

static int
run_volume_resize(struct admin_call *call)
{
	const struct volume_resize_args *args = call->args;
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(
		call, daemon_volume_resize(call->context, args->name, args->size, args->shrink, &call->info));
	if (!r)
		call->result = inspect_volume(call->context, args->name);
	return r;
}

static int
run_target_create(struct admin_call *call)
{
	const struct named *args = call->args;
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call, daemon_target_create(call->context, args->name, &call->info));
	if (!r)
		call->result = inspect_target(call->context, args->name);
	return r;
}

static int
run_target_delete(struct admin_call *call)
{
	const struct target_delete_args *args = call->args;
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call,
			       daemon_target_delete(call->context, args->name, args->force, &call->info));
	if (!r)
		call->result = json_pack("{s:s}", "name", args->name);
	return r;
}

static int
run_target_map(struct admin_call *call)
{
	const struct map_args *args = call->args;
	int64_t wanted = command_said(call, "lun") ? (int64_t)args->lun : -1;
	unsigned lun;
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(call, daemon_target_map(call->context, args->target, wanted, args->volume,
						       args->removable, &lun, &call->info));
	if (!r)
		call->result = json_pack("{s:s, s:i, s:s}", "target", args->target, "lun", (int)lun, "volume",
					 args->volume);
	return r;
}

static int
run_target_unmap(struct admin_call *call)
{
	const struct map_args *args = call->args;
	int r = command_begin_change(call);

	if (r)
		return r;
	r = command_end_change(
		call, daemon_target_unmap(call->context, args->target, (unsigned)args->lun, &call->info));
	if (!r)
		call->result = json_pack("{s:s, s:I}", "target", args->target, "lun", (json_int_t)args->lun);
	return r;
}

#define COMMAND(word, function, keys, args)                                                                  \
	{                                                                                                    \
		word, keys, ARRAY_SIZE(keys), sizeof(struct args), function                                  \
	}
#define COMMAND_PLAIN(word, function)                                                                        \
	{                                                                                                    \
		word, NULL, 0, 0, function                                                                   \
	}

const struct admin_command daemon_commands[] = {
	COMMAND_PLAIN("status", run_status),
	COMMAND_PLAIN("metrics", run_metrics),
	COMMAND_PLAIN("volume.list", run_volume_list),
	COMMAND("volume.show", run_volume_show, named_keys, named),
	COMMAND("volume.create", run_volume_create, volume_create_keys, volume_create_args),
	COMMAND("volume.import", run_volume_import, volume_import_keys, volume_import_args),
	COMMAND("volume.delete", run_volume_delete, volume_delete_keys, volume_delete_args),
	COMMAND("volume.resize", run_volume_resize, volume_resize_keys, volume_resize_args),
	COMMAND_PLAIN("target.list", run_target_list),
	COMMAND("target.show", run_target_show, named_keys, named),
	COMMAND("target.create", run_target_create, named_keys, named),
	COMMAND("target.delete", run_target_delete, target_delete_keys, target_delete_args),
	COMMAND("target.map", run_target_map, target_map_keys, map_args),
	COMMAND("target.unmap", run_target_unmap, target_unmap_keys, map_args),
	COMMAND("target.acl.add", access_run_acl_add, access_acl_keys, access_acl_args),
	COMMAND("target.acl.remove", access_run_acl_remove, access_acl_keys, access_acl_args),
	COMMAND("target.acl.list", access_run_acl_list, access_list_keys, access_list_args),
	COMMAND("target.account.add", access_run_account_add, access_account_keys, access_account_args),
	COMMAND("target.account.remove", access_run_account_remove, access_account_keys, access_account_args),
	COMMAND("target.account.list", access_run_account_list, access_list_keys, access_list_args),
	COMMAND("target.redirect", target_run_redirect, target_redirect_keys, redirect_args),
	COMMAND("target.groups", target_run_groups, target_groups_keys, groups_args),
	COMMAND("target.alua", target_run_alua, target_alua_keys, alua_args),
	COMMAND_PLAIN("portal.list", portal_run_list),
	COMMAND("portal.add", portal_run_add, portal_keys, portal_args),
	COMMAND("portal.remove", portal_run_remove, portal_keys, portal_args),
	COMMAND("portal.redirect", portal_run_redirect, portal_redirect_keys, redirect_args),
	COMMAND("session.list", session_run_list, session_list_keys, session_args),
	COMMAND("session.kick", session_run_kick, session_kick_keys, session_args),
	COMMAND("map", run_map, chunk_map_keys, chunk_map_args),
};
const size_t daemon_ncommands = ARRAY_SIZE(daemon_commands);
