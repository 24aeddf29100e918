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
extern const struct cli_command cli_status_commands[];
extern const size_t cli_status_ncommands;
extern const struct cli_command cli_config_commands[];
extern const size_t cli_config_ncommands;
extern const struct cli_command cli_store_commands[];
extern const size_t cli_store_ncommands;

/** All of them in one array, made once; *ret_n of them. */
const struct cli_command *cli_all_commands(size_t *ret_n);

#endif
