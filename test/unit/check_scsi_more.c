/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies, SANITIZE, atomic writes, removable media, port groups, log pages. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/scsi/scsi_impl.h"
#include "test/unit/scsi_run.h"

enum { S_SANITIZING = 0x02041b, S_NO_MEDIUM = 0x023a00, S_PREVENTED = 0x055302, S_ABORTED_COPY = 0x0a0000 };

static void
fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((i * 7 + i / 251 + seed) ^ seed >> 3);
}

static struct scsi_lu *
lu(void)
{
	return atomic_load(&rig.target->slots[0].lu);
}

/* -- EXTENDED COPY ------------------------------------------------------- */

/* One target descriptor, one segment; the length of the list. */
static uint8_t
put_copy(const struct volume *from, const struct volume *to, uint16_t blocks, uint64_t from_lba,
	 uint64_t to_lba)
{
	const struct volume *vols[2] = {from, to};
	uint8_t *p = out_buf + 16;

	memset(out_buf, 0, 128);
	out_buf[0] = 9; /* list identifier */
	out_buf[3] = 64;
	out_buf[11] = 28;
	for (unsigned i = 0; i < 2; i++, p += 32) {
		p[0] = 0xe4;
		p[4] = 1;
		p[5] = 3;
		p[7] = 16;
		memcpy(p + 8, vols[i]->naa, 16);
	}
	p[0] = 0x02;
	p[3] = 24;
	p[7] = 1;
	put_be16(p + 10, blocks);
	put_be64(p + 12, from_lba);
	put_be64(p + 20, to_lba);
	return 16 + 64 + 28;
}

static void
check_copy(const struct volume *to, uint8_t *to_bytes, uint16_t blocks, uint64_t from_lba, uint64_t to_lba)
{
	static uint8_t want[4 << 20];
	uint8_t n = put_copy(&rig.disk->vol, to, blocks, from_lba, to_lba);

	fill(rig.disk->bytes, 4 << 20, blocks);
	memset(rig.disk->present, true, 4);
	memcpy(want, rig.disk->bytes + from_lba * 512, blocks * 512u);
	expect_good(CDB(0x83, [13] = n), n, 0);
	ck_assert_mem_eq(to_bytes + to_lba * 512, want, blocks * 512u);
	expect_good(CDB(0x84, 0, 9, [13] = 12), 0, 12);
	ck_assert_uint_eq(in_buf[4], 1);
	ck_assert_uint_eq(get_be16(in_buf + 5), 1);
	ck_assert_uint_eq(get_be32(in_buf + 8), blocks * 512u);
	expect_sense(CDB(0x84, 0, 9, [13] = 12), 0, S_CDB); /* told once */
}

START_TEST(copies_on_a_unit)
{
	static const struct {
		uint16_t blocks;
		uint64_t from, to;
	} copies[] = {{1, 0, 100},     {8, 8, 4096},  {2049, 3, 8192}, {4100, 0, 8000},
		      {4100, 5, 8003}, {3000, 0, 17}, {3000, 17, 0},   {16, 0, 16368}};

	for (unsigned later = 0; later < 2; later++) {
		rig.disk->later = later;
		for (size_t i = 0; i < ARRAY_SIZE(copies); i++)
			check_copy(&rig.disk->vol, rig.disk->bytes, copies[i].blocks, copies[i].from,
				   copies[i].to);
	}
}
END_TEST

