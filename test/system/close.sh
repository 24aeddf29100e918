#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A stop while the store takes nothing: it says how many chunks are to go, gives up after close_timeout, and the next start
# has all of it.
. "$(dirname "$0")/lib.sh"
scsi=$builddir/test/system/scsi_cdb
[ -x "$scsi" ] || skip "libiscsi is missing: apt-get install libiscsi-dev"

write_chunk() { # N: a block of its own in that chunk
	local cdb byte data
	printf -v cdb '2a00%08x00000100' $((2048 * $1))
	printf -v byte '%02x' $(($1 + 1))
	data=$(printf "$byte%.0s" $(seq 512))
	[ "$("$scsi" "$portal" "$iqn" 0 "$cdb" out "$data")" = good ] || fail "write"
}
read_chunk() { # N
	local cdb
	printf -v cdb '2800%08x00000100' $((2048 * $1))
	"$scsi" "$portal" "$iqn" 0 "$cdb" in 512
}

mkdir "$work/store"
write_config "\"close_timeout\": 3,
  \"volumes\": [{\"name\": \"d\", \"store\": \"dir:$work/store\", \"size\": \"64M\", \"chunk_size\": \"1M\", \"journal_size\": \"256M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"d\"}]}]"
start_daemon --create-missing
for chunk in 1 2 3 4 5; do write_chunk $chunk; done
read_chunk 3 >"$work/want"
mv "$work/store" "$work/hidden"
stop_daemon
grep -q 'volume d: closing: 5 of 5 chunks are to go to the store, which has [123] s more' "$work/daemon.log" || fail "it does not say what is to go"
grep -q 'volume d: closed without a last commit: .*, and 5 of 5 chunks were to go after 3 s (close_timeout); the journal keeps' \
	"$work/daemon.log" || fail "it does not say what it gave up"
mv "$work/hidden" "$work/store"
: >"$work/daemon.log"
start_daemon
read_chunk 3 >"$work/have"
cmp "$work/want" "$work/have" || fail "a chunk is not there"
stop_daemon
! grep -q 'without a last commit' "$work/daemon.log" || fail "the store is there, and it gave up"
start_daemon
read_chunk 3 >"$work/have"
cmp "$work/want" "$work/have" || fail "a chunk is not there after a clean stop"
stop_daemon
echo "PASS"
