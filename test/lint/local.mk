# SPDX-License-Identifier: GPL-2.0-or-later
LINT_TESTS = test/lint/layers.sh test/lint/banned.sh test/lint/headers.sh test/lint/shell.sh
TESTS += $(LINT_TESTS)
EXTRA_DIST += $(LINT_TESTS)
