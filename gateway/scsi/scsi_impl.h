/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of gateway/scsi/ share.
 *
 *   optable.c   the one table of commands, CDB checks and decoding
 *   sense.c     the one table of errors, sense data
 *   task.c      start, run, release; pages; the step pump
 *   lu.c        logical units: task sets, unit attentions
 *   target.c    targets and their LUNs     nexus.c  I_T nexuses
 *   tmf.c       task management
 *   alua*.c     target port groups         pr*.c    persistent reservations
 *   sanitize.c  what goes on after its command
 *   keep.c      what outlives the daemon
 *   spc.c inquiry.c mode.c log.c sbc.c sbc_more.c xcopy*.c   the commands
 *
 * A command is a step function: called with task->state 0 first, and again each
 * time the volume request that it asked for (STEP_IO) has ended.
 *
 * Threads: "home" is the loop of a unit's volume.
 */
#ifndef LUNGATE_GATEWAY_SCSI_IMPL_H
#define LUNGATE_GATEWAY_SCSI_IMPL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/util.h"
#include "common/volume.h"
#include "gateway/scsi/pr.h"
#include "gateway/scsi/scsi.h"

/* -- sense.c ------------------------------------------------------------- */

enum scsi_error {
	SE_NONE,
#define SENSE(name, status, key, code, text) SE_##name,
#include "gateway/scsi/sense.def"
#undef SENSE
	SE_COUNT
};

enum sense_key {
	KEY_NO_SENSE = 0x0,
	KEY_NOT_READY = 0x2,
	KEY_MEDIUM_ERROR = 0x3,
	KEY_HARDWARE_ERROR = 0x4,
	KEY_ILLEGAL_REQUEST = 0x5,
	KEY_UNIT_ATTENTION = 0x6,
	KEY_DATA_PROTECT = 0x7,
	KEY_COPY_ABORTED = 0xa,
	KEY_ABORTED_COMMAND = 0xb,
	KEY_MISCOMPARE = 0xe,
};

#define FAIL_INFO 0x01u  /* info counts */
#define FAIL_CDB 0x02u   /* byte is an offset in the CDB */
#define FAIL_PARAM 0x04u /* byte is an offset in the parameter list */
#define FAIL_BIT 0x08u   /* bit counts */
#define FAIL_PROGRESS 0x10u /* info is a progress indication, of 65536 */

struct scsi_sense_row {
	const char *name;
	enum scsi_status status;
	enum sense_key key;
	uint16_t code; /* ASC << 8 | ASCQ */
	const char *text;
};
const struct scsi_sense_row *scsi_sense_row(enum scsi_error error);

/** Sense data for fail; returns its length.  buf of SCSI_SENSE_MAX. */
unsigned scsi_sense_build(const struct scsi_fail *fail, bool descriptor, uint8_t *buf);
/** The error that the status of a volume request stands for. */
enum scsi_error scsi_error_of(int status, enum vol_op op);

/* -- unit attentions (lu.c) ---------------------------------------------- */

/* In the order in which they are reported. */
enum scsi_ua {
	UA_POWER_ON,
	UA_TARGET_RESET,
	UA_LU_RESET,
	UA_CAPACITY_CHANGED,
	UA_MODE_CHANGED,
	UA_CLEARED_BY_OTHER,
	UA_MEDIUM_CHANGED,
	UA_RES_PREEMPTED,
	UA_RES_RELEASED,
	UA_REG_PREEMPTED,
	UA_COUNT,
	UA_NONE = UA_COUNT,
};

/** One nexus at one LUN.  Home loop only, but for the place of `nexus`. */
struct scsi_itl {
	struct scsi_nexus *nexus;
	struct scsi_itl *next, *prev; /* in lu->itls while linked */
	uint64_t aborted_epoch;       /* ABORT TASK SET reached this far */
	uint64_t preempted_epoch;     /* PREEMPT AND ABORT of another reached this far */
	uint64_t luns_seen;           /* scsi_inventory() when 3F/0E was last reported */
	uint64_t access_seen;         /* target->access_changes when 2A/06 was last reported */
	uint32_t ua;                  /* bits by enum scsi_ua */
	uint16_t lun;
	bool linked;
	bool registered, holder; /* persistent reservations */
	bool prevents;           /* removal of the medium */
};

/* -- logical units (lu.c) ------------------------------------------------ */

struct scsi_sanitize;

