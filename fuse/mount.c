/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: the life of a mount.
 *
 * States: start -> serving -> (lost: unmounted or aborted from outside) -> stop.
 * stop: unmount while the readers still answer (or find it busy), end the readers, wait for what is in
 * flight, end the clerk, close the device (which also unmounts lazily what was busy: users see ENOTCONN from
 * then on), free.
 *
 * Invariant: none of the mount's threads, and no loop, touches a path below the mount point: it would wait
 * for itself.  What is known of our own mount is read from /proc/self/mountinfo.
 */
#include "fuse/internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define SLOW_STOP_MS 10000

/* What libfuse said last, for the words of a failed mount. */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static char said[256];

static void fuse_said(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void
fuse_said(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[sizeof(said)];

	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = 0;
	pthread_mutex_lock(&said_lock);
	snprintf(said, sizeof(said), "%s", line);
	pthread_mutex_unlock(&said_lock);
	if (level <= FUSE_LOG_WARNING)
		log_warn("mount: %s", line);
	else
		log_debug("mount: %s", line);
}

static void
said_take(char *to, size_t n)
{
	pthread_mutex_lock(&said_lock);
	snprintf(to, n, "%s", said);
	said[0] = 0;
	pthread_mutex_unlock(&said_lock);
}

int
mount_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg, const char *name)
{
	sigset_t all, old;
	int rc;

	/* signals are the main thread's business */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		pthread_setname_np(*thread, name);
	return -rc;
}

/* Opened before there is a mount, so that a TMPDIR below it does no harm. */
static int
open_temp_dir(void)
{
	const char *dirs[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
	int fd = -1;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && fd < 0; i++)
		if (dirs[i] && *dirs[i])
			fd = open(dirs[i], O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	return fd;
}

/* One request must not need more than a sixteenth of the arena. */
static unsigned
choose_max_io(const struct arena *arena)
{
	size_t bytes = arena_total_pages(arena) / 16 * PAGE_SIZE_BYTES;
	unsigned max_io = MOUNT_MAX_IO;

	while (max_io > bytes && max_io > PAGE_SIZE_BYTES)
		max_io /= 2;
	return max_io;
}

static int
mount_new(bool allow_other, struct registry *registry, struct arena *arena,
	  const struct mount_provider *provider, struct mount **ret)
{
	struct mount *mount = calloc(1, sizeof(*mount));
	int rc;

	if (!mount)
		return -ENOMEM;
	*ret = mount;
	pthread_mutex_init(&mount->lock, NULL);
	mount->registry = registry;
	mount->arena = arena;
	mount->provider = *provider;
	mount->shared = allow_other;
	mount->uid = geteuid();
	mount->gid = getegid();
	mount->max_io = choose_max_io(arena);
	mount->temp_dir = open_temp_dir();
	mount->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mount->stop_event < 0)
		return -errno;
	rc = names_new(TREE_NUMBER_MAX, &mount->volumes);
	if (!rc)
		rc = names_new(TREE_NUMBER_MAX, &mount->targets);
	if (!rc)
		rc = names_new(UINT32_MAX, &mount->sessions);
	return rc;
}

static void
mount_free(struct mount *mount)
{
	if (mount->se)
		fuse_session_destroy(mount->se);
	names_free(mount->volumes);
	names_free(mount->targets);
	names_free(mount->sessions);
	if (mount->temp_dir >= 0)
		close(mount->temp_dir);
	if (mount->stop_event >= 0)
		close(mount->stop_event);
	pthread_mutex_destroy(&mount->lock);
	free(mount->path);
	free(mount);
}

/* What people usually lack. */
static const char *
hint(const struct mount *mount)
{
	if (access("/dev/fuse", F_OK))
		return " (there is no /dev/fuse: is the fuse module loaded?)";
	if (access("/dev/fuse", R_OK | W_OK))
		return " (this user may not open /dev/fuse: its mode should be 0666)";
	if (geteuid() && mount->shared)
		return " (allow_other for an ordinary user needs the line user_allow_other in /etc/fuse.conf)";
	if (geteuid())
		return " (an ordinary user needs fusermount3, of the package fuse3)";
	return "";
}

