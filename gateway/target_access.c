/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accounts and lists of initiators of the daemon's targets, and of discovery.
 *
 * A change is written into the configuration first, which checks it as a whole; then the rules of the one target are
 * read from there and put in force, so what was edited there by hand, and secrets that changed in their
 * files, come into force with it.  Nothing can fail after the file is written but memory.
 *
 * Threads: start-up and the threads of control-socket clients; all may block.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"
#include "gateway/daemon.h"

/* -- in force ------------------------------------------------------------ */

int
daemon_enforce_access(struct daemon *daemon, struct daemon_target *target, struct errinfo *info)
{
	const struct config_access *conf = target ? &target->access : &daemon->config.discovery;
	struct iscsi_access *access;
	int r = config_make_access(conf, target ? target->luns : NULL, target ? target->nluns : 0,
				   daemon->config.chap_algorithms, &access, info);

	if (r)
		return r;
	if (target)
		return iscsi_target_set_access(daemon->iscsi, target->name, access);
	iscsi_discovery_set_access(daemon->iscsi, access);
	return 0;
}

static struct config_access *
find_access(struct config *config, const struct daemon_target *target)
{
	if (!target)
		return &config->discovery;
	for (size_t i = 0; i < config->ntargets; i++)
		if (!strcasecmp(config->targets[i].name, target->name))
			return &config->targets[i].access;
	return NULL;
}

/* From the file; target NULL: discovery. */
static int
reload(struct daemon *daemon, struct daemon_target *target, struct errinfo *info)
{
	struct config_access *place = target ? &target->access : &daemon->config.discovery, *found, old;
	struct config config;
	int r = config_load(daemon->config_path, &config, NULL, info);

	if (r)
		return r;
	found = find_access(&config, target);
	if (found) {
		(void)pthread_mutex_lock(&daemon->lock);
		old = *place;
		*place = *found;
		*found = old;
		(void)pthread_mutex_unlock(&daemon->lock);
		r = daemon_enforce_access(daemon, target, info);
	}
	config_fini(&config);
	return r;
}

/* All of them; each is as it was or as it is in the file, never half. */
static void
reread(struct daemon *daemon)
{
	struct errinfo info = {{0}};
	size_t failed = 0;
	int r = reload(daemon, NULL, &info);

	for (size_t i = 0; !r && i < daemon->ntargets; i++)
		failed += reload(daemon, daemon->targets[i], &info) != 0;
	if (r || failed)
		log_error("accounts and lists of initiators were not read again: %s", info.text);
	else
		log_info("accounts, their secrets, and lists of initiators were read again");
}

void
daemon_settle(struct daemon *daemon)
{
	/* who holds `change` does it when it is through: a signal must not wait for an import */
	while (atomic_load(&daemon->phase) == DAEMON_RUNNING && atomic_load(&daemon->reread) &&
	       !pthread_mutex_trylock(&daemon->change)) {
		if (atomic_load(&daemon->phase) == DAEMON_RUNNING && atomic_exchange(&daemon->reread, false))
			reread(daemon);
		(void)pthread_mutex_unlock(&daemon->change);
	}
}

void
daemon_end_change(struct daemon *daemon)
{
	(void)pthread_mutex_unlock(&daemon->change);
	daemon_settle(daemon);
}

/* -- changes ------------------------------------------------------------- */

/* 0 with *ret, NULL for discovery. */
static int
find_place(struct daemon *daemon, const char *name, struct daemon_target **ret, struct errinfo *info)
{
	*ret = NULL;
	if (!strcmp(name, "discovery"))
		return 0;
	*ret = daemon_target_find(daemon, name);
	return *ret ? 0 : daemon_no_target(daemon, name, info);
}

static int
find_target(struct daemon *daemon, const char *name, struct daemon_target **ret, struct errinfo *info)
{
	int r = find_place(daemon, name, ret, info);

	if (!r && !*ret)
		r = err_set(info, -EINVAL,
			    "discovery has no list: it shows each initiator the targets that it may use");
	return r;
}

static bool
same_text(const char *a, const char *b)
{
	return a && b ? !strcasecmp(a, b) : a == b;
}

static const struct config_initiator *
find_initiator(const struct config_access *access, const char *name, const char *network)
{
	for (size_t i = 0; i < access->ninitiators; i++)
		if (same_text(access->initiators[i].name, name) &&
		    same_text(access->initiators[i].network, network))
			return &access->initiators[i];
	return NULL;
}

