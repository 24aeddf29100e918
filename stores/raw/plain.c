/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What raw, ram and null volumes have in common: their identity comes from the configuration, their geometry
 * from the specification.
 *
 * Threads: as raw.h.
 */
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "stores/raw/raw.h"

#define BLOCK_DEFAULT 512u
#define CHUNK_DEFAULT (4u << 20)
#define CHUNK_MIN (1u << 20)
#define CHUNK_MAX (16u << 20)

int
plain_spec_check(struct volume_spec *spec, struct errinfo *info)
{
	int rc = volume_name_check(spec->name, info);

	if (rc)
		return rc;
	if (!spec->block_size)
		spec->block_size = BLOCK_DEFAULT;
	if (!spec->chunk_size)
		spec->chunk_size = CHUNK_DEFAULT;
	if (spec->block_size != 512 && spec->block_size != 4096)
		return err_set(info, LG_ECONFIG, "volume %s: block size %u; use 512 or 4096", spec->name,
			       spec->block_size);
	if (!is_pow2(spec->chunk_size) || spec->chunk_size < CHUNK_MIN || spec->chunk_size > CHUNK_MAX)
		return err_set(info, LG_ECONFIG,
			       "volume %s: chunk size %u; use a power of two from 1 MiB to 16 MiB",
			       spec->name, spec->chunk_size);
	if (spec->size % spec->block_size || spec->size > INT64_MAX)
		return err_set(info, LG_ECONFIG, "volume %s: size %llu; use a multiple of the block size, %u",
			       spec->name, (unsigned long long)spec->size, spec->block_size);
	if (bytes_zero(spec->uuid, UUID_LEN))
		uuid_make(spec->uuid);
	return 0;
}

int
plain_volume_init(struct volume *vol, const struct vol_ops *ops, const struct volume_spec *spec,
		  uint64_t size, struct loop *loop, struct arena *arena, struct errinfo *info)
{
	struct volume_spec checked = *spec;
	int rc = plain_spec_check(&checked, info);

	if (rc)
		return rc;
	vol->ops = ops;
	(void)snprintf(vol->name, sizeof(vol->name), "%s", spec->name);
	(void)snprintf(vol->store, sizeof(vol->store), "%s", spec->store);
	memcpy(vol->uuid, checked.uuid, UUID_LEN);
	volume_identity(vol);
	vol->block_size = checked.block_size;
	vol->chunk_size = checked.chunk_size;
	vol->read_only = spec->read_only;
	vol->write_cache = spec->write_cache;
	vol->durability = VOL_DURABILITY_JOURNAL;
	vol->loop = loop;
	vol->arena = arena;
	atomic_store(&vol->size, size);
	return 0;
}
