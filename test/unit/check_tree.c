/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pure parts of the mount: inode numbers, names, texts, attributes, mountinfo. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse/mountpoint.h"
#include "fuse/names.h"
#include "fuse/render.h"
#include "fuse/text.h"
#include "fuse/tree.h"

START_TEST(inode_numbers_are_nodes)
{
	static const uint32_t numbers[] = {0, 1, 77, TREE_NUMBER_MAX};
	static const uint32_t indexes[] = {0, 1, 4096, UINT32_MAX};
	struct node back;

	for (unsigned kind = 1; kind < NODE_KINDS; kind++) {
		for (unsigned i = 0; i < 4; i++) {
			for (unsigned j = 0; j < 4; j++) {
				struct node node = {kind, numbers[i], indexes[j]};
				uint64_t ino = tree_ino(node);

				ck_assert_uint_gt(ino, TREE_ROOT_INO);
				ck_assert_int_eq(tree_node(ino, &back), 0);
				ck_assert_int_eq(back.kind, node.kind);
				ck_assert_uint_eq(back.number, node.number);
				ck_assert_uint_eq(back.index, node.index);
			}
		}
	}
	ck_assert_uint_eq(tree_ino((struct node){NODE_ROOT, 0, 0}), 1);
	ck_assert_int_eq(tree_node(1, &back), 0);
	ck_assert_int_eq(back.kind, NODE_ROOT);
	ck_assert_int_eq(tree_node(0, &back), -ENOENT);
	ck_assert_int_eq(tree_node(2, &back), -ENOENT);
	ck_assert_int_eq(tree_node((uint64_t)NODE_KINDS << 32, &back), -ENOENT);
	ck_assert_int_eq(tree_node(UINT64_MAX, &back), -ENOENT);
}
END_TEST

START_TEST(the_table_is_a_tree)
{
	for (unsigned kind = 1; kind < NODE_KINDS; kind++) {
		const struct node_type *type = &tree_types[kind];
		unsigned up = kind, steps = 0;

		while (up != NODE_ROOT && steps++ < NODE_KINDS)
			up = tree_types[up].parent;
		ck_assert_uint_eq(up, NODE_ROOT);
		ck_assert_int_eq(tree_types[type->parent].form, FORM_DIR);
		if (type->name)
			ck_assert_int_eq(tree_fixed_child(type->parent, type->name), kind);
	}
	ck_assert_int_eq(tree_fixed_child(NODE_ROOT, "image"), NODE_KINDS);
	ck_assert_int_eq(tree_fixed_child(NODE_VOLUME, "Image"), NODE_KINDS);
	ck_assert_int_eq(tree_fixed_child(NODE_VOLUME, ""), NODE_KINDS);
}
END_TEST

START_TEST(parents)
{
	struct node up = tree_parent((struct node){NODE_CHUNK, 5, 4097});

	ck_assert(up.kind == NODE_CHUNK_GROUP && up.number == 5 && up.index == 1);
	up = tree_parent(up);
	ck_assert(up.kind == NODE_CHUNKS && up.number == 5 && up.index == 0);
	up = tree_parent(up);
	ck_assert(up.kind == NODE_VOLUME && up.number == 5);
	up = tree_parent(up);
	ck_assert(up.kind == NODE_VOLUMES && up.number == 0);
	up = tree_parent(up);
	ck_assert(up.kind == NODE_ROOT && tree_ino(up) == 1);
	up = tree_parent((struct node){NODE_SESSION, 3, 9});
	ck_assert(up.kind == NODE_SESSIONS && up.number == 3 && up.index == 0);
}
END_TEST

