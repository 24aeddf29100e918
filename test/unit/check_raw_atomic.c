/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Atomic writes of raw volumes: what a crash at any step leaves, what others see meanwhile, and what becomes of the
 * slot beside the file.
 *
 * The crash: some writers, each with a region of its own, make one write after another there, atomic ones and plain ones
 * that lie across them, on a disk that is cut at its first change, in the next life at its second, and so on; and
 * once more while the volume recovers.  A region is then what its answered writes made of it, and of the one under
 * way all or nothing when it was atomic.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/log.h"
#include "test/lib/rawrig.h"
#include "test/lib/simimage.h"
#include "test/lib/volmodel.h"

#define SLOT IMAGE ".atomic"
#define WRITERS 3u /* at most */
#define REGION (96u << 10)
#define WRITES 24u /* in one life, of all of them */

static const struct vfs_ops *sim_ops;
static struct vfs_ops ops; /* of the disk, where a test has something to change */

/* ---- fixture ---- */

static void
setup(void)
{
	log_threshold = LOG_LEVEL_ERROR - 1;
	rawrig_start();
	sim_ops = simfs_vfs(fs)->ops;
	ops = *sim_ops;
}

static void
close_volume(void)
{
	(void)volume_close(vol);
	vol = NULL;
}

static void
teardown(void)
{
	if (vol)
		close_volume();
	rawrig_stop();
}

static bool
exists(const char *path)
{
	struct vfs_stat st;

	return sim_ops->stat(simfs_vfs(fs), path, &st) == 0;
}

static int
io(enum vol_op op, uint32_t flags, uint64_t offset, uint64_t length, void *buf)
{
	return volmodel_io(vol, op, flags, offset, length, buf);
}

static void
put_number(uint8_t *p, uint32_t length, uint32_t number)
{
	for (uint32_t at = 0; at < length; at += 4)
		put_le32(p + at, number);
}

/* The number that all of it has, or UINT32_MAX. */
static uint32_t
get_number(const uint8_t *p, uint32_t length)
{
	return memcmp(p, p + 4, length - 4) ? UINT32_MAX : get_le32(p);
}

/* ---- a crash at every step ---- */

struct writer {
	uint64_t seed;
	uint64_t base; /* of its region */
	pthread_t thread;
	uint32_t number;
	uint8_t sure[REGION]; /* what the answered ones made of it */
	/* the one that was not answered */
	bool asked, atomic;
	uint32_t offset, length;
	uint8_t data[REGION];
};

static struct writer writers[WRITERS];
static unsigned nwriters;
static uint32_t flag; /* what makes a write atomic */

static void *
writer_run(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < WRITES / nwriters; i++) {
		uint32_t blocks = 1 + (uint32_t)(sim_random(&w->seed) % (REGION / 512));

		w->length = blocks * 512;
		w->offset = (uint32_t)(sim_random(&w->seed) % (REGION / 512 - blocks + 1)) * 512;
		w->atomic = sim_random(&w->seed) % 3;
		w->asked = true;
		put_number(w->data, w->length, ++w->number);
		if (io(VOL_WRITE, w->atomic ? flag : VOL_FUA, w->base + w->offset, w->length, w->data))
			return NULL;
		memcpy(w->sure + w->offset, w->data, w->length);
		w->asked = false;
	}
	return NULL;
}

/* Whole: each sector of a plain write is there or not, an atomic write all or nothing. */
static bool
is_right(const struct writer *w, const uint8_t *is)
{
	bool there = w->asked && !memcmp(is + w->offset, w->data, w->length);

	for (uint32_t at = 0; at < REGION; at += 512) {
		bool in = w->asked && at >= w->offset && at < w->offset + w->length;
		bool old = !memcmp(is + at, w->sure + at, 512);

		if (in && (w->atomic ? there : !memcmp(is + at, w->data + (at - w->offset), 512)))
			continue;
		if (!old)
			return false;
	}
	return true;
}

/* True: all are as they must be; what is found is what is expected from then on. */
static bool
look(void)
{
	uint8_t *is = sim_must(malloc(REGION));
	bool good = true;

	for (unsigned i = 0; i < nwriters; i++) {
		struct writer *w = &writers[i];

		ck_assert_int_eq(io(VOL_READ, 0, w->base, REGION, is), 0);
		good &= is_right(w, is);
		memcpy(w->sure, is, REGION);
		w->asked = false;
	}
	free(is);
	return good;
}

