/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CHAP as a method of the login's security stage, RFC 7143 12.1.3:
 *
 *   WAIT_ALGORITHM   CHAP_A=list                       -> CHAP_A, CHAP_I, CHAP_C
 *   WAIT_ANSWER      CHAP_N, CHAP_R [CHAP_I, CHAP_C]   -> [CHAP_N, CHAP_R], OVER
 *
 * What an initiator can find out: nothing about which accounts there are.  A name
 * that is unknown, or that is not this initiator's, is answered for with a secret made at random: the same
 * steps, the same status.
 *
 * Reflection: a challenge equal to ours is refused, and an account never has the secret of the
 * target itself (access.c), so what we answer is no answer to what we ask.
 *
 * Failure: ends the login with status 0201.  A random source that fails, too.
 */
#include "gateway/iscsi/chap.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "common/util.h"
#include "gateway/iscsi/access.h"
#include "gateway/iscsi/login.h"

static const struct {
	enum chap_algorithm number;
	const char *name;
	const EVP_MD *(*md)(void);
} algorithms[] = {
	{CHAP_SHA3_256, "sha3-256", EVP_sha3_256},
	{CHAP_SHA256, "sha256", EVP_sha256},
	{CHAP_SHA1, "sha1", EVP_sha1},
	{CHAP_MD5, "md5", EVP_md5},
};

unsigned
chap_algorithm_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (!strcmp(algorithms[i].name, name))
			return algorithms[i].number;
	return 0;
}

int
chap_digest(unsigned algorithm, uint8_t id, const uint8_t *secret, size_t secret_len,
	    const uint8_t *challenge, size_t challenge_len, uint8_t ret[CHAP_DIGEST_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *md = NULL;
	unsigned len = 0;
	int ok;

	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (algorithms[i].number == algorithm)
			md = algorithms[i].md();
	/* a libcrypto may be configured without some of them */
	ok = ctx && md && EVP_DigestInit_ex(ctx, md, NULL) == 1 && EVP_DigestUpdate(ctx, &id, 1) == 1 &&
	     EVP_DigestUpdate(ctx, secret, secret_len) == 1 &&
	     EVP_DigestUpdate(ctx, challenge, challenge_len) == 1 && EVP_DigestFinal_ex(ctx, ret, &len) == 1;
	EVP_MD_CTX_free(ctx);
	return ok ? (int)len : -ENOTSUP;
}

static bool
available(unsigned algorithm)
{
	uint8_t digest[CHAP_DIGEST_MAX];

	return chap_digest(algorithm, 0, digest, 0, digest, 0, digest) > 0;
}

unsigned
chap_choose(const char *list, unsigned allowed)
{
	char word[32];
	unsigned offered = 0, n = 0;
	uint64_t number;

	for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 1 : NULL, n++)
		if (keys_list_at(list, n, word, sizeof(word)) && !keys_number(word, &number) && number < 32)
			offered |= 1u << number;
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (offered & allowed & 1u << algorithms[i].number && available(algorithms[i].number))
			return algorithms[i].number;
	return 0;
}

/* -- binary values, 6.1 -------------------------------------------------- */

static int
decode_hex(const char *text, uint8_t *ret, size_t room, size_t *ret_len)
{
	size_t n = strlen(text);

	if (!n || n % 2 || n / 2 > room)
		return -EINVAL;
	for (size_t i = 0; i < n; i += 2) {
		int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		ret[i / 2] = (uint8_t)(high << 4 | low);
	}
	*ret_len = n / 2;
	return 0;
}

