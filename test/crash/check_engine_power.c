/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chunked engine when the power goes: journal and dir store on one
 * simulated disk, a random load checked by the model, the power cut at some
 * call that changes the disk, again while recovering, and a last look.
 *
 * What was acknowledged (write_cache off), flushed (write_cache on) or committed (durability store) is there;
 * every other block is some older or newer whole block.  Beside the load an attribute changes all the time: it is what
 * was acknowledged last, or something later that was under way, whole.
 *
 * And the checker itself: where a sync is left out it must find losses.
 *
 * In the environment: LUNGATE_POWER_RUNS=n, that many histories a mode instead of the default;
 * LUNGATE_POWER_SEED=n, this one again and again (threads make no two runs of it alike).
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "test/lib/enginerig.h"

#define MIB RIG_MIB

static struct enginerig rig;
static char verdict[2048];
static unsigned commits; /* swaps of the root that survived */

enum mode { MODE_WCE0, MODE_WCE1, MODE_STORE, MODES };

static uint64_t
dice(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static unsigned
runs(void)
{
	const char *text = getenv("LUNGATE_POWER_RUNS");

	return text ? (unsigned)strtoul(text, NULL, 10) : 40;
}

/* ---- an attribute that counts ------------------------------------------------------------------------ */

/** The value of number n: n itself, and as many bytes of a pattern as it says.  Number 0: there is none. */
struct counting {
	struct vol_req req;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t asked, acked;
	bool busy, stop;
	uint8_t value[3 * 4096];
};

static struct counting counting = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static size_t
counting_make(uint32_t n, uint8_t *p)
{
	size_t len = n ? 4 + n * 7919 % (sizeof(counting.value) - 4) : 0;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i < 4 ? n >> i * 8 : i * 31 + n * 17);
	return len;
}

static void counting_done(struct vol_req *req);

static void
counting_put(void)
{
	uint32_t n = counting.asked;

	counting.req = (struct vol_req){.vol = rig.vol,
					.op = VOL_PUT_ATTRIBUTE,
					.key = "count",
					.value = counting.value,
					.value_len = counting_make(n, counting.value),
					.done = counting_done};
	volume_submit(&counting.req);
}

static void
counting_done(struct vol_req *req)
{
	bool again;

	pthread_mutex_lock(&counting.lock);
	if (req->status == 0)
		counting.acked = counting.asked;
	again = req->status == 0 && !counting.stop;
	if (again)
		counting.asked++;
	else
		counting.busy = false;
	pthread_cond_signal(&counting.cond);
	pthread_mutex_unlock(&counting.lock);
	if (again)
		counting_put();
}

static void
counting_start(void)
{
	counting.stop = false;
	counting.busy = true;
	counting.asked++;
	counting_put();
}

static void
counting_stop(void)
{
	pthread_mutex_lock(&counting.lock);
	counting.stop = true;
	while (counting.busy)
		pthread_cond_wait(&counting.cond, &counting.lock);
	pthread_mutex_unlock(&counting.lock);
}

/** What is there counts as acknowledged from then on, as with the model. */
static void
counting_verify(const char *when)
{
	static uint8_t want[sizeof(counting.value)];
	uint8_t *value;
	size_t len;
	uint32_t n = 0;
	int r = volume_get_attribute(rig.vol, "count", (void **)&value, &len);

	if (r < 0) {
		(void)snprintf(verdict, sizeof(verdict), "%s: attribute: %s", when, err_name(r));
		return;
	}
	for (size_t i = 0; i < 4 && i < len; i++)
		n |= (uint32_t)value[i] << i * 8;
	if (n < counting.acked || n > counting.asked || counting_make(n, want) != len ||
	    (len && memcmp(value, want, len) != 0))
		(void)snprintf(verdict, sizeof(verdict),
			       "%s: attribute: %zu bytes of %u, acknowledged %u, asked for %u", when, len, n,
			       counting.acked, counting.asked);
	counting.acked = counting.asked = n;
	free(value);
}

