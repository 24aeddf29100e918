#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libiscsi's suite against the daemon, each test in a process of its own, on LUNs of these kinds:
#   thin, raw, ram	all but what says little, or nothing, on a plain disk, which runs on
#   read-only, removable, 4k (a thin volume whose blocks are physical blocks)
# and in one process for everything, on thin, raw and ram LUNs.
#
# Sanitize.Reset looks twice at a SANITIZE under way, with 4 s of sleep between: the daemon that serves it takes
# its time over each piece, by a failpoint, and so does the one of the runs in one process.  Both are served beside
# the rest, for they sleep: a minute, and two.
#
# FAMILIES='PATTERN...': these alone.  ONE_PROCESS=no: not in one process (the default with sanitizers).
here=$(dirname "$0")
. "$here/../system/lib.sh"
command -v iscsi-test-cu >/dev/null || skip "iscsi-test-cu is missing: apt-get install libiscsi-bin"
set -f
# shellcheck disable=SC2206
families=(${FAMILIES:-*})
set +f
everything=no
[ "${families[*]}" != '*' ] || everything=yes
one_process=${ONE_PROCESS:-$([ "$everything" = yes ] && [ -z "${SANITIZER:-}" ] && echo yes || echo no)}
size=256M
if [ -n "${SANITIZER:-}" ]; then # everything is ten times slower
	export TEST_TIMEOUT=300
	size=64M
fi
export RESULTS=$work/results
: >"$RESULTS"

