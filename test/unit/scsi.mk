# SPDX-License-Identifier: GPL-2.0-or-later
check_PROGRAMS += test/unit/check_scsi_table test/unit/check_sense test/unit/check_scsi test/unit/check_scsi_unit \
	test/unit/check_scsi_set
TESTS += test/unit/check_scsi_table test/unit/check_sense test/unit/check_scsi test/unit/check_scsi_unit \
	test/unit/check_scsi_set
SCSI_TEST_LIBS = libgateway.a $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_scsi_table_SOURCES = test/unit/check_scsi_table.c
test_unit_check_scsi_table_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_scsi_table_LDADD = $(SCSI_TEST_LIBS)
test_unit_check_sense_SOURCES = test/unit/check_sense.c
test_unit_check_sense_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_sense_LDADD = $(SCSI_TEST_LIBS)
test_unit_check_scsi_SOURCES = test/unit/check_scsi.c test/unit/scsi_run.h test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_scsi_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_scsi_LDADD = $(SCSI_TEST_LIBS)
test_unit_check_scsi_set_SOURCES = test/unit/check_scsi_set.c test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_scsi_set_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_scsi_set_LDADD = $(SCSI_TEST_LIBS)
test_unit_check_scsi_unit_SOURCES = test/unit/check_scsi_unit.c test/unit/scsi_run.h test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_scsi_unit_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_scsi_unit_LDADD = $(SCSI_TEST_LIBS)
check_PROGRAMS += test/unit/check_pr
TESTS += test/unit/check_pr
test_unit_check_pr_SOURCES = test/unit/check_pr.c test/unit/scsi_run.h test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_pr_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_pr_LDADD = $(SCSI_TEST_LIBS)
check_PROGRAMS += test/unit/check_scsi_more
TESTS += test/unit/check_scsi_more
test_unit_check_scsi_more_SOURCES = test/unit/check_scsi_more.c test/unit/scsi_run.h test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_scsi_more_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_scsi_more_LDADD = $(SCSI_TEST_LIBS)
check_PROGRAMS += test/unit/check_reservations
TESTS += test/unit/check_reservations
test_unit_check_reservations_SOURCES = test/unit/check_reservations.c test/unit/scsi_run.h test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_reservations_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_reservations_LDADD = $(DAEMON_LIBS) $(CHECK_LIBS)
