# SPDX-License-Identifier: GPL-2.0-or-later
TESTS += test/conformance/run.sh
EXTRA_DIST += test/conformance/run.sh test/conformance/suite.sh test/conformance/exceptions.txt

FAMILIES = *
check-conformance: lungate$(EXEEXT)
	srcdir='$(abs_top_srcdir)' builddir='$(abs_top_builddir)' FAMILIES='$(FAMILIES)' $(srcdir)/test/conformance/run.sh
.PHONY: check-conformance
