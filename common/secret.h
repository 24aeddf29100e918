/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Secrets in memory: each on pages of its own that core dumps leave out, and
 * wiped before they are given back.  Shared by references; constant.
 *
 * Threads: any.
 */
#ifndef LUNGATE_COMMON_SECRET_H
#define LUNGATE_COMMON_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define SECRET_MAX 1024

struct secret;

/** A copy of p[0 .. len); NULL: out of memory, or longer than SECRET_MAX. */
struct secret *secret_new(const void *p, size_t len);
struct secret *secret_ref(struct secret *secret);
/** NULL is fine. */
void secret_unref(struct secret *secret);
const uint8_t *secret_bytes(const struct secret *secret);
size_t secret_len(const struct secret *secret);
/** In a time that does not tell where they differ. */
bool secret_equal(const struct secret *a, const struct secret *b);

/** The content of a file without the newline at its end.  Refused, with words: a file that group or others may read or
 *  write, that another user owns, or that is no plain file. */
int secret_read_file(const char *path, struct secret **ret, struct errinfo *info);

/** Overwrite; the compiler does not leave it out. */
void secret_wipe(void *p, size_t n);

#endif