static const struct config_account *
find_account(const struct config_access *access, const char *user)
{
	for (size_t i = 0; i < access->naccounts; i++)
		if (!strcmp(access->accounts[i].user, user))
			return &access->accounts[i];
	return NULL;
}

int
daemon_acl_add(struct daemon *daemon, const char *name, const struct acl_change *change, struct errinfo *info)
{
	struct daemon_target *target;
	int r = find_target(daemon, name, &target, info);

	if (!r)
		r = iscsi_initiator_check(change->name, change->network, info);
	if (r)
		return r;
	if (find_initiator(&target->access, change->name, change->network) && !change->replace)
		return err_set(info, -EEXIST, "\"%s\"%s%s is in the list of %s already; --replace changes it",
			       change->name, change->network ? " from " : "",
			       change->network ? change->network : "", target->name);
	if (change->account && !find_account(&target->access, change->account))
		return err_set(info, -ENOENT,
			       "%s has no account \"%s\"; 'lungate target account list %s' shows them",
			       target->name, change->account, target->name);
	r = config_put_initiator(daemon->config_path, target->written, change, info);
	if (!r)
		r = reload(daemon, target, info);
	if (!r)
		log_info("target %s: initiator %s%s%s may log in", target->name, change->name,
			 change->network ? " from " : "", change->network ? change->network : "");
	return r;
}

int
daemon_acl_remove(struct daemon *daemon, const char *name, const struct acl_change *change,
		  struct errinfo *info)
{
	struct daemon_target *target;
	int r = find_target(daemon, name, &target, info);

	if (r)
		return r;
	if (!find_initiator(&target->access, change->name, change->network))
		return err_set(info, -ENOENT,
			       "the list of %s has no \"%s\"%s%s; 'lungate target acl list %s' shows it",
			       target->name, change->name, change->network ? " from " : "",
			       change->network ? change->network : "", target->name);
	r = config_drop_initiator(daemon->config_path, target->written, change, info);
	if (!r)
		r = reload(daemon, target, info);
	if (!r)
		log_info("target %s: initiator %s%s%s is off the list%s", target->name, change->name,
			 change->network ? " from " : "", change->network ? change->network : "",
			 target->access.listed ? "" : ", which is gone: everybody may log in");
	return r;
}

int
daemon_account_add(struct daemon *daemon, const char *name, const struct account_change *change,
		   struct errinfo *info)
{
	struct daemon_target *target;
	const struct config_access *access;
	int r = find_place(daemon, name, &target, info);

	if (r)
		return r;
	access = target ? &target->access : &daemon->config.discovery;
	if (!change->secret_file == !change->secret_env)
		return err_set(info, -EINVAL, "say where the secret is: a file, or an environment variable");
	if ((change->mutual ? access->mutual != NULL : find_account(access, change->user) != NULL) &&
	    !change->replace)
		return err_set(info, -EEXIST, "%s has %s \"%s\" already; --replace changes it", name,
			       change->mutual ? "the mutual account" : "an account",
			       change->mutual ? access->mutual->user : change->user);
	r = config_put_account(daemon->config_path, target ? target->written : NULL, change, info);
	if (!r)
		r = reload(daemon, target, info);
	if (!r)
		log_info("%s%s: %saccount \"%s\" is set", target ? "target " : "", name,
			 change->mutual ? "mutual " : "", change->user);
	return r;
}

/* Whom the account belongs to. */
static const char *
owner_of(const struct config_access *access, const char *user)
{
	for (size_t i = 0; i < access->ninitiators; i++)
		if (access->initiators[i].account && !strcmp(access->initiators[i].account, user))
			return access->initiators[i].name;
	return NULL;
}

static int
no_account(const char *name, const struct config_access *access, const struct account_change *change,
	   struct errinfo *info)
{
	if (!change->mutual && access->mutual && !strcmp(access->mutual->user, change->user))
		return err_set(info, -ENOENT, "\"%s\" is what %s proves itself with: add --mutual",
			       change->user, name);
	return err_set(info, -ENOENT,
		       "%s has no %saccount \"%s\"; 'lungate target account list %s' shows them", name,
		       change->mutual ? "mutual " : "", change->user, name);
}

