#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libiscsi's suite against the daemon: a thin chunked LUN, a raw file and a RAM
# LUN.  Families: those of the commands that lungate has; `make check-conformance
# FAMILIES='*'` runs them all.
set -euo pipefail
here=${srcdir:-.}/test/conformance
lungate=${builddir:-.}/lungate
[ -x "$lungate" ] || { echo "SKIP: $lungate is not built"; exit 77; }
command -v iscsi-test-cu >/dev/null || { echo "SKIP: iscsi-test-cu is missing: apt-get install libiscsi-bin"; exit 77; }
read -r -d '' -a families <<<"${FAMILIES:-Read* Write* Inquiry ModeSense6 TestUnitReady Unmap Mandatory
ReportSupportedOpcodes iSCSIcmdsn iSCSIResiduals iSCSIdatasn iSCSITMF Verify* Prefetch* GetLBAStatus CompareAndWrite OrWrite}" || true

work=$(mktemp -d /tmp/lungate-conformance-XXXXXX)
pid=''
cleanup() {
	if [ -n "$pid" ]; then
		kill -TERM "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap cleanup EXIT

port=$((20000 + RANDOM % 20000))
mkdir "$work/store"
iqn=iqn.2026-11.net.lungate:conformance
cat >"$work/lungate.json" <<JSON
{"listen": ["127.0.0.1:$port"], "control": "$work/control.sock", "state_dir": "$work/state", "memory": "256M",
 "volumes": [{"name": "thin", "store": "dir:$work/store", "size": "1G"},
             {"name": "raw", "store": "file:$work/raw.img", "size": "1G"},
             {"name": "ram", "store": "ram:", "size": "256M"}],
 "targets": [{"name": "$iqn", "luns": [{"lun": 0, "volume": "thin"}]},
             {"name": "$iqn-raw", "luns": [{"lun": 0, "volume": "raw"}]},
             {"name": "$iqn-ram", "luns": [{"lun": 0, "volume": "ram"}]}]}
JSON
"$lungate" serve --config "$work/lungate.json" --create-missing >"$work/daemon.log" 2>&1 &
pid=$!
for _ in $(seq 300); do
	(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
	kill -0 $pid || { cat "$work/daemon.log"; exit 1; }
	sleep 0.1
done
rc=0
for target in "$iqn" "$iqn-raw" "$iqn-ram"; do
	echo "== $target"
	"$here/suite.sh" "iscsi://127.0.0.1:$port/$target/0" "$here/exceptions.txt" "${families[@]}" || rc=1
done
kill -0 $pid || { echo "the daemon died"; rc=1; }
[ $rc -eq 0 ] || tail -n 20 "$work/daemon.log"
exit $rc
