/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: open files and directories.  The kernel holds a handle's address
 * from the answer to open until it sends release; requests on a file end
 * before its release is sent, so a handle's volume is referenced for as long as
 * requests use it.
 */
#include "fuse/internal.h"

#include <stdlib.h>
#include <string.h>

struct handle *
handle_new(struct mount *mount, struct node node, struct volume *vol)
{
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle) {
		if (vol)
			volume_unref(vol);
		return NULL;
	}
	handle->mount = mount;
	handle->refs = 1;
	handle->node = node;
	handle->vol = vol;
	text_init(&handle->text, mount->temp_dir);
	pthread_mutex_lock(&mount->lock);
	handle->next = mount->handles;
	if (handle->next)
		handle->next->prev = handle;
	mount->handles = handle;
	pthread_mutex_unlock(&mount->lock);
	return handle;
}

void
handle_put(struct handle *handle)
{
	struct mount *mount = handle->mount;

	if (atomic_fetch_sub_explicit(&handle->refs, 1, memory_order_acq_rel) > 1)
		return;

	pthread_mutex_lock(&mount->lock);
	if (handle->next)
		handle->next->prev = handle->prev;
	if (handle->prev)
		handle->prev->next = handle->next;
	else
		mount->handles = handle->next;
	pthread_mutex_unlock(&mount->lock);
	if (handle->vol)
		volume_unref(handle->vol);
	text_fini(&handle->text);
	listing_clear(&handle->listing);
	free(handle);
}

void
handle_put_all(struct mount *mount)
{
	while (mount->handles)
		handle_put(mount->handles);
}

int
listing_add(struct listing *listing, const char *name, uint64_t ino, mode_t mode)
{
	if (listing->n == listing->room) {
		size_t room = listing->room ? listing->room * 2 : 16;
		struct listing_entry *entries = realloc(listing->entries, room * sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		listing->entries = entries;
		listing->room = room;
	}
	name = strdup(name);
	if (!name)
		return -ENOMEM;
	listing->entries[listing->n++] = (struct listing_entry){(char *)name, ino, mode};
	return 0;
}

void
listing_clear(struct listing *listing)
{
	for (size_t i = 0; i < listing->n; i++)
		free(listing->entries[i].name);
	free(listing->entries);
	*listing = (struct listing){0};
}
