/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two real initiators at one LUN: who may do what while the other holds a
 * reservation, of every type, and how reservations come, go and stay.
 *
 * What is expected is written down from the standards, not from the daemon: for each
 * command the row of SPC-4 table 66 or SBC-3 table 13, and the column of SPC-2 table 10 for
 * RESERVE(6).  Each cell is then seen: conflict means RESERVATION CONFLICT, allowed means GOOD.
 *
 * usage: reservations PORTAL TARGET LUN table|actions|set TYPE|kept TYPE|lost
 *	table	the whole table; actions: what service actions do to the other
 *	set	registers both with APTPL and reserves; kept: that is still so, and enforced; then clears
 *	lost	no key, no reservation
 *
 * Prints what is not as it should be and a count; exit 0 = all held.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/util.h"
#include "test/conformance/initiator.h"

#define KEY_A 0xaaaaaaaa00000001u
#define KEY_B 0xbbbbbbbb00000002u
#define BLOCK 512u

enum { WE = 1, EA = 3, WE_RO = 5, EA_RO = 6, WE_AR = 7, EA_AR = 8 };
enum { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, REGISTER_IGNORE, MOVE };
enum { CONFLICT = 0x18 };

static const struct type {
	unsigned type;
	const char *name;
} types[] = {
	{WE, "write exclusive"},
	{EA, "exclusive access"},
	{WE_RO, "write exclusive, registrants only"},
	{EA_RO, "exclusive access, registrants only"},
	{WE_AR, "write exclusive, all registrants"},
	{EA_AR, "exclusive access, all registrants"},
};

/*
 * Columns: held by another nexus as write exclusive | as exclusive access | any other type, from a registered
 * nexus | the write exclusive ones of these, not registered | the exclusive access ones, not registered |
 * RESERVE(6) of another.  A: allowed, C: conflict.
 */
