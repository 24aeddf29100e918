/* SPDX-License-Identifier: GPL-2.0-or-later */
/* registry: names, references, listing, and both from several threads. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/registry.h"

static struct volume *
volume_named(const char *name)
{
	struct volume *vol = calloc(1, sizeof(*vol));

	snprintf(vol->name, sizeof(vol->name), "%s", name);
	return vol;
}

START_TEST(names_are_taken_and_given_back)
{
	struct volume *vol = volume_named("a"), *twin = volume_named("a");
	struct registry *reg;

	ck_assert_int_eq(registry_new(&reg), 0);
	ck_assert_ptr_null(registry_get(reg, "a"));
	ck_assert_int_eq(registry_remove(reg, "a"), -ENOENT);
	ck_assert_int_eq(registry_add(reg, vol), 0);
	ck_assert_int_eq(registry_add(reg, twin), -EEXIST);
	ck_assert_int_eq(twin->refs, 0);

	ck_assert_ptr_eq(registry_get(reg, "a"), vol);
	ck_assert_int_eq(vol->refs, 2);
	ck_assert_int_eq(registry_remove(reg, "a"), -EBUSY);
	ck_assert_ptr_eq(registry_get(reg, "a"), vol); /* it stays */
	volume_unref(vol);
	ck_assert_int_eq(registry_remove(reg, "a"), -EBUSY);
	volume_unref(vol);
	ck_assert_int_eq(registry_remove(reg, "a"), 0);
	ck_assert_int_eq(vol->refs, 0);
	ck_assert_ptr_null(registry_get(reg, "a"));
	ck_assert_int_eq(registry_add(reg, twin), 0);
	ck_assert_int_eq(registry_remove(reg, "a"), 0);
	registry_free(reg);
	free(vol);
	free(twin);
}
END_TEST

START_TEST(lists_are_sorted)
{
	static const unsigned n = 100;
	struct volume **vols = calloc(n, sizeof(*vols)), **list;
	struct registry *reg;
	size_t nlist;
	char name[16];

	ck_assert_int_eq(registry_new(&reg), 0);
	ck_assert_int_eq(registry_list(reg, &list, &nlist), 0);
	ck_assert_uint_eq(nlist, 0);
	free(list);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "v%03u", i * 37 % n);
		vols[i] = volume_named(name);
		ck_assert_int_eq(registry_add(reg, vols[i]), 0);
	}
	ck_assert_int_eq(registry_list(reg, &list, &nlist), 0);
	ck_assert_uint_eq(nlist, n);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "v%03u", i);
		ck_assert_str_eq(list[i]->name, name);
		ck_assert_int_eq(list[i]->refs, 2);
		volume_unref(list[i]);
	}
	free(list);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(registry_remove(reg, vols[i]->name), 0);
		free(vols[i]);
	}
	free(vols);
	registry_free(reg);
}
END_TEST

static void *
looker_main(void *arg)
{
	struct registry *reg = arg;
	struct volume *vol, **list;
	size_t n;

	for (unsigned i = 0; i < 2000; i++) {
		vol = registry_get(reg, "busy");
		if (vol)
			volume_unref(vol);
		if (i % 50 || registry_list(reg, &list, &n))
			continue;
		while (n)
			volume_unref(list[--n]);
		free(list);
	}
	return NULL;
}

START_TEST(removal_and_lookup_race)
{
	struct registry *reg;
	pthread_t threads[2];
	unsigned removed = 0;

	ck_assert_int_eq(registry_new(&reg), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, looker_main, reg);
	for (unsigned i = 0; i < 500; i++) {
		struct volume *vol = volume_named("busy");
		int r;

		ck_assert_int_eq(registry_add(reg, vol), 0);
		do {
			r = registry_remove(reg, "busy");
		} while (r == -EBUSY);
		ck_assert_int_eq(r, 0);
		ck_assert_int_eq(vol->refs, 0); /* ours alone: freed under nobody's feet */
		free(vol);
		removed++;
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(removed, 500);
	registry_free(reg);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("registry");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, names_are_taken_and_given_back);
	tcase_add_test(tc, lists_are_sorted);
	tcase_add_test(tc, removal_and_lookup_race);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
