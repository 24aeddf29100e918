# SPDX-License-Identifier: GPL-2.0-or-later
# libdaemon.a holds everything but main(), so that tests can reach it.
noinst_LIBRARIES += libdaemon.a
libdaemon_a_SOURCES = \
	gateway/admin.c gateway/admin.h \
	gateway/alua_states.c gateway/alua_states.h \
	gateway/cli.c gateway/cli.h \
	gateway/cli_access.c \
	gateway/cli_all.c gateway/cli_commands.h \
	gateway/cli_config.c \
	gateway/cli_portal.c \
	gateway/cli_session.c \
	gateway/cli_store.c \
	gateway/cli_help.c \
	gateway/cli_serve.c \
	gateway/cli_status.c \
	gateway/cli_target.c \
	gateway/cli_volume.c \
	gateway/client.c gateway/client.h \
	gateway/commands.c gateway/commands.h \
	gateway/commands_portal.c \
	gateway/commands_access.c gateway/commands_impl.h \
	gateway/config.c gateway/config.h \
	gateway/config_access.c \
	gateway/config_impl.h \
	gateway/config_target.c \
	gateway/config_edit.c \
	gateway/config_edit_access.c \
	gateway/config_edit_portal.c \
	gateway/config_portal.c \
	gateway/daemon.h \
	gateway/exitcode.c gateway/exitcode.h \
	gateway/inspect.c gateway/inspect.h \
	gateway/kept.c gateway/kept.h \
	gateway/mapdraw.c gateway/mapdraw.h \
	gateway/metrics.c \
	gateway/notify.c gateway/notify.h \
	gateway/paths.c gateway/paths.h \
	gateway/portals.c \
	gateway/reopen.h \
	gateway/serve.c gateway/serve.h \
	gateway/socket_path.c gateway/socket_path.h \
	gateway/state.c gateway/state.h \
	gateway/target_access.c \
	gateway/targets.c \
	gateway/textout.c gateway/textout.h \
	gateway/volumes.c gateway/reopen.c gateway/import.c \
	$(NULL)
if ENABLE_FUSE
MOUNT_LIBS = libmount.a $(FUSE_LIBS)
endif
DAEMON_LIBS = libdaemon.a libgateway.a $(MOUNT_LIBS) $(STORES_LIBS)

bin_PROGRAMS += lungate
lungate_SOURCES = gateway/main.c
lungate_LDADD = $(DAEMON_LIBS)
