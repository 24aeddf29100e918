/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stores/object/s3/xml.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <pthread.h>

#include "common/err.h"
#include "common/util.h"

#define DEPTH_MAX 12u
#define PATH_ROOM 256u
#define TEXT_ROOM 4096u
#define KEY_ROOM 1025u

struct xml;

/** A kind of document: its root, and what to do at the end of an element.  path is from below the root:
 *  "Contents/Key". */
struct xml_kind {
	const char *root;
	int (*on_end)(struct xml *x, const char *path, const char *text);
};

struct xml {
	xmlParserCtxtPtr ctxt;
	const struct xml_kind *kind;
	void *doc;
	struct s3_error_doc *err;
	int rc;        /* the first failure */
	bool is_error; /* the root is <Error> */
	bool seen_root;
	unsigned depth;       /* open elements, the root included */
	char path[PATH_ROOM]; /* below the root */
	char text[TEXT_ROOM]; /* of the innermost element that has text */
	size_t ntext;
	/* of the list entry or delete error at hand */
	char key[KEY_ROOM * 3];
	char code[64];
	char message[256];
	uint64_t size;
	bool has_key, has_size, url_encoded;
};

static void
fail(struct xml *x, int rc)
{
	if (x->rc)
		return;
	x->rc = rc;
	xmlStopParser(x->ctxt);
}

/* cut words are better than none; keys and tokens are checked by their users */
static bool
copy(char *out, size_t room, const char *text)
{
	size_t n = strnlen(text, room - 1);

	memcpy(out, text, n);
	out[n] = '\0';
	return !text[n];
}

/* ---- events ---- */

/* S3 itself, its clones, Google's, and STS; many answers have none */
static bool
namespace_known(const char *uri)
{
	return !uri || !uri[0] || !strncmp(uri, "http://s3.amazonaws.com/doc/", 28) ||
	       !strncmp(uri, "https://s3.amazonaws.com/doc/", 29) ||
	       !strncmp(uri, "http://doc.s3.amazonaws.com/", 28) ||
	       !strncmp(uri, "https://sts.amazonaws.com/doc/", 30);
}

static void
on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int nnamespaces,
	 const xmlChar **namespaces, int nattributes, int ndefaulted, const xmlChar **attributes)
{
	struct xml *x = ctx;
	const char *local = (const char *)name;
	size_t at = strlen(x->path), n = strlen(local);

	(void)prefix;
	(void)nnamespaces;
	(void)namespaces;
	(void)nattributes;
	(void)ndefaulted;
	(void)attributes;
	x->ntext = 0;
	if (x->depth == DEPTH_MAX || !namespace_known((const char *)uri)) {
		fail(x, LG_EPROTO);
		return;
	}
	if (!x->depth++) {
		x->seen_root = true;
		/* STS wraps its errors once more */
		x->is_error = !strcmp(local, "Error") || !strcmp(local, "ErrorResponse");
		if (!x->is_error && (!x->kind->root || strcmp(local, x->kind->root) != 0))
			fail(x, LG_EPROTO);
		return;
	}
	if (at + n + 2 > sizeof(x->path)) {
		fail(x, LG_EPROTO);
		return;
	}
	if (at)
		x->path[at++] = '/';
	memcpy(x->path + at, local, n + 1);
}

static int
on_error_end(struct xml *x, const char *path, const char *text)
{
	const struct {
		const char *path;
		char *out;
		size_t room;
	} fields[] = {
		{"Code", x->err->code, sizeof(x->err->code)},
		{"Message", x->err->message, sizeof(x->err->message)},
		{"Region", x->err->region, sizeof(x->err->region)},
		{"RequestId", x->err->request_id, sizeof(x->err->request_id)},
		{"Error/Code", x->err->code, sizeof(x->err->code)},
		{"Error/Message", x->err->message, sizeof(x->err->message)},
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!strcmp(fields[i].path, path))
			(void)copy(fields[i].out, fields[i].room, text);
	return 0;
}

static void
on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
	struct xml *x = ctx;
	char *slash;
	int rc;

	(void)name;
	(void)prefix;
	(void)uri;
	if (x->rc)
		return;
	x->text[x->ntext] = '\0';
	if (x->depth-- > 1) {
		rc = x->is_error ? on_error_end(x, x->path, x->text) : x->kind->on_end(x, x->path, x->text);
		if (rc < 0)
			fail(x, rc);
		slash = strrchr(x->path, '/');
		*(slash ? slash : x->path) = '\0';
	}
	x->ntext = 0;
}

