/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The front of every object store: opens by URL, checks keys and arguments once for all, counts, and lets
 * threads that may block call as if it were a function.
 *
 * A request: object_submit() -> ops->submit -> object_done() on its loop -> done().  What is refused here is
 * completed by a message of its own, since done never runs inside object_submit().
 *
 * Threads: a request lives on the loop that submitted it; the store itself is shared by all.
 */
#include "stores/object/object.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "stores/object/store.h"

#define LIST_MAX 1000u

/* ---- keys and arguments ---- */

static bool
key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
	       c == '_' || c == '-';
}

/* n bytes of segments; with `open` the last one may be empty: a prefix that ends in '/' */
static bool
segments_valid(const char *key, size_t n, bool open)
{
	bool first = true; /* of a segment; one that starts with '.' is refused, "." and ".." with it */

	for (size_t i = 0; i < n; i++) {
		if (key[i] == '/' ? first : !key_char(key[i]) || (first && key[i] == '.'))
			return false;
		first = key[i] == '/';
	}
	return !first || (open && n);
}

bool
object_key_valid(const char *key)
{
	size_t n = key ? strnlen(key, OBJECT_KEY_MAX + 1) : 0;

	return n && n <= OBJECT_KEY_MAX && segments_valid(key, n, false);
}

static bool
prefix_valid(const char *prefix)
{
	size_t n = prefix ? strnlen(prefix, OBJECT_KEY_MAX + 1) : OBJECT_KEY_MAX + 1;

	return n <= OBJECT_KEY_MAX && (!n || segments_valid(prefix, n, true));
}

uint64_t
object_iov_bytes(const struct iovec *iov, int niov)
{
	uint64_t n = 0;

	for (int i = 0; i < niov; i++)
		n += iov[i].iov_len;
	return n;
}

static int
check_put(const struct object_req *req)
{
	if (req->niov < 0 || (req->if_absent && req->if_match) || (req->copy_from && req->niov))
		return -EINVAL;
	if (req->copy_from && !req->store->ops->copies)
		return -EOPNOTSUPP;
	if (req->if_match &&
	    (!req->if_match[0] || strnlen(req->if_match, OBJECT_ETAG_MAX) == OBJECT_ETAG_MAX))
		return -EINVAL;
	return object_key_valid(req->key) ? 0 : -EINVAL;
}

static int
check_get(const struct object_req *req)
{
	if (req->niov < 0 || !object_key_valid(req->key))
		return -EINVAL;
	if (!req->length)
		return req->offset ? -EINVAL : 0;
	if (req->length > object_iov_bytes(req->iov, req->niov))
		return -EINVAL;
	return req->offset != GET_SUFFIX && req->offset + req->length < req->offset ? -EINVAL : 0;
}

static int
check_head(const struct object_req *req)
{
	return object_key_valid(req->key) ? 0 : -EINVAL;
}

static int
check_delete(const struct object_req *req)
{
	if (req->nkeys > OBJECT_DELETE_MAX)
		return -EINVAL;
	for (size_t i = 0; i < req->nkeys; i++)
		if (!object_key_valid(req->keys[i]))
			return -EINVAL;
	return 0;
}

static int
check_list(const struct object_req *req)
{
	return prefix_valid(req->key) && req->max_keys >= 1 && req->max_keys <= LIST_MAX ? 0 : -EINVAL;
}

static int (*const checks[OBJECT_OP_COUNT])(const struct object_req *req) = {
	[OBJECT_PUT] = check_put,       [OBJECT_GET] = check_get,   [OBJECT_HEAD] = check_head,
	[OBJECT_DELETE] = check_delete, [OBJECT_LIST] = check_list,
};

/* ---- requests ---- */

static void
refused(struct loop_msg *msg)
{
	struct object_req *req = container_of(msg, struct object_req, work.msg);

	object_done(req, req->status);
}

void
object_submit(struct object_req *req)
{
	int rc;

	assert((unsigned)req->op < OBJECT_OP_COUNT);
	req->loop = loop_current();
	assert(req->loop);
	req->start_ns = clock_ns();
	req->etag[0] = '\0';
	req->size = 0;
	req->entries = NULL;
	req->nentries = 0;
	req->truncated = false;
	req->priv = NULL;
	rc = checks[req->op](req);
	if (!rc) {
		req->store->ops->submit(req);
		return;
	}
	req->status = rc;
	req->work.msg.fn = refused;
	loop_post(req->loop, &req->work.msg);
}

