# SPDX-License-Identifier: GPL-2.0-or-later
if ENABLE_FUSE
MOUNT_TEST_LIBS = libmount.a $(COMMON_LIBS) $(FUSE_LIBS) $(CHECK_LIBS)
MOUNT_RIG = \
	test/lib/fakevol.c test/lib/fakevol.h \
	test/lib/mountrig.c test/lib/mountrig.h \
	$(NULL)

check_PROGRAMS += test/unit/check_tree test/unit/check_mount test/unit/check_image
TESTS += test/unit/check_tree test/unit/check_mount test/unit/check_image
test_unit_check_tree_SOURCES = test/unit/check_tree.c
test_unit_check_tree_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_tree_LDADD = $(MOUNT_TEST_LIBS)
test_unit_check_mount_SOURCES = test/unit/check_mount.c $(MOUNT_RIG)
test_unit_check_mount_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_mount_LDADD = $(MOUNT_TEST_LIBS)
test_unit_check_image_SOURCES = test/unit/check_image.c $(MOUNT_RIG)
test_unit_check_image_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_image_LDADD = $(MOUNT_TEST_LIBS)
endif
