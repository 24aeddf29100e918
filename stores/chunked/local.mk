# SPDX-License-Identifier: GPL-2.0-or-later
libstores_a_SOURCES += \
	stores/chunked/bucket_fmt.c stores/chunked/bucket_fmt.h \
	stores/chunked/bucket_attr.c \
	stores/chunked/bucket_json.c \
	stores/chunked/bucket_key.c \
	stores/chunked/journal.c stores/chunked/journal.h stores/chunked/journal_impl.h \
	stores/chunked/journal_aside.c \
	stores/chunked/journal_fmt.c stores/chunked/journal_fmt.h \
	stores/chunked/journal_replay.c \
	stores/chunked/journal_slots.c \
	$(NULL)
libstores_a_SOURCES += \
	stores/chunked/attr.c \
	stores/chunked/cache.c \
	stores/chunked/chunked.h \
	stores/chunked/clone.c \
	stores/chunked/close.c \
	stores/chunked/commit.c \
	stores/chunked/crctab.c \
	stores/chunked/create.c \
	stores/chunked/dead.c \
	stores/chunked/describe.c \
	stores/chunked/destage.c \
	stores/chunked/dirty.c \
	stores/chunked/early.c \
	stores/chunked/engine.c stores/chunked/engine.h \
	stores/chunked/fetch.c \
	stores/chunked/gate.c \
	stores/chunked/map.c \
	stores/chunked/mapquery.c \
	stores/chunked/open.c \
	stores/chunked/owner.c stores/chunked/owner.h \
	stores/chunked/read.c \
	stores/chunked/share.c \
	stores/chunked/stream.c \
	stores/chunked/wop.c \
	stores/chunked/write.c \
	stores/chunked/zero.c \
	$(NULL)
