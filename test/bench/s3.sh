#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A volume in a bucket beside what the server gives a raw client (s3_load), and beside s3backer and nbdkit's S3
# plugin: one machine, one Ceph RGW, one run, turn by turn, medians and their ratios.  No figure is asserted:
# machines are noisy.  "asked" is what the project holds itself to.
#
#   s3.sh ISCSI_LOAD S3_LOAD LUNGATE CEPH_RGW [MIB [ROUNDS]]
#
# CEPH_RGW is test/services/ceph-rgw.  LUNGATE_BENCH_RGW=DIR: a cluster that it started there is used and kept; else
# one is made and destroyed.  LUNGATE_BENCH_ROWS="write read random durable memory" and
# LUNGATE_BENCH_WHO="lungate s3backer nbdkit" choose.  BENCH_KEEP=1 keeps the logs.
#
# Sequential writes end when the data is in the bucket: for a volume with the daemon's exit, for s3backer with its
# unmount; nbdkit writes through.  "Cold" is a fresh daemon without any cache, and objects that nobody has read
# since they were written: the raw client has as many of its own.  Requests are counted by RGW.
# lungate is driven by iscsi_load, the others by qemu-img bench at the same depth.
set -euo pipefail
load=$1 raw=$2 lungate=$3 rgw=$4 mib=${5:-512} rounds=${6:-3}
rows=${LUNGATE_BENCH_ROWS:-write read random durable memory}
who=${LUNGATE_BENCH_WHO:-lungate s3backer nbdkit}
export LC_ALL=C
samples=200

work=$(mktemp -d)
mkdir "$work/v"
server=${LUNGATE_BENCH_RGW:-}
daemon='' other=''
cleanup() {
	local pid
	for pid in $daemon $other; do kill -TERM "$pid" 2>/dev/null && wait "$pid" || true; done
	! mountpoint -q "$work/s3b" || umount -l "$work/s3b"
	[ -n "${LUNGATE_BENCH_RGW:-}" ] || "$rgw" destroy "$work/rgw" || true
	[ -n "${BENCH_KEEP:-}" ] && echo "logs: $work" || rm -rf "$work"
}
trap cleanup EXIT

if [ -z "$server" ]; then
	server=$work/rgw
	CEPH_RGW_GB=$((mib * (rounds + 1) * 5 / 1024 + 8)) "$rgw" start "$server" $((20000 + RANDOM / 4)) >"$work/env" || {
		cat "$work/env"
		exit 77
	}
else
	"$rgw" env "$server" >"$work/env"
fi
while IFS='=' read -r name value; do declare "$name=$value"; done <"$work/env"
export AWS_ACCESS_KEY_ID=$S3_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$S3_SECRET_KEY AWS_REGION=$S3_REGION
export AWS_DEFAULT_REGION=$S3_REGION AWS_EC2_METADATA_DISABLED=true no_proxy='*'
bench_id=$(date +%s)-$$
store() { echo "s3://$S3_BUCKET/bench-$bench_id/$1?endpoint=$S3_ENDPOINT${2:-}"; }

# ---- figures: a line a round in $work/v/NAME

note() { echo "$2" >>"$work/v/$1"; }
calc() { awk "BEGIN { printf \"%.6g\", $1 }"; }
median() { sort -g "$work/v/$1" 2>/dev/null | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)] }'; }
ratio() { # A B: median of the rounds' quotients
	[ -s "$work/v/$1" ] && [ -s "$work/v/$2" ] || return 0
	paste "$work/v/$1" "$work/v/$2" | awk 'NF == 2 && $2 { print $1 / $2 }' | sort -g |
		awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)] }'
}
now() { date +%s.%N; }
rgw_requests() {
	ceph --admin-daemon "$server/client.rgw.asok" perf dump rgw 2>/dev/null |
		sed -n 's/^ *"req": \([0-9]*\),*/\1/p'
}
cpu_of() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hz }' "/proc/$1/stat"; }
rss_mib() { awk '/^VmHWM/ { printf "%d", $2 / 1024 }' "/proc/$1/status"; }

