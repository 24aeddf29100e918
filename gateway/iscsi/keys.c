/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/iscsi/keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"

void
textbuf_init(struct textbuf *buf, size_t max)
{
	*buf = (struct textbuf){.max = max};
}

void
textbuf_fini(struct textbuf *buf)
{
	free(buf->data);
	textbuf_init(buf, buf->max);
}

void
textbuf_reset(struct textbuf *buf)
{
	buf->len = 0;
	buf->full = false;
}

int
textbuf_add(struct textbuf *buf, const void *p, size_t n)
{
	if (!n)
		return 0;
	if (n > buf->max - buf->len) {
		buf->full = true;
		return -EMSGSIZE;
	}
	if (buf->len + n > buf->room) {
		size_t room = min_of(max_of(buf->len + n, buf->room * 2), buf->max);
		char *data = realloc(buf->data, room);

		if (!data) {
			buf->full = true;
			return -ENOMEM;
		}
		buf->data = data;
		buf->room = room;
	}
	memcpy(buf->data + buf->len, p, n);
	buf->len += n;
	return 0;
}

void
textbuf_drop(struct textbuf *buf, size_t n)
{
	n = min_of(n, buf->len);
	if (buf->len > n)
		memmove(buf->data, buf->data + n, buf->len - n);
	buf->len -= n;
}

void
keys_add(struct textbuf *buf, const char *key, const char *value)
{
	/* what did not fit is seen in buf->full */
	if (textbuf_add(buf, key, strlen(key)) < 0 || textbuf_add(buf, "=", 1) < 0 ||
	    textbuf_add(buf, value, strlen(value) + 1) < 0)
		buf->full = true;
}

void
keys_addf(struct textbuf *buf, const char *key, const char *fmt, ...)
{
	char value[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(value))
		buf->full = true;
	else
		keys_add(buf, key, value);
}

static bool
key_valid(const char *key, size_t len)
{
	if (!len || len > KEYS_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = key[i];

		/* standard-label of 6.1, and the '#' and '/' of the X#, Y#, Z# names and of iSNS */
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '-' || c == '+' || c == '@' || c == '_' || c == '/' || c == '#'))
			return false;
	}
	return true;
}

int
keys_parse(char *text, size_t len, struct keys *ret)
{
	ret->n = 0;
	while (len) {
		char *end = memchr(text, 0, len), *eq;

		if (end == text) {
			/* some initiators count their padding */
			text++;
			len--;
			continue;
		}
		if (!end)
			return LG_EPROTO;
		eq = memchr(text, '=', (size_t)(end - text));
		if (!eq || !key_valid(text, (size_t)(eq - text)) || (size_t)(end - eq) > KEYS_VALUE_MAX ||
		    ret->n == KEYS_PAIRS_MAX)
			return LG_EPROTO;
		*eq = 0;
		ret->pair[ret->n++] = (struct key_pair){.key = text, .value = eq + 1};
		len -= (size_t)(end + 1 - text);
		text = end + 1;
	}
	return 0;
}

const char *
keys_find(const struct keys *keys, const char *key)
{
	for (unsigned i = 0; i < keys->n; i++) {
		if (!strcmp(keys->pair[i].key, key))
			return keys->pair[i].value;
	}
	return NULL;
}

int
keys_number(const char *text, uint64_t *ret)
{
	uint64_t v = 0;
	unsigned base = 10;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		unsigned digit;

		if (*text >= '0' && *text <= '9')
			digit = (unsigned)(*text - '0');
		else if (base == 16 && (*text | 0x20) >= 'a' && (*text | 0x20) <= 'f')
			digit = (unsigned)((*text | 0x20) - 'a') + 10;
		else
			return -EINVAL;
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)digit, &v))
			return -EINVAL;
	}
	*ret = v;
	return 0;
}

int
keys_bool(const char *text, bool *ret)
{
	if (strcmp(text, "Yes") != 0 && strcmp(text, "No") != 0)
		return -EINVAL;
	*ret = text[0] == 'Y';
	return 0;
}

bool
keys_list_at(const char *list, unsigned n, char *buf, size_t room)
{
	size_t len;

	for (; n; n--) {
		list = strchr(list, ',');
		if (!list)
			return false;
		list++;
	}
	len = strcspn(list, ",");
	if (len >= room)
		return false;
	memcpy(buf, list, len);
	buf[len] = 0;
	return true;
}
