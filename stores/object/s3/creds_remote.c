/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys that are asked for over HTTP: a web identity at STS, a container's agent, an instance's metadata
 * service (version 2 alone: version 1 gives keys to whoever can make the gateway fetch a URL).
 *
 * Threads: the pool: these calls wait, a few seconds at most.
 */
#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "stores/object/s3/creds_int.h"
#include "stores/object/s3/http.h"
#include "stores/object/s3/sigv4.h"
#include "stores/object/s3/xml.h"

#define ANSWER_MAX 65536u
#define CONNECT_MS 1000L
#define TOTAL_MS 5000L
#define STS_TOTAL_MS 15000L

struct answer {
	char *text;
	size_t n;
	long status;
};

static size_t
on_bytes(char *p, size_t size, size_t count, void *arg)
{
	struct answer *a = arg;
	size_t n = size * count;

	if (!a->text)
		a->text = calloc(1, ANSWER_MAX + 1);
	if (!a->text || n > ANSWER_MAX - a->n)
		return 0;
	memcpy(a->text + a->n, p, n);
	a->n += n;
	a->text[a->n] = '\0';
	return n;
}

static void
answer_clear(struct answer *a)
{
	s3_text_free(a->text);
	memset(a, 0, sizeof(*a));
}

/* post NULL = GET */
static int
ask(const char *method, const char *url, const char *header, const char *post, long total_ms,
    struct answer *ret, struct errinfo *info)
{
	struct curl_slist *headers = NULL;
	CURL *easy;
	CURLcode rc;

	http_global_init();
	memset(ret, 0, sizeof(*ret));
	easy = curl_easy_init();
	if (!easy)
		return -ENOMEM;
	if (header)
		headers = curl_slist_append(NULL, header);
	(void)curl_easy_setopt(easy, CURLOPT_URL, url);
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	(void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, total_ms);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, ret);
	if (post)
		(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, post);
	(void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	rc = curl_easy_perform(easy);
	(void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &ret->status);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	if (rc != CURLE_OK) {
		answer_clear(ret);
		/* the URL may hold a token in its query: it is not shown */
		return err_set(info, -ETIMEDOUT, "%s", curl_easy_strerror(rc));
	}
	return 0;
}

time_t
s3_time_parse(const char *text)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t t;

	if (!end)
		return 0;
	t = timegm(&tm);
	return t > 0 ? t : 0;
}

static void
wipe(const char *text)
{
	if (text)
		explicit_bzero((char *)(uintptr_t)text, strlen(text));
}

int
s3_key_from_json(const char *text, size_t n, const char *source, struct s3_key **ret, struct errinfo *info)
{
	json_t *json = json_loadb(text, n, 0, NULL);
	const char *access = json_string_value(json_object_get(json, "AccessKeyId"));
	const char *secret = json_string_value(json_object_get(json, "SecretAccessKey"));
	const char *token = json_string_value(json_object_get(json, "Token"));
	const char *expires = json_string_value(json_object_get(json, "Expiration"));
	struct s3_key *key = s3_key_new(source);
	bool ok = key && access && secret && s3_key_set(key->access, sizeof(key->access), access) &&
		  s3_key_set(key->secret, sizeof(key->secret), secret) &&
		  (!token || s3_key_set(key->token, sizeof(key->token), token)) && s3_key_valid(key);

	if (ok && expires)
		key->expires = s3_time_parse(expires);
	wipe(secret);
	wipe(token);
	json_decref(json);
	if (!ok) {
		s3_key_unref(key);
		return err_set(info, -EACCES, "%s: no keys in the answer", source);
	}
	*ret = key;
	return 1;
}

static int
key_from_answer(const struct answer *a, const char *source, struct s3_key **ret, struct errinfo *info)
{
	if (a->status != 200 || !a->text)
		return err_set(info, -EACCES, "%s: no keys in the answer (status %ld)", source, a->status);
	return s3_key_from_json(a->text, a->n, source, ret, info);
}

