/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creating and deleting chunked volumes.
 *
 * Create: volume.json if absent - of several who try at the same time one wins -, then owner (released), then
 * root. A creation that was cut off leaves a volume without a root, which open refuses with the words what to
 * do.
 *
 * Delete: owner becomes a tombstone, which refuses every opening and keeps the generation: data keys are
 * never used twice, not even by a volume of the same name; a zombie's swap of the root finds none.  Then
 * everything else goes, volume.json last, so that a deletion that was cut off can be repeated.
 *
 * Thread: the caller's, may block.
 */
#include "stores/chunked/chunked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "stores/chunked/journal.h"
#include "stores/chunked/owner.h"

#define LIST_KEYS 1000u

static int
store_of(const struct volume_spec *spec, const struct chunked_params *params, bool create,
	 struct object_store **ret, bool *ret_own, struct errinfo *info)
{
	*ret_own = !params || !params->store;
	if (!*ret_own) {
		*ret = params->store;
		return 0;
	}
	return object_store_open(spec->store, params ? params->vfs : NULL, create, ret, info);
}

static int
check_spec(const struct volume_spec *spec, struct errinfo *info)
{
	uint32_t block = spec->block_size ? spec->block_size : 512;
	uint32_t chunk = spec->chunk_size ? spec->chunk_size : 4u << 20;
	char of[SIZE_EXACT], most[SIZE_EXACT];

	if (block != 512 && block != 4096)
		return err_set(info, -EINVAL, "the block size is 512 or 4096, not %" PRIu32, block);
	if (!is_pow2(chunk) || chunk < BUCKET_CHUNK_MIN || chunk > BUCKET_CHUNK_MAX)
		return err_set(info, -EINVAL,
			       "the chunk size is a power of two from 1 MiB to 16 MiB, not %" PRIu32, chunk);
	if (spec->size == 0 || spec->size % block)
		return err_set(info, -EINVAL,
			       "the size is a multiple of the block size (%" PRIu32 "), not %" PRIu64, block,
			       spec->size);
	if (spec->size > INT64_MAX || (spec->size - 1) / chunk >= BUCKET_CHUNKS_MAX)
		return err_set(info, -EINVAL, "a volume with chunks of %s has at most %s",
			       size_exact(chunk, of), size_exact(BUCKET_CHUNKS_MAX * chunk, most));
	return 0;
}

static int
identity(const struct volume_spec *spec, struct bucket_volume *bv)
{
	struct volume *vol = calloc(1, sizeof(*vol)); /* too large for the stack */

	*bv = (struct bucket_volume){.size = spec->size,
				     .chunk_size = spec->chunk_size ? spec->chunk_size : 4u << 20,
				     .block_size = spec->block_size ? spec->block_size : 512,
				     .created_ms = bucket_now_ms()};
	memcpy(bv->uuid, spec->uuid, UUID_LEN);
	if (!vol)
		return -ENOMEM;
	memcpy(vol->uuid, spec->uuid, UUID_LEN);
	volume_identity(vol);
	memcpy(bv->naa, vol->naa, sizeof(bv->naa));
	snprintf(bv->serial, sizeof(bv->serial), "%s", vol->serial);
	free(vol);
	return 0;
}

/** The owner record of a new volume: after a tombstone, or whatever a deletion that was cut off left, it
 * counts on. */
static int
create_owner(const struct bucket *b, const struct bucket_volume *bv, uint64_t *ret_generation)
{
	struct bucket_owner old, owner = {.generation = 1,
					  .state = BUCKET_OWNER_RELEASED,
					  .journal_state = BUCKET_JOURNAL_NONE};
	char etag[OBJECT_ETAG_MAX];
	int r = owner_get(b, NULL, &old, etag);
	bool create = r == -ENOENT;

	if (r < 0 && !create)
		return r;
	if (!create) {
		owner.generation = old.generation + 1;
		owner.counter = old.counter;
	}
	memcpy(owner.uuid, bv->uuid, UUID_LEN);
	*ret_generation = owner.generation;
	return owner_swap(b, &owner, etag, create);
}

