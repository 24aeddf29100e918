/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of this room share.  Not for others.
 *
 * Threads of a mount:
 *   readers   take requests from /dev/fuse.  They never wait for anything but the next request (and,
 *             when too much waits for memory, for that to end).
 *   clerk     one; does what may block: calls of the provider, volume_describe(), texts and listings.
 *   loops     of the volumes: completions.  Data is answered from there, the rest is handed to the clerk.
 *
 * A request is answered exactly once, by whoever holds it: a reader (at once), a struct task (clerk), or a
 * struct image_io (volume's loop).  mount->inflight counts tasks and image_ios.
 */
#ifndef LUNGATE_FUSE_INTERNAL_H
#define LUNGATE_FUSE_INTERNAL_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <sys/stat.h>

#include "common/util.h"
#include "fuse/mount.h"
#include "fuse/mountpoint.h"
#include "fuse/names.h"
#include "fuse/text.h"
#include "fuse/tree.h"

#define MOUNT_READERS 2
#define MOUNT_MAX_IO (1u << 20)                       /* bytes of one read or write request */
#define MOUNT_IO_PAGES (MOUNT_MAX_IO / PAGE_SIZE_BYTES)
#define MOUNT_PARKED_MAX (16u << 20)                  /* bytes of writes that wait for pages before readers wait too */

/* ---- clerk.c ----------------------------------------------------------- */

struct job {
	struct job *next;
	void (*run)(struct job *job);
};

struct clerk {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *head, **tail;
	bool stop;
};

int clerk_start(struct clerk *clerk);
/** Runs what is queued, then joins. */
void clerk_stop(struct clerk *clerk);
/** Any thread.  Jobs run in order, one at a time. */
void clerk_push(struct clerk *clerk, struct job *job);

/* ---- the mount --------------------------------------------------------- */

struct reader;

struct mount {
	struct fuse_session *se;
	char *path;
	struct mountpoint_entry entry;
	struct registry *registry;
	struct arena *arena;
	struct mount_provider provider;
	bool shared;                    /* allow_other */
	uid_t uid;
	gid_t gid;
	int stop_event;                 /* eventfd that ends the readers */
	int temp_dir;                   /* for texts that outgrow memory; -1 = none */
	unsigned max_io;                /* what one request may carry: less than MOUNT_MAX_IO with a small arena */
	struct names *volumes, *targets, *sessions;
	struct clerk clerk;
	struct reader *readers[MOUNT_READERS];

	_Atomic uint64_t inflight;
	_Atomic uint64_t parked;        /* bytes */
	_Atomic bool stopping, lost;
	pthread_mutex_t lock;
	struct handle *handles;         /* all open ones, under lock: closed at the end when the kernel did not */
};

static inline void
mount_enter(struct mount *mount)
{
	atomic_fetch_add_explicit(&mount->inflight, 1, memory_order_relaxed);
}

/* The mount may be gone right after. */
static inline void
mount_leave(struct mount *mount)
{
	atomic_fetch_sub_explicit(&mount->inflight, 1, memory_order_release);
}

/** A thread of the mount: named, with all signals blocked. */
int mount_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg, const char *name);

/* ---- handle.c: what is open -------------------------------------------- */

struct listing_entry {
	char *name;
	uint64_t ino;
	mode_t mode;
};

struct listing {
	struct listing_entry *entries;
	size_t n, room;
	bool valid;
};

struct handle {
	struct mount *mount;
	struct handle *prev, *next;
	_Atomic int refs;            /* the kernel's, and one of each answer that is sent from `text` */
	struct node node;
	struct volume *vol;          /* of data files, referenced */
	bool sync;                   /* every write is durable before it is answered */
	struct text text;            /* of text files; constant once open is answered */
	struct listing listing;      /* of directories; the clerk's */
};

struct handle *handle_new(struct mount *mount, struct node node, struct volume *vol);
void handle_put(struct handle *handle);
void handle_put_all(struct mount *mount);
int listing_add(struct listing *listing, const char *name, uint64_t ino, mode_t mode);
void listing_clear(struct listing *listing);

static inline struct handle *
handle_of(const struct fuse_file_info *fi)
{
	return fi ? (struct handle *)(uintptr_t)fi->fh : NULL;
}

/* ---- task.c: requests that the clerk answers ---------------------------- */

#define TASK_INFOS 256u

struct task {
	struct job job;
	struct mount *mount;
	fuse_req_t req;
	void (*fn)(struct task *task);
	struct node node;             /* asked about; for a lookup the parent */
	struct handle *handle;
	struct handle *fresh;         /* being opened: closed with the task unless the answer took it */
	struct volume *vol;           /* referenced */
	struct vol_req query;
	struct chunk_info *infos;
	unsigned max_infos;
	size_t size;
	uint64_t offset;
	uint64_t row;                 /* the next chunk of a row of present ones */
	unsigned steps;
	char *buf;                    /* an answer in the making */
	size_t used;
	char name[];
};