/* The other unit is at home on the loop of the transport. */
START_TEST(copies_between_units)
{
	struct disk *other;
	uint8_t n;

	teardown();
	start_rig(&(struct rig_options){.two_loops = true});
	other = disk_new("other", &(struct rig_options){0}, rig.front, rig.arena);
	memset(other->vol.naa, 0x42, sizeof(other->vol.naa));
	memset(other->vol.uuid, 0x42, sizeof(other->vol.uuid));
	ck_assert_int_eq(scsi_target_map(rig.target, 3, &other->vol, NULL), 0);
	rig_clear_attentions(&rig);
	(void)run(CDB(0x00), 0, 0);
	check_copy(&other->vol, other->bytes, 3000, 1, 77);
	/* the other unit is not asked for more than it lets happen */
	other->vol.read_only = true;
	n = put_copy(&rig.disk->vol, &other->vol, 1, 0, 0);
	expect_sense(CDB(0x83, [13] = n), n, 0x0a0d02);
	ck_assert_int_eq(scsi_target_unmap(rig.target, 3), 0);
	rig_clear_attentions(&rig);
	(void)run(CDB(0x00), 0, 0);
	n = put_copy(&rig.disk->vol, &other->vol, 1, 0, 0);
	expect_sense(CDB(0x83, [13] = n), n, 0x0a0d02); /* not reachable */
	disk_free(other);
}
END_TEST

START_TEST(copies_that_fail)
{
	uint8_t n = put_copy(&rig.disk->vol, &rig.disk->vol, 2, 0, BLOCKS - 1);

	rig.disk->present[0] = true;
	expect_sense(CDB(0x83, [13] = n), n, S_ABORTED_COPY);
	expect_good(CDB(0x84, 0, 9, [13] = 12), 0, 12);
	ck_assert_uint_eq(in_buf[4], 2);
	n = put_copy(&rig.disk->vol, &rig.disk->vol, 2, 0, 100);
	expect_sense(CDB(0x83, [13] = n), n - 1, S_LENGTH);
	expect_sense(CDB(0x83, [13] = (uint8_t)(n - 1)), n - 1, S_LENGTH);
	out_buf[16] = 0xe0;
	expect_sense(CDB(0x83, [13] = n), n, 0x052607);
	n = put_copy(&rig.disk->vol, &rig.disk->vol, 2, 0, 100);
	out_buf[80] = 0x00;
	expect_sense(CDB(0x83, [13] = n), n, 0x052609);
	n = put_copy(&rig.disk->vol, &rig.disk->vol, 2, 0, 100);
	out_buf[80 + 7] = 5; /* no such descriptor */
	expect_sense(CDB(0x83, [13] = n), n, S_ABORTED_COPY);
	n = put_copy(&rig.disk->vol, &rig.disk->vol, 2, 0, 100);
	rig.disk->fail = -EIO;
	rig.disk->fail_op = VOL_READ;
	expect_sense(CDB(0x83, [13] = n), n, S_ABORTED_COPY);
	rig.disk->fail_op = VOL_WRITE;
	expect_sense(CDB(0x83, [13] = n), n, S_ABORTED_COPY);
	rig.disk->fail = 0;
	/* aborted while it reads: nothing is written, every page comes back (rig_fini) */
	disk_hold(rig.disk, VOL_READ);
	cmd_init(&cmd, &rig, 0, CDB(0x83, [13] = n), 16);
	cmd.out = out_buf;
	cmd.task.out_room = n;
	cmd.task.tag = 7;
	cmd_begin(&cmd);
	disk_wait_held(rig.disk, 1);
	{
		struct tmf tmf;

		tmf_begin(&tmf, &rig, 0, SCSI_TMF_ABORT_TASK, 0, 7);
		rig_settle(&rig);
		ck_assert(!tmf_is_done(&tmf));
		disk_release(rig.disk);
		ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	}
	cmd_wait(&cmd);
	ck_assert(cmd.task.silent);
}
END_TEST

/* -- SANITIZE ------------------------------------------------------------ */

static void
setup_keeping(void)
{
	setup();
	rig.disk->vol.attributes = true;
}

