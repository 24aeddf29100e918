/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CHAP: digests, encodings, and the exchange as an initiator drives it. */
#include <check.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/util.h"
#include "gateway/iscsi/access.h"
#include "gateway/iscsi/login.h"

#define INITIATOR "iqn.2024-01.com.example:me"
#define TARGET "iqn.2024-01.org.lungate:disk"
#define NAMES "InitiatorName=" INITIATOR "\0TargetName=" TARGET "\0SessionType=Normal\0"
#define DISCOVERY "InitiatorName=" INITIATOR "\0SessionType=Discovery\0"

#define ALICE "secret-of-alice!"
#define BOB "secret-of-bob-bob"
#define OURS "secret-of-the-target"

#define T 0x80
#define SEC 0x00
#define OP 0x04
#define TO_OP 0x01
#define TO_FULL 0x03

static const struct param_limits limits = {
	.max_recv_segment = 262144, .max_burst = 1u << 20, .first_burst = 262144, .max_outstanding_r2t = 16};
static struct login login;
static struct login_reply reply;
static uint8_t bhs[ISCSI_BHS_LEN];
static struct iscsi_access *access_rules;

static int
find_target(void *arg, struct login *l)
{
	(void)arg;
	l->access = access_ref(access_rules);
	return access_match(l->access, l->initiator, "192.0.2.7:1234", &l->entry);
}

static int
find_discovery(void *arg, struct login *l)
{
	(void)arg;
	l->access = access_ref(access_rules);
	return 0;
}

static int
find_session(void *arg, struct login *l)
{
	(void)arg;
	(void)l;
	return 0;
}

static const struct login_ops ops = {
	.find_target = find_target, .find_discovery = find_discovery, .find_session = find_session};

/* -- rules --------------------------------------------------------------- */

static struct secret *
make_secret(const char *text)
{
	struct secret *secret = secret_new(text, strlen(text));

	ck_assert_ptr_nonnull(secret);
	return secret;
}

static void
make_rules(unsigned algorithms, bool mutual, const struct iscsi_initiator *initiators, size_t n)
{
	struct iscsi_account accounts[] = {{"alice", make_secret(ALICE)}, {"bob", make_secret(BOB)}};
	struct iscsi_account ours = {"the target", make_secret(OURS)};
	struct iscsi_access_spec spec = {.chap = true,
					 .accounts = accounts,
					 .naccounts = 2,
					 .mutual = mutual ? &ours : NULL,
					 .algorithms = algorithms,
					 .listed = initiators != NULL,
					 .initiators = initiators,
					 .ninitiators = n};

	iscsi_access_unref(access_rules);
	ck_assert_int_eq(iscsi_access_new(&spec, &access_rules, NULL), 0);
	secret_unref(accounts[0].secret);
	secret_unref(accounts[1].secret);
	secret_unref(ours.secret);
}

static void
setup(void)
{
	login_init(&login, &ops, NULL, &limits);
	memset(bhs, 0, sizeof(bhs));
	bhs[0] = ISCSI_IMMEDIATE | ISCSI_LOGIN_REQUEST;
	memcpy(bhs + 8, "\x80\x01\x02\x03\x04\x05", 6);
	if (!access_rules)
		make_rules(0, true, NULL, 0);
}

static void
teardown(void)
{
	login_fini(&login);
	iscsi_access_unref(access_rules);
	access_rules = NULL;
}

static void
again(void)
{
	login_fini(&login);
	setup();
}

/* -- an initiator -------------------------------------------------------- */

