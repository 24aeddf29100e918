/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lungate config check */
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/config.h"
#include "gateway/exitcode.h"
#include "gateway/paths.h"
#include "gateway/textout.h"

static const struct cli_arg check_args[] = {
	{.name = "FILE", .help = "the file; default: --config, or the daemon's", .optional = true},
};
static const struct cli_option check_options[] = {
	{.name = "explain", .help = "list every key with what it means"},
};

static const char *const kinds[] = {
	[JSON_KIND_STRING] = "string", [JSON_KIND_SIZE] = "size", [JSON_KIND_UINT] = "number",
	[JSON_KIND_BOOL] = "boolean",  [JSON_KIND_ENUM] = "word", [JSON_KIND_ARRAY] = "array",
	[JSON_KIND_OBJECT] = "object",
};

static int
explain(const struct cli *cli)
{
	static const char *const headings[] = {"KEY", "TYPE", "MEANING", NULL};
	json_t *array = json_array();
	struct table table;

	table_init(&table, headings, 0);
	for (size_t t = 0; t < config_ntables; t++) {
		for (size_t i = 0; i < config_tables[t].n; i++) {
			const struct json_key *key = &config_tables[t].keys[i];
			char name[128];

			(void)snprintf(name, sizeof(name), "%s%s%s", config_tables[t].place,
				       *config_tables[t].place ? "." : "", key->key);
			table_row(&table, name, kinds[key->kind], key->help);
			json_array_append_new(array, json_pack("{s:s, s:s, s:b, s:s}", "key", name, "type",
							       kinds[key->kind], "required",
							       (int)key->required, "help", key->help));
		}
	}
	if (!client_json(cli, array))
		table_print(&table, stdout);
	table_fini(&table);
	json_decref(array);
	return EXIT_OK;
}

static int
report_bad(const struct cli *cli, int err, const struct config_report *report, const struct errinfo *info)
{
	json_t *array = json_array();

	for (size_t i = 0; i < report->n; i++) {
		fprintf(stderr, "%s\n", report->texts[i]);
		json_array_append_new(array, json_string(report->texts[i]));
	}
	if (!report->n) {
		fprintf(stderr, "%s\n", info->text);
		json_array_append_new(array, json_string(info->text));
	}
	if (cli_has(cli, "json")) {
		json_t *object = json_pack("{s:b, s:O}", "ok", 0, "errors", array);

		(void)client_json(cli, object);
		json_decref(object);
	}
	json_decref(array);
	return exit_code_of(err);
}

static void
report_good(const struct cli *cli, const char *path, const struct config *config)
{
	json_t *object = json_pack("{s:b, s:i, s:i, s:i}", "ok", 1, "volumes", (int)config->nvolumes,
				   "targets", (int)config->ntargets, "portals", (int)config->nportals);

	if (!client_json(cli, object))
		printf("%s: good: %zu %s, %zu %s, %zu %s\n", path, config->nvolumes,
		       config->nvolumes == 1 ? "volume" : "volumes", config->ntargets,
		       config->ntargets == 1 ? "target" : "targets", config->nportals,
		       config->nportals == 1 ? "portal" : "portals");
	json_decref(object);
}

static int
run_check(struct cli *cli)
{
	const char *path = cli->nargs ? cli->args[0] : cli_value(cli, "config");
	char *standard = paths_config();
	struct config_report report = {0};
	struct errinfo info = {{0}};
	struct config config;
	int r, code = EXIT_OK;

	if (cli_has(cli, "explain")) {
		free(standard);
		return explain(cli);
	}
	if (cli->nargs && cli_has(cli, "config")) {
		free(standard);
		return client_misuse(cli, "the file is named twice: as FILE, and with --config");
	}
	path = path ? path : standard;
	r = config_load(path, &config, &report, &info);
	if (r) {
		code = report_bad(cli, r, &report, &info);
	} else {
		report_good(cli, path, &config);
		config_fini(&config);
	}
	config_report_fini(&report);
	free(standard);
	return code;
}

const struct cli_command cli_config_commands[] = {
	{
		.name = "config check",
		.summary = "check a configuration file; works without a daemon",
		.about =
			"Reads the file as the daemon would and prints every mistake as FILE:LINE:COLUMN: words.",
		.args = check_args,
		.nargs = 1,
		.options = check_options,
		.noptions = ARRAY_SIZE(check_options),
		.example = "lungate config check /etc/lungate/lungate.json",
		.next = "Exit code 0: 'lungate serve' will accept the file. 5: it will not.",
		.run = run_check,
	},
};
const size_t cli_config_ncommands = ARRAY_SIZE(cli_config_commands);
