# SPDX-License-Identifier: GPL-2.0-or-later
# sg3-utils, each tool checked against what it must print.  LUN 0 of the target is thin, with chunks of 1 MiB.

sg_login() {
	node "$iqn"
	login "$iqn"
	name=$(disk 0)
	dev=/dev/$name
	# nothing of what other scenarios wrote
	blkdiscard $dev
}

# expect CODE COMMAND...: output in /tmp/out
expect() {
	local want=$1 code=0
	shift
	"$@" >/tmp/out 2>&1 || code=$?
	cat /tmp/out
	[ $code = "$want" ] || why "'$*' ended with code $code, not $want: $(tail -n 1 /tmp/out)"
}
# says WORDS: in the output of the last expect, where runs of blanks are one
says() {
	tr -s ' \t' ' ' </tmp/out | grep -qiF -- "$1" || why "'$1' was not said"
}
says_not() {
	! tr -s ' \t' ' ' </tmp/out | grep -qiF -- "$1" || why "'$1' was said"
}

# block LBA FILE: reads it past every cache
block() {
	dd if=$dev of="$2" bs=512 skip="$1" count="${3:-1}" iflag=direct 2>/dev/null
}
fill() { # FILE BYTE-IN-OCTAL BLOCKS
	dd if=/dev/zero bs=512 count="$3" 2>/dev/null | tr '\000' "\\$2" >"$1"
}

scenario_sg_inq_vpd() {
	sg_login
	expect 0 sg_inq $dev
	says "Vendor identification: LUNGATE"
	says "version=0x06"
	says "CmdQue=1"
	says "TPGS=3"
	says "3PC=1"
	expect 0 sg_vpd -p sv $dev
	for page in 'Supported VPD pages' 'Unit serial number' 'Device identification' 'Block limits' \
		'Block device characteristics' 'Logical block provisioning'; do
		says "$page"
	done
	expect 0 sg_vpd -p di $dev
	says "designator type: NAA"
	says "designator type: SCSI name string"
	says "$iqn,t,0x0001"
	expect 0 sg_vpd -p bl $dev
	says "Maximum unmap LBA count"
	says "Optimal unmap granularity: 2048 blocks"
	says_not "Maximum compare and write length: 0"
	expect 0 sg_vpd -p lbpv $dev
	says "Unmap command supported (LBPU): 1"
	says "Write same (16) with unmap bit supported (LBPWS): 1"
	says "Logical block provisioning read zeros (LBPRZ): 1"
	says "Provisioning type: 2"
	expect 0 sg_vpd -p sn $dev
	expect 0 sg_vpd -p bdc $dev
	expect 0 sg_readcap --16 $dev
	says "Logical block provisioning: lbpme=1, lbprz=1"
	says "Last LBA=$(($(blockdev --getsz $dev) - 1))"
	expect 0 sg_luns $dev
	says "0001000000000000"
	# a page that is not in the list of pages: the tool does not even ask
	expect 83 sg_vpd -p 0x8f $dev
}

scenario_sg_opcodes() {
	sg_login
	expect 0 sg_opcodes --rctd $dev
	for command in "Compare and write" "Write same(16)" "Unmap" "Extended copy" "Persistent reserve out, Preempt and abort" \
		"Report target port groups" "Get LBA status" "Sanitize, overwrite" "Write atomic" "Verify(16)"; do
		says "$command"
	done
	expect 0 sg_opcodes --opcode=0x42 $dev
	says "Opcode=0x42"
	says "Command is supported [conforming to SCSI standard]"
	expect 0 sg_opcodes --opcode=0x9e,0x12 $dev
	says "Command is supported [conforming to SCSI standard]"
	expect 0 sg_opcodes --opcode=0xd7 $dev
	says "not supported"
	expect 0 sg_opcodes --tmf $dev
	for function in "Abort task" "Abort task set" "Clear task set" "Logical unit reset"; do
		says "$function"
	done
}

scenario_sg_logs() {
	sg_login
	expect 0 sg_logs $dev
	says "Supported log pages"
	says "Logical block provisioning"
	says "Informational Exceptions"
	expect 0 sg_logs --page=0xc $dev
	says "Used LBA mapping"
	expect 0 sg_logs --temperature $dev
	says "not available"
	expect 0 sg_logs --page=0x2f $dev
	expect 0 sg_modes --page=8 $dev
	says "Caching"
	expect 0 sg_requests $dev
}

