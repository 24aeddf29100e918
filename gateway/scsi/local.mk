# SPDX-License-Identifier: GPL-2.0-or-later
libgateway_a_SOURCES += \
	gateway/scsi/scsi.h \
	gateway/scsi/scsi_impl.h \
	gateway/scsi/sbc.h \
	gateway/scsi/sense.def \
	gateway/scsi/alua.c \
	gateway/scsi/alua_keep.c \
	gateway/scsi/inquiry.c \
	gateway/scsi/keep.c \
	gateway/scsi/keep.h \
	gateway/scsi/log.c \
	gateway/scsi/lu.c \
	gateway/scsi/mode.c \
	gateway/scsi/nexus.c \
	gateway/scsi/optable.c \
	gateway/scsi/pr.c \
	gateway/scsi/pr.h \
	gateway/scsi/pr_cmd.c \
	gateway/scsi/pr_id.c \
	gateway/scsi/pr_save.c \
	gateway/scsi/sanitize.c \
	gateway/scsi/sbc.c \
	gateway/scsi/sbc_more.c \
	gateway/scsi/sense.c \
	gateway/scsi/spc.c \
	gateway/scsi/target.c \
	gateway/scsi/task.c \
	gateway/scsi/tmf.c \
	gateway/scsi/xcopy.c \
	gateway/scsi/xcopy.h \
	gateway/scsi/xcopy_move.c \
	$(NULL)
