/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The front door of every volume: checks, counts, and carries requests to the
 * volume's loop and completions back.
 *
 * A request: volume_submit() on any thread -> (message) -> start() on the
 * volume's loop -> ops->submit -> volume_done() there -> (message) -> done() on
 * origin.  On the volume's own loop both messages are plain calls.
 *
 * Invariants: statistics are written on the volume's loop alone; a request is
 * counted exactly once, in finish(); begun counts those between ops->submit and volume_done(); after
 * done() or its message nothing here touches the request.
 *
 * Failure: a request that breaks a rule completes with -EINVAL, LG_ERANGE,
 * -EROFS, the volume's health or what it is barred with, and never reaches the implementation.
 */
#include "common/volume.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#define OP_RANGE 1u     /* offset and length are a range of the volume */
#define OP_PAGES 2u     /* npages is what the range spans */
#define OP_EMPTY_OK 4u  /* done at once when length is 0 */
#define OP_CHANGES 8u   /* refused on a read-only volume */
#define OP_PROMISES 16u /* refused by a volume that makes no promises any more */
#define OP_READS 32u    /* refused by a volume that belongs to somebody else */
#define OP_DATA 64u     /* refused by a volume that is barred */

struct op_info {
	const char *name;
	unsigned flags;
	uint64_t max_length; /* 0 = none */
};

static const struct op_info ops[VOL_OP_COUNT] = {
	[VOL_READ] = {"read", OP_RANGE | OP_DATA | OP_PAGES | OP_EMPTY_OK | OP_READS, VOLUME_MAX_IO},
	[VOL_WRITE] = {"write", OP_RANGE | OP_DATA | OP_PAGES | OP_EMPTY_OK | OP_CHANGES | OP_PROMISES,
		       VOLUME_MAX_IO},
	[VOL_FLUSH] = {"flush", OP_PROMISES, 0},
	[VOL_UNMAP] = {"unmap", OP_RANGE | OP_DATA | OP_EMPTY_OK | OP_CHANGES | OP_PROMISES, 0},
	[VOL_ZERO] = {"zero", OP_RANGE | OP_DATA | OP_EMPTY_OK | OP_CHANGES | OP_PROMISES, 0},
	[VOL_COMPARE_WRITE] = {"compare_write",
			       OP_RANGE | OP_DATA | OP_PAGES | OP_EMPTY_OK | OP_CHANGES | OP_PROMISES,
			       VOLUME_MAX_COMPARE},
	[VOL_OR_WRITE] = {"or_write", OP_RANGE | OP_DATA | OP_PAGES | OP_EMPTY_OK | OP_CHANGES | OP_PROMISES,
			  VOLUME_MAX_COMPARE},
	[VOL_MAP] = {"map", 0, 0},
	[VOL_RESIZE] = {"resize", OP_DATA | OP_CHANGES | OP_PROMISES, 0},
	[VOL_GET_ATTRIBUTE] = {"get_attribute", OP_READS, 0},
	[VOL_PUT_ATTRIBUTE] = {"put_attribute", OP_PROMISES, 0},
	[VOL_CLONE] = {"clone", OP_RANGE | OP_DATA | OP_EMPTY_OK | OP_CHANGES | OP_PROMISES, 0},
};

static const char *const state_names[] = {
	[CHUNK_ABSENT] = "absent",
	[CHUNK_CLEAN] = "clean",
	[CHUNK_DIRTY] = "dirty",
};

static const char *const durability_names[] = {
	[VOL_DURABILITY_JOURNAL] = "journal",
	[VOL_DURABILITY_STORE] = "store",
};

const char *
vol_op_name(enum vol_op op)
{
	return (unsigned)op < VOL_OP_COUNT ? ops[op].name : "unknown";
}

const char *
chunk_state_name(enum chunk_state state)
{
	return (unsigned)state < ARRAY_SIZE(state_names) ? state_names[state] : "unknown";
}

/* ---- requests ---------------------------------------------------------- */

