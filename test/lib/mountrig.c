/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/mountrig.h"

#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/mountpoint.h"

/* Not Check's assertions: this also runs in processes and threads that Check does not know. */
#define must(condition) ((condition) ? (void)0 : give_up(#condition))

static void
give_up(const char *what)
{
	fprintf(stderr, "rig: %s does not hold (errno %d)\n", what, errno);
	abort();
}

char rig_base[] = "/tmp/lungate-mount-XXXXXX";
char rig_path[sizeof(rig_base) + 8];

static void
skip(const char *why)
{
	printf("SKIP: %s\n", why);
	exit(77);
}

static bool
in_path(const char *program)
{
	char *path = strdup(getenv("PATH") ? getenv("PATH") : ""), *save = NULL, file[PATH_MAX];
	bool found = false;

	for (char *dir = strtok_r(path, ":", &save); dir && !found; dir = strtok_r(NULL, ":", &save)) {
		snprintf(file, sizeof(file), "%s/%s", dir, program);
		found = !access(file, X_OK);
	}
	free(path);
	return found;
}

void
rig_require(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (geteuid() && !in_path("fusermount3"))
		skip("not root, and fusermount3 is not installed");
	if (fd < 0)
		skip("/dev/fuse cannot be opened");
	close(fd);
	must(mkdtemp(rig_base));
	if (!geteuid()) {
		if (mount("probe", rig_base, "tmpfs", 0, NULL)) {
			rmdir(rig_base);
			skip("mount(2) is not permitted here");
		}
		umount2(rig_base, MNT_DETACH);
	}
	snprintf(rig_path, sizeof(rig_path), "%s/m", rig_base);
}

void
rig_cleanup(void)
{
	struct mountpoint_entry entry;

	while (!mountpoint_find(NULL, rig_path, &entry) && !mountpoint_unmount(rig_path, &entry, true))
		;
	rmdir(rig_path);
	rmdir(rig_base);
}

static json_t *
status(void *arg)
{
	struct rig *rig = arg;

	return json_pack("{s:i}", "serial", (int)++rig->serial);
}

static char *
metrics(void *arg)
{
	(void)arg;
	return strdup("lungate_up 1\n");
}

static json_t *
targets(void *arg)
{
	(void)arg;
	/* names that cannot be file names are left out */
	return json_pack("[s, s, s]", RIG_TARGET, "../evil", "");
}

static json_t *
target(void *arg, const char *name)
{
	struct rig *rig = arg;
	json_t *sessions = json_array();

	if (strcmp(name, RIG_TARGET) != 0) {
		json_decref(sessions);
		return NULL;
	}
	if (rig->session)
		json_array_append_new(sessions, json_pack("{s:s, s:s}", "id", "s1", "initiator", "iqn.i"));
	return json_pack("{s:{s:s}, s:[{s:i, s:s}, {s:i, s:s}], s:o}", "target", "name", name, "luns", "lun",
			 0, "volume", "vol-a", "lun", 12, "volume", "other", "sessions", sessions);
}

static void
lost(void *arg, int err)
{
	struct rig *rig = arg;

	rig->lost = err;
}

void
rig_start(struct rig *rig, size_t memory)
{
	static unsigned index;

	memset(rig, 0, sizeof(*rig));
	must(loop_new("rig", index++ % LOOPS_MAX, &rig->loop) == 0);
	must(loop_start(rig->loop) == 0);
	must(arena_new(memory, &rig->arena) == 0);
	must(registry_new(&rig->registry) == 0);
}

/*
 * A process that waits for an answer of its own mount cannot be killed.  So
 * that a test which fails in such a moment ends, a second process aborts the
 * mount when the test is gone or has taken far too long.
 */
static void
undertaker(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct mountpoint_entry entry;
	char c;

	setsid();
	poll(&pfd, 1, 45000);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (read(fd, &c, 1) == 1)
		_exit(0); /* all is well */
	if (!mountpoint_find(NULL, rig_path, &entry))
		umount2(rig_path, MNT_FORCE | MNT_DETACH);
	_exit(0);
}

