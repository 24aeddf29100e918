# SPDX-License-Identifier: GPL-2.0-or-later
# One fragment a room, so that a room's tests change with it.
CHECK_UNIT_LIBS = $(CHECK_LIBS)
if HAVE_CHECK
include test/unit/common.mk
include test/unit/stores.mk
include test/unit/chunked.mk
include test/unit/scsi.mk
include test/unit/iscsi.mk
include test/unit/fuse.mk
include test/unit/gateway.mk
endif
include test/lib/local.mk
include test/crash/local.mk
include test/conformance/local.mk
include test/bench/local.mk
include test/fuzz/local.mk
include test/system/local.mk