static int
check_range(const struct vol_req *req, const struct op_info *info)
{
	const struct volume *vol = req->vol;
	uint64_t size = atomic_load_explicit(&vol->size, memory_order_relaxed);

	if ((req->offset | req->length) % vol->block_size)
		return -EINVAL;
	if (req->offset > size || req->length > size - req->offset)
		return LG_ERANGE;
	if (info->max_length && req->length > info->max_length)
		return -EINVAL;
	if (req->flags & VOL_ATOMIC && req->length > vol->atomic_max_bytes)
		return -EINVAL;
	if (info->flags & OP_PAGES && req->npages != volume_pages(req->offset, req->length))
		return -EINVAL;
	return 0;
}

static int
check_attribute(const struct vol_req *req)
{
	if (!req->vol->attributes)
		return -EOPNOTSUPP;
	if (!req->key || !volume_key_valid(req->key))
		return -EINVAL;
	return req->op == VOL_PUT_ATTRIBUTE && req->value_len > VOLUME_VALUE_MAX ? -EINVAL : 0;
}

static int
check_arguments(const struct vol_req *req, const struct op_info *info)
{
	if (req->op == VOL_CLONE && !req->vol->clones)
		return -EOPNOTSUPP;
	if (info->flags & OP_RANGE)
		return check_range(req, info);
	if (req->op == VOL_MAP && (!req->infos || !req->max_infos))
		return -EINVAL;
	if (req->op == VOL_RESIZE &&
	    (!req->length || req->length > INT64_MAX || req->length % req->vol->block_size))
		return -EINVAL;
	if (req->op == VOL_GET_ATTRIBUTE || req->op == VOL_PUT_ATTRIBUTE)
		return check_attribute(req);
	return 0;
}

static int
check(const struct vol_req *req)
{
	const struct op_info *info = &ops[req->op];
	int health = atomic_load_explicit(&req->vol->health, memory_order_relaxed);
	int r = check_arguments(req, info);

	if (r)
		return r;
	if (info->flags & OP_CHANGES && req->vol->read_only)
		return -EROFS;
	if (health && (info->flags & OP_PROMISES || (info->flags & OP_READS && health == LG_EFENCED)))
		return health;
	if (info->flags & OP_DATA && !(req->flags & VOL_INSIDER))
		return atomic_load_explicit(&req->vol->barred, memory_order_relaxed);
	return 0;
}

static void
done_msg(struct loop_msg *msg)
{
	struct vol_req *req = container_of(msg, struct vol_req, msg);

	req->done(req);
}

static void
count(struct vol_req *req)
{
	struct vol_stats *stats = &req->vol->stats;

	counter_add(&stats->ops[req->op], 1);
	if (req->status)
		counter_add(&stats->errors[req->op], 1);
	else if (ops[req->op].flags & OP_RANGE)
		counter_add(&stats->bytes[req->op], req->op == VOL_CLONE ? req->ret_cloned : req->length);
	histogram_record(&stats->latency[req->op], clock_ns() - req->start_ns);
}

static void
finish(struct vol_req *req, int status)
{
	struct volume *vol = req->vol;
	struct loop *origin = req->origin;

	req->status = status;
	count(req);
	atomic_fetch_sub_explicit(&vol->inflight, 1, memory_order_release);
	if (!origin || origin == vol->loop) {
		req->done(req);
		return;
	}
	req->msg.fn = done_msg;
	loop_post(origin, &req->msg);
}

static void
drop_read_pages(struct vol_req *req)
{
	for (unsigned i = 0; i < req->npages; i++) {
		if (req->pages[i])
			page_unref(req->pages[i]);
		req->pages[i] = NULL;
	}
}

static void
tell_quiet(struct volume *vol)
{
	struct loop_msg *quiet = vol->quiet;

	vol->quiet = NULL;
	if (quiet)
		loop_post(vol->loop, quiet);
}

