# SPDX-License-Identifier: GPL-2.0-or-later
ISCSI_TESTS = test/unit/check_pdu test/unit/check_keys test/unit/check_params test/unit/check_login
check_PROGRAMS += $(ISCSI_TESTS)
TESTS += $(ISCSI_TESTS)
ISCSI_TEST_LIBS = libgateway.a $(COMMON_LIBS) $(CHECK_LIBS)
test_unit_check_pdu_SOURCES = test/unit/check_pdu.c
test_unit_check_pdu_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_pdu_LDADD = $(ISCSI_TEST_LIBS)
test_unit_check_keys_SOURCES = test/unit/check_keys.c
test_unit_check_keys_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_keys_LDADD = $(ISCSI_TEST_LIBS)
test_unit_check_params_SOURCES = test/unit/check_params.c
test_unit_check_params_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_params_LDADD = $(ISCSI_TEST_LIBS)
test_unit_check_login_SOURCES = test/unit/check_login.c
test_unit_check_login_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_login_LDADD = $(ISCSI_TEST_LIBS)
