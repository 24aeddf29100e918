/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every command of the table against a disk of plain bytes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/scsi/scsi_impl.h"
#include "test/unit/scsi_run.h"

/* -- each row ------------------------------------------------------------ */

/* A CDB that each row carries out, and what it takes. */
struct good {
	uint8_t cdb[16];
	uint32_t out, in;
	enum scsi_status status;
	bool ranged; /* has an LBA and a count */
};

static const struct good goods[] = {
	{{0x00}, 0, 0, SCSI_GOOD, false},
	{{0x03, 0, 0, 0, 252}, 0, 18, SCSI_GOOD, false},
	{{0x12, 0, 0, 0, 255}, 0, 96, SCSI_GOOD, false},
	{{0x15, 0x10, 0, 0, 4}, 4, 0, SCSI_GOOD, false},
	{{0x16}, 0, 0, SCSI_GOOD, false},
	{{0x17}, 0, 0, SCSI_GOOD, false},
	{{0x1a, 0, 0x3f, 0, 255}, 0, 68, SCSI_GOOD, false},
	{{0x1d, 0x04}, 0, 0, SCSI_GOOD, false},
	{{0x55, 0x10, [8] = 8}, 8, 0, SCSI_GOOD, false},
	{{0x4d, 0, 0x40, [8] = 255}, 0, 8, SCSI_GOOD, false},
	{{0x5e, 0x00, [8] = 255}, 0, 8, SCSI_GOOD, false},
	{{0x5e, 0x01, [8] = 255}, 0, 8, SCSI_GOOD, false},
	{{0x5e, 0x02, [8] = 255}, 0, 8, SCSI_GOOD, false},
	{{0x5e, 0x03, [8] = 255}, 0, 8, SCSI_GOOD, false},
	/* of nobody that is registered: the first and the seventh alone have something to do */
	{{0x5f, 0x00, [8] = 24}, 24, 0, SCSI_GOOD, false},
	{{0x5f, 0x01, [8] = 24}, 24, 0, SCSI_RESERVATION_CONFLICT, false},
	{{0x5f, 0x02, [8] = 24}, 24, 0, SCSI_RESERVATION_CONFLICT, false},
	{{0x5f, 0x03, [8] = 24}, 24, 0, SCSI_RESERVATION_CONFLICT, false},
	{{0x5f, 0x04, [8] = 24}, 24, 0, SCSI_RESERVATION_CONFLICT, false},
	{{0x5f, 0x05, [8] = 24}, 24, 0, SCSI_RESERVATION_CONFLICT, false},
	{{0x5f, 0x06, [8] = 24}, 24, 0, SCSI_GOOD, false},
	{{0x5f, 0x07, [8] = 24}, 24, 0, SCSI_RESERVATION_CONFLICT, false},
	{{0x83, 0x00, [13] = 16}, 16, 0, SCSI_GOOD, false},
	{{0x83, 0x01}, 0, 0, SCSI_GOOD, false},
	{{0x84, 0x00, [13] = 255}, 0, 12, SCSI_GOOD, false},
	{{0x84, 0x03, [13] = 255}, 0, 46, SCSI_GOOD, false},
	{{0x84, 0x05, [13] = 255}, 0, 0, SCSI_CHECK_CONDITION, false}, /* no such list */
	{{0xa4, 0x0a}, 0, 0, SCSI_GOOD, false},
	{{0x5a, 0x10, 0x3f, 0xff, [7] = 1}, 0, 8 + 16 + 56 + 32, SCSI_GOOD, false},
	{{0xa0, [9] = 16}, 0, 16, SCSI_GOOD, false},
	{{0xa3, 0x0a, [9] = 64}, 0, 16, SCSI_GOOD, false},
	{{0xa3, 0x0c, 0x01, 0x28, [9] = 64}, 0, 14, SCSI_GOOD, false},
	{{0xa3, 0x0d, [9] = 4}, 0, 4, SCSI_GOOD, false},
	{{0x1b, 0, 0, 0, 1}, 0, 0, SCSI_GOOD, false},
	{{0x1e, 0, 0, 0, 1}, 0, 0, SCSI_GOOD, false},
	{{0x25}, 0, 8, SCSI_GOOD, false},
	{{0x9e, 0x10, [13] = 32}, 0, 32, SCSI_GOOD, false},
	{{0x9e, 0x12, [13] = 24}, 0, 24, SCSI_GOOD, false},
	{{0x37, 0, 0x1d, [8] = 4}, 0, 4, SCSI_GOOD, false},
	{{0xb7, 0x1d, [9] = 8}, 0, 8, SCSI_GOOD, false},
	{{0x08, 0, 0, 0, 1}, 0, 512, SCSI_GOOD, true},
	{{0x28, [8] = 1}, 0, 512, SCSI_GOOD, true},
	{{0xa8, [9] = 1}, 0, 512, SCSI_GOOD, true},
	{{0x88, [13] = 1}, 0, 512, SCSI_GOOD, true},
	{{0x34, [8] = 1}, 0, 0, SCSI_CONDITION_MET, true},
	{{0x90, [13] = 1}, 0, 0, SCSI_CONDITION_MET, true},
	{{0x2f, 0x02, [8] = 1}, 512, 0, SCSI_GOOD, true},
	{{0xaf, 0x02, [9] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x8f, 0x02, [13] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x0a, 0, 0, 0, 1}, 512, 0, SCSI_GOOD, true},
	{{0x2a, [8] = 1}, 512, 0, SCSI_GOOD, true},
	{{0xaa, [9] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x8a, [13] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x2e, 0x02, [8] = 1}, 512, 0, SCSI_GOOD, true},
	{{0xae, 0x02, [9] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x8e, 0x02, [13] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x8b, [13] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x89, [13] = 1}, 1024, 0, SCSI_GOOD, true},
	{{0x9c, [13] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x48, 0x01, [8] = 6}, 6, 0, SCSI_CHECK_CONDITION, false}, /* no pass */
	{{0x48, 0x02}, 0, 0, SCSI_GOOD, false},
	{{0x48, 0x1f}, 0, 0, SCSI_GOOD, false},
	{{0x41, [8] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x93, [13] = 1}, 512, 0, SCSI_GOOD, true},
	{{0x42, [8] = 24}, 24, 0, SCSI_GOOD, false},
	{{0x35, [8] = 1}, 0, 0, SCSI_GOOD, true},
	{{0x91, [13] = 1}, 0, 0, SCSI_GOOD, true},
};

