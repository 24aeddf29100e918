# SPDX-License-Identifier: GPL-2.0-or-later
TESTS += test/conformance/run.sh
EXTRA_DIST += test/conformance/run.sh test/conformance/suite.sh test/conformance/exceptions.txt

if HAVE_LIBISCSI
check_PROGRAMS += test/conformance/reservations
TESTS += test/conformance/reservations.sh
test_conformance_reservations_SOURCES = test/conformance/reservations.c
test_conformance_reservations_CFLAGS = $(AM_CFLAGS) $(ISCSI_CFLAGS)
test_conformance_reservations_LDADD = $(COMMON_LIBS) $(ISCSI_LIBS)
endif
EXTRA_DIST += test/conformance/reservations.sh

FAMILIES = *
check-conformance: lungate$(EXEEXT)
	srcdir='$(abs_top_srcdir)' builddir='$(abs_top_builddir)' FAILPOINTS='$(enable_failpoints)' FAMILIES='$(FAMILIES)' $(srcdir)/test/conformance/run.sh
.PHONY: check-conformance
