/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lungate session list, kick */
#include <string.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/textout.h"

#define LINE_WIDTH 94

static const struct cli_arg kick_args[] = {
	{.name = "ID", .help = "the session, as it is listed", .optional = true, .json = "id"},
};
static const struct cli_option list_options[] = {
	{.name = "target",
	 .kind = CLI_STRING,
	 .value = "TARGET",
	 .json = "target",
	 .help = "of this target alone"},
	{.name = "long", .letter = 'l', .help = "with negotiated keys and counters"},
};
static const struct cli_option kick_options[] = {
	{.name = "initiator",
	 .kind = CLI_STRING,
	 .value = "NAME",
	 .json = "initiator",
	 .help = "all sessions of this initiator"},
	{.name = "target",
	 .kind = CLI_STRING,
	 .value = "TARGET",
	 .json = "target",
	 .help = "of these, the ones with this target"},
	{.name = "grace",
	 .kind = CLI_UINT,
	 .value = "SECONDS",
	 .json = "grace",
	 .help = "time to log out, 0 to 60; default: 5"},
};

static void
print_connection(const json_t *connection)
{
	const json_t *counters = json_object_get(connection, "counters"), *value;
	char in[16], out[16];
	const char *key;
	int column = 0;

	printf("    connection %llu from %s by %s\n", client_number(connection, "cid"),
	       client_text(connection, "address"), client_text(connection, "portal"));
	printf("      %llu commands (%llu in flight, %llu with errors), %s in, %s out\n",
	       client_number(counters, "commands"), client_number(counters, "in_flight"),
	       client_number(counters, "errors"),
	       size_format(client_number(counters, "bytes_in"), in, sizeof(in)),
	       size_format(client_number(counters, "bytes_out"), out, sizeof(out)));
	json_object_foreach(json_object_get(connection, "params"), key, value)
	{
		char number[24];
		const char *text = json_string_value(value);

		(void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		text = text ? text : number;
		if (column + (int)strlen(key) + (int)strlen(text) > LINE_WIDTH) {
			printf("\n");
			column = 0;
		}
		column += printf("%s%s=%s", column ? " " : "      ", key, text);
	}
	printf("\n");
}

void
cli_print_session(const json_t *session)
{
	const json_t *connection;
	size_t i;

	printf("  session %s: %s%s%s, portal group %llu\n", client_text(session, "id"),
	       client_text(session, "initiator"), json_object_get(session, "user") ? " as " : "",
	       json_object_get(session, "user") ? client_text(session, "user") : "",
	       client_number(session, "portal_group"));
	json_array_foreach(json_object_get(session, "connections"), i, connection)
		print_connection(connection);
}

static void
print_row(struct table *table, const json_t *session)
{
	const json_t *connection = json_array_get(json_object_get(session, "connections"), 0);
	const char *target = client_text(session, "target");
	char number[24];

	(void)snprintf(number, sizeof(number), "%llu",
		       client_number(json_object_get(connection, "counters"), "commands"));
	table_row(table, client_text(session, "id"), client_text(session, "initiator"),
		  client_text(connection, "address"), client_text(connection, "portal"), number,
		  strcmp(target, "-") != 0 ? target : "discovery");
}

static int
run_list(struct cli *cli)
{
	static const char *const headings[] = {"SESSION",  "INITIATOR", "FROM", "PORTAL",
					       "COMMANDS", "TARGET",    NULL};
	json_t *result = NULL;
	const json_t *session;
	struct table table;
	size_t i;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result)) {
		table_init(&table, headings, 0x10);
		json_array_foreach(result, i, session)
		{
			if (cli_has(cli, "long"))
				cli_print_session(session);
			else
				print_row(&table, session);
		}
		if (!json_array_size(result))
			printf("nobody is logged in\n");
		else if (!cli_has(cli, "long"))
			table_print(&table, stdout);
		table_fini(&table);
	}
	json_decref(result);
	return code;
}

static int
run_kick(struct cli *cli)
{
	json_t *result = NULL;
	unsigned long long n;
	int code;

	if (!cli->nargs && !cli_has(cli, "initiator"))
		return client_misuse(
			cli,
			"say which session: its ID, or --initiator NAME; 'lungate session list' shows them");
	code = client_run(cli, &result);

	if (!code && !client_json(cli, result)) {
		n = client_number(result, "ended");
		printf("%llu %s ended\n", n, n == 1 ? "session" : "sessions");
	}
	json_decref(result);
	return code;
}

const struct cli_command cli_session_commands[] = {
	{
		.name = "session list",
		.summary = "list who is logged in",
		.about = "Every session: initiator, from where, by which portal, with which target.",
		.options = list_options,
		.noptions = ARRAY_SIZE(list_options),
		.example = "lungate session list --long",
		.next = "To end one: lungate session kick ID",
		.request = "session.list",
		.run = run_list,
	},
	{
		.name = "session kick",
		.summary = "end sessions",
		.about =
			"Asks the initiator to log out; if it has not after the grace, its session is dropped. It may\n"
			"log in again at once: to keep it out, take it off the list of initiators first.",
		.args = kick_args,
		.nargs = 1,
		.options = kick_options,
		.noptions = ARRAY_SIZE(kick_options),
		.example = "lungate session kick --initiator iqn.2026-11.net.example:host1",
		.next = "'lungate session list' shows who is there.",
		.request = "session.kick",
		.run = run_kick,
	},
};
const size_t cli_session_ncommands = ARRAY_SIZE(cli_session_commands);
