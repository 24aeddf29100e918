/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent reservations: who may do what, the actions, what is kept. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/scsi/scsi_impl.h"
#include "test/unit/scsi_run.h"

enum { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, REGISTER_IGNORE, MOVE };
enum { UA_PREEMPTED = 0x062a03, UA_RELEASED = 0x062a04, UA_UNREGISTERED = 0x062a05 };
#define KEY_A 0x1111222233334444ull
#define KEY_B 0xaaaabbbbccccddddull

static const enum pr_type types[] = {PR_WE, PR_EA, PR_WE_RO, PR_EA_RO, PR_WE_AR, PR_EA_AR};

/* -- a store in memory --------------------------------------------------- */

static char *kept;
static int save_rc;
static _Atomic unsigned saves;

static int
load(void *arg, const char *name, const uint8_t *uuid, char **ret, size_t *ret_len)
{
	(void)arg;
	(void)uuid;
	if (!kept || strcmp(name, "reservations") != 0)
		return -ENOENT;
	*ret = strdup(kept);
	*ret_len = strlen(kept);
	return *ret ? 0 : -ENOMEM;
}

static int
save(void *arg, const char *name, const uint8_t *uuid, const char *text, size_t len)
{
	(void)arg;
	(void)uuid;
	ck_assert_str_eq(name, "reservations");
	saves++;
	if (save_rc)
		return save_rc;
	free(kept);
	kept = text ? strndup(text, len) : NULL;
	return 0;
}

static void
setup_pr(void)
{
	static const struct scsi_store store = {.load = load, .save = save};

	ck_assert_int_eq(loop_pool_init(1), 0);
	scsi_set_store(&store);
	save_rc = 0;
	saves = 0;
	setup();
}

static void
teardown_pr(void)
{
	teardown();
	loop_pool_fini();
	scsi_set_store(NULL);
	free(kept);
	kept = NULL;
}

/* -- commands ------------------------------------------------------------ */

static enum scsi_status
out_flags(unsigned nexus, unsigned action, unsigned type, uint64_t key, uint64_t action_key, unsigned flags)
{
	memset(out_buf, 0, 24);
	put_be64(out_buf, key);
	put_be64(out_buf + 8, action_key);
	out_buf[20] = (uint8_t)flags;
	return run_on(nexus, CDB(0x5f, (uint8_t)action, (uint8_t)type, [8] = 24), 24, 0);
}

static enum scsi_status
out(unsigned nexus, unsigned action, unsigned type, uint64_t key, uint64_t action_key)
{
	return out_flags(nexus, action, type, key, action_key, 0);
}

#define GOOD(call) ck_assert_int_eq(call, SCSI_GOOD)
#define CONFLICT(call) ck_assert_int_eq(call, SCSI_RESERVATION_CONFLICT)

static void
register_both(void)
{
	GOOD(out(0, REGISTER, 0, 0, KEY_A));
	GOOD(out(1, REGISTER, 0, 0, KEY_B));
}

static void
in(unsigned action)
{
	ck_assert_int_eq(run_on(0, CDB(0x5e, (uint8_t)action, [7] = 0x40), 0, 0x4000), SCSI_GOOD);
}

/* Type of the reservation, 0 where there is none. */
static unsigned
reserved_as(uint64_t *ret_key)
{
	in(1);
	if (get_be32(in_buf + 4) == 0)
		return 0;
	ck_assert_uint_eq(get_be32(in_buf + 4), 16);
	*ret_key = get_be64(in_buf + 8);
	return in_buf[21];
}

static unsigned
keys(void)
{
	in(0);
	ck_assert_uint_eq(get_be32(in_buf + 4) + 8, cmd.task.in_len);
	return get_be32(in_buf + 4) / 8;
}

/* The attention that a nexus has, taken. */
static uint32_t
attention(unsigned nexus)
{
	return run_on(nexus, CDB(0x00), 0, 0) == SCSI_GOOD ? 0 : cmd_sense(&cmd);
}

/* -- the table ----------------------------------------------------------- */

/* SPC-4 table 65, SBC-3 table 13, one letter a type in the order of types[]: for who is not registered,
 * who is registered but holds nothing, and the holder.  C: conflict. */
