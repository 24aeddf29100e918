/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MODE SENSE and MODE SELECT (SPC-4 6.9 - 6.12, 7.5; SBC-3 6.5).
 *
 * A page is a row: how its current values look, and which bits may change.
 * MODE SELECT compares what comes with what is: a difference where nothing may
 * change is an error, and nothing at all changes then.
 * There are no saved values; default values are those of a unit after reset.
 *
 * Threads: the unit's home.
 */
#include "gateway/scsi/scsi_impl.h"

#define PAGE_MAX 32

/* What can change. */
struct mode_values {
	bool d_sense, swp, tas, wce;
};

struct mode_page {
	uint8_t code, subpage;
	uint8_t len; /* whole */
	void (*put)(const struct mode_values *values, uint8_t *page);
	/** The values as page says. */
	void (*get)(struct mode_values *values, const uint8_t *page);
};

static void
put_nothing(const struct mode_values *values, uint8_t *page)
{
	(void)values;
	(void)page;
}

static void
get_nothing(struct mode_values *values, const uint8_t *page)
{
	(void)values;
	(void)page;
}

static void
put_caching(const struct mode_values *values, uint8_t *page)
{
	page[2] = values->wce ? 0x04 : 0;
}

static void
get_caching(struct mode_values *values, const uint8_t *page)
{
	values->wce = page[2] & 0x04;
}

static void
put_control(const struct mode_values *values, uint8_t *page)
{
	page[2] = (uint8_t)(0x02 | (values->d_sense ? 0x04 : 0)); /* GLTSD */
	page[3] = 0x10;                                           /* reordering is not restricted */
	page[4] = values->swp ? 0x08 : 0;
	page[5] = values->tas ? 0x40 : 0;
	put_be16(page + 8, 0xffff); /* busy for as long as it takes */
}

static void
get_control(struct mode_values *values, const uint8_t *page)
{
	values->d_sense = page[2] & 0x04;
	values->swp = page[4] & 0x08;
	values->tas = page[5] & 0x40;
}

static void
put_exceptions(const struct mode_values *values, uint8_t *page)
{
	(void)values;
	page[2] = 0x08; /* DEXCPT */
}

/* In the order of MODE SENSE: by code, then subpage. */
static const struct mode_page mode_pages[] = {
	{0x01, 0x00, 12, put_nothing, get_nothing}, /* read-write error recovery */
	{0x08, 0x00, 20, put_caching, get_caching},    {0x0a, 0x00, 12, put_control, get_control},
	{0x0a, 0x01, 32, put_nothing, get_nothing}, /* control extension */
	{0x1c, 0x00, 12, put_exceptions, get_nothing},
};

static void
values_of(const struct scsi_lu *lu, struct mode_values *ret)
{
	*ret = (struct mode_values){.d_sense = lu->d_sense, .swp = lu->swp, .tas = lu->tas, .wce = lu->wce};
}

/* Current or other values, as a whole page. */
static void
build_page(const struct mode_page *page, const struct mode_values *values, uint8_t buf[PAGE_MAX])
{
	memset(buf, 0, PAGE_MAX);
	page->put(values, buf);
	if (page->subpage) {
		buf[0] = 0x40 | page->code;
		buf[1] = page->subpage;
		put_be16(buf + 2, (uint16_t)(page->len - 4));
	} else {
		buf[0] = page->code;
		buf[1] = (uint8_t)(page->len - 2);
	}
}

/* The bits that may change: those that differ between nothing set and everything settable set. */
static void
build_changeable(const struct scsi_lu *lu, const struct mode_page *page, uint8_t buf[PAGE_MAX])
{
	struct mode_values none = {0};
	/* a cache that is not there cannot be turned on */
	struct mode_values all = {.d_sense = true, .swp = true, .tas = true, .wce = lu->vol->write_cache};
	uint8_t off[PAGE_MAX];

	build_page(page, &none, off);
	build_page(page, &all, buf);
	for (unsigned i = page->subpage ? 4 : 2; i < page->len; i++)
		buf[i] ^= off[i];
}

/* -- MODE SENSE ---------------------------------------------------------- */

