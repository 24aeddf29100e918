/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal's pages: round trips, damage, newer versions, and bytes that must never change. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "stores/chunked/journal_fmt.h"

static uint8_t good[JOURNAL_PAGE], buf[JOURNAL_PAGE];

/** The first n bytes as hex, 32 a line. */
static void
expect_hex(const uint8_t *p, size_t n, const char *const *lines, size_t nlines)
{
	ck_assert_uint_eq(n, nlines * 32);
	for (size_t line = 0; line < nlines; line++) {
		char text[65];

		for (size_t i = 0; i < 32; i++)
			(void)snprintf(text + 2 * i, 3, "%02x", p[line * 32 + i]);
		ck_assert_msg(strcmp(lines[line], text) == 0, "golden line %zu is now \"%s\"", line, text);
	}
	for (size_t i = n; i < JOURNAL_PAGE - 4; i++)
		ck_assert_uint_eq(p[i], 0);
}

static struct journal_segment
segment_sample(void)
{
	struct journal_segment s = {
		.state = JOURNAL_SEGMENT_USED,
		.segment_bytes = JOURNAL_SEGMENT_BYTES,
		.number = 0x112233,
		.incarnation = 0x445566,
		.epoch = 0x0000000700001234,
		.generation = 9,
		.first_seq = 0x1001,
		.prev_seq = 0x1000,
		.prev_pos = journal_pos(0x112232, 16380),
	};

	memset(s.volume_uuid, 0xaa, UUID_LEN);
	memset(s.journal_uuid, 0xbb, UUID_LEN);
	return s;
}

START_TEST(segment_round_trip)
{
	static const char *const golden[] = {
		"4c554e474a5345470100000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb33221100000000006655440000000000",
		"3412000007000000090000000000000001100000000000000010000000000000",
		"fc3f322211000000000000040300000000000000000000000000000000000000",
	};
	struct journal_segment s = segment_sample(), back;

	journal_segment_encode(&s, good);
	expect_hex(good, 128, golden, ARRAY_SIZE(golden));
	ck_assert_uint_eq(get_le32(good + 4092), crc32c(0, good, 4092));
	ck_assert_int_eq(journal_segment_decode(good, &back), 0);
	ck_assert_mem_eq(&s, &back, sizeof(s));

	struct journal_segment m = {.state = JOURNAL_MANIFEST, .segment_bytes = 2u << 20, .number = 4};
	journal_segment_encode(&m, buf);
	ck_assert_int_eq(journal_segment_decode(buf, &back), 0);
	ck_assert_mem_eq(&m, &back, sizeof(m));
	m = (struct journal_segment){.state = JOURNAL_SEGMENT_READY, .segment_bytes = 2u << 20};
	journal_segment_encode(&m, buf);
	ck_assert_int_eq(journal_segment_decode(buf, &back), 0);
	ck_assert_mem_eq(&m, &back, sizeof(m));
}
END_TEST

START_TEST(segment_believes_nothing)
{
	struct journal_segment s = segment_sample(), back;

	journal_segment_encode(&s, good);
	for (size_t i = 0; i < JOURNAL_PAGE; i++) {
		memcpy(buf, good, JOURNAL_PAGE);
		buf[i] ^= (uint8_t)(1u << i % 8);
		ck_assert_int_eq(journal_segment_decode(buf, &back), LG_ECORRUPT);
	}
	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{8, 2, LG_EFORMAT},      {12, 1, LG_EFORMAT},      {108, 5, LG_EFORMAT},
		{108, 0, LG_EFORMAT},    {112, 1, LG_EFORMAT},     {4091, 1, LG_EFORMAT},
		{108, 2, LG_ECORRUPT},   /* READY, with a number */
		{54, 1, LG_ECORRUPT},    /* number over 48 bits */
		{89, 0x20, LG_ECORRUPT}, /* prev_seq past first_seq */
		{102, 9, LG_ECORRUPT},   /* prev_pos past this segment */
		{104, 1, LG_ECORRUPT},   {107, 0xff, LG_ECORRUPT},
	};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, JOURNAL_PAGE);
		buf[changes[i].at] = changes[i].value;
		put_le32(buf + 4092, crc32c(0, buf, 4092));
		ck_assert_msg(journal_segment_decode(buf, &back) == changes[i].rc, "change %zu", i);
	}
}
END_TEST

