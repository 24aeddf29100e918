/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See faultstore.h.  A request goes to the inner store as a copy; its answer
 * is copied back.  Errors of our own are answered by message, never at once.
 */
#include "test/lib/faultstore.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"

struct held {
	struct held *next;
	struct object_req *outer;
};

struct fault_store {
	struct object_store store;
	struct object_store *inner;
	pthread_mutex_t lock;
	struct fault fault;
	unsigned hits;
	uint64_t seen[OBJECT_OP_COUNT];
	struct held *held;
};

struct carried {
	struct fault_store *fs;
	struct object_req *outer;
	struct object_req inner;
	struct loop_msg msg;
	int err; /* what the outer one is told */
	bool flip, flipped;
};

static bool
matches(const struct fault *fault, const struct object_req *req)
{
	if (fault->kind == FAULT_NONE || fault->op != req->op)
		return false;
	if (!fault->match || !fault->match[0])
		return true;
	if (req->key)
		return strstr(req->key, fault->match);
	return req->nkeys && strstr(req->keys[0], fault->match);
}

/* What is wrong is so from the start. */
static void
carried_arrived(struct object_req *inner, uint64_t from, const void *data, size_t n)
{
	struct carried *c = container_of(inner, struct carried, inner);

	if (from == 0 && c->flip) {
		((uint8_t *)c->outer->iov[0].iov_base)[0] ^= 0x10;
		c->flipped = true;
	}
	c->outer->arrived(c->outer, from, data, n);
}

static void
carried_done(struct object_req *inner)
{
	struct carried *c = container_of(inner, struct carried, inner);
	struct object_req *outer = c->outer;
	int status = inner->status;

	memcpy(outer->etag, inner->etag, sizeof(outer->etag));
	outer->size = inner->size;
	outer->entries = inner->entries;
	outer->nentries = inner->nentries;
	outer->truncated = inner->truncated;
	outer->token = inner->token;
	if (c->flip && !c->flipped && status == 0)
		((uint8_t *)outer->iov[0].iov_base)[0] ^= 0x10;
	if (c->err)
		status = c->err;
	free(c);
	object_done(outer, status);
}

static void
answer(struct loop_msg *msg)
{
	struct carried *c = container_of(msg, struct carried, msg);
	struct object_req *outer = c->outer;
	int err = c->err;

	free(c);
	object_done(outer, err);
}

static void
carry(struct fault_store *fs, struct object_req *req, enum fault_kind kind, int err)
{
	struct carried *c = calloc(1, sizeof(*c));

	assert(c);
	c->fs = fs;
	c->outer = req;
	c->err = kind == FAULT_ERROR || kind == FAULT_LOST_ANSWER ? err : 0;
	c->flip = kind == FAULT_FLIP;
	if (kind == FAULT_ERROR) {
		c->msg.fn = answer;
		loop_post(req->loop, &c->msg);
		return;
	}
	c->inner = *req;
	c->inner.store = fs->inner;
	c->inner.done = carried_done;
	c->inner.arrived = req->arrived ? carried_arrived : NULL;
	c->inner.priv = NULL;
	object_submit(&c->inner);
}

static void
fault_submit(struct object_req *req)
{
	struct fault_store *fs = container_of(req->store, struct fault_store, store);
	enum fault_kind kind = FAULT_NONE;
	int err = 0;

	pthread_mutex_lock(&fs->lock);
	fs->seen[req->op]++;
	if (matches(&fs->fault, req)) {
		kind = fs->fault.kind;
		err = fs->fault.err;
		fs->hits++;
		if (fs->fault.times && --fs->fault.times == 0)
			fs->fault.kind = FAULT_NONE;
	}
	if (kind == FAULT_HOLD) {
		struct held *held = malloc(sizeof(*held));

		assert(held);
		*held = (struct held){fs->held, req};
		fs->held = held;
	}
	pthread_mutex_unlock(&fs->lock);
	if (kind != FAULT_HOLD)
		carry(fs, req, kind, err);
}

static void
fault_free(struct object_store *store)
{
	struct fault_store *fs = container_of(store, struct fault_store, store);

	assert(!fs->held);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}

struct object_store *
faultstore_new(struct object_store *inner)
{
	static const struct object_ops ops = {.kind = "fault", .submit = fault_submit, .free = fault_free};
	struct fault_store *fs = calloc(1, sizeof(*fs));

	assert(fs);
	fs->store.ops = &ops;
	fs->inner = inner;
	pthread_mutex_init(&fs->lock, NULL);
	return &fs->store;
}

struct release {
	struct loop_msg msg;
	struct fault_store *fs;
	struct object_req *req;
};

static void
release(struct loop_msg *msg)
{
	struct release *r = container_of(msg, struct release, msg);

	carry(r->fs, r->req, FAULT_NONE, 0);
	free(r);
}

void
faultstore_set(struct object_store *store, const struct fault *fault)
{
	struct fault_store *fs = container_of(store, struct fault_store, store);

	pthread_mutex_lock(&fs->lock);
	fs->fault = *fault;
	fs->hits = 0;
	struct held *list = fs->held;
	fs->held = NULL;
	pthread_mutex_unlock(&fs->lock);
	while (list) {
		struct held *held = list;
		struct release *r = calloc(1, sizeof(*r));

		assert(r);
		list = held->next;
		*r = (struct release){{.fn = release}, fs, held->outer};
		loop_post(held->outer->loop, &r->msg);
		free(held);
	}
}

unsigned
faultstore_hits(struct object_store *store)
{
	struct fault_store *fs = container_of(store, struct fault_store, store);

	pthread_mutex_lock(&fs->lock);
	unsigned hits = fs->hits;
	pthread_mutex_unlock(&fs->lock);
	return hits;
}

uint64_t
faultstore_seen(struct object_store *store, enum object_op op)
{
	struct fault_store *fs = container_of(store, struct fault_store, store);

	pthread_mutex_lock(&fs->lock);
	uint64_t seen = fs->seen[op];
	pthread_mutex_unlock(&fs->lock);
	return seen;
}