static uint16_t
feed(uint8_t flags, const char *text, size_t len)
{
	bhs[1] = flags;
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

static struct {
	unsigned algorithm, id;
	uint8_t challenge[CHAP_CHALLENGE_MAX];
	size_t challenge_len;
} asked;

static void
read_challenge(void)
{
	ck_assert_uint_eq(reply.status, 0);
	ck_assert_uint_eq(reply.flags, SEC);
	ck_assert_ptr_nonnull(answer("CHAP_A"));
	asked.algorithm = (unsigned)strtoul(answer("CHAP_A"), NULL, 10);
	asked.id = (unsigned)strtoul(answer("CHAP_I"), NULL, 10);
	ck_assert_int_eq(
		chap_decode(answer("CHAP_C"), asked.challenge, sizeof(asked.challenge), &asked.challenge_len),
		0);
	ck_assert_uint_ge(asked.challenge_len, 16);
}

static void
ask(const char *list)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "CHAP_A=%s", list);

	ck_assert_uint_eq(FEED(T | SEC | TO_OP, NAMES "AuthMethod=CHAP,None\0"), 0);
	ck_assert_str_eq(answer("AuthMethod"), "CHAP");
	ck_assert_uint_eq(reply.flags, SEC); /* it stays */
	(void)feed(SEC, text, (size_t)n + 1);
}

/* The digest as somebody else computes it. */
static size_t
digest(unsigned algorithm, unsigned id, const char *secret, const uint8_t *challenge, size_t challenge_len,
       uint8_t out[EVP_MAX_MD_SIZE])
{
	static const char *const names[] = {[5] = "MD5", [6] = "SHA1", [7] = "SHA256", [8] = "SHA3-256"};
	uint8_t all[2048];
	size_t n = 0;
	unsigned len;

	all[n++] = (uint8_t)id;
	memcpy(all + n, secret, strlen(secret));
	n += strlen(secret);
	memcpy(all + n, challenge, challenge_len);
	n += challenge_len;
	ck_assert_int_eq(EVP_Digest(all, n, out, &len, EVP_get_digestbyname(names[algorithm]), NULL), 1);
	return len;
}

static void
put_response(char *text, const char *secret)
{
	uint8_t out[EVP_MAX_MD_SIZE];
	size_t len = digest(asked.algorithm, asked.id, secret, asked.challenge, asked.challenge_len, out);

	chap_encode(out, len, text);
}

static size_t
put_answer(char *text, size_t room, const char *user, const char *secret)
{
	char response[256];
	int n;

	put_response(response, secret);
	n = snprintf(text, room, "CHAP_N=%s%cCHAP_R=%s", user, 0, response);
	return (size_t)n + 1;
}

static uint16_t
respond(const char *user, const char *secret)
{
	char text[512];

	return feed(T | SEC | TO_OP, text, put_answer(text, sizeof(text), user, secret));
}

/* -- the tests ----------------------------------------------------------- */

START_TEST(digests)
{
	static const struct {
		unsigned algorithm;
		const char *hex;
	} rows[] = {
		{CHAP_MD5, "0xc104d5f96508787d7f5f5b62ab9d8e52"},
		{CHAP_SHA1, "0x2fb4e80f81e20d2bda6501c19c8d7b6b38459a89"},
		{CHAP_SHA256, "0x7b93c4daa3efdb43be3f1d04d16fabcd808896d6247303742101e57092da9e48"},
		{CHAP_SHA3_256, "0xa8b383eca8686bde5e36ec0856fc14bccc4ab548f979c7316ea80d8add61039b"},
	};
	uint8_t challenge[16], out[CHAP_DIGEST_MAX];
	char text[2 * CHAP_DIGEST_MAX + 3];

	for (unsigned i = 0; i < 16; i++)
		challenge[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int n = chap_digest(rows[i].algorithm, 0x27, (const uint8_t *)ALICE, strlen(ALICE), challenge,
				    sizeof(challenge), out);

		ck_assert_int_gt(n, 0);
		chap_encode(out, (size_t)n, text);
		ck_assert_str_eq(text, rows[i].hex);
	}
	ck_assert_int_lt(chap_digest(4, 0, challenge, 1, challenge, 1, out), 0);
	ck_assert_int_lt(chap_digest(9, 0, challenge, 1, challenge, 1, out), 0);
}
END_TEST

