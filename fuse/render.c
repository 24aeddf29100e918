/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuse/render.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/tree.h"

const char render_readme[] =
	"This is a view of a running lungate daemon: its volumes, chunk by chunk, as files.\n"
	"\n"
	"  status.json               the daemon: portals, volumes, what is wrong\n"
	"  metrics                   counters as Prometheus reads them\n"
	"  targets/IQN/              one directory an iSCSI target\n"
	"    lunN                    link to the volume behind LUN N\n"
	"    target.json             how the target is set up\n"
	"    sessions/ID.json        who is logged in\n"
	"  volumes/NAME/             one directory a volume\n"
	"    image                   the whole disk: the same bytes that initiators see, at the same moment\n"
	"    volume.json             identity, size, durability, where it lies\n"
	"    stats.json              counters and latencies\n"
	"    map                     one line a present chunk (tab-separated, with a header line)\n"
	"    chunks/XXXX/INDEX       one file a present chunk: its bytes as they are now.  INDEX is the number of the\n"
	"                            chunk in hexadecimal, XXXX that number divided by 4096.\n"
	"                            `getfattr -d` shows where it lies in the store\n"
	"\n"
	"WHAT MAY BE WRITTEN\n"
	"  Only `image`, and only while nobody else uses the disk in a way that does not expect it: a file system\n"
	"  that is mounted by an initiator must not be mounted here as well.\n"
	"  fsync is a flush of the volume, punching holes (fallocate -p, fstrim on a loop device) is UNMAP, and\n"
	"  SEEK_DATA/SEEK_HOLE tell present chunks from absent ones.  The size of `image` is the size of the volume:\n"
	"  truncation on open is ignored, as on a disk; `lungate volume resize` changes it.\n"
	"\n"
	"    qemu-img convert -n -O raw disk.qcow2 volumes/NAME/image\n"
	"    losetup -f --show volumes/NAME/image\n"
	"    qemu-system-x86_64 -drive file=volumes/NAME/image,format=raw,cache=none\n"
	"\n"
	"WHAT MAY NOT\n"
	"  Everything else is made when it is opened, stays as it is while it is open, and cannot be changed, created,\n"
	"  renamed or removed.  Never edit the objects in the store behind these files either: they are immutable,\n"
	"  checksummed, and named by the volume's map.\n"
	"  Secrets are not shown here.\n";

void
render_json(struct text *text, const json_t *value)
{
	char *s = value ? json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;

	if (!s) {
		text->err = text->err ? text->err : -ENOMEM;
		return;
	}
	text_append(text, s, strlen(s));
	text_append(text, "\n", 1);
	free(s);
}

/* A path may hold any byte; a column may not hold a tab or a line feed. */
static void
append_escaped(struct text *text, const char *s)
{
	const char *p = s;

	for (; *p; p++) {
		if ((unsigned char)*p >= 0x20 && *p != '\\' && *p != 0x7f)
			continue;
		text_append(text, s, (size_t)(p - s));
		text_printf(text, "\\x%02x", (unsigned char)*p);
		s = p + 1;
	}
	text_append(text, s, (size_t)(p - s));
}

void
render_map_header(struct text *text)
{
	text_printf(text, "index\tfile\tstate\toverlays\tdirty\tcached\tallocated\tkey\n");
}

void
render_map_line(struct text *text, const struct chunk_info *info)
{
	char group[TREE_NAME_MAX], chunk[TREE_NAME_MAX];

	tree_name((struct node){NODE_CHUNK_GROUP, 0, (uint32_t)(info->index / TREE_GROUP_CHUNKS)}, group);
	tree_name((struct node){NODE_CHUNK, 0, (uint32_t)info->index}, chunk);
	text_printf(text, "%" PRIu64 "\t%s/%s\t%s\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu64 "\t",
		    info->index, group, chunk, chunk_state_name(info->state), info->overlays,
		    info->dirty_bytes, info->cached_bytes, info->allocated_bytes);
	append_escaped(text, info->key);
	text_append(text, "\n", 1);
}

