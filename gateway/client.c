/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/jsonconf.h"
#include "common/util.h"
#include "gateway/admin.h"
#include "gateway/exitcode.h"
#include "gateway/paths.h"
#include "gateway/socket_path.h"

/* Read without checking it: a file with an error elsewhere still says where the daemon listens. */
static char *
control_of_config(const char *path)
{
	struct json_doc doc;
	const char *text;
	char *control = NULL;

	if (json_doc_load(path, &doc, NULL))
		return NULL;
	text = json_string_value(json_object_get(doc.root, "control"));
	if (text)
		control = strdup(text);
	json_doc_fini(&doc);
	return control;
}

/* Where the daemon listens: --control, $LUNGATE_CONTROL, "control" of the configuration (--config, or the default
 *  file where it is there), the default.  malloc'd. */
static char *
client_control_path(const struct cli *cli)
{
	const char *given = cli_value(cli, "control"), *config = cli_value(cli, "config");
	char *path = NULL, *file;

	if (given)
		return strdup(given);
	if (config)
		path = control_of_config(config);
	else if (getenv("LUNGATE_CONTROL") && *getenv("LUNGATE_CONTROL"))
		return strdup(getenv("LUNGATE_CONTROL"));
	if (!path && !config) {
		file = paths_config();
		path = file ? control_of_config(file) : NULL;
		free(file);
	}
	return path ? path : paths_control();
}

static int
connect_daemon(const char *path, struct errinfo *info)
{
	int fd = socket_path_connect(path);

	if (fd == -ENOENT || fd == -ECONNREFUSED || fd == -ENOTDIR)
		return err_set(
			info, -ECONNREFUSED,
			"no daemon listens at %s; start it with 'lungate serve', or name its socket with --control",
			path);
	if (fd == -EACCES)
		return err_set(info, fd, "%s belongs to another user: try as the user who runs the daemon",
			       path);
	if (fd < 0)
		return err_set(info, fd, "cannot reach the daemon at %s: %s", path, err_text(fd));
	return fd;
}

struct conversation {
	int fd;
	char *buf;
	size_t have, size;
	bool progress; /* a progress line stands on the terminal */
};

