/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lungate status, map */
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/mapdraw.h"
#include "gateway/textout.h"

#define MAP_ROWS 16

static const struct cli_option status_options[] = {
	{.name = "metrics", .help = "print the metrics (Prometheus text) instead"},
};

static const struct cli_arg map_arg[] = {{.name = "VOLUME", .help = "the volume's name", .json = "name"}};
static const struct cli_option map_options[] = {
	{.name = "first", .kind = CLI_UINT, .value = "CHUNK", .json = "first", .help = "begin at this chunk"},
	{.name = "end", .kind = CLI_UINT, .value = "CHUNK", .json = "end", .help = "end before this chunk"},
	{.name = "rows", .kind = CLI_UINT, .value = "N", .help = "draw at most so many lines; default 16"},
	{.name = "width", .kind = CLI_UINT, .value = "N", .help = "columns to use; default: the terminal's"},
};

/* -- status
 * --------------------------------------------------------------------------------------------------- */

static const char *
duration(json_int_t s, char *buf, size_t len)
{
	if (s >= 86400)
		(void)snprintf(buf, len, "%lldd %lldh", (long long)s / 86400, (long long)s % 86400 / 3600);
	else if (s >= 3600)
		(void)snprintf(buf, len, "%lldh %lldm", (long long)s / 3600, (long long)s % 3600 / 60);
	else if (s >= 60)
		(void)snprintf(buf, len, "%lldm %llds", (long long)s / 60, (long long)s % 60);
	else
		(void)snprintf(buf, len, "%llds", (long long)s);
	return buf;
}

static void
print_daemon(const json_t *status)
{
	const json_t *memory = json_object_get(status, "memory"), *mount = json_object_get(status, "mount");
	const json_t *listen = json_object_get(status, "listen"), *address;
	char text[2][16], up[32];
	size_t i;

	printf("lungate %s  %s, up %s, pid %lld, %llu threads\n", client_text(status, "version"),
	       client_text(status, "state"),
	       duration((json_int_t)client_number(status, "uptime_s"), up, sizeof(up)),
	       (long long)client_number(status, "pid"), client_number(status, "threads"));
	if (json_string_value(json_object_get(status, "doing")))
		printf("  doing    %s\n", client_text(status, "doing"));
	printf("  iSCSI    ");
	json_array_foreach(listen, i, address) printf("%s%s", i ? ", " : "", json_string_value(address));
	printf("%s; %llu %s\n", i ? "" : "no portal", client_number(status, "session_count"),
	       client_number(status, "session_count") == 1 ? "session" : "sessions");
	if (json_is_object(mount))
		printf("  mount    %s%s%s\n", client_text(mount, "path"),
		       json_is_true(json_object_get(mount, "mounted")) ? "" : "  NOT MOUNTED: ",
		       json_is_true(json_object_get(mount, "mounted")) ? "" : client_text(mount, "error"));
	else
		printf("  mount    none\n");
	if (json_is_object(memory))
		printf("  memory   %s, %s free\n",
		       size_format(client_number(memory, "total"), text[0], sizeof(text[0])),
		       size_format(client_number(memory, "free"), text[1], sizeof(text[1])));
	printf("  disk     %s; CRC32C %s\n", client_text(status, "disk_engine"),
	       client_text(status, "crc32c"));
	printf("  config   %s\n", client_text(status, "config"));
}

/* What of a volume's object store deserves a look. */
static void
print_stores(const json_t *volumes)
{
	const json_t *row, *endpoint;
	size_t i, k;

	json_array_foreach(volumes, i, row)
	{
		const json_t *store = json_object_get(row, "object_store");

		if (!json_is_object(store))
			continue;
		if (!strcmp(client_text(store, "fence"), "unfenced"))
			printf("%s: UNFENCED: the store's conditional PUTs do not hold; the lease alone keeps two "
			       "gateways apart\n",
			       client_text(row, "name"));
		json_array_foreach(json_object_get(store, "endpoints"), k, endpoint)
		{
			if (strcmp(client_text(endpoint, "state"), "answers") != 0)
				printf("%s: %s does not answer and is left out for now\n",
				       client_text(row, "name"), client_text(endpoint, "url"));
		}
	}
}

static void
print_volumes(const json_t *volumes, bool color)
{
	static const char *const headings[] = {"VOLUME", "STATE", "SIZE", "USED", "STORE", NULL};
	struct table table;
	const json_t *row;
	size_t i;

	if (!json_array_size(volumes)) {
		printf("\nno volumes yet; make one: lungate volume create disk0 --size 10G --store dir:/PATH\n");
		return;
	}
	printf("\n");
	table_init(&table, headings, 1u << 2 | 1u << 3);
	json_array_foreach(volumes, i, row)
	{
		char size[16], used[16];

		table_row(&table, client_text(row, "name"), client_text(row, "state"),
			  size_format(client_number(row, "size"), size, sizeof(size)),
			  size_format(client_number(row, "allocated"), used, sizeof(used)),
			  client_text(row, "store"));
	}
	table_print(&table, stdout);
	table_fini(&table);
	print_stores(volumes);
	json_array_foreach(volumes, i, row)
	{
		const json_t *error = json_object_get(row, "error");

		if (json_is_object(error))
			printf("%s%s: %s%s\n", color ? "\033[31m" : "", client_text(row, "name"),
			       client_text(error, "text"), color ? "\033[0m" : "");
	}
}

