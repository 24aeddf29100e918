/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where keys come from, in which order, and when they are asked for again.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util.h"
#include "stores/object/s3/creds.h"
#include "stores/object/s3/ini.h"
#include "test/lib/canned.h"

static char folder[64];
static char env[24][2][256];
static unsigned nenv;
static time_t now;
static struct errinfo info;
static struct s3_creds *creds;

static const char *
get_env(void *arg, const char *name)
{
	(void)arg;
	for (unsigned i = 0; i < nenv; i++)
		if (!strcmp(env[i][0], name))
			return env[i][1];
	return NULL;
}

static time_t
get_now(void *arg)
{
	(void)arg;
	return now;
}

static const struct s3_outside outside = {.env = get_env, .now = get_now};

static void
set(const char *name, const char *value)
{
	unsigned i = 0;

	while (i < nenv && strcmp(env[i][0], name) != 0)
		i++;
	ck_assert_uint_lt(i, ARRAY_SIZE(env));
	nenv = max_of(nenv, i + 1);
	(void)snprintf(env[i][0], sizeof(env[0][0]), "%s", name);
	(void)snprintf(env[i][1], sizeof(env[0][0]), "%s", value);
}

static char *
file(const char *name, const char *text, mode_t mode)
{
	static char path[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	(void)unlink(path);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
	return path;
}

static void
setup(void)
{
	nenv = 0;
	now = 1800000000;
	(void)snprintf(folder, sizeof(folder), "/tmp/check_creds-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	set("HOME", folder);
	set("AWS_EC2_METADATA_DISABLED", "true");
}

static void
teardown(void)
{
	static const char *const names[] = {"credentials", "config", ".aws/credentials",
					    ".aws/config", ".aws",   "token"};
	char path[256];

	s3_creds_free(creds);
	creds = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		(void)remove(path);
	}
	ck_assert_int_eq(rmdir(folder), 0);
}

static int
refresh(const char *credentials, const char *profile)
{
	s3_creds_free(creds);
	ck_assert_int_eq(s3_creds_new(credentials, profile, &outside, &creds), 0);
	memset(&info, 0, sizeof(info));
	return s3_creds_refresh(creds, &info);
}

static void
expect(const char *access, const char *secret, const char *token)
{
	bool due;
	struct s3_key *key = s3_creds_key(creds, &due);

	ck_assert_ptr_nonnull(key);
	ck_assert_str_eq(key->access, access);
	ck_assert_str_eq(key->secret, secret);
	ck_assert_str_eq(key->token, token);
	ck_assert(!due);
	s3_key_unref(key);
}

START_TEST(test_ini)
{
	static const char text[] = "# comment\n"
				   "key = outside\n"
				   "[default]\r\n"
				   "key = one\r\n"
				   "  nested = no\n"
				   "other=a=b\n"
				   "; key = comment\n"
				   "[ profile  dev ]\n"
				   "key=two\n"
				   "[dev2]\n"
				   "key =   three words  \n"
				   "key2 =\n"
				   "[default]\n"
				   "key = again\n"
				   "last = no newline";
	char out[16];

	ck_assert(s3_ini_get(text, "default", "key", out, sizeof(out)));
	ck_assert_str_eq(out, "again");
	ck_assert(s3_ini_get(text, "default", "other", out, sizeof(out)));
	ck_assert_str_eq(out, "a=b");
	ck_assert(s3_ini_get(text, "default", "last", out, sizeof(out)));
	ck_assert_str_eq(out, "no newline");
	ck_assert(s3_ini_get(text, "dev", "key", out, sizeof(out)));
	ck_assert_str_eq(out, "two");
	ck_assert(s3_ini_get(text, "dev2", "key", out, sizeof(out)));
	ck_assert_str_eq(out, "three words");
	ck_assert(s3_ini_get(text, "dev2", "key2", out, sizeof(out)));
	ck_assert_str_eq(out, "");
	ck_assert(!s3_ini_get(text, "default", "nested", out, sizeof(out)));
	ck_assert(!s3_ini_get(text, "nobody", "key", out, sizeof(out)));
	ck_assert(!s3_ini_get(text, "dev2", "key", out, 5));
	ck_assert(!s3_ini_get("", "default", "key", out, sizeof(out)));
	ck_assert(!s3_ini_get("[", "default", "key", out, sizeof(out)));
}
END_TEST

#define SHARED                                                                                               \
	"[default]\naws_access_key_id = FILEKEY\naws_secret_access_key = filesecret\n"                       \
	"[prod]\naws_access_key_id=PRODKEY\naws_secret_access_key=prodsecret\naws_session_token=prodtoken\n" \
	"[half]\naws_access_key_id=X\n"

START_TEST(test_order)
{
	char path[128];

	/* none at all */
	ck_assert_int_eq(refresh(NULL, NULL), -EACCES);
	ck_assert_ptr_nonnull(strstr(info.text, "AWS_ACCESS_KEY_ID"));
	/* the shared file */
	(void)snprintf(path, sizeof(path), "%s/.aws", folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	(void)file(".aws/credentials", SHARED, 0644);
	ck_assert_int_eq(refresh(NULL, NULL), 0);
	expect("FILEKEY", "filesecret", "");
	/* its profiles: of the environment, of the URL */
	set("AWS_PROFILE", "prod");
	ck_assert_int_eq(refresh(NULL, NULL), 0);
	expect("PRODKEY", "prodsecret", "prodtoken");
	ck_assert_int_eq(refresh(NULL, "default"), 0);
	expect("FILEKEY", "filesecret", "");
	ck_assert_int_eq(refresh(NULL, "half"), LG_ECONFIG);
	ck_assert_int_eq(refresh(NULL, "nobody"), LG_ECONFIG);
	ck_assert_ptr_nonnull(strstr(info.text, "nobody"));
	/* config, for what credentials does not have */
	(void)file(".aws/config",
		   "[profile other]\naws_access_key_id=O\naws_secret_access_key=S\nregion=eu-west-1\n", 0644);
	ck_assert_int_eq(refresh(NULL, "other"), 0);
	expect("O", "S", "");
	/* the environment before them, but not before a named profile */
	set("AWS_ACCESS_KEY_ID", "ENVKEY");
	set("AWS_SECRET_ACCESS_KEY", "envsecret");
	ck_assert_int_eq(refresh(NULL, NULL), 0);
	expect("ENVKEY", "envsecret", "");
	set("AWS_SESSION_TOKEN", "envtoken");
	ck_assert_int_eq(refresh(NULL, NULL), 0);
	expect("ENVKEY", "envsecret", "envtoken");
	ck_assert_int_eq(refresh(NULL, "prod"), 0);
	expect("PRODKEY", "prodsecret", "prodtoken");
	/* what would break a header is refused, and not shown */
	set("AWS_SECRET_ACCESS_KEY", "env\r\nsecret");
	ck_assert_int_eq(refresh(NULL, NULL), LG_ECONFIG);
	ck_assert_ptr_null(strstr(info.text, "secret\r"));
}
END_TEST

START_TEST(test_file)
{
	char *path = file("credentials", SHARED, 0600);

	set("AWS_ACCESS_KEY_ID", "ENVKEY");
	set("AWS_SECRET_ACCESS_KEY", "envsecret");
	ck_assert_int_eq(refresh(path, NULL), 0);
	expect("FILEKEY", "filesecret", "");
	ck_assert_int_eq(refresh(path, "prod"), 0);
	expect("PRODKEY", "prodsecret", "prodtoken");
	ck_assert_int_eq(refresh(path, "nobody"), LG_ECONFIG);
	/* others may not read it */
	path = file("credentials", SHARED, 0640);
	ck_assert_int_eq(refresh(path, NULL), LG_ECONFIG);
	ck_assert_ptr_nonnull(strstr(info.text, "chmod 600"));
	/* the short form */
	path = file("credentials", "KEY:sec:ret\n", 0600);
	ck_assert_int_eq(refresh(path, NULL), 0);
	expect("KEY", "sec:ret", "");
	/* nobody writes into it */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(refresh(path, NULL), LG_ECONFIG);
	ck_assert_ptr_nonnull(strstr(info.text, "not a small regular file"));
	ck_assert_int_eq(unlink(path), 0);
	path = file("credentials", "nothing here\n", 0600);
	ck_assert_int_eq(refresh(path, NULL), LG_ECONFIG);
	ck_assert_int_eq(refresh("/nonexistent/file", NULL), -ENOENT);
	ck_assert_int_eq(refresh(folder, NULL), LG_ECONFIG);
}
END_TEST

START_TEST(test_blame)
{
	char *path = file("credentials", "A:1", 0600);
	struct s3_key *key, *old;
	bool due;

	ck_assert_int_eq(refresh(path, NULL), 0);
	key = s3_creds_key(creds, &due);
	ck_assert(key && !due);
	/* the first one to blame it may hope, the next one knows that it came back the same */
	ck_assert(s3_creds_blame(creds, key->number));
	ck_assert_int_eq(s3_creds_refresh(creds, &info), 0);
	ck_assert(!s3_creds_blame(creds, key->number));
	/* somebody changes the file */
	(void)file("credentials", "B:2", 0600);
	ck_assert_int_eq(s3_creds_refresh(creds, &info), 0);
	old = key;
	key = s3_creds_key(creds, &due);
	ck_assert_str_eq(key->access, "B");
	ck_assert_str_eq(old->access, "A"); /* whoever has it may go on with it */
	ck_assert_uint_ne(old->number, key->number);
	ck_assert(s3_creds_blame(creds, old->number)); /* an old one: there is a newer one already */
	ck_assert(!due);
	s3_key_unref(old);
	s3_key_unref(key);
	/* it is gone: the old one stays */
	(void)unlink(path);
	ck_assert_int_eq(s3_creds_refresh(creds, &info), -ENOENT);
	expect("B", "2", "");
}
END_TEST

START_TEST(test_region)
{
	char region[32], path[128];

	s3_creds_region(NULL, &outside, region, sizeof(region));
	ck_assert_str_eq(region, "");
	(void)snprintf(path, sizeof(path), "%s/.aws", folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	(void)file(".aws/config", "[default]\nregion=eu-west-1\n[profile p]\nregion=eu-west-2\n", 0644);
	s3_creds_region(NULL, &outside, region, sizeof(region));
	ck_assert_str_eq(region, "eu-west-1");
	s3_creds_region("p", &outside, region, sizeof(region));
	ck_assert_str_eq(region, "eu-west-2");
	set("AWS_DEFAULT_REGION", "eu-west-3");
	s3_creds_region("p", &outside, region, sizeof(region));
	ck_assert_str_eq(region, "eu-west-3");
	set("AWS_REGION", "eu-west-4");
	s3_creds_region("p", &outside, region, sizeof(region));
	ck_assert_str_eq(region, "eu-west-4");
}
END_TEST

/* ---- asked over HTTP ---- */

static unsigned asked;
static bool broken;

static void
reply(struct canned_answer *a, const char *text)
{
	a->status = 200;
	a->body = strdup(text);
	a->nbody = strlen(text);
}

static void
answer(void *arg, const struct canned_request *req, struct canned_answer *a)
{
	char value[256], text[512];
	const char *token = canned_header(req, "X-aws-ec2-metadata-token", value, sizeof(value));

	(void)arg;
	a->status = 404;
	if (broken)
		return;
	asked++;
	(void)snprintf(text, sizeof(text),
		       "{\"AccessKeyId\":\"AK%u\",\"SecretAccessKey\":\"SK\",\"Token\":\"TK\",\"Expiration\":"
		       "\"2027-01-15T09:00:00Z\"}",
		       asked);
	if (!strcmp(req->target, "/latest/api/token")) {
		ck_assert_str_eq(req->method, "PUT");
		reply(a, "IMDSTOKEN");
	} else if (!strcmp(req->target, "/latest/meta-data/iam/security-credentials/")) {
		ck_assert_str_eq(token, "IMDSTOKEN");
		reply(a, "the-role");
	} else if (!strcmp(req->target, "/latest/meta-data/iam/security-credentials/the-role")) {
		ck_assert_str_eq(token, "IMDSTOKEN");
		reply(a, text);
	} else if (!strcmp(req->target, "/container")) {
		ck_assert_str_eq(canned_header(req, "Authorization", value, sizeof(value)), "Bearer me");
		reply(a, text);
	} else if (!strcmp(req->method, "POST")) {
		ck_assert_ptr_nonnull(strstr(req->body, "WebIdentityToken=jwt.part%2B"));
		ck_assert_ptr_nonnull(strstr(req->body, "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"));
		reply(a,
		      "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
		      "<AccessKeyId>WEB</AccessKeyId><SecretAccessKey>SECRET</SecretAccessKey><SessionToken>"
		      "T</SessionToken><Expiration>2027-01-15T09:00:00Z</Expiration></Credentials>"
		      "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>");
	}
}

#define EXPIRES 1800003600 /* 2027-01-15T09:00:00Z */

START_TEST(test_remote)
{
	struct canned *server = canned_new(answer, NULL);
	char url[128];
	struct s3_key *key;
	bool due;

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", canned_port(server));
	set("AWS_EC2_METADATA_DISABLED", "false");
	set("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
	ck_assert_int_eq(refresh(NULL, NULL), 0);
	expect("AK3", "SK", "TK");
	/* an hour later: due five minutes ahead, gone when it expires */
	now = EXPIRES - 301;
	expect("AK3", "SK", "TK");
	now = EXPIRES - 299;
	key = s3_creds_key(creds, &due);
	ck_assert_ptr_nonnull(key);
	ck_assert(!due); /* it was read a moment ago */
	s3_key_unref(key);
	now = EXPIRES;
	ck_assert_ptr_null(s3_creds_key(creds, &due));
	ck_assert(due);
	broken = true;
	ck_assert_int_lt(s3_creds_refresh(creds, &info), 0);
	ck_assert_ptr_null(s3_creds_key(creds, &due));
	broken = false;
	now -= 3600;
	/* a container before the instance */
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/container", canned_port(server));
	set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
	set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file("token", "Bearer me\n", 0600));
	asked = 10;
	ck_assert_int_eq(refresh(NULL, NULL), 0);
	expect("AK11", "SK", "TK");
	/* a web identity before that */
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", canned_port(server));
	set("AWS_WEB_IDENTITY_TOKEN_FILE", file("token", "jwt.part+\n", 0600));
	set("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
	set("AWS_ENDPOINT_URL_STS", url);
	ck_assert_int_eq(refresh(NULL, NULL), 0);
	expect("WEB", "SECRET", "T");
	canned_free(server);
}
END_TEST

START_TEST(test_reload)
{
	char *path = file("credentials", "A:1", 0600);
	struct s3_key *key;
	bool due;

	ck_assert_int_eq(refresh(path, NULL), 0);
	s3_creds_reload_all();
	/* not at once when it was just read, but it is not forgotten */
	key = s3_creds_key(creds, &due);
	for (int i = 0; !due && i < 150; i++) {
		s3_key_unref(key);
		usleep(10000);
		key = s3_creds_key(creds, &due);
	}
	ck_assert(due);
	s3_key_unref(key);
	ck_assert_int_eq(s3_creds_refresh(creds, &info), 0);
	expect("A", "1", "");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("s3_creds");
	TCase *tc = tcase_create("s3_creds");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, test_ini);
	tcase_add_test(tc, test_order);
	tcase_add_test(tc, test_file);
	tcase_add_test(tc, test_blame);
	tcase_add_test(tc, test_region);
	tcase_add_test(tc, test_remote);
	tcase_add_test(tc, test_reload);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