static const struct {
	enum node_kind kind;
	const char *name;
	int64_t index; /* -1: no such name */
} spellings[] = {
	{NODE_LUN, "lun0", 0},
	{NODE_LUN, "lun255", 255},
	{NODE_LUN, "lun01", -1},
	{NODE_LUN, "lun", -1},
	{NODE_LUN, "lun-1", -1},
	{NODE_LUN, "luna", -1},
	{NODE_LUN, "lun4294967296", -1},
	{NODE_LUN, "0", -1},
	{NODE_CHUNK_GROUP, "0000", 0},
	{NODE_CHUNK_GROUP, "0fff", 0xfff},
	{NODE_CHUNK_GROUP, "fffff", 0xfffff},
	{NODE_CHUNK_GROUP, "0FFF", -1},
	{NODE_CHUNK_GROUP, "00fff", -1},
	{NODE_CHUNK_GROUP, "fff", -1},
	{NODE_CHUNK_GROUP, "", -1},
	{NODE_CHUNK, "00000000", 0},
	{NODE_CHUNK, "ffffffff", UINT32_MAX},
	{NODE_CHUNK, "1ffffffff", -1},
	{NODE_CHUNK, "0000000g", -1},
	{NODE_CHUNK, "0000000", -1},
	{NODE_CHUNK, "0x000000", -1},
	{NODE_CHUNK, "99999999999999999999999999", -1},
};

START_TEST(only_one_spelling)
{
	char name[TREE_NAME_MAX];
	uint32_t index;

	for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
		int rc = tree_parse(spellings[i].kind, spellings[i].name, &index);

		ck_assert_msg((spellings[i].index < 0) == (rc == -ENOENT), "%s", spellings[i].name);
		if (spellings[i].index < 0)
			continue;
		ck_assert_uint_eq(index, (uint32_t)spellings[i].index);
		tree_name((struct node){spellings[i].kind, 0, index}, name);
		ck_assert_str_eq(name, spellings[i].name);
	}
	ck_assert_uint_eq(tree_session_id("s1.json"), 2);
	ck_assert_uint_eq(tree_session_id(".json"), 0);
	ck_assert_uint_eq(tree_session_id("s1"), 0);
	ck_assert(!tree_name_ok("a/b") && !tree_name_ok("..") && !tree_name_ok("") &&
		  tree_name_ok("iqn.x:y"));
}
END_TEST

START_TEST(modes)
{
	ck_assert_uint_eq(tree_mode(NODE_ROOT, false, false), S_IFDIR | 0700);
	ck_assert_uint_eq(tree_mode(NODE_ROOT, true, false), S_IFDIR | 0755);
	ck_assert_uint_eq(tree_mode(NODE_IMAGE, false, false), S_IFREG | 0600);
	ck_assert_uint_eq(tree_mode(NODE_IMAGE, true, true), S_IFREG | 0400);
	ck_assert_uint_eq(tree_mode(NODE_CHUNK, true, false), S_IFREG | 0400);
	ck_assert_uint_eq(tree_mode(NODE_STATUS, false, false), S_IFREG | 0400);
	ck_assert_uint_eq(tree_mode(NODE_STATUS, true, false), S_IFREG | 0444);
	ck_assert(S_ISLNK(tree_mode(NODE_LUN, false, false)));
}
END_TEST

START_TEST(names_keep_their_numbers)
{
	static const uint8_t one[UUID_LEN] = {1}, two[UUID_LEN] = {2};
	uint8_t uuid[UUID_LEN];
	struct names *names;
	uint32_t a, b, c;
	char *name;

	ck_assert_int_eq(names_new(3, &names), 0);
	ck_assert_int_eq(names_intern(names, 0, "x", one, true, &a), 0);
	ck_assert_int_eq(names_intern(names, 0, "x", two, true, &b), 0);
	ck_assert_uint_ne(a, b);
	ck_assert_int_eq(names_intern(names, 0, "x", one, true, &c), 0);
	ck_assert_uint_eq(a, c);
	ck_assert_int_eq(names_intern(names, 1, "x", one, true, &c), 0);
	ck_assert_uint_ne(a, c);
	/* numbers are not used again */
	ck_assert_int_eq(names_intern(names, 2, "x", one, true, &c), -ENOSPC);
	name = names_get(names, b, uuid);
	ck_assert_str_eq(name, "x");
	ck_assert(!memcmp(uuid, two, UUID_LEN));
	free(name);
	ck_assert_ptr_null(names_get(names, 99, NULL));

	/* a was looked at twice */
	names_forget(names, a, 1);
	ck_assert_uint_eq(names_count(names), 3);
	names_forget(names, a, 1);
	ck_assert_uint_eq(names_count(names), 2);
	ck_assert_ptr_null(names_get(names, a, NULL));
	names_forget(names, b, 1000);
	names_forget(names, b, 1);
	ck_assert_uint_eq(names_count(names), 1);
	names_free(names);
}
END_TEST

