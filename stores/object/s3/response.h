/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The headers of an answer, one line at a time: what we use of them, checked.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_STORES_OBJECT_S3_RESPONSE_H
#define LUNGATE_STORES_OBJECT_S3_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define HTTP_UNKNOWN UINT64_MAX

struct http_response {
	long status;
	uint64_t length;                  /* Content-Length, or HTTP_UNKNOWN */
	bool has_range;
	uint64_t range_first, range_last; /* Content-Range; of "bytes * /N" HTTP_UNKNOWN */
	uint64_t range_total;             /* HTTP_UNKNOWN = '*' */
	char etag[128];                   /* without its quotes; of a weak one as it came */
	time_t date;                      /* 0 = none */
	char retry_after[64];
	char request_id[64];
	char region[64];                  /* x-amz-bucket-region */
	bool encoded;                     /* Content-Encoding that changes the bytes */
	bool broken;                      /* a header that contradicts another one, or cannot be read */
};

void http_response_init(struct http_response *r);
/** A line with or without its CRLF.  A status line begins anew (an interim answer came before). */
void http_response_line(struct http_response *r, const char *line, size_t n);

#endif
