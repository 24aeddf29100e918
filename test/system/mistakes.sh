#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every kind of mistake at every command: what is said about it, and the exit code.  A row a mistake.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"
command -v jq >/dev/null || skip "jq is missing: apt-get install jq"

unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_PROFILE AWS_SHARED_CREDENTIALS_FILE

# row CODE WORDS ARGUMENT...: it ends with the code, says the words, and changes nothing
row() {
	local code=$1 words=$2
	shift 2
	expect "$code" env LUNGATE_CONTROL="$control" "$lungate" "$@" </dev/null
	says "$words"
	cmp -s "$config" "$work/kept.json" || fail "'$*' changed the configuration"
}
keep() { cp "$config" "$work/kept.json"; }
secret() { (umask 077 && printf '%s\n' "$2" >"$work/$1"); }

mkdir "$work/store"
secret good ahtoh8Ai-alices
secret other Eeshei0x-bobs-own
secret short 12345678901
secret open ahtoh8Ai-alices
chmod 644 "$work/open"
d=dir:$work/store
host=iqn.2026-11.net.example:host1

echo "-- without a daemon"
write_config
keep
row 2 "Usage:"
row 2 "unknown command 'volum'; did you mean 'volume'?" volum list
row 2 "unknown command 'xyzzy'; 'lungate --help' lists them" xyzzy
row 2 '"text": "unknown command ' xyzzy --json
row 2 '"code": "EINVAL"' volume create a --size x --json
row 2 "unknown option -x; see 'lungate volume list --help'" volume list -x
row 0 "Usage:" help
row 0 "lungate volume create NAME" help volume create
row 0 "target acl add" help target acl
row 2 "did you mean 'target acl add'?" help target acl ad
row 6 "no daemon listens at $control; start it with 'lungate serve'" status
expect 6 "$lungate" status --control "$work/none/sock"
says "no daemon listens at $work/none/sock"
expect 6 "$lungate" status --control "$config"
expect 2 "$lungate" config check "$config" --config "$config"
says "named twice"
expect 5 "$lungate" config check "$work"
says "Is a directory"
expect 2 "$lungate" serve --config "$config" --mount "$work/m" --no-mount
says "opposite"
expect 2 "$lungate" serve --config "$config" --mount ''
says "--mount: the directory's name is empty"
expect 2 "$lungate" serve --config "$config" --ready-fd 77
says "--ready-fd: no file is open with that number"
sed 's/64M/1M/' "$config" >"$work/bad.json"
expect 5 "$lungate" config check "$work/bad.json"
says "memory: must be at least 32M"
sed 's/64M/99999999P/' "$config" >"$work/bad.json"
expect 5 "$lungate" config check "$work/bad.json"
says 'memory: "99999999P" is larger than any size can be'
expect 5 "$lungate" store check s3:/bucket
expect 5 "$lungate" store check 's3://bucket/p?endpont=http://127.0.0.1:1'
says 'unknown parameter "endpont"; did you mean "endpoint"?'
expect 5 "$lungate" store check 's3://bucket/p?addressing=paths'
says '"paths" is none of auto, path, virtual'
expect 5 "$lungate" store check 's3://bucket/p?region=a&region=b'
says 'parameter "region" is there twice'

start_daemon
expect 0 ctl volume create disk1 --size 64M --store "$d" --journal-size 256M
expect 0 ctl volume create ram1 --size 1M --store ram:
expect 0 ctl target create "$iqn"
expect 0 ctl target map "$iqn" disk1
expect 0 ctl target map "$iqn" ram1 --lun 5 --removable
keep

