/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accounts and lists of initiators in lungate.json: their keys, what is checked
 * of them, and the rules that the iSCSI server is given.
 *
 * Secrets come from a file or from the environment; from lungate.json itself only when nobody else can read it.
 * They live in struct secret; every other copy is wiped as soon as it is not needed.
 *
 * Threads: any (no shared state).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/util.h"
#include "gateway/config_impl.h"
#include "gateway/iscsi/chap.h"

/* RFC 7143 9.2.1: fewer than 96 bits are not to be used where there is no IPsec, and nobody tells us of one. */
#define CHAP_SECRET_MIN 12

struct raw_account {
	char *user, *secret, *secret_file, *secret_env;
};

struct raw_initiator {
	char *name, *network, *account;
	json_t *luns;
};

struct raw_discovery {
	json_t *chap, *mutual;
};

const struct json_key config_account_keys[CONFIG_ACCOUNT_KEYS] = {
	JSON_KEY(raw_account, user, STRING, .required = true, .help = "name of the account, CHAP_N"),
	JSON_KEY(raw_account, secret_file, STRING,
		 .help = "file with the secret, of mode 0600, an absolute path"),
	JSON_KEY(raw_account, secret_env, STRING, .help = "environment variable with the secret"),
	JSON_KEY(raw_account, secret, STRING,
		 .help = "the secret itself: only in a configuration file of mode 0600"),
};

const struct json_key config_initiator_keys[CONFIG_INITIATOR_KEYS] = {
	JSON_KEY(raw_initiator, name, STRING, .required = true,
		 .help = "name of the initiator; with '*' at its end all that begin so"),
	JSON_KEY(raw_initiator, network, STRING,
		 .help = "where it has to come from, as 10.0.0.0/8 or 2001:db8::1; default: from anywhere"),
	JSON_KEY(raw_initiator, account, STRING,
		 .help = "the account of \"chap\" that it has to use; default: any of them"),
	JSON_KEY(raw_initiator, luns, ARRAY, .help = "the LUNs that it sees; default: all of the target's"),
};

const struct json_key config_mask_keys[CONFIG_MASK_KEYS] = {
	JSON_KEY(config_mask, lun, UINT, .required = true, .max = SCSI_LUNS_MAX - 1,
		 .help = "number of the LUN for this initiator"),
	JSON_KEY(config_mask, volume, STRING, .required = true,
		 .help = "the volume, one of the target's luns"),
	JSON_KEY(config_mask, read_only, BOOL, .help = "refuse this initiator's writes"),
};

const struct json_key config_discovery_keys[CONFIG_DISCOVERY_KEYS] = {
	JSON_KEY(raw_discovery, chap, ARRAY,
		 .help = "accounts for discovery sessions; default: no login needed"),
	JSON_KEY(raw_discovery, mutual, OBJECT,
		 .help = "what the daemon proves itself with in discovery sessions"),
};

/* -- accounts ------------------------------------------------------------ */

static void
account_fini(struct config_account *account)
{
	free(account->user);
	free(account->secret_file);
	free(account->secret_env);
	secret_unref(account->secret);
	memset(account, 0, sizeof(*account));
}

/* May lungate.json itself hold a secret? */
static bool
file_is_private(struct config_reader *reader, const char *where)
{
	struct stat st;

	if (stat(reader->doc->name, &st) < 0 || !S_ISREG(st.st_mode)) {
		config_complain(reader, where,
				"a secret in the configuration itself needs a file of mode 0600");
		return false;
	}
	if (st.st_mode & 077) {
		config_complain(
			reader, where,
			"a secret in a file that others can read (mode %04o): chmod 600 it, or use secret_file",
			(unsigned)(st.st_mode & 07777));
		return false;
	}
	return true;
}

static struct secret *
inline_secret(struct config_reader *reader, char *text, const char *where)
{
	struct secret *secret = NULL;

	if (!file_is_private(reader, where))
		return NULL;
	secret = secret_new(text, strlen(text));
	if (!secret)
		config_complain(reader, where, "is longer than a secret may be");
	return secret;
}

static struct secret *
file_secret(struct config_reader *reader, const char *file, const char *where)
{
	struct secret *secret = NULL;
	struct errinfo info;

	if (*file != '/')
		config_complain(reader, where, "must be an absolute path");
	else if (secret_read_file(file, &secret, &info))
		config_complain(reader, where, "%s", info.text);
	return secret;
}

