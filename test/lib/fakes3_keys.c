/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/fakes3_keys.h"

#include <string.h>

#define CREDENTIAL "Credential="

static void
add(struct fakes3_keys *keys, const char *access, size_t naccess, const char *secret)
{
	for (unsigned i = 0; i < FAKES3_KEYS_MAX; i++) {
		struct fakes3_key *key = &keys->keys[i];

		if (key->access[0])
			continue;
		(void)snprintf(key->access, sizeof(key->access), "%.*s", (int)naccess, access);
		(void)snprintf(key->secret, sizeof(key->secret), "%s", secret);
		key->used = 0;
		break;
	}
}

void
fakes3_keys_init(struct fakes3_keys *keys, const char *access, const char *secret)
{
	memset(keys, 0, sizeof(*keys));
	pthread_mutex_init(&keys->lock, NULL);
	add(keys, access, strlen(access), secret);
}

void
fakes3_keys_add(struct fakes3_keys *keys, const char *pair)
{
	size_t n = strcspn(pair, ":");

	pthread_mutex_lock(&keys->lock);
	if (pair[n])
		add(keys, pair, n, pair + n + 1);
	pthread_mutex_unlock(&keys->lock);
}

void
fakes3_keys_drop(struct fakes3_keys *keys, const char *access)
{
	pthread_mutex_lock(&keys->lock);
	for (unsigned i = 0; i < FAKES3_KEYS_MAX; i++)
		if (!strcmp(keys->keys[i].access, access))
			memset(&keys->keys[i], 0, sizeof(keys->keys[i]));
	pthread_mutex_unlock(&keys->lock);
}

void
fakes3_keys_find(struct fakes3_keys *keys, const char *authorization, const char *hash,
		 struct fakes3_key *ret)
{
	const char *p = authorization ? strstr(authorization, CREDENTIAL) : NULL;
	size_t n;

	memset(ret, 0, sizeof(*ret));
	if (!p)
		return;
	p += strlen(CREDENTIAL);
	n = strcspn(p, "/,");
	pthread_mutex_lock(&keys->lock);
	keys->unsigned_bodies += hash && !strcmp(hash, "UNSIGNED-PAYLOAD");
	for (unsigned i = 0; i < FAKES3_KEYS_MAX; i++) {
		struct fakes3_key *key = &keys->keys[i];

		if (!n || strlen(key->access) != n || strncmp(key->access, p, n) != 0)
			continue;
		key->used++;
		*ret = *key;
	}
	pthread_mutex_unlock(&keys->lock);
}

void
fakes3_keys_print(struct fakes3_keys *keys, FILE *out)
{
	pthread_mutex_lock(&keys->lock);
	for (unsigned i = 0; i < FAKES3_KEYS_MAX; i++)
		if (keys->keys[i].access[0])
			fprintf(out, "key:%s=%llu\n", keys->keys[i].access,
				(unsigned long long)keys->keys[i].used);
	fprintf(out, "unsigned=%llu\n", (unsigned long long)keys->unsigned_bodies);
	pthread_mutex_unlock(&keys->lock);
}
