/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every command in every state of its port group: what SPC-4 5.15.2 lets pass, and with what sense the rest is
 * refused.  The lists here are the standard's, not the table of commands' own.  And what initiators set, over
 * a restart.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "gateway/scsi/scsi_impl.h"
#include "test/unit/scsi_run.h"

enum { S_TRANSITION = 0x02040a, S_STANDBY = 0x02040b, S_UNAVAILABLE = 0x02040c, S_OFFLINE = 0x020412 };
enum { S_ACCESS_CHANGED = 0x062a06, S_SET_FAILED = 0x04670a };

#define ANY -1

struct row {
	uint8_t opcode;
	int action;
};

/* 5.15.2.4, as far as there are such commands here; and what a unit may do beyond it: READ CAPACITY, without which
 * Linux takes a standby path for a disk of no size, and REPORT SUPPORTED OPERATION CODES and its sister. */
static const struct row standby[] = {
	{0x12, ANY},                /* INQUIRY */
	{0x4d, ANY},                /* LOG SENSE */
	{0x15, ANY},                /* MODE SELECT */
	{0x55, ANY},  {0x1a, ANY},  /* MODE SENSE */
	{0x5a, ANY},  {0xa0, ANY},  /* REPORT LUNS */
	{0x1d, ANY},                /* SEND DIAGNOSTIC */
	{0xa3, 0x0a},               /* REPORT TARGET PORT GROUPS */
	{0xa4, 0x0a},               /* SET TARGET PORT GROUPS */
	{0x03, ANY},                /* REQUEST SENSE */
	{0x5e, ANY},                /* PERSISTENT RESERVE IN */
	{0x5f, ANY},                /* PERSISTENT RESERVE OUT */
	{0x25, ANY},  {0x9e, 0x10}, /* READ CAPACITY */
	{0xa3, 0x0c}, {0xa3, 0x0d},
};
static const struct row unavailable[] = {{0x12, ANY}, {0xa0, ANY}, {0xa3, 0x0a}, {0xa4, 0x0a}, {0x03, ANY}};
static const struct row transition[] = {{0x12, ANY}, {0xa0, ANY}, {0xa3, 0x0a}, {0x03, ANY}};

static const struct {
	enum scsi_access access;
	uint8_t code;
	uint32_t sense;
	const struct row *allowed; /* NULL: everything */
	size_t n;
} states[] = {
	{SCSI_ACCESS_OPTIMIZED, 0x0, 0, NULL, 0},
	{SCSI_ACCESS_NON_OPTIMIZED, 0x1, 0, NULL, 0},
	{SCSI_ACCESS_STANDBY, 0x2, S_STANDBY, standby, ARRAY_SIZE(standby)},
	{SCSI_ACCESS_UNAVAILABLE, 0x3, S_UNAVAILABLE, unavailable, ARRAY_SIZE(unavailable)},
	{SCSI_ACCESS_OFFLINE, 0xe, S_OFFLINE, transition, ARRAY_SIZE(transition)},
	{SCSI_ACCESS_TRANSITIONING, 0xf, S_TRANSITION, transition, ARRAY_SIZE(transition)},
};

static bool
is_access_sense(uint32_t sense)
{
	return sense == S_TRANSITION || sense == S_STANDBY || sense == S_UNAVAILABLE || sense == S_OFFLINE;
}

static bool
is_allowed(size_t state, const struct scsi_command *command)
{
	for (size_t i = 0; i < states[state].n; i++) {
		const struct row *row = &states[state].allowed[i];

		if (row->opcode == command->opcode && (row->action == ANY || row->action == command->action))
			return true;
	}
	return states[state].allowed == NULL;
}

/* A CDB that passes the checks that come before, and does as little as can be. */
static void
make_cdb(const struct scsi_command *command, uint8_t *cdb)
{
	memset(cdb, 0, 16);
	cdb[0] = command->opcode;
	cdb[1] = command->action;
	if (command->opcode == 0x48 &&
	    command->action == 0x01) /* SANITIZE, OVERWRITE: a pattern of 2 bytes */
		cdb[8] = 6;
	if (command->opcode == 0x1b) /* START */
		cdb[4] = 1;
}

static void
set_access(enum scsi_access access)
{
	ck_assert_int_eq(scsi_target_set_access(rig.target, 1, access), 0);
	for (unsigned n = 0; n < 2; n++) {
		(void)run_on(n, CDB(0x00), 0, 0);
		ck_assert_uint_eq(cmd_sense(&cmd), S_ACCESS_CHANGED);
	}
}

