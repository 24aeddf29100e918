#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs libiscsi's conformance suite against one LUN, one test a process with a
# time-out each, and prints a table.  The program exits 0 whatever fails and
# counts a skipped test as passed, so its output is what is judged.
#
# usage: suite.sh URL EXCEPTIONS [PATTERN...]     (default: every family)
#
# PATTERN: of a FAMILY or of FAMILY.TEST; !PATTERN leaves out, wherever it stands.
# URL2 in the environment: the second path for the tests that want one.
#
# EXCEPTIONS: lines "FAMILY.TEST RESULT reason"; a result that is not PASS is
# accepted only when it stands there, and a line whose test passes is an error,
# but for a test that races with itself: "FAIL|PASS".
set -eu
url=$1
exceptions=$2
shift 2
limit=${TEST_TIMEOUT:-30}
# Every test begins with a look for reservations that others left; without PERSISTENT RESERVE IN the suite says so
# each time.  That is no skip of the test itself, but where reservations are what is tested.
setup='PERSISTENT RESERVE IN is not implemented'
out=$(mktemp)
trap 'rm -f "$out"' EXIT

judge() { # exit status and name of a test, its output in $out -> PASS, FAIL, SKIPPED, TIMEOUT
	case $2 in Prin* | Prout*) setup='^$' ;; esac
	if [ "$1" -eq 124 ] || [ "$1" -eq 137 ]; then
		echo TIMEOUT
	elif ! grep -q '^Run Summary:' "$out"; then
		echo FAIL
	elif ! awk '$1 == "tests" && $3 >= 1 && $5 == 0 { ok = 1 } END { exit !ok }' "$out"; then
		echo FAIL
	elif grep '\[SKIPPED\]' "$out" | grep -qv "$setup"; then
		echo SKIPPED
	else
		echo PASS
	fi
}

wanted() {
	[ $# -gt 1 ] || return 0
	name=$1
	found=1
	shift
	for pattern; do
		for word in "$name" "${name%%.*}"; do
			# shellcheck disable=SC2254
			case $word in ${pattern#!}) ;; *) continue ;; esac
			case $pattern in !*) return 1 ;; esac
			found=0
		done
	done
	return $found
}

pass=0 bad=0 excused=0
for test in $(iscsi-test-cu -l 2>/dev/null | sed -n 's/^ALL\.\([^.]*\.[^.]*\)$/\1/p'); do
	wanted "$test" "$@" || continue
	rc=0
	seconds=$limit
	second=''
	case $test in
	Sanitize.Reset) [ "$seconds" -ge 120 ] || seconds=120 ;; # it sleeps for a minute
	MultipathIO.*) second=${URL2:-} ;;
	esac
	timeout -k 5 "$seconds" iscsi-test-cu -d -S -t "ALL.$test" "$url" ${second:+"$second"} >"$out" 2>&1 || rc=$?
	result=$(judge $rc "$test")
	line=$(grep -E "^$test[[:space:]]" "$exceptions" || true)
	expected=$(echo "$line" | awk '{ print $2 }')
	if [ "$result" = PASS ] && [ -z "$line" ]; then
		pass=$((pass + 1))
		continue
	fi
	if [ -n "$expected" ] && echo "$expected" | tr '|' '\n' | grep -qx "$result"; then
		excused=$((excused + 1))
		printf '%-8s %s (%s)\n' "$result" "$test" "$(echo "$line" | cut -d' ' -f3-)"
		continue
	fi
	bad=$((bad + 1))
	printf '%-8s %s%s\n' "$result" "$test" "${line:+ - the exception list says $expected: update it}"
	grep -E '^ +[0-9]+\. |SKIPPED|Error|error' "$out" | head -5 || true
done
echo "conformance: $pass passed, $bad failed, $excused excused"
[ "$bad" -eq 0 ] && [ "$pass" -gt 0 ]
