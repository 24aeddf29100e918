/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libcurl's multi handle on a loop.
 *
 * curl says which sockets it waits for (on_socket) and when it wants to be called again (on_timer); a uv_poll
 * a socket and one uv_timer do that waiting.  After each call into curl the finished transfers are collected,
 * outside of curl's callbacks, so that done() may start the next request.
 *
 * A request: http_start -> [connect -> send -> headers: on_head -> body into its sink] -> done.  Its own
 * timer ends it when it does not move: curl's count of low speed knows whole seconds alone.
 *
 * TCP_QUICKACK is not sticky: a server without TCP_NODELAY sends the header by itself and waits for its ACK
 * before it sends the body, 40 ms with delayed ACKs.  It is set whenever a socket is about to wait for an
 * answer, and again when it got a part of one.
 *
 * With HTTP/2, a transfer that reads may leave another's data in curl, together with what the connection
 * brought behind them, and the socket stays silent from then on: libcurl 7.88 does not always wake the other
 * one.  So after each progress of an HTTP/2 transfer its connection is looked at once more (on_nudge), until
 * nothing moves.
 *
 * Threads: all on the loop.  curl may resolve names on threads of its own.
 * Failure: everything ends in done().  What is in flight when the loop is freed is dropped without it.
 */
#include "stores/object/s3/http.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#include "common/copy.h"
#include "common/err.h"
#include "common/util.h"

#define IDLE_CONNECTIONS 128L
#define IDLE_AGE_S 50L /* RGW closes after 65 s; do not race with it */
#define DNS_AGE_S 60L
#define HANDLES_KEPT 64u
#define BUFFER_BIG (256L << 10)
#define BUFFER_SMALL (16L << 10)
#define SMALL_BODY (64u << 10)
#define CACHED_BODY (512u << 10) /* the end of a larger one would push its beginning out of the cache */
#define PROGRESS_BYTES (16u << 10)
#define TEXT_FIRST 4096u
#define HURRY_STALL_MS 2000u
#define NUDGE_MS 1u

struct http {
	struct loop *loop;
	CURLM *multi;
	uv_timer_t timer;
	struct http_request *active;      /* list */
	struct socket_watch *multiplexed; /* list: HTTP/2 connections in use */
	struct loop_timer nudge;          /* runs after progress over one of them */
	CURL *handles[HANDLES_KEPT];
	unsigned nhandles;
	bool dying;
};

struct socket_watch {
	uv_poll_t poll; /* first: freed as such */
	struct http *http;
	struct socket_watch *next, **prev; /* in http->multiplexed; prev is NULL when it is not */
	curl_socket_t fd;
	bool quickack, due;
};

static pthread_once_t global_once = PTHREAD_ONCE_INIT;

static void
global_init(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		assert(!"libcurl cannot be initialised");
}

void
http_global_init(void)
{
	pthread_once(&global_once, global_init);
}

/* ---- the end of a request ---- */

static void
active_remove(struct http_request *req)
{
	if (req->prev)
		req->prev->next = req->next;
	else
		req->http->active = req->next;
	if (req->next)
		req->next->prev = req->prev;
	req->prev = req->next = NULL;
}

static void
handle_give_back(struct http *http, CURL *easy)
{
	if (http->nhandles < HANDLES_KEPT) {
		curl_easy_reset(easy);
		http->handles[http->nhandles++] = easy;
	} else {
		curl_easy_cleanup(easy);
	}
}

static void
detach(struct http_request *req)
{
	loop_timer_stop(&req->stall);
	curl_multi_remove_handle(req->http->multi, req->easy);
	active_remove(req);
	handle_give_back(req->http, req->easy);
	req->easy = NULL;
}

