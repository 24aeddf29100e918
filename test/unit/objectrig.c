/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/objectrig.h"

#include <check.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/util.h"

extern char **environ;

struct loop *rig_loops[RIG_LOOPS];
struct object_store *rig_store;
struct simfs *rig_fs;
char rig_folder[64];
char rig_url[512];

/* ---- fixture ---- */

int
rig_start_loops(void)
{
	int rc = loop_pool_init(0);

	for (unsigned i = 0; i < RIG_LOOPS && !rc; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "test%u", i);
		rc = loop_new(name, i, &rig_loops[i]);
		if (!rc)
			rc = loop_start(rig_loops[i]);
	}
	return rc;
}

void
rig_stop_loops(void)
{
	for (unsigned i = 0; i < RIG_LOOPS; i++)
		loop_free(rig_loops[i]);
}

int
rig_kinds(void)
{
	if (getenv("LUNGATE_S3_BUCKET") && getenv("LUNGATE_S3_ENDPOINT"))
		return RIG_KINDS;
	(void)printf("skipped for s3: LUNGATE_S3_BUCKET and LUNGATE_S3_ENDPOINT are not set\n");
	return RIG_S3;
}

void
rig_open(int kind)
{
	static unsigned count;
	struct errinfo info = {0};

	if (kind == RIG_MEM)
		(void)snprintf(rig_url, sizeof(rig_url), "mem:%u", count++);
	else if (kind == RIG_DIR)
		(void)snprintf(rig_url, sizeof(rig_url), "dir:%s/store", rig_folder);
	else if (kind == RIG_S3)
		(void)snprintf(rig_url, sizeof(rig_url), "s3://%s/contract/%d-%u?endpoint=%s",
			       getenv("LUNGATE_S3_BUCKET"), (int)getpid(), count++,
			       getenv("LUNGATE_S3_ENDPOINT"));
	else
		(void)snprintf(rig_url, sizeof(rig_url), "dir:/a/store");
	ck_assert_msg(!object_store_open(rig_url, kind == RIG_SIM ? simfs_vfs(rig_fs) : NULL, true,
					 &rig_store, &info),
		      "%s", info.text);
}

void
rig_setup(void)
{
	(void)snprintf(rig_folder, sizeof(rig_folder), "/tmp/check_object-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(rig_folder));
	rig_fs = simfs_new();
	ck_assert_int_eq(rig_start_loops(), 0);
}

static void
remove_folder(void)
{
	char *argv[] = {(char[]){"rm"}, (char[]){"-rf"}, rig_folder, NULL};
	pid_t pid;
	int status;

	ck_assert_int_eq(posix_spawnp(&pid, "rm", NULL, NULL, argv, environ), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

/* what a bucket holds outlives the test, unlike the others */
static void
remove_objects(void)
{
	struct object_req req;
	const char *keys[1000];

	do {
		if (rig_list("", 1000, &req))
			return;
		for (size_t i = 0; i < req.nentries; i++)
			keys[i] = req.entries[i].key;
		(void)rig_delete(keys, req.nentries);
		object_entries_free(req.entries, req.nentries);
		free(req.token);
	} while (req.truncated);
}

void
rig_teardown(void)
{
	if (rig_store && !strcmp(rig_store->ops->kind, "s3"))
		remove_objects();
	object_store_free(rig_store);
	rig_store = NULL;
	rig_stop_loops();
	loop_pool_fini();
	simfs_free(rig_fs);
	remove_folder();
}

/* ---- calls ---- */

int
rig_put_on(struct loop *loop, const char *key, const void *p, size_t n, bool if_absent, const char *if_match,
	   char *etag)
{
	struct iovec iov = {(void *)(uintptr_t)p, n};
	struct object_req req = {.store = rig_store,
				 .op = OBJECT_PUT,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .if_absent = if_absent,
				 .if_match = if_match};
	int rc = object_call(loop, &req);

	/* no assertions here: the other process calls it too */
	if (!rc && !req.etag[0])
		rc = -EBADMSG;
	if (!rc && etag)
		memcpy(etag, req.etag, OBJECT_ETAG_MAX);
	return rc;
}

int
rig_put(const char *key, const char *text)
{
	return rig_put_on(rig_loops[0], key, text, strlen(text), false, NULL, NULL);
}

int
rig_get(const char *key, uint64_t offset, uint64_t length, void *buf, size_t room, struct object_req *ret)
{
	struct iovec iov = {buf, room};
	struct object_req req = {.store = rig_store,
				 .op = OBJECT_GET,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .offset = offset,
				 .length = length};
	int rc = object_call(rig_loops[1], &req);

	if (ret)
		*ret = req;
	return rc;
}

int
rig_head(const char *key, struct object_req *ret)
{
	struct object_req req = {.store = rig_store, .op = OBJECT_HEAD, .key = key};
	int rc = object_call(rig_loops[2], &req);

	*ret = req;
	return rc;
}

int
rig_delete(const char *const *keys, size_t n)
{
	struct object_req req = {.store = rig_store, .op = OBJECT_DELETE, .keys = keys, .nkeys = n};

	return object_call(rig_loops[3], &req);
}

int
rig_list(const char *prefix, size_t max, struct object_req *ret)
{
	*ret = (struct object_req){.store = rig_store, .op = OBJECT_LIST, .key = prefix, .max_keys = max};
	return object_call(rig_loops[0], ret);
}

int
rig_list_next(struct object_req *req)
{
	object_entries_free(req->entries, req->nentries);
	return object_call(rig_loops[0], req);
}

void
rig_expect(const char *key, const char *text)
{
	char buf[256];
	struct object_req req;

	ck_assert_int_eq(rig_get(key, 0, 0, buf, sizeof(buf), &req), 0);
	ck_assert_uint_eq(req.size, strlen(text));
	ck_assert(!memcmp(buf, text, strlen(text)));
}
