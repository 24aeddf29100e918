# SPDX-License-Identifier: GPL-2.0-or-later
# CHAP: $iqn-chap wants an account, alice's, and proves itself as "gateway".

chap_node() { # [USER SECRET [USER-IN SECRET-IN]]
	iscsiadm -m node -T "$iqn-chap" -o delete 2>/dev/null || true
	node "$iqn-chap"
	[ $# -ge 2 ] || return 0
	set_node "$iqn-chap" node.session.auth.authmethod CHAP
	set_node "$iqn-chap" node.session.auth.username "$1"
	set_node "$iqn-chap" node.session.auth.password "$2"
	[ $# -ge 4 ] || return 0
	set_node "$iqn-chap" node.session.auth.username_in "$3"
	set_node "$iqn-chap" node.session.auth.password_in "$4"
}

# chap_in: it logs in, and the disk is there
chap_in() {
	login "$iqn-chap" || why "$1: refused"
	dd if=/dev/$(disk 0) of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null || why "$1: the disk cannot be read"
	logout "$iqn-chap"
}

# chap_out WHO CODE: refused, with iscsiadm's exit code
chap_out() {
	local code=0
	iscsiadm -m node -T "$iqn-chap" -p "$portal" --login || code=$?
	[ $code = "$2" ] || why "$1: iscsiadm ended with code $code, not $2"
	! ls /sys/class/iscsi_session/session* >/dev/null 2>&1 || why "$1: there is a session"
}

scenario_chap() {
	chap_node alice "$secret"
	chap_in "the right secret"
	local algorithm
	for algorithm in MD5 SHA1 SHA256 SHA3-256; do
		chap_node alice "$secret"
		set_node "$iqn-chap" node.session.auth.chap_algs $algorithm
		chap_in $algorithm
	done
}

scenario_chap_mutual() {
	chap_node alice "$secret" gateway "$secret_in"
	chap_in "both ways"
}

scenario_chap_refused() {
	# 24: authorization failure
	chap_node
	chap_out "no account" 24
	chap_node alice "not$secret"
	chap_out "a wrong secret" 24
	chap_node bob "$secret"
	chap_out "no such account" 24
	# here it is the initiator that does not believe
	chap_node alice "$secret" gateway "not$secret_in"
	chap_out "a wrong secret of the target" 19
	chap_node alice "$secret" other "$secret_in"
	chap_out "a wrong name of the target" 19
	chap_node alice "$secret"
	chap_in "and the right one after all of them"
}
