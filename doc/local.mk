# SPDX-License-Identifier: GPL-2.0-or-later
dist_man_MANS += doc/lungate.1 doc/lungate.json.5
EXTRA_DIST += $(DOC_PAGES)
DOC_PAGES = doc/design.md
DOC_PAGES += doc/formats.md
DOC_PAGES += doc/operations.md
DOC_PAGES += doc/performance.md
DOC_PAGES += doc/engine.md
