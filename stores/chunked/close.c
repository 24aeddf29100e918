/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end of a volume's life in this process.
 *
 *   DRAIN     no new requests; held ones are refused; what is in flight comes back
 *   COMMIT    the last map commit, repeated while something is not covered
 *   QUIESCE   the journal's last writes
 *   RELEASE   owner: released, journal clean - only if the root covers everything
 *   RELEASED  files and store are closed, on a pool thread
 *
 * How far the last commit is gets logged now and then.  When the store does not take it in close_timeout_ms, the volume is
 * closed without it: the owner keeps saying that the journal is open, and the next opening replays it.  The same where it is
 * poisoned or fenced. chunked_abandon() is the crash: nothing is written any more.
 *
 * Invariant: `released` is written only when the root covers the last sequence and every request was
 * answered.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"

#define TELLS 6u /* of the last commit, in its time, */
#define TELL_LEAST_MS 250u
#define TELL_MOST_MS 10000u /* and of a long one more often */

enum close_step { CLOSE_DRAIN, CLOSE_RECLAIM, CLOSE_QUIESCE, CLOSE_RELEASE, CLOSE_FILES };

static void close_run(struct engine *eng);

static bool
all_covered(const struct engine *eng)
{
	return eng->last_seq == eng->covered_seq && eng->commit.state == COMMIT_IDLE;
}

static void
tell_end(const struct engine *eng)
{
	const char *kept =
		eng->journal ? "; the journal keeps what is not in the store, for the next opening" : "";

	if (eng->give_up)
		log_warn(
			"volume %s: closed without a last commit: %s, and %zu of %zu chunks were to go after %u s "
			"(close_timeout)%s",
			eng->vol.name,
			eng->close_status == -ETIMEDOUT ? "the store did not take all of it in time"
							: err_text(eng->close_status),
			eng->close_left, eng->close_all, eng->params.close_timeout_ms / 1000, kept);
	else
		log_warn("volume %s: closed without a last commit: %s%s", eng->vol.name,
			 err_text(eng->close_status), kept);
}

static void
close_done(struct loop_work *work)
{
	struct engine *eng = container_of(work, struct engine, close_work);

	loop_timer_stop(&eng->close_timer);
	eng->phase = ENGINE_DEAD;
	if (eng->close_status < 0 && !eng->abandon)
		tell_end(eng);
	eng->journal = NULL;
	eng->close_done(eng->close_arg, eng->close_status);
}

static void
close_files(struct loop_work *work)
{
	struct engine *eng = container_of(work, struct engine, close_work);

	if (eng->journal)
		journal_destroy(eng->journal, false);
	if (eng->own_store)
		object_store_free(eng->store);
	eng->store = NULL;
}

static void
released(struct object_req *req)
{
	struct engine *eng = container_of(req, struct engine, close_req);

	eng->busy--;
	if (req->status < 0) {
		eng->close_status = req->status == LG_ECONFLICT ? LG_EFENCED : req->status;
		log_warn("volume %s: the owner record could not be released: %s", eng->vol.name,
			 err_text(req->status));
	}
	eng->close_step = CLOSE_FILES;
	close_run(eng);
}

static void
release_owner(struct engine *eng)
{
	struct bucket_owner owner = eng->owner;
	struct bucket_key key = {.kind = BUCKET_KEY_OWNER};
	struct timespec now;
	int r = bucket_key_format(&key, eng->prefix, eng->owner_key, sizeof(eng->owner_key));

	assert(r > 0);
	clock_gettime(CLOCK_REALTIME, &now);
	owner.state = BUCKET_OWNER_RELEASED;
	if (owner.journal_state != BUCKET_JOURNAL_NONE)
		owner.journal_state = BUCKET_JOURNAL_CLEAN;
	owner.committed_seq = eng->covered_seq;
	owner.counter++;
	owner.time_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	random_bytes(owner.nonce, sizeof(owner.nonce));
	bucket_owner_encode(&owner, eng->owner_buf);
	eng->close_iov = (struct iovec){eng->owner_buf, sizeof(eng->owner_buf)};
	eng->close_req = (struct object_req){.store = eng->store,
					     .op = OBJECT_PUT,
					     .key = eng->owner_key,
					     .iov = &eng->close_iov,
					     .niov = 1,
					     .if_match = eng->owner_etag,
					     .done = released};
	eng->busy++;
	object_submit(&eng->close_req);
}

