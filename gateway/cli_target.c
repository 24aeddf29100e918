/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lungate target create, list, show, delete, map, unmap */
#include <string.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/textout.h"

static const struct cli_arg target_arg[] = {
	{.name = "TARGET",
	 .help = "the target's iSCSI name, as iqn.2026-11.net.example:disks",
	 .json = "name"},
};
static const struct cli_arg map_args[] = {
	{.name = "TARGET", .help = "the target's iSCSI name", .json = "target"},
	{.name = "VOLUME", .help = "the volume that the LUN shows", .json = "volume"},
};
static const struct cli_arg unmap_args[] = {
	{.name = "TARGET", .help = "the target's iSCSI name", .json = "target"},
	{.name = "LUN", .help = "number of the LUN", .json = "lun", .json_number = true},
};
static const struct cli_option map_options[] = {
	{.name = "lun",
	 .kind = CLI_UINT,
	 .value = "N",
	 .json = "lun",
	 .help = "its number, 0 to 255; default: the lowest free one"},
	{.name = "removable", .json = "removable", .help = "a medium that initiators can eject and load"},
};
static const struct cli_option delete_options[] = {
	{.name = "force", .json = "force", .help = "end its sessions"},
};

static int
run_create(struct cli *cli)
{
	json_t *result = NULL;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result)) {
		const char *name = json_string_value(json_object_get(result, "name"));

		printf("target %s: created, without LUNs\nnext: lungate target map %s VOLUME\n", name, name);
	}
	json_decref(result);
	return code;
}

static void
print_target(const json_t *target)
{
	const json_t *luns = json_object_get(target, "luns"), *lun;
	long long n = json_integer_value(json_object_get(target, "session_count"));
	size_t i;

	printf("%s  %lld %s\n", json_string_value(json_object_get(target, "name")), n,
	       n == 1 ? "session" : "sessions");
	json_array_foreach(luns, i, lun)
	{
		printf("  LUN %-3lld %s%s%s\n", (long long)json_integer_value(json_object_get(lun, "lun")),
		       json_string_value(json_object_get(lun, "volume")),
		       json_is_true(json_object_get(lun, "removable")) ? "  (removable)" : "",
		       json_is_true(json_object_get(lun, "online"))
			       ? ""
			       : "  (not there: its volume is not online)");
	}
}

static int
run_list(struct cli *cli)
{
	json_t *result = NULL;
	const json_t *target;
	size_t i;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result)) {
		if (!json_array_size(result))
			printf("no targets yet; make one: lungate target create iqn.2026-11.net.example:disks\n");
		json_array_foreach(result, i, target) print_target(target);
	}
	json_decref(result);
	return code;
}

static int
run_show(struct cli *cli)
{
	json_t *result = NULL;
	const json_t *session;
	size_t i;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result)) {
		print_target(result);
		cli_print_paths(result);
		json_array_foreach(json_object_get(result, "sessions"), i, session)
			cli_print_session(session);
		cli_print_access(result);
	}
	json_decref(result);
	return code;
}

static int
run_delete(struct cli *cli)
{
	json_t *result = NULL;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result))
		printf("target %s: deleted; its volumes are where they were\n", cli->args[0]);
	json_decref(result);
	return code;
}

static int
run_map(struct cli *cli)
{
	json_t *result = NULL;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result))
		printf("%s is LUN %lld of %s\n", cli->args[1],
		       (long long)json_integer_value(json_object_get(result, "lun")),
		       json_string_value(json_object_get(result, "target")));
	json_decref(result);
	return code;
}

static int
run_unmap(struct cli *cli)
{
	json_t *result = NULL;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result))
		printf("LUN %s of %s: unmapped\n", cli->args[1], cli->args[0]);
	json_decref(result);
	return code;
}

const struct cli_command cli_target_commands[] = {
	{
		.name = "target create",
		.summary = "make an iSCSI target",
		.about =
			"Makes a target without LUNs and writes it into the configuration. A name is iqn., the year and\n"
			"month in which you owned a domain, the domain backwards, a colon, and what you like.",
		.args = target_arg,
		.nargs = 1,
		.example = "lungate target create iqn.2026-11.net.example:disks",
		.next = "Initiators find it by discovery. Give it a LUN:\n"
			"lungate target map iqn.2026-11.net.example:disks disk0",
		.request = "target.create",
		.run = run_create,
	},
	{
		.name = "target list",
		.summary = "list the targets and their LUNs",
		.about = "Every target with its LUNs and how many initiators are logged in.",
		.example = "lungate target list",
		.next = "'lungate target show TARGET' names the initiators.",
		.request = "target.list",
		.run = run_list,
	},
	{
		.name = "target show",
		.summary = "show one target: LUNs, sessions, connections",
		.about =
			"The target's LUNs, the portal groups that lead to it with their access states, and who is\n"
			"logged in from where: negotiated keys and counters of every connection.",
		.args = target_arg,
		.nargs = 1,
		.example = "lungate target show iqn.2026-11.net.example:disks",
		.next = "The same is in the mount: targets/TARGET/target.json and sessions/.",
		.request = "target.show",
		.run = run_show,
	},
	{
		.name = "target delete",
		.summary = "delete a target; volumes stay",
		.about =
			"Takes the target and its LUNs out of service and out of the configuration. While initiators are\n"
			"logged in it is refused, unless --force.",
		.args = target_arg,
		.nargs = 1,
		.options = delete_options,
		.noptions = ARRAY_SIZE(delete_options),
		.example = "lungate target delete iqn.2026-11.net.example:disks",
		.next = "The volumes and their data are untouched.",
		.request = "target.delete",
		.run = run_delete,
	},
	{
		.name = "target map",
		.summary = "show a volume as a LUN of a target",
		.about =
			"The volume becomes a LUN at once and stays one over restarts. Initiators that are logged in are\n"
			"told that the LUNs have changed.",
		.args = map_args,
		.nargs = 2,
		.options = map_options,
		.noptions = ARRAY_SIZE(map_options),
		.example = "lungate target map iqn.2026-11.net.example:disks disk0 --lun 0",
		.next = "Attach it from Linux:\n"
			"iscsiadm -m discovery -t sendtargets -p 127.0.0.1\n"
			"iscsiadm -m node -T iqn.2026-11.net.example:disks --login",
		.request = "target.map",
		.run = run_map,
	},
	{
		.name = "target unmap",
		.summary = "take a LUN away from a target",
		.about =
			"Commands under way end first; later ones get LOGICAL UNIT NOT SUPPORTED. The volume stays.",
		.args = unmap_args,
		.nargs = 2,
		.example = "lungate target unmap iqn.2026-11.net.example:disks 0",
		.next = "Now the volume can be deleted, or mapped elsewhere.",
		.request = "target.unmap",
		.run = run_unmap,
	},
};
const size_t cli_target_ncommands = ARRAY_SIZE(cli_target_commands);
