/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CRC tables of bases: fetched with the first touch of a base, kept under
 * a cap, least recently used ones going first.
 *
 * A base never changes, so a table is known by chunk, generation and sequence and needs no invalidation; a
 * commit drops what it replaced and adds what it wrote.
 *
 * States: absent -> loading -> here -> absent.  A table that cannot be had (missing object, wrong footer:
 * fetched once more first) is LG_ECORRUPT for everyone who waits, and nothing is remembered.
 *
 * Thread: the volume's loop.
 */
#include "stores/chunked/engine.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"

struct tabload {
	struct engine *eng;
	struct crctab *tab;
	unsigned attempts;
	struct object_req req;
	struct iovec iov;
	char key[OBJECT_KEY_MAX + 1];
	uint8_t buf[];
};

int
crctab_init(struct engine *eng)
{
	eng->crctabs = (struct crctabs){.nbuckets = 1024};
	eng->crctabs.buckets = calloc(eng->crctabs.nbuckets, sizeof(struct crctab *));
	return eng->crctabs.buckets ? 0 : -ENOMEM;
}

static struct crctab **
bucket_of(struct crctabs *tabs, uint64_t chunk)
{
	return &tabs->buckets[(chunk * UINT64_C(0x9e3779b97f4a7c15) >> 24) & (tabs->nbuckets - 1)];
}

static void
lru_remove(struct crctabs *tabs, struct crctab *tab)
{
	if (tab->prev)
		tab->prev->next = tab->next;
	else
		tabs->head = tab->next;
	if (tab->next)
		tab->next->prev = tab->prev;
	else
		tabs->tail = tab->prev;
}

static void
lru_push(struct crctabs *tabs, struct crctab *tab)
{
	tab->prev = NULL;
	tab->next = tabs->head;
	if (tabs->head)
		tabs->head->prev = tab;
	else
		tabs->tail = tab;
	tabs->head = tab;
}

static void
tab_unlink(struct crctabs *tabs, struct crctab *tab)
{
	struct crctab **p = bucket_of(tabs, tab->chunk);

	while (*p != tab)
		p = &(*p)->hash_next;
	*p = tab->hash_next;
	lru_remove(tabs, tab);
	tabs->n--;
}

static void
tab_remove(struct crctabs *tabs, struct crctab *tab)
{
	assert(!tab->load && !tab->waiters);
	tab_unlink(tabs, tab);
	free(tab);
}

void
crctab_fini(struct engine *eng)
{
	while (eng->crctabs.head)
		tab_remove(&eng->crctabs, eng->crctabs.head);
	free(eng->crctabs.buckets);
	eng->crctabs.buckets = NULL;
}

/** Tables are kept under the chunk that the base was written for: who else names the base shares the table. */
static uint64_t
origin_of(uint64_t chunk, struct bucket_entry *entry)
{
	chunk = bucket_entry_origin(*entry, chunk);
	*entry = bucket_entry_base(entry->generation, bucket_entry_seq(*entry));
	return chunk;
}

static struct crctab *
tab_find(struct engine *eng, uint64_t chunk, struct bucket_entry entry)
{
	chunk = origin_of(chunk, &entry);
	struct crctab *tab = *bucket_of(&eng->crctabs, chunk);

	while (tab && (tab->chunk != chunk || !entry_same(tab->entry, entry)))
		tab = tab->hash_next;
	return tab;
}

static struct crctab *
tab_make(struct engine *eng, uint64_t chunk, struct bucket_entry entry)
{
	struct crctab *tab = malloc(sizeof(*tab) + eng->chunk_pages * sizeof(uint32_t));

	if (!tab)
		return NULL;
	chunk = origin_of(chunk, &entry);
	struct crctab **p = bucket_of(&eng->crctabs, chunk);
	*tab = (struct crctab){.chunk = chunk, .entry = entry, .hash_next = *p};
	*p = tab;
	lru_push(&eng->crctabs, tab);
	eng->crctabs.n++;
	return tab;
}

static void
trim(struct engine *eng)
{
	struct crctab *tab = eng->crctabs.tail;

	while (tab && eng->crctabs.n > eng->params.crc_tables) {
		struct crctab *prev = tab->prev;

		if (!tab->load && !tab->pinned)
			tab_remove(&eng->crctabs, tab);
		tab = prev;
	}
}

const struct crctab *
crctab_get(struct engine *eng, uint64_t chunk, struct bucket_entry entry)
{
	struct crctab *tab = tab_find(eng, chunk, entry);

	if (!tab || tab->load)
		return NULL;
	if (eng->crctabs.head != tab) {
		lru_remove(&eng->crctabs, tab);
		lru_push(&eng->crctabs, tab);
	}
	return tab;
}

void
crctab_add(struct engine *eng, uint64_t chunk, struct bucket_entry entry, uint32_t length, uint32_t data_crc,
	   const uint32_t *crcs)
{
	if (tab_find(eng, chunk, entry))
		return;
	struct crctab *tab = tab_make(eng, chunk, entry);
	if (!tab)
		return; /* it will be fetched when it is needed */
	tab->length = length;
	tab->data_crc = data_crc;
	memcpy(tab->crcs, crcs, eng->chunk_pages * sizeof(*crcs));
	trim(eng);
}

