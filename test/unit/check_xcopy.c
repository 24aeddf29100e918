/* SPDX-License-Identifier: GPL-2.0-or-later */
/* EXTENDED COPY: what is read and written, overlaps, memory, and what breaks it off. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/scsi/scsi_impl.h"
#include "test/unit/copy_list.h"
#include "test/unit/scsi_run.h"

enum { S_UNREACHABLE = 0x0a0d02, S_COPY_ABORTED = 0x0a0000 };

#define SIZE (BLOCKS * 512u)
#define CHUNK (1u << 20)

static struct disk *other;
static uint8_t want[SIZE];
static struct copy_list list;

static uint32_t seed;

static uint32_t
next_random(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(seed >> 3) * below >> 29);
}

/* Bytes in the chunks of the mask, and holes. */
static void
scatter(struct disk *disk, uint32_t mask)
{
	for (unsigned c = 0; c < SIZE / CHUNK; c++) {
		uint8_t *chunk = disk->bytes + c * CHUNK;

		disk->present[c] = mask >> c & 1;
		memset(chunk, disk->present[c] ? (int)(c + seed) | 1 : 0, CHUNK);
		for (unsigned i = 0; disk->present[c] && i < CHUNK; i += 512) /* every block is another */
			put_le32(chunk + i, c * CHUNK + i + seed);
	}
}

static uint64_t
bytes_of(const struct disk *disk, enum vol_op op)
{
	return counter_read(&disk->vol.stats.bytes[op]);
}

static struct disk *
map_other(unsigned lun, struct loop *loop)
{
	struct disk *disk = disk_new("other", &(struct rig_options){0}, loop, rig.arena);

	memset(disk->vol.naa, 0x42, sizeof(disk->vol.naa));
	memset(disk->vol.uuid, 0x42, sizeof(disk->vol.uuid));
	ck_assert_int_eq(scsi_target_map(rig.target, lun, &disk->vol, NULL), 0);
	rig_clear_attentions(&rig);
	(void)run(CDB(0x00), 0, 0);
	(void)run_on(1, CDB(0x00), 0, 0);
	return disk;
}

static void
setup_two(void)
{
	seed = 1;
	(void)setup; /* of one loop */
	start_rig(&(struct rig_options){.two_loops = true});
	other = map_other(3, rig.front);
}

static void
teardown_two(void)
{
	ck_assert_int_eq(scsi_target_unmap(rig.target, 3), 0);
	disk_free(other);
	teardown();
}

static void
begin_list(void)
{
	const struct volume *vols[] = {&rig.disk->vol, &other->vol};

	copy_list_begin(&list, 9, vols, 2);
}

static enum scsi_status
run_list(void)
{
	memcpy(out_buf, list.bytes, list.len);
	return run(list.cdb, list.len, 0);
}

static void
good_list(void)
{
	enum scsi_status status = run_list();

	ck_assert_msg(status == SCSI_GOOD, "status %02x sense %06x", status, cmd_sense(&cmd));
}

static void
start_list(struct cmd *c)
{
	cmd_init(c, &rig, 0, list.cdb, 16);
	c->out = list.bytes;
	c->task.out_room = list.len;
	c->task.tag = 7;
	cmd_begin(c);
}

static void
same(const uint8_t *have, const uint8_t *wanted, size_t n, const char *what)
{
	size_t i = memcmp(have, wanted, n) ? 0 : n;

	while (i < n && have[i] == wanted[i])
		i++;
	ck_assert_msg(i == n, "%s: byte %zu", what, i);
}

/* -- what travels -------------------------------------------------------- */

START_TEST(holes_are_not_moved)
{
	scatter(rig.disk, 0x24); /* 2 and 5 */
	scatter(other, 0xff);
	begin_list();
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	good_list();
	same(other->bytes, rig.disk->bytes, SIZE, "copy");
	ck_assert_uint_eq(bytes_of(rig.disk, VOL_READ), 2 * CHUNK);
	ck_assert_uint_eq(bytes_of(other, VOL_WRITE), 2 * CHUNK);
	ck_assert_uint_eq(bytes_of(other, VOL_UNMAP), SIZE - 2 * CHUNK);
	ck_assert_uint_eq(other->seen[VOL_UNMAP], 3);
	for (unsigned c = 0; c < SIZE / CHUNK; c++)
		ck_assert_int_eq(other->present[c], c == 2 || c == 5);
	expect_good(CDB(0x84, 0, 9, [13] = 12), 0, 12);
	ck_assert_uint_eq(get_be32(in_buf + 8), SIZE); /* all of it counts */
	expect_sense(CDB(0x84, 0, 9, [13] = 12), 0, S_CDB);
}
END_TEST

