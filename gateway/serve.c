/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's start and stop.
 *
 * Start, each step undone by its counterpart of the stop when a later one fails:
 *    1  configuration read and checked; log level; failpoints
 *    2  signals blocked and handed to the signal thread
 *    3  state directory locked, identity read: one daemon a state directory
 *    4  control socket: answers `status` from here on, changes once running
 *    5  page arena, work pool, loop threads, registry
 *    6  volumes, several at once: recovery happens here; failed ones are shown and do not stop the others
 *    7  iSCSI server, targets with their LUNs
 *    8  mount
 *    9  portals: the first initiator finds everything in place
 *   10  the thread that opens failed volumes again
 *   11  ready: line on stdout, --ready-fd, $NOTIFY_SOCKET
 * Stop:
 *   10  no volume is opened any more
 *    9  portals stop listening          4  control socket: running commands end, no new ones
 *    8  mount (nothing asks for sessions or volumes any more)
 *    7  sessions asked to log out, closed; targets    6  volumes flushed, committed and closed, several at
 * once 5  work pool, loops, arena         3  state lock          2  signal thread
 *
 * States: starting -> running -> stopping, in daemon.phase.  SIGINT and SIGTERM ask for the stop at any time;
 * asked again, the daemon says what it is waiting for.  SIGHUP reads the log level, the limits of object stores,
 * their keys, accounts and lists of initiators again.
 *
 * Threads: main runs all steps; the signal thread writes `stop` and an eventfd, and reads again what SIGHUP asks for.
 */
#include "gateway/serve.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/diskio.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/util.h"
#include "gateway/admin.h"
#include "gateway/alua_states.h"
#include "gateway/commands.h"
#include "gateway/daemon.h"
#include "gateway/inspect.h"
#include "gateway/kept.h"
#include "gateway/notify.h"
#include "gateway/reopen.h"

#define WARM_BYTES ((size_t)512 << 20) /* of the arena, at the start: what the default has */

struct serve {
	struct daemon daemon;
	const struct serve_options *options;
	struct admin *admin;
	struct reopener reopener;
	pthread_t signal_thread;
	bool signals, pool;
	int stop_fd;
};

void
daemon_doing(struct daemon *daemon, const char *doing, const char *what)
{
	(void)pthread_mutex_lock(&daemon->lock);
	daemon->doing = doing;
	(void)snprintf(daemon->doing_what, sizeof(daemon->doing_what), "%s", what ? what : "");
	(void)pthread_mutex_unlock(&daemon->lock);
}

/* -- signals ------------------------------------------------------------------------------------------------
 */

static void
limit_stores(const struct config *config)
{
	stores_limit((unsigned)config->store_limits.in_flight, config->store_limits.up,
		     config->store_limits.down);
}

static void
reload(struct serve *serve)
{
	struct errinfo info = {{0}};
	struct config config;
	int r = config_load(serve->daemon.config_path, &config, NULL, &info);

	reopener_hurry(&serve->reopener);
	stores_reload(); /* whatever is wrong with the file: who rotated keys must not wait for its repair */
	log_write(LOG_LEVEL_INFO,
		  "SIGHUP: the keys of object stores are read again before their next requests");
	if (r) {
		log_error("SIGHUP: nothing else was changed: %s", err_words(&info, r));
		return;
	}
	log_threshold = config.log_level;
	limit_stores(&config);
	log_write(
		LOG_LEVEL_INFO,
		"SIGHUP: log level, store_limits, accounts and lists of initiators are read from %s; everything else of "
		"the file is read at start",
		serve->daemon.config_path);
	config_fini(&config);
	atomic_store(&serve->daemon.reread, true);
	daemon_settle(&serve->daemon);
}

static void
ask_to_stop(struct serve *serve, int sig)
{
	struct daemon *daemon = &serve->daemon;
	uint64_t one = 1;

	if (!atomic_exchange(&daemon->stop, true)) {
		log_info("%s: stopping", sig == SIGINT ? "SIGINT" : "SIGTERM");
		if (write(serve->stop_fd, &one, sizeof(one)) < 0)
			log_error("cannot wake the main thread: %s", err_text(-errno));
		return;
	}
	(void)pthread_mutex_lock(&daemon->lock);
	log_info("still stopping: %s %s", daemon->doing ? daemon->doing : "waiting", daemon->doing_what);
	(void)pthread_mutex_unlock(&daemon->lock);
}

