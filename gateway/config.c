/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and checking lungate.json.
 *
 * Two passes: json_read() takes each object by its table of keys (types, ranges, unknown keys), then the
 * checks below look at what only makes sense together.  A broken object does not hide what is wrong with the
 * next one: complaints gather in a report.
 */
#include "gateway/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/config_impl.h"
#include "gateway/paths.h"

#define MIB (UINT64_C(1) << 20)
#define REPORT_MAX 100

static const char *const durability_names[] = {"journal", "store", NULL};
static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};

/* What the top level's reader fills: arrays and objects are read in a second step. */
struct raw_config {
	struct config *config;
	json_t *listen, *portal_groups, *redirects, *mount, *limits, *store_limits, *volumes, *targets;
	json_t *discovery, *chap_algorithms;
	char *control, *state_dir;
	uint64_t memory, threads, close_timeout;
	int log_level;
};

static const struct json_key top_keys[] = {
	JSON_KEY(raw_config, listen, ARRAY,
		 .help = "portals: addresses to accept iSCSI at, \"ADDRESS:PORT\"; port 0 = any free one"),
	JSON_KEY(raw_config, portal_groups, ARRAY,
		 .help = "further portals, in groups with tags of their own"),
	JSON_KEY(raw_config, redirects, ARRAY, .help = "portals that send logins elsewhere"),
	JSON_KEY(raw_config, control, STRING, .help = "path of the control socket"),
	JSON_KEY(raw_config, state_dir, STRING,
		 .help = "directory of the daemon's own state: identity, lock, journals"),
	JSON_KEY(raw_config, mount, OBJECT, .help = "the FUSE mount; without it there is none"),
	JSON_KEY(raw_config, memory, SIZE, .min = 32 * MIB,
		 .help = "size of the page arena: all data in flight and cached"),
	JSON_KEY(raw_config, threads, UINT, .max = LOOPS_MAX, .help = "event-loop threads; 0 = one a core"),
	JSON_KEY(raw_config, close_timeout, UINT, .min = 1, .max = 86400,
		 .help = "seconds that the last commit of a volume may take when the daemon stops"),
	JSON_KEY(raw_config, log_level, ENUM, .choices = level_names, .help = "error, warn, info or debug"),
	JSON_KEY(raw_config, limits, OBJECT, .help = "limits and times of the iSCSI target"),
	JSON_KEY(raw_config, store_limits, OBJECT, .help = "what all object stores together may take"),
	JSON_KEY(raw_config, volumes, ARRAY, .help = "the volumes"),
	JSON_KEY(raw_config, targets, ARRAY, .help = "the targets and their LUNs"),
	JSON_KEY(raw_config, discovery, OBJECT, .help = "accounts for discovery sessions"),
	JSON_KEY(raw_config, chap_algorithms, ARRAY,
		 .help = "what CHAP may use: md5, sha1, sha256, sha3-256; default: all, the strongest first"),
};

static const struct json_key mount_keys[] = {
	JSON_KEY(config_mount, path, STRING, .required = true,
		 .help = "where to mount: an empty directory; made when missing"),
	JSON_KEY(config_mount, allow_other, BOOL, .help = "let other users look as well (see fuse(8))"),
};

