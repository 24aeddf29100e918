# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += libgateway.a
libgateway_a_SOURCES = \
	$(NULL)
include gateway/scsi/local.mk
include gateway/iscsi/local.mk
include gateway/daemon.mk
