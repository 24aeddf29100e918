/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bucket's binary objects: round trips, damage, newer versions, and bytes that must never change. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "stores/chunked/bucket_fmt.h"

static const uint8_t uuid[UUID_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t other[UUID_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17};

/** The bytes as hex, compared line by line of 32 bytes; a run of zero lines is one "*". */
static void
expect_hex(const uint8_t *p, size_t n, const char *const *lines, size_t nlines)
{
	size_t line = 0;
	bool zeroes = false;

	for (size_t at = 0; at < n; at += 32) {
		char text[65] = "";
		size_t k = n - at < 32 ? n - at : 32;
		bool zero = true;

		for (size_t i = 0; i < k; i++) {
			(void)snprintf(text + 2 * i, 3, "%02x", p[at + i]);
			zero &= p[at + i] == 0;
		}
		if (zero && k == 32) {
			if (zeroes)
				continue;
			(void)snprintf(text, sizeof(text), "*");
		}
		zeroes = zero && k == 32;
		ck_assert_msg(line < nlines && strcmp(lines[line], text) == 0,
			      "golden line %zu (offset %zu) is now \"%s\"", line, at, text);
		line++;
	}
	ck_assert_uint_eq(line, nlines);
}

/** Seal again after a change, as a newer lungate would have written it. */
static void
reseal(uint8_t *p, size_t n)
{
	put_le32(p + n - 4, crc32c(0, p, n - 4));
}

/* ---- owner ------------------------------------------------------------------ */

static struct bucket_owner
owner_sample(void)
{
	struct bucket_owner o = {
		.generation = 7,
		.counter = 99,
		.state = BUCKET_OWNER_HELD,
		.lease_epoch = 3,
		.journal_state = BUCKET_JOURNAL_OPEN,
		.committed_seq = 0x123456789abc,
		.time_ms = 1795000000000,
		.portal = "192.0.2.1:3260",
	};

	memcpy(o.uuid, uuid, UUID_LEN);
	memset(o.nonce, 0xaa, sizeof(o.nonce));
	memset(o.gateway_id, 0xbb, UUID_LEN);
	memset(o.journal_uuid, 0xcc, UUID_LEN);
	return o;
}

START_TEST(owner_round_trip)
{
	static const char *const golden[] = {
		"4c554e474f574e5201000000000000000102030405060708090a0b0c0d0e0f10",
		"07000000000000006300000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb03000000000000000200000003000000",
		"ccccccccccccccccccccccccccccccccbc9a785634120000005e56eea1010000",
		"3139322e302e322e313a33323630000000000000000000000000000000000000",
		"*",
		"00000000000000000000000000000000000000000000000000000000a2f206c5",
	};
	struct bucket_owner o = owner_sample(), back;
	uint8_t buf[BUCKET_OWNER_BYTES];

	bucket_owner_encode(&o, buf);
	expect_hex(buf, sizeof(buf), golden, ARRAY_SIZE(golden));
	ck_assert_int_eq(bucket_owner_decode(buf, sizeof(buf), uuid, &back), 0);
	ck_assert_mem_eq(back.uuid, o.uuid, UUID_LEN);
	ck_assert_uint_eq(back.generation, o.generation);
	ck_assert_uint_eq(back.counter, o.counter);
	ck_assert_mem_eq(back.nonce, o.nonce, sizeof(o.nonce));
	ck_assert_int_eq(back.state, o.state);
	ck_assert_mem_eq(back.gateway_id, o.gateway_id, UUID_LEN);
	ck_assert_uint_eq(back.lease_epoch, o.lease_epoch);
	ck_assert_mem_eq(back.journal_uuid, o.journal_uuid, UUID_LEN);
	ck_assert_int_eq(back.journal_state, o.journal_state);
	ck_assert_uint_eq(back.committed_seq, o.committed_seq);
	ck_assert_uint_eq(back.time_ms, o.time_ms);
	ck_assert_str_eq(back.portal, o.portal);

	memset(o.portal, 'p', BUCKET_PORTAL_MAX);
	o.portal[BUCKET_PORTAL_MAX] = 0;
	o.journal_state = BUCKET_JOURNAL_NONE;
	memset(o.journal_uuid, 0, UUID_LEN);
	bucket_owner_encode(&o, buf);
	ck_assert_int_eq(bucket_owner_decode(buf, sizeof(buf), uuid, &back), 0);
	ck_assert_str_eq(back.portal, o.portal);
}
END_TEST

START_TEST(owner_believes_nothing)
{
	struct bucket_owner o = owner_sample(), back;
	uint8_t good[BUCKET_OWNER_BYTES], buf[BUCKET_OWNER_BYTES];

	bucket_owner_encode(&o, good);
	for (size_t n = 0; n < sizeof(good); n++)
		ck_assert_int_eq(bucket_owner_decode(good, n, uuid, &back), LG_ECORRUPT);
	for (size_t i = 0; i < sizeof(good) * 8; i++) {
		memcpy(buf, good, sizeof(buf));
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
		ck_assert_int_eq(bucket_owner_decode(buf, sizeof(buf), uuid, &back), LG_ECORRUPT);
	}
	ck_assert_int_eq(bucket_owner_decode(good, sizeof(good), other, &back), LG_ECORRUPT);

	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{8, 2, LG_EFORMAT},   /* version */
		{12, 1, LG_EFORMAT},  /* flag */
		{88, 4, LG_EFORMAT},  /* state */
		{92, 5, LG_EFORMAT},  /* journal state */
		{300, 1, LG_EFORMAT}, /* reserved */
		{88, 0, LG_ECORRUPT},
		{92, 0, LG_ECORRUPT},
		{92, BUCKET_JOURNAL_NONE, LG_ECORRUPT}, /* with a uuid */
		{36, 1, LG_ECORRUPT},                   /* generation over 32 bits */
		{119, 1, LG_ECORRUPT},                  /* sequence over 48 bits */
		{200, 'x', LG_ECORRUPT},                /* something behind the portal's end */
		{129, 7, LG_ECORRUPT},                  /* not printable */
	};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, sizeof(buf));
		buf[changes[i].at] = changes[i].value;
		reseal(buf, sizeof(buf));
		ck_assert_msg(bucket_owner_decode(buf, sizeof(buf), uuid, &back) == changes[i].rc,
			      "change %zu", i);
	}
	memcpy(buf, good, sizeof(buf));
	memset(buf + 128, 'p', 128); /* no NUL */
	reseal(buf, sizeof(buf));
	ck_assert_int_eq(bucket_owner_decode(buf, sizeof(buf), uuid, &back), LG_ECORRUPT);
}
END_TEST

