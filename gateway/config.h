/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration: one JSON file, lungate.json(5).  Read by tables, checked
 * as a whole; every complaint says file, line and column.
 *
 * Threads: any (no shared state).
 */
#ifndef LUNGATE_GATEWAY_CONFIG_H
#define LUNGATE_GATEWAY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/jsonconf.h"
#include "common/log.h"
#include "common/secret.h"
#include "gateway/iscsi/iscsi.h"
#include "stores/stores.h"

struct config_volume {
	char *name, *store;
	uint64_t size;               /* 0 = not said */
	uint64_t block_size, chunk_size;
	int durability;              /* enum vol_durability */
	bool write_cache, read_only;
	char *journal_dir;           /* NULL = the daemon's: STATE_DIR/journal */
	uint64_t journal_size, commit_window, commit_interval;
	char *uuid;                  /* raw, ram, null; NULL = not made yet */
};

struct config_lun {
	uint64_t lun;
	char *volume;
	bool removable;
};

/** A CHAP account; one of secret_file and secret_env says where its secret is from, or neither: it stands in the file. */
struct config_account {
	char *user, *secret_file, *secret_env;
	struct secret *secret;
};

/** A LUN as one initiator sees it. */
struct config_mask {
	uint64_t lun;
	char *volume;
	bool read_only;
};

struct config_initiator {
	char *name, *network, *account; /* the latter two may be NULL */
	bool masked;                 /* it sees luns and nothing else */
	struct config_mask *luns;
	size_t nluns;
};

/** Who may log in to a target, or to discovery. */
struct config_access {
	bool chap;                   /* with an account only; with none nobody can */
	struct config_account *accounts;
	size_t naccounts;
	struct config_account *mutual; /* NULL: none */
	bool listed;                 /* only these initiators; with none nobody */
	struct config_initiator *initiators;
	size_t ninitiators;
};

/** "optimized", ...: as enum scsi_access. */
extern const char *const config_alua_states[];

struct config_alua {
	uint64_t group;
	int state;                   /* enum scsi_access */
};

/** The ways to a target. */
struct config_paths {
	uint16_t groups[ISCSI_GROUPS_MAX]; /* portal groups that lead to it */
	size_t ngroups;              /* 0: all */
	struct iscsi_redirect redirect;
	struct config_alua alua[ISCSI_GROUPS_MAX]; /* of groups that are not optimized */
	size_t nalua;
};

/** Of "listen" (the default group), or of "portal_groups". */
struct config_portal {
	char *address;
	uint16_t group;
	struct iscsi_redirect redirect;
};

struct config_target {
	char *name;
	struct config_lun *luns;
	size_t nluns;
	struct config_paths paths;
	struct config_access access;
};

struct config_mount {
	char *path;                  /* NULL = no mount */
	bool allow_other;
};

/** struct iscsi_limits as the reader fills it. */
struct config_limits {
	uint64_t max_connections, max_connections_per_address, max_logins;
	uint64_t login_timeout_ms, idle_timeout_ms, nop_interval_ms, nop_timeout_ms;
	uint64_t queue_depth, max_recv_segment, max_burst, first_burst, max_outstanding_r2t;
	uint64_t error_recovery_level, task_retain_s, session_connections;
};

/** What all object stores together may take. */
struct config_store_limits {
	uint64_t in_flight, up, down; /* requests; bytes a second, 0 = no cap */
};

struct config {
	struct config_portal *portals;
	size_t nportals;
	uint16_t groups[ISCSI_GROUPS_MAX]; /* tags of the portal groups; the default one is the first */
	size_t ngroups;
	char *control, *state_dir;   /* never NULL after loading */
	struct config_mount mount;
	uint64_t memory, threads;    /* threads 0 = one a core */
	uint64_t close_timeout;      /* s */
	int log_level;               /* enum log_level */
	struct config_limits limits;
	struct config_store_limits store_limits;
	struct config_volume *volumes;
	size_t nvolumes;
	struct config_target *targets;
	size_t ntargets;
	struct config_access discovery; /* never listed */
	unsigned chap_algorithms;    /* 1 << number; 0 = all */
};

/** Everything that is wrong with a file, not the first thing alone. */
struct config_report {
	char **texts;
	size_t n;
};
void config_report_fini(struct config_report *report);

/** Parse and check.  report may be NULL; info gets the first complaint and how many more there are.
 *  0, LG_ECONFIG, or what reading the file gave. */
int config_load(const char *path, struct config *ret, struct config_report *report, struct errinfo *info);
int config_parse(const struct json_doc *doc, struct config *ret, struct config_report *report, struct errinfo *info);
void config_fini(struct config *config);
/** Again, after mount.path was replaced. */
int config_mount_check(const struct config *config, struct errinfo *info);

