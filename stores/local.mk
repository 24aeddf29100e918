# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += libstores.a
libstores_a_SOURCES = \
	stores/stores.c stores/stores.h \
	stores/object/object.c stores/object/object.h stores/object/store.h \
	stores/object/probe.c \
	stores/object/describe.c \
	stores/object/gotgt.c \
	stores/import.c \
	stores/object/measure.c \
	stores/object/dir.c \
	stores/object/mem.c \
	stores/raw/plain.c stores/raw/raw.h \
	stores/raw/ram.c \
	stores/raw/null.c \
	stores/raw/raw.c stores/raw/raw_int.h \
	stores/raw/raw_io.c \
	stores/raw/raw_lock.c \
	stores/raw/raw_atomic.c \
	stores/raw/raw_admin.c \
	$(NULL)
include stores/object/s3/local.mk
include stores/chunked/local.mk
