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

check_PROGRAMS += test/unit/check_loop test/unit/check_arena test/unit/check_vfs test/unit/check_diskio \
	test/unit/check_volume test/unit/check_registry
TESTS += test/unit/check_loop test/unit/check_arena test/unit/check_vfs test/unit/check_diskio \
	test/unit/check_volume test/unit/check_registry
test_unit_check_loop_SOURCES = test/unit/check_loop.c
test_unit_check_loop_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_loop_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_arena_SOURCES = test/unit/check_arena.c
test_unit_check_arena_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_arena_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_vfs_SOURCES = test/unit/check_vfs.c
test_unit_check_vfs_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_vfs_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_diskio_SOURCES = test/unit/check_diskio.c
test_unit_check_diskio_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_diskio_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_volume_SOURCES = test/unit/check_volume.c
test_unit_check_volume_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_volume_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_registry_SOURCES = test/unit/check_registry.c
test_unit_check_registry_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_registry_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
check_PROGRAMS += test/unit/check_secret
TESTS += test/unit/check_secret
test_unit_check_secret_SOURCES = test/unit/check_secret.c
test_unit_check_secret_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_secret_LDADD = $(COMMON_LIBS) $(CHECK_LIBS)
