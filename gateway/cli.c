/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parsing of the command line.
 *
 * "lungate WORD [WORD] [ARGUMENT...] [--option[=VALUE]]...": options may stand anywhere after the command's
 * words, "--" ends them.  Nothing is printed here: errors come back as words.
 */
#include "gateway/cli.h"

#include <stdlib.h>
#include <string.h>

#include "common/nearest.h"
#include "common/util.h"

static const char *const color_choices[] = {"auto", "always", "never", NULL};

const struct cli_option cli_common[] = {
	{.name = "json", .letter = 'j', .help = "print the answer as JSON, for programs"},
	{.name = "control", .kind = CLI_STRING, .value = "SOCKET", .help = "the daemon's control socket"},
	{.name = "config",
	 .letter = 'c',
	 .kind = CLI_STRING,
	 .value = "FILE",
	 .help = "the daemon's configuration file"},
	{.name = "color",
	 .kind = CLI_CHOICE,
	 .value = "WHEN",
	 .choices = color_choices,
	 .help = "colours: auto (on a terminal), always, never"},
	{.name = "help", .letter = 'h', .help = "show this help"},
	{.name = "version", .letter = 'V', .help = "show the version"},
};
const size_t cli_ncommon = ARRAY_SIZE(cli_common);

#define WORD_MAX 32
#define COMMANDS_MAX 64

static const struct cli_option *
find_option(const struct cli_command *command, const char *name, size_t len, char letter)
{
	for (int common = 0; common < 2; common++) {
		const struct cli_option *options = common ? cli_common : command ? command->options : NULL;
		size_t n = common ? cli_ncommon : command ? command->noptions : 0;

		for (size_t i = 0; i < n; i++) {
			if (letter ? options[i].letter == letter
				   : strlen(options[i].name) == len && !memcmp(options[i].name, name, len))
				return &options[i];
		}
	}
	return NULL;
}

static int
unknown_option(const struct cli_command *command, const char *name, struct errinfo *info)
{
	const char *near = NULL;

	if (command && command->noptions)
		near = nearest_word(name, &command->options[0].name, command->noptions,
				    sizeof(struct cli_option));
	if (!near)
		near = nearest_word(name, &cli_common[0].name, cli_ncommon, sizeof(struct cli_option));
	if (near)
		return err_set(info, -EINVAL, "unknown option --%s; did you mean --%s?", name, near);
	return err_set(info, -EINVAL, "unknown option --%s; see 'lungate %s%s--help'", name,
		       command ? command->name : "", command ? " " : "");
}

static int
bad_size(const char *name, const char *value, int err, struct errinfo *info)
{
	if (err == -ERANGE)
		return err_set(info, -EINVAL, "--%s: '%s' is larger than any size can be", name, value);
	return err_set(info, -EINVAL, "--%s: '%s' is not a size; write 10G, 512M or plain bytes", name,
		       value);
}

/* "a, b or c" */
static int
bad_choice(const struct cli_option *option, const char *value, struct errinfo *info)
{
	char list[128] = "";
	size_t len = 0;

	for (size_t i = 0; option->choices[i] && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
					!i                       ? ""
					: option->choices[i + 1] ? ", "
								 : " or ",
					option->choices[i]);
	return err_set(info, -EINVAL, "--%s: '%s' is not one of the choices: %s", option->name, value, list);
}

static int
check_value(const struct cli_option *option, const char *value, struct errinfo *info)
{
	uint64_t bytes;
	char *end;
	int r;

	switch (option->kind) {
	case CLI_SIZE:
		r = size_parse(value, &bytes);
		if (r)
			return bad_size(option->name, value, r, info);
		break;
	case CLI_UINT:
		errno = 0;
		if (*value < '0' || *value > '9' || (strtoull(value, &end, 10), *end) || errno)
			return err_set(info, -EINVAL, "--%s: '%s' is not a whole number", option->name,
				       value);
		break;
	case CLI_CHOICE:
		for (size_t i = 0; option->choices[i]; i++)
			if (!strcmp(option->choices[i], value))
				return 0;
		return bad_choice(option, value, info);
	case CLI_FLAG:
	case CLI_STRING:
		break;
	}
	return 0;
}

static int
take_option(struct cli *cli, const struct cli_option *option, const char *value, struct errinfo *info)
{
	int r;

	if (!option->repeat)
		for (size_t i = 0; i < cli->nvalues; i++)
			if (cli->values[i].option == option)
				return err_set(info, -EINVAL, "--%s is given twice", option->name);
	if (cli->nvalues == CLI_VALUES_MAX)
		return err_set(info, -EINVAL, "too many options");
	r = value ? check_value(option, value, info) : 0;
	if (r)
		return r;
	cli->values[cli->nvalues].option = option;
	cli->values[cli->nvalues++].value = value;
	if (option >= cli_common && option < cli_common + cli_ncommon) {
		cli->help |= !strcmp(option->name, "help");
		cli->version |= !strcmp(option->name, "version");
	}
	return 0;
}

