/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The object store contract.  Implementations: dir, mem, s3.
 *
 * Keys: 1 to 512 bytes of [A-Za-z0-9._-] and '/', no empty, "." or ".." segment, none starting with '.'.
 *
 *   PUT      replaces or creates; atomic: a reader sees the old or the new object whole, and after done(0) the object
 *            survives power loss.  With if_absent: -EEXIST when there is one.  With if_match: LG_ECONFLICT when its etag
 *            differs, -ENOENT when there is none.  Exactly one of several racing conditional PUTs wins, from whatever process.
 *            After -EIO, -ETIMEDOUT and the like the effect is unknown: read back.
 *   GET      length bytes at offset into iov: all of them, or an error (-ENODATA when the object is shorter;
 *            -ENOENT when there is none).  offset GET_SUFFIX: the last `length` bytes.
 *            length 0: the whole object, at most the iov's room (-EFBIG when it is larger).
 *   HEAD     size and etag.
 *   DELETE   up to 1,000 keys; a missing key is no error.  Not atomic as a whole.
 *            After done(0) they stay gone over power loss (dir, s3).
 *   LIST     up to max_keys keys with the prefix, in byte order; the next page by the token of the one before.
 *
 * etag is opaque, non-empty, and changes with every PUT (s3: with every other body, since servers make it from the
 * content: who compares and swaps puts a nonce into it).
 *
 * dir: one object cannot be the directory of another (PUT a/b beside a: -ENOTDIR; a beside a/b: -EISDIR); a part of a key
 * longer than 255 bytes is -ENAMETOOLONG.  mem:NAME is one store for all in this process, until it ends.
 *
 * Memory: key, etag and buffers are the caller's and stay untouched until done.
 * Threads: object_submit() on any loop; done runs on that loop, never before object_submit() returns.
 * Errors: 0 or negative.  -EACCES, -EROFS, -ENOSPC, -EDQUOT as from the store.
 */
#ifndef LUNGATE_STORES_OBJECT_H
#define LUNGATE_STORES_OBJECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/stats.h"
#include "common/vfs.h"

#define OBJECT_KEY_MAX 512
#define OBJECT_ETAG_MAX 72
#define OBJECT_DELETE_MAX 1000
#define GET_SUFFIX UINT64_MAX

struct object_store;

enum object_op { OBJECT_PUT, OBJECT_GET, OBJECT_HEAD, OBJECT_DELETE, OBJECT_LIST, OBJECT_OP_COUNT };

struct object_entry {
	char *key;           /* malloc'd */
	uint64_t size;
};

struct object_req {
	struct object_store *store;
	enum object_op op;
	const char *key;             /* PUT, GET, HEAD; LIST: the prefix ("" = all) */
	const struct iovec *iov;     /* PUT: the body; GET: the destination */
	int niov;
	bool if_absent;              /* PUT */
	const char *if_match;        /* PUT; NULL = unconditional */
	const char *copy_from;       /* PUT: instead of a body, what the store itself copies: for s3 "/BUCKET/KEY"; NULL = no.
					-EOPNOTSUPP where the store cannot */
	uint64_t offset, length;     /* GET */
	const char *const *keys;     /* DELETE */
	size_t nkeys;
	size_t max_keys;             /* LIST; 1..1000 */
	char *token;                 /* LIST, in and out, malloc'd: NULL for the first page; set by a truncated one, to be
					given with the next request, which takes it, or freed. Opaque: a key would not do,
					MinIO does not find every start-after (a.b/x, then a/x) */

	int status;
	char etag[OBJECT_ETAG_MAX];  /* PUT, GET, HEAD */
	uint64_t size;               /* GET, HEAD: of the whole object */
	struct object_entry *entries; /* LIST: free with object_entries_free() */
	size_t nentries;
	bool truncated;              /* LIST: there is more, see token */

	void (*done)(struct object_req *req);
	/** GET; NULL: nobody asks.  Bytes [from, from + n) of the destination were just written and will be left alone, unless
	 *  it begins anew with from = 0 (another attempt).  `data` are the same bytes where the cache has them, valid during the call.
	 *  In order, without gaps, before done, on req->loop; a store need not call it. */
	void (*arrived)(struct object_req *req, uint64_t from, const void *data, size_t n);
	/* private to the store until done */
	struct loop *loop;
	struct loop_work work;
	uint64_t start_ns;
	void *priv;
};

struct object_stats {
	/* written by several loops: atomic adds, once a request */
	_Atomic uint64_t ops[OBJECT_OP_COUNT], errors[OBJECT_OP_COUNT];
	_Atomic uint64_t bytes_put, bytes_got;
};

#define OBJECT_ENDPOINTS_MAX 8

/** How a store is, for people and metrics. */
struct object_description {
	char credentials[64];        /* where the keys come from; "" = it needs none */
	struct {
		char url[288];       /* "http://host:port" */
		bool out;            /* left out for now because it does not answer */
	} endpoints[OBJECT_ENDPOINTS_MAX];
	unsigned nendpoints, out;    /* in all; left out; 0 for what is no server */
	int64_t clock_offset_s;      /* the server's clock less this machine's, as learnt; 0 when it does not matter */
	const char *if_match;        /* "quoted", "bare"; "" = not such a store */
	uint64_t retries, slow_downs;
	unsigned in_flight, queued;  /* requests now */
	unsigned limit, limit_max;   /* how many may be in flight: as SlowDown and successes made it, and at most; 0 = no such limit */
	char last_error[1024];       /* "" = none yet */
};

