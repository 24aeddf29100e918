/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: a Unix socket (0600), one JSON object a line.
 *
 *   daemon, at once   {"lungate": "0.1.0", "protocol": 1}
 *   client            {"id": 1, "cmd": "volume.create", "args": {...}}
 *   daemon            {"id": 1, "progress": {"done": 5, "total": 10, "text": "..."}}     any number, for long work
 *                     {"id": 1, "ok": true, "result": ...}
 *                     {"id": 1, "ok": false, "error": {"code": "ENOENT", "text": "..."}}
 *
 * Requests of one client are answered in order; several clients are served at once.
 *
 * Threads: a thread accepts, one a client reads, runs and answers: commands may block.
 */
#ifndef LUNGATE_GATEWAY_ADMIN_H
#define LUNGATE_GATEWAY_ADMIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/jsonconf.h"

#define ADMIN_PROTOCOL 1
#define ADMIN_LINE_MAX (256u << 10)
#define ADMIN_CLIENTS_MAX 32

struct admin;
struct admin_client;

struct admin_call {
	void *context;               /* what admin_open() was given */
	void *args;                  /* struct filled by the command's keys */
	const struct json_doc *doc;  /* the request, for objects in args that have tables of their own */
	json_t *result;              /* set by run: new reference, or NULL for null */
	struct errinfo info;         /* words, when run fails */
	/* private */
	struct admin_client *client;
	json_int_t id;
	uint64_t progress_ns;
};

struct admin_command {
	const char *name;
	const struct json_key *keys;
	size_t nkeys;
	size_t args_size;
	int (*run)(struct admin_call *call);
};

/** Bind and listen, and serve from now on.  A socket file that nobody listens at is replaced; -EADDRINUSE when
 *  somebody does. */
int admin_open(const char *path, const struct admin_command *commands, size_t n, void *context, struct admin **ret,
	       struct errinfo *info);

/** Stop accepting, let running commands end and their answers be sent, close, remove the socket file, free. */
void admin_close(struct admin *admin);

/** Has whoever asked gone away?  Then nobody waits for the result. */
bool admin_gone(const struct admin_call *call);

/** From run, as often as one likes: seldom ones are sent. */
void admin_progress(struct admin_call *call, uint64_t done, uint64_t total, const char *text);

#endif