void
render_target(struct text *text, const json_t *answer)
{
	json_t *target = json_object_get(answer, "target");
	json_t *luns = json_object_get(answer, "luns");
	json_t *all = json_is_object(target) ? json_copy(target) : json_object();

	if (luns && !json_object_get(all, "luns"))
		json_object_set(all, "luns", luns);
	render_json(text, all);
	json_decref(all);
}

json_t *
render_session(const json_t *answer, const char *id, size_t len)
{
	json_t *session;
	size_t i;

	json_array_foreach(json_object_get(answer, "sessions"), i, session)
	{
		const char *s = json_string_value(json_object_get(session, "id"));

		if (s && strlen(s) == len && !memcmp(s, id, len))
			return session;
	}
	return NULL;
}

const char *
render_lun(const json_t *answer, uint32_t lun)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(answer, "luns"), i, entry)
	{
		json_t *number = json_object_get(entry, "lun");

		if (json_is_integer(number) && json_integer_value(number) == (json_int_t)lun)
			return json_string_value(json_object_get(entry, "volume"));
	}
	return NULL;
}

enum field { F_STATE, F_KEY, F_ETAG, F_GENERATION, F_SEQ, F_CRC32C, F_OVERLAYS, F_DIRTY, F_CACHED };

static const struct {
	const char *name;
	enum field field;
} xattrs[] = {
	{"user.lungate.state", F_STATE},       {"user.lungate.key", F_KEY},
	{"user.lungate.etag", F_ETAG},         {"user.lungate.generation", F_GENERATION},
	{"user.lungate.seq", F_SEQ},           {"user.lungate.crc32c", F_CRC32C},
	{"user.lungate.overlays", F_OVERLAYS}, {"user.lungate.dirty", F_DIRTY},
	{"user.lungate.cached", F_CACHED},
};

/* Length, or 0 when the store does not know it. */
static int
xattr_value(const struct chunk_info *info, enum field field, char buf[RENDER_XATTR_MAX])
{
	size_t n = RENDER_XATTR_MAX;

	switch (field) {
	case F_STATE:
		return snprintf(buf, n, "%s", chunk_state_name(info->state));
	case F_KEY:
		return snprintf(buf, n, "%s", info->key);
	case F_ETAG:
		return snprintf(buf, n, "%s", info->etag);
	case F_GENERATION:
		return snprintf(buf, n, "%" PRIu64, info->generation);
	case F_SEQ:
		return snprintf(buf, n, "%" PRIu64, info->seq);
	case F_CRC32C:
		return info->has_crc ? snprintf(buf, n, "%08" PRIx32, info->crc32c) : 0;
	case F_OVERLAYS:
		return snprintf(buf, n, "%" PRIu32, info->overlays);
	case F_DIRTY:
		return snprintf(buf, n, "%" PRIu32, info->dirty_bytes);
	case F_CACHED:
		return snprintf(buf, n, "%" PRIu32, info->cached_bytes);
	}
	return 0;
}

ssize_t
render_xattr(const struct chunk_info *info, const char *name, char buf[RENDER_XATTR_MAX])
{
	for (size_t i = 0; i < ARRAY_SIZE(xattrs); i++) {
		if (!strcmp(xattrs[i].name, name)) {
			int n = xattr_value(info, xattrs[i].field, buf);

			return n > 0 ? n : -ENODATA;
		}
	}
	return -ENODATA;
}

size_t
render_xattr_names(const struct chunk_info *info, char *buf, size_t len)
{
	char value[RENDER_XATTR_MAX];
	size_t need = 0;

	for (size_t i = 0; i < ARRAY_SIZE(xattrs); i++) {
		size_t n = strlen(xattrs[i].name) + 1;

		if (xattr_value(info, xattrs[i].field, value) <= 0)
			continue;
		if (need + n <= len)
			memcpy(buf + need, xattrs[i].name, n);
		need += n;
	}
	return need;
}
