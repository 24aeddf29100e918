# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += libcommon.a
libcommon_a_SOURCES = \
	common/arena.c common/arena.h \
	common/bytes.h \
	common/copy.c common/copy.h \
	common/crc32c.c common/crc32c.h \
	common/diskio.c common/diskio.h \
	common/err.c common/err.h common/errors.def \
	common/failpoint.c common/failpoint.h common/failpoints.def \
	common/jsonconf.c common/jsonconf.h \
	common/log.c common/log.h \
	common/loop.c common/loop.h \
	common/nearest.c common/nearest.h \
	common/registry.c common/registry.h \
	common/secret.c common/secret.h \
	common/stats.c common/stats.h \
	common/util.c common/util.h \
	common/vfs.c common/vfs.h \
	common/volume.c common/volume.h \
	$(NULL)
