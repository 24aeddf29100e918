# SPDX-License-Identifier: GPL-2.0-or-later
EXTRA_DIST += contrib/lungate.service contrib/lungate.bash contrib/prometheus.md