static const struct {
	uint8_t cdb[16];
	uint32_t out;
	const char *stranger, *registrant;
} rows[] = {
	{{0x12, [4] = 96}, 0, "......", "......"},          /* INQUIRY */
	{{0x00}, 0, "......", "......"},                    /* TEST UNIT READY */
	{{0x25}, 0, "......", "......"},                    /* READ CAPACITY */
	{{0x1a, 0, 0x3f, 0, 200}, 0, "CCCCCC", "CC...."},   /* MODE SENSE */
	{{0x15, 0x10}, 0, "CCCCCC", "CC...."},              /* MODE SELECT */
	{{0x4d, 0, 0x40, [8] = 64}, 0, "......", "......"}, /* LOG SENSE */
	{{0xa0, [9] = 16}, 0, "......", "......"},          /* REPORT LUNS */
	{{0xa3, 0x0a, [9] = 16}, 0, "......", "......"},    /* REPORT TARGET PORT GROUPS */
	{{0xa4, 0x0a}, 0, "CCCCCC", "CC...."},              /* SET TARGET PORT GROUPS */
	{{0x1d, 0x04}, 0, "CCCCCC", "CC...."},              /* SEND DIAGNOSTIC */
	{{0x83}, 0, "CCCCCC", "CC...."},                    /* EXTENDED COPY */
	{{0x84, 3, [13] = 64}, 0, "CCCCCC", "CC...."},      /* RECEIVE COPY RESULTS */
	{{0x1b, [4] = 1}, 0, "......", "......"},           /* START */
	{{0x1b, [4] = 4}, 0, "CCCCCC", "CC...."},           /* STOP */
	{{0x1e}, 0, "......", "......"},                    /* ALLOW */
	{{0x1e, [4] = 1}, 0, "CCCCCC", "CC...."},           /* PREVENT */
	{{0x28, [8] = 1}, 0, ".C.C.C", ".C...."},           /* READ */
	{{0x88, [13] = 1}, 0, ".C.C.C", ".C...."},
	{{0x2f, [8] = 1}, 0, ".C.C.C", ".C...."},          /* VERIFY */
	{{0x9e, 0x12, [13] = 24}, 0, ".C.C.C", ".C...."},  /* GET LBA STATUS */
	{{0x37, 0, 0x1d, [8] = 4}, 0, ".C.C.C", ".C...."}, /* READ DEFECT DATA */
	{{0x2a, [8] = 1}, 512, "CCCCCC", "CC...."},        /* WRITE */
	{{0x8a, [13] = 1}, 512, "CCCCCC", "CC...."},
	{{0x9c, [13] = 1}, 512, "CCCCCC", "CC...."},
	{{0x2e, [8] = 1}, 512, "CCCCCC", "CC...."},
	{{0x89, [13] = 1}, 1024, "CCCCCC", "CC...."},
	{{0x8b, [13] = 1}, 512, "CCCCCC", "CC...."},
	{{0x93, [13] = 1}, 512, "CCCCCC", "CC...."},
	{{0x42}, 0, "CCCCCC", "CC...."},
	{{0x35}, 0, "CCCCCC", "CC...."},
	{{0x48, 0x1f}, 0, "CCCCCC", "CC...."},
	{{0x5e, 0, [8] = 8}, 0, "......", "......"}, /* PERSISTENT RESERVE IN */
};

static void
check_row(size_t row, size_t type, unsigned nexus, char want, const char *who)
{
	enum scsi_status status;

	memset(out_buf, 0, 4096);
	memset(rig.disk->bytes, 0, 4096);
	status = run_on(nexus, rows[row].cdb, rows[row].out, 4096);
	ck_assert_msg((status == SCSI_RESERVATION_CONFLICT) == (want == 'C') &&
			      (want == 'C' || status == SCSI_GOOD),
		      "%02x, type %d, %s: status %02x sense %06x", rows[row].cdb[0], types[type], who, status,
		      cmd_sense(&cmd));
	if (rows[row].cdb[0] == 0x1b && status == SCSI_GOOD)
		GOOD(run_on(0, CDB(0x1b, [4] = 1), 0, 0));
}

START_TEST(who_may_do_what)
{
	for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
		GOOD(out(0, REGISTER, 0, 0, KEY_A));
		GOOD(out(0, RESERVE, types[t], KEY_A, 0));
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			check_row(i, t, 0, '.', "holder");
			check_row(i, t, 1, rows[i].stranger[t], "stranger");
		}
		GOOD(out(1, REGISTER, 0, 0, KEY_B));
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
			check_row(i, t, 1, rows[i].registrant[t], "registrant");
		GOOD(out(0, CLEAR, 0, KEY_A, 0));
		ck_assert_uint_eq(attention(1), UA_PREEMPTED);
	}
}
END_TEST

/* -- registering --------------------------------------------------------- */

