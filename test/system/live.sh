#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Everything about other targets, volumes and portals changes while one target is written and read: its initiator sees
# nothing of it, no error, no unit attention, no message, no delay.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"
initiator=$builddir/test/lib/initiator
[ -x "$initiator" ] || skip "$initiator is not built"
rounds=${LIVE_ROUNDS:-4}

await() {
	for _ in $(seq 600); do
		! grep -q "$2" "$1" 2>/dev/null || return 0
		sleep 0.05
	done
	fail "'$2' did not appear in $1"
}

mkdir "$work/store"
write_config
start_daemon
expect 0 ctl volume create busy -s 16M --store "dir:$work/store" --chunk-size 1M --journal-size 256M
expect 0 ctl target create "$iqn"
expect 0 ctl target map "$iqn" busy
# nobody else's portal group is one of its ways: what happens to them is not its business
expect 0 ctl target groups "$iqn" 1

mkfifo "$work/on"
"$initiator" io "$portal" "$iqn" iqn.2024-01.com.example:busy <"$work/on" >"$work/io" 2>"$work/io.err" &
io=$!
exec 8>"$work/on"
await "$work/io" ready

for n in $(seq "$rounds"); do
	other=$iqn-$n
	expect 0 ctl volume create thin -s 64M --store "dir:$work/store" --chunk-size 1M --journal-size 256M
	expect 0 ctl volume create ram -s 16M --store ram:
	expect 0 ctl target create "$other"
	expect 0 ctl target map "$other" thin
	expect 0 ctl target map "$other" ram --lun 7
	expect 0 ctl portal add 127.0.0.1:0 --group 2 --json
	second=$(jq -r .bound "$work/out")
	expect 0 ctl target groups "$other" 2
	"$initiator" stay "$second" "$other" >"$work/stay" &
	await "$work/stay" ready
	expect 0 ctl volume resize thin --size 128M
	expect 0 ctl target alua "$other" 2 non-optimized
	expect 0 ctl target redirect "$other" 192.0.2.1:3260
	expect 0 ctl target redirect "$other" --off
	expect 0 ctl target acl add "$other" iqn.2024-01.com.example:script
	expect 0 ctl target unmap "$other" 7
	expect 0 ctl target groups "$other" all
	expect 0 ctl target alua "$other" 2 optimized
	if [ $((n % 2)) = 0 ]; then
		expect 0 ctl portal remove "$second" --grace 0
	else
		expect 0 ctl session kick --initiator iqn.2024-01.com.example:script --grace 0
		expect 0 ctl portal remove "$second"
	fi
	await "$work/stay" dropped
	expect 0 ctl target delete "$other" --force
	expect 0 ctl volume delete thin --yes
	expect 0 ctl volume delete ram --yes
	kill -0 "$io" || fail "the initiator saw it: $(cat "$work/io.err")"
done

exec 8>&-
wait "$io" || fail "the initiator saw it: $(cat "$work/io.err")"
await "$work/io" commands
ctl status --json | jq -e '(.targets | length) == 1 and (.volumes | length) == 1 and (.listen | length) == 1' >/dev/null ||
	fail "something is left"
stop_daemon
exit 0
