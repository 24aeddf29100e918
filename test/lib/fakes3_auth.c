/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/fakes3_auth.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "stores/object/s3/sigv4.h"

#define SKEW_MAX 900
#define PATH_ROOM 4096

static int
hex_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

void
fakes3_unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (*s == '%' && hex_of(s[1]) >= 0 && hex_of(s[2]) >= 0) {
			*out++ = (char)(hex_of(s[1]) << 4 | hex_of(s[2]));
			s += 2;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

static const char *
header(const struct fakes3_signed *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

/* The words of the Authorization header that follow `name`, up to a comma or space. */
static bool
authorization_part(const char *text, const char *name, char *out, size_t room)
{
	const char *p = strstr(text, name);
	size_t n;

	if (!p)
		return false;
	p += strlen(name);
	n = strcspn(p, ", ");
	if (n >= room)
		return false;
	memcpy(out, p, n);
	out[n] = '\0';
	return true;
}

static const char *
check_signature(const struct fakes3_signed *r, const char *authorization)
{
	char credential[256], names[512], signature[128], ours[SIGV4_AUTHORIZATION_MAX], want[128],
		path[PATH_ROOM];
	struct sigv4_pair headers[SIGV4_HEADERS_MAX];
	struct sigv4_request sign = {.method = r->method, .path = path, .headers = headers, .service = "s3"};
	char *slash, *save = NULL, *query;

	if (!authorization_part(authorization, "Credential=", credential, sizeof(credential)) ||
	    !authorization_part(authorization, "SignedHeaders=", names, sizeof(names)) ||
	    !authorization_part(authorization, "Signature=", signature, sizeof(signature)) ||
	    !(slash = strchr(credential, '/')))
		return "AccessDenied";
	*slash = '\0';
	if (strcmp(credential, r->access_key) != 0)
		return "InvalidAccessKeyId";
	(void)strtok_r(slash + 1, "/", &save);
	sign.region = strtok_r(NULL, "/", &save);
	sign.date = header(r, "x-amz-date");
	sign.payload_hash = header(r, "x-amz-content-sha256");
	if (!sign.region || !sign.date || !sign.payload_hash)
		return "AccessDenied";
	save = NULL;
	for (char *name = strtok_r(names, ";", &save); name; name = strtok_r(NULL, ";", &save)) {
		const char *value = header(r, name);

		if (!value || sign.nheaders == SIGV4_HEADERS_MAX)
			return "SignatureDoesNotMatch";
		headers[sign.nheaders++] = (struct sigv4_pair){name, value};
	}
	(void)snprintf(path, sizeof(path), "%s", r->uri);
	query = strchr(path, '?');
	if (query)
		*query++ = '\0';
	sign.query = query ? query : "";
	if (sigv4_sign(&sign, r->access_key, r->secret_key, ours, sizeof(ours)) ||
	    !authorization_part(ours, "Signature=", want, sizeof(want)) || strcmp(want, signature) != 0)
		return "SignatureDoesNotMatch";
	return NULL;
}

static bool
clock_is_near(const char *date, int clock)
{
	struct tm tm = {0};
	time_t t;

	if (!date || !strptime(date, "%Y%m%dT%H%M%SZ", &tm))
		return false;
	t = timegm(&tm) - time(NULL) - clock;
	return t >= -SKEW_MAX && t <= SKEW_MAX;
}

const char *
fakes3_check(const struct fakes3_signed *r, unsigned *ret_status)
{
	const char *authorization = header(r, "Authorization"), *hash = header(r, "x-amz-content-sha256");
	const char *digest = header(r, "Content-MD5"), *code;
	struct iovec iov = {(void *)(uintptr_t)r->body, r->nbody};
	char text[SIGV4_HASH_TEXT];
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned nmd;
	char base64[32];

	*ret_status = 403;
	if (!authorization || !hash)
		return "AccessDenied";
	if (!clock_is_near(header(r, "x-amz-date"), r->clock))
		return "RequestTimeTooSkewed";
	code = check_signature(r, authorization);
	if (code)
		return code;
	*ret_status = 400;
	sigv4_hash(&iov, 1, text);
	if (strcmp(hash, SIGV4_UNSIGNED) != 0 && strcmp(hash, text) != 0)
		return "XAmzContentSHA256Mismatch";
	if (!EVP_Digest(r->body, r->nbody, md, &nmd, EVP_md5(), NULL))
		return "InternalError";
	(void)EVP_EncodeBlock((unsigned char *)base64, md, 16);
	if (digest && strcmp(digest, base64) != 0)
		return "BadDigest";
	return NULL;
}
