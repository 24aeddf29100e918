/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One program: `lungate COMMAND`.  What the commands are stands in the cli_*.c files. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "common/jsonconf.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"

/* Asked of a command line that could not be read. */
static bool
wants_json(int argc, char *const *argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--json") || !strcmp(argv[i], "-j"))
			return true;
	return false;
}

int
main(int argc, char **argv)
{
	const struct cli_command *commands;
	struct errinfo info = {{0}};
	struct cli cli;
	size_t n;

	json_wipe_freed();
	(void)setlocale(LC_CTYPE, ""); /* for the characters of the chunk map alone */
	commands = cli_all_commands(&n);
	if (argc < 2) {
		cli_print_overview(stderr, commands, n, "");
		return EXIT_USAGE;
	}
	if (cli_parse(commands, n, argc, argv, &cli, &info)) {
		client_print_failure(wants_json(argc, argv), -EINVAL, info.text);
		return EXIT_USAGE;
	}
	if (cli.version) {
		printf("lungate %s\n", PACKAGE_VERSION);
		return EXIT_OK;
	}
	if (cli.help) {
		if (cli.command)
			cli_print_help(stdout, cli.command);
		else
			cli_print_overview(stdout, commands, n, cli.group);
		return EXIT_OK;
	}
	return cli.command->run(&cli);
}
