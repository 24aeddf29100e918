/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Portal groups, redirection, and sessions that are ended from outside. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "gateway/iscsi/iscsi_fmt.h"
#include "test/lib/iscsirig.h"

#define OTHER_TARGET "iqn.2024-01.org.lungate:other"
#define OPCODE(raw) ((raw)->bhs[0] & ISCSI_OPCODE_MASK)
#define GRACE_LONG 60000 /* nobody may wait for its end */

static struct iscsirig rig;
static struct scsi_target *other;
static char second[64]; /* a portal of group 2 */

static void
setup(void)
{
	struct errinfo info;

	iscsirig_init(&rig, NULL, 0);
	ck_assert_int_eq(iscsi_portal_add_to(rig.server, 2, "127.0.0.1:0", second, &info), 0);
	ck_assert_int_eq(scsi_target_new(OTHER_TARGET, &other), 0);
	ck_assert_int_eq(scsi_target_map(other, 0, &rig.disk->vol, &info), 0);
	ck_assert_int_eq(iscsi_target_add(rig.server, OTHER_TARGET, other, NULL, &info), 0);
}

static void
teardown(void)
{
	ck_assert_int_eq(iscsi_target_remove(rig.server, OTHER_TARGET), 0);
	ck_assert_int_eq(scsi_target_unmap(other, 0), 0);
	scsi_target_free(other);
	iscsirig_fini(&rig);
}

static int
login_at(struct raw *raw, const char *address, uint8_t who, const char *target)
{
	ck_assert_int_eq(raw_connect(raw, address), 0);
	raw->isid[5] = who;
	return raw_login(raw, RIG_INITIATOR, target, "", 0);
}

static bool
has_text(const struct raw *raw, const char *want)
{
	for (size_t i = 0; i < raw->len; i += strlen((const char *)raw->data + i) + 1)
		if (!strcmp((const char *)raw->data + i, want))
			return true;
	return false;
}

static bool
has_address(const struct raw *raw, const char *address, unsigned group)
{
	char text[128];

	snprintf(text, sizeof(text), "TargetAddress=%s,%u", address, group);
	return has_text(raw, text);
}

static void
discover(struct raw *raw, const char *address, const char *target)
{
	uint8_t bhs[RAW_BHS];
	char text[300];
	int n = snprintf(text, sizeof(text), "SendTargets=%s", target);

	ck_assert_int_eq(login_at(raw, address, 1, NULL), 0);
	raw_request(raw, bhs, ISCSI_TEXT_REQUEST, 0x80, false);
	put_be32(bhs + 20, ISCSI_TAG_NONE);
	ck_assert_int_eq(raw_send(raw, bhs, text, (uint32_t)n + 1), 0);
	ck_assert_int_eq(raw_recv(raw), 0);
	ck_assert_int_eq(OPCODE(raw), ISCSI_TEXT_RESPONSE);
}

/* ---- groups ---- */

START_TEST(discovery_tells_the_groups)
{
	const uint16_t two[] = {2};
	struct raw raw;

	discover(&raw, rig.address, RIG_TARGET);
	ck_assert(has_address(&raw, rig.address, 1));
	ck_assert(has_address(&raw, second, 2));
	raw_close(&raw);
	ck_assert_int_eq(iscsi_target_set_groups(rig.server, RIG_TARGET, two, 1), 0);
	/* any portal tells of it, but only those of group 2 lead to it */
	discover(&raw, rig.address, RIG_TARGET);
	ck_assert(!has_address(&raw, rig.address, 1));
	ck_assert(has_address(&raw, second, 2));
	raw_close(&raw);
	discover(&raw, second, OTHER_TARGET);
	ck_assert(has_address(&raw, rig.address, 1));
	ck_assert(has_address(&raw, second, 2));
	raw_close(&raw);
	ck_assert_int_eq(iscsi_target_set_groups(rig.server, "iqn.2024-01.org.lungate:none", two, 1),
			 -ENOENT);
}
END_TEST