static const struct journal_entry entries[] = {
	{.type = JOURNAL_WRITE, .page = 0x0102030405, .count = 1, .crc = 0xcafef00d},
	{.type = JOURNAL_ZERO, .page = 16, .count = 48},
	{.type = JOURNAL_TRIM, .page = 0, .count = UINT64_C(1) << 48},
	{.type = JOURNAL_RESIZE, .page = UINT64_C(64) << 40, .count = 1},
	{.type = JOURNAL_WRITE, .page = JOURNAL_VPAGE_MAX - 1, .count = 1, .crc = 0},
};

static struct journal_record
record_sample(uint8_t *page)
{
	struct journal_record r = {
		.type = JOURNAL_RECORD_CHANGES,
		.entries = ARRAY_SIZE(entries),
		.payload = 2,
		.first_seq = 0x1001,
		.prev_seq = 0x1000,
		.durable_seq = 0x0ff0,
		.durable_pos = journal_pos(0x112233, 100),
		.released_seq = 0x0800,
		.generation = 9,
		.incarnation = 0x445566,
		.epoch = 0x0000000700001234,
		.pos = journal_pos(0x112233, 300),
		.prev_pos = journal_pos(0x112233, 290),
		.prev_crc = 0x01020304,
	};

	memset(r.journal_uuid, 0xbb, UUID_LEN);
	journal_record_begin(page);
	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++)
		journal_entry_encode(page, i, &entries[i]);
	journal_record_encode(&r, page);
	return r;
}

static void
reseal(uint8_t *page)
{
	uint32_t crc = crc32c(0, page, 20);

	put_le32(page + 20, crc32c(crc, page + 24, JOURNAL_PAGE - 24));
}

static void
expect_same(const struct journal_record *a, const struct journal_record *b)
{
	ck_assert_mem_eq(a->journal_uuid, b->journal_uuid, UUID_LEN);
	ck_assert_int_eq(a->type, b->type);
	ck_assert_uint_eq(a->entries, b->entries);
	ck_assert_uint_eq(a->payload, b->payload);
	ck_assert_uint_eq(a->first_seq, b->first_seq);
	ck_assert_uint_eq(a->prev_seq, b->prev_seq);
	ck_assert_uint_eq(a->durable_seq, b->durable_seq);
	ck_assert_uint_eq(a->durable_pos, b->durable_pos);
	ck_assert_uint_eq(a->released_seq, b->released_seq);
	ck_assert_uint_eq(a->generation, b->generation);
	ck_assert_uint_eq(a->incarnation, b->incarnation);
	ck_assert_uint_eq(a->epoch, b->epoch);
	ck_assert_uint_eq(a->pos, b->pos);
	ck_assert_uint_eq(a->prev_pos, b->prev_pos);
	ck_assert_uint_eq(a->prev_crc, b->prev_crc);
	ck_assert_uint_eq(a->crc, b->crc);
}

START_TEST(record_round_trip)
{
	static const char *const golden[] = {
		"4c4a523100100000003000000100050000000000906c1ab10110000000000000",
		"f00f000000000000090000000000000066554400000000002201332211000000",
		"04030201000000002c0133221100000064003322110000000010000000000000",
		"00080000000000003412000007000000bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
		"05040302010001000df0feca0000000010000000000002003000000000000000",
		"0000000000000300000000000000010000000000000004000000000000400000",
		"ffffffffffff0100000000000000000000000000000000000000000000000000",
	};
	struct journal_record r = record_sample(good), back;

	memcpy(buf, good, JOURNAL_PAGE);
	expect_hex(buf, 224, golden, ARRAY_SIZE(golden));
	reseal(buf);
	ck_assert_mem_eq(buf, good, JOURNAL_PAGE);
	ck_assert_int_eq(journal_record_decode(good, &back), 0);
	expect_same(&r, &back);
	ck_assert_uint_eq(journal_record_last(&back), 0x1005);
	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
		struct journal_entry e;

		journal_entry_decode(good, i, &e);
		ck_assert_int_eq(e.type, entries[i].type);
		ck_assert_uint_eq(e.page, entries[i].page);
		ck_assert_uint_eq(e.count, entries[i].count);
		ck_assert_uint_eq(e.crc, entries[i].crc);
	}
	ck_assert(journal_record_likely(good, r.journal_uuid, 300));
	ck_assert(!journal_record_likely(good, r.journal_uuid, 301));
	r.journal_uuid[3] ^= 1;
	ck_assert(!journal_record_likely(good, r.journal_uuid, 300));

	/* a mark, and the largest record */
	r.type = JOURNAL_RECORD_MARK;
	r.entries = r.payload = 0;
	journal_record_begin(buf);
	journal_record_encode(&r, buf);
	ck_assert_int_eq(journal_record_decode(buf, &back), 0);
	expect_same(&r, &back);
	ck_assert_uint_eq(journal_record_last(&back), 0x1000);
	r.type = JOURNAL_RECORD_CHANGES;
	r.entries = r.payload = JOURNAL_RECORD_ENTRIES;
	journal_record_begin(buf);
	for (unsigned i = 0; i < JOURNAL_RECORD_ENTRIES; i++)
		journal_entry_encode(buf, i, &entries[0]);
	journal_record_encode(&r, buf);
	ck_assert_int_eq(journal_record_decode(buf, &back), 0);
	ck_assert_uint_eq(back.payload, 248);
}
END_TEST

