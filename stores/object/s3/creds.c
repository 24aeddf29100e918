/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keys of a store.
 *
 *   none -> refresh -> fresh -> (5 minutes before it expires, blamed, or reload of all) due -> refresh ->
 * fresh due -> (expired) none
 *
 * Invariant: `key` is replaced as a whole, under the lock; who holds a reference may go on with the old one.
 * Failure: a refresh that fails leaves what there is; it is due again, at most once a second, or while the
 * old key is good, once in 30 s.
 */
#include "stores/object/s3/creds.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util.h"
#include "stores/object/s3/creds_int.h"
#include "stores/object/s3/ini.h"

#define REFRESH_AHEAD_S 300
#define PAUSE_NEEDED_NS 1000000000ull
#define PAUSE_SAME_MAX_NS 32000000000ull /* of a refused key that came back the same each time */
#define PAUSE_AHEAD_NS 30000000000ull
#define FILE_BYTES_MAX 65536u

struct s3_creds {
	pthread_mutex_t lock;
	char *file, *profile; /* NULL = not said */
	struct s3_outside outside;
	struct s3_key *key;
	uint64_t number;
	uint64_t blamed;  /* number of the key that was refused; 0 = none */
	unsigned reloads; /* of all, as of the last refresh */
	uint64_t tried_ns;
	uint64_t pause_ns; /* until a refused key is asked for again */
};

static _Atomic unsigned reloads_asked;

void
s3_creds_reload_all(void)
{
	atomic_fetch_add(&reloads_asked, 1);
}

/* ---- the outside ---- */

const char *
s3_outside_env(const struct s3_outside *outside, const char *name)
{
	const char *value = outside && outside->env ? outside->env(outside->arg, name) : secure_getenv(name);

	return value && value[0] ? value : NULL;
}

time_t
s3_outside_now(const struct s3_outside *outside)
{
	return outside && outside->now ? outside->now(outside->arg) : time(NULL);
}

/* ---- keys ---- */

struct s3_key *
s3_key_new(const char *source)
{
	struct s3_key *key =
		mmap(NULL, sizeof(*key), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (key == MAP_FAILED)
		return NULL;
	(void)madvise(key, sizeof(*key), MADV_DONTDUMP);
	(void)madvise(key, sizeof(*key), MADV_WIPEONFORK);
	atomic_init(&key->refs, 1);
	(void)snprintf(key->source, sizeof(key->source), "%s", source);
	return key;
}

void
s3_key_unref(struct s3_key *key)
{
	if (!key || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) != 1)
		return;
	explicit_bzero(key, sizeof(*key));
	(void)munmap(key, sizeof(*key));
}

/* What goes into a header or a canonical request: printable, and no spaces. */
bool
s3_key_valid(const struct s3_key *key)
{
	const char *const texts[] = {key->access, key->secret, key->token};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (const char *p = texts[i]; *p; p++)
			if (*p <= ' ' || *p >= 0x7f)
				return false;
	return key->access[0] && key->secret[0];
}

bool
s3_key_set(char *out, size_t room, const char *value)
{
	size_t n = strnlen(value, room);

	if (n == room)
		return false;
	memcpy(out, value, n + 1);
	return true;
}

/* ---- files ---- */

