/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kills the daemon with SIGKILL at random moments of a write load, starts it
 * again, and holds every block against a model of what was promised.
 *
 * The real daemon, a real initiator (libiscsi), two LUNs in a directory store
 * or the one that LUNGATE_KILL9_STORE names (its volumes must not exist), and one that is a file:
 * LUNs 0 and 2 without a write cache (an answered write is a promise) and LUN 1 with
 * one (an answered SYNCHRONIZE CACHE or FUA write is).
 *
 * The model is that of test/lib/promises.h.  What was read after a crash is the
 * new floor: it must not change again.
 *
 * Some chunks are left alone for a while, so that commits see them, and copied to others (EXTENDED COPY): as clones
 * in the map, mostly.
 *
 * Some writes are WRITE ATOMIC(16): one that was under way at the kill is there whole or not at all.
 *
 * A cycle kills in the middle of the load; some kill while the daemon starts
 * (recovery is interrupted) or while it stops (the final commit is).
 *
 * usage: kill9 DAEMON [CYCLES [SEED]]; exit 0 = every promise held, 1 = broken, 77 = cannot run here.
 * --expect-loss turns the verdict round: for daemons with a failpoint armed, the test must notice.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "common/bytes.h"
#include "common/util.h"
#include "test/lib/promises.h"

#define TARGET "iqn.2026-11.net.lungate:kill9"
#define BLOCK PROMISE_BLOCK
#define BLOCKS 8192u /* 32 MiB a LUN */
#define LUNS 3
#define CACHED 1u /* the one with a write cache */
#define RAW 2u    /* the file */
#define DEPTH 24
#define MAX_BLOCKS 32u /* of one operation */
#define RAW_DEPTH 6u   /* atomic writes to a file are slow: the others are to be under way, too */
#define CHUNK 256u     /* blocks */
#define CHUNKS (BLOCKS / CHUNK)
#define LIST (16u + 32u + 28u) /* of EXTENDED COPY: header, unit, segment */
#define QUIET 4u               /* one chunk of so many is not written to ... */
#define QUIET_CYCLES 12u       /* ... for so many cycles */

struct op {
	unsigned lun;
	uint32_t lba, count;
	bool promise; /* its answer raises the floor */
	bool used;
	bool atomic;
	bool cut; /* it was atomic, and under way at the kill */
	bool copy;
	uint32_t from;
	unsigned char *data;
};

static struct promise model[LUNS][BLOCKS];
static struct op ops[DEPTH];
static unsigned in_flight, answered, flushes, atomic_cut[LUNS], atomic_there[LUNS];
static unsigned copies, quiet;
static unsigned char naa[LUNS][16];
static bool connection_lost;
static const char *daemon_path;
static char dir[] = "/tmp/lungate-kill9-XXXXXX";
static int port, notify_fd = -1;
static pid_t pid = -1;
static uint64_t rng;

static uint32_t
rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 11) % below;
}

__attribute__((noreturn, format(printf, 2, 3))) static void
finish(int code, const char *fmt, ...)
{
	va_list ap;

	if (pid > 0)
		kill(pid, SIGKILL);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (code == 1)
		printf("kept for a look: %s\n", dir);
	fflush(stdout);
	if (code == 0)
		execlp("rm", "rm", "-rf", dir, (char *)NULL);
	exit(code);
}

