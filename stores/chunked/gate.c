/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gate that every change passes before it is accepted: back-pressure.
 *
 * Three things bound what may be dirty: room in the journal (with
 * durability=store: the share of the arena), and the memory of the dirty
 * table.  The fullest of them is the fill.
 *
 *   below 70%   changes pass at once
 *   70% .. 95%  each waits, on a ramp from 0 to 10 ms
 *   from 95%    held until a commit makes room; also whenever the room does not reach
 *
 * Order: first in, first out; a change behind a waiting one waits too.  What passes has its bytes reserved
 * until it is appended (gate_leave()).  The gate comes before page locks and before memory for merging, so
 * whoever waits here holds nothing that a commit or another change could need.
 *
 * Attributes do not wait behind writers: they are small, and a host must be able to fence another while the store
 * is away.  Room in the journal is all that they need (gate_pass()).
 *
 * Where nothing is dirty and nothing reserved, a change that fits at all passes: a commit could make no more
 * room. What is larger than the journal ever has room for is refused (ENOSPC): the smallest journal that a volume can
 * be given holds every write (open.c), but segments that cannot be written are left out.
 *
 * Failure: when the volume stops making promises, everybody here is sent away with its health.
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <errno.h>
#include <inttypes.h>

#include "common/log.h"

#define RAMP_FROM 70u
#define RAMP_TO 95u
#define RAMP_MS 10u

static uint64_t
dirty_meta(const struct engine *eng)
{
	return eng->active->meta_bytes + (eng->frozen ? eng->frozen->meta_bytes : 0);
}

static uint64_t
dirty_bytes(const struct engine *eng)
{
	return (eng->active->pages + (eng->frozen ? eng->frozen->pages : 0)) * PAGE_SIZE_BYTES;
}

static unsigned
percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)min_of(part / (whole / 100 ? whole / 100 : 1), 100u) : 0;
}

unsigned
gate_fill(struct engine *eng)
{
	unsigned fill = percent(dirty_meta(eng), eng->meta_max);
	unsigned data = eng->journal ? percent(journal_used(eng->journal) + eng->gate.reserved,
					       journal_capacity(eng->journal))
				     : percent(dirty_bytes(eng) + eng->gate.reserved, eng->store_max);

	return max_of(fill, data);
}

static bool
nothing_dirty(const struct engine *eng)
{
	return dirty_empty(eng->active) && dirty_empty(eng->frozen) && eng->gate.reserved == 0;
}

static bool
has_room(struct engine *eng, uint64_t bytes)
{
	if (eng->journal && journal_room(eng->journal) < eng->gate.reserved + bytes)
		return false;
	return gate_fill(eng) < RAMP_TO || nothing_dirty(eng);
}

/** No commit would make room for it. */
static bool
never_fits(const struct engine *eng, uint64_t bytes)
{
	if (!eng->journal || bytes <= journal_room_most(eng->journal) || bytes <= journal_room(eng->journal))
		return false;
	log_error("volume %s: a change of %" PRIu64
		  " bytes is refused: its journal never has room for more than %" PRIu64 " at once",
		  eng->vol.name, bytes, journal_room_most(eng->journal));
	return true;
}

static uint64_t
ramp_ms(unsigned fill)
{
	if (fill < RAMP_FROM)
		return 0;
	return min_of((fill - RAMP_FROM) * RAMP_MS / (RAMP_TO - RAMP_FROM) + 1, RAMP_MS);
}

static void
set_holding(struct engine *eng, bool holding)
{
	if (eng->gate.holding == holding)
		return;
	eng->gate.holding = holding;
	if (holding)
		log_warn("volume %s: writers are held: the journal is %u%% full%s%s", eng->vol.name,
			 gate_fill(eng), eng->degraded ? " and the store does not take the data: " : "",
			 eng->degraded ? err_text(eng->degraded) : "");
	else
		log_info("volume %s: writers go on", eng->vol.name);
}

static void
pop(struct gate *gate)
{
	struct gate_wait *wait = gate->head;

	gate->head = wait->next;
	if (!gate->head)
		gate->tail = &gate->head;
	gate->waiting--;
}

static void
gate_refuse(struct engine *eng, int status)
{
	while (eng->gate.head) {
		struct gate_wait *wait = eng->gate.head;

		pop(&eng->gate);
		wait->fn(wait, status);
	}
}

void
gate_pump(struct engine *eng)
{
	struct gate *gate = &eng->gate;

	if (gate->pumping)
		return;
	gate->pumping = true;
	while (gate->head) {
		struct gate_wait *wait = gate->head;
		uint64_t now = loop_now_ms(eng->vol.loop);
		int status = engine_health(eng) < 0         ? engine_health(eng)
			     : eng->phase != ENGINE_RUNNING ? LG_ESTOPPING
							    : 0;

		if (status < 0) {
			gate_refuse(eng, status);
			break;
		}
		if (never_fits(eng, wait->bytes)) {
			pop(gate);
			wait->fn(wait, -ENOSPC);
			continue;
		}
		if (!has_room(eng, wait->bytes)) {
			if (!gate->holding)
				counter_add(&gate->held, 1);
			set_holding(eng, true);
			commit_kick(eng);
			break;
		}
		set_holding(eng, false);
		if (wait->due_ms > now) {
			loop_timer_start(&gate->timer, wait->due_ms - now);
			break;
		}
		pop(gate);
		gate->reserved += wait->bytes;
		wait->fn(wait, 0);
	}
	if (!gate->head)
		set_holding(eng, false);
	gate->pumping = false;
}

static void
gate_timer(struct loop_timer *timer)
{
	gate_pump(container_of(timer, struct engine, gate.timer));
}

void
gate_init(struct engine *eng)
{
	eng->gate = (struct gate){.head = NULL};
	eng->gate.tail = &eng->gate.head;
	loop_timer_init(&eng->gate.timer, eng->vol.loop, gate_timer);
}

void
gate_enter(struct engine *eng, struct gate_wait *wait, uint64_t bytes)
{
	struct gate *gate = &eng->gate;
	unsigned fill = gate_fill(eng);

	wait->bytes = bytes;
	if (!gate->head && fill < RAMP_FROM && has_room(eng, bytes)) {
		gate->reserved += bytes;
		wait->fn(wait, 0);
		return;
	}
	uint64_t delay = ramp_ms(fill);
	if (delay)
		counter_add(&gate->delayed, 1);
	wait->due_ms = loop_now_ms(eng->vol.loop) + delay;
	wait->next = NULL;
	*gate->tail = wait;
	gate->tail = &wait->next;
	gate->waiting++;
	gate_pump(eng);
}

bool
gate_pass(struct engine *eng, uint64_t bytes)
{
	if (engine_health(eng) < 0 || eng->phase != ENGINE_RUNNING)
		return false;
	if (eng->journal && journal_room(eng->journal) < eng->gate.reserved + bytes)
		return false;
	eng->gate.reserved += bytes;
	return true;
}

void
gate_leave(struct engine *eng, uint64_t bytes)
{
	eng->gate.reserved -= bytes;
}
