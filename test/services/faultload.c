/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A load that knows what it was promised, for faults of the store below the daemon: writes, reads, UNMAPs and
 * flushes on two LUNs (0 without a write cache, 1 with one), commanded by lines on stdin, each answered by a line.
 *
 *   connect PORTAL TARGET   log in (again)
 *   fill                    write every block once
 *   run | quiet             begin; stop, and wait for what is in flight
 *   phase                   count and measure anew
 *   report                  answered N writes MS reads MS (the longest wait for an answer, the oldest without one
 *                           included) read-errors N write-errors N sense WORDS
 *   verify                  flush, and read everything back; a difference ends the program with 1
 *   crashed                 the same after a crash or restart of the daemon: of each block any version since its
 *                           last promised one
 *   drop                    forget the session
 *
 * A wrong byte in any read ends it at once.  An error that the initiator is told is counted, and the operation
 * may have happened or not.
 *
 * Model: test/lib/promises.h.  A block is read only while no write of it is in flight, and the other way round.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "common/util.h"
#include "test/lib/promises.h"

#define BLOCK PROMISE_BLOCK
#define BLOCKS 16384u /* 64 MiB a LUN */
#define LUNS 2
#define DEPTH 16
#define READS 6 /* of them: reads that wait for the store do not hold the writes back */
#define MAX_BLOCKS 32u
#define HOT 4096u /* blocks that writes go to, for a while: commits rewrite few chunks */
#define HOT_MS 4000u
#define PACE_NS 1500000u /* an operation; the server needs the rest of the machine */
#define FLUSH_EVERY 60
#define PATIENCE_NS 60000000000u

enum what { READ, WRITE, UNMAP, FLUSH };

struct op {
	enum what what;
	unsigned lun;
	uint32_t lba, count;
	bool promise; /* its answer raises the floor */
	bool used;
	uint64_t sent_ns;
	unsigned char *data;
};

static struct promise model[LUNS][BLOCKS];
static unsigned char readers[LUNS][BLOCKS];
static uint32_t flushed[BLOCKS]; /* what the flush in flight promises of LUN 1 */
static struct op ops[DEPTH + 1]; /* the last is for flushes */
static struct iscsi_context *iscsi;
static unsigned in_flight;
static bool running;
static struct {
	unsigned answered, read_errors, write_errors;
	uint64_t longest_ns[2]; /* [1] of reads */
	char sense[200];
} seen;
static uint64_t rng = 88172645463325252u, next_ns;

static uint32_t
rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 11) % below;
}

