# SPDX-License-Identifier: GPL-2.0-or-later
# Discovery, login, file systems: written, trimmed, checked and found again after another login.

scenario_discovery() {
	iscsiadm -m discovery -t sendtargets -p "$portal" | tee /tmp/found
	grep -q " $iqn\$" /tmp/found || why "$iqn was not found"
}

scenario_login() {
	node "$iqn"
	login "$iqn"
	local name
	name=$(disk 0)
	[ "$(cat /sys/block/$name/device/vendor)" = "LUNGATE " ] || why "vendor $(cat /sys/block/$name/device/vendor)"
	[ "$(blockdev --getsize64 /dev/$name)" = $((1024 << 20)) ] || why "size $(blockdev --getsize64 /dev/$name)"
	[ "$(cat /sys/block/$name/queue/discard_max_bytes)" -gt 0 ] || why "the kernel sees no way to discard"
	[ "$(cat /sys/block/$name/queue/write_zeroes_max_bytes)" -gt 0 ] || why "the kernel sees no way to write zeroes"
	ls /dev/disk/by-path | grep -q "$iqn" || why "udev made no name of it"
	logout "$iqn"
	! ls /dev/disk/by-path 2>/dev/null | grep -q "$iqn" || why "the disk is there after logout"
}

# files FS LUN: everything a file system does, twice
files() {
	local fs=$1 lun=$2 name i before after
	login "$iqn"
	name=$(disk "$lun")
	case $fs in
	ext4) mkfs.ext4 -q -F /dev/$name ;;
	xfs) mkfs.xfs -q -f /dev/$name ;;
	esac
	mount -t "$fs" /dev/$name /mnt
	mkdir /mnt/kept /mnt/gone
	i=0
	while [ $i -lt 8 ]; do
		dd if=/dev/urandom of=/mnt/kept/$i bs=256k count=$((i + 1)) conv=fsync 2>/dev/null
		i=$((i + 1))
	done
	dd if=/dev/urandom of=/mnt/gone/big bs=1M count=24 conv=fsync 2>/dev/null
	dd if=/dev/urandom of=/mnt/kept/direct bs=64k count=32 oflag=direct 2>/dev/null
	sync
	(cd /mnt && find kept -type f | sort | xargs sha256sum) >/tmp/sums
	before=$(host used "$lun")
	rm -r /mnt/gone
	sync
	fstrim -v /mnt
	after=$(host used "$lun")
	echo "used before $before, after $after"
	[ $((before - after)) -ge $((20 << 20)) ] || why "fstrim gave back $((before - after)) bytes of 24 MiB"
	umount /mnt
	logout "$iqn"

	login "$iqn"
	name=$(disk "$lun")
	case $fs in
	ext4) e2fsck -f -n /dev/$name ;;
	xfs) xfs_repair -n /dev/$name ;;
	esac || why "$fs is not clean after another login"
	mount -t "$fs" -o ro /dev/$name /mnt
	(cd /mnt && sha256sum -c /tmp/sums) >/tmp/checked || why "$(grep -v OK /tmp/checked | head -n 1)"
	umount /mnt
	logout "$iqn"
}

scenario_ext4_thin() { node "$iqn"; files ext4 0; }
scenario_xfs_raw() { node "$iqn"; files xfs 1; }

digests() {
	node "$iqn"
	set_node "$iqn" "node.conn[0].iscsi.HeaderDigest" CRC32C
	set_node "$iqn" "node.conn[0].iscsi.DataDigest" CRC32C
	login "$iqn"
	[ "$(cat /sys/class/iscsi_connection/connection*/header_digest)" = 1 ] || why "no header digest"
	[ "$(cat /sys/class/iscsi_connection/connection*/data_digest)" = 1 ] || why "no data digest"
	logout "$iqn"
}
scenario_xfs_thin_digests() { digests; files xfs 0; }
scenario_ext4_raw_digests() { digests; files ext4 1; }

# resized LUN NAME: the file system grows with the volume, mounted
resized() {
	local lun=$1 volume=$2 name size
	node "$iqn"
	login "$iqn"
	name=$(disk "$lun")
	size=$(blockdev --getsize64 /dev/$name)
	mkfs.ext4 -q -F /dev/$name
	mount /dev/$name /mnt
	echo here >/mnt/file
	dmesg -c >/dev/null
	host resize "$volume" $((size + (64 << 20)))
	grown() {
		# the kernel hears CAPACITY DATA HAS CHANGED with its next command, and logs it; udev or a person asks anew
		dd if=/dev/$name of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
		dmesg | grep -q "Capacity data has changed"
	}

	until_true 20 grown || why "no unit attention told of the new size"
	echo 1 >/sys/block/$name/device/rescan
	[ "$(blockdev --getsize64 /dev/$name)" = $((size + (64 << 20))) ] || why "size $(blockdev --getsize64 /dev/$name)"
	resize2fs /dev/$name
	[ "$(cat /mnt/file)" = here ]
	umount /mnt
	logout "$iqn"
}
scenario_resize_thin() { resized 0 thin; }
scenario_resize_raw() { resized 1 raw; }

# A LUN that is mapped appears by itself: iscsid scans when it is told that the list has changed.
scenario_lun_mapped() {
	local name
	node "$iqn"
	login "$iqn"
	disk 0 >/dev/null
	host lun map --lun 7 "$iqn" ram
	name=$(disk 7)
	[ "$(blockdev --getsize64 /dev/$name)" = $((32 << 20)) ] || why "size $(blockdev --getsize64 /dev/$name)"
	host lun unmap "$iqn" 7
	! dd if=/dev/$name of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null || why "an unmapped LUN is read"
	logout "$iqn"
}
