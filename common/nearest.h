/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which known word may have been meant by one that is not known.
 *
 * Threads: any (no shared state).
 */
#ifndef LUNGATE_COMMON_NEAREST_H
#define LUNGATE_COMMON_NEAREST_H

#include <stddef.h>

/** Nearest of n words to word, NULL when none is near.  stride: bytes from one `const char *` to the next. */
const char *nearest_word(const char *word, const void *words, size_t n, size_t stride);

#endif
