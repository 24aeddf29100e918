/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The object store that is a directory: the object `a/b` is the file ROOT/a/b, raw.
 *
 * PUT: write ROOT/.tmp/RANDOM, fsync -> under the lock: check the condition, make missing directories, move
 * it in place (link for if_absent, else rename) -> fsync the directory, and those above it that are not known
 * to be durable -> done. DELETE: under the exclusive lock: unlink, and rmdir what became empty -> fsync the
 * directories -> done.
 *
 * The lock is flock of ROOT/.lock, taken by an open file of each operation's own, so that it works between
 * threads and between processes.  Shared: an unconditional PUT.  Exclusive: conditional PUTs and deletes.  So
 * nothing changes between a condition's check and the move.
 *
 * etag: inode, size and modification time.  The kernel's times are coarser than two PUTs and inode numbers
 * are reused at once, so the nanoseconds of the time are set to a random number before the file is moved in
 * place: an etag comes back only if inode, size, second and 30 random bits do.  The seconds stay those of the
 * clock, for people.
 *
 * Directories known to be durable are remembered (`known`), which spares a PUT the fsyncs of all directories
 * above its own.  Somebody else may remove such a directory and make it anew, undurable: whoever is about to
 * remove one changes the epoch in ROOT/.lock, which every PUT looks at while it holds the lock.
 *
 * Threads: everything blocking runs on the pool; `known` has a mutex.
 * Failure: the temporary file is removed; one that a crash left is swept at open when it is a day old.  An
 * error of the last fsync leaves the effect unknown, as the contract says.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "common/bytes.h"
#include "common/failpoint.h"
#include "common/util.h"
#include "stores/object/store.h"

#define TMP_MAX_AGE_S (24u * 60 * 60)
#define TMP_NAME 16 /* hex digits */
#define KNOWN_MAX 4096u
#define IOV_WINDOW 64
#define ROOT_MAX (PATH_MAX - OBJECT_KEY_MAX - 64)
#define FILE_MODE 0600
#define DIR_MODE 0700

struct dir_store {
	struct object_store store;
	struct vfs *vfs;
	const struct vfs_ops *ops;
	char *root;
	/* ---- under the mutex */
	pthread_mutex_t mutex;
	uint64_t epoch;
	char **known; /* sorted; relative to the root */
	size_t nknown;
};

static struct dir_store *
dir_of(const struct object_req *req)
{
	return container_of(req->store, struct dir_store, store);
}

static void
path_of(const struct dir_store *d, const char *key, char path[PATH_MAX])
{
	(void)snprintf(path, PATH_MAX, "%s/%s", d->root, key); /* fits: ROOT_MAX */
}

/* Cut off the last part; false when there is none ("a/b" -> "a" -> ""). */
static bool
cut_last(char *key)
{
	char *slash = strrchr(key, '/');

	if (!key[0])
		return false;
	if (slash)
		*slash = '\0';
	else
		key[0] = '\0';
	return true;
}

static void
etag_format(const struct vfs_stat *st, char etag[OBJECT_ETAG_MAX])
{
	(void)snprintf(etag, OBJECT_ETAG_MAX, "%llx-%llx-%llx", (unsigned long long)st->inode,
		       (unsigned long long)st->size, (unsigned long long)st->mtime_ns);
}

/* a path below a file, or of a directory, or too long for the file system: there is no such object */
static int
as_missing(int rc)
{
	return rc == -ENOTDIR || rc == -EISDIR || rc == -ENAMETOOLONG ? -ENOENT : rc;
}

static int
stat_object(const struct dir_store *d, const char *path, struct vfs_stat *st)
{
	int rc = as_missing(d->ops->stat(d->vfs, path, st));

	return rc ? rc : st->is_dir ? -ENOENT : 0;
}

static int
sync_dir(const struct dir_store *d, const char *path)
{
	int rc = failpoint_hit(FP_DIR_SYNC_DIR);

	if (rc)
		return rc == FAILPOINT_SKIP ? 0 : rc;
	return d->ops->fsync_dir(d->vfs, path);
}

/* ---- the lock ---- */

