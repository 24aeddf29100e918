/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telling the service manager, sd_notify(3)'s protocol: one datagram to $NOTIFY_SOCKET.
 *
 * Threads: any.
 */
#ifndef LUNGATE_GATEWAY_NOTIFY_H
#define LUNGATE_GATEWAY_NOTIFY_H

/** "READY=1", "STOPPING=1", "STATUS=..."; nothing happens where nobody asked for it. */
void notify_manager(const char *text);

#endif
