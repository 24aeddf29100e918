/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent reservations of a unit (SPC-4 5.13): who is registered, who holds
 * what.  pr.c has the state and its rules, pr_cmd.c the two commands, pr_id.c
 * TransportIDs, pr_save.c the text that is kept for APTPL.
 *
 * A change is made on a copy: copy, change, save where the copy or the original is to survive power loss, put
 * in place.  So a change whose save fails never was.
 *
 * Threads: the unit's home, but for scsi_pr_load (configuration).
 */
#ifndef LUNGATE_GATEWAY_SCSI_PR_H
#define LUNGATE_GATEWAY_SCSI_PR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/scsi/scsi.h"

#define PR_NAME_MAX 224
#define PR_REGS_MAX 192 /* READ FULL STATUS of all of them fits what one command returns */

struct scsi_lu;
struct scsi_itl;

/* SPC-4 table 66; 0: there is no reservation */
enum pr_type {
	PR_NONE = 0,
	PR_WE = 1,
	PR_EA = 3,
	PR_WE_RO = 5,
	PR_EA_RO = 6,
	PR_WE_AR = 7,
	PR_EA_AR = 8,
};

/** One initiator port, and one target port or all of its target. */
struct pr_port {
	char initiator[PR_NAME_MAX];
	uint8_t isid[6];
	char target[PR_NAME_MAX];
	uint16_t port;
	bool all_ports;
};

struct pr_reg {
	struct pr_reg *next;
	struct pr_port who;
	uint64_t key;
};

struct pr_state {
	struct pr_reg *regs;
	unsigned n;
	enum pr_type type;
	struct pr_reg *holder; /* NULL where all registrants hold it, or nobody */
	bool aptpl;
};

/** A change under way. */
struct pr_change {
	struct pr_state next;
	struct pr_reg *removed; /* registrations that others lose */
	uint8_t removed_ua;     /* enum scsi_ua: what they are told */
	bool released;          /* the others that stay registered: RESERVATIONS RELEASED */
	bool bump;              /* PRGENERATION */
	bool abort;             /* tasks of those removed */
};

struct scsi_pr {
	struct pr_state state;
	uint32_t generation;
	bool busy; /* a change is being saved: the next waits */
};

/* -- rules: pure --------------------------------------------------------- */

/** Does a command that conflicts so (F_WE, F_EA) with reservations meet one of this type? */
bool pr_conflicts(enum pr_type type, bool holder, bool registered, unsigned flags);
bool pr_type_valid(unsigned type);
bool pr_all_registrants(enum pr_type type);
bool pr_registrants_only(enum pr_type type);
bool pr_holds(const struct pr_state *state, const struct pr_reg *reg);

struct pr_reg *pr_find(const struct pr_state *state, const struct pr_port *who);
/** -ENOMEM, -ENOSPC. */
int pr_add(struct pr_state *state, const struct pr_port *who, uint64_t key, struct pr_reg **ret);
int pr_copy(const struct pr_state *state, struct pr_state *ret);
void pr_state_fini(struct pr_state *state);

/* The changes.  0, or what is wrong (enum scsi_error). */
unsigned pr_unregister(struct pr_change *change, struct pr_reg *own);
unsigned pr_reserve(struct pr_change *change, struct pr_reg *own, enum pr_type type);
unsigned pr_release(struct pr_change *change, const struct pr_reg *own, enum pr_type type);
void pr_clear(struct pr_change *change, struct pr_reg *own);
unsigned pr_preempt(struct pr_change *change, struct pr_reg *own, uint64_t key, enum pr_type type);
void pr_change_fini(struct pr_change *change);

/* -- TransportIDs, SPC-4 7.6.4.6 ----------------------------------------- */

#define PR_ID_MAX 264 /* bytes of the longest that is ours */

/** Returns the length. */
size_t pr_id_put(const struct pr_port *who, uint8_t *buf);
/** One at p, its length in *ret_len; initiator and, where it says one, isid of *ret.  -EINVAL. */
int pr_id_get(const uint8_t *p, size_t n, struct pr_port *ret, bool *ret_has_isid, size_t *ret_len);

/* -- kept text ----------------------------------------------------------- */

/** malloc()ed; NULL without memory. */
char *pr_text(const struct pr_state *state, size_t *ret_len);
/** LG_EDAMAGED: not what pr_text makes. */
int pr_parse(const char *text, size_t len, struct pr_state *ret);
/** What is kept for this unit; nothing kept is fine.  Blocks: not on a loop. */
int scsi_pr_load(struct volume *vol, struct scsi_pr *pr);
#define PR_KEPT "reservations" /* the name under which it is kept */

/* -- of a unit ----------------------------------------------------------- */

/** itl->registered and itl->holder as the state says. */
void scsi_pr_link(struct scsi_lu *lu, struct scsi_itl *itl);
/** A task of the set has ended, or a guest left: whoever waits for it to be aborted. */
void scsi_pr_recheck(struct scsi_lu *lu);

#endif
