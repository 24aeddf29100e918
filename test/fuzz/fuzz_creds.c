/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any text as what keys come in: a credentials file in either form, and the answer of a metadata service.  First
 * byte: which.  A key that is taken can go into a header, and words about one that is not tell nothing of it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "stores/object/s3/creds_int.h"
#include "test/fuzz/fuzz.h"

static void
good(const struct s3_key *key)
{
	assert(key->access[0] && key->secret[0] && s3_key_valid(key));
	assert(memchr(key->access, '\0', sizeof(key->access)) &&
	       memchr(key->secret, '\0', sizeof(key->secret)) &&
	       memchr(key->token, '\0', sizeof(key->token)));
	assert(!strpbrk(key->access, "\r\n \t") && !strpbrk(key->secret, "\r\n \t") &&
	       !strpbrk(key->token, "\r\n \t"));
	assert(key->expires >= 0);
}

/* Not one of the words that a message consists of anyway. */
static bool
looks_secret(const char *secret)
{
	size_t n = strlen(secret);

	return n >= 16 && strspn(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") == n;
}

static void
try_file(const char *text)
{
	struct errinfo info = {{0}};
	struct s3_key *key = s3_key_new("fuzz");
	int rc;

	assert(key);
	rc = s3_key_from_ini(text, "default", key, &info);
	assert(rc == 0 || rc == 1 || (rc == LG_ECONFIG && info.text[0]));
	if (rc == 1)
		good(key);
	assert(rc != LG_ECONFIG || !looks_secret(key->secret) || !strstr(info.text, key->secret));
	s3_key_unref(key);
}

static void
try_line(const char *text)
{
	struct s3_key *key = s3_key_new("fuzz");

	assert(key);
	if (s3_key_from_line(text, key))
		good(key);
	s3_key_unref(key);
}

static void
try_json(const char *text, size_t n)
{
	struct errinfo info = {{0}};
	struct s3_key *key = NULL;
	int rc = s3_key_from_json(text, n, "fuzz", &key, &info);

	assert(rc == 1 || (rc == -EACCES && !key && info.text[0]));
	if (rc == 1)
		good(key);
	s3_key_unref(key);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	text = malloc(size);
	assert(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0] % 4) {
	case 0:
		try_file(text);
		break;
	case 1:
		try_line(text);
		break;
	case 2:
		try_json(text, size - 1);
		break;
	default:
		(void)s3_time_parse(text);
		break;
	}
	free(text);
	return 0;
}