static void
undertaker_start(struct rig *rig)
{
	int fds[2];

	if (rig->undertaker)
		return;
	must(pipe2(fds, O_CLOEXEC) == 0);
	fflush(NULL);
	rig->undertaker = fork();
	must(rig->undertaker >= 0);
	if (!rig->undertaker) {
		close(fds[1]);
		undertaker(fds[0]);
	}
	close(fds[0]);
	rig->undertaker_pipe = fds[1];
}

static void
undertaker_stop(struct rig *rig)
{
	if (!rig->undertaker)
		return;
	must(write(rig->undertaker_pipe, "", 1) == 1);
	close(rig->undertaker_pipe);
	waitpid(rig->undertaker, NULL, 0);
	rig->undertaker = 0;
}

int
rig_mount(struct rig *rig, const char *path, struct errinfo *info)
{
	const struct mount_provider provider = {rig, status, metrics, targets, target, lost};

	undertaker_start(rig);
	return mount_start(path, false, rig->registry, rig->arena, &provider, &rig->mount, info);
}

void
rig_stop(struct rig *rig)
{
	mount_stop(rig->mount);
	undertaker_stop(rig);
	loop_free(rig->loop);
	registry_free(rig->registry);
	arena_free(rig->arena);
}

struct fakevol *
rig_volume(struct rig *rig, const char *name, uint64_t size, uint32_t block, uint32_t chunk)
{
	struct fakevol *fake = fakevol_new(name, size, block, chunk, rig->loop, rig->arena);

	must(registry_add(rig->registry, &fake->vol) == 0);
	return fake;
}

void
rig_drop(struct rig *rig, struct fakevol *fake)
{
	int rc;

	/* close(2) does not wait for the kernel's release of the file */
	while ((rc = registry_remove(rig->registry, fake->vol.name)) == -EBUSY)
		usleep(100);
	must(rc == 0);
	fakevol_free(fake);
}

const char *
rig_file(const char *fmt, ...)
{
	static __thread char path[8][PATH_MAX];
	static __thread unsigned turn;
	char *to = path[turn++ % 8];
	int n = snprintf(to, PATH_MAX, "%s/", rig_path);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(to + n, PATH_MAX - (size_t)n, fmt, ap);
	va_end(ap);
	return to;
}

struct call {
	struct vol_req req;
	sem_t done;
};

static void
call_done(struct vol_req *req)
{
	sem_post(&container_of(req, struct call, req)->done);
}

int
rig_io(struct fakevol *fake, enum vol_op op, uint64_t offset, uint64_t length, void *buf)
{
	unsigned n = volume_pages(offset, length);
	struct page **pages = calloc(n, sizeof(*pages));
	struct call call = {
		.req = {.vol = &fake->vol,
			.op = op,
			.offset = offset,
			.length = length,
			.pages = pages,
			.npages = n,
			.done = call_done},
	};
	uint8_t *at = buf;

	sem_init(&call.done, 0, 0);
	if (op == VOL_WRITE)
		must(arena_alloc(fake->vol.arena, pages, n) == 0);
	for (unsigned i = 0; op == VOL_WRITE && i < n; i++) {
		size_t skip_bytes = i ? 0 : offset % PAGE_SIZE_BYTES;
		size_t part = min_of(PAGE_SIZE_BYTES - skip_bytes, length - (size_t)(at - (uint8_t *)buf));

		memcpy(pages[i]->data + skip_bytes, at, part);
		at += part;
	}
	volume_submit(&call.req);
	while (sem_wait(&call.done))
		;
	for (unsigned i = 0; op == VOL_READ && !call.req.status && i < n; i++) {
		size_t skip_bytes = i ? 0 : offset % PAGE_SIZE_BYTES;
		size_t part = min_of(PAGE_SIZE_BYTES - skip_bytes, length - (size_t)(at - (uint8_t *)buf));

		memcpy(at, pages[i]->data + skip_bytes, part);
		at += part;
	}
	if (op == VOL_WRITE || !call.req.status)
		pages_unref(pages, n);
	free(pages);
	sem_destroy(&call.done);
	return call.req.status;
}
