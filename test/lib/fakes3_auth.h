/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of the fake S3 server: is a request signed, whole, and of this time; which fault does it fit?
 *
 * Threads: any.
 */
#ifndef LUNGATE_TEST_LIB_FAKES3_AUTH_H
#define LUNGATE_TEST_LIB_FAKES3_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include <microhttpd.h>

struct fakes3_signed {
	struct MHD_Connection *connection;
	const char *method;
	const char *uri;         /* as it was sent */
	const char *access_key, *secret_key;
	const void *body;
	size_t nbody;
	int clock;               /* the server's, less this machine's, in seconds */
};

/** What is wrong with it, as an S3 error code, with its HTTP status; NULL = nothing. */
const char *fakes3_check(const struct fakes3_signed *r, unsigned *ret_status);

/** %XX, in place. */
void fakes3_unescape(char *s);
/** May a request of this kind draw the fault (enum fakes3_fault)? */
bool fakes3_fault_fits(int fault, const char *method, bool on_key, bool ranged);

#endif