START_TEST(every_command_in_every_state)
{
	unsigned refused = 0;

	memset(out_buf, 0, 1 << 18);
	if (states[_i].access != SCSI_ACCESS_OPTIMIZED)
		set_access(states[_i].access);
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *command = &scsi_commands[i];
		bool allowed = is_allowed((size_t)_i, command);
		uint8_t cdb[16];
		uint32_t sense;

		make_cdb(command, cdb);
		out_buf[3] = command->opcode == 0x48 ? 2 : 0; /* its pattern */
		(void)run(cdb, 1 << 18, 1 << 18);
		sense = cmd_sense(&cmd);
		if (allowed)
			ck_assert_msg(!is_access_sense(sense), "%s is refused in state %xh: %06x",
				      command->name, states[_i].code, sense);
		else
			ck_assert_msg(sense == states[_i].sense, "%s in state %xh: status %02x sense %06x",
				      command->name, states[_i].code, cmd.task.status, sense);
		refused += !allowed;
	}
	if (states[_i].allowed) {
		ck_assert_uint_gt(refused, scsi_ncommands / 3);
		ck_assert_uint_eq(rig.disk->seen[VOL_WRITE] + rig.disk->seen[VOL_UNMAP] +
					  rig.disk->seen[VOL_ZERO] + rig.disk->seen[VOL_COMPARE_WRITE],
				  0);
	}
}
END_TEST

START_TEST(states_are_told)
{
	if (states[_i].access != SCSI_ACCESS_OPTIMIZED)
		set_access(states[_i].access);
	expect_good(CDB(0xa3, 0x0a, [9] = 64), 0, 64);
	ck_assert_uint_eq(in_buf[4], states[_i].code);
	ck_assert_uint_eq(in_buf[5], 0xcf); /* all of them but what depends on the LBA */
	ck_assert_uint_eq(get_be16(in_buf + 6), 1);
}
END_TEST

/* INQUIRY, standard data and pages: the same in all states, a disk that is connected (inquiry.c says why). */
START_TEST(the_disk_is_there_in_every_state)
{
	static const uint8_t pages[] = {0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2};
	uint8_t before[96];

	expect_good(CDB(0x12, [4] = 96), 0, 96);
	memcpy(before, in_buf, sizeof(before));
	if (states[_i].access != SCSI_ACCESS_OPTIMIZED)
		set_access(states[_i].access);
	expect_good(CDB(0x12, [4] = 96), 0, 96);
	ck_assert_uint_eq(in_buf[0], 0x00);
	ck_assert_mem_eq(in_buf, before, sizeof(before));
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		expect_good(CDB(0x12, 1, pages[i], [4] = 255), 0, 255);
		ck_assert_uint_eq(in_buf[0], 0x00);
		ck_assert_uint_eq(in_buf[1], pages[i]);
	}
}
END_TEST

/* What the target has decided for good reason initiators do not undo, by whatever port they ask. */
START_TEST(groups_that_initiators_cannot_set)
{
	static const struct {
		enum scsi_access access;
		uint32_t sense;
	} cases[] = {{SCSI_ACCESS_OFFLINE, S_SET_FAILED}, {SCSI_ACCESS_TRANSITIONING, S_TRANSITION}};
	enum scsi_access now;

	ck_assert_int_eq(scsi_target_add_group(rig.target, 2), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_int_eq(scsi_target_set_access(rig.target, 2, cases[i].access), 0);
		rig_clear_attentions(&rig);
		memset(out_buf, 0, 16);
		out_buf[7] = 1;
		out_buf[4] = SCSI_ACCESS_STANDBY; /* this one could be, and is not either */
		out_buf[11] = 2;
		expect_sense(CDB(0xa4, 0x0a, [9] = 12), 12, cases[i].sense);
		ck_assert_int_eq(scsi_target_get_access(rig.target, 2, &now), 0);
		ck_assert_int_eq(now, cases[i].access);
		ck_assert_int_eq(scsi_target_get_access(rig.target, 1, &now), 0);
		ck_assert_int_eq(now, SCSI_ACCESS_OPTIMIZED);
	}
	for (unsigned code = SCSI_ACCESS_UNAVAILABLE + 1; code < 16; code++) {
		memset(out_buf, 0, 8);
		out_buf[7] = 1;
		out_buf[4] = (uint8_t)code;
		expect_sense(CDB(0xa4, 0x0a, [9] = 8), 8, S_PARAM);
	}
}
END_TEST

/* -- what is kept -------------------------------------------------------- */

static struct {
	char *text; /* NULL: nothing */
	unsigned saves;
	int fail;
	char target[64];
} disk;