static void
finish(struct http_request *req, int curl)
{
	req->curl = curl;
	(void)curl_easy_getinfo(req->easy, CURLINFO_OS_ERRNO, &req->os_error);
	if (curl == CURLE_OK && !req->error && !req->head_done)
		req->curl = CURLE_WEIRD_SERVER_REPLY;
	if (req->curl == CURLE_OK && !req->error && req->sink == HTTP_SINK_IOV &&
	    req->received != req->sink_bytes)
		req->curl = CURLE_PARTIAL_FILE;
	detach(req);
	req->done(req);
}

static void
collect(struct http *http)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(http->multi, &left))) {
		struct http_request *req = NULL;
		int result = (int)msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&req);
		finish(req, result);
	}
}

/* When it is over unless it moves.  Late in the time that its caller has, there is less patience: an initiator
 * would give up on the whole command. */
static uint64_t
stall_due(const struct http_request *req)
{
	uint64_t due = req->progress_ms + req->settings->stall_ms;

	if (!req->hurry_ms)
		return due;
	return min_of(due, max_of(req->hurry_ms, req->progress_ms + HURRY_STALL_MS));
}

static void
on_stall(struct loop_timer *timer)
{
	struct http_request *req = container_of(timer, struct http_request, stall);
	uint64_t now = loop_now_ms(timer->loop), due = stall_due(req);

	if (now < due) {
		loop_timer_start(timer, due - now);
		return;
	}
	finish(req, CURLE_OPERATION_TIMEDOUT);
}

static void
progress(struct http_request *req, size_t bytes, bool step)
{
	struct http *http = req->http;

	if (req->settings->http2 && !http->nudge.due_ms)
		loop_timer_start(&http->nudge, NUDGE_MS);
	req->progress_bytes += (unsigned)min_of(bytes, PROGRESS_BYTES);
	if (!step && req->progress_bytes < PROGRESS_BYTES)
		return;
	req->progress_bytes = 0;
	req->progress_ms = loop_now_ms(http->loop);
}

/* ---- curl's sockets and timer ---- */

static void
act(struct http *http, curl_socket_t fd, int events)
{
	int running;

	curl_multi_socket_action(http->multi, fd, events, &running);
	collect(http);
}

static void
quickack(curl_socket_t fd)
{
	int on = 1;

	/* on a socket of another kind it fails, which is fine */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct socket_watch *watch = poll->data;
	struct http *http = watch->http;
	curl_socket_t fd = watch->fd;
	int flags = 0;

	if (watch->quickack && (events & UV_READABLE))
		quickack(fd);
	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	act(http, fd, flags);
}

static void
on_uv_timer(uv_timer_t *timer)
{
	act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int
on_timer(CURLM *multi, long ms, void *arg)
{
	struct http *http = arg;

	(void)multi;
	if (http->dying || ms < 0)
		uv_timer_stop(&http->timer);
	else
		uv_timer_start(&http->timer, on_uv_timer, (uint64_t)ms, 0);
	return 0;
}

static struct socket_watch *
first_due(const struct http *http)
{
	struct socket_watch *watch = http->multiplexed;

	while (watch && !watch->due)
		watch = watch->next;
	return watch;
}

static void
on_nudge(struct loop_timer *timer)
{
	struct http *http = container_of(timer, struct http, nudge);
	struct socket_watch *watch;

	for (watch = http->multiplexed; watch; watch = watch->next)
		watch->due = true;
	/* each call may end any connection */
	while ((watch = first_due(http))) {
		watch->due = false;
		act(http, watch->fd, CURL_CSELECT_IN);
	}
}

static void
multiplexed_add(struct http *http, struct socket_watch *watch)
{
	watch->next = http->multiplexed;
	watch->prev = &http->multiplexed;
	if (watch->next)
		watch->next->prev = &watch->next;
	http->multiplexed = watch;
}

static void
multiplexed_remove(struct socket_watch *watch)
{
	if (!watch->prev)
		return;
	*watch->prev = watch->next;
	if (watch->next)
		watch->next->prev = watch->prev;
}

static void
on_watch_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static struct socket_watch *
watch_new(struct http *http, CURL *easy, curl_socket_t fd)
{
	struct socket_watch *watch = calloc(1, sizeof(*watch));
	struct http_request *req = NULL;

	if (!watch)
		return NULL;
	if (uv_poll_init_socket(loop_uv(http->loop), &watch->poll, fd)) {
		free(watch);
		return NULL;
	}
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&req);
	watch->poll.data = watch;
	watch->http = http;
	watch->fd = fd;
	watch->quickack = !req || !req->settings->no_quickack;
	if (req && req->settings->http2)
		multiplexed_add(http, watch);
	curl_multi_assign(http->multi, fd, watch);
	return watch;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http *http = arg;
	struct socket_watch *watch = socket_arg;
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (watch) {
			multiplexed_remove(watch);
			uv_poll_stop(&watch->poll);
			uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
			curl_multi_assign(http->multi, fd, NULL);
		}
		return 0;
	}
	if (!watch)
		watch = watch_new(http, easy, fd);
	if (!watch)
		return -1;
	if (what & CURL_POLL_IN) {
		events |= UV_READABLE;
		if (watch->quickack)
			quickack(fd);
	}
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	return uv_poll_start(&watch->poll, events, on_poll) ? -1 : 0;
}