START_TEST(a_login_is_told_its_group)
{
	struct raw first, next;

	ck_assert_int_eq(login_at(&first, rig.address, 1, RIG_TARGET), 0);
	ck_assert(has_text(&first, "TargetPortalGroupTag=1"));
	/* the same ISID by another group is another nexus: no reinstatement, 4.4.3 */
	ck_assert_int_eq(login_at(&next, second, 1, RIG_TARGET), 0);
	ck_assert(has_text(&next, "TargetPortalGroupTag=2"));
	ck_assert_uint_eq(iscsi_session_count(rig.server, RIG_TARGET), 2);
	ck_assert_int_eq(raw_ready(&first, 0), 0);
	ck_assert_int_eq(raw_ready(&next, 0), 0);
	raw_close(&next);
	ck_assert(iscsirig_await_sessions(&rig, 1));
	/* and by the same one it is */
	ck_assert_int_eq(login_at(&next, rig.address, 1, RIG_TARGET), 0);
	ck_assert_int_eq(raw_wait_closed(&first), 0);
	ck_assert_uint_eq(iscsi_session_count(rig.server, RIG_TARGET), 1);
	raw_close(&first);
	raw_close(&next);
}
END_TEST

START_TEST(a_target_is_reached_by_its_groups_alone)
{
	const uint16_t two[] = {2}, both[] = {1, 2};
	struct raw stays, goes, raw;

	ck_assert_int_eq(login_at(&stays, second, 1, RIG_TARGET), 0);
	ck_assert_int_eq(login_at(&goes, rig.address, 2, RIG_TARGET), 0);
	ck_assert_int_eq(login_at(&raw, rig.address, 3, OTHER_TARGET), 0);
	/* nobody answers at the other end of `goes`: it is dropped after the grace */
	ck_assert_int_eq(iscsi_target_set_groups(rig.server, RIG_TARGET, two, 1), 0);
	ck_assert_uint_eq(iscsi_session_count(rig.server, RIG_TARGET), 1);
	ck_assert_int_eq(raw_recv(&goes), 0);
	ck_assert_int_eq(OPCODE(&goes), ISCSI_ASYNC_MESSAGE);
	ck_assert_uint_eq(goes.bhs[36], ISCSI_ASYNC_LOGOUT);
	ck_assert_int_eq(raw_recv(&goes), 0);
	ck_assert_uint_eq(goes.bhs[36], ISCSI_ASYNC_DROP_SESSION);
	ck_assert_int_eq(raw_wait_closed(&goes), 0);
	raw_close(&goes);
	ck_assert_int_eq(raw_ready(&stays, 0), 0);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	ck_assert_int_eq(login_at(&goes, rig.address, 2, RIG_TARGET), ISCSI_LOGIN_NOT_FOUND);
	raw_close(&goes);
	ck_assert_int_eq(iscsi_target_set_groups(rig.server, RIG_TARGET, both, 2), 0);
	ck_assert_int_eq(login_at(&goes, rig.address, 2, RIG_TARGET), 0);
	raw_close(&goes);
	raw_close(&raw);
	raw_close(&stays);
}
END_TEST

/* ---- redirection ---- */

START_TEST(a_target_sends_logins_elsewhere)
{
	struct iscsi_redirect redirect = {.permanent = false};
	struct raw raw;
	char text[300];

	snprintf(redirect.to, sizeof(redirect.to), "%s", second);
	ck_assert_int_eq(iscsi_target_set_redirect(rig.server, RIG_TARGET, &redirect), 0);
	ck_assert_int_eq(login_at(&raw, rig.address, 1, RIG_TARGET), ISCSI_LOGIN_MOVED_FOR_NOW);
	snprintf(text, sizeof(text), "TargetAddress=%s", second);
	ck_assert(has_text(&raw, text));
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	/* where it was sent it is served, other targets are served everywhere, and discovery is */
	ck_assert_int_eq(login_at(&raw, second, 1, RIG_TARGET), 0);
	raw_close(&raw);
	ck_assert_int_eq(login_at(&raw, rig.address, 1, OTHER_TARGET), 0);
	raw_close(&raw);
	ck_assert_int_eq(login_at(&raw, rig.address, 1, NULL), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsirig_counter(&rig, "redirects"), 1);
	ck_assert_int_eq(iscsirig_counter(&rig, "login_failures"), 0);
	snprintf(redirect.to, sizeof(redirect.to), "gateway-b.example.net:3260");
	redirect.permanent = true;
	ck_assert_int_eq(iscsi_target_set_redirect(rig.server, RIG_TARGET, &redirect), 0);
	ck_assert_int_eq(login_at(&raw, second, 1, RIG_TARGET), ISCSI_LOGIN_MOVED_FOR_GOOD);
	ck_assert(has_text(&raw, "TargetAddress=gateway-b.example.net:3260"));
	raw_close(&raw);
	ck_assert_int_eq(iscsi_target_set_redirect(rig.server, RIG_TARGET, NULL), 0);
	ck_assert_int_eq(login_at(&raw, second, 1, RIG_TARGET), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsi_target_set_redirect(rig.server, "iqn.2024-01.org.lungate:none", NULL),
			 -ENOENT);
}
END_TEST

