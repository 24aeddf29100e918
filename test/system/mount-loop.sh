#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A file system through a loop device on the mount's image: made, used, trimmed, checked; then the same files through
# another loop device, and the image against its chunks.  Every way a loop device can do its I/O, and both block sizes.
set -eu

skip() {
	echo "SKIP: $1"
	exit 77
}

mini=${builddir:-.}/test/lib/minimount
[ "$(id -u)" = 0 ] || skip "loop devices need root"
[ -c /dev/fuse ] || skip "there is no /dev/fuse"
for program in losetup mkfs.ext4 e2fsck fstrim mount umount; do
	command -v $program >/dev/null || skip "$program is not installed"
done
losetup -f >/dev/null 2>&1 || skip "there is no free loop device"
[ -x "$mini" ] || { echo "$mini has not been built"; exit 1; }

dir=$(mktemp -d)
pid=
loop=
cleanup() {
	umount "$dir/fs" 2>/dev/null || :
	[ -z "$loop" ] || losetup -d "$loop" 2>/dev/null || :
	if [ -n "$pid" ]; then
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	fi
	umount -l "$dir/view" 2>/dev/null || :
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
mkdir "$dir/fs"

fail() {
	echo "FAIL: $1"
	cat "$dir/log"
	exit 1
}

# start STORE SIZE BLOCK
start() {
	: >"$dir/out"
	"$mini" "$dir/view" "$1" "$2" "$3" 256M >"$dir/out" 2>>"$dir/log" &
	pid=$!
	tries=0
	until grep -q ready "$dir/out"; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] && kill -0 "$pid" 2>/dev/null || fail "minimount did not start"
		sleep 0.05
	done
}

stop() {
	kill "$pid"
	wait "$pid" || fail "minimount ended with $?"
	pid=
	[ -z "$(ls "$dir/view")" ] || fail "the mount point is not empty after the stop"
}

attach() {
	loop=$(losetup -f --show "$@" "$image") || fail "losetup $*"
}

detach() {
	losetup -d "$loop"
	loop=
}

sum() {
	(cd "$dir/fs" && find . -type f ! -name big | LC_ALL=C sort | xargs sha256sum) | sha256sum
}

# From the map, which is exact: st_blocks of a file volume follows with a delay.
allocated() {
	awk -F '\t' 'NR > 1 { sum += $7 } END { print sum + 0 }' "$dir/view/volumes/disk/map"
}

# round BLOCK DIRECT-IO
round() {
	echo "block size $1, direct I/O $2"
	attach -b "$1" --direct-io="$2"
	mkfs.ext4 -q -F -E nodiscard "$loop" || fail mkfs
	mount "$loop" "$dir/fs"
	dd if=/dev/urandom of="$dir/fs/big" bs=1M count=32 conv=fsync 2>/dev/null
	for i in 1 2 3 4 5; do
		dd if=/dev/urandom of="$dir/fs/file$i" bs=1000 count=$((i * 777)) 2>/dev/null
	done
	sync
	before=$(allocated)
	rm "$dir/fs/big"
	sync
	fstrim "$dir/fs" || fail fstrim
	after=$(allocated)
	[ "$after" -lt $((before - (16 << 20))) ] || fail "fstrim gave nothing back: $before bytes before, $after after"
	want=$(sum)
	umount "$dir/fs"
	e2fsck -f -n "$loop" >"$dir/fsck" 2>&1 || { cat "$dir/fsck"; fail e2fsck; }
	detach

	# nothing was only in the loop device's cache
	attach -r
	mount -o ro "$loop" "$dir/fs"
	[ "$(sum)" = "$want" ] || fail "the files differ through another loop device"
	umount "$dir/fs"
	detach
}

# The present chunks in their places, holes between them, are the image.
compare_chunks() {
	size=$(stat -c %s "$image")
	truncate -s "$size" "$dir/assembled"
	for file in "$dir"/view/volumes/disk/chunks/*/*; do
		index=$((0x$(basename "$file")))
		dd if="$file" of="$dir/assembled" bs=4M seek=$index conv=notrunc 2>/dev/null
	done
	cmp "$image" "$dir/assembled" || fail "the chunks are not the image"
	[ "$(ls "$dir"/view/volumes/disk/chunks/* | grep -c '^[0-9a-f]\{8\}$')" = \
		$(($(wc -l <"$dir/view/volumes/disk/map") - 1)) ] || fail "map and chunks/ differ"
	rm "$dir/assembled"
}

image=$dir/view/volumes/disk/image
for block in 512 4096; do
	start ram: 128M $block
	round $block off
	round $block on
	compare_chunks
	stop
done
start "file:$dir/backing" 128M 512
round 512 on
compare_chunks
cmp "$image" "$dir/backing" || fail "the file behind the volume differs from its image"
stop
echo "ok"
