/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The form of ~/.aws/credentials and ~/.aws/config: [section], name = value, comments with '#' and ';'.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_STORES_OBJECT_S3_INI_H
#define LUNGATE_STORES_OBJECT_S3_INI_H

#include <stdbool.h>
#include <stddef.h>

/** The value of name in [section] or [profile section]; the last one counts.  False when there is none or it
 *  does not fit. */
bool s3_ini_get(const char *text, const char *section, const char *name, char *out, size_t room);

#endif