START_TEST(the_strongest_is_chosen)
{
	ck_assert_uint_eq(chap_choose("5", CHAP_ALL), 5);
	ck_assert_uint_eq(chap_choose("5,6,7,8", CHAP_ALL), 8);
	ck_assert_uint_eq(chap_choose("8,5", CHAP_ALL), 8);
	ck_assert_uint_eq(chap_choose("5,7,6", CHAP_ALL), 7);
	ck_assert_uint_eq(chap_choose("5,0x7,99,128,6", CHAP_ALL), 7);
	ck_assert_uint_eq(chap_choose("5,7", 1u << CHAP_MD5 | 1u << CHAP_SHA1), 5);
	ck_assert_uint_eq(chap_choose("5", 1u << CHAP_SHA256), 0);
	ck_assert_uint_eq(chap_choose("", CHAP_ALL), 0);
	ck_assert_uint_eq(chap_choose(",,", CHAP_ALL), 0);
	ck_assert_uint_eq(chap_choose("MD5", CHAP_ALL), 0);
	ck_assert_uint_eq(chap_choose("4294967301", CHAP_ALL), 0);
	ck_assert_uint_eq(chap_choose("-5", CHAP_ALL), 0);
	ck_assert_uint_eq(chap_algorithm_by_name("sha3-256"), CHAP_SHA3_256);
	ck_assert_uint_eq(chap_algorithm_by_name("sha512"), 0);
}
END_TEST

START_TEST(binary_values)
{
	static const struct {
		const char *text, *bytes;
		size_t len;
	} good[] = {
		{"0x00", "\0", 1},   {"0X0aFf", "\x0a\xff", 2}, {"0bZm9v", "foo", 3},
		{"0BZm8=", "fo", 2}, {"0bZg==", "f", 1},        {"0b+/+/", "\xfb\xff\xbf", 3},
	};
	static const char *const bad[] = {
		"",       "0",      "0x",     "0b",     "foo",     "1x00",   "0x0",
		"0x0g",   "0x 1",   "0bZ",    "0bZm8",  "0bZm9v=", "0b====", "0bZ===",
		"0bZ=9v", "0bZm 9", "0bZh==", "0bZm9=", "0c00",    "00x0",
	};
	uint8_t out[8];
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_int_eq(chap_decode(good[i].text, out, sizeof(out), &len), 0);
		ck_assert_uint_eq(len, good[i].len);
		ck_assert_mem_eq(out, good[i].bytes, len);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(chap_decode(bad[i], out, sizeof(out), &len) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(chap_decode("0x0011223344556677", out, sizeof(out), &len), 0);
	ck_assert_int_eq(chap_decode("0x001122334455667788", out, sizeof(out), &len), -EINVAL);
	ck_assert_int_eq(chap_decode("0bMTIzNDU2Nzg=", out, sizeof(out), &len), 0);
	ck_assert_int_eq(chap_decode("0bMTIzNDU2Nzg5", out, sizeof(out), &len), -EINVAL);
}
END_TEST

static const char *const lists[] = {"5", "6", "7", "8", "5,6", "8,7,6,5"};

START_TEST(one_way_with_every_algorithm)
{
	ask(lists[_i]);
	read_challenge();
	ck_assert_uint_eq(asked.challenge_len, asked.algorithm == 5 ? 16 : asked.algorithm == 6 ? 20 : 32);
	ck_assert_uint_eq(respond("alice", ALICE), 0);
	ck_assert_uint_eq(reply.flags, T | SEC | TO_OP);
	ck_assert_ptr_null(answer("CHAP_R"));
	ck_assert_str_eq(login.user, "alice");
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, "HeaderDigest=None\0"), 0);
	ck_assert(reply.full);
	/* the other account, and another challenge */
	again();
	ask(lists[_i]);
	uint8_t before[CHAP_CHALLENGE_MAX];
	memcpy(before, asked.challenge, sizeof(before));
	read_challenge();
	ck_assert_mem_ne(before, asked.challenge, asked.challenge_len);
	ck_assert_uint_eq(respond("bob", BOB), 0);
	ck_assert_str_eq(login.user, "bob");
}
END_TEST

