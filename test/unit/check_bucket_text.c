/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The texts of the bucket, volume.json and keys: round trips, damage, newer versions, and what must never change. */
#include <check.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "stores/chunked/bucket_fmt.h"

static const uint8_t uuid[UUID_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* ---- volume.json ------------------------------------------------------------------- */

static struct bucket_volume
volume_sample(void)
{
	struct bucket_volume v = {
		.size = UINT64_C(10) << 30,
		.chunk_size = 4u << 20,
		.block_size = 512,
		.serial = "0102030405060708",
		.created_ms = 1795000000000,
	};

	memcpy(v.uuid, uuid, UUID_LEN);
	memset(v.naa, 0x6c, sizeof(v.naa));
	return v;
}

static const char volume_golden[] = "{\n"
				    "  \"format\": \"lungate-volume\",\n"
				    "  \"version\": 1,\n"
				    "  \"flags\": [],\n"
				    "  \"uuid\": \"01020304-0506-0708-090a-0b0c0d0e0f10\",\n"
				    "  \"size\": 10737418240,\n"
				    "  \"chunk_size\": 4194304,\n"
				    "  \"block_size\": 512,\n"
				    "  \"page_size\": 4096,\n"
				    "  \"naa\": \"6c6c6c6c6c6c6c6c6c6c6c6c6c6c6c6c\",\n"
				    "  \"serial\": \"0102030405060708\",\n"
				    "  \"parent\": null,\n"
				    "  \"created_ms\": 1795000000000,\n"
				    "  \"compression\": null,\n"
				    "  \"encryption\": null,\n"
				    "  \"crc32c\": \"37854b15\"\n"
				    "}\n";

START_TEST(volume_round_trip)
{
	struct bucket_volume v = volume_sample(), back;
	struct errinfo info;
	char *text;
	size_t n;

	ck_assert_int_eq(bucket_volume_encode(&v, &text, &n), 0);
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_str_eq(text, volume_golden);
	ck_assert_int_eq(bucket_volume_decode(text, n, &back, &info), 0);
	ck_assert_mem_eq(back.uuid, v.uuid, UUID_LEN);
	ck_assert_uint_eq(back.size, v.size);
	ck_assert_uint_eq(back.chunk_size, v.chunk_size);
	ck_assert_uint_eq(back.block_size, v.block_size);
	ck_assert_mem_eq(back.naa, v.naa, sizeof(v.naa));
	ck_assert_str_eq(back.serial, v.serial);
	ck_assert_uint_eq(back.created_ms, v.created_ms);
	ck_assert(!back.has_parent);
	free(text);
}
END_TEST

START_TEST(volume_believes_nothing)
{
	struct bucket_volume v = volume_sample(), back;
	struct errinfo info;
	size_t n = strlen(volume_golden);
	char *buf = malloc(n);

	/* nothing before the closing brace will do */
	for (size_t k = 0; k + 1 < n; k++)
		ck_assert_int_eq(bucket_volume_decode(volume_golden, k, &back, &info), LG_ECORRUPT);
	for (size_t i = 0; i < n * 8; i++) {
		memcpy(buf, volume_golden, n);
		buf[i / 8] = (char)(buf[i / 8] ^ 1 << i % 8);
		int rc = bucket_volume_decode(buf, n, &back, &info);
		/* white space does not matter */
		if (rc == 0) {
			ck_assert_uint_eq(back.size, v.size);
			ck_assert_mem_eq(back.uuid, v.uuid, UUID_LEN);
			ck_assert_str_eq(back.serial, v.serial);
		} else {
			ck_assert_int_eq(rc, LG_ECORRUPT);
		}
	}
	ck_assert_int_eq(bucket_volume_decode("[]", 2, &back, &info), LG_ECORRUPT);
	ck_assert_int_eq(bucket_volume_decode("{}", 2, &back, &info), LG_ECORRUPT);
	ck_assert_int_eq(bucket_volume_decode("{}", 70000, &back, &info), LG_ECORRUPT);
	free(buf);
}
END_TEST

/** The golden text with one piece replaced and its checksum made right, as another version would write it. */
static int
decode_changed(const char *from, const char *to)
{
	struct bucket_volume back;
	struct errinfo info;
	char text[1024], crc_text[32];
	const char *at = strstr(volume_golden, from);

	ck_assert_msg(at != NULL, "%s", from);
	(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - volume_golden), volume_golden, to,
		       at + strlen(from));
	json_t *o = json_loads(text, 0, NULL);
	ck_assert_ptr_nonnull(o);
	json_object_del(o, "crc32c");
	char *canonical = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
	(void)snprintf(crc_text, sizeof(crc_text), "%08" PRIx32, crc32c(0, canonical, strlen(canonical)));
	json_object_set_new(o, "crc32c", json_string(crc_text));
	free(canonical);
	canonical = json_dumps(o, 0);
	int rc = bucket_volume_decode(canonical, strlen(canonical), &back, &info);
	free(canonical);
	json_decref(o);
	return rc;
}

