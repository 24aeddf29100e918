/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Access on a running server: who gets in, what it sees, and what a change does to sessions. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/secret.h"
#include "gateway/iscsi/chap.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "gateway/iscsi/keys.h"
#include "test/lib/iscsirig.h"

#define ME RIG_INITIATOR
#define YOU "iqn.2024-01.com.example:you"
#define SECRET "secret-of-alice!"

static struct iscsirig rig;
static struct scsi_view hidden, moved;

static void
setup(void)
{
	iscsirig_init(&rig, NULL, 0);
	scsi_view_none(&hidden);
	scsi_view_none(&moved);
	moved.lun[4] = 0;
}

static void
teardown(void)
{
	iscsirig_fini(&rig);
}

static void
set_rules(const struct iscsi_access_spec *spec)
{
	struct iscsi_access *access = NULL;

	if (spec)
		ck_assert_int_eq(iscsi_access_new(spec, &access, NULL), 0);
	ck_assert_int_eq(iscsi_target_set_access(rig.server, RIG_TARGET, access), 0);
}

static void
set_list(const struct iscsi_initiator *initiators, size_t n)
{
	set_rules(&(struct iscsi_access_spec){.listed = true, .initiators = initiators, .ninitiators = n});
}

static int
try_login(struct raw *raw, uint8_t who, const char *initiator)
{
	ck_assert_int_eq(raw_connect(raw, rig.address), 0);
	raw->isid[5] = who;
	return raw_login(raw, initiator, RIG_TARGET, "", 0);
}

static void
expect_login(uint8_t who, const char *initiator, int status)
{
	struct raw raw;

	ck_assert_int_eq(try_login(&raw, who, initiator), status);
	if (!status)
		ck_assert_int_eq(raw_logout(&raw), 0);
	raw_close(&raw);
}

START_TEST(everybody_or_the_list)
{
	expect_login(1, YOU, 0);
	set_list((struct iscsi_initiator[]){{.name = ME}}, 1);
	expect_login(1, ME, 0);
	expect_login(2, YOU, ISCSI_LOGIN_NOT_FOUND);
	set_list((struct iscsi_initiator[]){{.name = ME, .network = "10.0.0.0/8"}}, 1);
	expect_login(1, ME, ISCSI_LOGIN_FORBIDDEN);
	set_list((struct iscsi_initiator[]){{.name = "iqn.2024-01.com.example:*", .network = "127.0.0.0/8"}},
		 1);
	expect_login(1, ME, 0);
	expect_login(2, YOU, 0);
	set_list(NULL, 0);
	expect_login(1, ME, ISCSI_LOGIN_NOT_FOUND);
	set_rules(NULL);
	expect_login(1, ME, 0);
}
END_TEST

START_TEST(who_is_taken_off_the_list_has_to_go)
{
	const struct iscsi_initiator both[] = {{.name = ME}, {.name = YOU}};
	struct raw me, you;

	set_list(both, 2);
	ck_assert_int_eq(try_login(&me, 1, ME), 0);
	ck_assert_int_eq(try_login(&you, 2, YOU), 0);
	ck_assert_int_eq(raw_ready(&me, 0), 0);
	ck_assert_int_eq(raw_ready(&you, 0), 0);
	set_list(both, 1);
	ck_assert_int_eq(raw_wait_closed(&you), 0);
	raw_close(&you);
	ck_assert(iscsirig_await_sessions(&rig, 1));
	ck_assert(iscsirig_await(&rig, "closed_access_withdrawn", 1));
	/* the other one has not noticed anything */
	ck_assert_int_eq(
		raw_finish(&me, raw_command(&me, 0, (uint8_t[6]){0}, 6, 0x80, 0, NULL, 0), NULL, 0, NULL), 0);
	raw_close(&me);
}
END_TEST

/* LUNs as REPORT LUNS tells them: a bit each. */
static unsigned
luns_of(struct raw *raw)
{
	static const uint8_t cdb[12] = {0xa0, [8] = 1};
	uint8_t in[256];
	uint32_t got = 0;
	unsigned luns = 0;

	ck_assert_int_eq(raw_finish(raw, raw_command(raw, 0, cdb, 12, 0xc0, sizeof(in), NULL, 0), in,
				    sizeof(in), &got),
			 0);
	for (uint32_t at = 8; at < got; at += 8)
		luns |= 1u << in[at + 1];
	return luns;
}

