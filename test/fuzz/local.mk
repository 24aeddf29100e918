# SPDX-License-Identifier: GPL-2.0-or-later
# Fuzz targets.  --enable-fuzzers (clang): programs of libFuzzer, which `make fuzz` runs for FUZZ_SECONDS each.
# Otherwise `make check` runs each over its corpus.
#
# A target is: a word in FUZZ_TARGETS, its four lines below, corpus/fuzz_NAME/.
FUZZ_TARGETS = \
	test/fuzz/fuzz_bucket \
	test/fuzz/fuzz_cdb \
	test/fuzz/fuzz_creds \
	test/fuzz/fuzz_chap \
	test/fuzz/fuzz_journal \
	test/fuzz/fuzz_login \
	test/fuzz/fuzz_pdu \
	test/fuzz/fuzz_s3url \
	test/fuzz/fuzz_session \
	test/fuzz/fuzz_xml \
	$(NULL)

check_PROGRAMS += $(FUZZ_TARGETS)
FUZZ_CFLAGS_ALL = $(AM_CFLAGS)
if ENABLE_FUZZERS
FUZZ_MAIN = test/fuzz/fuzz.h
FUZZ_LDFLAGS_ALL = $(AM_LDFLAGS) -fsanitize=fuzzer
else
FUZZ_MAIN = test/fuzz/replay_main.c test/fuzz/fuzz.h
FUZZ_LDFLAGS_ALL = $(AM_LDFLAGS)
TESTS += $(FUZZ_TARGETS)
endif
TESTS += test/fuzz/check_run.sh
EXTRA_DIST += test/fuzz/corpus test/fuzz/run.sh test/fuzz/check_run.sh

FUZZ_SECONDS = 600
if ENABLE_FUZZERS
fuzz: $(FUZZ_TARGETS)
	$(srcdir)/test/fuzz/run.sh $(srcdir)/test/fuzz/corpus $(FUZZ_SECONDS) $(FUZZ_TARGETS)
else
fuzz:
	@echo "make fuzz needs a build for it: configure CC=clang --enable-fuzzers --enable-sanitizer=address,undefined" >&2
	@exit 1
endif
.PHONY: fuzz

test_fuzz_fuzz_bucket_SOURCES = test/fuzz/fuzz_bucket.c $(FUZZ_MAIN)
test_fuzz_fuzz_bucket_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_bucket_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_bucket_LDADD = $(STORES_LIBS)

test_fuzz_fuzz_journal_SOURCES = test/fuzz/fuzz_journal.c $(FUZZ_MAIN) test/lib/journalrig.c test/lib/journalrig.h
test_fuzz_fuzz_journal_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_journal_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_journal_LDADD = libtestsim.a $(STORES_LIBS)

test_fuzz_fuzz_creds_SOURCES = test/fuzz/fuzz_creds.c $(FUZZ_MAIN)
test_fuzz_fuzz_creds_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_creds_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_creds_LDADD = $(STORES_LIBS)

test_fuzz_fuzz_cdb_SOURCES = test/fuzz/fuzz_cdb.c $(FUZZ_MAIN) test/lib/scsirig.c test/lib/scsirig.h
test_fuzz_fuzz_cdb_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_cdb_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_cdb_LDADD = libgateway.a $(COMMON_LIBS)

test_fuzz_fuzz_chap_SOURCES = test/fuzz/fuzz_chap.c $(FUZZ_MAIN)
test_fuzz_fuzz_chap_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_chap_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_chap_LDADD = libgateway.a $(COMMON_LIBS)

test_fuzz_fuzz_login_SOURCES = test/fuzz/fuzz_login.c $(FUZZ_MAIN)
test_fuzz_fuzz_login_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_login_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_login_LDADD = libgateway.a $(COMMON_LIBS)

test_fuzz_fuzz_pdu_SOURCES = test/fuzz/fuzz_pdu.c $(FUZZ_MAIN)
test_fuzz_fuzz_pdu_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_pdu_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_pdu_LDADD = libgateway.a $(COMMON_LIBS)

test_fuzz_fuzz_session_SOURCES = test/fuzz/fuzz_session.c $(FUZZ_MAIN) test/lib/rawiscsi.c test/lib/rawiscsi.h test/lib/scsirig.c test/lib/scsirig.h
test_fuzz_fuzz_session_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_session_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_session_LDADD = libgateway.a $(COMMON_LIBS)

test_fuzz_fuzz_s3url_SOURCES = test/fuzz/fuzz_s3url.c $(FUZZ_MAIN)
test_fuzz_fuzz_s3url_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_s3url_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_s3url_LDADD = $(STORES_LIBS)

test_fuzz_fuzz_xml_SOURCES = test/fuzz/fuzz_xml.c $(FUZZ_MAIN)
test_fuzz_fuzz_xml_CFLAGS = $(FUZZ_CFLAGS_ALL)
test_fuzz_fuzz_xml_LDFLAGS = $(FUZZ_LDFLAGS_ALL)
test_fuzz_fuzz_xml_LDADD = $(STORES_LIBS)
