/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The login machine, fed with Login Requests. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/util.h"
#include "gateway/iscsi/login.h"

#define TARGET "iqn.2024-01.org.lungate:disk"
#define NAMES "InitiatorName=iqn.2024-01.com.example:me\0TargetName=" TARGET "\0SessionType=Normal\0"

#define T 0x80
#define C 0x40
#define SEC 0x00
#define OP 0x04
#define TO_OP 0x01
#define TO_FULL 0x03

static const struct param_limits limits = {
	.max_recv_segment = 262144, .max_burst = 1u << 20, .first_burst = 262144, .max_outstanding_r2t = 16};
static struct login login;
static struct login_reply reply;
static uint8_t bhs[ISCSI_BHS_LEN];
static int session_rc;

static int
find_target(void *arg, struct login *l)
{
	(void)arg;
	if (!strcmp(l->target, "iqn.2024-01.org.lungate:stopping"))
		return LG_ESTOPPING;
	if (!strcmp(l->target, "iqn.2024-01.org.lungate:secret"))
		return -EPERM;
	return strcmp(l->target, TARGET) ? -ENOENT : 0;
}

static int
find_session(void *arg, struct login *l)
{
	(void)arg;
	(void)l;
	return session_rc;
}

static const struct login_ops ops = {.find_target = find_target, .find_session = find_session};

static void
setup(void)
{
	login_init(&login, &ops, NULL, &limits);
	memset(bhs, 0, sizeof(bhs));
	bhs[0] = ISCSI_IMMEDIATE | ISCSI_LOGIN_REQUEST;
	memcpy(bhs + 8, "\x80\x01\x02\x03\x04\x05", 6);
	put_be32(bhs + 16, 0x1234);
	put_be16(bhs + 20, 7);
	put_be32(bhs + 24, 42);
	session_rc = 0;
}

static void
teardown(void)
{
	login_fini(&login);
}

static void
again(void)
{
	teardown();
	setup();
}

static uint16_t
feed(uint8_t flags, const char *text, size_t len)
{
	bhs[1] = flags;
	put_be24(bhs + 5, (uint32_t)len);
	login_request(&login, bhs, text, (uint32_t)len, &reply);
	return reply.status;
}

#define FEED(flags, literal) feed(flags, literal, sizeof(literal) - 1)

static const char *
answer(const char *key)
{
	static char copy[65536];
	static struct keys keys;

	if (!reply.text_len)
		return NULL;
	memcpy(copy, reply.text, reply.text_len);
	ck_assert_int_eq(keys_parse(copy, reply.text_len, &keys), 0);
	return keys_find(&keys, key);
}

START_TEST(operational_in_one_step)
{
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, NAMES "InitialR2T=No\0MaxRecvDataSegmentLength=65536\0"), 0);
	ck_assert(reply.full);
	ck_assert_uint_eq(reply.flags, T | OP | TO_FULL);
	ck_assert_str_eq(answer("InitialR2T"), "No");
	ck_assert_str_eq(answer("TargetPortalGroupTag"), "1");
	ck_assert_str_eq(answer("MaxRecvDataSegmentLength"), "262144");
	ck_assert_uint_eq(login.params.active[PARAM_MAX_RECV_DATA_SEGMENT_LENGTH], 65536);
	ck_assert_str_eq(login.initiator, "iqn.2024-01.com.example:me");
	ck_assert_uint_eq(login.cid, 7);
	ck_assert_uint_eq(login.cmdsn, 42);
	ck_assert_int_eq(login.stage, ISCSI_STAGE_FULL);
}
END_TEST

