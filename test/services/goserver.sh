# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# An S3 server that Go builds, on loopback and in one folder, for tests.  Sourced by scripts that say
#
#   name module versions    of the program; the first version that the module mirror gives
#   launch                  becomes the server of $dir/data at 127.0.0.1:$port for $access and $secret
#
# and that are called with one of
#
#   start DIR PORT          prints KEY=VALUE lines, with the bucket "test" made
#   start DIR               what was stopped or killed runs again
#   kill DIR [SIGNAL]       KILL
#   build DIR               only what start does first, which takes minutes
#   stop|status|env|destroy DIR
#
# NAME_CACHE, in capitals: the folder for the program.  Exit code 77: there is no program and none can be built.
set -euo pipefail
export LC_ALL=C
verb=${1:?start, stop, kill, build, status, env or destroy} dir=$(realpath -m "${2:?a folder}")
cache_name=${name^^}_CACHE
cache=${!cache_name:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lungate-$name}
access=TESTACCESSKEY secret=testsecretkey0123456789

die() { echo "$name: $*" >&2; exit 1; }
skip() { echo "SKIP: $*"; exit 77; }

find_program() {
	program=$(command -v "$name" || echo "$cache/$name")
	[ ! -x "$program" ] || [ "$(realpath "$program")" = "$(realpath "$0")" ] || return 0
	program=$cache/$name
	[ ! -x "$program" ] || return 0
	command -v go >/dev/null || skip "neither $name nor go is installed"
	mkdir -p "$cache"
	for version in $versions; do
		GOBIN=$cache CGO_ENABLED=0 timeout 600 go install "$module@$version" >"$cache/build.log" 2>&1 &&
			return
	done
	skip "$name cannot be built: $(tail -n 1 "$cache/build.log")"
}

pid_of() {
	local pid
	pid=$(cat "$dir/pid" 2>/dev/null) && grep -qaF "$dir/data" "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
}

run() {
	pid_of >/dev/null && return
	launch </dev/null >>"$dir/out" 2>&1 &
	echo $! >"$dir/pid"
}

s3_answers() {
	local code
	code=$(curl -s -m 10 -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:us-east-1:s3 --user $access:$secret \
		-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -H 'Content-Length: 0' -X PUT "http://127.0.0.1:$port/test") || return
	[ "$code" = 200 ] || [ "$code" = 409 ]
}

print_env() {
	cat <<-END
		S3_ENDPOINT=http://127.0.0.1:$port
		S3_BUCKET=test
		S3_ACCESS_KEY=$access
		S3_SECRET_KEY=$secret
		S3_REGION=us-east-1
		S3_SERVER=$name
	END
}

port=$(cat "$dir/port" 2>/dev/null || echo "${3:-}")
case $verb in
start)
	[ -n "$port" ] || die "start DIR PORT"
	find_program
	mkdir -p "$dir/data"
	echo "$port" >"$dir/port"
	run
	n=300
	until s3_answers; do
		[ $((n -= 1)) -gt 0 ] || die "it does not answer, see $dir/out"
		sleep 0.1
	done
	print_env
	;;
build) find_program ;;
kill)
	pid=$(pid_of) || die "it does not run"
	kill -"${3:-KILL}" "$pid"
	;;
status)
	echo "$name=$(pid_of)" || die "it does not run"
	s3_answers || die "S3 does not answer"
	;;
env) print_env ;;
stop)
	pid=$(pid_of) || exit 0
	kill -CONT "$pid"
	kill -TERM "$pid"
	while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
	;;
destroy)
	[ -e "$dir/port" ] || exit 0
	pid=$(pid_of) && kill -KILL "$pid" && sleep 0.2
	rm -rf "$dir"
	;;
*) die "unknown: $verb" ;;
esac
