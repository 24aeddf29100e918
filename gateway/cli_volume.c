/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lungate volume create, list, show, resize, delete */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/textout.h"

static const char *const block_choices[] = {"512", "4096", NULL};

static const struct cli_arg name_arg[] = {{.name = "NAME", .help = "the volume's name", .json = "name"}};
static const struct cli_arg create_args[] = {
	{.name = "NAME", .help = "its name: a-z, 0-9, '.', '_' and '-'", .json = "volume.name"},
};

/* What a new volume is to be; both ways to make one. */
#define VOLUME_OPTIONS                                                                                              \
	{.name = "store",                                                                                           \
	 .kind = CLI_STRING,                                                                                        \
	 .value = "STORE",                                                                                          \
	 .json = "volume.store",                                                                                    \
	 .help = "where the data lives: s3://BUCKET/PREFIX?... or dir:/PATH (chunks), file:/PATH or block:/dev/X "  \
		 "(raw), ram: and null: for tests"},                                                                \
		{.name = "size",                                                                                    \
		 .letter = 's',                                                                                     \
		 .kind = CLI_SIZE,                                                                                  \
		 .value = "SIZE",                                                                                   \
		 .json = "volume.size",                                                                             \
		 .help = "its size, as 10G; thin: it costs what is written"},                                       \
		{.name = "block-size",                                                                              \
		 .kind = CLI_CHOICE,                                                                                \
		 .value = "BYTES",                                                                                  \
		 .choices = block_choices,                                                                          \
		 .help = "logical block: 512 (default) or 4096"},                                                   \
		{.name = "chunk-size",                                                                              \
		 .kind = CLI_SIZE,                                                                                  \
		 .value = "SIZE",                                                                                   \
		 .json = "volume.chunk_size",                                                                       \
		 .help = "one object holds so much: 1M to 16M, default 4M"},                                        \
		{.name = "write-cache",                                                                             \
		 .json = "volume.write_cache",                                                                      \
		 .help = "answer plain writes from memory; only flushes and FUA writes wait for the disk"},         \
		{.name = "read-only", .json = "volume.read_only", .help = "refuse writes"},                         \
		{.name = "journal-dir",                                                                             \
		 .kind = CLI_STRING,                                                                                \
		 .value = "PATH",                                                                                   \
		 .json = "volume.journal_dir",                                                                      \
		 .help = "a fast and stable directory for its journal; it must exist; default: STATE_DIR/journal"}, \
		{.name = "journal-size",                                                                            \
		 .kind = CLI_SIZE,                                                                                  \
		 .value = "SIZE",                                                                                   \
		 .json = "volume.journal_size",                                                                     \
		 .help = "disk space of the journal, default 1G"},                                                  \
		{.name = "commit-window",                                                                           \
		 .kind = CLI_SIZE,                                                                                  \
		 .value = "SIZE",                                                                                   \
		 .json = "volume.commit_window",                                                                    \
		 .help = "so many changed bytes start a map commit; default: a quarter of the journal"},            \
	{                                                                                                           \
		.name = "commit-interval", .kind = CLI_UINT, .value = "SECONDS",                                    \
		.json = "volume.commit_interval",                                                                   \
		.help = "a map commit starts after so long anyway; default 1800"                                    \
	}

static const struct cli_option create_options[] = {
	VOLUME_OPTIONS,
	{.name = "existing",
	 .json = "existing",
	 .help = "the store holds this volume already: take it in as it is"},
};

static const struct cli_option import_options[] = {
	{.name = "from",
	 .kind = CLI_STRING,
	 .value = "STORE",
	 .json = "from",
	 .help = "where the volume of gotgt lies: s3://BUCKET/PREFIX?... or dir:/PATH"},
	VOLUME_OPTIONS,
};

static const struct cli_option resize_options[] = {
	{.name = "size",
	 .letter = 's',
	 .kind = CLI_SIZE,
	 .value = "SIZE",
	 .json = "size",
	 .help = "the new size"},
	{.name = "shrink",
	 .json = "shrink",
	 .help = "yes, make it smaller: what lies behind the new end is lost"},
};

static const struct cli_option delete_options[] = {
	{.name = "yes", .letter = 'y', .help = "do not ask"},
	{.name = "keep-data", .json = "keep_data", .help = "forget the volume, leave its data where it is"},
	{.name = "delete-file", .json = "delete_file", .help = "file: volumes: delete the file as well"},
};

/* -- create
 * --------------------------------------------------------------------------------------------------- */