START_TEST(volume_of_another_version)
{
	ck_assert_int_eq(decode_changed("\"version\": 1", "\"version\": 1"), 0);
	ck_assert_int_eq(decode_changed("\"version\": 1", "\"version\": 2"), LG_EFORMAT);
	ck_assert_int_eq(decode_changed("\"version\": 1", "\"version\": \"1\""), LG_EFORMAT);
	ck_assert_int_eq(decode_changed("\"flags\": []", "\"flags\": [\"zstd\"]"), LG_EFORMAT);
	ck_assert_int_eq(decode_changed("\"version\": 1", "\"version\": 1, \"colour\": \"blue\""),
			 LG_EFORMAT);
	ck_assert_int_eq(decode_changed("\"parent\": null", "\"parent\": {\"uuid\": \"x\"}"), LG_EFORMAT);
	ck_assert_int_eq(decode_changed("\"compression\": null", "\"compression\": \"zstd\""), LG_EFORMAT);
	ck_assert_int_eq(decode_changed("\"page_size\": 4096", "\"page_size\": 16384"), LG_EFORMAT);
	ck_assert_int_eq(decode_changed("\"block_size\": 512", "\"block_size\": 520"), LG_ECORRUPT);
	ck_assert_int_eq(decode_changed("\"chunk_size\": 4194304", "\"chunk_size\": 4194305"), LG_ECORRUPT);
	ck_assert_int_eq(decode_changed("\"size\": 10737418240", "\"size\": 10737418241"), LG_ECORRUPT);
	ck_assert_int_eq(decode_changed("\"size\": 10737418240", "\"size\": -512"), LG_ECORRUPT);
	ck_assert_int_eq(decode_changed("\"size\": 10737418240", "\"size\": 1e9"), LG_ECORRUPT);
	ck_assert_int_eq(decode_changed("0102030405060708", "no spaces"), LG_ECORRUPT);
	ck_assert_int_eq(decode_changed("\"6c6c", "\"6C6C"), LG_ECORRUPT);
}
END_TEST

/* ---- keys ------------------------------------------------------------------------------ */

