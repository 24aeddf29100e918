# SPDX-License-Identifier: GPL-2.0-or-later
LINT_SCRIPTS = test/lint/layers.sh test/lint/banned.sh test/lint/headers.sh
TESTS += $(LINT_SCRIPTS)
EXTRA_DIST += $(LINT_SCRIPTS)
