/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A real mount: the tree, its texts, listings, and how it comes and goes. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuse/mountpoint.h"
#include "test/lib/mountrig.h"

#define MIB (1u << 20)
#define SIZE (8 * MIB)

static struct rig rig;
static struct fakevol *a;
static char text[1 << 16];

static void
setup(void)
{
	struct errinfo info = {""};

	rig_start(&rig, 32 * MIB);
	a = rig_volume(&rig, "vol-a", SIZE, 512, MIB);
	ck_assert_msg(!rig_mount(&rig, rig_path, &info), "%s", info.text);
}

static void
teardown(void)
{
	mount_stop(rig.mount);
	rig.mount = NULL;
	rig_drop(&rig, a);
	rig_stop(&rig);
}

static const char *
read_text(const char *path)
{
	int fd = open(path, O_RDONLY);
	size_t n = 0;
	ssize_t got;

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	/* in small pieces, to see that it is one text */
	while ((got = read(fd, text + n, 100)) > 0)
		n += (size_t)got;
	ck_assert_int_eq(got, 0);
	text[n] = 0;
	close(fd);
	return text;
}

static mode_t
mode_of(const char *path)
{
	struct stat st;

	ck_assert_msg(!lstat(path, &st), "%s: %s", path, strerror(errno));
	ck_assert_uint_eq(st.st_uid, geteuid());
	ck_assert_uint_eq(st.st_gid, getegid());
	return st.st_mode;
}

static uint64_t
ino_of(const char *path)
{
	struct stat st;

	ck_assert_msg(!lstat(path, &st), "%s: %s", path, strerror(errno));
	return st.st_ino;
}

static int
missing(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? errno : 0;
}

/* Names of a directory in order, each with a blank behind it; `.` and `..` are counted and left out. */
static char *
names_in(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned dots = 0;
	size_t n = 0;

	ck_assert_msg(dir, "%s: %s", path, strerror(errno));
	text[0] = 0;
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			dots++;
		else
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s ", entry->d_name);
		ck_assert_uint_lt(n, sizeof(text));
	}
	closedir(dir);
	ck_assert_uint_eq(dots, 2);
	return text;
}

START_TEST(the_tree)
{
	ck_assert_str_eq(names_in(rig_path), "README status.json metrics targets volumes ");
	ck_assert_str_eq(names_in(rig_file("volumes")), "vol-a ");
	ck_assert_str_eq(names_in(rig_file("volumes/vol-a")), "image volume.json map stats.json chunks ");
	ck_assert_str_eq(names_in(rig_file("volumes/vol-a/chunks")), "");
	ck_assert_str_eq(names_in(rig_file("targets")), RIG_TARGET " ");
	ck_assert_str_eq(names_in(rig_file("targets/" RIG_TARGET)), "target.json sessions lun0 lun12 ");
	ck_assert_str_eq(names_in(rig_file("targets/" RIG_TARGET "/sessions")), "");
	rig.session = true;
	ck_assert_str_eq(names_in(rig_file("targets/" RIG_TARGET "/sessions")), "s1.json ");

	ck_assert_uint_eq(mode_of(rig_path), S_IFDIR | 0700);
	ck_assert_uint_eq(mode_of(rig_file("README")), S_IFREG | 0400);
	ck_assert_uint_eq(mode_of(rig_file("volumes/vol-a")), S_IFDIR | 0700);
	ck_assert_uint_eq(mode_of(rig_file("volumes/vol-a/image")), S_IFREG | 0600);
	ck_assert_uint_eq(mode_of(rig_file("volumes/vol-a/map")), S_IFREG | 0400);

	ck_assert_int_eq(missing(rig_file("nothing")), ENOENT);
	ck_assert_int_eq(missing(rig_file("volumes/vol-b")), ENOENT);
	ck_assert_int_eq(missing(rig_file("volumes/vol-a/images")), ENOENT);
	ck_assert_int_eq(missing(rig_file("targets/iqn.other")), ENOENT);
	ck_assert_int_eq(missing(rig_file("targets/" RIG_TARGET "/lun1")), ENOENT);
	ck_assert_int_eq(missing(rig_file("targets/" RIG_TARGET "/lun012")), ENOENT);
	ck_assert_int_eq(missing(rig_file("targets/" RIG_TARGET "/sessions/s2.json")), ENOENT);
	ck_assert_int_eq(missing(rig_file("README/x")), ENOTDIR);
}
END_TEST

