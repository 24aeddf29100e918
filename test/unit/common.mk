# SPDX-License-Identifier: GPL-2.0-or-later

check_PROGRAMS += test/unit/check_basics test/unit/check_jsonconf
TESTS += test/unit/check_basics test/unit/check_jsonconf
test_unit_check_basics_SOURCES = test/unit/check_basics.c
test_unit_check_basics_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_basics_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_jsonconf_SOURCES = test/unit/check_jsonconf.c
test_unit_check_jsonconf_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_jsonconf_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)

if ENABLE_FAILPOINTS
check_PROGRAMS += test/unit/check_failpoint
TESTS += test/unit/check_failpoint
test_unit_check_failpoint_SOURCES = test/unit/check_failpoint.c
test_unit_check_failpoint_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_failpoint_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
endif