#define SCSI_COPIES_KEPT 16

/** An EXTENDED COPY under way or over (SPC-4 6.20). */
struct copy_record {
	const struct scsi_nexus *nexus; /* NULL: none; to be compared, not followed */
	uint32_t list_id;
	bool four;     /* LID4 */
	uint8_t state; /* COPY MANAGER STATUS */
	uint16_t segments;
	uint64_t bytes;
};

/** An EXTENDED COPY that was sent to another unit and reads or writes here.  Home only, but for what stop points at. */
struct scsi_guest {
	struct scsi_guest *next; /* in lu->guests while linked */
	struct scsi_nexus *nexus;
	const struct scsi_slot *slot;
	uint64_t epoch;                 /* of its task */
	_Atomic unsigned *stop;         /* enum scsi_error: what ends it here */
	const struct scsi_task *killer; /* who waits until it has left; to be compared, not followed */
	bool writes, linked;
};

struct scsi_lu {
	struct volume *vol;
	struct loop *home;
	uint64_t id;              /* never reused */
	unsigned mappings;        /* under the table's lock */
	struct scsi_lu *all_next; /* under the table's lock */

	/* home loop only from here on */
	struct scsi_task *tasks_head, *tasks_tail; /* the task set, oldest first */
	unsigned ntasks;
	unsigned nbarriers; /* ORDERED, HEAD OF QUEUE and exclusive ones among them */
	bool kicking;
	uint64_t cleared_epoch;              /* CLEAR TASK SET and resets reached this far */
	const struct scsi_nexus *cleared_by; /* to be compared, not followed */
	struct scsi_tmf_req *waiters;
	struct scsi_itl *itls;
	struct scsi_guest *guests;
	uint64_t size_seen;
	bool stopped; /* START STOP UNIT */
	bool removable, ejected;
	struct scsi_itl *reserved_by;
	bool d_sense, swp, tas, wce;
	struct scsi_pr pr;
	struct scsi_sanitize *sanitize; /* one goes on */
	bool sanitize_failed, sanitize_ause;
	struct copy_record copies[SCSI_COPIES_KEPT]; /* what RECEIVE COPY RESULTS can tell */
	unsigned last_copy;
};

/** The unit of vol, made when it is not there; takes a reference to vol with the first mapping. */
int scsi_lu_get(struct volume *vol, const struct scsi_map_options *options, struct scsi_lu **ret);
void scsi_lu_put(struct scsi_lu *lu);

/** On home: into the task set. */
void scsi_lu_enter(struct scsi_task *task);
/** On home: the task has ended with status; out of the set and on its way back. */
void scsi_lu_finish(struct scsi_task *task, enum scsi_status status);
/** On home: begin what may begin. */
void scsi_lu_kick(struct scsi_lu *lu);
/** On home: end a task of the set that never began, or is parked. */
void scsi_lu_drop(struct scsi_task *task);
/** On home: all of those that are aborted. */
void scsi_lu_drop_aborted(struct scsi_lu *lu);
/** Why the unit carries out nothing of these flags now: SE_NONE when it does. */
enum scsi_error scsi_lu_state(const struct scsi_lu *lu, unsigned flags);

void scsi_lu_unlink_itl(struct scsi_lu *lu, struct scsi_itl *itl);
/** Establish a unit attention for every nexus but `except` (may be NULL). */
void scsi_lu_attention(struct scsi_lu *lu, enum scsi_ua ua, const struct scsi_itl *except);
/** The attention to report next, taken; its sense code, or SE_NONE. */
enum scsi_error scsi_lu_take_attention(struct scsi_lu *lu, struct scsi_itl *itl);
/** On home: an EXTENDED COPY of another unit comes and goes. */
void scsi_guest_enter(struct scsi_lu *lu, struct scsi_guest *guest);
void scsi_guest_leave(struct scsi_lu *lu, struct scsi_guest *guest);
/** On home: nothing more is begun here, and the copy ends for this reason, unless it had one before. */
void scsi_guest_stop(struct scsi_guest *guest, enum scsi_error why);
/** On home: whether what another nexus holds keeps it out. */
bool scsi_guest_conflicts(struct scsi_lu *lu, const struct scsi_guest *guest);
/** On home: stop those that a change of the reservations keeps out. */
void scsi_guests_check(struct scsi_lu *lu);
/** What a logical unit reset undoes (SAM-5 6.3.3), but for the tasks. */
void scsi_lu_reset_state(struct scsi_lu *lu);

