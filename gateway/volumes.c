/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's volumes: opening those of the configuration, creating, deleting and resizing while it runs.
 *
 * States of a volume: failed (err, why; reopen.c tries again) or online (vol, in the registry).  What is
 * created is made in the store first and written into the configuration last; if that fails it is taken back.
 * What is deleted loses its data first and its place in the configuration last, so that a deletion which was
 * cut off can be repeated.
 *
 * Threads: start-up and the threads of control-socket clients; all may block.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/bytes.h"
#include "common/log.h"
#include "common/nearest.h"
#include "common/util.h"
#include "gateway/admin.h"
#include "gateway/daemon.h"
#include "gateway/kept.h"
#include "gateway/scsi/scsi.h"
#include "stores/stores.h"

#define OPENERS_MAX 8
#define CLOSE_TRIES 500
#define CLOSE_PAUSE_NS 10000000L

struct daemon_volume *
daemon_volume_find(struct daemon *daemon, const char *name)
{
	for (size_t i = 0; i < daemon->nvolumes; i++)
		if (!strcmp(daemon->volumes[i]->conf.name, name))
			return daemon->volumes[i];
	return NULL;
}

/* -- which loop ---------------------------------------------------------------------------------------------
 */

static struct loop *
least_loaded(struct daemon *daemon)
{
	unsigned load[LOOPS_MAX] = {0}, best = 0;

	for (size_t i = 0; i < daemon->nvolumes; i++)
		for (unsigned k = 0; k < daemon->nloops; k++)
			load[k] += daemon->volumes[i]->loop == daemon->loops[k];
	for (unsigned k = 1; k < daemon->nloops; k++)
		if (load[k] < load[best])
			best = k;
	return daemon->loops[best];
}

/* Volumes of one target share a loop: connections of the target live there too. */
static void
choose_loops(struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->config.ntargets; i++) {
		const struct config_target *target = &daemon->config.targets[i];
		struct loop *home = NULL;

		for (size_t k = 0; k < target->nluns; k++) {
			struct daemon_volume *volume = daemon_volume_find(daemon, target->luns[k].volume);

			if (!volume)
				continue;
			if (!volume->loop)
				volume->loop = home ? home : least_loaded(daemon);
			home = volume->loop;
		}
	}
	for (size_t i = 0; i < daemon->nvolumes; i++)
		if (!daemon->volumes[i]->loop)
			daemon->volumes[i]->loop = least_loaded(daemon);
}

/* -- opening
 * ------------------------------------------------------------------------------------------------- */

static int
spec_of(struct daemon *daemon, const struct daemon_volume *volume, struct volume_spec *ret)
{
	int r = config_volume_spec(&volume->conf, daemon->state.journal_dir, daemon->state.gateway_id, ret);

	if (!r)
		ret->close_timeout_s = (unsigned)daemon->config.close_timeout;
	for (size_t i = 0; !r && i < daemon->naccept_loss; i++)
		if (!strcmp(daemon->accept_loss[i], volume->conf.name))
			ret->accept_loss = true;
	return r;
}

/* The identity of what has no volume.json of its own is kept in the file. */
static bool
keeps_uuid_in_config(const struct config_volume *conf)
{
	return strcmp(config_store_kind(conf->store), "chunked") != 0;
}

static int
set_uuid(struct config_volume *conf, const uint8_t uuid[UUID_LEN])
{
	char text[UUID_TEXT], *copy;

	uuid_format(uuid, text);
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(conf->uuid);
	conf->uuid = copy;
	return 0;
}

/* A volume that was written into the file by hand gets its identity at its first start, and keeps it. */
static int
make_identity(struct daemon *daemon, struct daemon_volume *volume)
{
	struct errinfo info = {{0}};
	uint8_t uuid[UUID_LEN];
	int r;

	if (volume->conf.uuid || !keeps_uuid_in_config(&volume->conf))
		return 0;
	uuid_make(uuid);
	r = set_uuid(&volume->conf, uuid);
	if (r)
		return r;
	(void)pthread_mutex_lock(&daemon->lock); /* openers run side by side; the file is changed by one */
	r = config_set_volume(daemon->config_path, volume->conf.name, "uuid", json_string(volume->conf.uuid),
			      &info);
	(void)pthread_mutex_unlock(&daemon->lock);
	if (r)
		log_warn("volume %s: its new uuid %s is not kept, it will be another after a restart: %s",
			 volume->conf.name, volume->conf.uuid, err_words(&info, r));
	else
		log_info("volume %s: new uuid %s, written to %s", volume->conf.name, volume->conf.uuid,
			 daemon->config_path);
	return 0;
}

