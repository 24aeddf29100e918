/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OR_WRITE beside every other kind of writer, at the same blocks: nothing that anybody was told to be written may get lost.
 *
 * Who is there, all at once:
 *   setters   OR one bit after another into ranges of the first half; no bit twice
 *   counters  bytes of the same blocks, each counted up by READ and COMPARE_WRITE, again where it miscompares, as
 *             the mount writes a part of a block
 *   spoilers  OR bits into the second half, and
 *   a writer  writes its blocks whole with a rising number: who reads it next must find that number
 *
 * At the end every bit is set and every count is what was counted.
 *
 * Threads: the caller's, which waits, and some of its own; not on a loop.
 */
#ifndef LUNGATE_TEST_LIB_ORRACE_H
#define LUNGATE_TEST_LIB_ORRACE_H

#include "common/volume.h"

/** The first 64 KiB of the volume must be zeroes, and stay so but for us.  rounds: of each.  0, or -EBADMSG or the status of a
 *  request that failed, with words in text. */
int orrace_run(struct volume *vol, unsigned rounds, char *text, size_t n);

#endif
