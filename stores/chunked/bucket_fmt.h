/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The objects of a volume in the bucket: bytes to structs and back, and their
 * keys.  Every byte is described in doc/formats.md; this is the one codec.
 *
 * What holds for every binary object, in every version:
 *   - it starts (a base: its footer starts) with magic 8, version 4, flags 4,
 *     volume uuid 16; everything is little-endian;
 *   - its last four bytes are the CRC32C of all bytes before them (a base: of the footer's).
 *
 * Decoders believe nothing.  In this order:
 *   too short, wrong magic, CRC mismatch                     LG_ECORRUPT
 *   unknown version, unknown flag, reserved byte in use      LG_EFORMAT
 *   other uuid, index, generation ... than asked for         LG_ECORRUPT
 *   impossible values                                        LG_ECORRUPT
 * and *ret is written on success alone.  Encoders assert what decoders check:
 * a bad value there is our own bug.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_STORES_CHUNKED_BUCKET_FMT_H
#define LUNGATE_STORES_CHUNKED_BUCKET_FMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/util.h"

#define BUCKET_VERSION 1u
#define BUCKET_NONCE_LEN 16
#define BUCKET_SEQ_MAX ((UINT64_C(1) << 48) - 1)
#define BUCKET_GENERATION_MAX UINT32_MAX
#define BUCKET_PAGE 4096u
#define BUCKET_CHUNK_MIN (1u << 20)
#define BUCKET_CHUNK_MAX (16u << 20)
#define BUCKET_CHUNKS_MAX (UINT64_C(1) << 32)   /* an index has 8 hex digits */

/* ---- volume.json: identity, immutable ---------------------------------- */

#define BUCKET_SERIAL_MAX 32
#define BUCKET_VOLUME_JSON_MAX 65536

struct bucket_volume {
	uint8_t uuid[UUID_LEN];
	uint64_t size;               /* at creation; the root's is the one that counts */
	uint32_t chunk_size;         /* power of two, 1 to 16 MiB */
	uint32_t block_size;         /* 512 or 4096 */
	uint8_t naa[16];
	char serial[BUCKET_SERIAL_MAX + 1];   /* [A-Za-z0-9._-]+ */
	uint64_t created_ms;         /* Unix time */
	bool has_parent;             /* a clone; this version refuses it (LG_EFORMAT) */
	uint8_t parent_uuid[UUID_LEN];
};

/** Text for people and programs, ends with a newline; the caller frees *ret. 0 or -ENOMEM. */
int bucket_volume_encode(const struct bucket_volume *vol, char **ret, size_t *ret_len) MUST_CHECK;
int bucket_volume_decode(const void *p, size_t n, struct bucket_volume *ret, struct errinfo *info) MUST_CHECK;

/* ---- owner -------------------------------------------------------------- */

#define BUCKET_OWNER_BYTES 512
#define BUCKET_PORTAL_MAX 127

enum bucket_owner_state {
	BUCKET_OWNER_RELEASED = 1,   /* the last owner let go */
	BUCKET_OWNER_HELD = 2,
	BUCKET_OWNER_TOMBSTONE = 3,  /* the volume was deleted; keeps the generation */
};

enum bucket_journal_state {
	BUCKET_JOURNAL_NONE = 1,     /* no acknowledgement depends on a journal */
	BUCKET_JOURNAL_CLEAN = 2,    /* all of it is covered by the root */
	BUCKET_JOURNAL_OPEN = 3,     /* it may hold acknowledged changes that nothing else holds */
	BUCKET_JOURNAL_SEALED = 4,   /* as OPEN, and it will get no more */
};

struct bucket_owner {
	uint8_t uuid[UUID_LEN];      /* of the volume */
	uint64_t generation;
	uint8_t nonce[BUCKET_NONCE_LEN];   /* fresh in every body, so that an etag never repeats */
	uint64_t counter;            /* + 1 with every body */
	enum bucket_owner_state state;
	uint8_t gateway_id[UUID_LEN];
	uint64_t lease_epoch;        /* 0: no lease guards it */
	uint8_t journal_uuid[UUID_LEN];    /* zero with BUCKET_JOURNAL_NONE */
	enum bucket_journal_state journal_state;
	uint64_t committed_seq;      /* last sequence under a root, as this owner knows */
	uint64_t time_ms;            /* Unix time, for people */
	char portal[BUCKET_PORTAL_MAX + 1];  /* where initiators find the owner; printable ASCII, "" = not told */
};

void bucket_owner_encode(const struct bucket_owner *owner, uint8_t buf[BUCKET_OWNER_BYTES]);
/** uuid: the volume's, checked. */
int bucket_owner_decode(const void *p, size_t n, const uint8_t uuid[UUID_LEN],
			struct bucket_owner *ret) MUST_CHECK;

/* ---- attributes (bucket_attr.c) ----------------------------------------- */

#define BUCKET_ATTR_HEADER 32u
#define BUCKET_ATTR_KEY_MAX 23               /* as volume_key_valid() wants it, without the NUL */
#define BUCKET_ATTR_VALUE_MAX (512u << 10)
#define BUCKET_ATTRS_MAX 16u                 /* of a volume */
#define BUCKET_ATTRS_BYTES_MAX (1u << 20)    /* of a volume, headers and all */

/** A value that travels with the volume and means nothing to it. */
struct bucket_attr {
	char key[BUCKET_ATTR_KEY_MAX + 1];
	uint32_t length;             /* 0: it is not there; in the journal alone */
	const uint8_t *value;
};

size_t bucket_attr_bytes(const struct bucket_attr *attr);
/** Fills bucket_attr_bytes(attr) bytes. */
void bucket_attr_encode(const struct bucket_attr *attr, uint8_t *buf);
/** One at the start of these n bytes; value points into them. */
int bucket_attr_decode(const void *p, size_t n, struct bucket_attr *ret) MUST_CHECK;

/** As a volume may have them: none empty, ascending by key, within the bounds. */
bool bucket_attrs_valid(const struct bucket_attr *attrs, uint32_t n);
size_t bucket_attrs_bytes(const struct bucket_attr *attrs, uint32_t n);
void bucket_attrs_encode(const struct bucket_attr *attrs, uint32_t n, uint8_t *buf);
/** n of them in just these bytes; the caller checks bucket_attrs_valid(). */
int bucket_attrs_decode(const uint8_t *p, size_t bytes, uint32_t n, struct bucket_attr *attrs) MUST_CHECK;

/* ---- root --------------------------------------------------------------- */

#define BUCKET_ROOT_MAX (4u << 20)           /* bytes: nothing larger is fetched */
#define BUCKET_LEAF_CHUNKS 65536u
#define BUCKET_LEAF_SHIFT 16
#define BUCKET_LEAVES_MAX 65536u

/** A leaf without present chunks has no reference: absence means absent. */
struct bucket_leaf_ref {
	uint32_t leaf;               /* chunks leaf << 16 ... */
	uint32_t generation;         /* generation and commit are in its key */
	uint64_t commit;
	uint32_t crc;                /* the last four bytes of the leaf */
	uint32_t present;            /* chunks that are not absent: 1..65536 */
	uint32_t length;             /* bytes of the object */
};

#define BUCKET_SHARES_MAX 32768u

/** A base that several chunks name. */
struct bucket_share {
	uint32_t origin;             /* the chunk that it was written for: the index in its key and footer */
	uint32_t generation;
	uint64_t seq;
	uint32_t count;              /* entries that name it: at least 2 */
};

struct bucket_root {
	uint8_t uuid[UUID_LEN];
	uint64_t generation;
	uint64_t commit;             /* + 1 with every swap, whoever makes it */
	uint64_t size;               /* of the volume now, bytes; multiple of block_size */
	uint64_t covered_seq;        /* all changes up to here are in the map */
	uint8_t nonce[BUCKET_NONCE_LEN];
	uint32_t chunk_size, block_size;
	uint64_t time_ms;
	uint8_t journal_uuid[UUID_LEN];   /* the journal that continues this root; zero = none yet */
	struct bucket_leaf_ref *leaves;   /* ascending by leaf, no two alike, none wholly past size */
	uint32_t nleaves;
	struct bucket_attr *attrs;        /* as bucket_attrs_valid() wants them */
	uint32_t nattrs;
	uint8_t *attr_bytes;              /* what the values of a decoded root point into */
	struct bucket_share *shares;      /* ascending by bucket_share_order(), no two alike */
	uint32_t nshares;
};

/** <, ==, > 0: by origin, generation, sequence. */
int bucket_share_order(const struct bucket_share *a, const struct bucket_share *b);

size_t bucket_root_bytes(const struct bucket_root *root);
/** Fills bucket_root_bytes(root) bytes. */
void bucket_root_encode(const struct bucket_root *root, uint8_t *buf);
/** On success the caller calls bucket_root_fini(). -ENOMEM too. */
int bucket_root_decode(const void *p, size_t n, const uint8_t uuid[UUID_LEN], struct bucket_root *ret) MUST_CHECK;
void bucket_root_fini(struct bucket_root *root);

/* ---- leaf --------------------------------------------------------------- */

#define BUCKET_LEAF_HEADER 128u
#define BUCKET_LEAF_GROUP 256u               /* entries; groups that are all absent take no bytes */
#define BUCKET_LEAF_BYTES_MAX (BUCKET_LEAF_HEADER + BUCKET_LEAF_CHUNKS * 16u + 4u)

#define BUCKET_ENTRY_BASE 0x0001u            /* generation and seq name the base */
#define BUCKET_ENTRY_OVERLAYS 0x0002u        /* defined, refused by this version */
#define BUCKET_ENTRY_PARENT 0x0004u          /* defined, refused by this version */
#define BUCKET_ENTRY_CLONE 0x0008u           /* with BASE: it was written for another chunk */

/** 16 bytes in memory as in the object.  All zero = absent. */
struct bucket_entry {
	uint64_t seq_flags;          /* seq in the low 48 bits, BUCKET_ENTRY_* above */
	uint32_t generation;
	uint32_t origin;             /* CLONE: the chunk that the base was written for; else 0 (the place of an overlay
	                                index) */
};

/** Of a base that was written for the chunk whose entry it is. */
static inline struct bucket_entry bucket_entry_base(uint32_t generation, uint64_t seq)
{
	return (struct bucket_entry){
		.seq_flags = (seq & BUCKET_SEQ_MAX) | (uint64_t)BUCKET_ENTRY_BASE << 48,
		.generation = generation,
	};
}
static inline uint64_t bucket_entry_seq(struct bucket_entry e)
{
	return e.seq_flags & BUCKET_SEQ_MAX;
}
static inline unsigned bucket_entry_flags(struct bucket_entry e)
{
	return (unsigned)(e.seq_flags >> 48);
}
static inline bool bucket_entry_present(struct bucket_entry e)
{
	return bucket_entry_flags(e) != 0;
}
/** For which chunk the base was written that the entry of this chunk names. */
static inline uint32_t bucket_entry_origin(struct bucket_entry e, uint64_t chunk)
{
	return bucket_entry_flags(e) & BUCKET_ENTRY_CLONE ? e.origin : (uint32_t)chunk;
}
/** The one entry by which this chunk names a base of chunk `origin`. */
static inline struct bucket_entry bucket_entry_of(uint64_t chunk, uint32_t origin, uint32_t generation, uint64_t seq)
{
	struct bucket_entry e = bucket_entry_base(generation, seq);

	if (origin != chunk) {
		e.seq_flags |= (uint64_t)BUCKET_ENTRY_CLONE << 48;
		e.origin = origin;
	}
	return e;
}

struct bucket_leaf {
	uint8_t uuid[UUID_LEN];
	uint32_t leaf;
	uint32_t generation;
	uint64_t commit;
};

/** Bytes that these 65,536 entries take; *ret_present (may be NULL): how many are not absent. */
size_t bucket_leaf_bytes(const struct bucket_entry *entries, uint32_t *ret_present);
/** Fills bucket_leaf_bytes(entries) bytes and the reference for the root. */
void bucket_leaf_encode(const struct bucket_leaf *leaf, const struct bucket_entry *entries, uint8_t *buf,
			struct bucket_leaf_ref *ret_ref);
/** Everything that ref says is checked, CRC and length included.  entries: room for 65,536, undefined on error. */
int bucket_leaf_decode(const void *p, size_t n, const uint8_t uuid[UUID_LEN], const struct bucket_leaf_ref *ref,
		       struct bucket_entry *entries) MUST_CHECK;

/* ---- base --------------------------------------------------------------- */

#define BUCKET_BASE_FOOTER 512u

/**
 * Raw bytes of the chunk, then the table, then the footer.  The table has an entry
 * for every page of the chunk, so the tail of every base of a volume has
 * one size.  Pages past `length` are not stored and read as zeroes (their entry
 * is CRC32C_ZERO_PAGE): the last chunk of a volume, a tail of zeroes.
 */
struct bucket_base {
	uint8_t uuid[UUID_LEN];
	uint64_t index;              /* of the chunk */
	uint64_t generation;
	uint64_t seq;
	uint32_t chunk_size;
	uint32_t length;             /* bytes stored: multiple of 4096, 4096..chunk_size */
	uint32_t data_crc;           /* CRC32C of these bytes */
};

/** Bytes of table and footer: the last ones of the object, at offset `length` (the object is never shorter). */
static inline size_t bucket_base_tail_bytes(uint32_t chunk_size)
{
	return (size_t)(chunk_size / BUCKET_PAGE) * 4 + BUCKET_BASE_FOOTER;
}

/** crcs: one a page of the chunk (entries past length are written as CRC32C_ZERO_PAGE whatever they are). */
void bucket_base_tail_encode(const struct bucket_base *base, const uint32_t *crcs, uint8_t *tail);
/** expect: uuid, index, generation, seq and chunk_size are checked, the rest ignored.  n must be the tail's bytes.
 *  crcs (may be NULL): chunk_size / 4096 entries. */
int bucket_base_tail_decode(const void *tail, size_t n, const struct bucket_base *expect, struct bucket_base *ret,
			    uint32_t *crcs) MUST_CHECK;
/** The 512-byte footer alone, for tools that know nothing yet; only its own CRC and values are checked. */
int bucket_base_footer_decode(const void *footer, size_t n, struct bucket_base *ret, uint32_t *ret_table_crc) MUST_CHECK;

/* ---- keys --------------------------------------------------------------- */

enum bucket_key_kind {
	BUCKET_KEY_VOLUME = 1,   /* volume.json */
	BUCKET_KEY_OWNER,        /* owner */
	BUCKET_KEY_ROOT,         /* root */
	BUCKET_KEY_BASE,         /* c/SHARD2/INDEX8.GEN8.SEQ16        shard: low byte of index */
	BUCKET_KEY_LEAF,         /* m/GEN8.COMMIT16.lLEAF8 */
	BUCKET_KEY_DELTA,        /* m/GEN8.COMMIT16.d                 later */
	BUCKET_KEY_SEGMENT,      /* s/SHARD2/GEN8.SEQ16               later; shard: low byte of seq */
	BUCKET_KEY_LOG,          /* l/GEN8.N16                        later */
	BUCKET_KEY_SNAPSHOT,     /* snapshot/NAME                     later */
};

#define BUCKET_SNAPSHOT_NAME_MAX 64

struct bucket_key {
	enum bucket_key_kind kind;
	uint32_t index;          /* BASE: chunk; LEAF: leaf */
	uint32_t generation;     /* BASE, LEAF, DELTA, SEGMENT, LOG */
	uint64_t number;         /* BASE, SEGMENT: seq; LEAF, DELTA: commit; LOG: n */
	char name[BUCKET_SNAPSHOT_NAME_MAX + 1];   /* SNAPSHOT */
};

/** Longest part after the volume's prefix, with the NUL. */
#define BUCKET_KEY_MAX 96

/** "PREFIX/..." into buf; prefix is the volume's ("PREFIX/VOLUME" or "VOLUME", no slash at the end; "" = none).
 *  Length without the NUL, or -ENAMETOOLONG. */
int bucket_key_format(const struct bucket_key *key, const char *prefix, char *buf, size_t len) MUST_CHECK;
int bucket_key_base(const char *prefix, uint32_t index, uint32_t generation, uint64_t seq, char *buf,
		    size_t len) MUST_CHECK;
/** The key of the base that the entry of this chunk names. */
int bucket_key_entry(const char *prefix, uint64_t chunk, struct bucket_entry entry, char *buf, size_t len) MUST_CHECK;
int bucket_key_leaf(const char *prefix, const struct bucket_leaf_ref *ref, char *buf, size_t len) MUST_CHECK;

/** The exact inverse: key must start with prefix and be what bucket_key_format() writes.  0 or -EINVAL. */
int bucket_key_parse(const char *key, const char *prefix, struct bucket_key *ret) MUST_CHECK;

#endif