static int
create_objects(const struct bucket *b, const struct bucket_volume *bv, struct errinfo *info)
{
	struct bucket_root root = {
		.commit = 1, .size = bv->size, .chunk_size = bv->chunk_size, .block_size = bv->block_size};
	char etag[OBJECT_ETAG_MAX];
	int r = volume_json_create(b, bv);

	if (r == -EEXIST)
		return err_set(info, r, "the store holds a volume of this name already");
	if (r < 0)
		return err_set(info, r, "volume.json: %s", err_text(r));
	r = create_owner(b, bv, &root.generation);
	if (r < 0)
		return err_set(info, r, "owner: %s", err_text(r));
	memcpy(root.uuid, bv->uuid, UUID_LEN);
	r = root_swap(b, &root, etag, true);
	if (r < 0)
		return err_set(info, r, "root: %s", err_text(r));
	return 0;
}

static int
named(const struct volume_spec *spec, int r, struct errinfo *info)
{
	if (r < 0)
		err_prefix(info, "volume %s in %s: ", spec->name, spec->store ? spec->store : "its store");
	return r;
}

/* Ours would lie beside it without harm, but whoever names this place may want what is there. */
static int
check_foreign(struct object_store *store, struct loop *loop, struct errinfo *info)
{
	struct errinfo none;
	struct gotgt gotgt;
	char words[128];

	if (gotgt_look(store, loop, &gotgt, &none))
		return 0;
	gotgt_words(&gotgt, words, sizeof(words));
	return err_set(info, -ENOTEMPTY,
		       "%s lies there: bring it in with 'lungate volume import', or take another prefix",
		       words);
}

int
chunked_create_with(struct volume_spec *spec, const struct chunked_params *params, struct loop *loop,
		    struct arena *arena, struct errinfo *info)
{
	static const uint8_t none[UUID_LEN];
	struct object_store *store;
	struct bucket_volume bv;
	bool own;
	int r = check_spec(spec, info);

	(void)arena;
	if (r == 0)
		r = store_of(spec, params, true, &store, &own, info);
	if (r < 0)
		return named(spec, r, info);
	if (!memcmp(spec->uuid, none, UUID_LEN))
		uuid_make(spec->uuid);
	struct bucket bucket = {store, loop, spec->name};
	r = spec->beside_foreign ? 0 : check_foreign(store, loop, info);
	if (r == 0)
		r = identity(spec, &bv);
	if (r == 0)
		r = create_objects(&bucket, &bv, info);
	if (own)
		object_store_free(store);
	return named(spec, r, info);
}

int
chunked_create(struct volume_spec *spec, struct loop *loop, struct arena *arena, struct errinfo *info)
{
	return chunked_create_with(spec, NULL, loop, arena, info);
}

/* ---- delete -------------------------------------------------------------------------- */

struct deletion {
	const struct volume_spec *spec;
	struct bucket bucket;
	uint64_t done, total;
	void (*fn)(void *arg, uint64_t done, uint64_t total);
	void *arg;
	struct errinfo *info;
};

static int
bury_owner(struct deletion *d)
{
	struct bucket_owner owner;
	char etag[OBJECT_ETAG_MAX];
	int r = owner_get(&d->bucket, NULL, &owner, etag);

	if (r == -ENOENT)
		return 0; /* a creation that was cut off: there is nothing that could be fenced */
	if (r < 0)
		return err_set(d->info, r, "owner: %s", err_text(r));
	if (owner.state == BUCKET_OWNER_TOMBSTONE)
		return 0;
	if (owner.state == BUCKET_OWNER_HELD && memcmp(owner.gateway_id, d->spec->gateway_id, UUID_LEN) &&
	    !d->spec->accept_loss) {
		char gateway[UUID_TEXT];

		uuid_format(owner.gateway_id, gateway);
		return err_set(d->info, LG_EOWNED, "it is held by gateway %s; stop it there first", gateway);
	}
	owner.state = BUCKET_OWNER_TOMBSTONE;
	owner.journal_state = BUCKET_JOURNAL_NONE;
	memset(owner.journal_uuid, 0, UUID_LEN);
	owner.generation++;
	r = owner_swap(&d->bucket, &owner, etag, false);
	return r < 0 ? err_set(d->info, r, "owner: %s", err_text(r)) : 0;
}

/** How many objects there may be, for the progress alone. */
static void
estimate(struct deletion *d, const uint8_t uuid[UUID_LEN])
{
	struct bucket_root root;
	char etag[OBJECT_ETAG_MAX];

	d->total = 2;
	if (root_get(&d->bucket, uuid, &root, etag) < 0)
		return;
	for (uint32_t i = 0; i < root.nleaves; i++)
		d->total += 1 + (uint64_t)root.leaves[i].present;
	bucket_root_fini(&root);
}

