/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stores/object/s3/response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "common/util.h"

#define VALUE_MAX 256u

void
http_response_init(struct http_response *r)
{
	memset(r, 0, sizeof(*r));
	r->length = r->range_first = r->range_last = r->range_total = HTTP_UNKNOWN;
}

/* Digits into *ret; where they end, or NULL (none, or too large). */
static const char *
digits(const char *p, uint64_t *ret)
{
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return NULL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (unsigned)(*p - '0'), &v) || v > INT64_MAX)
			return NULL;
	*ret = v;
	return p;
}

static void
on_length(struct http_response *r, const char *value)
{
	uint64_t v;
	const char *end = digits(value, &v);

	if (!end || *end || (r->length != HTTP_UNKNOWN && r->length != v))
		r->broken = true;
	else
		r->length = v;
}

/* RFC 9110 14.4: bytes FIRST-LAST/TOTAL, TOTAL may be '*'; or bytes * /TOTAL */
static void
on_range(struct http_response *r, const char *value)
{
	const char *p = value;

	if (r->has_range || strncasecmp(p, "bytes", 5)) {
		r->broken = true;
		return;
	}
	r->has_range = true;
	p += 5;
	while (*p == ' ' || *p == '=')
		p++;
	if (*p == '*') {
		p++;
	} else {
		p = digits(p, &r->range_first);
		p = p && *p == '-' ? digits(p + 1, &r->range_last) : NULL;
		if (p && r->range_last < r->range_first)
			p = NULL;
	}
	if (p && *p == '/')
		p = p[1] == '*' ? p + 2 : digits(p + 1, &r->range_total);
	else
		p = NULL;
	if (!p || *p || (r->range_last != HTTP_UNKNOWN && r->range_last >= r->range_total))
		r->broken = true;
}

static void
copy(char *out, size_t room, const char *value)
{
	size_t n = strnlen(value, room);

	if (n == room)
		n = 0;
	memcpy(out, value, n);
	out[n] = '\0';
}

static void
on_etag(struct http_response *r, const char *value)
{
	size_t n = strlen(value);
	bool quoted = n >= 2 && value[0] == '"' && value[n - 1] == '"';
	char plain[VALUE_MAX];

	copy(plain, sizeof(plain), value + quoted);
	if (quoted && plain[0])
		plain[strlen(plain) - 1] = '\0';
	if (!plain[0] || strlen(plain) >= sizeof(r->etag) || (r->etag[0] && strcmp(r->etag, plain) != 0))
		r->broken = true;
	else
		copy(r->etag, sizeof(r->etag), plain);
}

static void
on_date(struct http_response *r, const char *value)
{
	time_t t = curl_getdate(value, NULL);

	r->date = t > 0 ? t : 0;
}

static void
on_retry_after(struct http_response *r, const char *value)
{
	copy(r->retry_after, sizeof(r->retry_after), value);
}

static void
on_request_id(struct http_response *r, const char *value)
{
	copy(r->request_id, sizeof(r->request_id), value);
}

static void
on_region(struct http_response *r, const char *value)
{
	copy(r->region, sizeof(r->region), value);
}

static void
on_encoding(struct http_response *r, const char *value)
{
	r->encoded = value[0] && strcasecmp(value, "identity") && strcasecmp(value, "aws-chunked");
}

static const struct {
	const char *name;
	void (*fn)(struct http_response *r, const char *value);
} handlers[] = {
	{"content-length", on_length},
	{"content-range", on_range},
	{"etag", on_etag},
	{"date", on_date},
	{"retry-after", on_retry_after},
	{"x-amz-request-id", on_request_id},
	{"x-amz-bucket-region", on_region},
	{"content-encoding", on_encoding},
};

/* "HTTP/1.1 200 OK" */
static void
on_status(struct http_response *r, const char *line, size_t n)
{
	const char *space = memchr(line, ' ', n);
	long status = 0;

	http_response_init(r);
	for (size_t i = 0; space && i < 3 && space + 1 + i < line + n; i++) {
		char c = space[1 + i];

		if (c < '0' || c > '9')
			break;
		status = status * 10 + (c - '0');
	}
	r->status = status;
}

void
http_response_line(struct http_response *r, const char *line, size_t n)
{
	const char *colon;
	char value[VALUE_MAX];
	size_t nvalue;

	if (n >= 5 && !strncasecmp(line, "HTTP/", 5)) {
		on_status(r, line, n);
		return;
	}
	while (n && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	colon = memchr(line, ':', n);
	if (!colon)
		return;
	nvalue = n - (size_t)(colon + 1 - line);
	while (nvalue && (line[n - nvalue] == ' ' || line[n - nvalue] == '\t'))
		nvalue--;
	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
		if (strlen(handlers[i].name) != (size_t)(colon - line) ||
		    strncasecmp(handlers[i].name, line, (size_t)(colon - line)) != 0)
			continue;
		if (nvalue >= sizeof(value) || memchr(line + n - nvalue, '\0', nvalue)) {
			r->broken = true;
			return;
		}
		memcpy(value, line + n - nvalue, nvalue);
		value[nvalue] = '\0';
		handlers[i].fn(r, value);
	}
}
