/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the chunked engine: what its files share.  Nothing outside
 * stores/chunked includes this.  doc/engine.md tells the states, the
 * invariants and the order of a commit; each file opens with its own part.
 *
 * Where the bytes of a page are, newest first:
 *
 *   active set -> frozen set -> clean cache -> base named by the map -> zeroes
 *
 * Threads: open.c runs on the opener's thread until the volume is handed to its loop; everything else
 * on the volume's loop.
 */
#ifndef LUNGATE_STORES_CHUNKED_ENGINE_H
#define LUNGATE_STORES_CHUNKED_ENGINE_H

#include "common/arena.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/util.h"
#include "common/volume.h"
#include "stores/chunked/bucket_fmt.h"
#include "stores/chunked/chunked.h"
#include "stores/chunked/journal.h"
#include "stores/object/object.h"

#define GROUP_PAGES 64u
#define GROUP_SHIFT 6
#define FETCH_PAGES 16u          /* one ranged GET: 64 KiB, aligned */

#define STREAMS 8u               /* that are followed at once: readers, and as many writers */
#define STREAM_AHEAD_MAX 32u     /* chunks before a stream's reader */
#define STREAM_FLIGHT_MAX 16u    /* of them on their way at once, all streams */

struct engine;

/* ---- dirty.c: what is newer than the map -------------------------------- */

struct dslot {
	struct page *page;       /* NULL: in the journal alone */
	journal_pos_t pos;       /* 0 until it is durable there */
	uint32_t crc;
};

struct dgroup {
	uint64_t present;        /* these pages are newer than what lies below */
	uint64_t zero;           /* ... and these of them are zeroes, without a slot's contents */
	struct dslot slot[GROUP_PAGES];
};

struct dchunk {
	uint64_t index;
	struct dchunk *hash_next;
	struct dchunk *prev, *next;      /* in its set */
	struct dgroup **groups;          /* chunk_pages / 64 of them, made on demand; NULL while there is none */
	uint32_t pages;                  /* present, not zero */
	uint32_t zeroes;
	uint32_t resident;               /* slots that hold a page in memory */
	int8_t delta;                    /* +1 a chunk that the layer below has not, -1 one that vanishes */
	bool wiped;                      /* the layers below do not count: what no slot names is that of `base` */
	struct bucket_entry base;        /* wiped: a base, of another chunk maybe (clone.c); absent: zeroes */
	bool base_known, base_present;   /* what the map says of the chunk, as far as anybody looked */
	bool staged;                     /* frozen: `entry` is what the next map says, `old` what this one does */
	bool hot;                        /* changed after it had been full: no early base for it any more */
	uint32_t version;                /* goes up with each change */
	struct destage *early;           /* on its way before a commit asked for it */
	struct bucket_entry early_entry; /* the base that holds what is said here, before a commit asked for it */
	struct dchunk *early_prev, *early_next; /* full, waiting for its turn */
	bool early_queued;
	bool passing;                    /* a scan wrote it: once the store has it, memory need not */
	struct bucket_entry entry, old;
};

struct dirty_set {
	struct dchunk **buckets;
	size_t nbuckets;
	size_t nchunks;
	struct dchunk *first, *last;
	struct dchunk *shed;             /* where the search for pages to let go continues */
	uint32_t *leaf_chunks;           /* dchunks by leaf */
	uint64_t pages;                  /* not zero */
	uint64_t resident;
	uint64_t meta_bytes;             /* memory of the table itself */
	size_t clones;                   /* dchunks with a base */
	int64_t delta;
};

/** MISS: what lies below has it; BASE: the base of this dchunk, whatever lies below. */
enum dirty_hit { DIRTY_MISS, DIRTY_ZERO, DIRTY_PAGE, DIRTY_JOURNAL, DIRTY_BASE };