START_TEST(record_believes_nothing)
{
	struct journal_record back;

	(void)record_sample(good);
	for (size_t i = 0; i < JOURNAL_PAGE; i++) {
		memcpy(buf, good, JOURNAL_PAGE);
		buf[i] ^= (uint8_t)(1u << i % 8);
		ck_assert_int_eq(journal_record_decode(buf, &back), LG_ECORRUPT);
	}
	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{5, 0x20, LG_EFORMAT},    /* longer header */
		{12, 3, LG_EFORMAT},      /* record type */
		{16, 1, LG_EFORMAT},      /* flag */
		{68, 1, LG_EFORMAT},      /* reserved */
		{128 + 6, 7, LG_EFORMAT}, /* entry type: log object boundary */
		{128 + 6, 9, LG_EFORMAT}, /* nobody knows it */
		{128 + 6, 0, LG_EFORMAT},
		{128 + 7, 1, LG_EFORMAT},  /* entry flag */
		{128 + 12, 1, LG_EFORMAT}, /* behind a WRITE's CRC */
		{176 + 0, 1, LG_EFORMAT},  /* in front of a RESIZE's size */
		{208, 1, LG_EFORMAT},      /* behind the table */
		{4095, 1, LG_EFORMAT},
		{14, 4, LG_EFORMAT}, /* fewer entries: the rest is in reserved space */
		{14, 6, LG_EFORMAT}, /* one more: a slot of zeroes */
		{14, 249, LG_ECORRUPT},
		{14, 0, LG_ECORRUPT},
		{12, 2, LG_ECORRUPT},         /* a mark with entries */
		{9, 0x40, LG_ECORRUPT},       /* total bytes */
		{144 + 8, 0, LG_ECORRUPT},    /* ZERO of no pages */
		{160 + 8, 1, LG_ECORRUPT},    /* TRIM past the end */
		{183 + 8, 0x80, LG_ECORRUPT}, /* RESIZE over 2^63 - 1: top byte */
		{30, 1, LG_ECORRUPT},         /* sequence over 48 bits */
		{89, 0x30, LG_ECORRUPT},      /* prev_seq past first_seq */
		{33, 0x30, LG_ECORRUPT},      /* durable past what was before */
		{57, 0x02, LG_ECORRUPT},      /* prev_pos past pos */
		{81, 0x02, LG_ECORRUPT},      /* durable_pos past prev_pos */
	};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, JOURNAL_PAGE);
		buf[changes[i].at] = changes[i].value;
		reseal(buf);
		ck_assert_msg(journal_record_decode(buf, &back) == changes[i].rc, "change %zu: %d", i,
			      journal_record_decode(buf, &back));
	}
}
END_TEST

/* Attributes: all pages of one, side by side, in order. */
static const struct journal_entry attr_entries[] = {
	{.type = JOURNAL_WRITE, .page = 1, .count = 1, .crc = 1},
	{.type = JOURNAL_ATTR, .page = 0, .count = 1, .crc = 0x11111111},
	{.type = JOURNAL_ATTR, .page = 0, .count = 2, .crc = 0x22222222},
	{.type = JOURNAL_ATTR, .page = 1, .count = 2, .crc = 0x33333333},
};

