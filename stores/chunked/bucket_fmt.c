/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Codec of the binary objects of a volume in the bucket; volume.json is in
 * bucket_json.c, attributes are in bucket_attr.c, keys in bucket_key.c.  Pure functions over byte arrays: no state, no I/O.
 *
 * Offsets are spelled as enums next to each object, in the order of doc/formats.md.
 * A decoder checks the CRC before it looks at any other field, so that damage is
 * never mistaken for a newer version.
 */
#include "stores/chunked/bucket_fmt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"

#define MAGIC_LEN 8
#define ROOT_MAGIC "LUNGROOT"
#define OWNER_MAGIC "LUNGOWNR"
#define LEAF_MAGIC "LUNGLEAF"
#define BASE_MAGIC "LUNGBASE"

/* What every object starts with. */
enum { AT_MAGIC = 0, AT_VERSION = 8, AT_FLAGS = 12, AT_UUID = 16, PROLOGUE = 32 };

static const uint8_t zero_uuid[UUID_LEN];

static void
prologue_encode(uint8_t *p, const char *magic, const uint8_t uuid[UUID_LEN])
{
	memcpy(p + AT_MAGIC, magic, MAGIC_LEN);
	put_le32(p + AT_VERSION, BUCKET_VERSION);
	put_le32(p + AT_FLAGS, 0);
	memcpy(p + AT_UUID, uuid, UUID_LEN);
}

/** n includes the four bytes of the CRC at the end; uuid NULL = any. */
static int
prologue_check(const uint8_t *p, size_t n, const char *magic, const uint8_t *uuid)
{
	if (n < PROLOGUE + 4 || memcmp(p + AT_MAGIC, magic, MAGIC_LEN) != 0)
		return LG_ECORRUPT;
	if (get_le32(p + n - 4) != crc32c(0, p, n - 4))
		return LG_ECORRUPT;
	if (get_le32(p + AT_VERSION) != BUCKET_VERSION || get_le32(p + AT_FLAGS) != 0)
		return LG_EFORMAT;
	if (uuid && memcmp(p + AT_UUID, uuid, UUID_LEN) != 0)
		return LG_ECORRUPT;
	return 0;
}

static void
seal(uint8_t *p, size_t n)
{
	put_le32(p + n - 4, crc32c(0, p, n - 4));
}

static bool
all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static bool
geometry_valid(uint32_t chunk_size, uint32_t block_size)
{
	return is_pow2(chunk_size) && chunk_size >= BUCKET_CHUNK_MIN && chunk_size <= BUCKET_CHUNK_MAX &&
	       (block_size == 512 || block_size == 4096);
}

/* ---- owner -------------------------------------------------------------- */

enum {
	OWNER_GENERATION = 32,
	OWNER_COUNTER = 40,
	OWNER_NONCE = 48,
	OWNER_GATEWAY = 64,
	OWNER_LEASE_EPOCH = 80,
	OWNER_STATE = 88,
	OWNER_JOURNAL_STATE = 92,
	OWNER_JOURNAL = 96,
	OWNER_COMMITTED = 112,
	OWNER_TIME = 120,
	OWNER_PORTAL = 128,
	OWNER_RESERVED = 256,
};

