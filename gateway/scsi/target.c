/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Targets: which unit is at which LUN.
 *
 * A slot holds a unit's pointer.  Whoever follows it counts himself in users
 * first and looks at the pointer afterwards; unmap sets SLOT_CLOSING in the same
 * word, takes the pointer away and waits for the count to come to 0.
 * So no unit is freed under a task, and nothing but the count is shared.
 *
 * Invariant: lu is not NULL while a user who was let in counts.
 *
 * Threads: map and unmap from configuration, one at a time; slot_acquire and
 * slot_release from any loop.
 */
#include <pthread.h>
#include <stdlib.h>

#include "common/registry.h"
#include "gateway/scsi/scsi_impl.h"

/* Who waits in unmap; on its stack. */
struct slot_wait {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool idle;
};

int
scsi_target_new(const char *name, struct scsi_target **ret)
{
	struct scsi_target *target;
	size_t n = strlen(name);

	if (n == 0 || n >= sizeof(target->name))
		return -EINVAL;
	target = calloc(1, sizeof(*target));
	if (!target)
		return -ENOMEM;
	memcpy(target->name, name, n + 1);
	(void)pthread_mutex_init(&target->groups_lock, NULL);
	(void)scsi_target_add_group(target, 1);
	pthread_mutex_init(&target->kept_lock, NULL);
	scsi_kept_load(target); /* nobody else knows it yet */
	*ret = target;
	return 0;
}

void
scsi_target_free(struct scsi_target *target)
{
	if (!target)
		return;
	assert(atomic_load(&target->nexuses) == 0);
	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++)
		(void)scsi_target_unmap(target, i); /* -ENOENT where none is */
	(void)pthread_mutex_destroy(&target->groups_lock);
	pthread_mutex_destroy(&target->kept_lock);
	free(target);
}

/* -- slots --------------------------------------------------------------- */

static void
slot_idle(struct scsi_slot *slot)
{
	struct slot_wait *wait = atomic_load(&slot->wait);

	pthread_mutex_lock(&wait->lock);
	wait->idle = true;
	pthread_cond_signal(&wait->cond);
	pthread_mutex_unlock(&wait->lock);
}

struct scsi_lu *
scsi_slot_acquire(struct scsi_slot *slot)
{
	uint32_t old = atomic_load_explicit(&slot->users, memory_order_relaxed);
	struct scsi_lu *lu;

	do {
		if (old & SLOT_CLOSING)
			return NULL;
	} while (!atomic_compare_exchange_weak(&slot->users, &old, old + 1));
	lu = atomic_load(&slot->lu);
	if (!lu)
		scsi_slot_release(slot);
	return lu;
}

void
scsi_slot_release(struct scsi_slot *slot)
{
	uint32_t old = atomic_fetch_sub(&slot->users, 1);

	assert((old & ~SLOT_CLOSING) != 0);
	if (old == (SLOT_CLOSING | 1))
		slot_idle(slot);
}

/* Nobody counts up once SLOT_CLOSING is set, so exactly one release comes to 0, if any. */
static void
slot_close(struct scsi_slot *slot)
{
	struct slot_wait wait = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

	atomic_store(&slot->wait, &wait);
	if (atomic_fetch_or(&slot->users, SLOT_CLOSING) != 0) {
		pthread_mutex_lock(&wait.lock);
		while (!wait.idle)
			pthread_cond_wait(&wait.cond, &wait.lock);
		pthread_mutex_unlock(&wait.lock);
	}
	pthread_mutex_destroy(&wait.lock);
	pthread_cond_destroy(&wait.cond);
}

static void
slot_reopen(struct scsi_slot *slot)
{
	atomic_store(&slot->wait, NULL);
	atomic_store(&slot->users, 0);
}

/* -- mapping ------------------------------------------------------------- */

int
scsi_target_map(struct scsi_target *target, unsigned lun, struct volume *vol, struct errinfo *info)
{
	return scsi_target_map_with(target, lun, vol, &(struct scsi_map_options){0}, info);
}

