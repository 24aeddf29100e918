/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attributes: values by key that travel with the volume and mean nothing to it.
 *
 *   PUT   gate -> memory -> accept -> durable in the journal (durability=store: under a root) -> answered
 *   GET   the last value that is durable
 *
 * There are few and they are small, so all of them are in memory, in the root of each commit, and in the
 * journal as one append a change.  A value never changes: a change puts another one in its place.
 *
 * Two tables: `attrs` as accepted, which a commit freezes with the dirty set; `attrs_durable` follows it, in
 * the same order, as appends end, and is what GET shows.  So a change that the journal did not take is never shown.
 *
 * Invariant: what `attrs` holds fits a root (attrs_fit() before acceptance).
 *
 * Failure: before acceptance a change is answered with its error and leaves nothing behind; a failed append
 * poisons the volume (wop.c), and what a restart finds is the old value or the new one.
 *
 * Thread: the volume's loop; attrs_load() and attrs_replay() on open's thread.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"

struct attr_value {
	unsigned refs;
	uint32_t length; /* 0: a removal */
	char key[BUCKET_ATTR_KEY_MAX + 1];
	uint8_t bytes[]; /* as the codec writes it */
};

/** A change on its way. */
struct attr_put {
	struct attr_value *value;
	struct wappend *append; /* until it is handed over */
	bool filled;
	unsigned npages;
	struct page *pages[];
};

static struct attr_value *
value_new(const char *key, const void *bytes, size_t length)
{
	struct bucket_attr attr = {.length = (uint32_t)length, .value = bytes};
	struct attr_value *value = malloc(sizeof(*value) + BUCKET_ATTR_HEADER + length);

	if (!value)
		return NULL;
	*value = (struct attr_value){.refs = 1, .length = (uint32_t)length};
	memcpy(value->key, key, strlen(key) + 1);
	memcpy(attr.key, value->key, sizeof(attr.key));
	bucket_attr_encode(&attr, value->bytes);
	return value;
}

static void
value_unref(struct attr_value *value)
{
	if (--value->refs == 0)
		free(value);
}

/* ---- tables ------------------------------------------------------------------------- */

/** Where it is, or belongs. */
static unsigned
place_of(const struct attrs *attrs, const char *key, bool *ret_there)
{
	unsigned i = 0;

	while (i < attrs->n && strcmp(attrs->list[i]->key, key) < 0)
		i++;
	*ret_there = i < attrs->n && !strcmp(attrs->list[i]->key, key);
	return i;
}

static bool
attrs_fit(const struct attrs *attrs, const struct attr_value *value)
{
	size_t bytes = BUCKET_ATTR_HEADER + value->length;
	unsigned n = 1;

	for (unsigned i = 0; i < attrs->n; i++) {
		if (!strcmp(attrs->list[i]->key, value->key))
			continue;
		bytes += BUCKET_ATTR_HEADER + attrs->list[i]->length;
		n++;
	}
	return value->length == 0 || (n <= BUCKET_ATTRS_MAX && bytes <= BUCKET_ATTRS_BYTES_MAX);
}

/** Takes a reference of its own. */
static void
attrs_set(struct attrs *attrs, struct attr_value *value)
{
	bool there;
	unsigned at = place_of(attrs, value->key, &there);
	struct attr_value **p = &attrs->list[at];

	if (there) {
		value_unref(*p);
		if (value->length == 0)
			memmove(p, p + 1, (--attrs->n - at) * sizeof(*p));
	} else if (value->length) {
		assert(attrs->n < BUCKET_ATTRS_MAX);
		memmove(p + 1, p, (attrs->n++ - at) * sizeof(*p));
	}
	if (value->length) {
		value->refs++;
		*p = value;
	}
}

void
attrs_drop(struct attrs *attrs)
{
	while (attrs->n)
		value_unref(attrs->list[--attrs->n]);
}

void
attrs_copy(struct attrs *to, const struct attrs *from)
{
	attrs_drop(to);
	for (; to->n < from->n; to->n++) {
		to->list[to->n] = from->list[to->n];
		to->list[to->n]->refs++;
	}
}