static inline uint64_t
lu_blocks(const struct scsi_lu *lu)
{
	return atomic_load_explicit(&lu->vol->size, memory_order_relaxed) / lu->vol->block_size;
}

/* -- targets, slots, nexuses --------------------------------------------- */

#define SLOT_CLOSING 0x80000000u

/** A LUN of a target.  users counts those who follow lu; unmap waits for them. */
struct scsi_slot {
	_Atomic(struct scsi_lu *) lu;
	_Atomic uint32_t users;
	struct slot_wait *_Atomic wait;
};

#define SCSI_NAME_MAX PR_NAME_MAX

/** A target port group: the portals of one portal group, together one target port. */
struct scsi_group {
	_Atomic uint32_t tpgt;     /* its number, and its port's; 0: not in use */
	_Atomic uint32_t access;   /* enum scsi_access */
	_Atomic uint32_t explicitly; /* by SET TARGET PORT GROUPS */
	/* under the target's groups_lock */
	uint32_t nexuses;          /* that came by it */
	bool spare;                /* it leads here no more: another one may have the place when nobody uses it */
};

/** What initiators have set, and a restart shall not undo.  Groups need not be there (yet). */
struct kept_access {
	unsigned n;
	struct {
		uint16_t tpgt;
		uint8_t access, spare;
	} groups[SCSI_GROUPS_MAX];
};

struct scsi_target {
	char name[SCSI_NAME_MAX];
	_Atomic uint64_t inventory; /* bumped by map and unmap */
	_Atomic uint32_t nexuses;
	_Atomic uint64_t access_changes; /* of any group */
	pthread_mutex_t groups_lock; /* held while places are given; never on the data path */
	struct scsi_group groups[SCSI_GROUPS_MAX];
	pthread_mutex_t kept_lock;
	struct kept_access kept; /* under kept_lock */
	struct scsi_slot slots[SCSI_LUNS_MAX];
};

struct scsi_nexus {
	struct scsi_target *target;
	char initiator[SCSI_NAME_MAX];
	uint8_t isid[6];
	uint16_t tpgt;
	_Atomic uint32_t refs;         /* its owner's, and one for each linked itl */
	_Atomic unsigned functions; /* task management on its way, and 1 until the loss has visited every unit */
	struct scsi_group *group;
	_Atomic uint64_t luns_reported; /* scsi_inventory() that REPORT LUNS has told */
	_Atomic uint64_t access_told;   /* of target->access_changes: it made them itself */
	_Atomic uint16_t view[SCSI_LUNS_MAX]; /* as struct scsi_view */
	_Atomic uint64_t view_changes;
	struct scsi_itl itls[SCSI_LUNS_MAX];
	/* nexus_free */
	struct scsi_tmf_req loss;
	void (*freed)(void *arg);
	void *freed_arg;
};

void scsi_nexus_unref(struct scsi_nexus *nexus);
/** The slot behind a LUN of this nexus, NULL when it sees none; is it read only for it? */
struct scsi_slot *scsi_nexus_slot(const struct scsi_nexus *nexus, int lun, bool *ret_read_only);
/** Does it see this slot under any number? */
bool scsi_nexus_sees(const struct scsi_nexus *nexus, const struct scsi_slot *slot, bool *ret_read_only);

/** Grows with every change of what this nexus would be told by REPORT LUNS. */
static inline uint64_t
scsi_inventory(const struct scsi_nexus *nexus)
{
	return atomic_load_explicit(&nexus->target->inventory, memory_order_acquire) +
	       atomic_load_explicit(&nexus->view_changes, memory_order_acquire);
}

/** SPC-4 5.15.2: why a command of these flags is not carried out by a group in this state, or SE_NONE. */
enum scsi_error scsi_access_refuses(enum scsi_access access, unsigned flags);

/* alua_keep.c; load and save with target->kept_lock held. */
bool scsi_access_can_keep(void);
void scsi_kept_load(struct scsi_target *target);
/** Durable, and target->kept, when it returns 0; else nothing is changed.  Blocks. */
int scsi_kept_save(struct scsi_target *target, const struct kept_access *next);
/** Its place, or -1. */
int scsi_kept_find(const struct kept_access *kept, uint16_t tpgt);