static void
on_text(void *ctx, const xmlChar *p, int n)
{
	struct xml *x = ctx;

	if (x->rc)
		return;
	if ((size_t)n >= sizeof(x->text) - x->ntext) {
		fail(x, LG_EPROTO);
		return;
	}
	memcpy(x->text + x->ntext, p, (size_t)n);
	x->ntext += (size_t)n;
}

static void
on_doctype(void *ctx, const xmlChar *name, const xmlChar *public_id, const xmlChar *system_id)
{
	(void)name;
	(void)public_id;
	(void)system_id;
	fail(ctx, LG_EPROTO);
}

/* libxml2 up to 2.11 gives a pointer to what may be changed, later ones to what may not */
#if LIBXML_VERSION >= 21200
#define XML_ERROR_ARG const xmlError *
#else
#define XML_ERROR_ARG xmlErrorPtr
#endif

static void
on_complaint(void *ctx, XML_ERROR_ARG error)
{
	(void)ctx;
	(void)error; /* well-formedness is asked for at the end */
}

static pthread_once_t xml_once = PTHREAD_ONCE_INIT;

static void
xml_init(void)
{
	xmlInitParser();
}

/* 0 or 1 as in the header, or negative */
static int
parse(const char *p, size_t n, const struct xml_kind *kind, void *doc, struct s3_error_doc *err)
{
	xmlSAXHandler sax = {
		.initialized = XML_SAX2_MAGIC,
		.startElementNs = on_start,
		.endElementNs = on_end,
		.characters = on_text,
		.cdataBlock = on_text,
		.internalSubset = on_doctype,
		.serror = on_complaint,
	};
	struct xml *x = calloc(1, sizeof(*x));
	int rc;

	memset(err, 0, sizeof(*err));
	if (!x)
		return -ENOMEM;
	pthread_once(&xml_once, xml_init);
	x->kind = kind;
	x->doc = doc;
	x->err = err;
	if (n > S3_XML_MAX) {
		free(x);
		return LG_EPROTO;
	}
	x->ctxt = xmlCreatePushParserCtxt(&sax, x, NULL, 0, NULL);
	if (!x->ctxt) {
		free(x);
		return -ENOMEM;
	}
	/* decoders complain past the context, to stderr; the setting is the thread's */
	xmlSetStructuredErrorFunc(NULL, on_complaint);
	xmlCtxtUseOptions(x->ctxt, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	rc = xmlParseChunk(x->ctxt, p, (int)n, 1);
	if (x->rc)
		rc = x->rc;
	else if (rc || !x->ctxt->wellFormed || !x->seen_root || x->depth)
		rc = LG_EPROTO;
	else
		rc = x->is_error;
	xmlFreeParserCtxt(x->ctxt);
	free(x);
	return rc;
}

/* ---- lists ---- */

/* encoding-type=url, in place; some servers write a space as '+' */
static bool
url_decode(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (*s == '%') {
			int hi = hex_digit(s[1]), lo = hi < 0 ? -1 : hex_digit(s[2]);

			if (lo < 0 || !(hi | lo))
				return false;
			*out++ = (char)(hi << 4 | lo);
			s += 2;
		} else {
			*out++ = *s == '+' ? ' ' : *s;
		}
	}
	*out = '\0';
	return true;
}

static bool
parse_size(const char *text, uint64_t *ret)
{
	uint64_t v = 0;

	if (!text[0])
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || v > UINT64_MAX / 100)
			return false;
		v = v * 10 + (uint64_t)(*text - '0');
	}
	*ret = v;
	return true;
}

