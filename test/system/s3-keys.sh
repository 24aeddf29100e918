#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Keys of a volume in a bucket: rotated under a running daemon, with SIGHUP and without; what status, metrics and
# mount tell of the store; and that no secret is told anywhere.
. "$(dirname "$0")/lib.sh"
for tool in qemu-io curl jq; do command -v $tool >/dev/null || skip "$tool is missing"; done
qemu-io --help | grep -q iscsi || [ -e /usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so ] ||
	skip "qemu-io cannot speak iSCSI: apt-get install qemu-block-extra"

start_fakes3
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION
export HOME=$work
used() { control_fake ''; sed -n "s/^key:$1=//p" "$work/fake"; }
# keys FILE ACCESS SECRET
keys() { (umask 077 && printf '%s:%s\n' "$2" "$3" >"$1.new" && mv "$1.new" "$1"); }
# store PREFIX FILE
store() { echo "s3://$S3_BUCKET/$1?endpoint=$S3_ENDPOINT&credentials=$2"; }
io() { timeout 60 qemu-io -f raw -c "$1" -c flush "iscsi://$portal/$iqn/$2" >"$work/out" 2>&1 || fail "qemu-io $1"; }

control_fake 'add_key=FIRSTKEY:first-secret-4711&add_key=OTHERKEY:other-secret-4711'
keys "$work/one" FIRSTKEY first-secret-4711
keys "$work/two" OTHERKEY other-secret-4711
mounted=''
if [ -c /dev/fuse ] && [ -w /dev/fuse ]; then
	mkdir "$work/mnt"
	mounted="\"mount\": {\"path\": \"$work/mnt\"},"
fi
write_config "$mounted \"store_limits\": {\"in_flight\": 64}, \"volumes\": [
  {\"name\": \"a\", \"store\": \"$(store a "$work/one")\", \"size\": \"32M\", \"journal_size\": \"256M\", \"commit_interval\": 1},
  {\"name\": \"b\", \"store\": \"$(store b "$work/two")\", \"size\": \"32M\", \"journal_size\": \"256M\", \"commit_interval\": 1}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"a\"}, {\"lun\": 1, \"volume\": \"b\"}]}]"
start_daemon --create-missing
io 'write -P 1 0 4M' 0
io 'write -P 2 0 4M' 1

echo "-- each volume its own keys"
[ "$(used FIRSTKEY)" -gt 0 ] && [ "$(used OTHERKEY)" -gt 0 ] || fail "a volume used the keys of another"
[ "$(used "$S3_ACCESS_KEY")" = 0 ] || fail "keys from somewhere else"

echo "-- what is told of the store"
grep -q 'info .*fenced: conditional PUTs hold' "$work/daemon.log" || fail "the verdict is not in the log"
expect 0 ctl volume show a --json
jq -e --arg url "$S3_ENDPOINT" '.object_store | .fence == "fenced" and .kind == "s3" and
	.endpoints == [{"url": $url, "state": "answers"}] and .credentials == "credentials file" and
	.in_flight_limit == 32 and .operations.put.requests > 0 and .operations.put.bytes > 0' "$work/out" >/dev/null ||
	fail "volume show --json"
expect 0 ctl volume show a
says 'fenced'
says "$S3_ENDPOINT  answers"
says 'TO THE STORE'
expect 0 ctl status --json
jq -e '.volumes[0].object_store.fence == "fenced"' "$work/out" >/dev/null || fail "status --json"
expect 0 ctl status --metrics
says 'lungate_store_fenced{volume="a"} 1'
says "lungate_store_endpoint_up{volume=\"b\",endpoint=\"$S3_ENDPOINT\"} 1"
says 'lungate_store_requests_total{volume="a",op="put"}'
says 'lungate_store_in_flight_limit{volume="a"} 32'
[ -z "$mounted" ] || jq -e '.object_store.fence == "fenced"' "$work/mnt/volumes/a/volume.json" >/dev/null ||
	fail "volume.json in the mount"

# until COMMAND...: true in the end
until_true() {
	for _ in $(seq 300); do
		! "$@" || return 0
		sleep 0.1
	done
	return 1
}
# What is written reaches the store with the next commit, a second later.
is_used() { io "write -P $((RANDOM % 200 + 1)) 8M 64k" "$2"; [ "$(used "$1")" -gt 0 ]; }

echo "-- SIGHUP: both keys are good, the new one is used"
control_fake 'add_key=SECONDKEY:second-secret-4711'
keys "$work/one" SECONDKEY second-secret-4711
kill -HUP "$daemon"
until_true is_used SECONDKEY 0 || fail "the new keys are not used after SIGHUP"
before=$(used FIRSTKEY)
io 'write -P 7 12M 64k' 0
now=$(used SECONDKEY)
more() { [ "$(used SECONDKEY)" -gt "$now" ]; }
until_true more || fail "no more requests"
[ "$(used FIRSTKEY)" = "$before" ] || fail "the old keys are still used"
grep -q 'SIGHUP: the keys of object stores' "$work/daemon.log" || fail "SIGHUP is not in the log"

echo "-- the server drops a key: the new one is found without a signal"
control_fake 'drop_key=OTHERKEY&add_key=THIRDKEY:third-secret-4711'
keys "$work/two" THIRDKEY third-secret-4711
until_true is_used THIRDKEY 1 || fail "the new keys are not found when the old ones are refused"
io 'read -P 2 0 4M' 1
! grep -q 'verification failed' "$work/out" || fail "other data"

echo "-- no secret is told"
cp "$work/daemon.log" "$work/told"
for what in status "status --json" "status --metrics" "volume show a" "volume show a --json" "volume list --json"; do
	# shellcheck disable=SC2086
	ctl $what >>"$work/told" 2>&1
done
[ -z "$mounted" ] || find "$work/mnt" -type f ! -name image ! -path '*/chunks/*' -exec cat {} + >>"$work/told"
expect 7 "$lungate" store check --quick "$(store x "$work/wrong$(keys "$work/wrong" FIRSTKEY wrong-secret-4711)")"
says 'permission: the secret key'
cat "$work/out" >>"$work/told"
! grep -q 'secret-4711' "$work/told" || fail "a secret is told: $(grep -m1 secret-4711 "$work/told")"
if command -v gdb >/dev/null && command -v gcore >/dev/null && [ -z "${SANITIZER:-}" ] && [ "$(id -u)" = 0 ]; then
	echo "-- nor dumped with the core"
	if gcore -o "$work/core" "$daemon" >"$work/gcore" 2>&1; then
		! grep -qaE '(second|third)-secret-4711' "$work/core.$daemon" || fail "a secret is in the core dump"
	fi
fi
stop_daemon
echo "PASS"