START_TEST(an_answer_in_base64)
{
	uint8_t out[EVP_MAX_MD_SIZE];
	char text[256] = "CHAP_N=alice\0CHAP_R=0b";
	size_t at = sizeof("CHAP_N=alice\0CHAP_R=0b") - 1, len;

	ask("7");
	read_challenge();
	len = digest(asked.algorithm, asked.id, ALICE, asked.challenge, asked.challenge_len, out);
	at += (size_t)EVP_EncodeBlock((unsigned char *)text + at, out, (int)len);
	ck_assert_uint_eq(feed(T | SEC | TO_FULL, text, at + 1), 0);
	ck_assert(reply.full);
}
END_TEST

START_TEST(mutual)
{
	static const uint8_t theirs[] = "a challenge of the initiator";
	char text[1024], challenge[256];
	uint8_t want[EVP_MAX_MD_SIZE], got[CHAP_DIGEST_MAX];
	size_t n, len, got_len;

	ask(lists[_i]);
	read_challenge();
	chap_encode(theirs, sizeof(theirs), challenge);
	n = put_answer(text, sizeof(text), "alice", ALICE);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "CHAP_I=200%cCHAP_C=%s", 0, challenge) + 1;
	ck_assert_uint_eq(feed(T | SEC | TO_OP, text, n), 0);
	ck_assert_uint_eq(reply.flags, T | SEC | TO_OP);
	ck_assert_str_eq(answer("CHAP_N"), "the target");
	len = digest(asked.algorithm, 200, OURS, theirs, sizeof(theirs), want);
	ck_assert_int_eq(chap_decode(answer("CHAP_R"), got, sizeof(got), &got_len), 0);
	ck_assert_uint_eq(got_len, len);
	ck_assert_mem_eq(got, want, len);
	/* nothing of the initiator's is answered with NotUnderstood */
	ck_assert_ptr_null(answer("CHAP_C"));
}
END_TEST

START_TEST(wrong_answers)
{
	uint16_t wrong;
	uint8_t flags;

	ask("7");
	read_challenge();
	wrong = respond("alice", BOB);
	flags = reply.flags;
	ck_assert_uint_eq(wrong, ISCSI_LOGIN_AUTH_FAILED);
	ck_assert_str_eq(login.why, "wrong CHAP secret");
	ck_assert_str_eq(login.user, "");
	again();
	ask("7");
	read_challenge();
	/* who is not known is told the same */
	ck_assert_uint_eq(respond("mallory", ALICE), wrong);
	ck_assert_uint_eq(reply.flags, flags);
	ck_assert_uint_eq(reply.text_len, 0);
	again();
	ask("7");
	read_challenge();
	asked.id ^= 1;
	ck_assert_uint_eq(respond("alice", ALICE), wrong);
	again();
	ask("7");
	read_challenge();
	asked.challenge[5] ^= 1;
	ck_assert_uint_eq(respond("alice", ALICE), wrong);
	again();
	ask("5,7");
	read_challenge();
	asked.algorithm = 5; /* not what was chosen */
	ck_assert_uint_eq(respond("alice", ALICE), wrong);
	again();
	ask("7");
	read_challenge();
	/* names have a case */
	ck_assert_uint_eq(respond("Alice", ALICE), wrong);
}
END_TEST

START_TEST(reflection)
{
	char text[1024], challenge[256];
	size_t n;
	struct iscsi_account account = {"alice", make_secret(OURS)}, ours = {"us", make_secret(OURS)};
	struct iscsi_access_spec spec = {.chap = true, .accounts = &account, .naccounts = 1, .mutual = &ours};
	struct iscsi_access *never = NULL;
	struct errinfo info;

	ask("7");
	read_challenge();
	chap_encode(asked.challenge, asked.challenge_len, challenge);
	n = put_answer(text, sizeof(text), "alice", ALICE);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "CHAP_I=%u%cCHAP_C=%s", asked.id, 0, challenge) + 1;
	ck_assert_uint_eq(feed(T | SEC | TO_OP, text, n), ISCSI_LOGIN_AUTH_FAILED);
	ck_assert_uint_eq(reply.text_len, 0);
	/* and one secret for both ways is not to be had */
	ck_assert_int_eq(iscsi_access_new(&spec, &never, &info), -EINVAL);
	ck_assert_ptr_null(strstr(info.text, OURS));
	secret_unref(account.secret);
	secret_unref(ours.secret);
}
END_TEST

