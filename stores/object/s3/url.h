/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The URL of a bucket:
 *
 *   s3://BUCKET[/PREFIX][?NAME=VALUE&...]
 *
 *   endpoint=http(s)://HOST[:PORT][,...]  several = gateways of one cluster, used in turn; none = AWS
 *   region=NAME                 default: the environment, else us-east-1
 *   addressing=path|virtual     where the bucket's name goes; default: virtual at AWS, else path
 *   payload=signed|unsigned     is the body's SHA-256 signed?  default: over http
 *   http=1.1|2                  default 1.1: bodies of megabytes like connections of their own
 *   profile=NAME, credentials=FILE   where keys come from, see creds.h; never in the URL itself
 *   ca=FILE, cert=FILE, key=FILE     PEM
 *   proxy=http://HOST:PORT
 *   in_flight=N                 requests at once (32)
 *   connect=MS, stall=MS        give up on a connection that is not made / does not move (5 s, 15 s)
 *   retry=MS                    how long a request is tried again before its error is reported (20 s)
 *   up=SIZE, down=SIZE          bytes a second at most; 0 = no cap
 *   if_match=probe|quoted|bare  the form of ETag that If-Match wants; default: find out when opening
 *   quickack=on|off             off shows what TCP_QUICKACK is good for (http.c)
 *
 * Values are percent-decoded.  Threads: any (pure).
 */
#ifndef LUNGATE_STORES_OBJECT_S3_URL_H
#define LUNGATE_STORES_OBJECT_S3_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define S3_ENDPOINTS_MAX 8
#define S3_HOST_MAX 256
#define S3_BUCKET_MAX 63
#define S3_PREFIX_MAX 256
#define S3_PATH_MAX 1024

struct s3_endpoint {
	bool tls;
	bool literal6;            /* host is an IPv6 address: brackets around it */
	char host[S3_HOST_MAX];
	uint16_t port;            /* never 0 */
};

enum s3_addressing { S3_ADDRESSING_AUTO, S3_ADDRESSING_PATH, S3_ADDRESSING_VIRTUAL };
enum s3_payload { S3_PAYLOAD_AUTO, S3_PAYLOAD_SIGNED, S3_PAYLOAD_UNSIGNED };
enum s3_match_form { S3_MATCH_PROBE, S3_MATCH_QUOTED, S3_MATCH_BARE };

struct s3_url {
	char bucket[S3_BUCKET_MAX + 1];
	char prefix[S3_PREFIX_MAX + 1];   /* without slashes at its ends; "" = the whole bucket */
	struct s3_endpoint endpoints[S3_ENDPOINTS_MAX];
	unsigned nendpoints;              /* 0 = AWS */
	char region[64];                  /* "" = not said */
	enum s3_addressing addressing;
	enum s3_payload payload;
	enum s3_match_form match_form;
	bool http2;
	bool no_quickack;
	char profile[128];
	char credentials[S3_PATH_MAX];
	char ca[S3_PATH_MAX];
	char cert[S3_PATH_MAX];
	char key[S3_PATH_MAX];
	char proxy[S3_HOST_MAX + 32];
	unsigned in_flight;
	unsigned connect_ms, stall_ms, retry_ms;
	uint64_t up, down;
};

/** url with or without "s3://" in front.  0, or LG_ECONFIG with words. */
int s3_url_parse(const char *url, struct s3_url *ret, struct errinfo *info);

/** "http://host:port", one of what `endpoint` may name.  0 or -EINVAL. */
int s3_endpoint_parse(const char *text, struct s3_endpoint *ret);

/** What is not said yet: AWS's endpoint and addressing of the region. */
void s3_url_complete(struct s3_url *url);

#endif
