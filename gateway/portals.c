/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's portals, and the ways that lead from their groups to targets.
 *
 * Changes are carried out first and written into the configuration last; where that fails they are taken back. Changes of
 * ways are written first: nothing of them can fail afterwards.
 *
 * A group is known to a target (as an ALUA port group) once it has a portal and leads there; when that ends it is
 * unavailable, until another group needs its place.  A group without portals that no target names is forgotten.  At its
 * beginning it is in the state that an initiator has set last (SET TARGET PORT GROUPS), if one has since the operator's
 * last word, else in the state of the configuration.
 *
 * Threads: start-up and the threads of control-socket clients; all may block.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"
#include "gateway/daemon.h"

/* -- the list -------------------------------------------------------------------------------------------- */

/* What is bound is unique, what is written need not be ("127.0.0.1:0"). */
static int
find_portal(struct daemon *daemon, const char *address, struct daemon_portal **ret, struct errinfo *info)
{
	*ret = NULL;
	for (size_t i = 0; i < daemon->nportals; i++) {
		if (!strcmp(daemon->portals[i].bound, address)) {
			*ret = &daemon->portals[i];
			return 0;
		}
	}
	for (size_t i = 0; i < daemon->nportals; i++) {
		if (strcmp(daemon->portals[i].address, address) != 0)
			continue;
		if (*ret)
			return err_set(
				info, -EINVAL,
				"several portals are written \"%.80s\": name one as 'lungate portal list' "
				"shows it, with its port",
				address);
		*ret = &daemon->portals[i];
	}
	return *ret ? 0
		    : err_set(info, -ENOENT, "there is no portal \"%.80s\"; 'lungate portal list' shows them",
			      address);
}

static bool
group_has_portal(const struct daemon *daemon, uint16_t tag)
{
	for (size_t i = 0; i < daemon->nportals; i++)
		if (daemon->portals[i].group == tag)
			return true;
	return false;
}

/* Of the configuration, or of a portal that was added. */
static bool
group_is_known(const struct daemon *daemon, uint16_t tag)
{
	for (size_t i = 0; i < daemon->config.ngroups; i++)
		if (daemon->config.groups[i] == tag)
			return true;
	return false;
}

/* -- ALUA ------------------------------------------------------------------------------------------------ */

static bool
leads(const struct config_paths *paths, uint16_t tag)
{
	for (size_t i = 0; i < paths->ngroups; i++)
		if (paths->groups[i] == tag)
			return true;
	return !paths->ngroups;
}

static int
configured_state(const struct config_paths *paths, uint16_t tag)
{
	for (size_t i = 0; i < paths->nalua; i++)
		if (paths->alua[i].group == tag)
			return paths->alua[i].state;
	return SCSI_ACCESS_OPTIMIZED;
}

/* The group begins or ends to be a way to the target, or its state was changed. */
static int
apply_group(const struct daemon *daemon, struct daemon_target *target, uint16_t tag)
{
	int r;

	if (!leads(&target->paths, tag) || !group_has_portal(daemon, tag)) {
		scsi_target_drop_group(target->scsi, tag);
		return 0;
	}
	r = scsi_target_add_group(target->scsi, tag);
	return r ? r
		 : scsi_target_resume_access(target->scsi, tag,
					     (enum scsi_access)configured_state(&target->paths, tag));
}

static int
apply_group_to_all(struct daemon *daemon, uint16_t tag, struct errinfo *info)
{
	for (size_t i = 0; i < daemon->ntargets; i++) {
		int r = apply_group(daemon, daemon->targets[i], tag);

		if (r)
			return err_set(
				info, r,
				"target %s has %d portal groups, with those that sessions came by and that are gone: "
				"end such sessions first ('lungate session list' shows them)",
				daemon->targets[i]->name, SCSI_GROUPS_MAX);
	}
	return 0;
}

int
daemon_enforce_paths(struct daemon *daemon, struct daemon_target *target)
{
	const struct config_paths *paths = &target->paths;
	int r = iscsi_target_set_groups(daemon->iscsi, target->name, paths->groups, paths->ngroups);

	if (!r)
		r = iscsi_target_set_redirect(daemon->iscsi, target->name, &paths->redirect);
	for (size_t i = 0; !r && i < daemon->config.ngroups; i++)
		r = apply_group(daemon, target, daemon->config.groups[i]);
	return r;
}

/* -- start and stop -------------------------------------------------------------------------------------- */

