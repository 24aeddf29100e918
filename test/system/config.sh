#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Bad configurations are refused with file, line and column, by `config check` and by `serve`.
set -euo pipefail
. "${srcdir:-.}/test/system/lib.sh"

command -v jq >/dev/null || skip "jq is missing: apt-get install jq"

# bad WORDS: the file that stands there is refused by both
bad() {
	expect 5 "$lungate" config check "$config"
	says "$1"
	expect 5 "$lungate" serve --config "$config"
	says "$1"
	[ ! -e "$control" ] || fail "a refused daemon left its socket"
}

printf '{\n  "listen": ["127.0.0.1:0"],\n  "threads" 2\n}\n' >"$config"
bad "$config:3:"
write_config '"volums": []'
bad "$config:7:3: volums: unknown key; did you mean \"volumes\"?"
{ printf '\357\273\277'; cat "$config"; } >"$work/bom.json"
expect 5 "$lungate" config check "$work/bom.json"
says "bom.json:1:1:"
says "it begins with a byte order mark"
{ echo '// mine'; cat "$config"; } >"$work/comment.json"
expect 5 "$lungate" config check "$work/comment.json"
says "comment.json:1:1:"
says "JSON has no comments"

write_config '"volumes": [{"name": "a", "store": "ram:", "size": 1000}]'
bad "$config:7:54: volumes[0].size: must be a multiple of the block size, 512"
write_config '"volumes": [{"name": "a", "store": "ram:", "size": "1M"}, {"name": "a", "store": "ram:", "size": "1M"}]'
bad 'a volume "a" is there already'
write_config '"targets": [{"name": "'$iqn'", "luns": [{"lun": 0, "volume": "a"}]}]'
bad 'there is no volume "a"'
write_config '"targets": [{"name": "not an iqn"}]'
bad "$config:7:24: targets[0].name:"
write_config '"listen": []'
bad "listen"
: >"$config"
bad "$config:1:"
expect 3 "$lungate" serve --config "$work/none.json"
says "$work/none.json"

write_config '"volumes": [{"name": "a", "store": "ram:", "size": "1M"}]'
expect 0 "$lungate" config check "$config"
says "good: 1 volume"
expect 0 "$lungate" config check --json --config "$config"
jq -e '.ok and .volumes == 1' "$work/out" >/dev/null || fail "config check --json"
expect 0 "$lungate" config check --explain
says "journal_size"

expect 2 "$lungate" volum list
says "did you mean 'volume'"
expect 2 "$lungate"
expect 0 "$lungate" --help
says "config check"
expect 0 "$lungate" volume create --help
says "What happens next"
expect 0 "$lungate" --version
says "lungate "
exit 0