__attribute__((noreturn, format(printf, 1, 2))) static void
broken(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("BROKEN: ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
	exit(1);
}

/* ---- answers ---- */

static void
note_error(const struct op *op, int status, const struct scsi_task *task)
{
	char text[64];

	if (op->what == READ)
		seen.read_errors++;
	else
		seen.write_errors++;
	if (status == SCSI_STATUS_CHECK_CONDITION)
		(void)snprintf(text, sizeof(text), "%x/%04x", (unsigned)task->sense.key,
			       (unsigned)task->sense.ascq);
	else
		(void)snprintf(text, sizeof(text), "status-0x%x", (unsigned)status);
	if (!strstr(seen.sense, text) && strlen(seen.sense) + strlen(text) + 2 < sizeof(seen.sense))
		(void)snprintf(seen.sense + strlen(seen.sense), sizeof(seen.sense) - strlen(seen.sense),
			       "%s%s", seen.sense[0] ? "," : "", text);
}

static void
note_wait(const struct op *op)
{
	uint64_t *longest = &seen.longest_ns[op->what == READ];

	*longest = max_of(*longest, clock_ns() - op->sent_ns);
}

static void
check_read(const struct op *op, const struct scsi_task *task)
{
	if (task->datain.size != (int)(op->count * BLOCK))
		broken("LUN %u LBA %u: a read of %u blocks gave %d bytes", op->lun, op->lba, op->count,
		       task->datain.size);
	for (uint32_t i = 0; i < op->count; i++) {
		const unsigned char *p = task->datain.data + (size_t)i * BLOCK;

		if (promise_read(&model[op->lun][op->lba + i], op->lun, op->lba + i, p))
			continue;
		promise_complain(&model[op->lun][op->lba + i], op->lun, op->lba + i, p);
		broken("a read during the load was wrong");
	}
}

static void
flush_kept(void)
{
	for (uint32_t lba = 0; lba < BLOCKS; lba++) {
		struct promise *b = &model[1][lba];

		for (unsigned i = 1; i < b->n; i++)
			if (b->since[i].number == flushed[lba]) {
				promise_raise(b, i);
				break;
			}
	}
}

static void
op_done(struct iscsi_context *context, int status, void *command_data, void *private_data)
{
	struct scsi_task *task = command_data;
	struct op *op = private_data;
	bool good = status == SCSI_STATUS_GOOD;

	(void)context;
	in_flight--;
	seen.answered += good;
	note_wait(op);
	if (!good)
		note_error(op, status, task);
	else if (op->what == READ)
		check_read(op, task);
	else if (op->what == FLUSH)
		flush_kept();
	for (uint32_t i = 0; i < op->count; i++) {
		struct promise *b = &model[op->lun][op->lba + i];

		if (op->what == READ) {
			readers[op->lun][op->lba + i]--;
			continue;
		}
		b->busy = false;
		b->unsure = !good;
		if (good && op->promise)
			promise_raise(b, b->n - 1);
	}
	op->used = false;
	scsi_free_scsi_task(task);
}

/* ---- questions ---- */

static bool
usable(unsigned lun, uint32_t lba, uint32_t count, bool reading)
{
	for (uint32_t i = 0; i < count; i++)
		if (model[lun][lba + i].busy || (!reading && readers[lun][lba + i]))
			return false;
	return reading || promise_usable(&model[lun][lba], count);
}

static void
submitted(struct op *op, const struct scsi_task *task)
{
	if (!task)
		broken("libiscsi could not send: %s", iscsi_get_error(iscsi));
	op->used = true;
	op->sent_ns = clock_ns();
	in_flight++;
}

static void
send_write(struct op *op, bool trim, bool fua)
{
	struct unmap_list list = {op->lba, op->count};

	op->what = trim ? UNMAP : WRITE;
	/* UNMAP has no FUA: its answer is a promise only where there is no write cache */
	op->promise = op->lun == 0 || (fua && !trim);
	for (uint32_t i = 0; i < op->count; i++) {
		struct promise *b = &model[op->lun][op->lba + i];

		promise_send(b, trim ? PROMISE_ZERO : PROMISE_STAMP);
		if (!trim)
			promise_stamp(op->data + (size_t)i * BLOCK, op->lun, op->lba + i,
				      promise_newest(b)->number);
	}
	submitted(op, trim ? iscsi_unmap_task(iscsi, (int)op->lun, 0, 0, &list, 1, op_done, op)
			   : iscsi_write16_task(iscsi, (int)op->lun, op->lba, op->data, op->count * BLOCK,
						BLOCK, 0, 0, fua, 0, 0, op_done, op));
}

static void
send_read(struct op *op)
{
	op->what = READ;
	for (uint32_t i = 0; i < op->count; i++)
		readers[op->lun][op->lba + i]++;
	submitted(op, iscsi_read16_task(iscsi, (int)op->lun, op->lba, op->count * BLOCK, BLOCK, 0, 0, 0, 0, 0,
					op_done, op));
}

static void
send_flush(unsigned lun)
{
	struct op *op = &ops[DEPTH];

	for (uint32_t lba = 0; lba < BLOCKS; lba++) {
		struct promise *b = &model[1][lba];
		unsigned last = b->n - 1;

		last -= b->busy && last > 0;
		flushed[lba] = b->unsure ? b->since[0].number : b->since[last].number;
	}
	*op = (struct op){.what = FLUSH, .lun = lun};
	submitted(op, iscsi_synchronizecache16_task(iscsi, (int)lun, 0, 0, 0, 0, op_done, op));
}

static void
send_one(struct op *op, bool reading)
{
	uint32_t count = rnd(4) ? 1 + rnd(4) : 1 + rnd(MAX_BLOCKS), lba;

	if (reading)
		lba = rnd(BLOCKS - count + 1);
	else
		lba = (uint32_t)(clock_ns() / 1000000 / HOT_MS * HOT % BLOCKS) + rnd(HOT - count + 1);
	*op = (struct op){.lun = rnd(LUNS), .lba = lba, .count = count, .data = op->data};
	if (!usable(op->lun, lba, count, reading))
		return;
	if (reading)
		send_read(op);
	else
		send_write(op, rnd(20) == 0, rnd(8) == 0);
}

static struct op *
free_op(bool reading)
{
	for (unsigned i = reading ? 0 : READS; i < (reading ? READS : DEPTH); i++)
		if (!ops[i].used)
			return &ops[i];
	return NULL;
}

static void
send_more(void)
{
	while (running && clock_ns() >= next_ns) {
		bool reading = rnd(5) < 2;
		struct op *op = free_op(reading);

		next_ns = max_of(next_ns, clock_ns() - 20 * PACE_NS) + PACE_NS;
		if (op)
			send_one(op, reading);
		if (!ops[DEPTH].used && rnd(FLUSH_EVERY) == 0)
			send_flush(1);
	}
}

static void
pump(const struct pollfd *pfd)
{
	if (iscsi_service(iscsi, pfd->revents) < 0)
		broken("the session was lost: %s", iscsi_get_error(iscsi));
}

static void
wait_quiet(void)
{
	running = false;
	while (in_flight) {
		struct pollfd pfd = {iscsi_get_fd(iscsi), (short)iscsi_which_events(iscsi), 0};

		if (poll(&pfd, 1, 1000) < 0 && errno != EINTR)
			broken("poll: %s", strerror(errno));
		pump(&pfd);
	}
}

/* ---- commands ---- */

static void
do_drop(char *args)
{
	(void)args;
	wait_quiet();
	if (iscsi)
		iscsi_destroy_context(iscsi);
	iscsi = NULL;
	printf("dropped\n");
}

static void
do_connect(char *args)
{
	char *save = NULL, *portal = strtok_r(args, " ", &save), *target = strtok_r(NULL, " ", &save);

	if (!portal || !target)
		broken("connect PORTAL TARGET");
	iscsi = iscsi_create_context("iqn.2026-11.net.lungate:fault-initiator");
	iscsi_set_targetname(iscsi, target);
	iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(iscsi, ISCSI_HEADER_DIGEST_NONE);
	iscsi_set_noautoreconnect(iscsi, 1);
	if (iscsi_full_connect_sync(iscsi, portal, 0) < 0)
		broken("login: %s", iscsi_get_error(iscsi));
	for (int lun = 0; lun < LUNS; lun++)
		for (int i = 0; i < 3; i++) {
			struct scsi_task *task = iscsi_testunitready_sync(iscsi, lun);

			if (task)
				scsi_free_scsi_task(task);
		}
	printf("connected\n");
}

static void
do_fill(char *args)
{
	(void)args;
	for (unsigned lun = 0; lun < LUNS; lun++)
		for (uint32_t lba = 0; lba < BLOCKS; lba += MAX_BLOCKS) {
			struct op *op = ops;

			*op = (struct op){.lun = lun, .lba = lba, .count = MAX_BLOCKS, .data = op->data};
			send_write(op, false, true);
			wait_quiet();
			if (model[lun][lba].unsure)
				broken("a write failed before any fault: %s", seen.sense);
		}
	printf("filled\n");
}

static void
do_run(char *args)
{
	(void)args;
	running = true;
	next_ns = clock_ns();
	printf("running\n");
}

static void
do_quiet(char *args)
{
	(void)args;
	wait_quiet();
	printf("quiet\n");
}

static void
do_phase(char *args)
{
	(void)args;
	memset(&seen, 0, sizeof(seen));
	printf("counting\n");
}

static void
do_report(char *args)
{
	(void)args;
	for (int i = 0; i <= DEPTH; i++)
		if (ops[i].used)
			note_wait(&ops[i]);
	printf("answered %u writes %llu reads %llu read-errors %u write-errors %u sense %s\n", seen.answered,
	       (unsigned long long)seen.longest_ns[0] / 1000000,
	       (unsigned long long)seen.longest_ns[1] / 1000000, seen.read_errors, seen.write_errors,
	       seen.sense[0] ? seen.sense : "-");
}

static unsigned
compare(unsigned lun, uint32_t lba, const unsigned char *p, bool crashed)
{
	struct promise *b = &model[lun][lba];

	if (crashed || b->unsure)
		return !promise_settle(b, lun, lba, p);
	if (promise_read(b, lun, lba, p))
		return 0;
	promise_complain(b, lun, lba, p);
	return 1;
}

/* As an initiator does with NOT READY and BUSY. */
static struct scsi_task *
read_patiently(unsigned lun, uint32_t lba)
{
	uint64_t begun = clock_ns();

	for (;;) {
		struct scsi_task *task =
			iscsi_read16_sync(iscsi, (int)lun, lba, 64 * BLOCK, BLOCK, 0, 0, 0, 0, 0);

		if (task && task->status == SCSI_STATUS_GOOD && task->datain.size == (int)(64 * BLOCK))
			return task;
		if (!task || task->status == SCSI_STATUS_GOOD || clock_ns() - begun > PATIENCE_NS)
			broken("LUN %u LBA %u: a read failed after the fault: %s", lun, lba,
			       iscsi_get_error(iscsi));
		scsi_free_scsi_task(task);
		(void)usleep(100000);
	}
}

static void
flush_patiently(unsigned lun)
{
	uint64_t begun = clock_ns();

	do {
		memset(&seen, 0, sizeof(seen));
		send_flush(lun);
		wait_quiet();
		if (!seen.write_errors)
			return;
	} while (clock_ns() - begun < PATIENCE_NS);
	broken("LUN %u: a flush failed after the fault: %s", lun, seen.sense);
}

static void
read_back(bool crashed)
{
	unsigned wrong = 0;

	wait_quiet();
	for (unsigned lun = 0; lun < LUNS; lun++) {
		if (!crashed)
			flush_patiently(lun);
		for (uint32_t lba = 0; lba < BLOCKS; lba += 64) {
			struct scsi_task *task = read_patiently(lun, lba);

			for (uint32_t i = 0; i < 64; i++)
				wrong +=
					compare(lun, lba + i, task->datain.data + (size_t)i * BLOCK, crashed);
			scsi_free_scsi_task(task);
		}
	}
	if (wrong)
		broken("%u blocks are not what was promised", wrong);
	printf("as promised\n");
}

static void
do_verify(char *args)
{
	(void)args;
	read_back(false);
}

static void
do_crashed(char *args)
{
	(void)args;
	read_back(true);
}

static const struct {
	const char *name;
	void (*fn)(char *args);
} commands[] = {
	{"connect", do_connect}, {"fill", do_fill},       {"run", do_run},
	{"quiet", do_quiet},     {"phase", do_phase},     {"report", do_report},
	{"verify", do_verify},   {"crashed", do_crashed}, {"drop", do_drop},
};

static void
obey(char *line)
{
	size_t n = strcspn(line, " ");
	char *args = line + n + (line[n] == ' ');

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strlen(commands[i].name) == n && !strncmp(commands[i].name, line, n)) {
			commands[i].fn(args);
			fflush(stdout);
			return;
		}
	broken("unknown command: %s", line);
}