/* ---- root -------------------------------------------------------------------- */

static struct bucket_leaf_ref refs[] = {
	{.leaf = 0, .generation = 3, .commit = 5, .crc = 0xdeadbeef, .present = 65536, .length = 1048708},
	{.leaf = 15, .generation = 4, .commit = 0x1122334455, .crc = 1, .present = 1, .length = 4228},
};

static struct bucket_root
root_sample(void)
{
	struct bucket_root r = {
		.generation = 4,
		.commit = 0x1122334455,
		.size = UINT64_C(4) << 40,
		.covered_seq = BUCKET_SEQ_MAX,
		.chunk_size = 4u << 20,
		.block_size = 512,
		.time_ms = 1795000000001,
		.leaves = refs,
		.nleaves = ARRAY_SIZE(refs),
	};

	memcpy(r.uuid, uuid, UUID_LEN);
	memset(r.nonce, 0x11, sizeof(r.nonce));
	memset(r.journal_uuid, 0x22, UUID_LEN);
	return r;
}

START_TEST(root_round_trip)
{
	static const char *const golden[] = {
		"4c554e47524f4f5401000000000000000102030405060708090a0b0c0d0e0f10",
		"040000000000000055443322110000000000000000040000ffffffffffff0000",
		"111111111111111111111111111111110000400000020000015e56eea1010000",
		"2222222222222222222222222222222201000000d40000000000000000000000",
		"0100000020000000020000000000000000000000030000000500000000000000",
		"efbeadde0000010084001000000000000f000000040000005544332211000000",
		"01000000010000008410000000000000c8837948",
	};
	struct bucket_root r = root_sample(), back;
	size_t n = bucket_root_bytes(&r);
	uint8_t *buf = malloc(n);

	bucket_root_encode(&r, buf);
	expect_hex(buf, n, golden, ARRAY_SIZE(golden));
	ck_assert_int_eq(bucket_root_decode(buf, n, uuid, &back), 0);
	ck_assert_uint_eq(back.generation, r.generation);
	ck_assert_uint_eq(back.commit, r.commit);
	ck_assert_uint_eq(back.size, r.size);
	ck_assert_uint_eq(back.covered_seq, r.covered_seq);
	ck_assert_uint_eq(back.chunk_size, r.chunk_size);
	ck_assert_uint_eq(back.block_size, r.block_size);
	ck_assert_uint_eq(back.time_ms, r.time_ms);
	ck_assert_mem_eq(back.nonce, r.nonce, sizeof(r.nonce));
	ck_assert_mem_eq(back.journal_uuid, r.journal_uuid, UUID_LEN);
	ck_assert_uint_eq(back.nleaves, 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(back.leaves[i].leaf, refs[i].leaf);
		ck_assert_uint_eq(back.leaves[i].generation, refs[i].generation);
		ck_assert_uint_eq(back.leaves[i].commit, refs[i].commit);
		ck_assert_uint_eq(back.leaves[i].crc, refs[i].crc);
		ck_assert_uint_eq(back.leaves[i].present, refs[i].present);
		ck_assert_uint_eq(back.leaves[i].length, refs[i].length);
	}
	bucket_root_fini(&back);
	ck_assert_ptr_null(back.leaves);

	r.nleaves = 0;
	n = bucket_root_bytes(&r);
	bucket_root_encode(&r, buf);
	ck_assert_int_eq(bucket_root_decode(buf, n, uuid, &back), 0);
	ck_assert_uint_eq(back.nleaves, 0);
	bucket_root_fini(&back);
	free(buf);
}
END_TEST