/** For a nexus, until it leaves; NULL: there is no room for one more group. */
struct scsi_group *scsi_group_join(struct scsi_target *target, uint16_t tpgt);
void scsi_group_leave(struct scsi_target *target, struct scsi_group *group);
bool scsi_target_has_port(const struct scsi_target *target, uint16_t port);

/** The relative target port identifier that this nexus came in by: never 0. */
static inline uint16_t
scsi_port_id(const struct scsi_nexus *nexus)
{
	return nexus->tpgt ? nexus->tpgt : 1;
}

/** -1: not a LUN that could be (SAM-5 4.7, single level). */
int scsi_lun_decode(const uint8_t lun[8]);
void scsi_lun_encode(unsigned lun, uint8_t buf[8]);

/** The unit at the slot, which stays until slot_release(); NULL when there is none. */
struct scsi_lu *scsi_slot_acquire(struct scsi_slot *slot);
void scsi_slot_release(struct scsi_slot *slot);

/* -- commands (optable.c) ------------------------------------------------ */

/* STEP_WAIT: something else than a volume request will pump it on, and it cannot be hurried.
 * STEP_PARK: the same, and task management may end it at once. */
enum scsi_step { STEP_IO, STEP_GOOD, STEP_MET, STEP_FAIL, STEP_WAIT, STEP_PARK };

#define F_UA 0x0001u        /* carried out although a unit attention is pending (SPC-4 5.14) */
#define F_NO_LUN 0x0002u    /* answered where no LUN is */
#define F_STOPPED 0x0004u   /* carried out in the stopped state */
#define F_WRITES 0x0008u    /* changes the medium */
#define F_THIN 0x0010u      /* exists where the unit is thin */
#define F_EXCLUSIVE 0x0020u /* nothing else of the task set runs beside it */
#define F_ATOMIC 0x0040u    /* exists where the volume writes atomically */
#define F_LONG_IN 0x0080u   /* Data-In of several pages */
#define F_SANITIZE 0x0800u  /* carried out during and after a failed SANITIZE (SBC-3 4.11.2) */
/* Carried out in these states of the port group, beside the active ones (SPC-4 5.15.2): */
#define F_STANDBY 0x10000u
#define F_UNAVAILABLE 0x20000u
#define F_NO_ACCESS 0x40000u /* offline, and transitioning from one to another */
#define F_ANY_ACCESS (F_STANDBY | F_UNAVAILABLE | F_NO_ACCESS)
/* What pages[] has to have room for (scsi_decode_pages): */
#define F_READS 0x1000u  /* the whole range, put there by the volume */
#define F_PIECES 0x2000u /* pieces of the range, after the Data-Out */
#define F_HALVES 0x4000u /* Data-Out of two halves, each as the volume lays it out */
/* Conflicts with a reservation that another nexus holds: RESERVE(6); Write Exclusive; Exclusive Access
 * (SPC-4 table 65, SBC-3 table 13). */
#define F_RES6 0x0100u
#define F_WE 0x0200u
#define F_EA 0x0400u
#define F_RES_ALL (F_RES6 | F_WE | F_EA)

struct scsi_command {
	uint8_t opcode;
	bool has_action;
	uint8_t action;
	uint8_t cdb_len;
	const char *name;
	uint8_t usage[16]; /* bits that mean something; byte 0 the opcode, the action in its place */
	enum scsi_direction direction;
	uint32_t flags;
	uint16_t timeout_s; /* recommended */
	/** This CDB of it passes reservations; NULL: as the flags say. */
	bool (*passes)(const uint8_t *cdb);
	/** Allocation length or parameter list length: where in the CDB. */
	uint8_t len_at, len_bytes;
	int (*decode)(struct scsi_task *task, const struct scsi_lu *lu);
	enum scsi_step (*step)(struct scsi_task *task);
};

extern const struct scsi_command scsi_commands[];
extern const unsigned scsi_ncommands;

/** NULL when there is none.  lu NULL: as on any unit. */
const struct scsi_command *scsi_command_find(const struct scsi_lu *lu, const uint8_t *cdb);
bool scsi_opcode_exists(const struct scsi_lu *lu, uint8_t opcode);
bool scsi_command_exists(const struct scsi_lu *lu, const struct scsi_command *command);
/** Length and reserved bits; 0, or task->fail is set. */
int scsi_command_check(struct scsi_task *task, const struct scsi_command *command);