/* ---- without power nothing answers: the volume is dropped, so that the model's run comes to an end ---- */

struct watch {
	pthread_t thread;
	_Atomic bool over;
	bool stopped;
};

static void *
watch_main(void *arg)
{
	struct watch *w = arg;
	const struct timespec tick = {0, 500000};

	while (!atomic_load(&w->over)) {
		if (simfs_is_off(rig.fs)) {
			enginerig_stop(&rig);
			w->stopped = true;
			break;
		}
		nanosleep(&tick, NULL);
	}
	return NULL;
}

/** Load until it ends or the power goes; true: it went. */
static bool
live(struct volmodel *m, uint64_t seed, enum mode mode)
{
	struct volmodel_load load = {.nops = 60 + (unsigned)(dice(&seed) % 120),
				     .depth = 1 + (unsigned)(dice(&seed) % 12),
				     .max_io = 24 << 10,
				     .max_unmap = MIB + MIB / 2,
				     .reads = 10,
				     .writes = 60,
				     .fua_writes = mode == MODE_STORE ? 1 : 5,
				     .unmaps = 4,
				     .zeroes = 4,
				     .compares = 5,
				     .flushes = mode == MODE_STORE ? 3 : 6};
	struct watch w = {.over = false};

	ck_assert_int_eq(pthread_create(&w.thread, NULL, watch_main, &w), 0);
	counting_start();
	int r = volmodel_run(m, rig.vol, &load);
	counting_stop();
	if (r == -EBADMSG)
		(void)snprintf(verdict, sizeof(verdict), "while running: %s", volmodel_error(m));
	atomic_store(&w.over, true);
	pthread_join(w.thread, NULL);
	bool off = simfs_is_off(rig.fs);
	if (off || dice(&seed) % 3) {
		if (!w.stopped)
			enginerig_stop(&rig);
		enginerig_destroy(&rig);
	} else {
		/* one that fails, or takes too long without power, is a crash like others */
		(void)enginerig_close(&rig);
		off = simfs_is_off(rig.fs);
	}
	return off;
}

static bool
recover(struct volmodel *m)
{
	int r = enginerig_open(&rig);

	if (r < 0) {
		/* a cut while opening: once more, with power */
		if (!simfs_is_off(rig.fs))
			(void)snprintf(verdict, sizeof(verdict), "open: %s: %s", err_name(r), rig.info.text);
		return false;
	}
	/* the model takes what it finds for the truth from then on, so it must see all of it: with power */
	simfs_cut_after(rig.fs, 0);
	bool off = simfs_is_off(rig.fs);
	if (!off && volmodel_verify_crash(m, rig.vol) < 0)
		(void)snprintf(verdict, sizeof(verdict), "after a cut: %s", volmodel_error(m));
	else if (!off && volmodel_verify_map(m, rig.vol) < 0)
		(void)snprintf(verdict, sizeof(verdict), "map: %s", volmodel_error(m));
	if (!off && !verdict[0])
		counting_verify("after a cut");
	if (off || verdict[0]) {
		enginerig_abandon(&rig);
		return false;
	}
	return true;
}

