/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --help, made from the same rows as the parser. */
#include <string.h>

#include "common/util.h"
#include "gateway/cli.h"
#include "gateway/exitcode.h"

#define HELP_COLUMN 30
#define HELP_WIDTH 96

/* Text wrapped at words, behind a column that already holds `used` characters. */
static void
print_wrapped(FILE *out, const char *text, int used, int indent)
{
	int col = used;

	if (col >= indent) {
		fputc('\n', out);
		col = 0;
	}
	for (; col < indent; col++)
		fputc(' ', out);
	while (*text) {
		int len = (int)strcspn(text, " ");

		if (col + len > HELP_WIDTH && col > indent) {
			fprintf(out, "\n%*s", indent, "");
			col = indent;
		}
		fprintf(out, "%.*s", len, text);
		col += len;
		text += len;
		if (*text == ' ') {
			text++;
			if (col < HELP_WIDTH && *text) {
				fputc(' ', out);
				col++;
			}
		}
	}
	fputc('\n', out);
}

static void
print_lines(FILE *out, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		fprintf(out, "  %.*s\n", (int)len, text);
		text += len + (text[len] == '\n');
	}
}

static void
print_option(FILE *out, const struct cli_option *option)
{
	int used = option->letter ? fprintf(out, "  -%c, ", option->letter) : fprintf(out, "      ");

	used += fprintf(out, "--%s%s%s", option->name, option->value ? " " : "",
			option->value ? option->value : "");
	print_wrapped(out, option->help, used, HELP_COLUMN);
}

void
cli_print_help(FILE *out, const struct cli_command *command)
{
	fprintf(out, "lungate %s - %s\n\nUsage:\n  lungate %s", command->name, command->summary,
		command->name);
	for (size_t i = 0; i < command->nargs; i++)
		fprintf(out, command->args[i].optional ? " [%s]" : " %s", command->args[i].name);
	fprintf(out, " [OPTION]...\n\n");
	print_lines(out, command->about);
	if (command->nargs) {
		fprintf(out, "\nArguments:\n");
		for (size_t i = 0; i < command->nargs; i++)
			print_wrapped(out, command->args[i].help, fprintf(out, "  %s", command->args[i].name),
				      HELP_COLUMN);
	}
	fprintf(out, "\nOptions:\n");
	for (size_t i = 0; i < command->noptions; i++)
		print_option(out, &command->options[i]);
	for (size_t i = 0; i < cli_ncommon; i++)
		print_option(out, &cli_common[i]);
	fprintf(out, "\nExample:\n");
	print_lines(out, command->example);
	fprintf(out, "\nWhat happens next:\n");
	print_lines(out, command->next);
}

void
cli_print_overview(FILE *out, const struct cli_command *commands, size_t n, const char *group)
{
	size_t len = strlen(group);

	if (!len)
		fprintf(out, "lungate serves iSCSI LUNs out of an object store, and shows every LUN,\n"
			     "chunk by chunk, through a FUSE mount.\n\n");
	fprintf(out, "Usage:\n  lungate %s%sCOMMAND [ARGUMENT]... [OPTION]...\n\nCommands:\n", group,
		len ? " " : "");
	for (size_t i = 0; i < n; i++)
		if (!len || (!strncmp(commands[i].name, group, len) && commands[i].name[len] == ' '))
			print_wrapped(out, commands[i].summary, fprintf(out, "  %s", commands[i].name), 22);
	fprintf(out, "\nOptions of every command:\n");
	for (size_t i = 0; i < cli_ncommon; i++)
		print_option(out, &cli_common[i]);
	if (len)
		return;
	fprintf(out, "\nA first LUN:\n"
		     "  lungate serve &\n"
		     "  lungate volume create disk0 --size 10G --store dir:/var/lib/lungate/store\n"
		     "  lungate target create iqn.2026-11.net.lungate:first\n"
		     "  lungate target map iqn.2026-11.net.lungate:first disk0\n"
		     "  lungate status\n\n"
		     "Exit codes:\n");
	for (const struct exit_code_row *row = exit_code_rows; row->name; row++)
		fprintf(out, "  %2d  %s\n", (int)row->code, row->meaning);
	fprintf(out,
		"\n'lungate COMMAND --help' explains one command; lungate(1) and lungate.json(5) explain all.\n");
}
