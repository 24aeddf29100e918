/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's state, shared by the files that make it up: serve.c (start
 * and stop), volumes.c, targets.c, commands.c (control socket), inspect.c and metrics.c.
 *
 * Two locks:
 *   change   held across a whole change (create, delete, map ...), which may take minutes.  Who holds it
 *            may read everything below without `lock`.
 *   lock     held while the lists are read or written, never while anything waits.  Inspection takes this one alone.
 * Order: change, then lock.
 */
#ifndef LUNGATE_GATEWAY_DAEMON_H
#define LUNGATE_GATEWAY_DAEMON_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "common/arena.h"
#include "common/loop.h"
#include "common/registry.h"
#include "fuse/mount.h"
#include "gateway/config.h"
#include "gateway/iscsi/iscsi.h"
#include "gateway/scsi/scsi.h"
#include "gateway/state.h"

struct admin_call;

enum daemon_phase { DAEMON_STARTING, DAEMON_RUNNING, DAEMON_STOPPING };

/** Who alone may touch a volume that is not online. */
enum daemon_hold { HOLD_NONE, HOLD_IMPORT, HOLD_OPENING, HOLD_DELETION };

/** A volume of the configuration: online (vol set) or failed (err set, why says the rest). */
struct daemon_volume {
	struct config_volume conf;
	struct volume *vol;          /* the registry's reference; NULL while it is not open */
	struct loop *loop;
	int err;
	char why[1024];
	enum daemon_hold hold;       /* under change */
	uint64_t retry_ns;           /* reopen.c's, under change: when to try again, and what was in vain */
	unsigned retries;
};

struct daemon_target {
	char *name;                  /* as normalised by iscsi */
	char *written;               /* as it stands in the file */
	struct scsi_target *scsi;
	struct iscsi_target *iscsi;
	struct config_lun *luns;     /* configured; those of failed volumes are not mapped */
	size_t nluns;
	struct config_access access;
	struct config_paths paths;
};

struct daemon_portal {
	char address[64];            /* as it is written */
	char bound[64];
	uint16_t group;
	struct iscsi_redirect redirect;
};

struct daemon {
	/* constant once running */
	char *config_path;
	struct config config;        /* as at start; volumes and targets are in the lists below */
	struct state state;
	struct loop **loops;
	unsigned nloops;
	struct arena *arena;
	struct registry *registry;
	struct iscsi_server *iscsi;
	time_t started;
	uint64_t started_ns;
	const char *disk_engine;
	bool create_missing;
	const char *const *accept_loss;
	size_t naccept_loss;

	pthread_mutex_t change, lock;
	/* under lock */
	struct daemon_volume **volumes;
	size_t nvolumes;
	struct daemon_target **targets;
	size_t ntargets;
	struct daemon_portal *portals;
	size_t nportals;
	struct mount *mount;
	char mount_why[1024];        /* why there is none although one was asked for */
	const char *doing;           /* what start or stop is at, for the second Ctrl-C; static text */
	char doing_what[80];

	_Atomic int phase;           /* enum daemon_phase */
	_Atomic bool stop;           /* asked to stop, start-up included */
	_Atomic bool reread;         /* accounts and lists of initiators are to be read from the file again */
};

/** What start or stop is at now. */
void daemon_doing(struct daemon *daemon, const char *doing, const char *what);

/* -- volumes.c: with `change` held, but for daemon_volume_find() -- */
/** Open every volume of the configuration, several at once; failures stay in the list. */
int daemon_open_volumes(struct daemon *daemon);
void daemon_close_volumes(struct daemon *daemon);
/** With change or lock held. NULL when there is none. */
struct daemon_volume *daemon_volume_find(struct daemon *daemon, const char *name);
/** With daemon_volume_find() in vain; with change or lock held. */
int daemon_no_volume(struct daemon *daemon, const char *name, struct errinfo *info);
/** -ENOENT, with the one of n names that may have been meant. */
int daemon_no_such(const char *what, const char *name, const char *const *names, size_t n, struct errinfo *info);
/** Whoever asked may go away meanwhile: then it is not made. */
int daemon_volume_create(struct daemon *daemon, struct config_volume *conf, bool existing, struct admin_call *call,
			 struct errinfo *info);
int daemon_volume_delete(struct daemon *daemon, const char *name, bool keep_data, bool delete_file,
			 struct admin_call *call, struct errinfo *info);
int daemon_volume_resize(struct daemon *daemon, const char *name, uint64_t size, bool shrink, struct errinfo *info);
/** At start, and again for one that failed: held by the caller then, and without `change`, for it may take long. */
int daemon_volume_open(struct daemon *daemon, struct daemon_volume *volume);
/** A place in the list for a volume that is being made, held for its import and not online; conf is taken. */
int daemon_volume_reserve(struct daemon *daemon, struct config_volume *conf, struct daemon_volume **ret,
			  struct errinfo *info);
/** What it is to be made of.  A directory that is missing is an error. */
int daemon_volume_spec(struct daemon *daemon, const struct daemon_volume *volume, struct volume_spec *ret,
		       struct errinfo *info);