START_TEST(links_lead_to_volumes)
{
	char to[256];
	ssize_t n = readlink(rig_file("targets/" RIG_TARGET "/lun0"), to, sizeof(to));
	struct stat st;

	ck_assert_int_eq(n, 19);
	ck_assert(!memcmp(to, "../../volumes/vol-a", 19));
	ck_assert_uint_eq(mode_of(rig_file("targets/" RIG_TARGET "/lun0")), S_IFLNK | 0777);
	ck_assert_int_eq(lstat(rig_file("targets/" RIG_TARGET "/lun0"), &st), 0);
	ck_assert_int_eq(st.st_size, 19);
	ck_assert_int_eq(stat(rig_file("targets/" RIG_TARGET "/lun0/image"), &st), 0);
	ck_assert_int_eq(st.st_size, SIZE);
	ck_assert_int_eq(stat(rig_file("targets/" RIG_TARGET "/lun12/image"), &st), -1);
}
END_TEST

START_TEST(texts)
{
	json_t *json;
	int fd;

	ck_assert_ptr_nonnull(strstr(read_text(rig_file("README")), "WHAT MAY BE WRITTEN"));
	ck_assert_str_eq(read_text(rig_file("metrics")), "lungate_up 1\n");
	json = json_loads(read_text(rig_file("volumes/vol-a/volume.json")), 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(json, "name")), "vol-a");
	json_decref(json);
	json = json_loads(read_text(rig_file("volumes/vol-a/stats.json")), 0, NULL);
	ck_assert(json_is_object(json_object_get(json, "read")));
	json_decref(json);
	json = json_loads(read_text(rig_file("targets/" RIG_TARGET "/target.json")), 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(json, "name")), RIG_TARGET);
	ck_assert_uint_eq(json_array_size(json_object_get(json, "luns")), 2);
	json_decref(json);
	rig.session = true;
	json = json_loads(read_text(rig_file("targets/" RIG_TARGET "/sessions/s1.json")), 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(json, "initiator")), "iqn.i");
	json_decref(json);
	rig.session = false;
	ck_assert_int_eq(missing(rig_file("targets/" RIG_TARGET "/sessions/s1.json")), ENOENT);

	/* made when opened, and as it was then while open */
	fd = open(rig_file("status.json"), O_RDONLY);
	ck_assert_int_eq(read(fd, text, 5), 5);
	read_text(rig_file("status.json"));
	ck_assert_str_eq(text, "{\n  \"serial\": 2\n}\n");
	ck_assert_int_eq(pread(fd, text, 100, 0), 18);
	ck_assert(!memcmp(text, "{\n  \"serial\": 1\n}\n", 18));
	ck_assert_int_eq(pread(fd, text, 100, 18), 0);
	ck_assert_int_eq(pread(fd, text, 100, 1000), 0);
	close(fd);
}
END_TEST

START_TEST(the_map)
{
	int fd = open(rig_file("volumes/vol-a/image"), O_RDWR);

	ck_assert_str_eq(read_text(rig_file("volumes/vol-a/map")),
			 "index\tfile\tstate\toverlays\tdirty\tcached\tallocated\tkey\n");
	ck_assert_int_eq(pwrite(fd, "x", 1, 3 * MIB), 1);
	ck_assert_str_eq(read_text(rig_file("volumes/vol-a/map")),
			 "index\tfile\tstate\toverlays\tdirty\tcached\tallocated\tkey\n"
			 "3\t0000/00000003\tclean\t0\t0\t0\t1048576\tc/00000003\n");
	close(fd);
}
END_TEST

