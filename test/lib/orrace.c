/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/orrace.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "test/lib/simimage.h"
#include "test/lib/volmodel.h"

#define SETTERS 2u
#define COUNTERS 2u
#define SPOILERS 2u
#define ACTORS (SETTERS + COUNTERS + SPOILERS + 1)
#define HALF 32768u
#define SPAN_MAX 3u /* blocks of one OR */
#define COUNTS_AT 0u
#define BITS_AT 64u /* of a block: bits from here on, counts before */

struct race {
	struct volume *vol;
	unsigned rounds;
	pthread_mutex_t lock;
	int status;
	char *text;
	size_t n;
	_Atomic bool over;    /* somebody has failed */
	_Atomic bool written; /* the writer is through: the spoilers stop */
};

struct actor {
	struct race *race;
	unsigned index;
	uint64_t seed;
	void (*run)(struct actor *actor);
	pthread_t thread;
	uint8_t bits[HALF]; /* set in the first half */
	uint32_t counts[HALF / 512];
};

__attribute__((format(printf, 3, 4))) static void
fail(struct race *race, int status, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&race->lock);
	if (!race->status) {
		va_start(ap, fmt);
		(void)vsnprintf(race->text, race->n, fmt, ap);
		va_end(ap);
		race->status = status;
	}
	pthread_mutex_unlock(&race->lock);
	atomic_store(&race->over, true);
}

static bool
io(struct actor *actor, enum vol_op op, uint64_t offset, uint64_t length, void *buf)
{
	int rc = volmodel_io(actor->race->vol, op, 0, offset, length, buf);

	if (rc && rc != LG_EMISCOMPARE)
		fail(actor->race, rc, "%s at %llu: %s", vol_op_name(op), (unsigned long long)offset,
		     err_text(rc));
	return rc == 0;
}

static uint64_t
dice(struct actor *actor, uint64_t below)
{
	return sim_random(&actor->seed) % below;
}

/* Some blocks of a half, from its start or anywhere; the more often the first ones. */
static uint64_t
choose(struct actor *actor, uint64_t *length)
{
	uint32_t bs = actor->race->vol->block_size;
	uint64_t blocks = 1 + dice(actor, SPAN_MAX), room = HALF / bs - blocks;

	*length = blocks * bs;
	return bs * dice(actor, dice(actor, 2) ? 4 : room + 1);
}

/* Bits of one's own: this actor's share of each byte. */
static void
set(struct actor *actor)
{
	uint32_t bs = actor->race->vol->block_size;
	uint8_t data[SPAN_MAX * 4096];

	for (unsigned round = 0; round < actor->race->rounds && !atomic_load(&actor->race->over); round++) {
		uint64_t length, offset = choose(actor, &length);

		memset(data, 0, length);
		for (uint64_t at = 0; at < length; at += bs) {
			uint64_t byte = at + BITS_AT + dice(actor, bs - BITS_AT);

			data[byte] = (uint8_t)(1u << (actor->index + SETTERS * dice(actor, 8 / SETTERS)));
			actor->bits[offset + byte] |= data[byte];
		}
		if (!io(actor, VOL_OR_WRITE, offset, length, data))
			return;
	}
}

static void
count(struct actor *actor)
{
	uint32_t bs = actor->race->vol->block_size;
	uint8_t two[2 * 4096];
	uint64_t length, offset;

	for (unsigned round = 0; round < actor->race->rounds && !atomic_load(&actor->race->over); round++) {
		uint8_t *mine = two + bs + COUNTS_AT + 4 * (size_t)actor->index;

		offset = choose(actor, &length);
		do {
			if (!io(actor, VOL_READ, offset, bs, two))
				return;
			memcpy(two + bs, two, bs);
			put_le32(mine, get_le32(mine) + 1);
		} while (!io(actor, VOL_COMPARE_WRITE, offset, bs, two) && !atomic_load(&actor->race->over));
		actor->counts[offset / bs]++; /* or something has failed, and nobody looks */
	}
}

