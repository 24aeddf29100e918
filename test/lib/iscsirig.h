/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A server to log in to: loops, an arena, a disk of plain bytes that can hold
 * its requests (test/lib/scsirig.h), a target, a portal on a free port of
 * 127.0.0.1.
 *
 * Threads: the calls from a thread that is no loop.
 */
#ifndef LUNGATE_TEST_LIB_ISCSIRIG_H
#define LUNGATE_TEST_LIB_ISCSIRIG_H

#include "gateway/iscsi/iscsi.h"
#include "test/lib/rawiscsi.h"
#include "test/lib/scsirig.h"

#define RIG_TARGET "iqn.2024-01.org.lungate:disk"
#define RIG_INITIATOR "iqn.2024-01.com.example:me"

struct iscsirig {
	struct loop *loops[2];
	struct arena *arena;
	struct disk *disk;
	struct scsi_target *scsi;
	struct iscsi_server *server;
	char address[64];
};

/** limits NULL = defaults; arena 0 = 64 MiB. The disk lives on the second loop, so connections move. */
void iscsirig_init(struct iscsirig *rig, const struct iscsi_limits *limits, size_t arena);
void iscsirig_fini(struct iscsirig *rig);

/** A counter of iscsi_counters(). */
long iscsirig_counter(struct iscsirig *rig, const char *name);
/** Wait until it is at least n; false after RAW_WAIT_MS. */
bool iscsirig_await(struct iscsirig *rig, const char *name, long n);
/** Wait until there are n sessions. */
bool iscsirig_await_sessions(struct iscsirig *rig, size_t n);
/** Wait until there are at most n connections. */
bool iscsirig_await_connections(struct iscsirig *rig, long n);

/** Connect and log in with a distinct ISID, keys as in raw_login(); fails the test when it does not work. */
void iscsirig_login(struct iscsirig *rig, struct raw *raw, uint8_t who, const char *keys, size_t len);

#endif