static bool
owner_valid(const struct bucket_owner *o)
{
	bool no_journal = memcmp(o->journal_uuid, zero_uuid, UUID_LEN) == 0;

	for (const char *c = o->portal; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return false;
	return o->generation <= BUCKET_GENERATION_MAX && o->committed_seq <= BUCKET_SEQ_MAX &&
	       (o->state == BUCKET_OWNER_RELEASED || o->state == BUCKET_OWNER_HELD ||
		o->state == BUCKET_OWNER_TOMBSTONE) &&
	       o->journal_state >= BUCKET_JOURNAL_NONE && o->journal_state <= BUCKET_JOURNAL_SEALED &&
	       no_journal == (o->journal_state == BUCKET_JOURNAL_NONE);
}

void
bucket_owner_encode(const struct bucket_owner *owner, uint8_t buf[BUCKET_OWNER_BYTES])
{
	assert(memchr(owner->portal, 0, sizeof(owner->portal)) && owner_valid(owner));
	memset(buf, 0, BUCKET_OWNER_BYTES);
	prologue_encode(buf, OWNER_MAGIC, owner->uuid);
	put_le64(buf + OWNER_GENERATION, owner->generation);
	put_le64(buf + OWNER_COUNTER, owner->counter);
	memcpy(buf + OWNER_NONCE, owner->nonce, BUCKET_NONCE_LEN);
	memcpy(buf + OWNER_GATEWAY, owner->gateway_id, UUID_LEN);
	put_le64(buf + OWNER_LEASE_EPOCH, owner->lease_epoch);
	put_le32(buf + OWNER_STATE, owner->state);
	put_le32(buf + OWNER_JOURNAL_STATE, owner->journal_state);
	memcpy(buf + OWNER_JOURNAL, owner->journal_uuid, UUID_LEN);
	put_le64(buf + OWNER_COMMITTED, owner->committed_seq);
	put_le64(buf + OWNER_TIME, owner->time_ms);
	memcpy(buf + OWNER_PORTAL, owner->portal, strlen(owner->portal));
	seal(buf, BUCKET_OWNER_BYTES);
}

int
bucket_owner_decode(const void *data, size_t n, const uint8_t uuid[UUID_LEN], struct bucket_owner *ret)
{
	const uint8_t *p = data;
	struct bucket_owner o = {0};

	if (n != BUCKET_OWNER_BYTES)
		return LG_ECORRUPT;
	int rc = prologue_check(p, n, OWNER_MAGIC, uuid);
	if (rc)
		return rc;
	if (!all_zero(p + OWNER_RESERVED, BUCKET_OWNER_BYTES - 4 - OWNER_RESERVED))
		return LG_EFORMAT;

	memcpy(o.uuid, p + AT_UUID, UUID_LEN);
	o.generation = get_le64(p + OWNER_GENERATION);
	o.counter = get_le64(p + OWNER_COUNTER);
	memcpy(o.nonce, p + OWNER_NONCE, BUCKET_NONCE_LEN);
	memcpy(o.gateway_id, p + OWNER_GATEWAY, UUID_LEN);
	o.lease_epoch = get_le64(p + OWNER_LEASE_EPOCH);
	uint32_t state = get_le32(p + OWNER_STATE), journal_state = get_le32(p + OWNER_JOURNAL_STATE);
	if (state > BUCKET_OWNER_TOMBSTONE || journal_state > BUCKET_JOURNAL_SEALED)
		return LG_EFORMAT;
	o.state = (enum bucket_owner_state)state;
	o.journal_state = (enum bucket_journal_state)journal_state;
	memcpy(o.journal_uuid, p + OWNER_JOURNAL, UUID_LEN);
	o.committed_seq = get_le64(p + OWNER_COMMITTED);
	o.time_ms = get_le64(p + OWNER_TIME);
	const uint8_t *portal = p + OWNER_PORTAL;
	const uint8_t *end = memchr(portal, 0, BUCKET_PORTAL_MAX + 1);
	if (!end || !all_zero(end, (size_t)(portal + BUCKET_PORTAL_MAX + 1 - end)))
		return LG_ECORRUPT;
	memcpy(o.portal, portal, (size_t)(end - portal));
	if (!owner_valid(&o))
		return LG_ECORRUPT;
	*ret = o;
	return 0;
}

/* ---- root --------------------------------------------------------------- */

enum {
	ROOT_GENERATION = 32,
	ROOT_COMMIT = 40,
	ROOT_SIZE = 48,
	ROOT_COVERED = 56,
	ROOT_NONCE = 64,
	ROOT_CHUNK_SIZE = 80,
	ROOT_BLOCK_SIZE = 84,
	ROOT_TIME = 88,
	ROOT_JOURNAL = 96,
	ROOT_SECTIONS = 112, /* how many follow the header */
	ROOT_LENGTH = 116,   /* of the whole object */
	ROOT_RESERVED = 120,
	ROOT_HEADER = 128,
};

/* A section: type 2, flags 2, entry bytes 4 (0: they differ), entries 4, bytes of all entries where they differ 4;
 * then the entries. */
enum {
	SECTION_TYPE = 0,
	SECTION_FLAGS = 2,
	SECTION_ENTRY = 4,
	SECTION_COUNT = 8,
	SECTION_BYTES = 12,
	SECTION_HEADER = 16
};
enum { SECTION_LEAVES = 1, SECTION_ATTRS = 5, SECTION_SHARES = 7 };

enum {
	SHARE_ORIGIN = 0,
	SHARE_GENERATION = 4,
	SHARE_SEQ = 8,
	SHARE_ZERO = 14,
	SHARE_COUNT = 16,
	SHARE_BYTES = 20
};

enum {
	REF_LEAF = 0,
	REF_GENERATION = 4,
	REF_COMMIT = 8,
	REF_CRC = 16,
	REF_PRESENT = 20,
	REF_LENGTH = 24,
	REF_FLAGS = 28,
	REF_BYTES = 32,
};

static bool
leaf_ref_valid(const struct bucket_leaf_ref *r)
{
	return r->present >= 1 && r->present <= BUCKET_LEAF_CHUNKS && r->length > BUCKET_LEAF_HEADER &&
	       r->length <= BUCKET_LEAF_BYTES_MAX;
}

int
bucket_share_order(const struct bucket_share *a, const struct bucket_share *b)
{
	if (a->origin != b->origin)
		return a->origin < b->origin ? -1 : 1;
	if (a->generation != b->generation)
		return a->generation < b->generation ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/** An origin may lie past the end: the volume shrank, and the base lives on elsewhere. */
static bool
shares_valid(const struct bucket_root *r)
{
	for (uint32_t i = 0; i < r->nshares; i++) {
		const struct bucket_share *s = &r->shares[i];

		if (s->count < 2 || s->seq > BUCKET_SEQ_MAX || s->generation > r->generation)
			return false;
		if (i > 0 && bucket_share_order(s - 1, s) >= 0)
			return false;
	}
	return r->nshares <= BUCKET_SHARES_MAX;
}

static bool
root_valid(const struct bucket_root *r)
{
	if (r->generation > BUCKET_GENERATION_MAX || r->covered_seq > BUCKET_SEQ_MAX)
		return false;
	if (!geometry_valid(r->chunk_size, r->block_size))
		return false;
	if (r->size == 0 || r->size > INT64_MAX || r->size % r->block_size)
		return false;
	uint64_t chunks = (r->size - 1) / r->chunk_size + 1;
	if (chunks > BUCKET_CHUNKS_MAX)
		return false;
	for (uint32_t i = 0; i < r->nleaves; i++) {
		const struct bucket_leaf_ref *ref = &r->leaves[i];

		if (!leaf_ref_valid(ref) || (uint64_t)ref->leaf << BUCKET_LEAF_SHIFT >= chunks)
			return false;
		if (i > 0 && ref->leaf <= r->leaves[i - 1].leaf)
			return false;
	}
	return bucket_attrs_valid(r->attrs, r->nattrs) && shares_valid(r);
}

_Static_assert(ROOT_HEADER + 3 * SECTION_HEADER + BUCKET_LEAVES_MAX * REF_BYTES + BUCKET_ATTRS_BYTES_MAX +
			       BUCKET_SHARES_MAX * SHARE_BYTES + 4 <=
		       BUCKET_ROOT_MAX,
	       "the largest root can be read");

size_t
bucket_root_bytes(const struct bucket_root *root)
{
	size_t n = ROOT_HEADER + SECTION_HEADER + (size_t)root->nleaves * REF_BYTES + 4;

	if (root->nattrs)
		n += SECTION_HEADER + bucket_attrs_bytes(root->attrs, root->nattrs);
	if (root->nshares)
		n += SECTION_HEADER + (size_t)root->nshares * SHARE_BYTES;
	return n;
}

static uint8_t *
section_encode(uint8_t *p, unsigned type, uint32_t entry_bytes, uint32_t count, size_t bytes)
{
	memset(p, 0, SECTION_HEADER);
	put_le16(p + SECTION_TYPE, (uint16_t)type);
	put_le32(p + SECTION_ENTRY, entry_bytes);
	put_le32(p + SECTION_COUNT, count);
	put_le32(p + SECTION_BYTES, (uint32_t)bytes);
	return p + SECTION_HEADER;
}

static void
shares_encode(const struct bucket_root *root, uint8_t *p)
{
	p = section_encode(p, SECTION_SHARES, SHARE_BYTES, root->nshares, 0);
	for (uint32_t i = 0; i < root->nshares; i++, p += SHARE_BYTES) {
		const struct bucket_share *s = &root->shares[i];

		put_le32(p + SHARE_ORIGIN, s->origin);
		put_le32(p + SHARE_GENERATION, s->generation);
		put_le48(p + SHARE_SEQ, s->seq);
		put_le16(p + SHARE_ZERO, 0);
		put_le32(p + SHARE_COUNT, s->count);
	}
}

void
bucket_root_encode(const struct bucket_root *root, uint8_t *buf)
{
	size_t n = bucket_root_bytes(root);

	assert(root_valid(root));
	memset(buf, 0, ROOT_HEADER);
	prologue_encode(buf, ROOT_MAGIC, root->uuid);
	put_le64(buf + ROOT_GENERATION, root->generation);
	put_le64(buf + ROOT_COMMIT, root->commit);
	put_le64(buf + ROOT_SIZE, root->size);
	put_le64(buf + ROOT_COVERED, root->covered_seq);
	memcpy(buf + ROOT_NONCE, root->nonce, BUCKET_NONCE_LEN);
	put_le32(buf + ROOT_CHUNK_SIZE, root->chunk_size);
	put_le32(buf + ROOT_BLOCK_SIZE, root->block_size);
	put_le64(buf + ROOT_TIME, root->time_ms);
	memcpy(buf + ROOT_JOURNAL, root->journal_uuid, UUID_LEN);
	put_le32(buf + ROOT_SECTIONS, 1u + (root->nattrs > 0) + (root->nshares > 0));
	put_le32(buf + ROOT_LENGTH, (uint32_t)n);

	uint8_t *p = section_encode(buf + ROOT_HEADER, SECTION_LEAVES, REF_BYTES, root->nleaves, 0);
	for (uint32_t i = 0; i < root->nleaves; i++, p += REF_BYTES) {
		const struct bucket_leaf_ref *ref = &root->leaves[i];

		put_le32(p + REF_LEAF, ref->leaf);
		put_le32(p + REF_GENERATION, ref->generation);
		put_le64(p + REF_COMMIT, ref->commit);
		put_le32(p + REF_CRC, ref->crc);
		put_le32(p + REF_PRESENT, ref->present);
		put_le32(p + REF_LENGTH, ref->length);
		put_le32(p + REF_FLAGS, 0);
	}
	if (root->nattrs) {
		p = section_encode(p, SECTION_ATTRS, 0, root->nattrs,
				   bucket_attrs_bytes(root->attrs, root->nattrs));
		bucket_attrs_encode(root->attrs, root->nattrs, p);
		p += bucket_attrs_bytes(root->attrs, root->nattrs);
	}
	if (root->nshares)
		shares_encode(root, p);
	seal(buf, n);
}

/** The first section; p and room: from its header to before the CRC.  *ret_used: where the next one begins. */
static int
root_leaves_decode(const uint8_t *p, size_t room, struct bucket_root *ret, size_t *ret_used)
{
	if (room < SECTION_HEADER)
		return LG_ECORRUPT;
	if (get_le16(p + SECTION_TYPE) != SECTION_LEAVES || get_le16(p + SECTION_FLAGS) != 0 ||
	    get_le32(p + SECTION_ENTRY) != REF_BYTES || get_le32(p + SECTION_BYTES) != 0)
		return LG_EFORMAT;
	uint32_t count = get_le32(p + SECTION_COUNT);
	if (count > BUCKET_LEAVES_MAX || room - SECTION_HEADER < (size_t)count * REF_BYTES)
		return LG_ECORRUPT;
	*ret_used = SECTION_HEADER + (size_t)count * REF_BYTES;
	if (count == 0)
		return 0;

	ret->leaves = calloc(count, sizeof(*ret->leaves));
	if (!ret->leaves)
		return -ENOMEM;
	ret->nleaves = count;
	p += SECTION_HEADER;
	for (uint32_t i = 0; i < count; i++, p += REF_BYTES) {
		ret->leaves[i] = (struct bucket_leaf_ref){
			.leaf = get_le32(p + REF_LEAF),
			.generation = get_le32(p + REF_GENERATION),
			.commit = get_le64(p + REF_COMMIT),
			.crc = get_le32(p + REF_CRC),
			.present = get_le32(p + REF_PRESENT),
			.length = get_le32(p + REF_LENGTH),
		};
		if (get_le32(p + REF_FLAGS) != 0)
			return LG_EFORMAT;
	}
	return 0;
}

/** Its type is known to be this one. */
static int
root_attrs_decode(const uint8_t *p, size_t room, struct bucket_root *ret, size_t *ret_used)
{
	if (get_le16(p + SECTION_FLAGS) != 0 || get_le32(p + SECTION_ENTRY) != 0)
		return LG_EFORMAT;
	uint32_t count = get_le32(p + SECTION_COUNT);
	size_t bytes = get_le32(p + SECTION_BYTES);
	if (count == 0 || count > BUCKET_ATTRS_MAX || bytes > room - SECTION_HEADER ||
	    bytes > BUCKET_ATTRS_BYTES_MAX || bytes == 0)
		return LG_ECORRUPT;
	*ret_used = SECTION_HEADER + bytes;
	ret->attrs = calloc(count, sizeof(*ret->attrs));
	ret->attr_bytes = malloc(bytes);
	if (!ret->attrs || !ret->attr_bytes)
		return -ENOMEM;
	ret->nattrs = count;
	memcpy(ret->attr_bytes, p + SECTION_HEADER, bytes);
	return bucket_attrs_decode(ret->attr_bytes, bytes, count, ret->attrs);
}

static int
root_shares_decode(const uint8_t *p, size_t room, struct bucket_root *ret, size_t *ret_used)
{
	if (get_le16(p + SECTION_FLAGS) != 0 || get_le32(p + SECTION_ENTRY) != SHARE_BYTES ||
	    get_le32(p + SECTION_BYTES) != 0)
		return LG_EFORMAT;
	uint32_t count = get_le32(p + SECTION_COUNT);
	if (count == 0 || count > BUCKET_SHARES_MAX || room - SECTION_HEADER < (size_t)count * SHARE_BYTES)
		return LG_ECORRUPT;
	*ret_used = SECTION_HEADER + (size_t)count * SHARE_BYTES;
	ret->shares = calloc(count, sizeof(*ret->shares));
	if (!ret->shares)
		return -ENOMEM;
	ret->nshares = count;
	p += SECTION_HEADER;
	for (uint32_t i = 0; i < count; i++, p += SHARE_BYTES) {
		ret->shares[i] = (struct bucket_share){
			.origin = get_le32(p + SHARE_ORIGIN),
			.generation = get_le32(p + SHARE_GENERATION),
			.seq = get_le48(p + SHARE_SEQ),
			.count = get_le32(p + SHARE_COUNT),
		};
		if (get_le16(p + SHARE_ZERO) != 0)
			return LG_EFORMAT;
	}
	return 0;
}

/** The leaves, and behind them what there is of the others, ascending by type. */
static int
root_sections_decode(const uint8_t *p, size_t room, uint32_t n, struct bucket_root *ret)
{
	size_t used = 0;
	unsigned last = SECTION_LEAVES;
	int rc = root_leaves_decode(p, room, ret, &used);

	while (!rc && --n > 0) {
		p += used;
		room -= used;
		if (room < SECTION_HEADER)
			return LG_ECORRUPT;
		unsigned type = get_le16(p + SECTION_TYPE);
		if ((type != SECTION_ATTRS && type != SECTION_SHARES) || type <= last)
			return LG_EFORMAT;
		last = type;
		if (type == SECTION_ATTRS)
			rc = root_attrs_decode(p, room, ret, &used);
		else
			rc = root_shares_decode(p, room, ret, &used);
	}
	if (rc)
		return rc;
	return used == room ? 0 : LG_ECORRUPT;
}

int
bucket_root_decode(const void *data, size_t n, const uint8_t uuid[UUID_LEN], struct bucket_root *ret)
{
	const uint8_t *p = data;
	struct bucket_root r = {0};

	if (n < ROOT_HEADER + 4 || n > BUCKET_ROOT_MAX)
		return LG_ECORRUPT;
	int rc = prologue_check(p, n, ROOT_MAGIC, uuid);
	if (rc)
		return rc;
	uint32_t sections = get_le32(p + ROOT_SECTIONS);
	if (sections < 1 || sections > 3 || !all_zero(p + ROOT_RESERVED, ROOT_HEADER - ROOT_RESERVED))
		return LG_EFORMAT;
	if (get_le32(p + ROOT_LENGTH) != n)
		return LG_ECORRUPT;

	memcpy(r.uuid, p + AT_UUID, UUID_LEN);
	r.generation = get_le64(p + ROOT_GENERATION);
	r.commit = get_le64(p + ROOT_COMMIT);
	r.size = get_le64(p + ROOT_SIZE);
	r.covered_seq = get_le64(p + ROOT_COVERED);
	memcpy(r.nonce, p + ROOT_NONCE, BUCKET_NONCE_LEN);
	r.chunk_size = get_le32(p + ROOT_CHUNK_SIZE);
	r.block_size = get_le32(p + ROOT_BLOCK_SIZE);
	r.time_ms = get_le64(p + ROOT_TIME);
	memcpy(r.journal_uuid, p + ROOT_JOURNAL, UUID_LEN);
	rc = root_sections_decode(p + ROOT_HEADER, n - 4 - ROOT_HEADER, sections, &r);
	if (!rc && !root_valid(&r))
		rc = LG_ECORRUPT;
	if (rc) {
		bucket_root_fini(&r);
		return rc;
	}
	*ret = r;
	return 0;
}

void
bucket_root_fini(struct bucket_root *root)
{
	free(root->leaves);
	free(root->attrs);
	free(root->attr_bytes);
	free(root->shares);
	root->shares = NULL;
	root->nshares = 0;
	root->leaves = NULL;
	root->nleaves = 0;
	root->attrs = NULL;
	root->nattrs = 0;
	root->attr_bytes = NULL;
}

/* ---- leaf --------------------------------------------------------------- */

enum {
	LEAF_NUMBER = 32,
	LEAF_GENERATION = 36,
	LEAF_COMMIT = 40,
	LEAF_PRESENT = 48,
	LEAF_GROUPS = 52,
	LEAF_OVERLAYS = 56, /* bytes of the overlay table: 0 in this version */
	LEAF_RESERVED = 64,
	LEAF_BITMAP = 96,
	LEAF_GROUP_COUNT = 256,
	LEAF_BITMAP_BYTES = LEAF_GROUP_COUNT / 8,
};

enum { ENTRY_GENERATION = 0, ENTRY_SEQ = 4, ENTRY_FLAGS = 10, ENTRY_ORIGIN = 12, ENTRY_BYTES = 16 };

_Static_assert(LEAF_BITMAP + LEAF_BITMAP_BYTES == BUCKET_LEAF_HEADER, "bitmap ends the header");
_Static_assert(LEAF_GROUP_COUNT *BUCKET_LEAF_GROUP == BUCKET_LEAF_CHUNKS, "groups cover the leaf");
_Static_assert(sizeof(struct bucket_entry) == 16, "16 bytes a chunk in memory");

static unsigned
group_present(const struct bucket_entry *group)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BUCKET_LEAF_GROUP; i++)
		n += bucket_entry_present(group[i]);
	return n;
}