START_TEST(root_believes_nothing)
{
	struct bucket_root r = root_sample(), back;
	size_t n = bucket_root_bytes(&r);
	uint8_t *good = malloc(n), *buf = malloc(n + 32);

	bucket_root_encode(&r, good);
	for (size_t k = 0; k < n; k++)
		ck_assert_int_eq(bucket_root_decode(good, k, uuid, &back), LG_ECORRUPT);
	for (size_t i = 0; i < n * 8; i++) {
		memcpy(buf, good, n);
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
		ck_assert_int_eq(bucket_root_decode(buf, n, uuid, &back), LG_ECORRUPT);
	}
	ck_assert_int_eq(bucket_root_decode(good, n, other, &back), LG_ECORRUPT);
	/* whole, but cut or longer than it says */
	memcpy(buf, good, n);
	reseal(buf, n - 32);
	ck_assert_int_eq(bucket_root_decode(buf, n - 32, uuid, &back), LG_ECORRUPT);
	memset(buf + n - 4, 0, 36);
	reseal(buf, n + 32);
	ck_assert_int_eq(bucket_root_decode(buf, n + 32, uuid, &back), LG_ECORRUPT);

	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{8, 2, LG_EFORMAT},          /* version */
		{13, 1, LG_EFORMAT},         /* flag */
		{112, 4, LG_EFORMAT},        /* sections */
		{112, 3, LG_ECORRUPT},       /* there are no others */
		{112, 0, LG_EFORMAT},        /* not even the first */
		{112, 2, LG_ECORRUPT},       /* there is no second */
		{120, 1, LG_EFORMAT},        /* reserved */
		{128, 2, LG_EFORMAT},        /* section type: map deltas */
		{130, 1, LG_EFORMAT},        /* section flags */
		{132, 40, LG_EFORMAT},       /* longer entries */
		{140, 1, LG_EFORMAT},        /* reserved */
		{144 + 28, 1, LG_EFORMAT},   /* flag of a leaf: parent */
		{136, 1, LG_ECORRUPT},       /* fewer entries than bytes */
		{139, 0xff, LG_ECORRUPT},    /* as many as no memory holds */
		{36, 1, LG_ECORRUPT},        /* generation over 32 bits */
		{62, 1, LG_ECORRUPT},        /* sequence over 48 bits */
		{48, 1, LG_ECORRUPT},        /* size not of whole blocks */
		{55, 0xff, LG_ECORRUPT},     /* size over 2^63 */
		{81, 1, LG_ECORRUPT},        /* chunk size no power of two */
		{85, 3, LG_ECORRUPT},        /* block size */
		{144, 15, LG_ECORRUPT},      /* two references to one leaf */
		{144, 16, LG_ECORRUPT},      /* not ascending */
		{144 + 32, 16, LG_ECORRUPT}, /* past the end of the volume */
		{144 + 23, 1, LG_ECORRUPT},  /* more chunks than a leaf has */
		{144 + 27, 1, LG_ECORRUPT},  /* longer than a leaf can be */
	};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, n);
		buf[changes[i].at] = changes[i].value;
		reseal(buf, n);
		ck_assert_msg(bucket_root_decode(buf, n, uuid, &back) == changes[i].rc, "change %zu", i);
	}
	free(good);
	free(buf);
}
END_TEST

/* ---- attributes ------------------------------------------------------------------ */

static const uint8_t small_value[] = "{}", other_value[] = "value";

START_TEST(attribute_round_trip)
{
	static const char *const golden[] = {
		"01000000020000007265736572766174696f6e73000000000000000000000000",
		"7b7d",
	};
	struct bucket_attr attr = {.key = "reservations", .length = 2, .value = small_value}, back;
	uint8_t buf[34], *large = malloc(BUCKET_ATTR_HEADER + BUCKET_ATTR_VALUE_MAX + 1);

	ck_assert_uint_eq(bucket_attr_bytes(&attr), sizeof(buf));
	bucket_attr_encode(&attr, buf);
	expect_hex(buf, sizeof(buf), golden, ARRAY_SIZE(golden));
	ck_assert_int_eq(bucket_attr_decode(buf, sizeof(buf), &back), 0);
	ck_assert_str_eq(back.key, "reservations");
	ck_assert_uint_eq(back.length, 2);
	ck_assert_mem_eq(back.value, small_value, 2);
	/* a removal, the longest key, the largest value */
	attr.length = 0;
	bucket_attr_encode(&attr, buf);
	ck_assert_int_eq(bucket_attr_decode(buf, BUCKET_ATTR_HEADER, &back), 0);
	ck_assert_uint_eq(back.length, 0);
	uint8_t *value = calloc(1, BUCKET_ATTR_VALUE_MAX);
	attr = (struct bucket_attr){
		.key = "0123456789_-.abcdefghij", .length = BUCKET_ATTR_VALUE_MAX, .value = value};
	ck_assert_uint_eq(strlen(attr.key), BUCKET_ATTR_KEY_MAX);
	bucket_attr_encode(&attr, large);
	ck_assert_int_eq(bucket_attr_decode(large, bucket_attr_bytes(&attr), &back), 0);
	ck_assert_str_eq(back.key, attr.key);
	put_le32(large + 4, BUCKET_ATTR_VALUE_MAX + 1);
	ck_assert_int_eq(bucket_attr_decode(large, bucket_attr_bytes(&attr) + 1, &back), LG_ECORRUPT);
	free(value);
	free(large);
}
END_TEST

START_TEST(attribute_believes_nothing)
{
	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{0, 2, LG_EFORMAT},     /* version */
		{2, 1, LG_EFORMAT},     /* flag */
		{4, 3, LG_ECORRUPT},    /* longer than what is there */
		{7, 0xff, LG_ECORRUPT}, /* longer than one may be */
		{8, 0, LG_ECORRUPT},    /* no key, and something behind it */
		{8, '.', LG_ECORRUPT},  /* a key that cannot be */
		{9, 'E', LG_ECORRUPT},  {20, '/', LG_ECORRUPT}, {31, 1, LG_ECORRUPT}, /* behind the key */
		{25, 'a', LG_ECORRUPT},
	};
	struct bucket_attr attr = {.key = "reservations", .length = 2, .value = small_value}, back;
	uint8_t good[34], buf[34];

	bucket_attr_encode(&attr, good);
	for (size_t n = 0; n < sizeof(good); n++)
		ck_assert_int_eq(bucket_attr_decode(good, n, &back), LG_ECORRUPT);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, sizeof(buf));
		buf[changes[i].at] = changes[i].value;
		ck_assert_msg(bucket_attr_decode(buf, sizeof(buf), &back) == changes[i].rc, "change %zu", i);
	}
	memset(buf + 8, 'a', 24); /* no NUL */
	ck_assert_int_eq(bucket_attr_decode(buf, sizeof(buf), &back), LG_ECORRUPT);
}
END_TEST

