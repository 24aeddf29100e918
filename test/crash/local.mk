# SPDX-License-Identifier: GPL-2.0-or-later
if HAVE_LIBISCSI
check_PROGRAMS += test/crash/kill9
TESTS += test/crash/kill9.sh
test_crash_kill9_SOURCES = test/crash/kill9.c test/lib/promises.c test/lib/promises.h
test_crash_kill9_CFLAGS = $(AM_CFLAGS) $(ISCSI_CFLAGS)
test_crash_kill9_LDADD = $(COMMON_LIBS) $(ISCSI_LIBS)
endif
EXTRA_DIST += test/crash/kill9.sh

if HAVE_CHECK
check_PROGRAMS += test/crash/check_journal_power
TESTS += test/crash/check_journal_power
test_crash_check_journal_power_SOURCES = test/crash/check_journal_power.c test/lib/journalrig.c test/lib/journalrig.h
test_crash_check_journal_power_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_crash_check_journal_power_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
endif

if HAVE_CHECK
check_PROGRAMS += test/crash/check_engine_power
TESTS += test/crash/check_engine_power
test_crash_check_engine_power_SOURCES = test/crash/check_engine_power.c test/lib/enginerig.c test/lib/enginerig.h \
	test/lib/faultstore.c test/lib/faultstore.h
test_crash_check_engine_power_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_crash_check_engine_power_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
endif

if HAVE_CHECK
check_PROGRAMS += test/crash/check_atomic_power
TESTS += test/crash/check_atomic_power
test_crash_check_atomic_power_SOURCES = test/crash/check_atomic_power.c test/lib/enginerig.c test/lib/enginerig.h \
	test/lib/faultstore.c test/lib/faultstore.h
test_crash_check_atomic_power_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_crash_check_atomic_power_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
endif