static void
signal_set(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGHUP);
	(void)sigaddset(set, SIGUSR2); /* our own: the thread is to end */
}

static void *
signal_main(void *arg)
{
	struct serve *serve = arg;
	sigset_t set;
	int sig;

	signal_set(&set);
	while (!sigwait(&set, &sig) && sig != SIGUSR2) {
		if (sig == SIGHUP)
			reload(serve);
		else
			ask_to_stop(serve, sig);
	}
	return NULL;
}

/* A shell's background job inherits SIGINT ignored; the daemon wants it all the same. */
static int
start_signals(struct serve *serve)
{
	struct sigaction plain = {.sa_handler = SIG_DFL}, ignore = {.sa_handler = SIG_IGN};
	sigset_t set;
	int r;

	signal_set(&set);
	(void)sigaction(SIGINT, &plain, NULL);
	(void)sigaction(SIGTERM, &plain, NULL);
	(void)sigaction(SIGHUP, &plain, NULL);
	(void)sigaction(SIGUSR2, &plain, NULL);
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* inherited by every thread */
	r = -pthread_create(&serve->signal_thread, NULL, signal_main, serve);
	serve->signals = !r;
	return r;
}

static void
stop_signals(struct serve *serve)
{
	if (!serve->signals)
		return;
	(void)pthread_kill(serve->signal_thread, SIGUSR2);
	(void)pthread_join(serve->signal_thread, NULL);
}

/* -- the configuration with what the command line changes
 * ------------------------------------------------------- */

/* They are the default group, and there is no other; the tags of the file stay known. */
static int
override_listen(struct config *config, const struct serve_options *options)
{
	int r = 0;

	if (!options->nlisten)
		return 0;
	config_portals_fini(config);
	for (size_t i = 0; !r && i < options->nlisten; i++)
		r = config_portal_append(config, options->listen[i], ISCSI_PORTAL_GROUP_DEFAULT);
	return r;
}

/* A path on the command line may be relative, and need not exist. */
static char *
absolute_path(const char *path)
{
	char *real = realpath(path, NULL), *cwd, *joined = NULL;

	if (real || *path == '/')
		return real ? real : strdup(path);
	cwd = getcwd(NULL, 0);
	if (cwd && asprintf(&joined, "%s/%s", cwd, path) < 0)
		joined = NULL;
	free(cwd);
	return joined;
}

static int
override_mount(struct config *config, const struct serve_options *options, struct errinfo *info)
{
	int r;

	if (!options->mount && !options->no_mount)
		return 0;
	free(config->mount.path);
	config->mount.path = options->mount ? absolute_path(options->mount) : NULL;
	if (options->mount && !config->mount.path)
		return -ENOMEM;
	r = config_mount_check(config, info);
	if (r)
		err_prefix(info, "--mount %s: ", options->mount);
	return r;
}

static int
load_config(struct serve *serve, struct errinfo *info)
{
	const struct serve_options *options = serve->options;
	struct daemon *daemon = &serve->daemon;
	const char *faults = getenv("LUNGATE_FAILPOINTS");
	int r;

	daemon->config_path = realpath(options->config_path, NULL);
	if (!daemon->config_path)
		return err_set(info, -errno, "%s: %s; 'lungate serve --help' shows a first one",
			       options->config_path, err_text(-errno));
	r = config_load(daemon->config_path, &daemon->config, NULL, info);
	if (r)
		return r;
	log_threshold = daemon->config.log_level;
	limit_stores(&daemon->config);
	if (options->log_level)
		(void)log_set_level(options->log_level); /* checked by the command line's table */
	r = override_listen(&daemon->config, options);
	if (!r)
		r = override_mount(&daemon->config, options, info);
	if (!r && faults && *faults)
		r = failpoint_arm(faults, info);
	return r;
}

/* -- memory, threads
 * -------------------------------------------------------------------------------------------- */

