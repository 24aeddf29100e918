/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lungate target acl add, remove, list; lungate target account add, remove, list */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/textout.h"

static const struct cli_arg acl_args[] = {
	{.name = "TARGET", .help = "the target's iSCSI name", .json = "target"},
	{.name = "INITIATOR",
	 .help = "the initiator's iSCSI name; with '*' at its end all that begin so",
	 .json = "name"},
};
static const struct cli_arg account_args[] = {
	{.name = "TARGET", .help = "the target's iSCSI name, or the word discovery", .json = "target"},
	{.name = "USER", .help = "name of the account", .json = "user"},
};
static const struct cli_option acl_add_options[] = {
	{.name = "network",
	 .kind = CLI_STRING,
	 .value = "NETWORK",
	 .json = "network",
	 .help = "it has to come from there, as 10.0.0.0/8 or 2001:db8::1"},
	{.name = "account",
	 .kind = CLI_STRING,
	 .value = "USER",
	 .json = "account",
	 .help = "it has to use this account of the target"},
	{.name = "lun",
	 .kind = CLI_STRING,
	 .value = "N=VOLUME[:ro]",
	 .repeat = true,
	 .help = "it sees this volume as LUN N, read only with :ro, and nothing else; may be repeated"},
	{.name = "replace",
	 .json = "replace",
	 .help = "change the row of this name and network, if there is one"},
};
static const struct cli_option acl_remove_options[] = {
	{.name = "network",
	 .kind = CLI_STRING,
	 .value = "NETWORK",
	 .json = "network",
	 .help = "the row with this network"},
	{.name = "open",
	 .json = "open",
	 .help = "if it is the last row: everybody may log in; otherwise nobody may"},
};
static const struct cli_option account_add_options[] = {
	{.name = "secret-file",
	 .kind = CLI_STRING,
	 .value = "FILE",
	 .help = "file with the secret, of mode 0600"},
	{.name = "secret-env",
	 .kind = CLI_STRING,
	 .value = "NAME",
	 .json = "secret_env",
	 .help = "variable with the secret in the daemon's environment"},
	{.name = "mutual", .json = "mutual", .help = "what the target proves itself with"},
	{.name = "replace", .json = "replace", .help = "change the account of this name, if there is one"},
};
static const struct cli_option account_remove_options[] = {
	{.name = "mutual", .json = "mutual", .help = "the one that the target proves itself with"},
	{.name = "open",
	 .json = "open",
	 .help = "if it is the last account: nobody needs one; otherwise nobody gets in"},
};

/* -- lists of initiators ------------------------------------------------- */

static void
luns_text(const json_t *luns, char *text, size_t len)
{
	const json_t *row;
	size_t i, used = 0;

	(void)snprintf(text, len, json_is_null(luns) ? "all" : "none");
	json_array_foreach(luns, i, row)
	{
		int n = snprintf(text + used, len - used, "%s%lld=%s%s", i ? " " : "",
				 (long long)json_integer_value(json_object_get(row, "lun")),
				 json_string_value(json_object_get(row, "volume")),
				 json_is_true(json_object_get(row, "read_only")) ? ":ro" : "");

		if (n < 0 || used + (size_t)n >= len)
			return;
		used += (size_t)n;
	}
}

static const char *
text_or(const json_t *object, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : otherwise;
}

static void
print_list(const json_t *result)
{
	static const char *const headings[] = {"INITIATOR", "FROM", "ACCOUNT", "LUNS", NULL};
	const json_t *initiators = json_object_get(result, "initiators"), *row;
	struct table table;
	char luns[512];
	size_t i;

	if (json_is_null(initiators)) {
		printf("everybody may log in: there is no list\n");
		return;
	}
	if (!json_array_size(initiators)) {
		printf("nobody may log in: the list is empty\n");
		return;
	}
	table_init(&table, headings, 0);
	json_array_foreach(initiators, i, row)
	{
		luns_text(json_object_get(row, "luns"), luns, sizeof(luns));
		table_row(&table, text_or(row, "name", "?"), text_or(row, "network", "anywhere"),
			  text_or(row, "account", "-"), luns);
	}
	table_print(&table, stdout);
	table_fini(&table);
}

