/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Portals, their groups, and the ways to targets in lungate.json.
 *
 * "listen" is the default group, which is always there. A target may only name groups that are.
 *
 * Threads: any (no shared state).
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "gateway/config_impl.h"

struct raw_group {
	uint64_t tag;
	json_t *portals;
};

struct raw_redirect {
	char *portal, *to;
	uint64_t group; /* 0: whatever it is */
	bool permanent;
};

const char *const config_alua_states[] = {"optimized", "non-optimized", "standby", "unavailable",
					  "offline",   "transitioning", NULL};

const struct json_key config_group_keys[CONFIG_GROUP_KEYS] = {
	JSON_KEY(raw_group, tag, UINT, .required = true, .min = 2, .max = 65535,
		 .help = "the group's tag, 2 to 65535; 1 is \"listen\""),
	JSON_KEY(raw_group, portals, ARRAY, .help = "its portals, as in \"listen\""),
};

const struct json_key config_portal_redirect_keys[CONFIG_PORTAL_REDIRECT_KEYS] = {
	JSON_KEY(raw_redirect, portal, STRING, .required = true,
		 .help = "the portal, as it is written above"),
	JSON_KEY(raw_redirect, group, UINT, .min = 1, .max = 65535,
		 .help = "its group, where several are written alike (port 0)"),
	JSON_KEY(raw_redirect, to, STRING, .required = true,
		 .help = "where its logins are sent: ADDRESS:PORT or HOST:PORT"),
	JSON_KEY(raw_redirect, permanent, BOOL, .help = "initiators shall not come back to this address"),
};

const struct json_key config_redirect_keys[CONFIG_REDIRECT_KEYS] = {
	JSON_KEY(raw_redirect, to, STRING, .required = true,
		 .help = "where its logins are sent: ADDRESS:PORT or HOST:PORT"),
	JSON_KEY(raw_redirect, permanent, BOOL, .help = "initiators shall not come back to this address"),
};

const struct json_key config_alua_keys[CONFIG_ALUA_KEYS] = {
	JSON_KEY(config_alua, group, UINT, .required = true, .min = 1, .max = 65535,
		 .help = "tag of the portal group"),
	JSON_KEY(config_alua, state, ENUM, .required = true, .choices = config_alua_states,
		 .help = "optimized, non-optimized, standby, unavailable, offline or transitioning"),
};

/* -- portals --------------------------------------------------------------------------------------------- */

/* Numbers alone, so that what is bound is what is written. */
bool
config_address_valid(const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	struct in6_addr addr;
	char *end;
	long port;

	if (!colon || (size_t)(colon - text) >= sizeof(host) || colon[1] < '0' || colon[1] > '9')
		return false;
	port = strtol(colon + 1, &end, 10);
	if (*end || port > 65535)
		return false;
	if (*text == '[') {
		if (colon < text + 2 || colon[-1] != ']')
			return false;
		(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text - 2), text + 1);
		return inet_pton(AF_INET6, host, &addr) == 1;
	}
	(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	return inet_pton(AF_INET, host, &addr) == 1;
}

int
config_portal_append(struct config *config, const char *address, uint16_t group)
{
	struct config_portal *portals = realloc(config->portals, (config->nportals + 1) * sizeof(*portals));
	char *copy = strdup(address);

	if (portals)
		config->portals = portals;
	if (!portals || !copy) {
		free(copy);
		return -ENOMEM;
	}
	portals[config->nportals++] = (struct config_portal){.address = copy, .group = group};
	return 0;
}

void
config_portals_fini(struct config *config)
{
	for (size_t i = 0; i < config->nportals; i++)
		free(config->portals[i].address);
	free(config->portals);
	config->portals = NULL;
	config->nportals = 0;
}

static bool
has_group(const struct config *config, uint64_t tag)
{
	for (size_t i = 0; i < config->ngroups; i++)
		if (config->groups[i] == tag)
			return true;
	return false;
}

static void
read_addresses(struct config_reader *reader, json_t *array, const char *path, uint16_t group)
{
	struct config *config = reader->config;
	char where[CONFIG_PATH_TEXT];
	json_t *value;
	size_t i;

	json_array_foreach(array, i, value)
	{
		const char *text = json_string_value(value), *colon = text ? strrchr(text, ':') : NULL;

		config_place(where, "%s[%zu]", path, i);
		if (!text || !config_address_valid(text)) {
			config_complain(
				reader, where,
				"must be an address and a port in numbers, as \"127.0.0.1:3260\" or \"[::1]:3260\"");
			continue;
		}
		for (size_t k = 0; k < config->nportals; k++)
			if (!strcmp(config->portals[k].address, text) && strcmp(colon, ":0") != 0)
				config_complain(reader, where, "\"%s\" is there twice", text);
		if (config_portal_append(config, text, group))
			config_complain(reader, where, "out of memory");
	}
}

static void
read_group(struct config_reader *reader, json_t *object, const char *path)
{
	struct config *config = reader->config;
	struct raw_group raw = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];

	if (json_read(reader->doc, object, path, config_group_keys, CONFIG_GROUP_KEYS, &raw, &info)) {
		config_note(reader, &info);
		return;
	}
	config_place(where, "%s.tag", path);
	if (has_group(config, raw.tag)) {
		config_complain(reader, where, "group %llu is there already", (unsigned long long)raw.tag);
	} else if (config->ngroups == ISCSI_GROUPS_MAX) {
		config_complain(reader, where, "there are %d portal groups at most", ISCSI_GROUPS_MAX);
		return;
	} else {
		config->groups[config->ngroups++] = (uint16_t)raw.tag;
	}
	config_place(where, "%s.portals", path);
	read_addresses(reader, raw.portals, where, (uint16_t)raw.tag);
}