static const struct good *
good_of(const struct scsi_command *command)
{
	for (size_t i = 0; i < ARRAY_SIZE(goods); i++)
		if (goods[i].cdb[0] == command->opcode &&
		    (!command->has_action || (goods[i].cdb[1] & 0x1f) == command->action))
			return &goods[i];
	ck_abort_msg("no good case for %s", command->name);
	return NULL;
}

START_TEST(every_command_is_carried_out)
{
	rig.disk->vol.attributes = true; /* SANITIZE has to be remembered somewhere */
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *command = &scsi_commands[i];
		const struct good *good = good_of(command);
		enum scsi_status status;

		memset(out_buf, 0, sizeof(out_buf));
		status = run(good->cdb, good->out, 4096);
		ck_assert_msg(status == good->status, "%s: status %02x sense %06x", command->name, status,
			      cmd_sense(&cmd));
		ck_assert_msg(cmd.task.out_len == good->out, "%s: out_len %u", command->name,
			      cmd.task.out_len);
		ck_assert_msg(cmd.task.in_len == good->in, "%s: in_len %u", command->name, cmd.task.in_len);
		ck_assert_msg(!command->len_bytes || command->direction != SCSI_DIR_NONE, "%s",
			      command->name);
	}
}
END_TEST

START_TEST(reserved_bits_are_refused)
{
	uint8_t cdb[16];

	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *command = &scsi_commands[i];
		const struct good *good = good_of(command);

		for (unsigned bit = 8; bit < command->cdb_len * 8u; bit++) {
			unsigned byte = bit / 8, mask = 1u << bit % 8;

			if ((command->usage[byte] & mask) ||
			    (byte == 1 && command->has_action && mask < 0x20))
				continue;
			memcpy(cdb, good->cdb, sizeof(cdb));
			cdb[byte] |= (uint8_t)mask;
			expect_sense(cdb, good->out, S_CDB);
			/* and the field pointer leads there */
			ck_assert_uint_eq(cmd.task.sense[15], 0xc8 | bit % 8);
			ck_assert_uint_eq(get_be16(cmd.task.sense + 16), byte);
		}
	}
}
END_TEST

static void
set_range(uint8_t *cdb, uint64_t lba, uint32_t n)
{
	switch (cdb[0] >> 5) {
	case 0:
		put_be24(cdb + 1, (uint32_t)lba & 0x1fffff);
		cdb[4] = (uint8_t)n;
		break;
	case 4:
		put_be64(cdb + 2, lba);
		if (cdb[0] == 0x89)
			cdb[13] = (uint8_t)n;
		else
			put_be32(cdb + 10, n);
		break;
	case 5:
		put_be32(cdb + 2, (uint32_t)lba);
		put_be32(cdb + 6, n);
		break;
	default:
		put_be32(cdb + 2, (uint32_t)lba);
		put_be16(cdb + 7, (uint16_t)n);
		break;
	}
}

