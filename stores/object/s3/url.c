/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stores/object/s3/url.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/nearest.h"
#include "common/util.h"

#define URL_MAX 8192u
#define IN_FLIGHT_DEFAULT 32u
#define IN_FLIGHT_MAX 256u

/* ---- pieces of text ---- */

/* Copies [p, p + n) and its NUL; false when it does not fit or holds a control character. */
static bool
text_copy(char *out, size_t room, const char *p, size_t n)
{
	if (n >= room)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return false;
	memcpy(out, p, n);
	out[n] = '\0';
	return true;
}

/* Percent-decodes into out; false when it does not fit, is cut short, or hides a NUL. */
static bool
unescape(const char *p, size_t n, char *out, size_t room)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		int c = (unsigned char)p[i];

		if (c == '%') {
			int hi = n - i >= 3 ? hex_digit(p[i + 1]) : -1;
			int lo = n - i >= 3 ? hex_digit(p[i + 2]) : -1;

			if (hi < 0 || lo < 0 || !(hi | lo))
				return false;
			c = hi << 4 | lo;
			i += 2;
		}
		if (k + 1 >= room)
			return false;
		out[k++] = (char)c;
	}
	out[k] = '\0';
	return true;
}

/* Digits alone. */
static bool
number_parse(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!text[0])
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (uint64_t)(*text - '0');
		if (v > max)
			return false;
	}
	*ret = v;
	return true;
}

/* ---- endpoints ---- */

static bool
host_valid(const char *host, bool literal6)
{
	for (const char *p = host; *p; p++) {
		if (literal6 && (isxdigit((unsigned char)*p) || *p == ':' || *p == '.'))
			continue;
		if (!literal6 && (isalnum((unsigned char)*p) || *p == '.' || *p == '-' || *p == '_'))
			continue;
		return false;
	}
	return host[0] && host[0] != '-' && host[0] != '.';
}

int
s3_endpoint_parse(const char *text, struct s3_endpoint *ret)
{
	const char *p = text, *end;
	uint64_t port = 0;

	memset(ret, 0, sizeof(*ret));
	if (!strncasecmp(p, "https://", 8)) {
		ret->tls = true;
		p += 8;
	} else if (!strncasecmp(p, "http://", 7)) {
		p += 7;
	} else {
		return -EINVAL;
	}
	if (*p == '[') {
		ret->literal6 = true;
		end = strchr(++p, ']');
		if (!end)
			return -EINVAL;
	} else {
		end = p + strcspn(p, ":/");
	}
	if (!text_copy(ret->host, sizeof(ret->host), p, (size_t)(end - p)) ||
	    !host_valid(ret->host, ret->literal6))
		return -EINVAL;
	p = end + ret->literal6;
	end = p + strcspn(p, "/");
	ret->port = ret->tls ? 443 : 80;
	if (*p == ':') {
		char digits[8];

		if (!text_copy(digits, sizeof(digits), p + 1, (size_t)(end - p - 1)) ||
		    !number_parse(digits, UINT16_MAX, &port) || !port)
			return -EINVAL;
		ret->port = (uint16_t)port;
		p = end;
	}
	return p != end || (*end && end[1]) ? -EINVAL : 0;
}

static const char *
endpoints_parse(struct s3_url *url, const char *value)
{
	url->nendpoints = 0;
	for (;;) {
		size_t n = strcspn(value, ",");
		char one[S3_HOST_MAX + 32];

		if (url->nendpoints == S3_ENDPOINTS_MAX)
			return "names at most 8 addresses";
		if (!text_copy(one, sizeof(one), value, n) ||
		    s3_endpoint_parse(one, &url->endpoints[url->nendpoints]))
			return "is http://HOST:PORT or https://HOST:PORT, without a path or a user; several with commas";
		url->nendpoints++;
		if (!value[n])
			return NULL;
		value += n + 1;
	}
}

/* ---- parameters ---- */

enum param_kind { PARAM_TEXT, PARAM_PATH, PARAM_NUMBER, PARAM_SIZE, PARAM_CHOICE, PARAM_ENDPOINT };

struct choice {
	const char *name;
	int value;
};

static const struct choice addressings[] = {{"auto", S3_ADDRESSING_AUTO},
					    {"path", S3_ADDRESSING_PATH},
					    {"virtual", S3_ADDRESSING_VIRTUAL},
					    {NULL, 0}};
static const struct choice payloads[] = {{"auto", S3_PAYLOAD_AUTO},
					 {"signed", S3_PAYLOAD_SIGNED},
					 {"unsigned", S3_PAYLOAD_UNSIGNED},
					 {NULL, 0}};
static const struct choice match_forms[] = {
	{"probe", S3_MATCH_PROBE}, {"quoted", S3_MATCH_QUOTED}, {"bare", S3_MATCH_BARE}, {NULL, 0}};
static const struct choice quickacks[] = {{"on", false}, {"off", true}, {NULL, 0}};
static const struct choice versions[] = {{"1.1", false}, {"2", true}, {NULL, 0}};

#define FIELD(name) offsetof(struct s3_url, name), sizeof(((struct s3_url *)0)->name)

