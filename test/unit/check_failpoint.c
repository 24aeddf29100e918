/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <check.h>
#include <string.h>

#include "common/failpoint.h"

START_TEST(counts_and_offsets)
{
	struct errinfo info;

	ck_assert_int_eq(failpoint_arm("journal.fsync=skip*2@3;commit.root=err:LG_ECONFLICT", &info), 0);
	ck_assert_int_eq(failpoint_hit(FP_JOURNAL_FSYNC), 0);
	ck_assert_int_eq(failpoint_hit(FP_JOURNAL_FSYNC), 0);
	ck_assert_int_eq(failpoint_hit(FP_JOURNAL_FSYNC), FAILPOINT_SKIP);
	ck_assert_int_eq(failpoint_hit(FP_JOURNAL_FSYNC), FAILPOINT_SKIP);
	ck_assert_int_eq(failpoint_hit(FP_JOURNAL_FSYNC), 0);
	ck_assert_int_eq(failpoint_hit(FP_COMMIT_ROOT), LG_ECONFLICT);
	ck_assert_int_eq(failpoint_hit(FP_COMMIT_LEAF), 0);
	ck_assert_int_eq(failpoint_arm("commit.root=off", &info), 0);
	ck_assert_int_eq(failpoint_hit(FP_COMMIT_ROOT), 0);
}
END_TEST

static const char *const bad[] = {
	"nonsense",
	"no.such.point=skip",
	"journal.fsync=explode",
	"journal.fsync=err:EWHAT",
	"journal.fsync=skip*0",
	"journal.fsync=skip@x",
	"journal.fsync=delay",
	"journal.fsync=delay:1x",
	"journal.fsync=kill:3",
};

START_TEST(bad_specifications_are_refused)
{
	struct errinfo info = {""};

	ck_assert_int_lt(failpoint_arm(bad[_i], &info), 0);
	ck_assert_ptr_nonnull(strstr(info.text, "failpoint"));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("failpoint");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, counts_and_offsets);
	tcase_add_loop_test(tc, bad_specifications_are_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