echo "-- volumes"
new="volume create new"
row 2 "NAME is missing" volume create
row 2 "--store is missing" $new
row 2 "unknown option --sise; did you mean --size?" $new --sise 1M
row 2 "--size needs a value: --size SIZE" $new --store ram: --size
row 2 "--size: '10X' is not a size" $new --store ram: --size 10X
row 2 "--size: '9999999T' is larger than any size can be" $new --store ram: --size 9999999T
row 5 "--size: must be at least 512" $new --store ram: --size 0
row 5 "--size: must be a multiple of the block size, 512" $new --store ram: --size 1.3M
row 5 "--size: is missing" $new --store ram:
row 5 "--size: is missing" $new --store "$d"
row 2 "--block-size: '1024' is not one of the choices: 512 or 4096" $new --store ram: --size 1M --block-size 1024
row 5 "--chunk-size: must be at most 16M" $new --store "$d" --size 1M --chunk-size 32M
row 5 "--chunk-size: must be a power of two" $new --store "$d" --size 1M --chunk-size 3M
row 5 "--journal-size: must be at least 256M" $new --store "$d" --size 1M --journal-size 1M
row 5 "--journal-dir: must be an absolute path" $new --store "$d" --size 1M --journal-dir journals
row 5 "--commit-window: 600M is more than half of the journal, and never reached: journal_size is 1G" $new --store "$d" --size 1M --commit-window 600M
row 3 "the journal directory $work/none: No such file or directory; make it first: mkdir -p" \
	$new --store "$d" --size 1M --journal-dir "$work/none"
[ ! -e "$work/none" ] || fail "a journal directory was made"
[ ! -e "$work/store/new" ] || fail "the volume was made without its journal's directory"
row 3 "the journal directory $config is not a directory" $new --store "$d" --size 1M --journal-dir "$config"
row 8 "--journal-size: 7.8 PiB is more than the " $new --store "$d" --size 1M --journal-size 8000T
[ ! -e "$work/store/new" ] || fail "the volume was made without room for its journal"
row 5 "--commit-interval: must be at most 604800" $new --store "$d" --size 1M --commit-interval 604801
row 5 "has at most 16P" $new --store "$d" --size 17P
row 5 'NAME: volume name "New"' volume create New --store ram: --size 1M
row 5 "--store: must begin with s3://" $new --store dri:/x --size 1M
row 2 "--store: its bytes are not UTF-8" $new --store "file:$work/"$'\xff' --size 1M
row 5 "--store: needs an absolute path" $new --store dir:x --size 1M
row 3 "make it first: mkdir -p" $new --store "dir:$work/none" --size 1M
row 3 "make it first: mkdir -p" $new --store "file:$work/none/image" --size 1M
head -c 1048576 /dev/urandom >"$work/theirs"
cp "$work/theirs" "$work/theirs.copy"
exec 8<"$work/theirs"
flock -x 8
row 4 "is in use (flock), by another volume or another process" $new --store "file:$work/theirs" --size 1M
exec 8<&-
cmp "$work/theirs" "$work/theirs.copy" || fail "a file that was there before is gone with a volume that was not made"
row 5 "is a directory; name a file in it, or use dir:" $new --store "file:$work" --size 1M
row 5 "is not a block device" $new --store "block:$config"
row 7 "no credentials: set AWS_ACCESS_KEY_ID" $new --store 's3://bucket/p?endpoint=http://127.0.0.1:1' --size 1M
row 3 "the store holds no such volume; check its name and the store, or make it" $new --store "$d" --existing
row 4 'there is a volume "ram1" already' volume create ram1 --store ram: --size 1M
row 3 'there is no volume "disk"; did you mean "disk1"?' volume show disk
row 3 "there is no volume \"nothing\"; 'lungate volume list' shows them" volume show nothing
row 3 'did you mean "disk1"?' map dsik1
row 3 'did you mean "disk1"?' volume resize disk --size 128M
row 8 "this machine has no memory for 1.0 PiB" $new --store ram: --size 1P
row 8 "" volume resize ram1 --size 1P
row 2 "--size is missing" volume resize disk1
row 5 "if that is meant, add --shrink" volume resize disk1 --size 32M
row 5 "--size: must be at least 512" volume resize disk1 --size 0 --shrink
row 5 "--size: 64.0 PiB is more than this volume can have" volume resize disk1 --size 64P
row 4 "first: lungate target unmap $iqn 0" volume delete disk1 --yes
row 3 'did you mean "disk1"?' volume delete disk --yes
row 2 "add --yes" volume delete disk1
row 2 "opposite" volume delete disk1 --yes --keep-data --delete-file
row 2 "--from is missing" volume import new --store "$d"
row 5 "--first: there is no chunk" map disk1 --first 16
row 5 "--end: 5 is not behind the first chunk, 10" map disk1 --first 10 --end 5