static const struct param {
	const char *name;
	enum param_kind kind;
	size_t offset, size;
	const struct choice *choices;
	uint64_t min, max;
} params[] = {
	{"endpoint", PARAM_ENDPOINT, 0, 0, NULL, 0, 0},
	{"region", PARAM_TEXT, FIELD(region), NULL, 0, 0},
	{"addressing", PARAM_CHOICE, FIELD(addressing), addressings, 0, 0},
	{"payload", PARAM_CHOICE, FIELD(payload), payloads, 0, 0},
	{"if_match", PARAM_CHOICE, FIELD(match_form), match_forms, 0, 0},
	{"http", PARAM_CHOICE, FIELD(http2), versions, 0, 0},
	{"quickack", PARAM_CHOICE, FIELD(no_quickack), quickacks, 0, 0},
	{"profile", PARAM_TEXT, FIELD(profile), NULL, 0, 0},
	{"credentials", PARAM_PATH, FIELD(credentials), NULL, 0, 0},
	{"ca", PARAM_PATH, FIELD(ca), NULL, 0, 0},
	{"cert", PARAM_PATH, FIELD(cert), NULL, 0, 0},
	{"key", PARAM_PATH, FIELD(key), NULL, 0, 0},
	{"proxy", PARAM_TEXT, FIELD(proxy), NULL, 0, 0},
	{"in_flight", PARAM_NUMBER, FIELD(in_flight), NULL, 1, IN_FLIGHT_MAX},
	{"connect", PARAM_NUMBER, FIELD(connect_ms), NULL, 10, 600000},
	{"stall", PARAM_NUMBER, FIELD(stall_ms), NULL, 10, 600000},
	{"retry", PARAM_NUMBER, FIELD(retry_ms), NULL, 0, 3600000},
	{"up", PARAM_SIZE, FIELD(up), NULL, 0, 0},
	{"down", PARAM_SIZE, FIELD(down), NULL, 0, 0},
};

static const char *
choice_set(const struct param *param, void *field, const char *value)
{
	for (const struct choice *c = param->choices; c->name; c++) {
		if (strcmp(c->name, value) != 0)
			continue;
		if (param->size == sizeof(bool))
			*(bool *)field = c->value;
		else
			memcpy(field, &c->value, sizeof(c->value));
		return NULL;
	}
	return "has no such choice";
}

/* NULL, or what is wrong with it */
static const char *
param_set(struct s3_url *url, const struct param *param, const char *value)
{
	void *field = (char *)url + param->offset;
	uint64_t v = 0;

	switch (param->kind) {
	case PARAM_ENDPOINT:
		return endpoints_parse(url, value);
	case PARAM_TEXT:
	case PARAM_PATH:
		if (!value[0] || !text_copy(field, param->size, value, strlen(value)))
			return "is empty, too long, or holds control characters";
		if (param->kind == PARAM_PATH && value[0] != '/')
			return "is a path from the root (it begins with '/')";
		return NULL;
	case PARAM_NUMBER:
		if (!number_parse(value, param->max, &v) || v < param->min)
			return "is not a number in its range";
		*(unsigned *)field = (unsigned)v;
		return NULL;
	case PARAM_SIZE:
		if (size_parse(value, &v))
			return "is not a size like 100M";
		*(uint64_t *)field = v;
		return NULL;
	case PARAM_CHOICE:
		break;
	}
	return choice_set(param, field, value);
}

/* Names that somebody would try; the value must not be shown. */
static bool
is_secret(const char *name)
{
	return strcasestr(name, "secret") || strcasestr(name, "access") || strcasestr(name, "token") ||
	       strcasestr(name, "passw");
}

static int
unknown_param(const char *name, struct errinfo *info)
{
	const char *near = nearest_word(name, &params[0].name, ARRAY_SIZE(params), sizeof(params[0]));

	if (near)
		return err_set(info, LG_ECONFIG, "unknown parameter \"%s\"; did you mean \"%s\"?", name,
			       near);
	return err_set(info, LG_ECONFIG, "unknown parameter \"%s\"; lungate.json(5) lists them", name);
}