static int
run_create(struct cli *cli)
{
	json_t *args, *result = NULL;
	const char *block = cli_value(cli, "block-size"), *name = cli->args[0];
	struct errinfo info = {{0}};
	char size[16];
	int r;

	if (!strcmp(cli->command->name, "volume import") && !cli_has(cli, "from"))
		return client_misuse(
			cli, "--from is missing: where does it lie? For example --from s3://BUCKET/PREFIX");
	if (!cli_has(cli, "store"))
		return client_misuse(cli, "--store is missing: where shall the data live? For example "
					  "--store dir:/var/lib/lungate/store");
	args = cli_request_args(cli);
	if (block)
		json_object_set_new(json_object_get(args, "volume"), "block_size",
				    json_integer(strtol(block, NULL, 10)));
	r = client_request(cli, cli->command->request, args, &result, &info);
	if (r)
		return client_fail(cli, r, &info);
	if (!client_json(cli, result)) {
		printf("volume %s: %s in %s\n", name,
		       size_format((uint64_t)json_integer_value(json_object_get(result, "size")), size,
				   sizeof(size)),
		       json_string_value(json_object_get(result, "store")));
		printf("next: lungate target map TARGET %s\n", name);
	}
	json_decref(result);
	return EXIT_OK;
}

/* -- list, show
 * ------------------------------------------------------------------------------------------------ */

static const char *
size_text(const json_t *value, char *buf, size_t len)
{
	return json_is_integer(value) ? size_format((uint64_t)json_integer_value(value), buf, len) : "-";
}

/* "iqn...:a/0, iqn...:b/3" */
static void
mapped_text(const json_t *mapped, char *text, size_t len)
{
	const json_t *row;
	size_t i, used = 0;

	(void)snprintf(text, len, "-");
	json_array_foreach(mapped, i, row)
	{
		int n = snprintf(text + used, len - used, "%s%s LUN %lld", i ? ", " : "",
				 json_string_value(json_object_get(row, "target")),
				 (long long)json_integer_value(json_object_get(row, "lun")));

		if (n < 0 || used + (size_t)n >= len)
			return;
		used += (size_t)n;
	}
}

static int
run_list(struct cli *cli)
{
	static const char *const headings[] = {"NAME", "STATE", "SIZE", "USED", "STORE", "MAPPED AS", NULL};
	json_t *result = NULL;
	const json_t *row;
	struct table table;
	size_t i;
	int code = client_run(cli, &result);

	if (code)
		return code;
	if (client_json(cli, result))
		goto out;
	if (!json_array_size(result)) {
		printf("no volumes yet; make one: lungate volume create disk0 --size 10G --store dir:/PATH\n");
		goto out;
	}
	table_init(&table, headings, 1u << 2 | 1u << 3);
	json_array_foreach(result, i, row)
	{
		char size[16], used[16], mapped[512];

		mapped_text(json_object_get(row, "mapped"), mapped, sizeof(mapped));
		table_row(&table, json_string_value(json_object_get(row, "name")),
			  json_string_value(json_object_get(row, "state")),
			  size_text(json_object_get(row, "size"), size, sizeof(size)),
			  size_text(json_object_get(row, "allocated"), used, sizeof(used)),
			  json_string_value(json_object_get(row, "store")), mapped);
	}
	table_print(&table, stdout);
	table_fini(&table);
	json_array_foreach(result, i, row)
	{
		const char *why = json_string_value(json_object_get(json_object_get(row, "error"), "text"));

		if (why)
			printf("%s: %s\n", json_string_value(json_object_get(row, "name")), why);
	}
out:
	json_decref(result);
	return EXIT_OK;
}

static void
show_members(const json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		char text[512], size[16];

		if (json_is_object(value) || json_is_null(value))
			continue;
		if (json_is_array(value)) {
			if (strcmp(key, "mapped"))
				continue;
			mapped_text(value, text, sizeof(text));
			printf("  %-18s %s\n", key, text);
		} else if (json_is_string(value)) {
			printf("  %-18s %s\n", key, json_string_value(value));
		} else if (json_is_boolean(value)) {
			printf("  %-18s %s\n", key, json_is_true(value) ? "yes" : "no");
		} else if (!strcmp(key, "size") || !strcmp(key, "allocated") || !strcmp(key, "chunk_size") ||
			   !strcmp(key, "journal_size") || !strcmp(key, "commit_window")) {
			printf("  %-18s %s (%lld bytes)\n", key, size_text(value, size, sizeof(size)),
			       (long long)json_integer_value(value));
		} else if (json_is_integer(value)) {
			printf("  %-18s %lld%s\n", key, (long long)json_integer_value(value),
			       !strcmp(key, "commit_interval") ? " s" : "");
		}
	}
}