static const struct json_key limit_keys[] = {
	JSON_KEY(config_limits, max_connections, UINT, .min = 1, .max = 65536,
		 .help = "connections in all that have logged in; more logins are refused"),
	JSON_KEY(config_limits, max_connections_per_address, UINT, .min = 1, .max = 65536,
		 .help = "of these from one address"),
	JSON_KEY(config_limits, max_logins, UINT, .min = 1, .max = 65536,
		 .help = "connections that have not logged in yet; of more the oldest is closed"),
	JSON_KEY(config_limits, login_timeout_ms, UINT, .min = 100, .max = 3600000,
		 .help = "from accept to the full feature phase"),
	JSON_KEY(config_limits, idle_timeout_ms, UINT, .max = 86400000,
		 .help = "close connections idle for so long; 0 = never"),
	JSON_KEY(config_limits, nop_interval_ms, UINT, .max = 86400000,
		 .help = "silence after which an initiator is pinged; 0 = never"),
	JSON_KEY(config_limits, nop_timeout_ms, UINT, .min = 100, .max = 3600000,
		 .help = "a ping without answer for so long drops the connection"),
	JSON_KEY(config_limits, queue_depth, UINT, .min = 1, .max = 4096,
		 .help = "command window of a session"),
	JSON_KEY(config_limits, max_recv_segment, SIZE, .min = 512, .max = (1 << 24) - 1,
		 .help = "MaxRecvDataSegmentLength that is declared"),
	JSON_KEY(config_limits, max_burst, SIZE, .min = 512, .max = (1 << 24) - 1,
		 .help = "MaxBurstLength that is offered at most"),
	JSON_KEY(config_limits, first_burst, SIZE, .min = 512, .max = (1 << 24) - 1,
		 .help = "FirstBurstLength that is offered at most"),
	JSON_KEY(config_limits, max_outstanding_r2t, UINT, .min = 1, .max = 65535,
		 .help = "MaxOutstandingR2T that is offered at most"),
	JSON_KEY(config_limits, error_recovery_level, UINT, .max = 2,
		 .help = "ErrorRecoveryLevel that is offered at most: 0 to 2"),
	JSON_KEY(config_limits, task_retain_s, UINT, .max = 3600,
		 .help = "tasks of a lost connection are kept so long, at recovery level 2"),
	JSON_KEY(config_limits, session_connections, UINT, .min = 1, .max = 64,
		 .help = "connections of one session: MaxConnections that is offered at most"),
};

static const struct json_key store_limit_keys[] = {
	JSON_KEY(config_store_limits, in_flight, UINT, .min = 1, .max = 4096,
		 .help = "requests to object stores under way at once, of all volumes"),
	JSON_KEY(config_store_limits, up, SIZE, .help = "bytes a second sent to object stores; 0 = no cap"),
	JSON_KEY(config_store_limits, down, SIZE,
		 .help = "bytes a second read from object stores; 0 = no cap"),
};

static const struct json_key volume_keys[] = {
	JSON_KEY(config_volume, name, STRING, .required = true,
		 .help = "name: lower-case letters, digits, '.', '_', '-'"),
	JSON_KEY(
		config_volume, store, STRING, .required = true,
		.help = "where the data lives: s3://BUCKET/PREFIX?..., dir:/PATH, file:/PATH, block:/dev/X, or mem:, "
			"ram:, null: for tests"),
	JSON_KEY(config_volume, size, SIZE, .min = 512, .help = "size; a multiple of block_size"),
	JSON_KEY(config_volume, block_size, UINT, .help = "logical block: 512 or 4096"),
	JSON_KEY(config_volume, chunk_size, SIZE, .min = MIB, .max = 16 * MIB,
		 .help = "chunk: a power of two, 1M to 16M"),
	JSON_KEY(config_volume, durability, ENUM, .choices = durability_names,
		 .help = "what a flush waits for: journal (the local disk)"),
	JSON_KEY(config_volume, write_cache, BOOL,
		 .help = "answer plain writes before they are durable (WCE = 1)"),
	JSON_KEY(config_volume, read_only, BOOL, .help = "refuse writes"),
	JSON_KEY(config_volume, journal_dir, STRING,
		 .help = "directory of the journal, on fast and stable disk"),
	JSON_KEY(config_volume, journal_size, SIZE, .min = VOLUME_JOURNAL_MIN,
		 .help = "disk space of the journal"),
	JSON_KEY(config_volume, commit_window, SIZE,
		 .help = "changed bytes that start a map commit; 0 = a quarter of the journal"),
	JSON_KEY(config_volume, commit_interval, UINT, .max = 7 * 86400,
		 .help = "seconds after which a map commit starts anyway"),
	JSON_KEY(config_volume, uuid, STRING,
		 .help = "identity of file, block, ram and null volumes; made at creation, leave it"),
};

