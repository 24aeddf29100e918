/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Purpose: see names.h.  Two chained hash tables over the same entries, by
 * key and by number, of fixed width: there are hundreds of entries, not millions.
 * Invariants: an entry is in both tables or in none; numbers start at 1 and
 * are not used twice, so that a number never comes to mean something else.
 */
#include "fuse/names.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_BUCKETS 1024u

struct names_entry {
	struct names_entry *next_key, *next_number;
	uint32_t parent, number;
	uint64_t looks;
	uint8_t uuid[UUID_LEN];
	char name[];
};

struct names {
	pthread_mutex_t lock;
	uint32_t max, last, count;
	struct names_entry *by_key[NAMES_BUCKETS], *by_number[NAMES_BUCKETS];
};

int
names_new(uint32_t max, struct names **ret)
{
	struct names *names = calloc(1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	pthread_mutex_init(&names->lock, NULL);
	names->max = max;
	*ret = names;
	return 0;
}

void
names_free(struct names *names)
{
	if (!names)
		return;
	for (unsigned i = 0; i < NAMES_BUCKETS; i++) {
		while (names->by_key[i]) {
			struct names_entry *e = names->by_key[i];

			names->by_key[i] = e->next_key;
			free(e);
		}
	}
	pthread_mutex_destroy(&names->lock);
	free(names);
}

static uint32_t
hash(uint32_t parent, const char *name)
{
	uint32_t h = 2166136261u ^ parent;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h % NAMES_BUCKETS;
}

static struct names_entry *
entry_new(struct names *names, uint32_t parent, const char *name, const uint8_t *uuid)
{
	size_t n = strlen(name) + 1;
	struct names_entry *e = calloc(1, sizeof(*e) + n);
	struct names_entry **key = &names->by_key[hash(parent, name)], **number;

	if (!e)
		return NULL;
	e->parent = parent;
	e->number = ++names->last;
	memcpy(e->name, name, n);
	if (uuid)
		memcpy(e->uuid, uuid, UUID_LEN);
	number = &names->by_number[e->number % NAMES_BUCKETS];
	e->next_key = *key;
	*key = e;
	e->next_number = *number;
	*number = e;
	names->count++;
	return e;
}

int
names_intern(struct names *names, uint32_t parent, const char *name, const uint8_t *uuid, bool look,
	     uint32_t *ret)
{
	static const uint8_t none[UUID_LEN];
	struct names_entry *e;
	int rc = 0;

	pthread_mutex_lock(&names->lock);
	for (e = names->by_key[hash(parent, name)]; e; e = e->next_key)
		if (e->parent == parent && !strcmp(e->name, name) &&
		    !memcmp(e->uuid, uuid ? uuid : none, UUID_LEN))
			break;
	if (!e)
		rc = names->last == names->max                    ? -ENOSPC
		     : (e = entry_new(names, parent, name, uuid)) ? 0
								  : -ENOMEM;
	if (e) {
		*ret = e->number;
		e->looks += look;
	}
	pthread_mutex_unlock(&names->lock);
	return rc;
}

static struct names_entry *
find(struct names *names, uint32_t number)
{
	struct names_entry *e = names->by_number[number % NAMES_BUCKETS];

	while (e && e->number != number)
		e = e->next_number;
	return e;
}

char *
names_get(struct names *names, uint32_t number, uint8_t uuid[UUID_LEN])
{
	struct names_entry *e;
	char *name = NULL;

	pthread_mutex_lock(&names->lock);
	e = find(names, number);
	if (e) {
		name = strdup(e->name);
		if (uuid)
			memcpy(uuid, e->uuid, UUID_LEN);
	}
	pthread_mutex_unlock(&names->lock);
	return name;
}

void
names_forget(struct names *names, uint32_t number, uint64_t n)
{
	struct names_entry *e, **p;

	pthread_mutex_lock(&names->lock);
	e = find(names, number);
	if (e) {
		e->looks -= min_of(n, e->looks);
		if (!e->looks) {
			for (p = &names->by_key[hash(e->parent, e->name)]; *p != e; p = &(*p)->next_key)
				;
			*p = e->next_key;
			for (p = &names->by_number[number % NAMES_BUCKETS]; *p != e; p = &(*p)->next_number)
				;
			*p = e->next_number;
			names->count--;
			free(e);
		}
	}
	pthread_mutex_unlock(&names->lock);
}

uint32_t
names_count(struct names *names)
{
	uint32_t n;

	pthread_mutex_lock(&names->lock);
	n = names->count;
	pthread_mutex_unlock(&names->lock);
	return n;
}
