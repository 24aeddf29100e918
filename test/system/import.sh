#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A volume of gotgt in a directory and in a bucket: it is recognised, imported whole and thin, and an import that is
# interrupted or killed leaves nothing behind.
. "$(dirname "$0")/lib.sh"
for tool in qemu-img jq curl; do command -v $tool >/dev/null || skip "$tool is missing"; done
qemu-img --help | grep -q iscsi || [ -e /usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so ] ||
	skip "qemu-img cannot speak iSCSI: apt-get install qemu-block-extra"

# A device of 21 MiB and 3 sectors in chunks of 1 MiB: whole ones, a short one, one of zeroes, one beyond the end.
size=$((21 * 1048576 + 3 * 512))
gotgt=$work/gotgt
mkdir "$gotgt" "$work/vols"
printf '{"deviceSize":%d,"chunkSize":1048576}' "$size" >"$gotgt/_metadata"
chunk() { printf '%s/chunk_%010d' "$gotgt" "$1"; }
for i in 0 1 2 7 20; do head -c 1048576 /dev/urandom >"$(chunk $i)"; done
head -c 70000 /dev/urandom >"$(chunk 9)"
head -c 1048576 /dev/zero >"$(chunk 12)"
head -c 4096 /dev/urandom >"$(chunk 21)"
head -c 4096 /dev/urandom >"$(chunk 22)"
truncate -s "$size" "$work/image"
for i in 0 1 2 7 9 20; do dd if="$(chunk $i)" of="$work/image" bs=1M seek=$i conv=notrunc status=none; done
dd if="$(chunk 21)" of="$work/image" bs=512 seek=$((21 * 2048)) count=3 conv=notrunc status=none

write_config "\"targets\": [{\"name\": \"$iqn\"}]"
start_daemon
# same LUN: it holds what the device held
same() {
	qemu-img convert -f raw -O raw "iscsi://$portal/$iqn/$1" "$work/got" >"$work/out" 2>&1 || fail "reading it back"
	cmp -n "$size" "$work/image" "$work/got" >"$work/out" 2>&1 || fail "other contents"
}
none_left() { [ -z "$(find "$work/vols" -path "*/$1/c/*" -type f)" ] || fail "objects of $1 are left"; }

echo "-- recognised"
expect 0 "$lungate" store check --quick "dir:$gotgt"
says 'a volume of gotgt, 21.0 MiB in chunks of 1.0 MiB'
"$lungate" store check --quick "dir:$gotgt" --json | jq -e '.foreign | startswith("a volume of gotgt")' >/dev/null ||
	fail "store check --json"
code=0
ctl volume create x --size 32M --store "dir:$gotgt" >"$work/out" 2>&1 || code=$?
[ $code -ne 0 ] || fail "a volume was made on top of gotgt's"
says "lungate volume import"
ctl volume import x --from "dir:$work/vols" --store "dir:$work/vols" >"$work/out" 2>&1 && fail "an import of nothing"
says 'there is no volume of gotgt'
ctl volume import x --from "dir:$gotgt" --store "dir:$work/vols" --size 16M >"$work/out" 2>&1 && fail "cut off"
says 'none may be lost'

echo "-- imported from a directory"
expect 0 ctl volume import disk0 --from "dir:$gotgt" --store "dir:$work/vols" --journal-size 256M --chunk-size 1M
expect 0 ctl target map "$iqn" disk0
same 0
expect 0 ctl volume show disk0 --json
jq -e ".size == $size and .allocated < 8388608" "$work/out" >/dev/null || fail "it is not thin, or of another size"
stop_daemon
start_daemon
same 0

echo "-- interrupted: nothing is left"
# big enough to be caught at it
head -c 4194304 /dev/urandom >"$work/block"
mkdir "$work/big"
printf '{"deviceSize":%d,"chunkSize":4194304}' $((1024 * 4194304)) >"$work/big/_metadata"
for i in $(seq 0 1023); do ln "$work/block" "$work/big/chunk_$(printf %010d "$i")"; done
begun() { [ -n "$(find "$work/vols/disk1/c" -type f 2>/dev/null | head -n 1)" ]; }
begin() {
	"$lungate" volume import disk1 --from "dir:$work/big" --store "dir:$work/vols" --journal-size 256M \
		--control "$control" >"$work/import.out" 2>&1 &
	client=$!
	for _ in $(seq 600); do ! begun || return 0; sleep 0.05; done
	fail "the import did not begin: $(cat "$work/import.out")"
}
begin
expect 0 ctl volume list --json
jq -e '.[] | select(.name == "disk1") | .error.text == "it is being imported"' "$work/out" >/dev/null || fail "not shown"
ctl volume delete disk1 --yes >"$work/out" 2>&1 && fail "deleted under the import"
says 'is being imported'
kill -INT "$client" 2>/dev/null || true # ignored by a shell's background job unless it was reset
kill -TERM "$client" 2>/dev/null || true
wait "$client" 2>/dev/null || true
gone() { ! ctl volume list --json | jq -e '.[] | select(.name == "disk1")' >/dev/null; }
for _ in $(seq 600); do ! gone || break; sleep 0.1; done
gone || fail "the import goes on although nobody waits for it"
none_left disk1
[ ! -e "$work/state/importing/disk1" ] || fail "its note is left"

echo "-- killed: the next import cleans up"
begin
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
wait "$client" 2>/dev/null || true
daemon=''
start_daemon
grep -q 'an import into volume disk1 was cut off' "$work/daemon.log" || fail "the daemon does not tell of it"
! ctl volume list --json | jq -e '.[] | select(.name == "disk1")' >/dev/null || fail "half a volume is there"
expect 0 ctl volume import disk1 --from "dir:$gotgt" --store "dir:$work/vols" --journal-size 256M
expect 0 ctl target map "$iqn" disk1
grep -q 'volume disk1: what an import that was cut off .* starts anew' "$work/daemon.log" ||
	fail "nobody was told that it starts anew"
same 1
[ ! -e "$work/state/importing/disk1" ] || fail "its note is left"

echo "-- a note that was cut off itself says nothing, and is in nobody's way"
: >"$work/state/importing/disk3"
: >"$work/state/importing/disk3.tmp-0123abcd"
expect 0 ctl volume import disk3 --from "dir:$gotgt" --store "dir:$work/vols" --journal-size 256M
[ ! -e "$work/state/importing/disk3" ] || fail "its note is left"
stop_daemon
start_daemon
! grep -q 'disk3.*was cut off' "$work/daemon.log" || fail "the daemon tells of an import that never was"

if [ -n "$fakes3" ]; then
	echo "-- from a bucket into the same bucket, while requests fail"
	start_fakes3
	stop_daemon
	for f in "$gotgt"/*; do
		curl -sSf --aws-sigv4 aws:amz:us-east-1:s3 --user "$S3_ACCESS_KEY:$S3_SECRET_KEY" \
			-H "x-amz-content-sha256: $(sha256sum "$f" | cut -d' ' -f1)" -T "$f" \
			"$S3_ENDPOINT/$S3_BUCKET/old/$(basename "$f")" >"$work/out" 2>&1 || fail "putting $f"
	done
	start_daemon
	curl -sSf -X POST "$S3_ENDPOINT/_control?error-before=20&reset-after=20&truncate=20" >/dev/null
	old="s3://$S3_BUCKET/old?endpoint=$S3_ENDPOINT"
	expect 0 ctl volume import disk2 --from "$old" --store "$old" --journal-size 256M
	expect 0 ctl target map "$iqn" disk2
	same 2
fi
stop_daemon
echo "PASS"