static int
lock_take(const struct dir_store *d, int op, struct vfs_file **ret)
{
	char path[PATH_MAX];
	int rc;

	path_of(d, ".lock", path);
	rc = d->ops->open(d->vfs, path, O_RDWR | O_CREAT, FILE_MODE, ret);
	if (rc)
		return rc;
	rc = d->ops->flock(*ret, op);
	if (rc)
		d->ops->close(*ret);
	return rc;
}

static void
lock_release(const struct dir_store *d, struct vfs_file *lock)
{
	d->ops->close(lock);
}

/* With the lock held.  A new lock file has none yet: 0. */
static int
epoch_read(const struct dir_store *d, struct vfs_file *lock, uint64_t *ret)
{
	uint8_t raw[8] = {0};
	struct iovec iov = {raw, sizeof(raw)};
	int64_t n = d->ops->preadv(lock, &iov, 1, 0);

	*ret = get_le64(raw);
	return n < 0 ? (int)n : 0;
}

/* With the exclusive lock held, before a directory is removed. */
static int
epoch_bump(const struct dir_store *d, struct vfs_file *lock)
{
	uint8_t raw[8];
	uint64_t epoch;
	int rc = epoch_read(d, lock, &epoch);

	if (rc)
		return rc;
	put_le64(raw, epoch + 1);
	return vfs_write_full(lock, raw, sizeof(raw), 0);
}

/* ---- directories known to be durable ---- */

