/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Texts that outlive the daemon.
 *
 * Where: with the volume, as its attribute of that name, so that it is there wherever the volume is opened; a
 * volume that keeps no attributes has it in the store (the gateway's own directory).  What the store still has of a
 * volume that does keep attributes, from before it did, is moved there when it is asked for; what the
 * volume says itself counts more.
 *
 * Threads: the store is set before the first unit is made; loading blocks its caller, saving the pool or nobody.
 */
#include "gateway/scsi/keep.h"

#include <stdlib.h>

#include "common/err.h"
#include "common/log.h"
#include "common/util.h"

static struct scsi_store store;

void
scsi_set_store(const struct scsi_store *new_store)
{
	store = new_store ? *new_store : (struct scsi_store){0};
}

bool
scsi_can_keep(const struct volume *vol)
{
	return vol->attributes || store.save != NULL;
}

/* -- saving -------------------------------------------------------------- */

static void
put_done(struct vol_req *req)
{
	struct scsi_keeping *keeping = container_of(req, struct scsi_keeping, req);

	keeping->status = req->status;
	if (req->status < 0)
		log_error("volume %s: %s cannot be kept: %s", keeping->vol->name, keeping->name,
			  err_text(req->status));
	keeping->done(keeping);
}

static void
save_run(struct loop_work *work)
{
	struct scsi_keeping *keeping = container_of(work, struct scsi_keeping, work);

	keeping->status =
		store.save(store.arg, keeping->name, keeping->vol->uuid, keeping->text, keeping->len);
}

static void
save_done(struct loop_work *work)
{
	struct scsi_keeping *keeping = container_of(work, struct scsi_keeping, work);

	keeping->done(keeping);
}

void
scsi_keep(struct scsi_keeping *keeping)
{
	if (keeping->vol->attributes) {
		keeping->req = (struct vol_req){.vol = keeping->vol,
						.op = VOL_PUT_ATTRIBUTE,
						.key = keeping->name,
						.value = keeping->text,
						.value_len = keeping->text ? keeping->len : 0,
						.done = put_done};
		volume_submit(&keeping->req);
	} else if (store.save) {
		keeping->work = (struct loop_work){.run = save_run, .done = save_done};
		loop_offload(keeping->vol->loop, &keeping->work);
	} else {
		keeping->status = -EOPNOTSUPP;
		keeping->done(keeping);
	}
}

/* -- loading ------------------------------------------------------------- */

/* What the store has of a volume that keeps it by itself; *text: what the volume has. */
static int
move_in(struct volume *vol, const char *name, int (*check)(const char *text, size_t len), char **text,
	size_t *len)
{
	char *old = NULL;
	size_t old_len = 0;
	int rc = store.load(store.arg, name, vol->uuid, &old, &old_len);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (!*text) {
		rc = check ? check(old, old_len) : 0;
		if (rc == 0)
			rc = volume_put_attribute(vol, name, old, old_len);
		if (rc < 0) {
			free(old);
			return rc;
		}
		log_info("volume %s: %s: kept with the volume from now on", vol->name, name);
		*text = old;
		*len = old_len;
	} else {
		free(old);
	}
	/* if this fails the store has told; the volume's own counts next time, too */
	(void)store.save(store.arg, name, vol->uuid, NULL, 0);
	return 0;
}

int
scsi_kept(struct volume *vol, const char *name, int (*check)(const char *text, size_t len), char **ret,
	  size_t *ret_len)
{
	char *text = NULL;
	size_t len = 0;
	int rc = 0;

	if (vol->attributes) {
		rc = volume_get_attribute(vol, name, (void **)&text, &len);
		if (rc == 0 && store.load)
			rc = move_in(vol, name, check, &text, &len);
	} else if (store.load) {
		rc = store.load(store.arg, name, vol->uuid, &text, &len);
		if (rc == -ENOENT)
			rc = 0;
	}
	if (rc < 0) {
		free(text);
		return rc;
	}
	*ret = text;
	*ret_len = len;
	return 0;
}