/* Where space is never given back, zeroes are written as such. */
START_TEST(thick_units_get_zeroes)
{
	scatter(rig.disk, 0x01);
	scatter(other, 0xff);
	other->vol.thin = false;
	begin_list();
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	good_list();
	same(other->bytes, rig.disk->bytes, SIZE, "copy");
	ck_assert_uint_eq(bytes_of(other, VOL_ZERO), SIZE - CHUNK);
	ck_assert_uint_eq(other->seen[VOL_UNMAP], 0);
}
END_TEST

/* The map may be unreadable; the data need not. */
START_TEST(copies_without_a_map)
{
	scatter(rig.disk, 0x42);
	rig.disk->fail = LG_ECORRUPT;
	rig.disk->fail_op = VOL_MAP;
	begin_list();
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	good_list();
	same(other->bytes, rig.disk->bytes, SIZE, "copy");
	ck_assert_uint_eq(bytes_of(rig.disk, VOL_READ), SIZE);
}
END_TEST

/* Initiators that turned the write cache off get durable copies. */
START_TEST(copies_are_as_durable_as_writes)
{
	scatter(rig.disk, 0x01);
	begin_list();
	copy_list_segment(&list, 0, 1, 4096, 0, 0);
	good_list();
	ck_assert_uint_eq(other->fua[VOL_WRITE], other->seen[VOL_WRITE]);
	ck_assert_uint_eq(other->fua[VOL_UNMAP], other->seen[VOL_UNMAP]);
	ck_assert_uint_gt(other->seen[VOL_UNMAP], 0);
}
END_TEST

START_TEST(several_pieces_are_in_flight)
{
	struct cmd c;

	scatter(rig.disk, 0xff);
	disk_hold(rig.disk, VOL_READ);
	begin_list();
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	start_list(&c);
	disk_wait_held(rig.disk, 6); /* of 8; 1/8 of the arena */
	disk_release(rig.disk);
	cmd_wait(&c);
	ck_assert_int_eq(c.task.status, SCSI_GOOD);
	same(other->bytes, rig.disk->bytes, SIZE, "copy");
}
END_TEST

/* -- clones -------------------------------------------------------------- */

