/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text of one opened file: appended to once, then read.  Small ones lie
 * in memory; one that grows past TEXT_MEMORY goes on in an unlinked temporary
 * file, so that the map of a huge volume costs no memory.
 *
 * Threads: one at a time while it is written; any number may read after text_finish().
 */
#ifndef LUNGATE_FUSE_TEXT_H
#define LUNGATE_FUSE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#define TEXT_MEMORY (1u << 20)

struct text {
	char *mem;         /* all of it, or with a file what is not written to it yet */
	size_t len, cap;
	uint64_t size;
	int fd;            /* -1: in memory */
	int dir;           /* where the file goes */
	int err;           /* the first failure; nothing is appended after */
};

/** dir: descriptor of a directory for the temporary file; -1 = none, then big texts fail with -EFBIG. */
void text_init(struct text *text, int dir);
void text_fini(struct text *text);
void text_append(struct text *text, const void *p, size_t n);
void text_printf(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** 0, or the first failure of all that was appended. */
int text_finish(struct text *text);

#endif