static const struct row {
	const char *name;
	uint8_t cdb[16];
	uint8_t cdb_len;
	uint8_t in;  /* bytes, in units of 4 */
	uint8_t out; /* blocks of zeroes */
	const char *columns;
} rows[] = {
	{"TEST UNIT READY", {0x00}, 6, 0, 0, "AAAAAC"},
	{"REQUEST SENSE", {0x03, [4] = 252}, 6, 63, 0, "AAAAAA"},
	{"INQUIRY", {0x12, [4] = 96}, 6, 24, 0, "AAAAAA"},
	{"REPORT LUNS", {0xa0, [9] = 64}, 12, 16, 0, "AAAAAA"},
	{"MODE SELECT(6)", {0x15, 0x10}, 6, 0, 0, "CCACCC"},
	{"MODE SELECT(10)", {0x55, 0x10}, 10, 0, 0, "CCACCC"},
	{"MODE SENSE(6)", {0x1a, 0, 8, [4] = 64}, 6, 16, 0, "CCACCC"},
	{"MODE SENSE(10)", {0x5a, 0, 8, [8] = 64}, 10, 16, 0, "CCACCC"},
	{"LOG SENSE", {0x4d, [2] = 0x40, [8] = 64}, 10, 16, 0, "AAAAAC"},
	{"SEND DIAGNOSTIC", {0x1d, 0x04}, 6, 0, 0, "CCACCC"},
	{"PERSISTENT RESERVE IN", {0x5e, 0x00, [8] = 64}, 10, 16, 0, "AAAAAC"},
	{"REPORT TARGET PORT GROUPS", {0xa3, 0x0a, [9] = 64}, 12, 16, 0, "AAAAAA"},
	{"SET TARGET PORT GROUPS", {0xa4, 0x0a}, 12, 0, 0, "CCACCC"},
	{"REPORT SUPPORTED OPERATION CODES", {0xa3, 0x0c, 0x01, 0x28, [9] = 64}, 12, 16, 0, "AAAAAA"},
	{"REPORT SUPPORTED TMFS", {0xa3, 0x0d, [9] = 16}, 12, 4, 0, "AAAAAA"},
	{"EXTENDED COPY", {0x83}, 16, 0, 0, "CCACCC"},
	{"RECEIVE COPY OPERATING PARAMETERS", {0x84, 0x03, [13] = 128}, 16, 32, 0, "CCACCC"},
	{"START STOP UNIT, STOP", {0x1b, [4] = 0x00}, 6, 0, 0, "CCACCC"},
	{"START STOP UNIT, START", {0x1b, [4] = 0x01}, 6, 0, 0, "AAAAAA"},
	{"PREVENT MEDIUM REMOVAL", {0x1e, [4] = 1}, 6, 0, 0, "CCACCC"},
	{"ALLOW MEDIUM REMOVAL", {0x1e, [4] = 0}, 6, 0, 0, "AAAAAA"},
	{"READ CAPACITY(10)", {0x25}, 10, 2, 0, "AAAAAA"},
	{"READ CAPACITY(16)", {0x9e, 0x10, [13] = 32}, 16, 8, 0, "AAAAAA"},
	{"GET LBA STATUS", {0x9e, 0x12, [13] = 24}, 16, 6, 0, "ACAACC"},
	{"READ DEFECT DATA(10)", {0x37, 0, 0x08, [8] = 8}, 10, 2, 0, "ACAACC"},
	{"READ DEFECT DATA(12)", {0xb7, 0x08, [9] = 8}, 12, 2, 0, "ACAACC"},
	{"READ(6)", {0x08, [4] = 1}, 6, 128, 0, "ACAACC"},
	{"READ(10)", {0x28, [8] = 1}, 10, 128, 0, "ACAACC"},
	{"READ(12)", {0xa8, [9] = 1}, 12, 128, 0, "ACAACC"},
	{"READ(16)", {0x88, [13] = 1}, 16, 128, 0, "ACAACC"},
	{"VERIFY(10)", {0x2f, [8] = 1}, 10, 0, 0, "ACAACC"},
	{"VERIFY(12)", {0xaf, [9] = 1}, 12, 0, 0, "ACAACC"},
	{"VERIFY(16)", {0x8f, [13] = 1}, 16, 0, 0, "ACAACC"},
	{"WRITE(6)", {0x0a, [4] = 1}, 6, 0, 1, "CCACCC"},
	{"WRITE(10)", {0x2a, [8] = 1}, 10, 0, 1, "CCACCC"},
	{"WRITE(12)", {0xaa, [9] = 1}, 12, 0, 1, "CCACCC"},
	{"WRITE(16)", {0x8a, [13] = 1}, 16, 0, 1, "CCACCC"},
	{"WRITE AND VERIFY(10)", {0x2e, [8] = 1}, 10, 0, 1, "CCACCC"},
	{"WRITE AND VERIFY(12)", {0xae, [9] = 1}, 12, 0, 1, "CCACCC"},
	{"WRITE AND VERIFY(16)", {0x8e, [13] = 1}, 16, 0, 1, "CCACCC"},
	{"ORWRITE(16)", {0x8b, [13] = 1}, 16, 0, 1, "CCACCC"},
	{"COMPARE AND WRITE", {0x89, [13] = 1}, 16, 0, 2, "CCACCC"},
	{"WRITE SAME(10)", {0x41, [8] = 1}, 10, 0, 1, "CCACCC"},
	{"WRITE SAME(16)", {0x93, [13] = 1}, 16, 0, 1, "CCACCC"},
	{"WRITE SAME(16), UNMAP, NDOB", {0x93, 0x09, [13] = 1}, 16, 0, 0, "CCACCC"},
	{"UNMAP", {0x42}, 10, 0, 0, "CCACCC"},
	{"SYNCHRONIZE CACHE(10)", {0x35}, 10, 0, 0, "CCACCC"},
	{"SYNCHRONIZE CACHE(16)", {0x91}, 16, 0, 0, "CCACCC"},
	{"SANITIZE, EXIT FAILURE MODE", {0x48, 0x9f}, 10, 0, 0, "CCACCC"},
};