/** LBA and count of a CDB that has both; returns the offset of the count. */
unsigned scsi_cdb_range(const uint8_t *cdb, uint64_t *ret_lba, uint64_t *ret_blocks);

/* What decoders ask of task.c. */
struct scsi_needs {
	unsigned alloc; /* pages allocated, with references in pages[0 .. alloc) */
	unsigned slots; /* entries of pages[] in all */
};
void scsi_decode_pages(const struct scsi_task *task, const struct scsi_lu *lu, struct scsi_needs *ret);

/* -- limits that VPD B0h tells and decoders hold ------------------------- */

#define SCSI_MAX_TRANSFER VOLUME_MAX_IO
#define SCSI_MAX_WRITE_SAME VOLUME_MAX_IO
#define SCSI_MAX_UNMAP_DESCRIPTORS 255u
#define SCSI_MAX_DATA_IN (64u << 10) /* of F_LONG_IN */
#define SCSI_OPTIMAL_TRANSFER (1u << 20)
#define SCSI_THRESHOLD_SET (1u << 20) /* what logical block provisioning counts in, bytes */
#define SCSI_PIECE (1u << 20) /* of a long command: one volume request */
#define SCSI_PIECE_PAGES (SCSI_PIECE / PAGE_SIZE_BYTES + 1)

/* COMPARE AND WRITE counts its blocks in one byte. */
static inline unsigned
scsi_max_compare(const struct scsi_lu *lu)
{
	return min_of(255u, VOLUME_MAX_COMPARE / lu->vol->block_size);
}

/* Blocks of WRITE ATOMIC(16), wherever they lie in their pages; its count has two bytes. */
static inline uint32_t
scsi_max_atomic(const struct scsi_lu *lu)
{
	return min_of(65535u, lu->vol->atomic_max_bytes / lu->vol->block_size);
}

/* -- task.c -------------------------------------------------------------- */

/* where a task is */
enum { PLACE_STARTED, PLACE_WAITING, PLACE_RUNNING, PLACE_PARKED };
/* what the pump does */
enum { PUMP_IDLE, PUMP_SUBMITTING, PUMP_DONE };

void scsi_task_pump(struct scsi_task *task);
/** Back to the transport, wherever it is. */
void scsi_task_return(struct scsi_task *task);

static inline struct scsi_itl *
task_itl(const struct scsi_task *task)
{
	return &task->nexus->itls[task->slot - task->nexus->target->slots];
}

static inline uint64_t
task_offset(const struct scsi_task *task)
{
	return task->lba * task->lu->vol->block_size;
}

static inline uint64_t
task_bytes(const struct scsi_task *task)
{
	return task->blocks * task->lu->vol->block_size;
}

static inline enum scsi_step
task_fail(struct scsi_task *task, enum scsi_error error)
{
	task->fail = (struct scsi_fail){.code = (uint16_t)error};
	return STEP_FAIL;
}

/** A field of the CDB: its first byte. */
static inline enum scsi_step
task_fail_cdb(struct scsi_task *task, unsigned byte)
{
	task->fail = (struct scsi_fail){.code = SE_INVALID_FIELD_CDB, .byte = (uint16_t)byte, .flags = FAIL_CDB};
	return STEP_FAIL;
}

static inline enum scsi_step
task_fail_param(struct scsi_task *task, unsigned byte)
{
	task->fail = (struct scsi_fail){
		.code = SE_INVALID_FIELD_PARAM, .byte = (uint16_t)byte, .flags = FAIL_PARAM};
	return STEP_FAIL;
}

static inline enum scsi_step
task_fail_info(struct scsi_task *task, enum scsi_error error, uint64_t info)
{
	task->fail = (struct scsi_fail){.code = (uint16_t)error, .info = info, .flags = FAIL_INFO};
	return STEP_FAIL;
}

/** The volume request of the last step failed. */
enum scsi_step task_fail_io(struct scsi_task *task);

/** The request of the next step. */
void task_io(struct scsi_task *task, enum vol_op op, uint64_t offset, uint64_t length, struct page **pages,
	     unsigned npages);

/** Data-In of commands that return parameters: counts on beyond what there is room for. */
struct datain {
	uint8_t *p;           /* NULL: in pages */
	struct page **pages;
	uint32_t cap, len;
};
void datain_begin(struct scsi_task *task, struct datain *in);
void datain_put(struct datain *in, const void *p, size_t n);
void datain_zero(struct datain *in, size_t n);
void datain_set(struct datain *in, size_t at, const void *p, size_t n);
enum scsi_step datain_end(struct scsi_task *task, const struct datain *in);

