/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's targets: those of the configuration, and changes while it runs.
 *
 * A LUN whose volume is not online is configured but not mapped: initiators do not see it.
 * Changes are carried out first and written into the configuration last; where that fails they are taken
 * back.
 *
 * Threads: start-up and the threads of control-socket clients; all may block.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"
#include "gateway/alua_states.h"
#include "gateway/daemon.h"

struct daemon_target *
daemon_target_find(struct daemon *daemon, const char *name)
{
	for (size_t i = 0; i < daemon->ntargets; i++)
		if (!strcasecmp(daemon->targets[i]->name, name))
			return daemon->targets[i];
	return NULL;
}

bool
daemon_volume_mapped(struct daemon *daemon, const char *volume, const char **ret_target, unsigned *ret_lun)
{
	for (size_t i = 0; i < daemon->ntargets; i++) {
		const struct daemon_target *target = daemon->targets[i];

		for (size_t k = 0; k < target->nluns; k++) {
			if (!strcmp(target->luns[k].volume, volume)) {
				*ret_target = target->name;
				*ret_lun = (unsigned)target->luns[k].lun;
				return true;
			}
		}
	}
	return false;
}

static void
target_free(struct daemon_target *target)
{
	for (size_t i = 0; i < target->nluns; i++) {
		if (target->scsi)
			(void)scsi_target_unmap(target->scsi,
						(unsigned)target->luns[i].lun); /* -ENOENT: never mapped */
		free(target->luns[i].volume);
	}
	scsi_target_free(target->scsi);
	free(target->luns);
	config_access_fini(&target->access);
	free(target->name);
	free(target->written);
	free(target);
}

static void
lower(char *text)
{
	for (; *text; text++)
		if (*text >= 'A' && *text <= 'Z')
			*text = (char)(*text + 'a' - 'A');
}

static int
target_new(const char *name, struct daemon_target **ret)
{
	struct daemon_target *target = calloc(1, sizeof(*target));
	int r;

	if (!target)
		return -ENOMEM;
	target->written = strdup(name);
	target->name = strdup(name);
	r = target->name && target->written ? 0 : -ENOMEM;
	if (!r) {
		lower(target->name); /* RFC 7143 4.2.7.2: compared without case, shown in lower case */
		r = scsi_target_new(target->name, &target->scsi);
	}
	if (r)
		target_free(target);
	else
		*ret = target;
	return r;
}

