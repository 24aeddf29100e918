/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fake S3 server: requests and their answers.
 *
 * One thread a connection (libmicrohttpd), one lock around the objects: a request takes effect whole under it.
 *
 * A request: uri (as it was sent, for the signature) -> body, in pieces -> checks -> the fault it drew ->
 * its effect -> the answer.
 */
#include "test/lib/fakes3_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "common/util.h"
#include "test/lib/fakes3_auth.h"

#define BODY_MAX (64u << 20)

/* ---- answers ---- */

const char *
fakes3_header(const struct request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

const char *
fakes3_param(const struct request *r, const char *name)
{
	for (unsigned i = 0; i < r->nparams; i++)
		if (!strcmp(r->param[i].name, name))
			return r->param[i].value;
	return NULL;
}

enum MHD_Result
fakes3_reset(struct request *r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct linger linger = {1, 0};

	if (info)
		(void)setsockopt(info->connect_fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return MHD_NO;
}

static void
add_date(const struct request *r, struct MHD_Response *response)
{
	time_t now = time(NULL) + atomic_load(&r->fake->clock);
	char text[64];
	struct tm tm;

	(void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	(void)MHD_add_response_header(response, "Date", text);
}

/* What was done may stay untold. */
enum MHD_Result
fakes3_send_response(struct request *r, unsigned status, struct MHD_Response *response)
{
	int fault = r->fault;
	enum MHD_Result rc;

	if (fault == FAKES3_ERROR_AFTER || fault == FAKES3_RESET_AFTER) {
		MHD_destroy_response(response);
		r->fault = -1;
		return fault == FAKES3_RESET_AFTER ? fakes3_reset(r)
						   : fakes3_send_error(r, 500, "InternalError");
	}
	add_date(r, response);
	rc = MHD_queue_response(r->connection, status, response);
	MHD_destroy_response(response);
	return rc;
}

enum MHD_Result
fakes3_send_text(struct request *r, unsigned status, const char *text, const char *etag)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	char quoted[40];

	if (etag) {
		(void)snprintf(quoted, sizeof(quoted), "\"%s\"", etag);
		(void)MHD_add_response_header(response, "ETag", quoted);
	}
	if (r->fault == FAKES3_BUSY_RETRY_AFTER && status == 503)
		(void)MHD_add_response_header(response, "Retry-After", "1");
	return fakes3_send_response(r, status, response);
}

enum MHD_Result
fakes3_send_error(struct request *r, unsigned status, const char *code)
{
	char text[256];

	(void)snprintf(
		text, sizeof(text),
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>as told</Message>"
		"<RequestId>1</RequestId></Error>",
		code);
	return fakes3_send_text(r, status, text, NULL);
}

/* ---- a request ---- */

static bool
parse_uri(struct request *r)
{
	size_t n = strcspn(r->uri, "?"), bucket = strlen(r->fake->bucket);
	const char *host = fakes3_header(r, "Host");
	bool virtual = host && !strncmp(host, r->fake->bucket, bucket) && host[bucket] == '.';
	char *save = NULL;

	if (n + bucket + 1 >= sizeof(r->path))
		return false;
	/* the bucket stands in the path, or before the host's name */
	(void)snprintf(r->path, sizeof(r->path), "%s%s%.*s", virtual ? "/" : "",
		       virtual ? r->fake->bucket : "", (int)n, r->uri);
	fakes3_unescape(r->path);
	r->params = strdup(r->uri[n] ? r->uri + n + 1 : "");
	for (char *p = strtok_r(r->params, "&", &save); p && r->nparams < FAKES3_PARAMS_MAX;
	     p = strtok_r(NULL, "&", &save)) {
		char *value = strchr(p, '=');

		if (value)
			*value++ = '\0';
		else
			value = p + strlen(p);
		fakes3_unescape(p);
		fakes3_unescape(value);
		r->param[r->nparams].name = p;
		r->param[r->nparams++].value = value;
	}
	if (r->path[0] != '/' || strncmp(r->path + 1, r->fake->bucket, bucket) != 0 ||
	    (r->path[1 + bucket] && r->path[1 + bucket] != '/'))
		return false;
	if (r->path[1 + bucket] && r->path[2 + bucket])
		r->key = r->path + 2 + bucket;
	return true;
}

static enum MHD_Result
finish(struct request *r)
{
	bool known = parse_uri(r);
	struct fakes3_key key;
	struct fakes3_signed sign = {.connection = r->connection,
				     .method = r->method,
				     .uri = r->uri,
				     .access_key = key.access,
				     .secret_key = key.secret,
				     .body = r->body->data,
				     .nbody = r->body->n,
				     .clock = atomic_load(&r->fake->clock)};
	const char *code;
	unsigned status;

	if (!strcmp(r->path, "/_control"))
		return fakes3_answer_control(r);
	fakes3_keys_find(&r->fake->keys, fakes3_header(r, "Authorization"),
			 fakes3_header(r, "x-amz-content-sha256"), &key);
	code = fakes3_check(&sign, &status);
	if (!code && r->too_large) {
		status = 400;
		code = "EntityTooLarge";
	}
	if (code)
		return fakes3_send_error(r, status, code);
	if (!known)
		return fakes3_send_error(r, 404, "NoSuchBucket");
	if (!r->key && !strcmp(r->method, "PUT"))
		return fakes3_send_text(r, 200, "", NULL);
	pthread_mutex_lock(&r->fake->lock);
	r->fault = fakes3_draw(r);
	pthread_mutex_unlock(&r->fake->lock);
	return fakes3_answer(r);
}

static void
take(struct request *r, const char *data, size_t n)
{
	if (r->body->n + n > BODY_MAX) {
		r->too_large = true;
		return;
	}
	if (r->body->n + n + 1 > r->room) {
		r->room = max_of(2 * r->room, r->body->n + n + 1);
		r->body = fakes3_blob_grow(r->body, r->room);
		if (!r->body)
			abort();
	}
	memcpy(r->body->data + r->body->n, data, n);
	r->body->n += n;
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	   const char *version, const char *data, size_t *n, void **con_cls)
{
	struct request *r = *con_cls;

	(void)cls;
	(void)url;
	(void)version;
	if (!r->begun) {
		r->begun = true;
		r->connection = connection;
		r->method = method;
		return MHD_YES;
	}
	if (*n) {
		take(r, data, *n);
		*n = 0;
		return MHD_YES;
	}
	return finish(r);
}

static void *
on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct request *r = calloc(1, sizeof(*r));

	(void)connection;
	if (!r)
		abort();
	r->fake = cls;
	r->uri = strdup(uri);
	r->fault = -1;
	r->room = 4096;
	r->body = fakes3_blob_grow(NULL, r->room);
	if (!r->body || !r->uri)
		abort();
	return r;
}

static void
on_end(void *cls, struct MHD_Connection *connection, void **con_cls, enum MHD_RequestTerminationCode toe)
{
	struct request *r = *con_cls;

	(void)cls;
	(void)connection;
	(void)toe;
	if (!r)
		return;
	fakes3_blob_put(r->body);
	free(r->params);
	free(r->uri);
	free(r);
	*con_cls = NULL;
}

/* The signature is of the path as it was sent. */
static size_t
keep_escapes(void *cls, struct MHD_Connection *connection, char *s)
{
	(void)cls;
	(void)connection;
	return strlen(s);
}

#define CLOCK_OF_ITS_OWN MHD_USE_SUPPRESS_DATE_NO_CLOCK
#define MODE                                                                                                 \
	(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | CLOCK_OF_ITS_OWN)

static struct MHD_Daemon *
listen_on(struct fakes3 *fake, uint16_t port, const char *cert, const char *key)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
	struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert},
				       {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
				       {MHD_OPTION_END, 0, NULL}};

	return MHD_start_daemon(MODE | (cert ? MHD_USE_TLS : 0), port, NULL, NULL, on_request, fake,
				MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&sin,
				MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
				fake, MHD_OPTION_NOTIFY_COMPLETED, on_end, fake, MHD_OPTION_UNESCAPE_CALLBACK,
				keep_escapes, fake, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)262144,
				MHD_OPTION_ARRAY, cert ? tls : tls + 2, MHD_OPTION_END);
}

