#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs libiscsi's conformance suite against one LUN and judges what it prints:
# the program exits 0 whatever fails and counts a skipped test as passed.
#
# usage: suite.sh each:KIND URL [PATTERN...]	one test a process, with a time-out (TEST_TIMEOUT seconds)
#        suite.sh MODE:KIND URL [PATTERN]	all tests of PATTERN ("ALL", "ALL.Read10") in one process
#
# PATTERN of `each`: of a FAMILY or of FAMILY.TEST; !PATTERN leaves out, wherever it stands.
# URL2 in the environment: the second path for the tests that want one.
# RESULTS: a file to append "MODE:KIND TEST RESULT SECONDS WHY" to, with tabs; a result that was expected ends in "!".
#
# What is not PASS must stand in exceptions.txt with exactly what the suite says, and what stands there must come.
set -eu
scope=$1
url=$2
shift 2
exceptions=$(dirname "$0")/exceptions.txt
limit=${TEST_TIMEOUT:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The suite's output -> "FAMILY.TEST RESULT WHY" for each test.  What follows "passed" is the clean-up of a family.
judge() {
	awk '
	function add(text) {
		gsub(/[ \t]+/, " ", text)
		sub(/ $/, "", text)
		if (index(why, text) == 0)
			why = why (why == "" ? "" : " & ") text
	}
	function finish() {
		if (name != "")
			printf "%s.%s\t%s\t%s\n", family, name, bad || !passed ? "FAIL" : skipped ? "SKIPPED" : "PASS", why
		name = ""
	}
	/^Suite: / { finish(); family = $2; next }
	/^  Test: / { finish(); name = $2; bad = passed = skipped = 0; why = "" }
	/^Run Summary:/ { finish() }
	name == "" { next }
	/^ +[0-9]+\. / { bad = 1; line = $0; sub(/^ +[0-9]+\. /, "", line); add(line) }
	/(^|\.\.\.)FAILED/ { bad = 1 }
	!passed && match($0, /\[SKIPPED\].*/) { skipped = 1; add(substr($0, RSTART)) }
	/(^|\.\.\.)passed/ { passed = 1 }
	END { finish() }' "$1"
}

# "FAMILY.TEST RESULT WHY", SECONDS -> to $RESULTS; prints what is to be known; fails if it is not as expected
report() {
	awk -F '|' -v scope="$scope" -v seconds="$2" -v results="${RESULTS:-/dev/null}" -v result="$1" '
	function trim(text) { gsub(/^ +| +$/, "", text); return text }
	BEGIN {
		split(result, got, "\t")
		split(scope, part, ":")
		family = got[1]
		sub(/\..*/, ".*", family)
	}
	/^#/ || NF < 5 { next }
	{
		where = trim($1)
		test = trim($2)
		if (where != "*" && where != scope && where != part[1] && where != part[2])
			next
		if (test != got[1] && test != family)
			next
		found = 1
		expected = trim($3) (trim($4) == "" ? "" : ": " trim($4))
		reason = trim($5)
		good = trim($3) == got[2] && trim($4) == got[3]
	}
	END {
		if (!found)
			good = got[2] == "PASS"
		printf "%s\t%s\t%s\t%s\t%s\n", scope, got[1], got[2] (found && good ? "!" : ""), seconds, got[3] >>results
		if (good && found)
			printf "%-8s %s (expected: %s)\n", got[2], got[1], reason
		else if (!good)
			printf "%-8s %s %s%s\n", got[2], got[1], got[3], found ? " - exceptions.txt says " expected : ""
		exit !good
	}' "$exceptions"
}

wanted() { # TEST PATTERN...
	local name=$1 found=1 pattern word
	[ $# -gt 1 ] || return 0
	shift
	for pattern; do
		for word in "$name" "${name%%.*}"; do
			# shellcheck disable=SC2053
			[[ $word == ${pattern#!} ]] || continue
			[[ $pattern != !* ]] || return 1
			found=0
		done
	done
	return $found
}

bad=0 tests=0
each() {
	local test rc seconds second line began
	for test in $(iscsi-test-cu -l 2>/dev/null | sed -n 's/^ALL\.\([^.]*\.[^.]*\)$/\1/p'); do
		wanted "$test" "$@" || continue
		rc=0
		seconds=$limit
		second=''
		case $test in
		Sanitize.Reset) seconds=$((limit + 70)) ;; # it sleeps for a minute
		MultipathIO.*) second=${URL2:-} ;;
		esac
		began=$SECONDS
		timeout -k 5 "$seconds" iscsi-test-cu -d -S -t "ALL.$test" "$url" ${second:+"$second"} >"$work/out" 2>&1 || rc=$?
		line=$(judge "$work/out")
		if [ $rc -eq 124 ] || [ $rc -eq 137 ]; then
			line=$test$'\tTIMEOUT\t'
		elif [ -z "$line" ] || ! grep -q '^Run Summary:' "$work/out"; then
			line=$test$'\tFAIL\tno run summary, exit code '$rc
		fi
		tests=$((tests + 1))
		report "$line" $((SECONDS - began)) || {
			bad=$((bad + 1))
			grep -E 'FAILED\]|Error|error' "$work/out" | head -5 || true
		}
	done
}

one() {
	local rc=0 line began=$SECONDS
	timeout -k 5 $((limit * 20)) iscsi-test-cu -d -S -t "${1:-ALL}" "$url" ${URL2:+"$URL2"} >"$work/out" 2>&1 || rc=$?
	if ! grep -q '^Run Summary:' "$work/out"; then
		echo "no run summary, exit code $rc"
		tail -n 20 "$work/out"
		bad=1
	fi
	judge "$work/out" >"$work/lines"
	while IFS= read -r line; do
		tests=$((tests + 1))
		report "$line" $((SECONDS - began)) || bad=$((bad + 1))
		began=$SECONDS
	done <"$work/lines"
}

case $scope in
each:*) each "$@" ;;
*) one "$@" ;;
esac
[ "$bad" -eq 0 ] && { [ "$tests" -gt 0 ] || [ "${scope%%:*}" = each ]; }