static struct bucket_attr root_attrs[] = {
	{.key = "a", .length = 5, .value = other_value},
	{.key = "reservations", .length = 2, .value = small_value},
};

/* Where the second section of root_sample() is. */
#define AT_SECTION 208u
#define AT_FIRST (AT_SECTION + 16u)
#define AT_SECOND (AT_FIRST + 32u + 5u)

START_TEST(root_with_attributes)
{
	static const char *const golden[] = {
		"05000000000000000200000047000000",
		"010000000500000061000000000000000000000000000000000000000000000076616c7565",
		"01000000020000007265736572766174696f6e730000000000000000000000007b7d",
	};
	struct bucket_root r = root_sample(), back;
	char text[2 * 87 + 1], want[sizeof(text)];

	r.attrs = root_attrs;
	r.nattrs = ARRAY_SIZE(root_attrs);
	size_t n = bucket_root_bytes(&r);
	ck_assert_uint_eq(n, AT_SECOND + 32 + 2 + 4);
	uint8_t *buf = malloc(n);
	bucket_root_encode(&r, buf);
	ck_assert_uint_eq(get_le32(buf + 112), 2);
	ck_assert_uint_eq(get_le32(buf + 116), n);
	for (size_t i = 0; i < 87; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", buf[AT_SECTION + i]);
	(void)snprintf(want, sizeof(want), "%s%s%s", golden[0], golden[1], golden[2]);
	ck_assert_str_eq(text, want);
	ck_assert_int_eq(bucket_root_decode(buf, n, uuid, &back), 0);
	ck_assert_uint_eq(back.nleaves, 2);
	ck_assert_uint_eq(back.nattrs, 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_str_eq(back.attrs[i].key, root_attrs[i].key);
		ck_assert_uint_eq(back.attrs[i].length, root_attrs[i].length);
		ck_assert_mem_eq(back.attrs[i].value, root_attrs[i].value, root_attrs[i].length);
	}
	/* the same bytes again from what was decoded */
	uint8_t *again = malloc(n);
	bucket_root_encode(&back, again);
	ck_assert_mem_eq(again, buf, n);
	bucket_root_fini(&back);
	ck_assert_ptr_null(back.attrs);
	free(again);
	free(buf);
}
END_TEST

START_TEST(root_attributes_believe_nothing)
{
	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{112, 1, LG_ECORRUPT},             /* one section, and more bytes */
		{AT_SECTION, 4, LG_EFORMAT},       /* log ranges */
		{AT_SECTION, 1, LG_EFORMAT},       /* leaves twice */
		{AT_SECTION + 2, 1, LG_EFORMAT},   /* flags */
		{AT_SECTION + 4, 32, LG_EFORMAT},  /* of one length */
		{AT_SECTION + 8, 0, LG_ECORRUPT},  /* none */
		{AT_SECTION + 8, 1, LG_ECORRUPT},  /* fewer than bytes */
		{AT_SECTION + 8, 3, LG_ECORRUPT},  /* more */
		{AT_SECTION + 8, 17, LG_ECORRUPT}, /* more than a volume may have */
		{AT_SECTION + 12, 0x46, LG_ECORRUPT},
		{AT_SECTION + 15, 0xff, LG_ECORRUPT},
		{AT_FIRST, 2, LG_EFORMAT},        /* version of one */
		{AT_SECOND + 2, 1, LG_EFORMAT},   /* flag */
		{AT_FIRST + 4, 4, LG_EFORMAT},    /* the next begins elsewhere */
		{AT_SECOND + 4, 3, LG_ECORRUPT},  /* past the end */
		{AT_SECOND + 4, 1, LG_ECORRUPT},  /* not to the end */
		{AT_FIRST + 8, 'z', LG_ECORRUPT}, /* not ascending */
		{AT_FIRST + 9, '/', LG_ECORRUPT}, /* a key that cannot be */
	};
	struct bucket_root r = root_sample(), back;

	r.attrs = root_attrs;
	r.nattrs = ARRAY_SIZE(root_attrs);
	size_t n = bucket_root_bytes(&r);
	uint8_t *good = malloc(n), *buf = malloc(n);
	bucket_root_encode(&r, good);
	for (size_t k = 0; k < n; k++)
		ck_assert_int_eq(bucket_root_decode(good, k, uuid, &back), LG_ECORRUPT);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, n);
		buf[changes[i].at] = changes[i].value;
		reseal(buf, n);
		int rc = bucket_root_decode(buf, n, uuid, &back);
		ck_assert_msg(rc == changes[i].rc, "change %zu: %d", i, rc);
	}
	/* an empty one is no attribute */
	memcpy(buf, good, n);
	buf[AT_SECOND + 4] = 0;
	buf[AT_SECTION + 12] -= 2;
	put_le32(buf + 116, (uint32_t)n - 2);
	reseal(buf, n - 2);
	ck_assert_int_eq(bucket_root_decode(buf, n - 2, uuid, &back), LG_ECORRUPT);
	/* the same one twice */
	r.attrs = (struct bucket_attr[]){root_attrs[0], root_attrs[0]};
	ck_assert(!bucket_attrs_valid(r.attrs, 2));
	free(good);
	free(buf);
}
END_TEST