static unsigned
default_threads(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	return (unsigned)min_of(max_of(n, 1), LOOPS_MAX);
}

static int
ask_engine(void *arg)
{
	struct daemon *daemon = arg;

	daemon->disk_engine = disk_engine(daemon->loops[0]);
	return 0;
}

static int
start_loops(struct serve *serve)
{
	struct daemon *daemon = &serve->daemon;
	unsigned want = daemon->config.threads ? (unsigned)daemon->config.threads : default_threads();
	char name[16];
	int r = 0;

	daemon->loops = calloc(want, sizeof(struct loop *));
	if (!daemon->loops)
		return -ENOMEM;
	for (unsigned i = 0; !r && i < want; i++) {
		(void)snprintf(name, sizeof(name), "loop%u", i);
		r = loop_new(name, i, &daemon->loops[i]);
		if (r)
			break;
		daemon->nloops++;
		r = loop_start(daemon->loops[i]);
	}
	return r;
}

static void
raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_debug("the limit of open files stays as it is: %s", err_text(-errno));
}

static int
start_engine(struct serve *serve, struct errinfo *info)
{
	struct daemon *daemon = &serve->daemon;
	char text[16];
	int r;

	daemon_doing(daemon, "starting", "threads");
	raise_file_limit();
	(void)pthread_mutex_lock(&daemon->lock);
	r = arena_new(daemon->config.memory, &daemon->arena);
	(void)pthread_mutex_unlock(&daemon->lock);
	if (r)
		return err_set(info, r, "cannot reserve %s of memory: %s; lower \"memory\"",
			       size_format(daemon->config.memory, text, sizeof(text)), err_text(r));
	arena_warm(daemon->arena, WARM_BYTES);
	r = loop_pool_init(0);
	serve->pool = !r;
	if (!r) {
		(void)pthread_mutex_lock(&daemon->lock);
		r = start_loops(serve);
		(void)pthread_mutex_unlock(&daemon->lock);
	}
	if (!r)
		r = registry_new(&daemon->registry);
	if (!r)
		r = loop_call(daemon->loops[0], ask_engine, daemon);
	return r ? err_set(info, r, "cannot start the threads: %s", err_text(r)) : 0;
}

static void
stop_engine(struct serve *serve)
{
	struct daemon *daemon = &serve->daemon;

	if (serve->pool)
		loop_pool_fini();
	for (unsigned i = 0; i < daemon->nloops; i++)
		loop_free(daemon->loops[i]);
	free(daemon->loops);
	registry_free(daemon->registry);
	if (daemon->arena)
		arena_free(daemon->arena);
}

/* -- volumes, targets, mount, portals
 * ----------------------------------------------------------------------------- */

/* A name that was mistyped must not look as if the loss had been accepted. */
static int
check_accept_loss(const struct daemon *daemon, struct errinfo *info)
{
	for (size_t i = 0; i < daemon->naccept_loss; i++) {
		bool found = false;

		for (size_t k = 0; k < daemon->config.nvolumes; k++)
			found |= !strcmp(daemon->config.volumes[k].name, daemon->accept_loss[i]);
		if (!found)
			return err_set(info, -ENOENT, "--accept-loss: the configuration has no volume \"%s\"",
				       daemon->accept_loss[i]);
	}
	return 0;
}

static int
start_volumes(struct serve *serve, struct errinfo *info)
{
	struct daemon *daemon = &serve->daemon;
	int r = check_accept_loss(daemon, info);

	if (r)
		return r;
	daemon_import_leftovers(daemon);
	r = daemon_open_volumes(daemon);
	if (r)
		return err_set(info, r, "cannot open the volumes: %s", err_text(r));
	for (size_t i = 0; serve->options->strict && i < daemon->nvolumes; i++)
		if (!daemon->volumes[i]->vol)
			return err_set(info, daemon->volumes[i]->err, "volume %s: %.900s",
				       daemon->volumes[i]->conf.name, daemon->volumes[i]->why);
	return 0;
}