START_TEST(overwrites)
{
	size_t size = 8u << 20;
	bool good = true;

	memset(rig.disk->bytes, 'x', size);
	memset(out_buf, 0, 16);
	out_buf[0] = 0x80 | 2; /* INVERT, two passes */
	out_buf[3] = 3;
	memcpy(out_buf + 4, "abc", 3);
	expect_good(CDB(0x48, 0x01, [8] = 7), 7, 0);
	for (size_t i = 0; i < size; i++) /* the last pass is the inverted one */
		good &= rig.disk->bytes[i] == ("abc"[i % 512 % 3] ^ 0xff);
	ck_assert(good);
	memset(rig.disk->bytes, 'x', size);
	expect_good(CDB(0x48, 0x02), 0, 0);
	for (size_t i = 0; i < size; i++)
		good &= rig.disk->bytes[i] == 0;
	ck_assert(good);
	expect_sense(CDB(0x48, 0x02, [8] = 8), 8, S_CDB);
	expect_sense(CDB(0x48, 0x01, [8] = 4), 4, S_CDB);
	expect_sense(CDB(0x48, 0x01, [7] = 2, [8] = 5), 517, S_CDB);
	expect_sense(CDB(0x48, 0x03), 0, S_CDB);
	expect_good(CDB(0x48, 0x1f), 0, 0);
}
END_TEST

START_TEST(sanitize_goes_on)
{
	struct tmf tmf;

	disk_hold(rig.disk, VOL_UNMAP);
	expect_good(CDB(0x48, 0x82), 0, 0); /* IMMED */
	disk_wait_held(rig.disk, 1);
	expect_sense(CDB(0x28, [8] = 1), 0, S_SANITIZING);
	ck_assert_uint_eq(cmd.task.sense[15], 0x80); /* progress */
	expect_sense(CDB(0x48, 0x02), 0, S_SANITIZING);
	expect_good(CDB(0x12, [4] = 96), 0, 96);
	expect_good(CDB(0x03, [4] = 18), 0, 18);
	ck_assert_uint_eq(in_buf[2], 0x02);
	ck_assert_uint_eq(get_be16(in_buf + 12), 0x041b);
	ck_assert_uint_eq(in_buf[15], 0x80);
	/* a reset does not stop it */
	tmf_begin(&tmf, &rig, 1, SCSI_TMF_LU_RESET, 0, 0);
	ck_assert_int_eq(tmf_wait(&tmf), SCSI_TMF_COMPLETE);
	expect_sense(CDB(0x00), 0, 0x062903);
	expect_sense(CDB(0x00), 0, S_SANITIZING);
	disk_release(rig.disk);
	while (run(CDB(0x00), 0, 0) != SCSI_GOOD)
		ck_assert_uint_eq(cmd_sense(&cmd), S_SANITIZING);
}
END_TEST

START_TEST(sanitize_loses_its_task)
{
	struct cmd job;

	disk_hold(rig.disk, VOL_UNMAP);
	cmd_init(&job, &rig, 0, CDB(0x48, 0x02), 16);
	job.task.tag = 3;
	cmd_begin(&job);
	disk_wait_held(rig.disk, 1);
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_ABORT_TASK, 0, 3), SCSI_TMF_COMPLETE);
	cmd_wait(&job);
	ck_assert(job.task.silent);
	expect_sense(CDB(0x00), 0, S_SANITIZING);
	disk_release(rig.disk);
	while (run(CDB(0x00), 0, 0) != SCSI_GOOD)
		ck_assert_uint_eq(cmd_sense(&cmd), S_SANITIZING);
}
END_TEST

START_TEST(sanitize_fails)
{
	rig.disk->fail_op = VOL_UNMAP;
	rig.disk->fail = -EIO;
	expect_sense(CDB(0x48, 0x02), 0, 0x033103);
	rig.disk->fail = 0;
	expect_sense(CDB(0x28, [8] = 1), 0, 0x033103);
	expect_sense(CDB(0x48, 0x1f), 0, 0x033103); /* AUSE was 0 */
	expect_sense(CDB(0x48, 0x22), 0, S_CDB);    /* and does not become 1 */
	ck_assert_uint_eq(get_be16(cmd.task.sense + 16), 1);
	ck_assert_uint_eq(cmd.task.sense[15], 0xcd);
	expect_good(CDB(0x48, 0x02), 0, 0);
	expect_good(CDB(0x28, [8] = 1), 0, 512);
	rig.disk->fail = -EIO;
	expect_sense(CDB(0x48, 0x22), 0, 0x033103); /* AUSE */
	rig.disk->fail = 0;
	expect_good(CDB(0x48, 0x1f), 0, 0);
	expect_good(CDB(0x28, [8] = 1), 0, 512);
}
END_TEST

