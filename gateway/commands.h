/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's commands, as admin.c takes them.  Threads: a client's thread each. */
#ifndef LUNGATE_GATEWAY_COMMANDS_H
#define LUNGATE_GATEWAY_COMMANDS_H

#include "gateway/admin.h"

/** context of admin_open(): struct daemon. */
extern const struct admin_command daemon_commands[];
extern const size_t daemon_ncommands;

#endif
