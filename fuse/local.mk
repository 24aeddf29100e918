# SPDX-License-Identifier: GPL-2.0-or-later
if ENABLE_FUSE
noinst_LIBRARIES += libmount.a
libmount_a_SOURCES = \
	fuse/mount.c fuse/mount.h \
	$(NULL)
endif
