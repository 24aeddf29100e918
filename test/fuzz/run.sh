#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Fuzz for a while: every target, side by side, at idle priority, each with the corpus of the tree and what it found earlier.
#
#   run.sh CORPUS SECONDS TARGET...        (make fuzz)
#
# What is new goes to fuzz/NAME, findings to fuzz/findings, what was printed to fuzz/NAME.log, all below the current folder;
# fuzz/time.log keeps the CPU seconds of every run, and the table at the end adds them up.  Exit: 1 after a finding.
set -uo pipefail
corpus=$1 seconds=$2
shift 2
mkdir -p fuzz/findings
chrt -i -p 0 $$ >/dev/null 2>&1 || renice -n 19 -p $$ >/dev/null

fuzz_one() { # TARGET
	local name=${1##*/}
	local TIMEFORMAT="$name %U %S"
	mkdir -p "fuzz/$name" "fuzz/tmp/$name"
	{ time TMPDIR=$PWD/fuzz/tmp/$name "$1" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 \
		-print_final_stats=1 -artifact_prefix="fuzz/findings/$name-" \
		"fuzz/$name" "$corpus/$name" >"fuzz/$name.log" 2>&1; } 2>>fuzz/time.log
}

echo "== $# targets, $seconds s each; Ctrl-C ends them all, and keeps what they have"
trap : INT
for target; do fuzz_one "$target" & done
for _ in "$@"; do wait -n || true; done
wait

printf '%-16s %12s %10s %14s\n' target runs 'CPU s' 'CPU s in all'
for target; do
	name=${target##*/}
	awk -v name="$name" -v runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "fuzz/$name.log" | tail -n 1)" \
		'$1 == name { all += last = $2 + $3 }
		END { printf "%-16s %12s %10.0f %14.0f\n", name, runs ? runs : "-", last, all }' fuzz/time.log
done
found=$(find fuzz/findings -type f ! -name '*-slow-unit-*')
if [ -n "$found" ]; then
	printf 'found; a target plays it again when it is given the file:\n%s\n' "$found"
	exit 1
fi
echo "found: nothing"
