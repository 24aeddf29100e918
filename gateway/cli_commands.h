/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The subcommands, one file a group.  Threads: main. */
#ifndef LUNGATE_GATEWAY_CLI_COMMANDS_H
#define LUNGATE_GATEWAY_CLI_COMMANDS_H

#include "gateway/cli.h"

extern const struct cli_command cli_serve_commands[];
extern const size_t cli_serve_ncommands;
extern const struct cli_command cli_volume_commands[];
extern const size_t cli_volume_ncommands;
extern const struct cli_command cli_target_commands[];
extern const size_t cli_target_ncommands;
extern const struct cli_command cli_access_commands[];
extern const size_t cli_access_ncommands;
extern const struct cli_command cli_portal_commands[];
extern const size_t cli_portal_ncommands;
extern const struct cli_command cli_session_commands[];
extern const size_t cli_session_ncommands;
extern const struct cli_command cli_status_commands[];
extern const size_t cli_status_ncommands;
extern const struct cli_command cli_config_commands[];
extern const size_t cli_config_ncommands;
extern const struct cli_command cli_store_commands[];
extern const size_t cli_store_ncommands;

/** A session as `target show` and `session list --long` print it: connections, negotiated keys, counters. */
void cli_print_session(const json_t *session);

/** The portal groups of a target, as `target show` prints them. */
void cli_print_paths(const json_t *target);

/** Who may log in to a target, and with which accounts, as `target show` prints it. */
void cli_print_access(const json_t *target);

/** All of them in one array, made once; *ret_n of them. */
const struct cli_command *cli_all_commands(size_t *ret_n);

#endif
