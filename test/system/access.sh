#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Accounts, lists of initiators and LUN masking, as libiscsi's tools meet them, changed on the running daemon.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"
command -v iscsi-ls >/dev/null || skip "iscsi-ls is missing: apt-get install libiscsi-bin"
unset LIBISCSI_CHAP_USERNAME LIBISCSI_CHAP_PASSWORD LIBISCSI_CHAP_TARGET_USERNAME LIBISCSI_CHAP_TARGET_PASSWORD

cleanup_more() { fusermount3 -uz "$work/view" 2>/dev/null || true; }

one=iqn.2026-11.net.example:one
two=iqn.2026-11.net.example:two
other=iqn.2026-11.net.lungate:other
alice=ahtoh8Ai-alices
bob=Eeshei0x-bobs-own
ours=oiK5aeph-the-daemons
found=eiV9Zahw-for-discovery
inline=ooMai0th-in-the-file

secret() { # NAME SECRET
	(umask 077 && printf '%s\n' "$2" >"$work/$1.secret")
}

tool() { timeout -k 5 30 "$@"; }

# sees INITIATOR TARGET [URL-QUERY [USER%SECRET@]]: its LUNs, as "0 3"; fails where the login does
sees() {
	local lun out=''
	for lun in 0 1 2 3 4; do
		if tool iscsi-readcapacity16 -i "$1" "iscsi://${4:-}$portal/$2/$lun${3:-}" >"$work/out" 2>&1; then
			out+=" $lun"
		elif ! grep -q LOGICAL_UNIT_NOT_SUPPORTED "$work/out"; then
			return 1
		fi
	done
	echo "${out# }"
}