static void
volume_online(struct daemon *daemon, struct daemon_volume *volume, struct volume *vol)
{
	(void)pthread_mutex_lock(&daemon->lock);
	volume->vol = vol;
	volume->err = 0;
	volume->why[0] = 0;
	(void)pthread_mutex_unlock(&daemon->lock);
}

static void
volume_failed(struct daemon *daemon, struct daemon_volume *volume, int err, const char *why)
{
	(void)pthread_mutex_lock(&daemon->lock);
	volume->vol = NULL;
	volume->err = err;
	(void)snprintf(volume->why, sizeof(volume->why), "%s", why && *why ? why : err_text(err));
	(void)pthread_mutex_unlock(&daemon->lock);
}

/* A directory that is named is never made up: it may be a mount that is not there yet. */
static int
check_directory(const char *what, const char *dir, struct errinfo *info)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return err_set(info, -errno, "%s %s: %s%s", what, dir, err_text(-errno),
			       errno == ENOENT ? "; make it first: mkdir -p, or mount what belongs there"
					       : "");
	if (!S_ISDIR(st.st_mode))
		return err_set(info, -ENOTDIR, "%s %s is not a directory", what, dir);
	return 0;
}

static int
check_journal_dir(const struct config_volume *conf, struct errinfo *info)
{
	return conf->journal_dir ? check_directory("the journal directory", conf->journal_dir, info) : 0;
}

static int
check_directories(const struct config_volume *conf, struct errinfo *info)
{
	int r = strncmp(conf->store, "dir:", 4)
			? 0
			: check_directory("the store directory", conf->store + 4, info);

	return r ? r : check_journal_dir(conf, info);
}

/* Its journal is reserved at once: one that cannot be must not take all that is left of the disk before that shows. */
static int
check_room(const struct volume_spec *spec, struct errinfo *info)
{
	uint64_t needed = spec->journal_size ? spec->journal_size : VOLUME_JOURNAL_DEFAULT, room;
	char sizes[2][16];
	struct statvfs st;

	if (strcmp(config_store_kind(spec->store), "chunked") != 0 || !spec->journal_dir ||
	    statvfs(spec->journal_dir, &st))
		return 0;
	room = (uint64_t)st.f_bfree * st.f_frsize;
	if (needed <= room)
		return 0;
	return err_set(
		info, -ENOSPC,
		"journal_size: %s is more than the %s that are free in %s; make it smaller, or have the "
		"journal elsewhere (journal_dir)",
		size_format(needed, sizes[0], sizeof(sizes[0])),
		size_format(room, sizes[1], sizeof(sizes[1])), spec->journal_dir);
}

static int
open_volume(struct daemon *daemon, struct daemon_volume *volume, struct errinfo *info)
{
	struct volume_spec spec;
	struct volume *vol;
	int r = spec_of(daemon, volume, &spec);

	if (!r)
		r = check_journal_dir(&volume->conf, info);
	if (!r)
		r = volume_open(&spec, volume->loop, daemon->arena, &vol, info);
	if (r)
		return r;
	r = scsi_recall(vol);
	if (r) {
		(void)volume_close(vol);
		return err_set(info, r, "cannot tell whether a SANITIZE of it was cut off: %s", err_text(r));
	}
	if (atomic_load(&vol->barred))
		log_warn("volume %s: %s; its data is not to be had until it is sanitized again",
			 volume->conf.name, err_text(atomic_load(&vol->barred)));
	r = registry_add(daemon->registry, vol);
	if (r) {
		(void)volume_close(vol);
		return err_set(info, r, "cannot register it: %s", err_text(r));
	}
	volume_online(daemon, volume, vol);
	return 0;
}

static int
create_missing(struct daemon *daemon, struct daemon_volume *volume, struct errinfo *info)
{
	struct volume_spec spec;
	int r = spec_of(daemon, volume, &spec);

	if (!r)
		r = check_directories(&volume->conf, info);
	if (!r)
		r = volume_create(&spec, volume->loop, daemon->arena, info);
	if (!r)
		log_info("volume %s: created in %s", volume->conf.name, volume->conf.store);
	return r == -EEXIST ? 0 : r;
}