static int
session_start(struct mount *mount, struct errinfo *info)
{
	char opts[] =
		"fsname=lungate,subtype=lungate,default_permissions,nosuid,nodev,noexec,noatime,allow_other";
	char *argv[] = {(char *)"lungate", (char *)"-o", opts, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	char why[sizeof(said)];
	int rc;

	if (!mount->shared)
		*strrchr(opts, ',') = 0;
	fuse_set_log_func(fuse_said);
	said_take(why, sizeof(why));
	mount->se = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), mount);
	fuse_opt_free_args(&args);
	if (!mount->se)
		return err_set(info, -EINVAL, "libfuse refuses the mount options");
	if (fuse_session_mount(mount->se, mount->path)) {
		said_take(why, sizeof(why));
		return err_set(info, -EACCES, "cannot mount at %s%s%s%s", mount->path, *why ? ": " : "", why,
			       hint(mount));
	}
	rc = mountpoint_find(NULL, mount->path, &mount->entry);
	if (rc)
		return err_set(info, rc, "the mount at %s does not show in /proc/self/mountinfo",
			       mount->path);
	return 0;
}

static void
readers_stop(struct mount *mount)
{
	atomic_store(&mount->stopping, true);
	eventfd_write(mount->stop_event, 1);
	for (unsigned i = 0; i < MOUNT_READERS; i++)
		reader_stop(mount, i);
}

static int
threads_start(struct mount *mount, struct errinfo *info)
{
	int fd = fuse_session_fd(mount->se), rc = clerk_start(&mount->clerk);

	if (rc)
		return err_set(info, rc, "cannot start a thread: %s", err_text(rc));
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
		rc = -errno;
	for (unsigned i = 0; i < MOUNT_READERS && !rc; i++)
		rc = mount_reader_start(mount, i);
	if (rc) {
		readers_stop(mount);
		clerk_stop(&mount->clerk);
		return err_set(info, rc, "cannot start a thread: %s", err_text(rc));
	}
	return 0;
}

int
mount_start(const char *path, bool allow_other, struct registry *registry, struct arena *arena,
	    const struct mount_provider *provider, struct mount **ret, struct errinfo *info)
{
	struct mount *mount = NULL;
	int rc = mount_new(allow_other, registry, arena, provider, &mount);

	if (rc)
		err_set(info, rc, "%s", err_text(rc));
	if (!rc)
		rc = mountpoint_prepare(path, &mount->path, info);
	if (!rc)
		rc = session_start(mount, info);
	if (!rc)
		rc = threads_start(mount, info);
	if (rc) {
		if (mount && mount->se)
			fuse_session_unmount(mount->se);
		if (mount)
			mount_free(mount);
		return rc;
	}
	log_info("mount: the volumes show at %s", mount->path);
	*ret = mount;
	return 0;
}

static void
wait_idle(struct mount *mount)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	/* Polled, because who answers the last request must not touch the mount after it has said so. */
	for (uint64_t n = 1; atomic_load_explicit(&mount->inflight, memory_order_acquire); n++) {
		if (n % SLOW_STOP_MS == 0)
			log_warn("mount: %s waits for %llu requests that a volume has not answered",
				 mount->path, (unsigned long long)atomic_load(&mount->inflight));
		nanosleep(&ms, NULL);
	}
}

void
mount_stop(struct mount *mount)
{
	int rc;

	if (!mount)
		return;
	atomic_store(&mount->lost, true); /* what happens now is no news to the provider */
	rc = mountpoint_unmount(mount->path, &mount->entry, false);
	if (rc == -EBUSY)
		log_warn(
			"mount: %s is in use: unmounted as soon as nobody uses it; open files there fail from now on",
			mount->path);
	else if (rc)
		log_warn("mount: cannot unmount %s: %s", mount->path, err_text(rc));
	fuse_session_exit(mount->se);
	readers_stop(mount);
	wait_idle(mount);
	clerk_stop(&mount->clerk);
	/* Closes the device; where that did not end the mount already, it is taken off lazily. */
	fuse_session_unmount(mount->se);
	handle_put_all(mount);
	mount_free(mount);
}