/* ---- one loop's state ---- */

static void
on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void
destroy(void *p)
{
	struct http *http = p;

	http->dying = true;
	loop_timer_stop(&http->nudge);
	while (http->active) {
		struct http_request *req = http->active;

		loop_timer_stop(&req->stall);
		curl_multi_remove_handle(http->multi, req->easy);
		active_remove(req);
		curl_easy_cleanup(req->easy);
		req->easy = NULL;
	}
	while (http->nhandles)
		curl_easy_cleanup(http->handles[--http->nhandles]);
	curl_multi_cleanup(http->multi); /* idle sockets leave through on_socket */
	uv_timer_stop(&http->timer);
	uv_close((uv_handle_t *)&http->timer, on_closed);
}

static struct http *
http_of(struct loop *loop)
{
	struct http *http = loop_slot_get(loop, LOOP_SLOT_HTTP);

	if (http)
		return http;
	http_global_init();
	http = calloc(1, sizeof(*http));
	if (!http)
		return NULL;
	http->multi = curl_multi_init();
	if (!http->multi) {
		free(http);
		return NULL;
	}
	http->loop = loop;
	uv_timer_init(loop_uv(loop), &http->timer);
	http->timer.data = http;
	loop_timer_init(&http->nudge, loop, on_nudge);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS);
	curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	loop_slot_set(loop, LOOP_SLOT_HTTP, http, destroy);
	return http;
}

/* ---- a transfer ---- */

/* What is copied from body to p: at most room. */
static size_t
body_take(struct http_request *req, char *p, size_t room)
{
	size_t n = 0;

	while (n < room && req->at < req->nbody) {
		const struct iovec *v = &req->body[req->at];
		size_t k = min_of(room - n, v->iov_len - req->at_offset);

		if (k)
			memcpy(p + n, (const char *)v->iov_base + req->at_offset, k);
		n += k;
		req->at_offset += k;
		if (req->at_offset == v->iov_len) {
			req->at++;
			req->at_offset = 0;
		}
	}
	return n;
}

static size_t
on_read(char *p, size_t size, size_t n, void *arg)
{
	struct http_request *req = arg;
	size_t k = body_take(req, p, size * n);

	req->sent_bytes += k;
	progress(req, k, req->sent_bytes == req->body_bytes);
	return k;
}

/* curl sends the body again on a new connection when a kept one turned out to be closed */
static int
on_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_request *req = arg;

	if (origin != SEEK_SET || offset < 0)
		return CURL_SEEKFUNC_FAIL;
	req->resent = req->resent || req->sent_bytes;
	req->at = 0;
	req->at_offset = (size_t)offset;
	while (req->at < req->nbody && req->at_offset >= req->body[req->at].iov_len)
		req->at_offset -= req->body[req->at++].iov_len;
	return CURL_SEEKFUNC_OK;
}