static void
quiet(void *arg)
{
	struct engine *eng = arg;

	eng->close_step = CLOSE_RELEASE;
	close_run(eng);
}

/** fn of the last commit: close_drained() looks by itself how it ended. */
static void
committed(struct commit_wait *wait, int status)
{
	struct engine *eng = container_of(wait, struct engine, close_wait);

	eng->close_waits = false;
	if (status < 0 && eng->close_status == 0)
		eng->close_status = status;
	engine_release(eng);
}

/** Nothing is in flight. True: nothing is left to be committed, or nothing can be. */
static bool
close_drained(struct engine *eng)
{
	if (all_covered(eng))
		return true;
	if (!engine_stopped(eng) && eng->commit.state != COMMIT_HALTED) {
		if (eng->close_waits)
			return false;
		eng->close_waits = true;
		eng->close_wait = (struct commit_wait){.seq = eng->last_seq, .fn = committed};
		engine_hold(eng);
		commit_request(eng, &eng->close_wait);
		return false;
	}
	if (eng->close_status == 0)
		eng->close_status = eng->commit.failed ? eng->commit.failed : LG_EABORTED;
	return true;
}

/** Go on where the last step ended. */
static void
close_run(struct engine *eng)
{
	switch (eng->close_step) {
	case CLOSE_DRAIN:
		if (!close_drained(eng))
			return;
		loop_timer_stop(&eng->close_timer);
		if (eng->reclaiming)
			arena_remove_reclaimer(eng->vol.arena, &eng->reclaimer);
		eng->close_step = CLOSE_RECLAIM;
		__attribute__((fallthrough));
	case CLOSE_RECLAIM:
		/* a wish of the arena that is on its way uses this memory; its message comes back here */
		if (atomic_load(&eng->reclaim_posted))
			return;
		eng->close_step = CLOSE_QUIESCE;
		if (eng->journal) {
			journal_quiesce(eng->journal, quiet, eng);
			return;
		}
		__attribute__((fallthrough));
	case CLOSE_QUIESCE:
		eng->close_step = CLOSE_RELEASE;
		__attribute__((fallthrough));
	case CLOSE_RELEASE:
		if (!eng->abandon && eng->close_status == 0 && engine_health(eng) == 0) {
			release_owner(eng);
			return;
		}
		eng->close_step = CLOSE_FILES;
		__attribute__((fallthrough));
	default:
		eng->close_work = (struct loop_work){.run = close_files, .done = close_done};
		loop_offload(eng->vol.loop, &eng->close_work);
	}
}

static void
close_posted(struct loop_msg *msg)
{
	struct engine *eng = container_of(msg, struct engine, close_msg);

	eng->close_posted = false;
	if (eng->busy == 0 && eng->close_step <= CLOSE_RECLAIM)
		close_run(eng);
}

void
engine_close_poke(struct engine *eng)
{
	if (eng->phase != ENGINE_CLOSING || eng->close_posted || eng->close_step > CLOSE_RECLAIM)
		return;
	eng->close_posted = true;
	loop_post(eng->vol.loop, &eng->close_msg);
}

static void
close_late(struct engine *eng)
{
	eng->give_up = true;
	eng->close_left = commit_chunks_left(eng);
	engine_hold(eng);
	commit_halt(eng, eng->degraded ? eng->degraded : -ETIMEDOUT);
	flush_check(eng);
	engine_release(eng);
}

static void
wait_on(struct engine *eng, uint64_t now)
{
	uint64_t step = min_of(eng->params.close_timeout_ms / TELLS, TELL_MOST_MS);

	loop_timer_start(&eng->close_timer, min_of(max_of(step, TELL_LEAST_MS), eng->close_until_ms - now));
}

