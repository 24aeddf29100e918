# SPDX-License-Identifier: GPL-2.0-or-later
libstores_a_SOURCES += \
	stores/chunked/bucket_fmt.c stores/chunked/bucket_fmt.h \
	stores/chunked/bucket_json.c \
	$(NULL)