START_TEST(keys)
{
	static const struct {
		struct bucket_key key;
		const char *text;
	} table[] = {
		{{.kind = BUCKET_KEY_VOLUME}, "volume.json"},
		{{.kind = BUCKET_KEY_OWNER}, "owner"},
		{{.kind = BUCKET_KEY_ROOT}, "root"},
		{{.kind = BUCKET_KEY_BASE, .index = 0x1234abcd, .generation = 7, .number = 0xfeed},
		 "c/cd/1234abcd.00000007.000000000000feed"},
		{{.kind = BUCKET_KEY_LEAF, .index = 255, .generation = UINT32_MAX, .number = 3},
		 "m/ffffffff.0000000000000003.l000000ff"},
		{{.kind = BUCKET_KEY_DELTA, .generation = 1, .number = 3}, "m/00000001.0000000000000003.d"},
		{{.kind = BUCKET_KEY_SEGMENT, .generation = 1, .number = 0x3412},
		 "s/12/00000001.0000000000003412"},
		{{.kind = BUCKET_KEY_LOG, .generation = 1, .number = 0x3412}, "l/00000001.0000000000003412"},
		{{.kind = BUCKET_KEY_SNAPSHOT, .name = "daily-1"}, "snapshot/daily-1"},
	};
	static const char *const prefixes[] = {"", "vm1", "lungate/site-a/vm1"};
	static const struct bucket_leaf_ref ref = {.leaf = 15, .generation = 4, .commit = 0x1122334455};
	char text[300], expected[256];
	struct bucket_key back;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		for (size_t p = 0; p < ARRAY_SIZE(prefixes); p++) {
			(void)snprintf(expected, sizeof(expected), "%s%s%s", prefixes[p],
				       *prefixes[p] ? "/" : "", table[i].text);
			int n = bucket_key_format(&table[i].key, prefixes[p], text, sizeof(text));
			ck_assert_int_eq(n, (int)strlen(expected));
			ck_assert_str_eq(text, expected);
			ck_assert_int_eq(bucket_key_format(&table[i].key, prefixes[p], text, (size_t)n),
					 -ENAMETOOLONG);
			ck_assert_int_eq(bucket_key_parse(expected, prefixes[p], &back), 0);
			ck_assert_int_eq(back.kind, table[i].key.kind);
			ck_assert_uint_eq(back.index, table[i].key.index);
			ck_assert_uint_eq(back.generation, table[i].key.generation);
			ck_assert_uint_eq(back.number, table[i].key.number);
			ck_assert_str_eq(back.name, table[i].key.name);
			/* any other length of it is another key */
			for (int k = 0; k < n; k++) {
				(void)snprintf(text, sizeof(text), "%.*s", k, expected);
				if (table[i].key.kind != BUCKET_KEY_SNAPSHOT)
					ck_assert_int_eq(bucket_key_parse(text, prefixes[p], &back), -EINVAL);
			}
			(void)snprintf(text, sizeof(text), "%s0", expected);
			if (table[i].key.kind != BUCKET_KEY_SNAPSHOT)
				ck_assert_int_eq(bucket_key_parse(text, prefixes[p], &back), -EINVAL);
		}
	}
	ck_assert_int_eq(bucket_key_base("v", 1, 2, 3, text, sizeof(text)), 41);
	ck_assert_str_eq(text, "v/c/01/00000001.00000002.0000000000000003");
	ck_assert_int_eq(bucket_key_leaf("v", &ref, text, sizeof(text)), 39);
	ck_assert_str_eq(text, "v/m/00000004.0000001122334455.l0000000f");
}
END_TEST

START_TEST(foreign_keys)
{
	static const char *const bad[] = {
		"",
		"v",
		"v/",
		"v/x",
		"w/root",
		"vroot",
		"v/Root",
		"v/root/",
		"v//root",
		"v/c/02/00000001.00000002.0000000000000003", /* another shard */
		"v/c/01/00000001.00000002.000000000000000G",
		"v/c/01/0000000A.00000002.0000000000000003",
		"v/c/0A/0000000a.00000002.0000000000000003",
		"v/c/01/00000001-00000002.0000000000000003",
		"v/s/03/00000002.0000000000000004",
		"v/m/00000002.0000000000000003.",
		"v/m/00000002.0000000000000003.x00000000",
		"v/m/00000002.0000000000000003.d0",
		"v/l/00000002.0000000000000003.d",
		"v/q/00000002.0000000000000003",
		"v/snapshot/",
		"v/snapshot/.hidden",
		"v/snapshot/a/b",
		"v/snapshot/a b",
		"v/snapshot/0123456789012345678901234567890123456789012345678901234567890123456789",
	};
	struct bucket_key back;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(bucket_key_parse(bad[i], "v", &back) == -EINVAL, "%s", bad[i]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bucket_text");
	TCase *tc = tcase_create("bucket_text");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, volume_round_trip);
	tcase_add_test(tc, volume_believes_nothing);
	tcase_add_test(tc, volume_of_another_version);
	tcase_add_test(tc, keys);
	tcase_add_test(tc, foreign_keys);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
