/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the mount say: texts made of values.
 *
 * Threads: any (pure).
 */
#ifndef LUNGATE_FUSE_RENDER_H
#define LUNGATE_FUSE_RENDER_H

#include <jansson.h>
#include <sys/types.h>

#include "common/volume.h"
#include "fuse/text.h"

extern const char render_readme[];

void render_json(struct text *text, const json_t *value);
void render_map_header(struct text *text);
void render_map_line(struct text *text, const struct chunk_info *info);

/** target.json: what the provider says of the target, with its LUNs. */
void render_target(struct text *text, const json_t *answer);
/** One session of the provider's answer by its ID, borrowed, or NULL. */
json_t *render_session(const json_t *answer, const char *id, size_t len);
/** The name of the volume behind a LUN, borrowed, or NULL. */
const char *render_lun(const json_t *answer, uint32_t lun);

#define RENDER_XATTR_MAX 256
/** The value of one extended attribute of a chunk (no NUL counts): its length, or -ENODATA. */
ssize_t render_xattr(const struct chunk_info *info, const char *name, char buf[RENDER_XATTR_MAX]);
/** The names that render_xattr() would answer, each with its NUL, into buf of len: bytes needed. */
size_t render_xattr_names(const struct chunk_info *info, char *buf, size_t len);

#endif
