#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The real Linux initiator: Debian's kernel and tools, booted in an emulated
# machine that reaches the daemon at this host's loopback.  What the machine does
# is in test/linux/guest, each scenario told in a line of its own.
#
# Nothing is downloaded: test/linux/packages.sh FOLDER does that, once.
#
# LUNGATE_LINUX_CACHE: that folder, ~/.cache/lungate-linux if unset
# SCENARIOS: some of them, instead of all
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
[ -z "${SANITIZER:-}" ] || skip "the plain build does this: an emulated machine would wait for too long"
command -v qemu-system-x86_64 >/dev/null || skip "qemu-system-x86_64 is missing: apt-get install qemu-system-x86"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"
command -v dpkg >/dev/null || skip "dpkg is missing"
cache=${LUNGATE_LINUX_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lungate-linux}
ls "$cache"/packages/*.deb >/dev/null 2>&1 ||
	skip "no packages of the machine in $cache: $srcdir/test/linux/packages.sh $cache"

all=(discovery login ext4-thin xfs-raw xfs-thin-digests ext4-raw-digests resize-thin resize-raw lun-mapped
	sg-inq-vpd sg-opcodes sg-logs sg-compare-and-write sg-write-same-unmap-lba-status sg-xcopy sg-rtpg sg-persist sg-sanitize
	chap chap-mutual chap-refused multipath-link-down multipath-portal-removed
	session-kicked daemon-restarted daemon-killed)
read -r -a scenarios <<<"${SCENARIOS:-${all[*]}}"
limit=${SCENARIO_TIMEOUT:-240} # of one scenario; the whole has one of its own below

machine=''
cleanup_more() {
	# the emulator itself: what started it cannot pass a KILL on
	[ ! -s "$work/machine.pid" ] || [ -z "$machine" ] || kill -KILL "$(cat "$work/machine.pid")" 2>/dev/null || true
}

# -- the daemon
secret=ahtoh8Ai-alices secret_in=oiK5aeph-the-gateways
(umask 077 && echo "$secret" >"$work/alice.secret" && echo "$secret_in" >"$work/gateway.secret")
mkdir "$work/store"
write_config "\"volumes\": [{\"name\": \"thin\", \"store\": \"dir:$work/store\", \"size\": \"1G\", \"chunk_size\": \"1M\"},
    {\"name\": \"raw\", \"store\": \"file:$work/raw.img\", \"size\": \"512M\"},
    {\"name\": \"ram\", \"store\": \"ram:\", \"size\": \"32M\"}],
  \"targets\": [{\"name\": \"$iqn\", \"luns\": [{\"lun\": 0, \"volume\": \"thin\"}, {\"lun\": 1, \"volume\": \"raw\"}]},
    {\"name\": \"$iqn-ram\", \"luns\": [{\"lun\": 0, \"volume\": \"ram\"}]},
    {\"name\": \"$iqn-chap\", \"luns\": [{\"lun\": 0, \"volume\": \"ram\"}],
      \"chap\": [{\"user\": \"alice\", \"secret_file\": \"$work/alice.secret\"}],
      \"mutual\": {\"user\": \"gateway\", \"secret_file\": \"$work/gateway.secret\"}}]"
sed -i 's/"listen": \["127.0.0.1:0"\]/"listen": ["127.0.0.1:0", "127.0.0.1:0"]/' "$config"
start_daemon --create-missing
portal2=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$work/daemon.log" | grep -vx "$portal")
[ -n "$portal2" ] || fail "no second portal"
# from now on these, after a restart as well
stop_daemon
jq --arg a "$portal" --arg b "$portal2" '.listen = [$a, $b]' "$config" >"$work/new.json"
cat "$work/new.json" >"$config"
start_daemon

# -- what the machine asks for
# used LUN: bytes that its volume takes
used() {
	case $1 in
	0) ctl map thin --json | jq '.chunk_size * ([.cells[] | .clean + .dirty] | add)' ;;
	1) stat -c '%b * 512' "$work/raw.img" | xargs expr ;;
	esac
}
lun() { ctl target "$@"; }
resize() { ctl volume resize "$1" --size "$2" >/dev/null; }
link() { echo "set_link $1 $2" >&"$monitor"; }

portal() { ctl portal "$1" "$portal2"; }
kick() { ctl session kick --initiator iqn.2026-11.net.example:linux --target "$iqn"; }
restart() { # SIGNAL
	local pid=$daemon
	daemon=''
	kill "-$1" "$pid"
	wait "$pid" || [ "$1" = KILL ] || fail "the daemon ended with code $?"
	start_daemon
}

answer() {
	local word=OK
	case $1 in
	used | resize | lun | link | portal | kick | restart) "$@" >"$work/reply" 2>&1 || word=NO ;;
	*) word="NO, what is" ;;
	esac
	echo "$word $(tr '\n' ' ' <"$work/reply")"
}

# -- the machine: two network cards, each of which reaches this host's loopback by an address of its own
begin=$SECONDS
"$srcdir/test/linux/initrd.sh" "$cache/packages" "$srcdir/test/linux/guest" "$work/machine" >"$work/out" 2>&1 ||
	fail "the initrd could not be made"
mkfifo "$work/tell.in" "$work/tell.out" "$work/monitor.in" "$work/monitor.out"
exec {monitor}<>"$work/monitor.in"
cat "$work/monitor.out" >"$work/monitor.log" &
net=()
for n in 2 3; do
	net+=(-netdev "user,id=net$n,net=10.0.$n.0/24,host=10.0.$n.2"
		-device "virtio-net-pci,netdev=net$n,mac=52:54:00:00:00:0$((n - 1)),romfile=")
done
words="console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off lungate.iqn=$iqn lungate.limit=$limit"
words+=" lungate.portal=10.0.2.2:${portal##*:} lungate.portal2=10.0.3.2:${portal2##*:}"
words+=" lungate.secret=$secret lungate.secret_in=$secret_in"
words+=" lungate.scenarios=$(IFS=, && echo "${scenarios[*]}")"
timeout -k 5 "${MACHINE_TIMEOUT:-900}" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi,tb-size=256 -cpu max -smp 2 -m 768 \
	-nodefaults -no-user-config -pidfile "$work/machine.pid" -display none -no-reboot -kernel "$work/machine/vmlinuz" -initrd "$work/machine/initrd" \
	-append "$words" -serial "file:$work/console" -chardev "pipe,id=tell,path=$work/tell" -serial chardev:tell \
	-chardev "pipe,id=monitor,path=$work/monitor" -mon monitor "${net[@]}" >"$work/out" 2>&1 &
machine=$!

passed=() failed=0
exec {down}>"$work/tell.in" {up}<"$work/tell.out"
while read -r -u "$up" word rest; do
	rest=${rest%$'\r'}
	case ${word%$'\r'} in
	UP) echo "Linux ${rest% *} is up after $((SECONDS - begin)) s" ;;
	DO)
		# shellcheck disable=SC2086
		answer $rest >&"$down"
		;;
	PASS)
		read -r name seconds _ <<<"$rest"
		passed+=("$name")
		printf 'PASS: %-24s %3d s\n' "$name" "$seconds"
		;;
	FAIL)
		failed=$((failed + 1))
		read -r name seconds reason <<<"$rest"
		printf 'FAIL: %-24s %3d s %s\n' "$name" "$seconds" "$reason"
		tr -d '\r' <"$work/console" | sed -n "/^== $name\$/,/^== /p" | tail -n 60
		;;
	END) break ;;
	esac
done
wait "$machine" || { tail -n 30 "$work/console"; fail "the machine ended with code $?"; }
machine=''
echo "${#passed[@]} of ${#scenarios[@]} scenarios passed in $((SECONDS - begin)) s"
[ "$failed" -eq 0 ] || fail "see the scenarios above"
[ "${#passed[@]}" -eq "${#scenarios[@]}" ] || { tail -n 60 "$work/console"; fail "the machine ended before its scenarios"; }
stop_daemon
exit 0
