#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What `make fuzz` does with its targets, on ones that only pretend: libFuzzer is not needed.
set -euo pipefail
run=$(cd "${srcdir:-.}" && pwd)/test/fuzz/run.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/lungate-fuzz-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*"; cat out; exit 1; }

mkdir -p bin corpus/fuzz_good corpus/fuzz_bad
# It notes its arguments, adds an input, works for a moment, and leaves what $FIND says for the artifacts.
cat >bin/fuzz_good <<'EOF'
#!/bin/bash
printf '%s\n' "$@" >"$0.args"
for arg; do
	case $arg in
	-artifact_prefix=*) [ -z "${FIND:-}" ] || echo x >"${arg#*=}$FIND" ;;
	fuzz/*) echo x >"$arg/new" ;;
	esac
done
[ -d "$TMPDIR" ] && echo x >"$TMPDIR/leftover"
for ((i = 0; i < 20000; i++)); do :; done
echo "stat::number_of_executed_units: 4711"
EOF
sed 's/4711/13/' bin/fuzz_good >bin/fuzz_bad
chmod +x bin/*
go() { # CODE
	local code=0
	"$run" corpus 1 bin/fuzz_good bin/fuzz_bad >out 2>&1 || code=$?
	[ "$code" = "$1" ] || fail "ended with $code, not $1"
}

go 0
grep -q '^fuzz_good  *4711 ' out || fail "runs are not in the table"
grep -q '^fuzz_bad  *13 ' out || fail "runs are not in the table"
grep -q '^found: nothing$' out || fail "nothing was found, and it does not say so"
[ -f fuzz/fuzz_good/new ] && [ -f fuzz/fuzz_bad/new ] || fail "new inputs are not kept"
for arg in -max_total_time=1 fuzz/fuzz_good corpus/fuzz_good; do
	grep -qxF -- "$arg" bin/fuzz_good.args || fail "$arg was not given"
done
grep -q . fuzz/fuzz_good.log || fail "what was printed is not kept"

go 0 # the time adds up
[ "$(grep -c '^fuzz_good ' fuzz/time.log)" = 2 ] || fail "the time of two runs is not there"
awk '$1 == "fuzz_bad" { n++; all += $2 + $3 } END { exit !(n == 2 && all > 0) }' fuzz/time.log || fail "the time is not counted"

FIND=slow-unit-1 go 0 # slow is not wrong
FIND=crash-1 go 1
grep -q '^fuzz/findings/fuzz_good-crash-1$' out || fail "the finding is not named"
go 1 # until somebody has looked at it
rm fuzz/findings/*
go 0
echo "PASS"