static const char *portal, *target;
static int lun;
static unsigned asc;              /* ASC << 8 | ASCQ of the last command */
static struct scsi_task *aborted; /* its data may be on its way out as long as its session is */
static uint8_t got[4096];
static size_t ngot;

/* -- initiators ------------------------------------------------------------- */

/* The qualifier makes the nexus the same after a restart. */
static struct iscsi_context *
connect_as(const char *name, uint32_t qualifier)
{
	return initiator_login(portal, target, name, qualifier);
}

/* One command as it is: its status; sense and data in asc, got. */
static int
run(struct iscsi_context *iscsi, const uint8_t *cdb, unsigned cdb_len, unsigned in, const void *out,
    unsigned out_len)
{
	struct scsi_task *task = scsi_create_task((int)cdb_len, (unsigned char *)cdb,
						  in        ? SCSI_XFER_READ
						  : out_len ? SCSI_XFER_WRITE
							    : SCSI_XFER_NONE,
						  (int)(in ? in : out_len));
	struct iscsi_data data = {.size = out_len, .data = (unsigned char *)out};
	int status;

	if (!task || !iscsi_scsi_command_sync(iscsi, lun, task, out_len ? &data : NULL)) {
		printf("command %02xh got no answer: %s\n", cdb[0], iscsi_get_error(iscsi));
		exit(1);
	}
	status = task->status;
	asc = status == CHECK ? (unsigned)task->sense.ascq : 0;
	ngot = status == GOOD && task->datain.size > 0 ? min_of((size_t)task->datain.size, sizeof(got)) : 0;
	if (ngot)
		memcpy(got, task->datain.data, ngot);
	scsi_free_scsi_task(task);
	return status;
}

static int
run_row(struct iscsi_context *iscsi, const struct row *row)
{
	static const uint8_t zeroes[2 * BLOCK];

	return run(iscsi, row->cdb, row->cdb_len, row->in * 4u, zeroes, row->out * BLOCK);
}

static int
ready(struct iscsi_context *iscsi)
{
	return run(iscsi, (uint8_t[6]){0}, 6, 0, NULL, 0);
}

/* Takes what unit attentions there are. */
static void
settle(struct iscsi_context *iscsi)
{
	for (unsigned i = 0; i < 8 && ready(iscsi) == CHECK; i++)
		;
}

static int
pr_out(struct iscsi_context *iscsi, unsigned action, unsigned type, uint64_t key, uint64_t action_key,
       bool aptpl)
{
	uint8_t cdb[10] = {0x5f, (uint8_t)action, (uint8_t)type, [8] = 24}, list[24] = {0};

	put_be64(list, key);
	put_be64(list + 8, action_key);
	list[20] = aptpl;
	return run(iscsi, cdb, 10, 0, list, sizeof(list));
}

static unsigned
keys(struct iscsi_context *iscsi)
{
	uint8_t cdb[10] = {0x5e, 0, [7] = 4};

	check(run(iscsi, cdb, 10, 1024, NULL, 0) == GOOD && ngot >= 8, "READ KEYS");
	return ngot >= 8 ? get_be32(got + 4) / 8 : 0;
}

/* The type of the reservation, 0 = none; its key in *ret_key. */
static unsigned
reservation(struct iscsi_context *iscsi, uint64_t *ret_key)
{
	uint8_t cdb[10] = {0x5e, 1, [7] = 4};

	*ret_key = 0;
	check(run(iscsi, cdb, 10, 1024, NULL, 0) == GOOD && ngot >= 8, "READ RESERVATION");
	if (ngot < 24)
		return 0;
	*ret_key = get_be64(got + 8);
	return got[21] & 0x0f;
}

static bool
all_registrants(unsigned type)
{
	return type == WE_AR || type == EA_AR;
}

/* -- the table -------------------------------------------------------------- */

static void
column(struct iscsi_context *iscsi, const char *who, const char *held, unsigned at)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char want = at < 6 ? rows[i].columns[at] : 'A';
		int status = run_row(iscsi, &rows[i]);

		check(status == (want == 'A' ? GOOD : CONFLICT), "%s, %s: %s ended with %02xh, ASC %04xh",
		      held, who, rows[i].name, (unsigned)status, asc);
	}
}

