/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * volume.json: the one object that people read with an editor.  JSON, so its
 * checksum is over the canonical form (sorted keys, no spaces, ASCII, without the member "crc32c"):
 * white space may change, nothing else.
 *
 * Pure functions: no state, no I/O.
 */
#include "stores/chunked/bucket_fmt.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"

#define FORMAT_NAME "lungate-volume"
#define CANONICAL (JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII)

/* Members of version 1, all required. */
static const char *const members[] = {
	"format", "version", "flags",  "uuid",       "size",        "chunk_size", "block_size", "page_size",
	"naa",    "serial",  "parent", "created_ms", "compression", "encryption", "crc32c",
};

static bool
serial_valid(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= BUCKET_SERIAL_MAX &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static bool
volume_valid(const struct bucket_volume *v)
{
	return v->size > 0 && v->size <= INT64_MAX && (v->block_size == 512 || v->block_size == 4096) &&
	       v->size % v->block_size == 0 && is_pow2(v->chunk_size) && v->chunk_size >= BUCKET_CHUNK_MIN &&
	       v->chunk_size <= BUCKET_CHUNK_MAX && (v->size - 1) / v->chunk_size < BUCKET_CHUNKS_MAX &&
	       v->created_ms <= INT64_MAX && serial_valid(v->serial);
}

/** CRC32C of the canonical form of object without its "crc32c". */
static int
canonical_crc(json_t *object, uint32_t *ret)
{
	json_t *copy = json_copy(object);

	if (!copy)
		return -ENOMEM;
	(void)json_object_del(copy, "crc32c"); /* absent while it is being made */
	char *text = json_dumps(copy, CANONICAL);
	json_decref(copy);
	if (!text)
		return -ENOMEM;
	*ret = crc32c(0, text, strlen(text));
	free(text);
	return 0;
}

int
bucket_volume_encode(const struct bucket_volume *vol, char **ret, size_t *ret_len)
{
	char uuid[UUID_TEXT], naa[33], crc_text[9];
	uint32_t crc;

	assert(volume_valid(vol) && !vol->has_parent);
	uuid_format(vol->uuid, uuid);
	for (unsigned i = 0; i < 16; i++)
		(void)snprintf(naa + 2 * i, 3, "%02x", vol->naa[i]);
	json_t *o = json_pack("{s:s, s:i, s:[], s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:n, s:I, s:n, s:n}",
			      "format", FORMAT_NAME, "version", (int)BUCKET_VERSION, "flags", "uuid", uuid,
			      "size", (json_int_t)vol->size, "chunk_size", (json_int_t)vol->chunk_size,
			      "block_size", (json_int_t)vol->block_size, "page_size", (json_int_t)BUCKET_PAGE,
			      "naa", naa, "serial", vol->serial, "parent", "created_ms",
			      (json_int_t)vol->created_ms, "compression", "encryption");
	if (!o || canonical_crc(o, &crc) != 0) {
		json_decref(o);
		return -ENOMEM;
	}
	(void)snprintf(crc_text, sizeof(crc_text), "%08" PRIx32, crc);
	char *text = NULL;
	if (json_object_set_new(o, "crc32c", json_string(crc_text)) == 0)
		text = json_dumps(o, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	json_decref(o);
	if (!text)
		return -ENOMEM;

	size_t n = strlen(text);
	char *line = realloc(text, n + 2);
	if (!line) {
		free(text);
		return -ENOMEM;
	}
	memcpy(line + n, "\n", 2);
	*ret = line;
	*ret_len = n + 1;
	return 0;
}

static int
hex_parse(const char *text, uint8_t *ret, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(text) != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const char *hi = strchr(digits, text[2 * i]), *lo = strchr(digits, text[2 * i + 1]);

		if (!hi || !lo)
			return -EINVAL;
		ret[i] = (uint8_t)((hi - digits) << 4 | (lo - digits));
	}
	return 0;
}

static int
read_uint(json_t *o, const char *key, uint64_t max, uint64_t *ret, struct errinfo *info)
{
	json_t *v = json_object_get(o, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
		return err_set(info, LG_ECORRUPT, "volume.json: \"%s\" is no number from 0 to %" PRIu64, key,
			       max);
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

/** Checksum, then version, then flags and members: what must hold before any value is read. */
static int
check_envelope(json_t *o, struct errinfo *info)
{
	const char *format = json_string_value(json_object_get(o, "format"));
	const char *crc_text = json_string_value(json_object_get(o, "crc32c"));
	uint32_t crc;
	char text[9];

	if (!format || strcmp(format, FORMAT_NAME) != 0 || !crc_text)
		return err_set(info, LG_ECORRUPT, "volume.json is not a lungate volume's");
	if (canonical_crc(o, &crc) != 0)
		return err_set(info, -ENOMEM, "no memory");
	(void)snprintf(text, sizeof(text), "%08" PRIx32, crc);
	if (strcmp(text, crc_text) != 0)
		return err_set(info, LG_ECORRUPT,
			       "volume.json does not match its crc32c: it was changed or damaged");

	json_t *version = json_object_get(o, "version");
	if (!json_is_integer(version) || json_integer_value(version) != BUCKET_VERSION)
		return err_set(info, LG_EFORMAT, "volume.json has a version that this lungate does not know");
	if (!json_is_array(json_object_get(o, "flags")) || json_array_size(json_object_get(o, "flags")) != 0)
		return err_set(info, LG_EFORMAT, "volume.json has flags that this lungate does not know");

	const char *key;
	json_t *value;
	json_object_foreach(o, key, value)
	{
		unsigned i = 0;

		while (i < ARRAY_SIZE(members) && strcmp(members[i], key) != 0)
			i++;
		if (i == ARRAY_SIZE(members))
			return err_set(info, LG_EFORMAT,
				       "volume.json has a member that this lungate does not know");
	}
	static const char *const later[] = {"parent", "compression", "encryption"};
	for (unsigned i = 0; i < ARRAY_SIZE(later); i++)
		if (!json_is_null(json_object_get(o, later[i])))
			return err_set(info, LG_EFORMAT, "volume.json: this lungate cannot use \"%s\"",
				       later[i]);
	return 0;
}

static int
read_members(json_t *o, struct bucket_volume *v, struct errinfo *info)
{
	const char *uuid = json_string_value(json_object_get(o, "uuid"));
	const char *naa = json_string_value(json_object_get(o, "naa"));
	const char *serial = json_string_value(json_object_get(o, "serial"));
	uint64_t chunk, block, page;

	if (!uuid || uuid_parse(uuid, v->uuid) != 0)
		return err_set(info, LG_ECORRUPT, "volume.json: \"uuid\" is not a UUID");
	if (!naa || hex_parse(naa, v->naa, sizeof(v->naa)) != 0)
		return err_set(info, LG_ECORRUPT, "volume.json: \"naa\" is not 32 hex digits");
	if (!serial || !serial_valid(serial))
		return err_set(info, LG_ECORRUPT, "volume.json: \"serial\" is not a serial number");
	memcpy(v->serial, serial, strlen(serial));

	int rc = read_uint(o, "size", INT64_MAX, &v->size, info);
	rc = rc ? rc : read_uint(o, "chunk_size", BUCKET_CHUNK_MAX, &chunk, info);
	rc = rc ? rc : read_uint(o, "block_size", 4096, &block, info);
	rc = rc ? rc : read_uint(o, "page_size", UINT32_MAX, &page, info);
	rc = rc ? rc : read_uint(o, "created_ms", INT64_MAX, &v->created_ms, info);
	if (rc)
		return rc;
	if (page != BUCKET_PAGE)
		return err_set(info, LG_EFORMAT, "volume.json: pages of %" PRIu64 " bytes are not known",
			       page);
	v->chunk_size = (uint32_t)chunk;
	v->block_size = (uint32_t)block;
	if (!volume_valid(v))
		return err_set(info, LG_ECORRUPT, "volume.json: impossible size, chunk size or block size");
	return 0;
}

int
bucket_volume_decode(const void *p, size_t n, struct bucket_volume *ret, struct errinfo *info)
{
	struct bucket_volume v = {0};

	if (n > BUCKET_VOLUME_JSON_MAX)
		return err_set(info, LG_ECORRUPT, "volume.json is too large");
	json_t *o = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(o)) {
		json_decref(o);
		return err_set(info, LG_ECORRUPT, "volume.json is not a JSON object");
	}
	int rc = check_envelope(o, info);
	if (!rc)
		rc = read_members(o, &v, info);
	json_decref(o);
	if (!rc)
		*ret = v;
	return rc;
}