const struct config_table config_tables[] = {
	{"", top_keys, ARRAY_SIZE(top_keys)},
	{"portal_groups[]", config_group_keys, CONFIG_GROUP_KEYS},
	{"redirects[]", config_portal_redirect_keys, CONFIG_PORTAL_REDIRECT_KEYS},
	{"mount", mount_keys, ARRAY_SIZE(mount_keys)},
	{"limits", limit_keys, ARRAY_SIZE(limit_keys)},
	{"store_limits", store_limit_keys, ARRAY_SIZE(store_limit_keys)},
	{"volumes[]", volume_keys, ARRAY_SIZE(volume_keys)},
	{"targets[]", config_target_keys, CONFIG_TARGET_KEYS},
	{"targets[].luns[]", config_lun_keys, CONFIG_LUN_KEYS},
	{"targets[].redirect", config_redirect_keys, CONFIG_REDIRECT_KEYS},
	{"targets[].alua[]", config_alua_keys, CONFIG_ALUA_KEYS},
	{"targets[].chap[]", config_account_keys, CONFIG_ACCOUNT_KEYS},
	{"targets[].mutual", config_account_keys, CONFIG_ACCOUNT_KEYS},
	{"targets[].initiators[]", config_initiator_keys, CONFIG_INITIATOR_KEYS},
	{"targets[].initiators[].luns[]", config_mask_keys, CONFIG_MASK_KEYS},
	{"discovery", config_discovery_keys, CONFIG_DISCOVERY_KEYS},
	{"discovery.chap[]", config_account_keys, CONFIG_ACCOUNT_KEYS},
	{"discovery.mutual", config_account_keys, CONFIG_ACCOUNT_KEYS},
};
const size_t config_ntables = ARRAY_SIZE(config_tables);

/* -- the report -------------------------------------------------------------------------------------------
 */

void
config_note(struct config_reader *reader, const struct errinfo *info)
{
	struct config_report *report = &reader->report;
	char **texts;

	reader->complaints++;
	if (report->n == REPORT_MAX)
		return;
	texts = realloc(report->texts, (report->n + 1) * sizeof(*texts));
	if (!texts)
		return;
	report->texts = texts;
	texts[report->n] = strdup(info->text);
	if (texts[report->n])
		report->n++;
}

void
config_complain(struct config_reader *reader, const char *path, const char *fmt, ...)
{
	struct errinfo info;
	char text[sizeof(info.text) / 2];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut words are better than none */
	va_end(ap);
	(void)json_complain(reader->doc, path, &info, "%s", text);
	config_note(reader, &info);
}

void
config_report_fini(struct config_report *report)
{
	for (size_t i = 0; i < report->n; i++)
		free(report->texts[i]);
	free(report->texts);
	memset(report, 0, sizeof(*report));
}

void
config_free_strings(const struct json_key *keys, size_t n, void *out)
{
	for (size_t i = 0; i < n; i++) {
		if (keys[i].kind == JSON_KIND_STRING) {
			char **text = (char **)((char *)out + keys[i].offset);

			free(*text);
			*text = NULL;
		}
	}
}

void
config_place(char out[CONFIG_PATH_TEXT], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(out, CONFIG_PATH_TEXT, fmt, ap);
	va_end(ap);
}

/* -- volumes ------------------------------------------------------------------------------------------------
 */

static const struct {
	const char *prefix, *kind;
	bool path;
} stores[] = {
	{"s3://", "chunked", false}, {"dir:", "chunked", true}, {"mem:", "chunked", false},
	{"file:", "raw", true},      {"block:", "raw", true},   {"/dev/", "raw", false},
	{"ram:", "ram", false},      {"null:", "null", false},
};

const char *
config_store_kind(const char *store)
{
	for (size_t i = 0; i < ARRAY_SIZE(stores); i++)
		if (!strncmp(store, stores[i].prefix, strlen(stores[i].prefix)))
			return stores[i].kind;
	return NULL;
}

/* 0 and "", or the key that is wrong and words. */
static const char *
check_store(const char *store)
{
	for (size_t i = 0; i < ARRAY_SIZE(stores); i++) {
		size_t len = strlen(stores[i].prefix);

		if (strncmp(store, stores[i].prefix, len))
			continue;
		if (stores[i].path && store[len] != '/')
			return "needs an absolute path, as in dir:/var/lib/lungate/store";
		return NULL;
	}
	if (!strncmp(store, "s3:", 3))
		return "must be s3://BUCKET[/PREFIX][?endpoint=http://HOST:PORT&...]";
	if (*store == '/')
		return "say what it is: dir:PATH for a directory store, file:PATH for an image file";
	return "must begin with s3://, dir:, file:, block:, /dev/, mem:, ram: or null:";
}

