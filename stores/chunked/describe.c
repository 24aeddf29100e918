/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a chunked volume says of itself: members of volume.json and stats.json.
 * Every integer member of the latter is a metric, so names are stable.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <stdio.h>

static void
set_int(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void
set_uuid(json_t *object, const char *key, const uint8_t uuid[UUID_LEN])
{
	char text[UUID_TEXT];

	uuid_format(uuid, text);
	json_object_set_new(object, key, json_string(text));
}

static json_t *
describe_journal(const struct engine *eng)
{
	json_t *object = json_object();

	set_uuid(object, "uuid", eng->journal_uuid);
	json_object_set_new(object, "path", json_string(eng->journal_path));
	set_int(object, "capacity", journal_capacity(eng->journal));
	set_int(object, "used", journal_used(eng->journal));
	set_int(object, "durable_seq", journal_durable_seq(eng->journal));
	return object;
}

static json_t *
describe_store_error(struct engine *eng)
{
	json_t *object = json_object();

	json_object_set_new(object, "what", json_string(eng->degraded_what));
	json_object_set_new(object, "error", json_string(err_name(eng->degraded)));
	json_object_set_new(object, "why", json_string(err_text(eng->degraded)));
	set_int(object, "seconds", (loop_now_ms(eng->vol.loop) - eng->degraded_since_ms) / 1000);
	return object;
}

void
engine_describe(struct volume *vol, json_t *object)
{
	struct engine *eng = engine_of(vol);

	set_uuid(object, "owner", eng->gateway_id);
	set_int(object, "generation", eng->generation);
	set_int(object, "commit", eng->root.commit);
	set_int(object, "commit_time_ms", eng->root.time_ms);
	set_int(object, "covered_seq", eng->covered_seq);
	set_int(object, "commit_window", eng->commit_window);
	set_int(object, "commit_interval", eng->commit_interval_ms / 1000);
	json_object_set_new(object, "commit_state", json_string(commit_state_name(eng->commit.state)));
	if (eng->journal)
		json_object_set_new(object, "journal", describe_journal(eng));
	json_object_set_new(object, "attributes", attrs_json(&eng->attrs_durable));
	json_object_set_new(object, "object_store", object_store_json(eng->store));
	json_object_set_new(object, "store_error", eng->degraded ? describe_store_error(eng) : json_null());
}

static void
describe_traffic(const struct engine *eng, json_t *object)
{
	static const char *const kinds[TRAFFIC_KINDS] = {
		[TRAFFIC_BASE] = "base", [TRAFFIC_LEAF] = "leaf",   [TRAFFIC_ROOT] = "root",
		[TRAFFIC_TAIL] = "tail", [TRAFFIC_OTHER] = "other",
	};
	static const struct {
		const char *what;
		size_t offset;
	} columns[] = {
		{"puts", offsetof(struct engine, puts)},
		{"put_bytes", offsetof(struct engine, put_bytes)},
		{"gets", offsetof(struct engine, gets)},
		{"get_bytes", offsetof(struct engine, got_bytes)},
	};
	char name[64];

	for (unsigned c = 0; c < ARRAY_SIZE(columns); c++) {
		const counter_t *counters =
			(const counter_t *)(const void *)((const char *)eng + columns[c].offset);

		for (unsigned k = 0; k < TRAFFIC_KINDS; k++) {
			snprintf(name, sizeof(name), "store_%s_%s", kinds[k], columns[c].what);
			set_int(object, name, counter_read(&counters[k]));
		}
	}
}

static void
describe_journal_stats(const struct engine *eng, json_t *object)
{
	if (!eng->journal)
		return;
	set_int(object, "journal_capacity_bytes", journal_capacity(eng->journal));
	set_int(object, "journal_used_bytes", journal_used(eng->journal));
	set_int(object, "journal_durable_seq", journal_durable_seq(eng->journal));
	set_int(object, "journal_written_bytes", counter_read(&eng->journal_bytes));
	set_int(object, "journal_page_reads", counter_read(&eng->journal_reads));
}

static void
describe_dirty(const struct engine *eng, json_t *object)
{
	uint64_t pages = eng->active->pages, chunks = eng->active->nchunks, meta = eng->active->meta_bytes;
	uint64_t resident = eng->active->resident;

	if (eng->frozen) {
		pages += eng->frozen->pages;
		chunks += eng->frozen->nchunks;
		meta += eng->frozen->meta_bytes;
		resident += eng->frozen->resident;
	}
	set_int(object, "dirty_bytes", pages * PAGE_SIZE_BYTES);
	set_int(object, "dirty_chunks", chunks);
	set_int(object, "dirty_resident_bytes", resident * PAGE_SIZE_BYTES);
	set_int(object, "dirty_table_bytes", meta);
	set_int(object, "cached_bytes", eng->cache.pages * PAGE_SIZE_BYTES);
	set_int(object, "early_bases", counter_read(&eng->early_bases));
	set_int(object, "early_bases_dropped", counter_read(&eng->early_dropped));
	set_int(object, "chunks_read_ahead", counter_read(&eng->read_ahead));
}

void
engine_describe_stats(struct volume *vol, json_t *object)
{
	struct engine *eng = engine_of(vol);

	set_int(object, "generation", eng->generation);
	set_int(object, "commit", eng->root.commit);
	set_int(object, "commits", counter_read(&eng->commits));
	set_int(object, "accepted_seq", eng->last_seq);
	set_int(object, "covered_seq", eng->covered_seq);
	set_int(object, "replayed_entries", eng->replayed);
	describe_dirty(eng, object);
	describe_journal_stats(eng, object);
	describe_traffic(eng, object);
	set_int(object, "host_write_bytes", counter_read(&vol->stats.bytes[VOL_WRITE]));
	set_int(object, "present_chunks", eng->map.present);
	set_int(object, "cloned_chunks", counter_read(&eng->clones));
	set_int(object, "shared_bases", eng->shares.n);
	set_int(object, "leaves_loaded", eng->map.loaded);
	set_int(object, "crc_tables_loaded", eng->crctabs.n);
	set_int(object, "cache_hit_pages", counter_read(&eng->cache.hits));
	set_int(object, "cache_miss_pages", counter_read(&eng->cache.misses));
	set_int(object, "cache_evicted_pages", counter_read(&eng->cache.evicted));
	set_int(object, "merged_pages", counter_read(&eng->rmw));
	set_int(object, "gate_fill_percent", gate_fill(eng));
	set_int(object, "writers_waiting", eng->gate.waiting);
	set_int(object, "writers_delayed", counter_read(&eng->gate.delayed));
	set_int(object, "writers_held", counter_read(&eng->gate.held));
	set_int(object, "crc_errors", counter_read(&eng->crc_errors));
	set_int(object, "unreadable_pages_carried", counter_read(&eng->carried_bad));
	set_int(object, "put_errors", counter_read(&eng->put_errors));
	set_int(object, "get_errors", counter_read(&eng->get_errors));
	set_int(object, "degraded", eng->degraded ? 1 : 0);
	json_object_set_new(object, "object_store", object_store_json(eng->store));
	set_int(object, "dead_objects", eng->dead.n - eng->dead.at);
	set_int(object, "dead_deleted", counter_read(&eng->dead.deleted));
	set_int(object, "dead_leaked", counter_read(&eng->dead.leaked));
}
