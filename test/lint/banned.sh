#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Calls that have a safer form in this tree, packed structs, and files or
# functions that have grown too long to be read.
set -eu
cd "${srcdir:-.}"
files=$(find common stores fuse gateway test -name '*.[ch]' | LC_ALL=C sort)
rc=0
# shellcheck disable=SC2086
if grep -nE '(^|[^a-zA-Z0-9_>.])(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|rand|srand|tmpnam|tempnam|mktemp|alloca|system|popen)[[:space:]]*\(' \
	$files | grep -vE '^[^:]+:[0-9]+:[[:space:]]*(/?\*|//)'; then
	echo "banned: use snprintf, size_parse or strtoul, random_bytes, mkstemp, posix_spawn instead"
	rc=1
fi
# shellcheck disable=SC2086
if grep -nE '__attribute__\(\(.*packed' $files; then
	echo "banned: bytes of wire and disk go through common/bytes.h"
	rc=1
fi
# shellcheck disable=SC2086
awk '
FNR == 1 { if (file && lines > 1000) { printf "%s: %d lines: split it\n", file, lines; bad = 1 } file = FILENAME; start = 0 }
{ lines = FNR }
/^\{/ { start = FNR }
/^\}/ { if (start && FNR - start > 90) { printf "%s:%d: a function of %d lines: split it\n", FILENAME, start, FNR - start; bad = 1 } start = 0 }
END { if (lines > 1000) { printf "%s: %d lines: split it\n", file, lines; bad = 1 } exit bad }
' $files || rc=1
exit $rc