static int
start_targets(struct serve *serve, struct errinfo *info)
{
	struct daemon *daemon = &serve->daemon;
	struct iscsi_limits limits;
	int r;

	config_iscsi_limits(&daemon->config.limits, &limits);
	r = iscsi_server_new(daemon->loops, daemon->nloops, daemon->arena, &limits, &daemon->iscsi);
	if (!r)
		r = daemon_open_targets(daemon);
	return r ? err_set(info, r, "cannot start the targets: %s", err_text(r)) : 0;
}

#ifdef ENABLE_FUSE
static int
mount_now(struct daemon *daemon, struct errinfo *info)
{
	struct mount_provider provider;
	struct mount *mount;
	int r;

	inspect_provider(daemon, &provider);
	r = mount_start(daemon->config.mount.path, daemon->config.mount.allow_other, daemon->registry,
			daemon->arena, &provider, &mount, info);
	if (r)
		return r;
	(void)pthread_mutex_lock(&daemon->lock);
	daemon->mount = mount;
	(void)pthread_mutex_unlock(&daemon->lock);
	return 0;
}

static void
stop_mount(struct serve *serve)
{
	struct daemon *daemon = &serve->daemon;
	struct mount *mount = daemon->mount;

	if (!mount)
		return;
	daemon_doing(daemon, "unmounting", daemon->config.mount.path);
	(void)pthread_mutex_lock(&daemon->lock);
	daemon->mount = NULL;
	(void)pthread_mutex_unlock(&daemon->lock);
	mount_stop(mount);
	log_info("unmounted %s", daemon->config.mount.path);
}
#else
static int
mount_now(struct daemon *daemon, struct errinfo *info)
{
	(void)daemon;
	return err_set(info, -ENOTSUP, "this lungate was built without the mount (--disable-fuse)");
}

static void
stop_mount(struct serve *serve)
{
	(void)serve;
}
#endif

/* iSCSI does not depend on the mount: without --strict a failed one is shown, no more. */
static int
start_mount(struct serve *serve, struct errinfo *info)
{
	struct daemon *daemon = &serve->daemon;
	struct errinfo why = {{0}};
	int r;

	if (!daemon->config.mount.path)
		return 0;
	daemon_doing(daemon, "mounting", daemon->config.mount.path);
	r = mount_now(daemon, &why);
	if (!r)
		return 0;
	if (!why.text[0])
		(void)err_set(&why, r, "%s: %s", daemon->config.mount.path, err_text(r));
	if (serve->options->strict)
		return err_set(info, r, "%s", why.text);
	log_error("no mount: %s; iSCSI is served without it", why.text);
	(void)pthread_mutex_lock(&daemon->lock);
	(void)snprintf(daemon->mount_why, sizeof(daemon->mount_why), "%s", why.text);
	(void)pthread_mutex_unlock(&daemon->lock);
	return 0;
}

static int
start_portals(struct serve *serve, struct errinfo *info)
{
	return daemon_open_portals(&serve->daemon, info);
}

static int
start_reopener(struct serve *serve, struct errinfo *info)
{
	int r = reopener_start(&serve->reopener);

	return r ? err_set(info, r, "cannot start the threads: %s", err_text(r)) : 0;
}

static void
stop_targets(struct serve *serve)
{
	struct daemon *daemon = &serve->daemon;

	if (!daemon->iscsi)
		return;
	daemon_doing(daemon, "logging out", "sessions");
	iscsi_server_free(daemon->iscsi);
	daemon->iscsi = NULL;
	daemon_close_targets(daemon);
}

/* -- ready
 * -------------------------------------------------------------------------------------------------------- */

