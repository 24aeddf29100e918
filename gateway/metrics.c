/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Metrics in Prometheus' text format (version 0.0.4), made anew at every scrape.
 *
 * One table names the families; counters that only a volume's engine or the iSCSI server know come as JSON
 * integers and are named after their keys, with help from a second table.
 *
 * Threads: any that may block.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"
#include "gateway/inspect.h"

struct scrape {
	struct daemon *daemon;
	FILE *out;
	struct volume **vols; /* with a reference each */
	json_t **stats;
	size_t n;
	json_t *iscsi;
	const char *family; /* being written */
};

struct family {
	const char *name, *type, *help;
	void (*write)(struct scrape *scrape);
	size_t offset; /* for per_op(): which array of struct vol_stats */
};

static void
build_info(struct scrape *scrape)
{
	fprintf(scrape->out, "lungate_build_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
}

static void
uptime(struct scrape *scrape)
{
	fprintf(scrape->out, "lungate_uptime_seconds %.3f\n",
		(double)(clock_ns() - scrape->daemon->started_ns) / 1e9);
}

static void
memory(struct scrape *scrape)
{
	const struct arena *arena = scrape->daemon->arena;

	fprintf(scrape->out,
		"lungate_memory_bytes{state=\"total\"} %llu\nlungate_memory_bytes{state=\"free\"} %llu\n",
		(unsigned long long)arena_total_pages(arena) * PAGE_SIZE_BYTES,
		(unsigned long long)arena_free_pages(arena) * PAGE_SIZE_BYTES);
}

static void
pressure(struct scrape *scrape)
{
	fprintf(scrape->out, "lungate_memory_pressure_ratio %.2f\n",
		arena_pressure(scrape->daemon->arena) / 100.0);
}

static void
threads(struct scrape *scrape)
{
	fprintf(scrape->out, "lungate_threads %u\n", scrape->daemon->nloops);
}

/* Failed ones as well: an alert on 0 needs a sample. */
static void
volume_up(struct scrape *scrape)
{
	struct daemon *daemon = scrape->daemon;

	(void)pthread_mutex_lock(&daemon->lock);
	for (size_t i = 0; i < daemon->nvolumes; i++) {
		struct volume *vol = daemon->volumes[i]->vol;

		fprintf(scrape->out, "lungate_volume_up{volume=\"%s\"} %d\n", daemon->volumes[i]->conf.name,
			vol && !atomic_load(&vol->health) && !atomic_load(&vol->barred));
	}
	(void)pthread_mutex_unlock(&daemon->lock);
}

static void
volume_size(struct scrape *scrape)
{
	for (size_t i = 0; i < scrape->n; i++)
		fprintf(scrape->out, "lungate_volume_size_bytes{volume=\"%s\"} %llu\n", scrape->vols[i]->name,
			(unsigned long long)atomic_load(&scrape->vols[i]->size));
}

static void
volume_allocated(struct scrape *scrape)
{
	for (size_t i = 0; i < scrape->n; i++)
		fprintf(scrape->out, "lungate_volume_allocated_bytes{volume=\"%s\"} %llu\n",
			scrape->vols[i]->name, (unsigned long long)atomic_load(&scrape->vols[i]->allocated));
}

static void
volume_inflight(struct scrape *scrape)
{
	for (size_t i = 0; i < scrape->n; i++)
		fprintf(scrape->out, "lungate_volume_inflight{volume=\"%s\"} %llu\n", scrape->vols[i]->name,
			(unsigned long long)atomic_load(&scrape->vols[i]->inflight));
}

static void
per_op(struct scrape *scrape, size_t offset)
{
	for (size_t i = 0; i < scrape->n; i++) {
		const counter_t *counters =
			(const counter_t *)(const void *)((const char *)&scrape->vols[i]->stats + offset);

		for (unsigned op = 0; op < VOL_OP_COUNT; op++)
			fprintf(scrape->out, "%s{volume=\"%s\",op=\"%s\"} %llu\n", scrape->family,
				scrape->vols[i]->name, vol_op_name((enum vol_op)op),
				(unsigned long long)counter_read(&counters[op]));
	}
}

static void
volume_latency(struct scrape *scrape)
{
	static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};

	for (size_t i = 0; i < scrape->n; i++) {
		for (unsigned op = 0; op < VOL_OP_COUNT; op++) {
			const struct histogram *h = &scrape->vols[i]->stats.latency[op];
			const char *name = scrape->vols[i]->name, *word = vol_op_name((enum vol_op)op);

			for (size_t q = 0; q < ARRAY_SIZE(quantiles); q++)
				fprintf(scrape->out, "%s{volume=\"%s\",op=\"%s\",quantile=\"%g\"} %g\n",
					scrape->family, name, word, quantiles[q],
					(double)histogram_quantile_us(h, quantiles[q]) / 1e6);
			fprintf(scrape->out, "%s_sum{volume=\"%s\",op=\"%s\"} %g\n", scrape->family, name,
				word, (double)counter_read(&h->sum_us) / 1e6);
			fprintf(scrape->out, "%s_count{volume=\"%s\",op=\"%s\"} %llu\n", scrape->family, name,
				word, (unsigned long long)counter_read(&h->count));
		}
	}
}