static void
show_store_traffic(const json_t *store)
{
	static const char *const headings[] = {"TO THE STORE", "REQUESTS", "DATA", "ERRORS", NULL};
	struct table table;
	const char *key;
	json_t *row;

	table_init(&table, headings, 0xe);
	json_object_foreach(json_object_get(store, "operations"), key, row)
	{
		char ops[24], errors[24], bytes[16];

		(void)snprintf(ops, sizeof(ops), "%lld",
			       (long long)json_integer_value(json_object_get(row, "requests")));
		(void)snprintf(errors, sizeof(errors), "%lld",
			       (long long)json_integer_value(json_object_get(row, "errors")));
		table_row(&table, key, ops, size_text(json_object_get(row, "bytes"), bytes, sizeof(bytes)),
			  errors);
	}
	printf("\n");
	table_print(&table, stdout);
	table_fini(&table);
}

static void
show_store(const json_t *store)
{
	const char *key;
	json_t *value;
	size_t i;

	printf("\n  object store\n");
	json_object_foreach((json_t *)(uintptr_t)store, key, value)
	{
		if (json_is_string(value) && json_string_length(value))
			printf("    %-16s %s\n", key, json_string_value(value));
		else if (json_is_integer(value))
			printf("    %-16s %lld\n", key, (long long)json_integer_value(value));
	}
	json_array_foreach(json_object_get(store, "endpoints"), i, value) printf(
		"    %-16s %s  %s\n", i ? "" : "endpoints", json_string_value(json_object_get(value, "url")),
		json_string_value(json_object_get(value, "state")));
	show_store_traffic(store);
}

static void
show_stats(const json_t *stats)
{
	static const char *const headings[] = {"OPERATION", "REQUESTS", "DATA", "ERRORS",
					       "P50 us",    "P99 us",   NULL};
	struct table table;
	const char *key;
	json_t *value;

	table_init(&table, headings, 0x3e);
	json_object_foreach((json_t *)(uintptr_t)stats, key, value)
	{
		const json_t *latency = json_object_get(value, "latency_us");
		char ops[24], errors[24], p50[24], p99[24], bytes[16];

		if (!latency)
			continue;
		(void)snprintf(ops, sizeof(ops), "%lld",
			       (long long)json_integer_value(json_object_get(value, "ops")));
		(void)snprintf(errors, sizeof(errors), "%lld",
			       (long long)json_integer_value(json_object_get(value, "errors")));
		(void)snprintf(p50, sizeof(p50), "%lld",
			       (long long)json_integer_value(json_object_get(latency, "p50")));
		(void)snprintf(p99, sizeof(p99), "%lld",
			       (long long)json_integer_value(json_object_get(latency, "p99")));
		table_row(&table, key, ops, size_text(json_object_get(value, "bytes"), bytes, sizeof(bytes)),
			  errors, p50, p99);
	}
	printf("\n");
	table_print(&table, stdout);
	table_fini(&table);
}

static int
run_show(struct cli *cli)
{
	json_t *result = NULL, *error;
	int code = client_run(cli, &result);

	if (code)
		return code;
	if (!client_json(cli, result)) {
		printf("volume %s\n", json_string_value(json_object_get(result, "name")));
		error = json_object_get(result, "error");
		if (json_is_object(error))
			printf("  %-18s %s (%s)\n", "error",
			       json_string_value(json_object_get(error, "text")),
			       json_string_value(json_object_get(error, "code")));
		show_members(result);
		if (json_is_object(json_object_get(result, "object_store")))
			show_store(json_object_get(result, "object_store"));
		if (json_object_get(result, "stats"))
			show_stats(json_object_get(result, "stats"));
	}
	json_decref(result);
	return EXIT_OK;
}

/* -- resize, delete
 * ---------------------------------------------------------------------------------------------- */

static int
run_resize(struct cli *cli)
{
	json_t *result = NULL;
	char size[16];
	int code;

	if (!cli_has(cli, "size"))
		return client_misuse(cli, "--size is missing: how large shall it become?");
	code = client_run(cli, &result);
	if (code)
		return code;
	if (!client_json(cli, result))
		printf("volume %s: now %s; initiators are told with their next command\n", cli->args[0],
		       size_text(json_object_get(result, "size"), size, sizeof(size)));
	json_decref(result);
	return EXIT_OK;
}

/* True when the answer is the volume's name or "yes". */
static bool
confirmed(const char *name)
{
	char line[128];

	fprintf(stderr, "Delete volume %s and all its data? Type its name to go on: ", name);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = 0;
	return !strcmp(line, name);
}

