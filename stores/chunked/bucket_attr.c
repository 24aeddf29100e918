/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Codec of attributes: values by key that travel with the volume and mean nothing
 * to it.  The same bytes stand in section 5 of the root and, cut into
 * pages, in the journal.  Pure functions over byte arrays: no state, no I/O.
 */
#include "stores/chunked/bucket_fmt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/volume.h"

#define ATTR_VERSION 1u

enum { ATTR_AT_VERSION = 0, ATTR_AT_FLAGS = 2, ATTR_AT_LENGTH = 4, ATTR_AT_KEY = 8, ATTR_AT_VALUE = 32 };
_Static_assert(ATTR_AT_VALUE == BUCKET_ATTR_HEADER, "the key ends the header");
_Static_assert(ATTR_AT_VALUE - ATTR_AT_KEY == BUCKET_ATTR_KEY_MAX + 1, "room for the longest key and a NUL");
_Static_assert(BUCKET_ATTR_KEY_MAX == VOLUME_KEY_MAX && BUCKET_ATTR_VALUE_MAX == VOLUME_VALUE_MAX &&
		       BUCKET_ATTRS_MAX == VOLUME_ATTRIBUTES,
	       "what a volume may be given can be kept");

size_t
bucket_attr_bytes(const struct bucket_attr *attr)
{
	return BUCKET_ATTR_HEADER + (size_t)attr->length;
}

void
bucket_attr_encode(const struct bucket_attr *attr, uint8_t *buf)
{
	assert(volume_key_valid(attr->key) && attr->length <= BUCKET_ATTR_VALUE_MAX);
	memset(buf, 0, BUCKET_ATTR_HEADER);
	put_le16(buf + ATTR_AT_VERSION, ATTR_VERSION);
	put_le32(buf + ATTR_AT_LENGTH, attr->length);
	memcpy(buf + ATTR_AT_KEY, attr->key, strlen(attr->key));
	if (attr->length)
		memcpy(buf + ATTR_AT_VALUE, attr->value, attr->length);
}

int
bucket_attr_decode(const void *data, size_t n, struct bucket_attr *ret)
{
	const uint8_t *p = data;
	struct bucket_attr attr = {.value = p + ATTR_AT_VALUE};

	if (n < BUCKET_ATTR_HEADER)
		return LG_ECORRUPT;
	if (get_le16(p + ATTR_AT_VERSION) != ATTR_VERSION || get_le16(p + ATTR_AT_FLAGS) != 0)
		return LG_EFORMAT;
	attr.length = get_le32(p + ATTR_AT_LENGTH);
	if (attr.length > BUCKET_ATTR_VALUE_MAX || attr.length > n - BUCKET_ATTR_HEADER)
		return LG_ECORRUPT;
	memcpy(attr.key, p + ATTR_AT_KEY, sizeof(attr.key));
	if (attr.key[BUCKET_ATTR_KEY_MAX] != 0 || !volume_key_valid(attr.key))
		return LG_ECORRUPT;
	for (size_t i = strlen(attr.key); i < sizeof(attr.key); i++)
		if (attr.key[i])
			return LG_ECORRUPT;
	*ret = attr;
	return 0;
}

/* ---- several, in the root ------------------------------------------------- */

bool
bucket_attrs_valid(const struct bucket_attr *attrs, uint32_t n)
{
	size_t bytes = 0;

	if (n > BUCKET_ATTRS_MAX)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (attrs[i].length == 0 || attrs[i].length > BUCKET_ATTR_VALUE_MAX)
			return false;
		if (i > 0 && strcmp(attrs[i - 1].key, attrs[i].key) >= 0)
			return false;
		bytes += bucket_attr_bytes(&attrs[i]);
	}
	return bytes <= BUCKET_ATTRS_BYTES_MAX;
}

size_t
bucket_attrs_bytes(const struct bucket_attr *attrs, uint32_t n)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < n; i++)
		bytes += bucket_attr_bytes(&attrs[i]);
	return bytes;
}

void
bucket_attrs_encode(const struct bucket_attr *attrs, uint32_t n, uint8_t *buf)
{
	for (uint32_t i = 0; i < n; i++) {
		bucket_attr_encode(&attrs[i], buf);
		buf += bucket_attr_bytes(&attrs[i]);
	}
}

int
bucket_attrs_decode(const uint8_t *p, size_t bytes, uint32_t n, struct bucket_attr *attrs)
{
	for (uint32_t i = 0; i < n; i++) {
		int rc = bucket_attr_decode(p, bytes, &attrs[i]);

		if (rc)
			return rc;
		p += bucket_attr_bytes(&attrs[i]);
		bytes -= bucket_attr_bytes(&attrs[i]);
	}
	return bytes ? LG_ECORRUPT : 0;
}