START_TEST(ranges_end_at_the_last_block)
{
	static const struct {
		uint64_t lba;
		uint32_t n;
		bool good;
	} edges[] = {
		{BLOCKS - 1, 1, true},  {BLOCKS - 2, 2, true},      {BLOCKS - 1, 2, false},
		{BLOCKS, 1, false},     {BLOCKS + 1, 1, false},     {0x1fffff, 1, false},
		{0x7fffffff, 1, false}, {0x80000000, 1, false},     {UINT32_MAX, 1, false},
		{UINT64_MAX, 1, false}, {UINT64_MAX - 1, 2, false}, {1ull << 63, 1, false},
		{BLOCKS + 1, 0, false}, {BLOCKS, 0, true},
	};
	uint8_t cdb[16];

	for (size_t i = 0; i < ARRAY_SIZE(goods); i++) {
		for (size_t k = 0; goods[i].ranged && k < ARRAY_SIZE(edges); k++) {
			unsigned group = goods[i].cdb[0] >> 5;
			uint64_t widest = group == 0 ? 0x1fffff : group == 4 ? UINT64_MAX : UINT32_MAX;

			if (edges[k].lba > widest || (group == 0 && edges[k].n == 0))
				continue;
			memcpy(cdb, goods[i].cdb, sizeof(cdb));
			set_range(cdb, edges[k].lba, edges[k].n);
			memset(out_buf, 0, 4096);
			if (!edges[k].good) {
				expect_sense(cdb, goods[i].out * edges[k].n, S_LBA);
				ck_assert_uint_eq(cmd.task.out_len, 0);
			} else {
				uint32_t out = goods[i].out;

				if (cdb[0] != 0x41 && cdb[0] != 0x93)
					out *= edges[k].n;
				ck_assert_int_eq(run(cdb, out, 4096), goods[i].status);
			}
		}
	}
}
END_TEST

START_TEST(allocation_length_truncates)
{
	static uint8_t whole[4096];
	uint8_t cdb[16];

	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct scsi_command *command = &scsi_commands[i];
		const struct good *good = good_of(command);
		unsigned at = command->len_at;

		if (command->direction != SCSI_DIR_IN || command->len_bytes == 0)
			continue;
		if (command->opcode == 0x84 && command->action != 3)
			continue; /* told once */
		ck_assert_int_eq(run(good->cdb, 0, 4096), SCSI_GOOD);
		memcpy(whole, in_buf, good->in);
		for (unsigned n = 0; n <= good->in; n++) {
			if (command->opcode == 0xa3 && command->action == 0x0d && n < 4)
				continue; /* SPC-4 6.36: at least 4 */
			memcpy(cdb, good->cdb, sizeof(cdb));
			memset(cdb + at, 0, command->len_bytes);
			cdb[at + command->len_bytes - 1u] = (uint8_t)n;
			memset(in_buf, 0x55, sizeof(in_buf));
			expect_good(cdb, 0, 4096);
			ck_assert_uint_eq(cmd.task.in_len, n);
			ck_assert_mem_eq(in_buf, whole, n);
			ck_assert_uint_eq(in_buf[n], 0x55);
		}
	}
}
END_TEST

START_TEST(unknown_opcodes)
{
	for (unsigned op = 0; op < 256; op++) {
		uint8_t cdb[16] = {(uint8_t)op, 0x1f};

		if (!scsi_command_find(NULL, cdb))
			expect_sense(cdb, 0, scsi_opcode_exists(NULL, cdb[0]) ? S_CDB : S_OPCODE);
	}
	cmd_init(&cmd, &rig, 0, CDB(0x28, [8] = 1), 16);
	cmd.task.cdb_len = 9; /* shorter than the command */
	ck_assert_int_eq(cmd_do(&cmd), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), S_CDB);
	cmd_init(&cmd, &rig, 0, CDB(0x00), 16);
	cmd.task.attr = SCSI_ATTR_ACA;
	ck_assert_int_eq(cmd_do(&cmd), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(cmd_sense(&cmd), 0x054900);
}
END_TEST

/* -- data ---------------------------------------------------------------- */

static void
fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((i * 7 + i / 251 + seed) ^ seed >> 3);
}

/* The same ranges written, read back and verified, against the bytes of the disk. */
static void
check_data(uint32_t bs)
{
	static const struct {
		uint32_t lba, n;
	} ranges[] = {{0, 1}, {1, 1}, {7, 2}, {8, 8}, {5, 40}, {63, 66}, {100, 512}, {3, 255}};
	uint8_t cdb[16];

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		uint32_t n = ranges[i].n, bytes = n * bs;
		uint8_t *disk = rig.disk->bytes + ranges[i].lba * (size_t)bs;

		if (bytes > sizeof(out_buf))
			continue;
		memset(rig.disk->bytes, 0x11, 4u << 20);
		fill(out_buf, bytes, (unsigned)i + 1);
		memset(cdb, 0, sizeof(cdb));
		cdb[0] = 0x8a;
		set_range(cdb, ranges[i].lba, n);
		expect_good(cdb, bytes, 0);
		ck_assert_mem_eq(disk, out_buf, bytes);
		ck_assert_uint_eq(disk[bytes], 0x11);
		if (ranges[i].lba)
			ck_assert_uint_eq(disk[-1], 0x11);
		cdb[0] = 0xa8;
		memset(cdb + 1, 0, 15);
		set_range(cdb, ranges[i].lba, n);
		memset(in_buf, 0, bytes);
		expect_good(cdb, 0, bytes);
		ck_assert_uint_eq(cmd.task.in_len, bytes);
		ck_assert_mem_eq(in_buf, out_buf, bytes);
		/* BYTCHK 1, then with one byte wrong */
		cdb[0] = 0xaf;
		cdb[1] = 0x02;
		expect_good(cdb, bytes, 0);
		out_buf[bytes - 3] ^= 0x40;
		expect_sense(cdb, bytes, S_MISCOMPARE);
		ck_assert_uint_eq(get_be32(cmd.task.sense + 3), bytes - 3);
		cdb[1] = 0; /* no comparison, no Data-Out */
		expect_good(cdb, bytes, 0);
		ck_assert_uint_eq(cmd.task.out_len, 0);
	}
}

