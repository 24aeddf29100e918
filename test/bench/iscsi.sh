#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# lungate beside tgt, one machine, one run: a RAM-backed LUN each, the same thin
# client (iscsi_load), turn by turn, medians and their ratios.  No figure is
# asserted: machines are noisy.  "asked" is what the project holds itself to.
#
# usage: iscsi.sh ISCSI_LOAD LUNGATE [SECONDS [ROUNDS]]   needs: tgtd, tgtadm, /dev/shm, root for tgtd
set -euo pipefail
load=$1 lungate=$2 seconds=${3:-2} rounds=${4:-5}
command -v tgtd >/dev/null || { echo "bench: tgtd is missing: apt-get install tgt"; exit 77; }

size_mib=512
work=$(mktemp -d) ram=$(mktemp -d /dev/shm/lungate-bench-XXXXXX)
pids=()
cleanup() {
	# tgtd ignores SIGTERM while it has targets
	for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$work" "$ram"
}
trap cleanup EXIT

free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
}

start_tgt() {
	local control=$((RANDOM % 30000 + 100)) key
	tgt_port=$(free_port)
	tgt_target=iqn.2026-11.net.lungate:bench-tgt
	tgtd -f -C $control --iscsi portal=127.0.0.1:"$tgt_port" >"$work/tgtd.log" 2>&1 &
	tgt_pid=$!
	pids+=("$tgt_pid")
	for _ in $(seq 100); do
		tgtadm -C $control --mode sys --op show >/dev/null 2>&1 && break
		sleep 0.1
	done
	head -c ${size_mib}M /dev/urandom >"$ram/tgt.img"
	tgtadm -C $control --lld iscsi --op new --mode target --tid 1 -T $tgt_target
	tgtadm -C $control --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b "$ram/tgt.img"
	# As its documentation advises for throughput: large segments, unsolicited data.
	for key in MaxRecvDataSegmentLength=262144 MaxXmitDataSegmentLength=262144 FirstBurstLength=262144 \
		MaxBurstLength=1048576 InitialR2T=No ImmediateData=Yes; do
		tgtadm -C $control --lld iscsi --op update --mode target --tid 1 -n "${key%=*}" -v "${key#*=}"
	done
	tgtadm -C $control --lld iscsi --op bind --mode target --tid 1 -I ALL
}

start_lungate() {
	local notify
	lun_port=$(free_port)
	lun_target=iqn.2026-11.net.lungate:bench
	cat >"$work/lungate.json" <<JSON
{"listen": ["127.0.0.1:$lun_port"], "state_dir": "$work/state", "control": "$work/control.sock",
 "memory": "256M", "threads": 1, "log_level": "warn",
 "volumes": [{"name": "ram0", "store": "ram:", "size": "${size_mib}M"}],
 "targets": [{"name": "$lun_target", "luns": [{"lun": 0, "volume": "ram0"}]}]}
JSON
	"$lungate" serve --config "$work/lungate.json" --create-missing >"$work/lungate.log" 2>&1 &
	lun_pid=$!
	pids+=("$lun_pid")
	for _ in $(seq 100); do
		(exec 3<>"/dev/tcp/127.0.0.1/$lun_port") 2>/dev/null && break
		kill -0 $lun_pid 2>/dev/null || { cat "$work/lungate.log"; exit 1; }
		sleep 0.1
	done
}

one() { # who job block depth [option] -> "iops us_per_io p50 p99"
	local portal target lun pid
	if [ "$1" = tgt ]; then
		portal=127.0.0.1:$tgt_port target=$tgt_target lun=1 pid=$tgt_pid
	else
		portal=127.0.0.1:$lun_port target=$lun_target lun=0 pid=$lun_pid
	fi
	"$load" --portal "$portal" --target "$target" --lun $lun --job "$2" --block "$3" --depth "$4" \
		--seconds "$seconds" --pid "$pid" "${@:5}" |
	sed 's/.*"iops": \([0-9.]*\).*"p50_us": \([0-9]*\).*"p99_us": \([0-9]*\).*"target_us_per_io": \([0-9.]*\).*/\1 \4 \2 \3/'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

start_tgt
start_lungate
# Every page of the RAM LUN is there before anything is timed, as tgt's file is.
"$load" --portal 127.0.0.1:"$lun_port" --target $lun_target --job seqwrite --block 262144 --depth 8 --seconds 2 >/dev/null
printf '%-10s %7s %3s | %9s %9s | %9s %9s | %7s %9s | %s\n' job block qd 'tgt IOPS' 'us CPU/IO' 'lungate' 'us CPU/IO' \
	'IOPS x' 'CPU ratio' 'asked'
# ratio A B
ratio() { awk -v x="$1" -v y="$2" 'BEGIN { printf "%.2f", x / y }'; }
column() { cut -d' ' -f"$1" "$2" | median; }

while read -r job block depth asked; do
	: >"$work/tgt"
	: >"$work/lun"
	for _ in $(seq "$rounds"); do
		one tgt "$job" "$block" "$depth" >>"$work/tgt"
		one lungate "$job" "$block" "$depth" >>"$work/lun"
	done
	a=$(column 1 "$work/tgt") b=$(column 2 "$work/tgt")
	c=$(column 1 "$work/lun") d=$(column 2 "$work/lun")
	printf '%-10s %7d %3d | %9.0f %9.2f | %9.0f %9.2f | %7s %9s | %s\n' "$job" "$block" "$depth" "$a" "$b" "$c" "$d" \
		"$(ratio "$c" "$a")" "$(ratio "$d" "$b")" "$asked"
done <<'JOBS'
randread 4096 32 IOPS >= 3.0, CPU <= 0.33
randwrite 4096 32 IOPS >= 3.0, CPU <= 0.33
randread 4096 1 IOPS >= 1.2
randwrite 4096 1 IOPS >= 1.2
seqread 262144 8 IOPS >= 1.3
seqwrite 262144 8 IOPS >= 1.3
JOBS

# What CRC32C over headers and data costs: lungate beside itself.
printf '\n%-10s %7s %3s | %9s %9s | %9s %9s | %7s | %s\n' job block qd 'none IOPS' 'us CPU/IO' 'CRC32C' 'us CPU/IO' \
	'IOPS x' 'asked'
for job in seqread seqwrite; do
	: >"$work/plain"
	: >"$work/crc"
	for _ in $(seq "$rounds"); do
		one lungate $job 262144 8 >>"$work/plain"
		one lungate $job 262144 8 --digests >>"$work/crc"
	done
	a=$(column 1 "$work/plain") c=$(column 1 "$work/crc")
	printf '%-10s %7d %3d | %9.0f %9.2f | %9.0f %9.2f | %7s | IOPS >= 0.75\n' $job 262144 8 "$a" \
		"$(column 2 "$work/plain")" "$c" "$(column 2 "$work/crc")" "$(ratio "$c" "$a")"
done