static int
on_list_end(struct xml *x, const char *path, const char *text)
{
	struct s3_list_doc *doc = x->doc;

	if (!strcmp(path, "Contents/Key")) {
		x->has_key = copy(x->key, sizeof(x->key), text);
		return x->has_key ? 0 : LG_EPROTO;
	}
	if (!strcmp(path, "Contents/Size")) {
		x->has_size = parse_size(text, &x->size);
		return x->has_size ? 0 : LG_EPROTO;
	}
	if (!strcmp(path, "Contents")) {
		int rc = LG_EPROTO;

		if (x->has_key && x->has_size && (!x->url_encoded || url_decode(x->key)) &&
		    strlen(x->key) < KEY_ROOM)
			rc = doc->on_key(doc->arg, x->key, x->size);
		x->has_key = x->has_size = false;
		return rc;
	}
	if (!strcmp(path, "IsTruncated")) {
		doc->truncated = !strcmp(text, "true");
		return 0;
	}
	if (!strcmp(path, "NextContinuationToken"))
		return copy(doc->token, sizeof(doc->token), text) ? 0 : LG_EPROTO;
	if (!strcmp(path, "EncodingType"))
		x->url_encoded = !strcmp(text, "url");
	return 0;
}

/* Where EncodingType stands behind the keys, they cannot be told: look ahead. */
static bool
says_url(const char *p, size_t n)
{
	static const char word[] = "<EncodingType>url</EncodingType>";

	return memmem(p, n, word, sizeof(word) - 1);
}

static int
on_list_end_url(struct xml *x, const char *path, const char *text)
{
	x->url_encoded = true;
	return on_list_end(x, path, text);
}

int
s3_xml_list(const char *p, size_t n, struct s3_list_doc *doc, struct s3_error_doc *err)
{
	static const struct xml_kind plain = {"ListBucketResult", on_list_end};
	static const struct xml_kind encoded = {"ListBucketResult", on_list_end_url};

	doc->truncated = false;
	doc->token[0] = '\0';
	return parse(p, n, says_url(p, n) ? &encoded : &plain, doc, err);
}

/* ---- the others ---- */

static int
on_delete_end(struct xml *x, const char *path, const char *text)
{
	struct s3_delete_doc *doc = x->doc;

	if (!strcmp(path, "Error/Key"))
		(void)copy(x->key, sizeof(x->key), text);
	else if (!strcmp(path, "Error/Code"))
		(void)copy(x->code, sizeof(x->code), text);
	else if (!strcmp(path, "Error/Message"))
		(void)copy(x->message, sizeof(x->message), text);
	if (!strcmp(path, "Error")) {
		int rc = doc->on_error(doc->arg, x->key, x->code, x->message);

		x->key[0] = x->code[0] = x->message[0] = '\0';
		return rc;
	}
	return 0;
}

int
s3_xml_delete(const char *p, size_t n, struct s3_delete_doc *doc, struct s3_error_doc *err)
{
	static const struct xml_kind kind = {"DeleteResult", on_delete_end};

	return parse(p, n, &kind, doc, err);
}

static int
on_sts_end(struct xml *x, const char *path, const char *text)
{
	struct s3_sts_doc *doc = x->doc;
	const struct {
		const char *name;
		char *out;
		size_t room;
	} fields[] = {
		{"AccessKeyId", doc->access_key, sizeof(doc->access_key)},
		{"SecretAccessKey", doc->secret_key, sizeof(doc->secret_key)},
		{"SessionToken", doc->token, sizeof(doc->token)},
		{"Expiration", doc->expiration, sizeof(doc->expiration)},
	};
	static const char above[] = "AssumeRoleWithWebIdentityResult/Credentials/";

	if (strncmp(path, above, sizeof(above) - 1) != 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!strcmp(path + sizeof(above) - 1, fields[i].name) &&
		    !copy(fields[i].out, fields[i].room, text))
			return LG_EPROTO;
	return 0;
}

int
s3_xml_sts(const char *p, size_t n, struct s3_sts_doc *doc, struct s3_error_doc *err)
{
	static const struct xml_kind kind = {"AssumeRoleWithWebIdentityResponse", on_sts_end};

	memset(doc, 0, sizeof(*doc));
	return parse(p, n, &kind, doc, err);
}

static int
on_nothing(struct xml *x, const char *path, const char *text)
{
	(void)x;
	(void)path;
	(void)text;
	return 0;
}

int
s3_xml_copy(const char *p, size_t n, struct s3_error_doc *err)
{
	static const struct xml_kind kind = {"CopyObjectResult", on_nothing};

	return parse(p, n, &kind, NULL, err);
}

int
s3_xml_error(const char *p, size_t n, struct s3_error_doc *err)
{
	static const struct xml_kind kind = {NULL, on_nothing};
	int rc = parse(p, n, &kind, NULL, err);

	return rc == 1 ? 0 : rc ? rc : LG_EPROTO;
}