/* What comes in place of a good answer; %s is the good response. */
static const struct {
	const char *format; /* ';' stands for NUL */
	uint16_t status;
} malformed[] = {
	{"CHAP_N=alice;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_R=%s;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_A=7;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=;CHAP_R=%s;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=0x;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=%s00;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=%s0;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=0x00;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=0bAAAA;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=12345;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_N=alice;CHAP_R=%s;", ISCSI_LOGIN_INITIATOR_ERROR},
	{"CHAP_N=alice;CHAP_R=%s;CHAP_R=%s;", ISCSI_LOGIN_INITIATOR_ERROR},
	{"CHAP_N=alice;CHAP_R=%s;CHAP_I=1;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=%s;CHAP_C=0x0102;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=%s;CHAP_I=256;CHAP_C=0x0102;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=%s;CHAP_I=x;CHAP_C=0x0102;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=%s;CHAP_I=1;CHAP_C=0x;", ISCSI_LOGIN_AUTH_FAILED},
	{"CHAP_N=alice;CHAP_R=%s;CHAP_I=1;CHAP_C=hello;", ISCSI_LOGIN_AUTH_FAILED},
	{"AuthMethod=None;", ISCSI_LOGIN_INITIATOR_ERROR},
	{"AuthMethod=CHAP;", ISCSI_LOGIN_INITIATOR_ERROR},
	{"", ISCSI_LOGIN_AUTH_FAILED},
};

START_TEST(malformed_answers)
{
	char response[256], text[1024];
	int n;

	ask("7");
	read_challenge();
	put_response(response, ALICE);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	n = snprintf(text, sizeof(text), malformed[_i].format, response, response);
#pragma GCC diagnostic pop
	for (int i = 0; i < n; i++)
		if (text[i] == ';')
			text[i] = 0;
	ck_assert_uint_eq(feed(T | SEC | TO_OP, text, (size_t)n), malformed[_i].status);
	ck_assert(!reply.full);
	ck_assert_uint_eq(reply.text_len, 0);
}
END_TEST

START_TEST(long_values)
{
	static char text[8192];
	char name[CHAP_NAME_MAX + 2], response[256];
	size_t n;

	ask("7");
	read_challenge();
	put_response(response, ALICE);
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	n = (size_t)snprintf(text, sizeof(text), "CHAP_N=%s%cCHAP_R=%s", name, 0, response) + 1;
	ck_assert_uint_eq(feed(T | SEC | TO_OP, text, n), ISCSI_LOGIN_AUTH_FAILED);
	/* a challenge of 1024 bytes is the longest */
	for (unsigned over = 0; over < 2; over++) {
		again();
		ask("7");
		read_challenge();
		n = put_answer(text, sizeof(text), "alice", ALICE);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "CHAP_I=1%cCHAP_C=0x", 0);
		memset(text + n, 'a', 2 * (CHAP_CHALLENGE_MAX + over));
		n += 2 * (CHAP_CHALLENGE_MAX + over);
		text[n++] = 0;
		ck_assert_uint_eq(feed(T | SEC | TO_OP, text, n), over ? ISCSI_LOGIN_AUTH_FAILED : 0);
	}
}
END_TEST

