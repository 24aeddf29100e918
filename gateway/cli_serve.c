/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lungate serve */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/paths.h"
#include "gateway/serve.h"

static const char *const level_choices[] = {"error", "warn", "info", "debug", NULL};

static const struct cli_option serve_options[] = {
	{.name = "listen",
	 .kind = CLI_STRING,
	 .value = "ADDRESS:PORT",
	 .repeat = true,
	 .help = "accept iSCSI here instead of where the file says; port 0 = any free one"},
	{.name = "mount",
	 .kind = CLI_STRING,
	 .value = "DIRECTORY",
	 .help = "mount here instead of where the file says"},
	{.name = "no-mount", .help = "do not mount, whatever the file says"},
	{.name = "create-missing", .help = "create volumes of the file that their store does not hold yet"},
	{.name = "strict", .help = "do not start unless every volume opens and the mount works"},
	{.name = "accept-loss",
	 .kind = CLI_STRING,
	 .value = "VOLUME",
	 .repeat = true,
	 .help = "open this volume although its journal is missing or damaged: what only the journal held is lost"},
	{.name = "log-level",
	 .kind = CLI_CHOICE,
	 .value = "LEVEL",
	 .choices = level_choices,
	 .help = "error, warn, info or debug, instead of what the file says"},
	{.name = "ready-fd",
	 .kind = CLI_UINT,
	 .value = "FD",
	 .help = "write one line of JSON to this file descriptor when everything is up, then close it"},
};

static size_t
collect(const struct cli *cli, const char *name, const char **ret)
{
	size_t n = 0;

	while ((ret[n] = cli_value_at(cli, name, n)))
		n++;
	return n;
}

/* What can only be meant otherwise; NULL when nothing is. */
static const char *
misuse(const struct cli *cli)
{
	const char *fd = cli_value(cli, "ready-fd"), *mount = cli_value(cli, "mount");

	if (mount && cli_has(cli, "no-mount"))
		return "--mount and --no-mount say opposite things: give one of them";
	if (mount && !*mount)
		return "--mount: the directory's name is empty";
	/* whoever waits there would never be told */
	if (fd && (strtoul(fd, NULL, 10) > INT_MAX || fcntl((int)strtoul(fd, NULL, 10), F_GETFD) < 0))
		return "--ready-fd: no file is open with that number";
	return NULL;
}

static int
run_serve(struct cli *cli)
{
	const char *listen[CLI_VALUES_MAX + 1], *accept_loss[CLI_VALUES_MAX + 1];
	char *path = paths_config();
	const char *fd = cli_value(cli, "ready-fd");
	struct serve_options options = {
		.config_path = cli_value(cli, "config") ? cli_value(cli, "config") : path,
		.listen = listen,
		.nlisten = collect(cli, "listen", listen),
		.mount = cli_value(cli, "mount"),
		.no_mount = cli_has(cli, "no-mount"),
		.strict = cli_has(cli, "strict"),
		.create_missing = cli_has(cli, "create-missing"),
		.accept_loss = accept_loss,
		.naccept_loss = collect(cli, "accept-loss", accept_loss),
		.log_level = cli_value(cli, "log-level"),
		.ready_fd = fd ? (int)strtol(fd, NULL, 10) : -1,
	};
	struct errinfo info = {{0}};
	int r;

	if (misuse(cli)) {
		free(path);
		return client_misuse(cli, misuse(cli));
	}
	r = options.config_path ? serve_run(&options, &info) : -ENOMEM;
	free(path);
	return r ? client_fail(cli, r, &info) : EXIT_OK;
}

const struct cli_command cli_serve_commands[] = {
	{
		.name = "serve",
		.summary = "run the daemon: iSCSI, the mount, the control socket",
		.about =
			"Runs in the foreground until SIGINT (Ctrl-C) or SIGTERM, then stops cleanly: sessions are\n"
			"logged out, what is in the journal is brought into the store, the mount is taken away.\n"
			"A volume that cannot be opened does not stop the others: 'lungate status' shows it and why.",
		.options = serve_options,
		.noptions = ARRAY_SIZE(serve_options),
		.example =
			"mkdir -p /var/lib/lungate/store /etc/lungate\n"
			"echo '{\"listen\": [\"127.0.0.1:3260\"], \"mount\": {\"path\": \"/mnt/lungate\"}}' \\\n"
			"    > /etc/lungate/lungate.json\n"
			"lungate serve",
		.next = "It prints a line that begins with 'lungate: ready'. In another terminal:\n"
			"lungate volume create disk0 --size 10G --store dir:/var/lib/lungate/store",
		.run = run_serve,
	},
};
const size_t cli_serve_ncommands = ARRAY_SIZE(cli_serve_commands);
