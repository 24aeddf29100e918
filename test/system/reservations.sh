#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Persistent reservations with APTPL travel with a chunked volume: over kill -9 out of its journal, over a clean stop out
# of its store alone, to a daemon that has no state of its own; and what an older daemon left in its directory is taken over.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"
program=$builddir/test/conformance/reservations
[ -x "$program" ] || skip "built without libiscsi: apt-get install libiscsi-dev"

mkdir "$work/store"
write_config "\"volumes\": [{\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"64M\"},
    {\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"64M\", \"journal_size\": \"256M\"},
    {\"name\": \"old\", \"store\": \"dir:$work/store\", \"size\": \"64M\", \"journal_size\": \"256M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"ram\"}, {\"lun\": 1, \"volume\": \"thin\"},
    {\"lun\": 2, \"volume\": \"old\"}]}]"

two() { timeout -k 5 120 "$program" "$portal" "$iqn" "$@" >"$work/out" 2>&1 || fail "LUN $*"; }
kill_daemon() {
	local pid=$daemon
	daemon=''
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
}
uuid() { ctl volume show "$1" --json | jq -re .uuid; }
# lose_state: another machine, but for the store
lose_state() {
	rm -rf "$work/lost"
	mv "$work/state" "$work/lost"
}
# local_files N: so many volumes have their reservations in the state directory
local_files() {
	local n
	n=$(find "$work/state/reservations" -type f | wc -l)
	[ "$n" = "$1" ] || fail "$n files in the state directory, not $1"
}

start_daemon --create-missing
thin=$(uuid thin) old=$(uuid old)

# killed: the journal has it, and nothing else
two 1 set 3
ctl volume show thin --json | jq -e '.attributes | length == 1 and .[0].key == "reservations"' >/dev/null ||
	fail "the volume does not have them"
local_files 0
kill_daemon
rm -rf "$work/state/reservations"
start_daemon
two 1 kept 3

# stopped: the store has it; the journal and the rest of the state are gone
two 1 set 6
stop_daemon
lose_state
start_daemon
[ "$(uuid thin)" = "$thin" ] || fail "it is another volume"
two 1 kept 6
# and that it was cleared goes the same way
stop_daemon
lose_state
start_daemon
two 1 lost

# the host burns down: what the last commit had is there
two 1 set 7
stop_daemon
start_daemon
kill_daemon
lose_state
expect 10 "$lungate" serve --config "$config" --strict
says "accept-loss"
rm -rf "$work/state"
start_daemon --accept-loss thin --accept-loss old
two 1 kept 7

# a volume without a place for them: the state directory, as before
two 0 set 1
local_files 1
stop_daemon
ram=$(basename "$work"/state/reservations/*.json)

# left behind by a daemon that knew no other place, of this volume: taken over, once
mv "$work/state/reservations/$ram" "$work/state/reservations/$old.json"
cp "$work/state/reservations/$old.json" "$work/state/reservations/$thin.json"
start_daemon
local_files 0
grep -q "volume old: reservations: kept with the volume from now on" "$work/daemon.log" ||
	fail "the log does not say so"
# what a volume says itself counts more
two 1 lost
kill_daemon
start_daemon
two 2 kept 1
stop_daemon
start_daemon
two 2 lost
stop_daemon
exit 0
