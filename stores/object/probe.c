/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds out whether a store's conditional PUTs are real: by trying them.
 *
 * Every attempt has keys of its own and every body a nonce, so that an answer that was lost and a PUT that
 * lands late cannot be taken for another one's.
 *
 * Threads: any that may block; the requests run on the loop that is given.
 * Failure: a store that cannot be written or read has no verdict, but an error.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "common/util.h"
#include "stores/object/store.h"

#define RACERS 16u
#define BODY 64u
#define KEY_ROOM 64u

struct probe {
	struct object_store *store;
	struct loop *loop;
	struct object_probe *ret;
	struct errinfo *info;
	uint8_t body[BODY]; /* of the latest PUT */
	char etag[OBJECT_ETAG_MAX];
};

static void
scratch_key(char key[KEY_ROOM])
{
	uint8_t nonce[8];

	random_bytes(nonce, sizeof(nonce));
	(void)snprintf(key, KEY_ROOM, "lungate-probe/%016llx", (unsigned long long)get_le64(nonce));
}

static int
put(struct probe *p, const char *key, bool if_absent, const char *if_match, char *ret_etag)
{
	uint8_t body[BODY];
	struct iovec iov = {body, sizeof(body)};
	struct object_req req = {.store = p->store, .op = OBJECT_PUT, .key = key, .iov = &iov, .niov = 1};
	int rc;

	random_bytes(body, sizeof(body));
	req.if_absent = if_absent;
	req.if_match = if_match;
	rc = object_call(p->loop, &req);
	if (!rc && ret_etag)
		memcpy(ret_etag, req.etag, sizeof(req.etag));
	if (!rc)
		memcpy(p->body, body, sizeof(body));
	return rc;
}

static int
failed(struct probe *p, const char *what, int rc)
{
	if (p->info && !p->info->text[0])
		(void)err_set(p->info, rc, "probe: %s: %s", what, err_text(rc));
	return rc;
}

static bool
refusal(int rc)
{
	return rc == -EEXIST || rc == -ENOENT || rc == LG_ECONFLICT;
}

/* 0 and *ret, or why it is not known */
static int
expect_refusal(struct probe *p, const char *what, int rc, bool *ret)
{
	*ret = refusal(rc);
	return *ret || !rc ? 0 : failed(p, what, rc);
}

static int
probe_create(struct probe *p, const char *key)
{
	uint64_t begun = clock_ns();
	int rc = put(p, key, true, NULL, p->etag);

	p->ret->put_ns = clock_ns() - begun;
	if (rc == -EOPNOTSUPP || rc == LG_EPROTO) {
		/* it does not know the condition; there must be something for the rest of the probe */
		rc = put(p, key, false, NULL, p->etag);
		return rc ? failed(p, "PUT", rc) : 0;
	}
	if (rc)
		return failed(p, "PUT if absent", rc);
	p->ret->creates = true;
	return expect_refusal(p, "PUT if absent of an object that is there", put(p, key, true, NULL, p->etag),
			      &p->ret->refuses_existing);
}

static int
probe_update(struct probe *p, const char *key, const char *missing)
{
	char old[OBJECT_ETAG_MAX];
	int rc;

	memcpy(old, p->etag, sizeof(old));
	rc = put(p, key, false, old, p->etag);
	if (rc && rc != LG_EPROTO && rc != -EOPNOTSUPP && !refusal(rc))
		return failed(p, "PUT if match", rc);
	p->ret->updates = !rc;
	if (rc)
		return 0;
	rc = expect_refusal(p, "PUT if match of an old etag", put(p, key, false, old, p->etag),
			    &p->ret->refuses_stale);
	if (rc)
		return rc;
	return expect_refusal(p, "PUT if match of a missing object", put(p, missing, false, old, NULL),
			      &p->ret->refuses_missing);
}

static int
probe_range(struct probe *p, const char *key)
{
	uint8_t part[BODY / 4];
	struct iovec iov = {part, sizeof(part)};
	struct object_req req = {.store = p->store,
				 .op = OBJECT_GET,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .offset = BODY / 2,
				 .length = sizeof(part)};
	uint64_t begun = clock_ns();
	int rc = object_call(p->loop, &req);

	p->ret->get_ns = clock_ns() - begun;
	if (rc && rc != LG_EPROTO)
		return failed(p, "GET of a range", rc);
	p->ret->reads_ranges = !rc && !memcmp(part, p->body + BODY / 2, sizeof(part));
	return 0;
}

static void
remove_keys(struct probe *p, const char *const *keys, size_t n)
{
	struct object_req req = {.store = p->store, .op = OBJECT_DELETE, .keys = keys, .nkeys = n};

	(void)object_call(p->loop, &req); /* what stays behind is small, and named for what it is */
}

/* ---- races ---- */

struct race;

struct racer {
	struct object_req req;
	struct iovec iov;
	uint8_t body[BODY];
	struct race *race;
};

struct race {
	struct loop_msg msg;
	struct racer racers[RACERS];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned left;
};

static void
racer_done(struct object_req *req)
{
	struct race *race = container_of(req, struct racer, req)->race;

	pthread_mutex_lock(&race->lock);
	if (!--race->left)
		pthread_cond_signal(&race->cond);
	pthread_mutex_unlock(&race->lock);
}