static int
wrong_choice(const struct param *param, const char *value, struct errinfo *info)
{
	char list[96] = "";
	size_t len = 0;

	for (const struct choice *c = param->choices; c->name && len < sizeof(list); c++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", c->name);
	return err_set(info, LG_ECONFIG, "parameter \"%s\": \"%.40s\" is none of %s", param->name, value,
		       list);
}

static int
params_parse(struct s3_url *url, const char *query, struct errinfo *info)
{
	uint64_t seen = 0;

	while (*query) {
		size_t n = strcspn(query, "&"), eq = strcspn(query, "=&");
		char name[32], value[URL_MAX];
		const struct param *param = NULL;
		const char *why;

		if (!n) {
			query++;
			continue;
		}
		if (!text_copy(name, sizeof(name), query, eq) || eq == n)
			return err_set(info, LG_ECONFIG, "parameters look like name=value, joined with '&'");
		if (is_secret(name))
			return err_set(info, LG_ECONFIG,
				       "secrets do not belong in a URL, which is logged and shown: use "
				       "credentials=FILE, profile=NAME, or the environment");
		for (size_t i = 0; i < ARRAY_SIZE(params); i++)
			if (!strcmp(params[i].name, name))
				param = &params[i];
		if (!param)
			return unknown_param(name, info);
		if (seen & UINT64_C(1) << (param - params))
			return err_set(info, LG_ECONFIG, "parameter \"%s\" is there twice", name);
		seen |= UINT64_C(1) << (param - params);
		if (!unescape(query + eq + 1, n - eq - 1, value, sizeof(value)))
			return err_set(info, LG_ECONFIG, "parameter \"%s\": wrong percent-encoding", name);
		why = param_set(url, param, value);
		if (why && param->kind == PARAM_CHOICE)
			return wrong_choice(param, value, info);
		if (why)
			return err_set(info, LG_ECONFIG, "parameter \"%s\" %s", name, why);
		query += n + (query[n] == '&');
	}
	return 0;
}

/* ---- bucket and prefix ---- */

/* What every server takes: letters of either case and '_' are old AWS names. */
static bool
bucket_valid(const char *bucket)
{
	size_t n = strlen(bucket);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)bucket[i]) && (!i || !strchr("._-", bucket[i])))
			return false;
	return n >= 3;
}

static bool
prefix_valid(const char *prefix)
{
	const char *p = prefix;

	while (*p) {
		size_t n = strcspn(p, "/");

		if (!n || p[0] == '.')
			return false;
		for (size_t i = 0; i < n; i++)
			if (!isalnum((unsigned char)p[i]) && !strchr("._-", p[i]))
				return false;
		p += n;
		if (*p && !*++p)
			return false;
	}
	return true;
}

static int
names_parse(struct s3_url *url, const char *p, size_t n, struct errinfo *info)
{
	size_t b = 0;

	while (b < n && p[b] != '/')
		b++;
	if (!text_copy(url->bucket, sizeof(url->bucket), p, b) || !bucket_valid(url->bucket))
		return err_set(info, LG_ECONFIG,
			       "the name of a bucket has 3 to 63 letters, digits, '.', '_' or '-'");
	p += b;
	n -= b;
	while (n && *p == '/') {
		p++;
		n--;
	}
	while (n && p[n - 1] == '/')
		n--;
	if (!text_copy(url->prefix, sizeof(url->prefix), p, n) || !prefix_valid(url->prefix))
		return err_set(
			info, LG_ECONFIG,
			"the prefix has at most 256 letters, digits, '.', '_', '-', and '/' between parts; no part "
			"is empty or begins with '.'");
	return 0;
}

int
s3_url_parse(const char *text, struct s3_url *ret, struct errinfo *info)
{
	size_t n;
	int rc;

	memset(ret, 0, sizeof(*ret));
	ret->in_flight = IN_FLIGHT_DEFAULT;
	ret->connect_ms = 5000;
	ret->stall_ms = 15000;
	ret->retry_ms = 20000;
	if (strnlen(text, URL_MAX) == URL_MAX)
		return err_set(info, LG_ECONFIG, "object store \"s3://...\": longer than 8191 characters");
	if (!strncmp(text, "s3://", 5))
		text += 5;
	n = strcspn(text, "?");
	rc = names_parse(ret, text, n, info);
	if (!rc && text[n])
		rc = params_parse(ret, text + n + 1, info);
	if (!rc && !ret->cert[0] != !ret->key[0])
		rc = err_set(info, LG_ECONFIG, "a client certificate needs both cert=FILE and key=FILE");
	if (!rc && strchr(ret->proxy, '@'))
		rc = err_set(info, LG_ECONFIG, "a user and password do not belong in the URL of the proxy");
	if (rc)
		err_prefix(info, "object store \"s3://%.*s\": ", (int)min_of(n, 120u), text);
	return rc;
}

void
s3_url_complete(struct s3_url *url)
{
	struct s3_endpoint *e = &url->endpoints[0];

	if (!url->region[0])
		(void)snprintf(url->region, sizeof(url->region), "us-east-1");
	if (!url->nendpoints) {
		const char *china = !strncmp(url->region, "cn-", 3) ? ".cn" : "";

		(void)snprintf(e->host, sizeof(e->host), "s3.%s.amazonaws.com%s", url->region, china);
		e->tls = true;
		e->port = 443;
		url->nendpoints = 1;
		/* the certificate is for one label in front of the name */
		if (url->addressing == S3_ADDRESSING_AUTO && !strpbrk(url->bucket, "._"))
			url->addressing = S3_ADDRESSING_VIRTUAL;
	}
	if (url->addressing == S3_ADDRESSING_AUTO)
		url->addressing = S3_ADDRESSING_PATH;
	if (url->payload == S3_PAYLOAD_AUTO) {
		url->payload = S3_PAYLOAD_UNSIGNED;
		for (unsigned i = 0; i < url->nendpoints; i++)
			if (!url->endpoints[i].tls)
				url->payload = S3_PAYLOAD_SIGNED;
	}
}
