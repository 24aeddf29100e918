#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What LUNs of each kind say they can do, and what they do; and what a reset or an abort leaves of a write.
. "$(dirname "$0")/../system/lib.sh"
answers=$builddir/test/conformance/answers
resets=$builddir/test/conformance/resets
[ -x "$answers" ] || skip "built without libiscsi: apt-get install libiscsi-dev"
mkdir "$work/store"
write_config "\"volumes\": [
    {\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"64M\", \"chunk_size\": \"1M\"},
    {\"name\": \"4k\", \"store\": \"dir:$work/store\", \"size\": \"64M\", \"chunk_size\": \"4M\", \"block_size\": 4096},
    {\"name\": \"raw\", \"store\": \"file:$work/raw.img\", \"size\": \"64M\"},
    {\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"64M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"thin\", \"removable\": true},
    {\"lun\": 1, \"volume\": \"4k\"}, {\"lun\": 2, \"volume\": \"raw\"}, {\"lun\": 3, \"volume\": \"ram\"}]}]"
start_daemon --create-missing

rc=0
limit=${TEST_TIMEOUT:-300}
timeout -k 5 "$limit" "$answers" "$portal" "$iqn" 0 thin 512 $((1 << 20)) || rc=1
timeout -k 5 "$limit" "$answers" "$portal" "$iqn" 1 4k 4096 $((4 << 20)) || rc=1
timeout -k 5 "$limit" "$answers" "$portal" "$iqn" 2 raw 512 0 || rc=1
timeout -k 5 "$limit" "$answers" "$portal" "$iqn" 3 ram 512 0 || rc=1
rounds=$([ -z "${SANITIZER:-}" ] && echo 200 || echo 20)
[ -z "${SANITIZER:-}" ] || limit=900
for lun in 0 2 3; do
	timeout -k 5 "$limit" "$resets" "$portal" "$iqn" $lun "$rounds" || rc=1
done
[ $rc -eq 0 ] || fail "see above"
stop_daemon
exit 0