/* One life that ends at this change of the disk.  False: it was over before. */
static bool
one_life(unsigned step, bool *good)
{
	struct errinfo info = {0};
	bool cut;

	open_sim(512, true);
	simfs_cut_after(fs, step);
	for (unsigned i = 0; i < nwriters; i++)
		ck_assert_int_eq(pthread_create(&writers[i].thread, NULL, writer_run, &writers[i]), 0);
	for (unsigned i = 0; i < nwriters; i++)
		ck_assert_int_eq(pthread_join(writers[i].thread, NULL), 0);
	cut = simfs_is_off(fs);
	simfs_power_off(fs);
	close_volume();
	simfs_power_cut(fs, step);
	/* and while it recovers */
	simfs_cut_after(fs, 1 + step % 5);
	if (!try_open(512, true, false, &info))
		close_volume();
	simfs_power_off(fs);
	simfs_power_cut(fs, step + 1000);
	open_sim(512, true);
	*good = look();
	close_volume();
	return cut;
}

static void
start_writers(uint32_t sector, unsigned n)
{
	nwriters = n;
	make_file(IMAGE, 4 * MIB, "");
	simfs_set_sector(fs, sector);
	flag = VOL_ATOMIC;
	memset(writers, 0, sizeof(writers));
	for (unsigned i = 0; i < nwriters; i++) {
		writers[i].seed = 99 + i;
		/* apart, and not at the beginning of a disk block */
		writers[i].base = i * MIB + 512;
	}
}

/* disk blocks as the volume's, and larger ones; one alone leaves what it wrote in the slot while it writes without */
START_TEST(test_crash)
{
	unsigned step = 1;
	bool good;

	start_writers(_i & 1 ? 4096 : 512, _i & 2 ? 1 : WRITERS);
	while (one_life(step, &good)) {
		ck_assert_msg(good, "step %u", step);
		step++;
	}
	ck_assert(good);
	ck_assert_uint_gt(step, WRITES);
}
END_TEST

/* plain writes, and a disk that does not sync, are found out */
START_TEST(test_crash_detects)
{
	unsigned bad = 0;
	bool good;

	start_writers(512, WRITERS);
	if (_i)
		ops.fsync = simfs_pretend_fsync;
	else
		flag = VOL_FUA;
	simfs_vfs(fs)->ops = &ops;
	for (unsigned step = 1; step < 40; step++) {
		(void)one_life(step, &good);
		bad += !good;
	}
	ck_assert_uint_gt(bad, 0);
}
END_TEST

/* ---- what others see meanwhile ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;
static enum { GATE_UNUSED, GATE_HALF, GATE_OPEN } gate;
static uint64_t gate_from;

static void
gate_set(int to)
{
	pthread_mutex_lock(&gate_lock);
	gate = to;
	pthread_cond_broadcast(&gate_cond);
	pthread_mutex_unlock(&gate_lock);
}

static void
gate_wait(int for_what)
{
	pthread_mutex_lock(&gate_lock);
	while ((int)gate != for_what)
		pthread_cond_wait(&gate_cond, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
}

/* The write to the file at gate_from stops when half of it is there. */
static int64_t
pwritev_halves(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	struct iovec half = {iov[0].iov_base, iov[0].iov_len / 2 / 512 * 512};

	if (offset == gate_from && file->direct) {
		if (half.iov_len == 0)
			half.iov_len = iov[0].iov_len;
		ck_assert_int_eq(sim_ops->pwritev(file, &half, 1, offset), half.iov_len);
		gate_set(GATE_HALF);
		gate_wait(GATE_OPEN);
	}
	return sim_ops->pwritev(file, iov, niov, offset);
}

struct asked {
	struct vol_req req;
	struct page *pages[32];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void
asked_done(struct vol_req *req)
{
	struct asked *a = container_of(req, struct asked, req);

	pthread_mutex_lock(&a->lock);
	a->done = true;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->lock);
}

