#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The store runs full in the middle of a load.  Nothing that was acknowledged
# may be lost: writers are held, the volume says why, reads go on; when there is
# space again the load ends by itself, and every byte is there, also after a restart.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || skip "a small file system needs root to mount it"
[ -c /dev/fuse ] || skip "no /dev/fuse here"

view=$work/view
cleanup_more() {
	umount -l "$view" 2>/dev/null || true
	umount -l "$work/store" 2>/dev/null || true
}

store_is_full() {
	ctl volume show disk0 --json >"$work/shown"
	grep -q ENOSPC "$work/shown"
}

mkdir "$work/store"
mount -t tmpfs -o size=96M lungate-test "$work/store" || skip "cannot mount a tmpfs here"
write_config "\"mount\": {\"path\": \"$view\"},
  \"volumes\": [{\"name\": \"disk0\", \"store\": \"dir:$work/store\", \"size\": \"512M\",
                \"journal_size\": \"256M\", \"commit_window\": \"16M\"}]"
start_daemon --create-missing
head -c 400M /dev/urandom >"$work/data"
dd if="$work/data" of="$view/volumes/disk0/image" bs=1M conv=notrunc,fsync status=none &
writer=$!
echo "-- wait until the volume says that its store is full"
for _ in $(seq 600); do
	store_is_full && break
	kill -0 $writer 2>/dev/null || fail "400 MB went into a store of 96 MB"
	sleep 0.1
done
store_is_full || fail "status never names ENOSPC"
echo "-- reads go on"
cmp -n 8388608 "$work/data" "$view/volumes/disk0/image"
kill -0 $writer || fail "the writer got an error"
echo "-- kill -9 while it is full: what was acknowledged is in the journal"
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
daemon=''
wait $writer 2>/dev/null || true
umount -l "$view" 2>/dev/null || true
mount -o remount,size=900M "$work/store"
start_daemon --create-missing
cmp -n 8388608 "$work/data" "$view/volumes/disk0/image"
echo "-- with space the load goes through"
dd if="$work/data" of="$view/volumes/disk0/image" bs=1M conv=notrunc,fsync status=none
cmp -n 419430400 "$work/data" "$view/volumes/disk0/image"
stop_daemon
start_daemon --create-missing
cmp -n 419430400 "$work/data" "$view/volumes/disk0/image"
echo PASS