static struct journal_record
attr_sample(uint8_t *page)
{
	uint8_t other[JOURNAL_PAGE];
	struct journal_record r = record_sample(other);

	r.entries = r.payload = ARRAY_SIZE(attr_entries);
	journal_record_begin(page);
	for (unsigned i = 0; i < ARRAY_SIZE(attr_entries); i++)
		journal_entry_encode(page, i, &attr_entries[i]);
	journal_record_encode(&r, page);
	return r;
}

START_TEST(attributes_round_trip)
{
	static const char *const golden[] = {
		"0100000000000100010000000000000000000100000005001111111100000000",
		"0000020000000500222222220000000001000200000005003333333300000000",
	};
	struct journal_record r = attr_sample(good), back;

	ck_assert_int_eq(journal_record_decode(good, &back), 0);
	expect_same(&r, &back);
	for (unsigned i = 0; i < ARRAY_SIZE(attr_entries); i++) {
		struct journal_entry e;

		journal_entry_decode(good, i, &e);
		ck_assert_int_eq(e.type, attr_entries[i].type);
		ck_assert_uint_eq(e.page, attr_entries[i].page);
		ck_assert_uint_eq(e.count, attr_entries[i].count);
		ck_assert_uint_eq(e.crc, attr_entries[i].crc);
	}
	memset(buf, 0, sizeof(buf));
	memcpy(buf, good + 128, 64);
	expect_hex(buf, 64, golden, ARRAY_SIZE(golden));

	/* the largest */
	r.entries = r.payload = JOURNAL_RECORD_ENTRIES;
	journal_record_begin(buf);
	for (unsigned i = 0; i < JOURNAL_RECORD_ENTRIES; i++)
		journal_entry_encode(buf, i,
				     &(struct journal_entry){.type = JOURNAL_ATTR,
							     .page = i,
							     .count = JOURNAL_RECORD_ENTRIES});
	journal_record_encode(&r, buf);
	ck_assert_int_eq(journal_record_decode(buf, &back), 0);
	ck_assert_uint_eq(back.payload, 248);
}
END_TEST

START_TEST(attributes_believe_nothing)
{
	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{144 + 7, 1, LG_EFORMAT},                             /* flag */
		{144 + 4, 1, LG_EFORMAT},                             /* behind the numbers */
		{144 + 12, 1, LG_EFORMAT},                            /* behind the CRC */
		{144 + 0, 1, LG_ECORRUPT},                            /* page 1 of 1 */
		{144 + 2, 0, LG_ECORRUPT},                            /* of none */
		{144 + 2, 2, LG_ECORRUPT},                            /* one of two, then the next begins */
		{160 + 2, 3, LG_ECORRUPT},                            /* they disagree how many there are */
		{176 + 2, 3, LG_ECORRUPT}, {160 + 0, 1, LG_ECORRUPT}, /* no first one */
		{176 + 0, 0, LG_ECORRUPT},                            /* the first one twice */
		{176 + 6, 1, LG_ECORRUPT},                            /* something else in between */
		{163, 1, LG_ECORRUPT},                                /* more than a record holds */
	};
	struct journal_record back;

	(void)attr_sample(good);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, JOURNAL_PAGE);
		buf[changes[i].at] = changes[i].value;
		reseal(buf);
		ck_assert_msg(journal_record_decode(buf, &back) == changes[i].rc, "change %zu: %d", i,
			      journal_record_decode(buf, &back));
	}
	/* the record ends before it does */
	memcpy(buf, good, JOURNAL_PAGE);
	buf[14] = 3;
	put_le32(buf + 8, 4 * JOURNAL_PAGE);
	memset(buf + 176, 0, 16);
	reseal(buf);
	ck_assert_int_eq(journal_record_decode(buf, &back), LG_ECORRUPT);
}
END_TEST

/* Clones: the base, then the chunk that it is for. */
static const struct journal_entry clone_entries[] = {
	{.type = JOURNAL_BASE, .page = 0x01020304, .count = 0x11223344},
	{.type = JOURNAL_CLONE, .page = 7, .count = 0x0000aabbccddeeff},
	{.type = JOURNAL_WRITE, .page = 1, .count = 1, .crc = 1},
	{.type = JOURNAL_BASE, .page = UINT32_MAX, .count = UINT32_MAX},
	{.type = JOURNAL_CLONE, .page = UINT32_MAX, .count = JOURNAL_SEQ_MAX},
};

