/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's server.
 *
 * States of a client: greeted -> (reading <-> running) -> closed.  Its thread owns its descriptor and buffer;
 * the acceptor owns the list of clients and joins threads that ended. A client that breaks the protocol (no
 * JSON, a line too long) gets an error with id null and is closed; one that does not read its answers for
 * SEND_TIMEOUT_S is closed.  Neither touches any other.  Without descriptors new clients wait in the backlog.
 */
#include "gateway/admin.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"
#include "common/vfs.h"
#include "gateway/socket_path.h"

#define SEND_TIMEOUT_S 10
#define PROGRESS_NS (200 * UINT64_C(1000000))
#define REST_MS 100 /* without a descriptor for a client: it waits in the backlog */

struct admin_client {
	struct admin *admin;
	struct admin_client *next;
	pthread_t thread;
	int fd;
	_Atomic bool ended;
	bool broken; /* an answer could not be sent */
	char *line;  /* ADMIN_LINE_MAX */
	size_t have;
};

struct admin {
	char *path;
	const struct admin_command *commands;
	size_t ncommands;
	void *context;
	int listen_fd, wake_fd;
	pthread_t acceptor;
	_Atomic bool stopping;
	struct admin_client *clients; /* the acceptor's; admin_close() takes over when it has ended */
	unsigned nclients;
};

struct request {
	json_int_t id;
	uint64_t id_value;
	char *cmd;
	json_t *args;
};

static const struct json_key request_keys[] = {
	{.key = "id", .kind = JSON_KIND_UINT, .offset = offsetof(struct request, id_value), .max = INT64_MAX},
	{.key = "cmd", .kind = JSON_KIND_STRING, .offset = offsetof(struct request, cmd), .required = true},
	{.key = "args", .kind = JSON_KIND_OBJECT, .offset = offsetof(struct request, args)},
};

/* -- sending ------------------------------------------------------------------------------------------------
 */

static void
send_line(struct admin_client *client, json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0, done = 0;

	if (!text) {
		client->broken = true;
		return;
	}
	text[len++] = '\n'; /* in the place of the NUL */
	while (!client->broken && done < len) {
		ssize_t n = send(client->fd, text + done, len - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			client->broken = true;
	}
	free(text);
}

static void
send_error(struct admin_client *client, json_t *id, int err, const char *text)
{
	static const char format[] = "{s:O, s:b, s:{s:s, s:s}}";
	json_t *answer = json_pack(format, "id", id, "ok", 0, "error", "code", err_name(err), "text",
				   text && *text ? text : err_text(err));

	if (!answer) /* words that are not UTF-8: a file's name, say */
		answer = json_pack(format, "id", id, "ok", 0, "error", "code", err_name(err), "text",
				   err_text(err));
	if (answer)
		send_line(client, answer);
	json_decref(answer);
	json_decref(id);
}

bool
admin_gone(const struct admin_call *call)
{
	/* one that has sent all that it will (shutdown(SHUT_WR)) still waits for its answers */
	struct pollfd poll_fd = {.fd = call->client->fd};

	return call->client->broken || (poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLHUP | POLLERR)));
}

void
admin_progress(struct admin_call *call, uint64_t done, uint64_t total, const char *text)
{
	uint64_t now = clock_ns();
	json_t *line;

	if (call->progress_ns && now - call->progress_ns < PROGRESS_NS)
		return;
	call->progress_ns = now;
	line = json_pack("{s:I, s:{s:I, s:I, s:s}}", "id", call->id, "progress", "done", (json_int_t)done,
			 "total", (json_int_t)total, "text", text);
	if (line)
		send_line(call->client, line);
	json_decref(line);
}

/* -- one request --------------------------------------------------------------------------------------------
 */

/* "request:1:40: args.volume.size: words" reads better as "size: words". */
static const char *
plain_words(const char *text)
{
	static const char *const places[] = {"args.volume.", "args.volume: ", "args.", "args: "};

	if (!strncmp(text, "request:", 8)) {
		const char *words = strstr(text, ": ");

		text = words ? words + 2 : text;
	}
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (!strncmp(text, places[i], strlen(places[i])))
			return text + strlen(places[i]);
	return text;
}

static const struct admin_command *
find_command(const struct admin *admin, const char *name)
{
	for (size_t i = 0; i < admin->ncommands; i++)
		if (!strcmp(admin->commands[i].name, name))
			return &admin->commands[i];
	return NULL;
}

static void
free_strings(const struct admin_command *command, void *args)
{
	for (size_t i = 0; i < command->nkeys; i++)
		if (command->keys[i].kind == JSON_KIND_STRING)
			free(*(char **)((char *)args + command->keys[i].offset));
}

