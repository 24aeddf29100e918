#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The daemon and its mount: what it shows of the daemon, who holds a volume, what happens when one of them goes away.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"
[ -r /dev/fuse ] && [ -w /dev/fuse ] || skip "/dev/fuse is missing, or not for $(id -un)"
command -v fusermount3 >/dev/null || skip "fusermount3 is missing: apt-get install fuse3"
cleanup_more() { fusermount3 -uz "$work/view" 2>/dev/null || true; }

write_config '"volumes": [{"name": "r", "store": "ram:", "size": "16M"}],
  "targets": [{"name": "'"$iqn"'", "luns": [{"lun": 0, "volume": "r"}]}],
  "mount": {"path": "'"$work/view"'"}'
start_daemon
ctl status --json | jq -e .mount.mounted >/dev/null || skip "this build, or this machine, has no mount: $(tail -n 3 "$work/daemon.log")"

view=$work/view
jq -e '.state == "running" and .volumes[0].name == "r"' "$view/status.json" >/dev/null || fail "status.json"
grep -qF 'lungate_volume_up{volume="r"} 1' "$view/metrics" || fail "metrics"
jq -e '.' "$view/targets/$iqn/target.json" >/dev/null || fail "target.json"
[ "$(readlink "$view/targets/$iqn/lun0")" = ../../volumes/r ] || fail "lun0 leads to $(readlink "$view/targets/$iqn/lun0")"
[ "$(jq -r .uuid "$view/volumes/r/volume.json")" = "$(ctl volume show r --json | jq -r .uuid)" ] || fail "volume.json"

# what is created is there at once; what is open is not deleted
expect 0 ctl volume create x -s 4M --store ram:
[ "$(stat -c %s "$view/volumes/x/image")" = $((4 << 20)) ] || fail "the image of x"
exec 7<"$view/volumes/x/image"
expect 4 ctl volume delete x --yes
says "a file of it is open in the mount"
[ "$(head -c 512 <&7 | wc -c)" = 512 ] || fail "the open file does not read"
exec 7<&-
# the kernel tells of the close some time after it
for _ in $(seq 100); do ctl volume delete x --yes >"$work/out" 2>&1 && break; sleep 0.1; done
expect 3 ctl volume show x
[ ! -e "$view/volumes/x" ] || fail "x is still there"

# killed: the stale mount is taken over by the next one
{ kill -KILL "$daemon" && wait "$daemon"; } 2>/dev/null || true
daemon=''
start_daemon --strict
jq -e .pid "$view/status.json" >/dev/null || fail "no mount after kill -9"

# unmounted from outside: iSCSI and the daemon go on, and say so
fusermount3 -u "$view"
for _ in $(seq 100); do ctl status --json | jq -e '.mount.mounted == false' >/dev/null && break; sleep 0.1; done
ctl status --json | jq -e '.mount.error | contains("unmounted from outside")' >/dev/null || fail "nobody noticed the umount"
(exec 8<>"/dev/tcp/${portal%:*}/${portal##*:}") || fail "the portal is gone"
stop_daemon

# a clean stop leaves no mount, even with somebody in it
start_daemon --strict
cd "$view/volumes"
stop_daemon
cd "$work"
! grep -qF " $view " /proc/mounts || fail "the mount is still there"

expect 5 "$lungate" serve --config "$config" --mount "$work"
says "lies below it"
exit 0