static void
map_again(void)
{
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	rig.disk->vol.barred = 0; /* as a volume that is opened anew */
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), 0);
	rig_clear_attentions(&rig);
}

/* The record is there before anything is touched, as long as it is not through, and over restarts. */
START_TEST(sanitize_is_remembered)
{
	rig.disk->later = _i;
	disk_hold(rig.disk, VOL_PUT_ATTRIBUTE);
	cmd_init(&cmd, &rig, 0, CDB(0x48, 0xa2), 16); /* IMMED, AUSE */
	cmd_begin(&cmd);
	disk_wait_held(rig.disk, 1);
	ck_assert(!cmd.task.silent);
	ck_assert_uint_eq(rig.disk->seen[VOL_UNMAP], 0);
	ck_assert_int_eq(rig.disk->vol.barred, LG_ESANITIZING);
	rig.disk->fail_op = VOL_UNMAP;
	rig.disk->fail = -EIO;
	disk_release(rig.disk);
	cmd_wait(&cmd);
	ck_assert_int_eq(cmd.task.status, SCSI_GOOD); /* that it has begun */
	while (run(CDB(0x00), 0, 0) != SCSI_GOOD && cmd_sense(&cmd) == S_SANITIZING)
		;
	ck_assert_uint_eq(cmd_sense(&cmd), 0x033103);
	ck_assert_ptr_nonnull(disk_attribute(rig.disk, "sanitize"));
	map_again();
	ck_assert_int_eq(rig.disk->vol.barred, LG_ESANITIZE);
	expect_sense(CDB(0x28, [8] = 1), 0, 0x033103);
	/* another that fails without AUSE */
	expect_sense(CDB(0x48, 0x02), 0, 0x033103);
	map_again();
	expect_sense(CDB(0x48, 0x1f), 0, 0x033103);
	rig.disk->fail = 0;
	expect_good(CDB(0x48, 0x02), 0, 0);
	ck_assert_ptr_null(disk_attribute(rig.disk, "sanitize"));
	ck_assert_int_eq(rig.disk->vol.barred, 0);
	map_again();
	expect_good(CDB(0x28, [8] = 1), 0, 512);
}
END_TEST

START_TEST(sanitize_is_left)
{
	rig.disk->fail_op = VOL_UNMAP;
	rig.disk->fail = -EIO;
	expect_sense(CDB(0x48, 0x22), 0, 0x033103);
	map_again();
	expect_sense(CDB(0x00), 0, 0x033103);
	/* the record does not go */
	rig.disk->fail_op = VOL_PUT_ATTRIBUTE;
	expect_sense(CDB(0x48, 0x1f), 0, 0x044400);
	expect_sense(CDB(0x00), 0, 0x033103);
	rig.disk->fail = 0;
	expect_good(CDB(0x48, 0x1f), 0, 0);
	ck_assert_ptr_null(disk_attribute(rig.disk, "sanitize"));
	expect_good(CDB(0x28, [8] = 1), 0, 512);
	map_again();
	expect_good(CDB(0x28, [8] = 1), 0, 512);
	expect_good(CDB(0x48, 0x1f), 0, 0);
}
END_TEST