static void
run_command(struct admin_client *client, const struct admin_command *command, const struct json_doc *doc,
	    const struct request *request)
{
	struct admin_call call = {.context = client->admin->context,
				  .doc = doc,
				  .client = client,
				  .id = (json_int_t)request->id_value};
	json_t *empty = json_object(), *answer;
	int r = 0;

	call.args = calloc(1, command->args_size ? command->args_size : 1);
	if (!call.args)
		r = -ENOMEM;
	if (!r)
		r = json_read(doc, request->args ? request->args : empty, "args", command->keys,
			      command->nkeys, call.args, &call.info);
	if (!r)
		r = command->run(&call);
	if (r) {
		send_error(client, json_integer(call.id), r, plain_words(call.info.text));
	} else {
		answer = json_pack("{s:I, s:b, s:o}", "id", call.id, "ok", 1, "result",
				   call.result ? call.result : json_null());
		call.result = NULL;
		if (answer)
			send_line(client, answer);
		json_decref(answer);
	}
	json_decref(call.result);
	if (call.args)
		free_strings(command, call.args);
	free(call.args);
	json_decref(empty);
}

/* False when the client is to be closed. */
static bool
handle_line(struct admin_client *client, const char *line, size_t len)
{
	const struct admin_command *command;
	struct request request = {0};
	struct errinfo info = {{0}};
	struct json_doc doc;
	bool go_on = false;
	int r;

	r = json_doc_parse("request", line, len, &doc, &info);
	if (r) {
		send_error(client, json_null(), LG_EPROTO, info.text);
		return false;
	}
	r = json_read(&doc, doc.root, "", request_keys, ARRAY_SIZE(request_keys), &request, &info);
	if (r) {
		send_error(client, json_null(), LG_EPROTO, info.text);
		goto out;
	}
	go_on = true;
	command = find_command(client->admin, request.cmd);
	if (command) {
		run_command(client, command, &doc, &request);
	} else {
		(void)err_set(&info, -ENOTSUP, "this daemon (%s) has no command \"%.64s\"", PACKAGE_VERSION,
			      request.cmd);
		send_error(client, json_integer((json_int_t)request.id_value), -ENOTSUP, info.text);
	}
out:
	free(request.cmd);
	json_doc_fini(&doc);
	return go_on && !client->broken;
}

/* -- one client ---------------------------------------------------------------------------------------------
 */

/* Lines that are whole; what follows the last one stays. */
static bool
handle_buffer(struct admin_client *client)
{
	char *start = client->line, *end;
	size_t left = client->have;
	bool go_on = true;

	while (go_on && left && (end = memchr(start, '\n', left))) {
		size_t len = (size_t)(end - start);

		if (len && !atomic_load(&client->admin->stopping))
			go_on = handle_line(client, start, len);
		start = end + 1;
		left -= len + 1;
	}
	memmove(client->line, start, left);
	client->have = left;
	if (go_on && left == ADMIN_LINE_MAX) {
		send_error(client, json_null(), LG_EPROTO, "the line is too long");
		return false;
	}
	return go_on;
}

static void *
client_main(void *arg)
{
	struct admin_client *client = arg;
	json_t *hello = json_pack("{s:s, s:i}", "lungate", PACKAGE_VERSION, "protocol", ADMIN_PROTOCOL);
	uint64_t one = 1;

	send_line(client, hello);
	json_decref(hello);
	while (!client->broken) {
		ssize_t n = read(client->fd, client->line + client->have, ADMIN_LINE_MAX - client->have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		client->have += (size_t)n;
		if (!handle_buffer(client))
			break;
	}
	(void)shutdown(client->fd, SHUT_RDWR);
	atomic_store(&client->ended, true);
	if (write(client->admin->wake_fd, &one, sizeof(one)) < 0)
		log_warn("control socket: cannot wake the acceptor");
	return NULL;
}

static void
client_free(struct admin_client *client)
{
	(void)pthread_join(client->thread, NULL);
	close(client->fd);
	free(client->line);
	free(client);
}

/* There is somebody, and nothing to take him with: poll() would say so again at once. */
static void
rest(const struct admin *admin)
{
	struct pollfd wake = {.fd = admin->wake_fd, .events = POLLIN};

	(void)poll(&wake, 1, REST_MS);
}

static void
accept_client(struct admin *admin)
{
	struct timeval timeout = {.tv_sec = SEND_TIMEOUT_S};
	struct admin_client *client;
	int fd = accept4(admin->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			rest(admin);
		return;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	client = calloc(1, sizeof(*client));
	if (!client)
		goto fail;
	client->admin = admin;
	client->fd = fd;
	if (admin->nclients == ADMIN_CLIENTS_MAX) {
		send_error(client, json_null(), -EAGAIN, "too many clients at the control socket");
		goto fail;
	}
	client->line = malloc(ADMIN_LINE_MAX);
	if (!client->line || pthread_create(&client->thread, NULL, client_main, client))
		goto fail;
	client->next = admin->clients;
	admin->clients = client;
	admin->nclients++;
	return;
fail:
	close(fd);
	if (client)
		free(client->line);
	free(client);
}

static void
reap(struct admin *admin)
{
	struct admin_client **at = &admin->clients;

	while (*at) {
		struct admin_client *client = *at;

		if (!atomic_load(&client->ended)) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		admin->nclients--;
		client_free(client);
	}
}

static void *
acceptor_main(void *arg)
{
	struct admin *admin = arg;
	struct pollfd fds[2] = {{.fd = admin->listen_fd, .events = POLLIN},
				{.fd = admin->wake_fd, .events = POLLIN}};
	uint64_t value;

	while (!atomic_load(&admin->stopping)) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents && read(admin->wake_fd, &value, sizeof(value)) < 0)
			continue;
		reap(admin);
		if (fds[0].revents && !atomic_load(&admin->stopping))
			accept_client(admin);
	}
	return NULL;
}