static struct secret *
env_secret(struct config_reader *reader, const char *name, const char *where)
{
	const char *value = getenv(name);
	struct secret *secret = NULL;

	if (!value)
		config_complain(reader, where, "there is no environment variable %s", name);
	else if (!(secret = secret_new(value, strlen(value))))
		config_complain(reader, where, "the variable is longer than a secret may be");
	return secret;
}

static struct secret *
read_secret(struct config_reader *reader, const struct raw_account *raw, const char *path)
{
	char where[CONFIG_PATH_TEXT];
	struct secret *secret;

	if (!!raw->secret + !!raw->secret_file + !!raw->secret_env != 1) {
		config_complain(reader, path, "needs one of secret_file, secret_env and secret");
		return NULL;
	}
	config_place(where, "%s.%s", path,
		     raw->secret        ? "secret"
		     : raw->secret_file ? "secret_file"
					: "secret_env");
	secret = raw->secret        ? inline_secret(reader, raw->secret, where)
		 : raw->secret_file ? file_secret(reader, raw->secret_file, where)
				    : env_secret(reader, raw->secret_env, where);
	if (secret && secret_len(secret) < CHAP_SECRET_MIN)
		config_complain(
			reader, where,
			"the secret is too short: RFC 7143 asks for %d bytes at least, and random ones",
			CHAP_SECRET_MIN);
	return secret;
}

/* The parser wipes its own copy (json_wipe_freed()). */
static void
wipe(struct raw_account *raw)
{
	if (raw->secret)
		secret_wipe(raw->secret, strlen(raw->secret));
	free(raw->secret);
	raw->secret = NULL;
}

static bool
read_account(struct config_reader *reader, json_t *object, const char *path, struct config_account *ret)
{
	struct raw_account raw = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];

	if (json_read(reader->doc, object, path, config_account_keys, CONFIG_ACCOUNT_KEYS, &raw, &info)) {
		config_note(reader, &info);
		wipe(&raw);
		config_free_strings(config_account_keys, CONFIG_ACCOUNT_KEYS, &raw);
		return false;
	}
	config_place(where, "%s.user", path);
	if (!*raw.user || strlen(raw.user) > CHAP_NAME_MAX)
		config_complain(reader, where, "must have 1 to %d bytes", CHAP_NAME_MAX);
	*ret = (struct config_account){.user = raw.user,
				       .secret_file = raw.secret_file,
				       .secret_env = raw.secret_env,
				       .secret = read_secret(reader, &raw, path)};
	wipe(&raw);
	return true;
}

static void
read_accounts(struct config_reader *reader, json_t *array, const char *path, struct config_access *access)
{
	char where[CONFIG_PATH_TEXT];
	json_t *object;
	size_t i;

	access->chap = true;
	access->accounts = calloc(json_array_size(array) + 1, sizeof(*access->accounts));
	if (!access->accounts)
		return;
	json_array_foreach(array, i, object)
	{
		struct config_account account;

		config_place(where, "%s.chap[%zu]", path, i);
		if (!read_account(reader, object, where, &account))
			continue;
		for (size_t k = 0; k < access->naccounts; k++)
			if (!strcmp(access->accounts[k].user, account.user))
				config_complain(reader, where, "an account \"%s\" is there already",
						account.user);
		access->accounts[access->naccounts++] = account;
	}
}

static void
read_mutual(struct config_reader *reader, json_t *object, const char *path, struct config_access *access)
{
	char where[CONFIG_PATH_TEXT];

	config_place(where, "%s.mutual", path);
	access->mutual = calloc(1, sizeof(*access->mutual));
	if (!access->mutual)
		return;
	if (!read_account(reader, object, where, access->mutual)) {
		free(access->mutual);
		access->mutual = NULL;
		return;
	}
	if (!access->chap)
		config_complain(reader, where,
				"is without use: initiators ask for it in CHAP, and there is no \"chap\"");
	for (size_t i = 0; i < access->naccounts; i++)
		if (access->mutual->secret && access->accounts[i].secret &&
		    secret_equal(access->mutual->secret, access->accounts[i].secret))
			config_complain(
				reader, where,
				"has the secret of the account \"%s\": each way needs one of its own (RFC 7143 9.2.1)",
				access->accounts[i].user);
}

/* -- initiators ---------------------------------------------------------- */

static void
initiator_fini(struct config_initiator *initiator)
{
	for (size_t i = 0; i < initiator->nluns; i++)
		free(initiator->luns[i].volume);
	free(initiator->luns);
	free(initiator->name);
	free(initiator->network);
	free(initiator->account);
}

