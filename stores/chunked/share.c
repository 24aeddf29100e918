/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of shared bases: how many entries of the map name a base, where it is more than one.
 *
 * eng->shares is that of the last root that was swapped.  When all chunks of a commit are staged, what the new map names
 * and what it no longer names are added up (shares_count); the result goes into the new root, and counts
 * when that is swapped: the table is always that of the leaves beside it.  A base that is named once is not in
 * the table, and one that is named by nobody any more goes to the dead list, once.
 *
 * Bound: a clone is accepted only while the table has room for it and all that no root has yet, so a commit never finds
 * the table full.
 *
 * Failure: until the root is swapped nothing of it counts; a commit that is tried again uses what was counted.
 * Thread: the volume's loop; shares_load() on open's.
 */
#include "stores/chunked/engine.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

struct change {
	struct bucket_share base;
	int64_t by;
};

static size_t
pending_clones(const struct engine *eng)
{
	return eng->active->clones + (eng->frozen ? eng->frozen->clones : 0);
}

static int
compare_shares(const void *a, const void *b)
{
	return bucket_share_order(a, b);
}

bool
shares_room(const struct engine *eng, const struct bucket_share *base, size_t more)
{
	const struct shares *shares = &eng->shares;
	const struct bucket_share *found =
		shares->n ? bsearch(base, shares->list, shares->n, sizeof(*base), compare_shares) : NULL;
	uint64_t pending = pending_clones(eng) + more;

	return shares->n + pending <= eng->params.shared_bases &&
	       (found ? found->count : 1) + pending <= UINT32_MAX;
}

int
shares_load(struct engine *eng, const struct bucket_root *root)
{
	struct bucket_share *list = NULL;

	if (root->nshares) {
		list = malloc(root->nshares * sizeof(*list));
		if (!list)
			return -ENOMEM;
		memcpy(list, root->shares, root->nshares * sizeof(*list));
	}
	free(eng->shares.list);
	eng->shares = (struct shares){.list = list, .n = root->nshares};
	return 0;
}

void
shares_drop(struct commit *c)
{
	free(c->shares.list);
	free(c->dead);
	c->shares = (struct shares){.list = NULL};
	c->dead = NULL;
	c->ndead = 0;
	c->counted = false;
}

/* ---- adding up ---------------------------------------------------------------------------- */

/** What the staged chunks change, a change an entry; changes: NULL to count them.  *ret_more: there is a clone. */
static size_t
collect(const struct commit *c, struct change *changes, bool *ret_more)
{
	size_t n = 0;

	for (size_t i = 0; i < c->norder; i++) {
		const struct dchunk *dc = c->order[i];

		if (entry_same(dc->old, dc->entry))
			continue;
		if (bucket_entry_present(dc->old)) {
			if (changes)
				changes[n] = (struct change){base_name(dc->index, dc->old), -1};
			n++;
		}
		/* a base that is new is named here and nowhere else */
		if (bucket_entry_present(dc->base) && entry_same(dc->base, dc->entry)) {
			if (changes)
				changes[n] = (struct change){base_name(dc->index, dc->entry), 1};
			n++;
			*ret_more = true;
		}
	}
	return n;
}

/** One change a base, ascending; how many. */
static size_t
add_up(struct change *changes, size_t n)
{
	size_t out = 0;

	qsort(changes, n, sizeof(*changes), compare_shares); /* base is the first member */
	for (size_t i = 0; i < n; i++) {
		if (out && bucket_share_order(&changes[out - 1].base, &changes[i].base) == 0)
			changes[out - 1].by += changes[i].by;
		else
			changes[out++] = changes[i];
	}
	return out;
}

/** The table as it was, with the changes: into list, and what is dead. */
static void
apply(struct engine *eng, const struct change *changes, size_t n, struct bucket_share *list)
{
	struct commit *c = &eng->commit;
	const struct shares *was = &eng->shares;
	uint32_t at = 0, out = 0;

	for (size_t i = 0; i < n; i++) {
		const struct change *change = &changes[i];
		int64_t count = 1;

		while (at < was->n && bucket_share_order(&was->list[at], &change->base) < 0)
			list[out++] = was->list[at++];
		if (at < was->n && bucket_share_order(&was->list[at], &change->base) == 0)
			count = was->list[at++].count;
		count += change->by;
		if (count >= 2) {
			list[out] = change->base;
			list[out++].count = (uint32_t)min_of(count, (int64_t)UINT32_MAX);
		} else if (count == 0) {
			c->dead[c->ndead++] = change->base;
		} else if (count < 0) {
			/* the root that was opened counted wrong: rather a leak than a base too few */
			log_error(
				"volume %s: a base of chunk %u is named more often than the root says; it is kept",
				eng->vol.name, change->base.origin);
		}
	}
	while (at < was->n)
		list[out++] = was->list[at++];
	c->shares = (struct shares){.list = list, .n = out};
}

int
shares_count(struct engine *eng)
{
	struct commit *c = &eng->commit;
	bool more = false;
	size_t n = collect(c, NULL, &more);

	shares_drop(c);
	struct change *changes = malloc((n + 1) * sizeof(*changes));
	struct bucket_share *list = malloc((eng->shares.n + n + 1) * sizeof(*list));
	c->dead = malloc((n + 1) * sizeof(*c->dead));
	if (!changes || !list || !c->dead) {
		free(changes);
		free(list);
		shares_drop(c);
		return -ENOMEM;
	}
	n = collect(c, changes, &more);
	/* without clones each stands for itself */
	if (more || eng->shares.n)
		n = add_up(changes, n);
	apply(eng, changes, n, list);
	free(changes);
	c->counted = true;
	return 0;
}

void
shares_swapped(struct engine *eng)
{
	struct commit *c = &eng->commit;

	free(eng->shares.list);
	eng->shares = c->shares;
	c->shares = (struct shares){.list = NULL};
}

void
shares_bury(struct engine *eng)
{
	struct commit *c = &eng->commit;

	for (size_t i = 0; i < c->ndead; i++) {
		const struct bucket_share *base = &c->dead[i];

		dead_add(eng, BUCKET_KEY_BASE, base->origin, base->generation, base->seq);
		crctab_drop(eng, base->origin, bucket_entry_base(base->generation, base->seq));
	}
	c->ndead = 0;
}
