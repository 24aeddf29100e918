/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCSI: what a transport needs to run commands on logical units.  Knows no
 * socket and no PDU; knows volumes through common/volume.h alone.
 *
 * A command in two steps:
 *   scsi_task_start()   decodes the CDB, finds the logical unit, checks what can be checked,
 *                       says how many bytes of Data-Out it takes and has pages for them;
 *   scsi_task_run()     once these bytes are in the pages: carries it out; task->done when status is there.
 * A command that fails in start has its status already: the transport still calls scsi_task_run(),
 * which then completes it at once (unwanted Data-Out is the transport's to discard).
 *
 * Threads: a logical unit has a home: its volume's loop.  start and run are called on the transport's loop; where that is
 * another, the task travels there and back by itself; done runs on task->loop, where start was called.
 */
#ifndef LUNGATE_GATEWAY_SCSI_H
#define LUNGATE_GATEWAY_SCSI_H

#include <stdbool.h>
#include <stdint.h>

#include "common/volume.h"

#define SCSI_LUNS_MAX 256           /* LUNs of one target; single-level LUN addressing, flat space above 255 not used */
#define SCSI_SENSE_MAX 252
#define SCSI_CDB_MAX 260
#define SCSI_INLINE_MAX 512

struct scsi_lu;                     /* the unit that a volume is */
struct scsi_slot;
struct scsi_command;
struct scsi_group;
struct scsi_target;                 /* a set of LUNs, and the I_T nexuses that see it */
struct scsi_nexus;                  /* one I_T nexus */

enum scsi_direction { SCSI_DIR_NONE, SCSI_DIR_IN, SCSI_DIR_OUT };
enum scsi_attr { SCSI_ATTR_UNTAGGED, SCSI_ATTR_SIMPLE, SCSI_ATTR_ORDERED, SCSI_ATTR_HEAD, SCSI_ATTR_ACA };

enum scsi_status {
	SCSI_GOOD = 0x00,
	SCSI_CHECK_CONDITION = 0x02,
	SCSI_CONDITION_MET = 0x04,
	SCSI_BUSY = 0x08,
	SCSI_RESERVATION_CONFLICT = 0x18,
	SCSI_TASK_SET_FULL = 0x28,
	SCSI_TASK_ABORTED = 0x40,
};

/** Why a command fails, before it becomes sense data; private to scsi/. */
struct scsi_fail {
	uint16_t code;                   /* enum scsi_error; 0: it does not */
	uint16_t byte;                   /* field pointer */
	uint8_t bit;
	uint8_t flags;
	uint64_t info;                   /* INFORMATION: LBA or offset */
};

struct scsi_task {
	/* set by the transport */
	struct scsi_nexus *nexus;
	uint8_t lun[8];                  /* as on the wire */
	uint8_t cdb[SCSI_CDB_MAX];
	unsigned cdb_len;
	enum scsi_attr attr;
	uint32_t in_room;                /* what the initiator expects at most, Data-In */
	uint32_t out_room;               /* what the initiator offers, Data-Out */
	uint64_t tag;                    /* of the transport: TMF finds tasks by it */
	void (*done)(struct scsi_task *task);
	struct loop *loop;               /* where start was called; set by start */

	/* set by scsi_task_start */
	uint32_t out_len;                /* Data-Out bytes that the command takes (by its CDB); the transport brings
	                                    min(out_len, out_room) of them */
	/* Data-Out and Data-In in arena pages: the first byte is at pages[0]->data + page_off */
	struct page **pages;
	unsigned npages;
	uint32_t page_off;

	/* the result, set when done runs */
	enum scsi_status status;
	uint8_t sense[SCSI_SENSE_MAX];
	unsigned sense_len;
	/** Data-In: bytes there are by the CDB's allocation length or transfer length.  The transport sends min(in_len, in_room)
	 *  and reports the residual against in_room.  In pages, or when inline_in in inline_buf. */
	uint32_t in_len;
	bool inline_in;
	uint8_t inline_buf[SCSI_INLINE_MAX];
	/** Answer nothing: the task was aborted by a TMF whose response speaks for it. */
	bool silent;

	/* private to scsi/: start sets all of it, the struct needs no clearing */
	struct scsi_slot *slot;          /* of the target; NULL: there is no such LUN */
	struct scsi_lu *lu;              /* to be followed on its loop alone, between run and done */
	uint64_t lu_id;                  /* which unit start saw at the slot */
	uint64_t epoch;                  /* task management of a higher epoch came after this task */
	const struct scsi_command *command;
	struct scsi_task *lu_next, *lu_prev;
	struct scsi_fail fail;
	struct loop_msg msg;
	struct vol_req req;
	struct page *few_pages[8];       /* pages points here when they suffice */
	unsigned held;                   /* references in pages[0 .. held) are the task's */
	unsigned slots;                  /* how many pages[] has room for */
	uint8_t place, pump;
	bool aborted;                    /* by task management; on its unit's loop */
	bool no_answer;                  /* and nobody is to be told */
	bool read_only;                  /* the nexus may not write here */
	uint64_t lba, blocks;            /* the range asked for */
	uint64_t at;                     /* how far a long command has come, bytes from lba on */
	uint32_t alloc_len;              /* Data-In at most, by the CDB */
	uint32_t state;                  /* the step that comes next */
	void *priv;                      /* a command's own memory; free()d with the task */
	const struct scsi_task *killer;  /* PREEMPT AND ABORT that aborted it; to be compared, not followed */
};

/**
 * Decode and prepare.  0: out_len and pages are set (or the task has failed and out_len is 0).
 * -EAGAIN: the arena is short; nothing was done; try again when arena_wait() says so.
 */
int scsi_task_start(struct scsi_task *task);
/** May call done before it returns.  On the loop of start. */
void scsi_task_run(struct scsi_task *task);
/** Give back pages and references after the answer is sent, or instead of running a started task.  The struct is the transport's. */
void scsi_task_release(struct scsi_task *task);

/** Task management, SAM-5 clause 7. */
enum scsi_tmf {
	SCSI_TMF_ABORT_TASK,
	SCSI_TMF_ABORT_TASK_SET,
	SCSI_TMF_CLEAR_TASK_SET,
	SCSI_TMF_LU_RESET,
	SCSI_TMF_TARGET_WARM_RESET,
	SCSI_TMF_TARGET_COLD_RESET,
	SCSI_TMF_CLEAR_ACA,
	SCSI_TMF_NEXUS_LOSS,             /* scsi_nexus_free() alone */
};
enum scsi_tmf_result { SCSI_TMF_COMPLETE, SCSI_TMF_NO_TASK, SCSI_TMF_NO_LUN, SCSI_TMF_NOT_SUPPORTED, SCSI_TMF_REJECTED };

/*
 * A task that was started but not run is not in the task set yet:
 *   ABORT_TASK does not find it: the transport releases it itself (and answers for it).
 *   ABORT_TASK_SET, CLEAR_TASK_SET and the resets do reach it: when it is run it ends at once,
 *   without effect, silent or with TASK ABORTED.  It may as well be released without being run.
 * A task is never run after scsi_nexus_free().
 */
struct scsi_tmf_req {
	struct scsi_nexus *nexus;
	enum scsi_tmf function;
	uint8_t lun[8];
	uint64_t tag;                    /* ABORT_TASK */
	enum scsi_tmf_result result;
	/** Runs on loop after every affected task has ended: none has an effect after this. */
	void (*done)(struct scsi_tmf_req *req);
	struct loop *loop;
	/* private */
	struct loop_msg msg;
	struct scsi_tmf_req *next;
	struct scsi_slot *slot;
	struct scsi_lu *lu;
	uint64_t epoch;
	unsigned first_lun, at_lun, pass;
};
void scsi_tmf_submit(struct scsi_tmf_req *req);

/* -- targets, LUNs, nexuses: on the main loop (configuration) unless said otherwise -- */

/** home: the loop of the target's volumes (connections move there). NULL = that of the first volume mapped. */
int scsi_target_new(const char *name, struct scsi_target **ret);
void scsi_target_free(struct scsi_target *target);
/** Takes a reference to vol.  -EEXIST, -EINVAL.  Sessions see REPORTED LUNS DATA HAS CHANGED. */
int scsi_target_map(struct scsi_target *target, unsigned lun, struct volume *vol, struct errinfo *info);
/** The same, and what the LUN is beside its volume; every mapping of one volume must say the same (-EINVAL). */
struct scsi_map_options {
	bool removable;              /* a medium that START STOP UNIT loads and ejects */
};
int scsi_target_map_with(struct scsi_target *target, unsigned lun, struct volume *vol,
			 const struct scsi_map_options *options, struct errinfo *info);
/** Tasks in flight end first, a SANITIZE is broken off; blocks: not on a loop.  -ENOENT. */
int scsi_target_unmap(struct scsi_target *target, unsigned lun);
/** Where a connection to this target should live; NULL when no LUN is mapped. Any thread. */
struct loop *scsi_target_home(struct scsi_target *target);

/* -- what a nexus sees (LUN masking) -- */

#define SCSI_VIEW_NONE 0xffffu
#define SCSI_VIEW_READ_ONLY 0x8000u
/** For each LUN number that the initiator may use: the target's LUN that it is, with SCSI_VIEW_READ_ONLY where it may
 *  not write, or SCSI_VIEW_NONE.  No LUN of the target twice. */
struct scsi_view {
	uint16_t lun[SCSI_LUNS_MAX];
};
/** Every LUN under its own number: what a new nexus has. */
void scsi_view_all(struct scsi_view *view);
void scsi_view_none(struct scsi_view *view);
/** Any thread, one at a time for a nexus.  Commands in flight end as they began; true when something changed: the initiator sees
 *  REPORTED LUNS DATA HAS CHANGED then. */
bool scsi_nexus_set_view(struct scsi_nexus *nexus, const struct scsi_view *view);
/** What a unit attention says after such a change, or after a LUN was mapped or unmapped; the length. */
unsigned scsi_luns_changed_sense(uint8_t sense[SCSI_SENSE_MAX]);

/* -- asymmetric access: the target port groups are the portal groups -- */

enum scsi_access {
	SCSI_ACCESS_OPTIMIZED,
	SCSI_ACCESS_NON_OPTIMIZED,
	SCSI_ACCESS_STANDBY,
	SCSI_ACCESS_UNAVAILABLE,
	/* the target's own business: initiators cannot set them, nor change a group that is in one of them */
	SCSI_ACCESS_OFFLINE,
	SCSI_ACCESS_TRANSITIONING,
	SCSI_ACCESS_COUNT
};

#define SCSI_GROUPS_MAX 16

/** Any thread.  A portal group that leads to this target: initiators see it before anybody came by it.  A nexus adds its own. -ENOSPC. */
int scsi_target_add_group(struct scsi_target *target, uint16_t tpgt);
/** Any thread that may block.  It leads here no more: it is unavailable, and its place is another group's when one needs it and no nexus is left of it. */
void scsi_target_drop_group(struct scsi_target *target, uint16_t tpgt);
/** Any thread that may block.  What the target itself decides (implicit); sessions see ASYMMETRIC ACCESS STATE
 *  CHANGED.  What initiators have set is kept all the same.  -ENOENT. */
int scsi_target_set_access(struct scsi_target *target, uint16_t tpgt, enum scsi_access access);
/** The same for a group that begins: in the state that an initiator has set last, if one has, else in this one. */
int scsi_target_resume_access(struct scsi_target *target, uint16_t tpgt, enum scsi_access access);
/** What initiators have set for the group is forgotten; its state stays as it is.  The store's error.  Blocks. */
int scsi_target_forget_access(struct scsi_target *target, uint16_t tpgt);
/** Any thread.  As it is now, initiators' explicit changes included.  -ENOENT. */
int scsi_target_get_access(struct scsi_target *target, uint16_t tpgt, enum scsi_access *ret);

/** Where it is kept what initiators set (SET TARGET PORT GROUPS), by the target's name.  Both block. */
struct scsi_access_store {
	/** What was saved last: malloc()ed, the caller's.  -ENOENT: nothing.  From scsi_target_new(). */
	int (*load)(void *arg, const char *target, char **ret, size_t *ret_len);
	/** Durable when it returns 0.  text NULL: forget it. */
	int (*save)(void *arg, const char *target, const char *text, size_t len);
	void *arg;
};
/** Before the first target, copied; NULL: nothing is kept. */
void scsi_set_access_store(const struct scsi_access_store *store);

/* -- what outlives the daemon: persistent reservations (APTPL), a SANITIZE that has not succeeded -- */

/** Where it is kept for volumes that keep no attributes themselves, a text for a name and the volume's uuid.  Both block. */
struct scsi_store {
	/** What was saved last: malloc()ed, the caller's.  -ENOENT: nothing.  From scsi_target_map() and scsi_recall(). */
	int (*load)(void *arg, const char *name, const uint8_t uuid[UUID_LEN], char **ret, size_t *ret_len);
	/** Durable when it returns 0.  text NULL: forget it.  On the pool, or where load is called. */
	int (*save)(void *arg, const char *name, const uint8_t uuid[UUID_LEN], const char *text, size_t len);
	void *arg;
};
/** Before the first mapping, copied; NULL: there is none: such volumes are not sanitized and keep no reservations. */
void scsi_set_store(const struct scsi_store *store);
/** Before others get at a volume that was opened: bars it when a SANITIZE of it has not succeeded.  Blocks: not on a loop. */
int scsi_recall(struct volume *vol);

/* scsi_tmf_submit(), scsi_nexus_new() and scsi_nexus_free(): on a loop. */
/** One per session.  initiator: its iSCSI name; isid and tpgt make the port names of VPD 83 and reservations.
 *  port_name: the target port's name ("iqn...,t,0x0001"). Any loop. A new nexus has the power-on unit attention on each LUN. */
int scsi_nexus_new(struct scsi_target *target, const char *initiator, const uint8_t isid[6], uint16_t tpgt,
		   struct scsi_nexus **ret);
/** Aborts what is still running, waits for it by message, then done(arg) on the calling loop. */
void scsi_nexus_free(struct scsi_nexus *nexus, void (*done)(void *arg), void *arg);

#endif