size_t
bucket_leaf_bytes(const struct bucket_entry *entries, uint32_t *ret_present)
{
	uint32_t present = 0;
	size_t groups = 0;

	for (unsigned g = 0; g < LEAF_GROUP_COUNT; g++) {
		unsigned n = group_present(entries + g * BUCKET_LEAF_GROUP);

		present += n;
		groups += n > 0;
	}
	if (ret_present)
		*ret_present = present;
	return BUCKET_LEAF_HEADER + groups * BUCKET_LEAF_GROUP * ENTRY_BYTES + 4;
}

/** The chunk of entry i of group g. */
static uint32_t
leaf_chunk(uint32_t leaf, unsigned g, unsigned i)
{
	return leaf << BUCKET_LEAF_SHIFT | (g * BUCKET_LEAF_GROUP + i);
}

static void
entry_encode(struct bucket_entry e, uint32_t chunk, uint8_t *p)
{
	if (bucket_entry_flags(e) == (BUCKET_ENTRY_BASE | BUCKET_ENTRY_CLONE))
		assert(e.origin != chunk);
	else
		assert(bucket_entry_flags(e) == BUCKET_ENTRY_BASE
			       ? e.origin == 0
			       : !e.seq_flags && !e.generation && !e.origin);
	put_le32(p + ENTRY_GENERATION, e.generation);
	put_le48(p + ENTRY_SEQ, bucket_entry_seq(e));
	put_le16(p + ENTRY_FLAGS, (uint16_t)bucket_entry_flags(e));
	put_le32(p + ENTRY_ORIGIN, e.origin);
}

