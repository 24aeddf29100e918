/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/exitcode.h"

#include <string.h>

#include "common/err.h"
#include "common/util.h"

const struct exit_code_row exit_code_rows[] = {
	{EXIT_OK, "ok", "it worked"},
	{EXIT_FAILED, "failed", "it failed for a reason without a code of its own"},
	{EXIT_USAGE, "usage", "the command line was not understood"},
	{EXIT_NOT_FOUND, "not found", "no such volume, target, LUN or file"},
	{EXIT_CONFLICT, "conflict", "it exists already, is in use, or was changed meanwhile"},
	{EXIT_INVALID, "invalid", "the configuration or an argument is not valid"},
	{EXIT_NO_DAEMON, "no daemon",
	 "no daemon listens at the control socket, or no server at the endpoint of a store"},
	{EXIT_DENIED, "denied", "not permitted, or read-only"},
	{EXIT_NO_SPACE, "no space", "the disk, the store or the memory is full"},
	{EXIT_IO, "I/O", "an I/O error, or damaged data"},
	{EXIT_FENCED, "fenced", "the volume belongs to another gateway"},
	{EXIT_RETRY, "retry", "not now: stopping, timed out or interrupted"},
	{0, NULL, NULL},
};

static const struct {
	int err;
	enum exit_code code;
} map[] = {
	{-ENOENT, EXIT_NOT_FOUND},
	{-ENXIO, EXIT_NOT_FOUND},
	{-ENODEV, EXIT_NOT_FOUND},
	{-ENOTDIR, EXIT_NOT_FOUND},
	{-EEXIST, EXIT_CONFLICT},
	{-EBUSY, EXIT_CONFLICT},
	{-EADDRINUSE, EXIT_CONFLICT},
	{-ENOTEMPTY, EXIT_CONFLICT},
	{LG_ECONFLICT, EXIT_CONFLICT},
	{-EINVAL, EXIT_INVALID},
	{-ERANGE, EXIT_INVALID},
	{-ENAMETOOLONG, EXIT_INVALID},
	{-ENOTSUP, EXIT_INVALID},
	{-EADDRNOTAVAIL, EXIT_INVALID},
	{-ENOTBLK, EXIT_INVALID},
	{-EISDIR, EXIT_INVALID},
	{LG_ECONFIG, EXIT_INVALID},
	{LG_ERANGE, EXIT_INVALID},
	{-EREMCHG, EXIT_INVALID},
	{-ECONNREFUSED, EXIT_NO_DAEMON},
	{-EHOSTUNREACH, EXIT_NO_DAEMON},
	{-EACCES, EXIT_DENIED},
	{-EKEYREJECTED, EXIT_DENIED},
	{-EPERM, EXIT_DENIED},
	{-EROFS, EXIT_DENIED},
	{-ENOSPC, EXIT_NO_SPACE},
	{-EDQUOT, EXIT_NO_SPACE},
	{-ENOMEM, EXIT_NO_SPACE},
	{-EFBIG, EXIT_NO_SPACE},
	{-EIO, EXIT_IO},
	{-ENODATA, EXIT_IO},
	{-EPROTO, EXIT_IO},
	{-EPIPE, EXIT_IO},
	{-ECONNRESET, EXIT_IO},
	{LG_ECORRUPT, EXIT_IO},
	{LG_EFORMAT, EXIT_IO},
	{LG_EPOISONED, EXIT_IO},
	{LG_EMISCOMPARE, EXIT_IO},
	{LG_ENOJOURNAL, EXIT_IO},
	{LG_EDAMAGED, EXIT_IO},
	{LG_EPROTO, EXIT_IO},
	{LG_ESANITIZE, EXIT_IO},
	{LG_EFENCED, EXIT_FENCED},
	{LG_EOWNED, EXIT_FENCED},
	{LG_ESTOPPING, EXIT_RETRY},
	{LG_EABORTED, EXIT_RETRY},
	{LG_ESANITIZING, EXIT_RETRY},
	{-EAGAIN, EXIT_RETRY},
	{-EINTR, EXIT_RETRY},
	{-ETIMEDOUT, EXIT_RETRY},
};

int
exit_code_of(int err)
{
	if (err >= 0)
		return err ? EXIT_FAILED : EXIT_OK;
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (map[i].err == err)
			return map[i].code;
	return EXIT_FAILED;
}

int
exit_error_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (!strcmp(err_name(map[i].err), name))
			return map[i].err;
	return -EIO;
}
