#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libiscsi's suite against the daemon: a thin chunked LUN, a raw file and a RAM
# LUN.  Families: those of the commands that lungate has; `make check-conformance
# FAMILIES='*'` runs them all.
here=$(dirname "$0")
. "$here/../system/lib.sh"
command -v iscsi-test-cu >/dev/null || skip "iscsi-test-cu is missing: apt-get install libiscsi-bin"
read -r -d '' -a families <<<"${FAMILIES:-Read[0-9]* ReadCapacity* Write[0-9]* WriteSame* WriteVerify* Inquiry ModeSense6 TestUnitReady Unmap Mandatory
ReportSupportedOpcodes iSCSIcmdsn iSCSIResiduals iSCSIdatasn iSCSITMF Verify* Prefetch* GetLBAStatus CompareAndWrite OrWrite}" || true

[ -z "${SANITIZER:-}" ] || export TEST_TIMEOUT=150 # everything is ten times slower
mkdir "$work/store"
write_config "\"volumes\": [{\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"1G\"},
    {\"name\": \"raw\", \"store\": \"file:$work/raw.img\", \"size\": \"1G\"},
    {\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"256M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"thin\"}]},
    {\"name\": \"$iqn-raw\", \"luns\": [{\"lun\": 0, \"volume\": \"raw\"}]},
    {\"name\": \"$iqn-ram\", \"luns\": [{\"lun\": 0, \"volume\": \"ram\"}]}]"
start_daemon --create-missing
rc=0
for target in "$iqn" "$iqn-raw" "$iqn-ram"; do
	echo "== $target"
	"$here/suite.sh" "iscsi://$portal/$target/0" "$here/exceptions.txt" "${families[@]}" || rc=1
done
kill -0 "$daemon" || fail "the daemon died"
[ $rc -eq 0 ] || fail "see the tests above"