/* One word that begins with a dash; *idx moves past a value that stands apart. */
static int
parse_option(struct cli *cli, int argc, char *const *argv, int *idx, struct errinfo *info)
{
	const char *word = argv[*idx], *name, *equals, *value = NULL;
	const struct cli_option *option;

	if (word[1] != '-') {
		if (word[2])
			return err_set(info, -EINVAL, "short options stand alone: '%s' is not one", word);
		option = find_option(cli->command, NULL, 0, word[1]);
		if (!option)
			return err_set(info, -EINVAL, "unknown option %s; see 'lungate %s%s--help'", word,
				       cli->command ? cli->command->name : "", cli->command ? " " : "");
		equals = NULL;
	} else {
		char text[WORD_MAX * 2];
		size_t len;

		name = word + 2;
		equals = strchr(name, '=');
		len = equals ? (size_t)(equals - name) : strlen(name);
		option = find_option(cli->command, name, len, 0);
		if (!option) {
			len = min_of(len, sizeof(text) - 1);
			memcpy(text, name, len);
			text[len] = 0;
			return unknown_option(cli->command, text, info);
		}
	}
	if (option->kind == CLI_FLAG) {
		if (equals)
			return err_set(info, -EINVAL, "--%s takes no value", option->name);
	} else if (equals) {
		value = equals + 1;
	} else if (*idx + 1 < argc) {
		value = argv[++*idx];
	} else {
		return err_set(info, -EINVAL, "--%s needs a value: --%s %s", option->name, option->name,
			       option->value);
	}
	return take_option(cli, option, value, info);
}

/* "target acl" of "target acl add" are two words. */
static size_t
words_len(const char *name, unsigned words)
{
	const char *at = name;

	for (;;) {
		at += strcspn(at, " ");
		if (--words == 0 || !*at)
			return (size_t)(at - name);
		at++;
	}
}

static bool
is_group(const struct cli_command *commands, size_t n, const char *words)
{
	size_t len = strlen(words);

	for (size_t i = 0; i < n; i++)
		if (!strncmp(commands[i].name, words, len) && commands[i].name[len] == ' ')
			return true;
	return false;
}

static int
unknown_command(const struct cli_command *commands, size_t n, const char *text, unsigned count,
		struct errinfo *info)
{
	char words[COMMANDS_MAX][WORD_MAX];
	const char *known[COMMANDS_MAX], *near;

	/* as many words are compared as there are */
	n = min_of(n, (size_t)COMMANDS_MAX);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(words[i], WORD_MAX, "%.*s", (int)words_len(commands[i].name, count),
			       commands[i].name);
		known[i] = words[i];
	}
	near = nearest_word(text, known, n, sizeof(known[0]));
	if (near)
		return err_set(info, -EINVAL, "unknown command '%s'; did you mean '%s'?", text, near);
	return err_set(info, -EINVAL, "unknown command '%s'; 'lungate --help' lists them", text);
}

/* Find the command in front of argv, of as many words as it takes; *idx becomes the first word behind it. */
static int
find_command(const struct cli_command *commands, size_t n, int argc, char *const *argv, struct cli *cli,
	     int *idx, struct errinfo *info)
{
	char text[3 * WORD_MAX] = "";
	size_t len = 0;

	for (*idx = 1; *idx < argc && argv[*idx][0] != '-'; ++*idx) {
		const char *word = argv[*idx];

		if (strlen(word) >= WORD_MAX || len + 1 + strlen(word) >= sizeof(text))
			return err_set(info, -EINVAL, "unknown command '%s%s%.40s...'", text, len ? " " : "",
				       word);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "", word);
		for (size_t i = 0; i < n; i++) {
			if (!strcmp(commands[i].name, text)) {
				cli->command = &commands[i];
				cli->group[0] = 0;
				++*idx;
				return 0;
			}
		}
		if (!is_group(commands, n, text))
			return unknown_command(commands, n, text, (unsigned)*idx, info);
		(void)snprintf(cli->group, sizeof(cli->group), "%s", text);
	}
	return 0;
}

/* What goes into JSON is text; a path may hold any bytes. */
static bool
is_text(const char *value)
{
	json_t *text = json_string(value);
	bool yes = text;

	json_decref(text);
	return yes;
}

static int
check_text(const struct cli *cli, struct errinfo *info)
{
	for (size_t i = 0; i < cli->nargs; i++)
		if (cli->command->args[i].json && !is_text(cli->args[i]))
			return err_set(info, -EINVAL, "%s: its bytes are not UTF-8",
				       cli->command->args[i].name);
	for (size_t i = 0; i < cli->nvalues; i++)
		if (cli->values[i].option->json && cli->values[i].value && !is_text(cli->values[i].value))
			return err_set(info, -EINVAL, "--%s: its bytes are not UTF-8",
				       cli->values[i].option->name);
	return 0;
}