# ---- the raw server

raw_run() { # PREFIX MODE SIZE DEPTH [SECONDS [MORE-OF-THE-URL]] -> "MB/s p50-ms"
	"$raw" "$(store "$1" "${6:-}")" "$2" "$3" "$4" $((mib / 4)) ${5:-} 2>>"$work/raw.log" |
		sed 's/.* \([0-9.]*\) MB\/s  p50 *\([0-9.]*\) ms.*/\1 \2/'
}

# ---- lungate

iqn=iqn.2026-11.net.lungate:bench
start_lungate() { # VOLUME [MORE-OF-THE-URL [OPTION]]
	local ready=''
	cat >"$work/lungate.json" <<JSON
{"listen": ["127.0.0.1:0"], "state_dir": "$work/state-$1", "control": "$work/control.sock", "memory": "512M",
 "volumes": [{"name": "disk0", "store": "$(store "$1" "${2:-}")", "size": "${mib}M", "journal_size": "2G"}],
 "targets": [{"name": "$iqn", "luns": [{"lun": 0, "volume": "disk0"}]}]}
JSON
	rm -f "$work/ready"
	mkfifo "$work/ready"
	"$lungate" serve --config "$work/lungate.json" --ready-fd 9 ${3:-} 9>"$work/ready" >>"$work/lungate.log" 2>&1 &
	daemon=$!
	read -r ready <"$work/ready" || true
	portal=$(sed -n 's/.*"listen":\["\([^"]*\)".*/\1/p' <<<"$ready")
	[ -n "$portal" ] || { cat "$work/lungate.log"; exit 1; }
	sleep 1.2 # it has the kernel clear its memory ahead, once
}
stop_lungate() {
	local pid=$daemon
	daemon=''
	kill -TERM "$pid"
	wait "$pid"
}
iscsi() { # JOB BLOCK DEPTH COMMANDS -> "MB/s iops p50-us cpu-us-per-io"
	"$load" --portal "$portal" --target $iqn --job "$1" --block "$2" --depth "$3" --commands "$4" --pid "$daemon" |
		sed 's/.*"iops": \([0-9.]*\), "mb_s": \([0-9.]*\), "p50_us": \([0-9]*\).*"target_us_per_io": \([0-9.]*\).*/\2 \1 \3 \4/'
}

lungate_write() {
	local began took before
	start_lungate "vol$1" '' --create-missing
	before=$(rgw_requests) began=$(now)
	iscsi seqwrite 262144 16 $((mib * 4)) >"$work/out"
	note lun_write_rss "$(rss_mib "$daemon")"
	note lun_write_cpu "$(calc "$(cut -d' ' -f4 "$work/out") * 4 / 1000")"
	stop_lungate
	took=$(calc "$(now) - $began")
	note lun_write "$(calc "$mib * 1.048576 / $took")"
	note lun_write_req "$(calc "($(rgw_requests) - $before) / $mib")"
}

lungate_read() {
	local before
	start_lungate "vol$1"
	before=$(rgw_requests)
	iscsi seqread 262144 16 $((mib * 4)) >"$work/out"
	note lun_read "$(cut -d' ' -f1 "$work/out")"
	note lun_read_cpu "$(calc "$(cut -d' ' -f4 "$work/out") * 4 / 1000")"
	note lun_read_rss "$(rss_mib "$daemon")"
	note lun_read_req "$(calc "($(rgw_requests) - $before) / $mib")"
	stop_lungate
}