START_TEST(sanitize_cannot_be_remembered)
{
	static const char damaged[] = "{\"format\": 1, \"ause\": tru";
	uint32_t wipes;

	memset(rig.disk->bytes, 'x', 512);
	rig.disk->fail_op = VOL_PUT_ATTRIBUTE;
	rig.disk->fail = -ENOSPC;
	expect_sense(CDB(0x48, 0x82), 0, 0x044400);
	expect_sense(CDB(0x48, 0x02), 0, 0x044400);
	rig.disk->vol.attributes = false; /* and there is no other place */
	expect_sense(CDB(0x48, 0x02), 0, 0x044400);
	rig.disk->vol.attributes = true;
	rig.disk->fail = 0;
	ck_assert_uint_eq(rig.disk->seen[VOL_UNMAP], 0);
	expect_good(CDB(0x28, [8] = 1), 0, 512);
	ck_assert_uint_eq(in_buf[0], 'x');
	/* nor forgotten: it counts as failed */
	disk_hold(rig.disk, VOL_FLUSH);
	cmd_init(&cmd, &rig, 0, CDB(0x48, 0x02), 16);
	cmd_begin(&cmd);
	disk_wait_held(rig.disk, 1);
	wipes = rig.disk->seen[VOL_UNMAP];
	ck_assert_uint_gt(wipes, 0);
	rig.disk->fail = -EIO;
	disk_release(rig.disk);
	cmd_wait(&cmd);
	ck_assert_int_eq(cmd.task.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x033103);
	ck_assert_ptr_nonnull(disk_attribute(rig.disk, "sanitize"));
	/* a failed unit whose next SANITIZE is refused stays what it was */
	expect_sense(CDB(0x48, 0x02), 0, 0x044400);
	ck_assert_uint_eq(rig.disk->seen[VOL_UNMAP], wipes);
	expect_sense(CDB(0x00), 0, 0x033103);
	ck_assert_int_eq(rig.disk->vol.barred, LG_ESANITIZE);
	rig.disk->fail = 0;
	expect_good(CDB(0x48, 0x02), 0, 0);
	/* what does not say AUSE is without it */
	rig.disk->attributes[0] =
		(struct disk_attribute){.key = "sanitize", .value = strdup(damaged), .len = strlen(damaged)};
	map_again();
	expect_sense(CDB(0x48, 0x1f), 0, 0x033103);
	rig.disk->fail_op = VOL_GET_ATTRIBUTE;
	rig.disk->fail = -EIO;
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), -EIO);
}
END_TEST

struct look {
	struct vol_req req;
	struct page *pages[2];
	_Atomic bool done;
};

static void
look_done(struct vol_req *req)
{
	struct look *look = container_of(req, struct look, req);

	atomic_store(&look->done, true);
}

static void
look_begin(struct look *look, enum vol_op op, uint32_t flags)
{
	*look = (struct look){.req = {.vol = &rig.disk->vol,
				      .op = op,
				      .flags = flags,
				      .length = op == VOL_RESIZE ? 4u << 20 : 4096,
				      .pages = look->pages,
				      .npages = op == VOL_READ ? 1 : 0,
				      .done = look_done}};
	volume_submit(&look->req);
}

static int
look_wait(struct look *look)
{
	while (!atomic_load(&look->done))
		rig_settle(&rig);
	if (look->req.op == VOL_READ && look->req.status == 0)
		page_unref(look->pages[0]);
	return look->req.status;
}

static int
look(enum vol_op op, uint32_t flags)
{
	struct look one;

	look_begin(&one, op, flags);
	return look_wait(&one);
}

/* The mount and whoever else comes to the volume by another door. */
START_TEST(sanitize_bars_other_doors)
{
	static const enum vol_op data[] = {VOL_READ, VOL_UNMAP, VOL_ZERO, VOL_RESIZE};
	struct look early;

	/* what they began before is waited for */
	disk_hold(rig.disk, VOL_ZERO);
	look_begin(&early, VOL_ZERO, 0);
	disk_wait_held(rig.disk, 1);
	cmd_init(&cmd, &rig, 0, CDB(0x48, 0x22), 16);
	cmd_begin(&cmd);
	rig_settle(&rig);
	ck_assert_int_eq(rig.disk->vol.barred, LG_ESANITIZING);
	ck_assert_uint_eq(rig.disk->seen[VOL_PUT_ATTRIBUTE], 0);
	disk_hold(rig.disk, VOL_UNMAP);
	disk_release_op(rig.disk, VOL_ZERO);
	ck_assert_int_eq(look_wait(&early), 0);
	disk_wait_held(rig.disk, 1);
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		ck_assert_int_eq(look(data[i], 0), LG_ESANITIZING);
	ck_assert_int_eq(look(VOL_FLUSH, 0), 0);
	ck_assert_int_eq(look(VOL_READ, VOL_INSIDER), 0);
	rig.disk->fail_op = VOL_UNMAP;
	rig.disk->fail = -EIO;
	disk_release(rig.disk);
	cmd_wait(&cmd);
	ck_assert_int_eq(cmd.task.status, SCSI_CHECK_CONDITION);
	rig.disk->fail = 0;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		ck_assert_int_eq(look(data[i], 0), LG_ESANITIZE);
	expect_good(CDB(0x48, 0x1f), 0, 0);
	ck_assert_int_eq(look(VOL_READ, 0), 0);
}
END_TEST

