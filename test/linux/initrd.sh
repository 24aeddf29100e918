#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes kernel and initrd out of what packages.sh has downloaded.  Only tools of
# those packages and dpkg are used: what this machine has installed is not asked.
#
# usage: initrd.sh PACKAGES GUEST-SCRIPTS OUT      (OUT/vmlinuz, OUT/initrd)
set -euo pipefail
packages=$1 guest=$2 out=$3
modules=(virtio_pci virtio_net iscsi_tcp sd_mod sg scsi_dh_alua xfs ext4 crc32c_generic crc32c_intel
	dm_mod dm_multipath dm_service_time dm_round_robin)

mkdir -p "$out"
root=$out/root
rm -rf "$root"
mkdir -p "$root"
for package in "$packages"/*.deb; do
	dpkg -x "$package" "$root"
done
version=$(basename "$root"/lib/modules/*)
mv "$root/boot/vmlinuz-$version" "$out/vmlinuz"
rm -rf "$root"/boot "$root"/usr/share "$root"/usr/include "$root"/lib/modprobe.d "$root"/usr/lib/systemd

# run PROGRAM NAME ARGUMENT...: a program of the tree, with the tree's libraries
libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu:$root/lib
run() {
	local program=$root/$1 name=$2
	shift 2
	"$root/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" --argv0 "$name" "$program" "$@"
}

# modules: those named, and what they need
all=$root/lib/modules/$version
run bin/kmod depmod -b "$root" "$version"
mkdir -p "$out/modules"
rm -rf "${out:?}/modules"
for module in "${modules[@]}"; do
	# a name that is not in the list is built in, or is another name of a later kernel
	sed -n "s|^\(.*/${module//_/[_-]}\.ko[^:]*\):\(.*\)|\1\2|p" "$all/modules.dep"
done | tr ' ' '\n' | sed '/^$/d' | sort -u >"$out/modules.list"
while read -r module; do
	mkdir -p "$out/modules/$(dirname "$module")"
	cp "$all/$module" "$out/modules/$module"
done <"$out/modules.list"
cp "$all"/modules.builtin* "$all/modules.order" "$out/modules/"
rm -rf "$all"
mv "$out/modules" "$all"
run bin/kmod depmod -b "$root" "$version"

# the guest's own
(cd "$root" && ln -sf busybox bin/sh && mkdir -p dev proc sys run tmp mnt var/lock root etc/iscsi etc/udev var/lib)
cp "$guest"/* "$root/"
chmod 755 "$root/init"

# a library that is missing shows here, not in the middle of a test
for program in bin/udevadm sbin/iscsid sbin/iscsiadm usr/bin/iscsiadm sbin/multipathd sbin/multipath sbin/mkfs.xfs \
	sbin/xfs_repair sbin/mke2fs sbin/e2fsck usr/bin/sg_persist usr/bin/sg_xcopy; do
	[ -f "$root/$program" ] || continue
	missing=$("$root/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" --list "$root/$program" | grep 'not found' || true)
	[ -z "$missing" ] || { echo "$program: $missing"; exit 1; }
done
(cd "$root" && find . | LC_ALL=C sort | ./bin/busybox cpio -o -H newc 2>/dev/null) >"$out/initrd"
rm -rf "$root"