/* One line as JSON. */
static int
receive(struct conversation *talk, json_t **ret, struct errinfo *info)
{
	json_error_t error;
	char *end;

	for (;;) {
		ssize_t n;

		end = talk->have ? memchr(talk->buf, '\n', talk->have) : NULL;
		if (end)
			break;
		if (talk->size - talk->have < 65536) {
			char *buf = realloc(talk->buf, talk->size + (1 << 20));

			if (!buf)
				return -ENOMEM;
			talk->buf = buf;
			talk->size += 1 << 20;
		}
		n = read(talk->fd, talk->buf + talk->have, talk->size - talk->have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(
				info, -EPIPE,
				"the daemon closed the connection: it is stopping, or it died; see its log");
		talk->have += (size_t)n;
	}
	*ret = json_loadb(talk->buf, (size_t)(end - talk->buf), 0, &error);
	talk->have -= (size_t)(end + 1 - talk->buf);
	memmove(talk->buf, end + 1, talk->have);
	return json_is_object(*ret)
		       ? 0
		       : err_set(info, LG_EPROTO, "the daemon's answer is not JSON: %s", error.text);
}

/* What the daemon complains of in line; 0: nothing. */
static int
complaint(const json_t *line, struct errinfo *info)
{
	const json_t *error = json_object_get(line, "error");
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *text = json_string_value(json_object_get(error, "text"));

	return error ? err_set(info, exit_error_by_name(code ? code : ""), "%s", text ? text : "?") : 0;
}

static int
greet(struct conversation *talk, struct errinfo *info)
{
	json_t *hello = NULL;
	json_int_t protocol;
	int r = receive(talk, &hello, info);

	if (!r)
		r = complaint(hello, info);
	protocol = json_integer_value(json_object_get(hello, "protocol"));
	if (!r && protocol != ADMIN_PROTOCOL)
		r = err_set(info, LG_EPROTO,
			    "the daemon speaks protocol %lld, this program %d: use the same version",
			    (long long)protocol, ADMIN_PROTOCOL);
	json_decref(hello);
	return r;
}

static int
send_request(int fd, const char *cmd, json_t *args)
{
	json_t *request = json_pack("{s:i, s:s, s:o}", "id", 1, "cmd", cmd, "args", args);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0, done = 0;
	int r = text ? 0 : -ENOMEM;

	if (text)
		text[len++] = '\n';
	while (!r && done < len) {
		ssize_t n = send(fd, text + done, len - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			r = -errno;
	}
	free(text);
	json_decref(request);
	return r;
}

static void
show_progress(struct conversation *talk, const json_t *progress)
{
	long long done = json_integer_value(json_object_get(progress, "done"));
	long long total = json_integer_value(json_object_get(progress, "total"));
	const char *text = json_string_value(json_object_get(progress, "text"));

	if (!isatty(STDERR_FILENO))
		return;
	if (total > 0)
		fprintf(stderr, "\r\033[K%s: %lld of %lld (%lld%%)", text ? text : "", done, total,
			(long long)(100.0 * (double)done / (double)total));
	else
		fprintf(stderr, "\r\033[K%s: %lld", text ? text : "", done);
	talk->progress = true;
}

static int
await(struct conversation *talk, json_t **ret, struct errinfo *info)
{
	for (;;) {
		json_t *line = NULL, *progress;
		int r = receive(talk, &line, info);

		if (r) {
			json_decref(line);
			return r;
		}
		progress = json_object_get(line, "progress");
		if (progress) {
			show_progress(talk, progress);
			json_decref(line);
			continue;
		}
		if (talk->progress)
			fprintf(stderr, "\r\033[K");
		r = complaint(line, info);
		if (!r && ret)
			*ret = json_incref(json_object_get(line, "result"));
		json_decref(line);
		return r;
	}
}

int
client_request(const struct cli *cli, const char *cmd, json_t *args, json_t **ret, struct errinfo *info)
{
	struct conversation talk = {.fd = -1};
	char *path = client_control_path(cli);
	int r;

	talk.fd = r = path ? connect_daemon(path, info) : -ENOMEM;
	if (r < 0) {
		json_decref(args);
		goto out;
	}
	r = greet(&talk, info);
	if (r)
		json_decref(args);
	else
		r = send_request(talk.fd, cmd, args);
	if (!r)
		r = await(&talk, ret, info);
	close(talk.fd);
out:
	free(talk.buf);
	free(path);
	return r;
}

/* "size" of "volume.size" */
static bool
is_place(const char *json, const char *key, size_t len)
{
	const char *dot = json ? strrchr(json, '.') : NULL;

	json = dot ? dot + 1 : json;
	return json && strlen(json) == len && !memcmp(json, key, len);
}

/* The daemon says "chunk_size: words" where --chunk-size was given; buf of any size. */
static const char *
in_words_given(const struct cli *cli, const char *text, char *buf, size_t size)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz_");
	const char *given = NULL, *dashes = "";

	if (!cli->command || strncmp(text + len, ": ", 2) != 0)
		return text;
	for (size_t i = 0; i < cli->command->nargs; i++)
		if (is_place(cli->command->args[i].json, text, len))
			given = cli->command->args[i].name;
	for (size_t i = 0; i < cli->command->noptions; i++) {
		if (is_place(cli->command->options[i].json, text, len)) {
			given = cli->command->options[i].name;
			dashes = "--";
		}
	}
	if (!given)
		return text;
	(void)snprintf(buf, size, "%s%s%s", dashes, given, text + len);
	return buf;
}

int
client_misuse(const struct cli *cli, const char *text)
{
	struct errinfo info = {{0}};

	(void)err_set(&info, -EINVAL, "%s", text);
	(void)client_fail(cli, -EINVAL, &info);
	return EXIT_USAGE;
}

void
client_print_failure(bool json, int err, const char *text)
{
	json_t *object;

	if (json) {
		object = json_pack("{s:{s:s, s:s}}", "error", "code", err_name(err), "text", text);
		if (!object) /* words that are not UTF-8: a file's name, say */
			object = json_pack("{s:{s:s, s:s}}", "error", "code", err_name(err), "text",
					   err_text(err));
		json_dumpf(object, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(object);
	}
	fprintf(stderr, "lungate: %s\n", text);
}

int
client_fail(const struct cli *cli, int err, const struct errinfo *info)
{
	char buf[sizeof(info->text) + 64];

	client_print_failure(cli_has(cli, "json"), err,
			     in_words_given(cli, err_words(info, err), buf, sizeof(buf)));
	return exit_code_of(err);
}

const char *
client_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && *text ? text : "-";
}

unsigned long long
client_number(const json_t *object, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(object, key));
}

bool
client_json(const struct cli *cli, const json_t *value)
{
	if (!cli_has(cli, "json"))
		return false;
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	printf("\n");
	return true;
}

int
client_run(const struct cli *cli, json_t **ret)
{
	struct errinfo info = {{0}};
	int r = client_request(cli, cli->command->request, cli_request_args(cli), ret, &info);

	return r ? client_fail(cli, r, &info) : EXIT_OK;
}
