/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gotgt's layout; the format stands in object.h. */
#include "stores/object/object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"

#define META_KEY "_metadata"
#define META_MAX 4096u
#define CHUNK_PREFIX "chunk_"
#define INDEX_DIGITS 10u
#define PAGE_KEYS 1000u

/* A positive integer member; false when it is none. */
static bool
positive(const json_t *object, const char *key, uint64_t *ret)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) <= 0)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

int
gotgt_look(struct object_store *store, struct loop *loop, struct gotgt *ret, struct errinfo *info)
{
	char text[META_MAX];
	struct iovec iov = {text, sizeof(text)};
	struct object_req req = {.store = store, .op = OBJECT_GET, .key = META_KEY, .iov = &iov, .niov = 1};
	json_t *object;
	bool good;
	int r = object_call(loop, &req);

	if (r == -ENOENT)
		return err_set(info, r, "there is no volume of gotgt: no object " META_KEY);
	if (r)
		return err_set(info, r, META_KEY ": %s", err_text(r));
	object = json_loadb(text, req.size, 0, NULL);
	good = positive(object, "deviceSize", &ret->size) && positive(object, "chunkSize", &ret->chunk_size);
	json_decref(object);
	if (!good || ret->chunk_size > GOTGT_CHUNK_MAX)
		return err_set(info, LG_EPROTO,
			       META_KEY ": it is not gotgt's: deviceSize and chunkSize are missing, or "
					"chunks are larger than 64 MiB");
	return 0;
}

/* "chunk_0000000012" */
static bool
index_of(const char *key, uint64_t *ret)
{
	const char *digits = key + strlen(CHUNK_PREFIX);
	uint64_t v = 0;
	size_t n = 0;

	if (strncmp(key, CHUNK_PREFIX, strlen(CHUNK_PREFIX)) != 0)
		return false;
	for (; digits[n] >= '0' && digits[n] <= '9' && n < 19; n++)
		v = v * 10 + (uint64_t)(digits[n] - '0');
	*ret = v;
	/* the format pads to ten digits, and is longer where they do not suffice */
	return !digits[n] && (n == INDEX_DIGITS || (n > INDEX_DIGITS && digits[0] != '0'));
}

static int
by_index(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int
take_page(const struct object_req *req, const struct gotgt *gotgt, uint64_t **list, size_t *n)
{
	uint64_t end = (gotgt->size + gotgt->chunk_size - 1) / gotgt->chunk_size, index;
	uint64_t *grown = realloc(*list, (*n + req->nentries + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*list = grown;
	for (size_t i = 0; i < req->nentries;
	     i++) /* gotgt may have written beyond the end; nobody can read it */
		if (index_of(req->entries[i].key, &index) && index < end)
			grown[(*n)++] = index;
	return 0;
}

int
gotgt_chunks(struct object_store *store, struct loop *loop, const struct gotgt *gotgt, uint64_t **ret,
	     size_t *ret_n, struct errinfo *info)
{
	struct object_req req = {
		.store = store, .op = OBJECT_LIST, .key = CHUNK_PREFIX, .max_keys = PAGE_KEYS};
	uint64_t *list = NULL;
	size_t n = 0;
	int r;

	do {
		r = object_call(loop, &req);
		if (!r)
			r = take_page(&req, gotgt, &list, &n);
		object_entries_free(req.entries, req.nentries);
		req.entries = NULL;
		req.nentries = 0;
	} while (!r && req.truncated);
	if (r) {
		free(req.token);
		free(list);
		return err_set(info, r, "the list of chunks: %s", err_text(r));
	}
	if (n)
		qsort(list, n, sizeof(*list), by_index);
	*ret = list;
	*ret_n = n;
	return 0;
}

int
gotgt_read(struct object_store *store, struct loop *loop, const struct gotgt *gotgt, uint64_t index,
	   uint8_t *buf, struct errinfo *info)
{
	char key[64];
	struct iovec iov = {buf, gotgt->chunk_size};
	struct object_req req = {.store = store, .op = OBJECT_HEAD, .key = key};
	uint64_t have;
	int r;

	(void)snprintf(key, sizeof(key), CHUNK_PREFIX "%010llu", (unsigned long long)index);
	r = object_call(loop, &req);
	have = min_of(req.size, gotgt->chunk_size);
	if (!r && have) {
		req = (struct object_req){
			.store = store, .op = OBJECT_GET, .key = key, .iov = &iov, .niov = 1, .length = have};
		r = object_call(loop, &req);
	}
	if (r)
		return err_set(info, r, "%s: %s", key, err_text(r));
	memset(buf + have, 0, gotgt->chunk_size - have);
	return 0;
}

void
gotgt_words(const struct gotgt *gotgt, char *out, size_t room)
{
	char size[16], chunk[16];

	(void)snprintf(out, room, "a volume of gotgt, %s in chunks of %s",
		       size_format(gotgt->size, size, sizeof(size)),
		       size_format(gotgt->chunk_size, chunk, sizeof(chunk)));
}