static int
load(void *arg, const char *target, char **ret, size_t *ret_len)
{
	(void)arg;
	(void)target;
	if (!disk.text)
		return -ENOENT;
	*ret = strdup(disk.text);
	*ret_len = strlen(disk.text);
	return 0;
}

static int
save(void *arg, const char *target, const char *text, size_t len)
{
	(void)arg;
	disk.saves++;
	if (disk.fail)
		return disk.fail;
	(void)snprintf(disk.target, sizeof(disk.target), "%s", target);
	free(disk.text);
	disk.text = text ? strndup(text, len) : NULL;
	return 0;
}

static void
setup_kept(void)
{
	static const struct scsi_access_store store = {.load = load, .save = save};

	memset(&disk, 0, sizeof(disk));
	ck_assert_int_eq(loop_pool_init(1), 0);
	scsi_set_access_store(&store);
	start_rig(&(struct rig_options){.two_loops = true});
	ck_assert_int_eq(scsi_target_add_group(rig.target, 2), 0);
}

static void
teardown_kept(void)
{
	teardown();
	scsi_set_access_store(NULL);
	loop_pool_fini();
	free(disk.text);
}

/* The daemon stops and starts, and the configuration says `configured` of both groups. */
static void
restart(enum scsi_access configured)
{
	teardown();
	start_rig(&(struct rig_options){.two_loops = true});
	for (uint16_t group = 1; group <= 2; group++) {
		ck_assert_int_eq(scsi_target_add_group(rig.target, group), 0);
		ck_assert_int_eq(scsi_target_resume_access(rig.target, group, configured), 0);
	}
	rig_clear_attentions(&rig);
}

static enum scsi_access
access_of(uint16_t group)
{
	enum scsi_access access;

	ck_assert_int_eq(scsi_target_get_access(rig.target, group, &access), 0);
	return access;
}

/* One group, or with two != 0 both. */
static void
put_set(enum scsi_access one, uint16_t group, enum scsi_access two)
{
	memset(out_buf, 0, 12);
	out_buf[4] = (uint8_t)one;
	out_buf[7] = (uint8_t)group;
	out_buf[8] = (uint8_t)two;
	out_buf[11] = (uint8_t)(3 - group);
}

START_TEST(explicit_states_outlive_a_restart)
{
	put_set(SCSI_ACCESS_STANDBY, 2, SCSI_ACCESS_OPTIMIZED);
	expect_good(CDB(0xa4, 0x0a, [9] = 8), 8, 0);
	ck_assert_str_eq(disk.target, "iqn.2026-01.test:target");
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_STANDBY);
	expect_good(CDB(0x00), 0, 0); /* who set it is not told */
	(void)run_on(1, CDB(0x00), 0, 0);
	ck_assert_uint_eq(cmd_sense(&cmd), S_ACCESS_CHANGED);
	restart(SCSI_ACCESS_NON_OPTIMIZED);
	ck_assert_int_eq(access_of(1), SCSI_ACCESS_NON_OPTIMIZED);
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_STANDBY);
	expect_good(CDB(0xa3, 0x0a, [9] = 64), 0, 64);
	ck_assert_uint_eq(in_buf[9], 2); /* implicit */
	ck_assert_uint_eq(in_buf[21], 1);
	/* to what it is already: nothing is written */
	disk.saves = 0;
	expect_good(CDB(0xa4, 0x0a, [9] = 8), 8, 0);
	ck_assert_uint_eq(disk.saves, 0);
	/* optimized as an initiator's word differs from no word */
	put_set(SCSI_ACCESS_OPTIMIZED, 2, SCSI_ACCESS_UNAVAILABLE);
	expect_good(CDB(0xa4, 0x0a, [9] = 12), 12, 0);
	ck_assert_uint_eq(disk.saves, 1);
	restart(SCSI_ACCESS_NON_OPTIMIZED);
	ck_assert_int_eq(access_of(1), SCSI_ACCESS_UNAVAILABLE);
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_OPTIMIZED);
}
END_TEST

START_TEST(the_operator_has_the_last_word)
{
	put_set(SCSI_ACCESS_STANDBY, 2, SCSI_ACCESS_NON_OPTIMIZED);
	expect_good(CDB(0xa4, 0x0a, [9] = 12), 12, 0);
	ck_assert_int_eq(scsi_target_set_access(rig.target, 2, SCSI_ACCESS_UNAVAILABLE), 0);
	restart(SCSI_ACCESS_OPTIMIZED); /* it was the daemon's own doing */
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_STANDBY);
	ck_assert_int_eq(scsi_target_forget_access(rig.target, 2), 0);
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_STANDBY);
	ck_assert_int_eq(scsi_target_resume_access(rig.target, 2, SCSI_ACCESS_OPTIMIZED), 0);
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_OPTIMIZED);
	restart(SCSI_ACCESS_OPTIMIZED);
	ck_assert_int_eq(access_of(1), SCSI_ACCESS_NON_OPTIMIZED);
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_OPTIMIZED);
	ck_assert_int_eq(scsi_target_forget_access(rig.target, 1), 0);
	ck_assert_ptr_null(disk.text); /* the last one: nothing lies about */
}
END_TEST