int
attrs_root(const struct attrs *attrs, struct bucket_root *root)
{
	if (attrs->n == 0)
		return 0;
	root->attrs = calloc(attrs->n, sizeof(*root->attrs));
	if (!root->attrs)
		return -ENOMEM;
	for (; root->nattrs < attrs->n; root->nattrs++) {
		const struct attr_value *value = attrs->list[root->nattrs];
		struct bucket_attr *attr = &root->attrs[root->nattrs];

		memcpy(attr->key, value->key, sizeof(attr->key));
		attr->length = value->length;
		attr->value = value->bytes + BUCKET_ATTR_HEADER;
	}
	return 0;
}

json_t *
attrs_json(const struct attrs *attrs)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < attrs->n; i++)
		json_array_append_new(list, json_pack("{s:s, s:i}", "key", attrs->list[i]->key, "bytes",
						      (int)attrs->list[i]->length));
	return list;
}

/* ---- opening ------------------------------------------------------------------------- */

int
attrs_load(struct engine *eng, const struct bucket_root *root)
{
	attrs_drop(&eng->attrs);
	for (uint32_t i = 0; i < root->nattrs; i++) {
		const struct bucket_attr *attr = &root->attrs[i];
		struct attr_value *value = value_new(attr->key, attr->value, attr->length);

		if (!value)
			return -ENOMEM;
		attrs_set(&eng->attrs, value);
		value_unref(value);
	}
	return 0;
}

/** All pages of one are here. */
static int
replay_whole(struct engine *eng, const uint8_t *p, size_t n)
{
	struct bucket_attr attr;
	int r = bucket_attr_decode(p, n, &attr);

	if (r < 0)
		return r == LG_ECORRUPT ? LG_EDAMAGED : r;
	size_t bytes = bucket_attr_bytes(&attr);
	if (n - bytes >= PAGE_SIZE_BYTES)
		return LG_EDAMAGED;
	for (; bytes < n; bytes++)
		if (p[bytes])
			return LG_EDAMAGED;
	struct attr_value *value = value_new(attr.key, attr.value, attr.length);
	if (!value)
		return -ENOMEM;
	if (attrs_fit(&eng->attrs, value))
		attrs_set(&eng->attrs, value);
	else
		r = LG_EDAMAGED;
	value_unref(value);
	return r;
}

int
attrs_replay(struct engine *eng, const struct journal_entry *e)
{
	struct attr_replay *replay = &eng->attr_replay;
	int r = 0;

	if (e->page == 0) {
		attrs_replay_end(eng);
		replay->bytes = malloc(e->count * PAGE_SIZE_BYTES);
		if (!replay->bytes)
			return -ENOMEM;
	}
	if (!replay->bytes || e->page != replay->have)
		return LG_EDAMAGED;
	if (e->bytes)
		memcpy(replay->bytes + replay->have * PAGE_SIZE_BYTES, e->bytes, PAGE_SIZE_BYTES);
	else
		replay->lost = true;
	if (++replay->have < e->count)
		return 0;
	if (!replay->lost)
		r = replay_whole(eng, replay->bytes, e->count * PAGE_SIZE_BYTES);
	attrs_replay_end(eng);
	return r;
}

void
attrs_replay_end(struct engine *eng)
{
	free(eng->attr_replay.bytes);
	eng->attr_replay = (struct attr_replay){.bytes = NULL};
}

/* ---- requests ------------------------------------------------------------------------- */

void
attr_get_submit(struct vol_req *req)
{
	struct engine *eng = engine_of(req->vol);
	bool there;
	unsigned at = place_of(&eng->attrs_durable, req->key, &there);

	if (!there) {
		engine_request_done(eng, req, 0);
		return;
	}
	const struct attr_value *value = eng->attrs_durable.list[at];
	req->value = malloc(value->length);
	if (!req->value) {
		engine_request_done(eng, req, -ENOMEM);
		return;
	}
	memcpy(req->value, value->bytes + BUCKET_ATTR_HEADER, value->length);
	req->value_len = value->length;
	engine_request_done(eng, req, 0);
}

