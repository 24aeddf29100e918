# SPDX-License-Identifier: GPL-2.0-or-later
check_PROGRAMS += \
	test/unit/check_simfs \
	test/unit/check_object \
	test/unit/check_dirstore \
	test/unit/check_ram \
	test/unit/check_raw \
	test/unit/check_raw_atomic \
	$(NULL)
TESTS += \
	test/unit/check_simfs \
	test/unit/check_object \
	test/unit/check_dirstore \
	test/unit/check_ram \
	test/unit/check_raw \
	test/unit/check_raw_atomic \
	$(NULL)
test_unit_check_simfs_SOURCES = test/unit/check_simfs.c
test_unit_check_simfs_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_simfs_LDADD = libtestsim.a $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_object_SOURCES = test/unit/check_object.c test/unit/objectrig.c test/unit/objectrig.h
test_unit_check_object_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_object_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_ram_SOURCES = test/unit/check_ram.c
test_unit_check_ram_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_ram_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_raw_SOURCES = test/unit/check_raw.c test/lib/rawrig.h
test_unit_check_raw_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_raw_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_raw_atomic_SOURCES = test/unit/check_raw_atomic.c test/lib/rawrig.h
test_unit_check_raw_atomic_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_raw_atomic_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_dirstore_SOURCES = test/unit/check_dirstore.c test/unit/objectrig.c test/unit/objectrig.h
test_unit_check_dirstore_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_dirstore_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