int dirty_set_new(struct engine *eng, struct dirty_set **ret) MUST_CHECK;
void dirty_set_free(struct engine *eng, struct dirty_set *set);
int dirty_set_resize(struct dirty_set *set, uint32_t old_leaves, uint32_t new_leaves) MUST_CHECK;
struct dchunk *dirty_find(const struct dirty_set *set, uint64_t index);
bool dirty_empty(const struct dirty_set *set);
/** Make room for pages [first, first + n) in the active set, so that dirty_put() cannot fail. */
int dirty_prepare(struct engine *eng, uint64_t first, uint64_t n) MUST_CHECK;
/** The same for dirty_zero(), which cannot fail then. */
int dirty_prepare_zero(struct engine *eng, uint64_t first, uint64_t n, bool base_absent) MUST_CHECK;
/** Takes a reference of its own (page may be NULL: replay). */
void dirty_put(struct engine *eng, uint64_t vpage, struct page *page, journal_pos_t pos, uint32_t crc);
/** Pages [first, first + n) of one chunk read as zeroes from now on; base_absent: the map knows no base for it. */
void dirty_zero(struct engine *eng, uint64_t first, uint64_t n, bool base_absent);
/** The same for dirty_clone(). */
int dirty_prepare_clone(struct engine *eng, uint64_t index) MUST_CHECK;
/** The chunk is what this base (of its entry) holds from now on. */
void dirty_clone(struct engine *eng, uint64_t index, struct bucket_entry base);
/** The base under all slots of the chunk: 0 with its entry, or -EAGAIN: the leaf is not in memory. */
int dirty_below(struct engine *eng, uint64_t index, struct bucket_entry *ret);
/** 1: the chunk is what that base holds, and nothing newer hides a page of it; 0: something does; -EAGAIN. */
int dirty_pure(struct engine *eng, uint64_t index, struct bucket_entry *ret);
/** Is there anything but zeroes in what the sets say of this chunk, or do they hide a base? */
bool dirty_chunk_blank(struct engine *eng, uint64_t index, bool base_absent);
/** The bytes of this page are durable at pos. */
void dirty_landed(struct engine *eng, uint64_t vpage, const struct page *page, journal_pos_t pos);
enum dirty_hit dirty_lookup(struct engine *eng, uint64_t vpage, struct dslot **ret);
enum dirty_hit dchunk_lookup(const struct dchunk *dc, unsigned page, struct dslot **ret);
/** No slot says anything of the page: it is that of the base which dirty_below() names. */
static inline bool below_slots(enum dirty_hit hit)
{
	return hit == DIRTY_MISS || hit == DIRTY_BASE;
}
/** Let go of up to n pages that the journal can give back; how many it were. */
size_t dirty_shed(struct engine *eng, size_t n);
/** The same for all of a chunk. */
void dirty_shed_chunk(struct engine *eng, struct dchunk *dc);
/** Put a page that was read back into its slot again. */
void dirty_attach(struct engine *eng, uint64_t vpage, journal_pos_t pos, struct page *page);
void dirty_remove(struct engine *eng, struct dirty_set *set, struct dchunk *dc);
/** Everything dirty of this leaf, both sets. */
uint32_t dirty_leaf_chunks(const struct engine *eng, uint32_t leaf);
/** Whether the chunk is there for its readers, as far as is known without I/O. */
bool dirty_presence(struct engine *eng, uint64_t index, bool base);
void dirty_recount(struct engine *eng, uint64_t index);
/** A leaf came into memory: what could only be assumed is known now. */
void dirty_recount_leaf(struct engine *eng, uint32_t leaf);

/* ---- cache.c: clean pages ------------------------------------------------ */

struct cgroup;

struct cache {
	struct cgroup **buckets;
	size_t nbuckets, ngroups;
	struct cgroup *head, *tail, *hand;   /* newest, oldest; where the hand of SIEVE stands */
	uint64_t pages;
	counter_t hits, misses, evicted;
};

int cache_init(struct cache *cache) MUST_CHECK;
void cache_fini(struct cache *cache);
/** Borrowed, or NULL.  touch: it counts as a use. */
struct page *cache_get(struct cache *cache, uint64_t vpage, bool touch);
/** Takes a reference of its own; replaces. A failure to grow is no error: the page is not cached. */
void cache_put(struct cache *cache, uint64_t vpage, struct page *page);
void cache_drop(struct cache *cache, uint64_t vpage);
void cache_drop_range(struct cache *cache, uint64_t first, uint64_t n);
/** As above, but those that were marked as used stay. */
void cache_drop_idle(struct cache *cache, uint64_t first, uint64_t n);
/** Let go of up to n pages that nobody else holds; how many it were. */
size_t cache_evict(struct cache *cache, size_t n);
uint32_t cache_count(const struct cache *cache, uint64_t first, uint64_t n);

/* ---- map.c: leaves ------------------------------------------------------- */

struct leaf_wait {
	struct leaf_wait *next;
	void (*fn)(struct leaf_wait *wait, int status);
};

struct leaf {
	uint32_t no;
	unsigned pins;
	bool loading;
	unsigned attempts;
	struct bucket_entry *entries;    /* BUCKET_LEAF_CHUNKS */
	struct bucket_leaf_ref ref;      /* what is loaded */
	struct leaf_wait *waiters;
	struct leaf *prev, *next;        /* most recently used first */
	struct engine *eng;
	struct object_req req;
	struct iovec iov;
	uint8_t *buf;
	char key[OBJECT_KEY_MAX + 1];
};