static const char *
check_volume_store(const struct config_volume *volume, const char **ret_key)
{
	const char *kind = config_store_kind(volume->store);
	bool chunked = kind && !strcmp(kind, "chunked"), raw = kind && !strcmp(kind, "raw");
	uint8_t uuid[UUID_LEN];

	*ret_key = "store";
	if (check_store(volume->store))
		return check_store(volume->store);
	*ret_key = "size";
	if (!volume->size && !chunked && !raw)
		return "is missing: ram: and null: volumes need one";
	*ret_key = "uuid";
	if (volume->uuid && chunked)
		return "belongs into the store's volume.json for this kind of store: leave it out";
	if (volume->uuid && uuid_parse(volume->uuid, uuid))
		return "is not a UUID such as 2f1c8a52-6d0e-4b3a-9a44-0d5f3a7a9b10";
	*ret_key = "journal_dir";
	if (volume->journal_dir && !chunked)
		return "this kind of store has no journal";
	if (volume->journal_dir && *volume->journal_dir != '/')
		return "must be an absolute path";
	return NULL;
}

/* A window of more than half of the journal would never be full: that much in use starts a commit. */
static const char *
check_window(const struct config_volume *volume, char *buf, size_t len)
{
	uint64_t journal = volume->journal_size ? volume->journal_size : VOLUME_JOURNAL_DEFAULT;
	char window_text[SIZE_EXACT], journal_text[SIZE_EXACT];

	if (volume->commit_window <= journal / 2)
		return NULL;
	(void)snprintf(
		buf, len,
		"%s is more than half of the journal, and never reached: journal_size is %s, and a map commit "
		"starts when half of that is in use",
		size_exact(volume->commit_window, window_text), size_exact(journal, journal_text));
	return buf;
}

/* What makes sense only together; NULL, or words (in buf, perhaps) and the key they are about. */
static const char *
check_volume(const struct config_volume *volume, const char **ret_key, char *buf, size_t len)
{
	*ret_key = "block_size";
	if (volume->block_size != 512 && volume->block_size != 4096)
		return "must be 512 or 4096";
	*ret_key = "size";
	if (volume->size % volume->block_size)
		return volume->block_size == 512 ? "must be a multiple of the block size, 512"
						 : "must be a multiple of the block size, 4096";
	*ret_key = "chunk_size";
	if (!is_pow2(volume->chunk_size))
		return "must be a power of two, 1M to 16M";
	/* a promise that the engine cannot keep yet is not to be had */
	*ret_key = "durability";
	if (volume->durability == VOL_DURABILITY_STORE)
		return "\"store\" is not in this version; \"journal\" is";
	*ret_key = "commit_window";
	if (check_window(volume, buf, len))
		return buf;
	return check_volume_store(volume, ret_key);
}

static void
volume_defaults(struct config_volume *volume)
{
	memset(volume, 0, sizeof(*volume));
	volume->block_size = 512;
	volume->chunk_size = 4 * MIB;
}

int
config_volume_parse(const struct json_doc *doc, json_t *object, const char *path, struct config_volume *ret,
		    struct errinfo *info)
{
	struct config_volume volume;
	struct errinfo name_info;
	const char *key, *words;
	char where[CONFIG_PATH_TEXT], buf[200];
	int r;

	volume_defaults(&volume);
	r = json_read(doc, object, path, volume_keys, ARRAY_SIZE(volume_keys), &volume, info);
	if (r)
		goto fail;
	if (volume_name_check(volume.name, &name_info)) {
		key = "name";
		words = name_info.text;
	} else {
		words = check_volume(&volume, &key, buf, sizeof(buf));
	}
	if (words) {
		/* a complaint about a key that is not there stands at the object */
		bool there = json_object_get(object, key) != NULL;

		config_place(where, "%s%s%s", path, there && *path ? "." : "", there ? key : "");
		r = there ? json_complain(doc, where, info, "%s", words)
			  : json_complain(doc, where, info, "%s: %s", key, words);
		goto fail;
	}
	*ret = volume;
	return 0;
fail:
	config_volume_fini(&volume);
	return r;
}

void
config_volume_fini(struct config_volume *volume)
{
	config_free_strings(volume_keys, ARRAY_SIZE(volume_keys), volume);
}

json_t *
config_size_json(uint64_t bytes)
{
	char text[SIZE_EXACT];

	return bytes && bytes % 1024 == 0 ? json_string(size_exact(bytes, text))
					  : json_integer((json_int_t)bytes);
}

