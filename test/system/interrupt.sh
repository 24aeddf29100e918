#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Ctrl-C while a store is tried, a volume is made, or a change waits for another one: nothing is left, nothing is made.
# (What an import leaves: import.sh.)
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"

await() { # COMMAND...: that it becomes true
	local i
	for i in $(seq 300); do
		! "$@" || return 0
		sleep 0.1
	done
	fail "in vain: $*"
}
logged() { grep -q "$1" "$work/daemon.log"; }
ended() { ! kill -0 "$1" 2>/dev/null; }

echo "-- store check"
mkdir "$work/store"
probes() { find "$work/store" -path '*lungate-probe*' -type f | grep -q .; }
for round in 1 2 3 4 5 6; do
	"$lungate" store check "dir:$work/store" >"$work/out" 2>&1 &
	pid=$!
	# some of the time it has written something by then
	[ $((round % 2)) = 0 ] || await eval "probes || ended $pid"
	kill -INT $pid 2>/dev/null || true
	code=0
	wait $pid || code=$?
	# 0: it was through already; 130: it had not begun
	[ "$code" = 11 ] || [ "$code" = 0 ] || [ "$code" = 130 ] || fail "it ended with code $code"
	[ "$code" != 11 ] || says "interrupted; what was written is removed again"
	! probes || fail "probes are left: $(find "$work/store" -type f)"
done

command -v curl >/dev/null || skip "curl is missing"
start_fakes3
store="s3://$S3_BUCKET/vols?endpoint=$S3_ENDPOINT"

echo "-- volume create, and changes that wait for it"
write_config
cp "$config" "$work/kept.json"
start_daemon
control_fake 'error-before=1000' # it tries again for 20 s
"$lungate" volume create slow --control "$control" --size 64M --store "$store" --journal-size 256M >"$work/slow" 2>&1 &
slow=$!
tried() { curl -sSf "$S3_ENDPOINT/_control" | grep -q '^error-before=[1-9]'; }
await tried
"$lungate" target create "$iqn" --control "$control" >"$work/waits" 2>&1 &
waits=$!
# it has asked when its connection is there: one client more than ours
clients() { [ "$(find "/proc/$daemon/fd" -lname 'socket:*' | wc -l)" -ge "$1" ]; }
await clients 4
kill -KILL $slow $waits
wait $slow $waits 2>/dev/null || true
control_fake 'error-before=0'
await logged "volume slow: not made, for whoever asked for it has gone"
expect 0 ctl target create "$iqn-2"
expect 0 ctl volume list --json
jq -e '. == []' "$work/out" >/dev/null || fail "a volume is there: $(cat "$work/out")"
expect 0 ctl target list --json
jq -e 'map(.name) == ["'"$iqn-2"'"]' "$work/out" >/dev/null || fail "a target was made for nobody"
[ -z "$(find "$work/state/journal" -type f)" ] || fail "a journal is left"
expect 3 ctl volume create slow --existing --store "$store" --journal-size 256M

echo "-- who has sent all that it will still gets its answer"
if command -v python3 >/dev/null; then
	python3 - "$control" <<'P' >"$work/out" || fail "no answer after a shutdown of the sending side"
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"id": 7, "cmd": "target.create", "args": {"name": "iqn.2026-11.net.lungate:half"}}\n')
s.shutdown(socket.SHUT_WR)
lines = s.makefile().read().splitlines()
assert json.loads(lines[-1])["ok"], lines
P
fi
stop_daemon
exit 0