/* -- open and close -----------------------------------------------------------------------------------------
 */

static int
make_parent(const char *path)
{
	char *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
	int r = dir ? 0 : -ENOMEM;

	if (slash && slash != dir) {
		*slash = 0;
		r = vfs_mkdirs(vfs_posix(), dir, 0755);
	}
	free(dir);
	return r;
}

/* Only a socket that refuses connections is known to be nobody's. */
static int
remove_stale(const char *path, struct errinfo *info)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT
			       ? 0
			       : err_set(info, -errno, "control socket %s: %s", path, err_text(-errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(
			info, -EEXIST,
			"control socket: %s is there and is not a socket; choose another \"control\" path",
			path);
	fd = socket_path_connect(path);
	if (fd >= 0) {
		close(fd);
		return err_set(
			info, -EADDRINUSE,
			"another daemon listens at the control socket %s; stop it, or give this one another \"control\" path",
			path);
	}
	if (fd != -ECONNREFUSED)
		return err_set(info, fd, "control socket %s: %s", path, err_text(fd));
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(info, -errno, "cannot remove the stale control socket %s: %s", path,
			       err_text(-errno));
	return 0;
}

static int
bind_socket(struct admin *admin, struct errinfo *info)
{
	struct sockaddr_un addr;
	mode_t mask;
	int dir, r;

	r = make_parent(admin->path);
	if (r)
		return err_set(info, r, "cannot make the directory of the control socket %s: %s", admin->path,
			       err_text(r));
	r = remove_stale(admin->path, info);
	if (r)
		return r;
	r = socket_path(admin->path, &addr, &dir);
	if (r)
		return err_set(info, r, "control socket %s: %s", admin->path, err_text(r));
	admin->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177); /* 0600 from the first moment; no other thread makes files this early */
	if (admin->listen_fd < 0 || bind(admin->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(admin->listen_fd, ADMIN_CLIENTS_MAX) < 0)
		r = -errno;
	(void)umask(mask);
	if (dir >= 0)
		close(dir);
	return r ? err_set(info, r, "cannot listen at the control socket %s: %s", admin->path, err_text(r))
		 : 0;
}

static void
admin_free(struct admin *admin)
{
	if (admin->listen_fd >= 0)
		close(admin->listen_fd);
	if (admin->wake_fd >= 0)
		close(admin->wake_fd);
	free(admin->path);
	free(admin);
}

int
admin_open(const char *path, const struct admin_command *commands, size_t n, void *context,
	   struct admin **ret, struct errinfo *info)
{
	struct admin *admin = calloc(1, sizeof(*admin));
	int r;

	if (!admin)
		return -ENOMEM;
	admin->commands = commands;
	admin->ncommands = n;
	admin->context = context;
	admin->listen_fd = -1;
	admin->path = strdup(path);
	admin->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = admin->path && admin->wake_fd >= 0 ? bind_socket(admin, info) : -ENOMEM;
	if (!r) {
		r = -pthread_create(&admin->acceptor, NULL, acceptor_main, admin);
		if (r)
			(void)unlink(path);
	}
	if (r) {
		admin_free(admin);
		return r;
	}
	*ret = admin;
	return 0;
}

void
admin_close(struct admin *admin)
{
	uint64_t one = 1;

	if (!admin)
		return;
	atomic_store(&admin->stopping, true);
	if (write(admin->wake_fd, &one, sizeof(one)) < 0)
		log_warn("control socket: cannot wake the acceptor");
	(void)pthread_join(admin->acceptor, NULL);
	(void)unlink(admin->path);
	for (struct admin_client *client = admin->clients; client; client = client->next)
		(void)shutdown(client->fd, SHUT_RD);
	while (admin->clients) {
		struct admin_client *client = admin->clients;

		admin->clients = client->next;
		client_free(client);
	}
	admin_free(admin);
}
