/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes that are promised to be atomic (volume->atomic_max_bytes: WRITE ATOMIC), and a crash at every step.
 *
 * Some slots, apart from each other, are written at the same time, each by one write after another: any blocks of the slot,
 * up to the largest that is promised, with the write's number in each block.  The disk of journal and store is cut at
 * its first change, in the next life at its second, and so on, until all is written before the cut comes; and each
 * time again while the volume recovers.  Or the volume is dropped after so many answers and the disk keeps what
 * it was given, as with kill -9.
 *
 * After each crash a slot is exactly what some number of its writes, in order, made of it: none is there in part. All
 * of those are among them that were promised: answered (write_cache off), or answered before a flush or with FUA.
 *
 * And the checker itself: writes twice as long as what is promised must be seen in part now and then, and
 * journals that are not synced must lose some.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/bytes.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "test/lib/enginerig.h"
#include "test/lib/simimage.h"

#define MIB RIG_MIB
#define BLOCK 512u
#define SLOTS 3u
#define SLOT_BYTES (2 * MIB)
#define SLOT_BLOCKS (SLOT_BYTES / BLOCK)
#define WRITES 12u /* in one life */
#define STEPS_MAX 400u

struct slot {
	struct vol_req req;
	struct page **pages;
	unsigned index;
	uint64_t seed;
	uint32_t number; /* of the last write, over all lives */
	/* since the last look */
	uint32_t base[SLOT_BLOCKS];
	struct {
		uint32_t number, first, blocks;
	} writes[WRITES];
	unsigned asked, answered, promised;
	bool busy;
};

static struct enginerig rig;
static struct slot slots[SLOTS];
static struct vol_req flush;
static unsigned flush_covers[SLOTS], left;
static bool flush_busy, failed;
static uint32_t longest; /* bytes */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool over;
static char verdict[400];
static unsigned lost; /* writes that were not promised and not there */

static uint64_t
dice(uint64_t *seed, uint64_t below)
{
	return sim_random(seed) % below;
}

/* ---- the load: on the volume's loop ---------------------------------------------------------- */

static void pump(void);

static void
end_if_idle(void)
{
	bool busy = flush_busy;

	for (unsigned i = 0; i < SLOTS; i++)
		busy |= slots[i].busy;
	if (busy || (left && !failed))
		return;
	pthread_mutex_lock(&lock);
	over = true;
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&lock);
}

static void
write_done(struct vol_req *req)
{
	struct slot *slot = container_of(req, struct slot, req);

	pages_unref(slot->pages, req->npages);
	slot->busy = false;
	if (req->status < 0) {
		failed = true;
	} else {
		slot->answered = slot->asked;
		if (!rig.spec.write_cache || req->flags & VOL_FUA)
			slot->promised = slot->answered;
	}
	pump();
}

static void
fill(struct slot *slot, uint64_t offset, uint64_t length)
{
	for (uint64_t at = offset; at < offset + length; at += 4)
		put_le32(slot->pages[(at >> PAGE_SHIFT) - (offset >> PAGE_SHIFT)]->data +
				 at % PAGE_SIZE_BYTES,
			 slot->number);
}

static bool
write_begin(struct slot *slot)
{
	uint32_t most = longest / BLOCK;
	uint32_t blocks = dice(&slot->seed, 2) ? most : 1 + (uint32_t)dice(&slot->seed, most);
	uint32_t first = (uint32_t)dice(&slot->seed, SLOT_BLOCKS - blocks + 1);
	uint64_t offset = slot->index * SLOT_BYTES + first * (uint64_t)BLOCK;
	unsigned npages = volume_pages(offset, blocks * (uint64_t)BLOCK);
	uint32_t atomic =
		longest > rig.vol->atomic_max_bytes ? 0 : VOL_ATOMIC; /* 0: what breaks it is wanted */

	if (arena_alloc(rig.arena, slot->pages, npages) < 0)
		return false;
	slot->number++;
	slot->writes[slot->asked].number = slot->number;
	slot->writes[slot->asked].first = first;
	slot->writes[slot->asked++].blocks = blocks;
	fill(slot, offset, blocks * (uint64_t)BLOCK);
	slot->req = (struct vol_req){.vol = rig.vol,
				     .op = VOL_WRITE,
				     .flags = dice(&slot->seed, 6) ? atomic : atomic | VOL_FUA,
				     .offset = offset,
				     .length = blocks * (uint64_t)BLOCK,
				     .pages = slot->pages,
				     .npages = npages,
				     .done = write_done};
	slot->busy = true;
	return true;
}

