/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>

#include "common/util.h"
#include "gateway/cli_commands.h"

#define COMMANDS_MAX 96

const struct cli_command *
cli_all_commands(size_t *ret_n)
{
	static struct cli_command all[COMMANDS_MAX];
	static size_t n;
	static bool made;
	const struct {
		const struct cli_command *commands;
		size_t n;
	} groups[] = {
		{cli_serve_commands, cli_serve_ncommands},   {cli_volume_commands, cli_volume_ncommands},
		{cli_target_commands, cli_target_ncommands}, {cli_access_commands, cli_access_ncommands},
		{cli_portal_commands, cli_portal_ncommands}, {cli_session_commands, cli_session_ncommands},
		{cli_status_commands, cli_status_ncommands}, {cli_config_commands, cli_config_ncommands},
		{cli_store_commands, cli_store_ncommands},
	};

	for (size_t i = 0; !made && i < ARRAY_SIZE(groups); i++) {
		for (size_t k = 0; k < groups[i].n; k++) {
			assert(n < COMMANDS_MAX);
			all[n++] = groups[i].commands[k];
		}
	}
	made = true;
	*ret_n = n;
	return all;
}
