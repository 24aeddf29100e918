/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stores/object/s3/sigv4.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "common/util.h"

#define CANONICAL_MAX 16384u
#define QUERY_PARAMS_MAX 16u
#define ESCAPED_MAX 8192u
#define TERMINATOR "aws4_request"
#define ALGORITHM "AWS4-HMAC-SHA256"

/* ---- text that must not overflow ---- */

struct text {
	char *p;
	size_t n, room;
	bool full;
};

static void
text_add(struct text *t, const char *p, size_t n)
{
	if (t->full || t->room - t->n <= n) {
		t->full = true;
		return;
	}
	memcpy(t->p + t->n, p, n);
	t->n += n;
	t->p[t->n] = '\0';
}

static void
text_str(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

/* ---- escapes and dates ---- */

static bool
unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '.' || c == '_' || c == '~';
}

size_t
sigv4_escape(const char *in, bool keep_slash, char *out, size_t room)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;

	for (; *in; in++) {
		unsigned char c = (unsigned char)*in;
		bool plain = unreserved(c) || (c == '/' && keep_slash);

		if (n + (plain ? 1 : 3) >= room) {
			out[0] = '\0';
			return 0;
		}
		if (plain) {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '%';
		out[n++] = digits[c >> 4];
		out[n++] = digits[c & 15];
	}
	out[n] = '\0';
	return n;
}

struct escaped {
	char name[128];
	char value[ESCAPED_MAX];
};

static int
escaped_compare(const void *a, const void *b)
{
	const struct escaped *x = *(const struct escaped *const *)a, *y = *(const struct escaped *const *)b;
	int c = strcmp(x->name, y->name);

	return c ? c : strcmp(x->value, y->value);
}

int
sigv4_query(const struct sigv4_pair *params, size_t n, char *out, size_t room)
{
	struct escaped *all, *sorted[QUERY_PARAMS_MAX];
	struct text t = {.p = out, .room = room};
	int rc = 0;

	out[0] = '\0';
	assert(n <= QUERY_PARAMS_MAX);
	if (!n)
		return 0;
	all = calloc(n, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		sorted[i] = &all[i];
		/* by the escaped names and values: that is what the signature sees */
		if ((!sigv4_escape(params[i].name, false, all[i].name, sizeof(all[i].name)) &&
		     params[i].name[0]) ||
		    (!sigv4_escape(params[i].value, false, all[i].value, sizeof(all[i].value)) &&
		     params[i].value[0]))
			rc = -ENOSPC;
	}
	qsort(sorted, n, sizeof(sorted[0]), escaped_compare);
	for (size_t i = 0; i < n; i++) {
		text_str(&t, i ? "&" : "");
		text_str(&t, sorted[i]->name);
		text_str(&t, "=");
		text_str(&t, sorted[i]->value);
	}
	free(all);
	return t.full ? -ENOSPC : rc;
}

void
sigv4_date(time_t t, char out[SIGV4_DATE_TEXT])
{
	struct tm tm;

	gmtime_r(&t, &tm);
	if (strftime(out, SIGV4_DATE_TEXT, "%Y%m%dT%H%M%SZ", &tm) != SIGV4_DATE_TEXT - 1)
		out[0] = '\0';
}

void
sigv4_hash(const struct iovec *iov, int niov, char out[SIGV4_HASH_TEXT])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char md[SHA256_DIGEST_LENGTH] = {0};
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	for (int i = 0; ok && i < niov; i++)
		ok = EVP_DigestUpdate(ctx, iov[i].iov_base, iov[i].iov_len);
	ok = ok && EVP_DigestFinal_ex(ctx, md, NULL);
	EVP_MD_CTX_free(ctx);
	/* without memory the server will refuse the request for its wrong hash: no data is harmed */
	(void)hex_format(md, sizeof(md), out);
	(void)ok;
}

/* ---- the canonical request ---- */

struct header {
	char name[64]; /* lower case */
	const char *value;
	size_t at; /* as given, so that equal names keep their order */
};

static int
header_compare(const void *a, const void *b)
{
	const struct header *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : x->at < y->at ? -1 : 1;
}

static int
headers_sort(const struct sigv4_request *req, struct header sorted[SIGV4_HEADERS_MAX])
{
	assert(req->nheaders <= SIGV4_HEADERS_MAX);
	for (size_t i = 0; i < req->nheaders; i++) {
		size_t n = strlen(req->headers[i].name);

		if (n >= sizeof(sorted[i].name))
			return -ENOSPC;
		for (size_t k = 0; k <= n; k++)
			sorted[i].name[k] = (char)tolower((unsigned char)req->headers[i].name[k]);
		sorted[i].value = req->headers[i].value;
		sorted[i].at = i;
	}
	qsort(sorted, req->nheaders, sizeof(sorted[0]), header_compare);
	return 0;
}