/* The first line of a file that holds a token. */
static int
token_from_file(const char *path, char *out, size_t room, struct errinfo *info)
{
	char *text = NULL;
	int rc = s3_file_text(path, &text, info);
	size_t n;

	if (rc)
		return rc;
	n = strcspn(text, "\r\n");
	if (n && n < room) {
		memcpy(out, text, n);
		out[n] = '\0';
	} else {
		rc = err_set(info, LG_ECONFIG, "%s: empty, or too long for a token", path);
	}
	s3_text_free(text);
	return rc;
}

/* ---- containers ---- */

int
s3_remote_container(const struct s3_outside *outside, struct s3_key **ret, struct errinfo *info)
{
	const char *full = s3_outside_env(outside, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
	const char *relative = s3_outside_env(outside, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *token = s3_outside_env(outside, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
	const char *token_file = s3_outside_env(outside, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	char url[1024], header[4352], file_token[4096];
	struct answer a;
	int n, rc = 0;

	if (!full && !relative)
		return 0;
	n = relative ? snprintf(url, sizeof(url), "http://169.254.170.2%s", relative)
		     : snprintf(url, sizeof(url), "%s", full);
	if (n < 0 || (size_t)n >= sizeof(url))
		return err_set(info, LG_ECONFIG, "AWS_CONTAINER_CREDENTIALS_*_URI is too long");
	if (token_file) {
		rc = token_from_file(token_file, file_token, sizeof(file_token), info);
		token = file_token;
	}
	if (!rc && token) {
		n = snprintf(header, sizeof(header), "Authorization: %s", token);
		if (n < 0 || (size_t)n >= sizeof(header))
			rc = err_set(info, LG_ECONFIG, "the container's authorization token is too long");
	}
	if (!rc)
		rc = ask("GET", url, token ? header : NULL, NULL, TOTAL_MS, &a, info);
	explicit_bzero(header, sizeof(header));
	explicit_bzero(file_token, sizeof(file_token));
	if (rc) {
		err_prefix(info, "container credentials: ");
		return rc;
	}
	rc = key_from_answer(&a, "container", ret, info);
	answer_clear(&a);
	return rc;
}

/* ---- instances ---- */

#define IMDS_ROLES "/latest/meta-data/iam/security-credentials/"

/* the name of the instance's role, then its keys */
static int
instance_keys(const char *base, const char *header, struct s3_key **ret, struct errinfo *info)
{
	char url[1024];
	struct answer a;
	size_t n;
	int rc;

	(void)snprintf(url, sizeof(url), "%s" IMDS_ROLES, base);
	rc = ask("GET", url, header, NULL, TOTAL_MS, &a, info);
	if (rc)
		return rc;
	n = a.text && a.status == 200 ? strcspn(a.text, "\r\n") : 0;
	if (!n || n > 128) {
		answer_clear(&a);
		return 0; /* an instance without a role */
	}
	(void)snprintf(url, sizeof(url), "%s" IMDS_ROLES "%.*s", base, (int)n, a.text);
	answer_clear(&a);
	rc = ask("GET", url, header, NULL, TOTAL_MS, &a, info);
	if (rc)
		return rc;
	rc = key_from_answer(&a, "instance metadata", ret, info);
	answer_clear(&a);
	return rc;
}

int
s3_remote_instance(const struct s3_outside *outside, struct s3_key **ret, struct errinfo *info)
{
	const char *off = s3_outside_env(outside, "AWS_EC2_METADATA_DISABLED");
	const char *base = s3_outside_env(outside, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
	char url[512], header[512];
	struct answer a;
	int rc;

	if (off && !strcasecmp(off, "true"))
		return 0;
	if (!base)
		base = "http://169.254.169.254";
	if (strlen(base) > 256)
		return err_set(info, LG_ECONFIG, "AWS_EC2_METADATA_SERVICE_ENDPOINT is too long");
	(void)snprintf(url, sizeof(url), "%s/latest/api/token", base);
	rc = ask("PUT", url, "X-aws-ec2-metadata-token-ttl-seconds: 21600", NULL, TOTAL_MS, &a, NULL);
	if (rc)
		return 0; /* nobody there: not such an instance */
	if (a.status != 200 || !a.text || !a.n || a.n > 256 || strpbrk(a.text, "\r\n")) {
		answer_clear(&a);
		return 0;
	}
	(void)snprintf(header, sizeof(header), "X-aws-ec2-metadata-token: %s", a.text);
	answer_clear(&a);
	rc = instance_keys(base, header, ret, info);
	explicit_bzero(header, sizeof(header));
	if (rc < 0)
		err_prefix(info, "instance metadata: ");
	return rc;
}

/* ---- web identity ---- */

static int
sts_answer(const struct answer *a, struct s3_key **ret, struct errinfo *info)
{
	struct s3_sts_doc *doc = calloc(1, sizeof(*doc));
	struct s3_error_doc err;
	struct s3_key *key = s3_key_new("web identity");
	int rc = doc && key ? s3_xml_sts(a->text ? a->text : "", a->n, doc, &err) : -ENOMEM;

	if (!rc && a->status == 200 && s3_key_set(key->access, sizeof(key->access), doc->access_key) &&
	    s3_key_set(key->secret, sizeof(key->secret), doc->secret_key) &&
	    s3_key_set(key->token, sizeof(key->token), doc->token) && s3_key_valid(key)) {
		key->expires = s3_time_parse(doc->expiration);
		*ret = key;
		key = NULL;
		rc = 1;
	} else if (rc != -ENOMEM) {
		rc = err_set(info, -EACCES, "STS does not accept the web identity (status %ld %s)", a->status,
			     rc == 1 ? err.code : "");
	}
	if (doc)
		explicit_bzero(doc, sizeof(*doc));
	free(doc);
	s3_key_unref(key);
	return rc;
}

int
s3_remote_web_identity(const struct s3_outside *outside, struct s3_key **ret, struct errinfo *info)
{
	const char *file = s3_outside_env(outside, "AWS_WEB_IDENTITY_TOKEN_FILE");
	const char *role = s3_outside_env(outside, "AWS_ROLE_ARN");
	const char *session = s3_outside_env(outside, "AWS_ROLE_SESSION_NAME");
	const char *endpoint = s3_outside_env(outside, "AWS_ENDPOINT_URL_STS");
	char region[64], url[512], *token = NULL, *query = NULL;
	struct answer a;
	int rc;

	if (!file || !role)
		return 0;
	s3_creds_region(NULL, outside, region, sizeof(region));
	if (endpoint)
		(void)snprintf(url, sizeof(url), "%s/", endpoint);
	else if (region[0])
		(void)snprintf(url, sizeof(url), "https://sts.%s.amazonaws.com/", region);
	else
		(void)snprintf(url, sizeof(url), "https://sts.amazonaws.com/");
	rc = s3_file_text(file, &token, info);
	if (!rc) {
		token[strcspn(token, "\r\n")] = '\0';
		query = calloc(1, ANSWER_MAX);
		rc = query ? sigv4_query((const struct sigv4_pair[]){{"Action", "AssumeRoleWithWebIdentity"},
								     {"Version", "2011-06-15"},
								     {"RoleArn", role},
								     {"RoleSessionName",
								      session ? session : "lungate"},
								     {"WebIdentityToken", token}},
					 5, query, ANSWER_MAX)
			   : -ENOMEM;
	}
	if (!rc)
		rc = ask("POST", url, NULL, query, STS_TOTAL_MS, &a, info);
	s3_text_free(query);
	s3_text_free(token);
	if (rc) {
		err_prefix(info, "web identity: ");
		return rc;
	}
	rc = sts_answer(&a, ret, info);
	answer_clear(&a);
	return rc;
}
