/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lungate store check: tries an object store, without a daemon.
 *
 * What it writes lies below "lungate-probe/" and is removed again, after Ctrl-C as well.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/loop.h"
#include "common/util.h"
#include "gateway/cli_commands.h"
#include "gateway/client.h"
#include "gateway/exitcode.h"
#include "gateway/textout.h"
#include "stores/stores.h"

static const struct cli_arg check_args[] = {
	{.name = "STORE", .help = "s3://BUCKET/PREFIX?endpoint=..., or dir:/PATH"},
};
static const struct cli_option check_options[] = {
	{.name = "quick", .help = "leave out the throughput: no object larger than a few bytes is written"},
};

static void
report(const struct cli *cli, const struct store_report *r)
{
	json_t *object = json_pack("{s:s, s:s, s:b, s:s, s:i, s:f, s:f}", "store", r->url, "kind", r->kind,
				   "fenced", (int)r->fenced, "verdict", r->verdict, "races", (int)r->races,
				   "put_ms", (double)r->put_ns / 1e6, "get_ms", (double)r->get_ns / 1e6);

	if (r->put_bytes_per_s) {
		json_object_set_new(object, "put_bytes_per_second",
				    json_integer((json_int_t)r->put_bytes_per_s));
		json_object_set_new(object, "get_bytes_per_second",
				    json_integer((json_int_t)r->get_bytes_per_s));
	}
	if (r->foreign[0])
		json_object_set_new(object, "foreign", json_string(r->foreign));
	if (!client_json(cli, object)) {
		printf("%s\n  verdict      %s\n  races        %u, of 16 conditional PUTs each\n"
		       "  latency      PUT %.2f ms, GET %.2f ms\n",
		       r->url, r->verdict, r->races, (double)r->put_ns / 1e6, (double)r->get_ns / 1e6);
		if (r->foreign[0])
			printf("  holds        %s; bring it in: lungate volume import NAME --from STORE\n",
			       r->foreign);
		if (r->put_bytes_per_s)
			printf("  throughput   PUT %.0f MB/s, GET %.0f MB/s (8 at once, 4 MiB each)\n",
			       (double)r->put_bytes_per_s / 1e6, (double)r->get_bytes_per_s / 1e6);
	}
	json_decref(object);
}

/* What it wrote is removed first; asked again it ends at once. */
static _Atomic bool stop;

static void
ask_to_stop(int sig)
{
	(void)sig;
	atomic_store(&stop, true);
}

static void
watch_signals(void)
{
	struct sigaction action = {.sa_handler = ask_to_stop, .sa_flags = (int)SA_RESETHAND | SA_RESTART};

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

static int
run_check(struct cli *cli)
{
	struct errinfo info = {{0}};
	struct store_report result;
	struct loop *loop = NULL;
	int rc;

	watch_signals();
	rc = loop_pool_init(0);
	if (!rc)
		rc = loop_new("store", 0, &loop);
	if (!rc)
		rc = loop_start(loop);
	if (!rc)
		rc = store_check(cli->args[0], loop, cli_has(cli, "quick"), &stop, &result, &info);
	if (!rc)
		report(cli, &result);
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