/* -- the daemon --------------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3))) write_file(const char *name, const char *fmt, ...)
{
	char path[256], text[4096];
	va_list ap;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f))
		finish(1, "%s: %s", path, strerror(errno));
}

static int
free_port(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sin, &len) < 0)
		finish(1, "no free port: %s", strerror(errno));
	close(fd);
	return ntohs(sin.sin_port);
}

static void
prepare(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const char *url = getenv("LUNGATE_KILL9_STORE");
	char store[1024], journals[1024];

	if (!mkdtemp(dir))
		finish(1, "%s: %s", dir, strerror(errno));
	snprintf(store, sizeof(store), "dir:%s/store", dir);
	if (!url && mkdir(store + strlen("dir:"), 0700))
		finish(1, "%s: %s", store, strerror(errno));
	snprintf(journals, sizeof(journals), "%s/journal", dir);
	if (mkdir(journals, 0700))
		finish(1, "%s: %s", journals, strerror(errno));
	if (url)
		snprintf(store, sizeof(store), "%s", url);
	port = free_port();
	/* Small journal and window: commits, recycled segments and back-pressure all happen under the load.
	 */
	write_file(
		"lungate.json",
		"{\"listen\": [\"127.0.0.1:%d\"], \"state_dir\": \"%s/state\", \"control\": \"%s/control.sock\",\n"
		" \"memory\": \"64M\", \"threads\": 1,\n"
		" \"volumes\": [\n"
		"  {\"name\": \"through\", \"store\": \"%s\", \"size\": %u, \"block_size\": %u,\n"
		"   \"chunk_size\": \"1M\", \"journal_dir\": \"%s\", \"journal_size\": \"256M\",\n"
		"   \"commit_window\": \"8M\", \"write_cache\": false},\n"
		"  {\"name\": \"cached\", \"store\": \"%s\", \"size\": %u, \"block_size\": %u,\n"
		"   \"chunk_size\": \"1M\", \"journal_dir\": \"%s\", \"journal_size\": \"256M\",\n"
		"   \"commit_window\": \"8M\", \"write_cache\": true},\n"
		"  {\"name\": \"raw\", \"store\": \"file:%s/image\", \"size\": %u, \"block_size\": %u,\n"
		"   \"write_cache\": false}],\n"
		" \"targets\": [{\"name\": \"" TARGET "\", \"luns\": [\n"
		"  {\"lun\": 0, \"volume\": \"through\"}, {\"lun\": 1, \"volume\": \"cached\"},\n"
		"  {\"lun\": 2, \"volume\": \"raw\"}]}]}\n",
		port, dir, dir, store, BLOCK * BLOCKS, BLOCK, journals, store, BLOCK * BLOCKS, BLOCK,
		journals, dir, BLOCK * BLOCKS, BLOCK);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/notify", dir);
	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (notify_fd < 0 || bind(notify_fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		finish(1, "%s: %s", sun.sun_path, strerror(errno));
	setenv("NOTIFY_SOCKET", sun.sun_path, 1);
}

static void
spawn(void)
{
	char config[256], log[256];

	snprintf(config, sizeof(config), "%s/lungate.json", dir);
	snprintf(log, sizeof(log), "%s/daemon.log", dir);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		finish(1, "fork: %s", strerror(errno));
	if (pid == 0) {
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fd, 1);
		dup2(fd, 2);
		execl(daemon_path, daemon_path, "serve", "--config", config, "--create-missing",
		      (char *)NULL);
		_exit(127);
	}
}

static void
reap(void)
{
	int status;
	char text[64];

	waitpid(pid, &status, 0);
	pid = -1;
	while (recv(notify_fd, text, sizeof(text), 0) > 0)
		; /* words of the dead */
}

static void
wait_ready(void)
{
	struct pollfd pfd = {notify_fd, POLLIN, 0};
	char text[4096];

	for (int tenths = 0; tenths < 1200; tenths++) {
		int status;
		ssize_t n;

		if (poll(&pfd, 1, 100) > 0 && (n = recv(notify_fd, text, sizeof(text) - 1, 0)) > 0) {
			text[n] = '\0';
			if (strstr(text, "READY=1"))
				return;
		}
		if (waitpid(pid, &status, WNOHANG) == pid) {
			pid = -1;
			finish(1, "the daemon did not come up (status 0x%x), see %s/daemon.log", status, dir);
		}
	}
	finish(1, "the daemon was not ready after 120 s, see %s/daemon.log", dir);
}

/* -- the load ------------------------------------------------------------------ */

