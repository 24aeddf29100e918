/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Persistent reservations in the state directory: there when GOOD is said, and after a restart. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/vfs.h"
#include "gateway/kept.h"
#include "gateway/scsi/scsi_impl.h"
#include "test/unit/scsi_run.h"

static char state_dir[] = "/tmp/lungate-reservations-XXXXXX";
static char path[256];

static void
setup_dir(void)
{
	char uuid[UUID_TEXT];

	(void)snprintf(state_dir, sizeof(state_dir), "/tmp/lungate-reservations-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(state_dir));
	ck_assert_int_eq(loop_pool_init(1), 0);
	ck_assert_int_eq(kept_open(state_dir, NULL), 0);
	setup();
	uuid_format(rig.disk->vol.uuid, uuid);
	(void)snprintf(path, sizeof(path), "%s/reservations/%s.json", state_dir, uuid);
}

static void
teardown_dir(void)
{
	char folder[64];

	teardown();
	loop_pool_fini();
	kept_close();
	(void)unlink(path);
	(void)snprintf(folder, sizeof(folder), "%s/reservations", state_dir);
	ck_assert_int_eq(rmdir(folder), 0); /* and nothing else is left in it */
	(void)snprintf(folder, sizeof(folder), "%s/sanitize", state_dir);
	ck_assert_int_eq(rmdir(folder), 0);
	ck_assert_int_eq(rmdir(state_dir), 0);
}

static enum scsi_status
out(unsigned nexus, uint8_t action, uint8_t type, uint64_t key, uint64_t action_key)
{
	memset(out_buf, 0, 24);
	put_be64(out_buf, key);
	put_be64(out_buf + 8, action_key);
	out_buf[20] = 0x01; /* APTPL */
	return run_on(nexus, CDB(0x5f, action, type, [8] = 24), 24, 0);
}

/* The daemon stops and starts: the unit goes and comes. */
static int
restart(void)
{
	int rc;

	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	kept_close();
	ck_assert_int_eq(kept_open(state_dir, NULL), 0);
	rc = scsi_target_map(rig.target, 0, &rig.disk->vol, NULL);
	if (rc == 0)
		rig_clear_attentions(&rig);
	return rc;
}

START_TEST(kept_over_a_restart)
{
	struct stat st;

	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(out(0, 0, 0, 0, 0x1234), SCSI_GOOD);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(out(0, 1, PR_EA, 0x1234, 0), SCSI_GOOD);
	ck_assert_int_eq(restart(), 0);
	ck_assert_int_eq(run_on(1, CDB(0x28, [8] = 1), 0, 512), SCSI_RESERVATION_CONFLICT);
	expect_good(CDB(0x28, [8] = 1), 0, 512);
	/* a deleted volume leaves nothing */
	kept_forget(rig.disk->vol.uuid);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(restart(), 0);
	ck_assert_int_eq(run_on(1, CDB(0x28, [8] = 1), 0, 512), SCSI_GOOD);
}
END_TEST

START_TEST(damaged_file_keeps_the_unit_out)
{
	ck_assert_int_eq(out(0, 0, 0, 0, 0x1234), SCSI_GOOD);
	ck_assert_int_eq(vfs_replace(vfs_posix(), path, "{\"format\"", 9, 0600), 0);
	ck_assert_int_eq(restart(), LG_EDAMAGED);
	expect_sense(CDB(0x28, [8] = 1), 0, S_LUN);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("reservations");
	TCase *tcase = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup_dir, teardown_dir);
	tcase_add_test(tcase, kept_over_a_restart);
	tcase_add_test(tcase, damaged_file_keeps_the_unit_out);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
