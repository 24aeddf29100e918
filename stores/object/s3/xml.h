/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The XML documents of S3, read by events: no tree, no entities, no DTD, no network; depth, length of a text
 * and size of the whole are bounded.
 *
 * Threads: any.
 */
#ifndef LUNGATE_STORES_OBJECT_S3_XML_H
#define LUNGATE_STORES_OBJECT_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** No document of ours is larger: 1,000 keys, escaped, with all that is said about each. */
#define S3_XML_MAX (8u << 20)

struct s3_error_doc {
	char code[64];
	char message[256];
	char region[64];
	char request_id[64];
};

struct s3_list_doc {
	bool truncated;
	char token[3072];
	/** key is unescaped; a negative result ends the parse and is returned. */
	int (*on_key)(void *arg, const char *key, uint64_t size);
	void *arg;
};

struct s3_delete_doc {
	int (*on_error)(void *arg, const char *key, const char *code, const char *message);
	void *arg;
};

/** Session credentials of STS. */
struct s3_sts_doc {
	char access_key[128];
	char secret_key[256];
	char token[4096];
	char expiration[64];
};

/** 0; 1 when it is an <Error> document instead (err is filled in); LG_EPROTO when it is not such a document.
 *  err is always valid: empty strings when there was none. */
int s3_xml_list(const char *p, size_t n, struct s3_list_doc *doc, struct s3_error_doc *err);
int s3_xml_delete(const char *p, size_t n, struct s3_delete_doc *doc, struct s3_error_doc *err);
int s3_xml_sts(const char *p, size_t n, struct s3_sts_doc *doc, struct s3_error_doc *err);
/** The result of a server-side copy. */
int s3_xml_copy(const char *p, size_t n, struct s3_error_doc *err);
/** 0 = it is an error document, LG_EPROTO = it is not. */
int s3_xml_error(const char *p, size_t n, struct s3_error_doc *err);

#endif
