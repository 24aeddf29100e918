#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A SANITIZE that kill -9 or a stop cuts off is not forgotten: the LUN says so, the mount and the command line keep its data
# to themselves, and the ways out are those of SBC-3.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"
[ "${FAILPOINTS:-no}" = yes ] || skip "this build has no failpoints"
program=$builddir/test/system/scsi_cdb
[ -x "$program" ] || skip "built without libiscsi: apt-get install libiscsi-dev"
cleanup_more() { fusermount3 -uz "$work/view" 2>/dev/null || true; }

mkdir "$work/store"
mount=''
if [ -w /dev/fuse ] && command -v fusermount3 >/dev/null; then
	mount=", \"mount\": {\"path\": \"$work/view\"}"
fi
write_config "\"volumes\": [{\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"64M\", \"journal_size\": \"256M\"},
    {\"name\": \"raw\", \"store\": \"file:$work/raw.img\", \"size\": \"64M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"thin\"}, {\"lun\": 1, \"volume\": \"raw\"}]}]$mount"

cdb() { timeout -k 5 60 "$program" "$portal" "$iqn" "$@"; }
# answers WORDS LUN CDB...: what the LUN says
answers() {
	local want=$1
	shift
	cdb "$@" >"$work/out" || fail "LUN $*: no answer"
	[ "$(head -c ${#want} "$work/out")" = "$want" ] || fail "LUN $*: '$(head -c 60 "$work/out")', not '$want'"
}
state() { ctl volume show "$1" --json | jq -r .state; }
name_of=(thin raw)
ready=000000000000
read_last=28000001ffff00000100
erase=48020000000000000000
erase_ause_immed=48a20000000000000000
exit_failure=481f0000000000000000
failed='sense 3/31/03'

# fill LUN: the last 8 MiB
fill() {
	answers good "$1" 41000001c00000400000 out "$(printf '78%.0s' $(seq 512))"
	answers "good $(printf '78%.0s' $(seq 512))" "$1" "$read_last" in 512
}
# killed LUN CDB: a SANITIZE during which the daemon dies
killed() {
	stop_daemon
	LUNGATE_FAILPOINTS=sanitize.piece=kill@20 start_daemon
	fill "$1"
	cdb "$1" "$2" >"$work/out" 2>&1 || :
	wait "$daemon" && fail "the daemon lives"
	daemon=''
	start_daemon
}
# shut LUN: nothing but what is allowed then
shut() {
	local name=${name_of[$1]}
	answers "$failed" "$1" $ready
	answers "$failed" "$1" "$read_last" in 512
	answers good "$1" 120000002400 in 36
	answers good "$1" 030000001200 in 18
	grep -q '^good 70000300000000..........3103' "$work/out" || fail "REQUEST SENSE says $(cat "$work/out")"
	[ "$(state "$name")" = sanitize-failed ] || fail "its state is $(state "$name")"
	ctl volume list >"$work/out"
	says sanitize-failed
	says "its SANITIZE did not succeed"
	expect 9 ctl volume resize "$name" --size 128M
	says "its SANITIZE did not succeed"
	[ -n "$mount" ] || return 0
	expect 1 dd if="$work/view/volumes/$name/image" of=/dev/null bs=4k count=1 status=none
	says "Input/output error"
	expect 1 dd if=/dev/zero of="$work/view/volumes/$name/image" bs=4k count=1 conv=notrunc status=none
	says "Input/output error"
	grep -qF "lungate_volume_up{volume=\"$name\"} 0" "$work/view/metrics" || fail "its metrics say it is up"
}
# open_again LUN: sanitized, and nothing is left to be remembered
open_again() {
	answers good "$1" $ready
	answers "good $(printf '00%.0s' $(seq 512))" "$1" "$read_last" in 512
	[ "$(state "${name_of[$1]}")" = online ] || fail "its state is $(state "${name_of[$1]}")"
	[ -z "$(find "$work/state/sanitize" -type f)" ] || fail "the record is still there"
	ctl volume show "${name_of[$1]}" --json | jq -e '.attributes // [] | all(.key != "sanitize")' >/dev/null ||
		fail "the volume still has it"
}

start_daemon --create-missing
if [ -n "$mount" ]; then
	ctl status --json | jq -e .mount.mounted >/dev/null || mount=''
fi
for lun in 0 1; do
	# without AUSE: a SANITIZE that succeeds is the only way
	killed $lun $erase
	shut $lun
	answers "$failed" $lun $exit_failure
	answers 'sense 5/24/00' $lun $erase_ause_immed
	ctl target unmap $iqn $lun >"$work/out"
	ctl target map $iqn "${name_of[$lun]}" --lun $lun >"$work/out"
	answers "$failed" $lun $ready
	stop_daemon
	start_daemon
	shut $lun
	answers good $lun $erase
	open_again $lun
	stop_daemon
	start_daemon
	open_again $lun

	# with AUSE: EXIT FAILURE MODE gives what is there
	killed $lun $erase_ause_immed
	shut $lun
	answers good $lun $exit_failure
	answers good $lun $ready
	stop_daemon
	start_daemon
	answers "good $(printf '78%.0s' $(seq 512))" $lun "$read_last" in 512
	answers good $lun $erase
	open_again $lun

	# while it goes on, and stopped in the middle
	stop_daemon
	LUNGATE_FAILPOINTS=sanitize.piece=delay:300 start_daemon
	fill $lun
	answers good $lun $erase_ause_immed
	answers 'sense 2/04/1b' $lun "$read_last" in 512
	[ "$(state "${name_of[$lun]}")" = sanitizing ] || fail "its state is $(state "${name_of[$lun]}")"
	if [ -n "$mount" ]; then
		expect 1 dd if="$work/view/volumes/${name_of[$lun]}/image" of=/dev/null bs=4k count=1 status=none
		says "busy"
	fi
	answers 'sense 2/04/1b' $lun $ready
	stop_daemon
	start_daemon
	shut $lun
	answers good $lun $erase
	open_again $lun
done

# a deleted volume leaves nothing
killed 1 $erase
[ -n "$(find "$work/state/sanitize" -type f)" ] || fail "there is no record"
ctl target unmap $iqn 1 >"$work/out"
ctl volume delete raw --yes --delete-file >"$work/out"
[ -z "$(find "$work/state/sanitize" -type f)" ] || fail "the record outlives its volume"
stop_daemon
exit 0
