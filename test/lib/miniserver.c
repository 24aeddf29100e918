/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The smallest program that serves volumes over iSCSI: for trying initiators and
 * conformance suites against gateway/iscsi and gateway/scsi without a daemon's configuration.
 *
 *   miniserver [-l LOOPS] [-m MEMORY] [-r] [-w] [-b BLOCK] PORTAL TARGET STORE=SIZE...
 *   miniserver 127.0.0.1:3260 iqn.2024-01.org.lungate:mini ram:=1G file:/tmp/disk=512M
 *
 * Prints "listening on ADDRESS" when it is ready; ends cleanly on SIGINT or SIGTERM.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/registry.h"
#include "common/util.h"
#include "gateway/iscsi/iscsi.h"
#include "gateway/scsi/scsi.h"
#include "stores/stores.h"

#define LUNS_MAX 16

struct options {
	unsigned loops;
	uint64_t memory;
	bool read_only, write_cache;
	uint64_t block;
};

static void
die(const char *what, int err, const struct errinfo *info)
{
	fprintf(stderr, "miniserver: %s: %s\n", what, info && *info->text ? info->text : err_text(err));
	exit(1);
}

static struct volume *
open_volume(const char *text, unsigned n, const struct options *options, struct loop *loop,
	    struct arena *arena)
{
	char *store = strdup(text), *size = store ? strrchr(store, '=') : NULL;
	char name[16];
	struct volume_spec spec = {
		.name = name,
		.store = store,
		.block_size = (uint32_t)options->block,
		.write_cache = options->write_cache,
	};
	struct errinfo info = {""};
	struct volume *vol;
	int rc;

	snprintf(name, sizeof(name), "lun%u", n);
	if (!size || size_parse(size + 1, &spec.size) < 0) {
		fprintf(stderr, "miniserver: \"%s\" is not STORE=SIZE\n", text);
		exit(2);
	}
	*size = 0;
	rc = volume_create(&spec, loop, arena, &info);
	if (rc < 0 && rc != -EEXIST)
		die(text, rc, &info);
	spec.read_only = options->read_only;
	rc = volume_open(&spec, loop, arena, &vol, &info);
	if (rc < 0)
		die(text, rc, &info);
	free(store);
	return vol;
}

static void
serve(const char *portal, const char *name, char **stores, unsigned n, const struct options *options)
{
	struct volume *vols[LUNS_MAX];
	struct loop *loops[LOOPS_MAX];
	struct iscsi_limits limits;
	struct iscsi_server *server;
	struct scsi_target *scsi;
	struct errinfo info = {""};
	struct arena *arena;
	char bound[64];
	sigset_t set;
	int rc, sig;

	/* before the first thread, so that all inherit it */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	rc = arena_new(options->memory, &arena);
	if (rc < 0)
		die("memory", rc, NULL);
	loop_pool_init(0);
	for (unsigned i = 0; i < options->loops; i++) {
		char text[16];

		snprintf(text, sizeof(text), "loop%u", i);
		rc = loop_new(text, i, &loops[i]);
		if (rc == 0)
			rc = loop_start(loops[i]);
		if (rc < 0)
			die(text, rc, NULL);
	}
	iscsi_limits_default(&limits);
	rc = iscsi_server_new(loops, options->loops, arena, &limits, &server);
	if (rc == 0)
		rc = scsi_target_new(name, &scsi);
	if (rc < 0)
		die("server", rc, NULL);
	for (unsigned i = 0; i < n; i++) {
		vols[i] = open_volume(stores[i], i, options, loops[i % options->loops], arena);
		rc = scsi_target_map(scsi, i, vols[i], &info);
		if (rc < 0)
			die(stores[i], rc, &info);
	}
	rc = iscsi_target_add(server, name, scsi, NULL, &info);
	if (rc == 0)
		rc = iscsi_portal_add(server, portal, bound, &info);
	if (rc < 0)
		die(portal, rc, &info);
	printf("listening on %s\n", bound);
	fflush(stdout);
	sigwait(&set, &sig);

	iscsi_server_free(server);
	for (unsigned i = 0; i < n; i++) {
		scsi_target_unmap(scsi, i);
		volume_close(vols[i]);
	}
	scsi_target_free(scsi);
	for (unsigned i = 0; i < options->loops; i++)
		loop_free(loops[i]);
	loop_pool_fini();
	arena_free(arena);
}

int
main(int argc, char **argv)
{
	struct options options = {.loops = 1, .memory = 256u << 20};
	int opt;

	log_init();
	while ((opt = getopt(argc, argv, "l:m:b:rwv")) != -1) {
		switch (opt) {
		case 'l':
			options.loops = (unsigned)min_of(strtoul(optarg, NULL, 10), (unsigned long)LOOPS_MAX);
			break;
		case 'm':
			if (size_parse(optarg, &options.memory) < 0)
				return 2;
			break;
		case 'b':
			if (size_parse(optarg, &options.block) < 0)
				return 2;
			break;
		case 'r':
			options.read_only = true;
			break;
		case 'w':
			options.write_cache = true;
			break;
		case 'v':
			log_threshold = LOG_LEVEL_DEBUG;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind < 3 || argc - optind - 2 > LUNS_MAX || !options.loops) {
		fprintf(stderr,
			"usage: miniserver [-l LOOPS] [-m MEMORY] [-b BLOCK] [-rwv] PORTAL TARGET STORE=SIZE...\n");
		return 2;
	}
	serve(argv[optind], argv[optind + 1], argv + optind + 2, (unsigned)(argc - optind - 2), &options);
	return 0;
}
