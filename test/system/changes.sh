#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is changed on a running daemon is in effect at once, and after a restart; what fails changes nothing.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"

# left VOLUME: nothing of it is in the store but the owner record, which keeps its generation from being used again
left() {
	local files
	files=$(find "$work/store" -path "*/$1/*" -type f ! -name owner)
	[ -z "$files" ] || fail "objects of $1 are left: $files"
}

mkdir "$work/store"
write_config
chmod 640 "$config"
start_daemon

expect 0 ctl volume create thin --size 1G --store "dir:$work/store" --chunk-size 1M --journal-size 256M
says "next: lungate target map"
expect 0 ctl volume create raw -s 64M --store "file:$work/raw.img"
expect 0 ctl volume create ram -s 16M --store ram: --block-size 4096
expect 0 ctl target create "$iqn"
expect 0 ctl target map "$iqn" thin
says "is LUN 0"
expect 0 ctl target map "$iqn" raw --lun 7
expect 0 ctl target map "$iqn" ram
says "is LUN 1"
expect 0 ctl volume resize thin --size 2G
identity() { for v in thin raw ram; do ctl volume show $v --json | jq -c '[.name, .uuid, .naa, .serial, .size, .block_size]'; done; }
identity >"$work/before"
[ "$(jq -s 'map(.[1]) | unique | length' "$work/before")" = 3 ] || fail "uuids are not unique"
[ "$(stat -c %a "$config")" = 640 ] || fail "the file's mode changed"
expect 0 "$lungate" config check "$config"

# refusals, each with its words and nothing changed
cp "$config" "$work/kept.json"
expect 4 ctl volume create thin --size 1G --store "dir:$work/store"
says 'there is a volume "thin" already'
expect 5 ctl volume create odd --size 1000 --store ram:
says "multiple of the block size"
expect 5 ctl volume create odd --size 1M --store s3:/bucket
expect 3 ctl volume create odd --size 1M --store "dir:$work/none"
says "$work/none"
expect 5 ctl volume create Odd --size 1M --store ram:
expect 5 ctl volume create odd --store ram:
says "size"
expect 2 ctl volume create odd
expect 4 ctl target create "$iqn"
expect 5 ctl target create disk
expect 4 ctl target map "$iqn" ram --lun 9
says "is LUN 1"
expect 4 ctl target map "$iqn" ram --lun 0
expect 3 ctl target map "$iqn" nothing
expect 5 ctl target map "$iqn" ram --lun 256
expect 3 ctl target map "$iqn:none" ram
expect 3 ctl target unmap "$iqn" 5
expect 4 ctl volume delete thin --yes
says "first: lungate target unmap $iqn 0"
expect 2 ctl volume delete thin </dev/null
expect 3 ctl volume delete nothing --yes
expect 5 ctl volume resize thin --size 1G
says "--shrink"
expect 5 ctl volume resize thin --size 1000000001
expect 3 ctl volume show nothing
expect 3 ctl target show "$iqn:none"
cmp "$config" "$work/kept.json" || fail "a refused change changed the file"
ctl target list --json | jq -e '.[0].luns | map([.lun, .volume]) == [[0, "thin"], [1, "ram"], [7, "raw"]]' >/dev/null ||
	fail "the LUNs are not as they were mapped"

stop_daemon
start_daemon --strict
identity | cmp - "$work/before" || fail "the volumes changed over the restart"
ctl target list --json | jq -e '.[0].luns | map([.lun, .volume, .online]) == [[0, "thin", true], [1, "ram", true], [7, "raw", true]]' \
	>/dev/null || fail "the LUNs are not as they were mapped, after the restart"

# an edit made by hand meanwhile is kept; a broken file stops changes, not the daemon
sed -i 's/"memory": "64M"/"memory": "96M"/' "$config"
expect 0 ctl target create "$iqn-2"
grep -q '"memory": "96M"' "$config" || fail "the edit was lost"
cp "$config" "$work/good.json"
echo '{ broken' >"$config"
expect 5 ctl target create "$iqn-3"
says "$config:1:"
expect 3 ctl target show "$iqn-3"
expect 5 ctl volume create undone --size 16M --store "dir:$work/store" --journal-size 256M
left undone
cp "$work/good.json" "$config"

# forget and take in again: the same volume
thin=$(ctl volume show thin --json | jq -r .uuid)
expect 0 ctl target unmap "$iqn" 0
expect 0 ctl volume delete thin --keep-data
expect 3 ctl volume show thin
expect 4 ctl volume create thin --size 1G --store "dir:$work/store" --journal-size 256M
expect 0 ctl volume create thin --existing --store "dir:$work/store" --journal-size 256M
[ "$(ctl volume show thin --json | jq -r '"\(.uuid) \(.size)"')" = "$thin $((2 << 30))" ] || fail "another volume came back"

# and away with all of it
expect 0 ctl volume delete thin --yes
left thin
[ -z "$(find "$work/state/journal/" -type f)" ] || fail "a journal is left"
expect 0 ctl target delete "$iqn"
expect 0 ctl volume delete raw --yes
[ -e "$work/raw.img" ] || fail "the file was deleted without --delete-file"
expect 0 ctl volume delete ram --yes
stop_daemon
start_daemon --strict
ctl status --json | jq -e '.volumes == [] and (.targets | length) == 1' >/dev/null || fail "something is left"
stop_daemon
exit 0
