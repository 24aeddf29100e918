#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# kill -9 in the middle of a load, LUNGATE_KILL_CYCLES times (200; the slower
# sanitizer builds do fewer).  A build with failpoints then kills in the middle of atomic writes to a file
# each time, and proves that the checker bites: a journal that pretends to write must be caught, and a file that
# is written to at once.
set -u
builddir=${builddir:-.}
if [ -n "${SANITIZER:-}" ]; then cycles=20; else cycles=200; fi
cycles=${LUNGATE_KILL_CYCLES:-$cycles}
"$builddir/test/crash/kill9" "$builddir/lungate" "$cycles" || exit $?
[ "${FAILPOINTS:-no}" = yes ] || exit 0
fail() {
	LUNGATE_FAILPOINTS=$1
	export LUNGATE_FAILPOINTS
	shift
	"$builddir/test/crash/kill9" "$@" || exit $?
}
fail 'raw.atomic.half=skip' "$builddir/lungate" 10
fail 'raw.atomic.half=skip;raw.atomic.slot=skip' --expect-loss "$builddir/lungate" 10
fail 'journal.write=skip' --expect-loss "$builddir/lungate" 10
