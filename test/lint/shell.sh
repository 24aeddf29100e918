#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every shell script can be parsed by the shell that it names: a mistake in one that nobody runs for weeks is seen.
set -euo pipefail
cd "${srcdir:-.}"
rc=0 n=0

check() { # FILE SHELL
	n=$((n + 1))
	"$2" -n "$1" || {
		echo "shell: $2 cannot parse $1"
		rc=1
	}
}

while IFS= read -r file; do
	read -r first <"$file" 2>/dev/null || true
	case $first in
	'#!/bin/bash'* | '#!/usr/bin/env bash'*) check "$file" bash ;;
	'#!/bin/sh'*) check "$file" sh ;;
	*) # what others read in
		case $file in
		test/linux/guest/*.sh) check "$file" sh ;;
		*.sh | contrib/bash-completion*) check "$file" bash ;;
		esac
		;;
	esac
done < <(
	find test contrib -type f ! -path 'test/fuzz/corpus/*' ! -name '*.[cho]'
	ls -d autogen.sh quickstart .ci/* 2>/dev/null || true
)
[ "$n" -gt 30 ] || { echo "shell: only $n scripts were found"; rc=1; }
exit $rc
