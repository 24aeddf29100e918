/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dirty page table: what is newer than the map.
 *
 * Two sets: changes go into the active one; a commit freezes it, and an empty
 * one takes its place.  A set holds a dchunk for every chunk that has
 * changes, a dchunk holds groups of 64 slots, made on demand.  A slot is a page in memory, or a place in the
 * journal, or both, or "zeroes".  `wiped` says that what no slot names is zeroes: a trim of a whole chunk
 * costs one dchunk, and none at all where nothing lies below.  With a `base` besides, it is what that base holds: a
 * clone costs one dchunk, too.
 *
 * Invariants:
 *   - a slot that is present and not zero has a page, or a position, or both;
 *     it has no position until its bytes are durable there, so a page without
 *     one is never let go;
 *   - slots of the active set are newer than those of the frozen one;
 *   - the clean cache holds no page that has a slot in the active set, and of others what dirty_below() names;
 *   - meta_bytes is exact: the gate keeps it under meta_max.
 *
 * Memory for changes is made by dirty_prepare() before they are accepted, so that what the journal has
 * taken cannot fail here.
 *
 * Thread: the volume's loop (open's thread during replay).
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <stdlib.h>

static size_t
hash_index(uint64_t index, size_t nbuckets)
{
	return (size_t)((index * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (nbuckets - 1);
}

static unsigned
chunk_groups(const struct engine *eng)
{
	return eng->chunk_pages >> GROUP_SHIFT;
}

static uint32_t
leaf_of(uint64_t index)
{
	return (uint32_t)(index >> BUCKET_LEAF_SHIFT);
}

int
dirty_set_new(struct engine *eng, struct dirty_set **ret)
{
	struct dirty_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	set->nbuckets = 256;
	set->buckets = calloc(set->nbuckets, sizeof(*set->buckets));
	set->leaf_chunks = calloc(eng->map.nleaves ? eng->map.nleaves : 1, sizeof(*set->leaf_chunks));
	if (!set->buckets || !set->leaf_chunks) {
		free(set->buckets);
		free(set->leaf_chunks);
		free(set);
		return -ENOMEM;
	}
	*ret = set;
	return 0;
}

int
dirty_set_resize(struct dirty_set *set, uint32_t old_leaves, uint32_t new_leaves)
{
	if (new_leaves <= old_leaves)
		return 0;
	uint32_t *counts = realloc(set->leaf_chunks, new_leaves * sizeof(*counts));
	if (!counts)
		return -ENOMEM;
	for (uint32_t i = old_leaves; i < new_leaves; i++)
		counts[i] = 0;
	set->leaf_chunks = counts;
	return 0;
}

static void
slot_let_go(struct dirty_set *set, struct dchunk *dc, struct dslot *slot)
{
	page_unref(slot->page);
	slot->page = NULL;
	dc->resident--;
	set->resident--;
}

static void
group_clear(struct dchunk *dc, struct dirty_set *set, struct dgroup *group)
{
	uint64_t data = group->present & ~group->zero;

	while (data) {
		unsigned i = (unsigned)__builtin_ctzll(data);

		data &= data - 1;
		if (group->slot[i].page)
			slot_let_go(set, dc, &group->slot[i]);
		dc->pages--;
		set->pages--;
	}
	dc->zeroes -= (uint32_t)__builtin_popcountll(group->present & group->zero);
	group->present = group->zero = 0;
}

static void
base_set(struct dirty_set *set, struct dchunk *dc, struct bucket_entry base)
{
	set->clones += bucket_entry_present(base);
	set->clones -= bucket_entry_present(dc->base);
	dc->base = base;
}

static void
groups_free(struct engine *eng, struct dirty_set *set, struct dchunk *dc)
{
	if (!dc->groups)
		return;
	for (unsigned g = 0; g < chunk_groups(eng); g++) {
		if (!dc->groups[g])
			continue;
		group_clear(dc, set, dc->groups[g]);
		free(dc->groups[g]);
		set->meta_bytes -= sizeof(struct dgroup);
	}
	free(dc->groups);
	dc->groups = NULL;
	set->meta_bytes -= chunk_groups(eng) * sizeof(struct dgroup *);
}

void
dirty_remove(struct engine *eng, struct dirty_set *set, struct dchunk *dc)
{
	struct dchunk **p = &set->buckets[hash_index(dc->index, set->nbuckets)];

	while (*p != dc)
		p = &(*p)->hash_next;
	*p = dc->hash_next;
	if (dc->prev)
		dc->prev->next = dc->next;
	else
		set->first = dc->next;
	if (dc->next)
		dc->next->prev = dc->prev;
	else
		set->last = dc->prev;
	if (set->shed == dc)
		set->shed = dc->next;
	set->delta -= dc->delta;
	base_set(set, dc, (struct bucket_entry){0});
	early_forget(eng, dc);
	groups_free(eng, set, dc);
	set->meta_bytes -= sizeof(*dc);
	set->nchunks--;
	set->leaf_chunks[leaf_of(dc->index)]--;
	free(dc);
}

void
dirty_set_free(struct engine *eng, struct dirty_set *set)
{
	if (!set)
		return;
	while (set->first)
		dirty_remove(eng, set, set->first);
	assert(set->pages == 0 && set->resident == 0 && set->meta_bytes == 0 && set->clones == 0);
	free(set->buckets);
	free(set->leaf_chunks);
	free(set);
}

struct dchunk *
dirty_find(const struct dirty_set *set, uint64_t index)
{
	if (!set || !set->nchunks)
		return NULL;
	struct dchunk *dc = set->buckets[hash_index(index, set->nbuckets)];
	while (dc && dc->index != index)
		dc = dc->hash_next;
	return dc;
}

bool
dirty_empty(const struct dirty_set *set)
{
	return !set || set->nchunks == 0;
}

static void
grow_buckets(struct dirty_set *set)
{
	size_t n = set->nbuckets * 2;
	struct dchunk **buckets = calloc(n, sizeof(*buckets));

	/* without the memory chains get longer, nothing worse */
	if (!buckets)
		return;
	for (struct dchunk *dc = set->first; dc; dc = dc->next) {
		size_t h = hash_index(dc->index, n);

		dc->hash_next = buckets[h];
		buckets[h] = dc;
	}
	free(set->buckets);
	set->buckets = buckets;
	set->nbuckets = n;
}

static struct dchunk *
dchunk_make(struct dirty_set *set, uint64_t index)
{
	struct dchunk *dc = dirty_find(set, index);

	if (dc)
		return dc;
	dc = calloc(1, sizeof(*dc));
	if (!dc)
		return NULL;
	if (set->nchunks >= set->nbuckets)
		grow_buckets(set);
	size_t h = hash_index(index, set->nbuckets);
	dc->index = index;
	dc->hash_next = set->buckets[h];
	set->buckets[h] = dc;
	dc->prev = set->last;
	if (set->last)
		set->last->next = dc;
	else
		set->first = dc;
	set->last = dc;
	set->nchunks++;
	set->leaf_chunks[leaf_of(index)]++;
	set->meta_bytes += sizeof(*dc);
	return dc;
}

static int
dchunk_groups(struct engine *eng, struct dirty_set *set, struct dchunk *dc, unsigned first, unsigned last)
{
	if (!dc->groups) {
		dc->groups = calloc(chunk_groups(eng), sizeof(*dc->groups));
		if (!dc->groups)
			return -ENOMEM;
		set->meta_bytes += chunk_groups(eng) * sizeof(*dc->groups);
	}
	for (unsigned g = first >> GROUP_SHIFT; g <= last >> GROUP_SHIFT; g++) {
		if (dc->groups[g])
			continue;
		dc->groups[g] = malloc(sizeof(struct dgroup));
		if (!dc->groups[g])
			return -ENOMEM;
		dc->groups[g]->present = dc->groups[g]->zero = 0;
		set->meta_bytes += sizeof(struct dgroup);
	}
	return 0;
}

int
dirty_prepare(struct engine *eng, uint64_t first, uint64_t n)
{
	uint64_t end = first + n;

	while (first < end) {
		uint64_t index = first >> eng->page_shift;
		uint64_t stop = min_of(end, (index + 1) << eng->page_shift);
		struct dchunk *dc = dchunk_make(eng->active, index);

		if (!dc)
			return -ENOMEM;
		int r = dchunk_groups(eng, eng->active, dc, (unsigned)(first & (eng->chunk_pages - 1)),
				      (unsigned)((stop - 1) & (eng->chunk_pages - 1)));
		if (r < 0)
			return r;
		first = stop;
	}
	return 0;
}

enum dirty_hit
dchunk_lookup(const struct dchunk *dc, unsigned page, struct dslot **ret)
{
	struct dgroup *group = dc->groups ? dc->groups[page >> GROUP_SHIFT] : NULL;
	uint64_t bit = UINT64_C(1) << (page & (GROUP_PAGES - 1));

	if (!group || !(group->present & bit)) {
		if (!dc->wiped)
			return DIRTY_MISS;
		return bucket_entry_present(dc->base) ? DIRTY_BASE : DIRTY_ZERO;
	}
	if (group->zero & bit)
		return DIRTY_ZERO;
	*ret = &group->slot[page & (GROUP_PAGES - 1)];
	return (*ret)->page ? DIRTY_PAGE : DIRTY_JOURNAL;
}

enum dirty_hit
dirty_lookup(struct engine *eng, uint64_t vpage, struct dslot **ret)
{
	uint64_t index = vpage >> eng->page_shift;
	unsigned page = (unsigned)(vpage & (eng->chunk_pages - 1));
	struct dchunk *dc = dirty_find(eng->active, index);
	enum dirty_hit hit = dc ? dchunk_lookup(dc, page, ret) : DIRTY_MISS;

	if (hit != DIRTY_MISS)
		return hit;
	dc = dirty_find(eng->frozen, index);
	return dc ? dchunk_lookup(dc, page, ret) : DIRTY_MISS;
}

static int
below(struct engine *eng, uint64_t index, struct bucket_entry *ret, bool *ret_pure)
{
	const struct dchunk *dcs[] = {dirty_find(eng->active, index), dirty_find(eng->frozen, index)};

	*ret_pure = true;
	for (unsigned i = 0; i < ARRAY_SIZE(dcs); i++) {
		if (!dcs[i])
			continue;
		if (dcs[i]->pages || dcs[i]->zeroes)
			*ret_pure = false;
		if (!dcs[i]->wiped)
			continue;
		*ret = dcs[i]->base;
		return 0;
	}
	return map_entry(eng, index, ret);
}

int
dirty_below(struct engine *eng, uint64_t index, struct bucket_entry *ret)
{
	bool pure;

	return below(eng, index, ret, &pure);
}

int
dirty_pure(struct engine *eng, uint64_t index, struct bucket_entry *ret)
{
	bool pure;
	int r = below(eng, index, ret, &pure);

	return pure ? (r < 0 ? r : 1) : 0;
}

/* ---- presence: for `allocated` and the chunk map ------------------------ */

static bool
layer_presence(const struct dchunk *dc, bool lower)
{
	if (!dc)
		return lower;
	if (dc->pages)
		return true;
	return dc->wiped ? bucket_entry_present(dc->base) : lower;
}

bool
dirty_presence(struct engine *eng, uint64_t index, bool base)
{
	return layer_presence(dirty_find(eng->active, index),
			      layer_presence(dirty_find(eng->frozen, index), base));
}

/** Has the map a base for it?  Without the leaf: what was seen last; else yes, the commit corrects it. */
static bool
base_presence(struct engine *eng, uint64_t index, struct dchunk *active, struct dchunk *frozen)
{
	struct dchunk *dcs[] = {active, frozen};
	struct bucket_entry entry;
	bool known = map_entry(eng, index, &entry) == 0, present = !known || bucket_entry_present(entry);

	for (unsigned i = 0; i < ARRAY_SIZE(dcs) && !known; i++) {
		if (!dcs[i] || !dcs[i]->base_known)
			continue;
		known = true;
		present = dcs[i]->base_present;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(dcs) && known; i++) {
		if (!dcs[i])
			continue;
		dcs[i]->base_known = true;
		dcs[i]->base_present = present;
	}
	return present;
}

void
dirty_recount(struct engine *eng, uint64_t index)
{
	struct dchunk *active = dirty_find(eng->active, index);
	struct dchunk *frozen = dirty_find(eng->frozen, index);

	if (!active && !frozen)
		return;
	bool base = base_presence(eng, index, active, frozen);
	bool mid = layer_presence(frozen, base);
	bool top = layer_presence(active, mid);
	if (frozen) {
		eng->frozen->delta += (mid - base) - frozen->delta;
		frozen->delta = (int8_t)(mid - base);
	}
	if (active) {
		eng->active->delta += (top - mid) - active->delta;
		active->delta = (int8_t)(top - mid);
	}
}

void
dirty_recount_leaf(struct engine *eng, uint32_t leaf)
{
	struct dirty_set *sets[] = {eng->active, eng->frozen};

	for (unsigned s = 0; s < ARRAY_SIZE(sets); s++) {
		if (!sets[s] || !sets[s]->leaf_chunks[leaf])
			continue;
		for (struct dchunk *dc = sets[s]->first; dc; dc = dc->next)
			if (leaf_of(dc->index) == leaf && !dc->base_known)
				dirty_recount(eng, dc->index);
	}
	engine_update_allocated(eng);
}

bool
dirty_chunk_blank(struct engine *eng, uint64_t index, bool base_absent)
{
	return !dirty_presence(eng, index, !base_absent);
}

uint32_t
dirty_leaf_chunks(const struct engine *eng, uint32_t leaf)
{
	uint32_t n = 0;

	if (leaf >= eng->map.nleaves)
		return 0;
	if (eng->active)
		n += eng->active->leaf_chunks[leaf];
	if (eng->frozen)
		n += eng->frozen->leaf_chunks[leaf];
	return n;
}

/* ---- changes ------------------------------------------------------------- */

static void
slot_clear(struct dirty_set *set, struct dchunk *dc, struct dgroup *group, unsigned i)
{
	uint64_t bit = UINT64_C(1) << i;

	if (!(group->present & bit))
		return;
	if (group->zero & bit) {
		dc->zeroes--;
	} else {
		if (group->slot[i].page)
			slot_let_go(set, dc, &group->slot[i]);
		dc->pages--;
		set->pages--;
	}
	group->present &= ~bit;
	group->zero &= ~bit;
}

void
dirty_put(struct engine *eng, uint64_t vpage, struct page *page, journal_pos_t pos, uint32_t crc)
{
	struct dirty_set *set = eng->active;
	uint64_t index = vpage >> eng->page_shift;
	unsigned p = (unsigned)(vpage & (eng->chunk_pages - 1)), i = p & (GROUP_PAGES - 1);
	struct dchunk *dc = dirty_find(set, index);

	assert(dc && dc->groups && dc->groups[p >> GROUP_SHIFT]);
	struct dgroup *group = dc->groups[p >> GROUP_SHIFT];
	early_drop(eng, dc);
	slot_clear(set, dc, group, i);
	group->slot[i] = (struct dslot){.page = page ? page_ref(page) : NULL, .pos = pos, .crc = crc};
	group->present |= UINT64_C(1) << i;
	set->pages++;
	if (page) {
		dc->resident++;
		set->resident++;
	}
	cache_drop(&eng->cache, vpage);
	if (dc->pages++ == 0)
		dirty_recount(eng, index);
	if (dc->resident == eng->chunk_pages)
		early_want(eng, dc);
}

/** Does the layer under the active set read as zeroes here? */
static bool
below_zero(const struct dchunk *frozen, unsigned page, bool base_absent)
{
	struct dslot *slot;

	if (!frozen)
		return base_absent;
	switch (dchunk_lookup(frozen, page, &slot)) {
	case DIRTY_ZERO:
		return true;
	case DIRTY_MISS:
		return base_absent;
	default:
		return false;
	}
}

static bool
covers_chunk(const struct engine *eng, uint64_t first, uint64_t n)
{
	uint64_t index = first >> eng->page_shift, start = index << eng->page_shift;
	uint64_t pages = (engine_size(eng) + PAGE_SIZE_BYTES - 1) >> PAGE_SHIFT;
	uint64_t end = min_of(start + eng->chunk_pages, pages);

	return first == start && first + n >= end;
}

int
dirty_prepare_zero(struct engine *eng, uint64_t first, uint64_t n, bool base_absent)
{
	uint64_t index = first >> eng->page_shift;

	if (!covers_chunk(eng, first, n)) {
		if (!dirty_find(eng->active, index) && dirty_chunk_blank(eng, index, base_absent))
			return 0;
		return dirty_prepare(eng, first, n);
	}
	if (base_absent && !dirty_find(eng->frozen, index))
		return 0;
	return dchunk_make(eng->active, index) ? 0 : -ENOMEM;
}

static void
zero_part(struct engine *eng, struct dchunk *dc, uint64_t first, uint64_t n, bool base_absent)
{
	struct dirty_set *set = eng->active;
	struct dchunk *frozen = dirty_find(eng->frozen, dc->index);

	for (uint64_t v = first; v < first + n; v++) {
		unsigned p = (unsigned)(v & (eng->chunk_pages - 1)), i = p & (GROUP_PAGES - 1);
		struct dgroup *group = dc->groups[p >> GROUP_SHIFT];

		slot_clear(set, dc, group, i);
		if (dc->wiped ? !bucket_entry_present(dc->base) : below_zero(frozen, p, base_absent))
			continue;
		group->present |= UINT64_C(1) << i;
		group->zero |= UINT64_C(1) << i;
		dc->zeroes++;
	}
}

void
dirty_zero(struct engine *eng, uint64_t first, uint64_t n, bool base_absent)
{
	uint64_t index = first >> eng->page_shift;
	struct dchunk *dc = dirty_find(eng->active, index);

	cache_drop_range(&eng->cache, first, n);
	if (!dc)
		return;
	early_drop(eng, dc);
	if (covers_chunk(eng, first, n)) {
		groups_free(eng, eng->active, dc);
		dc->wiped = true;
		base_set(eng->active, dc, (struct bucket_entry){0});
	} else {
		zero_part(eng, dc, first, n, base_absent);
	}
	dirty_recount(eng, index);
	/* nothing lies below, nothing is said: no memory for it */
	if (!dc->pages && !bucket_entry_present(dc->base) && !dirty_find(eng->frozen, index) &&
	    (base_absent || (!dc->wiped && !dc->zeroes)))
		dirty_remove(eng, eng->active, dc);
}

int
dirty_prepare_clone(struct engine *eng, uint64_t index)
{
	return dchunk_make(eng->active, index) ? 0 : -ENOMEM;
}

void
dirty_clone(struct engine *eng, uint64_t index, struct bucket_entry base)
{
	struct dchunk *dc = dirty_find(eng->active, index);

	assert(dc && bucket_entry_present(base));
	cache_drop_range(&eng->cache, index << eng->page_shift, eng->chunk_pages);
	early_drop(eng, dc);
	groups_free(eng, eng->active, dc);
	dc->wiped = true;
	base_set(eng->active, dc, base);
	dirty_recount(eng, index);
}

static void
landed_in(struct engine *eng, struct dirty_set *set, uint64_t vpage, const struct page *page,
	  journal_pos_t pos)
{
	struct dchunk *dc = dirty_find(set, vpage >> eng->page_shift);
	struct dslot *slot;

	if (!dc || dchunk_lookup(dc, (unsigned)(vpage & (eng->chunk_pages - 1)), &slot) != DIRTY_PAGE ||
	    slot->page != page || slot->pos != 0)
		return;
	slot->pos = pos;
	if (dc->passing && bucket_entry_present(dc->early_entry))
		slot_let_go(set, dc, slot);
}

void
dirty_landed(struct engine *eng, uint64_t vpage, const struct page *page, journal_pos_t pos)
{
	/* an older version of the page may have been replaced meanwhile: then nobody holds this one */
	landed_in(eng, eng->active, vpage, page, pos);
	landed_in(eng, eng->frozen, vpage, page, pos);
}

void
dirty_attach(struct engine *eng, uint64_t vpage, journal_pos_t pos, struct page *page)
{
	struct dirty_set *sets[] = {eng->active, eng->frozen};

	for (unsigned s = 0; s < ARRAY_SIZE(sets); s++) {
		struct dchunk *dc = dirty_find(sets[s], vpage >> eng->page_shift);
		struct dslot *slot;

		if (!dc ||
		    dchunk_lookup(dc, (unsigned)(vpage & (eng->chunk_pages - 1)), &slot) != DIRTY_JOURNAL ||
		    slot->pos != pos)
			continue;
		slot->page = page_ref(page);
		dc->resident++;
		sets[s]->resident++;
	}
}

/* ---- letting go ------------------------------------------------------------ */

static size_t
shed_chunk(struct engine *eng, struct dirty_set *set, struct dchunk *dc, size_t want)
{
	size_t n = 0;

	for (unsigned g = 0; dc->groups && g < chunk_groups(eng) && n < want; g++) {
		struct dgroup *group = dc->groups[g];
		uint64_t data = group ? group->present & ~group->zero : 0;

		while (data && n < want) {
			struct dslot *slot = &group->slot[__builtin_ctzll(data)];

			data &= data - 1;
			if (!slot->page || !slot->pos || !page_exclusive(slot->page))
				continue;
			slot_let_go(set, dc, slot);
			n++;
		}
	}
	return n;
}

static size_t
shed_set(struct engine *eng, struct dirty_set *set, size_t want)
{
	size_t n = 0;

	if (!set || !set->resident)
		return 0;
	/* once around, from where the last search ended */
	for (size_t i = 0; i < set->nchunks && n < want && set->resident; i++) {
		if (!set->shed)
			set->shed = set->first;
		struct dchunk *dc = set->shed;
		if (dc->resident)
			n += shed_chunk(eng, set, dc, want - n);
		if (n < want)
			set->shed = dc->next;
	}
	return n;
}

void
dirty_shed_chunk(struct engine *eng, struct dchunk *dc)
{
	bool active = dirty_find(eng->active, dc->index) == dc;

	(void)shed_chunk(eng, active ? eng->active : eng->frozen, dc, dc->resident);
}

size_t
dirty_shed(struct engine *eng, size_t n)
{
	if (!eng->journal)
		return 0;
	size_t done = shed_set(eng, eng->active, n);
	if (done < n)
		done += shed_set(eng, eng->frozen, n - done);
	return done;
}
