# SPDX-License-Identifier: GPL-2.0-or-later
if HAVE_LIBISCSI
check_PROGRAMS += test/crash/kill9
TESTS += test/crash/kill9.sh
test_crash_kill9_SOURCES = test/crash/kill9.c
test_crash_kill9_CFLAGS = $(AM_CFLAGS) $(ISCSI_CFLAGS)
test_crash_kill9_LDADD = $(COMMON_LIBS) $(ISCSI_LIBS)
endif
EXTRA_DIST += test/crash/kill9.sh