/* false = the end */
static bool
take_commands(void)
{
	static char text[512];
	static size_t n;
	ssize_t got = read(0, text + n, sizeof(text) - 1 - n);
	char *end;

	if (got <= 0)
		return false;
	n += (size_t)got;
	text[n] = '\0';
	while ((end = strchr(text, '\n'))) {
		char line[sizeof(text)];

		*end = '\0';
		memcpy(line, text, (size_t)(end - text) + 1);
		n -= (size_t)(end + 1 - text);
		memmove(text, end + 1, n + 1);
		obey(line);
	}
	return true;
}

int
main(void)
{
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < DEPTH; i++)
		ops[i].data = malloc((size_t)MAX_BLOCKS * BLOCK);
	for (unsigned lun = 0; lun < LUNS; lun++)
		promise_init(model[lun], BLOCKS);
	for (;;) {
		struct pollfd pfds[2] = {{.fd = 0, .events = POLLIN}, {.fd = -1}};

		send_more();
		if (iscsi)
			pfds[1] = (struct pollfd){iscsi_get_fd(iscsi), (short)iscsi_which_events(iscsi), 0};
		if (poll(pfds, 2, running ? 2 : 1000) < 0 && errno != EINTR)
			broken("poll: %s", strerror(errno));
		if (iscsi)
			pump(&pfds[1]);
		if (pfds[0].revents && !take_commands())
			return 0;
	}
}
