/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * volume.json, owner and root for threads that may block: opening, creating,
 * deleting.  Nothing outside stores/chunked includes this.
 *
 * Errors: 0; -ENOENT; LG_ECONFLICT when a swap lost; else the store's or the codec's.  etag: OBJECT_ETAG_MAX bytes.
 */
#ifndef LUNGATE_STORES_CHUNKED_OWNER_H
#define LUNGATE_STORES_CHUNKED_OWNER_H

#include "stores/chunked/bucket_fmt.h"
#include "stores/object/object.h"

struct bucket {
	struct object_store *store;
	struct loop *loop;
	const char *prefix;
};

uint64_t bucket_now_ms(void);
int volume_json_get(const struct bucket *b, struct bucket_volume *ret, struct errinfo *info) MUST_CHECK;
/** -EEXIST when there is one. */
int volume_json_create(const struct bucket *b, const struct bucket_volume *vol) MUST_CHECK;
/** uuid NULL: of whatever volume it is. */
int owner_get(const struct bucket *b, const uint8_t *uuid, struct bucket_owner *ret, char *etag) MUST_CHECK;
/** Nonce, counter and time are made here; create: there must be none.  The new etag replaces the old one. */
int owner_swap(const struct bucket *b, struct bucket_owner *owner, char *etag, bool create) MUST_CHECK;
/** bucket_root_fini() what it returns. */
int root_get(const struct bucket *b, const uint8_t *uuid, struct bucket_root *ret, char *etag) MUST_CHECK;
int root_swap(const struct bucket *b, struct bucket_root *root, char *etag, bool create) MUST_CHECK;

#endif