static void
one_history(enum mode mode, uint64_t seed)
{
	uint64_t d = seed;
	struct volmodel *m = volmodel_new(rig.spec.size, rig.spec.block_size, seed);

	verdict[0] = '\0';
	counting.asked = counting.acked = 0;
	/* without power a close gives up after a moment; one that gives up with it is a crash like others */
	rig.params.close_timeout_ms = 150;
	enginerig_new_disk(&rig);
	ck_assert_msg(enginerig_create(&rig) == 0, "%s", rig.info.text);
	ck_assert_msg(enginerig_open(&rig) == 0, "%s", rig.info.text);
	for (unsigned life = 0; life < 4 && !verdict[0]; life++) {
		simfs_cut_after(rig.fs, 1 + dice(&d) % 40);
		if (rig.vol || recover(m)) {
			simfs_cut_after(rig.fs, 1 + dice(&d) % (life ? 300 : 1500));
			live(m, dice(&d), mode);
		}
		/* cut or not: what an abandoned or closed volume has not synced is up to the disk */
		if (!verdict[0])
			enginerig_power_cut(&rig, dice(&d));
	}
	simfs_cut_after(rig.fs, 0);
	rig.params.close_timeout_ms = 30000;
	if (!verdict[0] && recover(m)) {
		int r = enginerig_close(&rig);
		if (r == 0)
			r = enginerig_open(&rig);
		if (r < 0)
			(void)snprintf(verdict, sizeof(verdict), "at last: %s", rig.info.text);
		else if (volmodel_verify(m, rig.vol) < 0)
			(void)snprintf(verdict, sizeof(verdict), "at last: %s", volmodel_error(m));
		else
			counting_verify("at last");
		if (!verdict[0])
			commits += (unsigned)enginerig_stat(&rig, "commit");
	}
	if (rig.vol)
		enginerig_abandon(&rig);
	volmodel_free(m);
}

static void
setup_mode(enum mode mode)
{
	enginerig_init(&rig, "dir", 16 * MIB);
	rig.spec.size = 6 * MIB + 512;
	rig.spec.commit_window = MIB / 8;
	rig.spec.write_cache = mode != MODE_WCE0;
	rig.params.delete_horizon_ms = 5;
	rig.params.retry_max_ms = 4;
	rig.params.journal_segment_bytes = 2 << 20;
	rig.params.journal_bytes = 8 << 20;
	if (mode == MODE_STORE) {
		rig.spec.durability = VOL_DURABILITY_STORE;
		rig.spec.journal_dir = NULL;
	}
}

START_TEST(test_power)
{
	enum mode mode = (enum mode)_i;

	setup_mode(mode);
	const char *from = getenv("LUNGATE_POWER_SEED");
	for (unsigned i = 0; i < runs(); i++) {
		uint64_t seed = from ? strtoull(from, NULL, 10) : 100000 * (unsigned)mode + i;

		one_history(mode, seed);
		ck_assert_msg(!verdict[0], "mode %d, seed %llu: %s", mode, (unsigned long long)seed, verdict);
	}
	/* every opening swaps once, and there are up to six */
	ck_assert_uint_gt(commits, runs() * 8);
	enginerig_fini(&rig);
}
END_TEST

/* Whoever leaves out a sync is found out: else this program proves nothing. */
START_TEST(test_checker)
{
	static const struct {
		const char *fault;
		enum mode mode;
	} cases[] = {{"journal.fsync=skip", MODE_WCE0},
		     {"journal.fsync=skip", MODE_WCE1},
		     {"dir.put.fsync=skip", MODE_STORE}};

	if (failpoint_arm("", &rig.info) == -ENOTSUP)
		return;
	setup_mode(cases[_i].mode);
	ck_assert_int_eq(failpoint_arm(cases[_i].fault, &rig.info), 0);
	unsigned i = 0;
	for (verdict[0] = '\0'; i < 60 && !verdict[0]; i++)
		one_history(cases[_i].mode, 9000 + i);
	ck_assert_msg(verdict[0], "%s was not noticed in %u histories", cases[_i].fault, i);
	enginerig_fini(&rig);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("engine, power");
	TCase *power = tcase_create("power"), *checker = tcase_create("checker");

	tcase_add_loop_test(power, test_power, 0, MODES);
	tcase_set_timeout(power, 600);
	suite_add_tcase(s, power);
	/* the last one: under CK_FORK=no its failpoints stay armed */
	tcase_add_loop_test(checker, test_checker, 0, 3);
	tcase_set_timeout(checker, 300);
	suite_add_tcase(s, checker);
	SRunner *r = srunner_create(s);
	log_threshold = LOG_LEVEL_ERROR - 1;
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
