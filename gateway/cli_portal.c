/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lungate portal list, add, remove, redirect; lungate target groups, redirect, alua */
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/textout.h"

#define GROUPS_MAX 64

static const struct cli_arg portal_args[] = {
	{.name = "ADDRESS",
	 .help = "address and port in numbers, as 192.0.2.1:3260 or [2001:db8::1]:3260",
	 .json = "address"},
};
static const struct cli_arg portal_redirect_args[] = {
	{.name = "ADDRESS", .help = "the portal, as it is listed", .json = "address"},
	{.name = "TO", .help = "ADDRESS:PORT or HOST:PORT to send logins to", .optional = true, .json = "to"},
};
static const struct cli_arg target_redirect_args[] = {
	{.name = "TARGET", .help = "the target's iSCSI name", .json = "target"},
	{.name = "TO", .help = "ADDRESS:PORT or HOST:PORT to send logins to", .optional = true, .json = "to"},
};
static const struct cli_arg groups_args[] = {
	{.name = "TARGET", .help = "the target's iSCSI name", .json = "target"},
	{.name = "GROUPS", .help = "tags of the portal groups, as 1,2, or the word all"},
};
static const struct cli_arg alua_args[] = {
	{.name = "TARGET", .help = "the target's iSCSI name", .json = "target"},
	{.name = "GROUP", .help = "tag of the portal group", .json = "group", .json_number = true},
	{.name = "STATE",
	 .help = "optimized, non-optimized, standby, unavailable, offline or transitioning",
	 .json = "state"},
};
static const struct cli_option add_options[] = {
	{.name = "group",
	 .kind = CLI_UINT,
	 .value = "TAG",
	 .json = "group",
	 .help = "its portal group, 1 to 65535; default: 1"},
};
static const struct cli_option remove_options[] = {
	{.name = "keep-sessions", .json = "keep_sessions", .help = "leave sessions that came by it alone"},
	{.name = "grace",
	 .kind = CLI_UINT,
	 .value = "SECONDS",
	 .json = "grace",
	 .help = "time to log out, 0 to 60; default: 5"},
};
static const struct cli_option redirect_options[] = {
	{.name = "permanent", .json = "permanent", .help = "initiators shall not come back here"},
	{.name = "off", .help = "serve logins again"},
};

static const char *
redirect_text(const json_t *redirect, char *text, size_t len)
{
	const char *to = json_string_value(json_object_get(redirect, "to"));

	if (!to)
		return "-";
	(void)snprintf(text, len, "%s%s", to,
		       json_is_true(json_object_get(redirect, "permanent")) ? " (permanent)" : "");
	return text;
}

static int
run_list(struct cli *cli)
{
	static const char *const headings[] = {"PORTAL", "GROUP", "CONNECTIONS", "SENDS LOGINS TO", NULL};
	json_t *result = NULL;
	const json_t *row;
	struct table table;
	char number[2][24], to[320];
	size_t i;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result)) {
		table_init(&table, headings, 0x6);
		json_array_foreach(result, i, row)
		{
			(void)snprintf(number[0], sizeof(number[0]), "%lld",
				       (long long)json_integer_value(json_object_get(row, "group")));
			(void)snprintf(
				number[1], sizeof(number[1]), "%lld",
				(long long)json_integer_value(json_object_get(row, "connection_count")));
			table_row(&table, json_string_value(json_object_get(row, "bound")), number[0],
				  number[1], redirect_text(json_object_get(row, "redirect"), to, sizeof(to)));
		}
		if (json_array_size(result))
			table_print(&table, stdout);
		else
			printf("no portals yet; make one: lungate portal add 127.0.0.1:3260\n");
		table_fini(&table);
	}
	json_decref(result);
	return code;
}

static int
run_add(struct cli *cli)
{
	json_t *result = NULL;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result))
		printf("portal %s: open, in group %lld\n",
		       json_string_value(json_object_get(result, "bound")),
		       (long long)json_integer_value(json_object_get(result, "group")));
	json_decref(result);
	return code;
}

