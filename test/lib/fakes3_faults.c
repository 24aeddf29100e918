/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The faults of the fake S3 server: their names, which requests each fits, what is done then, and how they are set.
 *
 * POST /_control?NAME=PER_MILLE&... sets faults, add_key=ACCESS:SECRET and drop_key=ACCESS its keys, clock=SECONDS its
 * clock, crowd=N what it bears, tls=1 reads the certificate anew; GET /_control tells how often each fault was done and
 * each key was used; unsigned, over http.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "test/lib/fakes3_auth.h"
#include "test/lib/fakes3_impl.h"

#define SLOW_NS 20000000
#define LATE_S 1

static const char *const fault_names[FAKES3_FAULTS] = {
	[FAKES3_SLOW] = "slow",
	[FAKES3_ERROR_BEFORE] = "error-before",
	[FAKES3_ERROR_AFTER] = "error-after",
	[FAKES3_RESET_BEFORE] = "reset-before",
	[FAKES3_RESET_AFTER] = "reset-after",
	[FAKES3_BUSY] = "busy",
	[FAKES3_BUSY_RETRY_AFTER] = "busy-retry-after",
	[FAKES3_DENY] = "deny",
	[FAKES3_NOT_FOUND] = "not-found",
	[FAKES3_TRUNCATE] = "truncate",
	[FAKES3_WRONG_LENGTH] = "wrong-length",
	[FAKES3_LIE_ETAG] = "lie-etag",
	[FAKES3_ERROR_IN_OK] = "error-in-ok",
	[FAKES3_WRONG_XML] = "wrong-xml",
	[FAKES3_IGNORE_CONDITIONS] = "ignore-conditions",
	[FAKES3_QUOTA] = "quota",
	[FAKES3_UNKNOWN_KEY] = "unknown-key",
	[FAKES3_LATE] = "late",
};

const char *
fakes3_fault_name(enum fakes3_fault fault)
{
	return fault_names[fault];
}

int
fakes3_fault_by_name(const char *name)
{
	for (int i = 0; i < FAKES3_FAULTS; i++)
		if (!strcmp(fault_names[i], name))
			return i;
	return -1;
}

bool
fakes3_fault_fits(int fault, const char *method, bool on_key, bool ranged)
{
	bool put = !strcmp(method, "PUT"), get = !strcmp(method, "GET");

	switch (fault) {
	case FAKES3_NOT_FOUND:
	case FAKES3_IGNORE_CONDITIONS:
	case FAKES3_QUOTA:
	case FAKES3_LATE:
		return put && on_key;
	case FAKES3_TRUNCATE:
		return get && on_key;
	case FAKES3_WRONG_LENGTH:
		return get && on_key && ranged;
	case FAKES3_LIE_ETAG:
		return on_key && (put || get || !strcmp(method, "HEAD"));
	case FAKES3_ERROR_IN_OK:
		return strcmp(method, "HEAD") && strcmp(method, "DELETE");
	case FAKES3_WRONG_XML:
		return !on_key;
	default:
		return true;
	}
}

uint64_t
fakes3_set_crowd(struct fakes3 *fake, unsigned max)
{
	atomic_store(&fake->crowd, max);
	return atomic_exchange(&fake->turned_away, 0);
}

void
fakes3_set_clock(struct fakes3 *fake, int seconds)
{
	atomic_store(&fake->clock, seconds);
}

void
fakes3_set(struct fakes3 *fake, enum fakes3_fault fault, unsigned per_mille)
{
	pthread_mutex_lock(&fake->lock);
	fake->per_mille[fault] = per_mille;
	pthread_mutex_unlock(&fake->lock);
}

uint64_t
fakes3_count(struct fakes3 *fake, enum fakes3_fault fault)
{
	uint64_t n;

	pthread_mutex_lock(&fake->lock);
	n = fake->counts[fault];
	pthread_mutex_unlock(&fake->lock);
	return n;
}

int
fakes3_draw(struct request *r)
{
	struct fakes3 *fake = r->fake;
	unsigned at;

	fake->rng ^= fake->rng << 13;
	fake->rng ^= fake->rng >> 7;
	fake->rng ^= fake->rng << 17;
	at = (unsigned)((fake->rng >> 11) % 1000);
	for (int i = 0; i < FAKES3_FAULTS; i++) {
		if (at < fake->per_mille[i] &&
		    fakes3_fault_fits(i, r->method, r->key != NULL, fakes3_header(r, "Range") != NULL)) {
			fake->counts[i]++;
			return i;
		}
		if (at < fake->per_mille[i])
			return -1;
		at -= fake->per_mille[i];
	}
	return -1;
}