/* Whole chunks that lie alike are not read; what is around them, and what the volume does not clone, is. */
START_TEST(whole_chunks_are_cloned)
{
	static const struct {
		uint32_t from, to, blocks, unclonable, mask;
		unsigned cloned, read; /* read: bytes */
	} cases[] = {
		{0, 8192, 8192, 0, 0x0f, 4, 0},
		{8192, 0, 8192, 0, 0xf0, 4, 0},
		{0, 8192, 8192, 0x02, 0x0f, 3, CHUNK},
		{0, 8192, 8192, 0x09, 0x0f, 2, 2 * CHUNK},
		{0, 8192, 8192, 0x0f, 0x0f, 0, 4 * CHUNK},
		{0, 8192, 8192, 0, 0x0d, 3, 0},                           /* a hole */
		{1, 8193, 8000, 0, 0x0f, 2, (2047 + 8001 - 6144) * 512u}, /* head and tail */
		{100, 8292, 6243, 0, 0x0f, 2, (1948 + 199) * 512u},
		{1, 8193, 2046, 0, 0x0f, 0, 2046 * 512u}, /* no chunk is whole */
		{0, 8200, 8000, 0, 0x0f, 0, 8000 * 512u}, /* they do not lie alike */
		{0, 2048, 8192, 0, 0x0f, 0, 4 * CHUNK},   /* overlap, either way */
		{2048, 0, 8192, 0, 0x1e, 0, 4 * CHUNK},
	};
	uint64_t off;

	rig.disk->vol.clones = true;
	rig.disk->later = _i % 2;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		seed = (uint32_t)i * 31 + 1;
		scatter(rig.disk, cases[i].mask);
		rig.disk->unclonable = cases[i].unclonable;
		memcpy(want, rig.disk->bytes, SIZE);
		off = cases[i].to * 512u;
		memmove(want + off, want + cases[i].from * 512u, cases[i].blocks * 512u);
		uint64_t read = bytes_of(rig.disk, VOL_READ);
		begin_list();
		copy_list_segment(&list, 0, 0, cases[i].blocks, cases[i].from, cases[i].to);
		good_list();
		same(rig.disk->bytes, want, SIZE, "copy");
		ck_assert_msg(bytes_of(rig.disk, VOL_READ) - read == cases[i].read,
			      "case %zu: %u bytes were read", i,
			      (unsigned)(bytes_of(rig.disk, VOL_READ) - read));
		expect_good(CDB(0x84, 0, 9, [13] = 12), 0, 12);
		ck_assert_uint_eq(get_be32(in_buf + 8), cases[i].blocks * 512u); /* all of it counts */
	}
	ck_assert_uint_eq(rig.disk->fua[VOL_CLONE], rig.disk->seen[VOL_CLONE]);
	/* between two units nothing is, nor where the volume has no such thing */
	unsigned seen = rig.disk->seen[VOL_CLONE];
	begin_list();
	copy_list_segment(&list, 0, 1, 8192, 0, 0);
	good_list();
	rig.disk->vol.clones = false;
	begin_list();
	copy_list_segment(&list, 0, 0, 8192, 0, 8192);
	good_list();
	ck_assert_uint_eq(rig.disk->seen[VOL_CLONE], seen);
}
END_TEST