int
scsi_target_map_with(struct scsi_target *target, unsigned lun, struct volume *vol,
		     const struct scsi_map_options *options, struct errinfo *info)
{
	struct scsi_slot *slot;
	struct scsi_lu *lu;
	int rc;

	if (lun >= SCSI_LUNS_MAX)
		return err_set(info, -EINVAL, "LUN %u: the largest is %u", lun, SCSI_LUNS_MAX - 1);
	slot = &target->slots[lun];
	if (atomic_load(&slot->lu))
		return err_set(info, -EEXIST, "LUN %u of %s is in use", lun, target->name);
	rc = scsi_lu_get(vol, options, &lu);
	if (rc == -EINVAL)
		return err_set(info, rc, "volume %s is %sremovable where it is mapped already", vol->name,
			       options->removable ? "not " : "");
	if (rc < 0)
		return err_set(info, rc, "volume %s: what is kept of its reservations and SANITIZE: %s",
			       vol->name, err_text(rc));
	atomic_store(&slot->lu, lu);
	atomic_fetch_add(&target->inventory, 1);
	return 0;
}

struct cancel {
	struct scsi_lu *lu;
	struct scsi_slot *slot;
};

static int
cancel_sanitize(void *arg)
{
	struct cancel *cancel = arg;

	scsi_sanitize_cancel(cancel->lu, cancel->slot);
	return 0;
}

struct detach {
	struct scsi_lu *lu;
	struct scsi_target *target;
	unsigned lun;
};

static int
detach_itls(void *arg)
{
	struct detach *detach = arg;
	struct scsi_itl *next;

	for (struct scsi_itl *itl = detach->lu->itls; itl; itl = next) {
		next = itl->next;
		if (itl->nexus->target == detach->target && itl->lun == detach->lun)
			scsi_lu_unlink_itl(detach->lu, itl);
	}
	return 0;
}

int
scsi_target_unmap(struct scsi_target *target, unsigned lun)
{
	struct scsi_slot *slot;
	struct detach detach = {.target = target, .lun = lun};

	if (lun >= SCSI_LUNS_MAX)
		return -ENOENT;
	slot = &target->slots[lun];
	detach.lu = atomic_load(&slot->lu);
	if (!detach.lu)
		return -ENOENT;
	(void)loop_call(detach.lu->home, cancel_sanitize, &(struct cancel){detach.lu, slot});
	slot_close(slot);
	atomic_store(&slot->lu, NULL);
	(void)loop_call(detach.lu->home, detach_itls, &detach);
	slot_reopen(slot);
	scsi_lu_put(detach.lu);
	atomic_fetch_add(&target->inventory, 1);
	return 0;
}

struct loop *
scsi_target_home(struct scsi_target *target)
{
	for (unsigned i = 0; i < SCSI_LUNS_MAX; i++) {
		struct scsi_lu *lu = scsi_slot_acquire(&target->slots[i]);

		if (lu) {
			struct loop *home = lu->home;

			scsi_slot_release(&target->slots[i]);
			return home;
		}
	}
	return NULL;
}

/* -- LUN addressing, SAM-5 4.7 ------------------------------------------- */

int
scsi_lun_decode(const uint8_t lun[8])
{
	static const uint8_t zero[6];
	unsigned n;

	if (memcmp(lun + 2, zero, sizeof(zero)) != 0)
		return -1; /* a second level */
	switch (lun[0] >> 6) {
	case 0: /* peripheral device addressing: bus 0 alone is ours */
		if (lun[0] != 0)
			return -1;
		n = lun[1];
		break;
	case 1: /* flat space addressing */
		n = (unsigned)(lun[0] & 0x3f) << 8 | lun[1];
		break;
	default: /* logical unit addressing, extended: well known units too */
		return -1;
	}
	return n < SCSI_LUNS_MAX ? (int)n : -1;
}

void
scsi_lun_encode(unsigned lun, uint8_t buf[8])
{
	memset(buf, 0, 8);
	assert(lun < SCSI_LUNS_MAX);
	buf[1] = (uint8_t)lun;
}
