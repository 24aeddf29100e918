# SPDX-License-Identifier: GPL-2.0-or-later
check_PROGRAMS += test/unit/check_admin test/unit/check_cli test/unit/check_config test/unit/check_mapdraw
TESTS += test/unit/check_admin test/unit/check_cli test/unit/check_config test/unit/check_mapdraw
test_unit_check_admin_SOURCES = test/unit/check_admin.c
test_unit_check_admin_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_admin_LDADD = $(DAEMON_LIBS) $(CHECK_LIBS)
test_unit_check_cli_SOURCES = test/unit/check_cli.c
test_unit_check_cli_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_cli_LDADD = $(DAEMON_LIBS) $(CHECK_LIBS)
test_unit_check_config_SOURCES = test/unit/check_config.c
test_unit_check_config_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_config_LDADD = $(DAEMON_LIBS) $(CHECK_LIBS)
test_unit_check_mapdraw_SOURCES = test/unit/check_mapdraw.c
test_unit_check_mapdraw_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_mapdraw_LDADD = $(DAEMON_LIBS) $(CHECK_LIBS)