static void *
unmap_main(void *arg)
{
	int *rc = arg;

	*rc = scsi_target_unmap(rig.target, 0);
	return NULL;
}

START_TEST(unmapping_breaks_it_off)
{
	pthread_t thread;
	int rc = -1;

	disk_hold(rig.disk, VOL_UNMAP);
	expect_good(CDB(0x48, 0x82), 0, 0);
	disk_wait_held(rig.disk, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, unmap_main, &rc), 0);
	while (!(atomic_load(&rig.target->slots[0].users) & SLOT_CLOSING))
		rig_settle(&rig);
	disk_release(rig.disk);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_lt(rig.disk->seen[VOL_UNMAP], 4);
	ck_assert_int_eq(rig.disk->vol.barred, LG_ESANITIZE);
	ck_assert_int_eq(scsi_target_map(rig.target, 0, &rig.disk->vol, NULL), 0);
	rig_clear_attentions(&rig);
	expect_sense(CDB(0x00), 0, 0x033103);
	expect_good(CDB(0x48, 0x02), 0, 0);
	expect_good(CDB(0x00), 0, 0);
}
END_TEST

/* -- WRITE ATOMIC -------------------------------------------------------- */

START_TEST(atomic_writes)
{
	fill(out_buf, 64 << 10, 3);
	expect_good(CDB(0x12, 1, 0xb0, 0, 64), 0, 64);
	ck_assert_uint_eq(get_be32(in_buf + 44), 128);
	expect_good(CDB(0x9c, 0, [9] = 3, [13] = 128), 64 << 10, 0);
	ck_assert_mem_eq(rig.disk->bytes + 3 * 512, out_buf, 64 << 10);
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE], 1);
	ck_assert_uint_eq(rig.disk->atomic, 1);
	expect_good(CDB(0x8a, 0, [9] = 3, [13] = 1), 512, 0);
	ck_assert_uint_eq(rig.disk->atomic, 1);
	expect_sense(CDB(0x9c, 0, [9] = 3, [13] = 129), 129 * 512, S_CDB);
	/* where the volume does not, the command is not there */
	rig.disk->vol.atomic_max_bytes = 0;
	expect_sense(CDB(0x9c, [13] = 1), 512, S_OPCODE);
	expect_good(CDB(0x12, 1, 0xb0, 0, 64), 0, 64);
	ck_assert_uint_eq(get_be32(in_buf + 44), 0);
}
END_TEST

/* -- removable ----------------------------------------------------------- */

