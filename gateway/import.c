/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * volume.import: a volume of ours with the contents of somebody else's.
 *
 *   reserved -> made -> filled -> closed -> adopted (online, in the configuration)
 *       any failure, the end of the asker's connection, the stop of the daemon: what was made is deleted
 *
 * The volume is open for the import alone until it is whole: no LUN, no mount, no place in the configuration.
 * While it is filled `change` is free, so others go on; its name is taken by its place in the list.
 *
 * A crash leaves what was made in the store and a note, STATE_DIR/importing/NAME, that says where; the next
 * import of that name deletes it first, and the daemon tells of it at its start.
 *
 * Threads: those of control-socket clients; all may block.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"
#include "common/vfs.h"
#include "gateway/admin.h"
#include "gateway/daemon.h"
#include "stores/stores.h"

#define NOTES "importing"
#define NOTE_MAX 16384u

struct importing {
	struct daemon *daemon;
	struct admin_call *call;
	char *note; /* path */
};

/* ---- notes ---- */

static char *
note_path(const struct daemon *daemon, const char *name)
{
	char *path = NULL;

	return asprintf(&path, "%s/" NOTES "%s%s", daemon->config.state_dir, *name ? "/" : "", name) < 0
		       ? NULL
		       : path;
}

/* In one piece: half a note would name another store, or none. */
static int
note_write(const struct daemon *daemon, const char *path, const char *store)
{
	char *dir = note_path(daemon, "");
	int r = dir ? vfs_mkdirs(vfs_posix(), dir, 0700) : -ENOMEM;

	free(dir);
	return r ? r : vfs_replace(vfs_posix(), path, store, strlen(store), 0600);
}

/* What a crash left of a note itself tells of no import. */
static int
tell_leftover(void *arg, const char *name, bool is_dir)
{
	const struct daemon *daemon = arg;
	char *path = is_dir || vfs_is_cut_off(name) ? NULL : note_path(daemon, name);
	struct vfs_stat st;

	if (path && !vfs_posix()->ops->stat(vfs_posix(), path, &st) && st.size)
		log_warn("an import into volume %s was cut off; what it left in the store goes when it is "
			 "run again (%s says where)",
			 name, path);
	free(path);
	return 0;
}

void
daemon_import_leftovers(struct daemon *daemon)
{
	char *path = note_path(daemon, "");

	if (path) /* most daemons never had any */
		(void)vfs_posix()->ops->readdir(vfs_posix(), path, tell_leftover, daemon);
	free(path);
}

/* ---- making and undoing ---- */

static int
delete_made(const struct volume_spec *spec, struct loop *loop, const char *note)
{
	int r = daemon_volume_unmake(spec, loop);

	if (!r)
		(void)unlink(note);
	return r;
}

/* What a crash left. */
static int
clean_up_before(struct importing *im, struct volume_spec *spec, struct loop *loop, struct errinfo *info)
{
	struct volume_spec old = *spec;
	size_t len;
	char *store;
	int r = vfs_slurp(vfs_posix(), im->note, NOTE_MAX, &store, &len);

	if (r == -ENOENT)
		return 0;
	if (r)
		return err_set(info, r, "%s: %s", im->note, err_text(r));
	if (!len) { /* cut off before it was written: nothing had been made */
		free(store);
		return 0;
	}
	log_info(
		"volume %s: what an import that was cut off had made in %s is deleted, and this one starts anew",
		spec->name, store);
	admin_progress(im->call, 0, 0,
		       "deleting what an import that was cut off had made; this one starts anew");
	old.store = store;
	r = delete_made(&old, loop, im->note);
	free(store);
	return r ? err_set(info, r, "what an import that was cut off had made cannot be deleted: %s",
			   err_text(r))
		 : 0;
}

static bool
go_on(void *arg, uint64_t done, uint64_t total)
{
	struct importing *im = arg;

	admin_progress(im->call, done, total, "importing, bytes");
	return !atomic_load(&im->daemon->stop) && !admin_gone(im->call);
}

static int
fill(struct importing *im, struct import *import, const struct volume_spec *spec, struct loop *loop,
     struct errinfo *info)
{
	struct volume *vol;
	int r = volume_open(spec, loop, im->daemon->arena, &vol, info), closed;

	if (r)
		return r;
	r = import_run(import, vol, go_on, im, info);
	closed = volume_close(vol);
	return r || !closed ? r : err_set(info, closed, "closing it: %s", err_text(closed));
}

static int
make_and_fill(struct importing *im, struct daemon_volume *volume, struct import *import, struct errinfo *info)
{
	struct volume_spec spec;
	int r = daemon_volume_spec(im->daemon, volume, &spec, info);

	if (r)
		return r;
	spec.beside_foreign = true;
	r = clean_up_before(im, &spec, volume->loop, info);
	if (r)
		return r;
	r = note_write(im->daemon, im->note, spec.store);
	if (r)
		return err_set(info, r, "%s: %s", im->note, err_text(r));
	r = volume_create(&spec, volume->loop, im->daemon->arena, info);
	if (r) {
		(void)unlink(im->note);
		return r;
	}
	r = fill(im, import, &spec, volume->loop, info);
	if (!r) {
		(void)pthread_mutex_lock(&im->daemon->change);
		r = daemon_volume_adopt(im->daemon, volume, info);
		daemon_end_change(im->daemon);
	}
	if (r)
		(void)delete_made(&spec, volume->loop, im->note);
	else
		(void)unlink(im->note);
	return r;
}

/* ---- the command ---- */

static int
check_target(const struct config_volume *conf, const struct import *import, struct errinfo *info)
{
	if (strcmp(config_store_kind(conf->store), "chunked") != 0)
		return err_set(info, -EINVAL,
			       "store: an import goes into an object store (s3://... or dir:/...)");
	if (conf->read_only)
		return err_set(info, -EINVAL, "read_only: it has to be written first");
	if (conf->size && conf->size < import_size(import))
		return err_set(info, -EINVAL, "size: it is %llu bytes there, and none may be lost",
			       (unsigned long long)import_size(import));
	return 0;
}

int
daemon_volume_import(struct daemon *daemon, struct config_volume *conf, const char *from,
		     struct admin_call *call, struct errinfo *info)
{
	struct importing im = {.daemon = daemon, .call = call};
	struct daemon_volume *volume = NULL;
	struct import *import = NULL;
	char *name = strdup(conf->name);
	uint64_t block = conf->block_size;
	int r = name ? import_open(from, daemon->loops[0], &import, info) : -ENOMEM;

	if (!r)
		r = check_target(conf, import, info);
	im.note = name ? note_path(daemon, name) : NULL;
	if (!r && !im.note)
		r = -ENOMEM;
	if (!r) {
		if (!conf->size)
			conf->size = (import_size(import) + block - 1) / block * block;
		(void)pthread_mutex_lock(&daemon->change);
		r = daemon_volume_reserve(daemon, conf, &volume, info);
		daemon_end_change(daemon);
	}
	if (!r) {
		log_info("volume %s: importing %s", name, import_words(import));
		r = make_and_fill(&im, volume, import, info);
		if (r) {
			(void)pthread_mutex_lock(&daemon->change);
			daemon_volume_forget(daemon, volume);
			daemon_end_change(daemon);
			log_info("volume %s: its import ended, and nothing of it is left: %s", name,
				 err_words(info, r));
		} else {
			log_info("volume %s: imported", name);
		}
	}
	import_close(import);
	free(im.note);
	free(name);
	return r;
}