START_TEST(registering)
{
	in(0);
	ck_assert_uint_eq(get_be32(in_buf), 0);
	CONFLICT(out(0, REGISTER, 0, 1, KEY_A)); /* not registered: the key must be 0 */
	GOOD(out(0, REGISTER, 0, 0, 0));         /* nothing to do, and no generation */
	ck_assert_uint_eq(keys(), 0);
	ck_assert_uint_eq(get_be32(in_buf), 0);
	GOOD(out(0, REGISTER, 0, 0, KEY_A));
	ck_assert_uint_eq(keys(), 1);
	ck_assert_uint_eq(get_be32(in_buf), 1);
	ck_assert_uint_eq(get_be64(in_buf + 8), KEY_A);
	CONFLICT(out(0, REGISTER, 0, 0, KEY_B));
	GOOD(out(0, REGISTER, 0, KEY_A, KEY_B)); /* another key */
	GOOD(out(0, REGISTER_IGNORE, 0, 77, KEY_A));
	ck_assert_uint_eq(keys(), 1);
	ck_assert_uint_eq(get_be32(in_buf), 3);
	ck_assert_uint_eq(get_be64(in_buf + 8), KEY_A);
	GOOD(out(0, REGISTER, 0, KEY_A, 0));
	ck_assert_uint_eq(keys(), 0);
	/* lengths and fields */
	expect_sense(CDB(0x5f, REGISTER, [8] = 23), 23, S_LENGTH);
	expect_sense(CDB(0x5f, REGISTER, [8] = 28), 28, S_LENGTH);
	expect_sense(CDB(0x5f, 0x08, [8] = 24), 24, S_CDB);
	expect_sense(CDB(0x5e, 0x04, [8] = 24), 0, S_CDB);
	register_both();
	ck_assert_int_eq(out(0, RESERVE, 2, KEY_A, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), S_CDB);
	ck_assert_int_eq(out(0, RESERVE, 0x11, KEY_A, 0), SCSI_CHECK_CONDITION);
	CONFLICT(out(0, RESERVE, PR_WE, KEY_B, 0));
}
END_TEST

START_TEST(reserving_and_releasing)
{
	uint64_t key;

	for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
		bool all = types[t] >= PR_WE_AR, others = types[t] >= PR_WE_RO;

		CONFLICT(out(0, RESERVE, types[t], KEY_A, 0));
		register_both();
		GOOD(out(0, RESERVE, types[t], KEY_A, 0));
		GOOD(out(0, RESERVE, types[t], KEY_A, 0));
		CONFLICT(out(0, RESERVE, types[(t + 1) % ARRAY_SIZE(types)], KEY_A, 0));
		ck_assert_int_eq(out(1, RESERVE, types[t], KEY_B, 0),
				 all ? SCSI_GOOD : SCSI_RESERVATION_CONFLICT);
		ck_assert_uint_eq(reserved_as(&key), types[t]);
		ck_assert_uint_eq(key, all ? 0 : KEY_A);
		if (!all) /* who does not hold releases nothing */
			GOOD(out(1, RELEASE, types[t], KEY_B, 0));
		ck_assert_uint_eq(reserved_as(&key), types[t]);
		ck_assert_int_eq(out(0, RELEASE, types[(t + 1) % ARRAY_SIZE(types)], KEY_A, 0),
				 SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(cmd_sense(&cmd), 0x052604);
		GOOD(out(0, RELEASE, types[t], KEY_A, 0));
		ck_assert_uint_eq(reserved_as(&key), 0);
		ck_assert_uint_eq(attention(1), others ? UA_RELEASED : 0);
		/* unregistering the holder releases; with all registrants the last one does */
		GOOD(out(0, RESERVE, types[t], KEY_A, 0));
		GOOD(out(0, REGISTER, 0, KEY_A, 0));
		ck_assert_uint_eq(reserved_as(&key), all ? types[t] : 0);
		ck_assert_uint_eq(attention(1), others && !all ? UA_RELEASED : 0);
		GOOD(out(1, REGISTER, 0, KEY_B, 0));
		ck_assert_uint_eq(reserved_as(&key), 0);
		ck_assert_uint_eq(keys(), 0);
	}
}
END_TEST

/* -- preempting ---------------------------------------------------------- */