# luns SIZE LUN-KEYS: the volumes of $work on targets of their own
luns() {
	mkdir "$work/store"
	# Sanitize.Reset sleeps without a look at its socket: no NOP may go unanswered meanwhile.
	write_config "\"limits\": {\"nop_timeout_ms\": 100000},
  \"volumes\": [{\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"$1\"},
    {\"name\": \"raw\", \"store\": \"file:$work/raw.img\", \"size\": \"$1\"},
    {\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"$1\"},
    {\"name\": \"read-only\", \"store\": \"ram:\", \"size\": \"64M\", \"read_only\": true},
    {\"name\": \"removable\", \"store\": \"ram:\", \"size\": \"64M\"},
    {\"name\": \"4k\", \"store\": \"dir:$work/store\", \"size\": \"64M\", \"block_size\": 4096}],
  \"targets\": [{\"name\": \"$iqn-thin\", \"luns\": [{\"lun\": 0, \"volume\": \"thin\"$2}]},
    {\"name\": \"$iqn-raw\", \"luns\": [{\"lun\": 0, \"volume\": \"raw\"$2}]},
    {\"name\": \"$iqn-ram\", \"luns\": [{\"lun\": 0, \"volume\": \"ram\"$2}]},
    {\"name\": \"$iqn-read-only\", \"luns\": [{\"lun\": 0, \"volume\": \"read-only\"}]},
    {\"name\": \"$iqn-removable\", \"luns\": [{\"lun\": 0, \"volume\": \"removable\", \"removable\": true}]},
    {\"name\": \"$iqn-4k\", \"luns\": [{\"lun\": 0, \"volume\": \"4k\"}]}]"
	sed -i 's/"listen": \["127.0.0.1:0"\]/"listen": ["127.0.0.1:0", "127.0.0.2:0"]/' "$config"
	start_daemon --create-missing
	portal2=$(sed -n 's/.*listening on \(127\.0\.0\.2:[0-9]*\).*/\1/p' "$work/daemon.log")
	[ -n "$portal2" ] || fail "no second portal"
}

# suite MODE:KIND PATTERN...
suite() {
	local target=$iqn-${1#*:}/0
	echo "== $*"
	"$here/suite.sh" "$1" "iscsi://$portal/$target" "${@:2}" || return 1
}

# slow NAME MS LUN-KEYS FUNCTION: FUNCTION with a daemon of its own, at once for each kind
slow() {
	local kind pids=() rc=0
	work=$work/$1
	control=$work/control.sock
	config=$work/lungate.json
	mkdir "$work"
	daemon=''
	trap cleanup EXIT
	export LUNGATE_FAILPOINTS="sanitize.piece=delay:$2"
	luns 64M "$3"
	for kind in thin raw ram; do
		"$4" "$kind" >"$work/$kind.out" 2>&1 &
		pids+=($!)
	done
	for kind in "${pids[@]}"; do
		wait "$kind" || rc=1
	done
	cat "$work"/{thin,raw,ram}.out
	stop_daemon
	return $rc
}

reset() {
	suite "each:$1" Sanitize.Reset
}

whole() {
	local rc=0
	suite "one:$1" ALL || rc=1
	URL2=iscsi://$portal2/$iqn-$1/0 suite "two-paths:$1" ALL.MultipathIO || rc=1
	return $rc
}

asked() { # FAMILY
	local pattern
	for pattern in "${families[@]}"; do
		# shellcheck disable=SC2053
		[[ $1 != ${pattern%%.*} ]] || return 0
	done
	return 1
}

beside=()
if asked Sanitize; then
	[ "${FAILPOINTS:-yes}" = yes ] || echo "Sanitize.Reset is left out: built without failpoints (--enable-dev)"
	[ "${FAILPOINTS:-yes}" != yes ] || { (slow reset 250 '' reset) >"$work/reset.out" 2>&1 & beside+=($!); }
fi
[ "$one_process" != yes ] || [ "${FAILPOINTS:-yes}" != yes ] ||
	{ (slow whole 150 ', "removable": true' whole) >"$work/whole.out" 2>&1 & beside+=($!); }

luns "$size" ''
rc=0
# Tests that say little, or skip, on a plain disk.
elsewhere=('!ReadOnly' '!PreventAllow' '!StartStopUnit' '!NoMedia' '!GetLBAStatus.UnmapSingle' '!Sanitize.Reset')
for kind in thin raw ram; do
	export URL2=iscsi://$portal2/$iqn-$kind/0
	suite each:$kind "${families[@]}" "${elsewhere[@]}" || rc=1
done
! asked ReadOnly || suite each:read-only ReadOnly || rc=1
removable=()
for family in PreventAllow StartStopUnit NoMedia; do
	! asked $family || removable+=("$family")
done
[ ${#removable[@]} -eq 0 ] || suite each:removable "${removable[@]}" || rc=1
! asked GetLBAStatus || suite each:4k GetLBAStatus || rc=1
kill -0 "$daemon" || fail "the daemon died"
unset URL2

for pid in "${beside[@]}"; do
	wait "$pid" || rc=1
done
cat "$work"/{reset,whole}.out 2>/dev/null || true

awk -F '\t' '
{
	if (!($1 in tests))
		order[++n] = $1
	tests[$1]++
	seconds[$1] += $4
	sub(/!$/, "", $3) ? excused[$1]++ : 0
	count[$1, $3]++
}
END {
	printf "%-18s %5s %5s %5s %7s %7s %8s %7s\n", "how:LUN", "tests", "PASS", "FAIL", "SKIPPED", "TIMEOUT", "expected", "seconds"
	for (i = 1; i <= n; i++)
		printf "%-18s %5d %5d %5d %7d %7d %8d %7d\n", order[i], tests[order[i]], count[order[i], "PASS"],
			count[order[i], "FAIL"], count[order[i], "SKIPPED"], count[order[i], "TIMEOUT"], excused[order[i]], seconds[order[i]]
}' "$RESULTS"
echo "in $SECONDS s"

[ -s "$RESULTS" ] || fail "no test is of these families: ${families[*]}"

# Nothing may be left out everywhere.
if [ "$everything" = yes ] && [ "${FAILPOINTS:-yes}" = yes ]; then
	for kind in thin raw ram; do
		comm -13 <(awk -F '\t' -v kind="each:$kind" '$1 == kind || $1 ~ /^each:(read-only|removable|4k)$/ { print $2 }' "$RESULTS" |
			sort -u) <(iscsi-test-cu -l 2>/dev/null | sed -n 's/^ALL\.\([^.]*\.[^.]*\)$/\1/p' | sort) >"$work/missing"
		[ ! -s "$work/missing" ] || fail "not run for $kind:" $(cat "$work/missing")
	done
fi
[ $rc -eq 0 ] || fail "see the tests above"
stop_daemon
exit 0