/** NULL: the request has been answered with ENOMEM.  vol (may be NULL): the task takes the caller's reference. */
struct task *task_new(struct mount *mount, fuse_req_t req, struct node node, struct volume *vol, const char *name);
/** Free it; the request has been answered. */
void task_end(struct task *task);
void task_err(struct task *task, int err);
/** fn on the clerk. */
void task_run(struct task *task, void (*fn)(struct task *task));
/** Ask the volume for at most max present chunks in [first, end), then fn on the clerk; query.status is 0 there.
 *  An error is answered without fn. */
void task_query(struct task *task, uint64_t first, uint64_t end, unsigned max, void (*fn)(struct task *task));

/* ---- attr.c ------------------------------------------------------------- */

/** The volume of a node, referenced, or NULL when it is gone. */
struct volume *node_volume(struct mount *mount, struct node node);
uint64_t chunk_count(const struct volume *vol);
/** Bytes of a chunk: the last one is cut at the end of the volume. */
uint64_t chunk_bytes(const struct volume *vol, uint64_t index);
void reply_entry(struct mount *mount, fuse_req_t req, struct node node, const struct volume *vol,
		 const struct chunk_info *info, size_t size);
void reply_attr(struct mount *mount, fuse_req_t req, struct node node, const struct volume *vol,
		const struct chunk_info *info, size_t size);
/** Answer an open; on failure the handle is closed. */
void reply_open(struct handle *handle, fuse_req_t req, unsigned open_flags);

/* ---- targets.c, dirs.c, texts.c, chunks.c: handlers by subject ------------ */

/** The provider's answer about a target by number, a new object, or NULL; on the clerk. */
json_t *target_answer(struct mount *mount, uint32_t number);
/** What the provider knows of it, into listing; on the clerk. */
int target_list(struct mount *mount, struct node dir, struct listing *listing);
void target_lookup(struct mount *mount, fuse_req_t req, struct node parent, const char *name);
void target_getattr(struct mount *mount, fuse_req_t req, struct node node);
void target_readlink(struct mount *mount, fuse_req_t req, struct node node);
/** Listing of any directory but those of chunks/. */
void dir_read(struct mount *mount, fuse_req_t req, struct handle *handle, size_t size, uint64_t offset);

void text_open(struct mount *mount, fuse_req_t req, struct node node);
void text_read(struct mount *mount, fuse_req_t req, struct handle *handle, size_t size, uint64_t offset);

void chunk_lookup(struct mount *mount, fuse_req_t req, struct node parent, const char *name);
void chunk_getattr(struct mount *mount, fuse_req_t req, struct node node);
void chunk_getxattr(struct mount *mount, fuse_req_t req, struct node node, const char *name, size_t size);
void chunk_listxattr(struct mount *mount, fuse_req_t req, struct node node, size_t size);
void chunk_dir_read(struct mount *mount, fuse_req_t req, struct handle *handle, size_t size, uint64_t offset);
/** SEEK_DATA and SEEK_HOLE of the image. */
void image_seek(struct mount *mount, fuse_req_t req, struct handle *handle, uint64_t offset, int whence);

/* ---- image.c: data -------------------------------------------------------- */

/** Bytes [offset, offset + size) of the part [base, limit) of the volume, cut at its end. */
void image_read(struct mount *mount, fuse_req_t req, struct handle *handle, uint64_t base, uint64_t limit,
		size_t size, uint64_t offset, uint32_t vol_flags);
/** The data is what this thread's reader holds. */
void image_write(struct mount *mount, fuse_req_t req, struct handle *handle, size_t size, uint64_t offset, bool sync);
void image_flush(struct mount *mount, fuse_req_t req, struct handle *handle);
/** op is VOL_UNMAP or VOL_ZERO. */
void image_erase(struct mount *mount, fuse_req_t req, struct handle *handle, enum vol_op op, uint64_t offset,
		 uint64_t length);

/* ---- ops.c ---------------------------------------------------------------- */

extern const struct fuse_lowlevel_ops mount_ops;

/* ---- reader.c ------------------------------------------------------------- */

int mount_reader_start(struct mount *mount, unsigned index);
/** After mount->stop_event was set. */
void reader_stop(struct mount *mount, unsigned index);
/** Of the write request that this thread handles: its first n pages, whose references the caller gets, when the data
 *  lies in that many pages; else false, and reader_copy() is the way. */
bool reader_take(unsigned n, struct page **pages);
/** Bytes [offset, offset + n) of the data. */
void reader_copy(uint8_t *to, size_t offset, size_t n);

#endif