static void
print_targets(const json_t *targets)
{
	static const char *const headings[] = {"TARGET", "LUN", "VOLUME", "SESSIONS", NULL};
	struct table table;
	const json_t *row, *lun;
	size_t i, k;

	if (!json_array_size(targets)) {
		printf("\nno targets yet; make one: lungate target create iqn.2026-11.net.example:disks\n");
		return;
	}
	printf("\n");
	table_init(&table, headings, 1u << 1 | 1u << 3);
	json_array_foreach(targets, i, row)
	{
		char sessions[24], number[24];

		(void)snprintf(sessions, sizeof(sessions), "%llu", client_number(row, "session_count"));
		if (!json_array_size(json_object_get(row, "luns")))
			table_row(&table, client_text(row, "name"), "-", "-", sessions);
		json_array_foreach(json_object_get(row, "luns"), k, lun)
		{
			(void)snprintf(number, sizeof(number), "%llu", client_number(lun, "lun"));
			table_row(&table, k ? "" : client_text(row, "name"), number,
				  client_text(lun, "volume"), k ? "" : sessions);
		}
	}
	table_print(&table, stdout);
	table_fini(&table);
}

static int
run_status(struct cli *cli)
{
	bool metrics = cli_has(cli, "metrics");
	struct errinfo info = {{0}};
	json_t *result = NULL;
	int r = client_request(cli, metrics ? "metrics" : "status", json_object(), &result, &info);

	if (r)
		return client_fail(cli, r, &info);
	if (client_json(cli, result)) {
		/* printed */
	} else if (metrics) {
		fputs(json_string_value(result), stdout);
	} else {
		print_daemon(result);
		print_volumes(json_object_get(result, "volumes"),
			      color_wanted(cli_value(cli, "color"), stdout));
		print_targets(json_object_get(result, "targets"));
	}
	json_decref(result);
	return EXIT_OK;
}

/* -- map
 * -------------------------------------------------------------------------------------------------------- */

static unsigned
number_option(const struct cli *cli, const char *name, unsigned otherwise, unsigned least, unsigned most)
{
	const char *text = cli_value(cli, name);
	unsigned long long n = text ? strtoull(text, NULL, 10) : otherwise;

	return (unsigned)min_of(max_of(n, (unsigned long long)least), (unsigned long long)most);
}

static int
draw(const json_t *map, const struct map_style *style)
{
	const json_t *array = json_object_get(map, "cells"), *row;
	size_t i, n = json_array_size(array);
	struct map_cell *cells = calloc(n + 1, sizeof(*cells));
	uint64_t present = 0, dirty = 0, allocated = 0, chunks = 0;
	char text[3][16];

	if (!cells)
		return EXIT_NO_SPACE;
	json_array_foreach(array, i, row)
	{
		cells[i] = (struct map_cell){.first = client_number(row, "first"),
					     .chunks = client_number(row, "chunks"),
					     .clean = client_number(row, "clean"),
					     .dirty = client_number(row, "dirty")};
		chunks += cells[i].chunks;
		present += cells[i].clean + cells[i].dirty;
		dirty += cells[i].dirty;
		allocated += client_number(row, "allocated");
	}
	printf("%s: %s in chunks of %s; one cell is %llu %s\n\n", client_text(map, "name"),
	       size_format(client_number(map, "size"), text[0], sizeof(text[0])),
	       size_format(style->chunk_size, text[1], sizeof(text[1])),
	       client_number(map, "chunks_per_cell"),
	       client_number(map, "chunks_per_cell") == 1 ? "chunk" : "chunks");
	mapdraw_print(stdout, cells, n, style);
	printf("\n%llu of %llu chunks are there, %llu of them newer in the journal; %s in the store\n",
	       (unsigned long long)present, (unsigned long long)chunks, (unsigned long long)dirty,
	       size_format(allocated, text[2], sizeof(text[2])));
	free(cells);
	return EXIT_OK;
}

static int
run_map(struct cli *cli)
{
	struct map_style style = {
		.width = number_option(cli, "width", terminal_width(stdout), 20, 10000),
		.color = color_wanted(cli_value(cli, "color"), stdout),
		.utf8 = terminal_utf8(),
	};
	unsigned rows = number_option(cli, "rows", MAP_ROWS, 1, 500);
	json_t *args = cli_request_args(cli), *result = NULL;
	struct errinfo info = {{0}};
	int r, code = EXIT_OK;

	json_object_set_new(args, "cells", json_integer((json_int_t)rows * mapdraw_cells(style.width)));
	r = client_request(cli, cli->command->request, args, &result, &info);
	if (r)
		return client_fail(cli, r, &info);
	style.chunk_size = client_number(result, "chunk_size");
	if (!client_json(cli, result))
		code = draw(result, &style);
	json_decref(result);
	return code;
}

const struct cli_command cli_status_commands[] = {
	{
		.name = "status",
		.summary = "what the daemon is doing: volumes, targets, sessions, memory",
		.about = "Asks the running daemon. The same is in the mount: status.json, metrics.",
		.options = status_options,
		.noptions = ARRAY_SIZE(status_options),
		.example = "lungate status",
		.next = "Details: lungate volume show NAME; lungate target show TARGET; lungate map NAME",
		.request = "status",
		.run = run_status,
	},
	{
		.name = "map",
		.summary = "draw a volume's chunk map",
		.about =
			"Every cell stands for a range of chunks: empty, partly or wholly in the store, or newer in the\n"
			"journal than in the store.",
		.args = map_arg,
		.nargs = 1,
		.options = map_options,
		.noptions = ARRAY_SIZE(map_options),
		.example = "lungate map disk0 --rows 8",
		.next = "Look closer with --first and --end; chunk by chunk in the mount: volumes/NAME/map and chunks/.",
		.request = "map",
		.run = run_map,
	},
};
const size_t cli_status_ncommands = ARRAY_SIZE(cli_status_commands);