/* "3=disk0:ro" */
static json_t *
parse_lun(const char *text, struct errinfo *info)
{
	const char *equals = strchr(text, '='), *colon = strchr(text, ':');
	size_t len;
	char *end;
	long lun;

	lun = strtol(text, &end, 10);
	if (*text < '0' || *text > '9' || end != equals || !equals[1] ||
	    (colon && strcmp(colon, ":ro") != 0)) {
		(void)err_set(info, -EINVAL,
			      "--lun: '%s' is not a number and a volume, as 0=disk0 or 0=disk0:ro", text);
		return NULL;
	}
	len = colon ? (size_t)(colon - equals - 1) : strlen(equals + 1);
	return json_pack("{s:I, s:s%, s:o*}", "lun", (json_int_t)lun, "volume", equals + 1, len, "read_only",
			 colon ? json_true() : NULL);
}

static json_t *
parse_luns(const struct cli *cli, struct errinfo *info)
{
	json_t *luns = json_array();
	const char *text;

	for (size_t i = 0; (text = cli_value_at(cli, "lun", i)); i++) {
		json_t *lun = parse_lun(text, info);

		if (!lun) {
			json_decref(luns);
			return NULL;
		}
		json_array_append_new(luns, lun);
	}
	return luns;
}

static int
run_acl_add(struct cli *cli)
{
	json_t *args = cli_request_args(cli), *result = NULL, *luns;
	struct errinfo info = {{0}};
	int r;

	if (cli_has(cli, "lun")) {
		luns = parse_luns(cli, &info);
		if (!luns) {
			json_decref(args);
			(void)client_fail(cli, -EINVAL, &info);
			return EXIT_USAGE;
		}
		json_object_set_new(args, "luns", luns);
	}
	r = client_request(cli, cli->command->request, args, &result, &info);
	if (r)
		return client_fail(cli, r, &info);
	if (!client_json(cli, result))
		print_list(result);
	json_decref(result);
	return EXIT_OK;
}

static int
run_list(struct cli *cli)
{
	json_t *result = NULL;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result))
		print_list(result);
	json_decref(result);
	return code;
}

/* -- accounts ------------------------------------------------------------ */

static void
print_account(struct table *table, const json_t *row, const char *way)
{
	const char *file = text_or(row, "secret_file", NULL), *env = text_or(row, "secret_env", NULL);
	char where[512];

	(void)snprintf(where, sizeof(where), "%s%s",
		       file  ? "file "
		       : env ? "environment "
			     : "the configuration",
		       file  ? file
		       : env ? env
			     : "");
	table_row(table, text_or(row, "user", "?"), way, where);
}

static void
print_accounts(const json_t *result)
{
	static const char *const headings[] = {"USER", "PROVES", "SECRET FROM", NULL};
	const json_t *accounts = json_object_get(result, "chap"), *mutual = json_object_get(result, "mutual"),
		     *row;
	struct table table;
	size_t i;

	if (json_is_null(accounts)) {
		printf("no account is needed\n");
		return;
	}
	if (!json_array_size(accounts))
		printf("nobody gets in: an account is needed, and there is none\n");
	if (!json_array_size(accounts) && !json_is_object(mutual))
		return;
	table_init(&table, headings, 0);
	json_array_foreach(accounts, i, row) print_account(&table, row, "the initiator");
	if (json_is_object(mutual))
		print_account(&table, mutual, "the target");
	table_print(&table, stdout);
	table_fini(&table);
}

/* Links stay in it: whoever rotates secrets may do it with one. */
static char *
absolute_path(const char *file)
{
	char *cwd, *path = NULL;

	if (*file == '/')
		return strdup(file);
	cwd = getcwd(NULL, 0);
	if (cwd && asprintf(&path, "%s/%s", cwd, file) < 0)
		path = NULL;
	free(cwd);
	return path;
}

static int
run_account_add(struct cli *cli)
{
	json_t *args = cli_request_args(cli), *result = NULL;
	const char *file = cli_value(cli, "secret-file");
	struct errinfo info = {{0}};
	char *path;
	int r = 0;

	if (!file == !cli_has(cli, "secret-env")) {
		json_decref(args);
		return client_misuse(
			cli, "say where the secret is: --secret-file FILE or --secret-env NAME, one of them");
	}
	path = file ? absolute_path(file) : NULL;
	if (file && access(file, F_OK) < 0)
		r = err_set(&info, -errno, "%s: %s", file, err_text(-errno));
	else if (file && !path)
		r = -ENOMEM;
	else if (file)
		json_object_set_new(args, "secret_file", json_string(path));
	free(path);
	if (r)
		json_decref(args);
	else
		r = client_request(cli, cli->command->request, args, &result, &info);
	if (r)
		return client_fail(cli, r, &info);
	if (!client_json(cli, result))
		print_accounts(result);
	json_decref(result);
	return EXIT_OK;
}