static void
flush_done(struct vol_req *req)
{
	flush_busy = false;
	failed |= req->status < 0;
	for (unsigned i = 0; i < SLOTS && req->status == 0; i++)
		slots[i].promised = max_of(slots[i].promised, flush_covers[i]);
	pump();
}

static void
flush_begin(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		flush_covers[i] = slots[i].answered;
	flush = (struct vol_req){.vol = rig.vol, .op = VOL_FLUSH, .done = flush_done};
	flush_busy = true;
	volume_submit(&flush);
}

/* Completions come from within volume_submit(), too: flat. */
static void
pump(void)
{
	static bool pumping, again;

	again = true;
	if (pumping)
		return;
	pumping = true;
	while (again) {
		again = false;
		for (unsigned i = 0; i < SLOTS && left && !failed; i++) {
			struct slot *slot = &slots[i];

			if (slot->busy || slot->asked == WRITES || !write_begin(slot))
				continue;
			left--;
			if (left % 5 == 0 && !flush_busy)
				flush_begin();
			volume_submit(&slot->req);
		}
	}
	pumping = false;
	end_if_idle();
}

static int
load_begin(void *arg)
{
	(void)arg;
	pump();
	return 0;
}

/* ---- without power nothing answers: the volume is dropped, and all that waits ends ------------ */

/* True: the power went before the load was through. */
static bool
live(unsigned nwrites)
{
	const struct timespec tick = {0, 500000};
	bool stopped = false, done, off;

	left = nwrites;
	failed = over = false;
	(void)loop_call(rig.loop, load_begin, NULL);
	do {
		if (!stopped && simfs_is_off(rig.fs)) {
			enginerig_stop(&rig);
			stopped = true;
		}
		nanosleep(&tick, NULL);
		pthread_mutex_lock(&lock);
		done = over;
		pthread_mutex_unlock(&lock);
	} while (!done);
	off = simfs_is_off(rig.fs);
	if (!stopped)
		enginerig_stop(&rig);
	enginerig_destroy(&rig);
	return off;
}

/* ---- the look ------------------------------------------------------------------------------------ */

/* How many of the slot's writes make it what it is, at least `promised`; -1: none do. */
static int
count_writes(const struct slot *slot, const uint32_t *is)
{
	uint32_t *would = sim_must(malloc(sizeof(slot->base)));
	int n = -1;

	memcpy(would, slot->base, sizeof(slot->base));
	for (unsigned i = 0; i <= slot->asked && n < 0; i++) {
		if (i >= slot->promised && memcmp(would, is, sizeof(slot->base)) == 0)
			n = (int)i;
		for (uint32_t b = 0; i < slot->asked && b < slot->writes[i].blocks; b++)
			would[slot->writes[i].first + b] = slot->writes[i].number;
	}
	free(would);
	return n;
}

static void
look_at(struct slot *slot, unsigned step)
{
	uint8_t *data = sim_must(malloc(SLOT_BYTES));
	uint32_t *is = sim_must(malloc(sizeof(slot->base)));
	bool whole = true;
	int n;

	ck_assert_int_eq(volmodel_io(rig.vol, VOL_READ, 0, slot->index * SLOT_BYTES, SLOT_BYTES, data), 0);
	for (uint32_t b = 0; b < SLOT_BLOCKS; b++) {
		is[b] = get_le32(data + b * (size_t)BLOCK);
		whole &= memcmp(data + b * (size_t)BLOCK, data + b * (size_t)BLOCK + 4, BLOCK - 4) == 0;
	}
	n = count_writes(slot, is);
	if (!whole || n < 0)
		(void)snprintf(verdict, sizeof(verdict),
			       "step %u, slot %u: %s; %u writes asked for, %u answered, %u promised", step,
			       slot->index, whole ? "a write is there in part, or missing" : "a torn block",
			       slot->asked, slot->answered, slot->promised);
	if (n >= 0)
		lost += slot->asked - (unsigned)n;
	memcpy(slot->base, is, sizeof(slot->base));
	slot->asked = slot->answered = slot->promised = 0;
	free(is);
	free(data);
}