may() { sees "$@" >/dev/null || fail "$1 may not log in to $2 ${3:-} ${4:-}"; }
may_not() {
	! sees "$@" >/dev/null || fail "$1 may log in to $2 ${3:-} ${4:-}"
}
shows() { # INITIATOR WANT [USER%SECRET@]: the targets that discovery tells
	local got
	# it fails where the login is refused, and tells nothing
	got=$({ tool iscsi-ls -i "$1" "iscsi://${3:-}$portal" 2>"$work/out" || true; } | sed -n 's/^Target:\([^ ]*\) .*/\1/p' | sort | tr '\n' ' ')
	[ "$got" = "$2" ] || fail "discovery tells $1: '$got', not '$2'"
}
# what a core dump would hold: anonymous memory that is not kept out of it
dumped() {
	local from to
	awk '/^[0-9a-f]+-[0-9a-f]+ / { range = $2 ~ /^rw/ && (NF < 6 || $6 == "[heap]" || $6 == "[stack]") ? $1 : "" }
	     /^VmFlags:/ && range != "" && !/ dd( |$)/ { print range }' "/proc/$daemon/smaps" |
		while IFS=- read -r from to; do
			from=$((16#$from)) to=$((16#$to))
			# a sanitizer's shadow is terabytes
			[ $((to - from)) -le $((1 << 28)) ] || continue
			dd if="/proc/$daemon/mem" bs=1M iflag=skip_bytes,count_bytes skip=$from count=$((to - from)) 2>/dev/null
		done
}
sessions() { ctl target show "$1" --json | jq '.sessions | length'; }
await_sessions() { # TARGET N
	local i
	for i in $(seq 300); do
		[ "$(sessions "$1")" != "$2" ] || return 0
		sleep 0.1
	done
	fail "$1 has $(sessions "$1") sessions, not $2"
}

for s in alice bob ours found; do secret $s "${!s}"; done
write_config
export LUNGATE_TEST_BOB=$bob
start_daemon
for v in a b c; do expect 0 ctl volume create $v --size 8M --store ram:; done
for t in "$iqn" "$other"; do expect 0 ctl target create "$t"; done
for v in a b c; do expect 0 ctl target map "$iqn" $v; done
expect 0 ctl target map "$other" a

# -- without rules: everybody, everything
[ "$(sees $one "$iqn")" = "0 1 2" ] || fail "without a list not every LUN is seen"
shows $one "$other $iqn "
expect 0 ctl target acl list "$iqn"
says "everybody may log in"
expect 0 ctl target account list "$iqn"
says "no account is needed"

# -- a list, and LUNs for each
expect 0 ctl target acl add "$iqn" $one --lun 0=a
expect 0 ctl target acl add "$iqn" "iqn.2026-11.net.example:*" --network 127.0.0.0/8 --lun 1=b --lun 3=a:ro
says "1=b 3=a:ro"
[ "$(sees $one "$iqn")" = "0" ] || fail "$one sees other LUNs than 0"
[ "$(sees $two "$iqn")" = "1 3" ] || fail "$two sees other LUNs than 1 and 3"
may_not iqn.2026-11.net.else:three "$iqn"
may iqn.2026-11.net.else:three "$other"
shows $two "$other $iqn "
shows iqn.2026-11.net.else:three "$other "
grep -q "not in the target's list" "$work/daemon.log" || fail "the log does not say why"
expect 0 ctl target acl list "$iqn" --json
jq -e '.initiators | length == 2 and .[1].network == "127.0.0.0/8" and .[1].luns[1].read_only' "$work/out" >/dev/null ||
	fail "the list is not what was added"

# refusals change nothing
cp "$config" "$work/kept.json"
expect 4 ctl target acl add "$iqn" $one
says "--replace"
expect 5 ctl target acl add "$iqn" $two --lun 0=none
expect 2 ctl target acl add "$iqn" $two --lun a
expect 5 ctl target acl add "$iqn" $two --network 127.0.0.1/8
says "first address"
expect 5 ctl target acl add "$iqn" "a*b"
expect 3 ctl target acl add "$iqn" $two --account nobody
expect 3 ctl target acl add "$iqn:none" $two
expect 3 ctl target acl remove "$iqn" $two
expect 5 ctl target acl add discovery $two
expect 4 ctl target unmap "$iqn" 0
says "target acl remove"
cmp "$config" "$work/kept.json" || fail "a refused change changed the file"

# -- changes reach sessions: the one that lost its row ends, the others go on
load() { # INITIATOR LUN
	timeout -k 5 60 iscsi-perf -i "$1" -m 1 -t 60 "iscsi://$portal/$iqn/$2" >/dev/null 2>&1 &
}
load $one 0
first=$!
load $two 1
second=$!
await_sessions "$iqn" 2
expect 0 ctl target acl add "$iqn" iqn.2026-11.net.else:three
expect 0 ctl target acl remove "$iqn" "iqn.2026-11.net.example:*" --network 127.0.0.0/8
await_sessions "$iqn" 1
kill -0 $first || fail "the session of $one ended, though nothing changed for it"
[ "$(ctl target show "$iqn" --json | jq -r '.sessions[0].initiator')" = $one ] || fail "the wrong session ended"
kill $first $second 2>/dev/null || true
wait $first $second 2>/dev/null || true
await_sessions "$iqn" 0
may_not $two "$iqn"
expect 0 ctl target acl add "$iqn" $one --lun 0=a --lun 2=c --replace
[ "$(sees $one "$iqn")" = "0 2" ] || fail "the new view is not there"
expect 0 ctl target acl remove "$iqn" iqn.2026-11.net.else:three
expect 0 ctl target acl remove "$iqn" $one
says "nobody may log in"
may_not $one "$iqn"
expect 0 ctl target acl add "$iqn" $one
expect 0 ctl target acl remove "$iqn" $one --open
says "everybody may log in"
may $two "$iqn"

# -- accounts
chmod 640 "$work/alice.secret"
expect 5 ctl target account add "$iqn" alice --secret-file "$work/alice.secret"
says "chmod 600"
chmod 600 "$work/alice.secret"
echo short >"$work/short.secret"
chmod 600 "$work/short.secret"
expect 5 ctl target account add "$iqn" alice --secret-file "$work/short.secret"
says "12 bytes"
expect 2 ctl target account add "$iqn" alice
expect 0 ctl target account add "$iqn" alice --secret-file "$work/alice.secret"
expect 0 ctl target account add "$iqn" bob --secret-env LUNGATE_TEST_BOB
says "environment LUNGATE_TEST_BOB"
expect 4 ctl target account add "$iqn" bob --secret-env LUNGATE_TEST_BOB
may $one "$iqn" '' "alice%$alice@"
may $one "$iqn" '' "bob%$bob@"
may_not $one "$iqn"
may_not $one "$iqn" '' "alice%$bob@"
may_not $one "$iqn" '' "carol%$alice@"
for why in "wrong CHAP secret" "no such CHAP account" "CHAP is wanted"; do
	# what repeats is not logged each time: once more where it was left out
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		! grep -q "$why" "$work/daemon.log" || break
		sleep 1.1
		case $why in
		wrong*) may_not $one "$iqn" '' "alice%$bob@" ;;
		no*) may_not $one "$iqn" '' "carol%$alice@" ;;
		*) may_not $one "$iqn" ;;
		esac
	done
	grep -q "$why" "$work/daemon.log" || fail "the log has no '$why'"
done
# an account of one's own
expect 0 ctl target acl add "$iqn" $one --account bob
may $one "$iqn" '' "bob%$bob@"
may_not $one "$iqn" '' "alice%$alice@"
expect 4 ctl target account remove "$iqn" bob
says "acl remove"
expect 0 ctl target acl remove "$iqn" $one --open
# the way back
expect 5 ctl target account add "$iqn" us --mutual --secret-file "$work/alice.secret"
says "of its own"
expect 0 ctl target account add "$iqn" us --mutual --secret-file "$work/ours.secret"
may $one "$iqn" "?target_user=us&target_password=$ours" "alice%$alice@"
may_not $one "$iqn" "?target_user=us&target_password=$bob" "alice%$alice@"
may_not $one "$iqn" "?target_user=them&target_password=$ours" "alice%$alice@"
# discovery
expect 0 ctl target account add discovery finder --secret-file "$work/found.secret"
shows $one ""
shows $one "" "alice%$alice@"
shows $one "$other $iqn " "finder%$found@"

