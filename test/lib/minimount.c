/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mount without the daemon: one volume, shown until SIGINT or SIGTERM.
 *
 *     minimount MOUNTPOINT STORE SIZE [BLOCK_SIZE [MEMORY]]
 *
 * STORE as in a volume's specification ("ram:", "file:/path").  Writes "ready" to standard output when it is
 * mounted.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/registry.h"
#include "fuse/mount.h"
#include "stores/stores.h"

#define TARGET "iqn.2024-01.example:mini"

static json_t *
status(void *arg)
{
	(void)arg;
	return json_pack("{s:s, s:i}", "program", "minimount", "pid", (int)getpid());
}

static char *
metrics(void *arg)
{
	(void)arg;
	return strdup("# HELP lungate_up The daemon runs.\n# TYPE lungate_up gauge\nlungate_up 1\n");
}

static json_t *
targets(void *arg)
{
	(void)arg;
	return json_pack("[s]", TARGET);
}

static json_t *
target(void *arg, const char *name)
{
	(void)arg;
	if (strcmp(name, TARGET) != 0)
		return NULL;
	return json_pack("{s:{s:s}, s:[{s:i, s:s}], s:[]}", "target", "name", TARGET, "luns", "lun", 0,
			 "volume", "disk", "sessions");
}

static void
lost(void *arg, int err)
{
	(void)arg;
	fprintf(stderr, "minimount: the mount is gone: %s\n", err_text(err));
	kill(getpid(), SIGTERM);
}

static int
complain(const char *what, int rc, const struct errinfo *info)
{
	fprintf(stderr, "minimount: %s: %s\n", what, *info->text ? info->text : err_text(rc));
	return 1;
}

static int
serve(struct volume *vol, struct arena *arena, const char *path, const sigset_t *signals)
{
	const struct mount_provider provider = {NULL, status, metrics, targets, target, lost};
	struct errinfo info = {""};
	struct registry *registry;
	struct mount *mount;
	int rc, sig;

	rc = registry_new(&registry);
	if (!rc)
		rc = registry_add(registry, vol);
	if (!rc)
		rc = mount_start(path, false, registry, arena, &provider, &mount, &info);
	if (rc)
		return complain("mount", rc, &info);
	printf("ready\n");
	fflush(stdout);
	sigwait(signals, &sig);
	mount_stop(mount);
	rc = registry_remove(registry, vol->name);
	registry_free(registry);
	return rc ? complain("registry", rc, &info) : 0;
}

int
main(int argc, char **argv)
{
	struct volume_spec spec = {.name = "disk", .write_cache = true};
	uint64_t block = 512, memory = 256u << 20;
	struct errinfo info = {""};
	struct arena *arena;
	struct volume *vol;
	struct loop *loop;
	sigset_t signals;
	int rc;

	if (argc < 4 || argc > 6 || size_parse(argv[3], &spec.size) ||
	    (argc > 4 && size_parse(argv[4], &block)) || (argc > 5 && size_parse(argv[5], &memory))) {
		fprintf(stderr, "usage: minimount MOUNTPOINT STORE SIZE [BLOCK_SIZE [MEMORY]]\n");
		return 2;
	}
	spec.store = argv[2];
	spec.block_size = (uint32_t)block;
	log_init();
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	if (loop_pool_init(0) || loop_new("loop-0", 0, &loop) || loop_start(loop) ||
	    arena_new(memory, &arena))
		return complain("start", -ENOMEM, &info);
	rc = volume_create(&spec, loop, arena, &info);
	if (rc && rc != -EEXIST)
		return complain("create", rc, &info);
	rc = volume_open(&spec, loop, arena, &vol, &info);
	if (rc)
		return complain("open", rc, &info);
	rc = serve(vol, arena, argv[1], &signals);
	if (volume_close(vol))
		rc = 1;
	loop_free(loop);
	loop_pool_fini();
	arena_free(arena);
	return rc;
}
