# SPDX-License-Identifier: GPL-2.0-or-later
TESTS += test/conformance/run.sh
EXTRA_DIST += test/conformance/run.sh test/conformance/suite.sh test/conformance/exceptions.txt

if HAVE_LIBISCSI
check_PROGRAMS += test/conformance/reservations
TESTS += test/conformance/reservations.sh
test_conformance_reservations_SOURCES = test/conformance/reservations.c test/conformance/initiator.c \
	test/conformance/initiator.h
test_conformance_reservations_CFLAGS = $(AM_CFLAGS) $(ISCSI_CFLAGS)
test_conformance_reservations_LDADD = $(COMMON_LIBS) $(ISCSI_LIBS)

check_PROGRAMS += test/conformance/answers test/conformance/resets
TESTS += test/conformance/answers.sh
test_conformance_answers_SOURCES = test/conformance/answers.c test/conformance/initiator.c test/conformance/initiator.h
test_conformance_answers_CFLAGS = $(AM_CFLAGS) $(ISCSI_CFLAGS)
test_conformance_answers_LDADD = $(COMMON_LIBS) $(ISCSI_LIBS)
test_conformance_resets_SOURCES = test/conformance/resets.c test/conformance/initiator.c test/conformance/initiator.h
test_conformance_resets_CFLAGS = $(AM_CFLAGS) $(ISCSI_CFLAGS)
test_conformance_resets_LDADD = $(COMMON_LIBS) $(ISCSI_LIBS)
endif
EXTRA_DIST += test/conformance/reservations.sh test/conformance/answers.sh

FAMILIES = *
check-conformance: lungate$(EXEEXT)
	srcdir='$(abs_top_srcdir)' builddir='$(abs_top_builddir)' SANITIZER='$(SAN_CFLAGS)' FAILPOINTS='$(enable_failpoints)' \
		FAMILIES='$(FAMILIES)' $(srcdir)/test/conformance/run.sh
.PHONY: check-conformance
