/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The objects that are swapped, for threads that may block: get and swap of
 * `owner` and `root`, get of volume.json.
 *
 * A swap whose answer is lost, and one that was refused after an answer may have been lost, is settled by
 * reading back: our nonce is in it, or it did not happen.
 *
 * Thread: any that may block.
 */
#include "stores/chunked/owner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t
bucket_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int
get(const struct bucket *b, enum bucket_key_kind kind, void *buf, size_t room, size_t *ret_n, char *etag)
{
	struct bucket_key key = {.kind = kind};
	char text[OBJECT_KEY_MAX + 1];
	struct iovec iov = {buf, room};
	struct object_req req = {.store = b->store, .op = OBJECT_GET, .key = text, .iov = &iov, .niov = 1};
	int r = bucket_key_format(&key, b->prefix, text, sizeof(text));

	if (r < 0)
		return r;
	r = object_call(b->loop, &req);
	if (r < 0)
		return r;
	*ret_n = (size_t)req.size;
	if (etag)
		memcpy(etag, req.etag, OBJECT_ETAG_MAX);
	return 0;
}

static int
put(const struct bucket *b, enum bucket_key_kind kind, const void *buf, size_t n, char *etag, bool create)
{
	struct bucket_key key = {.kind = kind};
	char text[OBJECT_KEY_MAX + 1];
	struct iovec iov = {(void *)(uintptr_t)buf, n}; /* only read */
	struct object_req req = {.store = b->store,
				 .op = OBJECT_PUT,
				 .key = text,
				 .iov = &iov,
				 .niov = 1,
				 .if_absent = create,
				 .if_match = create ? NULL : etag};
	int r = bucket_key_format(&key, b->prefix, text, sizeof(text));

	if (r < 0)
		return r;
	r = object_call(b->loop, &req);
	if (r == 0 && etag)
		memcpy(etag, req.etag, OBJECT_ETAG_MAX);
	return r;
}

int
volume_json_get(const struct bucket *b, struct bucket_volume *ret, struct errinfo *info)
{
	char *text = malloc(BUCKET_VOLUME_JSON_MAX);
	size_t n;

	if (!text)
		return -ENOMEM;
	int r = get(b, BUCKET_KEY_VOLUME, text, BUCKET_VOLUME_JSON_MAX, &n, NULL);
	if (r < 0)
		err_set(info, r, "volume.json: %s", err_text(r));
	else
		r = bucket_volume_decode(text, n, ret, info);
	free(text);
	return r;
}

int
volume_json_create(const struct bucket *b, const struct bucket_volume *vol)
{
	char *text;
	size_t n;
	int r = bucket_volume_encode(vol, &text, &n);

	if (r < 0)
		return r;
	r = put(b, BUCKET_KEY_VOLUME, text, n, NULL, true);
	free(text);
	return r;
}

int
owner_get(const struct bucket *b, const uint8_t *uuid, struct bucket_owner *ret, char *etag)
{
	uint8_t buf[BUCKET_OWNER_BYTES];
	size_t n;
	int r = get(b, BUCKET_KEY_OWNER, buf, sizeof(buf), &n, etag);

	if (r < 0)
		return r == -EFBIG ? LG_ECORRUPT : r;
	/* every object has its uuid after magic 8, version 4, flags 4 */
	if (!uuid && n == sizeof(buf))
		uuid = buf + 16;
	return uuid ? bucket_owner_decode(buf, n, uuid, ret) : LG_ECORRUPT;
}

int
owner_swap(const struct bucket *b, struct bucket_owner *owner, char *etag, bool create)
{
	uint8_t buf[BUCKET_OWNER_BYTES];
	struct bucket_owner found;
	char now[OBJECT_ETAG_MAX];

	random_bytes(owner->nonce, sizeof(owner->nonce));
	owner->counter++;
	owner->time_ms = bucket_now_ms();
	bucket_owner_encode(owner, buf);
	int r = put(b, BUCKET_KEY_OWNER, buf, sizeof(buf), etag, create);
	if (r == 0)
		return 0;
	if (owner_get(b, owner->uuid, &found, now) == 0 &&
	    !memcmp(found.nonce, owner->nonce, BUCKET_NONCE_LEN)) {
		memcpy(etag, now, OBJECT_ETAG_MAX);
		return 0;
	}
	return r == -EEXIST || r == -ENOENT ? LG_ECONFLICT : r;
}

int
root_get(const struct bucket *b, const uint8_t *uuid, struct bucket_root *ret, char *etag)
{
	uint8_t *buf = malloc(BUCKET_ROOT_MAX);
	size_t n;

	if (!buf)
		return -ENOMEM;
	int r = get(b, BUCKET_KEY_ROOT, buf, BUCKET_ROOT_MAX, &n, etag);
	if (r == 0)
		r = bucket_root_decode(buf, n, uuid, ret);
	else if (r == -EFBIG)
		r = LG_ECORRUPT;
	free(buf);
	return r;
}

int
root_swap(const struct bucket *b, struct bucket_root *root, char *etag, bool create)
{
	size_t n = bucket_root_bytes(root);
	uint8_t *buf = malloc(n);
	struct bucket_root found;
	char now[OBJECT_ETAG_MAX];

	if (!buf)
		return -ENOMEM;
	random_bytes(root->nonce, sizeof(root->nonce));
	root->time_ms = bucket_now_ms();
	bucket_root_encode(root, buf);
	int r = put(b, BUCKET_KEY_ROOT, buf, n, etag, create);
	free(buf);
	if (r == 0)
		return 0;
	if (root_get(b, root->uuid, &found, now) == 0) {
		bool ours = !memcmp(found.nonce, root->nonce, BUCKET_NONCE_LEN);

		bucket_root_fini(&found);
		if (ours) {
			memcpy(etag, now, OBJECT_ETAG_MAX);
			return 0;
		}
	}
	return r == -EEXIST || r == -ENOENT ? LG_ECONFLICT : r;
}