static void
race_start(struct loop_msg *msg)
{
	struct race *race = container_of(msg, struct race, msg);

	for (unsigned i = 0; i < RACERS; i++)
		object_submit(&race->racers[i].req);
}

/* The number of winners, or negative; *ret_etag is the last winner's, *winner its body. */
static int
race_run(struct probe *p, const char *key, const char *if_match, char *ret_etag, uint8_t winner[BODY])
{
	struct race race = {.msg.fn = race_start, .left = RACERS};
	int winners = 0, rc = 0;

	pthread_mutex_init(&race.lock, NULL);
	pthread_cond_init(&race.cond, NULL);
	for (unsigned i = 0; i < RACERS; i++) {
		struct racer *r = &race.racers[i];

		random_bytes(r->body, sizeof(r->body));
		r->iov = (struct iovec){r->body, sizeof(r->body)};
		r->race = &race;
		r->req = (struct object_req){.store = p->store,
					     .op = OBJECT_PUT,
					     .key = key,
					     .iov = &r->iov,
					     .niov = 1,
					     .if_absent = !if_match,
					     .if_match = if_match,
					     .done = racer_done};
	}
	loop_post(p->loop, &race.msg);
	pthread_mutex_lock(&race.lock);
	while (race.left)
		pthread_cond_wait(&race.cond, &race.lock);
	pthread_mutex_unlock(&race.lock);
	pthread_mutex_destroy(&race.lock);
	pthread_cond_destroy(&race.cond);
	for (unsigned i = 0; i < RACERS; i++) {
		struct racer *r = &race.racers[i];

		if (!r->req.status) {
			winners++;
			memcpy(ret_etag, r->req.etag, OBJECT_ETAG_MAX);
			memcpy(winner, r->body, BODY);
		} else if (!refusal(r->req.status)) {
			rc = r->req.status;
		}
	}
	return rc && winners <= 1 ? failed(p, "16 PUTs at once", rc) : winners;
}

static int
holds(struct probe *p, const char *key, const uint8_t *body, bool *ret)
{
	uint8_t got[BODY];
	struct iovec iov = {got, sizeof(got)};
	struct object_req req = {.store = p->store, .op = OBJECT_GET, .key = key, .iov = &iov, .niov = 1};
	int rc = object_call(p->loop, &req);

	*ret = !rc && !memcmp(got, body, BODY);
	return rc ? failed(p, "GET of what won", rc) : 0;
}

static int
race_round(struct probe *p)
{
	char key[KEY_ROOM], etag[OBJECT_ETAG_MAX] = "";
	const char *keys[] = {key};
	uint8_t winner[BODY];
	bool same = false;
	int rc = 0;

	scratch_key(key);
	for (unsigned step = 0; rc >= 0 && step < 2; step++) {
		char old[OBJECT_ETAG_MAX];

		memcpy(old, etag, sizeof(old));
		rc = race_run(p, key, step ? old : NULL, etag, winner);
		if (rc < 0)
			break;
		p->ret->races++;
		if (rc == 1 && (rc = holds(p, key, winner, &same)) == 0 && same)
			continue;
		p->ret->bad_races++;
		break;
	}
	remove_keys(p, keys, 1);
	return rc < 0 ? rc : 0;
}

/* ---- the verdict ---- */

static void
verdict(struct object_probe *ret)
{
	const char *why = NULL;

	if (!ret->creates || !ret->refuses_existing)
		why = "a PUT \"if absent\" is not refused when the object is there";
	else if (!ret->updates)
		why = "a PUT \"if match\" is refused though it matches";
	else if (!ret->refuses_stale)
		why = "a PUT \"if match\" replaces an object that has changed";
	else if (!ret->refuses_missing)
		why = "a PUT \"if match\" makes an object that was not there";
	else if (ret->bad_races)
		why = "of several conditional PUTs at once not exactly one wins";
	ret->fence = why ? OBJECT_UNFENCED : OBJECT_FENCED;
	(void)snprintf(ret->text, sizeof(ret->text), "%s%s",
		       why ? "unfenced: " : "fenced: conditional PUTs hold", why ? why : "");
}

int
object_store_probe(struct object_store *store, struct loop *loop, unsigned races, struct object_probe *ret,
		   struct errinfo *info)
{
	struct probe p = {.store = store, .loop = loop, .ret = ret, .info = info};
	char key[KEY_ROOM], missing[KEY_ROOM];
	const char *keys[] = {key, missing};
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (info)
		info->text[0] = '\0';
	scratch_key(key);
	scratch_key(missing);
	rc = probe_create(&p, key);
	if (!rc)
		rc = probe_range(&p, key);
	if (!rc)
		rc = probe_update(&p, key, missing);
	if (!rc || ret->put_ns)
		remove_keys(&p, keys, 2);
	for (unsigned i = 0; !rc && i < races && ret->updates && !ret->bad_races; i++)
		rc = race_round(&p);
	if (rc)
		return rc;
	verdict(ret);
	atomic_store_explicit(&store->fence, ret->fence, memory_order_relaxed);
	return 0;
}