static bool
is_lun_of(const struct config_target *target, const char *volume)
{
	for (size_t i = 0; i < target->nluns; i++)
		if (!strcmp(target->luns[i].volume, volume))
			return true;
	return false;
}

static void
read_mask(struct config_reader *reader, json_t *object, const char *path, const struct config_target *target,
	  struct config_initiator *initiator)
{
	struct config_mask mask = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];

	if (json_read(reader->doc, object, path, config_mask_keys, CONFIG_MASK_KEYS, &mask, &info)) {
		config_note(reader, &info);
		free(mask.volume);
		return;
	}
	config_place(where, "%s.volume", path);
	if (!is_lun_of(target, mask.volume))
		config_complain(reader, where, "\"%s\" is no LUN of this target", mask.volume);
	for (size_t i = 0; i < initiator->nluns; i++) {
		if (!strcmp(initiator->luns[i].volume, mask.volume))
			config_complain(reader, where, "\"%s\" is LUN %llu of this initiator already",
					mask.volume, (unsigned long long)initiator->luns[i].lun);
		if (initiator->luns[i].lun == mask.lun) {
			config_place(where, "%s.lun", path);
			config_complain(reader, where, "LUN %llu is there already",
					(unsigned long long)mask.lun);
		}
	}
	initiator->luns[initiator->nluns++] = mask;
}

static bool
same_text(const char *a, const char *b)
{
	return a && b ? !strcasecmp(a, b) : a == b;
}

static void
check_initiator(struct config_reader *reader, const struct config_initiator *initiator, const char *path,
		const struct config_access *access)
{
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];
	bool found = !initiator->account;

	config_place(where, "%s.name", path);
	if (iscsi_initiator_check(initiator->name, NULL, &info))
		config_complain(reader, where, "%s", info.text);
	for (size_t i = 0; i < access->ninitiators; i++)
		if (same_text(access->initiators[i].name, initiator->name) &&
		    same_text(access->initiators[i].network, initiator->network))
			config_complain(reader, where, "\"%s\" is there already", initiator->name);
	config_place(where, "%s.network", path);
	if (initiator->network && iscsi_initiator_check("*", initiator->network, &info))
		config_complain(reader, where, "%s", info.text);
	for (size_t i = 0; !found && i < access->naccounts; i++)
		found = !strcmp(access->accounts[i].user, initiator->account);
	config_place(where, "%s.account", path);
	if (!found)
		config_complain(reader, where, "there is no account \"%s\" in \"chap\"", initiator->account);
}

static void
read_initiator(struct config_reader *reader, json_t *object, const char *path,
	       const struct config_target *target, struct config_access *access)
{
	struct config_initiator initiator = {0};
	struct raw_initiator raw = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];
	json_t *lun;
	size_t i;

	if (json_read(reader->doc, object, path, config_initiator_keys, CONFIG_INITIATOR_KEYS, &raw, &info)) {
		config_note(reader, &info);
		config_free_strings(config_initiator_keys, CONFIG_INITIATOR_KEYS, &raw);
		return;
	}
	initiator.name = raw.name;
	initiator.network = raw.network;
	initiator.account = raw.account;
	initiator.masked = raw.luns != NULL;
	initiator.luns = calloc(json_array_size(raw.luns) + 1, sizeof(*initiator.luns));
	check_initiator(reader, &initiator, path, access);
	json_array_foreach(raw.luns, i, lun)
	{
		config_place(where, "%s.luns[%zu]", path, i);
		if (initiator.luns)
			read_mask(reader, lun, where, target, &initiator);
	}
	access->initiators[access->ninitiators++] = initiator;
}

/* -- both ---------------------------------------------------------------- */

void
config_read_access(struct config_reader *reader, json_t *chap, json_t *mutual, json_t *initiators,
		   const char *path, const struct config_target *target, struct config_access *ret)
{
	char where[CONFIG_PATH_TEXT];
	json_t *object;
	size_t i;

	memset(ret, 0, sizeof(*ret));
	if (chap)
		read_accounts(reader, chap, path, ret);
	if (mutual)
		read_mutual(reader, mutual, path, ret);
	if (!initiators)
		return;
	ret->listed = true;
	ret->initiators = calloc(json_array_size(initiators) + 1, sizeof(*ret->initiators));
	json_array_foreach(initiators, i, object)
	{
		config_place(where, "%s.initiators[%zu]", path, i);
		if (ret->initiators)
			read_initiator(reader, object, where, target, ret);
	}
}