/* What becomes of it when the volume fails; without memory it is copied. */
START_TEST(clones_that_fail)
{
	static const struct {
		int status;
		uint32_t sense;
	} cases[] = {{-EIO, S_COPY_ABORTED}, {-ENOSPC, 0x072707}, {-ENOMEM, 0}};

	rig.disk->vol.clones = true;
	scatter(rig.disk, 0x0f);
	memcpy(want, rig.disk->bytes, SIZE);
	rig.disk->fail = cases[_i].status;
	rig.disk->fail_op = VOL_CLONE;
	begin_list();
	copy_list_segment(&list, 0, 0, 8192, 0, 8192);
	if (cases[_i].sense) {
		ck_assert_int_eq(run_list(), SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(cmd_sense(&cmd), cases[_i].sense);
		ck_assert_uint_eq(rig.disk->seen[VOL_WRITE] + rig.disk->seen[VOL_READ], 0);
	} else {
		good_list();
		memcpy(want + 4 * CHUNK, want, 4 * CHUNK);
	}
	same(rig.disk->bytes, want, SIZE, "all");
}
END_TEST

/* -- any ranges ---------------------------------------------------------- */

static void
any_copy(unsigned round)
{
	uint32_t blocks = 1 + next_random(BLOCKS - 1), from = next_random(BLOCKS - blocks + 1);
	uint32_t to = next_random(BLOCKS - blocks + 1);
	bool aligned = round & 1, within = round % 3, alike = round & 8;
	struct disk *dst = within ? rig.disk : other;
	char what[96];

	if (aligned) { /* all within their pages alike */
		from -= from % 8;
		to -= to % 8;
	}
	if (alike) { /* some of it is cloned */
		from = min_of(from, BLOCKS - 2048 * 2u);
		to = from % 2048 + next_random(7) * 2048;
		blocks = min_of(blocks, BLOCKS - max_of(from, to));
	}
	rig.disk->unclonable = next_random(256) & next_random(256);
	scatter(rig.disk, next_random(256));
	scatter(other, next_random(256));
	memcpy(want, dst->bytes, SIZE);
	memcpy(want + to * 512u, rig.disk->bytes + from * 512u, blocks * 512u);
	begin_list();
	copy_list_segment(&list, 0, within ? 0 : 1, blocks, from, to);
	good_list();
	(void)snprintf(what, sizeof(what), "%u blocks, %u to %u%s", blocks, from, to,
		       within ? ", overlapping" : "");
	same(dst->bytes, want, SIZE, what);
}

START_TEST(copies_any_range)
{
	rig.disk->vol.clones = true;
	for (unsigned round = 0; round < 48; round++) {
		rig.disk->later = round & 2;
		other->later = round & 4;
		seed = (uint32_t)(round + 1) * 7919u;
		any_copy(round);
	}
}
END_TEST

/* The last piece is read first (disk_release), and lies where the others' bytes come from. */
START_TEST(nothing_is_written_before_it_is_read)
{
	uint32_t from = _i ? 4096 : 0, to = _i ? 2048 : 2048 + 8;
	struct cmd c;

	scatter(rig.disk, 0xff);
	memcpy(want, rig.disk->bytes, SIZE);
	memmove(want + to * 512, want + from * 512, 6 * CHUNK);
	disk_hold(rig.disk, VOL_READ);
	begin_list();
	copy_list_segment(&list, 0, 0, 6 * CHUNK / 512, from, to);
	start_list(&c);
	disk_wait_held(rig.disk, 6);
	disk_release(rig.disk);
	cmd_wait(&c);
	ck_assert_int_eq(c.task.status, SCSI_GOOD);
	same(rig.disk->bytes, want, SIZE, _i ? "down" : "up");
}
END_TEST

/* What a segment wrote the next one reads. */
START_TEST(segments_follow_one_another)
{
	scatter(rig.disk, 0x01);
	scatter(other, 0x00);
	memcpy(want, rig.disk->bytes, CHUNK);
	begin_list();
	copy_list_segment(&list, 0, 1, 2048, 0, 4096);
	copy_list_segment(&list, 1, 0, 2048, 4096, 8192);
	copy_list_segment(&list, 0, 0, 2048, 8192, 8192); /* onto itself */
	copy_list_segment(&list, 0, 0, 2047, 8192, 8193);
	good_list();
	same(rig.disk->bytes + 8193 * 512u, want, 2047 * 512u, "last");
	same(rig.disk->bytes + 8192 * 512u, want, 512, "first block");
	expect_good(CDB(0x84, 0, 9, [13] = 12), 0, 12);
	ck_assert_uint_eq(get_be16(in_buf + 5), 4);
	ck_assert_uint_eq(get_be32(in_buf + 8), (4 * 2048 - 1) * 512u);
}
END_TEST

/* Many copies, an arena of three pieces; every page comes back (rig_fini). */
START_TEST(copies_share_little_memory)
{
	static struct cmd cmds[12];
	static struct copy_list lists[ARRAY_SIZE(cmds)];

	teardown_two();
	start_rig(&(struct rig_options){.two_loops = true, .arena = 3u << 20});
	other = map_other(3, rig.front);
	scatter(rig.disk, 0xff);
	for (unsigned i = 0; i < ARRAY_SIZE(cmds); i++) {
		begin_list();
		copy_list_segment(&list, 0, 1, 1024, i * 1024, i * 1024 + (i & 1));
		lists[i] = list;
		lists[i].bytes[0] = (uint8_t)i;
		cmd_init(&cmds[i], &rig, 0, list.cdb, 16);
		cmds[i].out = lists[i].bytes;
		cmds[i].task.out_room = list.len;
		cmd_begin(&cmds[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(cmds); i++) {
		cmd_wait(&cmds[i]);
		ck_assert_int_eq(cmds[i].start_rc, 0);
		ck_assert_msg(cmds[i].task.status == SCSI_GOOD, "copy %u: status %02x sense %06x", i,
			      cmds[i].task.status, cmd_sense(&cmds[i]));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(cmds); i += 2)
		same(other->bytes + i * 1024 * 512u + 512, rig.disk->bytes + i * 1024 * 512u + 512,
		     1022 * 512u, "even ones");
}
END_TEST

/* -- what breaks it off -------------------------------------------------- */

/* Abort when an op of this kind is held; nothing is begun after the function's response. */
static void
check_abort(struct disk *disk, enum vol_op op, unsigned held)
{
	unsigned writes, unmaps;
	struct cmd c;
	struct tmf tmf;

	scatter(rig.disk, 0xf3);
	scatter(other, 0xff);
	disk_hold(disk, op);
	begin_list();
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	start_list(&c);
	disk_wait_held(disk, held);
	tmf_begin(&tmf, &rig, 0, SCSI_TMF_ABORT_TASK, 0, 7);
	rig_settle(&rig);
	ck_assert_msg(!tmf_is_done(&tmf), "answered while %s was in flight", vol_op_name(op));
	disk_release(disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	writes = other->seen[VOL_WRITE];
	unmaps = other->seen[VOL_UNMAP];
	cmd_wait(&c);
	ck_assert(c.task.silent);
	rig_settle(&rig);
	ck_assert_uint_eq(other->seen[VOL_WRITE], writes);
	ck_assert_uint_eq(other->seen[VOL_UNMAP], unmaps);
	ck_assert_uint_le(bytes_of(rig.disk, VOL_READ), 6 * CHUNK); /* the second segment never began */
	ck_assert_msg(!writes || op == VOL_WRITE || op == VOL_UNMAP, "written after its abort");
}

START_TEST(aborted_copies_leave_no_trace)
{
	static const struct {
		bool of_other;
		enum vol_op op;
		unsigned held;
	} cases[] = {{false, VOL_MAP, 1}, {false, VOL_READ, 2}, {true, VOL_WRITE, 2}, {true, VOL_UNMAP, 1}};

	check_abort(cases[_i].of_other ? other : rig.disk, cases[_i].op, cases[_i].held);
}
END_TEST

/* The same for what is cloned; the rest of the segment never begins. */
START_TEST(aborted_clones_leave_no_trace)
{
	struct cmd c;
	struct tmf tmf;

	rig.disk->vol.clones = true;
	rig.disk->unclonable = 0x02;
	scatter(rig.disk, 0x0f);
	memcpy(want, rig.disk->bytes, SIZE);
	memcpy(want + 4 * CHUNK, want, CHUNK); /* what was in flight */
	disk_hold(rig.disk, VOL_CLONE);
	begin_list();
	copy_list_segment(&list, 0, 0, 8192, 0, 8192);
	copy_list_segment(&list, 0, 0, 8192, 0, 8192);
	start_list(&c);
	disk_wait_held(rig.disk, 1);
	tmf_begin(&tmf, &rig, 0, SCSI_TMF_ABORT_TASK, 0, 7);
	rig_settle(&rig);
	ck_assert_msg(!tmf_is_done(&tmf), "answered while a clone was in flight");
	disk_release(rig.disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	same(rig.disk->bytes, want, SIZE, "at the response");
	cmd_wait(&c);
	ck_assert(c.task.silent);
	rig_settle(&rig);
	ck_assert_uint_eq(rig.disk->seen[VOL_CLONE], 1);
	ck_assert_uint_eq(rig.disk->seen[VOL_READ] + rig.disk->seen[VOL_WRITE] + rig.disk->seen[VOL_UNMAP],
			  0);
	same(rig.disk->bytes, want, SIZE, "later");
}
END_TEST

START_TEST(failures_end_it)
{
	static const struct {
		enum vol_op op;
		int status;
		uint32_t sense;
	} cases[] = {{VOL_READ, LG_ECORRUPT, S_COPY_ABORTED},
		     {VOL_WRITE, -EIO, S_COPY_ABORTED},
		     {VOL_WRITE, -ENOSPC, 0x072707},
		     {VOL_UNMAP, -EIO, S_COPY_ABORTED}};
	struct disk *disk = cases[_i].op == VOL_READ ? rig.disk : other;

	scatter(rig.disk, 0xf3);
	scatter(other, 0xff);
	disk->fail = cases[_i].status;
	disk->fail_op = cases[_i].op;
	begin_list();
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	ck_assert_int_eq(run_list(), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), cases[_i].sense);
	expect_good(CDB(0x84, 0, 9, [13] = 12), 0, 12);
	ck_assert_uint_eq(in_buf[4], 2);
}
END_TEST

/* PERSISTENT RESERVE OUT at the other unit. */
struct pr_cmd {
	struct cmd c;
	uint8_t params[24];
};

static void
begin_pr(struct pr_cmd *pr, unsigned nexus, unsigned action, uint8_t key, uint8_t action_key)
{
	cmd_init(&pr->c, &rig, nexus, CDB(0x5f, (uint8_t)action, action ? PR_WE : 0, [8] = 24), 16);
	memset(pr->params, 0, sizeof(pr->params));
	pr->params[7] = key;
	pr->params[15] = action_key;
	pr->c.task.lun[1] = 3;
	pr->c.out = pr->params;
	pr->c.task.out_room = sizeof(pr->params);
	cmd_begin(&pr->c);
}

static void
end_pr(struct pr_cmd *pr)
{
	cmd_wait(&pr->c);
	ck_assert_int_eq(pr->c.task.status, SCSI_GOOD);
}

static void
register_at_other(unsigned nexus, uint8_t key)
{
	struct pr_cmd pr;

	for (unsigned i = 0; i < 3; i++) { /* attentions */
		cmd_init(&pr.c, &rig, nexus, CDB(0x00), 16);
		pr.c.task.lun[1] = 3;
		(void)cmd_do(&pr.c);
	}
	begin_pr(&pr, nexus, 0, 0, key);
	end_pr(&pr);
}

static void
reserve_other(void)
{
	struct pr_cmd pr;

	register_at_other(1, 1);
	begin_pr(&pr, 1, 1, 1, 0);
	end_pr(&pr);
}

START_TEST(reservations_keep_copies_out)
{
	scatter(rig.disk, 0xff);
	reserve_other();
	begin_list();
	copy_list_segment(&list, 0, 1, 16, 0, 0);
	ck_assert_int_eq(run_list(), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), S_UNREACHABLE);
	ck_assert_uint_eq(other->seen[VOL_WRITE], 0);
	begin_list(); /* reading is allowed */
	copy_list_segment(&list, 1, 0, 16, 0, 0);
	good_list();
}
END_TEST

/* It came while the first of two segments was on the way, and read. */
START_TEST(reservations_stop_copies)
{
	struct cmd c;

	scatter(rig.disk, 0xff);
	memcpy(want, other->bytes, SIZE);
	disk_hold(rig.disk, VOL_READ);
	begin_list();
	copy_list_segment(&list, 0, 1, 16, 0, 0);
	copy_list_segment(&list, 0, 1, 16, 0, 4096);
	start_list(&c);
	disk_wait_held(rig.disk, 1);
	reserve_other();
	disk_release(rig.disk);
	cmd_wait(&c);
	ck_assert_int_eq(c.task.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&c), S_UNREACHABLE);
	same(other->bytes, want, SIZE, "nothing");
	expect_good(CDB(0x84, 0, 9, [13] = 12), 0, 12);
	ck_assert_uint_eq(get_be32(in_buf + 8), 0);
}
END_TEST

/* A copy, a task of the first unit, that has something in flight when something happens at the other one. */
static const struct in_flight {
	bool from_other, of_other;
	enum vol_op op;
	unsigned held;
} in_flights[] = {{false, false, VOL_MAP, 1},  {false, false, VOL_READ, 2}, {false, true, VOL_WRITE, 2},
		  {false, true, VOL_UNMAP, 1}, {true, true, VOL_READ, 2},   {true, false, VOL_WRITE, 2}};

static struct disk *
source(const struct in_flight *in_flight)
{
	return in_flight->from_other ? other : rig.disk;
}

static struct disk *
destination(const struct in_flight *in_flight)
{
	return in_flight->from_other ? rig.disk : other;
}

/* The disk that holds it. */
static struct disk *
start_held(const struct in_flight *in_flight, struct cmd *c)
{
	struct disk *disk = in_flight->of_other ? other : rig.disk;
	unsigned from = in_flight->from_other;

	scatter(source(in_flight), 0xf3);
	scatter(destination(in_flight), 0xff);
	register_at_other(0, 5);
	register_at_other(1, 1);
	disk_hold(disk, in_flight->op);
	begin_list();
	copy_list_segment(&list, from, !from, BLOCKS, 0, 0);
	copy_list_segment(&list, from, !from, BLOCKS, 0, 0);
	start_list(c);
	disk_wait_held(disk, in_flight->held);
	return disk;
}

static void
note_seen(unsigned seen[VOL_OP_COUNT])
{
	for (unsigned op = 0; op < VOL_OP_COUNT; op++)
		seen[op] = other->seen[op];
}

/* It ends so, and begins nothing more at the other unit than what was seen there. */
static void
expect_stopped(struct cmd *c, const struct in_flight *in_flight, uint32_t sense,
	       const unsigned seen[VOL_OP_COUNT])
{
	cmd_wait(c);
	ck_assert_int_eq(c->task.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(c), sense);
	rig_settle(&rig);
	for (unsigned op = 0; op < VOL_OP_COUNT; op++)
		ck_assert_uint_eq(other->seen[op], seen[op]);
	ck_assert_uint_le(bytes_of(source(in_flight), VOL_READ),
			  6 * CHUNK); /* the second segment never began */
	if (in_flight->op == VOL_READ)
		ck_assert_uint_eq(destination(in_flight)->seen[VOL_WRITE], 0);
}

/* GOOD says that nothing is on the way any more. */
START_TEST(preempting_stops_copies)
{
	const struct in_flight *in_flight = &in_flights[_i];
	unsigned seen[VOL_OP_COUNT];
	struct disk *disk;
	struct pr_cmd pr;
	struct cmd c;

	disk = start_held(in_flight, &c);
	begin_pr(&pr, 1, 5, 1, 5);
	rig_settle(&rig);
	ck_assert_msg(!cmd_is_done(&pr.c), "answered while %s was in flight", vol_op_name(in_flight->op));
	disk_release(disk);
	end_pr(&pr);
	note_seen(seen);
	expect_stopped(&c, in_flight, S_COPY_ABORTED, seen);
	/* it has left: another one has nobody to wait for */
	register_at_other(0, 5);
	begin_pr(&pr, 1, 5, 1, 5);
	end_pr(&pr);
}
END_TEST

/* The response says the same, whoever asks. */
static void
check_reset(const struct in_flight *in_flight, unsigned nexus, enum scsi_tmf function)
{
	unsigned seen[VOL_OP_COUNT];
	struct disk *disk;
	struct cmd c;
	struct tmf tmf;

	disk = start_held(in_flight, &c);
	tmf_begin(&tmf, &rig, nexus, function, 3, 0);
	rig_settle(&rig);
	ck_assert_msg(!tmf_is_done(&tmf), "answered while %s was in flight", vol_op_name(in_flight->op));
	disk_release(disk);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	note_seen(seen);
	expect_stopped(&c, in_flight, S_COPY_ABORTED, seen);
	ck_assert_int_eq(rig_tmf(&rig, nexus, function, 3, 0), SCSI_TMF_COMPLETE); /* it has left */
}

START_TEST(resets_stop_copies)
{
	check_reset(&in_flights[_i], 0, SCSI_TMF_LU_RESET);
}
END_TEST

START_TEST(resets_of_others_stop_copies)
{
	check_reset(&in_flights[_i], 1, _i & 1 ? SCSI_TMF_LU_RESET : SCSI_TMF_CLEAR_TASK_SET);
}
END_TEST

/* What aborts the tasks of one nexus at the other unit is nothing to a task of the first one. */
START_TEST(aborting_elsewhere_spares_copies)
{
	struct disk *disk;
	struct cmd c;

	disk = start_held(&in_flights[2], &c);
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_ABORT_TASK_SET, 3, 0), SCSI_TMF_COMPLETE);
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_ABORT_TASK, 3, 7), SCSI_TMF_NO_TASK);
	disk_release(disk);
	cmd_wait(&c);
	ck_assert_int_eq(c.task.status, SCSI_GOOD);
	same(other->bytes, rig.disk->bytes, SIZE, "copy");
}
END_TEST