static int
run_accounts(struct cli *cli)
{
	json_t *result = NULL;
	int code = client_run(cli, &result);

	if (!code && !client_json(cli, result))
		print_accounts(result);
	json_decref(result);
	return code;
}

void
cli_print_access(const json_t *target)
{
	printf("\n");
	print_list(target);
	printf("\n");
	print_accounts(target);
}

const struct cli_command cli_access_commands[] = {
	{
		.name = "target acl add",
		.summary = "let an initiator log in to a target",
		.about =
			"Puts an initiator on the target's list. As soon as there is a list only who is on it may log\n"
			"in, and sessions of others end. Of several rows that match an initiator the one with the most\n"
			"exact name holds, then the one with the smallest network.",
		.args = acl_args,
		.nargs = 2,
		.options = acl_add_options,
		.noptions = ARRAY_SIZE(acl_add_options),
		.example =
			"lungate target acl add iqn.2026-11.net.example:disks iqn.2026-11.net.example:host1 --lun 0=disk0",
		.next = "It finds the target by discovery; others do not any more. An account makes sure that it is\n"
			"the one that it says: lungate target account add --help",
		.request = "target.acl.add",
		.run = run_acl_add,
	},
	{
		.name = "target acl remove",
		.summary = "take an initiator off a target's list",
		.about =
			"Its sessions end, unless another row lets it in. With the last row gone nobody may log in, or\n"
			"with --open everybody.",
		.args = acl_args,
		.nargs = 2,
		.options = acl_remove_options,
		.noptions = ARRAY_SIZE(acl_remove_options),
		.example =
			"lungate target acl remove iqn.2026-11.net.example:disks iqn.2026-11.net.example:host1",
		.next = "'lungate target acl list TARGET' shows who is left.",
		.request = "target.acl.remove",
		.run = run_list,
	},
	{
		.name = "target acl list",
		.summary = "list who may log in to a target",
		.about =
			"The target's list of initiators: from where, with which account, and which LUNs they see.",
		.args = acl_args,
		.nargs = 1,
		.example = "lungate target acl list iqn.2026-11.net.example:disks",
		.next = "'lungate target show TARGET' shows who is logged in.",
		.request = "target.acl.list",
		.run = run_list,
	},
	{
		.name = "target account add",
		.summary = "have initiators log in with CHAP",
		.about =
			"Adds an account to the target, or to discovery. As soon as there is one nobody logs in without;\n"
			"sessions that are there stay. The secret, of 12 bytes at least, is in a file that only you can\n"
			"read, or in the daemon's environment; it is never shown.",
		.args = account_args,
		.nargs = 2,
		.options = account_add_options,
		.noptions = ARRAY_SIZE(account_add_options),
		.example =
			"head -c 12 /dev/urandom | base64 > alice.secret; chmod 600 alice.secret\n"
			"lungate target account add iqn.2026-11.net.example:disks alice --secret-file alice.secret",
		.next = "Tell the initiator, as in /etc/iscsi/iscsid.conf: node.session.auth.authmethod = CHAP,\n"
			"node.session.auth.username and node.session.auth.password.",
		.request = "target.account.add",
		.run = run_account_add,
	},
	{
		.name = "target account remove",
		.summary = "remove a CHAP account",
		.about =
			"Sessions that logged in with it end. With the last account gone nobody gets in, or with\n"
			"--open everybody without one.",
		.args = account_args,
		.nargs = 2,
		.options = account_remove_options,
		.noptions = ARRAY_SIZE(account_remove_options),
		.example = "lungate target account remove iqn.2026-11.net.example:disks alice",
		.next = "The file with the secret stays: it is yours.",
		.request = "target.account.remove",
		.run = run_accounts,
	},
	{
		.name = "target account list",
		.summary = "list the CHAP accounts of a target",
		.about = "The accounts, and where their secrets are from.",
		.args = account_args,
		.nargs = 1,
		.example = "lungate target account list iqn.2026-11.net.example:disks",
		.next = "The accounts for discovery: lungate target account list discovery",
		.request = "target.account.list",
		.run = run_accounts,
	},
};
const size_t cli_access_ncommands = ARRAY_SIZE(cli_access_commands);
