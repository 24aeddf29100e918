# SPDX-License-Identifier: GPL-2.0-or-later
EXTRA_PROGRAMS = test/bench/iscsi_load
test_bench_iscsi_load_SOURCES = test/bench/iscsi_load.c
test_bench_iscsi_load_LDADD = $(COMMON_LIBS)
CLEANFILES += $(EXTRA_PROGRAMS)
EXTRA_DIST += test/bench/iscsi.sh test/bench/s3.sh

BENCH_SECONDS = 2
BENCH_ROUNDS = 5

# Figures as ratios to tgt on this machine; nothing is asserted.
bench: lungate$(EXEEXT) test/bench/iscsi_load$(EXEEXT)
	$(srcdir)/test/bench/iscsi.sh test/bench/iscsi_load ./lungate $(BENCH_SECONDS) $(BENCH_ROUNDS)

# The same for a volume in a bucket, beside a raw client, s3backer and nbdkit, on a Ceph RGW that it starts.
BENCH_MIB = 512
bench-s3: lungate$(EXEEXT) test/bench/iscsi_load$(EXEEXT) test/bench/s3_load$(EXEEXT)
	$(srcdir)/test/bench/s3.sh test/bench/iscsi_load test/bench/s3_load ./lungate \
		$(srcdir)/test/services/ceph-rgw $(BENCH_MIB) $(BENCH_ROUNDS)
.PHONY: bench bench-s3