/* There is no way round it. */
static const struct {
	uint8_t flags;
	const char *text;
	size_t len;
	uint16_t status;
	uint8_t ret_flags;
} ways_round[] = {
#define WAY(flags, text, status, ret)                                                                        \
	{                                                                                                    \
		flags, text, sizeof(text) - 1, status, ret                                                   \
	}
	WAY(T | OP | TO_FULL, NAMES, ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(OP, NAMES, ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(OP, NAMES "AuthMethod=None\0", ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(T | SEC | TO_OP, NAMES, ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(T | SEC | TO_FULL, NAMES, ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(T | SEC | TO_OP, NAMES "AuthMethod=None\0", ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(T | SEC | TO_FULL, NAMES "AuthMethod=None\0", ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(SEC, NAMES "AuthMethod=KRB5,SRP\0", ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(SEC, NAMES "AuthMethod=\0", ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(SEC, NAMES "AuthMethod=chap\0", ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(T | SEC | TO_FULL, NAMES "AuthMethod=None,CHAP\0", 0, SEC),
	WAY(T | SEC | TO_FULL, NAMES "AuthMethod=CHAP\0CHAP_A=7\0", 0, SEC),
	WAY(T | SEC | TO_FULL, NAMES "AuthMethod=CHAP\0CHAP_N=alice\0CHAP_R=0x00\0", 0, SEC),
	WAY(T | OP | TO_FULL, DISCOVERY, ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(T | SEC | TO_FULL, DISCOVERY "AuthMethod=None\0", ISCSI_LOGIN_AUTH_FAILED, 0),
	WAY(T | SEC | TO_FULL, DISCOVERY "AuthMethod=None,CHAP\0", 0, SEC),
};

START_TEST(no_way_round)
{
	ck_assert_uint_eq(feed(ways_round[_i].flags, ways_round[_i].text, ways_round[_i].len),
			  ways_round[_i].status);
	ck_assert_uint_eq(reply.flags, ways_round[_i].ret_flags);
	ck_assert(!reply.full && !login.authenticated);
	if (reply.status)
		return;
	/* the answer before the question */
	ck_assert_uint_ne(FEED(T | SEC | TO_FULL, "CHAP_N=alice\0CHAP_R=0x00\0"), 0);
}
END_TEST

START_TEST(asking_for_the_next_stage_all_the_time)
{
	ck_assert_uint_eq(FEED(T | SEC | TO_FULL, NAMES "AuthMethod=CHAP\0"), 0);
	ck_assert_uint_eq(reply.flags, SEC);
	ck_assert_uint_eq(FEED(T | SEC | TO_FULL, "CHAP_A=5\0"), 0);
	read_challenge();
	/* an operational stage of his own making */
	ck_assert_uint_eq(FEED(T | OP | TO_FULL, ""), ISCSI_LOGIN_INITIATOR_ERROR);
}
END_TEST

START_TEST(no_algorithm_in_common)
{
	make_rules(1u << CHAP_SHA256 | 1u << CHAP_SHA3_256, true, NULL, 0);
	again();
	ask("5,6");
	ck_assert_uint_eq(reply.status, ISCSI_LOGIN_AUTH_FAILED);
	again();
	ask("5,7");
	read_challenge();
	ck_assert_uint_eq(asked.algorithm, 7);
}
END_TEST

START_TEST(mutual_without_an_account_for_it)
{
	char text[512];
	size_t n;

	make_rules(0, false, NULL, 0);
	again();
	ask("7");
	read_challenge();
	n = put_answer(text, sizeof(text), "alice", ALICE);
	memcpy(text + n, "CHAP_I=1\0CHAP_C=0x0102", sizeof("CHAP_I=1\0CHAP_C=0x0102"));
	n += sizeof("CHAP_I=1\0CHAP_C=0x0102");
	ck_assert_uint_eq(feed(T | SEC | TO_OP, text, n), ISCSI_LOGIN_AUTH_FAILED);
}
END_TEST

START_TEST(an_account_of_ones_own)
{
	const struct iscsi_initiator initiators[] = {{.name = INITIATOR, .user = "bob"}, {.name = "*"}};

	make_rules(0, true, initiators, 2);
	again();
	ask("7");
	read_challenge();
	ck_assert_uint_eq(respond("alice", ALICE), ISCSI_LOGIN_AUTH_FAILED);
	again();
	ask("7");
	read_challenge();
	ck_assert_uint_eq(respond("bob", BOB), 0);
}
END_TEST

START_TEST(rules_with_no_account_let_nobody_in)
{
	const struct iscsi_access_spec spec = {.chap = true};

	iscsi_access_unref(access_rules);
	ck_assert_int_eq(iscsi_access_new(&spec, &access_rules, NULL), 0);
	again();
	ask("7");
	read_challenge();
	ck_assert_uint_eq(respond("alice", ALICE), ISCSI_LOGIN_AUTH_FAILED);
}
END_TEST

/* -- the list of initiators ---------------------------------------------- */

START_TEST(networks)
{
	static const struct {
		const char *network, *address;
		bool in;
	} rows[] = {
		{"10.0.0.0/8", "10.255.1.2:3260", true},
		{"10.0.0.0/8", "11.0.0.1:3260", false},
		{"192.0.2.7", "192.0.2.7:1", true},
		{"192.0.2.7", "192.0.2.8:1", false},
		{"192.0.2.4/30", "192.0.2.7:1", true},
		{"192.0.2.4/30", "192.0.2.8:1", false},
		{"0.0.0.0/0", "203.0.113.9:1", true},
		{"0.0.0.0/0", "[2001:db8::1]:1", false},
		{"10.0.0.0/8", "[::ffff:10.1.1.1]:9", true},
		{"2001:db8::/32", "[2001:db8:1::2]:3260", true},
		{"2001:db8::/32", "[2001:db9::2]:3260", false},
		{"2001:db8::/33", "[2001:db8:8000::]:3260", false},
		{"2001:db8::1", "[2001:db8::1]:1", true},
		{"::1", "[::1]:3260", true},
		{"::/0", "[2001:db8::1]:1", true},
	};
	static const char *const bad[] = {"",
					  "10.0.0.0/33",
					  "10.0.0/8",
					  "10.0.0.0/",
					  "10.0.0.0/-1",
					  "10.0.0.0/08",
					  "10.0.0.0/8x",
					  "host",
					  "2001:db8::/129",
					  "[::1]",
					  "10.0.0.1:3260",
					  "10.0.0.0/8/8",
					  "10.0.0.0/4294967304"};
	struct access_network network;
	struct access_address address;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ck_assert_int_eq(access_parse_network(rows[i].network, &network), 0);
		ck_assert_int_eq(access_parse_address(rows[i].address, &address), 0);
		ck_assert_msg(access_in_network(&network, &address) == rows[i].in, "%s in %s",
			      rows[i].address, rows[i].network);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(access_parse_network(bad[i], &network) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(access_parse_network("10.1.0.0/8", &network), -ERANGE);
	ck_assert_int_eq(access_parse_network("2001:db8::1/64", &network), -ERANGE);
	ck_assert_int_eq(access_parse_address("?", &address), -EINVAL);
}
END_TEST

START_TEST(the_most_exact_row_holds)
{
	static struct scsi_view views[6];
	const struct iscsi_initiator initiators[] = {
		{.name = "*", .network = "10.0.0.0/8", .view = &views[0]},
		{.name = "iqn.a:*", .view = &views[1]},
		{.name = "iqn.a:host*", .view = &views[2]},
		{.name = "IQN.A:host1", .network = "10.0.0.0/8", .view = &views[3]},
		{.name = "iqn.a:host1", .network = "10.9.0.0/16", .view = &views[4]},
		{.name = "iqn.b:fixed", .network = "192.0.2.0/24", .view = &views[5]},
	};
	static const struct {
		const char *initiator, *peer;
		int rc;
		unsigned row;
	} rows[] = {
		{"iqn.a:host1", "10.9.1.1:1", 0, 4},
		{"iqn.a:host1", "10.8.1.1:1", 0, 3},
		{"iqn.a:host1", "203.0.113.1:1", 0, 2},
		{"iqn.a:host2", "10.9.1.1:1", 0, 2},
		{"iqn.a:x", "10.9.1.1:1", 0, 1},
		{"iqn.c:x", "10.9.1.1:1", 0, 0},
		{"iqn.c:x", "203.0.113.1:1", -ENOENT, 0},
		{"iqn.b:fixed", "192.0.2.9:1", 0, 5},
		{"iqn.b:fixed", "10.0.0.1:1", 0, 0},
		{"iqn.b:fixed", "203.0.113.1:1", -EPERM, 0},
		{"iqn.b:fixed2", "192.0.2.9:1", -ENOENT, 0},
		{"iqn.a:host1", "?", 0, 2},
	};
	const struct access_entry *entry;

	for (unsigned i = 0; i < ARRAY_SIZE(views); i++)
		views[i].lun[0] = (uint16_t)i;
	make_rules(0, false, initiators, ARRAY_SIZE(initiators));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ck_assert_msg(access_match(access_rules, rows[i].initiator, rows[i].peer, &entry) ==
				      rows[i].rc,
			      "%s from %s", rows[i].initiator, rows[i].peer);
		if (!rows[i].rc)
			ck_assert_uint_eq(entry->view.lun[0], rows[i].row);
	}
	/* an empty list is a list; none is everybody's */
	make_rules(0, false, initiators, 0);
	ck_assert_int_eq(access_match(access_rules, "iqn.a:host1", "10.9.1.1:1", &entry), -ENOENT);
	make_rules(0, false, NULL, 0);
	ck_assert_int_eq(access_match(access_rules, "iqn.a:host1", "10.9.1.1:1", &entry), 0);
	ck_assert_ptr_null(entry);
	ck_assert_int_eq(access_match(NULL, "iqn.a:host1", "10.9.1.1:1", &entry), 0);
}
END_TEST

START_TEST(who_is_not_in_the_list)
{
	const struct iscsi_initiator none[] = {{.name = "iqn.other"}},
				     elsewhere[] = {{.name = INITIATOR, .network = "10.0.0.0/8"}};

	make_rules(0, true, none, 1);
	again();
	ck_assert_uint_eq(FEED(SEC, NAMES "AuthMethod=CHAP\0"), ISCSI_LOGIN_NOT_FOUND);
	make_rules(0, true, elsewhere, 1);
	again();
	ck_assert_uint_eq(FEED(SEC, NAMES "AuthMethod=CHAP\0"), ISCSI_LOGIN_FORBIDDEN);
	again();
	ck_assert_uint_eq(FEED(SEC, DISCOVERY "AuthMethod=CHAP\0"), 0);
}
END_TEST

START_TEST(lists_that_cannot_be)
{
	static const char *const names[] = {"", "a b", "iqn.*.x", "**"};
	struct errinfo info;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		ck_assert_msg(iscsi_initiator_check(names[i], NULL, &info) == -EINVAL, "%s", names[i]);
	ck_assert_int_eq(iscsi_initiator_check("*", NULL, &info), 0);
	ck_assert_int_eq(iscsi_initiator_check("iqn.x:*", "10.0.0.0/8", &info), 0);
	ck_assert_int_eq(iscsi_initiator_check("iqn.x:y", "10.0.0.1/8", &info), -EINVAL);
	ck_assert_ptr_nonnull(strstr(info.text, "first address"));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("chap");
	TCase *tc = tcase_create("chap");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, digests);
	tcase_add_test(tc, the_strongest_is_chosen);
	tcase_add_test(tc, binary_values);
	tcase_add_loop_test(tc, one_way_with_every_algorithm, 0, ARRAY_SIZE(lists));
	tcase_add_test(tc, an_answer_in_base64);
	tcase_add_loop_test(tc, mutual, 0, ARRAY_SIZE(lists));
	tcase_add_test(tc, wrong_answers);
	tcase_add_test(tc, reflection);
	tcase_add_loop_test(tc, malformed_answers, 0, ARRAY_SIZE(malformed));
	tcase_add_test(tc, long_values);
	tcase_add_loop_test(tc, no_way_round, 0, ARRAY_SIZE(ways_round));
	tcase_add_test(tc, asking_for_the_next_stage_all_the_time);
	tcase_add_test(tc, no_algorithm_in_common);
	tcase_add_test(tc, mutual_without_an_account_for_it);
	tcase_add_test(tc, an_account_of_ones_own);
	tcase_add_test(tc, rules_with_no_account_let_nobody_in);
	tcase_add_test(tc, networks);
	tcase_add_test(tc, the_most_exact_row_holds);
	tcase_add_test(tc, who_is_not_in_the_list);
	tcase_add_test(tc, lists_that_cannot_be);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