static void
table(struct iscsi_context *a, struct iscsi_context *b)
{
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		unsigned type = types[i].type;
		bool exclusive = type == EA || type == EA_RO || type == EA_AR;

		check(pr_out(a, REGISTER, 0, 0, KEY_A, false) == GOOD, "register");
		check(pr_out(a, RESERVE, type, KEY_A, 0, false) == GOOD, "reserve");
		column(a, "holder", types[i].name, 6);
		column(b, "not registered", types[i].name,
		       type == WE   ? 0
		       : type == EA ? 1
		       : exclusive  ? 4
				    : 3);
		check(pr_out(b, REGISTER, 0, 0, KEY_B, false) == GOOD, "register");
		column(b, "registered", types[i].name, type == WE ? 0 : type == EA ? 1 : 2);
		/* SPC-2 commands beside registrations: SPC-3 5.6.3 */
		check(run(a, (uint8_t[6]){0x16}, 6, 0, NULL, 0) == GOOD, "%s: RESERVE(6) of the holder",
		      types[i].name);
		check(run(b, (uint8_t[6]){0x16}, 6, 0, NULL, 0) ==
			      (type == WE || type == EA ? CONFLICT : GOOD),
		      "%s: RESERVE(6) of a registrant", types[i].name);
		check(pr_out(b, REGISTER, 0, KEY_B, 0, false) == GOOD, "unregister");
		check(run(b, (uint8_t[6]){0x16}, 6, 0, NULL, 0) == CONFLICT, "%s: RESERVE(6) of a stranger",
		      types[i].name);
		check(run(b, (uint8_t[6]){0x17}, 6, 0, NULL, 0) == CONFLICT, "%s: RELEASE(6) of a stranger",
		      types[i].name);
		check(pr_out(a, CLEAR, 0, KEY_A, 0, false) == GOOD, "clear");
		settle(b);
	}
	check(run(a, (uint8_t[6]){0x16}, 6, 0, NULL, 0) == GOOD, "RESERVE(6)");
	column(b, "another", "RESERVE(6)", 5);
	check(run(b, (uint8_t[6]){0x16}, 6, 0, NULL, 0) == CONFLICT, "RESERVE(6) twice");
	check(run(b, (uint8_t[6]){0x17}, 6, 0, NULL, 0) == GOOD,
	      "RELEASE(6) of what is another's: GOOD, and nothing");
	check(pr_out(b, REGISTER, 0, 0, KEY_B, false) == CONFLICT, "REGISTER beside RESERVE(6)");
	check(ready(b) == CONFLICT, "RELEASE(6) of another released it");
	check(run(a, (uint8_t[6]){0x17}, 6, 0, NULL, 0) == GOOD, "RELEASE(6)");
	check(ready(b) == GOOD, "after RELEASE(6)");
	column(b, "free", "nothing", 6);
}

/* -- service actions ---------------------------------------------------------- */

static void
expect_ua(struct iscsi_context *iscsi, unsigned want, const char *when)
{
	int status = ready(iscsi);

	check(status == CHECK && asc == want, "%s: status %02xh, ASC %04xh, not %04xh", when,
	      (unsigned)status, asc, want);
	settle(iscsi);
}

static void
both_registered(struct iscsi_context *a, struct iscsi_context *b, unsigned type)
{
	check(pr_out(a, REGISTER_IGNORE, 0, 0, KEY_A, false) == GOOD, "register");
	check(pr_out(b, REGISTER_IGNORE, 0, 0, KEY_B, false) == GOOD, "register");
	check(pr_out(a, RESERVE, type, KEY_A, 0, false) == GOOD, "reserve");
}

static void
nothing_left(struct iscsi_context *a, struct iscsi_context *b)
{
	uint64_t key;

	check(keys(a) == 0 && reservation(a, &key) == 0, "something is left");
	settle(a);
	settle(b);
}