enum { PC_CURRENT, PC_CHANGEABLE, PC_DEFAULT, PC_SAVED };

static void
put_page(struct datain *in, const struct scsi_lu *lu, const struct mode_page *page, unsigned control)
{
	struct mode_values values = {.wce = lu->vol->write_cache};
	uint8_t buf[PAGE_MAX];

	if (control == PC_CHANGEABLE) {
		build_changeable(lu, page, buf);
	} else {
		if (control == PC_CURRENT)
			values_of(lu, &values);
		build_page(page, &values, buf);
	}
	datain_put(in, buf, page->len);
}

/* The pages that code and subpage select; how many. */
static unsigned
put_pages(struct datain *in, const struct scsi_lu *lu, const uint8_t *cdb)
{
	unsigned code = cdb[2] & 0x3f, subpage = cdb[3], n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(mode_pages); i++) {
		const struct mode_page *page = &mode_pages[i];

		if (code != 0x3f && code != page->code)
			continue;
		if (subpage != 0xff && subpage != page->subpage)
			continue;
		put_page(in, lu, page, cdb[2] >> 6);
		n++;
	}
	return n;
}

static void
put_block_descriptor(struct datain *in, const struct scsi_lu *lu, bool is_long)
{
	uint64_t blocks = lu_blocks(lu);

	if (is_long) {
		datain_be64(in, blocks);
		datain_be32(in, 0);
	} else {
		datain_be32(in, (uint32_t)min_of(blocks, (uint64_t)UINT32_MAX));
	}
	datain_be32(in, lu->vol->block_size);
}

enum scsi_step
spc_mode_sense(struct scsi_task *task)
{
	const struct scsi_lu *lu = task->lu;
	bool ten = task->cdb[0] == 0x5a, is_long = ten && (task->cdb[1] & 0x10);
	unsigned block_len = task->cdb[1] & 0x08 ? 0 : is_long ? 16 : 8;
	bool protect = lu->vol->read_only || lu->swp || task->read_only;
	unsigned specific = (protect ? 0x80u : 0) | 0x10u; /* WP, DPOFUA */
	struct datain in;
	uint8_t len[2];

	if (task->cdb[2] >> 6 == PC_SAVED)
		return task_fail(task, SE_NO_SAVING);
	if (task->cdb[3] != 0 && task->cdb[3] != 0xff && (task->cdb[2] & 0x3f) == 0x3f)
		return task_fail_cdb(task, 3);
	datain_begin(task, &in);
	datain_zero(&in, ten ? 2 : 1);
	datain_u8(&in, 0);
	datain_u8(&in, specific);
	if (ten) {
		datain_u8(&in, is_long && block_len);
		datain_u8(&in, 0);
		datain_be16(&in, block_len);
	} else {
		datain_u8(&in, block_len);
	}
	if (block_len)
		put_block_descriptor(&in, lu, is_long);
	if (put_pages(&in, lu, task->cdb) == 0)
		return task_fail_cdb(task, 2);
	if (ten) {
		put_be16(len, (uint16_t)(in.len - 2));
		datain_set(&in, 0, len, 2);
	} else {
		len[0] = (uint8_t)(in.len - 1);
		datain_set(&in, 0, len, 1);
	}
	return datain_end(task, &in);
}

/* -- MODE SELECT --------------------------------------------------------- */

/* SPC-4 7.5.6: number of blocks 0, all ones or as it is; block length as it is. */
static bool
block_descriptor_fits(const struct scsi_lu *lu, const uint8_t *p, unsigned len)
{
	uint64_t blocks = len == 16 ? get_be64(p) : get_be32(p);
	uint64_t ones = len == 16 ? UINT64_MAX : UINT32_MAX;
	uint32_t block_size = len == 16 ? get_be32(p + 12) : get_be24(p + 5);

	if (blocks != 0 && blocks != ones && blocks != lu_blocks(lu))
		return false;
	return block_size == 0 || block_size == lu->vol->block_size;
}

