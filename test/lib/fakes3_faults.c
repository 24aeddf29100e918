/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The faults of the fake S3 server: their names, and which requests each fits. */
#include <string.h>

#include "test/lib/fakes3.h"
#include "test/lib/fakes3_auth.h"

static const char *const fault_names[FAKES3_FAULTS] = {
	[FAKES3_SLOW] = "slow",
	[FAKES3_ERROR_BEFORE] = "error-before",
	[FAKES3_ERROR_AFTER] = "error-after",
	[FAKES3_RESET_BEFORE] = "reset-before",
	[FAKES3_RESET_AFTER] = "reset-after",
	[FAKES3_BUSY] = "busy",
	[FAKES3_BUSY_RETRY_AFTER] = "busy-retry-after",
	[FAKES3_DENY] = "deny",
	[FAKES3_NOT_FOUND] = "not-found",
	[FAKES3_TRUNCATE] = "truncate",
	[FAKES3_WRONG_LENGTH] = "wrong-length",
	[FAKES3_LIE_ETAG] = "lie-etag",
	[FAKES3_ERROR_IN_OK] = "error-in-ok",
	[FAKES3_WRONG_XML] = "wrong-xml",
	[FAKES3_IGNORE_CONDITIONS] = "ignore-conditions",
	[FAKES3_QUOTA] = "quota",
	[FAKES3_UNKNOWN_KEY] = "unknown-key",
	[FAKES3_LATE] = "late",
};

const char *
fakes3_fault_name(enum fakes3_fault fault)
{
	return fault_names[fault];
}

int
fakes3_fault_by_name(const char *name)
{
	for (int i = 0; i < FAKES3_FAULTS; i++)
		if (!strcmp(fault_names[i], name))
			return i;
	return -1;
}

bool
fakes3_fault_fits(int fault, const char *method, bool on_key, bool ranged)
{
	bool put = !strcmp(method, "PUT"), get = !strcmp(method, "GET");

	switch (fault) {
	case FAKES3_NOT_FOUND:
	case FAKES3_IGNORE_CONDITIONS:
	case FAKES3_QUOTA:
	case FAKES3_LATE:
		return put && on_key;
	case FAKES3_TRUNCATE:
		return get && on_key;
	case FAKES3_WRONG_LENGTH:
		return get && on_key && ranged;
	case FAKES3_LIE_ETAG:
		return on_key && (put || get || !strcmp(method, "HEAD"));
	case FAKES3_ERROR_IN_OK:
		return strcmp(method, "HEAD") && strcmp(method, "DELETE");
	case FAKES3_WRONG_XML:
		return !on_key;
	default:
		return true;
	}
}
