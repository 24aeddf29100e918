# SPDX-License-Identifier: GPL-2.0-or-later
if ENABLE_FUSE
noinst_LIBRARIES += libmount.a
libmount_a_SOURCES = \
	fuse/attr.c \
	fuse/chunks.c \
	fuse/clerk.c \
	fuse/dirs.c \
	fuse/handle.c \
	fuse/image.c \
	fuse/internal.h \
	fuse/mount.c fuse/mount.h \
	fuse/mountpoint.c fuse/mountpoint.h \
	fuse/names.c fuse/names.h \
	fuse/ops.c \
	fuse/reader.c \
	fuse/render.c fuse/render.h \
	fuse/targets.c \
	fuse/task.c \
	fuse/text.c fuse/text.h \
	fuse/texts.c \
	fuse/tree.c fuse/tree.h \
	$(NULL)
endif