static int
run_delete(struct cli *cli)
{
	bool keep = cli_has(cli, "keep-data");
	json_t *result = NULL;
	int code;

	if (keep && cli_has(cli, "delete-file"))
		return client_misuse(cli,
				     "--keep-data and --delete-file say opposite things: give one of them");
	if (!keep && !cli_has(cli, "yes")) {
		if (!isatty(STDIN_FILENO))
			return client_misuse(
				cli, "this deletes the volume's data; where nobody can be asked, add --yes");
		if (!confirmed(cli->args[0])) {
			fprintf(stderr, "nothing was deleted\n");
			return EXIT_FAILED;
		}
	}
	code = client_run(cli, &result);
	if (!code && !client_json(cli, result))
		printf("volume %s: %s\n", cli->args[0],
		       keep ? "forgotten; its data is where it was" : "deleted");
	json_decref(result);
	return code;
}

const struct cli_command cli_volume_commands[] = {
	{
		.name = "volume create",
		.summary = "make a volume (a virtual disk)",
		.about =
			"Makes a volume in a store, opens it, and writes it into the daemon's configuration.\n"
			"A dir: volume lies as chunks, one file each, below PATH/NAME; its journal lies in the state\n"
			"directory unless --journal-dir says otherwise.",
		.args = create_args,
		.nargs = 1,
		.options = create_options,
		.noptions = ARRAY_SIZE(create_options),
		.example = "lungate volume create disk0 --size 10G --store dir:/var/lib/lungate/store",
		.next = "The volume is seen in the mount at once (volumes/NAME/image). For iSCSI, map it into a target:\n"
			"lungate target create iqn.2026-11.net.example:disks\n"
			"lungate target map iqn.2026-11.net.example:disks disk0",
		.request = "volume.create",
		.run = run_create,
	},
	{
		.name = "volume import",
		.summary = "make a volume with the contents of one of gotgt's in an object store",
		.about =
			"Reads _metadata and chunk_NNNNNNNNNN below a prefix, or below a directory, and writes what is not\n"
			"zero into a new volume. Stop gotgt first. The old one stays as it is. Ctrl-C deletes what was made;\n"
			"what a crash leaves is deleted when the import is run again.",
		.args = create_args,
		.nargs = ARRAY_SIZE(create_args),
		.options = import_options,
		.noptions = ARRAY_SIZE(import_options),
		.example = "lungate volume import disk0 --from s3://old/prefix --store s3://new/prefix",
		.next = "lungate target map TARGET disk0",
		.request = "volume.import",
		.run = run_create,
	},
	{
		.name = "volume list",
		.summary = "list the volumes",
		.about =
			"One line a volume: its state, size, what it occupies, where it lies, as which LUN it is seen.\n"
			"A failed or broken volume is followed by a line that says why.",
		.example = "lungate volume list",
		.next = "'lungate volume show NAME' tells more of one; 'lungate map NAME' draws its chunks.",
		.request = "volume.list",
		.run = run_list,
	},
	{
		.name = "volume show",
		.summary = "show one volume: identity, geometry, counters, latencies",
		.about =
			"Everything the daemon knows of a volume. The same is in the mount: volumes/NAME/volume.json and\n"
			"stats.json.",
		.args = name_arg,
		.nargs = 1,
		.example = "lungate volume show disk0",
		.next = "Programs take 'lungate volume show disk0 --json'.",
		.request = "volume.show",
		.run = run_show,
	},
	{
		.name = "volume resize",
		.summary = "make a volume larger, or smaller",
		.about =
			"Growing is safe at any time. Shrinking loses what lies behind the new end and is done with\n"
			"--shrink only.",
		.args = name_arg,
		.nargs = 1,
		.options = resize_options,
		.noptions = ARRAY_SIZE(resize_options),
		.example = "lungate volume resize disk0 --size 20G",
		.next = "Initiators learn it with their next command; Linux: iscsiadm -m session --rescan",
		.request = "volume.resize",
		.run = run_resize,
	},
	{
		.name = "volume delete",
		.summary = "delete a volume and its data",
		.about =
			"Deletes every object of the volume and its journal, and takes it out of the configuration.\n"
			"A volume that is still mapped is refused. The file of a file: volume stays unless --delete-file.",
		.args = name_arg,
		.nargs = 1,
		.options = delete_options,
		.noptions = ARRAY_SIZE(delete_options),
		.example = "lungate volume delete disk0 --yes",
		.next = "The data is gone. With --keep-data it is not, and\n"
			"'lungate volume create NAME --existing --store ...' takes the volume in again.",
		.request = "volume.delete",
		.run = run_delete,
	},
};
const size_t cli_volume_ncommands = ARRAY_SIZE(cli_volume_commands);