static int
entry_decode(const uint8_t *p, uint32_t chunk, struct bucket_entry *ret)
{
	uint16_t flags = get_le16(p + ENTRY_FLAGS);
	uint32_t origin = get_le32(p + ENTRY_ORIGIN);

	if (flags & ~(BUCKET_ENTRY_BASE | BUCKET_ENTRY_CLONE) || (origin && !(flags & BUCKET_ENTRY_CLONE)))
		return LG_EFORMAT;
	if (!flags && !all_zero(p, ENTRY_BYTES))
		return LG_ECORRUPT;
	/* one way to write a given map */
	if (flags & BUCKET_ENTRY_CLONE && (!(flags & BUCKET_ENTRY_BASE) || origin == chunk))
		return LG_ECORRUPT;
	ret->seq_flags = get_le48(p + ENTRY_SEQ) | (uint64_t)flags << 48;
	ret->generation = get_le32(p + ENTRY_GENERATION);
	ret->origin = origin;
	return 0;
}

void
bucket_leaf_encode(const struct bucket_leaf *leaf, const struct bucket_entry *entries, uint8_t *buf,
		   struct bucket_leaf_ref *ret_ref)
{
	uint32_t present, groups = 0;
	size_t n = bucket_leaf_bytes(entries, &present);

	assert(present > 0 && leaf->leaf < BUCKET_LEAVES_MAX);
	memset(buf, 0, BUCKET_LEAF_HEADER);
	prologue_encode(buf, LEAF_MAGIC, leaf->uuid);
	put_le32(buf + LEAF_NUMBER, leaf->leaf);
	put_le32(buf + LEAF_GENERATION, leaf->generation);
	put_le64(buf + LEAF_COMMIT, leaf->commit);
	put_le32(buf + LEAF_PRESENT, present);