# Does it grow?  One daemon, the same work again and again.
lungate_memory() {
	start_lungate volmemory '' --create-missing
	for _ in 1 2 3 4 5 6 7 8; do
		iscsi seqwrite 262144 16 $((mib * 4)) >"$work/out"
		iscsi randwrite 4096 32 $((mib * 40)) >"$work/out"
		iscsi seqread 262144 16 $((mib * 4)) >"$work/out"
		note lun_memory "$(awk '/^VmRSS/ { printf "%d", $2 / 1024 }' "/proc/$daemon/status")"
	done
	stop_lungate
}

lungate_random() { # ROUND NAME [MORE-OF-THE-URL]
	start_lungate "vol$1" "${3:-}"
	iscsi randread 4096 1 $samples >"$work/out"
	stop_lungate
	note "$2" "$(calc "$(cut -d' ' -f3 "$work/out") / 1000")"
	note "$2_mean" "$(calc "1000 / $(cut -d' ' -f2 "$work/out")")"
}

# ---- the others

img() { # WHAT... -> seconds
	qemu-img bench -f raw "$@" 2>>"$work/qemu.log" | sed -n 's/^Run completed in \([0-9.]*\) seconds.*/\1/p'
}
# Each of the samples in another chunk, until they are all touched: 37 chunks and a page on.
stride=$((37 * 4194304 + 4096))

s3b_start() { # PREFIX [OPTION]...
	local prefix=$1
	shift
	mkdir -p "$work/s3b"
	s3backer -f --baseURL="$S3_ENDPOINT/" --accessId="$S3_ACCESS_KEY" \
		--accessKey="$S3_SECRET_KEY" --blockSize=4M --size="${mib}M" --listBlocks \
		--prefix="bench-$bench_id/$prefix/" --blockCacheSize=$((mib / 4)) "$@" \
		"$S3_BUCKET" "$work/s3b" >>"$work/s3backer.log" 2>&1 &
	other=$!
	for _ in $(seq 100); do
		if mountpoint -q "$work/s3b"; then return; fi
		sleep 0.1
	done
	tail -n 3 "$work/s3backer.log"
	return 1
}
s3b_stop() {
	umount "$work/s3b"
	wait "$other"
	other=''
}
s3b_cache() { rm -f "$work/s3b.cache"; echo "--blockCacheFile=$work/s3b.cache"; }

s3backer_round() {
	local began before n=$((mib * 4))
	if [[ $rows == *write* || $rows == *read* || $rows == *random* ]]; then
		s3b_start "s3b$1" "$(s3b_cache)" || return 1
		before=$(rgw_requests) began=$(now)
		img -w -c $n -d 16 -s 262144 --pattern=90 "$work/s3b/file" >/dev/null
		s3b_stop
		note s3b_write "$(calc "$mib * 1.048576 / ($(now) - $began)")"
		note s3b_write_req "$(calc "($(rgw_requests) - $before) / $mib")"
	fi
	if [[ $rows == *read* ]]; then
		s3b_start "s3b$1" "$(s3b_cache)" --readAhead=16 || return 1
		before=$(rgw_requests)
		note s3b_read "$(calc "$mib * 1.048576 / $(img -c $n -d 16 -s 262144 "$work/s3b/file")")"
		note s3b_read_req "$(calc "($(rgw_requests) - $before) / $mib")"
		s3b_stop
	fi
	if [[ $rows == *random* ]]; then
		s3b_start "s3b$1" "$(s3b_cache)" || return 1
		note s3b_random "$(calc "$(img -c $samples -d 1 -s 4096 -S $stride "$work/s3b/file") * 1000 / $samples")"
		s3b_stop
	fi
	if [[ $rows == *durable* ]]; then
		s3b_start "s3bd$1" "$(s3b_cache)" --blockCacheSync --blockCacheWriteDelay=0 || return 1
		note s3b_durable "$(calc "40 / $(img -w -c 40 -d 1 -s 4096 -S $stride --pattern=90 "$work/s3b/file")")"
		s3b_stop
	fi
}

