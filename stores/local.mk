# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += libstores.a
libstores_a_SOURCES = \
	stores/stores.c stores/stores.h \
	stores/object/object.c stores/object/object.h \
	stores/object/dir.c \
	stores/object/mem.c \
	stores/raw/ram.c \
	stores/raw/null.c \
	stores/raw/raw.c \
	$(NULL)
include stores/chunked/local.mk