	uint8_t *p = buf + BUCKET_LEAF_HEADER;
	for (unsigned g = 0; g < LEAF_GROUP_COUNT; g++) {
		const struct bucket_entry *group = entries + g * BUCKET_LEAF_GROUP;

		if (!group_present(group))
			continue;
		buf[LEAF_BITMAP + g / 8] |= (uint8_t)(1u << g % 8);
		groups++;
		for (unsigned i = 0; i < BUCKET_LEAF_GROUP; i++, p += ENTRY_BYTES)
			entry_encode(group[i], leaf_chunk(leaf->leaf, g, i), p);
	}
	put_le32(buf + LEAF_GROUPS, groups);
	seal(buf, n);
	*ret_ref = (struct bucket_leaf_ref){
		.leaf = leaf->leaf,
		.generation = leaf->generation,
		.commit = leaf->commit,
		.crc = get_le32(buf + n - 4),
		.present = present,
		.length = (uint32_t)n,
	};
}

/** Header against the reference and itself. */
static int
leaf_header_check(const uint8_t *p, size_t n, const struct bucket_leaf_ref *ref)
{
	unsigned groups = 0;

	if (get_le64(p + LEAF_OVERLAYS) != 0 || !all_zero(p + LEAF_RESERVED, LEAF_BITMAP - LEAF_RESERVED))
		return LG_EFORMAT;
	for (unsigned g = 0; g < LEAF_GROUP_COUNT; g++)
		groups += p[LEAF_BITMAP + g / 8] >> g % 8 & 1;
	if (get_le32(p + LEAF_NUMBER) != ref->leaf || get_le32(p + LEAF_GENERATION) != ref->generation ||
	    get_le64(p + LEAF_COMMIT) != ref->commit || get_le32(p + LEAF_PRESENT) != ref->present ||
	    ref->present == 0 || get_le32(p + LEAF_GROUPS) != groups)
		return LG_ECORRUPT;
	if (n != BUCKET_LEAF_HEADER + (size_t)groups * BUCKET_LEAF_GROUP * ENTRY_BYTES + 4)
		return LG_ECORRUPT;
	return 0;
}