struct map {
	uint32_t nleaves;
	struct bucket_leaf_ref *refs;    /* by leaf; present == 0: all absent */
	struct leaf **leaves;            /* by leaf; NULL: not in memory */
	struct leaf *head, *tail;
	unsigned loaded;
	uint64_t present;                /* chunks */
};

int map_init(struct engine *eng, const struct bucket_root *root) MUST_CHECK;
void map_fini(struct engine *eng);
int map_resize(struct engine *eng, uint64_t size) MUST_CHECK;
/** 0 with the entry, or -EAGAIN: its leaf is not in memory. */
int map_entry(struct engine *eng, uint64_t chunk, struct bucket_entry *ret);
/** The leaf when it is in memory (LRU touched), else NULL. */
struct leaf *map_leaf(struct engine *eng, uint32_t no);
/** fn runs once the leaf is in memory or failed to come; it may run before this returns. */
void map_load(struct engine *eng, uint32_t no, struct leaf_wait *wait);
/** Open's thread: load it now. */
int map_load_now(struct engine *eng, uint32_t no) MUST_CHECK;
/** The new map's leaf: entries (taken; NULL = forget what is in memory). */
void map_replace(struct engine *eng, uint32_t no, const struct bucket_leaf_ref *ref, struct bucket_entry *entries);
void map_trim(struct engine *eng);

/* ---- crctab.c: CRC tables of bases ---------------------------------------- */

struct crctab {
	uint64_t chunk;
	struct bucket_entry entry;
	struct crctab *hash_next;
	struct crctab *prev, *next;
	struct crctab_wait *waiters;
	struct tabload *load;            /* on its way; NULL: it is here */
	bool pinned;
	uint32_t length;                 /* bytes that the base stores */
	uint32_t data_crc;
	uint32_t crcs[];                 /* chunk_pages */
};

struct crctab_wait {
	struct crctab_wait *next;
	/** tab is valid for the call; NULL with a status. */
	void (*fn)(struct crctab_wait *wait, const struct crctab *tab, int status);
};

struct crctabs {
	struct crctab **buckets;
	size_t nbuckets;
	unsigned n;
	struct crctab *head, *tail;
};

int crctab_init(struct engine *eng) MUST_CHECK;
void crctab_fini(struct engine *eng);
/** Borrowed until the next call that may load or evict; NULL when it is not in memory. */
const struct crctab *crctab_get(struct engine *eng, uint64_t chunk, struct bucket_entry entry);
/** fn may run before this returns. */
void crctab_load(struct engine *eng, uint64_t chunk, struct bucket_entry entry, struct crctab_wait *wait);
void crctab_add(struct engine *eng, uint64_t chunk, struct bucket_entry entry, uint32_t length, uint32_t data_crc,
		const uint32_t *crcs);
/** The tail of this base as it was read: bucket_base_tail_bytes() of it. */
int crctab_decode(struct engine *eng, uint64_t chunk, struct bucket_entry entry, const uint8_t *tail,
		  struct bucket_base *ret, uint32_t *crcs);
void crctab_drop(struct engine *eng, uint64_t chunk, struct bucket_entry entry);
/** CRC32C of what has crc with one more page whose own CRC is page_crc. */
uint32_t crc32c_append_page(uint32_t crc, uint32_t page_crc);

/* ---- fetch.c: ranges of bases --------------------------------------------- */

struct fetch;
struct fetch_wait {
	struct fetch_wait *next;
	void (*fn)(struct fetch_wait *wait, struct fetch *fetch);
};

#define FETCH_NO_CACHE 1u
#define FETCH_AHEAD 2u           /* nobody asked for it yet */

struct fetch {
	struct engine *eng;
	struct fetch *prev, *next;
	struct fetch_wait *waiters;
	uint64_t chunk;
	struct bucket_entry entry;
	unsigned first, n;               /* pages of the chunk */
	unsigned flags;
	int status;                      /* of all of it; LG_ECORRUPT: see bad */
	unsigned pending, attempts;
	uint32_t length;                 /* bytes that the base stores; 0 = not known yet */
	unsigned asked;                  /* pages asked for by the data request */
	int data_status, tab_status;
	struct crctab_wait tab_wait;
	struct loop_msg msg;
	uint32_t *crcs;                  /* n, from the table */
	uint32_t *sums;                  /* n, of what is in the first `summed` pages */
	unsigned summed;
	struct object_req req;
	char key[OBJECT_KEY_MAX + 1];
	struct page **pages;             /* n; zero pages past the end */
	uint8_t *bad;                    /* n */
	struct iovec *iov;               /* n + 1 */
	uint8_t *tail;                   /* not NULL: the whole object is asked for, table and all */
};