static void
op_done(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	struct scsi_task *task = command_data;
	struct op *op = private_data;

	(void)iscsi;
	in_flight--;
	if (status == SCSI_STATUS_GOOD) {
		answered++;
		for (uint32_t i = 0; i < op->count; i++) {
			struct promise *b = &model[op->lun][op->lba + i];

			b->busy = false;
			if (op->promise)
				promise_raise(b, b->n - 1);
			if (op->copy)
				model[op->lun][op->from + i].busy = false;
		}
		copies += op->copy;
	} else if (status != SCSI_STATUS_CANCELLED && status != SCSI_STATUS_ERROR) {
		finish(1, "LUN %u LBA %u: status 0x%x: %s", op->lun, op->lba, status, iscsi_get_error(iscsi));
	} else {
		connection_lost = true; /* stays busy: nobody knows what became of it */
		op->cut = op->atomic;
	}
	op->used = false;
	scsi_free_scsi_task(task);
}

static struct scsi_task *
send_atomic(struct iscsi_context *iscsi, struct op *op, bool fua)
{
	unsigned char cdb[16] = {0x9c, fua ? 0x08 : 0};
	struct iscsi_data data = {.size = op->count * BLOCK, .data = op->data};
	struct scsi_task *task;

	put_be64(cdb + 2, op->lba);
	put_be16(cdb + 12, (uint16_t)op->count);
	task = scsi_create_task(sizeof(cdb), cdb, SCSI_XFER_WRITE, (int)data.size);
	if (task && iscsi_scsi_command_async(iscsi, (int)op->lun, task, op_done, &data, op) < 0)
		return NULL;
	op->atomic = true;
	return task;
}

static unsigned
any_lun(void)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < DEPTH; i++)
		busy += ops[i].used && ops[i].lun == RAW;
	return rnd(busy < RAW_DEPTH ? LUNS : RAW);
}

static bool
is_quiet(uint32_t lba)
{
	return lba / CHUNK % QUIET == quiet;
}

/* A chunk, from those that are left alone. */
static void
send_copy(struct iscsi_context *iscsi, struct op *op)
{
	unsigned lun = rnd(RAW);
	uint32_t from = (rnd(CHUNKS / QUIET) * QUIET + quiet) * CHUNK, to = rnd(CHUNKS) * CHUNK;
	unsigned char *list = op->data, cdb[16] = {0x83, [13] = LIST};
	struct iscsi_data data = {.size = LIST, .data = list};

	if (is_quiet(to) || !promise_usable(&model[lun][from], CHUNK) ||
	    !promise_usable(&model[lun][to], CHUNK))
		return;
	*op = (struct op){.lun = lun,
			  .lba = to,
			  .count = CHUNK,
			  .promise = lun != CACHED,
			  .used = true,
			  .copy = true,
			  .from = from,
			  .data = op->data};
	for (uint32_t i = 0; i < CHUNK; i++) {
		promise_copy(&model[lun][to + i], &model[lun][from + i], from + i);
		model[lun][from + i].busy = true; /* nobody changes it meanwhile */
	}
	memset(list, 0, LIST);
	list[1] = 0x18; /* no list identifier */
	list[3] = 32;
	list[11] = 28;
	memcpy(list + 16, (const unsigned char[]){0xe4, 0, 0, 0, 1, 3, 0, 16}, 8);
	memcpy(list + 24, naa[lun], 16);
	list[48] = 0x02;
	list[51] = 24;
	put_be16(list + 58, CHUNK);
	put_be64(list + 60, from);
	put_be64(list + 68, to);
	struct scsi_task *task = scsi_create_task(sizeof(cdb), cdb, SCSI_XFER_WRITE, (int)data.size);
	if (!task || iscsi_scsi_command_async(iscsi, (int)lun, task, op_done, &data, op) < 0)
		finish(1, "libiscsi could not send: %s", iscsi_get_error(iscsi));
	in_flight++;
}