static void
ask(struct asked *a, enum vol_op op, uint32_t flags, uint64_t offset, uint64_t length)
{
	*a = (struct asked){.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	a->req = (struct vol_req){.vol = vol,
				  .op = op,
				  .flags = flags,
				  .offset = offset,
				  .length = length,
				  .pages = a->pages,
				  .npages = volume_pages(offset, length),
				  .done = asked_done};
	if (op == VOL_WRITE) {
		ck_assert_int_eq(arena_alloc(arena, a->pages, a->req.npages), 0);
		for (unsigned i = 0; i < a->req.npages; i++)
			memset(a->pages[i]->data, 2, PAGE_SIZE_BYTES);
	}
	volume_submit(&a->req);
}

static bool
is_done(struct asked *a)
{
	bool done;

	pthread_mutex_lock(&a->lock);
	done = a->done;
	pthread_mutex_unlock(&a->lock);
	return done;
}

static void
await(struct asked *a)
{
	pthread_mutex_lock(&a->lock);
	while (!a->done)
		pthread_cond_wait(&a->cond, &a->lock);
	pthread_mutex_unlock(&a->lock);
	ck_assert_int_eq(a->req.status, 0);
}

static int
nothing(void *arg)
{
	(void)arg;
	return 0;
}

static uint8_t
byte_of(struct asked *a, uint64_t at)
{
	return a->pages[(at >> PAGE_SHIFT) - (a->req.offset >> PAGE_SHIFT)]->data[at % PAGE_SIZE_BYTES];
}

/* A reader in the middle of a plain write sees a half, one in the middle of an atomic write waits for all of it; a writer
 * waits, too, and comes out on top. */
START_TEST(test_seen_whole)
{
	static struct asked write, read, above;
	static uint8_t buf[64 << 10];
	bool atomic = _i;
	uint64_t from = 3 * 512, end = from + (64 << 10);

	make_file(IMAGE, MIB, "");
	ops.pwritev = pwritev_halves;
	simfs_vfs(fs)->ops = &ops;
	gate_from = UINT64_MAX;
	open_sim(512, true);
	memset(buf, 1, sizeof(buf));
	ck_assert_int_eq(io(VOL_WRITE, 0, from, end - from, buf), 0);
	gate_from = from;
	ask(&write, VOL_WRITE, atomic ? VOL_ATOMIC : 0, from, end - from);
	gate_wait(GATE_HALF);
	ask(&read, VOL_READ, 0, from, end - from);
	if (!atomic) {
		await(&read);
		ck_assert_uint_eq(byte_of(&read, from), 2);
		ck_assert_uint_eq(byte_of(&read, end - 1), 1);
	} else {
		ask(&above, VOL_WRITE, 0, end - 512, 4096);
		/* they have come to the volume */
		ck_assert_int_eq(loop_call(loop, nothing, NULL), 0);
		ck_assert(!is_done(&read) && !is_done(&above));
		/* elsewhere nobody waits */
		ck_assert_int_eq(io(VOL_READ, 0, 512 << 10, 4096, buf), 0);
		ck_assert(!is_done(&read) && !is_done(&above));
	}
	gate_set(GATE_OPEN);
	await(&write);
	if (atomic) {
		await(&read);
		await(&above);
		for (uint64_t at = from; at < end; at++)
			ck_assert_uint_eq(byte_of(&read, at), 2);
		pages_unref(above.pages, above.req.npages);
	}
	pages_unref(read.pages, read.req.npages);
	pages_unref(write.pages, write.req.npages);
	gate_from = UINT64_MAX;
	gate_set(GATE_UNUSED);
}
END_TEST

struct racer {
	pthread_t thread;
	uint32_t first;
	bool reads;
	_Atomic bool *over, *torn;
};

#define RACE_BYTES (40u << 10)

static void *
race(void *arg)
{
	struct racer *r = arg;
	uint8_t *buf = sim_must(malloc(RACE_BYTES));

	for (uint32_t i = 0; i < 60 && !atomic_load(r->over); i++) {
		put_number(buf, RACE_BYTES, r->first + i);
		if (io(r->reads ? VOL_READ : VOL_WRITE, r->reads ? 0 : VOL_ATOMIC, 512, RACE_BYTES, buf) ||
		    (r->reads && get_number(buf, RACE_BYTES) == UINT32_MAX)) {
			atomic_store(r->torn, true);
			atomic_store(r->over, true);
		}
	}
	free(buf);
	return NULL;
}

/* A real file, two writers and two readers of the same blocks. */
START_TEST(test_race)
{
	char folder[] = "/tmp/check_raw_atomic-XXXXXX", path[64], store[80], slot[80];
	struct volume_spec spec = {.name = "v", .store = store, .size = MIB};
	struct racer racers[4];
	_Atomic bool over = false, torn = false;
	struct errinfo info = {0};

	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/image", folder);
	(void)snprintf(store, sizeof(store), "file:%s", path);
	(void)snprintf(slot, sizeof(slot), "%s.atomic", path);
	ck_assert_msg(!volume_create(&spec, loop, arena, &info), "%s", info.text);
	ck_assert_msg(!volume_open(&spec, loop, arena, &vol, &info), "%s", info.text);
	ck_assert_uint_eq(vol->atomic_max_bytes, MIB);
	for (unsigned i = 0; i < 4; i++) {
		racers[i] = (struct racer){.first = i << 16, .reads = i & 1, .over = &over, .torn = &torn};
		ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(racers[i].thread, NULL), 0);
	ck_assert(!torn);
	ck_assert_int_eq(access(slot, F_OK), 0);
	close_volume();
	ck_assert_int_ne(access(slot, F_OK), 0);
	/* a new file has nothing to do with what was left of an old one; deleting takes both */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(close(open(slot, O_RDWR | O_CREAT, 0600)), 0);
	ck_assert_int_eq(volume_create(&spec, loop, arena, NULL), 0);
	ck_assert_int_ne(access(slot, F_OK), 0);
	ck_assert_int_eq(close(open(slot, O_RDWR | O_CREAT, 0600)), 0);
	ck_assert_int_eq(volume_delete(&spec, loop, true, NULL, NULL, NULL), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

/* ---- the slot ---- */

static uint64_t bad_write;

static int64_t
pwritev_bad(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset)
{
	return offset == bad_write ? -EIO : sim_ops->pwritev(file, iov, niov, offset);
}

/* A write that got as far as the slot, and no further. */
static void
leave_entry(uint8_t *buf)
{
	make_file(IMAGE, MIB, "");
	ops.pwritev = pwritev_bad;
	simfs_vfs(fs)->ops = &ops;
	bad_write = 65536;
	open_sim(512, true);
	memset(buf, 1, 8192);
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 65536, 8192, buf), LG_EPOISONED);
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 0, 8192, buf), LG_EPOISONED);
	close_volume();
	bad_write = UINT64_MAX;
	ck_assert(exists(SLOT));
}