static void
control(struct request *r, FILE *out)
{
	struct fakes3 *fake = r->fake;

	for (unsigned i = 0; i < r->nparams; i++) {
		int fault = fakes3_fault_by_name(r->param[i].name);

		if (fault >= 0)
			fakes3_set(fake, (enum fakes3_fault)fault,
				   (unsigned)strtoul(r->param[i].value, NULL, 10));
		else if (!strcmp(r->param[i].name, "crowd"))
			(void)fakes3_set_crowd(fake, (unsigned)strtoul(r->param[i].value, NULL, 10));
		else if (!strcmp(r->param[i].name, "add_key"))
			fakes3_keys_add(&fake->keys, r->param[i].value);
		else if (!strcmp(r->param[i].name, "drop_key"))
			fakes3_keys_drop(&fake->keys, r->param[i].value);
		else if (!strcmp(r->param[i].name, "clock"))
			fakes3_set_clock(fake, (int)strtol(r->param[i].value, NULL, 10));
		else if (!strcmp(r->param[i].name, "tls") && fakes3_reload_tls(fake))
			fprintf(out, "the certificate cannot be used\n");
	}
	for (int i = 0; i < FAKES3_FAULTS; i++)
		fprintf(out, "%s=%llu\n", fakes3_fault_name((enum fakes3_fault)i),
			(unsigned long long)fakes3_count(fake, (enum fakes3_fault)i));
	fakes3_keys_print(&fake->keys, out);
}

enum MHD_Result
fakes3_answer_control(struct request *r)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	enum MHD_Result rc;

	control(r, out);
	(void)fclose(out);
	rc = fakes3_send_text(r, 200, text, NULL);
	free(text);
	return rc;
}

/* The connection breaks at once, the effect comes when nobody waits for it any more. */
static enum MHD_Result
do_late(struct request *r)
{
	static const struct timespec late = {LATE_S, 0};
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (info)
		(void)shutdown(info->connect_fd, SHUT_RDWR);
	(void)nanosleep(&late, NULL);
	(void)fakes3_operate(r);
	return MHD_NO;
}

static enum MHD_Result
answer_misbehaving(struct request *r)
{
	static const struct timespec slow = {0, SLOW_NS};

	switch (r->fault) {
	case FAKES3_SLOW:
		(void)nanosleep(&slow, NULL);
		return fakes3_operate(r);
	case FAKES3_ERROR_BEFORE:
		return fakes3_send_error(r, 500, "InternalError");
	case FAKES3_RESET_BEFORE:
		return fakes3_reset(r);
	case FAKES3_BUSY:
	case FAKES3_BUSY_RETRY_AFTER:
		return fakes3_send_error(r, 503, "SlowDown");
	case FAKES3_DENY:
		return fakes3_send_error(r, 403, "AccessDenied");
	case FAKES3_NOT_FOUND:
		return fakes3_send_error(r, 404, "NoSuchKey");
	case FAKES3_ERROR_IN_OK:
		return fakes3_send_error(r, 200, "InternalError");
	case FAKES3_QUOTA:
		return fakes3_send_error(r, 403, "QuotaExceeded");
	case FAKES3_UNKNOWN_KEY:
		return fakes3_send_error(r, 403, "InvalidAccessKeyId");
	case FAKES3_LATE:
		return do_late(r);
	default:
		return fakes3_operate(r);
	}
}

enum MHD_Result
fakes3_answer(struct request *r)
{
	struct fakes3 *fake = r->fake;
	unsigned busy = atomic_fetch_add(&fake->busy, 1) + 1, crowd = atomic_load(&fake->crowd);
	enum MHD_Result rc;

	if (crowd && busy > crowd) {
		atomic_fetch_add(&fake->turned_away, 1);
		rc = fakes3_send_error(r, 503, "SlowDown");
	} else {
		rc = answer_misbehaving(r);
	}
	atomic_fetch_sub(&fake->busy, 1);
	return rc;
}