static void
send_op(struct iscsi_context *iscsi, struct op *op)
{
	unsigned lun = any_lun();
	uint32_t count = rnd(4) ? 1 + rnd(4) : 1 + rnd(MAX_BLOCKS), lba = rnd(BLOCKS - count + 1);
	bool trim = rnd(12) == 0, fua = rnd(8) == 0;
	struct unmap_list list = {lba, count};
	struct scsi_task *task;

	if ((lun != RAW && (is_quiet(lba) || is_quiet(lba + count - 1))) ||
	    !promise_usable(&model[lun][lba], count))
		return;
	/* UNMAP has no FUA: its answer is a promise only where there is no write cache. */
	*op = (struct op){.lun = lun,
			  .lba = lba,
			  .count = count,
			  .promise = lun != CACHED || (fua && !trim),
			  .used = true,
			  .data = op->data};
	for (uint32_t i = 0; i < count; i++) {
		promise_send(&model[lun][lba + i], trim ? PROMISE_ZERO : PROMISE_STAMP);
		if (!trim)
			promise_stamp(op->data + i * BLOCK, lun, lba + i,
				      promise_newest(&model[lun][lba + i])->number);
	}
	if (trim)
		task = iscsi_unmap_task(iscsi, (int)lun, 0, 0, &list, 1, op_done, op);
	else if (rnd(3) == 0 || (lun == RAW && rnd(2)))
		task = send_atomic(iscsi, op, fua);
	else
		task = iscsi_write16_task(iscsi, (int)lun, lba, op->data, count * BLOCK, BLOCK, 0, 0, fua, 0,
					  0, op_done, op);
	if (!task)
		finish(1, "libiscsi could not send: %s", iscsi_get_error(iscsi));
	in_flight++;
}

/* What a flush promises: of each block of that LUN, the newest operation that was answered before it was sent.
 */
struct flush {
	uint32_t number[BLOCKS];
};
static struct flush flush_now;
static bool flush_busy;

static void
flush_done(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	(void)iscsi;
	(void)private_data;
	flush_busy = false;
	in_flight--;
	if (status == SCSI_STATUS_GOOD) {
		flushes++;
		for (uint32_t lba = 0; lba < BLOCKS; lba++) {
			struct promise *b = &model[CACHED][lba];

			for (unsigned i = 1; i < b->n; i++)
				if (b->since[i].number == flush_now.number[lba]) {
					promise_raise(b, i);
					break;
				}
		}
	} else {
		connection_lost = true;
	}
	scsi_free_scsi_task(command_data);
}

static void
send_flush(struct iscsi_context *iscsi)
{
	for (uint32_t lba = 0; lba < BLOCKS; lba++) {
		struct promise *b = &model[CACHED][lba];
		unsigned last = b->n - 1;

		if (b->busy && last > 0)
			last--;
		flush_now.number[lba] = b->since[last].number;
	}
	if (!iscsi_synchronizecache16_task(iscsi, CACHED, 0, 0, 0, 0, flush_done, NULL))
		finish(1, "libiscsi could not send: %s", iscsi_get_error(iscsi));
	flush_busy = true;
	in_flight++;
}

static struct iscsi_context *
login(bool must)
{
	struct iscsi_context *iscsi = iscsi_create_context("iqn.2026-11.net.lungate:kill9-initiator");
	char portal[64];

	snprintf(portal, sizeof(portal), "127.0.0.1:%d", port);
	iscsi_set_targetname(iscsi, TARGET);
	iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(iscsi, ISCSI_HEADER_DIGEST_NONE);
	iscsi_set_noautoreconnect(iscsi, 1);
	iscsi_set_timeout(iscsi, 60);
	if ((iscsi_connect_sync(iscsi, portal) < 0 || iscsi_login_sync(iscsi) < 0) && must)
		finish(1, "login: %s", iscsi_get_error(iscsi));
	return iscsi;
}

/* Its name, as copies know it. */
static void
learn_name(struct iscsi_context *iscsi, int lun)
{
	struct scsi_task *task = iscsi_inquiry_sync(iscsi, lun, 1, 0x83, 255);

	if (!task || task->status != SCSI_STATUS_GOOD || task->datain.size < 4)
		finish(1, "LUN %d: no names: %s", lun, iscsi_get_error(iscsi));
	const unsigned char *p = task->datain.data;
	for (int at = 4; at + 20 <= task->datain.size; at += 4 + p[at + 3])
		if ((p[at + 1] & 0x3f) == 3 && p[at + 3] == 16)
			memcpy(naa[lun], p + at + 4, 16);
	scsi_free_scsi_task(task);
}

