# SPDX-License-Identifier: GPL-2.0-or-later
# dm-multipath over two portals, each behind a network card of its own, and what a session lives through.

active_paths() {
	[ "$(multipath -ll 2>/dev/null | grep -c 'active ready running')" = "$1" ]
}

multipath_begin() {
	local path
	cat >/etc/multipath.conf <<-END
	defaults {
		user_friendly_names no
		find_multipaths no
		path_grouping_policy multibus
		path_checker tur
		polling_interval 1
		max_polling_interval 2
		no_path_retry queue
	}
	END
	mkdir -p /etc/multipath /run/multipath
	pidof multipathd >/dev/null || multipathd
	for path in "$portal" "$portal2"; do
		node "$iqn" "$path"
	done
	set_node "$iqn" node.session.timeo.replacement_timeout 3
	set_node "$iqn" "node.conn[0].timeo.login_timeout" 8
	set_node "$iqn" "node.conn[0].timeo.noop_out_interval" 2
	set_node "$iqn" "node.conn[0].timeo.noop_out_timeout" 4
	login "$iqn" "$portal"
	login "$iqn" "$portal2"
	disk 0
	until_true 30 active_paths 4 || why "the paths are not there: $(multipath -ll | tr '\n' ' ')"
	# by its NAA designator, as multipath-tools name it
	map=/dev/mapper/3$(sed 's/^naa\.//' /sys/block/$(disk 0)/device/wwid)
	[ -b "$map" ] || why "no $map"
}

# load FILE: 24 MiB into the map, piece by piece, each on stable storage before the next
load() {
	local i=0
	while [ $i -lt 24 ]; do
		dd if="$1" of="$map" bs=1M skip=$i seek=$i count=1 oflag=direct conv=notrunc 2>/dev/null || return 1
		echo $i >/tmp/progress
		i=$((i + 1))
	done
}
beyond() { [ "$(cat /tmp/progress)" -ge "$1" ]; }

# killed DOWN UP: the path goes with the host's command DOWN while there is load, and comes back with UP
killed() {
	local writer
	multipath_begin
	dd if=/dev/urandom of=/tmp/load bs=1M count=24 2>/dev/null
	echo -1 >/tmp/progress
	load /tmp/load &
	writer=$!
	until_true 60 beyond 3 || why "nothing is written"
	host $1 >/dev/null
	wait $writer || why "a write failed when a path went"
	[ "$(multipath -ll | grep -c 'failed')" -ge 1 ] || until_true 30 active_paths 2 || why "no path failed"
	dd if="$map" bs=1M count=24 iflag=direct 2>/dev/null | cmp - /tmp/load || why "what was written is not what is read"
	host $2 >/dev/null
	until_true 60 active_paths 4 || why "the path does not come back: $(multipath -ll | tr '\n' ' ')"
	dd if="$map" bs=1M count=24 iflag=direct 2>/dev/null | cmp - /tmp/load || why "another path reads something else"
	multipath -F || true
	logout "$iqn"
}

scenario_multipath_link_down() { killed "link net3 off" "link net3 on"; }
scenario_multipath_portal_removed() { killed "portal remove" "portal add"; }

# interrupted WORDS: the host does that while files are written; nothing fails, and all of it is there
interrupted() {
	local name writer i
	node "$iqn"
	login "$iqn"
	name=$(disk 0)
	mkfs.ext4 -q -F /dev/$name
	mount /dev/$name /mnt
	echo -1 >/tmp/progress
	(
		i=0
		while [ $i -lt 16 ]; do
			dd if=/dev/urandom of=/mnt/$i bs=256k count=4 conv=fsync 2>/dev/null || exit 1
			(cd /mnt && sha256sum $i) >>/tmp/sums
			echo $i >/tmp/progress
			i=$((i + 1))
		done
	) &
	writer=$!
	until_true 60 beyond 3 || why "nothing is written"
	host $1 >/dev/null
	wait $writer || why "a write failed"
	umount /mnt
	logout "$iqn"
	# what was written is on the volume, not in the machine's cache
	login "$iqn"
	name=$(disk 0)
	e2fsck -f -n /dev/$name || why "the file system is not clean"
	mount -o ro /dev/$name /mnt
	[ "$(wc -l </tmp/sums)" = 16 ]
	(cd /mnt && sha256sum -c /tmp/sums) >/tmp/checked || why "$(grep -v OK /tmp/checked | head -n 1)"
	umount /mnt
	logout "$iqn"
}
scenario_session_kicked() { interrupted kick; }
scenario_daemon_restarted() { interrupted "restart TERM"; }
scenario_daemon_killed() { interrupted "restart KILL"; }