/* One life: load, crash at this step, another while recovering, and the look.  False: the step is not there any more. */
static bool
one_step(unsigned step, bool kill)
{
	bool cut;

	simfs_cut_after(rig.fs, kill ? 0 : step);
	cut = live(kill ? 1 + step % WRITES : WRITES);
	if (!kill) {
		enginerig_power_cut(&rig, step);
		simfs_cut_after(rig.fs, 1 + step % 50);
		if (enginerig_open(&rig) == 0)
			enginerig_abandon(&rig);
		enginerig_power_cut(&rig, step + 1);
	}
	simfs_cut_after(rig.fs, 0);
	ck_assert_msg(enginerig_open(&rig) == 0, "step %u: %s", step, rig.info.text);
	for (unsigned i = 0; i < SLOTS; i++)
		look_at(&slots[i], step);
	return cut;
}

static void
start(bool write_cache)
{
	enginerig_init(&rig, "dir", 48 * MIB);
	rig.spec.size = SLOTS * SLOT_BYTES;
	rig.spec.commit_window = MIB;
	rig.spec.write_cache = write_cache;
	rig.params.delete_horizon_ms = 5;
	rig.params.retry_max_ms = 4;
	rig.params.close_timeout_ms = 150;
	rig.params.journal_segment_bytes = 4 << 20;
	rig.params.journal_bytes = 24 << 20;
	enginerig_new_disk(&rig);
	ck_assert_msg(enginerig_create(&rig) == 0, "%s", rig.info.text);
	ck_assert_msg(enginerig_open(&rig) == 0, "%s", rig.info.text);
	ck_assert_uint_ge(rig.vol->atomic_max_bytes, 64u << 10);
	longest = rig.vol->atomic_max_bytes;
	verdict[0] = '\0';
	lost = 0;
	for (unsigned i = 0; i < SLOTS; i++) {
		slots[i] = (struct slot){.index = i, .seed = 4711 + i};
		slots[i].pages = sim_must(calloc(SLOT_BYTES / PAGE_SIZE_BYTES + 2, sizeof(struct page *)));
	}
}

static void
stop(void)
{
	enginerig_abandon(&rig);
	for (unsigned i = 0; i < SLOTS; i++)
		free(slots[i].pages);
	enginerig_fini(&rig);
}

/* write_cache off and on */
START_TEST(whole_or_not_at_all)
{
	unsigned step = 1;

	start(_i);
	while (one_step(step, false) && !verdict[0] && step < STEPS_MAX)
		step++;
	ck_assert_msg(!verdict[0], "%s", verdict);
	/* how many steps there are is a matter of speed: slow writers have their writes journaled together */
	ck_assert_uint_gt(step, 5);
	ck_assert_uint_gt(lost, 0);
	stop();
}
END_TEST

START_TEST(killed)
{
	start(_i);
	for (unsigned step = 1; step <= 2 * WRITES && !verdict[0]; step++)
		(void)one_step(step, true);
	ck_assert_msg(!verdict[0], "%s", verdict);
	stop();
}
END_TEST

/* Whoever breaks the promise is found out: else this program proves nothing. */
START_TEST(the_checker_checks)
{
	if (_i == 0 && failpoint_arm("", &rig.info) == -ENOTSUP)
		return;
	start(_i);
	if (_i == 0)
		ck_assert_int_eq(failpoint_arm("journal.fsync=skip", &rig.info), 0);
	else
		longest = (uint32_t)(SLOT_BYTES - MIB / 2);
	for (unsigned i = 0; i < STEPS_MAX && !verdict[0]; i++)
		(void)one_step(1 + i % 60, false);
	ck_assert_msg(verdict[0], "nothing was noticed");
	stop();
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("atomic writes, power");
	TCase *power = tcase_create("power"), *checker = tcase_create("checker");

	tcase_add_loop_test(power, whole_or_not_at_all, 0, 2);
	tcase_add_loop_test(power, killed, 0, 2);
	tcase_set_timeout(power, 600);
	suite_add_tcase(s, power);
	/* in the order of 1, 0: under CK_FORK=no the failpoint stays armed */
	tcase_add_loop_test(checker, the_checker_checks, 1, 2);
	tcase_add_loop_test(checker, the_checker_checks, 0, 1);
	tcase_set_timeout(checker, 300);
	suite_add_tcase(s, checker);
	SRunner *r = srunner_create(s);
	log_threshold = LOG_LEVEL_ERROR - 1;
	srunner_run_all(r, CK_ENV);
	int nfailed = srunner_ntests_failed(r);
	srunner_free(r);
	return nfailed ? EXIT_FAILURE : EXIT_SUCCESS;
}