START_TEST(a_portal_sends_logins_elsewhere)
{
	struct iscsi_redirect redirect = {.to = "192.0.2.7:3260"};
	struct raw raw, old;

	ck_assert_int_eq(login_at(&old, rig.address, 9, RIG_TARGET), 0);
	ck_assert_int_eq(iscsi_portal_set_redirect(rig.server, rig.address, &redirect), 0);
	ck_assert_int_eq(login_at(&raw, rig.address, 1, RIG_TARGET), ISCSI_LOGIN_MOVED_FOR_NOW);
	ck_assert(has_text(&raw, "TargetAddress=192.0.2.7:3260"));
	raw_close(&raw);
	ck_assert_int_eq(login_at(&raw, rig.address, 1, "iqn.2024-01.org.lungate:none"),
			 ISCSI_LOGIN_NOT_FOUND);
	raw_close(&raw);
	ck_assert_int_eq(login_at(&raw, second, 1, RIG_TARGET), 0);
	raw_close(&raw);
	/* who is there already stays */
	ck_assert_int_eq(raw_ready(&old, 0), 0);
	raw_close(&old);
	ck_assert_int_eq(iscsi_portal_set_redirect(rig.server, rig.address, NULL), 0);
	ck_assert_int_eq(login_at(&raw, rig.address, 1, RIG_TARGET), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsi_portal_set_redirect(rig.server, "192.0.2.7:3260", NULL), -ENOENT);
}
END_TEST

START_TEST(addresses_to_send_to_are_checked)
{
	static const struct {
		const char *to;
		int rc;
	} rows[] = {
		{"192.0.2.1:3260", 0},    {"[2001:db8::1]:3260", 0},     {"gateway-b.example.net:3260", 0},
		{"192.0.2.1", -EINVAL},   {"192.0.2:3260", -EINVAL},     {"192.0.2.1:3260,1", -EINVAL},
		{"host:", -EINVAL},       {"host:70000", -EINVAL},       {":3260", -EINVAL},
		{"a host:3260", -EINVAL}, {"2001:db8::1:3260", -EINVAL}, {"", -EINVAL},
	};
	struct errinfo info;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ck_assert_msg(iscsi_redirect_check(rows[i].to, &info) == rows[i].rc, "%s", rows[i].to);
}
END_TEST

START_TEST(portals_are_listed)
{
	struct iscsi_redirect redirect = {.to = "192.0.2.7:3260", .permanent = true};
	json_t *portals, *row;
	struct errinfo info;
	struct raw raw;

	ck_assert_int_eq(login_at(&raw, second, 1, RIG_TARGET), 0);
	ck_assert_int_eq(iscsi_portal_set_redirect(rig.server, second, &redirect), 0);
	portals = iscsi_portals(rig.server);
	ck_assert_uint_eq(json_array_size(portals), 2);
	row = json_array_get(portals, 0);
	ck_assert_str_eq(json_string_value(json_object_get(row, "bound")), rig.address);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "group")), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "connection_count")), 0);
	ck_assert(json_is_null(json_object_get(row, "redirect")));
	row = json_array_get(portals, 1);
	ck_assert_str_eq(json_string_value(json_object_get(row, "address")), "127.0.0.1:0");
	ck_assert_str_eq(json_string_value(json_object_get(row, "bound")), second);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "group")), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "connection_count")), 1);
	row = json_object_get(row, "redirect");
	ck_assert_str_eq(json_string_value(json_object_get(row, "to")), "192.0.2.7:3260");
	ck_assert(json_is_true(json_object_get(row, "permanent")));
	json_decref(portals);
	raw_close(&raw);
	ck_assert_int_eq(iscsi_portal_add_to(rig.server, 0, "127.0.0.1:0", NULL, &info), -EINVAL);
}
END_TEST