/* Stores begin their words with "volume NAME in STORE: "; so does whoever shows them. */
static const char *
plain_words(const char *name, const char *text)
{
	size_t len = strlen(name);
	const char *words;

	if (strncmp(text, "volume ", 7) != 0 || strncmp(text + 7, name, len) != 0)
		return text;
	words = strstr(text, ": ");
	return words ? words + 2 : text;
}

/* What fails as it did before is not told again. */
int
daemon_volume_open(struct daemon *daemon, struct daemon_volume *volume)
{
	struct errinfo info = {{0}};
	int before = volume->err, r;
	char size[16];

	daemon_doing(daemon, "opening volume", volume->conf.name);
	r = make_identity(daemon, volume);
	if (!r && daemon->create_missing)
		r = create_missing(daemon, volume, &info);
	if (!r)
		r = open_volume(daemon, volume, &info);
	if (r) {
		volume_failed(daemon, volume, r, plain_words(volume->conf.name, info.text));
		log_at(r == before ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, "volume %s: %s", volume->conf.name,
		       volume->why);
		return r;
	}
	log_info("volume %s: online, %s, %s", volume->conf.name,
		 size_format(atomic_load(&volume->vol->size), size, sizeof(size)), volume->vol->store);
	return 0;
}

struct openers {
	struct daemon *daemon;
	_Atomic size_t next;
};

static void *
opener_main(void *arg)
{
	struct openers *openers = arg;
	struct daemon *daemon = openers->daemon;
	size_t i;

	while ((i = atomic_fetch_add(&openers->next, 1)) < daemon->nvolumes && !atomic_load(&daemon->stop))
		(void)daemon_volume_open(daemon, daemon->volumes[i]);
	return NULL;
}

int
daemon_open_volumes(struct daemon *daemon)
{
	struct openers openers = {.daemon = daemon};
	pthread_t threads[OPENERS_MAX];
	size_t n = 0;

	daemon->volumes = calloc(daemon->config.nvolumes + 1, sizeof(struct daemon_volume *));
	if (!daemon->volumes)
		return -ENOMEM;
	for (size_t i = 0; i < daemon->config.nvolumes; i++) {
		struct daemon_volume *volume = calloc(1, sizeof(*volume));

		if (!volume)
			return -ENOMEM;
		volume->conf = daemon->config.volumes[i];
		memset(&daemon->config.volumes[i], 0, sizeof(volume->conf));
		volume->err = -EAGAIN;
		(void)snprintf(volume->why, sizeof(volume->why), "it is being opened");
		daemon->volumes[daemon->nvolumes++] = volume;
	}
	daemon->config.nvolumes = 0;
	choose_loops(daemon);
	while (n + 1 < min_of(daemon->nvolumes, (size_t)OPENERS_MAX) &&
	       !pthread_create(&threads[n], NULL, opener_main, &openers))
		n++;
	(void)opener_main(&openers);
	while (n)
		(void)pthread_join(threads[--n], NULL);
	return 0;
}

/* -- closing
 * ------------------------------------------------------------------------------------------------- */