# -- all of it is there after a restart
cp "$config" "$work/kept.json"
stop_daemon
"$lungate" config check "$config" >"$work/out" 2>&1 || fail "the configuration is not valid"
mount=()
if [ -r /dev/fuse ] && [ -w /dev/fuse ] && command -v fusermount3 >/dev/null; then
	mount=(--mount "$work/view")
fi
start_daemon --strict "${mount[@]}"
if ctl status --json | jq -e .mount.mounted >/dev/null; then
	find "$work/view" -type f ! -name image -exec cat {} + >"$work/told"
	grep -qF "$iqn" "$work/told" || fail "the mount tells nothing"
fi
cmp "$config" "$work/kept.json" || fail "the start changed the file"
may $one "$iqn" "?target_user=us&target_password=$ours" "alice%$alice@"
may_not $one "$iqn"
shows $one ""
shows $one "$other $iqn " "finder%$found@"

# another secret, from the same file
secret alice "another-secret-of-alice"
expect 0 ctl target account add "$iqn" alice --secret-file "$work/alice.secret" --replace
may_not $one "$iqn" '' "alice%$alice@"
may $one "$iqn" '' "alice%another-secret-of-alice@"

echo "-- SIGHUP reads secrets, and lists that were edited by hand, again"
reread() { # WORDS: that the log has once more
	local before i
	before=$(grep -c "$1" "$work/daemon.log" || true)
	kill -HUP "$daemon"
	for i in $(seq 300); do
		[ "$(grep -c "$1" "$work/daemon.log" || true)" = "$before" ] || return 0
		sleep 0.1
	done
	fail "'$1' is not in the log after SIGHUP"
}
secret alice "third-secret-of-alice"
may_not $one "$iqn" '' "alice%third-secret-of-alice@"
reread "lists of initiators were read again"
may $one "$iqn" '' "alice%third-secret-of-alice@"
may_not $one "$iqn" '' "alice%another-secret-of-alice@"
chmod 640 "$work/alice.secret"
reread "SIGHUP: nothing else was changed: .*alice.secret has mode 0640"
may $one "$iqn" '' "alice%third-secret-of-alice@"
secret alice "another-secret-of-alice"
chmod 600 "$work/alice.secret"
reread "lists of initiators were read again"
may $one "$iqn" '' "alice%another-secret-of-alice@"

# who logged in with an account goes with it
timeout -k 5 60 iscsi-perf -i $one -m 1 -t 60 "iscsi://bob%$bob@$portal/$iqn/0" >/dev/null 2>&1 &
first=$!
await_sessions "$iqn" 1
expect 0 ctl target account remove "$iqn" bob
await_sessions "$iqn" 0
kill $first 2>/dev/null || true
wait $first 2>/dev/null || true
may_not $one "$iqn" '' "bob%$bob@"
# the last one: nobody, unless one says otherwise
expect 0 ctl target account remove "$iqn" alice
says "nobody gets in"
may_not $one "$iqn"
may_not $one "$iqn" '' "alice%another-secret-of-alice@"
expect 0 ctl target account add "$iqn" alice --secret-file "$work/alice.secret"
expect 0 ctl target account remove "$iqn" alice --open
says "no account is needed"
may $one "$iqn"

# -- one in the configuration itself, which then has to be private
jq --arg name "$other" --arg secret "$inline" \
	'(.targets[] | select(.name == $name)).chap = [{"user": "carol", "secret": $secret}]' "$config" >"$work/inline.json"
cp "$work/inline.json" "$config"
chmod 640 "$config"
expect 5 "$lungate" config check "$config"
says "chmod 600"
chmod 600 "$config"
stop_daemon
start_daemon --strict
may $one "$other" '' "carol%$inline@"
may_not $one "$other"
expect 0 ctl target account add "$other" dave --secret-file "$work/alice.secret"
[ "$(stat -c %a "$config")" = 600 ] || fail "the file's mode changed"
may $one "$other" '' "carol%$inline@"

# no copy lies about in what a core dump would hold
printf '%s\n' "$iqn" "$inline" another-secret-of-alice "$found" >"$work/patterns"
{ dumped || true; } | grep -oaF -f "$work/patterns" | sort -u >"$work/memory" || true
# where it cannot be read there is nothing to see
[ ! -s "$work/memory" ] || [ "$(cat "$work/memory")" = "$iqn" ] || fail "secrets are left in memory: $(tail -n +1 "$work/memory")"

# -- secrets are in their files and nowhere else
{
	ctl status --json
	ctl status --metrics
	ctl target list --json
	for t in "$iqn" "$other"; do
		ctl target show "$t" --json
		ctl target acl list "$t" --json
		ctl target account list "$t" --json
	done
	ctl target account list discovery --json
	cat "$work/daemon.log" "$work/daemon.out"
	grep -vF "$inline" "$config"
} >>"$work/told"
for s in "$alice" "$bob" "$ours" "$found" "$inline" another-secret-of-alice; do
	! grep -qF -- "$s" "$work/told" || fail "a secret was told: $(grep -F -- "$s" "$work/told" | head -n 3)"
done
stop_daemon
exit 0