/** A fetch in flight that covers this page of this base, or NULL. */
struct fetch *fetch_find(struct engine *eng, uint64_t chunk, struct bucket_entry entry, unsigned page);
/** pages: n exclusive ones, taken on success.  -ENOMEM leaves them. */
int fetch_start(struct engine *eng, uint64_t chunk, struct bucket_entry entry, unsigned first, unsigned n,
		struct page **pages, unsigned flags, struct fetch **ret) MUST_CHECK;
void fetch_join(struct fetch *fetch, struct fetch_wait *wait);

/* ---- read.c: a consistent look at a range of pages ------------------------ */

#define READER_RESERVED 1u       /* may use the arena's reserve */
#define READER_NO_READAHEAD 2u   /* leaves the caches as they are */
#define READER_STREAM 4u         /* passes once: what it reads is not marked as used */

struct rpage {
	struct page *page;       /* held */
	bool bad;
	journal_pos_t pos;       /* where it came from: the journal (not 0) ... */
	struct bucket_entry entry; /* ... or this base */
};

struct reader {
	struct engine *eng;
	uint64_t first;
	unsigned n;
	unsigned flags;
	unsigned unit;           /* pages of a fetch */
	struct page **pages;     /* out: n references on success */
	int status;
	uint64_t err_page;
	void (*done)(struct reader *reader);
	void *arg;
	/* private */
	unsigned pending;
	bool turn;               /* it waited for memory and is the first one */
	struct rpage *have;      /* n; made with the first miss */
	struct reader *next;     /* starved */
	struct leaf_wait leaf_wait;
	struct arena_waiter mem;
};

/** done may run before it returns. */
void reader_begin(struct reader *reader);
void read_submit(struct vol_req *req);

/* ---- stream.c: sequential readers and writers ------------------------------ */

struct stream {
	uint64_t next;                   /* page that continues it */
	uint64_t run;                    /* pages read in sequence */
	uint64_t used;                   /* 0: this place is free */
	uint64_t ahead;                  /* chunks below this one are fetched or need not be */
	uint64_t behind;                 /* chunks below this one were let go of, or stay */
};

/** The stream that a read of these pages belongs to, moved on; *unit: pages of a fetch. */
struct stream *stream_note(struct engine *eng, uint64_t first, unsigned n, unsigned *unit);
bool stream_flows(const struct engine *eng, const struct stream *stream);
/** Fetch the chunks that it will come to. */
void stream_ahead(struct engine *eng, struct stream *stream);
/** This chunk has been written in full: by a scan? */
bool stream_wrote(struct engine *eng, uint64_t chunk);
/** One that was fetched ahead is here, or failed. */
void stream_fetched(struct engine *eng);

/* ---- gate.c: how many changes may be on their way -------------------------- */

struct gate_wait {
	struct gate_wait *next;
	uint64_t bytes;
	uint64_t due_ms;
	void (*fn)(struct gate_wait *wait, int status);
};

struct gate {
	struct gate_wait *head, **tail;
	unsigned waiting;
	uint64_t reserved;           /* of the journal, by changes that passed and are not appended yet */
	struct loop_timer timer;
	bool pumping;
	bool holding;                /* state, for the log: writers are held */
	counter_t delayed, held;
};

void gate_init(struct engine *eng);
/** fn runs once it passed and the bytes are reserved, or with an error (nothing is reserved then); maybe before
 *  this returns. */
void gate_enter(struct engine *eng, struct gate_wait *wait, uint64_t bytes);
/** The same for what does not wait behind others: true, with the bytes reserved, or false: gate_enter(). */
bool gate_pass(struct engine *eng, uint64_t bytes);
void gate_leave(struct engine *eng, uint64_t bytes);
/** Something changed: room, health. */
void gate_pump(struct engine *eng);
unsigned gate_fill(struct engine *eng);     /* of the journal, percent */

/* ---- attr.c: attributes -------------------------------------------------------- */

struct attr_value;
struct attr_put;

/** Ascending by key. */
struct attrs {
	unsigned n;
	struct attr_value *list[BUCKET_ATTRS_MAX];
};

/** One that comes out of the journal page by page. */
struct attr_replay {
	uint8_t *bytes;
	size_t have;                     /* pages */
	bool lost;                       /* one of them is damaged */
};