/** One volume's object, as in "volumes": [...] and in the request volume.create. */
int config_volume_parse(const struct json_doc *doc, json_t *object, const char *path, struct config_volume *ret,
			struct errinfo *info);
void config_volume_fini(struct config_volume *volume);
/** As it is written into the file: what is not the default. */
json_t *config_volume_json(const struct config_volume *volume);
/** "10G" where the size is a whole number of units: what people would have written. */
json_t *config_size_json(uint64_t bytes);

/** "chunked", "raw", "ram", "null"; NULL when no store of this version has such a name. */
const char *config_store_kind(const char *store);

/** Strings stay config's; journal_dir is used where the volume names none. */
int config_volume_spec(const struct config_volume *volume, const char *journal_dir,
		       const uint8_t gateway_id[GATEWAY_ID_LEN], struct volume_spec *ret);
/** The rules that the server is to be given, NULL when there are none.  luns: those of the target. */
int config_make_access(const struct config_access *conf, const struct config_lun *luns, size_t nluns, unsigned algorithms,
		       struct iscsi_access **ret, struct errinfo *info);
void config_access_fini(struct config_access *access);
/** Append one.  0 or -ENOMEM. */
int config_portal_append(struct config *config, const char *address, uint16_t group);
void config_portals_fini(struct config *config);
/** An address and a port in numbers, as "127.0.0.1:3260" or "[::1]:3260"? */
bool config_address_valid(const char *text);
void config_iscsi_limits(const struct config_limits *limits, struct iscsi_limits *ret);

/** The tables themselves, for `config check --explain` and for the test of the manual page. */
struct config_table {
	const char *place;           /* "", "mount", "volumes[]" */
	const struct json_key *keys;
	size_t n;
};
extern const struct config_table config_tables[];
extern const size_t config_ntables;

/** Free the strings that json_read() put into out. */
void config_free_strings(const struct json_key *keys, size_t n, void *out);

/* -- changing the file, config_edit.c -- */

/** Read the file as it stands now, let edit() change the tree, check the result as a whole, and replace the file atomically with the
 *  order of keys and the mode kept.  Hand edits made meanwhile stay.  Blocks. */
int config_edit(const char *path, int (*edit)(void *arg, json_t *root, struct errinfo *info), void *arg,
		struct errinfo *info);

int config_add_volume(const char *path, const struct config_volume *volume, struct errinfo *info);
int config_remove_volume(const char *path, const char *name, struct errinfo *info);
/** value: stolen. */
int config_set_volume(const char *path, const char *name, const char *key, json_t *value, struct errinfo *info);
int config_add_target(const char *path, const char *name, struct errinfo *info);
int config_remove_target(const char *path, const char *name, struct errinfo *info);
int config_add_lun(const char *path, const char *target, const struct config_lun *lun, struct errinfo *info);
int config_remove_lun(const char *path, const char *target, unsigned lun, struct errinfo *info);

/* -- the same for portals and the ways to targets, config_edit_portal.c; targets as they are written -- */

int config_add_portal(const char *path, const char *address, uint16_t group, struct errinfo *info);
/** As it was written, or as it is bound: edits by hand may have given it its port, or another group.  Its group goes with its last
 *  portal where no target names it.  *ret_found: it was there. */
int config_remove_portal(const char *path, const char *address, const char *bound, uint16_t group, bool *ret_found,
			 struct errinfo *info);
/** redirect NULL: none. */
int config_set_portal_redirect(const char *path, const char *address, uint16_t group,
			       const struct iscsi_redirect *redirect, struct errinfo *info);
int config_set_target_redirect(const char *path, const char *target, const struct iscsi_redirect *redirect,
			       struct errinfo *info);
/** n 0: all. */
int config_set_target_groups(const char *path, const char *target, const uint16_t *tags, size_t n,
			     struct errinfo *info);
int config_set_target_alua(const char *path, const char *target, uint16_t group, int state, struct errinfo *info);

/* -- the same for accounts and lists of initiators, config_edit_access.c -- */

struct acl_change {
	const char *name, *network, *account; /* the latter two may be NULL */
	json_t *luns;                /* as in the file, borrowed; NULL: all */
	bool replace;
	bool open;                   /* the list goes with its last row, and everybody may log in */
};

struct account_change {
	const char *user, *secret_file, *secret_env;
	bool mutual;
	bool replace;
	bool open;
};

/** target as it is written in the file; NULL: discovery.  A row of the same name (and network) is replaced. */
int config_put_initiator(const char *path, const char *target, const struct acl_change *change, struct errinfo *info);
int config_drop_initiator(const char *path, const char *target, const struct acl_change *change, struct errinfo *info);
int config_put_account(const char *path, const char *target, const struct account_change *change, struct errinfo *info);
int config_drop_account(const char *path, const char *target, const struct account_change *change, struct errinfo *info);

#endif
