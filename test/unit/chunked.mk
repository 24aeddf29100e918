# SPDX-License-Identifier: GPL-2.0-or-later

check_PROGRAMS += test/unit/check_bucket_fmt test/unit/check_bucket_text
TESTS += test/unit/check_bucket_fmt test/unit/check_bucket_text
check_PROGRAMS += test/unit/check_journal_fmt test/unit/check_journal
TESTS += test/unit/check_journal_fmt test/unit/check_journal
test_unit_check_bucket_fmt_SOURCES = test/unit/check_bucket_fmt.c
test_unit_check_bucket_fmt_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_bucket_fmt_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_bucket_text_SOURCES = test/unit/check_bucket_text.c
test_unit_check_bucket_text_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_bucket_text_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_journal_fmt_SOURCES = test/unit/check_journal_fmt.c
test_unit_check_journal_fmt_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_journal_fmt_LDADD = $(STORES_LIBS) $(CHECK_LIBS)
test_unit_check_journal_SOURCES = test/unit/check_journal.c test/lib/journalrig.c test/lib/journalrig.h
test_unit_check_journal_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_journal_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)

check_PROGRAMS += test/unit/check_engine
TESTS += test/unit/check_engine
ENGINE_RIG = test/lib/enginerig.c test/lib/enginerig.h test/lib/enginetest.h test/lib/faultstore.c test/lib/faultstore.h
test_unit_check_engine_SOURCES = test/unit/check_engine.c $(ENGINE_RIG)
test_unit_check_engine_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_engine_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
check_PROGRAMS += test/unit/check_engine_faults
TESTS += test/unit/check_engine_faults
test_unit_check_engine_faults_SOURCES = test/unit/check_engine_faults.c $(ENGINE_RIG)
test_unit_check_engine_faults_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_engine_faults_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
check_PROGRAMS += test/unit/check_engine_attr
TESTS += test/unit/check_engine_attr
test_unit_check_engine_attr_SOURCES = test/unit/check_engine_attr.c $(ENGINE_RIG)
test_unit_check_engine_attr_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
test_unit_check_engine_attr_LDADD = libtestsim.a $(STORES_LIBS) $(CHECK_LIBS)