static size_t
on_header(char *p, size_t size, size_t n, void *arg)
{
	struct http_request *req = arg;
	bool end = size * n <= 2 && (p[0] == '\r' || p[0] == '\n');
	int rc;

	if (req->head_done)
		return size * n; /* trailers */
	http_response_line(&req->response, p, size * n);
	progress(req, size * n, end);
	if (!end || req->response.status < 200)
		return size * n;
	req->head_done = true;
	req->at = 0;
	req->at_offset = 0;
	rc = req->on_head(req);
	if (rc < 0) {
		req->error = rc;
		return 0;
	}
	return size * n;
}

static void
sink_copy(const struct http_request *req, void *to, const void *from, size_t n)
{
	if (req->sink_bytes > CACHED_BODY)
		copy_past_cache(to, from, n);
	else
		memcpy(to, from, n);
}

/* n bytes of the answer against iov, copied or compared; false: there is no room for them */
static bool
sink_iov(struct http_request *req, const char *p, size_t n)
{
	while (n) {
		const struct iovec *v = &req->iov[req->at];
		size_t k;

		if (req->at == req->niov)
			return false;
		k = min_of(n, v->iov_len - req->at_offset);
		if (k && req->sink == HTTP_SINK_IOV)
			sink_copy(req, (char *)v->iov_base + req->at_offset, p, k);
		else if (k && memcmp((const char *)v->iov_base + req->at_offset, p, k) != 0)
			req->differs = true;
		p += k;
		n -= k;
		req->at_offset += k;
		if (req->at_offset == v->iov_len) {
			req->at++;
			req->at_offset = 0;
		}
	}
	return true;
}

static bool
sink_text(struct http_request *req, const char *p, size_t n)
{
	size_t room = TEXT_FIRST;
	char *text;

	if (n > req->text_max - req->ntext)
		return false;
	while (room <= req->ntext + n)
		room *= 2;
	if (!req->text || room > TEXT_FIRST) {
		text = realloc(req->text, room);
		if (!text)
			return false;
		req->text = text;
	}
	memcpy(req->text + req->ntext, p, n);
	req->ntext += n;
	req->text[req->ntext] = '\0';
	return true;
}

static size_t
on_write(char *p, size_t size, size_t count, void *arg)
{
	struct http_request *req = arg;
	size_t n = size * count;
	bool ok = true;

	progress(req, n, false);
	switch (req->sink) {
	case HTTP_SINK_TEXT:
		ok = sink_text(req, p, n);
		break;
	case HTTP_SINK_IOV:
		ok = n <= req->sink_bytes - req->received && sink_iov(req, p, n);
		break;
	case HTTP_SINK_COMPARE:
		if (!req->differs && !sink_iov(req, p, n))
			req->differs = true;
		break;
	case HTTP_SINK_DISCARD:
		break;
	}
	if (!ok) {
		req->error = LG_EPROTO;
		return 0;
	}
	req->received += n;
	if (req->arrived && req->sink == HTTP_SINK_IOV && n)
		req->arrived(req, req->received - n, p, n);
	return n;
}

static int
on_sockopt(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	struct http_request *req = arg;
	unsigned ms = req->settings->stall_ms;

	if (purpose == CURLSOCKTYPE_IPCXN)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	return CURL_SOCKOPT_OK;
}

#define SET(option, value) (void)curl_easy_setopt(req->easy, CURLOPT_##option, (value))

