#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Portals, their groups, redirection, ALUA states and sessions on a running daemon, and after a restart.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"
initiator=$builddir/test/lib/initiator
[ -x "$initiator" ] || skip "$initiator is not built"

try() { expect 0 "$initiator" login "$1" "${2:-$iqn}"; }
# await FILE WORD: a line that another process writes
await() {
	for _ in $(seq 600); do
		! grep -qx "$2" "$1" 2>/dev/null || return 0
		sleep 0.05
	done
	fail "'$2' did not appear in $1"
}
state_of() { ctl target show "$iqn" --json | jq -r ".portal_groups[] | select(.group == $1) | .access"; }

write_config
start_daemon
expect 0 ctl volume create ram -s 16M --store ram:
expect 0 ctl target create "$iqn"
expect 0 ctl target map "$iqn" ram

# groups
expect 0 ctl portal add 127.0.0.1:0 --group 2 --json
second=$(jq -r .bound "$work/out")
expect 0 ctl portal list
says "$second"
expect 4 ctl portal add "$second" --group 3
says "there is a portal $second already, in group 2"
expect 5 ctl portal add localhost:3260
expect 5 ctl portal add 127.0.0.1:3260 --group 0
expect 3 ctl portal remove 127.0.0.1:1
expect 0 "$initiator" discover "$portal" -
says "TargetAddress=$portal,1"
says "TargetAddress=$second,2"
expect 3 ctl target groups "$iqn" 2,7
says "no portal group 7"
expect 2 ctl target groups "$iqn" two
expect 0 ctl target groups "$iqn" 2
expect 0 "$initiator" discover "$portal" -
says "TargetAddress=$second,2"
! grep -q "TargetAddress=$portal" "$work/out" || fail "a portal of another group is told"
try "$portal"
says "status 0x0203"
try "$second"
says "status 0x0000"
says "TargetPortalGroupTag=2"
expect 0 "$lungate" config check "$config"

# ALUA
expect 0 ctl target groups "$iqn" all
expect 3 ctl target alua "$iqn" 7 standby
expect 5 ctl target alua "$iqn" 2 asleep
expect 0 ctl target alua "$iqn" 2 standby
says "standby"
[ "$(state_of 1) $(state_of 2)" = "optimized standby" ] || fail "states are $(state_of 1) $(state_of 2)"

# redirection
expect 2 ctl target redirect "$iqn"
expect 2 ctl target redirect "$iqn" "$second" --off
expect 5 ctl target redirect "$iqn" nowhere
expect 0 ctl target redirect "$iqn" "$second"
try "$portal"
says "status 0x0101"
says "TargetAddress=$second"
try "$second"
says "status 0x0000"
expect 0 ctl portal redirect "$second" gateway-b.example.net:3260 --permanent
expect 0 ctl target redirect "$iqn" --off
try "$portal"
says "status 0x0000"
try "$second"
says "status 0x0102"
says "TargetAddress=gateway-b.example.net:3260"
expect 3 ctl portal redirect 127.0.0.1:1 192.0.2.1:3260
expect 5 ctl portal redirect "$portal" "$portal"

# all of it stands in the file, and holds after a restart
expect 0 "$lungate" config check "$config"
stop_daemon
start_daemon --strict
second=$(ctl portal list --json | jq -r '.[] | select(.group == 2) | .bound')
[ "$(state_of 1) $(state_of 2)" = "optimized standby" ] || fail "the states did not last"
try "$second"
says "status 0x0102"
expect 0 ctl portal redirect "$second" --off
try "$second"
says "status 0x0000"

# what an initiator has set, as the daemon keeps it, is in force until the operator says otherwise
kept=$work/state/alua/$iqn.json
keep() { jq -n --arg t "$iqn" --arg s "$1" '{format: 1, target: $t, groups: [{group: 2, state: $s}]}' >"$kept"; }
[ ! -e "$kept" ] || fail "there is $kept, and no initiator has set anything"
stop_daemon
keep non-optimized
start_daemon --strict
[ "$(state_of 1) $(state_of 2)" = "optimized non-optimized" ] || fail "what an initiator has set did not last"
expect 0 ctl target alua "$iqn" 2 offline
[ "$(state_of 2)" = offline ] || fail "the operator was not heard"
[ ! -e "$kept" ] || fail "$kept is still there"
stop_daemon
start_daemon --strict
[ "$(state_of 2)" = offline ] || fail "the operator's word did not last"
second=$(ctl portal list --json | jq -r '.[] | select(.group == 2) | .bound')

expect 0 ctl target alua "$iqn" 2 optimized
! grep -q '"alua"\|"redirect' "$config" || fail "what is the default was left in the file"