START_TEST(names_many)
{
	struct names *names;
	uint32_t number;
	char name[32];

	ck_assert_int_eq(names_new(1u << 24, &names), 0);
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "session-%u", i);
		ck_assert_int_eq(names_intern(names, i % 7, name, NULL, true, &number), 0);
		ck_assert_uint_eq(number, i + 1);
	}
	for (unsigned i = 0; i < 5000; i++)
		names_forget(names, 5000 - i, 1);
	ck_assert_uint_eq(names_count(names), 0);
	names_free(names);
}
END_TEST

static char *
text_string(struct text *text)
{
	char *s = calloc(1, text->size + 1);

	ck_assert_int_eq(text_finish(text), 0);
	if (text->fd < 0)
		memcpy(s, text->mem, text->size);
	else
		ck_assert_int_eq(pread(text->fd, s, text->size, 0), (ssize_t)text->size);
	return s;
}

START_TEST(map_lines)
{
	struct chunk_info info = {
		.index = 0x12345,
		.state = CHUNK_DIRTY,
		.overlays = 3,
		.dirty_bytes = 4096,
		.cached_bytes = 8192,
		.allocated_bytes = 4194304,
		.key = "a\tb\\c\nd",
	};
	struct text text;
	char *s;

	text_init(&text, -1);
	render_map_header(&text);
	render_map_line(&text, &info);
	s = text_string(&text);
	ck_assert_str_eq(s, "index\tfile\tstate\toverlays\tdirty\tcached\tallocated\tkey\n"
			    "74565\t0012/00012345\tdirty\t3\t4096\t8192\t4194304\ta\\x09b\\x5cc\\x0ad\n");
	free(s);
	text_fini(&text);
}
END_TEST

START_TEST(texts_spill)
{
	char dir[] = "/tmp/lungate-text-XXXXXX", line[64];
	struct text text;
	unsigned n = 40000;
	int fd;
	char *s;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	fd = open(dir, O_DIRECTORY | O_RDONLY);
	ck_assert_int_ge(fd, 0);
	text_init(&text, fd);
	for (unsigned i = 0; i < n; i++)
		text_printf(&text, "this is line number %08u.\n", i);
	ck_assert_uint_eq(text.size, n * 30);
	ck_assert_int_ge(text.fd, 0);
	s = text_string(&text);
	for (unsigned i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "this is line number %08u.\n", i);
		ck_assert(!memcmp(s + i * 30, line, 30));
	}
	free(s);
	text_fini(&text);
	/* it left no name behind */
	close(fd);
	ck_assert_int_eq(rmdir(dir), 0);

	/* with no place to go, big ones fail and say so */
	text_init(&text, -1);
	for (unsigned i = 0; i < n; i++)
		text_printf(&text, "this is line number %08u.\n", i);
	ck_assert_int_eq(text_finish(&text), -EFBIG);
	text_fini(&text);
}
END_TEST

START_TEST(xattrs)
{
	struct chunk_info info = {.index = 5, .state = CHUNK_CLEAN, .generation = 3, .seq = 9, .key = "k"};
	char buf[RENDER_XATTR_MAX], names[512];
	size_t n;

	ck_assert_int_eq(render_xattr(&info, "user.lungate.state", buf), 5);
	ck_assert(!memcmp(buf, "clean", 5));
	ck_assert_int_eq(render_xattr(&info, "user.lungate.seq", buf), 1);
	ck_assert_int_eq(buf[0], '9');
	/* what is not known is not there */
	ck_assert_int_eq(render_xattr(&info, "user.lungate.crc32c", buf), -ENODATA);
	ck_assert_int_eq(render_xattr(&info, "user.lungate.etag", buf), -ENODATA);
	ck_assert_int_eq(render_xattr(&info, "user.lungate", buf), -ENODATA);
	ck_assert_int_eq(render_xattr(&info, "security.capability", buf), -ENODATA);
	info.has_crc = true;
	info.crc32c = 0xabc;
	ck_assert_int_eq(render_xattr(&info, "user.lungate.crc32c", buf), 8);
	ck_assert(!memcmp(buf, "00000abc", 8));

	n = render_xattr_names(&info, names, sizeof(names));
	ck_assert_uint_eq(render_xattr_names(&info, NULL, 0), n);
	for (size_t at = 0; at < n; at += strlen(names + at) + 1) {
		ck_assert(!strncmp(names + at, "user.lungate.", 13));
		ck_assert_int_gt(render_xattr(&info, names + at, buf), 0);
		ck_assert_str_ne(names + at, "user.lungate.etag");
	}
}
END_TEST

