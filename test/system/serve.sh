#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Start, ready, status, log level, stop; what a service manager hears.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"

command -v jq >/dev/null || skip "jq is missing: apt-get install jq"

mkdir "$work/store"
write_config '"volumes": [{"name": "r", "store": "ram:", "size": "16M"},
    {"name": "d", "store": "dir:'"$work"'/store", "size": "1G", "journal_size": "256M"}],
  "targets": [{"name": "'"$iqn"'", "luns": [{"lun": 0, "volume": "r"}]}]'

start_daemon --create-missing
grep -q "^lungate: ready; iSCSI at $portal" "$work/daemon.out" || fail "no ready line"
[ "$(stat -c %a "$control")" = 600 ] || fail "the control socket is not 0600"
expect 0 ctl status
says running
says "$portal"
expect 0 ctl status --json
jq -e '.state == "running" and .volumes[0].state == "online" and .targets[0].luns[0].volume == "r" and .session_count == 0 and .targets[0].session_count == 0 and .sessions == null' \
	"$work/out" >/dev/null || fail "status --json"
gateway=$(jq -r .gateway "$work/out")
expect 0 ctl status --metrics
says 'lungate_volume_up{volume="r"} 1'
says 'lungate_volume_degraded{volume="d"} 0'
ctl volume show d --json | jq -e 'has("store_error") and .store_error == null and .stats.degraded == 0 and (has("degraded") | not)' >/dev/null ||
	fail "what a healthy store is called"
says 'lungate_iscsi_logins_total 0'
grep -vE '^(# (HELP|TYPE) [a-z0-9_]+ .+|[a-z0-9_]+(\{[^}]*\})? [-+0-9.e]+)$' "$work/out" && fail "not Prometheus text"
[ "$(grep -c '^# TYPE' "$work/out")" = "$(grep '^# TYPE' "$work/out" | sort -u | wc -l)" ] || fail "a family is there twice"
expect 0 ctl map r --width 60
says '16.0 MiB in chunks'
expect 0 ctl volume show r
says 'online'
uuid=$(ctl volume show r --json | jq -r .uuid)

# SIGHUP reads the log level; a broken file changes nothing
sed -i 's/"threads": 2/"threads": 2, "log_level": "debug"/' "$config"
kill -HUP "$daemon"
for _ in $(seq 100); do grep -q 'SIGHUP: log level' "$work/daemon.log" && break; sleep 0.1; done
grep -q 'SIGHUP: log level' "$work/daemon.log" || fail "SIGHUP was not heard"

# SIGINT works although background jobs inherit it ignored
stop_daemon INT
[ ! -e "$control" ] || fail "the control socket is still there"
grep -q 'stopped' "$work/daemon.log" || fail "no closing line"
expect 6 ctl status
says "no daemon listens at $control"
says "lungate serve"

# identity of gateway and volume are kept
start_daemon
[ "$(ctl status --json | jq -r .gateway)" = "$gateway" ] || fail "the gateway has another identity"
[ "$(ctl volume show r --json | jq -r .uuid)" = "$uuid" ] || fail "the volume has another uuid"
stop_daemon

# READY=1 and STOPPING=1
if command -v python3 >/dev/null; then
	python3 - "$work/notify" >"$work/notified" <<'PY' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    text = s.recv(4096).decode()
    print(text, flush=True)
    if "STOPPING=1" in text:
        break
PY
	listener=$!
	until [ -S "$work/notify" ]; do kill -0 $listener; done
	NOTIFY_SOCKET=$work/notify start_daemon
	stop_daemon
	wait $listener
	grep -q READY=1 "$work/notified" || fail "READY=1 was not sent"
fi
exit 0
