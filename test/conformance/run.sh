#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libiscsi's suite against the daemon: a thin chunked LUN, a raw file and a RAM
# LUN, and the tests that want another kind of LUN on one of that kind.
# Families: all but Sanitize, which takes minutes; `make check-conformance
# FAMILIES='*'` runs that too, at small LUNs, on a daemon that a failpoint makes slow:
# its tests want to see a SANITIZE that goes on for some seconds.
here=$(dirname "$0")
. "$here/../system/lib.sh"
command -v iscsi-test-cu >/dev/null || skip "iscsi-test-cu is missing: apt-get install libiscsi-bin"
set -f
# shellcheck disable=SC2206
families=(${FAMILIES:-* !Sanitize})
set +f
sanitize=() others=''
for family in "${families[@]}"; do
	case $family in
	!*) ;;
	Sanitize*) sanitize+=("$family") ;;
	'*') others=yes sanitize+=(Sanitize) ;;
	*) others=yes ;;
	esac
done
[[ " ${families[*]} " != *' !Sanitize '* ]] || sanitize=()
[ -z "${SANITIZER:-}" ] || export TEST_TIMEOUT=150 # everything is ten times slower
mkdir "$work/store"
write_config "\"volumes\": [{\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"1G\"},
    {\"name\": \"raw\", \"store\": \"file:$work/raw.img\", \"size\": \"1G\"},
    {\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"256M\"},
    {\"name\": \"read-only\", \"store\": \"ram:\", \"size\": \"64M\", \"read_only\": true},
    {\"name\": \"removable\", \"store\": \"ram:\", \"size\": \"64M\"},
    {\"name\": \"4k\", \"store\": \"ram:\", \"size\": \"64M\", \"block_size\": 4096}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"thin\"}]},
    {\"name\": \"$iqn-raw\", \"luns\": [{\"lun\": 0, \"volume\": \"raw\"}]},
    {\"name\": \"$iqn-ram\", \"luns\": [{\"lun\": 0, \"volume\": \"ram\"}]},
    {\"name\": \"$iqn-other\", \"luns\": [{\"lun\": 0, \"volume\": \"read-only\"},
      {\"lun\": 1, \"volume\": \"removable\", \"removable\": true}, {\"lun\": 2, \"volume\": \"4k\"}]}]"
sed -i 's/"listen": \["127.0.0.1:0"\]/"listen": ["127.0.0.1:0", "127.0.0.2:0"]/' "$config"
start_daemon --create-missing
portal2=$(sed -n 's/.*listening on \(127\.0\.0\.2:[0-9]*\).*/\1/p' "$work/daemon.log")
[ -n "$portal2" ] || fail "no second portal"

rc=0
# on TARGET/LUN PATTERN...
on() {
	local lun=$1
	shift
	echo "== $lun"
	URL2=iscsi://$portal2/$lun "$here/suite.sh" "iscsi://$portal/$lun" "$here/exceptions.txt" "$@" || rc=1
}

# Tests that say little, or skip, on a plain disk, and those of the slow daemon.
elsewhere=('!Sanitize' '!ReadOnly' '!PreventAllow' '!StartStopUnit' '!NoMedia' '!GetLBAStatus.UnmapSingle')
if [ -n "$others" ]; then
	on "$iqn/0" "${families[@]}" "${elsewhere[@]}"
	# A file is not written atomically: there is no WRITE ATOMIC(16) to test.
	on "$iqn-raw/0" "${families[@]}" "${elsewhere[@]}" '!WriteAtomic16'
	on "$iqn-ram/0" "${families[@]}" "${elsewhere[@]}"
	# A LUN of another kind runs its own tests, where the families asked for have them.
	for family in "${families[@]}"; do
		# shellcheck disable=SC2053
		[[ ReadOnly == $family ]] && on "$iqn-other/0" ReadOnly
		# shellcheck disable=SC2053
		[[ NoMedia == $family ]] && on "$iqn-other/1" PreventAllow StartStopUnit NoMedia
		# After unmapping i blocks it asks for the status of block i + 1 and expects the answer to begin at i and as
		# many blocks as a physical one has: that is one block where both are 4 KiB, and no answer where they differ.
		# shellcheck disable=SC2053
		[[ GetLBAStatus == $family ]] && on "$iqn-other/2" GetLBAStatus
	done
fi
kill -0 "$daemon" || fail "the daemon died"
if [ ${#sanitize[@]} -gt 0 ]; then
	[ "${FAILPOINTS:-no}" = yes ] || fail "Sanitize wants a build with failpoints: configure --enable-failpoints"
	stop_daemon
	rm -rf "$work/store" "$work/state"
	mkdir "$work/store"
	# Sanitize.Reset sleeps for a minute without a look at its socket: no NOP may go unanswered meanwhile.
	write_config "\"limits\": {\"nop_timeout_ms\": 100000},
  \"volumes\": [{\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"64M\"},
    {\"name\": \"small\", \"store\": \"file:$work/small.img\", \"size\": \"64M\"},
    {\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"64M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"thin\"}, {\"lun\": 1, \"volume\": \"small\"},
    {\"lun\": 2, \"volume\": \"ram\"}]}]"
	LUNGATE_FAILPOINTS=sanitize.piece=delay:100 start_daemon --create-missing
	for lun in 0 1 2; do
		on "$iqn/$lun" "${sanitize[@]}"
	done
	kill -0 "$daemon" || fail "the daemon died"
fi
[ $rc -eq 0 ] || fail "see the tests above"