START_TEST(answers_about_targets)
{
	json_t *answer =
		json_pack("{s:{s:s}, s:[{s:i, s:s}, {s:i}, {}], s:[{s:s}, {}, {s:i}]}", "target", "name", "t",
			  "luns", "lun", 3, "volume", "v", "lun", 4, "sessions", "id", "abc", "id", 7);
	struct text text;
	char *s;

	ck_assert_ptr_nonnull(answer);
	ck_assert_str_eq(render_lun(answer, 3), "v");
	ck_assert_ptr_null(render_lun(answer, 4));
	ck_assert_ptr_null(render_lun(answer, 0));
	ck_assert_ptr_null(render_lun(NULL, 0));
	ck_assert_ptr_nonnull(render_session(answer, "abc", 3));
	ck_assert_ptr_null(render_session(answer, "abcd", 4));
	ck_assert_ptr_null(render_session(answer, "ab", 2));
	ck_assert_ptr_null(render_session(NULL, "ab", 2));
	text_init(&text, -1);
	render_target(&text, answer);
	s = text_string(&text);
	ck_assert_ptr_nonnull(strstr(s, "\"luns\""));
	/* it was a copy */
	ck_assert_ptr_null(json_object_get(json_object_get(answer, "target"), "luns"));
	free(s);
	text_fini(&text);
	json_decref(answer);
}
END_TEST

START_TEST(mountinfo)
{
	static const char table[] =
		"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
		"40 22 0:51 / /mnt/a\\040b\\134c rw,nosuid - fuse.lungate lungate rw,user_id=0\n"
		"41 22 0:52 / /mnt/x rw shared:2 master:3 - tmpfs none rw\n"
		"42 41 0:53 / /mnt/x rw - fuse.other x rw\n"
		"broken\n"
		"43 41 nonsense / /mnt/y rw - fuse.other x rw\n"
		"44 41 0:9 / /mnt/z rw\n";
	char file[] = "/tmp/lungate-mountinfo-XXXXXX";
	struct mountpoint_entry entry;
	int fd = mkstemp(file);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, table, sizeof(table) - 1), sizeof(table) - 1);
	close(fd);
	ck_assert_int_eq(mountpoint_find(file, "/", &entry), 0);
	ck_assert_str_eq(entry.type, "ext4");
	ck_assert_int_eq(mountpoint_find(file, "/mnt/a b\\c", &entry), 0);
	ck_assert_str_eq(entry.type, MOUNTPOINT_TYPE);
	ck_assert_uint_eq(entry.minor, 51);
	/* the last one is on top */
	ck_assert_int_eq(mountpoint_find(file, "/mnt/x", &entry), 0);
	ck_assert_uint_eq(entry.minor, 53);
	ck_assert_int_eq(mountpoint_find(file, "/mnt", &entry), -ENOENT);
	ck_assert_int_eq(mountpoint_find(file, "/mnt/y", &entry), -ENOENT);
	ck_assert_int_eq(mountpoint_find(file, "/mnt/z", &entry), -ENOENT);
	unlink(file);
	ck_assert_int_eq(mountpoint_find(file, "/", &entry), -ENOENT);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("tree");
	TCase *tc = tcase_create("pure");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, inode_numbers_are_nodes);
	tcase_add_test(tc, the_table_is_a_tree);
	tcase_add_test(tc, parents);
	tcase_add_test(tc, only_one_spelling);
	tcase_add_test(tc, modes);
	tcase_add_test(tc, names_keep_their_numbers);
	tcase_add_test(tc, names_many);
	tcase_add_test(tc, map_lines);
	tcase_add_test(tc, texts_spill);
	tcase_add_test(tc, xattrs);
	tcase_add_test(tc, answers_about_targets);
	tcase_add_test(tc, mountinfo);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