START_TEST(preempting)
{
	uint64_t key;

	register_both();
	/* nothing reserved: registrations go */
	ck_assert_int_eq(out(0, PREEMPT, PR_WE, KEY_A, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), S_PARAM);
	CONFLICT(out(0, PREEMPT, PR_WE, KEY_A, 0x99));
	GOOD(out(0, PREEMPT, PR_WE, KEY_A, KEY_B));
	ck_assert_uint_eq(attention(1), UA_UNREGISTERED);
	ck_assert_uint_eq(reserved_as(&key), 0);
	ck_assert_uint_eq(keys(), 1);
	/* the holder: the reservation comes along, with a new type */
	GOOD(out(1, REGISTER, 0, 0, KEY_B));
	GOOD(out(1, RESERVE, PR_EA, KEY_B, 0));
	GOOD(out(0, PREEMPT, PR_WE_RO, KEY_A, KEY_B));
	ck_assert_uint_eq(attention(1), UA_UNREGISTERED);
	ck_assert_uint_eq(reserved_as(&key), PR_WE_RO);
	ck_assert_uint_eq(key, KEY_A);
	ck_assert_uint_eq(keys(), 1);
	/* its own: another type, and whoever stays registered hears of it */
	GOOD(out(1, REGISTER, 0, 0, KEY_B));
	GOOD(out(0, PREEMPT, PR_EA_RO, KEY_A, KEY_A));
	ck_assert_uint_eq(reserved_as(&key), PR_EA_RO);
	ck_assert_uint_eq(attention(1), UA_RELEASED);
	ck_assert_uint_eq(keys(), 2);
	/* all registrants: 0 is all the others */
	GOOD(out(0, RELEASE, PR_EA_RO, KEY_A, 0));
	ck_assert_uint_eq(attention(1), UA_RELEASED);
	GOOD(out(0, RESERVE, PR_WE_AR, KEY_A, 0));
	GOOD(out(1, PREEMPT, PR_EA_AR, KEY_B, 0));
	ck_assert_uint_eq(attention(0), UA_UNREGISTERED);
	ck_assert_uint_eq(reserved_as(&key), PR_EA_AR);
	ck_assert_uint_eq(keys(), 1);
	GOOD(out(1, CLEAR, 0, KEY_B, 0));
	ck_assert_uint_eq(attention(1), 0);
	ck_assert_uint_eq(keys(), 0);
}
END_TEST

START_TEST(preempt_and_abort)
{
	struct cmd victim, own, preempt;

	for (unsigned tas = 0; tas < 2; tas++) {
		struct scsi_lu *lu = atomic_load(&rig.target->slots[0].lu);

		lu->tas = tas;
		register_both();
		GOOD(out(1, RESERVE, PR_WE_RO, KEY_B, 0));
		disk_hold(rig.disk, VOL_READ);
		cmd_init(&victim, &rig, 1, CDB(0x28, [8] = 1), 16);
		victim.task.in_room = 512;
		cmd_begin(&victim);
		cmd_init(&own, &rig, 0, CDB(0x28, [8] = 1), 16);
		own.task.in_room = 512;
		cmd_begin(&own);
		disk_wait_held(rig.disk, 2);
		cmd_init(&preempt, &rig, 0, CDB(0x5f, PREEMPT_ABORT, PR_WE, [8] = 24), 16);
		memset(out_buf, 0, 24);
		put_be64(out_buf, KEY_A);
		put_be64(out_buf + 8, KEY_B);
		preempt.out = out_buf;
		preempt.task.out_room = 24;
		cmd_begin(&preempt);
		rig_settle(&rig);
		ck_assert(!cmd_is_done(&preempt)); /* not before the victim has ended */
		disk_release(rig.disk);
		cmd_wait(&preempt);
		cmd_wait(&victim);
		cmd_wait(&own);
		ck_assert_int_eq(preempt.task.status, SCSI_GOOD);
		ck_assert_int_eq(own.task.status, SCSI_GOOD);
		ck_assert_int_eq(victim.task.status, SCSI_TASK_ABORTED);
		ck_assert_int_eq(victim.task.silent, !tas);
		ck_assert_uint_eq(attention(1), UA_UNREGISTERED);
		GOOD(out(0, CLEAR, 0, KEY_A, 0));
	}
}
END_TEST

/* A write whose data is on the way when it is preempted never happens, even when the reservation is gone by then. */
START_TEST(preempt_while_data_comes)
{
	uint8_t block[512];
	struct cmd victim;

	for (unsigned tas = 0; tas < 2; tas++) {
		struct scsi_lu *lu = atomic_load(&rig.target->slots[0].lu);

		lu->tas = tas;
		register_both();
		GOOD(out(1, RESERVE, PR_WE_RO, KEY_B, 0));
		memset(block, 0x5a, sizeof(block));
		cmd_init(&victim, &rig, 1, CDB(0x2a, [8] = 1), 16);
		victim.out = block;
		victim.task.out_room = sizeof(block);
		victim.stop_after_start = true;
		cmd_begin(&victim);
		GOOD(out(0, PREEMPT_ABORT, PR_WE, KEY_A, KEY_B));
		GOOD(out(0, CLEAR, 0, KEY_A, 0));
		ck_assert_uint_eq(attention(1), UA_UNREGISTERED);
		cmd_run(&victim);
		cmd_wait(&victim);
		ck_assert_int_eq(victim.task.status, SCSI_TASK_ABORTED);
		ck_assert_int_eq(victim.task.silent, !tas);
		ck_assert_uint_eq(attention(1), 0);
		GOOD(run_on(0, CDB(0x28, [8] = 1), 0, 512));
		ck_assert_uint_ne(in_buf[0], 0x5a);
	}
}
END_TEST