static bool
lun_ready(struct iscsi_context *iscsi, int lun)
{
	struct scsi_task *task = iscsi_testunitready_sync(iscsi, lun);
	bool ready = task && task->status == SCSI_STATUS_GOOD;

	if (task)
		scsi_free_scsi_task(task);
	return ready;
}

/* A LUN whose store was away when the daemon started comes later, and the others tell of it. */
static void
wait_for_luns(struct iscsi_context *iscsi)
{
	unsigned ready = 0, asked = 0;

	while (ready < LUNS) {
		ready = 0;
		for (int lun = 0; lun < LUNS; lun++)
			ready += lun_ready(iscsi, lun);
		if (ready < LUNS && asked++ == 1200)
			finish(1, "%u LUNs were ready after 120 s: %s, see %s/daemon.log", ready,
			       iscsi_get_error(iscsi), dir);
		if (asked > 3) /* more than unit attentions */
			usleep(100000);
	}
	for (int lun = 0; lun < LUNS; lun++)
		learn_name(iscsi, lun);
}

static void
pump(struct iscsi_context *iscsi, int timeout_ms)
{
	struct pollfd pfd = {iscsi_get_fd(iscsi), (short)iscsi_which_events(iscsi), 0};

	if (poll(&pfd, 1, timeout_ms) < 0 && errno != EINTR)
		finish(1, "poll: %s", strerror(errno));
	if (iscsi_service(iscsi, pfd.revents) < 0)
		connection_lost = true;
}

static void
load_until_killed(uint64_t kill_at, int sig)
{
	struct iscsi_context *iscsi = login(true);
	bool killed = false;

	wait_for_luns(iscsi);
	connection_lost = false;
	kill_at += clock_ns();
	while (!connection_lost) {
		if (!killed && clock_ns() >= kill_at) {
			kill(pid, sig);
			killed = true;
		}
		for (int i = 0; i < DEPTH && !killed; i++)
			if (!ops[i].used && rnd(16) == 0)
				send_copy(iscsi, &ops[i]);
			else if (!ops[i].used)
				send_op(iscsi, &ops[i]);
		if (!killed && !flush_busy && rnd(30) == 0)
			send_flush(iscsi);
		pump(iscsi, killed ? 2000 : 1);
		if (killed && !in_flight)
			break;
	}
	if (!killed)
		finish(1, "the daemon dropped the connection by itself, see %s/daemon.log", dir);
	iscsi_destroy_context(iscsi);
	if (sig == SIGTERM) {
		usleep(rnd(60000));
		kill(pid, SIGKILL);
	}
	reap();
	in_flight = 0;
	flush_busy = false;
	for (int i = 0; i < DEPTH; i++) {
		ops[i].cut |= ops[i].used && ops[i].atomic;
		ops[i].used = false;
	}
}

/* -- the verdict ---------------------------------------------------------------- */

/* One that was under way is the newest of each of its blocks: it is in all of them, or in none. */
static unsigned
verify_atomic(struct iscsi_context *iscsi, struct op *op)
{
	struct scsi_task *task =
		iscsi_read16_sync(iscsi, (int)op->lun, op->lba, op->count * BLOCK, BLOCK, 0, 0, 0, 0, 0);
	uint32_t there = 0;

	if (!task || task->status != SCSI_STATUS_GOOD || task->datain.size != (int)(op->count * BLOCK))
		finish(1, "LUN %u LBA %u: read failed: %s", op->lun, op->lba, iscsi_get_error(iscsi));
	for (uint32_t i = 0; i < op->count; i++)
		there += promise_holds(task->datain.data + i * BLOCK, op->lun, op->lba + i,
				       promise_newest(&model[op->lun][op->lba + i]));
	scsi_free_scsi_task(task);
	atomic_cut[op->lun]++;
	atomic_there[op->lun] += there == op->count;
	op->cut = false;
	if (there == 0 || there == op->count)
		return 0;
	printf("LUN %u LBA %u: %u of the %u blocks of a WRITE ATOMIC are there\n", op->lun, op->lba, there,
	       op->count);
	return 1;
}

