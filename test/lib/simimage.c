/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/simimage.h"

#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"

struct simblock {
	unsigned refs;
	uint8_t data[SIM_BLOCK];
};

/* allocated but never written: costs space, reads as zeroes, a hole to SEEK_DATA; not counted, never freed */
static struct simblock unwritten;
/* written with zeroes: most of a disk may be; shared by all, not counted either */
static struct simblock zeroes;

static bool
is_counted(const struct simblock *b)
{
	return b && b != &unwritten && b != &zeroes;
}

uint64_t
sim_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void
block_put(struct simblock *b)
{
	if (is_counted(b) && !--b->refs)
		free(b);
}

static void
simimage_set(struct simimage *im, uint64_t i, struct simblock *b)
{
	if (i >= im->ntab) {
		uint64_t n = max_of(i + 1, im->ntab * 2);

		if (!b)
			return;
		im->tab = sim_must(realloc(im->tab, n * sizeof(*im->tab)));
		memset(im->tab + im->ntab, 0, (n - im->ntab) * sizeof(*im->tab));
		im->ntab = n;
	}
	im->allocated += !!b;
	im->allocated -= !!im->tab[i];
	block_put(im->tab[i]);
	im->tab[i] = b;
}

static struct simblock *
simimage_get(const struct simimage *im, uint64_t i)
{
	return i < im->ntab ? im->tab[i] : NULL;
}

/* the block as one that may be written */
static struct simblock *
simimage_own(struct simimage *im, uint64_t i)
{
	struct simblock *b = simimage_get(im, i), *copy;

	if (is_counted(b) && b->refs == 1)
		return b;
	copy = sim_must(calloc(1, sizeof(*copy)));
	copy->refs = 1;
	if (b && b != &unwritten)
		memcpy(copy->data, b->data, SIM_BLOCK);
	simimage_set(im, i, copy);
	return copy;
}

static void
simimage_write(struct simimage *im, const uint8_t *p, uint64_t n, uint64_t offset)
{
	im->size = max_of(im->size, offset + n);
	while (n) {
		uint64_t in = offset % SIM_BLOCK, k = min_of(n, SIM_BLOCK - in);

		if (k == SIM_BLOCK && memcmp(p, zeroes.data, k) == 0)
			simimage_set(im, offset / SIM_BLOCK, &zeroes);
		else
			memcpy(simimage_own(im, offset / SIM_BLOCK)->data + in, p, k);
		p += k;
		offset += k;
		n -= k;
	}
}

void
simimage_read(const struct simimage *im, uint8_t *p, uint64_t n, uint64_t offset)
{
	while (n) {
		uint64_t in = offset % SIM_BLOCK, k = min_of(n, SIM_BLOCK - in);
		const struct simblock *b = simimage_get(im, offset / SIM_BLOCK);

		if (b)
			memcpy(p, b->data + in, k);
		else
			memset(p, 0, k);
		p += k;
		offset += k;
		n -= k;
	}
}

/* whole blocks become `whole` (NULL or &unwritten), parts of blocks are zeroed */
static void
simimage_zero(struct simimage *im, uint64_t offset, uint64_t end, struct simblock *whole)
{
	if (!whole)
		end = min_of(end, im->ntab * SIM_BLOCK);
	while (offset < end) {
		uint64_t in = offset % SIM_BLOCK, k = min_of(end - offset, SIM_BLOCK - in),
			 i = offset / SIM_BLOCK;
		struct simblock *b = simimage_get(im, i);

		if (k == SIM_BLOCK)
			simimage_set(im, i, whole);
		else if (b && b != &unwritten)
			memset(simimage_own(im, i)->data + in, 0, k);
		else if (!b && whole)
			simimage_set(im, i, whole);
		offset += k;
	}
}

static void
simimage_truncate(struct simimage *im, uint64_t size)
{
	/* what lies behind the end is zero at all times, so growing shows zeroes */
	if (size < im->size)
		simimage_zero(im, size, align_up(im->size, SIM_BLOCK), NULL);
	simimage_zero(im, align_up(size, SIM_BLOCK), UINT64_MAX, NULL);
	im->size = size;
}

static void
simimage_fallocate(struct simimage *im, int mode, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;

	if (mode & FALLOC_FL_PUNCH_HOLE)
		simimage_zero(im, offset, end, NULL);
	else if (mode & FALLOC_FL_ZERO_RANGE)
		simimage_zero(im, offset, end, &unwritten);
	else
		for (uint64_t i = offset / SIM_BLOCK; i * SIM_BLOCK < end; i++)
			if (!simimage_get(im, i))
				simimage_set(im, i, &unwritten);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		im->size = max_of(im->size, end);
}

void
simimage_copy(struct simimage *to, const struct simimage *from)
{
	for (uint64_t i = 0; i < max_of(to->ntab, from->ntab); i++) {
		struct simblock *b = simimage_get(from, i);

		if (is_counted(b))
			b->refs++;
		simimage_set(to, i, b);
	}
	to->size = from->size;
}

void
simimage_clear(struct simimage *im)
{
	for (uint64_t i = 0; i < im->ntab; i++)
		block_put(im->tab[i]);
	free(im->tab);
	*im = (struct simimage){0};
}

void
simimage_apply(struct simimage *im, const struct simchange *c)
{
	switch (c->kind) {
	case SIMCHANGE_WRITE:
		simimage_write(im, c->data, c->length, c->offset);
		break;
	case SIMCHANGE_TRUNCATE:
		simimage_truncate(im, c->offset);
		break;
	case SIMCHANGE_FALLOCATE:
		simimage_fallocate(im, c->mode, c->offset, c->length);
		break;
	}
}

void
simimage_tear(struct simimage *im, const struct simchange *c, uint32_t sector, uint64_t *seed)
{
	uint64_t end = c->offset + c->length;

	for (uint64_t at = c->offset; at < end;) {
		uint64_t stop = min_of(align_down(at, sector) + sector, end);

		if (sim_random(seed) & 1)
			simimage_write(im, c->data + (at - c->offset), stop - at, at);
		at = stop;
	}
}

bool
simimage_allocated(const struct simimage *im, uint64_t block)
{
	return simimage_get(im, block);
}

bool
simimage_has_data(const struct simimage *im, uint64_t block)
{
	const struct simblock *b = simimage_get(im, block);

	return b && b != &unwritten;
}