/* The server's part; on success it is in the list. */
static int
open_portal(struct daemon *daemon, const char *address, uint16_t group, struct errinfo *info)
{
	struct daemon_portal portal = {.group = group}, *portals;
	int r;

	(void)snprintf(portal.address, sizeof(portal.address), "%s", address);
	r = iscsi_portal_add_to(daemon->iscsi, group, address, portal.bound, info);
	if (r)
		return r;
	(void)pthread_mutex_lock(&daemon->lock);
	portals = realloc(daemon->portals, (daemon->nportals + 1) * sizeof(*portals));
	if (portals) {
		daemon->portals = portals;
		portals[daemon->nportals++] = portal;
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	if (!portals)
		(void)iscsi_portal_remove(daemon->iscsi, portal.bound);
	return portals ? 0 : -ENOMEM;
}

static void
close_portal(struct daemon *daemon, struct daemon_portal *portal)
{
	size_t i = (size_t)(portal - daemon->portals);

	(void)iscsi_portal_remove(daemon->iscsi, portal->bound);
	(void)pthread_mutex_lock(&daemon->lock);
	daemon->nportals--;
	memmove(portal, portal + 1, (daemon->nportals - i) * sizeof(*portal));
	(void)pthread_mutex_unlock(&daemon->lock);
}

static void
set_redirect(struct daemon *daemon, struct daemon_portal *portal, const struct iscsi_redirect *redirect)
{
	(void)pthread_mutex_lock(&daemon->lock);
	if (redirect)
		portal->redirect = *redirect;
	else
		*portal->redirect.to = 0;
	(void)pthread_mutex_unlock(&daemon->lock);
	(void)iscsi_portal_set_redirect(daemon->iscsi, portal->bound, redirect); /* it is there */
}

int
daemon_open_portals(struct daemon *daemon, struct errinfo *info)
{
	for (size_t i = 0; i < daemon->config.nportals; i++) {
		const struct config_portal *conf = &daemon->config.portals[i];
		int r;

		daemon_doing(daemon, "opening portal", conf->address);
		r = open_portal(daemon, conf->address, conf->group, info);
		if (!r && *conf->redirect.to)
			set_redirect(daemon, &daemon->portals[daemon->nportals - 1], &conf->redirect);
		if (!r)
			r = apply_group_to_all(daemon, conf->group, info);
		if (r)
			return r;
	}
	if (!daemon->config.nportals)
		log_warn("\"listen\" is empty: no iSCSI portal");
	return 0;
}

void
daemon_close_portals(struct daemon *daemon)
{
	daemon_doing(daemon, "closing portals", NULL);
	(void)pthread_mutex_lock(&daemon->change);
	for (size_t i = 0; i < daemon->nportals; i++)
		(void)iscsi_portal_remove(daemon->iscsi, daemon->portals[i].bound);
	(void)pthread_mutex_unlock(&daemon->change);
}

/* -- portals that come and go ----------------------------------------------------------------------------- */

static int
learn_group(struct daemon *daemon, uint16_t tag, struct errinfo *info)
{
	if (group_is_known(daemon, tag))
		return 0;
	if (daemon->config.ngroups == ISCSI_GROUPS_MAX)
		return err_set(info, -ENOSPC, "there are %d portal groups at most", ISCSI_GROUPS_MAX);
	(void)pthread_mutex_lock(&daemon->lock);
	daemon->config.groups[daemon->config.ngroups++] = tag;
	(void)pthread_mutex_unlock(&daemon->lock);
	return 0;
}

static bool
names_group(const struct config_paths *paths, uint16_t tag)
{
	for (size_t i = 0; i < paths->ngroups; i++)
		if (paths->groups[i] == tag)
			return true;
	for (size_t i = 0; i < paths->nalua; i++)
		if (paths->alua[i].group == tag)
			return true;
	return false;
}

/* As in the file: without portals, and where no target names it, there is no such group. */
static void
forget_group(struct daemon *daemon, uint16_t tag)
{
	struct config *config = &daemon->config;

	if (tag == ISCSI_PORTAL_GROUP_DEFAULT || group_has_portal(daemon, tag))
		return;
	for (size_t i = 0; i < daemon->ntargets; i++)
		if (names_group(&daemon->targets[i]->paths, tag))
			return;
	(void)pthread_mutex_lock(&daemon->lock);
	for (size_t i = 0; i < config->ngroups; i++) {
		if (config->groups[i] == tag) {
			config->ngroups--;
			memmove(config->groups + i, config->groups + i + 1,
				(config->ngroups - i) * sizeof(config->groups[0]));
			break;
		}
	}
	(void)pthread_mutex_unlock(&daemon->lock);
}

int
daemon_portal_add(struct daemon *daemon, const char *address, uint16_t group, char ret_bound[64],
		  struct errinfo *info)
{
	bool first = !group_has_portal(daemon, group);
	struct errinfo ignored;
	int r;

	if (!config_address_valid(address))
		return err_set(
			info, -EINVAL,
			"\"%.80s\" is no portal address: it takes an address and a port in numbers, as "
			"127.0.0.1:3260 or [::1]:3260",
			address);
	for (size_t i = 0; i < daemon->nportals; i++)
		if (!strcmp(daemon->portals[i].bound, address))
			return err_set(info, -EEXIST, "there is a portal %s already, in group %u", address,
				       daemon->portals[i].group);
	r = learn_group(daemon, group, info);
	if (!r)
		r = open_portal(daemon, address, group, info);
	if (r) {
		forget_group(daemon, group);
		return r;
	}
	if (first)
		r = apply_group_to_all(daemon, group, info);
	if (!r)
		r = config_add_portal(daemon->config_path, address, group, info);
	if (r) {
		close_portal(daemon, &daemon->portals[daemon->nportals - 1]);
		if (first)
			(void)apply_group_to_all(daemon, group,
						 &ignored); /* unavailable can always be said */
		forget_group(daemon, group);
		return r;
	}
	(void)snprintf(ret_bound, 64, "%s", daemon->portals[daemon->nportals - 1].bound);
	log_info("portal %s: added to group %u", ret_bound, group);
	return 0;
}

int
daemon_portal_remove(struct daemon *daemon, const char *address, char ret_bound[64], bool *ret_in_file,
		     struct errinfo *info)
{
	struct daemon_portal *portal;
	uint16_t group;
	int r = find_portal(daemon, address, &portal, info);

	if (r)
		return r;
	group = portal->group;
	(void)snprintf(ret_bound, 64, "%s", portal->bound);
	r = config_remove_portal(daemon->config_path, portal->address, portal->bound, group, ret_in_file,
				 info);
	if (r)
		return r;
	close_portal(daemon, portal);
	if (!group_has_portal(daemon, group))
		(void)apply_group_to_all(daemon, group, info); /* unavailable can always be said */
	forget_group(daemon, group);
	log_info("portal %s: removed%s", ret_bound,
		 *ret_in_file ? "" : "; the configuration did not name it");
	return 0;
}

int
daemon_portal_redirect(struct daemon *daemon, const char *address, const struct iscsi_redirect *redirect,
		       char ret_bound[64], struct errinfo *info)
{
	struct daemon_portal *portal;
	int r = redirect ? iscsi_redirect_check(redirect->to, info) : 0;

	if (!r)
		r = find_portal(daemon, address, &portal, info);
	if (r)
		return r;
	if (redirect && !strcmp(redirect->to, portal->bound))
		return err_set(info, -EINVAL, "%s would send initiators to itself", portal->bound);
	r = config_set_portal_redirect(daemon->config_path, portal->address, portal->group, redirect, info);
	if (r)
		return r;
	set_redirect(daemon, portal, redirect);
	(void)snprintf(ret_bound, 64, "%s", portal->bound);
	log_info("portal %s: logins are %s%s", portal->bound, redirect ? "sent to " : "served",
		 redirect ? redirect->to : "");
	return 0;
}

/* -- ways to targets ------------------------------------------------------------------------------------- */

static int
check_group(const struct daemon *daemon, uint16_t tag, struct errinfo *info)
{
	if (group_is_known(daemon, tag))
		return 0;
	return err_set(info, -ENOENT, "there is no portal group %u; 'lungate portal list' shows them", tag);
}

int
daemon_target_groups(struct daemon *daemon, const char *name, const uint16_t *tags, size_t n,
		     struct errinfo *info)
{
	struct daemon_target *target = daemon_target_find(daemon, name);
	struct config_paths old;
	int r = 0;

	if (!target)
		return daemon_no_target(daemon, name, info);
	if (n > ISCSI_GROUPS_MAX)
		return err_set(info, -EINVAL, "there are %d portal groups at most", ISCSI_GROUPS_MAX);
	for (size_t i = 0; !r && i < n; i++)
		r = check_group(daemon, tags[i], info);
	if (!r)
		r = config_set_target_groups(daemon->config_path, target->written, tags, n, info);
	if (r)
		return r;
	old = target->paths;
	(void)pthread_mutex_lock(&daemon->lock);
	if (n)
		memcpy(target->paths.groups, tags, n * sizeof(*tags));
	target->paths.ngroups = n;
	(void)pthread_mutex_unlock(&daemon->lock);
	for (size_t i = 0; i < daemon->config.ngroups; i++) {
		uint16_t tag = daemon->config.groups[i];

		if (leads(&old, tag) != leads(&target->paths, tag) && apply_group(daemon, target, tag))
			log_error("target %s: no room for port group %u", target->name, tag);
	}
	r = iscsi_target_set_groups(daemon->iscsi, target->name, tags, n);
	log_info("target %s: its portal groups were changed", target->name);
	return r;
}

int
daemon_target_redirect(struct daemon *daemon, const char *name, const struct iscsi_redirect *redirect,
		       struct errinfo *info)
{
	struct daemon_target *target = daemon_target_find(daemon, name);
	int r = redirect ? iscsi_redirect_check(redirect->to, info) : 0;

	if (r)
		return r;
	if (!target)
		return daemon_no_target(daemon, name, info);
	r = config_set_target_redirect(daemon->config_path, target->written, redirect, info);
	if (r)
		return r;
	(void)pthread_mutex_lock(&daemon->lock);
	if (redirect)
		target->paths.redirect = *redirect;
	else
		*target->paths.redirect.to = 0;
	(void)pthread_mutex_unlock(&daemon->lock);
	log_info("target %s: logins are %s%s", target->name, redirect ? "sent to " : "served",
		 redirect ? redirect->to : "");
	return iscsi_target_set_redirect(daemon->iscsi, target->name, redirect);
}

static void
put_state(struct config_paths *paths, uint16_t group, int state)
{
	size_t i = 0;

	while (i < paths->nalua && paths->alua[i].group != group)
		i++;
	if (state != SCSI_ACCESS_OPTIMIZED) {
		paths->alua[i] = (struct config_alua){.group = group, .state = state};
		paths->nalua = max_of(paths->nalua, i + 1);
	} else if (i < paths->nalua) {
		paths->alua[i] = paths->alua[--paths->nalua];
	}
}

int
daemon_target_alua(struct daemon *daemon, const char *name, uint16_t group, int state, struct errinfo *info)
{
	struct daemon_target *target = daemon_target_find(daemon, name);
	int r;

	if (!target)
		return daemon_no_target(daemon, name, info);
	r = check_group(daemon, group, info);
	if (!r)
		r = config_set_target_alua(daemon->config_path, target->written, group, state, info);
	if (r)
		return r;
	(void)pthread_mutex_lock(&daemon->lock);
	put_state(&target->paths, group, state); /* no more rows than known groups */
	(void)pthread_mutex_unlock(&daemon->lock);
	r = scsi_target_forget_access(target->scsi, group);
	if (r)
		return err_set(info, r,
			       "%s is in the configuration, but what an initiator has set before cannot be "
			       "forgotten, and holds: %s",
			       config_alua_states[state], err_text(r));
	log_info("target %s: portal group %u is %s", target->name, group, config_alua_states[state]);
	return apply_group(daemon, target, group);
}

/* -- inspection ------------------------------------------------------------------------------------------ */

static json_t *
daemon_redirect_json(const struct iscsi_redirect *redirect)
{
	if (!*redirect->to)
		return json_null();
	return json_pack("{s:s, s:b}", "to", redirect->to, "permanent", redirect->permanent);
}

static json_t *
tags_json(const struct config_paths *paths)
{
	json_t *array = json_array();

	for (size_t i = 0; i < paths->ngroups; i++)
		json_array_append_new(array, json_integer(paths->groups[i]));
	return array;
}

static json_t *
alua_json(const struct config_paths *paths)
{
	json_t *array = json_array();

	for (size_t i = 0; i < paths->nalua; i++)
		json_array_append_new(array, json_pack("{s:i, s:s}", "group", (int)paths->alua[i].group,
						       "state", config_alua_states[paths->alua[i].state]));
	return array;
}

void
daemon_paths_json(struct daemon *daemon, const struct daemon_target *target, json_t *object)
{
	json_t *groups = json_array(), *portals;

	for (size_t i = 0; i < daemon->config.ngroups; i++) {
		uint16_t tag = daemon->config.groups[i];
		enum scsi_access access;

		if (!leads(&target->paths, tag) || !group_has_portal(daemon, tag))
			continue;
		portals = json_array();
		for (size_t k = 0; k < daemon->nportals; k++)
			if (daemon->portals[k].group == tag)
				json_array_append_new(portals, json_string(daemon->portals[k].bound));
		if (scsi_target_get_access(target->scsi, tag, &access))
			access = (enum scsi_access)configured_state(&target->paths, tag);
		json_array_append_new(groups, json_pack("{s:i, s:s, s:o}", "group", (int)tag, "access",
							config_alua_states[access], "portals", portals));
	}
	json_object_set_new(object, "portal_groups", groups);
	json_object_set_new(object, "groups",
			    target->paths.ngroups ? tags_json(&target->paths) : json_null());
	json_object_set_new(object, "alua", alua_json(&target->paths));
	json_object_set_new(object, "redirect", daemon_redirect_json(&target->paths.redirect));
}