scenario_sg_compare_and_write() {
	sg_login
	fill /tmp/a 101 8
	fill /tmp/b 102 8
	dd if=/tmp/a of=$dev bs=512 seek=64 oflag=direct 2>/dev/null
	cat /tmp/a /tmp/b >/tmp/ab
	expect 0 sg_compare_and_write --in=/tmp/ab --lba=64 --num=8 --xferlen=8192 $dev
	block 64 /tmp/is 8
	cmp /tmp/is /tmp/b || why "what it said to have written is not there"
	# the same once more: now it is B, and nothing is written
	expect 14 sg_compare_and_write --in=/tmp/ab --lba=64 --num=8 --xferlen=8192 $dev
	says "MISCOMPARE"
	says "byte offset: 0 ["
	# a difference in the middle: where it is
	cp /tmp/b /tmp/c
	printf X | dd of=/tmp/c bs=1 seek=1234 conv=notrunc 2>/dev/null
	cat /tmp/c /tmp/a >/tmp/ca
	expect 14 sg_compare_and_write --in=/tmp/ca --lba=64 --num=8 --xferlen=8192 $dev
	says "byte offset: 1234 ["
	block 64 /tmp/is 8
	cmp /tmp/is /tmp/b || why "a miscompare wrote"
	# beyond the end
	expect 22 sg_compare_and_write --in=/tmp/ab --lba="$(blockdev --getsz $dev)" --num=8 --xferlen=8192 $dev
	says "LBA out of range"
}

scenario_sg_write_same_unmap_lba_status() {
	sg_login
	# nothing is mapped yet
	expect 0 sg_get_lba_status --lba=0 --brief $dev
	says "0x0000000000000000 $(printf '0x%x' "$(blockdev --getsz $dev)") 1 0"
	# three chunks of a pattern, in one command
	fill /tmp/pattern 125 1
	expect 0 sg_write_same --16 --in=/tmp/pattern --lba=4096 --num=6144 $dev
	block 4096 /tmp/is 1
	cmp /tmp/is /tmp/pattern || why "the pattern is not at its beginning"
	block 10239 /tmp/is 1
	cmp /tmp/is /tmp/pattern || why "the pattern is not at its end"
	block 10240 /tmp/is 1
	fill /tmp/zero 000 1
	cmp /tmp/is /tmp/zero || why "the pattern goes too far"
	expect 0 sg_get_lba_status --lba=4096 --brief $dev
	says "0x0000000000001000 0x1800 0 0"
	expect 0 sg_get_lba_status --lba=0 --brief --maxlen=72 $dev
	says "0x0000000000000000 0x1000 1 0"
	# the middle one goes
	expect 0 sg_unmap --force --lba=6144 --num=2048 $dev
	block 6144 /tmp/is 1
	cmp /tmp/is /tmp/zero || why "unmapped blocks do not read zeroes"
	expect 0 sg_get_lba_status --lba=6144 --brief $dev
	says "0x0000000000001800 0x800 1 0"
	expect 0 sg_get_lba_status --lba=4096 --brief $dev
	says "0x0000000000001000 0x800 0 0"
	# and the rest, by WRITE SAME
	expect 0 sg_write_same --unmap --ndob --lba=4096 --num=6144 $dev
	expect 0 sg_get_lba_status --lba=4096 --brief $dev
	says "0x0000000000001000 $(printf '0x%x' $(($(blockdev --getsz $dev) - 4096))) 1 0"
	expect 0 sg_write_same --10 --ff --lba=0 --num=16 $dev
	block 15 /tmp/is 1
	fill /tmp/ff 377 1
	cmp /tmp/is /tmp/ff || why "WRITE SAME(10) wrote something else"
	# as many as one command must not have
	expect 5 sg_write_same --16 --in=/tmp/pattern --lba=0 --num=2000000 $dev
	[ "$(host used 0)" -le $((1 << 20)) ] || why "the volume keeps what was unmapped"
}