static void
announce(struct serve *serve)
{
	struct daemon *daemon = &serve->daemon;
	json_t *listen = json_array(), *ready;
	char *text;

	printf("lungate: ready");
	/* the control socket takes changes already */
	(void)pthread_mutex_lock(&daemon->lock);
	for (size_t i = 0; i < daemon->nportals; i++) {
		printf("%s%s", i ? ", " : "; iSCSI at ", daemon->portals[i].bound);
		json_array_append_new(listen, json_string(daemon->portals[i].bound));
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	printf("; control socket %s\n", daemon->config.control);
	(void)fflush(stdout);
	ready = json_pack("{s:b, s:i, s:o, s:s}", "ready", 1, "pid", (int)getpid(), "listen", listen,
			  "control", daemon->config.control);
	text = json_dumps(ready, JSON_COMPACT);
	if (serve->options->ready_fd >= 0 && text) {
		if (dprintf(serve->options->ready_fd, "%s\n", text) < 0)
			log_warn("--ready-fd %d: %s", serve->options->ready_fd, err_text(-errno));
		close(serve->options->ready_fd);
	}
	free(text);
	json_decref(ready);
	notify_manager("READY=1\nSTATUS=serving");
}

static int
start(struct serve *serve, struct errinfo *info)
{
	static int (*const steps[])(struct serve * serve, struct errinfo * info) = {
		start_engine, start_volumes, start_targets, start_mount, start_portals, start_reopener,
	};
	struct daemon *daemon = &serve->daemon;
	int r;

	r = start_signals(serve);
	if (r)
		return err_set(info, r, "cannot start the signal thread: %s", err_text(r));
	r = state_open(daemon->config.state_dir, &daemon->state, info);
	if (r)
		return r;
	r = kept_open(daemon->config.state_dir, info);
	if (!r)
		r = alua_states_open(daemon->config.state_dir, info);
	if (r)
		return r;
	r = admin_open(daemon->config.control, daemon_commands, daemon_ncommands, daemon, &serve->admin,
		       info);
	for (size_t i = 0; !r && i < ARRAY_SIZE(steps); i++) {
		if (atomic_load(&daemon->stop))
			return err_set(info, LG_ESTOPPING, "stopped before it was ready");
		r = steps[i](serve, info);
	}
	return r;
}

static void
stop(struct serve *serve)
{
	struct daemon *daemon = &serve->daemon;

	atomic_store(&daemon->phase, DAEMON_STOPPING);
	notify_manager("STOPPING=1");
	reopener_fini(&serve->reopener);
	daemon_close_portals(daemon);
	daemon_doing(daemon, "waiting for commands of", "the control socket");
	admin_close(serve->admin);
	stop_mount(serve);
	stop_targets(serve);
	daemon_close_volumes(daemon);
	daemon_doing(daemon, "ending", "threads");
	stop_engine(serve);
	alua_states_close();
	kept_close();
	state_close(&daemon->state);
	stop_signals(serve);
}

static void
wait_for_stop(struct serve *serve)
{
	uint64_t value;

	while (!atomic_load(&serve->daemon.stop))
		if (read(serve->stop_fd, &value, sizeof(value)) < 0 && errno != EINTR)
			break;
}

int
serve_run(const struct serve_options *options, struct errinfo *info)
{
	struct serve serve = {.options = options, .stop_fd = -1};
	struct daemon *daemon = &serve.daemon;
	int r;

	daemon->state.lock_fd = -1;
	daemon->started = time(NULL);
	daemon->started_ns = clock_ns();
	daemon->create_missing = options->create_missing;
	daemon->accept_loss = options->accept_loss;
	daemon->naccept_loss = options->naccept_loss;
	(void)pthread_mutex_init(&daemon->change, NULL);
	(void)pthread_mutex_init(&daemon->lock, NULL);
	reopener_init(&serve.reopener, daemon);
	log_init();
	serve.stop_fd = eventfd(0, EFD_CLOEXEC);
	r = serve.stop_fd < 0 ? -errno : load_config(&serve, info);
	if (!r) {
		r = start(&serve, info);
		if (!r) {
			daemon_doing(daemon, NULL, NULL);
			atomic_store(&daemon->phase, DAEMON_RUNNING);
			daemon_settle(daemon);
			announce(&serve);
			wait_for_stop(&serve);
		}
		stop(&serve);
		if (!r)
			log_info("stopped");
		r = r == LG_ESTOPPING ? 0 : r;
	}
	free(daemon->portals);
	free(daemon->config_path);
	config_fini(&daemon->config);
	if (serve.stop_fd >= 0)
		close(serve.stop_fd);
	(void)pthread_mutex_destroy(&daemon->lock);
	(void)pthread_mutex_destroy(&daemon->change);
	return r;
}
