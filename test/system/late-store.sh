#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A gateway that is up before its stores: a directory that is mounted later, a bucket whose server does not answer.
# The volumes are opened when their stores are there, and their LUNs appear in the running daemon.
. "$(dirname "$0")/lib.sh"
for tool in iscsi-ls jq; do command -v $tool >/dev/null || skip "$tool is missing: apt-get install libiscsi-bin jq"; done

state_of() { ctl volume list --json | jq -r ".[] | select(.name == \"$1\") | .state"; }
until_state() { # VOLUME STATE
	for _ in $(seq 600); do
		[ "$(state_of "$1")" != "$2" ] || return 0
		sleep 0.1
	done
	ctl volume list >"$work/out" 2>&1 || true
	fail "$1 did not become $2 within a minute"
}
luns() { iscsi-ls --show-luns "iscsi://$portal" >"$work/out" 2>&1 || fail iscsi-ls; }
has_lun() { luns; grep -q "Lun:$1 .*DIRECT_ACCESS" "$work/out" || fail "LUN $1 is not there"; }
has_no_lun() { luns; ! grep -q "Lun:$1 " "$work/out" || fail "LUN $1 is there"; }

bucket='' fake=''
if [ -n "$fakes3" ]; then
	start_fakes3
	fake=$!
	bucket=", {\"name\": \"bucket\", \"store\": \"s3://$S3_BUCKET/late?endpoint=$S3_ENDPOINT\", \"size\": \"16M\"}"
	more=', {"lun": 2, "volume": "bucket"}'
fi
mkdir "$work/here"
write_config "\"volumes\": [{\"name\": \"here\", \"store\": \"dir:$work/here\", \"size\": \"16M\"},
    {\"name\": \"journal\", \"store\": \"dir:$work/here\", \"size\": \"16M\", \"journal_dir\": \"$work/fast\"},
    {\"name\": \"later\", \"store\": \"dir:$work/later\", \"size\": \"16M\"}$bucket],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"here\"}, {\"lun\": 1, \"volume\": \"later\"}${more:-}]}]"

echo "-- a start without them"
[ -z "$fake" ] || kill -STOP "$fake"
start_daemon --create-missing
[ "$(state_of here)" = online ] || fail "the volume whose store is there is not online"
[ "$(state_of later)" = failed ] || fail "a volume without a store is not failed"
[ "$(state_of journal)" = failed ] || fail "a volume without its journal's directory is not failed"
expect 0 ctl volume show journal
says "the journal directory $work/fast: No such file or directory"
[ ! -e "$work/fast" ] || fail "the journal's directory was made"
ctl volume show journal --json | jq -e '.journal_size == 1073741824' >/dev/null || fail "the journal's default size is not shown"
expect 3 ctl volume resize later --size 32M
says 'is not online'
has_lun 0
has_no_lun 1

echo "-- the directory is there"
mkdir "$work/later" "$work/fast"
until_state journal online
until_state later online
for _ in $(seq 100); do
	luns
	! grep -q 'Lun:1 ' "$work/out" || break
	sleep 0.1
done
has_lun 1

if [ -n "$fake" ]; then
	echo "-- the bucket"
	[ "$(state_of bucket)" = failed ] || fail "a volume whose server does not answer is not failed"
	kill -CONT "$fake"
	kill -HUP "$daemon" # does not wait for its turn
	until_state bucket online
	for _ in $(seq 100); do
		luns
		! grep -q 'Lun:2 ' "$work/out" || break
		sleep 0.1
	done
	has_lun 2
fi

echo "-- a volume that is there already, without its journal's directory"
stop_daemon
mv "$work/fast" "$work/slow"
start_daemon
[ "$(state_of journal)" = failed ] || fail "a volume without its journal's directory is not failed"
expect 0 ctl volume show journal
says "the journal directory $work/fast: No such file or directory"
[ ! -e "$work/fast" ] || fail "the journal's directory was made"
mv "$work/slow" "$work/fast"
until_state journal online

echo "-- its journal was away, which waiting does not mend, and is brought back"
kill -KILL "$daemon"
wait "$daemon" || true
mv "$work/fast/journal" "$work/away"
start_daemon
[ "$(state_of journal)" = failed ] || fail "a volume whose journal is missing was opened"
mv "$work/away" "$work/fast/journal"
kill -HUP "$daemon"
until_state journal online

echo "-- one that is tried again can be deleted, and ends with the daemon"
stop_daemon
mv "$work/here" "$work/hidden"
start_daemon
until_state here failed
expect 0 ctl target unmap "$iqn" 0
for _ in $(seq 100); do
	! ctl volume delete here --keep-data --yes >"$work/out" 2>&1 || break
	grep -q 'being opened' "$work/out" || fail "volume delete"
	sleep 0.1
done
[ -z "$(state_of here)" ] || fail "the volume is still there"
stop_daemon
! grep -q ' debug ' "$work/daemon.log" || fail "what fails as before is told again and again, below the level of the log"
echo "PASS"