/* -- ports --------------------------------------------------------------- */

static unsigned
put_id(uint8_t *p, const char *name, uint8_t last)
{
	struct pr_port who = {.isid = {0x80, 1, 2, 3, 4, last}};

	(void)snprintf(who.initiator, sizeof(who.initiator), "%s", name);
	return (unsigned)pr_id_put(&who, p);
}

START_TEST(spec_i_pt_and_full_status)
{
	unsigned n, at;

	memset(out_buf, 0, 256);
	put_be64(out_buf + 8, KEY_A);
	out_buf[20] = 0x08 | 0x04; /* SPEC_I_PT, ALL_TG_PT */
	n = put_id(out_buf + 28, "iqn.2026-01.test:b", 5);
	n += put_id(out_buf + 28 + n, "iqn.2026-01.test:c", 9);
	put_be32(out_buf + 24, n);
	expect_sense(CDB(0x5f, REGISTER_IGNORE, [8] = (uint8_t)(28 + n)), 28 + n, S_LENGTH);
	put_be32(out_buf + 24, n - 4);
	expect_sense(CDB(0x5f, REGISTER, [8] = (uint8_t)(28 + n)), 28 + n, S_LENGTH);
	ck_assert_uint_eq(keys(), 0);
	put_be32(out_buf + 24, n);
	expect_good(CDB(0x5f, REGISTER, [8] = (uint8_t)(28 + n)), 28 + n, 0);
	ck_assert_uint_eq(keys(), 3);
	GOOD(out(1, RESERVE, PR_EA, KEY_A, 0)); /* the other one is registered indeed */
	in(3);
	ck_assert_uint_eq(get_be32(in_buf + 4) + 8, cmd.task.in_len);
	n = 0;
	for (at = 8; at < cmd.task.in_len; at += 24 + get_be32(in_buf + at + 20), n++) {
		bool b = n == 1;

		ck_assert_uint_eq(get_be64(in_buf + at), KEY_A);
		ck_assert_uint_eq(in_buf[at + 12], 0x02 | b);
		ck_assert_uint_eq(in_buf[at + 13], b ? PR_EA : 0);
		ck_assert_uint_eq(in_buf[at + 24], 0x45);
	}
	ck_assert_uint_eq(n, 3);
	/* a TransportID that is none */
	ck_assert_int_eq(out(1, CLEAR, 0, KEY_A, 0), SCSI_GOOD);
	ck_assert_uint_eq(attention(0), UA_PREEMPTED);
	memset(out_buf, 0, 256);
	put_be64(out_buf + 8, KEY_A);
	out_buf[20] = 0x08;
	put_be32(out_buf + 24, 24);
	out_buf[28] = 0x46;
	out_buf[31] = 20;
	expect_sense(CDB(0x5f, REGISTER, [8] = 52), 52, S_PARAM);
	/* by name: whoever is there; nobody of that name is */
	out_buf[28] = 0x05;
	memcpy(out_buf + 32, "iqn.2026-01.test:b", 18);
	expect_good(CDB(0x5f, REGISTER, [8] = 52), 52, 0);
	ck_assert_uint_eq(keys(), 2);
	GOOD(out(0, CLEAR, 0, KEY_A, 0));
	ck_assert_uint_eq(attention(1), UA_PREEMPTED);
}
END_TEST

