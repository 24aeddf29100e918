# SPDX-License-Identifier: GPL-2.0-or-later
# The simulated disk, and the model that every kind of volume is checked against.
noinst_LIBRARIES += libtestsim.a
libtestsim_a_SOURCES = \
	test/lib/orrace.c test/lib/orrace.h \
	test/lib/simfs.c test/lib/simfs.h \
	test/lib/simimage.c test/lib/simimage.h \
	test/lib/simtree.c test/lib/simtree.h \
	test/lib/volmodel.c test/lib/volmodel.h test/lib/volcall.c \
	$(NULL)
# A server without a daemon around it, and a client that speaks raw PDUs.
check_PROGRAMS += test/lib/miniserver
test_lib_miniserver_SOURCES = test/lib/miniserver.c
test_lib_miniserver_LDADD = libgateway.a $(STORES_LIBS)
check_PROGRAMS += test/lib/initiator
test_lib_initiator_SOURCES = test/lib/initiator.c test/lib/rawiscsi.c test/lib/rawiscsi.h
test_lib_initiator_LDADD = $(COMMON_LIBS)
# The mount without the daemon.
if ENABLE_FUSE
check_PROGRAMS += test/lib/minimount
test_lib_minimount_SOURCES = test/lib/minimount.c
test_lib_minimount_LDADD = libmount.a $(STORES_LIBS) $(FUSE_LIBS)
endif
