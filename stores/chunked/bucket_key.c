/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys of a volume's objects in the bucket: text to structs and back.  Pure functions: no state, no I/O. */
#include "stores/chunked/bucket_fmt.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static bool
snapshot_name_valid(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > BUCKET_SNAPSHOT_NAME_MAX || s[0] == '.')
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/** The part after the prefix; length as snprintf. */
static int
key_tail(const struct bucket_key *k, char *buf, size_t len)
{
	unsigned long long number = k->number;

	switch (k->kind) {
	case BUCKET_KEY_VOLUME:
		return snprintf(buf, len, "volume.json");
	case BUCKET_KEY_OWNER:
		return snprintf(buf, len, "owner");
	case BUCKET_KEY_ROOT:
		return snprintf(buf, len, "root");
	case BUCKET_KEY_BASE:
		return snprintf(buf, len, "c/%02x/%08x.%08x.%016llx", k->index & 0xff, k->index,
				k->generation, number);
	case BUCKET_KEY_LEAF:
		return snprintf(buf, len, "m/%08x.%016llx.l%08x", k->generation, number, k->index);
	case BUCKET_KEY_DELTA:
		return snprintf(buf, len, "m/%08x.%016llx.d", k->generation, number);
	case BUCKET_KEY_SEGMENT:
		return snprintf(buf, len, "s/%02x/%08x.%016llx", (unsigned)(number & 0xff), k->generation,
				number);
	case BUCKET_KEY_LOG:
		return snprintf(buf, len, "l/%08x.%016llx", k->generation, number);
	case BUCKET_KEY_SNAPSHOT:
		assert(snapshot_name_valid(k->name));
		return snprintf(buf, len, "snapshot/%s", k->name);
	}
	assert(!"key kind");
	return -EINVAL;
}

int
bucket_key_format(const struct bucket_key *key, const char *prefix, char *buf, size_t len)
{
	char tail[BUCKET_KEY_MAX];
	int n = key_tail(key, tail, sizeof(tail));

	assert(n > 0 && (size_t)n < sizeof(tail));
	n = snprintf(buf, len, "%s%s%s", prefix, *prefix ? "/" : "", tail);
	return n > 0 && (size_t)n < len ? n : -ENAMETOOLONG;
}

int
bucket_key_base(const char *prefix, uint32_t index, uint32_t generation, uint64_t seq, char *buf, size_t len)
{
	struct bucket_key k = {
		.kind = BUCKET_KEY_BASE, .index = index, .generation = generation, .number = seq};

	return bucket_key_format(&k, prefix, buf, len);
}

int
bucket_key_entry(const char *prefix, uint64_t chunk, struct bucket_entry entry, char *buf, size_t len)
{
	return bucket_key_base(prefix, bucket_entry_origin(entry, chunk), entry.generation,
			       bucket_entry_seq(entry), buf, len);
}

int
bucket_key_leaf(const char *prefix, const struct bucket_leaf_ref *ref, char *buf, size_t len)
{
	struct bucket_key k = {
		.kind = BUCKET_KEY_LEAF,
		.index = ref->leaf,
		.generation = ref->generation,
		.number = ref->commit,
	};

	return bucket_key_format(&k, prefix, buf, len);
}

/** Exactly `digits` lower-case hex digits; moves *s behind them. */
static bool
take_hex(const char **s, unsigned digits, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < digits; i++) {
		char c = (*s)[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*s += digits;
	*ret = v;
	return true;
}

static bool
take_char(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

/** "GEN8.NUMBER16". */
static bool
take_versioned(const char **s, struct bucket_key *k)
{
	uint64_t generation;

	if (!take_hex(s, 8, &generation) || !take_char(s, '.') || !take_hex(s, 16, &k->number))
		return false;
	k->generation = (uint32_t)generation;
	return true;
}

static bool
parse_data(const char *s, struct bucket_key *k)
{
	uint64_t shard, v;

	if (*s == 0 || s[1] != '/')
		return false;
	char room = *s;
	s += 2;
	switch (room) {
	case 'c':
		k->kind = BUCKET_KEY_BASE;
		if (!take_hex(&s, 2, &shard) || !take_char(&s, '/') || !take_hex(&s, 8, &v) ||
		    !take_char(&s, '.') || !take_versioned(&s, k) || shard != (v & 0xff))
			return false;
		k->index = (uint32_t)v;
		break;
	case 's':
		k->kind = BUCKET_KEY_SEGMENT;
		if (!take_hex(&s, 2, &shard) || !take_char(&s, '/') || !take_versioned(&s, k) ||
		    shard != (k->number & 0xff))
			return false;
		break;
	case 'l':
		k->kind = BUCKET_KEY_LOG;
		if (!take_versioned(&s, k))
			return false;
		break;
	case 'm':
		if (!take_versioned(&s, k) || !take_char(&s, '.'))
			return false;
		if (take_char(&s, 'd')) {
			k->kind = BUCKET_KEY_DELTA;
			break;
		}
		k->kind = BUCKET_KEY_LEAF;
		if (!take_char(&s, 'l') || !take_hex(&s, 8, &v))
			return false;
		k->index = (uint32_t)v;
		break;
	default:
		return false;
	}
	return *s == 0;
}

int
bucket_key_parse(const char *key, const char *prefix, struct bucket_key *ret)
{
	static const char snapshot[] = "snapshot/";
	struct bucket_key k = {0};
	size_t n = strlen(prefix);

	if (n) {
		if (strncmp(key, prefix, n) != 0 || key[n] != '/')
			return -EINVAL;
		key += n + 1;
	}
	if (strcmp(key, "volume.json") == 0) {
		k.kind = BUCKET_KEY_VOLUME;
	} else if (strcmp(key, "owner") == 0) {
		k.kind = BUCKET_KEY_OWNER;
	} else if (strcmp(key, "root") == 0) {
		k.kind = BUCKET_KEY_ROOT;
	} else if (strncmp(key, snapshot, sizeof(snapshot) - 1) == 0) {
		key += sizeof(snapshot) - 1;
		if (!snapshot_name_valid(key))
			return -EINVAL;
		k.kind = BUCKET_KEY_SNAPSHOT;
		memcpy(k.name, key, strlen(key));
	} else if (!parse_data(key, &k)) {
		return -EINVAL;
	}
	*ret = k;
	return 0;
}
