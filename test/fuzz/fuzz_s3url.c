/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any text as the URL of a bucket, as a credentials file, and as the headers of an answer.  First byte:
 * which.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "stores/object/s3/ini.h"
#include "stores/object/s3/response.h"
#include "stores/object/s3/retry.h"
#include "stores/object/s3/sigv4.h"
#include "stores/object/s3/url.h"
#include "test/fuzz/fuzz.h"

static void
try_url(const char *text)
{
	static struct s3_url url;
	struct errinfo info = {0};
	int rc = s3_url_parse(text, &url, &info);

	assert(rc == 0 || (rc == LG_ECONFIG && info.text[0]));
	if (rc)
		return;
	assert(strlen(url.bucket) >= 3 && url.nendpoints <= S3_ENDPOINTS_MAX && url.in_flight);
	for (unsigned i = 0; i < url.nendpoints; i++)
		assert(url.endpoints[i].port && url.endpoints[i].host[0]);
	s3_url_complete(&url);
	assert(url.nendpoints && url.region[0] && url.addressing != S3_ADDRESSING_AUTO);
}

static void
try_ini(const char *text)
{
	char value[64];

	if (s3_ini_get(text, "default", "aws_access_key_id", value, sizeof(value)))
		assert(strlen(value) < sizeof(value) && !strpbrk(value, "\n"));
}

/* each byte pattern is escaped to what contains no byte that is not allowed */
static void
try_escape(const char *text)
{
	char out[256], query[1024];
	const struct sigv4_pair pairs[] = {{text, text}, {"b", text}};
	size_t n = sigv4_escape(text, true, out, sizeof(out));

	assert(strlen(out) == n &&
	       strspn(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%/") == n);
	(void)sigv4_query(pairs, 2, query, sizeof(query));
	assert(strlen(query) < sizeof(query));
}

/* lines, as libcurl hands them over: not terminated by a NUL */
static void
try_headers(const uint8_t *data, size_t size)
{
	struct http_response r;

	http_response_init(&r);
	while (size) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) + 1 : size;
		char *line = malloc(n);

		assert(line);
		memcpy(line, data, n);
		http_response_line(&r, line, n);
		free(line);
		data += n;
		size -= n;
	}
	assert(memchr(r.etag, '\0', sizeof(r.etag)) && memchr(r.region, '\0', sizeof(r.region)));
	if (r.has_range && !r.broken && r.range_first != HTTP_UNKNOWN)
		assert(r.range_first <= r.range_last && r.range_last < r.range_total);
	assert(s3_retry_after_ms(r.retry_after, 1800000000) <= 30000);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	if (data[0] % 4 == 3) {
		try_headers(data + 1, size - 1);
		return 0;
	}
	text = malloc(size);
	assert(text);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (data[0] % 4 == 0)
		try_url(text);
	else if (data[0] % 4 == 1)
		try_ini(text);
	else
		try_escape(text);
	free(text);
	return 0;
}