START_TEST(test_finished)
{
	struct errinfo info = {0};
	uint8_t buf[8192];

	leave_entry(buf);
	/* who may not write cannot finish it, and does not show a part of it */
	ck_assert_int_eq(try_open(512, true, true, &info), -EROFS);
	ck_assert_msg(strstr(info.text, "once for writing"), "%s", info.text);
	open_sim(512, true);
	memset(buf, 9, sizeof(buf));
	ck_assert_int_eq(io(VOL_READ, 0, 65536, 8192, buf), 0);
	ck_assert_uint_eq(get_number(buf, 8192), 0x01010101);
	/* once: what is written later stays */
	memset(buf, 3, sizeof(buf));
	ck_assert_int_eq(io(VOL_WRITE, VOL_FUA, 65536, 8192, buf), 0);
	simfs_power_off(fs);
	close_volume();
	simfs_power_cut(fs, 1);
	ck_assert_int_eq(try_open(512, true, true, &info), 0);
	ck_assert_uint_eq(vol->atomic_max_bytes, 0);
	ck_assert_int_eq(io(VOL_READ, 0, 65536, 8192, buf), 0);
	ck_assert_uint_eq(get_number(buf, 8192), 0x03030303);
}
END_TEST

/* the entry is of another file than lies there now, or reaches beyond its end */
START_TEST(test_other_file)
{
	struct errinfo info = {0};
	uint8_t buf[8192];
	struct vfs *vfs = simfs_vfs(fs);

	leave_entry(buf);
	if (_i == 0) {
		make_file("/new", MIB, "");
		ck_assert_int_eq(sim_ops->rename(vfs, "/new", IMAGE), 0);
	} else {
		make_file(IMAGE, 65536, "");
	}
	ck_assert_int_eq(try_open(512, true, false, &info), -EBADMSG);
	ck_assert_msg(strstr(info.text, "of another file"), "%s", info.text);
	ck_assert_int_eq(sim_ops->unlink(vfs, SLOT), 0);
	open_sim(512, true);
	ck_assert_int_eq(io(VOL_READ, 0, 0, 8192, buf), 0);
	ck_assert_uint_eq(get_number(buf, 8192), 0);
}
END_TEST