int
bucket_leaf_decode(const void *data, size_t n, const uint8_t uuid[UUID_LEN],
		   const struct bucket_leaf_ref *ref, struct bucket_entry *entries)
{
	const uint8_t *p = data;
	uint32_t present = 0;

	if (n < BUCKET_LEAF_HEADER + 4 || n != ref->length || get_le32(p + n - 4) != ref->crc)
		return LG_ECORRUPT;
	int rc = prologue_check(p, n, LEAF_MAGIC, uuid);
	if (!rc)
		rc = leaf_header_check(p, n, ref);
	if (rc)
		return rc;

	const uint8_t *at = p + BUCKET_LEAF_HEADER;
	memset(entries, 0, BUCKET_LEAF_CHUNKS * sizeof(*entries));
	for (unsigned g = 0; g < LEAF_GROUP_COUNT; g++) {
		struct bucket_entry *group = entries + g * BUCKET_LEAF_GROUP;

		if (!(p[LEAF_BITMAP + g / 8] >> g % 8 & 1))
			continue;
		for (unsigned i = 0; i < BUCKET_LEAF_GROUP; i++, at += ENTRY_BYTES) {
			rc = entry_decode(at, leaf_chunk(ref->leaf, g, i), &group[i]);
			if (rc)
				return rc;
		}
		unsigned here = group_present(group);
		if (here == 0)
			return LG_ECORRUPT;
		present += here;
	}
	return present == ref->present ? 0 : LG_ECORRUPT;
}

