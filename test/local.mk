# SPDX-License-Identifier: GPL-2.0-or-later
# One fragment a room, so that a room's tests change with it.

AM_TESTS_ENVIRONMENT = \
	srcdir='$(abs_top_srcdir)' builddir='$(abs_top_builddir)' CC='$(CC)' SANITIZER='$(SAN_CFLAGS)' FAILPOINTS='$(enable_failpoints)' \
	CURL_CFLAGS='$(CURL_CFLAGS)' XML_CFLAGS='$(XML_CFLAGS)' \
	FUSE_CFLAGS='$(FUSE_CFLAGS)' UV_CFLAGS='$(UV_CFLAGS)' JANSSON_CFLAGS='$(JANSSON_CFLAGS)' \
	export srcdir builddir CC SANITIZER FAILPOINTS FUSE_CFLAGS UV_CFLAGS JANSSON_CFLAGS CURL_CFLAGS XML_CFLAGS; \
	$(SANITIZER_ENVIRONMENT)

# Leaks count, the first finding ends the run, and threads that a fork would lose stay.
SANITIZER_ENVIRONMENT = \
	ASAN_OPTIONS=abort_on_error=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
	export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS;

if HAVE_CHECK
include test/unit/common.mk
include test/unit/stores.mk
include test/unit/s3.mk
include test/unit/chunked.mk
include test/unit/scsi.mk
include test/unit/iscsi.mk
include test/unit/fuse.mk
include test/unit/gateway.mk
endif
include test/lib/local.mk
include test/services/local.mk
include test/lint/local.mk
include test/crash/local.mk
include test/conformance/local.mk
include test/bench/local.mk
include test/fuzz/local.mk
include test/system/local.mk
