/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A logical unit to send commands to: a disk of plain bytes that can hold or
 * fail its requests, a target, two nexuses, and one loop or two.
 *
 * Threads: the calls from a thread that is no loop; they wait.
 */
#ifndef LUNGATE_TEST_LIB_SCSIRIG_H
#define LUNGATE_TEST_LIB_SCSIRIG_H

#include <pthread.h>

#include "gateway/scsi/scsi.h"

struct disk {
	struct volume vol;
	uint8_t *bytes;
	bool *present; /* by chunk */
	_Atomic bool hold;
	_Atomic int hold_op;
	_Atomic unsigned held;
	_Atomic int fail;
	_Atomic int fail_op;
	_Atomic uint64_t fail_offset;
	_Atomic bool later; /* requests complete by a message */
	_Atomic uint32_t unclonable; /* with vol.clones: chunks that cannot be cloned, by bit */
	_Atomic unsigned seen[VOL_OP_COUNT];
	_Atomic unsigned atomic; /* writes with VOL_ATOMIC */
	_Atomic unsigned fua[VOL_OP_COUNT];
	struct disk_attribute {
		char key[VOLUME_KEY_MAX + 1];
		char *value;
		size_t len;
	} attributes[2]; /* on the loop */
	struct vol_req *queue; /* held */
	pthread_mutex_t lock;
	pthread_cond_t cond; /* held changed */
};

struct rig {
	struct loop *home, *front; /* the unit's, the transport's; may be one */
	struct arena *arena;
	struct disk *disk;
	struct scsi_target *target;
	struct scsi_nexus *nexus[2];
};

struct rig_options {
	uint32_t block_size; /* 0 = 512 */
	uint64_t size;       /* 0 = 8 MiB */
	size_t arena;        /* 0 = 64 MiB */
	bool thick, read_only, write_cache, two_loops, no_lun;
};

void rig_init(struct rig *rig, const struct rig_options *options);
void rig_fini(struct rig *rig);
/** The same around a volume of somebody else's, on its loop; rig->disk is NULL. */
void rig_init_around(struct rig *rig, struct volume *vol);
void rig_fini_around(struct rig *rig);
/** LUN 0 of both nexuses without unit attention. */
void rig_clear_attentions(struct rig *rig);

struct disk *disk_new(const char *name, const struct rig_options *options, struct loop *loop, struct arena *arena);
void disk_free(struct disk *disk);
/** Hold requests of op from now on. */
void disk_hold(struct disk *disk, enum vol_op op);
/** Until n are held. */
void disk_wait_held(struct disk *disk, unsigned n);
/** Let go those of one kind; what comes is held as before. */
void disk_release_op(struct disk *disk, enum vol_op op);
/** Let them go, hold no more. */
void disk_release(struct disk *disk);
/** The value, NULL when there is none.  While the loop rests. */
const char *disk_attribute(struct disk *disk, const char *key);

/** One command.  Zero it, fill in the first part. */
struct cmd {
	struct scsi_task task;
	struct rig *rig;
	const void *out; /* task.out_room bytes */
	uint8_t *in;     /* room for task.in_room bytes; may be NULL */
	bool stop_after_start;
	/* private */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done, began;
	int start_rc;
	struct loop_msg msg;
};

void cmd_init(struct cmd *cmd, struct rig *rig, unsigned nexus, const uint8_t *cdb, unsigned len);
/** Begin; with stop_after_start only scsi_task_start() and the Data-Out. */
void cmd_begin(struct cmd *cmd);
/** What stop_after_start left out. */
void cmd_run(struct cmd *cmd);
void cmd_wait(struct cmd *cmd);
bool cmd_is_done(struct cmd *cmd);
/** Begin and wait; the status. */
enum scsi_status cmd_do(struct cmd *cmd);
/** key << 16 | ASC << 8 | ASCQ of the sense data, either format; 0 when there is none. */
uint32_t cmd_sense(const struct cmd *cmd);

/** Task management, to its end. */
enum scsi_tmf_result rig_tmf(struct rig *rig, unsigned nexus, enum scsi_tmf function, unsigned lun, uint64_t tag);
/** The same without waiting. */
struct tmf {
	struct scsi_tmf_req req;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	struct loop_msg msg;
};
void tmf_begin(struct tmf *tmf, struct rig *rig, unsigned nexus, enum scsi_tmf function, unsigned lun, uint64_t tag);
bool tmf_is_done(struct tmf *tmf);
enum scsi_tmf_result tmf_wait(struct tmf *tmf);

void rig_nexus_free(struct rig *rig, unsigned nexus);
/** Everything posted so far has run on both loops. */
void rig_settle(struct rig *rig);

#endif