static size_t
known_find(const struct dir_store *d, const char *dir, bool *found)
{
	size_t lo = 0, hi = d->nknown;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(d->known[mid], dir);

		if (!c) {
			*found = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*found = false;
	return lo;
}

static void
known_clear(struct dir_store *d)
{
	while (d->nknown)
		free(d->known[--d->nknown]);
}

static bool
known_has(struct dir_store *d, const char *dir, uint64_t epoch)
{
	bool found;

	pthread_mutex_lock(&d->mutex);
	if (d->epoch != epoch) {
		known_clear(d);
		d->epoch = epoch;
	}
	(void)known_find(d, dir, &found);
	pthread_mutex_unlock(&d->mutex);
	return found;
}

/* It is only a memory: forgetting costs a few fsyncs. */
static void
known_add(struct dir_store *d, const char *dir, uint64_t epoch)
{
	bool found;
	size_t i;
	char *copy = strdup(dir);

	pthread_mutex_lock(&d->mutex);
	if (d->nknown == KNOWN_MAX)
		known_clear(d);
	i = known_find(d, dir, &found);
	if (copy && !found && d->epoch == epoch) {
		memmove(d->known + i + 1, d->known + i, (d->nknown - i) * sizeof(*d->known));
		d->known[i] = copy;
		d->nknown++;
		copy = NULL;
	}
	pthread_mutex_unlock(&d->mutex);
	free(copy);
}

/* The name of key is durable afterwards, and the way to it. */
static int
sync_names(struct dir_store *d, const char *key, uint64_t epoch)
{
	char dir[OBJECT_KEY_MAX + 1], up[OBJECT_KEY_MAX + 1], path[PATH_MAX];
	bool all;
	int rc;

	(void)snprintf(dir, sizeof(dir), "%s", key);
	cut_last(dir);
	all = dir[0] && !known_has(d, dir, epoch);
	(void)snprintf(up, sizeof(up), "%s", dir);
	do {
		path_of(d, up, path);
		rc = sync_dir(d, path);
		/* gone again: somebody deleted the object, and then its empty directory */
		if (rc && rc != -ENOENT)
			return rc;
	} while (all && cut_last(up));
	if (all && !rc)
		known_add(d, dir, epoch);
	return 0;
}

/* ---- transfers ---- */

/* length bytes between the file at offset and the beginning of iov; all of them, or an error */
static int
transfer(struct vfs_file *file, const struct iovec *iov, int niov, uint64_t offset, uint64_t length,
	 bool write)
{
	const struct vfs_ops *ops = file->vfs->ops;
	struct iovec window[IOV_WINDOW];

	while (length) {
		uint64_t bytes = 0;
		int n = 0;
		int64_t rc;

		while (n < IOV_WINDOW && n < niov && bytes < length) {
			window[n] = iov[n];
			window[n].iov_len = min_of(iov[n].iov_len, length - bytes);
			bytes += window[n].iov_len;
			n++;
		}
		rc = write ? ops->pwritev(file, window, n, offset) : ops->preadv(file, window, n, offset);
		if (rc < 0)
			return (int)rc;
		if ((uint64_t)rc != bytes)
			return -EIO;
		iov += n;
		niov -= n;
		offset += bytes;
		length -= bytes;
	}
	return 0;
}

/* ---- PUT ---- */

static void
tmp_path(const struct dir_store *d, char path[PATH_MAX])
{
	uint8_t nonce[TMP_NAME / 2];
	uint64_t v;

	random_bytes(nonce, sizeof(nonce));
	v = get_le64(nonce);
	(void)snprintf(path, PATH_MAX, "%s/.tmp/%016llx", d->root, (unsigned long long)v);
}

static int
stamp(struct vfs_file *file, uint64_t *ret_mtime)
{
	struct timespec now;
	uint8_t raw[8];

	clock_gettime(CLOCK_REALTIME, &now);
	random_bytes(raw, sizeof(raw));
	*ret_mtime = (uint64_t)now.tv_sec * 1000000000u + get_le64(raw) % 1000000000u;
	return file->vfs->ops->set_mtime(file, *ret_mtime);
}

static int
write_body(const struct object_req *req, struct vfs_file *file)
{
	int rc = failpoint_hit(FP_DIR_PUT_WRITE);

	if (!rc)
		rc = transfer(file, req->iov, req->niov, 0, object_iov_bytes(req->iov, req->niov), true);
	return rc == FAILPOINT_SKIP ? 0 : rc;
}

static int
sync_body(struct vfs_file *file)
{
	int rc = failpoint_hit(FP_DIR_PUT_FSYNC);

	if (rc)
		return rc == FAILPOINT_SKIP ? 0 : rc;
	return file->vfs->ops->fsync(file, false);
}

static int
write_tmp(const struct dir_store *d, struct object_req *req, const char *tmp)
{
	struct vfs_file *file;
	struct vfs_stat st;
	uint64_t mtime;
	int rc = d->ops->open(d->vfs, tmp, O_WRONLY | O_CREAT | O_EXCL, FILE_MODE, &file);

	if (rc)
		return rc;
	rc = write_body(req, file);
	if (!rc)
		rc = stamp(file, &mtime);
	if (!rc)
		rc = sync_body(file);
	if (!rc)
		rc = d->ops->fstat(file, &st);
	d->ops->close(file);
	if (rc)
		(void)d->ops->unlink(d->vfs, tmp); /* the first error is the one to report */
	else
		etag_format(&st, req->etag);
	return rc;
}

/* With the exclusive lock held. */
static int
check_match(const struct dir_store *d, const struct object_req *req, const char *path)
{
	char etag[OBJECT_ETAG_MAX];
	struct vfs_stat st;
	int rc = stat_object(d, path, &st);

	if (rc)
		return rc;
	etag_format(&st, etag);
	return strcmp(etag, req->if_match) ? LG_ECONFLICT : 0;
}

/* With the exclusive lock held.  Where there are no hard links, the lock alone makes it atomic. */
static int
move_absent(const struct dir_store *d, const char *tmp, const char *path)
{
	struct vfs_stat st;
	int rc = d->ops->link(d->vfs, tmp, path);

	if (rc == -EPERM || rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EMLINK) {
		rc = d->ops->stat(d->vfs, path, &st);
		if (rc == -ENOENT)
			return d->ops->rename(d->vfs, tmp, path);
		if (!rc)
			rc = -EEXIST;
	}
	if (rc == -EEXIST && !d->ops->stat(d->vfs, path, &st) && st.is_dir)
		rc = -EISDIR;
	return rc;
}

static int
move_in_place(const struct dir_store *d, const struct object_req *req, const char *tmp, const char *path)
{
	int rc = req->if_match ? check_match(d, req, path) : 0;

	if (rc)
		return rc;
	rc = failpoint_hit(FP_DIR_PUT_RENAME);
	if (rc)
		return rc == FAILPOINT_SKIP ? 0 : rc;
	return req->if_absent ? move_absent(d, tmp, path) : d->ops->rename(d->vfs, tmp, path);
}

/* 0: it is in place, *ret_epoch is what the lock file said then */
static int
publish(const struct dir_store *d, const struct object_req *req, const char *tmp, uint64_t *ret_epoch)
{
	struct vfs_file *lock;
	char path[PATH_MAX], dir[PATH_MAX];
	int rc = lock_take(d, req->if_absent || req->if_match ? LOCK_EX : LOCK_SH, &lock);

	if (rc)
		return rc;
	path_of(d, req->key, path);
	rc = epoch_read(d, lock, ret_epoch);
	if (!rc)
		rc = move_in_place(d, req, tmp, path);
	if (rc == -ENOENT && !req->if_match) {
		/* the first object of its directory: nobody can remove it again under our lock */
		(void)snprintf(dir, sizeof(dir), "%s", path);
		cut_last(dir);
		rc = vfs_mkdirs(d->vfs, dir, DIR_MODE);
		if (!rc)
			rc = move_in_place(d, req, tmp, path);
	}
	lock_release(d, lock);
	return rc;
}

static int
dir_put(struct object_req *req)
{
	struct dir_store *d = dir_of(req);
	char tmp[PATH_MAX];
	uint64_t epoch;
	int rc;

	tmp_path(d, tmp);
	rc = write_tmp(d, req, tmp);
	if (rc)
		return rc;
	rc = publish(d, req, tmp, &epoch);
	/* after a rename it is gone, after a link it has two names */
	if (rc || req->if_absent)
		(void)d->ops->unlink(d->vfs, tmp); /* what stays behind is swept later */
	return rc ? rc : sync_names(d, req->key, epoch);
}

/* ---- GET, HEAD ---- */

static int
dir_head(struct object_req *req)
{
	struct dir_store *d = dir_of(req);
	char path[PATH_MAX];
	struct vfs_stat st;
	int rc;

	path_of(d, req->key, path);
	rc = stat_object(d, path, &st);
	if (rc)
		return rc;
	req->size = st.size;
	etag_format(&st, req->etag);
	return 0;
}

static int
get_from(struct object_req *req, struct vfs_file *file)
{
	struct vfs_stat st;
	uint64_t offset, length;
	int rc = file->vfs->ops->fstat(file, &st);

	if (rc)
		return rc;
	if (st.is_dir)
		return -ENOENT;
	req->size = st.size;
	etag_format(&st, req->etag);
	rc = object_get_range(req, st.size, &offset, &length);
	return rc ? rc : transfer(file, req->iov, req->niov, offset, length, false);
}

static int
dir_get(struct object_req *req)
{
	struct dir_store *d = dir_of(req);
	struct vfs_file *file;
	char path[PATH_MAX];
	int rc = failpoint_hit(FP_DIR_GET);

	if (rc)
		return rc == FAILPOINT_SKIP ? 0 : rc;
	path_of(d, req->key, path);
	rc = as_missing(d->ops->open(d->vfs, path, O_RDONLY, 0, &file));
	if (rc)
		return rc;
	rc = get_from(req, file);
	d->ops->close(file);
	return rc;
}

/* ---- DELETE ---- */

static int
any_entry(void *arg, const char *name, bool is_dir)
{
	(void)arg;
	(void)name;
	(void)is_dir;
	return 1;
}

/* With the exclusive lock held: remove the directories above key that are empty now.  One that stays does no
 * harm, so failures are none of the caller's business. */
static void
prune(const struct dir_store *d, struct vfs_file *lock, const char *key)
{
	char dir[OBJECT_KEY_MAX + 1], path[PATH_MAX];
	bool bumped = false;

	(void)snprintf(dir, sizeof(dir), "%s", key);
	while (cut_last(dir) && dir[0]) {
		path_of(d, dir, path);
		if (d->ops->readdir(d->vfs, path, any_entry, NULL))
			return;
		if (!bumped && epoch_bump(d, lock))
			return;
		bumped = true;
		if (d->ops->rmdir(d->vfs, path))
			return;
	}
}

static int
delete_one(const struct dir_store *d, const char *key)
{
	struct vfs_file *lock;
	char path[PATH_MAX];
	int rc = lock_take(d, LOCK_EX, &lock);

	if (rc)
		return rc;
	path_of(d, key, path);
	rc = as_missing(d->ops->unlink(d->vfs, path));
	if (!rc)
		prune(d, lock, key);
	lock_release(d, lock);
	return rc;
}

static int
compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* the directory that holds key, or, where that was removed, the one that held it */
static int
sync_removal(const struct dir_store *d, const char *key)
{
	char dir[OBJECT_KEY_MAX + 1], path[PATH_MAX];
	int rc = -ENOENT;

	(void)snprintf(dir, sizeof(dir), "%s", key);
	while (rc == -ENOENT && cut_last(dir)) {
		path_of(d, dir, path);
		rc = sync_dir(d, path);
	}
	return rc;
}

static bool
same_directory(const char *a, const char *b)
{
	const char *sa = strrchr(a, '/'), *sb = strrchr(b, '/');
	size_t na = sa ? (size_t)(sa - a) : 0, nb = sb ? (size_t)(sb - b) : 0;

	return !sa == !sb && na == nb && !memcmp(a, b, na);
}

static int
dir_delete(struct object_req *req)
{
	struct dir_store *d = dir_of(req);
	const char **gone = calloc(req->nkeys + 1, sizeof(*gone));
	size_t ngone = 0;
	int rc = 0, sync_rc = 0;

	if (!gone)
		return -ENOMEM;
	for (size_t i = 0; i < req->nkeys && !rc; i++) {
		rc = delete_one(d, req->keys[i]);
		if (!rc)
			gone[ngone++] = req->keys[i];
		else if (rc == -ENOENT)
			rc = 0;
	}
	qsort(gone, ngone, sizeof(*gone), compare_keys);
	for (size_t i = 0; i < ngone && !sync_rc; i++)
		if (!i || !same_directory(gone[i - 1], gone[i]))
			sync_rc = sync_removal(d, gone[i]);
	free(gone);
	return rc ? rc : sync_rc;
}

/* ---- LIST ---- */

/*
 * The tree is walked in the order of the keys.  Of each directory only the next few names that may matter are
 * held: the smallest ones above `floor`; when they are used up the directory is read again with a higher
 * floor. A directory sorts as its name with '/', which is how the keys in it begin.
 */
struct walk {
	struct dir_store *d;
	struct object_req *req;
	char *key; /* within path: what follows ROOT/ */
	char path[PATH_MAX];
};

struct names {
	struct walk *walk;
	size_t key_len; /* of the directory's part of the key, with its '/' */
	const char *floor;
	char **names; /* room for 2 * max */
	size_t n, max;
	bool more; /* some were left out at the upper end */
	int error;
};

/* may this key (a directory's ends in '/') be listed, or hold keys that may? */
static bool
key_wanted(const struct object_req *req, const char *key, bool is_dir)
{
	const char *after = req->token;
	size_t n = strlen(key), np = strlen(req->key);

	if (strncmp(key, req->key, min_of(n, np)) != 0 || (!is_dir && n < np))
		return false;
	if (!after)
		return true;
	return is_dir ? strncmp(key, after, n) >= 0 : strcmp(key, after) > 0;
}

static void
names_trim(struct names *ns)
{
	qsort(ns->names, ns->n, sizeof(*ns->names), compare_keys);
	while (ns->n > ns->max) {
		free(ns->names[--ns->n]);
		ns->more = true;
	}
}

static int
names_add(void *arg, const char *name, bool is_dir)
{
	struct names *ns = arg;
	struct walk *w = ns->walk;
	char *copy = NULL;
	size_t n = strlen(name);

	if (name[0] == '.' || ns->key_len + n + is_dir > OBJECT_KEY_MAX)
		return 0;
	memcpy(w->key + ns->key_len, name, n + 1);
	if (!object_key_valid(w->key)) /* somebody else's file */
		return 0;
	if (is_dir)
		memcpy(w->key + ns->key_len + n, "/", 2);
	if (!key_wanted(w->req, w->key, is_dir) || strcmp(w->key + ns->key_len, ns->floor) <= 0)
		return 0;
	copy = strdup(w->key + ns->key_len);
	if (!copy) {
		ns->error = -ENOMEM;
		return 1;
	}
	ns->names[ns->n++] = copy;
	if (ns->n == 2 * ns->max)
		names_trim(ns);
	return 0;
}

static int
names_read(struct names *ns)
{
	struct walk *w = ns->walk;
	int rc;

	ns->n = 0;
	ns->more = false;
	w->key[ns->key_len] = '\0';
	rc = as_missing(w->d->ops->readdir(w->d->vfs, w->path, names_add, ns));
	if (ns->error)
		return ns->error;
	if (rc && rc != -ENOENT) /* removed under us: empty */
		return rc;
	names_trim(ns);
	return 0;
}

static int
list_file(struct walk *w)
{
	struct object_req *req = w->req;
	struct vfs_stat st;
	int rc = stat_object(w->d, w->path, &st);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (req->nentries == req->max_keys)
		return object_list_more(req);
	return object_list_add(req, w->key, st.size);
}

/* the directory whose key part is the first key_len bytes of w->key */
static int
list_dir(struct walk *w, size_t key_len)
{
	struct names ns = {.walk = w, .key_len = key_len, .max = w->req->max_keys - w->req->nentries + 1};
	char floor[NAME_MAX + 2] = "";
	int rc;

	ns.floor = floor;
	ns.names = calloc(2 * ns.max, sizeof(*ns.names));
	if (!ns.names)
		return -ENOMEM;
	do {
		rc = names_read(&ns);
		for (size_t i = 0; i < ns.n; i++) {
			size_t n = strlen(ns.names[i]);

			if (!rc && !w->req->truncated) {
				memcpy(w->key + key_len, ns.names[i], n + 1);
				(void)snprintf(floor, sizeof(floor), "%s", ns.names[i]);
				rc = ns.names[i][n - 1] == '/' ? list_dir(w, key_len + n) : list_file(w);
			}
			free(ns.names[i]);
		}
	} while (!rc && ns.more && !w->req->truncated);
	free(ns.names);
	return rc;
}

static int
dir_list(struct object_req *req)
{
	struct dir_store *d = dir_of(req);
	struct walk *w = malloc(sizeof(*w));
	const char *slash = strrchr(req->key, '/');
	size_t n = slash ? (size_t)(slash - req->key) + 1 : 0;
	int rc;

	if (!w)
		return -ENOMEM;
	w->d = d;
	w->req = req;
	path_of(d, "", w->path);
	w->key = w->path + strlen(w->path);
	memcpy(w->key, req->key, n);
	rc = list_dir(w, n);
	free(w);
	return rc;
}

/* ---- requests ---- */

static int (*const calls[OBJECT_OP_COUNT])(struct object_req *req) = {
	[OBJECT_PUT] = dir_put,       [OBJECT_GET] = dir_get,   [OBJECT_HEAD] = dir_head,
	[OBJECT_DELETE] = dir_delete, [OBJECT_LIST] = dir_list,
};

static void
dir_run(struct loop_work *work)
{
	struct object_req *req = container_of(work, struct object_req, work);

	req->status = calls[req->op](req);
}

static void
dir_done(struct loop_work *work)
{
	struct object_req *req = container_of(work, struct object_req, work);

	object_done(req, req->status);
}

static void
dir_submit(struct object_req *req)
{
	req->work.run = dir_run;
	req->work.done = dir_done;
	loop_offload(req->loop, &req->work);
}

static void
dir_free(struct object_store *store)
{
	struct dir_store *d = container_of(store, struct dir_store, store);

	known_clear(d);
	free(d->known);
	free(d->root);
	pthread_mutex_destroy(&d->mutex);
	free(d);
}

static const struct object_ops dir_ops = {.kind = "dir", .submit = dir_submit, .free = dir_free};

/* ---- opening ---- */

static int
sweep_one(void *arg, const char *name, bool is_dir)
{
	struct dir_store *d = arg;
	char path[PATH_MAX];
	struct vfs_stat st;
	struct timespec now;

	if (is_dir || strlen(name) > NAME_MAX)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/.tmp/%s", d->root, name);
	clock_gettime(CLOCK_REALTIME, &now);
	if (!d->ops->stat(d->vfs, path, &st) &&
	    st.mtime_ns / 1000000000u + TMP_MAX_AGE_S < (uint64_t)now.tv_sec)
		(void)d->ops->unlink(d->vfs, path); /* the next open tries again */
	return 0;
}

/* Can we write, and does the file system keep the nanoseconds that etags are made of? */
static int
probe(const struct dir_store *d)
{
	char path[PATH_MAX];
	struct vfs_file *file;
	struct vfs_stat st;
	uint64_t mtime;
	int rc;

	tmp_path(d, path);
	rc = d->ops->open(d->vfs, path, O_WRONLY | O_CREAT | O_EXCL, FILE_MODE, &file);
	if (rc)
		return rc;
	rc = stamp(file, &mtime);
	if (!rc)
		rc = d->ops->fstat(file, &st);
	if (!rc && st.mtime_ns / 1000 != mtime / 1000)
		rc = -ENOTSUP;
	d->ops->close(file);
	(void)d->ops->unlink(d->vfs, path); /* swept later otherwise */
	return rc;
}

static int
explain(const struct dir_store *d, int rc, struct errinfo *info)
{
	static const struct {
		int err;
		const char *advice;
	} table[] = {
		{-ENOENT, "create the directory, or check that its file system is mounted"},
		{-ENOTDIR, "name a directory, not a file"},
		{-EACCES, "give the user of lungate read, write and search permission on it"},
		{-EPERM, "give the user of lungate read, write and search permission on it"},
		{-EROFS, "remount its file system read-write"},
		{-ENOSPC, "free space on its file system"},
		{-EDQUOT, "raise the quota of the user of lungate"},
		{-ENOTSUP,
		 "its file system keeps modification times too coarsely to tell objects apart; use ext4 (256-byte "
		 "inodes), XFS, Btrfs or ZFS"},
	};
	const char *advice = "check the disk and the kernel's log";

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].err == rc)
			advice = table[i].advice;
	return err_set(info, rc, "object store %s: %s; %s", d->store.url, err_text(rc), advice);
}

