#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# kill -9 in the middle of a load, LUNGATE_KILL_CYCLES times (200; the slower
# sanitizer builds do fewer).  A build with failpoints then proves that the
# checker bites: a journal that pretends to write must be caught.
set -u
builddir=${builddir:-.}
if [ -n "${SANITIZER:-}" ]; then cycles=20; else cycles=200; fi
cycles=${LUNGATE_KILL_CYCLES:-$cycles}
"$builddir/test/crash/kill9" "$builddir/lungate" "$cycles" || exit $?
[ "${FAILPOINTS:-no}" = yes ] || exit 0
LUNGATE_FAILPOINTS='journal.write=skip' "$builddir/test/crash/kill9" --expect-loss "$builddir/lungate" 10