void
crctab_drop(struct engine *eng, uint64_t chunk, struct bucket_entry entry)
{
	struct crctab *tab = tab_find(eng, chunk, entry);

	if (tab && !tab->load && !tab->pinned)
		tab_remove(&eng->crctabs, tab);
}

/* ---- loading ----------------------------------------------------------------- */

static void
load_finish(struct tabload *load, int status)
{
	struct engine *eng = load->eng;
	struct crctab *tab = load->tab;
	struct crctab_wait *waiters = tab->waiters;

	tab->waiters = NULL;
	tab->load = NULL;
	tab->pinned = true;
	/* who asks again from within a waiter starts anew */
	if (status < 0)
		tab_unlink(&eng->crctabs, tab);
	while (waiters) {
		struct crctab_wait *wait = waiters;

		waiters = wait->next;
		wait->fn(wait, status < 0 ? NULL : tab, status);
	}
	tab->pinned = false;
	free(load);
	if (status < 0)
		free(tab);
	trim(eng);
	engine_release(eng);
}

int
crctab_decode(struct engine *eng, uint64_t chunk, struct bucket_entry entry, const uint8_t *tail,
	      struct bucket_base *ret, uint32_t *crcs)
{
	struct bucket_base expect = {.index = bucket_entry_origin(entry, chunk),
				     .generation = entry.generation,
				     .seq = bucket_entry_seq(entry),
				     .chunk_size = eng->vol.chunk_size};

	memcpy(expect.uuid, eng->vol.uuid, UUID_LEN);
	return bucket_base_tail_decode(tail, bucket_base_tail_bytes(eng->vol.chunk_size), &expect, ret, crcs);
}

static int
load_decode(struct tabload *load)
{
	struct crctab *tab = load->tab;
	struct bucket_base base;
	int r = crctab_decode(load->eng, tab->chunk, tab->entry, load->buf, &base, tab->crcs);

	if (r < 0)
		return r;
	tab->length = base.length;
	tab->data_crc = base.data_crc;
	return 0;
}

static void
load_done(struct object_req *req)
{
	struct tabload *load = container_of(req, struct tabload, req);
	struct engine *eng = load->eng;

	engine_object_done(eng, req, TRAFFIC_TAIL);
	int r = req->status;
	if (r == 0)
		r = load_decode(load);
	if (r == -ENODATA)
		r = LG_ECORRUPT;
	/* -ENOENT stays as it is: whoever asks knows whether the map still names this base */
	if (r < 0 && engine_worth_repeating(r) && load->attempts++ == 0 && !engine_stopped(eng)) {
		engine_object(eng, req, TRAFFIC_TAIL);
		return;
	}
	if (r == LG_ECORRUPT)
		counter_add(&eng->crc_errors, 1);
	load_finish(load, r);
}

static int
load_start(struct engine *eng, struct crctab *tab)
{
	size_t n = bucket_base_tail_bytes(eng->vol.chunk_size);
	struct tabload *load = malloc(sizeof(*load) + n);

	if (!load)
		return -ENOMEM;
	*load = (struct tabload){.eng = eng, .tab = tab};
	int r = bucket_key_base(eng->prefix, (uint32_t)tab->chunk, tab->entry.generation,
				bucket_entry_seq(tab->entry), load->key, sizeof(load->key));
	if (r < 0) {
		free(load);
		return r;
	}
	load->iov = (struct iovec){load->buf, n};
	load->req = (struct object_req){.store = eng->store,
					.op = OBJECT_GET,
					.key = load->key,
					.iov = &load->iov,
					.niov = 1,
					.offset = GET_SUFFIX,
					.length = n,
					.done = load_done};
	tab->load = load;
	engine_hold(eng);
	engine_object(eng, &load->req, TRAFFIC_TAIL);
	return 0;
}

void
crctab_load(struct engine *eng, uint64_t chunk, struct bucket_entry entry, struct crctab_wait *wait)
{
	struct crctab *tab = tab_find(eng, chunk, entry);

	if (tab && !tab->load) {
		wait->fn(wait, tab, 0);
		return;
	}
	if (!tab) {
		tab = tab_make(eng, chunk, entry);
		int r = tab ? load_start(eng, tab) : -ENOMEM;
		if (r < 0) {
			if (tab)
				tab_remove(&eng->crctabs, tab);
			wait->fn(wait, NULL, r);
			return;
		}
	}
	wait->next = tab->waiters;
	tab->waiters = wait;
}

/* ---- CRC arithmetic ------------------------------------------------------------ */

/* What 4096 further bytes do to the CRC before them, byte of the CRC by byte: the effect is linear. */
static uint32_t shift_page[4][256];
static pthread_once_t shift_once = PTHREAD_ONCE_INIT;

static void
shift_make(void)
{
	static const uint8_t zeroes[PAGE_SIZE_BYTES];
	uint32_t none = crc32c(0, zeroes, sizeof(zeroes));

	for (unsigned byte = 0; byte < 4; byte++)
		for (uint32_t v = 0; v < 256; v++)
			shift_page[byte][v] = crc32c(v << (8 * byte), zeroes, sizeof(zeroes)) ^ none;
}

uint32_t
crc32c_append_page(uint32_t crc, uint32_t page_crc)
{
	pthread_once(&shift_once, shift_make);
	return page_crc ^ shift_page[0][crc & 255] ^ shift_page[1][crc >> 8 & 255] ^
	       shift_page[2][crc >> 16 & 255] ^ shift_page[3][crc >> 24];
}