/* SPC-4 table 67: what PERSISTENT RESERVE OUT itself may. */
static void
who_may(struct iscsi_context *a, struct iscsi_context *b, const struct type *t)
{
	uint64_t key;

	check(pr_out(a, REGISTER, 0, 0, KEY_A, false) == GOOD, "register");
	check(pr_out(a, RESERVE, t->type, KEY_A, 0, false) == GOOD, "reserve");
	for (unsigned action = RESERVE; action <= PREEMPT_ABORT; action++)
		check(pr_out(b, action, t->type, KEY_A, KEY_A, false) == CONFLICT,
		      "%s: action %u of a stranger", t->name, action);
	check(pr_out(b, REGISTER, 0, KEY_A, KEY_B, false) == CONFLICT, "REGISTER with another's key");
	check(pr_out(b, REGISTER, 0, 0, KEY_B, false) == GOOD, "register");
	for (unsigned action = RESERVE; action <= PREEMPT_ABORT; action++)
		check(pr_out(b, action, t->type, KEY_A, KEY_A, false) == CONFLICT,
		      "%s: action %u with a wrong key", t->name, action);
	check(pr_out(b, RESERVE, t->type, KEY_B, 0, false) == (all_registrants(t->type) ? GOOD : CONFLICT),
	      "%s: RESERVE of the other", t->name);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].type != t->type)
			check(pr_out(a, RESERVE, types[i].type, KEY_A, 0, false) == CONFLICT,
			      "%s: RESERVE as %s besides", t->name, types[i].name);
	/* 5.13.11.2.2: a release of what one does not hold is GOOD and nothing; of another type, CHECK CONDITION */
	if (!all_registrants(t->type))
		check(pr_out(b, RELEASE, t->type, KEY_B, 0, false) == GOOD, "%s: RELEASE of the other",
		      t->name);
	check(pr_out(a, RELEASE, t->type == WE ? EA : WE, KEY_A, 0, false) == CHECK && asc == 0x2604,
	      "%s: RELEASE of another type", t->name);
	check(reservation(b, &key) == t->type && key == (all_registrants(t->type) ? 0 : KEY_A),
	      "%s: it is gone", t->name);
	check(pr_out(a, CLEAR, 0, KEY_A, 0, false) == GOOD, "clear");
	expect_ua(b, 0x2a03, "CLEAR");
	nothing_left(a, b);
}

/* What the end of a reservation tells the other. */
static void
release(struct iscsi_context *a, struct iscsi_context *b, const struct type *t)
{
	both_registered(a, b, t->type);
	settle(b);
	check(pr_out(a, RELEASE, t->type, KEY_A, 0, false) == GOOD, "release");
	if (t->type == WE || t->type == EA)
		check(ready(b) == GOOD, "%s: RELEASE tells something", t->name);
	else
		expect_ua(b, 0x2a04, t->name);
	check(keys(b) == 2, "keys after RELEASE");
	/* the holder unregisters */
	check(pr_out(a, RESERVE, t->type, KEY_A, 0, false) == GOOD, "reserve");
	check(pr_out(a, REGISTER, 0, KEY_A, 0, false) == GOOD, "unregister");
	if (all_registrants(t->type)) {
		uint64_t key;

		check(reservation(b, &key) == t->type, "%s: it went though one registrant is left", t->name);
	} else {
		uint64_t key;

		/* not asked by B: the unit attention would be its answer */
		check(reservation(a, &key) == 0, "%s: it is there without its holder", t->name);
		if (t->type == WE || t->type == EA)
			check(ready(b) == GOOD, "%s: unregistering tells something", t->name);
		else
			expect_ua(b, 0x2a04, "the holder unregistered");
	}
	check(pr_out(b, REGISTER, 0, KEY_B, 0, false) == GOOD, "unregister");
	nothing_left(a, b);
}