/* ---- ending sessions ---- */

/* Reads until it is asked to log out, and does. */
static void *
obedient(void *arg)
{
	struct raw *raw = arg;

	ck_assert_int_eq(raw_recv(raw), 0);
	ck_assert_int_eq(OPCODE(raw), ISCSI_ASYNC_MESSAGE);
	ck_assert_uint_eq(raw->bhs[36], ISCSI_ASYNC_LOGOUT);
	ck_assert_uint_eq(get_be16(raw->bhs + 38), raw->cid);
	ck_assert_uint_eq(get_be16(raw->bhs + 42), GRACE_LONG / 1000);
	ck_assert_int_eq(raw_logout(raw), 0);
	return NULL;
}

/* The id of the only session of a target. */
static void
only_id(const char *target, char ret[64])
{
	json_t *sessions = iscsi_sessions(rig.server, target);

	ck_assert_uint_eq(json_array_size(sessions), 1);
	snprintf(ret, 64, "%s", json_string_value(json_object_get(json_array_get(sessions, 0), "id")));
	json_decref(sessions);
}

START_TEST(who_is_asked_to_log_out_may_do_so)
{
	struct iscsi_who who = {0};
	struct raw stays, goes;
	pthread_t thread;
	char id[64];

	ck_assert_int_eq(login_at(&goes, rig.address, 1, RIG_TARGET), 0);
	ck_assert_int_eq(login_at(&stays, rig.address, 1, OTHER_TARGET), 0);
	only_id(RIG_TARGET, id);
	who.id = id;
	ck_assert_int_eq(pthread_create(&thread, NULL, obedient, &goes), 0);
	ck_assert_uint_eq(iscsi_sessions_end(rig.server, &who, GRACE_LONG), 1);
	pthread_join(thread, NULL);
	raw_close(&goes);
	ck_assert_uint_eq(iscsi_session_count(rig.server, RIG_TARGET), 0);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_logout"), 1);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_kicked"), 0);
	ck_assert_uint_eq(iscsi_sessions_end(rig.server, &who, 0), 0);
	ck_assert_int_eq(raw_ready(&stays, 0), 0);
	raw_close(&stays);
}
END_TEST

START_TEST(who_does_not_listen_is_dropped)
{
	struct iscsi_who who = {.initiator = "IQN.2024-01.com.example:ME", .target = RIG_TARGET};
	struct raw stays, goes[2];
	uint8_t cdb[16];

	for (uint8_t i = 0; i < 2; i++)
		ck_assert_int_eq(login_at(&goes[i], rig.address, i, RIG_TARGET), 0);
	ck_assert_int_eq(login_at(&stays, rig.address, 1, OTHER_TARGET), 0);
	/* a write whose data he owes keeps nobody */
	raw_cdb_rw16(cdb, true, 0, 128);
	raw_command(&goes[0], 0, cdb, 16, 0xa1, 65536, NULL, 0);
	ck_assert_uint_eq(iscsi_sessions_end(rig.server, &who, 100), 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(raw_wait_closed(&goes[i]), 0);
		raw_close(&goes[i]);
	}
	ck_assert(iscsirig_await_sessions(&rig, 1));
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_kicked"), 2);
	ck_assert_int_eq(raw_ready(&stays, 0), 0);
	raw_close(&stays);
	who.initiator = "not a name";
	ck_assert_uint_eq(iscsi_sessions_end(rig.server, &who, 0), 0);
}
END_TEST

