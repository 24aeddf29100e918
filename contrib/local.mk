# SPDX-License-Identifier: GPL-2.0-or-later
EXTRA_DIST += contrib/lungate.service contrib/prometheus.md

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = contrib/bash-completion/lungate