START_TEST(register_and_move)
{
	uint64_t key;
	unsigned n, len;

	memset(out_buf, 0, 256);
	n = put_id(out_buf + 24, "iqn.2026-01.test:b", 5);
	len = 24 + n;
	put_be64(out_buf, KEY_A);
	put_be64(out_buf + 8, KEY_B);
	put_be16(out_buf + 18, 1);
	put_be32(out_buf + 20, n);
	CONFLICT(run(CDB(0x5f, MOVE, [8] = (uint8_t)len), len, 0)); /* not registered */
	memmove(in_buf + 4096, out_buf, len);
	GOOD(out(0, REGISTER, 0, 0, KEY_A));
	memmove(out_buf, in_buf + 4096, len);
	CONFLICT(run(CDB(0x5f, MOVE, [8] = (uint8_t)len), len, 0)); /* holds nothing */
	GOOD(out(0, RESERVE, PR_WE, KEY_A, 0));
	memmove(out_buf, in_buf + 4096, len);
	put_be16(out_buf + 18, 7); /* no such port */
	expect_sense(CDB(0x5f, MOVE, [8] = (uint8_t)len), len, S_PARAM);
	put_be16(out_buf + 18, 1);
	put_be64(out_buf + 8, 0);
	expect_sense(CDB(0x5f, MOVE, [8] = (uint8_t)len), len, S_PARAM);
	put_be64(out_buf + 8, KEY_B);
	out_buf[17] = 0x02; /* UNREG */
	expect_good(CDB(0x5f, MOVE, [8] = (uint8_t)len), len, 0);
	ck_assert_uint_eq(keys(), 1);
	ck_assert_uint_eq(reserved_as(&key), PR_WE);
	ck_assert_uint_eq(key, KEY_B);
	CONFLICT(run_on(0, CDB(0x2a, [8] = 1), 512, 0));
	GOOD(run_on(1, CDB(0x2a, [8] = 1), 512, 0));
	GOOD(out(1, CLEAR, 0, KEY_B, 0));
}
END_TEST

/* -- beside RESERVE(6) --------------------------------------------------- */

START_TEST(beside_reserve6)
{
	GOOD(run_on(0, CDB(0x16), 0, 0));
	CONFLICT(out(0, REGISTER, 0, 0, KEY_A)); /* not even its holder */
	CONFLICT(run_on(1, CDB(0x5e, [8] = 8), 0, 8));
	GOOD(run_on(1, CDB(0x1b, [4] = 1), 0, 0)); /* a start takes nothing from the holder; a stop does */
	CONFLICT(run_on(1, CDB(0x1b), 0, 0));
	GOOD(run_on(0, CDB(0x17), 0, 0));
	GOOD(out(0, REGISTER, 0, 0, KEY_A));
	CONFLICT(run_on(0, CDB(0x16), 0, 0)); /* registrations alone keep it out */
	CONFLICT(run_on(1, CDB(0x16), 0, 0));
	GOOD(out(0, RESERVE, PR_WE, KEY_A, 0));
	GOOD(run_on(0, CDB(0x16), 0, 0)); /* the holder has what it asks for */
	GOOD(run_on(0, CDB(0x17), 0, 0));
	CONFLICT(run_on(1, CDB(0x16), 0, 0));
	CONFLICT(run_on(1, CDB(0x17), 0, 0));
	GOOD(out(0, CLEAR, 0, KEY_A, 0));
	GOOD(run_on(1, CDB(0x16), 0, 0));
	GOOD(run_on(1, CDB(0x17), 0, 0));
}
END_TEST

/* -- what survives ------------------------------------------------------- */

START_TEST(resets_do_not_matter)
{
	uint64_t key;

	register_both();
	GOOD(out(0, RESERVE, PR_EA, KEY_A, 0));
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_LU_RESET, 0, 0), SCSI_TMF_COMPLETE);
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_TARGET_COLD_RESET, 0, 0), SCSI_TMF_COMPLETE);
	rig_clear_attentions(&rig);
	ck_assert_uint_eq(reserved_as(&key), PR_EA);
	CONFLICT(run_on(1, CDB(0x28, [8] = 1), 0, 512));
	GOOD(out(0, CLEAR, 0, KEY_A, 0));
}
END_TEST

static void
map_again(void)
{
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), 0);
	rig_clear_attentions(&rig);
}

/* 0: in the store; 1: with the volume, which may answer at once or later */
static unsigned
saved(void)
{
	return rig.disk->vol.attributes ? rig.disk->seen[VOL_PUT_ATTRIBUTE] : saves;
}

START_TEST(kept_over_power_loss)
{
	uint64_t key;

	rig.disk->vol.attributes = _i > 0;
	rig.disk->later = _i > 1;
	in(2);
	ck_assert_uint_eq(get_be16(in_buf), 8);
	ck_assert_uint_eq(in_buf[2], 0x1d);
	ck_assert_uint_eq(in_buf[3], 0x90);
	ck_assert_uint_eq(get_be16(in_buf + 4), 0xea01);
	GOOD(out(1, REGISTER, 0, 0, KEY_B));
	ck_assert_uint_eq(saved(), 0);
	GOOD(out_flags(0, REGISTER, 0, 0, KEY_A, 0x01));
	ck_assert_uint_eq(saved(), 1);
	in(2);
	ck_assert_uint_eq(in_buf[3], 0x91);
	GOOD(out(0, RESERVE, PR_EA_RO, KEY_A, 0));
	ck_assert_uint_eq(saved(), 2);
	ck_assert_uint_eq(saves, _i ? 0 : 2);
	/* the unit goes and comes */
	map_again();
	ck_assert_uint_eq(keys(), 2);
	ck_assert_uint_eq(get_be32(in_buf), 0); /* PRGENERATION does not */
	ck_assert_uint_eq(reserved_as(&key), PR_EA_RO);
	ck_assert_uint_eq(key, KEY_A);
	GOOD(run_on(1, CDB(0x28, [8] = 1), 0, 512));
	GOOD(out(1, REGISTER_IGNORE, 0, 0, 0)); /* APTPL 0: forgotten from here on */
	ck_assert_ptr_null(kept);
	ck_assert_ptr_null(disk_attribute(rig.disk, "reservations"));
	CONFLICT(run_on(1, CDB(0x28, [8] = 1), 0, 512));
	map_again();
	ck_assert_uint_eq(keys(), 0);
}
END_TEST