void
object_done(struct object_req *req, int status)
{
	struct object_stats *stats = &req->store->stats;

	assert(loop_current() == req->loop && status <= 0);
	req->status = status;
	atomic_fetch_add_explicit(&stats->ops[req->op], 1, memory_order_relaxed);
	if (status) {
		atomic_fetch_add_explicit(&stats->errors[req->op], 1, memory_order_relaxed);
		object_entries_free(req->entries, req->nentries);
		req->entries = NULL;
		req->nentries = 0;
	} else if (req->op == OBJECT_PUT) {
		atomic_fetch_add_explicit(&stats->bytes_put, object_iov_bytes(req->iov, req->niov),
					  memory_order_relaxed);
	} else if (req->op == OBJECT_GET) {
		atomic_fetch_add_explicit(&stats->bytes_got, req->length ? req->length : req->size,
					  memory_order_relaxed);
	}
	if (status || !req->truncated) {
		free(req->token);
		req->token = NULL;
	}
	req->done(req);
}

int
object_get_range(const struct object_req *req, uint64_t size, uint64_t *ret_offset, uint64_t *ret_length)
{
	if (!req->length) {
		*ret_offset = 0;
		*ret_length = size;
		return size > object_iov_bytes(req->iov, req->niov) ? -EFBIG : 0;
	}
	if (req->length > size || (req->offset != GET_SUFFIX && req->offset > size - req->length))
		return -ENODATA;
	*ret_offset = req->offset == GET_SUFFIX ? size - req->length : req->offset;
	*ret_length = req->length;
	return 0;
}

int
object_list_add(struct object_req *req, const char *key, uint64_t size)
{
	char *copy = strdup(key);

	if (!req->entries)
		req->entries = calloc(req->max_keys, sizeof(*req->entries));
	if (!copy || !req->entries) {
		free(copy);
		return -ENOMEM;
	}
	assert(req->nentries < req->max_keys);
	req->entries[req->nentries++] = (struct object_entry){copy, size};
	return 0;
}

int
object_list_more(struct object_req *req)
{
	assert(req->nentries);
	free(req->token);
	req->token = strdup(req->entries[req->nentries - 1].key);
	req->truncated = true;
	return req->token ? 0 : -ENOMEM;
}

void
object_entries_free(struct object_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(entries[i].key);
	free(entries);
}

/* ---- from threads that may block ---- */

struct call {
	struct object_req req;
	struct loop_msg msg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool finished;
};

static void
call_done(struct object_req *req)
{
	struct call *c = container_of(req, struct call, req);

	pthread_mutex_lock(&c->lock);
	c->finished = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static void
call_start(struct loop_msg *msg)
{
	object_submit(&container_of(msg, struct call, msg)->req);
}

int
object_call(struct loop *loop, struct object_req *req)
{
	struct call c = {.req = *req, .msg.fn = call_start};

	assert(!loop_current());
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.cond, NULL);
	c.req.done = call_done;
	loop_post(loop, &c.msg);
	pthread_mutex_lock(&c.lock);
	while (!c.finished)
		pthread_cond_wait(&c.cond, &c.lock);
	pthread_mutex_unlock(&c.lock);
	pthread_cond_destroy(&c.cond);
	pthread_mutex_destroy(&c.lock);
	req->status = c.req.status;
	memcpy(req->etag, c.req.etag, sizeof(req->etag));
	req->size = c.req.size;
	req->entries = c.req.entries;
	req->nentries = c.req.nentries;
	req->truncated = c.req.truncated;
	req->token = c.req.token;
	return req->status;
}

/* ---- opening ---- */

static const struct {
	const char *prefix;
	bool keep; /* the prefix is part of the path */
	object_open_fn *open;
} kinds[] = {
	{"dir:", false, dir_store_open},
	{"mem:", false, mem_store_open},
	{"s3://", false, s3_store_open},
	{"/", true, dir_store_open},
};

int
object_store_open(const char *url, struct vfs *vfs, bool create, struct object_store **ret,
		  struct errinfo *info)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].prefix);

		if (!strncmp(url, kinds[i].prefix, n))
			return kinds[i].open(kinds[i].keep ? url : url + n, vfs ? vfs : vfs_posix(), create,
					     ret, info);
	}
	return err_set(
		info, LG_ECONFIG,
		"object store \"%s\": not a known kind; use \"s3://bucket/prefix?endpoint=...\", \"dir:/path\" (a directory) or "
		"\"mem:\" (for tests)",
		url);
}

void
object_store_describe(struct object_store *store, struct object_description *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->if_match = "";
	if (store->ops->describe)
		store->ops->describe(store, ret);
}

void
object_stores_reload(void)
{
	s3_stores_reload();
}

void
object_limits_set(const struct object_limits *limits)
{
	s3_limits_set(limits);
}

void
object_store_free(struct object_store *store)
{
	if (store)
		store->ops->free(store);
}
