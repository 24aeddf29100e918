#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Two initiators and reservations of every type, on a real daemon, and over its restart and its kill -9.
. "$(dirname "$0")/../system/lib.sh"
program=$builddir/test/conformance/reservations
[ -x "$program" ] || skip "built without libiscsi: apt-get install libiscsi-dev"
mkdir "$work/store"
write_config "\"volumes\": [{\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"64M\"},
    {\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"64M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"ram\", \"removable\": true}, {\"lun\": 1, \"volume\": \"thin\"}]}]"
start_daemon --create-missing

rc=0
two() { timeout -k 5 "${TEST_TIMEOUT:-240}" "$program" "$portal" "$iqn" "$@" || rc=1; }

two 0 table
two 0 actions
two 1 actions
for type in 1 3 5 6 7 8; do
	two 1 set $type
	case $type in
	1 | 6 | 7) stop_daemon ;;
	*)
		pid=$daemon
		daemon=''
		kill -KILL "$pid"
		wait "$pid" 2>/dev/null || true
		;;
	esac
	start_daemon
	two 1 kept $type
done
stop_daemon
start_daemon
two 1 lost
[ $rc -eq 0 ] || fail "see above"
stop_daemon
exit 0