/* A volume that keeps attributes takes over what the store has, once. */
START_TEST(moved_to_the_volume)
{
	uint64_t key;

	GOOD(out(1, REGISTER, 0, 0, KEY_B));
	GOOD(out_flags(0, REGISTER, 0, 0, KEY_A, 0x01));
	GOOD(out(0, RESERVE, PR_EA, KEY_A, 0));
	ck_assert_ptr_nonnull(kept);
	rig.disk->vol.attributes = true;
	map_again();
	ck_assert_ptr_null(kept);
	ck_assert_ptr_nonnull(disk_attribute(rig.disk, "reservations"));
	ck_assert_uint_eq(reserved_as(&key), PR_EA);
	CONFLICT(run_on(1, CDB(0x28, [8] = 1), 0, 512));
	map_again();
	ck_assert_uint_eq(reserved_as(&key), PR_EA);
	ck_assert_uint_eq(rig.disk->seen[VOL_PUT_ATTRIBUTE], 1);
	/* something old turns up, damaged even: the volume's own counts */
	GOOD(out(0, CLEAR, 0, KEY_A, 0));
	GOOD(out_flags(0, REGISTER, 0, 0, KEY_A, 0x01));
	kept = strdup("{");
	map_again();
	ck_assert_ptr_null(kept);
	ck_assert_uint_eq(keys(), 1);
	ck_assert_uint_eq(reserved_as(&key), 0);
}
END_TEST

/* It does not come without what it had: neither when that is damaged nor when it cannot be moved. */
START_TEST(not_moved)
{
	uint64_t key;

	GOOD(out_flags(0, REGISTER, 0, 0, KEY_A, 0x01));
	GOOD(out(0, RESERVE, PR_EA, KEY_A, 0));
	rig.disk->vol.attributes = true;
	rig.disk->fail_op = VOL_PUT_ATTRIBUTE;
	rig.disk->fail = LG_EPOISONED;
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), LG_EPOISONED);
	ck_assert_ptr_nonnull(kept);
	rig.disk->fail_op = VOL_GET_ATTRIBUTE;
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), LG_EPOISONED);
	rig.disk->fail = 0;
	char *good = kept;
	kept = strdup("{");
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), LG_EDAMAGED);
	ck_assert_ptr_nonnull(kept);
	ck_assert_ptr_null(disk_attribute(rig.disk, "reservations"));
	free(kept);
	kept = good;
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), 0);
	rig_clear_attentions(&rig);
	ck_assert_ptr_null(kept);
	ck_assert_uint_eq(reserved_as(&key), PR_EA);
}
END_TEST

/* Nobody keeps them for a volume that does not: initiators are told so.  One that does needs nobody. */
START_TEST(without_a_store)
{
	scsi_set_store(NULL);
	map_again();
	in(2);
	ck_assert_uint_eq(in_buf[2], 0x1c);
	ck_assert_int_eq(out_flags(0, REGISTER, 0, 0, KEY_A, 0x01), SCSI_CHECK_CONDITION);
	rig.disk->vol.attributes = true;
	in(2);
	ck_assert_uint_eq(in_buf[2], 0x1d);
	GOOD(out_flags(0, REGISTER, 0, 0, KEY_A, 0x01));
	map_again();
	ck_assert_uint_eq(keys(), 1);
}
END_TEST

