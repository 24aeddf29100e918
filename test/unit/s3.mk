# SPDX-License-Identifier: GPL-2.0-or-later
S3_TESTS = \
	test/unit/check_s3_url \
	test/unit/check_s3_sigv4 \
	test/unit/check_s3_xml \
	test/unit/check_s3_retry \
	$(NULL)
check_PROGRAMS += $(S3_TESTS)
TESTS += $(S3_TESTS)
test_unit_check_s3_url_SOURCES = test/unit/check_s3_url.c
test_unit_check_s3_url_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_s3_url_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_s3_sigv4_SOURCES = test/unit/check_s3_sigv4.c
test_unit_check_s3_sigv4_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_s3_sigv4_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_s3_xml_SOURCES = test/unit/check_s3_xml.c
test_unit_check_s3_xml_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_s3_xml_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_s3_retry_SOURCES = test/unit/check_s3_retry.c
test_unit_check_s3_retry_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_s3_retry_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
check_PROGRAMS += test/unit/check_s3_ops
TESTS += test/unit/check_s3_ops
test_unit_check_s3_ops_SOURCES = test/unit/check_s3_ops.c test/unit/s3rig.c test/unit/s3rig.h test/lib/canned.c test/lib/canned.h
test_unit_check_s3_ops_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_s3_ops_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
check_PROGRAMS += test/unit/check_s3_limits
TESTS += test/unit/check_s3_limits
test_unit_check_s3_limits_SOURCES = test/unit/check_s3_limits.c test/unit/s3rig.c test/unit/s3rig.h test/lib/canned.c test/lib/canned.h
test_unit_check_s3_limits_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_s3_limits_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
check_PROGRAMS += test/unit/check_s3_list
TESTS += test/unit/check_s3_list
test_unit_check_s3_list_SOURCES = test/unit/check_s3_list.c test/unit/s3rig.c test/unit/s3rig.h test/lib/canned.c test/lib/canned.h
test_unit_check_s3_list_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_s3_list_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
check_PROGRAMS += test/unit/check_s3_creds
TESTS += test/unit/check_s3_creds
test_unit_check_s3_creds_SOURCES = test/unit/check_s3_creds.c test/lib/canned.c test/lib/canned.h
test_unit_check_s3_creds_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_s3_creds_LDADD = $(STORES_LIBS) $(CHECK_LIBS)

# Load on a bucket: what the engine can hope for.
check_PROGRAMS += test/bench/s3_load
test_bench_s3_load_SOURCES = test/bench/s3_load.c
test_bench_s3_load_LDADD = $(STORES_LIBS)
