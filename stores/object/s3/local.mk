# SPDX-License-Identifier: GPL-2.0-or-later
libstores_a_SOURCES += \
	stores/object/s3/call.c \
	stores/object/s3/creds.c stores/object/s3/creds.h stores/object/s3/creds_int.h \
	stores/object/s3/creds_remote.c \
	stores/object/s3/errors.c stores/object/s3/errors.h \
	stores/object/s3/http.c stores/object/s3/http.h \
	stores/object/s3/ini.c stores/object/s3/ini.h \
	stores/object/s3/lane.c \
	stores/object/s3/ops.c \
	stores/object/s3/probe.c \
	stores/object/s3/response.c stores/object/s3/response.h \
	stores/object/s3/retry.c stores/object/s3/retry.h \
	stores/object/s3/s3.c stores/object/s3/s3_int.h \
	stores/object/s3/sigv4.c stores/object/s3/sigv4.h \
	stores/object/s3/url.c stores/object/s3/url.h \
	stores/object/s3/xml.c stores/object/s3/xml.h \
	$(NULL)
