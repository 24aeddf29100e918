#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the surroundings may have in store at start: ports, sockets, directories that are taken, missing or read-only.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"

write_config '"volumes": [{"name": "r", "store": "ram:", "size": "16M"}]'
start_daemon

# the port is taken: another daemon with its own state
second=$work/second.json
sed -e "s|$work/state|$work/state2|; s|$control|$work/control2.sock|" "$config" >"$second"
expect 4 "$lungate" serve --config "$second" --listen "$portal"
says "in use"
says "${portal##*:}"
[ ! -e "$work/control2.sock" ] || fail "the refused daemon left its socket"

# the same state directory, then the same control socket
sed -e "s|$control|$work/control2.sock|" "$config" >"$second"
expect 4 "$lungate" serve --config "$second"
says "another daemon (pid $daemon) uses the state directory"
sed -e "s|$work/state|$work/state2|" "$config" >"$second"
expect 4 "$lungate" serve --config "$second"
says "another daemon listens at the control socket"
expect 0 ctl status

# after kill -9 the socket file is stale: replaced without a word from anybody
{ kill -KILL "$daemon" && wait "$daemon"; } 2>/dev/null || true
daemon=''
[ -S "$control" ] || fail "there is no stale socket to test with"
expect 6 ctl status
start_daemon
expect 0 ctl status
stop_daemon

# a portal that is none
expect 5 "$lungate" serve --config "$config" --listen 192.0.2.1:0
says "192.0.2.1"

# a store directory that is missing: its volume is failed, the others are served
write_config '"volumes": [{"name": "r", "store": "ram:", "size": "16M"},
    {"name": "d", "store": "dir:'"$work"'/store", "size": "64M", "journal_size": "256M"}],
  "targets": [{"name": "'"$iqn"'", "luns": [{"lun": 0, "volume": "r"}, {"lun": 1, "volume": "d"}]}]'
start_daemon --create-missing
expect 0 ctl volume list
says "$work/store"
ctl status --json | jq -e '[.volumes[] | [.name, .state]] == [["r", "online"], ["d", "failed"]]' >/dev/null ||
	fail "states with a store that is missing"
ctl target list --json | jq -e '.[0].luns | map(.online) == [true, false]' >/dev/null || fail "LUNs with a store that is missing"
expect 3 ctl volume resize d --size 128M
says "is not online"
stop_daemon
expect 3 "$lungate" serve --config "$config" --strict
says "volume d:"
says "$work/store"

# a volume that is not in its store is not made up
mkdir "$work/store"
expect 3 "$lungate" serve --config "$config" --strict
says "volume d:"
start_daemon --create-missing --strict
stop_daemon
start_daemon --strict
stop_daemon

# a journal that is gone is a refusal, until the loss is accepted by name
start_daemon --strict
{ kill -KILL "$daemon" && wait "$daemon"; } 2>/dev/null || true
rm -r "$work/state/journal"
start_daemon
ctl status --json | jq -e '.volumes[1] | .state == "failed" and .error.code == "LG_ENOJOURNAL"' >/dev/null ||
	fail "a journal that is gone: $(ctl volume show d)"
stop_daemon
expect 3 "$lungate" serve --config "$config" --accept-loss dd
says 'no volume "dd"'
start_daemon --strict --accept-loss d
stop_daemon
start_daemon --strict
stop_daemon

# read-only store: root passes permission bits, so ask for a mount that does not
if [ "$(id -u)" = 0 ] && mount --bind "$work/store" "$work/store" 2>/dev/null; then
	cleanup_more() { umount "$work/store" 2>/dev/null || true; }
	mount -o remount,bind,ro "$work/store"
	start_daemon
	ctl status --json | jq -e '.volumes[1] | .state == "failed" and (.error.code == "EROFS" or .error.code == "EACCES")' >/dev/null ||
		fail "a read-only store: $(ctl volume show d)"
	stop_daemon
	umount "$work/store"
	start_daemon --strict
	stop_daemon
elif [ "$(id -u)" != 0 ]; then
	chmod -R a-w "$work/store"
	start_daemon
	ctl status --json | jq -e '.volumes[1].state == "failed"' >/dev/null || fail "a read-only store"
	stop_daemon
	chmod -R u+w "$work/store"
fi

# a mount point that is busy, or none at all
mkdir "$work/busy"
echo x >"$work/busy/file"
sed -i 's|"threads": 2|"threads": 2, "mount": {"path": "'"$work"'/busy"}|' "$config"
start_daemon
ctl status --json | jq -e '.mount.mounted == false and (.mount.error | contains("busy"))' >/dev/null || fail "a busy mount point"
grep -q "error.*$work/busy" "$work/daemon.log" || fail "no word about the mount point in the log"
stop_daemon
timeout -k 5 60 "$lungate" serve --config "$config" --strict >"$work/out" 2>&1 && fail "--strict started without its mount"
says "$work/busy"
[ "$(cat "$work/busy/file")" = x ] || fail "the file under the mount point"
exit 0