static int
check_args(const struct cli *cli, struct errinfo *info)
{
	const struct cli_command *command = cli->command;

	if (cli->nargs < command->nargs && !command->args[cli->nargs].optional)
		return err_set(info, -EINVAL, "%s is missing: %s; see 'lungate %s --help'",
			       command->args[cli->nargs].name, command->args[cli->nargs].help, command->name);
	for (size_t i = 0; i < cli->nargs; i++) {
		const struct cli_option number = {.name = command->args[i].name, .kind = CLI_UINT};

		if (command->args[i].json_number && check_value(&number, cli->args[i], info))
			return err_set(info, -EINVAL, "%s: '%s' is not a whole number", command->args[i].name,
				       cli->args[i]);
	}
	return check_text(cli, info);
}

int
cli_parse(const struct cli_command *commands, size_t n, int argc, char *const *argv, struct cli *ret,
	  struct errinfo *info)
{
	bool words_only = false, help = argc > 1 && !strcmp(argv[1], "help");
	int idx = 1, r;

	memset(ret, 0, sizeof(*ret));
	if (help) { /* "lungate help COMMAND" is "lungate COMMAND --help" */
		argc--;
		argv++;
	}
	if (argc > 1 && argv[1][0] != '-') {
		r = find_command(commands, n, argc, argv, ret, &idx, info);
		if (r)
			return r;
	}
	for (; idx < argc; idx++) {
		if (!words_only && !strcmp(argv[idx], "--")) {
			words_only = true;
		} else if (!words_only && argv[idx][0] == '-' && argv[idx][1]) {
			r = parse_option(ret, argc, argv, &idx, info);
			if (r)
				return r;
		} else if (!ret->command) {
			return err_set(info, -EINVAL, "the command comes first: lungate %s ...", argv[idx]);
		} else if (ret->nargs == ret->command->nargs) {
			return err_set(info, -EINVAL, "'%s' is one word too many; see 'lungate %s --help'",
				       argv[idx], ret->command->name);
		} else {
			ret->args[ret->nargs++] = argv[idx];
		}
	}
	ret->help |= help;
	if (ret->help || ret->version)
		return 0;
	if (!ret->command)
		return ret->group[0]
			       ? err_set(info, -EINVAL,
					 "'%s' needs one more word; 'lungate %s --help' lists them",
					 ret->group, ret->group)
			       : err_set(info, -EINVAL, "a command is missing; 'lungate --help' lists them");
	return check_args(ret, info);
}

const char *
cli_value_at(const struct cli *cli, const char *name, size_t idx)
{
	for (size_t i = 0; i < cli->nvalues; i++)
		if (!strcmp(cli->values[i].option->name, name) && idx-- == 0)
			return cli->values[i].value;
	return NULL;
}

const char *
cli_value(const struct cli *cli, const char *name)
{
	return cli_value_at(cli, name, 0);
}

bool
cli_has(const struct cli *cli, const char *name)
{
	for (size_t i = 0; i < cli->nvalues; i++)
		if (!strcmp(cli->values[i].option->name, name))
			return true;
	return false;
}

/* place is "key" or "object.key". */
static void
put(json_t *args, const char *place, json_t *value)
{
	const char *dot = strchr(place, '.');
	char object[WORD_MAX];

	if (dot) {
		json_t *inner;

		snprintf(object, sizeof(object), "%.*s", (int)(dot - place), place);
		inner = json_object_get(args, object);
		if (!inner) {
			inner = json_object();
			json_object_set_new(args, object, inner);
		}
		args = inner;
		place = dot + 1;
	}
	json_object_set_new(args, place, value);
}

json_t *
cli_request_args(const struct cli *cli)
{
	json_t *args = json_object();

	for (size_t i = 0; i < cli->nargs; i++) {
		const struct cli_arg *arg = &cli->command->args[i];

		if (arg->json)
			put(args, arg->json,
			    arg->json_number ? json_integer(strtoll(cli->args[i], NULL, 10))
					     : json_string(cli->args[i]));
	}
	for (size_t i = 0; i < cli->nvalues; i++) {
		const struct cli_option *option = cli->values[i].option;
		const char *value = cli->values[i].value;

		if (!option->json)
			continue;
		if (option->kind == CLI_FLAG)
			put(args, option->json, json_true());
		else if (option->kind == CLI_UINT)
			put(args, option->json, json_integer(strtoll(value, NULL, 10)));
		else
			put(args, option->json, json_string(value));
	}
	return args;
}