echo "-- targets"
row 4 "there is a target \"${iqn^^}\" already" target create "${iqn^^}"
row 5 "is no iSCSI name" target create disks
row 3 "there is no target \"${iqn}x\"; did you mean \"$iqn\"?" target show "${iqn}x"
row 3 "did you mean \"$iqn\"?" session list --target "${iqn}x"
row 3 "did you mean \"$iqn\"?" target delete "${iqn%t}"
row 3 'there is no volume "disk"; did you mean "disk1"?' target map "$iqn" disk
row 5 "--lun: must be at most 255" target map "$iqn" disk1 --lun 256
row 4 "is LUN 0 of $iqn already" target map "$iqn" disk1
row 3 "$iqn has no LUN 6" target unmap "$iqn" 6
row 5 "LUN: must be at most 255" target unmap "$iqn" 99999999999
row 2 "LUN: 'disk1' is not a whole number" target unmap "$iqn" disk1

echo "-- lists and accounts"
acl="target acl add $iqn $host"
row 5 "is no network such as 10.0.0.0/8" $acl --network 10.0.0.0/33
row 5 "has address bits beyond its prefix" $acl --network 10.0.0.1/8
row 3 "$iqn has no account \"bob\"" $acl --account bob
row 2 "--lun: '0' is not a number and a volume" $acl --lun 0
row 5 'the configuration does not allow it: targets[0].initiators[0].luns[0].volume: "disk" is no LUN of this target' $acl --lun 0=disk
row 5 "discovery has no list" target acl list discovery
row 3 "has no \"$host\"" target acl remove "$iqn" "$host"
account="target account add $iqn alice"
row 2 "--secret-file FILE or --secret-env NAME" $account
row 2 "one of them" $account --secret-env X --secret-file "$work/good"
row 3 "$work/none: No such file or directory" $account --secret-file "$work/none"
row 5 "has mode 0644: group or others can get at the secret; chmod 600 it" $account --secret-file "$work/open"
row 5 "the secret is too short" $account --secret-file "$work/short"
row 5 "there is no environment variable NO_SUCH" $account --secret-env NO_SUCH
row 3 "did you mean \"$iqn\"?" target account add "${iqn}x" alice --secret-file "$work/good"
row 3 "$iqn has no account \"alice\"" target account remove "$iqn" alice
expect 0 ctl $account --secret-file "$work/good"
expect 0 ctl target account add "$iqn" us --secret-file "$work/other" --mutual
keep
row 4 "$iqn has an account \"alice\" already; --replace changes it" $account --secret-file "$work/good"
row 4 "has the mutual account \"us\" already" target account add "$iqn" we --secret-file "$work/other" --mutual
row 5 'has the secret of the account "alice"' target account add "$iqn" us --secret-file "$work/good" --mutual --replace
row 3 'add --mutual' target account remove "$iqn" us