static int
prepare(struct dir_store *d, bool create)
{
	char path[PATH_MAX];
	struct vfs_file *lock;
	struct vfs_stat st;
	int rc = create ? vfs_mkdirs(d->vfs, d->root, DIR_MODE) : 0;

	if (!rc)
		rc = d->ops->stat(d->vfs, d->root, &st);
	if (rc)
		return rc;
	if (!st.is_dir)
		return -ENOTDIR;
	path_of(d, ".tmp", path);
	rc = vfs_mkdirs(d->vfs, path, DIR_MODE);
	if (!rc)
		rc = lock_take(d, LOCK_SH, &lock);
	if (rc)
		return rc;
	lock_release(d, lock);
	rc = probe(d);
	if (!rc)
		rc = d->ops->readdir(d->vfs, path, sweep_one, d);
	return rc;
}

int
dir_store_open(const char *rest, struct vfs *vfs, bool create, struct object_store **ret,
	       struct errinfo *info)
{
	struct dir_store *d;
	size_t n = strlen(rest);
	int rc;

	if (rest[0] != '/' || n > ROOT_MAX)
		return err_set(info, LG_ECONFIG,
			       "object store \"dir:%.200s\": use an absolute path of at most %d bytes", rest,
			       ROOT_MAX);
	while (n > 1 && rest[n - 1] == '/')
		n--;
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(info, -ENOMEM, "object store \"dir:%s\": no memory", rest);
	pthread_mutex_init(&d->mutex, NULL);
	d->store.ops = &dir_ops;
	d->vfs = vfs;
	d->ops = vfs->ops;
	d->root = strndup(rest, n);
	d->known = calloc(KNOWN_MAX, sizeof(*d->known));
	(void)snprintf(d->store.url, sizeof(d->store.url), "dir:%.*s", (int)n, rest);
	rc = d->root && d->known ? prepare(d, create) : -ENOMEM;
	if (rc) {
		explain(d, rc, info);
		dir_free(&d->store);
		return rc;
	}
	*ret = &d->store;
	return 0;
}