static void
set_connection(struct http_request *req)
{
	const struct http_settings *s = req->settings;

	SET(NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(PROTOCOLS_STR, "http,https");
#else
	SET(PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	SET(FOLLOWLOCATION, 0L);
	SET(NETRC, (long)CURL_NETRC_IGNORED);
	SET(PROXY, s->proxy ? s->proxy : ""); /* "" also means: not from the environment */
	SET(CONNECTTIMEOUT_MS, (long)s->connect_ms);
	SET(TCP_NODELAY, 1L);
	SET(TCP_KEEPALIVE, 1L);
	SET(MAXAGE_CONN, IDLE_AGE_S);
	SET(DNS_CACHE_TIMEOUT, DNS_AGE_S);
	SET(SOCKOPTFUNCTION, on_sockopt);
	SET(SOCKOPTDATA, req);
	SET(HTTP_VERSION, (long)(s->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	SET(PIPEWAIT, s->http2 ? 1L : 0L);
	SET(SSL_VERIFYPEER, 1L);
	SET(SSL_VERIFYHOST, 2L);
	SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (s->ca && s->ca[0])
		SET(CAINFO, s->ca);
	if (s->cert && s->cert[0]) {
		SET(SSLCERT, s->cert);
		SET(SSLKEY, s->key);
	}
}

static void
set_transfer(struct http_request *req)
{
	static const char *const names[] = {[HTTP_GET] = "GET",
					    [HTTP_HEAD] = "HEAD",
					    [HTTP_PUT] = "PUT",
					    [HTTP_POST] = "POST",
					    [HTTP_DELETE] = "DELETE"};
	bool upload = req->method == HTTP_PUT || req->method == HTTP_POST;

	SET(URL, req->url);
	SET(PATH_AS_IS, 1L);
	SET(HTTPHEADER, req->headers);
	SET(PRIVATE, req);
	SET(ERRORBUFFER, req->words);
	SET(HEADERFUNCTION, on_header);
	SET(HEADERDATA, req);
	SET(WRITEFUNCTION, on_write);
	SET(WRITEDATA, req);
	SET(BUFFERSIZE, req->niov && req->sink_bytes <= SMALL_BODY ? BUFFER_SMALL : BUFFER_BIG);
	if (req->method == HTTP_HEAD)
		SET(NOBODY, 1L);
	if (upload) {
		SET(UPLOAD, 1L);
		SET(READFUNCTION, on_read);
		SET(READDATA, req);
		SET(SEEKFUNCTION, on_seek);
		SET(SEEKDATA, req);
		SET(INFILESIZE_LARGE, (curl_off_t)req->body_bytes);
		SET(UPLOAD_BUFFERSIZE, req->body_bytes <= SMALL_BODY ? BUFFER_SMALL : BUFFER_BIG);
	}
	SET(CUSTOMREQUEST, names[req->method]);
}

static void
on_refused(struct loop_msg *msg)
{
	struct http_request *req = container_of(msg, struct http_request, msg);

	req->done(req);
}

static void
refuse(struct http_request *req)
{
	req->curl = CURLE_OUT_OF_MEMORY;
	req->msg.fn = on_refused;
	loop_post(loop_current(), &req->msg);
}

void
http_start(struct http_request *req)
{
	struct http *http = http_of(loop_current());

	http_response_init(&req->response);
	req->easy = NULL;
	if (http)
		req->easy = http->nhandles ? http->handles[--http->nhandles] : curl_easy_init();
	if (!req->easy) {
		refuse(req);
		return;
	}
	req->http = http;
	loop_timer_init(&req->stall, http->loop, on_stall);
	set_connection(req);
	set_transfer(req);
	if (curl_multi_add_handle(http->multi, req->easy)) {
		handle_give_back(http, req->easy);
		req->easy = NULL;
		refuse(req);
		return;
	}
	req->next = http->active;
	if (req->next)
		req->next->prev = req;
	http->active = req;
	req->progress_ms = loop_now_ms(http->loop);
	/* connecting has a time-out of its own */
	loop_timer_start(&req->stall, stall_due(req) - req->progress_ms);
}

void
http_request_clear(struct http_request *req)
{
	free(req->text);
	req->text = NULL;
	req->ntext = 0;
	/* a session token is among them */
	for (struct curl_slist *h = req->headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(req->headers);
	req->headers = NULL;
}
