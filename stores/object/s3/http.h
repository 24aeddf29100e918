/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HTTP requests on a loop: one libcurl multi handle a loop, driven by its events, with the connections that
 * stay open shared by all stores of that loop.
 *
 * Threads: on the loop alone.
 */
#ifndef LUNGATE_STORES_OBJECT_S3_HTTP_H
#define LUNGATE_STORES_OBJECT_S3_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/loop.h"
#include "stores/object/s3/response.h"

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_POST, HTTP_DELETE };

/** The same for all requests of a store; "" = none. */
struct http_settings {
	const char *ca, *cert, *key, *proxy;
	unsigned connect_ms;
	unsigned stall_ms;     /* without at least 16 KiB, or a step forward, in that time: over */
	bool http2;
	bool no_quickack;      /* for the benchmark that shows what it is good for */
};

/** Where the body of the answer goes. */
enum http_sink {
	HTTP_SINK_TEXT,        /* into text, at most text_max, more is an error */
	HTTP_SINK_IOV,         /* into iov: exactly sink_bytes */
	HTTP_SINK_COMPARE,     /* differs = it is not what iov holds */
	HTTP_SINK_DISCARD,
};

struct http_request {
	/* ---- by the caller, untouched until done */
	enum http_method method;
	const char *url;
	struct curl_slist *headers;
	const struct http_settings *settings;
	const struct iovec *body;      /* PUT, POST */
	int nbody;
	uint64_t body_bytes;
	size_t text_max;
	uint64_t hurry_ms;             /* from then on (loop_now_ms) 2 s without a move are enough; 0 = never */
	/** When the headers of the final answer are there: choose the sink.  Negative = enough, end with that. */
	int (*on_head)(struct http_request *req);
	/** NULL, or: bytes [from, from + n) of the body are in iov, and for the moment at data. */
	void (*arrived)(struct http_request *req, uint64_t from, const void *data, size_t n);
	/** After http_start() has returned, in any case. */
	void (*done)(struct http_request *req);
	/* ---- by on_head */
	enum http_sink sink;
	const struct iovec *iov;
	int niov;
	uint64_t sink_bytes;
	/* ---- the result */
	int curl;                      /* CURLE_OK: a whole answer came */
	int error;                     /* our own reason to end it: negative, goes before curl */
	long os_error;
	struct http_response response;
	char *text;                    /* malloc'd, NUL added; free with http_request_clear() */
	size_t ntext;
	uint64_t received;             /* of the body */
	bool differs;
	bool resent;                   /* curl sent it twice: the first connection was closed under it */
	char words[CURL_ERROR_SIZE];
	/* ---- private */
	struct http *http;
	struct http_request *prev, *next;
	CURL *easy;
	struct loop_timer stall;
	struct loop_msg msg;
	uint64_t progress_ms;
	unsigned progress_bytes;
	uint64_t sent_bytes;
	int at;                        /* in body or iov */
	size_t at_offset;
	bool head_done;
};

/** On the loop.  Cannot fail: what goes wrong is told by done. */
void http_start(struct http_request *req);
/** What a finished request holds. */
void http_request_clear(struct http_request *req);

/** Any thread, before the first use of curl there. */
void http_global_init(void);

#endif
