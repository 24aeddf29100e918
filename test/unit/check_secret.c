/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Secrets: from files that nobody else can read, and not in a core dump. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/secret.h"
#include "common/util.h"

static char dir[] = "/tmp/lungate-secret-XXXXXX";
static char path[64];
static struct errinfo info;

static void
put_file(const char *text, size_t len, mode_t mode)
{
	int fd;

	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

START_TEST(files)
{
	static const struct {
		const char *text, *secret;
	} rows[] = {
		{"correct horse", "correct horse"},
		{"one line\n", "one line"},
		{"dos line\r\n", "dos line"},
		{"two\nlines\n", "two\nlines"},
		{"\n", ""},
		{"", ""},
		{" blanks stay ", " blanks stay "},
	};
	struct secret *secret;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		put_file(rows[i].text, strlen(rows[i].text), i % 2 ? 0600 : 0400);
		ck_assert_int_eq(secret_read_file(path, &secret, &info), 0);
		ck_assert_uint_eq(secret_len(secret), strlen(rows[i].secret));
		ck_assert_mem_eq(secret_bytes(secret), rows[i].secret, secret_len(secret));
		secret_unref(secret);
	}
}
END_TEST

START_TEST(files_that_others_can_read)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0602, 0644, 0666, 0610};
	struct secret *secret = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		put_file("a very secret thing", 19, modes[i]);
		ck_assert_int_eq(secret_read_file(path, &secret, &info), -EPERM);
		ck_assert_ptr_nonnull(strstr(info.text, "chmod 600"));
		ck_assert_ptr_nonnull(strstr(info.text, path));
		ck_assert_ptr_null(strstr(info.text, "very secret"));
	}
	ck_assert_ptr_null(secret);
}
END_TEST

START_TEST(files_that_are_none)
{
	static char big[SECRET_MAX + 2];
	struct secret *secret;

	(void)unlink(path);
	ck_assert_int_eq(secret_read_file(path, &secret, &info), -ENOENT);
	ck_assert_int_eq(secret_read_file(dir, &secret, &info), -EINVAL);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(secret_read_file(path, &secret, &info), -EINVAL);
	memset(big, 'x', sizeof(big));
	put_file(big, SECRET_MAX + 1, 0600);
	ck_assert_int_eq(secret_read_file(path, &secret, &info), -EFBIG);
	put_file(big, SECRET_MAX, 0600);
	ck_assert_int_eq(secret_read_file(path, &secret, &info), 0);
	secret_unref(secret);
	ck_assert_ptr_null(secret_new(big, SECRET_MAX + 1));
	(void)unlink(path);
}
END_TEST

START_TEST(comparing)
{
	struct secret *a = secret_new("abc", 3), *b = secret_new("abc", 3), *c = secret_new("abcd", 4),
		      *d = secret_new("abd", 3);

	ck_assert(secret_equal(a, b));
	ck_assert(!secret_equal(a, c) && !secret_equal(c, a) && !secret_equal(a, d));
	ck_assert_ptr_eq(secret_ref(a), a);
	secret_unref(a);
	ck_assert_uint_eq(secret_len(a), 3);
	secret_unref(a);
	secret_unref(b);
	secret_unref(c);
	secret_unref(d);
	secret_unref(NULL);
}
END_TEST

/* "dd" among the flags that the kernel tells of its mapping. */
START_TEST(not_in_a_core_dump)
{
	struct secret *secret = secret_new("abc", 3);
	unsigned long from, to, at = (unsigned long)secret_bytes(secret);
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	bool inside = false, seen = false;

	if (!f) {
		secret_unref(secret);
		return;
	}
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = at >= from && at < to;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			seen = strstr(line, " dd") != NULL;
	}
	(void)fclose(f);
	ck_assert(seen);
	secret_unref(secret);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("secret");
	TCase *tc = tcase_create("secret");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (!mkdtemp(dir))
		return EXIT_FAILURE;
	(void)snprintf(path, sizeof(path), "%s/file", dir);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, files);
	tcase_add_test(tc, files_that_others_can_read);
	tcase_add_test(tc, files_that_are_none);
	tcase_add_test(tc, comparing);
	tcase_add_test(tc, not_in_a_core_dump);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	(void)unlink(path);
	(void)rmdir(dir);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
