# SPDX-License-Identifier: GPL-2.0-or-later
EXTRA_DIST += test/system/lib.sh

DAEMON_SYSTEM_TESTS = test/system/serve.sh test/system/config.sh test/system/changes.sh test/system/refusals.sh \
	test/system/mount.sh test/system/portals.sh test/system/live.sh test/system/access.sh \
	test/system/mistakes.sh test/system/interrupt.sh test/system/reservations.sh \
	test/system/late-store.sh test/system/close.sh test/system/sanitize.sh test/system/alua.sh
TESTS += $(DAEMON_SYSTEM_TESTS)
EXTRA_DIST += $(DAEMON_SYSTEM_TESTS)

IMAGE_SYSTEM_TESTS = test/system/import.sh test/system/image.sh test/system/enospc.sh
TESTS += $(IMAGE_SYSTEM_TESTS)
EXTRA_DIST += $(IMAGE_SYSTEM_TESTS)
EXTRA_DIST += test/system/first-run.sh
if ENABLE_FUSE
TESTS += test/system/mount-loop.sh
endif
EXTRA_DIST += test/system/mount-loop.sh

TESTS += test/system/linux-initiator.sh
EXTRA_DIST += test/system/linux-initiator.sh test/linux/packages.sh test/linux/initrd.sh \
	test/linux/guest/init test/linux/guest/run.sh test/linux/guest/lib.sh test/linux/guest/files.sh \
	test/linux/guest/commands.sh test/linux/guest/paths.sh test/linux/guest/accounts.sh

if HAVE_LIBISCSI
check_PROGRAMS += test/system/scsi_cdb
test_system_scsi_cdb_SOURCES = test/system/scsi_cdb.c
test_system_scsi_cdb_CFLAGS = $(AM_CFLAGS) $(ISCSI_CFLAGS)
test_system_scsi_cdb_LDADD = $(COMMON_LIBS) $(ISCSI_LIBS)
endif
