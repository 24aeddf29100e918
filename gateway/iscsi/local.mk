# SPDX-License-Identifier: GPL-2.0-or-later
libgateway_a_SOURCES += \
	gateway/iscsi/access.c gateway/iscsi/access.h \
	gateway/iscsi/access_live.c \
	gateway/iscsi/async.c \
	gateway/iscsi/chap.c gateway/iscsi/chap.h \
	gateway/iscsi/command.c gateway/iscsi/command.h \
	gateway/iscsi/conn.c gateway/iscsi/conn.h \
	gateway/iscsi/crowd.c \
	gateway/iscsi/data_in.c \
	gateway/iscsi/data_out.c \
	gateway/iscsi/fence.c \
	gateway/iscsi/info.c \
	gateway/iscsi/iscsi.h \
	gateway/iscsi/iscsi_fmt.h \
	gateway/iscsi/kick.c \
	gateway/iscsi/keys.c gateway/iscsi/keys.h \
	gateway/iscsi/login.c gateway/iscsi/login.h \
	gateway/iscsi/login_phase.c \
	gateway/iscsi/logout.c \
	gateway/iscsi/nop.c \
	gateway/iscsi/params.c gateway/iscsi/params.h \
	gateway/iscsi/pdu.c gateway/iscsi/pdu.h \
	gateway/iscsi/portal.c \
	gateway/iscsi/reassign.c \
	gateway/iscsi/recover.c \
	gateway/iscsi/rx.c \
	gateway/iscsi/rx_ops.c \
	gateway/iscsi/scsi_command.c \
	gateway/iscsi/server.c gateway/iscsi/server.h \
	gateway/iscsi/session.c gateway/iscsi/session.h \
	gateway/iscsi/status.c gateway/iscsi/status.h \
	gateway/iscsi/target.c \
	gateway/iscsi/text.c \
	gateway/iscsi/tmf.c \
	gateway/iscsi/tx.c \
	$(NULL)
