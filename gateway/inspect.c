/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Status, volumes, targets, map as JSON.
 *
 * Everything is a copy made under `lock`; volumes are looked at through references of the registry, so
 * nothing waits for I/O and a change that takes minutes does not hold the onlooker.
 */
#include "gateway/inspect.h"

#include <string.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/log.h"
#include "common/util.h"

#define MAP_BATCH 1024
#define MAP_CELLS_MAX 65536

static const char *const phases[] = {
	[DAEMON_STARTING] = "starting",
	[DAEMON_RUNNING] = "running",
	[DAEMON_STOPPING] = "stopping",
};

/* -- volumes ------------------------------------------------------------------------------------------------
 */

static json_t *
error_json(int err, const char *why)
{
	json_t *object = json_pack("{s:s, s:s}", "code", err_name(err), "text", why);

	return object ? object : json_pack("{s:s, s:s}", "code", err_name(err), "text", err_text(err));
}

static json_t *
mapped_json(const struct daemon *daemon, const char *volume)
{
	json_t *array = json_array();

	for (size_t i = 0; i < daemon->ntargets; i++)
		for (size_t k = 0; k < daemon->targets[i]->nluns; k++)
			if (!strcmp(daemon->targets[i]->luns[k].volume, volume))
				json_array_append_new(
					array, json_pack("{s:s, s:I}", "target", daemon->targets[i]->name,
							 "lun", (json_int_t)daemon->targets[i]->luns[k].lun));
	return array;
}

/* With lock held: vol cannot go away meanwhile. */
static json_t *
volume_summary(const struct daemon *daemon, const struct daemon_volume *volume)
{
	struct volume *vol = volume->vol;
	int health = vol ? atomic_load(&vol->health) : volume->err;
	const char *state = !vol ? "failed" : health ? "broken" : "online";
	json_t *object = json_object();

	if (vol && !health) {
		health = atomic_load(&vol->barred);
		state = health == LG_ESANITIZING ? "sanitizing" : health ? "sanitize-failed" : state;
	}
	json_object_set_new(object, "name", json_string(volume->conf.name));
	json_object_set_new(object, "state", json_string(state));
	json_object_set_new(object, "error",
			    health ? error_json(health, vol ? err_text(health) : volume->why) : json_null());
	json_object_set_new(object, "kind", json_string(config_store_kind(volume->conf.store)));
	json_object_set_new(object, "store", json_string(volume->conf.store));
	json_object_set_new(object, "size",
			    json_integer((json_int_t)(vol ? atomic_load(&vol->size) : volume->conf.size)));
	json_object_set_new(object, "allocated",
			    vol ? json_integer((json_int_t)atomic_load(&vol->allocated)) : json_null());
	json_object_set_new(object, "block_size",
			    json_integer((json_int_t)(vol ? vol->block_size : volume->conf.block_size)));
	json_object_set_new(object, "read_only", json_boolean(vol ? vol->read_only : volume->conf.read_only));
	json_object_set_new(object, "write_cache",
			    json_boolean(vol ? vol->write_cache : volume->conf.write_cache));
	json_object_set_new(object, "mapped", mapped_json(daemon, volume->conf.name));
	return object;
}

static json_t *
volumes_locked(const struct daemon *daemon)
{
	json_t *array = json_array();

	for (size_t i = 0; i < daemon->nvolumes; i++)
		json_array_append_new(array, volume_summary(daemon, daemon->volumes[i]));
	return array;
}

/* What only the engine knows, such as a store that is full: it serves on, from the journal, but somebody
 * should look. */
static void
add_degraded(json_t *row, const json_t *described)
{
	const json_t *error = json_object_get(described, "store_error");
	const char *what, *code, *why;

	if (!json_is_object(error) || strcmp(json_string_value(json_object_get(row, "state")), "online") != 0)
		return;
	what = json_string_value(json_object_get(error, "what"));
	code = json_string_value(json_object_get(error, "error"));
	why = json_string_value(json_object_get(error, "why"));
	json_object_set_new(row, "state", json_string("degraded"));
	json_object_set_new(row, "error",
			    json_pack("{s:s, s:o}", "code", code ? code : "?", "text",
				      json_sprintf("%s: %s", what ? what : "the store", why ? why : "?")));
}

/* Outside the lock: it asks the volumes' loops. */
static void
add_all_degraded(struct daemon *daemon, json_t *rows)
{
	json_t *row, *described;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		struct volume *vol = daemon->registry
					     ? registry_get(daemon->registry,
							    json_string_value(json_object_get(row, "name")))
					     : NULL;

		if (!vol)
			continue;
		described = volume_describe(vol);
		add_degraded(row, described);
		json_object_set(row, "object_store", json_object_get(described, "object_store"));
		json_decref(described);
		volume_unref(vol);
	}
}