/* The command came before the reset, and asks after it. */
START_TEST(resets_are_not_overtaken)
{
	struct cmd c;

	scatter(rig.disk, 0xff);
	begin_list();
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	cmd_init(&c, &rig, 0, list.cdb, 16);
	c.out = list.bytes;
	c.task.out_room = list.len;
	c.stop_after_start = true;
	cmd_begin(&c);
	rig_settle(&rig);
	ck_assert_int_eq(rig_tmf(&rig, 1, SCSI_TMF_LU_RESET, 3, 0), SCSI_TMF_COMPLETE);
	cmd_run(&c);
	cmd_wait(&c);
	ck_assert_int_eq(c.task.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&c), S_COPY_ABORTED);
	ck_assert_uint_eq(other->seen[VOL_WRITE], 0);
	good_list(); /* the next one */
}
END_TEST

/* Without ABORT nobody waits for what is in flight, and nothing more is begun (SPC-4 5.13.11.2.4). */
START_TEST(preempted_copies_begin_no_more)
{
	const struct in_flight *in_flight = &in_flights[_i];
	bool reads_only = in_flight->from_other;
	unsigned seen[VOL_OP_COUNT];
	struct disk *disk;
	struct pr_cmd pr;
	struct cmd c;

	disk = start_held(in_flight, &c);
	begin_pr(&pr, 0, 1, 5, 0); /* its own reservation, */
	end_pr(&pr);
	begin_pr(&pr, 1, 4, 1, 5); /* and that of another */
	end_pr(&pr);
	rig_settle(&rig);
	note_seen(seen);
	if (in_flight->of_other)
		seen[in_flight->op] += disk->held;
	disk_release(disk);
	if (!reads_only) {
		expect_stopped(&c, in_flight, S_UNREACHABLE, seen);
		return;
	}
	cmd_wait(&c); /* WRITE EXCLUSIVE lets it read */
	ck_assert_int_eq(c.task.status, SCSI_GOOD);
}
END_TEST