/* no spaces at the ends, one where there were several */
static void
add_trimmed(struct text *t, const char *value)
{
	bool space = false, begun = false;

	for (; *value; value++) {
		if (*value == ' ' || *value == '\t') {
			space = begun;
			continue;
		}
		if (space)
			text_add(t, " ", 1);
		text_add(t, value, 1);
		space = false;
		begun = true;
	}
}

static void
add_headers(struct text *t, const struct header *sorted, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i && !strcmp(sorted[i].name, sorted[i - 1].name)) {
			text_str(t, ",");
		} else {
			text_str(t, i ? "\n" : "");
			text_str(t, sorted[i].name);
			text_str(t, ":");
		}
		add_trimmed(t, sorted[i].value);
	}
	text_str(t, n ? "\n" : "");
}

static void
add_names(struct text *t, const struct header *sorted, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i && !strcmp(sorted[i].name, sorted[i - 1].name))
			continue;
		text_str(t, i ? ";" : "");
		text_str(t, sorted[i].name);
	}
}

static int
canonical(const struct sigv4_request *req, const struct header *sorted, struct text *t)
{
	text_str(t, req->method);
	text_str(t, "\n");
	text_str(t, req->path);
	text_str(t, "\n");
	text_str(t, req->query);
	text_str(t, "\n");
	add_headers(t, sorted, req->nheaders);
	text_str(t, "\n");
	add_names(t, sorted, req->nheaders);
	text_str(t, "\n");
	text_str(t, req->payload_hash);
	return t->full ? -ENOSPC : (int)t->n;
}

int
sigv4_canonical(const struct sigv4_request *req, char *out, size_t room)
{
	struct header sorted[SIGV4_HEADERS_MAX];
	struct text t = {.p = out, .room = room};
	int rc = headers_sort(req, sorted);

	return rc ? rc : canonical(req, sorted, &t);
}

/* ---- the signature ---- */

static bool
hmac(const unsigned char *key, size_t nkey, const char *data, size_t ndata, unsigned char out[32])
{
	unsigned n = 0;

	return HMAC(EVP_sha256(), key, (int)nkey, (const unsigned char *)data, ndata, out, &n) && n == 32;
}

/* kSigning = HMAC(HMAC(HMAC(HMAC("AWS4" + secret, day), region), service), "aws4_request") */
static bool
signing_key(const struct sigv4_request *req, const char *secret, unsigned char key[32])
{
	char seed[256];
	int n = snprintf(seed, sizeof(seed), "AWS4%s", secret);
	bool ok = n > 0 && (size_t)n < sizeof(seed) &&
		  hmac((const unsigned char *)seed, (size_t)n, req->date, 8, key) &&
		  hmac(key, 32, req->region, strlen(req->region), key) &&
		  hmac(key, 32, req->service, strlen(req->service), key) &&
		  hmac(key, 32, TERMINATOR, strlen(TERMINATOR), key);

	OPENSSL_cleanse(seed, sizeof(seed));
	return ok;
}

static int
string_to_sign(const struct sigv4_request *req, const char *text, size_t n, char *out, size_t room)
{
	struct iovec iov = {(void *)(uintptr_t)text, n};
	char hash[SIGV4_HASH_TEXT];
	int k;

	sigv4_hash(&iov, 1, hash);
	k = snprintf(out, room, ALGORITHM "\n%s\n%.8s/%s/%s/" TERMINATOR "\n%s", req->date, req->date,
		     req->region, req->service, hash);
	return k < 0 || (size_t)k >= room ? -ENOSPC : k;
}

int
sigv4_sign(const struct sigv4_request *req, const char *access_key, const char *secret_key, char *out,
	   size_t room)
{
	struct header sorted[SIGV4_HEADERS_MAX];
	char *buf = malloc(CANONICAL_MAX), to_sign[512], signature[SIGV4_HASH_TEXT];
	struct text t = {.p = buf, .room = CANONICAL_MAX}, a = {.p = out, .room = room};
	unsigned char key[32], md[32];
	char scope[256];
	bool ok = false;
	int n = buf ? headers_sort(req, sorted) : -ENOMEM;

	if (!n)
		n = canonical(req, sorted, &t);
	if (n > 0)
		n = string_to_sign(req, buf, (size_t)n, to_sign, sizeof(to_sign));
	free(buf);
	if (n < 0)
		return n;
	ok = signing_key(req, secret_key, key) && hmac(key, sizeof(key), to_sign, (size_t)n, md);
	OPENSSL_cleanse(key, sizeof(key));
	if (!ok)
		return -ENOSPC;
	(void)hex_format(md, sizeof(md), signature);
	n = snprintf(scope, sizeof(scope), "/%.8s/%s/%s/" TERMINATOR, req->date, req->region, req->service);
	if (n < 0 || (size_t)n >= sizeof(scope))
		return -ENOSPC;
	text_str(&a, ALGORITHM " Credential=");
	text_str(&a, access_key);
	text_str(&a, scope);
	text_str(&a, ", SignedHeaders=");
	add_names(&a, sorted, req->nheaders);
	text_str(&a, ", Signature=");
	text_str(&a, signature);
	return a.full ? -ENOSPC : 0;
}