/* ---- base --------------------------------------------------------------- */

enum {
	BASE_INDEX = 32,
	BASE_GENERATION = 40,
	BASE_SEQ = 48,
	BASE_LENGTH = 56,
	BASE_CHUNK_SIZE = 60,
	BASE_PAGES = 64,
	BASE_TABLE_CRC = 68,
	BASE_DATA_CRC = 72,
	BASE_COMPRESSION = 76, /* 0: none */
	BASE_ENCRYPTION = 78,  /* 0: none */
	BASE_RESERVED = 80,
};

static bool
base_valid(const struct bucket_base *b)
{
	return b->index < BUCKET_CHUNKS_MAX && b->generation <= BUCKET_GENERATION_MAX &&
	       b->seq <= BUCKET_SEQ_MAX && geometry_valid(b->chunk_size, 4096) && b->length > 0 &&
	       b->length <= b->chunk_size && b->length % BUCKET_PAGE == 0;
}

void
bucket_base_tail_encode(const struct bucket_base *base, const uint32_t *crcs, uint8_t *tail)
{
	uint32_t pages = base->chunk_size / BUCKET_PAGE, stored = base->length / BUCKET_PAGE;
	size_t table = (size_t)pages * 4;
	uint8_t *f = tail + table;

	assert(base_valid(base));
	for (uint32_t i = 0; i < pages; i++)
		put_le32(tail + (size_t)i * 4, i < stored ? crcs[i] : CRC32C_ZERO_PAGE);
	memset(f, 0, BUCKET_BASE_FOOTER);
	prologue_encode(f, BASE_MAGIC, base->uuid);
	put_le64(f + BASE_INDEX, base->index);
	put_le64(f + BASE_GENERATION, base->generation);
	put_le64(f + BASE_SEQ, base->seq);
	put_le32(f + BASE_LENGTH, base->length);
	put_le32(f + BASE_CHUNK_SIZE, base->chunk_size);
	put_le32(f + BASE_PAGES, pages);
	put_le32(f + BASE_TABLE_CRC, crc32c(0, tail, table));
	put_le32(f + BASE_DATA_CRC, base->data_crc);
	seal(f, BUCKET_BASE_FOOTER);
}