static void
spoil(struct actor *actor)
{
	uint32_t bs = actor->race->vol->block_size;
	uint8_t data[SPAN_MAX * 4096];

	while (!atomic_load(&actor->race->over) && !atomic_load(&actor->race->written)) {
		uint64_t length, offset = choose(actor, &length);

		memset(data, 0, length);
		for (uint64_t at = 0; at < length; at += bs)
			data[at + BITS_AT + dice(actor, bs - BITS_AT)] = (uint8_t)(1u << dice(actor, 8));
		if (!io(actor, VOL_OR_WRITE, HALF + offset, length, data))
			return;
	}
}

static void
write_whole(struct actor *actor)
{
	uint32_t bs = actor->race->vol->block_size, found;
	uint8_t data[SPAN_MAX * 4096];

	for (uint32_t round = 1; round <= actor->race->rounds && !atomic_load(&actor->race->over); round++) {
		uint64_t length, offset = choose(actor, &length);

		memset(data, 0, length);
		for (uint64_t at = 0; at < length; at += bs)
			put_le32(data + at, round);
		if (!io(actor, VOL_WRITE, HALF + offset, length, data) ||
		    !io(actor, VOL_READ, HALF + offset, length, data))
			return;
		for (uint64_t at = 0; at < length; at += bs) {
			found = get_le32(data + at);
			if (found != round)
				fail(actor->race, -EBADMSG,
				     "block at %llu: write %u was answered, and write %u is there",
				     (unsigned long long)(HALF + offset + at), round, found);
		}
	}
	atomic_store(&actor->race->written, true);
}

static void *
actor_main(void *arg)
{
	struct actor *actor = arg;

	actor->run(actor);
	return NULL;
}

static void
verify(struct race *race, struct actor *actors)
{
	uint8_t *data = sim_must(malloc(HALF));
	uint32_t bs = race->vol->block_size;

	if (!io(&actors[0], VOL_READ, 0, HALF, data))
		goto out;
	for (unsigned a = 0; a < SETTERS; a++)
		for (uint32_t i = 0; i < HALF; i++)
			if ((data[i] & actors[a].bits[i]) != actors[a].bits[i])
				fail(race, -EBADMSG, "byte %u is %02x: setter %u has set %02x", i, data[i], a,
				     actors[a].bits[i]);
	for (unsigned a = SETTERS; a < SETTERS + COUNTERS; a++)
		for (uint32_t b = 0; b < HALF / bs; b++) {
			uint32_t is = get_le32(data + b * bs + COUNTS_AT + 4 * (size_t)actors[a].index);

			if (is != actors[a].counts[b])
				fail(race, -EBADMSG, "block %u: counter %u is at %u and has counted to %u", b,
				     a, is, actors[a].counts[b]);
		}
out:
	free(data);
}

int
orrace_run(struct volume *vol, unsigned rounds, char *text, size_t n)
{
	static void (*const runs[ACTORS])(struct actor * actor) = {set,   set,   count,      count,
								   spoil, spoil, write_whole};
	struct race race = {
		.vol = vol, .rounds = rounds, .lock = PTHREAD_MUTEX_INITIALIZER, .text = text, .n = n};
	struct actor *actors = sim_must(calloc(ACTORS, sizeof(*actors)));

	for (unsigned i = 0; i < ACTORS; i++) {
		actors[i].race = &race;
		actors[i].index = i % 2;
		actors[i].seed = 77 + i;
		actors[i].run = runs[i];
		if (pthread_create(&actors[i].thread, NULL, actor_main, &actors[i]))
			abort();
	}
	for (unsigned i = 0; i < ACTORS; i++)
		(void)pthread_join(actors[i].thread, NULL);
	if (!race.status)
		verify(&race, actors);
	free(actors);
	return race.status;
}
