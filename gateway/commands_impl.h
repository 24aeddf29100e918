/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the control socket's commands share.
 *
 * Threads: a client's thread each.
 */
#ifndef LUNGATE_GATEWAY_COMMANDS_IMPL_H
#define LUNGATE_GATEWAY_COMMANDS_IMPL_H

#include "gateway/admin.h"
#include "gateway/config.h"

/** Take `change`, or say why nothing can be changed now. */
int command_begin_change(struct admin_call *call);
/** Give it back; returns r. */
int command_end_change(struct admin_call *call, int r);
/** Did whoever asked name this key?  An argument that was not is 0 or NULL. */
bool command_said(const struct admin_call *call, const char *key);
/** Sessions and rules can be looked at while the daemon runs. */
int command_check_running(struct admin_call *call);

/* -- commands_access.c: accounts and lists of initiators -- */

struct access_acl_args {
	char *target;
	struct acl_change change;
};
struct access_account_args {
	char *target;
	struct account_change change;
};
struct access_list_args {
	char *target;
};
extern const struct json_key access_acl_keys[7], access_account_keys[7], access_list_keys[1];
int access_run_acl_add(struct admin_call *call);
int access_run_acl_remove(struct admin_call *call);
int access_run_acl_list(struct admin_call *call);
int access_run_account_add(struct admin_call *call);
int access_run_account_remove(struct admin_call *call);
int access_run_account_list(struct admin_call *call);

/* -- commands_portal.c: portals, ways to targets, sessions -- */

struct portal_args {
	char *address;
	uint64_t group, grace;
	bool keep_sessions;
};
struct redirect_args {
	char *address, *target, *to; /* one of the first two */
	bool permanent;
};
struct groups_args {
	char *target;
	json_t *groups;
};
struct alua_args {
	char *target;
	uint64_t group;
	int state;
};
struct session_args {
	char *id, *initiator, *target;
	uint64_t grace;
};
extern const struct json_key portal_keys[4], portal_redirect_keys[3], target_redirect_keys[3], target_groups_keys[2],
	target_alua_keys[3], session_list_keys[1], session_kick_keys[4];
int portal_run_list(struct admin_call *call);
int portal_run_add(struct admin_call *call);
int portal_run_remove(struct admin_call *call);
int portal_run_redirect(struct admin_call *call);
int target_run_redirect(struct admin_call *call);
int target_run_groups(struct admin_call *call);
int target_run_alua(struct admin_call *call);
int session_run_list(struct admin_call *call);
int session_run_kick(struct admin_call *call);

#endif