static struct bucket_share root_shares[] = {
	{.origin = 3, .generation = 2, .seq = 9, .count = 2},
	{.origin = 0x01020304, .generation = 4, .seq = BUCKET_SEQ_MAX, .count = UINT32_MAX},
};

START_TEST(root_with_shares)
{
	static const char golden[] = "07000000140000000200000000000000"
				     "0300000002000000090000000000000002000000"
				     "0403020104000000ffffffffffff0000ffffffff";
	struct bucket_root r = root_sample(), back;
	char text[2 * 56 + 1];

	r.shares = root_shares;
	r.nshares = ARRAY_SIZE(root_shares);
	for (unsigned both = 0; both < 2; both++) {
		size_t at = AT_SECTION;

		if (both) {
			r.attrs = root_attrs;
			r.nattrs = ARRAY_SIZE(root_attrs);
			at = AT_SECOND + 32 + 2;
		}
		size_t n = bucket_root_bytes(&r);
		ck_assert_uint_eq(n, at + 56 + 4);
		uint8_t *buf = malloc(n), *again = malloc(n);
		bucket_root_encode(&r, buf);
		ck_assert_uint_eq(get_le32(buf + 112), 2 + both);
		for (size_t i = 0; i < 56; i++)
			(void)snprintf(text + 2 * i, 3, "%02x", buf[at + i]);
		ck_assert_str_eq(text, golden);
		ck_assert_int_eq(bucket_root_decode(buf, n, uuid, &back), 0);
		ck_assert_uint_eq(back.nattrs, r.nattrs);
		ck_assert_uint_eq(back.nshares, 2);
		for (unsigned i = 0; i < 2; i++) {
			ck_assert_int_eq(bucket_share_order(&back.shares[i], &root_shares[i]), 0);
			ck_assert_uint_eq(back.shares[i].count, root_shares[i].count);
		}
		bucket_root_encode(&back, again);
		ck_assert_mem_eq(again, buf, n);
		bucket_root_fini(&back);
		ck_assert_ptr_null(back.shares);
		free(again);
		free(buf);
	}
}
END_TEST

START_TEST(root_shares_believe_nothing)
{
	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{112, 1, LG_ECORRUPT},               /* one section, and more bytes */
		{112, 3, LG_ECORRUPT},               /* a third that is not there */
		{AT_SECTION, 8, LG_EFORMAT},         /* a type that nobody knows */
		{AT_SECTION, 6, LG_EFORMAT},         /* dead lists */
		{AT_SECTION, 1, LG_EFORMAT},         /* leaves twice */
		{AT_SECTION + 2, 1, LG_EFORMAT},     /* flags */
		{AT_SECTION + 4, 24, LG_EFORMAT},    /* longer entries */
		{AT_SECTION + 12, 1, LG_EFORMAT},    /* reserved */
		{AT_SECTION + 8, 0, LG_ECORRUPT},    /* none */
		{AT_SECTION + 8, 1, LG_ECORRUPT},    /* fewer than bytes */
		{AT_SECTION + 8, 3, LG_ECORRUPT},    /* more */
		{AT_SECTION + 9, 0x80, LG_ECORRUPT}, /* more than a root may have */
		{AT_FIRST + 14, 1, LG_EFORMAT},      /* reserved */
		{AT_FIRST + 16, 1, LG_ECORRUPT},     /* shared with nobody */
		{AT_FIRST + 16, 0, LG_ECORRUPT},     /* named by nobody */
		{AT_FIRST + 4, 5, LG_ECORRUPT},      /* of a generation to come */
		{AT_FIRST + 3, 2, LG_ECORRUPT},      /* not ascending */
	};
	struct bucket_root r = root_sample(), back;

	r.shares = root_shares;
	r.nshares = ARRAY_SIZE(root_shares);
	size_t n = bucket_root_bytes(&r);
	uint8_t *good = malloc(n), *buf = malloc(n);
	bucket_root_encode(&r, good);
	for (size_t k = 0; k < n; k++)
		ck_assert_int_eq(bucket_root_decode(good, k, uuid, &back), LG_ECORRUPT);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, n);
		buf[changes[i].at] = changes[i].value;
		reseal(buf, n);
		int rc = bucket_root_decode(buf, n, uuid, &back);
		ck_assert_msg(rc == changes[i].rc, "change %zu: %d", i, rc);
	}
	/* the same one twice */
	memcpy(buf, good, n);
	memcpy(buf + AT_FIRST, good + AT_FIRST + 20, 20);
	reseal(buf, n);
	ck_assert_int_eq(bucket_root_decode(buf, n, uuid, &back), LG_ECORRUPT);
	/* before the attributes */
	r.attrs = root_attrs;
	r.nattrs = 2;
	size_t both = bucket_root_bytes(&r), attrs = both - n;
	uint8_t *wrong = malloc(both);
	bucket_root_encode(&r, wrong);
	uint8_t *moved = malloc(attrs);
	memcpy(moved, wrong + AT_SECTION, attrs);
	memmove(wrong + AT_SECTION, wrong + AT_SECTION + attrs, 56);
	memcpy(wrong + AT_SECTION + 56, moved, attrs);
	reseal(wrong, both);
	ck_assert_int_eq(bucket_root_decode(wrong, both, uuid, &back), LG_EFORMAT);
	free(moved);
	free(wrong);
	free(good);
	free(buf);
}
END_TEST

