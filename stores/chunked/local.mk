# SPDX-License-Identifier: GPL-2.0-or-later
libstores_a_SOURCES += \
	$(NULL)