START_TEST(data_512)
{
	check_data(512);
	rig.disk->later = true;
	check_data(512);
}
END_TEST

START_TEST(data_4096)
{
	start_rig(&(struct rig_options){.block_size = 4096, .write_cache = true});
	check_data(4096);
	teardown();
}
END_TEST

START_TEST(large_transfers)
{
	uint8_t cdb[16] = {0x88};

	/* 16 MiB is the limit, and one block more is refused with a pointer to the count */
	teardown();
	start_rig(&(struct rig_options){.size = 32u << 20});
	put_be32(cdb + 10, (16u << 20) / 512);
	cmd_init(&cmd, &rig, 0, cdb, 16);
	cmd.task.in_room = 16u << 20;
	cmd.in = malloc(16u << 20);
	ck_assert_ptr_nonnull(cmd.in);
	fill(rig.disk->bytes, 16u << 20, 5);
	ck_assert_int_eq(cmd_do(&cmd), SCSI_GOOD);
	ck_assert_uint_eq(cmd.task.in_len, 16u << 20);
	ck_assert(memcmp(cmd.in, rig.disk->bytes, 16u << 20) == 0);
	free(cmd.in);
	put_be32(cdb + 10, (16u << 20) / 512 + 1);
	expect_sense(cdb, 0, S_CDB);
	ck_assert_uint_eq(get_be16(cmd.task.sense + 16), 10);
	cdb[0] = 0x8a;
	expect_sense(cdb, 0, S_CDB);
	ck_assert_uint_eq(cmd.task.out_len, 0);
	/* WRITE SAME as far as VPD B0h says */
	expect_good(CDB(0x93, [12] = 0x80), 512, 0);
	expect_sense(CDB(0x93, [12] = 0x80, [13] = 1), 512, S_CDB);
	expect_sense(CDB(0x93), 512, S_CDB); /* to the end is too far */
	expect_good(CDB(0x93, [8] = 0x80), 512, 0);
}
END_TEST

START_TEST(less_data_out_than_asked)
{
	const uint8_t *write2 = CDB(0x2a, [8] = 2);

	memset(rig.disk->bytes, 'a', 2048);
	memset(out_buf, 'b', 2048);
	/* nothing, one block of two: GOOD, and only that is written; the residual is out_len against out_room
	 */
	expect_good(write2, 0, 0);
	ck_assert_uint_eq(cmd.task.out_len, 1024);
	ck_assert_uint_eq(rig.disk->bytes[0], 'a');
	expect_good(write2, 512, 0);
	ck_assert_uint_eq(rig.disk->bytes[511], 'b');
	ck_assert_uint_eq(rig.disk->bytes[512], 'a');
	/* a part of a block: refused whole, the residual stays what it is */
	expect_sense(CDB(0x2a, [5] = 2, [8] = 1), 200, S_IU);
	ck_assert_uint_eq(cmd.task.out_len, 512);
	ck_assert_uint_eq(rig.disk->bytes[1024], 'a');
	/* more than asked for */
	expect_good(CDB(0x2a, [8] = 1), 1024, 0);
	ck_assert_uint_eq(cmd.task.out_len, 512);
	ck_assert_uint_eq(rig.disk->bytes[512], 'a');
	/* WRITE AND VERIFY the same way */
	expect_good(CDB(0x2e, 0x02, [8] = 2), 512, 0);
	expect_sense(CDB(0x2e, 0x02, [8] = 1), 200, S_IU);
	/* what compares or repeats takes all or nothing */
	expect_sense(CDB(0x2f, 0x02, [8] = 2), 512, S_IU);
	expect_sense(CDB(0x89, [13] = 1), 512, S_CDB);
	expect_sense(CDB(0x89, [13] = 1), 2048, S_CDB);
	expect_sense(CDB(0x89), 2048, S_CDB);
	expect_sense(CDB(0x41, [8] = 2), 256, S_IU);
	expect_sense(CDB(0x41, [8] = 2), 1024, S_IU);
	expect_sense(CDB(0x8b, [13] = 2), 512, S_IU);
	/* READ does not care */
	expect_good(CDB(0x28, [8] = 2), 512, 100);
	ck_assert_uint_eq(cmd.task.in_len, 1024);
}
END_TEST