static void
take_redirect(struct config_reader *reader, const struct raw_redirect *raw, const char *path,
	      struct iscsi_redirect *ret)
{
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];

	config_place(where, "%s.to", path);
	if (iscsi_redirect_check(raw->to, &info)) {
		config_complain(reader, where, "%s", info.text);
		return;
	}
	ret->permanent = raw->permanent;
	(void)snprintf(ret->to, sizeof(ret->to), "%s", raw->to); /* what was checked fits */
}

static void
read_portal_redirect(struct config_reader *reader, json_t *object, const char *path)
{
	struct config *config = reader->config;
	struct raw_redirect raw = {0};
	struct iscsi_redirect redirect = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];
	bool found = false;

	if (json_read(reader->doc, object, path, config_portal_redirect_keys, CONFIG_PORTAL_REDIRECT_KEYS,
		      &raw, &info)) {
		config_note(reader, &info);
		goto out;
	}
	take_redirect(reader, &raw, path, &redirect);
	for (size_t i = 0; i < config->nportals; i++) {
		if (strcmp(config->portals[i].address, raw.portal) != 0 ||
		    (raw.group && raw.group != config->portals[i].group))
			continue;
		config->portals[i].redirect = redirect;
		found = true;
	}
	config_place(where, "%s.portal", path);
	if (!found)
		config_complain(reader, where, "there is no portal \"%.80s\"", raw.portal);
out:
	free(raw.portal);
	free(raw.to);
}

void
config_read_portals(struct config_reader *reader, json_t *listen, json_t *groups, json_t *redirects)
{
	struct config *config = reader->config;
	char path[CONFIG_PATH_TEXT];
	json_t *object;
	size_t i;

	config->groups[0] = ISCSI_PORTAL_GROUP_DEFAULT;
	config->ngroups = 1;
	read_addresses(reader, listen, "listen", ISCSI_PORTAL_GROUP_DEFAULT);
	json_array_foreach(groups, i, object)
	{
		config_place(path, "portal_groups[%zu]", i);
		read_group(reader, object, path);
	}
	json_array_foreach(redirects, i, object)
	{
		config_place(path, "redirects[%zu]", i);
		read_portal_redirect(reader, object, path);
	}
}

/* -- ways to a target -------------------------------------------------------------------------------------- */

static void
no_group(struct config_reader *reader, const char *where, unsigned long long tag)
{
	config_complain(reader, where, "there is no portal group %llu in \"portal_groups\"", tag);
}

static void
read_tags(struct config_reader *reader, json_t *array, const char *path, struct config_paths *ret)
{
	char where[CONFIG_PATH_TEXT];
	json_t *value;
	size_t i;

	json_array_foreach(array, i, value)
	{
		json_int_t tag = json_integer_value(value);

		config_place(where, "%s.portal_groups[%zu]", path, i);
		if (!json_is_integer(value) || tag < 1 || tag > 65535) {
			config_complain(reader, where, "must be the tag of a portal group, 1 to 65535");
			continue;
		}
		if (!has_group(reader->config, (uint64_t)tag)) {
			no_group(reader, where, (unsigned long long)tag);
			continue;
		}
		for (size_t k = 0; k < ret->ngroups; k++)
			if (ret->groups[k] == tag)
				config_complain(reader, where, "group %lld is there twice", (long long)tag);
		if (ret->ngroups < ISCSI_GROUPS_MAX)
			ret->groups[ret->ngroups++] = (uint16_t)tag;
	}
	config_place(where, "%s.portal_groups", path);
	if (array && !json_array_size(array))
		config_complain(reader, where,
				"no portal would lead to the target: leave it out for all groups");
}

static void
read_alua(struct config_reader *reader, json_t *object, const char *path, struct config_paths *ret)
{
	struct config_alua alua = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];

	if (json_read(reader->doc, object, path, config_alua_keys, CONFIG_ALUA_KEYS, &alua, &info)) {
		config_note(reader, &info);
		return;
	}
	config_place(where, "%s.group", path);
	if (!has_group(reader->config, alua.group)) {
		no_group(reader, where, (unsigned long long)alua.group);
		return;
	}
	for (size_t i = 0; i < ret->nalua; i++) {
		if (ret->alua[i].group == alua.group) {
			config_complain(reader, where, "group %llu is there twice",
					(unsigned long long)alua.group);
			return;
		}
	}
	ret->alua[ret->nalua++] = alua; /* no more than there are groups */
}

void
config_read_paths(struct config_reader *reader, json_t *groups, json_t *redirect, json_t *alua,
		  const char *path, struct config_paths *ret)
{
	struct raw_redirect raw = {0};
	struct errinfo info;
	char where[CONFIG_PATH_TEXT];
	json_t *object;
	size_t i;

	read_tags(reader, groups, path, ret);
	config_place(where, "%s.redirect", path);
	if (redirect &&
	    json_read(reader->doc, redirect, where, config_redirect_keys, CONFIG_REDIRECT_KEYS, &raw, &info))
		config_note(reader, &info);
	else if (redirect)
		take_redirect(reader, &raw, where, &ret->redirect);
	free(raw.to);
	json_array_foreach(alua, i, object)
	{
		config_place(where, "%s.alua[%zu]", path, i);
		read_alua(reader, object, where, ret);
	}
}
