/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one error vocabulary: an int, 0 or negative; -errno, or a code of
 * errors.def (-1000 and below).  Data-path functions return numbers alone;
 * configuration, open and admin paths add the words for people in a
 * struct errinfo.  The producer returns, the consumer logs.
 *
 * Each front door maps these codes in one table of its own: sense data in
 * gateway/scsi/sense.c, iSCSI status in gateway/iscsi/status.c, exit codes in
 * gateway/exitcode.c; FUSE errno is err_errno().
 *
 * Threads: any.
 */
#ifndef LUNGATE_COMMON_ERR_H
#define LUNGATE_COMMON_ERR_H

#include <errno.h>
#include <stddef.h>

enum lg_error {
#define ERROR(name, code, class, sys, text) name = (code),
#include "common/errors.def"
#undef ERROR
};

enum err_class {
	ERR_CLASS_NONE,
	ERR_CLASS_RETRY,
	ERR_CLASS_PERMANENT,
	ERR_CLASS_CORRUPT,
	ERR_CLASS_CONFLICT,
	ERR_CLASS_FENCED,
};

#define MUST_CHECK __attribute__((warn_unused_result))

/** What went wrong, in words: what, where, and what to do. */
struct errinfo {
	char text[1024];
};

/** Name ("LG_ECORRUPT", "ENOENT"), for logs and JSON; never NULL, static. */
const char *err_name(int err);

/** One English clause without a full stop; never NULL, static. */
const char *err_text(int err);

enum err_class err_class(int err);

/** The positive errno that a caller which knows errno alone is told; 0 for 0. */
int err_errno(int err);

/** Fill info (may be NULL) and return err, so that "return err_set(...)" reads
 *  as one step. */
int err_set(struct errinfo *info, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** What info says, or where it says nothing the text of err.  info must be all zero, or set. */
const char *err_words(const struct errinfo *info, int err);

/** Put words in front of what info says already ("volume vm1: ..."). */
void err_prefix(struct errinfo *info, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