START_TEST(fua_and_cache_mode)
{
	struct disk *disk;

	/* no cache: every change is durable */
	expect_good(CDB(0x2a, [8] = 1), 512, 0);
	ck_assert_uint_eq(rig.disk->fua[VOL_WRITE], 1);
	teardown();
	start_rig(&(struct rig_options){.write_cache = true});
	disk = rig.disk;
	expect_good(CDB(0x2a, [8] = 1), 512, 0);
	ck_assert_uint_eq(disk->fua[VOL_WRITE], 0);
	expect_good(CDB(0x2a, 0x08, [8] = 1), 512, 0);
	ck_assert_uint_eq(disk->fua[VOL_WRITE], 1);
	expect_good(CDB(0x0a, [3] = 1, [4] = 1), 512, 0);
	ck_assert_uint_eq(disk->fua[VOL_WRITE], 1);
	expect_good(CDB(0x2e, 0, [8] = 1), 512, 0);
	ck_assert_uint_eq(disk->fua[VOL_WRITE], 2);
	/* FUA of a READ pushes newer data to the medium first */
	ck_assert_uint_eq(disk->seen[VOL_FLUSH], 0);
	expect_good(CDB(0x28, 0x08, [8] = 1), 0, 512);
	ck_assert_uint_eq(disk->seen[VOL_FLUSH], 1);
	expect_good(CDB(0x35), 0, 0);
	ck_assert_uint_eq(disk->seen[VOL_FLUSH], 2);
	/* WCE off: flush first, then durable */
	memset(out_buf, 0, 24);
	out_buf[4] = 0x08;
	out_buf[5] = 18;
	expect_good(CDB(0x15, 0x10, [4] = 24), 24, 0);
	ck_assert_uint_eq(disk->seen[VOL_FLUSH], 3);
	expect_good(CDB(0x2a, [8] = 1), 512, 0);
	ck_assert_uint_eq(disk->fua[VOL_WRITE], 3);
}
END_TEST

/* -- the longer commands ------------------------------------------------- */

START_TEST(verify_same_block)
{
	memset(rig.disk->bytes, 'v', 512 * 100);
	memset(out_buf, 'v', 512);
	expect_good(CDB(0x2f, 0x06, [5] = 3, [8] = 90), 512, 0);
	ck_assert_uint_eq(cmd.task.out_len, 512);
	rig.disk->bytes[512 * 50 + 5] = 'w';
	expect_sense(CDB(0x2f, 0x06, [5] = 3, [8] = 90), 512, S_MISCOMPARE);
	ck_assert_uint_eq(get_be32(cmd.task.sense + 3), 512 * 47 + 5);
	expect_sense(CDB(0x2f, 0x04, [8] = 1), 512, S_CDB); /* BYTCHK 2 */
}
END_TEST

START_TEST(long_verify_and_prefetch)
{
	/* 8 MiB in pieces that start anywhere */
	expect_good(CDB(0x8f, 0, [9] = 3, [12] = 0x3f, [13] = 0xf0), 0, 0);
	ck_assert_uint_ge(rig.disk->seen[VOL_READ], 8);
	rig.disk->later = true;
	expect_good(CDB(0x8f, 0, [9] = 3, [12] = 0x3f, [13] = 0xf0), 0, 0);
	ck_assert_int_eq(run(CDB(0x34), 0, 0), SCSI_CONDITION_MET); /* 0 blocks: all of it */
	teardown();
	start_rig(&(struct rig_options){.size = 32u << 20});
	ck_assert_int_eq(run(CDB(0x34), 0, 0), SCSI_GOOD); /* more than fits */
	ck_assert_uint_eq(rig.disk->seen[VOL_READ], 16);
}
END_TEST

START_TEST(write_same)
{
	struct disk *disk = rig.disk;

	memset(disk->bytes, 'x', 8u << 20);
	/* a pattern: three blocks at 5, and a range of several pieces that starts off a page */
	memset(out_buf, 'p', 512);
	out_buf[511] = 'q';
	expect_good(CDB(0x41, [5] = 5, [8] = 3), 512, 0);
	ck_assert_uint_eq(disk->bytes[5 * 512 - 1], 'x');
	ck_assert_uint_eq(disk->bytes[8 * 512], 'x');
	for (unsigned i = 5; i < 8; i++)
		ck_assert_mem_eq(disk->bytes + i * 512, out_buf, 512);
	expect_good(CDB(0x93, [9] = 3, [12] = 0x30), 512, 0);
	for (unsigned i = 3; i < 3 + 0x3000; i++)
		ck_assert_mem_eq(disk->bytes + i * 512, out_buf, 512);
	ck_assert_uint_eq(disk->bytes[2 * 512], 'x');
	ck_assert_uint_eq(disk->bytes[(3 + 0x3000) * 512], 'x');
	ck_assert_uint_ge(disk->seen[VOL_WRITE], 7);
	/* zeroes; UNMAP; NDOB */
	memset(out_buf, 0, 512);
	expect_good(CDB(0x41, [5] = 5, [8] = 3), 512, 0);
	ck_assert_uint_eq(disk->seen[VOL_ZERO], 1);
	ck_assert_uint_eq(disk->bytes[5 * 512], 0);
	expect_good(CDB(0x41, 0x08, [5] = 8, [8] = 8), 512, 0);
	ck_assert_uint_eq(disk->seen[VOL_UNMAP], 1);
	expect_good(CDB(0x93, 0x09, [9] = 16, [13] = 8), 0, 0);
	ck_assert_uint_eq(disk->seen[VOL_UNMAP], 2);
	expect_good(CDB(0x93, 0x01, [9] = 24, [13] = 8), 0, 0);
	ck_assert_uint_eq(disk->seen[VOL_ZERO], 2);
	ck_assert_uint_eq(disk->bytes[24 * 512], 0);
	/* UNMAP with a count never loses a pattern */
	memset(out_buf, 'z', 512);
	expect_good(CDB(0x41, 0x08, [5] = 40, [8] = 2), 512, 0);
	ck_assert_uint_eq(disk->bytes[41 * 512], 'z');
	/* no count: to the end */
	expect_good(CDB(0x41, 0, [4] = 0x3f, [5] = 0xfe), 512, 0);
	ck_assert_uint_eq(disk->bytes[(BLOCKS - 1) * 512], 'z');
	ck_assert_uint_eq(disk->bytes[(BLOCKS - 2) * 512], 'z');
	ck_assert_uint_eq(disk->bytes[(BLOCKS - 3) * 512], 'x');
	expect_good(CDB(0x41, 0x08, [4] = 0x3f, [5] = 0xfe), 512, 0);
	ck_assert_uint_eq(disk->bytes[(BLOCKS - 1) * 512], 0);
	/* ANCHOR is not supported */
	expect_sense(CDB(0x41, 0x18, [8] = 1), 512, S_CDB);
	expect_sense(CDB(0x41, 0x10, [8] = 1), 512, S_CDB);
}
END_TEST

