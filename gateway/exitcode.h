/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exit codes of lungate(1): few, stable, and the same for every command.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_GATEWAY_EXITCODE_H
#define LUNGATE_GATEWAY_EXITCODE_H

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,        /* anything without a code of its own */
	EXIT_USAGE = 2,         /* the command line was not understood */
	EXIT_NOT_FOUND = 3,     /* no such volume, target, LUN, file */
	EXIT_CONFLICT = 4,      /* it exists already, is in use, or changed meanwhile */
	EXIT_INVALID = 5,       /* the configuration or an argument is not valid */
	EXIT_NO_DAEMON = 6,     /* nobody listens at the control socket */
	EXIT_DENIED = 7,        /* permission, or read-only */
	EXIT_NO_SPACE = 8,      /* disk, store or memory is full */
	EXIT_IO = 9,            /* an I/O error, or data that is damaged */
	EXIT_FENCED = 10,       /* the volume belongs to another gateway */
	EXIT_RETRY = 11,        /* not now: stopping, timed out, interrupted */
};

/** The one table from error codes (common/err.h) to exit codes. */
int exit_code_of(int err);

/** An error code by its name ("ENOENT", "LG_EFENCED"), as the control socket sends it; -EIO when it is not known. */
int exit_error_by_name(const char *name);

struct exit_code_row {
	enum exit_code code;
	const char *name, *meaning;
};
/** For --help and the manual page; ends with a NULL name. */
extern const struct exit_code_row exit_code_rows[];

#endif
