/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An object store in JSON: what `volume show`, volume.json and the metrics have of it.
 *
 * Threads: any.
 */
#include "common/util.h"
#include "stores/object/object.h"

static const char *
object_op_name(enum object_op op)
{
	static const char *const names[OBJECT_OP_COUNT] = {
		[OBJECT_PUT] = "put",       [OBJECT_GET] = "get",   [OBJECT_HEAD] = "head",
		[OBJECT_DELETE] = "delete", [OBJECT_LIST] = "list",
	};

	return names[op];
}

static const char *
object_fence_name(int fence)
{
	return fence == OBJECT_FENCED ? "fenced" : fence == OBJECT_UNFENCED ? "unfenced" : "unknown";
}

static json_int_t
value(_Atomic uint64_t *counter)
{
	return (json_int_t)atomic_load_explicit(counter, memory_order_relaxed);
}

static json_t *
operations(struct object_stats *stats)
{
	json_t *object = json_object();

	for (unsigned op = 0; op < OBJECT_OP_COUNT; op++) {
		json_t *row = json_pack("{s:I, s:I}", "requests", value(&stats->ops[op]), "errors",
					value(&stats->errors[op]));

		if (op == OBJECT_PUT)
			json_object_set_new(row, "bytes", json_integer(value(&stats->bytes_put)));
		if (op == OBJECT_GET)
			json_object_set_new(row, "bytes", json_integer(value(&stats->bytes_got)));
		json_object_set_new(object, object_op_name((enum object_op)op), row);
	}
	return object;
}

static json_t *
endpoints(const struct object_description *d)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < d->nendpoints; i++)
		json_array_append_new(array, json_pack("{s:s, s:s}", "url", d->endpoints[i].url, "state",
						       d->endpoints[i].out ? "left out" : "answers"));
	return array;
}

json_t *
object_store_json(struct object_store *store)
{
	struct object_description d;
	json_t *object;

	object_store_describe(store, &d);
	object = json_pack("{s:s, s:s, s:o}", "kind", store->ops->kind, "fence",
			   object_fence_name(atomic_load(&store->fence)), "operations",
			   operations(&store->stats));
	if (!object || !d.nendpoints)
		return object;
	json_object_set_new(object, "endpoints", endpoints(&d));
	json_object_set_new(object, "credentials", json_string(d.credentials));
	json_object_set_new(object, "if_match", json_string(d.if_match));
	json_object_set_new(object, "clock_offset_s", json_integer(d.clock_offset_s));
	json_object_set_new(object, "in_flight", json_integer(d.in_flight));
	json_object_set_new(object, "queued", json_integer(d.queued));
	json_object_set_new(object, "in_flight_limit", json_integer(d.limit));
	json_object_set_new(object, "in_flight_max", json_integer(d.limit_max));
	json_object_set_new(object, "retries", json_integer((json_int_t)d.retries));
	json_object_set_new(object, "slow_downs", json_integer((json_int_t)d.slow_downs));
	json_object_set_new(object, "last_error", d.last_error[0] ? json_string(d.last_error) : json_null());
	return object;
}
