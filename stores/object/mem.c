/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The object store in memory, for tests: a sorted table under one mutex.
 *
 * "mem:NAME" is one and the same table for everybody in this process until it ends, so that a volume that was
 * created can be opened; "mem:" is the one without a name.
 *
 * A request is carried out inside submit and completed by a message: done never runs before submit returns.
 *
 * Threads: any loop.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "stores/object/store.h"

struct object {
	char *key;
	uint8_t *data;
	uint64_t size;
	uint64_t version; /* the etag */
};

struct table {
	struct table *next;
	char *name;
	pthread_mutex_t lock;
	struct object *objects; /* sorted by key */
	size_t n, room;
	uint64_t version;
};

struct mem_store {
	struct object_store store;
	struct table *table;
};

static pthread_mutex_t tables_lock = PTHREAD_MUTEX_INITIALIZER;
static struct table *tables;

/* the place of key, or where it belongs */
static size_t
find(const struct table *t, const char *key, bool *found)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(t->objects[mid].key, key);

		if (!c) {
			*found = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*found = false;
	return lo;
}

static void
etag_format(uint64_t version, char etag[OBJECT_ETAG_MAX])
{
	(void)snprintf(etag, OBJECT_ETAG_MAX, "\"%016llx\"", (unsigned long long)version);
}

static uint8_t *
gather(const struct iovec *iov, int niov, uint64_t *ret_n)
{
	uint64_t n = object_iov_bytes(iov, niov), at = 0;
	uint8_t *p = malloc(n ? n : 1);

	for (int i = 0; p && i < niov; i++) {
		if (iov[i].iov_len)
			memcpy(p + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	*ret_n = n;
	return p;
}

static int
insert(struct table *t, size_t at, const char *key)
{
	char *copy = strdup(key);

	if (copy && t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		struct object *objects = realloc(t->objects, room * sizeof(*objects));

		if (objects) {
			t->objects = objects;
			t->room = room;
		}
	}
	if (!copy || t->n == t->room) {
		free(copy);
		return -ENOMEM;
	}
	memmove(t->objects + at + 1, t->objects + at, (t->n - at) * sizeof(*t->objects));
	t->objects[at] = (struct object){.key = copy};
	t->n++;
	return 0;
}

static int
put_check(const struct object_req *req, const struct object *old)
{
	char etag[OBJECT_ETAG_MAX];

	if (req->if_absent)
		return old ? -EEXIST : 0;
	if (!req->if_match)
		return 0;
	if (!old)
		return -ENOENT;
	etag_format(old->version, etag);
	return strcmp(etag, req->if_match) ? LG_ECONFLICT : 0;
}

static int
mem_put(struct table *t, struct object_req *req)
{
	bool found;
	size_t i = find(t, req->key, &found);
	uint64_t size;
	uint8_t *data;
	int rc = put_check(req, found ? &t->objects[i] : NULL);

	if (rc)
		return rc;
	data = gather(req->iov, req->niov, &size);
	if (!data)
		return -ENOMEM;
	if (!found) {
		rc = insert(t, i, req->key);
		if (rc) {
			free(data);
			return rc;
		}
	}
	free(t->objects[i].data);
	t->objects[i].data = data;
	t->objects[i].size = size;
	t->objects[i].version = ++t->version;
	etag_format(t->version, req->etag);
	return 0;
}

static int
mem_head(struct table *t, struct object_req *req)
{
	bool found;
	size_t i = find(t, req->key, &found);

	if (!found)
		return -ENOENT;
	req->size = t->objects[i].size;
	etag_format(t->objects[i].version, req->etag);
	return 0;
}

static int
mem_get(struct table *t, struct object_req *req)
{
	bool found;
	size_t at = find(t, req->key, &found);
	uint64_t offset, length, got = 0;
	int rc = mem_head(t, req);

	if (!rc)
		rc = object_get_range(req, req->size, &offset, &length);
	for (int i = 0; !rc && i < req->niov && length; i++) {
		uint64_t k = min_of(length, req->iov[i].iov_len);

		if (k)
			memcpy(req->iov[i].iov_base, t->objects[at].data + offset, k);
		if (k && req->arrived)
			req->arrived(req, got, req->iov[i].iov_base, k);
		got += k;
		offset += k;
		length -= k;
	}
	return rc;
}

static int
mem_delete(struct table *t, struct object_req *req)
{
	for (size_t k = 0; k < req->nkeys; k++) {
		bool found;
		size_t i = find(t, req->keys[k], &found);

		if (!found)
			continue;
		free(t->objects[i].key);
		free(t->objects[i].data);
		memmove(t->objects + i, t->objects + i + 1, (t->n - i - 1) * sizeof(*t->objects));
		t->n--;
	}
	return 0;
}

static int
mem_list(struct table *t, struct object_req *req)
{
	const char *after = req->token ? req->token : "";
	size_t n = strlen(req->key);
	bool found = false, past = strcmp(after, req->key) >= 0;
	size_t i = find(t, past ? after : req->key, &found);
	int rc = 0;

	i += found && past;
	for (; !rc && i < t->n && !strncmp(t->objects[i].key, req->key, n); i++) {
		if (req->nentries == req->max_keys) {
			rc = object_list_more(req);
			break;
		}
		rc = object_list_add(req, t->objects[i].key, t->objects[i].size);
	}
	return rc;
}

static int (*const calls[OBJECT_OP_COUNT])(struct table *t, struct object_req *req) = {
	[OBJECT_PUT] = mem_put,       [OBJECT_GET] = mem_get,   [OBJECT_HEAD] = mem_head,
	[OBJECT_DELETE] = mem_delete, [OBJECT_LIST] = mem_list,
};

static void
mem_done(struct loop_msg *msg)
{
	struct object_req *req = container_of(msg, struct object_req, work.msg);

	object_done(req, req->status);
}

static void
mem_submit(struct object_req *req)
{
	struct mem_store *ms = container_of(req->store, struct mem_store, store);

	pthread_mutex_lock(&ms->table->lock);
	req->status = calls[req->op](ms->table, req);
	pthread_mutex_unlock(&ms->table->lock);
	req->work.msg.fn = mem_done;
	loop_post(req->loop, &req->work.msg);
}

static void
mem_free(struct object_store *store)
{
	free(container_of(store, struct mem_store, store));
}

static const struct object_ops mem_ops = {.kind = "mem", .submit = mem_submit, .free = mem_free};

static struct table *
table_get(const char *name)
{
	struct table *t;

	pthread_mutex_lock(&tables_lock);
	for (t = tables; t && strcmp(t->name, name); t = t->next)
		;
	if (!t && (t = calloc(1, sizeof(*t)))) {
		t->name = strdup(name);
		pthread_mutex_init(&t->lock, NULL);
		t->next = tables;
		if (t->name) {
			tables = t;
		} else {
			free(t);
			t = NULL;
		}
	}
	pthread_mutex_unlock(&tables_lock);
	return t;
}

int
mem_store_open(const char *rest, struct vfs *vfs, bool create, struct object_store **ret,
	       struct errinfo *info)
{
	struct mem_store *ms = calloc(1, sizeof(*ms));

	(void)vfs;
	(void)create;
	if (ms)
		ms->table = table_get(rest);
	if (!ms || !ms->table) {
		free(ms);
		return err_set(info, -ENOMEM, "object store \"mem:%s\": no memory", rest);
	}
	ms->store.ops = &mem_ops;
	(void)snprintf(ms->store.url, sizeof(ms->store.url), "mem:%s", rest);
	*ret = &ms->store;
	return 0;
}
