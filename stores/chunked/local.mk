# SPDX-License-Identifier: GPL-2.0-or-later
libstores_a_SOURCES += \
	stores/chunked/bucket_fmt.c stores/chunked/bucket_fmt.h \
	stores/chunked/bucket_json.c \
	stores/chunked/journal.c stores/chunked/journal.h stores/chunked/journal_impl.h \
	stores/chunked/journal_fmt.c stores/chunked/journal_fmt.h \
	stores/chunked/journal_replay.c \
	stores/chunked/journal_slots.c \
	$(NULL)
