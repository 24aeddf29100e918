/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/util.h"
#include "gateway/admin.h"
#include "gateway/client.h"
#include "gateway/socket_path.h"
#include "gateway/state.h"

static struct errinfo info;
static char dir[256], path[512];
static struct admin *admin;
static sem_t entered, go_on;

struct echo {
	char *text;
	uint64_t number;
};

static const struct json_key echo_keys[] = {
	{.key = "text", .kind = JSON_KIND_STRING, .offset = offsetof(struct echo, text), .required = true},
	{.key = "number", .kind = JSON_KIND_UINT, .offset = offsetof(struct echo, number), .max = 9},
};

static int
run_echo(struct admin_call *call)
{
	const struct echo *args = call->args;

	ck_assert_ptr_eq(call->context, &admin);
	call->result = json_pack("[s, I]", args->text, (json_int_t)args->number);
	return 0;
}

static int
run_fail(struct admin_call *call)
{
	return err_set(&call->info, -ENOSPC, "the disk of %s is full", "x\xff");
}

static int
run_slow(struct admin_call *call)
{
	admin_progress(call, 1, 2, "half");
	sem_post(&entered);
	sem_wait(&go_on);
	return 0;
}

static const struct admin_command commands[] = {
	{"echo", echo_keys, ARRAY_SIZE(echo_keys), sizeof(struct echo), run_echo},
	{"fail", NULL, 0, 0, run_fail},
	{"slow", NULL, 0, 0, run_slow},
};

static void
setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/lungate-admin.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/run/control.sock", dir);
	sem_init(&entered, 0, 0);
	sem_init(&go_on, 0, 0);
	ck_assert_msg(!admin_open(path, commands, ARRAY_SIZE(commands), &admin, &admin, &info), "%s", info.text);
}

static void
teardown(void)
{
	char run[300];

	admin_close(admin);
	ck_assert_int_eq(access(path, F_OK), -1);
	(void)snprintf(run, sizeof(run), "%s/run", dir);
	ck_assert_int_eq(rmdir(run), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}

struct talk {
	int fd;
	char buf[65536];
	size_t have;
};

/* The next line as JSON; NULL at the end. */
static json_t *
line(struct talk *talk)
{
	char *end;
	json_t *value;

	while (!(end = memchr(talk->buf, '\n', talk->have))) {
		ssize_t n = read(talk->fd, talk->buf + talk->have, sizeof(talk->buf) - talk->have);

		if (n <= 0)
			return NULL;
		talk->have += (size_t)n;
	}
	value = json_loadb(talk->buf, (size_t)(end - talk->buf), 0, NULL);
	ck_assert_ptr_nonnull(value);
	talk->have -= (size_t)(end + 1 - talk->buf);
	memmove(talk->buf, end + 1, talk->have);
	return value;
}

static void
say(struct talk *talk, const char *text)
{
	ck_assert_int_eq(send(talk->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void
hello(struct talk *talk)
{
	json_t *greeting;

	talk->have = 0;
	talk->fd = socket_path_connect(path);
	ck_assert_int_ge(talk->fd, 0);
	greeting = line(talk);
	ck_assert_int_eq(json_integer_value(json_object_get(greeting, "protocol")), ADMIN_PROTOCOL);
	json_decref(greeting);
}

static void
expect(struct talk *talk, const char *json)
{
	json_t *want = json_loads(json, 0, NULL), *got = line(talk);

	ck_assert_ptr_nonnull(want);
	if (!json_equal(want, got))
		ck_abort_msg("wanted %s, got %s", json, got ? json_dumps(got, 0) : "the end");
	json_decref(want);
	json_decref(got);
}

START_TEST(requests_are_answered_in_order)
{
	struct talk talk;
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	hello(&talk);
	say(&talk, "{\"id\":1,\"cmd\":\"echo\",\"args\":{\"text\":\"a\"}}\n{\"id\":2,\"cmd\":\"echo\",\"args\":");
	say(&talk, "{\"text\":\"b\",\"number\":7}}\n");
	expect(&talk, "{\"id\":1,\"ok\":true,\"result\":[\"a\",0]}");
	expect(&talk, "{\"id\":2,\"ok\":true,\"result\":[\"b\",7]}");
	close(talk.fd);
}
END_TEST

START_TEST(failures_have_code_and_words)
{
	struct talk talk;

	hello(&talk);
	say(&talk, "{\"id\":3,\"cmd\":\"echo\",\"args\":{\"text\":\"a\",\"number\":10}}\n");
	expect(&talk, "{\"id\":3,\"ok\":false,\"error\":{\"code\":\"LG_ECONFIG\",\"text\":\"number: must be at most 9\"}}");
	say(&talk, "{\"id\":4,\"cmd\":\"ecco\"}\n");
	expect(&talk, "{\"id\":4,\"ok\":false,\"error\":{\"code\":\"EOPNOTSUPP\",\"text\":\"this daemon (" PACKAGE_VERSION
		      ") has no command \\\"ecco\\\"\"}}");
	say(&talk, "{\"id\":5,\"cmd\":\"fail\"}\n"); /* its words are not UTF-8 */
	expect(&talk, "{\"id\":5,\"ok\":false,\"error\":{\"code\":\"ENOSPC\",\"text\":\"No space left on device\"}}");
	close(talk.fd);
}
END_TEST

START_TEST(broken_lines_end_their_client_alone)
{
	struct talk good, broken;
	json_t *answer;

	hello(&good);
	hello(&broken);
	say(&broken, "GET / HTTP/1.1\n");
	answer = line(&broken);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "code")), "LG_EPROTO");
	json_decref(answer);
	ck_assert_ptr_null(line(&broken));
	close(broken.fd);
	say(&good, "{\"id\":1,\"cmd\":\"echo\",\"args\":{\"text\":\"still here\"}}\n");
	expect(&good, "{\"id\":1,\"ok\":true,\"result\":[\"still here\",0]}");
	close(good.fd);
}
END_TEST

START_TEST(endless_lines_are_cut)
{
	static char junk[65536];
	struct talk talk;
	json_t *answer;

	hello(&talk);
	memset(junk, 'x', sizeof(junk));
	for (size_t i = 0; i < ADMIN_LINE_MAX / sizeof(junk); i++)
		ck_assert_int_eq(send(talk.fd, junk, sizeof(junk), MSG_NOSIGNAL), (ssize_t)sizeof(junk));
	answer = line(&talk);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "text")),
			 "the line is too long");
	json_decref(answer);
	ck_assert_ptr_null(line(&talk));
	close(talk.fd);
}
END_TEST

