/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is found out when a bucket is opened: that it can be reached at all, which form of ETag its If-Match
 * wants, and whether its conditional PUTs hold.
 *
 * If-Match and quotes: the RFC's form is quoted, and some servers know no other.  RGW up to 16 compares the
 * header with the ETag without quotes, so that the quoted form is refused always.  A server may take the form
 * that it does not know for no condition at all; so a form is chosen only when it is also seen to refuse.
 *
 * Threads: any that may block.
 */
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "common/log.h"
#include "common/util.h"
#include "stores/object/s3/s3_int.h"

#define BODY 32u

static int
put(struct s3_store *s3, struct loop *loop, const char *key, const char *if_match, char etag[OBJECT_ETAG_MAX])
{
	uint8_t body[BODY];
	struct iovec iov = {body, sizeof(body)};
	struct object_req req = {.store = &s3->store,
				 .op = OBJECT_PUT,
				 .key = key,
				 .iov = &iov,
				 .niov = 1,
				 .if_match = if_match};
	int rc;

	random_bytes(body, sizeof(body));
	rc = object_call(loop, &req);
	if (!rc)
		memcpy(etag, req.etag, OBJECT_ETAG_MAX);
	return rc;
}

/* 1 = this form works, 0 = it does not, negative = it cannot be told */
static int
form_works(struct s3_store *s3, struct loop *loop, const char *key, char etag[OBJECT_ETAG_MAX])
{
	char stale[OBJECT_ETAG_MAX], spare[OBJECT_ETAG_MAX];
	int rc;

	memcpy(stale, etag, sizeof(stale));
	rc = put(s3, loop, key, stale, etag);
	if (rc == LG_EPROTO || rc == -EOPNOTSUPP || rc == LG_ECONFLICT || rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	rc = put(s3, loop, key, stale, spare);
	if (!rc) {
		memcpy(etag, spare, OBJECT_ETAG_MAX);
		return 0; /* no condition to this server */
	}
	return rc == LG_ECONFLICT ? 1 : rc;
}

static int
find_form(struct s3_store *s3, struct loop *loop)
{
	static const enum s3_match_form forms[] = {S3_MATCH_QUOTED, S3_MATCH_BARE};
	char key[OBJECT_KEY_MAX], etag[OBJECT_ETAG_MAX];
	const char *keys[] = {key};
	struct object_req remove = {.store = &s3->store, .op = OBJECT_DELETE, .keys = keys, .nkeys = 1};
	uint8_t nonce[8];
	int rc;

	random_bytes(nonce, sizeof(nonce));
	(void)snprintf(key, sizeof(key), "lungate-probe/form-%016llx", (unsigned long long)get_le64(nonce));
	rc = put(s3, loop, key, NULL, etag);
	if (rc)
		return rc;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (s3->url.match_form != S3_MATCH_PROBE && s3->url.match_form != forms[i])
			continue;
		atomic_store(&s3->match_form, forms[i]);
		rc = form_works(s3, loop, key, etag);
		if (rc)
			break;
	}
	if (!rc) /* neither: the RFC's, and the common probe will say unfenced */
		atomic_store(&s3->match_form, S3_MATCH_QUOTED);
	(void)object_call(loop, &remove);
	return rc < 0 ? rc : 0;
}

/* Keys that may read alone are enough for looking at a bucket. */
static int
read_only(struct s3_store *s3, struct loop *loop, int rc)
{
	struct object_req list = {.store = &s3->store, .op = OBJECT_LIST, .key = "", .max_keys = 1};

	if (rc != -EACCES || object_call(loop, &list))
		return rc;
	object_entries_free(list.entries, list.nentries);
	atomic_store(&s3->store.fence, OBJECT_FENCE_UNKNOWN);
	log_warn("%s: these credentials may not write", s3->store.url);
	return 0;
}

int
s3_probe(struct s3_store *s3, struct loop *loop, struct errinfo *info)
{
	struct object_probe report;
	int rc = find_form(s3, loop);
	bool lost = rc == 0;

	if (!rc)
		rc = object_store_probe(&s3->store, loop, 0, &report, info);
	if (rc) {
		int first = rc;

		rc = lost ? rc : read_only(s3, loop, rc);
		if (rc) {
			pthread_mutex_lock(&s3->last_lock);
			/* the words of the request that failed say more than those of the probe */
			if (s3->last.text[0])
				(void)err_set(info, rc, "%s", s3->last.text);
			else
				(void)err_set(info, rc, "%s", err_text(first));
			pthread_mutex_unlock(&s3->last_lock);
		}
		return rc;
	}
	if (report.fence == OBJECT_FENCED)
		log_info("%s: %s", s3->store.url, report.text);
	else
		log_warn("%s: %s: nothing but leases keeps two gateways apart", s3->store.url, report.text);
	return 0;
}
