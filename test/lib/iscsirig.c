/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/lib/iscsirig.h"

#include <check.h>
#include <string.h>
#include <time.h>

void
iscsirig_init(struct iscsirig *rig, const struct iscsi_limits *limits, size_t arena)
{
	static const char *const names[] = {"front", "home"};
	struct rig_options options = {.arena = 0};
	struct iscsi_limits defaults;
	struct errinfo info = {""};

	iscsi_limits_default(&defaults);
	ck_assert_int_eq(arena_new(arena ? arena : 64u << 20, &rig->arena), 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(loop_new(names[i], i, &rig->loops[i]), 0);
		ck_assert_int_eq(loop_start(rig->loops[i]), 0);
	}
	rig->disk = disk_new("disk", &options, rig->loops[1], rig->arena);
	ck_assert_int_eq(scsi_target_new(RIG_TARGET, &rig->scsi), 0);
	ck_assert_int_eq(scsi_target_map(rig->scsi, 0, &rig->disk->vol, &info), 0);
	ck_assert_int_eq(
		iscsi_server_new(rig->loops, 2, rig->arena, limits ? limits : &defaults, &rig->server), 0);
	ck_assert_msg(iscsi_target_add(rig->server, RIG_TARGET, rig->scsi, NULL, &info) == 0, "%s",
		      info.text);
	ck_assert_msg(iscsi_portal_add(rig->server, "127.0.0.1:0", rig->address, &info) == 0, "%s",
		      info.text);
}

void
iscsirig_fini(struct iscsirig *rig)
{
	iscsi_server_free(rig->server);
	scsi_target_unmap(rig->scsi, 0);
	scsi_target_free(rig->scsi);
	disk_free(rig->disk);
	for (unsigned i = 0; i < 2; i++)
		loop_free(rig->loops[i]);
	arena_free(rig->arena);
}

long
iscsirig_counter(struct iscsirig *rig, const char *name)
{
	json_t *counters = iscsi_counters(rig->server);
	long n = (long)json_integer_value(json_object_get(counters, name));

	ck_assert_msg(json_object_get(counters, name) != NULL, "no counter %s", name);
	json_decref(counters);
	return n;
}

static void
nap(void)
{
	struct timespec ms = {.tv_nsec = 2000000};

	nanosleep(&ms, NULL);
}

bool
iscsirig_await(struct iscsirig *rig, const char *name, long n)
{
	uint64_t until = clock_ns() + (uint64_t)RAW_WAIT_MS * 1000000;

	while (iscsirig_counter(rig, name) < n) {
		if (clock_ns() > until)
			return false;
		nap();
	}
	return true;
}

bool
iscsirig_await_sessions(struct iscsirig *rig, size_t n)
{
	uint64_t until = clock_ns() + (uint64_t)RAW_WAIT_MS * 1000000;

	while (iscsi_session_count(rig->server, NULL) != n) {
		if (clock_ns() > until)
			return false;
		nap();
	}
	return true;
}

bool
iscsirig_await_connections(struct iscsirig *rig, long n)
{
	uint64_t until = clock_ns() + (uint64_t)RAW_WAIT_MS * 1000000;

	while (iscsirig_counter(rig, "connections") > n) {
		if (clock_ns() > until)
			return false;
		nap();
	}
	return true;
}

void
iscsirig_login(struct iscsirig *rig, struct raw *raw, uint8_t who, const char *keys, size_t len)
{
	ck_assert_int_eq(raw_connect(raw, rig->address), 0);
	raw->isid[5] = who;
	ck_assert_int_eq(raw_login(raw, RIG_INITIATOR, RIG_TARGET, keys, len), 0);
	raw->max_send = 262144;
	ck_assert_int_eq(raw_ready(raw, 0), 0);
}