/* 64 TiB: sixteen million chunks. */
START_TEST(a_huge_volume_lists)
{
	struct fakevol *huge = rig_volume(&rig, "huge", UINT64_C(64) << 40, 4096, 4 * MIB);
	char name[64], line[256], *names;
	unsigned n = 0;
	struct stat st;
	long at;
	FILE *f;

	huge->every = 1;
	names = names_in(rig_file("volumes/huge/chunks"));
	for (char *save = NULL, *p = strtok_r(names, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		snprintf(name, sizeof(name), "%04x", n++);
		ck_assert_str_eq(p, name);
	}
	ck_assert_uint_eq(n, 4096);
	for (unsigned group = 0xffd; group <= 0xfff; group++) {
		DIR *dir = opendir(rig_file("volumes/huge/chunks/%04x", group));
		struct dirent *entry;

		ck_assert_ptr_nonnull(dir);
		for (n = 0; (entry = readdir(dir));) {
			if (entry->d_name[0] == '.')
				continue;
			snprintf(name, sizeof(name), "%08x", group * 4096 + n++);
			ck_assert_str_eq(entry->d_name, name);
		}
		ck_assert_uint_eq(n, 4096);
		/* and again from a place in the middle */
		rewinddir(dir);
		for (n = 0; n < 2000; n++)
			ck_assert_ptr_nonnull(readdir(dir));
		at = telldir(dir);
		entry = readdir(dir);
		ck_assert_ptr_nonnull(entry);
		snprintf(line, sizeof(line), "%s", entry->d_name);
		while (readdir(dir))
			;
		seekdir(dir, at);
		entry = readdir(dir);
		ck_assert_str_eq(entry->d_name, line);
		closedir(dir);
	}
	ck_assert_int_eq(stat(rig_file("volumes/huge/chunks/0fff/00ffffff"), &st), 0);
	ck_assert_int_eq(st.st_size, 4 * MIB);
	ck_assert_uint_eq(st.st_ino, ino_of(rig_file("volumes/huge/chunks/0fff/00ffffff")));

	/* a sparse one: the map walks far between chunks, and its text outgrows memory */
	huge->every = 500;
	f = fopen(rig_file("volumes/huge/map"), "r");
	ck_assert_ptr_nonnull(f);
	for (n = 0; fgets(line, sizeof(line), f); n++)
		if (n)
			ck_assert_uint_eq(strtoul(line, NULL, 10), (n - 1) * 500);
	ck_assert_uint_eq(n - 1, (16777216 + 499) / 500);
	fclose(f);
	huge->every = 4096 * 1000;
	ck_assert_str_eq(names_in(rig_file("volumes/huge/chunks")), "0000 03e8 07d0 0bb8 0fa0 ");
	huge->fail_op = VOL_MAP;
	huge->fail = -EIO;
	ck_assert_int_eq(open(rig_file("volumes/huge/map"), O_RDONLY), -1);
	ck_assert_int_eq(errno, EIO);
	huge->fail = 0;
	rig_drop(&rig, huge);
}
END_TEST

START_TEST(volumes_come_and_go)
{
	struct fakevol *b = rig_volume(&rig, "vol-b", SIZE, 512, MIB);
	uint64_t ino = ino_of(rig_file("volumes/vol-a")), other, b_ino;
	struct stat st;
	int fd;

	ck_assert_str_eq(names_in(rig_file("volumes")), "vol-a vol-b ");
	b_ino = ino_of(rig_file("volumes/vol-b"));
	ck_assert_uint_ne(b_ino, ino);
	fd = open(rig_file("volumes/vol-b/image"), O_RDWR);
	ck_assert_int_ge(fd, 0);
	/* in use */
	ck_assert_int_eq(registry_remove(rig.registry, "vol-b"), -EBUSY);
	close(fd);
	rig_drop(&rig, b);
	ck_assert_int_eq(missing(rig_file("volumes/vol-b")), ENOENT);
	ck_assert_int_eq(missing(rig_file("volumes/vol-b/image")), ENOENT);
	ck_assert_str_eq(names_in(rig_file("volumes")), "vol-a ");

	/* one that merely has its name is another one */
	b = rig_volume(&rig, "vol-b", 2 * SIZE, 512, MIB);
	other = ino_of(rig_file("volumes/vol-b"));
	ck_assert_uint_ne(other, b_ino);
	ck_assert_int_eq(stat(rig_file("volumes/vol-b/image"), &st), 0);
	ck_assert_int_eq(st.st_size, 2 * SIZE);
	ck_assert_uint_eq(ino_of(rig_file("volumes/vol-b")), other);
	ck_assert_uint_eq(ino_of(rig_file("volumes/vol-a")), ino);
	rig_drop(&rig, b);
}
END_TEST

START_TEST(nothing_else_can_be_changed)
{
	char *image = strdup(rig_file("volumes/vol-a/image"));
	struct timespec times[2] = {{1, 0}, {1, 0}};

#define REFUSED(call, err)                                                                                   \
	do {                                                                                                 \
		ck_assert_int_eq(call, -1);                                                                  \
		ck_assert_int_eq(errno, err);                                                                \
	} while (0)
	REFUSED(mkdir(rig_file("x"), 0700), EPERM);
	REFUSED(mkdir(rig_file("volumes/x"), 0700), EPERM);
	REFUSED(open(rig_file("x"), O_CREAT | O_RDWR, 0600), EPERM);
	REFUSED(open(rig_file("volumes/vol-a/chunks/x"), O_CREAT | O_RDWR, 0600), EPERM);
	REFUSED(mknod(rig_file("x"), S_IFREG | 0600, 0), EPERM);
	REFUSED(unlink(rig_file("README")), EPERM);
	REFUSED(unlink(image), EPERM);
	REFUSED(rmdir(rig_file("volumes/vol-a")), EPERM);
	REFUSED(rename(image, rig_file("volumes/vol-a/other")), EPERM);
	REFUSED(symlink("x", rig_file("x")), EPERM);
	REFUSED(link(image, rig_file("x")), EPERM);
	REFUSED(chmod(image, 0777), EPERM);
	REFUSED(utimensat(AT_FDCWD, image, times, 0), EPERM);
	REFUSED(setxattr(rig_file("README"), "user.x", "1", 1, 0), geteuid() ? EACCES : EPERM);
	REFUSED(removexattr(image, "user.x"), EPERM);
	REFUSED(open(rig_file("README"), O_RDWR), EACCES);
	REFUSED(open(rig_file("status.json"), O_WRONLY), EACCES);
	REFUSED(open(rig_file("metrics"), O_RDONLY | O_TRUNC), EACCES);
	REFUSED(truncate(rig_file("README"), 0), geteuid() ? EACCES : EPERM);
#undef REFUSED
	ck_assert_uint_eq(mode_of(image), S_IFREG | 0600);
	free(image);
}
END_TEST

START_TEST(sizes_of_the_whole)
{
	struct statvfs st;
	int fd = open(rig_file("volumes/vol-a/image"), O_RDWR);

	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	ck_assert_int_eq(statvfs(rig_path, &st), 0);
	ck_assert_uint_eq(st.f_blocks * st.f_frsize, SIZE);
	ck_assert_uint_eq(st.f_bfree * st.f_frsize, SIZE - 4096);
	close(fd);
}
END_TEST

START_TEST(a_slow_map_holds_nobody)
{
	int fd = open(rig_file("volumes/vol-a/image"), O_RDWR);
	struct stat st;
	pid_t child;
	int code;

	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	a->hold_op = VOL_MAP;
	a->hold = true;
	child = fork();
	if (!child)
		_exit(stat(rig_file("volumes/vol-a/chunks/0000/00000000"), &st) ? 1 : 0);
	while (!a->held)
		usleep(100);
	ck_assert_int_eq(pwrite(fd, "x", 1, 4096), 1);
	ck_assert_int_eq(stat(rig_file("volumes/vol-a/image"), &st), 0);
	read_text(rig_file("volumes/vol-a/volume.json"));
	names_in(rig_file("volumes"));
	fakevol_release(a);
	ck_assert_int_eq(waitpid(child, &code, 0), child);
	ck_assert(WIFEXITED(code) && !WEXITSTATUS(code));
	close(fd);
}
END_TEST

/* ---- how it comes and goes -------------------------------------------------------- */

static int
try_mount(const char *path, struct errinfo *info)
{
	struct rig other;
	int rc;

	memset(info, 0, sizeof(*info));
	rig_start(&other, MIB);
	rc = rig_mount(&other, path, info);
	rig_stop(&other);
	return rc;
}

START_TEST(unfit_places_are_refused)
{
	struct errinfo info;
	char path[256], *slash;

	/* ours, alive */
	ck_assert_int_eq(try_mount(rig_path, &info), -EBUSY);
	ck_assert_ptr_nonnull(strstr(info.text, rig_path));
	ck_assert_int_eq(missing(rig_file("README")), 0);

	snprintf(path, sizeof(path), "%s/full/file", rig_base);
	slash = strrchr(path, '/');
	*slash = 0;
	ck_assert_int_eq(mkdir(path, 0700), 0);
	*slash = '/';
	close(open(path, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(try_mount(path, &info), -ENOTDIR);
	ck_assert_ptr_nonnull(strstr(info.text, "not a directory"));
	*slash = 0;
	ck_assert_int_eq(try_mount(path, &info), -ENOTEMPTY);
	ck_assert_ptr_nonnull(strstr(info.text, "file"));
	*slash = '/';
	unlink(path);
	*slash = 0;
	rmdir(path);

	snprintf(path, sizeof(path), "%s/no/such", rig_base);
	ck_assert_int_eq(try_mount(path, &info), -ENOENT);
	ck_assert_uint_gt(strlen(info.text), 10);
}
END_TEST

START_TEST(the_directory_is_made_and_left)
{
	char path[256], link[256];
	struct errinfo info = {""};
	struct stat st;

	snprintf(path, sizeof(path), "%s/with blank", rig_base);
	snprintf(link, sizeof(link), "%s/link", rig_base);
	ck_assert_int_eq(try_mount(path, &info), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	/* through a link, with a slash behind it, and twice */
	ck_assert_int_eq(symlink(path, link), 0);
	ck_assert_int_eq(try_mount(link, &info), 0);
	snprintf(link, sizeof(link), "%s/with blank/", rig_base);
	ck_assert_int_eq(try_mount(link, &info), 0);
	snprintf(link, sizeof(link), "%s/link", rig_base);
	ck_assert_int_eq(unlink(link), 0);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* A daemon that is killed: the child mounts, says so, and is killed.  It is forked before there are threads.
 */
START_TEST(a_dead_mount_is_cleared)
{
	struct errinfo info = {""};
	struct stat st;
	int pipes[2];
	pid_t child;
	char c;

	ck_assert_int_eq(pipe(pipes), 0);
	child = fork();
	if (!child) {
		rig_start(&rig, MIB);
		rig.undertaker = -1;
		c = rig_mount(&rig, rig_path, &info) ? 'n' : 'y';
		if (write(pipes[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	close(pipes[1]);
	ck_assert_int_eq(read(pipes[0], &c, 1), 1);
	ck_assert_int_eq(c, 'y');
	ck_assert_int_eq(stat(rig_path, &st), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(pipes[0]);
	ck_assert_int_eq(missing(rig_file("README")), ENOTCONN);
	setup();
	read_text(rig_file("README"));
	teardown();
}
END_TEST

START_TEST(stop_while_in_use)
{
	int fd = open(rig_file("volumes/vol-a/image"), O_RDWR), dir = open(rig_path, O_DIRECTORY | O_RDONLY);
	struct mountpoint_entry entry;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(dir, 0);
	mount_stop(rig.mount);
	rig.mount = NULL;
	ck_assert_int_eq(mountpoint_find(NULL, rig_path, &entry), -ENOENT);
	ck_assert_int_eq(pread(fd, text, 10, 0), -1);
	ck_assert_int_eq(missing(rig_file("README")), ENOENT);
	close(fd);
	close(dir);
}
END_TEST

static void *
stop_mount(void *arg)
{
	mount_stop(arg);
	return NULL;
}

static void *
read_some(void *arg)
{
	int fd = open(rig_file("volumes/vol-a/image"), O_RDONLY);
	char c[512];

	*(_Atomic ssize_t *)arg = pread(fd, c, sizeof(c), 0);
	close(fd);
	return NULL;
}

START_TEST(stop_waits_for_requests)
{
	static _Atomic ssize_t got;
	pthread_t reader, stopper;

	got = -2;
	a->hold_op = VOL_READ;
	a->hold = true;
	ck_assert_int_eq(pthread_create(&reader, NULL, read_some, (void *)&got), 0);
	while (!a->held)
		usleep(100);
	ck_assert_int_eq(pthread_create(&stopper, NULL, stop_mount, rig.mount), 0);
	usleep(20000);
	ck_assert_int_eq(got, -2);
	fakevol_release(a);
	pthread_join(reader, NULL);
	ck_assert_int_eq(got, 512);
	pthread_join(stopper, NULL);
	rig.mount = NULL;
}
END_TEST

START_TEST(unmounted_from_outside)
{
	struct mountpoint_entry entry;
	struct stat st;

	ck_assert_int_eq(stat(rig_file("README"), &st), 0);
	ck_assert_int_eq(mountpoint_find(NULL, rig_path, &entry), 0);
	ck_assert_int_eq(mountpoint_unmount(rig_path, &entry, false), 0);
	while (!rig.lost)
		usleep(100);
	ck_assert_int_eq(rig.lost, -ENODEV);
	/* the volumes go on */
	ck_assert_int_eq(rig_io(a, VOL_READ, 0, 512, text), 0);
	ck_assert_int_eq(mountpoint_unmount(rig_path, &entry, false), 0);
}
END_TEST

static TCase *
serving(void)
{
	TCase *tc = tcase_create("serving");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_tree);
	tcase_add_test(tc, links_lead_to_volumes);
	tcase_add_test(tc, texts);
	tcase_add_test(tc, the_map);
	tcase_add_test(tc, a_huge_volume_lists);
	tcase_add_test(tc, volumes_come_and_go);
	tcase_add_test(tc, nothing_else_can_be_changed);
	tcase_add_test(tc, sizes_of_the_whole);
	tcase_add_test(tc, a_slow_map_holds_nobody);
	tcase_set_timeout(tc, 60);
	return tc;
}

static TCase *
coming_and_going(void)
{
	TCase *tc = tcase_create("coming_and_going");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, unfit_places_are_refused);
	tcase_add_test(tc, the_directory_is_made_and_left);
	tcase_add_test(tc, stop_while_in_use);
	tcase_add_test(tc, stop_waits_for_requests);
	tcase_add_test(tc, unmounted_from_outside);
	tcase_set_timeout(tc, 60);
	return tc;
}

int
main(void)
{
	Suite *suite = suite_create("mount");
	TCase *after_a_kill = tcase_create("after_a_kill");
	SRunner *runner;
	int failed;

	rig_require();
	suite_add_tcase(suite, serving());
	suite_add_tcase(suite, coming_and_going());
	tcase_add_test(after_a_kill, a_dead_mount_is_cleared);
	tcase_set_timeout(after_a_kill, 60);
	suite_add_tcase(suite, after_a_kill);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_cleanup();
	return failed ? 1 : 0;
}