/* ---- leaf ---------------------------------------------------------------------- */

static struct bucket_entry entries[BUCKET_LEAF_CHUNKS], decoded[BUCKET_LEAF_CHUNKS];

START_TEST(leaf_round_trip)
{
	static const char *const golden[] = {
		"4c554e474c45414601000000000000000102030405060708090a0b0c0d0e0f10",
		"09000000040000004d0000000000000003000000020000000000000000000000",
		"*",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"0100000002000000000001000000000000000000000000000000000000000000",
		"00000000000000000000000000000000ffffffffffffffffffff010000000000",
		"*",
		"0000000000000000000000000000000000000000000000000000010000000000",
		"9146fc8a",
	};
	struct bucket_leaf leaf = {.leaf = 9, .generation = 4, .commit = 77};
	struct bucket_leaf_ref ref;
	uint32_t present;

	memcpy(leaf.uuid, uuid, UUID_LEN);
	memset(entries, 0, sizeof(entries));
	entries[0] = bucket_entry_base(1, 2);
	entries[3] = bucket_entry_base(UINT32_MAX, BUCKET_SEQ_MAX);
	entries[65535] = bucket_entry_base(0, 0); /* flags alone make it present */
	size_t n = bucket_leaf_bytes(entries, &present);
	ck_assert_uint_eq(n, BUCKET_LEAF_HEADER + 2 * 4096 + 4);
	ck_assert_uint_eq(present, 3);
	uint8_t *buf = malloc(BUCKET_LEAF_BYTES_MAX);
	bucket_leaf_encode(&leaf, entries, buf, &ref);
	expect_hex(buf, n, golden, ARRAY_SIZE(golden));
	ck_assert_uint_eq(ref.leaf, 9);
	ck_assert_uint_eq(ref.generation, 4);
	ck_assert_uint_eq(ref.commit, 77);
	ck_assert_uint_eq(ref.present, 3);
	ck_assert_uint_eq(ref.length, n);
	ck_assert_int_eq(bucket_leaf_decode(buf, n, uuid, &ref, decoded), 0);
	ck_assert_mem_eq(decoded, entries, sizeof(entries));

	/* a full one */
	for (unsigned i = 0; i < BUCKET_LEAF_CHUNKS; i++)
		entries[i] = bucket_entry_base(i * 7, (uint64_t)i << 30 | i);
	n = bucket_leaf_bytes(entries, NULL);
	ck_assert_uint_eq(n, BUCKET_LEAF_BYTES_MAX);
	bucket_leaf_encode(&leaf, entries, buf, &ref);
	ck_assert_int_eq(bucket_leaf_decode(buf, n, uuid, &ref, decoded), 0);
	ck_assert_mem_eq(decoded, entries, sizeof(entries));
	free(buf);
}
END_TEST

START_TEST(leaf_believes_nothing)
{
	struct bucket_leaf leaf = {.leaf = 9, .generation = 4, .commit = 77};
	struct bucket_leaf_ref ref, wrong;

	memcpy(leaf.uuid, uuid, UUID_LEN);
	memset(entries, 0, sizeof(entries));
	entries[700] = bucket_entry_base(1, 2);
	size_t n = bucket_leaf_bytes(entries, NULL);
	uint8_t *good = malloc(n), *buf = malloc(n);
	bucket_leaf_encode(&leaf, entries, good, &ref);
	for (size_t k = 0; k < n; k++) {
		ck_assert_int_eq(bucket_leaf_decode(good, k, uuid, &ref, decoded), LG_ECORRUPT);
		wrong = ref;
		wrong.length = (uint32_t)k;
		ck_assert_int_eq(bucket_leaf_decode(good, k, uuid, &wrong, decoded), LG_ECORRUPT);
		memcpy(buf, good, n);
		buf[k] ^= 0x20;
		ck_assert_int_eq(bucket_leaf_decode(buf, n, uuid, &ref, decoded), LG_ECORRUPT);
	}
	ck_assert_int_eq(bucket_leaf_decode(good, n, other, &ref, decoded), LG_ECORRUPT);
	for (unsigned i = 0; i < 5; i++) {
		wrong = ref;
		wrong.leaf += i == 0;
		wrong.generation += i == 1;
		wrong.commit += i == 2;
		wrong.crc += i == 3;
		wrong.present += i == 4;
		ck_assert_int_eq(bucket_leaf_decode(good, n, uuid, &wrong, decoded), LG_ECORRUPT);
	}

	size_t entry = BUCKET_LEAF_HEADER + (700 - 512) * 16;
	static const struct {
		int at; /* below 0: relative to the entry, from -1000 */
		uint8_t value;
		int rc;
	} changes[] = {
		{8, 2, LG_EFORMAT},           {15, 1, LG_EFORMAT},
		{56, 1, LG_EFORMAT},          /* an overlay table */
		{70, 1, LG_EFORMAT},          /* reserved */
		{-1000 + 10, 3, LG_EFORMAT},  /* flags: overlays */
		{-1000 + 12, 1, LG_EFORMAT},  /* overlay index */
		{-1000 + 10, 0, LG_ECORRUPT}, /* absent, with a sequence */
		{96, 0x14, LG_ECORRUPT},      /* a group in the bitmap that is not there */
		{96, 0, LG_ECORRUPT},         {52, 2, LG_ECORRUPT},
		{48, 2, LG_ECORRUPT},
	};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		size_t at =
			changes[i].at < 0 ? entry + (size_t)(changes[i].at + 1000) : (size_t)changes[i].at;

		memcpy(buf, good, n);
		buf[at] = changes[i].value;
		reseal(buf, n);
		wrong = ref;
		wrong.crc = get_le32(buf + n - 4);
		ck_assert_msg(bucket_leaf_decode(buf, n, uuid, &wrong, decoded) == changes[i].rc,
			      "change %zu", i);
	}
	/* a group that holds nothing is refused: there is one way to write a map */
	memcpy(buf, good, n);
	memset(buf + entry, 0, 16);
	reseal(buf, n);
	wrong = ref;
	wrong.crc = get_le32(buf + n - 4);
	ck_assert_int_eq(bucket_leaf_decode(buf, n, uuid, &wrong, decoded), LG_ECORRUPT);
	free(good);
	free(buf);
}
END_TEST