static int
test_unit(struct raw *raw, unsigned lun)
{
	int status =
		raw_finish(raw, raw_command(raw, lun, (uint8_t[6]){0}, 6, 0x80, 0, NULL, 0), NULL, 0, NULL);

	return status == 2 ? (int)raw_sense(raw) : status;
}

/* RFC 7143 11.9.4 */
static void
expect_luns_event(struct raw *raw)
{
	static const uint8_t luns[8] = {0};

	ck_assert_int_eq(raw_recv(raw), 0);
	ck_assert_int_eq(raw->bhs[0], ISCSI_ASYNC_MESSAGE);
	ck_assert_uint_eq(raw->bhs[36], ISCSI_ASYNC_SENSE);
	ck_assert_mem_eq(raw->bhs + 8, luns, 8);
	ck_assert_uint_eq(raw->len, 20);
	ck_assert_uint_eq(get_be16(raw->data), 18);
	ck_assert_uint_eq(raw->data[2], 0x70);
	ck_assert_uint_eq(raw->data[2 + 2] & 0xf, 6);
	ck_assert_uint_eq(get_be16(raw->data + 2 + 12), 0x3f0e);
}

START_TEST(each_sees_its_own_luns)
{
	struct iscsi_initiator rows[] = {{.name = ME}, {.name = YOU, .view = &moved}};
	struct raw me, you;

	set_list(rows, 2);
	ck_assert_int_eq(try_login(&me, 1, ME), 0);
	ck_assert_int_eq(try_login(&you, 2, YOU), 0);
	ck_assert_int_eq(raw_ready(&me, 0), 0);
	ck_assert_int_eq(raw_ready(&you, 4), 0);
	ck_assert_uint_eq(luns_of(&me), 1u << 0);
	ck_assert_uint_eq(luns_of(&you), 1u << 4);
	ck_assert_int_eq(test_unit(&you, 0), 0x2500);
	/* another view: the one is told, the other is not */
	moved.lun[5] = 0;
	moved.lun[4] = SCSI_VIEW_NONE;
	set_list(rows, 2);
	expect_luns_event(&you);
	ck_assert_int_eq(test_unit(&you, 4), 0x2500);
	ck_assert_int_eq(test_unit(&you, 5), 0x3f0e);
	ck_assert_int_eq(test_unit(&you, 5), 0);
	ck_assert_uint_eq(luns_of(&you), 1u << 5);
	ck_assert_int_eq(test_unit(&me, 0), 0);
	/* the same once more is no change */
	set_list(rows, 2);
	ck_assert_int_eq(test_unit(&you, 5), 0);
	raw_close(&me);
	raw_close(&you);
}
END_TEST

/* One who is idle hears of a LUN, once, by one connection of his session; and at the LUNs when he comes to use them. */
START_TEST(luns_come_and_go_for_one_who_is_idle)
{
	static const char keys[] = "MaxConnections=2\0HeaderDigest=CRC32C\0DataDigest=CRC32C";
	const char *digests = keys + strlen(keys) + 1;
	struct errinfo info;
	struct raw raws[2];

	ck_assert_int_eq(raw_connect(&raws[0], rig.address), 0);
	ck_assert_int_eq(raw_login(&raws[0], ME, RIG_TARGET, keys, sizeof(keys)), 0);
	ck_assert_int_eq(raw_connect(&raws[1], rig.address), 0);
	memcpy(raws[1].isid, raws[0].isid, sizeof(raws[1].isid));
	raws[1].tsih = raws[0].tsih;
	raws[1].cid = 1;
	raws[1].cmdsn = raws[0].cmdsn;
	ck_assert_int_eq(
		raw_login(&raws[1], ME, RIG_TARGET, digests, (size_t)(keys + sizeof(keys) - digests)), 0);
	for (unsigned n = 0; n < 2; n++)
		raws[n].header_digest = raws[n].data_digest = true;
	ck_assert_int_eq(raw_ready(&raws[0], 0), 0);
	raws[1].cmdsn = raws[0].cmdsn;
	ck_assert_int_eq(scsi_target_map(rig.scsi, 3, &rig.disk->vol, &info), 0);
	iscsi_target_luns_changed(rig.server, "iqn.2024-01.org.lungate:none");
	iscsi_target_luns_changed(rig.server, RIG_TARGET);
	/* the latest connection stands first; the other one has nothing but its answer */
	expect_luns_event(&raws[1]);
	ck_assert_int_eq(test_unit(&raws[0], 0), 0x3f0e);
	raw_close(&raws[1]);
	ck_assert(iscsirig_await_sessions(&rig, 1));
	ck_assert_int_eq(scsi_target_unmap(rig.scsi, 3), 0);
	iscsi_target_luns_changed(rig.server, RIG_TARGET);
	expect_luns_event(&raws[0]);
	raw_close(&raws[0]);
}
END_TEST

