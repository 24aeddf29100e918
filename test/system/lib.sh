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