START_TEST(compare_and_write)
{
	uint8_t cdb[16] = {0x89, [13] = 3};
	uint32_t bytes = 3 * 512;

	for (uint64_t lba = 0; lba < 17; lba++) {
		uint8_t *disk = rig.disk->bytes + lba * 512;

		put_be64(cdb + 2, lba);
		fill(disk, bytes, (unsigned)lba);
		memcpy(out_buf, disk, bytes);
		memset(out_buf + bytes, 'n', bytes);
		out_buf[1000] ^= 1;
		expect_sense(cdb, 2 * bytes, S_MISCOMPARE);
		ck_assert_uint_eq(get_be32(cmd.task.sense + 3), 1000);
		ck_assert_uint_ne(disk[0], 'n');
		out_buf[1000] ^= 1;
		expect_good(cdb, 2 * bytes, 0);
		ck_assert_mem_eq(disk, out_buf + bytes, bytes);
	}
	/* the limit of VPD B0h */
	memset(rig.disk->bytes, 0, 1u << 20);
	memset(out_buf, 0, 255 * 1024);
	put_be64(cdb + 2, 1);
	cdb[13] = 255;
	expect_good(cdb, 255 * 1024, 0);
	teardown();
	start_rig(&(struct rig_options){.block_size = 4096});
	cdb[13] = 32;
	expect_good(cdb, 2 * 32 * 4096, 0);
	cdb[13] = 33;
	expect_sense(cdb, 2 * 33 * 4096, S_CDB);
}
END_TEST

START_TEST(orwrite)
{
	uint8_t cdb[16] = {0x8b};
	uint32_t n = 1800, bytes = n * 512;

	set_range(cdb, 5, n);
	fill(rig.disk->bytes + 5 * 512, bytes, 1);
	fill(out_buf, bytes, 77);
	for (uint32_t i = 0; i < bytes; i++)
		in_buf[i] = rig.disk->bytes[5 * 512 + i] | out_buf[i];
	rig.disk->later = true;
	expect_good(cdb, bytes, 0);
	ck_assert(memcmp(rig.disk->bytes + 5 * 512, in_buf, bytes) == 0);
	/* no time between reading and writing for others to come in */
	ck_assert_uint_eq(rig.disk->seen[VOL_READ] + rig.disk->seen[VOL_WRITE], 0);
	ck_assert_uint_eq(rig.disk->seen[VOL_OR_WRITE], 8);
	ck_assert_uint_eq(rig.disk->fua[VOL_OR_WRITE], 8);
	rig.disk->fail = -ENOSPC;
	rig.disk->fail_op = VOL_OR_WRITE;
	expect_sense(cdb, bytes, 0x072707);
}
END_TEST

/* A parameter list of UNMAP in out_buf; its length. */
static uint32_t
unmap_list(unsigned n, const uint64_t (*extents)[2])
{
	memset(out_buf, 0, 8 + 16 * n);
	put_be16(out_buf, (uint16_t)(6 + 16 * n));
	put_be16(out_buf + 2, (uint16_t)(16 * n));
	for (unsigned i = 0; i < n; i++) {
		put_be64(out_buf + 8 + 16 * i, extents[i][0]);
		put_be32(out_buf + 16 + 16 * i, (uint32_t)extents[i][1]);
	}
	return 8 + 16 * n;
}

