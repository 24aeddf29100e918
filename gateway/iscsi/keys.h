/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * key=value text, RFC 7143 clause 6.1: reading it, gathering it over several
 * PDUs (C bit), and building answers that may take several PDUs themselves.
 * Everything has a maximum.
 *
 * Threads: any (pure; a textbuf is its owner's).
 */
#ifndef LUNGATE_GATEWAY_ISCSI_KEYS_H
#define LUNGATE_GATEWAY_ISCSI_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define KEYS_NAME_MAX 63 /* 6.1: key-name */
#define KEYS_VALUE_MAX 8192
#define KEYS_PAIRS_MAX 256 /* of one text */

/** A growing text with an upper bound. */
struct textbuf {
	char *data;
	size_t len, room, max;
	bool full; /* something did not fit, or memory was short: sticky */
};
void textbuf_init(struct textbuf *buf, size_t max);
void textbuf_fini(struct textbuf *buf);
void textbuf_reset(struct textbuf *buf);
/** -EMSGSIZE over the maximum, -ENOMEM. */
MUST_CHECK int textbuf_add(struct textbuf *buf, const void *p, size_t n);
/** Take the first n bytes away. */
void textbuf_drop(struct textbuf *buf, size_t n);

/** Append "key=value" and its NUL; a failure shows in buf->full. */
void keys_add(struct textbuf *buf, const char *key, const char *value);
void keys_addf(struct textbuf *buf, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct key_pair {
	const char *key, *value;
};

struct keys {
	struct key_pair pair[KEYS_PAIRS_MAX];
	unsigned n;
};

/** Cut a complete text into pairs in place.  0, or LG_EPROTO: a pair without '=', a key with a character that
 * none may have, one that is too long or too many, a last pair that is cut off. */
MUST_CHECK int keys_parse(char *text, size_t len, struct keys *ret);
/** The value, or NULL. */
const char *keys_find(const struct keys *keys, const char *key);

/** numerical-value of 6.1: decimal, or hexadecimal with 0x; 0 or -EINVAL. */
MUST_CHECK int keys_number(const char *text, uint64_t *ret);
/** boolean-value: "Yes" or "No"; 0 or -EINVAL. */
MUST_CHECK int keys_bool(const char *text, bool *ret);
/** The n-th value of a list into buf; false past the end, or when it does not fit. */
bool keys_list_at(const char *list, unsigned n, char *buf, size_t room);

#endif