static unsigned
verify(void)
{
	struct iscsi_context *iscsi = login(true);
	unsigned broken = 0;

	wait_for_luns(iscsi);
	for (int i = 0; i < DEPTH; i++)
		if (ops[i].cut)
			broken += verify_atomic(iscsi, &ops[i]);
	for (unsigned lun = 0; lun < LUNS; lun++) {
		for (uint32_t lba = 0; lba < BLOCKS; lba += 64) {
			struct scsi_task *task =
				iscsi_read16_sync(iscsi, (int)lun, lba, 64 * BLOCK, BLOCK, 0, 0, 0, 0, 0);

			if (!task || task->status != SCSI_STATUS_GOOD ||
			    task->datain.size != (int)(64 * BLOCK))
				finish(1, "LUN %u LBA %u: read failed: %s", lun, lba, iscsi_get_error(iscsi));
			for (uint32_t i = 0; i < 64; i++)
				broken += !promise_settle(&model[lun][lba + i], lun, lba + i,
							  task->datain.data + i * BLOCK);
			scsi_free_scsi_task(task);
		}
	}
	iscsi_logout_sync(iscsi);
	iscsi_destroy_context(iscsi);
	return broken;
}

int
main(int argc, char **argv)
{
	bool expect_loss = argc > 1 && !strcmp(argv[1], "--expect-loss");
	unsigned cycles, broken = 0;
	const char *seed;

	argc -= expect_loss;
	argv += expect_loss;
	if (argc < 2)
		finish(2, "usage: kill9 [--expect-loss] DAEMON [CYCLES [SEED]]");
	daemon_path = argv[1];
	if (access(daemon_path, X_OK) < 0)
		finish(77, "SKIP: %s: %s", daemon_path, strerror(errno));
	cycles = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 200;
	seed = argc > 3 ? argv[3] : NULL;
	rng = seed ? strtoull(seed, NULL, 0) : clock_ns() | 1;
	printf("seed 0x%llx, %u cycles\n", (unsigned long long)rng, cycles);
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < DEPTH; i++)
		ops[i].data = malloc(MAX_BLOCKS * BLOCK);
	for (unsigned lun = 0; lun < LUNS; lun++)
		promise_init(model[lun], BLOCKS);
	prepare();
	for (unsigned cycle = 0; cycle < cycles && !broken; cycle++) {
		if (cycle % 7 == 3) { /* recovery itself is killed */
			spawn();
			usleep(rnd(40000));
			kill(pid, SIGKILL);
			reap();
		}
		spawn();
		wait_ready();
		broken += verify();
		quiet = cycle / QUIET_CYCLES % QUIET;
		load_until_killed((5 + rnd(150)) * 1000000ull, cycle % 9 == 5 ? SIGTERM : SIGKILL);
	}
	if (!broken) {
		spawn();
		wait_ready();
		broken += verify();
		kill(pid, SIGTERM);
		reap();
	}
	if (expect_loss)
		finish(broken ? 0 : 1,
		       broken ? "the loss was noticed: %u blocks" : "the loss was NOT noticed", broken);
	if (broken)
		finish(1, "%u blocks broke a promise", broken);
	finish(0,
	       "%u kills, %u operations (%u copies) and %u flushes answered, every promise held; atomic writes that were cut off, and of "
	       "them are there: %u, %u; with a cache %u, %u; of the file %u, %u",
	       cycles, answered, copies, flushes, atomic_cut[0], atomic_there[0], atomic_cut[CACHED],
	       atomic_there[CACHED], atomic_cut[RAW], atomic_there[RAW]);
}