START_TEST(unmap)
{
	const uint8_t *two = CDB(0x42, [8] = 40);
	struct disk *disk = rig.disk;

	memset(disk->bytes, 'u', 8u << 20);
	unmap_list(2, (const uint64_t[][2]){{4, 4}, {100, 1}});
	expect_good(two, 40, 0);
	ck_assert_uint_eq(disk->bytes[4 * 512 - 1], 'u');
	ck_assert_uint_eq(disk->bytes[4 * 512], 0);
	ck_assert_uint_eq(disk->bytes[8 * 512], 'u');
	ck_assert_uint_eq(disk->bytes[100 * 512], 0);
	ck_assert_uint_eq(disk->seen[VOL_UNMAP], 2);
	/* what goes on where the one before ends is one request */
	unmap_list(5, (const uint64_t[][2]){{200, 1}, {201, 2}, {7, 0}, {203, 1}, {205, 1}});
	expect_good(CDB(0x42, [8] = 88), 88, 0);
	ck_assert_uint_eq(disk->bytes[200 * 512 - 1], 'u');
	for (unsigned i = 200 * 512; i < 204 * 512; i++)
		ck_assert_uint_eq(disk->bytes[i], 0);
	ck_assert_uint_eq(disk->bytes[204 * 512], 'u');
	ck_assert_uint_eq(disk->bytes[205 * 512], 0);
	ck_assert_uint_eq(disk->bytes[206 * 512], 'u');
	ck_assert_uint_eq(disk->seen[VOL_UNMAP], 4);
	/* one of them out of range: nothing is unmapped */
	unmap_list(2, (const uint64_t[][2]){{8, 4}, {BLOCKS, 1}});
	expect_sense(two, 40, S_LBA);
	ck_assert_uint_eq(disk->bytes[8 * 512], 'u');
	unmap_list(2, (const uint64_t[][2]){{8, 4}, {1ull << 63, 1}});
	expect_sense(two, 40, S_LBA);
	/* no blocks is no error, wherever */
	unmap_list(2, (const uint64_t[][2]){{BLOCKS, 0}, {8, 0}});
	expect_good(two, 40, 0);
	ck_assert_uint_eq(disk->seen[VOL_UNMAP], 4);
	/* lists: none, no header, less than promised, half a descriptor, too many */
	expect_good(CDB(0x42), 0, 0);
	expect_sense(CDB(0x42, [8] = 7), 7, S_LENGTH);
	unmap_list(2, (const uint64_t[][2]){{8, 4}, {16, 4}});
	expect_sense(two, 39, S_LENGTH);
	expect_good(CDB(0x42, [8] = 39), 39, 0);
	ck_assert_uint_eq(disk->bytes[8 * 512], 0);
	ck_assert_uint_eq(disk->bytes[16 * 512], 'u');
	expect_sense(CDB(0x42, [7] = 0x10, [8] = 0x01), 4097, S_LENGTH);
	unmap_list(255, (const uint64_t[255][2]){{0, 0}});
	expect_good(CDB(0x42, [7] = 0x0f, [8] = 0xf8), 4088, 0);
	expect_sense(CDB(0x42, 0x01, [8] = 24), 24, S_CDB); /* ANCHOR */
}
END_TEST

START_TEST(thick_units_do_not_unmap)
{
	teardown();
	start_rig(&(struct rig_options){.thick = true});
	unmap_list(1, (const uint64_t[][2]){{0, 1}});
	expect_sense(CDB(0x42, [8] = 24), 24, S_OPCODE);
	expect_sense(CDB(0x41, 0x08, [8] = 1), 512, S_CDB);
	expect_good(CDB(0x41, [8] = 1), 512, 0);
	expect_good(CDB(0x9e, 0x10, [13] = 32), 0, 32);
	ck_assert_uint_eq(in_buf[14], 0);
	expect_good(CDB(0x12, 1, 0xb2, 0, 64), 0, 64);
	ck_assert_uint_eq(in_buf[5], 0);
	expect_good(CDB(0x12, 1, 0xb0, 0, 64), 0, 64);
	ck_assert_uint_eq(get_be32(in_buf + 20), 0);
	/* nor do they say they would */
	expect_good(CDB(0xa3, 0x0c, 0x01, 0x42, [9] = 64), 0, 64);
	ck_assert_uint_eq(in_buf[1], 1);
}
END_TEST

START_TEST(lba_status)
{
	struct disk *disk = rig.disk; /* 8 chunks of 2048 blocks */
	static const uint64_t want[][3] = {
		{100, 1948, 1}, {2048, 4096, 0}, {6144, 8192, 1}, {14336, 2048, 0}};

	disk->present[1] = disk->present[2] = disk->present[7] = true;
	expect_good(CDB(0x9e, 0x12, [9] = 100, [12] = 1), 0, 4096);
	ck_assert_uint_eq(cmd.task.in_len, 8 + 4 * 16);
	ck_assert_uint_eq(get_be32(in_buf), 4 + 4 * 16);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(get_be64(in_buf + 8 + 16 * i), want[i][0]);
		ck_assert_uint_eq(get_be32(in_buf + 16 + 16 * i), want[i][1]);
		ck_assert_uint_eq(in_buf[20 + 16 * i] & 0xf, want[i][2]);
	}
	/* one descriptor of room */
	expect_good(CDB(0x9e, 0x12, [8] = 8, [9] = 1, [13] = 24), 0, 24);
	ck_assert_uint_eq(get_be32(in_buf), 20);
	ck_assert_uint_eq(get_be64(in_buf + 8), 2049);
	ck_assert_uint_eq(get_be32(in_buf + 16), 4095);
	expect_good(CDB(0x9e, 0x12, [8] = 0x3f, [9] = 0xff, [13] = 24), 0, 24);
	ck_assert_uint_eq(get_be32(in_buf + 16), 1);
	expect_sense(CDB(0x9e, 0x12, [8] = 0x40, [13] = 24), 0, S_LBA);
	disk->fail = -EIO;
	disk->fail_op = VOL_MAP;
	expect_sense(CDB(0x9e, 0x12, [13] = 24), 0, 0x031100);
}
END_TEST

