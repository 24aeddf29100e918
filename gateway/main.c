/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One program: `lungate COMMAND`.  What the commands are stands in the cli_*.c files. */
#include <locale.h>
#include <stdio.h>

#include "common/jsonconf.h"
#include "gateway/cli_commands.h"
#include "gateway/exitcode.h"

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
		fprintf(stderr, "lungate: %s\n", info.text);
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