json_t *
inspect_volumes(struct daemon *daemon)
{
	json_t *array;

	(void)pthread_mutex_lock(&daemon->lock);
	array = volumes_locked(daemon);
	(void)pthread_mutex_unlock(&daemon->lock);
	add_all_degraded(daemon, array);
	return array;
}

/* What it was told of its journal. */
static void
add_journal(const struct daemon *daemon, const struct config_volume *conf, json_t *object)
{
	const char *kind = config_store_kind(conf->store),
		   *dir = conf->journal_dir ? conf->journal_dir : daemon->state.journal_dir;

	if (!kind || strcmp(kind, "chunked") != 0)
		return;
	json_object_set_new(object, "journal_dir", dir ? json_string(dir) : json_null());
	json_object_set_new(
		object, "journal_size",
		json_integer((json_int_t)(conf->journal_size ? conf->journal_size : VOLUME_JOURNAL_DEFAULT)));
}

json_t *
inspect_volume(struct daemon *daemon, const char *name)
{
	struct daemon_volume *volume;
	struct volume *vol = NULL;
	json_t *object = NULL, *more;

	(void)pthread_mutex_lock(&daemon->lock);
	volume = daemon_volume_find(daemon, name);
	if (volume) {
		object = volume_summary(daemon, volume);
		add_journal(daemon, &volume->conf, object);
		vol = volume->vol ? volume_ref(volume->vol) : NULL;
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	if (!vol)
		return object;
	more = volume_describe(vol);
	add_degraded(object, more);
	json_object_update_missing(object, more);
	json_decref(more);
	json_object_set_new(object, "stats", volume_stats(vol));
	volume_unref(vol);
	return object;
}

/* -- targets
 * ------------------------------------------------------------------------------------------------- */

static json_t *
luns_json(struct daemon *daemon, const struct daemon_target *target)
{
	json_t *array = json_array();

	for (size_t i = 0; i < target->nluns; i++) {
		const struct daemon_volume *volume = daemon_volume_find(daemon, target->luns[i].volume);

		json_array_append_new(
			array, json_pack("{s:I, s:s, s:b, s:b}", "lun", (json_int_t)target->luns[i].lun,
					 "volume", target->luns[i].volume, "online", volume && volume->vol,
					 "removable", target->luns[i].removable));
	}
	return array;
}

static json_t *
targets_locked(struct daemon *daemon)
{
	json_t *array = json_array();

	for (size_t i = 0; i < daemon->ntargets; i++)
		json_array_append_new(array, json_pack("{s:s, s:o}", "name", daemon->targets[i]->name, "luns",
						       luns_json(daemon, daemon->targets[i])));
	return array;
}

/* Sessions are counted outside the lock: iscsi has locks of its own. */
static void
add_session_counts(struct daemon *daemon, json_t *targets)
{
	json_t *target;
	size_t i;

	json_array_foreach(targets, i, target)
	{
		const char *name = json_string_value(json_object_get(target, "name"));

		json_object_set_new(target, "session_count",
				    json_integer((json_int_t)iscsi_session_count(daemon->iscsi, name)));
	}
}

json_t *
inspect_targets(struct daemon *daemon)
{
	json_t *array;

	(void)pthread_mutex_lock(&daemon->lock);
	array = targets_locked(daemon);
	(void)pthread_mutex_unlock(&daemon->lock);
	add_session_counts(daemon, array);
	return array;
}

json_t *
inspect_target(struct daemon *daemon, const char *name)
{
	struct daemon_target *target;
	json_t *object = NULL, *sessions;

	(void)pthread_mutex_lock(&daemon->lock);
	target = daemon_target_find(daemon, name);
	if (target) {
		object = json_pack("{s:s, s:o}", "name", target->name, "luns", luns_json(daemon, target));
		daemon_paths_json(daemon, target, object);
		daemon_access_json(&target->access, object);
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	if (object) {
		sessions = iscsi_sessions(daemon->iscsi, json_string_value(json_object_get(object, "name")));
		json_object_set_new(object, "session_count",
				    json_integer((json_int_t)json_array_size(sessions)));
		json_object_set_new(object, "sessions", sessions);
	}
	return object;
}

/* -- status
 * -------------------------------------------------------------------------------------------------- */

static json_t *
mount_json(const struct daemon *daemon)
{
	const char *path = daemon->config.mount.path;

	if (!path)
		return json_null();
	return json_pack("{s:s, s:b, s:o}", "path", path, "mounted", daemon->mount && !daemon->mount_why[0],
			 "error", daemon->mount_why[0] ? json_string(daemon->mount_why) : json_null());
}

static json_t *
memory_json(const struct daemon *daemon)
{
	if (!daemon->arena)
		return json_null();
	return json_pack("{s:I, s:I, s:i}", "total",
			 (json_int_t)arena_total_pages(daemon->arena) * (json_int_t)PAGE_SIZE_BYTES, "free",
			 (json_int_t)arena_free_pages(daemon->arena) * (json_int_t)PAGE_SIZE_BYTES,
			 "pressure", (int)arena_pressure(daemon->arena));
}

json_t *
inspect_status(struct daemon *daemon)
{
	json_t *status = json_object(), *listen = json_array(), *targets, *volumes;
	int phase = atomic_load(&daemon->phase);
	char id[UUID_TEXT], started[UTC_TEXT];

	utc_format(daemon->started, started);
	uuid_format(daemon->state.gateway_id, id);
	json_object_set_new(status, "version", json_string(PACKAGE_VERSION));
	json_object_set_new(status, "state", json_string(phases[phase]));
	json_object_set_new(status, "gateway", json_string(id));
	json_object_set_new(status, "pid", json_integer(getpid()));
	json_object_set_new(status, "started", json_string(started));
	json_object_set_new(status, "uptime_s",
			    json_integer((json_int_t)((clock_ns() - daemon->started_ns) / 1000000000)));
	json_object_set_new(status, "config", json_string(daemon->config_path));
	json_object_set_new(status, "control", json_string(daemon->config.control));
	json_object_set_new(status, "crc32c", json_string(crc32c_implementation()));
	(void)pthread_mutex_lock(&daemon->lock);
	json_object_set_new(status, "disk_engine",
			    daemon->disk_engine ? json_string(daemon->disk_engine) : json_null());
	json_object_set_new(status, "threads", json_integer(daemon->nloops));
	json_object_set_new(status, "memory", memory_json(daemon));
	for (size_t i = 0; i < daemon->nportals; i++)
		json_array_append_new(listen, json_string(daemon->portals[i].bound));
	json_object_set_new(status, "listen", listen);
	json_object_set_new(status, "mount", mount_json(daemon));
	json_object_set_new(status, "doing",
			    daemon->doing ? json_sprintf("%s %s", daemon->doing, daemon->doing_what)
					  : json_null());
	volumes = volumes_locked(daemon);
	targets = targets_locked(daemon);
	(void)pthread_mutex_unlock(&daemon->lock);
	if (phase == DAEMON_RUNNING) {
		add_all_degraded(daemon, volumes);
		add_session_counts(daemon, targets);
		json_object_set_new(status, "session_count",
				    json_integer((json_int_t)iscsi_session_count(daemon->iscsi, NULL)));
	}
	json_object_set_new(status, "volumes", volumes);
	json_object_set_new(status, "targets", targets);
	return status;
}

/* -- the chunk map
 * --------------------------------------------------------------------------------------------- */

struct cell {
	uint64_t clean, dirty, allocated;
};

static int
walk_map(struct volume *vol, uint64_t first, uint64_t end, uint64_t per_cell, struct cell *cells)
{
	struct chunk_info *infos = calloc(MAP_BATCH, sizeof(*infos));
	uint64_t at = first;
	int r = infos ? 0 : -ENOMEM;

	while (!r && at < end) {
		struct vol_req req = {.vol = vol,
				      .op = VOL_MAP,
				      .first_chunk = at,
				      .end_chunk = end,
				      .infos = infos,
				      .max_infos = MAP_BATCH};

		r = volume_call(&req);
		for (unsigned i = 0; !r && i < req.ret_infos; i++) {
			struct cell *cell = &cells[(infos[i].index - first) / per_cell];

			cell->clean += infos[i].state == CHUNK_CLEAN;
			cell->dirty += infos[i].state == CHUNK_DIRTY;
			cell->allocated += infos[i].allocated_bytes;
		}
		at = req.ret_next_chunk;
	}
	free(infos);
	return r;
}

static json_t *
map_json(struct volume *vol, uint64_t chunks, uint64_t first, uint64_t end, uint64_t per_cell,
	 uint64_t ncells, const struct cell *cells)
{
	json_t *array = json_array();

	for (uint64_t i = 0; i < ncells; i++) {
		uint64_t from = first + i * per_cell, n = min_of(per_cell, end - from);

		json_array_append_new(array,
				      json_pack("{s:I, s:I, s:I, s:I, s:I}", "first", (json_int_t)from,
						"chunks", (json_int_t)n, "clean", (json_int_t)cells[i].clean,
						"dirty", (json_int_t)cells[i].dirty, "allocated",
						(json_int_t)cells[i].allocated));
	}
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "name", vol->name, "size",
			 (json_int_t)atomic_load(&vol->size), "chunk_size", (json_int_t)vol->chunk_size,
			 "chunks", (json_int_t)chunks, "chunks_per_cell", (json_int_t)per_cell, "cells",
			 array);
}

static int
map_volume(struct volume *vol, uint64_t first, uint64_t end, uint64_t want, json_t **ret,
	   struct errinfo *info)
{
	uint64_t chunks = (atomic_load(&vol->size) + vol->chunk_size - 1) / vol->chunk_size, per_cell, ncells;
	struct cell *cells;
	int r;

	if (end && first >= end)
		return err_set(info, -ERANGE, "end: %llu is not behind the first chunk, %llu",
			       (unsigned long long)end, (unsigned long long)first);
	end = end ? min_of(end, chunks) : chunks;
	if (first >= end)
		return err_set(info, -ERANGE, "first: there is no chunk %llu: the volume has %llu",
			       (unsigned long long)first, (unsigned long long)chunks);
	want = min_of(max_of(want, 1u), (uint64_t)MAP_CELLS_MAX);
	per_cell = (end - first + want - 1) / want;
	ncells = (end - first + per_cell - 1) / per_cell;
	cells = calloc(ncells, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	r = walk_map(vol, first, end, per_cell, cells);
	if (!r)
		*ret = map_json(vol, chunks, first, end, per_cell, ncells, cells);
	else
		(void)err_set(info, r, "the chunk map cannot be read: %s", err_text(r));
	free(cells);
	return r;
}

static int
not_online(struct daemon *daemon, const char *name, struct errinfo *info)
{
	const struct daemon_volume *volume;
	int r;

	(void)pthread_mutex_lock(&daemon->lock);
	volume = daemon_volume_find(daemon, name);
	r = volume ? err_set(info, volume->err ? volume->err : -EAGAIN, "volume \"%s\" is not online: %s",
			     name, volume->why)
		   : daemon_no_volume(daemon, name, info);
	(void)pthread_mutex_unlock(&daemon->lock);
	return r;
}

int
inspect_map(struct daemon *daemon, const char *name, uint64_t first, uint64_t end, uint64_t cells,
	    json_t **ret, struct errinfo *info)
{
	struct volume *vol = registry_get(daemon->registry, name);
	int r;

	if (!vol)
		return not_online(daemon, name, info);
	r = map_volume(vol, first, end, cells, ret, info);
	volume_unref(vol);
	return r;
}

/* -- for the mount
 * ---------------------------------------------------------------------------------------------- */

static json_t *
provide_status(void *arg)
{
	return inspect_status(arg);
}

static char *
provide_metrics(void *arg)
{
	return inspect_metrics(arg);
}

static json_t *
provide_targets(void *arg)
{
	struct daemon *daemon = arg;
	json_t *array = json_array();

	(void)pthread_mutex_lock(&daemon->lock);
	for (size_t i = 0; i < daemon->ntargets; i++)
		json_array_append_new(array, json_string(daemon->targets[i]->name));
	(void)pthread_mutex_unlock(&daemon->lock);
	return array;
}

static json_t *
provide_target(void *arg, const char *name)
{
	json_t *object = inspect_target(arg, name), *answer;

	if (!object)
		return NULL;
	answer = json_pack("{s:{s:O}, s:O, s:O}", "target", "name", json_object_get(object, "name"), "luns",
			   json_object_get(object, "luns"), "sessions", json_object_get(object, "sessions"));
	json_decref(object);
	return answer;
}

/* The mount has logged it already. */
static void
mount_lost(void *arg, int err)
{
	struct daemon *daemon = arg;

	(void)pthread_mutex_lock(&daemon->lock);
	(void)snprintf(daemon->mount_why, sizeof(daemon->mount_why), "the mount is gone: %s",
		       !err || err == -ENODEV ? "it was unmounted from outside" : err_text(err));
	(void)pthread_mutex_unlock(&daemon->lock);
}

void
inspect_provider(struct daemon *daemon, struct mount_provider *ret)
{
	*ret = (struct mount_provider){
		.arg = daemon,
		.status = provide_status,
		.metrics = provide_metrics,
		.targets = provide_targets,
		.target = provide_target,
		.lost = mount_lost,
	};
}
