# SPDX-License-Identifier: GPL-2.0-or-later
libgateway_a_SOURCES += \
	gateway/iscsi/iscsi.h \
	$(NULL)
