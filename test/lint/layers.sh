#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Arrows between rooms run one way.  Reads every #include "..." of the tree and
# fails on one that no row of the table allows.
set -eu
cd "${srcdir:-.}"
# A room (path prefix, longest match wins) and what it may include.
rules='
common/          common/
stores/          common/ stores/stores.h
stores/raw/      common/ stores/stores.h stores/raw/
stores/object/   common/ stores/object/
stores/chunked/  common/ stores/stores.h stores/object/object.h stores/chunked/
stores/import.c  common/ stores/stores.h stores/object/object.h
stores/stores.c  common/ stores/stores.h stores/raw/ stores/object/object.h stores/chunked/chunked.h
fuse/            common/ fuse/
gateway/scsi/    common/ gateway/scsi/
gateway/iscsi/   common/ gateway/iscsi/ gateway/scsi/scsi.h
gateway/         common/ gateway/ stores/stores.h fuse/mount.h
'
find common stores fuse gateway -name '*.[ch]' | LC_ALL=C sort |
xargs grep -Hn '^#include "' | awk -v rules="$rules" '
BEGIN {
	n = split(rules, line, "\n")
	for (i = 1; i <= n; i++)
		if (split(line[i], word, " ") > 1) {
			room[++rooms] = word[1]
			for (j = 2; word[j] != ""; j++)
				allowed[word[1], j - 1] = word[j]
			for (j in word)
				delete word[j]
		}
}
{
	split($0, part, ":")
	file = part[1]
	target = $0
	sub(/^[^"]*"/, "", target)
	sub(/".*$/, "", target)
	best = ""
	for (i = 1; i <= rooms; i++)
		if (index(file, room[i]) == 1 && length(room[i]) > length(best))
			best = room[i]
	ok = best == ""
	for (j = 1; (best, j) in allowed; j++)
		if (index(target, allowed[best, j]) == 1)
			ok = 1
	seen++
	if (!ok) {
		printf "%s:%s: %s may not include \"%s\"\n", file, part[2], best, target
		bad++
	}
}
END {
	if (seen < 20) {
		print "layers: only " seen + 0 " includes found: is this the source tree?"
		exit 1
	}
	printf "layers: %d includes, %d the wrong way\n", seen, bad
	exit bad > 0
}'
