#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Downloads the Debian packages that the machine of linux-initiator.sh is made
# of: a kernel, busybox, the tools, and the libraries that they need.  Nothing
# is installed.
#
# usage: packages.sh FOLDER
set -euo pipefail
export LC_ALL=C.UTF-8
folder=${1:?usage: packages.sh FOLDER}
tools=(busybox-static open-iscsi e2fsprogs xfsprogs multipath-tools sg3-utils util-linux kmod dmsetup udev)

command -v apt-get >/dev/null || { echo "apt-get is missing"; exit 77; }
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "no linux-image-cloud-amd64 here: apt-get update?"; exit 77; }
# the interpreters and what only they need are left out: no tool here is a script of theirs
mapfile -t libraries < <(apt-cache depends --recurse --no-suggests --no-recommends --no-conflicts --no-breaks \
	--no-replaces --no-enhances "${tools[@]}" | grep -E '^lib' | grep -vE 'perl|python|icu|elogind|debian-installer' | sort -u)

mkdir -p "$folder/new"
chmod 755 "$folder" "$folder/new"
(cd "$folder/new" && apt-get download -qq "$kernel" "${tools[@]}" "${libraries[@]}" 2>"$folder/apt.log") || {
	tail -n 5 "$folder/apt.log"
	exit 1
}
# all of them or none: a half of a set is no set
rm -rf "$folder/packages"
mv "$folder/new" "$folder/packages"