void
attr_put_free(struct attr_put *put)
{
	if (!put)
		return;
	if (put->filled)
		pages_unref(put->pages, put->npages);
	if (put->value)
		value_unref(put->value);
	free(put->append);
	free(put);
}

void
attr_put_durable(struct engine *eng, const struct attr_put *put)
{
	attrs_set(&eng->attrs_durable, put->value);
}

static struct attr_put *
put_new(struct wop *wop)
{
	const struct vol_req *req = wop->req;
	unsigned n =
		(unsigned)((BUCKET_ATTR_HEADER + req->value_len + PAGE_SIZE_BYTES - 1) / PAGE_SIZE_BYTES);
	struct attr_put *put = calloc(1, sizeof(*put) + n * sizeof(struct page *));

	if (!put)
		return NULL;
	put->npages = n;
	put->value = value_new(req->key, req->value, req->value_len);
	put->append = wappend_new(wop, n);
	if (put->value && put->append)
		return put;
	attr_put_free(put);
	return NULL;
}

static void
put_fill(struct attr_put *put)
{
	size_t bytes = BUCKET_ATTR_HEADER + put->value->length;

	for (unsigned i = 0; i < put->npages; i++) {
		uint8_t *p = put->pages[i]->data;
		size_t at = (size_t)i * PAGE_SIZE_BYTES, n = min_of(bytes - at, (size_t)PAGE_SIZE_BYTES);

		memcpy(p, put->value->bytes + at, n);
		memset(p + n, 0, PAGE_SIZE_BYTES - n);
		put->append->entries[i] = (struct journal_entry){.type = JOURNAL_ATTR,
								 .page = i,
								 .count = put->npages,
								 .data = put->pages[i],
								 .crc = crc32c(0, p, PAGE_SIZE_BYTES)};
	}
	put->filled = true;
}

static void
put_accept(struct wop *wop)
{
	struct engine *eng = wop->eng;
	struct attr_put *put = wop->put;
	int r = wop_check(wop);

	if (r == 0 && !attrs_fit(&eng->attrs, put->value))
		r = -ENOSPC;
	if (r < 0) {
		wop_fail(wop, r);
		return;
	}
	struct wappend *append = put->append;
	put->append = NULL;
	attrs_set(&eng->attrs, put->value);
	if (!eng->journal)
		attr_put_durable(eng, put); /* that is the business of the commit it waits for */
	wop_append(wop, append, put->npages);
	wop_accepted(wop);
}

static void put_gated(struct wop *wop);

static void
put_wake(struct loop_msg *msg)
{
	put_gated(container_of(msg, struct wop, mem.msg));
}

static void
put_gated(struct wop *wop)
{
	struct engine *eng = wop->eng;
	struct attr_put *put = wop->put;

	if (eng->journal) {
		if (arena_alloc_reserved(eng->vol.arena, put->pages, put->npages) < 0) {
			commit_kick(eng);
			wop->mem = (struct arena_waiter){
				.msg = {.fn = put_wake}, .loop = eng->vol.loop, .n = put->npages};
			arena_wait(eng->vol.arena, &wop->mem);
			return;
		}
		put_fill(put);
	}
	put_accept(wop);
}

void
attr_put_submit(struct vol_req *req)
{
	struct wop *wop = wop_new(req);

	if (!wop) {
		engine_request_done(engine_of(req->vol), req, -ENOMEM);
		return;
	}
	/* offset and length mean nothing here */
	req->offset = req->length = 0;
	wop->put = put_new(wop);
	if (!wop->put) {
		wop_fail(wop, -ENOMEM);
		return;
	}
	uint64_t bytes = (uint64_t)(wop->put->npages + 1) * PAGE_SIZE_BYTES;
	if (gate_pass(wop->eng, bytes)) {
		wop->reserved = bytes;
		put_gated(wop);
	} else {
		wop_gate(wop, bytes, put_gated);
	}
}