void attrs_drop(struct attrs *attrs);
/** What `to` held is dropped. */
void attrs_copy(struct attrs *to, const struct attrs *from);
/** root->attrs, malloc()ed; the values stay where they are. */
int attrs_root(const struct attrs *attrs, struct bucket_root *root) MUST_CHECK;
json_t *attrs_json(const struct attrs *attrs);
/** Open's thread: as the root has them, and then, page by page, what the journal knows better. */
int attrs_load(struct engine *eng, const struct bucket_root *root) MUST_CHECK;
int attrs_replay(struct engine *eng, const struct journal_entry *e) MUST_CHECK;
void attrs_replay_end(struct engine *eng);
void attr_get_submit(struct vol_req *req);
void attr_put_submit(struct vol_req *req);
/** Its append has ended well. */
void attr_put_durable(struct engine *eng, const struct attr_put *put);
void attr_put_free(struct attr_put *put);

/* ---- wop.c, write.c, zero.c: changes ------------------------------------------ */

struct wop;

struct wappend {
	struct journal_append append;
	struct wop *wop;
	unsigned room;
	struct journal_entry entries[];
};

/** A change on its way: gate, range, old contents, acceptance, journal. */
struct wop {
	struct engine *eng;
	struct vol_req *req;
	struct wop *prev, *next;         /* among holders, among those who wait for a range, or in the free list */
	void (*step)(struct wop *wop);   /* what comes once it has what it waits for */
	struct gate_wait gate;
	struct arena_waiter mem;
	struct leaf_wait leaf;
	struct loop_msg msg;
	uint64_t reserved;               /* bytes, at the gate */
	uint64_t first, last;            /* pages of its range, both inclusive */
	bool hold;                       /* it keeps the range while it works */
	bool holding;
	bool replied;
	bool accepting;                  /* more appends may follow */
	bool relied;                     /* part of it was true already: on changes that may not be durable yet */
	int status;
	unsigned appends;                /* not durable yet */
	/* edges: pages that the request covers in part */
	struct reader reader;
	unsigned nedges, edge;
	uint64_t edge_page[2];
	struct page *old[2], *merged[2];
	bool fill_zero;                  /* the request's part is zeroes */
	struct page **compare;           /* COMPARE_WRITE, OR_WRITE: what is there */
	struct page **result;            /* OR_WRITE: every page of the range as it shall be */
	unsigned nresult;
	/* zeroes */
	uint64_t at, end, step_end;      /* whole pages still to do */
	uint64_t new_size, given_offset; /* resize; 0 = it is none */
	struct attr_put *put;            /* PUT_ATTRIBUTE */
	struct wappend *spare;           /* kept from use to use */
};

struct wop *wop_new(struct vol_req *req);
void wop_free(struct wop *wop);
void wops_fini(struct engine *eng);
/** step runs once the gate lets `bytes` pass; maybe before this returns. */
void wop_gate(struct wop *wop, uint64_t bytes, void (*step)(struct wop *wop));
/** step runs once no other change holds or waited earlier for a page of [first, last]; maybe before this returns.
 *  hold: keep the range until wop_unlock(). */
void wop_lock(struct wop *wop, uint64_t first, uint64_t last, bool hold, void (*step)(struct wop *wop));
void wop_unlock(struct wop *wop);
/** Read the old contents of edge_page[] and make merged[]; then step. Fails the wop by itself. */
void wop_merge(struct wop *wop, void (*step)(struct wop *wop));
/** OR_WRITE: result[] from compare[], which are there; then step.  Fails the wop by itself. */
void wop_or(struct wop *wop, void (*step)(struct wop *wop));
/** merged[] from old[], which are there. */
void wop_merge_old(struct wop *wop, void (*step)(struct wop *wop));
/** Which pages does the request cover in part? */
void wop_find_edges(struct wop *wop);
struct page *wop_page(struct wop *wop, uint64_t vpage);
/** May this volume take the change now?  0, or why not. */
int wop_check(struct wop *wop);
struct wappend *wappend_new(struct wop *wop, unsigned n);
/** Give n entries their sequence, and to the journal.  What they say must be in the dirty table before anything else runs. */
void wop_append(struct wop *wop, struct wappend *wa, unsigned n);
/** Forget an append that was not handed over. */
void wappend_drop(struct wop *wop, struct wappend *wa);
void wop_fail(struct wop *wop, int status);
/** Everything of it is accepted: answer now, or when it is durable. */
void wop_accepted(struct wop *wop);

void write_submit(struct vol_req *req);
void zero_submit(struct vol_req *req);
void resize_submit(struct vol_req *req);
void flush_submit(struct vol_req *req);
/** Answer req once everything up to seq is as durable as the volume promises. */
void flush_wait(struct engine *eng, struct vol_req *req, uint64_t seq);
/** Something became durable, or the volume failed. */
void flush_check(struct engine *eng);

/* ---- destage.c, commit.c, dead.c --------------------------------------------- */