/** Delete what was made of it.  What cannot be is logged; none there is 0. */
int daemon_volume_unmake(const struct volume_spec *spec, struct loop *loop);
/** It is made: open it for all, and keep it in the configuration. */
int daemon_volume_adopt(struct daemon *daemon, struct daemon_volume *volume, struct errinfo *info);
/** It is not to be: give up the place. */
void daemon_volume_forget(struct daemon *daemon, struct daemon_volume *volume);
/** Without `change`: import.c says when it takes it. */
int daemon_volume_import(struct daemon *daemon, struct config_volume *conf, const char *from, struct admin_call *call,
			 struct errinfo *info);
/** Tell of imports that were cut off by a crash. */
void daemon_import_leftovers(struct daemon *daemon);

/* -- targets.c: with `change` held -- */
int daemon_open_targets(struct daemon *daemon);
void daemon_close_targets(struct daemon *daemon);
struct daemon_target *daemon_target_find(struct daemon *daemon, const char *name);
int daemon_target_create(struct daemon *daemon, const char *name, struct errinfo *info);
int daemon_target_delete(struct daemon *daemon, const char *name, bool force, struct errinfo *info);
/** lun < 0: the lowest free one; *ret_lun is what it became. */
int daemon_target_map(struct daemon *daemon, const char *target, int64_t lun, const char *volume, bool removable,
		      unsigned *ret_lun, struct errinfo *info);
int daemon_target_unmap(struct daemon *daemon, const char *target, unsigned lun, struct errinfo *info);
/** A volume came online: its LUNs appear in their targets, and initiators are told. */
void daemon_targets_take(struct daemon *daemon, const struct daemon_volume *volume);
/* -- portals.c: with `change` held, but for what says otherwise -- */
int daemon_open_portals(struct daemon *daemon, struct errinfo *info);
/** Takes change itself. */
void daemon_close_portals(struct daemon *daemon);
int daemon_portal_add(struct daemon *daemon, const char *address, uint16_t group, char ret_bound[64],
		      struct errinfo *info);
/** Stops listening; ending the sessions is the caller's, by ret_bound.  Did the file name it? */
int daemon_portal_remove(struct daemon *daemon, const char *address, char ret_bound[64], bool *ret_in_file,
			 struct errinfo *info);
/** redirect NULL: none. */
int daemon_portal_redirect(struct daemon *daemon, const char *address, const struct iscsi_redirect *redirect,
			   char ret_bound[64], struct errinfo *info);
/** Give the server target->paths, before anybody comes by them. */
int daemon_enforce_paths(struct daemon *daemon, struct daemon_target *target);
int daemon_target_groups(struct daemon *daemon, const char *name, const uint16_t *tags, size_t n,
			 struct errinfo *info);
int daemon_target_redirect(struct daemon *daemon, const char *name, const struct iscsi_redirect *redirect,
			   struct errinfo *info);
int daemon_target_alua(struct daemon *daemon, const char *name, uint16_t group, int state, struct errinfo *info);
/** With lock held: {portal_groups: [{group, portals, access}], redirect} into object, and what is configured: groups, alua. */
void daemon_paths_json(struct daemon *daemon, const struct daemon_target *target, json_t *object);
/** With daemon_target_find() in vain; with change or lock held. */
int daemon_no_target(struct daemon *daemon, const char *name, struct errinfo *info);
/* -- target_access.c: with `change` held, but for daemon_access_show() -- */
/** Give the server the rules as they stand in target->access, or daemon->config.discovery (target NULL). */
int daemon_enforce_access(struct daemon *daemon, struct daemon_target *target, struct errinfo *info);
/** name: a target's, or "discovery". */
int daemon_acl_add(struct daemon *daemon, const char *name, const struct acl_change *change, struct errinfo *info);
int daemon_acl_remove(struct daemon *daemon, const char *name, const struct acl_change *change, struct errinfo *info);
int daemon_account_add(struct daemon *daemon, const char *name, const struct account_change *change, struct errinfo *info);
int daemon_account_remove(struct daemon *daemon, const char *name, const struct account_change *change,
			  struct errinfo *info);
/** With lock held: {initiators, chap, mutual} into object; where secrets are, never what they are. */
void daemon_access_json(const struct config_access *access, json_t *object);
/** Without `change`.  Read accounts and lists again when `reread` asks for it; now, or when the change that is under way ends. */
void daemon_settle(struct daemon *daemon);
/** Give `change` back. */
void daemon_end_change(struct daemon *daemon);
/** Takes daemon->lock. */
int daemon_access_show(struct daemon *daemon, const char *name, bool accounts, json_t **ret, struct errinfo *info);
/** Does an initiator have this LUN of the target in its own list of LUNs? */
bool daemon_lun_in_lists(const struct daemon_target *target, unsigned lun, const char **ret_initiator);
/** The first target and LUN that maps volume, or false.  With change or lock held. */
bool daemon_volume_mapped(struct daemon *daemon, const char *volume, const char **ret_target, unsigned *ret_lun);

#endif