static struct journal_record
clone_sample(uint8_t *page)
{
	uint8_t other[JOURNAL_PAGE];
	struct journal_record r = record_sample(other);

	r.entries = ARRAY_SIZE(clone_entries);
	r.payload = 1;
	journal_record_begin(page);
	for (unsigned i = 0; i < ARRAY_SIZE(clone_entries); i++)
		journal_entry_encode(page, i, &clone_entries[i]);
	journal_record_encode(&r, page);
	return r;
}

START_TEST(clones_round_trip)
{
	static const char *const golden[] = {
		"040302010000060044332211000000000700000000000800ffeeddccbbaa0000",
		"01000000000001000100000000000000ffffffff00000600ffffffff00000000",
		"ffffffff00000800ffffffffffff000000000000000000000000000000000000",
	};
	struct journal_record r = clone_sample(good), back;

	ck_assert_int_eq(journal_record_decode(good, &back), 0);
	expect_same(&r, &back);
	for (unsigned i = 0; i < ARRAY_SIZE(clone_entries); i++) {
		struct journal_entry e;

		journal_entry_decode(good, i, &e);
		ck_assert_int_eq(e.type, clone_entries[i].type);
		ck_assert_uint_eq(e.page, clone_entries[i].page);
		ck_assert_uint_eq(e.count, clone_entries[i].count);
	}
	memcpy(buf, good + 128, 96);
	expect_hex(buf, 96, golden, ARRAY_SIZE(golden));
}
END_TEST

START_TEST(clones_believe_nothing)
{
	static const struct {
		size_t at;
		uint8_t value;
		int rc;
	} changes[] = {
		{128 + 7, 1, LG_EFORMAT},                               /* flag */
		{128 + 4, 1, LG_ECORRUPT},                              /* a chunk past 2^32 */
		{144 + 4, 1, LG_ECORRUPT},  {128 + 12, 1, LG_ECORRUPT}, /* generation over 32 bits */
		{144 + 14, 1, LG_ECORRUPT},                             /* sequence over 48 bits */
		{128 + 6, 8, LG_ECORRUPT},                              /* of no base */
		{128 + 6, 2, LG_ECORRUPT},  {144 + 6, 6, LG_ECORRUPT},  /* two bases, the first for nothing */
		{144 + 6, 2, LG_ECORRUPT},  {160 + 6, 8, LG_ECORRUPT},  /* one base for two */
		{192 + 6, 2, LG_ECORRUPT},                              /* the record ends with a base */
	};
	struct journal_record back;

	(void)clone_sample(good);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(buf, good, JOURNAL_PAGE);
		buf[changes[i].at] = changes[i].value;
		reseal(buf);
		ck_assert_msg(journal_record_decode(buf, &back) == changes[i].rc, "change %zu: %d", i,
			      journal_record_decode(buf, &back));
	}
	memcpy(buf, good, JOURNAL_PAGE);
	buf[14] = 4;
	memset(buf + 192, 0, 16);
	reseal(buf);
	ck_assert_int_eq(journal_record_decode(buf, &back), LG_ECORRUPT);
}
END_TEST

START_TEST(epochs_never_fall)
{
	uint64_t a = UINT64_C(7) << 32 | 100, same_count = UINT64_C(7) << 32 | 200,
		 later = UINT64_C(8) << 32 | 1;

	ck_assert(journal_epoch_follows(a, a));
	ck_assert(journal_epoch_follows(later, a));
	ck_assert(!journal_epoch_follows(a, later));
	ck_assert(!journal_epoch_follows(same_count, a));
	ck_assert(!journal_epoch_follows(a, same_count));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal_fmt");
	TCase *tc = tcase_create("journal_fmt");

	tcase_add_test(tc, segment_round_trip);
	tcase_add_test(tc, segment_believes_nothing);
	tcase_add_test(tc, record_round_trip);
	tcase_add_test(tc, record_believes_nothing);
	tcase_add_test(tc, attributes_round_trip);
	tcase_add_test(tc, attributes_believe_nothing);
	tcase_add_test(tc, clones_round_trip);
	tcase_add_test(tc, clones_believe_nothing);
	tcase_add_test(tc, epochs_never_fall);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
