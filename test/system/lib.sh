# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# For the scripts beside this one: a private folder, a daemon in it that is
# ready when start_daemon returns, and assertions that say what they saw.
set -euo pipefail
builddir=${builddir:-.}
lungate=$builddir/lungate
export LC_ALL=C.UTF-8
unset LUNGATE_CONTROL LUNGATE_FAILPOINTS

skip() { echo "SKIP: $*"; exit 77; }

fail() {
	echo "FAIL: $*"
	for f in "$work/daemon.log" "$work/out"; do
		[ ! -s "$f" ] || { echo "-- $f"; tail -n 40 "$f"; }
	done
	exit 1
}

[ -x "$lungate" ] || skip "$lungate is not built"

work=$(mktemp -d "${TMPDIR:-/tmp}/lungate-system-XXXXXX")
daemon=''
cleanup_more() { :; }
cleanup() {
	local pid
	for pid in $daemon $(jobs -p); do
		kill -TERM "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	cleanup_more
	rm -rf "$work"
}
trap cleanup EXIT

control=$work/control.sock
config=$work/lungate.json
iqn=iqn.2026-11.net.lungate:test

# write_config [MORE-KEYS]: portal on any free port, no mount.
write_config() {
	cat >"$config" <<JSON
{
  "listen": ["127.0.0.1:0"],
  "control": "$control",
  "state_dir": "$work/state",
  "memory": "64M",
  "threads": 2${1:+,
  $1}
}
JSON
}

# start_daemon [OPTION]...: returns when it is ready; sets daemon (pid) and portal.
start_daemon() {
	local ready=''
	rm -f "$work/ready"
	mkfifo "$work/ready"
	"$lungate" serve --config "$config" --ready-fd 9 "$@" 9>"$work/ready" >>"$work/daemon.out" 2>>"$work/daemon.log" &
	daemon=$!
	read -r ready <"$work/ready" || true
	[ -n "$ready" ] || fail "the daemon did not get ready"
	portal=$(sed -n 's/.*"listen":\["\([^"]*\)".*/\1/p' <<<"$ready")
}

# stop_daemon [SIGNAL]: its exit code must be 0.
stop_daemon() {
	local pid=$daemon
	daemon=''
	kill -"${1:-TERM}" "$pid"
	wait "$pid" || fail "the daemon ended with code $?"
}

ctl() { "$lungate" "$@" --control "$control"; }

# expect CODE COMMAND...: output in $work/out
expect() {
	local want=$1 code=0
	shift
	[ "$1" != "$lungate" ] || set -- timeout -k 5 60 "$@" # a daemon that should not have started
	"$@" >"$work/out" 2>&1 || code=$?
	[ "$code" = "$want" ] || fail "'$*' ended with code $code, not $want"
}

# says WORDS: in what the last expect printed
says() { grep -qF -- "$1" "$work/out" || fail "'$1' was not said"; }

fakes3=$builddir/test/services/fakes3
[ -x "$fakes3" ] || fakes3='' # libmicrohttpd is missing: apt-get install libmicrohttpd-dev

# start_fakes3: our own S3 server, with its S3_ENDPOINT, S3_BUCKET and keys in variables, the keys in AWS_ ones too.
start_fakes3() {
	local name value
	[ -n "$fakes3" ] || skip "libmicrohttpd is missing: apt-get install libmicrohttpd-dev"
	mkfifo "$work/env"
	"$fakes3" >"$work/env" &
	while IFS='=' read -r name value; do
		declare -g "$name=$value"
		[ "$name" != S3_SERVER ] || break
	done <"$work/env"
	export AWS_ACCESS_KEY_ID=$S3_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$S3_SECRET_KEY AWS_REGION=$S3_REGION
	export AWS_EC2_METADATA_DISABLED=true no_proxy='*'
}

# control_fake FAULTS: asks the fake server for them; what it counts is in $work/fake
control_fake() { curl -sSf --noproxy '*' -X POST "$S3_ENDPOINT/_control?$1" >"$work/fake"; }
