/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CHAP, RFC 1994 and RFC 7143 12.1.3: one way, and mutual.
 *
 * Threads: any (pure; a struct chap is its login's).
 */
#ifndef LUNGATE_GATEWAY_ISCSI_CHAP_H
#define LUNGATE_GATEWAY_ISCSI_CHAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/** The numbers of CHAP_A; a greater one is stronger. */
enum chap_algorithm {
	CHAP_MD5 = 5,
	CHAP_SHA1 = 6,
	CHAP_SHA256 = 7,
	CHAP_SHA3_256 = 8,
};
#define CHAP_ALL (1u << CHAP_MD5 | 1u << CHAP_SHA1 | 1u << CHAP_SHA256 | 1u << CHAP_SHA3_256)
#define CHAP_DIGEST_MAX 32
#define CHAP_CHALLENGE_MAX 1024 /* 12.1.3 */
#define CHAP_NAME_MAX 255

enum chap_state {
	CHAP_WAIT_ALGORITHM, /* AuthMethod is settled */
	CHAP_WAIT_ANSWER,    /* our challenge is out */
	CHAP_OVER,
};

struct chap {
	enum chap_state state;
	enum chap_algorithm algorithm;
	uint8_t id;
	uint8_t challenge[CHAP_DIGEST_MAX];
	size_t challenge_len;
};

/** "md5", "sha1", "sha256", "sha3-256"; 0 when there is none of that name. */
unsigned chap_algorithm_by_name(const char *name);
/** The strongest of a CHAP_A list that is allowed (1 << number) and that libcrypto has; 0: none. */
unsigned chap_choose(const char *list, unsigned allowed);

/** digest(id | secret | challenge) into ret; its length, or negative. */
int chap_digest(unsigned algorithm, uint8_t id, const uint8_t *secret, size_t secret_len, const uint8_t *challenge,
		size_t challenge_len, uint8_t ret[CHAP_DIGEST_MAX]);

/** "0x..." or "0b..." (6.1: large-binary-value); 0 or -EINVAL. */
int chap_decode(const char *text, uint8_t *ret, size_t room, size_t *ret_len);
/** As "0x..."; ret of 2 * len + 3. */
void chap_encode(const uint8_t *p, size_t len, char *ret);

struct login;
struct keys;
/** The keys of one request.  1: the initiator has proved who it is, and our own answer, where asked for, is in login->out;
 *  0: go on; negative: it failed, login->why says why. */
int chap_step(struct login *login, const struct keys *keys);

#endif