/* Who is not preempted goes on, and does not keep the others waiting. */
START_TEST(preempting_spares_others)
{
	struct pr_cmd pr;
	struct cmd c;

	scatter(rig.disk, 0xff);
	register_at_other(0, 5);
	register_at_other(1, 1);
	disk_hold(other, VOL_WRITE);
	begin_list();
	copy_list_segment(&list, 0, 1, BLOCKS, 0, 0);
	start_list(&c);
	disk_wait_held(other, 1);
	begin_pr(&pr, 1, 5, 1, 1); /* himself */
	cmd_wait(&pr.c);
	disk_release(other);
	cmd_wait(&c);
	ck_assert_int_eq(c.task.status, SCSI_GOOD);
	same(other->bytes, rig.disk->bytes, SIZE, "copy");
}
END_TEST

START_TEST(read_only_units_are_sources)
{
	scatter(rig.disk, 0xff);
	scatter(other, 0xff);
	other->vol.read_only = true;
	begin_list();
	copy_list_segment(&list, 0, 1, 16, 0, 0);
	ck_assert_int_eq(run_list(), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), S_UNREACHABLE);
	ck_assert_uint_eq(other->seen[VOL_WRITE], 0);
	begin_list();
	copy_list_segment(&list, 1, 0, 16, 0, 32);
	good_list();
	same(rig.disk->bytes + 32 * 512, other->bytes, 16 * 512, "copy");
}
END_TEST