void
config_read_discovery(struct config_reader *reader, json_t *object)
{
	struct raw_discovery raw = {0};
	struct errinfo info;

	if (json_read(reader->doc, object, "discovery", config_discovery_keys, CONFIG_DISCOVERY_KEYS, &raw,
		      &info))
		config_note(reader, &info);
	else
		config_read_access(reader, raw.chap, raw.mutual, NULL, "discovery", NULL,
				   &reader->config->discovery);
}

void
config_read_algorithms(struct config_reader *reader, json_t *array)
{
	char where[CONFIG_PATH_TEXT];
	json_t *value;
	size_t i;

	json_array_foreach(array, i, value)
	{
		const char *name = json_string_value(value);
		unsigned number = name ? chap_algorithm_by_name(name) : 0;

		config_place(where, "chap_algorithms[%zu]", i);
		if (!number)
			config_complain(reader, where, "must be md5, sha1, sha256 or sha3-256");
		reader->config->chap_algorithms |= 1u << number;
	}
	if (!json_array_size(array))
		config_complain(reader, "chap_algorithms", "must name one at least");
}

void
config_access_fini(struct config_access *access)
{
	for (size_t i = 0; i < access->naccounts; i++)
		account_fini(&access->accounts[i]);
	free(access->accounts);
	if (access->mutual)
		account_fini(access->mutual);
	free(access->mutual);
	for (size_t i = 0; i < access->ninitiators; i++)
		initiator_fini(&access->initiators[i]);
	free(access->initiators);
	memset(access, 0, sizeof(*access));
}

/* -- for the server ------------------------------------------------------ */

static void
fill_view(const struct config_initiator *initiator, const struct config_lun *luns, size_t nluns,
	  struct scsi_view *ret)
{
	scsi_view_none(ret);
	for (size_t i = 0; i < initiator->nluns; i++) {
		const struct config_mask *mask = &initiator->luns[i];

		for (size_t k = 0; k < nluns; k++)
			if (!strcmp(luns[k].volume, mask->volume))
				ret->lun[mask->lun] =
					(uint16_t)(luns[k].lun |
						   (mask->read_only ? SCSI_VIEW_READ_ONLY : 0u));
	}
}

static int
make_access(const struct config_access *conf, const struct iscsi_access_spec *base,
	    struct iscsi_initiator *initiators, struct scsi_view *views, const struct config_lun *luns,
	    size_t nluns, struct iscsi_access **ret, struct errinfo *info)
{
	struct iscsi_access_spec spec = *base;

	for (size_t i = 0; i < conf->ninitiators; i++) {
		const struct config_initiator *from = &conf->initiators[i];

		initiators[i] = (struct iscsi_initiator){
			.name = from->name, .network = from->network, .user = from->account};
		if (!from->masked)
			continue;
		fill_view(from, luns, nluns, &views[i]);
		initiators[i].view = &views[i];
	}
	spec.initiators = initiators;
	spec.ninitiators = conf->ninitiators;
	return iscsi_access_new(&spec, ret, info);
}

int
config_make_access(const struct config_access *conf, const struct config_lun *luns, size_t nluns,
		   unsigned algorithms, struct iscsi_access **ret, struct errinfo *info)
{
	struct iscsi_access_spec spec = {
		.chap = conf->chap, .listed = conf->listed, .algorithms = algorithms};
	struct iscsi_account *accounts, mutual;
	struct iscsi_initiator *initiators;
	struct scsi_view *views;
	int r = -ENOMEM;

	*ret = NULL;
	if (!conf->chap && !conf->listed)
		return 0;
	accounts = calloc(conf->naccounts + 1, sizeof(*accounts));
	initiators = calloc(conf->ninitiators + 1, sizeof(*initiators));
	views = calloc(conf->ninitiators + 1, sizeof(*views));
	if (accounts && initiators && views) {
		for (size_t i = 0; i < conf->naccounts; i++)
			accounts[i] =
				(struct iscsi_account){conf->accounts[i].user, conf->accounts[i].secret};
		spec.accounts = accounts;
		spec.naccounts = conf->naccounts;
		if (conf->mutual) {
			mutual = (struct iscsi_account){conf->mutual->user, conf->mutual->secret};
			spec.mutual = &mutual;
		}
		r = make_access(conf, &spec, initiators, views, luns, nluns, ret, info);
	}
	free(accounts);
	free(initiators);
	free(views);
	return r;
}
