/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chunked volume: front door, health, memory pressure, bookkeeping.
 *
 * Phases: OPENING (open's thread) -> RUNNING -> CLOSING -> DEAD.
 * Health, besides: 0 -> LG_EPOISONED | LG_EFENCED, and never back.
 *
 *   poisoned  the journal failed: changes and flushes fail, reads go on, commits stop; what was acknowledged
 * stays readable, and a restart recovers what the journal proves durable fenced    another gateway owns the
 * volume: nothing is answered with success any more, reads included degraded  (not a health) the store does
 * not take what it should: nothing is lost, commits are repeated, writers are held by the gate when the
 * journal is full
 *
 * Memory: what the arena asks back comes first from the clean cache, then from dirty pages that the journal
 * can give back.  Both happen on the loop, by message, so nobody's page vanishes under his hands.
 *
 * `busy` counts what is in flight and uses this memory; close waits for it.
 *
 * Thread: the volume's loop; the reclaimer is called from any.
 */
#include "stores/chunked/engine.h"

#include <assert.h>

#include "common/log.h"

#define PRESSURE_HIGH 90u
#define EVICT_MIN 64u
#define RECLAIM_MIN 64u
#define PAY_FIRST_MS 1u
#define PAY_LAST_MS 64u
#define DEGRADED_PAUSE_MS 10000u
#define DEGRADED_LONG_MS 1000u

uint64_t
engine_durable_seq(const struct engine *eng)
{
	return eng->journal ? max_of(journal_durable_seq(eng->journal), eng->covered_seq) : eng->covered_seq;
}

bool
engine_stopped(const struct engine *eng)
{
	return engine_health(eng) < 0 || eng->give_up || eng->abandon;
}

void
engine_hold(struct engine *eng)
{
	eng->busy++;
}

void
engine_release(struct engine *eng)
{
	assert(eng->busy > 0);
	if (--eng->busy == 0)
		engine_close_poke(eng);
}

/* ---- health ----------------------------------------------------------------------- */

static void
engine_fail(struct engine *eng, int health)
{
	if (engine_health(eng) < 0)
		return;
	atomic_store(&eng->vol.health, health);
	loop_timer_stop(&eng->dead.timer);
	engine_hold(eng);
	commit_halt(eng, health);
	gate_pump(eng);
	flush_check(eng);
	engine_release(eng);
}

void
engine_poison(struct engine *eng)
{
	if (engine_health(eng) == 0)
		log_error(
			"volume %s: the journal failed: no write and no flush is answered with success any more; "
			"reads go on; what was acknowledged is recovered by a restart",
			eng->vol.name);
	engine_fail(eng, LG_EPOISONED);
}

void
engine_fence(struct engine *eng)
{
	if (engine_health(eng) == 0)
		log_error("volume %s: another gateway has taken it over: nothing is answered any more",
			  eng->vol.name);
	engine_fail(eng, LG_EFENCED);
}

void
engine_degrade(struct engine *eng, int err, const char *what)
{
	uint64_t now = loop_now_ms(eng->vol.loop);

	if (!eng->degraded) {
		eng->degraded_since_ms = now;
		eng->degraded_told = false;
	}
	/* a store that fails now and then is not worth two lines each time */
	if (!eng->degraded_told &&
	    (!eng->degraded_told_ms || now - eng->degraded_told_ms >= DEGRADED_PAUSE_MS ||
	     now - eng->degraded_since_ms >= DEGRADED_LONG_MS)) {
		log_warn("volume %s: %s: %s; it is tried again until it succeeds", eng->vol.name, what,
			 err_text(err));
		eng->degraded_told = true;
		eng->degraded_told_ms = now;
	}
	eng->degraded = err;
	eng->degraded_what = what;
}

void
engine_recovered(struct engine *eng)
{
	if (!eng->degraded)
		return;
	if (eng->degraded_told)
		log_info("volume %s: the store takes data again after %llu s", eng->vol.name,
			 (unsigned long long)(loop_now_ms(eng->vol.loop) - eng->degraded_since_ms) / 1000);
	eng->degraded = 0;
	eng->degraded_what = NULL;
}

uint64_t
engine_backoff(struct engine *eng, unsigned attempt)
{
	uint64_t ms = eng->params.retry_ms;
	uint32_t dice;

	while (attempt-- > 1 && ms < eng->params.retry_max_ms)
		ms *= 2;
	ms = min_of(ms, (uint64_t)eng->params.retry_max_ms);
	random_bytes(&dice, sizeof(dice));
	return ms / 2 + dice % (ms / 2 + 1);
}

/* ---- requests --------------------------------------------------------------------- */

void
engine_request_done(struct engine *eng, struct vol_req *req, int status)
{
	eng->requests--;
	volume_done(req, status);
	engine_release(eng);
}

typedef void submit_fn(struct vol_req *req);

void
engine_submit(struct vol_req *req)
{
	static submit_fn *const submit[VOL_OP_COUNT] = {
		[VOL_READ] = read_submit,
		[VOL_WRITE] = write_submit,
		[VOL_FLUSH] = flush_submit,
		[VOL_UNMAP] = zero_submit,
		[VOL_ZERO] = zero_submit,
		[VOL_COMPARE_WRITE] = write_submit,
		[VOL_OR_WRITE] = write_submit,
		[VOL_MAP] = mapquery_submit,
		[VOL_RESIZE] = resize_submit,
		[VOL_GET_ATTRIBUTE] = attr_get_submit,
		[VOL_PUT_ATTRIBUTE] = attr_put_submit,
		[VOL_CLONE] = clone_submit,
	};
	struct engine *eng = engine_of(req->vol);
	int health = engine_health(eng);
	bool looks = req->op == VOL_READ || req->op == VOL_MAP || req->op == VOL_GET_ATTRIBUTE;
	bool changes_data = !looks && req->op != VOL_FLUSH && req->op != VOL_PUT_ATTRIBUTE;

	eng->requests++;
	engine_hold(eng);
	if (eng->phase != ENGINE_RUNNING)
		engine_request_done(eng, req, LG_ESTOPPING);
	else if (health == LG_EFENCED || (health < 0 && !looks))
		engine_request_done(eng, req, health);
	else if (eng->vol.read_only && changes_data)
		engine_request_done(eng, req, -EROFS);
	else
		submit[req->op](req);
}

/* ---- the store ------------------------------------------------------------------------ */

void
engine_object(struct engine *eng, struct object_req *req, enum traffic kind)
{
	uint64_t bytes = 0;

	for (int i = 0; i < req->niov; i++)
		bytes += req->iov[i].iov_len;
	if (req->op == OBJECT_PUT) {
		counter_add(&eng->puts[kind], 1);
		counter_add(&eng->put_bytes[kind], bytes);
	} else if (req->op == OBJECT_GET) {
		counter_add(&eng->gets[kind], 1);
		counter_add(&eng->got_bytes[kind], req->length ? req->length : bytes);
	}
	engine_hold(eng);
	object_submit(req);
}

void
engine_object_done(struct engine *eng, struct object_req *req, enum traffic kind)
{
	(void)kind;
	if (req->op == OBJECT_GET && req->status < 0)
		counter_add(&eng->get_errors, 1);
	/* never the last one: whoever sent the request holds the engine as well */
	assert(eng->busy > 1);
	eng->busy--;
}

void
engine_update_allocated(struct engine *eng)
{
	int64_t chunks =
		(int64_t)eng->map.present + eng->active->delta + (eng->frozen ? eng->frozen->delta : 0);

	atomic_store_explicit(&eng->vol.allocated, chunks > 0 ? (uint64_t)chunks * eng->vol.chunk_size : 0,
			      memory_order_relaxed);
}

/* ---- memory --------------------------------------------------------------------------- */

/** Let go of up to n pages; how many became free: a page that somebody else holds does not count. */
static size_t
engine_shed(struct engine *eng, size_t n)
{
	size_t done = cache_evict(&eng->cache, n);

	if (done < n)
		done += dirty_shed(eng, n - done);
	if (done < n && !eng->journal)
		commit_kick(eng);
	return done;
}

/**
 * What the arena asked for and did not get yet.  Pages that others hold now are free to go a moment later, without an
 * event: a timer looks again while there is any hope; what becomes durable or clean comes through engine_balance().
 */
static void
engine_pay(struct engine *eng)
{
	size_t freed = engine_shed(eng, eng->owed);
	bool dirty = eng->active->resident || (eng->frozen && eng->frozen->resident);
	bool hope = eng->cache.pages || (dirty && engine_health(eng) == 0);

	eng->owed -= min_of(freed, eng->owed);
	if (!eng->owed || !hope) {
		loop_timer_stop(&eng->pay_timer);
		eng->pay_ms = PAY_FIRST_MS;
		return;
	}
	if (!eng->pay_timer.due_ms) {
		loop_timer_start(&eng->pay_timer, eng->pay_ms);
		eng->pay_ms = min_of(eng->pay_ms * 2, PAY_LAST_MS);
	}
}

static void
pay_again(struct loop_timer *timer)
{
	struct engine *eng = container_of(timer, struct engine, pay_timer);

	if (eng->phase == ENGINE_RUNNING)
		engine_pay(eng);
}

void
engine_balance(struct engine *eng, size_t added)
{
	if (eng->owed && eng->phase == ENGINE_RUNNING)
		engine_pay(eng);
	if (arena_pressure(eng->vol.arena) >= PRESSURE_HIGH)
		(void)engine_shed(eng, max_of(added * 2, (size_t)EVICT_MIN));
}

static void
reclaim_posted(struct loop_msg *msg)
{
	struct engine *eng = container_of(msg, struct engine, reclaim_msg);

	/* the flag goes first: a wish that comes now posts anew */
	atomic_store(&eng->reclaim_posted, false);
	uint32_t wanted = atomic_exchange(&eng->reclaim_wanted, 0);
	if (eng->phase == ENGINE_RUNNING) {
		eng->owed = max_of(eng->owed, (size_t)max_of(wanted, RECLAIM_MIN));
		eng->pay_ms = PAY_FIRST_MS;
		engine_pay(eng);
	}
	if (eng->busy == 0)
		engine_close_poke(eng);
}

static void
reclaim(struct arena_reclaimer *reclaimer, unsigned pages_wanted)
{
	struct engine *eng = container_of(reclaimer, struct engine, reclaimer);

	atomic_fetch_add(&eng->reclaim_wanted, pages_wanted);
	if (!atomic_exchange(&eng->reclaim_posted, true))
		loop_post(eng->vol.loop, &eng->reclaim_msg);
}

void
engine_start(struct engine *eng)
{
	gate_init(eng);
	commit_init(eng);
	dead_init(eng);
	early_init(eng);
	loop_timer_init(&eng->pay_timer, eng->vol.loop, pay_again);
	eng->pay_ms = PAY_FIRST_MS;
	eng->starved_tail = &eng->starved;
	eng->reclaim_msg.fn = reclaim_posted;
	eng->reclaimer.fn = reclaim;
	/* without a place in the table its caches are not asked to shrink, and shrink by themselves at 90% */
	eng->reclaiming = arena_add_reclaimer(eng->vol.arena, &eng->reclaimer) == 0;
	eng->phase = ENGINE_RUNNING;
	/* what the replay brought is dirty as well */
	commit_kick(eng);
}

const struct vol_ops engine_ops = {
	.kind = "chunked",
	.submit = engine_submit,
	.describe = engine_describe,
	.describe_stats = engine_describe_stats,
	.close = engine_close,
	.destroy = engine_destroy,
};