scenario_sg_xcopy() {
	sg_login
	dd if=/dev/urandom of=/tmp/what bs=1M count=4 2>/dev/null
	dd if=/tmp/what of=$dev bs=1M seek=8 oflag=direct 2>/dev/null
	# whole chunks: a clone in the map
	expect 0 sg_xcopy if=$dev of=$dev skip=16384 seek=65536 count=8192 bpt=8192
	says "8192 blocks, 1 command"
	dd if=$dev of=/tmp/is bs=1M skip=32 count=4 iflag=direct 2>/dev/null
	cmp /tmp/what /tmp/is || why "the copy of whole chunks is another"
	# not aligned
	expect 0 sg_xcopy if=$dev of=$dev skip=16387 seek=100001 count=1000 bpt=64
	dd if=/tmp/what of=/tmp/part bs=512 skip=3 count=1000 2>/dev/null
	block 100001 /tmp/is 1000
	cmp /tmp/part /tmp/is || why "the copy that is not aligned is another"
	# to another disk
	local other=/dev/$(disk 1)
	expect 0 sg_xcopy if=$dev of=$other skip=16384 seek=0 count=2048 bpt=2048
	dd if=$other of=/tmp/is bs=1M count=1 iflag=direct 2>/dev/null
	dd if=/tmp/what bs=1M count=1 2>/dev/null | cmp - /tmp/is || why "the copy on the other disk is another"
	# a write to the source leaves the clone alone
	dd if=/dev/zero of=$dev bs=1M seek=8 count=4 oflag=direct 2>/dev/null
	dd if=$dev of=/tmp/is bs=1M skip=32 count=4 iflag=direct 2>/dev/null
	cmp /tmp/what /tmp/is || why "the copy changed with its source"
	expect 0 sg_copy_results --params $dev
	says "Maximum target descriptor count"
}

scenario_sg_rtpg() {
	sg_login
	expect 0 sg_rtpg --decode $dev
	says "target port group asymmetric access state : 0x00 (active/optimized)"
	says "Relative target port ids"
	expect 0 sg_rtpg --extended --decode $dev
	says "Report target port groups"
}

scenario_sg_persist() {
	sg_login
	expect 0 sg_persist --in --read-keys $dev
	says "there are NO registered reservation keys"
	expect 0 sg_persist --out --register --param-sark=abc123 $dev
	expect 0 sg_persist --in --read-keys $dev
	says "1 registered reservation key follows"
	says "0xabc123"
	expect 0 sg_persist --out --reserve --param-rk=abc123 --prout-type=5 $dev
	expect 0 sg_persist --in --read-reservation $dev
	says "Key=0xabc123"
	says "type: Write Exclusive, registrants only"
	expect 0 sg_persist --in --report-capabilities $dev
	says "Persist Through Power Loss Capable(PTPL_C): 1"
	says "All Target Ports Capable(ATP_C): 1"
	says "Exclusive Access: 1"
	expect 0 sg_persist --in --read-full-status $dev
	says "Reservation holder"
	says "iqn.2026-11.net.example:linux"
	# another key than the registered one
	expect 24 sg_persist --out --release --param-rk=bad --prout-type=5 $dev
	says "Reservation conflict"
	# another type than the one held: SPC-4 5.13.11.2.1
	expect 5 sg_persist --out --release --param-rk=abc123 --prout-type=1 $dev

	# another initiator: what the host holds keeps this one out
	expect 0 sg_persist --out --release --param-rk=abc123 --prout-type=5 $dev
	expect 0 sg_persist --out --reserve --param-rk=abc123 --prout-type=1 $dev
	expect 0 sg_persist --out --register-ignore --param-sark=def456 $dev
	expect 0 sg_persist --in --read-keys $dev
	says "0xdef456"
	says_not "0xabc123"
	expect 0 sg_persist --out --preempt --param-rk=def456 --param-sark=def456 --prout-type=3 $dev
	expect 0 sg_persist --in --read-reservation $dev
	says "type: Exclusive Access"
	# the kernel's own disk works on
	dd if=$dev of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null || why "the holder cannot read"
	expect 0 sg_persist --out --clear --param-rk=def456 $dev
	expect 0 sg_persist --in --read-keys $dev
	says "there are NO registered reservation keys"
}

scenario_sg_sanitize() {
	node "$iqn-ram"
	login "$iqn-ram"
	name=$(disk 0)
	dev=/dev/$name
	fill /tmp/a 101 64
	dd if=/tmp/a of=$dev bs=32k seek=100 oflag=direct 2>/dev/null
	printf '\273\146' >/tmp/pattern
	expect 0 sg_sanitize --overwrite --pattern=/tmp/pattern --ipl=2 --quick --early $dev
	until_true 60 sg_turs $dev || why "the overwrite has no end"
	dd if=$dev bs=32k skip=100 count=1 iflag=direct 2>/dev/null | od -An -v -tx1 -w2 | sort -u >/tmp/is
	[ "$(cat /tmp/is)" = " bb 66" ] || why "the pattern is not there: $(head -c 100 /tmp/is)"
	expect 0 sg_sanitize --block --quick --early $dev
	until_true 60 sg_turs $dev || why "the block erase has no end"
	dd if=$dev bs=1M iflag=direct 2>/dev/null | tr -d '\000' | head -c 1 >/tmp/is
	[ ! -s /tmp/is ] || why "something is left after a block erase"
}
