/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix socket addresses of any length: sun_path holds 107 bytes, paths of people's build trees do not care.  The
 * directory is opened, and the address goes through /proc/self/fd.
 *
 * Threads: any.
 */
#ifndef LUNGATE_GATEWAY_SOCKET_PATH_H
#define LUNGATE_GATEWAY_SOCKET_PATH_H

#include <sys/un.h>

/** Fill addr for path; *ret_dir is to be closed after bind or connect (-1: nothing to close). 0 or -errno. */
int socket_path(const char *path, struct sockaddr_un *addr, int *ret_dir);

/** Connected stream socket, or -errno. */
int socket_path_connect(const char *path);

#endif
