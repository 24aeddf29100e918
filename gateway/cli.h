/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line as data: commands, their arguments and options are rows
 * of tables; parsing, --help, suggestions and the request to the daemon are made from the same rows.
 *
 * Threads: the main thread of a command.
 */
#ifndef LUNGATE_GATEWAY_CLI_H
#define LUNGATE_GATEWAY_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/err.h"

struct cli;

enum cli_kind {
	CLI_FLAG,     /* no value */
	CLI_STRING,
	CLI_SIZE,     /* "10G"; checked here, sent as text */
	CLI_UINT,     /* sent as a number */
	CLI_CHOICE,   /* one of choices */
};

struct cli_option {
	const char *name;                /* without the dashes */
	char letter;                     /* 0 = none */
	enum cli_kind kind;
	const char *value;               /* what the value is called in --help */
	const char *help;
	const char *const *choices;      /* CLI_CHOICE, NULL-terminated */
	/** Where it goes in the request's args ("size", "volume.size"); NULL = it stays with the command. */
	const char *json;
	bool repeat;                     /* may be given more than once */
};

struct cli_arg {
	const char *name;                /* "NAME" */
	const char *help;
	bool optional;
	const char *json;                /* as for options; CLI_STRING, or a number when json_number */
	bool json_number;
};

#define CLI_ARGS_MAX 4
#define CLI_VALUES_MAX 48

struct cli_command {
	const char *name;                /* "volume create" */
	const char *summary;             /* one line, for the list */
	const char *about;               /* a few lines: what it does */
	const struct cli_arg *args;
	size_t nargs;
	const struct cli_option *options;
	size_t noptions;
	const char *example;
	const char *next;                /* what happens next, or what to type next */
	const char *request;             /* the control socket's command, where there is one */
	int (*run)(struct cli *cli);     /* returns an exit code */
};

struct cli {
	const struct cli_command *command;
	const char *args[CLI_ARGS_MAX];
	size_t nargs;
	struct {
		const struct cli_option *option;
		const char *value;
	} values[CLI_VALUES_MAX];
	size_t nvalues;
	bool help, version;
	/** "" unless a group without a command was named ("lungate volume --help", "lungate target acl --help"). */
	char group[96];
};

/** --json, --control, --config, --color, --help, --version: every command has them. */
extern const struct cli_option cli_common[];
extern const size_t cli_ncommon;

/** 0, or -EINVAL with words (which suggest the nearest known word). */
int cli_parse(const struct cli_command *commands, size_t n, int argc, char *const *argv, struct cli *ret,
	      struct errinfo *info);

/** The (last) value of an option, NULL when it was not given; the idx-th with cli_value_at. */
const char *cli_value(const struct cli *cli, const char *name);
const char *cli_value_at(const struct cli *cli, const char *name, size_t idx);
bool cli_has(const struct cli *cli, const char *name);

/** The request's args, from the rows that have a json place.  New reference. */
json_t *cli_request_args(const struct cli *cli);

/* -- help, cli_help.c -- */
void cli_print_overview(FILE *out, const struct cli_command *commands, size_t n, const char *group);
void cli_print_help(FILE *out, const struct cli_command *command);

#endif
