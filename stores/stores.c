/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one way to make, open, close and delete a volume: finds the kind by the beginning of the store's URL.
 *
 * Threads: none of its own; everything here blocks.
 */
#include "stores/stores.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "stores/chunked/chunked.h"
#include "stores/object/object.h"
#include "stores/raw/raw.h"

#define CHECK_RACES 4

typedef int create_fn(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info);
typedef int open_fn(const struct volume_spec *spec, struct loop *loop, struct arena *arena,
		    struct volume **ret, struct errinfo *info);
typedef int delete_fn(const struct volume_spec *spec, struct loop *loop, bool files,
		      void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info);

struct kind {
	create_fn *create;
	open_fn *open;
	delete_fn *delete;
};

static int
delete_chunked(const struct volume_spec *spec, struct loop *loop, bool files,
	       void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info)
{
	(void)files; /* objects and journal are what a chunked volume is */
	return chunked_delete(spec, loop, fn, arg, info);
}

static int
delete_raw(const struct volume_spec *spec, struct loop *loop, bool files,
	   void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info)
{
	int rc = raw_delete(spec, files, info);

	(void)loop;
	if (!rc && fn)
		fn(arg, 1, 1);
	return rc;
}

static int
delete_nothing(const struct volume_spec *spec, struct loop *loop, bool files,
	       void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info)
{
	(void)spec;
	(void)loop;
	(void)files;
	(void)info;
	if (fn)
		fn(arg, 1, 1);
	return 0;
}

static const struct kind chunked = {chunked_create, chunked_open, delete_chunked};
static const struct kind raw = {raw_create, raw_open, delete_raw};
static const struct kind ram = {ram_create, ram_open, delete_nothing};
static const struct kind null = {null_create, null_open, delete_nothing};

static const struct {
	const char *prefix;
	const struct kind *kind;
} kinds[] = {
	{"s3://", &chunked}, {"dir:", &chunked}, {"mem:", &chunked}, {"file:", &raw},
	{"block:", &raw},    {"/dev/", &raw},    {"ram:", &ram},     {"null:", &null},
};

static int
find_kind(const struct volume_spec *spec, const struct kind **ret, struct errinfo *info)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strncmp(spec->store, kinds[i].prefix, strlen(kinds[i].prefix))) {
			*ret = kinds[i].kind;
			return 0;
		}
	return err_set(
		info, LG_ECONFIG,
		"volume %s: store \"%s\" is of no known kind; use s3://bucket/prefix or dir:/path (objects), "
		"file:/path (an image file), /dev/... (a block device), ram: or null:",
		spec->name, spec->store);
}

int
volume_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info)
{
	const struct kind *kind;
	int rc = volume_name_check(spec->name, info);

	if (!rc)
		rc = find_kind(spec, &kind, info);
	spec->found = false;
	return rc ? rc : kind->create(spec, loop, arena, info);
}

int
volume_open(const struct volume_spec *spec, struct loop *loop, struct arena *arena, struct volume **ret,
	    struct errinfo *info)
{
	const struct kind *kind;
	int rc = volume_name_check(spec->name, info);

	if (!rc)
		rc = find_kind(spec, &kind, info);
	return rc ? rc : kind->open(spec, loop, arena, ret, info);
}

int
volume_delete(const struct volume_spec *spec, struct loop *loop, bool files,
	      void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info)
{
	const struct kind *kind;
	int rc = volume_name_check(spec->name, info);

	if (!rc)
		rc = find_kind(spec, &kind, info);
	return rc ? rc : kind->delete (spec, loop, files, fn, arg, info);
}

/* ---- closing ---- */

struct closing {
	struct loop_msg msg;
	struct volume *vol;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool finished;
	int status;
};

static void
close_done(void *arg, int status)
{
	struct closing *c = arg;

	pthread_mutex_lock(&c->lock);
	c->status = status;
	c->finished = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static void
close_start(struct loop_msg *msg)
{
	struct closing *c = container_of(msg, struct closing, msg);

	c->vol->ops->close(c->vol, close_done, c);
}

int
volume_close(struct volume *vol)
{
	struct closing c = {.msg.fn = close_start, .vol = vol};

	assert(loop_current() != vol->loop);
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.cond, NULL);
	loop_post(vol->loop, &c.msg);
	pthread_mutex_lock(&c.lock);
	while (!c.finished)
		pthread_cond_wait(&c.cond, &c.lock);
	pthread_mutex_unlock(&c.lock);
	pthread_cond_destroy(&c.cond);
	pthread_mutex_destroy(&c.lock);
	vol->ops->destroy(vol);
	return c.status;
}

/* ---- identity ---- */

/* An OUI of nobody's: locally administered (bit 1 of the first byte), individual. */
#define NAA_LOCAL_OUI 0x024c47u

void
volume_identity(struct volume *vol)
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	int ok = EVP_Digest(vol->uuid, UUID_LEN, hash, NULL, EVP_sha256(), NULL);

	assert(ok);
	/* SPC-4 7.8.6.6.5: NAA 6h, 24 bits of company, 36 + 64 bits of the company's choice */
	vol->naa[0] = 0x60 | (NAA_LOCAL_OUI >> 20 & 0x0f);
	vol->naa[1] = NAA_LOCAL_OUI >> 12 & 0xff;
	vol->naa[2] = NAA_LOCAL_OUI >> 4 & 0xff;
	vol->naa[3] = (uint8_t)((NAA_LOCAL_OUI & 0x0f) << 4 | (hash[0] & 0x0f));
	memcpy(vol->naa + 4, hash + 1, sizeof(vol->naa) - 4);
	(void)hex_format(vol->uuid, UUID_LEN, vol->serial);
}

int
store_check(const char *store, struct loop *loop, bool quick, const _Atomic bool *stop,
	    struct store_report *ret, struct errinfo *info)
{
	struct object_store *object = NULL;
	struct object_probe probe;
	struct errinfo none;
	struct gotgt gotgt;
	int rc = object_store_open(store, NULL, false, &object, info);

	memset(ret, 0, sizeof(*ret));
	if (rc)
		return rc;
	rc = object_store_probe(object, loop, CHECK_RACES, &probe, info);
	if (!rc && !quick)
		rc = object_store_measure(object, loop, stop, &ret->put_bytes_per_s, &ret->get_bytes_per_s,
					  info);
	if (!rc) {
		(void)snprintf(ret->url, sizeof(ret->url), "%s", object->url);
		(void)snprintf(ret->verdict, sizeof(ret->verdict), "%s", probe.text);
		ret->kind = object->ops->kind;
		ret->fenced = probe.fence == OBJECT_FENCED;
		ret->races = probe.races;
		ret->put_ns = probe.put_ns;
		if (!gotgt_look(object, loop, &gotgt, &none))
			gotgt_words(&gotgt, ret->foreign, sizeof(ret->foreign));
		ret->get_ns = probe.get_ns;
	}
	object_store_free(object);
	return stop && atomic_load(stop)
		       ? err_set(info, -EINTR, "interrupted; what was written is removed again")
		       : rc;
}

void
stores_reload(void)
{
	object_stores_reload();
}

void
stores_limit(unsigned in_flight, uint64_t up, uint64_t down)
{
	const struct object_limits limits = {.in_flight = in_flight, .up = up, .down = down};

	object_limits_set(&limits);
}
