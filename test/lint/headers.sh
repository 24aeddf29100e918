#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Every header stands alone: compiles without anything in front of it.
set -eu
build=$(pwd)
cd "${srcdir:-.}"
src=$(pwd)
rc=0
for h in $(find common stores fuse gateway -name '*.h' | LC_ALL=C sort); do
	case $h in fuse/*) [ -n "${FUSE_CFLAGS:-}" ] || continue ;; esac
	# shellcheck disable=SC2086
	printf '#include "%s"\n' "$h" | ${CC:-cc} -std=gnu11 -fsyntax-only -D_GNU_SOURCE -DFUSE_USE_VERSION=35 \
		-I"$src" -I"$build" ${UV_CFLAGS:-} ${JANSSON_CFLAGS:-} ${URING_CFLAGS:-} ${FUSE_CFLAGS:-} ${CURL_CFLAGS:-} ${XML_CFLAGS:-} -x c - || {
		echo "headers: $h does not stand alone"
		rc=1
	}
done
exit $rc