static int
slurp(const char *path, bool private, char **ret, struct errinfo *info)
{
	struct stat st;
	char *text;
	ssize_t n;
	/* a FIFO must not hold us up before it is refused */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return err_set(info, -errno, "%s: %s", path, err_text(-errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_BYTES_MAX) {
		close(fd);
		return err_set(info, LG_ECONFIG, "%s: not a small regular file", path);
	}
	if (private && (st.st_mode & 077)) {
		close(fd);
		return err_set(info, LG_ECONFIG, "%s: others may read it; run \"chmod 600 %s\"", path, path);
	}
	text = calloc(1, FILE_BYTES_MAX + 1);
	n = text ? read(fd, text, FILE_BYTES_MAX) : -1;
	close(fd);
	if (n < 0) {
		free(text);
		return err_set(info, -EIO, "%s: cannot be read", path);
	}
	*ret = text;
	return 0;
}

void
s3_text_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

int
s3_file_text(const char *path, char **ret, struct errinfo *info)
{
	return slurp(path, false, ret, info);
}

int
s3_key_from_ini(const char *text, const char *section, struct s3_key *key, struct errinfo *info)
{
	bool access = s3_ini_get(text, section, "aws_access_key_id", key->access, sizeof(key->access));
	bool secret = s3_ini_get(text, section, "aws_secret_access_key", key->secret, sizeof(key->secret));

	(void)s3_ini_get(text, section, "aws_session_token", key->token, sizeof(key->token));
	if (!access && !secret)
		return 0;
	if (!access || !secret || !s3_key_valid(key))
		return err_set(info, LG_ECONFIG,
			       "section [%s] holds half a pair of keys, or keys of a wrong form", section);
	return 1;
}

bool
s3_key_from_line(const char *text, struct s3_key *key)
{
	size_t n = strcspn(text, "\r\n"), a = strcspn(text, ":");

	if (a >= n || a >= sizeof(key->access) || n - a - 1 >= sizeof(key->secret) || text[0] == '[')
		return false;
	memcpy(key->access, text, a);
	memcpy(key->secret, text + a + 1, n - a - 1);
	return s3_key_valid(key);
}

static int
from_file(struct s3_creds *creds, struct s3_key **ret, struct errinfo *info)
{
	const char *profile = creds->profile ? creds->profile : "default";
	struct s3_key *key = s3_key_new("credentials file");
	char *text = NULL;
	int rc = key ? slurp(creds->file, true, &text, info) : -ENOMEM;

	if (!rc) {
		rc = s3_key_from_ini(text, profile, key, info);
		if (!rc && !creds->profile && s3_key_from_line(text, key))
			rc = 1;
		if (!rc)
			rc = err_set(info, LG_ECONFIG, "no keys in section [%s]", profile);
		if (rc < 0)
			err_prefix(info, "%s: ", creds->file);
	}
	s3_text_free(text);
	if (rc != 1) {
		s3_key_unref(key);
		return rc;
	}
	*ret = key;
	return 1;
}

/* ~/NAME or what the variable says */
static bool
shared_path(const struct s3_outside *outside, const char *variable, const char *name, char *out, size_t room)
{
	const char *path = s3_outside_env(outside, variable), *home;
	int n;

	if (path) {
		n = snprintf(out, room, "%s", path);
	} else {
		home = s3_outside_env(outside, "HOME");
		if (!home)
			return false;
		n = snprintf(out, room, "%s/.aws/%s", home, name);
	}
	return n > 0 && (size_t)n < room;
}

static const struct {
	const char *variable, *name;
} shared_files[] = {{"AWS_SHARED_CREDENTIALS_FILE", "credentials"}, {"AWS_CONFIG_FILE", "config"}};

static const char *
profile_of(const struct s3_outside *outside, const char *profile)
{
	if (!profile || !profile[0])
		profile = s3_outside_env(outside, "AWS_PROFILE");
	return profile ? profile : "default";
}

static int
from_shared(struct s3_creds *creds, struct s3_key **ret, struct errinfo *info)
{
	const char *profile = profile_of(&creds->outside, creds->profile);
	char path[4096], source[96];
	struct s3_key *key;
	int rc = 0;

	(void)snprintf(source, sizeof(source), "profile %s", profile);
	key = s3_key_new(source);
	if (!key)
		return -ENOMEM;
	for (size_t i = 0; !rc && i < ARRAY_SIZE(shared_files); i++) {
		char *text = NULL;

		if (!shared_path(&creds->outside, shared_files[i].variable, shared_files[i].name, path,
				 sizeof(path)) ||
		    slurp(path, false, &text, NULL))
			continue;
		rc = s3_key_from_ini(text, profile, key, info);
		if (rc < 0)
			err_prefix(info, "%s: ", path);
		s3_text_free(text);
	}
	if (rc == 1)
		*ret = key;
	else
		s3_key_unref(key);
	if (!rc && creds->profile)
		rc = err_set(info, LG_ECONFIG,
			     "no keys for profile \"%s\" in ~/.aws/credentials or ~/.aws/config", profile);
	return rc;
}

static int
from_environment(struct s3_creds *creds, struct s3_key **ret, struct errinfo *info)
{
	const char *access = s3_outside_env(&creds->outside, "AWS_ACCESS_KEY_ID");
	const char *secret = s3_outside_env(&creds->outside, "AWS_SECRET_ACCESS_KEY");
	const char *token = s3_outside_env(&creds->outside, "AWS_SESSION_TOKEN");
	struct s3_key *key;

	if (!access || !secret)
		return 0;
	key = s3_key_new("environment");
	if (!key)
		return -ENOMEM;
	if (!s3_key_set(key->access, sizeof(key->access), access) ||
	    !s3_key_set(key->secret, sizeof(key->secret), secret) ||
	    (token && !s3_key_set(key->token, sizeof(key->token), token)) || !s3_key_valid(key)) {
		s3_key_unref(key);
		return err_set(info, LG_ECONFIG,
			       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are of a wrong form");
	}
	*ret = key;
	return 1;
}

/* ---- refreshing ---- */

static int
from_web_identity(struct s3_creds *creds, struct s3_key **ret, struct errinfo *info)
{
	return s3_remote_web_identity(&creds->outside, ret, info);
}

static int
from_container(struct s3_creds *creds, struct s3_key **ret, struct errinfo *info)
{
	return s3_remote_container(&creds->outside, ret, info);
}

static int
from_instance(struct s3_creds *creds, struct s3_key **ret, struct errinfo *info)
{
	return s3_remote_instance(&creds->outside, ret, info);
}

typedef int source_fn(struct s3_creds *creds, struct s3_key **ret, struct errinfo *info);

static int
fetch(struct s3_creds *creds, struct s3_key **ret, struct errinfo *info)
{
	static source_fn *const chain[] = {from_environment, from_web_identity, from_shared, from_container,
					   from_instance};
	int rc;

	if (creds->file)
		return from_file(creds, ret, info);
	if (creds->profile)
		return from_shared(creds, ret, info);
	for (size_t i = 0; i < ARRAY_SIZE(chain); i++) {
		rc = chain[i](creds, ret, info);
		if (rc)
			return rc;
	}
	return err_set(
		info, -EACCES,
		"no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give profile=NAME or "
		"credentials=FILE in the URL");
}

static bool
same_key(const struct s3_key *a, const struct s3_key *b)
{
	return a && b && !strcmp(a->access, b->access) && !strcmp(a->secret, b->secret) &&
	       !strcmp(a->token, b->token);
}

int
s3_creds_refresh(struct s3_creds *creds, struct errinfo *info)
{
	unsigned reloads = atomic_load(&reloads_asked);
	struct s3_key *key = NULL, *old;
	int rc = fetch(creds, &key, info);

	pthread_mutex_lock(&creds->lock);
	creds->tried_ns = clock_ns();
	if (rc != 1) {
		pthread_mutex_unlock(&creds->lock);
		return rc < 0 ? rc : -EACCES;
	}
	creds->reloads = reloads;
	old = creds->key;
	if (same_key(old, key)) {
		/* a blamed key that came back the same stays blamed, and is asked for ever less often: what is
		 * refused may be one request alone, for good */
		key->number = old->number;
		creds->pause_ns = min_of(creds->pause_ns * 2, PAUSE_SAME_MAX_NS);
	} else {
		key->number = ++creds->number;
		creds->blamed = 0;
		creds->pause_ns = PAUSE_NEEDED_NS;
	}
	creds->key = key;
	pthread_mutex_unlock(&creds->lock);
	s3_key_unref(old);
	return 0;
}

struct s3_key *
s3_creds_key(struct s3_creds *creds, bool *ret_due)
{
	time_t now = s3_outside_now(&creds->outside);
	struct s3_key *key;
	bool blamed, asked, ahead;

	pthread_mutex_lock(&creds->lock);
	key = creds->key;
	blamed = key && creds->blamed == key->number;
	asked = creds->reloads != atomic_load(&reloads_asked);
	ahead = key && key->expires && now >= key->expires - REFRESH_AHEAD_S;
	if (key && key->expires && now >= key->expires)
		key = NULL;
	if (key) {
		uint64_t since = clock_ns() - creds->tried_ns;

		atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
		blamed = blamed && since >= creds->pause_ns;
		asked = asked && since >= PAUSE_NEEDED_NS;
		ahead = ahead && since >= PAUSE_AHEAD_NS;
	}
	pthread_mutex_unlock(&creds->lock);
	*ret_due = !key || blamed || asked || ahead;
	return key;
}

bool
s3_creds_blame(struct s3_creds *creds, uint64_t number)
{
	bool again;

	pthread_mutex_lock(&creds->lock);
	again = !creds->key || creds->key->number != number || creds->blamed != number;
	if (creds->key && creds->key->number == number)
		creds->blamed = number;
	pthread_mutex_unlock(&creds->lock);
	return again;
}

int
s3_creds_new(const char *file, const char *profile, const struct s3_outside *outside, struct s3_creds **ret)
{
	struct s3_creds *creds = calloc(1, sizeof(*creds));

	if (!creds)
		return -ENOMEM;
	pthread_mutex_init(&creds->lock, NULL);
	creds->pause_ns = PAUSE_NEEDED_NS;
	if (outside)
		creds->outside = *outside;
	if (file && file[0])
		creds->file = strdup(file);
	if (profile && profile[0])
		creds->profile = strdup(profile);
	/* without its name another source would be asked */
	if ((file && file[0] && !creds->file) || (profile && profile[0] && !creds->profile)) {
		s3_creds_free(creds);
		return -ENOMEM;
	}
	*ret = creds;
	return 0;
}

void
s3_creds_free(struct s3_creds *creds)
{
	if (!creds)
		return;
	s3_key_unref(creds->key);
	pthread_mutex_destroy(&creds->lock);
	free(creds->file);
	free(creds->profile);
	free(creds);
}

void
s3_creds_region(const char *profile, const struct s3_outside *outside, char *out, size_t room)
{
	const char *region = s3_outside_env(outside, "AWS_REGION");
	char path[4096];

	out[0] = '\0';
	if (!region)
		region = s3_outside_env(outside, "AWS_DEFAULT_REGION");
	if (region && s3_key_set(out, room, region))
		return;
	for (size_t i = ARRAY_SIZE(shared_files); i-- > 0;) {
		char *text = NULL;
		bool found;

		if (!shared_path(outside, shared_files[i].variable, shared_files[i].name, path,
				 sizeof(path)) ||
		    slurp(path, false, &text, NULL))
			continue;
		found = s3_ini_get(text, profile_of(outside, profile), "region", out, room);
		s3_text_free(text);
		if (found)
			return;
	}
}
