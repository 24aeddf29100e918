/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one way to make and open a volume, whatever it is made of.
 *
 * A specification comes from the configuration; identity (uuid, NAA, serial)
 * lives with the volume's data for chunked volumes (volume.json in the bucket), and in the configuration for raw,
 * ram and null ones.
 *
 * Threads: these calls may block (they talk to disks and stores): not on a loop.
 */
#ifndef LUNGATE_STORES_STORES_H
#define LUNGATE_STORES_STORES_H

#include "common/volume.h"

#define GATEWAY_ID_LEN UUID_LEN

#define VOLUME_JOURNAL_MIN (UINT64_C(256) << 20)      /* bytes: below, the largest write might never find room */
#define VOLUME_CLOSE_TIMEOUT_DEFAULT 30u /* s */
#define VOLUME_JOURNAL_DEFAULT (UINT64_C(1) << 30)

/** Where a volume lives and how it behaves.  Strings are the caller's. */
struct volume_spec {
	const char *name;
	/** "dir:/path[/prefix]", "mem:" -> chunked; "file:/path", "/dev/..." or "block:/path" -> raw; "ram:" ; "null:". */
	const char *store;
	uint64_t size;                 /* create; 0 for raw = as large as it is */
	uint32_t block_size;           /* 0 = 512 */
	uint32_t chunk_size;           /* 0 = 4 MiB */
	enum vol_durability durability;
	bool write_cache;
	bool read_only;
	/** chunked: directory of the journal, on fast stable disk (a folder per volume is made in it). */
	const char *journal_dir;
	uint64_t journal_size;         /* bytes; 0 = VOLUME_JOURNAL_DEFAULT; at least VOLUME_JOURNAL_MIN */
	uint64_t commit_window;        /* dirty bytes that start a map commit; 0 = a quarter of the journal */
	unsigned commit_interval_s;    /* 0 = 1800 */
	unsigned close_timeout_s;      /* for the last map commit; 0 = VOLUME_CLOSE_TIMEOUT_DEFAULT */
	bool beside_foreign;           /* create although somebody else's volume lies there */
	bool accept_loss;              /* open although the journal is missing or damaged */
	uint8_t gateway_id[GATEWAY_ID_LEN];
	/** identity of raw, ram, null: from the configuration; all zero = make one (create fills them in). */
	uint8_t uuid[UUID_LEN];
	bool found;                    /* said by create: the file or device was there, and is taken as it is */
};

/** Make it: for chunked, write volume.json and the first root (if absent: -EEXIST when there is one);
 *  for raw files, create a sparse file of that size when it is missing.  Fills spec->uuid and spec->found. */
int volume_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info);

/** Open it on loop: recovery included.  On success the caller registers it. */
int volume_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
		struct errinfo *info);

/** Close from outside the loop, wait for it, free it.  Nobody else may hold a reference. */
int volume_close(struct volume *vol);

/** Delete its data: every object under the prefix, the journal, the raw file only with `files`. Progress through fn (may be NULL). */
int volume_delete(const struct volume_spec *spec, struct loop *loop, bool files,
		  void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info);

/** What store_check() saw. */
struct store_report {
	char url[512];
	const char *kind;
	bool fenced;                   /* conditional PUTs keep two gateways apart */
	char verdict[256];
	unsigned races;
	uint64_t put_ns, get_ns;       /* one small request */
	char foreign[128];             /* what of somebody else's lies there and can be imported; "" = nothing */
	uint64_t put_bytes_per_s, get_bytes_per_s; /* 0 = not measured */
};
/** Try an object store: access, fencing, and (unless quick) speed.  Blocks: not on a loop. */
int store_check(const char *store, struct loop *loop, bool quick, const _Atomic bool *stop, struct store_report *ret,
		struct errinfo *info);

/** The keys of every object store are read again before its next request.  Any thread. */
void stores_reload(void);
/** What all object stores together may have in flight (0 = 256 requests) and send and receive (bytes a second; 0 = no cap).
 *  Any thread. */
void stores_limit(unsigned in_flight, uint64_t up, uint64_t down);

/* ---- foreign volumes in object stores, read into volumes of ours: gotgt's layout.  Blocking: not on a loop. ---- */

struct import;

/** store: as for object_store_open().  -ENOENT when nothing known lies there. */
int import_open(const char *store, struct loop *loop, struct import **ret, struct errinfo *info);
void import_close(struct import *import);
uint64_t import_size(const struct import *import);
/** "a volume of gotgt, 1.0 GiB in chunks of 4.0 MiB" */
const char *import_words(const struct import *import);

/** Write all of it that is not zero into vol, which is as large and reads as zeroes yet, and flush.
 *  go_on (any of several threads, one at a time): bytes looked at; false = stop with -ECANCELED. */
int import_run(struct import *import, struct volume *vol, bool (*go_on)(void *arg, uint64_t done, uint64_t total),
	       void *arg, struct errinfo *info);

/** Serial and NAA derived from a uuid: the same for the life of a volume. */
void volume_identity(struct volume *vol);

#endif