START_TEST(read_only_units)
{
	teardown();
	start_rig(&(struct rig_options){.read_only = true});
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct good *good = good_of(&scsi_commands[i]);

		memset(out_buf, 0, 4096);
		if (scsi_commands[i].flags & F_WRITES)
			expect_sense(good->cdb, good->out, S_PROTECT);
		else
			ck_assert_int_eq(run(good->cdb, good->out, 4096), good->status);
	}
	ck_assert_uint_eq(rig.disk->seen[VOL_WRITE] + rig.disk->seen[VOL_UNMAP], 0);
	expect_good(CDB(0x1a, 0, 0x3f, 0, 255), 0, 255);
	ck_assert_uint_eq(in_buf[2] & 0x80, 0x80);
}
END_TEST

START_TEST(volume_errors)
{
	static const struct {
		int status;
		enum vol_op op;
		uint32_t sense;
	} cases[] = {
		{LG_ECORRUPT, VOL_READ, 0x031100}, {-EIO, VOL_WRITE, 0x030c00},
		{-ENOSPC, VOL_WRITE, 0x072707},    {LG_EPOISONED, VOL_WRITE, 0x044400},
		{LG_EFENCED, VOL_WRITE, 0x02040c}, {LG_EFENCED, VOL_READ, 0x02040c},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool reads = cases[i].op == VOL_READ;

		rig.disk->fail = cases[i].status;
		rig.disk->fail_op = (int)cases[i].op;
		rig.disk->fail_offset = 9 * 512 + 17;
		expect_sense(reads ? CDB(0x28, [5] = 8, [8] = 4) : CDB(0x2a, [5] = 8, [8] = 4),
			     reads ? 0 : 2048, cases[i].sense);
		if (cases[i].sense >> 16 == 3) { /* the LBA */
			ck_assert_uint_eq(cmd.task.sense[0], 0xf0);
			ck_assert_uint_eq(get_be32(cmd.task.sense + 3), 9);
		}
	}
	rig.disk->fail = LG_ESTOPPING;
	rig.disk->fail_op = VOL_READ;
	ck_assert_int_eq(run(CDB(0x28, [8] = 1), 0, 512), SCSI_BUSY);
	/* each kind of command hears of it */
	rig.disk->fail = -EIO;
	for (unsigned i = 0; i < scsi_ncommands; i++) {
		const struct good *good = good_of(&scsi_commands[i]);

		memset(out_buf, 0, 4096);
		unmap_list(1, (const uint64_t[][2]){{0, 1}});
		if (scsi_commands[i].opcode != 0x42)
			memset(out_buf, 0, 4096);
		for (unsigned op = 0; op < VOL_OP_COUNT; op++) {
			unsigned before = rig.disk->seen[op];
			enum scsi_status status;

			rig.disk->fail_op = (int)op;
			status = run(good->cdb, good->out, 4096);
			if (rig.disk->seen[op] != before)
				ck_assert_msg(status == SCSI_CHECK_CONDITION, "%s made good of a failed %s",
					      scsi_commands[i].name, vol_op_name(op));
		}
	}
}
END_TEST

START_TEST(short_arena)
{
	struct page *pages[512];
	unsigned n = 0;

	teardown();
	start_rig(&(struct rig_options){.arena = 1u << 20});
	while (n < 512 && arena_alloc(rig.arena, pages + n, 1) == 0)
		n++;
	cmd_init(&cmd, &rig, 0, CDB(0x2a, [8] = 255), 16);
	cmd.task.out_room = 255 * 512;
	cmd.stop_after_start = true;
	cmd_begin(&cmd);
	ck_assert_int_eq(cmd.start_rc, -EAGAIN);
	ck_assert_uint_eq(cmd.task.held, 0);
	pages_unref(pages, n);
	cmd_init(&cmd, &rig, 0, CDB(0x2a, [8] = 255), 16);
	cmd.task.out_room = 255 * 512;
	cmd.out = out_buf;
	ck_assert_int_eq(cmd_do(&cmd), SCSI_GOOD);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		every_command_is_carried_out,
		reserved_bits_are_refused,
		ranges_end_at_the_last_block,
		allocation_length_truncates,
		unknown_opcodes,
		data_512,
		large_transfers,
		less_data_out_than_asked,
		fua_and_cache_mode,
		verify_same_block,
		long_verify_and_prefetch,
		write_same,
		compare_and_write,
		orwrite,
		unmap,
		thick_units_do_not_unmap,
		lba_status,
		read_only_units,
		volume_errors,
		short_arena,
	};
	Suite *suite = suite_create("scsi");
	TCase *tcase = tcase_create("commands"), *own = tcase_create("own rig");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	tcase_set_timeout(own, 60);
	tcase_add_test(own, data_4096);
	suite_add_tcase(suite, own);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
