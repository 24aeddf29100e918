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
check_PROGRAMS += test/unit/check_scsi_view
TESTS += test/unit/check_scsi_view
test_unit_check_scsi_view_SOURCES = test/unit/check_scsi_view.c test/unit/scsi_run.h test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_scsi_view_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_scsi_view_LDADD = $(SCSI_TEST_LIBS)
test_unit_check_scsi_view_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_nexus_sees
check_PROGRAMS += test/unit/check_xcopy
TESTS += test/unit/check_xcopy
test_unit_check_xcopy_SOURCES = test/unit/check_xcopy.c test/unit/copy_list.h test/unit/scsi_run.h test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_xcopy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_xcopy_LDADD = $(SCSI_TEST_LIBS)
check_PROGRAMS += test/unit/check_xcopy_engine
TESTS += test/unit/check_xcopy_engine
test_unit_check_xcopy_engine_SOURCES = test/unit/check_xcopy_engine.c test/unit/copy_list.h test/lib/scsirig.c test/lib/scsirig.h \
	$(ENGINE_RIG)
test_unit_check_xcopy_engine_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_xcopy_engine_LDADD = libtestsim.a libgateway.a $(STORES_LIBS) $(CHECK_LIBS)
check_PROGRAMS += test/unit/check_alua
TESTS += test/unit/check_alua
test_unit_check_alua_SOURCES = test/unit/check_alua.c test/unit/scsi_run.h test/lib/scsirig.c test/lib/scsirig.h
test_unit_check_alua_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_alua_LDADD = $(SCSI_TEST_LIBS)
