# SPDX-License-Identifier: GPL-2.0-or-later
# What scenarios share.  From the kernel's command line: iqn, portal, portal2
# (another way to the same target), secrets.

# why WORDS: ends the scenario; the host shows the words
why() {
	echo "$*" | tee /run/why
	exit 1
}

# host WORDS: asks the script on the host for something; its answer
host() {
	local answer
	echo "DO $*" >&7
	read -r answer <&7
	case $answer in
	OK*) echo "${answer#OK }" ;;
	*) why "host: $*: $answer" ;;
	esac
}

# node TARGET [PORTAL]: a record of it, as an administrator writes it
node() {
	iscsiadm -m node -o new -T "$1" -p "${2:-$portal}" >/dev/null
}
set_node() { # TARGET NAME VALUE
	iscsiadm -m node -T "$1" -o update -n "$2" -v "$3"
}
login() { # TARGET [PORTAL]
	iscsiadm -m node -T "$1" -p "${2:-$portal}" --login
	udevadm settle
}
logout() { # TARGET
	iscsiadm -m node -T "$1" --logout
	udevadm settle
}

# disk LUN [SESSION-GLOB]: the name of its block device, "sda"; waits for it
disk() {
	local i=0 path
	while [ $i -lt 300 ]; do
		for path in /sys/class/iscsi_session/session${2:-*}/device/target*/*:*:*:$1/block/*; do
			[ ! -e "$path" ] || { echo "${path##*/}"; return 0; }
		done
		sleep 0.1
		i=$((i + 1))
	done
	echo "no disk with LUN $1"
	return 1
}

# until N COMMAND...: within N seconds
until_true() {
	local n=$(($1 * 5)) i=0
	shift
	while ! "$@"; do
		i=$((i + 1))
		[ $i -lt $n ] || return 1
		sleep 0.2
	done
}

scenario_tidy() {
	umount /mnt
	killall multipathd
	multipath -F
	iscsiadm -m node -u
	iscsiadm -m node -o delete
	iscsiadm -m discovery -o delete
	return 0
}