static int
run_remove(struct cli *cli)
{
	json_t *result = NULL;
	long long n;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result)) {
		n = (long long)json_integer_value(json_object_get(result, "ended"));
		printf("portal %s: closed; %lld %s ended\n",
		       json_string_value(json_object_get(result, "bound")), n,
		       n == 1 ? "connection" : "connections");
		if (!json_is_true(json_object_get(result, "in_file")))
			printf("the configuration file did not name it; what stands in its \"listen\" and "
			       "\"portal_groups\" is opened at the next start\n");
	}
	json_decref(result);
	return code;
}

static int
run_redirect(struct cli *cli)
{
	json_t *result = NULL;
	bool to = cli->nargs > 1;
	int code;

	if (to == cli_has(cli, "off"))
		return client_misuse(cli, "say where to, ADDRESS:PORT or HOST:PORT, or --off");
	if (!to && cli_has(cli, "permanent"))
		return client_misuse(cli, "--permanent belongs to where logins are sent, not to --off");
	code = client_run(cli, &result);
	if (!code && !client_json(cli, result))
		printf("%s: logins are %s%s\n", cli->args[0], to ? "sent to " : "served here",
		       to ? cli->args[1] : "");
	json_decref(result);
	return code;
}

/* "1,2", "all"; NULL when it is neither. */
static json_t *
parse_groups(const char *text)
{
	json_t *array = json_array();

	if (!strcmp(text, "all"))
		return array;
	for (;;) {
		char *end;
		long tag = strtol(text, &end, 10);

		if (*text < '0' || *text > '9' || (*end && *end != ',') ||
		    json_array_size(array) == GROUPS_MAX) {
			json_decref(array);
			return NULL;
		}
		json_array_append_new(array, json_integer(tag));
		if (!*end)
			return array;
		text = end + 1;
	}
}

static void
print_groups(const json_t *target)
{
	const json_t *group, *portal;
	size_t i, k;

	if (json_is_array(json_object_get(target, "groups"))) {
		printf("  only by portal groups");
		json_array_foreach(json_object_get(target, "groups"), i, group)
			printf("%s%lld", i ? ", " : " ", (long long)json_integer_value(group));
		printf("\n");
	}
	json_array_foreach(json_object_get(target, "portal_groups"), i, group)
	{
		printf("  group %-4lld %s:", (long long)json_integer_value(json_object_get(group, "group")),
		       json_string_value(json_object_get(group, "access")));
		json_array_foreach(json_object_get(group, "portals"), k, portal)
			printf(" %s", json_string_value(portal));
		printf("\n");
	}
}

void
cli_print_paths(const json_t *target)
{
	char to[320];

	print_groups(target);
	if (json_is_object(json_object_get(target, "redirect")))
		printf("  logins are sent to %s\n",
		       redirect_text(json_object_get(target, "redirect"), to, sizeof(to)));
}

static int
run_groups(struct cli *cli)
{
	json_t *args, *groups = parse_groups(cli->args[1]), *result = NULL;
	struct errinfo info = {{0}};
	int r;

	if (!groups)
		return client_misuse(cli, "GROUPS: tags of portal groups as in 1,2, or the word all");
	args = cli_request_args(cli);
	json_object_set_new(args, "groups", groups);
	r = client_request(cli, cli->command->request, args, &result, &info);
	if (r)
		return client_fail(cli, r, &info);
	if (!client_json(cli, result)) {
		printf("%s\n", json_string_value(json_object_get(result, "name")));
		print_groups(result);
	}
	json_decref(result);
	return EXIT_OK;
}

static int
run_alua(struct cli *cli)
{
	json_t *result = NULL;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result)) {
		printf("%s\n", json_string_value(json_object_get(result, "name")));
		print_groups(result);
	}
	json_decref(result);
	return code;
}