START_TEST(a_portal_goes_with_what_came_by_it)
{
	struct iscsi_who who = {.portal = second};
	struct raw stays, goes, login;
	char again[64];
	struct errinfo info;

	ck_assert_int_eq(login_at(&stays, rig.address, 1, RIG_TARGET), 0);
	ck_assert_int_eq(login_at(&goes, second, 1, RIG_TARGET), 0);
	ck_assert_int_eq(raw_connect(&login, second), 0);
	ck_assert(iscsirig_await(&rig, "accepted", 3));
	ck_assert_int_eq(iscsi_portal_remove(rig.server, second), 0);
	ck_assert_uint_eq(iscsi_sessions_end(rig.server, &who, 50), 2);
	ck_assert_int_eq(raw_wait_closed(&goes), 0);
	ck_assert_int_eq(raw_wait_closed(&login), 0);
	raw_close(&goes);
	raw_close(&login);
	ck_assert_int_eq(iscsirig_counter(&rig, "closed_portal_removed"), 2);
	ck_assert_int_eq(raw_ready(&stays, 0), 0);
	raw_close(&stays);
	ck_assert_int_lt(raw_connect(&goes, second), 0);
	raw_close(&goes);
	ck_assert_int_eq(iscsi_portal_add_to(rig.server, 3, second, again, &info), 0);
	ck_assert_str_eq(again, second);
	ck_assert_int_eq(login_at(&goes, second, 1, RIG_TARGET), 0);
	ck_assert(has_text(&goes, "TargetPortalGroupTag=3"));
	raw_close(&goes);
}
END_TEST

START_TEST(sessions_are_described)
{
	json_t *sessions, *row, *connection;
	struct raw raw;

	ck_assert_int_eq(login_at(&raw, second, 7, RIG_TARGET), 0);
	ck_assert_int_eq(raw_ready(&raw, 0), 0);
	sessions = iscsi_sessions(rig.server, RIG_TARGET);
	ck_assert_uint_eq(json_array_size(sessions), 1);
	row = json_array_get(sessions, 0);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "portal_group")), 2);
	ck_assert_str_eq(json_string_value(json_object_get(row, "isid")), "800000000007");
	ck_assert_str_eq(json_string_value(json_object_get(row, "initiator")), RIG_INITIATOR);
	connection = json_array_get(json_object_get(row, "connections"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(connection, "portal")), second);
	row = json_object_get(connection, "counters");
	/* the unit attention of a new nexus is the one error */
	ck_assert_int_eq(json_integer_value(json_object_get(row, "errors")), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(row, "commands")), 2);
	ck_assert_str_eq(
		json_string_value(json_object_get(json_object_get(connection, "params"), "HeaderDigest")),
		"None");
	json_decref(sessions);
	raw_close(&raw);
}
END_TEST

START_TEST(stopping_says_so_first)
{
	struct raw raw;

	ck_assert_int_eq(login_at(&raw, second, 1, OTHER_TARGET), 0);
	ck_assert_int_eq(iscsi_target_remove(rig.server, OTHER_TARGET), 0);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_eq(raw.bhs[36], ISCSI_ASYNC_LOGOUT);
	ck_assert_uint_eq(get_be16(raw.bhs + 42), 2);
	ck_assert_int_eq(raw_recv(&raw), 0);
	ck_assert_uint_eq(raw.bhs[36], ISCSI_ASYNC_DROP_SESSION);
	ck_assert_int_eq(raw_wait_closed(&raw), 0);
	raw_close(&raw);
	ck_assert_int_eq(iscsi_target_add(rig.server, OTHER_TARGET, other, NULL, &(struct errinfo){{0}}), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("iscsi_portal");
	TCase *tc = tcase_create("portal");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, discovery_tells_the_groups);
	tcase_add_test(tc, a_login_is_told_its_group);
	tcase_add_test(tc, a_target_is_reached_by_its_groups_alone);
	tcase_add_test(tc, a_target_sends_logins_elsewhere);
	tcase_add_test(tc, a_portal_sends_logins_elsewhere);
	tcase_add_test(tc, addresses_to_send_to_are_checked);
	tcase_add_test(tc, portals_are_listed);
	tcase_add_test(tc, who_is_asked_to_log_out_may_do_so);
	tcase_add_test(tc, who_does_not_listen_is_dropped);
	tcase_add_test(tc, a_portal_goes_with_what_came_by_it);
	tcase_add_test(tc, sessions_are_described);
	tcase_add_test(tc, stopping_says_so_first);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