static int
append_target(struct daemon *daemon, struct daemon_target *target)
{
	struct daemon_target **list;

	(void)pthread_mutex_lock(&daemon->lock);
	list = realloc(daemon->targets, (daemon->ntargets + 1) * sizeof(struct daemon_target *));
	if (list) {
		daemon->targets = list;
		list[daemon->ntargets++] = target;
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	return list ? 0 : -ENOMEM;
}

static void
remove_from_list(struct daemon *daemon, const struct daemon_target *target)
{
	(void)pthread_mutex_lock(&daemon->lock);
	for (size_t i = 0; i < daemon->ntargets; i++) {
		if (daemon->targets[i] == target) {
			daemon->ntargets--;
			memmove(daemon->targets + i, daemon->targets + i + 1,
				(daemon->ntargets - i) * sizeof(*daemon->targets));
			break;
		}
	}
	(void)pthread_mutex_unlock(&daemon->lock);
}

static int
append_lun(struct daemon *daemon, struct daemon_target *target, const struct config_lun *add)
{
	struct config_lun *luns;
	char *copy = strdup(add->volume);
	size_t at;

	if (!copy)
		return -ENOMEM;
	(void)pthread_mutex_lock(&daemon->lock);
	luns = realloc(target->luns, (target->nluns + 1) * sizeof(*luns));
	if (luns) {
		target->luns = luns;
		for (at = target->nluns; at && luns[at - 1].lun > add->lun; at--)
			luns[at] = luns[at - 1];
		luns[at] = (struct config_lun){.lun = add->lun, .volume = copy, .removable = add->removable};
		target->nluns++;
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	if (!luns)
		free(copy);
	return luns ? 0 : -ENOMEM;
}

static void
drop_lun(struct daemon *daemon, struct daemon_target *target, unsigned lun)
{
	(void)pthread_mutex_lock(&daemon->lock);
	for (size_t i = 0; i < target->nluns; i++) {
		if (target->luns[i].lun == lun) {
			free(target->luns[i].volume);
			target->nluns--;
			memmove(target->luns + i, target->luns + i + 1,
				(target->nluns - i) * sizeof(*target->luns));
			break;
		}
	}
	(void)pthread_mutex_unlock(&daemon->lock);
}

/* -- start and stop
 * -------------------------------------------------------------------------------------------- */

static int
map_lun(struct daemon_target *target, const struct config_lun *lun, struct volume *vol, struct errinfo *info)
{
	return scsi_target_map_with(target->scsi, (unsigned)lun->lun, vol,
				    &(struct scsi_map_options){.removable = lun->removable}, info);
}

static int
open_target(struct daemon *daemon, struct config_target *conf, struct errinfo *info)
{
	struct daemon_target *target;
	int r = target_new(conf->name, &target);

	if (r)
		return r;
	for (size_t i = 0; !r && i < conf->nluns; i++) {
		unsigned lun = (unsigned)conf->luns[i].lun;
		struct daemon_volume *volume = daemon_volume_find(daemon, conf->luns[i].volume);

		r = append_lun(daemon, target, &conf->luns[i]);
		if (!r && volume && volume->vol)
			r = map_lun(target, &conf->luns[i], volume->vol, info);
		else if (!r)
			log_warn("target %s: LUN %u is not there, for volume %s is not online", target->name,
				 lun, conf->luns[i].volume);
	}
	if (!r)
		r = iscsi_target_add(daemon->iscsi, target->name, target->scsi, &target->iscsi, info);
	if (!r) {
		target->access = conf->access;
		memset(&conf->access, 0, sizeof(conf->access));
		target->paths = conf->paths;
		r = daemon_enforce_access(daemon, target, info);
		if (!r)
			r = daemon_enforce_paths(daemon, target);
		if (!r)
			r = append_target(daemon, target);
		if (r)
			(void)iscsi_target_remove(daemon->iscsi, target->name);
	}
	if (r)
		target_free(target);
	else
		log_info("target %s: %zu %s", target->name, target->nluns,
			 target->nluns == 1 ? "LUN" : "LUNs");
	return r;
}

static bool
is_configured(void *daemon, const char *target)
{
	return daemon_target_find(daemon, target) != NULL;
}

int
daemon_open_targets(struct daemon *daemon)
{
	struct errinfo info = {{0}};
	int r = daemon_enforce_access(daemon, NULL, &info);

	if (r) {
		log_error("discovery: %s", err_words(&info, r));
		return r;
	}
	for (size_t i = 0; i < daemon->config.ntargets; i++) {
		daemon_doing(daemon, "opening target", daemon->config.targets[i].name);
		r = open_target(daemon, &daemon->config.targets[i], &info);
		if (r) {
			log_error("target %s: %s", daemon->config.targets[i].name, err_words(&info, r));
			return r;
		}
	}
	alua_states_prune(is_configured, daemon);
	return 0;
}

/* After the iSCSI server is gone: no session has a nexus any more. */
void
daemon_close_targets(struct daemon *daemon)
{
	while (daemon->ntargets) {
		struct daemon_target *target = daemon->targets[daemon->ntargets - 1];

		daemon_doing(daemon, "closing target", target->name);
		remove_from_list(daemon, target);
		target_free(target);
	}
	free(daemon->targets);
	daemon->targets = NULL;
}

/* -- changes
 * ---------------------------------------------------------------------------------------------------- */

int
daemon_target_create(struct daemon *daemon, const char *name, struct errinfo *info)
{
	struct daemon_target *target;
	int r = iscsi_name_check(name, info);

	if (r)
		return r;
	if (daemon_target_find(daemon, name))
		return err_set(info, -EEXIST, "there is a target \"%s\" already", name);
	r = target_new(name, &target);
	if (r)
		return r;
	r = iscsi_target_add(daemon->iscsi, target->name, target->scsi, &target->iscsi, info);
	if (!r) {
		r = daemon_enforce_paths(daemon, target);
		if (!r)
			r = config_add_target(daemon->config_path, target->written, info);
		if (!r)
			r = append_target(daemon, target);
		if (r)
			(void)iscsi_target_remove(daemon->iscsi, target->name);
	}
	if (r)
		target_free(target);
	else
		log_info("target %s: created", target->name);
	return r;
}

int
daemon_no_target(struct daemon *daemon, const char *name, struct errinfo *info)
{
	const char **names = calloc(daemon->ntargets + 1, sizeof(*names));
	int r;

	for (size_t i = 0; names && i < daemon->ntargets; i++)
		names[i] = daemon->targets[i]->name;
	r = daemon_no_such("target", name, names, daemon->ntargets, info);
	free(names);
	return r;
}

int
daemon_target_delete(struct daemon *daemon, const char *name, bool force, struct errinfo *info)
{
	struct daemon_target *target = daemon_target_find(daemon, name);
	size_t sessions;
	int r;

	if (!target)
		return daemon_no_target(daemon, name, info);
	sessions = iscsi_session_count(daemon->iscsi, target->name);
	if (sessions && !force)
		return err_set(info, -EBUSY, "%zu %s logged in to %s; log out there first, or add --force",
			       sessions, sessions == 1 ? "initiator is" : "initiators are", target->name);
	r = config_remove_target(daemon->config_path, target->written, info);
	if (r)
		return r;
	remove_from_list(daemon, target);
	r = iscsi_target_remove(daemon->iscsi, target->name);
	if (r)
		log_error("target %s: %s", target->name, err_text(r));
	log_info("target %s: deleted", target->name);
	alua_states_forget(target->name); /* nobody is there any more who could set any */
	target_free(target);
	return 0;
}

static int64_t
free_lun(const struct daemon_target *target)
{
	int64_t lun = 0;

	for (size_t i = 0; i < target->nluns && (int64_t)target->luns[i].lun == lun; i++)
		lun++;
	return lun;
}

static int
check_map(struct daemon *daemon, const struct daemon_target *target, int64_t lun, const char *name,
	  struct errinfo *info)
{
	struct daemon_volume *volume = daemon_volume_find(daemon, name);

	if (!volume)
		return daemon_no_volume(daemon, name, info);
	if (!volume->vol)
		return err_set(info, volume->err, "volume \"%s\" is not online: %s", name, volume->why);
	if (lun >= SCSI_LUNS_MAX)
		return err_set(info, -EINVAL, "LUN %lld is too high: 0 to %d", (long long)lun,
			       SCSI_LUNS_MAX - 1);
	for (size_t i = 0; i < target->nluns; i++) {
		if ((int64_t)target->luns[i].lun == lun)
			return err_set(info, -EEXIST, "LUN %lld of %s is volume \"%s\"", (long long)lun,
				       target->name, target->luns[i].volume);
		if (!strcmp(target->luns[i].volume, name))
			return err_set(info, -EEXIST, "volume \"%s\" is LUN %llu of %s already", name,
				       (unsigned long long)target->luns[i].lun, target->name);
	}
	return 0;
}

int
daemon_target_map(struct daemon *daemon, const char *name, int64_t lun, const char *volume, bool removable,
		  unsigned *ret_lun, struct errinfo *info)
{
	struct daemon_target *target = daemon_target_find(daemon, name);
	struct config_lun add;
	int r;

	if (!target)
		return daemon_no_target(daemon, name, info);
	if (lun < 0)
		lun = free_lun(target);
	r = check_map(daemon, target, lun, volume, info);
	if (r)
		return r;
	add = (struct config_lun){.lun = (uint64_t)lun, .volume = (char *)volume, .removable = removable};
	r = map_lun(target, &add, daemon_volume_find(daemon, volume)->vol, info);
	if (r)
		return r;
	r = config_add_lun(daemon->config_path, target->written, &add, info);
	if (!r)
		r = append_lun(daemon, target, &add);
	if (r) {
		(void)scsi_target_unmap(target->scsi, (unsigned)lun);
		return r;
	}
	iscsi_target_luns_changed(daemon->iscsi, target->name);
	*ret_lun = (unsigned)lun;
	log_info("target %s: LUN %u is volume %s", target->name, *ret_lun, volume);
	return 0;
}

void
daemon_targets_take(struct daemon *daemon, const struct daemon_volume *volume)
{
	struct errinfo info = {{0}};

	for (size_t i = 0; i < daemon->ntargets; i++) {
		struct daemon_target *target = daemon->targets[i];

		for (size_t k = 0; k < target->nluns; k++) {
			int r;

			if (strcmp(target->luns[k].volume, volume->conf.name) != 0)
				continue;
			r = map_lun(target, &target->luns[k], volume->vol, &info);
			if (!r) {
				iscsi_target_luns_changed(daemon->iscsi, target->name);
				log_info("target %s: LUN %u is there, for volume %s is online", target->name,
					 (unsigned)target->luns[k].lun, volume->conf.name);
			} else if (r != -EEXIST) { /* mapped by a command since it came online */
				log_error("target %s: LUN %u: %s", target->name,
					  (unsigned)target->luns[k].lun, err_words(&info, r));
			}
		}
	}
}

int
daemon_target_unmap(struct daemon *daemon, const char *name, unsigned lun, struct errinfo *info)
{
	struct daemon_target *target = daemon_target_find(daemon, name);
	const char *initiator;
	bool found = false;
	int r;

	if (!target)
		return daemon_no_target(daemon, name, info);
	for (size_t i = 0; i < target->nluns; i++)
		found |= target->luns[i].lun == lun;
	if (!found)
		return err_set(info, -ENOENT, "%s has no LUN %u", target->name, lun);
	if (daemon_lun_in_lists(target, lun, &initiator))
		return err_set(
			info, -EBUSY,
			"initiator %s has a list of LUNs with it: lungate target acl remove %s '%s' first, or add it "
			"anew without",
			initiator, target->name, initiator);
	r = config_remove_lun(daemon->config_path, target->written, lun, info);
	if (r)
		return r;
	r = scsi_target_unmap(target->scsi, lun);
	if (r && r != -ENOENT)
		log_error("target %s: LUN %u: %s", target->name, lun, err_text(r));
	drop_lun(daemon, target, lun);
	iscsi_target_luns_changed(daemon->iscsi, target->name);
	log_info("target %s: LUN %u unmapped", target->name, lun);
	return 0;
}
