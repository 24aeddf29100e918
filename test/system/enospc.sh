#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The store runs full in the middle of a load.  Nothing that was acknowledged
# may be lost: writers are held, the volume says why, reads go on; when there is
# space again the load ends by itself, and every byte is there, also after a restart.
set -euo pipefail
builddir=${builddir:-.}
lungate=$builddir/lungate
skip() { echo "SKIP: $*"; exit 77; }
fail() { echo "FAIL: $*"; tail -n 40 "$work/daemon.log" 2>/dev/null; exit 1; }
[ -x "$lungate" ] || skip "$lungate is not built"
[ "$(id -u)" = 0 ] || skip "a small file system needs root to mount it"
[ -c /dev/fuse ] || skip "no /dev/fuse here"

work=$(mktemp -d /tmp/lungate-enospc-XXXXXX)
view=$work/view pid='' writer=''
cleanup() {
	[ -z "$writer" ] || kill "$writer" 2>/dev/null || true
	if [ -n "$pid" ]; then
		kill -TERM "$pid" 2>/dev/null || true
		for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	mountpoint -q "$view" 2>/dev/null && umount -l "$view" || true
	umount -l "$work/store" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

start() {
	"$lungate" serve --config "$work/lungate.json" --create-missing >>"$work/daemon.log" 2>&1 &
	pid=$!
	for _ in $(seq 300); do
		[ -e "$view/volumes/disk0/image" ] && return 0
		kill -0 $pid 2>/dev/null || fail "the daemon ended"
		sleep 0.1
	done
	fail "the mount did not appear"
}

mkdir "$work/store"
mount -t tmpfs -o size=96M lungate-test "$work/store" || skip "cannot mount a tmpfs here"
cat >"$work/lungate.json" <<JSON
{"listen": ["127.0.0.1:0"], "control": "$work/control.sock", "state_dir": "$work/state",
 "mount": {"path": "$view"}, "memory": "64M",
 "volumes": [{"name": "disk0", "store": "dir:$work/store", "size": "512M", "journal_size": "256M",
              "commit_window": "16M"}]}
JSON
start
head -c 400M /dev/urandom >"$work/data"
dd if="$work/data" of="$view/volumes/disk0/image" bs=1M conv=notrunc,fsync status=none &
writer=$!
echo "-- wait until the volume says that its store is full"
for _ in $(seq 600); do
	"$lungate" volume show disk0 --control "$work/control.sock" --json 2>/dev/null | grep -q ENOSPC && break
	kill -0 $writer 2>/dev/null || fail "400 MB went into a store of 96 MB"
	sleep 0.1
done
"$lungate" volume show disk0 --control "$work/control.sock" --json | grep -q ENOSPC || fail "status never names ENOSPC"
echo "-- reads go on"
cmp -n 8388608 "$work/data" "$view/volumes/disk0/image"
kill -0 $writer || fail "the writer got an error"
echo "-- kill -9 while it is full: what was acknowledged is in the journal"
kill -KILL $pid
wait $pid 2>/dev/null || true
pid=''
wait $writer 2>/dev/null || true
writer=''
umount -l "$view" 2>/dev/null || true
mount -o remount,size=900M "$work/store"
start
cmp -n 8388608 "$work/data" "$view/volumes/disk0/image"
echo "-- with space the load goes through"
dd if="$work/data" of="$view/volumes/disk0/image" bs=1M conv=notrunc,fsync status=none
cmp -n 419430400 "$work/data" "$view/volumes/disk0/image"
kill -TERM $pid
wait $pid || fail "the stop failed"
pid=''
start
cmp -n 419430400 "$work/data" "$view/volumes/disk0/image"
echo PASS