int
daemon_account_remove(struct daemon *daemon, const char *name, const struct account_change *change,
		      struct errinfo *info)
{
	struct daemon_target *target;
	const struct config_access *access;
	const char *owner;
	int r = find_place(daemon, name, &target, info);

	if (r)
		return r;
	access = target ? &target->access : &daemon->config.discovery;
	if (change->mutual ? !access->mutual || strcmp(access->mutual->user, change->user)
			   : !find_account(access, change->user))
		return no_account(name, access, change, info);
	owner = change->mutual ? NULL : owner_of(access, change->user);
	if (owner)
		return err_set(info, -EBUSY,
			       "it is the account of initiator %s: lungate target acl remove %s '%s' first",
			       owner, name, owner);
	r = config_drop_account(daemon->config_path, target ? target->written : NULL, change, info);
	if (!r)
		r = reload(daemon, target, info);
	if (!r)
		log_info("%s%s: %saccount \"%s\" is gone%s", target ? "target " : "", name,
			 change->mutual ? "mutual " : "", change->user,
			 access->chap || change->mutual ? "" : "; nobody needs one any more");
	return r;
}

bool
daemon_lun_in_lists(const struct daemon_target *target, unsigned lun, const char **ret_initiator)
{
	const char *volume = NULL;

	for (size_t i = 0; i < target->nluns; i++)
		if (target->luns[i].lun == lun)
			volume = target->luns[i].volume;
	for (size_t i = 0; volume && i < target->access.ninitiators; i++) {
		const struct config_initiator *initiator = &target->access.initiators[i];

		for (size_t k = 0; k < initiator->nluns; k++) {
			if (!strcmp(initiator->luns[k].volume, volume)) {
				*ret_initiator = initiator->name;
				return true;
			}
		}
	}
	return false;
}

/* -- looking ------------------------------------------------------------- */

static json_t *
initiator_json(const struct config_initiator *initiator)
{
	json_t *luns = initiator->masked ? json_array() : json_null();

	for (size_t i = 0; i < initiator->nluns; i++)
		json_array_append_new(luns,
				      json_pack("{s:I, s:s, s:b}", "lun", (json_int_t)initiator->luns[i].lun,
						"volume", initiator->luns[i].volume, "read_only",
						(int)initiator->luns[i].read_only));
	return json_pack("{s:s, s:s?, s:s?, s:o}", "name", initiator->name, "network", initiator->network,
			 "account", initiator->account, "luns", luns);
}

/* Where a secret is from, never what it is. */
static json_t *
account_json(const struct config_account *account)
{
	return json_pack("{s:s, s:s?, s:s?}", "user", account->user, "secret_file", account->secret_file,
			 "secret_env", account->secret_env);
}

static json_t *
list_json(const struct config_access *access)
{
	json_t *array;

	if (!access->listed)
		return json_null();
	array = json_array();
	for (size_t i = 0; i < access->ninitiators; i++)
		json_array_append_new(array, initiator_json(&access->initiators[i]));
	return array;
}

static void
add_accounts(const struct config_access *access, json_t *object)
{
	json_t *array = json_null();

	if (access->chap)
		array = json_array();
	for (size_t i = 0; i < access->naccounts; i++)
		json_array_append_new(array, account_json(&access->accounts[i]));
	json_object_set_new(object, "chap", array);
	json_object_set_new(object, "mutual", access->mutual ? account_json(access->mutual) : json_null());
}

void
daemon_access_json(const struct config_access *access, json_t *object)
{
	json_object_set_new(object, "initiators", list_json(access));
	add_accounts(access, object);
}

int
daemon_access_show(struct daemon *daemon, const char *name, bool accounts, json_t **ret, struct errinfo *info)
{
	const struct config_access *access;
	struct daemon_target *target;
	int r;

	(void)pthread_mutex_lock(&daemon->lock);
	r = accounts ? find_place(daemon, name, &target, info) : find_target(daemon, name, &target, info);
	if (!r) {
		access = target ? &target->access : &daemon->config.discovery;
		*ret = json_pack("{s:s}", "target", target ? target->name : "discovery");
		r = *ret ? 0 : -ENOMEM;
		if (accounts)
			add_accounts(access, *ret);
		else
			json_object_set_new(*ret, "initiators", list_json(access));
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	return r;
}
