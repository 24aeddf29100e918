# SPDX-License-Identifier: GPL-2.0-or-later
# S3 servers: one of our own that misbehaves on command, and scripts that run real ones.
S3_SERVICE_TESTS = test/system/s3-fake.sh test/system/s3-faults.sh test/system/s3-keys.sh test/system/s3-tls.sh
TESTS += $(S3_SERVICE_TESTS)
EXTRA_DIST += $(S3_SERVICE_TESTS) test/services/ceph-rgw test/services/fake \
	test/services/goserver.sh test/services/minio test/services/versitygw \
	test/services/check-server test/services/check-faults

if HAVE_MICROHTTPD
FAKES3 = test/lib/fakes3.c test/lib/fakes3.h test/lib/fakes3_auth.c test/lib/fakes3_auth.h test/lib/fakes3_faults.c \
	test/lib/fakes3_impl.h test/lib/fakes3_keys.c test/lib/fakes3_keys.h test/lib/fakes3_verbs.c
check_PROGRAMS += test/services/fakes3
test_services_fakes3_SOURCES = test/services/fakes3.c $(FAKES3)
test_services_fakes3_CFLAGS = $(AM_CFLAGS) $(MICROHTTPD_CFLAGS)
test_services_fakes3_LDADD = $(STORES_LIBS) $(MICROHTTPD_LIBS)
if HAVE_CHECK
check_PROGRAMS += test/unit/check_s3_soak
TESTS += test/unit/check_s3_soak
test_unit_check_s3_soak_SOURCES = test/unit/check_s3_soak.c $(FAKES3)
test_unit_check_s3_soak_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(MICROHTTPD_CFLAGS)
test_unit_check_s3_soak_LDADD = $(STORES_LIBS) $(MICROHTTPD_LIBS) $(CHECK_LIBS)
endif
endif

if HAVE_LIBISCSI
check_PROGRAMS += test/services/faultload
test_services_faultload_SOURCES = test/services/faultload.c test/lib/promises.c test/lib/promises.h
test_services_faultload_CFLAGS = $(AM_CFLAGS) $(ISCSI_CFLAGS)
test_services_faultload_LDADD = $(COMMON_LIBS) $(ISCSI_LIBS)
endif

# The contract, crashes, an image and faults of the server on a real one; 77 = it is not there.
.PHONY: check-ceph check-minio check-versitygw soak-s3
check-ceph check-minio check-versitygw: all $(check_PROGRAMS)
	@export srcdir='$(abs_top_srcdir)' builddir='$(abs_top_builddir)' SANITIZER='$(SAN_CFLAGS)'; \
	'$(srcdir)/test/services/check-server' $(@:check-%=%) && '$(srcdir)/test/services/check-faults' $(@:check-%=%)

# A hundred thousand operations while one request in ten fails, and every fault of the fake for a minute each.
soak-s3: all $(check_PROGRAMS)
	LUNGATE_S3_SOAK=100000 CK_DEFAULT_TIMEOUT=3600 test/unit/check_s3_soak
	builddir='$(abs_top_builddir)' SANITIZER='$(SAN_CFLAGS)' LUNGATE_FAULT_SECONDS=60 \
	'$(srcdir)/test/services/check-faults' fake