START_TEST(removable_medium)
{
	struct errinfo info;

	expect_sense(CDB(0x1b, [4] = 0x02), 0, S_CDB); /* nothing to eject here */
	ck_assert_int_eq(scsi_target_map_with(rig.target, 1, &rig.disk->vol,
					      &(struct scsi_map_options){.removable = true}, &info),
			 -EINVAL);
	ck_assert_int_eq(scsi_target_unmap(rig.target, 0), 0);
	ck_assert_int_eq(scsi_target_map_with(rig.target, 0, &rig.disk->vol,
					      &(struct scsi_map_options){.removable = true}, &info),
			 0);
	rig_clear_attentions(&rig);
	expect_good(CDB(0x12, [4] = 96), 0, 96);
	ck_assert_uint_eq(in_buf[1], 0x80);
	ck_assert_int_eq(run_on(1, CDB(0x1e, [4] = 1), 0, 0), SCSI_GOOD);
	expect_sense(CDB(0x1b, [4] = 0x02), 0, S_PREVENTED);
	ck_assert_int_eq(run_on(1, CDB(0x1e), 0, 0), SCSI_GOOD);
	expect_good(CDB(0x1b, [4] = 0x02), 0, 0);
	ck_assert(lu()->ejected);
	expect_sense(CDB(0x00), 0, S_NO_MEDIUM);
	expect_sense(CDB(0x28, [8] = 1), 0, S_NO_MEDIUM);
	expect_sense(CDB(0x25), 0, S_NO_MEDIUM);
	expect_good(CDB(0x12, [4] = 96), 0, 96);
	expect_good(CDB(0x1b, [4] = 0x03), 0, 0);
	expect_good(CDB(0x00), 0, 0);
	ck_assert_int_eq(run_on(1, CDB(0x00), 0, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x062800);
	/* a reset lets go what was kept in */
	ck_assert_int_eq(run_on(1, CDB(0x1e, [4] = 1), 0, 0), SCSI_GOOD);
	ck_assert_int_eq(rig_tmf(&rig, 0, SCSI_TMF_LU_RESET, 0, 0), SCSI_TMF_COMPLETE);
	rig_clear_attentions(&rig);
	expect_good(CDB(0x1b, [4] = 0x02), 0, 0);
	expect_good(CDB(0x1b, [4] = 0x03), 0, 0);
}
END_TEST

/* -- port groups --------------------------------------------------------- */

START_TEST(port_groups)
{
	ck_assert_int_eq(scsi_target_add_group(rig.target, 2), 0);
	ck_assert_int_eq(scsi_target_add_group(rig.target, 2), 0);
	expect_good(CDB(0xa3, 0x0a, [9] = 64), 0, 64);
	ck_assert_uint_eq(get_be32(in_buf), 24);
	ck_assert_uint_eq(in_buf[4] | in_buf[16], 0);
	ck_assert_uint_eq(get_be16(in_buf + 6), 1);
	ck_assert_uint_eq(get_be16(in_buf + 18), 2);
	ck_assert_uint_eq(get_be16(in_buf + 14), 1);
	/* by an initiator: it knows, the other is told */
	memset(out_buf, 0, 8);
	out_buf[4] = SCSI_ACCESS_STANDBY;
	out_buf[7] = 1;
	expect_good(CDB(0xa4, 0x0a, [9] = 8), 8, 0);
	expect_sense(CDB(0x28, [8] = 1), 0, 0x02040b);
	expect_good(CDB(0x1a, 0, 0x3f, 0, 64), 0, 64);
	ck_assert_int_eq(run_on(1, CDB(0x00), 0, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x062a06);
	expect_good(CDB(0xa3, 0x0a, [9] = 64), 0, 64);
	ck_assert_uint_eq(in_buf[4], SCSI_ACCESS_STANDBY);
	ck_assert_uint_eq(in_buf[9], 1);
	/* by the target: everybody is told */
	ck_assert_int_eq(scsi_target_set_access(rig.target, 1, SCSI_ACCESS_UNAVAILABLE), 0);
	expect_sense(CDB(0x00), 0, 0x062a06);
	expect_sense(CDB(0x00), 0, 0x02040c);
	expect_sense(CDB(0x1a, 0, 0x3f, 0, 64), 0, 0x02040c);
	ck_assert_int_eq(scsi_target_set_access(rig.target, 1, SCSI_ACCESS_OPTIMIZED), 0);
	expect_sense(CDB(0x00), 0, 0x062a06);
	expect_good(CDB(0x00), 0, 0);
	ck_assert_int_eq(scsi_target_set_access(rig.target, 9, SCSI_ACCESS_OPTIMIZED), -ENOENT);
	out_buf[4] = 0x0e; /* offline */
	expect_sense(CDB(0xa4, 0x0a, [9] = 8), 8, S_PARAM);
	out_buf[4] = 0;
	out_buf[7] = 3;
	expect_sense(CDB(0xa4, 0x0a, [9] = 8), 8, S_PARAM);
}
END_TEST

START_TEST(places_of_groups_are_given_again)
{
	enum scsi_access access;

	for (uint16_t tag = 2; tag <= SCSI_GROUPS_MAX; tag++)
		ck_assert_int_eq(scsi_target_add_group(rig.target, tag), 0);
	ck_assert_int_eq(scsi_target_add_group(rig.target, 17), -ENOSPC);
	/* one that leads here no more stays, unavailable, until another needs the place */
	scsi_target_drop_group(rig.target, 5);
	ck_assert_int_eq(scsi_target_get_access(rig.target, 5, &access), 0);
	ck_assert_int_eq(access, SCSI_ACCESS_UNAVAILABLE);
	ck_assert_int_eq(scsi_target_add_group(rig.target, 17), 0);
	ck_assert_int_eq(scsi_target_get_access(rig.target, 5, &access), -ENOENT);
	ck_assert_int_eq(scsi_target_get_access(rig.target, 17, &access), 0);
	ck_assert_int_eq(access, SCSI_ACCESS_OPTIMIZED);
	/* not while there is a nexus that came by it */
	scsi_target_drop_group(rig.target, 1);
	ck_assert_int_eq(scsi_target_add_group(rig.target, 18), -ENOSPC);
	/* nor when it leads here again */
	scsi_target_drop_group(rig.target, 6);
	ck_assert_int_eq(scsi_target_add_group(rig.target, 6), 0);
	ck_assert_int_eq(scsi_target_add_group(rig.target, 18), -ENOSPC);
}
END_TEST

/* -- log pages ----------------------------------------------------------- */

START_TEST(log_pages)
{
	expect_good(CDB(0x4d, 0, 0x40, [8] = 64), 0, 64);
	ck_assert_uint_eq(get_be16(in_buf + 2), 4);
	ck_assert_mem_eq(in_buf + 4, "\x00\x0c\x0d\x2f", 4);
	rig.disk->vol.allocated = (5u << 20) + 1;
	expect_good(CDB(0x4d, 0, 0x4c, [8] = 64), 0, 64);
	ck_assert_uint_eq(get_be16(in_buf + 4), 2);
	ck_assert_uint_eq(get_be32(in_buf + 8), 6);
	expect_good(CDB(0x12, 1, 0xb2, 0, 64), 0, 64);
	ck_assert_uint_eq(512u << in_buf[4], 1u << 20);
	expect_good(CDB(0x4d, 0, 0x6f, [8] = 64), 0, 64);
	expect_good(CDB(0x4d, 0, 0x4d, [8] = 64), 0, 64);
	ck_assert_uint_eq(in_buf[9], 0xff);
	expect_sense(CDB(0x4d, 0, 0x41, [8] = 64), 0, S_CDB);
	expect_sense(CDB(0x4d, 1, 0x40, [8] = 64), 0, S_CDB);
	expect_sense(CDB(0x4d, 0, 0x00, [8] = 64), 0, S_CDB);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("scsi_more");
	TCase *tcase = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, copies_on_a_unit);
	tcase_add_test(tcase, copies_between_units);
	tcase_add_test(tcase, copies_that_fail);
	tcase_add_test(tcase, atomic_writes);
	tcase_add_test(tcase, removable_medium);
	tcase_add_test(tcase, port_groups);
	tcase_add_test(tcase, places_of_groups_are_given_again);
	tcase_add_test(tcase, log_pages);
	suite_add_tcase(suite, tcase);
	tcase = tcase_create("sanitize");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup_keeping, teardown);
	tcase_add_test(tcase, overwrites);
	tcase_add_test(tcase, sanitize_goes_on);
	tcase_add_test(tcase, sanitize_loses_its_task);
	tcase_add_test(tcase, sanitize_fails);
	tcase_add_test(tcase, sanitize_is_left);
	tcase_add_test(tcase, sanitize_cannot_be_remembered);
	tcase_add_test(tcase, sanitize_bars_other_doors);
	tcase_add_test(tcase, unmapping_breaks_it_off);
	tcase_add_loop_test(tcase, sanitize_is_remembered, 0, 2);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