/* B takes A's reservation away, as each type. */
static void
preempt(struct iscsi_context *a, struct iscsi_context *b, const struct type *t, unsigned action)
{
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		uint64_t key;

		both_registered(a, b, t->type);
		check(pr_out(b, action, types[i].type, KEY_B, all_registrants(t->type) ? 0 : KEY_A, false) ==
			      GOOD,
		      "%s: preempt", t->name);
		check(keys(b) == 1, "%s: the preempted one is registered", t->name);
		check(reservation(b, &key) == types[i].type &&
			      key == (all_registrants(types[i].type) ? 0 : KEY_B),
		      "%s: not preempted to %s", t->name, types[i].name);
		expect_ua(a, 0x2a05, "preempted");
		check(pr_out(a, RELEASE, types[i].type, KEY_A, 0, false) == CONFLICT,
		      "the preempted one releases");
		check(run_row(a, &(struct row){"", {0x2a, [8] = 1}, 10, 0, 1, ""}) == CONFLICT,
		      "the preempted one writes");
		check(pr_out(b, CLEAR, 0, KEY_B, 0, false) == GOOD, "clear");
		nothing_left(a, b);
	}
}

static void
no_answer(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	(void)iscsi;
	(void)command_data;
	*(int *)private_data = status;
}

/* PREEMPT AND ABORT while a write of A waits for its data: the write never happens, whatever comes. */
static void
preempt_and_abort(struct iscsi_context *a, struct iscsi_context *b)
{
	enum { LENGTH = 1 << 20 }; /* more than a first burst: the rest is asked for by R2T */
	static uint8_t data[LENGTH];
	uint8_t cdb[10] = {0x2a, [4] = 0x10, [7] = (LENGTH / BLOCK) >> 8, [8] = 0},
		read[10] = {0x28, [4] = 0x10, [8] = 8};
	struct scsi_task *task = scsi_create_task(10, cdb, SCSI_XFER_WRITE, LENGTH);
	struct iscsi_data out = {.size = LENGTH, .data = data};
	static int status = -1;

	status = -1;
	aborted = task;
	memset(data, 0x5a, sizeof(data));
	both_registered(a, b, EA_RO);
	if (!task || iscsi_scsi_command_async(a, lun, task, no_answer, &out, &status))
		exit(1);
	/* the command and its unsolicited data go out, and no answer is read */
	while (iscsi_which_events(a) & POLLOUT)
		if (iscsi_service(a, POLLOUT) < 0)
			exit(1);
	/* its R2T is here: the daemon has the command */
	if (poll(&(struct pollfd){.fd = iscsi_get_fd(a), .events = POLLIN}, 1, 60000) != 1)
		exit(1);
	check(pr_out(b, PREEMPT_ABORT, EA_RO, KEY_B, KEY_A, false) == GOOD,
	      "PREEMPT AND ABORT with a write in flight");
	/* nothing keeps A out any more when now the R2T is read, and the data goes out */
	check(pr_out(b, CLEAR, 0, KEY_B, 0, false) == GOOD, "clear");
	expect_ua(a, 0x2a05, "preempted and aborted");
	while (iscsi_which_events(a) & POLLOUT)
		if (iscsi_service(a, POLLOUT) < 0)
			exit(1);
	check(ready(a) == GOOD, "after the preemption");
	check(status == -1, "the aborted write was answered: %02xh", (unsigned)status);
	check(run(b, read, 10, 8 * BLOCK, NULL, 0) == GOOD && ngot == 8 * BLOCK, "read");
	for (size_t i = 0; i < ngot; i++)
		if (got[i] == 0x5a) {
			check(false, "the aborted write happened");
			break;
		}
	(void)iscsi_scsi_cancel_task(a, task);
	nothing_left(a, b);
}

