/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any CHAP answers, to a login that asks for CHAP.
 *
 * An input is a byte of rules (1 no mutual account, 2 a list of initiators with an account of its own, 4 discovery,
 * 8 SHA-256 alone), then a row of requests: flags (byte 1 of the header), length (2, little-endian), text.  In the text
 * these bytes stand for what only who knows the challenge can write:
 *   1 the right answer in hexadecimal   2 our challenge   3 the right answer in Base64
 *
 * What must hold: nobody is let in who did not give the right answer; we answer only who was let in, and only when there
 * is something to answer with; no secret goes out; a value that can be read is the same when it is written and
 * read again.
 */
#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/util.h"
#include "gateway/iscsi/login.h"
#include "test/fuzz/fuzz.h"

#define ALICE "secret-of-alice!"
#define OURS "secret-of-the-target!" /* no key has a '!', so it is not echoed */
#define NAMES "InitiatorName=iqn.a:b\0TargetName=iqn.t\0AuthMethod=CHAP\0"
#define DISCOVERY "InitiatorName=iqn.a:b\0SessionType=Discovery\0AuthMethod=CHAP\0"
#define TEXT_MAX 8192u

static struct iscsi_access *rules;

static int
find_target(void *arg, struct login *login)
{
	(void)arg;
	login->access = access_ref(rules);
	return access_match(rules, login->initiator, "192.0.2.7:1", &login->entry);
}

static int
find_discovery(void *arg, struct login *login)
{
	(void)arg;
	login->access = access_ref(rules);
	return 0;
}

static int
find_session(void *arg, struct login *login)
{
	(void)arg;
	(void)login;
	return 0;
}

static const struct login_ops ops = {
	.find_target = find_target, .find_discovery = find_discovery, .find_session = find_session};

static void
make_rules(uint8_t how)
{
	const struct iscsi_account alice = {"alice", secret_new(ALICE, strlen(ALICE))},
				   ours = {"us", secret_new(OURS, strlen(OURS))};
	const struct iscsi_initiator initiators[] = {{.name = "iqn.a:*", .user = "alice"}, {.name = "*"}};
	const struct iscsi_access_spec spec = {.chap = true,
					       .accounts = &alice,
					       .naccounts = 1,
					       .mutual = how & 1 ? NULL : &ours,
					       .listed = how & 2,
					       .initiators = initiators,
					       .ninitiators = 2,
					       .algorithms = how & 8 ? 1u << CHAP_SHA256 : 0};

	if (iscsi_access_new(&spec, &rules, NULL))
		abort();
	secret_unref(alice.secret);
	secret_unref(ours.secret);
}

/* -- what stands in the text --------------------------------------------- */

static bool gave_answer;

static size_t
put_answer(const struct login *login, bool base64, char *out)
{
	uint8_t digest[CHAP_DIGEST_MAX];
	int n = chap_digest(login->chap.algorithm, login->chap.id, (const uint8_t *)ALICE, strlen(ALICE),
			    login->chap.challenge, login->chap.challenge_len, digest);

	if (n <= 0)
		return 0;
	gave_answer = true;
	if (!base64) {
		chap_encode(digest, (size_t)n, out);
		return strlen(out);
	}
	memcpy(out, "0b", 2);
	return 2 + (size_t)EVP_EncodeBlock((unsigned char *)out + 2, digest, n);
}

static size_t
expand(const struct login *login, const uint8_t *data, size_t n, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < n && len < TEXT_MAX - 128; i++) {
		switch (data[i]) {
		case 1:
		case 3:
			len += put_answer(login, data[i] == 3, out + len);
			break;
		case 2:
			chap_encode(login->chap.challenge, login->chap.challenge_len, out + len);
			len += strlen(out + len);
			break;
		default:
			out[len++] = (char)data[i];
		}
	}
	return len;
}

/* -- what must hold ------------------------------------------------------ */

static bool
has(const struct login_reply *reply, const char *word, size_t len)
{
	return reply->text_len && memmem(reply->text, reply->text_len, word, len);
}

static void
check(const struct login *login, const struct login_reply *reply)
{
	assert(!login->authenticated || gave_answer);
	assert(!login->authenticated || !strcmp(login->user, "alice"));
	assert(!reply->full || login->authenticated);
	assert(!(reply->flags & ISCSI_LOGIN_TRANSIT) || login->authenticated);
	assert(!has(reply, "\0CHAP_R=0x", 10) || (login->authenticated && rules->mutual));
	assert(!has(reply, ALICE, strlen(ALICE)) && !has(reply, OURS, strlen(OURS)));
	assert(!reply->status || (!reply->full && !reply->text_len));
	assert(login->chap.challenge_len <= CHAP_DIGEST_MAX);
}

static void
check_value(const char *text)
{
	uint8_t bytes[300], again[300];
	char written[2 * sizeof(bytes) + 3];
	size_t len, again_len;

	if (chap_decode(text, bytes, sizeof(bytes), &len) < 0)
		return;
	assert(len && len <= sizeof(bytes));
	chap_encode(bytes, len, written);
	assert(chap_decode(written, again, sizeof(again), &again_len) == 0);
	assert(again_len == len && !memcmp(bytes, again, len));
}

static void
check_values(char *text, size_t len)
{
	static struct keys keys;

	if (keys_parse(text, len, &keys) < 0)
		return;
	for (unsigned i = 0; i < keys.n; i++) {
		unsigned chosen = chap_choose(keys.pair[i].value, CHAP_ALL);

		check_value(keys.pair[i].value);
		assert(!chosen || (1u << chosen & CHAP_ALL));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct param_limits limits = {
		.max_recv_segment = 8192, .max_burst = 8192, .first_burst = 8192, .max_outstanding_r2t = 1};
	static char text[TEXT_MAX];
	uint8_t bhs[ISCSI_BHS_LEN] = {ISCSI_IMMEDIATE | ISCSI_LOGIN_REQUEST};
	struct login_reply reply;
	struct login login;

	if (!size)
		return 0;
	make_rules(data[0]);
	gave_answer = false;
	login_init(&login, &ops, NULL, &limits);
	if (data[0] & 4)
		login_request(&login, bhs, DISCOVERY, sizeof(DISCOVERY) - 1, &reply);
	else
		login_request(&login, bhs, NAMES, sizeof(NAMES) - 1, &reply);
	assert(!reply.status && !login.authenticated);
	data++;
	size--;
	while (size >= 3 && !reply.status && !reply.full) {
		size_t n = min_of((size_t)get_le16(data + 1), size - 3), len;

		bhs[1] = data[0];
		len = expand(&login, data + 3, n, text);
		login_request(&login, bhs, text, (uint32_t)len, &reply);
		check(&login, &reply);
		check_values(text, len);
		data += 3 + n;
		size -= 3 + n;
	}
	login_fini(&login);
	iscsi_access_unref(rules);
	rules = NULL;
	return 0;
}