/* what is somebody else's is left alone, and there are no atomic writes */
START_TEST(test_not_ours)
{
	uint8_t buf[512] = {0};

	make_file(IMAGE, MIB, "");
	if (_i == 2)
		ck_assert_int_eq(sim_ops->mkdir(simfs_vfs(fs), SLOT, 0700), 0);
	else
		make_file(SLOT, _i ? 4 * MIB : 4096, _i ? "" : "mine");
	open_sim(512, true);
	ck_assert_uint_eq(vol->atomic_max_bytes, 0);
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 0, 512, buf), -EINVAL);
	ck_assert_int_eq(io(VOL_WRITE, 0, 0, 512, buf), 0);
	close_volume();
	ck_assert(exists(SLOT));
}
END_TEST

/* up to the entry an error is the request's own */
START_TEST(test_full_disk)
{
	static uint8_t buf[128 << 10];

	make_file(IMAGE, MIB, "");
	open_sim(512, true);
	memset(buf, 1, sizeof(buf));
	simfs_set_space(fs, simfs_used(fs) + 65536);
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 0, 8192, buf), -ENOSPC); /* for the slot */
	simfs_set_space(fs, simfs_used(fs) + MIB + 3 * 8192);
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 0, 8192, buf), 0);
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 4096, sizeof(buf), buf), -ENOSPC); /* for the place */
	ck_assert_int_eq(io(VOL_READ, 0, 8192, sizeof(buf), buf), 0);
	ck_assert_uint_eq(get_number(buf, sizeof(buf)), 0);
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 8192, 8192, buf), 0);
	ck_assert_int_eq(atomic_load(&vol->health), 0);
}
END_TEST

/* SANITIZE leaves nothing of it */
START_TEST(test_sanitized)
{
	static const uint8_t zero[8192];
	struct vfs *vfs = simfs_vfs(fs);
	struct vol_req flush = {.op = VOL_FLUSH, .flags = VOL_INSIDER};
	uint8_t buf[8192];
	struct vfs_file *slot;

	make_file(IMAGE, MIB, "");
	open_sim(512, true);
	flush.vol = vol;
	memset(buf, 7, sizeof(buf));
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 0, 8192, buf), 0);
	ck_assert_int_eq(vfs->ops->open(vfs, SLOT, O_RDONLY, 0, &slot), 0);
	ck_assert_int_eq(vfs_read_full(slot, buf, 8192, 8192), 0);
	ck_assert_uint_eq(get_number(buf, 8192), 0x07070707);
	ck_assert_int_eq(volume_call(&flush), 0);
	ck_assert_int_eq(vfs_read_full(slot, buf, 8192, 8192), 0);
	ck_assert_mem_eq(buf, zero, 8192);
	vfs->ops->close(slot);
	ck_assert_int_eq(io(VOL_WRITE, VOL_ATOMIC, 0, 8192, buf), 0);
	simfs_fail_next(fs, SIMFS_WRITE, -EIO, 0);
	ck_assert_int_eq(volume_call(&flush), -EIO);
}
END_TEST

/* which syncs an atomic write makes, by which one fails: none but the slot's preparation is the request's alone */
START_TEST(test_failed_sync)
{
	uint8_t buf[512] = {1};
	int rc;

	make_file(IMAGE, MIB, "");
	open_sim(512, true);
	simfs_fail_next(fs, SIMFS_FSYNC, -EIO, (unsigned)_i);
	rc = io(VOL_WRITE, VOL_ATOMIC, 0, 512, buf);
	ck_assert_int_eq(rc, _i == 0 ? -EIO : _i < 4 ? LG_EPOISONED : 0);
	ck_assert_int_eq(atomic_load(&vol->health), _i == 0 || _i == 4 ? 0 : LG_EPOISONED);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("raw, atomic writes");
	TCase *tc = tcase_create("raw_atomic");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, test_crash, 0, 4);
	tcase_add_loop_test(tc, test_crash_detects, 0, 2);
	tcase_add_loop_test(tc, test_seen_whole, 0, 2);
	tcase_add_test(tc, test_race);
	tcase_add_test(tc, test_finished);
	tcase_add_loop_test(tc, test_other_file, 0, 2);
	tcase_add_loop_test(tc, test_not_ours, 0, 3);
	tcase_add_test(tc, test_full_disk);
	tcase_add_test(tc, test_sanitized);
	tcase_add_loop_test(tc, test_failed_sync, 0, 5);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