START_TEST(security_then_operational)
{
	ck_assert_uint_eq(FEED(T | SEC | TO_OP, NAMES "AuthMethod=CHAP,None\0"), 0);
	ck_assert_uint_eq(reply.flags, T | SEC | TO_OP);
	ck_assert_str_eq(answer("AuthMethod"), "None");
	ck_assert_ptr_null(answer("MaxRecvDataSegmentLength"));
	ck_assert(!reply.full);
	/* a step without transit, and the names once more, as some initiators do */
	ck_assert_uint_eq(FEED(OP, NAMES "HeaderDigest=CRC32C,None\0"), 0);
	ck_assert_uint_eq(reply.flags, OP);
	ck_assert_str_eq(answer("HeaderDigest"), "CRC32C");
	ck_assert_str_eq(answer("MaxRecvDataSegmentLength"), "262144");
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, ""), 0);
	ck_assert(reply.full);
	ck_assert_ptr_null(answer("MaxRecvDataSegmentLength"));
}
END_TEST

START_TEST(security_to_full_leaves_the_defaults)
{
	ck_assert_uint_eq(FEED(T | SEC | TO_FULL, NAMES "AuthMethod=None\0"), 0);
	ck_assert(reply.full);
	ck_assert(!login.declared);
	ck_assert_uint_eq(login.params.active[PARAM_INITIAL_R2T], 1);
}
END_TEST

START_TEST(discovery_needs_no_target)
{
	ck_assert_uint_eq(FEED(T | OP | TO_FULL,
			       "InitiatorName=iqn.2024-01.com.example:me\0SessionType=Discovery\0"
			       "MaxBurstLength=512\0"),
			  0);
	ck_assert(reply.full && login.discovery);
	ck_assert_str_eq(answer("MaxBurstLength"), "Irrelevant");
	ck_assert_ptr_null(answer("TargetPortalGroupTag"));
}
END_TEST

START_TEST(texts_are_gathered)
{
	ck_assert_uint_eq(FEED(C | OP, "InitiatorName=iqn.2024-01.com.exa"), 0);
	ck_assert_uint_eq(reply.flags, OP);
	ck_assert_uint_eq(reply.text_len, 0);
	ck_assert_uint_eq(FEED(C | OP, "mple:me\0TargetName=" TARGET), 0);
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, "\0SessionType=Normal\0"), 0);
	ck_assert(reply.full);
	ck_assert_str_eq(login.initiator, "iqn.2024-01.com.example:me");
}
END_TEST

START_TEST(long_answers_go_out_in_pieces)
{
	static char text[16000], all[32768];
	size_t n = sizeof(NAMES) - 1, got = 0;
	unsigned keys = 0;

	memcpy(text, NAMES, n);
	/* each is answered with "NotUnderstood" behind a long key */
	for (; keys < 200; keys++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "X-com.example.a-rather-long-key-name-%020u=", keys) +
		     1;
	ck_assert_uint_eq(feed(T | OP | TO_FULL, text, n), 0);
	while (reply.flags & C) {
		ck_assert(!reply.full && !(reply.flags & T));
		ck_assert_uint_eq(reply.text_len, ISCSI_DEFAULT_SEGMENT);
		memcpy(all + got, reply.text, reply.text_len);
		got += reply.text_len;
		ck_assert_uint_eq(FEED(T | OP | TO_FULL, ""), 0);
	}
	ck_assert(reply.full);
	memcpy(all + got, reply.text, reply.text_len);
	got += reply.text_len;
	for (size_t i = 0, count = 0; i <= got; i += strlen(all + i) + 1) {
		if (i == got)
			ck_assert_uint_eq(count, keys);
		else if (strstr(all + i, "=NotUnderstood"))
			count++;
	}
	/* while they go out, nothing else may come in */
	again();
	ck_assert_uint_eq(feed(T | OP | TO_FULL, text, n), 0);
	ck_assert(reply.flags & C);
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, "A=1\0"), ISCSI_LOGIN_INITIATOR_ERROR);
}
END_TEST

struct bad {
	uint8_t flags;
	const char *text;
	size_t len;
	uint16_t status;
};
#define BAD(flags, text, status)                                                                             \
	{                                                                                                    \
		flags, text, sizeof(text) - 1, status                                                        \
	}