struct object_ops {
	const char *kind;            /* "dir", "mem", "s3" */
	void (*submit)(struct object_req *req);
	void (*free)(struct object_store *store);
	void (*describe)(struct object_store *store, struct object_description *ret); /* NULL = nothing to say */
	bool copies;                 /* knows copy_from */
};

/** Are its conditional PUTs real and atomic?  What a probe found; stores of our own are. */
enum object_fence { OBJECT_FENCED, OBJECT_UNFENCED, OBJECT_FENCE_UNKNOWN };

/** Common part, embedded first by implementations. */
struct object_store {
	const struct object_ops *ops;
	char url[512];               /* for people; no secrets */
	_Atomic int fence;           /* enum object_fence */
	struct object_stats stats;
};

/** The one wrapper in front of every store: checks keys and arguments, counts, then hands on. */
void object_submit(struct object_req *req);
/** Completion for implementations; on req->loop. */
void object_done(struct object_req *req, int status);

void object_entries_free(struct object_entry *entries, size_t n);
bool object_key_valid(const char *key);
void object_store_free(struct object_store *store);
/** Any thread. */
void object_store_describe(struct object_store *store, struct object_description *ret);
/** The same and the counters as a JSON object, for volume.json and metrics.  NULL without memory. */
json_t *object_store_json(struct object_store *store);

/** What all stores of this process together may take of a network; 0 = no cap.  Any thread, at any time. */
struct object_limits {
	unsigned in_flight;          /* requests; 0 = 256 */
	uint64_t up, down;           /* bytes a second */
};
void object_limits_set(const struct object_limits *limits);

/** Credentials are read anew before the next request (SIGHUP).  Any thread. */
void object_stores_reload(void);

/** url: "dir:/path", an absolute path, "s3://bucket/prefix?endpoint=..." (stores/object/s3/url.h), "mem:".  vfs NULL = the real one; for dir
 *  the directory must exist unless create.  May block: not on a loop. */
int object_store_open(const char *url, struct vfs *vfs, bool create, struct object_store **ret, struct errinfo *info);

/** What a probe saw. */
struct object_probe {
	bool creates;            /* if_absent makes a missing object ... */
	bool refuses_existing;   /* ... and no other */
	bool updates;            /* if_match with the right etag replaces ... */
	bool refuses_stale;      /* ... with an old one does not ... */
	bool refuses_missing;    /* ... nor makes a missing object */
	bool reads_ranges;
	unsigned races, bad_races; /* of 16 conditional PUTs at once; those without exactly one winner */
	enum object_fence fence;
	uint64_t put_ns, get_ns; /* one small request */
	char text[256];          /* the verdict in words */
};
/** Try the store's conditions on scratch objects below "lungate-probe/", which are removed again.  races: rounds of 16 creates
 *  and 16 updates at once (0 = the short form).  Sets the store's fence.  0 when a verdict was reached, whatever
 *  it is; else why there is none.  Blocks: not on a loop. */
int object_store_probe(struct object_store *store, struct loop *loop, unsigned races, struct object_probe *ret,
		       struct errinfo *info);

/** Bytes a second of 16 objects of 4 MiB, 8 at once; they lie below "lungate-probe/" and are removed again.
 *  Blocks: not on a loop. */
int object_store_measure(struct object_store *store, struct loop *loop, const _Atomic bool *stop, uint64_t *ret_put, uint64_t *ret_get,
			 struct errinfo *info);

/* ---- gotgt's layout of a device in an object store; read, never written.  Blocking: not on a loop.
 *
 *   _metadata           {"deviceSize": BYTES, "chunkSize": BYTES}
 *   chunk_NNNNNNNNNN    decimal index; raw bytes from index * chunkSize on; missing or cut short = zeroes
 */

#define GOTGT_CHUNK_MAX (64u << 20)

struct gotgt {
	uint64_t size;
	uint64_t chunk_size;     /* 1 to GOTGT_CHUNK_MAX, of any other form */
};

/** 0; -ENOENT: there is no such device; else why it cannot be told, with words. */
int gotgt_look(struct object_store *store, struct loop *loop, struct gotgt *ret, struct errinfo *info);

/** The indices of the chunks that are there, in order; malloc'd. */
int gotgt_chunks(struct object_store *store, struct loop *loop, const struct gotgt *gotgt, uint64_t **ret, size_t *ret_n,
		 struct errinfo *info);

/** One chunk whole, zeroes where the object ends early; buf has room for chunk_size. */
int gotgt_read(struct object_store *store, struct loop *loop, const struct gotgt *gotgt, uint64_t index, uint8_t *buf,
	       struct errinfo *info);

/** "a volume of gotgt, 1.0 GiB in chunks of 4.0 MiB" */
void gotgt_words(const struct gotgt *gotgt, char *out, size_t room);

/** For threads that may block (create, check, tests): submit on `loop` and wait.  Not on a loop. */
int object_call(struct loop *loop, struct object_req *req);

#endif