const struct cli_command cli_portal_commands[] = {
	{
		.name = "portal list",
		.summary = "list the portals: address, group, connections",
		.about =
			"Where iSCSI is accepted, in which portal group, and how many connections came by each.",
		.example = "lungate portal list",
		.next = "'lungate target show TARGET' shows which of them lead to a target.",
		.request = "portal.list",
		.run = run_list,
	},
	{
		.name = "portal add",
		.summary = "accept iSCSI at one more address",
		.about =
			"Binds exactly this address. Portals of one group are ways to the same nexus; a session by\n"
			"another group is another path, which multipath software tells apart and ALUA gives a state.",
		.args = portal_args,
		.nargs = 1,
		.options = add_options,
		.noptions = ARRAY_SIZE(add_options),
		.example = "lungate portal add 192.0.2.1:3260 --group 2",
		.next = "Initiators find it at their next discovery.",
		.request = "portal.add",
		.run = run_add,
	},
	{
		.name = "portal remove",
		.summary = "accept iSCSI at an address no more",
		.about =
			"Initiators that came by it are asked to log out; those that have not after the grace are\n"
			"dropped. Sessions by other portals notice nothing.",
		.args = portal_args,
		.nargs = 1,
		.options = remove_options,
		.noptions = ARRAY_SIZE(remove_options),
		.example = "lungate portal remove 192.0.2.1:3260",
		.next = "Whoever has another path goes on there.",
		.request = "portal.remove",
		.run = run_remove,
	},
	{
		.name = "portal redirect",
		.summary = "send the logins of a portal elsewhere",
		.about =
			"Logins to targets are answered with the address to go to; discovery and sessions that are\n"
			"there already go on. With --off logins are served again.",
		.args = portal_redirect_args,
		.nargs = 2,
		.options = redirect_options,
		.noptions = ARRAY_SIZE(redirect_options),
		.example = "lungate portal redirect 192.0.2.1:3260 192.0.2.2:3260",
		.next = "To move those who are there: lungate session kick",
		.request = "portal.redirect",
		.run = run_redirect,
	},
	{
		.name = "target groups",
		.summary = "say which portal groups lead to a target",
		.about =
			"Discovery names the portals of these groups alone, and logins by others do not find the\n"
			"target. Sessions that came by others are asked to log out.",
		.args = groups_args,
		.nargs = 2,
		.example = "lungate target groups iqn.2026-11.net.example:disks 1,2",
		.next = "'lungate portal list' shows the groups.",
		.request = "target.groups",
		.run = run_groups,
	},
	{
		.name = "target redirect",
		.summary = "send the logins to a target elsewhere",
		.about =
			"Whoever logs in by another address than this one is told to go there: to another portal of\n"
			"this daemon, or to another gateway. With --off logins are served again.",
		.args = target_redirect_args,
		.nargs = 2,
		.options = redirect_options,
		.noptions = ARRAY_SIZE(redirect_options),
		.example = "lungate target redirect iqn.2026-11.net.example:disks 192.0.2.2:3260",
		.next = "To move those who are there: lungate session kick --initiator NAME --target TARGET",
		.request = "target.redirect",
		.run = run_redirect,
	},
	{
		.name = "target alua",
		.summary = "set the access state of a portal group to a target",
		.about =
			"Asymmetric logical unit access: initiators with several paths prefer optimized ones, use\n"
			"non-optimized ones when they must, and leave standby and unavailable ones alone. A path\n"
			"that is transitioning is waited for, one that is offline is given up; these two initiators\n"
			"cannot change. Those who are there are told (ASYMMETRIC ACCESS STATE CHANGED).",
		.args = alua_args,
		.nargs = 3,
		.example = "lungate target alua iqn.2026-11.net.example:disks 2 standby",
		.next = "'lungate target show TARGET' shows the states, those that initiators set included.",
		.request = "target.alua",
		.run = run_alua,
	},
};
const size_t cli_portal_ncommands = ARRAY_SIZE(cli_portal_commands);
