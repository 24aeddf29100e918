/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults by name.  Compiled in with --enable-failpoints alone (the default of
 * --enable-dev); otherwise every check is the constant 0 and costs nothing.
 *
 * LUNGATE_FAILPOINTS="journal.fsync=skip;dir.put.rename=kill*1@3" arms points at start:
 *   action  err:NAME (return that error), skip (pretend success without doing it),
 *           kill (SIGKILL ourselves here), delay:MS
 *   *N      at most N times        @K  starting with the K-th pass
 *
 * Every name is a row of failpoints.def; an unknown name is an error at start.
 *
 * Threads: any.
 */
#ifndef LUNGATE_COMMON_FAILPOINT_H
#define LUNGATE_COMMON_FAILPOINT_H

#include "common/err.h"

enum failpoint {
#define FAILPOINT(id, name, text) FP_##id,
#include "common/failpoints.def"
#undef FAILPOINT
	FP_COUNT
};

/** The value for "pretend success without doing it". */
#define FAILPOINT_SKIP 1

#ifdef ENABLE_FAILPOINTS
/** 0 = go on; FAILPOINT_SKIP; or the negative error to return. Delay and kill happen inside. */
int failpoint_hit(enum failpoint fp);
#else
static inline int failpoint_hit(enum failpoint fp)
{
	(void)fp;
	return 0;
}
#endif

/** Arm from a specification; 0 or an error with words. -ENOTSUP in builds without them. */
int failpoint_arm(const char *spec, struct errinfo *info);

#endif