START_TEST(a_slow_command_holds_nobody_else)
{
	struct talk slow, quick;

	hello(&slow);
	hello(&quick);
	say(&slow, "{\"id\":1,\"cmd\":\"slow\"}\n");
	sem_wait(&entered);
	say(&quick, "{\"id\":9,\"cmd\":\"echo\",\"args\":{\"text\":\"quick\"}}\n");
	expect(&quick, "{\"id\":9,\"ok\":true,\"result\":[\"quick\",0]}");
	expect(&slow, "{\"id\":1,\"progress\":{\"done\":1,\"total\":2,\"text\":\"half\"}}");
	sem_post(&go_on);
	expect(&slow, "{\"id\":1,\"ok\":true,\"result\":null}");
	close(slow.fd);
	close(quick.fd);
}
END_TEST

static void *
close_admin(void *arg)
{
	(void)arg;
	admin_close(admin);
	return NULL;
}

/* A command that runs when the daemon stops ends, and its answer arrives. */
START_TEST(closing_waits_for_commands)
{
	struct talk talk;
	pthread_t closer;

	hello(&talk);
	say(&talk, "{\"id\":1,\"cmd\":\"slow\"}\n");
	sem_wait(&entered);
	ck_assert_int_eq(pthread_create(&closer, NULL, close_admin, NULL), 0);
	sem_post(&go_on);
	json_decref(line(&talk)); /* progress */
	expect(&talk, "{\"id\":1,\"ok\":true,\"result\":null}");
	ck_assert_ptr_null(line(&talk));
	close(talk.fd);
	pthread_join(closer, NULL);
	ck_assert_int_eq(admin_open(path, commands, ARRAY_SIZE(commands), &admin, &admin, &info), 0);
}
END_TEST

START_TEST(too_many_clients_are_told)
{
	static struct talk talks[ADMIN_CLIENTS_MAX], extra;
	json_t *answer;

	for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
		hello(&talks[i]);
	extra.have = 0;
	extra.fd = socket_path_connect(path);
	ck_assert_int_ge(extra.fd, 0);
	answer = line(&extra);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "code")), "EAGAIN");
	json_decref(answer);
	close(extra.fd);
	for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
		close(talks[i].fd);
}
END_TEST