static int
base64_digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static int
decode_base64(const char *text, uint8_t *ret, size_t room, size_t *ret_len)
{
	size_t n = strlen(text), pad = 0, len = 0;
	uint32_t bits = 0;

	if (!n || n % 4)
		return -EINVAL;
	while (pad < 2 && text[n - 1 - pad] == '=')
		pad++;
	if (n / 4 * 3 - pad > room)
		return -EINVAL;
	for (size_t i = 0; i < n - pad; i++) {
		int digit = base64_digit(text[i]);

		if (digit < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)digit;
		if (i % 4)
			ret[len++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	/* bits of the last digit that belong to no byte */
	if (bits & ((1u << 2 * pad) - 1))
		return -EINVAL;
	*ret_len = len;
	return 0;
}

int
chap_decode(const char *text, uint8_t *ret, size_t room, size_t *ret_len)
{
	if (text[0] != '0' || !text[1])
		return -EINVAL;
	switch (text[1] | 0x20) {
	case 'x':
		return decode_hex(text + 2, ret, room, ret_len);
	case 'b':
		return decode_base64(text + 2, ret, room, ret_len);
	default:
		return -EINVAL;
	}
}

void
chap_encode(const uint8_t *p, size_t len, char *ret)
{
	*ret++ = '0';
	*ret++ = 'x';
	(void)hex_format(p, len, ret);
}

/* -- the exchange -------------------------------------------------------- */

static int
refuse(struct login *login, const char *why)
{
	login->why = why;
	return -EACCES;
}

static void
add_binary(struct textbuf *out, const char *key, const uint8_t *p, size_t len)
{
	char text[2 * CHAP_DIGEST_MAX + 3];

	chap_encode(p, len, text);
	keys_add(out, key, text);
}

static int
challenge(struct login *login, const struct keys *keys)
{
	struct chap *chap = &login->chap;
	const char *list = keys_find(keys, "CHAP_A");
	uint8_t digest[CHAP_DIGEST_MAX];
	unsigned algorithm;
	int len;

	if (!list)
		return refuse(login, "CHAP without CHAP_A");
	algorithm = chap_choose(list, login->access->algorithms);
	if (!algorithm)
		return refuse(login, "no CHAP algorithm in common");
	chap->algorithm = (enum chap_algorithm)algorithm;
	/* as long as an answer, so that guessing either is as hard */
	len = chap_digest(algorithm, 0, digest, 0, digest, 0, digest);
	if (len <= 0 || RAND_bytes(chap->challenge, len) != 1 || RAND_bytes(&chap->id, 1) != 1)
		return refuse(login, "no random numbers");
	chap->challenge_len = (size_t)len;
	keys_addf(&login->out, "CHAP_A", "%u", algorithm);
	keys_addf(&login->out, "CHAP_I", "%u", chap->id);
	add_binary(&login->out, "CHAP_C", chap->challenge, chap->challenge_len);
	chap->state = CHAP_WAIT_ANSWER;
	return 0;
}

/* Is `response` the answer to our challenge? */
static int
verify(struct login *login, const char *name, const char *response)
{
	const struct chap *chap = &login->chap;
	const struct access_account *account;
	const struct secret *secret;
	uint8_t theirs[CHAP_DIGEST_MAX], ours[CHAP_DIGEST_MAX];
	size_t theirs_len;
	int len;
	bool same;

	if (!*name || strlen(name) > CHAP_NAME_MAX)
		return refuse(login, "CHAP_N is empty or too long");
	if (chap_decode(response, theirs, sizeof(theirs), &theirs_len) < 0)
		return refuse(login, "CHAP_R is malformed");
	account = access_find_account(login->access, login->entry, name);
	secret = account ? account->secret : login->access->decoy;
	len = chap_digest(chap->algorithm, chap->id, secret_bytes(secret), secret_len(secret),
			  chap->challenge, chap->challenge_len, ours);
	if (len <= 0 || theirs_len != (size_t)len)
		return refuse(login, "CHAP_R is not as long as its algorithm's digest");
	same = CRYPTO_memcmp(theirs, ours, (size_t)len) == 0;
	if (!account)
		return refuse(login, "no such CHAP account for this initiator");
	if (!same)
		return refuse(login, "wrong CHAP secret");
	memcpy(login->user, name, strlen(name) + 1);
	return 0;
}

/* The initiator wants to know who we are. */
static int
respond(struct login *login, const char *id_text, const char *challenge_text)
{
	const struct chap *chap = &login->chap;
	const struct access_account *mutual = login->access->mutual;
	uint8_t theirs[CHAP_CHALLENGE_MAX], digest[CHAP_DIGEST_MAX];
	size_t theirs_len;
	uint64_t id;
	int len;

	if (!id_text || !challenge_text)
		return refuse(login, "one of CHAP_I and CHAP_C without the other");
	if (keys_number(id_text, &id) < 0 || id > UINT8_MAX)
		return refuse(login, "CHAP_I is malformed");
	if (chap_decode(challenge_text, theirs, sizeof(theirs), &theirs_len) < 0)
		return refuse(login, "CHAP_C is malformed");
	/* 9.2.1: our own challenge, sent back to have it answered */
	if (theirs_len == chap->challenge_len && CRYPTO_memcmp(theirs, chap->challenge, theirs_len) == 0)
		return refuse(login, "our own CHAP challenge came back");
	if (!mutual)
		return refuse(login, "mutual CHAP is asked for, and there is no account for it");
	len = chap_digest(chap->algorithm, (uint8_t)id, secret_bytes(mutual->secret),
			  secret_len(mutual->secret), theirs, theirs_len, digest);
	if (len <= 0)
		return refuse(login, "the CHAP algorithm is gone");
	keys_add(&login->out, "CHAP_N", mutual->user);
	add_binary(&login->out, "CHAP_R", digest, (size_t)len);
	return 0;
}

static int
check_answer(struct login *login, const struct keys *keys)
{
	const char *name = keys_find(keys, "CHAP_N"), *response = keys_find(keys, "CHAP_R");
	const char *id = keys_find(keys, "CHAP_I"), *their_challenge = keys_find(keys, "CHAP_C");
	int rc;

	if (!name || !response)
		return refuse(login, "CHAP without CHAP_N and CHAP_R");
	rc = verify(login, name, response);
	if (!rc && (id || their_challenge))
		rc = respond(login, id, their_challenge);
	if (rc)
		return rc;
	login->chap.state = CHAP_OVER;
	return 1;
}

/* 6.3: no key twice. */
static bool
has_twice(const struct keys *keys)
{
	for (unsigned i = 0; i < keys->n; i++)
		for (unsigned k = i + 1; k < keys->n && !strncmp(keys->pair[i].key, "CHAP_", 5); k++)
			if (!strcmp(keys->pair[i].key, keys->pair[k].key))
				return true;
	return false;
}

int
chap_step(struct login *login, const struct keys *keys)
{
	if (has_twice(keys))
		return LG_EPROTO;
	switch (login->chap.state) {
	case CHAP_WAIT_ALGORITHM:
		return challenge(login, keys);
	case CHAP_WAIT_ANSWER:
		return check_answer(login, keys);
	default:
		return refuse(login, "CHAP goes on although it is over");
	}
}
