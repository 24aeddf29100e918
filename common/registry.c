/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The open volumes by name: an array sorted by name under a mutex.
 *
 * A volume's refs: 0 after volume_open(); 1 while the registry alone holds it.
 * A volume in the table gains references from registry_get() and
 * registry_list(), under the mutex, or from who holds one already; so
 * refs == 1 seen under the mutex stays true until it is given up, and
 * registry_remove() can take the volume out with certainty.
 *
 * Threads: any.  Failure: -ENOMEM leaves the table as it was.
 */
#include "common/registry.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct registry {
	pthread_mutex_t lock;
	struct volume **vols; /* sorted by name */
	size_t n, room;
};

int
registry_new(struct registry **ret)
{
	struct registry *reg = calloc(1, sizeof(*reg));

	if (!reg)
		return -ENOMEM;
	pthread_mutex_init(&reg->lock, NULL);
	*ret = reg;
	return 0;
}

void
registry_free(struct registry *reg)
{
	if (!reg)
		return;
	assert(!reg->n);
	pthread_mutex_destroy(&reg->lock);
	free(reg->vols);
	free(reg);
}

/* Where name stands, or would stand. */
static size_t
find_locked(const struct registry *reg, const char *name, bool *ret_found)
{
	size_t low = 0, high = reg->n;

	*ret_found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(reg->vols[mid]->name, name);

		if (!order) {
			*ret_found = true;
			return mid;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int
grow_locked(struct registry *reg)
{
	size_t room = reg->room ? reg->room * 2 : 16;
	struct volume **vols;

	if (reg->n < reg->room)
		return 0;
	vols = realloc(reg->vols, room * sizeof(*vols));
	if (!vols)
		return -ENOMEM;
	reg->vols = vols;
	reg->room = room;
	return 0;
}

int
registry_add(struct registry *reg, struct volume *vol)
{
	bool found;
	size_t at;
	int r;

	pthread_mutex_lock(&reg->lock);
	at = find_locked(reg, vol->name, &found);
	r = found ? -EEXIST : grow_locked(reg);
	if (!r) {
		memmove(reg->vols + at + 1, reg->vols + at, (reg->n - at) * sizeof(*reg->vols));
		reg->vols[at] = volume_ref(vol);
		reg->n++;
	}
	pthread_mutex_unlock(&reg->lock);
	return r;
}

int
registry_remove(struct registry *reg, const char *name)
{
	bool found;
	size_t at;
	int r = 0;

	pthread_mutex_lock(&reg->lock);
	at = find_locked(reg, name, &found);
	if (!found) {
		r = -ENOENT;
	} else if (atomic_load_explicit(&reg->vols[at]->refs, memory_order_acquire) > 1) {
		r = -EBUSY;
	} else {
		volume_unref(reg->vols[at]);
		reg->n--;
		memmove(reg->vols + at, reg->vols + at + 1, (reg->n - at) * sizeof(*reg->vols));
	}
	pthread_mutex_unlock(&reg->lock);
	return r;
}

struct volume *
registry_get(struct registry *reg, const char *name)
{
	struct volume *vol = NULL;
	bool found;
	size_t at;

	pthread_mutex_lock(&reg->lock);
	at = find_locked(reg, name, &found);
	if (found)
		vol = volume_ref(reg->vols[at]);
	pthread_mutex_unlock(&reg->lock);
	return vol;
}

struct volume *
volume_ref(struct volume *vol)
{
	atomic_fetch_add_explicit(&vol->refs, 1, memory_order_relaxed);
	return vol;
}

void
volume_unref(struct volume *vol)
{
	int refs = atomic_fetch_sub_explicit(&vol->refs, 1, memory_order_acq_rel);

	assert(refs > 0);
}

int
registry_list(struct registry *reg, struct volume ***ret, size_t *ret_n)
{
	struct volume **vols;
	int r = 0;

	pthread_mutex_lock(&reg->lock);
	vols = malloc((reg->n + 1) * sizeof(*vols)); /* never a size of 0 */
	if (!vols) {
		r = -ENOMEM;
	} else {
		for (size_t i = 0; i < reg->n; i++)
			vols[i] = volume_ref(reg->vols[i]);
		*ret = vols;
		*ret_n = reg->n;
	}
	pthread_mutex_unlock(&reg->lock);
	return r;
}