static const struct bad bads[] = {
	BAD(T | OP | TO_FULL, "TargetName=" TARGET "\0", ISCSI_LOGIN_MISSING_PARAMETER),
	BAD(T | OP | TO_FULL, "", ISCSI_LOGIN_MISSING_PARAMETER),
	BAD(T | OP | TO_FULL, "InitiatorName=iqn.2024-01.com.example:me\0", ISCSI_LOGIN_MISSING_PARAMETER),
	BAD(T | OP | TO_FULL,
	    "InitiatorName=iqn.2024-01.com.example:me\0TargetName=iqn.2024-01.org.lungate:no\0",
	    ISCSI_LOGIN_NOT_FOUND),
	BAD(T | OP | TO_FULL, "InitiatorName=a\0TargetName=iqn.2024-01.org.lungate:secret\0",
	    ISCSI_LOGIN_FORBIDDEN),
	BAD(T | OP | TO_FULL, "InitiatorName=a\0TargetName=iqn.2024-01.org.lungate:stopping\0",
	    ISCSI_LOGIN_UNAVAILABLE),
	BAD(T | OP | TO_FULL, "InitiatorName=a b\0TargetName=" TARGET "\0", ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | OP | TO_FULL, "InitiatorName=\0TargetName=" TARGET "\0", ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | OP | TO_FULL, "InitiatorName=a\0SessionType=Copy\0", ISCSI_LOGIN_BAD_SESSION_TYPE),
	BAD(T | OP | TO_FULL, "InitiatorName=a\0InitiatorName=b\0TargetName=" TARGET "\0",
	    ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | OP | TO_FULL, NAMES "MaxBurstLength=512\0MaxBurstLength=512\0", ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | OP | TO_FULL, "no text at all", ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | SEC | TO_OP, NAMES "AuthMethod=CHAP\0", ISCSI_LOGIN_AUTH_FAILED),
	BAD(T | SEC | TO_OP, NAMES "AuthMethod=KRB5,SRP\0", ISCSI_LOGIN_AUTH_FAILED),
	BAD(T | C | OP | TO_FULL, NAMES, ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | OP | TO_OP, NAMES, ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | OP | 2, NAMES, ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | SEC | 2, NAMES, ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | SEC | 0, NAMES, ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(2 << 2, NAMES, ISCSI_LOGIN_INITIATOR_ERROR),
	BAD(T | 3 << 2 | 3, NAMES, ISCSI_LOGIN_INITIATOR_ERROR),
};

START_TEST(bad_first_requests_get_their_status)
{
	const struct bad *bad = &bads[_i];

	ck_assert_uint_eq(feed(bad->flags, bad->text, bad->len), bad->status);
	ck_assert(!reply.full);
	ck_assert_uint_eq(reply.text_len, 0);
}
END_TEST

START_TEST(identity_does_not_change_on_the_way)
{
	static const struct {
		unsigned offset;
	} fields[] = {{8}, {13}, {14}, {16}, {20}, {24}};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		again();
		ck_assert_uint_eq(FEED(SEC, NAMES), 0);
		bhs[fields[i].offset] ^= 1;
		ck_assert_uint_eq(FEED(SEC, ""), ISCSI_LOGIN_INITIATOR_ERROR);
	}
	/* nor does the stage without a transit */
	again();
	ck_assert_uint_eq(FEED(SEC, NAMES), 0);
	ck_assert_uint_eq(FEED(OP, ""), ISCSI_LOGIN_INITIATOR_ERROR);
}
END_TEST

START_TEST(versions_other_than_zero_are_refused)
{
	bhs[2] = 2;
	bhs[3] = 1;
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, NAMES), ISCSI_LOGIN_BAD_VERSION);
	again();
	bhs[2] = 9;
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, NAMES), 0);
}
END_TEST

START_TEST(a_session_that_is_not_there_cannot_be_joined)
{
	put_be16(bhs + 14, 5);
	session_rc = -ESRCH;
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, NAMES), ISCSI_LOGIN_NO_SESSION);
	again();
	put_be16(bhs + 14, 5);
	session_rc = -EUSERS;
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, NAMES), ISCSI_LOGIN_TOO_MANY_CONNECTIONS);
	again();
	put_be16(bhs + 14, 5);
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, NAMES "InitialR2T=No\0HeaderDigest=CRC32C\0"), 0);
	/* the session's values stand; the connection's are its own */
	ck_assert_str_eq(answer("InitialR2T"), "Reject");
	ck_assert_str_eq(answer("HeaderDigest"), "CRC32C");
}
END_TEST