static void
close_tick(struct loop_timer *timer)
{
	struct engine *eng = container_of(timer, struct engine, close_timer);
	uint64_t now = loop_now_ms(eng->vol.loop);

	if (now >= eng->close_until_ms) {
		close_late(eng);
		return;
	}
	log_info("volume %s: closing: %zu of %zu chunks are to go to the store, which has %llu s more%s%s",
		 eng->vol.name, commit_chunks_left(eng), eng->close_all,
		 (unsigned long long)(eng->close_until_ms - now + 999) / 1000,
		 eng->degraded ? "; it does not take them: " : "",
		 eng->degraded ? err_text(eng->degraded) : "");
	wait_on(eng, now);
}

static void
close_start(struct engine *eng)
{
	engine_hold(eng);
	eng->phase = ENGINE_CLOSING;
	eng->close_msg.fn = close_posted;
	eng->close_step = CLOSE_DRAIN;
	loop_timer_init(&eng->close_timer, eng->vol.loop, close_tick);
	loop_timer_stop(&eng->dead.timer);
	loop_timer_stop(&eng->gate.timer);
	loop_timer_stop(&eng->pay_timer);
	gate_pump(eng);
	if (eng->abandon) {
		commit_halt(eng, LG_EABORTED);
		flush_check(eng);
	} else {
		eng->close_all = commit_chunks_left(eng);
		eng->close_until_ms = loop_now_ms(eng->vol.loop) + eng->params.close_timeout_ms;
		wait_on(eng, loop_now_ms(eng->vol.loop));
		commit_kick(eng);
	}
	engine_release(eng);
}

void
engine_close(struct volume *vol, void (*done)(void *arg, int status), void *arg)
{
	struct engine *eng = engine_of(vol);

	assert(eng->phase == ENGINE_RUNNING);
	eng->close_done = done;
	eng->close_arg = arg;
	close_start(eng);
}

struct abandoned {
	void (*done)(void *arg);
	void *arg;
};

static void
abandon_done(void *arg, int status)
{
	struct abandoned *a = arg;
	struct abandoned copy = *a;

	(void)status;
	free(a);
	copy.done(copy.arg);
}

void
chunked_abandon(struct volume *vol, void (*done)(void *arg), void *arg)
{
	struct engine *eng = engine_of(vol);
	struct abandoned *a = malloc(sizeof(*a));

	assert(a && eng->phase == ENGINE_RUNNING);
	*a = (struct abandoned){done, arg};
	eng->abandon = true;
	eng->close_done = abandon_done;
	eng->close_arg = a;
	close_start(eng);
}

void
engine_free(struct engine *eng)
{
	dirty_set_free(eng, eng->frozen);
	dirty_set_free(eng, eng->active);
	commit_fini(eng);
	dead_fini(eng);
	if (eng->cache.buckets)
		cache_fini(&eng->cache);
	map_fini(eng);
	attrs_drop(&eng->attrs);
	attrs_drop(&eng->attrs_durable);
	attrs_replay_end(eng);
	free(eng->shares.list);
	if (eng->crctabs.buckets)
		crctab_fini(eng);
	wops_fini(eng);
	free(eng->journal_path);
	free(eng);
}

void
engine_destroy(struct volume *vol)
{
	struct engine *eng = engine_of(vol);

	assert(eng->phase == ENGINE_DEAD && eng->busy == 0);
	engine_free(eng);
}

/* ---- chunked_commit() -------------------------------------------------------------- */

struct asked_commit {
	struct commit_wait wait;
	void (*done)(void *arg, int status);
	void *arg;
};

static void
asked_done(struct commit_wait *wait, int status)
{
	struct asked_commit asked = *container_of(wait, struct asked_commit, wait);

	free(container_of(wait, struct asked_commit, wait));
	asked.done(asked.arg, status);
}

void
chunked_commit(struct volume *vol, void (*done)(void *arg, int status), void *arg)
{
	struct engine *eng = engine_of(vol);
	struct asked_commit *asked = malloc(sizeof(*asked));

	if (!asked) {
		done(arg, -ENOMEM);
		return;
	}
	*asked = (struct asked_commit){
		.wait = {.seq = eng->last_seq, .fn = asked_done}, .done = done, .arg = arg};
	commit_request(eng, &asked->wait);
}
