# SPDX-License-Identifier: GPL-2.0-or-later
libgateway_a_SOURCES += \
	gateway/scsi/scsi.h \
	gateway/scsi/scsi_impl.h \
	gateway/scsi/sbc.h \
	gateway/scsi/sense.def \
	gateway/scsi/inquiry.c \
	gateway/scsi/lu.c \
	gateway/scsi/mode.c \
	gateway/scsi/nexus.c \
	gateway/scsi/optable.c \
	gateway/scsi/sbc.c \
	gateway/scsi/sbc_more.c \
	gateway/scsi/sense.c \
	gateway/scsi/spc.c \
	gateway/scsi/target.c \
	gateway/scsi/task.c \
	gateway/scsi/tmf.c \
	$(NULL)