static bool
stays(const struct deletion *d, const char *key)
{
	struct bucket_key k;

	return bucket_key_parse(key, d->bucket.prefix, &k) == 0 &&
	       (k.kind == BUCKET_KEY_OWNER || k.kind == BUCKET_KEY_VOLUME);
}

static int
delete_keys(struct deletion *d, const char *const *keys, size_t n)
{
	struct object_req req = {.store = d->bucket.store, .op = OBJECT_DELETE, .keys = keys, .nkeys = n};

	return n ? object_call(d->bucket.loop, &req) : 0;
}

static int
delete_page(struct deletion *d, const char *prefix, char **token)
{
	struct object_req list = {.store = d->bucket.store,
				  .op = OBJECT_LIST,
				  .key = prefix,
				  .max_keys = LIST_KEYS,
				  .token = *token};
	const char *keys[LIST_KEYS];
	size_t n = 0;
	int r = object_call(d->bucket.loop, &list);

	*token = list.token;
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.nentries; i++)
		if (!stays(d, list.entries[i].key))
			keys[n++] = list.entries[i].key;
	r = delete_keys(d, keys, n);
	object_entries_free(list.entries, list.nentries);
	d->done += n;
	if (d->fn && r == 0)
		d->fn(d->arg, d->done, max_of(d->total, d->done));
	return r;
}

static int
delete_objects(struct deletion *d)
{
	char prefix[VOLUME_NAME_MAX + 2], last[OBJECT_KEY_MAX + 1];
	const char *keys[] = {last};
	struct bucket_key key = {.kind = BUCKET_KEY_VOLUME};
	char *token = NULL;
	int r;

	snprintf(prefix, sizeof(prefix), "%s/", d->bucket.prefix);
	do
		r = delete_page(d, prefix, &token);
	while (r == 0 && token);
	free(token);
	if (r == 0)
		r = bucket_key_format(&key, d->bucket.prefix, last, sizeof(last));
	if (r >= 0)
		r = delete_keys(d, keys, 1);
	if (r < 0)
		return err_set(d->info, r, "its objects: %s", err_text(r));
	d->done++;
	if (d->fn)
		d->fn(d->arg, d->done, d->done);
	return 0;
}

static int
delete_journal(const struct volume_spec *spec, const struct chunked_params *params, struct errinfo *info)
{
	struct vfs *vfs = params && params->vfs ? params->vfs : vfs_posix();
	char *dir;

	if (!spec->journal_dir)
		return 0;
	if (asprintf(&dir, "%s/%s", spec->journal_dir, spec->name) < 0)
		return -ENOMEM;
	int r = journal_delete(vfs, dir);
	if (r < 0 && r != -ENOENT)
		err_set(info, r, "journal %s: %s", dir, err_text(r));
	free(dir);
	return r == -ENOENT ? 0 : r;
}

static int
delete_volume(struct deletion *d)
{
	struct bucket_volume bv;
	int r = volume_json_get(&d->bucket, &bv, d->info);

	if (r == -ENOENT)
		return err_set(d->info, r, "the store holds no such volume");
	/* whatever is wrong with volume.json: what can be deleted is deleted */
	if (r == 0)
		estimate(d, bv.uuid);
	r = bury_owner(d);
	return r < 0 ? r : delete_objects(d);
}

int
chunked_delete_with(const struct volume_spec *spec, const struct chunked_params *params, struct loop *loop,
		    void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info)
{
	struct object_store *store;
	bool own;
	int r = store_of(spec, params, false, &store, &own, info);

	if (r < 0)
		return named(spec, r, info);
	struct deletion d = {
		.spec = spec, .bucket = {store, loop, spec->name}, .fn = fn, .arg = arg, .info = info};
	r = delete_volume(&d);
	if (own)
		object_store_free(store);
	if (r == 0)
		r = delete_journal(spec, params, info);
	return named(spec, r, info);
}

int
chunked_delete(const struct volume_spec *spec, struct loop *loop,
	       void (*fn)(void *arg, uint64_t done, uint64_t total), void *arg, struct errinfo *info)
{
	return chunked_delete_with(spec, NULL, loop, fn, arg, info);
}