enum commit_state {
	COMMIT_IDLE,
	COMMIT_STAGING,    /* bases are PUT */
	COMMIT_LEAVES,
	COMMIT_SYNC,       /* all is in the store but the root; the journal's durable end is awaited */
	COMMIT_ROOT,
	COMMIT_SETTLE,     /* the root is swapped: pages move to the cache, chunk by chunk */
	COMMIT_HALTED,     /* poisoned, fenced or closing without success: the frozen set stays */
};

struct commit_wait {
	struct commit_wait *next;
	uint64_t seq;
	void (*fn)(struct commit_wait *wait, int status);
};

/** Bases that more than one chunk names, as in a root. */
struct shares {
	struct bucket_share *list;
	uint32_t n;
};

struct new_leaf {
	uint32_t no;
	struct bucket_leaf_ref ref;
	struct bucket_entry *entries;    /* NULL: not kept */
};

struct commit {
	enum commit_state state;
	uint64_t seq;                    /* frozen up to here */
	uint64_t size;                   /* of the volume then */
	struct attrs attrs;
	bool stepping, again;
	bool elapsed;                    /* the interval is over */
	struct loop_timer interval, retry;
	struct loop_msg msg;
	bool posted;
	struct commit_wait *waiters;
	struct dchunk **order;           /* of the frozen set, ascending */
	size_t norder, next;
	unsigned inflight;               /* destages */
	int failed;                      /* why it is given up */
	unsigned attempts;
	/* leaves */
	struct new_leaf *leaves;
	size_t nleaves, leaves_room;
	bool making;                     /* leaves[nleaves] is on its way */
	size_t leaf_from, leaf_to;       /* order[] of the leaf that is being made */
	/* what the new map names, and what it does not any more: once all is staged */
	bool counted;
	struct shares shares;
	struct bucket_share *dead;
	size_t ndead;
	struct leaf_wait leaf_wait;
	uint8_t *buf;                    /* of the leaf or the root that is PUT or read back */
	size_t len;
	/* the root that is being swapped in */
	struct bucket_root root;
	struct object_req req;
	struct iovec iov;
	char key[OBJECT_KEY_MAX + 1];
	bool busy;                       /* req, or a leaf that is waited for */
	bool read_back;                  /* what became of the swap is not known */
	int root_error;
};

void commit_init(struct engine *eng);
void commit_fini(struct engine *eng);
/** fn once everything up to wait->seq is under a root of ours, or with an error. */
void commit_request(struct engine *eng, struct commit_wait *wait);
/** Chunks that are not in the store yet, or in no map. */
size_t commit_chunks_left(const struct engine *eng);
/** Look whether one is due, and start it. */
void commit_kick(struct engine *eng);
void commit_step(struct engine *eng);
/** The volume stopped making promises. */
void commit_halt(struct engine *eng, int status);
const char *commit_state_name(enum commit_state state);

/* clone.c, share.c: chunks that name the bases of others */
void clone_submit(struct vol_req *req);
/** Open's thread: entries BASE and CLONE of the journal. */
int clone_replay(struct engine *eng, const struct journal_entry *e) MUST_CHECK;
/** May so many more chunks name this base? */
bool shares_room(const struct engine *eng, const struct bucket_share *base, size_t more);
/** As the root has them. */
int shares_load(struct engine *eng, const struct bucket_root *root) MUST_CHECK;
/** commit.counted: what becomes of them with the map that is staged. */
int shares_count(struct engine *eng) MUST_CHECK;
/** The root is swapped: that is how it is. */
void shares_swapped(struct engine *eng);
/** All is settled, so nobody looks below what was frozen: what nobody names any more is dead. */
void shares_bury(struct engine *eng);
/** Forget what shares_count() has made. */
void shares_drop(struct commit *c);

struct destage;
/** Begin to stage dc; -ENOMEM when not even that is possible now. */
int destage_start(struct engine *eng, struct dchunk *dc) MUST_CHECK;
/* early.c: full chunks of the active set */
void early_init(struct engine *eng);
/** Every page of it is in memory: PUT it when its turn comes. */
void early_want(struct engine *eng, struct dchunk *dc);
/** It is about to change: what was PUT of it does not count. */
void early_drop(struct engine *eng, struct dchunk *dc);
/** Its memory goes away. */
void early_forget(struct engine *eng, struct dchunk *dc);
/** The active set is frozen: what waits is the commit's business. */
void early_freeze(struct engine *eng);
void early_pump(struct engine *eng);
/** destage.c: the end of an early one. */
void early_ended(struct engine *eng, struct dchunk *dc, uint32_t index, uint32_t version, struct bucket_entry entry,
		 int status);