static const struct family families[] = {
	{"lungate_build_info", "gauge", "The version, as a label.", build_info, 0},
	{"lungate_uptime_seconds", "gauge", "Since the daemon started.", uptime, 0},
	{"lungate_threads", "gauge", "Event-loop threads.", threads, 0},
	{"lungate_memory_bytes", "gauge", "The page arena: all data in flight and cached.", memory, 0},
	{"lungate_memory_pressure_ratio", "gauge", "How much of the arena is in use, 0 to 1.", pressure, 0},
	{"lungate_volume_up", "gauge", "1 while the volume is open and keeps its promises.", volume_up, 0},
	{"lungate_volume_size_bytes", "gauge", "Size that initiators see.", volume_size, 0},
	{"lungate_volume_allocated_bytes", "gauge", "Bytes that it occupies in its store.", volume_allocated,
	 0},
	{"lungate_volume_inflight", "gauge", "Requests under way.", volume_inflight, 0},
	{"lungate_volume_requests_total", "counter", "Requests completed.", NULL,
	 offsetof(struct vol_stats, ops)},
	{"lungate_volume_bytes_total", "counter", "Bytes of requests completed.", NULL,
	 offsetof(struct vol_stats, bytes)},
	{"lungate_volume_errors_total", "counter", "Requests that failed.", NULL,
	 offsetof(struct vol_stats, errors)},
	{"lungate_volume_latency_seconds", "summary", "From submission to completion.", volume_latency, 0},
};

/* Types of what comes as JSON, by the beginning of the name; a name that is not here is `untyped`. */
static const struct {
	const char *prefix, *type, *help;
} known[] = {
	{"lungate_iscsi_connections", "gauge", "Connections now."},
	{"lungate_iscsi_sessions", "gauge", "Sessions now, discovery included."},
	{"lungate_iscsi_logins", "counter", "Logins that reached the full feature phase."},
	{"lungate_iscsi_login_failures", "counter", "Logins that were refused or broken off."},
	{"lungate_iscsi_rejects", "counter", "Reject PDUs sent."},
	{"lungate_iscsi_pdus", "counter", "PDUs."},
	{"lungate_iscsi_bytes", "counter", "Bytes of PDUs."},
	{"lungate_iscsi_parked", "counter", "Commands that waited for memory."},
	{"lungate_iscsi_", "counter", "Events of the iSCSI target since its start."},
	{"lungate_volume_store_", "counter",
	 "Requests to the object store, or their bytes, by what they carry."},
	{"lungate_volume_journal_capacity", "gauge", "Disk space of the journal."},
	{"lungate_volume_journal_used", "gauge", "Of these, in use."},
	{"lungate_volume_journal_durable_seq", "counter", "Changes that are on stable storage."},
	{"lungate_volume_journal_", "counter", "Work of the journal."},
	{"lungate_volume_dirty_", "gauge", "Changes that the store does not have yet."},
	{"lungate_volume_cached_", "gauge", "Clean data in memory."},
	{"lungate_volume_commit", "counter", "Map commits."},
	{"lungate_volume_degraded", "gauge",
	 "1 while the store takes no data and the journal has to hold it."},
	{"lungate_volume_writers_waiting", "gauge", "Writes held back now, for the journal is nearly full."},
	{"lungate_volume_writers_", "counter",
	 "Writes that were slowed down or held back by a nearly full journal."},
	{"lungate_volume_crc_errors", "counter", "Pages that did not match their checksum."},
	{"lungate_volume_put_errors", "counter",
	 "Requests to the store that failed, before they were repeated."},
	{"lungate_volume_get_errors", "counter",
	 "Requests to the store that failed, before they were repeated."},
	{"lungate_volume_cache_", "counter", "Pages found, missed and evicted in memory."},
	{"lungate_volume_present_chunks", "gauge", "Chunks that are there."},
	{"lungate_volume_host_write_bytes", "counter",
	 "Bytes written by initiators: what write amplification is measured by."},
	{"lungate_volume_generation", "gauge", "How often the volume changed hands."},
};

