#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A real disk image of at least 500 MB goes in over iSCSI and must come out the
# same three ways: over iSCSI, through the mount's `image`, and put together
# from the mount's chunks/.  Then a file system is made on `image` through a
# loop device, used, trimmed and checked, and read again over iSCSI; the map's
# absent chunks must be the image's holes.
#
# LUNGATE_TEST_IMAGE names an image to use (raw); otherwise one is made:
# ext4, filled from this machine's /usr, with holes where the file system has none.
# LUNGATE_TEST_STORE names the store (a directory of the test's own), to be used once.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || skip "loop devices and mounts need root"
[ -c /dev/fuse ] || skip "no /dev/fuse here"
for tool in qemu-img qemu-io mkfs.ext4 losetup fstrim e2fsck fusermount3 cmp; do
	command -v $tool >/dev/null || skip "$tool is missing"
done
qemu-img --help | grep -q iscsi || [ -e /usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so ] ||
	skip "qemu-img cannot speak iSCSI: apt-get install qemu-block-extra"

view=$work/view loop=''
cleanup_more() {
	umount -l "$work/fs" 2>/dev/null || true
	[ -z "$loop" ] || losetup -d "$loop" || true
	umount -l "$view" 2>/dev/null || true
}

make_image() {
	local mib=640 tree=$work/tree
	mkdir -p "$tree"
	# Real files of every size; about 500 MB of them, and the rest of the image stays a hole.
	find /usr/bin /usr/lib /usr/share -xdev -type f -size -8M -printf '%s\t%p\n' 2>/dev/null |
		awk -F'\t' -v max=$((520 * 1024 * 1024)) '{ sum += $1 + 2048 } sum <= max { print $2 }' >"$work/list"
	tar -C / --ignore-failed-read -cf - --files-from="$work/list" 2>/dev/null | tar -C "$tree" -xf -
	[ "$(du -sm "$tree" | cut -f1)" -ge 300 ] || skip "this machine's /usr is too small to fill an image"
	mkfs.ext4 -q -F -d "$tree" "$1" ${mib}M >/dev/null 2>&1
	rm -rf "$tree"
}

image=${LUNGATE_TEST_IMAGE:-}
if [ -z "$image" ]; then
	image=$work/source.img
	make_image "$image"
fi
bytes=$(stat -c %s "$image")
[ "$bytes" -ge 500000000 ] || fail "$image has only $bytes bytes"
size=$(((bytes + 0x3fffff) / 0x400000 * 0x400000))
write_config "\"mount\": {\"path\": \"$view\"},
  \"volumes\": [{\"name\": \"disk0\", \"store\": \"${LUNGATE_TEST_STORE:-dir:$work/store}\", \"size\": $size}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"disk0\"}]}]"
mkdir "$work/store" "$work/fs"
start_daemon --create-missing
url=iscsi://$portal/$iqn/0

echo "-- copy in over iSCSI ($bytes bytes)"
qemu-img convert -n -f raw -O raw "$image" "$url"
echo "-- compare over iSCSI"
qemu-img compare -f raw -F raw "$image" "$url"
echo "-- compare through image"
cmp -n "$bytes" "$image" "$view/volumes/disk0/image"
echo "-- compare with what chunks/ put together"
truncate -s "$size" "$work/assembled"
for chunk in "$view"/volumes/disk0/chunks/*/*; do
	dd if="$chunk" of="$work/assembled" bs=4M seek=$((16#$(basename "$chunk"))) conv=notrunc status=none
done
cmp -n "$bytes" "$image" "$work/assembled"
rm "$work/assembled"
echo "-- absent chunks are the image's holes"
awk 'NR > 1 { print $1 }' "$view/volumes/disk0/map" | sort >"$work/present"
holes=0
for index in $(seq 0 $((size / 4194304 - 1))); do
	if ! grep -qx -e "$index" -e "$(printf %08x "$index")" "$work/present"; then
		holes=$((holes + 1))
		dd if="$image" bs=4M skip="$index" count=1 status=none | tr -d '\0' | head -c 1 | grep -q . &&
			fail "chunk $index has data in the image and is absent in the map"
	fi
done
echo "   $holes of $((size / 4194304)) chunks absent"
[ "$holes" -gt 0 ] || [ -n "${LUNGATE_TEST_IMAGE:-}" ] || fail "an image with holes left none in the map"

echo "-- restart: the store alone has it all"
stop_daemon
start_daemon
url=iscsi://$portal/$iqn/0
qemu-img compare -f raw -F raw "$image" "$url"

echo "-- a file system on image through a loop device"
loop=$(losetup --find --show "$view/volumes/disk0/image")
mkfs.ext4 -q -F "$loop"
mount "$loop" "$work/fs"
mkdir "$work/fs/files"
head -c 40000000 /dev/urandom >"$work/fs/files/big"
for i in $(seq 100); do head -c $((i * 1000)) /dev/urandom >"$work/fs/files/$i"; done
(cd "$work/fs/files" && sha256sum ./* >"$work/sums")
rm "$work/fs/files/big"
sed -i '/big/d' "$work/sums"
sync -f "$work/fs"
fstrim -v "$work/fs"
umount "$work/fs"
e2fsck -fn "$loop" >"$work/fsck" 2>&1 || { cat "$work/fsck"; fail "e2fsck found faults"; }
losetup -d "$loop"
loop=''
after=$(awk 'NR > 1' "$view/volumes/disk0/map" | wc -l)
echo "   $after chunks present after fstrim, $(wc -l <"$work/present") before mkfs"
[ "$after" -lt "$(wc -l <"$work/present")" ] || fail "fstrim gave nothing back"

echo "-- the same files over iSCSI"
qemu-img convert -f raw -O raw "$url" "$work/copy.img"
mount -o loop,ro "$work/copy.img" "$work/fs"
(cd "$work/fs/files" && sha256sum --quiet -c "$work/sums")
umount "$work/fs"
stop_daemon
echo "PASS"