int
bucket_base_footer_decode(const void *footer, size_t n, struct bucket_base *ret, uint32_t *ret_table_crc)
{
	const uint8_t *f = footer;
	struct bucket_base b = {0};

	if (n != BUCKET_BASE_FOOTER)
		return LG_ECORRUPT;
	int rc = prologue_check(f, n, BASE_MAGIC, NULL);
	if (rc)
		return rc;
	if (get_le16(f + BASE_COMPRESSION) != 0 || get_le16(f + BASE_ENCRYPTION) != 0 ||
	    !all_zero(f + BASE_RESERVED, BUCKET_BASE_FOOTER - 4 - BASE_RESERVED))
		return LG_EFORMAT;

	memcpy(b.uuid, f + AT_UUID, UUID_LEN);
	b.index = get_le64(f + BASE_INDEX);
	b.generation = get_le64(f + BASE_GENERATION);
	b.seq = get_le64(f + BASE_SEQ);
	b.length = get_le32(f + BASE_LENGTH);
	b.chunk_size = get_le32(f + BASE_CHUNK_SIZE);
	b.data_crc = get_le32(f + BASE_DATA_CRC);
	if (!base_valid(&b) || get_le32(f + BASE_PAGES) != b.chunk_size / BUCKET_PAGE)
		return LG_ECORRUPT;
	*ret = b;
	*ret_table_crc = get_le32(f + BASE_TABLE_CRC);
	return 0;
}

int
bucket_base_tail_decode(const void *tail, size_t n, const struct bucket_base *expect, struct bucket_base *ret,
			uint32_t *crcs)
{
	const uint8_t *p = tail;
	struct bucket_base b;
	uint32_t table_crc;

	if (n != bucket_base_tail_bytes(expect->chunk_size))
		return LG_ECORRUPT;
	size_t table = n - BUCKET_BASE_FOOTER;
	int rc = bucket_base_footer_decode(p + table, BUCKET_BASE_FOOTER, &b, &table_crc);
	if (rc)
		return rc;
	if (memcmp(b.uuid, expect->uuid, UUID_LEN) != 0 || b.index != expect->index ||
	    b.generation != expect->generation || b.seq != expect->seq || b.chunk_size != expect->chunk_size)
		return LG_ECORRUPT;
	if (crc32c(0, p, table) != table_crc)
		return LG_ECORRUPT;
	for (size_t i = b.length / BUCKET_PAGE; i < table / 4; i++)
		if (get_le32(p + i * 4) != CRC32C_ZERO_PAGE)
			return LG_ECORRUPT;
	for (size_t i = 0; crcs && i < table / 4; i++)
		crcs[i] = get_le32(p + i * 4);
	*ret = b;
	return 0;
}
