# SPDX-License-Identifier: GPL-2.0-or-later
# run.sh SCENARIO: a scenario is the function of its name.  The shell has -e: what fails ends it.
. /lib.sh
. /files.sh
. /commands.sh
. /paths.sh
. /accounts.sh
"scenario_$(echo "$1" | tr - _)"