int
main(void)
{
	const struct {
		const TTest *test;
		int times;
	} tests[] = {
		{holes_are_not_moved, 1},
		{thick_units_get_zeroes, 1},
		{copies_without_a_map, 1},
		{copies_are_as_durable_as_writes, 1},
		{several_pieces_are_in_flight, 1},
		{whole_chunks_are_cloned, 2},
		{clones_that_fail, 3},
		{copies_any_range, 1},
		{nothing_is_written_before_it_is_read, 2},
		{segments_follow_one_another, 1},
		{copies_share_little_memory, 1},
		{aborted_copies_leave_no_trace, 4},
		{aborted_clones_leave_no_trace, 1},
		{preempting_stops_copies, ARRAY_SIZE(in_flights)},
		{preempting_spares_others, 1},
		{preempted_copies_begin_no_more, ARRAY_SIZE(in_flights)},
		{resets_stop_copies, ARRAY_SIZE(in_flights)},
		{resets_of_others_stop_copies, ARRAY_SIZE(in_flights)},
		{aborting_elsewhere_spares_copies, 1},
		{resets_are_not_overtaken, 1},
		{failures_end_it, 4},
		{reservations_keep_copies_out, 1},
		{reservations_stop_copies, 1},
		{read_only_units_are_sources, 1},
	};
	Suite *suite = suite_create("xcopy");
	TCase *tcase = tcase_create("xcopy");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 240);
	tcase_add_checked_fixture(tcase, setup_two, teardown_two);
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_loop_test(tcase, tests[i].test, 0, tests[i].times);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