/* -EBUSY while others hold references: an open file of the mount, a reader of its map. */
static int
close_volume(struct daemon *daemon, struct daemon_volume *volume, unsigned tries)
{
	const struct timespec pause = {.tv_nsec = CLOSE_PAUSE_NS};
	struct volume *vol = volume->vol;
	int r;

	do {
		/* under lock, so that no onlooker takes a reference in between */
		(void)pthread_mutex_lock(&daemon->lock);
		r = registry_remove(daemon->registry, volume->conf.name);
		if (!r)
			volume->vol = NULL;
		(void)pthread_mutex_unlock(&daemon->lock);
		if (r == -EBUSY && --tries)
			(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	} while (r == -EBUSY && tries);
	return r ? r : volume_close(vol);
}

static void
close_one(struct daemon *daemon, struct daemon_volume *volume)
{
	int r;

	if (!volume->vol)
		return;
	daemon_doing(daemon, "closing volume", volume->conf.name);
	r = close_volume(daemon, volume, CLOSE_TRIES);
	if (r)
		log_error("volume %s: not closed cleanly: %s", volume->conf.name, err_text(r));
	else
		log_info("volume %s: closed", volume->conf.name);
}

static void *
closer_main(void *arg)
{
	struct openers *closers = arg;
	size_t i;

	while ((i = atomic_fetch_add(&closers->next, 1)) < closers->daemon->nvolumes)
		close_one(closers->daemon, closers->daemon->volumes[i]);
	return NULL;
}

static void
daemon_volume_free(struct daemon_volume *volume)
{
	config_volume_fini(&volume->conf);
	free(volume);
}

void
daemon_close_volumes(struct daemon *daemon)
{
	struct openers closers = {.daemon = daemon};
	pthread_t threads[OPENERS_MAX];
	size_t n = 0;

	while (n + 1 < min_of(daemon->nvolumes, (size_t)OPENERS_MAX) &&
	       !pthread_create(&threads[n], NULL, closer_main, &closers))
		n++;
	(void)closer_main(&closers);
	while (n)
		(void)pthread_join(threads[--n], NULL);
	(void)pthread_mutex_lock(&daemon->lock);
	while (daemon->nvolumes)
		daemon_volume_free(daemon->volumes[--daemon->nvolumes]);
	free(daemon->volumes);
	daemon->volumes = NULL;
	(void)pthread_mutex_unlock(&daemon->lock);
}

int
daemon_no_such(const char *what, const char *name, const char *const *names, size_t n, struct errinfo *info)
{
	const char *near = names ? nearest_word(name, names, n, sizeof(*names)) : NULL;

	if (near)
		return err_set(info, -ENOENT, "there is no %s \"%s\"; did you mean \"%s\"?", what, name,
			       near);
	return err_set(info, -ENOENT, "there is no %s \"%s\"; 'lungate %s list' shows them", what, name,
		       what);
}

int
daemon_no_volume(struct daemon *daemon, const char *name, struct errinfo *info)
{
	const char **names = calloc(daemon->nvolumes + 1, sizeof(*names));
	int r;

	for (size_t i = 0; names && i < daemon->nvolumes; i++)
		names[i] = daemon->volumes[i]->conf.name;
	r = daemon_no_such("volume", name, names, daemon->nvolumes, info);
	free(names);
	return r;
}

/* -- create
 * --------------------------------------------------------------------------------------------------- */

static int
append_volume(struct daemon *daemon, struct daemon_volume *volume)
{
	struct daemon_volume **list;

	(void)pthread_mutex_lock(&daemon->lock);
	list = realloc(daemon->volumes, (daemon->nvolumes + 1) * sizeof(struct daemon_volume *));
	if (list) {
		daemon->volumes = list;
		list[daemon->nvolumes++] = volume;
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	return list ? 0 : -ENOMEM;
}

static void
forget_volume(struct daemon *daemon, struct daemon_volume *volume)
{
	(void)pthread_mutex_lock(&daemon->lock);
	for (size_t i = 0; i < daemon->nvolumes; i++) {
		if (daemon->volumes[i] == volume) {
			daemon->nvolumes--;
			memmove(daemon->volumes + i, daemon->volumes + i + 1,
				(daemon->nvolumes - i) * sizeof(*daemon->volumes));
			break;
		}
	}
	(void)pthread_mutex_unlock(&daemon->lock);
	daemon_volume_free(volume);
}

int
daemon_volume_unmake(const struct volume_spec *spec, struct loop *loop)
{
	struct errinfo info = {{0}};
	int r = volume_delete(spec, loop, true, NULL, NULL, &info);

	if (!r || r == -ENOENT)
		return 0;
	log_warn("volume %s: what was made of it stays in %s: %s", spec->name, spec->store,
		 err_words(&info, r));
	return r;
}

/* *existing becomes true where it turns out to have been there: that is nobody's to delete. */
static int
make_volume(struct daemon *daemon, struct daemon_volume *volume, bool *existing, struct errinfo *info)
{
	struct volume_spec spec;
	int r = spec_of(daemon, volume, &spec);

	if (!r)
		r = check_directories(&volume->conf, info);
	if (r)
		return r;
	if (!*existing) {
		if (!spec.size && strncmp(spec.store, "block:", 6) != 0 &&
		    strncmp(spec.store, "/dev/", 5) != 0)
			return err_set(info, -EINVAL, "size: is missing: how large shall it be?");
		r = check_room(&spec, info);
		if (r)
			return r;
		r = volume_create(&spec, volume->loop, daemon->arena, info);
		if (r)
			return r;
		*existing = spec.found;
	}
	if (keeps_uuid_in_config(&volume->conf)) {
		if (bytes_zero(spec.uuid, UUID_LEN))
			uuid_make(spec.uuid);
		r = set_uuid(&volume->conf, spec.uuid);
	}
	if (!r)
		r = open_volume(daemon, volume, info);
	if (r && !*existing)
		(void)daemon_volume_unmake(&spec, volume->loop);
	return r;
}

/* Made and open, but not to be kept. */
static void
unmake_volume(struct daemon *daemon, struct daemon_volume *volume, bool existing)
{
	struct volume_spec spec;
	int r = close_volume(daemon, volume, CLOSE_TRIES);

	if (r)
		log_warn("volume %s: what was made of it stays in %s: %s", volume->conf.name,
			 volume->conf.store, err_text(r));
	else if (!existing && !spec_of(daemon, volume, &spec))
		(void)daemon_volume_unmake(&spec, volume->loop);
}

/* Not in the daemon's list yet. Takes what conf holds. */
static int
new_volume(struct daemon *daemon, struct config_volume *conf, struct daemon_volume **ret,
	   struct errinfo *info)
{
	struct daemon_volume *volume;

	if (daemon_volume_find(daemon, conf->name))
		return err_set(info, -EEXIST, "there is a volume \"%s\" already", conf->name);
	volume = calloc(1, sizeof(*volume));
	if (!volume)
		return -ENOMEM;
	volume->conf = *conf;
	memset(conf, 0, sizeof(*conf));
	volume->loop = least_loaded(daemon);
	*ret = volume;
	return 0;
}

int
daemon_volume_create(struct daemon *daemon, struct config_volume *conf, bool existing,
		     struct admin_call *call, struct errinfo *info)
{
	struct daemon_volume *volume;
	int r;

	r = new_volume(daemon, conf, &volume, info);
	if (r)
		return r;
	r = make_volume(daemon, volume, &existing, info);
	if (r) {
		daemon_volume_free(volume);
		return r;
	}
	volume->conf.size = atomic_load(&volume->vol->size);
	volume->conf.block_size = volume->vol->block_size;
	if (admin_gone(call)) {
		log_info("volume %s: not %s, for whoever asked for it has gone", volume->conf.name,
			 existing ? "taken in" : "made");
		r = err_set(info, LG_EABORTED, "whoever asked for it has gone");
	}
	if (!r)
		r = config_add_volume(daemon->config_path, &volume->conf, info);
	if (!r)
		r = append_volume(daemon, volume);
	if (r) {
		unmake_volume(daemon, volume, existing);
		daemon_volume_free(volume);
		return r;
	}
	log_info("volume %s: %s in %s", volume->conf.name, existing ? "taken in" : "created",
		 volume->conf.store);
	return 0;
}

/* -- import
 * --------------------------------------------------------------------------------------------------- */

int
daemon_volume_reserve(struct daemon *daemon, struct config_volume *conf, struct daemon_volume **ret,
		      struct errinfo *info)
{
	struct daemon_volume *volume;
	int r;

	r = new_volume(daemon, conf, &volume, info);
	if (r)
		return r;
	volume->hold = HOLD_IMPORT;
	volume->err = -EBUSY;
	(void)snprintf(volume->why, sizeof(volume->why), "it is being imported");
	r = append_volume(daemon, volume);
	if (r)
		daemon_volume_free(volume);
	else
		*ret = volume;
	return r;
}

int
daemon_volume_spec(struct daemon *daemon, const struct daemon_volume *volume, struct volume_spec *ret,
		   struct errinfo *info)
{
	int r = check_directories(&volume->conf, info);

	return r ? r : spec_of(daemon, volume, ret);
}

int
daemon_volume_adopt(struct daemon *daemon, struct daemon_volume *volume, struct errinfo *info)
{
	int r = open_volume(daemon, volume, info);

	if (r)
		return r;
	volume->hold = HOLD_NONE;
	volume->conf.size = atomic_load(&volume->vol->size);
	volume->conf.block_size = volume->vol->block_size;
	r = config_add_volume(daemon->config_path, &volume->conf, info);
	if (r && !close_volume(daemon, volume, CLOSE_TRIES))
		volume->hold = HOLD_IMPORT;
	return r;
}

void
daemon_volume_forget(struct daemon *daemon, struct daemon_volume *volume)
{
	forget_volume(daemon, volume);
}

/* -- delete
 * --------------------------------------------------------------------------------------------------- */

static void
delete_progress(void *arg, uint64_t done, uint64_t total)
{
	if (arg)
		admin_progress(arg, done, total, "deleting objects");
}

static int
delete_data(struct daemon *daemon, struct daemon_volume *volume, bool delete_file, struct admin_call *call,
	    struct errinfo *info)
{
	struct volume_spec spec;
	int r = spec_of(daemon, volume, &spec);

	if (!r)
		r = volume_delete(&spec, volume->loop, delete_file, delete_progress, call, info);
	/* never made, or gone already: that is what was asked for */
	return r == -ENOENT ? 0 : r;
}

int
daemon_volume_delete(struct daemon *daemon, const char *name, bool keep_data, bool delete_file,
		     struct admin_call *call, struct errinfo *info)
{
	struct daemon_volume *volume = daemon_volume_find(daemon, name);
	uint8_t uuid[UUID_LEN] = {0};
	const char *target;
	unsigned lun;
	int r;

	if (!volume)
		return daemon_no_volume(daemon, name, info);
	if (volume->hold == HOLD_IMPORT)
		return err_set(info, -EBUSY, "volume \"%s\" is being imported; Ctrl-C there ends that", name);
	if (volume->hold == HOLD_OPENING)
		return err_set(info, -EBUSY,
			       "volume \"%s\" is being opened, which takes some seconds; try again then",
			       name);
	if (daemon_volume_mapped(daemon, name, &target, &lun))
		return err_set(info, -EBUSY,
			       "volume \"%s\" is LUN %u of %s; first: lungate target unmap %s %u", name, lun,
			       target, target, lun);
	if (volume->vol) {
		memcpy(uuid, volume->vol->uuid, sizeof(uuid));
		r = close_volume(daemon, volume, 20);
		if (r == -EBUSY)
			return err_set(info, r, "volume \"%s\" is in use: a file of it is open in the mount",
				       name);
		/* what it could not write it need not keep */
		if (r)
			log_warn("volume %s: closing before its deletion: %s", name, err_text(r));
	}
	volume->hold = HOLD_DELETION;
	volume_failed(daemon, volume, -ECANCELED, "it is being deleted");
	r = keep_data ? 0 : delete_data(daemon, volume, delete_file, call, info);
	if (!r)
		r = config_remove_volume(daemon->config_path, name, info);
	if (r) {
		char why[sizeof(volume->why)];

		(void)snprintf(why, sizeof(why), "its deletion was not finished, repeat it: %.900s",
			       err_words(info, r));
		volume_failed(daemon, volume, r, why);
		return r;
	}
	log_info("volume %s: %s", name, keep_data ? "forgotten, its data kept" : "deleted");
	forget_volume(daemon, volume);
	if (!keep_data)
		kept_forget(uuid);
	return 0;
}

/* -- resize
 * --------------------------------------------------------------------------------------------------- */

int
daemon_volume_resize(struct daemon *daemon, const char *name, uint64_t size, bool shrink,
		     struct errinfo *info)
{
	struct daemon_volume *volume = daemon_volume_find(daemon, name);
	struct vol_req req = {.op = VOL_RESIZE, .length = size};
	char was[16], is[16];
	uint64_t old;
	int r;

	if (!volume)
		return daemon_no_volume(daemon, name, info);
	if (!volume->vol)
		return err_set(info, volume->err, "volume \"%s\" is not online: %s", name, volume->why);
	if (!size || size % volume->vol->block_size)
		return err_set(info, -EINVAL, "size: must be a multiple of the block size, %u",
			       volume->vol->block_size);
	old = atomic_load(&volume->vol->size);
	if (size < old && !shrink)
		return err_set(
			info, -EINVAL,
			"that is smaller than it is (%s instead of %s): what lies behind the new end would be lost; "
			"if that is meant, add --shrink",
			size_format(size, is, sizeof(is)), size_format(old, was, sizeof(was)));
	req.vol = volume->vol;
	r = volume_call(&req);
	if (r == -ENOTSUP)
		return err_set(info, r, "this kind of volume (%s) cannot be resized", volume->vol->ops->kind);
	if (r == -EINVAL || r == -EFBIG)
		return err_set(info, r, "size: %s is more than this volume can have",
			       size_format(size, is, sizeof(is)));
	if (r)
		return err_set(info, r, "volume \"%s\" was not resized: %s", name, err_text(r));
	(void)pthread_mutex_lock(&daemon->lock);
	volume->conf.size = size;
	(void)pthread_mutex_unlock(&daemon->lock);
	log_info("volume %s: resized from %llu to %llu bytes", name, (unsigned long long)old,
		 (unsigned long long)size);
	r = config_set_volume(daemon->config_path, name, "size", config_size_json(size), info);
	if (r)
		err_prefix(info, "volume \"%s\" has its new size, but ", name);
	return r;
}
