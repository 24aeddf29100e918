/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes to the decoders of the bucket.  First byte: which one, and (0x80) whether the
 * checksum is made right first, so that what lies behind it is reached.  What is taken must come
 * back the same when it is encoded again: there is one way to write a thing.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "stores/chunked/bucket_fmt.h"
#include "test/fuzz/fuzz.h"

static void
try_owner(const uint8_t *p, size_t n, const uint8_t *uuid)
{
	struct bucket_owner owner;
	uint8_t again[BUCKET_OWNER_BYTES];

	if (bucket_owner_decode(p, n, uuid, &owner) != 0)
		return;
	bucket_owner_encode(&owner, again);
	assert(memcmp(again, p, n) == 0);
}

static void
try_root(const uint8_t *p, size_t n, const uint8_t *uuid)
{
	struct bucket_root root;

	if (bucket_root_decode(p, n, uuid, &root) != 0)
		return;
	assert(bucket_root_bytes(&root) == n);
	uint8_t *again = malloc(n);
	assert(again);
	bucket_root_encode(&root, again);
	assert(memcmp(again, p, n) == 0);
	free(again);
	bucket_root_fini(&root);
}

static void
try_attr(const uint8_t *p, size_t n)
{
	struct bucket_attr attr;

	if (bucket_attr_decode(p, n, &attr) != 0)
		return;
	size_t bytes = bucket_attr_bytes(&attr);
	assert(bytes <= n);
	uint8_t *again = malloc(bytes);
	assert(again);
	bucket_attr_encode(&attr, again);
	assert(memcmp(again, p, bytes) == 0);
	free(again);
}

static bool
same_ref(const struct bucket_leaf_ref *a, const struct bucket_leaf_ref *b)
{
	return a->leaf == b->leaf && a->generation == b->generation && a->commit == b->commit &&
	       a->crc == b->crc && a->present == b->present && a->length == b->length;
}

static void
try_leaf(const uint8_t *p, size_t n, const uint8_t *uuid)
{
	static struct bucket_entry entries[BUCKET_LEAF_CHUNKS];
	struct bucket_leaf_ref ref = {.length = (uint32_t)n}, back;
	struct bucket_leaf leaf = {0};

	/* a reference that fits, as an attacker who writes the bucket would have it */
	if (n < 60)
		return;
	ref.leaf = get_le32(p + 32);
	ref.generation = get_le32(p + 36);
	ref.commit = get_le64(p + 40);
	ref.present = get_le32(p + 48);
	ref.crc = get_le32(p + n - 4);
	if (bucket_leaf_decode(p, n, uuid, &ref, entries) != 0 || ref.leaf >= BUCKET_LEAVES_MAX)
		return;
	assert(bucket_leaf_bytes(entries, NULL) == n);
	memcpy(leaf.uuid, uuid, UUID_LEN);
	leaf.leaf = ref.leaf;
	leaf.generation = ref.generation;
	leaf.commit = ref.commit;
	uint8_t *again = malloc(n);
	assert(again);
	bucket_leaf_encode(&leaf, entries, again, &back);
	assert(memcmp(again, p, n) == 0 && same_ref(&back, &ref));
	free(again);
}

static void
try_base(const uint8_t *p, size_t n)
{
	struct bucket_base base, back;
	uint32_t table_crc;

	if (n < BUCKET_BASE_FOOTER ||
	    bucket_base_footer_decode(p + n - BUCKET_BASE_FOOTER, BUCKET_BASE_FOOTER, &base, &table_crc) != 0)
		return;
	uint32_t *crcs = calloc(base.chunk_size / BUCKET_PAGE, 4);
	assert(crcs);
	if (bucket_base_tail_decode(p, n, &base, &back, crcs) == 0) {
		uint8_t *again = malloc(n);

		assert(again);
		bucket_base_tail_encode(&back, crcs, again);
		assert(memcmp(again, p, n) == 0);
		free(again);
	}
	free(crcs);
}

static void
try_volume(const uint8_t *p, size_t n)
{
	struct bucket_volume vol, back;
	struct errinfo info;
	char *text;
	size_t len;

	if (bucket_volume_decode(p, n, &vol, &info) != 0)
		return;
	int rc = bucket_volume_encode(&vol, &text, &len);
	assert(rc == 0);
	rc = bucket_volume_decode(text, len, &back, &info);
	assert(rc == 0 && back.size == vol.size && memcmp(back.uuid, vol.uuid, UUID_LEN) == 0);
	free(text);
}

static void
try_key(const uint8_t *p, size_t n)
{
	struct bucket_key key;
	char text[512], again[512];

	if (n >= sizeof(text))
		return;
	memcpy(text, p, n);
	text[n] = 0;
	if (bucket_key_parse(text, "v", &key) != 0)
		return;
	int len = bucket_key_format(&key, "v", again, sizeof(again));
	assert(len > 0 && strcmp(text, again) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t uuid[UUID_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

	if (size < 1 || size > 2 * BUCKET_LEAF_BYTES_MAX)
		return 0;
	unsigned which = data[0] & 7, fix = data[0] & 0x80;
	size_t n = size - 1;
	uint8_t *p = malloc(n ? n : 1);
	assert(p);
	memcpy(p, data + 1, n);
	if (fix && n >= 36 && which < 4) {
		size_t start = 0;

		if (which == 3 && n > BUCKET_BASE_FOOTER) {
			start = n - BUCKET_BASE_FOOTER;
			put_le32(p + start + 68, crc32c(0, p, start));
		}
		put_le32(p + n - 4, crc32c(0, p + start, n - 4 - start));
	}
	switch (which) {
	case 0:
		try_owner(p, n, uuid);
		break;
	case 1:
		try_root(p, n, uuid);
		break;
	case 2:
		try_leaf(p, n, uuid);
		break;
	case 3:
		try_base(p, n);
		break;
	case 4:
		try_volume(p, n);
		break;
	case 6:
		try_attr(p, n);
		break;
	default:
		try_key(p, n);
		break;
	}
	free(p);
	return 0;
}
