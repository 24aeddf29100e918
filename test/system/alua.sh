#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The access state that an initiator has set (SET TARGET PORT GROUPS) outlives a stop and kill -9; the operator has the last
# word, and his word lasts too; what he alone may set initiators cannot undo.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"
program=$builddir/test/system/scsi_cdb
[ -x "$program" ] || skip "built without libiscsi: apt-get install libiscsi-dev"

write_config "\"volumes\": [{\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"16M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"ram\"}]}]"
kept=$work/state/alua/$iqn.json

cdb() { timeout -k 5 60 "$program" "$portal" "$iqn" 0 "$@" >"$work/out" || fail "LUN 0 $*: no answer"; }
answer() { [ "$(cat "$work/out")" = "$1" ] || fail "'$(cat "$work/out")', not '$1'"; }
# by_initiator STATE: SET TARGET PORT GROUPS of group 1, SPC-4 codes
by_initiator() { cdb a40a0000000000000008000000000000 out "00000000${1}000001"; }
# is STATE HOW: REPORT TARGET PORT GROUPS, the state and by which way it came to be (01 explicit, 02 implicit)
is() {
	local report
	cdb a30a000000000000ffff000000000000 in 4096
	report=$(sed -n 's/^good //p' "$work/out")
	[ "${report:9:1}/${report:18:2}" = "$1/$2" ] || fail "state ${report:9:1} by way ${report:18:2}, not $1/$2"
}
crash_daemon() {
	local pid=$daemon
	daemon=''
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
}
# again STATE HOW: over a stop, and over kill -9
again() {
	is "$@"
	stop_daemon
	start_daemon --strict
	is "$@"
	crash_daemon
	start_daemon --strict
	is "$@"
}

start_daemon --strict
[ -z "$(ls "$work/state/alua")" ] || fail "states are kept, and no initiator has set any"
is 0 02

# GOOD is answered when it is on the disk: the kill comes right behind
by_initiator 02
answer good
crash_daemon
start_daemon --strict
is 2 01
cdb 28000000000000000100 in 512
answer "sense 2/04/0b"
again 2 01
jq -e '.groups == [{group: 1, state: "standby"}]' "$kept" >/dev/null || fail "$kept says $(cat "$kept")"

# the next one counts, and a way out leads through unavailable, too
by_initiator 03
answer good
again 3 01
cdb 28000000000000000100 in 512
answer "sense 2/04/0c"
by_initiator 00
answer good
again 0 01
cdb 28000000000000000100 in 512
grep -q "^good 00" "$work/out" || fail "the LUN cannot be read"

# what is refused is not kept
by_initiator 0e
answer "sense 5/26/00"
cdb a40a0000000000000008000000000000 out 0000000001000007
answer "sense 5/26/00"
again 0 01

# the operator's word: implicit, in the configuration, and what the initiator has set is gone
by_initiator 01
answer good
ctl target alua "$iqn" 1 standby >/dev/null
[ ! -e "$kept" ] || fail "$kept is still there"
again 2 02
# and the initiator's after it
by_initiator 01
answer good
again 1 01
ctl target alua "$iqn" 1 offline >/dev/null
stop_daemon
start_daemon --strict
by_initiator 00
answer "sense 2/04/12"
ctl target alua "$iqn" 1 optimized >/dev/null
again 0 02

# a target that is taken out of the file by hand is deleted: one of the same name begins anew, months later
by_initiator 02
answer good
stop_daemon
other=$work/state/alua/iqn.2026-11.net.lungate:other.json
cp "$config" "$work/with.json"
cp "$kept" "$other"
echo '{' >"$other.tmp-01234567"
echo mine >"$work/state/alua/README"
start_daemon --strict
[ "$(ls "$work/state/alua")" = "$(printf 'README\n%s' "${kept##*/}")" ] || fail "there is $(ls "$work/state/alua")"
grep -q "target iqn.2026-11.net.lungate:other is not configured any more" "$work/daemon.log" || fail "the log does not say so"
again 2 01
stop_daemon
jq '.targets = []' "$work/with.json" >"$config"
start_daemon --strict
[ ! -e "$kept" ] || fail "$kept outlives its target"
stop_daemon
# names of targets know no case (RFC 7143 4.2.7.2)
sed "s/$iqn/${iqn/test/TEST}/" "$work/with.json" >"$config"
start_daemon --strict
is 0 02
by_initiator 02
answer good
again 2 01
stop_daemon
exit 0