/* A base of another chunk: the origin stands where an overlay index would. */
START_TEST(leaf_of_clones)
{
	static const char *const golden[] = {
		"4c554e474c45414601000000000000000102030405060708090a0b0c0d0e0f10",
		"09000000040000004d0000000000000002000000010000000000000000000000",
		"*",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"*",
		"0100000002000000000001000000000001000000020000000000090007000000",
		"*",
		"c690a917",
	};
	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{10, 11, LG_EFORMAT}, /* overlays, too */
		{10, 25, LG_EFORMAT}, /* a flag that nobody knows */
		{11, 1, LG_EFORMAT},  /* another one */
		{10, 1, LG_EFORMAT},  /* of its own, with an origin */
		{10, 8, LG_ECORRUPT}, /* no base, but of another chunk */
		{10, 0, LG_EFORMAT},  /* absent, with an origin */
	};
	struct bucket_leaf leaf = {.leaf = 9, .generation = 4, .commit = 77};
	struct bucket_leaf_ref ref, wrong;
	uint32_t chunk = 9u << 16 | 5;

	memcpy(leaf.uuid, uuid, UUID_LEN);
	memset(entries, 0, sizeof(entries));
	entries[4] = bucket_entry_of(chunk - 1, chunk - 1, 1, 2);
	entries[5] = bucket_entry_of(chunk, 7, 1, 2);
	ck_assert_uint_eq(bucket_entry_origin(entries[4], chunk - 1), chunk - 1);
	ck_assert_uint_eq(bucket_entry_origin(entries[5], chunk), 7);
	size_t n = bucket_leaf_bytes(entries, NULL);
	uint8_t *good = malloc(n), *buf = malloc(n);
	bucket_leaf_encode(&leaf, entries, good, &ref);
	expect_hex(good, n, golden, ARRAY_SIZE(golden));
	ck_assert_int_eq(bucket_leaf_decode(good, n, uuid, &ref, decoded), 0);
	ck_assert_mem_eq(decoded, entries, sizeof(entries));
	size_t entry = BUCKET_LEAF_HEADER + 5 * 16;
	for (size_t i = 0; i <= ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, n);
		if (i < ARRAY_SIZE(changes))
			buf[entry + changes[i].at] = changes[i].value;
		else
			put_le32(buf + entry + 12, chunk); /* there is one way to write it */
		reseal(buf, n);
		wrong = ref;
		wrong.crc = get_le32(buf + n - 4);
		int rc = bucket_leaf_decode(buf, n, uuid, &wrong, decoded);
		ck_assert_msg(rc == (i < ARRAY_SIZE(changes) ? changes[i].rc : LG_ECORRUPT), "change %zu: %d",
			      i, rc);
	}
	/* the key is that of the origin */
	char key[BUCKET_KEY_MAX];
	ck_assert_int_gt(bucket_key_entry("v", chunk, entries[5], key, sizeof(key)), 0);
	ck_assert_str_eq(key, "v/c/07/00000007.00000001.0000000000000002");
	ck_assert_int_gt(bucket_key_entry("v", chunk - 1, entries[4], key, sizeof(key)), 0);
	ck_assert_str_eq(key, "v/c/04/00090004.00000001.0000000000000002");
	free(good);
	free(buf);
}
END_TEST

/* ---- base ------------------------------------------------------------------------ */

static struct bucket_base
base_sample(void)
{
	struct bucket_base b = {
		.index = 0xfffffffe,
		.generation = 6,
		.seq = 0x8000,
		.chunk_size = 1u << 20,
		.length = 5 * 4096,
		.data_crc = 0x01020304,
	};

	memcpy(b.uuid, uuid, UUID_LEN);
	return b;
}

