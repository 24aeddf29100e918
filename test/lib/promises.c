/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/promises.h"

#include <stdio.h>
#include <string.h>

#include "common/bytes.h"

#define MAGIC 0x4b494c4c

void
promise_stamp(unsigned char *p, unsigned lun, uint32_t lba, uint32_t number)
{
	for (unsigned at = 0; at < PROMISE_BLOCK; at += 64) {
		memset(p + at, (int)(number + at), 64);
		put_le32(p + at, MAGIC);
		put_le32(p + at + 4, lun);
		put_le32(p + at + 8, lba);
		put_le32(p + at + 12, number);
	}
}

bool
promise_holds(const unsigned char *p, unsigned lun, uint32_t lba, const struct promise_version *v)
{
	static const unsigned char zeroes[PROMISE_BLOCK];
	unsigned char want[PROMISE_BLOCK];

	if (v->kind == PROMISE_ZERO)
		return memcmp(p, zeroes, PROMISE_BLOCK) == 0;
	promise_stamp(want, lun, v->copied ? v->lba : lba, v->copied ? v->as : v->number);
	return memcmp(p, want, PROMISE_BLOCK) == 0;
}

void
promise_init(struct promise *blocks, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		blocks[i] = (struct promise){.since = {{.kind = PROMISE_ZERO}}, .n = 1};
}

bool
promise_usable(const struct promise *blocks, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (blocks[i].busy || blocks[i].n == PROMISE_HISTORY)
			return false;
	return true;
}

void
promise_send(struct promise *block, enum promise_kind kind)
{
	block->since[block->n] =
		(struct promise_version){.number = promise_newest(block)->number + 1, .kind = kind};
	block->n++;
	block->busy = true;
}

void
promise_copy(struct promise *block, const struct promise *from, uint32_t lba)
{
	const struct promise_version *v = promise_newest(from);

	promise_send(block, v->kind);
	block->since[block->n - 1].copied = true;
	block->since[block->n - 1].lba = v->copied ? v->lba : lba;
	block->since[block->n - 1].as = v->copied ? v->as : v->number;
}

void
promise_raise(struct promise *block, unsigned at)
{
	block->n -= at;
	memmove(block->since, block->since + at, block->n * sizeof(block->since[0]));
}

bool
promise_read(const struct promise *block, unsigned lun, uint32_t lba, const unsigned char *p)
{
	for (unsigned i = block->unsure ? 0 : block->n - 1; i < block->n; i++)
		if (promise_holds(p, lun, lba, &block->since[i]))
			return true;
	return false;
}

bool
promise_settle(struct promise *block, unsigned lun, uint32_t lba, const unsigned char *p)
{
	bool found = false;

	for (unsigned i = 0; i < block->n && !found; i++) {
		found = promise_holds(p, lun, lba, &block->since[i]);
		if (found)
			promise_raise(block, i);
	}
	if (!found)
		promise_complain(block, lun, lba, p);
	block->n = 1;
	block->busy = block->unsure = false;
	return found;
}

void
promise_complain(const struct promise *block, unsigned lun, uint32_t lba, const unsigned char *p)
{
	static unsigned shown;

	if (++shown > 10)
		return;
	printf("LUN %u LBA %u: promised version %u (%s), sent up to %u; found magic %08x lun %u lba %u version %u "
	       "... last %08x lba %u version %u\n",
	       lun, lba, block->since[0].number, block->since[0].kind == PROMISE_ZERO ? "zeroes" : "data",
	       promise_newest(block)->number, get_le32(p), get_le32(p + 4), get_le32(p + 8), get_le32(p + 12),
	       get_le32(p + PROMISE_BLOCK - 64), get_le32(p + PROMISE_BLOCK - 56),
	       get_le32(p + PROMISE_BLOCK - 52));
}
