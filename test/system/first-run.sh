#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A first user's way: clone, ./quickstart, write through each door, Ctrl-C, again
# ./quickstart, the data is there; nothing is left behind.  Builds from scratch and
# may install packages, so `make check` does not run it; CI does.
# usage: first-run.sh SOURCE-TREE
set -euo pipefail
source=$(cd "$1" && pwd)
work=$(mktemp -d /tmp/lungate-first-XXXXXX)
pid=''
fail() { echo "FAIL: $*"; cat "$work/out" 2>/dev/null; exit 1; }
cleanup() {
	[ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null || true
	wait 2>/dev/null || true
	umount -l "$work/lungate/lungate-view" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

git clone -q "$source" "$work/lungate"
cd "$work/lungate"
port=$((20000 + RANDOM % 20000))
view=$work/lungate/lungate-view/volumes/disk0
url=iscsi://127.0.0.1:$port/iqn.2026-11.net.lungate:quickstart/0

start() {
	: >"$work/out"
	# job control gives it a process group of its own, so that Ctrl-C can be sent as a terminal does
	set -m
	./quickstart --port $port >"$work/out" 2>&1 &
	pid=$!
	set +m
	for _ in $(seq 3000); do
		grep -q 'Ask the daemon' "$work/out" && return 0
		kill -0 $pid 2>/dev/null || fail "quickstart ended"
		sleep 0.1
	done
	fail "quickstart was not ready after 300 s"
}

press_ctrl_c() {
	kill -INT -- -"$pid"
	wait "$pid" || fail "quickstart ended with code $?"
	pid=''
	! mountpoint -q lungate-view || fail "the mount is still there"
	! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "the port is still served"
}

start
for words in iscsiadm qemu-system losetup; do
	grep -q "$words" "$work/out" || fail "how to attach with $words is not said"
done
qemu-io -f raw -c 'write -P 0x5a 1M 256k' -c flush "$url" >/dev/null
cmp <(head -c 262144 /dev/zero | tr '\0' '\132') <(dd if="$view/image" bs=256k skip=4 count=1 status=none) ||
	fail "what was written over iSCSI is not in image"
printf 'through the mount' | dd of="$view/image" bs=1 seek=4096 conv=notrunc status=none
./quickstart --port $port >"$work/second" 2>&1 && fail "a second quickstart on the same data was not refused"
grep -q 'running already' "$work/second" || fail "the second quickstart did not say why it stopped"
press_ctrl_c
start
qemu-io -f raw -c 'read -P 0x5a 1M 256k' "$url" | grep -qi 'pattern verification failed' && fail "the data is gone"
[ "$(dd if="$view/image" bs=1 skip=4096 count=17 status=none)" = 'through the mount' ] || fail "the data is gone"
press_ctrl_c
echo "PASS: first run in $SECONDS s"