START_TEST(failed_save_changes_nothing)
{
	uint64_t key;

	rig.disk->vol.attributes = _i > 0;
	rig.disk->later = _i > 1;
	GOOD(out_flags(0, REGISTER, 0, 0, KEY_A, 0x01));
	save_rc = -ENOSPC;
	rig.disk->fail_op = VOL_PUT_ATTRIBUTE;
	rig.disk->fail = -ENOSPC;
	ck_assert_int_eq(out(0, RESERVE, PR_EA, KEY_A, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x044400);
	ck_assert_uint_eq(reserved_as(&key), 0);
	GOOD(run_on(1, CDB(0x28, [8] = 1), 0, 512));
	map_again();
	ck_assert_uint_eq(keys(), 1);
	ck_assert_uint_eq(reserved_as(&key), 0);
	save_rc = 0;
	rig.disk->fail = 0;
	GOOD(out(0, RESERVE, PR_EA, KEY_A, 0));
	CONFLICT(run_on(1, CDB(0x28, [8] = 1), 0, 512));
}
END_TEST

START_TEST(damaged_text_is_refused)
{
	static const char *const texts[] = {
		"",
		"{}",
		"[]",
		"{\"format\": 2, \"type\": 0, \"registrations\": []}",
		"{\"format\": 1, \"type\": 2, \"registrations\": []}",
		"{\"format\": 1, \"type\": 1, \"registrations\": []}",
		"{\"format\": 1, \"type\": 7, \"registrations\": []}",
		"{\"format\": 1, \"type\": 0, \"registrations\": [{}]}",
		"{\"format\": 1, \"type\": 1, \"registrations\": [{\"initiator\": \"a\", \"isid\": \"000000000000\", "
		"\"target\": \"b\", \"port\": 1, \"all_ports\": false, \"key\": \"0000000000000001\"}]}",
		"{\"format\": 1, \"type\": 0, \"registrations\": [{\"initiator\": \"a\", \"isid\": \"00000000000g\", "
		"\"target\": \"b\", \"port\": 1, \"all_ports\": false, \"key\": \"0000000000000001\"}]}",
	};
	struct pr_state state;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		ck_assert_msg(pr_parse(texts[i], strlen(texts[i]), &state) == LG_EDAMAGED, "%s", texts[i]);
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	kept = strdup("{");
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), LG_EDAMAGED);
	/* the volume's own, too */
	rig.disk->vol.attributes = true;
	rig.disk->attributes[0] =
		(struct disk_attribute){.key = "reservations", .value = strdup("{"), .len = 1};
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), LG_EDAMAGED);
}
END_TEST

/* Many changes at once: each is made on what the one before left. */
START_TEST(one_change_at_a_time)
{
	static struct cmd cmds[16];
	static uint8_t lists[16][24];

	rig.disk->vol.attributes = _i > 0;
	rig.disk->later = _i > 1;
	GOOD(out_flags(0, REGISTER, 0, 0, KEY_A, 0x01));
	for (unsigned i = 0; i < ARRAY_SIZE(cmds); i++) {
		put_be64(lists[i] + 8, KEY_A + i);
		lists[i][20] = 0x01;
		cmd_init(&cmds[i], &rig, i % 2, CDB(0x5f, REGISTER_IGNORE, [8] = 24), 16);
		cmds[i].out = lists[i];
		cmds[i].task.out_room = 24;
		cmd_begin(&cmds[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(cmds); i++) {
		cmd_wait(&cmds[i]);
		ck_assert_int_eq(cmds[i].task.status, SCSI_GOOD);
	}
	ck_assert_uint_eq(keys(), 2);
	ck_assert_uint_eq(get_be32(in_buf), 1 + ARRAY_SIZE(cmds));
	ck_assert_uint_eq(get_be64(in_buf + 8), KEY_A + 14);
	ck_assert_uint_eq(get_be64(in_buf + 16), KEY_A + 15);
	ck_assert_uint_eq(saved(), 1 + ARRAY_SIZE(cmds));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pr");
	TCase *tcase = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup_pr, teardown_pr);
	tcase_add_test(tcase, who_may_do_what);
	tcase_add_test(tcase, registering);
	tcase_add_test(tcase, reserving_and_releasing);
	tcase_add_test(tcase, preempting);
	tcase_add_test(tcase, preempt_and_abort);
	tcase_add_test(tcase, preempt_while_data_comes);
	tcase_add_test(tcase, spec_i_pt_and_full_status);
	tcase_add_test(tcase, register_and_move);
	tcase_add_test(tcase, beside_reserve6);
	tcase_add_test(tcase, resets_do_not_matter);
	tcase_add_loop_test(tcase, kept_over_power_loss, 0, 3);
	tcase_add_test(tcase, moved_to_the_volume);
	tcase_add_test(tcase, not_moved);
	tcase_add_test(tcase, without_a_store);
	tcase_add_loop_test(tcase, failed_save_changes_nothing, 0, 3);
	tcase_add_test(tcase, damaged_text_is_refused);
	tcase_add_loop_test(tcase, one_change_at_a_time, 0, 3);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