START_TEST(base_round_trip)
{
	static const char *const golden[] = {
		"4c554e474241534501000000000000000102030405060708090a0b0c0d0e0f10",
		"feffffff00000000060000000000000000800000000000000050000000001000",
		"0001000035432096040302010000000000000000000000000000000000000000",
		"*",
		"000000000000000000000000000000000000000000000000000000005a6c1b43",
	};
	static uint32_t crcs[4096], back_crcs[4096];
	struct bucket_base b = base_sample(), back;
	uint32_t table_crc;
	size_t n = bucket_base_tail_bytes(b.chunk_size);
	uint8_t *tail = malloc(bucket_base_tail_bytes(BUCKET_CHUNK_MAX));

	ck_assert_uint_eq(n, 256 * 4 + 512);
	for (uint32_t i = 0; i < ARRAY_SIZE(crcs); i++)
		crcs[i] = i * 0x01010101;
	bucket_base_tail_encode(&b, crcs, tail);
	expect_hex(tail + n - 512, 512, golden, ARRAY_SIZE(golden));
	ck_assert_uint_eq(get_le32(tail + 4 * 4), 0x04040404);
	ck_assert_uint_eq(get_le32(tail + 5 * 4), CRC32C_ZERO_PAGE);
	ck_assert_int_eq(bucket_base_tail_decode(tail, n, &b, &back, back_crcs), 0);
	ck_assert_uint_eq(back.length, b.length);
	ck_assert_uint_eq(back.data_crc, b.data_crc);
	ck_assert_uint_eq(back_crcs[4], crcs[4]);
	ck_assert_uint_eq(back_crcs[255], CRC32C_ZERO_PAGE);
	ck_assert_int_eq(bucket_base_tail_decode(tail, n, &b, &back, NULL), 0);
	ck_assert_int_eq(bucket_base_footer_decode(tail + n - 512, 512, &back, &table_crc), 0);
	ck_assert_uint_eq(back.index, b.index);
	ck_assert_uint_eq(table_crc, crc32c(0, tail, n - 512));

	b.chunk_size = b.length = BUCKET_CHUNK_MAX;
	n = bucket_base_tail_bytes(b.chunk_size);
	bucket_base_tail_encode(&b, crcs, tail);
	ck_assert_int_eq(bucket_base_tail_decode(tail, n, &b, &back, back_crcs), 0);
	ck_assert_mem_eq(crcs, back_crcs, sizeof(crcs));
	free(tail);
	/* the tail never reaches before the object's begin, however short its data */
	ck_assert_uint_ge(4096 + bucket_base_tail_bytes(BUCKET_CHUNK_MAX),
			  bucket_base_tail_bytes(BUCKET_CHUNK_MAX));
}
END_TEST

START_TEST(base_believes_nothing)
{
	struct bucket_base b = base_sample(), back, wrong;
	uint32_t crcs[256] = {0}, table_crc;
	size_t n = bucket_base_tail_bytes(b.chunk_size), foot = n - 512;
	uint8_t *good = malloc(n), *buf = malloc(n);

	bucket_base_tail_encode(&b, crcs, good);
	for (size_t k = 0; k < n; k++)
		ck_assert_int_eq(bucket_base_tail_decode(good + (n - k), k, &b, &back, NULL), LG_ECORRUPT);
	for (size_t i = 0; i < n * 8; i++) {
		memcpy(buf, good, n);
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
		ck_assert_int_eq(bucket_base_tail_decode(buf, n, &b, &back, NULL), LG_ECORRUPT);
	}
	for (unsigned i = 0; i < 5; i++) {
		wrong = b;
		wrong.index -= i == 0;
		wrong.generation += i == 1;
		wrong.seq += i == 2;
		wrong.uuid[0] ^= i == 3;
		wrong.chunk_size <<= i == 4;
		ck_assert_int_eq(bucket_base_tail_decode(good, n, &wrong, &back, NULL), LG_ECORRUPT);
	}

	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{8, 2, LG_EFORMAT},   {12, 1, LG_EFORMAT},  {76, 1, LG_EFORMAT},  /* compression */
		{78, 1, LG_EFORMAT},                                              /* encryption */
		{80, 1, LG_EFORMAT},  {507, 1, LG_EFORMAT}, {36, 1, LG_ECORRUPT}, /* index over 32 bits */
		{44, 1, LG_ECORRUPT}, {54, 1, LG_ECORRUPT}, {56, 1, LG_ECORRUPT},
		{59, 1, LG_ECORRUPT}, {61, 1, LG_ECORRUPT}, {64, 1, LG_ECORRUPT},
	};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, n);
		buf[foot + changes[i].at] = changes[i].value;
		reseal(buf + foot, 512);
		ck_assert_msg(bucket_base_footer_decode(buf + foot, 512, &back, &table_crc) == changes[i].rc,
			      "change %zu", i);
		ck_assert_int_eq(bucket_base_tail_decode(buf, n, &b, &back, NULL), changes[i].rc);
	}
	/* a page that is not stored but said to hold something */
	memcpy(buf, good, n);
	buf[255 * 4] ^= 1;
	put_le32(buf + foot + 68, crc32c(0, buf, foot));
	reseal(buf + foot, 512);
	ck_assert_int_eq(bucket_base_tail_decode(buf, n, &b, &back, NULL), LG_ECORRUPT);
	free(good);
	free(buf);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bucket_fmt");
	TCase *tc = tcase_create("bucket_fmt");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, owner_round_trip);
	tcase_add_test(tc, owner_believes_nothing);
	tcase_add_test(tc, root_round_trip);
	tcase_add_test(tc, root_believes_nothing);
	tcase_add_test(tc, attribute_round_trip);
	tcase_add_test(tc, attribute_believes_nothing);
	tcase_add_test(tc, root_with_attributes);
	tcase_add_test(tc, root_attributes_believe_nothing);
	tcase_add_test(tc, root_with_shares);
	tcase_add_test(tc, root_shares_believe_nothing);
	tcase_add_test(tc, leaf_round_trip);
	tcase_add_test(tc, leaf_believes_nothing);
	tcase_add_test(tc, leaf_of_clones);
	tcase_add_test(tc, base_round_trip);
	tcase_add_test(tc, base_believes_nothing);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