static inline void
datain_u8(struct datain *in, unsigned v)
{
	uint8_t b = (uint8_t)v;
	datain_put(in, &b, 1);
}

static inline void
datain_be16(struct datain *in, unsigned v)
{
	uint8_t b[2];
	put_be16(b, (uint16_t)v);
	datain_put(in, b, 2);
}

static inline void
datain_be32(struct datain *in, uint32_t v)
{
	uint8_t b[4];
	put_be32(b, v);
	datain_put(in, b, 4);
}

static inline void
datain_be64(struct datain *in, uint64_t v)
{
	uint8_t b[8];
	put_be64(b, v);
	datain_put(in, b, 8);
}

/** Text, padded with spaces to n. */
void datain_text(struct datain *in, const char *text, size_t n);

/* -- tmf.c --------------------------------------------------------------- */

/** How many functions there were. */
uint64_t scsi_epoch(void);
/** One more. */
uint64_t scsi_epoch_next(void);
/** On home: a task of the set has ended; answer who waited for it. */
void scsi_tmf_recheck(struct scsi_lu *lu);

/* -- sanitize.c ---------------------------------------------------------- */

/** 0 .. 65535. */
unsigned scsi_sanitize_progress(const struct scsi_sanitize *job);
/** On home: the task ends, whatever becomes of the medium. */
void scsi_sanitize_forget(struct scsi_lu *lu, const struct scsi_task *task);
/** On home: break off what holds this slot. */
void scsi_sanitize_cancel(struct scsi_lu *lu, const struct scsi_slot *slot);
/** What is known of a SANITIZE of this volume that has not succeeded, which bars it.  Blocks. */
int scsi_sanitize_recall(struct volume *vol, bool *ret_failed, bool *ret_ause);

/* -- the commands -------------------------------------------------------- */

enum scsi_step spc_test_unit_ready(struct scsi_task *task);
enum scsi_step spc_request_sense(struct scsi_task *task);
enum scsi_step spc_report_luns(struct scsi_task *task);
enum scsi_step spc_report_opcodes(struct scsi_task *task);
enum scsi_step spc_report_tmfs(struct scsi_task *task);
enum scsi_step spc_report_port_groups(struct scsi_task *task);
enum scsi_step spc_send_diagnostic(struct scsi_task *task);
enum scsi_step spc_set_port_groups(struct scsi_task *task);
enum scsi_step spc_pr_in(struct scsi_task *task);
enum scsi_step spc_pr_out(struct scsi_task *task);
enum scsi_step spc_log_sense(struct scsi_task *task);
enum scsi_step spc_extended_copy(struct scsi_task *task);
enum scsi_step spc_copy_results(struct scsi_task *task);
enum scsi_step sbc_sanitize(struct scsi_task *task);
enum scsi_step spc_reserve6(struct scsi_task *task);
enum scsi_step spc_release6(struct scsi_task *task);
enum scsi_step spc_inquiry(struct scsi_task *task);
enum scsi_step spc_mode_sense(struct scsi_task *task);
enum scsi_step spc_mode_select(struct scsi_task *task);
enum scsi_step sbc_read_capacity10(struct scsi_task *task);
enum scsi_step sbc_read_capacity16(struct scsi_task *task);
enum scsi_step sbc_read(struct scsi_task *task);
enum scsi_step sbc_write(struct scsi_task *task);
enum scsi_step sbc_write_verify(struct scsi_task *task);
enum scsi_step sbc_verify(struct scsi_task *task);
enum scsi_step sbc_sync_cache(struct scsi_task *task);
enum scsi_step sbc_prefetch(struct scsi_task *task);
enum scsi_step sbc_unmap(struct scsi_task *task);
enum scsi_step sbc_write_same(struct scsi_task *task);
enum scsi_step sbc_compare_write(struct scsi_task *task);
enum scsi_step sbc_orwrite(struct scsi_task *task);
enum scsi_step sbc_lba_status(struct scsi_task *task);
enum scsi_step sbc_start_stop(struct scsi_task *task);
enum scsi_step sbc_prevent_allow(struct scsi_task *task);
enum scsi_step sbc_read_defects(struct scsi_task *task);

#endif