nbd_start() { # KEY
	rm -f "$work/nbd.sock"
	nbdkit -f -U "$work/nbd.sock" --filter=blocksize-policy S3 access-key="$S3_ACCESS_KEY" \
		secret-key="$S3_SECRET_KEY" endpoint-url="$S3_ENDPOINT" bucket="$S3_BUCKET" key="bench-$bench_id/$1" \
		size="${mib}M" object-size=256K blocksize-minimum=4096 blocksize-preferred=256K \
		blocksize-maximum=32M >>"$work/nbdkit.log" 2>&1 &
	other=$!
	for _ in $(seq 100); do
		[ -S "$work/nbd.sock" ] && return
		sleep 0.1
	done
	return 1
}
nbd_stop() {
	kill "$other"
	wait "$other" || true
	other=''
}

nbdkit_round() {
	local url=nbd+unix:///?socket=$work/nbd.sock before n=$((mib * 4))
	nbd_start "nbd$1" || return 1
	if [[ $rows == *write* || $rows == *read* || $rows == *random* ]]; then
		before=$(rgw_requests)
		note nbd_write "$(calc "$mib * 1.048576 / $(img -w -c $n -d 16 -s 262144 --pattern=90 "$url")")"
		note nbd_write_req "$(calc "($(rgw_requests) - $before) / $mib")"
	fi
	if [[ $rows == *read* ]]; then
		before=$(rgw_requests)
		note nbd_read "$(calc "$mib * 1.048576 / $(img -c $n -d 16 -s 262144 "$url")")"
		note nbd_read_req "$(calc "($(rgw_requests) - $before) / $mib")"
	fi
	[[ $rows != *random* ]] ||
		note nbd_random "$(calc "$(img -c $samples -d 1 -s 4096 -S $stride "$url") * 1000 / $samples")"
	[[ $rows != *durable* ]] ||
		note nbd_durable "$(calc "40 / $(img -w -c 40 -d 1 -s 4096 -S $stride --pattern=90 "$url")")"
	nbd_stop
}

# ---- a round

lungate_round() {
	local a b before=rawa$1 after=rawb$1
	if [[ $rows == *write* || $rows == *read* || $rows == *random* ]]; then
		a=$(raw_run "$before" put 4M 16)
		lungate_write "$1"
		b=$(raw_run "$after" put 4M 16)
		note raw_write "$(calc "(${a% *} + ${b% *}) / 2")"
	fi
	if [[ $rows == *read* ]]; then
		a=$(raw_run "$before" get 4M 16)
		lungate_read "$1"
		b=$(raw_run "$after" get 4M 16)
		note raw_read "$(calc "(${a% *} + ${b% *}) / 2")"
	fi
	if [[ $rows == *random* ]]; then
		a=$(raw_run "$before" range 64K 1 2)
		lungate_random "$1" lun_random
		b=$(raw_run "$before" range 64K 1 2)
		note raw_random "$(calc "(${a#* } + ${b#* }) / 2")"
		a=$(raw_run "$before" range 4K 1 1)
		note raw_small "${a#* }"
		a=$(raw_run "$before" range 4K 1 1 '&quickack=off')
		note raw_small_nagle "${a#* }"
		lungate_random "$1" lun_nagle '&quickack=off'
	fi
	if [[ $rows == *durable* ]]; then
		start_lungate "durable$1" '' --create-missing
		iscsi fuawrite 4096 1 2000 >"$work/out"
		note lun_durable "$(cut -d' ' -f2 "$work/out")"
		stop_lungate
	fi
}

# Why a peer's column is empty; nothing: it can be run.
why_not() {
	case $1 in
	qemu) command -v qemu-img >/dev/null || echo "qemu-img is missing: apt-get install qemu-utils" ;;
	s3backer)
		command -v s3backer >/dev/null || { echo "s3backer is missing: apt-get install s3backer" && return; }
		[ "$(id -u)" = 0 ] && [ -c /dev/fuse ] || echo "s3backer: needs root and /dev/fuse"
		;;
	nbdkit)
		nbdkit --dump-plugin S3 >/dev/null 2>&1 || {
			echo "nbdkit's S3 plugin is missing: apt-get install nbdkit nbdkit-plugin-python python3-boto3" && return
		}
		;;
	esac
}
peers=()
for peer in s3backer nbdkit; do
	reason=$(why_not qemu)$(why_not $peer)
	[[ $who == *$peer* ]] || continue
	if [ -n "$reason" ]; then echo "-- without $peer: $reason"; else peers+=($peer); fi
