/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small initiator for scripts: initiator MODE ADDRESS TARGET [NAME]
 *
 *   login    prints "status 0xNNNN" and the text of the answer, a line a key; leaves at once
 *   discover prints what SendTargets=All tells, a line a key
 *   io       writes and reads back random ranges of LUN 0 until its standard input ends; everything but a good answer is a
 *            failure: an error, a unit attention, an asynchronous message, a lost connection, a command that took
 *            SLOW_MS.  Prints "ready" after the first one and the number of commands at the end
 *   obey     prints "ready", logs out when it is asked to, prints "logged out"
 *   stay     prints "ready", does nothing until it is dropped, prints "asked", "told" for each message, "dropped"
 *
 * Exit codes: 0, 1 with words.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/util.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/rawiscsi.h"

#define BLOCK 512u
#define BLOCKS_MAX 64u
#define SPAN 16384u /* blocks of the LUN that are used */
#define SLOW_MS 5000

#define OPCODE(raw) ((raw)->bhs[0] & ISCSI_OPCODE_MASK)

static int
fail(const char *what, long rc)
{
	fprintf(stderr, "initiator: %s: %ld\n", what, rc);
	return EXIT_FAILURE;
}

static void
say(const char *word)
{
	printf("%s\n", word);
	(void)fflush(stdout);
}

static void
print_text(const struct raw *raw)
{
	for (size_t i = 0; i < raw->len; i += strlen((const char *)raw->data + i) + 1)
		printf("%s\n", (const char *)raw->data + i);
}

static int
mode_login(struct raw *raw, int status)
{
	printf("status 0x%04x\n", (unsigned)status);
	print_text(raw);
	return EXIT_SUCCESS;
}

static int
mode_discover(struct raw *raw, int status)
{
	uint8_t bhs[RAW_BHS];
	int rc;

	if (status)
		return fail("login status", status);
	raw_request(raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	rc = raw_send(raw, bhs, "SendTargets=All", 16);
	if (rc == 0)
		rc = raw_recv(raw);
	if (rc < 0)
		return fail("SendTargets", rc);
	print_text(raw);
	return EXIT_SUCCESS;
}

/* -- io ------------------------------------------------------------------ */

static uint64_t
next_random(uint64_t *state)
{
	/* xorshift: the same on every machine */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static int
one_pass(struct raw *raw, uint64_t *state)
{
	static uint8_t out[BLOCKS_MAX * BLOCK], in[sizeof(out)];
	uint32_t blocks = 1 + (uint32_t)(next_random(state) % BLOCKS_MAX);
	uint64_t lba = next_random(state) % (SPAN - blocks), began = clock_ns();
	int rc;

	for (size_t i = 0; i < (size_t)blocks * BLOCK; i += 8)
		put_le64(out + i, next_random(state));
	rc = raw_write(raw, 0, lba, blocks, BLOCK, out);
	if (rc)
		return fail("a write", rc);
	rc = raw_read(raw, 0, lba, blocks, BLOCK, in);
	if (rc)
		return fail("a read", rc);
	if (memcmp(in, out, (size_t)blocks * BLOCK) != 0)
		return fail("what was read is not what was written, LBA", (long)lba);
	if (clock_ns() - began > (uint64_t)SLOW_MS * 1000000)
		return fail("milliseconds for a write and a read", (long)((clock_ns() - began) / 1000000));
	return EXIT_SUCCESS;
}

static bool
input_ended(void)
{
	struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};
	char c;

	return poll(&pfd, 1, 0) > 0 && read(STDIN_FILENO, &c, 1) <= 0;
}

static int
mode_io(struct raw *raw, int status)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
	unsigned long passes = 0;
	int rc;

	if (status)
		return fail("login status", status);
	raw->max_send = 262144;
	rc = raw_ready(raw, 0);
	if (rc)
		return fail("TEST UNIT READY", rc);
	do {
		if (one_pass(raw, &state))
			return EXIT_FAILURE;
		if (!passes++)
			say("ready");
	} while (!input_ended());
	rc = raw_logout(raw);
	if (rc)
		return fail("logout", rc);
	printf("%lu commands\n", 2 * passes);
	return EXIT_SUCCESS;
}

/* -- what is asked of it ------------------------------------------------- */

static int
mode_obey(struct raw *raw, int status)
{
	int rc;

	if (status)
		return fail("login status", status);
	say("ready");
	do {
		rc = raw_recv_within(raw, 60000);
	} while (rc == 0 && OPCODE(raw) != ISCSI_ASYNC_MESSAGE);
	if (rc < 0)
		return fail("waiting for a message", rc);
	if (raw->bhs[36] != ISCSI_ASYNC_LOGOUT)
		return fail("another event", raw->bhs[36]);
	rc = raw_logout(raw);
	if (rc)
		return fail("logout", rc);
	say("logged out");
	return EXIT_SUCCESS;
}

static int
mode_stay(struct raw *raw, int status)
{
	int rc;

	if (status)
		return fail("login status", status);
	say("ready");
	while ((rc = raw_recv_within(raw, 60000)) == 0) {
		if (OPCODE(raw) == ISCSI_ASYNC_MESSAGE)
			say(raw->bhs[36] == ISCSI_ASYNC_LOGOUT ? "asked" : "told");
	}
	if (rc != -EPIPE)
		return fail("waiting for the end", rc);
	say("dropped");
	return EXIT_SUCCESS;
}

static const struct {
	const char *name;
	int (*run)(struct raw *raw, int status);
	bool discovery;
} modes[] = {
	{"login", mode_login, false}, {"discover", mode_discover, true}, {"io", mode_io, false},
	{"obey", mode_obey, false},   {"stay", mode_stay, false},
};

int
main(int argc, char **argv)
{
	const char *name = argc > 4 ? argv[4] : "iqn.2024-01.com.example:script";
	struct raw raw;
	int rc;

	if (argc < 4)
		return fail("usage: initiator MODE ADDRESS TARGET [NAME]", 0);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		if (strcmp(modes[i].name, argv[1]) != 0)
			continue;
		rc = raw_connect(&raw, argv[2]);
		if (rc < 0)
			return fail("connect", rc);
		rc = raw_login(&raw, name, modes[i].discovery ? NULL : argv[3], "", 0);
		rc = rc < 0 ? fail("login", rc) : modes[i].run(&raw, rc);
		raw_close(&raw);
		return rc;
	}
	return fail("no such mode", 0);
}
