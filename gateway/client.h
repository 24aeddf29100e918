/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line's end of the control socket.  Holds no logic: asks, shows progress, hands the answer on.
 *
 * Threads: the command's main thread.
 */
#ifndef LUNGATE_GATEWAY_CLIENT_H
#define LUNGATE_GATEWAY_CLIENT_H

#include <jansson.h>

#include "common/err.h"
#include "gateway/cli.h"

/** Send the command's request with args (stolen) and wait.  0 and a new reference in *ret (may be NULL), or an error
 *  with the daemon's words; -ECONNREFUSED with words on how to start one when nobody listens. */
int client_request(const struct cli *cli, const char *cmd, json_t *args, json_t **ret, struct errinfo *info);

/** client_request() with the command's own request and arguments.  Prints the failure; returns an exit code, 0 with
 *  *ret set. */
int client_run(const struct cli *cli, json_t **ret);

/** Print a failure (as JSON with --json) and return its exit code. */
int client_fail(const struct cli *cli, int err, const struct errinfo *info);

/** The same for a command line that could not be read. */
void client_print_failure(bool json, int err, const char *text);

/** The command line is not right in a way that its table cannot tell: print what is, EXIT_USAGE. */
int client_misuse(const struct cli *cli, const char *text);

/** Members of an answer, for people: "-" where there is no text, 0 where there is no number. */
const char *client_text(const json_t *object, const char *key);
unsigned long long client_number(const json_t *object, const char *key);

/** With --json: print value and return true. */
bool client_json(const struct cli *cli, const json_t *value);

#endif