json_t *
config_volume_json(const struct config_volume *volume)
{
	struct config_volume plain;
	json_t *object = json_object();

	volume_defaults(&plain);
	for (size_t i = 0; i < ARRAY_SIZE(volume_keys); i++) {
		const struct json_key *key = &volume_keys[i];
		const char *at = (const char *)volume + key->offset,
			   *def = (const char *)&plain + key->offset;
		json_t *value = NULL;

		switch (key->kind) {
		case JSON_KIND_STRING:
			if (*(char *const *)at)
				value = json_string(*(char *const *)at);
			break;
		case JSON_KIND_SIZE:
			if (*(const uint64_t *)at != *(const uint64_t *)def)
				value = config_size_json(*(const uint64_t *)at);
			break;
		case JSON_KIND_UINT:
			if (*(const uint64_t *)at != *(const uint64_t *)def)
				value = json_integer((json_int_t) * (const uint64_t *)at);
			break;
		case JSON_KIND_BOOL:
			if (*(const bool *)at != *(const bool *)def)
				value = json_boolean(*(const bool *)at);
			break;
		case JSON_KIND_ENUM:
			if (*(const int *)at != *(const int *)def)
				value = json_string(key->choices[*(const int *)at]);
			break;
		case JSON_KIND_ARRAY:
		case JSON_KIND_OBJECT:
			break;
		}
		if (value)
			json_object_set_new(object, key->key, value);
	}
	return object;
}

int
config_volume_spec(const struct config_volume *volume, const char *journal_dir,
		   const uint8_t gateway_id[GATEWAY_ID_LEN], struct volume_spec *ret)
{
	struct volume_spec spec = {
		.name = volume->name,
		.store = volume->store,
		.size = volume->size,
		.block_size = (uint32_t)volume->block_size,
		.chunk_size = (uint32_t)volume->chunk_size,
		.durability = (enum vol_durability)volume->durability,
		.write_cache = volume->write_cache,
		.read_only = volume->read_only,
		.journal_dir = volume->journal_dir ? volume->journal_dir : journal_dir,
		.journal_size = volume->journal_size,
		.commit_window = volume->commit_window,
		.commit_interval_s = (unsigned)volume->commit_interval,
	};

	memcpy(spec.gateway_id, gateway_id, GATEWAY_ID_LEN);
	if (volume->uuid && uuid_parse(volume->uuid, spec.uuid))
		return -EINVAL;
	*ret = spec;
	return 0;
}

/* -- mount, limits ----------------------------------------------------------------------------------
 */

static void
read_limits(struct config_reader *reader, json_t *object)
{
	struct config_limits *limits = &reader->config->limits;
	struct errinfo info;

	if (json_read(reader->doc, object, "limits", limit_keys, ARRAY_SIZE(limit_keys), limits, &info))
		config_note(reader, &info);
	else if (limits->first_burst > limits->max_burst) /* RFC 7143 13.14 */
		config_complain(
			reader, json_object_get(object, "first_burst") ? "limits.first_burst" : "limits",
			"first_burst (%llu) must not be larger than max_burst (%llu)",
			(unsigned long long)limits->first_burst, (unsigned long long)limits->max_burst);
}

static void
read_store_limits(struct config_reader *reader, json_t *object)
{
	struct errinfo info;

	if (json_read(reader->doc, object, "store_limits", store_limit_keys, ARRAY_SIZE(store_limit_keys),
		      &reader->config->store_limits, &info))
		config_note(reader, &info);
}

static void
limit_defaults(struct config_limits *limits)
{
	struct iscsi_limits def;

	iscsi_limits_default(&def);
	*limits = (struct config_limits){
		.max_connections = def.max_connections,
		.max_connections_per_address = def.max_connections_per_address,
		.max_logins = def.max_logins,
		.login_timeout_ms = def.login_timeout_ms,
		.idle_timeout_ms = def.idle_timeout_ms,
		.nop_interval_ms = def.nop_interval_ms,
		.nop_timeout_ms = def.nop_timeout_ms,
		.queue_depth = def.queue_depth,
		.max_recv_segment = def.max_recv_segment,
		.max_burst = def.max_burst,
		.first_burst = def.first_burst,
		.max_outstanding_r2t = def.max_outstanding_r2t,
		.error_recovery_level = def.error_recovery_level,
		.task_retain_s = def.task_retain_s,
		.session_connections = def.session_connections,
	};
}