void
volume_done(struct vol_req *req, int status)
{
	assert(loop_current() == req->vol->loop);
	assert(status <= 0);
	if (status && req->op == VOL_READ)
		drop_read_pages(req);
	if (--req->vol->begun == 0)
		tell_quiet(req->vol);
	finish(req, status);
}

void
volume_bar(struct volume *vol, int status, struct loop_msg *quiet)
{
	assert(status <= 0);
	atomic_store_explicit(&vol->barred, status, memory_order_relaxed);
	if (!quiet)
		return;
	assert(loop_current() == vol->loop && !vol->quiet);
	vol->quiet = quiet;
	if (vol->begun == 0)
		tell_quiet(vol);
}

static void
start(struct vol_req *req)
{
	const struct op_info *info = &ops[req->op];
	int r;

	req->status = 0;
	req->err_offset = 0;
	req->ret_infos = 0;
	req->ret_cloned = 0;
	if (req->op == VOL_GET_ATTRIBUTE) {
		req->value = NULL;
		req->value_len = 0;
	}
	r = check(req);
	if (r || (!req->length && info->flags & OP_EMPTY_OK)) {
		finish(req, r);
		return;
	}
	if (req->op == VOL_READ)
		memset(req->pages, 0, req->npages * sizeof(*req->pages));
	req->vol->begun++;
	req->vol->ops->submit(req);
}

static void
start_msg(struct loop_msg *msg)
{
	start(container_of(msg, struct vol_req, msg));
}

void
volume_submit(struct vol_req *req)
{
	struct volume *vol = req->vol;

	assert((unsigned)req->op < VOL_OP_COUNT);
	req->start_ns = clock_ns();
	req->status = -EINPROGRESS;
	atomic_fetch_add_explicit(&vol->inflight, 1, memory_order_relaxed);
	if (loop_current() == vol->loop) {
		start(req);
		return;
	}
	req->msg.fn = start_msg;
	loop_post(vol->loop, &req->msg);
}

/* ---- from threads that may block --------------------------------------- */

struct call {
	struct vol_req req;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool over;
};

static void
call_done(struct vol_req *req)
{
	struct call *call = container_of(req, struct call, req);

	pthread_mutex_lock(&call->lock);
	call->over = true;
	pthread_cond_signal(&call->cond);
	pthread_mutex_unlock(&call->lock);
}

int
volume_call(struct vol_req *req)
{
	struct call call = {.req = *req};

	assert(!loop_current());
	pthread_mutex_init(&call.lock, NULL);
	pthread_cond_init(&call.cond, NULL);
	call.req.done = call_done;
	call.req.origin = NULL;
	volume_submit(&call.req);
	pthread_mutex_lock(&call.lock);
	while (!call.over)
		pthread_cond_wait(&call.cond, &call.lock);
	pthread_mutex_unlock(&call.lock);
	pthread_cond_destroy(&call.cond);
	pthread_mutex_destroy(&call.lock);
	*req = call.req;
	return req->status;
}

int
volume_get_attribute(struct volume *vol, const char *key, void **ret, size_t *ret_len)
{
	struct vol_req req = {.vol = vol, .op = VOL_GET_ATTRIBUTE, .key = key};
	int r = volume_call(&req);

	if (r == 0) {
		*ret = req.value;
		*ret_len = req.value_len;
	}
	return r;
}

int
volume_put_attribute(struct volume *vol, const char *key, const void *value, size_t len)
{
	struct vol_req req = {.vol = vol,
			      .op = VOL_PUT_ATTRIBUTE,
			      .key = key,
			      .value = (void *)(uintptr_t)value,
			      .value_len = len};

	return volume_call(&req);
}

/* ---- names ------------------------------------------------------------- */

static bool
name_char(char c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return true;
	return !first && (c == '.' || c == '_' || c == '-');
}

