/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the object stores share among themselves.
 *
 * Threads: any.
 */
#ifndef LUNGATE_STORES_OBJECT_STORE_H
#define LUNGATE_STORES_OBJECT_STORE_H

#include "stores/object/object.h"

/** The open function of each kind; rest is the URL behind its prefix. */
typedef int object_open_fn(const char *rest, struct vfs *vfs, bool create, struct object_store **ret,
			   struct errinfo *info);
object_open_fn dir_store_open;
object_open_fn mem_store_open;
object_open_fn s3_store_open;

void s3_stores_reload(void);
void s3_limits_set(const struct object_limits *limits);

/** What a GET asks for, given the object's size: the bytes [*ret_offset, *ret_offset + *ret_length) of it go to
 *  the beginning of iov.  0, -ENODATA, -EFBIG. */
int object_get_range(const struct object_req *req, uint64_t size, uint64_t *ret_offset, uint64_t *ret_length);

/** Room in an iov. */
uint64_t object_iov_bytes(const struct iovec *iov, int niov);

/** Append to a LIST's result: 0 or -ENOMEM.  The array has room for max_keys. */
int object_list_add(struct object_req *req, const char *key, uint64_t size);
/** There are more than these: truncated, and a token that is the last key. */
int object_list_more(struct object_req *req);

#endif