START_TEST(what_cannot_be_kept_is_not_set)
{
	put_set(SCSI_ACCESS_STANDBY, 2, SCSI_ACCESS_NON_OPTIMIZED);
	disk.fail = -ENOSPC;
	expect_sense(CDB(0xa4, 0x0a, [9] = 12), 12, S_SET_FAILED);
	ck_assert_int_eq(access_of(1), SCSI_ACCESS_OPTIMIZED);
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_OPTIMIZED);
	ck_assert_int_eq(run_on(1, CDB(0x00), 0, 0), SCSI_GOOD); /* nothing to be told */
	disk.fail = 0;
	expect_good(CDB(0xa4, 0x0a, [9] = 12), 12, 0);
	disk.fail = -EIO;
	ck_assert_int_eq(scsi_target_forget_access(rig.target, 2), -EIO);
	disk.fail = 0;
	restart(SCSI_ACCESS_OPTIMIZED);
	ck_assert_int_eq(access_of(2), SCSI_ACCESS_STANDBY);
}
END_TEST

START_TEST(damage_is_as_nothing)
{
	static const char *const texts[] = {
		"",
		"[]",
		"{\"format\": 1, \"target\": \"iqn.2026-01.test:target\"}",
		"{\"format\": 2, \"target\": \"iqn.2026-01.test:target\", \"groups\": [%s]}",
		"{\"format\": 1, \"target\": \"iqn.2026-01.test:other\", \"groups\": [%s]}",
		"{\"format\": 1, \"target\": \"iqn.2026-01.test:target\", \"groups\": [%s, %s]}",
		"{\"format\": 1, \"target\": \"iqn.2026-01.test:target\", \"groups\": [%s, 1]}",
		"{\"format\": 1, \"target\": \"iqn.2026-01.test:target\", \"groups\": [%s], \"x\": 1}",
		"{\"format\": 1, \"target\": \"iqn.2026-01.test:target\", \"groups\": [%s, {\"group\": 65536, "
		"\"state\": \"standby\"}]}",
		"{\"format\": 1, \"target\": \"iqn.2026-01.test:target\", \"groups\": [%s, {\"group\": 2, "
		"\"state\": \"offline\"}]}",
		"{\"format\": 1, \"target\": \"iqn.2026-01.test:target\", \"groups\": [%s]}", /* well */
	};
	static const char group[] = "{\"group\": 1, \"state\": \"standby\"}";

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		bool well = i == ARRAY_SIZE(texts) - 1;
		char text[512] = "", *to = text;

		for (const char *p = texts[i]; *p; p++) {
			if (!strncmp(p, "%s", 2)) {
				to = stpcpy(to, group);
				p++;
			} else {
				*to++ = *p;
				*to = '\0';
			}
		}
		free(disk.text);
		disk.text = strdup(text);
		teardown();
		start_rig(&(struct rig_options){.no_lun = true});
		ck_assert_int_eq(scsi_target_resume_access(rig.target, 1, SCSI_ACCESS_NON_OPTIMIZED), 0);
		ck_assert_msg(access_of(1) == (well ? SCSI_ACCESS_STANDBY : SCSI_ACCESS_NON_OPTIMIZED), "%s",
			      text);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("alua");
	TCase *tcase = tcase_create("alua");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, every_command_in_every_state, 0, ARRAY_SIZE(states));
	tcase_add_loop_test(tcase, states_are_told, 0, ARRAY_SIZE(states));
	tcase_add_loop_test(tcase, the_disk_is_there_in_every_state, 0, ARRAY_SIZE(states));
	tcase_add_test(tcase, groups_that_initiators_cannot_set);
	suite_add_tcase(suite, tcase);
	tcase = tcase_create("kept");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup_kept, teardown_kept);
	tcase_add_test(tcase, explicit_states_outlive_a_restart);
	tcase_add_test(tcase, the_operator_has_the_last_word);
	tcase_add_test(tcase, what_cannot_be_kept_is_not_set);
	tcase_add_test(tcase, damage_is_as_nothing);
	suite_add_tcase(suite, tcase);
	log_threshold = LOG_LEVEL_ERROR - 1;
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
