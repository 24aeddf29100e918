/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `lungate serve`: the daemon from start to stop.  Threads: main. */
#ifndef LUNGATE_GATEWAY_SERVE_H
#define LUNGATE_GATEWAY_SERVE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct serve_options {
	const char *config_path;
	const char *const *listen;       /* instead of the file's; n 0 = the file's */
	size_t nlisten;
	const char *mount;               /* instead of the file's */
	bool no_mount;
	bool strict;                     /* refuse to start unless everything is there */
	bool create_missing;             /* create volumes of the file that their store does not have */
	const char *const *accept_loss;  /* volumes to open although their journal is missing or damaged */
	size_t naccept_loss;
	const char *log_level;
	int ready_fd;                    /* -1 = none */
};

/** Runs until a signal asks it to stop.  0 after a clean stop, or why it did not start. */
int serve_run(const struct serve_options *options, struct errinfo *info);

#endif