/** Begin an early one; dc->early. */
int destage_early(struct engine *eng, struct dchunk *dc) MUST_CHECK;
/** It goes on without dc. */
void destage_orphan(struct destage *d);
/** Others gave memory back. */
void destage_retry_memory(struct engine *eng);
/** The volume stopped: who waits for a timer or for memory ends. */
void destage_poke(struct engine *eng);
/** commit.c: one is staged: dc->staged, dc->entry, dc->old; or given up with an error. */
void commit_staged(struct engine *eng, struct dchunk *dc, int status);

struct dead_list {
	struct { uint64_t due_ms; uint64_t number; uint32_t kind, index, generation; } *keys;
	size_t n, room;
	size_t at;                       /* first that is still to be deleted */
	struct loop_timer timer;
	bool busy;
	unsigned attempts;
	counter_t deleted, leaked;
};
void dead_init(struct engine *eng);
void dead_fini(struct engine *eng);
void dead_add(struct engine *eng, enum bucket_key_kind kind, uint32_t index, uint32_t generation, uint64_t number);
/** After a commit's dead_add()s. */
void dead_arm(struct engine *eng);

/* ---- mapquery.c, describe.c, close.c ------------------------------------------ */

void mapquery_submit(struct vol_req *req);
void engine_describe(struct volume *vol, json_t *object);
void engine_describe_stats(struct volume *vol, json_t *object);
void engine_close(struct volume *vol, void (*done)(void *arg, int status), void *arg);
void engine_destroy(struct volume *vol);
/** Nothing is in flight just now. */
void engine_close_poke(struct engine *eng);
/** The memory of one that is dead, or never began to run. */
void engine_free(struct engine *eng);

/* ---- engine.c -------------------------------------------------------------------- */

enum engine_phase { ENGINE_OPENING, ENGINE_RUNNING, ENGINE_CLOSING, ENGINE_DEAD };

/** PUT/GET accounting, by what it was for. */
enum traffic { TRAFFIC_BASE, TRAFFIC_LEAF, TRAFFIC_ROOT, TRAFFIC_TAIL, TRAFFIC_OTHER, TRAFFIC_KINDS };

struct engine {
	struct volume vol;               /* first */
	struct chunked_params params;    /* defaults filled in */
	struct object_store *store;
	bool own_store;
	struct vfs *vfs;
	struct journal *journal;         /* NULL with durability=store */
	char *journal_path;
	uint8_t journal_uuid[UUID_LEN];
	uint8_t gateway_id[UUID_LEN];
	char prefix[VOLUME_NAME_MAX + 1];
	uint64_t commit_window;
	uint64_t commit_interval_ms;
	uint64_t meta_max;               /* memory of the dirty table */
	uint64_t store_max;              /* durability=store: dirty pages */

	unsigned page_shift;             /* chunk = vpage >> page_shift */
	uint32_t chunk_pages;
	uint64_t generation;
	uint64_t object_seq;             /* the last one given to a base in this generation */
	uint64_t last_seq;               /* accepted */
	uint64_t covered_seq;            /* under the root */
	struct bucket_root root;         /* the last one that was swapped in; its leaves are in map.refs */
	char root_etag[OBJECT_ETAG_MAX];
	struct bucket_owner owner;
	char owner_etag[OBJECT_ETAG_MAX];

	enum engine_phase phase;
	bool give_up;                    /* closing took too long: no more retries */
	unsigned busy;                   /* things in flight that use this memory */
	unsigned requests;               /* changes and reads not answered yet */

	struct dirty_set *active, *frozen;
	struct attrs attrs, attrs_durable; /* as accepted; as shown */
	struct attr_replay attr_replay;
	struct shares shares;            /* of `root` */
	struct bucket_share replay_base; /* the last one that the journal has named; count: it is still to be used */
	struct cache cache;
	struct map map;
	struct crctabs crctabs;
	struct fetch *fetches;
	struct reader *starved, **starved_tail;  /* readers without memory: the first one waits for the arena */
	bool starved_waits;
	struct stream streams[STREAMS], writers[STREAMS];
	uint64_t stream_clock;
	unsigned ahead_max;              /* chunks that are fetched ahead of a stream at most */
	unsigned ahead_flight;           /* of all streams, on their way */
	struct gate gate;
	struct commit commit;
	struct dead_list dead;

	struct wop *holders;             /* ranges in use */
	struct wop *range_head, *range_tail;  /* those who wait for one, in order */
	bool range_waking, range_again;
	struct wop *free_wops;
	unsigned nfree_wops;

	struct vol_req *flush_head, *flush_tail;

	struct dchunk *early_first, *early_last; /* full chunks of the active set */
	unsigned early_flight;
	struct loop_msg early_msg;
	bool early_posted;