int
volume_name_check(const char *name, struct errinfo *info)
{
	size_t len = strnlen(name, VOLUME_NAME_MAX + 1);

	if (!len)
		return err_set(info, -EINVAL, "a volume's name is empty");
	if (len > VOLUME_NAME_MAX)
		return err_set(info, -EINVAL, "a volume's name is longer than %d characters",
			       VOLUME_NAME_MAX);
	for (size_t i = 0; i < len; i++)
		if (!name_char(name[i], i == 0))
			return err_set(
				info, -EINVAL,
				"volume name \"%s\": use a-z, 0-9, '.', '_' and '-', and begin with a letter "
				"or a digit",
				name);
	return 0;
}

bool
volume_key_valid(const char *key)
{
	size_t n = strnlen(key, VOLUME_KEY_MAX + 1);

	if (n == 0 || n > VOLUME_KEY_MAX || key[0] == '.')
		return false;
	return strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* ---- JSON -------------------------------------------------------------- */

struct render {
	struct volume *vol;
	json_t *object;
};

static int
describe(void *arg)
{
	struct render *render = arg;
	struct volume *vol = render->vol;
	int ill = atomic_load_explicit(&vol->health, memory_order_relaxed);
	int health = ill ? ill : atomic_load_explicit(&vol->barred, memory_order_relaxed);
	char uuid[UUID_TEXT], naa[2 * sizeof(vol->naa) + 1];

	uuid_format(vol->uuid, uuid);
	hex_format(vol->naa, sizeof(vol->naa), naa);
	render->object = json_pack(
		"{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:b, s:b, s:b, s:s, s:s, s:s, s:I}", /* in this
												  order */
		"name", vol->name, "uuid", uuid, "kind", vol->ops->kind, "store", vol->store, "size",
		(json_int_t)atomic_load_explicit(&vol->size, memory_order_relaxed), "block_size",
		(json_int_t)vol->block_size, "chunk_size", (json_int_t)vol->chunk_size, "durability",
		durability_names[vol->durability], "write_cache", (int)vol->write_cache, "read_only",
		(int)vol->read_only, "thin", (int)vol->thin, "naa", naa, "serial", vol->serial, "health",
		health ? err_name(health) : "ok", "allocated",
		(json_int_t)atomic_load_explicit(&vol->allocated, memory_order_relaxed));
	if (render->object && vol->ops->describe)
		vol->ops->describe(vol, render->object);
	return 0;
}

static json_t *
latency_json(const struct histogram *h)
{
	uint64_t n = counter_read(&h->count);
	uint64_t mean = n ? counter_read(&h->sum_us) / n : 0;

	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "p50", (json_int_t)histogram_quantile_us(h, 0.5), "p90",
			 (json_int_t)histogram_quantile_us(h, 0.9), "p99",
			 (json_int_t)histogram_quantile_us(h, 0.99), "p999",
			 (json_int_t)histogram_quantile_us(h, 0.999), "mean", (json_int_t)mean);
}

static int
describe_stats(void *arg)
{
	struct render *render = arg;
	struct volume *vol = render->vol;
	const struct vol_stats *stats = &vol->stats;

	render->object = json_object();
	if (!render->object)
		return 0;
	for (unsigned op = 0; op < VOL_OP_COUNT; op++) {
		json_t *row =
			json_pack("{s:I, s:I, s:I, s:o}", "ops", (json_int_t)counter_read(&stats->ops[op]),
				  "bytes", (json_int_t)counter_read(&stats->bytes[op]), "errors",
				  (json_int_t)counter_read(&stats->errors[op]), "latency_us",
				  latency_json(&stats->latency[op]));

		/* takes row, and refuses NULL */
		(void)json_object_set_new(render->object, ops[op].name, row);
	}
	if (vol->ops->describe_stats)
		vol->ops->describe_stats(vol, render->object);
	return 0;
}

json_t *
volume_describe(struct volume *vol)
{
	struct render render = {.vol = vol};

	(void)loop_call(vol->loop, describe, &render); /* always 0 */
	return render.object;
}

json_t *
volume_stats(struct volume *vol)
{
	struct render render = {.vol = vol};

	(void)loop_call(vol->loop, describe_stats, &render); /* always 0 */
	return render.object;
}
