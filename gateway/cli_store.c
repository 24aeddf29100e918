/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lungate store check: tries an object store, without a daemon.
 *
 * What it writes lies below "lungate-probe/" and is removed again.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/loop.h"
#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/textout.h"
#include "stores/object/object.h"

#define RACES 4u
#define STREAMS 8u
#define EACH 2u                 /* objects a stream */
#define OBJECT_BYTES (4u << 20) /* a chunk */

static const struct cli_arg check_args[] = {
	{.name = "STORE", .help = "s3://BUCKET/PREFIX?endpoint=..., or dir:/PATH"},
};
static const struct cli_option check_options[] = {
	{.name = "quick", .help = "leave out the throughput: no object larger than a few bytes is written"},
};

struct stream {
	struct object_store *store;
	struct loop *loop;
	enum object_op op;
	unsigned id;
	char (*keys)[64];
	uint8_t *buf;
	pthread_t thread;
	int rc;
};

static void *
run_stream(void *arg)
{
	struct stream *s = arg;
	struct iovec iov = {s->buf, OBJECT_BYTES};

	for (unsigned i = 0; i < EACH && !s->rc; i++) {
		struct object_req req = {.store = s->store,
					 .op = s->op,
					 .key = s->keys[s->id * EACH + i],
					 .iov = &iov,
					 .niov = 1};

		s->rc = object_call(s->loop, &req);
	}
	return NULL;
}

/* Bytes a second of all streams at once. */
static int
run_streams(struct stream *streams, enum object_op op, double *ret)
{
	uint64_t start = clock_ns();
	unsigned started = 0;
	int rc = 0;

	for (; started < STREAMS && !rc; started += !rc) {
		streams[started].op = op;
		rc = -pthread_create(&streams[started].thread, NULL, run_stream, &streams[started]);
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(streams[i].thread, NULL);
		rc = rc ? rc : streams[i].rc;
	}
	*ret = (double)STREAMS * EACH * OBJECT_BYTES * 1e9 / (double)(clock_ns() - start);
	return rc;
}

static int
measure(struct object_store *store, struct loop *loop, double *ret_put, double *ret_get, struct errinfo *info)
{
	static struct stream streams[STREAMS];
	char names[STREAMS * EACH][64];
	const char *keys[STREAMS * EACH];
	struct object_req remove = {
		.store = store, .op = OBJECT_DELETE, .keys = keys, .nkeys = STREAMS * EACH};
	uint8_t nonce[8];
	int rc = 0, removed;

	random_bytes(nonce, sizeof(nonce));
	for (unsigned i = 0; i < STREAMS * EACH; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "lungate-probe/speed-%02x%02x%02x%02x-%u",
			       nonce[0], nonce[1], nonce[2], nonce[3], i);
		keys[i] = names[i];
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		streams[i] = (struct stream){.store = store, .loop = loop, .id = i, .keys = names};
		streams[i].buf = malloc(OBJECT_BYTES);
		if (!streams[i].buf)
			rc = -ENOMEM;
		else
			random_bytes(streams[i].buf, OBJECT_BYTES);
	}
	if (!rc)
		rc = run_streams(streams, OBJECT_PUT, ret_put);
	if (!rc)
		rc = run_streams(streams, OBJECT_GET, ret_get);
	removed = object_call(loop, &remove);
	rc = rc ? rc : removed;
	if (rc)
		(void)err_set(info, rc, "objects of %u MiB: %s", OBJECT_BYTES >> 20, err_text(rc));
	for (unsigned i = 0; i < STREAMS; i++)
		free(streams[i].buf);
	return rc;
}

static void
report(const struct cli *cli, const struct object_store *store, const struct object_probe *probe, bool quick,
       double put, double get)
{
	json_t *object = json_pack("{s:s, s:s, s:b, s:s, s:i, s:f, s:f}", "store", store->url, "kind",
				   store->ops->kind, "fenced", probe->fence == OBJECT_FENCED, "verdict",
				   probe->text, "races", (int)probe->races, "put_ms",
				   (double)probe->put_ns / 1e6, "get_ms", (double)probe->get_ns / 1e6);

	if (!quick) {
		json_object_set_new(object, "put_bytes_per_second", json_real(put));
		json_object_set_new(object, "get_bytes_per_second", json_real(get));
	}
	if (!client_json(cli, object)) {
		printf("%s\n  verdict      %s\n  races        %u, of 16 conditional PUTs each\n"
		       "  latency      PUT %.2f ms, GET %.2f ms\n",
		       store->url, probe->text, probe->races, (double)probe->put_ns / 1e6,
		       (double)probe->get_ns / 1e6);
		if (!quick)
			printf("  throughput   PUT %.0f MB/s, GET %.0f MB/s (%u at once, %u MiB each)\n",
			       put / 1e6, get / 1e6, STREAMS, OBJECT_BYTES >> 20);
	}
	json_decref(object);
}

static int
check_store(struct cli *cli, struct loop *loop, struct errinfo *info)
{
	bool quick = cli_has(cli, "quick");
	struct object_store *store = NULL;
	struct object_probe probe;
	double put = 0, get = 0;
	int rc = object_store_open(cli->args[0], NULL, false, &store, info);

	if (rc)
		return rc;
	rc = object_store_probe(store, loop, RACES, &probe, info);
	if (!rc && !quick)
		rc = measure(store, loop, &put, &get, info);
	if (!rc)
		report(cli, store, &probe, quick, put, get);
	object_store_free(store);
	return rc;
}

static int
run_check(struct cli *cli)
{
	struct errinfo info = {{0}};
	struct loop *loop = NULL;
	int rc = loop_pool_init(0);

	if (!rc)
		rc = loop_new("store", 0, &loop);
	if (!rc)
		rc = loop_start(loop);
	if (!rc)
		rc = check_store(cli, loop, &info);
	if (loop)
		loop_free(loop);
	loop_pool_fini();
	return rc ? client_fail(cli, rc, &info) : EXIT_OK;
}

const struct cli_command cli_store_commands[] = {
	{
		.name = "store check",
		.summary = "try an object store: access, fencing, speed; works without a daemon",
		.about =
			"Opens the store with this shell's credentials, tries whether its conditional PUTs keep two\n"
			"gateways apart (fenced), and measures. What it writes lies below lungate-probe/ and is removed.",
		.args = check_args,
		.nargs = ARRAY_SIZE(check_args),
		.options = check_options,
		.noptions = ARRAY_SIZE(check_options),
		.example = "lungate store check 's3://bucket/prefix?endpoint=http://10.0.0.5:7480'",
		.next = "lungate volume create disk0 --size 10G --store STORE",
		.run = run_check,
	},
};
const size_t cli_store_ncommands = ARRAY_SIZE(cli_store_commands);