void
config_iscsi_limits(const struct config_limits *limits, struct iscsi_limits *ret)
{
	*ret = (struct iscsi_limits){
		.max_connections = (unsigned)limits->max_connections,
		.max_connections_per_address = (unsigned)limits->max_connections_per_address,
		.max_logins = (unsigned)limits->max_logins,
		.login_timeout_ms = (unsigned)limits->login_timeout_ms,
		.idle_timeout_ms = (unsigned)limits->idle_timeout_ms,
		.nop_interval_ms = (unsigned)limits->nop_interval_ms,
		.nop_timeout_ms = (unsigned)limits->nop_timeout_ms,
		.queue_depth = (unsigned)limits->queue_depth,
		.max_recv_segment = (uint32_t)limits->max_recv_segment,
		.max_burst = (uint32_t)limits->max_burst,
		.first_burst = (uint32_t)limits->first_burst,
		.max_outstanding_r2t = (unsigned)limits->max_outstanding_r2t,
		.error_recovery_level = (unsigned)limits->error_recovery_level,
		.task_retain_s = (unsigned)limits->task_retain_s,
		.session_connections = (unsigned)limits->session_connections,
	};
}

/* -- volumes and targets as lists
 * ------------------------------------------------------------------------------ */

const struct config_volume *
config_find_volume(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->nvolumes; i++)
		if (!strcmp(config->volumes[i].name, name))
			return &config->volumes[i];
	return NULL;
}

static void
check_unique(struct config_reader *reader, const struct config_volume *volume, const char *path)
{
	const struct config *config = reader->config;
	char where[CONFIG_PATH_TEXT];

	for (size_t i = 0; i < config->nvolumes; i++) {
		const struct config_volume *other = &config->volumes[i];
		const char *kind = config_store_kind(volume->store);

		if (!strcmp(other->name, volume->name)) {
			config_place(where, "%s.name", path);
			config_complain(reader, where, "a volume \"%s\" is there already", volume->name);
		}
		if (!strcmp(kind, "raw") && !strcmp(other->store, volume->store)) {
			config_place(where, "%s.store", path);
			config_complain(reader, where, "volume \"%s\" has the same file", other->name);
		}
		if (volume->uuid && other->uuid && !strcasecmp(volume->uuid, other->uuid)) {
			config_place(where, "%s.uuid", path);
			config_complain(reader, where, "volume \"%s\" has the same uuid", other->name);
		}
	}
}

static void
read_volumes(struct config_reader *reader, json_t *array)
{
	struct config *config = reader->config;
	struct errinfo info;
	char path[CONFIG_PATH_TEXT];
	json_t *object;
	size_t i;

	config->volumes = calloc(json_array_size(array) + 1, sizeof(*config->volumes));
	if (!config->volumes)
		return;
	json_array_foreach(array, i, object)
	{
		struct config_volume volume;

		config_place(path, "volumes[%zu]", i);
		if (config_volume_parse(reader->doc, object, path, &volume, &info)) {
			config_note(reader, &info);
			continue;
		}
		check_unique(reader, &volume, path);
		config->volumes[config->nvolumes++] = volume;
	}
}

/* -- paths
 * ------------------------------------------------------------------------------------------------------- */

static bool
below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	while (len > 1 && dir[len - 1] == '/')
		len--;
	return !strncmp(path, dir, len) && (path[len] == '/' || !path[len]);
}

static void
check_absolute(struct config_reader *reader, const char *key, const char *path)
{
	if (path && *path != '/')
		config_complain(reader, key, "must be an absolute path");
}

/* The daemon must never wait for itself: nothing of its own may lie below its mount. */
int
config_mount_check(const struct config *config, struct errinfo *info)
{
	const char *mount = config->mount.path;

	if (!mount)
		return 0;
	if (*mount != '/')
		return err_set(info, LG_ECONFIG, "must be an absolute path");
	if (below(config->control, mount))
		return err_set(info, LG_ECONFIG, "the control socket %s lies below it", config->control);
	if (below(config->state_dir, mount))
		return err_set(info, LG_ECONFIG, "the state directory %s lies below it", config->state_dir);
	for (size_t i = 0; i < config->nvolumes; i++) {
		const struct config_volume *volume = &config->volumes[i];
		const char *lies = strchr(volume->store, '/');

		if ((lies && below(lies, mount)) ||
		    (volume->journal_dir && below(volume->journal_dir, mount)))
			return err_set(info, LG_ECONFIG,
				       "the store or journal of volume \"%s\" lies below it", volume->name);
	}
	return 0;
}