done

for round in $(seq "$rounds"); do
	[[ $who != *lungate* ]] || lungate_round "$round"
	for peer in "${peers[@]}"; do
		"${peer}_round" "$round" || echo "-- $peer failed in round $round"
		[ -z "$other" ] || { kill "$other" && wait "$other"; } 2>/dev/null || true
		other=""
	done
done
[[ $who != *lungate* || $rows != *memory* ]] || lungate_memory

# ---- the table

show() { [ -n "${1:-}" ] && [ "$1" != 0 ] && awk -v x="$1" 'BEGIN { printf x < 10 ? "%.2f" : x < 100 ? "%.1f" : "%.0f", x }' || printf -- -; }
line() { # WHAT RAW LUN S3B NBD ASKED [less]
	local r s n
	if [ -n "${7:-}" ]; then
		r=$(ratio "$3" "$2") s=$(ratio "$4" "$3") n=$(ratio "$5" "$3")
	else
		r=$(ratio "$3" "$2") s=$(ratio "$3" "$4") n=$(ratio "$3" "$5")
	fi
	printf '%-38s | %8s | %8s | %8s | %8s | %7s | %7s | %7s | %s\n' "$1" "$(show "$(median "$2")")" \
		"$(show "$(median "$3")")" "$(show "$(median "$4")")" "$(show "$(median "$5")")" "$(show "$r")" \
		"$(show "$s")" "$(show "$n")" "$6"
}
printf '%-38s | %8s | %8s | %8s | %8s | %7s | %7s | %7s | %s\n' '' raw lungate s3backer nbdkit '/ raw' 'x s3b' 'x nbd' asked
[[ $rows != *write* ]] || line 'sequential write to the bucket, MB/s' raw_write lun_write s3b_write nbd_write '/ raw >= 0.85, x > 1'
[[ $rows != *read* ]] || line 'cold sequential read, MB/s' raw_read lun_read s3b_read nbd_read '/ raw >= 0.85, x > 1'
[[ $rows != *random* ]] || {
	line 'cold random 4 KiB read, ms p50' raw_random lun_random none none '/ raw <= 1.3' less
	line 'cold random 4 KiB read, ms mean' none lun_random_mean s3b_random nbd_random 'x > 1' less
	line '... p50 without TCP_QUICKACK' none lun_nagle none none '' less
	line 'raw 4 KiB GET, ms p50' raw_small none none none '' less
	line '... without TCP_QUICKACK' raw_small_nagle none none none '' less
}
[[ $rows != *durable* ]] || line 'durable 4 KiB write, IOPS at depth 1' none lun_durable s3b_durable nbd_durable 'x >= 10'
[[ $rows != *write* ]] || line 'requests a MiB written' none lun_write_req s3b_write_req nbd_write_req '' less
[[ $rows != *read* ]] || line 'requests a MiB read' none lun_read_req s3b_read_req nbd_read_req '' less
echo "$mib MiB, $rounds rounds; lungate: peak RSS $(median lun_write_rss) MiB writing, $(median lun_read_rss) MiB reading" \
	"(memory 512M); CPU a MiB $(show "$(median lun_write_cpu)") ms writing, $(show "$(median lun_read_cpu)") ms reading"
[ ! -s "$work/v/lun_memory" ] || echo "RSS of one daemon after 1 to 8 times the same work: $(paste -sd ' ' "$work/v/lun_memory") MiB"
