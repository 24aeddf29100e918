/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two ways to hurt a journal.  First byte even: the rest is a page for the decoders; what is
 * taken must come back the same when it is encoded again.  Odd: the rest is a list of changes
 * to the files of a real journal, which is then opened: whatever the verdict, nothing
 * breaks, and what was opened can be used.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "stores/chunked/journal_fmt.h"
#include "test/fuzz/fuzz.h"
#include "test/lib/journalrig.h"
#include "test/lib/simfs.h"

static void
try_page(const uint8_t *data, size_t size, bool fix)
{
	static uint8_t page[JOURNAL_PAGE], again[JOURNAL_PAGE];
	struct journal_segment seg;
	struct journal_record rec;

	memset(page, 0, sizeof(page));
	memcpy(page, data, min_of(size, sizeof(page)));
	if (fix)
		put_le32(page + 4092, crc32c(0, page, 4092));
	if (journal_segment_decode(page, &seg) == 0) {
		journal_segment_encode(&seg, again);
		assert(memcmp(page, again, sizeof(page)) == 0);
	}
	if (fix)
		put_le32(page + 20, crc32c(crc32c(0, page, 20), page + 24, JOURNAL_PAGE - 24));
	if (journal_record_decode(page, &rec) == 0) {
		journal_record_begin(again);
		for (unsigned i = 0; i < rec.entries; i++) {
			struct journal_entry e;

			journal_entry_decode(page, i, &e);
			journal_entry_encode(again, i, &e);
		}
		journal_record_encode(&rec, again);
		assert(memcmp(page, again, sizeof(page)) == 0);
	}
}

/** One change: file 1, page 2, offset in the page 2, value 1; the file's top bit: make the page's CRC right
 * after it. */
#define CHANGE 6u

static void
change(struct vfs *vfs, const uint8_t *p)
{
	static uint8_t page[JOURNAL_PAGE] __attribute__((aligned(4096)));
	char path[64];
	struct vfs_file *file;
	uint64_t at = (uint64_t)(get_le16(p + 1) % (RIG_SEGMENT / JOURNAL_PAGE)) * JOURNAL_PAGE;

	if ((p[0] & 7) == 7)
		(void)snprintf(path, sizeof(path), "/j/manifest");
	else
		(void)snprintf(path, sizeof(path), "/j/%016x.journal", p[0] & 3u);
	if ((p[0] & 7) == 7)
		at = 0;
	if (vfs->ops->open(vfs, path, O_RDWR, 0, &file) != 0)
		return;
	if (p[0] & 0x20) {
		(void)vfs->ops->truncate(file, at + get_le16(p + 3) % JOURNAL_PAGE);
	} else if (vfs_read_full(file, page, sizeof(page), at) == 0) {
		page[get_le16(p + 3) % JOURNAL_PAGE] = p[5];
		if (p[0] & 0x80) {
			if (memcmp(page, "LJR1", 4) == 0)
				put_le32(page + 20,
					 crc32c(crc32c(0, page, 20), page + 24, JOURNAL_PAGE - 24));
			else
				put_le32(page + 4092, crc32c(0, page, 4092));
		}
		(void)vfs_write_full(file, page, sizeof(page), at);
	}
	vfs->ops->close(file);
}

/* A journal to begin with: it is made once, each input changes a copy. */
struct base {
	struct simfs *fs;
	uint64_t generation, covered_seq, seed;
};

static struct base bases[8];
static struct rig rig;
static uint32_t outcome;

uint32_t
fuzz_outcome(void)
{
	return outcome;
}

static void
stop(void)
{
	rig_fini(&rig);
	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
		simfs_free(bases[i].fs);
}

/* The loop, its threads and the arena are there from the first input to the last. */
static void
use(struct simfs *fs, uint64_t generation, uint64_t covered_seq)
{
	if (!rig.loop) {
		rig_init(&rig, simfs_vfs(fs), "/j");
		(void)atexit(stop);
	}
	rig.vfs = simfs_vfs(fs);
	rig.generation = generation;
	rig.covered_seq = covered_seq;
	rig.accept_loss = false;
	rig_forget(&rig);
}

static const struct base *
get_base(unsigned mode)
{
	struct base *base = &bases[mode >> 4 & 7];

	if (base->fs)
		return base;
	base->fs = simfs_new();
	base->seed = mode & 0x30;
	use(base->fs, 0, 0);
	int rc = rig_open(&rig, true, NULL);
	assert(rc == 0);
	for (unsigned i = 0; i < 12; i++) {
		rig_append(&rig, &base->seed, i == 5 ? 200 : 5);
		rig_wait(&rig);
	}
	rig_wait_quiet(&rig);
	if (mode & 0x40)
		rig_release(&rig, 30);
	rig_close(&rig, false);
	base->generation = rig.generation;
	base->covered_seq = rig.covered_seq;
	return base;
}

static void
note(uint64_t n)
{
	uint8_t bytes[8];

	put_le64(bytes, n);
	outcome = crc32c(outcome, bytes, sizeof(bytes));
}

static void
try_replay(const uint8_t *data, size_t size, unsigned mode)
{
	const struct base *base = get_base(mode);
	struct simfs *fs = simfs_copy(base->fs, "/j");
	uint64_t seed = base->seed;

	use(fs, base->generation, base->covered_seq);
	for (size_t at = 0; at + CHANGE <= size && at < 64 * CHANGE; at += CHANGE)
		change(rig.vfs, data + at);
	rig.accept_loss = (mode & 0x80) != 0;
	int rc = rig_open(&rig, false, NULL);
	note((uint64_t)(int64_t)rc);
	if (rc == 0) {
		const char *wrong = rig_read_all(&rig, true);

		note(wrong != NULL);
		note(rig.ngot);
		note(rig.nlost);
		note(rig.recovery.last_seq);
		note(rig.recovery.torn_bytes);
		if (rig_room(&rig) >= 8 * PAGE_SIZE_BYTES) {
			rig_append(&rig, &seed, 8);
			rig_wait(&rig);
			assert(rig.acked > 0);
		}
		rig_close(&rig, false);
	} else {
		assert(rc < 0 && rig.info.text[0]);
	}
	rig_forget(&rig);
	simfs_free(fs);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	log_threshold = LOG_LEVEL_ERROR;
	outcome = 0;
	if (data[0] & 1)
		try_replay(data + 1, size - 1, data[0]);
	else
		try_page(data + 1, size - 1, (data[0] & 2) != 0);
	return 0;
}