static void
check_mount(struct config_reader *reader)
{
	struct errinfo info;

	if (config_mount_check(reader->config, &info))
		config_complain(reader, "mount.path", "%s", info.text);
}

static int
read_top(struct config_reader *reader)
{
	struct config *config = reader->config;
	struct raw_config raw = {.memory = config->memory,
				 .close_timeout = config->close_timeout,
				 .log_level = config->log_level};
	struct errinfo info;

	if (json_read(reader->doc, reader->doc->root, "", top_keys, ARRAY_SIZE(top_keys), &raw, &info))
		config_note(reader, &info);
	config->memory = raw.memory;
	config->threads = raw.threads;
	config->close_timeout = raw.close_timeout;
	config->log_level = raw.log_level;
	check_absolute(reader, "control", raw.control);
	check_absolute(reader, "state_dir", raw.state_dir);
	config->control = raw.control ? raw.control : paths_control();
	config->state_dir = raw.state_dir ? raw.state_dir : paths_state_dir();
	if (!config->control || !config->state_dir)
		return -ENOMEM;
	config_read_portals(reader, raw.listen, raw.portal_groups, raw.redirects);
	if (raw.mount && json_read(reader->doc, raw.mount, "mount", mount_keys, ARRAY_SIZE(mount_keys),
				   &config->mount, &info))
		config_note(reader, &info);
	if (raw.limits)
		read_limits(reader, raw.limits);
	if (raw.store_limits)
		read_store_limits(reader, raw.store_limits);
	if (raw.volumes)
		read_volumes(reader, raw.volumes);
	if (raw.targets)
		config_read_targets(reader, raw.targets);
	if (raw.discovery)
		config_read_discovery(reader, raw.discovery);
	if (raw.chap_algorithms)
		config_read_algorithms(reader, raw.chap_algorithms);
	check_mount(reader);
	return 0;
}

int
config_parse(const struct json_doc *doc, struct config *ret, struct config_report *report,
	     struct errinfo *info)
{
	struct config config = {.memory = 512 * MIB,
				.close_timeout = VOLUME_CLOSE_TIMEOUT_DEFAULT,
				.log_level = LOG_LEVEL_INFO};
	struct config_reader reader = {.doc = doc, .config = &config};
	int r;

	limit_defaults(&config.limits);
	config.store_limits.in_flight = 256;
	r = read_top(&reader);
	if (!r && reader.complaints)
		r = reader.complaints == 1
			    ? err_set(info, LG_ECONFIG, "%s", reader.report.n ? reader.report.texts[0] : "")
			    : err_set(info, LG_ECONFIG, "%s (and %zu more; 'lungate config check' shows all)",
				      reader.report.n ? reader.report.texts[0] : "", reader.complaints - 1);
	if (report)
		*report = reader.report;
	else
		config_report_fini(&reader.report);
	if (r)
		config_fini(&config);
	else
		*ret = config;
	return r;
}

int
config_load(const char *path, struct config *ret, struct config_report *report, struct errinfo *info)
{
	struct json_doc doc;
	int r;

	if (report)
		memset(report, 0, sizeof(*report));
	r = json_doc_load(path, &doc, info);
	if (r)
		return r;
	r = config_parse(&doc, ret, report, info);
	json_doc_fini(&doc);
	return r;
}

void
config_fini(struct config *config)
{
	config_portals_fini(config);
	free(config->control);
	free(config->state_dir);
	free(config->mount.path);
	for (size_t i = 0; i < config->nvolumes; i++)
		config_volume_fini(&config->volumes[i]);
	free(config->volumes);
	for (size_t i = 0; i < config->ntargets; i++)
		config_target_fini(&config->targets[i]);
	free(config->targets);
	config_access_fini(&config->discovery);
	memset(config, 0, sizeof(*config));
}