START_TEST(a_login_cannot_go_on_for_ever)
{
	unsigned n = 0;

	ck_assert_uint_eq(FEED(OP, NAMES), 0);
	while (FEED(OP, "") == 0)
		ck_assert_uint_lt(++n, 1000);
	ck_assert_uint_eq(reply.status, ISCSI_LOGIN_INITIATOR_ERROR);
	/* nor gather more than its share */
	again();
	n = 0;
	while (FEED(C | OP,
		    "X-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") ==
	       0)
		n++;
	ck_assert_uint_eq(reply.status, ISCSI_LOGIN_INITIATOR_ERROR);
	ck_assert_uint_le(login.in.room, LOGIN_TEXT_MAX);
}
END_TEST

START_TEST(names_are_folded)
{
	char name[ISCSI_NAME_MAX + 1], big[ISCSI_NAME_MAX + 2];

	ck_assert_int_eq(login_name("IQN.2024-01.Com.Example:A", name), 0);
	ck_assert_str_eq(name, "iqn.2024-01.com.example:a");
	ck_assert_int_eq(login_name("", name), -EINVAL);
	ck_assert_int_eq(login_name("a\tb", name), -EINVAL);
	memset(big, 'a', sizeof(big) - 1);
	big[ISCSI_NAME_MAX] = 0;
	ck_assert_int_eq(login_name(big, name), 0);
	big[ISCSI_NAME_MAX] = 'a';
	big[ISCSI_NAME_MAX + 1] = 0;
	ck_assert_int_eq(login_name(big, name), -EINVAL);
	ck_assert_uint_eq(
		FEED(T | OP | TO_FULL, "InitiatorName=iqn.x:ME\0TargetName=IQN.2024-01.org.lungate:DISK\0"),
		0);
	ck_assert_str_eq(login.initiator, "iqn.x:me");
}
END_TEST

START_TEST(every_error_has_a_status)
{
	ck_assert_uint_eq(login_status_of(0), ISCSI_LOGIN_OK);
	ck_assert_uint_eq(login_status_of(-ENOMEM), ISCSI_LOGIN_OUT_OF_RESOURCES);
	ck_assert_uint_eq(login_status_of(-ENODEV), ISCSI_LOGIN_TARGET_REMOVED);
	/* what nobody thought of is our fault */
	ck_assert_uint_eq(login_status_of(-EXDEV), ISCSI_LOGIN_TARGET_ERROR);
	ck_assert_str_eq(login_status_text(ISCSI_LOGIN_NOT_FOUND), "target not found");
	ck_assert_str_eq(login_status_text(0x7777), "unknown status");
	for (unsigned i = 0; i < 256; i++)
		ck_assert_ptr_nonnull(reject_reason_text((uint8_t)i));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("login");
	TCase *tc = tcase_create("login");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, operational_in_one_step);
	tcase_add_test(tc, security_then_operational);
	tcase_add_test(tc, security_to_full_leaves_the_defaults);
	tcase_add_test(tc, discovery_needs_no_target);
	tcase_add_test(tc, texts_are_gathered);
	tcase_add_test(tc, long_answers_go_out_in_pieces);
	tcase_add_loop_test(tc, bad_first_requests_get_their_status, 0, ARRAY_SIZE(bads));
	tcase_add_test(tc, identity_does_not_change_on_the_way);
	tcase_add_test(tc, versions_other_than_zero_are_refused);
	tcase_add_test(tc, a_session_that_is_not_there_cannot_be_joined);
	tcase_add_test(tc, a_login_cannot_go_on_for_ever);
	tcase_add_test(tc, names_are_folded);
	tcase_add_test(tc, every_error_has_a_status);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