static void
write_header(struct scrape *scrape, const char *name, const char *type, const char *help)
{
	fprintf(scrape->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static const char *
known_type(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strncmp(known[i].prefix, name, strlen(known[i].prefix)))
			return known[i].type;
	return "untyped";
}

static void
write_known_header(struct scrape *scrape, const char *name)
{
	const char *help = "See stats.json.";

	for (size_t i = ARRAY_SIZE(known); i-- > 0;)
		if (!strncmp(known[i].prefix, name, strlen(known[i].prefix)))
			help = known[i].help;
	write_header(scrape, name, known_type(name), help);
}

/* Reasons of closing are one family with a label. */
#define CLOSED "closed_"

static void
write_closed(struct scrape *scrape)
{
	const char *key;
	json_t *value;

	write_header(scrape, "lungate_iscsi_closed_total", "counter", "Connections that ended, by reason.");
	json_object_foreach(scrape->iscsi, key, value)
	{
		if (json_is_integer(value) && !strncmp(key, CLOSED, strlen(CLOSED)))
			fprintf(scrape->out, "lungate_iscsi_closed_total{reason=\"%s\"} %lld\n",
				key + strlen(CLOSED), (long long)json_integer_value(value));
	}
}

static void
write_iscsi(struct scrape *scrape)
{
	const char *key;
	json_t *value;
	char name[128];

	json_object_foreach(scrape->iscsi, key, value)
	{
		if (!json_is_integer(value) || !strncmp(key, CLOSED, strlen(CLOSED)))
			continue;
		(void)snprintf(name, sizeof(name), "lungate_iscsi_%s", key);
		if (!strcmp(known_type(name), "counter"))
			(void)snprintf(name, sizeof(name), "lungate_iscsi_%s_total", key);
		write_known_header(scrape, name);
		fprintf(scrape->out, "%s %lld\n", name, (long long)json_integer_value(value));
	}
	if (scrape->iscsi)
		write_closed(scrape);
}

/* Every sample of a family stands together, so the volumes are gone through once for each name. */
static void
write_engine_family(struct scrape *scrape, const char *key)
{
	char name[128];

	(void)snprintf(name, sizeof(name), "lungate_volume_%s", key);
	write_known_header(scrape, name);
	for (size_t i = 0; i < scrape->n; i++) {
		const json_t *value = json_object_get(scrape->stats[i], key);

		if (json_is_integer(value))
			fprintf(scrape->out, "%s{volume=\"%s\"} %lld\n", name, scrape->vols[i]->name,
				(long long)json_integer_value(value));
	}
}

static void
write_engines(struct scrape *scrape)
{
	json_t *seen = json_object();

	for (size_t i = 0; i < scrape->n; i++) {
		const char *key;
		json_t *value;

		json_object_foreach(scrape->stats[i], key, value)
		{
			if (!json_is_integer(value) || json_object_get(seen, key))
				continue;
			json_object_set_new(seen, key, json_true());
			write_engine_family(scrape, key);
		}
	}
	json_decref(seen);
}

/* -- object stores -----------------------------------------------------------------------------------------
 */

/* One sample: key's integer in "object_store" of volume i. */
static const struct {
	const char *name, *key, *type, *help;
} store_numbers[] = {
	{"lungate_store_in_flight", "in_flight", "gauge", "Requests to the object store under way."},
	{"lungate_store_queued", "queued", "gauge", "Requests to the object store that wait for their turn."},
	{"lungate_store_in_flight_limit", "in_flight_limit", "gauge",
	 "How many may be under way: halved by SlowDown, raised by successes."},
	{"lungate_store_retries_total", "retries", "counter", "Attempts that were repeated."},
	{"lungate_store_slow_downs_total", "slow_downs", "counter",
	 "Times that the object store asked for less."},
	{"lungate_store_clock_offset_seconds", "clock_offset_s", "gauge",
	 "The object store's clock less this machine's, where it matters."},
};

static const struct {
	const char *name, *key, *help;
} store_columns[] = {
	{"lungate_store_requests_total", "requests", "Requests to the object store, by operation."},
	{"lungate_store_errors_total", "errors", "Of these, failed for good."},
	{"lungate_store_bytes_total", "bytes", "Bytes of object bodies sent and received."},
};

static const json_t *
store_of(const struct scrape *scrape, size_t i)
{
	return json_object_get(scrape->stats[i], "object_store");
}

static void
write_store_numbers(struct scrape *scrape)
{
	for (size_t f = 0; f < ARRAY_SIZE(store_numbers); f++) {
		write_header(scrape, store_numbers[f].name, store_numbers[f].type, store_numbers[f].help);
		for (size_t i = 0; i < scrape->n; i++) {
			const json_t *value = json_object_get(store_of(scrape, i), store_numbers[f].key);

			if (json_is_integer(value))
				fprintf(scrape->out, "%s{volume=\"%s\"} %lld\n", store_numbers[f].name,
					scrape->vols[i]->name, (long long)json_integer_value(value));
		}
	}
}

static void
write_store_operations(struct scrape *scrape)
{
	const char *op;
	json_t *row;

	for (size_t f = 0; f < ARRAY_SIZE(store_columns); f++) {
		write_header(scrape, store_columns[f].name, "counter", store_columns[f].help);
		for (size_t i = 0; i < scrape->n; i++) {
			json_object_foreach(json_object_get(store_of(scrape, i), "operations"), op, row)
			{
				const json_t *value = json_object_get(row, store_columns[f].key);

				if (json_is_integer(value))
					fprintf(scrape->out, "%s{volume=\"%s\",op=\"%s\"} %lld\n",
						store_columns[f].name, scrape->vols[i]->name, op,
						(long long)json_integer_value(value));
			}
		}
	}
}

static void
write_stores(struct scrape *scrape)
{
	json_t *endpoint;
	size_t k;

	write_header(scrape, "lungate_store_fenced", "gauge",
		     "1 when the object store's conditional PUTs keep two gateways apart.");
	for (size_t i = 0; i < scrape->n; i++) {
		const char *fence = json_string_value(json_object_get(store_of(scrape, i), "fence"));

		if (fence)
			fprintf(scrape->out, "lungate_store_fenced{volume=\"%s\"} %d\n",
				scrape->vols[i]->name, !strcmp(fence, "fenced"));
	}
	write_header(scrape, "lungate_store_endpoint_up", "gauge",
		     "0 while an endpoint does not answer and is left out.");
	for (size_t i = 0; i < scrape->n; i++) {
		json_array_foreach(json_object_get(store_of(scrape, i), "endpoints"), k, endpoint)
			fprintf(scrape->out, "lungate_store_endpoint_up{volume=\"%s\",endpoint=\"%s\"} %d\n",
				scrape->vols[i]->name, json_string_value(json_object_get(endpoint, "url")),
				!strcmp(json_string_value(json_object_get(endpoint, "state")), "answers"));
	}
	write_store_numbers(scrape);
	write_store_operations(scrape);
}

static void
write_all(struct scrape *scrape)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *family = &families[i];

		scrape->family = family->name;
		write_header(scrape, family->name, family->type, family->help);
		if (family->write)
			family->write(scrape);
		else
			per_op(scrape, family->offset);
	}
	write_iscsi(scrape);
	write_engines(scrape);
	write_stores(scrape);
}

char *
inspect_metrics(struct daemon *daemon)
{
	struct scrape scrape = {.daemon = daemon};
	char *text = NULL;
	size_t len;

	if (registry_list(daemon->registry, &scrape.vols, &scrape.n))
		return NULL;
	scrape.stats = calloc(scrape.n + 1, sizeof(*scrape.stats));
	scrape.out = open_memstream(&text, &len);
	scrape.iscsi = daemon->iscsi ? iscsi_counters(daemon->iscsi) : NULL;
	if (scrape.stats && scrape.out) {
		for (size_t i = 0; i < scrape.n; i++)
			scrape.stats[i] = volume_stats(scrape.vols[i]);
		write_all(&scrape);
	}
	if (scrape.out)
		(void)fclose(scrape.out);
	for (size_t i = 0; i < scrape.n; i++) {
		if (scrape.stats)
			json_decref(scrape.stats[i]);
		volume_unref(scrape.vols[i]);
	}
	json_decref(scrape.iscsi);
	free(scrape.stats);
	free(scrape.vols);
	return text;
}