/* What SendTargets=All says, as one text. */
static const char *
discover(const char *initiator, const char *value)
{
	static char text[4096];
	uint8_t bhs[RAW_BHS];
	struct raw raw;
	char request[300];
	int n = snprintf(request, sizeof(request), "SendTargets=%s", value);

	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_login(&raw, initiator, NULL, "", 0), 0);
	raw_request(&raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	ck_assert_int_eq(raw_send(&raw, bhs, request, (uint32_t)n + 1), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_lt(raw.len, sizeof(text));
	for (uint32_t i = 0; i < raw.len; i++)
		text[i] = raw.data[i] ? (char)raw.data[i] : ' ';
	text[raw.len] = 0;
	raw_close(&raw);
	return text;
}

/* Whichever of a session's two connections loses its access, the other one goes on and sees what it saw. */
START_TEST(networks_of_one_session)
{
	static const char *const keys = "MaxConnections=2";
	static const char *const froms[] = {"127.0.0.1", "127.0.0.2"};
	struct raw raws[2];

	for (unsigned stays = 0; stays < 2; stays++) {
		struct raw *kept = &raws[stays];

		set_list((struct iscsi_initiator[]){{.name = ME, .network = "127.0.0.0/8"}}, 1);
		ck_assert_int_eq(raw_connect_from(&raws[0], rig.address, froms[0]), 0);
		ck_assert_int_eq(raw_login(&raws[0], ME, RIG_TARGET, keys, strlen(keys) + 1), 0);
		ck_assert_int_eq(raw_connect_from(&raws[1], rig.address, froms[1]), 0);
		memcpy(raws[1].isid, raws[0].isid, sizeof(raws[1].isid));
		raws[1].tsih = raws[0].tsih;
		raws[1].cid = 1;
		raws[1].cmdsn = raws[0].cmdsn;
		ck_assert_int_eq(raw_login(&raws[1], ME, RIG_TARGET, "", 0), 0);
		ck_assert_int_eq(raw_ready(&raws[0], 0), 0);
		raws[1].cmdsn = raws[0].cmdsn;
		set_list((struct iscsi_initiator[]){{.name = ME, .network = froms[stays]}}, 1);
		ck_assert_int_eq(raw_wait_closed(&raws[!stays]), 0);
		raw_close(&raws[!stays]);
		ck_assert_int_eq(test_unit(kept, 0), 0);
		raw_close(kept);
		ck_assert(iscsirig_await_sessions(&rig, 0));
	}
}
END_TEST

START_TEST(discovery_tells_what_one_may_use)
{
	ck_assert_ptr_nonnull(strstr(discover(YOU, "All"), RIG_TARGET));
	set_list((struct iscsi_initiator[]){{.name = ME}, {.name = "iqn.far:*", .network = "10.0.0.0/8"}}, 2);
	ck_assert_ptr_nonnull(strstr(discover(ME, "All"), RIG_TARGET));
	ck_assert_ptr_nonnull(strstr(discover(ME, RIG_TARGET), RIG_TARGET));
	ck_assert_str_eq(discover(YOU, "All"), "");
	ck_assert_str_eq(discover(YOU, RIG_TARGET), "");
	ck_assert_str_eq(discover("iqn.far:away", "All"), "");
}
END_TEST

/* -- accounts ------------------------------------------------------------ */

static void
set_account(bool there, const char *secret_text)
{
	struct secret *secret = secret_new(secret_text, strlen(secret_text));
	const struct iscsi_account account = {"alice", secret};

	set_rules(&(struct iscsi_access_spec){.chap = true, .accounts = &account, .naccounts = there});
	secret_unref(secret);
}

static const char *
value_of(const struct raw *raw, const char *key)
{
	static char copy[4096];
	static struct keys keys;

	ck_assert_uint_lt(raw->len, sizeof(copy));
	memcpy(copy, raw->data, raw->len);
	ck_assert_int_eq(keys_parse(copy, raw->len, &keys), 0);
	return keys_find(&keys, key);
}

static int
chap_login(struct raw *raw, const char *initiator, const char *secret)
{
	uint8_t challenge[64], digest[CHAP_DIGEST_MAX];
	char text[512], response[128];
	size_t len;
	unsigned id;
	int n = snprintf(text, sizeof(text), "InitiatorName=%s%cTargetName=%s%cAuthMethod=CHAP", initiator, 0,
			 RIG_TARGET, 0);
	int status;

	ck_assert_int_eq(raw_connect(raw, rig.address), 0);
	status = raw_login_step(raw, 0x83, text, (size_t)n + 1);
	if (status)
		return status;
	ck_assert_int_eq(raw_login_step(raw, 0x00, "CHAP_A=5,7", sizeof("CHAP_A=5,7")), 0);
	ck_assert_str_eq(value_of(raw, "CHAP_A"), "7");
	id = (unsigned)strtoul(value_of(raw, "CHAP_I"), NULL, 10);
	ck_assert_int_eq(chap_decode(value_of(raw, "CHAP_C"), challenge, sizeof(challenge), &len), 0);
	n = chap_digest(7, (uint8_t)id, (const uint8_t *)secret, strlen(secret), challenge, len, digest);
	chap_encode(digest, (size_t)n, response);
	n = snprintf(text, sizeof(text), "CHAP_N=alice%cCHAP_R=%s", 0, response);
	return raw_login_step(raw, 0x83, text, (size_t)n + 1);
}

START_TEST(accounts)
{
	struct raw before, raw, wrong;

	ck_assert_int_eq(try_login(&before, 1, ME), 0);
	ck_assert_int_eq(raw_ready(&before, 0), 0);
	set_account(true, SECRET);
	expect_login(2, ME, ISCSI_LOGIN_AUTH_FAILED);
	ck_assert_int_eq(chap_login(&wrong, ME, "another-secret-x"), ISCSI_LOGIN_AUTH_FAILED);
	ck_assert_int_eq(raw_wait_closed(&wrong), 0);
	raw_close(&wrong);
	ck_assert_int_eq(chap_login(&raw, YOU, SECRET), 0);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	/* who came before there were accounts stays; who used one stays as long as it is there */
	ck_assert_int_eq(test_unit(&before, 0), 0);
	set_account(true, SECRET);
	ck_assert_int_eq(test_unit(&raw, 0), 0);
	set_account(false, SECRET);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	ck_assert_int_eq(test_unit(&before, 0), 0);
	raw_close(&raw);
	raw_close(&before);
}
END_TEST

START_TEST(discovery_has_accounts_of_its_own)
{
	struct secret *secret = secret_new(SECRET, strlen(SECRET));
	const struct iscsi_account account = {"alice", secret};
	const struct iscsi_access_spec spec = {.chap = true, .accounts = &account, .naccounts = 1};
	struct iscsi_access *access;
	struct raw raw;

	ck_assert_int_eq(iscsi_access_new(&spec, &access, NULL), 0);
	secret_unref(secret);
	iscsi_discovery_set_access(rig.server, access);
	ck_assert_int_eq(raw_connect(&raw, rig.address), 0);
	ck_assert_int_eq(raw_login(&raw, ME, NULL, "", 0), ISCSI_LOGIN_AUTH_FAILED);
	raw_close(&raw);
	expect_login(1, ME, 0);
	iscsi_discovery_set_access(rig.server, NULL);
	ck_assert_ptr_nonnull(strstr(discover(ME, "All"), RIG_TARGET));
}
END_TEST

START_TEST(targets_that_are_not_there)
{
	struct iscsi_access *access = NULL;
	const struct iscsi_access_spec spec = {.listed = true};

	ck_assert_int_eq(iscsi_access_new(&spec, &access, NULL), 0);
	ck_assert_int_eq(iscsi_target_set_access(rig.server, "iqn.2024-01.org.lungate:none", access),
			 -ENOENT);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi access");
	TCase *tc = tcase_create("access");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, everybody_or_the_list);
	tcase_add_test(tc, who_is_taken_off_the_list_has_to_go);
	tcase_add_test(tc, each_sees_its_own_luns);
	tcase_add_test(tc, luns_come_and_go_for_one_who_is_idle);
	tcase_add_test(tc, networks_of_one_session);
	tcase_add_test(tc, discovery_tells_what_one_may_use);
	tcase_add_test(tc, accounts);
	tcase_add_test(tc, discovery_has_accounts_of_its_own);
	tcase_add_test(tc, targets_that_are_not_there);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