static uint64_t
cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Without a descriptor for it a client waits, and nobody turns in circles meanwhile. */
START_TEST(clients_wait_for_descriptors)
{
	const struct timespec a_while = {.tv_nsec = 300000000};
	struct sockaddr_un addr;
	struct rlimit was, none;
	static struct talk talk;
	json_t *greeting;
	uint64_t begun;
	int dirfd;

	ck_assert_int_eq(socket_path(path, &addr, &dirfd), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	talk.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)talk.fd + 1, .rlim_max = was.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	begun = cpu_ns();
	ck_assert_int_eq(connect(talk.fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	nanosleep(&a_while, NULL);
	ck_assert_uint_lt(cpu_ns() - begun, 30000000u);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	greeting = line(&talk);
	ck_assert_int_eq(json_integer_value(json_object_get(greeting, "protocol")), ADMIN_PROTOCOL);
	json_decref(greeting);
	close(talk.fd);
}
END_TEST

static const char *const greetings[] = {"{\"error\": {}}\n", "{\"error\": 7}\n", "{}\n", "[]\n", "no\n", "\n"};
static int asked[ARRAY_SIZE(greetings)];

static void *
ask_daemon(void *arg)
{
	struct cli cli = {.nvalues = 1};
	struct errinfo words;

	ck_assert_str_eq(cli_common[1].name, "control");
	cli.values[0].option = &cli_common[1];
	cli.values[0].value = path;
	for (size_t i = 0; i < ARRAY_SIZE(greetings); i++)
		asked[i] = client_request(&cli, "status", json_object(), NULL, &words);
	return arg;
}

/* Somebody else's answers at the socket are an error, whatever they lack. */
START_TEST(strange_greetings_are_errors)
{
	struct sockaddr_un addr;
	pthread_t client;
	int listener, fd, dirfd;

	admin_close(admin);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(socket_path(path, &addr, &dirfd), 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(pthread_create(&client, NULL, ask_daemon, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(greetings); i++) {
		ssize_t len = (ssize_t)strlen(greetings[i]);

		fd = accept(listener, NULL, NULL);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(send(fd, greetings[i], (size_t)len, MSG_NOSIGNAL), len);
		close(fd);
	}
	ck_assert_int_eq(pthread_join(client, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(greetings); i++)
		ck_assert_msg(asked[i] < 0, "%s is taken for a daemon", greetings[i]);
	close(listener);
	ck_assert_msg(!admin_open(path, commands, ARRAY_SIZE(commands), &admin, &admin, &info), "%s", info.text);
}
END_TEST

START_TEST(a_second_daemon_is_refused_a_dead_one_replaced)
{
	struct sockaddr_un addr;
	struct admin *second;
	int fd, dirfd;

	ck_assert_int_eq(admin_open(path, commands, 1, NULL, &second, &info), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(info.text, "another daemon listens"));
	admin_close(admin);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(socket_path(path, &addr, &dirfd), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* the file stays: nobody listens */
	ck_assert_msg(!admin_open(path, commands, ARRAY_SIZE(commands), &admin, &admin, &info), "%s", info.text);
}
END_TEST

START_TEST(what_is_no_socket_is_left_alone)
{
	struct admin *second;
	char file[300];
	FILE *out;

	(void)snprintf(file, sizeof(file), "%s/file", dir);
	out = fopen(file, "w");
	ck_assert_ptr_nonnull(out);
	fclose(out);
	ck_assert_int_eq(admin_open(file, commands, 1, NULL, &second, &info), -EEXIST);
	ck_assert_int_eq(unlink(file), 0);
}
END_TEST

START_TEST(deep_directories_work)
{
	struct admin *deep;
	char long_path[600], parent[512];
	int fd;

	(void)snprintf(parent, sizeof(parent), "%.60s/%0100d", dir, 7);
	(void)snprintf(long_path, sizeof(long_path), "%s/control.sock", parent);
	ck_assert_msg(!admin_open(long_path, commands, ARRAY_SIZE(commands), &admin, &deep, &info), "%s", info.text);
	fd = socket_path_connect(long_path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	admin_close(deep);
	ck_assert_int_eq(rmdir(parent), 0);
}
END_TEST

START_TEST(one_daemon_a_state_directory)
{
	struct state first, second;
	char state_dir[300], file[400];

	(void)snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	ck_assert_msg(!state_open(state_dir, &first, &info), "%s", info.text);
	ck_assert_int_eq(state_open(state_dir, &second, &info), -EBUSY);
	ck_assert_ptr_nonnull(strstr(info.text, "another daemon"));
	state_close(&first);
	ck_assert_int_eq(state_open(state_dir, &second, &info), 0);
	ck_assert_mem_eq(first.gateway_id, second.gateway_id, GATEWAY_ID_LEN);
	state_close(&second);
	(void)snprintf(file, sizeof(file), "%s/gateway-id", state_dir);
	ck_assert_int_eq(truncate(file, 5), 0);
	ck_assert_int_eq(state_open(state_dir, &second, &info), -EINVAL);
	ck_assert_int_eq(unlink(file), 0);
	(void)snprintf(file, sizeof(file), "%s/lock", state_dir);
	ck_assert_int_eq(unlink(file), 0);
	(void)snprintf(file, sizeof(file), "%s/journal", state_dir);
	ck_assert_int_eq(rmdir(file), 0);
	ck_assert_int_eq(rmdir(state_dir), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("admin");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, requests_are_answered_in_order);
	tcase_add_test(tc, failures_have_code_and_words);
	tcase_add_test(tc, broken_lines_end_their_client_alone);
	tcase_add_test(tc, endless_lines_are_cut);
	tcase_add_test(tc, a_slow_command_holds_nobody_else);
	tcase_add_test(tc, closing_waits_for_commands);
	tcase_add_test(tc, too_many_clients_are_told);
	tcase_add_test(tc, clients_wait_for_descriptors);
	tcase_add_test(tc, strange_greetings_are_errors);
	tcase_add_test(tc, a_second_daemon_is_refused_a_dead_one_replaced);
	tcase_add_test(tc, what_is_no_socket_is_left_alone);
	tcase_add_test(tc, deep_directories_work);
	tcase_add_test(tc, one_daemon_a_state_directory);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
