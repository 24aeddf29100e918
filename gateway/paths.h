/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where things are when nothing says otherwise.
 *
 *                     root                          anybody else
 *   configuration     /etc/lungate/lungate.json     $XDG_CONFIG_HOME/lungate/lungate.json  (~/.config)
 *   state             /var/lib/lungate              $XDG_STATE_HOME/lungate                (~/.local/state)
 *   control socket    /run/lungate/control.sock     $XDG_RUNTIME_DIR/lungate/control.sock, else in the state directory
 *
 * Threads: any.  Results are malloc'd; NULL when memory is out.
 */
#ifndef LUNGATE_GATEWAY_PATHS_H
#define LUNGATE_GATEWAY_PATHS_H

char *paths_config(void);
char *paths_state_dir(void);
char *paths_control(void);

#endif
