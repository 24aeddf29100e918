/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LOGICAL UNIT RESET and ABORT TASK behind a write that is on its way: the function is answered, the write is
 * answered before it or never, never after it, and what the write did or did not do by then is all that it does
 * (SAM-5 7.11, RFC 7143 4.2.3.3).
 *
 * usage: resets PORTAL TARGET LUN ROUNDS
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/util.h"
#include "test/conformance/initiator.h"

#define BLOCK 512u
#define BLOCKS 8u
#define PATIENCE_S 60

static struct iscsi_context *iscsi;
static int lun;

struct round {
	struct round *next;
	struct scsi_task *task;
	bool written, answered, late, pinged;
	int write_status;
	uint32_t response;
	uint8_t data[BLOCKS * BLOCK];
};

static void
on_write(struct iscsi_context *context, int status, void *data, void *arg)
{
	struct round *round = arg;

	(void)context;
	(void)data;
	if (status == SCSI_STATUS_CANCELLED) /* by libiscsi, at the end of the session */
		return;
	round->written = true;
	round->write_status = status;
	round->late = round->answered;
}

static void
on_response(struct iscsi_context *context, int status, void *data, void *arg)
{
	struct round *round = arg;

	(void)context;
	(void)status;
	round->answered = data != NULL;
	round->response = data ? *(uint32_t *)data : ~0u;
}

static void
on_ping(struct iscsi_context *context, int status, void *data, void *arg)
{
	struct round *round = arg;

	(void)context;
	(void)data;
	round->pinged = status == SCSI_STATUS_GOOD;
}

static struct round *rounds; /* libiscsi keeps a task that was not answered as long as its session */

/* Until *flag, or the patience ends. */
static bool
serve_until(const bool *flag)
{
	time_t end = time(NULL) + PATIENCE_S;

	while (!*flag && time(NULL) < end) {
		struct pollfd fd = {.fd = iscsi_get_fd(iscsi), .events = (short)iscsi_which_events(iscsi)};

		if (poll(&fd, 1, 1000) < 0 || iscsi_service(iscsi, fd.revents) < 0)
			break;
	}
	return *flag;
}

/* What is queued goes out, and no answer is looked at. */
static void
send_out(void)
{
	while (iscsi_out_queue_length(iscsi) > 0) {
		struct pollfd fd = {.fd = iscsi_get_fd(iscsi), .events = POLLOUT};

		if (poll(&fd, 1, 1000) < 0 || iscsi_service(iscsi, fd.revents) < 0)
			break;
	}
}

static void
read_back(uint8_t buf[BLOCKS * BLOCK])
{
	struct answer answer;

	check(initiator_run(iscsi, lun, (uint8_t[10]){0x28, [8] = BLOCKS}, 10, BLOCKS * BLOCK, 0, &answer) ==
			      GOOD &&
		      answer.len == BLOCKS * BLOCK,
	      "READ(10)");
	memcpy(buf, answer.data, BLOCKS * BLOCK);
}

static bool
is_all(const uint8_t *buf, uint8_t byte)
{
	for (unsigned i = 0; i < BLOCKS * BLOCK; i++)
		if (buf[i] != byte)
			return false;
	return true;
}

static void
one_round(unsigned n, enum iscsi_task_mgmt_funcs function)
{
	const char *name = function == ISCSI_TM_LUN_RESET ? "LOGICAL UNIT RESET" : "ABORT TASK";
	struct round *round = calloc(1, sizeof(*round));
	struct scsi_task *task = scsi_cdb_write10(0, BLOCKS * BLOCK, BLOCK, 0, 0, 0, 0, 0);
	uint8_t before[BLOCKS * BLOCK], after[BLOCKS * BLOCK], later[BLOCKS * BLOCK];
	uint8_t byte = (uint8_t)(n % 255 + 1);
	bool reset = function == ISCSI_TM_LUN_RESET, tells;

	if (!round || !task)
		exit(1);
	round->next = rounds;
	round->task = task;
	rounds = round;
	read_back(before);
	memset(round->data, byte, sizeof(round->data));
	if (scsi_task_add_data_out_buffer(task, sizeof(round->data), round->data) ||
	    iscsi_scsi_command_async(iscsi, lun, task, on_write, NULL, round))
		exit(1);
	send_out();
	if (iscsi_task_mgmt_async(iscsi, lun, function, reset ? 0xffffffff : task->itt,
				  reset ? 0 : task->cmdsn, on_response, round))
		exit(1);
	check(serve_until(&round->answered), "%s is answered", name);
	/* RFC 7143 11.6.1: a task that has ended does not exist any more */
	tells = round->response == ISCSI_TMR_FUNC_COMPLETE ||
		(!reset && round->written && round->response == ISCSI_TMR_TASK_DOES_NOT_EXIST);
	check(tells, "%s: response %u", name, round->response);
	check(!round->written || round->write_status == GOOD, "the write's status %02xh",
	      (unsigned)round->write_status);
	if (reset)
		initiator_settle(iscsi, lun);
	read_back(after);
	check(!round->written || is_all(after, byte), "%s: the write was GOOD and is not there", name);
	check(is_all(after, byte) || !memcmp(before, after, sizeof(after)), "%s: the write is there in part",
	      name);
	/* what comes after its response would have come before that of a ping */
	if (iscsi_nop_out_async(iscsi, on_ping, NULL, 0, round))
		exit(1);
	check(serve_until(&round->pinged), "a ping is answered");
	check(!round->late, "%s: the write is answered after it", name);
	read_back(later);
	check(!memcmp(after, later, sizeof(later)), "%s: the write acts after it", name);
}

int
main(int argc, char **argv)
{
	unsigned long n;

	if (argc != 5) {
		printf("usage: resets PORTAL TARGET LUN ROUNDS\n");
		return 2;
	}
	lun = (int)strtol(argv[3], NULL, 10);
	n = strtoul(argv[4], NULL, 10);
	iscsi = initiator_login(argv[1], argv[2], "iqn.2026-11.net.example:resets", 1);
	initiator_settle(iscsi, lun);
	for (unsigned long i = 0; i < n; i++)
		one_round((unsigned)i, i % 2 ? ISCSI_TM_ABORT_TASK : ISCSI_TM_LUN_RESET);
	initiator_logout(iscsi);
	while (rounds) {
		struct round *round = rounds;

		rounds = round->next;
		scsi_free_scsi_task(round->task);
		free(round);
	}
	return check_result(argv[2]);
}