# sessions
"$initiator" obey "$portal" "$iqn" iqn.2024-01.com.example:obedient >"$work/obey" &
"$initiator" stay "$second" "$iqn" iqn.2024-01.com.example:stubborn >"$work/stay" &
await "$work/obey" ready
await "$work/stay" ready
expect 0 ctl session list
says iqn.2024-01.com.example:stubborn
expect 0 ctl portal list
[ "$(awk 'NR > 1 { print $2, $3 }' "$work/out" | tr '\n' ' ')" = "1 1 2 1 " ] || fail "the list does not count connections"
expect 0 ctl status
says "; 2 sessions"
grep -Eq "^$iqn +[-0-9]+ +[^ ]+ +2$" "$work/out" || fail "status does not count the target's sessions"
expect 0 ctl target show "$iqn"
says "$iqn  2 sessions"
says "MaxBurstLength="
says "commands"
says "by $second"
says "group 2    optimized: $second"
ctl target list --json | jq -e '.[0].session_count == 2 and .[0].sessions == null' >/dev/null || fail "sessions are not counted"
ctl portal list --json | jq -e 'map(.connection_count) == [1, 1]' >/dev/null || fail "connections are not counted"
ctl target show "$iqn" --json | jq -e '.session_count == 2' >/dev/null || fail "sessions are not counted here"
ctl target show "$iqn" --json | jq -e '.sessions | length == 2 and all(.connections[0].params.ErrorRecoveryLevel == "0" and
	.connections[0].counters.commands >= 0 and (.connections[0].address | startswith("127.0.0.1:")))' >/dev/null ||
	fail "sessions are not described"
expect 3 ctl session kick ffff-000000000000
expect 2 ctl session kick
expect 3 ctl session kick --initiator iqn.2024-01.com.example:stubborn --target "$iqn:none"
id=$(ctl session list --json | jq -r '.[] | select(.initiator | endswith("obedient")) | .id')
expect 0 ctl session kick "$id" --grace 30
says "1 session ended"
await "$work/obey" "logged out"
expect 0 ctl session list
says iqn.2024-01.com.example:stubborn
expect 0 ctl session kick --initiator iqn.2024-01.com.example:stubborn --grace 0
await "$work/stay" dropped
[ "$(tr '\n' ' ' <"$work/stay")" = "ready asked told dropped " ] || fail "it was not told: $(cat "$work/stay")"
expect 0 ctl session list
says "nobody is logged in"

# a portal goes, and with it who came by it
"$initiator" stay "$second" "$iqn" >"$work/goes" &
"$initiator" stay "$portal" "$iqn" iqn.2024-01.com.example:stubborn >"$work/stays" &
await "$work/goes" ready
await "$work/stays" ready
expect 0 ctl portal remove "$second" --grace 0
says "1 connection ended"
await "$work/goes" dropped
expect 1 "$initiator" login "$second" "$iqn"
[ "$(ctl session list --json | jq length)" = 1 ] || fail "the other session is gone as well"
! grep -q portal_groups "$config" || fail "the empty group was left in the file"
expect 0 "$lungate" config check "$config"
# groups that come and go leave room for others
for tag in $(seq 2 21); do
	expect 0 ctl portal add 127.0.0.1:0 --group "$tag" --json
	expect 0 ctl portal remove "$(jq -r .bound "$work/out")"
done

# the file was edited by hand: a portal that it names already, in another group, with its port, or no more
edit() { jq "$1" "$config" >"$work/edited.json" && cp "$work/edited.json" "$config"; }
expect 0 ctl portal add 127.0.0.1:0 --json
third=$(jq -r .bound "$work/out")
expect 0 ctl portal remove "$third"
edit '.listen += ["'"$third"'"]'
expect 0 ctl portal add "$third"
[ "$(jq '.listen | map(select(. == "'"$third"'")) | length' "$config")" = 1 ] || fail "it is written twice"
expect 4 ctl portal add "$third"
edit '.listen -= ["'"$third"'"] | .portal_groups = [{"tag": 7, "portals": ["'"$third"'"]}]'
expect 0 ctl portal remove "$third"
! grep -q "$third" "$config" || fail "a portal that was moved to another group stays in the file"
! grep -q portal_groups "$config" || fail "the empty group was left in the file"
edit '.portal_groups = [{"tag": 7, "portals": ["'"$third"'"]}]'
expect 4 ctl portal add "$third"
says "the configuration file has $third in portal group 7"
edit 'del(.portal_groups)'
expect 0 ctl portal add 127.0.0.1:0 --group 2 --json
third=$(jq -r .bound "$work/out")
edit '.portal_groups[0].portals = ["'"$third"'"]'
expect 0 ctl portal remove "$third"
! grep -q "$third" "$config" || fail "a portal that was given its port stays in the file"
expect 0 ctl portal add 127.0.0.1:0 --group 2 --json
third=$(jq -r .bound "$work/out")
edit 'del(.portal_groups)'
expect 0 ctl portal remove "$third"
says "the configuration file did not name it"

# who does not obey does not hold the stop
stop_daemon
await "$work/stays" dropped
exit 0