	unsigned destages_max;
	struct destage *destages;
	unsigned destages_fed;           /* in flight with all the memory that they need */
	struct destage *destages_hungry; /* without */

	struct arena_reclaimer reclaimer;
	struct loop_msg reclaim_msg;
	_Atomic uint32_t reclaim_wanted;
	_Atomic bool reclaim_posted;
	size_t owed;                     /* pages that the arena asked for and did not get yet */
	struct loop_timer pay_timer;
	unsigned pay_ms;

	int degraded;                    /* why the store does not take what it should; 0 = it does */
	const char *degraded_what;
	uint64_t degraded_since_ms;
	bool degraded_told;              /* in the log */
	uint64_t degraded_told_ms;       /* the latest time of that; 0 = never */

	struct loop_timer close_timer;
	uint64_t close_until_ms;         /* then it is given up */
	size_t close_all, close_left;    /* chunks to be committed: when it began, when it was given up */
	void (*close_done)(void *arg, int status);
	void *close_arg;
	int close_status;
	bool abandon;
	unsigned close_step;
	struct commit_wait close_wait;
	bool close_waits;
	struct loop_msg close_msg;
	bool close_posted;
	struct loop_work close_work;
	struct object_req close_req;
	struct iovec close_iov;
	uint8_t owner_buf[BUCKET_OWNER_BYTES];
	char owner_key[OBJECT_KEY_MAX + 1], root_key[OBJECT_KEY_MAX + 1];

	counter_t puts[TRAFFIC_KINDS], gets[TRAFFIC_KINDS], put_bytes[TRAFFIC_KINDS], got_bytes[TRAFFIC_KINDS];
	counter_t crc_errors, put_errors, get_errors, commits, carried_bad;
	counter_t journal_bytes, journal_reads, rmw, read_ahead, early_bases, early_dropped, clones;
	uint64_t replayed;
	uint64_t last_commit_ms;         /* loop time */
	bool reclaiming;                 /* the reclaimer is registered */
};

static inline struct engine *engine_of(struct volume *vol)
{
	return container_of(vol, struct engine, vol);
}

static inline uint64_t engine_size(const struct engine *eng)
{
	return atomic_load_explicit(&eng->vol.size, memory_order_relaxed);
}

static inline int engine_health(const struct engine *eng)
{
	return atomic_load_explicit(&eng->vol.health, memory_order_relaxed);
}

static inline uint64_t engine_chunks(const struct engine *eng)
{
	return (engine_size(eng) + eng->vol.chunk_size - 1) / eng->vol.chunk_size;
}

static inline bool entry_same(struct bucket_entry a, struct bucket_entry b)
{
	return a.seq_flags == b.seq_flags && a.generation == b.generation && a.origin == b.origin;
}

/** Which base it is that the entry of this chunk names. */
static inline struct bucket_share base_name(uint64_t chunk, struct bucket_entry entry)
{
	return (struct bucket_share){.origin = bucket_entry_origin(entry, chunk),
				     .generation = entry.generation,
				     .seq = bucket_entry_seq(entry)};
}

/** Everything accepted so far is as durable as this volume promises. */
uint64_t engine_durable_seq(const struct engine *eng);
void engine_poison(struct engine *eng);
void engine_fence(struct engine *eng);
void engine_degrade(struct engine *eng, int err, const char *what);
void engine_recovered(struct engine *eng);
/** A store that is away, or refuses, has tried for as long as it may; what it could not judge is asked for once more. */
static inline bool
engine_worth_repeating(int err)
{
	return err == -EIO || err == -ENODATA || err == LG_EPROTO || err_class(err) == ERR_CLASS_CORRUPT;
}
/** Milliseconds to wait before attempt number `attempt` (from 1). */
uint64_t engine_backoff(struct engine *eng, unsigned attempt);
/** No more attempts: the volume failed, or is being closed without success. */
bool engine_stopped(const struct engine *eng);
/** Things in flight: close waits until all have come back. */
void engine_hold(struct engine *eng);
void engine_release(struct engine *eng);
void engine_request_done(struct engine *eng, struct vol_req *req, int status);
/** A GET or PUT with the books kept. */
void engine_object(struct engine *eng, struct object_req *req, enum traffic kind);
void engine_object_done(struct engine *eng, struct object_req *req, enum traffic kind);
void engine_update_allocated(struct engine *eng);
/** Pages came into the caches: keep the arena from running dry. */
void engine_balance(struct engine *eng, size_t added);
void engine_submit(struct vol_req *req);
/** From open: timers, reclaimer; on the loop. */
void engine_start(struct engine *eng);
extern const struct vol_ops engine_ops;

#endif
