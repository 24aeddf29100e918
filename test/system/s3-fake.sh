#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Volumes in a bucket of our own S3 server: the store's contract, a volume made, written over iSCSI and found
# again after a restart, errors that name what is wrong, a daemon that is killed, all while requests fail.
. "$(dirname "$0")/lib.sh"
for tool in qemu-io curl; do command -v $tool >/dev/null || skip "$tool is missing"; done
qemu-io --help | grep -q iscsi || [ -e /usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so ] ||
	skip "qemu-io cannot speak iSCSI: apt-get install qemu-block-extra"

start_fakes3
store() { echo "s3://$S3_BUCKET/$1?endpoint=$S3_ENDPOINT"; }

if [ -x "$builddir/test/unit/check_object" ]; then
	echo "-- the contract"
	LUNGATE_S3_BUCKET=$S3_BUCKET LUNGATE_S3_ENDPOINT=$S3_ENDPOINT "$builddir/test/unit/check_object" >"$work/out" 2>&1 ||
		fail "the contract does not hold"
fi

echo "-- store check"
expect 0 "$lungate" store check "$(store check)"
says 'fenced: conditional PUTs hold'
says throughput
AWS_SECRET_ACCESS_KEY=wrong expect 7 "$lungate" store check --quick "$(store check)"
says 'permission: the secret key'
expect 3 "$lungate" store check "s3://missing/x?endpoint=$S3_ENDPOINT"
says 'bucket: there is no such bucket'
expect 6 "$lungate" store check "s3://$S3_BUCKET/x?endpoint=http://127.0.0.1:1&retry=300"
says 'endpoint: nobody listens'
control_fake 'ignore-conditions=1000'
expect 0 "$lungate" store check --quick "$(store check)"
says 'unfenced: '
control_fake 'ignore-conditions=0'

io() { qemu-io -f raw "$@" "iscsi://$portal/$iqn/0" >"$work/out" 2>&1 || fail "qemu-io $*"; }
says_not() { ! grep -q "$1" "$work/out" || fail "'$1' was said"; }

echo "-- a volume, written while 6% of the requests fail; read after a restart"
write_config "\"volumes\": [{\"name\": \"disk0\", \"store\": \"$(store vols)\", \"size\": \"64M\", \"journal_size\": \"256M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"disk0\"}]}]"
start_daemon --create-missing
control_fake 'error-before=10&error-after=10&reset-before=10&reset-after=10&busy=10&truncate=10'
for i in 1 2 3 4 5 6 7 8; do
	io -c "write -P $i $((i * 5))M 3M" -c "write -P $((i + 100)) $((i * 5 + 1))M 4k" -c flush
done
stop_daemon
control_fake 'error-before=0&error-after=0&reset-before=0&reset-after=0&busy=0&truncate=0'
cp "$work/fake" "$work/injected"
rm -rf "$work/state" # the bucket alone has it all
start_daemon
for i in 1 2 3 4 5 6 7 8; do
	io -c "read -P $i $((i * 5))M 1M" -c "read -P $((i + 100)) $((i * 5 + 1))M 4k" \
		-c "read -P $i $((i * 5 + 2))M 1M" -c "read -P 0 $((i * 5 + 3))M 2M"
	says_not 'Pattern verification failed'
done
awk -F= '{ n += $2 } END { exit !n }' "$work/injected" || fail "no fault was injected"
expect 0 "$lungate" status --control "$control"
says "$S3_BUCKET/vols"
! grep -rqF "$S3_SECRET_KEY" "$work/out" "$work/daemon.log" "$work/state" || fail "the secret key is told"
stop_daemon

if [ -x "$builddir/test/crash/kill9" ]; then
	echo "-- kill -9"
	if [ -n "${SANITIZER:-}" ]; then cycles=4; else cycles=12; fi
	control_fake 'error-before=5&reset-after=5&slow=10'
	LUNGATE_KILL9_STORE=$(store kill9) "$builddir/test/crash/kill9" "$lungate" "${LUNGATE_KILL_CYCLES:-$cycles}" ||
		fail "kill9 over S3"
fi
echo "PASS"