echo "-- portals, ways and sessions"
row 5 "is no portal address" portal add localhost:3260
row 4 "there is a portal $portal already, in group 1" portal add "$portal"
row 4 "the port is in use" portal add "0.0.0.0:${portal##*:}"
row 5 "--group: must be at most 65535" portal add 127.0.0.1:0 --group 65536
row 5 "--group: must be at least 1" portal add 127.0.0.1:0 --group 0
row 3 'there is no portal "127.0.0.1:1"' portal remove 127.0.0.1:1
row 5 "--grace: must be at most 60" portal remove "$portal" --grace 61
row 2 "say where to" portal redirect "$portal"
row 2 "--permanent belongs to" portal redirect "$portal" --off --permanent
row 5 "would send initiators to itself" portal redirect "$portal" "$portal"
row 5 'is no address to send initiators to' target redirect "$iqn" elsewhere
row 2 "GROUPS: tags of portal groups as in 1,2" target groups "$iqn" one
row 3 "there is no portal group 9" target groups "$iqn" 1,9
row 5 "group 1 is there twice" target groups "$iqn" 1,1
row 3 "there is no portal group 9" target alua "$iqn" 9 standby
row 5 'STATE: must be one of "optimized", "non-optimized"' target alua "$iqn" 1 optimised
row 2 "say which session: its ID, or --initiator NAME" session kick
row 3 "there is no such session" session kick 1
expect 0 ctl portal add 127.0.0.1:0
keep
row 5 'several portals are written "127.0.0.1:0": name one' portal remove 127.0.0.1:0
row 5 'several portals are written "127.0.0.1:0"' portal redirect 127.0.0.1:0 127.0.0.2:3260

echo "-- a file that was edited by hand, and is wrong"
sed -i 's/"threads": 2/"threads": 2, "memroy": 5/' "$config"
keep
line=$(grep -n memroy "$config" | cut -d: -f1)
row 5 "for the file is wrong already: $config:$line:" target create "$iqn-2"
says 'memroy: unknown key; did you mean "memory"?'
sed -i 's/, "memroy": 5//' "$config"

echo "-- what was set is shown"
expect 0 ctl target groups "$iqn" 1
expect 0 ctl target alua "$iqn" 1 standby
expect 0 ctl target acl add "$iqn" "$host" --account alice --lun 3=disk1:ro --network 10.0.0.0/8
expect 0 ctl target redirect "$iqn" 127.0.0.2:3260 --permanent --json
jq -e '.luns[1].removable and .groups == [1] and .alua == [{"group": 1, "state": "standby"}] and
	.redirect == {"to": "127.0.0.2:3260", "permanent": true} and
	.initiators == [{"name": "'"$host"'", "network": "10.0.0.0/8", "account": "alice",
		"luns": [{"lun": 3, "volume": "disk1", "read_only": true}]}] and
	.chap[0] == {"user": "alice", "secret_file": "'"$work"'/good", "secret_env": null} and
	.mutual.user == "us"' "$work/out" >/dev/null || fail "target show --json"
expect 0 ctl target show "$iqn"
for words in "LUN 5   ram1  (removable)" "only by portal groups 1" "standby" "sent to 127.0.0.2:3260 (permanent)" \
	"10.0.0.0/8" "3=disk1:ro" "$work/good"; do
	says "$words"
done
expect 0 ctl volume show disk1 --json
jq -e '.journal_size == 268435456 and .journal_dir == "'"$work"'/state/journal" and .commit_interval == 1800 and .commit_window > 60000000' \
	"$work/out" >/dev/null || fail "volume show --json"
expect 0 ctl portal redirect "$portal" 127.0.0.2:3260 --json
jq -e '.bound == "'"$portal"'" and .redirect.to == "127.0.0.2:3260"' "$work/out" >/dev/null || fail "portal redirect --json"
expect 0 ctl target acl remove "$iqn" "$host" --network 10.0.0.0/8 --open
expect 0 ctl target unmap "$iqn" 5 --json
jq -e '. == {"target": "'"$iqn"'", "lun": 5}' "$work/out" >/dev/null || fail "target unmap --json"
expect 0 ctl target delete "$iqn" --json
jq -e '. == {"name": "'"$iqn"'"}' "$work/out" >/dev/null || fail "target delete --json"
expect 0 ctl volume resize disk1 --size 128M
grep -q '"size": "128M"' "$config" || fail "the new size is not written as people would"
expect 0 ctl volume delete disk1 --yes --json
jq -e '. == {"name": "disk1", "data_kept": false}' "$work/out" >/dev/null || fail "volume delete --json"
stop_daemon
exit 0