/* RESERVE(6) goes with its nexus and with a reset. */
static void
reserve6(struct iscsi_context *a, struct iscsi_context *b)
{
	struct iscsi_context *other = connect_as("iqn.2026-11.net.example:other", 7);

	settle(other);
	check(run(other, (uint8_t[6]){0x16}, 6, 0, NULL, 0) == GOOD, "RESERVE(6)");
	check(ready(b) == CONFLICT, "RESERVE(6) of another");
	initiator_logout(other);
	check(ready(b) == GOOD, "RESERVE(6) after a logout");
	check(run(a, (uint8_t[6]){0x16}, 6, 0, NULL, 0) == GOOD, "RESERVE(6)");
	check(iscsi_task_mgmt_lun_reset_sync(b, (uint32_t)lun) == 0, "LOGICAL UNIT RESET");
	settle(a);
	settle(b);
	check(ready(b) == GOOD && run_row(b, &(struct row){"", {0x2a, [8] = 1}, 10, 0, 1, ""}) == GOOD,
	      "RESERVE(6) after a reset");
}

static void
actions(struct iscsi_context *a, struct iscsi_context *b)
{
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		who_may(a, b, &types[i]);
		release(a, b, &types[i]);
		preempt(a, b, &types[i], PREEMPT);
		preempt(a, b, &types[i], PREEMPT_ABORT);
	}
	preempt_and_abort(a, b);
	reserve6(a, b);
}

/* -- over a restart ------------------------------------------------------------ */

static void
set(struct iscsi_context *a, struct iscsi_context *b, unsigned type)
{
	check(pr_out(a, REGISTER_IGNORE, 0, 0, KEY_A, true) == GOOD, "register");
	check(pr_out(b, REGISTER_IGNORE, 0, 0, KEY_B, true) == GOOD, "register");
	check(pr_out(a, RESERVE, type, KEY_A, 0, true) == GOOD, "reserve");
}

static void
kept(struct iscsi_context *a, struct iscsi_context *b, unsigned type)
{
	struct iscsi_context *stranger = connect_as("iqn.2026-11.net.example:stranger", 9);
	const struct row write = {"", {0x2a, [8] = 1}, 10, 0, 1, ""},
			 read = {"", {0x28, [8] = 1}, 10, 128, 0, ""};
	bool exclusive = type == EA || type == EA_RO || type == EA_AR;
	uint64_t key;

	settle(stranger);
	check(keys(a) == 2, "type %u: %u keys", type, keys(a));
	check(reservation(a, &key) == type && key == (all_registrants(type) ? 0 : KEY_A),
	      "type %u: it is not there", type);
	check(run_row(a, &write) == GOOD, "type %u: the holder writes", type);
	check(run_row(b, &write) == (type == WE || type == EA ? CONFLICT : GOOD),
	      "type %u: a registrant writes", type);
	check(run_row(stranger, &write) == CONFLICT, "type %u: a stranger writes", type);
	check(run_row(stranger, &read) == (exclusive ? CONFLICT : GOOD), "type %u: a stranger reads", type);
	check(pr_out(a, CLEAR, 0, KEY_A, 0, false) == GOOD, "clear");
	check(keys(a) == 0, "keys after CLEAR");
	initiator_logout(stranger);
}

int
main(int argc, char **argv)
{
	struct iscsi_context *a, *b;
	const char *what;
	uint64_t key;

	if (argc < 5) {
		printf("usage: reservations PORTAL TARGET LUN table|actions|set TYPE|kept TYPE|lost\n");
		return 2;
	}
	portal = argv[1];
	target = argv[2];
	lun = (int)strtol(argv[3], NULL, 10);
	what = argv[4];
	a = connect_as("iqn.2026-11.net.example:a", 1);
	b = connect_as("iqn.2026-11.net.example:b", 2);
	settle(a);
	settle(b);
	if (!strcmp(what, "table"))
		table(a, b);
	else if (!strcmp(what, "actions"))
		actions(a, b);
	else if (!strcmp(what, "set") && argc > 5)
		set(a, b, (unsigned)strtol(argv[5], NULL, 10));
	else if (!strcmp(what, "kept") && argc > 5)
		kept(a, b, (unsigned)strtol(argv[5], NULL, 10));
	else if (!strcmp(what, "lost"))
		check(keys(a) == 0 && reservation(a, &key) == 0, "what was not to be kept is there");
	else
		return 2;
	initiator_logout(a);
	initiator_logout(b);
	if (aborted)
		scsi_free_scsi_task(aborted);
	return check_result(what);
}