static bool
read_text(const char *path, char *out, size_t room)
{
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(out, 1, room - 1, f) : 0;

	out[n] = '\0';
	return f && !fclose(f) && n;
}

int
fakes3_reload_tls(struct fakes3 *fake)
{
	static char cert[16384], key[16384];

	if (fake->tls)
		MHD_stop_daemon(fake->tls);
	fake->tls = NULL;
	if (read_text(fake->cert, cert, sizeof(cert)) && read_text(fake->cert_key, key, sizeof(key)))
		fake->tls = listen_on(fake, fake->tls_port, cert, key);
	return fake->tls ? 0 : -EINVAL;
}

int
fakes3_start(const struct fakes3_conf *conf, struct fakes3 **ret)
{
	struct fakes3 *fake = calloc(1, sizeof(*fake));
	int rc = 0;

	if (!fake)
		return -ENOMEM;
	(void)snprintf(fake->bucket, sizeof(fake->bucket), "%s", conf->bucket);
	fakes3_keys_init(&fake->keys, conf->access_key, conf->secret_key);
	(void)snprintf(fake->cert, sizeof(fake->cert), "%s", conf->cert ? conf->cert : "");
	(void)snprintf(fake->cert_key, sizeof(fake->cert_key), "%s", conf->cert_key ? conf->cert_key : "");
	fake->tls_port = conf->tls_port;
	fake->bare_if_match = conf->bare_if_match;
	fake->page_max = conf->page_max ? conf->page_max : 1000;
	fake->rng = conf->seed ? conf->seed : 1;
	pthread_mutex_init(&fake->lock, NULL);
	fake->daemon = listen_on(fake, conf->port, NULL, NULL);
	if (fake->daemon && conf->cert)
		rc = fakes3_reload_tls(fake);
	if (!fake->daemon || rc) {
		fakes3_stop(fake);
		return rc ? rc : -EADDRINUSE;
	}
	*ret = fake;
	return 0;
}

void
fakes3_stop(struct fakes3 *fake)
{
	if (!fake)
		return;
	if (fake->tls)
		MHD_stop_daemon(fake->tls);
	if (fake->daemon)
		MHD_stop_daemon(fake->daemon);
	for (size_t i = 0; i < fake->n; i++) {
		free(fake->objects[i].key);
		fakes3_blob_put(fake->objects[i].blob);
	}
	free(fake->objects);
	pthread_mutex_destroy(&fake->lock);
	free(fake);
}

uint16_t
fakes3_port(const struct fakes3 *fake)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(fake->daemon, MHD_DAEMON_INFO_BIND_PORT);

	return info ? info->port : 0;
}