/* One page at list + at; its length in *ret_len. */
static enum scsi_step
take_page(struct scsi_task *task, const uint8_t *list, unsigned at, unsigned left, struct mode_values *values,
	  unsigned *ret_len)
{
	const uint8_t *p = list + at;
	unsigned code = p[0] & 0x3f, subpage = 0, head = 2;
	uint8_t now[PAGE_MAX], mask[PAGE_MAX];
	const struct mode_page *page = NULL;
	struct mode_values current;

	if (left < 2)
		return task_fail(task, SE_PARAM_LENGTH);
	if (p[0] & 0x40) {
		if (left < 4)
			return task_fail(task, SE_PARAM_LENGTH);
		subpage = p[1];
		head = 4;
	}
	for (size_t i = 0; i < ARRAY_SIZE(mode_pages); i++)
		if (mode_pages[i].code == code && mode_pages[i].subpage == subpage)
			page = &mode_pages[i];
	if (!page)
		return task_fail_param(task, at);
	*ret_len = head + (head == 4 ? get_be16(p + 2) : p[1]);
	if (*ret_len != page->len)
		return task_fail_param(task, at + head - 1);
	if (*ret_len > left)
		return task_fail(task, SE_PARAM_LENGTH);
	values_of(task->lu, &current);
	build_page(page, &current, now);
	build_changeable(task->lu, page, mask);
	for (unsigned i = head; i < page->len; i++)
		if ((p[i] ^ now[i]) & ~mask[i])
			return task_fail_param(task, at + i);
	page->get(values, p);
	return STEP_GOOD;
}

static enum scsi_step
take_list(struct scsi_task *task, const uint8_t *list, unsigned len, struct mode_values *values)
{
	bool ten = task->cdb[0] == 0x55;
	unsigned at = ten ? 8 : 4, block_len, unit;

	if (len < at)
		return task_fail(task, SE_PARAM_LENGTH);
	if (list[ten ? 2 : 1] != 0) /* medium type */
		return task_fail_param(task, ten ? 2 : 1);
	block_len = ten ? get_be16(list + 6) : list[3];
	unit = ten && (list[4] & 0x01) ? 16 : 8;
	if (block_len != 0 && block_len != unit)
		return task_fail_param(task, ten ? 6 : 3);
	if (block_len > len - at)
		return task_fail(task, SE_PARAM_LENGTH);
	if (block_len && !block_descriptor_fits(task->lu, list + at, unit))
		return task_fail_param(task, at);
	for (at += block_len; at < len;) {
		unsigned page_len;
		enum scsi_step step = take_page(task, list, at, len - at, values, &page_len);

		if (step != STEP_GOOD)
			return step;
		at += page_len;
	}
	return STEP_GOOD;
}

static enum scsi_step
apply(struct scsi_task *task, const struct mode_values *values)
{
	struct scsi_lu *lu = task->lu;
	struct mode_values old;

	values_of(lu, &old);
	if (old.d_sense == values->d_sense && old.swp == values->swp && old.tas == values->tas &&
	    old.wce == values->wce)
		return STEP_GOOD;
	lu->d_sense = values->d_sense;
	lu->swp = values->swp;
	lu->tas = values->tas;
	lu->wce = values->wce;
	scsi_lu_attention(lu, UA_MODE_CHANGED, task_itl(task));
	return STEP_GOOD;
}

/* Turning the cache off promises that what was written is durable: flush, then apply. */
enum scsi_step
spc_mode_select(struct scsi_task *task)
{
	struct mode_values values;
	enum scsi_step step;

	if (task->out_len == 0)
		return STEP_GOOD;
	if (!(task->cdb[1] & 0x10)) /* PF: pages of a vendor's own format are not known */
		return task_fail_cdb(task, 1);
	if (task->out_room < task->out_len)
		return task_fail(task, SE_PARAM_LENGTH);
	if (task->state == 1 && task->req.status < 0)
		return task_fail_io(task);
	values_of(task->lu, &values);
	step = take_list(task, task->pages[0]->data, task->out_len, &values);
	if (step != STEP_GOOD)
		return step;
	if (task->state == 0 && task->lu->wce && !values.wce) {
		task->state = 1;
		task_io(task, VOL_FLUSH, 0, 0, NULL, 0);
		return STEP_IO;
	}
	return apply(task, &values);
}
